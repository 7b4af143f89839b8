/*
 * Blocks of memory for what comes and goes once a message. Freed blocks of a
 * few sizes are kept for the next ones, up to a bound, so that the hot path
 * does not allocate; larger ones come from malloc each time.
 *
 * Threads: none.
 */
#pragma once

#include <stddef.h>

#define POOL_CLASSES 5u /* 256, 512, 1024, 2048 and 4096 bytes */

struct pool_block;

struct pool {
	struct pool_block *free[POOL_CLASSES];
	unsigned int kept[POOL_CLASSES];
};

#define POOL_INIT ((struct pool){{NULL}, {0}})

/* Frees what is kept. Blocks that are out must have come back, or are lost. */
void pool_deinit(struct pool *pool);

/* Not cleared. NULL: no memory. */
void *pool_take(struct pool *pool, size_t size) __attribute__((warn_unused_result));

/* size is what the block was taken with. NULL is fine. */
void pool_give(struct pool *pool, void *block, size_t size);
