/*
 * Direct reply-to: a channel that consumes from the pseudo queue gets an
 * address; a publish to that address by the default exchange goes straight to
 * the channel, through no queue. Such a delivery has the tag of the next real
 * one.
 */
#include "tests/broker/engine.h"

bool bk_reply_is_pseudo_queue(struct span name)
{
	return span_equal_str(span_first(name, sizeof(REPLY_TO) - 1), REPLY_TO);
}

struct channel *bk_reply_find(struct broker *broker, struct span address)
{
	struct map_node *node = map_find(&broker->replies, address);

	return node ? container_of(node, struct channel, by_reply) : NULL;
}

bool bk_reply_consume(struct channel *channel, const struct amqc_basic_consume *m)
{
	struct amqc_method reply = {.id = AMQC_BASIC_CONSUME_OK};
	struct broker *broker = channel->conn->broker;

	if (channel->has_reply_consumer)
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED, "reply consumer already set");
	if (!m->no_ack)
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
				       "reply consumer cannot acknowledge");
	if (m->consumer_tag.len > 0 && map_find(&channel->consumers, m->consumer_tag))
		return bk_channel_fail(channel, AMQC_NOT_ALLOWED, "attempt to reuse consumer tag '%.*s'",
				       SPAN_ARG(m->consumer_tag));
	channel->has_reply_consumer = true;
	if (m->consumer_tag.len > 0)
		bk_name_set(&channel->reply_tag, m->consumer_tag);
	else
		bk_name_generate(broker, "amq.ctag-", &channel->reply_tag);
	bk_name_generate(broker, REPLY_TO ".", &channel->reply_address);
	bk_map_put(&broker->replies, &channel->by_reply, bk_name_span(&channel->reply_address));
	reply.basic_consume_ok.consumer_tag = bk_name_span(&channel->reply_tag);
	if (!m->no_wait)
		bk_channel_reply(channel, &reply);
	return true;
}

void bk_reply_release(struct channel *channel)
{
	if (!channel->has_reply_consumer)
		return;
	channel->has_reply_consumer = false;
	map_remove(&channel->conn->broker->replies, &channel->by_reply);
}

bool bk_reply_cancel(struct channel *channel, struct span tag)
{
	if (!channel->has_reply_consumer || !span_equal(bk_name_span(&channel->reply_tag), tag))
		return false;
	bk_reply_release(channel);
	return true;
}

void bk_reply_deliver(struct broker *broker, struct message *message)
{
	struct channel *channel = bk_reply_find(broker, bk_message_key(message));
	struct amqc_method method = {.id = AMQC_BASIC_DELIVER};

	if (!channel)
		return;
	method.basic_deliver = (struct amqc_basic_deliver){.consumer_tag = bk_name_span(&channel->reply_tag),
							   .delivery_tag = bk_ring_next(&channel->unacked),
							   .exchange = bk_message_exchange(message),
							   .routing_key = bk_message_key(message)};
	bk_content_append(channel, &method, message);
}
