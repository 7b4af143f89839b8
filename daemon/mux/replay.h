/*
 * Publishes that are sent again, or late.
 *
 * What was sent on a connection that is gone, and has no answer, may be at the
 * broker or not. It goes out again, in its order and before newer ones of its
 * channel, and carries the header x-muxd-resent (boolean, true), so that a
 * consumer can tell a possible duplicate: a message without it never is one of
 * muxd's making.
 *
 * Time spent in muxd counts against a message's expiration: what has expired
 * is not sent, and what is sent has what is left of it.
 */
#pragma once

#include "daemon/mux/state.h"

#define REPLAY_HEADER "x-muxd-resent"

/* The connection is gone: what the lane sent and has no outcome goes back to the front of its channel's
 * queue. */
void replay_take_back(struct lane *lane);

/*
 * Makes the first publish of a queue ready to be sent: with its mark, and with
 * what is left of its expiration. Returns it, maybe as another block in the
 * same place; NULL if it cannot be sent any more: its outcome was told.
 */
struct publish *replay_prepare(struct publish *publish);

/* What properties.expiration says, in usec; UINT64_MAX if there is none, or none that the broker will take.
 */
uint64_t replay_expiration_usec(const struct amqc_properties *properties);
