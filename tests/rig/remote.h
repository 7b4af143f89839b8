/*
 * The broker's end of a connection of mux's, in a test that plays the broker:
 * what mux has sent comes out of it frame by frame, and what is said goes to
 * mux, in pieces of any size. An upstream has two such connections: its own,
 * and its scout's.
 *
 * What is said with one of these functions is well formed; other bytes go
 * through remote_feed().
 */
#pragma once

#include "daemon/amqp/content.h"
#include "daemon/mux/mux.h"

struct remote {
	struct upstream *upstream;
	bool is_scout;
	bool greeted;	  /* the protocol header came */
	struct buf heard; /* from mux, and not taken yet */
	struct buf left;  /* said to mux, which has not consumed it */
};

void remote_init(struct remote *remote, struct upstream *upstream, bool is_scout);
void remote_deinit(struct remote *remote);

/* What mux asked for is there, or is not; what was there is gone, with all that was on its way. */
void remote_dialled(struct remote *remote);
void remote_dial_failed(struct remote *remote, const char *why);
void remote_lost(struct remote *remote, const char *why);
/* Mux hung up: nothing of before is heard, and nothing waits for mux any more. */
void remote_forget(struct remote *remote);

/* ------------------------------------------------------------------ from mux */

/* Mux's side of it. */
struct buf *remote_output(const struct remote *remote);

/* Takes so many bytes of that at most. */
void remote_collect(struct remote *remote, size_t most);

/*
 * The next whole frame, of frame_max bytes at most, behind the protocol header;
 * false: there is none. The payload is valid until more is collected.
 */
bool remote_next(struct remote *remote, uint32_t frame_max, struct amqc_frame *ret);

/* The reply that a request hopes for, with views of the request; false: it has none. */
bool remote_reply_to(const struct amqc_method *request, struct amqc_method *ret);

/* ------------------------------------------------------------------ to mux */

/* The bytes, behind what is left. Returns how many are left then. */
size_t remote_feed(struct remote *remote, struct span bytes);

void remote_say(struct remote *remote, uint16_t lane, const struct amqc_method *method);
/* A method whose arguments do not matter. */
void remote_say_id(struct remote *remote, uint16_t lane, enum amqc_method_id id);
/* A method with a content, in body frames of frame_max bytes. */
void remote_say_content(struct remote *remote, uint16_t lane, const struct amqc_method *method,
			struct span body, uint32_t frame_max);

/* The beginning of a connection: a broker of that product and version, NULL: it does not say; and its limits.
 */
void remote_say_start(struct remote *remote, const char *product, const char *version);
void remote_say_tune(struct remote *remote, uint16_t channel_max, uint32_t frame_max, uint16_t heartbeat_sec);

void remote_ack(struct remote *remote, uint16_t lane, uint64_t tag, bool multiple);
void remote_deliver(struct remote *remote, uint16_t lane, const char *consumer_tag, uint64_t tag,
		    struct span body);
void remote_close_lane(struct remote *remote, uint16_t lane, uint16_t code, const char *text);
