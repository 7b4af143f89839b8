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
	EVENT_CLOSED
};

/* What a handler is to be called for; queued on its channel, first in a struct. */
struct event {
	struct event *next;
	enum event_type type;
};

struct notice {
	struct event event;
	uint64_t first; /* outcome; going away: usec; upstream: epoch */
	uint64_t last;
	int kind; /* outcome, or state of the upstream */
	uint32_t consumer;
	char *name; /* upstream */
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

/* ------------------------------------------------------------------- channel */

struct consumer {
	struct consumer *next;
	uint32_t id;
	char tag[SHORT_TEXT_MAX + 1]; /* as the broker has it; empty until it has */
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
	bool closed_here;      /* by muxc_channel_close() or _free() */
	bool close_done;       /* muxd has answered ChannelClose */
	bool end_seen;	       /* muxd has said that it ended the channel */
	unsigned int requests; /* unanswered ones */
	struct muxc_channel *next_closing;
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
	bool abandoned; /* nobody waits any more: the answer is undone and freed */
	int result;
	struct muxc_error error;
	uint32_t count; /* messages */
	uint32_t consumers;
	char name[SHORT_TEXT_MAX + 1]; /* of the declared queue */
	struct muxc_message *message;  /* got */
	struct admin_answer *answer;   /* of an admin call; owned */
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
	CONN_ENDED
};

/* A thread that waits for publish credit; on its stack, in order of arrival. */
struct credit_waiter {
	struct credit_waiter *next;
	pthread_cond_t cond; /* threaded mode only */
};

struct muxc {
	pthread_mutex_t lock;
	pid_t owner; /* the process that made it */
	unsigned int refs;
	int fd;
	int wake_fd; /* eventfd to the I/O thread; -1 in loop mode */
	bool loop;
	bool freed; /* by the program */
	enum conn_state state;
	struct muxc_error error;

	/* Options. */
	uint64_t connect_deadline_usec;
	uint64_t request_timeout_usec;
	uint64_t outcome_timeout_usec;
	uint64_t linger_usec;
	muxc_upstream_handler on_upstream;
	muxc_going_away_handler on_going_away;
	muxc_closed_handler on_closed;
	void *userdata;

	/* What muxd said. */
	uint64_t session;
	uint64_t message_max;
	uint32_t channels_max;
	uint32_t requests_max;
	int upstream_state; /* -1: not yet */

	/* Output. */
	struct buf out;
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
	uint32_t last_request;

	struct channel_slot *channels;	    /* [number - 1] */
	uint32_t channels_count;	    /* slots */
	uint32_t channels_next;		    /* where to look for a free one */
	uint32_t channels_ending;	    /* closed here, not yet by muxd */
	uint32_t channels_waiters;	    /* threads that wait for a free one */
	struct muxc_channel *closing_first; /* ChannelClose to be sent when requests have room */
	struct muxc_channel *closing_last;
	struct muxc_channel *own; /* number 0: the connection's own events */

	struct muxc_channel *ready_first;
	struct muxc_channel *ready_last;
	unsigned int ready_count;
	struct muxc_channel *running; /* channels that have their turn */

	/* Who runs handlers; see threads.c. */
	muxc_execute execute; /* NULL: dispatch threads */
	void *executor;
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
/* Sends nothing; puts Hello at the front of the output. */
void options_put_hello(struct muxc *c, const struct muxc_options *options);

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
/* Ends a connection that muxd has not greeted in time. */
void conn_check_greeting(struct muxc *c);
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

#define TICK_USEC 500u		       /* how long what was put off may wait for the I/O thread */
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
/*
 * Ends the threads; gives up the lock meanwhile. Waits for handlers that run
 * and for what the executor has; from a handler, for the handlers of others.
 */
void threads_stop(struct muxc *c);
/* Drops the reference of a thread or a run, and gives back the lock. */
void threads_leave(struct muxc *c);
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
/* Takes the messages of a consumer out of the queue and gives them back. */
void events_requeue(struct muxc_channel *channel, uint32_t consumer);
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
/* Sends ChannelClose for those who waited for room. */
void channels_send_closes(struct muxc *c);
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
/* A request that nobody waits for. */
int request_send_detached(struct muxc_channel *channel, uint32_t op, struct span body);
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
