/* Bringing everything back to a new session; see restore.c. */
#pragma once

#include "client/muxclient.h"

struct request;

/* A new session is there: everything is brought back. */
void restore_begin(struct muxc *c);
/* The session is gone before everything was. */
void restore_lost(struct muxc *c);
/* What was refused for now is tried again. */
void restore_again(struct muxc *c);
/* An answer to one of its requests; error: NULL, or why it was refused. */
void restore_answered(struct muxc *c, struct request *request, const struct muxc_error *error);
/* The channel has something to be sent, in its turn. */
void restore_add(struct muxc_channel *channel);
/* Something was answered, or credit has come: goes on. */
void restore_go_on(struct muxc *c);
/* Sends what has room now. */
void restore_pump(struct muxc *c);
/* Takes a channel that has ended out of the list. */
void restore_remove(struct muxc_channel *channel);
