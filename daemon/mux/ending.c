/* How channels end by an error, and what of them outlives their lane: see channel.h. */
#include "daemon/mux/blame.h"
#include "daemon/mux/channel.h"
#include "daemon/mux/consumer.h"
#include "daemon/mux/delivery.h"
#include "daemon/mux/lane.h"
#include "daemon/mux/publish.h"
#include "daemon/mux/queues.h"
#include "daemon/mux/replay.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/consumer.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/topology.h"
#include "daemon/mux/state/touch.h"
#include "daemon/mux/state/upstream.h"
#include "daemon/mux/topology.h"
#include "daemon/mux/tx.h"

void channel_free_consumers(struct channel *channel)
{
	while (!list_empty(&channel->consumers)) {
		struct consumer *consumer = container_of(channel->consumers.next, struct consumer, node);

		consumer_free(consumer);
	}
}

/* Answers everything that is queued and not sent. */
static void end_queue(struct channel *channel, const struct fault *fault)
{
	struct op *op;

	while ((op = list_first(&channel->queue, struct op, node))) {
		if (op->kind == OP_PUBLISH) {
			publish_discard(op_publish(op), fault);
			continue;
		}
		if (op->kind == OP_SETTLE) {
			tx_settle_drop(channel, op);
			continue;
		}
		queues_request_failed(op_request(op));
		request_refuse(op_request(op), SCOPE_CHANNEL, fault);
		request_drop(op_request(op));
	}
}

/* Answers the requests that were sent; they stay for the order of what the broker may still say. */
static void end_sent_requests(struct channel *channel, const struct fault *fault)
{
	struct request *request;

	list_foreach (request, &channel->lane->awaiting, op.node) {
		if (request->op.channel != channel)
			continue;
		queues_request_failed(request);
		request_refuse(request, SCOPE_CHANNEL, fault);
		tx_request_gone(channel, request);
		request_about(request, NULL);
		request->op.channel = NULL;
		channel->requests--;
	}
}

void channel_fail_without_lane(struct channel *channel, const struct fault *given)
{
	struct fault fault = *given; /* may be the channel's own */

	blame_forget(channel);
	tx_end(channel, &fault);
	if (channel->lane) {
		confirms_end(channel->lane, &fault);
		end_sent_requests(channel, &fault);
	}
	end_queue(channel, &fault);
	channel_free_consumers(channel);
	delivery_reset(channel);
	outcome_flush(channel);
	timerq_clear(&channel->upstream->mux->timers, &channel->timer);
	list_unlink(&channel->lane_node);
	list_unlink(&channel->recovery_node);
	channel_touch(channel);
	if (channel->state == CHANNEL_OPEN) {
		channel->state = CHANNEL_FAILED;
		channel->fault = fault;
		if (channel->session)
			channel->session->ops->channel_ended(channel->session->context, channel->id, &fault);
	}
}

/*
 * What was sent is done before the lane is closed, and nobody will hear the
 * answers: exclusive queues are there, and what was to be deleted is gone.
 */
static void keep_claims(struct channel *channel)
{
	struct request *request;

	if (!channel->lane)
		return;
	list_foreach (request, &channel->lane->awaiting, op.node) {
		if (request->op.channel != channel)
			continue;
		if (request->method == AMQC_QUEUE_DECLARE)
			queues_request_done(request);
		topology_in_doubt(channel->upstream, span_make(request->frame, request->frame_len));
	}
}

void channel_fail(struct channel *channel, const struct fault *fault)
{
	keep_claims(channel);
	/* What was acked before the mistake stays acked. */
	delivery_flush(channel);
	channel_fail_without_lane(channel, fault);
	if (channel->lane)
		lane_close(channel->lane);
}

/* Its basic.consume is in the queue before it, and is sent and answered first. */
static bool waits_for_consume(const struct request *cancel)
{
	const struct consumer *consumer = cancel->consumer;

	return consumer && !consumer->started && !consumer->restoring;
}

static void free_cancelled(const struct request *cancel)
{
	struct consumer *consumer = cancel->consumer;
	struct channel *channel = consumer->channel;

	/* The request was answered at its deadline: the client believes that the consumer goes on. */
	if (channel->session && !request_is_wanted(cancel) && !consumer->gone)
		channel->session->ops->consumer_cancelled(channel->session->context, channel->id,
							  consumer->number,
							  SPAN_LITERAL("it was cancelled, late"));
	consumer_free(consumer);
}

/* A cancel has nothing left to do when the broker does not know the consumer. */
static void answer_cancels(struct channel *channel)
{
	struct op *op, *tmp;

	list_foreach_safe (op, tmp, &channel->queue, node) {
		struct request *request = op->kind == OP_REQUEST ? op_request(op) : NULL;

		if (!request || request->method != AMQC_BASIC_CANCEL || waits_for_consume(request))
			continue;
		if (request->consumer)
			free_cancelled(request);
		request_answer(request, &(struct amqc_method){.id = AMQC_BASIC_CANCEL_OK});
		request_drop(request);
	}
}

/* Those that clients would have now are subscribed again; the others are gone. */
static void interrupt_consumers(struct channel *channel)
{
	struct consumer *consumer, *tmp;

	list_foreach_safe (consumer, tmp, &channel->consumers, node) {
		if (channel->state != CHANNEL_OPEN || !channel->session || !consumer_interrupt(consumer))
			consumer_free(consumer);
	}
}

void channel_interrupt(struct channel *channel, const struct fault *fault)
{
	replay_take_back(channel->lane, fault);
	answer_cancels(channel);
	interrupt_consumers(channel);
	delivery_lost(channel);
	channel_touch(channel);
}

/* With a transaction that cannot go on. */
static void fail_with_connection(struct channel *channel, const struct fault *fault)
{
	struct request *request;

	list_foreach (request, &channel->lane->awaiting, op.node) {
		if (request->op.channel == channel)
			topology_in_doubt(channel->upstream, span_make(request->frame, request->frame_len));
	}
	channel_fail_without_lane(channel, fault);
	lane_detach(channel->lane);
}

void channel_lost_lane(struct channel *channel, const struct fault *fault)
{
	struct fault why;

	if (tx_is_lost(channel, fault, &why)) {
		fail_with_connection(channel, &why);
		return;
	}
	channel_interrupt(channel, fault);
	lane_detach(channel->lane);
	if (channel->restoring > 0 && list_empty(&channel->recovery_node))
		list_append(&channel->upstream->recovery.channels_due, &channel->recovery_node);
	if (!list_empty(&channel->queue))
		channel_send(channel);
}
