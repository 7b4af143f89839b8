/* proto/frame: the same frames come out however the bytes are cut. */
#include "proto/frame.h"
#include "tests/unit/random.h"

#include <check.h>
#include <stdlib.h>

static void append_frame(struct buf *out, struct span header, struct span payload)
{
	ipc_frame_prefix(out, header.len, payload.len);
	buf_append_span(out, header);
	buf_append_span(out, payload);
}

START_TEST(frame__parses_what_was_written)
{
	static const uint8_t expected[] = {0, 0, 0, 3, 0, 0, 0, 2, 'h', 'e', 'a', 'p', 'l'};
	struct buf out = BUF_INIT;
	struct ipc_frame frame;
	size_t needed = 0;

	append_frame(&out, SPAN_LITERAL("hea"), SPAN_LITERAL("pl"));
	ck_assert(span_equal(buf_span(&out), span_make(expected, sizeof(expected))));
	buf_append_u8(&out, 0xff); /* of the next frame */
	ck_assert_int_eq(ipc_frame_parse(buf_span(&out), 100, &frame, &needed), IPC_FRAME_OK);
	ck_assert_uint_eq(needed, sizeof(expected));
	ck_assert(span_equal_str(frame.header, "hea"));
	ck_assert(span_equal_str(frame.payload, "pl"));
	buf_deinit(&out);
}
END_TEST

/* What is too short says how much is needed, and never more than the truth. */
START_TEST(frame__is_incomplete_at_every_split_point)
{
	struct random random = random_make((uint64_t)_i);
	size_t header_len = 1 + random_below(&random, 300), payload_len = random_below(&random, 300);
	size_t total = IPC_FRAME_PREFIX + header_len + payload_len;
	uint8_t bytes[600];
	struct buf out = BUF_INIT;

	random_bytes(&random, bytes, sizeof(bytes));
	append_frame(&out, span_make(bytes, header_len), span_make(bytes + header_len, payload_len));
	ck_assert_uint_eq(buf_len(&out), total);
	for (size_t cut = 0; cut < total; cut++) {
		/* A block of exactly this size, so that a read behind it is found. */
		uint8_t *part = malloc(cut ? cut : 1);
		struct ipc_frame frame = {SPAN_NULL, SPAN_NULL};
		size_t needed = 0;

		memcpy(part, buf_span(&out).data, cut);
		ck_assert_int_eq(ipc_frame_parse(span_make(part, cut), 300, &frame, &needed),
				 IPC_FRAME_INCOMPLETE);
		ck_assert_uint_eq(needed, cut < IPC_FRAME_PREFIX ? IPC_FRAME_PREFIX : total);
		ck_assert_ptr_null(frame.header.data);
		free(part);
	}
	buf_deinit(&out);
}
END_TEST

static void check_sequence(struct span input, struct span expected)
{
	struct buf again = BUF_INIT;
	struct ipc_frame frame;
	size_t needed;

	while (ipc_frame_parse(input, 1000, &frame, &needed) == IPC_FRAME_OK) {
		append_frame(&again, frame.header, frame.payload);
		input = span_skip(input, needed);
	}
	ck_assert(span_equal(buf_span(&again), expected));
	ck_assert_uint_eq(input.len, 0);
	buf_deinit(&again);
}

START_TEST(frame__sequence_comes_out_as_it_went_in)
{
	struct random random = random_make((uint64_t)_i);
	uint8_t bytes[1000];
	struct buf out = BUF_INIT;

	random_bytes(&random, bytes, sizeof(bytes));
	for (int i = 0; i < 50; i++)
		append_frame(&out, span_make(bytes, 1 + random_below(&random, 1000)),
			     span_make(bytes, random_below(&random, 1001)));
	check_sequence(buf_span(&out), buf_span(&out));
	buf_deinit(&out);
}
END_TEST

static enum ipc_frame_result parse_prefix(uint32_t header_len, uint32_t payload_len, size_t cut,
					  size_t payload_max)
{
	uint8_t prefix[IPC_FRAME_PREFIX];
	struct ipc_frame frame;
	size_t needed;

	store_be32(prefix, header_len);
	store_be32(prefix + 4, payload_len);
	return ipc_frame_parse(span_make(prefix, cut), payload_max, &frame, &needed);
}

START_TEST(frame__header_of_wrong_size_is_found_in_the_first_four_bytes)
{
	ck_assert_int_eq(parse_prefix(0, 0, 3, 10), IPC_FRAME_INCOMPLETE);
	for (size_t cut = 4; cut <= IPC_FRAME_PREFIX; cut++) {
		ck_assert_int_eq(parse_prefix(0, 0, cut, 10), IPC_FRAME_HEADER_SIZE);
		ck_assert_int_eq(parse_prefix(1, 0, cut, 10), IPC_FRAME_INCOMPLETE);
		ck_assert_int_eq(parse_prefix(IPC_HEADER_MAX, 0, cut, 10), IPC_FRAME_INCOMPLETE);
		ck_assert_int_eq(parse_prefix(IPC_HEADER_MAX + 1, 0, cut, 10), IPC_FRAME_HEADER_SIZE);
		ck_assert_int_eq(parse_prefix(UINT32_MAX, 0, cut, 10), IPC_FRAME_HEADER_SIZE);
	}
}
END_TEST

START_TEST(frame__payload_above_the_limit_is_found_from_the_lengths_alone)
{
	ck_assert_int_eq(parse_prefix(1, 10, 8, 10), IPC_FRAME_INCOMPLETE);
	ck_assert_int_eq(parse_prefix(1, 11, 8, 10), IPC_FRAME_PAYLOAD_SIZE);
	ck_assert_int_eq(parse_prefix(1, UINT32_MAX, 8, 10), IPC_FRAME_PAYLOAD_SIZE);
	/* No limit of the caller's goes above the protocol's own. */
	ck_assert_int_eq(parse_prefix(1, IPC_PAYLOAD_MAX, 8, SIZE_MAX), IPC_FRAME_INCOMPLETE);
	ck_assert_int_eq(parse_prefix(1, IPC_PAYLOAD_MAX + 1, 8, SIZE_MAX), IPC_FRAME_PAYLOAD_SIZE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proto/frame");
	TCase *tcase = tcase_create("frame");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, frame__parses_what_was_written);
	tcase_add_loop_test(tcase, frame__is_incomplete_at_every_split_point, 0, 30);
	tcase_add_loop_test(tcase, frame__sequence_comes_out_as_it_went_in, 0, 20);
	tcase_add_test(tcase, frame__header_of_wrong_size_is_found_in_the_first_four_bytes);
	tcase_add_test(tcase, frame__payload_above_the_limit_is_found_from_the_lengths_alone);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
