/*
 * A look at a protobuf header before it is unpacked.
 *
 * protobuf-c recurses for nested messages without a limit, and allocates for
 * each repeated element: a 64 KiB header of nested tables overflows its stack.
 * The pre-scan walks the wire format without recursion, with a small fixed
 * stack, and refuses what is too deep, has too many fields, or makes
 * protobuf-c merge messages (quadratic time and memory), so that unpacking
 * what passed is safe and costs bounded memory. It may still fail: when a
 * field has another wire type than muxd.proto gives it, or for want of memory.
 *
 * The scan does not know the schema. A length-delimited field may be a string
 * or a message; which ones nest is told by the table in prescan.c (the fields
 * of muxd.proto that hold messages), so that bytes are never misread as
 * messages nor the reverse.
 */
#pragma once

#include "proto/span.h"

/* Nested messages, below the frame itself; an AMQP table counts one for the table and one for each value in
 * it. */
#define PRESCAN_DEPTH_MAX 64u
#define PRESCAN_FIELDS_MAX 8192u /* fields in the whole header */

enum prescan_result {
	PRESCAN_OK = 0,
	PRESCAN_MALFORMED, /* not protobuf: bad tag, wire type, varint, or length */
	PRESCAN_TOO_DEEP,  /* nests deeper than PRESCAN_DEPTH_MAX */
	PRESCAN_TOO_MANY,  /* more than PRESCAN_FIELDS_MAX fields */
	PRESCAN_TWICE	   /* a message field that is not repeated is there twice */
};

enum prescan_root {
	PRESCAN_CLIENT_FRAME, /* muxd.v1.ClientFrame: what the daemon reads */
	PRESCAN_SERVER_FRAME  /* muxd.v1.ServerFrame: what libmuxclient reads */
};

/* Never allocates, never reads outside the span. Any input is allowed. */
enum prescan_result prescan(enum prescan_root root, struct span header);

/* A sentence about a result that is not PRESCAN_OK, for an error's text. */
const char *prescan_strerror(enum prescan_result result);
