/*
 * A set of small numbers that finds its next member in a few steps, however
 * far away that is: above the bits lie words that say which words below them
 * are not empty, and so on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITS_SIZE_MIN 64u
#define BITS_LEVELS_MAX 8u
#define BITS_NONE SIZE_MAX

struct bits {
	uint64_t *words; /* the caller's */
	unsigned int levels;
	size_t at[BITS_LEVELS_MAX]; /* where each level's words begin */
};

/* How many words a set of the numbers below size needs; size is a power of two from BITS_SIZE_MIN on. */
size_t bits_words(size_t size);

/* An empty one in so many words. */
void bits_init(struct bits *bits, uint64_t *words, size_t size);

void bits_put(struct bits *bits, size_t number, bool is_member);

/* The lowest member from that number on, or BITS_NONE. The number may be the size itself. */
size_t bits_next(const struct bits *bits, size_t from);
