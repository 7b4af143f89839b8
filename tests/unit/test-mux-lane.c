#include "tests/unit/mux-rig.h"

#include <stdlib.h>

static struct rig rig;

static void up_with(uint16_t channel_max, uint32_t warm)
{
	rig_init(&rig);
	rig.upstream_options.warm_lanes = warm;
	rig_start(&rig);
	rig_connect(&rig, channel_max, 131072);
}

static struct rig_session *session_with_channels(uint32_t count)
{
	struct rig_session *session = rig_session(&rig);

	for (uint32_t number = 1; number <= count; number++)
		session_open_channel(session->session, number, 1);
	return session;
}

static struct upstream_info info(void)
{
	struct upstream_info info;

	upstream_get_info(rig.upstream, &info);
	return info;
}

START_TEST(lane__opening_a_channel_sends_nothing)
{
	up_with(10, 0);
	session_with_channels(3);
	rig_turn(&rig);
	rig_expect_silence(&rig);
	rig_free(&rig);
}
END_TEST

START_TEST(lane__is_used_without_waiting_for_its_opening)
{
	struct rig_session *session;
	struct rig_frame frame;
	uint16_t lane;

	up_with(10, 0);
	session = session_with_channels(1);
	rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_turn(&rig);
	lane = rig_expect(&rig, AMQC_CHANNEL_OPEN, &frame);
	ck_assert_uint_eq(rig_expect(&rig, AMQC_CONFIRM_SELECT, &frame), lane);
	ck_assert_uint_eq(rig_expect(&rig, AMQC_BASIC_PUBLISH, &frame), lane);
	rig_free(&rig);
}
END_TEST

START_TEST(lane__some_are_kept_warm_as_numbers_allow)
{
	struct rig_session *session;
	struct rig_frame frame;

	up_with(3, 2);
	rig_open_lane(&rig);
	rig_open_lane(&rig);
	rig_expect_silence(&rig);
	session = session_with_channels(2);
	rig_declare(session, 1, "a", false);
	rig_turn(&rig);
	/* The declare goes on a warm one, and another is opened for it. */
	ck_assert_uint_ne(rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame), 0);
	rig_open_lane(&rig);
	rig_declare(session, 2, "b", false);
	rig_turn(&rig);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	rig_expect_silence(&rig);
	ck_assert_uint_eq(info().lanes_open, 3);
	ck_assert_uint_eq(info().lanes_leased, 2);
	ck_assert_uint_eq(info().lanes_warm, 1);
	rig_free(&rig);
}
END_TEST

/* All numbers are those of warm lanes, none of which will do. */
START_TEST(lane__a_warm_one_makes_room_for_a_transaction)
{
	struct rig_session *session;
	struct rig_frame frame;
	uint16_t closed, lane;

	up_with(2, 2);
	rig_open_lane(&rig);
	rig_open_lane(&rig);
	session = session_with_channels(1);
	rig_request(session, 1, &(struct amqc_method){.id = AMQC_TX_SELECT}, 0);
	rig_turn(&rig);
	closed = rig_expect(&rig, AMQC_CHANNEL_CLOSE, &frame);
	rig_turn(&rig);
	rig_expect_silence(&rig);
	rig_say_id(&rig, closed, AMQC_CHANNEL_CLOSE_OK);
	rig_turn(&rig);
	lane = rig_expect(&rig, AMQC_CHANNEL_OPEN, &frame);
	ck_assert_uint_eq(lane, closed);
	ck_assert_uint_eq(rig_expect(&rig, AMQC_TX_SELECT, &frame), lane);
	ck_assert_uint_eq(rig_expect(&rig, AMQC_TX_SELECT, &frame), lane);
	rig_expect_silence(&rig);
	ck_assert_uint_eq(info().lanes_warm, 1);
	rig_free(&rig);
}
END_TEST

/* The only number is in use; we close it. */
START_TEST(lane__number_is_not_reused_before_close_ok)
{
	struct rig_session *session;
	struct rig_frame frame;
	uint16_t lane;

	up_with(1, 0);
	session = session_with_channels(2);
	rig_consume(session, 1, 1, "a", "tag", 1);
	rig_turn(&rig);
	lane = rig_open_lane(&rig);
	rig_serve(&rig);
	session_close_channel(session->session, 77, 1);
	rig_declare(session, 2, "b", false);
	rig_turn(&rig);
	rig_expect(&rig, AMQC_BASIC_CANCEL, &frame);
	rig_expect(&rig, AMQC_CHANNEL_CLOSE, &frame);
	rig_expect_silence(&rig);
	rig_say_id(&rig, lane, AMQC_CHANNEL_CLOSE_OK);
	rig_turn(&rig);
	ck_assert_uint_eq(rig_open_lane(&rig), lane);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	rig_free(&rig);
}
END_TEST

/* The broker closes it: the number is free behind our close-ok, not before. */
START_TEST(lane__number_closed_by_the_broker_is_free_behind_our_close_ok)
{
	struct rig_session *session;
	struct rig_frame frame;
	uint16_t lane;

	up_with(1, 0);
	session = session_with_channels(2);
	rig_declare(session, 1, "a", false);
	rig_declare(session, 2, "b", false);
	rig_turn(&rig);
	lane = rig_open_lane(&rig);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	rig_close_lane(&rig, lane, 404, "NOT_FOUND");
	rig_turn(&rig);
	ck_assert_uint_eq(rig_expect(&rig, AMQC_CHANNEL_CLOSE_OK, &frame), lane);
	rig_turn(&rig);
	ck_assert_uint_eq(rig_open_lane(&rig), lane);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	rig_free(&rig);
}
END_TEST

/* A warm lane that published once, and whose channel was closed: its barrier is out. */
static uint16_t handed_back(struct rig_session *session)
{
	struct rig_frame frame;
	uint16_t lane;

	rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_serve(&rig);
	ck_assert_int_eq(rig_event_of(session, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	session_close_channel(session->session, 77, 1);
	rig_turn(&rig);
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_CHANNEL_CLOSE_OK);
	lane = rig_expect(&rig, AMQC_CONFIRM_SELECT, &frame);
	rig_expect_silence(&rig);
	return lane;
}

START_TEST(lane__handed_back_is_nobodys_until_its_barrier_is_answered)
{
	struct rig_session *session;
	struct rig_frame frame;
	uint16_t lane;

	up_with(1, 1);
	session = session_with_channels(2);
	lane = handed_back(session);
	ck_assert_uint_eq(info().lanes_open, 1);
	ck_assert_uint_eq(info().lanes_leased, 0);
	ck_assert_uint_eq(info().lanes_warm, 0);
	rig_publish(session, 2, "q", SPAN_LITERAL("y"));
	rig_turn(&rig);
	rig_expect_silence(&rig);
	rig_say_id(&rig, lane, AMQC_CONFIRM_SELECT_OK);
	rig_turn(&rig);
	ck_assert_uint_eq(rig_expect(&rig, AMQC_BASIC_PUBLISH, &frame), lane);
	rig_free(&rig);
}
END_TEST

/* The broker's counters go on, and so do ours. */
START_TEST(lane__confirms_of_the_next_lessee_count_on)
{
	struct rig_session *session;
	const struct rig_event *event;
	uint16_t lane;

	up_with(1, 1);
	session = session_with_channels(2);
	lane = handed_back(session);
	rig_say_id(&rig, lane, AMQC_CONFIRM_SELECT_OK);
	/* More than the ring had slots, so that it grew, and more than one round. */
	for (uint64_t tag = 2; tag <= 101; tag++) {
		rig_publish(session, 2, "q", SPAN_LITERAL("y"));
		rig_turn(&rig);
	}
	rig_ack(&rig, lane, 2, false);
	rig_turn(&rig);
	rig_pass(&rig, USEC_PER_MSEC); /* one confirm of many that are due waits a moment for company */
	event = rig_event_of(session, RIG_OUTCOME);
	ck_assert_uint_eq(event->channel.number, 2);
	ck_assert_uint_eq(event->first, 1);
	ck_assert_uint_eq(event->last, 1);
	rig_ack(&rig, lane, 101, true);
	rig_turn(&rig);
	ck_assert_uint_eq(rig_event_of(session, RIG_OUTCOME)->last, 100);
	ck_assert_uint_eq(rig.hang_ups, 0);
	rig_free(&rig);
}
END_TEST

START_TEST(lane__a_late_error_ends_the_fenced_one_alone)
{
	struct rig_session *session;
	struct rig_frame frame;
	uint16_t lane;

	up_with(1, 1);
	session = session_with_channels(2);
	lane = handed_back(session);
	rig_publish(session, 2, "q", SPAN_LITERAL("y"));
	rig_close_lane(&rig, lane, 406, "PRECONDITION_FAILED - late");
	rig_turn(&rig);
	rig_expect_no_event(session);
	ck_assert_uint_eq(rig.hang_ups, 0);
	rig_expect(&rig, AMQC_CHANNEL_CLOSE_OK, &frame);
	rig_turn(&rig);
	ck_assert_uint_eq(rig_open_lane(&rig), lane);
	rig_expect(&rig, AMQC_BASIC_PUBLISH, &frame);
	rig_ack(&rig, lane, 1, false);
	rig_turn(&rig);
	ck_assert_int_eq(rig_event_of(session, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	rig_free(&rig);
}
END_TEST

START_TEST(lane__late_returns_and_confirms_are_nobodys)
{
	struct amqc_method returned = {.id = AMQC_BASIC_RETURN};
	struct rig_session *session;
	uint16_t lane;

	up_with(1, 1);
	session = session_with_channels(2);
	lane = handed_back(session);
	rig_publish(session, 2, "q", SPAN_LITERAL("x"));
	returned.basic_return.routing_key = SPAN_LITERAL("q");
	rig_say_content(&rig, lane, &returned, SPAN_LITERAL("x"));
	rig_ack(&rig, lane, 1, false);
	rig_ack(&rig, lane, 1, true);
	rig_turn(&rig);
	rig_expect_no_event(session);
	ck_assert_uint_eq(rig.hang_ups, 0);
	rig_free(&rig);
}
END_TEST

/* Nobody consumes there: what a broker delivers all the same goes back with the lane. */
START_TEST(lane__a_delivery_on_one_that_nobody_has_closes_it_alone)
{
	struct rig_session *session;
	struct rig_frame frame;
	uint16_t lane;

	up_with(1, 1);
	session = session_with_channels(2);
	lane = handed_back(session);
	rig_deliver(&rig, lane, "tag", 1, "x");
	rig_turn(&rig);
	ck_assert_uint_eq(rig_expect(&rig, AMQC_CHANNEL_CLOSE, &frame), lane);
	rig_expect_silence(&rig);
	ck_assert_uint_eq(rig.hang_ups, 0);
	rig_say_id(&rig, lane, AMQC_CONFIRM_SELECT_OK);
	rig_say_id(&rig, lane, AMQC_CHANNEL_CLOSE_OK);
	rig_turn(&rig);
	rig_open_lane(&rig);
	ck_assert_uint_eq(info().lanes_warm, 1);
	rig_free(&rig);
}
END_TEST

START_TEST(lane__that_saw_consumers_is_closed)
{
	struct rig_session *session;
	struct rig_frame frame;

	up_with(1, 1);
	session = session_with_channels(2);
	rig_consume(session, 1, 1, "q", "tag", 1);
	rig_serve(&rig);
	rig_cancel(session, 1, 1, 0);
	rig_serve(&rig);
	session_close_channel(session->session, 77, 1);
	rig_turn(&rig);
	rig_expect(&rig, AMQC_CHANNEL_CLOSE, &frame);
	rig_expect_silence(&rig);
	rig_free(&rig);
}
END_TEST

/* Its confirm may come behind the barrier's answer. */
START_TEST(lane__with_a_publish_that_timed_out_is_closed)
{
	struct rig_session *session;
	struct rig_frame frame;

	up_with(1, 1);
	rig_open_lane(&rig);
	session = session_with_channels(1);
	rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_turn(&rig);
	rig_expect(&rig, AMQC_BASIC_PUBLISH, &frame);
	while (rig_next(&rig, &frame))
		;
	session_close_channel(session->session, 77, 1);
	rig_turn(&rig);
	rig_expect_silence(&rig);
	rig_pass(&rig, 300 * USEC_PER_SEC);
	ck_assert_int_eq(rig_last(session, RIG_OUTCOME)->outcome, OUTCOME_UNKNOWN);
	rig_expect(&rig, AMQC_CHANNEL_CLOSE, &frame);
	rig_expect_silence(&rig);
	rig_free(&rig);
}
END_TEST

START_TEST(lane__with_an_unsettled_message_is_handed_back_behind_its_return)
{
	struct amqc_method got = {.id = AMQC_BASIC_GET_OK};
	struct rig_session *session;
	struct rig_frame frame;

	up_with(1, 1);
	rig_open_lane(&rig);
	session = session_with_channels(1);
	rig_get(session, 1, "q");
	rig_turn(&rig);
	rig_expect(&rig, AMQC_BASIC_GET, &frame);
	got.basic_get_ok.delivery_tag = 1;
	rig_say_content(&rig, 1, &got, SPAN_LITERAL("x"));
	rig_end(session);
	rig_turn(&rig);
	rig_expect(&rig, AMQC_BASIC_NACK, &frame);
	ck_assert(frame.method.basic_nack.requeue);
	rig_expect(&rig, AMQC_CONFIRM_SELECT, &frame);
	rig_expect_silence(&rig);
	rig_free(&rig);
}
END_TEST

START_TEST(lane__no_more_are_kept_than_twice_those_warmed_ahead)
{
	struct rig_session *session;

	up_with(16, 1);
	session = session_with_channels(5);
	for (uint32_t number = 1; number <= 5; number++)
		rig_publish(session, number, "q", SPAN_LITERAL("x"));
	rig_serve(&rig);
	ck_assert_uint_eq(info().lanes_leased, 5);
	ck_assert_uint_eq(info().lanes_warm, 1);
	for (uint32_t number = 1; number <= 5; number++)
		session_close_channel(session->session, 70 + number, number);
	rig_serve(&rig);
	ck_assert_uint_eq(info().lanes_leased, 0);
	ck_assert_uint_eq(info().lanes_warm, 2);
	ck_assert_uint_eq(info().lanes_open, 2);
	rig_free(&rig);
}
END_TEST

/* One after another: none is opened for them once there is one more than those warmed ahead. */
START_TEST(lane__short_publishers_in_a_row_open_none)
{
	struct rig_frame frame;
	uint16_t lane;

	up_with(16, 2);
	for (int i = 0; i < 20; i++) {
		struct rig_session *session = session_with_channels(1);

		rig_publish(session, 1, "q", SPAN_LITERAL("x"));
		rig_end(session);
		rig.session_count--;
		if (i == 0) {
			rig_serve(&rig);
			continue;
		}
		rig_turn(&rig);
		lane = rig_expect(&rig, AMQC_BASIC_PUBLISH, &frame);
		while (rig_next(&rig, &frame))
			ck_assert_int_ne(frame.type, AMQC_FRAME_METHOD);
		rig_ack(&rig, lane, rig.published[lane], false);
		rig_turn(&rig);
		ck_assert_uint_eq(rig_expect(&rig, AMQC_CONFIRM_SELECT, &frame), lane);
		rig_say_id(&rig, lane, AMQC_CONFIRM_SELECT_OK);
		rig_turn(&rig);
		rig_expect_silence(&rig);
	}
	ck_assert_uint_eq(info().lanes_open, 3);
	rig_free(&rig);
}
END_TEST

/* The broker remembers the queue declared last on a lane; the next lessee's empty name does not mean it. */
START_TEST(lane__the_last_lessees_queue_is_not_the_next_ones)
{
	struct rig_session *session;
	uint16_t lane;

	up_with(1, 1);
	session = session_with_channels(2);
	rig_declare(session, 1, "secret", false);
	rig_serve(&rig);
	(void)rig_event_of(session, RIG_REPLY);
	lane = handed_back(session);
	rig_say_id(&rig, lane, AMQC_CONFIRM_SELECT_OK);
	rig_get(session, 2, "");
	ck_assert_uint_eq(rig_event_of(session, RIG_REFUSED)->code, AMQC_NOT_FOUND);
	rig_turn(&rig);
	rig_expect_silence(&rig);
	rig_free(&rig);
}
END_TEST

START_TEST(lane__what_still_comes_on_one_that_we_closed_is_ignored)
{
	struct rig_session *session;
	struct rig_frame frame;
	uint16_t lane;

	up_with(1, 0);
	session = session_with_channels(1);
	rig_consume(session, 1, 1, "q", "tag", 10);
	rig_turn(&rig);
	lane = rig_open_lane(&rig);
	rig_serve(&rig);
	session_close_channel(session->session, 77, 1);
	rig_turn(&rig);
	while (rig_next(&rig, &frame))
		;
	rig_deliver(&rig, lane, "tag", 1, "late");
	rig_say_id(&rig, lane, AMQC_BASIC_CANCEL_OK);
	rig_ack(&rig, lane, 99, true);
	rig_turn(&rig);
	ck_assert_uint_eq(rig.hang_ups, 0);
	rig_expect_silence(&rig);
	rig_say_id(&rig, lane, AMQC_CHANNEL_CLOSE_OK);
	rig_turn(&rig);
	ck_assert_uint_eq(info().lanes_open, 0);
	rig_free(&rig);
}
END_TEST

START_TEST(lane__idle_one_is_given_up_when_all_numbers_are_in_use)
{
	struct rig_session *session;
	struct rig_frame frame;

	up_with(2, 0);
	session = session_with_channels(3);
	rig_declare(session, 1, "a", false);
	rig_serve(&rig);
	rig_consume(session, 2, 1, "a", "tag", 1);
	rig_serve(&rig);
	rig_declare(session, 3, "c", false);
	rig_turn(&rig);
	/* Channel 1 would not miss its lane; channel 2 consumes. */
	ck_assert_uint_eq(rig_expect(&rig, AMQC_CONFIRM_SELECT, &frame), 1);
	rig_expect_silence(&rig);
	rig_say_id(&rig, 1, AMQC_CONFIRM_SELECT_OK);
	rig_turn(&rig);
	ck_assert_uint_eq(rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame), 1);
	/* And channel 1 is as good as before. */
	rig_say_id(&rig, 1, AMQC_QUEUE_DECLARE_OK);
	rig_declare(session, 1, "d", false);
	rig_serve(&rig);
	ck_assert_ptr_null(rig_last(session, RIG_REFUSED));
	ck_assert_ptr_null(rig_last(session, RIG_CHANNEL_ENDED));
	rig_free(&rig);
}
END_TEST

START_TEST(lane__who_waits_is_served_in_turn_and_told_at_its_deadline)
{
	struct rig_session *session;
	struct rig_frame frame;

	up_with(1, 0);
	session = session_with_channels(3);
	rig_consume(session, 1, 1, "q", "tag", 1);
	rig_serve(&rig);
	(void)rig_event_of(session, RIG_REPLY);
	rig_declare(session, 2, "b", false);
	rig_declare(session, 3, "c", false);
	rig_turn(&rig);
	rig_expect_silence(&rig);
	session_close_channel(session->session, 77, 1);
	rig_turn(&rig);
	while (rig_next(&rig, &frame))
		;
	rig_say_id(&rig, 1, AMQC_CHANNEL_CLOSE_OK);
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	ck_assert(span_equal_str(frame.method.queue_declare.queue, "b"));
	(void)rig_event_of(session, RIG_REPLY);
	rig_pass(&rig, 30 * USEC_PER_SEC);
	ck_assert_uint_eq(rig_event_of(session, RIG_REFUSED)->code, 408);
	ck_assert_uint_eq(rig_event_of(session, RIG_REFUSED)->code, 408);
	rig_free(&rig);
}
END_TEST

START_TEST(lane__numbers_go_round)
{
	struct rig_session *session;

	up_with(10, 0);
	session = session_with_channels(1);
	for (uint16_t i = 1; i <= 10; i++) {
		struct rig_frame frame;

		rig_declare(session, 1, "a", false);
		rig_turn(&rig);
		ck_assert_uint_eq(rig_open_lane(&rig), i);
		rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
		rig_close_lane(&rig, i, 406, "PRECONDITION_FAILED");
		rig_turn(&rig);
		rig_expect(&rig, AMQC_CHANNEL_CLOSE_OK, &frame);
		session_open_channel(session->session, 1, 1u + i);
	}
	rig_free(&rig);
}
END_TEST

START_TEST(lane__frames_on_a_number_never_opened_end_the_connection)
{
	up_with(10, 0);
	session_with_channels(1);
	rig_say_id(&rig, 5, AMQC_CHANNEL_OPEN_OK);
	ck_assert_uint_eq(rig.hang_ups, 1);
	ck_assert_int_eq(info().state, UPSTREAM_BACKOFF);
	rig_free(&rig);
}
END_TEST

START_TEST(lane__a_reply_nobody_asked_for_ends_the_connection)
{
	struct rig_session *session;
	struct rig_frame frame;

	up_with(10, 0);
	session = session_with_channels(1);
	rig_declare(session, 1, "a", false);
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	rig_say_id(&rig, 1, AMQC_QUEUE_DELETE_OK);
	ck_assert_uint_eq(rig.hang_ups, 1);
	ck_assert_str_eq(info().last_error, "broker's queue.delete-ok on channel 1: nobody asked for it");
	rig_expect_no_event(session);
	rig_free(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux-lane");
	TCase *tcase = tcase_create("mux-lane");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, lane__opening_a_channel_sends_nothing);
	tcase_add_test(tcase, lane__is_used_without_waiting_for_its_opening);
	tcase_add_test(tcase, lane__some_are_kept_warm_as_numbers_allow);
	tcase_add_test(tcase, lane__a_warm_one_makes_room_for_a_transaction);
	tcase_add_test(tcase, lane__number_is_not_reused_before_close_ok);
	tcase_add_test(tcase, lane__number_closed_by_the_broker_is_free_behind_our_close_ok);
	tcase_add_test(tcase, lane__handed_back_is_nobodys_until_its_barrier_is_answered);
	tcase_add_test(tcase, lane__confirms_of_the_next_lessee_count_on);
	tcase_add_test(tcase, lane__a_late_error_ends_the_fenced_one_alone);
	tcase_add_test(tcase, lane__late_returns_and_confirms_are_nobodys);
	tcase_add_test(tcase, lane__a_delivery_on_one_that_nobody_has_closes_it_alone);
	tcase_add_test(tcase, lane__that_saw_consumers_is_closed);
	tcase_add_test(tcase, lane__with_a_publish_that_timed_out_is_closed);
	tcase_add_test(tcase, lane__with_an_unsettled_message_is_handed_back_behind_its_return);
	tcase_add_test(tcase, lane__no_more_are_kept_than_twice_those_warmed_ahead);
	tcase_add_test(tcase, lane__short_publishers_in_a_row_open_none);
	tcase_add_test(tcase, lane__the_last_lessees_queue_is_not_the_next_ones);
	tcase_add_test(tcase, lane__what_still_comes_on_one_that_we_closed_is_ignored);
	tcase_add_test(tcase, lane__idle_one_is_given_up_when_all_numbers_are_in_use);
	tcase_add_test(tcase, lane__who_waits_is_served_in_turn_and_told_at_its_deadline);
	tcase_add_test(tcase, lane__numbers_go_round);
	tcase_add_test(tcase, lane__frames_on_a_number_never_opened_end_the_connection);
	tcase_add_test(tcase, lane__a_reply_nobody_asked_for_ends_the_connection);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
