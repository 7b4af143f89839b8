/*
 * What a forked child has of its parent's connection: it frees it and nothing
 * is left, also when it was forked in a handler and returns from that; and what
 * it has of the parent's executor does nothing. libfailing.a counts the blocks.
 */
#include "tests/unit/client-fake.h"
#include "tests/unit/failing.h"
#include "tests/unit/forked.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name
#define CHANNELS 4
#define RUNS_MAX 64
#define TRIES 10

enum how {
	HOW_THREADS,
	HOW_LOOP,
	HOW_EXECUTOR,
	HOW_COUNT
};

enum when {
	FREES_CONNECTION_FIRST,
	FREES_CHANNELS_FIRST,
	FREES_LATER, /* behind the handler, where the program goes on there */
	WHEN_COUNT
};

enum {
	CHILD_WELL,
	CHILD_WRONG,
	CHILD_LEAKS
};

/* A program's executor that runs when it is told to. */
struct executor {
	pthread_mutex_t lock;
	void (*runs[RUNS_MAX])(void *arg);
	void *args[RUNS_MAX];
	int count; /* that wait */
	int threads;
};

/* Of the whole program, so that a child finds it whatever its thread was. */
static struct family {
	struct fake fake;
	struct executor executor;
	enum how how;
	enum when when;
	bool reattaches;
	pid_t parent;
	long live_before; /* blocks */
	struct muxc *c;
	struct muxc_channel *channels[CHANNELS];
	uint32_t consumers[CHANNELS];
	int asked;
	int blocked;
	int open;
	int forked;
	int status; /* of the child that did best */
} family;

/* ------------------------------------------------------------------- executor */

static int execute(void (*run)(void *arg), void *arg, void *userdata)
{
	struct executor *executor = userdata;
	int r = -1;

	pthread_mutex_lock(&executor->lock);
	if (executor->count < RUNS_MAX) {
		executor->runs[executor->count] = run;
		executor->args[executor->count] = arg;
		executor->count++;
		r = 0;
	}
	pthread_mutex_unlock(&executor->lock);
	flag_add(&family.asked, r == 0);
	return r;
}

/* The next that waits; false: none does. */
static bool run_one(void)
{
	struct executor *executor = &family.executor;
	void (*run)(void *arg) = NULL;
	void *arg = NULL;

	pthread_mutex_lock(&executor->lock);
	if (executor->count > 0) {
		run = executor->runs[0];
		arg = executor->args[0];
		executor->count--;
		memmove(executor->runs, executor->runs + 1,
			(size_t)executor->count * sizeof(executor->runs[0]));
		memmove(executor->args, executor->args + 1,
			(size_t)executor->count * sizeof(executor->args[0]));
	}
	pthread_mutex_unlock(&executor->lock);
	if (run)
		run(arg);
	return run;
}

/* --------------------------------------------------------------------- children */

static void child_free(enum when when)
{
	int i;

	if (when == FREES_CONNECTION_FIRST)
		family.c = muxc_free(family.c);
	for (i = 0; i < CHANNELS; i++)
		family.channels[i] = muxc_channel_free(family.channels[i]);
	family.c = muxc_free(family.c);
}

/* The rest of a child whose handler has returned. */
static void child_exit(void)
{
	child_free(FREES_CHANNELS_FIRST);
	if (family.how == HOW_EXECUTOR)
		while (run_one())
			;
	_exit(failing_live_here() == family.live_before ? CHILD_WELL : CHILD_LEAKS);
}

/* A dispatch thread is all there is of a child, and with it the process ends. */
static void at_exit(void)
{
	if (getpid() != family.parent)
		child_exit();
}

/*
 * A child has nothing to free if a thread of the parent was in the library at
 * the fork, which is seldom.
 */
static void fork_in_handler(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	int tries, status = CHILD_LEAKS;
	pid_t pid;

	(void)userdata;
	ck_assert_int_eq(muxc_ack(channel, muxc_message_get_tag(message), 0), 0);
	for (tries = 0; tries < TRIES && status == CHILD_LEAKS; tries++) {
		pid = fork_quietly();
		if (pid == 0) {
			if (!family.reattaches &&
			    muxc_wait_handlers(family.channels[0], 1000000, NULL) != -ECHILD)
				_exit(CHILD_WRONG);
			if (family.when != FREES_LATER)
				child_free(family.when);
			return;
		}
		status = wait_for_child(pid);
	}
	family.status = status;
	flag_add(&family.forked, 1);
}

static void block(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	(void)channel;
	(void)message;
	(void)userdata;
	flag_add(&family.blocked, 1);
	while (!flag_get(&family.open))
		poll(NULL, 0, 1);
}

static void *wait_for_outcome(void *arg)
{
	int kind = 0;

	(void)arg;
	failing_arm(FAILING_NOTHING, 1, false);
	flag_add(&family.blocked, 1);
	ck_assert_int_eq(muxc_wait_outcome(family.channels[2], 1, FAKE_WAIT_USEC, &kind, NULL), 0);
	return NULL;
}

/* ----------------------------------------------------------------------- family */

static void open_channel(int i, muxc_message_handler handler)
{
	struct muxc_consumer_options options = {.size = sizeof(options), .queue = "q", .on_message = handler};

	ck_assert_int_eq(muxc_channel_open(family.c, NULL, &family.channels[i]), 0);
	ck_assert_int_eq(muxc_consume(family.channels[i], &options, &family.consumers[i], 0, NULL), 0);
}

static void family_begin(enum how how, enum when when, bool reattaches)
{
	struct muxc_options options = {.flags = reattaches ? MUXC_REATTACH : 0};

	memset(&family, 0, sizeof(family));
	family.how = how;
	family.when = when;
	family.reattaches = reattaches;
	family.parent = getpid();
	failing_arm(FAILING_NOTHING, 1, false); /* takes part */
	family.live_before = failing_live_here();
	pthread_mutex_init(&family.executor.lock, NULL);
	fake_init(&family.fake);
	fake_start(&family.fake);
	if (how == HOW_EXECUTOR) {
		options.execute = execute;
		options.executor = &family.executor;
	}
	family.c = fake_connect_with(&family.fake, how == HOW_LOOP, &options);
	ck_assert_int_eq(muxc_wait_ready(family.c, 5000000, NULL), 0);
}

static void family_end(void)
{
	child_free(FREES_CHANNELS_FIRST);
	fake_stop(&family.fake);
	pthread_mutex_destroy(&family.executor.lock);
	ck_assert_int_eq(failing_live_here(), family.live_before);
}

static void deliver(int i, uint64_t tag)
{
	fake_deliver(&family.fake, muxc_channel_get_number(family.channels[i]), family.consumers[i], tag,
		     "message");
}

static void *run_until_forked(void *arg)
{
	(void)arg;
	failing_arm(FAILING_NOTHING, 1, false);
	while (!flag_get(&family.forked)) {
		(void)run_one();
		if (getpid() != family.parent)
			child_exit();
		poll(NULL, 0, 1);
	}
	return NULL;
}

/* Lets the handler of the first channel run. */
static void until_forked(void)
{
	pthread_t thread;

	switch (family.how) {
	case HOW_THREADS:
		drive_until(NULL, 0, &family.forked, 1);
		break;
	case HOW_LOOP:
		while (!flag_get(&family.forked)) {
			(void)muxc_wait(family.c, 100000);
			if (muxc_process(family.c) == -ECHILD)
				child_exit();
			ck_assert_int_eq(getpid(), family.parent);
		}
		break;
	default:
		ck_assert_int_eq(pthread_create(&thread, NULL, run_until_forked, NULL), 0);
		pthread_join(thread, NULL);
		break;
	}
}

/* ------------------------------------------------------------------------ tests */

START_TEST(child__that_returns_from_its_handler_leaves_nothing)
{
	enum how how = _i % HOW_COUNT;
	enum when when = _i / HOW_COUNT % WHEN_COUNT;
	bool reattaches = _i / HOW_COUNT / WHEN_COUNT;

	family_begin(how, when, reattaches);
	open_channel(0, fork_in_handler);
	open_channel(1, fork_in_handler);
	deliver(0, 1);
	until_forked();
	ck_assert_int_eq(family.status, CHILD_WELL);
	/* The parent's session is as it was. */
	ck_assert_int_eq(muxc_ping(family.c, 5000000, NULL), 0);
	fake_expect(&family.fake, OP(SETTLE), 1);
	ck_assert_uint_eq(fake_count(&family.fake, OP(CHANNEL_CLOSE)), 0);
	family_end();
}
END_TEST

/* One in a handler, one in a call. */
START_TEST(child__leaves_nothing_of_what_other_threads_were_at)
{
	pthread_t thread;

	family_begin(HOW_THREADS, _i % WHEN_COUNT, _i / WHEN_COUNT);
	open_channel(0, fork_in_handler);
	open_channel(1, block);
	ck_assert_int_eq(muxc_channel_open(family.c, NULL, &family.channels[2]), 0);
	ck_assert_int_eq(muxc_publish(family.channels[2], "", "q", NULL, 0, NULL), 0);
	deliver(1, 1);
	deliver(1, 2);
	ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_outcome, NULL), 0);
	drive_until(NULL, 0, &family.blocked, 2);
	ck_assert_int_eq(muxc_ping(family.c, 5000000, NULL), 0);
	deliver(0, 1);
	drive_until(NULL, 0, &family.forked, 1);
	ck_assert_int_eq(family.status, CHILD_WELL);
	fake_outcome(&family.fake, muxc_channel_get_number(family.channels[2]),
		     MUXD__V1__OUTCOME_KIND__CONFIRMED, 1, 1);
	pthread_join(thread, NULL);
	flag_add(&family.open, 1);
	family_end();
}
END_TEST

static void never(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	(void)channel;
	(void)message;
	(void)userdata;
	if (getpid() != family.parent)
		_exit(CHILD_WRONG);
	flag_add(&family.open, 1);
}

/* What the executor still has is run by the child: before, between and after its freeing. */
static void child_runs(enum when when)
{
	if (when == FREES_LATER) {
		if (!family.reattaches && muxc_publish(family.channels[0], "", "q", NULL, 0, NULL) != -ECHILD)
			_exit(CHILD_WRONG);
		if (!run_one())
			_exit(CHILD_WRONG);
	}
	if (when == FREES_CONNECTION_FIRST) {
		family.c = muxc_free(family.c);
		if (!run_one())
			_exit(CHILD_WRONG);
	}
	child_exit();
}

START_TEST(child__that_runs_what_the_executor_had_touches_nothing)
{
	int i, tries, status = CHILD_LEAKS;
	pid_t pid;

	family_begin(HOW_EXECUTOR, _i % WHEN_COUNT, _i / WHEN_COUNT);
	for (i = 0; i < CHANNELS; i++)
		open_channel(i, never);
	for (i = 0; i < CHANNELS; i++)
		deliver(i, 1);
	/* The connection's first one is of its upstream, which has no handler here. */
	drive_until(NULL, 0, &family.asked, CHANNELS);
	for (tries = 0; tries < TRIES && status == CHILD_LEAKS; tries++) {
		pid = fork_quietly();
		if (pid == 0)
			child_runs(family.when);
		status = wait_for_child(pid);
	}
	ck_assert_int_eq(status, CHILD_WELL);
	/* Nothing has reached muxd, and the parent's executor goes on. */
	ck_assert_int_eq(muxc_ping(family.c, 5000000, NULL), 0);
	ck_assert_uint_eq(fake_count(&family.fake, OP(CHANNEL_CLOSE)), 0);
	ck_assert_uint_eq(fake_count(&family.fake, OP(PUBLISH)), 0);
	ck_assert_int_eq(flag_get(&family.open), 0);
	while (run_one())
		;
	ck_assert_int_eq(flag_get(&family.open), CHANNELS);
	family_end();
}
END_TEST

static bool is_told_of_no_thread(void)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	int r = muxc_ping(family.c, FAKE_WAIT_USEC, &error);

	return (r == -EAGAIN || r == -EMFILE) && strstr(error.text, "no thread for the connection") != NULL;
}

START_TEST(child__that_gets_no_thread_is_told_so_and_its_parent_goes_on)
{
	pid_t pid;

	family_begin(HOW_THREADS, FREES_CHANNELS_FIRST, true);
	ck_assert_int_eq(muxc_channel_open(family.c, NULL, &family.channels[0]), 0);
	ck_assert_int_eq(muxc_ping(family.c, FAKE_WAIT_USEC, NULL), 0);
	pid = fork_quietly();
	if (pid == 0) {
		bool told;

		failing_arm(FAILING_SYSTEM, 1, true);
		told = is_told_of_no_thread();
		(void)failing_disarm();
		/* Its connection has ended for that, and stays so. */
		told &= is_told_of_no_thread();
		told &= muxc_publish(family.channels[0], "", "q", NULL, 0, NULL) < 0;
		if (!told)
			_exit(CHILD_WRONG);
		child_exit();
	}
	ck_assert_int_eq(wait_for_child(pid), CHILD_WELL);
	ck_assert_int_eq(muxc_ping(family.c, FAKE_WAIT_USEC, NULL), 0);
	family_end();
}
END_TEST

static Suite *suite_child(void)
{
	Suite *suite = suite_create("client child");
	TCase *tcase = tcase_create("child");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, child__that_returns_from_its_handler_leaves_nothing, 0,
			    2 * HOW_COUNT * WHEN_COUNT);
	tcase_add_loop_test(tcase, child__leaves_nothing_of_what_other_threads_were_at, 0, 2 * WHEN_COUNT);
	tcase_add_loop_test(tcase, child__that_runs_what_the_executor_had_touches_nothing, 0, 2 * WHEN_COUNT);
	tcase_add_test(tcase, child__that_gets_no_thread_is_told_so_and_its_parent_goes_on);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner;
	int failed;

	family.parent = getpid();
	if (atexit(at_exit) != 0)
		return 1;
	runner = srunner_create(suite_child());
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
