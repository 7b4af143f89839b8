#include "daemon/mux/recovery.h"

#include "daemon/amqp/reply.h"
#include "daemon/base/log.h"
#include "daemon/mux/channel.h"
#include "daemon/mux/consumer.h"
#include "daemon/mux/flow.h"
#include "daemon/mux/lane.h"
#include "daemon/mux/queues.h"
#include "daemon/mux/request.h"
#include "daemon/mux/session.h"
#include "daemon/mux/state/blame.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/consumer.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/topology.h"
#include "daemon/mux/state/touch.h"
#include "daemon/mux/subscribe.h"
#include "daemon/mux/suspect.h"
#include "daemon/mux/topology.h"

#define ASKED_MAX 256u /* things under way at once: each has a request in memory */
#define PATIENCE_INTERVALS 3u
#define PATIENCE_MIN_USEC (10 * USEC_PER_SEC)
#define RETRY_USEC (500 * USEC_PER_MSEC)

static void timer_fired(struct timer *timer, struct mono now);

void recovery_init(struct upstream *upstream)
{
	struct recovery *recovery = &upstream->recovery;

	list_init(&recovery->due);
	list_init(&recovery->asked);
	list_init(&recovery->parked);
	list_init(&recovery->channels_due);
	list_init(&recovery->channels_asked);
	list_init(&recovery->channels_parked);
	timer_init(&recovery->timer, timer_fired);
}

static void arm(struct upstream *upstream, struct mono when)
{
	struct recovery *recovery = &upstream->recovery;

	if (timer_is_set(&recovery->timer) && mono_before(recovery->timer.when, when))
		return;
	timerq_set(&upstream->mux->timers, &recovery->timer, when);
}

/* ------------------------------------------------------------------ parking */

static bool patience_is_over(const struct upstream *upstream)
{
	return !mono_before(upstream->mux->now, upstream->recovery.give_up);
}

/*
 * What a broker says while it has not yet noticed that our last connection is
 * dead (405, 403), or has not all of its queues up again (404 to a declare that
 * is not passive).
 */
static bool may_pass(struct span frame, const struct fault *fault)
{
	struct amqc_method method;
	uint16_t code = fault->code;

	/* It may be something else that the broker complains of, a publish for example. */
	if (!request_decode_frame(frame, &method) || fault->class_id != AMQC_CLASS_ID(method.id) ||
	    fault->method_id != AMQC_METHOD_ID(method.id))
		return false;
	switch (method.id) {
	case AMQC_QUEUE_DECLARE:
		return code == AMQC_RESOURCE_LOCKED ||
		       (code == AMQC_NOT_FOUND && !method.queue_declare.passive);
	case AMQC_BASIC_CONSUME:
		return code == AMQC_RESOURCE_LOCKED || code == AMQC_ACCESS_REFUSED;
	default:
		return false;
	}
}

static void park_thing(struct upstream *upstream, struct thing *thing)
{
	list_unlink(&thing->due_node);
	list_append(&upstream->recovery.parked, &thing->due_node);
	arm(upstream, mono_add_usec(upstream->mux->now, RETRY_USEC));
}

static void park_channel(struct channel *channel)
{
	struct upstream *upstream = channel->upstream;

	list_unlink(&channel->recovery_node);
	list_append(&upstream->recovery.channels_parked, &channel->recovery_node);
	arm(upstream, mono_add_usec(upstream->mux->now, RETRY_USEC));
}

/* All that is parked is due again: queues, and then what depends on them. */
static void try_parked(struct recovery *recovery)
{
	struct thing *thing, *tmp;

	list_foreach_safe (thing, tmp, &recovery->parked, due_node) {
		if (thing->kind != THING_QUEUE)
			continue;
		if (thing->about->presence == ABSENT)
			topology_set_presence(thing->about, AWAITED);
		list_unlink(&thing->due_node);
		list_append(&recovery->due, &thing->due_node);
	}
	list_splice(&recovery->due, &recovery->parked);
	list_splice(&recovery->channels_due, &recovery->channels_parked);
}

/* ------------------------------------------------------------------ things */

static bool depends_on_absent(const struct thing *thing)
{
	return thing->kind == THING_QUEUE_BINDING && thing->about->presence == ABSENT;
}

static struct channel *maker_of(struct upstream *upstream)
{
	struct recovery *recovery = &upstream->recovery;

	if (recovery->maker && recovery->maker->lane)
		return recovery->maker;
	if (!recovery->maker)
		recovery->maker = channel_new_own(upstream);
	return recovery->maker && channel_lease(recovery->maker) ? recovery->maker : NULL;
}

/* False: not now, for memory or lanes: it has the first lane that comes free. */
static bool ask_for(struct upstream *upstream, struct thing *thing)
{
	struct recovery *recovery = &upstream->recovery;
	struct channel *maker = maker_of(upstream);
	struct amqc_method method;
	struct request *request;

	if (!maker || !request_decode_frame(span_make(thing->frame, thing->frame_len), &method) ||
	    request_queue(maker, &method, 0, UINT64_MAX, &request) != AMQC_OK) {
		arm(upstream, mono_add_usec(upstream->mux->now, RETRY_USEC));
		return false;
	}
	request->thing = thing;
	thing->request = request;
	list_unlink(&thing->due_node);
	list_append(&recovery->asked, &thing->due_node);
	recovery->asked_count++;
	channel_send(maker);
	return true;
}

/* The request that made it is over. */
static void answered(struct thing *thing)
{
	if (thing->request)
		thing->request->thing = NULL;
	thing->request = NULL;
	thing->upstream->recovery.asked_count--;
	list_unlink(&thing->due_node);
}

/* Its session ended, or it was deleted, while the broker was asked: the broker has it for nobody now. */
static void unmake(struct lane *lane, const struct request *request)
{
	struct amqc_method method, delete = {.id = AMQC_QUEUE_DELETE};

	if (!request_decode(request, &method) || method.id != AMQC_QUEUE_DECLARE ||
	    !method.queue_declare.exclusive || queues_are_owned(lane->upstream, method.queue_declare.queue))
		return;
	delete.queue_delete.queue = method.queue_declare.queue;
	if (!request_send_own(lane, &delete))
		log_error("no memory to delete a queue that nobody has any more");
}

void recovery_made(struct lane *lane, struct request *request)
{
	struct thing *thing = request->thing;

	if (!thing) {
		lane->upstream->recovery.asked_count--;
		unmake(lane, request);
		return;
	}
	answered(thing);
	lane->upstream->recovery.made++;
	if (thing->kind != THING_QUEUE || thing->about->presence == PRESENT)
		return;
	topology_set_presence(thing->about, PRESENT);
	list_splice(&lane->upstream->recovery.channels_due, &lane->upstream->recovery.channels_parked);
	flow_release(lane->upstream);
}

static void fail_holder(struct holder *holder, const struct fault *fault)
{
	struct channel *channel = session_channel(holder->session, holder->channel.number);

	if (channel && channel->id.generation == holder->channel.generation && channel->state == CHANNEL_OPEN)
		channel_fail(channel, fault);
}

/* It cannot be made again: those who own it are told, and do not have it any more. */
static void fail_thing(struct thing *thing, const struct fault *fault)
{
	struct upstream *upstream = thing->upstream;
	struct list holders;

	log_upstream(LOG_LEVEL_WARNING, upstream, "what a session had declared cannot be declared again: %s",
		     fault->text);
	list_init(&holders);
	list_splice(&holders, &thing->holders);
	if (thing->kind == THING_QUEUE)
		queues_lost(upstream, span_make(thing->about->name, thing->about->name_len));
	topology_forget(thing);
	while (!list_empty(&holders)) {
		struct holder *holder = container_of(holders.next, struct holder, thing_node);
		struct holder copy = *holder;

		topology_release_holder(holder);
		fail_holder(&copy, fault);
	}
	flow_release(upstream); /* nothing waits for it any more */
}

static bool fits(const struct upstream *upstream, const struct thing *thing)
{
	return thing->frame_len <= upstream->conn.handshake.frame_max;
}

static void make_things(struct upstream *upstream)
{
	struct recovery *recovery = &upstream->recovery;
	struct fault fault = fault_make(AMQC_FRAME_ERROR, "FRAME_ERROR - the declaration does not fit into a "
							  "frame of the broker's");
	struct thing *thing;

	while (recovery->asked_count < (recovery->careful ? 1 : ASKED_MAX) &&
	       (thing = list_first(&recovery->due, struct thing, due_node))) {
		if (!fits(upstream, thing))
			fail_thing(thing, &fault);
		else if (depends_on_absent(thing))
			park_thing(upstream, thing);
		else if (!ask_for(upstream, thing))
			return;
	}
}

/*
 * One exclusive queue is locked: most likely the dead connection still holds
 * them all. Each refusal costs a lane and a round trip, so the others are not
 * asked for before the next try.
 */
static void park_exclusive(struct upstream *upstream)
{
	struct thing *thing, *tmp;

	list_foreach_safe (thing, tmp, &upstream->recovery.due, due_node) {
		if (!thing->exclusive)
			continue;
		topology_set_presence(thing->about, ABSENT);
		park_thing(upstream, thing);
	}
}

/* The maker's lane was closed by the broker: for the first thing without an answer. The others are due again.
 */
static void maker_refused(struct upstream *upstream, const struct fault *fault)
{
	struct recovery *recovery = &upstream->recovery;
	struct channel *maker = recovery->maker;
	struct request *first = NULL, *request;
	struct thing *culprit = NULL, *thing;

	list_foreach (request, &maker->lane->awaiting, op.node) {
		if (!first && request->op.channel == maker)
			first = request;
	}
	if (first)
		culprit = first->thing;
	while ((thing = list_last(&recovery->asked, struct thing, due_node))) {
		answered(thing);
		if (thing != culprit)
			list_prepend(&recovery->due, &thing->due_node);
	}
	recovery->asked_count = 0;
	recovery->maker = NULL;
	channel_fail_without_lane(maker, fault);
	if (!culprit)
		return;
	if (culprit->kind == THING_QUEUE && !patience_is_over(upstream) &&
	    may_pass(span_make(culprit->frame, culprit->frame_len), fault)) {
		if (fault->code == AMQC_RESOURCE_LOCKED)
			park_exclusive(upstream);
		topology_set_presence(culprit->about, ABSENT);
		park_thing(upstream, culprit); /* last, so that another one is tried first next time */
	} else {
		fail_thing(culprit, fault);
	}
}

/* ------------------------------------------------------------------ consumers */

static bool must_wait(const struct channel *channel)
{
	const struct consumer *consumer;

	if (channel->suspicion && suspect_has_consumers(channel))
		return true;

	list_foreach (consumer, &channel->consumers, node) {
		if (consumer->restoring && consumer->queue && consumer->queue->presence != PRESENT)
			return true;
	}
	return false;
}

/* It has all it had: what it wants to send goes on. */
static void channel_is_back(struct channel *channel)
{
	list_unlink(&channel->recovery_node);
	if (!list_empty(&channel->queue))
		channel_send(channel);
	channel_touch(channel);
}

/* Exclusive ones first: if one is refused, nothing was delivered for nothing. False: no memory. */
static bool subscribe_all(struct channel *channel)
{
	for (int exclusive = 1; exclusive >= 0; exclusive--) {
		struct consumer *consumer;

		list_foreach (consumer, &channel->consumers, node) {
			if (consumer->restoring && consumer->exclusive == (exclusive == 1) &&
			    !subscribe_again(consumer))
				return false;
		}
	}
	return true;
}

/* False: there is no lane for it, and those behind it wait as well. */
static bool subscribe_channel(struct channel *channel)
{
	struct upstream *upstream = channel->upstream;
	struct fault fault;

	if (channel->restoring == 0) {
		channel_is_back(channel);
		return true;
	}
	if (must_wait(channel)) {
		park_channel(channel);
		return true;
	}
	if (!channel->lane && !channel_lease(channel)) {
		if (!patience_is_over(upstream)) {
			arm(upstream, upstream->recovery.give_up);
			return false;
		}
		fault = fault_make_retryable(AMQC_RESOURCE_ERROR,
					     "its consumers could not be subscribed again: the broker's "
					     "connection has no channel left for them");
		channel_fail(channel, &fault);
		return true;
	}
	list_unlink(&channel->recovery_node);
	list_append(&upstream->recovery.channels_asked, &channel->recovery_node);
	if (subscribe_all(channel))
		return true;
	fault = fault_make_retryable(AMQC_RESOURCE_ERROR, "no memory to subscribe its consumers again");
	channel_fail(channel, &fault);
	return true;
}

void recovery_goes_on(struct channel *channel)
{
	if (list_empty(&channel->recovery_node))
		return;
	list_unlink(&channel->recovery_node);
	list_append(&channel->upstream->recovery.channels_due, &channel->recovery_node);
}

static void subscribe_channels(struct upstream *upstream)
{
	struct channel *channel;

	while ((channel = list_first(&upstream->recovery.channels_due, struct channel, recovery_node))) {
		if (upstream->recovery.careful && !list_empty(&upstream->recovery.channels_asked))
			return;
		if (!subscribe_channel(channel))
			return;
	}
}

void recovery_subscribed(struct consumer *consumer)
{
	struct channel *channel = consumer->channel;

	consumer->restoring = false;
	channel->upstream->recovery.subscribed++;
	if (--channel->restoring == 0)
		channel_is_back(channel);
}

/* The request for which the broker closed the channel's lane: the first without an answer. */
static const struct request *culprit_of(const struct channel *channel)
{
	const struct request *request;

	list_foreach (request, &channel->lane->awaiting, op.node) {
		if (request->op.channel == channel || request->method == AMQC_BASIC_CONSUME)
			return request;
	}
	return NULL;
}

bool recovery_refused(struct channel *channel, const struct fault *fault)
{
	const struct request *request;

	if (channel == channel->upstream->recovery.maker) {
		maker_refused(channel->upstream, fault);
		return true;
	}
	request = culprit_of(channel);
	if (!request || channel->state != CHANNEL_OPEN || patience_is_over(channel->upstream) ||
	    !may_pass(span_make(request->frame, request->frame_len), fault))
		return false;
	if (!request->sent_before && !(request->consumer && request->consumer->restoring))
		return false;
	channel_interrupt(channel, fault);
	park_channel(channel);
	return true;
}

/* ------------------------------------------------------------------ phases */

static void finish(struct upstream *upstream)
{
	struct recovery *recovery = &upstream->recovery;
	uint64_t took = mono_since_usec(upstream->mux->now, recovery->began);

	recovery->phase = RECOVERY_NONE;
	recovery->careful = false;
	redial_succeeded(&upstream->redial);
	timerq_clear(&upstream->mux->timers, &recovery->timer);
	if (!list_empty(&recovery->parked) || !list_empty(&recovery->channels_parked))
		arm(upstream, mono_add_usec(upstream->mux->now, RETRY_USEC));
	if (!list_empty(&recovery->channels_due))
		arm(upstream, recovery->give_up);
	if (recovery->made > 0 || recovery->subscribed > 0)
		log_upstream(LOG_LEVEL_NOTICE, upstream,
			     "%u declarations and bindings and %u consumers are back, after "
			     "%llu ms",
			     recovery->made, recovery->subscribed,
			     (unsigned long long)(took / USEC_PER_MSEC));
	flow_release(upstream);
}

void recovery_turn(struct upstream *upstream)
{
	struct recovery *recovery = &upstream->recovery;

	make_things(upstream);
	if (recovery->phase == RECOVERY_TOPOLOGY && list_empty(&recovery->due) && recovery->asked_count == 0)
		recovery->phase = RECOVERY_CONSUMERS;
	if (recovery->phase != RECOVERY_TOPOLOGY)
		subscribe_channels(upstream);
	if (recovery->phase == RECOVERY_CONSUMERS && list_empty(&recovery->channels_asked))
		finish(upstream);
}

static void timer_fired(struct timer *timer, struct mono now)
{
	struct upstream *upstream = container_of(timer, struct upstream, recovery.timer);
	struct recovery *recovery = &upstream->recovery;

	if (recovery->phase != RECOVERY_NONE && !mono_before(now, recovery->give_up)) {
		log_upstream(LOG_LEVEL_WARNING, upstream,
			     "the broker does not answer what is to be brought back; going "
			     "on without");
		finish(upstream);
	}
	/* Not before everybody goes on: with many of them, the phase would never end. */
	if (recovery->phase == RECOVERY_NONE)
		try_parked(recovery);
	else
		arm(upstream, recovery->give_up);
}

void recovery_begin(struct upstream *upstream)
{
	struct recovery *recovery = &upstream->recovery;
	uint64_t patience = PATIENCE_INTERVALS * upstream->conn.handshake.heartbeat_sec * USEC_PER_SEC;

	recovery->phase = RECOVERY_TOPOLOGY;
	recovery->made = 0;
	recovery->subscribed = 0;
	recovery->began = upstream->mux->now;
	recovery->give_up =
	    mono_add_usec(upstream->mux->now, patience > PATIENCE_MIN_USEC ? patience : PATIENCE_MIN_USEC);
	for (size_t kind = 0; kind < THING_KINDS; kind++) {
		struct thing *thing;

		list_foreach (thing, &upstream->topology.kinds[kind], node)
			list_append(&recovery->due, &thing->due_node);
	}
	arm(upstream, recovery->give_up);
}

/*
 * The broker closed the connection while things were brought back. If it names
 * what the first one under way was, or if one alone was, it does not come back;
 * else the next recovery asks for one after the other.
 */
static struct thing *fatal_thing(struct upstream *upstream)
{
	struct recovery *recovery = &upstream->recovery;
	const struct channel *maker = recovery->maker;
	const struct request *first =
	    maker && maker->lane ? list_first(&maker->lane->awaiting, struct request, op.node) : NULL;

	if (!first || !first->thing || !scout_is_told(&upstream->blame.fault))
		return NULL;
	if (recovery->asked_count == 1 || request_is_named(first, &upstream->blame.fault))
		return first->thing;
	recovery->careful = true;
	return NULL;
}

/* The same for a channel whose consumers were being subscribed. */
static struct channel *fatal_channel(struct upstream *upstream)
{
	struct recovery *recovery = &upstream->recovery;

	if (recovery->phase != RECOVERY_CONSUMERS || !scout_is_told(&upstream->blame.fault) ||
	    list_empty(&recovery->channels_asked))
		return NULL;
	if (recovery->channels_asked.next == recovery->channels_asked.prev)
		return list_first(&recovery->channels_asked, struct channel, recovery_node);
	recovery->careful = true;
	return NULL;
}

void recovery_lost(struct upstream *upstream)
{
	struct recovery *recovery = &upstream->recovery;
	struct channel *maker = recovery->maker;
	struct thing *thing, *fatal = fatal_thing(upstream);
	struct channel *channel = fatal_channel(upstream);
	struct fault fault = upstream->blame.fault;

	fault.retryable = false;
	timerq_clear(&upstream->mux->timers, &recovery->timer);
	while ((thing = list_first(&recovery->asked, struct thing, due_node)))
		answered(thing);
	if (fatal)
		fail_thing(fatal, &fault);
	if (channel)
		channel_fail(channel, &fault);
	list_splice(&recovery->due, &recovery->parked);
	while ((thing = list_first(&recovery->due, struct thing, due_node))) {
		list_unlink(&thing->due_node);
		if (thing->kind == THING_QUEUE)
			topology_set_presence(thing->about, PRESENT);
	}
	recovery->asked_count = 0;
	recovery->phase = RECOVERY_NONE;
	list_splice(&recovery->channels_due, &recovery->channels_asked);
	list_splice(&recovery->channels_due, &recovery->channels_parked);
	recovery->maker = NULL;
	if (maker)
		channel_fail_without_lane(maker, &upstream->last_fault);
}
