/* What the files of `threads` share; see threads.c. */
#pragma once

#include "client/muxclient.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>

#define LINKS 4
#define SLOTS 6
#define QUEUES 6
#define CONSUMERS_MAX 3
#define KEPT_MAX 16
#define IDS_MAX (256u * 1024u * 1024u)
#define DEADLINE_USEC 20000000u

/* Of a message, by its id. */
enum state {
	PUBLISHED = 1,
	CONFIRMED = 2,
	NOWHERE = 4, /* failed, or returned: nobody may see it */
	SEEN = 8
};

struct entry {
	uint32_t id;
	uint8_t outcome;
};

/* A channel of the library, and what this program knows of it; freed in on_destroy. */
struct chan {
	struct muxc_channel *channel;
	int link; /* its index */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned int refs;     /* the slot's, and those of threads */
	struct entry *entries; /* by publish number */
	size_t capacity;
	uint64_t highest;		   /* number that was published */
	uint64_t told_upto;		   /* all up to here have had their outcome */
	uint64_t must_upto;		   /* and all up to here must have had it at the end */
	uint32_t consumers[CONSUMERS_MAX]; /* 0: none */
	struct muxc_message *kept[KEPT_MAX];
	int inside; /* handlers that run */
};

struct link {
	struct muxc *c;
	unsigned int refs;
	struct chan *slots[SLOTS];
};

/* Changed by LOAD and ADD while there are other threads. */
struct account {
	uint8_t *states;
	uint32_t ids;
	uint64_t operations;
	uint64_t deliveries;
	uint64_t connections;
	uint64_t channels;
	uint64_t freed_in_handlers;
	int channels_live;
	int faults;
	int backlog;
	unsigned int seed;
	bool kills;	      /* muxd is killed and started again */
	muxc_execute execute; /* of the last link */
};

extern struct account account;

#define LOAD(at) __atomic_load_n(&(at), __ATOMIC_ACQUIRE)
#define ADD(at, n) __atomic_add_fetch(&(at), (n), __ATOMIC_ACQ_REL)

uint64_t clock_usec(void);
unsigned int chance(unsigned int below);
const char *queue_name(unsigned int i);
void fault(const char *what, long long value, const char *text);
/* Fine: it did what it says; freed or closed by someone; the channel was ended by a refusal. Returns r. */
int expect(int r, const char *what, const struct muxc_error *error);

void mark(uint32_t id, enum state state);
void see(struct muxc_message *message);
struct entry *entry_at(struct chan *chan, uint64_t number);
/* Every handler of a channel calls both: there is one at a time. */
void handler_enter(struct chan *chan);
void handler_leave(struct chan *chan);

/* The connection in that place, made if there is none. */
struct link *link_get(int index);
void link_put(struct link *link);
/* Its channels before it, or behind it, or some each. */
void link_retire(int index);
/* A channel of a slot, which is opened if there is none; NULL: the connection was taken away. */
struct chan *chan_get(int index, int slot);
void chan_put(struct chan *chan);
/* Out of its slot, so that nobody new comes to it; whoever did so has its link. NULL: someone else has. */
struct link *chan_take_out(struct chan *chan);
void chan_retire(struct chan *chan);
/* For who alone has it: every publish so far must have its outcome, once, and be told. */
void chan_settle(struct chan *chan);
