/*
 * The scout: a second, short-lived connection to the broker, to try what might
 * cost the first one. What it is closed for, is closed for nobody else.
 *
 * A trial is some frames that are sent on a channel of its own, between
 * channel.open and channel.close: close-ok means that the broker has worked
 * through them. Several are under way at once; when the connection ends then,
 * those are tried again one at a time, so that the verdict names the right one.
 *
 * A broker may do part of a trial after it has answered, and then fall over:
 * behind a channel.close nobody would hear of that. So where answers are awaited
 * the channel is closed when they are there, and behind consume-ok it is asked
 * something first: what RabbitMQ does with the first deliveries is done before
 * it answers.
 *
 * The connection is made for the first trial, and closed when there was none
 * for a while. Nothing of it is felt by lanes or sessions.
 */
#pragma once

#include "daemon/base/list.h"
#include "daemon/mux/conn.h"

enum scout_verdict {
	SCOUT_PASSED,  /* worked through */
	SCOUT_REFUSED, /* the channel was closed: it is a mistake, and costs nobody else anything */
	SCOUT_KILLED,  /* the connection was closed */
	SCOUT_CANNOT   /* no connection, or no answer in time: nothing is known */
};

struct upstream;
struct trial;

/* The trial is over, and the caller's again: it may be started anew, or freed. fault: not with PASSED. */
typedef void (*trial_done_fn)(struct trial *trial, enum scout_verdict verdict, const struct fault *fault);

/* Asked in each turn before it is sent: whether something on the main connection must end before. */
typedef bool (*trial_waits_fn)(struct trial *trial);

struct trial {
	struct list node;    /* in scout->waiting or under_way, or none */
	struct buf frames;   /* whole frames, with channel 0; the caller's */
	uint16_t number;     /* the channel it has */
	bool alone;	     /* nothing else was on the connection, since it was sent */
	unsigned int losses; /* without a word, when it was alone */
	uint32_t answers;    /* consume-oks and confirms before its channel is closed; the caller's */
	uint32_t left;	     /* of these */
	bool confirmed;	     /* the last of them was a confirm: what was published is done */
	bool nacked;	     /* one of them was a basic.nack */
	bool returned;	     /* what was published went to no queue */
	trial_done_fn done;
	trial_waits_fn waits; /* NULL: for nothing */
	bool is_near;	      /* it was sent, or would be if it need not wait */
};

#define SCOUT_OPEN_MAX 16u

struct scout_channel {
	uint16_t number;
	bool closing; /* channel.close was sent */
};

enum scout_state {
	SCOUT_IDLE,
	SCOUT_DIALLING, /* the body was asked for a transport, or the handshake is going on */
	SCOUT_OPEN
};

struct scout {
	struct upstream *upstream;
	char name[64]; /* for the broker's list of connections */
	enum scout_state state;
	size_t endpoint; /* in use or tried last */
	struct conn conn;
	struct timer timer;  /* deadline of dialling or of what is under way; next dial; end of an idle one */
	struct list waiting; /* struct trial */
	struct list under_way;			   /* struct trial */
	struct scout_channel open[SCOUT_OPEN_MAX]; /* that the broker has not closed, of trials that were
						      dropped too */
	uint32_t open_count;
	uint32_t careful;  /* so many of the waiting ones are tried one at a time */
	uint32_t failures; /* to connect, in a row */
	uint16_t last_number;
	bool ending; /* the connection ended in this turn, by fault */
	struct fault fault;
};

void scout_init(struct scout *scout, struct upstream *upstream);
/* Drops the transport; trials that have not ended are the callers'. */
void scout_deinit(struct scout *scout);

void trial_init(struct trial *trial, trial_done_fn done);
/* Takes it out, wherever it is, and frees its frames. */
void trial_deinit(struct trial *trial);

/* Whether the broker has said that a loss is our doing: an operator's close, or a shutdown, is not. */
bool scout_is_told(const struct fault *fault);

/* What a loss without a word is called. */
struct fault scout_silent_fault(void);

void scout_try(struct scout *scout, struct trial *trial);

/* Deals with a connection that ended. */
void scout_settle(struct scout *scout);

/* Dials and sends, for all that wants to be tried by now. */
void scout_turn(struct scout *scout);

/* Events of its transport; see the same ones of an upstream in mux.h. */
/* Where it dials has changed: it does so again if it is not connected yet. */
void scout_begin_anew(struct scout *scout);

void scout_dialled(struct scout *scout, const struct handshake_options *options);
void scout_dial_failed(struct scout *scout, const char *reason);
void scout_lost(struct scout *scout, const char *reason);
size_t scout_feed(struct scout *scout, struct span bytes);
