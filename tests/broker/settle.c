/*
 * Unsettled deliveries of a channel, and what settles them.
 */
#include "tests/broker/engine.h"

#include <stdlib.h>

static void ring_grow(struct ring *ring)
{
	size_t capacity = ring->capacity ? ring->capacity * 2 : 16;
	struct entry **slots = bk_xcalloc(capacity * sizeof(struct entry *));

	for (uint64_t tag = ring->base; tag < ring->end; tag++)
		slots[tag & (capacity - 1)] = ring->slots[tag & (ring->capacity - 1)];
	free(ring->slots);
	ring->slots = slots;
	ring->capacity = capacity;
}

/* Tags count from 1; a tag that needs no settling (NULL) is counted all the same. */
uint64_t bk_ring_put(struct ring *ring, struct entry *entry)
{
	if (ring->end == 0) {
		ring->base = 1;
		ring->end = 1;
	}
	if (!entry && ring->count == 0) {
		ring->base++;
		return ring->end++;
	}
	if (ring->end - ring->base == ring->capacity)
		ring_grow(ring);
	ring->slots[ring->end & (ring->capacity - 1)] = entry;
	ring->count += entry != NULL;
	return ring->end++;
}

uint64_t bk_ring_next(const struct ring *ring)
{
	return ring->end > 0 ? ring->end : 1;
}

struct entry *bk_ring_get(const struct ring *ring, uint64_t tag)
{
	if (tag < ring->base || tag >= ring->end)
		return NULL;
	return ring->slots[tag & (ring->capacity - 1)];
}

void bk_ring_clear(struct ring *ring, uint64_t tag)
{
	ring->slots[tag & (ring->capacity - 1)] = NULL;
	ring->count--;
	if (ring->count == 0)
		ring->base = ring->end;
	while (ring->base < ring->end && !ring->slots[ring->base & (ring->capacity - 1)])
		ring->base++;
}

void bk_ring_deinit(struct ring *ring)
{
	free(ring->slots);
	*ring = (struct ring){0};
}

static void consumer_settled(struct channel *channel, struct consumer *consumer)
{
	consumer->unacked--;
	channel->global_unacked--;
	if (!consumer->channel && consumer->unacked == 0)
		free(consumer);
	else if (consumer->channel && channel->global_prefetch == 0)
		bk_consumer_wake(consumer);
}

void bk_channel_settle_entry(struct channel *channel, struct entry *entry, enum settling how)
{
	struct consumer *consumer = entry->consumer;

	bk_ring_clear(&channel->unacked, entry->tag);
	entry->consumer = NULL;
	if (consumer)
		consumer_settled(channel, consumer);
	if (how == SETTLING_REQUEUE) {
		bk_entry_requeue(entry);
		return;
	}
	if (entry->queue)
		entry->queue->taken_count--;
	bk_entry_drop(entry);
}

static void settle_one(struct channel *channel, struct entry *entry, enum settling how)
{
	if (channel->mode == MODE_TX)
		bk_tx_add_settle(channel, entry, how);
	else
		bk_channel_settle_entry(channel, entry, how);
}

/* From the last to the first when they go back, so that each finds its place at the front. */
static void settle_up_to(struct channel *channel, uint64_t last, enum settling how)
{
	uint64_t first = channel->unacked.base;
	bool backwards = how == SETTLING_REQUEUE;

	for (uint64_t left = last + 1 - first, i = 0; i < left; i++) {
		struct entry *entry = bk_ring_get(&channel->unacked, backwards ? last - i : first + i);

		if (entry && entry->settling == SETTLING_NOT)
			settle_one(channel, entry, how);
	}
}

bool bk_basic_settle(struct channel *channel, uint64_t tag, bool multiple, enum settling how)
{
	struct entry *entry;

	if (multiple && tag == 0) {
		if (channel->unacked.count > 0)
			settle_up_to(channel, channel->unacked.end - 1, how);
	} else {
		entry = bk_ring_get(&channel->unacked, tag);
		if (!entry || entry->settling != SETTLING_NOT)
			return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED, "unknown delivery tag %llu",
					       (unsigned long long)tag);
		if (multiple)
			settle_up_to(channel, tag, how);
		else
			settle_one(channel, entry, how);
	}
	if (channel->global_prefetch > 0)
		bk_channel_wake_consumers(channel);
	return true;
}

void bk_channel_requeue_all(struct channel *channel)
{
	if (channel->unacked.count == 0)
		return;
	for (uint64_t tag = channel->unacked.end - 1; channel->unacked.count > 0; tag--) {
		struct entry *entry = bk_ring_get(&channel->unacked, tag);

		if (entry)
			bk_channel_settle_entry(channel, entry, SETTLING_REQUEUE);
	}
}

/* What is settled in an open transaction stays with it. */
static void requeue_unsettled(struct channel *channel)
{
	for (uint64_t tag = channel->unacked.end;
	     channel->unacked.count > 0 && tag-- > channel->unacked.base;) {
		struct entry *entry = bk_ring_get(&channel->unacked, tag);

		if (entry && entry->settling == SETTLING_NOT)
			bk_channel_settle_entry(channel, entry, SETTLING_REQUEUE);
	}
}

bool bk_basic_recover(struct channel *channel)
{
	requeue_unsettled(channel);
	bk_channel_wake_consumers(channel);
	return true;
}
