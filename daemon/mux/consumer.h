/*
 * A consumer's life, from basic.consume to cancel-ok or the loss of the
 * connection. Its messages go through daemon/mux/handout.h.
 */
#pragma once

#include "daemon/mux/state.h"

/* The pseudo-queue of direct reply-to (rabbitmq.com/direct-reply-to): it is consumed without acks. */
#define DIRECT_REPLY_TO "amq.rabbitmq.reply-to"

/* Each delivery, and what a client says of one, is looked for among all of its channel's. */
#define CONSUMERS_PER_CHANNEL_MAX 1024u

/* Makes a consumer of the channel from a basic.consume. The tag is copied. NULL: no memory. */
struct consumer *consumer_new(struct channel *channel, const struct mux_request *request);

/* Its session pays for it, with its basic.consume. False: no memory. */
bool consumer_pay(struct consumer *consumer) __attribute__((warn_unused_result));

/* Frees it, and what waits in it, without a word. What waited is still unsettled at the broker. */
void consumer_free(struct consumer *consumer);

/* The client's live one of that number; the one, also if it is gone for the client, that the broker knows. */
struct consumer *consumer_find(const struct channel *channel, uint32_t number);
struct consumer *consumer_find_tag(const struct channel *channel, struct span tag);

/*
 * One that shrinks (daemon/mux/subscribe.h) takes its next step, if it can: cancelled if the broker has
 * cancelled it. May end it.
 */
void consumer_shrink_on(struct consumer *consumer, bool cancelled);

/* One message that waits, or all of them, is dropped without a word. */
void consumer_drop_held(struct consumer *consumer, struct held_message *held);
void consumer_drop_pending(struct consumer *consumer);

/* What waits goes back to its queue: call when the broker knows that it ends, or it would come again at once.
 */
void consumer_stop(struct consumer *consumer);

/*
 * Ends a consumer from our side: it is cancelled at the broker (when its
 * consume-ok comes, if that did not yet), delivers no more, and is freed at
 * cancel-ok. The session is told by the caller.
 */
void consumer_end(struct consumer *consumer);
/* The same, and the session is told why. */
void consumer_end_and_tell(struct consumer *consumer, struct span why);

/*
 * The broker does not know it any more: what waits is dropped, it comes again.
 * False: nobody wants it back, the caller frees it. A consumer that the broker
 * had not confirmed yet stays as it is: its basic.consume is sent again.
 */
bool consumer_interrupt(struct consumer *consumer);

/* The client's cancel was not sent: it goes on. */
void consumer_keep(struct consumer *consumer);
