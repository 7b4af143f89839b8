/*
 * Random methods, properties and tables for the tests of the codec.
 *
 * The same seed gives the same values everywhere. Bytes live in the
 * generator's pool: what it made is valid until gen_init(). Numbers are often
 * the edges of their range, strings often empty or as long as they can be.
 */
#pragma once

#include "daemon/amqp/content.h"

struct gen {
	uint64_t state;
	size_t used; /* bytes of pool */
	uint8_t pool[1u << 18];
};

void gen_init(struct gen *gen, uint64_t seed);

uint64_t gen_u64(struct gen *gen);
/* 0 <= result < limit */
uint64_t gen_below(struct gen *gen, uint64_t limit);
/* Bytes of any value, at most len_max of them. */
struct span gen_bytes(struct gen *gen, size_t len_max);
/* A copy in the pool. */
struct span gen_keep(struct gen *gen, struct span bytes);

/* Every letter that a field can have. */
#define GEN_LETTERS "tbBsuIilLfdDSxFAVT"

/* A value for a field of type letter; tables in it have at most depth levels below. */
void gen_value(struct gen *gen, char letter, unsigned int depth, struct amqc_field *ret);
/* The bytes of a table (or of an array), without the length in front. */
struct span gen_table(struct gen *gen, bool is_array, unsigned int depth);

/* True if both are the same type and the same value to the last bit. */
bool field_equal(const struct amqc_field *a, const struct amqc_field *b);

#define GEN_METHOD_COUNT 64u
/* The ids of all methods, in the order of methods.def. */
uint32_t gen_method_id(size_t index);
void gen_method(struct gen *gen, uint32_t id, struct amqc_method *ret);
bool method_equal(const struct amqc_method *a, const struct amqc_method *b);

void gen_properties(struct gen *gen, struct amqc_properties *ret);
bool properties_equal(const struct amqc_properties *a, const struct amqc_properties *b);
