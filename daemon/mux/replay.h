/*
 * Publishes that are sent again, or late.
 *
 * What was sent on a connection that is gone, and has no answer, may be at the
 * broker or not. It goes out again, in its order and before newer ones of its
 * channel, and carries the header x-muxd-resent (boolean, true), so that a
 * consumer can tell a possible duplicate: a message without it never is one of
 * muxd's making. A client that sends again what had no outcome when it lost
 * another muxd says so, and it goes out like that from the first time on.
 *
 * Time spent in muxd, or with such a client, counts against a message's expiration: what has expired
 * is not sent, and what is sent has what is left of it.
 */
#pragma once

#include "daemon/mux/state.h"

#define REPLAY_HEADER "x-muxd-resent"

/*
 * The broker has forgotten the lane: what was sent on it and has no outcome or
 * answer goes back to the front of its channel's queue, in its order. Requests
 * that would not do the same twice (purge, delete) are refused by the fault:
 * they were done or not.
 */
void replay_take_back(struct lane *lane, const struct fault *fault);

/*
 * Makes the first publish of a queue ready to be sent: with its mark, and with
 * what is left of its expiration. Returns it, maybe as another block in the
 * same place; NULL if it cannot be sent any more: its outcome was told.
 */
struct publish *replay_prepare(struct publish *publish);

/*
 * The publish's properties as its client gave them, but without expiration. The
 * table is the caller's to free. False: no memory.
 */
bool replay_original_header(const struct publish *publish, struct buf *table,
			    struct amqc_content_header *ret);

/* What properties.expiration says, in usec; UINT64_MAX if there is none, or none that the broker will take.
 */
uint64_t replay_expiration_usec(const struct amqc_properties *properties);
