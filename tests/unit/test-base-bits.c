#include "daemon/base/bits.h"
#include "tests/unit/random.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct bits bits;
static uint64_t *words;

static void make(size_t size)
{
	words = malloc(bits_words(size) * sizeof(*words));
	ck_assert_ptr_nonnull(words);
	memset(words, 0xff, bits_words(size) * sizeof(*words));
	bits_init(&bits, words, size);
}

START_TEST(bits__begin_empty_and_have_what_was_put_in)
{
	make(64);
	ck_assert_uint_eq(bits_next(&bits, 0), BITS_NONE);
	bits_put(&bits, 0, true);
	bits_put(&bits, 63, true);
	ck_assert_uint_eq(bits_next(&bits, 0), 0);
	ck_assert_uint_eq(bits_next(&bits, 1), 63);
	ck_assert_uint_eq(bits_next(&bits, 64), BITS_NONE);
	bits_put(&bits, 0, false);
	ck_assert_uint_eq(bits_next(&bits, 0), 63);
	free(words);
}
END_TEST

START_TEST(bits__next_is_found_over_any_distance)
{
	size_t last = (1u << 24) - 1;

	make(1u << 24);
	bits_put(&bits, last, true);
	ck_assert_uint_eq(bits_next(&bits, 0), last);
	ck_assert_uint_eq(bits_next(&bits, last), last);
	ck_assert_uint_eq(bits_next(&bits, last + 1), BITS_NONE);
	bits_put(&bits, 4096, true);
	ck_assert_uint_eq(bits_next(&bits, 0), 4096);
	ck_assert_uint_eq(bits_next(&bits, 4097), last);
	bits_put(&bits, last, false);
	ck_assert_uint_eq(bits_next(&bits, 4097), BITS_NONE);
	free(words);
}
END_TEST

START_TEST(bits__are_as_one_flag_for_each_number)
{
	static const size_t sizes[] = {64, 128, 4096, 8192};
	struct random random = {1};

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		bool *flags = calloc(sizes[s], sizeof(*flags));

		make(sizes[s]);
		for (int i = 0; i < 20000; i++) {
			size_t number = random_below(&random, (uint32_t)sizes[s]);
			size_t from = random_below(&random, (uint32_t)sizes[s]), expected = from;

			flags[number] = random_below(&random, 4) == 0;
			bits_put(&bits, number, flags[number]);
			while (expected < sizes[s] && !flags[expected])
				expected++;
			ck_assert_uint_eq(bits_next(&bits, from), expected < sizes[s] ? expected : BITS_NONE);
		}
		free(flags);
		free(words);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base/bits");
	TCase *tests = tcase_create("bits");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, bits__begin_empty_and_have_what_was_put_in);
	tcase_add_test(tests, bits__next_is_found_over_any_distance);
	tcase_add_test(tests, bits__are_as_one_flag_for_each_number);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
