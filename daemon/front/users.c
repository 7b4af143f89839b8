#include "daemon/front/users.h"

#include <assert.h>
#include <stdlib.h>

#define CAPACITY_MIN 8u

static struct users_entry *find(const struct users *users, uint32_t uid)
{
	for (size_t i = 0; i < users->count; i++)
		if (users->entries[i].uid == uid)
			return &users->entries[i];
	return NULL;
}

static bool grow(struct users *users)
{
	size_t capacity = users->capacity ? users->capacity * 2 : CAPACITY_MIN;
	struct users_entry *entries = reallocarray(users->entries, capacity, sizeof(*entries));

	if (!entries)
		return false;
	users->entries = entries;
	users->capacity = capacity;
	return true;
}

void users_deinit(struct users *users)
{
	free(users->entries);
	*users = (struct users){0};
}

bool users_enter(struct users *users, uint32_t uid, uint32_t max)
{
	struct users_entry *entry = find(users, uid);

	if (max == 0 || (entry && entry->count >= max))
		return false;
	if (!entry) {
		if (users->count == users->capacity && !grow(users))
			return false;
		entry = &users->entries[users->count++];
		*entry = (struct users_entry){uid, 0};
	}
	entry->count++;
	return true;
}

uint32_t users_count(const struct users *users, uint32_t uid)
{
	const struct users_entry *entry = find(users, uid);

	return entry ? entry->count : 0;
}

void users_leave(struct users *users, uint32_t uid)
{
	struct users_entry *entry = find(users, uid);

	assert(entry);
	if (--entry->count == 0)
		*entry = users->entries[--users->count];
}
