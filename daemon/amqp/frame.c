#include "daemon/amqp/frame.h"

#include "daemon/amqp/reply.h"

#define FRAME_HEADER_LEN 7u /* bytes: type, channel, size */

/* One row per enum amqc_result, in its order. */
static const struct {
	const char *text;
	uint16_t code;
} results[] = {
    [AMQC_OK] = {"no error", AMQC_REPLY_SUCCESS},
    [AMQC_INCOMPLETE] = {"the input ends within a frame", AMQC_FRAME_ERROR},
    [AMQC_FRAME_TYPE] = {"unknown frame type", AMQC_FRAME_ERROR},
    [AMQC_FRAME_SIZE] = {"frame is larger than the negotiated maximum", AMQC_FRAME_ERROR},
    [AMQC_FRAME_BAD_END] = {"frame does not end in the octet 0xCE", AMQC_FRAME_ERROR},
    [AMQC_TRUNCATED] = {"an argument reaches behind the end of its frame", AMQC_SYNTAX_ERROR},
    [AMQC_TRAILING] = {"bytes behind the last argument", AMQC_SYNTAX_ERROR},
    [AMQC_UNKNOWN_METHOD] = {"unknown class or method", AMQC_NOT_IMPLEMENTED},
    [AMQC_BAD_FIELD_TYPE] = {"unknown type of a field in a table", AMQC_SYNTAX_ERROR},
    [AMQC_TOO_DEEP] = {"tables are nested too deeply", AMQC_SYNTAX_ERROR},
    [AMQC_BAD_PROPERTIES] = {"properties that class basic does not have", AMQC_SYNTAX_ERROR},
    [AMQC_TOO_LONG] = {"a value does not fit its field", AMQC_SYNTAX_ERROR},
};

#define RESULT_COUNT (sizeof(results) / sizeof(results[0]))

const char *amqc_strerror(enum amqc_result result)
{
	return (size_t)result < RESULT_COUNT ? results[result].text : "unknown error";
}

uint16_t amqc_reply_code(enum amqc_result result)
{
	return (size_t)result < RESULT_COUNT ? results[result].code : AMQC_INTERNAL_ERROR;
}

static bool frame_type_is_known(uint8_t type)
{
	return (type >= AMQC_FRAME_METHOD && type <= AMQC_FRAME_BODY) || type == AMQC_FRAME_HEARTBEAT;
}

enum amqc_result amqc_frame_peek(struct span input, uint32_t frame_max, struct amqc_frame *ret,
				 size_t *ret_size)
{
	uint32_t payload_len;
	size_t size;

	if (input.len < FRAME_HEADER_LEN) {
		*ret_size = FRAME_HEADER_LEN;
		return AMQC_INCOMPLETE;
	}
	if (!frame_type_is_known(input.data[0]))
		return AMQC_FRAME_TYPE;
	payload_len = load_be32(input.data + 3);
	if (frame_max < AMQC_FRAME_OVERHEAD || payload_len > frame_max - AMQC_FRAME_OVERHEAD)
		return AMQC_FRAME_SIZE;
	/* Cannot overflow where size_t has 32 bits: it is at most frame_max. */
	size = (size_t)payload_len + AMQC_FRAME_OVERHEAD;
	if (input.len < size) {
		*ret_size = size;
		return AMQC_INCOMPLETE;
	}
	if (input.data[size - 1] != AMQC_FRAME_END)
		return AMQC_FRAME_BAD_END;
	ret->type = input.data[0];
	ret->channel = load_be16(input.data + 1);
	ret->payload = span_make(input.data + FRAME_HEADER_LEN, payload_len);
	*ret_size = size;
	return AMQC_OK;
}

size_t amqc_frame_begin(struct buf *out, uint8_t type, uint16_t channel)
{
	size_t mark = buf_len(out) + 3;
	uint8_t head[FRAME_HEADER_LEN] = {type};

	store_be16(head + 1, channel);
	buf_append(out, head, sizeof(head));
	return mark;
}

void amqc_frame_end(struct buf *out, size_t mark)
{
	if (buf_failed(out))
		return;
	buf_patch_be32(out, mark, (uint32_t)(buf_len(out) - mark - 4));
	buf_append_u8(out, AMQC_FRAME_END);
}

void amqc_heartbeat_append(struct buf *out)
{
	amqc_frame_end(out, amqc_frame_begin(out, AMQC_FRAME_HEARTBEAT, 0));
}
