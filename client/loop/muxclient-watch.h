/*
 * What a loop must watch for a connection in loop mode (MUXC_LOOP): used by
 * muxclient-libevent.h, muxclient-libuv.h, muxclient-glib.h and
 * muxclient-sdevent.h, and all that an adapter to another loop needs:
 *
 *  - before the loop sleeps, muxc_watch_update() sends what the program has
 *    queued since, and tells the descriptor, its events, and until when;
 *  - when one of these is there, muxc_process() is called, once;
 *  - if that gives an error the connection has ended, its handlers were told,
 *    and nothing is to be watched any more;
 *  - a handler may have freed the connection: after muxc_process() ask
 *    something of the adapter's own, not the connection.
 *
 * POSIX, C99 or C++.
 */
#ifndef MUXCLIENT_WATCH_H
#define MUXCLIENT_WATCH_H

#include <muxclient.h>

#include <limits.h>
#include <poll.h>
#include <sys/stat.h>

#define MUXC_WATCH_RETRY_MSEC 10 /* when there was no memory to watch a socket */

struct muxc_watch {
	int fd;		     /* -1: none, muxd is away */
	int events;	     /* POLLIN, POLLOUT */
	uint64_t socket;     /* the socket's inode */
	uint64_t until_usec; /* CLOCK_MONOTONIC; 0: at once, UINT64_MAX: never */
};

/* Nothing at all, to begin with. */
static inline void muxc_watch_init(struct muxc_watch *ret)
{
	ret->fd = -1;
	ret->events = 0;
	ret->socket = 0;
	ret->until_usec = UINT64_MAX;
}

static inline void muxc_watch_update(struct muxc *c, struct muxc_watch *ret)
{
	struct stat status;
	uint64_t until_usec;

	muxc_watch_init(ret);
	(void)muxc_flush(c); /* if it cannot be sent, muxc_process() will tell why */
	ret->fd = muxc_get_fd(c);
	ret->events = muxc_get_events(c);
	if (ret->fd < 0 || ret->events <= 0) {
		ret->fd = -1;
		ret->events = 0;
	} else if (fstat(ret->fd, &status) == 0) {
		ret->socket = (uint64_t)status.st_ino;
	}
	/* A connection that cannot even tell this has an error to tell. */
	ret->until_usec = muxc_get_timeout(c, &until_usec) < 0 ? 0 : until_usec;
}

/*
 * A new connection to muxd may have the number of the old one, which epoll and
 * its like forgot when it was closed.
 */
static inline int muxc_watch_same_socket(const struct muxc_watch *a, const struct muxc_watch *b)
{
	return a->fd == b->fd && a->socket == b->socket;
}

/* From now until then in milliseconds, rounded up; -1: never. */
static inline int muxc_watch_msec(uint64_t until_usec, uint64_t now_usec)
{
	uint64_t msec;

	if (until_usec == UINT64_MAX)
		return -1;
	if (until_usec <= now_usec)
		return 0;
	msec = (until_usec - now_usec - 1) / 1000 + 1;
	return msec < INT_MAX ? (int)msec : INT_MAX;
}

#endif
