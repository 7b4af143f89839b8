/*
 * Accounts of memory. An account has a limit and may have a parent: what is
 * charged to a session is charged to its uid and to the daemon as well.
 *
 * An account with a share may have a multiple of what is left free in its
 * parent: among several that want everything each gets the same, and something
 * stays free for one more.
 *
 * A charge is a value that remembers what it took and from whom, so that it is
 * given back whole, once, by charge_end(), however its owner ends.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct account {
	struct account *parent; /* outlives this one; NULL for the root */
	uint64_t used;		/* bytes, at most limit but for charge_force() */
	uint64_t limit;		/* bytes; UINT64_MAX: none */
	uint32_t share;		/* at most so many times what then is free in the parent; 0: no matter */
};

#define ACCOUNT_INIT(parent, limit) ((struct account){(parent), 0, (limit), 0})
#define ACCOUNT_INIT_SHARE(parent, share) ((struct account){(parent), 0, UINT64_MAX, (share)})

struct charge {
	struct account *account; /* NULL: nothing is charged */
	uint64_t bytes;
};

#define CHARGE_NONE ((struct charge){NULL, 0})

/* How much could be charged now: the least that is free on the way to the root. */
uint64_t account_free(const struct account *account);

/*
 * Takes bytes from the account and all above it and adds them to the charge,
 * which is empty or of the same account. False, and nothing taken, if any of
 * them would pass its limit.
 */
bool charge_take(struct charge *charge, struct account *account, uint64_t bytes)
    __attribute__((warn_unused_result));

/* The same, past the limit if need be: for what is in memory already (a message that a broker sent). */
void charge_force(struct charge *charge, struct account *account, uint64_t bytes);

/* Gives part of a charge back; at most what it has. */
void charge_lower(struct charge *charge, uint64_t bytes);

/* Gives all of it back; again does nothing. */
void charge_end(struct charge *charge);
