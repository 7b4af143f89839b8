/*
 * The broker's side of a consumer: basic.qos and basic.consume, once more when
 * its prefetch changes.
 *
 * AMQP's prefetch counts messages, memory counts bytes. A consumer begins with
 * the prefetch it asked for. If it asked for none, and its queue is not known to
 * be classic, that is a small one, and less if messages of the queue were seen
 * to be so large that memory does not hold as many.
 *
 * When what waits for it would pass its session's memory, it ends, but on a
 * queue that is known to be classic: there it is cancelled, what then still comes goes back to the queue
 * once, in its place, and when most of what waits was taken it is started again with the prefetch that its
 * messages' size allows. The client notices nothing but the redelivered mark.
 *
 * While its channel's consumers may have only so many messages together, its
 * prefetch is no larger. A broker changes no consumer's prefetch: so when they
 * may have more, it is begun anew with a larger one, under another tag, and only
 * then cancelled under the last one: the queue is never without a consumer, for
 * it may be auto-delete, and RabbitMQ's quorum queues do not stand the same tag
 * twice, nor that of a consumer which had it earlier on the channel. What comes by either tag is its own.
 */
#pragma once

#include "daemon/mux/state.h"

#define SUBSCRIBE_TAG_SIZE 268u /* a tag's buffer */

/* The prefetch that a consumer begins with; asked is 0 if it set none. */
void subscribe_set_prefetch(struct consumer *consumer, struct span queue, uint32_t asked);

/* Its tag at the broker, a view of buffer. */
struct span subscribe_tag(const struct consumer *consumer, char *buffer);

/* Whether that is one of its tags: at the broker now, or the one that it was asked for with. */
bool subscribe_has_tag(const struct consumer *consumer, struct span tag);

/* Puts a basic.cancel of ours into the lane's control. False: no memory. */
bool subscribe_cancel(struct consumer *consumer);

/* The same for the tag that it had before it was begun anew, if the broker may still know it by that. */
bool subscribe_cancel_last(struct consumer *consumer);

/* Begins it anew with a larger prefetch, if it may have one now, and if that can be done. */
void subscribe_widen(struct consumer *consumer);

/* Goes on with that: consume-ok came; the cancel-ok of its last tag came. */
void subscribe_widen_on(struct consumer *consumer);
void subscribe_widened(struct consumer *consumer);

/* It overflowed by a message of this size: remembered for the queue's next consumers. */
void subscribe_note_overflow(const struct consumer *consumer, uint64_t bytes);

/* The queue's name, a view of the consumer. */
struct span subscribe_queue(const struct consumer *consumer);

/* Keeps the basic.consume as it is sent, to send it again. False: no memory. */
bool subscribe_keep(struct consumer *consumer, const struct amqc_method *consume);
void subscribe_forget(struct consumer *consumer);

/* consume-ok came. */
void subscribe_started(struct consumer *consumer);

/* Whether a basic.consume of it was sent that the broker has not answered: its tag is in use. */
bool subscribe_is_asked(const struct consumer *consumer);

/*
 * Whether any basic.consume on the lane is unanswered: until then a cancel must
 * wait. RabbitMQ's channel has consume-ok come to itself by its own mailbox, and
 * falls over it (541) when a cancel of the consumer was in there before.
 */
bool subscribe_is_under_way(const struct lane *lane);

/* A message of a stream was handed over: subscribed again, the consumer goes on behind it. */
void subscribe_note_offset(struct consumer *consumer, const struct amqc_properties *properties);

/*
 * The basic.consume by which it would be subscribed again, in *ret; that refers
 * to the consumer, and to *arguments, which the caller frees. False: no memory.
 */
bool subscribe_resumed(const struct consumer *consumer, struct amqc_method *ret, struct buf *arguments);

/*
 * Whether the broker may fall over what it would deliver to it: a message that
 * stays in its queue, and that it comes to again when it is subscribed again.
 */
bool subscribe_may_kill(const struct consumer *consumer);

/* The prefetch for a trial of that: no more than it needs. */
uint16_t subscribe_trial_prefetch(const struct consumer *consumer);

/* Whether the basic.consume means messages that were there before it. */
bool subscribe_is_of_old(const struct consumer *consumer);

/* Sends basic.qos, if the lane needs it, and basic.consume once more. False: no memory. */
bool subscribe_again(struct consumer *consumer);

/* Puts the basic.qos that the consumer needs before its basic.consume into the lane's control. False: no
 * memory. */
bool subscribe_qos(struct lane *lane, const struct consumer *consumer);

/* Begins to shrink. False: it cannot (its queue is not known to be classic, or the prefetch is 1 already). */
bool subscribe_shrink(struct consumer *consumer);

/*
 * Goes on with shrinking: when the broker has cancelled the consumer
 * (cancelled), and when some of what waited was handed over. Starts it again
 * once little waits. False: no memory.
 */
bool subscribe_shrink_on(struct consumer *consumer, bool cancelled);
