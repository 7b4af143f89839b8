/*
 * A connection, and the model of the whole library:
 *
 * A connection (struct muxc) owns the socket, the bytes to be sent, the table
 * of channels, the requests that have no answer yet, and the channels whose
 * handlers have something to do (the ready list).
 *
 * Lock discipline: one mutex per connection, `lock`, guards all of it and its
 * channels. It is held for short steps only, never while a handler runs or
 * while anyone waits. Two things are outside of it: `in`, which belongs to
 * whoever reads the socket (the I/O thread, or in loop mode the one thread
 * that uses the connection), and the content of a message, which belongs to
 * who holds the message. Functions named *_locked, and all internal functions
 * that take a struct muxc or a struct muxc_channel and say nothing else, are
 * called with the lock held.
 *
 * Three kinds of threads: the program's; the I/O thread (io.c), which reads,
 * demultiplexes (receive.c) and sends what others left; those that run
 * handlers (dispatch.c), which are dispatch threads, as many as are of use, or
 * the program's executor (threads.c). Who waits sleeps on a condition, and the
 * I/O thread wakes it; so a handler may wait too. In loop mode whoever waits
 * polls and reads himself.
 *
 * Ownership: the connection is counted: the program's handle, each thread of
 * its own, each run() the executor was given, and every channel object hold
 * one each. A channel is counted: the program's
 * handle, the connection's table (until muxd knows the channel's end), the
 * ready list and the handler that runs hold one each. No cycle survives
 * conn_end(), which empties the table.
 *
 * Where to read on: chan.h (a channel), request.h (what is asked and answered),
 * outcome.h and replay.h (publishes), events.h and dispatch.h (handlers), link.h and
 * restore.h (muxd lost and found again). A header includes another one only for
 * what it embeds, and knows the rest by name.
 */
#pragma once

#include "client/declared.h"
#include "client/link.h"
#include "client/muxclient.h"

#include "proto/arena.h"
#include "proto/buf.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#define KEEP_BYTES (256u * 1024u) /* empty buffers larger than this are given back */

enum conn_state {
	CONN_GREETING,
	CONN_READY,
	CONN_AWAY, /* no socket; it will be tried again */
	CONN_ENDED
};

struct muxc {
	pthread_mutex_t lock;
	pid_t owner; /* the process that made it */
	struct muxc *next_forking;
	bool reattaches; /* and is in that list */
	bool forked;	 /* in a child, and nothing was called yet */
	bool asleep;	 /* in a child: its thread is not started yet */
	unsigned int refs;
	int fd;
	int fd_told; /* loop mode: what muxc_get_fd() gave last; -1: none */
	int fd_left; /* a lost one that the program's loop may still know; shut down */
	int wake_fd; /* eventfd to the I/O thread; -1 in loop mode */
	bool loop;
	bool freed; /* by the program */
	enum conn_state state;
	struct muxc_error error; /* why it has ended */

	/* Options. */
	uint64_t connect_deadline_usec;
	uint64_t request_timeout_usec;
	uint64_t outcome_timeout_usec;
	uint64_t linger_usec;
	muxc_upstream_handler on_upstream;
	muxc_going_away_handler on_going_away;
	muxc_closed_handler on_closed;
	muxc_link_handler on_link;
	void *userdata;

	struct link link;
	struct declarations declared;

	/* Publishes that have no outcome. */
	struct chunk *chunk;   /* that has room for the next one; NULL: none */
	size_t chunk_bytes;    /* of the next chunk */
	uint64_t chunks_bytes; /* of all chunks */
	uint64_t kept_count;
	uint64_t kept_bytes; /* headers and bodies */
	uint64_t kept_max;
	uint64_t unsent_count; /* of them, those that are still to be sent in this session */

	/* What muxd said. */
	uint64_t session;
	uint64_t message_max;
	uint32_t channels_max;
	uint32_t requests_max;
	int upstream_state; /* -1: not yet */

	/* Output. */
	struct buf out;
	uint64_t out_sent; /* bytes that the session's socket has taken */
	bool out_broken;   /* the peer reads no more: what is sent is dropped */
	bool out_blocked;  /* the socket is full: wait for POLLOUT */
	bool tick_armed;   /* the I/O thread will send at tick_usec */
	bool wake_pending; /* wake_fd was written and not yet read */
	uint64_t tick_usec;
	unsigned int direct_budget; /* sends by other threads until the next input; see out_policy() */
	struct muxc_channel *dirty; /* channels with settles to be sent */

	/* Input: the reader's own, without the lock. */
	struct buf in;
	struct arena arena;
	int fault; /* a negative errno: the frame that is being handled ends the connection */
	const char *fault_text;

	/* Credit to publish: totals. */
	uint64_t credit_messages;
	uint64_t credit_bytes;
	uint64_t used_messages;
	uint64_t used_bytes;
	uint64_t wanted_messages;
	uint64_t wanted_bytes;
	struct credit_waiter *credit_first;
	struct credit_waiter *credit_last;

	uint64_t got_bytes; /* totals of got messages */
	uint64_t got_granted;

	struct request *requests;
	unsigned int requests_count;
	unsigned int requests_sent;   /* of them, those under way */
	unsigned int requests_unsent; /* of them, those of no channel that are still to be sent */
	uint32_t last_request;

	struct channel_slot *channels; /* [number - 1] */
	uint32_t channels_count;       /* slots */
	uint32_t channels_next;	       /* where to look for a free one */
	uint32_t channels_ending;      /* closed here, not yet by muxd */
	uint32_t channels_waiters;     /* threads that wait for a free one */
	uint64_t channels_serial;
	struct muxc_channel *own; /* number 0: the connection's own events */

	struct muxc_channel *ready_first;
	struct muxc_channel *ready_last;
	unsigned int ready_count;
	struct muxc_channel *running; /* channels that have their turn */

	/* Who runs handlers; see threads.c. */
	muxc_execute execute; /* NULL: dispatch threads */
	void *executor;
	struct runs *runs;		/* what the executor is given; one ref */
	struct dispatcher *first;	/* made at once, for a thread to come; owned */
	struct dispatcher *dispatchers; /* owned */
	struct dispatcher *ended;	/* the last one: joined by the next that ends, or by muxc_free() */
	struct dispatcher *idle;	/* the last that fell asleep first */
	unsigned int dispatchers_count;
	unsigned int dispatchers_max;
	unsigned int coming;	  /* woken, started or handed over, and not there yet */
	unsigned int thread_refs; /* references to the connection held by threads and runs */
	uint64_t look_usec;	  /* when the I/O thread looks after ready channels; 0: not */

	struct muxc_message *pool;
	unsigned int pool_count;

	pthread_cond_t cond; /* greeting, answers without a channel, room for requests, end */
	pthread_t io_thread;
	bool has_threads;
	bool stopping;
	bool in_handler; /* loop mode */
};

/* True in a forked child: without the lock. */
bool conn_is_foreign(const struct muxc *c);
/*
 * Takes the lock of a usable connection. Else the negative errno, error set,
 * no lock: -ECHILD, -ESHUTDOWN, or why the connection has ended.
 */
int conn_enter(struct muxc *c, struct muxc_error *ret_error);
/* The same for a connection that may have ended: only -EINVAL and -ECHILD. Both take a reference. */
int conn_lock(struct muxc *c, struct muxc_error *ret_error);
/* 0, or why the connection cannot be used. */
int conn_check(struct muxc *c, struct muxc_error *ret_error);
/* Drops a reference and gives back the lock; frees it all if it was the last. */
void conn_leave(struct muxc *c);
/* The end: everything outstanding ends with this error. Only the first one counts. */
void conn_end(struct muxc *c, const struct muxc_error *error);
void conn_fail(struct muxc *c, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));
/*
 * Waits until cond is signalled, something was read (loop mode), or the
 * deadline: 0 or -ETIMEDOUT. Sends before. The caller looks again.
 */
int conn_wait(struct muxc *c, pthread_cond_t *cond, uint64_t deadline_usec);
int cond_init_monotonic(pthread_cond_t *cond);
