/*
 * FNV-1a, 64 bits, over spans in a row. For tables and for knowing things again; it is no defence against who
 * looks for collisions.
 */
#pragma once

#include "proto/span.h"

#define HASH_BEGIN UINT64_C(0xCBF29CE484222325)

static inline uint64_t hash_more(uint64_t hash, struct span bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		hash = (hash ^ bytes.data[i]) * UINT64_C(0x100000001B3);
	return hash;
}
