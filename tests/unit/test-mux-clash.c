/*
 * What makes or deletes a queue goes alone, where the queue may be no classic
 * one. Sessions have channel 1 and the lane of their number; session 1 is who
 * was there first.
 */
#include "daemon/amqp/table.h"
#include "daemon/mux/state/upstream.h"
#include "tests/unit/mux-world.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct session *first, *second;

static struct session *one_more(void)
{
	struct session *session = world_session();

	session_open_channel(session, 1, 1);
	return session;
}

static void begin(void)
{
	world_begin_on("RabbitMQ", "3.10.8");
	first = one_more();
	second = one_more();
}

/* kind: "quorum", "stream"; NULL: what the broker makes without being asked, which is a classic one. */
static void declare(struct session *session, uint32_t id, const char *kind)
{
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};
	struct buf arguments = BUF_INIT;

	if (kind)
		amqc_field_append_str(&arguments, "x-queue-type", span_str(kind));
	method.queue_declare.queue = SPAN_LITERAL("q");
	method.queue_declare.durable = true;
	method.queue_declare.arguments = buf_span(&arguments);
	world_request(session, id, 1, &method, 0);
	buf_deinit(&arguments);
}

static void drop_within(struct session *session, uint32_t id, uint64_t timeout_usec)
{
	struct amqc_method method = {.id = AMQC_QUEUE_DELETE};

	method.queue_delete.queue = SPAN_LITERAL("q");
	world_request(session, id, 1, &method, timeout_usec);
}

static void drop(struct session *session, uint32_t id)
{
	drop_within(session, id, 0);
}

static void bind(struct session *session, uint32_t id)
{
	struct amqc_method method = {.id = AMQC_QUEUE_BIND};

	method.queue_bind.queue = SPAN_LITERAL("q");
	method.queue_bind.exchange = SPAN_LITERAL("amq.fanout");
	world_request(session, id, 1, &method, 0);
}

static void publish(struct session *session, const char *exchange, const char *key)
{
	static const struct amqc_properties properties;

	session_publish(session, &(struct mux_publish){.channel = 1,
						       .cost_bytes = 10,
						       .exchange = span_str(exchange),
						       .routing_key = span_str(key),
						       .properties = &properties,
						       .body = SPAN_LITERAL("hi")});
}

/* The queue is there, and known to be of that kind. */
static void begin_with(const char *kind)
{
	begin();
	declare(first, 1, kind);
	ck_assert_str_eq(world_sent(), "1 queue.declare; ");
	world_reply(1, AMQC_QUEUE_DECLARE_OK);
	(void)world_told();
}

START_TEST(clash__deletion_waits_for_a_consume_of_another_and_a_consume_for_the_deletion)
{
	begin_with("quorum");
	world_consume(first, 2, 1, 1, 0);
	drop(second, 3);
	ck_assert_str_eq(world_sent(), "1 basic.qos; 1 consume muxd-1-1-1-1; ");
	world_consume(one_more(), 4, 1, 1, 0);
	ck_assert_str_eq(world_sent(), "");
	world_reply(1, AMQC_BASIC_QOS_OK);
	world_reply(1, AMQC_BASIC_CONSUME_OK);
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	world_reply(2, AMQC_QUEUE_DELETE_OK);
	ck_assert_str_eq(world_sent(), "3 basic.qos; 3 consume muxd-3-1-1-1; ");
	world_end();
}
END_TEST

START_TEST(clash__deletion_and_a_cancel_of_another_wait_for_each_other)
{
	begin_with("quorum");
	world_consume(first, 2, 1, 1, 0);
	world_consume(second, 3, 1, 1, 0);
	(void)world_sent();
	for (uint16_t lane = 1; lane <= 2; lane++) {
		world_reply(lane, AMQC_BASIC_QOS_OK);
		world_reply(lane, AMQC_BASIC_CONSUME_OK);
	}
	world_cancel(first, 4, 1, 1, 0);
	drop(one_more(), 5);
	ck_assert_str_eq(world_sent(), "1 basic.cancel; ");
	world_reply(1, AMQC_BASIC_CANCEL_OK);
	ck_assert_str_eq(world_sent(), "3 queue.delete; ");
	world_cancel(second, 6, 1, 1, 0);
	ck_assert_str_eq(world_sent(), "");
	world_reply(3, AMQC_QUEUE_DELETE_OK);
	ck_assert_str_eq(world_sent(), "2 basic.cancel; ");
	world_end();
}
END_TEST

START_TEST(clash__declarations_of_what_is_not_there_go_one_after_the_other)
{
	begin();
	declare(first, 1, "stream");
	declare(second, 2, "stream");
	world_consume(one_more(), 3, 1, 1, 0);
	ck_assert_str_eq(world_sent(), "1 queue.declare; ");
	world_reply(1, AMQC_QUEUE_DECLARE_OK);
	/* Now it is known to be there: to declare it again changes nothing. */
	ck_assert_str_eq(world_sent(), "2 queue.declare; 3 basic.qos; 3 consume muxd-3-1-1-1; ");
	world_end();
}
END_TEST

START_TEST(clash__classic_queues_are_no_danger)
{
	begin();
	declare(first, 1, NULL);
	declare(second, 2, NULL);
	ck_assert_str_eq(world_sent(), "1 queue.declare; 2 queue.declare; ");
	world_reply(1, AMQC_QUEUE_DECLARE_OK);
	world_reply(2, AMQC_QUEUE_DECLARE_OK);
	world_get(first, 3, 1, false, 0);
	drop(second, 4);
	ck_assert_str_eq(world_sent(), "1 basic.get; 2 queue.delete; ");
	world_end();
}
END_TEST

START_TEST(clash__one_channel_waits_for_nothing_of_its_own)
{
	begin();
	declare(first, 1, "quorum");
	world_consume(first, 2, 1, 1, 0);
	publish(first, "", "q");
	drop(first, 3);
	ck_assert_str_eq(
	    world_sent(),
	    "1 queue.declare; 1 basic.qos; 1 consume muxd-1-1-1-1; 1 basic.publish; 1 queue.delete; ");
	world_end();
}
END_TEST

START_TEST(clash__publish_to_the_queue_waits_for_its_deletion_and_no_other_does)
{
	begin_with("quorum");
	drop(second, 2);
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	publish(first, "", "q");
	publish(one_more(), "", "another");
	ck_assert_str_eq(world_sent(), "3 basic.publish; ");
	world_reply(2, AMQC_QUEUE_DELETE_OK);
	ck_assert_str_eq(world_sent(), "1 basic.publish; ");
	world_end();
}
END_TEST

START_TEST(clash__deletion_waits_for_what_may_be_on_its_way_into_the_queue)
{
	begin_with("quorum");
	bind(first, 2);
	(void)world_sent();
	world_reply(1, AMQC_QUEUE_BIND_OK);
	publish(first, "amq.fanout", "");
	ck_assert_str_eq(world_sent(), "1 basic.publish; ");
	drop(second, 3);
	ck_assert_str_eq(world_sent(), "");
	world_confirm(1, 1);
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	publish(first, "amq.fanout", "");
	publish(one_more(), "amq.direct", "");
	ck_assert_str_eq(world_sent(), "3 basic.publish; ");
	world_reply(2, AMQC_QUEUE_DELETE_OK);
	ck_assert_str_eq(world_sent(), "1 basic.publish; ");
	world_end();
}
END_TEST

START_TEST(clash__who_leaves_the_line_stands_in_nobodys_way)
{
	struct session *third;

	begin_with("quorum");
	world_get(first, 2, 1, false, 0);
	drop_within(second, 3, 1000);
	third = one_more();
	world_get(third, 4, 1, false, 0);
	ck_assert_str_eq(world_sent(), "1 basic.get; ");
	world_pass(1000);
	ck_assert_str_eq(world_sent(), "3 basic.get; ");
	world_end();
}
END_TEST

START_TEST(clash__what_became_a_stream_meanwhile_is_not_got_from)
{
	begin_with(NULL);
	drop(first, 2);
	declare(first, 3, "stream");
	world_get(second, 4, 1, false, 0);
	ck_assert_str_eq(world_sent(), "1 queue.delete; 1 queue.declare; ");
	(void)world_told();
	world_reply(1, AMQC_QUEUE_DELETE_OK);
	world_reply(1, AMQC_QUEUE_DECLARE_OK);
	ck_assert_str_eq(world_sent(), "2 channel.close; ");
	ck_assert_str_eq(world_told(),
			 "2 queue.delete-ok; 3 queue.declare-ok; refuse 4 channel 540; 1/1 ended 540; ");
	world_end();
}
END_TEST

START_TEST(clash__who_waits_for_a_claim_to_the_queue_does_not_keep_the_claim_waiting)
{
	struct amqc_method claim = {.id = AMQC_QUEUE_DECLARE};

	begin();
	publish(first, "", "q");
	drop(second, 2);
	ck_assert_str_eq(world_sent(), "1 basic.publish; ");
	claim.queue_declare.queue = SPAN_LITERAL("q");
	claim.queue_declare.exclusive = true;
	world_request(one_more(), 3, 1, &claim, 0);
	world_confirm(1, 1);
	ck_assert_str_eq(world_sent(), "3 queue.declare; ");
	(void)world_told();
	world_reply(3, AMQC_QUEUE_DECLARE_OK);
	world_turn();
	ck_assert_str_eq(world_told(), "3 queue.declare-ok; refuse 2 channel 405; 1/1 ended 405; ");
	world_end();
}
END_TEST

START_TEST(clash__second_deletion_of_a_channel_goes_alone_too)
{
	begin_with("quorum");
	drop(second, 2);
	drop(second, 3);
	ck_assert_str_eq(world_sent(), "2 queue.delete; 2 queue.delete; ");
	publish(first, "", "q");
	world_reply(2, AMQC_QUEUE_DELETE_OK);
	ck_assert_str_eq(world_sent(), "");
	world_reply(2, AMQC_QUEUE_DELETE_OK);
	ck_assert_str_eq(world_sent(), "1 basic.publish; ");
	world_end();
}
END_TEST

START_TEST(clash__who_changes_the_queue_again_and_again_lets_others_through)
{
	begin_with("quorum");
	drop(second, 2);
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	publish(first, "", "q");
	ck_assert_str_eq(world_sent(), "");
	drop(second, 3);
	drop(second, 4);
	ck_assert_str_eq(world_sent(), "");
	world_reply(2, AMQC_QUEUE_DELETE_OK);
	ck_assert_str_eq(world_sent(), "1 basic.publish; ");
	publish(first, "", "q");
	world_confirm(1, 1);
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	world_reply(2, AMQC_QUEUE_DELETE_OK);
	ck_assert_str_eq(world_sent(), "1 basic.publish; ");
	world_end();
}
END_TEST

/* By what all of its channel may have; 0: no limit. */
static void limit(struct session *session, uint32_t id, uint16_t most)
{
	struct amqc_method method = {.id = AMQC_BASIC_QOS};

	method.basic_qos.prefetch_count = most;
	method.basic_qos.global = true;
	world_request(session, id, 1, &method, 0);
}

static void begin_consuming(void)
{
	begin_with("quorum");
	limit(first, 2, 1);
	world_consume(first, 3, 1, 1, 0);
	ck_assert_str_eq(world_sent(), "1 basic.qos; 1 consume muxd-1-1-1-1; ");
	world_reply(1, AMQC_BASIC_QOS_OK);
	world_reply(1, AMQC_BASIC_CONSUME_OK);
	ck_assert_str_eq(world_sent(), "");
}

START_TEST(clash__deletion_waits_for_a_consumer_that_is_begun_anew)
{
	begin_consuming();
	limit(first, 4, 0);
	drop(second, 5);
	ck_assert_str_eq(world_sent(), "1 basic.qos; 1 consume muxd-1-1-1-1~1; ");
	world_reply(1, AMQC_BASIC_QOS_OK);
	world_reply(1, AMQC_BASIC_CONSUME_OK);
	ck_assert_str_eq(world_sent(), "1 basic.cancel; ");
	world_reply(1, AMQC_BASIC_CANCEL_OK);
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	world_end();
}
END_TEST

START_TEST(clash__no_consumer_is_begun_anew_while_its_queue_is_deleted)
{
	begin_consuming();
	drop(second, 4);
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	limit(first, 5, 0);
	ck_assert_str_eq(world_sent(), "");
	world_end();
}
END_TEST

#define BEAT_USEC (50 * USEC_PER_MSEC)
#define PATIENCE_BEATS 100

/* As long as somebody who is never answered is waited for where the broker cannot be asked, for all lanes are
 * in use. */
static void lose_patience(void)
{
	for (int i = 1; i < PATIENCE_BEATS; i++)
		world_pass(BEAT_USEC);
	ck_assert_str_eq(world_sent(), "");
	world_pass(BEAT_USEC);
}

/* Consumes on the first lane, and keeps it, for another publish of it is not confirmed. */
static void begin_leaving(void)
{
	begin_with("quorum");
	world_consume(first, 2, 1, 1, 0);
	publish(first, "", "other");
	ck_assert_str_eq(world_sent(), "1 basic.qos; 1 consume muxd-1-1-1-1; 1 basic.publish; ");
	world_reply(1, AMQC_BASIC_QOS_OK);
	world_reply(1, AMQC_BASIC_CONSUME_OK);
	world_deliver(1, "muxd-1-1-1-1", 1);
	ck_assert_str_eq(world_sent(), "");
}

START_TEST(clash__consumer_that_ends_is_cancelled_behind_the_deletion)
{
	begin_leaving();
	drop(second, 3);
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	session_close_channel(first, 4, 1);
	world_deliver(1, "muxd-1-1-1-1", 2);
	ck_assert_str_eq(world_sent(), "");
	world_reply(2, AMQC_QUEUE_DELETE_OK);
	/* Behind the cancel, or it would come again at once. */
	ck_assert_str_eq(world_sent(), "1 basic.cancel; 1 nack 1; 1 nack 2; ");
	world_reply(1, AMQC_BASIC_CANCEL_OK);
	world_confirm(1, 1);
	ck_assert_str_eq(world_sent(), "1 channel.close; ");
	world_end();
}
END_TEST

START_TEST(clash__lane_that_closes_waits_for_the_deletion_with_its_cancel)
{
	begin_leaving();
	drop(second, 3);
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	session_close_channel(first, 4, 1);
	world_confirm(1, 1);
	ck_assert_str_eq(world_sent(), "");
	drop(one_more(), 5);
	world_reply(2, AMQC_QUEUE_DELETE_OK);
	ck_assert_str_eq(world_sent(), "1 basic.cancel; 1 nack 1; 1 channel.close; ");
	/* Who deletes it next waits for that. */
	world_reply(1, AMQC_CHANNEL_CLOSE_OK);
	ck_assert_str_eq(world_sent(), "3 queue.delete; ");
	world_end();
}
END_TEST

START_TEST(clash__consumer_that_ends_waits_for_no_deletion_of_its_channel)
{
	begin_leaving();
	drop(first, 3);
	ck_assert_str_eq(world_sent(), "1 queue.delete; ");
	session_close_channel(first, 4, 1);
	ck_assert_str_eq(world_sent(), "1 basic.cancel; 1 nack 1; ");
	world_end();
}
END_TEST

START_TEST(clash__queue_is_not_made_again_before_its_consumers_are_told_that_it_went)
{
	struct amqc_method gone = {.id = AMQC_BASIC_CANCEL};

	begin_consuming();
	drop(second, 4);
	declare(second, 5, "quorum");
	declare(one_more(), 6, "quorum");
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	world_reply(2, AMQC_QUEUE_DELETE_OK);
	ck_assert_str_eq(world_sent(), "");
	gone.basic_cancel.consumer_tag = SPAN_LITERAL("muxd-1-1-1-1");
	world_method(1, &gone);
	ck_assert_str_eq(world_sent(), "2 queue.declare; ");
	world_reply(2, AMQC_QUEUE_DECLARE_OK);
	ck_assert_str_eq(world_sent(), "3 queue.declare; ");
	world_end();
}
END_TEST

START_TEST(clash__nor_is_it_made_again_as_a_classic_one)
{
	struct amqc_method gone = {.id = AMQC_BASIC_CANCEL};

	begin_consuming();
	drop(second, 4);
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	world_reply(2, AMQC_QUEUE_DELETE_OK);
	declare(second, 5, NULL);
	ck_assert_str_eq(world_sent(), "");
	gone.basic_cancel.consumer_tag = SPAN_LITERAL("muxd-1-1-1-1");
	world_method(1, &gone);
	ck_assert_str_eq(world_sent(), "2 queue.declare; ");
	world_end();
}
END_TEST

START_TEST(clash__consumers_that_are_never_told_are_not_waited_for_for_long)
{
	begin_consuming();
	drop(second, 4);
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	world_reply(2, AMQC_QUEUE_DELETE_OK);
	declare(second, 5, "quorum");
	ck_assert_str_eq(world_sent(), "");
	lose_patience();
	ck_assert_str_eq(world_sent(), "2 queue.declare; ");
	world_end();
}
END_TEST

/* RabbitMQ 3.10 says it once by itself and once by its mailbox when the queue goes at that moment. */
START_TEST(clash__cancel_that_met_a_deletion_of_others_may_be_answered_twice)
{
	begin_consuming();
	world_cancel(first, 4, 1, 1, 0);
	(void)world_told();
	world_reply(1, AMQC_BASIC_CANCEL_OK);
	world_reply(1, AMQC_BASIC_CANCEL_OK);
	ck_assert_int_eq(world.upstream->state, UPSTREAM_UP);
	ck_assert_str_eq(world_told(), "4 basic.cancel-ok; ");
	world_end();
}
END_TEST

START_TEST(clash__consume_that_nobody_wants_is_undone_behind_the_deletion)
{
	struct amqc_method gone = {.id = AMQC_BASIC_CANCEL};

	begin_consuming();
	limit(first, 4, 0);
	drop(second, 5);
	ck_assert_str_eq(world_sent(), "1 basic.qos; 1 consume muxd-1-1-1-1~1; ");
	lose_patience();
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	gone.basic_cancel.consumer_tag = SPAN_LITERAL("muxd-1-1-1-1");
	world_method(1, &gone);
	world_reply(1, AMQC_BASIC_QOS_OK);
	world_reply(1, AMQC_BASIC_CONSUME_OK);
	ck_assert_str_eq(world_sent(), "");
	world_reply(2, AMQC_QUEUE_DELETE_OK);
	ck_assert_str_eq(world_sent(), "1 basic.cancel; ");
	world_end();
}
END_TEST

START_TEST(clash__consumer_that_ends_does_not_wait_for_ever)
{
	begin_leaving();
	drop(second, 3);
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	session_close_channel(first, 4, 1);
	lose_patience();
	ck_assert_str_eq(world_sent(), "1 basic.cancel; 1 nack 1; ");
	world_end();
}
END_TEST

START_TEST(clash__deletion_waits_for_what_a_channel_published_before_it_failed)
{
	struct amqc_method mistake = {.id = AMQC_QUEUE_DECLARE};

	begin_with("quorum");
	publish(first, "", "q");
	ck_assert_str_eq(world_sent(), "1 basic.publish; ");
	mistake.queue_declare.queue = SPAN_LITERAL("amq.rabbitmq.reply-to.no.address");
	world_request(first, 2, 1, &mistake, 0);
	ck_assert_str_eq(world_sent(), "1 channel.close; ");
	drop(second, 3);
	ck_assert_str_eq(world_sent(), "");
	world_reply(1, AMQC_CHANNEL_CLOSE_OK);
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	world_end();
}
END_TEST

START_TEST(clash__who_is_never_answered_is_not_waited_for_for_long)
{
	begin_with("quorum");
	world_get(first, 2, 1, false, 0);
	drop(second, 3);
	publish(one_more(), "", "q");
	ck_assert_str_eq(world_sent(), "1 basic.get; ");
	lose_patience();
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	/* Nor is this one answered. */
	lose_patience();
	ck_assert_str_eq(world_sent(), "3 basic.publish; ");
	world_end();
}
END_TEST

START_TEST(clash__publisher_who_is_never_confirmed_is_waited_for_once)
{
	begin_with("quorum");
	publish(first, "", "q");
	drop(second, 2);
	ck_assert_str_eq(world_sent(), "1 basic.publish; ");
	lose_patience();
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	world_reply(2, AMQC_QUEUE_DELETE_OK);
	declare(second, 3, "quorum");
	ck_assert_str_eq(world_sent(), "2 queue.declare; ");
	world_reply(2, AMQC_QUEUE_DECLARE_OK);
	/* Until it is confirmed: then it is not stuck. */
	world_confirm(1, 1);
	publish(first, "", "q");
	drop(second, 4);
	ck_assert_str_eq(world_sent(), "1 basic.publish; ");
	world_confirm(1, 2);
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	world_end();
}
END_TEST

START_TEST(clash__slow_broker_is_waited_for_as_long_as_it_answers_slowly)
{
	world_begin_warm("RabbitMQ", "3.10.8");
	first = one_more();
	second = one_more();
	declare(first, 1, "quorum");
	publish(second, "", "other"); /* so it keeps its lane, and the third one is free */
	ck_assert_str_eq(world_sent(), "1 queue.declare; 2 basic.publish; ");
	world_reply(1, AMQC_QUEUE_DECLARE_OK);
	world_get(first, 2, 1, false, 0);
	drop(second, 3);
	ck_assert_str_eq(world_sent(), "1 basic.get; ");
	world_pass(BEAT_USEC);
	ck_assert_str_eq(world_sent(), "3 channel.flow; ");
	world_pass(20 * USEC_PER_SEC);
	ck_assert_str_eq(world_sent(), "");
	for (int i = 1; i < PATIENCE_BEATS; i++) {
		world_reply(3, AMQC_CHANNEL_FLOW_OK);
		world_pass(BEAT_USEC);
		ck_assert_str_eq(world_sent(), "3 channel.flow; ");
	}
	world_reply(3, AMQC_CHANNEL_FLOW_OK);
	ck_assert_str_eq(world_sent(), "2 queue.delete; ");
	world_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux-clash");
	TCase *tcase = tcase_create("clash");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, clash__deletion_waits_for_a_consume_of_another_and_a_consume_for_the_deletion);
	tcase_add_test(tcase, clash__deletion_and_a_cancel_of_another_wait_for_each_other);
	tcase_add_test(tcase, clash__declarations_of_what_is_not_there_go_one_after_the_other);
	tcase_add_test(tcase, clash__classic_queues_are_no_danger);
	tcase_add_test(tcase, clash__one_channel_waits_for_nothing_of_its_own);
	tcase_add_test(tcase, clash__publish_to_the_queue_waits_for_its_deletion_and_no_other_does);
	tcase_add_test(tcase, clash__deletion_waits_for_what_may_be_on_its_way_into_the_queue);
	tcase_add_test(tcase, clash__who_leaves_the_line_stands_in_nobodys_way);
	tcase_add_test(tcase, clash__what_became_a_stream_meanwhile_is_not_got_from);
	tcase_add_test(tcase, clash__who_waits_for_a_claim_to_the_queue_does_not_keep_the_claim_waiting);
	tcase_add_test(tcase, clash__second_deletion_of_a_channel_goes_alone_too);
	tcase_add_test(tcase, clash__who_changes_the_queue_again_and_again_lets_others_through);
	tcase_add_test(tcase, clash__deletion_waits_for_a_consumer_that_is_begun_anew);
	tcase_add_test(tcase, clash__no_consumer_is_begun_anew_while_its_queue_is_deleted);
	tcase_add_test(tcase, clash__consumer_that_ends_is_cancelled_behind_the_deletion);
	tcase_add_test(tcase, clash__lane_that_closes_waits_for_the_deletion_with_its_cancel);
	tcase_add_test(tcase, clash__consumer_that_ends_waits_for_no_deletion_of_its_channel);
	tcase_add_test(tcase, clash__queue_is_not_made_again_before_its_consumers_are_told_that_it_went);
	tcase_add_test(tcase, clash__nor_is_it_made_again_as_a_classic_one);
	tcase_add_test(tcase, clash__consumers_that_are_never_told_are_not_waited_for_for_long);
	tcase_add_test(tcase, clash__cancel_that_met_a_deletion_of_others_may_be_answered_twice);
	tcase_add_test(tcase, clash__consume_that_nobody_wants_is_undone_behind_the_deletion);
	tcase_add_test(tcase, clash__consumer_that_ends_does_not_wait_for_ever);
	tcase_add_test(tcase, clash__deletion_waits_for_what_a_channel_published_before_it_failed);
	tcase_add_test(tcase, clash__who_is_never_answered_is_not_waited_for_for_long);
	tcase_add_test(tcase, clash__publisher_who_is_never_confirmed_is_waited_for_once);
	tcase_add_test(tcase, clash__slow_broker_is_waited_for_as_long_as_it_answers_slowly);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
