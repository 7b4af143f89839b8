/*
 * What cost a connection, and who sent it. Operations are known again by a
 * fingerprint of their frames, without what changes when they are sent once
 * more; processes by uid and pid.
 */
#pragma once

#include "daemon/mux/state.h"

void culprit_remember(struct upstream *upstream, struct op *op, const struct fault *fault);

/* The same of a request's frame. */
void culprit_remember_frame(struct upstream *upstream, struct span frame, const struct fault *fault);

/* True if this one cost a connection before; *ret_fault is what the broker said. Cheap while there is none.
 */
bool culprit_is_known(const struct upstream *upstream, struct op *op, struct fault *ret_fault);

/* It is logged, and counted against the session's process; the third time within 10 minutes ends the session.
 */
void culprit_punish(struct session *session, const struct fault *fault);
