/*
 * Exchanges, queues and bindings: what clients asked for, and what they may
 * expect to have. It is a lower bound: what several of them did at once, or an
 * outsider, counts for nothing that must be.
 */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const exchange_names[EXCHANGES] = {"f0", "d0", "d1", "fa"};

void topology_begin(struct world *world)
{
	for (size_t i = 0; i < EXCHANGES; i++)
		world->exchanges[i].name = exchange_names[i];
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

static bool is_same(const struct binding *one, const struct binding *other)
{
	return one->exchange == other->exchange && one->queue == other->queue &&
	       strcmp(one->key, other->key) == 0;
}

struct binding *binding_new(struct world *world, const struct amqc_method *method)
{
	/* Both methods begin with these. */
	const struct amqc_queue_bind *bind = &method->queue_bind;
	struct binding *binding = &world->bindings[world->binding_count];
	bool undo = method->id == AMQC_QUEUE_UNBIND;

	if (world->binding_count == BINDINGS_MAX)
		table_full("bindings");
	binding->exchange = exchange_named(world, undo ? method->queue_unbind.exchange : bind->exchange);
	binding->queue = queue_named(world, undo ? method->queue_unbind.queue : bind->queue);
	wire_copy_text(binding->key, sizeof(binding->key),
		       undo ? method->queue_unbind.routing_key : bind->routing_key);
	for (size_t i = 0; undo && i < world->binding_count; i++) {
		if (is_same(&world->bindings[i], binding))
			world->bindings[i].unbound = world->events;
	}
	if (undo)
		return NULL;
	world->binding_count++;
	return binding;
}
