/* A connection with MUXC_REATTACH: a forked child has a session of its own. */
#include "tests/unit/client-scene.h"
#include "tests/unit/forked.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name

/* Two sessions at a time: the scene's fake has the parent's, this one the child's. */
struct pair {
	struct scene scene;
	struct fake child_fake;
	struct trace child_trace;
};

static void pair_begin(struct pair *pair, int mode)
{
	struct muxc_options options = {.flags = MUXC_REATTACH};

	scene_init(&pair->scene, mode);
	fake_start(&pair->scene.fake);
	scene_connect(&pair->scene, &options);
	ready(&pair->scene);
	memset(&pair->child_trace, 0, sizeof(pair->child_trace));
	pthread_mutex_init(&pair->child_trace.lock, NULL);
	fake_init(&pair->child_fake);
	close(pair->child_fake.listen_fd);
	pair->child_fake.listen_fd = dup(pair->scene.fake.listen_fd);
	pair->child_fake.on_frame = trace_all;
	pair->child_fake.context = &pair->child_trace;
	pair->child_fake.auto_confirm = true;
	fake_start(&pair->child_fake);
}

static void pair_end(struct pair *pair)
{
	scene_end(&pair->scene);
	fake_stop(&pair->child_fake);
	pthread_mutex_destroy(&pair->child_trace.lock);
}

static bool child_works(struct scene *scene)
{
	uint64_t number = 0;
	int kind = 0;
	bool ok;

	ok = muxc_publish(scene->channel, "", "child", NULL, 0, &number) == 0;
	ok &= number == 2;
	ok &= muxc_wait_outcome(scene->channel, number, 5000000, &kind, NULL) == 0;
	ok &= kind == MUXC_CONFIRMED;
	ok &= muxc_ping(scene->c, 5000000, NULL) == 0;
	ok &= muxc_get_session(scene->c) != 0;
	return ok;
}

START_TEST(fork__child_has_a_session_of_its_own_with_the_same_channels)
{
	struct pair pair;
	int kind = 0;
	pid_t pid;

	pair_begin(&pair, _i);
	ck_assert_int_eq(muxc_qos(pair.scene.channel, 9, 0, NULL), 0);
	publish(&pair.scene, "parent");
	until_text(&pair.scene, "publish 1 parent|");
	forget(&pair.scene);
	pid = fork_quietly();
	if (pid == 0) {
		bool ok = child_works(&pair.scene);

		muxc_channel_free(pair.scene.channel);
		muxc_free(pair.scene.c);
		_exit(ok ? 0 : 1);
	}
	ck_assert_int_eq(wait_for_child(pid), 0);
	fake_expect_end(&pair.child_fake);
	ck_assert_str_eq(pair.child_trace.text, "hello|open 1|qos 9|publish 1 |op 64|close 1|");
	/* The parent hears of its own. */
	expect_text(&pair.scene, "");
	fake_outcome(&pair.scene.fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 1, 1);
	ck_assert_int_eq(muxc_wait_outcome(pair.scene.channel, 1, 5000000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_CONFIRMED);
	ck_assert_int_eq(muxc_ping(pair.scene.c, 0, NULL), 0);
	pair_end(&pair);
}
END_TEST

START_TEST(fork__child_that_only_frees_makes_no_session)
{
	struct pair pair;
	pid_t pid;

	pair_begin(&pair, _i);
	pid = fork_quietly();
	if (pid == 0) {
		muxc_free(pair.scene.c);
		muxc_channel_free(pair.scene.channel);
		_exit(0);
	}
	ck_assert_int_eq(wait_for_child(pid), 0);
	ck_assert_int_eq(muxc_ping(pair.scene.c, 0, NULL), 0);
	ck_assert_uint_eq(fake_sessions(&pair.child_fake), 0);
	pair_end(&pair);
}
END_TEST

static void fork_in_handler(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct scene *scene = userdata;
	pid_t pid = fork_quietly();

	if (pid == 0) {
		bool ok = child_works(scene);
		size_t len = 0;

		/* Its message is good there, and its tag is nothing any more. */
		ok &= memcmp(muxc_message_get_body(message, &len), "hi", 2) == 0 && len == 2;
		ok &= muxc_ack(channel, muxc_message_get_tag(message), 0) == 0;
		muxc_channel_free(scene->channel);
		muxc_free(scene->c);
		_exit(ok ? 0 : 1);
	}
	ck_assert_int_eq(wait_for_child(pid), 0);
	ck_assert_int_eq(muxc_ack(channel, muxc_message_get_tag(message), 0), 0);
	flag_add(&scene->trace.messages, 1);
}

START_TEST(fork__handler_may_fork)
{
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = "q", .on_message = fork_in_handler};
	struct pair pair;

	pair_begin(&pair, _i);
	options.userdata = &pair.scene;
	publish(&pair.scene, "parent");
	ck_assert_int_eq(muxc_consume(pair.scene.channel, &options, NULL, 0, NULL), 0);
	forget(&pair.scene);
	fake_deliver(&pair.scene.fake, 1, 1, 1, "hi");
	drive_until(pair.scene.c, _i, &pair.scene.trace.messages, 1);
	until_text(&pair.scene, "settle 1-1|");
	fake_expect_end(&pair.child_fake);
	ck_assert_str_eq(pair.child_trace.text, "hello|open 1|publish 1 |op 64|close 1|");
	pair_end(&pair);
}
END_TEST

static Suite *suite_fork(void)
{
	Suite *suite = suite_create("client fork");
	TCase *tcase = tcase_create("fork");

	tcase_set_timeout(tcase, 30);
	tcase_add_loop_test(tcase, fork__child_has_a_session_of_its_own_with_the_same_channels, 0, 2);
	tcase_add_loop_test(tcase, fork__child_that_only_frees_makes_no_session, 0, 2);
	tcase_add_loop_test(tcase, fork__handler_may_fork, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(suite_fork());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
