/*
 * A connection from its making to its end: entering it from a thread of the
 * program, waiting on it, ending it once, and freeing it with the last
 * reference. How it is connected, and connected again, is in link.c.
 *
 * There is one end, conn_end(), whatever the reason: the error is kept (the
 * first one counts), every request is answered with it, every channel ends,
 * whoever waits is woken. What the connection is made of is freed later, when
 * nobody refers to it.
 */
#include "config.h" /* before any system header: ppoll() needs its _GNU_SOURCE */

#include "client/conn.h"
#include "client/chan.h"
#include "client/declared.h"
#include "client/dispatch.h"
#include "client/error.h"
#include "client/events.h"
#include "client/fork.h"
#include "client/io.h"
#include "client/link.h"
#include "client/msg.h"
#include "client/options.h"
#include "client/out.h"
#include "client/publish.h"
#include "client/request.h"
#include "client/threads.h"

#include "proto/arena.h"
#include "proto/buf.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int cond_init_monotonic(pthread_cond_t *cond)
{
	pthread_condattr_t attr;
	int r;

	r = pthread_condattr_init(&attr);
	if (r)
		return -r;
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	r = pthread_cond_init(cond, &attr);
	(void)pthread_condattr_destroy(&attr);
	return -r;
}

bool conn_is_foreign(const struct muxc *c)
{
	return getpid() != c->owner;
}

/* --------------------------------------------------------- making and freeing */

static void conn_free_memory(struct muxc *c)
{
	threads_deinit(c);
	if (c->own) {
		events_drop(c->own);
		free(c->own->end);
		free(c->own);
	}
	pool_free(c);
	free(c->channels);
	buf_deinit(&c->out);
	buf_deinit(&c->in);
	buf_deinit(&c->link.hello);
	declared_deinit(c);
	free(c->chunk);
	arena_deinit(&c->arena);
	free(c);
}

static void conn_destroy(struct muxc *c)
{
	fork_unregister(c);
	link_close_left(c, true);
	if (c->fd >= 0)
		(void)close(c->fd);
	if (c->wake_fd >= 0)
		(void)close(c->wake_fd);
	/* In a forked child it would wait for threads that are not there. */
	if (!conn_is_foreign(c)) {
		(void)pthread_cond_destroy(&c->own->cond);
		(void)pthread_cond_destroy(&c->cond);
		(void)pthread_mutex_destroy(&c->lock);
	}
	conn_free_memory(c);
}

static int conn_init_locks(struct muxc *c)
{
	int r;

	r = -pthread_mutex_init(&c->lock, NULL);
	if (r < 0)
		return r;
	r = cond_init_monotonic(&c->cond);
	if (r < 0)
		(void)pthread_mutex_destroy(&c->lock);
	return r;
}

static int conn_new(struct muxc **ret)
{
	struct muxc *c;
	int r;

	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->fd = c->fd_told = c->fd_left = -1;
	c->wake_fd = -1;
	c->refs = 1;
	c->owner = getpid();
	c->upstream_state = -1;
	c->channels_max = UINT32_MAX;
	c->requests_max = REQUESTS_STANDING_MAX;
	c->credit_messages = CREDIT_STANDING_MESSAGES;
	c->credit_bytes = CREDIT_STANDING_BYTES;
	c->direct_budget = 1;
	c->error = (struct muxc_error)MUXC_ERROR_INIT;
	arena_init(&c->arena, NULL, 0);
	r = conn_init_locks(c);
	if (r < 0) {
		conn_free_memory(c);
		return r;
	}
	c->own = channel_new(c, NULL);
	if (!c->own) {
		(void)pthread_cond_destroy(&c->cond);
		(void)pthread_mutex_destroy(&c->lock);
		conn_free_memory(c);
		return -ENOMEM;
	}
	*ret = c;
	return 0;
}

/* --------------------------------------------------------------- connecting */

static int conn_start(struct muxc *c, const struct muxc_options *options, struct muxc_error *ret_error)
{
	int r;

	r = options_read(c, options, ret_error);
	if (r < 0)
		return r;
	r = options_socket_path(options, c->link.path, sizeof(c->link.path), ret_error);
	if (r < 0)
		return r;
	options_make_hello(c, options);
	if (buf_failed(&c->link.hello))
		return error_set(ret_error, -ENOMEM, "no memory");
	r = options->flags & MUXC_REATTACH ? fork_register(c) : 0;
	if (r < 0)
		return error_set(ret_error, r, "no memory");
	r = link_start(c, ret_error);
	if (r < 0)
		return r;
	return c->loop ? 0 : threads_start(c, ret_error);
}

int muxc_connect(const struct muxc_options *options, struct muxc **ret, struct muxc_error *ret_error)
{
	struct muxc_options copy;
	struct muxc *c;
	int r;

	if (!ret)
		return error_set(ret_error, -EINVAL, "no place for the connection was given");
	r = struct_take(&copy, sizeof(copy), options, "muxc_options", ret_error);
	if (r < 0)
		return r;
	r = conn_new(&c);
	if (r < 0)
		return error_set(ret_error, r, "no memory");
	r = conn_start(c, &copy, ret_error);
	if (r < 0) {
		conn_destroy(c);
		return r;
	}
	*ret = c;
	return 0;
}

/* ----------------------------------------------------------------- entering */

int conn_lock(struct muxc *c, struct muxc_error *ret_error)
{
	if (!c)
		return error_set(ret_error, -EINVAL, "no connection was given");
	if (conn_is_foreign(c))
		return error_set(ret_error, -ECHILD,
				 "this connection was made before fork(); make one in the child");
	(void)pthread_mutex_lock(&c->lock);
	if (c->forked)
		fork_adopt(c);
	c->refs++;
	return 0;
}

int conn_enter(struct muxc *c, struct muxc_error *ret_error)
{
	int r;

	r = conn_lock(c, ret_error);
	if (r < 0)
		return r;
	r = conn_check(c, ret_error);
	if (r < 0)
		conn_leave(c);
	return r;
}

int conn_check(struct muxc *c, struct muxc_error *ret_error)
{
	if (c->freed)
		return error_set(ret_error, -ESHUTDOWN, "the connection was freed");
	if (c->state == CONN_ENDED) {
		error_copy(ret_error, &c->error);
		return c->error.error;
	}
	return c->asleep ? fork_wake(c, ret_error) : 0;
}

void conn_leave(struct muxc *c)
{
	unsigned int refs = --c->refs;

	(void)pthread_mutex_unlock(&c->lock);
	if (refs == 0)
		conn_destroy(c);
}

/* ------------------------------------------------------------------ waiting */

static int wait_in_loop(struct muxc *c, uint64_t deadline_usec)
{
	struct pollfd pfd = {.fd = c->fd, .events = POLLIN};
	uint64_t now = now_usec(), until = link_timeout(c);
	struct timespec ts;

	if (now >= deadline_usec)
		return -ETIMEDOUT;
	if (deadline_usec < until)
		until = deadline_usec;
	until = until > now ? until - now : 0;
	ts.tv_sec = (time_t)(until / USEC_PER_SEC);
	ts.tv_nsec = (long)(until % USEC_PER_SEC) * 1000;
	if (c->out_blocked)
		pfd.events |= POLLOUT;
	(void)pthread_mutex_unlock(&c->lock);
	(void)ppoll(&pfd, 1, &ts, NULL);
	(void)io_read(c);
	(void)pthread_mutex_lock(&c->lock);
	c->out_blocked = false;
	link_turn(c);
	return 0;
}

int conn_wait(struct muxc *c, pthread_cond_t *cond, uint64_t deadline_usec)
{
	struct timespec until;

	out_flush(c);
	if (c->loop)
		return wait_in_loop(c, deadline_usec);
	until.tv_sec = (time_t)(deadline_usec / USEC_PER_SEC);
	until.tv_nsec = (long)(deadline_usec % USEC_PER_SEC) * 1000;
	return pthread_cond_timedwait(cond, &c->lock, &until) == ETIMEDOUT ? -ETIMEDOUT : 0;
}

int muxc_wait_ready(struct muxc *c, uint64_t timeout_usec, struct muxc_error *ret_error)
{
	uint64_t deadline;
	int r;

	r = conn_enter(c, ret_error);
	if (r < 0)
		return r;
	deadline = deadline_after(timeout_usec ? timeout_usec : c->request_timeout_usec);
	while (r == 0 && c->state != CONN_READY) {
		r = conn_wait(c, &c->cond, deadline);
		if (r < 0)
			r = error_set(ret_error, r, "muxd has not greeted in time");
		else
			r = conn_check(c, ret_error);
	}
	conn_leave(c);
	return r;
}

/* ------------------------------------------------------------------- ending */

void conn_end(struct muxc *c, const struct muxc_error *error)
{
	uint32_t i;

	if (c->state == CONN_ENDED)
		return;
	c->state = CONN_ENDED;
	c->link.up = false;
	c->error = *error;
	if (c->fd >= 0)
		(void)shutdown(c->fd, SHUT_RDWR);
	requests_fail(c, NULL, &c->error);
	for (i = 0; i < c->channels_count; i++) {
		if (c->channels[i].channel)
			channel_end(c->channels[i].channel, &c->error);
	}
	notice_push_end(c->own, EVENT_CLOSED, &c->error);
	out_flush(c); /* sends nothing any more, but empties its lists */
	credit_wake(c);
	(void)pthread_cond_broadcast(&c->cond);
	io_wake(c);
}

void conn_fail(struct muxc *c, int err, const char *format, ...)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	char text[sizeof(error.text)];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	error_set(&error, err, "%s", text);
	conn_end(c, &error);
}

/*
 * In a forked child nothing of the parent's may be touched but memory, and that
 * only if no thread of the parent was changing it at the fork: then the lock,
 * copied with the memory, is free.
 */
static void conn_free_in_child(struct muxc *c)
{
	uint32_t i;

	link_close_left(c, true);
	if (c->fd >= 0)
		(void)close(c->fd);
	if (c->wake_fd >= 0)
		(void)close(c->wake_fd);
	c->fd = -1;
	c->wake_fd = -1;
	if (pthread_mutex_trylock(&c->lock) != 0)
		return;
	c->freed = true;
	threads_forget(c);
	c->state = CONN_ENDED;
	c->error.error = -ECHILD;
	while (c->requests)
		request_drop(c, c->requests);
	for (i = 0; i < c->channels_count; i++) {
		if (c->channels[i].channel)
			channel_end(c->channels[i].channel, &c->error);
	}
	(void)dispatch_run(c, DISPATCH_BUDGET);
	out_flush(c); /* sends nothing, but empties its lists */
	conn_leave(c);
}

/* Waits until the socket takes more, or the deadline; reading goes on, or muxd might stop to read us. */
static void wait_writable(struct muxc *c, uint64_t deadline_usec)
{
	struct pollfd pfd = {.fd = c->fd, .events = POLLOUT};
	uint64_t now = now_usec(), usec = deadline_usec > now ? deadline_usec - now : 0;
	struct timespec ts = {(time_t)(usec / USEC_PER_SEC), (long)(usec % USEC_PER_SEC) * 1000};

	if (c->loop) {
		(void)wait_in_loop(c, deadline_usec);
		return;
	}
	(void)pthread_mutex_unlock(&c->lock);
	(void)ppoll(&pfd, 1, &ts, NULL);
	(void)pthread_mutex_lock(&c->lock);
}

/*
 * Publishing and leaving is safe: what is queued, or kept for a muxd that is
 * away, is handed over first.
 */
static void conn_linger(struct muxc *c)
{
	uint64_t deadline = deadline_after(c->linger_usec);

	out_flush(c);
	while (c->state != CONN_ENDED && now_usec() < deadline) {
		if (buf_len(&c->out) > 0 && c->fd >= 0)
			wait_writable(c, deadline);
		else if (c->unsent_count > 0)
			(void)conn_wait(c, &c->cond, deadline);
		else
			break;
		out_flush(c);
	}
}

struct muxc *muxc_free(struct muxc *c)
{
	if (!c)
		return NULL;
	if (conn_is_foreign(c)) {
		conn_free_in_child(c);
		return NULL;
	}
	(void)pthread_mutex_lock(&c->lock);
	if (c->forked)
		fork_adopt(c);
	c->freed = true;
	conn_linger(c);
	conn_fail(c, -ESHUTDOWN, "the connection was freed");
	threads_stop(c);
	link_close_left(c, true);
	if (c->fd >= 0)
		(void)close(c->fd);
	c->fd = -1;
	/* Nothing is called any more; what was to be is dropped. */
	(void)dispatch_run(c, DISPATCH_BUDGET);
	conn_leave(c);
	return NULL;
}

/* ------------------------------------------------------------------ looking */

int muxc_get_error(struct muxc *c, struct muxc_error *ret_error)
{
	int r;

	r = conn_enter(c, ret_error);
	if (r < 0)
		return r;
	error_clear(ret_error);
	conn_leave(c);
	return 0;
}

int muxc_get_upstream_state(struct muxc *c)
{
	int r;

	r = conn_enter(c, NULL);
	if (r < 0)
		return r;
	r = c->upstream_state < 0 ? -EAGAIN : c->upstream_state;
	conn_leave(c);
	return r;
}

const char *muxc_upstream_state_name(int state)
{
	switch (state) {
	case MUXC_UPSTREAM_CONNECTING:
		return "connecting";
	case MUXC_UPSTREAM_UP:
		return "up";
	case MUXC_UPSTREAM_BACKOFF:
		return "backoff";
	case MUXC_UPSTREAM_BLOCKED:
		return "blocked";
	case MUXC_UPSTREAM_FAILED:
		return "failed";
	default:
		return "unknown";
	}
}

uint64_t muxc_get_session(struct muxc *c)
{
	uint64_t session;

	if (conn_lock(c, NULL) < 0)
		return 0;
	session = c->session;
	conn_leave(c);
	return session;
}

uint64_t muxc_get_message_max(struct muxc *c)
{
	uint64_t max;

	if (conn_lock(c, NULL) < 0)
		return 0;
	max = c->message_max;
	conn_leave(c);
	return max;
}

int muxc_get_credit(struct muxc *c, uint64_t *ret_messages, uint64_t *ret_bytes)
{
	int r;

	r = conn_enter(c, NULL);
	if (r < 0)
		return r;
	if (ret_messages)
		*ret_messages = c->credit_messages - c->used_messages;
	if (ret_bytes)
		*ret_bytes = c->credit_bytes - c->used_bytes;
	conn_leave(c);
	return 0;
}
