/*
 * A queue of deadlines, earliest first: a pairing heap, whose pointers are in
 * the entries. So setting one allocates nothing and cannot fail, which callers
 * rely on: a deadline that is lost is never heard of again. Setting costs O(1),
 * removing O(log n) over time.
 *
 * The queue owns nothing. Nothing fires by itself: the loop asks for the next
 * deadline, and calls timerq_run() when it has come.
 */
#pragma once

#include "daemon/base/clock.h"

#include <stddef.h>

struct timer;

typedef void (*timer_fn)(struct timer *timer, struct mono now);

struct timer {
	struct mono when;
	struct timer *child; /* the first of those that come behind it */
	struct timer *next;  /* of the same parent */
	struct timer *back; /* the one before in that list; of the first the parent, of the root itself; NULL:
			       not queued */
	timer_fn fire;
};

struct timerq {
	struct timer *root; /* the earliest */
};

#define TIMERQ_INIT ((struct timerq){NULL})

static inline void timer_init(struct timer *timer, timer_fn fire)
{
	*timer = (struct timer){.when = MONO_NEVER, .fire = fire};
}

static inline bool timer_is_set(const struct timer *timer)
{
	return timer->back != NULL;
}

/* Queues the timer, or moves it if it is queued. MONO_NEVER removes it. */
void timerq_set(struct timerq *queue, struct timer *timer, struct mono when);

void timerq_clear(struct timerq *queue, struct timer *timer);

/* The earliest deadline, or MONO_NEVER. */
struct mono timerq_next(const struct timerq *queue);

/*
 * Fires what is due, earliest first, at most budget of them. A timer is off
 * the queue when its function runs, and may be set again or freed there, as
 * may any other.
 */
void timerq_run(struct timerq *queue, struct mono now, unsigned int budget);
