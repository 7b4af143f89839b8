#include "daemon/net/loop-net.h"

#include "daemon/base/log.h"

#include <event2/event.h>

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define WRITE_ROUNDS_MAX 4u /* end-of-turn hook and writes, repeated while there is progress */
#define TIMERS_PER_TURN_MAX 1024u
#define SIGNALS_MAX 4u
#define ARM_EARLIEST_USEC 1u
#define SPARE_BLOCKS_MAX 16u
#define SPARE_BLOCK_BYTES_MAX (256u * 1024u)

struct signal_watch {
	struct loop *loop;
	struct event *event; /* owned; NULL: free */
	loop_signal_fn fn;
	void *context;
};

struct loop {
	struct event_base *base;   /* owned */
	struct event *timer_event; /* owned; fires at armed */
	struct mono armed;	   /* what timer_event waits for; MONO_NEVER: nothing */
	struct timerq timers;
	const struct loop_hooks *hooks;
	void *hooks_context;
	struct mono now;
	bool entered;	 /* the clock was read in this turn */
	bool unfinished; /* the last turn ended while there was still progress */
	bool stopped;
	struct list tasks;
	struct list streams;
	struct list dirty;
	struct list doomed;
	size_t draining;
	struct signal_watch signals[SIGNALS_MAX];
	uint8_t *scratch; /* owned */
	struct buf spares[SPARE_BLOCKS_MAX];
	size_t spare_count;
};

static const struct loop_hooks no_hooks;

struct mono loop_clock(void)
{
	struct timespec ts;

	assert(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
	return (struct mono){(uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000u};
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct loop *loop = arg;

	loop->armed = MONO_NEVER;
	loop_enter(loop);
}

static struct event_base *make_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base;

	if (!config)
		return NULL;
	/* One thread: the base needs no locks. */
	(void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

int loop_new(struct loop **ret)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return -ENOMEM;
	loop->hooks = &no_hooks;
	loop->armed = MONO_NEVER;
	loop->now = loop_clock();
	list_init(&loop->tasks);
	list_init(&loop->streams);
	list_init(&loop->dirty);
	list_init(&loop->doomed);
	loop->scratch = malloc(LOOP_READ_BYTES_MAX);
	loop->base = make_base();
	loop->timer_event = loop->base ? evtimer_new(loop->base, on_timer, loop) : NULL;
	if (!loop->scratch || !loop->timer_event) {
		loop_free(loop);
		return -ENOMEM;
	}
	*ret = loop;
	return 0;
}

static void free_doomed(struct loop *loop)
{
	struct doomed *doomed;

	while ((doomed = list_first(&loop->doomed, struct doomed, node))) {
		list_unlink(&doomed->node);
		doomed->free(doomed);
	}
}

struct loop *loop_free(struct loop *loop)
{
	struct loop_stream *stream;

	if (!loop)
		return NULL;
	while ((stream = list_first(&loop->streams, struct loop_stream, all)))
		stream->drop(stream);
	free_doomed(loop);
	for (size_t i = 0; i < SIGNALS_MAX; i++)
		if (loop->signals[i].event)
			event_free(loop->signals[i].event);
	if (loop->timer_event)
		event_free(loop->timer_event);
	if (loop->base)
		event_base_free(loop->base);
	while (loop->spare_count > 0)
		buf_deinit(&loop->spares[--loop->spare_count]);
	free(loop->scratch);
	free(loop);
	return NULL;
}

void loop_set_hooks(struct loop *loop, const struct loop_hooks *hooks, void *context)
{
	loop->hooks = hooks;
	loop->hooks_context = context;
}

void loop_enter(struct loop *loop)
{
	if (loop->entered)
		return;
	loop->entered = true;
	loop->now = loop_clock();
	if (loop->hooks->begin)
		loop->hooks->begin(loop->hooks_context, loop->now);
}

/* True if there were any. */
static bool run_tasks(struct loop *loop)
{
	struct loop_task *task;
	struct list batch;
	bool ran = !list_empty(&loop->tasks);

	list_init(&batch);
	list_splice(&batch, &loop->tasks);
	while ((task = list_first(&batch, struct loop_task, node))) {
		list_unlink(&task->node);
		task->run(task);
	}
	return ran;
}

static struct mono hooks_deadline(struct loop *loop)
{
	return loop->hooks->next_deadline ? loop->hooks->next_deadline(loop->hooks_context) : MONO_NEVER;
}

static void run_timers(struct loop *loop)
{
	timerq_run(&loop->timers, loop->now, TIMERS_PER_TURN_MAX);
	if (loop->hooks->run_timers && !mono_before(loop->now, hooks_deadline(loop)))
		loop->hooks->run_timers(loop->hooks_context);
}

/* True if any socket took bytes, and so somebody may have more to say. */
static bool flush_dirty(struct loop *loop)
{
	struct loop_stream *stream;
	struct list batch;
	bool progress = false;

	list_init(&batch);
	list_splice(&batch, &loop->dirty);
	while ((stream = list_first(&batch, struct loop_stream, dirty))) {
		list_unlink(&stream->dirty);
		if (stream->flush(stream))
			progress = true;
	}
	return progress;
}

static void finish_turn(struct loop *loop)
{
	bool progress = true;

	loop_enter(loop);
	(void)run_tasks(loop);
	run_timers(loop);
	for (unsigned int round = 0; round < WRITE_ROUNDS_MAX && progress; round++) {
		progress = run_tasks(loop);
		if (loop->hooks->turn)
			loop->hooks->turn(loop->hooks_context);
		progress = run_tasks(loop) || progress;
		progress = flush_dirty(loop) || progress;
	}
	loop->unfinished = progress;
	free_doomed(loop);
	loop->entered = false;
}

/* The one timer of the base waits for the earliest of all deadlines. */
static int arm(struct loop *loop)
{
	struct mono next = mono_min(timerq_next(&loop->timers), hooks_deadline(loop));
	uint64_t wait_usec;
	struct timeval tv;

	if (next.usec == loop->armed.usec)
		return 0;
	loop->armed = next;
	if (mono_is_never(next))
		return event_del(loop->timer_event) == 0 ? 0 : -ENOMEM;
	wait_usec = mono_since_usec(next, loop->now);
	if (wait_usec == 0)
		wait_usec = ARM_EARLIEST_USEC;
	tv.tv_sec = (time_t)(wait_usec / USEC_PER_SEC);
	tv.tv_usec = (suseconds_t)(wait_usec % USEC_PER_SEC);
	return event_add(loop->timer_event, &tv) == 0 ? 0 : -ENOMEM;
}

static bool has_leftovers(const struct loop *loop)
{
	return loop->unfinished || !list_empty(&loop->dirty) || !list_empty(&loop->tasks);
}

/* A moment for more to come in; a signal ends it early. */
static void pause_before_poll(const struct loop *loop)
{
	uint64_t usec = loop->hooks->pause_usec ? loop->hooks->pause_usec(loop->hooks_context) : 0;

	if (usec > 0)
		(void)nanosleep(&(struct timespec){0, (long)(usec * 1000)}, NULL);
}

int loop_turn(struct loop *loop, bool wait)
{
	int flags = EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY;
	int r;

	r = arm(loop);
	if (r < 0)
		return r;
	if (!wait || has_leftovers(loop))
		flags |= EVLOOP_NONBLOCK;
	else
		pause_before_poll(loop);
	if (event_base_loop(loop->base, flags) < 0)
		return errno ? -errno : -EIO;
	finish_turn(loop);
	return 0;
}

int loop_run(struct loop *loop)
{
	int r = 0;

	loop->stopped = false;
	while (!loop->stopped && r == 0)
		r = loop_turn(loop, true);
	return r;
}

void loop_stop(struct loop *loop)
{
	loop->stopped = true;
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

static void on_signal(evutil_socket_t signal_number, short what, void *arg)
{
	struct signal_watch *watch = arg;

	loop_enter(watch->loop);
	watch->fn(watch->context, (int)signal_number);
}

int loop_watch_signal(struct loop *loop, int signal_number, loop_signal_fn fn, void *context)
{
	struct signal_watch *watch = NULL;

	for (size_t i = 0; i < SIGNALS_MAX; i++) {
		if (!loop->signals[i].event)
			watch = watch ? watch : &loop->signals[i];
		else if (event_get_signal(loop->signals[i].event) == signal_number)
			return -EEXIST;
	}
	if (!watch)
		return -ENOMEM;
	*watch = (struct signal_watch){loop, NULL, fn, context};
	watch->event = evsignal_new(loop->base, signal_number, on_signal, watch);
	if (!watch->event)
		return -ENOMEM;
	if (event_add(watch->event, NULL) == 0)
		return 0;
	event_free(watch->event);
	watch->event = NULL;
	return -ENOMEM;
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

void loop_doom(struct loop *loop, struct doomed *doomed, void (*free)(struct doomed *doomed))
{
	doomed->free = free;
	list_append(&loop->doomed, &doomed->node);
}

bool loop_is_draining(const struct loop *loop)
{
	return loop->draining > 0;
}

struct event_base *loop_base(struct loop *loop)
{
	return loop->base;
}

uint8_t *loop_scratch(struct loop *loop)
{
	return loop->scratch;
}

void loop_take_block(struct loop *loop, struct buf *buf)
{
	bool failed = buf->failed;

	if (buf->data || loop->spare_count == 0)
		return;
	*buf = loop->spares[--loop->spare_count];
	buf->failed = failed;
}

void loop_give_block(struct loop *loop, struct buf *buf)
{
	if (!buf->data || buf_len(buf) > 0)
		return;
	if (loop->spare_count == SPARE_BLOCKS_MAX || buf->capacity > SPARE_BLOCK_BYTES_MAX) {
		buf_release(buf);
		return;
	}
	loop->spares[loop->spare_count++] = (struct buf){buf->data, 0, 0, buf->capacity, false};
	*buf = (struct buf){NULL, 0, 0, 0, buf->failed};
}

void loop_add_stream(struct loop *loop, struct loop_stream *stream)
{
	list_init(&stream->dirty);
	stream->draining = false;
	list_append(&loop->streams, &stream->all);
}

void loop_remove_stream(struct loop *loop, struct loop_stream *stream)
{
	list_unlink(&stream->all);
	list_unlink(&stream->dirty);
	if (stream->draining)
		loop->draining--;
	stream->draining = false;
}

void loop_mark_dirty(struct loop *loop, struct loop_stream *stream)
{
	if (list_empty(&stream->dirty))
		list_append(&loop->dirty, &stream->dirty);
}

void loop_mark_draining(struct loop *loop, struct loop_stream *stream)
{
	if (!stream->draining)
		loop->draining++;
	stream->draining = true;
}
