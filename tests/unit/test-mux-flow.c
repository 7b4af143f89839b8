#include "daemon/mux/state/upstream.h"
#include "tests/unit/mux-rig.h"

#include <stdlib.h>

#define SLICE 16384u

static struct rig rig;
static uint8_t big[400000];

static void up(void)
{
	rig_start(&rig);
	rig_connect(&rig, 100, 131072);
}

static void publish_many(struct rig_session *session, uint32_t channel, unsigned int count, size_t size)
{
	for (unsigned int i = 0; i < count; i++)
		rig_publish(session, channel, "q", span_make(big, size));
}

/* Bytes of bodies that came on lanes first..last before as many came on others; all frames are taken. */
struct shares {
	uint64_t ours, others;
	uint64_t worst; /* the largest difference while both were sending */
};

static struct shares take_shares(uint16_t first, uint16_t last, uint64_t until)
{
	struct shares shares = {0};
	struct rig_frame frame;

	while (rig_next(&rig, &frame)) {
		uint64_t difference;

		if (frame.type != AMQC_FRAME_BODY)
			continue;
		if (frame.lane >= first && frame.lane <= last)
			shares.ours += frame.payload.len;
		else
			shares.others += frame.payload.len;
		difference =
		    shares.ours > shares.others ? shares.ours - shares.others : shares.others - shares.ours;
		if (shares.ours < until && shares.others < until && difference > shares.worst)
			shares.worst = difference;
	}
	return shares;
}

static unsigned int count_publishes(uint16_t lane)
{
	struct rig_frame frame;
	unsigned int count = 0;

	while (rig_next(&rig, &frame))
		count += frame.type == AMQC_FRAME_METHOD && frame.method.id == AMQC_BASIC_PUBLISH &&
			 (lane == 0 || frame.lane == lane);
	return count;
}

START_TEST(flow__a_session_with_many_channels_has_no_more_than_one_with_one)
{
	struct rig_session *many, *one;
	struct shares shares;

	rig_init(&rig);
	rig.upstream_options.warm_lanes = 0;
	up();
	many = rig_ready(&rig, 5);
	one = rig_ready(&rig, 1);
	for (uint32_t channel = 1; channel <= 5; channel++)
		publish_many(many, channel, 1, 150000);
	publish_many(one, 1, 2, 300000);
	rig_turn(&rig);
	shares = take_shares(1, 5, 600000);
	ck_assert_uint_eq(shares.ours, 750000);
	ck_assert_uint_eq(shares.others, 600000);
	ck_assert_uint_le(shares.worst, 3 * SLICE);
	rig_free(&rig);
}
END_TEST

START_TEST(flow__small_messages_and_large_ones_share_by_bytes)
{
	struct rig_session *small, *large;
	struct shares shares;

	rig_init(&rig);
	rig.upstream_options.warm_lanes = 0;
	up();
	small = rig_ready(&rig, 1);
	large = rig_ready(&rig, 1);
	publish_many(small, 1, 60, 1000);
	publish_many(large, 1, 3, 100000);
	rig_turn(&rig);
	shares = take_shares(1, 1, 60000);
	ck_assert_uint_eq(shares.ours, 60000);
	ck_assert_uint_eq(shares.others, 300000);
	ck_assert_uint_le(shares.worst, 2 * SLICE);
	rig_free(&rig);
}
END_TEST

START_TEST(flow__a_small_message_waits_for_one_slice_of_a_large_one)
{
	struct rig_session *large, *small;
	struct rig_frame frame;
	uint64_t before = 0;
	size_t ahead;

	rig_init(&rig);
	rig.upstream_options.warm_lanes = 2;
	up();
	rig_serve(&rig);
	large = rig_ready(&rig, 1);
	small = rig_ready(&rig, 1);
	publish_many(large, 1, 1, 400000);
	mux_turn(rig.mux);
	ahead = buf_len(upstream_output(rig.upstream));
	ck_assert_uint_le(ahead, 2 * SLICE);
	publish_many(small, 1, 1, 10);
	rig_turn(&rig);
	while (rig_next(&rig, &frame)) {
		if (frame.type != AMQC_FRAME_BODY)
			continue;
		if (frame.payload.len == 10)
			break;
		before += frame.payload.len;
	}
	ck_assert_uint_eq(frame.payload.len, 10);
	ck_assert_uint_le(before, ahead + SLICE);
	rig_free(&rig);
}
END_TEST

START_TEST(flow__who_has_nothing_under_way_passes_a_flood_within_the_bound)
{
	struct rig_session *flood, *others[4];
	unsigned int sent;

	rig_init(&rig);
	rig.upstream_options.warm_lanes = 0;
	rig.upstream_options.unconfirmed_messages = 8;
	up();
	flood = rig_ready(&rig, 1);
	for (int i = 0; i < 4; i++)
		others[i] = rig_ready(&rig, 1);
	publish_many(flood, 1, 20, 10);
	rig_turn(&rig);
	rig_open_lane(&rig);
	sent = count_publishes(0);
	ck_assert_uint_ge(sent, 4);
	ck_assert_uint_lt(sent, 8);
	for (int i = 0; i < 4; i++)
		publish_many(others[i], 1, 1, 10);
	rig_turn(&rig);
	ck_assert_uint_eq(count_publishes(1), 0);
	for (uint64_t tag = 1; tag <= 20; tag++) {
		rig_ack(&rig, 1, tag, false);
		rig_turn(&rig);
	}
	for (uint16_t lane = 2; lane <= 5; lane++)
		rig_ack(&rig, lane, 1, false);
	rig_turn(&rig);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(rig_event_of(others[i], RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	rig_free(&rig);
}
END_TEST

/* Takes all frames; counts publishes by lane. */
static void count_by_lane(unsigned int *counts)
{
	struct rig_frame frame;
	bool any;

	do {
		any = false;
		while (rig_next(&rig, &frame)) {
			any = true;
			counts[frame.lane] +=
			    frame.type == AMQC_FRAME_METHOD && frame.method.id == AMQC_BASIC_PUBLISH;
		}
		rig_turn(&rig);
	} while (any);
}

/*
 * With a window of one message, how many of a flood go out before the one of a
 * neighbour. asks: the flood's session has something else to send each time.
 */
static unsigned int sent_before_neighbour(unsigned int count, size_t size, bool asks)
{
	struct rig_session *flood, *other;
	unsigned int sent[4] = {0};

	rig_init(&rig);
	rig.upstream_options.warm_lanes = 0;
	rig.upstream_options.unconfirmed_messages = 1;
	up();
	flood = rig_ready(&rig, 2);
	other = rig_ready(&rig, 1);
	publish_many(flood, 1, count, size);
	rig_turn(&rig);
	publish_many(other, 1, 1, 10);
	rig_turn(&rig);
	count_by_lane(sent);
	while (sent[1] < count && sent[2] == 0) {
		if (asks)
			(void)rig_declare(flood, 2, "q", false);
		rig_ack(&rig, 1, sent[1], false);
		rig_turn(&rig);
		count_by_lane(sent);
	}
	rig_free(&rig);
	return sent[1];
}

START_TEST(flow__a_window_of_one_is_handed_on_after_a_part_of_a_flood)
{
	ck_assert_uint_le(sent_before_neighbour(60, 1000, false), SLICE / 1000 + 1);
}
END_TEST

START_TEST(flow__a_window_of_one_is_handed_on_after_a_large_message)
{
	ck_assert_uint_le(sent_before_neighbour(10, 50000, false), 2);
}
END_TEST

START_TEST(flow__who_has_requests_to_send_does_not_keep_a_window_of_one)
{
	ck_assert_uint_le(sent_before_neighbour(60, 1000, true), SLICE / 1000 + 1);
}
END_TEST

START_TEST(flow__the_first_of_a_neighbour_goes_out_at_once)
{
	struct rig_session *flood, *other;

	rig_init(&rig);
	rig.upstream_options.warm_lanes = 0;
	rig.upstream_options.unconfirmed_messages = 8;
	up();
	flood = rig_ready(&rig, 1);
	other = rig_ready(&rig, 1);
	publish_many(flood, 1, 20, 10);
	rig_turn(&rig);
	publish_many(other, 1, 1, 10);
	rig_turn(&rig);
	ck_assert_uint_eq(count_publishes(2), 1);
	rig_free(&rig);
}
END_TEST

START_TEST(flow__those_that_flood_have_the_same_of_the_window)
{
	struct rig_session *one, *other;
	unsigned int sent[3] = {0};
	struct rig_frame frame;

	rig_init(&rig);
	rig.upstream_options.warm_lanes = 0;
	rig.upstream_options.unconfirmed_messages = 30;
	up();
	one = rig_ready(&rig, 1);
	other = rig_ready(&rig, 1);
	publish_many(one, 1, 60, 10);
	rig_turn(&rig);
	publish_many(other, 1, 60, 10);
	rig_turn(&rig);
	/* As the first one's are confirmed, the other one catches up. */
	for (uint64_t tag = 1; tag <= 12; tag++) {
		rig_ack(&rig, 1, tag, false);
		rig_turn(&rig);
	}
	while (rig_next(&rig, &frame))
		sent[frame.lane] += frame.type == AMQC_FRAME_METHOD && frame.method.id == AMQC_BASIC_PUBLISH;
	ck_assert_uint_ge(sent[2], 10);
	ck_assert_uint_ge(sent[1] - 12, sent[2] - 1);
	ck_assert_uint_le(sent[1] - 12, sent[2] + 1);
	ck_assert_uint_lt(sent[1] - 12 + sent[2], 30);
	rig_free(&rig);
}
END_TEST

START_TEST(flow__what_a_dead_session_left_waiting_is_sent_as_confirms_come)
{
	struct rig_session *session;

	rig_init(&rig);
	rig.upstream_options.warm_lanes = 0;
	rig.upstream_options.unconfirmed_messages = 1;
	up();
	session = rig_ready(&rig, 2);
	publish_many(session, 1, 2, 10);
	publish_many(session, 2, 2, 10);
	rig_turn(&rig);
	rig_end(session);
	rig_turn(&rig);
	rig_serve(&rig);
	ck_assert(upstream_is_drained(rig.upstream));
	rig_free(&rig);
}
END_TEST

START_TEST(flow__the_broker_is_asked_on_a_lane_that_nobody_uses)
{
	struct amqc_method flow_ok = {.id = AMQC_CHANNEL_FLOW_OK};
	struct rig_session *session;
	struct rig_frame frame;
	uint16_t asked = 0, published = 0;

	rig_init(&rig);
	rig.upstream_options.adaptive_window = true;
	rig.upstream_options.warm_lanes = 1;
	up();
	session = rig_ready(&rig, 1);
	publish_many(session, 1, 1, 10);
	rig_serve(&rig);
	(void)rig_event_of(session, RIG_OUTCOME);
	publish_many(session, 1, 2, 100000);
	rig_turn(&rig);
	rig_turn(&rig);
	while (rig_next(&rig, &frame)) {
		if (frame.type != AMQC_FRAME_METHOD)
			continue;
		if (frame.method.id == AMQC_CHANNEL_FLOW) {
			ck_assert(frame.method.channel_flow.active);
			ck_assert_uint_eq(asked, 0);
			asked = frame.lane;
		} else if (frame.method.id == AMQC_BASIC_PUBLISH) {
			published = frame.lane;
		}
	}
	ck_assert_uint_ne(asked, 0);
	ck_assert_uint_ne(asked, published);
	flow_ok.channel_flow_ok.active = true;
	rig_say(&rig, asked, &flow_ok);
	rig_ack(&rig, published, 2, false);
	rig_turn(&rig);
	ck_assert_int_eq(rig_event_of(session, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	ck_assert_uint_eq(rig.hang_ups, 0);
	rig_free(&rig);
}
END_TEST

/* So that it is not what bounds. */
static void open_window(void)
{
	rig.upstream->window.remeasuring = 0;
	rig.upstream->window.size = 64u << 20;
	rig.upstream->window.ask_next = MONO_NEVER;
}

START_TEST(flow__a_lane_has_not_more_unconfirmed_than_makes_the_broker_stop_reading)
{
	struct rig_session *session;
	uint64_t published = 0, messages = 0, bytes;

	rig_init(&rig);
	rig.upstream_options.adaptive_window = true;
	up();
	session = rig_ready(&rig, 1);
	/* Credit grows with use. */
	for (int i = 0; i < 100 && messages < published + 600; i++) {
		publish_many(session, 1, (unsigned int)(messages - published), 10);
		published = messages;
		rig_serve(&rig);
		session_credit_totals(session->session, &messages, &bytes);
	}
	open_window();
	publish_many(session, 1, 600, 10);
	rig_turn(&rig);
	ck_assert_uint_eq(count_publishes(0), 256);
	/* They go on as confirms come. */
	rig_ack(&rig, 1, published + 100, true);
	rig_turn(&rig);
	ck_assert_uint_eq(count_publishes(0), 100);
	rig_free(&rig);
}
END_TEST

START_TEST(flow__nobody_is_asked_without_a_lane_that_nobody_uses)
{
	struct rig_session *session;
	struct rig_frame frame;

	rig_init(&rig);
	rig.upstream_options.adaptive_window = true;
	rig.upstream_options.warm_lanes = 0;
	up();
	session = rig_ready(&rig, 1);
	publish_many(session, 1, 2, 100000);
	rig_turn(&rig);
	rig_turn(&rig);
	while (rig_next(&rig, &frame))
		ck_assert(frame.type != AMQC_FRAME_METHOD || frame.method.id != AMQC_CHANNEL_FLOW);
	rig_free(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux/flow");
	TCase *tc = tcase_create("flow");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, flow__a_session_with_many_channels_has_no_more_than_one_with_one);
	tcase_add_test(tc, flow__small_messages_and_large_ones_share_by_bytes);
	tcase_add_test(tc, flow__a_small_message_waits_for_one_slice_of_a_large_one);
	tcase_add_test(tc, flow__who_has_nothing_under_way_passes_a_flood_within_the_bound);
	tcase_add_test(tc, flow__a_window_of_one_is_handed_on_after_a_part_of_a_flood);
	tcase_add_test(tc, flow__a_window_of_one_is_handed_on_after_a_large_message);
	tcase_add_test(tc, flow__who_has_requests_to_send_does_not_keep_a_window_of_one);
	tcase_add_test(tc, flow__the_first_of_a_neighbour_goes_out_at_once);
	tcase_add_test(tc, flow__those_that_flood_have_the_same_of_the_window);
	tcase_add_test(tc, flow__what_a_dead_session_left_waiting_is_sent_as_confirms_come);
	tcase_add_test(tc, flow__the_broker_is_asked_on_a_lane_that_nobody_uses);
	tcase_add_test(tc, flow__a_lane_has_not_more_unconfirmed_than_makes_the_broker_stop_reading);
	tcase_add_test(tc, flow__nobody_is_asked_without_a_lane_that_nobody_uses);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
