/*
 * Clocks, medians, and the unit of latency: a socketpair ping-pong.
 */
#include "tests/bench/bench.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void bench_die(const char *format, ...)
{
	va_list args;

	(void)fflush(stdout);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(EXIT_FAILURE);
}

static double usec_of(const struct timespec *ts)
{
	return (double)ts->tv_sec * 1e6 + (double)ts->tv_nsec / 1e3;
}

double bench_usec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return usec_of(&ts);
}

double bench_cpu(pid_t pid)
{
	struct timespec ts;
	clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;

	if (pid != 0 && clock_getcpuclockid(pid, &clock) != 0)
		return -1;
	return clock_gettime(clock, &ts) == 0 ? usec_of(&ts) : -1;
}

/* --------------------------------------------------------------------- run */

static void read_cpu(const struct bench *bench, double *ret)
{
	ret[0] = bench_cpu(0);
	ret[1] = bench_cpu(bench->muxd_pid);
	ret[2] = bench->broker_pid ? bench_cpu(bench->broker_pid) : 0;
}

void run_begin(struct run *run)
{
	read_cpu(run->bench, run->began_cpu);
	run->began_wall = bench_usec();
}

void run_end(struct run *run)
{
	double wall = bench_usec() - run->began_wall, cpu[3], n = (double)run->count;

	read_cpu(run->bench, cpu);
	run->round.rate = n / (wall / 1e6);
	run->round.client_cpu = (cpu[0] - run->began_cpu[0]) / n;
	run->round.muxd_cpu = (cpu[1] - run->began_cpu[1]) / n;
	run->round.broker_cpu = (cpu[2] - run->began_cpu[2]) / n;
	run->round.p50 = percentile(run->samples, run->samples_count, 0.50);
	run->round.p99 = percentile(run->samples, run->samples_count, 0.99);
}

void run_sample(struct run *run, double usec)
{
	if (run->samples_count < run->count)
		run->samples[run->samples_count++] = usec;
}

/* ----------------------------------------------------------------- numbers */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double percentile(double *values, size_t count, double part)
{
	size_t at;

	if (count == 0)
		return 0;
	qsort(values, count, sizeof(*values), compare);
	at = (size_t)((double)count * part);
	return values[at < count ? at : count - 1];
}

double median(double *values, size_t count)
{
	return percentile(values, count, 0.5);
}

/* --------------------------------------------------------------- ping-pong */

static void echo(int fd)
{
	char byte;

	while (read(fd, &byte, 1) == 1) {
		if (write(fd, &byte, 1) != 1)
			break;
	}
	_exit(EXIT_SUCCESS);
}

double ping_pong(unsigned int count)
{
	double *samples = calloc(count, sizeof(*samples)), began, p50;
	unsigned int i;
	char byte = 0;
	pid_t child;
	int fds[2];

	if (!samples || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		bench_die("no socketpair: %s", strerror(errno));
	child = fork();
	if (child < 0)
		bench_die("cannot fork: %s", strerror(errno));
	if (child == 0) {
		(void)close(fds[0]);
		echo(fds[1]);
	}
	(void)close(fds[1]);
	for (i = 0; i < count; i++) {
		began = bench_usec();
		if (write(fds[0], &byte, 1) != 1 || read(fds[0], &byte, 1) != 1)
			bench_die("the ping-pong broke: %s", strerror(errno));
		samples[i] = bench_usec() - began;
	}
	(void)close(fds[0]);
	(void)waitpid(child, NULL, 0);
	p50 = median(samples, count);
	free(samples);
	return p50;
}
