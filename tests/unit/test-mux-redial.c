#include "daemon/mux/redial.h"

#include <check.h>
#include <stdlib.h>

START_TEST(redial__a_round_of_all_endpoints_has_no_pause_in_it)
{
	struct redial redial;

	redial_init(&redial, 100, 1000, 3);
	ck_assert_uint_eq(redial_failed(&redial, false, UINT64_MAX), 0);
	ck_assert_uint_eq(redial.endpoint, 1);
	ck_assert_uint_eq(redial_failed(&redial, false, UINT64_MAX), 0);
	ck_assert_uint_eq(redial.endpoint, 2);
	ck_assert_uint_eq(redial_failed(&redial, false, 100), 100);
	ck_assert_uint_eq(redial.endpoint, 0);
}
END_TEST

/* The largest pause that random can give: pauses are random modulo ceiling + 1. */
static uint64_t ceiling(struct redial redial)
{
	uint64_t most = 0;

	for (uint64_t random = 0; random < 5000; random++) {
		struct redial copy = redial;
		uint64_t pause = redial_failed(&copy, false, random);

		most = pause > most ? pause : most;
	}
	return most;
}

START_TEST(redial__the_ceiling_doubles_with_each_round_up_to_the_longest)
{
	static const uint64_t expected[] = {100, 200, 400, 800, 1000, 1000};
	struct redial redial;

	redial_init(&redial, 100, 1000, 1);
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		ck_assert_uint_eq(ceiling(redial), expected[i]);
		(void)redial_failed(&redial, false, 0);
	}
}
END_TEST

START_TEST(redial__jitter_is_full)
{
	struct redial redial, copy;
	bool low = false, high = false;

	redial_init(&redial, 1000, 1000, 1);
	for (uint64_t random = 0; random <= 1000; random++) {
		uint64_t pause;

		copy = redial;
		pause = redial_failed(&copy, false, random);
		low = low || pause < 100;
		high = high || pause > 900;
		ck_assert_uint_le(pause, 1000);
	}
	ck_assert(low);
	ck_assert(high);
}
END_TEST

START_TEST(redial__success_begins_anew)
{
	struct redial redial;

	redial_init(&redial, 100, 1000, 1);
	for (int i = 0; i < 5; i++)
		(void)redial_failed(&redial, false, 0);
	redial_succeeded(&redial);
	ck_assert_uint_eq(ceiling(redial), 100);
}
END_TEST

START_TEST(redial__after_success_the_next_failure_goes_to_the_next_endpoint)
{
	struct redial redial;

	redial_init(&redial, 100, 1000, 2);
	(void)redial_failed(&redial, false, 0);
	redial_succeeded(&redial);
	ck_assert_uint_eq(redial.endpoint, 1);
	ck_assert_uint_eq(redial_failed(&redial, false, 77), 0);
	ck_assert_uint_eq(redial.endpoint, 0);
}
END_TEST

START_TEST(redial__refused_waits_about_the_longest)
{
	struct redial redial;

	redial_init(&redial, 100, 1000, 1);
	for (uint64_t random = 0; random < 3000; random++) {
		uint64_t pause = redial_failed(&redial, true, random);

		ck_assert_uint_ge(pause, 500);
		ck_assert_uint_le(pause, 1000);
	}
}
END_TEST

START_TEST(redial__one_that_refused_makes_the_pause_behind_its_round_long)
{
	struct redial redial;

	redial_init(&redial, 100, 1000, 3);
	for (int refusing = 0; refusing < 3; refusing++) {
		for (int i = 0; i < 2; i++)
			ck_assert_uint_eq(redial_failed(&redial, i == refusing, 0), 0);
		ck_assert(!redial_round_is_over(&redial));
		ck_assert_uint_ge(redial_failed(&redial, refusing == 2, 0), 500);
		ck_assert(redial_round_is_over(&redial));
	}
	/* And not the next ones. */
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(redial_failed(&redial, false, 0), 0);
}
END_TEST

START_TEST(redial__many_rounds_do_not_overflow)
{
	struct redial redial;

	redial_init(&redial, UINT64_MAX / 4, UINT64_MAX / 2, 1);
	for (int i = 0; i < 200; i++)
		ck_assert_uint_le(redial_failed(&redial, i % 2, UINT64_MAX), UINT64_MAX / 2);
}
END_TEST

START_TEST(redial__zero_and_crossed_limits_are_put_right)
{
	struct redial redial;

	redial_init(&redial, 0, 0, 1);
	ck_assert_uint_le(redial_failed(&redial, false, UINT64_MAX), 1);
	redial_init(&redial, 500, 100, 1);
	ck_assert_uint_eq(ceiling(redial), 500);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("redial");
	TCase *tcase = tcase_create("redial");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, redial__a_round_of_all_endpoints_has_no_pause_in_it);
	tcase_add_test(tcase, redial__the_ceiling_doubles_with_each_round_up_to_the_longest);
	tcase_add_test(tcase, redial__jitter_is_full);
	tcase_add_test(tcase, redial__success_begins_anew);
	tcase_add_test(tcase, redial__after_success_the_next_failure_goes_to_the_next_endpoint);
	tcase_add_test(tcase, redial__refused_waits_about_the_longest);
	tcase_add_test(tcase, redial__one_that_refused_makes_the_pause_behind_its_round_long);
	tcase_add_test(tcase, redial__many_rounds_do_not_overflow);
	tcase_add_test(tcase, redial__zero_and_crossed_limits_are_put_right);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
