/*
 * A stand-in for the few things of the check library that the codec's tests
 * use, for compilers that have no libcheck: gcc -m32, musl-gcc. The include
 * path chooses between the two, the tests are the same.
 *
 * No fork: a failed assertion leaves the test by longjmp and is counted; a
 * crash ends the program, which the harness sees.
 */
#pragma once

#include <inttypes.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CK_NORMAL 1

typedef void (*shim_test_fn)(int _i);

struct shim_test {
	const char *name;
	shim_test_fn function;
	int from, to;
};

/* suite, case and runner in one; check's names for it are below */
struct shim_suite {
	const char *name;
	struct shim_test tests[200];
	int count;
	int failed;
	jmp_buf leave;
};

#define Suite struct shim_suite
#define TCase struct shim_suite
#define SRunner struct shim_suite

struct shim_suite *shim_suite_get(void);

/* Each test is a program of one file; the shim lives in it. */
struct shim_suite *shim_suite_get(void)
{
	static struct shim_suite suite;

	return &suite;
}

__attribute__((noreturn, format(printf, 3, 4))) static void shim_fail(const char *file, int line,
								      const char *format, ...)
{
	va_list args;

	printf("%s:%d: ", file, line);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	longjmp(shim_suite_get()->leave, 1);
}

#define START_TEST(test)         \
	static void test(int _i) \
	{                        \
		(void)_i;
#define END_TEST }

#define ck_assert_msg(condition, ...)                               \
	do {                                                        \
		if (!(condition))                                   \
			shim_fail(__FILE__, __LINE__, __VA_ARGS__); \
	} while (0)
#define ck_assert(condition) ck_assert_msg(condition, "%s", "not true: " #condition)
#define ck_abort_msg(...) shim_fail(__FILE__, __LINE__, __VA_ARGS__)

#define shim_assert_number(type, format, a, op, b)                                                        \
	do {                                                                                              \
		type shim_a = (a), shim_b = (b);                                                          \
		ck_assert_msg(shim_a op shim_b, "not true: " #a " " #op " " #b ": %" format ", %" format, \
			      shim_a, shim_b);                                                            \
	} while (0)
#define ck_assert_int_eq(a, b) shim_assert_number(intmax_t, PRIdMAX, a, ==, b)
#define ck_assert_int_ne(a, b) shim_assert_number(intmax_t, PRIdMAX, a, !=, b)
#define ck_assert_uint_eq(a, b) shim_assert_number(uintmax_t, PRIuMAX, a, ==, b)
#define ck_assert_uint_ne(a, b) shim_assert_number(uintmax_t, PRIuMAX, a, !=, b)
#define ck_assert_uint_le(a, b) shim_assert_number(uintmax_t, PRIuMAX, a, <=, b)
#define ck_assert_uint_gt(a, b) shim_assert_number(uintmax_t, PRIuMAX, a, >, b)
#define ck_assert_ptr_null(a) ck_assert((a) == NULL)
#define ck_assert_ptr_nonnull(a) ck_assert((a) != NULL)
#define ck_assert_str_eq(a, b) ck_assert_msg(strcmp(a, b) == 0, "%s is not %s", a, b)
#define ck_assert_mem_eq(a, b, len) ck_assert_msg(memcmp(a, b, len) == 0, "%s", "bytes differ: " #a ", " #b)

static inline struct shim_suite *suite_create(const char *name)
{
	shim_suite_get()->name = name;
	return shim_suite_get();
}
#define tcase_create(name) shim_suite_get()
#define suite_add_tcase(suite, tcase) ((void)(suite), (void)(tcase))
#define tcase_set_timeout(tcase, seconds) ((void)(tcase))
#define srunner_create(suite) (suite)
#define srunner_ntests_failed(runner) ((runner)->failed)
#define srunner_free(runner) ((void)(runner))

static inline void shim_add(struct shim_suite *suite, const char *name, shim_test_fn function, int from,
			    int to)
{
	if (suite->count == (int)(sizeof(suite->tests) / sizeof(suite->tests[0])))
		abort();
	suite->tests[suite->count++] = (struct shim_test){name, function, from, to};
}
#define tcase_add_test(tcase, test) shim_add(tcase, #test, test, 0, 1)
#define tcase_add_loop_test(tcase, test, from, to) shim_add(tcase, #test, test, from, to)

static void shim_run_one(struct shim_suite *suite, const struct shim_test *test, int i)
{
	if (setjmp(suite->leave)) {
		suite->failed++;
		printf("failed: %s:%d\n", test->name, i);
		return;
	}
	test->function(i);
}

static inline void srunner_run_all(struct shim_suite *suite, int mode)
{
	int total = 0;

	(void)mode;
	for (int t = 0; t < suite->count; t++)
		for (int i = suite->tests[t].from; i < suite->tests[t].to; i++, total++)
			shim_run_one(suite, &suite->tests[t], i);
	printf("%s: %d passed, %d failed, 0 skipped\n", suite->name, total - suite->failed, suite->failed);
}
