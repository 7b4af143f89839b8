/*
 * sim [-n RUNS] [-s FIRST_SEED] [-j PROCESSES] [-q] [-v] [-x]
 *
 * Runs seeds in child processes, a batch in each, so that a crash costs one
 * seed and a leak is found in its batch. Prints each seed that fails, with the
 * invariant; what the runs covered (cover.h; not with -q); and totals in the
 * end: "N passed, N failed, 0 skipped". -x ends at the first that fails; -v
 * prints what happens in a run (with -j 1, if there are several).
 * Exit codes: 0 all passed, 1 some failed, 2 usage.
 */
#include "tests/sim/sim.h"

#include "daemon/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCH 100u
#define RUNS_DEFAULT 2000u
#define PROCESSES_DEFAULT 2u
#define FAILED_MAX 20u /* seeds of a process; after so many the rest would tell nothing new */
#define PROCESSES_MAX 64u

/*
 * AddressSanitizer asks: a run makes and frees much, so memory that is freed
 * is kept for less long than by default. ASAN_OPTIONS still overrides it.
 */
__attribute__((visibility("default"))) const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "quarantine_size_mb=4:max_malloc_fill_size=64";
}

struct totals {
	uint64_t passed, failed;
	struct cover cover;
};

struct task {
	uint64_t first, runs;
	unsigned int processes, process; /* how many, and which: it does each so-manieth batch */
	bool verbose, quiet, only_one;
	volatile bool *stop; /* shared by all: enough has failed */
};

/* Mux's log is part of a trace and nothing else. */
static void log_sink(void *context, enum log_level level, const char *text, const struct log_field *fields,
		     size_t field_count)
{
	const bool *verbose = context;

	if (*verbose)
		printf("             log: %s\n", text);
}

static uint64_t cpu_usec(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

static bool write_all(int fd, const void *data, size_t size)
{
	const uint8_t *at = data;

	while (size > 0) {
		ssize_t count = write(fd, at, size);

		if (count <= 0)
			return false;
		at += count;
		size -= (size_t)count;
	}
	return true;
}

static bool read_all(int fd, void *data, size_t size)
{
	uint8_t *at = data;

	while (size > 0) {
		ssize_t count = read(fd, at, size);

		if (count <= 0)
			return false;
		at += count;
		size -= (size_t)count;
	}
	return true;
}

static void print_nothing(void *context, enum log_level level, const char *text,
			  const struct log_field *fields, size_t field_count)
{
}

/* One byte for each seed that ended: 1 passed, 0 failed; then what was covered. */
static void run_batch(int fd, const struct task *task, uint64_t first, uint64_t count)
{
	struct cover *cover = calloc(1, sizeof(*cover));
	bool verbose = task->verbose;

	if (!cover)
		abort();
	log_set_sink(verbose ? log_sink : print_nothing, &verbose);
	for (uint64_t seed = first; seed < first + count; seed++) {
		uint64_t before = cpu_usec();
		struct run_size size = {0, 0, 0};
		uint8_t passed = world_run(seed, verbose, cover, &size);

		cover_run(cover, size.sessions, size.operations, size.faults, cpu_usec() - before);
		fflush(stdout);
		if (!write_all(fd, &passed, 1))
			_exit(3);
	}
	if (!write_all(fd, cover, sizeof(*cover)))
		_exit(3);
	free(cover);
	close(fd);
	exit(0); /* looks for leaks */
}

/* Returns how many seeds were dealt with: fewer than count if one crashed. */
static uint64_t read_results(int fd, uint64_t count, struct totals *totals)
{
	struct cover cover;
	uint64_t done = 0;
	uint8_t passed;

	while (done < count && read_all(fd, &passed, 1)) {
		done++;
		totals->passed += passed;
		totals->failed += !passed;
	}
	if (done == count && read_all(fd, &cover, sizeof(cover)))
		cover_add(&totals->cover, &cover);
	return done;
}

static int wait_for(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/* Forks; the child gets 0 and an end to write to, the parent one to read from. */
static pid_t fork_with_pipe(int *ret_fd)
{
	int fds[2];
	pid_t pid;

	fflush(stdout);
	if (pipe(fds) < 0 || (pid = fork()) < 0) {
		perror("sim");
		exit(1);
	}
	*ret_fd = fds[pid == 0];
	close(fds[pid != 0]);
	return pid;
}

static void add(struct totals *to, const struct totals *from)
{
	to->passed += from->passed;
	to->failed += from->failed;
	cover_add(&to->cover, &from->cover);
}

/* Returns how many seeds it dealt with. */
static uint64_t batch(const struct task *task, uint64_t first, uint64_t count, struct totals *totals)
{
	struct totals here = {0};
	uint64_t done;
	int fd, status;
	pid_t pid = fork_with_pipe(&fd);

	if (pid == 0)
		run_batch(fd, task, first, count);
	done = read_results(fd, count, &here);
	close(fd);
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
			(void)batch(task, first + i, 1, totals);
		return done;
	} else if (status != 0 && here.failed == 0) {
		printf("seed %llu: FAILED: memory was leaked\n", (unsigned long long)first);
		here.passed = 0;
		here.failed = 1;
	}
	add(totals, &here);
	return done;
}

/* Its share of the batches. */
static void run_share(const struct task *task, struct totals *totals)
{
	uint64_t stride = (uint64_t)BATCH * task->processes;

	for (uint64_t at = (uint64_t)BATCH * task->process; at < task->runs; at += stride) {
		uint64_t end = at + BATCH < task->runs ? at + BATCH : task->runs;
		uint64_t next = at;

		while (next < end && !*task->stop) {
			next += batch(task, task->first + next, end - next, totals);
			if (totals->failed >= (task->only_one ? 1 : FAILED_MAX))
				*task->stop = true;
		}
	}
}

static void run_shares(struct task *task, struct totals *totals)
{
	pid_t pids[PROCESSES_MAX];
	int fds[PROCESSES_MAX];

	for (unsigned int i = 0; i < task->processes; i++) {
		struct totals share = {0};

		task->process = i;
		pids[i] = fork_with_pipe(&fds[i]);
		if (pids[i] > 0)
			continue;
		run_share(task, &share);
		fflush(stdout);
		_exit(write_all(fds[i], &share, sizeof(share)) ? 0 : 3);
	}
	for (unsigned int i = 0; i < task->processes; i++) {
		struct totals share;

		if (read_all(fds[i], &share, sizeof(share)))
			add(totals, &share);
		else
			totals->failed++;
		close(fds[i]);
		(void)wait_for(pids[i]);
	}
}

static void usage(void)
{
	fprintf(stderr, "usage: sim [-n RUNS] [-s FIRST_SEED] [-j PROCESSES] [-q] [-v] [-x]\n");
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

static void parse_arguments(int argc, char **argv, struct task *task)
{
	int option;

	while ((option = getopt(argc, argv, "j:n:qs:vx")) != -1) {
		if (option == 'n')
			task->runs = number(optarg);
		else if (option == 's')
			task->first = number(optarg);
		else if (option == 'j')
			task->processes = (unsigned int)number(optarg);
		else if (option == 'q')
			task->quiet = true;
		else if (option == 'v')
			task->verbose = true;
		else if (option == 'x')
			task->only_one = true;
		else
			usage();
	}
	if (optind != argc || task->processes < 1 || task->processes > PROCESSES_MAX)
		usage();
}

int main(int argc, char **argv)
{
	struct task task = {.first = 1, .runs = RUNS_DEFAULT, .processes = PROCESSES_DEFAULT};
	struct totals totals = {0};
	void *shared = mmap(NULL, sizeof(bool), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	parse_arguments(argc, argv, &task);
	if (shared == MAP_FAILED) {
		perror("sim");
		return 1;
	}
	task.stop = shared;
	if (task.processes == 1)
		run_share(&task, &totals);
	else
		run_shares(&task, &totals);
	if (!task.quiet)
		cover_print(&totals.cover);
	printf("%llu passed, %llu failed, 0 skipped\n", (unsigned long long)totals.passed,
	       (unsigned long long)totals.failed);
	return totals.failed == 0 ? 0 : 1;
}
