/*
 * A process that is connected: its channels, its credit, what its socket took.
 */
#pragma once

#include "daemon/base/charge.h"
#include "daemon/base/list.h"
#include "daemon/mux/mux.h"
#include "daemon/mux/pace.h"
#include "daemon/mux/state/share.h"

#define PROGRAM_MAX 64u

struct channel_slot {
	struct channel *channel; /* NULL: never opened, or closed */
	uint32_t generation;	 /* of the last one opened; 0: none */
};

struct session {
	struct list node; /* in mux->sessions */
	struct mux *mux;
	struct upstream *upstream;
	const struct session_ops *ops;
	void *context;
	uint64_t id;
	struct mux_creds creds; /* groups owned */
	struct mono since;
	bool ended;
	uint8_t program_len;
	char program[PROGRAM_MAX];

	struct channel_slot *channels; /* owned, by number */
	uint32_t channel_slots;
	struct charge slots_charge;  /* for them */
	struct charge groups_charge; /* for many supplementary ones */
	uint32_t unpaid_channels;
	uint32_t channel_count;
	struct list leaving;  /* struct channel that the client closed and that is not finished; first those
				 whose  close is not answered */
	struct list requests; /* struct request unanswered */
	uint32_t request_count;
	struct list owned;    /* struct owned_queue */
	struct list holdings; /* struct holder */

	struct party party;

	struct session_limits asked_limits; /* 0: mux's */
	struct session_limits limits;	    /* the lower of both */
	uint64_t told_message_max;	    /* the most they ever were: what its client goes by */
	uint32_t told_channels;
	struct user_ref user;
	struct account memory;
	struct charge credit_charge;		    /* what the granted credit may still cost */
	uint64_t window_bytes;			    /* credit that is kept open; grows with use */
	uint64_t largest_cost;			    /* of a publish, or one that it wanted to send */
	uint64_t granted_messages, granted_bytes;   /* totals, as told */
	uint64_t used_messages, used_bytes;	    /* totals of publishes accepted */
	uint64_t released_messages, released_bytes; /* totals of those that ended */
	uint64_t want_messages, want_bytes;	    /* totals asked for */
	bool wants;				    /* it asked for more than it was granted */
	struct list credit_node;		    /* in mux->credits */
	struct list want_node;			    /* in mux->wants */

	uint64_t handed_position;  /* of the last message in its output */
	uint64_t written_position; /* what the socket took */
	uint64_t unread_position;  /* of the end of its output, when that was looked at last */
	struct charge backlog_charge;
	struct charge events_charge; /* what else is in its output: see backlog_unread() */
	struct list choked;	     /* struct consumer that waits for the socket, in turn */

	uint64_t get_credit, get_used; /* bytes, totals */
	uint32_t gets;		       /* under way at the broker */
	bool gets_held;		       /* a lane waits to send another */
	struct taken *taken;	       /* owned ring */
	size_t taken_mask, taken_first, taken_count;

	uint64_t published, delivered, unacked;
	struct pace pace;	   /* of its publishes and deliveries */
	struct recorder *recorder; /* owned; NULL: nothing was asked yet */
};
