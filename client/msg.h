/* Messages: built by the program, or received; see msg.c. */
#pragma once

#include "client/events.h"
#include "client/muxclient.h"

#include "proto/buf.h"

#include <stdatomic.h>
#include <stdbool.h>

#define POOL_MESSAGE_BYTES 2048u /* messages up to this size are pooled */
#define POOL_MESSAGES_MAX 256u
#define PROPERTIES_END 15 /* one more than the highest enum muxc_property */

struct muxc_message {
	struct event event;
	atomic_uint refs;
	bool received;
	bool redelivered;
	uint16_t present; /* bit 1 << enum muxc_property */
	uint8_t delivery_mode;
	uint8_t priority;
	uint64_t timestamp;
	uint64_t tag; /* of a returned message: the number it was published with */
	uint32_t consumer;
	uint32_t remaining;
	struct span text[PROPERTIES_END]; /* HEADERS: an encoded table. Built ones own each, received ones
					     `storage` */
	struct span exchange;
	struct span routing_key;
	struct span body;
	struct muxc_error *error; /* of a return; owned */
	size_t size_bytes;	  /* what it cost of its consumer's window */
	size_t capacity;	  /* bytes of storage */
	uint8_t storage[];
};

enum message_form {
	MESSAGE_DELIVERY,
	MESSAGE_GOT,
	MESSAGE_RETURNED
};

/* A message for this operation and body; NULL: no memory. */
struct muxc_message *message_alloc(struct muxc *c, size_t op_len, size_t body_len);
/* Copies and takes apart: 0 or -EBADMSG. */
int message_parse(struct muxc_message *message, enum message_form form, struct span op, struct span body);
/* Drops a reference, with the lock: the last one gives it back to the pool. */
void message_drop(struct muxc *c, struct muxc_message *message);
void pool_free(struct muxc *c);
/* Bytes of the encoded Properties. */
size_t properties_size(const struct muxc_message *message);
void properties_put(struct buf *out, const struct muxc_message *message);
