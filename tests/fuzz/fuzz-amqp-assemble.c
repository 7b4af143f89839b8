/*
 * A message put together from its frames: whatever comes in whatever order, a
 * message is whole only when its method, its header and exactly the body that
 * the header announces have come, one after the other; and then it is just these.
 *
 * The input is a row of steps: which frame, and what is in it.
 */
#include "daemon/mux/assemble.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

/* What came of the message that is under way, gathered as simply as can be. */
struct model {
	enum assemble_state state;
	struct buf method, header, body;
	uint64_t body_size;
	bool skips;
};

static void model_init(struct model *model)
{
	*model = (struct model){ASSEMBLE_IDLE, BUF_INIT, BUF_INIT, BUF_INIT, 0, false};
}

static void model_reset(struct model *model)
{
	buf_deinit(&model->method);
	buf_deinit(&model->header);
	buf_deinit(&model->body);
	model_init(model);
}

/* The payload of a method that announces content: one of ours, or the input's if it is one. */
static bool take_method(struct input *input, struct buf *ret)
{
	static const enum amqc_method_id ids[] = {AMQC_BASIC_DELIVER, AMQC_BASIC_GET_OK, AMQC_BASIC_RETURN};
	struct amqc_method method = {.id = AMQC_BASIC_DELIVER};
	unsigned int choice = input_below(input, 4);
	struct span bytes = input_bytes(input);

	if (choice < 3) {
		method.id = ids[choice];
		if (method.id == AMQC_BASIC_DELIVER)
			method.basic_deliver.consumer_tag = bytes;
		else if (method.id == AMQC_BASIC_RETURN)
			method.basic_return.reply_text = bytes;
		else
			method.basic_get_ok.routing_key = bytes;
		require(amqc_method_append(ret, 1, &method) == AMQC_OK);
		buf_consume(ret, 7);
		buf_truncate(ret, buf_len(ret) - 1);
		return true;
	}
	buf_append_span(ret, bytes);
	return amqc_method_decode(bytes, &method) == AMQC_OK && amqc_method_has_content(method.id);
}

/* Of our making with a small size, or just bytes. */
static void take_header(struct input *input, struct buf *ret)
{
	struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC};
	unsigned int choice = input_below(input, 4);

	if (choice < 3) {
		header.body_size = choice == 2 ? UINT64_MAX - input_byte(input) : input_byte(input) * 3u;
		header.properties.present = AMQC_PROP_TYPE;
		header.properties.type = input_bytes(input);
		require(amqc_content_header_payload_append(ret, &header) == AMQC_OK);
	} else {
		buf_append_span(ret, input_bytes(input));
	}
}

static void check_whole(const struct assemble *assemble, const struct model *model)
{
	struct buf out = BUF_INIT, method = BUF_INIT;
	struct amqc_method sent;

	require(amqc_method_decode(buf_span(&model->method), &sent) == AMQC_OK);
	require(amqc_method_append(&method, 1, &sent) == AMQC_OK);
	require(amqc_method_append(&out, 1, &assemble->method) == AMQC_OK);
	require(span_equal(buf_span(&out), buf_span(&method)));
	buf_truncate(&out, 0);
	require(amqc_content_header_payload_append(&out, &assemble->header) == AMQC_OK);
	require(span_equal(buf_span(&out), buf_span(&model->header)));
	require(span_equal(assemble->body, model->skips ? SPAN_NULL : buf_span(&model->body)));
	require(buf_len(&model->body) == model->body_size);
	buf_deinit(&out);
	buf_deinit(&method);
}

static enum assemble_result step_method(struct input *input, struct assemble *assemble, struct model *model)
{
	struct buf payload = BUF_INIT;
	enum assemble_result result = ASSEMBLE_MORE;

	if (take_method(input, &payload)) {
		result = assemble_method(assemble, buf_span(&payload));
		require(result == (model->state == ASSEMBLE_IDLE ? ASSEMBLE_MORE : ASSEMBLE_FAULT));
		buf_append_span(&model->method, buf_span(&payload));
		model->state = ASSEMBLE_WAIT_HEADER;
	}
	buf_deinit(&payload);
	return result;
}

static enum assemble_result step_header(struct input *input, struct assemble *assemble, struct model *model)
{
	struct buf payload = BUF_INIT;
	struct amqc_content_header header;
	enum assemble_result result, expected = ASSEMBLE_FAULT;

	take_header(input, &payload);
	if (model->state == ASSEMBLE_WAIT_HEADER &&
	    amqc_content_header_decode(buf_span(&payload), &header) == AMQC_OK &&
	    header.class_id == AMQC_CLASS_BASIC) {
		expected = header.body_size == 0 ? ASSEMBLE_WHOLE : ASSEMBLE_MORE;
		model->body_size = header.body_size;
	}
	buf_append_span(&model->header, buf_span(&payload));
	result = assemble_header(assemble, buf_span(&payload));
	require(result == expected);
	if (result == ASSEMBLE_WHOLE)
		check_whole(assemble, model);
	model->state = ASSEMBLE_WAIT_BODY;
	buf_deinit(&payload);
	if (result == ASSEMBLE_MORE && input_below(input, 3) == 0) {
		assemble_skip_body(assemble);
		model->skips = true;
	}
	return result;
}

static enum assemble_result step_body(struct input *input, struct assemble *assemble, struct model *model)
{
	struct span piece = input_bytes(input);
	enum assemble_result result, expected;
	size_t len;
	uint8_t *copy = malloc(piece.len ? piece.len : 1);

	require(copy != NULL);
	if (piece.len > 0)
		memcpy(copy, piece.data, piece.len);
	buf_append_span(&model->body, piece);
	len = buf_len(&model->body);
	if (model->state != ASSEMBLE_WAIT_BODY || len > model->body_size)
		expected = ASSEMBLE_FAULT;
	else
		expected = len == model->body_size ? ASSEMBLE_WHOLE : ASSEMBLE_MORE;
	result = assemble_body(assemble, span_make(copy, piece.len));
	require(result == expected);
	if (result == ASSEMBLE_WHOLE)
		check_whole(assemble, model);
	free(copy);
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {span_make(data, size)};
	struct assemble assemble;
	struct model model;
	enum assemble_result result = ASSEMBLE_MORE;

	assemble_init(&assemble);
	model_init(&model);
	while (input.rest.len > 0 && result != ASSEMBLE_FAULT) {
		unsigned int kind = input_below(&input, 3);

		if (kind == 0)
			result = step_method(&input, &assemble, &model);
		else if (kind == 1)
			result = step_header(&input, &assemble, &model);
		else
			result = step_body(&input, &assemble, &model);
		require(result != ASSEMBLE_NO_MEMORY);
		if (result == ASSEMBLE_WHOLE) {
			assemble_done(&assemble);
			model_reset(&model);
			require(assemble.state == ASSEMBLE_IDLE && buf_len(&assemble.kept) == 0);
		}
	}
	assemble_deinit(&assemble);
	model_reset(&model);
	return 0;
}
