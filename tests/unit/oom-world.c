#include "tests/unit/oom-world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS_MAX 5000u
#define SHORT_OF_USEC \
	200000u /* how long memory, or threads, are short at most while a handler is waited for */

/* ----------------------------------------------------------------- handlers */

void note(struct world *w, int *flag)
{
	pthread_mutex_lock(&w->lock);
	(*flag)++;
	pthread_cond_broadcast(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

static int noted(struct world *w, const int *flag)
{
	int value;

	pthread_mutex_lock(&w->lock);
	value = *flag;
	pthread_mutex_unlock(&w->lock);
	return value;
}

static void on_upstream(struct muxc *c, const struct muxc_upstream *upstream, void *userdata)
{
	struct world *w = userdata;

	ck_assert_ptr_nonnull(upstream->name);
	ck_assert_ptr_nonnull(upstream->text);
	note(w, &w->upstreams);
}

static void on_going_away(struct muxc *c, uint64_t within_usec, const char *text, void *userdata)
{
	struct world *w = userdata;

	ck_assert_uint_eq(within_usec, 1500000);
	note(w, &w->going_away);
}

static void on_closed(struct muxc *c, const struct muxc_error *error, void *userdata)
{
	struct world *w = userdata;

	ck_assert_msg(error->error == -ENOMEM || error->error == w->expected_end, "ended with %d: %s",
		      error->error, error->text);
	note(w, &w->closed);
}

static void on_link(struct muxc *c, const struct muxc_link *link, void *userdata)
{
	struct world *w = userdata;

	if (link->state == MUXC_LINK_LOST)
		note(w, &w->lost);
	if (link->state == MUXC_LINK_BACK)
		note(w, &w->back);
}

static void on_channel_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	struct world *w = userdata;

	ck_assert_int_lt(error->error, 0);
	note(w, &w->channel_closed);
}

static void on_destroy(void *userdata)
{
	struct world *w = userdata;

	note(w, &w->destroyed);
}

static void on_outcome(struct muxc_channel *channel, const struct muxc_outcome *outcome, void *userdata)
{
	struct world *w = userdata;
	uint64_t number;

	pthread_mutex_lock(&w->lock);
	ck_assert_uint_ge(outcome->first, 1);
	ck_assert_uint_le(outcome->last, TOLD_MAX);
	for (number = outcome->first; number <= outcome->last; number++) {
		ck_assert_msg(w->told[number] == 0, "publish %d ended twice", (int)number);
		w->told[number] = (uint8_t)outcome->kind;
		w->told_count++;
	}
	pthread_cond_broadcast(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

static void on_return(struct muxc_channel *channel, struct muxc_message *message,
		      const struct muxc_error *error, void *userdata)
{
	struct world *w = userdata;

	ck_assert_uint_eq(error->code, 312);
	ck_assert_uint_gt(muxc_message_get_publish_number(message), 0);
	note(w, &w->returned);
}

void on_world_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct world *w = userdata;
	uint64_t tag = muxc_message_get_tag(message);

	ck_assert_uint_gt(tag, 0);
	if (tag % 2)
		(void)muxc_ack(channel, tag, 0);
	else
		(void)muxc_nack(channel, tag, tag % 4 ? MUXC_REQUEUE : 0);
	note(w, &w->messages);
}

void on_world_cancelled(struct muxc_channel *channel, uint32_t consumer, const char *text, void *userdata)
{
	struct world *w = userdata;

	ck_assert_ptr_nonnull(text);
	note(w, &w->cancelled);
}

void on_world_interrupted(struct muxc_channel *channel, uint32_t consumer, const char *text, void *userdata)
{
	struct world *w = userdata;

	ck_assert_ptr_nonnull(text);
	note(w, &w->interrupted);
}

/* ------------------------------------------------------------------ judging */

static bool may_fail_with(const struct world *w, int r)
{
	if (failing_count() == 0)
		return false;
	if (r == -ENOMEM)
		return true;
	return w->what == FAILING_SYSTEM && (r == -EMFILE || r == -EAGAIN);
}

bool could(struct world *w, int r, int expected)
{
	struct muxc_error error = w->error;

	w->error = (struct muxc_error)MUXC_ERROR_INIT;
	if (r >= 0)
		return true;
	if (error.error) {
		ck_assert_int_eq(error.error, r);
		ck_assert_int_gt((int)strlen(error.text), 0);
	}
	ck_assert_msg(may_fail_with(w, r) || r == expected, "a call gave %d: %s", r, error.text);
	return false;
}

bool can(struct world *w, int r)
{
	return could(w, r, -ENOMEM);
}

bool alive(struct world *w)
{
	int r;

	if (!w->c)
		return false;
	r = muxc_get_error(w->c, NULL);
	ck_assert_msg(r == 0 || may_fail_with(w, r) || r == w->expected_end, "the connection ended with %d",
		      r);
	return r == 0;
}

bool unhurt(struct world *w)
{
	return failing_count() == 0;
}

static struct timespec after(uint64_t usec)
{
	struct timespec until;
	uint64_t nsec;

	clock_gettime(CLOCK_MONOTONIC, &until);
	nsec = (uint64_t)until.tv_nsec + usec % 1000000 * 1000;
	until.tv_sec += (time_t)(usec / 1000000 + nsec / 1000000000);
	until.tv_nsec = (long)(nsec % 1000000000);
	return until;
}

static bool is_over(const struct timespec *until)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > until->tv_sec || (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec);
}

static bool await_in_loop(struct world *w, const int *flag, int value)
{
	struct timespec until = after(FAKE_WAIT_USEC);

	while (noted(w, flag) < value) {
		if (noted(w, &w->closed))
			return false;
		ck_assert_msg(!is_over(&until), "waited too long for a handler");
		if (muxc_wait(w->c, 100000) == 1)
			(void)muxc_process(w->c);
	}
	return true;
}

bool await(struct world *w, const int *flag, int value)
{
	struct timespec short_of_it = after(SHORT_OF_USEC), until = after(FAKE_WAIT_USEC);
	bool done;
	int r = 0;

	if (w->loop)
		return await_in_loop(w, flag, value);
	pthread_mutex_lock(&w->lock);
	/* No thread can be started to call it? The library must try again when one can. */
	while (*flag < value && !w->closed && r == 0)
		r = pthread_cond_timedwait(&w->cond, &w->lock, &short_of_it);
	if (r == ETIMEDOUT) {
		if (failing_count() > 0)
			(void)failing_disarm();
		r = 0;
	}
	while (*flag < value && !w->closed && r == 0)
		r = pthread_cond_timedwait(&w->cond, &w->lock, &until);
	done = *flag >= value;
	pthread_mutex_unlock(&w->lock);
	ck_assert_msg(r == 0, "waited too long for a handler");
	return done;
}

/* --------------------------------------------------------------- the world */

int world_connect(struct world *w)
{
	struct muxc_options options = {
	    .size = sizeof(options),
	    .socket_path = w->fake.path,
	    .program = "oom",
	    .upstream = "default",
	    .flags = (w->reconnects ? 0 : MUXC_NO_RECONNECT) | (w->loop ? MUXC_LOOP : 0),
	    .on_upstream = on_upstream,
	    .on_going_away = on_going_away,
	    .on_closed = on_closed,
	    .on_link = on_link,
	    .userdata = w,
	};
	struct muxc *c = NULL;
	int r;

	r = muxc_connect(&options, &c, &w->error);
	if (r < 0)
		ck_assert_ptr_null(c);
	w->c = c;
	return r;
}

static int world_open(struct world *w)
{
	struct muxc_channel_options options = {
	    .size = sizeof(options),
	    .on_outcome = on_outcome,
	    .on_return = on_return,
	    .on_closed = on_channel_closed,
	    .on_destroy = on_destroy,
	    .userdata = w,
	};

	return muxc_channel_open(w->c, &options, &w->channel);
}

uint64_t world_publish(struct world *w, const char *key, const void *body, size_t len)
{
	struct muxc_publication publication = {
	    .size = sizeof(publication),
	    .routing_key = key,
	    .body = body,
	    .body_len = len,
	    .flags = MUXC_MANDATORY,
	};
	uint64_t number = 0;
	int r;

	r = muxc_publish_full(w->channel, &publication, 5000000, &number, &w->error);
	if (!could(w, r, w->expected_end ? w->expected_end : -ENOMEM)) {
		ck_assert_uint_eq(number, 0);
		return 0;
	}
	w->published++;
	ck_assert_uint_eq(number, w->published);
	return number;
}

static void world_init(struct world *w, bool loop, bool reconnects)
{
	pthread_condattr_t attr;

	memset(w, 0, sizeof(*w));
	w->loop = loop;
	w->reconnects = reconnects;
	w->error = (struct muxc_error)MUXC_ERROR_INIT;
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->cond, &attr);
	pthread_condattr_destroy(&attr);
	fake_init(&w->fake);
	w->fake.on_frame = oom_muxd_on_frame;
	w->fake.context = &w->muxd;
	w->fake.welcome_bytes = 32 * 1024;
	w->fake.comes_back = reconnects;
	fake_start(&w->fake);
}

/* Ended: everybody is told, once, whatever memory there was. */
static void check_ended(struct world *w, int err)
{
	struct muxc_channel *channel = NULL;

	(void)await(w, &w->closed, 1);
	ck_assert_int_eq(noted(w, &w->closed), 1);
	ck_assert_int_eq(muxc_ping(w->c, 1000000, NULL), err);
	ck_assert_int_eq(muxc_channel_open(w->c, NULL, &channel), err);
	if (!w->channel)
		return;
	ck_assert_int_eq(noted(w, &w->channel_closed), 1);
	ck_assert_int_eq(noted(w, &w->told_count), (int)w->published);
}

static void check_usable(struct world *w)
{
	struct muxc_channel *channel = NULL;
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_queue queue = {.size = sizeof(queue), .name = "after"};
	uint64_t number = 0;
	int kind = 0;

	ck_assert_int_eq(muxc_ping(w->c, 5000000, &error), 0);
	ck_assert_int_eq(muxc_channel_open(w->c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_queue_declare(channel, &queue, NULL, 5000000, &error), 0);
	ck_assert_int_eq(muxc_publish(channel, "", "after", NULL, 0, &number), 0);
	ck_assert_int_eq(muxc_wait_outcome(channel, number, 5000000, &kind, &error), 0);
	ck_assert_int_eq(kind, MUXC_CONFIRMED);
	muxc_channel_free(channel);
}

static void world_deinit(struct world *w)
{
	bool had_channel = w->channel != NULL;
	int r;

	if (w->c) {
		r = muxc_get_error(w->c, NULL);
		if (r < 0)
			check_ended(w, r);
		else
			check_usable(w);
	}
	w->channel = muxc_channel_free(w->channel);
	w->c = muxc_free(w->c);
	if (had_channel)
		ck_assert_int_eq(noted(w, &w->destroyed), 1);
	fake_stop(&w->fake);
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->lock);
}

/* Runs once, with the nth failing; returns how many have failed. */
static unsigned long run_once(const struct scenario *scenario, struct world *w, unsigned long nth,
			      bool all_from)
{
	unsigned long failures;

	if (!scenario->unconnected) {
		ck_assert_int_eq(world_connect(w), 0);
		ck_assert_int_eq(muxc_wait_ready(w->c, 5000000, NULL), 0);
		(void)await(w, &w->upstreams, 1);
		ck_assert_int_eq(world_open(w), 0);
	}
	failing_arm(w->what, nth, all_from);
	scenario->run(w);
	failures = failing_disarm();
	if (failures == 0 && w->c && !w->expected_end)
		ck_assert_int_eq(muxc_get_error(w->c, NULL), 0);
	return failures;
}

unsigned long scenario_run(const struct scenario *scenario, bool loop, enum failing_what what, bool all_from)
{
	unsigned long nth, failures, total = 0;
	int descriptors = open_descriptors();
	long live = failing_live();
	struct world w;

	for (nth = 1;; nth++) {
		ck_assert_uint_lt(nth, ROUNDS_MAX);
		world_init(&w, loop, scenario->reconnects);
		w.what = what;
		failures = run_once(scenario, &w, nth, all_from);
		total += failures;
		world_deinit(&w);
		ck_assert_msg(failing_live() == live, "failure %lu: %ld blocks were left", nth,
			      failing_live() - live);
		ck_assert_int_eq(open_descriptors(), descriptors);
		if (failures == 0)
			return total;
	}
}
