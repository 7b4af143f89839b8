/* Credit to publish; see publish.c. */
#pragma once

#include "client/error.h"
#include "client/muxclient.h"

#include <pthread.h>
#include <stdbool.h>

#define CREDIT_STANDING_MESSAGES 64u /* PROTOCOL.md, "Credit": before muxd said more */
#define CREDIT_STANDING_BYTES 16384u
#define OUTCOME_TIMEOUT_USEC (300u * (uint64_t)USEC_PER_SEC) /* where the program gives none */

/* A thread that waits for publish credit; on its stack, in order of arrival. */
struct credit_waiter {
	struct credit_waiter *next;
	pthread_cond_t cond; /* threaded mode only */
};

/* Credit has come: wakes who waits for it. */
void credit_update(struct muxc *c, uint64_t messages, uint64_t bytes);
void credit_wake(struct muxc *c);
/* Wakes the first one in line. */
void credit_wake_first(struct muxc *c);
bool credit_suffices(const struct muxc *c, uint64_t cost);
/* Asks for enough for one publish of this cost; once. -ENOMEM. */
int credit_want(struct muxc *c, uint64_t cost);
/* A new session: all of it begins anew. */
void credit_reset(struct muxc *c);
