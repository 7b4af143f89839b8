/*
 * What a channel sends, in its order: requests and publishes.
 */
#pragma once

#include "daemon/base/charge.h"
#include "daemon/base/list.h"
#include "daemon/base/timerq.h"
#include "daemon/mux/mux.h"

enum op_kind {
	OP_REQUEST,
	OP_PUBLISH,
	OP_SETTLE /* in a channel's queue alone: see tx.h */
};

/* What a channel sends in its order. */
struct op {
	struct list node; /* in channel->queue, or lane->awaiting */
	enum op_kind kind;
	bool on_trial;		 /* the scout tries it now */
	bool cleared;		 /* the scout has tried it: it costs no connection */
	uint8_t lone_losses;	 /* connections lost in a row while it alone went on of the suspects */
	struct channel *channel; /* NULL: gone, only the lane's order needs it */
};

#define QUEUES_RESUME_LEN 32u /* hexadecimal digits */

struct request {
	struct op op;
	struct list session_node; /* in session->requests while unanswered */
	struct session *session;  /* who is answered; NULL: nobody (ours, or answered already) */
	struct mux_channel_id channel_id;
	uint32_t id;
	enum amqc_method_id method;
	struct timer timer;
	struct mux *mux;
	struct consumer *consumer; /* basic.consume, basic.cancel */
	struct owned_queue *queue; /* exclusive queue.declare, or queue.delete of an owned one */
	struct thing *thing;	   /* it makes this one again */
	struct clash *clash;	   /* what it may not meet: see clash.h; NULL: nothing */
	struct list clash_node;	   /* in clash->uses, or none */
	struct list cancel_node;   /* in lane->cancels, or none */
	struct lane *clash_lane;   /* where it was sent */
	uint64_t clash_since;	   /* the beat at which that was */
	bool clash_changes;	   /* of one in clash->uses: it makes or deletes the queue */
	uint32_t record;	   /* in its session's recorder */
	uint64_t before;	   /* sent before the publish with this tag on its lane */
	bool sent;		   /* it is in a lane's awaiting */
	bool sent_before;	   /* on a connection that is gone */
	bool no_ack;		   /* basic.get */
	bool unsure;		   /* it depends on what only the broker knows: see probe.h */
	bool counted_get;	   /* it is one of session->gets */
	bool ends_tx;		   /* it is one of channel->tx.ends */
	bool has_resume;
	char resume[QUEUES_RESUME_LEN]; /* of the name that it declares */
	struct charge charge;		/* on the session, while it waits */
	size_t frame_len;
	uint8_t frame[]; /* the method's frame, with channel 0 in it */
};

struct publish {
	struct op op;
	struct mono deadline;
	struct mono accepted;
	uint64_t expiration_usec; /* after that; UINT64_MAX: never */
	uint64_t number;	  /* the client's */
	uint64_t cost_bytes;	  /* of its credit */
	uint32_t block_size;	  /* of this block, for the pool */
	uint32_t method_len;	  /* bytes of the method frame */
	uint32_t head_len;	  /* of method and header frame together */
	uint32_t record;	  /* in its session's recorder */
	bool mandatory;
	bool begun_before; /* on a connection that is gone, if only in part */
	bool sent_before;  /* all of it: goes out marked */
	bool resent;	   /* by its client, who had sent it in another session: likewise */
	bool returned;
	bool settled;		      /* its outcome was told; the slot waits for the broker */
	bool dropped;		      /* it left its slot while its body was being sent */
	uint32_t exchange_at, key_at; /* where the names lie in data */
	uint32_t age_ms;	      /* when it was accepted */
	uint8_t exchange_len, key_len;
	size_t body_len;
	size_t body_sent;
	uint8_t data[]; /* method frame, header frame (channel 0 in both), body */
};

#define REPEAT_FRAME_MAX 112u

/* The names of the last publish of a channel: one more to the same needs less work. */
struct repeat {
	uint32_t record;   /* of the publish, in the session's recorder; 0: none */
	uint32_t newest;   /* record when it came */
	uint8_t frame_len; /* 0: nothing is kept */
	uint8_t exchange_len, key_len;
	bool mandatory;
	uint8_t frame[REPEAT_FRAME_MAX]; /* the method's, with channel 0 in it */
};

static inline struct request *op_request(struct op *op)
{
	return container_of(op, struct request, op);
}

static inline struct publish *op_publish(struct op *op)
{
	return container_of(op, struct publish, op);
}

/* What a publish takes of the window: its bytes on the wire, but for a few of each body frame, and its cost.
 */
static inline uint64_t publish_window_bytes(const struct publish *publish)
{
	return MUX_MESSAGE_COST_BYTES + publish->head_len + publish->body_len;
}
