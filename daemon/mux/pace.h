/*
 * How densely messages come. A loop that wakes for every few of them spends
 * its time in system calls; when all that flows is bulk, waiting a moment
 * before the next look lets each read and write carry more, which costs a
 * third of the CPU time per message and is faster for it (measured with
 * tests/bench). Whoever waits for single answers is never made to wait: one
 * such session keeps the loop prompt for everybody.
 */
#pragma once

#include "daemon/base/clock.h"

/* Messages of one session, or of all, counted in steps of about a millisecond. */
struct pace {
	uint64_t step;
	uint32_t count;
	uint64_t dense_until; /* a step; bulk comes in bursts */
};

/* Counts one message. True: they come densely, as bulk does. */
bool pace_note(struct pace *pace, struct mono now);

/* Whether they came densely until just now. */
bool pace_is_dense(const struct pace *pace, struct mono now);
