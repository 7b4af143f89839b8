/*
 * fairbench: what its files share. The model:
 *
 * Processes are forked for a scenario: publishers that flood through muxd, and
 * pairs of an RPC, a caller and a server, through muxd or on direct
 * connections of their own. Each has a slot in shared memory where it is told
 * to work or to rest, and notes what it has done; the parent looks at it
 * before and after a stretch of time. What is compared takes turns in one
 * round, with the same flood running, and medians of the rounds' ratios are
 * printed: the machine's mood cancels out.
 */
#pragma once

#include "tests/bench/bench.h"

#include <stdatomic.h>
#include <stdbool.h>

#define FAIR_SAMPLES_MAX 200000u

struct slot {
	atomic_bool ready; /* connected and set up */
	atomic_bool go;	   /* work; else finish what is under way */
	atomic_bool resting;
	atomic_ullong messages; /* of a publisher: confirmed so far */
	atomic_ullong bytes;	/* of their bodies */
	atomic_uint sample_count;
	double samples[FAIR_SAMPLES_MAX]; /* of a caller: microseconds from request to reply */
};

struct worker {
	pid_t pid;
	struct slot *slot; /* shared with it */
};

struct flood {
	const char *socket;
	const char *queue;
	size_t body_bytes;
	bool persistent;
	unsigned int channels;
};

struct rpc {
	const char *address; /* of muxd's socket, or the broker's URL */
	const char *requests;
	const char *replies; /* queues that are there */
	bool confirms;	     /* direct: publishes are confirmed, as all are through muxd */
};

struct relay {
	int listen_fd;
	unsigned int broker_port; /* on 127.0.0.1 */
};

enum queue_kind {
	QUEUE_TRANSIENT, /* classic, not durable */
	QUEUE_DURABLE,	 /* classic */
	QUEUE_QUORUM
};

/* ---------------------------------------------------------- fairwork.c */

/* Runs in the process that worker_start() forks; ends when it is killed. */
typedef void (*worker_fn)(struct slot *slot, const void *spec);

void worker_start(struct worker *worker, worker_fn fn, const void *spec);
void workers_stop(struct worker *workers, size_t count);
void workers_go(struct worker *workers, size_t count);
/* Waits until what was under way has ended. */
void workers_rest(struct worker *workers, size_t count);

void fair_sleep(double seconds);

/* ----------------------------------------------- fairmux.c, fairdirect.c */

void mux_flood(struct slot *slot, const void *flood);
void mux_rpc_server(struct slot *slot, const void *rpc);
void mux_rpc_caller(struct slot *slot, const void *rpc);
void direct_rpc_server(struct slot *slot, const void *rpc);
void direct_rpc_caller(struct slot *slot, const void *rpc);

/* ---------------------------------------------------------- fairrelay.c */

int relay_listen(unsigned int *ret_port);
void relay_run(struct slot *slot, const void *relay);

/* Of the broker. */
unsigned int direct_port(const char *url);

/* A connection of the parent's for queues. */
struct direct_admin;
struct direct_admin *direct_admin_new(const char *url);
void direct_admin_free(struct direct_admin *admin);
/* A queue that keeps so many messages at most; 0: all. */
void direct_admin_declare(struct direct_admin *admin, const char *queue, enum queue_kind kind,
			  unsigned int length_max);
void direct_admin_purge(struct direct_admin *admin, const char *queue);
void direct_admin_delete(struct direct_admin *admin, const char *queue);
