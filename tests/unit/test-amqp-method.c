#include "tests/unit/codec-gen.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define SEEDS 40u

/* Decodes a copy of exactly that size, so that the sanitizer sees a read behind it. *ret keeps no spans. */
static enum amqc_result decode_copy(struct span payload, struct amqc_method *ret)
{
	uint8_t *copy = malloc(payload.len ? payload.len : 1);
	enum amqc_result result;

	ck_assert_ptr_nonnull(copy);
	if (payload.len > 0)
		memcpy(copy, payload.data, payload.len);
	result = amqc_method_decode(span_make(copy, payload.len), ret);
	free(copy);
	return result;
}

/* The payload of the one frame in out, which must be a good one. */
static struct span payload_of(const struct buf *out, uint16_t channel)
{
	struct amqc_frame frame = {0};
	size_t size = 0;

	ck_assert_int_eq(amqc_frame_peek(buf_span(out), UINT32_MAX, &frame, &size), AMQC_OK);
	ck_assert_uint_eq(size, buf_len(out));
	ck_assert_uint_eq(frame.type, AMQC_FRAME_METHOD);
	ck_assert_uint_eq(frame.channel, channel);
	return frame.payload;
}

START_TEST(method__any_comes_back_as_it_was_sent)
{
	uint32_t id = gen_method_id((size_t)_i);
	struct amqc_method sent, got;
	struct buf out = BUF_INIT;
	struct gen gen;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		uint16_t channel = (uint16_t)(seed * 1621);

		gen_init(&gen, seed);
		gen_method(&gen, id, &sent);
		buf_truncate(&out, 0);
		ck_assert_int_eq(amqc_method_append(&out, channel, &sent), AMQC_OK);
		memset(&got, 0xa5, sizeof(got));
		ck_assert_int_eq(amqc_method_decode(payload_of(&out, channel), &got), AMQC_OK);
		ck_assert_msg(method_equal(&sent, &got), "%s, seed %u", amqc_method_name(id),
			      (unsigned int)seed);
	}
	buf_deinit(&out);
}
END_TEST

START_TEST(method__any_is_truncated_at_every_byte_and_seen)
{
	struct amqc_method method, got;
	struct buf out = BUF_INIT;
	struct span payload;
	struct gen gen;

	for (uint64_t seed = 0; seed < 3; seed++) {
		gen_init(&gen, seed);
		gen_method(&gen, gen_method_id((size_t)_i), &method);
		buf_truncate(&out, 0);
		ck_assert_int_eq(amqc_method_append(&out, 1, &method), AMQC_OK);
		payload = payload_of(&out, 1);
		for (size_t len = 0; len < payload.len; len++)
			ck_assert_int_eq(decode_copy(span_first(payload, len), &got), AMQC_TRUNCATED);
	}
	buf_deinit(&out);
}
END_TEST

START_TEST(method__bytes_behind_the_last_argument_are_seen)
{
	struct amqc_method method, got;
	struct buf out = BUF_INIT, longer = BUF_INIT;
	struct gen gen;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		gen_init(&gen, seed);
		gen_method(&gen, gen_method_id((size_t)_i), &method);
		buf_truncate(&out, 0);
		buf_truncate(&longer, 0);
		ck_assert_int_eq(amqc_method_append(&out, 1, &method), AMQC_OK);
		buf_append_span(&longer, payload_of(&out, 1));
		buf_append_u8(&longer, (uint8_t)seed);
		ck_assert_int_eq(decode_copy(buf_span(&longer), &got), AMQC_TRAILING);
	}
	buf_deinit(&out);
	buf_deinit(&longer);
}
END_TEST

START_TEST(method__names_are_the_specifications)
{
	static const struct {
		uint32_t id;
		const char *identifier;
	} all[] = {
#define METHOD(CONSTANT, name, class_id, method_id, sender) {((class_id) << 16) | (method_id), #name},
#define FIELD(name, type, member)
#define RESERVED(name, type)
#define END(name)
#include "daemon/amqp/methods.def"
#undef METHOD
#undef FIELD
#undef RESERVED
#undef END
	};
	char expected[64];

	ck_assert_uint_eq(sizeof(all) / sizeof(all[0]), GEN_METHOD_COUNT);
	for (size_t i = 0; i < GEN_METHOD_COUNT; i++) {
		const char *name = amqc_method_name(all[i].id);

		/* the first _ is the dot behind the class, the others are hyphens */
		snprintf(expected, sizeof(expected), "%s", all[i].identifier);
		*strchr(expected, '_') = '.';
		for (char *c = expected; *c; c++)
			*c = *c == '_' ? '-' : *c;
		ck_assert_ptr_nonnull(name);
		ck_assert_str_eq(name, expected);
	}
}
END_TEST

START_TEST(method__unknown_ids_have_no_name_and_no_sender)
{
	struct amqc_method got;
	uint8_t payload[4];
	unsigned int known = 0;

	for (uint32_t class_id = 0; class_id < 300; class_id++)
		for (uint32_t method_id = 0; method_id < 300; method_id++) {
			uint32_t id = class_id << 16 | method_id;
			enum amqc_result result;

			store_be32(payload, id);
			result = decode_copy(span_make(payload, 4), &got);
			if (amqc_method_name(id)) {
				known++;
				ck_assert(result == AMQC_OK || result == AMQC_TRUNCATED);
				ck_assert_uint_ne(amqc_method_sender(id), 0);
				continue;
			}
			ck_assert_int_eq(result, AMQC_UNKNOWN_METHOD);
			ck_assert_uint_eq(amqc_method_sender(id), 0);
			ck_assert(!amqc_method_has_content(id));
		}
	ck_assert_uint_eq(known, GEN_METHOD_COUNT);
	ck_assert_ptr_null(amqc_method_name(UINT32_MAX));
	ck_assert_ptr_null(amqc_method_name(0xffff0000u | 10));
	ck_assert_ptr_null(amqc_method_name(10u << 16 | 0xffff));
}
END_TEST

START_TEST(method__of_no_known_id_is_not_sent)
{
	struct amqc_method method = {.id = (enum amqc_method_id)(60u << 16 | 41)};
	struct buf out = BUF_INIT;

	ck_assert_int_eq(amqc_method_append(&out, 1, &method), AMQC_UNKNOWN_METHOD);
	ck_assert_uint_eq(buf_len(&out), 0);
}
END_TEST

START_TEST(method__sender_is_known)
{
	ck_assert_uint_eq(amqc_method_sender(AMQC_CONNECTION_START), AMQC_BY_SERVER);
	ck_assert_uint_eq(amqc_method_sender(AMQC_CONNECTION_CLOSE), AMQC_BY_BOTH);
	ck_assert_uint_eq(amqc_method_sender(AMQC_BASIC_PUBLISH), AMQC_BY_CLIENT);
	ck_assert_uint_eq(amqc_method_sender(AMQC_BASIC_DELIVER), AMQC_BY_SERVER);
	ck_assert_uint_eq(amqc_method_sender(AMQC_BASIC_ACK), AMQC_BY_BOTH);
	ck_assert_uint_eq(amqc_method_sender(AMQC_BASIC_CANCEL), AMQC_BY_BOTH);
	ck_assert_uint_eq(amqc_method_sender(AMQC_BASIC_CANCEL_OK), AMQC_BY_SERVER);
}
END_TEST

START_TEST(method__content_follows_four_of_them)
{
	unsigned int count = 0;

	for (size_t i = 0; i < GEN_METHOD_COUNT; i++)
		count += amqc_method_has_content(gen_method_id(i));
	ck_assert_uint_eq(count, 4);
	ck_assert(amqc_method_has_content(AMQC_BASIC_PUBLISH));
	ck_assert(amqc_method_has_content(AMQC_BASIC_RETURN));
	ck_assert(amqc_method_has_content(AMQC_BASIC_DELIVER));
	ck_assert(amqc_method_has_content(AMQC_BASIC_GET_OK));
}
END_TEST

static void check_wire(const struct amqc_method *method, struct span expected)
{
	struct amqc_method got;
	struct buf out = BUF_INIT;

	ck_assert_int_eq(amqc_method_append(&out, 1, method), AMQC_OK);
	ck_assert(span_equal(payload_of(&out, 1), expected));
	ck_assert_int_eq(amqc_method_decode(payload_of(&out, 1), &got), AMQC_OK);
	ck_assert(method_equal(method, &got));
	buf_deinit(&out);
}

START_TEST(bits__adjacent_ones_share_an_octet_lowest_first)
{
	static const uint8_t wire[] = {0, 40, 0, 10, 0, 0, 1, 'e', 1, 't', 0, 0, 0, 0, 0};
	uint8_t expected[sizeof(wire)];

	for (unsigned int bits = 0; bits < 32; bits++) {
		struct amqc_method method = {
		    .id = AMQC_EXCHANGE_DECLARE,
		    .exchange_declare = {.exchange = SPAN_LITERAL("e"),
					 .type = SPAN_LITERAL("t"),
					 .passive = bits & 1,
					 .durable = bits & 2,
					 .auto_delete = bits & 4,
					 .internal = bits & 8,
					 .no_wait = bits & 16},
		};

		memcpy(expected, wire, sizeof(wire));
		expected[10] = (uint8_t)bits;
		check_wire(&method, span_make(expected, sizeof(expected)));
	}
}
END_TEST

START_TEST(bits__single_one_between_other_fields_has_its_own_octet)
{
	struct amqc_method method = {
	    .id = AMQC_BASIC_DELIVER,
	    .basic_deliver = {.consumer_tag = SPAN_LITERAL("c"),
			      .delivery_tag = UINT64_C(0x0102030405060708),
			      .redelivered = true,
			      .exchange = SPAN_NULL,
			      .routing_key = SPAN_LITERAL("rk")},
	};

	check_wire(&method, SPAN_LITERAL("\0\x3c\0\x3c\x01"
					 "c\x01\x02\x03\x04\x05\x06\x07\x08\x01\0\x02rk"));
}
END_TEST

START_TEST(bits__unused_ones_of_an_octet_are_ignored)
{
	struct amqc_method got;

	for (unsigned int octet = 0; octet < 256; octet++) {
		uint8_t payload[] = {0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 9, (uint8_t)octet};

		ck_assert_int_eq(decode_copy(span_make(payload, sizeof(payload)), &got), AMQC_OK);
		ck_assert_uint_eq(got.basic_ack.delivery_tag, 9);
		ck_assert(got.basic_ack.multiple == (octet & 1));
	}
}
END_TEST

START_TEST(reserved__is_skipped_when_read_and_empty_when_written)
{
	struct amqc_method got,
	    open = {.id = AMQC_CONNECTION_OPEN, .connection_open.virtual_host = SPAN_LITERAL("/")};
	struct span wire = SPAN_LITERAL("\0\x0a\0\x28\x02/v\x05"
					"hello\xff");

	ck_assert_int_eq(amqc_method_decode(wire, &got), AMQC_OK);
	ck_assert(span_equal_str(got.connection_open.virtual_host, "/v"));
	check_wire(&open, SPAN_LITERAL("\0\x0a\0\x28\x01/\0\0"));
	ck_assert_int_eq(amqc_method_decode(SPAN_LITERAL("\0\x14\0\x0b\0\0\0\x03"
							 "abc"),
					    &got),
			 AMQC_OK);
	ck_assert_int_eq(amqc_method_decode(SPAN_LITERAL("\0\x14\0\x0b\0\0\0\x04"
							 "abc"),
					    &got),
			 AMQC_TRUNCATED);
	ck_assert_int_eq(amqc_method_decode(SPAN_LITERAL("\0\x3c\0\x28\xff\xff\0\0\x03"), &got), AMQC_OK);
	ck_assert(got.basic_publish.mandatory && got.basic_publish.immediate);
}
END_TEST

/* Sets the first short string of a method that has one; false if it has none. */
static bool shortstr_set(struct amqc_method *method, struct span value)
{
#define SET_SHORTSTR(member) (member) = value, found = true
#define SET_BIT(member)
#define SET_OCTET(member)
#define SET_SHORT(member)
#define SET_LONG(member)
#define SET_LONGLONG(member)
#define SET_LONGSTR(member)
#define SET_TABLE(member)
	bool found = false;

	switch (method->id) {
#define METHOD(CONSTANT, name, class_id, method_id, sender) case AMQC_##CONSTANT:
#define FIELD(name, type, member) SET_##type(method->name.member);
#define RESERVED(name, type)
#define END(name) break;
#include "daemon/amqp/methods.def"
#undef METHOD
#undef FIELD
#undef RESERVED
#undef END
	}
	return found;
}

START_TEST(shortstr__longer_than_255_bytes_is_refused_and_nothing_written)
{
	static const uint8_t bytes[256];
	struct buf out = BUF_INIT;
	struct amqc_method method;
	struct gen gen;

	gen_init(&gen, 1);
	gen_method(&gen, gen_method_id((size_t)_i), &method);
	if (!shortstr_set(&method, span_make(bytes, 255)))
		return;
	ck_assert_int_eq(amqc_method_append(&out, 1, &method), AMQC_OK);
	buf_truncate(&out, 0);
	buf_append_u8(&out, 77);
	shortstr_set(&method, span_make(bytes, 256));
	ck_assert_int_eq(amqc_method_append(&out, 1, &method), AMQC_TOO_LONG);
	ck_assert_uint_eq(buf_len(&out), 1);
	buf_deinit(&out);
}
END_TEST

START_TEST(longstr__longer_than_a_frame_can_count_is_refused)
{
	struct amqc_method method = {.id = AMQC_CONNECTION_SECURE};
	struct buf out = BUF_INIT;

	method.connection_secure.challenge = span_make("", UINT32_MAX);
	ck_assert_int_eq(amqc_method_append(&out, 0, &method), AMQC_TOO_LONG);
	ck_assert_uint_eq(buf_len(&out), 0);
	ck_assert(!buf_failed(&out));
#if SIZE_MAX > UINT32_MAX
	method.connection_secure.challenge = span_make("", (size_t)UINT32_MAX + 1);
	ck_assert_int_eq(amqc_method_append(&out, 0, &method), AMQC_TOO_LONG);
#endif
}
END_TEST

START_TEST(table__broken_one_in_an_argument_is_found)
{
	static const struct {
		struct span table; /* with its length */
		enum amqc_result result;
	} cases[] = {
	    {{(const uint8_t *)"\0\0\0\x02\0V", 6}, AMQC_OK},
	    {{(const uint8_t *)"\0\0\0\x02\0?", 6}, AMQC_BAD_FIELD_TYPE},
	    {{(const uint8_t *)"\0\0\0\x01\0", 5}, AMQC_TRUNCATED},
	    {{(const uint8_t *)"\0\0\0\x03\0V", 6}, AMQC_TRUNCATED},
	    {{(const uint8_t *)"\0\0\0\x01\0V", 6}, AMQC_TRUNCATED},
	    {{(const uint8_t *)"\0\0\0\x02\0V\0", 7}, AMQC_TRAILING},
	    {{(const uint8_t *)"\xff\xff\xff\xff", 4}, AMQC_TRUNCATED},
	};
	struct amqc_method got;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct buf out = BUF_INIT;

		buf_append(&out, "\0\x32\0\x0a\0\0\0\0", 8);
		buf_append_span(&out, cases[i].table);
		ck_assert_msg(decode_copy(buf_span(&out), &got) == cases[i].result, "case %u",
			      (unsigned int)i);
		buf_deinit(&out);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("amqp/method");
	TCase *tests = tcase_create("method");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(tests, method__any_comes_back_as_it_was_sent, 0, GEN_METHOD_COUNT);
	tcase_add_loop_test(tests, method__any_is_truncated_at_every_byte_and_seen, 0, GEN_METHOD_COUNT);
	tcase_add_loop_test(tests, method__bytes_behind_the_last_argument_are_seen, 0, GEN_METHOD_COUNT);
	tcase_add_test(tests, method__names_are_the_specifications);
	tcase_add_test(tests, method__unknown_ids_have_no_name_and_no_sender);
	tcase_add_test(tests, method__of_no_known_id_is_not_sent);
	tcase_add_test(tests, method__sender_is_known);
	tcase_add_test(tests, method__content_follows_four_of_them);
	tcase_add_test(tests, bits__adjacent_ones_share_an_octet_lowest_first);
	tcase_add_test(tests, bits__single_one_between_other_fields_has_its_own_octet);
	tcase_add_test(tests, bits__unused_ones_of_an_octet_are_ignored);
	tcase_add_test(tests, reserved__is_skipped_when_read_and_empty_when_written);
	tcase_add_loop_test(tests, shortstr__longer_than_255_bytes_is_refused_and_nothing_written, 0,
			    GEN_METHOD_COUNT);
	tcase_add_test(tests, longstr__longer_than_a_frame_can_count_is_refused);
	tcase_add_test(tests, table__broken_one_in_an_argument_is_found);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
