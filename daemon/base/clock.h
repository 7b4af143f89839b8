/*
 * Time. The pure floors never read a clock: they are handed the time of the
 * loop turn. It is a type of its own, so that it is not mixed up with a
 * duration or with the time of day.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define USEC_PER_MSEC 1000ull
#define USEC_PER_SEC 1000000ull

/* A point of monotonic time (CLOCK_MONOTONIC, or a simulation's). */
struct mono {
	uint64_t usec;
};

#define MONO_NEVER ((struct mono){UINT64_MAX})

static inline bool mono_before(struct mono a, struct mono b)
{
	return a.usec < b.usec;
}

static inline bool mono_is_never(struct mono t)
{
	return t.usec == UINT64_MAX;
}

static inline struct mono mono_min(struct mono a, struct mono b)
{
	return a.usec < b.usec ? a : b;
}

/* Saturates at MONO_NEVER. */
static inline struct mono mono_add_usec(struct mono t, uint64_t usec)
{
	return (struct mono){t.usec > UINT64_MAX - usec ? UINT64_MAX : t.usec + usec};
}

/* How long from earlier to later; 0 if it is the other way round. */
static inline uint64_t mono_since_usec(struct mono later, struct mono earlier)
{
	return later.usec > earlier.usec ? later.usec - earlier.usec : 0;
}
