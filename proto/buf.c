#include "proto/buf.h"

#include <assert.h>
#include <stdlib.h>

#define BUF_SIZE_MIN 256

void buf_deinit(struct buf *buf)
{
	free(buf->data);
	*buf = BUF_INIT;
}

void buf_release(struct buf *buf)
{
	bool failed = buf->failed;

	if (buf_len(buf) > 0)
		return;
	buf_deinit(buf);
	buf->failed = failed;
}

/* Moves what is there to the front of the block, which is large enough. */
static void buf_compact(struct buf *buf)
{
	memmove(buf->data, buf->data + buf->start, buf_len(buf));
	buf->end -= buf->start;
	buf->start = 0;
}

static bool buf_grow(struct buf *buf, size_t needed)
{
	size_t capacity = buf->capacity ? buf->capacity : BUF_SIZE_MIN;
	uint8_t *data;

	while (capacity < needed) {
		if (capacity > SIZE_MAX / 2)
			return false;
		capacity *= 2;
	}
	if (buf->start > 0)
		buf_compact(buf);
	data = realloc(buf->data, capacity);
	if (!data)
		return false;
	buf->data = data;
	buf->capacity = capacity;
	return true;
}

uint8_t *buf_make_room(struct buf *buf, size_t count)
{
	size_t len = buf_len(buf);

	if (buf->failed)
		return NULL;
	/* Moving is cheap when it is less than half of the block, else it would be quadratic. */
	if (buf->data && len <= buf->capacity / 2 && count <= buf->capacity - len) {
		buf_compact(buf);
		return buf->data + buf->end;
	}
	if (count > SIZE_MAX - len || !buf_grow(buf, len + count)) {
		buf->failed = true;
		return NULL;
	}
	return buf->data + buf->end;
}

void buf_append(struct buf *buf, const void *data, size_t count)
{
	uint8_t *room;

	if (count == 0)
		return;
	room = buf_reserve(buf, count);
	if (!room)
		return;
	memcpy(room, data, count);
	buf_commit(buf, count);
}

void buf_append_u8(struct buf *buf, uint8_t value)
{
	buf_append(buf, &value, 1);
}

void buf_append_be16(struct buf *buf, uint16_t value)
{
	uint8_t bytes[2];

	store_be16(bytes, value);
	buf_append(buf, bytes, sizeof(bytes));
}

void buf_append_be32(struct buf *buf, uint32_t value)
{
	uint8_t bytes[4];

	store_be32(bytes, value);
	buf_append(buf, bytes, sizeof(bytes));
}

void buf_append_be64(struct buf *buf, uint64_t value)
{
	uint8_t bytes[8];

	store_be64(bytes, value);
	buf_append(buf, bytes, sizeof(bytes));
}

void buf_consume(struct buf *buf, size_t count)
{
	size_t len = buf_len(buf);

	buf->start += count < len ? count : len;
	if (buf->start == buf->end) {
		buf->start = 0;
		buf->end = 0;
	}
}

void buf_truncate(struct buf *buf, size_t len)
{
	assert(len <= buf_len(buf));
	buf->end = buf->start + len;
}

void buf_patch_be32(struct buf *buf, size_t offset, uint32_t value)
{
	if (buf->failed)
		return;
	assert(offset + 4 <= buf_len(buf));
	store_be32(buf->data + buf->start + offset, value);
}
