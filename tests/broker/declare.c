/*
 * The methods of class queue, and what both declaring classes share: names,
 * the default exchange, "the last declared queue".
 */
#include "tests/broker/engine.h"

#define VHOST_ARG(channel) SPAN_ARG(bk_name_span(&(channel)->conn->vhost->name))

struct span bk_channel_resolve_queue(struct channel *channel, struct span name)
{
	return name.len > 0 ? name : bk_name_span(&channel->last_queue);
}

struct queue *bk_channel_queue_or_null(struct channel *channel, struct span name)
{
	struct name stripped;

	bk_name_set_stripped(&stripped, name);
	return bk_queue_find(channel->conn->vhost, bk_name_span(&stripped));
}

bool bk_channel_check_owner(struct channel *channel, const struct queue *queue)
{
	if (!queue->owner || queue->owner == channel->conn)
		return true;
	return bk_channel_fail_locked(channel, queue);
}

bool bk_channel_fail_locked(struct channel *channel, const struct queue *queue)
{
	return bk_channel_fail(
	    channel, AMQC_RESOURCE_LOCKED,
	    "cannot obtain exclusive access to locked queue '%.*s' in vhost '%.*s'. It could be originally "
	    "declared on another connection or the exclusive property value does not match that of the "
	    "original declaration.",
	    SPAN_ARG(bk_name_span(&queue->name)), VHOST_ARG(channel));
}

static bool no_queue(struct channel *channel, struct span name)
{
	return bk_channel_fail(channel, AMQC_NOT_FOUND, "no queue '%.*s' in vhost '%.*s'", SPAN_ARG(name),
			       VHOST_ARG(channel));
}

static bool no_last_queue(struct channel *channel, struct span name)
{
	return name.len == 0 && channel->last_queue.len == 0 &&
	       !bk_channel_fail(channel, AMQC_NOT_FOUND, "no previously declared queue");
}

struct queue *bk_channel_queue(struct channel *channel, struct span name)
{
	struct queue *queue;

	if (no_last_queue(channel, name))
		return NULL;
	name = bk_channel_resolve_queue(channel, name);
	queue = bk_channel_queue_or_null(channel, name);
	if (!queue) {
		no_queue(channel, name);
		return NULL;
	}
	return bk_channel_check_owner(channel, queue) ? queue : NULL;
}

static bool declare_ok(struct channel *channel, struct span name, size_t messages, unsigned int consumers,
		       bool no_wait)
{
	struct amqc_method reply = {.id = AMQC_QUEUE_DECLARE_OK};

	bk_name_set(&channel->last_queue, name);
	reply.queue_declare_ok = (struct amqc_queue_declare_ok){.queue = bk_name_span(&channel->last_queue),
								.message_count = (uint32_t)messages,
								.consumer_count = consumers};
	if (!no_wait)
		bk_channel_reply(channel, &reply);
	return true;
}

/* An exclusive queue never outlives its connection, whatever was asked for. */
static bool is_durable(const struct amqc_queue_declare *m)
{
	return m->durable && !m->exclusive;
}

static bool queue_declare_again(struct channel *channel, struct queue *queue,
				const struct amqc_queue_declare *m)
{
	static const struct amqc_field on = {.type = 't', .value.boolean = true};
	static const struct amqc_field off = {.type = 't', .value.boolean = false};
	struct span name = bk_name_span(&queue->name);

	if (!bk_channel_check_owner(channel, queue))
		return false;
	if (!m->passive) {
		if (!bk_argument_equivalent(channel, "queue", name, "durable", is_durable(m) ? &on : &off,
					    queue->durable ? &on : &off))
			return false;
		if (!bk_argument_equivalent(channel, "queue", name, "auto_delete",
					    m->auto_delete ? &on : &off, queue->auto_delete ? &on : &off))
			return false;
		if (m->exclusive != (queue->owner != NULL))
			return bk_channel_fail_locked(channel, queue);
		if (!bk_arguments_equivalent(channel, queue, m->arguments))
			return false;
	}
	bk_queue_expire(queue);
	bk_queue_touch(queue);
	return declare_ok(channel, name, queue->ready_count, queue->consumer_count, m->no_wait);
}

static bool check_quorum(struct channel *channel, struct span name, const struct amqc_queue_declare *m)
{
	struct amqc_field type;
	const char *wrong = NULL;

	if (!amqc_table_find(m->arguments, "x-queue-type", &type) ||
	    !span_equal_str(type.value.bytes, "quorum"))
		return true;
	if (m->queue.len == 0)
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
				       "Cannot declare a server-named queue for type rabbit_quorum_queue");
	if (m->auto_delete)
		wrong = "auto-delete";
	if (m->exclusive)
		wrong = "exclusive-owner";
	if (!m->durable)
		wrong = "non-durable";
	return !wrong || bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
					 "invalid property '%s' for queue '%.*s' in vhost '%.*s'", wrong,
					 SPAN_ARG(name), VHOST_ARG(channel));
}

static bool queue_declare_new(struct channel *channel, struct span name, const struct amqc_queue_declare *m)
{
	struct queue *queue;

	if (!bk_arguments_check(channel, name, m->arguments) || !check_quorum(channel, name, m))
		return false;
	queue = bk_queue_new(channel->conn->vhost, name, m->arguments);
	queue->durable = is_durable(m);
	queue->auto_delete = m->auto_delete;
	if (m->exclusive) {
		queue->owner = channel->conn;
		list_append(&channel->conn->exclusive_queues, &queue->in_owner);
	}
	bk_arguments_apply(queue);
	bk_queue_touch(queue);
	return declare_ok(channel, name, 0, 0, m->no_wait);
}

bool bk_queue_declare(struct channel *channel, const struct amqc_queue_declare *m)
{
	struct broker *broker = channel->conn->broker;
	struct queue *queue;
	struct name name;

	bk_name_set_stripped(&name, m->queue);
	if (bk_reply_is_pseudo_queue(bk_name_span(&name))) {
		if (name.len == sizeof(REPLY_TO) - 1 || bk_reply_find(broker, bk_name_span(&name)))
			return declare_ok(channel, bk_name_span(&name), 0, 1, m->no_wait);
		return no_queue(channel, bk_name_span(&name));
	}
	if (name.len == 0 && !m->passive)
		bk_name_generate(broker, "amq.gen-", &name);
	else if (!m->passive && span_equal_str(span_first(bk_name_span(&name), 4), "amq."))
		return bk_channel_fail(channel, AMQC_ACCESS_REFUSED,
				       "queue name '%.*s' contains reserved prefix 'amq.*'",
				       SPAN_ARG(bk_name_span(&name)));
	queue = bk_queue_find(channel->conn->vhost, bk_name_span(&name));
	if (queue)
		return queue_declare_again(channel, queue, m);
	if (m->passive)
		return no_queue(channel, bk_name_span(&name));
	return queue_declare_new(channel, bk_name_span(&name), m);
}

/* What stands in the way of deleting it, if anything. */
static bool check_delete(struct channel *channel, const struct queue *queue,
			 const struct amqc_queue_delete *m)
{
	struct span name = bk_name_span(&queue->name);

	if (queue->kind == QUEUE_QUORUM && (m->if_unused || m->if_empty))
		return bk_channel_fail(channel, AMQC_NOT_IMPLEMENTED,
				       "cannot delete queue '%.*s' in vhost '%.*s'. queue.delete operations "
				       "with %s flag set are "
				       "not supported by quorum queues",
				       SPAN_ARG(name), VHOST_ARG(channel),
				       m->if_unused ? "if-unused" : "if-empty");
	if (m->if_unused && queue->consumer_count > 0)
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
				       "queue '%.*s' in vhost '%.*s' in use", SPAN_ARG(name),
				       VHOST_ARG(channel));
	if (m->if_empty && queue->ready_count > 0)
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
				       "queue '%.*s' in vhost '%.*s' not empty", SPAN_ARG(name),
				       VHOST_ARG(channel));
	return true;
}

bool bk_queue_remove(struct channel *channel, const struct amqc_queue_delete *m)
{
	struct amqc_method reply = {.id = AMQC_QUEUE_DELETE_OK};
	struct queue *queue;

	if (no_last_queue(channel, m->queue))
		return false;
	queue = bk_channel_queue_or_null(channel, bk_channel_resolve_queue(channel, m->queue));
	if (queue) {
		if (!bk_channel_check_owner(channel, queue) || !check_delete(channel, queue, m))
			return false;
		bk_queue_expire(queue);
		reply.queue_delete_ok.message_count = (uint32_t)queue->ready_count;
	}
	if (!m->no_wait)
		bk_channel_reply(channel, &reply);
	if (queue)
		bk_queue_delete(queue);
	return true;
}

bool bk_queue_clear(struct channel *channel, const struct amqc_queue_purge *m)
{
	struct amqc_method reply = {.id = AMQC_QUEUE_PURGE_OK};
	struct queue *queue = bk_channel_queue(channel, m->queue);

	if (!queue)
		return false;
	reply.queue_purge_ok.message_count = (uint32_t)bk_queue_purge(queue);
	if (!m->no_wait)
		bk_channel_reply(channel, &reply);
	return true;
}
