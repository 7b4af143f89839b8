#include "daemon/mux/consumer.h"

#include "daemon/base/log.h"
#include "daemon/mux/channel.h"
#include "daemon/mux/delivery.h"
#include "daemon/mux/kinds.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/consumer.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/touch.h"
#include "daemon/mux/state/upstream.h"
#include "daemon/mux/subscribe.h"

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

void consumer_drop_held(struct consumer *consumer, struct held_message *held)
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

void consumer_drop_pending(struct consumer *consumer)
{
	while (!list_empty(&consumer->pending))
		consumer_drop_held(consumer, container_of(consumer->pending.next, struct held_message, node));
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
	consumer_drop_pending(consumer);
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

	consumer_drop_pending(consumer);
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

void consumer_stop(struct consumer *consumer)
{
	list_unlink(&consumer->choked_node);
	while (!list_empty(&consumer->pending)) {
		struct held_message *held = container_of(consumer->pending.next, struct held_message, node);

		delivery_requeue(consumer->channel, held->lane_tag);
		consumer_drop_held(consumer, held);
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

void consumer_end_and_tell(struct consumer *consumer, struct span why)
{
	struct channel *channel = consumer->channel;
	struct session *session = channel->session;

	session->ops->consumer_cancelled(session->context, channel->id, consumer->number, why);
	consumer_end(consumer);
}

void consumer_shrink_on(struct consumer *consumer, bool cancelled)
{
	if (!subscribe_shrink_on(consumer, cancelled))
		consumer_end_and_tell(consumer, SPAN_LITERAL("no memory to start the consumer again"));
}

void consumer_keep(struct consumer *consumer)
{
	consumer->cancel_asked = false;
	if (!consumer->gone && consumer->channel->session)
		consumer_shrink_on(consumer, false);
}
