#include "daemon/mux/handout.h"

#include "daemon/amqp/reply.h"
#include "daemon/mux/backlog.h"
#include "daemon/mux/channel.h"
#include "daemon/mux/consumer.h"
#include "daemon/mux/delivery.h"
#include "daemon/mux/request.h"
#include "daemon/mux/session.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/consumer.h"
#include "daemon/mux/state/delivery.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/subscribe.h"
#include "daemon/mux/taken.h"
#include "daemon/mux/tx.h"

#include <stdio.h>
#include <stdlib.h>

/* Of a session's memory, the largest message that it may be sent: as large as it may publish at most. */
#define MESSAGE_SHARE_OF_SESSION 2u

bool handout_fits(const struct channel *channel, uint64_t body_size)
{
	return channel && channel->session &&
	       body_size <= channel->session->memory.limit / MESSAGE_SHARE_OF_SESSION;
}

/* One message may overdraw the bytes, so that a large one is not stuck for ever. */
static bool has_credit(const struct consumer *consumer)
{
	const struct channel *channel = consumer->channel;

	if (channel->unacked_max > 0 && !consumer->no_ack &&
	    channel->deliveries.counted >= channel->unacked_max)
		return false;
	return consumer->credit_messages > consumer->used_messages &&
	       consumer->credit_bytes > consumer->used_bytes;
}

/* The socket takes nothing now: what has credit waits for it in turn. */
static void wait_for_socket(struct consumer *consumer)
{
	if (!list_empty(&consumer->pending) && has_credit(consumer) && list_empty(&consumer->choked_node))
		list_append(&consumer->channel->session->choked, &consumer->choked_node);
}

/* The message is on its way to the client, whom muxd acks for if no_ack. */
static void handed_over(struct channel *channel, uint64_t lane_tag, bool no_ack,
			const struct mux_handed *handed)
{
	delivery_set(channel, lane_tag, no_ack ? SLOT_TAKEN : SLOT_OUT);
	if (no_ack)
		taken_add(channel->session, &(struct taken){.position = handed->position,
							    .channel = channel->id,
							    .tag = delivery_client_tag(channel, lane_tag)});
}

/* False: the front cannot express the message, and wrote nothing. */
static bool hand_over(struct consumer *consumer, uint64_t lane_tag, const struct amqc_basic_deliver *method,
		      const struct mux_content *content)
{
	struct channel *channel = consumer->channel;
	struct session *session = channel->session;
	bool no_ack = consumer->no_ack;
	uint64_t tag = no_ack ? 0 : delivery_client_tag(channel, lane_tag);
	struct mux_handed handed =
	    session->ops->deliver(session->context, channel->id, consumer->number, tag, method, content);

	if (handed.position == 0)
		return false;
	consumer->used_messages++;
	consumer->used_bytes += handed.cost_bytes;
	backlog_add(session, &handed);
	session->delivered++;
	session_note_message(session, false);
	if (consumer->kind == QUEUE_STREAM)
		subscribe_note_offset(consumer, content->properties);
	if (!consumer->broker_no_ack)
		handed_over(channel, lane_tag, no_ack, &handed);
	return true;
}

/* ------------------------------------------------------------------ memory */

/* The consumer of the session that has most waiting, or NULL. */
static struct consumer *largest_of(const struct session *session)
{
	struct consumer *largest = NULL;

	for (uint32_t number = 1; number < session->channel_slots; number++) {
		struct channel *channel = session->channels[number].channel;
		struct consumer *consumer;

		if (!channel)
			continue;
		list_foreach (consumer, &channel->consumers, node) {
			if (!consumer->gone && consumer->charge.bytes > 0 &&
			    (!largest || consumer->charge.bytes > largest->charge.bytes))
				largest = consumer;
		}
	}
	return largest;
}

/*
 * Everybody's memory is used up, and not the session's own: the consumer that
 * holds most of it, in the session that uses most, pays. False: that is this one.
 */
static bool relieve(const struct session *session, uint64_t bytes)
{
	struct session *other;
	struct consumer *victim = NULL;
	uint64_t most = session->memory.used;
	/* Who has used up the share of its uid is not relieved by others. */
	bool of_user = account_free(&session->mux->memory) >= bytes;

	if (session->memory.used + bytes > session->memory.limit)
		return false;
	list_foreach (other, &session->mux->sessions, node) {
		struct consumer *largest;

		if (other->ended || other->memory.used <= most ||
		    (of_user && other->user.user != session->user.user))
			continue;
		largest = largest_of(other);
		if (!largest)
			continue;
		victim = largest;
		most = other->memory.used;
	}
	if (!victim)
		return false;
	consumer_end_and_tell(victim,
			      SPAN_LITERAL("muxd's memory is used up, and most of it by messages that this "
					   "session did not take: set a lower prefetch, or read faster"));
	return true;
}

static bool pay(struct consumer *consumer, uint64_t bytes)
{
	struct account *memory = &consumer->channel->session->memory;

	return charge_take(&consumer->charge, memory, bytes) ||
	       (relieve(consumer->channel->session, bytes) && charge_take(&consumer->charge, memory, bytes));
}

/* Keeps a copy until there is credit. False: the session's memory is used up. */
static bool hold(struct consumer *consumer, uint64_t lane_tag, const struct assemble *content)
{
	size_t head_len = content->method_len + content->header_len;
	size_t size = sizeof(struct held_message) + head_len + content->body.len;
	struct held_message *held;

	if (size > consumer->largest)
		consumer->largest = size;
	if (!pay(consumer, size))
		return false;
	held = malloc(size);
	if (!held) {
		charge_lower(&consumer->charge, size);
		return false;
	}
	*held = (struct held_message){.lane_tag = lane_tag,
				      .size = size,
				      .method_len = content->method_len,
				      .header_len = content->header_len,
				      .body_len = content->body.len};
	memcpy(held->data, buf_span(&content->kept).data, head_len);
	if (content->body.len > 0)
		memcpy(held->data + head_len, content->body.data, content->body.len);
	list_append(&consumer->pending, &held->node);
	wait_for_socket(consumer);
	return true;
}

/* ----------------------------------------------------------------- what comes */

static void overflow(struct consumer *consumer, uint64_t bytes)
{
	subscribe_note_overflow(consumer, bytes);
	if (subscribe_shrink(consumer))
		return;
	if (consumer->broker_no_ack) {
		consumer_end_and_tell(consumer,
				      SPAN_LITERAL("the session's memory is used up by replies it did not "
						   "take, which cannot be given back: they are dropped"));
		return;
	}
	consumer_end_and_tell(consumer,
			      SPAN_LITERAL("the session's memory is used up by messages it did not take: "
					   "set a lower prefetch, or read faster"));
}

static void inexpressible(struct consumer *consumer)
{
	consumer_end_and_tell(
	    consumer, SPAN_LITERAL("a message's headers are too many or nest too deep for muxd's protocol: "
				   "it went back to its queue"));
}

static void too_large(struct consumer *consumer, uint64_t bytes)
{
	char text[160];
	int len =
	    snprintf(text, sizeof(text),
		     "a message of %llu bytes is more than half of the session's memory (%llu): "
		     "it was not taken",
		     (unsigned long long)bytes, (unsigned long long)consumer->channel->session->memory.limit);

	consumer_end_and_tell(consumer, span_make(text, (size_t)len));
}

/*
 * A stream gives each message its offset as a header. On a queue of unknown kind the header alone proves
 * nothing: who publishes may have copied it.
 */
static enum slot_kind slot_kind_for(struct consumer *consumer, const struct assemble *content)
{
	const struct amqc_properties *properties = &content->header.properties;
	struct amqc_field field;

	if (!consumer)
		return SLOT_RETURNABLE;
	if (consumer->kind == QUEUE_UNKNOWN && !consumer->looked) {
		consumer->looked = true;
		consumer->in_doubt = (properties->present & AMQC_PROP_HEADERS) &&
				     amqc_table_find(properties->headers, "x-stream-offset", &field);
		subscribe_widen(consumer);
	}
	if (consumer->kind == QUEUE_STREAM)
		return SLOT_STREAM;
	return consumer->in_doubt ? SLOT_DOUBT : SLOT_RETURNABLE;
}

void handout_deliver(struct channel *channel, const struct assemble *content)
{
	const struct amqc_basic_deliver *method = &content->method.basic_deliver;
	struct consumer *consumer = consumer_find_tag(channel, method->consumer_tag);
	struct mux_content view = {&content->header.properties, content->body};
	/* Direct replies do not count: RabbitMQ gives them the tag that the next delivery will have. */
	bool counts = !consumer || !consumer->broker_no_ack;
	uint64_t lane_tag = counts ? method->delivery_tag : 0;

	if (counts && !delivery_add(channel, lane_tag, SLOT_PENDING)) {
		struct fault fault = fault_make_retryable(AMQC_RESOURCE_ERROR, "no memory for a delivery");

		channel_fail(channel, &fault);
		return;
	}
	if (counts) {
		delivery_set_kind(channel, lane_tag, slot_kind_for(consumer, content));
		delivery_counts(channel, lane_tag);
	}
	if (counts && channel->lane && tx_recovers(channel->lane))
		return;
	/* One that is not started has another's tag, who had it before. */
	if (!consumer || !consumer->started || consumer->gone || consumer->shrinking == SHRINK_CANCELLING ||
	    !channel->session) {
		delivery_requeue(channel, lane_tag);
	} else if (content->too_large) {
		too_large(consumer, content->header.body_size);
		delivery_requeue(channel, lane_tag);
	} else if (list_empty(&consumer->pending) && has_credit(consumer) &&
		   !backlog_is_full(channel->session)) {
		if (hand_over(consumer, lane_tag, method, &view))
			return;
		inexpressible(consumer);
		delivery_requeue(channel, lane_tag);
	} else if (!hold(consumer, lane_tag, content)) {
		overflow(consumer, content->body.len);
		delivery_requeue(channel, lane_tag);
	}
}

/* ----------------------------------------------------------------- what waits */

/* What was kept was decoded before, so it decodes again. */
static bool hand_over_held(struct consumer *consumer, const struct held_message *held)
{
	struct amqc_method method;
	struct amqc_content_header header;
	struct mux_content view = {
	    &header.properties, span_make(held->data + held->method_len + held->header_len, held->body_len)};

	return amqc_method_decode(span_make(held->data, held->method_len), &method) == AMQC_OK &&
	       amqc_content_header_decode(span_make(held->data + held->method_len, held->header_len),
					  &header) == AMQC_OK &&
	       hand_over(consumer, held->lane_tag, &method.basic_deliver, &view);
}

static bool can_take(const struct consumer *consumer)
{
	return !list_empty(&consumer->pending) && has_credit(consumer) &&
	       !backlog_is_full(consumer->channel->session);
}

/* False: the consumer has ended. */
static bool hand_over_first(struct consumer *consumer)
{
	struct held_message *held = container_of(consumer->pending.next, struct held_message, node);

	if (!hand_over_held(consumer, held)) {
		inexpressible(consumer); /* what is held goes back with it */
		return false;
	}
	consumer_drop_held(consumer, held);
	return true;
}

void handout_credit(struct consumer *consumer, uint64_t messages, uint64_t bytes)
{
	if (messages > consumer->credit_messages)
		consumer->credit_messages = messages;
	if (bytes > consumer->credit_bytes)
		consumer->credit_bytes = bytes;
	while (can_take(consumer)) {
		if (!hand_over_first(consumer))
			return;
	}
	wait_for_socket(consumer);
	consumer_shrink_on(consumer, false);
}

/* One message each in turn, so that no consumer takes all the room: who had one goes to the end. */
void handout_go_on(struct channel *channel)
{
	struct consumer *consumer, *tmp;
	bool more = channel->unacked_max > 0 || channel->deliveries.limited;

	channel->deliveries.limited = channel->unacked_max > 0;
	while (more && channel->state == CHANNEL_OPEN && channel->session) {
		more = false;
		list_foreach_safe (consumer, tmp, &channel->consumers, node) {
			if (!can_take(consumer) || !hand_over_first(consumer))
				continue;
			list_unlink(&consumer->node);
			list_append(&channel->consumers, &consumer->node);
			more |= can_take(consumer);
			wait_for_socket(consumer);
			consumer_shrink_on(consumer, false);
		}
	}
}

void handout_forget(struct channel *channel)
{
	struct consumer *consumer;

	list_foreach (consumer, &channel->consumers, node) {
		consumer_drop_pending(consumer);
		list_unlink(&consumer->choked_node);
		if (!consumer->gone)
			consumer_shrink_on(consumer, false);
	}
}

void handout_breathe(struct session *session)
{
	struct consumer *consumer;

	while (!backlog_is_full(session) &&
	       (consumer = list_first(&session->choked, struct consumer, choked_node))) {
		list_unlink(&consumer->choked_node);
		if (!can_take(consumer) || !hand_over_first(consumer))
			continue;
		wait_for_socket(consumer); /* behind the others */
		consumer_shrink_on(consumer, false);
	}
}

/* ------------------------------------------------------------------ basic.get */

void handout_got(struct request *request, struct channel *channel, const struct assemble *content)
{
	const struct amqc_basic_get_ok *method = &content->method.basic_get_ok;
	struct mux_content view = {&content->header.properties, content->body};
	struct session *session = request->session;
	uint64_t tag = request->no_ack ? 0 : delivery_client_tag(channel, method->delivery_tag);
	/* In a transaction the broker had no_ack, too. */
	bool gone = request->no_ack && channel->lane->tx.on;
	const char *where = gone ? "it was got with no_ack, and is lost" : "it went back to its queue";
	struct mux_handed handed;
	struct fault fault;

	if (!delivery_add(channel, method->delivery_tag, gone ? SLOT_DONE : SLOT_PENDING)) {
		fault = fault_make_retryable(AMQC_RESOURCE_ERROR, "no memory for a message");
		request_refuse(request, SCOPE_CHANNEL, &fault);
		channel_fail(channel, &fault);
		return;
	}
	if (!session) {
		delivery_requeue(channel, method->delivery_tag);
		return;
	}
	if (content->too_large) {
		fault = fault_make(AMQC_CONTENT_TOO_LARGE,
				   "CONTENT_TOO_LARGE - a message of %llu bytes is more than half of the "
				   "session's memory (%llu): %s",
				   (unsigned long long)content->header.body_size,
				   (unsigned long long)session->memory.limit, where);
		delivery_requeue(channel, method->delivery_tag);
		request_refuse(request, SCOPE_REQUEST, &fault);
		return;
	}
	handed = session->ops->got(session->context, request->id, request->channel_id, tag, method, &view);
	if (handed.position == 0) {
		fault = fault_make(
		    AMQC_SYNTAX_ERROR,
		    "the message's headers are too many or nest too deep for muxd's protocol: %s", where);
		delivery_requeue(channel, method->delivery_tag);
		request_refuse(request, SCOPE_REQUEST, &fault);
		return;
	}
	if (!gone)
		handed_over(channel, method->delivery_tag, request->no_ack, &handed);
	session->get_used += handed.cost_bytes;
	backlog_add(session, &handed);
	session->delivered++;
	session_note_message(session, true);
	request_settle(request);
}
