/*
 * Names: kept, made up, and checked.
 */
#include "daemon/amqp/table.h"
#include "tests/broker/engine.h"

#include <math.h>

void bk_name_set(struct name *name, struct span bytes)
{
	name->len = (uint8_t)(bytes.len < NAME_MAX_BYTES ? bytes.len : NAME_MAX_BYTES);
	if (name->len > 0)
		memmove(name->bytes, bytes.data, name->len);
}

void bk_name_set_stripped(struct name *name, struct span bytes)
{
	name->len = 0;
	for (size_t i = 0; i < bytes.len && name->len < NAME_MAX_BYTES; i++)
		if (bytes.data[i] != '\r' && bytes.data[i] != '\n')
			name->bytes[name->len++] = bytes.data[i];
}

/* splitmix64 */
static uint64_t broker_random(struct broker *broker)
{
	uint64_t z = broker->random += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

void bk_name_generate(struct broker *broker, const char *prefix, struct name *ret)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

	bk_name_set(ret, span_str(prefix));
	for (unsigned int i = 0; i < 22; i++)
		ret->bytes[ret->len++] = (uint8_t)letters[broker_random(broker) % 64];
}

/* How many bytes follow the first one of a sequence, and the least code point it may mean. */
static bool utf8_lead(uint8_t byte, unsigned int *ret_more, uint32_t *ret_least)
{
	if (byte >= 0xc2 && byte <= 0xdf)
		*ret_more = 1, *ret_least = 0x80;
	else if ((byte & 0xf0) == 0xe0)
		*ret_more = 2, *ret_least = 0x800;
	else if (byte >= 0xf0 && byte <= 0xf4)
		*ret_more = 3, *ret_least = 0x10000;
	else
		return false;
	return true;
}

static bool utf8_valid(struct span s)
{
	size_t i = 0;

	while (i < s.len) {
		uint8_t lead = s.data[i++];
		unsigned int more;
		uint32_t least, point;

		if (lead < 0x80)
			continue;
		if (!utf8_lead(lead, &more, &least) || more > s.len - i)
			return false;
		point = lead & (0x3fu >> more);
		for (; more > 0; more--, i++) {
			if ((s.data[i] & 0xc0) != 0x80)
				return false;
			point = (point << 6) | (s.data[i] & 0x3f);
		}
		if (point < least || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
			return false;
	}
	return true;
}

/* Numbers that Erlang cannot hold, in a table or the ones in it. Tables of methods and contents were checked.
 */
bool bk_table_is_finite(struct span table)
{
	struct {
		struct span rest;
		bool array;
	} stack[AMQC_TABLE_DEPTH_MAX + 1] = {{table, false}};
	size_t depth = 1;

	while (depth > 0) {
		struct amqc_field field;
		enum amqc_result result = stack[depth - 1].array
					      ? amqc_array_next(&stack[depth - 1].rest, &field)
					      : amqc_table_next(&stack[depth - 1].rest, &field);

		if (result != AMQC_OK) {
			depth--;
			continue;
		}
		if ((field.type == 'f' && !isfinite(field.value.float32)) ||
		    (field.type == 'd' && !isfinite(field.value.float64)))
			return false;
		if ((field.type == 'F' || field.type == 'A') && depth <= AMQC_TABLE_DEPTH_MAX) {
			stack[depth].rest = field.value.bytes;
			stack[depth++].array = field.type == 'A';
		}
	}
	return true;
}

#define VALID_BIT(value) true
#define VALID_OCTET(value) true
#define VALID_SHORT(value) true
#define VALID_LONG(value) true
#define VALID_LONGLONG(value) true
#define VALID_SHORTSTR(value) utf8_valid(value)
#define VALID_LONGSTR(value) true
#define VALID_TABLE(value) true

bool bk_method_is_utf8(const struct amqc_method *method)
{
	if (method->id == AMQC_BASIC_PUBLISH)
		return true;
	switch (method->id) {
#define METHOD(CONSTANT, name, class_id, method_id, sender) \
	case AMQC_##CONSTANT:                               \
		return true
#define FIELD(name, type, member) &&VALID_##type(method->name.member)
#define RESERVED(name, type)
#define END(name) ;
#include "daemon/amqp/methods.def"
#undef METHOD
#undef FIELD
#undef RESERVED
#undef END
	}
	return true;
}

#undef VALID_SHORTSTR
#undef VALID_TABLE
#define VALID_SHORTSTR(value) true
#define VALID_TABLE(value) bk_table_is_finite(value)

bool bk_method_is_finite(const struct amqc_method *method)
{
	switch (method->id) {
#define METHOD(CONSTANT, name, class_id, method_id, sender) \
	case AMQC_##CONSTANT:                               \
		return true
#define FIELD(name, type, member) &&VALID_##type(method->name.member)
#define RESERVED(name, type)
#define END(name) ;
#include "daemon/amqp/methods.def"
#undef METHOD
#undef FIELD
#undef RESERVED
#undef END
	}
	return true;
}
