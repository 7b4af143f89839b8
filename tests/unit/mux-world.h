/*
 * The multiplexer alone between a broker and a client that a test plays: no
 * socket, no clock. What mux says to either is kept as text, so that a test
 * reads as what happens: "1 queue.declare; " to the broker, lane number first;
 * "refuse 3 channel 501; " to the client.
 *
 * Lanes are opened by themselves: channel.open and confirm.select are answered
 * and not told.
 */
#pragma once

#include "tests/rig/hear.h"
#include "tests/rig/remote.h"

struct world {
	struct mux *mux;
	struct upstream *upstream;
	struct remote remote;
	struct ear ear;
	struct mono now;
	bool cannot_express;			/* the front refuses messages */
	uint64_t position;			/* of the client's output stream */
	uint64_t credit_messages, credit_bytes; /* totals told last; 0: none yet */
	char sent[8192];			/* to the broker, since world_sent() */
	char told[8192];			/* to clients, since world_told() */
};

extern struct world world;

/* A connected upstream with this frame_max and window of unconfirmed messages; 0: what is usual. */
void world_begin(uint32_t frame_max, uint32_t window);
void world_begin_unconnected(void);
/* A broker that says that it is this one. */
void world_begin_on(const char *product, const char *version);
/* The same, and one lane is open that nobody has yet. */
void world_begin_warm(const char *product, const char *version);
void world_connect(uint32_t frame_max);
void world_end(void);

struct session *world_session(void);

/* One turn, or several if there is something to answer. */
void world_turn(void);
void world_pass(uint64_t usec);

/* Run a turn first. What was said since the last call; valid until the next one. */
const char *world_sent(void);
const char *world_told(void);

/* From the broker. */
void world_method(uint16_t lane, const struct amqc_method *method);
void world_reply(uint16_t lane, enum amqc_method_id id);
void world_close_lane(uint16_t lane, uint16_t code);
void world_refuse_connection(void);
void world_confirm(uint16_t lane, uint64_t tag);
void world_deliver(uint16_t lane, const char *consumer_tag, uint64_t tag);
void world_get_ok(uint16_t lane, uint64_t tag);

/* From a client: request ids are the test's. */
void world_request(struct session *session, uint32_t id, uint32_t channel, const struct amqc_method *method,
		   uint64_t timeout_usec);
void world_declare(struct session *session, uint32_t id, uint32_t channel, const char *queue);
void world_consume(struct session *session, uint32_t id, uint32_t channel, uint32_t consumer,
		   uint64_t timeout_usec);
void world_cancel(struct session *session, uint32_t id, uint32_t channel, uint32_t consumer,
		  uint64_t timeout_usec);
void world_get(struct session *session, uint32_t id, uint32_t channel, bool no_ack, uint64_t timeout_usec);
void world_publish(struct session *session, uint32_t channel, const char *body);
