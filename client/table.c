/*
 * Field tables. A table is the bytes of a muxd.v1.Table: a run of Field
 * messages (tag 1), each a name (1) and one value field whose number tells the
 * type. Setting a field appends one; a field of the same name that was there is
 * cut out. Walking reads the bytes where they are, so a received table is
 * walked with no copy, and a nested one is a sub-span.
 */
#include "config.h"

#include "client/table.h"
#include "client/error.h"
#include "client/wire.h"

#include "proto/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_FIELD 1u /* Table.fields */
#define FIELD_NAME 1u  /* Field.name */
#define DECIMAL_SCALE 1u
#define DECIMAL_VALUE 2u
#define TABLE_NAME_MAX 255u

/* Field.value: the number of the oneof's member, by AMQP type. */
static const struct {
	uint32_t number;
	int type;
	enum wire_type wire;
} types[] = {
    {2, MUXC_BOOL, WIRE_VARINT},    {3, MUXC_INT8, WIRE_VARINT},     {4, MUXC_UINT8, WIRE_VARINT},
    {5, MUXC_INT16, WIRE_VARINT},   {6, MUXC_UINT16, WIRE_VARINT},   {7, MUXC_INT32, WIRE_VARINT},
    {8, MUXC_UINT32, WIRE_VARINT},  {9, MUXC_INT64, WIRE_VARINT},    {10, MUXC_UINT64, WIRE_VARINT},
    {11, MUXC_FLOAT, WIRE_FIXED32}, {12, MUXC_DOUBLE, WIRE_FIXED64}, {13, MUXC_DECIMAL, WIRE_BYTES},
    {14, MUXC_STRING, WIRE_BYTES},  {15, MUXC_BYTES, WIRE_BYTES},    {16, MUXC_ARRAY, WIRE_BYTES},
    {17, MUXC_TIME, WIRE_VARINT},   {18, MUXC_TABLE, WIRE_BYTES},    {19, MUXC_VOID, WIRE_VARINT},
};

#define TYPE_COUNT (sizeof(types) / sizeof(types[0]))

int muxc_table_new(struct muxc_table **ret)
{
	struct muxc_table *table;

	if (!ret)
		return -EINVAL;
	table = calloc(1, sizeof(*table));
	if (!table)
		return -ENOMEM;
	*ret = table;
	return 0;
}

struct muxc_table *muxc_table_free(struct muxc_table *table)
{
	if (table)
		buf_deinit(&table->bytes);
	free(table);
	return NULL;
}

struct span table_span(const struct muxc_table *table)
{
	return table ? buf_span(&table->bytes) : SPAN_NULL;
}

/* ------------------------------------------------------------------ walking */

static struct span iter_span(const struct muxc_iter *iter)
{
	const uint8_t *at = iter->at, *end = iter->end;

	return at && at < end ? span_make(at, (size_t)(end - at)) : SPAN_NULL;
}

static void iter_set(struct muxc_iter *iter, struct span span)
{
	iter->at = span.data;
	iter->end = span.data ? span.data + span.len : NULL;
}

static int read_decimal(struct span in, struct muxc_value *value)
{
	struct wire_field field;
	int r;

	while ((r = wire_next(&in, &field)) > 0) {
		if (field.number == DECIMAL_SCALE && field.type == WIRE_VARINT)
			value->u.decimal.scale = (uint32_t)field.value;
		else if (field.number == DECIMAL_VALUE && field.type == WIRE_VARINT)
			value->u.decimal.value = (uint32_t)field.value;
	}
	return r;
}

static int read_value(int type, const struct wire_field *field, struct muxc_value *value)
{
	uint32_t bits32 = (uint32_t)field->value;

	memset(value, 0, sizeof(*value));
	value->type = type;
	switch (type) {
	case MUXC_BOOL:
		value->u.boolean = field->value != 0;
		return 0;
	case MUXC_INT8:
	case MUXC_INT16:
	case MUXC_INT32:
	case MUXC_INT64:
		value->u.integer = wire_unzigzag(field->value);
		return 0;
	case MUXC_FLOAT:
		memcpy(&value->u.float32, &bits32, sizeof(bits32));
		return 0;
	case MUXC_DOUBLE:
		memcpy(&value->u.float64, &field->value, sizeof(field->value));
		return 0;
	case MUXC_DECIMAL:
		return read_decimal(field->bytes, value);
	case MUXC_STRING:
	case MUXC_BYTES:
	case MUXC_ARRAY:
	case MUXC_TABLE:
		value->u.bytes.data = (const char *)field->bytes.data;
		value->u.bytes.len = field->bytes.len;
		return 0;
	case MUXC_VOID:
		return 0;
	default:
		value->u.number = field->value;
		return 0;
	}
}

static int read_field(struct span in, struct muxc_field *ret)
{
	struct wire_field field;
	size_t i;
	int r;

	ret->name = NULL;
	ret->name_len = 0;
	memset(&ret->value, 0, sizeof(ret->value));
	ret->value.type = MUXC_VOID;
	while ((r = wire_next(&in, &field)) > 0) {
		if (field.number == FIELD_NAME && field.type == WIRE_BYTES) {
			ret->name = (const char *)field.bytes.data;
			ret->name_len = field.bytes.len;
			continue;
		}
		for (i = 0; i < TYPE_COUNT; i++) {
			if (types[i].number != field.number || types[i].wire != field.type)
				continue;
			r = read_value(types[i].type, &field, &ret->value);
			if (r < 0)
				return r;
		}
	}
	return r < 0 ? r : 1;
}

void muxc_table_iter(const struct muxc_table *table, struct muxc_iter *ret)
{
	if (ret)
		iter_set(ret, table_span(table));
}

void iter_from_span(struct span span, struct muxc_iter *ret)
{
	iter_set(ret, span);
}

int muxc_iter_enter(const struct muxc_value *value, struct muxc_iter *ret)
{
	if (!value || !ret || (value->type != MUXC_TABLE && value->type != MUXC_ARRAY))
		return -EINVAL;
	iter_set(ret, span_make(value->u.bytes.data, value->u.bytes.len));
	return 0;
}

int muxc_iter_next(struct muxc_iter *iter, struct muxc_field *ret)
{
	struct wire_field field;
	struct span in;
	int r;

	if (!iter || !ret)
		return -EINVAL;
	in = iter_span(iter);
	do {
		r = wire_next(&in, &field);
		if (r <= 0)
			return r;
		iter_set(iter, in);
	} while (field.number != TABLE_FIELD || field.type != WIRE_BYTES);
	return read_field(field.bytes, ret);
}

int muxc_iter_find(const struct muxc_iter *iter, const char *name, size_t name_len, struct muxc_value *ret)
{
	struct muxc_iter at;
	struct muxc_field field;
	struct span wanted;

	if (!iter || !name || !ret)
		return -EINVAL;
	at = *iter;
	wanted = text_span(name, name_len);
	while (muxc_iter_next(&at, &field) > 0) {
		if (!span_equal(wanted, span_make(field.name, field.name_len)))
			continue;
		*ret = field.value;
		return 1;
	}
	return 0;
}

/* ----------------------------------------------------------------- building */

/* Cuts out the field of that name, if it is among the first `limit` bytes. */
static int table_cut(struct muxc_table *table, struct span name, size_t limit)
{
	struct span in = buf_span(&table->bytes);
	struct muxc_field field;
	struct wire_field wire;
	uint8_t *start;
	struct span before;

	for (before = in; before.len > buf_len(&table->bytes) - limit && wire_next(&in, &wire) > 0;
	     before = in) {
		if (read_field(wire.bytes, &field) < 0 || !field.name)
			continue;
		if (!span_equal(name, span_make(field.name, field.name_len)))
			continue;
		start = table->bytes.data + table->bytes.start + (buf_len(&table->bytes) - before.len);
		memmove(start, start + (before.len - in.len), in.len);
		buf_truncate(&table->bytes, buf_len(&table->bytes) - (before.len - in.len));
		return 1;
	}
	return 0;
}

int muxc_table_unset(struct muxc_table *table, const char *name, size_t name_len)
{
	if (!table || !name)
		return -EINVAL;
	return table_cut(table, text_span(name, name_len), buf_len(&table->bytes));
}

static bool integer_fits(const struct muxc_value *value)
{
	int64_t integer = value->u.integer;
	uint64_t number = value->u.number;

	switch (value->type) {
	case MUXC_INT8:
		return integer >= INT8_MIN && integer <= INT8_MAX;
	case MUXC_INT16:
		return integer >= INT16_MIN && integer <= INT16_MAX;
	case MUXC_INT32:
		return integer >= INT32_MIN && integer <= INT32_MAX;
	case MUXC_UINT8:
		return number <= UINT8_MAX;
	case MUXC_UINT16:
		return number <= UINT16_MAX;
	case MUXC_UINT32:
		return number <= UINT32_MAX;
	case MUXC_DECIMAL:
		return value->u.decimal.scale <= UINT8_MAX;
	default:
		return true;
	}
}

static void put_decimal(struct buf *out, uint32_t number, const struct muxc_value *value)
{
	wire_put_tag(out, number, WIRE_BYTES);
	wire_put_varint(out,
			wire_number_size(value->u.decimal.scale) + wire_number_size(value->u.decimal.value));
	wire_put_number(out, DECIMAL_SCALE, value->u.decimal.scale);
	wire_put_number(out, DECIMAL_VALUE, value->u.decimal.value);
}

static void put_value(struct buf *out, uint32_t number, const struct muxc_value *value)
{
	uint64_t bits64;
	uint32_t bits32;

	switch (value->type) {
	case MUXC_BOOL:
		wire_put_number(out, number, value->u.boolean != 0);
		return;
	case MUXC_INT8:
	case MUXC_INT16:
	case MUXC_INT32:
	case MUXC_INT64:
		wire_put_number(out, number, wire_zigzag(value->u.integer));
		return;
	case MUXC_FLOAT:
		memcpy(&bits32, &value->u.float32, sizeof(bits32));
		wire_put_fixed32(out, number, bits32);
		return;
	case MUXC_DOUBLE:
		memcpy(&bits64, &value->u.float64, sizeof(bits64));
		wire_put_fixed64(out, number, bits64);
		return;
	case MUXC_DECIMAL:
		put_decimal(out, number, value);
		return;
	case MUXC_STRING:
	case MUXC_BYTES:
	case MUXC_ARRAY:
	case MUXC_TABLE:
		wire_put_bytes(out, number, span_make(value->u.bytes.data, value->u.bytes.len));
		return;
	case MUXC_VOID:
		wire_put_number(out, number, 1);
		return;
	default:
		wire_put_number(out, number, value->u.number);
		return;
	}
}

static uint32_t type_number(int type)
{
	size_t i;

	for (i = 0; i < TYPE_COUNT; i++) {
		if (types[i].type == type)
			return types[i].number;
	}
	return 0;
}

int muxc_table_set(struct muxc_table *table, const char *name, size_t name_len,
		   const struct muxc_value *value)
{
	struct span key = name ? text_span(name, name_len) : SPAN_NULL;
	struct buf field = BUF_INIT;
	size_t len_before;
	uint32_t number;

	if (!table || !value || key.len > TABLE_NAME_MAX)
		return -EINVAL;
	number = type_number(value->type);
	if (number == 0)
		return -EINVAL;
	if (!integer_fits(value))
		return -ERANGE;
	if (name)
		wire_put_bytes(&field, FIELD_NAME, key);
	put_value(&field, number, value);
	len_before = buf_len(&table->bytes);
	if (!buf_failed(&field))
		wire_put_bytes(&table->bytes, TABLE_FIELD, buf_span(&field));
	if (buf_failed(&field) || buf_failed(&table->bytes)) {
		table->bytes.failed = false;
		buf_truncate(&table->bytes, len_before);
		buf_deinit(&field);
		return -ENOMEM;
	}
	buf_deinit(&field);
	if (name)
		table_cut(table, key, len_before);
	return 0;
}

int muxc_table_set_bool(struct muxc_table *table, const char *name, int value)
{
	struct muxc_value v = {.type = MUXC_BOOL, .u.boolean = value};

	return muxc_table_set(table, name, MUXC_STRLEN, &v);
}

int muxc_table_set_int8(struct muxc_table *table, const char *name, int8_t value)
{
	struct muxc_value v = {.type = MUXC_INT8, .u.integer = value};

	return muxc_table_set(table, name, MUXC_STRLEN, &v);
}

int muxc_table_set_uint8(struct muxc_table *table, const char *name, uint8_t value)
{
	struct muxc_value v = {.type = MUXC_UINT8, .u.number = value};

	return muxc_table_set(table, name, MUXC_STRLEN, &v);
}

int muxc_table_set_int16(struct muxc_table *table, const char *name, int16_t value)
{
	struct muxc_value v = {.type = MUXC_INT16, .u.integer = value};

	return muxc_table_set(table, name, MUXC_STRLEN, &v);
}

int muxc_table_set_uint16(struct muxc_table *table, const char *name, uint16_t value)
{
	struct muxc_value v = {.type = MUXC_UINT16, .u.number = value};

	return muxc_table_set(table, name, MUXC_STRLEN, &v);
}

int muxc_table_set_int32(struct muxc_table *table, const char *name, int32_t value)
{
	struct muxc_value v = {.type = MUXC_INT32, .u.integer = value};

	return muxc_table_set(table, name, MUXC_STRLEN, &v);
}

int muxc_table_set_uint32(struct muxc_table *table, const char *name, uint32_t value)
{
	struct muxc_value v = {.type = MUXC_UINT32, .u.number = value};

	return muxc_table_set(table, name, MUXC_STRLEN, &v);
}

int muxc_table_set_int64(struct muxc_table *table, const char *name, int64_t value)
{
	struct muxc_value v = {.type = MUXC_INT64, .u.integer = value};

	return muxc_table_set(table, name, MUXC_STRLEN, &v);
}

int muxc_table_set_uint64(struct muxc_table *table, const char *name, uint64_t value)
{
	struct muxc_value v = {.type = MUXC_UINT64, .u.number = value};

	return muxc_table_set(table, name, MUXC_STRLEN, &v);
}

int muxc_table_set_float(struct muxc_table *table, const char *name, float value)
{
	struct muxc_value v = {.type = MUXC_FLOAT, .u.float32 = value};

	return muxc_table_set(table, name, MUXC_STRLEN, &v);
}

int muxc_table_set_double(struct muxc_table *table, const char *name, double value)
{
	struct muxc_value v = {.type = MUXC_DOUBLE, .u.float64 = value};

	return muxc_table_set(table, name, MUXC_STRLEN, &v);
}

int muxc_table_set_decimal(struct muxc_table *table, const char *name, uint8_t scale, uint32_t value)
{
	struct muxc_value v = {.type = MUXC_DECIMAL, .u.decimal = {value, scale}};

	return muxc_table_set(table, name, MUXC_STRLEN, &v);
}

int muxc_table_set_time(struct muxc_table *table, const char *name, uint64_t seconds)
{
	struct muxc_value v = {.type = MUXC_TIME, .u.number = seconds};

	return muxc_table_set(table, name, MUXC_STRLEN, &v);
}

int muxc_table_set_void(struct muxc_table *table, const char *name)
{
	struct muxc_value v = {.type = MUXC_VOID};

	return muxc_table_set(table, name, MUXC_STRLEN, &v);
}

static int table_set_bytes(struct muxc_table *table, const char *name, int type, struct span value)
{
	struct muxc_value v = {.type = type, .u.bytes = {(const char *)value.data, value.len}};

	return muxc_table_set(table, name, MUXC_STRLEN, &v);
}

int muxc_table_set_string(struct muxc_table *table, const char *name, const char *value, size_t len)
{
	if (!value && len)
		return -EINVAL;
	return table_set_bytes(table, name, MUXC_STRING, text_span(value, len));
}

int muxc_table_set_bytes(struct muxc_table *table, const char *name, const void *value, size_t len)
{
	if (!value && len)
		return -EINVAL;
	return table_set_bytes(table, name, MUXC_BYTES, span_make(value, len));
}

int muxc_table_set_array(struct muxc_table *table, const char *name, const struct muxc_table *array)
{
	if (!array)
		return -EINVAL;
	return table_set_bytes(table, name, MUXC_ARRAY, table_span(array));
}

int muxc_table_set_table(struct muxc_table *table, const char *name, const struct muxc_table *nested)
{
	if (!nested)
		return -EINVAL;
	return table_set_bytes(table, name, MUXC_TABLE, table_span(nested));
}
