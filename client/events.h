/* What handlers are to be called for; see events.c. */
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

void event_push(struct muxc_channel *channel, struct event *event);
/* The channel's next one; NULL: none. */
struct event *event_pop(struct muxc_channel *channel);
void event_free(struct muxc *c, struct event *event);
void events_drop(struct muxc_channel *channel);
/* Takes the messages of a consumer out of the queue and gives them back. */
void events_requeue(struct muxc_channel *channel, uint32_t consumer);
/* Takes those out that need to be settled: they come again in another session. */
void events_stale(struct muxc_channel *channel);
/* Queues a copy of notice, unless no handler wants it. Takes over its name and text. -ENOMEM. */
int notice_push(struct muxc_channel *channel, const struct notice *notice);
/* The notice of the channel's or the connection's end, once: needs no memory. */
void notice_push_end(struct muxc_channel *channel, enum event_type type, const struct muxc_error *error);

/* Puts the channel into the ready list, with a reference. False: it is there, or must not be. */
bool ready_push(struct muxc_channel *channel);
/* The one that is ready the longest, with its reference; NULL: none. */
struct muxc_channel *ready_pop(struct muxc *c);
/* The connection's end is told last: after all that other channels have to tell, or are telling. */
bool events_come_last(const struct muxc_channel *channel);
/* In a forked child: nothing is ready, whatever the parent's threads did. */
void ready_forget(struct muxc *c);
