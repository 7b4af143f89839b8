/*
 * When and where to dial next: the endpoints in turn, each round of failures
 * followed by a pause that grows exponentially, with full jitter (a random
 * share of it), so that many hosts do not storm a broker that comes back.
 *
 * Pure: random bits come from the caller.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redial {
	uint64_t min_usec; /* the first pause */
	uint64_t max_usec; /* the longest */
	size_t endpoint_count;
	size_t endpoint;     /* the one in use, or to dial next */
	size_t tried;	     /* endpoints that failed in this round */
	unsigned int rounds; /* rounds that failed */
	bool refused;	     /* by one of the endpoints of this round */
};

void redial_init(struct redial *redial, uint64_t min_usec, uint64_t max_usec, size_t endpoint_count);

/* The connection is up: the next failure begins anew. */
void redial_succeeded(struct redial *redial);

/*
 * The endpoint failed. Returns how long to wait before dialling
 * redial->endpoint, which has moved on. refused: the broker does not want us
 * (password, vhost); asking again soon is of no use, the pause behind a round
 * with such a one in it is the longest.
 */
uint64_t redial_failed(struct redial *redial, bool refused, uint64_t random);

/* The failure was the last one of a round. */
static inline bool redial_round_is_over(const struct redial *redial)
{
	return redial->tried == 0;
}
