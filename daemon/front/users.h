/*
 * Connections counted by uid, so that one user cannot take all of them. There
 * are few distinct uids on a host, so it is an array.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct users_entry {
	uint32_t uid;
	uint32_t count;
};

struct users {
	struct users_entry *entries; /* owned; count is never 0 */
	size_t count;
	size_t capacity;
};

void users_deinit(struct users *users);

/* Counts one more. False if that would be more than max, or there is no memory. */
bool users_enter(struct users *users, uint32_t uid, uint32_t max) __attribute__((warn_unused_result));

uint32_t users_count(const struct users *users, uint32_t uid);

/* Takes back what users_enter() counted. */
void users_leave(struct users *users, uint32_t uid);
