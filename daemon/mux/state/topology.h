/*
 * What was declared, by whom, and what of it is brought back on a new
 * connection.
 */
#pragma once

#include "daemon/base/charge.h"
#include "daemon/base/list.h"
#include "daemon/base/map.h"
#include "daemon/base/timerq.h"
#include "daemon/mux/mux.h"

/* In the order in which they are made again. */
enum thing_kind {
	THING_EXCHANGE,
	THING_QUEUE,
	THING_EXCHANGE_BINDING,
	THING_QUEUE_BINDING
};
#define THING_KINDS 4u

enum entity_kind {
	ENTITY_EXCHANGE,
	ENTITY_QUEUE
};

/* Whether the broker has a queue that was declared. */
enum presence {
	PRESENT, /* it has, or nothing else is known */
	AWAITED, /* it was refused for now, and is asked for again */
	ABSENT	 /* it was refused for now */
};

/* An exchange or queue that something is known of. */
struct entity {
	struct map_node map_node; /* in topology->entities of its kind */
	struct upstream *upstream;
	enum entity_kind kind;
	struct list about;	 /* struct thing: its declarations, and bindings that lead to it */
	struct list sourced;	 /* struct thing: bindings from it */
	uint32_t consumers;	 /* ours, of a queue */
	bool untold;		 /* it was deleted, and these are still to hear of it: clash.h */
	uint32_t kept;		 /* those who look at it: it is not freed */
	enum presence presence;	 /* what depends on it waits until it is PRESENT */
	bool doomed;		 /* about to be forgotten */
	struct list doomed_node; /* in the order of that */
	uint8_t name_len;
	char name[255];
};

/* A declaration or binding, by its method's frame with channel 0. */
struct thing {
	struct map_node map_node; /* in topology->things */
	struct upstream *upstream;
	struct list node; /* in topology->kinds */
	enum thing_kind kind;
	bool auto_delete, exclusive;
	struct list holders; /* struct holder, owned */
	struct entity *about, *source;
	struct list about_node, source_node; /* in lists of the two */
	struct list due_node;		     /* in a list of struct recovery, or none */
	struct request *request;	     /* the one that makes it again; NULL: none is under way */
	size_t frame_len;
	uint8_t frame[];
};

/* A session that would have a thing now. */
struct holder {
	struct list thing_node;	  /* in thing->holders */
	struct list session_node; /* in session->holdings */
	struct thing *thing;
	struct session *session;
	struct mux_channel_id channel; /* that declared it */
	struct charge charge;	       /* on the session */
};

struct topology {
	struct map things;		/* by frame */
	struct map entities[2];		/* by name, of each kind */
	struct list kinds[THING_KINDS]; /* struct thing, owned, in the order they were first made */
};

enum recovery_phase {
	RECOVERY_NONE,	   /* everybody goes on */
	RECOVERY_TOPOLOGY, /* things are made again; nothing else goes out */
	RECOVERY_CONSUMERS /* channels with consumers get their lanes and subscribe again */
};

/* What is brought back on this connection, or waits to be. */
struct recovery {
	enum recovery_phase phase;
	struct list due;	     /* struct thing to be made again, in order */
	struct list asked;	     /* struct thing under way */
	struct list parked;	     /* struct thing that was refused for now, or depends on such a one */
	struct list channels_due;    /* struct channel whose consumers are to be subscribed again */
	struct list channels_asked;  /* under way */
	struct list channels_parked; /* refused for now */
	struct channel *maker;	     /* makes the things; NULL: none is open */
	uint32_t asked_count;	     /* requests for asked ones, and for such as were forgotten meanwhile */
	uint32_t absent;	     /* struct entity that is not PRESENT */
	struct timer timer;	     /* next try of what is parked, or the end of a phase that hangs */
	struct mono give_up;	     /* what is refused from then on is refused for good */
	uint32_t made, subscribed;   /* for the log */
	struct mono began;
	bool careful; /* one at a time: something of it cost the last connection */
};
