/*
 * One life of the AMQP connection to a broker: handshake, heartbeats, channel
 * 0, and frames for the lanes, which it hands up. Pure: bytes in, bytes out.
 *
 *	idle -> handshake -> open -> closing -> ended
 *
 * A connection that ended reports why, once, and ignores everything after.
 */
#pragma once

#include "daemon/base/timerq.h"
#include "daemon/mux/handshake.h"

enum conn_state {
	CONN_IDLE, /* no transport */
	CONN_HANDSHAKE,
	CONN_OPEN,
	CONN_CLOSING, /* connection.close was sent */
	CONN_ENDED
};

enum conn_end {
	CONN_END_LOST,	  /* transport gone, silent peer, garbage, or the broker closed it: dial again */
	CONN_END_REFUSED, /* the broker does not want us: dial again, but slowly */
	CONN_END_CLOSED	  /* we closed it, and the broker agreed */
};

struct conn_ops {
	void (*opened)(void *context);
	/* A whole frame for a lane (channel not 0). May end the connection. */
	void (*frame)(void *context, const struct amqc_frame *frame);
	void (*blocked)(void *context, bool blocked, struct span reason);
	/* The transport is of no use any more. */
	void (*ended)(void *context, enum conn_end end, const struct fault *fault);
};

struct conn {
	enum conn_state state;
	struct handshake handshake;
	struct buf out;	       /* to the broker */
	struct mono last_rx;   /* when bytes came */
	struct mono last_tx;   /* when bytes were appended to out for the last time */
	struct timer timer;    /* heartbeats */
	struct mono due;       /* when it is to fire */
	struct timerq *timers; /* borrowed */
	const struct conn_ops *ops;
	void *context;
	bool garbage_seen; /* the first bytes were looked at */
	bool overslept;	   /* the timer came late: what the peer sent meanwhile may not have been read */
};

void conn_init(struct conn *conn, struct timerq *timers, const struct conn_ops *ops, void *context);
void conn_deinit(struct conn *conn);

/* The transport is there: begins the handshake. */
void conn_begin(struct conn *conn, const struct handshake_options *options, struct mono now);

/* Consumes whole frames; see upstream_feed() in mux.h. */
size_t conn_feed(struct conn *conn, struct span bytes, struct mono now);

/* Sends connection.close; ended() comes when the broker has answered. */
void conn_close(struct conn *conn, uint16_t code, const char *text);

/* Ends it from outside: the transport is gone, or something above found a fault. Calls ended(). */
void conn_end(struct conn *conn, enum conn_end end, const struct fault *fault);

/* Back to idle, without a word. */
void conn_reset(struct conn *conn);

/* There is no memory for something that must be sent: the connection ends as soon as it is pumped. */
static inline void conn_cannot_write(struct conn *conn)
{
	conn->out.failed = true;
}

/* Bytes were appended to out: no heartbeat is due for a while. */
static inline void conn_wrote(struct conn *conn, struct mono now)
{
	conn->last_tx = now;
}

static inline bool conn_is_open(const struct conn *conn)
{
	return conn->state == CONN_OPEN;
}
