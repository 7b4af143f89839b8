/*
 * Processes that publish one message each: this program itself, started one
 * after another with --one-shot. Their CPU counts from exec to exit, on both
 * sides with the same program and libraries.
 */
#include "tests/bench/bench.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static double rusage_usec(const struct rusage *usage)
{
	return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1e6 +
	       (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);
}

/* Its CPU time. */
static double one_process(char *const *argv)
{
	struct rusage usage;
	int status, r;
	pid_t child;

	r = posix_spawn(&child, "/proc/self/exe", NULL, NULL, argv, environ);
	if (r)
		bench_die("cannot start a process: %s", strerror(r));
	if (wait4(child, &status, 0, &usage) != child || status != 0)
		bench_die("a one-shot process has failed");
	return rusage_usec(&usage);
}

void one_shot_run(struct run *run, const struct side *side, const char *address)
{
	char name[16], where[4096], queue[64], program[] = "muxbench", option[] = "--one-shot";
	char *const argv[] = {program, option, name, where, queue, NULL};
	double began, cpu = 0;
	uint64_t i;

	(void)snprintf(name, sizeof(name), "%s", side->name);
	(void)snprintf(where, sizeof(where), "%s", address);
	(void)snprintf(queue, sizeof(queue), "muxbench.oneshot.%d", (int)getpid());
	direct_shared_queue(run->bench, queue, 1);
	run_begin(run);
	for (i = 0; i < run->count; i++) {
		began = bench_usec();
		cpu += one_process(argv);
		run_sample(run, bench_usec() - began);
	}
	run_end(run);
	run->round.client_cpu = cpu / (double)run->count;
	direct_shared_queue(run->bench, queue, 0);
}
