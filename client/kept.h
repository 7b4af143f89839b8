/* The records of publishes that have no outcome; see kept.c. */
#pragma once

#include "client/muxclient.h"

#include <stdbool.h>

/* One that is kept to be sent again: its record. */
struct kept {
	struct chunk *chunk;
	uint64_t position; /* where its frame began in the stream of the session */
	uint64_t since_usec;
	uint64_t deadline_usec;
	uint32_t op_at; /* in bytes */
	uint32_t op_len;
	uint32_t body_len; /* behind the operation */
	bool was_sent;	   /* in an earlier session, at least the first byte of it */
	bool returned;	   /* it came back: its outcome is known, and only has to be told */
	uint8_t bytes[];   /* the frame as it was sent first */
};

/* Whether one more may be kept. */
bool kept_has_room(const struct muxc *c, uint64_t cost);
/* Room for a record with its frame; nothing else happens before one of the next two. NULL: no memory. */
struct kept *kept_reserve(struct muxc *c, size_t frame_len);
/* It is kept. */
void kept_commit(struct muxc *c, struct kept *kept);
/* It is not. */
void kept_discard(struct muxc *c, struct kept *kept);
void kept_free(struct muxc *c, struct kept *kept);
