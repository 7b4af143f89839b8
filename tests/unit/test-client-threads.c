/*
 * Handlers of several channels at the same time: dispatch threads (loop test 0)
 * and the program's executor (1).
 */
#include "tests/unit/client-fake.h"
#include "tests/unit/forked.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name
#define CHANNELS 24
#define EXECUTOR_THREADS 6
#define QUEUE_MAX 256

/* The library's, too: so that there can be no more threads for a while. */
static int threads_refused;

__attribute__((visibility("default"))) int pthread_create(pthread_t *ret, const pthread_attr_t *attr,
							  void *(*thread_main)(void *arg), void *arg)
{
	int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
	void *found = dlsym(RTLD_NEXT, "pthread_create");

	if (flag_get(&threads_refused) > 0) {
		flag_add(&threads_refused, -1);
		return EAGAIN;
	}
	memcpy(&next, &found, sizeof(next));
	return next(ret, attr, thread_main, arg);
}

/* ------------------------------------------------------------------- executor */

/* A few threads and a queue, as a program would have them. */
struct executor {
	pthread_t threads[EXECUTOR_THREADS];
	pthread_mutex_t lock;
	pthread_cond_t cond;
	void (*runs[QUEUE_MAX])(void *arg);
	void *args[QUEUE_MAX];
	unsigned int count;
	unsigned int count_max;
	int asked;
	int refuse; /* so many times */
	bool ending;
};

static int execute(void (*run)(void *arg), void *arg, void *userdata)
{
	struct executor *executor = userdata;
	int r = -1;

	flag_add(&executor->asked, 1);
	pthread_mutex_lock(&executor->lock);
	if (executor->refuse > 0) {
		executor->refuse--;
	} else if (executor->count < QUEUE_MAX) {
		executor->runs[executor->count] = run;
		executor->args[executor->count++] = arg;
		if (executor->count > executor->count_max)
			executor->count_max = executor->count;
		pthread_cond_signal(&executor->cond);
		r = 0;
	}
	pthread_mutex_unlock(&executor->lock);
	return r;
}

static void *executor_main(void *arg)
{
	struct executor *executor = arg;
	void (*run)(void *arg);

	pthread_mutex_lock(&executor->lock);
	for (;;) {
		while (executor->count == 0 && !executor->ending)
			pthread_cond_wait(&executor->cond, &executor->lock);
		if (executor->count == 0)
			break;
		run = executor->runs[0];
		arg = executor->args[0];
		executor->count--;
		memmove(executor->runs, executor->runs + 1, executor->count * sizeof(executor->runs[0]));
		memmove(executor->args, executor->args + 1, executor->count * sizeof(executor->args[0]));
		pthread_mutex_unlock(&executor->lock);
		run(arg);
		pthread_mutex_lock(&executor->lock);
	}
	pthread_mutex_unlock(&executor->lock);
	return NULL;
}

static void executor_start(struct executor *executor)
{
	int i;

	pthread_mutex_init(&executor->lock, NULL);
	pthread_cond_init(&executor->cond, NULL);
	for (i = 0; i < EXECUTOR_THREADS; i++)
		ck_assert_int_eq(pthread_create(&executor->threads[i], NULL, executor_main, executor), 0);
}

static void executor_stop(struct executor *executor)
{
	int i;

	pthread_mutex_lock(&executor->lock);
	executor->ending = true;
	pthread_cond_broadcast(&executor->cond);
	pthread_mutex_unlock(&executor->lock);
	for (i = 0; i < EXECUTOR_THREADS; i++)
		pthread_join(executor->threads[i], NULL);
}

/* ----------------------------------------------------------------------- rig */

/* A channel with a consumer. Handlers of a blocking one wait for `gate`. */
struct lane {
	struct rig *rig;
	struct muxc_channel *channel;
	uint32_t consumer;
	bool blocking;
	sem_t gate;
	int entered;
	int left;
	int inside;
	int destroyed;
	int closed;
	uint64_t last_tag;
	int faults; /* out of order, or two at a time */
};

struct rig {
	struct fake fake;
	struct executor executor;
	struct muxc_options options;
	struct muxc *c;
	struct lane lanes[CHANNELS];
	int lanes_count;
	int inside;
	int inside_max;
	int handled;
	int closed;
	bool executes;
};

static void gate_pass(sem_t *gate)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += FAKE_WAIT_USEC / 1000000;
	while (sem_timedwait(gate, &until) < 0)
		ck_assert_msg(errno == EINTR, "nobody has opened the gate");
}

static void note_max(int *max, int value)
{
	int before = __atomic_load_n(max, __ATOMIC_RELAXED);

	while (value > before &&
	       !__atomic_compare_exchange_n(max, &before, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct lane *lane = userdata;
	struct rig *rig = lane->rig;
	uint64_t tag = muxc_message_get_tag(message);

	note_max(&rig->inside_max, __atomic_add_fetch(&rig->inside, 1, __ATOMIC_ACQ_REL));
	lane->faults += __atomic_add_fetch(&lane->inside, 1, __ATOMIC_ACQ_REL) != 1;
	lane->faults += tag != lane->last_tag + 1;
	lane->last_tag = tag;
	flag_add(&lane->entered, 1);
	if (lane->blocking)
		gate_pass(&lane->gate);
	flag_add(&lane->left, 1);
	flag_add(&lane->inside, -1);
	flag_add(&rig->inside, -1);
	flag_add(&rig->handled, 1);
}

static void on_destroy(void *userdata)
{
	struct lane *lane = userdata;

	ck_assert_int_eq(flag_get(&lane->inside), 0);
	flag_add(&lane->destroyed, 1);
}

static void on_channel_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	struct lane *lane = userdata;

	ck_assert_int_eq(flag_get(&lane->inside), 0);
	ck_assert_int_eq(flag_get(&lane->rig->closed), 0);
	flag_add(&lane->closed, 1);
}

static void on_closed(struct muxc *c, const struct muxc_error *error, void *userdata)
{
	struct rig *rig = userdata;
	int i;

	for (i = 0; i < rig->lanes_count; i++) {
		ck_assert_int_eq(flag_get(&rig->lanes[i].inside), 0);
		ck_assert_int_eq(flag_get(&rig->lanes[i].closed), 1);
	}
	flag_add(&rig->closed, 1);
}

/* Set rig->fake and rig->options between the two. */
static void rig_init(struct rig *rig, int executes)
{
	memset(rig, 0, sizeof(*rig));
	fake_init(&rig->fake);
	rig->executes = executes;
	rig->options.on_closed = on_closed;
	rig->options.userdata = rig;
}

static void rig_connect(struct rig *rig)
{
	fake_start(&rig->fake);
	if (rig->executes) {
		executor_start(&rig->executor);
		rig->options.execute = execute;
		rig->options.executor = &rig->executor;
	}
	rig->c = fake_connect_with(&rig->fake, 0, &rig->options);
	ck_assert_int_eq(muxc_wait_ready(rig->c, 5000000, NULL), 0);
}

static struct lane *lane_open(struct rig *rig, bool blocking)
{
	struct lane *lane = &rig->lanes[rig->lanes_count++];
	struct muxc_channel_options options = {.size = sizeof(options),
					       .on_destroy = on_destroy,
					       .on_closed = on_channel_closed,
					       .userdata = lane};

	ck_assert_int_le(rig->lanes_count, CHANNELS);
	lane->rig = rig;
	lane->blocking = blocking;
	sem_init(&lane->gate, 0, 0);
	ck_assert_int_eq(muxc_channel_open(rig->c, &options, &lane->channel), 0);
	return lane;
}

static struct lane *lane_consume(struct rig *rig, bool blocking, muxc_message_handler handler)
{
	struct lane *lane = lane_open(rig, blocking);
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = "q", .on_message = handler, .userdata = lane};

	ck_assert_int_eq(muxc_consume(lane->channel, &options, &lane->consumer, 0, NULL), 0);
	return lane;
}

static void lane_deliver(struct lane *lane, uint64_t tag)
{
	fake_deliver(&lane->rig->fake, muxc_channel_get_number(lane->channel), lane->consumer, tag, "x");
}

static void await(const int *flag, int value)
{
	drive_until(NULL, 0, flag, value);
}

/* What is still there is freed; every handler has left, and was told that it is over. */
static void rig_end(struct rig *rig)
{
	struct lane *lane;
	int i;

	rig->c = muxc_free(rig->c);
	ck_assert_int_eq(flag_get(&rig->inside), 0);
	for (i = 0; i < rig->lanes_count; i++) {
		lane = &rig->lanes[i];
		lane->channel = muxc_channel_free(lane->channel);
		await(&lane->destroyed, 1);
		ck_assert_int_eq(lane->destroyed, 1);
		ck_assert_int_eq(lane->faults, 0);
		ck_assert_int_eq(lane->entered, lane->left);
		sem_destroy(&lane->gate);
	}
	if (rig->executes)
		executor_stop(&rig->executor);
	fake_stop(&rig->fake);
}

static int threads_count(void)
{
	DIR *directory = opendir("/proc/self/task");
	int count = -2; /* . and .. */

	ck_assert_ptr_nonnull(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* A thread that was joined is in /proc for a moment more. */
static void expect_threads(int count)
{
	int i;

	for (i = 0; i < 10000 && threads_count() != count; i++)
		poll(NULL, 0, 1);
	ck_assert_int_eq(threads_count(), count);
}

/* ------------------------------------------------------------ dispatch threads */

START_TEST(threads__publishing_and_waiting_need_the_io_thread_alone)
{
	struct lane *lane;
	struct rig rig;
	uint64_t number;
	int before, kind = 0;

	rig_init(&rig, 0);
	rig.fake.auto_confirm = true;
	fake_start(&rig.fake);
	before = threads_count();
	rig.c = fake_connect_with(&rig.fake, 0, &rig.options);
	lane = lane_consume(&rig, false, on_message);
	ck_assert_int_eq(muxc_publish(lane->channel, "", "q", NULL, 0, &number), 0);
	ck_assert_int_eq(muxc_wait_outcome(lane->channel, number, 5000000, &kind, NULL), 0);
	ck_assert_int_eq(muxc_wait_all(lane->channel, 5000000, NULL, NULL), 0);
	ck_assert_int_eq(muxc_ping(rig.c, 5000000, NULL), 0);
	ck_assert_int_eq(threads_count(), before + 1);
	lane_deliver(lane, 1);
	await(&lane->left, 1);
	ck_assert_int_eq(threads_count(), before + 2);
	rig.c = muxc_free(rig.c);
	expect_threads(before - 1); /* the fake has ended with its session */
	rig_end(&rig);
}
END_TEST

START_TEST(threads__blocked_handler_stalls_no_confirm_and_no_other_channel)
{
	struct lane *blocked, *other;
	struct rig rig;
	uint64_t number;
	int i, kind = 0;

	rig_init(&rig, _i);
	rig.fake.auto_confirm = true;
	rig_connect(&rig);
	blocked = lane_consume(&rig, true, on_message);
	other = lane_consume(&rig, false, on_message);
	lane_deliver(blocked, 1);
	lane_deliver(blocked, 2);
	await(&blocked->entered, 1);
	for (i = 1; i <= 50; i++) {
		lane_deliver(other, (uint64_t)i);
		await(&other->left, i);
		ck_assert_int_eq(muxc_publish(blocked->channel, "", "q", NULL, 0, &number), 0);
		ck_assert_int_eq(muxc_wait_outcome(blocked->channel, number, 5000000, &kind, NULL), 0);
		ck_assert_int_eq(kind, MUXC_CONFIRMED);
	}
	ck_assert_int_eq(flag_get(&blocked->entered), 1);
	sem_post(&blocked->gate);
	sem_post(&blocked->gate);
	await(&blocked->left, 2);
	rig_end(&rig);
}
END_TEST

START_TEST(threads__channels_keep_their_order_one_handler_at_a_time)
{
	enum {
		MESSAGES = 300
	};
	struct rig rig;
	int i, tag;

	rig_init(&rig, _i);
	rig_connect(&rig);
	for (i = 0; i < CHANNELS; i++)
		lane_consume(&rig, false, on_message);
	for (tag = 1; tag <= MESSAGES; tag++) {
		for (i = 0; i < CHANNELS; i++)
			lane_deliver(&rig.lanes[i], (uint64_t)tag);
	}
	await(&rig.handled, MESSAGES * CHANNELS);
	for (i = 0; i < CHANNELS; i++)
		ck_assert_int_eq(rig.lanes[i].left, MESSAGES);
	if (_i)
		ck_assert_uint_le(rig.executor.count_max, CHANNELS);
	rig_end(&rig);
}
END_TEST

/* As many as there may be, and when one is done the next. */
START_TEST(threads__at_most_so_many_as_the_option_says)
{
	struct rig rig;
	int i, before, limit = _i;

	rig_init(&rig, 0);
	rig.options.dispatch_threads = (uint32_t)limit;
	rig_connect(&rig);
	if (limit == 0)
		limit = 8; /* the default */
	before = threads_count();
	for (i = 0; i < 12; i++) {
		lane_consume(&rig, true, on_message);
		lane_deliver(&rig.lanes[i], 1);
		if (i < limit)
			await(&rig.inside, i + 1);
	}
	for (i = 0; i < 12; i++) {
		ck_assert_int_eq(threads_count(), before + limit);
		ck_assert_int_eq(flag_get(&rig.lanes[i].entered), 1);
		if (i + limit < 12)
			ck_assert_int_eq(flag_get(&rig.lanes[i + limit].entered), 0);
		sem_post(&rig.lanes[i].gate);
		if (i + limit < 12)
			await(&rig.lanes[i + limit].entered, 1);
	}
	await(&rig.handled, 12);
	ck_assert_int_eq(rig.inside_max, limit);
	rig_end(&rig);
}
END_TEST

START_TEST(threads__idle_ones_end_but_the_first)
{
	struct rig rig;
	int i, before;

	rig_init(&rig, 0);
	rig_connect(&rig);
	before = threads_count();
	for (i = 0; i < 4; i++) {
		lane_consume(&rig, true, on_message);
		lane_deliver(&rig.lanes[i], 1);
	}
	await(&rig.inside, 4);
	ck_assert_int_eq(threads_count(), before + 4);
	for (i = 0; i < 4; i++)
		sem_post(&rig.lanes[i].gate);
	expect_threads(before + 1);
	/* And come again. */
	for (i = 0; i < 4; i++)
		lane_deliver(&rig.lanes[i], 2);
	await(&rig.inside, 4);
	for (i = 0; i < 4; i++)
		sem_post(&rig.lanes[i].gate);
	rig_end(&rig);
}
END_TEST

START_TEST(threads__that_cannot_be_started_are_tried_again)
{
	struct lane *blocked, *other;
	struct rig rig;

	rig_init(&rig, 0);
	rig_connect(&rig);
	blocked = lane_consume(&rig, true, on_message);
	other = lane_consume(&rig, false, on_message);
	flag_add(&threads_refused, 3);
	lane_deliver(blocked, 1);
	await(&blocked->entered, 1);
	ck_assert_int_eq(flag_get(&threads_refused), 0);
	/* No second one: then the first has to do it all. */
	flag_add(&threads_refused, 1000000);
	lane_deliver(other, 1);
	ck_assert_int_eq(muxc_ping(rig.c, 5000000, NULL), 0);
	sem_post(&blocked->gate);
	await(&other->left, 1);
	ck_assert_int_gt(flag_get(&threads_refused), 0);
	flag_add(&threads_refused, -flag_get(&threads_refused));
	rig_end(&rig);
}
END_TEST

/* ------------------------------------------------------------------- executor */

START_TEST(executor__that_refuses_is_asked_again)
{
	struct lane *lane;
	struct rig rig;

	rig_init(&rig, 1);
	rig.executor.refuse = 7;
	rig_connect(&rig);
	lane = lane_consume(&rig, false, on_message);
	/* Nothing more comes: it is asked again all the same. */
	lane_deliver(lane, 1);
	await(&lane->left, 1);
	ck_assert_int_eq(rig.executor.refuse, 0);
	rig_end(&rig);
}
END_TEST

/* Its mutex is also the program's, which calls the library with it held. */
START_TEST(executor__may_share_a_mutex_with_the_program)
{
	enum {
		ROUNDS = 20
	};
	struct lane *lane;
	struct rig rig;
	int i, asked;

	rig_init(&rig, 1);
	rig.fake.auto_confirm = true;
	rig.fake.welcome_messages = 100000;
	rig_connect(&rig);
	lane = lane_consume(&rig, false, on_message);
	for (i = 1; i <= ROUNDS; i++) {
		pthread_mutex_lock(&rig.executor.lock);
		asked = flag_get(&rig.executor.asked);
		lane_deliver(lane, (uint64_t)i);
		await(&rig.executor.asked, asked + 1);
		/* The library waits for the mutex in execute(). */
		ck_assert_int_eq(muxc_publish(lane->channel, "", "q", NULL, 0, NULL), 0);
		(void)muxc_flush(rig.c);
		pthread_mutex_unlock(&rig.executor.lock);
		await(&lane->left, i);
	}
	rig_end(&rig);
}
END_TEST

START_TEST(executor__is_refused_in_loop_mode)
{
	struct muxc_options options = {.size = sizeof(options),
				       .socket_path = "/nonexistent/muxd.sock",
				       .flags = MUXC_LOOP,
				       .execute = execute};
	struct muxc *c = NULL;

	ck_assert_int_eq(muxc_connect(&options, &c, NULL), -EINVAL);
	ck_assert_ptr_null(c);
}
END_TEST

/* -------------------------------------------------------------------- freeing */

/* Publishes and waits for an outcome that does not come. */
static void wait_in_handler(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct lane *lane = userdata;
	uint64_t number;
	int kind = 0;

	flag_add(&lane->rig->inside, 1);
	flag_add(&lane->inside, 1);
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, &number), 0);
	flag_add(&lane->entered, 1);
	ck_assert_int_eq(muxc_wait_outcome(channel, number, FAKE_WAIT_USEC, &kind, &error), 0);
	ck_assert_int_eq(kind, MUXC_UNKNOWN);
	ck_assert_int_eq(error.error, -ESHUTDOWN);
	ck_assert_int_eq(muxc_qos(channel, 1, 0, NULL), -ESHUTDOWN);
	poll(NULL, 0, 50); /* who does not wait for this handler would be gone */
	flag_add(&lane->left, 1);
	flag_add(&lane->inside, -1);
	flag_add(&lane->rig->inside, -1);
}

static void free_in_handler(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct lane *lane = userdata;
	struct rig *rig = lane->rig;

	muxc_free(rig->c);
	/* The others' handlers have ended, and none begins. */
	ck_assert_int_eq(flag_get(&rig->inside), 0);
	flag_add(&lane->entered, 1);
	flag_add(&lane->left, 1);
}

START_TEST(free__in_a_handler_ends_the_waits_of_others)
{
	struct lane *freeing, *waiting, *second;
	struct rig rig;

	rig_init(&rig, _i);
	rig_connect(&rig);
	waiting = lane_consume(&rig, false, wait_in_handler);
	second = lane_consume(&rig, false, wait_in_handler);
	freeing = lane_consume(&rig, false, free_in_handler);
	lane_deliver(waiting, 1);
	lane_deliver(second, 1);
	await(&waiting->entered, 1);
	await(&second->entered, 1);
	lane_deliver(second, 2);
	lane_deliver(freeing, 1);
	lane_deliver(freeing, 2);
	await(&freeing->left, 1);
	rig.c = NULL;
	ck_assert_int_eq(flag_get(&waiting->left), 1);
	ck_assert_int_eq(second->left, 1);
	fake_expect_end(&rig.fake);
	rig_end(&rig);
	ck_assert_int_eq(rig.closed, 0);
	ck_assert_int_eq(freeing->left, 1);
}
END_TEST

START_TEST(free__waits_for_the_handlers_of_all_channels)
{
	struct rig rig;
	int i;

	rig_init(&rig, _i);
	rig_connect(&rig);
	for (i = 0; i < 5; i++) {
		lane_consume(&rig, false, wait_in_handler);
		lane_deliver(&rig.lanes[i], 1);
	}
	for (i = 0; i < 5; i++)
		await(&rig.lanes[i].entered, 1);
	rig.c = muxc_free(rig.c);
	for (i = 0; i < 5; i++)
		ck_assert_int_eq(flag_get(&rig.lanes[i].left), 1);
	rig_end(&rig);
}
END_TEST

/* Frees the first channel of the rig. */
static void free_first(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct lane *lane = userdata, *first = &lane->rig->lanes[0];

	first->channel = muxc_channel_free(first->channel);
	flag_add(&lane->entered, 1);
	flag_add(&lane->left, 1);
}

START_TEST(free__of_another_channel_in_a_handler_destroys_it_after_its_own)
{
	struct lane *first, *freeing;
	struct rig rig;

	rig_init(&rig, _i);
	rig_connect(&rig);
	first = lane_consume(&rig, true, on_message);
	freeing = lane_consume(&rig, false, free_first);
	lane_deliver(first, 1);
	lane_deliver(first, 2);
	await(&first->entered, 1);
	lane_deliver(freeing, 1);
	await(&freeing->left, 1);
	ck_assert_int_eq(muxc_ping(rig.c, 5000000, NULL), 0);
	ck_assert_int_eq(flag_get(&first->destroyed), 0);
	sem_post(&first->gate);
	await(&first->destroyed, 1);
	ck_assert_int_eq(first->entered, 1);
	rig_end(&rig);
}
END_TEST

struct last {
	struct muxc_channel *channel;
	sem_t gate;
	int outcomes;
	int destroyed;
};

static void free_own(struct muxc_channel *channel, const struct muxc_outcome *outcome, void *userdata)
{
	struct last *last = userdata;

	if (last->outcomes == 0)
		gate_pass(&last->gate);
	muxc_channel_free(channel);
	flag_add(&last->outcomes, 1);
}

static void note_destroyed(void *userdata)
{
	struct last *last = userdata;

	flag_add(&last->destroyed, 1);
}

START_TEST(free__of_the_own_channel_is_its_last_handler)
{
	struct last last = {.outcomes = 0};
	struct muxc_channel_options options = {
	    .size = sizeof(options), .on_outcome = free_own, .on_destroy = note_destroyed, .userdata = &last};
	struct rig rig;
	int i;

	rig_init(&rig, _i);
	rig_connect(&rig);
	sem_init(&last.gate, 0, 0);
	ck_assert_int_eq(muxc_channel_open(rig.c, &options, &last.channel), 0);
	for (i = 0; i < 3; i++)
		ck_assert_int_eq(muxc_publish(last.channel, "", "q", NULL, 0, NULL), 0);
	fake_expect(&rig.fake, OP(PUBLISH), 3);
	/* Three notices, which are not one because they are not confirms. */
	for (i = 1; i <= 3; i++)
		fake_outcome(&rig.fake, 1, MUXD__V1__OUTCOME_KIND__NACKED, (uint64_t)i, (uint64_t)i);
	ck_assert_int_eq(muxc_wait_all(last.channel, 5000000, NULL, NULL), 0);
	sem_post(&last.gate);
	await(&last.destroyed, 1);
	ck_assert_int_eq(last.outcomes, 1);
	sem_destroy(&last.gate);
	rig_end(&rig);
}
END_TEST

/* ------------------------------------------------------------ ends and cancels */

START_TEST(cancel__no_handler_begins_once_it_has_returned)
{
	struct lane *lane;
	struct rig rig;
	uint64_t tag;

	rig_init(&rig, _i);
	rig_connect(&rig);
	lane = lane_consume(&rig, true, on_message);
	for (tag = 1; tag <= 20; tag++)
		lane_deliver(lane, tag);
	await(&lane->entered, 1);
	ck_assert_int_eq(muxc_cancel(lane->channel, lane->consumer, 5000000, NULL), 0);
	/* One that muxd had sent before. */
	lane_deliver(lane, 21);
	ck_assert_int_eq(muxc_ping(rig.c, 5000000, NULL), 0);
	for (tag = 0; tag < 21; tag++)
		sem_post(&lane->gate);
	lane->channel = muxc_channel_free(lane->channel);
	await(&lane->destroyed, 1);
	ck_assert_int_eq(lane->entered, 1);
	rig_end(&rig);
}
END_TEST

/* As muxd: what was under way on a channel ends when its client closes it. */
static bool end_qos_at_close(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	uint32_t *qos = fake->context;

	if (frame->op_case == OP(QOS))
		*qos = frame->request;
	if (frame->op_case == OP(CHANNEL_CLOSE))
		fake_error(fake, *qos, frame->channel, MUXD__V1__SCOPE__REQUEST, 504);
	return frame->op_case == OP(QOS);
}

static void *call_qos(void *arg)
{
	struct muxc_error error = MUXC_ERROR_INIT;

	ck_assert_int_eq(muxc_qos(arg, 5, FAKE_WAIT_USEC, &error), -ESHUTDOWN);
	ck_assert_int_eq(error.error, -ESHUTDOWN);
	return NULL;
}

START_TEST(close__ends_the_calls_of_other_threads_with_eshutdown)
{
	struct lane *lane;
	struct rig rig;
	uint32_t qos = 0;
	pthread_t thread;

	rig_init(&rig, 0);
	rig.fake.on_frame = end_qos_at_close;
	rig.fake.context = &qos;
	rig_connect(&rig);
	lane = lane_open(&rig, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, call_qos, lane->channel), 0);
	fake_expect(&rig.fake, OP(QOS), 1);
	ck_assert_int_eq(muxc_channel_close(lane->channel), 0);
	pthread_join(thread, NULL);
	rig_end(&rig);
}
END_TEST

/* Once the I/O thread has nothing to read any more, handlers still get their threads. */
START_TEST(closed__is_told_after_the_handlers_of_all_channels)
{
	struct lane *blocked;
	struct rig rig;
	int i;

	rig_init(&rig, _i);
	rig.options.flags = MUXC_NO_RECONNECT;
	rig_connect(&rig);
	blocked = lane_consume(&rig, true, on_message);
	for (i = 1; i < 10; i++)
		lane_open(&rig, false);
	lane_deliver(blocked, 1);
	await(&blocked->entered, 1);
	fake_hang_up(&rig.fake);
	for (i = 1; i < 10; i++)
		await(&rig.lanes[i].closed, 1);
	ck_assert_int_eq(flag_get(&rig.closed), 0);
	ck_assert_int_eq(flag_get(&blocked->closed), 0);
	sem_post(&blocked->gate);
	await(&rig.closed, 1);
	rig_end(&rig);
	ck_assert_int_eq(rig.closed, 1);
}
END_TEST

/* ---------------------------------------------------------------------- forks */

static void fork_in_handler(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct lane *lane = userdata;
	struct rig *rig = lane->rig;
	pid_t pid;
	bool ok;
	int i;

	pid = fork_quietly();
	if (pid == 0) {
		ok = muxc_publish(channel, "", "q", NULL, 0, NULL) == -ECHILD;
		ok &= muxc_ack(channel, muxc_message_get_tag(message), 0) == -ECHILD;
		/* First those that run in threads that are not here, or last, or not at all. */
		for (i = 0; lane->last_tag == 0 && i < rig->lanes_count; i++)
			muxc_channel_free(rig->lanes[i].channel);
		if (lane->last_tag < 2)
			muxc_free(rig->c);
		for (i = 0; lane->last_tag == 1 && i < rig->lanes_count; i++)
			muxc_channel_free(rig->lanes[i].channel);
		_exit(ok ? 0 : 1);
	}
	ck_assert_int_eq(wait_for_child(pid), 0);
	lane->last_tag++;
	flag_add(&lane->entered, 1);
	flag_add(&lane->left, 1);
}

START_TEST(fork__in_a_handler_beside_others_leaves_the_parent_alone)
{
	struct lane *forking, *blocked, *waiting;
	struct rig rig;
	uint64_t tag;

	rig_init(&rig, _i);
	rig_connect(&rig);
	forking = lane_consume(&rig, false, fork_in_handler);
	blocked = lane_consume(&rig, true, on_message);
	waiting = lane_consume(&rig, false, wait_in_handler);
	lane_deliver(blocked, 1);
	lane_deliver(blocked, 2);
	lane_deliver(waiting, 1);
	await(&blocked->entered, 1);
	await(&waiting->entered, 1);
	for (tag = 1; tag <= 3; tag++)
		lane_deliver(forking, tag);
	await(&forking->left, 3);
	/* The session goes on, and nothing was sent by the children. */
	sem_post(&blocked->gate);
	sem_post(&blocked->gate);
	await(&blocked->left, 2);
	ck_assert_int_eq(muxc_ping(rig.c, 5000000, NULL), 0);
	ck_assert_uint_eq(fake_count(&rig.fake, OP(PUBLISH)), 1);
	ck_assert_uint_eq(fake_count(&rig.fake, OP(CHANNEL_CLOSE)), 0);
	rig_end(&rig);
}
END_TEST

static Suite *suite_threads(void)
{
	Suite *suite = suite_create("client threads");
	TCase *tcase = tcase_create("threads");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, threads__publishing_and_waiting_need_the_io_thread_alone);
	tcase_add_loop_test(tcase, threads__blocked_handler_stalls_no_confirm_and_no_other_channel, 0, 2);
	tcase_add_loop_test(tcase, threads__channels_keep_their_order_one_handler_at_a_time, 0, 2);
	tcase_add_loop_test(tcase, threads__at_most_so_many_as_the_option_says, 0, 4);
	tcase_add_test(tcase, threads__idle_ones_end_but_the_first);
	tcase_add_test(tcase, threads__that_cannot_be_started_are_tried_again);
	tcase_add_test(tcase, executor__that_refuses_is_asked_again);
	tcase_add_test(tcase, executor__may_share_a_mutex_with_the_program);
	tcase_add_test(tcase, executor__is_refused_in_loop_mode);
	tcase_add_loop_test(tcase, free__in_a_handler_ends_the_waits_of_others, 0, 2);
	tcase_add_loop_test(tcase, free__waits_for_the_handlers_of_all_channels, 0, 2);
	tcase_add_loop_test(tcase, free__of_another_channel_in_a_handler_destroys_it_after_its_own, 0, 2);
	tcase_add_loop_test(tcase, free__of_the_own_channel_is_its_last_handler, 0, 2);
	tcase_add_loop_test(tcase, cancel__no_handler_begins_once_it_has_returned, 0, 2);
	tcase_add_test(tcase, close__ends_the_calls_of_other_threads_with_eshutdown);
	tcase_add_loop_test(tcase, closed__is_told_after_the_handlers_of_all_channels, 0, 2);
	tcase_add_loop_test(tcase, fork__in_a_handler_beside_others_leaves_the_parent_alone, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(suite_threads());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
