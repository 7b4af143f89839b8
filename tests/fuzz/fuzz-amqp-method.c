/*
 * The payload of a method frame: decoded, encoded and decoded again it is the
 * same method, never longer than it was, and its name and sender are known.
 */
#include "daemon/amqp/method.h"
#include "tests/fuzz/fuzz.h"

/* Encodes into out, and gives the payload of the frame that is then there. */
static struct span encode(struct buf *out, const struct amqc_method *method)
{
	struct amqc_frame frame;
	size_t size;

	require(amqc_method_append(out, 7, method) == AMQC_OK);
	require(amqc_frame_peek(buf_span(out), UINT32_MAX, &frame, &size) == AMQC_OK);
	require(size == buf_len(out) && frame.type == AMQC_FRAME_METHOD && frame.channel == 7);
	return frame.payload;
}

static void check_known(uint32_t id)
{
	unsigned int sender = amqc_method_sender(id);

	require(amqc_method_name(id) != NULL);
	require(sender == AMQC_BY_CLIENT || sender == AMQC_BY_SERVER || sender == AMQC_BY_BOTH);
	if (amqc_method_has_content(id))
		require(AMQC_CLASS_ID(id) == 60);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf first = BUF_INIT, second = BUF_INIT;
	struct amqc_method method, again;
	struct span input = span_make(data, size), payload;
	enum amqc_result result = amqc_method_decode(input, &method);

	if (result == AMQC_UNKNOWN_METHOD) {
		require(amqc_method_name(load_be32(data)) == NULL);
		require(amqc_method_sender(load_be32(data)) == 0);
		method.id = (enum amqc_method_id)load_be32(data);
		require(amqc_method_append(&first, 7, &method) == AMQC_UNKNOWN_METHOD);
	}
	if (result != AMQC_OK)
		return 0;
	check_known(method.id);
	payload = encode(&first, &method);
	/* shorter by what reserved fields held */
	require(payload.len <= input.len);
	require(amqc_method_decode(payload, &again) == AMQC_OK);
	require(again.id == method.id);
	require(span_equal(payload, encode(&second, &again)));
	buf_deinit(&first);
	buf_deinit(&second);
	return 0;
}
