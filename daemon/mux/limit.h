/*
 * How many channels the broker lets us have, where the handshake does not say
 * so: RabbitMQ has a limit for each user (max-channels), counts the channels of
 * all its connections, and closes the connection that opens one more (530).
 * So the first close teaches the limit, at the cost of one epoch, and no more
 * lanes are opened from then on, on later connections too. It is forgotten when
 * a connection is made an hour or more after it was learned: a limit that was
 * lifted comes back into use, and one that was not costs another epoch.
 *
 * The close may name a limit that is higher than what we had: then other
 * connections hold the rest, perhaps one of ours that is gone and that the
 * broker has not missed yet. So after a pause one more is tried, if it is
 * needed. Each failure of that doubles the pause.
 *
 * Pure: the time comes from the caller.
 */
#pragma once

#include "daemon/base/clock.h"
#include "daemon/base/fault.h"

struct limit {
	uint32_t lanes; /* so many were let be; 0: no limit is known */
	uint32_t told;	/* so many the broker says it allows */
	uint64_t pause_usec;
	struct mono learned;
};

/* True if the broker closed the connection because of a channel too many. */
bool limit_is_meant(const struct fault *fault);

/* It did, when it had opened that many. */
void limit_learn(struct limit *limit, uint32_t opened, const struct fault *fault, struct mono now);

/* A connection is up. */
void limit_connected(struct limit *limit, struct mono now);

/* The broker has opened so many. */
void limit_opened(struct limit *limit, uint32_t opened);

/* How many may be opened in all, of most that the connection has numbers for. */
uint32_t limit_most(const struct limit *limit, uint32_t most);

/* When one more than those may be tried, if it is needed. MONO_NEVER: the limit is known to be one. */
struct mono limit_next_try(const struct limit *limit);
