#include "daemon/mux/blame.h"

#include "daemon/amqp/reply.h"
#include "daemon/mux/channel.h"
#include "daemon/mux/clash.h"
#include "daemon/mux/consumer.h"
#include "daemon/mux/culprit.h"
#include "daemon/mux/flow.h"
#include "daemon/mux/lane.h"
#include "daemon/mux/meant.h"
#include "daemon/mux/publish.h"
#include "daemon/mux/queues.h"
#include "daemon/mux/recovery.h"
#include "daemon/mux/request.h"
#include "daemon/mux/session.h"
#include "daemon/mux/state/blame.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/consumer.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/touch.h"
#include "daemon/mux/state/upstream.h"
#include "daemon/mux/subscribe.h"
#include "daemon/mux/suspect.h"

#include <stdlib.h>

#define LONE_LOSSES 1u
#define LONE_LOSSES_SILENT 3u
#define SOLO_USEC (10 * USEC_PER_SEC)	   /* no longer does the line wait for one of it */
#define SHORT_LIFE_USEC (5 * USEC_PER_SEC) /* a connection that was lost sooner had no progress */

/* ------------------------------------------------------------------ trials */

void blame_forget(struct channel *channel)
{
	if (channel->suspicion) {
		suspicion_free(channel->suspicion);
		channel->upstream->blame.tx_session = 0; /* it is not cleared */
	}
	if (channel->upstream->blame.solo == channel)
		channel->upstream->blame.solo = NULL;
	if (channel->upstream->blame.was_solo == channel)
		channel->upstream->blame.was_solo = NULL;
}

/* Something of its queue was under way when a connection was lost. */
static bool has_sent(const struct channel *channel)
{
	struct op *op;

	list_foreach (op, &channel->queue, node) {
		if (suspect_was_sent(op))
			return true;
	}
	return false;
}

/* The channel goes on as everybody does. */
static void let_go(struct channel *channel)
{
	if (channel->lane)
		lane_ready(channel->lane);
	else if (!list_empty(&channel->queue))
		channel_send(channel);
	channel_touch(channel);
}

static void acquit(struct suspicion *suspicion)
{
	struct channel *channel = suspicion->channel;

	suspicion_free(suspicion);
	let_go(channel);
}

static bool has_cleared(const struct channel *channel)
{
	const struct op *op;

	list_foreach (op, &channel->queue, node) {
		if (op->cleared)
			return true;
	}
	return false;
}

static void forget_losses(struct channel *channel)
{
	struct op *op;

	list_foreach (op, &channel->queue, node)
		op->lone_losses = 0;
}

/* Somebody else is found, and the loss explained. */
static void nobody_was_alone(struct upstream *upstream)
{
	struct suspicion *suspicion;

	list_foreach (suspicion, &upstream->blame.suspicions, node)
		forget_losses(suspicion->channel);
}

static void convict(struct channel *channel, struct op *op, const struct fault *given)
{
	struct session *session = channel->session;
	struct fault fault = *given;

	fault.retryable = false;
	nobody_was_alone(channel->upstream);
	channel->upstream->blame.found = true;
	culprit_remember(channel->upstream, op, &fault);
	if (op->kind == OP_PUBLISH)
		publish_discard(op_publish(op), &fault);
	else
		channel_refuse_unsent(op_request(op), SCOPE_CHANNEL, &fault);
	if (session) {
		channel_fail(channel, &fault);
		culprit_punish(session, &fault);
	} else {
		let_go(channel);
	}
}

static void convict_consumer(struct consumer *consumer, const struct fault *given)
{
	struct channel *channel = consumer->channel;
	struct upstream *upstream = channel->upstream;
	struct buf arguments = BUF_INIT, frame = BUF_INIT;
	struct amqc_method consume;
	struct fault fault = *given;

	fault.retryable = false;
	nobody_was_alone(upstream);
	upstream->blame.found = true;
	/* It may come again as it was, and behind the last message that it had. */
	if (subscribe_is_of_old(consumer))
		culprit_remember_frame(upstream, buf_span(&consumer->consume), &fault);
	if (consumer->has_offset && subscribe_resumed(consumer, &consume, &arguments) &&
	    amqc_method_append(&frame, 0, &consume) == AMQC_OK)
		culprit_remember_frame(upstream, buf_span(&frame), &fault);
	buf_deinit(&frame);
	buf_deinit(&arguments);
	channel_fail(channel, &fault);
	culprit_punish(channel->session, &fault);
}

/* What is left of it: nothing that could be tried any more, or the line. */
static void go_on(struct suspicion *suspicion)
{
	if (suspect_try_consumer(suspicion) || suspect_try_operations(suspicion))
		return;
	suspicion->in_line = true;
	if (!has_sent(suspicion->channel))
		acquit(suspicion);
}

static void consumer_tried(struct suspicion *suspicion, enum scout_verdict verdict, const struct fault *fault)
{
	struct consumer *consumer = suspect_consumer(suspicion->channel);

	if (consumer && verdict == SCOUT_KILLED) {
		convict_consumer(consumer, fault);
		return;
	}
	if (verdict == SCOUT_CANNOT)
		suspect_clear_consumers(suspicion->channel);
	if (consumer) {
		consumer->suspect = false;
		consumer->on_trial = false;
	}
	if (!suspect_has_consumers(suspicion->channel))
		recovery_goes_on(suspicion->channel);
	go_on(suspicion);
}

static void operations_tried(struct suspicion *suspicion, enum scout_verdict verdict,
			     const struct fault *fault)
{
	struct channel *channel = suspicion->channel;
	struct op *op = NULL;
	uint32_t count = suspect_operations(channel, &op);

	if (verdict == SCOUT_CANNOT) {
		suspicion->in_line = true;
		suspicion->for_good = true;
		return;
	}
	if (suspicion->tried > 1 && verdict == SCOUT_KILLED) {
		suspicion->most = suspicion->tried / 2;
	} else if (suspicion->tried > 1 && verdict == SCOUT_REFUSED) {
		suspicion->most = 1; /* what stands behind the refused one was not looked at */
	} else if (count == 1 && verdict == SCOUT_KILLED) {
		blame_forget(channel);
		convict(channel, op, fault);
		return;
	} else {
		list_foreach (op, &channel->queue, node)
			op->cleared |= op->on_trial;
	}
	go_on(suspicion);
}

/* The broker has it: as if it had been sent on the channel's lane. */
static void tell_outcome(const struct trial *trial, struct publish *publish)
{
	if (trial->returned)
		publish_returned_as_sent(publish);
	if (trial->nacked)
		publish_done(publish, OUTCOME_NACKED);
	else
		publish_done(publish, trial->returned ? OUTCOME_RETURNED : OUTCOME_CONFIRMED);
}

static void publish_tried(struct suspicion *suspicion, enum scout_verdict verdict, const struct fault *fault)
{
	struct channel *channel = suspicion->channel;
	struct op *op = NULL;

	if (suspect_operations(channel, &op) > 0) {
		op->on_trial = false;
		if (verdict == SCOUT_KILLED) {
			blame_forget(channel);
			convict(channel, op, fault);
			return;
		}
		if (verdict == SCOUT_PASSED)
			tell_outcome(&suspicion->trial, op_publish(op));
	}
	if (verdict != SCOUT_PASSED || !suspect_try_for_good(suspicion))
		suspicion->in_line = true;
}

static void on_trial_done(struct trial *trial, enum scout_verdict verdict, const struct fault *fault)
{
	struct suspicion *suspicion = container_of(trial, struct suspicion, trial);

	clash_confirmed(suspicion->channel->upstream);
	switch (suspicion->stage) {
	case SUSPECT_CONSUMERS:
		consumer_tried(suspicion, verdict, fault);
		return;
	case SUSPECT_OPERATIONS:
		operations_tried(suspicion, verdict, fault);
		return;
	case SUSPECT_FOR_GOOD:
		publish_tried(suspicion, verdict, fault);
		return;
	}
}

/* ------------------------------------------------------------------ suspects */

static void suspect(struct channel *channel)
{
	struct suspicion *suspicion;

	if (channel->suspicion || !channel->upstream->ops->scout_dial)
		return;
	suspicion = suspicion_new(channel, on_trial_done);
	if (!suspicion)
		return; /* it is tried on the main connection, as ever */
	suspicion->alone = channel == channel->upstream->blame.was_solo;
	suspicion->fresh = !suspicion->alone;
}

/* A message that the broker falls over as it delivers it is nobody's method. */
static void suspect_of_consuming(struct channel *channel, const struct fault *fault)
{
	if (fault->origin != FAULT_BROKER || fault->class_id != 0)
		return;
	suspect_consumers(channel);
	if (suspect_has_consumers(channel))
		suspect(channel);
}

static bool is_suspicious(struct upstream *upstream, const struct fault *fault)
{
	struct blame *blame = &upstream->blame;

	if (fault->origin == FAULT_BROKER) {
		blame->silent_losses = 0;
		return scout_is_told(fault);
	}
	if (mono_since_usec(upstream->mux->now, upstream->opened) >= SHORT_LIFE_USEC)
		blame->silent_losses = 0;
	return ++blame->silent_losses > 1;
}

/* It was this one, and the loss is explained. */
static void name_guilty(struct channel *channel)
{
	struct blame *blame = &channel->upstream->blame;

	blame->fault.retryable = false;
	blame->guilty = channel;
	blame->solo = NULL;
	nobody_was_alone(channel->upstream);
}

/* The broker names what only one lane had under way: that ends here, with the broker's own words. */
static void end_sole(struct upstream *upstream, struct request *request)
{
	struct blame *blame = &upstream->blame;

	name_guilty(request->op.channel);
	if (request->ends_tx)
		return; /* the same again may do no harm; its channel tells what became of it */
	culprit_remember(upstream, &request->op, &blame->fault);
	queues_request_failed(request);
	if (request->method == AMQC_BASIC_CONSUME && request->consumer)
		consumer_free(request->consumer);
	request_refuse(request, SCOPE_CHANNEL, &blame->fault);
	request_drop(request);
}

/* It went on alone, with one operation: that may be it, if nothing else is found. */
static void note_solo(struct upstream *upstream, const struct fault *meant)
{
	struct channel *solo = upstream->blame.solo;

	upstream->blame.solo = NULL;
	if (solo && solo->lane && meant_lane(solo->lane, meant))
		upstream->blame.was_solo = solo;
}

void blame_connection_lost(struct upstream *upstream, const struct fault *fault)
{
	struct blame *blame = &upstream->blame;
	struct suspicion *suspicion;
	struct request *request;
	struct fault meant;
	struct lane *lane;
	uint32_t count;

	if (!upstream->lanes)
		return;
	blame->fault = *fault;
	blame->tx_session = 0;
	if (!is_suspicious(upstream, fault))
		return;
	meant = meant_of(upstream, &count, &lane);
	request = count == 1 && meant.class_id != 0 ? meant_request(lane, &meant) : NULL;
	if (request && !meant_may_be_another(upstream, request, &meant)) {
		end_sole(upstream, request);
		return;
	}
	/* Of a transaction nothing is left that could be tried: only who was alone with it can be blamed. */
	if (count == 1 && meant.origin == FAULT_BROKER && meant_has_transaction(lane) &&
	    meant_is_alone(lane)) {
		name_guilty(lane->channel);
		return;
	}
	note_solo(upstream, &meant);
	list_foreach (suspicion, &blame->suspicions, node)
		suspicion->alone = suspicion->fresh = false;
	blame->found = false;
	blame->tx_session = meant_transaction(upstream, &meant);
	for (uint32_t number = 1; number <= upstream->lane_max; number++) {
		lane = upstream->lanes[number];
		if (!lane || !lane->channel || meant_is_ours(lane->channel))
			continue;
		if (meant_lane(lane, &meant) && !meant_has_transaction(lane))
			suspect(lane->channel);
		suspect_of_consuming(lane->channel, fault);
	}
}

/* What a channel had under way alone is back at the front of its queue. */
static void count_loss(struct channel *channel)
{
	struct op *op = channel ? list_first(&channel->queue, struct op, node) : NULL;

	if (op && suspect_was_sent(op))
		op->lone_losses++;
}

void blame_begin(struct upstream *upstream)
{
	struct blame *blame = &upstream->blame;
	struct channel *guilty = blame->guilty;
	struct suspicion *suspicion, *tmp;

	count_loss(blame->was_solo);
	blame->was_solo = NULL;
	blame->guilty = NULL;
	if (guilty && guilty->session) {
		channel_fail(guilty, &blame->fault);
		culprit_punish(guilty->session, &blame->fault);
	}
	list_foreach_safe (suspicion, tmp, &blame->suspicions, node) {
		if (!list_empty(&suspicion->trial.node) ||
		    (suspicion->in_line && !suspect_has_consumers(suspicion->channel)))
			continue;
		suspicion->again = has_cleared(suspicion->channel);
		go_on(suspicion);
	}
}

/* ------------------------------------------------------------------ one after the other */

/* What was under way at the last loss has its answers. */
static bool is_proven(const struct channel *channel)
{
	return !(channel->lane && meant_has_any(channel->lane)) && !has_sent(channel);
}

/* It was not alone with the last loss: what somebody who went on then had under way is not cleared. */
static bool may_be_another(const struct upstream *upstream)
{
	const struct suspicion *suspicion;

	list_foreach (suspicion, &upstream->blame.suspicions, node) {
		if (suspicion->fresh && has_sent(suspicion->channel))
			return true;
	}
	return false;
}

/* Of what came back to its queue: it was alone on so many connections that were lost. */
static bool is_convicted(struct channel *channel)
{
	const struct fault *last = &channel->upstream->blame.fault;
	unsigned int most = last->origin == FAULT_BROKER ? LONE_LOSSES + may_be_another(channel->upstream)
							 : LONE_LOSSES_SILENT;
	struct fault fault = scout_is_told(last) ? *last : scout_silent_fault();
	struct op *op;

	list_foreach (op, &channel->queue, node) {
		if (op->lone_losses >= most) {
			blame_forget(channel);
			convict(channel, op, &fault);
			return true;
		}
	}
	return false;
}

static bool goes_on(struct upstream *upstream)
{
	struct blame *blame = &upstream->blame;

	if (!blame->solo)
		return false;
	flow_release(upstream); /* its next operation, if the last one has its answer; or everybody's */
	if (!is_proven(blame->solo) && mono_since_usec(upstream->mux->now, blame->solo_since) < SOLO_USEC)
		return true;
	if (!is_proven(blame->solo))
		blame->tx_session = 0;
	forget_losses(blame->solo);
	blame->solo = NULL;
	return false;
}

/* The loss is explained; or perhaps it was no doing of anybody's, and they were not suspects before. */
static void acquit_others(struct upstream *upstream)
{
	struct blame *blame = &upstream->blame;
	bool told = scout_is_told(&blame->fault);
	struct suspicion *suspicion, *tmp;

	list_foreach_safe (suspicion, tmp, &blame->suspicions, node) {
		if (blame->found || (!suspicion->again && !told))
			acquit(suspicion);
	}
}

/* Of all of the line at the same time, each its publishes one after the other. */
static bool try_for_good(struct upstream *upstream)
{
	struct suspicion *suspicion, *tmp;
	bool any = false;

	if (!scout_is_told(&upstream->blame.fault))
		return false;
	list_foreach_safe (suspicion, tmp, &upstream->blame.suspicions, node) {
		if (!suspicion->for_good)
			any |= suspect_try_for_good(suspicion);
	}
	return any;
}

/* Everybody else is cleared. */
static void blame_transaction(struct upstream *upstream)
{
	struct blame *blame = &upstream->blame;
	struct session *session = mux_find_session(upstream->mux, blame->tx_session);

	blame->tx_session = 0;
	if (session)
		culprit_punish(session, &blame->fault);
}

void blame_turn(struct upstream *upstream)
{
	struct blame *blame = &upstream->blame;
	struct suspicion *suspicion;

	if (list_empty(&blame->suspicions) && !blame->solo) {
		if (blame->tx_session != 0)
			blame_transaction(upstream);
		return;
	}
	list_foreach (suspicion, &blame->suspicions, node) {
		if (!suspicion->in_line)
			return; /* the scout may still find another one */
	}
	if (goes_on(upstream))
		return;
	acquit_others(upstream);
	if (try_for_good(upstream))
		return;
	list_foreach (suspicion, &blame->suspicions, node) {
		if (suspicion->alone && is_convicted(suspicion->channel))
			return;
	}
	suspicion = list_first(&blame->suspicions, struct suspicion, node);
	if (!suspicion)
		return;
	blame->solo = suspicion->channel;
	blame->solo_since = upstream->mux->now;
	acquit(suspicion);
}

void blame_init(struct upstream *upstream)
{
	list_init(&upstream->blame.suspicions);
}

void blame_deinit(struct upstream *upstream)
{
	struct suspicion *suspicion, *tmp;

	list_foreach_safe (suspicion, tmp, &upstream->blame.suspicions, node)
		suspicion_free(suspicion);
}
