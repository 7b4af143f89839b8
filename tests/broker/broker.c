#include "tests/broker/engine.h"

#include <stdlib.h>

void *bk_xcalloc(size_t size)
{
	void *block = calloc(1, size);

	if (!block)
		abort();
	return block;
}

void *bk_xrealloc(void *block, size_t size)
{
	block = realloc(block, size);
	if (!block)
		abort();
	return block;
}

void bk_map_put(struct map *map, struct map_node *node, struct span key)
{
	if (map_add(map, node, key) < 0)
		abort();
}

void bk_broker_set_timer(struct broker *broker, struct timer *timer, struct mono when)
{
	timerq_set(&broker->timers, timer, when);
}

static void vhost_add_exchange(struct vhost *vhost, const char *name, enum exchange_type type)
{
	struct exchange *exchange = bk_exchange_new(vhost, span_str(name), type);

	exchange->durable = true;
	exchange->internal = strcmp(name, "amq.rabbitmq.trace") == 0;
}

static void vhost_new(struct broker *broker, const char *name)
{
	struct vhost *vhost = bk_xcalloc(sizeof(*vhost));

	vhost->broker = broker;
	bk_name_set(&vhost->name, span_str(name));
	list_init(&vhost->exchange_order);
	list_init(&vhost->queue_order);
	list_append(&broker->vhosts, &vhost->node);
	vhost_add_exchange(vhost, "amq.direct", EXCHANGE_DIRECT);
	vhost_add_exchange(vhost, "amq.fanout", EXCHANGE_FANOUT);
	vhost_add_exchange(vhost, "amq.topic", EXCHANGE_TOPIC);
	vhost_add_exchange(vhost, "amq.headers", EXCHANGE_HEADERS);
	vhost_add_exchange(vhost, "amq.match", EXCHANGE_HEADERS);
	vhost_add_exchange(vhost, "amq.rabbitmq.trace", EXCHANGE_TOPIC);
}

struct vhost *bk_broker_vhost(struct broker *broker, struct span name)
{
	struct vhost *vhost;

	list_foreach (vhost, &broker->vhosts, node)
		if (span_equal(bk_name_span(&vhost->name), name))
			return vhost;
	return NULL;
}

struct broker *broker_new(const struct broker_options *options)
{
	struct broker *broker = bk_xcalloc(sizeof(*broker));

	broker->options = *options;
	broker->random = options->seed;
	bk_name_set(&broker->user, span_str(options->user ? options->user : "guest"));
	bk_name_set(&broker->password, span_str(options->password ? options->password : "guest"));
	list_init(&broker->vhosts);
	list_init(&broker->conns);
	list_init(&broker->to_pump);
	list_init(&broker->owing);
	list_init(&broker->held);
	vhost_new(broker, "/");
	vhost_new(broker, "one");
	vhost_new(broker, "two");
	for (size_t i = 0; i < options->vhost_count; i++)
		if (!bk_broker_vhost(broker, span_str(options->vhosts[i])))
			vhost_new(broker, options->vhosts[i]);
	/* The strings are the caller's. */
	broker->options.user = NULL;
	broker->options.password = NULL;
	broker->options.vhosts = NULL;
	return broker;
}

struct broker *broker_free(struct broker *broker)
{
	struct broker_conn *conn, *next_conn;
	struct vhost *vhost, *next_vhost;

	if (!broker)
		return NULL;
	broker->stopping = true;
	broker->options.wake = NULL;
	list_foreach_safe (conn, next_conn, &broker->conns, node)
		broker_conn_free(conn, broker->now);
	list_foreach_safe (vhost, next_vhost, &broker->vhosts, node) {
		struct queue *queue, *next_queue;

		list_foreach_safe (queue, next_queue, &vhost->queue_order, order)
			bk_queue_delete(queue);
		bk_exchange_free_all(vhost);
		map_deinit(&vhost->queues);
		map_deinit(&vhost->exchanges);
		free(vhost);
	}
	map_deinit(&broker->replies);
	free(broker->targets);
	free(broker);
	return NULL;
}

void bk_broker_settle(struct broker *broker)
{
	struct queue *queue;

	while ((queue = list_first(&broker->to_pump, struct queue, to_pump))) {
		list_unlink(&queue->to_pump);
		bk_queue_pump(queue);
	}
}

void broker_tick(struct broker *broker, struct mono now)
{
	broker->now = now;
	timerq_run(&broker->timers, now, UINT32_MAX);
	bk_broker_settle(broker);
}

struct mono broker_deadline(const struct broker *broker)
{
	return timerq_next(&broker->timers);
}

/* A queue that stays loses what is not persistent. */
static void queue_restart(struct queue *queue)
{
	struct entry *entry, *next;

	list_foreach_safe (entry, next, &queue->ready, node) {
		if (entry->message->persistent)
			continue;
		queue->ready_count--;
		queue->ready_bytes -= entry->message->body_len;
		bk_entry_drop(entry);
	}
}

static void vhost_restart(struct vhost *vhost)
{
	struct queue *queue, *next_queue;

	list_foreach_safe (queue, next_queue, &vhost->queue_order, order) {
		if (queue->durable && !queue->auto_delete)
			queue_restart(queue);
		else
			bk_queue_delete(queue);
	}
	/* Deleting one may delete others, so the walk starts anew after each. */
	for (;;) {
		struct exchange *exchange, *found = NULL;

		list_foreach (exchange, &vhost->exchange_order, order) {
			if (!exchange->durable) {
				found = exchange;
				break;
			}
		}
		if (!found)
			return;
		bk_exchange_delete(found);
	}
}

void broker_restart(struct broker *broker, struct mono now)
{
	struct broker_conn *conn;
	struct vhost *vhost;

	broker->now = now;
	broker->stopping = true;
	list_foreach (conn, &broker->conns, node)
		broker_conn_kill(conn, now);
	list_foreach (vhost, &broker->vhosts, node)
		vhost_restart(vhost);
	broker->stopping = false;
	broker->blocked = false;
}

void broker_close_all(struct broker *broker, uint16_t code, const char *text, struct mono now)
{
	struct broker_conn *conn;

	broker->now = now;
	list_foreach (conn, &broker->conns, node) {
		struct fault fault = fault_make(code, "%s", text);

		if (conn->state != CONN_RUNNING)
			continue;
		bk_conn_fail_plain(conn, &fault);
		bk_conn_touch(conn);
	}
	bk_broker_settle(broker);
}

void broker_block(struct broker *broker, const char *reason, struct mono now)
{
	broker->now = now;
	broker->blocked = true;
	bk_name_set(&broker->block_reason, span_str(reason));
}

void broker_unblock(struct broker *broker, struct mono now)
{
	struct broker_conn *conn;

	broker->now = now;
	broker->blocked = false;
	list_foreach (conn, &broker->conns, node)
		bk_conn_resume(conn);
}

size_t broker_connection_count(const struct broker *broker)
{
	struct broker_conn *conn;
	size_t count = 0;

	list_foreach (conn, &broker->conns, node)
		count += broker_conn_running(conn);
	return count;
}

size_t broker_channel_count(const struct broker *broker)
{
	struct broker_conn *conn;
	size_t count = 0;

	list_foreach (conn, &broker->conns, node)
		count += conn->channel_count;
	return count;
}

bool broker_queue_counts(struct broker *broker, const char *vhost_name, struct span queue_name,
			 size_t *ret_ready, size_t *ret_unacked)
{
	struct vhost *vhost = bk_broker_vhost(broker, span_str(vhost_name));
	struct queue *queue = vhost ? bk_queue_find(vhost, queue_name) : NULL;

	if (!queue)
		return false;
	*ret_ready = queue->ready_count;
	*ret_unacked = queue->taken_count;
	return true;
}
