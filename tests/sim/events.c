/*
 * What mux tells a session, as a front end would hear it: each event is
 * checked against the history, and put into the socket for the client to read.
 */
#include "tests/sim/sim.h"

#include <stdio.h>

/* With nothing in the way, nothing takes so long. */
#define PROMPT_USEC (8 * USEC_PER_SEC)
/* Gets that may have been asked while there was credit, and come when it is used up. */
#define GETS_UNDER_WAY 16u

static struct event *append(struct life *life)
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
static struct world *hear(struct life *life, const char *what)
{
	struct world *world = life->client->world;

	world->events++;
	if (!life->session)
		violate(world, "a session that has ended hears nothing", "session %u: %s", life->serial,
			what);
	return world;
}

static struct chan *find_chan(struct life *life, struct mux_channel_id id)
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

static struct call *end_call(struct life *life, uint32_t id, struct mux_channel_id channel)
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
	append(life)->ended = call;
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
	struct world *world = hear(life, "reply");
	struct call *call = end_call(life, request, channel);

	if (!call)
		return;
	trace(world, "s%u hears #%u %s", life->serial, request, amqc_method_name(reply->id));
	call->answered = true;
	if (!may_answer(call, reply->id))
		violate(world, "a reply fits its request", "%s to %s", amqc_method_name(reply->id),
			amqc_method_name(call->method));
	if (reply->id == AMQC_QUEUE_DECLARE_OK) {
		if (call->name && !span_equal_str(reply->queue_declare_ok.queue, call->name))
			violate(world, "declare-ok has the name", "request %u", request);
		call->name = queue_named(world, reply->queue_declare_ok.queue)->name;
	}
	if (call->method == AMQC_CHANNEL_CLOSE && call->chan)
		call->chan->close_done = true;
	if (call->method == AMQC_BASIC_CANCEL && call->consumer)
		call->consumer->ended = true;
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
	struct world *world = hear(life, "refuse");
	struct call *call = end_call(life, request, channel);

	if (!call)
		return;
	trace(world, "s%u hears #%u refused: %u %s", life->serial, request, fault->code, fault->text);
	if (call->consumer && call->method == AMQC_BASIC_CONSUME)
		call->consumer->ended = true;
	if (scope == SCOPE_SESSION || fault->code == 0)
		violate(world, "an error has a scope and a code", "request %u", request);
	if (call->method == AMQC_CHANNEL_CLOSE)
		violate(world, "closing a channel is never refused", "request %u", request);
	check_prompt(world, call->asked, fault, amqc_method_name(call->method));
}

/* ------------------------------------------------------------------ messages */

/* One whose declare was not answered in time: it is where the message is that the wire brought. */
static const struct queue *queue_guessed(const struct message *message)
{
	for (const struct copy *copy = message->copies; copy; copy = copy->next) {
		if (!copy->handout && !copy->queue->shared)
			return copy->queue;
	}
	return NULL;
}

static const struct queue *queue_of(struct world *world, const struct call *call,
				    const struct message *message)
{
	const char *name = call->name ? call->name : (call->name_of ? call->name_of->name : NULL);

	return name ? queue_named(world, span_str(name)) : queue_guessed(message);
}

/* Whether a message to exchange and key may be in the queue: it was bound so at some time. */
static bool may_route(const struct world *world, const struct message *message, const struct queue *queue)
{
	if (message->exchange[0] == '\0')
		return strcmp(message->key, queue->name) == 0;
	for (size_t i = 0; i < world->binding_count; i++) {
		const struct binding *binding = &world->bindings[i];

		if (binding->queue == queue && strcmp(binding->exchange, message->exchange) == 0 &&
		    (message->exchange[0] == 'f' || strcmp(binding->key, message->key) == 0))
			return true;
	}
	return false;
}

static void check_names(struct world *world, const struct message *message, struct span exchange,
			struct span key)
{
	if (!span_equal_str(exchange, message->exchange) || !span_equal_str(key, message->key))
		violate(world, "a message keeps exchange and key", "m%u", message->index);
}

/* It was delivered on the wire, and not handed over since. */
static void check_copy(struct world *world, const struct copy *copy, bool redelivered)
{
	const struct handout *before = copy->handout;

	if (copy_is_blurred(copy))
		return;
	if (copy->epoch == 0)
		violate(world, "what is handed over came from the broker", "m%u in %s", copy->message->index,
			copy->queue->name);
	else if (before)
		violate(world, "a delivery is handed over once", "m%u in %s: to session %u and again",
			copy->message->index, copy->queue->name, before->chan->life->serial);
	if (redelivered != copy->redelivered)
		violate(world, "redelivered is the broker's word", "m%u in %s", copy->message->index,
			copy->queue->name);
}

static struct handout *hand_out(struct life *life, struct chan *chan, struct copy *copy, uint64_t tag)
{
	struct world *world = life->client->world;
	struct handout *handout = world_alloc(world, sizeof(*handout));

	handout->chan = chan;
	handout->copy = copy;
	handout->tag = tag;
	copy->handout = handout;
	copy->audited = copy->audited || world->auditing;
	*chan->handouts_end = handout;
	chan->handouts_end = &handout->next;
	if (tag == 0)
		return handout;
	for (const struct handout *other = chan->handouts; other && other != handout; other = other->next) {
		if (other->tag == tag)
			violate(world, "a tag is used once", "tag %llu", (unsigned long long)tag);
	}
	if (tag > chan->last_tag)
		chan->last_tag = tag;
	return handout;
}

static struct mux_handed handed(struct life *life, struct message *message, struct handout *handout,
				struct consumer_record *consumer)
{
	uint64_t cost = PUBLISH_HEADER + message->size;
	struct event *event;

	life->position += cost;
	event = append(life);
	event->handout = handout;
	event->consumer = consumer;
	return (struct mux_handed){event->position, cost};
}

static bool is_over(struct chan *chan, bool closed, const char *what)
{
	if (!chan->failed && !closed)
		return false;
	violate(chan->life->client->world, "a channel that has ended gets no messages",
		"session %u, channel %u.%u: %s", chan->life->serial, chan->id.number, chan->id.generation,
		what);
	return true;
}

static struct mux_handed on_got(void *context, uint32_t request, struct mux_channel_id channel, uint64_t tag,
				const struct amqc_basic_get_ok *method, const struct mux_content *content)
{
	static const struct mux_handed nothing = {0, 0};
	struct life *life = context;
	struct world *world = hear(life, "got");
	struct message *message = message_of(world, content->properties, content->body);
	struct chan *chan = find_chan(life, channel);
	struct call *call;
	const struct queue *queue;
	struct handout *handout;
	struct copy *copy;

	if (!message || !chan || is_over(chan, chan->close_done, "got"))
		return nothing;
	if (chance(world, world->plan.inexpressible))
		return nothing;
	call = end_call(life, request, channel);
	if (!call)
		return nothing;
	queue = queue_of(world, call, message);
	if (call->method != AMQC_BASIC_GET || call->no_ack != (tag == 0) || !queue ||
	    !may_route(world, message, queue))
		violate(world, "a got message is from the queue asked", "m%u, request %u of session %u",
			message->index, request, life->serial);
	if (life->get_used >= life->get_credit && ++life->gets_over > GETS_UNDER_WAY)
		violate(world, "credit for gets is kept", "session %u, request %u", life->serial, request);
	if (world->failed)
		return nothing;
	trace(world, "s%u hears #%u got m%u, tag %llu", life->serial, request, message->index,
	      (unsigned long long)tag);
	check_names(world, message, method->exchange, method->routing_key);
	copy = copy_of(world, message, queue, is_marked(content->properties));
	check_copy(world, copy, method->redelivered);
	handout = hand_out(life, chan, copy, tag);
	life->get_used += PUBLISH_HEADER + message->size;
	call->answered = true;
	return handed(life, message, handout, NULL);
}

static struct consumer_record *find_consumer(struct chan *chan, uint32_t number)
{
	struct consumer_record *consumer;

	/* The latest of that number comes first. */
	for (consumer = chan->consumers; consumer; consumer = consumer->next) {
		if (consumer->number == number)
			return consumer;
	}
	return NULL;
}

/* Live, within its credit, and of the right queue. */
static void check_consumer(struct world *world, const struct consumer_record *consumer,
			   const struct message *message, uint64_t tag)
{
	const struct queue *queue = queue_of(world, consumer->consume, message);

	if (consumer->ended || !consumer->consume->answered)
		violate(world, "only a live consumer gets messages", "consumer %u, m%u", consumer->number,
			message->index);
	if (consumer->used_messages >= consumer->credit_messages ||
	    consumer->used_bytes >= consumer->credit_bytes)
		violate(world, "a consumer's credit is kept", "consumer %u, m%u", consumer->number,
			message->index);
	if (consumer->no_ack != (tag == 0))
		violate(world, "what needs an ack has a tag", "consumer %u, m%u", consumer->number,
			message->index);
	if (!queue || !may_route(world, message, queue))
		violate(world, "a consumer gets messages of its queue", "consumer %u of %s, m%u",
			consumer->number, queue ? queue->name : "?", message->index);
}

static struct mux_handed on_deliver(void *context, struct mux_channel_id channel, uint32_t number,
				    uint64_t tag, const struct amqc_basic_deliver *method,
				    const struct mux_content *content)
{
	static const struct mux_handed nothing = {0, 0};
	struct life *life = context;
	struct world *world = hear(life, "deliver");
	struct message *message = message_of(world, content->properties, content->body);
	struct chan *chan = find_chan(life, channel);
	struct consumer_record *consumer = chan ? find_consumer(chan, number) : NULL;
	struct copy *copy;

	if (!message || !chan || is_over(chan, chan->close_sent, "deliver"))
		return nothing;
	if (!consumer) {
		violate(world, "a delivery names its consumer", "consumer %u", number);
		return nothing;
	}
	if (chance(world, world->plan.inexpressible))
		return nothing;
	trace(world, "s%u hears m%u for %u.%u consumer %u, tag %llu", life->serial, message->index,
	      channel.number, channel.generation, number, (unsigned long long)tag);
	check_consumer(world, consumer, message, tag);
	if (world->failed)
		return nothing;
	check_names(world, message, method->exchange, method->routing_key);
	copy = copy_of(world, message, queue_of(world, consumer->consume, message),
		       is_marked(content->properties));
	check_copy(world, copy, method->redelivered);
	consumer->used_messages++;
	consumer->used_bytes += PUBLISH_HEADER + message->size;
	return handed(life, message, hand_out(life, chan, copy, tag), consumer);
}

static struct mux_handed on_returned(void *context, struct mux_channel_id channel, uint64_t number,
				     const struct amqc_basic_return *method,
				     const struct mux_content *content)
{
	static const struct mux_handed nothing = {0, 0};
	struct life *life = context;
	struct world *world = hear(life, "returned");
	struct message *message = message_of(world, content->properties, content->body);
	struct chan *chan = find_chan(life, channel);

	if (!message || !chan)
		return nothing;
	trace(world, "s%u hears m%u returned, number %llu of %u.%u", life->serial, message->index,
	      (unsigned long long)number, channel.number, channel.generation);
	if (message->chan != chan || message->number != number || !message->wire_returned)
		violate(world, "a return reaches its publish", "m%u is number %llu; told: %llu",
			message->index, (unsigned long long)message->number, (unsigned long long)number);
	if (message->returned || message->ended)
		violate(world, "a return comes once, before the outcome", "m%u", message->index);
	check_names(world, message, method->exchange, method->routing_key);
	message->returned = true;
	return handed(life, message, NULL, NULL);
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
		/* Or its connection was lost after the return: it went to no queue for certain. */
		if (!message->returned || (!message->wire_acked && world->wire.running))
			wrong = "returned means confirmed, and told before";
		break;
	case OUTCOME_NACKED:
		if (!message->wire_nacked)
			wrong = "nacked is the broker's word";
		break;
	case OUTCOME_NOT_SENT:
		if (message->sent)
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
	struct world *world = hear(life, "outcome");
	struct chan *chan = find_chan(life, channel);

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
		if (kind == OUTCOME_UNKNOWN && message->number == last)
			check_prompt(world, world->calm_since, fault, "publish");
		message->ended = true;
		message->kind = kind;
		chan->open_messages--;
	}
	append(life);
}

/* ------------------------------------------------------------------ ends */

static void on_channel_ended(void *context, struct mux_channel_id channel, const struct fault *fault)
{
	struct life *life = context;
	struct world *world = hear(life, "channel ended");
	struct chan *chan = find_chan(life, channel);

	if (!chan)
		return;
	trace(world, "s%u hears end of %u.%u: %u %s", life->serial, channel.number, channel.generation,
	      fault->code, fault->text);
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
	append(life)->failed = chan;
}

static void on_consumer_cancelled(void *context, struct mux_channel_id channel, uint32_t number,
				  struct span text)
{
	struct life *life = context;
	struct world *world = hear(life, "cancelled");
	struct chan *chan = find_chan(life, channel);
	struct consumer_record *consumer = chan ? find_consumer(chan, number) : NULL;

	trace(world, "s%u hears end of consumer %u of %u.%u: %.*s", life->serial, number, channel.number,
	      channel.generation, (int)text.len, (const char *)text.data);
	if (!consumer || consumer->ended) {
		violate(world, "a consumer ends once", "consumer %u", number);
		return;
	}
	consumer->ended = true;
	append(life)->consumer = consumer;
}

static void on_credit(void *context, uint64_t messages, uint64_t bytes)
{
	struct life *life = context;
	struct world *world = hear(life, "credit");
	struct event *event;

	if (messages < life->granted_messages || bytes < life->granted_bytes)
		violate(world, "credit never shrinks", "session %u: %llu, %llu", life->serial,
			(unsigned long long)messages, (unsigned long long)bytes);
	life->granted_messages = messages;
	life->granted_bytes = bytes;
	event = append(life);
	event->credit_messages = messages;
	event->credit_bytes = bytes;
}

static void on_upstream_changed(void *context)
{
	append(context);
}

static void on_ended(void *context, const struct fault *fault)
{
	struct life *life = context;
	struct world *world = hear(life, "ended");

	trace(world, "s%u hears its end: %u %s", life->serial, fault->code, fault->text);
	if (!life->breached || life->ended)
		violate(world, "a session that keeps to the protocol is not ended", "session %u: %u %s",
			life->serial, fault->code, fault->text);
	life->ended = true;
}

const struct session_ops events_ops = {
    .reply = on_reply,
    .refuse = on_refuse,
    .got = on_got,
    .deliver = on_deliver,
    .returned = on_returned,
    .outcome = on_outcome,
    .channel_ended = on_channel_ended,
    .consumer_cancelled = on_consumer_cancelled,
    .credit = on_credit,
    .upstream_changed = on_upstream_changed,
    .ended = on_ended,
};
