#include "tests/unit/mux-rig.h"

#include <errno.h>
#include <stdlib.h>

static struct rig rig;

static struct upstream_info info(void)
{
	struct upstream_info info;

	upstream_get_info(rig.upstream, &info);
	return info;
}

static struct rig_session *ready(void)
{
	struct rig_session *session = rig_session(&rig);

	for (uint32_t number = 1; number <= 3; number++)
		session_open_channel(session->session, number, 1);
	return session;
}

/* The broker closes in the handshake. */
static void refuse_us(uint16_t code)
{
	struct amqc_method close = {.id = AMQC_CONNECTION_CLOSE};

	close.connection_close.reply_code = code;
	close.connection_close.reply_text = SPAN_LITERAL("no, you");
	upstream_dialled(rig.upstream);
	rig_say(&rig, 0, &close);
}

START_TEST(upstream__dials_at_once_and_is_up_after_the_handshake)
{
	rig_init(&rig);
	rig_start(&rig);
	ck_assert_uint_eq(rig.dials, 1);
	ck_assert_int_eq(info().state, UPSTREAM_CONNECTING);
	rig_connect(&rig, 50, 131072);
	ck_assert_int_eq(info().state, UPSTREAM_UP);
	ck_assert_uint_eq(info().epoch, 1);
	ck_assert_uint_eq(info().lanes_max, 50);
	ck_assert_str_eq(info().endpoint, "one:5672");
	rig_free(&rig);
}
END_TEST

START_TEST(upstream__goes_round_its_endpoints_and_pauses_behind_a_round)
{
	rig_init(&rig);
	rig.upstream_options.endpoint_count = 2;
	rig_start(&rig);
	ck_assert_uint_eq(rig.dialled, 0);
	upstream_dial_failed(rig.upstream, "connection refused");
	ck_assert_int_eq(info().state, UPSTREAM_BACKOFF);
	rig_pass(&rig, 0);
	ck_assert_uint_eq(rig.dials, 2);
	ck_assert_uint_eq(rig.dialled, 1);
	upstream_dial_failed(rig.upstream, "connection refused");
	ck_assert_str_eq(info().last_error, "connection refused");
	rig_pass(&rig, 200 * USEC_PER_MSEC);
	ck_assert_uint_eq(rig.dials, 3);
	ck_assert_uint_eq(rig.dialled, 0);
	rig_free(&rig);
}
END_TEST

/* The first endpoint has another password: the second one is good, and nobody is told of the first. */
START_TEST(upstream__an_endpoint_that_refuses_does_not_hide_a_good_one)
{
	struct rig_session *session;

	rig_init(&rig);
	rig.upstream_options.endpoint_count = 2;
	rig_start(&rig);
	session = ready();
	rig_declare(session, 1, "waits", false);
	refuse_us(403);
	rig_turn(&rig);
	ck_assert_int_eq(info().state, UPSTREAM_BACKOFF);
	rig_pass(&rig, 0);
	ck_assert_uint_eq(rig.dialled, 1);
	rig_connect(&rig, 10, 131072);
	rig_serve(&rig);
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_QUEUE_DECLARE_OK);
	rig_expect_no_event(session);
	rig_free(&rig);
}
END_TEST

START_TEST(upstream__failed_names_the_refusal_though_other_endpoints_are_not_there)
{
	rig_init(&rig);
	rig.upstream_options.endpoint_count = 2;
	rig_start(&rig);
	for (unsigned int round = 0; round < 3; round++) {
		refuse_us(403);
		ck_assert_int_eq(info().state, round == 0 ? UPSTREAM_BACKOFF : UPSTREAM_FAILED);
		rig_pass(&rig, 0);
		ck_assert_uint_eq(rig.dials, 2 * round + 2);
		upstream_dial_failed(rig.upstream, "connection refused");
		ck_assert_int_eq(info().state, UPSTREAM_FAILED);
		ck_assert_ptr_eq(strstr(info().last_error, "no, you ("), info().last_error);
		/* Slowly: from half of the longest pause on. */
		rig_pass(&rig, 15 * USEC_PER_SEC - 1);
		ck_assert_uint_eq(rig.dials, 2 * round + 2);
		rig_pass(&rig, 15 * USEC_PER_SEC + 1);
		ck_assert_uint_eq(rig.dials, 2 * round + 3);
	}
	rig_free(&rig);
}
END_TEST

START_TEST(upstream__a_vhost_that_is_not_there_is_refused_slowly_and_named)
{
	rig_init(&rig);
	rig_start(&rig);
	refuse_us(530);
	ck_assert_int_eq(info().state, UPSTREAM_FAILED);
	ck_assert_str_eq(info().last_error, "no, you");
	rig_pass(&rig, 15 * USEC_PER_SEC - 1);
	ck_assert_uint_eq(rig.dials, 1);
	rig_pass(&rig, 15 * USEC_PER_SEC + 1);
	ck_assert_uint_eq(rig.dials, 2);
	rig_free(&rig);
}
END_TEST

START_TEST(upstream__connect_timeout_covers_dial_and_handshake)
{
	rig_init(&rig);
	rig_start(&rig);
	rig_pass(&rig, 9 * USEC_PER_SEC);
	upstream_dialled(rig.upstream);
	ck_assert_uint_eq(rig.hang_ups, 0);
	rig_pass(&rig, USEC_PER_SEC);
	ck_assert_uint_eq(rig.hang_ups, 1);
	ck_assert_int_eq(info().state, UPSTREAM_BACKOFF);
	ck_assert_ptr_nonnull(strstr(info().last_error, "handshake"));
	/* What the dialler says now is too late. */
	upstream_dial_failed(rig.upstream, "late");
	ck_assert_uint_eq(rig.hang_ups, 1);
	rig_free(&rig);
}
END_TEST

START_TEST(upstream__failed_refuses_requests_at_once_and_publishes_wait)
{
	struct rig_session *session;
	const struct rig_event *event;

	rig_init(&rig);
	rig_start(&rig);
	session = ready();
	rig_declare(session, 1, "waits", false);
	rig_publish(session, 2, "q", SPAN_LITERAL("x"));
	rig_turn(&rig);
	refuse_us(403);
	rig_turn(&rig);
	ck_assert_int_eq(info().state, UPSTREAM_FAILED);
	ck_assert_ptr_nonnull(rig_last(session, RIG_UPSTREAM));
	event = rig_event_of(session, RIG_REFUSED);
	ck_assert_uint_eq(event->code, 403);
	ck_assert_int_eq(event->scope, SCOPE_REQUEST);
	ck_assert(event->retryable);
	rig_declare(session, 1, "at once", false);
	ck_assert_uint_eq(rig_event_of(session, RIG_REFUSED)->code, 403);
	rig_expect_no_event(session);
	/* It stays failed while it is dialled again, slowly, until the broker lets us in. */
	rig_pass(&rig, 10 * USEC_PER_SEC);
	ck_assert_uint_eq(rig.dials, 1);
	rig_pass(&rig, 21 * USEC_PER_SEC);
	ck_assert_uint_eq(rig.dials, 2);
	ck_assert_int_eq(info().state, UPSTREAM_FAILED);
	rig_connect(&rig, 10, 131072);
	ck_assert_int_eq(info().state, UPSTREAM_UP);
	rig_serve(&rig);
	ck_assert_int_eq(rig_event_of(session, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	rig_free(&rig);
}
END_TEST

START_TEST(upstream__a_lost_connection_ends_nothing_that_can_be_asked_for_again)
{
	struct rig_session *session;
	const struct rig_event *event;

	rig_up(&rig);
	session = ready();
	rig_consume(session, 1, 1, "q", "tag", 10);
	rig_declare(session, 3, "idle", false);
	rig_serve(&rig);
	(void)rig_event_of(session, RIG_REPLY);
	(void)rig_event_of(session, RIG_REPLY);
	rig_declare(session, 2, "sent", false);
	rig_turn(&rig);
	rig_declare(session, 3, "not sent", false);
	rig_lose(&rig);
	rig_turn(&rig);
	rig_expect_no_event(session);
	rig_pass(&rig, 30 * USEC_PER_SEC - 1);
	rig_connect(&rig, 10, 131072);
	ck_assert_uint_eq(info().epoch, 2);
	ck_assert_uint_eq(info().reconnects, 1);
	rig_serve(&rig);
	/* Who waited comes in the order of lanes, behind who was waiting already. */
	for (uint32_t number = 3; number >= 2; number--) {
		event = rig_event_of(session, RIG_REPLY);
		ck_assert_int_eq(event->reply, AMQC_QUEUE_DECLARE_OK);
		ck_assert_uint_eq(event->channel.number, number);
	}
	rig_free(&rig);
}
END_TEST

START_TEST(upstream__a_close_by_the_broker_is_answered_and_retried)
{
	struct amqc_method close = {.id = AMQC_CONNECTION_CLOSE}, answer;
	struct amqc_frame frame;
	size_t size;

	rig_up(&rig);
	close.connection_close.reply_code = 320;
	close.connection_close.reply_text = SPAN_LITERAL("CONNECTION_FORCED - shutdown");
	rig_say(&rig, 0, &close);
	ck_assert_uint_eq(rig.hang_ups, 1);
	ck_assert_int_eq(amqc_frame_peek(buf_span(&rig.last_words), 8192, &frame, &size), AMQC_OK);
	ck_assert_int_eq(amqc_method_decode(frame.payload, &answer), AMQC_OK);
	ck_assert_int_eq(answer.id, AMQC_CONNECTION_CLOSE_OK);
	ck_assert_int_eq(info().state, UPSTREAM_BACKOFF);
	rig_pass(&rig, USEC_PER_SEC);
	ck_assert_uint_eq(rig.dials, 2);
	rig_free(&rig);
}
END_TEST

START_TEST(upstream__closes_in_order)
{
	struct rig_frame frame;

	rig_up(&rig);
	upstream_close(rig.upstream, 5 * USEC_PER_SEC);
	rig_turn(&rig);
	rig_expect(&rig, AMQC_CONNECTION_CLOSE, &frame);
	ck_assert(!upstream_is_closed(rig.upstream));
	rig_say_id(&rig, 0, AMQC_CONNECTION_CLOSE_OK);
	ck_assert(upstream_is_closed(rig.upstream));
	ck_assert_uint_eq(rig.hang_ups, 1);
	rig_pass(&rig, 60 * USEC_PER_SEC);
	ck_assert_uint_eq(rig.dials, 1);
	rig_free(&rig);
}
END_TEST

START_TEST(upstream__closes_at_the_deadline_whatever_the_broker_does)
{
	rig_up(&rig);
	upstream_close(rig.upstream, 5 * USEC_PER_SEC);
	rig_pass(&rig, 5 * USEC_PER_SEC - 1);
	ck_assert(!upstream_is_closed(rig.upstream));
	rig_pass(&rig, 1);
	ck_assert(upstream_is_closed(rig.upstream));
	ck_assert_uint_eq(rig.hang_ups, 1);
	rig_free(&rig);
}
END_TEST

START_TEST(upstream__closes_while_it_dials_or_waits)
{
	rig_init(&rig);
	rig_start(&rig);
	upstream_close(rig.upstream, 5 * USEC_PER_SEC);
	ck_assert(upstream_is_closed(rig.upstream));
	ck_assert_uint_eq(rig.hang_ups, 1);
	rig_free(&rig);
	rig_init(&rig);
	rig_start(&rig);
	upstream_dial_failed(rig.upstream, "no");
	upstream_close(rig.upstream, 5 * USEC_PER_SEC);
	ck_assert(upstream_is_closed(rig.upstream));
	rig_pass(&rig, 60 * USEC_PER_SEC);
	ck_assert_uint_eq(rig.dials, 1);
	rig_free(&rig);
}
END_TEST

START_TEST(upstream__names_are_found_and_not_used_twice)
{
	static const struct upstream_ops no_ops;
	struct upstream_options options;
	struct upstream *second;

	rig_up(&rig);
	options = rig.upstream_options;
	ck_assert_int_eq(upstream_new(rig.mux, &options, &no_ops, NULL, &second), -EEXIST);
	options.name = "second";
	ck_assert_int_eq(upstream_new(rig.mux, &options, &no_ops, NULL, &second), 0);
	ck_assert_ptr_eq(mux_find_upstream(rig.mux, SPAN_NULL), rig.upstream);
	ck_assert_ptr_eq(mux_find_upstream(rig.mux, SPAN_LITERAL("default")), rig.upstream);
	ck_assert_ptr_eq(mux_find_upstream(rig.mux, SPAN_LITERAL("second")), second);
	ck_assert_ptr_null(mux_find_upstream(rig.mux, SPAN_LITERAL("third")));
	ck_assert_ptr_eq(mux_next_upstream(mux_first_upstream(rig.mux)), second);
	ck_assert_ptr_null(mux_next_upstream(second));
	rig_free(&rig);
}
END_TEST

START_TEST(upstream__states_have_the_names_of_status)
{
	ck_assert_str_eq(upstream_state_name(UPSTREAM_CONNECTING), "connecting");
	ck_assert_str_eq(upstream_state_name(UPSTREAM_UP), "up");
	ck_assert_str_eq(upstream_state_name(UPSTREAM_BACKOFF), "backoff");
	ck_assert_str_eq(upstream_state_name(UPSTREAM_BLOCKED), "blocked");
	ck_assert_str_eq(upstream_state_name(UPSTREAM_FAILED), "failed");
}
END_TEST

START_TEST(mux__can_be_freed_with_everything_under_way)
{
	struct rig_session *session;

	rig_init(&rig);
	rig.upstream_options.unconfirmed_messages = 1;
	rig.upstream_options.warm_lanes = 2;
	rig_start(&rig);
	rig_connect(&rig, 10, 131072);
	session = ready();
	rig_consume(session, 1, 1, "q", "tag", 1);
	rig_serve(&rig);
	rig_deliver(&rig, 3, "tag", 1, "x");
	for (int i = 0; i < 3; i++)
		rig_publish(session, 2, "q", SPAN_LITERAL("x"));
	rig_declare(session, 3, "mine", true);
	rig_turn(&rig);
	rig_end(session);
	rig_turn(&rig);
	rig_free(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux-upstream");
	TCase *tcase = tcase_create("mux-upstream");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, upstream__dials_at_once_and_is_up_after_the_handshake);
	tcase_add_test(tcase, upstream__goes_round_its_endpoints_and_pauses_behind_a_round);
	tcase_add_test(tcase, upstream__an_endpoint_that_refuses_does_not_hide_a_good_one);
	tcase_add_test(tcase, upstream__failed_names_the_refusal_though_other_endpoints_are_not_there);
	tcase_add_test(tcase, upstream__a_vhost_that_is_not_there_is_refused_slowly_and_named);
	tcase_add_test(tcase, upstream__connect_timeout_covers_dial_and_handshake);
	tcase_add_test(tcase, upstream__failed_refuses_requests_at_once_and_publishes_wait);
	tcase_add_test(tcase, upstream__a_lost_connection_ends_nothing_that_can_be_asked_for_again);
	tcase_add_test(tcase, upstream__a_close_by_the_broker_is_answered_and_retried);
	tcase_add_test(tcase, upstream__closes_in_order);
	tcase_add_test(tcase, upstream__closes_at_the_deadline_whatever_the_broker_does);
	tcase_add_test(tcase, upstream__closes_while_it_dials_or_waits);
	tcase_add_test(tcase, upstream__names_are_found_and_not_used_twice);
	tcase_add_test(tcase, upstream__states_have_the_names_of_status);
	tcase_add_test(tcase, mux__can_be_freed_with_everything_under_way);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
