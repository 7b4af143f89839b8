#include "daemon/base/fault.h"
#include "daemon/base/log.h"
#include "daemon/base/quiet.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>

struct heard {
	unsigned int lines;
	enum log_level level;
	char text[4096];
	char field[64];
};

static void hear(void *context, enum log_level level, const char *text, const struct log_field *fields,
		 size_t field_count)
{
	struct heard *heard = context;

	heard->lines++;
	heard->level = level;
	snprintf(heard->text, sizeof(heard->text), "%s", text);
	if (field_count > 0)
		snprintf(heard->field, sizeof(heard->field), "%s=%s", fields[0].key, fields[0].value);
	errno = EIO;
}

START_TEST(log__without_a_sink_is_dropped)
{
	ck_assert(!log_enabled(LOG_LEVEL_ERROR));
	log_error("nobody %s", "hears");
}
END_TEST

START_TEST(log__line_reaches_the_sink_with_level_and_fields)
{
	struct heard heard = {0};
	const struct log_field fields[] = {{"SESSION", "12"}};

	log_set_sink(hear, &heard);
	errno = ENOENT;
	log_write(LOG_LEVEL_WARNING, fields, 1, "%s %d", "answer", 42);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_uint_eq(heard.lines, 1);
	ck_assert_int_eq(heard.level, LOG_LEVEL_WARNING);
	ck_assert_str_eq(heard.text, "answer 42");
	ck_assert_str_eq(heard.field, "SESSION=12");
}
END_TEST

START_TEST(log__line_is_one_line_whatever_somebody_else_says)
{
	struct heard heard = {0};

	log_set_sink(hear, &heard);
	log_warning("broker: %s", "no queue 'a\nnotice: muxd has ended\x1b[2J'");
	ck_assert_str_eq(heard.text, "broker: no queue 'a\\x0anotice: muxd has ended\\x1b[2J'");
}
END_TEST

static int count(int *calls)
{
	return ++*calls;
}

START_TEST(log__above_the_level_is_dropped_and_debug_not_evaluated)
{
	struct heard heard = {0};
	int calls = 0;

	log_set_sink(hear, &heard);
	ck_assert_int_eq(log_get_level(), LOG_LEVEL_INFO);
	log_debug("%d", count(&calls));
	ck_assert_uint_eq(heard.lines, 0);
	ck_assert_int_eq(calls, 0);
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("%d", count(&calls));
	ck_assert_uint_eq(heard.lines, 1);
	ck_assert_int_eq(calls, 1);
	log_set_level(LOG_LEVEL_ERROR);
	log_warning("no");
	log_error("yes");
	ck_assert_uint_eq(heard.lines, 2);
	ck_assert_str_eq(heard.text, "yes");
}
END_TEST

START_TEST(log__long_line_is_cut)
{
	struct heard heard = {0};
	char text[5000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	log_set_sink(hear, &heard);
	log_error("%s", text);
	ck_assert_uint_eq(strlen(heard.text), 2047);
}
END_TEST

START_TEST(log__levels_have_names)
{
	const char *const known[] = {"error", "warning", "notice", "info", "debug"};
	enum log_level level = LOG_LEVEL_NOTICE;

	for (unsigned int i = 0; i < 5; i++) {
		ck_assert_int_eq(log_level_parse(known[i], &level), 0);
		ck_assert_uint_eq(level, 3 + i);
		ck_assert_str_eq(log_level_name(level), known[i]);
	}
	level = LOG_LEVEL_NOTICE;
	ck_assert_int_eq(log_level_parse("Info", &level), -EINVAL);
	ck_assert_int_eq(log_level_parse("", &level), -EINVAL);
	ck_assert_int_eq(level, LOG_LEVEL_NOTICE);
}
END_TEST

START_TEST(log__clean_shows_what_could_harm_a_terminal_or_a_log)
{
	char out[64];

	ck_assert_str_eq(log_clean(out, sizeof(out), SPAN_LITERAL("plain text")), "plain text");
	ck_assert_str_eq(log_clean(out, sizeof(out), SPAN_LITERAL("a\nb\0c\x1b[m\xc3\xa4\x7f")),
			 "a\\x0ab\\x00c\\x1b[m\\xc3\\xa4\\x7f");
	ck_assert_str_eq(log_clean(out, sizeof(out), SPAN_NULL), "");
}
END_TEST

START_TEST(log__clean_cuts_with_dots_and_never_inside_an_escape)
{
	static const char *const expected[] = {
	    "?",   "",	       ".",	   "..",       "...",	   "...",	   "...",
	    "...", "\\x01...", "\\x01...", "\\x01...", "\\x01...", "\\x01\\x02..."};
	char out[32];

	for (size_t size = 0; size <= 12; size++) {
		memset(out, '?', sizeof(out));
		out[31] = 0;
		log_clean(out, size, SPAN_LITERAL("\x01\x02\x03\x04"));
		if (size == 0)
			ck_assert_int_eq(out[0], '?');
		else
			ck_assert_str_eq(out, expected[size]);
		ck_assert_int_eq(out[size], '?');
	}
	ck_assert_str_eq(log_clean(out, 5, SPAN_LITERAL("abcd")), "abcd");
	ck_assert_str_eq(log_clean(out, 5, SPAN_LITERAL("abcde")), "a...");
}
END_TEST

START_TEST(fault__made_here_says_so)
{
	struct fault none = FAULT_NONE;
	struct fault fault = fault_make(404, "no queue '%s'", "q");

	ck_assert(!fault_is_set(&none));
	ck_assert(fault_is_set(&fault));
	ck_assert_uint_eq(fault.code, 404);
	ck_assert_int_eq(fault.origin, FAULT_MUXD);
	ck_assert(!fault.retryable);
	ck_assert(span_equal_str(fault_text(&fault), "no queue 'q'"));
	ck_assert_str_eq(fault.text, "no queue 'q'");
	fault = fault_make_retryable(541, "%s", "later");
	ck_assert(fault.retryable);
}
END_TEST

START_TEST(fault__of_a_broker_keeps_its_bytes)
{
	struct fault fault = fault_from_broker(406, SPAN_LITERAL("a\0b"), 50, 10);

	ck_assert_int_eq(fault.origin, FAULT_BROKER);
	ck_assert_uint_eq(fault.class_id, 50);
	ck_assert_uint_eq(fault.method_id, 10);
	ck_assert(span_equal(fault_text(&fault), SPAN_LITERAL("a\0b")));
	fault = fault_from_broker(541, SPAN_NULL, 0, 0);
	ck_assert_uint_eq(fault.text_len, 0);
}
END_TEST

START_TEST(fault__long_text_is_cut_between_characters)
{
	char text[600];
	struct fault fault;

	memset(text, 'x', sizeof(text));
	fault = fault_make(541, "%.*s", (int)sizeof(text), text);
	ck_assert_uint_eq(fault.text_len, FAULT_TEXT_MAX);
	ck_assert_int_eq(fault.text[FAULT_TEXT_MAX], 0);
	memcpy(text + FAULT_TEXT_MAX - 2, "\xf0\x9f\x90\x87", 4);
	fault = fault_make(541, "%.*s", (int)sizeof(text), text);
	ck_assert_uint_eq(fault.text_len, FAULT_TEXT_MAX - 2);
	fault = fault_from_broker(541, span_make(text, sizeof(text)), 0, 0);
	ck_assert_uint_eq(fault.text_len, FAULT_TEXT_MAX - 2);
	memset(text, 0x80, sizeof(text));
	fault = fault_from_broker(541, span_make(text, sizeof(text)), 0, 0);
	ck_assert_uint_eq(fault.text_len, FAULT_TEXT_MAX);
}
END_TEST

START_TEST(quiet__says_a_few_lines_and_counts_the_rest)
{
	struct quiet quiet = QUIET_INIT;
	char more[QUIET_MORE_BYTES];
	struct mono now = {1};

	for (unsigned int i = 0; i < QUIET_LINES_MAX; i++) {
		ck_assert(quiet_may_say(&quiet, now, more));
		ck_assert_str_eq(more, "");
	}
	for (unsigned int i = 0; i < 100000; i++)
		ck_assert(!quiet_may_say(&quiet, now, more));
	now = mono_add_usec(now, QUIET_INTERVAL_USEC - 1);
	ck_assert(!quiet_may_say(&quiet, now, more));
	now = mono_add_usec(now, 1);
	ck_assert(quiet_may_say(&quiet, now, more));
	ck_assert_str_eq(more, " (100001 such lines were left out before)");
	ck_assert(quiet_may_say(&quiet, now, more));
	ck_assert_str_eq(more, "");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base/log, base/fault");
	TCase *tests = tcase_create("log and fault");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, log__without_a_sink_is_dropped);
	tcase_add_test(tests, log__line_reaches_the_sink_with_level_and_fields);
	tcase_add_test(tests, log__line_is_one_line_whatever_somebody_else_says);
	tcase_add_test(tests, log__above_the_level_is_dropped_and_debug_not_evaluated);
	tcase_add_test(tests, log__long_line_is_cut);
	tcase_add_test(tests, log__levels_have_names);
	tcase_add_test(tests, log__clean_shows_what_could_harm_a_terminal_or_a_log);
	tcase_add_test(tests, log__clean_cuts_with_dots_and_never_inside_an_escape);
	tcase_add_test(tests, fault__made_here_says_so);
	tcase_add_test(tests, fault__of_a_broker_keeps_its_bytes);
	tcase_add_test(tests, fault__long_text_is_cut_between_characters);
	tcase_add_test(tests, quiet__says_a_few_lines_and_counts_the_rest);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
