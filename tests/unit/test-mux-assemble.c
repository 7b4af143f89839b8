#include "daemon/mux/assemble.h"

#include <check.h>
#include <stdlib.h>

/* The payloads of a message's frames. */
struct parts {
	struct buf method, header;
};

static void make(struct parts *parts, uint16_t class_id, uint64_t body_size)
{
	struct amqc_method method = {.id = AMQC_BASIC_DELIVER};
	struct amqc_content_header header = {class_id, body_size, {0}};

	*parts = (struct parts){BUF_INIT, BUF_INIT};
	method.basic_deliver.consumer_tag = SPAN_LITERAL("tag");
	method.basic_deliver.delivery_tag = 7;
	method.basic_deliver.routing_key = SPAN_LITERAL("key");
	header.properties.present = AMQC_PROP_CONTENT_TYPE;
	header.properties.content_type = SPAN_LITERAL("text/plain");
	ck_assert_int_eq(amqc_method_append(&parts->method, 1, &method), AMQC_OK);
	ck_assert_int_eq(amqc_content_header_payload_append(&parts->header, &header), AMQC_OK);
}

static void parts_free(struct parts *parts)
{
	buf_deinit(&parts->method);
	buf_deinit(&parts->header);
}

static struct span method_of(const struct parts *parts)
{
	struct span frame = buf_span(&parts->method);

	return span_make(frame.data + 7, frame.len - AMQC_FRAME_OVERHEAD);
}

static void check_whole(const struct assemble *assemble, const char *body)
{
	ck_assert_int_eq(assemble->method.id, AMQC_BASIC_DELIVER);
	ck_assert_uint_eq(assemble->method.basic_deliver.delivery_tag, 7);
	ck_assert(span_equal_str(assemble->method.basic_deliver.consumer_tag, "tag"));
	ck_assert(span_equal_str(assemble->method.basic_deliver.routing_key, "key"));
	ck_assert(span_equal_str(assemble->header.properties.content_type, "text/plain"));
	ck_assert(span_equal_str(assemble->body, body));
}

START_TEST(assemble__a_body_in_one_frame_is_handed_on_as_it_lies)
{
	static const char body[] = "hello";
	struct assemble assemble;
	struct parts parts;

	make(&parts, AMQC_CLASS_BASIC, 5);
	assemble_init(&assemble);
	ck_assert_int_eq(assemble_method(&assemble, method_of(&parts)), ASSEMBLE_MORE);
	ck_assert_int_eq(assemble_header(&assemble, buf_span(&parts.header)), ASSEMBLE_MORE);
	ck_assert_int_eq(assemble_body(&assemble, span_str(body)), ASSEMBLE_WHOLE);
	check_whole(&assemble, "hello");
	ck_assert_ptr_eq(assemble.body.data, body);
	assemble_deinit(&assemble);
	parts_free(&parts);
}
END_TEST

START_TEST(assemble__an_empty_body_is_whole_with_its_header)
{
	struct assemble assemble;
	struct parts parts;

	make(&parts, AMQC_CLASS_BASIC, 0);
	assemble_init(&assemble);
	ck_assert_int_eq(assemble_method(&assemble, method_of(&parts)), ASSEMBLE_MORE);
	ck_assert_int_eq(assemble_header(&assemble, buf_span(&parts.header)), ASSEMBLE_WHOLE);
	check_whole(&assemble, "");
	assemble_deinit(&assemble);
	parts_free(&parts);
}
END_TEST

START_TEST(assemble__body_frames_of_any_size_make_one_body)
{
	struct assemble assemble;
	struct parts parts;

	make(&parts, AMQC_CLASS_BASIC, 6);
	assemble_init(&assemble);
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(assemble_method(&assemble, method_of(&parts)), ASSEMBLE_MORE);
		ck_assert_int_eq(assemble_header(&assemble, buf_span(&parts.header)), ASSEMBLE_MORE);
		ck_assert_int_eq(assemble_body(&assemble, SPAN_LITERAL("ab")), ASSEMBLE_MORE);
		ck_assert_int_eq(assemble_body(&assemble, SPAN_NULL), ASSEMBLE_MORE);
		ck_assert_int_eq(assemble_body(&assemble, SPAN_LITERAL("c")), ASSEMBLE_MORE);
		ck_assert_int_eq(assemble_body(&assemble, SPAN_LITERAL("def")), ASSEMBLE_WHOLE);
		check_whole(&assemble, "abcdef");
		assemble_done(&assemble);
	}
	assemble_deinit(&assemble);
	parts_free(&parts);
}
END_TEST

START_TEST(assemble__a_large_block_is_given_back)
{
	static uint8_t body[100000];
	struct assemble assemble;
	struct parts parts;

	make(&parts, AMQC_CLASS_BASIC, sizeof(body));
	assemble_init(&assemble);
	ck_assert_int_eq(assemble_method(&assemble, method_of(&parts)), ASSEMBLE_MORE);
	ck_assert_int_eq(assemble_header(&assemble, buf_span(&parts.header)), ASSEMBLE_MORE);
	ck_assert_int_eq(assemble_body(&assemble, span_make(body, 60000)), ASSEMBLE_MORE);
	ck_assert_int_eq(assemble_body(&assemble, span_make(body, 40000)), ASSEMBLE_WHOLE);
	assemble_done(&assemble);
	ck_assert_uint_lt(assemble.kept.capacity, 10000);
	assemble_deinit(&assemble);
	parts_free(&parts);
}
END_TEST

START_TEST(assemble__a_body_longer_than_announced_is_a_fault)
{
	struct assemble assemble;
	struct parts parts;

	make(&parts, AMQC_CLASS_BASIC, 3);
	assemble_init(&assemble);
	ck_assert_int_eq(assemble_method(&assemble, method_of(&parts)), ASSEMBLE_MORE);
	ck_assert_int_eq(assemble_header(&assemble, buf_span(&parts.header)), ASSEMBLE_MORE);
	ck_assert_int_eq(assemble_body(&assemble, SPAN_LITERAL("ab")), ASSEMBLE_MORE);
	ck_assert_int_eq(assemble_body(&assemble, SPAN_LITERAL("cd")), ASSEMBLE_FAULT);
	assemble_deinit(&assemble);
	parts_free(&parts);
}
END_TEST

START_TEST(assemble__frames_out_of_order_are_a_fault)
{
	struct assemble assemble;
	struct parts parts;

	make(&parts, AMQC_CLASS_BASIC, 3);
	assemble_init(&assemble);
	ck_assert_int_eq(assemble_header(&assemble, buf_span(&parts.header)), ASSEMBLE_FAULT);
	ck_assert_int_eq(assemble_body(&assemble, SPAN_LITERAL("abc")), ASSEMBLE_FAULT);
	ck_assert_int_eq(assemble_method(&assemble, method_of(&parts)), ASSEMBLE_MORE);
	ck_assert_int_eq(assemble_method(&assemble, method_of(&parts)), ASSEMBLE_FAULT);
	ck_assert_int_eq(assemble_body(&assemble, SPAN_LITERAL("abc")), ASSEMBLE_FAULT);
	ck_assert_int_eq(assemble_header(&assemble, buf_span(&parts.header)), ASSEMBLE_MORE);
	ck_assert_int_eq(assemble_method(&assemble, method_of(&parts)), ASSEMBLE_FAULT);
	ck_assert_int_eq(assemble_header(&assemble, buf_span(&parts.header)), ASSEMBLE_FAULT);
	assemble_deinit(&assemble);
	parts_free(&parts);
}
END_TEST

START_TEST(assemble__a_header_of_another_class_or_cut_short_is_a_fault)
{
	struct assemble assemble;
	struct parts parts;

	make(&parts, 50, 3);
	assemble_init(&assemble);
	ck_assert_int_eq(assemble_method(&assemble, method_of(&parts)), ASSEMBLE_MORE);
	ck_assert_int_eq(assemble_header(&assemble, buf_span(&parts.header)), ASSEMBLE_FAULT);
	ck_assert_int_eq(assemble_header(&assemble, span_first(buf_span(&parts.header), 13)), ASSEMBLE_FAULT);
	assemble_deinit(&assemble);
	parts_free(&parts);
}
END_TEST

START_TEST(assemble__an_announced_size_beyond_memory_allocates_nothing)
{
	struct assemble assemble;
	struct parts parts;

	make(&parts, AMQC_CLASS_BASIC, UINT64_MAX);
	assemble_init(&assemble);
	ck_assert_int_eq(assemble_method(&assemble, method_of(&parts)), ASSEMBLE_MORE);
	ck_assert_int_eq(assemble_header(&assemble, buf_span(&parts.header)), ASSEMBLE_MORE);
	ck_assert_int_eq(assemble_body(&assemble, SPAN_LITERAL("abc")), ASSEMBLE_MORE);
	ck_assert_uint_lt(assemble.kept.capacity, 10000);
	assemble_deinit(&assemble);
	parts_free(&parts);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("assemble");
	TCase *tcase = tcase_create("assemble");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, assemble__a_body_in_one_frame_is_handed_on_as_it_lies);
	tcase_add_test(tcase, assemble__an_empty_body_is_whole_with_its_header);
	tcase_add_test(tcase, assemble__body_frames_of_any_size_make_one_body);
	tcase_add_test(tcase, assemble__a_large_block_is_given_back);
	tcase_add_test(tcase, assemble__a_body_longer_than_announced_is_a_fault);
	tcase_add_test(tcase, assemble__frames_out_of_order_are_a_fault);
	tcase_add_test(tcase, assemble__a_header_of_another_class_or_cut_short_is_a_fault);
	tcase_add_test(tcase, assemble__an_announced_size_beyond_memory_allocates_nothing);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
