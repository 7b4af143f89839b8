/*
 * The records of publishes that have no outcome. They lie in chunks, one behind
 * the other, whatever channel they are of; a chunk goes when none of its records
 * is needed any more, or is filled anew. A large one has a chunk of its own. So
 * there is no malloc() per message, and an idle connection holds next to
 * nothing.
 */
#include "config.h"

#include "client/kept.h"
#include "client/conn.h"

#include "proto/frame.h"

#include <stdlib.h>

#define CHUNK_MIN_BYTES 2048u
#define CHUNK_MAX_BYTES 65536u
#define CHUNK_IDLE_BYTES 4096u /* one that is empty may be so large and be kept */

struct chunk {
	size_t live; /* records without an outcome */
	size_t used;
	size_t capacity;
	_Alignas(struct kept) uint8_t data[];
};

static void chunk_free(struct muxc *c, struct chunk *chunk)
{
	c->chunks_bytes -= chunk->capacity;
	free(chunk);
}

static struct chunk *chunk_new(struct muxc *c, size_t capacity)
{
	struct chunk *chunk = malloc(sizeof(*chunk) + capacity);

	if (!chunk)
		return NULL;
	chunk->live = 0;
	chunk->used = 0;
	chunk->capacity = capacity;
	c->chunks_bytes += capacity;
	return chunk;
}

/* The chunk that takes so many bytes; NULL: no memory. */
static struct chunk *chunk_for(struct muxc *c, size_t size)
{
	struct chunk *chunk = c->chunk;

	if (chunk && chunk->live == 0)
		chunk->used = 0;
	if (chunk && size <= chunk->capacity - chunk->used)
		return chunk;
	if (size > CHUNK_MAX_BYTES / 4)
		return chunk_new(c, size);
	c->chunk = NULL;
	if (chunk && chunk->live == 0)
		chunk_free(c, chunk);
	c->chunk_bytes = c->chunk_bytes ? c->chunk_bytes * 2 : CHUNK_MIN_BYTES;
	while (c->chunk_bytes < size)
		c->chunk_bytes *= 2;
	if (c->chunk_bytes > CHUNK_MAX_BYTES)
		c->chunk_bytes = CHUNK_MAX_BYTES;
	c->chunk = chunk_new(c, c->chunk_bytes);
	return c->chunk;
}

static size_t cost_of(const struct kept *kept)
{
	return kept->op_at - IPC_FRAME_PREFIX + kept->op_len + kept->body_len;
}

void kept_free(struct muxc *c, struct kept *kept)
{
	struct chunk *chunk = kept->chunk;

	c->kept_count--;
	c->kept_bytes -= cost_of(kept);
	if (--chunk->live == 0 && chunk != c->chunk)
		chunk_free(c, chunk);
	if (c->kept_count > 0 || !c->chunk || c->chunk->capacity <= CHUNK_IDLE_BYTES)
		return;
	chunk_free(c, c->chunk);
	c->chunk = NULL;
	c->chunk_bytes = 0;
}

bool kept_has_room(const struct muxc *c, uint64_t cost)
{
	/* One record may hold a whole chunk: so chunks are bounded too, if not as tightly. */
	return c->kept_count == 0 ||
	       (c->kept_bytes + cost <= c->kept_max && c->chunks_bytes / 2 <= c->kept_max);
}

/* What a record with a frame of so many bytes takes of a chunk. */
static size_t room_for(size_t frame_len)
{
	size_t align = _Alignof(struct kept);

	return (sizeof(struct kept) + frame_len + align - 1) / align * align;
}

struct kept *kept_reserve(struct muxc *c, size_t frame_len)
{
	struct chunk *chunk = chunk_for(c, room_for(frame_len));
	struct kept *kept;

	if (!chunk)
		return NULL;
	kept = (struct kept *)(void *)(chunk->data + chunk->used);
	kept->chunk = chunk;
	kept->was_sent = kept->returned = false;
	return kept;
}

void kept_discard(struct muxc *c, struct kept *kept)
{
	if (kept->chunk != c->chunk)
		chunk_free(c, kept->chunk);
}

void kept_commit(struct muxc *c, struct kept *kept)
{
	kept->chunk->used += room_for(kept->op_at + kept->op_len + kept->body_len);
	kept->chunk->live++;
	c->kept_count++;
	c->kept_bytes += cost_of(kept);
}
