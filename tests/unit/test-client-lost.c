/* Requests and transactions when muxd is lost, and moving when it asks to leave. */
#include "tests/unit/client-scene.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name

/* ------------------------------------------------------------------ requests */

/* The first session dies of any of the requests that the test is about. */
static bool die_of_request(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	note_frame(fake->context, frame, payload);
	if (fake_sessions(fake) > 1 || !frame->request)
		return false;
	fake_hang_up(fake);
	return true;
}

static void scene_dying(struct scene *scene, int mode)
{
	scene_init(scene, mode);
	scene->fake.on_frame = die_of_request;
	fake_start(&scene->fake);
	scene_connect(scene, &(struct muxc_options){0});
}

START_TEST(lost__requests_without_harm_are_made_again)
{
	struct muxc_queue queue = {.size = sizeof(queue), .name = "a"};
	struct muxc_queue_info info = {.size = sizeof(info)};
	struct scene scene;

	scene_dying(&scene, _i);
	publish(&scene, "m");
	ck_assert_int_eq(muxc_queue_declare(scene.channel, &queue, &info, 5000000, NULL), 0);
	ck_assert_str_eq(info.name, "a");
	until_text(&scene, "publish 1 m resent|declare 1 a|");
	ck_assert_int_eq(muxc_ping(scene.c, 5000000, NULL), 0);
	scene_end(&scene);
}
END_TEST

static int purge(struct scene *scene, struct muxc_error *error)
{
	return muxc_queue_purge(scene->channel, "a", NULL, 5000000, error);
}

static int delete_queue(struct scene *scene, struct muxc_error *error)
{
	return muxc_queue_delete(scene->channel, "a", 0, NULL, 5000000, error);
}

static int delete_exchange(struct scene *scene, struct muxc_error *error)
{
	return muxc_exchange_delete(scene->channel, "a", 0, 5000000, error);
}

static int get(struct scene *scene, struct muxc_error *error)
{
	struct muxc_message *message;

	return muxc_get(scene->channel, "a", 0, &message, 5000000, error);
}

static int recover(struct scene *scene, struct muxc_error *error)
{
	return muxc_recover(scene->channel, 5000000, error);
}

static int qos(struct scene *scene, struct muxc_error *error)
{
	return muxc_qos(scene->channel, 5, 5000000, error);
}

static int ping(struct scene *scene, struct muxc_error *error)
{
	return muxc_ping(scene->c, 5000000, error);
}

static const struct {
	int (*run)(struct scene *scene, struct muxc_error *error);
	int result;
} calls[] = {{purge, -ECONNRESET},
	     {delete_queue, -ECONNRESET},
	     {delete_exchange, -ECONNRESET},
	     {get, -ECONNRESET},
	     {recover, 0},
	     {qos, 0},
	     {ping, 0}};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

START_TEST(lost__requests_that_may_have_been_done_are_not_made_again)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	size_t call = (size_t)_i / 2;
	struct scene scene;

	scene_dying(&scene, _i % 2);
	ck_assert_int_eq(calls[call].run(&scene, &error), calls[call].result);
	ck_assert_int_eq(error.retryable, calls[call].result < 0);
	ck_assert_uint_eq(error.code, calls[call].result < 0 ? 320 : 0);
	until_link(&scene, MUXC_LINK_BACK, 1);
	/* The channel is as good as before. */
	ck_assert_int_ge(calls[call].run(&scene, &error), 0);
	scene_end(&scene);
}
END_TEST

START_TEST(lost__requests_that_begin_while_muxd_is_away_wait_for_it_or_their_deadline)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct scene scene;

	scene_begin(&scene, _i);
	ready(&scene);
	scene_lose(&scene);
	publish(&scene, "m");
	ck_assert_int_eq(muxc_qos(scene.channel, 5, 30000, &error), -ETIMEDOUT);
	ck_assert_int_eq(error.retryable, 1);
	forget(&scene);
	scene_revive(&scene);
	ck_assert_int_eq(muxc_qos(scene.channel, 7, 5000000, NULL), 0);
	expect_text(&scene, "hello|open 1|publish 1 m|qos 7|");
	scene_end(&scene);
}
END_TEST

START_TEST(lost__channel_that_was_being_closed_is_closed_when_all_of_it_was_published)
{
	struct scene scene;
	struct muxc_channel *empty;
	int kind = 0;

	scene_begin(&scene, _i);
	empty = scene_channel(&scene);
	publish(&scene, "m");
	until_text(&scene, "publish 1 m|");
	scene_lose(&scene);
	ck_assert_int_eq(muxc_channel_close(scene.channel), 0);
	ck_assert_int_eq(muxc_channel_close(empty), 0);
	forget(&scene);
	scene_revive(&scene);
	until_text(&scene, "close 1|");
	expect_text(&scene, "hello|open 1|publish 1 m resent|close 1|");
	fake_outcome(&scene.fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 1, 1);
	ck_assert_int_eq(muxc_wait_outcome(scene.channel, 1, 5000000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_CONFIRMED);
	muxc_channel_free(empty);
	scene_end(&scene);
}
END_TEST

/* --------------------------------------------------------------- transactions */

START_TEST(lost__open_transaction_ends_its_channel)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct scene scene;
	int kind = 0;

	scene_begin(&scene, _i);
	ck_assert_int_eq(muxc_tx_select(scene.channel, 0, NULL), 0);
	publish(&scene, "a");
	until_text(&scene, "publish 1 a|");
	scene_lose(&scene);
	until_told(&scene, "channel closed 320|");
	ck_assert_int_eq(scene.trace.error.retryable, 1);
	ck_assert_int_eq(muxc_wait_outcome(scene.channel, 1, 1000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_FAILED);
	ck_assert_int_eq(muxc_tx_commit(scene.channel, 1000, &error), -ECONNRESET);
	scene_revive(&scene);
	scene_end(&scene);
}
END_TEST

static bool die_of_commit(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	note_frame(fake->context, frame, payload);
	if (frame->op_case != OP(TX_COMMIT) || fake_sessions(fake) > 1)
		return false;
	fake_hang_up(fake);
	return true;
}

START_TEST(lost__transaction_that_was_being_committed_is_unknown)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct scene scene;
	int kind = 0;

	scene_init(&scene, _i);
	scene.fake.on_frame = die_of_commit;
	fake_start(&scene.fake);
	scene_connect(&scene, &(struct muxc_options){0});
	ck_assert_int_eq(muxc_tx_select(scene.channel, 0, NULL), 0);
	publish(&scene, "a");
	ck_assert_int_eq(muxc_tx_commit(scene.channel, 5000000, &error), -ECONNRESET);
	ck_assert_uint_eq(error.code, 320);
	ck_assert_int_eq(muxc_wait_outcome(scene.channel, 1, 1000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_UNKNOWN);
	until_told(&scene, "channel closed 320|");
	scene_end(&scene);
}
END_TEST

START_TEST(lost__empty_transaction_goes_on)
{
	struct scene scene;

	scene_begin(&scene, _i);
	ck_assert_int_eq(muxc_tx_select(scene.channel, 0, NULL), 0);
	publish(&scene, "a");
	until_text(&scene, "publish 1 a|");
	fake_outcome(&scene.fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 1, 1);
	until_told(&scene, "1-1 confirmed|");
	ck_assert_int_eq(muxc_tx_commit(scene.channel, 0, NULL), 0);
	scene_lose(&scene);
	publish(&scene, "b");
	forget(&scene);
	scene_revive(&scene);
	ck_assert_int_eq(muxc_tx_commit(scene.channel, 0, NULL), 0);
	expect_text(&scene, "hello|open 1|select 1|publish 1 b|commit 1|");
	scene_end(&scene);
}
END_TEST

/* -------------------------------------------------------------------- moving */

static void go_away(struct scene *scene, uint32_t deadline_ms)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__GoAway away = MUXD__V1__GO_AWAY__INIT;

	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_GO_AWAY;
	frame.go_away = &away;
	away.has_deadline_ms = 1;
	away.deadline_ms = deadline_ms;
	fake_send(&scene->fake, &frame, SPAN_NULL);
}

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
};

static void wait_at_gate(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct gate *gate = userdata;

	flag_add(&gate->inside, 1);
	while (!flag_get(&gate->open))
		poll(NULL, 0, 1);
	ck_assert_int_eq(muxc_ack(channel, muxc_message_get_tag(message), 0), 0);
}

START_TEST(move__handler_that_runs_may_settle_before_muxd_is_left)
{
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = "q", .on_message = wait_at_gate};
	struct gate gate = {0};
	struct scene scene;

	scene_begin(&scene, 0);
	gate.scene = &scene;
	options.userdata = &gate;
	ck_assert_int_eq(muxc_consume(scene.channel, &options, NULL, 0, NULL), 0);
	fake_deliver(&scene.fake, 1, 1, 1, "one");
	fake_deliver(&scene.fake, 1, 1, 2, "two");
	drive_until(scene.c, 0, &gate.inside, 1);
	forget(&scene);
	go_away(&scene, 60000);
	until_link(&scene, MUXC_LINK_MOVING, 1);
	ck_assert_int_eq(muxc_get_error(scene.c, NULL), 0);
	flag_add(&gate.open, 1);
	until_text(&scene, "consume 1 q");
	expect_text(&scene, "settle 1-1|hello|open 1|consume 1 q as 1 muxd.ctag-1|");
	ck_assert_int_eq(flag_get(&gate.inside), 1);
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
	ck_assert_ptr_nonnull(strstr(scene.trace.told, "moving|"));
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

static Suite *suite_lost(void)
{
	Suite *suite = suite_create("client lost");
	TCase *tcase = tcase_create("lost");

	tcase_set_timeout(tcase, 30);
	tcase_add_loop_test(tcase, lost__requests_without_harm_are_made_again, 0, 2);
	tcase_add_loop_test(tcase, lost__requests_that_may_have_been_done_are_not_made_again, 0, 2 * CALLS);
	tcase_add_loop_test(tcase, lost__requests_that_begin_while_muxd_is_away_wait_for_it_or_their_deadline,
			    0, 2);
	tcase_add_loop_test(tcase, lost__channel_that_was_being_closed_is_closed_when_all_of_it_was_published,
			    0, 2);
	tcase_add_loop_test(tcase, lost__open_transaction_ends_its_channel, 0, 2);
	tcase_add_loop_test(tcase, lost__transaction_that_was_being_committed_is_unknown, 0, 2);
	tcase_add_loop_test(tcase, lost__empty_transaction_goes_on, 0, 2);
	tcase_add_loop_test(tcase, move__what_was_begun_is_finished_and_the_rest_goes_to_the_next, 0, 2);
	tcase_add_loop_test(tcase, move__what_does_not_end_is_not_waited_for, 0, 2);
	tcase_add_test(tcase, move__handler_that_runs_may_settle_before_muxd_is_left);
	tcase_add_loop_test(tcase, move__muxd_that_goes_before_it_is_left_is_lost, 0, 2);
	tcase_add_loop_test(tcase, move__handlers_of_the_link_may_do_everything, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(suite_lost());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
