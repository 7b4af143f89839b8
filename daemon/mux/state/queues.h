/*
 * Queues by their names: what kind one is, who uses it, whose it is.
 */
#pragma once

#include "daemon/base/list.h"
#include "daemon/base/map.h"
#include "daemon/base/timerq.h"

/* What a broker lets be done with a queue's messages: see kinds.h. */
enum queue_kind {
	QUEUE_UNKNOWN,
	QUEUE_CLASSIC,
	QUEUE_QUORUM,
	QUEUE_STREAM
};

struct kinds {
	struct map by_name; /* struct known_queue, owned */
	struct list order;  /* the same, learned first at the front */
};

/* See clash.h. */
struct clashes {
	struct map by_name;  /* struct clash, owned */
	struct list changed; /* those of them that somebody makes or deletes, or is about to */
	bool await_confirms; /* somebody waits for publishes to be confirmed */
	/* How far the broker has come while there are such: answers to questions of ours, from 1 on. */
	uint64_t beats;
	struct request *question; /* in a lane's awaiting; NULL: the next one is due with the timer */
	struct timer timer;
};

enum owned_state {
	OWNED_DECLARING, /* declare is queued or sent */
	OWNED_DECLARED,
	OWNED_DELETING, /* deleted, or about to be */
	OWNED_LEFT	/* its session is gone, and the broker does not let us delete it */
};

/* An exclusive queue: ours at the broker, and one session's here. */
struct owned_queue {
	struct map_node map_node; /* in upstream->queues */
	struct list node;	  /* in session->owned */
	struct session *session;  /* NULL: gone; delete it */
	struct upstream *upstream;
	enum owned_state state;
	uint32_t pending;		       /* requests about it that have not ended */
	const struct channel *declared_beside; /* while others were pending; to be compared only */
	uint8_t name_len;
	char name[255];
};
