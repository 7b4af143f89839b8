/*
 * Frames: what is cut out of a stream gives the stream when it is put together
 * again; a frame is incomplete until its last byte is there, and no verdict
 * changes as more bytes come. A body taken apart into frames comes back whole.
 *
 * The first byte of the input chooses frame_max.
 */
#include "daemon/amqp/frame.h"
#include "daemon/amqp/content.h"
#include "daemon/amqp/reply.h"
#include "tests/fuzz/fuzz.h"

/* Peeks at a copy in a block of its own, so that a read behind it is found. */
static enum amqc_result peek_copy(struct span input, uint32_t frame_max, size_t *ret_size)
{
	uint8_t *copy = malloc(input.len ? input.len : 1);
	enum amqc_result result;
	struct amqc_frame frame;

	require(copy != NULL);
	if (input.len > 0)
		memcpy(copy, input.data, input.len);
	result = amqc_frame_peek(span_make(copy, input.len), frame_max, &frame, ret_size);
	free(copy);
	return result;
}

static void check_frame(struct span input, uint32_t frame_max, const struct amqc_frame *frame, size_t size)
{
	size_t size_of_part = 0;

	require(size <= input.len && size <= frame_max);
	require(size == frame->payload.len + AMQC_FRAME_OVERHEAD);
	require(peek_copy(span_first(input, size), frame_max, &size_of_part) == AMQC_OK);
	require(peek_copy(span_first(input, size - 1), frame_max, &size_of_part) == AMQC_INCOMPLETE);
	require(size_of_part == size);
}

/* Behind the last good frame: what is wrong there stays wrong, and was not known before its header was. */
static void check_rest(struct span rest, uint32_t frame_max)
{
	size_t size = 0;
	enum amqc_result result = peek_copy(rest, frame_max, &size);
	uint16_t code = amqc_reply_code(result);

	require(result != AMQC_OK && amqc_strerror(result) != NULL);
	require(amqc_reply_is_hard(code) && amqc_reply_name(code) != NULL);
	if (result == AMQC_INCOMPLETE)
		require(size > rest.len && size <= (frame_max > 7 ? frame_max : 7));
	for (size_t cut = 0; cut < rest.len && cut < 16; cut++) {
		enum amqc_result early = peek_copy(span_first(rest, cut), frame_max, &size);

		require(early == AMQC_INCOMPLETE || early == result);
		require(cut >= 7 || early == AMQC_INCOMPLETE);
	}
}

static void check_body(struct span body, uint32_t frame_max)
{
	struct buf frames = BUF_INIT, joined = BUF_INIT;
	struct amqc_frame frame;
	size_t size;

	amqc_body_append(&frames, 3, body, frame_max);
	while (amqc_frame_peek(buf_span(&frames), frame_max, &frame, &size) == AMQC_OK) {
		require(frame.type == AMQC_FRAME_BODY && frame.channel == 3);
		require(size == frame_max || size == buf_len(&frames));
		buf_append_span(&joined, frame.payload);
		buf_consume(&frames, size);
	}
	require(buf_len(&frames) == 0 && span_equal(buf_span(&joined), body));
	buf_deinit(&frames);
	buf_deinit(&joined);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t frame_maxes[] = {8, 9, 30, AMQC_FRAME_SIZE_MIN, 131072, UINT32_MAX};
	struct buf again = BUF_INIT;
	struct span stream, left;
	struct amqc_frame frame;
	uint32_t frame_max;
	size_t frame_size, mark;

	if (size == 0)
		return 0;
	frame_max = frame_maxes[data[0] % (sizeof(frame_maxes) / sizeof(frame_maxes[0]))];
	stream = left = span_make(data + 1, size - 1);
	while (amqc_frame_peek(left, frame_max, &frame, &frame_size) == AMQC_OK) {
		check_frame(left, frame_max, &frame, frame_size);
		if (frame.type == AMQC_FRAME_HEARTBEAT && frame.channel == 0 && frame.payload.len == 0) {
			amqc_heartbeat_append(&again);
		} else {
			mark = amqc_frame_begin(&again, frame.type, frame.channel);
			buf_append_span(&again, frame.payload);
			amqc_frame_end(&again, mark);
		}
		left = span_skip(left, frame_size);
	}
	check_rest(left, frame_max);
	require(span_equal(buf_span(&again), span_first(stream, stream.len - left.len)));
	if (frame_max > AMQC_FRAME_OVERHEAD)
		check_body(stream, frame_max);
	buf_deinit(&again);
	return 0;
}
