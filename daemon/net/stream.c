#include "daemon/net/stream.h"

#include "daemon/net/ahead.h"
#include "daemon/net/loop-net.h"

#include <event2/event.h>
#include <event2/event_struct.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Bytes a stream writes in one go before others have their turn. */
#define WRITE_BYTES_MAX (1024u * 1024u)
#define BORROWED_BLOCK_MAX (256u * 1024u)
#define REASON_BYTES_MAX 128u
#define TRANSPORT_REASON_MAX 256u

enum stream_state {
	STREAM_OPEN,
	STREAM_DEAD,	 /* on_closed was called; the owner has not closed yet */
	STREAM_DRAINING, /* closed by the owner, the last output is on its way */
	STREAM_CLOSED	 /* waits for the end of the turn */
};

struct stream {
	struct loop_stream link; /* first, so that the loop's pointer is ours */
	struct loop *loop;
	enum stream_state state;
	bool write_armed;
	bool write_failed; /* nobody reads any more: output is dropped */
	bool keeps_little;
	int fd;
	const struct stream_transport *transport;
	void *transport_context;
	const struct stream_ops *ops;
	void *context;
	struct buf *out;
	struct buf own_out;
	struct buf rest;  /* what on_bytes did not consume */
	size_t rest_need; /* bytes the rest must have before on_bytes is of use; 0: any more */
	uint64_t reads;	  /* from the socket, whatever came of it */
	uint64_t taken;	  /* bytes the socket took */
	uint64_t dropped; /* bytes of output that nobody will read */
	struct ahead ahead;
	struct timer ahead_timer; /* tries to write again */
	struct timer drain_timer;
	struct doomed doomed;
	struct event read_event;
	struct event write_event;
};

static ssize_t socket_read(void *context, int fd, const struct iovec *parts, int part_count)
{
	ssize_t n = readv(fd, parts, part_count);

	return n < 0 ? -errno : n;
}

static ssize_t socket_write(void *context, int fd, struct span bytes)
{
	ssize_t n = send(fd, bytes.data, bytes.len, MSG_NOSIGNAL);

	return n < 0 ? -errno : n;
}

static const struct stream_transport socket_transport = {socket_read, socket_write, NULL, NULL};

static bool is_passing(ssize_t error)
{
	return error == -EAGAIN || error == -EWOULDBLOCK || error == -EINTR;
}

/* ------------------------------------------------------------------ the end */

static void free_stream(struct doomed *doomed)
{
	struct stream *stream = container_of(doomed, struct stream, doomed);

	buf_deinit(&stream->own_out);
	buf_deinit(&stream->rest);
	free(stream);
}

/* Lets go of the socket; the memory goes at the end of the turn. */
static void finish(struct stream *stream)
{
	assert(stream->state != STREAM_CLOSED);
	stream->state = STREAM_CLOSED;
	(void)event_del(&stream->read_event);
	(void)event_del(&stream->write_event);
	loop_clear_timer(stream->loop, &stream->drain_timer);
	loop_clear_timer(stream->loop, &stream->ahead_timer);
	loop_remove_stream(stream->loop, &stream->link);
	if (stream->transport->end)
		stream->transport->end(stream->transport_context, stream->fd);
	(void)close(stream->fd);
	stream->fd = -1;
	loop_doom(stream->loop, &stream->doomed, free_stream);
}

static void drop(struct loop_stream *link)
{
	finish(container_of(link, struct stream, link));
}

/* The peer or the socket ended it. */
static void die(struct stream *stream, const char *reason)
{
	if (stream->state == STREAM_DRAINING) {
		finish(stream);
		return;
	}
	if (stream->state != STREAM_OPEN)
		return;
	stream->state = STREAM_DEAD;
	(void)event_del(&stream->read_event);
	(void)event_del(&stream->write_event);
	list_unlink(&stream->link.dirty);
	stream->ops->on_closed(stream->context, reason);
}

static void die_of_errno(struct stream *stream, const char *what, ssize_t error)
{
	char reason[REASON_BYTES_MAX];

	(void)snprintf(reason, sizeof(reason), "%s: %s", what, strerror((int)-error));
	die(stream, reason);
}

/* The owner may close the stream, and with it the transport, before it reads the reason. */
static void die_of_transport(struct stream *stream)
{
	char reason[TRANSPORT_REASON_MAX];

	(void)snprintf(reason, sizeof(reason), "%s", stream->transport->reason(stream->transport_context));
	die(stream, reason);
}

static void die_of_read(struct stream *stream, ssize_t error)
{
	if (error == 0)
		die(stream, "closed by the peer");
	else if (error == -EPROTO && stream->transport->reason)
		die_of_transport(stream);
	else if (!is_passing(error))
		die_of_errno(stream, "read", error);
}

/* ------------------------------------------------------------------ reading */

/* Hands bytes to the owner; returns how many it consumed. The stream may be closed afterwards. */
static size_t parse(struct stream *stream, struct span bytes)
{
	size_t need = 0;
	size_t used = stream->ops->on_bytes(stream->context, bytes, &need);

	assert(used <= bytes.len);
	stream->rest_need = need;
	return used;
}

static void keep_rest(struct stream *stream, struct span bytes)
{
	buf_append_span(&stream->rest, bytes);
	if (buf_failed(&stream->rest))
		die_of_errno(stream, "read", -ENOMEM);
}

/* Bytes that the rest lacks before it can be parsed; 1 if that is not known. */
static size_t rest_missing(const struct stream *stream)
{
	size_t len = buf_len(&stream->rest);

	return stream->rest_need > len ? stream->rest_need - len : 1;
}

/* Completes the frame that the rest began, from the front of fresh. */
static void parse_rest(struct stream *stream, struct span *fresh)
{
	while (stream->state == STREAM_OPEN && buf_len(&stream->rest) > 0) {
		size_t missing = rest_missing(stream);
		struct span more = span_first(*fresh, stream->rest_need ? missing : fresh->len);

		if (more.len == 0 && stream->rest_need > buf_len(&stream->rest))
			return;
		keep_rest(stream, more);
		*fresh = span_skip(*fresh, more.len);
		if (stream->state != STREAM_OPEN || buf_len(&stream->rest) < stream->rest_need)
			return;
		size_t used = parse(stream, buf_span(&stream->rest));

		if (stream->state != STREAM_OPEN)
			return;
		buf_consume(&stream->rest, used);
		/* A parser that wants more than there is, of what it cannot say, waits for the next read. */
		if (fresh->len == 0 && (used == 0 || stream->rest_need == 0))
			return;
	}
}

/* New bytes: direct ones were read behind the rest, fresh ones lie in the scratch block. */
static void take_bytes(struct stream *stream, size_t direct, struct span fresh)
{
	size_t used;

	if (direct > 0) {
		buf_commit(&stream->rest, direct);
		if (buf_len(&stream->rest) < stream->rest_need)
			return;
		used = parse(stream, buf_span(&stream->rest));
		if (stream->state != STREAM_OPEN)
			return;
		buf_consume(&stream->rest, used);
	}
	parse_rest(stream, &fresh);
	if (stream->state != STREAM_OPEN)
		return;
	buf_release(&stream->rest);
	if (fresh.len == 0)
		return;
	used = parse(stream, fresh);
	if (stream->state == STREAM_OPEN && used < fresh.len)
		keep_rest(stream, span_skip(fresh, used));
}

/* One read: first what the rest lacks, straight into it, then into the scratch block. */
static void read_open(struct stream *stream)
{
	struct iovec parts[2];
	size_t direct = 0;
	ssize_t n;

	if (stream->rest_need > buf_len(&stream->rest) && buf_len(&stream->rest) > 0) {
		size_t missing = rest_missing(stream);

		parts[0].iov_base = buf_reserve(&stream->rest, missing);
		if (!parts[0].iov_base) {
			die_of_errno(stream, "read", -ENOMEM);
			return;
		}
		direct = missing < LOOP_READ_BYTES_MAX ? missing : LOOP_READ_BYTES_MAX;
		parts[0].iov_len = direct;
	}
	parts[direct ? 1 : 0] = (struct iovec){loop_scratch(stream->loop), LOOP_READ_BYTES_MAX - direct};
	n = stream->transport->read(stream->transport_context, stream->fd, parts,
				    direct && direct < LOOP_READ_BYTES_MAX ? 2 : 1);
	if (n <= 0) {
		die_of_read(stream, n);
		return;
	}
	if ((size_t)n <= direct)
		take_bytes(stream, (size_t)n, SPAN_NULL);
	else
		take_bytes(stream, direct, span_make(loop_scratch(stream->loop), (size_t)n - direct));
}

/* After its end the stream reads on, so that a peer in the middle of a write comes to read our last words. */
static void read_draining(struct stream *stream)
{
	struct iovec part = {loop_scratch(stream->loop), LOOP_READ_BYTES_MAX};
	ssize_t n = stream->transport->read(stream->transport_context, stream->fd, &part, 1);

	if (n == 0 || (n < 0 && !is_passing(n)))
		finish(stream);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct stream *stream = arg;

	loop_enter(stream->loop);
	stream->reads++;
	if (stream->state == STREAM_OPEN)
		read_open(stream);
	else if (stream->state == STREAM_DRAINING)
		read_draining(stream);
}

/* ------------------------------------------------------------------ writing */

static void set_write_armed(struct stream *stream, bool armed)
{
	if (stream->write_armed == armed)
		return;
	if (armed && event_add(&stream->write_event, NULL) != 0)
		return; /* tried again with the next output */
	if (!armed)
		(void)event_del(&stream->write_event);
	stream->write_armed = armed;
}

static void drop_output(struct stream *stream)
{
	stream->write_failed = true;
	stream->dropped += buf_len(stream->out);
	buf_truncate(stream->out, 0);
	set_write_armed(stream, false);
}

/* What may be written now; 0 while too much lies ahead of it. */
static size_t room_to_write(struct stream *stream)
{
	struct mono now = loop_now(stream->loop);
	size_t room;

	if (!stream->keeps_little)
		return WRITE_BYTES_MAX;
	room = ahead_room(&stream->ahead, stream->fd, now);
	if (room > 0)
		return room < WRITE_BYTES_MAX ? room : WRITE_BYTES_MAX;
	if (!timer_is_set(&stream->ahead_timer))
		loop_set_timer(stream->loop, &stream->ahead_timer, mono_add_usec(now, AHEAD_RETRY_USEC));
	return 0;
}

/* Writes once, at most so much. Bytes taken, 0 when the socket is full, or dropped output. */
static size_t write_some(struct stream *stream, size_t most)
{
	struct span bytes = span_first(buf_span(stream->out), most);
	ssize_t n;

	if (bytes.len == 0)
		return 0;
	if (stream->write_failed) {
		drop_output(stream);
		return 0;
	}
	n = stream->transport->write(stream->transport_context, stream->fd, bytes);
	if (n >= 0) {
		stream->taken += (uint64_t)n;
		buf_consume(stream->out, (size_t)n);
		return (size_t)n;
	}
	if (is_passing(n)) {
		set_write_armed(stream, true);
		return 0;
	}
	/* A peer that is there all the same (the kernel had no memory) must not wait for more. */
	(void)shutdown(stream->fd, SHUT_WR);
	drop_output(stream);
	return 0;
}

/* An idle stream holds no block. One that is not our own is kept, unless a burst made it large. */
static void give_back(struct stream *stream)
{
	if (stream->out == &stream->own_out)
		loop_give_block(stream->loop, stream->out);
	else if (stream->out->capacity > BORROWED_BLOCK_MAX)
		buf_release(stream->out);
}

static bool flush_open(struct stream *stream)
{
	size_t budget = WRITE_BYTES_MAX;
	bool progress = false;

	if (buf_failed(stream->out)) {
		die_of_errno(stream, "write", -ENOMEM);
		return false;
	}
	while (buf_len(stream->out) > 0) {
		size_t count = write_some(stream, room_to_write(stream));

		if (count == 0)
			break;
		progress = true;
		if (stream->ops->on_written)
			stream->ops->on_written(stream->context, stream->taken);
		if (stream->state != STREAM_OPEN)
			return true;
		if (buf_len(stream->out) == 0 && stream->ops->on_low)
			stream->ops->on_low(stream->context);
		if (stream->state != STREAM_OPEN)
			return true;
		if (count >= budget) {
			stream_mark(stream);
			return true;
		}
		budget -= count;
	}
	if (buf_len(stream->out) == 0) {
		set_write_armed(stream, false);
		give_back(stream);
	}
	return progress;
}

static bool flush_draining(struct stream *stream)
{
	bool progress = false;

	while (write_some(stream, WRITE_BYTES_MAX) > 0)
		progress = true;
	if (buf_len(stream->out) == 0)
		finish(stream);
	return progress;
}

static bool flush(struct loop_stream *link)
{
	struct stream *stream = container_of(link, struct stream, link);

	if (stream->state == STREAM_OPEN)
		return flush_open(stream);
	return stream->state == STREAM_DRAINING && flush_draining(stream);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct stream *stream = arg;

	loop_enter(stream->loop);
	stream->write_armed = false;
	stream_mark(stream);
}

/* ------------------------------------------------------------------ the interface */

static void on_ahead_timer(struct timer *timer, struct mono now)
{
	stream_mark(container_of(timer, struct stream, ahead_timer));
}

static void on_drain_timeout(struct timer *timer, struct mono now)
{
	finish(container_of(timer, struct stream, drain_timer));
}

int stream_new(struct loop *loop, const struct stream_options *options, struct stream **ret)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return -ENOMEM;
	stream->loop = loop;
	stream->fd = options->fd;
	stream->transport = options->transport ? options->transport : &socket_transport;
	stream->transport_context = options->transport_context;
	stream->ops = options->ops;
	stream->context = options->context;
	stream->out = options->out ? options->out : &stream->own_out;
	stream->link.flush = flush;
	stream->link.drop = drop;
	stream->keeps_little = options->keeps_little;
	timer_init(&stream->ahead_timer, on_ahead_timer);
	timer_init(&stream->drain_timer, on_drain_timeout);
	if (event_assign(&stream->read_event, loop_base(loop), options->fd, EV_READ | EV_PERSIST, on_readable,
			 stream) != 0 ||
	    event_assign(&stream->write_event, loop_base(loop), options->fd, EV_WRITE, on_writable, stream) !=
		0 ||
	    event_add(&stream->read_event, NULL) != 0) {
		free(stream);
		return -ENOMEM;
	}
	loop_add_stream(loop, &stream->link);
	*ret = stream;
	return 0;
}

struct buf *stream_out(struct stream *stream)
{
	if (!stream->out->data && stream->out == &stream->own_out)
		loop_take_block(stream->loop, stream->out);
	return stream->out;
}

void stream_mark(struct stream *stream)
{
	/* While the socket is full there is no use in trying. */
	if (stream->state == STREAM_OPEN && !stream->write_armed)
		loop_mark_dirty(stream->loop, &stream->link);
	else if (stream->state == STREAM_DRAINING)
		loop_mark_dirty(stream->loop, &stream->link);
}

bool stream_is_full(const struct stream *stream)
{
	return stream->write_armed;
}

void stream_write_now(struct stream *stream)
{
	if (stream->state == STREAM_OPEN)
		(void)write_some(stream, WRITE_BYTES_MAX);
}

uint64_t stream_position(const struct stream *stream)
{
	return stream->taken + stream->dropped + buf_len(stream->out);
}

struct stream_progress stream_look(const struct stream *stream)
{
	struct pollfd poll_fd = {.fd = stream->fd, .events = POLLIN | POLLOUT};
	struct ahead ahead = stream->ahead; /* looking changes nothing */
	bool has_output = stream->state == STREAM_OPEN && !stream->write_failed && buf_len(stream->out) > 0;
	struct stream_progress progress = {.reads = stream->reads, .written = stream->taken};

	if (poll(&poll_fd, 1, 0) < 0)
		return progress;
	progress.may_read = stream->state == STREAM_OPEN && (poll_fd.revents & POLLIN);
	progress.may_write =
	    has_output && (poll_fd.revents & POLLOUT) &&
	    (!stream->keeps_little || ahead_room(&ahead, stream->fd, loop_now(stream->loop)) > 0);
	return progress;
}

void stream_close(struct stream *stream, uint64_t drain_usec)
{
	if (!stream)
		return;
	assert(stream->state == STREAM_OPEN || stream->state == STREAM_DEAD);
	if (stream->state == STREAM_DEAD || drain_usec == 0 || stream->write_failed ||
	    buf_len(stream->out) == 0 || buf_failed(stream->out)) {
		finish(stream);
		return;
	}
	assert(stream->out == &stream->own_out);
	loop_set_timer(stream->loop, &stream->drain_timer, mono_add_usec(loop_now(stream->loop), drain_usec));
	stream->state = STREAM_DRAINING;
	loop_mark_draining(stream->loop, &stream->link);
	stream_mark(stream);
}
