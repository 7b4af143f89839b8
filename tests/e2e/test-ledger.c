/*
 * The ledger itself: a broken guarantee is seen, and what is allowed is not
 * taken for one. Each test is a history of one publisher and one consumer.
 */
#include "config.h"

#include "tests/e2e/account.h"

#include <check.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
	PLAIN,
	MARKED,
	REDELIVERED,
	MARKED_REDELIVERED
};

struct history {
	struct ledger *ledger;
	uint64_t highest;
};

/* Messages 1 to 9 are published. */
static struct history begin(void)
{
	struct settings settings = {.publishers = 1, .consumers = 1, .capacity = 10};
	struct history history = {.ledger = ledger_new(&settings)};

	atomic_store(&history.ledger->attempted[0], 9);
	return history;
}

static void end(struct history *history)
{
	munmap(history->ledger, sizeof(*history->ledger) + 10 * sizeof(struct record));
}

static void deliver(struct history *history, uint64_t number, int how)
{
	struct delivery delivery = {.number = number,
				    .sent_usec = now_usec(),
				    .marked = how == MARKED || how == MARKED_REDELIVERED,
				    .redelivered = how == REDELIVERED || how == MARKED_REDELIVERED};

	ledger_delivery(history->ledger, &delivery, &history->highest);
}

static uint64_t get(const struct history *history, enum count what)
{
	return ledger_get(history->ledger, what);
}

START_TEST(ledger__an_unmarked_duplicate_is_seen)
{
	struct history history = begin();

	deliver(&history, 1, PLAIN);
	deliver(&history, 1, PLAIN);
	ck_assert_uint_eq(get(&history, COUNT_DUPLICATED_UNMARKED), 1);
	ck_assert_uint_eq(get(&history, COUNT_OVERTAKEN), 0);
	end(&history);
}
END_TEST

START_TEST(ledger__an_original_behind_its_replay_is_an_unmarked_duplicate)
{
	struct history history = begin();

	deliver(&history, 1, MARKED);
	deliver(&history, 1, PLAIN);
	ck_assert_uint_eq(get(&history, COUNT_DUPLICATED_UNMARKED), 1);
	ck_assert_uint_eq(get(&history, COUNT_OVERTAKEN), 1);
	end(&history);
}
END_TEST

START_TEST(ledger__marked_and_redelivered_duplicates_are_allowed)
{
	struct history history = begin();

	deliver(&history, 1, PLAIN);
	deliver(&history, 1, REDELIVERED);
	deliver(&history, 1, MARKED);
	deliver(&history, 1, MARKED_REDELIVERED);
	ck_assert_uint_eq(get(&history, COUNT_DUPLICATED_UNMARKED), 0);
	ck_assert_uint_eq(get(&history, COUNT_DUPLICATED_MARKED), 1);
	ck_assert_uint_eq(get(&history, COUNT_MARKED), 1);
	ck_assert_uint_eq(get(&history, COUNT_REDELIVERED), 2);
	ck_assert_uint_eq(get(&history, COUNT_FIRST_SEEN), 1);
	ck_assert_uint_eq(get(&history, COUNT_DELIVERED), 4);
	end(&history);
}
END_TEST

START_TEST(ledger__a_message_out_of_order_is_seen)
{
	struct history history = begin();

	deliver(&history, 2, PLAIN);
	deliver(&history, 1, PLAIN);
	ck_assert_uint_eq(get(&history, COUNT_OUT_OF_ORDER), 1);
	end(&history);
}
END_TEST

START_TEST(ledger__a_replay_behind_what_is_newer_is_out_of_order_if_it_comes_first)
{
	struct history history = begin();

	deliver(&history, 1, PLAIN);
	deliver(&history, 3, PLAIN);
	deliver(&history, 2, MARKED);
	ck_assert_uint_eq(get(&history, COUNT_OUT_OF_ORDER), 1);
	end(&history);
}
END_TEST

START_TEST(ledger__replays_of_what_was_seen_and_redeliveries_keep_no_order)
{
	struct history history = begin();

	deliver(&history, 1, PLAIN);
	deliver(&history, 5, PLAIN);
	deliver(&history, 3, REDELIVERED);
	deliver(&history, 1, MARKED);
	deliver(&history, 6, MARKED);
	deliver(&history, 7, PLAIN);
	ck_assert_uint_eq(get(&history, COUNT_OUT_OF_ORDER), 0);
	end(&history);
}
END_TEST

START_TEST(ledger__a_message_that_nobody_published_is_unexpected)
{
	struct history history = begin();

	deliver(&history, 10, PLAIN);
	deliver(&history, 0, PLAIN);
	ck_assert_uint_eq(get(&history, COUNT_UNEXPECTED), 2);
	ck_assert_uint_eq(get(&history, COUNT_DELIVERED), 0);
	end(&history);
}
END_TEST

START_TEST(ledger__what_is_confirmed_and_does_not_come_is_lost)
{
	struct history history = begin();

	ledger_outcome(history.ledger, 0, 1, MUXC_CONFIRMED);
	ledger_outcome(history.ledger, 0, 2, MUXC_CONFIRMED);
	ledger_outcome(history.ledger, 0, 3, MUXC_UNKNOWN);
	deliver(&history, 2, REDELIVERED);
	ck_assert_uint_eq(count_unseen(history.ledger), 1);
	end(&history);
}
END_TEST

START_TEST(ledger__a_second_outcome_and_one_of_nothing_are_seen)
{
	struct history history = begin();

	ledger_outcome(history.ledger, 0, 1, MUXC_CONFIRMED);
	ledger_outcome(history.ledger, 0, 1, MUXC_CONFIRMED);
	ledger_outcome(history.ledger, 0, 10, MUXC_CONFIRMED);
	ck_assert_uint_eq(get(&history, COUNT_CONFIRMED), 1);
	ck_assert_uint_eq(get(&history, COUNT_TWO_OUTCOMES), 1);
	ck_assert_uint_eq(get(&history, COUNT_UNEXPECTED), 1);
	end(&history);
}
END_TEST

START_TEST(ledger__the_first_delivery_after_a_fault_is_one_that_could_not_come_before)
{
	struct history history = begin();
	struct fault *fault;
	struct delivery old = {.number = 1, .sent_usec = now_usec() - 1}, young = {.number = 2};

	fault = ledger_begin_fault(history.ledger, "cut");
	ledger_delivery(history.ledger, &old, &history.highest);
	atomic_store(&fault->back_usec, now_usec());
	old.number = 3;
	ledger_delivery(history.ledger, &old, &history.highest);
	ck_assert_uint_eq(atomic_load(&fault->first_usec[0]), 0);
	young.sent_usec = fault->begin_usec + 1;
	ledger_delivery(history.ledger, &young, &history.highest);
	ck_assert_uint_ge(atomic_load(&fault->first_usec[0]), atomic_load(&fault->back_usec));
	end(&history);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ledger");
	TCase *tcase = tcase_create("histories");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, ledger__an_unmarked_duplicate_is_seen);
	tcase_add_test(tcase, ledger__an_original_behind_its_replay_is_an_unmarked_duplicate);
	tcase_add_test(tcase, ledger__marked_and_redelivered_duplicates_are_allowed);
	tcase_add_test(tcase, ledger__a_message_out_of_order_is_seen);
	tcase_add_test(tcase, ledger__a_replay_behind_what_is_newer_is_out_of_order_if_it_comes_first);
	tcase_add_test(tcase, ledger__replays_of_what_was_seen_and_redeliveries_keep_no_order);
	tcase_add_test(tcase, ledger__a_message_that_nobody_published_is_unexpected);
	tcase_add_test(tcase, ledger__what_is_confirmed_and_does_not_come_is_lost);
	tcase_add_test(tcase, ledger__a_second_outcome_and_one_of_nothing_are_seen);
	tcase_add_test(tcase, ledger__the_first_delivery_after_a_fault_is_one_that_could_not_come_before);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
