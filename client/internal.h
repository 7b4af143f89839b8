/*
 * What the files of the library share. The model:
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
 */
#pragma once

#include "config.h" /* before any system header: ppoll() and others need its _GNU_SOURCE */

#include "client/muxclient.h"
#include "client/wire.h"

#include "proto/arena.h"
#include "proto/buf.h"
#include "proto/frame.h"
#include "proto/muxd.pb-c.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#define CREDIT_STANDING_MESSAGES 64u /* PROTOCOL.md, "Credit": before muxd said more */
#define CREDIT_STANDING_BYTES 16384u
#define REQUESTS_STANDING_MAX 64u
#define GET_WINDOW_BYTES (16u * 1024u * 1024u)
#define CONSUMER_WINDOW_MESSAGES 512u
#define CONSUMER_WINDOW_BYTES (4u * 1024u * 1024u)
#define SETTLE_RANGES_MAX 64u	  /* that wait to be sent in one frame */
#define EXCEPTIONS_MAX 1024u	  /* remembered ranges of outcomes other than confirmed */
#define SHORT_TEXT_MAX 255u	  /* bytes of an AMQP short string */
#define KEEP_BYTES (256u * 1024u) /* empty buffers larger than this are given back */
#define USEC_PER_SEC 1000000u
#define POOL_MESSAGE_BYTES 2048u /* messages up to this size are pooled */
#define POOL_MESSAGES_MAX 256u
#define RESUME_MAX 64u /* bytes of a token that are kept */
#define REPLAY_BYTES (64u * 1024u * 1024u)
#define OUTCOME_TIMEOUT_USEC (300u * (uint64_t)USEC_PER_SEC) /* where the program gives none */
#define SOCKET_PATH_MAX 108u				     /* of a socket address, with its NUL */

/* -------------------------------------------------------------------- events */

enum event_type {
	EVENT_MESSAGE,	/* struct muxc_message */
	EVENT_RETURNED, /* struct muxc_message with an error */
	EVENT_OUTCOME,	/* the rest: struct notice */
	EVENT_CANCELLED,
	EVENT_INTERRUPTED,
	EVENT_CHANNEL_CLOSED,
	EVENT_UPSTREAM,
	EVENT_GOING_AWAY,
	EVENT_LINK,
	EVENT_CLOSED
};

/* What a handler is to be called for; queued on its channel, first in a struct. */
struct event {
	struct event *next;
	enum event_type type;
};

struct notice {
	struct event event;
	uint64_t first;	   /* outcome; going away: usec; upstream: epoch; link: session */
	uint64_t last;	   /* outcome; link: publishes that are sent again */
	int kind;	   /* outcome, or state of the upstream or the link */
	uint32_t consumer; /* link: attempts */
	char *name;	   /* upstream */
	char *text;
	struct muxc_error error;
};

struct event_queue {
	struct event *first;
	struct event *last;
};

/* ------------------------------------------------------------------- message */

#define PROPERTIES_END 15 /* one more than the highest enum muxc_property */

struct muxc_message {
	struct event event;
	atomic_uint refs;
	bool received;
	bool redelivered;
	uint16_t present; /* bit 1 << enum muxc_property */
	uint8_t delivery_mode;
	uint8_t priority;
	uint64_t timestamp;
	uint64_t tag; /* of a returned message: the number it was published with */
	uint32_t consumer;
	uint32_t remaining;
	struct span text[PROPERTIES_END]; /* HEADERS: an encoded table. Built ones own each, received ones
					     `storage` */
	struct span exchange;
	struct span routing_key;
	struct span body;
	struct muxc_error *error; /* of a return; owned */
	size_t size_bytes;	  /* what it cost of its consumer's window */
	size_t capacity;	  /* bytes of storage */
	uint8_t storage[];
};

struct muxc_table {
	struct buf bytes;
};

/* ------------------------------------------------------------------ outcomes */

struct range {
	uint64_t first;
	uint64_t last;
};

struct exception {
	struct range range;
	int kind;
	struct muxc_error *error; /* owned; may be NULL */
};

/* How the publishes of a channel ended; see outcome.c. */
struct outcomes {
	uint64_t published;    /* number of the newest */
	uint64_t base;	       /* all up to here have their outcome */
	struct range *settled; /* beyond base: sorted, never adjacent */
	size_t settled_count;
	size_t settled_capacity;
	struct exception *exceptions; /* a ring, oldest at exceptions_start */
	size_t exceptions_start;
	size_t exceptions_count;
	size_t exceptions_capacity;
	uint64_t forgotten; /* highest number among exceptions that were dropped */
	uint64_t counts[MUXC_UNKNOWN + 1];
	bool has_failure;
	struct muxc_error first_failure;
	/* The channel's end: all up to here that were not settled before ended so. */
	uint64_t rest_last;
	int rest_kind;
	struct muxc_error rest_error;
};

/* ------------------------------------------------- publishes without an outcome */

/* One that is kept to be sent again; see replay.c. */
struct kept {
	struct chunk *chunk;
	uint64_t position; /* where its frame began in the stream of the session */
	uint64_t since_usec;
	uint64_t deadline_usec;
	uint32_t op_at; /* in bytes */
	uint32_t op_len;
	uint32_t body_len; /* behind the operation */
	bool was_sent;	   /* in an earlier session, at least the first byte of it */
	bool returned;	   /* it came back: its outcome is known, and only has to be told */
	uint8_t bytes[];   /* the frame as it was sent first */
};

/*
 * Numbers of a channel's publishes. The program's count from 1 as long as the
 * channel lives, muxd's anew in each session: what is sent again has holes.
 */
struct wire_part {
	uint64_t last;	 /* muxd's number of the last one of this part */
	uint64_t offset; /* what the program's is more; may wrap */
};

struct replay {
	struct kept **ring; /* of the numbers from `first` to the newest; NULL: has its outcome */
	size_t capacity;    /* a power of two, or 0 */
	uint64_t first;	    /* the oldest without an outcome, or the next one to be published */
	uint64_t sent;	    /* up to here all were sent in this session, or need not be */
	uint64_t wire_sent; /* muxd's number of the newest */
	uint64_t offset;    /* of what was sent behind the parts */
	struct wire_part *parts;
	size_t parts_count;
	size_t parts_capacity;
};

/* ------------------------------------------------------------------- channel */

struct consumer {
	struct consumer *next;
	uint32_t id;
	char tag[SHORT_TEXT_MAX + 1]; /* as the broker has it; empty until it has */
	struct buf op;		      /* Consume, without tag and credit: to start it again */
	uint32_t prefetch;	      /* of the last qos before */
	bool started;		      /* muxd has answered */
	bool gone;		      /* muxd has cancelled it; its handler is still to be told */
	bool direct_reply;
	muxc_message_handler on_message;
	muxc_cancelled_handler on_cancelled;
	muxc_interrupted_handler on_interrupted;
	void *userdata;
	uint32_t window_messages;
	uint64_t window_bytes;
	uint64_t taken_messages; /* totals: handled, or dropped */
	uint64_t taken_bytes;
	uint64_t granted_messages;
	uint64_t granted_bytes;
};

struct settles {
	int kind; /* Muxd__V1__SettleKind */
	unsigned int count;
	struct range ranges[SETTLE_RANGES_MAX];
};

enum channel_state {
	CHANNEL_OPEN,
	CHANNEL_DOOMED,	 /* muxd has ended it; what is under way is still answered */
	CHANNEL_CLOSING, /* closed by the program; muxd has not answered */
	CHANNEL_ENDED	 /* muxd knows it no more */
};

struct muxc_channel {
	struct muxc *c;
	uint32_t number; /* 0: the connection's own, for its handlers */
	uint32_t generation;
	unsigned int refs;
	enum channel_state state;
	bool closed_here;	/* by muxc_channel_close() or _free() */
	bool close_done;	/* muxd has answered ChannelClose */
	bool end_seen;		/* muxd has said that it ended the channel */
	unsigned int requests;	/* unanswered ones */
	bool live;		/* open in this session */
	bool restoring_failed;	/* something was refused when it was brought back: `error` */
	bool restoring_again;	/* and it is to be tried again */
	bool pending;		/* in the list of those that have something to be sent */
	unsigned int restoring; /* requests that bring it back, not answered yet */
	unsigned int unsent;	/* requests that were not sent in this session */
	struct muxc_channel *next_pending;
	uint64_t serial;  /* unlike the number it is never used again */
	char *last_queue; /* the one declared last; owned */
	bool has_qos;
	bool has_qos_global;
	uint32_t qos_prefetch;
	uint32_t qos_global;
	uint64_t tag_base;     /* tags up to here are of an earlier session */
	uint64_t tag_last;     /* the highest that was given out */
	bool tx;	       /* transactional */
	bool tx_used;	       /* published or settled in the open transaction */
	bool tx_committing;    /* and its commit was under way when muxd was lost */
	uint64_t tx_settled;   /* single ones, in the open transaction */
	uint64_t tx_unsettled; /* of it, and what the program has in hand; at least so many */
	struct replay replay;
	bool user_freed;
	bool destroyed; /* on_destroy was called, or is to be by nobody else */
	struct muxc_error error;
	struct muxc_channel_options options;
	struct outcomes outcomes;
	struct consumer *consumers;
	uint32_t last_consumer;
	struct settles *settles; /* NULL until the first one */
	bool dirty;		 /* in the connection's list of channels with settles */
	struct muxc_channel *next_dirty;
	struct event_queue events;
	struct notice *end; /* made with the channel, so that its end can always be told; NULL: it is */
	bool ready;	    /* in the ready list */
	struct muxc_channel *next_ready;
	/* Its turn: one thread calls its handlers. In here, so that a forked child finds it. */
	bool running;
	pthread_t runner;
	uint64_t since_usec;   /* when the turn began */
	struct event *handled; /* taken out of the queue */
	struct muxc_channel *next_running;
	pthread_cond_t cond; /* something a waiter of this channel may wait for has changed */
	unsigned int waiters;
};

struct channel_slot {
	struct muxc_channel *channel; /* one ref */
	uint32_t generation;	      /* the last one used */
};

/* ------------------------------------------------------------------ requests */

struct request {
	struct request *next;
	uint32_t id;
	uint32_t op;		      /* field number in ClientFrame */
	uint32_t consumer;	      /* of consume */
	struct muxc_channel *channel; /* one ref; NULL: the daemon's */
	bool done;
	bool abandoned;		   /* nobody waits any more: the answer is undone and freed */
	bool sent;		   /* in this session */
	bool restores;		   /* made by restore.c */
	struct declared *declared; /* that it declares again */
	uint64_t after;		   /* the channel's publishes up to here go before it */
	uint64_t timeout_usec;
	uint64_t deadline_usec;
	struct buf body;   /* the encoded operation, until the answer */
	uint32_t prefetch; /* of qos */
	bool global;
	int result;
	struct muxc_error error;
	uint32_t count; /* messages */
	uint32_t consumers;
	char name[SHORT_TEXT_MAX + 1]; /* of the declared queue */
	uint8_t resume[RESUME_MAX];
	size_t resume_len;
	struct muxc_message *message; /* got */
	struct admin_answer *answer;  /* of an admin call; owned */
};

/* One synchronous call; on its caller's stack. */
struct call {
	struct muxc *c;
	struct muxc_channel *channel;
	uint64_t timeout_usec;
	struct muxc_error *error;
	uint64_t deadline_usec;
	struct buf op; /* the encoded operation */
	struct request *request;
};

/* ---------------------------------------------------------------- connection */

enum conn_state {
	CONN_GREETING,
	CONN_READY,
	CONN_AWAY, /* no socket; it will be tried again */
	CONN_ENDED
};

/* What was declared and bound, in order, to be declared again; see declared.c. */
struct declarations {
	struct declared *first;
	struct declared *last;
	struct declared *next;	   /* where to go on with declaring again */
	struct declared **buckets; /* by key */
	size_t capacity;
	size_t count;
};

/* How the connection is to muxd; see link.c and restore.c. */
struct link {
	char path[SOCKET_PATH_MAX];
	struct buf hello;
	bool reconnects; /* and so publishes are kept */
	bool later;	 /* connects later if need be */
	bool up;	 /* what is new is sent at once; else it is kept until it is */
	bool moving;	 /* muxd has asked to leave */
	bool failed;	 /* muxd has ended the session: `error` */
	bool away;	 /* no session, until the next Welcome; on_link was told */
	uint32_t attempts;
	uint32_t random;
	uint64_t backoff_usec;
	uint64_t connect_timeout_usec;
	uint64_t timeout_usec; /* how long muxd may be away */
	uint64_t retry_usec;   /* when to connect */
	uint64_t give_up_usec;
	uint64_t move_usec;	/* when to leave at the latest */
	uint64_t restore_usec;	/* when to go on with what was refused for now; 0: nothing was */
	uint64_t patience_usec; /* until when some refusals are for now */
	uint64_t expire_usec;	/* when the first publish that waits here ends */
	bool declaring;		/* first what was declared, then the channels */
	bool declaring_open;	/* the channel for it is */
	bool declaring_failed;	/* it was, and has failed */
	unsigned int declaring_unanswered;
	bool starved;			    /* what is sent again waits for credit */
	struct muxc_channel *pending_first; /* channels with something to be sent */
	struct muxc_channel *pending_last;
	struct muxc_error error;
};

/* A thread that waits for publish credit; on its stack, in order of arrival. */
struct credit_waiter {
	struct credit_waiter *next;
	pthread_cond_t cond; /* threaded mode only */
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

/* ------------------------------------------------------------ error.c */

/* Fills in *error (may be NULL): kind library, the text made by printf. Returns err. */
int error_set(struct muxc_error *error, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* As the caller's struct is long; both may be NULL. */
void error_copy(struct muxc_error *to, const struct muxc_error *from);
/* Says nothing happened. */
void error_clear(struct muxc_error *error);
/* From muxd's words. */
void error_from_wire(struct muxc_error *error, const Muxd__V1__Error *wire, uint32_t channel);
struct muxc_error *error_dup(const struct muxc_error *error);

uint64_t now_usec(void);
/* Some milliseconds late, and cheap. */
uint64_t now_coarse_usec(void);
uint64_t deadline_after(uint64_t timeout_usec);

/* A text and its length, MUXC_STRLEN standing for strlen(). */
struct span text_span(const char *text, size_t len);
/* A NUL-terminated copy, or NULL. */
char *text_dup(struct span text);
/* The same of a short string into its place; what is longer is none of AMQP's, and cut. */
void text_copy(char to[SHORT_TEXT_MAX + 1], struct span text);
/*
 * Copies a struct of the program's, which begins with its size and may be of
 * another version of the header; what it is too short for is 0. NULL: all is 0.
 * -EINVAL, with the error set: it has no size, or something set that this version
 * does not know.
 */
int struct_take(void *to, size_t size, const void *from, const char *name, struct muxc_error *ret_error);
/* False, with the error set, when a name is longer than AMQP allows. */
bool text_fits(const char *text, const char *what, struct muxc_error *error);

/* ---------------------------------------------------------- options.c */

/* 0, or -EINVAL, -ENAMETOOLONG with the error set. */
int options_read(struct muxc *c, const struct muxc_options *options, struct muxc_error *ret_error);
int options_socket_path(const struct muxc_options *options, char *buffer, size_t size,
			struct muxc_error *ret_error);
/* Encodes Hello into c->link.hello. */
void options_make_hello(struct muxc *c, const struct muxc_options *options);

/* ------------------------------------------------------------- conn.c */

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

/* -------------------------------------------------------- io.c, out.c */

#define TICK_USEC 500u	    /* how long what was put off may wait for the I/O thread */
#define BODY_COPY_MAX 4096u /* bytes: larger ones go to the socket from where they are, if it takes them */
#define OUT_DIRECT_BYTES (32u * 1024u) /* so much is sent at once by whoever queued it */

/* Interrupts the I/O thread's poll; nothing in loop mode. */
void io_wake(struct muxc *c);
void *io_thread_main(void *arg);
/* Reads once and handles what came: 1, or 0 when there was nothing. Without the lock. */
int io_read(struct muxc *c);
/* Sends what is queued as far as it goes. */
void out_flush(struct muxc *c);
/*
 * Appends a frame: op is an encoded operation of the given field number,
 * payload may be empty. -ENOMEM.
 */
struct frame_head {
	uint32_t request;
	uint32_t channel;
	uint32_t deadline_ms;
	uint32_t op;
};
int out_frame(struct muxc *c, const struct frame_head *head, struct span op);
/* To be called after appending: sends now, or leaves it to the I/O thread for a while. */
void out_policy(struct muxc *c, bool more);
/*
 * Behind an appended frame head: sends the body, or queues it. -ENOMEM: the
 * buffer is cut back to len_before.
 */
int out_body(struct muxc *c, struct span body, size_t len_before);

/* --------------------------------------------------------- threads.c */

/* The I/O thread; without the lock. */
int threads_start(struct muxc *c, struct muxc_error *ret_error);
/* The same with the lock. */
int threads_begin(struct muxc *c);
/*
 * Ends the threads; gives up the lock meanwhile. Waits for handlers that run
 * and for what the executor has; from a handler, for the handlers of others.
 */
void threads_stop(struct muxc *c);
/* Drops the reference of a thread or a run, and gives back the lock. */
void threads_leave(struct muxc *c);
/* With the last reference. */
void threads_deinit(struct muxc *c);
/* A channel was put into the ready list by someone who does not run handlers now. */
void threads_wake(struct muxc *c);
/* The I/O thread's part in it; gives up the lock meanwhile. */
void threads_look(struct muxc *c);
/* In a forked child: the threads are not there, nor the handlers they ran. */
void threads_forget(struct muxc *c);

/* -------------------------------------------------------- dispatch.c */

#define DISPATCH_BUDGET 256 /* handlers before the loop looks at the socket again */

void event_push(struct muxc_channel *channel, struct event *event);
void events_drop(struct muxc_channel *channel);
/* In a forked child: nothing is ready, and no handler runs, whatever the parent's threads did. */
void ready_forget(struct muxc *c);
void running_forget(struct muxc *c);
/* Takes the messages of a consumer out of the queue and gives them back. */
void events_requeue(struct muxc_channel *channel, uint32_t consumer);
/* Takes those out that need to be settled: they come again in another session. */
void events_stale(struct muxc_channel *channel);
void event_free(struct muxc *c, struct event *event);
/* Runs handlers of ready channels, at most budget; gives up the lock meanwhile. Returns how many were called.
 */
int dispatch_run(struct muxc *c, int budget);
/* The turn of the channel that is ready the longest, if there is one. */
int dispatch_turn(struct muxc *c);
/* This thread calls a handler of the connection's now. */
bool in_dispatch(const struct muxc *c);
/* Calls on_destroy if its time has come; gives up the lock meanwhile. */
void channel_tell_destroyed(struct muxc_channel *channel);
/* Queues a copy of notice, unless no handler wants it. Takes over its name and text. -ENOMEM. */
int notice_push(struct muxc_channel *channel, const struct notice *notice);
/* The notice of the channel's or the connection's end, once: needs no memory. */
void notice_push_end(struct muxc_channel *channel, enum event_type type, const struct muxc_error *error);

/* --------------------------------------------------------- receive.c */

/* Handles the whole frames at the front of c->in. */
void receive_input(struct muxc *c);

/* ------------------------------------------------------------ chan.c */

struct muxc_channel *channel_new(struct muxc *c, const struct muxc_channel_options *options);
void channel_unref(struct muxc_channel *channel);
/* Sends ChannelOpen with the next generation; tags and numbers begin anew. -ENOMEM. */
int channel_begin(struct muxc_channel *channel);
/* A request that closes it, when all before it was sent. -ENOMEM. */
int channel_send_close(struct muxc_channel *channel);
/* Something of the channel's was answered: if it was the last of one that is to end, it ends. */
void channel_check_end(struct muxc_channel *channel);
/* The open channel of that number and generation, or NULL: stale. */
struct muxc_channel *channel_find(struct muxc *c, uint32_t number, uint32_t generation);
/* muxd knows the channel no more. */
void channel_end(struct muxc_channel *channel, const struct muxc_error *error);
/* An answer has said that the channel is closed. */
void channel_doom(struct muxc_channel *channel, const struct muxc_error *error);
/* Locks and checks that the channel can be used; as conn_enter(). */
int channel_enter(struct muxc_channel *channel, struct muxc_error *ret_error);
/* The same for one that may have ended. */
int channel_lock(struct muxc_channel *channel, struct muxc_error *ret_error);
void channel_leave(struct muxc_channel *channel);
int channel_usable(struct muxc_channel *channel, struct muxc_error *ret_error);
int channel_wait(struct muxc_channel *channel, uint64_t deadline_usec);
void channel_wake(struct muxc_channel *channel);

/* --------------------------------------------------------- consume.c */

struct consumer *consumer_find(struct muxc_channel *channel, uint32_t id);
void consumer_remove(struct muxc_channel *channel, uint32_t id);
void consumers_free(struct muxc_channel *channel);
/* A message goes to its handler, or is dropped: credit for more. */
void consumer_took(struct muxc_channel *channel, struct consumer *consumer, size_t size_bytes);
int settle_add(struct muxc_channel *channel, int kind, uint64_t first, uint64_t last);
/* Encodes the waiting settles of a channel. -ENOMEM: they wait on. */
int settles_emit(struct muxc_channel *channel);

/* --------------------------------------------------------- outcome.c */

/* -EPROTO when they were settled before, or never published; -ENOMEM. */
int outcomes_settle(struct muxc_channel *channel, struct range range, int kind,
		    const struct muxc_error *error);
/* Everything without an outcome ends so, once: needs no memory. EVENT_CHANNEL_CLOSED is to tell it. */
void outcomes_settle_rest(struct muxc_channel *channel, int kind, const struct muxc_error *error);
/* Whether all up to this number have their outcome. */
bool outcomes_complete(const struct outcomes *outcomes, uint64_t number);
/* The next run of publishes behind `after` that ended with the channel; false: there is none. */
bool outcomes_next_rest(const struct outcomes *outcomes, uint64_t after, struct range *ret);
void outcomes_deinit(struct outcomes *outcomes);

/* --------------------------------------------------------- request.c */

/*
 * call_begin() locks, waits for room, and leaves call->op to be filled with
 * the encoded operation. call_end() sends it, waits, and unlocks: 0, or the
 * error; the answer is in call->request until call_free(). After a failed
 * call_begin() there is nothing to end.
 */
int call_begin(struct call *call, uint32_t op);
int call_end(struct call *call);
void call_free(struct call *call);
/* Instead of call_end(): nothing is sent. */
void call_abort(struct call *call);
/* A request that nobody waits for; after all that was published. */
int request_send_detached(struct muxc_channel *channel, uint32_t op, struct span body);
/* The same for restore.c, which fills it in and sends it; channel may be NULL. */
struct request *request_restoring(struct muxc *c, struct muxc_channel *channel, uint32_t op);
/* Sends it now. -ENOMEM; -EMSGSIZE. */
int request_send(struct muxc *c, struct request *request, uint32_t number);
/* Sends it now, or when all before it was sent. -ENOMEM, -EMSGSIZE. */
int request_submit(struct muxc *c, struct request *request);
/* The session is gone: what can be is made again, the rest ends. */
void requests_lost(struct muxc *c);
void request_drop(struct muxc *c, struct request *request);
/* The unanswered request of that number, or NULL. */
struct request *request_find(struct muxc *c, uint32_t id);
/* The answer is there; ends the request. */
void request_done(struct muxc *c, struct request *request);
void request_free(struct muxc *c, struct request *request);
/* Ends all requests (of a channel, or with NULL all there are). */
void requests_fail(struct muxc *c, struct muxc_channel *channel, const struct muxc_error *error);

/* ----------------------------------------------------------- admin.c */

/* An answer to an admin call: a copy of the frame's header, to be unpacked by who asked. */
struct admin_answer {
	size_t len;
	uint8_t bytes[];
};

int admin_keep(struct request *request, struct span header);

/* --------------------------------------------------------- credit, publish.c */

/* Credit has come: wakes who waits for it. */
void credit_update(struct muxc *c, uint64_t messages, uint64_t bytes);
void credit_wake(struct muxc *c);
/* Wakes the first one in line. */
void credit_wake_first(struct muxc *c);
bool credit_suffices(const struct muxc *c, uint64_t cost);
/* Asks for enough for one publish of this cost; once. -ENOMEM. */
int credit_want(struct muxc *c, uint64_t cost);
/* A new session: all of it begins anew. */
void credit_reset(struct muxc *c);

/* ---------------------------------------------------------- replay.c */

/* Whether one more may be kept. */
bool replay_has_room(const struct muxc *c, uint64_t cost);
/* Room for a publish and its frame; nothing else happens before replay_commit(). NULL: no memory. */
struct kept *replay_reserve(struct muxc_channel *channel, size_t frame_len);
/* The next number of the channel is this one; it is still to be sent. */
void replay_commit(struct muxc_channel *channel, struct kept *kept);
/* Instead of it. */
void replay_discard(struct muxc *c, struct kept *kept);
/* The next number is not kept. -ENOMEM. */
int replay_skip(struct muxc_channel *channel);
/* The number's frame has been appended to the output. -ENOMEM. */
int replay_sent(struct muxc_channel *channel, uint64_t number);
/* These have their outcome: not kept any more. */
void replay_settled(struct muxc_channel *channel, struct range range);
/* An outcome in muxd's numbers: as outcomes_settle(). */
int replay_outcome(struct muxc_channel *channel, struct range wire, int kind, const struct muxc_error *error);
/* It came back, so muxd will not say anything else of it. */
void replay_returned(struct muxc_channel *channel, uint64_t number);
/* The program's number of muxd's. */
uint64_t replay_number(const struct muxc_channel *channel, uint64_t wire);
/* The session is gone: all that is kept is to be sent again. */
void replay_lost(struct muxc_channel *channel);
/* The channel is open in a new session: muxd counts from 1. */
void replay_begin(struct muxc_channel *channel);
/* Sends what is to be sent up to this number. False: credit is missing, or the connection has ended. */
bool replay_send(struct muxc_channel *channel, uint64_t limit);
/* How many of the kept ones are marked when they are sent again. */
uint64_t replay_count_resent(struct muxc *c);
/* Ends what was not sent in this session: as failed, or unknown if it was in an earlier one. */
void replay_end_unsent(struct muxc_channel *channel, const struct muxc_error *error);
/* Ends those whose time is over and that were not sent; says when the next is. */
void replay_expire(struct muxc *c);
void replay_deinit(struct muxc_channel *channel);

/* -------------------------------------------------------- declared.c */

struct declared {
	struct declared *next;
	struct declared *previous;
	struct declared *next_in_bucket;
	uint32_t op; /* queue or exchange declare, or bind */
	uint32_t hash;
	uint64_t serial; /* of the channel it was declared on */
	struct buf body; /* the operation */
	char *name;	 /* of a queue or exchange; NULL: a binding, named by its operation */
	bool waiting;	 /* to be declared again */
	bool alone;	 /* and with nothing else under way, to see whether it is the one refused */
};

/* What the answer to a request means for what is to be declared again. -ENOMEM. */
int declared_answered(struct muxc *c, struct request *request);
/* A deletion was under way when the session was lost: what it deletes is not brought back. */
void declared_lost(struct muxc *c, const struct request *request);
void declared_remove(struct muxc *c, struct declared *declared);
void declared_deinit(struct muxc *c);

/* ------------------------------------------------------------ fork.c */

/* With MUXC_REATTACH. A negative errno: it cannot be. */
int fork_register(struct muxc *c);
/* Without the lock. */
void fork_unregister(struct muxc *c);
/* In the child, before anything else: forgets what is the parent's. */
void fork_adopt(struct muxc *c);
/* Starts the thread. */
int fork_wake(struct muxc *c, struct muxc_error *ret_error);

/* ------------------------------------------------------------ link.c */

/* In a forked child: it is away, and to be tried at once. */
void link_forget(struct muxc *c);

/* Connects for the first time, or decides to do so later. */
int link_start(struct muxc *c, struct muxc_error *ret_error);
/* The session is gone; by the reader of the socket only. */
void link_lost(struct muxc *c, const struct muxc_error *error);
/* muxd has ended the session with an error; what came behind it is not read. */
void link_refused(struct muxc *c, const struct muxc_error *error);
/* muxd has greeted. */
void link_welcomed(struct muxc *c);
/* muxd asks to leave. */
void link_move(struct muxc *c, uint64_t within_usec);
/* When link_turn() has something to do; UINT64_MAX: never. */
uint64_t link_timeout(const struct muxc *c);
/* Does what is due; by the reader of the socket. */
void link_turn(struct muxc *c);

/* --------------------------------------------------------- restore.c */

/* A new session is there: everything is brought back. */
void restore_begin(struct muxc *c);
/* The session is gone before everything was. */
void restore_lost(struct muxc *c);
/* What was refused for now is tried again. */
void restore_again(struct muxc *c);
/* An answer to one of its requests; error: NULL, or why it was refused. */
void restore_answered(struct muxc *c, struct request *request, const struct muxc_error *error);
/* The channel has something to be sent, in its turn. */
void restore_add(struct muxc_channel *channel);
/* Something was answered, or credit has come: goes on. */
void restore_go_on(struct muxc *c);
/* Sends what has room now. */
void restore_pump(struct muxc *c);
/* Takes a channel that has ended out of the list. */
void restore_remove(struct muxc_channel *channel);

/* ------------------------------------------------------------- ops.c */

/* The name, or if it is empty that of the queue declared last on the channel. */
struct span queue_or_last(const struct muxc_channel *channel, const char *name);
/* tx select, commit, rollback or recover was done. */
void transaction_answered(struct muxc_channel *channel, uint32_t op);

/* ------------------------------------------------------------- msg.c */

enum message_form {
	MESSAGE_DELIVERY,
	MESSAGE_GOT,
	MESSAGE_RETURNED
};

/* A message for this operation and body; NULL: no memory. */
struct muxc_message *message_alloc(struct muxc *c, size_t op_len, size_t body_len);
/* Copies and takes apart: 0 or -EBADMSG. */
int message_parse(struct muxc_message *message, enum message_form form, struct span op, struct span body);
/* Drops a reference, with the lock: the last one gives it back to the pool. */
void message_drop(struct muxc *c, struct muxc_message *message);
void pool_free(struct muxc *c);
/* Bytes of the encoded Properties. */
size_t properties_size(const struct muxc_message *message);
void properties_put(struct buf *out, const struct muxc_message *message);

/* ----------------------------------------------------------- table.c */

struct span table_span(const struct muxc_table *table);
void iter_from_span(struct span span, struct muxc_iter *ret);
