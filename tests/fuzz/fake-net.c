#include "tests/fuzz/fake-net.h"

#include "daemon/net/peer.h"
#include "tests/fuzz/fuzz.h"

void fake_loop_init(struct loop *loop, struct mono now)
{
	*loop = (struct loop){.now = now, .timers = TIMERQ_INIT};
	list_init(&loop->tasks);
}

void fake_loop_deinit(struct loop *loop)
{
	require(list_empty(&loop->tasks));
	for (size_t i = 0; i < FAKE_STREAMS_MAX; i++)
		require(!loop->streams[i]);
}

void fake_loop_run(struct loop *loop, struct mono now)
{
	struct loop_task *task;

	while ((task = list_first(&loop->tasks, struct loop_task, node))) {
		list_unlink(&task->node);
		task->run(task);
	}
	loop->now = now;
	timerq_run(&loop->timers, now, 100);
}

struct mono loop_now(const struct loop *loop)
{
	return loop->now;
}

void loop_set_timer(struct loop *loop, struct timer *timer, struct mono when)
{
	timerq_set(&loop->timers, timer, when);
}

void loop_clear_timer(struct loop *loop, struct timer *timer)
{
	timerq_clear(&loop->timers, timer);
}

void loop_task_init(struct loop_task *task, void (*run)(struct loop_task *task))
{
	list_init(&task->node);
	task->run = run;
}

void loop_defer(struct loop *loop, struct loop_task *task)
{
	if (list_empty(&task->node))
		list_append(&loop->tasks, &task->node);
}

void loop_task_cancel(struct loop_task *task)
{
	list_unlink(&task->node);
}

int stream_new(struct loop *loop, const struct stream_options *options, struct stream **ret)
{
	size_t index = (size_t)(options->fd - FAKE_FD);
	struct stream *stream = calloc(1, sizeof(*stream));

	require(stream && index < FAKE_STREAMS_MAX && !loop->streams[index]);
	*stream = (struct stream){loop, index, *options, BUF_INIT, BUF_INIT, 0, false};
	loop->streams[index] = stream;
	*ret = stream;
	return 0;
}

struct buf *stream_out(struct stream *stream)
{
	return &stream->out;
}

void stream_mark(struct stream *stream)
{
}

bool stream_is_full(const struct stream *stream)
{
	return stream->full;
}

uint64_t stream_position(const struct stream *stream)
{
	return stream->taken + buf_len(&stream->out);
}

void stream_close(struct stream *stream, uint64_t drain_usec)
{
	stream->loop->streams[stream->index] = NULL;
	buf_deinit(&stream->in);
	buf_deinit(&stream->out);
	free(stream);
}

int peer_init(struct peer *peer, int fd)
{
	*peer = (struct peer){.uid = 1000, .gid = 1000, .pid = (uint32_t)fd};
	return 0;
}

int peer_read_groups(struct peer *peer)
{
	return 0;
}

void peer_deinit(struct peer *peer)
{
}

/* As the real one: all that came is shown again until it is consumed, unless more is needed. */
void fake_stream_feed(struct loop *loop, size_t index, struct span bytes)
{
	struct stream *stream = loop->streams[index];
	struct buf in;
	size_t took, need = 0;

	if (!stream)
		return;
	in = stream->in;
	stream->in = BUF_INIT;
	buf_append_span(&in, bytes);
	took = stream->options.ops->on_bytes(stream->options.context, buf_span(&in), &need);
	require(took <= buf_len(&in));
	buf_consume(&in, took);
	if (loop->streams[index] && buf_len(&in) > 0)
		loop->streams[index]->in = in;
	else
		buf_deinit(&in);
}

void fake_stream_take(struct loop *loop, size_t index, size_t count, struct buf *out)
{
	struct stream *stream = loop->streams[index];
	struct span bytes;

	if (!stream)
		return;
	bytes = span_first(buf_span(&stream->out), count);
	buf_append_span(out, bytes);
	stream->taken += bytes.len;
	buf_consume(&stream->out, bytes.len);
	stream->full = buf_len(&stream->out) > 0;
	if (bytes.len > 0)
		stream->options.ops->on_written(stream->options.context, stream->taken);
}

void fake_stream_end(struct loop *loop, size_t index)
{
	struct stream *stream = loop->streams[index];

	if (stream)
		stream->options.ops->on_closed(stream->options.context, "closed by the peer");
}
