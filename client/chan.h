/* A channel, from its opening to its end; see chan.c. */
#pragma once

#include "client/events.h"
#include "client/muxclient.h"
#include "client/outcome.h"
#include "client/replay.h"

#include <pthread.h>
#include <stdbool.h>

enum channel_state {
	CHANNEL_OPEN,
	CHANNEL_DOOMED,	 /* muxd has ended it; what is under way is still answered */
	CHANNEL_CLOSING, /* closed by the program; muxd has not answered */
	CHANNEL_ENDED	 /* muxd knows it no more */
};

struct muxc_channel {
	struct muxc *c;
	uint32_t number; /* 0: the connection's own, for its handlers */
	uint32_t generation;
	unsigned int refs;
	enum channel_state state;
	bool closed_here;	/* by muxc_channel_close() or _free() */
	bool close_done;	/* muxd has answered ChannelClose */
	bool end_seen;		/* muxd has said that it ended the channel */
	unsigned int requests;	/* unanswered ones */
	bool live;		/* open in this session */
	bool restoring_failed;	/* something was refused when it was brought back: `error` */
	bool restoring_again;	/* and it is to be tried again */
	bool pending;		/* in the list of those that have something to be sent */
	unsigned int restoring; /* requests that bring it back, not answered yet */
	unsigned int unsent;	/* requests that were not sent in this session */
	struct muxc_channel *next_pending;
	uint64_t serial;  /* unlike the number it is never used again */
	char *last_queue; /* the one declared last; owned */
	bool has_qos;
	bool has_qos_global;
	uint32_t qos_prefetch;
	uint32_t qos_global;
	uint64_t tag_base;	/* tags up to here are of an earlier session */
	uint64_t tag_last;	/* the highest that was given out */
	bool tx;		/* transactional */
	bool tx_used;		/* published or settled in the open transaction */
	bool tx_committing;	/* and its commit was under way when muxd was lost */
	uint64_t tx_settled;	/* single ones, in the open transaction */
	uint64_t late_messages; /* that may still come for consumers that are gone */
	uint64_t returns;	/* messages that came back */
	uint64_t unsettled; /* messages that were delivered or got, and are to be settled; at least so many */
	struct replay replay;
	bool user_freed;
	bool destroyed; /* on_destroy was called, or is to be by nobody else */
	struct muxc_error error;
	struct muxc_channel_options options;
	struct outcomes outcomes;
	struct consumer *consumers;
	uint32_t last_consumer;
	struct settles *settles; /* NULL until the first one */
	bool dirty;		 /* in the connection's list of channels with settles */
	struct muxc_channel *next_dirty;
	struct event_queue events;
	uint64_t barriers; /* that were put into it */
	uint64_t barriers_passed;
	struct notice *end; /* made with the channel, so that its end can always be told; NULL: it is */
	bool ready;	    /* in the ready list */
	struct muxc_channel *next_ready;
	/* Its turn: one thread calls its handlers. In here, so that a forked child finds it. */
	bool running;
	pthread_t runner;
	uint64_t since_usec;   /* when the turn began */
	struct event *handled; /* taken out of the queue */
	struct muxc_channel *next_running;
	pthread_cond_t cond; /* something a waiter of this channel may wait for has changed */
	unsigned int waiters;
};

struct channel_slot {
	struct muxc_channel *channel; /* one ref */
	uint32_t generation;	      /* the last one used */
};

struct muxc_channel *channel_new(struct muxc *c, const struct muxc_channel_options *options);
void channel_unref(struct muxc_channel *channel);
/* Sends ChannelOpen with the next generation; tags and numbers begin anew. -ENOMEM. */
int channel_begin(struct muxc_channel *channel);
/* A request that closes it, when all before it was sent. -ENOMEM. */
int channel_send_close(struct muxc_channel *channel);
/* Something of the channel's was answered: if it was the last of one that is to end, it ends. */
void channel_check_end(struct muxc_channel *channel);
/* The open channel of that number and generation, or NULL: stale. */
struct muxc_channel *channel_find(struct muxc *c, uint32_t number, uint32_t generation);
/* muxd knows the channel no more. */
void channel_end(struct muxc_channel *channel, const struct muxc_error *error);
/* An answer has said that the channel is closed. */
void channel_doom(struct muxc_channel *channel, const struct muxc_error *error);
/* A transaction is open: it must go on in this session, or is lost. */
bool channel_transacting(const struct muxc_channel *channel);
/* Locks and checks that the channel can be used; as conn_enter(). */
int channel_enter(struct muxc_channel *channel, struct muxc_error *ret_error);
/* The same for one that may have ended. */
int channel_lock(struct muxc_channel *channel, struct muxc_error *ret_error);
void channel_leave(struct muxc_channel *channel);
int channel_usable(struct muxc_channel *channel, struct muxc_error *ret_error);
int channel_wait(struct muxc_channel *channel, uint64_t deadline_usec);
void channel_wake(struct muxc_channel *channel);
