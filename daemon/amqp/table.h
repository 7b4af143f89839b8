/*
 * Field tables and arrays, AMQP 0-9-1 section 4.2.5 as RabbitMQ speaks it
 * (rabbitmq.com/amqp-0-9-1-errata): its letters, signed and unsigned of each
 * width, and byte arrays.
 *
 * A table is kept as it came: a span of its fields' bytes, without the length
 * in front. Tables decoded by this codec (from a method, from properties)
 * were checked whole by amqc_table_check(), so that walking them afterwards
 * cannot fail.
 *
 * Nothing here recurses; nesting is bounded.
 */
#pragma once

#include "daemon/amqp/frame.h"

#define AMQC_TABLE_DEPTH_MAX 64u /* tables and arrays nested in the outermost one */

struct amqc_field {
	struct span name; /* empty in an array */
	char type;	  /* the letter on the wire */
	union {
		bool boolean;	       /* t */
		int64_t signed_int;    /* b 8, s 16, I 32, l 64 bits */
		uint64_t unsigned_int; /* B 8, u 16, i 32, L 64 bits, T (seconds since 1970) */
		float float32;	       /* f */
		double float64;	       /* d */
		struct {
			uint8_t scale;
			uint32_t value;
		} decimal;	   /* D */
		struct span bytes; /* S, x: the string; F: the fields of a table; A: the values of an array */
	} value;		   /* V has none */
};

/* Walks a table's bytes to their end, nested ones too. OK, TRUNCATED, BAD_FIELD_TYPE or TOO_DEEP. */
enum amqc_result amqc_table_check(struct span table);
enum amqc_result amqc_array_check(struct span array);

/*
 * Takes the first field off *rest. AMQC_OK: *ret is set, *rest is what
 * follows. AMQC_INCOMPLETE: *rest was empty, there is no more. Else a fault,
 * which cannot happen in a table that was checked.
 */
enum amqc_result amqc_table_next(struct span *rest, struct amqc_field *ret);
enum amqc_result amqc_array_next(struct span *rest, struct amqc_field *ret);

/* The field of that name, or false. */
bool amqc_table_find(struct span table, const char *name, struct amqc_field *ret);

/*
 * Appends the table's fields in the order of their names' bytes, those of one
 * name in the order they had: tables that the broker takes for the same binding
 * (it sorts the outermost level so) come out the same. False: no memory, or a
 * table that was not checked.
 */
bool amqc_table_append_sorted(struct buf *out, struct span table);

/*
 * Writing. A table or array is begun, filled and ended; begin returns the mark
 * for end, which fills in the length. amqc_table_begin() writes no name and no
 * type: it is for a method's argument or the headers property. For a nested
 * one, amqc_field_append() with type F or A and the already encoded bytes, or
 * amqc_field_begin(), which writes name and type first.
 *
 * In an array the name is NULL.
 *
 * amqc_field_begin() returns AMQC_FIELD_REFUSED, with nothing appended, for a
 * name of more than 255 bytes or a type other than F and A.
 */
#define AMQC_FIELD_REFUSED SIZE_MAX
size_t amqc_table_begin(struct buf *out);
size_t amqc_field_begin(struct buf *out, const struct span *name, char type);
void amqc_table_end(struct buf *out, size_t mark);

/*
 * Appends a field: with its name in a table (name not NULL), without in an
 * array (name NULL). AMQC_OK; AMQC_TOO_LONG for a name of more than 255 bytes
 * or an integer outside its type; AMQC_BAD_FIELD_TYPE. On error nothing was
 * appended.
 */
enum amqc_result amqc_field_append(struct buf *out, const struct span *name, const struct amqc_field *field);

/* Shorthands for tables that we make ourselves. */
void amqc_field_append_str(struct buf *out, const char *name, struct span value);
void amqc_field_append_bool(struct buf *out, const char *name, bool value);
