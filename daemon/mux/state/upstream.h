/*
 * An upstream: its connection, its lanes, and what is known of the broker.
 */
#pragma once

#include "daemon/base/log.h"
#include "daemon/mux/conn.h"
#include "daemon/mux/limit.h"
#include "daemon/mux/redial.h"
#include "daemon/mux/scout.h"
#include "daemon/mux/state/blame.h"
#include "daemon/mux/state/queues.h"
#include "daemon/mux/state/share.h"
#include "daemon/mux/state/topology.h"
#include "daemon/mux/window.h"

struct upstream {
	struct list node; /* in mux->upstreams */
	struct mux *mux;
	struct upstream_options options; /* strings and endpoints owned */
	const struct upstream_ops *ops;
	void *context;
	enum upstream_state state;
	bool dialling; /* the body was asked for a transport, or has one */
	bool closing;  /* muxd goes, or it does: no more dialling */
	bool retired;  /* the configuration has it no more: no new sessions */
	uint32_t session_count;
	struct redial redial;
	struct timer timer; /* next dial, deadline of dial and handshake, or of closing */
	struct conn conn;
	bool ending; /* the connection ended in this turn, by end and last_fault: not dealt with yet */
	enum conn_end end;
	struct fault end_fault; /* as it was told */
	uint64_t epoch, reconnects;
	struct mono opened;   /* when this epoch began */
	size_t endpoint;      /* in use or tried last */
	size_t good_endpoint; /* that let us in last */
	struct fault last_fault;
	struct fault refusal; /* of an endpoint, in this round */

	struct lane **lanes; /* by number, lane_max + 1 of them; NULL: free */
	uint16_t lane_max;
	uint16_t lane_last;    /* where the search for a free number goes on */
	uint16_t lane_highest; /* number that was opened */
	uint32_t lanes_open, lanes_leased, lanes_warm, lanes_fenced;
	uint32_t lanes_answered;  /* of the open ones, those of which the broker said so */
	struct limit limit;	  /* of open lanes */
	bool lanes_denied;	  /* the broker would not open a single one */
	uint32_t resting[2];	  /* numbers that count as open for a while, by age: see lane_release() */
	struct timer lane_timer;  /* when they do not any more, or one lane more may be tried */
	struct list warm;	  /* struct lane that nobody leases */
	struct list fresh;	  /* struct party that goes before the active ones */
	struct list active;	  /* struct party with something to send, in turn */
	struct list held;	  /* struct party with held lanes, in turn (window, blocked) */
	uint32_t taking_turns;	  /* in fresh and active */
	uint32_t held_back;	  /* in held */
	uint64_t sent_bytes;	  /* of all parties */
	uint64_t confirmed_bytes; /* of publishes that ended, as unconfirmed_bytes counts */
	struct party common;	  /* of lanes that no living session has */
	struct list waiting;	  /* struct channel without a lane that needs one, in turn */
	struct list idle;	  /* struct lane leased by a channel that would not miss it, longest first */
	struct list orphans;	  /* struct channel whose session has ended */

	struct window window;
	uint64_t unconfirmed_messages; /* sent and not answered */
	uint64_t unconfirmed_bytes;    /* of them: publish_window_bytes() */
	bool window_freed;	       /* some of them ended: who waits for the window may go on */
	bool queue_freed; /* a queue is back, or a claim to it decided: who waits for it may go on */

	struct topology topology;
	struct clashes clashes;
	struct recovery recovery;
	struct kinds kinds;
	struct scout scout;
	struct blame blame;
	struct list probes; /* struct probe, owned */
	uint32_t probe_count;
	struct map queues;	     /* struct owned_queue by name */
	struct channel *housekeeper; /* an orphan for our own requests, or NULL */
};

/* A line of the log about an upstream, whose name is also a field of its own. */
#define log_upstream(level, upstream, format, ...)                                                \
	log_write(level, &(const struct log_field){"MUXD_UPSTREAM", (upstream)->options.name}, 1, \
		  "upstream \"%s\": " format, (upstream)->options.name, ##__VA_ARGS__)
