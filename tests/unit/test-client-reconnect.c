/* A connection that outlives muxd: what is sent to the next one, in which order, and what the program sees.
 */
#include "tests/unit/client-scene.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name

/* --------------------------------------------------------------- publishing */

START_TEST(reconnect__publishes_without_an_outcome_are_sent_again_in_order_and_marked)
{
	struct scene scene;
	int kind = 0;

	scene_begin(&scene, _i);
	publish(&scene, "a");
	publish(&scene, "b");
	publish(&scene, "c");
	publish(&scene, "d");
	until_text(&scene, "publish 1 d|");
	fake_outcome(&scene.fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 2, 2);
	until_told(&scene, "2-2 confirmed|");
	forget(&scene);
	fake_hang_up(&scene.fake);
	until_link(&scene, MUXC_LINK_BACK, 1);
	ck_assert_uint_eq(scene.trace.resent, 3);
	ck_assert_uint_ge(scene.trace.attempts, 1);
	ck_assert_uint_eq(publish(&scene, "e"), 5);
	until_text(&scene, "publish 1 e|");
	expect_text(&scene,
		    "hello|open 1|publish 1 a resent|publish 1 c resent|publish 1 d resent|publish 1 e|");
	/* In the new session they are 1 to 4. */
	fake_outcome(&scene.fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 4, 4);
	until_told(&scene, "5-5 confirmed|");
	fake_outcome(&scene.fake, 1, MUXD__V1__OUTCOME_KIND__NACKED, 1, 3);
	drive_until(scene.c, _i, &scene.trace.outcomes, 5);
	ck_assert_str_eq(scene.trace.told, "lost|back|5-5 confirmed|1-1 nacked|3-4 nacked|");
	ck_assert_int_eq(muxc_wait_outcome(scene.channel, 4, 1000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_NACKED);
	scene_end(&scene);
}
END_TEST

static void send_returned(struct scene *scene, uint64_t number)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Returned returned = MUXD__V1__RETURNED__INIT;

	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_RETURNED;
	frame.returned = &returned;
	frame.has_channel = frame.has_generation = 1;
	frame.channel = 1;
	frame.generation = scene->fake.generation[1];
	returned.has_number = returned.has_code = 1;
	returned.number = number;
	returned.code = 312;
	fake_send(&scene->fake, &frame, SPAN_NULL);
}

START_TEST(reconnect__publish_that_came_back_is_not_sent_again)
{
	struct scene scene;
	int kind = 0;

	scene_begin(&scene, _i);
	publish(&scene, "a");
	publish(&scene, "b");
	until_text(&scene, "publish 1 b|");
	send_returned(&scene, 1);
	scene_replace(&scene);
	until_text(&scene, "publish 1");
	expect_text(&scene, "hello|open 1|publish 1 b resent|");
	ck_assert_int_eq(muxc_wait_outcome(scene.channel, 1, 1000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_RETURNED);
	send_returned(&scene, 1);
	scene_replace(&scene);
	ck_assert_int_eq(muxc_wait_outcome(scene.channel, 2, 1000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_RETURNED);
	scene_end(&scene);
}
END_TEST

START_TEST(reconnect__publishes_made_while_muxd_is_away_follow_unmarked)
{
	struct scene scene;
	struct muxc_channel *later;

	scene_begin(&scene, _i);
	scene.trace.ages = true;
	publish(&scene, "a");
	until_text(&scene, "publish 1 a|");
	scene_lose(&scene);
	publish(&scene, "b");
	later = scene_channel(&scene);
	ck_assert_int_eq(muxc_publish(later, "", "q", NULL, MUXC_NONBLOCK, NULL), 0);
	poll(NULL, 0, 25);
	forget(&scene);
	scene_revive(&scene);
	until_text(&scene, "publish 2");
	expect_text(&scene, "hello|open 1|open 2|publish 1 a resent old|publish 1 b old|publish 2  old|");
	/* And once more: what was sent in any session is marked. */
	fake_outcome(&scene.fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 1, 1);
	until_told(&scene, "1-1 confirmed|");
	forget(&scene);
	fake_hang_up(&scene.fake);
	until_text(&scene, "publish 2");
	expect_text(&scene, "hello|open 1|open 2|publish 1 b resent old|publish 2  resent old|");
	fake_outcome(&scene.fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 1, 1);
	until_told(&scene, "2-2 confirmed|");
	muxc_channel_free(later);
	scene_end(&scene);
}
END_TEST

/* Only what no byte of was given to the socket was surely not sent. */
START_TEST(reconnect__what_was_never_given_to_a_socket_is_not_marked)
{
	struct scene scene;

	scene_begin(&scene, 1);
	ready(&scene);
	publish(&scene, "a");
	fake_hang_up(&scene.fake);
	fake_expect_end(&scene.fake);
	forget(&scene);
	/* The end is read first: a was queued only. */
	until_link(&scene, MUXC_LINK_BACK, 1);
	ck_assert_uint_eq(scene.trace.resent, 0);
	until_text(&scene, "publish 1 a|");
	scene_end(&scene);
}
END_TEST

START_TEST(reconnect__slices_come_with_the_credit_and_before_newer_publishes)
{
	struct scene scene;
	char body[16], *at;
	int i;

	scene_begin(&scene, _i);
	for (i = 0; i < 100; i++) {
		(void)snprintf(body, sizeof(body), "%d", i);
		publish(&scene, body);
	}
	until_text(&scene, "publish 1 99|");
	scene.fake.welcome_messages = 64;
	forget(&scene);
	fake_hang_up(&scene.fake);
	until_link(&scene, MUXC_LINK_BACK, 1);
	until_text(&scene, "publish 1 63 ");
	ck_assert_int_eq(muxc_publish(scene.channel, "", "q", NULL, MUXC_NONBLOCK, NULL), -EAGAIN);
	fake_credit(&scene.fake, 80, 1024 * 1024);
	until_text(&scene, "publish 1 79 ");
	fake_credit(&scene.fake, 101, 1024 * 1024);
	ck_assert_uint_eq(publish(&scene, "new"), 101);
	until_text(&scene, "publish 1 new|");
	at = strstr(scene.trace.text, "publish");
	for (i = 0; i < 100; i++) {
		ck_assert_int_eq(strtol(at + strlen("publish 1 "), NULL, 10), i);
		at = strstr(at + 1, "publish");
	}
	fake_outcome(&scene.fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 1, 101);
	until_told(&scene, "1-101 confirmed|");
	scene_end(&scene);
}
END_TEST

START_TEST(reconnect__what_is_kept_is_bounded)
{
	struct muxc_options options = {.replay_bytes = 4096};
	char body[1024];
	struct muxc_publication publication = {.size = sizeof(publication),
					       .routing_key = "q",
					       .body = body,
					       .body_len = sizeof(body),
					       .flags = MUXC_NONBLOCK};
	struct scene scene;
	int i, r;

	memset(body, 'x', sizeof(body));
	scene_init(&scene, _i);
	fake_start(&scene.fake);
	scene_connect(&scene, &options);
	for (i = 0; i < 3; i++)
		ck_assert_int_eq(muxc_publish_full(scene.channel, &publication, 0, NULL, NULL), 0);
	ck_assert_int_eq(muxc_publish_full(scene.channel, &publication, 0, NULL, NULL), -EAGAIN);
	until_text(&scene, "publish 1");
	scene_lose(&scene);
	ck_assert_int_eq(muxc_publish_full(scene.channel, &publication, 0, NULL, NULL), -EAGAIN);
	publication.flags = 0;
	r = muxc_publish_full(scene.channel, &publication, 20000, NULL, NULL);
	ck_assert_int_eq(r, -ETIMEDOUT);
	scene_revive(&scene);
	forget(&scene);
	until_link(&scene, MUXC_LINK_BACK, 1);
	until_text(&scene, "publish 1");
	fake_outcome(&scene.fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 1, 1);
	r = muxc_publish_full(scene.channel, &publication, 5000000, NULL, NULL);
	ck_assert_int_eq(r, 0);
	scene_end(&scene);
}
END_TEST

START_TEST(reconnect__deadline_of_a_publish_is_kept_while_muxd_is_away)
{
	struct muxc_publication publication = {
	    .size = sizeof(publication), .routing_key = "q", .outcome_timeout_usec = 60000};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct scene scene;
	int kind = 0;

	scene_begin(&scene, _i);
	ck_assert_int_eq(muxc_publish_full(scene.channel, &publication, 0, NULL, NULL), 0);
	until_text(&scene, "publish 1");
	scene_lose(&scene);
	ck_assert_int_eq(muxc_publish_full(scene.channel, &publication, 0, NULL, NULL), 0);
	publication.outcome_timeout_usec = 0;
	ck_assert_int_eq(muxc_publish_full(scene.channel, &publication, 0, NULL, NULL), 0);
	ck_assert_int_eq(muxc_wait_outcome(scene.channel, 1, 5000000, &kind, &error), 0);
	ck_assert_int_eq(kind, MUXC_UNKNOWN);
	ck_assert_uint_eq(error.code, 408);
	ck_assert_int_eq(muxc_wait_outcome(scene.channel, 2, 5000000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_FAILED);
	forget(&scene);
	scene_revive(&scene);
	until_text(&scene, "publish");
	expect_text(&scene, "hello|open 1|publish 1 |");
	fake_outcome(&scene.fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 1, 1);
	until_told(&scene, "3-3 confirmed|");
	scene_end(&scene);
}
END_TEST

/* -------------------------------------------------------------- connecting */

START_TEST(reconnect__without_it_the_loss_is_the_end)
{
	struct muxc_options options = {.flags = MUXC_NO_RECONNECT};
	struct scene scene;
	int kind = 0;

	scene_init(&scene, _i);
	fake_start(&scene.fake);
	scene_connect(&scene, &options);
	publish(&scene, "a");
	until_text(&scene, "publish 1 a|");
	fake_hang_up(&scene.fake);
	drive_until(scene.c, _i, &scene.trace.closed, 1);
	ck_assert_str_eq(scene.trace.told, "1-1 unknown|channel closed 0|closed|");
	ck_assert_int_eq(muxc_wait_outcome(scene.channel, 1, 1000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_UNKNOWN);
	ck_assert_uint_eq(fake_sessions(&scene.fake), 1);
	scene_end(&scene);
}
END_TEST

START_TEST(reconnect__muxd_may_come_later_than_the_program)
{
	struct muxc_options options = {.flags = MUXC_CONNECT_LATER};
	char later[128];
	struct muxc *c;
	struct scene scene;
	uint64_t usec;

	scene_init(&scene, _i);
	(void)snprintf(later, sizeof(later), "%s.later", scene.fake.path);
	ck_assert_int_eq(rename(scene.fake.path, later), 0);
	scene_connect(&scene, &options);
	options.flags = 0;
	options.size = sizeof(options);
	options.socket_path = scene.fake.path;
	ck_assert_int_eq(muxc_connect(&options, &c, NULL), -ENOENT);
	publish(&scene, "a");
	if (_i) {
		ck_assert_int_eq(muxc_get_fd(scene.c), -ENOTCONN);
		ck_assert_int_eq(muxc_get_events(scene.c), 0);
		ck_assert_int_ge(muxc_process(scene.c), 0);
		ck_assert_int_eq(muxc_get_timeout(scene.c, &usec), 0);
		ck_assert_uint_lt(usec, clock_usec() + 1100000);
	}
	until_link(&scene, MUXC_LINK_LOST, 1);
	poll(NULL, 0, 25);
	ck_assert_int_eq(rename(later, scene.fake.path), 0);
	fake_start(&scene.fake);
	ck_assert_int_eq(muxc_wait_ready(scene.c, 5000000, NULL), 0);
	until_text(&scene, "publish 1 a");
	expect_text(&scene, "hello|open 1|publish 1 a|");
	until_link(&scene, MUXC_LINK_BACK, 1);
	ck_assert_str_eq(scene.trace.told, "lost|back|");
	if (_i)
		ck_assert_int_ge(muxc_get_fd(scene.c), 0);
	scene_end(&scene);
}
END_TEST

START_TEST(reconnect__gives_up_after_its_timeout)
{
	struct muxc_options options = {.reconnect_timeout_usec = 1000000};
	struct scene scene;
	int kind = 0;

	scene_init(&scene, _i);
	fake_start(&scene.fake);
	scene_connect(&scene, &options);
	publish(&scene, "a");
	until_text(&scene, "publish 1 a|");
	scene_lose(&scene);
	publish(&scene, "b");
	drive_until(scene.c, _i, &scene.trace.closed, 1);
	ck_assert_int_eq(scene.trace.error.error, -ECONNRESET);
	ck_assert_int_eq(muxc_wait_outcome(scene.channel, 1, 1000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_UNKNOWN);
	ck_assert_int_eq(muxc_wait_outcome(scene.channel, 2, 1000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_FAILED);
	ck_assert_int_eq(muxc_publish(scene.channel, "", "q", NULL, 0, NULL), -ECONNRESET);
	scene_revive(&scene);
	scene_end(&scene);
}
END_TEST

static bool refuse_hello(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	note_frame(fake->context, frame, payload);
	if (frame->op_case != OP(HELLO) || fake_sessions(fake) == 1)
		return false;
	/* 506 is retryable. */
	if (fake_sessions(fake) < 4) {
		fake_error_retryable(fake, 0, 0, MUXD__V1__SCOPE__SESSION, 506);
		fake_hang_up(fake);
	} else if (fake->channels_max == 1) {
		fake_error(fake, 0, 0, MUXD__V1__SCOPE__SESSION, 403);
	} else {
		return false;
	}
	return true;
}

START_TEST(reconnect__refusals_that_may_pass_are_waited_for_and_others_end_it)
{
	struct scene scene;

	scene_init(&scene, _i % 2);
	scene.fake.on_frame = refuse_hello;
	if (_i / 2)
		scene.fake.channels_max = 1;
	fake_start(&scene.fake);
	scene_connect(&scene, &(struct muxc_options){0});
	ready(&scene);
	fake_hang_up(&scene.fake);
	if (_i / 2) {
		drive_until(scene.c, scene.mode, &scene.trace.closed, 1);
		ck_assert_int_eq(scene.trace.error.error, -EACCES);
	} else {
		until_link(&scene, MUXC_LINK_BACK, 1);
		ck_assert_uint_ge(scene.trace.attempts, 3);
		ck_assert_str_eq(scene.trace.told, "lost|back|");
	}
	scene_end(&scene);
}
END_TEST

START_TEST(reconnect__garbage_is_not_survived)
{
	static const uint8_t garbage[8] = {0xff, 0xff, 0xff, 0xff};
	struct scene scene;

	scene_begin(&scene, _i);
	ready(&scene);
	fake_send_raw(&scene.fake, garbage, sizeof(garbage));
	drive_until(scene.c, _i, &scene.trace.closed, 1);
	ck_assert_int_eq(scene.trace.error.error, -EPROTO);
	ck_assert_uint_eq(fake_sessions(&scene.fake), 1);
	scene_end(&scene);
}
END_TEST

START_TEST(reconnect__free_hands_over_what_is_kept_if_muxd_comes_back)
{
	struct muxc_options options = {.linger_usec = 5000000};
	struct scene scene;

	scene_init(&scene, _i);
	fake_start(&scene.fake);
	scene_connect(&scene, &options);
	ready(&scene);
	scene_lose(&scene);
	publish(&scene, "a");
	forget(&scene);
	scene_revive(&scene);
	muxc_free(scene.c);
	scene.mode = 0; /* there is nothing to be driven any more */
	until_text(&scene, "hello|open 1|publish 1 a");
	muxc_channel_free(scene.channel);
	fake_stop(&scene.fake);
}
END_TEST

START_TEST(reconnect__free_does_not_wait_for_long)
{
	struct muxc_options options = {.linger_usec = 30000};
	struct scene scene;
	uint64_t before;

	scene_init(&scene, _i);
	fake_start(&scene.fake);
	scene_connect(&scene, &options);
	ready(&scene);
	scene_lose(&scene);
	publish(&scene, "a");
	before = clock_usec();
	muxc_free(scene.c);
	ck_assert_uint_lt(clock_usec() - before, 2000000);
	ck_assert_int_eq(muxc_publish(scene.channel, "", "q", NULL, 0, NULL), -ESHUTDOWN);
	muxc_channel_free(scene.channel);
	scene_revive(&scene);
	fake_stop(&scene.fake);
}
END_TEST

static Suite *suite_reconnect(void)
{
	Suite *suite = suite_create("client reconnect");
	TCase *tcase = tcase_create("reconnect");

	tcase_set_timeout(tcase, 30);
	tcase_add_loop_test(tcase, reconnect__publishes_without_an_outcome_are_sent_again_in_order_and_marked,
			    0, 2);
	tcase_add_loop_test(tcase, reconnect__publish_that_came_back_is_not_sent_again, 0, 2);
	tcase_add_loop_test(tcase, reconnect__publishes_made_while_muxd_is_away_follow_unmarked, 0, 2);
	tcase_add_test(tcase, reconnect__what_was_never_given_to_a_socket_is_not_marked);
	tcase_add_loop_test(tcase, reconnect__slices_come_with_the_credit_and_before_newer_publishes, 0, 2);
	tcase_add_loop_test(tcase, reconnect__what_is_kept_is_bounded, 0, 2);
	tcase_add_loop_test(tcase, reconnect__deadline_of_a_publish_is_kept_while_muxd_is_away, 0, 2);
	tcase_add_loop_test(tcase, reconnect__without_it_the_loss_is_the_end, 0, 2);
	tcase_add_loop_test(tcase, reconnect__muxd_may_come_later_than_the_program, 0, 2);
	tcase_add_loop_test(tcase, reconnect__gives_up_after_its_timeout, 0, 2);
	tcase_add_loop_test(tcase, reconnect__refusals_that_may_pass_are_waited_for_and_others_end_it, 0, 4);
	tcase_add_loop_test(tcase, reconnect__garbage_is_not_survived, 0, 2);
	tcase_add_loop_test(tcase, reconnect__free_hands_over_what_is_kept_if_muxd_comes_back, 0, 2);
	tcase_add_loop_test(tcase, reconnect__free_does_not_wait_for_long, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(suite_reconnect());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
