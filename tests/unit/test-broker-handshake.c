#include "tests/unit/broker-client.h"

static const struct broker_options defaults = {.channel_max = 2047, .frame_max = 131072, .heartbeat_sec = 60};

/* Up to start-ok, with these words. */
static void start(struct client *client, struct span response, bool capable)
{
	struct buf table = BUF_INIT;
	struct span name = S("capabilities");
	size_t mark = amqc_field_begin(&table, &name, 'F');

	amqc_field_append_bool(&table, "authentication_failure_close", capable);
	amqc_table_end(&table, mark);
	client_feed(client, span_make(AMQC_PROTOCOL_HEADER, AMQC_PROTOCOL_HEADER_LEN));
	client_expect(client, 0, AMQC_CONNECTION_START);
	SEND(client, 0, CONNECTION_START_OK, connection_start_ok, .client_properties = buf_span(&table),
	     .mechanism = S("PLAIN"), .response = response, .locale = S("en_US"));
	buf_deinit(&table);
}

static void expect_tune_refused(uint16_t channel_max, uint32_t frame_max)
{
	struct world world = world_new(&defaults);
	struct client client = client_new(&world);

	start(&client, S("\0guest\0guest"), true);
	client_expect(&client, 0, AMQC_CONNECTION_TUNE);
	SEND(&client, 0, CONNECTION_TUNE_OK, connection_tune_ok, .channel_max = channel_max,
	     .frame_max = frame_max);
	client_expect_end(&client);
	client_end(&client);
	world_end(&world);
}

START_TEST(handshake__start_names_the_product_and_its_capabilities)
{
	struct world world = world_new(NULL);
	struct client client = client_new(&world);
	struct amqc_field field, flag;
	const struct amqc_method *m;

	client_feed(&client, span_make(AMQC_PROTOCOL_HEADER, AMQC_PROTOCOL_HEADER_LEN));
	m = client_expect(&client, 0, AMQC_CONNECTION_START);
	ck_assert(amqc_table_find(m->connection_start.server_properties, "product", &field));
	ck_assert(span_equal_str(field.value.bytes, "testbroker"));
	ck_assert(amqc_table_find(m->connection_start.server_properties, "capabilities", &field));
	ck_assert(amqc_table_find(field.value.bytes, "basic.nack", &flag) && flag.value.boolean);
	ck_assert(span_equal_str(m->connection_start.mechanisms, "PLAIN"));
	client_end(&client);
	world_end(&world);
}
END_TEST

START_TEST(handshake__works_when_each_byte_comes_alone)
{
	struct world world = world_new(NULL);
	struct client client = client_new(&world);
	struct amqc_method method = {.id = AMQC_CONNECTION_START_OK};
	struct buf out = BUF_INIT;

	for (unsigned int i = 0; i < AMQC_PROTOCOL_HEADER_LEN; i++)
		client_feed(&client, span_make(&AMQC_PROTOCOL_HEADER[i], 1));
	client_expect(&client, 0, AMQC_CONNECTION_START);
	method.connection_start_ok =
	    (struct amqc_connection_start_ok){.mechanism = S("PLAIN"), .response = S("\0guest\0guest")};
	ck_assert_int_eq(amqc_method_append(&out, 0, &method), AMQC_OK);
	for (size_t i = 0; i < buf_len(&out); i++)
		client_feed(&client, span_make(buf_span(&out).data + i, 1));
	client_expect(&client, 0, AMQC_CONNECTION_TUNE);
	buf_deinit(&out);
	client_end(&client);
	world_end(&world);
}
END_TEST

START_TEST(handshake__tune_offers_what_the_options_say)
{
	struct broker_options options = {.channel_max = 7, .frame_max = 8192, .heartbeat_sec = 3};
	struct world world = world_new(&options);
	struct client client = client_new(&world);
	const struct amqc_method *m;

	start(&client, S("\0guest\0guest"), true);
	m = client_expect(&client, 0, AMQC_CONNECTION_TUNE);
	ck_assert_uint_eq(m->connection_tune.channel_max, 7);
	ck_assert_uint_eq(m->connection_tune.frame_max, 8192);
	ck_assert_uint_eq(m->connection_tune.heartbeat, 3);
	client_end(&client);
	world_end(&world);
}
END_TEST

START_TEST(handshake__another_protocol_is_answered_with_ours_and_closed)
{
	struct world world = world_new(NULL);
	struct client client = client_new(&world);

	client_feed(&client, S("GET / HTTP/1.1\r\n"));
	ck_assert(span_equal(broker_conn_output(client.conn), S(AMQC_PROTOCOL_HEADER)));
	ck_assert(broker_conn_closed(client.conn));
	client_end(&client);
	world_end(&world);
}
END_TEST

START_TEST(handshake__wrong_password_is_told_to_those_who_can_hear_it)
{
	struct world world = world_new(NULL);
	struct client client = client_new(&world);

	start(&client, S("\0guest\0wrong"), true);
	client_expect_connection_close(
	    &client, 403,
	    "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
	    "For details see the broker logfile.");
	client_end(&client);
	world_end(&world);
}
END_TEST

START_TEST(handshake__wrong_password_closes_the_socket_of_others)
{
	struct world world = world_new(NULL);
	struct client client = client_new(&world);

	start(&client, S("\0guest\0wrong"), false);
	client_expect_end(&client);
	client_end(&client);
	world_end(&world);
}
END_TEST

START_TEST(handshake__unknown_user_is_refused)
{
	struct world world = world_new(NULL);
	struct client client = client_new(&world);

	start(&client, S("\0nobody\0guest"), false);
	client_expect_end(&client);
	client_end(&client);
	world_end(&world);
}
END_TEST

START_TEST(handshake__unknown_vhost_is_not_allowed)
{
	struct world world = world_new(NULL);
	struct client client = client_new(&world);

	start(&client, S("\0guest\0guest"), true);
	client_expect(&client, 0, AMQC_CONNECTION_TUNE);
	SEND(&client, 0, CONNECTION_TUNE_OK, connection_tune_ok, .channel_max = 10, .frame_max = 4096);
	SEND(&client, 0, CONNECTION_OPEN, connection_open, .virtual_host = S("nope"));
	client_expect_connection_close(&client, 530, "NOT_ALLOWED - vhost nope not found");
	client_end(&client);
	world_end(&world);
}
END_TEST

START_TEST(handshake__knows_the_vhosts_one_and_two_and_those_given)
{
	static const char *const more[] = {"three"};
	struct broker_options options = BROKER_OPTIONS_INIT;
	static const char *const all[] = {"/", "one", "two", "three"};
	struct world world;

	options.vhosts = more;
	options.vhost_count = 1;
	world = world_new(&options);
	for (unsigned int i = 0; i < 4; i++) {
		struct client client = client_new(&world);

		client_login(&client, span_str(all[i]), 0, true);
		ck_assert(broker_conn_running(client.conn));
		client_end(&client);
	}
	world_end(&world);
}
END_TEST

START_TEST(handshake__vhosts_do_not_share_queues)
{
	struct world world = world_new(NULL);
	struct client a = client_open(&world), b = client_new(&world);

	client_declare(&a, "q");
	client_login(&b, S("one"), 0, true);
	CALL(&b, 1, CHANNEL_OPEN, channel_open);
	SEND(&b, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .passive = true);
	client_expect_channel_close(&b, 1, 404, "NOT_FOUND - no queue 'q' in vhost 'one'");
	client_end(&a);
	client_end(&b);
	world_end(&world);
}
END_TEST

START_TEST(handshake__tune_ok_above_the_offer_is_refused)
{
	expect_tune_refused(2048, 131072);
	expect_tune_refused(2047, 131073);
}
END_TEST

START_TEST(handshake__tune_ok_without_limits_is_refused)
{
	expect_tune_refused(0, 131072);
	expect_tune_refused(2047, 0);
}
END_TEST

START_TEST(handshake__frames_below_4096_are_refused)
{
	expect_tune_refused(2047, 4095);
}
END_TEST

START_TEST(handshake__a_frame_out_of_turn_closes_the_socket)
{
	struct world world = world_new(NULL);
	struct client client = client_new(&world);

	client_feed(&client, span_make(AMQC_PROTOCOL_HEADER, AMQC_PROTOCOL_HEADER_LEN));
	client_expect(&client, 0, AMQC_CONNECTION_START);
	SEND(&client, 1, CHANNEL_OPEN, channel_open);
	client_expect_end(&client);
	client_end(&client);
	world_end(&world);
}
END_TEST

START_TEST(handshake__that_takes_too_long_is_given_up)
{
	struct world world = world_new(NULL);
	struct client client = client_new(&world);

	world_wait(&world, 9 * USEC_PER_SEC);
	ck_assert(!broker_conn_closed(client.conn));
	world_wait(&world, 2 * USEC_PER_SEC);
	client_expect_end(&client);
	client_end(&client);
	world_end(&world);
}
END_TEST

START_TEST(heartbeat__is_sent_twice_an_interval)
{
	struct world world = world_new(NULL);
	struct client client = client_new(&world);

	client_login(&client, S("/"), 10, true);
	world_wait(&world, 5 * USEC_PER_SEC);
	client_expect_heartbeat(&client);
	client_expect_nothing(&client);
	world_wait(&world, 5 * USEC_PER_SEC);
	client_expect_heartbeat(&client);
	client_expect_nothing(&client);
	client_end(&client);
	world_end(&world);
}
END_TEST

START_TEST(heartbeat__is_not_sent_when_none_was_negotiated)
{
	struct world world = world_new(NULL);
	struct client client = client_new(&world);

	client_login(&client, S("/"), 0, true);
	world_wait(&world, 3600 * USEC_PER_SEC);
	client_expect_nothing(&client);
	client_end(&client);
	world_end(&world);
}
END_TEST

START_TEST(heartbeat__silent_client_is_dead_after_two_intervals)
{
	struct world world = world_new(NULL);
	struct client client = client_new(&world);

	client_login(&client, S("/"), 10, true);
	world_wait(&world, 19 * USEC_PER_SEC);
	ck_assert(!broker_conn_closed(client.conn));
	world_wait(&world, 2 * USEC_PER_SEC);
	ck_assert(broker_conn_closed(client.conn));
	ck_assert_str_eq(broker_conn_reason(client.conn), "missed heartbeats from client, timeout: 10s");
	client_end(&client);
	world_end(&world);
}
END_TEST

START_TEST(heartbeat__any_byte_of_the_client_counts)
{
	struct world world = world_new(NULL);
	struct client client = client_new(&world);
	struct buf beat = BUF_INIT;

	client_login(&client, S("/"), 10, true);
	amqc_heartbeat_append(&beat);
	for (unsigned int i = 0; i < 5; i++) {
		world_wait(&world, 15 * USEC_PER_SEC);
		client_feed(&client, buf_span(&beat));
		ck_assert(!broker_conn_closed(client.conn));
	}
	buf_deinit(&beat);
	client_end(&client);
	world_end(&world);
}
END_TEST

START_TEST(connection__close_is_answered_and_ends_it)
{
	struct world world = world_new(NULL);
	struct client client = client_open(&world);

	SEND(&client, 0, CONNECTION_CLOSE, connection_close, .reply_code = 200);
	client_expect(&client, 0, AMQC_CONNECTION_CLOSE_OK);
	client_expect_end(&client);
	ck_assert_uint_eq(broker_connection_count(world.broker), 0);
	client_end(&client);
	world_end(&world);
}
END_TEST

START_TEST(connection__counts_only_those_that_are_open)
{
	struct world world = world_new(NULL);
	struct client a = client_open(&world), b = client_new(&world);

	ck_assert_uint_eq(broker_connection_count(world.broker), 1);
	client_login(&b, S("/"), 0, true);
	ck_assert_uint_eq(broker_connection_count(world.broker), 2);
	CALL(&b, 3, CHANNEL_OPEN, channel_open);
	ck_assert_uint_eq(broker_channel_count(world.broker), 2);
	client_end(&a);
	ck_assert_uint_eq(broker_connection_count(world.broker), 1);
	ck_assert_uint_eq(broker_channel_count(world.broker), 1);
	client_end(&b);
	world_end(&world);
}
END_TEST

START_TEST(connection__update_secret_is_accepted)
{
	struct world world = world_new(NULL);
	struct client client = client_open(&world);

	CALL(&client, 0, CONNECTION_UPDATE_SECRET, connection_update_secret, .new_secret = S("x"));
	client_end(&client);
	world_end(&world);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
	    handshake__start_names_the_product_and_its_capabilities,
	    handshake__works_when_each_byte_comes_alone,
	    handshake__tune_offers_what_the_options_say,
	    handshake__another_protocol_is_answered_with_ours_and_closed,
	    handshake__wrong_password_is_told_to_those_who_can_hear_it,
	    handshake__wrong_password_closes_the_socket_of_others,
	    handshake__unknown_user_is_refused,
	    handshake__unknown_vhost_is_not_allowed,
	    handshake__knows_the_vhosts_one_and_two_and_those_given,
	    handshake__vhosts_do_not_share_queues,
	    handshake__tune_ok_above_the_offer_is_refused,
	    handshake__tune_ok_without_limits_is_refused,
	    handshake__frames_below_4096_are_refused,
	    handshake__a_frame_out_of_turn_closes_the_socket,
	    handshake__that_takes_too_long_is_given_up,
	    heartbeat__is_sent_twice_an_interval,
	    heartbeat__is_not_sent_when_none_was_negotiated,
	    heartbeat__silent_client_is_dead_after_two_intervals,
	    heartbeat__any_byte_of_the_client_counts,
	    connection__close_is_answered_and_ends_it,
	    connection__counts_only_those_that_are_open,
	    connection__update_secret_is_accepted,
	};

	return RUN_TESTS("broker/handshake", tests, NULL, NULL);
}
