/*
 * The front end that speaks muxd's own protocol (proto/PROTOCOL.md): one
 * struct ipc for each accepted connection. It translates between frames and
 * the calls of mux.h, and decides nothing about AMQP.
 *
 *	bytes -> ipc_frame_parse -> prescan -> unpack -> dispatch -> session_*()
 *	session_ops -> ServerFrame -> packed into the stream's output
 *
 * Nothing on the way of a message allocates: headers are unpacked into an
 * arena that is reset with each frame, and packed straight into the output;
 * bodies are views of what was read.
 *
 * The front owns the connections, mux owns the sessions. A session that mux
 * ends is told so at once and dropped later in the same turn, when none of our
 * stack frames holds it.
 */
#pragma once

#include "daemon/mux/mux.h"
#include "daemon/net/loop.h"

#define FRONT_HELLO_USEC (5 * USEC_PER_SEC)

struct front;

/* What one process may have; the front's own, or less. */
struct front_limits {
	uint64_t message_max;	 /* bytes of a body */
	uint64_t session_memory; /* bytes that may wait for a peer that does not read */
	uint32_t channels_max;	 /* the highest channel number */
	uint32_t sessions_per_uid;
	uint32_t prefetch; /* of a consumer that sets none */
};

/* What a process asks of muxd itself. */
enum front_command {
	FRONT_RELOAD,
	FRONT_DRAIN
};

const char *front_command_name(enum front_command command);

/* Which request of which session an answer is for. */
struct front_ticket {
	uint64_t session;
	uint32_t request;
};

struct front_options {
	struct loop *loop;
	struct mux *mux;
	const char *version;	    /* "0.1.0"; outlives the front */
	struct front_limits limits; /* of everyone */
	uint32_t sessions_max;	    /* connections, Hello said or not */
	uint64_t hello_usec;	    /* how long a connection may take to say Hello; 0: FRONT_HELLO_USEC */
	/*
	 * May this process use this upstream at all? False with *ret_fault
	 * set. limits are the front's, and may be lowered. NULL: everybody may.
	 */
	bool (*admit)(void *context, const struct mux_creds *creds, const char *upstream,
		      struct front_limits *limits, struct fault *ret_fault);
	/*
	 * May this process look into other users' sessions of this upstream, and
	 * control them? False with *ret_fault set. NULL: everybody may.
	 */
	bool (*control)(void *context, const struct mux_creds *creds, const char *upstream,
			struct fault *ret_fault);
	/*
	 * A command of a process that may control every upstream: taken up, and
	 * answered now or later by front_done() or, a reload, front_reloaded().
	 * False with *ret_fault set. May call any function of the front's but
	 * front_free(). NULL: there are none.
	 */
	bool (*command)(void *context, const struct mux_creds *creds, enum front_command command,
			const struct front_ticket *ticket, struct fault *ret_fault);
	void *context; /* of all three */
};

/* 0 or -ENOMEM. */
int front_new(const struct front_options *options, struct front **ret) __attribute__((warn_unused_result));

/* Drops every connection without a word. NULL is fine; returns NULL. */
struct front *front_free(struct front *front);

/* A new connection; the descriptor is the front's. */
void front_accept(struct front *front, int fd);

/* Asks all sessions, and those that come yet, to leave within the time. */
void front_go_away(struct front *front, uint64_t deadline_usec);

/* Answers to commands. Who has left meanwhile gets none. */
void front_done(struct front *front, const struct front_ticket *ticket);

struct front_lines {
	char *const *texts;
	size_t count;
};

struct front_reload_result {
	bool done;
	struct front_lines errors; /* if not */
	struct front_lines notes;  /* what needs a restart, or is to be known */
};

void front_reloaded(struct front *front, const struct front_ticket *ticket,
		    const struct front_reload_result *result);

/*
 * Other limits from now on, for new sessions and for those that are there, each
 * asked of admit anew. Whom it does not admit any more is ended with its fault.
 */
void front_set_limits(struct front *front, const struct front_limits *limits, uint32_t sessions_max);

/* Asks the sessions of one upstream to leave within the time; ends them. */
void front_leave_upstream(struct front *front, const struct upstream *upstream, uint64_t deadline_usec);
void front_end_upstream(struct front *front, const struct upstream *upstream, const struct fault *fault);

/* Ends every session with an error that says why. */
void front_end_all(struct front *front, const struct fault *fault);

/* Connections, those that have not said Hello included. */
size_t front_count(const struct front *front);
