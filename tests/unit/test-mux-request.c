#include "tests/unit/mux-rig.h"

#include <stdlib.h>

static struct rig rig;

static struct rig_session *ready(void)
{
	struct rig_session *session = rig_session(&rig);

	for (uint32_t number = 1; number <= 3; number++)
		session_open_channel(session->session, number, 1);
	return session;
}

START_TEST(request__a_deadline_says_whether_it_was_sent)
{
	struct rig_session *session;
	const struct rig_event *event;
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};

	rig_init(&rig);
	rig_start(&rig);
	session = ready();
	method.queue_declare.queue = SPAN_LITERAL("q");
	rig_request(session, 1, &method, 1000);
	rig_declare(session, 2, "d", false);
	rig_pass(&rig, 999);
	rig_expect_no_event(session);
	rig_pass(&rig, 1);
	event = rig_event_of(session, RIG_REFUSED);
	ck_assert_uint_eq(event->request, 1);
	ck_assert_uint_eq(event->code, 408);
	ck_assert_int_eq(event->scope, SCOPE_REQUEST);
	ck_assert(event->retryable);
	rig_pass(&rig, 29 * USEC_PER_SEC);
	rig_expect_no_event(session);
	rig_pass(&rig, USEC_PER_SEC);
	ck_assert_uint_eq(rig_event_of(session, RIG_REFUSED)->request, 2);
	rig_free(&rig);
}
END_TEST

START_TEST(request__a_late_answer_is_swallowed_and_the_next_one_finds_its_request)
{
	struct rig_session *session;
	struct rig_frame frame;

	rig_up(&rig);
	session = ready();
	rig_declare(session, 1, "a", false);
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	rig_pass(&rig, 30 * USEC_PER_SEC);
	(void)rig_event_of(session, RIG_REFUSED);
	rig_declare(session, 1, "b", false);
	rig_turn(&rig);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	rig_say_id(&rig, 1, AMQC_QUEUE_DECLARE_OK);
	rig_expect_no_event(session);
	rig_say_id(&rig, 1, AMQC_QUEUE_DECLARE_OK);
	ck_assert_uint_eq(rig_event_of(session, RIG_REPLY)->request, 2);
	rig_expect_no_event(session);
	rig_free(&rig);
}
END_TEST

START_TEST(request__a_message_got_too_late_goes_back)
{
	struct amqc_method got = {.id = AMQC_BASIC_GET_OK};
	struct rig_session *session;
	struct rig_frame frame;

	rig_up(&rig);
	session = ready();
	rig_get(session, 1, "q");
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_expect(&rig, AMQC_BASIC_GET, &frame);
	rig_pass(&rig, 30 * USEC_PER_SEC);
	(void)rig_event_of(session, RIG_REFUSED);
	got.basic_get_ok.delivery_tag = 1;
	rig_say_content(&rig, 1, &got, SPAN_LITERAL("late"));
	rig_turn(&rig);
	rig_expect(&rig, AMQC_BASIC_NACK, &frame);
	ck_assert(frame.method.basic_nack.requeue);
	rig_expect_no_event(session);
	rig_free(&rig);
}
END_TEST

START_TEST(request__a_consumer_that_comes_to_be_too_late_is_cancelled)
{
	struct rig_session *session;
	struct rig_frame frame;

	rig_up(&rig);
	session = ready();
	rig_consume(session, 1, 1, "q", "tag", 10);
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_expect(&rig, AMQC_BASIC_QOS, &frame);
	rig_expect(&rig, AMQC_BASIC_CONSUME, &frame);
	rig_pass(&rig, 30 * USEC_PER_SEC);
	(void)rig_event_of(session, RIG_REFUSED);
	rig_say_id(&rig, 1, AMQC_BASIC_QOS_OK);
	rig_say_id(&rig, 1, AMQC_BASIC_CONSUME_OK);
	rig_deliver(&rig, 1, "tag", 1, "x");
	rig_turn(&rig);
	/* The cancel first, so that what goes back does not come again. */
	rig_expect(&rig, AMQC_BASIC_CANCEL, &frame);
	rig_expect(&rig, AMQC_BASIC_NACK, &frame);
	rig_expect_no_event(session);
	rig_free(&rig);
}
END_TEST

START_TEST(request__channel_error_answers_everything_and_tells_the_end_last)
{
	struct rig_session *session;
	const struct rig_event *event;

	rig_init(&rig);
	rig.upstream_options.unconfirmed_messages = 1;
	rig_start(&rig);
	rig_connect(&rig, 10, 131072);
	session = ready();
	rig_declare(session, 1, "a", false);
	rig_publish(session, 1, "q", SPAN_LITERAL("x")); /* sent */
	rig_publish(session, 1, "q", SPAN_LITERAL("y")); /* waits for the window */
	rig_declare(session, 1, "b", false);		 /* waits behind it */
	rig_declare(session, 2, "other", false);
	rig_turn(&rig);
	rig_close_lane(&rig, 1, 404, "NOT_FOUND - no queue 'q'");
	rig_turn(&rig);
	for (int i = 0; i < 4; i++) {
		event = rig_event(session);
		ck_assert_int_eq(event->code, 404);
		if (event->kind == RIG_REFUSED)
			ck_assert_int_eq(event->scope, SCOPE_CHANNEL);
		else if (event->first == 1)
			ck_assert_int_eq(event->outcome, OUTCOME_UNKNOWN);
		else
			ck_assert_int_eq(event->outcome, OUTCOME_NOT_SENT);
	}
	event = rig_event_of(session, RIG_CHANNEL_ENDED);
	ck_assert_uint_eq(event->code, 404);
	ck_assert_uint_eq(event->channel.number, 1);
	rig_expect_no_event(session);
	/* What was on its way fails alike, and channel 2 does not know of it. */
	rig_declare(session, 1, "c", false);
	ck_assert_uint_eq(rig_event_of(session, RIG_REFUSED)->code, 404);
	rig_publish(session, 1, "q", SPAN_LITERAL("z"));
	rig_turn(&rig);
	event = rig_event_of(session, RIG_OUTCOME);
	ck_assert_int_eq(event->outcome, OUTCOME_NOT_SENT);
	ck_assert_uint_eq(event->first, 3);
	rig_free(&rig);
}
END_TEST

START_TEST(request__replies_reach_only_who_asked)
{
	struct rig_session *one, *two;
	struct rig_frame frame;

	rig_up(&rig);
	one = ready();
	two = ready();
	rig_declare(one, 1, "a", false);
	rig_declare(two, 1, "b", false);
	rig_turn(&rig);
	ck_assert_uint_eq(rig_open_lane(&rig), 1);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	ck_assert_uint_eq(rig_open_lane(&rig), 2);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	rig_say_id(&rig, 2, AMQC_QUEUE_DECLARE_OK);
	(void)rig_event_of(two, RIG_REPLY);
	rig_expect_no_event(one);
	rig_close_lane(&rig, 1, 406, "PRECONDITION_FAILED");
	(void)rig_event_of(one, RIG_REFUSED);
	(void)rig_event_of(one, RIG_CHANNEL_ENDED);
	rig_expect_no_event(two);
	rig_free(&rig);
}
END_TEST

static void say_get(struct rig_session *session, uint32_t id)
{
	struct amqc_method method = {.id = AMQC_BASIC_GET};

	method.basic_get.queue = SPAN_LITERAL("q");
	session_request(session->session, &(struct mux_request){.id = id, .channel = 1, .method = &method});
}

START_TEST(request__number_zero_or_in_use_ends_the_session)
{
	for (uint32_t id = 0; id < 2; id++) {
		struct rig_session *session;

		rig_up(&rig);
		session = ready();
		say_get(session, 1);
		say_get(session, id);
		ck_assert_uint_eq(rig_event_of(session, RIG_ENDED)->code, AMQC_COMMAND_INVALID);
		ck_assert(session_is_ended(session->session));
		say_get(session, 5);
		rig_expect_no_event(session);
		rig_free(&rig);
	}
}
END_TEST

START_TEST(request__a_number_may_come_again_once_it_is_answered)
{
	struct rig_session *session;

	rig_up(&rig);
	session = ready();
	for (int i = 0; i < 3; i++) {
		say_get(session, 1);
		rig_serve(&rig);
		ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_BASIC_GET_EMPTY);
	}
	rig_free(&rig);
}
END_TEST

START_TEST(request__one_too_many_ends_the_session)
{
	struct rig_session *session;

	rig_init(&rig);
	rig_start(&rig);
	session = ready();
	for (uint32_t id = 1; id <= SESSION_REQUESTS_MAX; id++)
		say_get(session, id);
	rig_expect_no_event(session);
	say_get(session, SESSION_REQUESTS_MAX + 1);
	ck_assert_uint_eq(rig_event_of(session, RIG_ENDED)->code, AMQC_RESOURCE_ERROR);
	rig_free(&rig);
}
END_TEST

START_TEST(request__on_a_channel_never_opened_is_refused)
{
	struct rig_session *session;
	const struct rig_event *event;

	rig_up(&rig);
	session = ready();
	rig_declare(session, 9, "a", false);
	event = rig_event_of(session, RIG_REFUSED);
	ck_assert_uint_eq(event->code, AMQC_CHANNEL_ERROR);
	ck_assert_uint_eq(event->channel.generation, 0);
	ck_assert(!session_is_ended(session->session));
	rig_free(&rig);
}
END_TEST

START_TEST(request__what_would_close_the_connection_is_refused_and_not_sent)
{
	struct amqc_method methods[4] = {{.id = AMQC_EXCHANGE_DECLARE},
					 {.id = AMQC_BASIC_QOS},
					 {.id = AMQC_QUEUE_DECLARE},
					 {.id = AMQC_QUEUE_BIND}};
	static const uint16_t codes[4] = {503, 540, 501, 501};
	struct rig_session *session;

	methods[0].exchange_declare.exchange = SPAN_LITERAL("e");
	methods[0].exchange_declare.type = SPAN_LITERAL("topics");
	methods[1].basic_qos.prefetch_size = 1;
	methods[2].queue_declare.queue = SPAN_LITERAL("\xff\xfe");
	methods[3].queue_bind.queue = SPAN_LITERAL("q");
	methods[3].queue_bind.exchange = SPAN_LITERAL("e");
	methods[3].queue_bind.routing_key = SPAN_LITERAL("\xc3(");
	rig_up(&rig);
	session = ready();
	for (uint32_t i = 0; i < 4; i++) {
		const struct rig_event *event;

		session_open_channel(session->session, i + 10, 1);
		rig_request(session, i + 10, &methods[i], 0);
		rig_turn(&rig);
		event = rig_event_of(session, RIG_REFUSED);
		ck_assert_uint_eq(event->code, codes[i]);
		ck_assert_int_eq(event->scope, SCOPE_CHANNEL);
		ck_assert_uint_eq(rig_event_of(session, RIG_CHANNEL_ENDED)->channel.number, i + 10);
	}
	rig_serve(&rig);
	ck_assert_uint_eq(rig.hang_ups, 0);
	rig_free(&rig);
}
END_TEST

static bool only_gets(const struct amqc_method *method)
{
	return method->id == AMQC_BASIC_GET;
}

START_TEST(request__what_is_not_allowed_fails_the_channel)
{
	struct rig_session *session;

	rig_up(&rig);
	rig.authorize = only_gets;
	session = ready();
	say_get(session, 1);
	rig_serve(&rig);
	(void)rig_event_of(session, RIG_REPLY);
	session->last_request = 1;
	rig_declare(session, 1, "a", false);
	ck_assert_uint_eq(rig_event_of(session, RIG_REFUSED)->code, AMQC_ACCESS_REFUSED);
	ck_assert_uint_eq(rig_event_of(session, RIG_CHANNEL_ENDED)->code, AMQC_ACCESS_REFUSED);
	rig_publish(session, 2, "q", SPAN_LITERAL("x"));
	ck_assert_int_eq(rig_event_of(session, RIG_OUTCOME)->outcome, OUTCOME_NOT_SENT);
	ck_assert_uint_eq(rig_event_of(session, RIG_CHANNEL_ENDED)->channel.number, 2);
	rig_free(&rig);
}
END_TEST

START_TEST(request__closing_a_channel_is_answered_behind_what_came_before)
{
	struct rig_session *session;
	struct rig_frame frame;

	rig_up(&rig);
	session = ready();
	rig_declare(session, 1, "a", false);
	rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	session_close_channel(session->session, 50, 1);
	/* The number is free at once. */
	session_open_channel(session->session, 1, 2);
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	rig_expect_no_event(session);
	rig_say_id(&rig, 1, AMQC_QUEUE_DECLARE_OK);
	rig_turn(&rig);
	ck_assert_uint_eq(rig_event_of(session, RIG_REPLY)->request, 1);
	ck_assert_uint_eq(rig_event_of(session, RIG_REPLY)->request, 50);
	/* The outcome may follow, with the old generation. */
	while (rig_next(&rig, &frame))
		ck_assert(frame.type != AMQC_FRAME_METHOD || frame.method.id == AMQC_BASIC_PUBLISH);
	rig_ack(&rig, 1, 1, false);
	rig_turn(&rig);
	ck_assert_uint_eq(rig_event_of(session, RIG_OUTCOME)->channel.generation, 1);
	rig_expect(&rig, AMQC_CHANNEL_CLOSE, &frame);
	rig_free(&rig);
}
END_TEST

/* As RabbitMQ may: the queue's process answers a consume or cancel, the channel's what comes behind it. */
START_TEST(reply__to_what_follows_a_consume_or_cancel_may_come_first)
{
	struct rig_session *session;
	struct amqc_method declared = {.id = AMQC_QUEUE_DECLARE_OK}, ok = {.id = AMQC_BASIC_CONSUME_OK};
	struct amqc_method cancelled = {.id = AMQC_BASIC_CANCEL_OK};
	uint32_t first, second;
	uint16_t lane;

	rig_up(&rig);
	session = rig_session(&rig);
	session_open_channel(session->session, 1, 1);
	first = rig_consume(session, 1, 1, "a", "one", 10);
	second = rig_consume(session, 1, 2, "b", "two", 10);
	(void)rig_declare(session, 1, "q", false);
	rig_turn(&rig);
	lane = rig_open_lane(&rig);
	declared.queue_declare_ok.queue = SPAN_LITERAL("q");
	rig_say_id(&rig, lane, AMQC_BASIC_QOS_OK);
	rig_say(&rig, lane, &declared);
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_QUEUE_DECLARE_OK);
	ok.basic_consume_ok.consumer_tag = SPAN_LITERAL("two");
	rig_say(&rig, lane, &ok);
	ck_assert_uint_eq(rig_event_of(session, RIG_REPLY)->request, second);
	ok.basic_consume_ok.consumer_tag = SPAN_LITERAL("one");
	rig_say(&rig, lane, &ok);
	ck_assert_uint_eq(rig_event_of(session, RIG_REPLY)->request, first);
	first = rig_cancel(session, 1, 1, 0);
	(void)rig_declare(session, 1, "q", false);
	rig_turn(&rig);
	rig_say(&rig, lane, &declared);
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_QUEUE_DECLARE_OK);
	cancelled.basic_cancel_ok.consumer_tag = SPAN_LITERAL("one");
	rig_say(&rig, lane, &cancelled);
	ck_assert_uint_eq(rig_event_of(session, RIG_REPLY)->request, first);
	ck_assert_uint_eq(rig.hang_ups, 0);
	rig_free(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux-request");
	TCase *tcase = tcase_create("mux-request");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, request__a_deadline_says_whether_it_was_sent);
	tcase_add_test(tcase, request__a_late_answer_is_swallowed_and_the_next_one_finds_its_request);
	tcase_add_test(tcase, request__a_message_got_too_late_goes_back);
	tcase_add_test(tcase, request__a_consumer_that_comes_to_be_too_late_is_cancelled);
	tcase_add_test(tcase, request__channel_error_answers_everything_and_tells_the_end_last);
	tcase_add_test(tcase, request__replies_reach_only_who_asked);
	tcase_add_test(tcase, request__number_zero_or_in_use_ends_the_session);
	tcase_add_test(tcase, request__a_number_may_come_again_once_it_is_answered);
	tcase_add_test(tcase, request__one_too_many_ends_the_session);
	tcase_add_test(tcase, request__on_a_channel_never_opened_is_refused);
	tcase_add_test(tcase, request__what_would_close_the_connection_is_refused_and_not_sent);
	tcase_add_test(tcase, request__what_is_not_allowed_fails_the_channel);
	tcase_add_test(tcase, request__closing_a_channel_is_answered_behind_what_came_before);
	tcase_add_test(tcase, reply__to_what_follows_a_consume_or_cancel_may_come_first);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
