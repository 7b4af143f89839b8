#include "daemon/base/charge.h"

#include <assert.h>
#include <stddef.h>

static uint64_t free_of_limit(const struct account *account)
{
	return account->used < account->limit ? account->limit - account->used : 0;
}

static uint64_t free_here(const struct account *account)
{
	uint64_t of_limit = free_of_limit(account), whole, of_share;

	if (account->share == 0)
		return of_limit;
	/* used + more <= share * (whole - more) */
	whole = free_of_limit(account->parent);
	whole = whole > UINT64_MAX / account->share ? UINT64_MAX : whole * account->share;
	of_share = whole > account->used ? (whole - account->used) / (account->share + 1) : 0;
	return of_share < of_limit ? of_share : of_limit;
}

uint64_t account_free(const struct account *account)
{
	uint64_t least = UINT64_MAX;

	for (; account; account = account->parent)
		if (free_here(account) < least)
			least = free_here(account);
	return least;
}

static void add(struct charge *charge, struct account *account, uint64_t bytes)
{
	assert(charge->bytes == 0 || charge->account == account);
	charge->account = account;
	charge->bytes += bytes;
	for (; account; account = account->parent) {
		assert(bytes <= UINT64_MAX - account->used);
		account->used += bytes;
	}
}

bool charge_take(struct charge *charge, struct account *account, uint64_t bytes)
{
	if (bytes == 0)
		return true;
	if (bytes > account_free(account))
		return false;
	add(charge, account, bytes);
	return true;
}

void charge_force(struct charge *charge, struct account *account, uint64_t bytes)
{
	if (bytes > 0)
		add(charge, account, bytes);
}

void charge_lower(struct charge *charge, uint64_t bytes)
{
	struct account *account;

	assert(bytes <= charge->bytes);
	charge->bytes -= bytes;
	for (account = charge->account; account; account = account->parent) {
		assert(bytes <= account->used);
		account->used -= bytes;
	}
	if (charge->bytes == 0)
		charge->account = NULL;
}

void charge_end(struct charge *charge)
{
	charge_lower(charge, charge->bytes);
}
