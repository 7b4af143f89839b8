/*
 * Random numbers for property tests: the same seed gives the same run on
 * every machine. A test prints its seed when it fails.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct random {
	uint64_t state;
};

static inline struct random random_make(uint64_t seed)
{
	return (struct random){seed};
}

static inline uint64_t random_u64(struct random *random)
{
	uint64_t x = random->state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* 0 .. bound - 1; bound is not 0. */
static inline uint32_t random_below(struct random *random, uint32_t bound)
{
	return (uint32_t)((random_u64(random) >> 32) * bound >> 32);
}

static inline void random_bytes(struct random *random, uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)random_u64(random);
}
