/*
 * What a process opened, and its transaction.
 */
#pragma once

#include "daemon/base/charge.h"
#include "daemon/base/list.h"
#include "daemon/base/timerq.h"
#include "daemon/mux/mux.h"
#include "daemon/mux/state/delivery.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/queues.h"
#include "daemon/mux/state/share.h"

enum channel_state {
	CHANNEL_OPEN,
	CHANNEL_LEAVING, /* closed by its client or left by a dead one: finishes what was accepted */
	CHANNEL_FAILED	 /* ended by an error; the client has to open it again */
};

/* Consecutive publishes of a transaction; of mandatory ones a single one. */
struct tx_run {
	uint64_t first, last; /* numbers */
	bool mandatory, returned;
	uint64_t hash; /* of a mandatory one's names and body */
	uint32_t record;
};

/* A channel's transaction: see tx.h. */
struct tx {
	bool asked, begun;
	uint32_t ends;	     /* requests that end one, or recover, and are unanswered or unsent */
	uint32_t settles;    /* OP_SETTLE in the queue */
	struct tx_run *runs; /* owned; the publishes that were sent, in order */
	size_t run_count, run_capacity;
	size_t run_returned;  /* those before it were returned, or will not be */
	struct charge charge; /* on the session, for both */
};

/* A consumer that was cancelled while messages were unsettled: see quirks.h. */
struct former_consumer {
	uint64_t epoch;
	uint64_t names; /* of its queue and tag, hashed */
	uint16_t prefetch;
};

#define FORMER_CONSUMERS_MAX 4u

struct channel {
	struct list node;	     /* in session->leaving or upstream->orphans, or neither */
	struct list lane_node;	     /* in upstream->waiting */
	struct list touched_node;    /* in mux->touched */
	struct list unhurried_node;  /* in mux->unhurried */
	struct list recovery_node;   /* in a list of upstream->recovery: its consumers are not all back yet */
	struct suspicion *suspicion; /* it may have cost the connection, and sends nothing; NULL: no */
	struct session *session;     /* NULL: nobody to tell */
	struct upstream *upstream;
	struct lane *lane; /* NULL: none leased */
	struct mux_channel_id id;
	enum channel_state state;
	struct fault fault;	  /* why it failed */
	struct list queue;	  /* struct op not yet sent */
	uint32_t requests;	  /* unanswered or unsent ones, ours included */
	uint32_t close_request;	  /* to be answered when it has left; 0: none */
	uint32_t close_record;	  /* of it, in the session's recorder */
	uint64_t published;	  /* number of the last one accepted */
	uint64_t unsettled;	  /* publishes without an outcome */
	uint64_t unsettled_bytes; /* of credit that these cost */
	struct charge charge;	  /* for them, when the session that paid before has ended */
	struct charge own_charge; /* for itself, and when the session has ended for what it holds besides */
	bool unpaid;		  /* there was no memory for it: one of session->unpaid_channels */
	struct user_ref user;	  /* who pays then */
	uint64_t unacked;	  /* deliveries with the client */
	struct timer timer;	 /* earliest deadline of a publish, or a little later: see channel_expect() */
	struct mono looked_next; /* not before that */
	enum outcome_kind run_kind; /* outcomes not yet told: run_first..run_last */
	uint64_t run_first, run_last;
	struct fault run_fault;
	struct list consumers; /* struct consumer */
	uint32_t consumer_count;
	uint32_t consumer_serial; /* consumers that got a tag from us */
	uint32_t turns;		  /* how often one was begun anew: no tag comes twice */
	struct former_consumer former[FORMER_CONSUMERS_MAX]; /* a ring */
	size_t former_next;
	uint32_t restoring;   /* consumers that the broker's connection does not know yet again */
	uint32_t prefetch;    /* of the consumers to come; 0: the default */
	uint32_t unacked_max; /* of all consumers together; 0: no limit */
	struct tx tx;
	struct deliveries deliveries;
	struct repeat repeat;
	uint8_t last_queue_len;
	char last_queue[255]; /* what the empty queue name means */
	enum queue_kind last_kind;
	bool allowed_known;	/* an exchange was authorized: this one was the last */
	uint32_t allowed_rules; /* by these rules; mux->rules if they still hold */
	uint8_t allowed_len;
	char allowed[255];
};
