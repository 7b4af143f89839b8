/* Who calls handlers: dispatch threads or the executor; see threads.c. */
#pragma once

#include "client/muxclient.h"

/* The I/O thread; without the lock. */
int threads_start(struct muxc *c, struct muxc_error *ret_error);
/* The same with the lock. */
int threads_begin(struct muxc *c);
/*
 * Ends the threads; gives up the lock meanwhile. Waits for handlers that run
 * and for what the executor has; from a handler, for the handlers of others.
 */
void threads_stop(struct muxc *c);
/* Drops the reference of a thread or a run, and gives back the lock. */
void threads_leave(struct muxc *c);
/* With the last reference. */
void threads_deinit(struct muxc *c);
/* A channel was put into the ready list by someone who does not run handlers now. */
void threads_wake(struct muxc *c);
/* The I/O thread's part in it; gives up the lock meanwhile. */
void threads_look(struct muxc *c);
/* In a forked child: the threads are not there, nor the handlers they ran. */
void threads_forget(struct muxc *c);
