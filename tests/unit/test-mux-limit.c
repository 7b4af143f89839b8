#include "daemon/amqp/reply.h"
#include "tests/unit/mux-rig.h"

#include "daemon/mux/limit.h"

#include <stdlib.h>

static struct rig rig;

static struct fault too_many(const char *text)
{
	return fault_from_broker(AMQC_NOT_ALLOWED, span_str(text), 0, 0);
}

#define RABBITMQ_5                                                                                  \
	"NOT_ALLOWED - number of channels opened for user 'guest' has reached the maximum allowed " \
	"user limit of (5)"

START_TEST(limit__of_a_broker_that_says_none_is_what_it_opened)
{
	struct fault fault = fault_from_broker(AMQC_NOT_ALLOWED, SPAN_LITERAL("too many"), 20, 10);
	struct limit limit = {0};
	struct mono now = {1000};

	ck_assert_uint_eq(limit_most(&limit, 100), 100);
	ck_assert(limit_is_meant(&fault));
	limit_learn(&limit, 7, &fault, now);
	ck_assert_uint_eq(limit_most(&limit, 100), 7);
	ck_assert_uint_eq(limit_most(&limit, 3), 3);
	ck_assert(mono_is_never(limit_next_try(&limit)));
}
END_TEST

START_TEST(limit__is_not_meant_by_other_closes)
{
	struct fault fault = too_many(RABBITMQ_5);

	ck_assert(limit_is_meant(&fault));
	fault.code = AMQC_CONNECTION_FORCED;
	ck_assert(!limit_is_meant(&fault));
	/* A consumer tag in use, for example. */
	fault = fault_from_broker(AMQC_NOT_ALLOWED, SPAN_LITERAL("tag"), 60, 20);
	ck_assert(!limit_is_meant(&fault));
	fault = fault_make(AMQC_NOT_ALLOWED, "by muxd");
	ck_assert(!limit_is_meant(&fault));
}
END_TEST

START_TEST(limit__that_others_use_too_is_tried_again_after_pauses_that_double)
{
	struct fault fault = too_many(RABBITMQ_5);
	struct limit limit = {0};
	struct mono now = {1000};

	limit_learn(&limit, 2, &fault, now);
	ck_assert_uint_eq(limit_most(&limit, 100), 2);
	ck_assert_uint_eq(limit_next_try(&limit).usec, now.usec + 60 * USEC_PER_SEC);
	now.usec += 70 * USEC_PER_SEC;
	limit_learn(&limit, 2, &fault, now);
	ck_assert_uint_eq(limit_next_try(&limit).usec, now.usec + 120 * USEC_PER_SEC);
	for (int i = 0; i < 20; i++)
		limit_learn(&limit, 2, &fault, now);
	ck_assert_uint_eq(limit_next_try(&limit).usec, now.usec + 3600 * USEC_PER_SEC);
	/* It goes well: up to what the broker said, and not further. */
	limit_opened(&limit, 3);
	ck_assert_uint_eq(limit_most(&limit, 100), 3);
	ck_assert(!mono_is_never(limit_next_try(&limit)));
	limit_opened(&limit, 5);
	ck_assert_uint_eq(limit_most(&limit, 100), 5);
	ck_assert(mono_is_never(limit_next_try(&limit)));
}
END_TEST

START_TEST(limit__leaves_one_lane_whatever_the_broker_did)
{
	struct fault fault = too_many(RABBITMQ_5);
	struct limit limit = {0};

	limit_learn(&limit, 0, &fault, (struct mono){1000});
	ck_assert_uint_eq(limit_most(&limit, 100), 1);
}
END_TEST

START_TEST(limit__is_forgotten_by_a_connection_made_an_hour_later)
{
	struct fault fault = too_many(RABBITMQ_5);
	struct limit limit = {0};
	struct mono now = {1000};

	limit_learn(&limit, 5, &fault, now);
	now.usec += 3600 * USEC_PER_SEC - 1;
	limit_connected(&limit, now);
	ck_assert_uint_eq(limit_most(&limit, 100), 5);
	now.usec++;
	limit_connected(&limit, now);
	ck_assert_uint_eq(limit_most(&limit, 100), 100);
}
END_TEST

/* ------------------------------------------------------------------ with mux */

static struct upstream_info info(void)
{
	struct upstream_info info;

	upstream_get_info(rig.upstream, &info);
	return info;
}

static void close_connection(const char *text)
{
	struct amqc_method close = {.id = AMQC_CONNECTION_CLOSE};

	close.connection_close.reply_code = AMQC_NOT_ALLOWED;
	close.connection_close.reply_text = span_str(text);
	rig_say(&rig, 0, &close);
}

static struct rig_session *publishers(uint32_t count)
{
	struct rig_session *session = rig_session(&rig);

	for (uint32_t number = 1; number <= count; number++)
		session_open_channel(session->session, number, 1);
	return session;
}

/* Answers what is sent, but opens no more channels than this; then it closes, as RabbitMQ does. */
static void serve_up_to(uint32_t allowed, const char *text)
{
	struct rig_frame frame;
	uint32_t opened = 0;

	rig_turn(&rig);
	while (rig_next(&rig, &frame)) {
		if (frame.type != AMQC_FRAME_METHOD || frame.method.id != AMQC_CHANNEL_OPEN)
			continue;
		if (opened++ < allowed)
			rig_say_id(&rig, frame.lane, AMQC_CHANNEL_OPEN_OK);
		else
			break;
	}
	ck_assert_uint_gt(opened, allowed);
	close_connection(text);
	rig_turn(&rig);
}

/* Counts the opens of a new connection, and answers everything. */
static uint32_t reconnect_and_count(uint64_t pause_usec)
{
	uint32_t opens = 0;
	bool any = true;

	rig_pass(&rig, pause_usec);
	rig_connect(&rig, 100, 131072);
	while (any) {
		struct rig_frame frame;

		any = false;
		rig_turn(&rig);
		while (rig_next(&rig, &frame)) {
			any = true;
			if (frame.type != AMQC_FRAME_METHOD)
				continue;
			opens += frame.method.id == AMQC_CHANNEL_OPEN;
			if (frame.method.id == AMQC_BASIC_PUBLISH)
				rig_ack(&rig, frame.lane, rig.published[frame.lane], true);
			else
				rig_say_id(&rig, frame.lane,
					   (enum amqc_method_id)((uint32_t)frame.method.id + 1));
		}
	}
	return opens;
}

START_TEST(limit__learned_from_a_close_holds_on_the_next_connection)
{
	struct rig_session *session;
	uint32_t confirmed = 0;

	rig_init(&rig);
	rig.upstream_options.warm_lanes = 4;
	rig_start(&rig);
	rig_connect(&rig, 100, 131072);
	session = publishers(12);
	for (uint32_t number = 1; number <= 12; number++)
		rig_publish(session, number, "q", SPAN_LITERAL("x"));
	serve_up_to(5, RABBITMQ_5);
	ck_assert_int_eq(info().state, UPSTREAM_BACKOFF);
	ck_assert_uint_eq(reconnect_and_count(USEC_PER_SEC), 5);
	ck_assert_uint_eq(info().lanes_max, 5);
	ck_assert_uint_eq(info().epoch, 2);
	/* All twelve went over the five. */
	for (size_t i = 0; i < session->event_count; i++) {
		const struct rig_event *event = &session->events[i];

		if (event->kind != RIG_OUTCOME)
			continue;
		ck_assert_int_eq(event->outcome, OUTCOME_CONFIRMED);
		confirmed += (uint32_t)(event->last - event->first + 1);
	}
	ck_assert_uint_eq(confirmed, 12);
	rig_free(&rig);
}
END_TEST

START_TEST(limit__other_closes_teach_nothing)
{
	rig_init(&rig);
	rig.upstream_options.warm_lanes = 4;
	rig_start(&rig);
	rig_connect(&rig, 100, 131072);
	rig_serve(&rig);
	/* Every channel.open was answered. */
	close_connection(RABBITMQ_5);
	rig_turn(&rig);
	ck_assert_uint_eq(reconnect_and_count(USEC_PER_SEC), 4);
	ck_assert_uint_eq(info().lanes_max, 100);
	rig_free(&rig);
}
END_TEST

START_TEST(limit__a_number_rests_after_close_ok_where_a_limit_is_near)
{
	struct rig_session *session;
	struct rig_frame frame;

	rig_up(&rig);
	session = publishers(3);
	rig_declare(session, 1, "b", false);
	rig_declare(session, 2, "a", false);
	serve_up_to(1, "NOT_ALLOWED - no more than (1)");
	rig_pass(&rig, USEC_PER_SEC);
	rig_connect(&rig, 100, 131072);
	rig_serve(&rig);
	rig_consume(session, 3, 1, "q", "tag", 1);
	rig_serve(&rig);
	rig_declare(session, 1, "a", false);
	session_close_channel(session->session, 77, 3);
	rig_turn(&rig);
	while (rig_next(&rig, &frame) && frame.method.id != AMQC_CHANNEL_CLOSE)
		;
	rig_say_id(&rig, frame.lane, AMQC_CHANNEL_CLOSE_OK);
	rig_turn(&rig);
	rig_expect_silence(&rig);
	rig_pass(&rig, 499 * USEC_PER_MSEC);
	rig_expect_silence(&rig);
	rig_pass(&rig, USEC_PER_MSEC);
	rig_expect_silence(&rig);
	rig_pass(&rig, 500 * USEC_PER_MSEC);
	rig_open_lane(&rig);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	rig_free(&rig);
}
END_TEST

/* Others have all: it is asked for slowly, and when they are gone all of it is used. */
START_TEST(limit__used_up_by_others_is_asked_for_slowly_and_found_again)
{
	struct rig_session *session;
	struct rig_frame frame;
	uint32_t opens = 0;

	rig_up(&rig);
	session = publishers(3);
	rig_consume(session, 1, 1, "q", "tag", 1);
	rig_publish(session, 2, "q", SPAN_LITERAL("x"));
	rig_publish(session, 3, "q", SPAN_LITERAL("x"));
	serve_up_to(0, RABBITMQ_5);
	ck_assert_int_eq(info().state, UPSTREAM_BACKOFF);
	rig_pass(&rig, 14 * USEC_PER_SEC);
	ck_assert_uint_eq(rig.dials, 1);
	rig_pass(&rig, 16 * USEC_PER_SEC);
	ck_assert_uint_eq(rig.dials, 2);
	rig_connect(&rig, 100, 131072);
	rig_consume(session, 1, 10, "q", "another", 1); /* the deadline of the first has passed */
	rig_serve(&rig);
	ck_assert_uint_eq(info().lanes_leased, 1);
	rig_publish(session, 2, "q", SPAN_LITERAL("x"));
	rig_publish(session, 3, "q", SPAN_LITERAL("x"));
	rig_pass(&rig, 29 * USEC_PER_SEC);
	rig_expect_silence(&rig);
	rig_pass(&rig, 1 * USEC_PER_SEC);
	while (rig_next(&rig, &frame))
		opens += frame.type == AMQC_FRAME_METHOD && frame.method.id == AMQC_CHANNEL_OPEN;
	ck_assert_uint_eq(opens, 1); /* one at a time */
	rig_say_id(&rig, 2, AMQC_CHANNEL_OPEN_OK);
	rig_say_id(&rig, 2, AMQC_CONFIRM_SELECT_OK);
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_free(&rig);
}
END_TEST

static bool explains(struct rig_session *session, const char *what)
{
	const char *text = rig_last(session, RIG_REFUSED)->text;

	ck_assert_msg(strstr(text, what) != NULL, "\"%s\" does not say %s", text, what);
	return true;
}

START_TEST(lane__a_deadline_says_that_all_channels_are_in_use)
{
	struct rig_session *session;

	rig_init(&rig);
	rig_start(&rig);
	rig_connect(&rig, 2, 131072);
	session = publishers(4);
	rig_consume(session, 1, 1, "q", "a", 1);
	rig_consume(session, 2, 1, "q", "b", 1);
	rig_serve(&rig);
	rig_declare(session, 3, "c", false);
	rig_publish(session, 4, "q", SPAN_LITERAL("x"));
	rig_pass(&rig, 30 * USEC_PER_SEC);
	ck_assert_uint_eq(rig_last(session, RIG_REFUSED)->code, 408);
	ck_assert(rig_last(session, RIG_REFUSED)->retryable);
	explains(session, "all 2 channels");
	rig_pass(&rig, 270 * USEC_PER_SEC);
	ck_assert_int_eq(rig_last(session, RIG_OUTCOME)->outcome, OUTCOME_NOT_SENT);
	ck_assert(strstr(rig_last(session, RIG_OUTCOME)->text, "all 2 channels") != NULL);
	rig_free(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux-limit");
	TCase *tcase = tcase_create("mux-limit");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, limit__of_a_broker_that_says_none_is_what_it_opened);
	tcase_add_test(tcase, limit__is_not_meant_by_other_closes);
	tcase_add_test(tcase, limit__that_others_use_too_is_tried_again_after_pauses_that_double);
	tcase_add_test(tcase, limit__leaves_one_lane_whatever_the_broker_did);
	tcase_add_test(tcase, limit__is_forgotten_by_a_connection_made_an_hour_later);
	tcase_add_test(tcase, limit__learned_from_a_close_holds_on_the_next_connection);
	tcase_add_test(tcase, limit__other_closes_teach_nothing);
	tcase_add_test(tcase, limit__a_number_rests_after_close_ok_where_a_limit_is_near);
	tcase_add_test(tcase, limit__used_up_by_others_is_asked_for_slowly_and_found_again);
	tcase_add_test(tcase, lane__a_deadline_says_that_all_channels_are_in_use);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
