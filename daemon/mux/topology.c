#include "daemon/mux/topology.h"

#include "daemon/base/log.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/upstream.h"

#include <stdlib.h>

void topology_init(struct topology *topology)
{
	topology->things = MAP_INIT;
	topology->entities[ENTITY_EXCHANGE] = MAP_INIT;
	topology->entities[ENTITY_QUEUE] = MAP_INIT;
	for (size_t i = 0; i < THING_KINDS; i++)
		list_init(&topology->kinds[i]);
}

void topology_deinit(struct topology *topology)
{
	for (size_t i = 0; i < THING_KINDS; i++) {
		while (!list_empty(&topology->kinds[i]))
			topology_forget(container_of(topology->kinds[i].next, struct thing, node));
	}
	map_deinit(&topology->things);
	map_deinit(&topology->entities[ENTITY_EXCHANGE]);
	map_deinit(&topology->entities[ENTITY_QUEUE]);
}

/* ------------------------------------------------------------------ entities */

static struct entity *entity_find(const struct topology *topology, enum entity_kind kind, struct span name)
{
	struct map_node *node = map_find(&topology->entities[kind], name);

	return node ? container_of(node, struct entity, map_node) : NULL;
}

static struct entity *entity_get(struct upstream *upstream, enum entity_kind kind, struct span name)
{
	struct topology *topology = &upstream->topology;
	struct entity *entity = entity_find(topology, kind, name);

	if (entity || name.len > sizeof(entity->name))
		return entity;
	entity = calloc(1, sizeof(*entity));
	if (!entity)
		return NULL;
	entity->upstream = upstream;
	entity->kind = kind;
	entity->name_len = (uint8_t)name.len;
	if (name.len > 0)
		memcpy(entity->name, name.data, name.len);
	list_init(&entity->about);
	list_init(&entity->sourced);
	if (map_add(&topology->entities[kind], &entity->map_node, span_make(entity->name, entity->name_len)) <
	    0) {
		free(entity);
		return NULL;
	}
	return entity;
}

void topology_set_presence(struct entity *queue, enum presence presence)
{
	queue->upstream->recovery.absent += presence != PRESENT;
	queue->upstream->recovery.absent -= queue->presence != PRESENT;
	queue->presence = presence;
	if (presence == PRESENT)
		queue->upstream->queue_freed = true;
}

static void entity_release(struct entity *entity)
{
	if (!entity || !list_empty(&entity->about) || !list_empty(&entity->sourced) ||
	    entity->consumers > 0 || entity->kept > 0)
		return;
	map_remove(&entity->upstream->topology.entities[entity->kind], &entity->map_node);
	free(entity);
}

struct entity *topology_queue(const struct upstream *upstream, struct span name)
{
	return entity_find(&upstream->topology, ENTITY_QUEUE, name);
}

static bool thing_declares(const struct thing *thing)
{
	return thing->kind == THING_EXCHANGE || thing->kind == THING_QUEUE;
}

bool topology_has_queue(const struct upstream *upstream, struct span name)
{
	const struct entity *entity = topology_queue(upstream, name);
	const struct thing *thing;

	if (!entity)
		return false;
	list_foreach (thing, &entity->about, about_node) {
		if (thing_declares(thing))
			return true;
	}
	return false;
}

bool topology_is_shared(const struct upstream *upstream, struct span name)
{
	const struct entity *entity = topology_queue(upstream, name);
	const struct thing *thing;

	if (!entity || entity->presence != PRESENT)
		return false;
	list_foreach (thing, &entity->about, about_node) {
		if (thing->kind == THING_QUEUE && !thing->exclusive)
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------ things */

void topology_release_holder(struct holder *holder)
{
	list_unlink(&holder->thing_node);
	list_unlink(&holder->session_node);
	charge_end(&holder->charge);
	free(holder);
}

void topology_forget(struct thing *thing)
{
	struct topology *topology = &thing->upstream->topology;

	while (!list_empty(&thing->holders))
		topology_release_holder(container_of(thing->holders.next, struct holder, thing_node));
	if (thing->request)
		thing->request->thing = NULL;
	if (thing->kind == THING_QUEUE && thing->about)
		topology_set_presence(thing->about, PRESENT);
	map_remove(&topology->things, &thing->map_node);
	list_unlink(&thing->node);
	list_unlink(&thing->due_node);
	list_unlink(&thing->about_node);
	list_unlink(&thing->source_node);
	/* An exchange may be bound to itself. */
	if (thing->source != thing->about)
		entity_release(thing->source);
	entity_release(thing->about);
	free(thing);
}

/* What a method is about, as a thing. */
struct outline {
	enum thing_kind kind;
	bool auto_delete, exclusive;
	enum entity_kind about_kind;
	struct span about;  /* what is declared, or what a binding leads to */
	struct span source; /* of a binding: the exchange */
};

static bool outline_of(const struct amqc_method *method, struct outline *ret)
{
	switch (method->id) {
	case AMQC_EXCHANGE_DECLARE:
		*ret = (struct outline){.kind = THING_EXCHANGE,
					.auto_delete = method->exchange_declare.auto_delete,
					.about_kind = ENTITY_EXCHANGE,
					.about = method->exchange_declare.exchange};
		return !method->exchange_declare.passive;
	case AMQC_QUEUE_DECLARE:
		*ret = (struct outline){.kind = THING_QUEUE,
					.auto_delete = method->queue_declare.auto_delete,
					.exclusive = method->queue_declare.exclusive,
					.about_kind = ENTITY_QUEUE,
					.about = method->queue_declare.queue};
		return !method->queue_declare.passive;
	case AMQC_EXCHANGE_BIND:
	case AMQC_EXCHANGE_UNBIND:
		*ret = (struct outline){.kind = THING_EXCHANGE_BINDING,
					.about_kind = ENTITY_EXCHANGE,
					.about = method->exchange_bind.destination,
					.source = method->exchange_bind.source};
		return true;
	case AMQC_QUEUE_BIND:
	case AMQC_QUEUE_UNBIND:
		*ret = (struct outline){.kind = THING_QUEUE_BINDING,
					.about_kind = ENTITY_QUEUE,
					.about = method->queue_bind.queue,
					.source = method->queue_bind.exchange};
		return true;
	default:
		return false;
	}
}

/* Links it with what it is about. False: no memory, and what was linked ends with topology_forget(). */
static bool thing_link(struct thing *thing, const struct outline *outline)
{
	thing->about = entity_get(thing->upstream, outline->about_kind, outline->about);
	if (!thing->about)
		return false;
	list_append(&thing->about->about, &thing->about_node);
	if (thing_declares(thing))
		return true;
	thing->source = entity_get(thing->upstream, ENTITY_EXCHANGE, outline->source);
	if (!thing->source)
		return false;
	list_append(&thing->source->sourced, &thing->source_node);
	return true;
}

static struct thing *thing_new(struct upstream *upstream, const struct outline *outline, struct span frame)
{
	struct topology *topology = &upstream->topology;
	struct thing *thing = calloc(1, sizeof(*thing) + frame.len);

	if (!thing)
		return NULL;
	thing->upstream = upstream;
	thing->kind = outline->kind;
	thing->auto_delete = outline->auto_delete;
	thing->exclusive = outline->exclusive;
	thing->frame_len = frame.len;
	memcpy(thing->frame, frame.data, frame.len);
	list_init(&thing->node);
	list_init(&thing->holders);
	list_init(&thing->due_node);
	list_init(&thing->about_node);
	list_init(&thing->source_node);
	if (map_add(&topology->things, &thing->map_node, span_make(thing->frame, frame.len)) < 0) {
		free(thing);
		return NULL;
	}
	list_append(&topology->kinds[outline->kind], &thing->node);
	if (thing_link(thing, outline))
		return thing;
	topology_forget(thing);
	return NULL;
}

static bool is_held(const struct thing *thing, const struct session *session)
{
	const struct holder *holder;

	list_foreach (holder, &thing->holders, thing_node) {
		if (holder->session == session)
			return true;
	}
	return false;
}

static bool hold(struct thing *thing, struct session *session, struct mux_channel_id channel)
{
	struct holder *holder;

	if (is_held(thing, session))
		return true;
	holder = calloc(1, sizeof(*holder));
	if (!holder)
		return false;
	holder->thing = thing;
	holder->session = session;
	holder->channel = channel;
	list_append(&thing->holders, &holder->thing_node);
	list_append(&session->holdings, &holder->session_node);
	/* The broker has it already: so it counts whether or not the session can afford it, and what it asks
	 * for next is refused. */
	charge_force(&holder->charge, &session->memory, sizeof(*holder) + sizeof(*thing) + thing->frame_len);
	return true;
}

/*
 * The frame under which a binding is known, from its bind or unbind: the one
 * names it as the other did, but the order of its arguments may differ. False:
 * no memory.
 */
static bool binding_frame(struct buf *ret, const struct amqc_method *method)
{
	struct amqc_method bind = {.id = AMQC_QUEUE_BIND};
	struct buf arguments = BUF_INIT;
	struct span *table = &bind.queue_bind.arguments;
	bool ok;

	switch (method->id) {
	case AMQC_QUEUE_UNBIND:
		bind.queue_bind.queue = method->queue_unbind.queue;
		bind.queue_bind.exchange = method->queue_unbind.exchange;
		bind.queue_bind.routing_key = method->queue_unbind.routing_key;
		bind.queue_bind.arguments = method->queue_unbind.arguments;
		break;
	case AMQC_EXCHANGE_UNBIND:
		bind.id = AMQC_EXCHANGE_BIND;
		bind.exchange_bind.destination = method->exchange_unbind.destination;
		bind.exchange_bind.source = method->exchange_unbind.source;
		bind.exchange_bind.routing_key = method->exchange_unbind.routing_key;
		bind.exchange_bind.arguments = method->exchange_unbind.arguments;
		break;
	default:
		bind = *method;
	}
	if (bind.id == AMQC_EXCHANGE_BIND)
		table = &bind.exchange_bind.arguments;
	ok = amqc_table_append_sorted(&arguments, *table) && !buf_failed(&arguments);
	*table = buf_span(&arguments);
	ok = ok && amqc_method_append(ret, 0, &bind) == AMQC_OK && !buf_failed(ret);
	buf_deinit(&arguments);
	return ok;
}

static bool note_frame(struct upstream *upstream, struct session *session, struct mux_channel_id channel,
		       const struct outline *outline, struct span frame)
{
	struct map_node *node = map_find(&upstream->topology.things, frame);
	struct thing *thing =
	    node ? container_of(node, struct thing, map_node) : thing_new(upstream, outline, frame);

	if (thing && hold(thing, session, channel))
		return true;
	if (thing && list_empty(&thing->holders))
		topology_forget(thing);
	return false;
}

static void note(struct upstream *upstream, struct session *session, struct mux_channel_id channel,
		 const struct outline *outline, struct span frame, const struct amqc_method *method)
{
	struct buf sorted = BUF_INIT;
	bool ok = true;

	if (outline->kind == THING_QUEUE_BINDING || outline->kind == THING_EXCHANGE_BINDING) {
		ok = binding_frame(&sorted, method);
		frame = buf_span(&sorted);
	}
	if (!ok || !note_frame(upstream, session, channel, outline, frame))
		log_error("no memory to remember a declaration: it will be missing after a reconnect");
	buf_deinit(&sorted);
}

/* ------------------------------------------------------------------ forgetting */

/*
 * Forgets things, and what the broker deletes in consequence: bindings of what
 * is deleted, and auto-delete exchanges that were left without any.
 */
struct wake {
	struct upstream *upstream;
	struct list entities; /* struct entity that is deleted, by doomed_node */
};

static void doom(struct wake *wake, struct entity *entity)
{
	if (!entity || entity->doomed)
		return;
	entity->doomed = true;
	entity->kept++;
	list_append(&wake->entities, &entity->doomed_node);
}

static bool deletes_itself(const struct entity *entity)
{
	const struct thing *thing;

	list_foreach (thing, &entity->about, about_node) {
		if (thing_declares(thing) && thing->auto_delete)
			return true;
	}
	return false;
}

/* A binding of the exchange is gone. */
static void source_lost_binding(struct wake *wake, struct entity *source)
{
	if (list_empty(&source->sourced) && deletes_itself(source))
		doom(wake, source);
}

static void forget_binding(struct wake *wake, struct thing *binding)
{
	struct entity *source = binding->source;

	source->kept++;
	topology_forget(binding);
	source_lost_binding(wake, source);
	source->kept--;
	entity_release(source);
}

static void run_wake(struct wake *wake)
{
	while (!list_empty(&wake->entities)) {
		struct entity *entity = container_of(wake->entities.next, struct entity, doomed_node);

		list_unlink(&entity->doomed_node);
		while (!list_empty(&entity->about)) {
			struct thing *thing = container_of(entity->about.next, struct thing, about_node);

			if (thing_declares(thing))
				topology_forget(thing);
			else
				forget_binding(wake, thing);
		}
		while (!list_empty(&entity->sourced))
			topology_forget(container_of(entity->sourced.next, struct thing, source_node));
		entity->doomed = false;
		entity->kept--;
		entity_release(entity);
	}
}

static void entity_gone(struct upstream *upstream, enum entity_kind kind, struct span name)
{
	struct wake wake = {.upstream = upstream};

	list_init(&wake.entities);
	doom(&wake, entity_find(&upstream->topology, kind, name));
	run_wake(&wake);
}

static void unbound(struct upstream *upstream, const struct amqc_method *method)
{
	struct wake wake = {.upstream = upstream};
	struct buf frame = BUF_INIT;
	struct map_node *node = NULL;

	if (binding_frame(&frame, method))
		node = map_find(&upstream->topology.things, buf_span(&frame));
	buf_deinit(&frame);
	if (!node)
		return;
	list_init(&wake.entities);
	forget_binding(&wake, container_of(node, struct thing, map_node));
	run_wake(&wake);
}

void topology_queue_gone(struct upstream *upstream, struct span name)
{
	entity_gone(upstream, ENTITY_QUEUE, name);
}

/* What the method takes away. */
static void take_away(struct upstream *upstream, const struct amqc_method *method)
{
	if (method->id == AMQC_QUEUE_DELETE)
		entity_gone(upstream, ENTITY_QUEUE, method->queue_delete.queue);
	else if (method->id == AMQC_EXCHANGE_DELETE)
		entity_gone(upstream, ENTITY_EXCHANGE, method->exchange_delete.exchange);
	else if (method->id == AMQC_QUEUE_UNBIND || method->id == AMQC_EXCHANGE_UNBIND)
		unbound(upstream, method);
}

void topology_done(struct upstream *upstream, struct session *session, struct mux_channel_id channel,
		   struct span frame)
{
	struct amqc_method method;
	struct outline outline;

	if (!request_decode_frame(frame, &method))
		return;
	if (method.id == AMQC_QUEUE_UNBIND || method.id == AMQC_EXCHANGE_UNBIND ||
	    !outline_of(&method, &outline))
		take_away(upstream, &method);
	else if (session)
		note(upstream, session, channel, &outline, frame, &method);
}

void topology_in_doubt(struct upstream *upstream, struct span frame)
{
	struct amqc_method method;

	if (request_decode_frame(frame, &method))
		take_away(upstream, &method);
}

void topology_session_ends(struct session *session)
{
	while (!list_empty(&session->holdings)) {
		struct holder *holder = container_of(session->holdings.next, struct holder, session_node);
		struct thing *thing = holder->thing;

		topology_release_holder(holder);
		if (list_empty(&thing->holders))
			topology_forget(thing);
	}
}

/* ------------------------------------------------------------------ consumers of auto-delete queues */

struct entity *topology_consumer_begins(struct upstream *upstream, struct span queue)
{
	struct entity *entity = entity_get(upstream, ENTITY_QUEUE, queue);

	if (entity)
		entity->consumers++;
	return entity;
}

void topology_consumer_ends(struct upstream *upstream, struct entity *queue)
{
	if (--queue->consumers > 0)
		return;
	if (deletes_itself(queue))
		entity_gone(upstream, ENTITY_QUEUE, span_make(queue->name, queue->name_len));
	else
		entity_release(queue);
}
