/*
 * libmuxclient: the C client library of muxd.
 *
 * A connection (struct muxc) is a session with the muxd of this host; muxd
 * holds the one AMQP connection to the broker. Channels are opened from the
 * connection, messages are published and consumed on channels. Opening a
 * channel and publishing wait for nothing: muxc_connect() sends a greeting,
 * and everything else follows it in the same stream.
 *
 * Returns: functions that return int give 0 or more when they did what they
 * say, and a negative errno otherwise; outputs (ret_...) are then untouched.
 * Most of them also fill in a struct muxc_error, if given one (NULL is fine),
 * which tells who refused and why. The same few errors can come from every
 * function and are not repeated below:
 *
 *	-EINVAL      an argument is wrong: NULL, too long, unknown flag
 *	-ENOMEM      no memory; nothing was done
 *	-ECHILD      the connection was made before fork(), in the parent
 *	-ECONNRESET  the connection to muxd has ended, connect again; or, with code
 *	             320, the call was under way when muxd was lost, see below
 *	-ESHUTDOWN   this side has closed the connection or the channel
 *	-ETIMEDOUT   the deadline has passed; the effects are undone by muxd
 *	-EPROTO      muxd sent what it must not; the connection has ended
 *
 * and what muxd or the broker answered, from the AMQP reply code:
 *
 *	-ENOENT 404     -EACCES 403     -EBUSY 405      -EPERM 530
 *	-EMSGSIZE 311   -ETIMEDOUT 408  -ENOBUFS 506    -EOPNOTSUPP 540
 *	-EREMOTEIO any other: read the code in the struct muxc_error
 *
 * An error with code 311 to 406 on a channel usually has closed that channel:
 * all that was outstanding on it ends, later calls give the same error again,
 * and muxc_channel_open() gives a new one. Other channels are not touched.
 *
 * Time: durations are in microseconds. A timeout of 0 stands for the
 * connection's default (struct muxc_options); no call waits for ever.
 *
 * Threads: by default (threaded mode) a connection has an I/O thread, which
 * never runs code of the program, and dispatch threads, which run the
 * handlers: those of one channel in order and one at a time, those of several
 * channels side by side, on as many threads as there are channels with
 * something to do, at most dispatch_threads. Instead of these threads the
 * program's own executor can be used. While handlers of the connection itself
 * (on_upstream, on_going_away, on_link) are not called, because one does not
 * return, the newest 64 calls are kept. No lock is held while a handler runs. Any
 * thread may use the connection and any channel at any time. In a handler
 * everything may be done: publish, acknowledge, call what waits, open, close
 * and free channels (its own too), and free the connection.
 *
 * Loops: with MUXC_LOOP there are no threads and the only descriptor is the
 * socket. The program polls muxc_get_fd() for muxc_get_events() until
 * muxc_get_timeout(), then calls muxc_process(), which runs the handlers.
 * What is sent waits for muxc_process() or muxc_flush(). Calls that wait poll
 * the socket themselves; messages that come meanwhile are kept for the next
 * muxc_process(). One thread at a time may use such a connection.
 *
 * Fork: in a forked child every call on a connection of the parent gives
 * -ECHILD, and freeing it is silent and never touches the parent's stream.
 * With MUXC_REATTACH the child's first call makes a session of its own instead:
 * channels are open there as they were in the parent, with their prefetch;
 * consumers, messages, and publishes without an outcome stay with the parent.
 * All descriptors are close-on-exec. SIGPIPE is never raised.
 *
 * When muxd stops, dies or is replaced, the connection goes on: it connects
 * again, with increasing delays (10 ms to 1 s, with jitter), and brings back
 * what was declared and bound and not deleted, in the order it was; then its
 * channels, each with its qos, its consumers, and its publishes that had no
 * outcome, which are sent again in order and before newer ones, marked as
 * PROTOCOL.md says (x-muxd-resent). What was declared comes back though its
 * channel was closed, but not what a call has found to be gone (-ENOENT), nor an
 * auto-delete queue whose last consumer of this connection has ended: declare
 * that again before it is consumed again. What is not wanted any more is to be
 * deleted: 16 MiB of it are remembered, some 80,000 queues or bindings, and
 * then what declares and binds gives -ENOBUFS. Meanwhile:
 *
 *  - publishes are taken and kept as long as replay_bytes lets them, and end by
 *    their deadline, or after 5 minutes if they have none (MUXC_FAILED if they
 *    never were sent, else MUXC_UNKNOWN);
 *  - calls that can be made again without harm wait, up to their timeout, and
 *    are; a purge, a deletion, a get and what ends a transaction give
 *    -ECONNRESET (retryable) when they were under way: they were done or not;
 *  - messages that were not settled come again, marked as redelivered; settling
 *    them by the tags of before does nothing and is no mistake;
 *  - a transactional channel with an open transaction ends, as does one of which
 *    something is refused when it is brought back: on_closed tells why;
 *  - exclusive queues are there again under their names, but empty: the broker
 *    deleted them with muxd's connection or session.
 *
 * on_link tells when it is lost and when it is back. When muxd asks to leave
 * (it is stopped or upgraded) the connection finishes what it has begun, and
 * moves to muxd's successor by itself: consumers get nothing new, handlers are
 * called for what they were delivered, and that it is settled and that publishes
 * have their outcome is waited for, for up to a second; that a transaction is
 * committed or rolled back for up to 10 seconds, or what muxd gives if that is
 * less. What is begun meanwhile is done in the new session, but for what
 * belongs to an open transaction. So nothing comes twice, if nothing takes
 * longer; and on each channel what comes again comes after what was handled. If
 * there is no successor within half a second it is lost. With MUXC_NO_RECONNECT,
 * or after reconnect_timeout_usec, the loss is the end: calls that wait give
 * -ECONNRESET (retryable), publishes end as MUXC_UNKNOWN, each channel's
 * on_closed is called and at last the connection's.
 *
 * Structs of the program begin with `size`, which it sets to sizeof: so they
 * can grow. Zero in any other field means the default. Of a program built with
 * an older header they are shorter, and what is missing is the default; of one
 * built with a newer header they are longer, and what is behind the fields known
 * here must be zero: else it is refused with -EINVAL, as an unknown flag is,
 * rather than ignored. A struct that is filled in is filled as far as both know
 * it. Structs that the library gives out may also grow at their end; struct
 * muxc_value, muxc_field and muxc_iter never change.
 *
 * Text: names and properties may hold any byte in AMQP. Where a length is
 * asked for, MUXC_STRLEN stands for strlen().
 */
#ifndef MUXCLIENT_H
#define MUXCLIENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#define MUXC_CHECK __attribute__((warn_unused_result))
#else
#define MUXC_CHECK
#endif

#define MUXC_STRLEN ((size_t)-1)

struct muxc;		   /* a connection to muxd */
struct muxc_channel;	   /* a channel of a connection */
struct muxc_message;	   /* a message, received or to be published */
struct muxc_table;	   /* an AMQP field table or array that is being built */
struct muxc_session_list;  /* answer of muxc_sessions() */
struct muxc_channel_list;  /* answer of muxc_channels() */
struct muxc_record_list;   /* answer of muxc_recorder() */
struct muxc_reload_result; /* answer of muxc_reload() */

/* ------------------------------------------------------------------ errors */

enum muxc_error_kind {
	MUXC_ERROR_NONE = 0,
	MUXC_ERROR_LIBRARY, /* found here: arguments, deadline, no connection; code is 0 */
	MUXC_ERROR_MUXD,    /* muxd refused */
	MUXC_ERROR_BROKER   /* the broker refused */
};

/*
 * Why something failed. The caller's own; plain data, nothing to free:
 *
 *	struct muxc_error error = MUXC_ERROR_INIT;
 */
struct muxc_error {
	size_t size;
	int kind;	    /* enum muxc_error_kind */
	int error;	    /* the negative errno that the function returned */
	unsigned int code;  /* AMQP reply code, 0 if there is none */
	int retryable;	    /* 1: the same again, later, may work */
	int closes_channel; /* 1: the channel it happened on is closed */
	uint32_t channel;   /* number of the channel, 0: none */
	uint16_t class_id;  /* AMQP method the broker blames, 0: none */
	uint16_t method_id;
	char text[320]; /* what was wrong, and what to do; one line, no newline at the end */
};

#define MUXC_ERROR_INIT                                            \
	{                                                          \
		sizeof(struct muxc_error), 0, 0, 0, 0, 0, 0, 0, 0, \
		{                                                  \
			0                                          \
		}                                                  \
	}

/* -------------------------------------------------------------- connection */

enum muxc_connect_flags {
	MUXC_LOOP = 1 << 0,	     /* loop mode: no threads */
	MUXC_NO_RECONNECT = 1 << 1,  /* when muxd is lost the connection has ended */
	MUXC_CONNECT_LATER = 1 << 2, /* no muxd yet is no error: it is tried again, as after a loss */
	MUXC_REATTACH = 1 << 3	     /* a forked child gets a session of its own, see above */
};

enum muxc_upstream_state {
	MUXC_UPSTREAM_CONNECTING = 0,
	MUXC_UPSTREAM_UP,
	MUXC_UPSTREAM_BACKOFF, /* lost; will be tried again */
	MUXC_UPSTREAM_BLOCKED, /* connected, but the broker takes no publishes now */
	MUXC_UPSTREAM_FAILED   /* the broker refuses muxd (password, vhost); tried again, slowly */
};

/* muxd's connection to the broker, as muxd last told. Valid during the handler. */
struct muxc_upstream {
	const char *name;
	int state;	  /* enum muxc_upstream_state */
	const char *text; /* the last error, or why it is blocked; never NULL */
	uint64_t epoch;	  /* counts the connections to the broker */
};

/* The upstream's state has changed. Also called once for the first state. */
typedef void (*muxc_upstream_handler)(struct muxc *c, const struct muxc_upstream *upstream, void *userdata);

/* muxd asks to settle and leave within this time, because it stops or is upgraded. */
typedef void (*muxc_going_away_handler)(struct muxc *c, uint64_t within_usec, const char *text,
					void *userdata);

enum muxc_link_state {
	MUXC_LINK_LOST = 1, /* muxd is gone, or left and without a successor; it is being looked for */
	MUXC_LINK_MOVING,   /* muxd asked to leave; what was begun is finished, then it is left. Next comes
			       BACK, or LOST */
	MUXC_LINK_BACK	    /* a new session; what there was is being brought back */
};

/* What became of the connection to muxd. Valid during the handler; may grow at its end. */
struct muxc_link {
	int state;			/* enum muxc_link_state */
	const struct muxc_error *error; /* why it was lost; never NULL; empty otherwise */
	uint64_t session;		/* id of the new session; 0 while there is none */
	uint64_t resent;		/* BACK: publishes that are sent again, marked */
	uint32_t attempts;		/* BACK: how often connecting was tried */
};

typedef void (*muxc_link_handler)(struct muxc *c, const struct muxc_link *link, void *userdata);

/*
 * The program's own executor: it must have run(arg) called soon, once, on a
 * thread that may run handlers, and not before this returns. Called from any
 * thread, the library's own too, so it must not wait, nor call the library:
 * put the two into a queue and return 0. Anything else means that it cannot be
 * done; it is then asked again when more has come. muxc_free() waits for what
 * was handed over, unless it is called from there.
 */
typedef int (*muxc_execute)(void (*run)(void *arg), void *arg, void *executor);

/* The connection has ended, not by this side; the last handler called for it. */
typedef void (*muxc_closed_handler)(struct muxc *c, const struct muxc_error *error, void *userdata);

struct muxc_options {
	size_t size;
	/*
	 * The socket; NULL: $MUXD_SOCKET, else $XDG_RUNTIME_DIR/muxd.sock if
	 * there is one, else /run/muxd/muxd.sock.
	 */
	const char *socket_path;
	const char *program;	       /* shown by muxctl and in logs; NULL: the program's name */
	const char *upstream;	       /* NULL: the first one configured */
	unsigned int flags;	       /* enum muxc_connect_flags */
	uint64_t connect_timeout_usec; /* until muxd has greeted us; default 10 s */
	uint64_t request_timeout_usec; /* default of calls that wait; 30 s */
	uint64_t outcome_timeout_usec; /* for a publish to end (then MUXC_UNKNOWN or MUXC_FAILED); default:
					  muxd's */
	uint64_t linger_usec; /* how long muxc_free() may wait to hand over what is queued; default 1 s */
	muxc_upstream_handler on_upstream;
	muxc_going_away_handler on_going_away;
	muxc_closed_handler on_closed;
	void *userdata; /* of these three, and of on_link */
	muxc_link_handler on_link;
	uint64_t reconnect_timeout_usec; /* how long muxd may be away before the connection ends; default: for
					    ever */
	uint64_t replay_bytes; /* how much of publishes without an outcome is kept to be sent again, in bytes
				  of header and body; more waits like for credit; default 64 MiB */
	uint32_t
	    dispatch_threads; /* at most; default 8, the first with the first handler to be called, others
				 as long as they are needed. Loop mode, and with execute: unused */
	muxc_execute execute; /* NULL: threads of the library */
	void *executor;	      /* given to it */
};

/*
 * Connects to muxd's socket and sends the greeting; does not wait for muxd's.
 * options may be NULL. Errors: those of connect(2), so -ENOENT or
 * -ECONNREFUSED when no muxd runs, -EACCES when the socket is not for us;
 * -ENAMETOOLONG when the path does not fit a socket address; -ETIMEDOUT when
 * muxd's backlog is full for connect_timeout_usec.
 */
int muxc_connect(const struct muxc_options *options, struct muxc **ret,
		 struct muxc_error *ret_error) MUXC_CHECK;

/*
 * Hands over what is queued (for at most linger_usec), closes and frees; NULL
 * is fine. Publishes that muxd has read are still sent to the broker; to know
 * their outcome wait for it before. Handlers are not called any more once it
 * has returned: it waits for those that run, and calls in which they wait end;
 * in a handler, for those of other channels. Channels stay to be freed by their
 * owner, every other call on them gives -ESHUTDOWN; messages stay good. Returns
 * NULL.
 */
struct muxc *muxc_free(struct muxc *c);

/*
 * Waits until muxd has greeted us, so that a refusal (version, upstream,
 * access) is seen here and not by the next call. Never needed.
 */
int muxc_wait_ready(struct muxc *c, uint64_t timeout_usec, struct muxc_error *ret_error) MUXC_CHECK;

/* Copies why the connection has ended; returns 0 while it has not, else the negative errno. */
int muxc_get_error(struct muxc *c, struct muxc_error *ret_error);

/*
 * State of the upstream as muxd last told, or -EAGAIN before its greeting: enum
 * muxc_upstream_state. While muxd is away it is that of before.
 */
int muxc_get_upstream_state(struct muxc *c);

/* "up", "connecting", "backoff", "blocked", "failed", or "unknown". */
const char *muxc_upstream_state_name(int state);

/* The session's id as `muxctl sessions` shows it; 0 before muxd's greeting, and while muxd is away. */
uint64_t muxc_get_session(struct muxc *c);

/* Largest body in bytes that muxd takes; 0 before muxd's greeting. */
uint64_t muxc_get_message_max(struct muxc *c);

/*
 * How much may be published at this moment without waiting: messages, and
 * bytes of headers and bodies together. While muxd is away publishes are bounded
 * by replay_bytes instead.
 */
int muxc_get_credit(struct muxc *c, uint64_t *ret_messages, uint64_t *ret_bytes);

/* --------------------------------------------------------------- loop mode */

/* All of these give -EOPNOTSUPP on a connection without MUXC_LOOP. */

/*
 * The socket, to be polled; stays the library's. It is another one after each
 * reconnect, so it must be asked for again after each muxc_process(); while
 * muxd is away there is none: -ENOTCONN, and muxc_get_timeout() tells when to
 * call muxc_process(). One that was lost is closed by the first muxc_process()
 * behind the call of this that has given another one, or none: so its number
 * is not used again before the loop can have forgotten it. The adapters
 * (muxclient-libevent.h and its like) do so.
 */
int muxc_get_fd(struct muxc *c);

/* POLLIN, with POLLOUT while something is queued that the socket did not take yet. */
int muxc_get_events(struct muxc *c);

/*
 * When muxc_process() must be called although the socket is silent: absolute,
 * CLOCK_MONOTONIC, in microseconds; UINT64_MAX: never; 0: at once (handlers
 * are waiting to be called).
 */
int muxc_get_timeout(struct muxc *c, uint64_t *ret_usec);

/*
 * Sends what is queued, reads what has come, and calls the handlers. Never
 * waits. Returns how many handlers were called; call again until it is 0, or
 * ask muxc_get_timeout(). Once the connection has ended, and all handlers were
 * told, it gives the error. -EBUSY: called from a handler.
 */
int muxc_process(struct muxc *c);

/*
 * Polls until muxc_process() has something to do or the time is over: a loop
 * for programs that have none. Returns 1, or 0 when the time is over. 0 as
 * timeout_usec: returns at once.
 */
int muxc_wait(struct muxc *c, uint64_t timeout_usec);

/*
 * Sends what is queued, as far as the socket takes it. Returns 0 when all was
 * sent, 1 when some is left. Also works in threaded mode, where it is seldom
 * needed: there all is sent within a millisecond.
 */
int muxc_flush(struct muxc *c);

/* ---------------------------------------------------------------- channels */

enum muxc_outcome_kind {
	MUXC_CONFIRMED = 1, /* the broker has taken it */
	MUXC_RETURNED,	    /* the broker has taken it, but it went to no queue (only if MUXC_MANDATORY) */
	MUXC_NACKED,	    /* the broker refused it */
	MUXC_FAILED,	    /* certainly not at the broker */
	MUXC_UNKNOWN	    /* handed over, and no answer came: it may be there or not */
};

/* "confirmed", "returned", "nacked", "failed", "unknown" */
const char *muxc_outcome_name(int kind);

/* How publishes `first` to `last` (numbers as muxc_publish() gave them) ended. */
struct muxc_outcome {
	uint64_t first;
	uint64_t last;
	int kind;			/* enum muxc_outcome_kind */
	const struct muxc_error *error; /* why; never NULL; empty for the first two kinds */
};

/* The message belongs to the library; muxc_message_ref() keeps it. */
typedef void (*muxc_message_handler)(struct muxc_channel *channel, struct muxc_message *message,
				     void *userdata);

typedef void (*muxc_outcome_handler)(struct muxc_channel *channel, const struct muxc_outcome *outcome,
				     void *userdata);

/*
 * A mandatory publish went to no queue and is here again, with
 * muxc_message_get_publish_number(); its outcome MUXC_RETURNED follows. error->code is
 * the broker's (312), error->text its words.
 */
typedef void (*muxc_return_handler)(struct muxc_channel *channel, struct muxc_message *message,
				    const struct muxc_error *error, void *userdata);

/*
 * The channel has ended, not by this side. Publishes have had their outcome,
 * consumers are gone with it; the channel remains to be freed.
 */
typedef void (*muxc_channel_closed_handler)(struct muxc_channel *channel, const struct muxc_error *error,
					    void *userdata);

/* The broker has ended a consumer (its queue was deleted, for example). */
typedef void (*muxc_cancelled_handler)(struct muxc_channel *channel, uint32_t consumer, const char *text,
				       void *userdata);

/*
 * Of a direct reply-to consumer (queue amq.rabbitmq.reply-to): the broker's
 * connection or muxd was lost. The consumer goes on over the next one, but replies to
 * calls that the broker had confirmed cannot come any more: make those again.
 * Calls that had no outcome yet are sent again by muxd.
 */
typedef void (*muxc_interrupted_handler)(struct muxc_channel *channel, uint32_t consumer, const char *text,
					 void *userdata);

/* No handler of this channel runs, or will ever run again: userdata may be freed. */
typedef void (*muxc_destroy_handler)(void *userdata);

struct muxc_channel_options {
	size_t size;
	muxc_outcome_handler on_outcome;
	muxc_return_handler on_return;
	muxc_channel_closed_handler on_closed;
	muxc_destroy_handler on_destroy; /* after muxc_channel_free() */
	void *userdata;			 /* of these four */
};

/*
 * Opens a channel: a local act. options may be NULL. -EMFILE: as many are open
 * as muxd allows.
 */
int muxc_channel_open(struct muxc *c, const struct muxc_channel_options *options,
		      struct muxc_channel **ret) MUXC_CHECK;

/*
 * Closes a channel: a local act too, muxd does the rest. No message comes any
 * more, unacknowledged ones go back to their queues. Outcomes of what was
 * published still come and can be waited for; all other calls give -ESHUTDOWN.
 */
int muxc_channel_close(struct muxc_channel *channel);

/*
 * Closes a channel if need be, and frees it; NULL is fine. No handler begins
 * any more; one that is running in another thread may still be (see
 * on_destroy). Returns NULL.
 */
struct muxc_channel *muxc_channel_free(struct muxc_channel *channel);

/*
 * Waits until the channel's handlers have been called for all that had happened
 * on it, and have returned; what happens meanwhile may have them called again.
 * So when muxc_cancel() has returned, or muxc_consume() has failed, and then
 * this has returned 0, nothing uses the consumer's userdata any more; and behind
 * muxc_wait_all() it means that on_outcome was told of all. (When the channel is
 * freed on_destroy tells, and muxc_free() waits by itself.) In loop mode this
 * calls the handlers itself, those of other channels too.
 *
 * -EDEADLK: it was called by a handler of the channel, or, in loop mode and
 * with a single dispatch thread, by any handler. -ETIMEDOUT: a handler still
 * runs, or has not had its turn. -ESHUTDOWN: the channel or the connection was
 * freed, and handlers may still run (see there).
 */
int muxc_wait_handlers(struct muxc_channel *channel, uint64_t timeout_usec,
		       struct muxc_error *ret_error) MUXC_CHECK;

uint32_t muxc_channel_get_number(const struct muxc_channel *channel);
void *muxc_channel_get_userdata(const struct muxc_channel *channel);

/* The connection it was opened from; NULL after that was freed. */
struct muxc *muxc_channel_get_connection(struct muxc_channel *channel);

/* Copies why the channel has ended; returns 0 while it has not, else the negative errno. */
int muxc_channel_get_error(struct muxc_channel *channel, struct muxc_error *ret_error);

/* -------------------------------------------------------------- publishing */

enum muxc_publish_flags {
	MUXC_MANDATORY = 1 << 0, /* comes back if it goes to no queue */
	MUXC_NONBLOCK = 1 << 1,	 /* -EAGAIN instead of waiting for credit */
	MUXC_MORE = 1 << 2	 /* more follows at once: need not be sent yet */
};

struct muxc_publication {
	size_t size;
	const char *exchange;	 /* NULL: the default exchange */
	const char *routing_key; /* NULL: empty */
	size_t routing_key_len;	 /* 0: strlen() */
	const struct muxc_message
	    *message; /* properties, and the body if `body` is NULL; NULL: no properties */
	const void *body;
	size_t body_len;
	unsigned int flags;	       /* enum muxc_publish_flags */
	uint64_t outcome_timeout_usec; /* 0: the connection's */
};

/*
 * Publishes: the message is copied to muxd's socket, or to the queue before
 * it, and numbered, from 1 on a channel; the number is in *ret_number (may be
 * NULL). The call waits only if there is no credit: until there is, at most
 * timeout_usec. The broker's verdict is an outcome: by handler, or waited for.
 *
 * -EAGAIN: no credit now and MUXC_NONBLOCK; muxd has been asked for as much,
 * in loop mode muxc_process() will read it. -ETIMEDOUT: no credit in time.
 * -EMSGSIZE: larger than muxc_get_message_max(). After any error nothing was
 * published and no number is used.
 */
int muxc_publish_full(struct muxc_channel *channel, const struct muxc_publication *publication,
		      uint64_t timeout_usec, uint64_t *ret_number, struct muxc_error *ret_error) MUXC_CHECK;

/* The same in short: default timeouts, and no error object (muxc_channel_get_error() knows what closed it).
 */
int muxc_publish(struct muxc_channel *channel, const char *exchange, const char *routing_key,
		 const struct muxc_message *message, unsigned int flags, uint64_t *ret_number) MUXC_CHECK;

/*
 * Waits for the outcome of one publish. Returns 0 and its kind; *ret_error
 * tells why for the last three kinds. Of outcomes other than confirmed the
 * last 1024 ranges of a channel are remembered; before that -ENODATA.
 */
int muxc_wait_outcome(struct muxc_channel *channel, uint64_t number, uint64_t timeout_usec, int *ret_kind,
		      struct muxc_error *ret_error) MUXC_CHECK;

/* Since the channel was opened. */
struct muxc_totals {
	size_t size;
	uint64_t published;
	uint64_t confirmed;
	uint64_t returned;
	uint64_t nacked;
	uint64_t failed;
	uint64_t unknown;
};

/*
 * Waits until everything published on the channel has its outcome. Returns 0
 * when it has, whatever the outcomes are; ret_totals (may be NULL, its size
 * must be set) counts them. After the first one that was not confirmed,
 * ret_error is filled in with its reason, though the call succeeds.
 */
int muxc_wait_all(struct muxc_channel *channel, uint64_t timeout_usec, struct muxc_totals *ret_totals,
		  struct muxc_error *ret_error) MUXC_CHECK;

/* The counts at this moment; waits for nothing. ret_totals->size must be set. */
int muxc_channel_get_totals(struct muxc_channel *channel, struct muxc_totals *ret_totals);

/* ------------------------------------------------------------ transactions */

/*
 * Makes the channel transactional for good: what is published, acknowledged and
 * given back on it counts at the broker when it is committed, all of it
 * together, and not before. Declaring, consuming and getting are not part of
 * it. Publishes end with the transaction: as MUXC_CONFIRMED or MUXC_RETURNED
 * when it was committed, as MUXC_FAILED when it was rolled back; so wait for
 * them after muxc_tx_commit(), not before.
 *
 * Call it first on the channel. A second call does nothing. -EREMOTEIO, code
 * 406: the channel has consumers or unacknowledged messages, and is closed now.
 *
 * A transaction that is open when the broker's connection or muxd is lost (or
 * left, see above), or that cannot be sent as a whole, ends with its channel (-ECONNRESET, code 320,
 * for the connection; retryable), and nothing of it was done. Nor is anything, if
 * the channel, or the connection to muxd, is closed before the commit. On a
 * transactional channel muxc_consume() with MUXC_NO_ACK gives -EOPNOTSUPP.
 */
int muxc_tx_select(struct muxc_channel *channel, uint64_t timeout_usec,
		   struct muxc_error *ret_error) MUXC_CHECK;

/*
 * Commits what was done since the last commit, rollback or select, and begins
 * the next transaction. When it returns, the publishes have their outcome.
 *
 * -EREMOTEIO, code 406: there was no muxc_tx_select(). -ECONNRESET, code 320:
 * the broker's connection or muxd was lost. -ETIMEDOUT: no answer in time. After any of
 * these the channel is closed, and the outcomes of its publishes tell more:
 * MUXC_FAILED, nothing was done; MUXC_UNKNOWN, all of it was or nothing.
 */
int muxc_tx_commit(struct muxc_channel *channel, uint64_t timeout_usec,
		   struct muxc_error *ret_error) MUXC_CHECK;

/*
 * Undoes it, and begins the next one: publishes are gone; messages that were
 * acknowledged or given back in it are unacknowledged again, to be settled
 * anew. Errors as for muxc_tx_commit(); nothing was done in any case.
 */
int muxc_tx_rollback(struct muxc_channel *channel, uint64_t timeout_usec, struct muxc_error *ret_error);

/* --------------------------------------------------------------- consuming */

enum muxc_consume_flags {
	MUXC_NO_LOCAL = 1 << 0,
	MUXC_NO_ACK = 1 << 1, /* messages need no acknowledgement; also of muxc_get() */
	MUXC_CONSUME_EXCLUSIVE = 1 << 2
};

struct muxc_consumer_options {
	size_t size;
	const char *queue;  /* NULL or "": the one last declared on this channel */
	const char *tag;    /* NULL: muxd makes one */
	unsigned int flags; /* enum muxc_consume_flags */
	const struct muxc_table *arguments;
	/*
	 * How much muxd may send ahead of the handler, apart from the broker's
	 * prefetch; default 512 messages, 4 MiB. More is -EPROTO.
	 */
	uint32_t window_messages;
	uint64_t window_bytes;
	muxc_message_handler on_message; /* needed */
	muxc_cancelled_handler on_cancelled;
	void *userdata; /* of the handlers */
	muxc_interrupted_handler on_interrupted;
};

/*
 * Starts a consumer, waits until the broker has, and gives the number that
 * names it on this channel. Messages can come before it returns. A message
 * must be acknowledged on the channel it came on, in the handler or later. After
 * an error no handler call begins, but one may run: see muxc_wait_handlers().
 */
int muxc_consume(struct muxc_channel *channel, const struct muxc_consumer_options *options,
		 uint32_t *ret_consumer, uint64_t timeout_usec, struct muxc_error *ret_error) MUXC_CHECK;

/*
 * Ends a consumer: no handler call for it begins once this has returned; one
 * that has begun in another thread may still run: see muxc_wait_handlers().
 * Messages that had come and not been handled go back to their queue; those
 * that were handled can still be acknowledged. -ENOENT: no such consumer.
 */
int muxc_cancel(struct muxc_channel *channel, uint32_t consumer, uint64_t timeout_usec,
		struct muxc_error *ret_error);

/* The consumer's tag at the broker, copied to buffer. Returns its length; -ENOENT, -ENOBUFS. */
int muxc_consumer_get_tag(struct muxc_channel *channel, uint32_t consumer, char *buffer, size_t buffer_size);

/* How many unacknowledged messages consumers started later on this channel may have; 0: muxd's default. */
int muxc_qos(struct muxc_channel *channel, uint32_t prefetch, uint64_t timeout_usec,
	     struct muxc_error *ret_error);

enum muxc_qos_flags {
	MUXC_QOS_CHANNEL = 1 << 0 /* AMQP's global */
};

/*
 * The same with flags. MUXC_QOS_CHANNEL: how many unacknowledged messages all
 * consumers of the channel may have together, those that run included; 0: no
 * such limit. When it is raised, consumers that run get more, each up to its
 * own prefetch; but exclusive ones and those of streams, started while it was
 * small, do not. 0 as flags: as muxc_qos().
 */
int muxc_qos_full(struct muxc_channel *channel, uint32_t prefetch, unsigned int flags, uint64_t timeout_usec,
		  struct muxc_error *ret_error);

/*
 * Gives all messages back that the channel has and did not acknowledge: they
 * come again, marked as redelivered, with new tags, here or to others. Those
 * that were acknowledged in an open transaction stay with it. -EOPNOTSUPP: some
 * are of a stream, which cannot take them back; the channel is closed.
 */
int muxc_recover(struct muxc_channel *channel, uint64_t timeout_usec, struct muxc_error *ret_error);

/*
 * Takes one message from a queue. Returns 1 and the message, which the caller
 * unrefs; 0: the queue is empty. flags: MUXC_NO_ACK or 0.
 */
int muxc_get(struct muxc_channel *channel, const char *queue, unsigned int flags,
	     struct muxc_message **ret_message, uint64_t timeout_usec,
	     struct muxc_error *ret_error) MUXC_CHECK;

enum muxc_settle_flags {
	MUXC_UP_TO = 1 << 0,  /* this and all earlier ones of the channel */
	MUXC_REQUEUE = 1 << 1 /* of muxc_nack(): back to the queue, else dead-lettered or dropped */
};

/*
 * Settle a message by its tag. Sent with what else is sent, at the latest
 * within a millisecond (loop mode: in muxc_process() or muxc_flush()); several
 * become one. There is no answer. Tag 0 (needs no acknowledgement) is accepted
 * and does nothing. Acknowledging twice, or a message of another channel, is
 * an error of the program, that closes the channel with 406.
 */
int muxc_ack(struct muxc_channel *channel, uint64_t tag, unsigned int flags);
int muxc_nack(struct muxc_channel *channel, uint64_t tag, unsigned int flags);
/* basic.reject: as muxc_nack() without MUXC_UP_TO. */
int muxc_reject(struct muxc_channel *channel, uint64_t tag, unsigned int flags);

/* ------------------------------------------------- queues, exchanges, bindings */

enum muxc_declare_flags {
	MUXC_PASSIVE = 1 << 0, /* only look whether it is there */
	MUXC_DURABLE = 1 << 1,
	MUXC_EXCLUSIVE = 1 << 2, /* queues */
	MUXC_AUTO_DELETE = 1 << 3,
	MUXC_INTERNAL = 1 << 4 /* exchanges */
};

enum muxc_delete_flags {
	MUXC_IF_UNUSED = 1 << 0,
	MUXC_IF_EMPTY = 1 << 1 /* queues */
};

struct muxc_queue {
	size_t size;
	const char *name;		    /* NULL or "": muxd makes a name */
	unsigned int flags;		    /* enum muxc_declare_flags */
	const struct muxc_table *arguments; /* NULL: none */
};

/* What muxc_queue_declare() found or made. size must be set. */
struct muxc_queue_info {
	size_t size;
	uint32_t messages;
	uint32_t consumers;
	char name[256];
};

struct muxc_exchange {
	size_t size;
	const char *name;
	const char *type;   /* "direct", "fanout", "topic", "headers", or what plugins add */
	unsigned int flags; /* enum muxc_declare_flags */
	const struct muxc_table *arguments;
};

/* Messages that `source` gets with a matching key go to `destination`, a queue or an exchange. */
struct muxc_binding {
	size_t size;
	const char *destination;
	const char *source;
	const char *routing_key; /* NULL: empty */
	const struct muxc_table *arguments;
};

/* ret_info and ret_messages may be NULL. */
int muxc_queue_declare(struct muxc_channel *channel, const struct muxc_queue *queue,
		       struct muxc_queue_info *ret_info, uint64_t timeout_usec, struct muxc_error *ret_error);
int muxc_queue_delete(struct muxc_channel *channel, const char *queue, unsigned int flags,
		      uint32_t *ret_messages, uint64_t timeout_usec, struct muxc_error *ret_error);
int muxc_queue_purge(struct muxc_channel *channel, const char *queue, uint32_t *ret_messages,
		     uint64_t timeout_usec, struct muxc_error *ret_error);
int muxc_queue_bind(struct muxc_channel *channel, const struct muxc_binding *binding, uint64_t timeout_usec,
		    struct muxc_error *ret_error);
int muxc_queue_unbind(struct muxc_channel *channel, const struct muxc_binding *binding, uint64_t timeout_usec,
		      struct muxc_error *ret_error);
int muxc_exchange_declare(struct muxc_channel *channel, const struct muxc_exchange *exchange,
			  uint64_t timeout_usec, struct muxc_error *ret_error);
int muxc_exchange_delete(struct muxc_channel *channel, const char *exchange, unsigned int flags,
			 uint64_t timeout_usec, struct muxc_error *ret_error);
int muxc_exchange_bind(struct muxc_channel *channel, const struct muxc_binding *binding,
		       uint64_t timeout_usec, struct muxc_error *ret_error);
int muxc_exchange_unbind(struct muxc_channel *channel, const struct muxc_binding *binding,
			 uint64_t timeout_usec, struct muxc_error *ret_error);

/* ---------------------------------------------------------------- messages */

/*
 * A message is used by one thread at a time, but for muxc_message_ref() and
 * muxc_message_unref(). It belongs to no connection and may outlive it.
 */

enum muxc_property {
	MUXC_CONTENT_TYPE = 1,
	MUXC_CONTENT_ENCODING = 2,
	MUXC_HEADERS = 3,	/* a table: muxc_message_set_headers() */
	MUXC_DELIVERY_MODE = 4, /* number 0 to 255; 2 is persistent */
	MUXC_PRIORITY = 5,	/* number 0 to 255 */
	MUXC_CORRELATION_ID = 6,
	MUXC_REPLY_TO = 7,
	MUXC_EXPIRATION = 8, /* text: milliseconds in decimal digits */
	MUXC_MESSAGE_ID = 9,
	MUXC_TIMESTAMP = 10, /* number: seconds since 1970 */
	MUXC_TYPE = 11,
	MUXC_USER_ID = 12,
	MUXC_APP_ID = 13,
	MUXC_CLUSTER_ID = 14
};

/* "content-type" and so on; NULL for what is none. */
const char *muxc_property_name(int property);
/* The property of that name, or -ENOENT. */
int muxc_property_from_name(const char *name);

/* An empty message, to be published as often as wanted. */
int muxc_message_new(struct muxc_message **ret) MUXC_CHECK;
/* Both accept NULL. ref returns its argument, unref NULL. */
struct muxc_message *muxc_message_ref(struct muxc_message *message);
struct muxc_message *muxc_message_unref(struct muxc_message *message);

/*
 * Setters give -EPERM for a message that was received. A second call replaces
 * the first. Text of at most 255 bytes, as AMQP has it.
 */

/* The body is not copied: data must stay as it is until the message has been published or unrefed. */
int muxc_message_set_body(struct muxc_message *message, const void *data, size_t len);
int muxc_message_set_text(struct muxc_message *message, int property, const char *text, size_t len);
int muxc_message_set_number(struct muxc_message *message, int property, uint64_t number);
/* The table is copied. */
int muxc_message_set_headers(struct muxc_message *message, const struct muxc_table *headers);
int muxc_message_unset(struct muxc_message *message, int property);

/* ret_len may be NULL everywhere. What is returned lives as long as the message. */
const void *muxc_message_get_body(const struct muxc_message *message, size_t *ret_len);
/* NULL: absent. Ends with a NUL byte that is not counted. */
const char *muxc_message_get_text(const struct muxc_message *message, int property, size_t *ret_len);
/* Returns 1, or 0: absent. */
int muxc_message_get_number(const struct muxc_message *message, int property, uint64_t *ret_number);

/* Of received messages. Text ends with a NUL byte that is not counted. */
const char *muxc_message_get_exchange(const struct muxc_message *message, size_t *ret_len);
const char *muxc_message_get_routing_key(const struct muxc_message *message, size_t *ret_len);
int muxc_message_is_redelivered(const struct muxc_message *message);
/* For muxc_ack(); 0: needs none. */
uint64_t muxc_message_get_tag(const struct muxc_message *message);
/* The consumer it came to; 0: none, it was got or returned. */
uint32_t muxc_message_get_consumer(const struct muxc_message *message);
/* Of a returned message: the number it was published with. */
uint64_t muxc_message_get_publish_number(const struct muxc_message *message);
/* Of a got message: how many are left in the queue. */
uint32_t muxc_message_get_remaining(const struct muxc_message *message);

/* ------------------------------------------------------------ field tables */

/* The letters are AMQP's, as RabbitMQ reads them. */
enum muxc_type {
	MUXC_BOOL = 't',
	MUXC_INT8 = 'b',
	MUXC_UINT8 = 'B',
	MUXC_INT16 = 's',
	MUXC_UINT16 = 'u',
	MUXC_INT32 = 'I',
	MUXC_UINT32 = 'i',
	MUXC_INT64 = 'l',
	MUXC_UINT64 = 'L',
	MUXC_FLOAT = 'f',
	MUXC_DOUBLE = 'd',
	MUXC_DECIMAL = 'D',
	MUXC_STRING = 'S',
	MUXC_BYTES = 'x',
	MUXC_ARRAY = 'A',
	MUXC_TIME = 'T',
	MUXC_TABLE = 'F',
	MUXC_VOID = 'V'
};

/* A value of any type; which member counts depends on the type. */
struct muxc_value {
	int type; /* enum muxc_type */
	union {
		int boolean;
		int64_t integer; /* INT8 to INT64 */
		uint64_t number; /* UINT8 to UINT64, TIME (seconds since 1970) */
		float float32;	 /* FLOAT */
		double float64;	 /* DOUBLE */
		struct {
			uint32_t value;
			uint32_t scale; /* digits behind the point, 0 to 255 */
		} decimal;
		struct {
			const char *data; /* no NUL byte at the end */
			size_t len;
		} bytes; /* STRING, BYTES; of ARRAY and TABLE: for muxc_iter_enter() */
	} u;
};

struct muxc_field {
	const char *name; /* no NUL byte at the end; an array's fields have none: NULL */
	size_t name_len;
	struct muxc_value value;
};

/* A position in a table or array. Plain data; good as long as what it walks. */
struct muxc_iter {
	const void *at;
	const void *end;
};

int muxc_table_new(struct muxc_table **ret) MUXC_CHECK;
struct muxc_table *muxc_table_free(struct muxc_table *table);

/*
 * Puts a field into a table, instead of an earlier one of that name, or, with
 * NULL as name, at the end of an array. Nested tables and arrays are copied.
 * -ERANGE: the value does not fit its type; -EINVAL: the name has more than 255 bytes.
 */
int muxc_table_set(struct muxc_table *table, const char *name, size_t name_len,
		   const struct muxc_value *value);
int muxc_table_set_bool(struct muxc_table *table, const char *name, int value);
int muxc_table_set_int8(struct muxc_table *table, const char *name, int8_t value);
int muxc_table_set_uint8(struct muxc_table *table, const char *name, uint8_t value);
int muxc_table_set_int16(struct muxc_table *table, const char *name, int16_t value);
int muxc_table_set_uint16(struct muxc_table *table, const char *name, uint16_t value);
int muxc_table_set_int32(struct muxc_table *table, const char *name, int32_t value);
int muxc_table_set_uint32(struct muxc_table *table, const char *name, uint32_t value);
int muxc_table_set_int64(struct muxc_table *table, const char *name, int64_t value);
int muxc_table_set_uint64(struct muxc_table *table, const char *name, uint64_t value);
int muxc_table_set_float(struct muxc_table *table, const char *name, float value);
int muxc_table_set_double(struct muxc_table *table, const char *name, double value);
int muxc_table_set_decimal(struct muxc_table *table, const char *name, uint8_t scale, uint32_t value);
int muxc_table_set_string(struct muxc_table *table, const char *name, const char *value, size_t len);
int muxc_table_set_bytes(struct muxc_table *table, const char *name, const void *value, size_t len);
int muxc_table_set_array(struct muxc_table *table, const char *name, const struct muxc_table *array);
int muxc_table_set_time(struct muxc_table *table, const char *name, uint64_t seconds);
int muxc_table_set_table(struct muxc_table *table, const char *name, const struct muxc_table *nested);
int muxc_table_set_void(struct muxc_table *table, const char *name);
/* Returns 1 if the field was there. */
int muxc_table_unset(struct muxc_table *table, const char *name, size_t name_len);

/*
 * Walking:
 *
 *	struct muxc_iter iter;
 *	struct muxc_field field;
 *
 *	if (muxc_message_get_headers(message, &iter) > 0)
 *		while (muxc_iter_next(&iter, &field) > 0)
 *			...
 */
void muxc_table_iter(const struct muxc_table *table, struct muxc_iter *ret);
/* Returns 1, or 0: no headers (then the iterator is at its end). */
int muxc_message_get_headers(const struct muxc_message *message, struct muxc_iter *ret);
/* Into a value of type ARRAY or TABLE; -EINVAL for others. */
int muxc_iter_enter(const struct muxc_value *value, struct muxc_iter *ret);
/* Returns 1, or 0 at the end, or -EBADMSG. */
int muxc_iter_next(struct muxc_iter *iter, struct muxc_field *ret);
/* Looks for a name from the iterator's position on, without moving it. Returns 1 or 0. */
int muxc_iter_find(const struct muxc_iter *iter, const char *name, size_t name_len, struct muxc_value *ret);

/* ------------------------------------------------------------- admin calls */

/* A round trip to muxd itself. */
int muxc_ping(struct muxc *c, uint64_t timeout_usec, struct muxc_error *ret_error);

/* Text in these is never NULL. Freed with the answer it came in. */
struct muxc_status {
	const char *version;
	uint32_t pid;
	uint64_t uptime_seconds;
	uint32_t sessions;
	uint64_t memory_used; /* bytes */
	uint64_t memory_limit;
	size_t upstreams; /* how many muxc_status_get_upstream() knows */
	size_t users;	  /* how many muxc_status_get_user() knows */
	int draining;	  /* muxd stops when its sessions have left */
	uint32_t sessions_limit;
};

/* What a user has of muxd, and may have. */
struct muxc_user_status {
	uint32_t uid;
	uint32_t sessions;
	uint32_t sessions_limit;
	uint64_t memory_used;  /* bytes */
	uint64_t memory_limit; /* what it could have now: it changes with what others have */
};

struct muxc_upstream_status {
	const char *name;
	int state;	      /* enum muxc_upstream_state */
	const char *endpoint; /* host:port */
	uint64_t epoch;
	uint64_t reconnects;
	const char *last_error;
	const char *broker; /* product and version */
	uint32_t lanes_max;
	uint32_t lanes_open;
	uint32_t lanes_leased;
	uint32_t lanes_warm;
	uint64_t unconfirmed;
};

struct muxc_session_info {
	uint64_t id;
	uint32_t pid;
	uint32_t uid;
	uint32_t gid;
	const char *program;
	const char *upstream;
	uint64_t age_seconds;
	uint32_t channels;
	uint32_t consumers;
	uint64_t unconfirmed;
	uint64_t unacked;
	uint64_t published;
	uint64_t delivered;
	uint64_t memory_used;
	uint64_t memory_limit;
};

struct muxc_channel_info {
	uint64_t session;
	uint32_t channel;
	uint32_t generation;
	uint32_t lane; /* 0: none leased */
	uint32_t consumers;
	uint32_t prefetch;
	uint64_t unconfirmed;
	uint64_t unacked;
};

int muxc_status(struct muxc *c, uint64_t timeout_usec, struct muxc_status **ret,
		struct muxc_error *ret_error) MUXC_CHECK;
/* NULL if there are not so many. */
const struct muxc_upstream_status *muxc_status_get_upstream(const struct muxc_status *status, size_t index);
const struct muxc_user_status *muxc_status_get_user(const struct muxc_status *status, size_t index);
struct muxc_status *muxc_status_free(struct muxc_status *status);

int muxc_sessions(struct muxc *c, uint64_t timeout_usec, struct muxc_session_list **ret,
		  struct muxc_error *ret_error) MUXC_CHECK;
size_t muxc_session_list_count(const struct muxc_session_list *list);
const struct muxc_session_info *muxc_session_list_get(const struct muxc_session_list *list, size_t index);
struct muxc_session_list *muxc_session_list_free(struct muxc_session_list *list);

int muxc_channels(struct muxc *c, uint64_t timeout_usec, struct muxc_channel_list **ret,
		  struct muxc_error *ret_error) MUXC_CHECK;
size_t muxc_channel_list_count(const struct muxc_channel_list *list);
const struct muxc_channel_info *muxc_channel_list_get(const struct muxc_channel_list *list, size_t index);
struct muxc_channel_list *muxc_channel_list_free(struct muxc_channel_list *list);

enum muxc_record_end {
	MUXC_RECORD_UNANSWERED = 0, /* not all of them were answered yet */
	MUXC_RECORD_ANSWERED = 1,
	MUXC_RECORD_REFUSED = 2 /* at least one was, or a publish was not confirmed */
};

/* "unanswered", "answered", "refused"; "unknown" for anything else. */
const char *muxc_record_end_name(int end);

/* A request of a session, or several publishes or acknowledgements that were alike. */
struct muxc_record {
	uint64_t age_ms; /* since the last of them */
	uint32_t channel;
	uint32_t generation;   /* of the channel's number: how often it was opened */
	const char *operation; /* printable ASCII, for people: "queue.declare queue='jobs' durable" */
	uint32_t count;
	uint32_t unanswered; /* how many of them */
	int end;	     /* enum muxc_record_end */
	uint32_t code;	     /* AMQP reply code of the last one that was refused; 0: none, or a nack */
};

/*
 * What a session, named by its id, asked for last, oldest first: muxd keeps a
 * few dozen requests of each. -ENOENT: there is no such session. -EACCES: it is
 * another user's, and this process may not control muxd.
 */
int muxc_recorder(struct muxc *c, uint64_t session, uint64_t timeout_usec, struct muxc_record_list **ret,
		  struct muxc_error *ret_error) MUXC_CHECK;
size_t muxc_record_list_count(const struct muxc_record_list *list);
const struct muxc_record *muxc_record_list_get(const struct muxc_record_list *list, size_t index);
struct muxc_record_list *muxc_record_list_free(struct muxc_record_list *list);

/*
 * muxd reads its configuration anew, as by SIGHUP, and answers when the new one
 * holds, or cannot: muxc_reload_result_is_done() is 0 then, everything is as it
 * was, and the errors say why, a line each with file and line number. Notes say
 * what has changed and needs a restart. -EACCES: this process may not control
 * every upstream.
 */
int muxc_reload(struct muxc *c, uint64_t timeout_usec, struct muxc_reload_result **ret,
		struct muxc_error *ret_error) MUXC_CHECK;
int muxc_reload_result_is_done(const struct muxc_reload_result *result);
/* NULL if there are not so many. */
const char *muxc_reload_result_get_error(const struct muxc_reload_result *result, size_t index);
const char *muxc_reload_result_get_note(const struct muxc_reload_result *result, size_t index);
struct muxc_reload_result *muxc_reload_result_free(struct muxc_reload_result *result);

/*
 * muxd begins to end, as by SIGTERM: it takes no new sessions, asks those that
 * it has to leave, and ends when they have or when its drain-timeout is over.
 * Answered at once. -EACCES: as above.
 */
int muxc_drain(struct muxc *c, uint64_t timeout_usec, struct muxc_error *ret_error) MUXC_CHECK;

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
