/* Where losing muxd, and coming back, meet what else goes on. */
#include "tests/unit/client-scene.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name
#define LARGE 20000u /* more than the standing credit, 16 KiB */

/* -------------------------------------------------------------------- credit */

static uint64_t publish_large(struct muxc_channel *channel, uint64_t outcome_timeout_usec)
{
	static const char body[LARGE];
	struct muxc_publication publication = {.size = sizeof(publication),
					       .routing_key = "q",
					       .body = body,
					       .body_len = sizeof(body),
					       .outcome_timeout_usec = outcome_timeout_usec};
	struct muxc_error error = MUXC_ERROR_INIT;
	uint64_t number = 0;
	int r = muxc_publish_full(channel, &publication, 0, &number, &error);

	ck_assert_msg(r == 0, "publish: %d %s", r, error.text);
	return number;
}

static int publish_in_time(struct muxc_channel *channel, uint64_t timeout_usec)
{
	struct muxc_publication publication = {.size = sizeof(publication), .routing_key = "q"};

	return muxc_publish_full(channel, &publication, timeout_usec, NULL, NULL);
}

/* Grants nothing more than what stands. */
static bool stingy(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	note_frame(fake->context, frame, payload);
	return frame->op_case == OP(WANT);
}

static void until_wanted(struct scene *scene)
{
	uint64_t deadline = clock_usec() + FAKE_WAIT_USEC;

	while (fake_count(&scene->fake, OP(WANT)) == 0) {
		ck_assert_uint_lt(clock_usec(), deadline);
		step(scene);
	}
}

/* A session without credit for the large one that was published before it. */
static void begin_starved(struct scene *scene, int mode, uint64_t outcome_timeout_usec)
{
	scene_init(scene, mode);
	scene->fake.on_frame = stingy;
	scene->fake.welcome_messages = scene->fake.welcome_bytes = 0;
	fake_start(&scene->fake);
	scene_connect(scene, &(struct muxc_options){0});
	ready(scene);
	scene_lose(scene);
	publish_large(scene->channel, outcome_timeout_usec);
	scene_revive(scene);
	until_wanted(scene);
}

START_TEST(edges__channel_that_ends_while_it_waits_for_credit_holds_up_no_other)
{
	struct muxc_channel *other;
	struct scene scene;

	begin_starved(&scene, _i, 0);
	other = scene_channel(&scene);
	fake_error(&scene.fake, 0, 1, MUXD__V1__SCOPE__CHANNEL, 404);
	until_told(&scene, "channel closed 404|");
	ck_assert_int_eq(publish_in_time(other, 2000000), 0);
	muxc_channel_free(other);
	scene_end(&scene);
}
END_TEST

START_TEST(edges__publish_that_ends_while_it_waits_for_credit_holds_up_no_other)
{
	struct muxc_channel *other;
	struct scene scene;

	begin_starved(&scene, _i, 400000);
	other = scene_channel(&scene);
	ck_assert_int_eq(publish_in_time(other, 4000000), 0);
	until_told(&scene, "1-1 failed|");
	muxc_channel_free(other);
	scene_end(&scene);
}
END_TEST

/* Its close is still to be sent, and nobody else holds it. */
START_TEST(edges__freed_channel_that_waits_for_credit_may_be_ended_by_muxd)
{
	struct scene scene;

	scene_init(&scene, _i);
	scene.fake.on_frame = stingy;
	scene.fake.welcome_messages = scene.fake.welcome_bytes = 0;
	fake_start(&scene.fake);
	scene_connect(&scene, &(struct muxc_options){0});
	ready(&scene);
	scene_lose(&scene);
	publish(&scene, "a");
	publish_large(scene.channel, 0);
	scene.channel = muxc_channel_free(scene.channel);
	scene_revive(&scene);
	until_wanted(&scene);
	until_text(&scene, "publish 1 a|");
	fake_outcome(&scene.fake, 1, MUXD__V1__OUTCOME_KIND__UNKNOWN, 1, 1);
	fake_error(&scene.fake, 0, 1, MUXD__V1__SCOPE__CHANNEL, 404);
	ck_assert_int_eq(muxc_ping(scene.c, 0, NULL), 0);
	scene.channel = scene_channel(&scene);
	ck_assert_int_eq(publish_in_time(scene.channel, 2000000), 0);
	scene_end(&scene);
}
END_TEST

/* ------------------------------------------------------------------- waiters */

struct waiter {
	struct muxc_channel *channel;
	pthread_t thread;
	int kind;
	int r;
};

static void *wait_for_first(void *arg)
{
	struct waiter *waiter = arg;

	waiter->r = muxc_wait_outcome(waiter->channel, 1, 3 * FAKE_WAIT_USEC, &waiter->kind, NULL);
	return NULL;
}

static void waiter_start(struct waiter *waiter, struct muxc_channel *channel)
{
	*waiter = (struct waiter){.channel = channel};
	ck_assert_int_eq(pthread_create(&waiter->thread, NULL, wait_for_first, waiter), 0);
	poll(NULL, 0, 20); /* so that it mostly does wait, which nothing tells */
}

static void send_returned(struct scene *scene, uint64_t number)
{
	Muxd__V1__Returned returned = MUXD__V1__RETURNED__INIT;
	Muxd__V1__ServerFrame frame;

	fake_frame(&scene->fake, &frame, 0, 1);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_RETURNED;
	frame.returned = &returned;
	returned.has_number = returned.has_code = 1;
	returned.number = number;
	returned.code = 312;
	fake_send(&scene->fake, &frame, SPAN_NULL);
}

/* Its outcome is known with the loss. */
START_TEST(edges__who_waits_for_a_publish_that_came_back_is_woken_when_muxd_is_lost)
{
	struct waiter waiter;
	struct scene scene;
	uint64_t before;

	scene_begin(&scene, 0);
	publish(&scene, "a");
	until_text(&scene, "publish 1 a|");
	send_returned(&scene, 1);
	ck_assert_int_eq(muxc_ping(scene.c, 0, NULL), 0);
	waiter_start(&waiter, scene.channel);
	before = clock_usec();
	scene_lose(&scene);
	pthread_join(waiter.thread, NULL);
	ck_assert_uint_lt(clock_usec() - before, FAKE_WAIT_USEC);
	ck_assert_int_eq(waiter.r, 0);
	ck_assert_int_eq(waiter.kind, MUXC_RETURNED);
	scene_revive(&scene);
	scene_end(&scene);
}
END_TEST

/* --------------------------------------------------------------- transactions */

START_TEST(edges__publish_of_a_lost_transaction_is_counted_once)
{
	struct muxc_totals totals = {.size = sizeof(totals)};
	struct scene scene;

	scene_init(&scene, _i);
	scene.fake.on_frame = stingy;
	scene.fake.welcome_messages = scene.fake.welcome_bytes = 0;
	fake_start(&scene.fake);
	scene_connect(&scene, &(struct muxc_options){0});
	ck_assert_int_eq(muxc_tx_select(scene.channel, 0, NULL), 0);
	scene_lose(&scene);
	publish(&scene, "a");
	publish_large(scene.channel, 0);
	scene_revive(&scene);
	until_wanted(&scene);
	until_text(&scene, "publish 1 a|");
	fake_hang_up(&scene.fake);
	until_told(&scene, "channel closed 320|");
	ck_assert_int_eq(muxc_channel_get_totals(scene.channel, &totals), 0);
	ck_assert_uint_eq(totals.published, 2);
	ck_assert_uint_eq(totals.failed, 2);
	ck_assert_int_eq(scene.trace.outcomes, 2);
	scene_end(&scene);
}
END_TEST

static bool lose_commit(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	note_frame(fake->context, frame, payload);
	if (frame->op_case != OP(TX_COMMIT))
		return false;
	fake_hang_up(fake);
	return true;
}

/* That nobody knows of an earlier commit says nothing of a later transaction. */
START_TEST(edges__transaction_that_was_not_committed_is_failed_whatever_came_before)
{
	struct scene scene;
	int kind = 0;

	scene_init(&scene, _i);
	scene.fake.on_frame = lose_commit;
	fake_start(&scene.fake);
	scene_connect(&scene, &(struct muxc_options){0});
	ck_assert_int_eq(muxc_tx_select(scene.channel, 0, NULL), 0);
	ck_assert_int_eq(muxc_tx_commit(scene.channel, 0, NULL), -ECONNRESET);
	until_link(&scene, MUXC_LINK_BACK, 1);
	ck_assert_int_eq(muxc_ping(scene.c, 0, NULL), 0);
	publish(&scene, "a");
	until_text(&scene, "publish 1 a|");
	fake_hang_up(&scene.fake);
	until_told(&scene, "channel closed 320|");
	ck_assert_int_eq(muxc_wait_outcome(scene.channel, 1, 1000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_FAILED);
	scene_end(&scene);
}
END_TEST

/* ------------------------------------------------------------------ consumers */

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	TELL((struct trace *)userdata, "message %d|", (int)muxc_message_get_tag(message));
}

static void consume(struct scene *scene, const char *queue)
{
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = queue, .on_message = on_message, .userdata = &scene->trace};

	ck_assert_int_eq(muxc_consume(scene->channel, &options, NULL, 0, NULL), 0);
}

/* The first consumer gets a message before the second one is refused for now. */
static bool locked_second(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	struct trace *trace = fake->context;

	note_frame(trace, frame, payload);
	if (fake_sessions(fake) == 1 || frame->op_case != OP(CONSUME) || frame->consume->consumer != 2)
		return false;
	fake_deliver(fake, 1, 1, 1, "hi");
	if (trace->refused)
		return false;
	trace->refused = 1;
	fake_error(fake, frame->request, 1, MUXD__V1__SCOPE__CHANNEL, 405);
	fake_error(fake, 0, 1, MUXD__V1__SCOPE__CHANNEL, 405);
	return true;
}

START_TEST(edges__no_two_messages_have_a_tag_though_a_channel_is_brought_back_twice)
{
	struct scene scene;

	scene_init(&scene, _i);
	scene.fake.on_frame = locked_second;
	fake_start(&scene.fake);
	scene_connect(&scene, &(struct muxc_options){0});
	consume(&scene, "a");
	consume(&scene, "b");
	forget(&scene);
	fake_hang_up(&scene.fake);
	/* The one of before may be handled, or not. */
	until_told(&scene, "message 2|");
	forget(&scene);
	ck_assert_int_eq(muxc_ack(scene.channel, 1, 0), 0);
	ck_assert_int_eq(muxc_ack(scene.channel, 2, 0), 0);
	until_text(&scene, "settle");
	expect_text(&scene, "settle 1-1|");
	scene_end(&scene);
}
END_TEST

START_TEST(edges__consumer_is_cancelled_at_once_while_muxd_is_away)
{
	struct scene scene;

	scene_begin(&scene, _i);
	consume(&scene, "a");
	consume(&scene, "b");
	scene_lose(&scene);
	ck_assert_int_eq(muxc_cancel(scene.channel, 1, 100000, NULL), 0);
	ck_assert_int_eq(muxc_cancel(scene.channel, 1, 100000, NULL), -ENOENT);
	forget(&scene);
	scene_revive(&scene);
	until_text(&scene, "consume");
	ck_assert_int_eq(muxc_ping(scene.c, 0, NULL), 0);
	expect_text(&scene, "hello|open 1|consume 1 b as 2 muxd.ctag-1|op 64|");
	scene_end(&scene);
}
END_TEST

/* Two threads want the only place there is for a request, for as long. */
struct caller {
	pthread_t thread;
	struct scene *scene;
	struct muxc_error error;
	uint64_t timeout_usec;
	int result;
};

static void *call_qos(void *arg)
{
	struct caller *caller = arg;

	caller->error = (struct muxc_error)MUXC_ERROR_INIT;
	caller->result = muxc_qos(caller->scene->channel, 1, caller->timeout_usec, &caller->error);
	return NULL;
}

START_TEST(edges__who_waits_for_room_gets_that_of_a_request_that_is_given_up)
{
	struct caller first = {.timeout_usec = 300000}, second = {.timeout_usec = 3000000};
	struct scene scene;

	scene_init(&scene, 0);
	scene.fake.requests_max = 1;
	fake_start(&scene.fake);
	scene_connect(&scene, &(struct muxc_options){0});
	ready(&scene);
	scene_lose(&scene);
	first.scene = second.scene = &scene;
	ck_assert_int_eq(pthread_create(&first.thread, NULL, call_qos, &first), 0);
	poll(NULL, 0, 50); /* so that it most likely is the first */
	ck_assert_int_eq(pthread_create(&second.thread, NULL, call_qos, &second), 0);
	pthread_join(first.thread, NULL);
	pthread_join(second.thread, NULL);
	ck_assert_int_eq(second.result, -ETIMEDOUT);
	ck_assert_str_eq(second.error.text, "no answer came in time");
	scene_revive(&scene);
	scene_end(&scene);
}
END_TEST

/* --------------------------------------------------------------------- moving */

static bool locked_in_second(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	struct trace *trace = fake->context;

	note_frame(trace, frame, payload);
	if (fake_sessions(fake) != 2 || frame->op_case != OP(CONSUME))
		return false;
	fake_error(fake, frame->request, 1, MUXD__V1__SCOPE__CHANNEL, 405);
	return true;
}

static uint64_t publish_on(struct muxc_channel *channel, const char *body)
{
	struct muxc_publication publication = {
	    .size = sizeof(publication), .routing_key = "q", .body = body, .body_len = strlen(body)};
	uint64_t number = 0;

	ck_assert_int_eq(muxc_publish_full(channel, &publication, 0, &number, NULL), 0);
	return number;
}

/* That something is to be tried again does not call off that muxd is left. */
START_TEST(edges__nothing_new_begins_while_muxd_is_left)
{
	struct muxc_channel *other;
	struct scene scene;
	uint64_t left;
	int i;

	scene_init(&scene, _i);
	scene.fake.on_frame = locked_in_second;
	fake_start(&scene.fake);
	scene_connect(&scene, &(struct muxc_options){0});
	other = scene_channel(&scene);
	consume(&scene, "a");
	publish_on(other, "begun");
	until_text(&scene, "publish 2 begun|");
	fake_hang_up(&scene.fake);
	until_text(&scene, "publish 2 begun resent|");
	left = clock_usec() + 900000;
	go_away(&scene, 900);
	until_link(&scene, MUXC_LINK_MOVING, 1);
	forget(&scene);
	for (i = 0; i < 20; i++) { /* over the time of the next attempt */
		poll(NULL, 0, 10);
		step(&scene);
		expect_text_before(&scene, "", left);
		publish_on(other, "late");
	}
	until_text(&scene, "publish 2 late|");
	ck_assert_uint_eq(fake_sessions(&scene.fake), 3);
	muxc_channel_free(other);
	scene_end(&scene);
}
END_TEST

/* ------------------------------------------------------------------ loop mode */

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

START_TEST(edges__lost_socket_is_closed_when_the_loop_can_have_forgotten_it)
{
	int descriptors = open_descriptors(), fd;
	struct scene scene;

	scene_begin(&scene, 1);
	ready(&scene);
	fd = muxc_get_fd(scene.c);
	ck_assert(is_open(fd));
	scene_lose(&scene);
	(void)muxc_process(scene.c);
	ck_assert(is_open(fd));
	ck_assert_int_eq(muxc_get_fd(scene.c), -ENOTCONN);
	ck_assert(is_open(fd));
	(void)muxc_process(scene.c);
	ck_assert(!is_open(fd));
	scene_revive(&scene);
	until_link(&scene, MUXC_LINK_BACK, 1);
	scene_end(&scene);
	ck_assert_int_eq(open_descriptors(), descriptors);
}
END_TEST

/* A call that waits loses muxd and finds the next one, twice, and the loop has not turned. */
START_TEST(edges__new_socket_never_has_the_number_of_the_one_that_the_loop_knows)
{
	int descriptors = open_descriptors(), fd, i;
	struct scene scene;

	scene_begin(&scene, 1);
	ready(&scene);
	fd = muxc_get_fd(scene.c);
	for (i = 0; i < 2; i++) {
		fake_hang_up(&scene.fake);
		ck_assert_int_eq(muxc_ping(scene.c, 0, NULL), 0);
	}
	ck_assert_int_ge(muxc_get_fd(scene.c), 0);
	ck_assert_int_ne(muxc_get_fd(scene.c), fd);
	ck_assert(is_open(fd));
	(void)muxc_process(scene.c);
	ck_assert(!is_open(fd));
	scene_end(&scene);
	ck_assert_int_eq(open_descriptors(), descriptors);
}
END_TEST

static Suite *suite_edges(void)
{
	Suite *suite = suite_create("client edges");
	TCase *tcase = tcase_create("edges");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, edges__channel_that_ends_while_it_waits_for_credit_holds_up_no_other, 0,
			    2);
	tcase_add_loop_test(tcase, edges__publish_that_ends_while_it_waits_for_credit_holds_up_no_other, 0,
			    2);
	tcase_add_loop_test(tcase, edges__no_two_messages_have_a_tag_though_a_channel_is_brought_back_twice,
			    0, 2);
	tcase_add_test(tcase, edges__who_waits_for_a_publish_that_came_back_is_woken_when_muxd_is_lost);
	tcase_add_loop_test(tcase, edges__publish_of_a_lost_transaction_is_counted_once, 0, 2);
	tcase_add_loop_test(tcase, edges__transaction_that_was_not_committed_is_failed_whatever_came_before,
			    0, 2);
	tcase_add_test(tcase, edges__lost_socket_is_closed_when_the_loop_can_have_forgotten_it);
	tcase_add_test(tcase, edges__new_socket_never_has_the_number_of_the_one_that_the_loop_knows);
	tcase_add_loop_test(tcase, edges__nothing_new_begins_while_muxd_is_left, 0, 2);
	tcase_add_loop_test(tcase, edges__freed_channel_that_waits_for_credit_may_be_ended_by_muxd, 0, 2);
	tcase_add_loop_test(tcase, edges__consumer_is_cancelled_at_once_while_muxd_is_away, 0, 2);
	tcase_add_test(tcase, edges__who_waits_for_room_gets_that_of_a_request_that_is_given_up);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(suite_edges());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
