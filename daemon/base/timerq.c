/*
 * The heap: the parent of index i is (i - 1) / 2. A timer's place is its index
 * plus one, and every move of a pointer in the array goes through put(), so
 * that the two cannot differ.
 */
#include "daemon/base/timerq.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define CAPACITY_MIN 16u

static void put(struct timerq *queue, size_t index, struct timer *timer)
{
	queue->heap[index] = timer;
	timer->place = index + 1;
}

static void move_up(struct timerq *queue, size_t index)
{
	struct timer *timer = queue->heap[index];

	while (index > 0) {
		size_t parent = (index - 1) / 2;

		if (!mono_before(timer->when, queue->heap[parent]->when))
			break;
		put(queue, index, queue->heap[parent]);
		index = parent;
	}
	put(queue, index, timer);
}

static void move_down(struct timerq *queue, size_t index)
{
	struct timer *timer = queue->heap[index];

	for (;;) {
		size_t child = 2 * index + 1;

		if (child >= queue->count)
			break;
		if (child + 1 < queue->count &&
		    mono_before(queue->heap[child + 1]->when, queue->heap[child]->when))
			child++;
		if (!mono_before(queue->heap[child]->when, timer->when))
			break;
		put(queue, index, queue->heap[child]);
		index = child;
	}
	put(queue, index, timer);
}

/* The entry at index may have to go either way. */
static void settle(struct timerq *queue, size_t index)
{
	struct timer *timer = queue->heap[index];

	move_up(queue, index);
	if (timer->place == index + 1)
		move_down(queue, index);
}

static int grow(struct timerq *queue)
{
	size_t capacity = queue->capacity ? queue->capacity * 2 : CAPACITY_MIN;
	struct timer **heap;

	if (capacity > SIZE_MAX / sizeof(*heap))
		return -ENOMEM;
	heap = realloc(queue->heap, capacity * sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	queue->heap = heap;
	queue->capacity = capacity;
	return 0;
}

void timerq_deinit(struct timerq *queue)
{
	free(queue->heap);
	*queue = TIMERQ_INIT;
}

int timerq_set(struct timerq *queue, struct timer *timer, struct mono when)
{
	int r;

	if (mono_is_never(when)) {
		timerq_clear(queue, timer);
		return 0;
	}
	if (timer_is_set(timer)) {
		timer->when = when;
		settle(queue, timer->place - 1);
		return 0;
	}
	if (queue->count == queue->capacity) {
		r = grow(queue);
		if (r < 0)
			return r;
	}
	timer->when = when;
	queue->heap[queue->count++] = timer;
	move_up(queue, queue->count - 1);
	return 0;
}

void timerq_clear(struct timerq *queue, struct timer *timer)
{
	size_t index = timer->place - 1;
	struct timer *last;

	if (!timer_is_set(timer))
		return;
	assert(index < queue->count && queue->heap[index] == timer);
	last = queue->heap[--queue->count];
	timer->place = 0;
	timer->when = MONO_NEVER;
	if (last == timer)
		return;
	queue->heap[index] = last;
	settle(queue, index);
}

struct mono timerq_next(const struct timerq *queue)
{
	return queue->count ? queue->heap[0]->when : MONO_NEVER;
}

void timerq_run(struct timerq *queue, struct mono now, unsigned int budget)
{
	for (; budget > 0 && queue->count > 0; budget--) {
		struct timer *timer = queue->heap[0];

		if (mono_before(now, timer->when))
			break;
		timerq_clear(queue, timer);
		timer->fire(timer, now);
	}
}
