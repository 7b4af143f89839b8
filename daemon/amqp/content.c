#include "daemon/amqp/content.h"

#include <assert.h>

#include "daemon/amqp/wire.h"

#define FIXED_LEN 14u	  /* bytes: class, weight, body size, flags */
#define FLAGS_RESERVED 3u /* 1: more flags follow; 2: a property that class basic does not have */
#define PROPERTY_COUNT 14u

#define PROPERTY(type, member)                                             \
	{                                                                  \
		AMQC_WIRE_##type, offsetof(struct amqc_properties, member) \
	}

/* In the order of the flags, highest first, which is the order on the wire. */
static const struct amqc_wire_field properties[PROPERTY_COUNT] = {
    PROPERTY(SHORTSTR, content_type), PROPERTY(SHORTSTR, content_encoding),
    PROPERTY(TABLE, headers),	      PROPERTY(OCTET, delivery_mode),
    PROPERTY(OCTET, priority),	      PROPERTY(SHORTSTR, correlation_id),
    PROPERTY(SHORTSTR, reply_to),     PROPERTY(SHORTSTR, expiration),
    PROPERTY(SHORTSTR, message_id),   PROPERTY(LONGLONG, timestamp),
    PROPERTY(SHORTSTR, type),	      PROPERTY(SHORTSTR, user_id),
    PROPERTY(SHORTSTR, app_id),	      PROPERTY(SHORTSTR, cluster_id),
};

/* Takes the property of the highest flag off *flags, which is not zero. */
static const struct amqc_wire_field *property_next(uint32_t *flags)
{
	unsigned int index = (unsigned int)__builtin_clz(*flags << 16);

	*flags &= ~(0x8000u >> index);
	return &properties[index];
}

enum amqc_result amqc_content_header_decode(struct span payload, struct amqc_content_header *ret)
{
	const struct amqc_wire_field *property;
	enum amqc_result result;
	struct span fixed;
	uint32_t flags;

	if (!span_take(&payload, FIXED_LEN, &fixed))
		return AMQC_TRUNCATED;
	ret->class_id = load_be16(fixed.data);
	ret->body_size = load_be64(fixed.data + 4);
	flags = load_be16(fixed.data + 12);
	ret->properties.present = (uint16_t)flags;
	/* The weight has no meaning left, and RabbitMQ takes none but zero. */
	if (load_be16(fixed.data + 2) != 0 || (flags & FLAGS_RESERVED))
		return AMQC_BAD_PROPERTIES;
	while (flags) {
		property = property_next(&flags);
		result =
		    amqc_wire_take(&payload, property->type, (uint8_t *)&ret->properties + property->offset);
		if (result != AMQC_OK)
			return result;
	}
	return payload.len == 0 ? AMQC_OK : AMQC_TRAILING;
}

static const void *property_value(const struct amqc_wire_field *property, const struct amqc_properties *from)
{
	return (const uint8_t *)from + property->offset;
}

static bool payload_size(const struct amqc_properties *from, uint64_t *ret_size)
{
	const struct amqc_wire_field *property;
	uint32_t flags = from->present;
	uint64_t size = FIXED_LEN;

	if (flags & FLAGS_RESERVED)
		return false;
	while (flags) {
		property = property_next(&flags);
		if (!amqc_wire_add_size(property->type, property_value(property, from), &size))
			return false;
	}
	*ret_size = size;
	return size <= AMQC_WIRE_PAYLOAD_MAX;
}

static void payload_put(uint8_t *to, const struct amqc_content_header *header)
{
	const struct amqc_wire_field *property;
	uint32_t flags = header->properties.present;

	store_be16(to, header->class_id);
	store_be16(to + 2, 0);
	store_be64(to + 4, header->body_size);
	store_be16(to + 12, header->properties.present);
	to += FIXED_LEN;
	while (flags) {
		property = property_next(&flags);
		to = amqc_wire_put(to, property->type, property_value(property, &header->properties));
	}
}

enum amqc_result amqc_content_header_append(struct buf *out, uint16_t channel,
					    const struct amqc_content_header *header)
{
	uint64_t size;
	uint8_t *to;

	if (!payload_size(&header->properties, &size))
		return AMQC_TOO_LONG;
	to = amqc_wire_frame(out, AMQC_FRAME_HEADER, channel, (uint32_t)size);
	if (!to)
		return AMQC_OK;
	payload_put(to, header);
	buf_commit(out, (size_t)size + AMQC_FRAME_OVERHEAD);
	return AMQC_OK;
}

enum amqc_result amqc_content_header_payload_append(struct buf *out, const struct amqc_content_header *header)
{
	uint64_t size;
	uint8_t *to;

	if (!payload_size(&header->properties, &size))
		return AMQC_TOO_LONG;
	to = buf_reserve(out, (size_t)size);
	if (!to)
		return AMQC_OK;
	payload_put(to, header);
	buf_commit(out, (size_t)size);
	return AMQC_OK;
}

void amqc_body_append(struct buf *out, uint16_t channel, struct span body, uint32_t frame_max)
{
	size_t payload_max, count;
	uint8_t *to;

	assert(frame_max > AMQC_FRAME_OVERHEAD);
	if (body.len == 0)
		return;
	payload_max = frame_max - AMQC_FRAME_OVERHEAD;
	count = (body.len - 1) / payload_max + 1;
	/* What cannot be counted cannot be had either: let it fail as want of memory. */
	to = buf_reserve(out, count > (SIZE_MAX - body.len) / AMQC_FRAME_OVERHEAD
				  ? SIZE_MAX
				  : body.len + count * AMQC_FRAME_OVERHEAD);
	if (!to)
		return;
	while (body.len > 0) {
		struct span payload = span_first(body, payload_max);

		to = amqc_wire_frame(out, AMQC_FRAME_BODY, channel, (uint32_t)payload.len);
		if (!to)
			return;
		memcpy(to, payload.data, payload.len);
		buf_commit(out, payload.len + AMQC_FRAME_OVERHEAD);
		body = span_skip(body, payload.len);
	}
}
