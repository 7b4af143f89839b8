/*
 * A mux in a test: one upstream, whose broker is a script (frames that mux has
 * written are taken one by one, replies are encoded with the codec), and
 * sessions whose events are noted down in order.
 */
#pragma once

#include "daemon/amqp/reply.h"
#include "tests/rig/hear.h"
#include "tests/rig/remote.h"

#include <check.h>

#define RIG_EVENTS_MAX 512u
#define RIG_SESSIONS_MAX 8u

struct rig_event {
	enum rig_kind kind;
	struct mux_channel_id channel;
	uint32_t request;
	uint32_t consumer;
	enum amqc_method_id reply;
	uint16_t code; /* of a fault */
	bool retryable;
	enum fault_scope scope;
	enum outcome_kind outcome;
	uint64_t first, last; /* numbers of publishes; totals of credit */
	uint64_t tag;
	size_t body_len;
	char queue[256];	       /* of declare-ok */
	char resume[64];	       /* of one that mux made the name for */
	char text[FAULT_TEXT_MAX + 1]; /* of a fault */
};

struct rig_session {
	struct ear ear;
	struct session *session; /* NULL when it has ended */
	struct rig_event events[RIG_EVENTS_MAX];
	size_t event_count, event_next;
	uint64_t position;
	uint32_t last_request;
};

struct rig {
	struct mux *mux;
	struct upstream *upstream;
	struct remote remote; /* heard: what mux has sent and the test has not looked at */
	struct mono now;
	struct mux_options options;
	struct upstream_options upstream_options;
	uint16_t heartbeat_sec; /* that the broker wants; 0: none */
	unsigned int dials, hang_ups, changes;
	bool has_scout; /* before rig_start() */
	unsigned int scout_dials, scout_hang_ups;
	size_t dialled;		 /* the endpoint asked for last */
	struct buf last_words;	 /* what was in the output when mux hung up */
	uint64_t published[256]; /* by lane: publishes since it was opened */
	uint64_t random;	 /* handed out as it is, rising by one */
	struct rig_session sessions[RIG_SESSIONS_MAX];
	size_t session_count;
	bool (*authorize)(const struct amqc_method *method);
};

/* A frame that mux sent; views are valid until the next is taken. */
struct rig_frame {
	uint8_t type;
	uint16_t lane;
	struct amqc_method method;
	struct span payload;
};

/* Fills in defaults, to be changed before rig_start(). */
void rig_init(struct rig *rig);
void rig_start(struct rig *rig);
void rig_free(struct rig *rig);

/* The dial and the handshake succeed. */
void rig_connect(struct rig *rig, uint16_t channel_max, uint32_t frame_max);
/* rig_init with no lanes kept warm, rig_start, rig_connect(rig, 100, 131072). */
void rig_up(struct rig *rig);

void rig_turn(struct rig *rig);
void rig_pass(struct rig *rig, uint64_t usec);

/* Takes the next frame; false: there is none. Heartbeats are left out. */
bool rig_next(struct rig *rig, struct rig_frame *ret);
/* The next frame is this method; returns its lane. */
uint16_t rig_expect(struct rig *rig, enum amqc_method_id id, struct rig_frame *ret);
/* No frame is left. */
void rig_expect_silence(struct rig *rig);

void rig_say(struct rig *rig, uint16_t lane, const struct amqc_method *method);
/* A method without arguments that matter. */
void rig_say_id(struct rig *rig, uint16_t lane, enum amqc_method_id id);
/* A method with a content of these bytes in one body frame. */
void rig_say_content(struct rig *rig, uint16_t lane, const struct amqc_method *method, struct span body);
void rig_ack(struct rig *rig, uint16_t lane, uint64_t tag, bool multiple);
void rig_deliver(struct rig *rig, uint16_t lane, const char *consumer_tag, uint64_t tag, const char *body);
void rig_close_lane(struct rig *rig, uint16_t lane, uint16_t code, const char *text);
/* Takes channel.open and confirm.select and answers both; returns the lane. */
uint16_t rig_open_lane(struct rig *rig);
/* Answers all requests that were sent as if they had succeeded, publishes with acks, until nothing comes. */
void rig_serve(struct rig *rig);
/* The same but for frames that the function says it has handled itself. */
void rig_serve_but(struct rig *rig, bool (*handled)(const struct rig_frame *frame));
void rig_lose(struct rig *rig);
/* A session with channels 1 to so many open, and room for what is beyond the standing credit. */
struct rig_session *rig_ready(struct rig *rig, uint32_t channels);

struct rig_session *rig_session(struct rig *rig);
struct rig_session *rig_session_of(struct rig *rig, uint32_t pid);
void rig_end(struct rig_session *session);

/* The next event that is not of credit or of the upstream; RIG_NOTHING: none. */
const struct rig_event *rig_event(struct rig_session *session);
const struct rig_event *rig_event_of(struct rig_session *session, enum rig_kind kind);
void rig_expect_no_event(struct rig_session *session);
/* The last of a kind, whatever came between; NULL: none. */
const struct rig_event *rig_last(const struct rig_session *session, enum rig_kind kind);

/* Requests; each returns its id. */
uint32_t rig_request(struct rig_session *session, uint32_t channel, const struct amqc_method *method,
		     uint64_t timeout_usec);
uint32_t rig_declare(struct rig_session *session, uint32_t channel, const char *queue, bool exclusive);
uint32_t rig_consume(struct rig_session *session, uint32_t channel, uint32_t consumer, const char *queue,
		     const char *tag, uint64_t credit);
uint32_t rig_cancel(struct rig_session *session, uint32_t channel, uint32_t consumer, uint64_t timeout_usec);
uint32_t rig_get(struct rig_session *session, uint32_t channel, const char *queue);
void rig_publish(struct rig_session *session, uint32_t channel, const char *key, struct span body);
