/*
 * A connection of libmuxclient in a loop of libuv (1.x). Link with libuv;
 * libmuxclient itself needs nothing of it.
 *
 *	struct muxc_options options = {.size = sizeof(options), .flags = MUXC_LOOP};
 *	struct muxc_libuv *adapter;
 *
 *	muxc_connect(&options, &c, &error);
 *	muxc_libuv_attach(loop, c, &adapter);
 *	uv_run(loop, UV_RUN_DEFAULT);
 *	muxc_libuv_detach(adapter);
 *	muxc_free(c);
 *	uv_run(loop, UV_RUN_DEFAULT);	(libuv closes handles in the loop)
 *	uv_loop_close(loop);
 *
 * Handlers are called by the loop, in its thread, which is the only one that
 * may use the connection while it is attached. What any callback of the loop
 * publishes or acknowledges is sent before the loop sleeps: the adapter looks
 * each time, nothing need be told to it.
 *
 * When muxd is lost and comes back, the adapter follows the connection to its
 * new socket. An attached connection keeps the loop alive. When it has ended
 * (muxc_options.on_closed is told before) it does not any more: the adapter
 * watches nothing and waits to be detached.
 *
 * The caller owns the connection and the loop. The connection must live until
 * the adapter is detached; the loop must run once more after that, or memory
 * is lost. A forked child that goes on with the loop calls uv_loop_fork()
 * first, as always with libuv.
 *
 * C99 with what uv.h needs (gnu99, or _POSIX_C_SOURCE 200809L), or C++.
 */
#ifndef MUXCLIENT_LIBUV_H
#define MUXCLIENT_LIBUV_H

#include <muxclient-watch.h>

#include <errno.h>
#include <stdlib.h>
#include <uv.h>

struct muxc_libuv {	/* all its own */
	struct muxc *c; /* NULL: detached */
	uv_loop_t *loop;
	uv_poll_t *poll; /* NULL: there is no socket; one for each, as libuv wants it */
	uv_timer_t timer;
	uv_idle_t idle; /* instead of a timer of 0, which would let no other timer run */
	uv_prepare_t prepare;
	struct muxc_watch watch; /* what poll and timer were made for */
	int busy;		 /* muxc_process() runs */
	int refs;		 /* of timer, idle, prepare, and muxc_process() */
};

static inline void muxc_libuv_turn(struct muxc_libuv *adapter);

static inline void muxc_libuv_unref(struct muxc_libuv *adapter)
{
	if (--adapter->refs == 0)
		free(adapter);
}

static inline void muxc_libuv_on_close(uv_handle_t *handle)
{
	muxc_libuv_unref((struct muxc_libuv *)handle->data);
}

static inline void muxc_libuv_on_close_poll(uv_handle_t *handle)
{
	free(handle);
}

static inline void muxc_libuv_on_poll(uv_poll_t *handle, int status, int events)
{
	(void)status; /* what is wrong with the socket muxc_process() finds itself */
	(void)events;
	muxc_libuv_turn((struct muxc_libuv *)handle->data);
}

static inline void muxc_libuv_on_timer(uv_timer_t *handle)
{
	muxc_libuv_turn((struct muxc_libuv *)handle->data);
}

static inline void muxc_libuv_on_idle(uv_idle_t *handle)
{
	muxc_libuv_turn((struct muxc_libuv *)handle->data);
}

static inline void muxc_libuv_unwatch_socket(struct muxc_libuv *adapter)
{
	if (adapter->poll)
		uv_close((uv_handle_t *)adapter->poll, muxc_libuv_on_close_poll);
	adapter->poll = NULL;
	adapter->watch.fd = -1;
}

static inline void muxc_libuv_watch_socket(struct muxc_libuv *adapter, const struct muxc_watch *watch)
{
	int events = 0;

	if (!muxc_watch_same_socket(watch, &adapter->watch)) {
		muxc_libuv_unwatch_socket(adapter);
		if (watch->fd < 0)
			return;
		adapter->poll = (uv_poll_t *)malloc(sizeof(*adapter->poll));
		if (!adapter->poll)
			return;
		if (uv_poll_init(adapter->loop, adapter->poll, watch->fd) < 0) {
			free(adapter->poll);
			adapter->poll = NULL;
			return;
		}
		adapter->poll->data = adapter;
	} else if (watch->events == adapter->watch.events) {
		return;
	}
	if (watch->events & POLLIN)
		events |= UV_READABLE;
	if (watch->events & POLLOUT)
		events |= UV_WRITABLE;
	if (adapter->poll && uv_poll_start(adapter->poll, events, muxc_libuv_on_poll) < 0)
		muxc_libuv_unwatch_socket(adapter);
}

static inline void muxc_libuv_watch(struct muxc_libuv *adapter)
{
	uint64_t now_usec = uv_now(adapter->loop) * 1000; /* CLOCK_MONOTONIC */
	struct muxc_watch watch;
	int msec;

	muxc_watch_update(adapter->c, &watch);
	muxc_libuv_watch_socket(adapter, &watch);
	msec = muxc_watch_msec(watch.until_usec, now_usec);
	if (watch.fd >= 0 && !adapter->poll) { /* no memory: tried again */
		watch.fd = -1;
		msec = MUXC_WATCH_RETRY_MSEC;
	}
	if (msec == 0)
		(void)uv_idle_start(&adapter->idle, muxc_libuv_on_idle);
	else
		(void)uv_idle_stop(&adapter->idle);
	if (msec > 0)
		(void)uv_timer_start(&adapter->timer, muxc_libuv_on_timer, (uint64_t)msec, 0);
	else
		(void)uv_timer_stop(&adapter->timer);
	adapter->watch = watch;
}

static inline void muxc_libuv_on_prepare(uv_prepare_t *handle)
{
	struct muxc_libuv *adapter = (struct muxc_libuv *)handle->data;

	if (!adapter->busy)
		muxc_libuv_watch(adapter);
}

static inline void muxc_libuv_turn(struct muxc_libuv *adapter)
{
	int r;

	if (adapter->busy)
		return;
	adapter->busy = 1;
	adapter->refs++;
	r = muxc_process(adapter->c);
	adapter->busy = 0;
	if (adapter->c && r < 0) {
		muxc_libuv_unwatch_socket(adapter);
		(void)uv_timer_stop(&adapter->timer);
		(void)uv_idle_stop(&adapter->idle);
		(void)uv_prepare_stop(&adapter->prepare);
	} else if (adapter->c) {
		muxc_libuv_watch(adapter);
	}
	muxc_libuv_unref(adapter);
}

/*
 * The connection's handlers are called by this loop from now on. Errors:
 * -EOPNOTSUPP, the connection has no MUXC_LOOP; -ENOMEM; -EINVAL; -ECHILD.
 */
static inline int muxc_libuv_attach(uv_loop_t *loop, struct muxc *c, struct muxc_libuv **ret)
{
	struct muxc_libuv *adapter;
	uint64_t until_usec;
	int r;

	if (!loop || !c || !ret)
		return -EINVAL;
	r = muxc_get_timeout(c, &until_usec);
	if (r < 0)
		return r;
	adapter = (struct muxc_libuv *)calloc(1, sizeof(*adapter));
	if (!adapter)
		return -ENOMEM;
	adapter->c = c;
	adapter->loop = loop;
	adapter->refs = 3;
	muxc_watch_init(&adapter->watch);
	(void)uv_timer_init(loop, &adapter->timer); /* these four never fail */
	(void)uv_idle_init(loop, &adapter->idle);
	(void)uv_prepare_init(loop, &adapter->prepare);
	adapter->timer.data = adapter;
	adapter->idle.data = adapter;
	adapter->prepare.data = adapter;
	(void)uv_prepare_start(&adapter->prepare, muxc_libuv_on_prepare);
	*ret = adapter;
	return 0;
}

/*
 * Takes the connection out of the loop; before it is freed. In a handler too,
 * where both may be done. NULL is fine. Returns NULL.
 */
static inline struct muxc_libuv *muxc_libuv_detach(struct muxc_libuv *adapter)
{
	if (!adapter)
		return NULL;
	muxc_libuv_unwatch_socket(adapter);
	adapter->c = NULL;
	uv_close((uv_handle_t *)&adapter->timer, muxc_libuv_on_close);
	uv_close((uv_handle_t *)&adapter->idle, muxc_libuv_on_close);
	uv_close((uv_handle_t *)&adapter->prepare, muxc_libuv_on_close);
	return NULL;
}

#endif
