/*
 * Publish credit (PROTOCOL.md, "Credit"): how much a session may have under
 * way. It begins small, grows with use, and comes back as publishes end. What
 * was granted and not yet ended is charged to the session, because it may be
 * in memory at any moment.
 */
#pragma once

#include "daemon/mux/state.h"

/* A Publish frame costs its header as well as its body. */
#define CREDIT_HEADER_BYTES_MAX (256u * 1024u)

/* Memory with which a message of so many bytes can be granted at last. */
#define CREDIT_MOST_FOR(bytes) ((bytes) + CREDIT_HEADER_BYTES_MAX + 2 * (uint64_t)SESSION_STANDING_BYTES)

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
