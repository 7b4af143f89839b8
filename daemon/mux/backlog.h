/*
 * What a session was handed and its socket has not taken yet. It is in the
 * front's output, so it is charged to the session; and it is bounded: when it
 * is full, deliveries wait in their consumers, whatever credit they have, and
 * gets at the head of their channels, until the socket has taken some.
 *
 * Whatever else is in the output (outcomes, ends of channels, answers) cannot
 * wait. It is charged as soon as the socket has left some of it, and a session
 * that lets it grow ends: at an eighth of its memory, and where its user has no
 * memory left at what each session may have in any case.
 */
#pragma once

#include "daemon/mux/state.h"

void backlog_init(struct session *session);
void backlog_deinit(struct session *session);

/* A message was handed over. */
void backlog_add(struct session *session, const struct mux_handed *handed);

/* True: nothing more is to be handed over. One message may pass the bound. */
bool backlog_is_full(const struct session *session);

/* The socket took the output up to position. True: it was full, and is not any more. */
bool backlog_written(struct session *session, uint64_t position);

/* The socket left what is in the output up to position. NULL, or why the session must end. */
const char *backlog_unread(struct session *session, uint64_t position);
