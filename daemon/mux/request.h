/*
 * A request: a method that the broker answers, and that is answered here
 * exactly once, by its reply, by a refusal, or at its deadline.
 *
 * A request is in its channel's queue until it is sent and in its lane's
 * awaiting list from then on. When its session is answered early (deadline) or
 * gone, it stays there without a session, so that the broker's replies keep
 * their order and what it did can be undone.
 */
#pragma once

#include "daemon/mux/state.h"
#include "daemon/mux/state/op.h"

/*
 * Makes a request and puts it into the channel's queue. The session is the
 * channel's, the deadline begins now. AMQC_OK and *ret; or AMQC_TOO_LONG (a
 * name of more than 255 bytes) or AMQC_INCOMPLETE (no memory), and nothing was
 * made.
 */
enum amqc_result request_queue(struct channel *channel, const struct amqc_method *method, uint32_t id,
			       uint64_t timeout_usec, struct request **ret);

/* Sends one of our own, that nobody is told of, before anything queued. NULL: no memory. */
struct request *request_send_own(struct lane *lane, const struct amqc_method *method);

/* It asks for this consumer, or ends it; NULL: it does not, or not any more. */
void request_about(struct request *request, struct consumer *consumer);

/* The method of a frame that was encoded here, with its end; spans are views of it. False: it is none. */
bool request_decode_frame(struct span frame, struct amqc_method *ret);

static inline bool request_decode(const struct request *request, struct amqc_method *ret)
{
	return request_decode_frame(span_make(request->frame, request->frame_len), ret);
}

/* Whether the broker's error says that it was a method like this one. */
bool request_is_named(const struct request *request, const struct fault *fault);

/* True if reply may answer it. */
bool request_is_answered_by(const struct request *request, enum amqc_method_id reply);

/* Whether anybody still waits for the answer. */
static inline bool request_is_wanted(const struct request *request)
{
	return request->session != NULL;
}

/* Tells the session, if it waits: the request is settled for it, but not freed. */
void request_answer(struct request *request, const struct amqc_method *reply);
void request_refuse(struct request *request, enum fault_scope scope, const struct fault *fault);

/* The session was answered by other means (a got message). */
void request_settle(struct request *request);

/* The session is gone: if it is not sent within its deadline, it is dropped. */
void request_leave(struct request *request);

/* It was sent on a lane that is gone, and is sent again. */
void request_sent_in_vain(struct request *request);

/* Takes it out of wherever it is and frees it, without a word. */
void request_drop(struct request *request);

/* True if the id is in use or 0. */
bool request_id_is_taken(const struct session *session, uint32_t id);
