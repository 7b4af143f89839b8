/*
 * Faults that no client can foresee: a name that begins with "trap." ends the
 * connection of who uses it, wherever it stands.
 *
 *	trap.crash...     541, which names no method
 *	trap.refuse...    540, which names it
 *	trap.drop...      the socket is closed without a word
 *	trap.own...       as trap.crash, as key of a binding to an exclusive queue of the connection's
 *	trap.route...     as trap.crash, when a publish with that key is routed: in a transaction, at its
 *commit trap.deliver...   as trap.crash, of whoever a message with that key is delivered to; it stays in its
 *queue
 */
#include "tests/broker/engine.h"

static struct span name_in(const struct amqc_method *m)
{
	switch (m->id) {
	case AMQC_EXCHANGE_DECLARE:
		return m->exchange_declare.exchange;
	case AMQC_QUEUE_DECLARE:
		return m->queue_declare.queue;
	case AMQC_QUEUE_BIND:
		return m->queue_bind.routing_key;
	case AMQC_QUEUE_PURGE:
		return m->queue_purge.queue;
	case AMQC_BASIC_GET:
		return m->basic_get.queue;
	case AMQC_BASIC_CONSUME:
		return m->basic_consume.queue;
	case AMQC_BASIC_PUBLISH:
		return m->basic_publish.routing_key;
	default:
		return SPAN_NULL;
	}
}

static bool begins(struct span name, const char *with)
{
	return span_equal_str(span_first(name, strlen(with)), with);
}

static bool is_own(const struct channel *channel, const struct amqc_method *m)
{
	const struct queue *queue =
	    m->id == AMQC_QUEUE_BIND ? bk_queue_find(channel->conn->vhost, m->queue_bind.queue) : NULL;

	return queue && queue->owner == channel->conn;
}

bool bk_trap(struct channel *channel, const struct amqc_method *m)
{
	struct span name = name_in(m);

	if (!begins(name, "trap."))
		return false;
	if (begins(name, "trap.crash") || (begins(name, "trap.own") && is_own(channel, m)))
		bk_channel_fail(channel, AMQC_INTERNAL_ERROR, "a trap");
	else if (begins(name, "trap.refuse"))
		bk_channel_fail(channel, AMQC_NOT_IMPLEMENTED, "a trap");
	else if (begins(name, "trap.drop"))
		bk_conn_shut(channel->conn, "a trap");
	else
		return false;
	return true;
}

bool bk_trap_routes(struct channel *channel, const struct message *message)
{
	if (!begins(bk_message_key(message), "trap.route"))
		return false;
	bk_channel_fail(channel, AMQC_INTERNAL_ERROR, "a trap");
	return true;
}

bool bk_trap_delivers(struct channel *channel, const struct message *message)
{
	if (!begins(bk_message_key(message), "trap.deliver"))
		return false;
	bk_channel_fail(channel, AMQC_INTERNAL_ERROR, "a trap");
	return true;
}
