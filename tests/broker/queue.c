/*
 * Queues. A message is an entry with a place: entries are ready, in order of
 * their places, or taken by a channel. A taken one goes back to its place.
 *
 * Consumers that can take more are in active, the next one first, and go to
 * its end when served (behind those of their priority); the others wait until
 * something wakes them. So serving a message looks at no consumer but one.
 */
#include "tests/broker/engine.h"

#include <stdlib.h>

struct queue *bk_queue_find(struct vhost *vhost, struct span name)
{
	struct map_node *node = map_find(&vhost->queues, name);

	return node ? container_of(node, struct queue, by_name) : NULL;
}

static void queue_expiry_fire(struct timer *timer, struct mono now)
{
	struct queue *queue = container_of(timer, struct queue, expiry);

	if (queue->consumer_count == 0)
		bk_queue_delete(queue);
}

struct queue *bk_queue_new(struct vhost *vhost, struct span name, struct span arguments)
{
	struct queue *queue = bk_xcalloc(sizeof(*queue));

	queue->vhost = vhost;
	queue->max_length = UINT64_MAX;
	queue->max_bytes = UINT64_MAX;
	bk_name_set(&queue->name, name);
	buf_append_span(&queue->arguments, arguments);
	list_init(&queue->in_owner);
	list_init(&queue->ready);
	list_init(&queue->taken);
	list_init(&queue->active);
	list_init(&queue->waiting);
	list_init(&queue->bindings);
	list_init(&queue->to_pump);
	timer_init(&queue->expiry, queue_expiry_fire);
	bk_map_put(&vhost->queues, &queue->by_name, bk_name_span(&queue->name));
	list_append(&vhost->queue_order, &queue->order);
	return queue;
}

void bk_queue_touch(struct queue *queue)
{
	struct broker *broker = queue->vhost->broker;

	if (queue->expires_usec > 0)
		bk_broker_set_timer(broker, &queue->expiry, mono_add_usec(broker->now, queue->expires_usec));
}

void bk_entry_drop(struct entry *entry)
{
	list_unlink(&entry->node);
	list_unlink(&entry->in_tx);
	bk_message_unref(entry->message);
	free(entry);
}

static void queue_drop_consumers(struct queue *queue, struct list *consumers)
{
	struct consumer *consumer;

	while ((consumer = list_first(consumers, struct consumer, in_queue)))
		bk_consumer_lose_queue(consumer);
}

void bk_queue_delete(struct queue *queue)
{
	struct binding *binding;
	struct entry *entry, *next;

	map_remove(&queue->vhost->queues, &queue->by_name);
	list_unlink(&queue->order);
	list_unlink(&queue->in_owner);
	list_unlink(&queue->to_pump);
	timerq_clear(&queue->vhost->broker->timers, &queue->expiry);
	queue_drop_consumers(queue, &queue->active);
	queue_drop_consumers(queue, &queue->waiting);
	while ((binding = list_first(&queue->bindings, struct binding, in_destination)))
		bk_binding_delete(binding);
	list_foreach_safe (entry, next, &queue->ready, node)
		bk_entry_drop(entry);
	/* Those that were delivered can still be settled, to no effect. */
	list_foreach_safe (entry, next, &queue->taken, node) {
		list_unlink(&entry->node);
		entry->queue = NULL;
	}
	buf_deinit(&queue->arguments);
	free(queue);
}

void bk_queue_mark(struct queue *queue)
{
	if (list_empty(&queue->to_pump))
		list_append(&queue->vhost->broker->to_pump, &queue->to_pump);
}

static void queue_unready(struct queue *queue, struct entry *entry)
{
	list_unlink(&entry->node);
	queue->ready_count--;
	queue->ready_bytes -= entry->message->body_len;
}

static void queue_drop_head(struct queue *queue)
{
	struct entry *entry = list_first(&queue->ready, struct entry, node);

	queue_unready(queue, entry);
	bk_entry_drop(entry);
}

static struct mono queue_entry_expires(struct queue *queue, const struct message *message)
{
	struct mono now = queue->vhost->broker->now;
	struct mono expires = MONO_NEVER;

	if (message->has_ttl)
		expires = mono_add_usec(now, message->ttl_usec);
	if (queue->has_ttl)
		expires = mono_min(expires, mono_add_usec(now, queue->ttl_usec));
	if (!mono_is_never(expires))
		queue->may_expire = true;
	return expires;
}

static bool queue_is_over(const struct queue *queue, size_t more_count, size_t more_bytes)
{
	return queue->ready_count + more_count > queue->max_length ||
	       queue->ready_bytes + more_bytes > queue->max_bytes;
}

bool bk_queue_push(struct queue *queue, struct message *message)
{
	struct entry *entry;

	if (queue->overflow == OVERFLOW_REJECT && queue_is_over(queue, 1, message->body_len))
		return false;
	entry = bk_xcalloc(sizeof(*entry));
	list_init(&entry->in_tx);
	entry->message = bk_message_ref(message);
	entry->queue = queue;
	entry->place = queue->places++;
	entry->expires = queue_entry_expires(queue, message);
	list_append(&queue->ready, &entry->node);
	queue->ready_count++;
	queue->ready_bytes += message->body_len;
	bk_queue_mark(queue);
	return true;
}

/* Drops what has expired before that time. */
static void queue_expire_before(struct queue *queue, struct mono time)
{
	while (queue->may_expire && queue->ready_count > 0) {
		struct entry *entry = list_first(&queue->ready, struct entry, node);

		if (!mono_before(entry->expires, time))
			return;
		queue_drop_head(queue);
	}
}

void bk_queue_expire(struct queue *queue)
{
	queue_expire_before(queue, mono_add_usec(queue->vhost->broker->now, 1));
}

struct entry *bk_queue_pop(struct queue *queue)
{
	struct entry *entry;

	bk_queue_expire(queue);
	entry = list_first(&queue->ready, struct entry, node);
	if (entry)
		queue_unready(queue, entry);
	return entry;
}

void bk_queue_hold(struct queue *queue, struct entry *entry)
{
	list_append(&queue->taken, &entry->node);
	queue->taken_count++;
}

void bk_entry_requeue(struct entry *entry)
{
	struct queue *queue = entry->queue;
	struct list *at;

	if (!queue) {
		bk_entry_drop(entry);
		return;
	}
	list_unlink(&entry->node);
	queue->taken_count--;
	entry->redelivered = true;
	entry->consumer = NULL;
	entry->settling = SETTLING_NOT;
	/* What was taken was at the front: whoever puts back several begins with the last of them. */
	at = queue->ready.next;
	while (at != &queue->ready && container_of(at, struct entry, node)->place < entry->place)
		at = at->next;
	list_append(at, &entry->node);
	queue->ready_count++;
	queue->ready_bytes += entry->message->body_len;
	bk_queue_mark(queue);
}

size_t bk_queue_purge(struct queue *queue)
{
	size_t count;

	bk_queue_expire(queue);
	count = queue->ready_count;
	while (queue->ready_count > 0)
		queue_drop_head(queue);
	return count;
}

static void queue_link_consumer(struct queue *queue, struct consumer *consumer)
{
	struct list *at = &queue->active;

	while (at->prev != &queue->active &&
	       container_of(at->prev, struct consumer, in_queue)->priority < consumer->priority)
		at = at->prev;
	list_append(at, &consumer->in_queue);
	consumer->waiting = false;
}

void bk_queue_add_consumer(struct queue *queue, struct consumer *consumer)
{
	queue->consumer_count++;
	queue->has_exclusive_consumer = consumer->exclusive;
	queue_link_consumer(queue, consumer);
	bk_queue_mark(queue);
}

void bk_queue_remove_consumer(struct queue *queue, struct consumer *consumer)
{
	list_unlink(&consumer->in_queue);
	queue->consumer_count--;
	if (consumer->exclusive)
		queue->has_exclusive_consumer = false;
	if (queue->consumer_count > 0)
		return;
	if (queue->auto_delete)
		bk_queue_delete(queue);
	else
		bk_queue_touch(queue);
}

void bk_consumer_wake(struct consumer *consumer)
{
	if (!consumer->waiting || !bk_consumer_may_take(consumer))
		return;
	list_unlink(&consumer->in_queue);
	queue_link_consumer(consumer->queue, consumer);
	bk_queue_mark(consumer->queue);
}

void bk_queue_pump(struct queue *queue)
{
	unsigned int left = queue->vhost->broker->options.deliveries;
	struct consumer *consumer;
	struct entry *entry;

	if (queue->vhost->broker->stopping)
		return;
	/* What lives for no time at all still reaches a consumer that waits for it. */
	queue_expire_before(queue, queue->vhost->broker->now);
	while ((consumer = list_first(&queue->active, struct consumer, in_queue)) && queue->ready_count > 0) {
		list_unlink(&consumer->in_queue);
		if (!bk_consumer_may_take(consumer)) {
			list_append(&queue->waiting, &consumer->in_queue);
			consumer->waiting = true;
			continue;
		}
		queue_link_consumer(queue, consumer);
		entry = list_first(&queue->ready, struct entry, node);
		if (bk_trap_delivers(consumer->channel, entry->message))
			return;
		queue_unready(queue, entry);
		bk_consumer_deliver(consumer, entry);
		queue_expire_before(queue, queue->vhost->broker->now);
		if (left > 0 && --left == 0) {
			bk_queue_mark(queue); /* behind the others */
			break;
		}
	}
	if (queue->may_expire)
		bk_queue_expire(queue);
	while (queue_is_over(queue, 0, 0))
		queue_drop_head(queue);
}
