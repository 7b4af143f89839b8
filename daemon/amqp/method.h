/*
 * Every method of AMQP 0-9-1 and RabbitMQ's extensions, both directions.
 *
 * methods.def is the one table: from it come the structs below, the ids, and
 * the const field descriptions that decode and encode walk. Fields that the
 * specification reserves are not in the structs: they are skipped when read
 * and written as zero or empty.
 *
 * Members have the specification's names, with _ for -: struct
 * amqc_queue_declare has queue, passive, durable, exclusive, auto_delete,
 * no_wait, arguments. Types: bit -> bool; octet, short, long, longlong ->
 * uint8_t ... uint64_t; shortstr, longstr -> struct span; table -> struct span
 * (see table.h); timestamp -> uint64_t.
 */
#pragma once

#include "daemon/amqp/table.h"

#define AMQC_TYPE_BIT bool
#define AMQC_TYPE_OCTET uint8_t
#define AMQC_TYPE_SHORT uint16_t
#define AMQC_TYPE_LONG uint32_t
#define AMQC_TYPE_LONGLONG uint64_t
#define AMQC_TYPE_SHORTSTR struct span
#define AMQC_TYPE_LONGSTR struct span
#define AMQC_TYPE_TABLE struct span

/*
 * METHOD(CONSTANT, name, class id, method id, who sends it)
 * FIELD(name, TYPE, member)... and RESERVED(name, TYPE)..., in the order of the wire
 * END(name)
 */
/* clang-format off */
#define METHOD(CONSTANT, name, class_id, method_id, sender) struct amqc_##name {
#define FIELD(name, type, member) AMQC_TYPE_##type member;
#define RESERVED(name, type)
#define END(name) };
/* clang-format on */
#include "daemon/amqp/methods.def"
#undef METHOD
#undef FIELD
#undef RESERVED
#undef END

/* AMQC_QUEUE_DECLARE and so on: class id << 16 | method id. */
enum amqc_method_id {
#define METHOD(CONSTANT, name, class_id, method_id, sender) \
	AMQC_##CONSTANT = ((class_id) << 16) | (method_id),
#define FIELD(name, type, member)
#define RESERVED(name, type)
#define END(name)
#include "daemon/amqp/methods.def"
#undef METHOD
#undef FIELD
#undef RESERVED
#undef END
};

struct amqc_method {
	enum amqc_method_id id;
	union {
#define METHOD(CONSTANT, name, class_id, method_id, sender) struct amqc_##name name;
#define FIELD(name, type, member)
#define RESERVED(name, type)
#define END(name)
#include "daemon/amqp/methods.def"
#undef METHOD
#undef FIELD
#undef RESERVED
#undef END
	};
};

#define AMQC_CLASS_ID(id) ((uint16_t)((uint32_t)(id) >> 16))
#define AMQC_METHOD_ID(id) ((uint16_t)((uint32_t)(id)&0xffffu))

/* Who may send a method. */
#define AMQC_BY_CLIENT 1u
#define AMQC_BY_SERVER 2u
#define AMQC_BY_BOTH 3u

/* "queue.declare", or NULL if there is no such method. */
const char *amqc_method_name(uint32_t id);

/* AMQC_BY_...; 0 if there is no such method. */
unsigned int amqc_method_sender(uint32_t id);

/* True for basic.publish, return, deliver and get-ok: a content header and body follow. */
bool amqc_method_has_content(uint32_t id);

/*
 * Decodes the payload of a method frame. Spans in *ret are views of it; tables
 * in it were checked. On a fault the members of *ret have no meaning, but its
 * id is set if the method is known.
 */
enum amqc_result amqc_method_decode(struct span payload, struct amqc_method *ret);

/*
 * Appends the whole frame of a method. AMQC_OK; AMQC_TOO_LONG, or
 * AMQC_UNKNOWN_METHOD for an id that is none, with nothing appended. Running
 * out of memory marks the buffer (see buf.h).
 */
enum amqc_result amqc_method_append(struct buf *out, uint16_t channel, const struct amqc_method *method);
