/* Events, and the handlers that are called for them; see dispatch.c. */
#pragma once

#include "client/muxclient.h"

#include <stdbool.h>

enum event_type {
	EVENT_MESSAGE,	/* struct muxc_message */
	EVENT_RETURNED, /* struct muxc_message with an error */
	EVENT_OUTCOME,	/* the rest: struct notice */
	EVENT_CANCELLED,
	EVENT_INTERRUPTED,
	EVENT_BARRIER, /* whoever waits for all before it */
	EVENT_CHANNEL_CLOSED,
	EVENT_UPSTREAM,
	EVENT_GOING_AWAY,
	EVENT_LINK,
	EVENT_CLOSED
};

/* What a handler is to be called for; queued on its channel, first in a struct. */
struct event {
	struct event *next;
	enum event_type type;
};

struct notice {
	struct event event;
	uint64_t first;	   /* outcome; barrier: number; going away: usec; upstream: epoch; link: session */
	uint64_t last;	   /* outcome; link: publishes that are sent again */
	int kind;	   /* outcome, or state of the upstream or the link */
	uint32_t consumer; /* link: attempts */
	char *name;	   /* upstream */
	char *text;
	struct muxc_error error;
};

struct event_queue {
	struct event *first;
	struct event *last;
};

#define DISPATCH_BUDGET 256 /* handlers before the loop looks at the socket again */

void event_push(struct muxc_channel *channel, struct event *event);
void events_drop(struct muxc_channel *channel);
/* In a forked child: nothing is ready, and no handler runs, whatever the parent's threads did. */
void ready_forget(struct muxc *c);
void running_forget(struct muxc *c);
/* Takes the messages of a consumer out of the queue and gives them back. */
void events_requeue(struct muxc_channel *channel, uint32_t consumer);
/* Takes those out that need to be settled: they come again in another session. */
void events_stale(struct muxc_channel *channel);
void event_free(struct muxc *c, struct event *event);
/*
 * Runs handlers of ready channels, at most budget; gives up the lock meanwhile.
 * Returns how many were called. In a child that a handler has forked: -ECHILD,
 * and the caller drops its reference and leaves; or -EBUSY, the lock is not
 * held, and nothing may be touched.
 */
int dispatch_run(struct muxc *c, int budget);
/* The same for the turn of the channel that is ready the longest, if there is one. */
int dispatch_turn(struct muxc *c);
/* This thread calls a handler of the connection's now. */
bool in_dispatch(const struct muxc *c);
/* Calls on_destroy if its time has come; gives up the lock meanwhile. In a forked child as dispatch_run(). */
int channel_tell_destroyed(struct muxc_channel *channel);
/* Queues a copy of notice, unless no handler wants it. Takes over its name and text. -ENOMEM. */
int notice_push(struct muxc_channel *channel, const struct notice *notice);
/* The notice of the channel's or the connection's end, once: needs no memory. */
void notice_push_end(struct muxc_channel *channel, enum event_type type, const struct muxc_error *error);
