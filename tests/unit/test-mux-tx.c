/*
 * Transactions, recover, and a qos for all consumers of a channel. The broker
 * is played, so that what must not be sent is seen.
 */
#include "daemon/base/log.h"
#include "tests/unit/mux-world.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct session *session;

static void ask(uint32_t id, uint32_t channel, enum amqc_method_id what)
{
	world_request(session, id, channel, &(struct amqc_method){.id = what}, 0);
}

static void ask_in(uint32_t id, uint32_t channel, enum amqc_method_id what, uint64_t timeout_usec)
{
	world_request(session, id, channel, &(struct amqc_method){.id = what}, timeout_usec);
}

static void recover(uint32_t id, bool requeue)
{
	struct amqc_method method = {.id = AMQC_BASIC_RECOVER};

	method.basic_recover.requeue = requeue;
	world_request(session, id, 1, &method, 0);
}

static void qos(uint32_t id, uint16_t count)
{
	struct amqc_method method = {.id = AMQC_BASIC_QOS};

	method.basic_qos.prefetch_count = count;
	method.basic_qos.global = true;
	world_request(session, id, 1, &method, 0);
}

static void ack(uint64_t first, uint64_t last)
{
	session_settle(session, 1, SETTLE_ACK, first, last);
}

#define expect_sent(text) ck_assert_str_eq(world_sent(), text)
#define expect_told(text) ck_assert_str_eq(world_told(), text)

/* Channel 1 is transactional, on this lane. */
static void select_on(uint16_t lane)
{
	char text[64];

	ask(1, 1, AMQC_TX_SELECT);
	(void)snprintf(text, sizeof(text), "%u tx.select; %u tx.select; ", lane, lane);
	expect_sent(text);
	world_reply(lane, AMQC_TX_SELECT_OK);
	world_reply(lane, AMQC_TX_SELECT_OK);
	expect_told("1 tx.select-ok; ");
}

static void begin(uint32_t window)
{
	world_begin(0, window);
	session = world_session();
	session_open_channel(session, 1, 1);
}

static void begin_selected(void)
{
	begin(0);
	select_on(1);
}

/* Messages with tags up to count are in hand. */
static void get_messages(uint64_t count)
{
	for (uint64_t tag = 1; tag <= count; tag++) {
		world_get(session, 100, 1, false, 0);
		expect_sent("1 basic.get; ");
		world_get_ok(1, tag);
	}
	(void)world_told();
}

static void lose(void)
{
	upstream_lost(world.upstream, "the test cuts it");
	world_turn();
}

static void come_back(void)
{
	world_pass(2 * USEC_PER_SEC);
	world_connect(0);
}

static uint64_t unconfirmed(void)
{
	struct upstream_info info;

	upstream_get_info(world.upstream, &info);
	return info.unconfirmed;
}

START_TEST(tx__nothing_is_sent_behind_an_unanswered_commit)
{
	begin_selected();
	world_publish(session, 1, "a");
	ask(2, 1, AMQC_TX_COMMIT);
	world_publish(session, 1, "b");
	ask(3, 1, AMQC_TX_COMMIT);
	world_declare(session, 4, 1, "q");
	expect_sent("1 basic.publish; 1 tx.commit; ");
	ck_assert_uint_eq(unconfirmed(), 1);
	world_reply(1, AMQC_TX_COMMIT_OK);
	ck_assert_uint_eq(unconfirmed(), 0);
	expect_told("1/1 confirmed 1-1; 2 tx.commit-ok; ");
	expect_sent("1 basic.publish; 1 tx.commit; ");
	world_reply(1, AMQC_TX_COMMIT_OK);
	expect_told("1/1 confirmed 2-2; 3 tx.commit-ok; ");
	expect_sent("1 queue.declare; ");
	world_end();
}
END_TEST

START_TEST(tx__rollback_says_that_nothing_was_sent)
{
	begin_selected();
	for (int i = 0; i < 3; i++)
		world_publish(session, 1, "x");
	ask(2, 1, AMQC_TX_ROLLBACK);
	world_publish(session, 1, "y");
	expect_sent("1 basic.publish; 1 basic.publish; 1 basic.publish; 1 tx.rollback; ");
	expect_told("");
	world_reply(1, AMQC_TX_ROLLBACK_OK);
	expect_told("1/1 not_sent 1-3; 2 tx.rollback-ok; ");
	expect_sent("1 basic.publish; 1 tx.select; ");
	world_end();
}
END_TEST

START_TEST(tx__acks_wait_behind_a_commit_and_belong_to_the_next_transaction)
{
	begin_selected();
	get_messages(3);
	ack(1, 1);
	expect_sent("1 ack 1; ");
	ask(2, 1, AMQC_TX_COMMIT);
	ack(2, 2);
	ask(3, 1, AMQC_TX_ROLLBACK);
	ack(2, 2);
	session_settle(session, 1, SETTLE_REQUEUE, 3, 3);
	expect_sent("1 tx.commit; ");
	world_reply(1, AMQC_TX_COMMIT_OK);
	expect_sent("1 ack 2; 1 tx.rollback; ");
	world_reply(1, AMQC_TX_ROLLBACK_OK);
	expect_sent("1 ack 2; 1 nack 3; ");
	expect_told("2 tx.commit-ok; 3 tx.rollback-ok; ");
	ask(4, 1, AMQC_TX_COMMIT);
	expect_sent("1 tx.commit; ");
	world_reply(1, AMQC_TX_COMMIT_OK);
	expect_told("4 tx.commit-ok; ");
	ack(2, 2);
	expect_told("1/1 ended 406; ");
	world_end();
}
END_TEST

START_TEST(tx__a_tag_is_settled_once_in_a_transaction)
{
	begin_selected();
	get_messages(1);
	ack(1, 1);
	expect_sent("1 ack 1; ");
	ack(1, 1);
	expect_told("1/1 ended 406; ");
	expect_sent("1 channel.close; ");
	world_end();
}
END_TEST

START_TEST(tx__a_mistake_behind_a_commit_is_found_in_its_turn)
{
	begin_selected();
	ask(2, 1, AMQC_TX_COMMIT);
	ack(7, 7);
	world_publish(session, 1, "never");
	expect_sent("1 tx.commit; ");
	expect_told("");
	world_reply(1, AMQC_TX_COMMIT_OK);
	expect_told("2 tx.commit-ok; 1/1 not_sent 1-1; 1/1 ended 406; ");
	expect_sent("1 channel.close; ");
	world_end();
}
END_TEST

START_TEST(tx__what_muxd_gives_back_is_given_back_again_after_a_rollback)
{
	begin_selected();
	world_deliver(1, "nobody", 1);
	expect_sent("1 nack 1; ");
	ask(2, 1, AMQC_TX_ROLLBACK);
	expect_sent("1 tx.rollback; ");
	world_deliver(1, "nobody", 2);
	expect_sent("");
	world_reply(1, AMQC_TX_ROLLBACK_OK);
	expect_sent("1 nack 1; 1 nack 2; ");
	ask(3, 1, AMQC_TX_COMMIT);
	expect_sent("1 tx.commit; ");
	world_reply(1, AMQC_TX_COMMIT_OK);
	expect_told("2 tx.rollback-ok; 3 tx.commit-ok; ");
	expect_sent("");
	world_end();
}
END_TEST

START_TEST(tx__select_waits_for_what_came_before_and_gets_a_lane_of_its_own)
{
	begin(0);
	world_publish(session, 1, "a");
	world_declare(session, 1, 1, "q");
	ask(2, 1, AMQC_TX_SELECT);
	world_publish(session, 1, "b");
	ask(3, 1, AMQC_TX_COMMIT);
	expect_sent("1 basic.publish; 1 queue.declare; ");
	world_reply(1, AMQC_QUEUE_DECLARE_OK);
	expect_sent("");
	world_confirm(1, 1);
	expect_sent("2 tx.select; 2 tx.select; 2 basic.publish; 2 tx.commit; 1 channel.close; ");
	world_reply(2, AMQC_TX_SELECT_OK);
	world_reply(2, AMQC_TX_SELECT_OK);
	world_reply(2, AMQC_TX_COMMIT_OK);
	expect_told(
	    "1 queue.declare-ok; 1/1 confirmed 1-1; 2 tx.select-ok; 1/1 confirmed 2-2; 3 tx.commit-ok; ");
	world_end();
}
END_TEST

START_TEST(tx__select_is_refused_with_messages_in_hand)
{
	begin(0);
	world_get(session, 1, 1, false, 0);
	ask(2, 1, AMQC_TX_SELECT);
	expect_sent("1 basic.get; ");
	world_get_ok(1, 1);
	expect_told("got 1 tag 1; refuse 2 channel 406; 1/1 ended 406; ");
	session_open_channel(session, 1, 2);
	world_consume(session, 3, 1, 1, 0);
	ask(4, 1, AMQC_TX_SELECT);
	expect_told("refuse 4 channel 406; refuse 3 channel 406; 1/2 ended 406; ");
	session_open_channel(session, 1, 3);
	ask(5, 1, AMQC_TX_COMMIT);
	expect_told("refuse 5 channel 406; 1/3 ended 406; ");
	world_end();
}
END_TEST

START_TEST(tx__what_is_read_makes_room_in_the_window)
{
	begin(2);
	select_on(1);
	for (int i = 0; i < 3; i++)
		world_publish(session, 1, "x");
	expect_sent("1 basic.publish; 1 basic.publish; 1 tx.select; ");
	world_publish(session, 1, "x");
	expect_sent("");
	world_reply(1, AMQC_TX_SELECT_OK);
	expect_sent("1 basic.publish; 1 basic.publish; 1 tx.select; ");
	ask(2, 1, AMQC_TX_COMMIT);
	expect_sent("1 tx.commit; ");
	world_reply(1, AMQC_TX_SELECT_OK);
	world_reply(1, AMQC_TX_COMMIT_OK);
	expect_told("1/1 confirmed 1-4; 2 tx.commit-ok; ");
	world_end();
}
END_TEST

START_TEST(tx__what_was_sent_behind_a_question_is_asked_about_next)
{
	begin_selected();
	world_publish(session, 1, "x");
	expect_sent("1 basic.publish; 1 tx.select; ");
	world_publish(session, 1, "y");
	expect_sent("1 basic.publish; ");
	world_reply(1, AMQC_TX_SELECT_OK);
	expect_sent("1 tx.select; ");
	ck_assert_uint_eq(unconfirmed(), 1);
	world_reply(1, AMQC_TX_SELECT_OK);
	expect_sent("");
	ck_assert_uint_eq(unconfirmed(), 0);
	world_end();
}
END_TEST

START_TEST(tx__an_open_one_keeps_nobody_out_of_the_window)
{
	begin(1);
	select_on(1);
	world_publish(session, 1, "x");
	expect_sent("1 basic.publish; 1 tx.select; ");
	session_open_channel(session, 2, 1);
	world_publish(session, 2, "y");
	expect_sent("");
	world_reply(1, AMQC_TX_SELECT_OK);
	expect_sent("2 basic.publish; ");
	world_confirm(2, 1);
	expect_told("2/1 confirmed 1-1; ");
	ck_assert_uint_eq(unconfirmed(), 0);
	world_end();
}
END_TEST

START_TEST(tx__credit_comes_back_when_a_publish_was_written)
{
	begin_selected();
	for (uint32_t i = 0; i < 3 * SESSION_STANDING_MESSAGES; i++) {
		world_publish(session, 1, "x");
		world_turn();
		if (i % 16 == 0)
			world_reply(1, AMQC_TX_SELECT_OK);
	}
	expect_told("");
	world_end();
}
END_TEST

START_TEST(tx__deadline_of_a_commit_ends_the_channel)
{
	begin_selected();
	world_publish(session, 1, "x");
	ask_in(2, 1, AMQC_TX_COMMIT, 1000);
	expect_sent("1 basic.publish; 1 tx.commit; ");
	world_pass(2000);
	expect_told("refuse 2 request 408; 1/1 unknown 1-1; 1/1 ended 408; ");
	expect_sent("1 channel.close; ");
	world_end();
}
END_TEST

START_TEST(tx__publish_that_is_not_sent_in_time_takes_the_others_with_it)
{
	struct amqc_method blocked = {.id = AMQC_CONNECTION_BLOCKED};

	begin_selected();
	world_publish(session, 1, "x");
	expect_sent("1 basic.publish; 1 tx.select; ");
	world_method(0, &blocked);
	world_publish(session, 1, "y");
	expect_sent("");
	world_pass(301 * USEC_PER_SEC);
	expect_told("1/1 not_sent 1-2; 1/1 ended 408; ");
	expect_sent("1 channel.close; ");
	world_end();
}
END_TEST

START_TEST(tx__returns_are_matched_in_order)
{
	struct amqc_method method = {.id = AMQC_BASIC_RETURN};
	struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC, .body_size = 1};
	struct amqc_properties properties = {0};
	struct mux_publish publish = {.channel = 1,
				      .cost_bytes = 10,
				      .routing_key = SPAN_LITERAL("k"),
				      .mandatory = true,
				      .properties = &properties};
	const char *const bodies = "abaa";
	struct buf bytes = BUF_INIT;

	begin_selected();
	for (size_t i = 0; bodies[i]; i++) {
		publish.body = span_make(bodies + i, 1);
		session_publish(session, &publish);
	}
	ask(2, 1, AMQC_TX_COMMIT);
	world_turn();
	method.basic_return.routing_key = SPAN_LITERAL("k");
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(amqc_method_append(&bytes, 1, &method), AMQC_OK);
		ck_assert_int_eq(amqc_content_header_append(&bytes, 1, &header), AMQC_OK);
		amqc_body_append(&bytes, 1, SPAN_LITERAL("a"), 4096);
	}
	(void)upstream_feed(world.upstream, buf_span(&bytes));
	buf_deinit(&bytes);
	world_reply(1, AMQC_TX_COMMIT_OK);
	expect_told("returned 1; returned 3; 1/1 returned 1-1; 1/1 confirmed 2-2; 1/1 returned 3-3; "
		    "1/1 confirmed 4-4; 2 tx.commit-ok; ");
	world_end();
}
END_TEST

START_TEST(tx__an_open_one_ends_with_the_connection)
{
	begin_selected();
	world_publish(session, 1, "x");
	(void)world_sent();
	world_publish(session, 1, "y");
	lose();
	expect_told("1/1 not_sent 1-2; 1/1 ended 320; ");
	come_back();
	expect_sent("");
	world_end();
}
END_TEST

START_TEST(tx__a_commit_without_an_answer_is_in_doubt)
{
	begin_selected();
	world_publish(session, 1, "x");
	ask(2, 1, AMQC_TX_COMMIT);
	world_publish(session, 1, "y");
	(void)world_sent();
	lose();
	expect_told("refuse 2 channel 320; 1/1 unknown 1-1; 1/1 not_sent 2-2; 1/1 ended 320; ");
	come_back();
	expect_sent("");
	world_end();
}
END_TEST

START_TEST(tx__acks_in_it_end_with_the_connection)
{
	begin_selected();
	get_messages(1);
	ack(1, 1);
	(void)world_sent();
	lose();
	expect_told("1/1 ended 320; ");
	world_end();
}
END_TEST

START_TEST(tx__an_empty_one_goes_on_over_the_next_connection)
{
	begin_selected();
	world_publish(session, 1, "x");
	ask(2, 1, AMQC_TX_COMMIT);
	(void)world_sent();
	world_reply(1, AMQC_TX_COMMIT_OK);
	(void)world_told();
	lose();
	expect_told("");
	come_back();
	world_publish(session, 1, "y");
	ask(3, 1, AMQC_TX_COMMIT);
	expect_sent("1 tx.select; 1 basic.publish; 1 tx.commit; ");
	world_reply(1, AMQC_TX_SELECT_OK);
	world_reply(1, AMQC_TX_COMMIT_OK);
	expect_told("1/1 confirmed 2-2; 3 tx.commit-ok; ");
	world_end();
}
END_TEST

START_TEST(tx__of_a_session_that_ends_is_rolled_back)
{
	begin_selected();
	world_publish(session, 1, "x");
	(void)world_sent();
	world_publish(session, 1, "y");
	session_end(session);
	expect_sent("1 channel.close; ");
	ck_assert(upstream_is_drained(world.upstream));
	world_end();
}
END_TEST

START_TEST(tx__commit_that_was_accepted_is_done_though_the_session_ends)
{
	begin_selected();
	world_publish(session, 1, "x");
	ask(2, 1, AMQC_TX_COMMIT);
	world_publish(session, 1, "y");
	ask(3, 1, AMQC_TX_COMMIT);
	world_publish(session, 1, "z");
	session_end(session);
	expect_sent("1 basic.publish; 1 tx.commit; ");
	world_reply(1, AMQC_TX_COMMIT_OK);
	expect_sent("1 basic.publish; 1 tx.commit; ");
	world_reply(1, AMQC_TX_COMMIT_OK);
	expect_sent("1 channel.close; ");
	ck_assert(upstream_is_drained(world.upstream));
	world_end();
}
END_TEST

static char logged[1024];

static void sink(void *context, enum log_level level, const char *text, const struct log_field *fields,
		 size_t field_count)
{
	size_t len = strlen(logged);

	(void)snprintf(logged + len, sizeof(logged) - len, "%d %s; ", (int)level, text);
}

START_TEST(tx__commit_of_a_session_that_has_ended_has_its_deadline_and_a_line_in_the_log)
{
	char expected[256];

	begin_selected();
	world_publish(session, 1, "x");
	ask_in(2, 1, AMQC_TX_COMMIT, 1000);
	session_end(session);
	expect_sent("1 basic.publish; 1 tx.commit; ");
	log_set_level(LOG_LEVEL_WARNING);
	log_set_sink(sink, NULL);
	world_pass(2000);
	log_set_sink(NULL, NULL);
	(void)snprintf(expected, sizeof(expected),
		       "%d upstream \"%s\": a transaction whose session has ended: tx.commit had no answer "
		       "within its deadline: the transaction was committed or not; ",
		       (int)LOG_LEVEL_WARNING, "default");
	ck_assert_str_eq(logged, expected);
	expect_sent("1 channel.close; ");
	ck_assert(upstream_is_drained(world.upstream));
	world_end();
}
END_TEST

START_TEST(tx__channel_that_fails_behind_a_commit_sends_nothing_but_its_close)
{
	begin_selected();
	world_consume(session, 2, 1, 1, 0);
	(void)world_sent();
	world_reply(1, AMQC_BASIC_QOS_OK);
	world_reply(1, AMQC_BASIC_CONSUME_OK);
	ask(3, 1, AMQC_TX_COMMIT);
	expect_sent("1 tx.commit; ");
	session_end(session);
	expect_sent("");
	world_reply(1, AMQC_TX_COMMIT_OK);
	expect_sent("1 basic.cancel; 1 channel.close; ");
	world_end();
}
END_TEST

START_TEST(tx__get_without_ack_is_the_brokers_and_consumers_must_ack)
{
	struct amqc_method consume = {.id = AMQC_BASIC_CONSUME};

	begin_selected();
	world_get(session, 2, 1, true, 0);
	expect_sent("1 basic.get; ");
	world_get_ok(1, 1);
	session_written(session, world.position);
	expect_told("got 2 tag 0; ");
	expect_sent("");
	consume.basic_consume.queue = SPAN_LITERAL("q");
	consume.basic_consume.no_ack = true;
	world_request(session, 3, 1, &consume, 0);
	expect_told("refuse 3 request 540; ");
	world_end();
}
END_TEST

START_TEST(recover__outside_of_a_transaction_gives_back_what_the_client_has)
{
	begin(0);
	get_messages(3);
	ack(2, 2);
	recover(2, true);
	expect_told("2 basic.recover-ok; ");
	expect_sent("1 ack 2; 1 nack 3; ");
	recover(3, false);
	expect_told("refuse 3 channel 540; 1/1 ended 540; ");
	world_end();
}
END_TEST

START_TEST(recover__in_a_transaction_is_the_brokers)
{
	begin_selected();
	get_messages(2);
	ack(1, 1);
	recover(2, true);
	expect_sent("1 ack 1; 1 basic.recover; ");
	world_publish(session, 1, "x");
	expect_sent("");
	world_reply(1, AMQC_BASIC_RECOVER_OK);
	expect_told("2 basic.recover-ok; ");
	expect_sent("1 basic.publish; 1 tx.select; ");
	ack(2, 2);
	expect_told("1/1 not_sent 1-1; 1/1 ended 406; ");
	world_end();
}
END_TEST

/* A consumer with its tag in text. */
static void consume(uint32_t number, char *ret_tag, uint32_t prefetch)
{
	char text[160];

	world_consume(session, 10 + number, 1, number, 0);
	(void)snprintf(text, sizeof(text), "%s", world_sent());
	ck_assert_int_eq(sscanf(strstr(text, "1 consume"), "1 consume %79[^;]", ret_tag), 1);
	if (prefetch > 0)
		world_reply(1, AMQC_BASIC_QOS_OK);
	world_reply(1, AMQC_BASIC_CONSUME_OK);
	(void)world_told();
}

START_TEST(qos__global_bounds_what_all_consumers_have_together)
{
	char first[80], second[80];

	begin(0);
	qos(2, 2);
	expect_told("2 basic.qos-ok; ");
	consume(1, first, 2);
	consume(2, second, 0);
	world_deliver(1, first, 1);
	world_deliver(1, second, 2);
	world_deliver(1, first, 3);
	world_deliver(1, second, 4);
	expect_told("deliver 1 tag 1; deliver 2 tag 2; ");
	ack(1, 1);
	expect_told("deliver 1 tag 3; ");
	qos(3, 3);
	expect_told("3 basic.qos-ok; deliver 2 tag 4; ");
	world_end();
}
END_TEST

START_TEST(qos__global_lets_each_consumer_have_its_turn)
{
	char first[80], second[80];

	begin(0);
	qos(2, 1);
	expect_told("2 basic.qos-ok; ");
	consume(1, first, 1);
	consume(2, second, 0);
	for (uint64_t tag = 1; tag <= 3; tag++)
		world_deliver(1, first, tag);
	world_deliver(1, second, 4);
	world_deliver(1, second, 5);
	expect_told("deliver 1 tag 1; ");
	ack(1, 1);
	expect_told("deliver 1 tag 2; ");
	ack(2, 2);
	expect_told("deliver 2 tag 4; ");
	ack(4, 4);
	expect_told("deliver 1 tag 3; ");
	ack(3, 3);
	expect_told("deliver 2 tag 5; ");
	world_end();
}
END_TEST

static Suite *make_suite(void)
{
	const TTest *const tests[] = {
	    tx__nothing_is_sent_behind_an_unanswered_commit,
	    tx__rollback_says_that_nothing_was_sent,
	    tx__acks_wait_behind_a_commit_and_belong_to_the_next_transaction,
	    tx__a_tag_is_settled_once_in_a_transaction,
	    tx__a_mistake_behind_a_commit_is_found_in_its_turn,
	    tx__what_muxd_gives_back_is_given_back_again_after_a_rollback,
	    tx__select_waits_for_what_came_before_and_gets_a_lane_of_its_own,
	    tx__select_is_refused_with_messages_in_hand,
	    tx__what_is_read_makes_room_in_the_window,
	    tx__what_was_sent_behind_a_question_is_asked_about_next,
	    tx__an_open_one_keeps_nobody_out_of_the_window,
	    tx__credit_comes_back_when_a_publish_was_written,
	    tx__deadline_of_a_commit_ends_the_channel,
	    tx__publish_that_is_not_sent_in_time_takes_the_others_with_it,
	    tx__returns_are_matched_in_order,
	    tx__an_open_one_ends_with_the_connection,
	    tx__a_commit_without_an_answer_is_in_doubt,
	    tx__acks_in_it_end_with_the_connection,
	    tx__an_empty_one_goes_on_over_the_next_connection,
	    tx__of_a_session_that_ends_is_rolled_back,
	    tx__commit_that_was_accepted_is_done_though_the_session_ends,
	    tx__commit_of_a_session_that_has_ended_has_its_deadline_and_a_line_in_the_log,
	    tx__channel_that_fails_behind_a_commit_sends_nothing_but_its_close,
	    tx__get_without_ack_is_the_brokers_and_consumers_must_ack,
	    recover__outside_of_a_transaction_gives_back_what_the_client_has,
	    recover__in_a_transaction_is_the_brokers,
	    qos__global_bounds_what_all_consumers_have_together,
	    qos__global_lets_each_consumer_have_its_turn,
	};
	Suite *suite = suite_create("mux-tx");
	TCase *tcase = tcase_create("all");

	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(make_suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
