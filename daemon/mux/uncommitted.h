/*
 * Publishes of an open transaction: sent on a lane that was put into tx mode,
 * where the broker confirms nothing before tx.commit. None is kept to be sent
 * again. Their numbers are, until the transaction's end tells what became of
 * them, and of mandatory ones as much as it takes to know them again when they
 * are returned.
 *
 * How much may be under way to the broker is bounded by the window all the same
 * (party.h). A confirm would make room in it; here a question does, one more
 * tx.select, which the broker answers when its channel has read all before it
 * (RabbitMQ 3.10, rabbit_channel). It goes out when nothing else can.
 */
#pragma once

#include "daemon/mux/state.h"
#include "daemon/mux/state/channel.h"

/*
 * The first byte of the publish goes out on its channel's lane, which is in tx
 * mode. Its credit comes back when its last byte has gone out; the block is the
 * lane's to free. False: no memory, nothing was done.
 */
bool uncommitted_add(struct lane *lane, struct publish *publish);

/*
 * The number of the publish that the basic.return in lane->in is about: the
 * oldest one not returned yet with these names and this body; 0: none. Returns
 * come in the order of the publishes, when the broker commits.
 */
uint64_t uncommitted_returned(struct lane *lane);

/* They ended so, but those that were returned: tells it, and forgets them. */
void uncommitted_end(struct channel *channel, enum outcome_kind kind, const struct fault *fault);

/* Asks, if anything stands in the window and nothing was asked yet. False: nothing went into lane->control.
 */
bool uncommitted_ask(struct lane *lane);

/* The answer came, or that of the transaction's end: the window has room again. */
void uncommitted_answered(struct lane *lane);
void uncommitted_all_read(struct lane *lane);

/* The session is gone: nobody pays for the numbers any more. */
static inline void uncommitted_unpay(struct channel *channel)
{
	charge_end(&channel->tx.charge);
}
