#include "daemon/mux/consumer.h"

#include "daemon/amqp/reply.h"
#include "daemon/base/log.h"
#include "daemon/mux/backlog.h"
#include "daemon/mux/channel.h"
#include "daemon/mux/delivery.h"
#include "daemon/mux/kinds.h"
#include "daemon/mux/lane.h"
#include "daemon/mux/request.h"
#include "daemon/mux/session.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/consumer.h"
#include "daemon/mux/state/delivery.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/queues.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/share.h"
#include "daemon/mux/state/topology.h"
#include "daemon/mux/state/touch.h"
#include "daemon/mux/state/upstream.h"
#include "daemon/mux/subscribe.h"
#include "daemon/mux/taken.h"
#include "daemon/mux/tx.h"

#include <stdio.h>
#include <stdlib.h>

struct consumer *consumer_new(struct channel *channel, const struct mux_request *request)
{
	const struct amqc_basic_consume *consume = &request->method->basic_consume;
	struct consumer *consumer = calloc(1, sizeof(*consumer));

	if (!consumer)
		return NULL;
	consumer->channel = channel;
	consumer->number = request->consumer;
	consumer->no_ack = consume->no_ack;
	consumer->exclusive = consume->exclusive;
	consumer->broker_no_ack = span_equal_str(consume->queue, DIRECT_REPLY_TO);
	consumer->credit_messages = request->credit_messages;
	consumer->credit_bytes = request->credit_bytes;
	consumer->kind = kinds_find(channel, consume->queue);
	subscribe_set_prefetch(consumer, consume->queue, channel->prefetch);
	consumer->charge = CHARGE_NONE;
	consumer->own_charge = CHARGE_NONE;
	consumer->tag_len = (uint8_t)consume->consumer_tag.len;
	memcpy(consumer->tag, consume->consumer_tag.data, consume->consumer_tag.len);
	list_init(&consumer->pending);
	list_init(&consumer->choked_node);
	list_append(&channel->consumers, &consumer->node);
	channel->consumer_count++;
	return consumer;
}

bool consumer_pay(struct consumer *consumer)
{
	return charge_take(&consumer->own_charge, &consumer->channel->session->memory,
			   sizeof(*consumer) + buf_len(&consumer->consume));
}

static void held_free(struct consumer *consumer, struct held_message *held)
{
	list_unlink(&held->node);
	charge_lower(&consumer->charge, held->size);
	free(held);
}

/* No request refers to it any more. */
static void forget(const struct consumer *consumer)
{
	struct channel *channel = consumer->channel;
	struct list *lists[2] = {&channel->queue, channel->lane ? &channel->lane->awaiting : NULL};

	for (size_t i = 0; i < 2 && lists[i]; i++) {
		struct op *op;

		list_foreach (op, lists[i], node) {
			/* Mostly there are none; and very many publishes may wait. */
			if (consumer->requests == 0)
				return;
			if (op->kind == OP_REQUEST && op_request(op)->consumer == consumer)
				request_about(op_request(op), NULL);
		}
	}
}

static void drop_pending(struct consumer *consumer)
{
	while (!list_empty(&consumer->pending))
		held_free(consumer, container_of(consumer->pending.next, struct held_message, node));
}

/* The channel need not wait for it. */
static void stop_restoring(struct consumer *consumer)
{
	struct channel *channel = consumer->channel;

	if (!consumer->restoring)
		return;
	consumer->restoring = false;
	if (--channel->restoring > 0 || list_empty(&channel->recovery_node))
		return;
	list_unlink(&channel->recovery_node);
	list_append(&channel->upstream->recovery.channels_due, &channel->recovery_node);
}

void consumer_free(struct consumer *consumer)
{
	forget(consumer);
	drop_pending(consumer);
	stop_restoring(consumer);
	charge_end(&consumer->charge);
	charge_end(&consumer->own_charge);
	subscribe_forget(consumer);
	list_unlink(&consumer->node);
	list_unlink(&consumer->choked_node);
	consumer->channel->consumer_count--;
	channel_touch(consumer->channel);
	free(consumer);
}

bool consumer_interrupt(struct consumer *consumer)
{
	struct session *session = consumer->channel->session;

	drop_pending(consumer);
	consumer->shrinking = SHRINK_NOT;
	consumer->widening = false;
	if (consumer->gone || consumer->cancel_sent)
		return false;
	if (!consumer->started)
		return true;
	/* Told already, if its channel is not back yet: nothing was sent with the address since. */
	if (consumer->broker_no_ack && list_empty(&consumer->channel->recovery_node))
		session->ops->consumer_interrupted(
		    session->context, consumer->channel->id, consumer->number,
		    SPAN_LITERAL("the connection to the broker was lost: reply "
				 "addresses from before are void, calls without "
				 "an answer may be made again"));
	consumer->started = false;
	consumer->restoring = true;
	consumer->channel->restoring++;
	return true;
}

struct consumer *consumer_find(const struct channel *channel, uint32_t number)
{
	struct consumer *consumer;

	list_foreach (consumer, &channel->consumers, node) {
		if (consumer->number == number && !consumer->gone)
			return consumer;
	}
	return NULL;
}

struct consumer *consumer_find_tag(const struct channel *channel, struct span tag)
{
	struct consumer *consumer;

	list_foreach (consumer, &channel->consumers, node) {
		if (subscribe_has_tag(consumer, tag))
			return consumer;
	}
	return NULL;
}

/* Of a session's memory, the largest message that it may be sent: as large as it may publish at most. */
#define MESSAGE_SHARE_OF_SESSION 2u

bool consumer_may_have(const struct channel *channel, uint64_t body_size)
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

static void end_and_tell(struct consumer *consumer, struct span why);

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
	end_and_tell(victim, SPAN_LITERAL("muxd's memory is used up, and most of it by messages that this "
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

void consumer_stop(struct consumer *consumer)
{
	list_unlink(&consumer->choked_node);
	while (!list_empty(&consumer->pending)) {
		struct held_message *held = container_of(consumer->pending.next, struct held_message, node);

		delivery_requeue(consumer->channel, held->lane_tag);
		held_free(consumer, held);
	}
}

/* Cancelled first: what is returned must not come again at once. */
void consumer_end(struct consumer *consumer)
{
	if (!subscribe_cancel_last(consumer))
		log_error("no memory to cancel a consumer");
	/* Else when consume-ok has come. */
	if (consumer->started && !consumer->cancel_sent && !subscribe_is_asked(consumer)) {
		if (!subscribe_cancel(consumer))
			log_error("no memory to cancel a consumer");
		consumer->cancel_sent = true;
	}
	consumer->gone = true;
	charge_end(&consumer->own_charge);
	consumer_stop(consumer);
}

static void end_and_tell(struct consumer *consumer, struct span why)
{
	struct channel *channel = consumer->channel;
	struct session *session = channel->session;

	session->ops->consumer_cancelled(session->context, channel->id, consumer->number, why);
	consumer_end(consumer);
}

static void overflow(struct consumer *consumer, uint64_t bytes)
{
	subscribe_note_overflow(consumer, bytes);
	if (subscribe_shrink(consumer))
		return;
	if (consumer->broker_no_ack) {
		end_and_tell(consumer, SPAN_LITERAL("the session's memory is used up by replies it did not "
						    "take, which cannot be given back: they are dropped"));
		return;
	}
	end_and_tell(consumer, SPAN_LITERAL("the session's memory is used up by messages it did not take: "
					    "set a lower prefetch, or read faster"));
}

static void inexpressible(struct consumer *consumer)
{
	end_and_tell(consumer,
		     SPAN_LITERAL("a message's headers are too many or nest too deep for muxd's protocol: "
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

	end_and_tell(consumer, span_make(text, (size_t)len));
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

void consumer_deliver(struct channel *channel, const struct assemble *content)
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

static void go_on_shrinking(struct consumer *consumer, bool cancelled)
{
	if (!subscribe_shrink_on(consumer, cancelled))
		end_and_tell(consumer, SPAN_LITERAL("no memory to start the consumer again"));
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
	held_free(consumer, held);
	return true;
}

void consumer_add_credit(struct consumer *consumer, uint64_t messages, uint64_t bytes)
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
	go_on_shrinking(consumer, false);
}

/* One message each in turn, so that no consumer takes all the room: who had one goes to the end. */
void consumers_go_on(struct channel *channel)
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
			go_on_shrinking(consumer, false);
		}
	}
}

void consumers_forget_pending(struct channel *channel)
{
	struct consumer *consumer;

	list_foreach (consumer, &channel->consumers, node) {
		drop_pending(consumer);
		list_unlink(&consumer->choked_node);
		if (!consumer->gone)
			go_on_shrinking(consumer, false);
	}
}

void consumer_breathe(struct session *session)
{
	struct consumer *consumer;

	while (!backlog_is_full(session) &&
	       (consumer = list_first(&session->choked, struct consumer, choked_node))) {
		list_unlink(&consumer->choked_node);
		if (!can_take(consumer) || !hand_over_first(consumer))
			continue;
		wait_for_socket(consumer); /* behind the others */
		go_on_shrinking(consumer, false);
	}
}

void consumer_keep(struct consumer *consumer)
{
	consumer->cancel_asked = false;
	if (!consumer->gone && consumer->channel->session)
		go_on_shrinking(consumer, false);
}

void consumer_shrunk(struct consumer *consumer)
{
	go_on_shrinking(consumer, true);
}

void consumer_got(struct request *request, struct channel *channel, const struct assemble *content)
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
