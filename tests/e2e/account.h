/*
 * account: processes publish and consume through one muxd while somebody
 * disturbs its broker, and every message is accounted for.
 *
 * All processes write into one piece of shared memory, the ledger, which also
 * outlives those that die. It has a record for each message: how it ended for
 * its publisher, and how often and in which way it came to a consumer. The
 * parent runs the commands of the driver meanwhile, and judges in the end.
 *
 *	account.c    options, processes, commands
 *	ledger.c     records, counts, complaints, faults
 *	publisher.c  a process that publishes
 *	consumer.c   a process that consumes a queue; the victim
 *	report.c     drains the queues, prints the account, judges
 */
#pragma once

#include "client/muxclient.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROCESSES_MAX 64u
#define FAULTS_MAX 2048u
#define COMPLAINTS_MAX 40u
#define CALL_TIMEOUT_USEC 300000000u

struct settings {
	unsigned int publishers, consumers;
	unsigned long rate;	   /* publishes a second, of all together */
	unsigned long outstanding; /* publishes without outcome, of each publisher */
	unsigned long capacity;	   /* messages of each publisher */
	unsigned long largest;	   /* body, in bytes */
	unsigned long prefetch;
	unsigned long window; /* of muxd: how many publishes it may have sent and not seen confirmed */
	uint64_t seed;
	const char *socket;
	const char *prefix; /* of the queues' names */
};

/* ---------------------------------------------------------------------- ledger */

enum sight {
	SEEN_PLAIN = 1,	      /* neither marked nor redelivered */
	SEEN_MARKED = 2,      /* with x-muxd-resent */
	SEEN_REDELIVERED = 4, /* by the broker's flag */
	SEEN_ACKED = 8
};

struct record {
	_Atomic uint8_t outcome; /* enum muxc_outcome_kind; 0: none yet */
	_Atomic uint8_t seen;	 /* enum sight */
};

enum count {
	COUNT_ATTEMPTED,
	COUNT_CONFIRMED,
	COUNT_RETURNED,
	COUNT_NACKED,
	COUNT_FAILED,
	COUNT_UNKNOWN,
	COUNT_DELIVERED,
	COUNT_FIRST_SEEN, /* messages that came at all */
	COUNT_ACKED,
	COUNT_REDELIVERED,
	COUNT_MARKED,		   /* deliveries with the mark and not redelivered */
	COUNT_DUPLICATED_MARKED,   /* those of what had been seen */
	COUNT_DUPLICATED_UNMARKED, /* neither mark nor flag, of what had been seen */
	COUNT_OVERTAKEN,	   /* those of them that had been seen by their replay alone */
	COUNT_OUT_OF_ORDER,
	COUNT_TWO_OUTCOMES,
	COUNT_CLIENT_ERRORS,
	COUNT_UNEXPECTED,
	COUNT_CANCELLED, /* consumers of the victim's queue that were told so */
	COUNTS
};

struct fault {
	char kind[32];
	uint64_t begin_usec;
	_Atomic uint64_t back_usec;		    /* the broker is there again; 0: not yet */
	_Atomic uint64_t first_usec[PROCESSES_MAX]; /* by consumer: what came first after that */
	_Atomic uint64_t marked;
};

struct ledger {
	struct settings settings;
	_Atomic uint64_t counts[COUNTS];
	_Atomic uint64_t attempted[PROCESSES_MAX]; /* by publisher: its messages are 1 to this */
	_Atomic bool blocked[PROCESSES_MAX];	   /* publishers that were told of an alarm */
	_Atomic bool ready[2 * PROCESSES_MAX + 1]; /* processes */
	_Atomic bool stop_publishing, stop_consuming;
	_Atomic unsigned int fault_count;
	struct fault faults[FAULTS_MAX];
	_Atomic unsigned int complaint_count;
	char complaints[COMPLAINTS_MAX][320];
	struct record records[]; /* publishers times capacity */
};

/* Shared with all processes that are forked later. Exits if there is no memory. */
struct ledger *ledger_new(const struct settings *settings);

/* NULL: there is no such message. */
struct record *ledger_find(struct ledger *ledger, uint64_t publisher, uint64_t number);

void ledger_count(struct ledger *ledger, enum count what, uint64_t how_many);
uint64_t ledger_get(const struct ledger *ledger, enum count what);

/* Counts, and keeps the words if there is room. */
void ledger_complain(struct ledger *ledger, enum count what, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* An error that a client saw. `error` may be NULL. */
void ledger_client_error(struct ledger *ledger, const char *who, const char *what, int r,
			 const struct muxc_error *error);

/* How a publish ended. */
void ledger_outcome(struct ledger *ledger, unsigned int publisher, uint64_t number, int kind);

/* What a consumer sees of a message. */
struct delivery {
	unsigned int consumer, publisher;
	uint64_t number, sent_usec;
	bool marked, redelivered;
};

/* `highest`: the consumer's own, by publisher: the highest number first seen by it and not redelivered. */
void ledger_delivery(struct ledger *ledger, const struct delivery *delivery, uint64_t *highest);

/* NULL: there was none yet. */
struct fault *ledger_fault(struct ledger *ledger);
struct fault *ledger_begin_fault(struct ledger *ledger, const char *kind);

/* -------------------------------------------------------------------- messages */

/* At the begin of each body; the rest is random. */
struct body {
	uint64_t checksum; /* of all behind it */
	uint64_t publisher, queue, number, sent_usec;
};

uint64_t checksum_of(const void *data, size_t len);

/* ---------------------------------------------------------------------- common */

uint64_t now_usec(void);
void queue_name(const struct settings *settings, unsigned int queue, char *name, size_t size);

/* Connects, or complains and exits. `options` may be NULL. */
struct muxc *connect_to_muxd(struct ledger *ledger, const char *program, const struct muxc_options *options);

/* The three kinds of processes; they return when they are told to stop. */
void run_publisher(struct ledger *ledger, unsigned int index);
void run_consumer(struct ledger *ledger, unsigned int index);
void run_victim(struct ledger *ledger);

/* Takes what is left in the queues, and deletes them. */
void empty_queues(struct ledger *ledger);
/* How many messages wait in the queues, by a client of its own. */
uint64_t waiting_in_queues(struct ledger *ledger);
uint64_t count_unseen(struct ledger *ledger);
/* Prints counts, faults, and what is kept and what is broken. True: nothing is broken. */
bool report(struct ledger *ledger);
