/*
 * An upstream: dialling, coming up, going down, and its part in a turn. (What
 * the body calls is in mux.h.)
 */
#pragma once

#include "daemon/mux/state.h"

/* Deals with a connection that ended: channels, lanes, and the next dial. May be called at any time. */
void upstream_settle(struct upstream *upstream);

/* Who waits gets a lane, lanes are warmed, output is filled. */
void upstream_turn(struct upstream *upstream);
