/*
 * What the files of the front share: the connection, and how frames are
 * written. See front.h for the model.
 *
 *	ipc.c       the connection's life: accept, read, Hello, end
 *	dispatch.c  client frames -> mux
 *	event.c     mux -> server frames (struct session_ops)
 *	question.c  who asks about muxd itself, in turn
 *	query.c     what muxd says about itself
 *	control.c   commands, and what a reload changes
 *	table.c     tables and properties
 *	users.c     connections counted by uid
 */
#pragma once

#include "daemon/base/quiet.h"
#include "daemon/front/front.h"
#include "daemon/front/table.h"
#include "daemon/front/users.h"
#include "daemon/net/peer.h"
#include "daemon/net/stream.h"
#include "proto/frame.h"

#define IPC_VERSION 1u
#define IPC_LAST_WORDS_USEC (1 * USEC_PER_SEC) /* how long a session error may take to be read */

/* muxd's own code for a deadline; AMQP has none (PROTOCOL.md, "Errors"). */
#define IPC_TIMED_OUT 408u

/* Users whose noise is told apart; others share with one of them. */
#define QUIETS 16u

struct front {
	struct front_options options;
	struct list connections;
	size_t count;
	struct users users;
	struct quiet quiets[QUIETS]; /* of lines about connections, by uid */
	struct quiet trouble;	     /* and about what the kernel, or memory, would not do */
	struct mono started;
	bool going_away;
	struct mono away_deadline;
	struct list askers;	   /* struct ipc with questions, in turn */
	struct timer answer_timer; /* the next one's */
	struct arena decode;	   /* the frame that is being read */
	struct arena encode;	   /* the frame that is being written */
	struct buf tables;	   /* AMQP bytes of the tables of the frame that is being read */
	uint8_t decode_block[ARENA_BLOCK_GOOD];
	uint8_t encode_block[ARENA_BLOCK_GOOD];
};

enum ipc_state {
	IPC_GREETING, /* waits for Hello */
	IPC_OPEN,
	IPC_ENDING /* told so, or beyond telling; dropped later in this turn */
};

/* Answers that the socket has not taken, as far as they must be known: see ipc_dispatch(). */
struct answers {
	uint64_t mark;	 /* where one begins in the output */
	uint32_t behind; /* how many there are behind it */
};

struct ipc {
	struct list node; /* in the front's connections */
	struct front *front;
	enum ipc_state state;
	struct stream *stream;	 /* owned */
	struct session *session; /* mux's; NULL before Hello */
	struct users_seat seat;
	struct peer peer; /* its groups only until Hello */
	struct mono accepted;
	struct timer hello_timer;
	struct loop_task end_task;
	struct loop_task unread_task; /* more was put into its output though the socket is full */
	uint64_t end_drain_usec;      /* how long the last words may take; 0: none */
	struct answers answers;
	struct list questions;	/* struct question, owned */
	struct list asker_node; /* in the front's askers */
	uint32_t question_count;
	uint64_t written;	    /* of the output */
	uint64_t spent_bytes;	    /* publish credit that was used */
	struct front_limits limits; /* message_max: the most it ever was, as its client may go by that */
};

extern const struct session_ops ipc_session_ops;

static inline const char *ipc_upstream_name(const struct upstream *upstream)
{
	struct upstream_info info;

	upstream_get_info(upstream, &info);
	return info.name;
}

/* ------------------------------------------------------------------ ipc.c */

/* Ends the connection by an error: mux is told first if there is a session. */
void ipc_fail(struct ipc *ipc, const struct fault *fault);

/* The session has ended, or never was: last words, then the drop. */
void ipc_end(struct ipc *ipc, const struct fault *fault);

/* Whether a line about its user is to be logged now; see quiet.h. */
bool ipc_may_say(struct ipc *ipc, char more[QUIET_MORE_BYTES]);

/* ------------------------------------------------------------------ dispatch.c */

/* A whole frame of an open session. */
void ipc_dispatch(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes);

/* ------------------------------------------------------------------ event.c */

/* The peer does not read, so there is nobody to tell: it is dropped at the end of the turn. */
void ipc_cut_off(struct ipc *ipc, const char *why);

/*
 * Packs a frame into the output. The position returned is 0 if the header is
 * larger than the protocol allows (nothing was written).
 */
struct mux_handed ipc_send(struct ipc *ipc, const Muxd__V1__ServerFrame *frame, struct span payload);

void ipc_send_error(struct ipc *ipc, uint32_t request, struct mux_channel_id channel, enum fault_scope scope,
		    const struct fault *fault);
void ipc_send_done(struct ipc *ipc, uint32_t request);
void ipc_send_welcome(struct ipc *ipc);
void ipc_send_go_away(struct ipc *ipc, struct mono deadline, const char *why);

Muxd__V1__UpstreamState ipc_upstream_state(enum upstream_state state);

/* ------------------------------------------------------------------ question.c */

enum question_kind {
	QUESTION_STATUS,
	QUESTION_SESSIONS,
	QUESTION_CHANNELS,
	QUESTION_RECORDER
};

/* A request that muxd answers by itself, when it is its turn. */
struct question {
	struct list node; /* in its ipc's questions */
	uint32_t request;
	enum question_kind kind;
	uint64_t session; /* which, or behind which */
	uint32_t channel; /* behind which */
};

void questions_init(struct front *front);
void questions_deinit(struct front *front);

/* Copies the question. Its answer, or that there is no memory, comes in this turn or a later one. */
void ipc_ask(struct ipc *ipc, const struct question *question);

/* It will not hear the answers. */
void ipc_forget_questions(struct ipc *ipc);

/* ------------------------------------------------------------------ query.c */

void ipc_send_status(struct ipc *ipc, uint32_t request);
void ipc_send_sessions(struct ipc *ipc, uint32_t request, uint64_t after);
void ipc_send_channels(struct ipc *ipc, uint32_t request, uint64_t after_session, uint32_t after_channel);
void ipc_send_recorder(struct ipc *ipc, uint32_t request, uint64_t session);

/* ------------------------------------------------------------------ control.c */

/* A command, checked: the answer is sent now or later. */
void ipc_command(struct ipc *ipc, uint32_t request, enum front_command command);

/* As mux has them. */
struct session_limits front_session_limits(const struct front_limits *limits);
