/*
 * Frames from the broker, to the lane they name and the channel that leases
 * it. What makes no sense ends the connection: both sides would disagree about
 * everything that follows.
 */
#pragma once

#include "daemon/mux/state.h"

/* One frame for a lane. May end the connection (upstream->conn is not open then). */
void dispatch_frame(struct upstream *upstream, const struct amqc_frame *frame);
