#include "daemon/amqp/method.h"

#include "daemon/amqp/wire.h"

/*
 * Everything here is made from methods.def: for each method an array of its
 * fields, a row with its ids, and an entry in the index by ids.
 */
#define FIELD_RESERVED UINT16_MAX /* offset of a field that is not in the struct */

/* clang-format off */
#define METHOD(CONSTANT, name, class_id, method_id, sender) static const struct amqc_wire_field fields_##name[] = {
#define FIELD(name, type, member) {AMQC_WIRE_##type, offsetof(struct amqc_method, name.member)},
#define RESERVED(name, type) {AMQC_WIRE_##type, FIELD_RESERVED},
#define END(name) {AMQC_WIRE_END, 0}};
/* clang-format on */
#include "daemon/amqp/methods.def"
#undef METHOD
#undef FIELD
#undef RESERVED
#undef END

#define FIELD(name, type, member)
#define RESERVED(name, type)
#define END(name)

/* 0 stands for "no such method" in the index. */
enum {
	INDEX_NONE,
#define METHOD(CONSTANT, name, class_id, method_id, sender) INDEX_##CONSTANT,
#include "daemon/amqp/methods.def"
#undef METHOD
};

struct row {
	const struct amqc_wire_field *fields;
	uint32_t id;
	uint8_t sender;
};

static const struct row rows[] = {
#define METHOD(CONSTANT, name, class_id, method_id, sender) \
	[INDEX_##CONSTANT] = {fields_##name, AMQC_##CONSTANT, sender},
#include "daemon/amqp/methods.def"
#undef METHOD
};

/* As the specification writes them: the macros cannot turn _ into a dot and a hyphen. */
static const char *const names[] = {
    [INDEX_CONNECTION_START] = "connection.start",
    [INDEX_CONNECTION_START_OK] = "connection.start-ok",
    [INDEX_CONNECTION_SECURE] = "connection.secure",
    [INDEX_CONNECTION_SECURE_OK] = "connection.secure-ok",
    [INDEX_CONNECTION_TUNE] = "connection.tune",
    [INDEX_CONNECTION_TUNE_OK] = "connection.tune-ok",
    [INDEX_CONNECTION_OPEN] = "connection.open",
    [INDEX_CONNECTION_OPEN_OK] = "connection.open-ok",
    [INDEX_CONNECTION_CLOSE] = "connection.close",
    [INDEX_CONNECTION_CLOSE_OK] = "connection.close-ok",
    [INDEX_CONNECTION_BLOCKED] = "connection.blocked",
    [INDEX_CONNECTION_UNBLOCKED] = "connection.unblocked",
    [INDEX_CONNECTION_UPDATE_SECRET] = "connection.update-secret",
    [INDEX_CONNECTION_UPDATE_SECRET_OK] = "connection.update-secret-ok",
    [INDEX_CHANNEL_OPEN] = "channel.open",
    [INDEX_CHANNEL_OPEN_OK] = "channel.open-ok",
    [INDEX_CHANNEL_FLOW] = "channel.flow",
    [INDEX_CHANNEL_FLOW_OK] = "channel.flow-ok",
    [INDEX_CHANNEL_CLOSE] = "channel.close",
    [INDEX_CHANNEL_CLOSE_OK] = "channel.close-ok",
    [INDEX_EXCHANGE_DECLARE] = "exchange.declare",
    [INDEX_EXCHANGE_DECLARE_OK] = "exchange.declare-ok",
    [INDEX_EXCHANGE_DELETE] = "exchange.delete",
    [INDEX_EXCHANGE_DELETE_OK] = "exchange.delete-ok",
    [INDEX_EXCHANGE_BIND] = "exchange.bind",
    [INDEX_EXCHANGE_BIND_OK] = "exchange.bind-ok",
    [INDEX_EXCHANGE_UNBIND] = "exchange.unbind",
    [INDEX_EXCHANGE_UNBIND_OK] = "exchange.unbind-ok",
    [INDEX_QUEUE_DECLARE] = "queue.declare",
    [INDEX_QUEUE_DECLARE_OK] = "queue.declare-ok",
    [INDEX_QUEUE_BIND] = "queue.bind",
    [INDEX_QUEUE_BIND_OK] = "queue.bind-ok",
    [INDEX_QUEUE_PURGE] = "queue.purge",
    [INDEX_QUEUE_PURGE_OK] = "queue.purge-ok",
    [INDEX_QUEUE_DELETE] = "queue.delete",
    [INDEX_QUEUE_DELETE_OK] = "queue.delete-ok",
    [INDEX_QUEUE_UNBIND] = "queue.unbind",
    [INDEX_QUEUE_UNBIND_OK] = "queue.unbind-ok",
    [INDEX_BASIC_QOS] = "basic.qos",
    [INDEX_BASIC_QOS_OK] = "basic.qos-ok",
    [INDEX_BASIC_CONSUME] = "basic.consume",
    [INDEX_BASIC_CONSUME_OK] = "basic.consume-ok",
    [INDEX_BASIC_CANCEL] = "basic.cancel",
    [INDEX_BASIC_CANCEL_OK] = "basic.cancel-ok",
    [INDEX_BASIC_PUBLISH] = "basic.publish",
    [INDEX_BASIC_RETURN] = "basic.return",
    [INDEX_BASIC_DELIVER] = "basic.deliver",
    [INDEX_BASIC_GET] = "basic.get",
    [INDEX_BASIC_GET_OK] = "basic.get-ok",
    [INDEX_BASIC_GET_EMPTY] = "basic.get-empty",
    [INDEX_BASIC_ACK] = "basic.ack",
    [INDEX_BASIC_REJECT] = "basic.reject",
    [INDEX_BASIC_RECOVER_ASYNC] = "basic.recover-async",
    [INDEX_BASIC_RECOVER] = "basic.recover",
    [INDEX_BASIC_RECOVER_OK] = "basic.recover-ok",
    [INDEX_BASIC_NACK] = "basic.nack",
    [INDEX_CONFIRM_SELECT] = "confirm.select",
    [INDEX_CONFIRM_SELECT_OK] = "confirm.select-ok",
    [INDEX_TX_SELECT] = "tx.select",
    [INDEX_TX_SELECT_OK] = "tx.select-ok",
    [INDEX_TX_COMMIT] = "tx.commit",
    [INDEX_TX_COMMIT_OK] = "tx.commit-ok",
    [INDEX_TX_ROLLBACK] = "tx.rollback",
    [INDEX_TX_ROLLBACK_OK] = "tx.rollback-ok",
};

#define CLASS_STEP 5u /* class ids are multiples of it */
#define CLASS_MAX 90u
#define METHOD_MAX 120u

static const uint8_t rows_by_id[CLASS_MAX / CLASS_STEP + 1][METHOD_MAX + 1] = {
#define METHOD(CONSTANT, name, class_id, method_id, sender) \
	[(class_id) / CLASS_STEP][method_id] = INDEX_##CONSTANT,
#include "daemon/amqp/methods.def"
#undef METHOD
};
#undef FIELD
#undef RESERVED
#undef END

static unsigned int index_of(uint32_t id)
{
	unsigned int class_id = AMQC_CLASS_ID(id);
	unsigned int method_id = AMQC_METHOD_ID(id);

	if (class_id > CLASS_MAX || class_id % CLASS_STEP != 0 || method_id > METHOD_MAX)
		return INDEX_NONE;
	return rows_by_id[class_id / CLASS_STEP][method_id];
}

const char *amqc_method_name(uint32_t id)
{
	return names[index_of(id)];
}

unsigned int amqc_method_sender(uint32_t id)
{
	return rows[index_of(id)].sender;
}

bool amqc_method_has_content(uint32_t id)
{
	return id == AMQC_BASIC_PUBLISH || id == AMQC_BASIC_DELIVER || id == AMQC_BASIC_GET_OK ||
	       id == AMQC_BASIC_RETURN;
}

/* Where a reserved field is read to and written from: nothing, of any type. */
union reserved {
	bool bit;
	uint64_t number;
	struct span bytes;
};

static enum amqc_result fields_decode(const struct amqc_wire_field *field, struct span rest,
				      struct amqc_method *ret)
{
	uint8_t octet = 0;
	unsigned int bit = 8; /* the next one in octet; 8: a new octet begins */
	union reserved ignored;
	enum amqc_result result;
	void *value;

	for (; field->type != AMQC_WIRE_END; field++) {
		value = field->offset == FIELD_RESERVED ? (void *)&ignored : (uint8_t *)ret + field->offset;
		if (field->type != AMQC_WIRE_BIT) {
			bit = 8;
			result = amqc_wire_take(&rest, field->type, value);
			if (result != AMQC_OK)
				return result;
			continue;
		}
		if (bit == 8) {
			if (!span_take_u8(&rest, &octet))
				return AMQC_TRUNCATED;
			bit = 0;
		}
		*(bool *)value = (octet >> bit++) & 1;
	}
	return rest.len == 0 ? AMQC_OK : AMQC_TRAILING;
}

enum amqc_result amqc_method_decode(struct span payload, struct amqc_method *ret)
{
	unsigned int row;
	uint32_t id;

	if (!span_take_be32(&payload, &id))
		return AMQC_TRUNCATED;
	row = index_of(id);
	if (row == INDEX_NONE)
		return AMQC_UNKNOWN_METHOD;
	ret->id = (enum amqc_method_id)id;
	return fields_decode(rows[row].fields, payload, ret);
}

static const union reserved reserved_empty;

static const void *field_value(const struct amqc_wire_field *field, const struct amqc_method *method)
{
	return field->offset == FIELD_RESERVED ? (const void *)&reserved_empty
					       : (const uint8_t *)method + field->offset;
}

static bool fields_size(const struct amqc_wire_field *field, const struct amqc_method *method, uint64_t *size)
{
	unsigned int bit = 8;

	for (; field->type != AMQC_WIRE_END; field++) {
		if (field->type == AMQC_WIRE_BIT) {
			if (bit == 8) {
				*size += 1;
				bit = 0;
			}
			bit++;
			continue;
		}
		bit = 8;
		if (!amqc_wire_add_size(field->type, field_value(field, method), size))
			return false;
	}
	return *size <= AMQC_WIRE_PAYLOAD_MAX;
}

static void fields_put(uint8_t *to, const struct amqc_wire_field *field, const struct amqc_method *method)
{
	unsigned int bit = 8;

	for (; field->type != AMQC_WIRE_END; field++) {
		if (field->type != AMQC_WIRE_BIT) {
			bit = 8;
			to = amqc_wire_put(to, field->type, field_value(field, method));
			continue;
		}
		if (bit == 8) {
			*to++ = 0;
			bit = 0;
		}
		to[-1] |= (uint8_t)(*(const bool *)field_value(field, method) << bit++);
	}
}

enum amqc_result amqc_method_append(struct buf *out, uint16_t channel, const struct amqc_method *method)
{
	unsigned int row = index_of(method->id);
	uint64_t size = 4;
	uint8_t *to;

	if (row == INDEX_NONE)
		return AMQC_UNKNOWN_METHOD;
	if (!fields_size(rows[row].fields, method, &size))
		return AMQC_TOO_LONG;
	to = amqc_wire_frame(out, AMQC_FRAME_METHOD, channel, (uint32_t)size);
	if (!to)
		return AMQC_OK;
	store_be32(to, method->id);
	fields_put(to + 4, rows[row].fields, method);
	buf_commit(out, (size_t)size + AMQC_FRAME_OVERHEAD);
	return AMQC_OK;
}
