#include "proto/arena.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, size) ((void)(start), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(start, size) ((void)(start), (void)(size))
#endif

#define ARENA_ALIGNMENT alignof(max_align_t)
#define ARENA_OVERFLOW_MIN 4096u /* bytes of the smallest further block */

struct arena_overflow {
	struct arena_overflow *older;
	alignas(max_align_t) uint8_t data[];
};

static void *arena_protobuf_alloc(void *arena, size_t size)
{
	return arena_alloc(arena, size);
}

static void arena_protobuf_free(void *arena, void *data)
{
}

/* Goes on in the memory from start to end. */
static void arena_use(struct arena *arena, uint8_t *start, size_t size)
{
	arena->next = start;
	arena->end = size > 0 ? start + size : start;
	if (size > 0)
		ASAN_POISON_MEMORY_REGION(start, size);
}

void arena_init(struct arena *arena, void *block, size_t size)
{
	*arena = (struct arena){
	    .allocator = {arena_protobuf_alloc, arena_protobuf_free, arena},
	    .block = block,
	    .block_size = size,
	};
	arena_use(arena, block, size);
}

void arena_deinit(struct arena *arena)
{
	arena_reset(arena);
	if (arena->block_size > 0)
		ASAN_UNPOISON_MEMORY_REGION(arena->block, arena->block_size);
	*arena = (struct arena){.block = NULL};
}

void arena_reset(struct arena *arena)
{
	while (arena->overflow) {
		struct arena_overflow *older = arena->overflow->older;

		free(arena->overflow);
		arena->overflow = older;
	}
	arena->failed = false;
	arena_use(arena, arena->block, arena->block_size);
}

/* A further block, with room for at least size bytes. */
static bool arena_overflow_add(struct arena *arena, size_t size)
{
	size_t capacity = arena->block_size > ARENA_OVERFLOW_MIN ? arena->block_size : ARENA_OVERFLOW_MIN;
	struct arena_overflow *block;

	if (capacity < size)
		capacity = size;
	if (capacity > PTRDIFF_MAX - sizeof(*block))
		return false;
	block = malloc(sizeof(*block) + capacity);
	if (!block)
		return false;
	block->older = arena->overflow;
	arena->overflow = block;
	arena_use(arena, block->data, capacity);
	return true;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	size_t gap = -(uintptr_t)arena->next & (ARENA_ALIGNMENT - 1);
	size_t left = (size_t)(arena->end - arena->next);
	uint8_t *data;

	if (gap > left || size > left - gap || !arena->next) {
		if (!arena_overflow_add(arena, size)) {
			arena->failed = true;
			return NULL;
		}
		gap = 0;
	}
	data = arena->next + gap;
	arena->next = data + size;
	ASAN_UNPOISON_MEMORY_REGION(data, size);
	return data;
}
