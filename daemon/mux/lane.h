/*
 * Lanes: the channel numbers of one connection. A lane is opened ahead (warm)
 * or when it is needed, in confirm mode, and leased by one channel. When that
 * leaves, the lane goes to the next one behind a barrier, or is closed; its
 * number is free again only after channel.close-ok, in either direction.
 *
 *	warm -> leased -> fenced -> warm	handed back: no consumers were on it
 *	        leased -> closing -> free	failed, or no longer as good as new
 *
 * One for transactions is opened when it is needed, in tx mode, and closed
 * behind its lessee.
 */
#pragma once

#include "daemon/mux/state.h"
#include "daemon/mux/state/upstream.h"

/* For an upstream that has no connection yet; and the end of that. */
void lanes_init(struct upstream *upstream);
void lanes_deinit(struct upstream *upstream);

/* The broker ended the connection: if one lane too many was the reason, there will be fewer. */
void lanes_heed(struct upstream *upstream, const struct fault *fault);

/* The table for a connection that negotiated channel_max. 0 or -ENOMEM. */
int lanes_begin(struct upstream *upstream, uint16_t channel_max);

/* The connection is gone: frees every lane. Channels were detached before. */
void lanes_end(struct upstream *upstream);

/* The lane of that number, or NULL. */
static inline struct lane *lane_find(const struct upstream *upstream, uint16_t number)
{
	return upstream->lanes && number <= upstream->lane_max ? upstream->lanes[number] : NULL;
}

/* The broker's channel.open-ok came. */
void lane_answered(struct lane *lane);

/* Writes why a channel that waits for a lane has none, or nothing if there is another reason. */
void lanes_explain(const struct upstream *upstream, char *room, size_t size);

/*
 * Leases a lane to a channel that has none: a warm one, or one newly opened; in
 * tx mode always that. False: no number is free. For channel.c, which counts
 * deliveries from there.
 */
bool lane_lease(struct upstream *upstream, struct channel *channel, bool tx);

/* When nobody waits: opens lanes until enough are warm, as numbers allow; closes what came back beyond that.
 */
void lanes_keep_warm(struct upstream *upstream);

/* Ends the lease and no more: for a lane whose connection is gone. */
void lane_detach(struct lane *lane);

/*
 * Ends the lease: channel.close goes out behind what is being sent. What the
 * lane still holds of requests and publishes must have been answered.
 */
void lane_close(struct lane *lane);

/*
 * Ends the lease of a channel that has nothing at the broker any more. A lane
 * that is as good as new becomes warm again behind a barrier, a request
 * without effect: when it is answered, nothing the broker still had to say
 * about the last lessee, an error, a return, can come any more. Until then it
 * is nobody's. Other lanes, and those beyond what is kept warm, are closed.
 */
void lane_hand_back(struct lane *lane);

/* The answer to its barrier came. */
void lane_barrier_passed(struct lane *lane);

/* Closes a lane that nobody leases. */
void lane_retire(struct lane *lane);

/* The broker closed the lane: close-ok goes out, and the lease has ended. */
void lane_closed_by_broker(struct lane *lane);

/* The broker's close-ok to ours: the number is free, once a close-ok of ours that is due as well went out. */
void lane_close_confirmed(struct lane *lane);

/* Nothing is due any more: frees the lane and its number. */
void lane_release(struct lane *lane);

/* There is something to send on it. */
void lane_ready(struct lane *lane);

/* Appends a method's frame to what goes before anything queued. */
void lane_control(struct lane *lane, const struct amqc_method *method);

/* Notes whether its channel could do without it. */
void lane_set_idle(struct lane *lane, bool idle);
