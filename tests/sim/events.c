/*
 * What mux tells a session, as a front end would hear it: each event is
 * checked against the history, and put into the socket for the client to read.
 * Messages are in handover.c.
 */
#include "tests/sim/sim.h"

#include <stdio.h>

/* With nothing in the way, nothing takes so long. */
#define PROMPT_USEC (8 * USEC_PER_SEC)

struct event *events_append(struct life *life)
{
	struct event *event = world_alloc(life->client->world, sizeof(*event));

	life->position += 50;
	event->position = life->position;
	*life->events_end = event;
	life->events_end = &event->next;
	if (!life->taken)
		life->taken = event;
	return event;
}

/* The context is checked: an event belongs to a session that is there. */
struct world *events_hear(struct life *life, const char *what)
{
	struct world *world = life->client->world;

	world->events++;
	if (!life->session)
		violate(world, "a session that has ended hears nothing", "session %u: %s", life->serial,
			what);
	return world;
}

struct chan *events_chan(struct life *life, struct mux_channel_id id)
{
	struct chan *chan;

	for (chan = life->chans; chan; chan = chan->next) {
		if (chan->id.number == id.number && chan->id.generation == id.generation)
			return chan;
	}
	violate(life->client->world, "an event names a channel of its session", "session %u, channel %u.%u",
		life->serial, id.number, id.generation);
	return NULL;
}

/* ------------------------------------------------------------------ requests */

struct call *events_end_call(struct life *life, uint32_t id, struct mux_channel_id channel)
{
	struct world *world = life->client->world;
	struct call *call;

	for (call = life->calls; call && call->id != id; call = call->next)
		;
	if (!call || call->ended) {
		violate(world, "a request ends once, and only who asked is answered",
			"session %u, request %u%s", life->serial, id, call ? " again" : ", never asked");
		return NULL;
	}
	if (call->chan && call->chan->id.generation != channel.generation)
		violate(world, "an answer names its channel", "session %u, request %u: channel %u.%u",
			life->serial, id, channel.number, channel.generation);
	call->ended = true;
	life->calls_open--;
	events_append(life)->ended = call;
	return call;
}

static bool may_answer(const struct call *call, enum amqc_method_id reply)
{
	if (call->method == AMQC_EXCHANGE_UNBIND)
		return reply == AMQC_EXCHANGE_UNBIND_OK;
	if (call->method == AMQC_BASIC_GET)
		return reply == AMQC_BASIC_GET_EMPTY;
	return (uint32_t)reply == (uint32_t)call->method + 1;
}

static void on_reply(void *context, uint32_t request, struct mux_channel_id channel,
		     const struct amqc_method *reply)
{
	struct life *life = context;
	struct world *world = events_hear(life, "reply");
	struct call *call = events_end_call(life, request, channel);

	if (!call)
		return;
	trace(world, "s%u hears #%u %s", life->serial, request, amqc_method_name(reply->id));
	call->answered = true;
	happened(world, CLIENT_ANSWERED);
	if (!may_answer(call, reply->id))
		violate(world, "a reply fits its request", "%s to %s", amqc_method_name(reply->id),
			amqc_method_name(call->method));
	if (reply->id == AMQC_QUEUE_DECLARE_OK) {
		if (call->name && !span_equal_str(reply->queue_declare_ok.queue, call->name))
			violate(world, "declare-ok has the name", "request %u", request);
		call->queue = queue_named(world, reply->queue_declare_ok.queue);
		call->name = call->queue->name;
	}
	topology_answered(world, call);
	if (call->method == AMQC_CHANNEL_CLOSE && call->chan)
		call->chan->close_done = true;
	if (call->method == AMQC_BASIC_CANCEL && call->consumer)
		call->consumer->ended = true;
	if (call->method == AMQC_BASIC_CONSUME)
		call->consumer->began = world->epoch;
}

/* Nothing was in the way, and still the deadline passed: something forgot to go on. */
static void check_prompt(struct world *world, struct mono asked, const struct fault *fault, const char *what)
{
	struct mono since = mono_before(asked, world->calm_since) ? world->calm_since : asked;

	if (fault && fault->code == 408 && world->calm && !world->plan.few_lanes &&
	    !mono_is_never(world->calm_since) && mono_since_usec(world->now, since) > PROMPT_USEC)
		violate(world, "what nothing holds up goes on", "%s: %s", what, fault->text);
}

static void on_refuse(void *context, uint32_t request, struct mux_channel_id channel, enum fault_scope scope,
		      const struct fault *fault)
{
	struct life *life = context;
	struct world *world = events_hear(life, "refuse");
	struct call *call = events_end_call(life, request, channel);

	if (!call)
		return;
	trace(world, "s%u hears #%u refused: %u %s", life->serial, request, fault->code, fault->text);
	if (fault->code == AMQC_CONNECTION_FORCED)
		happened(world, CLIENT_IN_DOUBT);
	happened(world, fault->code == 408	 ? CLIENT_TIMED_OUT
			: scope == SCOPE_REQUEST ? CLIENT_REFUSED
						 : CLIENT_REFUSED_CHANNEL);
	if (call->consumer && call->method == AMQC_BASIC_CONSUME)
		call->consumer->ended = true;
	topology_answered(world, call);
	topology_refused(world, fault);
	if (call->chan)
		traps_check(world, call->chan, fault);
	if (scope == SCOPE_SESSION || fault->code == 0)
		violate(world, "an error has a scope and a code", "request %u", request);
	if (call->method == AMQC_CHANNEL_CLOSE)
		violate(world, "closing a channel is never refused", "request %u", request);
	check_prompt(world, call->asked, fault, amqc_method_name(call->method));
}

struct consumer_record *events_consumer(struct chan *chan, uint32_t number)
{
	struct consumer_record *consumer;

	/* The latest of that number comes first. */
	for (consumer = chan->consumers; consumer; consumer = consumer->next) {
		if (consumer->number == number)
			return consumer;
	}
	return NULL;
}

/* ------------------------------------------------------------------ outcomes */

static void check_kind(struct world *world, const struct message *message, enum outcome_kind kind)
{
	const char *wrong = NULL;

	switch (kind) {
	case OUTCOME_CONFIRMED:
		if (!message->wire_acked || message->wire_returned)
			wrong = "confirmed means that the broker confirmed, and did not return";
		break;
	case OUTCOME_RETURNED:
		/* Or its connection or lane was lost after the return: it went to no queue for certain. */
		if (!message->returned ||
		    (!message->wire_acked && world->wire.running && message->sent_epoch == world->epoch))
			wrong = "returned means confirmed, and told before";
		break;
	case OUTCOME_NACKED:
		if (!message->wire_nacked)
			wrong = "nacked is the broker's word";
		break;
	case OUTCOME_NOT_SENT:
		if (message->sent || message->resent)
			wrong = "not sent means not sent";
		break;
	case OUTCOME_UNKNOWN:
		break;
	}
	if (wrong)
		violate(world, wrong, "m%u, outcome %d", message->index, (int)kind);
}

static void on_outcome(void *context, struct mux_channel_id channel, enum outcome_kind kind, uint64_t first,
		       uint64_t last, const struct fault *fault)
{
	struct life *life = context;
	struct world *world = events_hear(life, "outcome");
	struct chan *chan = events_chan(life, channel);

	if (!chan)
		return;
	trace(world, "s%u hears outcome %d of %u.%u %llu..%llu %s", life->serial, (int)kind, channel.number,
	      channel.generation, (unsigned long long)first, (unsigned long long)last,
	      fault ? fault->text : "");
	if (first == 0 || first > last || last > chan->message_count) {
		violate(world, "outcomes are of publishes", "%llu..%llu of %zu", (unsigned long long)first,
			(unsigned long long)last, chan->message_count);
		return;
	}
	if ((kind == OUTCOME_UNKNOWN || kind == OUTCOME_NOT_SENT) && !fault)
		violate(world, "a bad outcome has its reason", "%llu", (unsigned long long)first);
	for (uint64_t number = first; number <= last; number++) {
		struct message *message = chan->messages[number - 1];

		if (message->ended)
			violate(world, "a publish has one outcome", "m%u: %d, then %d", message->index,
				(int)message->kind, (int)kind);
		check_kind(world, message, kind);
		if (kind == OUTCOME_UNKNOWN && !message->resent &&
		    mono_before(world->now, message->deadline) && !expiry_is_over(message, world->now))
			chan->early_unknown = true;
		/* The reason is that of the first of them. */
		if (fault && number == first)
			expiry_check_end(world, message, fault);
		if (kind == OUTCOME_UNKNOWN && message->number == last)
			check_prompt(world, world->calm_since, fault, "publish");
		happened(world, (enum cover_event)(OUTCOME_SEEN_CONFIRMED + (int)kind));
		message->ended = true;
		message->kind = kind;
		chan->open_messages--;
	}
	events_append(life);
}

/* ------------------------------------------------------------------ ends */

/* It had one of the messages of the lane that the broker closed, or may be about to have one. */
static bool is_to_blame(const struct world *world, const struct chan *chan)
{
	const struct wire *wire = &world->wire;

	if (chan->consumers)
		return true;
	for (size_t i = 0; i < wire->blamed_count; i++) {
		const struct handout *handout = wire->blamed[i]->copy->handout;

		if (!handout || handout->chan == chan)
			return true;
	}
	return false;
}

/* An error that no request caused belongs to who had something unacknowledged. */
static void check_late(struct world *world, const struct chan *chan, const struct fault *fault)
{
	if (strstr(fault->text, "delivery acknowledgement") && !is_to_blame(world, chan))
		violate(world, "an error reaches the channel that is to blame",
			"session %u, channel %u.%u had no message there: %s", chan->life->serial,
			chan->id.number, chan->id.generation, fault->text);
}

static void on_channel_ended(void *context, struct mux_channel_id channel, const struct fault *fault)
{
	struct life *life = context;
	struct world *world = events_hear(life, "channel ended");
	struct chan *chan = events_chan(life, channel);

	if (!chan)
		return;
	trace(world, "s%u hears end of %u.%u: %u %s", life->serial, channel.number, channel.generation,
	      fault->code, fault->text);
	happened(world, CLIENT_CHANNEL_FAILED);
	topology_refused(world, fault);
	check_late(world, chan, fault);
	traps_check(world, chan, fault);
	if (fault->code == AMQC_CONNECTION_FORCED)
		violate(world, "a channel outlives its connection", "session %u, channel %u.%u: %s",
			life->serial, channel.number, channel.generation, fault->text);
	if (chan->failed || chan->close_sent)
		violate(world, "a channel ends once", "session %u, channel %u.%u", life->serial,
			channel.number, channel.generation);
	if (chan->open_messages > 0)
		violate(world, "a channel's end is told last", "%zu publishes of %u.%u are open",
			chan->open_messages, channel.number, channel.generation);
	for (const struct call *call = life->calls; call; call = call->next) {
		if (call->chan == chan && !call->ended)
			violate(world, "a channel's end is told last", "request %u of %u.%u is open",
				call->id, channel.number, channel.generation);
	}
	for (struct consumer_record *consumer = chan->consumers; consumer; consumer = consumer->next)
		consumer->ended = true;
	chan->failed = true;
	events_append(life)->failed = chan;
}

static void on_consumer_cancelled(void *context, struct mux_channel_id channel, uint32_t number,
				  struct span text)
{
	struct life *life = context;
	struct world *world = events_hear(life, "cancelled");
	struct chan *chan = events_chan(life, channel);
	struct consumer_record *consumer = chan ? events_consumer(chan, number) : NULL;

	trace(world, "s%u hears end of consumer %u of %u.%u: %.*s", life->serial, number, channel.number,
	      channel.generation, (int)text.len, (const char *)text.data);
	if (!consumer || consumer->ended) {
		violate(world, "a consumer ends once", "consumer %u", number);
		return;
	}
	happened(world, CLIENT_CANCELLED);
	consumer->ended = true;
	events_append(life)->consumer = consumer;
}

static void on_credit(void *context, uint64_t messages, uint64_t bytes)
{
	struct life *life = context;
	struct world *world = events_hear(life, "credit");
	struct event *event;

	if (messages < life->granted_messages || bytes < life->granted_bytes)
		violate(world, "credit never shrinks", "session %u: %llu, %llu", life->serial,
			(unsigned long long)messages, (unsigned long long)bytes);
	life->granted_messages = messages;
	life->granted_bytes = bytes;
	event = events_append(life);
	event->credit_messages = messages;
	event->credit_bytes = bytes;
}

static void on_consumer_interrupted(void *context, struct mux_channel_id channel, uint32_t number,
				    struct span text)
{
	struct life *life = context;
	struct world *world = events_hear(life, "consumer interrupted");
	struct chan *chan = events_chan(life, channel);
	struct consumer_record *consumer = chan ? events_consumer(chan, number) : NULL;

	trace(world, "s%u hears that consumer %u is interrupted", life->serial, number);
	happened(world, CLIENT_INTERRUPTED);
	if (consumer)
		replies_interrupted(world, consumer);
	else
		violate(world, "an interruption names its consumer", "consumer %u", number);
}

static void on_upstream_changed(void *context)
{
	events_append(context);
}

static void on_ended(void *context, const struct fault *fault)
{
	struct life *life = context;
	struct world *world = events_hear(life, "ended");

	trace(world, "s%u hears its end: %u %s", life->serial, fault->code, fault->text);
	if ((!life->breached && !traps_end_session(life, fault)) || life->ended)
		violate(world, "a session that keeps to the protocol is not ended", "session %u: %u %s",
			life->serial, fault->code, fault->text);
	life->ended = true;
}

const struct session_ops events_ops = {
    .reply = on_reply,
    .refuse = on_refuse,
    .got = handover_got,
    .deliver = handover_deliver,
    .returned = handover_returned,
    .outcome = on_outcome,
    .channel_ended = on_channel_ended,
    .consumer_cancelled = on_consumer_cancelled,
    .consumer_interrupted = on_consumer_interrupted,
    .credit = on_credit,
    .upstream_changed = on_upstream_changed,
    .ended = on_ended,
};
