/*
 * A listening Unix socket: one we bind, or one that systemd handed over.
 *
 * When the process runs out of descriptors, accepting pauses for a moment
 * instead of spinning on a socket that stays readable; the waiting clients
 * stay in the kernel's queue.
 */
#pragma once

#include "daemon/net/loop.h"

#include <sys/types.h>

struct listener;

struct listener_options {
	/* A new connection, non-blocking, close-on-exec; the callee's from now on. */
	void (*on_accept)(void *context, int fd);
	void *context;
};

struct listener_unix_options {
	const char *path;
	mode_t mode; /* of the socket file */
	gid_t group; /* (gid_t)-1: as it comes */
};

#define LISTENER_ERROR_MAX 256u

/*
 * Binds and listens. A socket file that nobody listens on is replaced; one
 * that answers is -EADDRINUSE, a file of another kind -ENOTSOCK, a path that
 * does not fit -ENAMETOOLONG. On any error the text (LISTENER_ERROR_MAX bytes)
 * says what and which path.
 */
int listener_new_unix(struct loop *loop, const struct listener_options *options,
		      const struct listener_unix_options *where, char *ret_error, struct listener **ret)
    __attribute__((warn_unused_result));

/* Listens on a socket that came from outside; it becomes the listener's. 0, -EINVAL (text set), -ENOMEM. */
int listener_new_inherited(struct loop *loop, const struct listener_options *options, int fd, char *ret_error,
			   struct listener **ret) __attribute__((warn_unused_result));

/*
 * The descriptor that systemd's protocol hands over ($LISTEN_PID, $LISTEN_FDS),
 * or -1. The variables are removed; further descriptors are closed.
 */
int listener_take_inherited_fd(void);

/*
 * Stops listening, and removes the socket file if we made it. NULL is fine;
 * returns NULL. Who has connected to a file of ours, and was not accepted yet,
 * is accepted first: nobody else could. (Whom the kernel queued for a socket
 * that was handed over, the next one accepts.)
 */
struct listener *listener_close(struct listener *listener);
