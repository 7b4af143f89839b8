/*
 * The answers to requests, and what each means for its channel: also for the
 * time when it has to be done again in another session.
 */
#include "config.h"

#include "client/answer.h"
#include "client/admin.h"
#include "client/chan.h"
#include "client/consume.h"
#include "client/declared.h"
#include "client/error.h"
#include "client/ops.h"
#include "client/receive.h"
#include "client/request.h"
#include "client/wire.h"

#include "proto/buf.h"
#include "proto/muxd.pb-c.h"

#include <string.h>

static void undo_consume(struct request *request)
{
	struct buf op = BUF_INIT;

	wire_put_number(&op, 1, request->consumer);
	if (buf_failed(&op) ||
	    request_send_detached(request->channel, MUXD__V1__CLIENT_FRAME__OP_CANCEL, buf_span(&op)) < 0)
		receive_no_memory(request->channel->c);
	buf_deinit(&op);
}

static void on_consuming(struct request *request, const Muxd__V1__Consuming *answer)
{
	struct consumer *consumer;

	if (!request->channel || !request->consumer || request->restores)
		return;
	if (request->abandoned) {
		if (request->channel->state == CHANNEL_OPEN)
			undo_consume(request);
		return;
	}
	consumer = consumer_find(request->channel, request->consumer);
	if (!consumer)
		return;
	consumer->started = true;
	consumer->prefetch = request->channel->qos_prefetch;
	if (answer->has_consumer_tag)
		text_copy(consumer->tag, binary_span(&answer->consumer_tag));
}

static void on_request_error(struct muxc *c, struct request *request, const Muxd__V1__Error *error)
{
	struct muxc_channel *channel = request->channel;

	error_from_wire(&request->error, error, channel ? channel->number : 0);
	request->result = request->error.error;
	if (request->restores)
		return;
	if (request->error.code == 404)
		declared_gone(c, request);
	if (channel && request->error.closes_channel)
		channel_doom(channel, &request->error);
}

/* What was done, for the time when it has to be done again. */
static void on_success(struct muxc *c, struct request *request)
{
	struct muxc_channel *channel = request->channel;

	if (!channel)
		return;
	switch (request->op) {
	case MUXD__V1__CLIENT_FRAME__OP_CHANNEL_CLOSE:
		channel->close_done = true;
		return;
	case MUXD__V1__CLIENT_FRAME__OP_QOS:
		*(request->global ? &channel->has_qos_global : &channel->has_qos) = true;
		*(request->global ? &channel->qos_global : &channel->qos_prefetch) = request->prefetch;
		return;
	case MUXD__V1__CLIENT_FRAME__OP_TX_SELECT:
	case MUXD__V1__CLIENT_FRAME__OP_TX_COMMIT:
	case MUXD__V1__CLIENT_FRAME__OP_TX_ROLLBACK:
	case MUXD__V1__CLIENT_FRAME__OP_RECOVER:
		transaction_answered(channel, request->op);
		return;
	default:
		if (declared_answered(c, request) < 0)
			receive_no_memory(c);
	}
}

static void on_queue_declared(struct request *request, const Muxd__V1__QueueDeclared *answer)
{
	struct span resume = binary_span(&answer->resume);

	request->count = answer->message_count;
	request->consumers = answer->consumer_count;
	text_copy(request->name, binary_span(&answer->queue));
	if (resume.len > 0 && resume.len <= RESUME_MAX) {
		memcpy(request->resume, resume.data, resume.len);
		request->resume_len = resume.len;
	}
}

void answer_received(struct muxc *c, const struct received *frame, struct request *request)
{
	Muxd__V1__ServerFrame *answer = receive_unpack(c, frame->header);

	if (!answer)
		return;
	switch (answer->event_case) {
	case MUXD__V1__SERVER_FRAME__EVENT_ERROR:
		on_request_error(c, request, answer->error);
		break;
	case MUXD__V1__SERVER_FRAME__EVENT_QUEUE_DECLARED:
		on_queue_declared(request, answer->queue_declared);
		break;
	case MUXD__V1__SERVER_FRAME__EVENT_COUNTED:
		request->count = answer->counted->message_count;
		break;
	case MUXD__V1__SERVER_FRAME__EVENT_CONSUMING:
		on_consuming(request, answer->consuming);
		break;
	case MUXD__V1__SERVER_FRAME__EVENT_STATUS:
	case MUXD__V1__SERVER_FRAME__EVENT_SESSIONS:
	case MUXD__V1__SERVER_FRAME__EVENT_CHANNELS:
	case MUXD__V1__SERVER_FRAME__EVENT_RECORDER:
	case MUXD__V1__SERVER_FRAME__EVENT_RELOADED:
		request->result = admin_keep(request, frame->header);
		break;
	default:
		break;
	}
	if (answer->event_case == MUXD__V1__SERVER_FRAME__EVENT_ERROR) {
		if (request->op == MUXD__V1__CLIENT_FRAME__OP_CHANNEL_CLOSE && request->channel)
			request->channel->close_done = true;
	} else if (!request->restores) {
		on_success(c, request);
	}
	request_done(c, request);
}
