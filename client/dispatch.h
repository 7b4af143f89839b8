/* The handlers that are called for events; see dispatch.c. */
#pragma once

#include "client/muxclient.h"

#include <stdbool.h>

#define DISPATCH_BUDGET 256 /* handlers before the loop looks at the socket again */

/* In a forked child: no handler runs, whatever the parent's threads did. */
void running_forget(struct muxc *c);
/*
 * Runs handlers of ready channels, at most budget; gives up the lock meanwhile.
 * Returns how many were called. In a child that a handler has forked: -ECHILD,
 * and the caller drops its reference and leaves; or -EBUSY, the lock is not
 * held, and nothing may be touched.
 */
int dispatch_run(struct muxc *c, int budget);
/* The same for the turn of the channel that is ready the longest, if there is one. */
int dispatch_turn(struct muxc *c);
/* This thread calls a handler of the connection's now. */
bool in_dispatch(const struct muxc *c);
/* Calls on_destroy if its time has come; gives up the lock meanwhile. In a forked child as dispatch_run(). */
int channel_tell_destroyed(struct muxc_channel *channel);
