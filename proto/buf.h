/*
 * A byte buffer: bytes are appended at the end and consumed at the front.
 *
 * Memory is one block that doubles as it grows and is given back by
 * buf_release() (the owner of an idle connection calls it so that idle costs
 * nothing).
 *
 * Appending can fail for want of memory alone. The failure is sticky: the
 * first one marks the buffer, later appends do nothing, and the writer asks
 * once at the end (buf_failed). So encoders need no check per field.
 *
 * An encoder that finds half-way that its input cannot be encoded truncates
 * back to where it started (buf_truncate).
 *
 * Threads: none; whoever shares a buffer locks around it.
 */
#pragma once

#include "proto/span.h"

struct buf {
	uint8_t *data;	 /* the block, owned */
	size_t start;	 /* first byte not yet consumed */
	size_t end;	 /* one behind the last byte */
	size_t capacity; /* size of the block in bytes */
	bool failed;	 /* an append ran out of memory */
};

#define BUF_INIT ((struct buf){NULL, 0, 0, 0, false})

/* Frees the block; the buffer is empty and usable afterwards. */
void buf_deinit(struct buf *buf);

/* Gives the block back if the buffer is empty. Keeps the failure mark. */
void buf_release(struct buf *buf);

static inline size_t buf_len(const struct buf *buf)
{
	return buf->end - buf->start;
}

static inline bool buf_failed(const struct buf *buf)
{
	return buf->failed;
}

/* What is in the buffer; valid until the next call that changes it. */
static inline struct span buf_span(const struct buf *buf)
{
	return (struct span){buf->data ? buf->data + buf->start : NULL, buf->end - buf->start};
}

/* For buf_reserve(), when there is no room. */
uint8_t *buf_make_room(struct buf *buf, size_t count) __attribute__((warn_unused_result));

/*
 * Makes room for count more bytes behind the end and returns where they go,
 * or NULL (and marks the buffer) when there is no memory. The bytes join the
 * buffer with buf_commit().
 */
__attribute__((warn_unused_result)) static inline uint8_t *buf_reserve(struct buf *buf, size_t count)
{
	if (count <= buf->capacity - buf->end && buf->data && !buf->failed)
		return buf->data + buf->end;
	return buf_make_room(buf, count);
}

static inline void buf_commit(struct buf *buf, size_t count)
{
	buf->end += count;
}

void buf_append(struct buf *buf, const void *data, size_t count);

static inline void buf_append_span(struct buf *buf, struct span span)
{
	buf_append(buf, span.data, span.len);
}

void buf_append_u8(struct buf *buf, uint8_t value);
void buf_append_be16(struct buf *buf, uint16_t value);
void buf_append_be32(struct buf *buf, uint32_t value);
void buf_append_be64(struct buf *buf, uint64_t value);

/* Drops count bytes (at most what is there) from the front. */
void buf_consume(struct buf *buf, size_t count);

/* Drops what lies behind the first len bytes: back to a remembered buf_len(). */
void buf_truncate(struct buf *buf, size_t len);

/*
 * Overwrites four bytes that are already there, at offset bytes behind the
 * front: for a length that is known only when what it counts is written.
 */
void buf_patch_be32(struct buf *buf, size_t offset, uint32_t value);
