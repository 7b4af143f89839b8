/*
 * A look at a protobuf header before it is unpacked.
 *
 * protobuf-c recurses for nested messages without a limit, and allocates for
 * each repeated element: a 64 KiB header of nested tables overflows its stack.
 * The pre-scan walks the wire format without recursion, with a small fixed
 * stack, and refuses what is too deep or has too many fields, so that
 * unpacking what passed is safe and costs bounded memory.
 *
 * The scan does not know the schema. A length-delimited field may be a string
 * or a message; which ones nest is told by the table in prescan.c (the fields
 * of muxd.proto that hold messages), so that bytes are never misread as
 * messages nor the reverse.
 */
#pragma once

#include "proto/span.h"

#define PRESCAN_DEPTH_MAX 64u   /* nested messages; AMQP tables count one message for the table, one for each value */
#define PRESCAN_FIELDS_MAX 8192u /* fields in the whole header */

enum prescan_result {
	PRESCAN_OK = 0,
	PRESCAN_MALFORMED, /* not protobuf: bad tag, wire type, varint, or length */
	PRESCAN_TOO_DEEP,  /* nests deeper than PRESCAN_DEPTH_MAX */
	PRESCAN_TOO_MANY   /* more than PRESCAN_FIELDS_MAX fields */
};

enum prescan_root {
	PRESCAN_CLIENT_FRAME, /* muxd.v1.ClientFrame: what the daemon reads */
	PRESCAN_SERVER_FRAME  /* muxd.v1.ServerFrame: what libmuxclient reads */
};

/* Never allocates, never reads outside the span. Any input is allowed. */
enum prescan_result prescan(enum prescan_root root, struct span header);

/* A sentence about a result that is not PRESCAN_OK, for an error's text. */
const char *prescan_strerror(enum prescan_result result);
