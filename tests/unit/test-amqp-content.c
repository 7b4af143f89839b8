#include "tests/unit/codec-gen.h"

#include <check.h>
#include <stdlib.h>

/* Decodes a copy of exactly that size, so that the sanitizer sees a read behind it. *ret keeps no spans. */
static enum amqc_result decode_copy(struct span payload, struct amqc_content_header *ret)
{
	uint8_t *copy = malloc(payload.len ? payload.len : 1);
	enum amqc_result result;

	ck_assert_ptr_nonnull(copy);
	if (payload.len > 0)
		memcpy(copy, payload.data, payload.len);
	result = amqc_content_header_decode(span_make(copy, payload.len), ret);
	free(copy);
	return result;
}

static void gen_header(struct gen *gen, uint64_t seed, struct amqc_content_header *ret)
{
	gen_init(gen, seed);
	gen_properties(gen, &ret->properties);
	ret->class_id = AMQC_CLASS_BASIC;
	ret->body_size = gen_u64(gen) >> gen_below(gen, 64);
}

START_TEST(header__any_comes_back_as_it_was_sent)
{
	struct amqc_content_header sent, got;
	struct buf out = BUF_INIT, payload = BUF_INIT;
	struct amqc_frame frame;
	struct gen gen;
	size_t size;

	for (uint64_t seed = 0; seed < 1000; seed++) {
		buf_truncate(&out, 0);
		buf_truncate(&payload, 0);
		gen_header(&gen, seed, &sent);
		ck_assert_int_eq(amqc_content_header_append(&out, (uint16_t)seed, &sent), AMQC_OK);
		ck_assert_int_eq(amqc_content_header_payload_append(&payload, &sent), AMQC_OK);
		ck_assert_int_eq(amqc_frame_peek(buf_span(&out), UINT32_MAX, &frame, &size), AMQC_OK);
		ck_assert_uint_eq(size, buf_len(&out));
		ck_assert_uint_eq(frame.type, AMQC_FRAME_HEADER);
		ck_assert_uint_eq(frame.channel, seed);
		ck_assert(span_equal(frame.payload, buf_span(&payload)));
		memset(&got, 0xa5, sizeof(got));
		ck_assert_int_eq(amqc_content_header_decode(frame.payload, &got), AMQC_OK);
		ck_assert_uint_eq(got.class_id, AMQC_CLASS_BASIC);
		ck_assert_uint_eq(got.body_size, sent.body_size);
		ck_assert_msg(properties_equal(&sent.properties, &got.properties), "seed %u",
			      (unsigned int)seed);
	}
	buf_deinit(&out);
	buf_deinit(&payload);
}
END_TEST

#define FIXED "\0\x3c\0\0\0\0\0\0\0\0\0\x05" /* class 60, weight 0, 5 bytes of body */

struct example {
	uint16_t present;
	struct span wire; /* the property's bytes */
};

static const struct example examples[] = {
    {AMQC_PROP_CONTENT_TYPE, {(const uint8_t *)"\x01t", 2}},
    {AMQC_PROP_CONTENT_ENCODING, {(const uint8_t *)"\x01t", 2}},
    {AMQC_PROP_HEADERS, {(const uint8_t *)"\0\0\0\x02\0V", 6}},
    {AMQC_PROP_DELIVERY_MODE, {(const uint8_t *)"\x02", 1}},
    {AMQC_PROP_PRIORITY, {(const uint8_t *)"\x02", 1}},
    {AMQC_PROP_CORRELATION_ID, {(const uint8_t *)"\x01t", 2}},
    {AMQC_PROP_REPLY_TO, {(const uint8_t *)"\x01t", 2}},
    {AMQC_PROP_EXPIRATION, {(const uint8_t *)"\x01t", 2}},
    {AMQC_PROP_MESSAGE_ID, {(const uint8_t *)"\x01t", 2}},
    {AMQC_PROP_TIMESTAMP, {(const uint8_t *)"\x01\x02\x03\x04\x05\x06\x07\x08", 8}},
    {AMQC_PROP_TYPE, {(const uint8_t *)"\x01t", 2}},
    {AMQC_PROP_USER_ID, {(const uint8_t *)"\x01t", 2}},
    {AMQC_PROP_APP_ID, {(const uint8_t *)"\x01t", 2}},
    {AMQC_PROP_CLUSTER_ID, {(const uint8_t *)"\x01t", 2}},
};

static struct amqc_content_header every_property(void)
{
	struct span t = SPAN_LITERAL("t");

	return (struct amqc_content_header){
	    .class_id = AMQC_CLASS_BASIC,
	    .body_size = 5,
	    .properties =
		{
		    .content_type = t,
		    .content_encoding = t,
		    .headers = SPAN_LITERAL("\0V"),
		    .delivery_mode = 2,
		    .priority = 2,
		    .correlation_id = t,
		    .reply_to = t,
		    .expiration = t,
		    .message_id = t,
		    .timestamp = UINT64_C(0x0102030405060708),
		    .type = t,
		    .user_id = t,
		    .app_id = t,
		    .cluster_id = t,
		},
	};
}

START_TEST(properties__each_alone_has_its_flag_and_its_bytes)
{
	struct amqc_content_header header = every_property(), got;
	struct buf out = BUF_INIT, expected = BUF_INIT;

	header.properties.present = examples[_i].present;
	buf_append(&expected, FIXED, 12);
	buf_append_be16(&expected, examples[_i].present);
	buf_append_span(&expected, examples[_i].wire);
	ck_assert_int_eq(amqc_content_header_payload_append(&out, &header), AMQC_OK);
	ck_assert(span_equal(buf_span(&out), buf_span(&expected)));
	ck_assert_int_eq(amqc_content_header_decode(buf_span(&out), &got), AMQC_OK);
	ck_assert(properties_equal(&header.properties, &got.properties));
	buf_deinit(&out);
	buf_deinit(&expected);
}
END_TEST

START_TEST(properties__all_follow_each_other_in_the_order_of_the_flags)
{
	struct amqc_content_header header = every_property(), got;
	struct buf out = BUF_INIT, expected = BUF_INIT;

	header.properties.present = 0xfffc;
	buf_append(&expected, FIXED "\xff\xfc", 14);
	for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++)
		buf_append_span(&expected, examples[i].wire);
	ck_assert_int_eq(amqc_content_header_payload_append(&out, &header), AMQC_OK);
	ck_assert(span_equal(buf_span(&out), buf_span(&expected)));
	ck_assert_int_eq(amqc_content_header_decode(buf_span(&out), &got), AMQC_OK);
	ck_assert(properties_equal(&header.properties, &got.properties));
	buf_deinit(&out);
	buf_deinit(&expected);
}
END_TEST

START_TEST(header__cut_at_any_byte_is_truncated_and_longer_is_seen)
{
	struct amqc_content_header header, got;
	struct gen gen;

	for (uint64_t seed = 0; seed < 30; seed++) {
		struct buf out = BUF_INIT;

		gen_header(&gen, seed, &header);
		ck_assert_int_eq(amqc_content_header_payload_append(&out, &header), AMQC_OK);
		for (size_t len = 0; len < buf_len(&out); len++)
			ck_assert_int_eq(decode_copy(span_first(buf_span(&out), len), &got), AMQC_TRUNCATED);
		buf_append_u8(&out, 0);
		ck_assert_int_eq(decode_copy(buf_span(&out), &got), AMQC_TRAILING);
		buf_deinit(&out);
	}
}
END_TEST

START_TEST(header__flags_that_class_basic_does_not_have_are_refused)
{
	struct amqc_content_header got, header = {.class_id = AMQC_CLASS_BASIC};
	struct buf out = BUF_INIT;

	ck_assert_int_eq(decode_copy(SPAN_LITERAL(FIXED "\0\0"), &got), AMQC_OK);
	ck_assert_int_eq(decode_copy(SPAN_LITERAL(FIXED "\0\x01\0\0"), &got), AMQC_BAD_PROPERTIES);
	ck_assert_int_eq(decode_copy(SPAN_LITERAL(FIXED "\0\x02"), &got), AMQC_BAD_PROPERTIES);
	for (uint16_t flags = 1; flags < 4; flags++) {
		header.properties.present = flags;
		ck_assert_int_eq(amqc_content_header_append(&out, 1, &header), AMQC_TOO_LONG);
		ck_assert_int_eq(amqc_content_header_payload_append(&out, &header), AMQC_TOO_LONG);
	}
	ck_assert_uint_eq(buf_len(&out), 0);
}
END_TEST

START_TEST(header__weight_must_be_zero)
{
	struct amqc_content_header got;

	ck_assert_int_eq(decode_copy(SPAN_LITERAL("\0\x3c\0\x01\0\0\0\0\0\0\0\x05\0\0"), &got),
			 AMQC_BAD_PROPERTIES);
}
END_TEST

START_TEST(header__of_another_class_can_be_told)
{
	struct amqc_content_header got;

	ck_assert_int_eq(decode_copy(SPAN_LITERAL("\0\x32\0\0\0\0\0\0\0\0\0\x05\0\0"), &got), AMQC_OK);
	ck_assert_uint_eq(got.class_id, 50);
	got.class_id = 0;
	ck_assert_int_eq(decode_copy(SPAN_LITERAL("\0\x32\0\0\0\0\0\0\0\0\0\x05\x80\0"), &got),
			 AMQC_TRUNCATED);
	ck_assert_uint_eq(got.class_id, 50);
	ck_assert_uint_eq(got.body_size, 5);
}
END_TEST

START_TEST(header__broken_table_is_found)
{
	struct amqc_content_header got;

	ck_assert_int_eq(decode_copy(SPAN_LITERAL(FIXED "\x20\0\0\0\0\x02\0?"), &got), AMQC_BAD_FIELD_TYPE);
	ck_assert_int_eq(decode_copy(SPAN_LITERAL(FIXED "\x20\0\0\0\0\x03\0tV"), &got), AMQC_OK);
	ck_assert_int_eq(decode_copy(SPAN_LITERAL(FIXED "\x20\0\0\0\0\x02\0t\x01"), &got), AMQC_TRUNCATED);
}
END_TEST

START_TEST(header__too_long_property_is_refused_and_nothing_written)
{
	static const uint8_t bytes[256];
	struct amqc_content_header header = every_property();
	struct span *const shortstrs[] = {
	    &header.properties.content_type,   &header.properties.content_encoding,
	    &header.properties.correlation_id, &header.properties.reply_to,
	    &header.properties.expiration,     &header.properties.message_id,
	    &header.properties.type,	       &header.properties.user_id,
	    &header.properties.app_id,	       &header.properties.cluster_id,
	};
	struct buf out = BUF_INIT;

	header.properties.present = 0xfffc;
	for (size_t i = 0; i < sizeof(shortstrs) / sizeof(shortstrs[0]); i++) {
		*shortstrs[i] = span_make(bytes, 256);
		ck_assert_int_eq(amqc_content_header_append(&out, 1, &header), AMQC_TOO_LONG);
		ck_assert_int_eq(amqc_content_header_payload_append(&out, &header), AMQC_TOO_LONG);
		ck_assert_uint_eq(buf_len(&out), 0);
		*shortstrs[i] = span_make(bytes, 255);
		ck_assert_int_eq(amqc_content_header_append(&out, 1, &header), AMQC_OK);
		buf_truncate(&out, 0);
	}
	header.properties.headers = span_make(bytes, UINT32_MAX);
	ck_assert_int_eq(amqc_content_header_append(&out, 1, &header), AMQC_TOO_LONG);
	/* the sum of the sizes must not wrap around to a small one */
	header.properties.headers = span_make(bytes, SIZE_MAX);
	ck_assert_int_eq(amqc_content_header_append(&out, 1, &header), AMQC_TOO_LONG);
	ck_assert_uint_eq(buf_len(&out), 0);
	buf_deinit(&out);
}
END_TEST

START_TEST(header__absent_member_is_not_looked_at)
{
	struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC};
	struct buf out = BUF_INIT;

	header.properties.user_id = span_make("x", 100000);
	header.properties.headers = span_make("x", SIZE_MAX);
	ck_assert_int_eq(amqc_content_header_payload_append(&out, &header), AMQC_OK);
	ck_assert_uint_eq(buf_len(&out), 14);
	buf_deinit(&out);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("amqp/content");
	TCase *tests = tcase_create("content");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, header__any_comes_back_as_it_was_sent);
	tcase_add_loop_test(tests, properties__each_alone_has_its_flag_and_its_bytes, 0,
			    (int)(sizeof(examples) / sizeof(examples[0])));
	tcase_add_test(tests, properties__all_follow_each_other_in_the_order_of_the_flags);
	tcase_add_test(tests, header__cut_at_any_byte_is_truncated_and_longer_is_seen);
	tcase_add_test(tests, header__flags_that_class_basic_does_not_have_are_refused);
	tcase_add_test(tests, header__weight_must_be_zero);
	tcase_add_test(tests, header__of_another_class_can_be_told);
	tcase_add_test(tests, header__broken_table_is_found);
	tcase_add_test(tests, header__too_long_property_is_refused_and_nothing_written);
	tcase_add_test(tests, header__absent_member_is_not_looked_at);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
