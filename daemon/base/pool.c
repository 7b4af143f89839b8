#include "daemon/base/pool.h"

#include <stdlib.h>

#define POOL_SMALLEST 256u
#define POOL_KEPT_BYTES (256u * 1024u) /* per class */

struct pool_block {
	struct pool_block *next;
};

static size_t class_size(unsigned int class)
{
	return (size_t)POOL_SMALLEST << class;
}

/* The smallest class that holds size, or POOL_CLASSES. */
static unsigned int class_of(size_t size)
{
	unsigned int class = 0;

	while (class < POOL_CLASSES && class_size(class) < size)
		class ++;
	return class;
}

void pool_deinit(struct pool *pool)
{
	for (unsigned int class = 0; class < POOL_CLASSES; class ++) {
		while (pool->free[class]) {
			struct pool_block *block = pool->free[class];

			pool->free[class] = block->next;
			free(block);
		}
		pool->kept[class] = 0;
	}
}

void *pool_take(struct pool *pool, size_t size)
{
	unsigned int class = class_of(size);
	struct pool_block *block;

	if (class == POOL_CLASSES)
		return malloc(size);
	block = pool->free[class];
	if (!block)
		return malloc(class_size(class));
	pool->free[class] = block->next;
	pool->kept[class]--;
	return block;
}

void pool_give(struct pool *pool, void *data, size_t size)
{
	unsigned int class = class_of(size);
	struct pool_block *block = data;

	if (!block)
		return;
	if (class == POOL_CLASSES || pool->kept[class] >= POOL_KEPT_BYTES / class_size(class)) {
		free(block);
		return;
	}
	block->next = pool->free[class];
	pool->free[class] = block;
	pool->kept[class]++;
}
