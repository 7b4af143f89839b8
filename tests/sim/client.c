/*
 * A simulated client: sessions, what it does with them, and how it reads. It
 * keeps to the protocol (PROTOCOL.md) by what it has read so far; what mux has
 * said is one thing (events.c), what the client has read of it another.
 */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

void client_begin(struct client *client)
{
	struct world *world = client->world;
	struct life *life = world_alloc(world, sizeof(*life));
	struct session_options options = {.upstream = world->upstream,
					  .creds = {.uid = 1000, .gid = 1000, .pid = 1},
					  .program = SPAN_LITERAL("sim"),
					  .ops = &events_ops,
					  .context = life};

	life->client = client;
	life->next = client->life;
	life->serial = ++world->last_serial;
	world->size.sessions += !world->auditing;
	life->events_end = &life->events;
	life->get_credit = world->calm ? UINT64_MAX / 2 : (chance(world, 700) ? 1000000 : 0);
	options.get_bytes = life->get_credit;
	client->life = life;
	options.creds.pid = life->serial;
	if (session_new(world->mux, &options, &life->session) != 0) {
		violate(world, "a session can begin", "session %u", life->serial);
		return;
	}
	session_credit_totals(life->session, &life->granted_messages, &life->granted_bytes);
	life->known_messages = life->granted_messages;
	life->known_bytes = life->granted_bytes;
	trace(world, "c%u begins session %u", client->index, life->serial);
}

void client_end(struct client *client)
{
	struct life *life = client->life;
	struct session *session = life ? life->session : NULL;

	if (!session)
		return;
	trace(client->world, "c%u ends session %u", client->index, life->serial);
	topology_shrank(client->world);
	life->session = NULL; /* no callback may come any more */
	session_end(session);
}

void client_deafen(struct client *client)
{
	struct world *world = client->world;

	happened(world, FAULT_DEAF);
	trace(world, "c%u stops reading", client->index);
	client->deaf_until = mono_add_usec(world->now, below(world, 5000000));
}

/* ------------------------------------------------------------------ reading */

static void read_event(struct client *client, struct event *event)
{
	struct life *life = client->life;

	if (event->handout) {
		event->handout->seen = true;
		if (event->consumer)
			event->consumer->seen++;
	}
	if (event->failed)
		event->failed->failed_seen = true;
	if (event->credit_messages > life->known_messages)
		life->known_messages = event->credit_messages;
	if (event->credit_bytes > life->known_bytes)
		life->known_bytes = event->credit_bytes;
}

/* The socket takes some, and tells mux so; the client reads some of that. */
void client_read(struct client *client, bool everything)
{
	struct world *world = client->world;
	struct life *life = client->life;
	uint32_t most = everything ? UINT32_MAX : below(world, 12);
	uint64_t position = 0;

	for (uint32_t i = 0; i < most && life->taken; i++) {
		position = life->taken->position;
		if (life->taken->handout)
			life->taken->handout->taken = true;
		life->taken = life->taken->next;
	}
	if (position > 0 && life->session && !life->ended)
		session_written(life->session, position);
	most = everything ? UINT32_MAX : below(world, 12);
	for (uint32_t i = 0; i < most && life->events && life->events != life->taken; i++) {
		read_event(client, life->events);
		life->events = life->events->next;
		if (!life->events)
			life->events_end = &life->events;
	}
}

bool client_is_idle(const struct client *client)
{
	const struct life *life = client->life;

	if (!life || !life->session || life->ended)
		return true;
	if (life->calls_open > 0 || life->events)
		return false;
	for (const struct chan *chan = life->chans; chan; chan = chan->next) {
		if (chan->open_messages > 0)
			return false;
	}
	return true;
}

/* ------------------------------------------------------------------ channels and requests */

struct chan *client_open(struct client *client, uint32_t number)
{
	struct world *world = client->world;
	struct life *life = client->life;
	struct chan *chan = world_alloc(world, sizeof(*chan));

	life->generation[number] += 1 + below(world, 2);
	chan->life = life;
	chan->id = (struct mux_channel_id){number, life->generation[number]};
	chan->handouts_end = &chan->handouts;
	chan->opened_epoch = world->epoch;
	chan->opened_closes = world->lanes_closed;
	chan->pure = true;
	chan->next = life->chans;
	life->chans = chan;
	life->open[number] = chan;
	world->size.operations++;
	trace(world, "s%u opens %u.%u", life->serial, number, chan->id.generation);
	session_open_channel(life->session, number, chan->id.generation);
	return chan;
}

static struct call *call_new(struct client *client, struct chan *chan, enum amqc_method_id method)
{
	struct world *world = client->world;
	struct life *life = client->life;
	struct call *call = world_alloc(world, sizeof(*call));

	call->id = ++life->next_call;
	call->method = method;
	call->chan = chan;
	call->asked = world->now;
	call->event = ++world->events;
	call->latest = MONO_NEVER;
	call->next = life->calls;
	life->calls = call;
	life->calls_open++;
	return call;
}

static uint64_t pick_timeout(struct world *world, uint64_t standard_usec, struct mono *ret_latest)
{
	uint64_t usec = 0;

	if (!world->calm && world->plan.short_deadlines && chance(world, 300))
		usec = (1 + below(world, 5000)) * USEC_PER_MSEC;
	*ret_latest = mono_add_usec(world->now, usec ? usec : standard_usec);
	return usec;
}

/* What the reply is about must be known before it comes, which may be at once. */
static void note_call(struct world *world, struct call *call, const struct amqc_method *method)
{
	switch (method->id) {
	case AMQC_QUEUE_DECLARE:
		call->chan->last_declare = call;
		call->passive = method->queue_declare.passive;
		call->auto_delete = method->queue_declare.auto_delete;
		if (method->queue_declare.queue.len > 0) {
			call->queue = queue_named(world, method->queue_declare.queue);
			call->name = call->queue->name;
		}
		break;
	case AMQC_BASIC_QOS:
		if (method->basic_qos.global)
			call->chan->bounded = true;
		else
			call->chan->prefetch = method->basic_qos.prefetch_count;
		break;
	case AMQC_QUEUE_DELETE:
		call->queue = queue_named(world, method->queue_delete.queue);
		break;
	case AMQC_QUEUE_BIND:
		call->binding = binding_new(world, method);
		break;
	case AMQC_QUEUE_UNBIND:
		topology_unbound(world, &method->queue_unbind);
		break;
	case AMQC_EXCHANGE_DECLARE:
		call->exchange = exchange_named(world, method->exchange_declare.exchange);
		break;
	case AMQC_EXCHANGE_DELETE:
		call->exchange = exchange_named(world, method->exchange_delete.exchange);
		break;
	case AMQC_BASIC_GET:
		call->no_ack = method->basic_get.no_ack;
		call->name_of = method->basic_get.queue.len == 0 ? call->chan->last_declare : NULL;
		if (!call->name_of)
			call->name = queue_named(world, method->basic_get.queue)->name;
		break;
	default:
		break;
	}
}

/* request may be NULL; its method and id are filled in. */
struct call *client_call(struct client *client, struct chan *chan, struct amqc_method *method,
			 struct mux_request *request)
{
	struct life *life = client->life;
	struct call *call = call_new(client, chan, method->id);
	struct mux_request own = {0};
	char text[32] = "";

	/* All methods about queues begin with the name. */
	if (AMQC_CLASS_ID(method->id) == AMQC_CLASS_ID(AMQC_QUEUE_DECLARE) || method->id == AMQC_BASIC_GET)
		wire_copy_text(text, sizeof(text), method->queue_declare.queue);

	if (!request)
		request = &own;
	client->world->size.operations++;
	trace(client->world, "s%u asks #%u %s %s on %u.%u", life->serial, call->id,
	      amqc_method_name(method->id), text, chan->id.number, chan->id.generation);
	if (method->id == AMQC_CHANNEL_CLOSE) {
		chan->close_sent = true;
		session_close_channel(life->session, call->id, chan->id.number);
		return call;
	}
	chan->pure = false;
	request->id = call->id;
	request->channel = chan->id.number;
	request->method = method;
	request->timeout_usec = pick_timeout(client->world, 20 * USEC_PER_SEC, &call->latest);
	if (method->id == AMQC_BASIC_CANCEL)
		call->consumer = events_consumer(chan, request->consumer);
	note_call(client->world, call, method);
	topology_asked(client->world, call);
	session_request(life->session, request);
	return call;
}

void client_consume(struct client *client, struct chan *chan, struct consumer_record *consumer,
		    const char *queue)
{
	struct world *world = client->world;
	struct life *life = client->life;
	struct amqc_method method = {.id = AMQC_BASIC_CONSUME};
	struct mux_request request = {.method = &method, .consumer = consumer->number};
	struct call *call = call_new(client, chan, method.id);

	consumer->consume = call;
	consumer->prefetch = chan->prefetch ? chan->prefetch : world->prefetch;
	consumer->prefetch_asked = chan->prefetch != 0;
	consumer->next = chan->consumers;
	chan->consumers = consumer;
	chan->pure = false;
	call->consumer = consumer;
	call->name_of = queue[0] == '\0' ? chan->last_declare : NULL;
	if (!call->name_of)
		call->name = queue_named(world, span_str(queue))->name;
	method.basic_consume.queue = span_str(queue);
	method.basic_consume.no_ack = consumer->no_ack;
	method.basic_consume.exclusive = consumer->exclusive;
	request.id = call->id;
	request.channel = chan->id.number;
	request.credit_messages = consumer->credit_messages;
	request.credit_bytes = consumer->credit_bytes;
	request.timeout_usec = pick_timeout(world, 20 * USEC_PER_SEC, &call->latest);
	world->size.operations++;
	trace(world, "s%u asks #%u consume %u of \"%s\" on %u.%u%s%s, credit %llu", life->serial, call->id,
	      consumer->number, queue, chan->id.number, chan->id.generation,
	      consumer->no_ack ? " no-ack" : "", consumer->exclusive ? " exclusive" : "",
	      (unsigned long long)consumer->credit_messages);
	session_request(life->session, &request);
}

/* ------------------------------------------------------------------ publishing and settling */

struct message *client_message(struct client *client, struct chan *chan)
{
	struct world *world = client->world;
	struct message *message = world_alloc(world, sizeof(*message));

	message->index = (uint32_t)world->message_count;
	/* No draw of chance, so that all else is as it is without. */
	message->resent = message->index % 16 == 5;
	message->age_msec = message->resent ? message->index * 37 % 5000 : 0;
	message->chan = chan;
	world->messages = world_grow(world, world->messages, world->message_count, &world->message_capacity);
	world->messages[world->message_count++] = message;
	return message;
}

static void publish_note(struct client *client, struct chan *chan, struct message *message)
{
	struct world *world = client->world;
	struct life *life = client->life;

	chan->messages = world_grow(world, chan->messages, chan->message_count, &chan->message_capacity);
	chan->messages[chan->message_count++] = message;
	chan->open_messages++;
	message->number = chan->message_count;
	message->accepted = ++world->events;
	message->epoch = world->epoch;
	message->born = world->now;
	message->cost = PUBLISH_HEADER + message->size;
	life->spent_messages++;
	life->spent_bytes += message->cost;
	if (message->exchange[0] != '\0')
		chan->pure = false;
	world->size.operations++;
	trace(world, "s%u publishes %u.%u number %llu: m%u, %u bytes to \"%s\" \"%s\"%s%s%s", life->serial,
	      chan->id.number, chan->id.generation, (unsigned long long)message->number, message->index,
	      message->size, message->exchange, message->key, message->mandatory ? ", mandatory" : "",
	      message->expires ? ", expires" : "", message->resent ? ", sent before" : "");
}

void client_publish(struct client *client, struct chan *chan, struct message *message)
{
	struct amqc_properties properties = {.present = AMQC_PROP_MESSAGE_ID | AMQC_PROP_DELIVERY_MODE,
					     .delivery_mode = message->persistent ? 2 : 1};
	uint8_t *body = malloc(message->size + 1);
	struct mux_publish publish = {.channel = chan->id.number, .properties = &properties};
	char id[16], expiration[16];

	publish_note(client, chan, message);
	body_fill(message, body);
	properties.message_id = span_make(id, (size_t)snprintf(id, sizeof(id), "%u", message->index));
	if (message->asks) {
		properties.present |= AMQC_PROP_REPLY_TO;
		properties.reply_to = SPAN_LITERAL("amq.rabbitmq.reply-to");
	}
	if (message->expires) {
		properties.present |= AMQC_PROP_EXPIRATION;
		properties.expiration =
		    span_make(expiration, (size_t)snprintf(expiration, sizeof(expiration), "%u",
							   message->expiration_msec));
	}
	publish.timeout_usec = pick_timeout(client->world, 40 * USEC_PER_SEC, &message->deadline);
	publish.cost_bytes = message->cost;
	publish.exchange = span_str(message->exchange);
	publish.routing_key = span_str(message->key);
	publish.mandatory = message->mandatory;
	publish.resent = message->resent;
	publish.age_ms = message->age_msec;
	publish.body = span_make(body, message->size);
	session_publish(client->life->session, &publish);
	free(body);
}

static bool in_range(const struct handout *handout, uint64_t first, uint64_t last)
{
	return handout->tag != 0 && handout->tag >= first && (last == 0 || handout->tag <= last);
}

/* Whether mux must take it as a mistake (PROTOCOL.md, "Settling"). */
static bool is_wrong(const struct chan *chan, uint64_t first, uint64_t last)
{
	const struct world *world = chan->life->client->world;

	if (first == 0 && last == 0)
		return false;
	if (first > last)
		return true;
	if (first != last)
		return false;
	for (const struct handout *handout = chan->handouts; handout; handout = handout->next) {
		bool stale = handout->stale || handout->epoch != world->epoch || !world->wire.running;

		/* Tags of a connection or lane that is gone mean nothing any more. */
		if (stale && handout->tag >= first)
			return false;
		if (handout->tag == first)
			return handout->decision != DECIDED_NOTHING;
	}
	return true;
}

/* A tag that the client was never given: mux may have had it on a connection or lane that is gone. */
static bool may_be_stale(const struct chan *chan, uint64_t tag)
{
	const struct world *world = chan->life->client->world;

	for (const struct handout *handout = chan->handouts; handout; handout = handout->next) {
		if (handout->tag == tag)
			return false;
	}
	return !world->wire.running || chan->opened_epoch != world->epoch ||
	       chan->opened_closes != world->lanes_closed;
}

/* What is decided counts from when mux has heard it; not if it is a mistake, or the channel has failed. */
void client_settle(struct client *client, struct chan *chan, enum settle_kind kind, uint64_t first,
		   uint64_t last)
{
	struct world *world = client->world;
	bool wrong = is_wrong(chan, first, last), failed = chan->failed;
	/* Tags that mux keeps back for want of credit count for it, and the client does not know them. */
	bool unclear = (first != last && last > chan->last_tag) || may_be_stale(chan, first);
	enum decision decision = kind == SETTLE_ACK	  ? DECIDED_ACK
				 : kind == SETTLE_REQUEUE ? DECIDED_REQUEUE
							  : DECIDED_DISCARD;

	chan->pure = false;
	for (const struct handout *handout = chan->handouts; handout; handout = handout->next) {
		if (handout->tag == last && last != 0 && handout->copy->epoch < world->epoch)
			happened(world, CLIENT_STALE_ACK);
	}
	world->size.operations++;
	trace(world, "s%u settles %u.%u %llu..%llu: %d%s", client->life->serial, chan->id.number,
	      chan->id.generation, (unsigned long long)first, (unsigned long long)last, (int)kind,
	      wrong ? " (wrong)" : "");
	session_settle(client->life->session, chan->id.number, kind, first, last);
	if (!failed && !unclear && !client->life->ended && wrong != chan->failed)
		violate(world, "a wrong tag fails its channel, a right one does not",
			"session %u, channel %u.%u, tags %llu..%llu", client->life->serial, chan->id.number,
			chan->id.generation, (unsigned long long)first, (unsigned long long)last);
	for (struct handout *handout = chan->handouts; handout && !chan->failed; handout = handout->next) {
		if (in_range(handout, first, last) && handout->decision == DECIDED_NOTHING)
			handout->decision = decision;
	}
}
