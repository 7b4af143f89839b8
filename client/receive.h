/* What muxd sends; see receive.c. */
#pragma once

#include "client/muxclient.h"

#include "proto/muxd.pb-c.h"
#include "proto/span.h"

#define GET_WINDOW_BYTES (16u * 1024u * 1024u)

/* A frame whose head was read. */
struct received {
	uint32_t request;
	uint32_t channel;
	uint32_t generation;
	uint32_t op;
	struct span body; /* the operation */
	struct span header;
	struct span payload;
};

/* Handles the whole frames at the front of c->in. */
void receive_input(struct muxc *c);
/* Unpacks the whole header; valid until the arena is reset. NULL: the connection is to end. */
Muxd__V1__ServerFrame *receive_unpack(struct muxc *c, struct span header);
/* The frame that is being handled ends the connection. */
void receive_no_memory(struct muxc *c);

static inline struct span binary_span(const ProtobufCBinaryData *data)
{
	return span_make(data->data, data->len);
}
