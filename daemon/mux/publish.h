/*
 * Publishes, from acceptance to outcome.
 *
 * A publish is accepted when it was read whole within credit and limits. It is
 * copied once, as the frames that will go out, into a block that lives until
 * its outcome is known: in its channel's queue until the first byte is sent,
 * in the lane's confirms from then on.
 *
 * The outcome is told in ranges at the end of the turn.
 */
#pragma once

#include "daemon/mux/state.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/op.h"

/* It has the names and flags of the channel's last one, which was accepted. */
bool publish_repeats(const struct channel *channel, const struct mux_publish *publish);

/*
 * Accepts a publish as the channel's next number, at the end of its queue;
 * repeats: what publish_repeats() says of it. AMQC_OK; AMQC_TOO_LONG: a name or property of more than 255
 * bytes; AMQC_INCOMPLETE: no memory. On error nothing was made.
 */
enum amqc_result publish_queue(struct channel *channel, const struct mux_publish *publish, bool repeats);

/*
 * Whether one that is not sent may be at the broker all the same, because its
 * client says that it sent it before. In a transaction outcomes are about that
 * alone.
 */
static inline bool publish_is_in_doubt(const struct channel *channel, bool resent)
{
	return resent && !channel->tx.asked;
}

/* Tells the outcome of a publish that has none yet, and gives its credit back. The block stays. */
void publish_settle(struct publish *publish, enum outcome_kind kind, const struct fault *fault);

/*
 * Settles a publish that is in its channel's queue, and frees it: NOT_SENT, or
 * UNKNOWN if it was sent on an earlier connection, or in an earlier session.
 */
void publish_discard(struct publish *publish, const struct fault *fault);

/* The same for one that the scout has sent, with this outcome: the broker's. */
void publish_done(struct publish *publish, enum outcome_kind kind);

/* The broker has no queue for it: that is told. */
void publish_returned(struct publish *publish, const struct amqc_basic_return *method,
		      const struct mux_content *content);

/* The same of one that the scout has sent: by what it was sent with. */
void publish_returned_as_sent(struct publish *publish);

/* Gives the credit of one back that has no outcome yet and is not kept: it was sent in a transaction. */
void publish_release(struct publish *publish);

/* Puts numbers into the outcomes to be told: for what is settled otherwise. */
void outcome_add_run(struct channel *channel, enum outcome_kind kind, uint64_t first, uint64_t last,
		     const struct fault *fault);

/* The same for one that was read when its channel had ended. */
static inline void outcome_add(struct channel *channel, enum outcome_kind kind, uint64_t number,
			       const struct fault *fault)
{
	outcome_add_run(channel, kind, number, number, fault);
}

/* Tells what was collected. */
void outcome_flush(struct channel *channel);

/* The first byte of the publish goes out on the lane: it gets the next tag. False: no memory. */
bool confirms_push(struct lane *lane, struct publish *publish);

/* The last byte of lane->sending went out, or never will: it may be gone after this. */
void publish_sent(struct lane *lane);

/* The broker's ack or nack. False: no such tag was sent (the broker's fault). */
bool confirms_settle(struct lane *lane, uint64_t tag, bool multiple, bool nack);

/* Takes the publish with that tag out of the ring, if it is to be sent again; else settles and frees it.
 * NULL. */
struct publish *confirms_take(struct lane *lane, uint64_t tag);

/* The same publish with another content header, in its place; the old block is freed. NULL: it stays as it
 * was. */
struct publish *publish_rewrite(struct publish *publish, const struct amqc_content_header *header);

/* Ends all that is not settled; what is still being sent stays until it is sent. */
void confirms_end(struct lane *lane, const struct fault *fault);

/*
 * The publish that the basic.return in lane->in is about, or NULL. The broker
 * gives no tag: it is the oldest unsettled mandatory one with these names and
 * this body, and with the same properties if there is one (an older one that
 * differs in them may have been routed, and not be confirmed yet).
 */
struct publish *confirms_find_returned(struct lane *lane);

/* Frees the ring and what is left in it, all settled. */
/* The lane rests, with nothing unconfirmed: gives a large ring back. Tags go on where they are. */
void confirms_rest(struct lane *lane);

void confirms_deinit(struct lane *lane);

/* The parts of a publish. */
static inline struct span publish_body(const struct publish *publish)
{
	return span_make(publish->data + publish->head_len, publish->body_len);
}
