#include "daemon/mux/lane.h"

#include "daemon/base/log.h"
#include "daemon/mux/clash.h"
#include "daemon/mux/party.h"
#include "daemon/mux/publish.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/uncommitted.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* So many times what is warmed ahead is kept of what comes back: a burst returns all at once. */
#define WARM_KEPT_FACTOR 2u

/* Where a limit is near, a number that was closed counts as open for one to two of these (lane_release()). */
#define REST_USEC (500 * USEC_PER_MSEC)

/* Who waits is looked at then, if nothing else happens before. */
static void wake_at(struct upstream *upstream, struct mono when)
{
	struct timer *timer = &upstream->lane_timer;

	if (timer_is_set(timer) && !mono_before(when, timer->when))
		return;
	timerq_set(&upstream->mux->timers, timer, when);
}

static void lane_timer_fired(struct timer *timer, struct mono now)
{
	struct upstream *upstream = container_of(timer, struct upstream, lane_timer);

	upstream->resting[1] = upstream->resting[0];
	upstream->resting[0] = 0;
	if (upstream->resting[1] > 0)
		wake_at(upstream, mono_add_usec(now, REST_USEC));
}

void lanes_init(struct upstream *upstream)
{
	list_init(&upstream->warm);
	list_init(&upstream->idle);
	timer_init(&upstream->lane_timer, lane_timer_fired);
}

void lanes_deinit(struct upstream *upstream)
{
	timerq_clear(&upstream->mux->timers, &upstream->lane_timer);
}

void lanes_heed(struct upstream *upstream, const struct fault *fault)
{
	struct limit *limit = &upstream->limit;

	if (!limit_is_meant(fault) || upstream->lanes_answered == upstream->lanes_open)
		return;
	upstream->lanes_denied = upstream->lanes_answered == 0;
	/* The scout's channels count for the user, too. */
	limit_learn(limit, upstream->lanes_answered + upstream->scout.open_count, fault, upstream->mux->now);
	log_upstream(LOG_LEVEL_WARNING, upstream,
		     "broker opened %u channels and not one more: no more than %u are used",
		     upstream->lanes_answered, limit->lanes);
}

int lanes_begin(struct upstream *upstream, uint16_t channel_max)
{
	limit_connected(&upstream->limit, upstream->mux->now);
	upstream->lanes = calloc((size_t)channel_max + 1, sizeof(struct lane *));
	if (!upstream->lanes)
		return -ENOMEM;
	upstream->lane_max = channel_max;
	upstream->lane_last = 0;
	upstream->lane_highest = 0;
	return 0;
}

static void drop_awaiting(struct lane *lane)
{
	while (!list_empty(&lane->awaiting)) {
		struct request *request = container_of(lane->awaiting.next, struct request, op.node);

		if (request->method == AMQC_CHANNEL_FLOW && !clash_forget_question(lane->upstream, request))
			window_ask_again(&lane->upstream->window);
		request_drop(request);
	}
}

static void lane_free(struct lane *lane)
{
	struct upstream *upstream = lane->upstream;

	list_unlink(&lane->node);
	list_unlink(&lane->send_node);
	upstream->lanes[lane->number] = NULL;
	upstream->lanes_open--;
	upstream->lanes_answered -= lane->answered;
	drop_awaiting(lane);
	assemble_deinit(&lane->in);
	buf_deinit(&lane->control);
	publish_sent(lane);
	uncommitted_all_read(lane);
	confirms_deinit(lane);
	free(lane);
	clash_confirmed(upstream);
}

/* It will not be leased from here on: it is neither warm nor fenced. */
static void stop_resting(struct lane *lane)
{
	if (lane->state == LANE_FENCED)
		lane->upstream->lanes_fenced--;
	else if (lane->state == LANE_OPEN && !lane->channel)
		lane->upstream->lanes_warm--;
	list_unlink(&lane->node);
	lane->state = LANE_CLOSING;
}

void lanes_end(struct upstream *upstream)
{
	if (!upstream->lanes)
		return;
	for (uint32_t number = 1; number <= upstream->lane_max; number++) {
		struct lane *lane = upstream->lanes[number];

		if (!lane)
			continue;
		assert(!lane->channel);
		stop_resting(lane);
		lane_free(lane);
	}
	free(upstream->lanes);
	upstream->lanes = NULL;
	upstream->lane_max = 0;
	upstream->resting[0] = 0;
	upstream->resting[1] = 0;
	timerq_clear(&upstream->mux->timers, &upstream->lane_timer);
}

/* How many lanes there may be now. Beyond a limit it is tried for who needs one, and not to keep it warm. */
static uint32_t lanes_allowed(const struct upstream *upstream, bool needed)
{
	const struct limit *limit = &upstream->limit;
	uint32_t most = limit_most(limit, upstream->lane_max);

	if (needed && most < upstream->lane_max && !mono_before(upstream->mux->now, limit_next_try(limit)))
		most++;
	if (limit->lanes > 0)
		most -= most > upstream->scout.open_count ? upstream->scout.open_count : most;
	return most;
}

/* The next number that is free, going round, so that a number rests as long as possible. 0: none. */
static uint16_t free_number(struct upstream *upstream, bool needed)
{
	uint32_t number = upstream->lane_last;
	uint32_t used = upstream->lanes_open + upstream->resting[0] + upstream->resting[1];

	if (used >= lanes_allowed(upstream, needed))
		return 0;
	do {
		number = number >= upstream->lane_max ? 1 : number + 1;
	} while (upstream->lanes[number]);
	return (uint16_t)number;
}

static struct lane *lane_new(struct upstream *upstream, bool needed, bool tx)
{
	struct amqc_method select = {.id = tx ? AMQC_TX_SELECT : AMQC_CONFIRM_SELECT};
	uint16_t number = free_number(upstream, needed);
	struct request *request;
	struct lane *lane;

	if (number == 0)
		return NULL;
	lane = calloc(1, sizeof(*lane));
	if (!lane)
		return NULL;
	lane->upstream = upstream;
	lane->party = &upstream->common;
	lane->number = number;
	lane->state = LANE_OPEN;
	lane->tx.on = tx;
	list_init(&lane->node);
	list_init(&lane->send_node);
	list_init(&lane->awaiting);
	list_init(&lane->cancels);
	assemble_init(&lane->in);
	lane->confirms.first = 1;
	lane->confirms.next = 1;
	if (!request_send_own(lane, &(struct amqc_method){.id = AMQC_CHANNEL_OPEN}) ||
	    !request_send_own(lane, &select)) {
		while ((request = list_first(&lane->awaiting, struct request, op.node)))
			request_drop(request);
		buf_deinit(&lane->control);
		free(lane);
		return NULL;
	}
	upstream->lanes[number] = lane;
	upstream->lane_last = number;
	if (number > upstream->lane_highest)
		upstream->lane_highest = number;
	upstream->lanes_open++;
	lane_ready(lane);
	return lane;
}

void lane_answered(struct lane *lane)
{
	struct upstream *upstream = lane->upstream;

	if (lane->answered)
		return;
	lane->answered = true;
	upstream->lanes_answered++;
	limit_opened(&upstream->limit, upstream->lanes_answered);
}

void lanes_explain(const struct upstream *upstream, char *room, size_t size)
{
	uint32_t most = limit_most(&upstream->limit, upstream->lane_max);

	*room = '\0';
	if (conn_is_open(&upstream->conn) && upstream->lanes_leased >= most)
		(void)snprintf(room, size,
			       ": all %u channels that the broker allows are in use, by consumers, unsettled "
			       "messages, or what has no answer yet",
			       most);
}

/* All numbers may be those of lanes that wait for others: one makes room, unless another does already. */
static void make_room(struct upstream *upstream)
{
	struct lane *lane = list_first(&upstream->warm, struct lane, node);

	if (lane &&
	    upstream->lanes_open == upstream->lanes_leased + upstream->lanes_warm + upstream->lanes_fenced)
		lane_retire(lane);
}

bool lane_lease(struct upstream *upstream, struct channel *channel, bool tx)
{
	struct lane *lane = tx ? NULL : list_first(&upstream->warm, struct lane, node);

	assert(!channel->lane);
	if (lane)
		upstream->lanes_warm--;
	else
		lane = lane_new(upstream, true, tx);
	if (!lane) {
		if (tx)
			make_room(upstream);
		if (!mono_is_never(limit_next_try(&upstream->limit)))
			wake_at(upstream, limit_next_try(&upstream->limit));
		return false;
	}
	list_unlink(&lane->node);
	lane->channel = channel;
	channel->lane = lane;
	if (channel->session)
		party_take(&channel->session->party, lane);
	upstream->lanes_leased++;
	return true;
}

/* The one place where a lease ends. */
void lane_detach(struct lane *lane)
{
	assert(lane->channel && lane->channel->lane == lane);
	lane->channel->lane = NULL;
	lane->channel = NULL;
	lane->tx.end = NULL;
	party_take(&lane->upstream->common, lane);
	lane->upstream->lanes_leased--;
	list_unlink(&lane->node);
	lane->state = LANE_CLOSING;
}

/* What was about to be sent never will be; those in awaiting are dropped with the lane. */
static void drop_control(struct lane *lane)
{
	buf_truncate(&lane->control, 0);
	clash_control_left(lane);
}

static void send_close(struct lane *lane)
{
	struct amqc_method close = {.id = AMQC_CHANNEL_CLOSE};

	close.channel_close.reply_code = 200;
	close.channel_close.reply_text = SPAN_LITERAL("done");
	lane_control(lane, &close);
}

void lane_close(struct lane *lane)
{
	/* RabbitMQ takes a close behind an unanswered commit, and nothing else. */
	if (lane->tx.end)
		drop_control(lane);
	lane_detach(lane);
	send_close(lane);
}

void lane_retire(struct lane *lane)
{
	assert(!lane->channel && lane->state != LANE_CLOSING);
	stop_resting(lane);
	send_close(lane);
}

/* Nothing that happened on it can be felt by its next lessee, once the broker has answered what was sent. */
static bool is_as_good_as_new(const struct lane *lane)
{
	const struct request *request;

	list_foreach (request, &lane->awaiting, op.node) {
		if (request->method != AMQC_CHANNEL_OPEN && request->method != AMQC_CONFIRM_SELECT &&
		    request->method != AMQC_CHANNEL_FLOW)
			return false;
	}
	return !lane->consumed && !lane->tx.on && lane->confirms.first == lane->confirms.next &&
	       !lane->sending && lane->in.state == ASSEMBLE_IDLE;
}

static uint32_t warm_most(const struct upstream *upstream)
{
	return WARM_KEPT_FACTOR * upstream->options.warm_lanes;
}

/* Somebody waits for it, or not too many are kept. */
static bool is_wanted(const struct upstream *upstream)
{
	return !list_empty(&upstream->waiting) ||
	       upstream->lanes_warm + upstream->lanes_fenced < warm_most(upstream);
}

void lane_hand_back(struct lane *lane)
{
	struct upstream *upstream = lane->upstream;

	if (!is_as_good_as_new(lane) || !is_wanted(upstream) || !conn_is_open(&upstream->conn)) {
		lane_close(lane);
		return;
	}
	/* Select again changes nothing, and is answered in its turn (RabbitMQ, rabbit_channel). */
	lane->barrier = request_send_own(lane, &(struct amqc_method){.id = AMQC_CONFIRM_SELECT});
	if (!lane->barrier) {
		lane_close(lane);
		return;
	}
	lane_detach(lane);
	lane->state = LANE_FENCED;
	lane->served = false;
	upstream->lanes_fenced++;
	confirms_rest(lane);
	lane_ready(lane);
}

void lane_barrier_passed(struct lane *lane)
{
	struct upstream *upstream = lane->upstream;

	lane->barrier = NULL;
	upstream->lanes_fenced--;
	upstream->lanes_warm++;
	lane->state = LANE_OPEN;
	list_append(&upstream->warm, &lane->node);
}

void lanes_keep_warm(struct upstream *upstream)
{
	while (upstream->lanes_warm > warm_most(upstream))
		lane_retire(list_first(&upstream->warm, struct lane, node));
	while (upstream->lanes_warm < upstream->options.warm_lanes) {
		struct lane *lane = lane_new(upstream, false, false);

		if (!lane)
			return;
		list_append(&upstream->warm, &lane->node);
		upstream->lanes_warm++;
	}
}

void lane_closed_by_broker(struct lane *lane)
{
	/* Both may close at once; then the number is not free before the broker's close-ok to ours. */
	bool ours_sent = lane->state == LANE_CLOSING && !lane->close_ok_due && buf_len(&lane->control) == 0;

	if (lane->channel)
		lane_detach(lane);
	else
		stop_resting(lane);
	lane->close_ok_due = !ours_sent;
	/* What was about to be sent is of no use to a closed channel, and must not come behind close-ok. */
	drop_control(lane);
	lane_control(lane, &(struct amqc_method){.id = AMQC_CHANNEL_CLOSE_OK});
}

void lane_close_confirmed(struct lane *lane)
{
	/* Closes crossed, and the broker still waits for our close-ok. */
	if (buf_len(&lane->control) > 0)
		lane->close_ok_due = true;
	else
		lane_release(lane);
}

/*
 * RabbitMQ counts the channels of a user a little behind channel.close-ok
 * (rabbit_channel_tracking): at the limit, one opened at once could be one too
 * many.
 */
void lane_release(struct lane *lane)
{
	struct upstream *upstream = lane->upstream;

	lane_free(lane);
	if (upstream->limit.lanes == 0)
		return;
	upstream->resting[0]++;
	wake_at(upstream, mono_add_usec(upstream->mux->now, REST_USEC));
}

void lane_ready(struct lane *lane)
{
	party_ready(lane);
}

void lane_control(struct lane *lane, const struct amqc_method *method)
{
	if (amqc_method_append(&lane->control, lane->number, method) != AMQC_OK)
		log_error("a method of muxd's own cannot be encoded: %s", amqc_method_name(method->id));
	/* It counts as sent, so nothing would ever make up for it. */
	if (buf_failed(&lane->control))
		conn_cannot_write(&lane->upstream->conn);
	lane_ready(lane);
}

void lane_set_idle(struct lane *lane, bool idle)
{
	bool is_idle = !list_empty(&lane->node);

	if (idle == is_idle)
		return;
	if (idle)
		list_append(&lane->upstream->idle, &lane->node);
	else
		list_unlink(&lane->node);
}
