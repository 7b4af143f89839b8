/*
 * Who shares in an upstream: each session that lives, and together all whose
 * session has ended. So a process with a hundred channels has no more than one
 * with a single one.
 *
 * What is sent goes by deficit round robin over parties, in bytes, and within a
 * party over its lanes. A party that has not used up its part of the round is
 * fresh when it has something to send, and passes all that are not: a small
 * message waits for one slice of somebody's large one.
 *
 * What may be unconfirmed is shared by dynamic thresholds: a party that has
 * something under way may have as much as twice what the window has left. So
 * parties that want more than that have the same, nobody has all of it, and
 * who comes next finds room; one with nothing under way may always send a
 * message, up to the configured bounds.
 */
#pragma once

#include "daemon/mux/state.h"

/* Bytes that a party may send in its turn. */
#define PARTY_QUANTUM_BYTES 16384u

void parties_init(struct upstream *upstream);

void party_init(struct party *party, struct upstream *upstream);
/* What is left of its lanes goes to the upstream's common party. */
void party_deinit(struct party *party);

/* The lane and what it has unconfirmed belong to that party from now on. */
void party_take(struct party *party, struct lane *lane);

/* The lane has something to send. */
void party_ready(struct lane *lane);
/* The lane's next publish or request waits for a release. */
void party_hold(struct lane *lane);
/* The lane has nothing to send. */
void party_rest(struct lane *lane);

/* The lane whose turn it is, or NULL, and how many bytes it may send. */
struct lane *party_next(struct upstream *upstream, size_t *ret_budget);
/* A turn of the party has ended; it sent so much. */
void party_spend(struct party *party, size_t bytes);

/* False: a publish must wait until confirms come. */
bool party_may_publish(struct party *party);

/* Held lanes go on: of the parties that may publish, or of all. */
void party_release(struct upstream *upstream, bool all);
