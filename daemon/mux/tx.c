#include "daemon/mux/tx.h"

#include "daemon/amqp/reply.h"
#include "daemon/mux/backlog.h"
#include "daemon/mux/channel.h"
#include "daemon/mux/consumer.h"
#include "daemon/mux/delivery.h"
#include "daemon/mux/handout.h"
#include "daemon/mux/lane.h"
#include "daemon/mux/publish.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/blame.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/consumer.h"
#include "daemon/mux/state/delivery.h"
#include "daemon/mux/state/queues.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/touch.h"
#include "daemon/mux/state/upstream.h"
#include "daemon/mux/uncommitted.h"

#include <stdlib.h>

/* ------------------------------------------------------------------ accepting */

static struct fault too_late(void)
{
	return fault_make(AMQC_PRECONDITION_FAILED,
			  "PRECONDITION_FAILED - tx.select on a channel that has consumers or unsettled "
			  "messages: select before anything else on the channel, or settle and cancel first");
}

static bool may_select(struct channel *channel, struct fault *ret_fault)
{
	if (channel->tx.asked || (list_empty(&channel->consumers) && channel->unacked == 0))
		return true;
	*ret_fault = too_late();
	return false;
}

static bool may_recover(const struct channel *channel, struct fault *ret_fault)
{
	const struct consumer *consumer;

	list_foreach (consumer, &channel->consumers, node) {
		if (consumer->kind != QUEUE_STREAM)
			continue;
		*ret_fault = fault_make(AMQC_NOT_IMPLEMENTED,
					"NOT_IMPLEMENTED - basic.recover not supported by stream queues");
		return false;
	}
	return !delivery_has_stream(channel, ret_fault);
}

bool tx_vet(struct channel *channel, const struct amqc_method *method, enum fault_scope *ret_scope,
	    struct fault *ret_fault)
{
	*ret_scope = SCOPE_CHANNEL;
	switch (method->id) {
	case AMQC_TX_SELECT:
		return may_select(channel, ret_fault);
	case AMQC_TX_COMMIT:
	case AMQC_TX_ROLLBACK:
		if (channel->tx.asked)
			return true;
		*ret_fault = fault_make(AMQC_PRECONDITION_FAILED,
					"PRECONDITION_FAILED - channel is not transactional");
		return false;
	case AMQC_BASIC_RECOVER:
		if (method->basic_recover.requeue)
			return may_recover(channel, ret_fault);
		*ret_fault = fault_make(AMQC_NOT_IMPLEMENTED, "NOT_IMPLEMENTED - requeue=false");
		return false;
	case AMQC_BASIC_CONSUME:
		/* muxd's own acks would be part of the client's transaction. */
		*ret_scope = SCOPE_REQUEST;
		if (!channel->tx.asked || !method->basic_consume.no_ack ||
		    span_equal_str(method->basic_consume.queue, DIRECT_REPLY_TO))
			return true;
		*ret_fault =
		    fault_make(AMQC_NOT_IMPLEMENTED,
			       "NOT_IMPLEMENTED - a consumer with no_ack on a transactional channel: "
			       "consume on another channel, or acknowledge");
		return false;
	default:
		return true;
	}
}

void tx_accepted(struct request *request)
{
	struct tx *tx = &request->op.channel->tx;

	switch (request->method) {
	case AMQC_TX_SELECT:
		tx->asked = true;
		channel_touch(request->op.channel);
		return;
	case AMQC_TX_COMMIT:
	case AMQC_TX_ROLLBACK:
	case AMQC_BASIC_RECOVER:
		request->ends_tx = true;
		tx->ends++;
		return;
	default:
		return;
	}
}

void tx_request_gone(struct channel *channel, const struct request *request)
{
	if (!request->ends_tx)
		return;
	channel->tx.ends--;
	if (channel->lane && channel->lane->tx.end == request)
		channel->lane->tx.end = NULL;
}

/* ------------------------------------------------------------------ settling */

struct settle_op {
	struct op op;
	enum settle_kind kind;
	uint64_t first, last;
};

static bool settle_queue(struct channel *channel, enum settle_kind kind, uint64_t first, uint64_t last)
{
	struct tx *tx = &channel->tx;
	struct settle_op *settle = NULL;

	if (charge_take(&tx->charge, &channel->session->memory, sizeof(*settle)))
		settle = calloc(1, sizeof(*settle));
	if (!settle)
		return false;
	*settle = (struct settle_op){{.kind = OP_SETTLE, .channel = channel}, kind, first, last};
	list_init(&settle->op.node);
	list_append(&channel->queue, &settle->op.node);
	tx->settles++;
	channel_send(channel);
	return true;
}

bool tx_settle(struct channel *channel, enum settle_kind kind, uint64_t first, uint64_t last,
	       struct fault *ret_fault)
{
	if (channel->tx.ends == 0 && channel->tx.settles == 0)
		return delivery_settle(channel, kind, first, last, ret_fault);
	if (settle_queue(channel, kind, first, last))
		return true;
	*ret_fault = fault_make_retryable(AMQC_RESOURCE_ERROR,
					  "no memory to settle messages behind the end of a transaction");
	return false;
}

void tx_settle_drop(struct channel *channel, struct op *op)
{
	struct settle_op *settle = container_of(op, struct settle_op, op);
	struct charge *charge = &channel->tx.charge;

	charge_lower(charge, sizeof(*settle) < charge->bytes ? sizeof(*settle) : charge->bytes);
	channel->tx.settles--;
	list_unlink(&op->node);
	free(settle);
}

void tx_settle_queued(struct channel *channel, struct op *op)
{
	struct settle_op settle = *container_of(op, struct settle_op, op);
	struct fault fault;

	tx_settle_drop(channel, op);
	if (!delivery_settle(channel, settle.kind, settle.first, settle.last, &fault))
		channel_fail(channel, &fault);
}

/* ------------------------------------------------------------------ the lane */

bool tx_needs_lane(struct channel *channel)
{
	struct op *op = list_first(&channel->queue, struct op, node);

	return channel->tx.begun || (channel->tx.asked && op && op->kind == OP_REQUEST &&
				     op_request(op)->method == AMQC_TX_SELECT);
}

/* What came before tx.select is not finished at the broker. */
static bool is_busy(const struct channel *channel)
{
	const struct lane *lane = channel->lane;
	const struct request *request;

	list_foreach (request, &lane->awaiting, op.node) {
		if (request->op.channel == channel)
			return true;
	}
	return lane->sending || lane->confirms.first != lane->confirms.next ||
	       channel->deliveries.open > channel->unacked;
}

void tx_turn(struct channel *channel)
{
	struct fault fault = too_late();

	if (channel->tx.begun || !channel->lane || !tx_needs_lane(channel) || is_busy(channel))
		return;
	if (channel->unacked > 0) {
		channel_fail(channel, &fault);
		return;
	}
	channel_give_up_lane(channel);
	channel_send(channel);
}

static void rolled_back(struct channel *channel)
{
	struct fault fault = fault_make(AMQC_REPLY_SUCCESS, "the transaction was rolled back");

	uncommitted_end(channel, OUTCOME_NOT_SENT, &fault);
}

/* Before the answer is told: whoever has it knows what became of all before. */
void tx_answered(struct lane *lane, const struct request *request)
{
	struct channel *channel = lane->channel;

	if (request == lane->tx.question) {
		uncommitted_answered(lane);
		if (lane->tx.messages > 0)
			lane_ready(lane); /* to ask again, for those that were sent since */
	}
	if (request != lane->tx.end)
		return;
	lane->tx.end = NULL;
	if (request->method == AMQC_TX_COMMIT) {
		uncommitted_end(channel, OUTCOME_CONFIRMED, NULL);
		delivery_committed(channel);
	} else if (request->method == AMQC_TX_ROLLBACK) {
		rolled_back(channel);
		delivery_rolled_back(channel);
	} else {
		handout_forget(channel);
		delivery_recovered(channel);
	}
	uncommitted_all_read(lane);
	outcome_flush(channel);
	lane_ready(lane);
}

void tx_returned(struct lane *lane)
{
	const struct amqc_basic_return *method = &lane->in.method.basic_return;
	struct mux_content content = {&lane->in.header.properties, lane->in.body};
	struct channel *channel = lane->channel;
	struct session *session = channel->session;
	uint64_t number = uncommitted_returned(lane);
	struct mux_handed handed;
	struct fault fault;

	if (number == 0 || !session)
		return;
	/* Their credit came back when they were sent: nothing else bounds what the socket does not take. */
	if (account_free(&session->memory) < lane->in.body.len) {
		fault = fault_make_retryable(AMQC_RESOURCE_ERROR,
					     "the session's memory is used up by messages of the transaction "
					     "that were returned, and that it did not take");
		channel_fail(channel, &fault);
		return;
	}
	handed = session->ops->returned(session->context, channel->id, number, method, &content);
	if (handed.position > 0)
		backlog_add(session, &handed);
}

/* ------------------------------------------------------------------ the end */

static bool commits(const struct channel *channel)
{
	return channel->lane && channel->lane->tx.end && channel->lane->tx.end->method == AMQC_TX_COMMIT;
}

void tx_end(struct channel *channel, const struct fault *fault)
{
	if (channel->tx.begun)
		uncommitted_end(channel, commits(channel) ? OUTCOME_UNKNOWN : OUTCOME_NOT_SENT, fault);
}

static bool has_anything(const struct channel *channel)
{
	return channel->tx.run_count > 0 || channel->deliveries.tx > 0 || channel->deliveries.acked > 0 ||
	       channel->unacked > 0 || channel->lane->tx.end;
}

bool tx_is_lost(const struct channel *channel, const struct fault *lost, struct fault *ret_fault)
{
	if (!channel->lane->tx.on || !has_anything(channel))
		return false;
	if (channel->upstream->blame.guilty == channel) {
		*ret_fault = channel->upstream->blame.fault;
		return true;
	}
	*ret_fault = fault_make_retryable(
	    AMQC_CONNECTION_FORCED, "%s: the connection was lost (%s)",
	    commits(channel) ? "the transaction was committed or not, tx.commit had no answer"
			     : "the transaction was rolled back, and nothing of it was done",
	    lost->text);
	return true;
}

void tx_leave(struct channel *channel)
{
	struct fault fault =
	    fault_make(AMQC_CHANNEL_ERROR, "the channel was closed, and its transaction was not committed");
	struct op *op, *tmp;

	if (!channel->tx.begun || channel->tx.ends > 0)
		return;
	list_foreach_safe (op, tmp, &channel->queue, node) {
		if (op->kind == OP_SETTLE)
			tx_settle_drop(channel, op);
		else if (op->kind == OP_PUBLISH)
			publish_discard(op_publish(op), &fault);
	}
	uncommitted_end(channel, OUTCOME_NOT_SENT, &fault);
	outcome_flush(channel);
}
