/*
 * What is done when a session's socket has taken a message: it counts as acked
 * for an auto-ack consumer, and a returned publish gives its credit back.
 */
#pragma once

#include "daemon/mux/state.h"

/* Remembers it for its position; does it at once if there is no memory to remember. */
void taken_add(struct session *session, const struct taken *taken);

/* The socket took the output up to position. */
void taken_run(struct session *session, uint64_t position);
