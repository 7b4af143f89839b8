/* What muxd sends; see receive.c. */
#pragma once

#include "client/muxclient.h"

#define GET_WINDOW_BYTES (16u * 1024u * 1024u)

/* Handles the whole frames at the front of c->in. */
void receive_input(struct muxc *c);
