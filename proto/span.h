/*
 * A span is a view of bytes that somebody else owns. It is never NUL
 * terminated and may hold any byte: AMQP names are not always UTF-8.
 *
 * A span is valid as long as its owner says; functions that keep bytes for
 * later copy them (into a buf, or a block of their own).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const uint8_t *data; /* may be NULL when len is 0 */
	size_t len;	     /* bytes */
};

#define SPAN_NULL ((struct span){NULL, 0})

/* For a string literal, without its NUL. */
#define SPAN_LITERAL(text) ((struct span){(const uint8_t *)(text), sizeof(text) - 1})

static inline struct span span_make(const void *data, size_t len)
{
	return (struct span){(const uint8_t *)data, len};
}

/* A NUL-terminated string, NULL meaning empty. */
static inline struct span span_str(const char *text)
{
	return text ? (struct span){(const uint8_t *)text, strlen(text)} : SPAN_NULL;
}

static inline bool span_equal(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool span_equal_str(struct span a, const char *text)
{
	return span_equal(a, span_str(text));
}

/* The first count bytes, or all there are. */
static inline struct span span_first(struct span s, size_t count)
{
	return (struct span){s.data, count < s.len ? count : s.len};
}

/* What is left behind the first count bytes; empty if there are not so many. */
static inline struct span span_skip(struct span s, size_t count)
{
	return count < s.len ? (struct span){s.data + count, s.len - count} : SPAN_NULL;
}

/* Big-endian numbers at an address; the caller has checked the length. */
static inline uint16_t load_be16(const uint8_t *p)
{
	return (uint16_t)(((unsigned int)p[0] << 8) | p[1]);
}

static inline uint32_t load_be32(const uint8_t *p)
{
	return ((uint32_t)p[0] << 24) | ((uint32_t)p[1] << 16) | ((uint32_t)p[2] << 8) | p[3];
}

static inline uint64_t load_be64(const uint8_t *p)
{
	return ((uint64_t)load_be32(p) << 32) | load_be32(p + 4);
}

static inline void store_be16(uint8_t *p, uint16_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static inline void store_be32(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 24);
	p[1] = (uint8_t)(value >> 16);
	p[2] = (uint8_t)(value >> 8);
	p[3] = (uint8_t)value;
}

static inline void store_be64(uint8_t *p, uint64_t value)
{
	store_be32(p, (uint32_t)(value >> 32));
	store_be32(p + 4, (uint32_t)value);
}

/*
 * Reading numbers and runs of bytes off the front of a span. Each returns
 * false, and leaves both the span and the output alone, when the span is too
 * short.
 */
static inline bool span_take(struct span *s, size_t count, struct span *ret)
{
	if (count > s->len)
		return false;
	*ret = (struct span){s->data, count};
	s->data = count ? s->data + count : s->data;
	s->len -= count;
	return true;
}

static inline bool span_take_u8(struct span *s, uint8_t *ret)
{
	struct span bytes;

	if (!span_take(s, 1, &bytes))
		return false;
	*ret = bytes.data[0];
	return true;
}

static inline bool span_take_be16(struct span *s, uint16_t *ret)
{
	struct span bytes;

	if (!span_take(s, 2, &bytes))
		return false;
	*ret = load_be16(bytes.data);
	return true;
}

static inline bool span_take_be32(struct span *s, uint32_t *ret)
{
	struct span bytes;

	if (!span_take(s, 4, &bytes))
		return false;
	*ret = load_be32(bytes.data);
	return true;
}

static inline bool span_take_be64(struct span *s, uint64_t *ret)
{
	struct span bytes;

	if (!span_take(s, 8, &bytes))
		return false;
	*ret = load_be64(bytes.data);
	return true;
}
