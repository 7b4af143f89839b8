/*
 * The multiplexer where things cross: deadlines before something was sent,
 * answers that come late, ends in the same turn as beginnings.
 */
#include "daemon/mux/state/upstream.h"
#include "tests/unit/mux-world.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ck_assert_has(text, part) ck_assert_msg(strstr(text, part), "no \"%s\" in \"%s\"", part, text)
#define ck_assert_lacks(text, part) ck_assert_msg(!strstr(text, part), "\"%s\" in \"%s\"", part, text)

START_TEST(requests__frame_larger_than_the_brokers_is_refused_beforehand)
{
	static uint8_t table[6000];
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};
	struct session *session;

	world_begin(4096, 0);
	session = world_session();
	memcpy(table, "\001kS", 3);
	store_be32(table + 3, sizeof(table) - 7);
	method.queue_declare.queue = SPAN_LITERAL("q");
	method.queue_declare.arguments = span_make(table, sizeof(table));
	session_open_channel(session, 1, 1);
	world_request(session, 1, 1, &method, 0);
	ck_assert_str_eq(world_sent(), "");
	ck_assert_str_eq(world_told(), "refuse 1 request 501; ");
	world_declare(session, 2, 1, "q");
	ck_assert_str_eq(world_sent(), "1 queue.declare; ");
	world_end();
}
END_TEST

START_TEST(requests__passive_declare_without_a_name_is_the_brokers_to_refuse)
{
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};
	struct session *session;

	world_begin(0, 0);
	session = world_session();
	method.queue_declare.passive = true;
	session_open_channel(session, 1, 1);
	world_request(session, 1, 1, &method, 0);
	ck_assert_str_eq(world_sent(), "1 queue.declare; ");
	world_close_lane(1, 404);
	ck_assert_str_eq(world_told(), "refuse 1 channel 404; 1/1 ended 404; ");
	world_end();
}
END_TEST

START_TEST(lanes__what_comes_late_on_a_closed_one_costs_nothing)
{
	struct session *session;

	world_begin(0, 0);
	session = world_session();
	session_open_channel(session, 1, 1);
	session_open_channel(session, 2, 1);
	world_declare(session, 1, 1, "q");
	world_declare(session, 2, 2, "q");
	ck_assert_str_eq(world_sent(), "1 queue.declare; 2 queue.declare; ");
	world_close_lane(1, 404);
	ck_assert_str_eq(world_told(), "refuse 1 channel 404; 1/1 ended 404; ");
	ck_assert_has(world_sent(), "1 channel.close-ok; ");
	world_deliver(1, "tag", 1);
	world_confirm(1, 1);
	world_reply(2, AMQC_QUEUE_DECLARE_OK);
	ck_assert_str_eq(world_told(), "2 queue.declare-ok; ");
	/* One that was never ours is the broker's mistake. */
	ck_assert_int_eq(world.upstream->state, UPSTREAM_UP);
	world_confirm(51, 1);
	world_turn();
	ck_assert_int_ne(world.upstream->state, UPSTREAM_UP);
	world_end();
}
END_TEST

START_TEST(consumers__tag_of_a_consume_that_timed_out_is_not_used_again_at_once)
{
	char first[80], second[80];
	struct session *session;

	world_begin(0, 0);
	session = world_session();
	session_open_channel(session, 1, 1);
	world_consume(session, 1, 1, 1, 1000);
	ck_assert_int_eq(sscanf(world_sent(), "1 basic.qos; 1 consume %79[^;]", first), 1);
	world_pass(2000);
	ck_assert_str_eq(world_told(), "refuse 1 request 408; ");
	world_consume(session, 2, 1, 1, 0);
	ck_assert_int_eq(sscanf(world_sent(), "1 consume %79[^;]", second), 1);
	ck_assert_str_ne(first, second);
	/* The late one is undone, the new one begins. */
	world_reply(1, AMQC_BASIC_QOS_OK);
	world_reply(1, AMQC_BASIC_CONSUME_OK);
	ck_assert_str_eq(world_sent(), "1 basic.cancel; ");
	world_deliver(1, first, 1);
	ck_assert_str_eq(world_sent(), "1 nack 1; ");
	world_reply(1, AMQC_BASIC_CONSUME_OK);
	world_reply(1, AMQC_BASIC_CANCEL_OK);
	world_deliver(1, second, 2);
	ck_assert_str_eq(world_told(), "2 basic.consume-ok; deliver 1 tag 2; ");
	world_end();
}
END_TEST

START_TEST(consumers__number_is_free_when_the_consume_was_refused_unsent)
{
	struct session *session;

	world_begin_unconnected();
	session = world_session();
	session_open_channel(session, 1, 1);
	world_consume(session, 1, 1, 1, 0);
	world_refuse_connection();
	ck_assert_str_eq(world_told(), "refuse 1 request 403; ");
	world_consume(session, 2, 1, 1, 0);
	ck_assert_str_eq(world_told(), "refuse 2 request 403; ");
	world_end();
}
END_TEST

static struct session *consuming(void)
{
	struct session *session;
	char tag[80];

	world_begin(0, 1);
	session = world_session();
	session_open_channel(session, 1, 1);
	world_consume(session, 1, 1, 1, 0);
	ck_assert_int_eq(sscanf(world_sent(), "1 basic.qos; 1 consume %79[^;]", tag), 1);
	world_reply(1, AMQC_BASIC_QOS_OK);
	world_reply(1, AMQC_BASIC_CONSUME_OK);
	ck_assert_str_eq(world_told(), "1 basic.consume-ok; ");
	return session;
}

START_TEST(consumers__cancel_that_was_not_sent_is_not_lost_when_the_channel_closes)
{
	struct session *session = consuming();

	world_publish(session, 1, "one");
	world_publish(session, 1, "two");
	world_cancel(session, 2, 1, 1, 0);
	ck_assert_str_eq(world_sent(), "1 basic.publish; ");
	session_close_channel(session, 3, 1);
	ck_assert_str_eq(world_told(), "2 basic.cancel-ok; 3 channel.close-ok; ");
	ck_assert_str_eq(world_sent(), "1 basic.cancel; ");
	world_end();
}
END_TEST

START_TEST(publishes__go_on_when_the_get_before_them_timed_out)
{
	struct session *session;

	world_begin(0, 0);
	session = world_session();
	session_open_channel(session, 1, 1);
	/* More than may be under way: the last ones wait. */
	for (uint32_t id = 1; id <= 17; id++)
		world_get(session, id, 1, false, id == 17 ? 1000 : 0);
	world_publish(session, 1, "one");
	ck_assert_lacks(world_sent(), "publish");
	world_pass(2000);
	ck_assert_str_eq(world_told(), "refuse 17 request 408; ");
	ck_assert_str_eq(world_sent(), "1 basic.publish; ");
	world_end();
}
END_TEST

START_TEST(publishes__go_on_when_the_channel_closed_behind_a_get_that_waits)
{
	struct session *session;

	world_begin(0, 0);
	session = world_session();
	session_open_channel(session, 1, 1);
	session_open_channel(session, 2, 1);
	for (uint32_t id = 1; id <= 16; id++)
		world_get(session, id, 2, false, 0);
	(void)world_sent();
	world_get(session, 17, 1, false, 0);
	world_publish(session, 1, "one");
	ck_assert_lacks(world_sent(), "publish");
	session_close_channel(session, 18, 1);
	ck_assert_has(world_sent(), "basic.publish; ");
	world_end();
}
END_TEST

START_TEST(requests__go_on_when_the_publish_before_them_timed_out)
{
	struct amqc_method blocked = {.id = AMQC_CONNECTION_BLOCKED};
	struct session *session;

	world_begin(0, 0);
	session = world_session();
	world_method(0, &blocked);
	session_open_channel(session, 1, 1);
	world_publish(session, 1, "one");
	(void)world_sent();
	world_pass(299 * USEC_PER_SEC);
	world_declare(session, 1, 1, "q");
	ck_assert_str_eq(world_sent(), "");
	world_pass(2 * USEC_PER_SEC);
	ck_assert_str_eq(world_told(), "1/1 not_sent 1-1; ");
	ck_assert_str_eq(world_sent(), "1 queue.declare; ");
	world_end();
}
END_TEST

START_TEST(publishes__have_an_outcome_though_the_failed_channel_is_opened_again_at_once)
{
	struct session *session;

	world_begin(0, 0);
	session = world_session();
	session_open_channel(session, 1, 1);
	session_settle(session, 1, SETTLE_ACK, 7, 7);
	ck_assert_str_eq(world_told(), "1/1 ended 406; ");
	world_publish(session, 1, "one");
	session_open_channel(session, 1, 2);
	ck_assert_str_eq(world_told(), "1/1 not_sent 1-1; ");
	session_settle(session, 1, SETTLE_ACK, 7, 7);
	world_publish(session, 1, "two");
	session_close_channel(session, 1, 1);
	ck_assert_str_eq(world_told(), "1/2 ended 406; 1/2 not_sent 1-1; 1 channel.close-ok; ");
	world_end();
}
END_TEST

START_TEST(publishes__of_one_channel_do_not_keep_others_out_of_a_full_window)
{
	struct session *session;

	world_begin(0, 1);
	session = world_session();
	session_open_channel(session, 1, 1);
	session_open_channel(session, 2, 1);
	for (int i = 0; i < 5; i++)
		world_publish(session, 1, "flood");
	ck_assert_str_eq(world_sent(), "1 basic.publish; ");
	world_publish(session, 2, "mine");
	ck_assert_str_eq(world_sent(), "");
	world_confirm(1, 1);
	ck_assert_str_eq(world_sent(), "2 basic.publish; ");
	world_confirm(2, 1);
	ck_assert_str_eq(world_sent(), "1 basic.publish; ");
	ck_assert_str_eq(world_told(), "1/1 confirmed 1-1; 2/1 confirmed 1-1; ");
	world_end();
}
END_TEST

START_TEST(lanes__close_ok_is_sent_before_the_number_is_used_again_when_both_close)
{
	struct amqc_method close = {.id = AMQC_CHANNEL_CLOSE}, close_ok = {.id = AMQC_CHANNEL_CLOSE_OK};
	struct session *session;
	struct buf bytes = BUF_INIT;

	world_begin(0, 0);
	session = world_session();
	session_open_channel(session, 1, 1);
	world_publish(session, 1, "one");
	ck_assert_str_eq(world_sent(), "1 basic.publish; ");
	session_settle(session, 1, SETTLE_ACK, 7, 7);
	ck_assert_str_eq(world_sent(), "1 channel.close; ");
	/* The broker closed too, and then answers ours: both come in one read. */
	close.channel_close.reply_code = 404;
	ck_assert_int_eq(amqc_method_append(&bytes, 1, &close), AMQC_OK);
	ck_assert_int_eq(amqc_method_append(&bytes, 1, &close_ok), AMQC_OK);
	ck_assert_uint_eq(upstream_feed(world.upstream, buf_span(&bytes)), buf_len(&bytes));
	buf_deinit(&bytes);
	ck_assert_str_eq(world_sent(), "1 channel.close-ok; ");
	world_end();
}
END_TEST

START_TEST(channels__close_is_answered_when_the_request_before_it_has_timed_out)
{
	struct session *session;

	world_begin(0, 0);
	session = world_session();
	session_open_channel(session, 1, 1);
	world_declare(session, 1, 1, "q");
	session_close_channel(session, 2, 1);
	ck_assert_str_eq(world_sent(), "1 queue.declare; ");
	ck_assert_str_eq(world_told(), "");
	world_pass(31 * USEC_PER_SEC);
	ck_assert_str_eq(world_told(), "refuse 1 request 408; 2 channel.close-ok; ");
	world_end();
}
END_TEST

START_TEST(channels__close_of_one_that_was_never_opened_is_refused)
{
	struct session *session;

	world_begin(0, 0);
	session = world_session();
	session_close_channel(session, 1, 3);
	ck_assert_str_eq(world_told(), "refuse 1 channel 504; ");
	session_open_channel(session, 3, 1);
	session_close_channel(session, 2, 3);
	ck_assert_str_eq(world_told(), "2 channel.close-ok; ");
	session_close_channel(session, 3, 3);
	ck_assert_str_eq(world_told(), "refuse 3 channel 504; ");
	world_end();
}
END_TEST

START_TEST(gets__without_ack_go_back_when_nobody_waits_any_more)
{
	struct session *session;

	world_begin(0, 0);
	session = world_session();
	session_open_channel(session, 1, 1);
	world_get(session, 1, 1, true, 1000);
	world_get(session, 2, 1, true, 0);
	ck_assert_str_eq(world_sent(), "1 basic.get; 1 basic.get; ");
	world_pass(2000);
	ck_assert_str_eq(world_told(), "refuse 1 request 408; ");
	world_get_ok(1, 1);
	ck_assert_str_eq(world_sent(), "1 nack 1; ");
	world_get_ok(1, 2);
	ck_assert_str_eq(world_told(), "got 2 tag 0; ");
	ck_assert_str_eq(world_sent(), "");
	session_written(session, world.position);
	ck_assert_str_eq(world_sent(), "1 ack 2; ");
	world_end();
}
END_TEST

START_TEST(gets__are_answered_when_the_channel_ends_by_their_message)
{
	struct session *session;

	world_begin(0, 0);
	session = world_session();
	session_open_channel(session, 1, 1);
	world_get(session, 1, 1, false, 0);
	ck_assert_str_eq(world_sent(), "1 basic.get; ");
	world_get_ok(1, 5); /* a tag that cannot be */
	ck_assert_str_eq(world_told(), "refuse 1 channel 506; 1/1 ended 506; ");
	world_end();
}
END_TEST

START_TEST(lanes__are_not_leased_to_channels_that_have_nothing_left_to_send)
{
	struct upstream_info info;
	struct session *session;

	world_begin_unconnected();
	session = world_session();
	session_open_channel(session, 1, 1);
	world_publish(session, 1, "one");
	world_pass(301 * USEC_PER_SEC);
	ck_assert_has(world_told(), "1/1 not_sent 1-1; ");
	world_pass(2 * USEC_PER_SEC);
	world_connect(0);
	upstream_get_info(world.upstream, &info);
	ck_assert_uint_eq(info.lanes_leased, 0);
	world_end();
}
END_TEST

START_TEST(memory__of_publishes_is_charged_though_their_session_has_ended)
{
	struct session *session;
	uint64_t before;

	world_begin_unconnected();
	session = world_session();
	session_open_channel(session, 1, 1);
	world_publish(session, 1, "0123456789");
	before = mux_memory_used(world.mux);
	session_end(session);
	world_turn();
	ck_assert_uint_ge(before, 20);
	ck_assert_uint_ge(mux_memory_used(world.mux), 20);
	ck_assert(!upstream_is_drained(world.upstream));
	world_pass(301 * USEC_PER_SEC);
	ck_assert_uint_eq(mux_memory_used(world.mux), 0);
	ck_assert(upstream_is_drained(world.upstream));
	world_end();
}
END_TEST

START_TEST(queues__of_a_session_that_ends_are_deleted_though_the_lane_for_it_was_just_closed)
{
	struct amqc_method declare = {.id = AMQC_QUEUE_DECLARE};
	struct session *sessions[2];

	world_begin(0, 0);
	declare.queue_declare.exclusive = true;
	for (uint16_t i = 0; i < 2; i++) {
		sessions[i] = world_session();
		declare.queue_declare.queue = i == 0 ? SPAN_LITERAL("a") : SPAN_LITERAL("b");
		session_open_channel(sessions[i], 1, 1);
		world_request(sessions[i], 1, 1, &declare, 0);
		world_turn();
		world_reply((uint16_t)(i + 1), AMQC_QUEUE_DECLARE_OK);
	}
	(void)world_sent();
	session_end(sessions[0]);
	ck_assert_str_eq(world_sent(), "3 queue.delete; 1 channel.close; ");
	world_close_lane(3, 406);
	session_end(sessions[1]);
	ck_assert_has(world_sent(), "queue.delete; ");
	world_end();
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("mux-edges");
	TCase *tcase = tcase_create("edges");

	tcase_add_test(tcase, requests__frame_larger_than_the_brokers_is_refused_beforehand);
	tcase_add_test(tcase, requests__passive_declare_without_a_name_is_the_brokers_to_refuse);
	tcase_add_test(tcase, lanes__what_comes_late_on_a_closed_one_costs_nothing);
	tcase_add_test(tcase, consumers__tag_of_a_consume_that_timed_out_is_not_used_again_at_once);
	tcase_add_test(tcase, consumers__number_is_free_when_the_consume_was_refused_unsent);
	tcase_add_test(tcase, consumers__cancel_that_was_not_sent_is_not_lost_when_the_channel_closes);
	tcase_add_test(tcase, publishes__go_on_when_the_get_before_them_timed_out);
	tcase_add_test(tcase, publishes__go_on_when_the_channel_closed_behind_a_get_that_waits);
	tcase_add_test(tcase, requests__go_on_when_the_publish_before_them_timed_out);
	tcase_add_test(tcase, publishes__have_an_outcome_though_the_failed_channel_is_opened_again_at_once);
	tcase_add_test(tcase, publishes__of_one_channel_do_not_keep_others_out_of_a_full_window);
	tcase_add_test(tcase, lanes__close_ok_is_sent_before_the_number_is_used_again_when_both_close);
	tcase_add_test(tcase, channels__close_is_answered_when_the_request_before_it_has_timed_out);
	tcase_add_test(tcase, channels__close_of_one_that_was_never_opened_is_refused);
	tcase_add_test(tcase, gets__without_ack_go_back_when_nobody_waits_any_more);
	tcase_add_test(tcase, gets__are_answered_when_the_channel_ends_by_their_message);
	tcase_add_test(tcase, lanes__are_not_leased_to_channels_that_have_nothing_left_to_send);
	tcase_add_test(tcase, memory__of_publishes_is_charged_though_their_session_has_ended);
	tcase_add_test(tcase,
		       queues__of_a_session_that_ends_are_deleted_though_the_lane_for_it_was_just_closed);
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
