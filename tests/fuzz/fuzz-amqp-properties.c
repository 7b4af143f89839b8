/*
 * The payload of a content header: decoded and encoded it is the same bytes,
 * with and without a frame around it.
 */
#include "daemon/amqp/content.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span input = span_make(data, size);
	struct buf payload = BUF_INIT, whole = BUF_INIT;
	struct amqc_content_header header;
	struct amqc_frame frame;
	size_t frame_size;

	if (amqc_content_header_decode(input, &header) != AMQC_OK)
		return 0;
	require(amqc_content_header_payload_append(&payload, &header) == AMQC_OK);
	require(span_equal(buf_span(&payload), input));
	require(amqc_content_header_append(&whole, 5, &header) == AMQC_OK);
	require(amqc_frame_peek(buf_span(&whole), UINT32_MAX, &frame, &frame_size) == AMQC_OK);
	require(frame_size == buf_len(&whole));
	require(frame.type == AMQC_FRAME_HEADER && frame.channel == 5);
	require(span_equal(frame.payload, input));
	amqc_body_append(&whole, 5, input, AMQC_FRAME_SIZE_MIN);
	buf_deinit(&payload);
	buf_deinit(&whole);
	return 0;
}
