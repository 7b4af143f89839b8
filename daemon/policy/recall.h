/*
 * What patterns said of names before. A process uses the same few names again
 * and again, and may do so many thousand times in a turn: each costs a pattern
 * once. Of as many as there is room for; what is found in a name's place gives
 * way to it. Cannot fail.
 */
#pragma once

#include "proto/span.h"

#include <stdbool.h>
#include <stdint.h>

#define RECALL_NAMES 64u /* a power of two */
#define RECALL_NAME_MAX 255u

struct recall {
	struct recalled {
		const void *pattern; /* NULL: free */
		bool matches;
		uint8_t len;
		uint8_t name[RECALL_NAME_MAX];
	} names[RECALL_NAMES];
};

/* 1: the pattern matches the name, 0: it does not, -1: that is not known. */
int recall_find(const struct recall *recall, const void *pattern, struct span name);

/* Longer names than RECALL_NAME_MAX are not kept. */
void recall_keep(struct recall *recall, const void *pattern, struct span name, bool matches);
