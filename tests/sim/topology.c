/*
 * Exchanges, queues and bindings: what clients asked for, what they may expect
 * to have, and what nobody can have any more. Both are lower bounds: where
 * several did something at once, or an answer is missing, nothing is expected.
 *
 * The past of a name is kept as the event of the last thing that may have
 * ended it (deleted, unbound) or begun it (declared, bound).
 */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const exchange_names[EXCHANGES] = {"f0", "d0", "d1", "fa"};

void topology_begin(struct world *world)
{
	for (size_t i = 0; i < EXCHANGES; i++)
		world->exchanges[i] = (struct exchange){.name = exchange_names[i], .durable = i < 3};
}

static void table_full(const char *what)
{
	fprintf(stderr, "the simulation's table of %s is full\n", what);
	abort();
}

struct exchange *exchange_named(struct world *world, struct span name)
{
	for (size_t i = 0; i < EXCHANGES; i++) {
		if (span_equal_str(name, world->exchanges[i].name))
			return &world->exchanges[i];
	}
	table_full("exchanges");
	return NULL;
}

struct queue *queue_named(struct world *world, struct span name)
{
	struct queue *queue;

	for (size_t i = 0; i < world->queue_count; i++) {
		if (span_equal_str(name, world->queues[i].name))
			return &world->queues[i];
	}
	if (world->queue_count == QUEUES_MAX || name.len >= sizeof(queue->name))
		table_full("queues");
	queue = &world->queues[world->queue_count++];
	memcpy(queue->name, name.data, name.len);
	queue->shared = name.len == 2 && name.data[0] == 'q';
	return queue;
}

void topology_unbound(struct world *world, const struct amqc_queue_unbind *unbind)
{
	world->events++;
	for (size_t i = 0; i < world->binding_count; i++) {
		struct binding *binding = &world->bindings[i];

		if (span_equal_str(unbind->exchange, binding->exchange->name) &&
		    span_equal_str(unbind->queue, binding->queue->name) &&
		    span_equal_str(unbind->routing_key, binding->key))
			binding->unbound = world->events;
	}
	topology_shrank(world);
}

struct binding *binding_new(struct world *world, const struct amqc_method *method)
{
	const struct amqc_queue_bind *bind = &method->queue_bind;
	struct binding *binding = &world->bindings[world->binding_count];

	if (world->binding_count == BINDINGS_MAX)
		table_full("bindings");
	world->binding_count++;
	binding->exchange = exchange_named(world, bind->exchange);
	binding->queue = queue_named(world, bind->queue);
	wire_copy_text(binding->key, sizeof(binding->key), bind->routing_key);
	return binding;
}

/* ------------------------------------------------------------------ what is expected */

static bool is_live(const struct life *life)
{
	return life && life->session && !life->ended;
}

static bool is_own(const struct queue *queue)
{
	return queue->name[0] == 'x';
}

/* The session would have it on a connection of its own. */
static bool is_claim(const struct call *call)
{
	const struct queue *queue = call->queue;

	return call->method == AMQC_QUEUE_DECLARE && call->answered && !call->passive && !call->auto_delete &&
	       call->event > queue->deleted;
}

/* Some session has it, and had it before that event. */
static bool is_claimed(const struct world *world, const struct queue *queue, uint64_t since)
{
	for (unsigned int i = 0; i < world->client_count; i++) {
		const struct life *life = world->clients[i].life;

		if (!is_live(life))
			continue;
		for (const struct call *call = life->calls; call; call = call->next) {
			if (call->queue == queue && is_claim(call) && call->done < since)
				return true;
		}
	}
	return false;
}

/* The same of an exchange, by that session: what it declares after a restart does not bring the binding back.
 */
static bool is_claimed_exchange(const struct life *life, const struct exchange *exchange, uint64_t since)
{
	for (const struct call *call = life->calls; call; call = call->next) {
		if (call->method == AMQC_EXCHANGE_DECLARE && call->exchange == exchange && call->answered &&
		    call->event > exchange->deleted && call->done < since)
			return true;
	}
	return false;
}

/* A binding that must be there, as long as both its ends are. */
static bool is_bound(const struct world *world, const struct call *call)
{
	const struct binding *binding = call->binding;

	return call->method == AMQC_QUEUE_BIND && call->answered && call->event > binding->unbound &&
	       call->event > binding->queue->deleted && call->event > binding->exchange->deleted &&
	       (binding->queue->shared || is_claimed(world, binding->queue, call->event)) &&
	       (binding->exchange->durable ||
		is_claimed_exchange(call->chan->life, binding->exchange, call->event));
}

static void check_call(struct world *world, const struct call *call, const char *when)
{
	size_t ready, unacked;

	if (is_claim(call) &&
	    !broker_queue_counts(world->broker, "/", span_str(call->queue->name), &ready, &unacked))
		violate(world, "a queue that was declared is there", "%s: %s of session %u", when,
			call->queue->name, call->chan->life->serial);
	if (is_bound(world, call) &&
	    !broker_has_binding(world->broker, "/", span_str(call->binding->exchange->name),
				span_str(call->binding->queue->name), span_str(call->binding->key)))
		violate(world, "what was bound is bound", "%s: %s to %s by %s, session %u", when,
			call->binding->exchange->name, call->binding->queue->name, call->binding->key,
			call->chan->life->serial);
}

static void check_deleted(struct world *world, const struct queue *queue, const char *when)
{
	size_t ready, unacked;

	if (queue->deleted_ok > queue->declared &&
	    broker_queue_counts(world->broker, "/", span_str(queue->name), &ready, &unacked))
		violate(world, "what was deleted stays deleted", "%s: %s", when, queue->name);
}

void topology_check(struct world *world, const char *when)
{
	/* It is about to end, and has taken what was its own with it. */
	if (world->link.conn && broker_conn_reason(world->link.conn)[0] != '\0')
		return;
	for (unsigned int i = 0; i < world->client_count; i++) {
		const struct life *life = world->clients[i].life;

		if (!is_live(life))
			continue;
		for (const struct call *call = life->calls; call; call = call->next)
			check_call(world, call, when);
	}
	for (size_t i = 0; i < world->queue_count; i++)
		check_deleted(world, &world->queues[i], when);
}

/* ------------------------------------------------------------------ what cannot be */

static bool lives(const struct world *world, unsigned long serial)
{
	for (unsigned int i = 0; i < world->client_count; i++) {
		if (is_live(world->clients[i].life) && world->clients[i].life->serial == serial)
			return true;
	}
	return false;
}

static void check_gone(struct world *world, const struct queue *queue)
{
	size_t ready, unacked;

	if (!broker_queue_counts(world->broker, "/", span_str(queue->name), &ready, &unacked))
		return;
	/* Deleting it needs a lane. */
	if (is_own(queue) && !world->plan.few_lanes && !lives(world, strtoul(queue->name + 1, NULL, 10)))
		violate(world, "a session's queues go with it", "%s", queue->name);
}

/* ------------------------------------------------------------------ consumers */

static const struct queue *queue_of(struct world *world, const struct call *consume)
{
	const char *name = consume->name ? consume->name : (consume->name_of ? consume->name_of->name : NULL);

	return name ? queue_named(world, span_str(name)) : NULL;
}

/* How many consumers clients have; false: one of them is on its way. */
static bool count_consumers(struct world *world, const struct queue *queue, size_t *ret)
{
	*ret = 0;
	for (unsigned int i = 0; i < world->client_count; i++) {
		const struct life *life = world->clients[i].life;

		if (!is_live(life))
			continue;
		for (const struct chan *chan = life->chans; chan; chan = chan->next) {
			if (chan->failed || chan->close_sent)
				continue;
			for (const struct consumer_record *each = chan->consumers; each; each = each->next) {
				const struct queue *its = queue_of(world, each->consume);

				if (each->ended || !each->consume->answered)
					continue;
				if (!its || look_is_shrinking(each))
					return false;
				*ret += its == queue;
			}
		}
	}
	return true;
}

static void check_consumers(struct world *world, const struct queue *queue)
{
	size_t there = broker_queue_consumers(world->broker, "/", span_str(queue->name)), expected;

	if (replies_is_queue(span_str(queue->name)))
		return;
	if (count_consumers(world, queue, &expected) && there != expected)
		violate(world, "the broker has the consumers that clients have", "%s: %zu instead of %zu",
			queue->name, there, expected);
}

void topology_check_all(struct world *world)
{
	/* Then some declarations are not made again yet, nor what consumes from such queues. */
	bool waits = world->plan.few_lanes && look_waits_for_lane(world);

	if (!waits)
		topology_check(world, "in the calm");
	for (size_t i = 0; i < world->queue_count; i++) {
		check_gone(world, &world->queues[i]);
		if (!waits)
			check_consumers(world, &world->queues[i]);
	}
}

/* ------------------------------------------------------------------ events */

void topology_asked(struct world *world, struct call *call)
{
	switch (call->method) {
	case AMQC_QUEUE_DECLARE:
		if (call->queue && !call->passive)
			call->queue->declared = NEVER_ENDS;
		break;
	case AMQC_QUEUE_DELETE:
		call->queue->deleted = world->events;
		break;
	case AMQC_EXCHANGE_DELETE:
		call->exchange->deleted = world->events;
		break;
	default:
		break;
	}
}

/* Declares of a name that are not answered. */
static bool is_being_declared(const struct world *world, const struct queue *queue)
{
	for (unsigned int i = 0; i < world->client_count; i++) {
		for (const struct life *life = world->clients[i].life; life; life = life->next) {
			for (const struct call *call = life->calls; call; call = call->next) {
				if (call->queue == queue && call->method == AMQC_QUEUE_DECLARE &&
				    !call->passive && (!call->ended || call->in_doubt))
					return true;
			}
		}
	}
	return false;
}

void topology_answered(struct world *world, struct call *call)
{
	struct queue *queue = call->queue;

	call->done = ++world->events;
	if (call->method == AMQC_QUEUE_DECLARE && queue && !call->passive) {
		call->in_doubt = !call->answered;
		if (!is_being_declared(world, queue))
			queue->declared = ++world->events;
	}
	/* If it was asked when nobody else was about to declare it. */
	if (call->method == AMQC_QUEUE_DELETE && call->answered && call->event > queue->declared)
		queue->deleted_ok = call->event;
}

/* The broker does not let it be declared again: whoever owns it has been told. */
void topology_refused(struct world *world, const struct fault *fault)
{
	char quoted[84];

	if (fault->code != AMQC_RESOURCE_LOCKED && fault->code != AMQC_ACCESS_REFUSED &&
	    fault->code != AMQC_PRECONDITION_FAILED && fault->code != AMQC_NOT_FOUND)
		return;
	for (size_t i = 0; i < world->queue_count; i++) {
		snprintf(quoted, sizeof(quoted), "'%s'", world->queues[i].name);
		if (strstr(fault->text, quoted))
			world->queues[i].deleted = ++world->events;
	}
	for (size_t i = 0; i < EXCHANGES; i++) {
		snprintf(quoted, sizeof(quoted), "'%s'", world->exchanges[i].name);
		if (strstr(fault->text, quoted))
			world->exchanges[i].deleted = ++world->events;
	}
}

/* Something ended that may have kept an auto-delete exchange alive. */
void topology_shrank(struct world *world)
{
	for (size_t i = 0; i < EXCHANGES; i++) {
		if (!world->exchanges[i].durable)
			world->exchanges[i].deleted = ++world->events;
	}
}
