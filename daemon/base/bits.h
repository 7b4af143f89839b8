/*
 * A set of small numbers that finds its next member in a few steps, however
 * far away that is: above the bits lie words that say which words below them
 * are not empty, and so on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITS_PER_WORD 64u
#define BITS_SIZE_MIN BITS_PER_WORD
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

static inline uint64_t bits_bit(size_t number)
{
	return UINT64_C(1) << (number % BITS_PER_WORD);
}

/* The number's word has become empty, or is so no more. */
void bits_put_above(struct bits *bits, size_t number, bool is_member);

static inline void bits_put(struct bits *bits, size_t number, bool is_member)
{
	uint64_t *word = &bits->words[number / BITS_PER_WORD];
	bool was_empty = *word == 0;

	*word = is_member ? *word | bits_bit(number) : *word & ~bits_bit(number);
	if (was_empty != (*word == 0) && bits->levels > 1)
		bits_put_above(bits, number, is_member);
}

/* The same, on the way through the levels. */
size_t bits_next_beyond(const struct bits *bits, size_t from);

/* The lowest member from that number on, or BITS_NONE. The number may be the size itself. */
static inline size_t bits_next(const struct bits *bits, size_t from)
{
	size_t words = bits->levels > 1 ? bits->at[1] : 1, at = from / BITS_PER_WORD;
	uint64_t word = at < words ? bits->words[at] & ~(bits_bit(from) - 1) : 0;

	return word ? at * BITS_PER_WORD + (size_t)__builtin_ctzll(word) : bits_next_beyond(bits, from);
}
