#include "daemon/mux/dispatch.h"

#include "daemon/amqp/reply.h"
#include "daemon/base/log.h"
#include "daemon/mux/backlog.h"
#include "daemon/mux/channel.h"
#include "daemon/mux/clash.h"
#include "daemon/mux/consumer.h"
#include "daemon/mux/delivery.h"
#include "daemon/mux/flow.h"
#include "daemon/mux/handout.h"
#include "daemon/mux/kinds.h"
#include "daemon/mux/lane.h"
#include "daemon/mux/publish.h"
#include "daemon/mux/queues.h"
#include "daemon/mux/quirks.h"
#include "daemon/mux/recovery.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/consumer.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/topology.h"
#include "daemon/mux/state/upstream.h"
#include "daemon/mux/subscribe.h"
#include "daemon/mux/taken.h"
#include "daemon/mux/topology.h"
#include "daemon/mux/tx.h"

/* The broker did what it may not; name is the method it did it with. */
static void broken(struct lane *lane, const char *what, const char *name)
{
	struct fault fault = fault_make_retryable(AMQC_UNEXPECTED_FRAME, "broker's %s on channel %u: %s",
						  name, lane->number, what);

	conn_end(&lane->upstream->conn, CONN_END_LOST, &fault);
}

static void on_close(struct lane *lane, const struct amqc_channel_close *close)
{
	struct fault fault =
	    fault_from_broker(close->reply_code, close->reply_text, close->class_id, close->method_id);
	struct channel *channel = lane->channel;

	if (!channel)
		log_upstream(LOG_LEVEL_INFO, lane->upstream,
			     "an error that came late, on channel %u, which nobody has: %s", lane->number,
			     fault.text);
	else if (channel == lane->upstream->housekeeper)
		queues_deletion_refused(lane->upstream, &fault);
	else if (!recovery_refused(channel, &fault))
		channel_fail_without_lane(channel, &fault);
	lane_closed_by_broker(lane);
	if (channel && channel == lane->upstream->housekeeper && !list_empty(&channel->queue))
		channel_send(channel);
}

static void on_confirm(struct lane *lane, uint64_t tag, bool multiple, bool nack)
{
	if (!confirms_settle(lane, tag, multiple, nack))
		broken(lane, "it confirms what was not sent", "basic.ack");
	clash_lane_confirmed(lane);
}

/* The broker ends a consumer: its queue is gone, for example. */
static void on_cancel(struct lane *lane, const struct amqc_basic_cancel *cancel)
{
	struct channel *channel = lane->channel;
	struct consumer *consumer = channel ? consumer_find_tag(channel, cancel->consumer_tag) : NULL;

	if (!consumer)
		return;
	if (channel->session && !consumer->gone)
		channel->session->ops->consumer_cancelled(
		    channel->session->context, channel->id, consumer->number,
		    SPAN_LITERAL("the broker cancelled the consumer: its queue "
				 "was deleted, or has no leader"));
	if (consumer->queue)
		topology_queue_gone(lane->upstream,
				    span_make(consumer->queue->name, consumer->queue->name_len));
	consumer_stop(consumer);
	consumer_free(consumer);
}

/* A consume that nobody waits for any more. */
static void undo_consume(struct lane *lane, const struct request *request, struct span tag)
{
	struct amqc_method cancel = {.id = AMQC_BASIC_CANCEL}, asked;
	struct request *own;

	cancel.basic_cancel.consumer_tag = tag;
	own = request_send_own(lane, &cancel);
	if (!own)
		log_error("no memory to cancel a consumer");
	else if (request_decode(request, &asked))
		clash_cancels(lane, own, asked.basic_consume.queue);
	lane_ready(lane);
}

/* It is undone, or another one begins. */
static void on_consume_ok(struct lane *lane, struct request *request, const struct amqc_method *reply)
{
	struct consumer *consumer = request->consumer;

	request_about(request, NULL); /* it is not asked for any more */
	if (consumer) {
		subscribe_started(consumer);
		if (consumer->restoring)
			recovery_subscribed(consumer);
		subscribe_widen_on(consumer);
		if (consumer->gone)
			consumer_end(consumer);
		return;
	}
	undo_consume(lane, request, reply->basic_consume_ok.consumer_tag);
}

static void on_cancel_ok(struct request *request)
{
	struct consumer *consumer = request->consumer;
	struct session *session = consumer ? consumer->channel->session : NULL;

	if (!consumer)
		return;
	if (consumer->widening && !request->op.channel) {
		subscribe_widened(consumer);
		return;
	}
	if (consumer->shrinking == SHRINK_CANCELLING && !consumer->gone && !request->op.channel) {
		consumer_shrink_on(consumer, true);
		return;
	}
	/* The request was answered at its deadline, and still came to be done. */
	if (session && !request_is_wanted(request) && !consumer->gone)
		session->ops->consumer_cancelled(session->context, consumer->channel->id, consumer->number,
						 SPAN_LITERAL("it was cancelled, late"));
	quirks_note_cancelled(consumer);
	request_about(request, NULL);
	consumer_stop(consumer);
	consumer_free(consumer);
}

/* consume-ok and cancel-ok name the consumer; without a name it is the first one. */
static bool fits_tag(const struct request *request, const struct amqc_method *reply)
{
	struct amqc_method asked;
	struct span tag;

	if (reply->id == AMQC_BASIC_CONSUME_OK)
		tag = reply->basic_consume_ok.consumer_tag;
	else if (reply->id == AMQC_BASIC_CANCEL_OK)
		tag = reply->basic_cancel_ok.consumer_tag;
	else
		return true;
	if (tag.len == 0 || !request_decode(request, &asked))
		return true;
	return span_equal(tag, reply->id == AMQC_BASIC_CONSUME_OK ? asked.basic_consume.consumer_tag
								  : asked.basic_cancel.consumer_tag);
}

/*
 * The request that reply answers: the first one that was sent, otherwise the
 * connection ends. But RabbitMQ's channel has basic.consume and basic.cancel
 * answered by way of its own mailbox, so that the answers to what was sent
 * behind them can come before theirs; and if it finds that the quorum queue is
 * being deleted (by another connection: clash.h), it answers the cancel at once, too.
 */
static struct request *take_awaiting(struct lane *lane, const struct amqc_method *reply)
{
	struct request *request;

	list_foreach (request, &lane->awaiting, op.node) {
		if (request_is_answered_by(request, reply->id) && fits_tag(request, reply))
			return request;
		if (request->method != AMQC_BASIC_CONSUME && request->method != AMQC_BASIC_CANCEL)
			break;
	}
	if (reply->id == AMQC_BASIC_CANCEL_OK)
		log_debug("upstream \"%s\": a basic.cancel-ok more than was asked for, on channel %u",
			  lane->upstream->options.name, lane->number);
	else
		broken(lane, "nobody asked for it", amqc_method_name(reply->id));
	return NULL;
}

static void on_reply(struct lane *lane, const struct amqc_method *reply)
{
	struct request *request = take_awaiting(lane, reply);
	bool is_barrier = request && request == lane->barrier;

	if (!request)
		return;
	queues_request_done(request);
	if (request->op.channel && request->op.channel == lane->upstream->recovery.maker)
		recovery_made(lane, request);
	else if (request->op.channel)
		topology_done(lane->upstream, request->op.channel->session, request->channel_id,
			      span_make(request->frame, request->frame_len));
	kinds_done(lane->upstream, request);
	if (reply->id == AMQC_QUEUE_DELETE_OK)
		clash_deleted(lane->upstream, request);
	if (reply->id == AMQC_CHANNEL_FLOW_OK && !clash_answered(lane->upstream, request))
		flow_answered(lane->upstream);
	if (reply->id == AMQC_BASIC_CONSUME_OK)
		on_consume_ok(lane, request, reply);
	else if (reply->id == AMQC_BASIC_CANCEL_OK)
		on_cancel_ok(request);
	if (lane->tx.on)
		tx_answered(lane, request);
	request_answer(request, reply);
	request_drop(request);
	if (reply->id == AMQC_BASIC_CONSUME_OK)
		lane_ready(lane); /* a cancel may have waited for it */
	if (reply->id == AMQC_CHANNEL_OPEN_OK)
		lane_answered(lane);
	if (is_barrier)
		lane_barrier_passed(lane);
}

static void on_got(struct lane *lane)
{
	struct request *request = take_awaiting(lane, &lane->in.method);
	struct channel *channel = lane->channel;

	if (!request)
		return;
	list_unlink(&request->op.node);
	if (channel)
		handout_got(request, channel, &lane->in);
	request_drop(request);
}

static void on_returned(struct lane *lane)
{
	const struct amqc_basic_return *method = &lane->in.method.basic_return;
	struct publish *publish = confirms_find_returned(lane);
	struct mux_content content = {&lane->in.header.properties, lane->in.body};

	if (publish)
		publish_returned(publish, method, &content);
}

static void on_content(struct lane *lane, enum assemble_result result)
{
	switch (result) {
	case ASSEMBLE_MORE:
		return;
	case ASSEMBLE_FAULT:
		broken(lane, "frames of a message do not fit together", "content");
		return;
	case ASSEMBLE_NO_MEMORY:
		broken(lane, "no memory for a message", "content");
		return;
	case ASSEMBLE_WHOLE:
		break;
	}
	if (lane->in.method.id == AMQC_BASIC_DELIVER && lane->channel)
		handout_deliver(lane->channel, &lane->in);
	else if (lane->in.method.id == AMQC_BASIC_GET_OK)
		on_got(lane);
	else if (lane->in.method.id == AMQC_BASIC_RETURN && lane->tx.on && lane->channel)
		tx_returned(lane);
	else if (lane->in.method.id == AMQC_BASIC_RETURN)
		on_returned(lane);
	else if (lane->in.method.id == AMQC_BASIC_DELIVER)
		lane_retire(lane); /* nobody consumes there: with it the message goes back */
	assemble_done(&lane->in);
}

static void on_method(struct lane *lane, const struct amqc_frame *frame, const struct amqc_method *method)
{
	if (amqc_method_has_content(method->id)) {
		on_content(lane, assemble_method(&lane->in, frame->payload));
		return;
	}
	switch (method->id) {
	case AMQC_CHANNEL_CLOSE:
		on_close(lane, &method->channel_close);
		return;
	case AMQC_BASIC_ACK:
		on_confirm(lane, method->basic_ack.delivery_tag, method->basic_ack.multiple, false);
		return;
	case AMQC_BASIC_NACK:
		on_confirm(lane, method->basic_nack.delivery_tag, method->basic_nack.multiple, true);
		return;
	case AMQC_BASIC_CANCEL:
		on_cancel(lane, &method->basic_cancel);
		return;
	case AMQC_CHANNEL_FLOW: {
		struct amqc_method reply = {.id = AMQC_CHANNEL_FLOW_OK};

		reply.channel_flow_ok.active = method->channel_flow.active;
		lane_control(lane, &reply);
		return;
	}
	default:
		on_reply(lane, method);
	}
}

/*
 * What its session could not hold is not gathered either; a return is no larger
 * than what was published. The broker sends one message after the other, so that
 * one at a time is gathered.
 */
static void on_header(struct lane *lane, enum assemble_result result)
{
	if (result == ASSEMBLE_MORE && lane->in.method.id != AMQC_BASIC_RETURN &&
	    !handout_fits(lane->channel, lane->in.header.body_size))
		assemble_skip_body(&lane->in);
	on_content(lane, result);
}

/* After our channel.close only its answer counts, or a close that crossed it. */
static void on_closing_lane(struct lane *lane, const struct amqc_frame *frame)
{
	struct amqc_method method;

	if (frame->type != AMQC_FRAME_METHOD || amqc_method_decode(frame->payload, &method) != AMQC_OK)
		return;
	if (method.id == AMQC_CHANNEL_CLOSE_OK)
		lane_close_confirmed(lane);
	else if (method.id == AMQC_CHANNEL_CLOSE)
		lane_closed_by_broker(lane);
}

/*
 * RabbitMQ's reader closes a channel that has failed by itself, while what the
 * channel said before may still be on its way (rabbit_writer): deliveries come
 * behind close-ok. The number is not used again before all others were.
 */
static void off_lanes(struct upstream *upstream, const struct amqc_frame *frame)
{
	struct fault fault;

	if (frame->channel <= upstream->lane_highest) {
		log_debug("upstream \"%s\": a frame that came late, on channel %u, which is closed",
			  upstream->options.name, frame->channel);
		return;
	}
	fault = fault_make_retryable(AMQC_CHANNEL_ERROR, "broker used channel %u, which was never opened",
				     frame->channel);
	conn_end(&upstream->conn, CONN_END_LOST, &fault);
}

void dispatch_frame(struct upstream *upstream, const struct amqc_frame *frame)
{
	struct lane *lane = lane_find(upstream, frame->channel);
	struct amqc_method method;
	enum amqc_result result;

	if (!lane) {
		off_lanes(upstream, frame);
		return;
	}
	if (lane->state == LANE_CLOSING) {
		on_closing_lane(lane, frame);
		return;
	}
	switch (frame->type) {
	case AMQC_FRAME_METHOD:
		result = amqc_method_decode(frame->payload, &method);
		if (result == AMQC_OK)
			on_method(lane, frame, &method);
		else
			broken(lane, amqc_strerror(result), "method");
		return;
	case AMQC_FRAME_HEADER:
		on_header(lane, assemble_header(&lane->in, frame->payload));
		return;
	case AMQC_FRAME_BODY:
		on_content(lane, assemble_body(&lane->in, frame->payload));
		return;
	default:
		broken(lane, "of a type that has no place there", "frame");
	}
}
