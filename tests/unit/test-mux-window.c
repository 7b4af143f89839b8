#include "daemon/mux/window.h"

#include <check.h>
#include <stdlib.h>

#define BOUND_BYTES (64u << 20)
#define STEP_USEC 200u

/*
 * A broker as a fluid: what comes queues in the path that everybody shares,
 * which lets so much through a second; then it waits for a disk that syncs now
 * and then, and is confirmed. A publisher has as much under way as it may.
 */
struct model {
	struct window window;
	uint64_t now_usec;
	uint64_t rate;	     /* bytes a second; 0: stands still */
	uint64_t base_usec;  /* of the empty path, there and back */
	uint64_t sync_usec;  /* 0: no disk */
	uint64_t noise_usec; /* of one in five answers: it waited for a CPU */
	uint64_t queued, unsynced, confirmed;
	uint64_t worst_queue_usec; /* since the last model_run() began */
	uint64_t least_size;
	bool asked;
	unsigned int answers;
	uint64_t answer_at;
};

static struct model model;

static struct mono at(uint64_t usec)
{
	return (struct mono){usec};
}

static void model_init(uint64_t rate, uint64_t base_usec, uint64_t sync_usec)
{
	model = (struct model){
	    .now_usec = 10 * USEC_PER_SEC, .rate = rate, .base_usec = base_usec, .sync_usec = sync_usec};
	window_init(&model.window, BOUND_BYTES, true);
}

static void model_answer(void)
{
	if (!model.asked || model.rate == 0 || model.now_usec < model.answer_at)
		return;
	model.asked = false;
	(void)window_answered(&model.window, at(model.now_usec), model.confirmed);
}

static void model_ask(void)
{
	uint64_t delay = model.base_usec;

	if (!window_turn(&model.window, at(model.now_usec), model.queued + model.unsynced) || model.asked)
		return;
	window_asked(&model.window, at(model.now_usec));
	if (model.rate > 0)
		delay += model.queued * USEC_PER_SEC / model.rate;
	if (model.noise_usec > 0 && ++model.answers % 5 == 0)
		delay += model.noise_usec;
	model.asked = true;
	model.answer_at = model.now_usec + delay;
}

static void model_step(void)
{
	uint64_t under_way = model.queued + model.unsynced;
	uint64_t through = model.rate * STEP_USEC / USEC_PER_SEC;

	if (under_way < window_bytes(&model.window))
		model.queued += window_bytes(&model.window) - under_way;
	window_was_full(&model.window);
	if (through > model.queued)
		through = model.queued;
	model.queued -= through;
	model.unsynced += through;
	model.now_usec += STEP_USEC;
	if (model.sync_usec == 0 || model.now_usec % model.sync_usec < STEP_USEC) {
		model.confirmed += model.unsynced;
		model.unsynced = 0;
	}
	model_ask();
	model_answer();
}

/* Returns the part of the path's rate that was used. */
static double model_run(uint64_t usec)
{
	uint64_t until = model.now_usec + usec, from = model.confirmed;

	model.worst_queue_usec = 0;
	model.least_size = UINT64_MAX;
	while (model.now_usec < until) {
		uint64_t queue_usec;

		model_step();
		queue_usec = model.rate > 0 ? model.queued * USEC_PER_SEC / model.rate : 0;
		if (queue_usec > model.worst_queue_usec)
			model.worst_queue_usec = queue_usec;
		if (model.window.size < model.least_size)
			model.least_size = model.window.size;
		ck_assert_uint_le(window_bytes(&model.window), BOUND_BYTES);
	}
	return model.rate ? (double)(model.confirmed - from) * 1e6 / ((double)usec * (double)model.rate) : 0;
}

START_TEST(window__begins_well_above_one_message)
{
	model_init(10000000, 200, 0);
	ck_assert_uint_ge(window_bytes(&model.window), 100 * 200);
	ck_assert_uint_lt(window_bytes(&model.window), BOUND_BYTES);
}
END_TEST

START_TEST(window__is_the_bound_when_it_does_not_adapt)
{
	struct window window;

	window_init(&window, 12345, false);
	ck_assert_uint_eq(window_bytes(&window), 12345);
	ck_assert(!window_turn(&window, at(1), 12345));
	window_reset(&window);
	ck_assert_uint_eq(window_bytes(&window), 12345);
}
END_TEST

START_TEST(window__gives_a_lane_more_messages_when_the_broker_is_far)
{
	uint64_t near;

	model_init(10000000, 200, 0);
	near = window_lane_messages(&model.window);
	ck_assert_uint_ge(near, 100);
	/* RabbitMQ's credit_flow_default_credit. */
	ck_assert_uint_lt(near, 400);
	(void)model_run(USEC_PER_SEC);
	ck_assert_uint_eq(window_lane_messages(&model.window), near);
	model_init(10000000, 100000, 0);
	(void)model_run(USEC_PER_SEC);
	ck_assert_uint_ge(window_lane_messages(&model.window), 10 * near);
	window_init(&model.window, BOUND_BYTES, false);
	ck_assert_uint_eq(window_lane_messages(&model.window), UINT64_MAX);
}
END_TEST

START_TEST(window__never_exceeds_a_small_bound)
{
	struct window window;

	window_init(&window, 1000, true);
	ck_assert_uint_eq(window_bytes(&window), 1000);
	window_was_full(&window);
	ck_assert(window_turn(&window, at(USEC_PER_SEC), 100000));
	window_asked(&window, at(USEC_PER_SEC));
	(void)window_answered(&window, at(USEC_PER_SEC + 10), 0);
	ck_assert_uint_le(window_bytes(&window), 1000);
}
END_TEST

START_TEST(window__asks_only_while_much_is_unconfirmed)
{
	struct window window;

	window_init(&window, BOUND_BYTES, true);
	ck_assert(!window_turn(&window, at(USEC_PER_SEC), 1000));
	ck_assert(window_turn(&window, at(USEC_PER_SEC), 100000));
	window_asked(&window, at(USEC_PER_SEC));
	ck_assert(!window_turn(&window, at(USEC_PER_SEC + 1), 100000));
}
END_TEST

START_TEST(window__asks_again_when_the_question_was_lost)
{
	struct window window;

	window_init(&window, BOUND_BYTES, true);
	ck_assert(window_turn(&window, at(USEC_PER_SEC), 100000));
	window_asked(&window, at(USEC_PER_SEC));
	window_ask_again(&window);
	ck_assert(window_turn(&window, at(USEC_PER_SEC + 1), 100000));
	window_asked(&window, at(USEC_PER_SEC + 1));
	ck_assert_uint_eq(window_bytes(&window), WINDOW_BYTES_BASE);
	ck_assert(!window_answered(&window, at(USEC_PER_SEC + 100), 0));
	/* A second answer to the same question counts for nothing. */
	ck_assert(!window_answered(&window, at(USEC_PER_SEC + 200), 0));
}
END_TEST

START_TEST(window__keeps_the_path_busy_and_its_queue_short)
{
	model_init(5000000, 200, 0);
	(void)model_run(3 * USEC_PER_SEC);
	ck_assert_double_ge(model_run(3 * USEC_PER_SEC), 0.9);
	/* WINDOW_BYTES_MIN alone takes 13 ms here. */
	ck_assert_uint_le(model.worst_queue_usec, 20000);
}
END_TEST

START_TEST(window__of_a_fast_path_has_a_queue_of_about_the_target)
{
	model_init(200000000, 200, 0);
	(void)model_run(3 * USEC_PER_SEC);
	ck_assert_double_ge(model_run(3 * USEC_PER_SEC), 0.75);
	ck_assert_uint_le(model.worst_queue_usec, 2500);
}
END_TEST

START_TEST(window__does_not_collapse_when_a_disk_confirms_in_bursts)
{
	/* What the path lets through at once, a disk may need a while for. */
	model_init(100000000, 200, 25000);
	(void)model_run(3 * USEC_PER_SEC);
	ck_assert_double_ge(model_run(3 * USEC_PER_SEC), 0.1);
	ck_assert_uint_ge(model.least_size, 2 * WINDOW_BYTES_MIN);
}
END_TEST

START_TEST(window__grows_to_what_a_broker_far_away_needs)
{
	model_init(12000000, 50000, 0);
	model.sync_usec = 50000; /* confirms take the way back as well */
	(void)model_run(10 * USEC_PER_SEC);
	ck_assert_double_ge(model_run(4 * USEC_PER_SEC), 0.7);
	ck_assert_uint_le(model.worst_queue_usec, 75000);
}
END_TEST

START_TEST(window__is_not_shrunk_by_answers_that_waited_for_a_cpu)
{
	double quiet;

	model_init(100000000, 200, 25000);
	(void)model_run(3 * USEC_PER_SEC);
	quiet = model_run(3 * USEC_PER_SEC);
	model_init(100000000, 200, 25000);
	model.noise_usec = 6000;
	(void)model_run(3 * USEC_PER_SEC);
	ck_assert_double_ge(model_run(3 * USEC_PER_SEC), quiet / 3);
}
END_TEST

START_TEST(window__shrinks_to_its_least_while_nothing_is_answered_and_recovers)
{
	model_init(100000000, 200, 25000);
	(void)model_run(3 * USEC_PER_SEC);
	model.rate = 0;
	(void)model_run(2 * USEC_PER_SEC);
	ck_assert_uint_eq(model.window.size, WINDOW_BYTES_MIN);
	ck_assert_uint_eq(model.least_size, WINDOW_BYTES_MIN);
	model.rate = 100000000;
	(void)model_run(5 * USEC_PER_SEC);
	ck_assert_double_ge(model_run(3 * USEC_PER_SEC), 0.1);
}
END_TEST

START_TEST(window__does_not_take_its_own_queue_for_the_way)
{
	uint64_t early;

	model_init(50000000, 200, 0);
	(void)model_run(3 * USEC_PER_SEC);
	(void)model_run(USEC_PER_SEC);
	early = model.worst_queue_usec;
	(void)model_run(20 * USEC_PER_SEC);
	ck_assert_uint_le(model.worst_queue_usec, 2 * early + 1000);
}
END_TEST

START_TEST(window__follows_a_path_that_becomes_slower)
{
	model_init(100000000, 200, 0);
	(void)model_run(3 * USEC_PER_SEC);
	model.rate = 10000000;
	(void)model_run(USEC_PER_SEC);
	(void)model_run(USEC_PER_SEC);
	/* WINDOW_BYTES_MIN alone takes 6.5 ms here. */
	ck_assert_uint_le(model.worst_queue_usec, 7000);
}
END_TEST

START_TEST(window__does_not_grow_when_nobody_waits)
{
	struct window window;
	struct mono now = at(10 * USEC_PER_SEC);
	uint64_t size;

	window_init(&window, BOUND_BYTES, true);
	size = window.size;
	for (int i = 0; i < 1000; i++) {
		now = mono_add_usec(now, 5000);
		if (!window_turn(&window, now, 100000))
			continue;
		window_asked(&window, now);
		(void)window_answered(&window, mono_add_usec(now, 200), 0);
	}
	ck_assert_uint_eq(window.size, size);
}
END_TEST

START_TEST(window__forgets_what_it_found_out_when_it_was_not_needed_for_long)
{
	model_init(100000000, 200, 0);
	(void)model_run(3 * USEC_PER_SEC);
	ck_assert(!window_turn(&model.window, at(model.now_usec + 5 * USEC_PER_SEC), 0));
	if (model.asked)
		(void)window_answered(&model.window, at(model.now_usec), 0);
	ck_assert(window_turn(&model.window, at(model.now_usec + 5 * USEC_PER_SEC), 100000));
	ck_assert_uint_eq(model.window.size, WINDOW_BYTES_START);
	ck_assert_uint_eq(window_bytes(&model.window), WINDOW_BYTES_BASE);
}
END_TEST

START_TEST(window__is_larger_while_nobody_waits_for_single_answers)
{
	uint64_t prompt;

	model_init(50000000, 200, 0);
	(void)model_run(3 * USEC_PER_SEC);
	prompt = model.window.size;
	window_set_prompt(&model.window, false);
	ck_assert_uint_ge(model.window.size, WINDOW_BYTES_MIN_BULK);
	ck_assert_uint_eq(window_lane_messages(&model.window), UINT64_MAX);
	(void)model_run(USEC_PER_SEC);
	ck_assert_uint_gt(model.worst_queue_usec, 2000);
	ck_assert_uint_ge(model.least_size, WINDOW_BYTES_MIN_BULK);
	/* Who comes to the flood finds it as it was before, at once. */
	window_set_prompt(&model.window, true);
	ck_assert_uint_eq(model.window.size, prompt);
	ck_assert_uint_lt(window_lane_messages(&model.window), 400);
	window_init(&model.window, 12345, false);
	window_set_prompt(&model.window, false);
	ck_assert_uint_eq(window_bytes(&model.window), 12345);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux/window");
	TCase *tc = tcase_create("window");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, window__begins_well_above_one_message);
	tcase_add_test(tc, window__is_the_bound_when_it_does_not_adapt);
	tcase_add_test(tc, window__gives_a_lane_more_messages_when_the_broker_is_far);
	tcase_add_test(tc, window__never_exceeds_a_small_bound);
	tcase_add_test(tc, window__asks_only_while_much_is_unconfirmed);
	tcase_add_test(tc, window__asks_again_when_the_question_was_lost);
	tcase_add_test(tc, window__keeps_the_path_busy_and_its_queue_short);
	tcase_add_test(tc, window__of_a_fast_path_has_a_queue_of_about_the_target);
	tcase_add_test(tc, window__does_not_collapse_when_a_disk_confirms_in_bursts);
	tcase_add_test(tc, window__grows_to_what_a_broker_far_away_needs);
	tcase_add_test(tc, window__is_not_shrunk_by_answers_that_waited_for_a_cpu);
	tcase_add_test(tc, window__shrinks_to_its_least_while_nothing_is_answered_and_recovers);
	tcase_add_test(tc, window__does_not_take_its_own_queue_for_the_way);
	tcase_add_test(tc, window__follows_a_path_that_becomes_slower);
	tcase_add_test(tc, window__does_not_grow_when_nobody_waits);
	tcase_add_test(tc, window__forgets_what_it_found_out_when_it_was_not_needed_for_long);
	tcase_add_test(tc, window__is_larger_while_nobody_waits_for_single_answers);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
