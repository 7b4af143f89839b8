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
	assert(users->count == 0);
	free(users->entries);
	*users = (struct users){0};
}

bool users_seat_take(struct users_seat *seat, struct users *users, uint32_t uid, uint32_t max)
{
	struct users_entry *entry = find(users, uid);

	assert(!seat->users);
	if (max == 0 || (entry && entry->count >= max))
		return false;
	if (!entry) {
		if (users->count == users->capacity && !grow(users))
			return false;
		entry = &users->entries[users->count++];
		*entry = (struct users_entry){uid, 0};
	}
	entry->count++;
	*seat = (struct users_seat){users, uid};
	return true;
}

void users_seat_end(struct users_seat *seat)
{
	struct users *users = seat->users;
	struct users_entry *entry;

	if (!users)
		return;
	entry = find(users, seat->uid);
	assert(entry);
	if (--entry->count == 0)
		*entry = users->entries[--users->count];
	*seat = USERS_SEAT_NONE;
}

uint32_t users_count(const struct users *users, uint32_t uid)
{
	const struct users_entry *entry = find(users, uid);

	return entry ? entry->count : 0;
}

struct users_entry users_most(const struct users *users)
{
	struct users_entry most = {0, 0};

	for (size_t i = 0; i < users->count; i++)
		if (users->entries[i].count > most.count)
			most = users->entries[i];
	return most;
}
