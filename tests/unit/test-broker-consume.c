#include "tests/unit/broker-client.h"

#include <stdio.h>

static struct world world;
static struct client a, b;

static void setup(void)
{
	world = world_new(NULL);
	a = client_open(&world);
	b = client_open(&world);
	client_declare(&a, "q");
}

static void teardown(void)
{
	client_end(&a);
	client_end(&b);
	world_end(&world);
}

static void publish_numbers(unsigned int from, unsigned int to)
{
	char text[16];

	for (unsigned int i = from; i <= to; i++) {
		snprintf(text, sizeof(text), "%u", i);
		client_publish_to(&a, "q", text);
	}
}

static void expect_numbers(struct client *client, unsigned int from, unsigned int to, uint64_t tag,
			   bool redelivered)
{
	char text[16];

	for (unsigned int i = from; i <= to; i++) {
		snprintf(text, sizeof(text), "%u", i);
		client_expect_delivery(client, tag++, text, redelivered);
	}
}

static void prefetch(struct client *client, uint16_t count, bool global)
{
	CALL(client, 1, BASIC_QOS, basic_qos, .prefetch_count = count, .global = global);
}

static void ack(struct client *client, uint64_t tag, bool multiple)
{
	SEND(client, 1, BASIC_ACK, basic_ack, .delivery_tag = tag, .multiple = multiple);
}

static void nack(struct client *client, uint64_t tag, bool multiple, bool requeue)
{
	SEND(client, 1, BASIC_NACK, basic_nack, .delivery_tag = tag, .multiple = multiple,
	     .requeue = requeue);
}

START_TEST(consume__gets_what_waits_and_what_comes)
{
	publish_numbers(1, 2);
	client_consume(&b, "q", "t", false);
	publish_numbers(3, 3);
	expect_numbers(&b, 1, 3, 1, false);
	ck_assert_uint_eq(unacked(&world, "q"), 3);
	ack(&b, 3, true);
	ck_assert_uint_eq(unacked(&world, "q"), 0);
}
END_TEST

START_TEST(consume__no_ack_needs_no_settling)
{
	client_consume(&b, "q", "t", true);
	publish_numbers(1, 2);
	expect_numbers(&b, 1, 2, 1, false);
	ck_assert_uint_eq(unacked(&world, "q"), 0);
	ack(&b, 1, false);
	client_expect_channel_close(&b, 1, 406, "PRECONDITION_FAILED - unknown delivery tag 1");
}
END_TEST

START_TEST(consume__without_a_tag_gets_one)
{
	const struct amqc_method *m = CALL(&b, 1, BASIC_CONSUME, basic_consume, .queue = S("q"));

	ck_assert_uint_eq(m->basic_consume_ok.consumer_tag.len, 31);
	ck_assert(span_equal_str(span_first(m->basic_consume_ok.consumer_tag, 9), "amq.ctag-"));
}
END_TEST

START_TEST(consume__no_wait_is_not_answered)
{
	SEND(&b, 1, BASIC_CONSUME, basic_consume, .queue = S("q"), .consumer_tag = S("t"), .no_wait = true);
	client_expect_nothing(&b);
	publish_numbers(1, 1);
	expect_numbers(&b, 1, 1, 1, false);
	SEND(&b, 1, BASIC_CANCEL, basic_cancel, .consumer_tag = S("t"), .no_wait = true);
	client_expect_nothing(&b);
}
END_TEST

START_TEST(consume__tag_in_use_closes_the_connection)
{
	client_consume(&b, "q", "t", false);
	SEND(&b, 1, BASIC_CONSUME, basic_consume, .queue = S("q"), .consumer_tag = S("t"));
	client_expect_connection_close(&b, 530, "NOT_ALLOWED - attempt to reuse consumer tag 't'");
}
END_TEST

START_TEST(consume__exclusive_keeps_others_out)
{
	CALL(&b, 1, BASIC_CONSUME, basic_consume, .queue = S("q"), .consumer_tag = S("t"), .exclusive = true);
	SEND(&a, 1, BASIC_CONSUME, basic_consume, .queue = S("q"));
	client_expect_channel_close(&a, 1, 403, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use");
	CALL(&b, 1, BASIC_CANCEL, basic_cancel, .consumer_tag = S("t"));
	CALL(&b, 1, BASIC_CONSUME, basic_consume, .queue = S("q"), .consumer_tag = S("u"));
}
END_TEST

START_TEST(consume__exclusive_is_refused_when_somebody_consumes)
{
	client_consume(&b, "q", "t", false);
	SEND(&a, 1, BASIC_CONSUME, basic_consume, .queue = S("q"), .exclusive = true);
	client_expect_channel_close(&a, 1, 403, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use");
}
END_TEST

START_TEST(consume__missing_queue_is_not_found)
{
	SEND(&b, 1, BASIC_CONSUME, basic_consume, .queue = S("none"));
	client_expect_channel_close(&b, 1, 404, "NOT_FOUND - no queue 'none' in vhost '/'");
}
END_TEST

START_TEST(consume__consumers_take_turns)
{
	client_consume(&b, "q", "one", true);
	client_consume(&b, "q", "two", true);
	client_consume(&b, "q", "three", true);
	publish_numbers(1, 6);
	for (unsigned int i = 0; i < 2; i++) {
		static const char *const turns[] = {"one", "two", "three"};

		for (unsigned int j = 0; j < 3; j++) {
			char text[16];
			const struct amqc_method *m;

			snprintf(text, sizeof(text), "%u", i * 3 + j + 1);
			m = client_expect_content(&b, 1, AMQC_BASIC_DELIVER, text);
			ck_assert(span_equal_str(m->basic_deliver.consumer_tag, turns[j]));
		}
	}
}
END_TEST

START_TEST(consume__higher_priority_goes_first_while_it_can_take)
{
	struct buf arguments = BUF_INIT;

	client_consume(&a, "q", "low", false);
	prefetch(&b, 2, false);
	CALL(&b, 1, BASIC_CONSUME, basic_consume, .queue = S("q"), .consumer_tag = S("high"),
	     .arguments = table_integer(&arguments, "x-priority", 5));
	publish_numbers(1, 3);
	expect_numbers(&b, 1, 2, 1, false);
	client_expect_nothing(&b);
	expect_numbers(&a, 3, 3, 1, false);
	buf_deinit(&arguments);
}
END_TEST

START_TEST(consume__cancel_stops_deliveries_and_leaves_unacked_alone)
{
	client_consume(&b, "q", "t", false);
	publish_numbers(1, 1);
	expect_numbers(&b, 1, 1, 1, false);
	CALL(&b, 1, BASIC_CANCEL, basic_cancel, .consumer_tag = S("t"));
	publish_numbers(2, 2);
	client_expect_nothing(&b);
	ck_assert_uint_eq(unacked(&world, "q"), 1);
	ack(&b, 1, false);
	ck_assert_uint_eq(unacked(&world, "q"), 0);
	ck_assert_uint_eq(ready(&world, "q"), 1);
}
END_TEST

START_TEST(consume__cancel_of_an_unknown_tag_is_fine)
{
	CALL(&b, 1, BASIC_CANCEL, basic_cancel, .consumer_tag = S("none"));
}
END_TEST

START_TEST(qos__limits_what_a_consumer_holds)
{
	prefetch(&b, 2, false);
	client_consume(&b, "q", "t", false);
	publish_numbers(1, 5);
	expect_numbers(&b, 1, 2, 1, false);
	client_expect_nothing(&b);
	ack(&b, 1, false);
	expect_numbers(&b, 3, 3, 3, false);
	client_expect_nothing(&b);
	ack(&b, 3, true);
	expect_numbers(&b, 4, 5, 4, false);
}
END_TEST

START_TEST(qos__is_each_consumers_own)
{
	prefetch(&b, 1, false);
	client_consume(&b, "q", "one", false);
	client_consume(&b, "q", "two", false);
	publish_numbers(1, 3);
	expect_numbers(&b, 1, 2, 1, false);
	client_expect_nothing(&b);
	ack(&b, 2, false);
	expect_numbers(&b, 3, 3, 3, false);
}
END_TEST

START_TEST(qos__of_a_consumer_stays_as_it_was_when_it_began)
{
	client_consume(&b, "q", "t", false);
	prefetch(&b, 1, false);
	publish_numbers(1, 3);
	expect_numbers(&b, 1, 3, 1, false);
}
END_TEST

START_TEST(qos__global_is_shared_by_the_channel_and_can_grow)
{
	prefetch(&b, 2, true);
	client_consume(&b, "q", "one", false);
	client_consume(&b, "q", "two", false);
	publish_numbers(1, 6);
	expect_numbers(&b, 1, 2, 1, false);
	client_expect_nothing(&b);
	prefetch(&b, 3, true);
	expect_numbers(&b, 3, 3, 3, false);
	client_expect_nothing(&b);
	ack(&b, 2, true);
	expect_numbers(&b, 4, 5, 4, false);
	client_expect_nothing(&b);
	prefetch(&b, 0, true);
	expect_numbers(&b, 6, 6, 6, false);
}
END_TEST

START_TEST(qos__does_not_count_gets_and_no_ack)
{
	prefetch(&b, 1, true);
	publish_numbers(1, 3);
	SEND(&b, 1, BASIC_GET, basic_get, .queue = S("q"));
	client_expect_content(&b, 1, AMQC_BASIC_GET_OK, "1");
	client_consume(&b, "q", "t", true);
	expect_numbers(&b, 2, 3, 2, false);
}
END_TEST

START_TEST(qos__size_is_not_implemented)
{
	SEND(&b, 1, BASIC_QOS, basic_qos, .prefetch_size = 1);
	client_expect_connection_close(&b, 540, "NOT_IMPLEMENTED - prefetch_size!=0 (1)");
}
END_TEST

START_TEST(ack__unknown_tags_close_the_channel)
{
	ack(&b, 7, false);
	client_expect_channel_close(&b, 1, 406, "PRECONDITION_FAILED - unknown delivery tag 7");
}
END_TEST

START_TEST(ack__zero_is_unknown_when_it_does_not_mean_all)
{
	ack(&b, 0, true);
	client_expect_nothing(&b);
	ack(&b, 0, false);
	client_expect_channel_close(&b, 1, 406, "PRECONDITION_FAILED - unknown delivery tag 0");
}
END_TEST

START_TEST(ack__twice_closes_the_channel)
{
	client_consume(&b, "q", "t", false);
	publish_numbers(1, 2);
	expect_numbers(&b, 1, 2, 1, false);
	ack(&b, 1, false);
	ack(&b, 1, false);
	client_expect_channel_close(&b, 1, 406, "PRECONDITION_FAILED - unknown delivery tag 1");
	/* What was not acked is back. */
	ck_assert_uint_eq(ready(&world, "q"), 1);
}
END_TEST

START_TEST(ack__multiple_skips_what_was_settled)
{
	client_consume(&b, "q", "t", false);
	publish_numbers(1, 4);
	expect_numbers(&b, 1, 4, 1, false);
	ack(&b, 2, false);
	ack(&b, 3, true);
	ck_assert_uint_eq(unacked(&world, "q"), 1);
	ack(&b, 0, true);
	ck_assert_uint_eq(unacked(&world, "q"), 0);
}
END_TEST

START_TEST(ack__of_many_out_of_order_works)
{
	client_consume(&b, "q", "t", false);
	publish_numbers(1, 100);
	expect_numbers(&b, 1, 100, 1, false);
	for (uint64_t tag = 100; tag > 0; tag--)
		ack(&b, tag, false);
	ck_assert_uint_eq(unacked(&world, "q"), 0);
	client_expect_nothing(&b);
}
END_TEST

START_TEST(nack__requeues_at_the_original_place)
{
	prefetch(&b, 3, false);
	client_consume(&b, "q", "t", false);
	publish_numbers(1, 5);
	expect_numbers(&b, 1, 3, 1, false);
	CALL(&b, 1, BASIC_CANCEL, basic_cancel, .consumer_tag = S("t"));
	nack(&b, 2, false, true);
	nack(&b, 1, false, true);
	client_consume(&a, "q", "u", false);
	expect_numbers(&a, 1, 2, 1, true);
	expect_numbers(&a, 4, 5, 3, false);
	nack(&b, 3, false, true);
	expect_numbers(&a, 3, 3, 5, true);
}
END_TEST

START_TEST(nack__multiple_requeues_all_in_order)
{
	prefetch(&b, 3, false);
	client_consume(&b, "q", "t", false);
	publish_numbers(1, 4);
	expect_numbers(&b, 1, 3, 1, false);
	nack(&b, 2, true, true);
	expect_numbers(&b, 1, 2, 4, true);
	client_expect_nothing(&b);
}
END_TEST

START_TEST(nack__without_requeue_drops)
{
	client_consume(&b, "q", "t", false);
	publish_numbers(1, 3);
	expect_numbers(&b, 1, 3, 1, false);
	nack(&b, 2, true, false);
	SEND(&b, 1, BASIC_REJECT, basic_reject, .delivery_tag = 3);
	client_expect_nothing(&b);
	ck_assert_uint_eq(ready(&world, "q") + unacked(&world, "q"), 0);
}
END_TEST

START_TEST(reject__requeues_one)
{
	publish_numbers(1, 1);
	SEND(&b, 1, BASIC_GET, basic_get, .queue = S("q"));
	client_expect_content(&b, 1, AMQC_BASIC_GET_OK, "1");
	SEND(&b, 1, BASIC_REJECT, basic_reject, .delivery_tag = 1, .requeue = true);
	ck_assert_uint_eq(ready(&world, "q"), 1);
	SEND(&b, 1, BASIC_REJECT, basic_reject, .delivery_tag = 1, .requeue = true);
	client_expect_channel_close(&b, 1, 406, "PRECONDITION_FAILED - unknown delivery tag 1");
}
END_TEST

START_TEST(recover__gives_everything_again)
{
	client_consume(&b, "q", "t", false);
	publish_numbers(1, 2);
	expect_numbers(&b, 1, 2, 1, false);
	CALL(&b, 1, BASIC_RECOVER, basic_recover, .requeue = true);
	expect_numbers(&b, 1, 2, 3, true);
	SEND(&b, 1, BASIC_RECOVER_ASYNC, basic_recover_async, .requeue = true);
	expect_numbers(&b, 1, 2, 5, true);
}
END_TEST

START_TEST(recover__without_requeue_is_not_implemented)
{
	SEND(&b, 1, BASIC_RECOVER, basic_recover, .requeue = false);
	client_expect_connection_close(&b, 540, "NOT_IMPLEMENTED - requeue=false");
}
END_TEST

START_TEST(get__tells_how_many_are_left)
{
	const struct amqc_method *m;

	publish_numbers(1, 2);
	SEND(&b, 1, BASIC_GET, basic_get, .queue = S("q"));
	m = client_expect_content(&b, 1, AMQC_BASIC_GET_OK, "1");
	ck_assert_uint_eq(m->basic_get_ok.message_count, 1);
	ck_assert_uint_eq(m->basic_get_ok.delivery_tag, 1);
	ck_assert(span_equal_str(m->basic_get_ok.routing_key, "q"));
	SEND(&b, 1, BASIC_GET, basic_get, .queue = S("q"), .no_ack = true);
	client_expect_content(&b, 1, AMQC_BASIC_GET_OK, "2");
	SEND(&b, 1, BASIC_GET, basic_get, .queue = S("q"));
	client_expect(&b, 1, AMQC_BASIC_GET_EMPTY);
	SEND(&b, 1, BASIC_GET, basic_get, .queue = S("none"));
	client_expect_channel_close(&b, 1, 404, "NOT_FOUND - no queue 'none' in vhost '/'");
}
END_TEST

START_TEST(channel__close_gives_unacked_messages_back_to_others)
{
	client_consume(&b, "q", "t", false);
	publish_numbers(1, 2);
	expect_numbers(&b, 1, 2, 1, false);
	client_consume(&a, "q", "u", false);
	CALL(&b, 1, CHANNEL_CLOSE, channel_close, .reply_code = 200);
	expect_numbers(&a, 1, 2, 1, true);
}
END_TEST

START_TEST(connection__death_gives_unacked_messages_back_to_others)
{
	client_consume(&b, "q", "t", false);
	publish_numbers(1, 2);
	expect_numbers(&b, 1, 2, 1, false);
	client_consume(&a, "q", "u", false);
	broker_conn_kill(b.conn, world.now);
	expect_numbers(&a, 1, 2, 1, true);
}
END_TEST

START_TEST(channel__tags_begin_again_on_a_new_channel)
{
	publish_numbers(1, 1);
	SEND(&b, 1, BASIC_GET, basic_get, .queue = S("q"));
	client_expect_content(&b, 1, AMQC_BASIC_GET_OK, "1");
	CALL(&b, 1, CHANNEL_CLOSE, channel_close, .reply_code = 200);
	CALL(&b, 1, CHANNEL_OPEN, channel_open);
	client_consume(&b, "q", "t", false);
	expect_numbers(&b, 1, 1, 1, true);
}
END_TEST

START_TEST(channel__flow_can_only_be_on)
{
	const struct amqc_method *m = CALL(&b, 1, CHANNEL_FLOW, channel_flow, .active = true);

	ck_assert(m->channel_flow_ok.active);
	SEND(&b, 1, CHANNEL_FLOW, channel_flow, .active = false);
	client_expect_connection_close(&b, 540, "NOT_IMPLEMENTED - active=false");
}
END_TEST

START_TEST(deliver__waits_while_much_output_is_unsent)
{
	size_t size = 100000, count = 0;
	char *body = calloc(1, size);

	client_consume(&b, "q", "t", true);
	for (unsigned int i = 0; i < 40; i++)
		client_publish(&a, 1, &(struct amqc_basic_publish){.routing_key = S("q")}, NULL,
			       span_make(body, size));
	ck_assert_uint_gt(ready(&world, "q"), 20);
	ck_assert_uint_lt(broker_conn_output(b.conn).len, 1300000);
	while (broker_conn_output(b.conn).len > 0) {
		count += broker_conn_output(b.conn).len;
		broker_conn_sent(b.conn, broker_conn_output(b.conn).len, world.now);
	}
	ck_assert_uint_gt(count, 40 * size);
	ck_assert_uint_eq(ready(&world, "q"), 0);
	free(body);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
	    consume__gets_what_waits_and_what_comes,
	    consume__no_ack_needs_no_settling,
	    consume__without_a_tag_gets_one,
	    consume__no_wait_is_not_answered,
	    consume__tag_in_use_closes_the_connection,
	    consume__exclusive_keeps_others_out,
	    consume__exclusive_is_refused_when_somebody_consumes,
	    consume__missing_queue_is_not_found,
	    consume__consumers_take_turns,
	    consume__higher_priority_goes_first_while_it_can_take,
	    consume__cancel_stops_deliveries_and_leaves_unacked_alone,
	    consume__cancel_of_an_unknown_tag_is_fine,
	    qos__limits_what_a_consumer_holds,
	    qos__is_each_consumers_own,
	    qos__of_a_consumer_stays_as_it_was_when_it_began,
	    qos__global_is_shared_by_the_channel_and_can_grow,
	    qos__does_not_count_gets_and_no_ack,
	    qos__size_is_not_implemented,
	    ack__unknown_tags_close_the_channel,
	    ack__zero_is_unknown_when_it_does_not_mean_all,
	    ack__twice_closes_the_channel,
	    ack__multiple_skips_what_was_settled,
	    ack__of_many_out_of_order_works,
	    nack__requeues_at_the_original_place,
	    nack__multiple_requeues_all_in_order,
	    nack__without_requeue_drops,
	    reject__requeues_one,
	    recover__gives_everything_again,
	    recover__without_requeue_is_not_implemented,
	    get__tells_how_many_are_left,
	    channel__close_gives_unacked_messages_back_to_others,
	    connection__death_gives_unacked_messages_back_to_others,
	    channel__tags_begin_again_on_a_new_channel,
	    channel__flow_can_only_be_on,
	    deliver__waits_while_much_output_is_unsent,
	};

	return RUN_TESTS("broker/consume", tests, setup, teardown);
}
