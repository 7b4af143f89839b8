/*
 * Consumers, basic.get, basic.qos and delivering.
 */
#include "tests/broker/engine.h"

#include <stdlib.h>

bool bk_consumer_may_take(struct consumer *consumer)
{
	struct channel *channel = consumer->channel;
	struct broker_conn *conn = channel->conn;

	if (buf_len(&conn->out) > OUTPUT_HIGH_BYTES) {
		conn->stalled = true;
		return false;
	}
	if (consumer->no_ack)
		return true;
	if (consumer->prefetch > 0 && consumer->unacked >= consumer->prefetch)
		return false;
	return channel->global_prefetch == 0 || channel->global_unacked < channel->global_prefetch;
}

void bk_consumer_deliver(struct consumer *consumer, struct entry *entry)
{
	struct channel *channel = consumer->channel;
	struct amqc_method method = {.id = AMQC_BASIC_DELIVER};

	entry->tag = bk_ring_put(&channel->unacked, consumer->no_ack ? NULL : entry);
	method.basic_deliver = (struct amqc_basic_deliver){.consumer_tag = bk_name_span(&consumer->tag),
							   .delivery_tag = entry->tag,
							   .redelivered = entry->redelivered,
							   .exchange = bk_message_exchange(entry->message),
							   .routing_key = bk_message_key(entry->message)};
	bk_content_append(channel, &method, entry->message);
	if (consumer->no_ack) {
		bk_entry_drop(entry);
		return;
	}
	entry->consumer = consumer;
	consumer->unacked++;
	channel->global_unacked++;
	bk_queue_hold(entry->queue, entry);
}

void bk_channel_wake_consumers(struct channel *channel)
{
	struct consumer *consumer;

	list_foreach (consumer, &channel->consumer_order, order)
		bk_consumer_wake(consumer);
}

/* Off the channel. With unsettled messages the object stays for their sake. */
static void consumer_detach(struct consumer *consumer)
{
	map_remove(&consumer->channel->consumers, &consumer->by_tag);
	list_unlink(&consumer->order);
	consumer->channel = NULL;
	consumer->queue = NULL;
	if (consumer->unacked == 0)
		free(consumer);
}

void bk_consumer_cancel(struct consumer *consumer)
{
	struct queue *queue = consumer->queue;
	bk_queue_remove_consumer(queue, consumer);
	consumer_detach(consumer);
}

void bk_consumer_lose_queue(struct consumer *consumer)
{
	struct channel *channel = consumer->channel;
	struct amqc_method method = {.id = AMQC_BASIC_CANCEL};

	list_unlink(&consumer->in_queue);
	if (channel->conn->cap_cancel_notify && !channel->closing) {
		method.basic_cancel =
		    (struct amqc_basic_cancel){.consumer_tag = bk_name_span(&consumer->tag), .no_wait = true};
		bk_channel_reply(channel, &method);
	}
	consumer_detach(consumer);
}

static struct consumer *consumer_find(struct channel *channel, struct span tag)
{
	struct map_node *node = map_find(&channel->consumers, tag);

	return node ? container_of(node, struct consumer, by_tag) : NULL;
}

static bool consume_check(struct channel *channel, const struct queue *queue,
			  const struct amqc_basic_consume *m, int64_t *ret_priority)
{
	struct amqc_field priority;

	if (amqc_table_find(m->arguments, "x-priority", &priority) &&
	    !bk_field_integer(&priority, ret_priority))
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
				       "invalid arg 'x-priority' for queue '%.*s' in vhost '%.*s': "
				       "\"expected integer, got %s\"",
				       SPAN_ARG(bk_name_span(&queue->name)),
				       SPAN_ARG(bk_name_span(&queue->vhost->name)),
				       bk_field_type_name(priority.type));
	if (queue->has_exclusive_consumer || (m->exclusive && queue->consumer_count > 0))
		return bk_channel_fail(
		    channel, AMQC_ACCESS_REFUSED, "queue '%.*s' in vhost '%.*s' in exclusive use",
		    SPAN_ARG(bk_name_span(&queue->name)), SPAN_ARG(bk_name_span(&queue->vhost->name)));
	if (queue->kind == QUEUE_QUORUM && channel->global_prefetch > 0)
		return bk_channel_fail(
		    channel, AMQC_NOT_IMPLEMENTED, "queue '%.*s' in vhost '%.*s' does not support global qos",
		    SPAN_ARG(bk_name_span(&queue->name)), SPAN_ARG(bk_name_span(&queue->vhost->name)));
	return true;
}

static struct consumer *consumer_new(struct channel *channel, struct queue *queue,
				     const struct amqc_basic_consume *m)
{
	struct consumer *consumer = bk_xcalloc(sizeof(*consumer));

	consumer->channel = channel;
	consumer->queue = queue;
	consumer->no_ack = m->no_ack;
	consumer->exclusive = m->exclusive;
	consumer->prefetch = m->no_ack ? 0 : channel->prefetch;
	list_init(&consumer->in_queue);
	if (m->consumer_tag.len > 0)
		bk_name_set(&consumer->tag, m->consumer_tag);
	else
		bk_name_generate(channel->conn->broker, "amq.ctag-", &consumer->tag);
	bk_map_put(&channel->consumers, &consumer->by_tag, bk_name_span(&consumer->tag));
	list_append(&channel->consumer_order, &consumer->order);
	return consumer;
}

bool bk_basic_consume(struct channel *channel, const struct amqc_basic_consume *m)
{
	struct amqc_method reply = {.id = AMQC_BASIC_CONSUME_OK};
	struct consumer *consumer;
	struct queue *queue;
	int64_t priority = 0;

	if (span_equal_str(m->queue, REPLY_TO))
		return bk_reply_consume(channel, m);
	if (m->consumer_tag.len > 0 && consumer_find(channel, m->consumer_tag))
		return bk_channel_fail(channel, AMQC_NOT_ALLOWED, "attempt to reuse consumer tag '%.*s'",
				       SPAN_ARG(m->consumer_tag));
	queue = bk_channel_queue(channel, m->queue);
	if (!queue || !consume_check(channel, queue, m, &priority))
		return false;
	consumer = consumer_new(channel, queue, m);
	consumer->priority = priority;
	bk_queue_add_consumer(queue, consumer);
	reply.basic_consume_ok.consumer_tag = bk_name_span(&consumer->tag);
	if (!m->no_wait)
		bk_channel_reply(channel, &reply);
	return true;
}

bool bk_basic_cancel(struct channel *channel, const struct amqc_basic_cancel *m)
{
	struct amqc_method reply = {.id = AMQC_BASIC_CANCEL_OK};
	struct consumer *consumer = consumer_find(channel, m->consumer_tag);

	reply.basic_cancel_ok.consumer_tag = m->consumer_tag;
	if (!m->no_wait)
		bk_channel_reply(channel, &reply);
	if (consumer)
		bk_consumer_cancel(consumer);
	else
		bk_reply_cancel(channel, m->consumer_tag);
	return true;
}

bool bk_basic_get(struct channel *channel, const struct amqc_basic_get *m)
{
	struct amqc_method reply = {.id = AMQC_BASIC_GET_EMPTY};
	struct queue *queue = bk_channel_queue(channel, m->queue);
	struct entry *entry;

	if (!queue)
		return false;
	bk_queue_touch(queue);
	entry = bk_queue_pop(queue);
	if (!entry) {
		bk_channel_reply(channel, &reply);
		return true;
	}
	entry->tag = bk_ring_put(&channel->unacked, m->no_ack ? NULL : entry);
	reply.id = AMQC_BASIC_GET_OK;
	reply.basic_get_ok = (struct amqc_basic_get_ok){.delivery_tag = entry->tag,
							.redelivered = entry->redelivered,
							.exchange = bk_message_exchange(entry->message),
							.routing_key = bk_message_key(entry->message),
							.message_count = (uint32_t)queue->ready_count};
	bk_content_append(channel, &reply, entry->message);
	if (m->no_ack)
		bk_entry_drop(entry);
	else
		bk_queue_hold(queue, entry);
	return true;
}

bool bk_basic_qos(struct channel *channel, const struct amqc_basic_qos *m)
{
	struct amqc_method reply = {.id = AMQC_BASIC_QOS_OK};

	if (m->prefetch_size != 0)
		return bk_channel_fail(channel, AMQC_NOT_IMPLEMENTED, "prefetch_size!=0 (%u)",
				       m->prefetch_size);
	if (m->global) {
		channel->global_prefetch = m->prefetch_count;
		bk_channel_wake_consumers(channel);
	} else {
		channel->prefetch = m->prefetch_count;
	}
	bk_channel_reply(channel, &reply);
	return true;
}
