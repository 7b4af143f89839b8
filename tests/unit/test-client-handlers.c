/* muxc_wait_handlers(): when nothing of a channel runs any more. */
#include "tests/unit/client-scene.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <string.h>
#include <time.h>

#define SHORT_USEC 20000u
#define LONG_USEC 300000000u /* longer than check waits for a test */

/* A consumer whose handlers wait to be let go, one by one. */
struct hand {
	struct scene *scene;
	struct muxc_channel *channel;
	uint32_t consumer;
	sem_t gate;
	bool free_running; /* they do not wait */
	int entered;
	int left;
	int result; /* of muxc_wait_handlers(), called in a handler for `other` */
	struct muxc_channel *other;
	const int *woken;
};

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct hand *hand = userdata;
	struct timespec until;

	(void)channel;
	(void)message;
	flag_add(&hand->entered, 1);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += FAKE_WAIT_USEC / 1000000;
	while (!hand->free_running && sem_timedwait(&hand->gate, &until) < 0)
		ck_assert_msg(errno == EINTR, "nobody has opened the gate");
	if (hand->other)
		hand->result = muxc_wait_handlers(hand->other, LONG_USEC, NULL);
	flag_add(&hand->left, 1);
}

static void hand_begin(struct hand *hand, struct scene *scene, struct muxc_channel *channel)
{
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = "q", .on_message = on_message, .userdata = hand};

	memset(hand, 0, sizeof(*hand));
	hand->scene = scene;
	hand->channel = channel;
	sem_init(&hand->gate, 0, 0);
	ck_assert_int_eq(muxc_consume(channel, &options, &hand->consumer, 0, NULL), 0);
}

/* As many as come are there when this returns. */
static void deliver(struct hand *hand, uint64_t first, uint64_t last)
{
	uint64_t tag;

	for (tag = first; tag <= last; tag++)
		fake_deliver(&hand->scene->fake, muxc_channel_get_number(hand->channel), hand->consumer, tag,
			     "x");
	ck_assert_int_eq(muxc_ping(hand->scene->c, 5000000, NULL), 0);
}

static void expect_late(struct muxc_channel *channel)
{
	struct muxc_error error = MUXC_ERROR_INIT;

	ck_assert_int_eq(muxc_wait_handlers(channel, SHORT_USEC, &error), -ETIMEDOUT);
	ck_assert_int_eq(error.error, -ETIMEDOUT);
	ck_assert_int_eq(error.kind, MUXC_ERROR_LIBRARY);
}

/* ------------------------------------------------------------------- waiting */

START_TEST(handlers__are_not_waited_for_where_there_are_none)
{
	struct scene scene;
	struct hand hand;

	scene_begin(&scene, _i);
	ck_assert_int_eq(muxc_wait_handlers(NULL, 0, NULL), -EINVAL);
	ck_assert_int_eq(muxc_wait_handlers(scene.channel, SHORT_USEC, NULL), 0);
	hand_begin(&hand, &scene, scene.channel);
	ck_assert_int_eq(muxc_wait_handlers(scene.channel, SHORT_USEC, NULL), 0);
	ck_assert_int_eq(muxc_channel_close(scene.channel), 0);
	ck_assert_int_eq(muxc_wait_handlers(scene.channel, SHORT_USEC, NULL), 0);
	scene_end(&scene);
}
END_TEST

static void *let_go(void *arg)
{
	struct hand *hand = arg;

	sem_post(&hand->gate);
	return NULL;
}

START_TEST(handlers__that_run_when_a_consumer_is_cancelled_are_waited_for)
{
	struct scene scene;
	struct hand hand;
	pthread_t thread;

	scene_begin(&scene, 0);
	hand_begin(&hand, &scene, scene.channel);
	deliver(&hand, 1, 3);
	drive_until(scene.c, 0, &hand.entered, 1);
	ck_assert_int_eq(muxc_cancel(scene.channel, hand.consumer, 5000000, NULL), 0);
	expect_late(scene.channel);
	ck_assert_int_eq(pthread_create(&thread, NULL, let_go, &hand), 0);
	ck_assert_int_eq(muxc_wait_handlers(scene.channel, LONG_USEC, NULL), 0);
	ck_assert_int_eq(flag_get(&hand.left), 1);
	/* So it may be freed. */
	pthread_join(thread, NULL);
	ck_assert_int_eq(sem_destroy(&hand.gate), 0);
	memset(&hand, 0xff, sizeof(hand));
	deliver(&(struct hand){.scene = &scene, .channel = scene.channel, .consumer = 1}, 4, 4);
	scene_end(&scene);
}
END_TEST

START_TEST(handlers__are_waited_for_that_have_not_begun)
{
	struct scene scene;
	struct hand hand;

	scene_begin(&scene, 0);
	hand_begin(&hand, &scene, scene.channel);
	deliver(&hand, 1, 3);
	drive_until(scene.c, 0, &hand.entered, 1);
	expect_late(scene.channel);
	sem_post(&hand.gate);
	drive_until(scene.c, 0, &hand.entered, 2);
	/* The one that had run has returned, but two more had come. */
	expect_late(scene.channel);
	sem_post(&hand.gate);
	sem_post(&hand.gate);
	ck_assert_int_eq(muxc_wait_handlers(scene.channel, LONG_USEC, NULL), 0);
	ck_assert_int_eq(flag_get(&hand.left), 3);
	scene_end(&scene);
}
END_TEST

START_TEST(handlers__have_told_of_every_publish)
{
	enum {
		PUBLISHES = 200
	};
	struct scene scene;
	int i;

	scene_init(&scene, _i);
	scene.fake.auto_confirm = true;
	fake_start(&scene.fake);
	scene_connect(&scene, &(struct muxc_options){0});
	for (i = 0; i < PUBLISHES; i++)
		publish(&scene, "x");
	ck_assert_int_eq(muxc_wait_all(scene.channel, 5000000, NULL, NULL), 0);
	ck_assert_int_eq(muxc_wait_handlers(scene.channel, LONG_USEC, NULL), 0);
	ck_assert_int_eq(flag_get(&scene.trace.outcomes), PUBLISHES);
	scene_end(&scene);
}
END_TEST

/* ------------------------------------------------------------------ in handlers */

START_TEST(handlers__waiting_for_themselves_is_refused)
{
	struct scene scene;
	struct hand hand;

	scene_begin(&scene, _i);
	hand_begin(&hand, &scene, scene.channel);
	hand.free_running = true;
	hand.other = scene.channel;
	deliver(&hand, 1, 1);
	drive_until(scene.c, _i, &hand.left, 1);
	ck_assert_int_eq(hand.result, -EDEADLK);
	scene_end(&scene);
}
END_TEST

/* One more dispatch thread runs the other's; a single one, or loop mode, could not. */
START_TEST(handlers__of_another_channel_are_waited_for_if_somebody_calls_them)
{
	struct muxc_options options = {.dispatch_threads = _i == 2 ? 1 : 0};
	struct scene scene;
	struct hand hand, other;
	int mode = _i == 1;

	scene_init(&scene, mode);
	fake_start(&scene.fake);
	scene_connect(&scene, &options);
	hand_begin(&hand, &scene, scene.channel);
	hand_begin(&other, &scene, scene_channel(&scene));
	other.free_running = true;
	hand.free_running = _i == 1;
	hand.other = other.channel;
	deliver(&hand, 1, 1);
	if (_i != 1)
		drive_until(scene.c, mode, &hand.entered, 1);
	deliver(&other, 1, 1);
	sem_post(&hand.gate);
	drive_until(scene.c, mode, &hand.left, 1);
	ck_assert_int_eq(hand.result, _i == 0 ? 0 : -EDEADLK);
	drive_until(scene.c, mode, &other.left, 1);
	muxc_channel_free(other.channel);
	scene_end(&scene);
}
END_TEST

START_TEST(handlers__are_called_by_who_waits_in_loop_mode)
{
	struct scene scene;
	struct hand hand, other;

	scene_begin(&scene, 1);
	hand_begin(&hand, &scene, scene.channel);
	hand_begin(&other, &scene, scene_channel(&scene));
	hand.free_running = other.free_running = true;
	deliver(&other, 1, 100);
	deliver(&hand, 1, 100);
	ck_assert_int_eq(hand.left, 0);
	ck_assert_int_eq(muxc_wait_handlers(scene.channel, LONG_USEC, NULL), 0);
	ck_assert_int_eq(hand.left, 100);
	ck_assert_int_eq(muxc_wait_handlers(other.channel, LONG_USEC, NULL), 0);
	ck_assert_int_eq(other.left, 100);
	muxc_channel_free(other.channel);
	scene_end(&scene);
}
END_TEST

/* ---------------------------------------------------------------------- freeing */

struct waiter {
	struct muxc_channel *channel;
	int result;
	int done;
};

static void *wait_long(void *arg)
{
	struct waiter *waiter = arg;

	waiter->result = muxc_wait_handlers(waiter->channel, LONG_USEC, NULL);
	flag_add(&waiter->done, 1);
	return NULL;
}

/* In a handler of another channel. */
static void free_it(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct hand *hand = userdata;

	(void)channel;
	(void)message;
	hand->other = muxc_channel_free(hand->other);
	flag_add(&hand->left, 1);
}

START_TEST(handlers__of_a_channel_that_is_freed_are_not_waited_for)
{
	struct muxc_consumer_options options = {.size = sizeof(options), .queue = "q", .on_message = free_it};
	struct waiter waiter = {.result = 1};
	struct hand hand, freeing = {.scene = NULL};
	struct scene scene;
	pthread_t thread;

	scene_begin(&scene, 0);
	hand_begin(&hand, &scene, scene.channel);
	freeing.scene = &scene;
	freeing.channel = scene_channel(&scene);
	freeing.other = waiter.channel = scene.channel;
	options.userdata = &freeing;
	ck_assert_int_eq(muxc_consume(freeing.channel, &options, &freeing.consumer, 0, NULL), 0);
	deliver(&hand, 1, 1);
	drive_until(scene.c, 0, &hand.entered, 1);
	ck_assert_int_eq(muxc_channel_close(scene.channel), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, wait_long, &waiter), 0);
	/* So that it waits; if it does not yet, it does not matter. */
	expect_late(scene.channel);
	deliver(&freeing, 1, 1);
	drive_until(scene.c, 0, &waiter.done, 1);
	ck_assert_int_eq(waiter.result, -ESHUTDOWN);
	ck_assert_int_eq(flag_get(&hand.left), 0);
	sem_post(&hand.gate);
	pthread_join(thread, NULL);
	drive_until(scene.c, 0, &freeing.left, 1);
	muxc_channel_free(freeing.channel);
	scene.channel = NULL;
	scene_end(&scene);
}
END_TEST

/* Lets the handler go when the waiter has left, or, where the handler's end wakes it, when the connection is
 * freed. */
static void *let_go_of_freed(void *arg)
{
	struct hand *hand = arg;

	while (hand->woken ? !flag_get(hand->woken) : muxc_channel_get_connection(hand->channel) != NULL)
		poll(NULL, 0, 1);
	sem_post(&hand->gate);
	return NULL;
}

/* Of a channel that is open, or has ended. */
START_TEST(handlers__are_not_waited_for_when_the_connection_is_freed)
{
	struct waiter waiter = {.result = 1};
	struct scene scene;
	struct hand hand;
	pthread_t thread, opener;

	scene_begin(&scene, 0);
	hand_begin(&hand, &scene, scene.channel);
	deliver(&hand, 1, 3);
	drive_until(scene.c, 0, &hand.entered, 1);
	if (_i) {
		fake_error(&scene.fake, 0, 1, MUXD__V1__SCOPE__CHANNEL, 404);
		while (muxc_channel_get_error(scene.channel, NULL) != -ENOENT)
			step(&scene);
	}
	hand.woken = _i ? NULL : &waiter.done;
	waiter.channel = scene.channel;
	ck_assert_int_eq(pthread_create(&thread, NULL, wait_long, &waiter), 0);
	expect_late(scene.channel);
	ck_assert_int_eq(pthread_create(&opener, NULL, let_go_of_freed, &hand), 0);
	scene.c = muxc_free(scene.c);
	ck_assert_int_eq(flag_get(&hand.left), 1);
	pthread_join(thread, NULL);
	pthread_join(opener, NULL);
	/* An ended channel's may have been gone when it came. */
	ck_assert(waiter.result == -ESHUTDOWN || (_i && waiter.result == 0));
	/* Now there is none for certain. */
	ck_assert_int_eq(muxc_wait_handlers(scene.channel, SHORT_USEC, NULL), 0);
	scene_end(&scene);
}
END_TEST

static Suite *suite_handlers(void)
{
	Suite *suite = suite_create("client handlers");
	TCase *tcase = tcase_create("handlers");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, handlers__are_not_waited_for_where_there_are_none, 0, 2);
	tcase_add_test(tcase, handlers__that_run_when_a_consumer_is_cancelled_are_waited_for);
	tcase_add_test(tcase, handlers__are_waited_for_that_have_not_begun);
	tcase_add_loop_test(tcase, handlers__have_told_of_every_publish, 0, 2);
	tcase_add_loop_test(tcase, handlers__waiting_for_themselves_is_refused, 0, 2);
	tcase_add_loop_test(tcase, handlers__of_another_channel_are_waited_for_if_somebody_calls_them, 0, 3);
	tcase_add_test(tcase, handlers__are_called_by_who_waits_in_loop_mode);
	tcase_add_test(tcase, handlers__of_a_channel_that_is_freed_are_not_waited_for);
	tcase_add_loop_test(tcase, handlers__are_not_waited_for_when_the_connection_is_freed, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(suite_handlers());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
