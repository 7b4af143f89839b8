/*
 * A fuzz target's input, read from its front as choices. Behind its end all is 0.
 */
#pragma once

#include "proto/span.h"

#include <stdint.h>

struct input {
	struct span rest;
};

static inline uint8_t input_byte(struct input *input)
{
	uint8_t byte = input->rest.len > 0 ? input->rest.data[0] : 0;

	input->rest = span_skip(input->rest, 1);
	return byte;
}

/* Below bound, which is at most 256. */
static inline unsigned int input_below(struct input *input, unsigned int bound)
{
	return input_byte(input) % bound;
}

static inline uint32_t input_u32(struct input *input)
{
	uint32_t value = 0;

	for (int i = 0; i < 4; i++)
		value = value << 8 | input_byte(input);
	return value;
}

/* So many bytes as the next one says, or all that are left. */
static inline struct span input_bytes(struct input *input)
{
	size_t len = input_byte(input);
	struct span bytes = span_first(input->rest, len);

	input->rest = span_skip(input->rest, bytes.len);
	return bytes;
}
