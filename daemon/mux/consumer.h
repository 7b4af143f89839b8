/*
 * Consumers: deliveries on their way to a session. A consumer has a window of
 * credit in messages and bytes (apart from AMQP's prefetch); what comes when
 * it is used up waits here, charged to the session.
 */
#pragma once

#include "daemon/mux/assemble.h"
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
 * A whole basic.deliver came on the channel's lane: to the session, to wait,
 * or back to the queue if its consumer is gone.
 */
void consumer_deliver(struct channel *channel, const struct assemble *content);

/* New totals of credit: hands over what waits. */
void consumer_add_credit(struct consumer *consumer, uint64_t messages, uint64_t bytes);

/* At the end of a turn: hands over what waited for the channel's unacked_max. */
void consumers_go_on(struct channel *channel);

/* All that waits comes again. */
void consumers_forget_pending(struct channel *channel);

/* The socket has taken some of the session's output: hands over what waited for that, in turn. */
void consumer_breathe(struct session *session);

/* Whether a message of so many bytes may be gathered for the channel at all; it may be NULL. */
bool consumer_may_have(const struct channel *channel, uint64_t body_size);

/* The broker has cancelled a consumer that shrinks. May end it. */
void consumer_shrunk(struct consumer *consumer);

/* What waits goes back to its queue: call when the broker knows that it ends, or it would come again at once.
 */
void consumer_stop(struct consumer *consumer);

/*
 * Ends a consumer from our side: it is cancelled at the broker (when its
 * consume-ok comes, if that did not yet), delivers no more, and is freed at
 * cancel-ok. The session is told by the caller.
 */
void consumer_end(struct consumer *consumer);

/*
 * The broker does not know it any more: what waits is dropped, it comes again.
 * False: nobody wants it back, the caller frees it. A consumer that the broker
 * had not confirmed yet stays as it is: its basic.consume is sent again.
 */
bool consumer_interrupt(struct consumer *consumer);

/* The client's cancel was not sent: it goes on. */
void consumer_keep(struct consumer *consumer);

/* A whole basic.get-ok answers this request. */
void consumer_got(struct request *request, struct channel *channel, const struct assemble *content);
