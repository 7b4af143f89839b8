/*
 * What a process costs that publishes one message, sees it confirmed and exits
 * (oncemux), measured by one that connects to the same socket and exits
 * (oncebare): CPU time from exec to exit. They take turns, so that all have the
 * same machine, and the median counts.
 *
 *	oncebench SOCKET QUEUE COUNT
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum {
	BARE,
	LOOP,
	THREADS,
	KINDS
};

static const char *const names[KINDS] = {"connect and exit", "publish, loop mode", "publish, threads"};

static double usec(struct timeval tv)
{
	return (double)tv.tv_sec * 1e6 + (double)tv.tv_usec;
}

static double one_process(const char *path, char *const *argv)
{
	struct rusage usage;
	int status, r;
	pid_t child;

	r = posix_spawn(&child, path, NULL, NULL, argv, environ);
	if (r || wait4(child, &status, 0, &usage) != child || status != 0) {
		fprintf(stderr, "oncebench: %s has failed%s%s\n", path, r ? ": " : "", r ? strerror(r) : "");
		exit(1);
	}
	return usec(usage.ru_utime) + usec(usage.ru_stime);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The programs are beside this one. */
static void path_of(const char *self, const char *name, char *path, size_t size)
{
	const char *slash = strrchr(self, '/');

	(void)snprintf(path, size, "%.*s%s", slash ? (int)(slash - self) + 1 : 0, self, name);
}

static void report(double *samples[KINDS], size_t count)
{
	double bare = 0, median;
	int kind;

	for (kind = 0; kind < KINDS; kind++) {
		qsort(samples[kind], count, sizeof(double), compare);
		median = samples[kind][count / 2];
		if (kind == BARE)
			bare = median;
		printf("%-20s %7.0f us of CPU  (p10 %.0f, p90 %.0f)  %5.2f\n", names[kind], median,
		       samples[kind][count / 10], samples[kind][count * 9 / 10], median / bare);
	}
}

int main(int argc, char **argv)
{
	char bare[4096], mux[4096], loop[] = "loop", threads[] = "threads";
	double *samples[KINDS];
	size_t count, i;
	int kind;

	count = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
	if (count == 0) {
		fprintf(stderr, "usage: oncebench SOCKET QUEUE COUNT\n");
		return 2;
	}
	path_of(argv[0], "oncebare", bare, sizeof(bare));
	path_of(argv[0], "oncemux", mux, sizeof(mux));
	for (kind = 0; kind < KINDS; kind++) {
		samples[kind] = calloc(count, sizeof(double));
		if (!samples[kind])
			return 1;
	}
	for (i = 0; i < count; i++) {
		char *const bare_argv[] = {bare, argv[1], NULL};
		char *const loop_argv[] = {mux, argv[1], argv[2], loop, NULL};
		char *const threads_argv[] = {mux, argv[1], argv[2], threads, NULL};

		samples[BARE][i] = one_process(bare, bare_argv);
		samples[LOOP][i] = one_process(mux, loop_argv);
		samples[THREADS][i] = one_process(mux, threads_argv);
	}
	report(samples, count);
	for (kind = 0; kind < KINDS; kind++)
		free(samples[kind]);
	return 0;
}
