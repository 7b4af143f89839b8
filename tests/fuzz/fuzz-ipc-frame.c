/*
 * The IPC frame parser: what it cuts out of a stream is, put together again,
 * the stream; and a frame is incomplete until its last byte is there.
 *
 * The first byte of the input chooses the limit of the payload.
 */
#include "proto/frame.h"
#include "tests/fuzz/fuzz.h"

/* Parses a copy in a block of its own, so that a read behind it is found. */
static enum ipc_frame_result parse_copy(struct span input, size_t payload_max, size_t *ret_needed)
{
	uint8_t *copy = malloc(input.len ? input.len : 1);
	enum ipc_frame_result result;
	struct ipc_frame frame;

	require(copy != NULL);
	if (input.len)
		memcpy(copy, input.data, input.len);
	result = ipc_frame_parse(span_make(copy, input.len), payload_max, &frame, ret_needed);
	free(copy);
	return result;
}

/* A frame that is whole must not have been so with a byte less, and must be small enough. */
static void check_frame(struct span input, size_t payload_max, const struct ipc_frame *frame, size_t needed)
{
	size_t needed_of_part = 0;

	require(needed <= input.len);
	require(needed == IPC_FRAME_PREFIX + frame->header.len + frame->payload.len);
	require(frame->header.len > 0 && frame->header.len <= IPC_HEADER_MAX);
	require(frame->payload.len <= payload_max && frame->payload.len <= IPC_PAYLOAD_MAX);
	require(parse_copy(span_first(input, needed - 1), payload_max, &needed_of_part) ==
		IPC_FRAME_INCOMPLETE);
	require(needed_of_part == needed);
	require(parse_copy(span_first(input, needed), payload_max, &needed_of_part) == IPC_FRAME_OK);
}

/* At the end of the frames: the reason must hold for every length of what is left. */
static void check_rest(struct span rest, size_t payload_max)
{
	size_t needed = 0;
	enum ipc_frame_result result = parse_copy(rest, payload_max, &needed);

	if (result == IPC_FRAME_INCOMPLETE) {
		require(needed > rest.len);
		return;
	}
	require(result == IPC_FRAME_HEADER_SIZE || result == IPC_FRAME_PAYLOAD_SIZE);
	for (size_t cut = 0; cut < IPC_FRAME_PREFIX && cut < rest.len; cut++) {
		enum ipc_frame_result early = parse_copy(span_first(rest, cut), payload_max, &needed);

		require(early == IPC_FRAME_INCOMPLETE || early == result);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t payload_maxes[] = {0, 100, 16u * 1024u * 1024u, SIZE_MAX};
	struct buf again = BUF_INIT;
	struct span stream, left;
	struct ipc_frame frame;
	size_t payload_max, needed;

	if (size == 0)
		return 0;
	payload_max = payload_maxes[data[0] % 4];
	stream = left = span_make(data + 1, size - 1);
	while (ipc_frame_parse(left, payload_max, &frame, &needed) == IPC_FRAME_OK) {
		check_frame(left, payload_max, &frame, needed);
		ipc_frame_prefix(&again, frame.header.len, frame.payload.len);
		buf_append_span(&again, frame.header);
		buf_append_span(&again, frame.payload);
		left = span_skip(left, needed);
	}
	check_rest(left, payload_max);
	require(buf_failed(&again) ||
		span_equal(buf_span(&again), span_first(stream, stream.len - left.len)));
	buf_deinit(&again);
	return 0;
}
