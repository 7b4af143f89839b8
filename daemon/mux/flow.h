/*
 * Which lane writes next, and how much: deficit round robin over the lanes by
 * bytes, in slices, so that a large message of one channel does not stand in
 * the way of another's small one. Few bytes are put into the output ahead of
 * the socket, because what lies there can no longer be overtaken.
 *
 * A publish goes out when the upstream's window of unconfirmed ones has room
 * and the broker does not block; the channel's order is kept, so what was asked
 * for behind it waits with it. Acks and other control frames do not wait.
 */
#pragma once

#include "daemon/mux/state.h"

/* Fills the connection's output up to its mark. */
void flow_pump(struct upstream *upstream);

/* What made lanes wait may have changed: the window, blocked, a session's credit for gets. */
void flow_release(struct upstream *upstream);
