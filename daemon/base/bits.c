#include "daemon/base/bits.h"

#include <assert.h>
#include <string.h>

#define WORD_BITS 64u

static size_t words_of(size_t size)
{
	return (size + WORD_BITS - 1) / WORD_BITS;
}

size_t bits_words(size_t size)
{
	size_t count = 0;

	do {
		size = words_of(size);
		count += size;
	} while (size > 1);
	return count;
}

void bits_init(struct bits *bits, uint64_t *words, size_t size)
{
	size_t at = 0;

	assert(size >= BITS_SIZE_MIN && (size & (size - 1)) == 0);
	memset(words, 0, bits_words(size) * sizeof(*words));
	bits->words = words;
	bits->levels = 0;
	do {
		assert(bits->levels < BITS_LEVELS_MAX);
		size = words_of(size);
		bits->at[bits->levels++] = at;
		at += size;
	} while (size > 1);
}

static uint64_t *word_of(const struct bits *bits, unsigned int level, size_t number)
{
	return &bits->words[bits->at[level] + number / WORD_BITS];
}

static uint64_t bit_of(size_t number)
{
	return UINT64_C(1) << (number % WORD_BITS);
}

/* A level knows no more of the word below than whether it is empty. */
void bits_put(struct bits *bits, size_t number, bool is_member)
{
	for (unsigned int level = 0; level < bits->levels; level++) {
		uint64_t *word = word_of(bits, level, number);
		bool was_empty = *word == 0;

		if (is_member)
			*word |= bit_of(number);
		else
			*word &= ~bit_of(number);
		if (was_empty == (*word == 0))
			return;
		number /= WORD_BITS;
	}
}

/* The lowest member of the word that has this number, from it on. */
static bool next_in_word(const struct bits *bits, unsigned int level, size_t from, size_t *ret)
{
	uint64_t word = *word_of(bits, level, from) & ~(bit_of(from) - 1);

	if (word == 0)
		return false;
	*ret = from / WORD_BITS * WORD_BITS + (size_t)__builtin_ctzll(word);
	return true;
}

/* How many numbers a level has. */
static size_t room_of(const struct bits *bits, unsigned int level)
{
	size_t end = level + 1 < bits->levels ? bits->at[level + 1] : bits->at[level] + 1;

	return (end - bits->at[level]) * WORD_BITS;
}

size_t bits_next(const struct bits *bits, size_t from)
{
	unsigned int level = 0;

	while (from >= room_of(bits, level) || !next_in_word(bits, level, from, &from)) {
		from = from / WORD_BITS + 1;
		if (++level == bits->levels)
			return BITS_NONE;
	}
	while (level-- > 0)
		(void)next_in_word(bits, level, from * WORD_BITS, &from);
	return from;
}
