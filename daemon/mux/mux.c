#include "daemon/mux/mux.h"

#include "daemon/mux/channel.h"
#include "daemon/mux/credit.h"
#include "daemon/mux/recovery.h"
#include "daemon/mux/session.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/upstream.h"
#include "daemon/mux/upstream.h"

#include <errno.h>
#include <stdlib.h>

#define TIMERS_PER_TURN 1024u

int mux_new(const struct mux_options *options, struct mux **ret)
{
	struct mux *mux = calloc(1, sizeof(*mux));

	if (!mux)
		return -ENOMEM;
	mux->options = *options;
	mux->timers = TIMERQ_INIT;
	mux->pool = POOL_INIT;
	mux->memory = ACCOUNT_INIT(NULL, options->limits.total_memory);
	mux->orphaned = ACCOUNT_INIT(&mux->memory, options->limits.total_memory / 2);
	list_init(&mux->upstreams);
	list_init(&mux->sessions);
	mux->users = MAP_INIT;
	list_init(&mux->user_list);
	list_init(&mux->touched);
	list_init(&mux->unhurried);
	timer_init(&mux->ack_timer, channel_flush_unhurried);
	list_init(&mux->credits);
	list_init(&mux->wants);
	mux->scratch = BUF_INIT;
	*ret = mux;
	return 0;
}

static void run_touched(struct mux *mux)
{
	struct channel *channel;

	while ((channel = list_first(&mux->touched, struct channel, touched_node))) {
		list_unlink(&channel->touched_node);
		channel_turn(channel);
	}
}

void mux_free(struct mux *mux)
{
	struct session *session;
	struct upstream *upstream;

	if (!mux)
		return;
	while ((session = list_first(&mux->sessions, struct session, node)))
		session_end(session);
	run_touched(mux);
	while ((upstream = list_first(&mux->upstreams, struct upstream, node)))
		upstream_free(upstream);
	map_deinit(&mux->users);
	pool_deinit(&mux->pool);
	buf_deinit(&mux->scratch);
	free(mux);
}

void mux_set_now(struct mux *mux, struct mono now)
{
	mux->now = now;
}

struct mono mux_next_deadline(const struct mux *mux)
{
	return timerq_next(&mux->timers);
}

void mux_run_timers(struct mux *mux)
{
	struct upstream *upstream;

	timerq_run(&mux->timers, mux->now, TIMERS_PER_TURN);
	list_foreach (upstream, &mux->upstreams, node)
		upstream_settle(upstream);
}

void mux_turn(struct mux *mux)
{
	struct upstream *upstream;

	run_touched(mux);
	list_foreach (upstream, &mux->upstreams, node)
		upstream_turn(upstream);
	/* Sending may have ended some publishes at once, and so their channels. */
	if (!list_empty(&mux->touched)) {
		run_touched(mux);
		list_foreach (upstream, &mux->upstreams, node)
			upstream_pump(upstream);
	}
	credit_turn(mux);
}

#define PROMPT_USEC 2000u /* how long one prompt message keeps the loop prompt */
#define PAUSE_USEC 200u

uint64_t mux_pause_usec(const struct mux *mux)
{
	if (!pace_is_dense(&mux->pace, mux->now) || mono_since_usec(mux->now, mux->prompt) < PROMPT_USEC)
		return 0;
	return PAUSE_USEC;
}

uint64_t mux_memory_used(const struct mux *mux)
{
	return mux->memory.used;
}

uint64_t mux_memory_limit(const struct mux *mux)
{
	return mux->memory.limit;
}

uint32_t mux_session_count(const struct mux *mux)
{
	return mux->session_count;
}

uint32_t mux_channel_count(const struct mux *mux)
{
	const struct session *session;
	uint32_t count = 0;

	list_foreach (session, &mux->sessions, node)
		count += session->channel_count;
	return count;
}

/* ------------------------------------------------------------------ looking */

struct upstream *mux_first_upstream(struct mux *mux)
{
	return list_first(&mux->upstreams, struct upstream, node);
}

struct upstream *mux_next_upstream(struct upstream *upstream)
{
	return upstream->node.next == &upstream->mux->upstreams
		   ? NULL
		   : container_of(upstream->node.next, struct upstream, node);
}

struct upstream *mux_find_upstream(struct mux *mux, struct span name)
{
	struct upstream *upstream;

	list_foreach (upstream, &mux->upstreams, node) {
		if (!upstream->retired && (name.len == 0 || span_equal_str(name, upstream->options.name)))
			return upstream;
	}
	return NULL;
}

void upstream_get_info(const struct upstream *upstream, struct upstream_info *ret)
{
	*ret = (struct upstream_info){
	    .name = upstream->options.name,
	    .state = upstream->state,
	    .endpoint = upstream->options.endpoints[upstream->endpoint].label,
	    .broker = upstream->conn.handshake.broker,
	    .epoch = upstream->epoch,
	    .reconnects = upstream->reconnects,
	    .last_error = upstream->last_fault.text,
	    .lanes_max = limit_most(&upstream->limit, upstream->lane_max),
	    .lanes_open = upstream->lanes_open,
	    .lanes_leased = upstream->lanes_leased,
	    .lanes_warm = upstream->lanes_warm,
	    .unconfirmed = upstream->unconfirmed_messages,
	    .unconfirmed_bytes = upstream->unconfirmed_bytes,
	    .window_bytes = window_bytes(&upstream->window),
	    .held = upstream->held_back,
	    .probes = upstream->probe_count,
	    .recovering = !recovery_is_over(upstream),
	    .sessions = upstream->session_count,
	    .listed = upstream->endpoint < upstream->options.endpoint_count,
	    .retired = upstream->retired,
	    .queue_prefix = upstream->options.queue_prefix,
	};
}

static uint32_t list_length(const struct list *list)
{
	uint32_t length = 0;

	for (const struct list *node = list->next; node != list; node = node->next)
		length++;
	return length;
}

void upstream_get_waiting(const struct upstream *upstream, struct upstream_info *ret)
{
	ret->waiting = list_length(&upstream->waiting);
	ret->orphans = list_length(&upstream->orphans);
}

static uint64_t sum_channels(const struct session *session, uint32_t *ret_consumers)
{
	uint64_t unsettled = 0;

	*ret_consumers = 0;
	for (uint32_t number = 1; session->channel_count > 0 && number < session->channel_slots; number++) {
		const struct channel *channel = session->channels[number].channel;

		if (!channel)
			continue;
		unsettled += channel->unsettled;
		*ret_consumers += channel->consumer_count;
	}
	return unsettled;
}

static void describe_session(const struct session *session, struct session_info *ret)
{
	*ret = (struct session_info){
	    .id = session->id,
	    .pid = session->creds.pid,
	    .uid = session->creds.uid,
	    .gid = session->creds.gid,
	    .program = span_make(session->program, session->program_len),
	    .upstream = session->upstream->options.name,
	    .age_usec = mono_since_usec(session->mux->now, session->since),
	    .channels = session->channel_count,
	    .unacked = session->unacked,
	    .published = session->published,
	    .delivered = session->delivered,
	    .memory_used = session->memory.used,
	    .memory_limit = session->memory.limit,
	    .requests = session->request_count,
	    .wants = session->wants,
	    .session = session,
	};
	ret->unconfirmed = sum_channels(session, &ret->consumers);
}

/* Sessions are in the order of their ids. */
static const struct session *session_behind(const struct mux *mux, const struct session *session)
{
	struct list *next = session->node.next;

	return next == &mux->sessions ? NULL : container_of(next, struct session, node);
}

/* The first one from that id on. */
static const struct session *session_from(const struct mux *mux, uint64_t id)
{
	const struct session *session;

	list_foreach (session, &mux->sessions, node) {
		if (session->id >= id)
			return session;
	}
	return NULL;
}

bool mux_next_session(const struct mux *mux, uint64_t after, struct session_info *ret)
{
	const struct session *session = after < UINT64_MAX ? session_from(mux, after + 1) : NULL;

	if (session)
		describe_session(session, ret);
	return session != NULL;
}

bool mux_look_on(const struct mux *mux, struct session_info *info)
{
	const struct session *session = session_behind(mux, info->session);

	if (session)
		describe_session(session, info);
	return session != NULL;
}

struct session *mux_find_session(const struct mux *mux, uint64_t id)
{
	struct session *session;

	list_foreach (session, &mux->sessions, node) {
		if (session->id == id)
			return session;
	}
	return NULL;
}

static void describe_channel(const struct session *session, const struct channel *channel,
			     struct channel_info *ret)
{
	*ret = (struct channel_info){
	    .session = session->id,
	    .id = channel->id,
	    .lane = channel->lane ? channel->lane->number : 0,
	    .consumers = channel->consumer_count,
	    .prefetch = channel->prefetch ? channel->prefetch : session->limits.prefetch,
	    .unconfirmed = channel->unsettled,
	    .unacked = channel->unacked,
	    .owner = session,
	};
}

/* The first channel from that number of that session on, or of the sessions behind it. */
static bool channel_from(const struct mux *mux, const struct session *session, uint32_t number,
			 struct channel_info *ret)
{
	for (; session; session = session_behind(mux, session)) {
		for (; session->channel_count > 0 && number < session->channel_slots; number++) {
			if (!session->channels[number].channel)
				continue;
			describe_channel(session, session->channels[number].channel, ret);
			return true;
		}
		number = 1;
	}
	return false;
}

bool mux_next_channel(const struct mux *mux, uint64_t session_id, uint32_t after, struct channel_info *ret)
{
	const struct session *session = session_from(mux, session_id);

	return channel_from(mux, session, session && session->id == session_id ? after + 1 : 1, ret);
}

bool mux_look_on_channels(const struct mux *mux, struct channel_info *info)
{
	return channel_from(mux, info->owner, info->id.number + 1, info);
}
