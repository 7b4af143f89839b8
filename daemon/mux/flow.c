#include "daemon/mux/flow.h"

#include "daemon/amqp/reply.h"
#include "daemon/base/log.h"
#include "daemon/mux/backlog.h"
#include "daemon/mux/channel.h"
#include "daemon/mux/clash.h"
#include "daemon/mux/consumer.h"
#include "daemon/mux/culprit.h"
#include "daemon/mux/delivery.h"
#include "daemon/mux/hold.h"
#include "daemon/mux/kinds.h"
#include "daemon/mux/lane.h"
#include "daemon/mux/party.h"
#include "daemon/mux/probe.h"
#include "daemon/mux/publish.h"
#include "daemon/mux/queues.h"
#include "daemon/mux/replay.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/share.h"
#include "daemon/mux/state/upstream.h"
#include "daemon/mux/subscribe.h"
#include "daemon/mux/tx.h"
#include "daemon/mux/uncommitted.h"

#define SLICE_BYTES PARTY_QUANTUM_BYTES /* the largest body frame */
#define OUTPUT_MARK 8192u		/* bytes put ahead of the socket while somebody waits */
#define OUTPUT_MARK_BULK 65536u
/* So long after the last prompt message, somebody may still wait for single answers. */
#define STILL_WAITS_USEC 100000u
#define GETS_PER_SESSION 16u /* under way at once: each may bring a message of any size */

void flow_release(struct upstream *upstream)
{
	party_release(upstream, true);
}

/* One that nobody leases, and that waits for nothing. */
static struct lane *quiet_lane(const struct upstream *upstream)
{
	struct lane *lane;

	list_foreach (lane, &upstream->warm, node) {
		if (list_empty(&lane->awaiting))
			return lane;
	}
	return NULL;
}

struct request *flow_ask_quietly(struct upstream *upstream)
{
	struct amqc_method method = {.id = AMQC_CHANNEL_FLOW};
	struct lane *lane = quiet_lane(upstream);
	struct request *request;

	method.channel_flow.active = true;
	request = lane ? request_send_own(lane, &method) : NULL;
	if (request)
		lane_ready(lane);
	return request;
}

/* Without such a lane the window stays as it is. */
void flow_ask(struct upstream *upstream)
{
	window_set_prompt(&upstream->window,
			  mono_since_usec(upstream->mux->now, upstream->mux->prompt) < STILL_WAITS_USEC);
	if (!window_turn(&upstream->window, upstream->mux->now, upstream->unconfirmed_bytes))
		return;
	if (flow_ask_quietly(upstream))
		window_asked(&upstream->window, upstream->mux->now);
}

void flow_answered(struct upstream *upstream)
{
	if (window_answered(&upstream->window, upstream->mux->now, upstream->confirmed_bytes))
		upstream->window_freed = true;
}

/* Copies encoded frames that have channel 0 in them, method and header, each with the lane's number. */
static void append_numbered(struct lane *lane, const uint8_t *frames, size_t len, size_t second_at)
{
	struct buf *out = &lane->upstream->conn.out;
	uint8_t *room = buf_reserve(out, len);

	if (!room)
		return; /* out is marked failed: the connection ends */
	memcpy(room, frames, len);
	store_be16(room + 1, lane->number);
	if (second_at < len)
		store_be16(room + second_at + 1, lane->number);
	buf_commit(out, len);
}

/* Sends what goes before everything queued. False: the lane is gone, its number free. */
static bool send_control(struct lane *lane)
{
	buf_append_span(&lane->upstream->conn.out, buf_span(&lane->control));
	buf_truncate(&lane->control, 0);
	buf_release(&lane->control);
	clash_control_left(lane);
	if (!lane->close_ok_due)
		return true;
	lane_release(lane);
	return false;
}

static bool get_must_wait(struct session *session)
{
	if (!session || (session->get_credit > session->get_used && session->gets < GETS_PER_SESSION &&
			 !backlog_is_full(session)))
		return false;
	session->gets_held = true;
	return true;
}

static bool publish_must_wait(struct lane *lane)
{
	const struct upstream *upstream = lane->upstream;

	return upstream->state == UPSTREAM_BLOCKED ||
	       lane->confirms.next - lane->confirms.first + lane->tx.messages >=
		   window_lane_messages(&upstream->window) ||
	       !party_may_publish(lane->party);
}

static bool must_wait(struct lane *lane, struct op *op)
{
	struct request *request;

	if (hold_lane(lane, op))
		return true;
	if (op->kind == OP_PUBLISH)
		return publish_must_wait(lane) || clash_holds_publish(lane->channel, op_publish(op));
	if (op->kind == OP_SETTLE)
		return false;
	request = op_request(op);
	if (request->unsure && probe_must_wait(request))
		return true;
	if (request->method == AMQC_TX_SELECT && !lane->tx.on)
		return true; /* until the channel has another lane: tx_turn() */
	if (request->method == AMQC_BASIC_CANCEL)
		return subscribe_is_under_way(lane) || clash_must_wait(lane, request);
	if (queues_are_undecided(request)) {
		clash_ended(request); /* or what decides it would wait for this one */
		return true;
	}
	if (request->method == AMQC_BASIC_GET && get_must_wait(request->session))
		return true;
	return clash_must_wait(lane, request);
}

/* A consumer's prefetch is what basic.qos said last before its basic.consume (RabbitMQ, consumer-prefetch).
 */
static bool send_qos(struct lane *lane, const struct consumer *consumer)
{
	return !consumer || (subscribe_qos(lane, consumer) && send_control(lane));
}

/* Its queue has become another session's since it was accepted: as the broker would answer it now. */
static void refuse_late(struct request *request, const struct fault *fault)
{
	struct channel *channel = request->op.channel;

	channel_refuse_unsent(request, SCOPE_CHANNEL, fault);
	if (channel->session)
		channel_fail(channel, fault);
}

/* False: it must stay at the head of the queue, for no memory. */
static bool send_request(struct lane *lane, struct request *request)
{
	uint32_t frame_max = lane->upstream->conn.handshake.frame_max;
	struct fault fault;

	if (request->frame_len > frame_max) {
		fault = fault_make(
		    AMQC_FRAME_ERROR,
		    "FRAME_ERROR - the request does not fit into a frame of the broker's (%u bytes)",
		    frame_max);
		channel_refuse_unsent(request, SCOPE_REQUEST, &fault);
		return true;
	}
	if (!queues_may_send(request, &fault) || !kinds_may_send(request, &fault) ||
	    (request->unsure && !probe_may_send(request, &fault)) ||
	    culprit_is_known(lane->upstream, &request->op, &fault)) {
		refuse_late(request, &fault);
		return true;
	}
	if (request->method == AMQC_BASIC_CONSUME && !send_qos(lane, request->consumer))
		return false;
	if (request->method == AMQC_BASIC_GET && request->session) {
		request->session->gets++;
		request->counted_get = true;
	}
	if (request->method == AMQC_BASIC_CONSUME)
		lane->consumed = true;
	append_numbered(lane, request->frame, request->frame_len, request->frame_len);
	if (request->ends_tx)
		lane->tx.end = request;
	request->before = lane->confirms.next;
	request->sent = true;
	list_unlink(&request->op.node);
	list_append(&lane->awaiting, &request->op.node);
	clash_sent(lane, request);
	return true;
}

/* A frame that the broker's frame_max does not let through fails alone. */
static bool fits(struct lane *lane, const struct publish *publish)
{
	uint32_t frame_max = lane->upstream->conn.handshake.frame_max;

	return publish->method_len <= frame_max && publish->head_len - publish->method_len <= frame_max;
}

/* It cannot be sent; nor then can the rest of its transaction. */
static void give_up(struct lane *lane, struct publish *publish, const struct fault *fault)
{
	struct channel *channel = publish->op.channel;

	publish_discard(publish, fault);
	if (lane->tx.on)
		channel_fail(channel, fault);
}

static void refuse_publish(struct publish *publish, const struct fault *fault)
{
	struct channel *channel = publish->op.channel;

	publish_discard(publish, fault);
	if (channel->session || channel->tx.begun)
		channel_fail(channel, fault);
}

/* NULL: it cannot be sent, and ended. */
static struct publish *prepare(struct lane *lane, struct publish *waiting)
{
	struct publish *publish;
	struct fault fault;

	if (culprit_is_known(lane->upstream, &waiting->op, &fault)) {
		refuse_publish(waiting, &fault);
		return NULL;
	}
	publish = replay_prepare(waiting);
	if (!publish && lane->tx.on) {
		fault = fault_make(AMQC_PRECONDITION_FAILED,
				   "a message of the transaction expired before it could be sent");
		channel_fail(lane->channel, &fault);
	}
	return publish;
}

static void begin_publish(struct lane *lane, struct publish *waiting)
{
	struct publish *publish = prepare(lane, waiting);
	struct fault fault;

	if (!publish)
		return;
	if (!fits(lane, publish)) {
		fault = fault_make(AMQC_FRAME_ERROR,
				   "FRAME_ERROR - the message's properties do not fit into a frame of "
				   "the broker's (%u bytes)",
				   lane->upstream->conn.handshake.frame_max);
		give_up(lane, publish, &fault);
		return;
	}
	if (lane->tx.on ? !uncommitted_add(lane, publish) : !confirms_push(lane, publish)) {
		fault = fault_make_retryable(AMQC_RESOURCE_ERROR, "no memory to send a publish");
		give_up(lane, publish, &fault);
		return;
	}
	lane->served = true;
	lane->party->begun = true;
	list_unlink(&publish->op.node);
	append_numbered(lane, publish->data, publish->head_len, publish->method_len);
	if (publish->body_len > 0 || lane->tx.on)
		lane->sending = publish;
	if (publish->body_len == 0)
		publish_sent(lane);
}

/* One body frame. */
static void send_body(struct lane *lane)
{
	struct publish *publish = lane->sending;
	struct buf *out = &lane->upstream->conn.out;
	uint32_t frame_max = lane->upstream->conn.handshake.frame_max;
	size_t most = (frame_max < SLICE_BYTES ? frame_max : SLICE_BYTES) - AMQC_FRAME_OVERHEAD;
	struct span slice = span_first(span_skip(publish_body(publish), publish->body_sent), most);
	size_t mark = amqc_frame_begin(out, AMQC_FRAME_BODY, lane->number);

	buf_append_span(out, slice);
	amqc_frame_end(out, mark);
	publish->body_sent += slice.len;
	if (publish->body_sent == publish->body_len)
		publish_sent(lane);
}

/* Nothing more can be sent on it now. */
static void ask(struct lane *lane)
{
	if (lane->tx.on && lane->channel && uncommitted_ask(lane))
		(void)send_control(lane);
}

/* False: it must stay at the head of the queue. */
static bool send_op(struct lane *lane, struct op *op)
{
	if (op->kind == OP_REQUEST)
		return send_request(lane, op_request(op));
	if (op->kind == OP_PUBLISH)
		begin_publish(lane, op_publish(op));
	else
		tx_settle_queued(lane->channel, op);
	return true;
}

/* A lane's turn: up to so many bytes, or a little more. */
static void send_slice(struct lane *lane, size_t budget)
{
	struct buf *out = &lane->upstream->conn.out;
	size_t until = buf_len(out) + budget;

	while (buf_len(out) < until && !buf_failed(out)) {
		struct op *op;

		if (lane->sending) {
			send_body(lane);
			continue;
		}
		if (tx_is_silent(lane)) {
			party_rest(lane);
			return;
		}
		if (lane->channel)
			delivery_flush(lane->channel);
		if (clash_holds_control(lane)) {
			party_hold(lane);
			return;
		}
		if (buf_len(&lane->control) > 0 && !send_control(lane))
			return;
		op = lane->channel ? list_first(&lane->channel->queue, struct op, node) : NULL;
		if (!op) {
			ask(lane);
			party_rest(lane);
			return;
		}
		if (must_wait(lane, op)) {
			ask(lane);
			party_hold(lane);
			return;
		}
		if (!send_op(lane, op)) {
			party_hold(lane);
			return;
		}
	}
	/* It may have more: behind the others. */
	party_rest(lane);
	party_ready(lane);
}

void flow_pump(struct upstream *upstream)
{
	struct conn *conn = &upstream->conn;
	size_t before = buf_len(&conn->out), most = upstream->window.prompt ? OUTPUT_MARK : OUTPUT_MARK_BULK;
	struct lane *lane;
	size_t budget;

	if (!conn_is_open(conn))
		return;
	while (buf_len(&conn->out) < most && !buf_failed(&conn->out) &&
	       (lane = party_next(upstream, &budget))) {
		struct party *party = lane->party;
		size_t mark = buf_len(&conn->out);

		send_slice(lane, budget);
		party_spend(party, buf_len(&conn->out) - mark);
	}
	if (buf_len(&conn->out) > before)
		conn_wrote(conn, upstream->mux->now);
}
