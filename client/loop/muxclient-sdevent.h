/*
 * A connection of libmuxclient in a loop of sd-event. Link with libsystemd;
 * libmuxclient itself needs nothing of it.
 *
 *	struct muxc_options options = {.size = sizeof(options), .flags = MUXC_LOOP};
 *	struct muxc_sdevent *adapter;
 *
 *	muxc_connect(&options, &c, &error);
 *	muxc_sdevent_attach(event, c, &adapter);
 *	sd_event_loop(event);
 *	muxc_sdevent_detach(adapter);
 *	muxc_free(c);
 *
 * Handlers are called by the loop, in its thread, which is the only one that
 * may use the connection while it is attached. What any callback of the loop
 * publishes or acknowledges is sent before the loop sleeps: the adapter looks
 * each time, nothing need be told to it.
 *
 * When muxd is lost and comes back, the adapter follows the connection to its
 * new socket. When the connection has ended (muxc_options.on_closed is told
 * before), the adapter watches nothing any more and waits to be detached.
 *
 * The caller owns the connection, which must live until the adapter is
 * detached. The adapter refers to the loop. An sd-event loop cannot be used in
 * a forked child; detaching there is fine.
 *
 * C99 with what sd-event.h needs (gnu99), or C++.
 */
#ifndef MUXCLIENT_SDEVENT_H
#define MUXCLIENT_SDEVENT_H

#include <muxclient-watch.h>

#include <errno.h>
#include <stdlib.h>
#include <systemd/sd-event.h>

struct muxc_sdevent {	/* all its own */
	struct muxc *c; /* NULL: detached by a handler */
	sd_event *event;
	sd_event_source *io;	 /* NULL: there is no socket */
	sd_event_source *timer;	 /* always there, for its prepare callback */
	struct muxc_watch watch; /* what io and timer were made for */
	int busy;		 /* muxc_process() runs */
};

static inline void muxc_sdevent_turn(struct muxc_sdevent *adapter);

static inline int muxc_sdevent_on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	(void)source;
	(void)fd;
	(void)events;
	muxc_sdevent_turn((struct muxc_sdevent *)userdata);
	return 0;
}

static inline int muxc_sdevent_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	muxc_sdevent_turn((struct muxc_sdevent *)userdata);
	return 0;
}

static inline void muxc_sdevent_unwatch_socket(struct muxc_sdevent *adapter)
{
	adapter->io = sd_event_source_unref(adapter->io);
	adapter->watch.fd = -1;
}

static inline void muxc_sdevent_watch_socket(struct muxc_sdevent *adapter, const struct muxc_watch *watch)
{
	uint32_t events = 0;

	if (watch->events & POLLIN)
		events |= EPOLLIN;
	if (watch->events & POLLOUT)
		events |= EPOLLOUT;
	if (!muxc_watch_same_socket(watch, &adapter->watch)) {
		muxc_sdevent_unwatch_socket(adapter);
		if (watch->fd >= 0)
			(void)sd_event_add_io(adapter->event, &adapter->io, watch->fd, events,
					      muxc_sdevent_on_io, adapter);
	} else if (adapter->io && watch->events != adapter->watch.events) {
		if (sd_event_source_set_io_events(adapter->io, events) < 0)
			muxc_sdevent_unwatch_socket(adapter);
	}
}

static inline void muxc_sdevent_watch(struct muxc_sdevent *adapter)
{
	struct muxc_watch watch;
	uint64_t now_usec = 0;

	muxc_watch_update(adapter->c, &watch);
	muxc_sdevent_watch_socket(adapter, &watch);
	if (watch.fd >= 0 && !adapter->io) { /* no memory: tried again */
		(void)sd_event_now(adapter->event, CLOCK_MONOTONIC, &now_usec);
		watch.fd = -1;
		watch.until_usec = now_usec + MUXC_WATCH_RETRY_MSEC * 1000;
	}
	if (watch.until_usec != adapter->watch.until_usec)
		(void)sd_event_source_set_time(adapter->timer, watch.until_usec);
	adapter->watch = watch;
}

static inline int muxc_sdevent_on_prepare(sd_event_source *source, void *userdata)
{
	struct muxc_sdevent *adapter = (struct muxc_sdevent *)userdata;

	(void)source;
	if (!adapter->busy)
		muxc_sdevent_watch(adapter);
	return 0;
}

static inline void muxc_sdevent_turn(struct muxc_sdevent *adapter)
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
		muxc_sdevent_unwatch_socket(adapter);
		(void)sd_event_source_set_enabled(adapter->timer, SD_EVENT_OFF);
	} else {
		muxc_sdevent_watch(adapter);
	}
}

/*
 * The connection's handlers are called by this loop from now on. Errors:
 * -EOPNOTSUPP, the connection has no MUXC_LOOP; -ENOMEM; -EINVAL; -ECHILD; those
 * of sd_event_add_time(3).
 */
static inline int muxc_sdevent_attach(sd_event *event, struct muxc *c, struct muxc_sdevent **ret)
{
	struct muxc_sdevent *adapter;
	uint64_t until_usec;
	int r;

	if (!event || !c || !ret)
		return -EINVAL;
	r = muxc_get_timeout(c, &until_usec);
	if (r < 0)
		return r;
	adapter = (struct muxc_sdevent *)calloc(1, sizeof(*adapter));
	if (!adapter)
		return -ENOMEM;
	adapter->c = c;
	adapter->event = event;
	muxc_watch_init(&adapter->watch);
	r = sd_event_add_time(event, &adapter->timer, CLOCK_MONOTONIC, UINT64_MAX, 1, muxc_sdevent_on_timer,
			      adapter);
	if (r >= 0)
		r = sd_event_source_set_enabled(adapter->timer, SD_EVENT_ON);
	if (r >= 0)
		r = sd_event_source_set_prepare(adapter->timer, muxc_sdevent_on_prepare);
	if (r < 0) {
		sd_event_source_unref(adapter->timer);
		free(adapter);
		return r;
	}
	*ret = adapter;
	return 0;
}

/*
 * Takes the connection out of the loop; before it is freed. In a handler too,
 * where both may be done. NULL is fine. Returns NULL.
 */
static inline struct muxc_sdevent *muxc_sdevent_detach(struct muxc_sdevent *adapter)
{
	if (!adapter)
		return NULL;
	muxc_sdevent_unwatch_socket(adapter);
	sd_event_source_unref(adapter->timer);
	adapter->c = NULL;
	if (!adapter->busy)
		free(adapter);
	return NULL;
}

#endif
