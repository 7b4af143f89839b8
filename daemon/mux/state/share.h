/*
 * Who shares what there is: users share mux's memory, and parties an upstream.
 */
#pragma once

#include "daemon/base/charge.h"
#include "daemon/base/list.h"
#include "daemon/base/map.h"

/* The sessions of one uid: see user.h. */
struct user {
	struct map_node map_node; /* in mux->users */
	struct list node;	  /* in mux->user_list */
	struct mux *mux;
	uint32_t uid;
	uint32_t references;
	uint64_t want_round; /* of mux, if a session of it could not be granted then what it wants */
	uint32_t sessions;
	struct account memory;	 /* of the sessions, its share of mux->memory */
	struct account orphaned; /* of what they left behind, its share of mux->orphaned */
};

struct user_ref {
	struct user *user; /* NULL: none */
};

/* Who shares in an upstream: see party.h. */
struct party {
	struct upstream *upstream;
	struct list turn_node; /* in upstream->fresh or active */
	struct list held_node; /* in upstream->held */
	struct list ready;     /* struct lane with something to send, in turn */
	struct list held;      /* struct lane whose next publish or request must wait, in turn */
	int64_t deficit;       /* bytes it may still send in its round; below 0: it owes them */
	bool begun;	       /* a publish has begun within them */
	uint64_t renewed_at;   /* upstream->sent_bytes when its part was renewed */
	uint64_t unconfirmed_messages;
	uint64_t unconfirmed_bytes; /* as publish_window_bytes() counts */
};
