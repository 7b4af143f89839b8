/*
 * What the modules of mux use of a session, beside what mux.h has for fronts.
 */
#pragma once

#include "daemon/mux/state.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/session.h"

/* The channel of that number, open or failed; NULL: never opened, or closed. */
struct channel *session_channel(const struct session *session, uint32_t number);

/* The generation it was opened with last; 0: never. */
uint32_t session_generation(const struct session *session, uint32_t number);

#define FEW_UNDER_WAY 4u
#define MANY_UNDER_WAY 64u

/* Publishes without an outcome, and messages that are on their way to the client or with it. */
static inline uint64_t session_under_way(const struct session *session)
{
	return session->used_messages - session->released_messages + session->unacked + session->taken_count;
}

/*
 * A message of the session came or went: see pace.h. However densely they come,
 * who asks (publishes or gets) with few under way waits for each; and who has
 * many does not, though they come one by one after the broker stood still for a
 * moment.
 */
static inline void session_note_message(struct session *session, bool asks)
{
	struct mux *mux = session->mux;
	uint64_t under_way = session_under_way(session);
	bool dense = pace_note(&session->pace, mux->now);

	(void)pace_note(&mux->pace, mux->now);
	if ((asks && under_way <= FEW_UNDER_WAY) || (!dense && under_way < MANY_UNDER_WAY))
		mux->prompt = mux->now;
}

/* From what was asked for it and what everybody has (alter.c). */
void session_apply_limits(struct session *session);

/* Checks a new request's id and that it is not one too many. False: the session has ended. */
bool session_claim_request(struct session *session, uint32_t id);
