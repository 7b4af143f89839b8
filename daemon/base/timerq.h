/*
 * A queue of deadlines: a binary heap of embedded entries, earliest first.
 * Entries know their place, so that changing or removing one costs O(log n).
 *
 * The queue owns its array, never the entries. Nothing fires by itself: the
 * loop asks for the next deadline, and calls timerq_run() when it has come.
 */
#pragma once

#include "daemon/base/clock.h"

#include <stddef.h>

struct timer;

typedef void (*timer_fn)(struct timer *timer, struct mono now);

struct timer {
	struct mono when;
	size_t place; /* index in the heap plus one; 0: not queued */
	timer_fn fire;
};

struct timerq {
	struct timer **heap; /* owned */
	size_t count;
	size_t capacity;
};

#define TIMERQ_INIT ((struct timerq){NULL, 0, 0})

/* Frees the array. Entries still queued are forgotten (their place is stale): for the end of the program. */
void timerq_deinit(struct timerq *queue);

static inline void timer_init(struct timer *timer, timer_fn fire)
{
	*timer = (struct timer){MONO_NEVER, 0, fire};
}

static inline bool timer_is_set(const struct timer *timer)
{
	return timer->place != 0;
}

/*
 * Queues the timer, or moves it if it is queued. MONO_NEVER removes it.
 * 0, or -ENOMEM, and then the timer is not queued.
 */
int timerq_set(struct timerq *queue, struct timer *timer, struct mono when)
    __attribute__((warn_unused_result));

void timerq_clear(struct timerq *queue, struct timer *timer);

/* The earliest deadline, or MONO_NEVER. */
struct mono timerq_next(const struct timerq *queue);

/*
 * Fires what is due, earliest first, at most budget of them. A timer is off
 * the queue when its function runs, and may be set again or freed there, as
 * may any other.
 */
void timerq_run(struct timerq *queue, struct mono now, unsigned int budget);
