/*
 * What is done at the broker by others than its clients, and looking at what
 * it has.
 */
#include "tests/broker/engine.h"

static struct vhost *vhost_named(struct broker *broker, const char *name)
{
	return bk_broker_vhost(broker, span_str(name));
}

bool broker_delete_queue(struct broker *broker, const char *vhost_name, struct span name, struct mono now)
{
	struct vhost *vhost = vhost_named(broker, vhost_name);
	struct queue *queue = vhost ? bk_queue_find(vhost, name) : NULL;

	broker->now = now;
	if (!queue)
		return false;
	bk_queue_delete(queue);
	bk_broker_settle(broker);
	return true;
}

bool broker_delete_exchange(struct broker *broker, const char *vhost_name, struct span name, struct mono now)
{
	struct vhost *vhost = vhost_named(broker, vhost_name);
	struct exchange *exchange = vhost ? bk_exchange_find(vhost, name) : NULL;

	broker->now = now;
	if (!exchange)
		return false;
	bk_exchange_delete(exchange);
	bk_broker_settle(broker);
	return true;
}

bool broker_time_out_delivery(struct broker_conn *conn, uint16_t number, struct mono now)
{
	struct channel *channel = number < conn->channel_capacity ? conn->channels[number] : NULL;

	conn->broker->now = now;
	if (conn->state != CONN_RUNNING || !channel || channel->closing || channel->unacked.count == 0)
		return false;
	conn->current_method = 0;
	(void)bk_channel_fail(
	    channel, AMQC_PRECONDITION_FAILED,
	    "delivery acknowledgement on channel %u timed out. Timeout value used: 1800000 "
	    "ms. This timeout value can be configured, see consumers doc guide to learn more",
	    number);
	bk_broker_settle(conn->broker);
	return true;
}

bool broker_has_exchange(struct broker *broker, const char *vhost_name, struct span name)
{
	struct vhost *vhost = vhost_named(broker, vhost_name);

	return vhost && bk_exchange_find(vhost, name);
}

bool broker_has_binding(struct broker *broker, const char *vhost_name, struct span exchange_name,
			struct span queue_name, struct span key)
{
	struct vhost *vhost = vhost_named(broker, vhost_name);
	struct exchange *exchange = vhost ? bk_exchange_find(vhost, exchange_name) : NULL;
	struct binding *binding;

	if (!exchange)
		return false;
	list_foreach (binding, &exchange->bindings, in_source) {
		if (binding->queue && span_equal(bk_name_span(&binding->queue->name), queue_name) &&
		    span_equal(bk_name_span(&binding->key), key))
			return true;
	}
	return false;
}

size_t broker_queue_consumers(struct broker *broker, const char *vhost_name, struct span name)
{
	struct vhost *vhost = vhost_named(broker, vhost_name);
	struct queue *queue = vhost ? bk_queue_find(vhost, name) : NULL;

	return queue ? queue->consumer_count : 0;
}
