/* A consumer is begun anew with a larger prefetch when all of its channel may have more. */
#include "tests/unit/mux-rig.h"

#include <stdlib.h>

static struct rig rig;
static struct rig_session *session;

static void qos(uint16_t count, bool global)
{
	struct amqc_method method = {.id = AMQC_BASIC_QOS};

	method.basic_qos.prefetch_count = count;
	method.basic_qos.global = global;
	rig_request(session, 1, &method, 0);
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_BASIC_QOS_OK);
	rig_turn(&rig);
}

static void begin(uint64_t memory)
{
	rig_init(&rig);
	rig.upstream_options.warm_lanes = 0;
	if (memory > 0)
		rig.options.limits.session_memory = memory;
	rig_start(&rig);
	rig_connect(&rig, 100, 131072);
	session = rig_session(&rig);
	session_open_channel(session->session, 1, 1);
}

/* Channel 1 may have 2, and has a consumer (tag "tag", number 1) that may have 9, of a classic queue. */
static void consuming_with(uint64_t memory)
{
	begin(memory);
	rig_declare(session, 1, "q", false);
	rig_serve(&rig);
	(void)rig_event_of(session, RIG_REPLY);
	qos(9, false);
	qos(2, true);
	rig_consume(session, 1, 1, "q", "tag", 100);
	rig_serve(&rig);
	(void)rig_event_of(session, RIG_REPLY);
}

static void consuming(void)
{
	consuming_with(0);
}

static void expect_qos(uint16_t count)
{
	struct rig_frame frame;

	rig_expect(&rig, AMQC_BASIC_QOS, &frame);
	ck_assert_uint_eq(frame.method.basic_qos.prefetch_count, count);
	ck_assert(!frame.method.basic_qos.global);
	rig_say_id(&rig, 1, AMQC_BASIC_QOS_OK);
}

/* Not answered yet. */
static void expect_consume(const char *tag)
{
	struct rig_frame frame;

	rig_expect(&rig, AMQC_BASIC_CONSUME, &frame);
	ck_assert(span_equal_str(frame.method.basic_consume.consumer_tag, tag));
	ck_assert(span_equal_str(frame.method.basic_consume.queue, "q"));
}

static void expect_cancel(const char *tag)
{
	struct rig_frame frame;

	rig_turn(&rig);
	rig_expect(&rig, AMQC_BASIC_CANCEL, &frame);
	ck_assert(span_equal_str(frame.method.basic_cancel.consumer_tag, tag));
}

static void say_consume_ok(const char *tag)
{
	struct amqc_method method = {.id = AMQC_BASIC_CONSUME_OK};

	method.basic_consume_ok.consumer_tag = span_str(tag);
	rig_say(&rig, 1, &method);
}

static void say_cancel_ok(const char *tag)
{
	struct amqc_method method = {.id = AMQC_BASIC_CANCEL_OK};

	method.basic_cancel_ok.consumer_tag = span_str(tag);
	rig_say(&rig, 1, &method);
	rig_turn(&rig);
}

static void expect_delivered(const char *tag, uint64_t lane_tag)
{
	rig_deliver(&rig, 1, tag, lane_tag, "x");
	ck_assert_uint_eq(rig_event_of(session, RIG_DELIVERED)->consumer, 1);
}

START_TEST(widen__begins_the_new_one_before_it_ends_the_last)
{
	consuming();
	expect_delivered("tag", 1);
	qos(5, true);
	expect_qos(5);
	expect_consume("tag~1");
	rig_expect_silence(&rig);
	expect_delivered("tag", 2);
	expect_delivered("tag~1", 3);
	say_consume_ok("tag~1");
	expect_cancel("tag");
	expect_delivered("tag", 4);
	say_cancel_ok("tag");
	expect_delivered("tag~1", 5);
	rig_turn(&rig);
	rig_expect_silence(&rig);
	/* Without a limit it has what it asked for. */
	qos(0, true);
	expect_qos(9);
	expect_consume("tag~2");
	say_consume_ok("tag~2");
	expect_cancel("tag~1");
	say_cancel_ok("tag~1");
	qos(20, true);
	rig_expect_silence(&rig);
	rig_cancel(session, 1, 1, 0);
	expect_cancel("tag~2");
	say_cancel_ok("tag~2");
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_BASIC_CANCEL_OK);
	rig_free(&rig);
}
END_TEST

START_TEST(widen__goes_on_if_there_is_more_meanwhile)
{
	consuming();
	qos(3, true);
	expect_qos(3);
	expect_consume("tag~1");
	qos(4, true);
	rig_expect_silence(&rig);
	say_consume_ok("tag~1");
	expect_cancel("tag");
	qos(5, true);
	rig_expect_silence(&rig);
	say_cancel_ok("tag");
	expect_qos(5);
	expect_consume("tag~2");
	rig_free(&rig);
}
END_TEST

START_TEST(widen__waits_for_a_consume_that_is_under_way)
{
	consuming();
	rig_consume(session, 1, 2, "q", "other", 100);
	rig_turn(&rig);
	expect_consume("other");
	qos(4, true);
	expect_qos(4);
	expect_consume("tag~1");
	say_consume_ok("other");
	rig_turn(&rig);
	expect_consume("other~2");
	rig_free(&rig);
}
END_TEST

START_TEST(widen__cancels_both_if_the_client_does_in_between)
{
	consuming();
	qos(3, true);
	expect_qos(3);
	expect_consume("tag~1");
	rig_cancel(session, 1, 1, 0);
	rig_turn(&rig);
	rig_expect_silence(&rig);
	say_consume_ok("tag~1");
	expect_cancel("tag");
	expect_cancel("tag~1");
	say_cancel_ok("tag");
	rig_expect_no_event(session);
	say_cancel_ok("tag~1");
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_BASIC_CANCEL_OK);
	rig_expect_silence(&rig);
	rig_free(&rig);
}
END_TEST

START_TEST(widen__cancels_both_if_the_consumer_ends_in_between)
{
	static char large[50001];

	memset(large, 'x', sizeof(large) - 1);
	consuming_with(80000);
	qos(3, true);
	expect_qos(3);
	expect_consume("tag~1");
	/* More than half of the session's memory. */
	rig_deliver(&rig, 1, "tag", 1, large);
	(void)rig_event_of(session, RIG_CONSUMER_CANCELLED);
	rig_turn(&rig);
	/* First the cancel: what goes back must not come again. */
	expect_cancel("tag");
	rig_expect(&rig, AMQC_BASIC_NACK, &(struct rig_frame){0});
	rig_expect_silence(&rig);
	say_consume_ok("tag~1");
	expect_cancel("tag~1");
	say_cancel_ok("tag");
	say_cancel_ok("tag~1");
	rig_expect_no_event(session);
	/* Number and tag are free. */
	rig_consume(session, 1, 1, "q", "tag", 100);
	rig_serve(&rig);
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_BASIC_CONSUME_OK);
	rig_free(&rig);
}
END_TEST

START_TEST(widen__tags_stay_the_clients)
{
	consuming();
	rig_consume(session, 1, 2, "q", "tag~1", 100);
	rig_serve(&rig);
	(void)rig_event_of(session, RIG_REPLY);
	/* The one that it would have is in use: it stays as it is. */
	qos(3, true);
	expect_qos(3);
	expect_consume("tag~1~1");
	rig_expect_silence(&rig);
	say_consume_ok("tag~1~1");
	expect_cancel("tag~1");
	say_cancel_ok("tag~1");
	/* Nobody else may have the one it was asked for with. */
	rig_consume(session, 1, 3, "q", "tag~1", 100);
	ck_assert_uint_eq(rig_event_of(session, RIG_REFUSED)->code, AMQC_NOT_ALLOWED);
	rig_free(&rig);
}
END_TEST

START_TEST(consume__tag_in_use_is_named_in_print)
{
	consuming();
	rig_consume(session, 1, 2, "q", "a\nb", 100);
	rig_serve(&rig);
	(void)rig_event_of(session, RIG_REPLY);
	rig_consume(session, 1, 3, "q", "a\nb", 100);
	ck_assert_ptr_nonnull(strstr(rig_event_of(session, RIG_REFUSED)->text, "tag 'a\\x0ab' on"));
	rig_free(&rig);
}
END_TEST

START_TEST(widen__unknown_queue_must_show_that_it_is_no_stream)
{
	begin(0);
	qos(9, false);
	qos(2, true);
	rig_consume(session, 1, 1, "q", "tag", 100);
	rig_serve(&rig);
	(void)rig_event_of(session, RIG_REPLY);
	qos(5, true);
	rig_expect_silence(&rig);
	expect_delivered("tag", 1);
	rig_turn(&rig);
	expect_qos(5);
	expect_consume("tag~1");
	rig_free(&rig);
}
END_TEST

static unsigned int prefetch, consumes;
static uint16_t lane;

static bool note(const struct rig_frame *frame)
{
	if (frame->method.id == AMQC_BASIC_QOS)
		prefetch = frame->method.basic_qos.prefetch_count;
	if (frame->method.id == AMQC_BASIC_CONSUME) {
		ck_assert(span_equal_str(frame->method.basic_consume.consumer_tag, "tag~1"));
		consumes++;
		lane = frame->lane;
	}
	ck_assert_int_ne(frame->method.id, AMQC_BASIC_CANCEL);
	return false;
}

START_TEST(widen__is_done_on_the_next_connection)
{
	consuming();
	qos(5, true);
	expect_qos(5);
	expect_consume("tag~1");
	rig_lose(&rig);
	qos(7, true);
	rig_pass(&rig, 30 * USEC_PER_SEC - 1);
	rig_connect(&rig, 100, 131072);
	rig_serve_but(&rig, note);
	ck_assert_uint_eq(prefetch, 7);
	ck_assert_uint_eq(consumes, 1);
	rig_deliver(&rig, lane, "tag~1", 1, "x");
	ck_assert_uint_eq(rig_last(session, RIG_DELIVERED)->consumer, 1);
	rig_free(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux-subscribe");
	TCase *tests = tcase_create("widen");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, widen__begins_the_new_one_before_it_ends_the_last);
	tcase_add_test(tests, widen__goes_on_if_there_is_more_meanwhile);
	tcase_add_test(tests, widen__waits_for_a_consume_that_is_under_way);
	tcase_add_test(tests, widen__cancels_both_if_the_client_does_in_between);
	tcase_add_test(tests, widen__cancels_both_if_the_consumer_ends_in_between);
	tcase_add_test(tests, widen__tags_stay_the_clients);
	tcase_add_test(tests, consume__tag_in_use_is_named_in_print);
	tcase_add_test(tests, widen__unknown_queue_must_show_that_it_is_no_stream);
	tcase_add_test(tests, widen__is_done_on_the_next_connection);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
