#include "daemon/amqp/describe.h"
#include "tests/unit/codec-gen.h"

#include <check.h>
#include <stdlib.h>

#define TEXT 640u

static char text[TEXT];
static struct buf frame;

/* The payload of a method's frame. */
static struct span encode(const struct amqc_method *method)
{
	struct span whole;

	buf_deinit(&frame);
	frame = BUF_INIT;
	ck_assert_int_eq(amqc_method_append(&frame, 0, method), AMQC_OK);
	whole = buf_span(&frame);
	return span_make(whole.data + 7, whole.len - AMQC_FRAME_OVERHEAD);
}

static const char *describe(const struct amqc_method *method)
{
	struct span payload = encode(method);

	ck_assert_uint_eq(amqc_describe_method(text, sizeof(text), payload), strlen(text));
	return text;
}

START_TEST(method__is_told_by_name_with_what_is_set)
{
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};

	method.queue_declare.queue = SPAN_LITERAL("jobs");
	method.queue_declare.durable = true;
	method.queue_declare.auto_delete = true;
	ck_assert_str_eq(describe(&method), "queue.declare queue='jobs' durable auto_delete");

	method = (struct amqc_method){.id = AMQC_BASIC_QOS};
	method.basic_qos.prefetch_count = 10;
	ck_assert_str_eq(describe(&method), "basic.qos prefetch_count=10");

	/* The default exchange is an answer too. */
	method = (struct amqc_method){.id = AMQC_BASIC_PUBLISH};
	method.basic_publish.routing_key = SPAN_LITERAL("a\n\x01z");
	method.basic_publish.mandatory = true;
	ck_assert_str_eq(describe(&method), "basic.publish exchange='' routing_key='a\\x0a\\x01z' mandatory");
}
END_TEST

static struct span some_table(struct buf *table)
{
	static const char longer[] = "0123456789012345678901234567890123456789012345678901234567890123456789";
	struct span name = SPAN_LITERAL("x-max-length");
	struct amqc_field number = {.type = 'I', .value.signed_int = -5};

	*table = BUF_INIT;
	amqc_field_append_str(table, "x-queue-type", SPAN_LITERAL("quorum"));
	ck_assert_int_eq(amqc_field_append(table, &name, &number), AMQC_OK);
	amqc_field_append_bool(table, "yes", true);
	amqc_field_append_str(table, "x-Password", SPAN_LITERAL("hunter2"));
	amqc_field_append_str(table, "uri", SPAN_LITERAL("amqp://me:hunter2@host"));
	amqc_field_append_str(table, "long", span_str(longer));
	return buf_span(table);
}

START_TEST(table__shows_short_values_and_no_secrets)
{
	struct amqc_method method = {.id = AMQC_EXCHANGE_DECLARE};
	struct buf table;

	method.exchange_declare.exchange = SPAN_LITERAL("e");
	method.exchange_declare.type = SPAN_LITERAL("fanout");
	method.exchange_declare.arguments = some_table(&table);
	ck_assert_str_eq(describe(&method),
			 "exchange.declare exchange='e' type='fanout' {x-queue-type='quorum' x-max-length=-5 "
			 "yes=true x-Password=*** uri=*** long='012345678901234567890123456789012345678901234"
			 "...'}");
	buf_deinit(&table);
}
END_TEST

START_TEST(properties__are_told_in_their_order)
{
	struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC};
	struct buf table, payload = BUF_INIT;

	header.properties.present =
	    AMQC_PROP_HEADERS | AMQC_PROP_DELIVERY_MODE | AMQC_PROP_MESSAGE_ID | AMQC_PROP_TIMESTAMP;
	header.properties.headers = span_first(some_table(&table), 0);
	header.properties.delivery_mode = 2;
	header.properties.message_id = SPAN_LITERAL("m1");
	header.properties.timestamp = 1234567890123u;
	ck_assert_int_eq(amqc_content_header_payload_append(&payload, &header), AMQC_OK);
	ck_assert_uint_eq(amqc_describe_properties(text, sizeof(text), buf_span(&payload)), strlen(text));
	ck_assert_str_eq(text, " delivery_mode=2 message_id='m1' timestamp=1234567890123");
	ck_assert_uint_eq(amqc_describe_properties(text, sizeof(text), SPAN_NULL), 0);
	buf_deinit(&payload);
	buf_deinit(&table);
}
END_TEST

/* In a block of exactly that size, so that the sanitizer sees a read behind it. */
static void describe_first(struct span payload, size_t len, bool method, size_t size)
{
	uint8_t *copy = malloc(len ? len : 1);
	char *out = malloc(size);
	const char *at;

	ck_assert_ptr_nonnull(copy);
	ck_assert_ptr_nonnull(out);
	memcpy(copy, payload.data, len);
	if (method)
		ck_assert_uint_le(amqc_describe_method(out, size, span_make(copy, len)), size - 1);
	else
		ck_assert_uint_le(amqc_describe_properties(out, size, span_make(copy, len)), size - 1);
	for (at = out; *at >= 0x20 && *at < 0x7f;)
		at++;
	ck_assert(!*at);
	free(copy);
	free(out);
}

START_TEST(cut__anywhere_is_told_as_far_as_it_goes)
{
	struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC};
	struct buf payload = BUF_INIT;
	struct amqc_method method;
	struct span span;
	struct gen gen;

	for (uint64_t seed = 0; seed < 4 * GEN_METHOD_COUNT; seed++) {
		gen_init(&gen, seed);
		gen_method(&gen, gen_method_id(seed % GEN_METHOD_COUNT), &method);
		span = encode(&method);
		for (size_t len = 0; len <= span.len; len += 1 + len / 8)
			describe_first(span, len, true, 1 + (size_t)gen_below(&gen, 300));
		gen_properties(&gen, &header.properties);
		buf_truncate(&payload, 0);
		ck_assert_int_eq(amqc_content_header_payload_append(&payload, &header), AMQC_OK);
		span = buf_span(&payload);
		for (size_t len = 0; len <= span.len; len += 1 + len / 8)
			describe_first(span, len, false, 1 + (size_t)gen_below(&gen, 300));
	}
	buf_deinit(&payload);
}
END_TEST

START_TEST(cut__is_shown)
{
	struct amqc_method method = {.id = AMQC_QUEUE_BIND};
	struct span payload;
	struct buf table;

	method.queue_bind.queue = SPAN_LITERAL("jobs");
	method.queue_bind.exchange = SPAN_LITERAL("events");
	payload = encode(&method);
	(void)amqc_describe_method(text, sizeof(text), span_first(payload, 4 + 2 + 5 + 3));
	ck_assert_str_eq(text, "queue.bind queue='jobs' exchange='ev' ...");
	method.queue_bind.arguments = some_table(&table);
	payload = encode(&method);
	(void)amqc_describe_method(text, sizeof(text), span_first(payload, payload.len - 60));
	ck_assert_ptr_nonnull(strstr(text, " uri=*** long=...} ..."));
	buf_deinit(&table);
	(void)amqc_describe_method(text, sizeof(text), SPAN_LITERAL("\0\x09\0\x09"));
	ck_assert_str_eq(text, "?");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("amqp/describe");
	TCase *tcase = tcase_create("describe");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, method__is_told_by_name_with_what_is_set);
	tcase_add_test(tcase, table__shows_short_values_and_no_secrets);
	tcase_add_test(tcase, properties__are_told_in_their_order);
	tcase_add_test(tcase, cut__anywhere_is_told_as_far_as_it_goes);
	tcase_add_test(tcase, cut__is_shown);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	buf_deinit(&frame);
	return failed ? 1 : 0;
}
