/*
 * sim [-n RUNS] [-s FIRST_SEED] [-v]
 *
 * Runs seeds in child processes, a batch in each, so that a crash costs one
 * seed and a leak is found in its batch. Prints each seed that fails, with the
 * invariant, and totals in the end: "N passed, N failed, 0 skipped".
 * Exit codes: 0 all passed, 1 some failed, 2 usage.
 */
#include "tests/sim/sim.h"

#include "daemon/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH 100u
#define RUNS_DEFAULT 1000u
#define FAILED_MAX 20u /* seeds; after so many the rest would tell nothing new */

struct totals {
	uint64_t passed, failed;
};

/* Mux's log is part of a trace and nothing else. */
static void log_sink(void *context, enum log_level level, const char *text, const struct log_field *fields,
		     size_t field_count)
{
	const bool *verbose = context;

	if (*verbose)
		printf("             log: %s\n", text);
}

/* One byte for each seed that ended: 1 passed, 0 failed. */
static void run_batch(int fd, uint64_t first, uint64_t count, bool verbose)
{
	log_set_sink(log_sink, &verbose);
	for (uint64_t seed = first; seed < first + count; seed++) {
		uint8_t passed = world_run(seed, verbose);

		fflush(stdout);
		if (write(fd, &passed, 1) != 1)
			_exit(3);
	}
	close(fd);
	exit(0); /* looks for leaks */
}

/* Returns how many seeds were dealt with: fewer than count if one crashed. */
static uint64_t read_results(int fd, struct totals *totals)
{
	uint64_t done = 0;
	uint8_t passed;

	while (read(fd, &passed, 1) == 1) {
		done++;
		totals->passed += passed;
		totals->failed += !passed;
	}
	return done;
}

static int wait_for(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static uint64_t batch(uint64_t first, uint64_t count, bool verbose, struct totals *totals)
{
	struct totals here = {0, 0};
	int fds[2], status;
	uint64_t done;
	pid_t pid;

	fflush(stdout);
	if (pipe(fds) < 0 || (pid = fork()) < 0) {
		perror("sim");
		exit(1);
	}
	if (pid == 0) {
		close(fds[0]);
		run_batch(fds[1], first, count, verbose);
	}
	close(fds[1]);
	done = read_results(fds[0], &here);
	close(fds[0]);
	status = wait_for(pid);
	if (done < count) {
		printf("seed %llu: FAILED: crashed (%s %d)\n", (unsigned long long)(first + done),
		       WIFSIGNALED(status) ? "signal" : "exit code",
		       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		here.failed++;
		done++;
	} else if (status != 0 && count > 1) {
		/* A leak, somewhere: one by one. */
		for (uint64_t i = 0; i < count; i++)
			(void)batch(first + i, 1, verbose, totals);
		return done;
	} else if (status != 0 && here.failed == 0) {
		printf("seed %llu: FAILED: memory was leaked\n", (unsigned long long)first);
		here = (struct totals){0, 1};
	}
	totals->passed += here.passed;
	totals->failed += here.failed;
	return done;
}

static void usage(void)
{
	fprintf(stderr, "usage: sim [-n RUNS] [-s FIRST_SEED] [-v]\n");
	exit(2);
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0')
		usage();
	return value;
}

int main(int argc, char **argv)
{
	uint64_t first = 1, runs = RUNS_DEFAULT;
	struct totals totals = {0, 0};
	bool verbose = false;
	int option;

	while ((option = getopt(argc, argv, "n:s:v")) != -1) {
		switch (option) {
		case 'n':
			runs = number(optarg);
			break;
		case 's':
			first = number(optarg);
			break;
		case 'v':
			verbose = true;
			break;
		default:
			usage();
		}
	}
	if (optind != argc)
		usage();
	for (uint64_t done = 0; done < runs && totals.failed < FAILED_MAX;) {
		uint64_t count = runs - done < BATCH ? runs - done : BATCH;

		done += batch(first + done, count, verbose, &totals);
	}
	printf("%llu passed, %llu failed, 0 skipped\n", (unsigned long long)totals.passed,
	       (unsigned long long)totals.failed);
	return totals.failed == 0 ? 0 : 1;
}
