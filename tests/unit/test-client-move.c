/* muxd asks to leave: what was begun is finished, and the rest goes to its successor. */
#include "tests/unit/client-scene.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name
#define WAITS_USEC 1000000u /* the library for what is not settled, at most */

START_TEST(move__what_was_begun_is_finished_and_the_rest_goes_to_the_next)
{
	struct scene scene;

	scene_begin(&scene, _i);
	publish(&scene, "a");
	until_text(&scene, "publish 1 a|");
	forget(&scene);
	go_away(&scene, 60000);
	until_link(&scene, MUXC_LINK_MOVING, 1);
	publish(&scene, "b");
	ck_assert_uint_eq(fake_sessions(&scene.fake), 1);
	fake_outcome(&scene.fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 1, 1);
	until_link(&scene, MUXC_LINK_BACK, 1);
	until_text(&scene, "publish 1 b|");
	expect_text(&scene, "hello|open 1|publish 1 b|");
	expect_told(&scene, "moving|1-1 confirmed|back|");
	ck_assert_uint_eq(scene.trace.resent, 0);
	scene_end(&scene);
}
END_TEST

START_TEST(move__what_does_not_end_is_not_waited_for)
{
	struct scene scene;
	uint64_t before;

	scene_begin(&scene, _i);
	publish(&scene, "a");
	until_text(&scene, "publish 1 a|");
	forget(&scene);
	before = clock_usec();
	go_away(&scene, 50);
	until_text(&scene, "publish 1 a resent|");
	ck_assert_uint_ge(clock_usec() - before, 50000);
	expect_text(&scene, "hello|open 1|publish 1 a resent|");
	scene_end(&scene);
}
END_TEST

struct gate {
	struct scene *scene;
	int inside;
	int open;
	int settled;
};

static void wait_at_gate(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct gate *gate = userdata;

	flag_add(&gate->inside, 1);
	while (!flag_get(&gate->open))
		poll(NULL, 0, 1);
	ck_assert_int_eq(muxc_ack(channel, muxc_message_get_tag(message), 0), 0);
	flag_add(&gate->settled, 1);
}

/* False: the machine took longer than the library waits, which says nothing. */
static bool leaves_when_all_is_settled(void)
{
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = "q", .on_message = wait_at_gate};
	struct gate gate = {0};
	struct scene scene;
	uint64_t late;

	scene_begin(&scene, 0);
	gate.scene = &scene;
	options.userdata = &gate;
	ck_assert_int_eq(muxc_consume(scene.channel, &options, NULL, 0, NULL), 0);
	fake_deliver(&scene.fake, 1, 1, 1, "one");
	fake_deliver(&scene.fake, 1, 1, 2, "two");
	drive_until(scene.c, 0, &gate.inside, 1);
	forget(&scene);
	late = clock_usec() + WAITS_USEC;
	go_away(&scene, 60000);
	until_text(&scene, "cancel 1 1|");
	fake_deliver(&scene.fake, 1, 1, 3, "three");
	ck_assert_int_eq(muxc_ping(scene.c, 1, NULL), -ETIMEDOUT);
	flag_add(&gate.open, 1);
	while (flag_get(&gate.settled) < 3 && fake_sessions(&scene.fake) == 1 && clock_usec() < late)
		poll(NULL, 0, 1);
	if (clock_usec() >= late) {
		scene_end(&scene);
		return false;
	}
	until_text(&scene, "consume 1 q as 1 muxd.ctag-1|");
	ck_assert_ptr_nonnull(strstr(scene.trace.text, "-3|hello|open 1|consume 1 q as 1 muxd.ctag-1|"));
	ck_assert_int_eq(flag_get(&gate.inside), 3);
	until_told(&scene, "back|");
	expect_told(&scene, "moving|back|");
	/* And it is an ordinary one again. */
	fake_deliver(&scene.fake, 1, 1, 1, "four");
	drive_until(scene.c, 0, &gate.inside, 4);
	ck_assert_int_eq(muxc_cancel(scene.channel, 1, 0, NULL), 0);
	scene_end(&scene);
	return true;
}

START_TEST(move__what_was_delivered_is_handled_and_settled_before_muxd_is_left)
{
	int tries = 1;

	while (!leaves_when_all_is_settled())
		ck_assert_int_lt(tries++, 10);
}
END_TEST

static void remember_tag(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct trace *trace = userdata;

	__atomic_store_n(&trace->tag, muxc_message_get_tag(message), __ATOMIC_RELEASE);
	flag_add(&trace->messages, 1);
}

static void consume_q(struct scene *scene)
{
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = "q", .on_message = remember_tag, .userdata = &scene->trace};

	ck_assert_int_eq(muxc_consume(scene->channel, &options, NULL, 0, NULL), 0);
}

/* The handler has handed it to somebody who takes a while; muxd is not left before, nor long after. */
START_TEST(move__message_that_is_settled_later_is_waited_for)
{
	struct scene scene;
	uint64_t late;
	bool in_time;
	int i;

	scene_begin(&scene, _i);
	consume_q(&scene);
	for (i = 1; i <= 4; i++)
		fake_deliver(&scene.fake, 1, 1, (uint64_t)i, "m");
	drive_until(scene.c, _i, &scene.trace.messages, 4);
	forget(&scene);
	late = clock_usec() + WAITS_USEC;
	go_away(&scene, 60000);
	until_text(&scene, "cancel 1 1|");
	for (i = 0; i < 20; i++)
		step(&scene);
	expect_text_before(&scene, "cancel 1 1|", late);
	ck_assert_int_eq(muxc_ack(scene.channel, 4, 0), 0);
	ck_assert_int_eq(muxc_ack(scene.channel, 2, MUXC_UP_TO), 0);
	ck_assert_int_eq(muxc_nack(scene.channel, 3, MUXC_REQUEUE), 0);
	in_time = clock_usec() < late;
	until_text(&scene, "consume 1 q");
	ck_assert(!in_time || strstr(scene.trace.text, "3-3|hello|open 1|"));
	scene_end(&scene);
}
END_TEST

START_TEST(move__message_that_is_not_settled_is_not_waited_for)
{
	struct scene scene;
	uint64_t before;

	scene_begin(&scene, _i);
	consume_q(&scene);
	fake_deliver(&scene.fake, 1, 1, 1, "m");
	drive_until(scene.c, _i, &scene.trace.messages, 1);
	forget(&scene);
	before = clock_usec();
	go_away(&scene, 60000);
	until_text(&scene, "consume 1 q");
	ck_assert_uint_ge(clock_usec() - before, WAITS_USEC);
	ck_assert_uint_lt(clock_usec() - before, 9000000);
	expect_text(&scene, "cancel 1 1|hello|open 1|consume 1 q as 1 muxd.ctag-1|");
	scene_end(&scene);
}
END_TEST

static void cancel_inside(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct gate *gate = userdata;

	flag_add(&gate->inside, 1);
	while (!flag_get(&gate->open))
		poll(NULL, 0, 1);
	ck_assert_int_eq(muxc_ack(channel, muxc_message_get_tag(message), 0), 0);
	ck_assert_int_eq(muxc_cancel(channel, 1, 60000000, NULL), 0);
	ck_assert_int_eq(muxc_cancel(channel, 1, 0, NULL), -ENOENT);
	flag_add(&gate->inside, 1);
}

/* It has ended already, so its handler does not wait for the next session, which waits for the handler. */
START_TEST(move__consumer_is_cancelled_at_once_while_muxd_is_left)
{
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = "q", .on_message = cancel_inside};
	struct gate gate = {0};
	struct scene scene;

	scene_begin(&scene, 0);
	gate.scene = &scene;
	options.userdata = &gate;
	publish(&scene, "a");
	until_text(&scene, "publish 1 a|");
	ck_assert_int_eq(muxc_consume(scene.channel, &options, NULL, 0, NULL), 0);
	fake_deliver(&scene.fake, 1, 1, 1, "one");
	drive_until(scene.c, 0, &gate.inside, 1);
	forget(&scene);
	go_away(&scene, 60000);
	until_text(&scene, "cancel 1 1|");
	flag_add(&gate.open, 1);
	drive_until(scene.c, 0, &gate.inside, 2);
	fake_outcome(&scene.fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 1, 1);
	until_link(&scene, MUXC_LINK_BACK, 1);
	until_text(&scene, "open 1|");
	expect_text(&scene, "cancel 1 1|settle 1-1|hello|open 1|");
	scene_end(&scene);
}
END_TEST

/* --------------------------------------------------------------- transactions */

START_TEST(move__open_transaction_is_finished_before_muxd_is_left)
{
	struct scene scene;
	uint64_t until;

	scene_begin(&scene, _i);
	ck_assert_int_eq(muxc_tx_select(scene.channel, 0, NULL), 0);
	publish(&scene, "a");
	until_text(&scene, "publish 1 a|");
	forget(&scene);
	go_away(&scene, 60000);
	until_link(&scene, MUXC_LINK_MOVING, 1);
	/* For longer than other things are waited for. */
	for (until = clock_usec() + 1200000; clock_usec() < until;)
		step(&scene);
	publish(&scene, "b");
	until_text(&scene, "publish 1 b|");
	fake_outcome(&scene.fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 1, 2);
	ck_assert_int_eq(muxc_tx_commit(scene.channel, 0, NULL), 0);
	publish(&scene, "c");
	until_text(&scene, "publish 1 c|");
	expect_text(&scene, "publish 1 b|commit 1|hello|open 1|select 1|publish 1 c|");
	until_told(&scene, "back|");
	expect_told(&scene, "moving|1-2 confirmed|back|");
	ck_assert_uint_eq(scene.trace.resent, 0);
	scene_end(&scene);
}
END_TEST

START_TEST(move__transaction_that_settles_is_waited_for)
{
	struct scene scene;

	scene_begin(&scene, _i);
	ck_assert_int_eq(muxc_tx_select(scene.channel, 0, NULL), 0);
	consume_q(&scene);
	fake_deliver(&scene.fake, 1, 1, 1, "m");
	drive_until(scene.c, _i, &scene.trace.messages, 1);
	forget(&scene);
	go_away(&scene, 60000);
	until_text(&scene, "cancel 1 1|");
	publish(&scene, "answer");
	ck_assert_int_eq(muxc_ack(scene.channel, 1, 0), 0);
	until_text(&scene, "publish 1 answer|");
	fake_outcome(&scene.fake, 1, MUXD__V1__OUTCOME_KIND__NOT_SENT, 1, 1);
	ck_assert_int_eq(muxc_tx_rollback(scene.channel, 0, NULL), 0);
	/* What was settled is in hand again, so the transaction goes on. */
	ck_assert_int_eq(muxc_ack(scene.channel, 1, 0), 0);
	ck_assert_int_eq(muxc_tx_commit(scene.channel, 0, NULL), 0);
	until_text(&scene, "consume 1 q");
	expect_text(&scene,
		    "cancel 1 1|publish 1 answer|settle 1-1|rollback 1|settle 1-1|commit 1|hello|open 1|"
		    "select 1|consume 1 q as 1 muxd.ctag-1|");
	scene_end(&scene);
}
END_TEST

START_TEST(move__channel_goes_on_when_its_transaction_is_over)
{
	struct scene scene;
	int i;

	scene_begin(&scene, _i);
	ck_assert_int_eq(muxc_tx_select(scene.channel, 0, NULL), 0);
	consume_q(&scene);
	for (i = 1; i <= 3; i++)
		fake_deliver(&scene.fake, 1, 1, (uint64_t)i, "m");
	drive_until(scene.c, _i, &scene.trace.messages, 3);
	ck_assert_int_eq(muxc_ack(scene.channel, 2, MUXC_UP_TO), 0);
	ck_assert_int_eq(muxc_ack(scene.channel, 3, 0), 0);
	ck_assert_int_eq(muxc_tx_commit(scene.channel, 0, NULL), 0);
	forget(&scene);
	go_away(&scene, 60000);
	until_text(&scene, "consume 1 q");
	expect_text(&scene, "cancel 1 1|hello|open 1|select 1|consume 1 q as 1 muxd.ctag-1|");
	scene_end(&scene);
}
END_TEST

START_TEST(move__transaction_that_stays_open_ends_with_its_channel)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *other;
	struct scene scene;
	int kind = 0;

	scene_begin(&scene, _i);
	other = scene_channel(&scene);
	ck_assert_int_eq(muxc_tx_select(scene.channel, 0, NULL), 0);
	publish(&scene, "a");
	until_text(&scene, "publish 1 a|");
	go_away(&scene, 100);
	until_told(&scene, "channel closed 320|");
	ck_assert_int_eq(scene.trace.error.retryable, 1);
	ck_assert_int_eq(muxc_wait_outcome(scene.channel, 1, 1000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_FAILED);
	ck_assert_int_eq(muxc_tx_commit(scene.channel, 1000, &error), -ECONNRESET);
	until_link(&scene, MUXC_LINK_BACK, 1);
	ck_assert_int_eq(muxc_channel_get_error(other, NULL), 0);
	muxc_channel_free(other);
	scene_end(&scene);
}
END_TEST

/* ------------------------------------------------------------ and nobody comes */

START_TEST(move__successor_that_stays_away_is_told_of)
{
	char gone[128];
	struct scene scene;

	scene_begin(&scene, _i);
	ready(&scene);
	(void)snprintf(gone, sizeof(gone), "%s.gone", scene.fake.path);
	ck_assert_int_eq(rename(scene.fake.path, gone), 0);
	go_away(&scene, 60000);
	until_link(&scene, MUXC_LINK_LOST, 1);
	expect_told(&scene, "moving|lost|");
	scene_revive(&scene);
	until_told(&scene, "back|");
	expect_told(&scene, "moving|lost|back|");
	scene_end(&scene);
}
END_TEST

START_TEST(move__muxd_that_goes_before_it_is_left_is_lost)
{
	struct scene scene;

	scene_begin(&scene, _i);
	publish(&scene, "a");
	until_text(&scene, "publish 1 a|");
	go_away(&scene, 60000);
	until_link(&scene, MUXC_LINK_MOVING, 1);
	fake_hang_up(&scene.fake);
	until_link(&scene, MUXC_LINK_BACK, 1);
	expect_told(&scene, "moving|lost|back|");
	ck_assert_uint_eq(scene.trace.resent, 1);
	scene_end(&scene);
}
END_TEST

/* Everything may be done in on_link. */
static void publish_in_handler(struct muxc *c, const struct muxc_link *link, void *userdata)
{
	struct scene *scene = userdata;
	struct muxc_channel *channel;

	if (link->state == MUXC_LINK_LOST) {
		ck_assert_int_eq(muxc_publish(scene->channel, "", "q", NULL, 0, NULL), 0);
		return;
	}
	ck_assert_int_eq(muxc_ping(c, 5000000, NULL), 0);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_qos(channel, 3, 5000000, NULL), 0);
	muxc_channel_free(channel);
	flag_add(&scene->trace.link[MUXC_LINK_BACK], 1);
}

START_TEST(move__handlers_of_the_link_may_do_everything)
{
	struct muxc_options options = {.size = sizeof(options), .on_link = publish_in_handler};
	struct scene scene;

	scene_init(&scene, _i);
	fake_start(&scene.fake);
	options.userdata = &scene;
	scene.c = fake_connect_with(&scene.fake, _i, &options);
	scene.channel = scene_channel(&scene);
	ready(&scene);
	forget(&scene);
	fake_hang_up(&scene.fake);
	until_link(&scene, MUXC_LINK_BACK, 1);
	ck_assert_ptr_nonnull(strstr(scene.trace.text, "publish 1 |"));
	ck_assert_ptr_nonnull(strstr(scene.trace.text, "qos 3|"));
	scene_end(&scene);
}
END_TEST

static Suite *suite_move(void)
{
	Suite *suite = suite_create("client move");
	TCase *tcase = tcase_create("move");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, move__what_was_begun_is_finished_and_the_rest_goes_to_the_next, 0, 2);
	tcase_add_loop_test(tcase, move__what_does_not_end_is_not_waited_for, 0, 2);
	tcase_add_test(tcase, move__what_was_delivered_is_handled_and_settled_before_muxd_is_left);
	tcase_add_loop_test(tcase, move__message_that_is_settled_later_is_waited_for, 0, 2);
	tcase_add_loop_test(tcase, move__message_that_is_not_settled_is_not_waited_for, 0, 2);
	tcase_add_test(tcase, move__consumer_is_cancelled_at_once_while_muxd_is_left);
	tcase_add_loop_test(tcase, move__open_transaction_is_finished_before_muxd_is_left, 0, 2);
	tcase_add_loop_test(tcase, move__transaction_that_settles_is_waited_for, 0, 2);
	tcase_add_loop_test(tcase, move__channel_goes_on_when_its_transaction_is_over, 0, 2);
	tcase_add_loop_test(tcase, move__transaction_that_stays_open_ends_with_its_channel, 0, 2);
	tcase_add_loop_test(tcase, move__successor_that_stays_away_is_told_of, 0, 2);
	tcase_add_loop_test(tcase, move__muxd_that_goes_before_it_is_left_is_lost, 0, 2);
	tcase_add_loop_test(tcase, move__handlers_of_the_link_may_do_everything, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(suite_move());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
