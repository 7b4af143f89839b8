/* Requests, and calls that wait for their answer; see request.c. */
#pragma once

#include "client/error.h"
#include "client/muxclient.h"

#include "proto/buf.h"

#include <stdbool.h>

#define REQUESTS_STANDING_MAX 64u
#define RESUME_MAX 64u /* bytes of a token that are kept */

struct request {
	struct request *next;
	uint32_t id;
	uint32_t op;		      /* field number in ClientFrame */
	uint32_t consumer;	      /* of consume */
	struct muxc_channel *channel; /* one ref; NULL: the daemon's */
	bool done;
	bool abandoned;		   /* nobody waits any more: the answer is undone and freed */
	bool sent;		   /* in this session */
	bool restores;		   /* made by restore.c */
	struct declared *declared; /* that it declares again */
	uint64_t after;		   /* the channel's publishes up to here go before it */
	uint64_t timeout_usec;
	uint64_t deadline_usec;
	struct buf body;   /* the encoded operation, until the answer */
	uint32_t prefetch; /* of qos */
	bool global;
	int result;
	struct muxc_error error;
	uint32_t count; /* messages */
	uint32_t consumers;
	char name[SHORT_TEXT_MAX + 1]; /* of the declared queue */
	uint8_t resume[RESUME_MAX];
	size_t resume_len;
	struct muxc_message *message; /* got */
	struct admin_answer *answer;  /* of an admin call; owned */
};

/* One synchronous call; on its caller's stack. */
struct call {
	struct muxc *c;
	struct muxc_channel *channel;
	uint64_t timeout_usec;
	struct muxc_error *error;
	uint64_t deadline_usec;
	struct buf op; /* the encoded operation */
	struct request *request;
};

/*
 * call_begin() locks, waits for room, and leaves call->op to be filled with
 * the encoded operation. call_end() sends it, waits, and unlocks: 0, or the
 * error; the answer is in call->request until call_free(). After a failed
 * call_begin() there is nothing to end.
 */
int call_begin(struct call *call, uint32_t op);
int call_end(struct call *call);
void call_free(struct call *call);
/* Instead of call_end(): nothing is sent. */
void call_abort(struct call *call);
/* A request that nobody waits for; after all that was published. */
int request_send_detached(struct muxc_channel *channel, uint32_t op, struct span body);
/* The same for restore.c, which fills it in and sends it; channel may be NULL. NULL: no memory, or the end.
 */
struct request *request_restoring(struct muxc *c, struct muxc_channel *channel, uint32_t op);
/* Sends it now. -ENOMEM; -EMSGSIZE. */
int request_send(struct muxc *c, struct request *request, uint32_t number);
/* Sends it now, or when all before it was sent. -ENOMEM, -EMSGSIZE. */
int request_submit(struct muxc *c, struct request *request);
/* The session is gone: what can be is made again, the rest ends. */
void requests_lost(struct muxc *c);
void request_drop(struct muxc *c, struct request *request);
/* The unanswered request of that number, or NULL. */
struct request *request_find(struct muxc *c, uint32_t id);
/* The answer is there; ends the request. */
void request_done(struct muxc *c, struct request *request);
void request_free(struct muxc *c, struct request *request);
/* Ends all requests (of a channel, or with NULL all there are). */
void requests_fail(struct muxc *c, struct muxc_channel *channel, const struct muxc_error *error);
