/*
 * Connections counted by uid, so that one user cannot take all of them. There
 * are few distinct uids on a host, so it is an array.
 *
 * A seat is a value that remembers whose count it is in, as a charge does: it
 * is given back once, by users_seat_end(), however its connection ends.
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

struct users_seat {
	struct users *users; /* NULL: none is taken */
	uint32_t uid;
};

#define USERS_SEAT_NONE ((struct users_seat){NULL, 0})

/* Seats have ended before. */
void users_deinit(struct users *users);

/* Counts one more. False if that would be more than max, or there is no memory. */
bool users_seat_take(struct users_seat *seat, struct users *users, uint32_t uid, uint32_t max)
    __attribute__((warn_unused_result));

/* Takes back what was counted; again does nothing. */
void users_seat_end(struct users_seat *seat);

uint32_t users_count(const struct users *users, uint32_t uid);

/* Who has most; both 0 if there is nobody. */
struct users_entry users_most(const struct users *users);
