#include "daemon/amqp/table.h"

#include "daemon/amqp/wire.h"

#include <stdlib.h>

/* What a letter on the wire means. */
enum kind {
	KIND_UNKNOWN,
	KIND_BOOL,
	KIND_SIGNED,
	KIND_UNSIGNED,
	KIND_FLOAT,
	KIND_DOUBLE,
	KIND_DECIMAL,
	KIND_BYTES,
	KIND_VOID
};

struct field_type {
	uint8_t kind;  /* enum kind */
	uint8_t width; /* bytes of the value; of its length for KIND_BYTES */
};

#define LETTERS 128u

/*
 * RabbitMQ's letters, which are not those of the specification's text: 's' is
 * a short there, not a short string; 'L' is read as a signed number, here as
 * the same 64 bits unsigned.
 */
static const struct field_type field_types[LETTERS] = {
    ['t'] = {KIND_BOOL, 1},	['b'] = {KIND_SIGNED, 1},   ['B'] = {KIND_UNSIGNED, 1},
    ['s'] = {KIND_SIGNED, 2},	['u'] = {KIND_UNSIGNED, 2}, ['I'] = {KIND_SIGNED, 4},
    ['i'] = {KIND_UNSIGNED, 4}, ['l'] = {KIND_SIGNED, 8},   ['L'] = {KIND_UNSIGNED, 8},
    ['T'] = {KIND_UNSIGNED, 8}, ['f'] = {KIND_FLOAT, 4},    ['d'] = {KIND_DOUBLE, 8},
    ['D'] = {KIND_DECIMAL, 5},	['S'] = {KIND_BYTES, 4},    ['x'] = {KIND_BYTES, 4},
    ['F'] = {KIND_BYTES, 4},	['A'] = {KIND_BYTES, 4},    ['V'] = {KIND_VOID, 0},
};

static struct field_type type_of(uint8_t letter)
{
	return letter < LETTERS ? field_types[letter] : (struct field_type){KIND_UNKNOWN, 0};
}

static uint64_t load_unsigned(const uint8_t *p, unsigned int width)
{
	switch (width) {
	case 1:
		return p[0];
	case 2:
		return load_be16(p);
	case 4:
		return load_be32(p);
	default:
		return load_be64(p);
	}
}

static int64_t load_signed(const uint8_t *p, unsigned int width)
{
	switch (width) {
	case 1:
		return (int8_t)p[0];
	case 2:
		return (int16_t)load_be16(p);
	case 4:
		return (int32_t)load_be32(p);
	default:
		return (int64_t)load_be64(p);
	}
}

/* Bits of floating point numbers are copied, never converted: a NaN keeps all of its bits. */
static void load_fixed(const uint8_t *p, struct field_type type, struct amqc_field *ret)
{
	uint32_t bits32;
	uint64_t bits64;

	switch (type.kind) {
	case KIND_BOOL:
		ret->value.boolean = p[0] != 0;
		break;
	case KIND_SIGNED:
		ret->value.signed_int = load_signed(p, type.width);
		break;
	case KIND_UNSIGNED:
		ret->value.unsigned_int = load_unsigned(p, type.width);
		break;
	case KIND_FLOAT:
		bits32 = load_be32(p);
		memcpy(&ret->value.float32, &bits32, sizeof(bits32));
		break;
	case KIND_DOUBLE:
		bits64 = load_be64(p);
		memcpy(&ret->value.float64, &bits64, sizeof(bits64));
		break;
	default:
		ret->value.decimal.scale = p[0];
		ret->value.decimal.value = load_be32(p + 1);
		break;
	}
}

/* The letter and the value behind it. */
static enum amqc_result value_take(struct span *rest, struct amqc_field *ret)
{
	struct field_type type;
	struct span bytes;
	uint8_t letter;

	if (!span_take_u8(rest, &letter))
		return AMQC_TRUNCATED;
	type = type_of(letter);
	ret->type = (char)letter;
	switch (type.kind) {
	case KIND_UNKNOWN:
		return AMQC_BAD_FIELD_TYPE;
	case KIND_VOID:
		return AMQC_OK;
	case KIND_BYTES:
		return amqc_wire_take_longstr(rest, &ret->value.bytes) ? AMQC_OK : AMQC_TRUNCATED;
	default:
		if (!span_take(rest, type.width, &bytes))
			return AMQC_TRUNCATED;
		load_fixed(bytes.data, type, ret);
		return AMQC_OK;
	}
}

enum amqc_result amqc_table_next(struct span *rest, struct amqc_field *ret)
{
	if (rest->len == 0)
		return AMQC_INCOMPLETE;
	if (!amqc_wire_take_shortstr(rest, &ret->name))
		return AMQC_TRUNCATED;
	return value_take(rest, ret);
}

enum amqc_result amqc_array_next(struct span *rest, struct amqc_field *ret)
{
	if (rest->len == 0)
		return AMQC_INCOMPLETE;
	ret->name = SPAN_NULL;
	return value_take(rest, ret);
}

/* What is still to be walked of a table or an array around the one that is being walked. */
struct level {
	struct span rest;
	bool is_array;
};

static enum amqc_result check(struct level at)
{
	struct level outer[AMQC_TABLE_DEPTH_MAX];
	unsigned int depth = 0;
	struct amqc_field field;
	enum amqc_result result;

	for (;;) {
		if (at.rest.len == 0) {
			if (depth == 0)
				return AMQC_OK;
			at = outer[--depth];
			continue;
		}
		result = at.is_array ? amqc_array_next(&at.rest, &field) : amqc_table_next(&at.rest, &field);
		if (result != AMQC_OK)
			return result;
		if (field.type != 'F' && field.type != 'A')
			continue;
		if (depth == AMQC_TABLE_DEPTH_MAX)
			return AMQC_TOO_DEEP;
		outer[depth++] = at;
		at = (struct level){field.value.bytes, field.type == 'A'};
	}
}

enum amqc_result amqc_table_check(struct span table)
{
	return check((struct level){table, false});
}

enum amqc_result amqc_array_check(struct span array)
{
	return check((struct level){array, true});
}

bool amqc_table_find(struct span table, const char *name, struct amqc_field *ret)
{
	struct amqc_field field;

	while (amqc_table_next(&table, &field) == AMQC_OK) {
		if (!span_equal_str(field.name, name))
			continue;
		*ret = field;
		return true;
	}
	return false;
}

struct placed_field {
	struct span name;
	struct span bytes; /* all of it, the name too; where they begin tells the place it had */
};

static int compare_fields(const void *one, const void *other)
{
	const struct placed_field *a = one, *b = other;
	size_t common = a->name.len < b->name.len ? a->name.len : b->name.len;
	int order = common > 0 ? memcmp(a->name.data, b->name.data, common) : 0;

	if (order != 0)
		return order;
	if (a->name.len != b->name.len)
		return a->name.len < b->name.len ? -1 : 1;
	return a->bytes.data < b->bytes.data ? -1 : 1;
}

bool amqc_table_append_sorted(struct buf *out, struct span table)
{
	struct placed_field *fields;
	struct amqc_field field;
	struct span rest = table;
	size_t count = 0;

	enum amqc_result result;

	while ((result = amqc_table_next(&rest, &field)) == AMQC_OK)
		count++;
	fields = calloc(count + 1, sizeof(*fields));
	if (!fields || result != AMQC_INCOMPLETE) {
		free(fields);
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		rest = table;
		(void)amqc_table_next(&table, &field);
		fields[i].name = field.name;
		fields[i].bytes = span_first(rest, rest.len - table.len);
	}
	qsort(fields, count, sizeof(*fields), compare_fields);
	for (size_t i = 0; i < count; i++)
		buf_append_span(out, fields[i].bytes);
	free(fields);
	return true;
}

size_t amqc_table_begin(struct buf *out)
{
	size_t mark = buf_len(out);

	buf_append_be32(out, 0);
	return mark;
}

static void name_append(struct buf *out, const struct span *name)
{
	if (!name)
		return;
	buf_append_u8(out, (uint8_t)name->len);
	buf_append_span(out, *name);
}

size_t amqc_field_begin(struct buf *out, const struct span *name, char type)
{
	if ((name && name->len > AMQC_WIRE_SHORTSTR_MAX) || (type != 'F' && type != 'A'))
		return AMQC_FIELD_REFUSED;
	name_append(out, name);
	buf_append_u8(out, (uint8_t)type);
	return amqc_table_begin(out);
}

void amqc_table_end(struct buf *out, size_t mark)
{
	if (buf_failed(out) || mark == AMQC_FIELD_REFUSED)
		return;
	buf_patch_be32(out, mark, (uint32_t)(buf_len(out) - mark - 4));
}

/* True if the value can be written as its type's width allows. */
static bool value_fits(struct field_type type, const struct amqc_field *field)
{
	unsigned int bits = 8u * type.width;
	uint64_t len; /* not size_t: no compiler may find the comparison pointless where that has 32 bits */

	switch (type.kind) {
	case KIND_SIGNED:
		return bits == 64 || (field->value.signed_int >= -(INT64_C(1) << (bits - 1)) &&
				      field->value.signed_int < (INT64_C(1) << (bits - 1)));
	case KIND_UNSIGNED:
		return bits == 64 || field->value.unsigned_int >> bits == 0;
	case KIND_BYTES:
		len = field->value.bytes.len;
		return len <= UINT32_MAX;
	default:
		return true;
	}
}

/* The value's fixed bytes: all of it, or the length of KIND_BYTES, in the last type.width of eight. */
static uint64_t value_bits(struct field_type type, const struct amqc_field *field)
{
	uint32_t bits32;
	uint64_t bits64;

	switch (type.kind) {
	case KIND_BOOL:
		return field->value.boolean;
	case KIND_SIGNED:
		return (uint64_t)field->value.signed_int;
	case KIND_UNSIGNED:
		return field->value.unsigned_int;
	case KIND_FLOAT:
		memcpy(&bits32, &field->value.float32, sizeof(bits32));
		return bits32;
	case KIND_DOUBLE:
		memcpy(&bits64, &field->value.float64, sizeof(bits64));
		return bits64;
	case KIND_DECIMAL:
		return (uint64_t)field->value.decimal.scale << 32 | field->value.decimal.value;
	case KIND_BYTES:
		return field->value.bytes.len;
	default:
		return 0;
	}
}

enum amqc_result amqc_field_append(struct buf *out, const struct span *name, const struct amqc_field *field)
{
	struct field_type type = type_of((uint8_t)field->type);
	uint8_t head[1 + 8] = {(uint8_t)field->type};

	if (type.kind == KIND_UNKNOWN)
		return AMQC_BAD_FIELD_TYPE;
	if ((name && name->len > AMQC_WIRE_SHORTSTR_MAX) || !value_fits(type, field))
		return AMQC_TOO_LONG;
	/* Left-adjusted: the first width bytes of the big-endian number are the value's. */
	store_be64(head + 1, type.width ? value_bits(type, field) << (64 - 8u * type.width) : 0);
	name_append(out, name);
	buf_append(out, head, 1u + type.width);
	if (type.kind == KIND_BYTES)
		buf_append_span(out, field->value.bytes);
	return AMQC_OK;
}

/* Names and values of our own making fit. */
static void own_field_append(struct buf *out, const char *name, const struct amqc_field *field)
{
	struct span span = span_str(name);

	(void)amqc_field_append(out, &span, field);
}

void amqc_field_append_str(struct buf *out, const char *name, struct span value)
{
	own_field_append(out, name, &(struct amqc_field){.type = 'S', .value.bytes = value});
}

void amqc_field_append_bool(struct buf *out, const char *name, bool value)
{
	own_field_append(out, name, &(struct amqc_field){.type = 't', .value.boolean = value});
}
