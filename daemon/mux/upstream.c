#include "daemon/mux/upstream.h"

#include "daemon/amqp/reply.h"
#include "daemon/base/log.h"
#include "daemon/mux/alter.h"
#include "daemon/mux/blame.h"
#include "daemon/mux/channel.h"
#include "daemon/mux/clash.h"
#include "daemon/mux/delivery.h"
#include "daemon/mux/dispatch.h"
#include "daemon/mux/flow.h"
#include "daemon/mux/kinds.h"
#include "daemon/mux/lane.h"
#include "daemon/mux/party.h"
#include "daemon/mux/probe.h"
#include "daemon/mux/queues.h"
#include "daemon/mux/recovery.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/queues.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/topology.h"
#include "daemon/mux/state/upstream.h"
#include "daemon/mux/topology.h"

#include <errno.h>
#include <stdlib.h>

/* What we offer in the handshake; brokers have lower ones, mostly. */
#define OFFERED_CHANNEL_MAX 65535u
#define OFFERED_FRAME_MAX 131072u

/* The names are surface.md's, for status and scripts. */
const char *upstream_state_name(enum upstream_state state)
{
	switch (state) {
	case UPSTREAM_CONNECTING:
		return "connecting";
	case UPSTREAM_UP:
		return "up";
	case UPSTREAM_BACKOFF:
		return "backoff";
	case UPSTREAM_BLOCKED:
		return "blocked";
	case UPSTREAM_FAILED:
		return "failed";
	}
	return "unknown";
}

/* The one place where the state changes: sessions and the body are told. */
static void set_state(struct upstream *upstream, enum upstream_state state)
{
	struct session *session;

	upstream->state = state;
	list_foreach (session, &upstream->mux->sessions, node) {
		if (session->upstream == upstream && !session->ended)
			session->ops->upstream_changed(session->context);
	}
	upstream->ops->changed(upstream->context);
}

static void arm(struct upstream *upstream, uint64_t usec)
{
	struct mux *mux = upstream->mux;

	timerq_set(&mux->timers, &upstream->timer, mono_add_usec(mux->now, usec));
}

static const struct upstream_endpoint *endpoint_of(const struct upstream *upstream)
{
	return &upstream->options.endpoints[upstream->endpoint];
}

static void dial(struct upstream *upstream)
{
	upstream->endpoint = upstream->redial.endpoint;
	upstream->dialling = true;
	arm(upstream, upstream->options.connect_timeout_usec);
	/* A broker that refuses us does so until it is seen to let us in. */
	if (upstream->state != UPSTREAM_FAILED)
		set_state(upstream, UPSTREAM_CONNECTING);
	upstream->ops->dial(upstream->context, upstream->endpoint);
}

/* What waits unsent for a broker that refuses us is told so. */
static void refuse_waiting(struct upstream *upstream)
{
	struct channel *channel, *tmp;

	list_foreach_safe (channel, tmp, &upstream->waiting, lane_node)
		channel_refuse_waiting(channel, &upstream->last_fault);
	list_foreach_safe (channel, tmp, &upstream->recovery.channels_due, recovery_node)
		channel_refuse_waiting(channel, &upstream->last_fault);
}

static void dial_later(struct upstream *upstream, bool refused)
{
	const struct mux_options *options = &upstream->mux->options;
	enum upstream_state state = UPSTREAM_BACKOFF;
	uint64_t random, pause;

	options->random(options->context, &random, sizeof(random));
	pause = redial_failed(&upstream->redial, refused || upstream->lanes_denied, random);
	upstream->lanes_denied = false;
	log_upstream(LOG_LEVEL_WARNING, upstream, "%s: %s; trying again in %llu ms",
		     endpoint_of(upstream)->label, upstream->last_fault.text,
		     (unsigned long long)(pause / USEC_PER_MSEC));
	if (refused)
		upstream->refusal = upstream->last_fault;
	/* While there are others to try, none of them has said the last word. */
	if (!redial_round_is_over(&upstream->redial))
		state = upstream->state == UPSTREAM_FAILED ? UPSTREAM_FAILED : UPSTREAM_BACKOFF;
	else if (fault_is_set(&upstream->refusal))
		state = UPSTREAM_FAILED;
	if (state == UPSTREAM_FAILED && redial_round_is_over(&upstream->redial)) {
		upstream->last_fault = upstream->refusal;
		upstream->refusal = FAULT_NONE;
	}
	set_state(upstream, state);
	if (state == UPSTREAM_FAILED)
		refuse_waiting(upstream);
	arm(upstream, pause);
}

static void lose_lanes(struct upstream *upstream)
{
	recovery_lost(upstream);
	for (uint32_t number = 1; number <= upstream->lane_max; number++) {
		struct lane *lane = upstream->lanes[number];

		if (lane && lane->channel)
			channel_lost_lane(lane->channel, &upstream->last_fault);
	}
	lanes_end(upstream);
	queues_connection_lost(upstream);
	clashes_connection_lost(upstream);
}

void upstream_settle(struct upstream *upstream)
{
	if (!upstream->ending)
		return;
	upstream->ending = false;
	upstream->ops->hang_up(upstream->context);
	upstream->dialling = false;
	conn_reset(&upstream->conn);
	timerq_clear(&upstream->mux->timers, &upstream->timer);
	if (upstream->end == CONN_END_LOST)
		blame_connection_lost(upstream, &upstream->end_fault);
	lose_lanes(upstream);
	blame_begin(upstream);
	if (upstream->closing)
		upstream->ops->changed(upstream->context);
	else
		dial_later(upstream, upstream->end == CONN_END_REFUSED);
}

/* ------------------------------------------------------------------ events of the connection */

static void on_opened(void *context)
{
	struct upstream *upstream = context;

	timerq_clear(&upstream->mux->timers, &upstream->timer);
	if (lanes_begin(upstream, upstream->conn.handshake.channel_max) < 0) {
		struct fault fault =
		    fault_make_retryable(AMQC_RESOURCE_ERROR, "no memory for the connection");

		conn_end(&upstream->conn, CONN_END_LOST, &fault);
		return;
	}
	upstream->refusal = FAULT_NONE;
	window_reset(&upstream->window);
	upstream->epoch++;
	upstream->opened = upstream->mux->now;
	upstream->good_endpoint = upstream->endpoint;
	log_upstream(LOG_LEVEL_NOTICE, upstream, "connected to %s (%s), vhost \"%s\", epoch %llu",
		     endpoint_of(upstream)->label, upstream->conn.handshake.broker,
		     endpoint_of(upstream)->vhost, (unsigned long long)upstream->epoch);
	recovery_begin(upstream);
	set_state(upstream, UPSTREAM_UP);
}

static void on_frame(void *context, const struct amqc_frame *frame)
{
	dispatch_frame(context, frame);
}

static void on_blocked(void *context, bool blocked, struct span reason)
{
	struct upstream *upstream = context;
	char text[128];

	if (blocked) {
		upstream->last_fault =
		    fault_make_retryable(AMQC_RESOURCE_ERROR, "broker takes no publishes: %s",
					 log_clean(text, sizeof(text), reason));
		log_upstream(LOG_LEVEL_WARNING, upstream, "%s", upstream->last_fault.text);
	} else {
		log_upstream(LOG_LEVEL_NOTICE, upstream, "broker takes publishes again");
		flow_release(upstream);
	}
	set_state(upstream, blocked ? UPSTREAM_BLOCKED : UPSTREAM_UP);
}

/* Dealt with when nobody has lanes or channels on the stack. */
static void on_ended(void *context, enum conn_end end, const struct fault *fault)
{
	struct upstream *upstream = context;

	upstream->ending = true;
	upstream->end = end;
	upstream->end_fault = *fault;
	if (!fault_is_set(fault))
		return;
	lanes_heed(upstream, fault);
	upstream->last_fault = *fault;
	upstream->last_fault.retryable = true;
	/* An operator's close, or a shutdown: whatever method it names is not to blame. */
	if (fault->code == AMQC_CONNECTION_FORCED) {
		upstream->last_fault.class_id = 0;
		upstream->last_fault.method_id = 0;
	}
	/* To channels it is a forced close, whatever the cause; the text says which. */
	if (end == CONN_END_LOST)
		upstream->last_fault.code = AMQC_CONNECTION_FORCED;
}

static const struct conn_ops conn_ops = {
    .opened = on_opened, .frame = on_frame, .blocked = on_blocked, .ended = on_ended};

/* ------------------------------------------------------------------ events of the transport and timers */

static struct handshake_options handshake_options(const struct upstream *upstream, size_t index)
{
	const struct upstream_endpoint *endpoint = &upstream->options.endpoints[index];

	return (struct handshake_options){
	    .sasl = upstream->options.sasl,
	    .user = endpoint->user,
	    .password = endpoint->password,
	    .vhost = endpoint->vhost,
	    .connection_name = upstream->options.name,
	    .channel_max = OFFERED_CHANNEL_MAX,
	    .frame_max = OFFERED_FRAME_MAX,
	    .heartbeat_sec = (uint16_t)upstream->options.heartbeat_sec,
	};
}

void upstream_dialled(struct upstream *upstream)
{
	struct handshake_options options = handshake_options(upstream, upstream->endpoint);

	conn_begin(&upstream->conn, &options, upstream->mux->now);
}

void upstream_dial_failed(struct upstream *upstream, const char *reason)
{
	if (upstream->ending || !upstream->dialling)
		return;
	upstream->dialling = false;
	timerq_clear(&upstream->mux->timers, &upstream->timer);
	upstream->last_fault = fault_make_retryable(AMQC_CONNECTION_FORCED, "%s", reason);
	if (!upstream->closing)
		dial_later(upstream, false);
}

void upstream_lost(struct upstream *upstream, const char *reason)
{
	struct conn *conn = &upstream->conn;
	struct fault fault =
	    conn->state == CONN_HANDSHAKE
		? fault_make_retryable(AMQC_CONNECTION_FORCED,
				       "connection to the broker ended in the handshake, %s: %s",
				       handshake_state_text(conn->handshake.state), reason)
		: fault_make_retryable(AMQC_CONNECTION_FORCED, "connection to the broker was lost: %s",
				       reason);

	conn_end(conn, conn->state == CONN_CLOSING ? CONN_END_CLOSED : CONN_END_LOST, &fault);
	upstream_settle(upstream);
}

size_t upstream_feed(struct upstream *upstream, struct span bytes)
{
	size_t consumed = conn_feed(&upstream->conn, bytes, upstream->mux->now);

	upstream_settle(upstream);
	return consumed;
}

void upstream_scout_dialled(struct upstream *upstream)
{
	struct handshake_options options = handshake_options(upstream, upstream->scout.endpoint);

	options.connection_name = upstream->scout.name;
	scout_dialled(&upstream->scout, &options);
}

void upstream_scout_dial_failed(struct upstream *upstream, const char *reason)
{
	scout_dial_failed(&upstream->scout, reason);
}

void upstream_scout_lost(struct upstream *upstream, const char *reason)
{
	scout_lost(&upstream->scout, reason);
}

size_t upstream_scout_feed(struct upstream *upstream, struct span bytes)
{
	return scout_feed(&upstream->scout, bytes);
}

struct buf *upstream_scout_output(struct upstream *upstream)
{
	return &upstream->scout.conn.out;
}

/* Dial and handshake took too long. */
static void connect_timed_out(struct upstream *upstream)
{
	struct fault fault = fault_make_retryable(
	    AMQC_CONNECTION_FORCED, "no connection within connect-timeout (%llu ms)%s",
	    (unsigned long long)(upstream->options.connect_timeout_usec / USEC_PER_MSEC),
	    upstream->conn.state == CONN_HANDSHAKE ? ": the peer does not finish the AMQP handshake" : "");

	upstream->ending = true;
	upstream->end = CONN_END_LOST;
	upstream->last_fault = fault;
	upstream_settle(upstream);
}

static void upstream_timer_fired(struct timer *timer, struct mono now)
{
	struct upstream *upstream = container_of(timer, struct upstream, timer);

	if (upstream->closing) {
		upstream->ending = upstream->dialling;
		upstream->end = CONN_END_CLOSED;
		upstream_settle(upstream);
	} else if (upstream->dialling) {
		connect_timed_out(upstream);
	} else {
		upstream->reconnects += upstream->epoch > 0;
		dial(upstream);
	}
}

/* ------------------------------------------------------------------ a turn */

/* Lanes that will be free soon: being closed, or fenced. */
static uint32_t lanes_coming(const struct upstream *upstream)
{
	return upstream->lanes_open - upstream->lanes_leased - upstream->lanes_warm;
}

static uint32_t list_length(const struct list *list)
{
	const struct list *node;
	uint32_t length = 0;

	for (node = list->next; node != list; node = node->next)
		length++;
	return length;
}

/* All numbers are in use: channels that would not miss theirs give them up, one for each that waits. */
static void reclaim_idle(struct upstream *upstream)
{
	uint32_t coming = lanes_coming(upstream), wanted;
	struct lane *lane;

	if (list_empty(&upstream->idle))
		return;
	wanted = list_length(&upstream->recovery.channels_due) + list_length(&upstream->waiting) +
		 !list_empty(&upstream->recovery.due);
	for (; coming < wanted; coming++) {
		lane = list_first(&upstream->idle, struct lane, node);
		if (!lane)
			return;
		channel_give_up_lane(lane->channel);
	}
}

static void serve_waiting(struct upstream *upstream)
{
	struct channel *channel;

	/* What is to come back has the first lanes. */
	if (!list_empty(&upstream->recovery.due) || !list_empty(&upstream->recovery.channels_due)) {
		reclaim_idle(upstream);
		return;
	}
	while ((channel = list_first(&upstream->waiting, struct channel, lane_node))) {
		if (!channel_lease(channel)) {
			reclaim_idle(upstream);
			return;
		}
		list_unlink(&channel->lane_node);
		lane_ready(channel->lane);
	}
	lanes_keep_warm(upstream);
}

static void turn(struct upstream *upstream)
{
	if (upstream->queue_freed)
		flow_release(upstream);
	else if (upstream->window_freed)
		party_release(upstream, false);
	upstream->queue_freed = false;
	upstream->window_freed = false;
	recovery_turn(upstream);
	if (recovery_is_over(upstream)) {
		blame_turn(upstream);
		serve_waiting(upstream);
	}
	flow_ask(upstream);
	upstream_pump(upstream);
}

void upstream_turn(struct upstream *upstream)
{
	upstream_settle(upstream);
	scout_settle(&upstream->scout);
	if (conn_is_open(&upstream->conn))
		turn(upstream);
	scout_turn(&upstream->scout);
}

void upstream_pump(struct upstream *upstream)
{
	flow_pump(upstream);
	/* Who is refused on the way out may have been waited for. Each time it is one less. */
	while (upstream->queue_freed && conn_is_open(&upstream->conn)) {
		upstream->queue_freed = false;
		flow_release(upstream);
		flow_pump(upstream);
	}
	if (buf_failed(&upstream->conn.out)) {
		struct fault fault =
		    fault_make_retryable(AMQC_RESOURCE_ERROR, "no memory for the connection's output");

		conn_end(&upstream->conn, CONN_END_LOST, &fault);
	}
}

struct buf *upstream_output(struct upstream *upstream)
{
	return &upstream->conn.out;
}

/* ------------------------------------------------------------------ beginning and end */

int upstream_new(struct mux *mux, const struct upstream_options *options, const struct upstream_ops *ops,
		 void *context, struct upstream **ret)
{
	struct upstream *upstream;

	if (!list_empty(&mux->upstreams) && mux_find_upstream(mux, span_str(options->name)))
		return -EEXIST;
	upstream = calloc(1, sizeof(*upstream));
	if (!upstream)
		return -ENOMEM;
	if (options_copy(&upstream->options, options) < 0) {
		free(upstream);
		return -ENOMEM;
	}
	upstream->mux = mux;
	upstream->ops = ops;
	upstream->context = context;
	upstream->state = UPSTREAM_CONNECTING;
	redial_init(&upstream->redial, options->reconnect_min_usec, options->reconnect_max_usec,
		    options->endpoint_count);
	timer_init(&upstream->timer, upstream_timer_fired);
	conn_init(&upstream->conn, &mux->timers, &conn_ops, upstream);
	parties_init(upstream);
	window_init(&upstream->window, options->unconfirmed_bytes, options->adaptive_window);
	list_init(&upstream->waiting);
	lanes_init(upstream);
	list_init(&upstream->orphans);
	upstream->queues = MAP_INIT;
	topology_init(&upstream->topology);
	clashes_init(upstream);
	recovery_init(upstream);
	scout_init(&upstream->scout, upstream);
	blame_init(upstream);
	probes_init(upstream);
	upstream->kinds.by_name = MAP_INIT;
	list_init(&upstream->kinds.order);
	list_append(&mux->upstreams, &upstream->node);
	*ret = upstream;
	return 0;
}

void upstream_start(struct upstream *upstream)
{
	dial(upstream);
}

void upstream_try_anew(struct upstream *upstream)
{
	bool waits = timer_is_set(&upstream->timer);

	if (upstream->closing || upstream->ending || conn_is_open(&upstream->conn) ||
	    !(upstream->dialling || waits))
		return;
	if (upstream->dialling) {
		upstream->ops->hang_up(upstream->context);
		conn_reset(&upstream->conn);
	} else {
		upstream->reconnects += upstream->epoch > 0;
	}
	upstream->redial.endpoint = 0;
	upstream->refusal = FAULT_NONE;
	dial(upstream);
}

void upstream_free(struct upstream *upstream)
{
	struct fault fault = fault_make(AMQC_CONNECTION_FORCED, "muxd ends");
	struct channel *maker = upstream->recovery.maker;
	struct channel *channel, *tmp;

	blame_deinit(upstream);
	probes_deinit(upstream);
	scout_deinit(&upstream->scout);
	conn_reset(&upstream->conn); /* so that nothing looks for another lane */
	lose_lanes(upstream);
	if (maker)
		channel_free(maker);
	list_foreach_safe (channel, tmp, &upstream->orphans, node) {
		channel_fail_without_lane(channel, &fault);
		channel_free(channel);
	}
	if (upstream->housekeeper) {
		channel_fail_without_lane(upstream->housekeeper, &fault);
		channel_free(upstream->housekeeper);
	}
	queues_connection_lost(upstream);
	topology_deinit(&upstream->topology);
	clashes_deinit(upstream);
	map_deinit(&upstream->queues);
	kinds_deinit(upstream);
	timerq_clear(&upstream->mux->timers, &upstream->timer);
	lanes_deinit(upstream);
	conn_deinit(&upstream->conn);
	options_free(&upstream->options);
	list_unlink(&upstream->node);
	free(upstream);
}

void upstream_close(struct upstream *upstream, uint64_t timeout_usec)
{
	upstream->closing = true;
	arm(upstream, timeout_usec);
	if (conn_is_open(&upstream->conn)) {
		conn_close(&upstream->conn, AMQC_REPLY_SUCCESS, "muxd stops");
		return;
	}
	upstream->ending = upstream->dialling;
	upstream->end = CONN_END_CLOSED;
	upstream_settle(upstream);
}

bool upstream_is_closed(const struct upstream *upstream)
{
	return upstream->closing && !upstream->dialling;
}

bool upstream_is_drained(const struct upstream *upstream)
{
	const struct channel *channel;

	list_foreach (channel, &upstream->orphans, node) {
		if (channel->unsettled > 0)
			return false;
	}
	return true;
}
