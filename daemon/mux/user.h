/*
 * What the sessions of one uid hold together. A uid may have three times as
 * much as it leaves free: alone it gets three quarters of total-memory; of two
 * that want everything each gets three sevenths, and a seventh stays free. So
 * there is always room for the next one, and nobody has to be told how many
 * there will be.
 *
 * Publishes whose session has ended count apart, in the half of all memory that
 * they may have: a uid may have as much of it as it leaves free.
 *
 * A user lives as long as somebody holds a reference: its sessions, and the
 * channels that sessions left behind. A reference is a value that is given back
 * once, by user_ref_end().
 */
#pragma once

#include "daemon/mux/state.h"

/* False: no memory. The reference is empty before. */
bool user_ref_take(struct user_ref *ref, struct mux *mux, uint32_t uid) __attribute__((warn_unused_result));

/* One more reference to the same. */
void user_ref_copy(struct user_ref *to, const struct user_ref *from);

/* What was charged to the user was given back before. Again does nothing. */
void user_ref_end(struct user_ref *ref);

/*
 * Why there is no memory for something of the session's ("a request"): a
 * retryable fault that names the limit, its value, and who uses it up.
 */
struct fault user_no_memory(const struct session *session, const char *for_what);
