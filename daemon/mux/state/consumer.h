/*
 * A consumer, and what waits for it.
 */
#pragma once

#include "daemon/base/charge.h"
#include "daemon/base/list.h"
#include "daemon/mux/mux.h"
#include "daemon/mux/state/queues.h"

/* How far a consumer is on its way to a smaller prefetch. */
enum shrink_state {
	SHRINK_NOT,
	SHRINK_CANCELLING, /* basic.cancel was sent: what comes goes back */
	SHRINK_DRAINING	   /* cancelled; starts again when little waits */
};

struct consumer {
	struct list node;	 /* in channel->consumers */
	struct list choked_node; /* in session->choked */
	struct channel *channel;
	uint32_t number;   /* the client's name for it */
	uint32_t requests; /* that are about it: see request_about() */
	bool no_ack;
	bool broker_no_ack; /* direct reply-to cannot be acked */
	bool started;	    /* consume-ok came */
	bool suspect;	    /* the broker may fall over what it would deliver: see suspect.h */
	bool on_trial;	    /* the scout tries it now */
	bool restoring;	    /* it had come on a connection that is gone, and is to come again */
	bool cancel_asked;  /* by the client: delivers on until cancel-ok */
	bool gone;	    /* ended from our side; its tag is in use until cancel-ok */
	bool cancel_sent;   /* by us: it goes at cancel-ok */
	enum shrink_state shrinking;
	bool exclusive;				/* as basic.consume asked */
	struct entity *queue;			/* kept while it is started; NULL: not known */
	enum queue_kind kind;			/* of its queue */
	bool has_offset;			/* of a stream: it had messages */
	int64_t offset;				/* of the last one */
	bool looked;				/* at a message, for signs of a stream */
	bool in_doubt;				/* there were some */
	uint64_t largest;			/* message seen, in bytes as held */
	struct buf consume;			/* the frame of its basic.consume, owned */
	uint64_t credit_messages, credit_bytes; /* totals granted */
	uint64_t used_messages, used_bytes;
	struct list pending;	  /* struct held_message that wait for credit */
	struct charge charge;	  /* of pending ones */
	struct charge own_charge; /* of itself, while its client has it */
	uint16_t prefetch;	  /* for basic.qos */
	uint16_t own_prefetch;	  /* the most it may be */
	bool widening; /* begun anew with a larger one: the broker still knows it by its last tag, too */
	bool last_cancelled; /* that was cancelled */
	uint32_t turn;	     /* of channel->turns, when it was begun anew: part of its tag at the broker */
	uint32_t last_turn;  /* part of the one before */
	uint16_t first_prefetch; /* before that, under the tag as it was asked for */
	uint8_t tag_len;
	char tag[255]; /* as it was asked for */
};

/* A delivery that waits for its consumer's credit. */
struct held_message {
	struct list node;
	uint64_t lane_tag;
	size_t size; /* of this block, as charged */
	size_t method_len, header_len, body_len;
	uint8_t data[]; /* the payloads of method and header, and the body */
};
