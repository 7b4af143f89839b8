#include "daemon/base/list.h"
#include "daemon/base/timerq.h"

#include <check.h>
#include <stdlib.h>

struct entry {
	struct timer timer;
	struct timerq *queue;
	unsigned int fired;
	uint64_t fired_when_usec;
	struct entry *other; /* what its function acts on */
};

#define AT(number) ((struct mono){(number)})

static void note(struct timer *timer, struct mono now)
{
	struct entry *entry = container_of(timer, struct entry, timer);

	entry->fired++;
	entry->fired_when_usec = now.usec;
}

static void entry_init(struct entry *entry, struct timerq *queue, timer_fn fire)
{
	*entry = (struct entry){.queue = queue};
	timer_init(&entry->timer, fire);
}

static void set(struct timerq *queue, struct entry *entry, uint64_t when_usec)
{
	timerq_set(queue, &entry->timer, AT(when_usec));
}

START_TEST(timerq__empty_has_no_deadline)
{
	struct timerq queue = TIMERQ_INIT;

	ck_assert(mono_is_never(timerq_next(&queue)));
	timerq_run(&queue, AT(100), 10);
}
END_TEST

START_TEST(timerq__fires_what_is_due_and_nothing_else)
{
	struct timerq queue = TIMERQ_INIT;
	struct entry early, due, late;

	entry_init(&early, &queue, note);
	entry_init(&due, &queue, note);
	entry_init(&late, &queue, note);
	set(&queue, &late, 11);
	set(&queue, &early, 1);
	set(&queue, &due, 10);
	ck_assert_uint_eq(timerq_next(&queue).usec, 1);
	timerq_run(&queue, AT(10), 10);
	ck_assert_uint_eq(early.fired, 1);
	ck_assert_uint_eq(due.fired, 1);
	ck_assert_uint_eq(late.fired, 0);
	ck_assert(!timer_is_set(&due.timer));
	ck_assert(timer_is_set(&late.timer));
	ck_assert_uint_eq(timerq_next(&queue).usec, 11);
}
END_TEST

START_TEST(timerq__moves_a_queued_timer_both_ways)
{
	struct timerq queue = TIMERQ_INIT;
	struct entry entries[8];

	for (unsigned int i = 0; i < 8; i++) {
		entry_init(&entries[i], &queue, note);
		set(&queue, &entries[i], 10 + i);
	}
	set(&queue, &entries[0], 100);
	ck_assert_uint_eq(timerq_next(&queue).usec, 11);
	set(&queue, &entries[7], 5);
	ck_assert_uint_eq(timerq_next(&queue).usec, 5);
	timerq_run(&queue, AT(100), 100);
	for (unsigned int i = 0; i < 8; i++)
		ck_assert_uint_eq(entries[i].fired, 1);
}
END_TEST

START_TEST(timerq__never_removes)
{
	struct timerq queue = TIMERQ_INIT;
	struct entry entry;

	entry_init(&entry, &queue, note);
	set(&queue, &entry, 5);
	timerq_set(&queue, &entry.timer, MONO_NEVER);
	ck_assert(!timer_is_set(&entry.timer));
	ck_assert(mono_is_never(timerq_next(&queue)));
	timerq_clear(&queue, &entry.timer);
	timerq_run(&queue, AT(10), 10);
	ck_assert_uint_eq(entry.fired, 0);
}
END_TEST

START_TEST(timerq__run_stops_at_its_budget)
{
	struct timerq queue = TIMERQ_INIT;
	struct entry entries[5];
	unsigned int fired = 0;

	for (unsigned int i = 0; i < 5; i++) {
		entry_init(&entries[i], &queue, note);
		set(&queue, &entries[i], i);
	}
	timerq_run(&queue, AT(10), 3);
	for (unsigned int i = 0; i < 5; i++)
		fired += entries[i].fired;
	ck_assert_uint_eq(fired, 3);
	ck_assert_uint_eq(timerq_next(&queue).usec, 3);
}
END_TEST

static void set_again(struct timer *timer, struct mono now)
{
	struct entry *entry = container_of(timer, struct entry, timer);

	note(timer, now);
	set(entry->queue, entry, now.usec);
}

START_TEST(timerq__timer_that_sets_itself_again_cannot_hold_the_turn)
{
	struct timerq queue = TIMERQ_INIT;
	struct entry entry;

	entry_init(&entry, &queue, set_again);
	set(&queue, &entry, 1);
	timerq_run(&queue, AT(1), 7);
	ck_assert_uint_eq(entry.fired, 7);
	ck_assert(timer_is_set(&entry.timer));
}
END_TEST

static void free_both(struct timer *timer, struct mono now)
{
	struct entry *entry = container_of(timer, struct entry, timer);

	(void)now;
	timerq_clear(entry->queue, &entry->other->timer);
	free(entry->other);
	free(entry);
}

START_TEST(timerq__function_may_free_its_timer_and_another)
{
	struct timerq queue = TIMERQ_INIT;
	struct entry *first = malloc(sizeof(*first));
	struct entry *second = malloc(sizeof(*second));

	entry_init(first, &queue, free_both);
	entry_init(second, &queue, note);
	first->other = second;
	set(&queue, first, 1);
	set(&queue, second, 2);
	timerq_run(&queue, AT(5), 10);
	ck_assert_ptr_null(queue.root);
}
END_TEST

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

#define MODEL_TIMERS 200u

/* Compares the heap with a plain array after each of many random steps. */
START_TEST(timerq__agrees_with_a_sorted_list_whatever_is_set_and_cleared)
{
	static struct entry entries[MODEL_TIMERS];
	static uint64_t model[MODEL_TIMERS];
	struct timerq queue = TIMERQ_INIT;
	uint32_t state = 7;

	for (unsigned int i = 0; i < MODEL_TIMERS; i++) {
		entry_init(&entries[i], &queue, note);
		model[i] = UINT64_MAX;
	}
	for (unsigned int step = 0; step < 20000; step++) {
		unsigned int i = next_random(&state) % MODEL_TIMERS;
		uint64_t least = UINT64_MAX;

		if (next_random(&state) % 3 == 0) {
			timerq_clear(&queue, &entries[i].timer);
			model[i] = UINT64_MAX;
		} else {
			model[i] = next_random(&state) % 1000;
			set(&queue, &entries[i], model[i]);
		}
		for (unsigned int k = 0; k < MODEL_TIMERS; k++)
			if (model[k] < least)
				least = model[k];
		ck_assert_uint_eq(timerq_next(&queue).usec, least);
	}
	for (uint64_t last = 0; queue.root;) {
		uint64_t when_usec = timerq_next(&queue).usec;

		ck_assert_uint_ge(when_usec, last);
		last = when_usec;
		timerq_run(&queue, AT(when_usec), 1);
	}
}
END_TEST

START_TEST(clock__sums_saturate)
{
	ck_assert(mono_is_never(mono_add_usec(AT(5), UINT64_MAX)));
	ck_assert_uint_eq(mono_add_usec(AT(5), 6).usec, 11);
	ck_assert_uint_eq(mono_since_usec(AT(5), AT(9)), 0);
	ck_assert_uint_eq(mono_since_usec(AT(9), AT(5)), 4);
	ck_assert_uint_eq(mono_min(MONO_NEVER, AT(5)).usec, 5);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base/timerq");
	TCase *tests = tcase_create("timerq");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, timerq__empty_has_no_deadline);
	tcase_add_test(tests, timerq__fires_what_is_due_and_nothing_else);
	tcase_add_test(tests, timerq__moves_a_queued_timer_both_ways);
	tcase_add_test(tests, timerq__never_removes);
	tcase_add_test(tests, timerq__run_stops_at_its_budget);
	tcase_add_test(tests, timerq__timer_that_sets_itself_again_cannot_hold_the_turn);
	tcase_add_test(tests, timerq__function_may_free_its_timer_and_another);
	tcase_add_test(tests, timerq__agrees_with_a_sorted_list_whatever_is_set_and_cleared);
	tcase_add_test(tests, clock__sums_saturate);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
