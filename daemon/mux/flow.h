/*
 * What is written next: slices, in the order of party.h, so that a large
 * message of one channel does not stand in the way of another's small one. Few
 * bytes are put into the output ahead of the socket, because what lies there can
 * no longer be overtaken.
 *
 * A publish goes out when its party may have another one unconfirmed
 * and the broker does not block; the channel's order is kept, so what was asked
 * for behind it waits with it. Acks and other control frames do not wait.
 */
#pragma once

#include "daemon/mux/state.h"

/* Fills the connection's output up to its mark. */
void flow_pump(struct upstream *upstream);

/*
 * Asks a question, a channel.flow that says what is the case anyway, on a lane
 * that nobody leases: no queue of one channel delays the answer. NULL: there is
 * no such lane now.
 */
struct request *flow_ask_quietly(struct upstream *upstream);

/* Asks the broker how long the way to it takes, if that is due: see window.h. */
void flow_ask(struct upstream *upstream);
/* The answer. */
void flow_answered(struct upstream *upstream);

/* What made lanes wait may have changed: the window, blocked, a session's credit for gets. */
void flow_release(struct upstream *upstream);
