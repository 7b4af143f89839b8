/*
 * muxbench: what its files share. The model:
 *
 * A work is done by two sides, on the same broker: "direct", librabbitmq with
 * a connection of its own, and "muxd", libmuxclient in loop mode through a
 * running muxd. Both have one thread, so a side's CPU is the process's. Rounds
 * of the two take turns, and the medians of the rounds are printed: on a
 * machine that others use, only what was measured side by side compares.
 *
 * Failures end the program with a line on stderr; there is no pass or fail on
 * time.
 */
#pragma once

#include "config.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_BODY_BYTES 100u
#define BENCH_WINDOW 1000u	  /* unconfirmed publishes; prefetch */
#define BENCH_PATIENCE_SECONDS 60 /* for any one answer */

enum bench_work {
	WORK_PUBLISH,  /* confirmed, window 1000; samples: publish to confirm */
	WORK_LATENCY,  /* publish, get it back, one at a time; samples: each */
	WORK_CONSUME,  /* and acknowledge each, prefetch 1000; no samples */
	WORK_ONE_SHOT, /* processes that connect, publish, await the confirm, close; samples: each */
	WORKS
};

struct bench {
	const char *url;    /* of the broker */
	const char *socket; /* muxd's; NULL: where the library looks */
	uint64_t counts[WORKS];
	unsigned int rounds;
	pid_t muxd_pid;
	pid_t broker_pid; /* 0: not known */
	size_t sessions;  /* idle ones; 0: leave them out */
};

/* What one round gave. Times in microseconds. */
struct round {
	double rate; /* a second */
	double p50;
	double p99;
	double client_cpu; /* for each message */
	double muxd_cpu;
	double broker_cpu;
};

/* A round in the making. */
struct run {
	const struct bench *bench;
	uint64_t count;
	double *samples; /* room for `count` */
	size_t samples_count;
	double began_wall;
	double began_cpu[3];
	struct round round;
};

/* One of the two: each function does a work once, with a connection of its own. */
struct side {
	const char *name;
	void (*works[WORKS])(struct run *run);
	void (*one_shot)(const char *address, const char *queue); /* in the process that was started */
};

extern const struct side side_direct;
extern const struct side side_mux;

/* ----------------------------------------------------------- measure.c */

void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
double bench_usec(void);
/* CPU time that a process has used, in microseconds; 0: this one. -1: it is not there. */
double bench_cpu(pid_t pid);

/* Around what is measured: between them nothing else is done. */
void run_begin(struct run *run);
void run_end(struct run *run);
/* Notes how long one took. */
void run_sample(struct run *run, double usec);

double median(double *values, size_t count);
double percentile(double *values, size_t count, double part);

/* p50 of a byte's way to another process and back over a socketpair. */
double ping_pong(unsigned int count);

/* -------------------------------------------------------------- idle.c */

struct idle {
	double rss_bytes;    /* more of muxd's resident memory for each session */
	double told_bytes;   /* the same by muxd's own count */
	double muxd_rss_kib; /* all of it, with them */
};

/* Holds so many sessions with a channel each, and looks at muxd's memory. */
void idle_measure(const struct bench *bench, struct idle *ret);

/* ---------------------------------------------------------- oneshot.c */

/* Both sides' WORK_ONE_SHOT: starts this program again and again. */
void one_shot_run(struct run *run, const struct side *side, const char *address);

/* --------------------------------------------------- direct.c, mux.c */

/* Makes and deletes the queue that the one-shot processes publish to. */
void direct_shared_queue(const struct bench *bench, const char *name, int make);
/* muxd's pid. */
pid_t mux_daemon_pid(const struct bench *bench);
