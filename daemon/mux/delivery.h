/*
 * What was delivered on a channel's lane and is not settled, and how the
 * broker is told. The broker counts the deliveries of a lane through all its
 * leases, a client those of its channel through all its lanes: so each lease
 * begins with the last tag of both.
 *
 * Acks are collected and sent at the end of the turn: one basic.ack with
 * multiple for what is settled from the oldest on, single ones for the rest.
 *
 * On a lane in tx mode what was sent counts when the transaction is committed
 * (tx.h): until then it keeps its slot. What muxd gives back itself is part of
 * the transaction too, so it is given back again after a rollback.
 */
#pragma once

#include "daemon/mux/state.h"
#include "daemon/mux/state/channel.h"

/* A delivery or got message came with this lane tag. False: no memory, or a tag that cannot be. */
bool delivery_add(struct channel *channel, uint64_t lane_tag, enum slot_state state);

/* Notes that the one added last is not simply returned. */
void delivery_set_kind(struct channel *channel, uint64_t lane_tag, enum slot_kind kind);

/* Moves one on: PENDING -> OUT, TAKEN -> ACKED, ... */
void delivery_set(struct channel *channel, uint64_t lane_tag, enum slot_state state);

static inline uint64_t delivery_client_tag(const struct channel *channel, uint64_t lane_tag)
{
	return lane_tag - channel->deliveries.lane_base + channel->deliveries.client_base;
}

/* The socket took an auto-ack message, by the client's tag: it counts as acked, if it is not of another lane.
 */
void delivery_taken(struct channel *channel, uint64_t tag);

/*
 * What a client settles. False: a tag it does not have, and *ret_fault says so
 * (406, as the broker would). What was delivered on a connection that is gone
 * is ignored: it comes again.
 */
bool delivery_settle(struct channel *channel, enum settle_kind kind, uint64_t first, uint64_t last,
		     struct fault *ret_fault);

/* Gives one message back to its queue; of a stream it is dropped, as the stream has it. */
void delivery_requeue(struct channel *channel, uint64_t lane_tag);

/* Gives all back that are not settled. */
void delivery_requeue_all(struct channel *channel);

/* The one added last is of a consumer, and counts for channel->unacked_max while the client has it. */
void delivery_counts(struct channel *channel, uint64_t lane_tag);

/*
 * A transaction has ended: what was settled in it is settled, or the client's
 * again. The broker has taken back all but what was settled in it.
 */
void delivery_committed(struct channel *channel);
void delivery_rolled_back(struct channel *channel);
void delivery_recovered(struct channel *channel);

/* True, and *ret_fault (540), if messages of a stream are unsettled: they cannot go back. */
bool delivery_has_stream(const struct channel *channel, struct fault *ret_fault);

/* Handed over and not yet taken by the socket: counts as acked, when the client closes the channel itself. */
void delivery_take_all(struct channel *channel);

/*
 * Whether what was acked can wait a moment for more: acks of auto-ack consumers
 * that are far from their prefetch. They go with the next thing that is sent
 * on the lane, or soon.
 */
bool delivery_may_wait(const struct channel *channel);

/* Tells the broker what was acked. */
void delivery_flush(struct channel *channel);

/* Its session goes, and pays no more for it. */
void delivery_unpay(struct channel *channel);

/* The end. */
void delivery_deinit(struct channel *channel);

/* The channel has leased its lane, and nothing was delivered yet. */
void delivery_begin(struct channel *channel);

/* The lane is gone: nothing of it can be settled any more. */
void delivery_reset(struct channel *channel);

/* The same with a connection: what clients settle of it from now on is stale, and no error. */
void delivery_lost(struct channel *channel);
