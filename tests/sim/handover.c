/*
 * Messages that mux hands to a session: got, delivered, returned. Each is
 * compared with what the wire brought, and with what the session asked for.
 */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

/* Gets that may have been asked while there was credit, and come when it is used up. */
#define GETS_UNDER_WAY 16u

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

		if (binding->queue == queue && strcmp(binding->exchange->name, message->exchange) == 0 &&
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

/* "x7" is session 7's; the table of the broker's one connection does not know. */
static void check_owner(const struct life *life, const struct queue *queue)
{
	if (queue->name[0] == 'x' && strtoul(queue->name + 1, NULL, 10) != life->serial)
		violate(life->client->world, "an exclusive queue is its session's", "session %u reads %s",
			life->serial, queue->name);
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
	handout->epoch = world->epoch;
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
	event = events_append(life);
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

struct mux_handed handover_got(void *context, uint32_t request, struct mux_channel_id channel, uint64_t tag,
			       const struct amqc_basic_get_ok *method, const struct mux_content *content)
{
	static const struct mux_handed nothing = {0, 0};
	struct life *life = context;
	struct world *world = events_hear(life, "got");
	struct message *message = message_of(world, content->properties, content->body);
	struct chan *chan = events_chan(life, channel);
	struct call *call;
	const struct queue *queue;
	struct handout *handout;
	struct copy *copy;

	if (!message || !chan || is_over(chan, chan->close_done, "got"))
		return nothing;
	if (chance(world, world->plan.inexpressible)) {
		happened(world, FAULT_INEXPRESSIBLE);
		return nothing;
	}
	call = events_end_call(life, request, channel);
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
	check_owner(life, queue);
	check_copy(world, copy, method->redelivered);
	handout = hand_out(life, chan, copy, tag);
	replies_note(world, handout, content->properties);
	life->get_used += PUBLISH_HEADER + message->size;
	call->answered = true;
	return handed(life, message, handout, NULL);
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
	if (replies_is_for(consumer) && !replies_may_come(message, consumer->consume->chan))
		violate(world, "a reply reaches who asked", "m%u at session %u", message->index,
			consumer->consume->chan->life->serial);
	else if (replies_is_for(consumer))
		replies_came(world, message);
	else if (!queue || !may_route(world, message, queue))
		violate(world, "a consumer gets messages of its queue", "consumer %u of %s, m%u",
			consumer->number, queue ? queue->name : "?", message->index);
}

/* The broker was told its prefetch; a smaller one only where memory is short, it asked for none, or has to
 * share. */
static void check_prefetch(struct world *world, const struct chan *chan,
			   const struct consumer_record *consumer, const struct copy *copy)
{
	uint32_t prefetch = copy->consumer ? copy->consumer->prefetch : 0;

	if (copy_is_blurred(copy) || prefetch == consumer->prefetch ||
	    (prefetch > 0 && prefetch < consumer->prefetch &&
	     (world->plan.small_memory || !consumer->prefetch_asked || chan->bounded)))
		return;
	violate(world, "a consumer has its prefetch", "consumer %u, m%u: %u instead of %u", consumer->number,
		copy->message->index, prefetch, consumer->prefetch);
}

struct mux_handed handover_deliver(void *context, struct mux_channel_id channel, uint32_t number,
				   uint64_t tag, const struct amqc_basic_deliver *method,
				   const struct mux_content *content)
{
	static const struct mux_handed nothing = {0, 0};
	struct life *life = context;
	struct world *world = events_hear(life, "deliver");
	struct message *message = message_of(world, content->properties, content->body);
	struct chan *chan = events_chan(life, channel);
	struct consumer_record *consumer = chan ? events_consumer(chan, number) : NULL;
	struct handout *handout;
	struct copy *copy;

	if (!message || !chan || is_over(chan, chan->close_sent, "deliver"))
		return nothing;
	if (!consumer) {
		violate(world, "a delivery names its consumer", "consumer %u", number);
		return nothing;
	}
	if (chance(world, world->plan.inexpressible)) {
		happened(world, FAULT_INEXPRESSIBLE);
		return nothing;
	}
	trace(world, "s%u hears m%u for %u.%u consumer %u, tag %llu", life->serial, message->index,
	      channel.number, channel.generation, number, (unsigned long long)tag);
	check_consumer(world, consumer, message, tag);
	if (world->failed)
		return nothing;
	check_names(world, message, method->exchange, method->routing_key);
	copy = copy_of(world, message, queue_of(world, consumer->consume, message),
		       is_marked(content->properties));
	check_owner(life, copy->queue);
	check_copy(world, copy, method->redelivered);
	check_prefetch(world, chan, consumer, copy);
	consumer->used_messages++;
	consumer->used_bytes += PUBLISH_HEADER + message->size;
	handout = hand_out(life, chan, copy, tag);
	replies_note(world, handout, content->properties);
	return handed(life, message, handout, consumer);
}

struct mux_handed handover_returned(void *context, struct mux_channel_id channel, uint64_t number,
				    const struct amqc_basic_return *method, const struct mux_content *content)
{
	static const struct mux_handed nothing = {0, 0};
	struct life *life = context;
	struct world *world = events_hear(life, "returned");
	struct message *message = message_of(world, content->properties, content->body);
	struct chan *chan = events_chan(life, channel);

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
