/* What a test tells the broker: restart, alarms, confirms by hand. And that a run can be repeated. */
#include "tests/unit/broker-client.h"

static struct world world;
static struct client a, b;

static void setup(void)
{
	world = world_new(NULL);
	a = client_open(&world);
	b = client_open(&world);
}

static void teardown(void)
{
	client_end(&a);
	client_end(&b);
	world_end(&world);
}

static void publish_persistent(struct client *client, const char *queue, const char *body)
{
	struct amqc_properties properties = {.present = AMQC_PROP_DELIVERY_MODE, .delivery_mode = 2};

	client_publish(client, 1, &(struct amqc_basic_publish){.routing_key = span_str(queue)}, &properties,
		       span_str(body));
}

static void reconnect(struct client *client)
{
	client_end(client);
	*client = client_open(&world);
}

static void expect_gone(const char *queue)
{
	size_t x, y;

	ck_assert(!broker_queue_counts(world.broker, "/", span_str(queue), &x, &y));
}

START_TEST(restart__ends_all_connections_without_a_word)
{
	broker_restart(world.broker, world.now);
	client_expect_end(&a);
	client_expect_end(&b);
	ck_assert_uint_eq(broker_connection_count(world.broker), 0);
	reconnect(&a);
}
END_TEST

START_TEST(restart__keeps_durable_queues_and_their_persistent_messages)
{
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .durable = true);
	publish_persistent(&a, "q", "1");
	client_publish_to(&a, "q", "lost");
	publish_persistent(&a, "q", "2");
	broker_restart(world.broker, world.now);
	ck_assert_uint_eq(ready(&world, "q"), 2);
	reconnect(&a);
	client_consume(&a, "q", "t", false);
	client_expect_delivery(&a, 1, "1", false);
	client_expect_delivery(&a, 2, "2", false);
}
END_TEST

START_TEST(restart__brings_unacked_messages_back_as_redelivered)
{
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .durable = true);
	publish_persistent(&a, "q", "1");
	client_publish_to(&a, "q", "lost");
	client_consume(&b, "q", "t", false);
	client_expect_delivery(&b, 1, "1", false);
	client_expect_delivery(&b, 2, "lost", false);
	broker_restart(world.broker, world.now);
	reconnect(&b);
	client_consume(&b, "q", "t", false);
	client_expect_delivery(&b, 1, "1", true);
	client_expect_nothing(&b);
}
END_TEST

START_TEST(restart__drops_what_is_not_durable)
{
	CALL(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("stays"), .type = S("topic"),
	     .durable = true);
	CALL(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("goes"), .type = S("topic"));
	CALL(&a, 1, EXCHANGE_BIND, exchange_bind, .source = S("stays"), .destination = S("goes"));
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("durable"), .durable = true);
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("transient"));
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("exclusive"), .durable = true,
	     .exclusive = true);
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("auto"), .durable = true, .auto_delete = true);
	client_bind(&a, "durable", "stays", "k", SPAN_NULL);
	client_bind(&a, "durable", "goes", "k", SPAN_NULL);
	broker_restart(world.broker, world.now);
	expect_gone("transient");
	expect_gone("exclusive");
	expect_gone("auto");
	reconnect(&a);
	client_publish(&a, 1, &(struct amqc_basic_publish){.exchange = S("stays"), .routing_key = S("k")},
		       NULL, S("x"));
	ck_assert_uint_eq(ready(&world, "durable"), 1);
	CALL(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("amq.direct"), .passive = true);
	SEND(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("goes"), .passive = true);
	client_expect_channel_close(&a, 1, 404, "NOT_FOUND - no exchange 'goes' in vhost '/'");
}
END_TEST

START_TEST(kill__ends_one_connection_and_its_output)
{
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"));
	broker_conn_kill(a.conn, world.now);
	client_expect_end(&a);
	ck_assert_uint_eq(ready(&world, "q"), 0);
	CALL(&b, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"));
}
END_TEST

START_TEST(close_all__says_why)
{
	broker_close_all(world.broker, 320,
			 "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'",
			 world.now);
	client_expect_connection_close(
	    &a, 320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'");
	client_expect_connection_close(
	    &b, 320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'");
}
END_TEST

START_TEST(block__blocks_and_tells_at_the_first_publish)
{
	const struct amqc_method *m;

	client_declare(&a, "q");
	client_publish_to(&a, "q", "before");
	broker_block(world.broker, "low on memory", world.now);
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"));
	ck_assert(broker_conn_wants_input(a.conn));
	client_publish_to(&a, "q", "held");
	m = client_expect(&a, 0, AMQC_CONNECTION_BLOCKED);
	ck_assert(span_equal_str(m->connection_blocked.reason, "low on memory"));
	ck_assert(!broker_conn_wants_input(a.conn));
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"));
	client_expect_nothing(&a);
	ck_assert_uint_eq(ready(&world, "q"), 1);
	/* Who does not publish goes on. */
	CALL(&b, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"));
	broker_unblock(world.broker, world.now);
	client_expect(&a, 0, AMQC_CONNECTION_UNBLOCKED);
	client_expect(&a, 1, AMQC_QUEUE_DECLARE_OK);
	ck_assert_uint_eq(ready(&world, "q"), 2);
}
END_TEST

START_TEST(block__deliveries_to_a_blocked_connection_go_on)
{
	client_declare(&a, "q");
	client_consume(&a, "q", "t", true);
	client_publish_to(&b, "q", "1");
	broker_block(world.broker, "x", world.now);
	client_publish_to(&a, "none", "held");
	client_expect_delivery(&a, 1, "1", false);
	client_expect(&a, 0, AMQC_CONNECTION_BLOCKED);
	client_expect_nothing(&b);
}
END_TEST

START_TEST(block__a_blocked_connection_is_not_silent)
{
	struct client c = client_new(&world);

	client_login(&c, S("/"), 10, true);
	CALL(&c, 1, CHANNEL_OPEN, channel_open);
	broker_block(world.broker, "x", world.now);
	client_publish_to(&c, "none", "held");
	client_expect(&c, 0, AMQC_CONNECTION_BLOCKED);
	world_wait(&world, 100 * USEC_PER_SEC);
	ck_assert(!broker_conn_closed(c.conn));
	broker_unblock(world.broker, world.now);
	ck_assert(!broker_conn_closed(c.conn));
	world_wait(&world, 41 * USEC_PER_SEC);
	ck_assert(broker_conn_closed(c.conn));
	client_end(&c);
}
END_TEST

static void expect_ack(struct client *client, uint64_t tag, bool multiple)
{
	const struct amqc_method *m = client_expect(client, 1, AMQC_BASIC_ACK);

	ck_assert_uint_eq(m->basic_ack.delivery_tag, tag);
	ck_assert_int_eq(m->basic_ack.multiple, multiple);
}

static void hold_five(void)
{
	client_declare(&a, "q");
	CALL(&a, 1, CONFIRM_SELECT, confirm_select);
	CALL(&b, 1, CONFIRM_SELECT, confirm_select);
	broker_set_manual_confirms(world.broker, true);
	for (unsigned int i = 0; i < 3; i++)
		client_publish_to(&a, "q", "x");
	client_publish_to(&b, "q", "x");
	client_publish_to(&a, "q", "x");
	client_expect_nothing(&a);
	ck_assert_uint_eq(broker_held_confirms(world.broker), 5);
}

START_TEST(confirms__wait_until_they_are_released)
{
	hold_five();
	ck_assert_uint_eq(ready(&world, "q"), 5);
	broker_release_confirms(world.broker, 2, world.now);
	expect_ack(&a, 2, true);
	client_expect_nothing(&a);
	broker_release_confirms(world.broker, 100, world.now);
	expect_ack(&a, 3, false);
	expect_ack(&b, 1, false);
	expect_ack(&a, 4, false);
	ck_assert_uint_eq(broker_held_confirms(world.broker), 0);
}
END_TEST

START_TEST(confirms__can_be_refused)
{
	const struct amqc_method *m;

	hold_five();
	broker_refuse_confirms(world.broker, 3, world.now);
	m = client_expect(&a, 1, AMQC_BASIC_NACK);
	ck_assert_uint_eq(m->basic_nack.delivery_tag, 3);
	ck_assert(m->basic_nack.multiple);
}
END_TEST

START_TEST(confirms__can_be_released_out_of_order)
{
	hold_five();
	broker_release_one_confirm(world.broker, 2, false, world.now);
	expect_ack(&a, 3, false);
	broker_release_one_confirm(world.broker, 0, false, world.now);
	expect_ack(&a, 1, false);
	broker_release_confirms(world.broker, 100, world.now);
	expect_ack(&a, 2, false);
}
END_TEST

START_TEST(confirms__go_on_in_order_when_no_longer_held)
{
	hold_five();
	broker_set_manual_confirms(world.broker, false);
	client_publish_to(&a, "q", "x");
	client_expect_nothing(&a);
	broker_release_confirms(world.broker, 100, world.now);
	expect_ack(&a, 3, true);
	expect_ack(&a, 5, true);
	client_publish_to(&a, "q", "x");
	expect_ack(&a, 6, false);
}
END_TEST

START_TEST(confirms__held_ones_go_with_their_channel)
{
	hold_five();
	CALL(&a, 1, CHANNEL_CLOSE, channel_close, .reply_code = 200);
	ck_assert_uint_eq(broker_held_confirms(world.broker), 1);
	broker_restart(world.broker, world.now);
	ck_assert_uint_eq(broker_held_confirms(world.broker), 0);
}
END_TEST

static void note_wake(struct broker_conn *conn, void *context)
{
	*(struct broker_conn **)context = conn;
}

START_TEST(wake__tells_of_output_on_other_connections)
{
	struct broker_conn *woken = NULL;
	struct broker_options options = BROKER_OPTIONS_INIT;
	struct world other;
	struct client c, d;

	options.wake = note_wake;
	options.wake_context = &woken;
	other = world_new(&options);
	c = client_open(&other);
	d = client_open(&other);
	client_declare(&c, "q");
	client_consume(&d, "q", "t", true);
	woken = NULL;
	client_publish_to(&c, "q", "x");
	ck_assert_ptr_eq(woken, d.conn);
	client_end(&c);
	client_end(&d);
	world_end(&other);
}
END_TEST

/* One run with generated names and several connections; its whole output. */
static void run(uint64_t seed, struct buf *ret)
{
	struct broker_options options = BROKER_OPTIONS_INIT;
	struct world one;
	struct client c[3];

	options.seed = seed;
	one = world_new(&options);
	for (unsigned int i = 0; i < 3; i++)
		c[i] = client_open(&one);
	client_declare(&c[0], "q");
	for (unsigned int i = 0; i < 3; i++) {
		SEND(&c[i], 1, QUEUE_DECLARE, queue_declare, .exclusive = true);
		SEND(&c[i], 1, BASIC_CONSUME, basic_consume, .queue = S("q"));
	}
	for (unsigned int i = 0; i < 10; i++)
		client_publish_to(&c[i % 3], "q", "body");
	broker_conn_kill(c[1].conn, one.now);
	for (unsigned int i = 0; i < 3; i++)
		buf_append_span(ret, broker_conn_output(c[i].conn));
	for (unsigned int i = 0; i < 3; i++)
		client_end(&c[i]);
	world_end(&one);
}

START_TEST(run__is_the_same_for_the_same_seed_and_another_for_another)
{
	struct buf first = BUF_INIT, second = BUF_INIT, third = BUF_INIT;

	run(1, &first);
	run(1, &second);
	run(2, &third);
	ck_assert_uint_gt(buf_len(&first), 500);
	ck_assert(span_equal(buf_span(&first), buf_span(&second)));
	ck_assert(!span_equal(buf_span(&first), buf_span(&third)));
	buf_deinit(&first);
	buf_deinit(&second);
	buf_deinit(&third);
}
END_TEST

START_TEST(feed__any_split_of_the_bytes_has_the_same_effect)
{
	struct amqc_method method = {.id = AMQC_BASIC_PUBLISH, .basic_publish.routing_key = S("q")};
	struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC, .body_size = 10};
	struct buf out = BUF_INIT;

	client_declare(&a, "q");
	client_consume(&a, "q", "t", true);
	for (unsigned int i = 0; i < 8; i++) {
		ck_assert_int_eq(amqc_method_append(&out, 1, &method), AMQC_OK);
		ck_assert_int_eq(amqc_content_header_append(&out, 1, &header), AMQC_OK);
		amqc_body_append(&out, 1, S("0123456789"), 4096);
	}
	for (size_t part = 1; part < 60; part++)
		for (size_t at = 0; at < buf_len(&out); at += part)
			client_feed(&a, span_first(span_skip(buf_span(&out), at), part));
	for (unsigned int i = 1; i <= 59 * 8; i++)
		client_expect_delivery(&a, i, "0123456789", false);
	client_expect_nothing(&a);
	buf_deinit(&out);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
	    restart__ends_all_connections_without_a_word,
	    restart__keeps_durable_queues_and_their_persistent_messages,
	    restart__brings_unacked_messages_back_as_redelivered,
	    restart__drops_what_is_not_durable,
	    kill__ends_one_connection_and_its_output,
	    close_all__says_why,
	    block__blocks_and_tells_at_the_first_publish,
	    block__deliveries_to_a_blocked_connection_go_on,
	    block__a_blocked_connection_is_not_silent,
	    confirms__wait_until_they_are_released,
	    confirms__can_be_refused,
	    confirms__can_be_released_out_of_order,
	    confirms__go_on_in_order_when_no_longer_held,
	    confirms__held_ones_go_with_their_channel,
	    wake__tells_of_output_on_other_connections,
	    run__is_the_same_for_the_same_seed_and_another_for_another,
	    feed__any_split_of_the_bytes_has_the_same_effect,
	};

	return RUN_TESTS("broker/control", tests, setup, teardown);
}
