/* The adapters to foreign loops, all by the same tests; the connection is a fake one. */
#include "tests/unit/loop-fake.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURNS_MAX 1000 /* of a loop that has nothing to do but what is waited for */

struct fixture {
	struct loop *loop;
	struct muxc *c;
	struct adapter *adapter;
	int ticks;
};

static void setup(struct fixture *f)
{
	f->loop = loop_new();
	f->c = fake_new();
	f->c->userdata = f;
	f->ticks = 0;
	ck_assert_int_eq(loop_attach(f->loop, f->c, &f->adapter), 0);
}

static void teardown(struct fixture *f)
{
	loop_detach(f->adapter);
	muxc_free(f->c);
	loop_free(f->loop);
}

/* Turns the loop until *value is `wanted`. */
static void run_until(struct fixture *f, const int *value, int wanted)
{
	int turns = 0;

	while (*value < wanted) {
		ck_assert_int_lt(turns++, TURNS_MAX);
		loop_turn(f->loop);
	}
}

static void tick(void *userdata)
{
	struct fixture *f = userdata;

	f->ticks++;
}

/* For so long, and not longer because something else wakes the loop. */
static void run_for(struct fixture *f, int msec)
{
	loop_timer(f->loop, msec, tick, f);
	run_until(f, &f->ticks, f->ticks + 1);
}

START_TEST(loop__input_calls_handlers)
{
	struct fixture f;

	setup(&f);
	fake_send(f.c);
	run_until(&f, &f.c->handled, 1);
	fake_send(f.c);
	run_until(&f, &f.c->handled, 2);
	teardown(&f);
}
END_TEST

START_TEST(loop__a_silent_connection_is_left_alone)
{
	struct fixture f;
	int before;

	setup(&f);
	run_for(&f, 1);
	before = f.c->processed;
	run_for(&f, 50);
	ck_assert_int_eq(f.c->processed, before);
	teardown(&f);
}
END_TEST

static void publish(void *userdata)
{
	struct fixture *f = userdata;

	f->c->queued = 3;
	loop_used(f->adapter);
	tick(f);
}

START_TEST(loop__what_a_timer_publishes_is_sent)
{
	struct fixture f;
	int received;

	setup(&f);
	loop_timer(f.loop, 5, publish, &f);
	run_until(&f, &f.ticks, 1);
	run_for(&f, 10);
	received = fake_received(f.c);
	ck_assert_int_eq(received, 3);
	ck_assert_int_eq(f.c->queued, 0);
	teardown(&f);
}
END_TEST

static void publish_blocked(void *userdata)
{
	struct fixture *f = userdata;

	f->c->blocked = true; /* until muxc_process() */
	publish(f);
}

START_TEST(loop__what_the_socket_did_not_take_is_sent_when_it_does)
{
	struct fixture f;
	int before;

	setup(&f);
	loop_timer(f.loop, 5, publish_blocked, &f);
	run_until(&f, &f.ticks, 1);
	run_for(&f, 10);
	ck_assert_int_eq(fake_received(f.c), 3);
	/* and then POLLOUT is not asked for any more: the loop sleeps */
	before = f.c->processed;
	run_for(&f, 20);
	ck_assert_int_eq(f.c->processed, before);
	teardown(&f);
}
END_TEST

static void forget_timeout(struct muxc *c, void *userdata)
{
	if (fake_now_usec() >= c->until_usec)
		c->until_usec = UINT64_MAX;
}

START_TEST(loop__processes_at_the_timeout_and_not_before)
{
	struct fixture f;

	setup(&f);
	f.c->on_process = forget_timeout;
	f.c->until_usec = fake_now_usec() + 30000;
	loop_used(f.adapter);
	run_for(&f, 100);
	ck_assert_uint_eq(f.c->until_usec, UINT64_MAX);
	/* no turning round and round before its time */
	ck_assert_int_lt(f.c->processed, 10);
	teardown(&f);
}
END_TEST

static void hurry(struct muxc *c, void *userdata)
{
	c->until_usec = c->processed < 50 ? 0 : UINT64_MAX;
}

START_TEST(loop__handlers_that_wait_are_called_and_others_have_their_turn)
{
	struct fixture f;

	setup(&f);
	f.c->on_process = hurry;
	f.c->until_usec = 0;
	loop_used(f.adapter);
	run_until(&f, &f.c->processed, 50);
	/* for ever, but the loop's timers go on */
	f.c->processed = -1000000;
	f.c->until_usec = 0;
	loop_used(f.adapter);
	loop_timer(f.loop, 5, tick, &f);
	while (f.ticks == 0 && f.c->processed < 0)
		loop_turn(f.loop);
	ck_assert_int_eq(f.ticks, 1);
	teardown(&f);
}
END_TEST

static void wait_elsewhere(void *userdata)
{
	struct fixture *f = userdata;

	/* as after a call that waited and has read messages: the socket stays silent */
	f->c->until_usec = 0;
	f->c->on_process = hurry;
	loop_used(f->adapter);
	tick(f);
}

START_TEST(loop__what_a_call_in_a_timer_has_read_is_handled)
{
	struct fixture f;

	setup(&f);
	loop_timer(f.loop, 5, wait_elsewhere, &f);
	run_until(&f, &f.c->processed, 50);
	teardown(&f);
}
END_TEST

static void lose(struct muxc *c, void *userdata)
{
	if (c->fd >= 0) {
		fake_lose(c);
		c->until_usec = fake_now_usec() + 20000;
	} else if (fake_now_usec() >= c->until_usec) {
		fake_connect(c);
		c->until_usec = UINT64_MAX;
		c->on_process = NULL;
	}
}

/* _i: whether something else has taken the number meanwhile */
START_TEST(loop__follows_to_the_next_socket_after_a_time_without)
{
	struct fixture f;
	int before, taken = -1;

	setup(&f);
	before = f.c->fd;
	f.c->on_process = lose;
	fake_send(f.c);
	while (f.c->fd >= 0)
		loop_turn(f.loop);
	if (_i)
		taken = dup(STDERR_FILENO);
	ck_assert(!_i || taken == before);
	run_for(&f, 60);
	ck_assert_int_ge(f.c->fd, 0);
	ck_assert_int_lt(f.c->processed, 10);
	fake_send(f.c);
	run_until(&f, &f.c->handled, 1);
	teardown(&f);
	if (_i)
		(void)close(taken);
}
END_TEST

static void replace(struct muxc *c, void *userdata)
{
	fake_connect(c);
	c->on_process = NULL;
}

START_TEST(loop__follows_to_a_socket_of_the_same_number)
{
	struct fixture f;
	int before;

	setup(&f);
	before = f.c->fd;
	f.c->on_process = replace;
	fake_send(f.c);
	while (f.c->on_process)
		loop_turn(f.loop);
	ck_assert_int_eq(f.c->fd, before);
	run_for(&f, 1);
	fake_send(f.c);
	run_until(&f, &f.c->handled, 1);
	/* and what is published goes there */
	loop_timer(f.loop, 5, publish, &f);
	run_until(&f, &f.ticks, f.ticks + 1);
	run_for(&f, 10);
	ck_assert_int_eq(fake_received(f.c), 3);
	teardown(&f);
}
END_TEST

static void replace_elsewhere(void *userdata)
{
	struct fixture *f = userdata;

	fake_connect(f->c);
	loop_used(f->adapter);
	tick(f);
}

START_TEST(loop__follows_to_a_socket_that_a_call_in_a_timer_has_made)
{
	struct fixture f;

	setup(&f);
	loop_timer(f.loop, 5, replace_elsewhere, &f);
	run_until(&f, &f.ticks, 1);
	run_for(&f, 1);
	fake_send(f.c);
	run_until(&f, &f.c->handled, 1);
	teardown(&f);
}
END_TEST

static void free_it(struct muxc *c, void *userdata)
{
	struct fixture *f = userdata;

	loop_detach(f->adapter);
	muxc_free(c);
	f->c = NULL;
	f->adapter = NULL;
	tick(f);
}

START_TEST(loop__a_handler_may_free_the_connection)
{
	struct fixture f;

	setup(&f);
	f.c->on_byte = free_it;
	fake_send(f.c);
	run_until(&f, &f.ticks, 1);
	run_for(&f, 5);
	teardown(&f);
}
END_TEST

START_TEST(loop__an_ended_connection_is_watched_no_more)
{
	struct fixture f;
	int before;

	setup(&f);
	f.c->ended = -ECONNRESET;
	(void)close(f.c->peer); /* readable for ever */
	f.c->peer = -1;
	f.c->until_usec = 0;
	run_until(&f, &f.c->processed, 1);
	before = f.c->processed;
	run_for(&f, 20);
	ck_assert_int_eq(f.c->processed, before);
	teardown(&f);
}
END_TEST

START_TEST(loop__two_connections_share_a_loop)
{
	struct fixture f;
	struct muxc *other = fake_new();
	struct adapter *adapter;

	setup(&f);
	ck_assert_int_eq(loop_attach(f.loop, other, &adapter), 0);
	fake_send(other);
	run_until(&f, &other->handled, 1);
	ck_assert_int_eq(f.c->handled, 0);
	loop_detach(adapter);
	muxc_free(other);
	fake_send(f.c);
	run_until(&f, &f.c->handled, 1);
	teardown(&f);
}
END_TEST

/* As when there is no memory for it: a folder is nothing that could be waited for. */
START_TEST(loop__what_cannot_be_watched_is_tried_again)
{
	struct fixture f;
	int socket;

	setup(&f);
	run_for(&f, 1);
	socket = f.c->fd;
	f.c->fd = open("/", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(f.c->fd, 0);
	loop_used(f.adapter);
	f.c->processed = 0;
	run_for(&f, 100);
	/* every now and then, and not round and round */
	ck_assert_int_ge(f.c->processed, 1);
	ck_assert_int_le(f.c->processed, 20);
	(void)close(f.c->fd);
	f.c->fd = socket;
	fake_send(f.c);
	run_until(&f, &f.c->handled, 1);
	fake_send(f.c);
	run_until(&f, &f.c->handled, 2);
	teardown(&f);
}
END_TEST

START_TEST(loop__only_takes_connections_in_loop_mode)
{
	struct loop *loop = loop_new();
	struct muxc *c = fake_new();
	struct adapter *adapter = NULL;

	c->loop = false;
	ck_assert_int_eq(loop_attach(loop, c, &adapter), -EOPNOTSUPP);
	ck_assert_int_eq(loop_attach(loop, NULL, &adapter), -EINVAL);
	ck_assert_int_eq(loop_attach(loop, c, NULL), -EINVAL);
	ck_assert_ptr_null(adapter);
	loop_detach(NULL);
	muxc_free(c);
	loop_free(loop);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create(LOOP);
	TCase *tcase = tcase_create(LOOP);
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 20);
	tcase_add_test(tcase, loop__input_calls_handlers);
	tcase_add_test(tcase, loop__a_silent_connection_is_left_alone);
	tcase_add_test(tcase, loop__what_a_timer_publishes_is_sent);
	tcase_add_test(tcase, loop__what_the_socket_did_not_take_is_sent_when_it_does);
	tcase_add_test(tcase, loop__processes_at_the_timeout_and_not_before);
	tcase_add_test(tcase, loop__handlers_that_wait_are_called_and_others_have_their_turn);
	tcase_add_test(tcase, loop__what_a_call_in_a_timer_has_read_is_handled);
	tcase_add_loop_test(tcase, loop__follows_to_the_next_socket_after_a_time_without, 0, 2);
	tcase_add_test(tcase, loop__follows_to_a_socket_of_the_same_number);
	tcase_add_test(tcase, loop__follows_to_a_socket_that_a_call_in_a_timer_has_made);
	tcase_add_test(tcase, loop__a_handler_may_free_the_connection);
	tcase_add_test(tcase, loop__an_ended_connection_is_watched_no_more);
	tcase_add_test(tcase, loop__two_connections_share_a_loop);
	if (strcmp(LOOP, "glib") != 0) /* it polls whatever it is */
		tcase_add_test(tcase, loop__what_cannot_be_watched_is_tried_again);
	tcase_add_test(tcase, loop__only_takes_connections_in_loop_mode);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
