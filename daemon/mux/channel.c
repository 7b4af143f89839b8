#include "daemon/mux/channel.h"

#include "daemon/amqp/reply.h"
#include "daemon/base/log.h"
#include "daemon/mux/blame.h"
#include "daemon/mux/consumer.h"
#include "daemon/mux/delivery.h"
#include "daemon/mux/handout.h"
#include "daemon/mux/lane.h"
#include "daemon/mux/party.h"
#include "daemon/mux/publish.h"
#include "daemon/mux/queues.h"
#include "daemon/mux/recorder.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/consumer.h"
#include "daemon/mux/state/delivery.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/share.h"
#include "daemon/mux/state/topology.h"
#include "daemon/mux/state/touch.h"
#include "daemon/mux/state/upstream.h"
#include "daemon/mux/tx.h"
#include "daemon/mux/uncommitted.h"
#include "daemon/mux/user.h"

#include <stdlib.h>

#define ACK_WAIT_USEC 2000u
#define OUTCOME_WAIT_USEC 500u
#define PUBLISH_TIMED_OUT 408u /* as REQUEST_TIMED_OUT */

static void channel_timer_fired(struct timer *timer, struct mono now);

struct channel *channel_new(struct upstream *upstream, struct session *session, struct mux_channel_id id)
{
	struct channel *channel = calloc(1, sizeof(*channel));

	if (!channel)
		return NULL;
	channel->upstream = upstream;
	channel->session = session;
	channel->id = id;
	channel->deliveries.first = 1;
	channel->deliveries.next = 1;
	channel->charge = CHARGE_NONE;
	channel->own_charge = CHARGE_NONE;
	list_init(&channel->node);
	list_init(&channel->lane_node);
	list_init(&channel->touched_node);
	list_init(&channel->unhurried_node);
	list_init(&channel->recovery_node);
	list_init(&channel->queue);
	list_init(&channel->consumers);
	timer_init(&channel->timer, channel_timer_fired);
	return channel;
}

struct channel *channel_new_own(struct upstream *upstream)
{
	struct channel *channel = channel_new(upstream, NULL, (struct mux_channel_id){0, 0});

	if (channel)
		channel->state = CHANNEL_LEAVING;
	return channel;
}

void channel_refuse_waiting(struct channel *channel, const struct fault *fault)
{
	struct op *op, *tmp;

	if (channel->tx.asked) {
		channel_fail(channel, fault); /* what waits on would be another transaction */
		return;
	}
	list_foreach_safe (op, tmp, &channel->queue, node) {
		if (op->kind == OP_REQUEST)
			channel_refuse_unsent(op_request(op), SCOPE_REQUEST, fault);
	}
}

bool channel_lease(struct channel *channel)
{
	bool tx = tx_needs_lane(channel);

	if (!lane_lease(channel->upstream, channel, tx))
		return false;
	channel->tx.begun |= tx;
	delivery_begin(channel);
	return true;
}

void channel_give_up_lane(struct channel *channel)
{
	struct lane *lane = channel->lane;
	bool settled = channel->deliveries.open == 0;

	lane->delivered = channel->deliveries.next - 1;
	delivery_reset(channel);
	if (settled)
		lane_hand_back(lane);
	else
		lane_close(lane);
}

void channel_send(struct channel *channel)
{
	struct upstream *upstream = channel->upstream;

	if (channel->lane) {
		lane_set_idle(channel->lane, false);
		lane_ready(channel->lane);
		return;
	}
	/* It waits already, or is given a lane when its consumers get theirs. */
	if (!list_empty(&channel->lane_node) || !list_empty(&channel->recovery_node))
		return;
	/* Who waits already comes first. */
	if (conn_is_open(&upstream->conn) && upstream->recovery.phase == RECOVERY_NONE &&
	    list_empty(&upstream->recovery.channels_due) && list_empty(&upstream->waiting) &&
	    channel_lease(channel)) {
		lane_ready(channel->lane);
		return;
	}
	list_append(&upstream->waiting, &channel->lane_node);
}

/*
 * What waited at the head of the queue may be gone: what is behind it need not
 * wait for the same, nor an empty queue for a lane.
 */
static void queue_shrank(struct channel *channel)
{
	if (list_empty(&channel->queue))
		list_unlink(&channel->lane_node);
	else if (channel->lane)
		lane_ready(channel->lane);
}

bool channel_is_clean(const struct channel *channel)
{
	return !channel->tx.begun && list_empty(&channel->queue) && channel->requests == 0 &&
	       channel->unsettled == 0 && list_empty(&channel->consumers) && channel->deliveries.open == 0;
}

/* ------------------------------------------------------------------ leaving */

void channel_refuse_unsent(struct request *request, enum fault_scope scope, const struct fault *fault)
{
	struct channel *channel = request->op.channel;
	struct consumer *consumer = request->method == AMQC_BASIC_CONSUME ? request->consumer : NULL;

	queues_request_failed(request);
	if (consumer) {
		request_about(request, NULL);
		consumer_free(consumer);
	} else if (request->consumer) {
		consumer_keep(request->consumer);
	}
	request_refuse(request, scope, fault);
	request_drop(request);
	queue_shrank(channel);
}

/* Of what is not sent yet, some has no sense without the client: it reads, or sets something up for it alone.
 */
static void drop_for_client_alone(struct channel *channel, const struct fault *fault)
{
	struct op *op, *tmp;

	list_foreach_safe (op, tmp, &channel->queue, node) {
		struct request *request;

		if (op->kind != OP_REQUEST)
			continue;
		request = op_request(op);
		if (request->method == AMQC_BASIC_CANCEL) {
			request_answer(request, &(struct amqc_method){.id = AMQC_BASIC_CANCEL_OK});
			request_drop(request);
		} else if (request->method == AMQC_BASIC_GET || request->method == AMQC_BASIC_CONSUME) {
			channel_refuse_unsent(request, SCOPE_CHANNEL, fault);
		}
	}
}

static void begin_leaving(struct channel *channel)
{
	struct fault fault = fault_make(AMQC_CHANNEL_ERROR, "the channel was closed by its client");

	channel->state = CHANNEL_LEAVING;
	drop_for_client_alone(channel, &fault);
	if (channel->lane) {
		struct consumer *consumer, *tmp;

		delivery_flush(channel);
		/* While publishes or requests keep the lane, its consumers end one by one. */
		list_foreach_safe (consumer, tmp, &channel->consumers, node)
			consumer_end(consumer);
		/* In a transaction they go back with the lane. */
		if (!channel->lane->tx.on)
			delivery_requeue_all(channel);
		lane_set_idle(channel->lane, false);
	} else {
		channel_free_consumers(channel);
	}
	list_unlink(&channel->recovery_node);
	if (!list_empty(&channel->queue))
		channel_send(channel);
	queue_shrank(channel);
	channel_touch(channel);
}

void channel_leave(struct channel *channel, uint32_t close_request)
{
	channel->close_request = close_request;
	delivery_take_all(channel);
	list_prepend(&channel->session->leaving, &channel->node);
	begin_leaving(channel);
}

/* Its session does not have it any more. */
static void unpay(struct channel *channel)
{
	charge_end(&channel->own_charge);
	channel->session->unpaid_channels -= channel->unpaid;
	channel->unpaid = false;
}

void channel_forget(struct channel *channel)
{
	outcome_flush(channel);
	unpay(channel);
	channel->session = NULL;
	channel_touch(channel);
}

/* Nobody waits for the answers any more. */
static void forget_session(struct channel *channel)
{
	struct list *lists[2] = {&channel->queue, channel->lane ? &channel->lane->awaiting : NULL};

	for (size_t i = 0; i < 2 && lists[i]; i++) {
		struct op *op;

		list_foreach (op, lists[i], node) {
			if (op->kind == OP_REQUEST && op->channel == channel)
				request_leave(op_request(op));
		}
	}
	channel->session = NULL;
	channel->close_request = 0;
}

void channel_abandon(struct channel *channel)
{
	struct session *session = channel->session;

	/* What was settled with the session still counts there. */
	if (session) {
		session->unacked -= channel->unacked;
		unpay(channel);
	}
	forget_session(channel);
	if (channel->lane)
		party_take(&channel->upstream->common, channel->lane);
	uncommitted_unpay(channel);
	delivery_unpay(channel);
	if (session) {
		user_ref_copy(&channel->user, &session->user);
		charge_force(&channel->charge, &session->user.user->orphaned, channel->unsettled_bytes);
		charge_force(&channel->own_charge, &session->user.user->orphaned,
			     sizeof(*channel) + channel->unsettled * sizeof(struct publish));
	}
	list_unlink(&channel->node);
	list_append(&channel->upstream->orphans, &channel->node);
	if (channel->state == CHANNEL_OPEN)
		begin_leaving(channel);
	channel_touch(channel);
}

/* ------------------------------------------------------------------ deadlines */

void channel_request_timed_out(struct request *request, bool unsent)
{
	struct fault fault;

	channel_touch(request->op.channel);
	if (tx_depends_on(request)) {
		fault = fault_make_retryable(PUBLISH_TIMED_OUT, "%s had no answer within its deadline: %s",
					     amqc_method_name(request->method),
					     unsent || request->method != AMQC_TX_COMMIT
						 ? "the transaction was rolled back"
						 : "the transaction was committed or not");
		if (!request->op.channel->session)
			log_upstream(LOG_LEVEL_WARNING, request->op.channel->upstream,
				     "a transaction whose session has ended: %s", fault.text);
		channel_fail(request->op.channel, &fault);
	} else if (unsent)
		channel_refuse_unsent(request, SCOPE_REQUEST, &FAULT_NONE);
	else if (request->method == AMQC_BASIC_CONSUME && request->consumer)
		consumer_end(request->consumer); /* when its consume-ok comes */
}

/* Of publishes that are looked at for their deadlines, so many are no work. */
#define LOOKED_AT_LITTLE 256u

/*
 * All are looked at each time, and there may be very many, each with a
 * deadline of its own: so for each there is a pause, of a little longer than it took.
 */
static void pause_looking(struct channel *channel, struct mono now, uint64_t count)
{
	channel->looked_next = mono_add_usec(now, count > LOOKED_AT_LITTLE ? count : 0);
}

void channel_expect(struct channel *channel, struct mono deadline)
{
	struct mono when = mono_before(deadline, channel->looked_next) ? channel->looked_next : deadline;

	if (timer_is_set(&channel->timer) && !mono_before(when, channel->timer.when))
		return;
	timerq_set(&channel->upstream->mux->timers, &channel->timer, when);
}

/* Settles the publishes whose deadline has passed; returns the earliest of the others. */
static struct mono expire_publishes(struct channel *channel, struct mono now)
{
	struct fault fault =
	    fault_make_retryable(PUBLISH_TIMED_OUT, "the publish had no outcome within its deadline");
	struct mono earliest = MONO_NEVER;
	struct op *op, *tmp;
	uint64_t count = 0;
	struct fault unsent;
	char why[160] = "";

	if (channel->lane) {
		struct confirms *confirms = &channel->lane->confirms;

		count = confirms->next - confirms->first;
		for (uint64_t tag = confirms->first; tag != confirms->next; tag++) {
			struct publish *publish = confirms->ring[tag & confirms->mask];

			if (!publish || publish->settled)
				continue;
			if (mono_before(now, publish->deadline))
				earliest = mono_min(earliest, publish->deadline);
			else
				publish_settle(publish, OUTCOME_UNKNOWN, &fault);
		}
	}
	if (!channel->lane)
		lanes_explain(channel->upstream, why, sizeof(why));
	unsent = fault_make_retryable(PUBLISH_TIMED_OUT,
				      "the publish was not sent to the broker within its deadline%s", why);
	list_foreach_safe (op, tmp, &channel->queue, node) {
		count++;
		if (op->kind != OP_PUBLISH)
			continue;
		if (mono_before(now, op_publish(op)->deadline)) {
			earliest = mono_min(earliest, op_publish(op)->deadline);
		} else if (channel->tx.asked) {
			channel_fail(channel, &unsent); /* or the others would be committed without it */
			return MONO_NEVER;
		} else
			publish_discard(op_publish(op), op_publish(op)->sent_before ? &fault : &unsent);
	}
	pause_looking(channel, now, count);
	return earliest;
}

static void channel_timer_fired(struct timer *timer, struct mono now)
{
	struct channel *channel = container_of(timer, struct channel, timer);
	struct mono next = expire_publishes(channel, now);

	if (!mono_is_never(next))
		channel_expect(channel, next);
	outcome_flush(channel); /* what waits for company may have had the same deadline */
	queue_shrank(channel);
	channel_touch(channel);
}

/* ------------------------------------------------------------------ end of a turn */

/* True if a request of the channel has no answer yet. One that timed out may still keep the lane. */
static bool is_waited_for(const struct channel *channel)
{
	const struct list *lists[2] = {&channel->queue, channel->lane ? &channel->lane->awaiting : NULL};

	for (size_t i = 0; i < 2 && lists[i] && channel->requests > 0; i++) {
		struct op *op;

		list_foreach (op, lists[i], node) {
			if (op->kind == OP_REQUEST && op->channel == channel &&
			    request_is_wanted(op_request(op)))
				return true;
		}
	}
	return false;
}

static void answer_close(struct channel *channel)
{
	struct session *session = channel->session;
	struct amqc_method reply = {.id = AMQC_CHANNEL_CLOSE_OK};

	if (channel->close_request == 0 || is_waited_for(channel))
		return;
	recorder_end(session, channel->close_record, false, 0);
	session->ops->reply(session->context, channel->close_request, channel->id, &reply);
	channel->close_request = 0;
	session->request_count--;
	list_unlink(&channel->node);
	list_append(&session->leaving, &channel->node);
}

void channel_free(struct channel *channel)
{
	struct upstream *upstream = channel->upstream;

	blame_forget(channel);
	channel_free_consumers(channel);
	timerq_clear(&upstream->mux->timers, &channel->timer);
	tx_end(channel, &FAULT_NONE);
	charge_end(&channel->charge);
	charge_end(&channel->own_charge);
	user_ref_end(&channel->user);
	list_unlink(&channel->node);
	list_unlink(&channel->lane_node);
	list_unlink(&channel->touched_node);
	list_unlink(&channel->unhurried_node);
	list_unlink(&channel->recovery_node);
	if (upstream->housekeeper == channel)
		upstream->housekeeper = NULL;
	if (upstream->recovery.maker == channel)
		upstream->recovery.maker = NULL;
	delivery_deinit(channel);
	free(channel);
}

static void wait_for_company(struct channel *channel, uint64_t usec)
{
	struct mux *mux = channel->upstream->mux;
	struct mono when = mono_add_usec(mux->now, usec);

	if (list_empty(&channel->unhurried_node))
		list_append(&mux->unhurried, &channel->unhurried_node);
	if (!timer_is_set(&mux->ack_timer) || mono_before(when, mux->ack_timer.when))
		timerq_set(&mux->timers, &mux->ack_timer, when);
}

/*
 * A process that floods is not woken for every few of its confirms, each time
 * to send a few more publishes: that would take the CPU from those who wait for
 * a single answer. But one that has not much under way would come to a stop.
 */
static void tell_outcomes(struct channel *channel)
{
	const struct session *session = channel->session;

	if (channel->run_first != 0 && channel->run_kind == OUTCOME_CONFIRMED &&
	    channel->state == CHANNEL_OPEN && session &&
	    pace_is_dense(&session->pace, channel->upstream->mux->now) &&
	    channel->run_last - channel->run_first < channel->unsettled / 2)
		wait_for_company(channel, OUTCOME_WAIT_USEC);
	else
		outcome_flush(channel);
}

/* An ack alone is a write of its own: it waits a little for something else to go with. */
static void flush_acks(struct channel *channel)
{
	if (channel->deliveries.acked > 0 && delivery_may_wait(channel))
		wait_for_company(channel, ACK_WAIT_USEC);
	else
		delivery_flush(channel);
}

void channel_flush_unhurried(struct timer *timer, struct mono now)
{
	struct mux *mux = container_of(timer, struct mux, ack_timer);
	struct channel *channel;

	while ((channel = list_first(&mux->unhurried, struct channel, unhurried_node))) {
		list_unlink(&channel->unhurried_node);
		outcome_flush(channel);
		delivery_flush(channel);
	}
}

void channel_turn(struct channel *channel)
{
	tx_turn(channel);
	handout_go_on(channel);
	tell_outcomes(channel);
	flush_acks(channel);
	if (channel->state == CHANNEL_LEAVING) {
		tx_leave(channel);
		answer_close(channel);
		if (channel->requests > 0 || channel->unsettled > 0 || !list_empty(&channel->queue))
			return;
		channel_free_consumers(channel);
		if (channel->lane)
			channel_give_up_lane(channel);
		channel_free(channel);
	} else if (channel->state == CHANNEL_FAILED) {
		if (!channel->session)
			channel_free(channel);
	} else if (channel->lane) {
		lane_set_idle(channel->lane, channel_is_clean(channel));
	}
}
