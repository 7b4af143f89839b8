/*
 * Which deliveries are settled, and which a socket has taken.
 */
#pragma once

#include "daemon/base/bits.h"
#include "daemon/base/charge.h"
#include "daemon/mux/mux.h"

enum slot_state {
	SLOT_DONE,    /* settled, or needs nothing */
	SLOT_PENDING, /* waits in its consumer for credit */
	SLOT_OUT,     /* with the client */
	SLOT_TAKEN,   /* auto-ack: handed over, the socket has not taken it */
	SLOT_ACKED,   /* acked by the client; the broker is told at the end of the turn */
	/* On a lane in tx mode: */
	SLOT_TX,     /* settled by the client in the open transaction */
	SLOT_BACK,   /* to be given back by us when something is sent next */
	SLOT_TX_BACK /* given back by us in the open transaction */
};

/* Beside the state: one of a consumer's, that counts for qos while the client has it. */
#define SLOT_COUNTS 0x20u

/* How a message that cannot be kept leaves its slot; beside the state. */
enum slot_kind {
	SLOT_RETURNABLE = 0,
	SLOT_STREAM = 0x40, /* the broker has it anyway, and closes the connection for a nack */
	SLOT_DOUBT = 0x80   /* perhaps of a stream: settled by its client alone, or with the lane */
};

/*
 * Deliveries on the channel's lane: the slot of lane tag first + i. Between
 * the first and the last that are open there may be any number of settled ones.
 */
struct deliveries {
	void *block;   /* owned; for the sets and the ring */
	uint8_t *ring; /* enum slot_state and slot_kind, SLOT_COUNTS */
	size_t mask;
	struct bits unsettled; /* the slots that are not DONE, */
	struct bits out;       /* OUT, */
	struct bits settling;  /* ACKED: by their places in the ring */
	struct charge charge;  /* on the session, for a block that has grown */
	uint64_t first, next;  /* lane tags; as in struct confirms */
	uint64_t lane_base;    /* the lane's last tag before this lease */
	uint64_t client_base;  /* the client's last tag before it */
	uint64_t stale;	       /* the client's tags up to this are of connections that are gone */
	uint64_t open;	       /* slots that are not DONE: they pin the lane */
	uint64_t acked;	       /* slots that are ACKED */
	uint64_t unhurried;    /* of the ACKED ones, those of auto-ack consumers */
	bool streams;	       /* some are not SLOT_RETURNABLE */
	uint64_t tx;	       /* slots that are SLOT_TX or SLOT_TX_BACK */
	uint64_t back;	       /* slots that are SLOT_BACK */
	uint64_t counted;      /* slots with SLOT_COUNTS that the client has */
	bool limited;	       /* something may wait for channel->unacked_max */
};

/* Something that is done when the session's socket has taken its bytes. */
struct taken {
	uint64_t position; /* in the output stream */
	struct mux_channel_id channel;
	uint64_t tag;	     /* auto-ack, as a client would name it; 0: none */
	uint64_t cost_bytes; /* publish credit of a returned message; 0: none */
};
