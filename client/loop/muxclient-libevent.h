/*
 * A connection of libmuxclient in a loop of libevent (2.0 or later). Link with
 * libevent_core; libmuxclient itself needs nothing of it.
 *
 *	struct muxc_options options = {.size = sizeof(options), .flags = MUXC_LOOP};
 *	struct muxc_libevent *adapter;
 *
 *	muxc_connect(&options, &c, &error);
 *	muxc_libevent_attach(base, c, &adapter);
 *	event_base_dispatch(base);
 *	muxc_libevent_detach(adapter);
 *	muxc_free(c);
 *
 * Handlers are called by the loop, in its thread, which is the only one that
 * may use the connection while it is attached.
 *
 * TELL THE ADAPTER: libevent has no hook before it sleeps. A callback of the
 * program (a timer's, another socket's) that has called anything of the
 * connection, that is, has published, acknowledged, or made a call that waits,
 * calls muxc_libevent_update() afterwards: as often as it likes, all of it is
 * sent together when the callback has returned. Handlers of the connection
 * need not.
 *
 * When muxd is lost and comes back, the adapter follows the connection to its
 * new socket. When the connection has ended (muxc_options.on_closed is told
 * before), the adapter watches nothing any more and waits to be detached.
 *
 * The caller owns the connection and the base; both must live until the adapter
 * is detached. Do not use a base with EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST,
 * which cannot follow a socket whose number is used again. A forked child that
 * goes on with the loop calls event_reinit() first, as always with libevent.
 *
 * C99 with POSIX (gnu99, or _POSIX_C_SOURCE 200112L or later), or C++.
 */
#ifndef MUXCLIENT_LIBEVENT_H
#define MUXCLIENT_LIBEVENT_H

#include <muxclient-watch.h>

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

struct muxc_libevent {	/* all its own */
	struct muxc *c; /* NULL: detached by a handler */
	struct event_base *base;
	struct event *io; /* NULL: there is no socket */
	struct event *timer;
	struct muxc_watch watch; /* what io and timer were made for */
	int busy;		 /* muxc_process() runs */
};

static inline void muxc_libevent_turn(struct muxc_libevent *adapter);

static inline void muxc_libevent_on_event(evutil_socket_t fd, short events, void *userdata)
{
	(void)fd;
	(void)events;
	muxc_libevent_turn((struct muxc_libevent *)userdata);
}

static inline void muxc_libevent_unwatch_socket(struct muxc_libevent *adapter)
{
	if (adapter->io)
		event_free(adapter->io);
	adapter->io = NULL;
	adapter->watch.fd = -1;
}

static inline void muxc_libevent_watch_socket(struct muxc_libevent *adapter, const struct muxc_watch *watch)
{
	short events = EV_PERSIST;

	if (muxc_watch_same_socket(watch, &adapter->watch) && watch->events == adapter->watch.events)
		return;
	muxc_libevent_unwatch_socket(adapter);
	if (watch->fd < 0)
		return;
	if (watch->events & POLLIN)
		events |= EV_READ;
	if (watch->events & POLLOUT)
		events |= EV_WRITE;
	adapter->io = event_new(adapter->base, watch->fd, events, muxc_libevent_on_event, adapter);
	if (adapter->io && event_add(adapter->io, NULL) < 0)
		muxc_libevent_unwatch_socket(adapter);
}

static inline void muxc_libevent_watch(struct muxc_libevent *adapter)
{
	struct muxc_watch watch;
	struct timespec now;
	struct timeval tv;
	int msec;

	muxc_watch_update(adapter->c, &watch);
	muxc_libevent_watch_socket(adapter, &watch);
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	msec =
	    muxc_watch_msec(watch.until_usec, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
	if (watch.fd >= 0 && !adapter->io) { /* no memory: tried again */
		watch.fd = -1;
		msec = MUXC_WATCH_RETRY_MSEC;
	}
	tv.tv_sec = msec / 1000;
	tv.tv_usec = msec % 1000 * 1000;
	if (msec < 0)
		(void)event_del(adapter->timer);
	else
		(void)event_add(adapter->timer, &tv);
	adapter->watch = watch;
}

static inline void muxc_libevent_turn(struct muxc_libevent *adapter)
{
	int r;

	if (adapter->busy)
		return;
	adapter->busy = 1;
	r = muxc_process(adapter->c);
	adapter->busy = 0;
	if (!adapter->c) {
		free(adapter);
	} else if (r < 0) {
		muxc_libevent_unwatch_socket(adapter);
		(void)event_del(adapter->timer);
	} else {
		muxc_libevent_watch(adapter);
	}
}

/*
 * The connection's handlers are called by this base from now on. Errors:
 * -EOPNOTSUPP, the connection has no MUXC_LOOP; -ENOMEM; -EINVAL; -ECHILD.
 */
static inline int muxc_libevent_attach(struct event_base *base, struct muxc *c, struct muxc_libevent **ret)
{
	struct muxc_libevent *adapter;
	uint64_t until_usec;
	int r;

	if (!base || !c || !ret)
		return -EINVAL;
	r = muxc_get_timeout(c, &until_usec);
	if (r < 0)
		return r;
	adapter = (struct muxc_libevent *)calloc(1, sizeof(*adapter));
	if (!adapter)
		return -ENOMEM;
	adapter->c = c;
	adapter->base = base;
	muxc_watch_init(&adapter->watch);
	adapter->timer = evtimer_new(base, muxc_libevent_on_event, adapter);
	if (!adapter->timer) {
		free(adapter);
		return -ENOMEM;
	}
	muxc_libevent_watch(adapter);
	*ret = adapter;
	return 0;
}

/* To be called after the connection was used outside of its handlers, see above. */
static inline void muxc_libevent_update(struct muxc_libevent *adapter)
{
	if (!adapter->busy)
		event_active(adapter->timer, EV_TIMEOUT, 0);
}

/*
 * Takes the connection out of the loop; before it is freed. In a handler too,
 * where both may be done. NULL is fine. Returns NULL.
 */
static inline struct muxc_libevent *muxc_libevent_detach(struct muxc_libevent *adapter)
{
	if (!adapter)
		return NULL;
	muxc_libevent_unwatch_socket(adapter);
	event_free(adapter->timer);
	adapter->c = NULL;
	if (!adapter->busy)
		free(adapter);
	return NULL;
}

#endif
