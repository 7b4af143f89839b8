/*
 * Recovery: what is brought back when a connection to the broker has been made
 * again, in phases over the whole upstream, so that nothing is published
 * before everything that it could be routed to is there:
 *
 *	topology   exchanges, queues and bindings are made again, on a lane of our own
 *	consumers  channels with consumers get their lanes and subscribe again
 *	none       everybody goes on: publishes are replayed, what waited is sent
 *
 * What the broker refuses for now, because it still holds it for the dead
 * connection (405 for an exclusive queue, 403 for an exclusive consumer), is
 * parked: it delays what depends on it and nothing else, and is tried again for
 * three heartbeat intervals (at least 10 s). What is refused for good fails the channel
 * that owns it, with the broker's error.
 *
 * A broker that does not answer at all ends the phases after that time.
 */
#pragma once

#include "daemon/mux/state.h"
#include "daemon/mux/state/upstream.h"

void recovery_init(struct upstream *upstream);

/* A connection was made: what there is to bring back is due. recovery_turn() does it. */
void recovery_begin(struct upstream *upstream);

/* The connection is gone. Call before the channels lose their lanes. */
void recovery_lost(struct upstream *upstream);

/* At the end of a turn: goes on. */
void recovery_turn(struct upstream *upstream);

/* Whether channels may be given lanes. */
static inline bool recovery_is_over(const struct upstream *upstream)
{
	return upstream->recovery.phase == RECOVERY_NONE;
}

/*
 * The broker closed the channel's lane. True: it is part of recovery, and was
 * dealt with; the caller frees the lane and does nothing else.
 */
bool recovery_refused(struct channel *channel, const struct fault *fault);

/* What a channel's consumers waited for, before they could be subscribed again, is there. */
void recovery_goes_on(struct channel *channel);

/* The broker answered a request that makes a thing again, or was to. */
void recovery_made(struct lane *lane, struct request *request);

/* The broker has taken a consumer again. */
void recovery_subscribed(struct consumer *consumer);
