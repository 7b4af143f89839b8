#include "daemon/base/map.h"

#include "daemon/base/hash.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define MAP_BUCKETS_MIN 16u

/* Keys are short names, and nobody gains by making them collide but in their own session's queues. */
static uint32_t hash_of(struct span key)
{
	uint64_t hash = hash_more(HASH_BEGIN, key);

	return (uint32_t)(hash ^ hash >> 32);
}

static struct map_node **bucket_of(const struct map *map, uint32_t hash)
{
	return &map->buckets[hash & (map->bucket_count - 1)];
}

void map_deinit(struct map *map)
{
	free(map->buckets);
	*map = MAP_INIT;
}

struct map_node *map_find(const struct map *map, struct span key)
{
	uint32_t hash = hash_of(key);
	struct map_node *node;

	if (map->count == 0)
		return NULL;
	for (node = *bucket_of(map, hash); node; node = node->next) {
		if (node->hash == hash && span_equal(node->key, key))
			return node;
	}
	return NULL;
}

static int map_grow(struct map *map)
{
	size_t old_count = map->bucket_count;
	size_t count = old_count ? old_count * 2 : MAP_BUCKETS_MIN;
	struct map_node **old = map->buckets;
	struct map_node **buckets = calloc(count, sizeof(*buckets));

	if (!buckets)
		return -ENOMEM;
	map->buckets = buckets;
	map->bucket_count = count;
	for (size_t i = 0; i < old_count; i++) {
		while (old[i]) {
			struct map_node *node = old[i];
			struct map_node **bucket = bucket_of(map, node->hash);

			old[i] = node->next;
			node->next = *bucket;
			*bucket = node;
		}
	}
	free(old);
	return 0;
}

int map_add(struct map *map, struct map_node *node, struct span key)
{
	struct map_node **bucket;
	int r;

	if (map->count >= map->bucket_count) {
		r = map_grow(map);
		if (r < 0)
			return r;
	}
	node->key = key;
	node->hash = hash_of(key);
	bucket = bucket_of(map, node->hash);
	node->next = *bucket;
	*bucket = node;
	map->count++;
	return 0;
}

void map_remove(struct map *map, struct map_node *node)
{
	struct map_node **link = bucket_of(map, node->hash);

	while (*link != node) {
		assert(*link);
		link = &(*link)->next;
	}
	*link = node->next;
	node->next = NULL;
	map->count--;
}
