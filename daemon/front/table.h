/*
 * Field tables and properties between their two encodings: messages of
 * muxd.proto, and AMQP's bytes as the codec has them (daemon/amqp/table.h).
 *
 * Both ways every type and the order are kept. Recursion is bounded on both
 * sides: by the pre-scan before anything is unpacked, and by
 * TABLE_NESTING_MAX in what is sent.
 */
#pragma once

#include "daemon/amqp/content.h"
#include "daemon/base/fault.h"
#include "proto/arena.h"
#include "proto/muxd.pb-c.h"

/*
 * Tables in tables that fit into PRESCAN_DEPTH_MAX: a table and each value
 * count one, and around the outermost are the properties and the event.
 */
#define TABLE_NESTING_MAX 31u

/* Fields of protobuf's that one frame may spend on tables; the rest of PRESCAN_FIELDS_MAX is for all else. */
#define TABLE_PROTO_FIELDS_MAX 8128u

static inline struct span span_of(ProtobufCBinaryData bytes)
{
	return span_make(bytes.data, bytes.len);
}

/* The data is not written through; protobuf-c has no const. */
static inline ProtobufCBinaryData bytes_of(struct span span)
{
	return (ProtobufCBinaryData){span.len, (uint8_t *)(uintptr_t)span.data};
}

/*
 * Appends the table's fields to out, without a length in front. False if a
 * value does not fit its type or a name is too long: *ret_fault (502) says
 * which, what ("headers", "arguments") where, and out is as before.
 */
bool table_to_amqp(struct buf *out, const Muxd__V1__Table *table, const char *what, struct fault *ret_fault)
    __attribute__((warn_unused_result));

/*
 * The properties as the codec has them. Strings are views of the message, the
 * headers of out, to which they are appended. False as above.
 */
bool properties_to_amqp(struct buf *out, const Muxd__V1__Properties *properties, struct amqc_properties *ret,
			struct fault *ret_fault) __attribute__((warn_unused_result));

/*
 * A table that the codec has checked as a message in the arena, its strings
 * views of the table. False if it nests too deep, has too many fields, or
 * there is no memory.
 */
bool table_from_amqp(struct arena *arena, struct span table, Muxd__V1__Table **ret)
    __attribute__((warn_unused_result));

/* ret is initialised here; its headers are in the arena. False as above. */
bool properties_from_amqp(struct arena *arena, const struct amqc_properties *properties,
			  Muxd__V1__Properties *ret) __attribute__((warn_unused_result));
