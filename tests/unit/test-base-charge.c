#include "daemon/base/charge.h"

#include <check.h>
#include <signal.h>
#include <stddef.h>

START_TEST(charge__is_taken_from_every_account_up_to_the_root)
{
	struct account root = ACCOUNT_INIT(NULL, 100);
	struct account uid = ACCOUNT_INIT(&root, UINT64_MAX);
	struct account session = ACCOUNT_INIT(&uid, 50);
	struct charge charge = CHARGE_NONE;

	ck_assert(charge_take(&charge, &session, 20));
	ck_assert(charge_take(&charge, &session, 5));
	ck_assert_uint_eq(root.used, 25);
	ck_assert_uint_eq(uid.used, 25);
	ck_assert_uint_eq(session.used, 25);
	ck_assert_uint_eq(account_free(&session), 25);
	ck_assert_uint_eq(account_free(&uid), 75);
	charge_end(&charge);
	ck_assert_uint_eq(root.used + uid.used + session.used, 0);
}
END_TEST

START_TEST(charge__past_any_limit_takes_nothing)
{
	struct account root = ACCOUNT_INIT(NULL, 30);
	struct account first = ACCOUNT_INIT(&root, 100);
	struct account second = ACCOUNT_INIT(&root, 100);
	struct charge one = CHARGE_NONE;
	struct charge two = CHARGE_NONE;

	ck_assert(charge_take(&one, &first, 20));
	ck_assert(!charge_take(&two, &second, 11));
	ck_assert_uint_eq(second.used, 0);
	ck_assert_uint_eq(root.used, 20);
	ck_assert_ptr_null(two.account);
	ck_assert(charge_take(&two, &second, 10));
	ck_assert_uint_eq(account_free(&first), 0);
	ck_assert(!charge_take(&one, &first, UINT64_MAX));
	charge_end(&one);
	ck_assert_uint_eq(account_free(&second), 20);
	charge_end(&two);
}
END_TEST

START_TEST(charge__forced_may_pass_the_limit_and_is_given_back)
{
	struct account account = ACCOUNT_INIT(NULL, 10);
	struct charge charge = CHARGE_NONE;
	struct charge other = CHARGE_NONE;

	charge_force(&charge, &account, 25);
	ck_assert_uint_eq(account.used, 25);
	ck_assert_uint_eq(account_free(&account), 0);
	ck_assert(!charge_take(&other, &account, 1));
	ck_assert(charge_take(&other, &account, 0));
	charge_lower(&charge, 20);
	ck_assert(charge_take(&other, &account, 5));
	charge_end(&other);
	charge_end(&charge);
	ck_assert_uint_eq(account.used, 0);
}
END_TEST

START_TEST(charge__end_again_does_nothing)
{
	struct account account = ACCOUNT_INIT(NULL, 10);
	struct charge charge = CHARGE_NONE;
	struct charge other = CHARGE_NONE;

	ck_assert(charge_take(&other, &account, 3));
	ck_assert(charge_take(&charge, &account, 5));
	charge_end(&charge);
	charge_end(&charge);
	ck_assert_uint_eq(account.used, 3);
	charge_end(&other);
}
END_TEST

START_TEST(charge__lowered_to_nothing_may_go_to_another_account)
{
	struct account first = ACCOUNT_INIT(NULL, 10);
	struct account second = ACCOUNT_INIT(NULL, 10);
	struct charge charge = CHARGE_NONE;

	ck_assert(charge_take(&charge, &first, 5));
	charge_lower(&charge, 5);
	ck_assert(charge_take(&charge, &second, 5));
	ck_assert_uint_eq(first.used, 0);
	ck_assert_uint_eq(second.used, 5);
	charge_end(&charge);
}
END_TEST

START_TEST(charge__lowering_by_more_than_it_has_aborts)
{
	struct account account = ACCOUNT_INIT(NULL, 10);
	struct charge charge = CHARGE_NONE;

	ck_assert(charge_take(&charge, &account, 5));
	charge_lower(&charge, 6);
}
END_TEST

/* How much the account has when it wants everything. */
static uint64_t take_all(struct account *account, struct charge *charge)
{
	while (charge_take(charge, account, 1))
		;
	return account->used;
}

START_TEST(charge__share_leaves_room_for_others)
{
	struct account whole = ACCOUNT_INIT(NULL, 700);
	struct account first = ACCOUNT_INIT_SHARE(&whole, 3);
	struct account second = ACCOUNT_INIT_SHARE(&whole, 3);
	struct charge one = CHARGE_NONE, two = CHARGE_NONE;

	ck_assert_uint_eq(account_free(&first), 525);
	ck_assert_uint_eq(take_all(&first, &one), 525); /* three quarters */
	ck_assert_uint_eq(account_free(&second), 131);
	/* both want everything, and the first one's come and go: it gets no more than the other */
	for (unsigned int i = 0; i < 1000; i++) {
		(void)take_all(&second, &two);
		charge_lower(&one, 5);
		(void)take_all(&second, &two);
		(void)take_all(&first, &one);
	}
	ck_assert_uint_ge(second.used, 300);
	ck_assert_uint_ge(account_free(&whole), 95); /* a seventh stays free, but for what is rounded */
	charge_end(&one);
	ck_assert_uint_eq(take_all(&second, &two), 525);
	/* what was forced past it is no fault, and nothing more is had */
	charge_force(&one, &first, 600);
	ck_assert_uint_eq(account_free(&first), 0);
	ck_assert_uint_eq(account_free(&second), 0);
	charge_end(&one);
	charge_end(&two);
	ck_assert_uint_eq(whole.used, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base/charge");
	TCase *tests = tcase_create("charge");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, charge__is_taken_from_every_account_up_to_the_root);
	tcase_add_test(tests, charge__past_any_limit_takes_nothing);
	tcase_add_test(tests, charge__forced_may_pass_the_limit_and_is_given_back);
	tcase_add_test(tests, charge__end_again_does_nothing);
	tcase_add_test(tests, charge__lowered_to_nothing_may_go_to_another_account);
	tcase_add_test(tests, charge__share_leaves_room_for_others);
	tcase_add_test_raise_signal(tests, charge__lowering_by_more_than_it_has_aborts, SIGABRT);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
