#include "daemon/mux/blame.h"

#include "daemon/amqp/reply.h"
#include "daemon/mux/channel.h"
#include "daemon/mux/consumer.h"
#include "daemon/mux/culprit.h"
#include "daemon/mux/flow.h"
#include "daemon/mux/lane.h"
#include "daemon/mux/publish.h"
#include "daemon/mux/queues.h"
#include "daemon/mux/request.h"
#include "daemon/mux/session.h"

#include <stdlib.h>

#define TRIAL_BYTES (1024u * 1024u) /* of one trial, or one message; of all, no more than was unconfirmed */
#define TRIAL_OPS 256u
#define LONE_LOSSES 1u
#define LONE_LOSSES_SILENT 3u
#define SOLO_USEC (10 * USEC_PER_SEC)	   /* no longer does the line wait for one of it */
#define SHORT_LIFE_USEC (5 * USEC_PER_SEC) /* a connection that was lost sooner had no progress */

/* A channel whose operations may have cost the connection. */
struct suspicion {
	struct list node; /* in upstream->blame.suspicions */
	struct trial trial;
	struct channel *channel;
	uint32_t most;	/* operations in one trial */
	uint32_t tried; /* in this one; some may have ended since */
	bool again;	/* the scout has cleared some of them before */
	bool in_line;	/* the scout has found nothing in it, or could not look */
};

/* ------------------------------------------------------------------ trials */

static void suspicion_free(struct suspicion *suspicion)
{
	suspicion->channel->suspicion = NULL;
	trial_deinit(&suspicion->trial);
	list_unlink(&suspicion->node);
	free(suspicion);
}

void blame_forget(struct channel *channel)
{
	if (channel->suspicion)
		suspicion_free(channel->suspicion);
	if (channel->upstream->blame.solo == channel)
		channel->upstream->blame.solo = NULL;
	if (channel->upstream->blame.was_solo == channel)
		channel->upstream->blame.was_solo = NULL;
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

static void append_publish(struct buf *frames, const struct publish *publish)
{
	struct span rest = publish_body(publish);

	buf_append(frames, publish->data, publish->head_len);
	while (rest.len > 0) {
		struct span slice = span_first(rest, AMQC_FRAME_SIZE_MIN - AMQC_FRAME_OVERHEAD);
		size_t mark = amqc_frame_begin(frames, AMQC_FRAME_BODY, 0);

		buf_append_span(frames, slice);
		amqc_frame_end(frames, mark);
		rest = span_skip(rest, slice.len);
	}
}

/*
 * What it does is undone, as far as it would stand in the channel's own way. To
 * unbind cannot be undone, and would come too early for others: it is left to
 * the main connection.
 */
static void append_request(struct buf *frames, const struct request *request)
{
	struct amqc_method method, extra = {.id = AMQC_BASIC_QOS};

	if (!request_decode(request, &method) || method.id == AMQC_QUEUE_UNBIND ||
	    method.id == AMQC_EXCHANGE_UNBIND)
		return;
	if (method.id == AMQC_BASIC_CONSUME) {
		extra.basic_qos.prefetch_count = 1;
		(void)amqc_method_append(frames, 0, &extra);
	}
	buf_append(frames, request->frame, request->frame_len);
	if (method.id == AMQC_QUEUE_DECLARE && method.queue_declare.exclusive) {
		extra = (struct amqc_method){.id = AMQC_QUEUE_DELETE};
		extra.queue_delete.queue = method.queue_declare.queue;
		(void)amqc_method_append(frames, 0, &extra);
	}
}

static bool was_sent(struct op *op)
{
	if (op->kind == OP_PUBLISH)
		return container_of(op, struct publish, op)->sent_before;
	return op->kind == OP_REQUEST && container_of(op, struct request, op)->sent_before;
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

/* The next of the channel's operations; false: none is left. */
static bool begin_trial(struct suspicion *suspicion)
{
	struct buf *frames = &suspicion->trial.frames;
	uint32_t count = 0;
	struct op *op;

	buf_truncate(frames, 0);
	(void)amqc_method_append(frames, 0, &(struct amqc_method){.id = AMQC_TX_SELECT});
	list_foreach (op, &suspicion->channel->queue, node) {
		op->on_trial = false;
		if (op->cleared || !was_sent(op) || count == suspicion->most || buf_len(frames) > TRIAL_BYTES)
			continue;
		if (op->kind == OP_PUBLISH)
			append_publish(frames, container_of(op, struct publish, op));
		else
			append_request(frames, container_of(op, struct request, op));
		op->on_trial = true;
		count++;
	}
	suspicion->tried = count;
	if (count == 0)
		return false;
	(void)amqc_method_append(frames, 0, &(struct amqc_method){.id = AMQC_TX_ROLLBACK});
	scout_try(&suspicion->channel->upstream->scout, &suspicion->trial);
	return true;
}

static uint32_t count_on_trial(const struct channel *channel, struct op **ret_first)
{
	uint32_t count = 0;
	struct op *op;

	list_foreach (op, &channel->queue, node) {
		if (op->on_trial && ++count == 1)
			*ret_first = op;
	}
	return count;
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
		publish_discard(container_of(op, struct publish, op), &fault);
	else
		channel_refuse_unsent(container_of(op, struct request, op), SCOPE_CHANNEL, &fault);
	if (session) {
		channel_fail(channel, &fault);
		culprit_punish(session, &fault);
	} else {
		let_go(channel);
	}
}

static void on_trial_done(struct trial *trial, enum scout_verdict verdict, const struct fault *fault)
{
	struct suspicion *suspicion = container_of(trial, struct suspicion, trial);
	struct channel *channel = suspicion->channel;
	struct op *op = NULL;
	uint32_t count = count_on_trial(channel, &op);

	if (verdict == SCOUT_CANNOT) {
		suspicion->in_line = true;
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
	if (!begin_trial(suspicion))
		suspicion->in_line = true;
}

/* ------------------------------------------------------------------ suspects */

/* The first request of the lane's lessee that has no answer. */
static struct request *first_request(const struct lane *lane)
{
	struct request *request;

	list_foreach (request, &lane->awaiting, op.node) {
		if (request->op.channel == lane->channel)
			return request;
	}
	return NULL;
}

static bool has_publishes(const struct lane *lane)
{
	return lane->confirms.first != lane->confirms.next || lane->tx.messages > 0;
}

/* The first of them that the fault names. */
static struct request *named_request(const struct lane *lane, const struct fault *fault)
{
	struct request *request;

	list_foreach (request, &lane->awaiting, op.node) {
		if (request->op.channel == lane->channel && request_is_named(request, fault))
			return request;
	}
	return NULL;
}

/* It may as well be something whose channel has left, or that is muxd's own. */
static bool may_mean_another(const struct upstream *upstream, const struct request *request,
			     const struct fault *fault)
{
	for (uint32_t number = 1; number <= upstream->lane_max; number++) {
		const struct lane *lane = upstream->lanes[number];
		const struct request *other;

		if (!lane)
			continue;
		list_foreach (other, &lane->awaiting, op.node) {
			if (other->op.channel != request->op.channel && request_is_named(other, fault))
				return true;
		}
	}
	return false;
}

/* No other lane waits for an answer, not even one whose channel has left. */
static bool is_alone(const struct lane *lane)
{
	const struct upstream *upstream = lane->upstream;

	for (uint32_t number = 1; number <= upstream->lane_max; number++) {
		const struct lane *other = upstream->lanes[number];

		if (other && other != lane && !list_empty(&other->awaiting))
			return false;
	}
	return true;
}

/* The lane had something under way that the fault may mean. */
static bool is_meant(const struct lane *lane, const struct fault *fault)
{
	if (fault->class_id == 0)
		return blame_must_wait(lane);
	if (AMQC_CLASS_ID(AMQC_BASIC_PUBLISH) == fault->class_id &&
	    AMQC_METHOD_ID(AMQC_BASIC_PUBLISH) == fault->method_id)
		return has_publishes(lane);
	return named_request(lane, fault) != NULL;
}

static void suspect(struct channel *channel)
{
	struct suspicion *suspicion;

	if (channel->suspicion || !channel->upstream->ops->scout_dial)
		return;
	suspicion = calloc(1, sizeof(*suspicion));
	if (!suspicion)
		return; /* it is tried on the main connection, as ever */
	suspicion->channel = channel;
	suspicion->most = TRIAL_OPS;
	trial_init(&suspicion->trial, on_trial_done);
	channel->suspicion = suspicion;
	list_append(&channel->upstream->blame.suspicions, &suspicion->node);
}

static bool is_ours(const struct channel *channel)
{
	const struct upstream *upstream = channel->upstream;

	return channel == upstream->recovery.maker || channel == upstream->housekeeper;
}

/* Every lane that may be meant; the only one, if it is one. */
static struct lane *find_meant(const struct upstream *upstream, const struct fault *fault,
			       uint32_t *ret_count)
{
	struct lane *found = NULL;

	*ret_count = 0;
	for (uint32_t number = 1; number <= upstream->lane_max; number++) {
		struct lane *lane = upstream->lanes[number];

		if (lane && lane->channel && !is_ours(lane->channel) && is_meant(lane, fault)) {
			found = lane;
			++*ret_count;
		}
	}
	return found;
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
	if (solo && solo->lane && is_meant(solo->lane, meant))
		upstream->blame.was_solo = solo;
}

/* What the fault can mean, of what was under way: a method that it names, or anything. */
static struct fault meaning(const struct upstream *upstream, uint32_t *ret_count, struct lane **ret_lane)
{
	struct fault meant = upstream->blame.fault;

	if (meant.origin == FAULT_BROKER) {
		*ret_lane = find_meant(upstream, &meant, ret_count);
		if (*ret_count > 0)
			return meant;
	}
	meant.class_id = 0;
	meant.method_id = 0;
	*ret_lane = find_meant(upstream, &meant, ret_count);
	return meant;
}

void blame_connection_lost(struct upstream *upstream, const struct fault *fault)
{
	struct blame *blame = &upstream->blame;
	struct request *request;
	struct fault meant;
	struct lane *lane;
	uint32_t count;

	if (!upstream->lanes)
		return;
	blame->fault = *fault;
	if (!is_suspicious(upstream, fault))
		return;
	meant = meaning(upstream, &count, &lane);
	request = count == 1 && meant.class_id != 0 ? named_request(lane, &meant) : NULL;
	if (request && !may_mean_another(upstream, request, &meant)) {
		end_sole(upstream, request);
		return;
	}
	/* Of a transaction nothing is left that could be tried: only who was alone with it can be blamed. */
	if (count == 1 && meant.origin == FAULT_BROKER && (lane->tx.messages > 0 || lane->tx.end) &&
	    is_alone(lane)) {
		name_guilty(lane->channel);
		return;
	}
	note_solo(upstream, &meant);
	blame->found = false;
	for (uint32_t number = 1; number <= upstream->lane_max; number++) {
		lane = upstream->lanes[number];
		if (lane && lane->channel && !is_ours(lane->channel) && is_meant(lane, &meant))
			suspect(lane->channel);
	}
}

/* What a channel had under way alone is back at the front of its queue. */
static void count_loss(struct channel *channel)
{
	struct op *op = channel ? list_first(&channel->queue, struct op, node) : NULL;

	if (op && was_sent(op))
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
		if (suspicion->in_line || !list_empty(&suspicion->trial.node))
			continue;
		suspicion->again = has_cleared(suspicion->channel);
		if (!begin_trial(suspicion))
			suspicion->in_line = true;
	}
}

/* ------------------------------------------------------------------ one after the other */

/* What was under way at the last loss has its answers. */
static bool is_proven(const struct channel *channel)
{
	struct op *op;

	if (channel->lane && blame_must_wait(channel->lane))
		return false;
	list_foreach (op, &channel->queue, node) {
		if (was_sent(op))
			return false;
	}
	return true;
}

bool blame_must_wait(const struct lane *lane)
{
	return first_request(lane) || has_publishes(lane);
}

/* Of what came back to its queue: it was alone on so many connections that were lost. */
static bool is_convicted(struct channel *channel)
{
	const struct fault *last = &channel->upstream->blame.fault;
	unsigned int most = last->origin == FAULT_BROKER ? LONE_LOSSES : LONE_LOSSES_SILENT;
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

void blame_turn(struct upstream *upstream)
{
	struct blame *blame = &upstream->blame;
	struct suspicion *suspicion;

	if (list_empty(&blame->suspicions) && !blame->solo)
		return;
	list_foreach (suspicion, &blame->suspicions, node) {
		if (!suspicion->in_line)
			return; /* the scout may still find another one */
	}
	if (goes_on(upstream))
		return;
	acquit_others(upstream);
	suspicion = list_first(&blame->suspicions, struct suspicion, node);
	if (!suspicion || is_convicted(suspicion->channel))
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
