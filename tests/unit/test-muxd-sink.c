/* Where muxd's log goes: the journal is a fake here, whose sd_journal_sendv() goes before libsystemd's. */
#include "config.h"

#include "daemon/base/log.h"
#include "daemon/sink.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static struct {
	char text[4096]; /* its parts, a line each */
	int calls;
	int result;
} journal;

int sd_journal_sendv(const struct iovec *parts, int count);
int sd_journal_sendv(const struct iovec *parts, int count)
{
	size_t used = 0;

	for (int i = 0; i < count; i++)
		used += (size_t)snprintf(journal.text + used, sizeof(journal.text) - used, "%.*s\n",
					 (int)parts[i].iov_len, (const char *)parts[i].iov_base);
	ck_assert_uint_lt(used, sizeof(journal.text));
	journal.calls++;
	return journal.result;
}

/* stderr is a file of its own from here on, where systemd has its journal if NAMED, and elsewhere if not. */
static FILE *begin(bool named)
{
	FILE *file = tmpfile();
	char stream[64];
	struct stat st;

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(dup2(fileno(file), STDERR_FILENO), 0);
	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino + !named);
	setenv("JOURNAL_STREAM", stream, 1);
	sink_install();
	log_set_level(LOG_LEVEL_INFO);
	return file;
}

static void expect_line(FILE *file, const char *pattern)
{
	char said[4096];
	regex_t regex;
	size_t len;

	rewind(file);
	len = fread(said, 1, sizeof(said) - 1, file);
	said[len] = 0;
	ck_assert_int_eq(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
	ck_assert_msg(regexec(&regex, said, 0, NULL, 0) == 0, "'%s' is not %s", said, pattern);
	regfree(&regex);
	fclose(file);
}

#define WHEN "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z "

START_TEST(sink__redirected_stderr_gets_a_line_with_time_and_level)
{
	FILE *file = begin(false);
	const struct log_field fields[] = {{"SESSION", "12"}};

	log_write(LOG_LEVEL_WARNING, fields, 1, "%s is %d", "it", 42);
	expect_line(file, WHEN "warning: it is 42\n$");
	ck_assert_int_eq(journal.calls, 0);
}
END_TEST

START_TEST(sink__stderr_without_systemd_gets_a_line)
{
	FILE *file = begin(true);

	unsetenv("JOURNAL_STREAM");
	sink_install();
	log_error("alone");
	expect_line(file, WHEN "error: alone\n$");
	ck_assert_int_eq(journal.calls, 0);
}
END_TEST

START_TEST(sink__journal_stream_that_names_nothing_is_no_journal)
{
	FILE *file = begin(true);

	setenv("JOURNAL_STREAM", "journal", 1);
	sink_install();
	log_error("alone");
	expect_line(file, WHEN "error: alone\n$");
	ck_assert_int_eq(journal.calls, 0);
}
END_TEST

START_TEST(sink__what_cannot_be_written_holds_nothing_up)
{
	FILE *file = begin(false);
	int kept = dup(STDERR_FILENO), full = open("/dev/full", O_WRONLY);

	ck_assert_int_ge(full, 0);
	ck_assert_int_eq(dup2(full, STDERR_FILENO), STDERR_FILENO);
	log_error("lost");
	ck_assert_int_eq(dup2(kept, STDERR_FILENO), STDERR_FILENO);
	log_error("again");
	(void)close(kept);
	(void)close(full);
	expect_line(file, WHEN "error: again\n$");
}
END_TEST

#ifdef HAVE_SYSTEMD

START_TEST(sink__journal_gets_text_priority_and_fields)
{
	FILE *file = begin(true);
	const struct log_field fields[] = {{"SESSION", "12"}, {"UPSTREAM", "default"}};

	log_write(LOG_LEVEL_NOTICE, fields, 2, "%s", "two\nlines");
	expect_line(file, "^$");
	ck_assert_str_eq(journal.text, "MESSAGE=two\\x0alines\nPRIORITY=5\nSYSLOG_IDENTIFIER=muxd\n"
				       "SESSION=12\nUPSTREAM=default\n");
}
END_TEST

START_TEST(sink__field_too_long_for_the_journal_is_left_out)
{
	FILE *file = begin(true);
	char value[300];
	const struct log_field fields[] = {{"LONG", value}, {"SHORT", "yes"}};

	memset(value, 'x', sizeof(value) - 1);
	value[sizeof(value) - 1] = 0;
	log_write(LOG_LEVEL_INFO, fields, 2, "text");
	expect_line(file, "^$");
	ck_assert_str_eq(journal.text, "MESSAGE=text\nPRIORITY=6\nSYSLOG_IDENTIFIER=muxd\nSHORT=yes\n");
}
END_TEST

START_TEST(sink__stderr_gets_what_the_journal_does_not_take)
{
	FILE *file = begin(true);

	journal.result = -ENOBUFS;
	log_error("important");
	ck_assert_int_eq(journal.calls, 1);
	expect_line(file, WHEN "error: important\n$");
}
END_TEST

#else

START_TEST(sink__journal_gets_the_level_as_a_prefix)
{
	FILE *file = begin(true);

	log_warning("careful");
	expect_line(file, "^<4>careful\n$");
}
END_TEST

#endif

int main(void)
{
	Suite *suite = suite_create("sink");
	TCase *tests = tcase_create("sink");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, sink__redirected_stderr_gets_a_line_with_time_and_level);
	tcase_add_test(tests, sink__what_cannot_be_written_holds_nothing_up);
	tcase_add_test(tests, sink__stderr_without_systemd_gets_a_line);
	tcase_add_test(tests, sink__journal_stream_that_names_nothing_is_no_journal);
#ifdef HAVE_SYSTEMD
	tcase_add_test(tests, sink__journal_gets_text_priority_and_fields);
	tcase_add_test(tests, sink__field_too_long_for_the_journal_is_left_out);
	tcase_add_test(tests, sink__stderr_gets_what_the_journal_does_not_take);
#else
	tcase_add_test(tests, sink__journal_gets_the_level_as_a_prefix);
#endif
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
