/* Requests and transactions when muxd is lost. */
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
