/*
 * A hash map from names (any bytes) to entries that embed a node. The entry
 * owns the bytes of its key; the map owns its array alone.
 */
#pragma once

#include "proto/span.h"

struct map_node {
	struct map_node *next;
	struct span key;
	uint32_t hash;
};

struct map {
	struct map_node **buckets; /* owned; a power of two of them */
	size_t bucket_count;
	size_t count;
};

#define MAP_INIT ((struct map){NULL, 0, 0})

void map_deinit(struct map *map);

/* The node of that key, or NULL. */
struct map_node *map_find(const struct map *map, struct span key);

/* Adds a node whose key is not in the map. 0 or -ENOMEM. */
int map_add(struct map *map, struct map_node *node, struct span key) __attribute__((warn_unused_result));

/* Takes out a node that is in the map. */
void map_remove(struct map *map, struct map_node *node);
