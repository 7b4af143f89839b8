/*
 * Publish credit (PROTOCOL.md, "Credit"): how much a session may have under
 * way. It begins small, grows with use, and comes back as publishes end. What
 * was granted and not yet ended is charged to the session, because it may be
 * in memory at any moment.
 */
#pragma once

#include "daemon/mux/state.h"

/* The standing credit. */
void credit_init(struct session *session);
void credit_deinit(struct session *session);

/* Takes the cost of one publish. False: it was not granted so much. */
bool credit_use(struct session *session, uint64_t cost_bytes) __attribute__((warn_unused_result));

/* A publish has ended: its cost is free again. */
void credit_release(struct session *session, uint64_t cost_bytes);

/* The session asks for these totals. */
void credit_want(struct session *session, uint64_t messages, uint64_t bytes);

/* At the end of a turn: grants what can be granted, and tells who got more. */
void credit_turn(struct mux *mux);
