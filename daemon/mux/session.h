/*
 * What the modules of mux use of a session, beside what mux.h has for fronts.
 */
#pragma once

#include "daemon/mux/state.h"

/* The channel of that number, open or failed; NULL: never opened, or closed. */
struct channel *session_channel(const struct session *session, uint32_t number);

/* The generation it was opened with last; 0: never. */
uint32_t session_generation(const struct session *session, uint32_t number);

/* A message of the session came or went: see pace.h. */
static inline void session_note_message(struct session *session)
{
	struct mux *mux = session->mux;

	(void)pace_note(&mux->pace, mux->now);
	if (!pace_note(&session->pace, mux->now))
		mux->prompt = mux->now;
}

/* Checks a new request's id and that it is not one too many. False: the session has ended. */
bool session_claim_request(struct session *session, uint32_t id);
