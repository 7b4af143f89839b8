/*
 * A command that muxctl runs for a message: what it gets, and what becomes of
 * it when there is no memory or no descriptor: all of the message or nothing.
 */
#include "client/tool/run.h"

#include "client/muxclient.h"

#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALLS_MAX 1000

/* Calls that can fail, counted while armed; the linker puts the wrappers between. */
static struct {
	bool armed;
	int seen, fail_at; /* from 1 */
} calls;

void *__real_malloc(size_t size);
void *__real_realloc(void *data, size_t size);
int __real_posix_spawnattr_init(posix_spawnattr_t *attributes);
int __real_posix_spawn_file_actions_init(posix_spawn_file_actions_t *actions);
/* The linker looks for them in libraries, too. */
#define VISIBLE __attribute__((visibility("default")))
VISIBLE void *__wrap_malloc(size_t size);
VISIBLE void *__wrap_realloc(void *data, size_t size);
int __wrap_posix_spawnattr_init(posix_spawnattr_t *attributes);
int __wrap_posix_spawn_file_actions_init(posix_spawn_file_actions_t *actions);

static bool fails(void)
{
	return calls.armed && ++calls.seen == calls.fail_at;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *data, size_t size)
{
	return fails() ? NULL : __real_realloc(data, size);
}

int __wrap_posix_spawnattr_init(posix_spawnattr_t *attributes)
{
	return fails() ? ENOMEM : __real_posix_spawnattr_init(attributes);
}

int __wrap_posix_spawn_file_actions_init(posix_spawn_file_actions_t *actions)
{
	return fails() ? ENOMEM : __real_posix_spawn_file_actions_init(actions);
}

/* A message with everything that is told differently. */
static struct muxc_message *message_new(void)
{
	struct muxc_message *message;
	struct muxc_table *headers, *nested;
	static char large[70000];

	memset(large, 'x', sizeof(large));
	ck_assert_int_eq(muxc_message_new(&message), 0);
	ck_assert_int_eq(muxc_table_new(&headers), 0);
	ck_assert_int_eq(muxc_table_new(&nested), 0);
	ck_assert_int_eq(muxc_table_set_bool(nested, "in", 1), 0);
	ck_assert_int_eq(muxc_table_set_string(headers, "color", "red", 3), 0);
	ck_assert_int_eq(muxc_table_set_string(headers, "x-Cut", "a\0b", 3), 0);
	ck_assert_int_eq(muxc_table_set_string(headers, "large", large, sizeof(large)), 0);
	ck_assert_int_eq(muxc_table_set_int32(headers, "x-n", 7), 0);
	ck_assert_int_eq(muxc_table_set_int32(headers, "X.N", 8), 0);
	ck_assert_int_eq(muxc_table_set_table(headers, "deep", nested), 0);
	ck_assert_int_eq(muxc_message_set_headers(message, headers), 0);
	ck_assert_int_eq(muxc_message_set_text(message, MUXC_MESSAGE_ID, "id", 2), 0);
	ck_assert_int_eq(muxc_message_set_number(message, MUXC_PRIORITY, 5), 0);
	ck_assert_int_eq(muxc_message_set_body(message, "the body", 8), 0);
	muxc_table_free(headers);
	muxc_table_free(nested);
	return message;
}

static char path[64];

static void setup(void)
{
	int fd;

	memcpy(path, "/tmp/muxctl-run.XXXXXX", sizeof("/tmp/muxctl-run.XXXXXX"));
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	(void)close(fd);
	json_set_alloc_funcs(__wrap_malloc, free);
}

static void teardown(void)
{
	(void)unlink(path);
}

/* Starts a command that writes down its variables and stdin, and waits for it. */
static int run(const struct muxc_message *message)
{
	char sh[] = "sh", option[] = "-c";
	char script[] = "{ env | grep ^MUXCTL_ | grep -v ^MUXCTL_HEADERS= | sort; cat; } >\"$0\"";
	char *argv[] = {sh, option, script, path, NULL};
	int r, status = -1;
	pid_t child = 0;

	calls.seen = 0;
	calls.armed = true;
	r = run_start(argv, "queue", message, &child);
	calls.armed = false;
	if (r < 0)
		return r;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	return 0;
}

static const char *result(void)
{
	static char text[4096];
	FILE *file = fopen(path, "r");
	size_t len = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

	text[len] = 0;
	ck_assert_ptr_nonnull(file);
	(void)fclose(file);
	return text;
}

static const char whole[] = "MUXCTL_EXCHANGE=\n"
			    "MUXCTL_HEADER_COLOR=red\n"
			    "MUXCTL_HEADER_DEEP={\"in\":true}\n"
			    "MUXCTL_HEADER_X_N=7\n"
			    "MUXCTL_MESSAGE_ID=id\n"
			    "MUXCTL_PRIORITY=5\n"
			    "MUXCTL_QUEUE=queue\n"
			    "MUXCTL_REDELIVERED=0\n"
			    "MUXCTL_ROUTING_KEY=\n"
			    "the body";

START_TEST(run__command_has_what_can_be_a_variable_and_the_body)
{
	struct muxc_message *message = message_new();

	ck_assert_int_eq(setenv("MUXCTL_INHERITED", "1", 1), 0);
	ck_assert_int_eq(run(message), 0);
	ck_assert_str_eq(result(), whole);
	(void)muxc_message_unref(message);
}
END_TEST

static size_t environ_count(void)
{
	size_t count = 0;

	while (environ[count])
		count++;
	return count;
}

/* A command that takes a message without a header for another one does the wrong thing with it. */
START_TEST(run__without_memory_there_is_no_command_or_a_whole_one)
{
	struct muxc_message *message = message_new();
	char name[16];
	int refused = 0;

	/* So many that the list grows among those of the message. */
	for (int i = 0; i < 256; i++) {
		snprintf(name, sizeof(name), "V%d", i);
		if (environ_count() % 64 == 60)
			break;
		ck_assert_int_eq(setenv(name, "1", 1), 0);
	}
	for (calls.fail_at = 1; calls.fail_at < CALLS_MAX; calls.fail_at++) {
		int r = run(message);

		if (r == 0)
			ck_assert_str_eq(result(), whole);
		else
			ck_assert_int_eq(r, -ENOMEM);
		refused += r != 0;
		if (calls.seen < calls.fail_at)
			break;
	}
	ck_assert_int_lt(calls.fail_at, CALLS_MAX);
	ck_assert_int_ge(refused, 10);
	(void)muxc_message_unref(message);
}
END_TEST

START_TEST(run__without_a_descriptor_there_is_no_command)
{
	struct muxc_message *message = message_new();
	struct rlimit before, none;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){0, before.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(run(message), -EMFILE);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	(void)muxc_message_unref(message);
}
END_TEST

START_TEST(run__body_that_cannot_be_handed_over_is_no_body)
{
	struct muxc_message *message = message_new();
	struct rlimit before, few;

	(void)signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	few = (struct rlimit){4, before.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &few), 0);
	ck_assert_int_eq(run(message), -EFBIG);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
	(void)muxc_message_unref(message);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("muxctl-run");
	TCase *tests = tcase_create("muxctl-run");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tests, 120);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, run__command_has_what_can_be_a_variable_and_the_body);
	tcase_add_test(tests, run__without_memory_there_is_no_command_or_a_whole_one);
	tcase_add_test(tests, run__without_a_descriptor_there_is_no_command);
	tcase_add_test(tests, run__body_that_cannot_be_handed_over_is_no_body);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
