#include "daemon/base/duration.h"

#include <check.h>
#include <errno.h>

struct example {
	const char *text;
	int result;
	uint64_t value;
};

#define UNTOUCHED 77u

static void compare(int (*parse)(const char *text, uint64_t *ret), const struct example *example)
{
	uint64_t value = UNTOUCHED;
	int r = parse(example->text, &value);

	ck_assert_msg(r == example->result, "'%s': %d instead of %d", example->text, r, example->result);
	if (r < 0)
		ck_assert_msg(value == UNTOUCHED, "'%s': the output was touched", example->text);
	else
		ck_assert_msg(value == example->value, "'%s': %llu", example->text,
			      (unsigned long long)value);
}

static const struct example durations[] = {
    {"200ms", 0, 200000},
    {"20s", 0, 20000000},
    {"5m", 0, 300000000},
    {"1h", 0, 3600000000},
    {"0", 0, 0},
    {"0s", 0, 0},
    {"007s", 0, 7000000},
    {"18446744073709551ms", 0, 18446744073709551000ull},
    {"18446744073709552ms", -ERANGE, 0},
    {"18446744073709551616s", -ERANGE, 0},
    {"99999999999999999999999999h", -ERANGE, 0},
    {"20", -EINVAL, 0},
    {"", -EINVAL, 0},
    {"s", -EINVAL, 0},
    {"-1s", -EINVAL, 0},
    {"+1s", -EINVAL, 0},
    {" 1s", -EINVAL, 0},
    {"1 s", -EINVAL, 0},
    {"1s ", -EINVAL, 0},
    {"1.5s", -EINVAL, 0},
    {"1S", -EINVAL, 0},
    {"1d", -EINVAL, 0},
    {"1m30s", -EINVAL, 0},
    {"0x10s", -EINVAL, 0},
    {"99999999999999999999999999", -EINVAL, 0},
};

static const struct example sizes[] = {
    {"0", 0, 0},
    {"512", 0, 512},
    {"16K", 0, 16384},
    {"64M", 0, 67108864},
    {"1G", 0, 1073741824},
    {"18446744073709551615", 0, UINT64_MAX},
    {"18446744073709551616", -ERANGE, 0},
    {"17179869183G", 0, 17179869183ull << 30},
    {"17179869184G", -ERANGE, 0},
    {"16k", -EINVAL, 0},
    {"16KB", -EINVAL, 0},
    {"16 K", -EINVAL, 0},
    {"K", -EINVAL, 0},
    {"", -EINVAL, 0},
    {"-5", -EINVAL, 0},
    {"1s", -EINVAL, 0},
};

static const struct example numbers[] = {
    {"0", 0, 0},
    {"4096", 0, 4096},
    {"4K", -EINVAL, 0},
    {"", -EINVAL, 0},
    {"1e3", -EINVAL, 0},
    {"010", 0, 10},
    {"18446744073709551616", -ERANGE, 0},
};

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

START_TEST(duration__reads_what_people_write_and_refuses_the_rest)
{
	compare(duration_parse_usec, &durations[_i]);
}
END_TEST

START_TEST(size__reads_what_people_write_and_refuses_the_rest)
{
	compare(size_parse_bytes, &sizes[_i]);
}
END_TEST

START_TEST(number__has_no_unit)
{
	compare(number_parse, &numbers[_i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base/duration");
	TCase *tests = tcase_create("duration");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_loop_test(tests, duration__reads_what_people_write_and_refuses_the_rest, 0,
			    COUNT(durations));
	tcase_add_loop_test(tests, size__reads_what_people_write_and_refuses_the_rest, 0, COUNT(sizes));
	tcase_add_loop_test(tests, number__has_no_unit, 0, COUNT(numbers));
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
