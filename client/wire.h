/*
 * The protobuf wire format, as far as the library reads and writes it itself.
 *
 * What is rare (answers to admin calls, errors, the greeting) is unpacked by
 * protobuf-c. What comes and goes per message is not: a publish is written
 * straight into the output buffer, a delivery is kept as the bytes that came
 * and looked at in place, so a field table is never unpacked at all: it is
 * built, sent, received and walked in its encoded form.
 *
 * Nothing here recurses. Reading never leaves the span.
 */
#pragma once

#include "proto/buf.h"

/* Field numbers of muxd.proto that are written or read here, by message. */
enum wire_client_frame {
	WIRE_CLIENT_REQUEST = 1,
	WIRE_CLIENT_CHANNEL = 2,
	WIRE_CLIENT_DEADLINE_MS = 3
};

enum wire_server_frame {
	WIRE_SERVER_REQUEST = 1,
	WIRE_SERVER_CHANNEL = 2,
	WIRE_SERVER_GENERATION = 3
};

/* Publish; Delivery, Got and Returned differ from it and from each other: see message_parse(). */
enum wire_publish {
	WIRE_PUBLISH_EXCHANGE = 1,
	WIRE_PUBLISH_ROUTING_KEY = 2,
	WIRE_PUBLISH_MANDATORY = 3,
	WIRE_PUBLISH_PROPERTIES = 4
};

enum wire_type {
	WIRE_VARINT = 0,
	WIRE_FIXED64 = 1,
	WIRE_BYTES = 2,
	WIRE_FIXED32 = 5
};

struct wire_field {
	uint32_t number;
	enum wire_type type;
	uint64_t value;	   /* varint, fixed64, fixed32 */
	struct span bytes; /* bytes */
};

/*
 * Takes the next field off the front: 1; 0 at the end; -EBADMSG when it is not
 * protobuf.
 */
int wire_next(struct span *in, struct wire_field *ret_field);

size_t wire_varint_size(uint64_t value);
/* What wire_put_bytes() will write for a field number below 16. */
size_t wire_bytes_size(size_t len);
/* What wire_put_number() will write for a field number below 16. */
size_t wire_number_size(uint64_t value);

static inline uint64_t wire_zigzag(int64_t value)
{
	return ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0);
}

static inline int64_t wire_unzigzag(uint64_t value)
{
	return (int64_t)((value >> 1) ^ (~(value & 1) + 1));
}

void wire_put_varint(struct buf *out, uint64_t value);
void wire_put_tag(struct buf *out, uint32_t number, enum wire_type type);
/* A varint field. */
void wire_put_number(struct buf *out, uint32_t number, uint64_t value);
/* The same, but nothing for 0, which is what absent means. */
void wire_put_nonzero(struct buf *out, uint32_t number, uint64_t value);
void wire_put_fixed32(struct buf *out, uint32_t number, uint32_t value);
void wire_put_fixed64(struct buf *out, uint32_t number, uint64_t value);
void wire_put_bytes(struct buf *out, uint32_t number, struct span bytes);
