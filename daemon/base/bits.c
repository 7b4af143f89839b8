#include "daemon/base/bits.h"

#include <assert.h>
#include <string.h>

static size_t words_of(size_t size)
{
	return (size + BITS_PER_WORD - 1) / BITS_PER_WORD;
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
	return &bits->words[bits->at[level] + number / BITS_PER_WORD];
}

/* A level knows no more of the word below than whether it is empty. */
void bits_put_above(struct bits *bits, size_t number, bool is_member)
{
	for (unsigned int level = 1; level < bits->levels; level++) {
		uint64_t *word = word_of(bits, level, number /= BITS_PER_WORD);
		bool was_empty = *word == 0;

		*word = is_member ? *word | bits_bit(number) : *word & ~bits_bit(number);
		if (was_empty == (*word == 0))
			return;
	}
}

/* The lowest member of the word that has this number, from it on. */
static bool next_in_word(const struct bits *bits, unsigned int level, size_t from, size_t *ret)
{
	uint64_t word = *word_of(bits, level, from) & ~(bits_bit(from) - 1);

	if (word == 0)
		return false;
	*ret = from / BITS_PER_WORD * BITS_PER_WORD + (size_t)__builtin_ctzll(word);
	return true;
}

/* How many numbers a level has. */
static size_t room_of(const struct bits *bits, unsigned int level)
{
	size_t end = level + 1 < bits->levels ? bits->at[level + 1] : bits->at[level] + 1;

	return (end - bits->at[level]) * BITS_PER_WORD;
}

size_t bits_next_beyond(const struct bits *bits, size_t from)
{
	unsigned int level = 0;

	while (from >= room_of(bits, level) || !next_in_word(bits, level, from, &from)) {
		from = from / BITS_PER_WORD + 1;
		if (++level == bits->levels)
			return BITS_NONE;
	}
	while (level-- > 0)
		(void)next_in_word(bits, level, from * BITS_PER_WORD, &from);
	return from;
}
