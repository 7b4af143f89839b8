/*
 * A channel number of the connection to the broker, and what was sent on it.
 */
#pragma once

#include "daemon/base/list.h"
#include "daemon/mux/assemble.h"

enum lane_state {
	LANE_OPEN,   /* channel.open was sent: may be used, whether or not answered */
	LANE_FENCED, /* handed back: nobody's until the broker has answered the barrier */
	LANE_CLOSING /* channel.close was sent; the number is free at close-ok */
};

/* Publishes sent on a lane: slot i has delivery tag first + i. */
struct confirms {
	struct publish **ring; /* owned; NULL slots are settled */
	size_t mask;	       /* slots - 1; 0 with ring NULL */
	uint64_t first, next;  /* oldest tag not settled; tag of the next publish */
};

/* Of a lane in tx mode: see tx.h and uncommitted.h. */
struct lane_tx {
	bool on;			      /* instead of confirm mode: its lessee's for good */
	struct request *end;		      /* in awaiting: nothing may be sent before its answer */
	struct request *question;	      /* in awaiting: a tx.select of ours */
	uint64_t messages, bytes;	      /* of transactions, in the window */
	uint64_t asked_messages, asked_bytes; /* of these, what the question is about */
};

struct lane {
	struct upstream *upstream;
	struct channel *channel; /* the lessee; NULL: warm, fenced or closing */
	struct list node;	 /* in warm or idle */
	struct party *party;	 /* the lessee's session's, or upstream->common */
	struct list send_node;	 /* in party->ready or held */
	bool is_ready;		 /* which of the two */
	enum lane_state state;
	uint16_t number;
	uint16_t prefetch;	 /* last basic.qos sent */
	bool answered;		 /* channel.open-ok came */
	bool consumed;		 /* a basic.consume was sent: it is closed behind its lessee */
	uint64_t delivered;	 /* delivery tags the broker has used up on it, when nobody leases it */
	struct request *barrier; /* in awaiting, while it is fenced */
	struct lane_tx tx;
	bool abandoned;	      /* publishes on it were given up before they were confirmed */
	uint64_t clash_since; /* the beat at which somebody began to wait for its confirms; 0: nobody since
				 the last one */
	bool close_ok_due;    /* the number is free when control has been sent */
	bool served;	      /* it sent a publish since it was held last: others come first */
	struct publish
	    *sending;	      /* its body is under way: nothing else may be sent on this number meanwhile */
	struct list awaiting; /* struct request sent, in order */
	struct list cancels;  /* struct request, ours, in control: it waits for them (clash.h) */
	struct assemble in;
	struct buf control; /* whole frames (acks, nacks) that go before anything queued */
	struct confirms confirms;
};
