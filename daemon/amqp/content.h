/*
 * Content: the header frame with the properties of class basic, and the body
 * in frames of at most frame_max (AMQP 0-9-1, sections 4.2.6.1 and 4.2.6.2).
 */
#pragma once

#include "daemon/amqp/method.h"

#define AMQC_CLASS_BASIC 60u

/* Bits of struct amqc_properties.present, the flags on the wire. */
#define AMQC_PROP_CONTENT_TYPE (1u << 15)
#define AMQC_PROP_CONTENT_ENCODING (1u << 14)
#define AMQC_PROP_HEADERS (1u << 13)
#define AMQC_PROP_DELIVERY_MODE (1u << 12)
#define AMQC_PROP_PRIORITY (1u << 11)
#define AMQC_PROP_CORRELATION_ID (1u << 10)
#define AMQC_PROP_REPLY_TO (1u << 9)
#define AMQC_PROP_EXPIRATION (1u << 8)
#define AMQC_PROP_MESSAGE_ID (1u << 7)
#define AMQC_PROP_TIMESTAMP (1u << 6)
#define AMQC_PROP_TYPE (1u << 5)
#define AMQC_PROP_USER_ID (1u << 4)
#define AMQC_PROP_APP_ID (1u << 3)
#define AMQC_PROP_CLUSTER_ID (1u << 2)

struct amqc_properties {
	uint16_t present; /* AMQC_PROP_...; a member whose bit is not set has no meaning */
	struct span content_type;
	struct span content_encoding;
	struct span headers; /* a table, see table.h */
	uint8_t delivery_mode;
	uint8_t priority;
	struct span correlation_id;
	struct span reply_to;
	struct span expiration;
	struct span message_id;
	uint64_t timestamp; /* seconds since 1970 */
	struct span type;
	struct span user_id;
	struct span app_id;
	struct span cluster_id;
};

struct amqc_content_header {
	uint16_t class_id;
	uint64_t body_size; /* bytes */
	struct amqc_properties properties;
};

/*
 * Decodes the payload of a header frame; spans are views of it. Properties are
 * read as those of class basic, whatever the class. On a fault other than a
 * payload of less than 14 bytes class_id and body_size are set all the same,
 * so that a header of another class can be told from one that is broken.
 */
enum amqc_result amqc_content_header_decode(struct span payload, struct amqc_content_header *ret);

/* Appends the whole header frame. AMQC_OK, or AMQC_TOO_LONG with nothing appended. */
enum amqc_result amqc_content_header_append(struct buf *out, uint16_t channel,
					    const struct amqc_content_header *header);

/* Appends the payload alone, without a frame around it: class, weight, size, flags, properties. */
enum amqc_result amqc_content_header_payload_append(struct buf *out,
						    const struct amqc_content_header *header);

/* Appends a body as frames of at most frame_max bytes each; nothing for an empty body. */
void amqc_body_append(struct buf *out, uint16_t channel, struct span body, uint32_t frame_max);
