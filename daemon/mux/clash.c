#include "daemon/mux/clash.h"

#include "daemon/mux/conn.h"
#include "daemon/mux/flow.h"
#include "daemon/mux/kinds.h"
#include "daemon/mux/queues.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/blame.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/queues.h"
#include "daemon/mux/state/topology.h"
#include "daemon/mux/subscribe.h"
#include "daemon/mux/suspect.h"
#include "daemon/mux/topology.h"

#include <stdlib.h>

/*
 * Longer nobody waits for another: a channel that RabbitMQ has got stuck, of
 * which there are some (KILLERS.md), never answers. A loaded broker may take
 * seconds for what it does in milliseconds else, so it is counted in questions
 * that it answers meanwhile, one after the other.
 */
#define BEAT_USEC (50 * USEC_PER_MSEC)
#define PATIENCE_BEATS 100u

/* A queue with which something is under way. */
struct clash {
	struct map_node map_node; /* in clashes->by_name */
	struct list node;	  /* in clashes->changed, while there is a change */
	struct upstream *upstream;
	struct request *change; /* goes alone, or is the next that will; NULL: none */
	uint64_t since;		/* the beat at which it is, or was sent */
	struct list uses;	/* struct request, sent; the change is none of them */
	bool is_awaited;	/* another channel waits for the change */
	uint8_t name_len;
	char name[];
};

/* What a request does with a queue. */
struct use {
	struct span queue; /* in the request's frame */
	bool changes;	   /* makes or deletes it */
	bool is_safe;	   /* it is a classic one, before and after */
};

static bool is_over(const struct upstream *upstream, uint64_t since)
{
	return upstream->clashes.beats - since >= PATIENCE_BEATS;
}

static void set_timer(struct upstream *upstream)
{
	struct mono when = mono_add_usec(upstream->mux->now, BEAT_USEC);

	timerq_set(&upstream->mux->timers, &upstream->clashes.timer, when);
}

/* Somebody may have lost patience. */
static void beat(struct upstream *upstream)
{
	upstream->clashes.beats++;
	upstream->queue_freed = true;
}

/* Where all lanes are in use there is nobody to ask, and time must do. */
static void clash_timer_fired(struct timer *timer, struct mono now)
{
	struct upstream *upstream = container_of(timer, struct upstream, clashes.timer);

	if (list_empty(&upstream->clashes.changed) || !conn_is_open(&upstream->conn))
		return;
	upstream->clashes.question = flow_ask_quietly(upstream);
	if (upstream->clashes.question)
		return;
	beat(upstream);
	set_timer(upstream);
}

bool clash_answered(struct upstream *upstream, const struct request *question)
{
	if (upstream->clashes.question != question)
		return false;
	upstream->clashes.question = NULL;
	beat(upstream);
	if (!list_empty(&upstream->clashes.changed))
		set_timer(upstream);
	return true;
}

bool clash_forget_question(struct upstream *upstream, const struct request *question)
{
	if (upstream->clashes.question != question)
		return false;
	upstream->clashes.question = NULL;
	set_timer(upstream);
	return true;
}

static void begin_patience(struct clash *clash)
{
	struct upstream *upstream = clash->upstream;

	clash->since = upstream->clashes.beats;
	if (!upstream->clashes.question && !timer_is_set(&upstream->clashes.timer))
		set_timer(upstream);
}

void clashes_init(struct upstream *upstream)
{
	upstream->clashes = (struct clashes){.by_name = MAP_INIT, .beats = 1};
	list_init(&upstream->clashes.changed);
	timer_init(&upstream->clashes.timer, clash_timer_fired);
}

void clashes_deinit(struct upstream *upstream)
{
	timerq_clear(&upstream->mux->timers, &upstream->clashes.timer);
	map_deinit(&upstream->clashes.by_name);
}

static struct clash *clash_find(const struct upstream *upstream, struct span name)
{
	struct map_node *node = map_find(&upstream->clashes.by_name, name);

	return node ? container_of(node, struct clash, map_node) : NULL;
}

/* NULL: no memory. */
static struct clash *clash_get(struct upstream *upstream, struct span name)
{
	struct clash *clash = clash_find(upstream, name);

	if (clash || name.len > UINT8_MAX)
		return clash;
	clash = calloc(1, sizeof(*clash) + name.len);
	if (!clash)
		return NULL;
	clash->upstream = upstream;
	clash->name_len = (uint8_t)name.len;
	if (name.len > 0)
		memcpy(clash->name, name.data, name.len);
	list_init(&clash->node);
	list_init(&clash->uses);
	if (map_add(&upstream->clashes.by_name, &clash->map_node, span_make(clash->name, clash->name_len)) <
	    0) {
		free(clash);
		return NULL;
	}
	return clash;
}

static void clash_release(struct clash *clash)
{
	if (clash->change || !list_empty(&clash->uses))
		return;
	map_remove(&clash->upstream->clashes.by_name, &clash->map_node);
	free(clash);
}

static void set_change(struct clash *clash, struct request *request)
{
	if (clash->change)
		clash->change->clash = NULL;
	clash->change = request;
	list_unlink(&clash->node);
	if (!request) {
		clash->is_awaited = false;
		return;
	}
	request->clash = clash;
	begin_patience(clash);
	list_append(&clash->upstream->clashes.changed, &clash->node);
}

/* What its channel sent behind it and changes the queue as well goes as alone as it did. */
static struct request *next_change(const struct clash *clash)
{
	struct request *request;

	list_foreach (request, &clash->uses, clash_node) {
		if (!request->clash_changes)
			continue;
		list_unlink(&request->clash_node);
		return request;
	}
	return NULL;
}

/* Whether somebody of this channel must wait for the change, which is not his. */
static bool await_change(struct clash *clash, const struct channel *channel)
{
	bool must_wait =
	    clash->change && clash->change->op.channel != channel && !is_over(clash->upstream, clash->since);

	clash->is_awaited |= must_wait;
	return must_wait;
}

static bool may_change(const struct request *request)
{
	return request->method == AMQC_QUEUE_DECLARE || request->method == AMQC_QUEUE_DELETE;
}

/* Made again before its consumers are told that it was deleted, RabbitMQ believes that they have it still. */
static bool has_untold(const struct upstream *upstream, struct span name)
{
	const struct entity *queue = topology_queue(upstream, name);

	return queue && queue->untold;
}

/* Declared as what it is known to be, it stays as it is. */
static void use_of_declare(const struct upstream *upstream, const struct amqc_queue_declare *declare,
			   struct use *use)
{
	enum queue_kind known = kinds_known(upstream, declare->queue), kind;

	if (declare->passive)
		return;
	kind = kinds_of_declare(upstream, declare);
	use->changes = known == QUEUE_UNKNOWN || known != kind;
	use->is_safe = kind == QUEUE_CLASSIC && (known == QUEUE_UNKNOWN || known == QUEUE_CLASSIC) &&
		       !has_untold(upstream, declare->queue);
}

/* False: it has to do with no queue, or cannot do harm. */
static bool use_of(const struct upstream *upstream, const struct request *request, struct use *ret)
{
	struct amqc_method method;

	if (request->method == AMQC_BASIC_CANCEL && request->consumer) {
		*ret = (struct use){.queue = subscribe_queue(request->consumer)};
		ret->is_safe = kinds_known(upstream, ret->queue) == QUEUE_CLASSIC;
		return true;
	}
	if (!may_change(request) && request->method != AMQC_BASIC_CONSUME &&
	    request->method != AMQC_BASIC_GET)
		return false;
	if (!request_decode(request, &method))
		return false;
	ret->queue = *queues_of_method(&method);
	ret->is_safe = kinds_known(upstream, ret->queue) == QUEUE_CLASSIC;
	ret->changes = method.id == AMQC_QUEUE_DELETE;
	if (method.id == AMQC_QUEUE_DECLARE)
		use_of_declare(upstream, &method.queue_declare, ret);
	return true;
}

/* ------------------------------------------------------------------ publishes */

static bool reaches(const struct publish *publish, const struct clash *clash)
{
	struct span exchange = span_make(publish->data + publish->exchange_at, publish->exchange_len);
	const struct entity *queue;
	const struct thing *thing;

	if (exchange.len == 0)
		return span_equal(span_make(publish->data + publish->key_at, publish->key_len),
				  clash->map_node.key);
	queue = topology_queue(clash->upstream, clash->map_node.key);
	if (!queue)
		return false;
	list_foreach (thing, &queue->about, about_node) {
		if (thing->source && span_equal(thing->source->map_node.key, exchange))
			return true;
	}
	return false;
}

bool clash_is_reached(const struct channel *channel, const struct publish *publish)
{
	struct clash *clash;

	list_foreach (clash, &channel->upstream->clashes.changed, node) {
		if (clash->change->op.channel != channel && reaches(publish, clash))
			return await_change(clash, channel);
	}
	return false;
}

/* The same of a suspect's, which the scout has sent for good; or it tries what names the queue. */
static bool scout_reaches(const struct clash *clash)
{
	const struct suspicion *suspicion;

	list_foreach (suspicion, &clash->upstream->blame.suspicions, node) {
		const struct publish *publish = suspect_publish(suspicion);

		if ((publish && reaches(publish, clash)) || suspect_tries(suspicion, clash->map_node.key))
			return true;
	}
	return false;
}

/* Whether something that is not confirmed goes to the queue. */
static bool may_reach(const struct lane *lane, const struct clash *clash)
{
	if (lane->abandoned)
		return true; /* nobody knows any more what it was: until the lane is closed */
	for (uint64_t tag = lane->confirms.first; tag < lane->confirms.next; tag++) {
		const struct publish *publish = lane->confirms.ring[tag & lane->confirms.mask];

		if (publish && reaches(publish, clash))
			return true;
	}
	return false;
}

/* It has confirmed nothing since somebody began to wait for it: one who is stuck is waited for once. */
static bool is_given_up(struct lane *lane)
{
	if (lane->clash_since == 0)
		lane->clash_since = lane->upstream->clashes.beats;
	return is_over(lane->upstream, lane->clash_since);
}

/* Whether the broker may still be about to put another channel's message into the queue. */
static bool awaits_confirms(const struct clash *clash, const struct lane *own)
{
	const struct upstream *upstream = clash->upstream;

	for (uint32_t number = 1; number <= upstream->lane_max; number++) {
		struct lane *lane = upstream->lanes[number];

		if (lane && lane != own && may_reach(lane, clash) && !is_given_up(lane))
			return true;
	}
	return scout_reaches(clash);
}

/* ------------------------------------------------------------------ requests */

static bool others_use_it(const struct clash *clash, const struct lane *lane)
{
	const struct request *request;

	list_foreach (request, &clash->uses, clash_node) {
		if (request->clash_lane != lane && !is_over(clash->upstream, request->clash_since))
			return true;
	}
	return false;
}

/* It is behind its channel's own deletion, of which consumers are to be told. */
static bool makes_again(const struct clash *clash, const struct request *request)
{
	const struct entity *queue = topology_queue(clash->upstream, clash->map_node.key);

	return request->method == AMQC_QUEUE_DECLARE && clash->change &&
	       clash->change->method == AMQC_QUEUE_DELETE && !is_over(clash->upstream, clash->since) &&
	       queue && queue->consumers > 0;
}

static bool change_must_wait(struct lane *lane, struct request *request, struct span queue)
{
	struct clash *clash = clash_get(lane->upstream, queue);

	if (!clash)
		return false; /* no memory: it is dared */
	/* A channel's own needs not wait, but for those who have waited for the last one. */
	if (clash->change && clash->change != request)
		return makes_again(clash, request) ||
		       (!is_over(clash->upstream, clash->since) &&
			(await_change(clash, request->op.channel) || clash->is_awaited));
	if (!clash->change)
		set_change(clash, request);
	if (!is_over(clash->upstream, clash->since)) {
		if (others_use_it(clash, lane) ||
		    (request->method == AMQC_QUEUE_DECLARE && has_untold(clash->upstream, queue)))
			return true;
		if (!awaits_confirms(clash, lane))
			return false;
	} else if (!scout_reaches(clash)) { /* the scout gives up by itself */
		return false;
	}
	lane->upstream->clashes.await_confirms = true;
	return true;
}

bool clash_must_wait(struct lane *lane, struct request *request)
{
	struct clash *clash;
	struct use use;

	if ((list_empty(&lane->upstream->clashes.changed) && !may_change(request)) ||
	    !use_of(lane->upstream, request, &use))
		return false;
	if (use.changes && !use.is_safe)
		return change_must_wait(lane, request, use.queue);
	clash = clash_find(lane->upstream, use.queue);
	return clash && (await_change(clash, request->op.channel) || makes_again(clash, request));
}

static void begin_use(struct lane *lane, struct request *request, const struct use *use)
{
	struct clash *clash = use->is_safe ? NULL : clash_get(lane->upstream, use->queue);

	if (!clash)
		return;
	request->clash = clash;
	request->clash_changes = use->changes;
	list_append(&clash->uses, &request->clash_node);
}

static void is_sent(struct lane *lane, struct request *request)
{
	request->clash_lane = lane;
	request->clash_since = lane->upstream->clashes.beats;
}

static void change_sent(const struct request *change)
{
	struct clash *clash = change->clash;
	struct entity *queue = topology_queue(clash->upstream, clash->map_node.key);

	begin_patience(clash);
	if (queue)
		queue->untold = false;
}

void clash_sent(struct lane *lane, struct request *request)
{
	struct use use;

	is_sent(lane, request);
	if (request->clash)
		change_sent(request);
	else if (use_of(lane->upstream, request, &use))
		begin_use(lane, request, &use);
}

void clash_deleted(struct upstream *upstream, const struct request *request)
{
	struct entity *queue = request->clash ? topology_queue(upstream, request->clash->map_node.key) : NULL;

	if (queue)
		queue->untold = queue->consumers > 0;
}

/* ------------------------------------------------------------------ our own cancels */

void clash_cancels(struct lane *lane, struct request *cancel, struct span queue)
{
	struct use use = {.queue = queue, .is_safe = kinds_known(lane->upstream, queue) == QUEUE_CLASSIC};

	is_sent(lane, cancel);
	begin_use(lane, cancel, &use);
	if (cancel->clash)
		list_append(&lane->cancels, &cancel->cancel_node);
}

/* Whoever stands in line goes behind it: it waits for what the broker has under way already. */
static bool cancel_must_wait(struct clash *clash, const struct lane *lane)
{
	const struct request *change = clash->change;

	if (!change || !change->clash_lane || change->clash_lane == lane ||
	    is_over(clash->upstream, clash->since))
		return false;
	clash->is_awaited = true;
	return true;
}

bool clash_cancels_wait(struct lane *lane)
{
	const struct request *cancel;

	list_foreach (cancel, &lane->cancels, cancel_node) {
		if (cancel_must_wait(cancel->clash, lane))
			return true;
	}
	return false;
}

void clash_control_left(struct lane *lane)
{
	struct request *cancel;

	while ((cancel = list_first(&lane->cancels, struct request, cancel_node))) {
		list_unlink(&cancel->cancel_node);
		is_sent(lane, cancel);
	}
}

void clash_ended(struct request *request)
{
	struct clash *clash = request->clash;

	request->clash_lane = NULL;
	list_unlink(&request->cancel_node);
	if (!clash)
		return;
	if (clash->change)
		clash->upstream->queue_freed = true;
	if (clash->change == request)
		set_change(clash, next_change(clash));
	list_unlink(&request->clash_node);
	request->clash = NULL;
	if (list_empty(&clash->upstream->clashes.changed))
		clash->upstream->clashes.await_confirms = false;
	clash_release(clash);
}

bool clash_is_under_way(const struct upstream *upstream, struct span queue)
{
	const struct clash *clash = clash_find(upstream, queue);

	return clash && clash->change && clash->change->clash_lane;
}

void clashes_connection_lost(struct upstream *upstream)
{
	struct clash *clash, *tmp;

	list_foreach_safe (clash, tmp, &upstream->clashes.changed, node)
		clash_ended(clash->change);
}
