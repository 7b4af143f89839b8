#include "daemon/front/unpack.h"

enum wire_type {
	WIRE_VARINT = 0,
	WIRE_BYTES = 2
};

/* All field numbers are below 16, so that a tag is one octet. */
#define TAG(number, type) ((number) << 3 | (type))

struct reader {
	const uint8_t *at, *end;
	uint32_t seen; /* a bit for each field number */
};

static inline struct reader reader_make(struct span bytes)
{
	return (struct reader){bytes.data, bytes.data + bytes.len, 0};
}

/* The next tag, of a field that was not there yet; 0: none of those. */
static inline unsigned int read_tag(struct reader *reader)
{
	unsigned int tag = *reader->at++;
	uint32_t bit = UINT32_C(1) << (tag >> 3 & 31);

	if (tag >= 0x80 || (reader->seen & bit))
		return 0;
	reader->seen |= bit;
	return tag;
}

/* As long as it may be for what is at most so large. */
static inline bool read_varint(struct reader *reader, uint64_t most, uint64_t *ret)
{
	unsigned int bits = most > UINT32_MAX ? 64 : 32;
	uint64_t value = 0;

	for (unsigned int shift = 0; shift < bits && reader->at < reader->end; shift += 7) {
		uint8_t byte = *reader->at++;

		if (shift == 63 && byte > 1)
			return false;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			*ret = value;
			return value <= most;
		}
	}
	return false;
}

static inline bool read_uint32(struct reader *reader, protobuf_c_boolean *ret_has, uint32_t *ret)
{
	uint64_t value;

	if (!read_varint(reader, UINT32_MAX, &value))
		return false;
	*ret_has = true;
	*ret = (uint32_t)value;
	return true;
}

static inline bool read_span(struct reader *reader, struct span *ret)
{
	uint64_t len;

	if (!read_varint(reader, (uint64_t)UINT32_MAX, &len) || len > (uint64_t)(reader->end - reader->at))
		return false;
	*ret = span_make(reader->at, (size_t)len);
	reader->at += len;
	return true;
}

static inline bool read_bytes(struct reader *reader, protobuf_c_boolean *ret_has, ProtobufCBinaryData *ret)
{
	struct span bytes;

	if (!read_span(reader, &bytes))
		return false;
	*ret_has = true;
	ret->len = bytes.len;
	/* Nobody writes through it; protobuf-c has no const. */
	ret->data = (uint8_t *)(uintptr_t)bytes.data;
	return true;
}

#define BYTES(number, member)         \
	case TAG(number, WIRE_BYTES): \
		return read_bytes(reader, &ret->has_##member, &ret->member);
#define UINT32(number, member)         \
	case TAG(number, WIRE_VARINT): \
		return read_uint32(reader, &ret->has_##member, &ret->member);

static bool read_property(struct reader *reader, Muxd__V1__Properties *ret)
{
	switch (read_tag(reader)) {
		BYTES(1, content_type)
		BYTES(2, content_encoding)
		UINT32(4, delivery_mode)
		UINT32(5, priority)
		BYTES(6, correlation_id)
		BYTES(7, reply_to)
		BYTES(8, expiration)
		BYTES(9, message_id)
	case TAG(10, WIRE_VARINT):
		ret->has_timestamp = true;
		return read_varint(reader, UINT64_MAX, &ret->timestamp);
		BYTES(11, type)
		BYTES(12, user_id)
		BYTES(13, app_id)
		BYTES(14, cluster_id)
	default:
		return false;
	}
}

static bool read_properties(struct span bytes, Muxd__V1__Properties *ret)
{
	struct reader reader = reader_make(bytes);

	*ret = (Muxd__V1__Properties)MUXD__V1__PROPERTIES__INIT;
	while (reader.at < reader.end) {
		if (!read_property(&reader, ret))
			return false;
	}
	return true;
}

static bool read_mandatory(struct reader *reader, Muxd__V1__Publish *ret)
{
	uint64_t value;

	if (!read_varint(reader, 1, &value))
		return false;
	ret->has_mandatory = true;
	ret->mandatory = (protobuf_c_boolean)value;
	return true;
}

static bool read_field(struct reader *reader, Muxd__V1__Publish *ret, Muxd__V1__Properties *properties)
{
	struct span bytes;

	switch (read_tag(reader)) {
		BYTES(1, exchange)
		BYTES(2, routing_key)
	case TAG(3, WIRE_VARINT):
		return read_mandatory(reader, ret);
	case TAG(4, WIRE_BYTES):
		ret->properties = properties;
		return read_span(reader, &bytes) && read_properties(bytes, properties);
	default:
		return false;
	}
}

static bool read_publish(struct span bytes, struct unpacked_publish *ret)
{
	struct reader reader = reader_make(bytes);

	ret->publish = (Muxd__V1__Publish)MUXD__V1__PUBLISH__INIT;
	while (reader.at < reader.end) {
		if (!read_field(&reader, &ret->publish, &ret->properties))
			return false;
	}
	ret->frame.op_case = MUXD__V1__CLIENT_FRAME__OP_PUBLISH;
	ret->frame.publish = &ret->publish;
	return true;
}

static bool read_frame_field(struct reader *reader, struct unpacked_publish *unpacked)
{
	Muxd__V1__ClientFrame *ret = &unpacked->frame;
	struct span bytes;

	switch (read_tag(reader)) {
		UINT32(1, request)
		UINT32(2, channel)
		UINT32(3, deadline_ms)
	case TAG(4, WIRE_BYTES):
		return read_span(reader, &bytes) && read_publish(bytes, unpacked);
	default:
		return false;
	}
}

bool unpack_publish(struct span header, struct unpacked_publish *ret)
{
	struct reader reader = reader_make(header);

	ret->frame = (Muxd__V1__ClientFrame)MUXD__V1__CLIENT_FRAME__INIT;
	while (reader.at < reader.end) {
		if (!read_frame_field(&reader, ret))
			return false;
	}
	return ret->frame.op_case == MUXD__V1__CLIENT_FRAME__OP_PUBLISH;
}
