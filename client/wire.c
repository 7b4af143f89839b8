#include "client/wire.h"

#include <errno.h>

static bool take_varint(struct span *in, uint64_t *ret)
{
	uint64_t value = 0;
	size_t i;

	for (i = 0; i < in->len && i < 10; i++) {
		value |= (uint64_t)(in->data[i] & 0x7f) << (7 * i);
		if (in->data[i] & 0x80)
			continue;
		*ret = value;
		*in = span_skip(*in, i + 1);
		return true;
	}
	return false;
}

static uint64_t load_little(const uint8_t *p, size_t count)
{
	uint64_t value = 0;
	size_t i;

	for (i = 0; i < count; i++)
		value |= (uint64_t)p[i] << (8 * i);
	return value;
}

static bool take_value(struct span *in, struct wire_field *field)
{
	struct span bytes;
	uint64_t len;

	switch (field->type) {
	case WIRE_VARINT:
		return take_varint(in, &field->value);
	case WIRE_FIXED64:
		if (!span_take(in, 8, &bytes))
			return false;
		field->value = load_little(bytes.data, 8);
		return true;
	case WIRE_FIXED32:
		if (!span_take(in, 4, &bytes))
			return false;
		field->value = load_little(bytes.data, 4);
		return true;
	case WIRE_BYTES:
		if (!take_varint(in, &len) || len > in->len)
			return false;
		return span_take(in, (size_t)len, &field->bytes);
	}
	return false; /* groups, and what protobuf does not know */
}

int wire_next(struct span *in, struct wire_field *ret_field)
{
	uint64_t tag;

	if (in->len == 0)
		return 0;
	if (!take_varint(in, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX >> 3)
		return -EBADMSG;
	ret_field->number = (uint32_t)(tag >> 3);
	ret_field->type = (enum wire_type)(tag & 7);
	ret_field->value = 0;
	ret_field->bytes = SPAN_NULL;
	return take_value(in, ret_field) ? 1 : -EBADMSG;
}

size_t wire_varint_size(uint64_t value)
{
	size_t size = 1;

	while (value >= 0x80) {
		value >>= 7;
		size++;
	}
	return size;
}

size_t wire_bytes_size(size_t len)
{
	return 1 + wire_varint_size(len) + len;
}

size_t wire_number_size(uint64_t value)
{
	return 1 + wire_varint_size(value);
}

void wire_put_varint(struct buf *out, uint64_t value)
{
	uint8_t bytes[10];
	size_t len = 0;

	while (value >= 0x80) {
		bytes[len++] = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	bytes[len++] = (uint8_t)value;
	buf_append(out, bytes, len);
}

void wire_put_tag(struct buf *out, uint32_t number, enum wire_type type)
{
	wire_put_varint(out, (uint64_t)number << 3 | (uint64_t)type);
}

void wire_put_number(struct buf *out, uint32_t number, uint64_t value)
{
	wire_put_tag(out, number, WIRE_VARINT);
	wire_put_varint(out, value);
}

void wire_put_nonzero(struct buf *out, uint32_t number, uint64_t value)
{
	if (value)
		wire_put_number(out, number, value);
}

static void put_little(struct buf *out, uint64_t value, size_t count)
{
	uint8_t bytes[8];
	size_t i;

	for (i = 0; i < count; i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
	buf_append(out, bytes, count);
}

void wire_put_fixed32(struct buf *out, uint32_t number, uint32_t value)
{
	wire_put_tag(out, number, WIRE_FIXED32);
	put_little(out, value, 4);
}

void wire_put_fixed64(struct buf *out, uint32_t number, uint64_t value)
{
	wire_put_tag(out, number, WIRE_FIXED64);
	put_little(out, value, 8);
}

void wire_put_bytes(struct buf *out, uint32_t number, struct span bytes)
{
	wire_put_tag(out, number, WIRE_BYTES);
	wire_put_varint(out, bytes.len);
	buf_append_span(out, bytes);
}
