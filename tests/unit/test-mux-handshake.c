#include "daemon/amqp/reply.h"
#include "daemon/mux/handshake.h"

#include <check.h>
#include <stdlib.h>

struct talk {
	struct handshake handshake;
	struct buf out;
	struct fault fault;
};

static const struct handshake_options wishes = {.sasl = "PLAIN",
						.user = "user",
						.password = "pass",
						.vhost = "/v",
						.connection_name = "name",
						.channel_max = 2047,
						.frame_max = 131072,
						.heartbeat_sec = 20};

static void begin(struct talk *talk, const struct handshake_options *options)
{
	*talk = (struct talk){.out = BUF_INIT};
	handshake_begin(&talk->handshake, options, &talk->out);
}

static enum handshake_result hear(struct talk *talk, const struct amqc_method *method)
{
	return handshake_method(&talk->handshake, method, &talk->out, &talk->fault);
}

static struct amqc_method start_with(struct span mechanisms, struct span properties)
{
	struct amqc_method method = {.id = AMQC_CONNECTION_START};

	method.connection_start = (struct amqc_connection_start){.version_minor = 9,
								 .server_properties = properties,
								 .mechanisms = mechanisms,
								 .locales = SPAN_LITERAL("en_US")};
	return method;
}

static struct amqc_method tune_with(uint16_t channel_max, uint32_t frame_max, uint16_t heartbeat)
{
	struct amqc_method method = {.id = AMQC_CONNECTION_TUNE};

	method.connection_tune = (struct amqc_connection_tune){channel_max, frame_max, heartbeat};
	return method;
}

/* Takes the next method that was written. */
static struct amqc_method written(struct talk *talk)
{
	struct amqc_method method;
	struct amqc_frame frame;
	size_t size;

	ck_assert_int_eq(amqc_frame_peek(buf_span(&talk->out), 131072, &frame, &size), AMQC_OK);
	ck_assert_uint_eq(frame.channel, 0);
	ck_assert_int_eq(amqc_method_decode(frame.payload, &method), AMQC_OK);
	buf_consume(&talk->out, size);
	return method;
}

static void up_to_tune(struct talk *talk, const struct handshake_options *options)
{
	struct amqc_method start = start_with(SPAN_LITERAL("AMQPLAIN PLAIN"), SPAN_NULL);

	begin(talk, options);
	ck_assert_int_eq(hear(talk, &start), HANDSHAKE_GOES_ON);
	buf_truncate(&talk->out, 0);
}

START_TEST(handshake__begins_with_the_protocol_header)
{
	struct talk talk;

	begin(&talk, &wishes);
	ck_assert(span_equal(buf_span(&talk.out), span_make("AMQP\0\0\x09\x01", 8)));
	buf_deinit(&talk.out);
}
END_TEST

START_TEST(handshake__goes_through_to_its_end)
{
	struct amqc_method start = start_with(SPAN_LITERAL("AMQPLAIN PLAIN"), SPAN_NULL);
	struct amqc_method tune = tune_with(2047, 131072, 60), got;
	struct talk talk;

	begin(&talk, &wishes);
	buf_truncate(&talk.out, 0);
	ck_assert_int_eq(hear(&talk, &start), HANDSHAKE_GOES_ON);
	got = written(&talk);
	ck_assert_int_eq(got.id, AMQC_CONNECTION_START_OK);
	ck_assert(span_equal_str(got.connection_start_ok.mechanism, "PLAIN"));
	ck_assert(span_equal(got.connection_start_ok.response, span_make("\0user\0pass", 10)));
	ck_assert(span_equal_str(got.connection_start_ok.locale, "en_US"));
	ck_assert_int_eq(hear(&talk, &tune), HANDSHAKE_GOES_ON);
	got = written(&talk);
	ck_assert_int_eq(got.id, AMQC_CONNECTION_TUNE_OK);
	got = written(&talk);
	ck_assert_int_eq(got.id, AMQC_CONNECTION_OPEN);
	ck_assert(span_equal_str(got.connection_open.virtual_host, "/v"));
	ck_assert_int_eq(hear(&talk, &(struct amqc_method){.id = AMQC_CONNECTION_OPEN_OK}),
			 HANDSHAKE_COMPLETE);
	ck_assert_int_eq(talk.handshake.state, HANDSHAKE_DONE);
	buf_deinit(&talk.out);
}
END_TEST

START_TEST(handshake__external_sends_no_credentials)
{
	struct handshake_options options = wishes;
	struct amqc_method start = start_with(SPAN_LITERAL("PLAIN EXTERNAL"), SPAN_NULL), got;
	struct talk talk;

	options.sasl = "EXTERNAL";
	begin(&talk, &options);
	buf_truncate(&talk.out, 0);
	ck_assert_int_eq(hear(&talk, &start), HANDSHAKE_GOES_ON);
	got = written(&talk);
	ck_assert(span_equal_str(got.connection_start_ok.mechanism, "EXTERNAL"));
	ck_assert_uint_eq(got.connection_start_ok.response.len, 0);
	buf_deinit(&talk.out);
}
END_TEST

START_TEST(handshake__a_mechanism_that_is_not_offered_is_refused)
{
	static const char *const offers[] = {"", "EXTERNAL", "PLAINER XPLAIN", "plain", "AMQPLAIN"};

	for (size_t i = 0; i < sizeof(offers) / sizeof(offers[0]); i++) {
		struct amqc_method start = start_with(span_str(offers[i]), SPAN_NULL);
		struct talk talk;

		begin(&talk, &wishes);
		buf_truncate(&talk.out, 0);
		ck_assert_int_eq(hear(&talk, &start), HANDSHAKE_REFUSED);
		ck_assert_uint_eq(talk.fault.code, AMQC_ACCESS_REFUSED);
		/* No password to whom does not ask for it. */
		ck_assert_uint_eq(buf_len(&talk.out), 0);
		buf_deinit(&talk.out);
	}
}
END_TEST

START_TEST(handshake__the_lower_limit_of_both_wins_and_zero_is_none)
{
	static const struct {
		uint16_t channels;
		uint32_t frame;
		uint16_t beat, want_channels;
		uint32_t want_frame;
		uint16_t want_beat;
	} rows[] = {
	    {0, 0, 0, 2047, 131072, 20},
	    {100, 4096, 5, 100, 4096, 5},
	    {65535, 1000000, 600, 2047, 131072, 20},
	    {2047, 131072, 20, 2047, 131072, 20},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct amqc_method tune = tune_with(rows[i].channels, rows[i].frame, rows[i].beat), got;
		struct talk talk;

		up_to_tune(&talk, &wishes);
		ck_assert_int_eq(hear(&talk, &tune), HANDSHAKE_GOES_ON);
		got = written(&talk);
		ck_assert_uint_eq(got.connection_tune_ok.channel_max, rows[i].want_channels);
		ck_assert_uint_eq(got.connection_tune_ok.frame_max, rows[i].want_frame);
		ck_assert_uint_eq(got.connection_tune_ok.heartbeat, rows[i].want_beat);
		ck_assert_uint_eq(talk.handshake.channel_max, rows[i].want_channels);
		ck_assert_uint_eq(talk.handshake.frame_max, rows[i].want_frame);
		ck_assert_uint_eq(talk.handshake.heartbeat_sec, rows[i].want_beat);
		buf_deinit(&talk.out);
	}
}
END_TEST

START_TEST(handshake__no_heartbeat_wanted_means_none)
{
	struct handshake_options options = wishes;
	struct amqc_method tune = tune_with(0, 0, 60);
	struct talk talk;

	options.heartbeat_sec = 0;
	up_to_tune(&talk, &options);
	ck_assert_int_eq(hear(&talk, &tune), HANDSHAKE_GOES_ON);
	ck_assert_uint_eq(talk.handshake.heartbeat_sec, 0);
	buf_deinit(&talk.out);
}
END_TEST

START_TEST(handshake__a_frame_max_below_the_least_makes_no_sense)
{
	struct amqc_method tune = tune_with(0, 4095, 60);
	struct talk talk;

	up_to_tune(&talk, &wishes);
	ck_assert_int_eq(hear(&talk, &tune), HANDSHAKE_BROKEN);
	ck_assert_uint_eq(buf_len(&talk.out), 0);
	buf_deinit(&talk.out);
}
END_TEST

START_TEST(handshake__a_vhost_of_256_bytes_is_refused)
{
	struct handshake_options options = wishes;
	struct amqc_method tune = tune_with(0, 0, 60);
	char vhost[257];
	struct talk talk;

	memset(vhost, 'v', 256);
	vhost[256] = '\0';
	options.vhost = vhost;
	up_to_tune(&talk, &options);
	ck_assert_int_eq(hear(&talk, &tune), HANDSHAKE_REFUSED);
	buf_deinit(&talk.out);
}
END_TEST

START_TEST(handshake__a_close_is_answered_and_means_what_its_code_says)
{
	static const struct {
		uint16_t code;
		enum handshake_result result;
		const char *sasl, *text;
	} rows[] = {{403, HANDSHAKE_REFUSED, "PLAIN",
		     "because (look at the user in uri, and at the password there or in password-file)"},
		    {403, HANDSHAKE_REFUSED, "EXTERNAL",
		     "because (look at tls-cert, and at the user whom the broker takes it for)"},
		    {530, HANDSHAKE_REFUSED, "PLAIN", "because"},
		    {402, HANDSHAKE_REFUSED, "PLAIN", "because"},
		    {320, HANDSHAKE_BROKEN, "PLAIN", "because"},
		    {541, HANDSHAKE_BROKEN, "PLAIN", "because"},
		    {501, HANDSHAKE_BROKEN, "PLAIN", "because"}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct amqc_method close = {.id = AMQC_CONNECTION_CLOSE}, got;
		struct handshake_options options = wishes;
		struct talk talk;

		close.connection_close.reply_code = rows[i].code;
		close.connection_close.reply_text = SPAN_LITERAL("because");
		up_to_tune(&talk, &options);
		talk.handshake.options.sasl = rows[i].sasl;
		ck_assert_int_eq(hear(&talk, &close), rows[i].result);
		ck_assert_uint_eq(talk.fault.code, rows[i].code);
		ck_assert_str_eq(talk.fault.text, rows[i].text);
		ck_assert(talk.fault.retryable);
		got = written(&talk);
		ck_assert_int_eq(got.id, AMQC_CONNECTION_CLOSE_OK);
		buf_deinit(&talk.out);
	}
}
END_TEST

START_TEST(handshake__an_empty_vhost_that_is_refused_is_named)
{
	static const struct {
		const char *vhost, *text;
	} rows[] = {{"", "NOT_ALLOWED - vhost  not found (the vhost is \"\" as the URI ends in \"/\"; "
			 "without that it is \"/\")"},
		    {"v", "NOT_ALLOWED - vhost  not found"}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct amqc_method close = {.id = AMQC_CONNECTION_CLOSE}, tune = tune_with(0, 0, 60);
		struct handshake_options options = wishes;
		struct talk talk;

		options.vhost = rows[i].vhost;
		close.connection_close.reply_code = 530;
		close.connection_close.reply_text = SPAN_LITERAL("NOT_ALLOWED - vhost  not found");
		up_to_tune(&talk, &options);
		ck_assert_int_eq(hear(&talk, &tune), HANDSHAKE_GOES_ON);
		ck_assert_int_eq(hear(&talk, &close), HANDSHAKE_REFUSED);
		ck_assert_str_eq(talk.fault.text, rows[i].text);
		ck_assert_uint_eq(talk.fault.text_len, strlen(rows[i].text));
		ck_assert_int_eq(talk.fault.origin, FAULT_BROKER);
		ck_assert(talk.fault.retryable);
		buf_deinit(&talk.out);
	}
}
END_TEST

/* Every method but the one that is expected, in every state. */
START_TEST(handshake__anything_else_makes_no_sense)
{
	static const enum amqc_method_id methods[] = {AMQC_CONNECTION_START,	AMQC_CONNECTION_TUNE,
						      AMQC_CONNECTION_OPEN_OK,	AMQC_CONNECTION_SECURE,
						      AMQC_CONNECTION_CLOSE_OK, AMQC_CONNECTION_BLOCKED,
						      AMQC_CONNECTION_OPEN,	AMQC_BASIC_DELIVER,
						      AMQC_CHANNEL_OPEN_OK,	AMQC_CONNECTION_START_OK};
	static const enum amqc_method_id expected[] = {AMQC_CONNECTION_START, AMQC_CONNECTION_TUNE,
						       AMQC_CONNECTION_OPEN_OK, (enum amqc_method_id)0};

	for (int state = HANDSHAKE_WAIT_START; state <= HANDSHAKE_DONE; state++) {
		for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
			struct amqc_method method = {.id = methods[i]};
			struct talk talk;

			if (methods[i] == expected[state])
				continue;
			begin(&talk, &wishes);
			buf_truncate(&talk.out, 0);
			talk.handshake.state = (enum handshake_state)state;
			ck_assert_int_eq(hear(&talk, &method), HANDSHAKE_BROKEN);
			ck_assert(fault_is_set(&talk.fault));
			ck_assert_uint_eq(buf_len(&talk.out), 0);
			buf_deinit(&talk.out);
		}
	}
}
END_TEST

START_TEST(handshake__takes_product_version_and_capabilities_from_the_broker)
{
	struct buf table = BUF_INIT;
	struct span name = SPAN_LITERAL("capabilities");
	struct amqc_method start;
	struct talk talk;
	size_t mark;

	amqc_field_append_str(&table, "product", SPAN_LITERAL("Rabbit\nMQ"));
	amqc_field_append_str(&table, "version", SPAN_LITERAL("3.10.8"));
	mark = amqc_field_begin(&table, &name, 'F');
	amqc_field_append_bool(&table, "basic.nack", true);
	amqc_field_append_bool(&table, "publisher_confirms", false);
	amqc_field_append_str(&table, "consumer_cancel_notify", SPAN_LITERAL("yes"));
	amqc_table_end(&table, mark);
	start = start_with(SPAN_LITERAL("PLAIN"), buf_span(&table));
	begin(&talk, &wishes);
	ck_assert_int_eq(hear(&talk, &start), HANDSHAKE_GOES_ON);
	ck_assert(talk.handshake.basic_nack);
	ck_assert(!talk.handshake.publisher_confirms);
	ck_assert(!talk.handshake.consumer_cancel_notify);
	ck_assert_ptr_nonnull(strstr(talk.handshake.broker, "3.10.8"));
	/* It is shown in logs and status. */
	ck_assert_ptr_null(strchr(talk.handshake.broker, '\n'));
	buf_deinit(&table);
	buf_deinit(&talk.out);
}
END_TEST

START_TEST(handshake__properties_of_other_types_and_sizes_do_no_harm)
{
	struct span product = SPAN_LITERAL("product"), capabilities = SPAN_LITERAL("capabilities");
	struct amqc_field number = {.type = 'I', .value.signed_int = 7};
	struct buf table = BUF_INIT;
	struct amqc_method start;
	char big[5000];
	struct talk talk;

	memset(big, 'x', sizeof(big));
	ck_assert_int_eq(amqc_field_append(&table, &product, &number), AMQC_OK);
	ck_assert_int_eq(amqc_field_append(&table, &capabilities, &number), AMQC_OK);
	amqc_field_append_str(&table, "version", span_make(big, sizeof(big)));
	start = start_with(SPAN_LITERAL("PLAIN"), buf_span(&table));
	begin(&talk, &wishes);
	ck_assert_int_eq(hear(&talk, &start), HANDSHAKE_GOES_ON);
	ck_assert_uint_lt(strlen(talk.handshake.broker), HANDSHAKE_BROKER_MAX);
	buf_deinit(&table);
	buf_deinit(&talk.out);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("handshake");
	TCase *tcase = tcase_create("handshake");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, handshake__begins_with_the_protocol_header);
	tcase_add_test(tcase, handshake__goes_through_to_its_end);
	tcase_add_test(tcase, handshake__external_sends_no_credentials);
	tcase_add_test(tcase, handshake__a_mechanism_that_is_not_offered_is_refused);
	tcase_add_test(tcase, handshake__the_lower_limit_of_both_wins_and_zero_is_none);
	tcase_add_test(tcase, handshake__no_heartbeat_wanted_means_none);
	tcase_add_test(tcase, handshake__a_frame_max_below_the_least_makes_no_sense);
	tcase_add_test(tcase, handshake__a_vhost_of_256_bytes_is_refused);
	tcase_add_test(tcase, handshake__a_close_is_answered_and_means_what_its_code_says);
	tcase_add_test(tcase, handshake__an_empty_vhost_that_is_refused_is_named);
	tcase_add_test(tcase, handshake__anything_else_makes_no_sense);
	tcase_add_test(tcase, handshake__takes_product_version_and_capabilities_from_the_broker);
	tcase_add_test(tcase, handshake__properties_of_other_types_and_sizes_do_no_harm);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
