/*
 * An arena for unpacking protobuf headers without malloc per message.
 *
 * The caller owns a block of memory and one arena over it, unpacks a header
 * with the arena's allocator, uses what came out, and resets the arena, which
 * ends everything that was unpacked at once. Freeing single pieces does
 * nothing, so protobuf_c_message_free_unpacked() need not be called.
 *
 * A message that needs more than the block gets further blocks from malloc;
 * the reset frees them. How much one header can need is bounded by
 * IPC_HEADER_MAX and PRESCAN_FIELDS_MAX: run the pre-scan before unpacking.
 *
 * The arena may not move in memory once initialised: its allocator points to
 * it. Threads: none; one arena per thread that unpacks.
 *
 * With AddressSanitizer, what lies behind a piece and what a reset has ended
 * is poisoned, so that a pointer kept beyond the reset is found.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARENA_BLOCK_GOOD (16u * 1024u) /* bytes: holds any usual header; a fair size to give */

struct arena_overflow;

struct arena {
	ProtobufCAllocator allocator;	 /* to hand to protobuf-c: &arena->allocator */
	uint8_t *block;			 /* the caller's, borrowed until arena_deinit() */
	uint8_t *next;			 /* where the current block goes on */
	uint8_t *end;			 /* one behind the current block */
	size_t block_size;		 /* bytes of the caller's block */
	struct arena_overflow *overflow; /* blocks from malloc, owned; newest first */
	bool failed;			 /* since the last reset: there was no memory */
};

/*
 * An arena over block, of size bytes, of any alignment. The block stays the
 * caller's; nobody else may touch it before arena_deinit(). A size of 0 (the
 * block may be NULL then) is an arena that always uses malloc.
 */
void arena_init(struct arena *arena, void *block, size_t size);

/* Ends the arena and everything in it; the block can be used for other things. */
void arena_deinit(struct arena *arena);

/* Ends everything in the arena. Constant time, but for blocks that malloc gave. */
void arena_reset(struct arena *arena);

/*
 * size bytes, aligned for any object, not zeroed, valid until the next reset.
 * size may be 0. NULL when there is no memory.
 */
void *arena_alloc(struct arena *arena, size_t size) __attribute__((warn_unused_result));
