#include "tests/unit/mux-rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct rig rig;

/* A session with a consumer (tag "tag", number 1) on channel 1, lane 1. */
static struct rig_session *consuming(uint64_t credit)
{
	struct rig_session *session;

	rig_up(&rig);
	session = rig_session(&rig);
	session_open_channel(session->session, 1, 1);
	rig_consume(session, 1, 1, "q", "tag", credit);
	rig_serve(&rig);
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_BASIC_CONSUME_OK);
	return session;
}

static void deliver(uint64_t first, uint64_t last)
{
	for (uint64_t tag = first; tag <= last; tag++) {
		char body[24];

		snprintf(body, sizeof(body), "body %llu", (unsigned long long)tag);
		rig_deliver(&rig, 1, "tag", tag, body);
	}
}

static void settle(struct rig_session *session, enum settle_kind kind, uint64_t first, uint64_t last)
{
	session_settle(session->session, 1, kind, first, last);
}

static void expect_ack(uint64_t tag, bool multiple)
{
	struct rig_frame frame;

	ck_assert_uint_eq(rig_expect(&rig, AMQC_BASIC_ACK, &frame), 1);
	ck_assert_uint_eq(frame.method.basic_ack.delivery_tag, tag);
	ck_assert_int_eq(frame.method.basic_ack.multiple, multiple);
}

static void expect_nack(uint64_t tag, bool multiple, bool requeue)
{
	struct rig_frame frame;

	ck_assert_uint_eq(rig_expect(&rig, AMQC_BASIC_NACK, &frame), 1);
	ck_assert_uint_eq(frame.method.basic_nack.delivery_tag, tag);
	ck_assert_int_eq(frame.method.basic_nack.multiple, multiple);
	ck_assert_int_eq(frame.method.basic_nack.requeue, requeue);
}

START_TEST(ack__multiple_covers_only_what_is_acked)
{
	struct rig_session *session = consuming(100);

	deliver(1, 6);
	settle(session, SETTLE_ACK, 1, 1);
	settle(session, SETTLE_ACK, 2, 2);
	settle(session, SETTLE_ACK, 4, 4);
	rig_turn(&rig);
	expect_ack(2, true);
	expect_ack(4, false);
	rig_expect_silence(&rig);
	settle(session, SETTLE_ACK, 5, 5);
	rig_turn(&rig);
	expect_ack(5, false);
	settle(session, SETTLE_ACK, 3, 3);
	settle(session, SETTLE_ACK, 6, 6);
	rig_turn(&rig);
	expect_ack(6, true);
	rig_expect_silence(&rig);
	rig_free(&rig);
}
END_TEST

START_TEST(ack__a_range_acks_what_is_unsettled_in_it)
{
	struct rig_session *session = consuming(100);

	deliver(1, 8);
	settle(session, SETTLE_ACK, 5, 5);
	settle(session, SETTLE_ACK, 4, 6);
	rig_turn(&rig);
	expect_ack(4, false);
	expect_ack(5, false);
	expect_ack(6, false);
	settle(session, SETTLE_ACK, 0, 7);
	rig_turn(&rig);
	expect_ack(7, true);
	settle(session, SETTLE_ACK, 0, 0);
	rig_turn(&rig);
	expect_ack(8, false);
	rig_expect_silence(&rig);
	ck_assert_ptr_null(rig_last(session, RIG_CHANNEL_ENDED));
	rig_free(&rig);
}
END_TEST

START_TEST(nack__multiple_covers_only_what_is_returned)
{
	struct rig_session *session = consuming(100);

	deliver(1, 6);
	settle(session, SETTLE_REQUEUE, 0, 2);
	rig_turn(&rig);
	expect_nack(2, true, true);
	settle(session, SETTLE_DISCARD, 4, 5);
	rig_turn(&rig);
	expect_nack(4, false, false);
	expect_nack(5, false, false);
	/* What is acked before goes out before: a multiple nack must not cover it. */
	settle(session, SETTLE_ACK, 3, 3);
	settle(session, SETTLE_REQUEUE, 0, 0);
	rig_turn(&rig);
	expect_ack(3, false);
	expect_nack(6, false, true);
	rig_expect_silence(&rig);
	rig_free(&rig);
}
END_TEST

START_TEST(settle__a_wrong_tag_fails_the_channel_and_keeps_earlier_acks)
{
	static const struct {
		uint64_t first, last;
	} wrong[] = {{2, 2}, {9, 9}, {1, 9}, {3, 2}};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct rig_session *session = consuming(100);
		struct rig_frame frame;

		deliver(1, 3);
		settle(session, SETTLE_ACK, 2, 2);
		settle(session, SETTLE_ACK, wrong[i].first, wrong[i].last);
		(void)rig_event_of(session, RIG_DELIVERED);
		(void)rig_event_of(session, RIG_DELIVERED);
		(void)rig_event_of(session, RIG_DELIVERED);
		ck_assert_uint_eq(rig_event_of(session, RIG_CHANNEL_ENDED)->code, AMQC_PRECONDITION_FAILED);
		rig_turn(&rig);
		expect_ack(2, false);
		rig_expect(&rig, AMQC_CHANNEL_CLOSE, &frame);
		rig_expect_silence(&rig);
		/* Of a failed channel nothing can be settled, and that is no mistake. */
		settle(session, SETTLE_ACK, 1, 1);
		rig_expect_no_event(session);
		rig_free(&rig);
	}
}
END_TEST

START_TEST(delivery__waits_for_credit_and_keeps_its_order)
{
	struct rig_session *session = consuming(2);
	struct session_info info;

	deliver(1, 5);
	ck_assert_uint_eq(rig_event_of(session, RIG_DELIVERED)->tag, 1);
	ck_assert_uint_eq(rig_event_of(session, RIG_DELIVERED)->tag, 2);
	rig_expect_no_event(session);
	session_consumer_credit(session->session, 1, 1, 3, 1000000);
	ck_assert_uint_eq(rig_event_of(session, RIG_DELIVERED)->tag, 3);
	rig_expect_no_event(session);
	/* Totals: a lower one changes nothing. */
	session_consumer_credit(session->session, 1, 1, 1, 1);
	session_consumer_credit(session->session, 1, 1, 100, 1000000);
	ck_assert_uint_eq(rig_event_of(session, RIG_DELIVERED)->tag, 4);
	ck_assert_uint_eq(rig_event_of(session, RIG_DELIVERED)->tag, 5);
	ck_assert(mux_next_session(rig.mux, 0, &info));
	ck_assert_uint_eq(info.unacked, 5);
	ck_assert_uint_eq(info.delivered, 5);
	rig_free(&rig);
}
END_TEST

START_TEST(delivery__one_message_may_overdraw_the_bytes)
{
	struct rig_session *session;

	rig_up(&rig);
	session = rig_session(&rig);
	session_open_channel(session->session, 1, 1);
	rig_consume(session, 1, 1, "q", "tag", 0);
	rig_serve(&rig);
	(void)rig_event_of(session, RIG_REPLY);
	deliver(1, 2);
	session_consumer_credit(session->session, 1, 1, 10, 1);
	ck_assert_uint_eq(rig_event_of(session, RIG_DELIVERED)->tag, 1);
	rig_expect_no_event(session);
	session_consumer_credit(session->session, 1, 1, 10, 100);
	ck_assert_uint_eq(rig_event_of(session, RIG_DELIVERED)->tag, 2);
	rig_free(&rig);
}
END_TEST

static uint32_t consume_auto_ack(struct rig_session *session)
{
	struct amqc_method method = {.id = AMQC_BASIC_CONSUME};
	struct mux_request request = {.id = ++session->last_request,
				      .channel = 1,
				      .method = &method,
				      .consumer = 1,
				      .credit_messages = 100,
				      .credit_bytes = 100000};

	method.basic_consume.queue = SPAN_LITERAL("q");
	method.basic_consume.consumer_tag = SPAN_LITERAL("tag");
	method.basic_consume.no_ack = true;
	session_request(session->session, &request);
	return request.id;
}

START_TEST(delivery__auto_ack_is_acked_when_the_socket_took_it_and_not_before)
{
	struct rig_session *session;
	struct rig_frame frame;
	uint64_t second;

	rig_up(&rig);
	session = rig_session(&rig);
	session_open_channel(session->session, 1, 1);
	consume_auto_ack(session);
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_expect(&rig, AMQC_BASIC_QOS, &frame);
	rig_expect(&rig, AMQC_BASIC_CONSUME, &frame);
	ck_assert(!frame.method.basic_consume.no_ack);
	rig_say_id(&rig, 1, AMQC_BASIC_QOS_OK);
	rig_say_id(&rig, 1, AMQC_BASIC_CONSUME_OK);
	(void)rig_event_of(session, RIG_REPLY);
	deliver(1, 2);
	second = session->position;
	deliver(3, 3);
	ck_assert_uint_eq(rig_event_of(session, RIG_DELIVERED)->tag, 0);
	rig_turn(&rig);
	rig_expect_silence(&rig);
	session_written(session->session, second);
	rig_turn(&rig);
	rig_expect_silence(&rig); /* it waits a little for company */
	rig_pass(&rig, 2000);
	expect_ack(2, true);
	rig_expect_silence(&rig);
	/* What the socket never took goes back. */
	rig_end(session);
	rig_turn(&rig);
	rig_expect(&rig, AMQC_BASIC_CANCEL, &frame);
	expect_nack(3, true, true);
	rig_expect(&rig, AMQC_CHANNEL_CLOSE, &frame);
	rig_free(&rig);
}
END_TEST

START_TEST(consumer__delivers_on_until_cancel_ok_and_returns_the_rest_then)
{
	struct rig_session *session = consuming(1);
	struct rig_frame frame;
	uint32_t cancel;

	deliver(1, 2);
	(void)rig_event_of(session, RIG_DELIVERED);
	cancel = rig_cancel(session, 1, 1, 0);
	rig_turn(&rig);
	rig_expect(&rig, AMQC_BASIC_CANCEL, &frame);
	/* Returned now, it would come again at once. */
	rig_expect_silence(&rig);
	rig_say_id(&rig, 1, AMQC_BASIC_CANCEL_OK);
	rig_turn(&rig);
	expect_nack(2, false, true);
	ck_assert_uint_eq(rig_event_of(session, RIG_REPLY)->request, cancel);
	/* What was delivered can still be settled. */
	settle(session, SETTLE_ACK, 1, 1);
	rig_turn(&rig);
	expect_ack(1, false);
	rig_expect_no_event(session);
	rig_free(&rig);
}
END_TEST

START_TEST(consumer__cancelling_what_is_not_there_is_done)
{
	struct rig_session *session = consuming(1);

	rig_cancel(session, 1, 99, 0);
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_BASIC_CANCEL_OK);
	rig_turn(&rig);
	rig_expect_silence(&rig);
	rig_free(&rig);
}
END_TEST

START_TEST(consumer__the_broker_may_end_it)
{
	struct rig_session *session = consuming(10);
	struct amqc_method cancel = {.id = AMQC_BASIC_CANCEL};

	cancel.basic_cancel.consumer_tag = SPAN_LITERAL("tag");
	rig_say(&rig, 1, &cancel);
	ck_assert_uint_eq(rig_event_of(session, RIG_CONSUMER_CANCELLED)->consumer, 1);
	rig_say(&rig, 1, &cancel);
	rig_expect_no_event(session);
	/* Its number and tag are free. */
	rig_consume(session, 1, 1, "q", "tag", 1);
	rig_serve(&rig);
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_BASIC_CONSUME_OK);
	rig_free(&rig);
}
END_TEST

START_TEST(consumer__number_and_tag_in_use_are_refused_alone)
{
	struct rig_session *session = consuming(10);
	const struct rig_event *event;

	rig_consume(session, 1, 1, "q", "other", 1);
	event = rig_event_of(session, RIG_REFUSED);
	ck_assert_uint_eq(event->code, AMQC_NOT_ALLOWED);
	ck_assert_int_eq(event->scope, SCOPE_REQUEST);
	rig_consume(session, 1, 2, "q", "tag", 1);
	ck_assert_uint_eq(rig_event_of(session, RIG_REFUSED)->code, AMQC_NOT_ALLOWED);
	rig_turn(&rig);
	rig_expect_silence(&rig);
	deliver(1, 1);
	(void)rig_event_of(session, RIG_DELIVERED);
	rig_free(&rig);
}
END_TEST

START_TEST(consumer__more_than_a_channel_may_have_is_refused_alone)
{
	struct rig_session *session = consuming(10);
	const struct rig_event *event;
	char tag[16];

	for (uint32_t i = 2; i <= 1024; i++) {
		snprintf(tag, sizeof(tag), "tag%u", i);
		rig_consume(session, 1, i, "q", tag, 1);
		rig_serve(&rig);
		ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_BASIC_CONSUME_OK);
		session->event_count = 0;
		session->event_next = 0;
	}
	rig_consume(session, 1, 1025, "q", "one more", 1);
	event = rig_event_of(session, RIG_REFUSED);
	ck_assert_uint_eq(event->code, AMQC_RESOURCE_ERROR);
	ck_assert_int_eq(event->scope, SCOPE_REQUEST);
	rig_cancel(session, 1, 2, 0);
	rig_serve(&rig);
	(void)rig_event_of(session, RIG_REPLY);
	rig_consume(session, 1, 1025, "q", "one more", 1);
	rig_serve(&rig);
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_BASIC_CONSUME_OK);
	rig_free(&rig);
}
END_TEST

START_TEST(consumer__is_paid_by_its_session_while_it_has_it)
{
	struct rig_session *session = consuming(10);
	uint64_t used = mux_memory_used(rig.mux);

	rig_consume(session, 1, 2, "q", "other", 1);
	rig_serve(&rig);
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_BASIC_CONSUME_OK);
	ck_assert_uint_gt(mux_memory_used(rig.mux), used);
	rig_cancel(session, 1, 2, 0);
	rig_serve(&rig);
	ck_assert_uint_eq(mux_memory_used(rig.mux), used);
	rig_end(session);
	rig_serve(&rig);
	ck_assert_uint_eq(mux_memory_used(rig.mux), 0);
	rig_free(&rig);
}
END_TEST

START_TEST(consumer__prefetch_goes_before_it_and_only_when_it_differs)
{
	struct amqc_method qos = {.id = AMQC_BASIC_QOS};
	struct rig_session *session;
	struct rig_frame frame;

	rig_up(&rig);
	session = rig_session(&rig);
	session_open_channel(session->session, 1, 1);
	qos.basic_qos.prefetch_count = 7;
	rig_request(session, 1, &qos, 0);
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_BASIC_QOS_OK);
	rig_consume(session, 1, 1, "q", "a", 1);
	rig_consume(session, 1, 2, "q", "b", 1);
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_expect(&rig, AMQC_BASIC_QOS, &frame);
	ck_assert_uint_eq(frame.method.basic_qos.prefetch_count, 7);
	ck_assert(!frame.method.basic_qos.global);
	rig_expect(&rig, AMQC_BASIC_CONSUME, &frame);
	rig_expect(&rig, AMQC_BASIC_CONSUME, &frame);
	rig_expect_silence(&rig);
	rig_free(&rig);
}
END_TEST

START_TEST(consumer__two_of_a_channel_are_told_apart_by_their_tags)
{
	struct rig_session *session = consuming(10);

	rig_consume(session, 1, 2, "q", "second", 10);
	rig_serve(&rig);
	(void)rig_event_of(session, RIG_REPLY);
	rig_deliver(&rig, 1, "second", 1, "x");
	rig_deliver(&rig, 1, "tag", 2, "y");
	ck_assert_uint_eq(rig_event_of(session, RIG_DELIVERED)->consumer, 2);
	ck_assert_uint_eq(rig_event_of(session, RIG_DELIVERED)->consumer, 1);
	rig_free(&rig);
}
END_TEST

/* Takes what is sent up to basic.get, and answers barriers. */
static uint16_t expect_get(void)
{
	struct rig_frame frame = {0};

	while (frame.method.id != AMQC_BASIC_GET) {
		rig_turn(&rig);
		while (rig_next(&rig, &frame) && frame.method.id != AMQC_BASIC_GET) {
			if (frame.method.id == AMQC_CHANNEL_OPEN)
				rig_say_id(&rig, frame.lane, AMQC_CHANNEL_OPEN_OK);
			else if (frame.method.id == AMQC_CONFIRM_SELECT)
				rig_say_id(&rig, frame.lane, AMQC_CONFIRM_SELECT_OK);
			else
				ck_abort_msg("%s was sent", amqc_method_name(frame.method.id));
		}
	}
	return frame.lane;
}

/* A get that brings the lane's message number lane_tag, and the client's client_tag, which it acks. */
static void get_and_ack(struct rig_session *session, uint32_t channel, uint64_t lane_tag, uint64_t client_tag)
{
	struct amqc_method got = {.id = AMQC_BASIC_GET_OK};

	rig_get(session, channel, "q");
	ck_assert_uint_eq(expect_get(), 1);
	got.basic_get_ok.delivery_tag = lane_tag;
	rig_say_content(&rig, 1, &got, SPAN_LITERAL("x"));
	ck_assert_uint_eq(rig_event_of(session, RIG_GOT)->tag, client_tag);
	session_settle(session->session, channel, SETTLE_ACK, client_tag, client_tag);
	rig_turn(&rig);
	expect_ack(lane_tag, false);
}

/* The broker counts through the leases of the only lane, each channel its own. */
START_TEST(delivery__tags_go_on_through_the_leases_of_lane_and_channel)
{
	struct rig_session *session;

	rig_init(&rig);
	rig_start(&rig);
	rig_connect(&rig, 1, 131072);
	session = rig_session(&rig);
	session_open_channel(session->session, 1, 1);
	session_open_channel(session->session, 2, 1);
	for (uint64_t round = 1; round <= 3; round++) {
		get_and_ack(session, 1, 3 * round - 2, round);
		get_and_ack(session, 2, 3 * round - 1, 2 * round - 1);
		get_and_ack(session, 2, 3 * round, 2 * round);
	}
	rig_expect_no_event(session);
	/* A tag of an earlier lease is settled already: as a broker would, it says so, and no other is meant.
	 */
	session_settle(session->session, 1, SETTLE_ACK, 2, 2);
	ck_assert_uint_eq(rig_event_of(session, RIG_CHANNEL_ENDED)->code, AMQC_PRECONDITION_FAILED);
	rig_turn(&rig);
	rig_expect_silence(&rig);
	rig_free(&rig);
}
END_TEST

/* After a lane that counted little comes one that counted much, and the other way round. */
START_TEST(delivery__tags_go_on_when_a_channel_changes_between_lanes)
{
	struct amqc_method got = {.id = AMQC_BASIC_GET_OK};
	struct rig_session *session;
	struct rig_frame frame;

	rig_init(&rig);
	rig_start(&rig);
	rig_connect(&rig, 1, 131072);
	session = rig_session(&rig);
	session_open_channel(session->session, 1, 1);
	session_open_channel(session->session, 2, 1);
	for (uint64_t tag = 1; tag <= 3; tag++)
		get_and_ack(session, 1, tag, tag);
	get_and_ack(session, 2, 4, 1);
	/* The broker closes the lane: the next one counts from 1. */
	rig_close_lane(&rig, 1, 404, "NOT_FOUND");
	ck_assert_uint_eq(rig_event_of(session, RIG_CHANNEL_ENDED)->channel.number, 2);
	rig_turn(&rig);
	rig_expect(&rig, AMQC_CHANNEL_CLOSE_OK, &frame);
	get_and_ack(session, 1, 1, 4);
	rig_get(session, 1, "q");
	ck_assert_uint_eq(expect_get(), 1);
	got.basic_get_ok.delivery_tag = 2;
	rig_say_content(&rig, 1, &got, SPAN_LITERAL("x"));
	ck_assert_uint_eq(rig_event_of(session, RIG_GOT)->tag, 5);
	/* All: those of earlier leases are no part of it. */
	session_settle(session->session, 1, SETTLE_ACK, 0, 5);
	rig_turn(&rig);
	expect_ack(2, false);
	rig_free(&rig);
}
END_TEST

#define SPAN 32768u

/* The client keeps message 1, and has settled all behind it. */
static struct rig_session *keeping_the_first(void)
{
	struct rig_session *session = consuming(2u * SPAN);
	struct rig_frame frame;

	for (uint64_t tag = 1; tag <= SPAN; tag++) {
		rig_deliver(&rig, 1, "tag", tag, "x");
		ck_assert_uint_eq(rig_event_of(session, RIG_DELIVERED)->tag, tag);
		if (tag > 1)
			settle(session, SETTLE_ACK, tag, tag);
		if (tag % 256 > 0)
			continue;
		session->event_count = 0;
		session->event_next = 0;
		rig_turn(&rig);
		while (rig_next(&rig, &frame))
			ck_assert_int_eq(frame.method.id, AMQC_BASIC_ACK);
	}
	return session;
}

/* CPU time of settling once more what is settled, many times. */
static clock_t time_of_settling(struct rig_session *session, uint64_t last)
{
	clock_t began = clock();

	for (int i = 0; i < 10000; i++) {
		settle(session, SETTLE_ACK, 2, last);
		settle(session, SETTLE_REQUEUE, 2, last);
	}
	return clock() - began;
}

/* Looked at one by one, the slots would take thousands of times as long as few of them. */
START_TEST(settle__costs_nothing_for_what_was_settled_long_ago)
{
	struct rig_session *session = keeping_the_first();
	clock_t few = time_of_settling(session, 3);

	ck_assert_int_lt(time_of_settling(session, SPAN), 50 * few + CLOCKS_PER_SEC / 10);
	rig_turn(&rig);
	rig_expect_silence(&rig);
	settle(session, SETTLE_ACK, 0, SPAN);
	rig_turn(&rig);
	expect_ack(1, false);
	rig_expect_silence(&rig);
	rig_free(&rig);
}
END_TEST

START_TEST(delivery__what_is_kept_for_long_is_paid_by_its_session)
{
	struct rig_session *session = keeping_the_first();
	struct session_info before, info;

	ck_assert(mux_next_session(rig.mux, 0, &info));
	ck_assert_uint_gt(info.memory_used, SPAN);
	before = info;
	rig_lose(&rig);
	ck_assert(mux_next_session(rig.mux, 0, &info));
	ck_assert_uint_lt(info.memory_used, before.memory_used - SPAN);
	rig_end(session);
	rig_turn(&rig);
	ck_assert_uint_eq(mux_memory_used(rig.mux), 0);
	rig_free(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux-delivery");
	TCase *tcase = tcase_create("mux-delivery");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, ack__multiple_covers_only_what_is_acked);
	tcase_add_test(tcase, ack__a_range_acks_what_is_unsettled_in_it);
	tcase_add_test(tcase, nack__multiple_covers_only_what_is_returned);
	tcase_add_test(tcase, settle__a_wrong_tag_fails_the_channel_and_keeps_earlier_acks);
	tcase_add_test(tcase, delivery__waits_for_credit_and_keeps_its_order);
	tcase_add_test(tcase, delivery__one_message_may_overdraw_the_bytes);
	tcase_add_test(tcase, delivery__auto_ack_is_acked_when_the_socket_took_it_and_not_before);
	tcase_add_test(tcase, consumer__delivers_on_until_cancel_ok_and_returns_the_rest_then);
	tcase_add_test(tcase, consumer__cancelling_what_is_not_there_is_done);
	tcase_add_test(tcase, consumer__the_broker_may_end_it);
	tcase_add_test(tcase, consumer__number_and_tag_in_use_are_refused_alone);
	tcase_add_test(tcase, consumer__more_than_a_channel_may_have_is_refused_alone);
	tcase_add_test(tcase, consumer__is_paid_by_its_session_while_it_has_it);
	tcase_add_test(tcase, consumer__prefetch_goes_before_it_and_only_when_it_differs);
	tcase_add_test(tcase, consumer__two_of_a_channel_are_told_apart_by_their_tags);
	tcase_add_test(tcase, delivery__tags_go_on_through_the_leases_of_lane_and_channel);
	tcase_add_test(tcase, delivery__tags_go_on_when_a_channel_changes_between_lanes);
	tcase_add_test(tcase, settle__costs_nothing_for_what_was_settled_long_ago);
	tcase_add_test(tcase, delivery__what_is_kept_for_long_is_paid_by_its_session);
	tcase_set_timeout(tcase, 30);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
