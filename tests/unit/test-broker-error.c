/* What closes a connection or a channel beside the operations' own errors. */
#include "tests/unit/broker-client.h"

static struct world world;
static struct client a;

static void setup(void)
{
	world = world_new(NULL);
	a = client_open(&world);
}

static void teardown(void)
{
	client_end(&a);
	world_end(&world);
}

static void send_frame(uint8_t type, uint16_t channel, struct span payload)
{
	struct buf out = BUF_INIT;
	size_t mark = amqc_frame_begin(&out, type, channel);

	buf_append_span(&out, payload);
	amqc_frame_end(&out, mark);
	client_feed(&a, buf_span(&out));
	buf_deinit(&out);
}

/* The header of a content of class basic, or another. */
static void send_header(uint16_t class_id, uint64_t body_size, struct span flags_and_properties)
{
	struct buf payload = BUF_INIT;

	buf_append_be16(&payload, class_id);
	buf_append_be16(&payload, 0);
	buf_append_be64(&payload, body_size);
	buf_append_span(&payload, flags_and_properties);
	send_frame(AMQC_FRAME_HEADER, 1, buf_span(&payload));
	buf_deinit(&payload);
}

static void send_publish(void)
{
	SEND(&a, 1, BASIC_PUBLISH, basic_publish, .routing_key = S("q"));
}

#define NO_PROPERTIES S("\0\0")

START_TEST(error__after_it_the_channel_ignores_all_but_the_closing)
{
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("x"), .passive = true);
	client_expect_channel_close(&a, 1, 404, "NOT_FOUND - no queue 'x' in vhost '/'");
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"));
	client_publish_to(&a, "q", "x");
	client_expect_nothing(&a);
	CALL(&a, 1, CHANNEL_CLOSE, channel_close, .reply_code = 200);
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"));
	client_expect_nothing(&a);
	SEND(&a, 1, CHANNEL_CLOSE_OK, channel_close_ok);
	CALL(&a, 1, CHANNEL_OPEN, channel_open);
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"));
}
END_TEST

START_TEST(error__names_the_method_it_is_about)
{
	const struct amqc_method *m;

	SEND(&a, 1, BASIC_GET, basic_get, .queue = S("x"));
	m = client_expect(&a, 1, AMQC_CHANNEL_CLOSE);
	ck_assert_uint_eq(m->channel_close.class_id, 60);
	ck_assert_uint_eq(m->channel_close.method_id, 70);
}
END_TEST

START_TEST(error__of_a_channel_leaves_the_others_alone)
{
	CALL(&a, 2, CHANNEL_OPEN, channel_open);
	SEND(&a, 1, BASIC_GET, basic_get, .queue = S("x"));
	client_expect_channel_close(&a, 1, 404, "NOT_FOUND - no queue 'x' in vhost '/'");
	CALL(&a, 2, QUEUE_DECLARE, queue_declare, .queue = S("q"));
}
END_TEST

START_TEST(error__number_is_not_free_before_close_ok)
{
	SEND(&a, 1, BASIC_GET, basic_get, .queue = S("x"));
	client_expect_channel_close(&a, 1, 404, "NOT_FOUND - no queue 'x' in vhost '/'");
	SEND(&a, 1, CHANNEL_OPEN, channel_open);
	client_expect_connection_close(&a, 504, "CHANNEL_ERROR - second 'channel.open' seen");
}
END_TEST

START_TEST(error__second_open)
{
	SEND(&a, 1, CHANNEL_OPEN, channel_open);
	client_expect_connection_close(&a, 504, "CHANNEL_ERROR - second 'channel.open' seen");
}
END_TEST

START_TEST(error__method_on_a_channel_that_is_not_open)
{
	SEND(&a, 5, QUEUE_DECLARE, queue_declare, .queue = S("q"));
	client_expect_connection_close(&a, 504, "CHANNEL_ERROR - expected 'channel.open'");
}
END_TEST

START_TEST(error__content_on_a_channel_that_is_not_open)
{
	send_frame(AMQC_FRAME_BODY, 5, S("x"));
	client_expect_connection_close(
	    &a, 505, "UNEXPECTED_FRAME - expected method frame, got non method frame instead");
}
END_TEST

START_TEST(error__method_of_a_channel_on_channel_zero)
{
	SEND(&a, 0, QUEUE_DECLARE, queue_declare, .queue = S("q"));
	client_expect_connection_close(&a, 504,
				       "CHANNEL_ERROR - unexpected method in connection state running");
}
END_TEST

START_TEST(error__method_of_the_connection_on_a_channel)
{
	SEND(&a, 1, CONNECTION_CLOSE, connection_close, .reply_code = 200);
	client_expect_connection_close(&a, 503, "COMMAND_INVALID - unimplemented method");
}
END_TEST

START_TEST(error__method_of_the_server)
{
	SEND(&a, 1, BASIC_CANCEL_OK, basic_cancel_ok, .consumer_tag = S("t"));
	client_expect_connection_close(&a, 503, "COMMAND_INVALID - unimplemented method");
}
END_TEST

START_TEST(error__one_channel_too_many)
{
	struct broker_options options = {.channel_max = 2, .frame_max = 131072};
	struct world small = world_new(&options);
	struct client client = client_new(&small);

	client_feed(&client, span_make(AMQC_PROTOCOL_HEADER, AMQC_PROTOCOL_HEADER_LEN));
	client_expect(&client, 0, AMQC_CONNECTION_START);
	SEND(&client, 0, CONNECTION_START_OK, connection_start_ok, .mechanism = S("PLAIN"),
	     .response = S("\0guest\0guest"));
	client_expect(&client, 0, AMQC_CONNECTION_TUNE);
	SEND(&client, 0, CONNECTION_TUNE_OK, connection_tune_ok, .channel_max = 2, .frame_max = 4096);
	CALL(&client, 0, CONNECTION_OPEN, connection_open, .virtual_host = S("/"));
	CALL(&client, 1, CHANNEL_OPEN, channel_open);
	CALL(&client, 9, CHANNEL_OPEN, channel_open);
	SEND(&client, 3, CHANNEL_OPEN, channel_open);
	client_expect_connection_close(
	    &client, 530,
	    "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)");
	client_end(&client);
	world_end(&small);
}
END_TEST

START_TEST(error__channel_that_was_closed_counts_until_close_ok)
{
	struct broker_options options = {.channel_max = 0, .frame_max = 131072};
	struct world small = world_new(&options);
	struct client client = client_open(&small);

	SEND(&client, 1, BASIC_GET, basic_get, .queue = S("x"));
	client_expect_channel_close(&client, 1, 404, "NOT_FOUND - no queue 'x' in vhost '/'");
	ck_assert_uint_eq(broker_channel_count(small.broker), 1);
	SEND(&client, 1, CHANNEL_CLOSE_OK, channel_close_ok);
	ck_assert_uint_eq(broker_channel_count(small.broker), 0);
	client_end(&client);
	world_end(&small);
}
END_TEST

START_TEST(error__header_without_publish)
{
	send_header(60, 1, NO_PROPERTIES);
	client_expect_connection_close(
	    &a, 505, "UNEXPECTED_FRAME - expected method frame, got non method frame instead");
}
END_TEST

START_TEST(error__body_without_header)
{
	send_publish();
	send_frame(AMQC_FRAME_BODY, 1, S("x"));
	client_expect_connection_close(
	    &a, 505,
	    "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead");
}
END_TEST

START_TEST(error__method_between_publish_and_header)
{
	send_publish();
	send_publish();
	client_expect_connection_close(
	    &a, 505,
	    "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead");
}
END_TEST

START_TEST(error__method_between_header_and_body)
{
	send_publish();
	send_header(60, 5, NO_PROPERTIES);
	send_frame(AMQC_FRAME_BODY, 1, S("abc"));
	send_publish();
	client_expect_connection_close(
	    &a, 505, "UNEXPECTED_FRAME - expected content body, got non content body frame instead");
}
END_TEST

START_TEST(error__header_of_another_class)
{
	send_publish();
	send_header(50, 1, NO_PROPERTIES);
	client_expect_connection_close(
	    &a, 505, "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead");
}
END_TEST

START_TEST(error__body_longer_than_announced_is_found_with_the_next_method)
{
	send_publish();
	send_header(60, 1, NO_PROPERTIES);
	send_frame(AMQC_FRAME_BODY, 1, S("xx"));
	client_expect_nothing(&a);
	send_publish();
	client_expect_connection_close(
	    &a, 505, "UNEXPECTED_FRAME - expected content body, got non content body frame instead");
}
END_TEST

START_TEST(error__bad_properties)
{
	static const struct {
		const char *bytes;
		size_t len;
	} cases[] = {
	    {"\x80\0", 2},			  /* a flag and no value */
	    {"\0\0abc", 5},			  /* bytes behind the last property */
	    {"\0\1\0\0", 4},			  /* more flags to come */
	    {"\x20\0\0\0\0\3\1aZ", 9},		  /* headers with an unknown type */
	    {"\x20\0\0\0\0\x10\1aS\0\0\0\5", 13}, /* headers cut short */
	};

	for (unsigned int i = 0; i < 5; i++) {
		send_publish();
		send_header(60, 0, span_make(cases[i].bytes, cases[i].len));
		client_expect_connection_close(&a, 541, "INTERNAL_ERROR");
		client_end(&a);
		a = client_open(&world);
	}
}
END_TEST

/* "h", a double that is infinite; alone, and in an array. */
#define INFINITE "\1hd\x7f\xf0\0\0\0\0\0\0"
#define INFINITE_NESTED  \
	"\1aA\0\0\0\x09" \
	"d\x7f\xf0\0\0\0\0\0\0"

START_TEST(error__headers_with_a_number_that_is_not_finite)
{
	send_publish();
	send_header(60, 0, S("\x20\0\0\0\0\x0b" INFINITE));
	client_expect_connection_close(&a, 541, "INTERNAL_ERROR");
	client_end(&a);
	a = client_open(&world);
	send_publish();
	send_header(60, 0, S("\x20\0\0\0\0\x10" INFINITE_NESTED));
	client_expect_connection_close(&a, 541, "INTERNAL_ERROR");
}
END_TEST

START_TEST(error__arguments_with_a_number_that_is_not_finite_close_the_socket)
{
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .arguments = S(INFINITE));
	client_expect_end(&a);
	client_end(&a);
	a = client_open(&world);
	SEND(&a, 1, BASIC_CONSUME, basic_consume, .queue = S("q"), .arguments = S(INFINITE_NESTED));
	client_expect_end(&a);
}
END_TEST

START_TEST(error__tag_of_a_queues_consumer_for_direct_replies)
{
	client_declare(&a, "q");
	client_consume(&a, "q", "tag", false);
	SEND(&a, 1, BASIC_CONSUME, basic_consume, .queue = S("amq.rabbitmq.reply-to"),
	     .consumer_tag = S("tag"), .no_ack = true);
	client_expect_connection_close(&a, 530, "NOT_ALLOWED - attempt to reuse consumer tag 'tag'");
}
END_TEST

START_TEST(error__frame_too_large)
{
	uint8_t header[7] = {AMQC_FRAME_BODY, 0, 1};

	store_be32(header + 3, 131073);
	client_feed(&a, span_make(header, 7));
	client_expect_connection_close(
	    &a, 501, "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,131073,131064}");
}
END_TEST

START_TEST(error__frame_with_a_wrong_end)
{
	client_feed(&a, S("\1\0\1\0\0\0\4abcde"));
	client_expect_connection_close(
	    &a, 501, "FRAME_ERROR - type 1, all octets = <<...>>: {invalid_frame_end_marker,101}");
}
END_TEST

START_TEST(error__frame_of_an_unknown_type)
{
	send_frame(4, 1, S("x"));
	client_expect_connection_close(&a, 501, "FRAME_ERROR - type 4, all octets = <<...>>: unknown_frame");
}
END_TEST

START_TEST(error__heartbeat_on_a_channel)
{
	send_frame(AMQC_FRAME_HEARTBEAT, 1, SPAN_NULL);
	client_expect_connection_close(&a, 505, "UNEXPECTED_FRAME - type 8, all octets = <<>>");
}
END_TEST

START_TEST(error__heartbeat_with_a_payload)
{
	send_frame(AMQC_FRAME_HEARTBEAT, 0, S("x"));
	client_expect_connection_close(&a, 501, "FRAME_ERROR - type 8, all octets = <<120>>: unknown_frame");
}
END_TEST

START_TEST(error__content_on_channel_zero)
{
	send_frame(AMQC_FRAME_BODY, 0, S("x"));
	client_expect_connection_close(&a, 505, "UNEXPECTED_FRAME - type 3, all octets = <<120>>");
}
END_TEST

START_TEST(error__arguments_too_short_or_too_long)
{
	send_frame(AMQC_FRAME_METHOD, 1, S("\0\x32\0\x0a\0\0\2uq\0\0"));
	client_expect_connection_close(&a, 501, "FRAME_ERROR - cannot decode <<0,0,2,117,113,0,0>>");
	client_end(&a);
	a = client_open(&world);
	send_frame(AMQC_FRAME_METHOD, 1, S("\0\x32\0\x0a\0\0\2uq\0\0\0\0\0zz"));
	client_expect_connection_close(&a, 501,
				       "FRAME_ERROR - cannot decode <<0,0,2,117,113,0,0,0,0,0,122,122>>");
}
END_TEST

START_TEST(error__empty_method_frame)
{
	send_frame(AMQC_FRAME_METHOD, 1, SPAN_NULL);
	client_expect_connection_close(&a, 501, "FRAME_ERROR - type 1, all octets = <<>>: unknown_frame");
}
END_TEST

START_TEST(error__unknown_method_closes_the_socket)
{
	send_frame(AMQC_FRAME_METHOD, 1, S("\0\x3c\0\x63"));
	client_expect_end(&a);
}
END_TEST

START_TEST(error__bad_table_in_arguments_closes_the_socket)
{
	send_frame(AMQC_FRAME_METHOD, 1, S("\0\x32\0\x0a\0\0\1q\0\0\0\0\3\1aZ"));
	client_expect_end(&a);
}
END_TEST

START_TEST(error__names_that_are_not_utf8)
{
	static const char *const bad[] = {"\xff",     "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
					  "\xe2\x82", "a\x80"};

	for (unsigned int i = 0; i < 6; i++) {
		SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = span_str(bad[i]));
		client_expect_connection_close(&a, 501, "FRAME_ERROR - Malformed UTF-8 in shortstr");
		client_end(&a);
		a = client_open(&world);
	}
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("\xe2\x82\xac \xf0\x9f\x98\x80"));
	/* A publish may name anything. */
	client_publish_to(&a, "\xff", "x");
	client_expect_nothing(&a);
}
END_TEST

START_TEST(error__connection_waits_for_close_ok_and_then_no_longer)
{
	SEND(&a, 1, CHANNEL_OPEN, channel_open);
	client_expect(&a, 0, AMQC_CONNECTION_CLOSE);
	client_publish_to(&a, "q", "x");
	client_expect_nothing(&a);
	world_wait(&world, 11 * USEC_PER_SEC);
	client_expect_end(&a);
}
END_TEST

START_TEST(error__connection_ends_what_it_held_at_once)
{
	struct client b = client_open(&world);

	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("x"), .exclusive = true);
	SEND(&a, 1, CHANNEL_OPEN, channel_open);
	client_expect(&a, 0, AMQC_CONNECTION_CLOSE);
	CALL(&b, 1, QUEUE_DECLARE, queue_declare, .queue = S("x"));
	client_end(&b);
}
END_TEST

START_TEST(error__half_a_message_leaves_nothing_behind)
{
	struct client b = client_open(&world);

	client_declare(&b, "q");
	send_publish();
	send_header(60, 100, NO_PROPERTIES);
	send_frame(AMQC_FRAME_BODY, 1, S("half"));
	broker_conn_kill(a.conn, world.now);
	ck_assert_uint_eq(ready(&world, "q"), 0);
	client_publish_to(&b, "q", "whole");
	ck_assert_uint_eq(ready(&world, "q"), 1);
	client_end(&b);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
	    error__after_it_the_channel_ignores_all_but_the_closing,
	    error__names_the_method_it_is_about,
	    error__of_a_channel_leaves_the_others_alone,
	    error__number_is_not_free_before_close_ok,
	    error__second_open,
	    error__method_on_a_channel_that_is_not_open,
	    error__content_on_a_channel_that_is_not_open,
	    error__method_of_a_channel_on_channel_zero,
	    error__method_of_the_connection_on_a_channel,
	    error__method_of_the_server,
	    error__one_channel_too_many,
	    error__channel_that_was_closed_counts_until_close_ok,
	    error__header_without_publish,
	    error__body_without_header,
	    error__method_between_publish_and_header,
	    error__method_between_header_and_body,
	    error__header_of_another_class,
	    error__body_longer_than_announced_is_found_with_the_next_method,
	    error__bad_properties,
	    error__headers_with_a_number_that_is_not_finite,
	    error__arguments_with_a_number_that_is_not_finite_close_the_socket,
	    error__tag_of_a_queues_consumer_for_direct_replies,
	    error__frame_too_large,
	    error__frame_with_a_wrong_end,
	    error__frame_of_an_unknown_type,
	    error__heartbeat_on_a_channel,
	    error__heartbeat_with_a_payload,
	    error__content_on_channel_zero,
	    error__arguments_too_short_or_too_long,
	    error__empty_method_frame,
	    error__unknown_method_closes_the_socket,
	    error__bad_table_in_arguments_closes_the_socket,
	    error__names_that_are_not_utf8,
	    error__connection_waits_for_close_ok_and_then_no_longer,
	    error__connection_ends_what_it_held_at_once,
	    error__half_a_message_leaves_nothing_behind,
	};

	return RUN_TESTS("broker/error", tests, setup, teardown);
}
