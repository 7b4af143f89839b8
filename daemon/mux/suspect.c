#include "daemon/mux/suspect.h"

#include "daemon/amqp/reply.h"
#include "daemon/mux/clash.h"
#include "daemon/mux/culprit.h"
#include "daemon/mux/hold.h"
#include "daemon/mux/publish.h"
#include "daemon/mux/queues.h"
#include "daemon/mux/replay.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/blame.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/consumer.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/upstream.h"
#include "daemon/mux/subscribe.h"

#include <stdlib.h>

#define TRIAL_BYTES (1024u * 1024u) /* of one trial, or one message; of all, no more than was unconfirmed */
#define TRIAL_OPS 256u
#define FOR_GOOD_USEC (10 * USEC_PER_SEC) /* of one channel: then the line is no slower */

static struct span queue_of(struct op *op, struct amqc_method *room)
{
	const struct span *queue;

	if (op->kind != OP_REQUEST || !request_decode(op_request(op), room))
		return SPAN_NULL;
	queue = queues_of_method(room);
	return queue ? *queue : SPAN_NULL;
}

/* What makes or deletes a queue goes alone, and not beside a trial that names it. */
static bool trial_waits(struct trial *trial)
{
	const struct suspicion *suspicion = container_of(trial, struct suspicion, trial);
	const struct channel *channel = suspicion->channel;
	const struct consumer *consumer = suspect_consumer(channel);
	struct amqc_method method;
	struct op *op;

	if (consumer && clash_is_under_way(channel->upstream, subscribe_queue(consumer)))
		return true;
	list_foreach (op, &channel->queue, node) {
		if (op->on_trial && clash_is_under_way(channel->upstream, queue_of(op, &method)))
			return true;
	}
	return false;
}

bool suspect_tries(const struct suspicion *suspicion, struct span queue)
{
	const struct channel *channel = suspicion->channel;
	const struct consumer *consumer = suspect_consumer(channel);
	struct amqc_method method;
	struct op *op;

	if (!suspicion->trial.is_near)
		return false;
	if (consumer && span_equal(subscribe_queue(consumer), queue))
		return true;
	list_foreach (op, &channel->queue, node) {
		if (op->on_trial && span_equal(queue_of(op, &method), queue))
			return true;
	}
	return false;
}

struct suspicion *suspicion_new(struct channel *channel, trial_done_fn done)
{
	struct suspicion *suspicion = calloc(1, sizeof(*suspicion));

	if (!suspicion)
		return NULL;
	suspicion->channel = channel;
	suspicion->most = TRIAL_OPS;
	trial_init(&suspicion->trial, done);
	suspicion->trial.waits = trial_waits;
	channel->suspicion = suspicion;
	list_append(&channel->upstream->blame.suspicions, &suspicion->node);
	return suspicion;
}

void suspicion_free(struct suspicion *suspicion)
{
	suspect_clear_consumers(suspicion->channel);
	suspicion->channel->suspicion = NULL;
	clash_confirmed(suspicion->channel->upstream);
	trial_deinit(&suspicion->trial);
	list_unlink(&suspicion->node);
	free(suspicion);
}

static struct buf *begin_frames(struct suspicion *suspicion, enum suspicion_stage stage)
{
	suspicion->stage = stage;
	suspicion->trial.answers = 0;
	buf_truncate(&suspicion->trial.frames, 0);
	return &suspicion->trial.frames;
}

static void begin(struct suspicion *suspicion)
{
	suspicion->in_line = false;
	scout_try(&suspicion->channel->upstream->scout, &suspicion->trial);
}

/* ------------------------------------------------------------------ consumers */

void suspect_consumers(struct channel *channel)
{
	struct consumer *consumer;

	list_foreach (consumer, &channel->consumers, node)
		consumer->suspect |= subscribe_may_kill(consumer);
}

bool suspect_has_consumers(const struct channel *channel)
{
	const struct consumer *consumer;

	list_foreach (consumer, &channel->consumers, node) {
		if (consumer->suspect)
			return true;
	}
	return false;
}

void suspect_clear_consumers(struct channel *channel)
{
	struct consumer *consumer;

	list_foreach (consumer, &channel->consumers, node) {
		consumer->suspect = false;
		consumer->on_trial = false;
	}
}

struct consumer *suspect_consumer(const struct channel *channel)
{
	struct consumer *consumer;

	list_foreach (consumer, &channel->consumers, node) {
		if (consumer->on_trial)
			return consumer;
	}
	return NULL;
}

/* With the prefetch that decides how far the broker reads for the consumer. */
static void append_consume(struct trial *trial, const struct consumer *consumer,
			   const struct amqc_method *consume)
{
	struct amqc_method qos = {.id = AMQC_BASIC_QOS};

	qos.basic_qos.prefetch_count = consumer ? subscribe_trial_prefetch(consumer) : 1;
	(void)amqc_method_append(&trial->frames, 0, &qos);
	(void)amqc_method_append(&trial->frames, 0, consume);
	trial->answers++;
}

bool suspect_try_consumer(struct suspicion *suspicion)
{
	struct buf arguments = BUF_INIT;
	struct amqc_method consume;
	struct consumer *consumer;
	bool fits;

	list_foreach (consumer, &suspicion->channel->consumers, node) {
		if (!consumer->suspect)
			continue;
		fits = subscribe_resumed(consumer, &consume, &arguments);
		if (fits) {
			(void)begin_frames(suspicion, SUSPECT_CONSUMERS);
			append_consume(&suspicion->trial, consumer, &consume);
			consumer->on_trial = true;
			begin(suspicion);
		}
		buf_deinit(&arguments);
		consumer->suspect = fits;
		return fits;
	}
	return false;
}

/* ------------------------------------------------------------------ operations */

bool suspect_was_sent(struct op *op)
{
	if (op->kind == OP_PUBLISH)
		return op_publish(op)->begun_before;
	return op->kind == OP_REQUEST && op_request(op)->sent_before;
}

uint32_t suspect_operations(const struct channel *channel, struct op **ret_first)
{
	uint32_t count = 0;
	struct op *op;

	list_foreach (op, &channel->queue, node) {
		if (op->on_trial && ++count == 1)
			*ret_first = op;
	}
	return count;
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
static void append_request(struct trial *trial, const struct request *request)
{
	struct amqc_method method, delete = {.id = AMQC_QUEUE_DELETE};

	if (!request_decode(request, &method) || method.id == AMQC_QUEUE_UNBIND ||
	    method.id == AMQC_EXCHANGE_UNBIND)
		return;
	if (method.id == AMQC_BASIC_CONSUME) {
		append_consume(trial, request->consumer, &method);
		return;
	}
	buf_append(&trial->frames, request->frame, request->frame_len);
	if (method.id == AMQC_QUEUE_DECLARE && method.queue_declare.exclusive) {
		delete.queue_delete.queue = method.queue_declare.queue;
		(void)amqc_method_append(&trial->frames, 0, &delete);
	}
}

bool suspect_try_operations(struct suspicion *suspicion)
{
	struct buf *frames = begin_frames(suspicion, SUSPECT_OPERATIONS);
	uint32_t count = 0;
	struct op *op;

	(void)amqc_method_append(frames, 0, &(struct amqc_method){.id = AMQC_TX_SELECT});
	list_foreach (op, &suspicion->channel->queue, node) {
		op->on_trial = false;
		if (op->cleared || !suspect_was_sent(op) || count == suspicion->most ||
		    buf_len(frames) > TRIAL_BYTES)
			continue;
		if (op->kind == OP_PUBLISH)
			append_publish(frames, op_publish(op));
		else
			append_request(&suspicion->trial, op_request(op));
		op->on_trial = true;
		count++;
	}
	suspicion->tried = count;
	if (count == 0)
		return false;
	(void)amqc_method_append(frames, 0, &(struct amqc_method){.id = AMQC_TX_ROLLBACK});
	begin(suspicion);
	return true;
}

/* ------------------------------------------------------------------ for good */

static bool is_late(struct suspicion *suspicion)
{
	struct mono now = suspicion->channel->upstream->mux->now;

	if (!suspicion->for_good) {
		suspicion->for_good = true;
		suspicion->for_good_since = now;
	}
	return mono_since_usec(now, suspicion->for_good_since) >= FOR_GOOD_USEC;
}

/*
 * The next publish, if it is one that the main connection would send now. To
 * that one is left what expires, for it knows when it goes.
 */
static struct publish *next_for_good(const struct channel *channel)
{
	const struct upstream *upstream = channel->upstream;
	struct op *op = list_first(&channel->queue, struct op, node);
	struct publish *publish = op && op->kind == OP_PUBLISH ? op_publish(op) : NULL;
	struct fault fault;

	if (!publish || !publish->sent_before || publish->expiration_usec != UINT64_MAX ||
	    channel->tx.begun || upstream->state == UPSTREAM_BLOCKED || hold_op(upstream, op) ||
	    clash_holds_publish(channel, publish) || culprit_is_known(upstream, op, &fault))
		return NULL;
	return publish;
}

struct publish *suspect_publish(const struct suspicion *suspicion)
{
	struct op *op = NULL;

	return suspicion->stage == SUSPECT_FOR_GOOD && suspect_operations(suspicion->channel, &op) > 0
		   ? op_publish(op)
		   : NULL;
}

static bool fits(const struct upstream *upstream, const struct publish *publish)
{
	return publish->head_len - publish->method_len <= upstream->conn.handshake.frame_max;
}

bool suspect_try_for_good(struct suspicion *suspicion)
{
	struct channel *channel = suspicion->channel;
	struct amqc_method select = {.id = AMQC_CONFIRM_SELECT};
	struct publish *publish;
	struct buf *frames;
	struct op *op;

	if (is_late(suspicion))
		return false;
	list_foreach (op, &channel->queue, node)
		op->on_trial = false;
	while ((publish = next_for_good(channel))) {
		publish = replay_prepare(publish);
		if (!publish)
			continue; /* it has expired, and ended */
		if (!fits(channel->upstream, publish))
			return false;
		frames = begin_frames(suspicion, SUSPECT_FOR_GOOD);
		(void)amqc_method_append(frames, 0, &select);
		append_publish(frames, publish);
		suspicion->trial.answers = 1;
		publish->op.on_trial = true;
		begin(suspicion);
		return true;
	}
	return false;
}
