/* How muxctl hears of signals, and ends by one. Each test is a process of its own. */
#include "client/tool/signals.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int told; /* the errno that was */

int ctl_fail_errno(struct ctl *ctl, const char *what, int err)
{
	told = err;
	return CTL_FAILED;
}

static bool is_blocked(int number)
{
	sigset_t set;

	(void)sigprocmask(SIG_BLOCK, NULL, &set);
	return sigismember(&set, number) == 1;
}

/* How a child ends that does this and then leaves with 0. */
static int run_child(void (*function)(void))
{
	pid_t child = fork();
	int status = 0;

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		(void)signal(SIGINT, SIG_DFL); /* check's */
		(void)signal(SIGTERM, SIG_DFL);
		function();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return status;
}

START_TEST(signals__are_read_in_turn_and_end_nothing)
{
	struct ctl ctl = {0};
	int fd = signals_open(&ctl, true);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(signals_read(fd), 0);
	(void)raise(SIGTERM);
	ck_assert_int_eq(signals_read(fd), SIGTERM);
	ck_assert_int_eq(signals_read(fd), 0);
	(void)raise(SIGCHLD);
	ck_assert_int_eq(signals_read(fd), SIGCHLD);
	signals_close(fd);
}
END_TEST

static void ignored_then_sent(void)
{
	struct ctl ctl = {0};
	int fd;

	(void)signal(SIGHUP, SIG_IGN);
	fd = signals_open(&ctl, false);
	(void)raise(SIGHUP);
	if (fd < 0 || signals_read(fd) != 0)
		_exit(1);
	signals_close(fd);
	(void)raise(SIGHUP);
}

START_TEST(signals__that_were_ignored_stay_so)
{
	ck_assert_int_eq(run_child(ignored_then_sent), 0);
}
END_TEST

static void closed_then_sent(void)
{
	struct ctl ctl = {0};

	signals_close(signals_open(&ctl, false));
	(void)raise(SIGINT);
}

START_TEST(signals__end_it_at_once_when_they_are_not_read_any_more)
{
	int status = run_child(closed_then_sent);

	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
}
END_TEST

START_TEST(signals__without_a_descriptor_are_as_they_were)
{
	struct rlimit before, none;
	struct ctl ctl = {0};

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){0, before.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(signals_open(&ctl, true), -1);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	ck_assert_int_eq(told, EMFILE);
	/* so it can be ended while it ends */
	ck_assert(!is_blocked(SIGTERM) && !is_blocked(SIGINT) && !is_blocked(SIGCHLD));
}
END_TEST

static void end_by_term(void)
{
	(void)signal(SIGTERM, SIG_IGN);
	signals_end(SIGTERM);
}

START_TEST(signals__end_it_as_if_they_had_not_been_caught)
{
	int status = run_child(end_by_term);
	struct sigaction now;
	sigset_t set;

	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	/* Held back here, so that it can be looked at. */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	end_by_term();
	ck_assert_int_eq(sigaction(SIGTERM, NULL, &now), 0);
	ck_assert(now.sa_handler == SIG_DFL);
	ck_assert_int_eq(sigwaitinfo(&set, NULL), SIGTERM);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("muxctl-signals");
	TCase *tests = tcase_create("muxctl-signals");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tests, signals__are_read_in_turn_and_end_nothing);
	tcase_add_test(tests, signals__that_were_ignored_stay_so);
	tcase_add_test(tests, signals__end_it_at_once_when_they_are_not_read_any_more);
	tcase_add_test(tests, signals__without_a_descriptor_are_as_they_were);
	tcase_add_test(tests, signals__end_it_as_if_they_had_not_been_caught);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
