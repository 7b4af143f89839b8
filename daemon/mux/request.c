#include "daemon/mux/audited.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/consumer.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/topology.h"
#include "daemon/mux/state/upstream.h"

#include "daemon/amqp/reply.h"
#include "daemon/base/log.h"
#include "daemon/mux/channel.h"
#include "daemon/mux/clash.h"
#include "daemon/mux/flow.h"
#include "daemon/mux/lane.h"
#include "daemon/mux/recorder.h"
#include "daemon/mux/state/touch.h"
#include "daemon/mux/tx.h"

#include <stdlib.h>

/*
 * What the deadline of a request that the broker never saw, or did not answer,
 * is called. AMQP has no code for it; the number is HTTP's.
 */
#define REQUEST_TIMED_OUT 408u

static void request_timer_fired(struct timer *timer, struct mono now);

static struct request *request_new(struct mux *mux, const struct amqc_method *method, uint16_t number,
				   enum amqc_result *ret_result)
{
	struct request *request = NULL;
	size_t len;

	buf_truncate(&mux->scratch, 0);
	*ret_result = amqc_method_append(&mux->scratch, number, method);
	if (*ret_result != AMQC_OK)
		return NULL;
	*ret_result = AMQC_INCOMPLETE;
	len = buf_len(&mux->scratch);
	if (buf_failed(&mux->scratch)) {
		mux->scratch.failed = false;
		return NULL;
	}
	request = calloc(1, sizeof(*request) + len);
	if (!request)
		return NULL;
	request->mux = mux;
	request->op.kind = OP_REQUEST;
	request->method = method->id;
	request->frame_len = len;
	memcpy(request->frame, mux->scratch.data + mux->scratch.start, len);
	list_init(&request->op.node);
	list_init(&request->session_node);
	list_init(&request->clash_node);
	list_init(&request->cancel_node);
	timer_init(&request->timer, request_timer_fired);
	*ret_result = AMQC_OK;
	return request;
}

enum amqc_result request_queue(struct channel *channel, const struct amqc_method *method, uint32_t id,
			       uint64_t timeout_usec, struct request **ret)
{
	struct mux *mux = channel->upstream->mux;
	enum amqc_result result;
	struct request *request = request_new(mux, method, 0, &result);

	if (!request)
		return result;
	request->id = id;
	request->op.channel = channel;
	request->channel_id = channel->id;
	if (channel->session && !charge_take(&request->charge, &channel->session->memory,
					     sizeof(*request) + request->frame_len)) {
		free(request);
		return AMQC_INCOMPLETE;
	}
	if (timeout_usec == 0)
		timeout_usec = mux->options.limits.request_timeout_usec;
	timerq_set(&mux->timers, &request->timer, mono_add_usec(mux->now, timeout_usec));
	if (channel->session && id != 0) {
		request->session = channel->session;
		list_append(&channel->session->requests, &request->session_node);
		channel->session->request_count++;
	}
	list_append(&channel->queue, &request->op.node);
	channel->requests++;
	*ret = request;
	return AMQC_OK;
}

struct request *request_send_own(struct lane *lane, const struct amqc_method *method)
{
	enum amqc_result result;
	struct request *request = request_new(lane->upstream->mux, method, lane->number, &result);

	if (!request)
		return NULL;
	if (method->id == AMQC_BASIC_CONSUME)
		lane->consumed = true;
	buf_append(&lane->control, request->frame, request->frame_len);
	if (buf_failed(&lane->control)) {
		lane->control.failed = false; /* what was in it is whole */
		free(request);
		return NULL;
	}
	request->before = lane->confirms.next;
	request->sent = true;
	list_append(&lane->awaiting, &request->op.node);
	return request;
}

void request_about(struct request *request, struct consumer *consumer)
{
	if (request->consumer)
		request->consumer->requests--;
	if (consumer)
		consumer->requests++;
	request->consumer = consumer;
}

bool request_decode_frame(struct span frame, struct amqc_method *ret)
{
	struct span payload = span_skip(frame, AMQC_FRAME_OVERHEAD - 1);

	if (payload.len == 0)
		return false;
	payload.len -= 1; /* the frame's end */
	return amqc_method_decode(payload, ret) == AMQC_OK;
}

bool request_is_named(const struct request *request, const struct fault *fault)
{
	return fault->class_id == AMQC_CLASS_ID(request->method) &&
	       fault->method_id == AMQC_METHOD_ID(request->method);
}

bool request_is_answered_by(const struct request *request, enum amqc_method_id reply)
{
	switch (request->method) {
	case AMQC_BASIC_GET:
		return reply == AMQC_BASIC_GET_OK || reply == AMQC_BASIC_GET_EMPTY;
	case AMQC_EXCHANGE_UNBIND:
		return reply == AMQC_EXCHANGE_UNBIND_OK;
	default:
		/* Everywhere else the reply's number is the next one. */
		return (uint32_t)reply == (uint32_t)request->method + 1;
	}
}

/* Another get of the session may go. */
static void get_ended(struct session *session)
{
	session->gets--;
	if (!session->gets_held)
		return;
	session->gets_held = false;
	flow_release(session->upstream);
}

/* code: 0 if it was answered. */
static void part(struct request *request, uint16_t code)
{
	if (!request->session)
		return;
	recorder_end(request->session, request->record, code != 0, code);
	list_unlink(&request->session_node);
	request->session->request_count--;
	charge_end(&request->charge);
	if (request->counted_get)
		get_ended(request->session);
	request->session = NULL;
}

static void settle(struct request *request, uint16_t code)
{
	timerq_clear(&request->mux->timers, &request->timer);
	part(request, code);
}

void request_settle(struct request *request)
{
	audited_left(request);
	settle(request, 0);
}

void request_leave(struct request *request)
{
	audited_left(request);
	part(request, 0);
}

void request_answer(struct request *request, const struct amqc_method *reply)
{
	struct session *session = request->session;

	settle(request, 0);
	if (session)
		audited_end(request, session, NULL);
	if (session && request->has_resume)
		session->ops->named(session->context, request->id, request->channel_id, reply,
				    span_make(request->resume, sizeof(request->resume)));
	else if (session)
		session->ops->reply(session->context, request->id, request->channel_id, reply);
}

void request_refuse(struct request *request, enum fault_scope scope, const struct fault *fault)
{
	struct session *session = request->session;

	settle(request, fault->code);
	if (session)
		audited_end(request, session, fault);
	if (session)
		session->ops->refuse(session->context, request->id, request->channel_id, scope, fault);
}

void request_sent_in_vain(struct request *request)
{
	request->sent = false;
	request->sent_before = true;
	clash_ended(request);
	if (request->counted_get && request->session)
		get_ended(request->session);
	request->counted_get = false;
}

void request_drop(struct request *request)
{
	struct channel *channel = request->op.channel;

	if (request->thing)
		request->thing->request = NULL;
	clash_ended(request);
	request_settle(request);
	request_about(request, NULL);
	list_unlink(&request->op.node);
	if (channel) {
		tx_request_gone(channel, request);
		channel->requests--;
		channel_touch(channel);
	}
	free(request);
}

static void request_timer_fired(struct timer *timer, struct mono now)
{
	struct request *request = container_of(timer, struct request, timer);
	/* In the channel's queue: nobody at the broker knows of it. */
	bool unsent = !request->sent;
	char why[160] = "";
	struct fault fault;

	if (unsent && !request->op.channel->lane)
		lanes_explain(request->op.channel->upstream, why, sizeof(why));
	fault = fault_make_retryable(
	    REQUEST_TIMED_OUT, "%s had no answer within its deadline: %s%s",
	    amqc_method_name(request->method),
	    unsent ? "it was not sent to the broker" : "the broker did not answer in time", why);

	request_refuse(request, SCOPE_REQUEST, &fault);
	if (request->op.channel)
		channel_request_timed_out(request, unsent);
}

bool request_id_is_taken(const struct session *session, uint32_t id)
{
	const struct request *request;

	if (id == 0)
		return true;
	list_foreach (request, &session->requests, session_node) {
		if (request->id == id)
			return true;
	}
	return false;
}
