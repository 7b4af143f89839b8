#include "daemon/amqp/content.h"
#include "daemon/amqp/reply.h"
#include "tests/unit/codec-gen.h"

#include <check.h>
#include <stdlib.h>

#define UNTOUCHED 12345u

/* Peeks at a copy of exactly len bytes, so that the sanitizer sees a read behind them. */
static enum amqc_result peek_copy(struct span input, size_t len, uint32_t frame_max, struct amqc_frame *ret,
				  size_t *ret_size)
{
	uint8_t *copy = malloc(len ? len : 1);
	enum amqc_result result;

	ck_assert_ptr_nonnull(copy);
	if (len > 0)
		memcpy(copy, input.data, len);
	*ret_size = UNTOUCHED;
	result = amqc_frame_peek(span_make(copy, len), frame_max, ret, ret_size);
	free(copy);
	return result;
}

static void frame_append(struct buf *out, uint8_t type, uint16_t channel, struct span payload)
{
	size_t mark = amqc_frame_begin(out, type, channel);

	buf_append_span(out, payload);
	amqc_frame_end(out, mark);
}

START_TEST(frame__has_the_bytes_of_the_specification)
{
	static const uint8_t expected[] = {0x03, 0x12, 0x34, 0, 0, 0, 2, 'h', 'i',
					   0xce, 0x08, 0,    0, 0, 0, 0, 0,   0xce};
	struct buf out = BUF_INIT;

	frame_append(&out, AMQC_FRAME_BODY, 0x1234, SPAN_LITERAL("hi"));
	amqc_heartbeat_append(&out);
	ck_assert_uint_eq(buf_len(&out), sizeof(expected));
	ck_assert_mem_eq(buf_span(&out).data, expected, sizeof(expected));
	buf_deinit(&out);
}
END_TEST

START_TEST(frame__protocol_header_is_eight_bytes)
{
	ck_assert_uint_eq(sizeof(AMQC_PROTOCOL_HEADER) - 1, AMQC_PROTOCOL_HEADER_LEN);
	ck_assert_mem_eq(AMQC_PROTOCOL_HEADER, "AMQP\0\0\x09\x01", AMQC_PROTOCOL_HEADER_LEN);
}
END_TEST

START_TEST(frame__peek_says_at_every_split_point_how_much_is_needed)
{
	struct buf out = BUF_INIT;
	struct amqc_frame frame;
	uint8_t payload[300];
	size_t total, size;

	memset(payload, 0xce, sizeof(payload));
	frame_append(&out, AMQC_FRAME_HEADER, 77, span_make(payload, sizeof(payload)));
	total = buf_len(&out);
	amqc_heartbeat_append(&out);
	for (size_t len = 0; len <= buf_len(&out); len++) {
		enum amqc_result result = peek_copy(buf_span(&out), len, 4096, &frame, &size);

		ck_assert_int_eq(result, len < total ? AMQC_INCOMPLETE : AMQC_OK);
		ck_assert_uint_eq(size, len < 7 ? 7 : total);
		if (result != AMQC_OK)
			continue;
		ck_assert_uint_eq(frame.type, AMQC_FRAME_HEADER);
		ck_assert_uint_eq(frame.channel, 77);
		ck_assert_uint_eq(frame.payload.len, sizeof(payload));
	}
	buf_deinit(&out);
}
END_TEST

START_TEST(frame__payload_is_a_view_of_the_input)
{
	struct buf out = BUF_INIT;
	struct amqc_frame frame;
	size_t size;

	frame_append(&out, AMQC_FRAME_METHOD, 1, SPAN_LITERAL("payload"));
	ck_assert_int_eq(amqc_frame_peek(buf_span(&out), 4096, &frame, &size), AMQC_OK);
	ck_assert(frame.payload.data == buf_span(&out).data + 7);
	ck_assert(span_equal_str(frame.payload, "payload"));
	buf_deinit(&out);
}
END_TEST

START_TEST(frame__unknown_type_is_found_as_soon_as_the_header_is_there)
{
	uint8_t head[7] = {0, 0, 1, 0, 0, 0, 9};
	struct amqc_frame frame;
	size_t size;

	for (unsigned int type = 0; type < 256; type++) {
		bool known = type == 1 || type == 2 || type == 3 || type == 8;

		head[0] = (uint8_t)type;
		ck_assert_int_eq(peek_copy(span_make(head, 7), 7, 4096, &frame, &size),
				 known ? AMQC_INCOMPLETE : AMQC_FRAME_TYPE);
		ck_assert_int_eq(peek_copy(span_make(head, 7), 6, 4096, &frame, &size), AMQC_INCOMPLETE);
	}
}
END_TEST

static enum amqc_result peek_head(uint32_t payload_len, uint32_t frame_max)
{
	uint8_t head[7] = {AMQC_FRAME_BODY};
	struct amqc_frame frame;
	size_t size;

	store_be32(head + 3, payload_len);
	return peek_copy(span_make(head, 7), 7, frame_max, &frame, &size);
}

START_TEST(frame__larger_than_frame_max_is_refused_by_its_header_alone)
{
	ck_assert_int_eq(peek_head(4096 - 8, 4096), AMQC_INCOMPLETE);
	ck_assert_int_eq(peek_head(4096 - 7, 4096), AMQC_FRAME_SIZE);
	ck_assert_int_eq(peek_head(UINT32_MAX, 4096), AMQC_FRAME_SIZE);
	ck_assert_int_eq(peek_head(UINT32_MAX - 7, 4096), AMQC_FRAME_SIZE);
	ck_assert_int_eq(peek_head(UINT32_MAX, UINT32_MAX), AMQC_FRAME_SIZE);
	ck_assert_int_eq(peek_head(UINT32_MAX - 7, UINT32_MAX), AMQC_FRAME_SIZE);
	ck_assert_int_eq(peek_head(UINT32_MAX - 8, UINT32_MAX), AMQC_INCOMPLETE);
	ck_assert_int_eq(peek_head(0, 8), AMQC_INCOMPLETE);
	ck_assert_int_eq(peek_head(1, 8), AMQC_FRAME_SIZE);
	for (uint32_t frame_max = 0; frame_max < 8; frame_max++)
		ck_assert_int_eq(peek_head(0, frame_max), AMQC_FRAME_SIZE);
}
END_TEST

START_TEST(frame__end_octet_must_be_right)
{
	struct amqc_frame frame;
	size_t size;

	for (unsigned int end = 0; end < 256; end++) {
		uint8_t bytes[] = {AMQC_FRAME_BODY, 0, 1, 0, 0, 0, 1, 'x', (uint8_t)end};

		ck_assert_int_eq(
		    peek_copy(span_make(bytes, sizeof(bytes)), sizeof(bytes), 4096, &frame, &size),
		    end == 0xce ? AMQC_OK : AMQC_FRAME_BAD_END);
	}
}
END_TEST

START_TEST(frame__is_written_behind_what_is_there_and_was_consumed)
{
	struct buf out = BUF_INIT;
	struct amqc_frame frame;
	size_t size;

	for (unsigned int i = 0; i < 1000; i++) {
		amqc_heartbeat_append(&out);
		frame_append(&out, AMQC_FRAME_BODY, (uint16_t)i, SPAN_LITERAL("some bytes"));
		buf_consume(&out, 8);
		ck_assert_int_eq(amqc_frame_peek(buf_span(&out), 4096, &frame, &size), AMQC_OK);
		ck_assert_uint_eq(frame.channel, i);
		buf_consume(&out, size);
		if (i % 3)
			buf_append_u8(&out, 1);
		buf_consume(&out, 1);
	}
	buf_deinit(&out);
}
END_TEST

START_TEST(frame__failed_buffer_stays_as_it_was)
{
	struct amqc_method method = {.id = AMQC_CHANNEL_CLOSE_OK};
	struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC};
	struct buf out = BUF_INIT;

	out.failed = true;
	amqc_heartbeat_append(&out);
	frame_append(&out, AMQC_FRAME_BODY, 1, SPAN_LITERAL("x"));
	amqc_table_end(&out, amqc_table_begin(&out));
	amqc_body_append(&out, 1, SPAN_LITERAL("body"), 4096);
	ck_assert_int_eq(amqc_method_append(&out, 1, &method), AMQC_OK);
	ck_assert_int_eq(amqc_content_header_append(&out, 1, &header), AMQC_OK);
	ck_assert_int_eq(amqc_content_header_payload_append(&out, &header), AMQC_OK);
	ck_assert_uint_eq(buf_len(&out), 0);
	ck_assert(buf_failed(&out));
	buf_deinit(&out);
}
END_TEST

/* Takes the frames of a body apart again; returns how many there were. */
static size_t body_join(struct span input, uint32_t frame_max, struct buf *ret_body)
{
	struct amqc_frame frame;
	size_t size, count = 0;

	while (input.len > 0) {
		ck_assert_int_eq(amqc_frame_peek(input, frame_max, &frame, &size), AMQC_OK);
		ck_assert_uint_eq(frame.type, AMQC_FRAME_BODY);
		ck_assert_uint_eq(frame.channel, 9);
		ck_assert_uint_gt(frame.payload.len, 0);
		buf_append_span(ret_body, frame.payload);
		input = span_skip(input, size);
		count++;
	}
	return count;
}

static void check_split(struct span body, uint32_t frame_max)
{
	struct buf out = BUF_INIT, joined = BUF_INIT;
	size_t payload_max = frame_max - 8, count;

	amqc_body_append(&out, 9, body, frame_max);
	count = body_join(buf_span(&out), frame_max, &joined);
	ck_assert_uint_eq(count, (body.len + payload_max - 1) / payload_max);
	ck_assert(span_equal(buf_span(&joined), body));
	buf_deinit(&out);
	buf_deinit(&joined);
}

START_TEST(body__is_split_into_the_fewest_frames_of_at_most_frame_max)
{
	static const uint32_t frame_maxes[] = {9, 10, 100, 4096, 131072};
	struct gen gen;
	uint8_t bytes[13000];

	gen_init(&gen, 1);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)gen_u64(&gen);
	for (size_t i = 0; i < sizeof(frame_maxes) / sizeof(frame_maxes[0]); i++) {
		size_t payload_max = frame_maxes[i] - 8;

		for (size_t times = 0; times <= 3; times++)
			for (size_t more = 0; more <= 2; more++)
				if (payload_max * times + more >= 1 &&
				    payload_max * times + more - 1 <= sizeof(bytes))
					check_split(span_make(bytes, payload_max * times + more - 1),
						    frame_maxes[i]);
		check_split(span_make(bytes, sizeof(bytes)), frame_maxes[i]);
	}
}
END_TEST

START_TEST(result__each_has_a_sentence_and_a_reply_code)
{
	static const uint16_t codes[] = {200, 501, 501, 501, 501, 502, 502, 540, 502, 502, 502, 502};

	ck_assert_uint_eq(sizeof(codes) / sizeof(codes[0]), AMQC_TOO_LONG + 1);
	for (unsigned int i = 0; i <= AMQC_TOO_LONG; i++) {
		ck_assert_uint_eq(amqc_reply_code((enum amqc_result)i), codes[i]);
		ck_assert_uint_gt(strlen(amqc_strerror((enum amqc_result)i)), 5);
		for (unsigned int other = 0; other < i; other++)
			ck_assert(strcmp(amqc_strerror((enum amqc_result)i),
					 amqc_strerror((enum amqc_result)other)));
	}
	ck_assert_ptr_nonnull(amqc_strerror((enum amqc_result)(AMQC_TOO_LONG + 1)));
	ck_assert_uint_eq(amqc_reply_code((enum amqc_result)(AMQC_TOO_LONG + 1)), 541);
}
END_TEST

START_TEST(reply__hard_errors_are_those_that_close_the_connection)
{
	static const uint16_t hard[] = {320, 402, 501, 502, 503, 504, 505, 506, 530, 540, 541};
	static const uint16_t soft[] = {200, 311, 312, 313, 403, 404, 405, 406};
	unsigned int known = 0;

	for (size_t i = 0; i < sizeof(hard) / sizeof(hard[0]); i++)
		ck_assert_msg(amqc_reply_is_hard(hard[i]), "%u", (unsigned int)hard[i]);
	for (size_t i = 0; i < sizeof(soft) / sizeof(soft[0]); i++)
		ck_assert_msg(!amqc_reply_is_hard(soft[i]), "%u", (unsigned int)soft[i]);
	for (uint16_t code = 0; code < 1000; code++)
		known += strcmp(amqc_reply_name(code), "UNKNOWN") != 0;
	ck_assert_uint_eq(known, 11 + 8);
	ck_assert(!amqc_reply_is_hard(599));
	ck_assert_str_eq(amqc_reply_name(404), "NOT_FOUND");
	ck_assert_str_eq(amqc_reply_name(406), "PRECONDITION_FAILED");
	ck_assert_str_eq(amqc_reply_name(541), "INTERNAL_ERROR");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("amqp/frame");
	TCase *tests = tcase_create("frame");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, frame__has_the_bytes_of_the_specification);
	tcase_add_test(tests, frame__protocol_header_is_eight_bytes);
	tcase_add_test(tests, frame__peek_says_at_every_split_point_how_much_is_needed);
	tcase_add_test(tests, frame__payload_is_a_view_of_the_input);
	tcase_add_test(tests, frame__unknown_type_is_found_as_soon_as_the_header_is_there);
	tcase_add_test(tests, frame__larger_than_frame_max_is_refused_by_its_header_alone);
	tcase_add_test(tests, frame__end_octet_must_be_right);
	tcase_add_test(tests, frame__is_written_behind_what_is_there_and_was_consumed);
	tcase_add_test(tests, frame__failed_buffer_stays_as_it_was);
	tcase_add_test(tests, body__is_split_into_the_fewest_frames_of_at_most_frame_max);
	tcase_add_test(tests, result__each_has_a_sentence_and_a_reply_code);
	tcase_add_test(tests, reply__hard_errors_are_those_that_close_the_connection);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
