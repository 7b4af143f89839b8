#include "daemon/mux/scout.h"

#include "daemon/amqp/reply.h"
#include "daemon/base/log.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/upstream.h"

#include <stdio.h>

#define FAILURES_MAX 3u
#define SILENT_LOSSES 3u /* fewer may be the network's */
#define REDIAL_USEC (200 * USEC_PER_MSEC)
#define ANSWER_USEC (10 * USEC_PER_SEC)
#define IDLE_USEC (5 * USEC_PER_SEC)

static void timer_fired(struct timer *timer, struct mono now);

static const char *name_of(const struct scout *scout)
{
	return scout->upstream->options.name;
}

static void arm(struct scout *scout, uint64_t usec)
{
	struct mux *mux = scout->upstream->mux;

	timerq_set(&mux->timers, &scout->timer, mono_add_usec(mux->now, usec));
}

static void disarm(struct scout *scout)
{
	timerq_clear(&scout->upstream->mux->timers, &scout->timer);
}

/* ------------------------------------------------------------------ trials */

void trial_init(struct trial *trial, trial_done_fn done)
{
	*trial = (struct trial){.frames = BUF_INIT, .done = done};
	list_init(&trial->node);
}

void trial_deinit(struct trial *trial)
{
	list_unlink(&trial->node);
	buf_deinit(&trial->frames);
}

void scout_try(struct scout *scout, struct trial *trial)
{
	list_append(&scout->waiting, &trial->node);
}

/* A channel is used from now on; who has one already is not alone any more. */
static void open_channel(struct scout *scout, struct trial *trial)
{
	struct trial *other;

	trial->alone = scout->open_count == 0;
	list_foreach (other, &scout->under_way, node)
		other->alone = false;
	scout->open[scout->open_count++] = (struct scout_channel){.number = trial->number};
}

static void channel_ended(struct scout *scout, uint16_t number)
{
	for (uint32_t i = 0; i < scout->open_count; i++) {
		if (scout->open[i].number == number)
			scout->open[i] = scout->open[--scout->open_count];
	}
}

static void finish(struct scout *scout, struct trial *trial, enum scout_verdict verdict,
		   const struct fault *fault)
{
	list_unlink(&trial->node);
	trial->is_near = false;
	trial->losses = 0;
	if (scout->careful > 0)
		scout->careful--;
	/* Whatever came then: it is done. */
	trial->done(trial, trial->confirmed ? SCOUT_PASSED : verdict, fault);
}

static void finish_all(struct scout *scout, struct list *trials, const struct fault *fault)
{
	struct list ending;
	struct trial *trial;

	/* What is started anew meanwhile waits for its own turn. */
	list_init(&ending);
	list_splice(&ending, trials);
	while ((trial = list_first(&ending, struct trial, node)))
		finish(scout, trial, SCOUT_CANNOT, fault);
}

static struct trial *find(const struct scout *scout, uint16_t number)
{
	struct trial *trial;

	list_foreach (trial, &scout->under_way, node) {
		if (trial->number == number)
			return trial;
	}
	return NULL;
}

static void append_method(struct scout *scout, uint16_t number, const struct amqc_method *method)
{
	(void)amqc_method_append(&scout->conn.out, number, method);
}

/* The trial's frames, with its channel's number in each. */
static void append_frames(struct scout *scout, const struct trial *trial)
{
	struct span rest = buf_span(&trial->frames);

	while (rest.len >= AMQC_FRAME_OVERHEAD) {
		size_t size = (size_t)load_be32(rest.data + 3) + AMQC_FRAME_OVERHEAD;
		uint8_t *room = buf_reserve(&scout->conn.out, size);

		if (!room)
			return;
		memcpy(room, rest.data, size);
		store_be16(room + 1, trial->number);
		buf_commit(&scout->conn.out, size);
		rest = span_skip(rest, size);
	}
}

static void close_channel(struct scout *scout, uint16_t number)
{
	struct amqc_method close = {.id = AMQC_CHANNEL_CLOSE};

	close.channel_close.reply_code = AMQC_REPLY_SUCCESS;
	close.channel_close.reply_text = SPAN_LITERAL("done");
	for (uint32_t i = 0; i < scout->open_count; i++) {
		if (scout->open[i].number != number || scout->open[i].closing)
			continue;
		scout->open[i].closing = true;
		append_method(scout, number, &close);
	}
}

static void send(struct scout *scout, struct trial *trial)
{
	trial->number = ++scout->last_number;
	trial->left = trial->answers;
	trial->confirmed = false;
	trial->nacked = false;
	trial->returned = false;
	append_method(scout, trial->number, &(struct amqc_method){.id = AMQC_CHANNEL_OPEN});
	append_frames(scout, trial);
	list_unlink(&trial->node);
	open_channel(scout, trial);
	if (trial->left == 0)
		close_channel(scout, trial->number);
	list_append(&scout->under_way, &trial->node);
	conn_wrote(&scout->conn, scout->upstream->mux->now);
}

/* ------------------------------------------------------------------ the connection */

static void hang_up(struct scout *scout)
{
	struct trial *trial;

	list_foreach (trial, &scout->waiting, node)
		trial->is_near = false;
	list_foreach (trial, &scout->under_way, node)
		trial->is_near = false;
	scout->upstream->ops->scout_hang_up(scout->upstream->context);
	conn_reset(&scout->conn);
	scout->state = SCOUT_IDLE;
	scout->last_number = 0;
	scout->open_count = 0;
	scout->ending = false;
	disarm(scout);
}

static void cannot_connect(struct scout *scout)
{
	if (++scout->failures < FAILURES_MAX) {
		arm(scout, REDIAL_USEC);
		return;
	}
	log_warning("upstream \"%s\": the scout has no connection: %s", name_of(scout), scout->fault.text);
	scout->failures = 0;
	finish_all(scout, &scout->waiting, &scout->fault);
}

bool scout_is_told(const struct fault *fault)
{
	return fault->origin == FAULT_BROKER && amqc_reply_is_hard(fault->code) &&
	       fault->code != AMQC_CONNECTION_FORCED && !limit_is_meant(fault);
}

struct fault scout_silent_fault(void)
{
	return fault_make(AMQC_INTERNAL_ERROR, "the broker drops the connection for it, without a word");
}

/* One was under way alone: it is the reason, if the broker says so, or if it happens again and again. */
static void judge(struct scout *scout, struct trial *trial)
{
	struct fault fault = scout->fault;

	trial->losses += fault.origin != FAULT_BROKER;
	if (!trial->confirmed && !scout_is_told(&fault) && trial->losses < SILENT_LOSSES) {
		list_unlink(&trial->node);
		list_prepend(&scout->waiting, &trial->node);
		scout->careful++;
		return;
	}
	if (!scout_is_told(&fault))
		fault = scout_silent_fault();
	finish(scout, trial, SCOUT_KILLED, &fault);
}

static void take_back_all(struct scout *scout)
{
	struct trial *trial, *tmp;

	list_foreach_safe (trial, tmp, &scout->under_way, node) {
		if (trial->confirmed)
			finish(scout, trial, SCOUT_PASSED, &FAULT_NONE);
	}
	while ((trial = list_last(&scout->under_way, struct trial, node))) {
		list_unlink(&trial->node);
		list_prepend(&scout->waiting, &trial->node);
		scout->careful++;
	}
}

void scout_settle(struct scout *scout)
{
	struct trial *only = list_first(&scout->under_way, struct trial, node);

	if (!scout->ending)
		return;
	if (scout->state != SCOUT_OPEN) {
		hang_up(scout);
		cannot_connect(scout);
		return;
	}
	hang_up(scout);
	if (only && only->alone)
		judge(scout, only);
	else
		take_back_all(scout);
}

static void on_opened(void *context)
{
	struct scout *scout = context;

	scout->state = SCOUT_OPEN;
	scout->failures = 0;
	disarm(scout);
}

static void on_close(struct scout *scout, uint16_t number, const struct amqc_channel_close *close)
{
	struct fault fault =
	    fault_from_broker(close->reply_code, close->reply_text, close->class_id, close->method_id);
	struct trial *trial = find(scout, number);

	append_method(scout, number, &(struct amqc_method){.id = AMQC_CHANNEL_CLOSE_OK});
	channel_ended(scout, number);
	if (trial)
		finish(scout, trial, SCOUT_REFUSED, &fault);
}

static void on_close_ok(struct scout *scout, uint16_t number)
{
	struct trial *trial = find(scout, number);

	channel_ended(scout, number);
	if (trial)
		finish(scout, trial, SCOUT_PASSED, &FAULT_NONE);
}

static void on_answer(struct scout *scout, uint16_t number, enum amqc_method_id answer)
{
	struct amqc_method question = {.id = AMQC_CHANNEL_FLOW};
	struct trial *trial = find(scout, number);

	if (trial && answer == AMQC_BASIC_RETURN)
		trial->returned = true;
	if (answer == AMQC_BASIC_RETURN)
		return;
	if (!trial)
		close_channel(scout, number);
	if (!trial || trial->left == 0)
		return;
	trial->nacked |= answer == AMQC_BASIC_NACK;
	if (--trial->left > 0)
		return;
	question.channel_flow.active = true; /* as it is anyway */
	trial->confirmed = answer != AMQC_BASIC_CONSUME_OK;
	if (trial->confirmed)
		close_channel(scout, number);
	else
		append_method(scout, number, &question);
}

/* Of all that comes only awaited answers and the end of a channel count. */
static void on_frame(void *context, const struct amqc_frame *frame)
{
	struct scout *scout = context;
	struct amqc_method method;
	struct fault fault;

	if (frame->channel > scout->last_number) {
		fault = fault_make_retryable(
		    AMQC_CHANNEL_ERROR, "broker used channel %u, which was never opened", frame->channel);
		conn_end(&scout->conn, CONN_END_LOST, &fault);
		return;
	}
	if (frame->type != AMQC_FRAME_METHOD || amqc_method_decode(frame->payload, &method) != AMQC_OK)
		return;
	switch (method.id) {
	case AMQC_CHANNEL_CLOSE:
		on_close(scout, frame->channel, &method.channel_close);
		return;
	case AMQC_CHANNEL_CLOSE_OK:
		on_close_ok(scout, frame->channel);
		return;
	case AMQC_CHANNEL_FLOW_OK:
		close_channel(scout, frame->channel);
		return;
	case AMQC_BASIC_CONSUME_OK:
	case AMQC_BASIC_ACK:
	case AMQC_BASIC_NACK:
	case AMQC_BASIC_RETURN:
		on_answer(scout, frame->channel, method.id);
		return;
	default:
		return;
	}
}

static void on_blocked(void *context, bool blocked, struct span reason)
{
}

static void on_ended(void *context, enum conn_end end, const struct fault *fault)
{
	struct scout *scout = context;

	scout->ending = true;
	scout->fault = *fault;
}

static const struct conn_ops conn_ops = {
    .opened = on_opened, .frame = on_frame, .blocked = on_blocked, .ended = on_ended};

void scout_dialled(struct scout *scout, const struct handshake_options *options)
{
	conn_begin(&scout->conn, options, scout->upstream->mux->now);
}

void scout_dial_failed(struct scout *scout, const char *reason)
{
	scout->fault = fault_make_retryable(AMQC_CONNECTION_FORCED, "%s", reason);
	scout->ending = true;
}

void scout_lost(struct scout *scout, const char *reason)
{
	struct fault fault =
	    fault_make_retryable(AMQC_CONNECTION_FORCED, "connection to the broker was lost: %s", reason);

	conn_end(&scout->conn, CONN_END_LOST, &fault);
	scout_settle(scout);
}

size_t scout_feed(struct scout *scout, struct span bytes)
{
	size_t consumed = conn_feed(&scout->conn, bytes, scout->upstream->mux->now);

	scout_settle(scout);
	return consumed;
}

/* ------------------------------------------------------------------ a turn */

static void timer_fired(struct timer *timer, struct mono now)
{
	struct scout *scout = container_of(timer, struct scout, timer);

	switch (scout->state) {
	case SCOUT_IDLE:
		return; /* the turn dials */
	case SCOUT_DIALLING:
		scout_dial_failed(scout, "no connection within connect-timeout");
		return;
	case SCOUT_OPEN:
		if (conn_is_open(&scout->conn) && scout->open_count == 0) {
			conn_close(&scout->conn, AMQC_REPLY_SUCCESS, "done");
			arm(scout, ANSWER_USEC);
			return;
		}
		scout->fault = fault_make_retryable(AMQC_CONNECTION_FORCED, "the broker does not answer");
		hang_up(scout);
		finish_all(scout, &scout->under_way, &scout->fault);
		return;
	}
}

static void dial(struct scout *scout)
{
	const struct upstream *upstream = scout->upstream;

	if (!upstream->ops->scout_dial || upstream->closing) {
		scout->fault = fault_make_retryable(AMQC_CONNECTION_FORCED, "muxd stops");
		finish_all(scout, &scout->waiting, &scout->fault);
		return;
	}
	scout->state = SCOUT_DIALLING;
	scout->endpoint = upstream->good_endpoint;
	arm(scout, upstream->options.connect_timeout_usec);
	upstream->ops->scout_dial(upstream->context, scout->endpoint);
}

/* Nothing is under way. A connection without a number left makes room for a new one. */
static void rest(struct scout *scout)
{
	struct mono end = mono_add_usec(scout->upstream->mux->now, IDLE_USEC);

	if (!list_empty(&scout->waiting) && scout->last_number >= scout->conn.handshake.channel_max)
		hang_up(scout);
	else if (!timer_is_set(&scout->timer) || mono_before(end, scout->timer.when))
		arm(scout, IDLE_USEC);
}

/* A user's limit counts the channels of all connections: how many are left for this one. */
static uint32_t channels_left(const struct scout *scout)
{
	const struct upstream *upstream = scout->upstream;
	uint32_t used = upstream->lanes_open + upstream->resting[0] + upstream->resting[1];

	if (upstream->limit.lanes == 0)
		return SCOUT_OPEN_MAX;
	return used < upstream->limit.lanes ? upstream->limit.lanes - used : 0;
}

static struct trial *next_to_send(struct scout *scout)
{
	struct trial *trial;

	list_foreach (trial, &scout->waiting, node) {
		trial->is_near = true;
		if (!trial->waits || !trial->waits(trial))
			return trial;
	}
	return NULL;
}

static void send_waiting(struct scout *scout)
{
	uint32_t most = scout->careful > 0 ? 1 : SCOUT_OPEN_MAX, left = channels_left(scout);
	struct trial *trial;

	if (left == 0 && scout->open_count == 0) {
		scout->fault = fault_make_retryable(AMQC_NOT_ALLOWED, "the user has no channel left");
		finish_all(scout, &scout->waiting, &scout->fault);
	}
	if (left < most)
		most = left;

	while (scout->open_count < most && scout->last_number < scout->conn.handshake.channel_max &&
	       (trial = next_to_send(scout))) {
		send(scout, trial);
		arm(scout, ANSWER_USEC);
	}
	if (scout->open_count == 0)
		rest(scout);
	else if (buf_failed(&scout->conn.out))
		scout_lost(scout, "no memory for its output");
}

void scout_begin_anew(struct scout *scout)
{
	if (scout->state == SCOUT_DIALLING)
		hang_up(scout); /* the turn dials again */
}

void scout_turn(struct scout *scout)
{
	if (scout->state == SCOUT_IDLE && !list_empty(&scout->waiting) && !timer_is_set(&scout->timer))
		dial(scout);
	if (scout->state == SCOUT_OPEN && conn_is_open(&scout->conn))
		send_waiting(scout);
}

void scout_init(struct scout *scout, struct upstream *upstream)
{
	*scout = (struct scout){.upstream = upstream};
	(void)snprintf(scout->name, sizeof(scout->name), "%.48s (scout)", upstream->options.name);
	list_init(&scout->waiting);
	list_init(&scout->under_way);
	timer_init(&scout->timer, timer_fired);
	conn_init(&scout->conn, &upstream->mux->timers, &conn_ops, scout);
}

void scout_deinit(struct scout *scout)
{
	if (scout->state != SCOUT_IDLE)
		hang_up(scout);
	disarm(scout);
	conn_deinit(&scout->conn);
}
