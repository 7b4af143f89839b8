/*
 * The threads of a connection, and the executor.
 *
 * The I/O thread is there from muxc_connect() to muxc_free(). Dispatch threads
 * are started when there are handlers to be called. Each looks for a ready
 * channel, gives it its turn, looks for the next, and sleeps when there is
 * none. The idle ones are a stack, so that few threads do the work and those at
 * the bottom sleep until they end; the last one stays.
 *
 * More threads than are of use only fight for the lock. So a channel that gets
 * ready has another thread woken or started only if those that are at work
 * have been at it for a while: one whose turn has just begun will mostly be
 * back before another one is awake. If it is not, because its handler waits or
 * computes, the I/O thread sees that after LOOK_USEC, and then wakes as many
 * as are at work already. It also tries again what has failed: when there can
 * be no thread handlers come late, but they come. For the first one there is
 * memory from the beginning.
 *
 * With an executor each ready channel is handed over as one run(), which is
 * one turn. Only the I/O thread and run() itself hand over, because they can do
 * so without the lock.
 */
#include "config.h"

#include "client/threads.h"
#include "client/chan.h"
#include "client/conn.h"
#include "client/dispatch.h"
#include "client/error.h"
#include "client/events.h"
#include "client/io.h"
#include "client/out.h"
#include "client/request.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define YOUNG_USEC 100u /* for so long a turn is believed to end at once */
#define LOOK_USEC 500u
#define RETRY_USEC 10000u	      /* after no thread, or no run(), could be had */
#define IDLE_USEC (3u * USEC_PER_SEC) /* then a thread ends */

struct dispatcher {
	struct dispatcher *next;
	struct dispatcher *next_idle;
	struct muxc *c; /* one ref, until it has ended */
	pthread_t thread;
	pthread_cond_t cond; /* woken, or stopping */
	bool idle;
	bool detached; /* nobody joins it: it frees itself */
};

/*
 * What the executor is given with each run(). A child inherits what the
 * parent's executor still had; there the connection may be gone.
 */
struct runs {
	atomic_uint refs; /* the connection's, and one for each run() that is to come */
	pid_t owner;
	struct muxc *c;
};

static struct runs *runs_new(struct muxc *c)
{
	struct runs *runs;

	runs = malloc(sizeof(*runs));
	if (!runs)
		return NULL;
	atomic_init(&runs->refs, 1);
	runs->owner = c->owner;
	runs->c = c;
	return runs;
}

static void runs_unref(struct runs *runs)
{
	if (runs && atomic_fetch_sub_explicit(&runs->refs, 1, memory_order_acq_rel) == 1)
		free(runs);
}

/* With signals blocked, so that the program's handlers run in the program's threads. */
static int create(pthread_t *ret, void *(*thread_main)(void *arg), void *arg)
{
	sigset_t all, before;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(ret, NULL, thread_main, arg);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

static void ref(struct muxc *c)
{
	c->refs++;
	c->thread_refs++;
}

void threads_leave(struct muxc *c)
{
	c->thread_refs--;
	if (c->stopping)
		(void)pthread_cond_broadcast(&c->cond);
	conn_leave(c);
}

static struct dispatcher *dispatcher_new(struct muxc *c)
{
	struct dispatcher *dispatcher;

	dispatcher = calloc(1, sizeof(*dispatcher));
	if (!dispatcher)
		return NULL;
	dispatcher->c = c;
	if (cond_init_monotonic(&dispatcher->cond) < 0) {
		free(dispatcher);
		return NULL;
	}
	return dispatcher;
}

static void dispatcher_free(struct dispatcher *dispatcher)
{
	(void)pthread_cond_destroy(&dispatcher->cond);
	free(dispatcher);
}

int threads_begin(struct muxc *c)
{
	int r;

	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wake_fd < 0)
		return -errno;
	if (c->execute)
		c->runs = runs_new(c);
	else if (!c->first)
		c->first = dispatcher_new(c);
	if (!c->runs && !c->first)
		return -ENOMEM;
	r = create(&c->io_thread, io_thread_main, c);
	if (r < 0)
		return r;
	ref(c);
	c->has_threads = true;
	/* That muxd is not there may have been found already. */
	if (c->ready_first)
		threads_wake(c);
	return 0;
}

int threads_start(struct muxc *c, struct muxc_error *ret_error)
{
	int r;

	(void)pthread_mutex_lock(&c->lock);
	r = threads_begin(c);
	(void)pthread_mutex_unlock(&c->lock);
	if (r < 0)
		return error_set(ret_error, r, "cannot start a thread: %s", strerror(-r));
	return 0;
}

/* --------------------------------------------------------- dispatch threads */

/* False: it was idle for so long that it ends. */
static bool dispatcher_sleep(struct dispatcher *self)
{
	struct muxc *c = self->c;
	struct dispatcher **at;
	struct timespec until;
	uint64_t usec;
	int r = 0;

	self->idle = true;
	self->next_idle = c->idle;
	c->idle = self;
	usec = now_usec() + IDLE_USEC;
	until.tv_sec = (time_t)(usec / USEC_PER_SEC);
	until.tv_nsec = (long)(usec % USEC_PER_SEC) * 1000;
	while (self->idle && !c->stopping && r != ETIMEDOUT) {
		if (c->dispatchers_count > 1)
			r = pthread_cond_timedwait(&self->cond, &c->lock, &until);
		else
			(void)pthread_cond_wait(&self->cond, &c->lock);
	}
	if (!self->idle) {
		c->coming--;
		return true;
	}
	for (at = &c->idle; *at != self; at = &(*at)->next_idle)
		;
	*at = self->next_idle;
	self->idle = false;
	return c->dispatchers_count == 1;
}

/* Without the lock: what else the thread has to do at its end may be the program's, and need it. */
static void dispatcher_join(struct dispatcher *dispatcher)
{
	if (!dispatcher)
		return;
	(void)pthread_join(dispatcher->thread, NULL);
	dispatcher_free(dispatcher);
}

/* With the lock, which is given up. */
static void dispatcher_end(struct dispatcher *self)
{
	struct muxc *c = self->c;
	struct dispatcher **at, *before = NULL;

	for (at = &c->dispatchers; *at != self; at = &(*at)->next)
		;
	*at = self->next;
	c->dispatchers_count--;
	if (self->detached) {
		dispatcher_free(self);
	} else {
		before = c->ended;
		c->ended = self;
	}
	threads_leave(c);
	dispatcher_join(before);
}

static void *dispatcher_main(void *arg)
{
	struct dispatcher *self = arg;
	struct muxc *c = self->c;
	int r;

	(void)pthread_mutex_lock(&c->lock);
	c->coming--;
	while (!c->stopping) {
		r = dispatch_run(c, DISPATCH_BUDGET);
		/* A child forked by a handler: this thread is all there is of the library, and ends. */
		if (r == -ECHILD)
			threads_leave(c);
		if (r < 0)
			return NULL;
		if (!c->ready_first && !c->out_blocked)
			out_flush(c);
		if (!c->ready_first && !c->stopping && !dispatcher_sleep(self))
			break;
	}
	dispatcher_end(self);
	return NULL;
}

static int dispatcher_start(struct muxc *c)
{
	struct dispatcher *dispatcher = c->first ? c->first : dispatcher_new(c);
	int r;

	if (!dispatcher)
		return -ENOMEM;
	r = create(&dispatcher->thread, dispatcher_main, dispatcher);
	if (r < 0) {
		if (dispatcher != c->first)
			dispatcher_free(dispatcher);
		return r;
	}
	c->first = NULL;
	ref(c);
	c->coming++;
	c->dispatchers_count++;
	dispatcher->next = c->dispatchers;
	c->dispatchers = dispatcher;
	return 0;
}

static int dispatcher_wake(struct muxc *c)
{
	struct dispatcher *dispatcher = c->idle;

	if (!dispatcher)
		return dispatcher_start(c);
	c->idle = dispatcher->next_idle;
	dispatcher->idle = false;
	c->coming++;
	(void)pthread_cond_signal(&dispatcher->cond);
	return 0;
}

/* ------------------------------------------------------------------- waking */

/* Somebody will have time for the next channel at once. */
static bool soon_free(const struct muxc *c)
{
	const struct muxc_channel *channel;
	uint64_t now;

	if (c->coming > 0)
		return true;
	if (!c->running)
		return false;
	now = now_usec();
	for (channel = c->running; channel; channel = channel->next_running) {
		if (now < channel->since_usec + YOUNG_USEC)
			return true;
	}
	return false;
}

static void look_later(struct muxc *c, uint64_t usec)
{
	if (c->look_usec)
		return;
	c->look_usec = now_usec() + usec;
	if (!pthread_equal(pthread_self(), c->io_thread))
		io_wake(c);
}

static bool all_at_work(const struct muxc *c)
{
	return !c->idle && c->dispatchers_count >= c->dispatchers_max;
}

/* Wakes or starts dispatch threads, at most so many. */
static void dispatchers_wake(struct muxc *c, unsigned int count)
{
	int r = 0;

	while (r == 0 && count > 0 && c->coming < c->ready_count && !all_at_work(c)) {
		r = dispatcher_wake(c);
		count--;
	}
	if (r < 0)
		look_later(c, RETRY_USEC);
	else if (c->coming < c->ready_count && !all_at_work(c))
		look_later(c, LOOK_USEC);
}

void threads_wake(struct muxc *c)
{
	if (!c->has_threads || c->stopping)
		return;
	if (c->execute) {
		if (!pthread_equal(pthread_self(), c->io_thread))
			io_wake(c);
	} else if (!all_at_work(c)) {
		dispatchers_wake(c, soon_free(c) ? 0 : 1);
	}
}

/* How many more may be of use: as many as are at work. */
static unsigned int useful_count(const struct muxc *c)
{
	const struct muxc_channel *channel;
	unsigned int count = 0;

	if (soon_free(c))
		return 0;
	for (channel = c->running; channel; channel = channel->next_running)
		count++;
	return count > 0 ? count : 1;
}

/* ----------------------------------------------------------------- executor */

static void hand_over(struct muxc *c);

/* What the executor runs: one turn. */
static void run(void *arg)
{
	struct runs *runs = arg;
	bool foreign = getpid() != runs->owner;
	struct muxc *c = runs->c;
	int r;

	runs_unref(runs);
	if (foreign)
		return;
	(void)pthread_mutex_lock(&c->lock);
	c->coming--;
	r = c->stopping ? 0 : dispatch_turn(c);
	if (r == -ECHILD)
		threads_leave(c);
	if (r < 0)
		return;
	if (!c->ready_first && !c->out_blocked)
		out_flush(c);
	hand_over(c);
	threads_leave(c);
}

/* As many runs as channels are ready. Gives up the lock for each. */
static void hand_over(struct muxc *c)
{
	int r;

	while (!c->stopping && c->coming < c->ready_count) {
		c->coming++;
		ref(c);
		atomic_fetch_add_explicit(&c->runs->refs, 1, memory_order_relaxed);
		(void)pthread_mutex_unlock(&c->lock);
		r = c->execute(run, c->runs, c->executor);
		(void)pthread_mutex_lock(&c->lock);
		if (r == 0)
			continue;
		runs_unref(c->runs);
		c->coming--;
		c->refs--;
		c->thread_refs--;
		if (c->stopping)
			(void)pthread_cond_broadcast(&c->cond);
		look_later(c, RETRY_USEC);
		return;
	}
}

void threads_look(struct muxc *c)
{
	bool late = c->look_usec && now_usec() >= c->look_usec;

	if (late)
		c->look_usec = 0;
	if (c->execute)
		hand_over(c);
	else if (late && c->ready_first)
		dispatchers_wake(c, useful_count(c));
}

/* ----------------------------------------------------------------- stopping */

/* All turns that are not this thread's own, and with an executor what it still has. */
static bool others_run(const struct muxc *c)
{
	const struct muxc_channel *channel;
	pthread_t self = pthread_self();
	bool inside = false, others = false;

	for (channel = c->running; channel; channel = channel->next_running) {
		if (pthread_equal(channel->runner, self))
			inside = true;
		else
			others = true;
	}
	return others || (!inside && c->coming > 0);
}

static void dispatchers_stop(struct muxc *c)
{
	struct dispatcher *dispatcher, *last;
	unsigned int own = 0;

	for (dispatcher = c->idle; dispatcher; dispatcher = dispatcher->next_idle)
		(void)pthread_cond_signal(&dispatcher->cond);
	for (dispatcher = c->dispatchers; dispatcher; dispatcher = dispatcher->next) {
		if (!pthread_equal(dispatcher->thread, pthread_self()))
			continue;
		dispatcher->detached = true;
		(void)pthread_detach(dispatcher->thread);
		own = 1;
	}
	while (c->dispatchers_count > own)
		(void)pthread_cond_wait(&c->cond, &c->lock);
	last = c->ended;
	c->ended = NULL;
	(void)pthread_mutex_unlock(&c->lock);
	dispatcher_join(last);
	(void)pthread_mutex_lock(&c->lock);
}

void threads_stop(struct muxc *c)
{
	c->stopping = true;
	io_wake(c);
	if (!c->has_threads)
		return;
	(void)pthread_mutex_unlock(&c->lock);
	(void)pthread_join(c->io_thread, NULL);
	(void)pthread_mutex_lock(&c->lock);
	dispatchers_stop(c);
	while (others_run(c))
		(void)pthread_cond_wait(&c->cond, &c->lock);
}

void threads_deinit(struct muxc *c)
{
	if (c->first)
		dispatcher_free(c->first);
	c->first = NULL;
	runs_unref(c->runs);
	c->runs = NULL;
}

/* -------------------------------------------------------------------- forks */

void threads_forget(struct muxc *c)
{
	struct muxc_channel **at = &c->running, *channel;
	struct dispatcher *dispatcher;
	struct request *request;
	unsigned int own = in_dispatch(c) ? 1 : 0;
	uint32_t i;

	if (!c->has_threads)
		return;
	while ((channel = *at)) {
		if (pthread_equal(channel->runner, pthread_self())) {
			at = &channel->next_running;
			continue;
		}
		*at = channel->next_running;
		channel->running = false;
		if (channel->handled)
			event_free(c, channel->handled);
		channel->handled = NULL;
		channel_unref(channel);
	}
	while ((dispatcher = c->dispatchers)) {
		c->dispatchers = dispatcher->next;
		free(dispatcher);
	}
	free(c->ended);
	c->ended = NULL;
	free(c->first);
	c->first = NULL;
	runs_unref(c->runs);
	c->runs = NULL;
	c->dispatchers_count = 0;
	/* Whoever forked in a handler looks at the connection once more behind it. */
	c->refs -= c->thread_refs - own;
	c->thread_refs = own;
	c->idle = NULL;
	c->coming = 0;
	c->has_threads = false;
	/* A condition would wait for its waiters, and they are not there. */
	(void)cond_init_monotonic(&c->cond);
	c->credit_first = NULL;
	c->credit_last = NULL;
	for (i = 0; i < c->channels_count; i++) {
		channel = c->channels[i].channel;
		if (!channel)
			continue;
		/* Who waits there has called channel_lock(), and here conn_lock(). */
		channel->refs -= channel->waiters;
		c->refs -= channel->waiters;
		channel->waiters = 0;
	}
	for (request = c->requests; request; request = request->next)
		c->refs -= !request->channel && !request->abandoned && !request->restores;
}
