/*
 * The data types that arguments of methods and properties are made of, for
 * method.c and content.c only.
 *
 * A field description says which type a field has and where in a struct its
 * value lives. Reading and writing walk an array of descriptions and call the
 * functions here, which are inline because they are most of the work of the
 * hot path. Bits are the walker's own business, as they share octets.
 *
 * Writing has two steps, so that memory is reserved once and nothing has to be
 * taken back: add up the sizes, then store.
 */
#pragma once

#include "daemon/amqp/table.h"

enum amqc_wire_type {
	AMQC_WIRE_END, /* behind the last field */
	AMQC_WIRE_BIT,
	AMQC_WIRE_OCTET,
	AMQC_WIRE_SHORT,
	AMQC_WIRE_LONG,
	AMQC_WIRE_LONGLONG,
	AMQC_WIRE_SHORTSTR,
	AMQC_WIRE_LONGSTR,
	AMQC_WIRE_TABLE
};

#define AMQC_WIRE_SHORTSTR_MAX 255u /* bytes */

struct amqc_wire_field {
	uint8_t type;	 /* enum amqc_wire_type */
	uint16_t offset; /* of the value, in bytes; not used for a reserved field */
};

/* A span with a length of one or four octets in front. */
static inline bool amqc_wire_take_shortstr(struct span *rest, struct span *ret)
{
	if (rest->len < 1 || rest->data[0] > rest->len - 1)
		return false;
	*ret = (struct span){rest->data + 1, rest->data[0]};
	rest->data += 1 + ret->len;
	rest->len -= 1 + ret->len;
	return true;
}

static inline bool amqc_wire_take_longstr(struct span *rest, struct span *ret)
{
	size_t len;

	if (rest->len < 4)
		return false;
	len = load_be32(rest->data);
	if (len > rest->len - 4)
		return false;
	*ret = (struct span){rest->data + 4, len};
	rest->data += 4 + len;
	rest->len -= 4 + len;
	return true;
}

/*
 * Takes one value of any type but BIT off *rest and stores it at value, as the
 * C type of that wire type. OK, TRUNCATED, or what amqc_table_check() found.
 */
static inline enum amqc_result amqc_wire_take(struct span *rest, unsigned int type, void *value)
{
	bool ok;

	switch (type) {
	case AMQC_WIRE_OCTET:
		ok = span_take_u8(rest, value);
		break;
	case AMQC_WIRE_SHORT:
		ok = span_take_be16(rest, value);
		break;
	case AMQC_WIRE_LONG:
		ok = span_take_be32(rest, value);
		break;
	case AMQC_WIRE_LONGLONG:
		ok = span_take_be64(rest, value);
		break;
	case AMQC_WIRE_SHORTSTR:
		ok = amqc_wire_take_shortstr(rest, value);
		break;
	default:
		ok = amqc_wire_take_longstr(rest, value);
		if (ok && type == AMQC_WIRE_TABLE)
			return amqc_table_check(*(const struct span *)value);
		break;
	}
	return ok ? AMQC_OK : AMQC_TRUNCATED;
}

/* Adds what the value will take to *size, in 64 bits so that no sum overflows. False if it is too long. */
static inline bool amqc_wire_add_size(unsigned int type, const void *value, uint64_t *size)
{
	uint64_t len;

	switch (type) {
	case AMQC_WIRE_OCTET:
		*size += 1;
		return true;
	case AMQC_WIRE_SHORT:
		*size += 2;
		return true;
	case AMQC_WIRE_LONG:
		*size += 4;
		return true;
	case AMQC_WIRE_LONGLONG:
		*size += 8;
		return true;
	case AMQC_WIRE_SHORTSTR:
		len = ((const struct span *)value)->len;
		*size += 1 + len;
		return len <= AMQC_WIRE_SHORTSTR_MAX;
	default:
		len = ((const struct span *)value)->len;
		*size += 4 + len;
		return len <= UINT32_MAX;
	}
}

/* Stores the bytes of a span, which may be empty and NULL; returns where the next value goes. */
static inline uint8_t *amqc_wire_put_bytes(uint8_t *to, struct span bytes)
{
	if (bytes.len > 0)
		memcpy(to, bytes.data, bytes.len);
	return to + bytes.len;
}

/* Stores a value whose size was added before; returns where the next one goes. */
static inline uint8_t *amqc_wire_put(uint8_t *to, unsigned int type, const void *value)
{
	const struct span *bytes;

	switch (type) {
	case AMQC_WIRE_OCTET:
		*to = *(const uint8_t *)value;
		return to + 1;
	case AMQC_WIRE_SHORT:
		store_be16(to, *(const uint16_t *)value);
		return to + 2;
	case AMQC_WIRE_LONG:
		store_be32(to, *(const uint32_t *)value);
		return to + 4;
	case AMQC_WIRE_LONGLONG:
		store_be64(to, *(const uint64_t *)value);
		return to + 8;
	case AMQC_WIRE_SHORTSTR:
		bytes = value;
		*to = (uint8_t)bytes->len;
		return amqc_wire_put_bytes(to + 1, *bytes);
	default:
		bytes = value;
		store_be32(to, (uint32_t)bytes->len);
		return amqc_wire_put_bytes(to + 4, *bytes);
	}
}

/*
 * Reserves a whole frame and stores all of it but the payload. Returns where
 * the payload_len bytes of payload go, or NULL without memory. The caller
 * commits payload_len + AMQC_FRAME_OVERHEAD.
 */
static inline uint8_t *amqc_wire_frame(struct buf *out, uint8_t type, uint16_t channel, uint32_t payload_len)
{
	uint8_t *frame = buf_reserve(out, (size_t)payload_len + AMQC_FRAME_OVERHEAD);

	if (!frame)
		return NULL;
	frame[0] = type;
	store_be16(frame + 1, channel);
	store_be32(frame + 3, payload_len);
	frame[7 + (size_t)payload_len] = AMQC_FRAME_END;
	return frame + 7;
}

/* The longest payload that can be counted in a frame, and with its frame in a size_t of 32 bits. */
#define AMQC_WIRE_PAYLOAD_MAX (UINT32_MAX - AMQC_FRAME_OVERHEAD)
