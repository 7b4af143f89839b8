/*
 * What clients do: one operation after another, drawn at random.
 */
#include "tests/sim/sim.h"

#include <stdio.h>

#define CONSUMERS_MAX 3u

static const char *const shared_names[] = {"q0", "q1", "q2", "q3"};
static const char *const exchange_names[] = {"f0", "d0", "d1", "fa"};
/* Everybody's, but not durable; one goes with its last consumer. */
static const char *const passing_names[] = {"n0", "t0"};

static const char *shared_name(struct world *world)
{
	return shared_names[below(world, 4)];
}

/* A queue that is not everybody's: the session's own, one that all want, one that is not there. */
static const char *odd_name(struct client *client, char *text, size_t size)
{
	switch (below(client->world, 3)) {
	case 0:
		/* Mostly its own. */
		snprintf(text, size, "x%u",
			 chance(client->world, 600) ? client->life->serial
						    : 1 + below(client->world, client->world->last_serial));
		return text;
	case 1:
		return "wanted";
	default:
		return "missing";
	}
}

static const char *any_name(struct client *client, char *text, size_t size)
{
	return chance(client->world, 993) ? shared_name(client->world) : odd_name(client, text, size);
}

/* One that is likely to be there. */
static const char *some_queue(struct client *client, char *text, size_t size)
{
	struct world *world = client->world;
	uint32_t kind = below(world, 100);

	if (kind < 12 && client->life->own) {
		snprintf(text, size, "x%u", client->life->serial);
		return text;
	}
	if (kind < 25 && world->passing)
		return passing_names[kind & 1];
	return any_name(client, text, size);
}

/* A channel to use: open as far as the client knows. */
static struct chan *pick_chan(struct client *client)
{
	uint32_t number = 1 + below(client->world, CHANNELS_MAX);
	struct chan *chan = client->life->open[number];

	if (!chan || chan->failed_seen || chan->close_sent)
		return client_open(client, number);
	return chan;
}

/* ------------------------------------------------------------------ publishing */

static uint32_t pick_size(struct world *world)
{
	uint32_t kind = below(world, 100);

	if (kind < 50 && world->plan.bulky)
		return 5000 + below(world, 20000);
	if (kind < 35)
		return below(world, 5);
	if (kind < 75)
		return below(world, 200);
	if (kind < 93)
		return below(world, world->plan.body_max < 5000 ? world->plan.body_max : 5000);
	return below(world, world->plan.body_max);
}

static void pick_target(struct client *client, struct message *message)
{
	struct world *world = client->world;
	uint32_t kind = below(world, 1000);
	char text[32];

	if (kind < 700)
		snprintf(message->key, sizeof(message->key), "%s", shared_name(world));
	else if (kind < 730)
		snprintf(message->key, sizeof(message->key), "%s", odd_name(client, text, sizeof(text)));
	else
		snprintf(message->key, sizeof(message->key), "k%u", below(world, 2));
	if (kind >= 999)
		snprintf(message->exchange, sizeof(message->exchange), "nowhere");
	else if (kind >= 730)
		snprintf(message->exchange, sizeof(message->exchange), "%s",
			 exchange_names[below(world, world->passing ? 4 : 3)]);
}

struct message *ops_message(struct client *client, struct chan *chan, const char *address)
{
	struct world *world = client->world;
	struct life *life = client->life;
	uint32_t size = pick_size(world);
	uint64_t cost = PUBLISH_HEADER + size;
	struct message *message;

	if (life->spent_messages + 1 > life->known_messages || life->spent_bytes + cost > life->known_bytes) {
		happened(world, CLIENT_WAITED);
		session_want(life->session, life->spent_messages + 1, life->spent_bytes + cost);
		return NULL;
	}
	message = client_message(client, chan);
	message->size = size;
	message->mandatory = chance(world, 500);
	message->persistent = chance(world, 600);
	expiry_pick(world, message);
	if (address)
		snprintf(message->key, sizeof(message->key), "%s", address);
	else
		pick_target(client, message);
	return message;
}

static void do_publish(struct client *client, struct chan *chan)
{
	struct message *message = ops_message(client, chan, NULL);

	if (message)
		client_publish(client, chan, message);
}

static void do_burst(struct client *client, struct chan *chan)
{
	uint32_t count = 2 + below(client->world, 20);

	while (count-- > 0 && !client->life->ended)
		do_publish(client, chan);
}

/* ------------------------------------------------------------------ queues and exchanges */

static void do_declare(struct client *client, struct chan *chan)
{
	struct world *world = client->world;
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};
	struct amqc_queue_declare *declare = &method.queue_declare;
	uint32_t kind = below(world, 100);
	char text[32];

	if (kind < 45) {
		declare->queue = span_str(shared_name(world));
		declare->durable = true;
	} else if (kind < 60) {
		world->passing = true;
		declare->queue = span_str(passing_names[kind & 1]);
		declare->auto_delete = kind & 1;
	} else if (kind < 75) {
		snprintf(text, sizeof(text), "x%u", client->life->serial);
		client->life->own = true;
		declare->queue = span_str(text);
		declare->exclusive = true;
	} else if (kind < 85) {
		declare->queue = SPAN_LITERAL("wanted");
		declare->exclusive = true;
	} else if (kind < 99) {
		declare->exclusive = chance(world, 700);
		declare->auto_delete = !declare->exclusive || chance(world, 400);
	} else {
		declare->queue = span_str(odd_name(client, text, sizeof(text)));
		declare->passive = true;
	}
	if (declare->queue.len > 0)
		(void)queue_named(world, declare->queue);
	if (world->queue_count < QUEUES_MAX / 4 || declare->queue.len > 0)
		(void)client_call(client, chan, &method, NULL);
}

static void declare_exchange(struct client *client, struct chan *chan, uint32_t which)
{
	struct amqc_method method = {.id = AMQC_EXCHANGE_DECLARE};

	method.exchange_declare.exchange = span_str(exchange_names[which]);
	method.exchange_declare.type =
	    exchange_names[which][0] == 'f' ? SPAN_LITERAL("fanout") : SPAN_LITERAL("direct");
	method.exchange_declare.durable = which < 3;
	method.exchange_declare.auto_delete = which == 3;
	(void)client_call(client, chan, &method, NULL);
}

static void do_exchange(struct client *client, struct chan *chan)
{
	declare_exchange(client, chan, below(client->world, 4));
}

struct bind_names {
	const char *queue, *exchange, *key;
};

static struct bind_names pick_names(struct client *client, char *text, size_t size)
{
	struct world *world = client->world;

	return (struct bind_names){some_queue(client, text, size),
				   exchange_names[below(world, world->passing ? 4 : 3)],
				   chance(world, 500) ? "k0" : "k1"};
}

static void bind_names(struct client *client, struct chan *chan, struct bind_names names)
{
	struct amqc_method method = {.id = AMQC_QUEUE_BIND};

	if (client->world->binding_count == BINDINGS_MAX)
		return;
	method.queue_bind.queue = span_str(names.queue);
	method.queue_bind.exchange = span_str(names.exchange);
	method.queue_bind.routing_key = span_str(names.key);
	(void)client_call(client, chan, &method, NULL);
}

static void do_bind(struct client *client, struct chan *chan)
{
	char text[32];

	bind_names(client, chan, pick_names(client, text, sizeof(text)));
}

static void do_unbind(struct client *client, struct chan *chan)
{
	char text[32];
	struct bind_names names = pick_names(client, text, sizeof(text));
	struct amqc_method method = {.id = AMQC_QUEUE_UNBIND};

	if (client->world->binding_count == BINDINGS_MAX)
		return;
	method.queue_unbind.queue = span_str(names.queue);
	method.queue_unbind.exchange = span_str(names.exchange);
	method.queue_unbind.routing_key = span_str(names.key);
	(void)client_call(client, chan, &method, NULL);
}

static void do_wipe(struct client *client, struct chan *chan)
{
	struct amqc_method method = {.id = AMQC_QUEUE_PURGE};
	char text[32];
	const char *name = any_name(client, text, sizeof(text));

	if (chance(client->world, 500)) {
		method.id = AMQC_QUEUE_DELETE;
		method.queue_delete.queue = span_str(name);
		method.queue_delete.if_empty = chance(client->world, 300);
	} else {
		method.queue_purge.queue = span_str(name);
	}
	(void)client_call(client, chan, &method, NULL);
}

void ops_prepare(struct client *client)
{
	struct chan *chan = client_open(client, CHANNELS_MAX);

	for (uint32_t i = 0; i < 4; i++) {
		struct amqc_method declare = {.id = AMQC_QUEUE_DECLARE};

		declare.queue_declare.queue = span_str(shared_names[i]);
		declare.queue_declare.durable = true;
		(void)client_call(client, chan, &declare, NULL);
	}
	for (uint32_t i = 0; i < EXCHANGES; i++)
		declare_exchange(client, chan, i);
	for (uint32_t i = 0; i < 3; i++)
		bind_names(client, chan,
			   (struct bind_names){shared_name(client->world), exchange_names[i], "k0"});
}

/* ------------------------------------------------------------------ consuming */

static bool number_is_free(const struct chan *chan, uint32_t number)
{
	for (const struct consumer_record *consumer = chan->consumers; consumer; consumer = consumer->next) {
		if (consumer->number == number && !consumer->ended)
			return false;
	}
	return true;
}

static void do_consume(struct client *client, struct chan *chan)
{
	struct world *world = client->world;
	uint32_t number = 1 + below(world, CONSUMERS_MAX);
	char text[32];
	const char *queue = some_queue(client, text, sizeof(text));
	struct consumer_record *consumer;

	if (chan->last_declare && chance(world, 150))
		queue = "";
	if (!number_is_free(chan, number))
		return;
	consumer = world_alloc(world, sizeof(*consumer));
	consumer->number = number;
	consumer->no_ack = chance(world, 300);
	consumer->exclusive = chance(world, 60);
	consumer->credit_messages = below(world, 20);
	consumer->credit_bytes = consumer->credit_messages == 0 ? 0 : 1 + below(world, 200000);
	client_consume(client, chan, consumer, queue);
}

static struct consumer_record *pick_consumer(struct world *world, struct chan *chan)
{
	struct consumer_record *consumer = chan->consumers;
	uint32_t skip = below(world, CONSUMERS_MAX);

	while (consumer && consumer->next && skip-- > 0)
		consumer = consumer->next;
	/* Mux would take the latest of that number. */
	return consumer ? events_consumer(chan, consumer->number) : NULL;
}

static void do_cancel(struct client *client, struct chan *chan)
{
	struct consumer_record *consumer = pick_consumer(client->world, chan);
	struct amqc_method method = {.id = AMQC_BASIC_CANCEL};
	struct mux_request request = {.consumer = consumer ? consumer->number : 9};

	(void)client_call(client, chan, &method, &request);
}

static void do_credit(struct client *client, struct chan *chan)
{
	struct consumer_record *consumer = pick_consumer(client->world, chan);

	if (!consumer || consumer->ended || !number_is_free(chan, consumer->number + CONSUMERS_MAX))
		return;
	consumer->credit_messages += below(client->world, 30);
	consumer->credit_bytes += below(client->world, 200000);
	session_consumer_credit(client->life->session, chan->id.number, consumer->number,
				consumer->credit_messages, consumer->credit_bytes);
}

static void do_get(struct client *client, struct chan *chan)
{
	struct amqc_method method = {.id = AMQC_BASIC_GET};
	char text[32];

	method.basic_get.queue = span_str(some_queue(client, text, sizeof(text)));
	method.basic_get.no_ack = chance(client->world, 300);
	(void)client_call(client, chan, &method, NULL);
}

static void do_get_credit(struct client *client, struct chan *chan)
{
	struct life *life = client->life;

	life->get_credit += below(client->world, 100000);
	life->gets_over = 0;
	session_get_credit(life->session, life->get_credit);
}

static void do_qos(struct client *client, struct chan *chan)
{
	struct amqc_method method = {.id = AMQC_BASIC_QOS};

	method.basic_qos.prefetch_count = (uint16_t)below(client->world, 12);
	method.basic_qos.global = chance(client->world, 300);
	(void)client_call(client, chan, &method, NULL);
}

/* One that the client has read and not settled; NULL: none. */
static const struct handout *pick_handout(struct world *world, const struct chan *chan)
{
	const struct handout *found = NULL;

	for (const struct handout *handout = chan->handouts; handout; handout = handout->next) {
		if (handout->tag != 0 && handout->seen && handout->decision == DECIDED_NOTHING &&
		    (!found || chance(world, 400)))
			found = handout;
	}
	return found;
}

static void do_settle(struct client *client, struct chan *chan)
{
	struct world *world = client->world;
	const struct handout *handout = pick_handout(world, chan);
	enum settle_kind kind = chance(world, 700)   ? SETTLE_ACK
				: chance(world, 800) ? SETTLE_REQUEUE
						     : SETTLE_DISCARD;
	uint64_t first;

	if (chance(world, 12)) {
		client_settle(client, chan, kind, 1 + below(world, 40), 1 + below(world, 40));
		return;
	}
	if (!handout)
		return;
	first = handout->tag;
	if (chance(world, 300))
		first = chance(world, 500) ? 0 : 1 + below(world, (uint32_t)handout->tag);
	client_settle(client, chan, kind, first, handout->tag);
}

static void do_close(struct client *client, struct chan *chan)
{
	struct amqc_method method = {.id = AMQC_CHANNEL_CLOSE};

	(void)client_call(client, chan, &method, NULL);
}

/* ------------------------------------------------------------------ drawing */

typedef void (*op_fn)(struct client *client, struct chan *chan);

static const struct {
	unsigned int weight;
	op_fn fn;
} operations[] = {
    {40, replies_ask},	 {40, replies_answer}, {188, do_publish}, {30, do_burst},
    {100, do_declare},	 {30, do_exchange},    {40, do_bind},	  {12, do_unbind},
    {100, do_consume},	 {35, do_cancel},      {60, do_credit},	  {80, do_get},
    {20, do_get_credit}, {20, do_qos},	       {180, do_settle},  {25, do_close},
};

static const op_fn asking[] = {replies_ask, replies_answer, do_get};

void ops_one(struct client *client)
{
	struct world *world = client->world;
	struct chan *chan = pick_chan(client);
	uint32_t draw = below(world, 1000);

	if (client->life->calls_open + 4 > SESSION_REQUESTS_MAX)
		return;
	if (chance(world, world->plan.asking)) {
		asking[below(world, 3)](client, chan);
		return;
	}
	if (chance(world, world->calm ? 0 : world->plan.traps)) {
		traps_spring(client, chan);
		return;
	}
	if (chance(world, world->plan.wipe)) {
		do_wipe(client, chan);
		return;
	}
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
		if (draw < operations[i].weight) {
			operations[i].fn(client, chan);
			return;
		}
		draw -= operations[i].weight;
	}
}

void ops_exit(struct client *client)
{
	struct world *world = client->world;
	bool publishing = false;

	if (chance(world, 300) && !client->life->ended)
		do_burst(client, pick_chan(client));
	for (const struct chan *chan = client->life->chans; chan; chan = chan->next)
		publishing = publishing || chan->open_messages > 0;
	happened(world, publishing ? FAULT_EXIT_PUBLISHING : FAULT_EXIT);
	client_end(client);
}

/* ------------------------------------------------------------------ breaches */

static void breach_publish(struct client *client, uint32_t channel, uint64_t cost)
{
	struct amqc_properties properties = {0};
	struct mux_publish publish = {
	    .channel = channel, .cost_bytes = cost, .properties = &properties, .body = SPAN_LITERAL("x")};

	session_publish(client->life->session, &publish);
}

static void breach_request(struct client *client, uint32_t id)
{
	struct amqc_method method = {.id = AMQC_BASIC_GET};
	struct mux_request request = {.id = id, .channel = 1, .method = &method};

	session_request(client->life->session, &request);
}

static uint32_t open_id(const struct life *life)
{
	for (const struct call *call = life->calls; call; call = call->next) {
		if (!call->ended)
			return call->id;
	}
	return 0;
}

void ops_breach(struct client *client)
{
	struct world *world = client->world;
	struct life *life = client->life;
	struct chan *chan = pick_chan(client);
	uint32_t kind = below(world, 6);

	trace(world, "s%u breaches the protocol, kind %u", life->serial, kind);
	life->breached = true;
	switch (kind) {
	case 0:
		breach_publish(client, chan->id.number, life->granted_bytes - life->spent_bytes + 1);
		break;
	case 1:
		breach_request(client, 0);
		break;
	case 2:
		breach_request(client, open_id(life));
		break;
	case 3:
		breach_publish(client, CHANNELS_MAX + 1, 1);
		break;
	case 4:
		session_open_channel(life->session, chance(world, 500) ? 0 : 5000, 1);
		break;
	default:
		session_open_channel(life->session, chan->id.number, chan->id.generation);
		break;
	}
	if (!life->ended || !session_is_ended(life->session))
		violate(world, "a breach of the protocol ends the session", "session %u, kind %u",
			life->serial, kind);
}
