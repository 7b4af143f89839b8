/* Connections in a forked child; see fork.c. */
#pragma once

#include "client/muxclient.h"

/* With MUXC_REATTACH. A negative errno: it cannot be. */
int fork_register(struct muxc *c);
/* Without the lock. */
void fork_unregister(struct muxc *c);
/* In the child, before anything else: forgets what is the parent's. */
void fork_adopt(struct muxc *c);
/* Starts the thread. */
int fork_wake(struct muxc *c, struct muxc_error *ret_error);
