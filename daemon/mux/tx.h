/*
 * Transactions. A channel whose client says tx.select gets a lane of its own,
 * opened in tx mode instead of confirm mode, and keeps it until it closes. What
 * is published and settled there counts at the broker from tx.commit on.
 *
 *	asked    tx.select was accepted. What came before it is finished first;
 *		 it waits at the head of the queue meanwhile
 *	begun    the channel has its tx lane. If the connection goes, it gets
 *		 another, or, with anything in its transaction, ends
 *
 * Nothing follows an unanswered end of a transaction (commit, rollback; recover
 * too, for its sake of tags): RabbitMQ closes the connection for what comes
 * behind a commit. Queue and control of the lane stand still, and what the
 * client settles goes through the queue, in its place.
 *
 * Nothing of a transaction is ever sent again.
 */
#pragma once

#include "daemon/mux/state.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/op.h"

/*
 * Whether a client's method may be done, for all that transactions have to do
 * with it. False: *ret_fault says why not; *ret_scope how much ends.
 */
bool tx_vet(struct channel *channel, const struct amqc_method *method, enum fault_scope *ret_scope,
	    struct fault *ret_fault);

/* It is in the channel's queue. */
void tx_accepted(struct request *request);

/* It is not any more, nor without an answer. */
void tx_request_gone(struct channel *channel, const struct request *request);

/* Settles for the client, now or in its place in the queue. False: as delivery_settle(). */
bool tx_settle(struct channel *channel, enum settle_kind kind, uint64_t first, uint64_t last,
	       struct fault *ret_fault);

/* The one at the head of the queue. May end the channel. */
void tx_settle_queued(struct channel *channel, struct op *op);

/* Frees one that is in the queue. */
void tx_settle_drop(struct channel *channel, struct op *op);

/* Whether the lane that the channel leases next must be in tx mode. */
bool tx_needs_lane(struct channel *channel);

/* At the end of a turn: gives up the lane from before tx.select; may end the channel. */
void tx_turn(struct channel *channel);

/* The broker has answered a request of the lane; it is not answered here yet. */
void tx_answered(struct lane *lane, const struct request *request);

/* A basic.return on a lane in tx mode. May end the channel. */
void tx_returned(struct lane *lane);

/* The channel ends by this fault, with its transaction. */
void tx_end(struct channel *channel, const struct fault *fault);

/* The connection is gone: true, and why the channel must end, if anything was in its transaction. */
bool tx_is_lost(const struct channel *channel, const struct fault *lost, struct fault *ret_fault);

/* It was closed: what it did not commit will not be. */
void tx_leave(struct channel *channel);

/* A deadline passed, or there is no broker, and the transaction cannot go on without what was given up. */
static inline bool tx_depends_on(const struct request *request)
{
	return request->ends_tx || request->method == AMQC_TX_SELECT;
}

/* Nothing may be sent on the lane. */
static inline bool tx_is_silent(const struct lane *lane)
{
	return lane->tx.end != NULL;
}

/* What the broker still delivers will come again. */
static inline bool tx_recovers(const struct lane *lane)
{
	return lane->tx.end && lane->tx.end->method == AMQC_BASIC_RECOVER;
}
