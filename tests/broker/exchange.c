/*
 * Exchanges, bindings and the way of a message through them.
 */
#include "tests/broker/engine.h"

#include <stdlib.h>

static const char *const type_names[] = {[EXCHANGE_DIRECT] = "direct",
					 [EXCHANGE_FANOUT] = "fanout",
					 [EXCHANGE_TOPIC] = "topic",
					 [EXCHANGE_HEADERS] = "headers"};

const char *bk_exchange_type_name(enum exchange_type type)
{
	return type_names[type];
}

bool bk_exchange_type_parse(struct span text, enum exchange_type *ret)
{
	for (unsigned int i = 0; i < sizeof(type_names) / sizeof(type_names[0]); i++) {
		if (span_equal_str(text, type_names[i])) {
			*ret = (enum exchange_type)i;
			return true;
		}
	}
	return false;
}

struct exchange *bk_exchange_find(struct vhost *vhost, struct span name)
{
	struct map_node *node = map_find(&vhost->exchanges, name);

	return node ? container_of(node, struct exchange, by_name) : NULL;
}

struct exchange *bk_exchange_new(struct vhost *vhost, struct span name, enum exchange_type type)
{
	struct exchange *exchange = bk_xcalloc(sizeof(*exchange));

	exchange->vhost = vhost;
	exchange->type = type;
	bk_name_set(&exchange->name, name);
	list_init(&exchange->bindings);
	list_init(&exchange->bound_to);
	if (type == EXCHANGE_TOPIC)
		exchange->topic = bk_topic_new();
	bk_map_put(&vhost->exchanges, &exchange->by_name, bk_name_span(&exchange->name));
	list_append(&vhost->exchange_order, &exchange->order);
	return exchange;
}

/* Off the maps first: what its bindings drag along must not find it again. */
void bk_exchange_delete(struct exchange *exchange)
{
	struct binding *binding;

	map_remove(&exchange->vhost->exchanges, &exchange->by_name);
	list_unlink(&exchange->order);
	exchange->auto_delete = false;
	while ((binding = list_first(&exchange->bindings, struct binding, in_source)))
		bk_binding_delete(binding);
	while ((binding = list_first(&exchange->bound_to, struct binding, in_destination)))
		bk_binding_delete(binding);
	map_deinit(&exchange->keys);
	bk_topic_free(exchange->topic);
	free(exchange);
}

void bk_exchange_free_all(struct vhost *vhost)
{
	struct exchange *exchange;

	while ((exchange = list_first(&vhost->exchange_order, struct exchange, order)))
		bk_exchange_delete(exchange);
}

static struct list *binding_destinations(const struct binding_spec *spec)
{
	return spec->queue ? &spec->queue->bindings : &spec->exchange->bound_to;
}

static struct binding *binding_find(const struct binding_spec *spec)
{
	struct binding *binding;

	list_foreach (binding, binding_destinations(spec), in_destination)
		if (binding->source == spec->source && span_equal(bk_name_span(&binding->key), spec->key) &&
		    span_equal(buf_span(&binding->arguments), spec->arguments))
			return binding;
	return NULL;
}

static struct bucket *bucket_get(struct exchange *exchange, struct span key)
{
	struct map_node *node = map_find(&exchange->keys, key);
	struct bucket *bucket;

	if (node)
		return container_of(node, struct bucket, by_key);
	bucket = bk_xcalloc(sizeof(*bucket));
	bk_name_set(&bucket->key, key);
	list_init(&bucket->bindings);
	bk_map_put(&exchange->keys, &bucket->by_key, bk_name_span(&bucket->key));
	return bucket;
}

void bk_binding_add(const struct binding_spec *spec)
{
	struct binding *binding;

	if (binding_find(spec))
		return;
	binding = bk_xcalloc(sizeof(*binding));
	binding->source = spec->source;
	binding->queue = spec->queue;
	binding->exchange = spec->exchange;
	bk_name_set(&binding->key, spec->key);
	buf_append_span(&binding->arguments, spec->arguments);
	list_init(&binding->in_bucket);
	list_append(&spec->source->bindings, &binding->in_source);
	list_append(binding_destinations(spec), &binding->in_destination);
	if (spec->source->type == EXCHANGE_DIRECT) {
		binding->bucket = bucket_get(spec->source, spec->key);
		list_append(&binding->bucket->bindings, &binding->in_bucket);
	} else if (spec->source->type == EXCHANGE_TOPIC) {
		bk_topic_add(spec->source->topic, binding);
	}
}

void bk_binding_delete(struct binding *binding)
{
	struct exchange *source = binding->source;

	list_unlink(&binding->in_source);
	list_unlink(&binding->in_destination);
	if (source->type == EXCHANGE_TOPIC)
		bk_topic_remove(source->topic, binding);
	list_unlink(&binding->in_bucket);
	if (binding->bucket && list_empty(&binding->bucket->bindings)) {
		map_remove(&source->keys, &binding->bucket->by_key);
		free(binding->bucket);
	}
	buf_deinit(&binding->arguments);
	free(binding);
	if (source->auto_delete && list_empty(&source->bindings))
		bk_exchange_delete(source);
}

void bk_binding_remove(const struct binding_spec *spec)
{
	struct binding *binding = binding_find(spec);

	if (binding)
		bk_binding_delete(binding);
}

/* ---- routing ---- */

static void target_add(struct broker *broker, struct queue *queue)
{
	if (queue->route_mark == broker->route_serial)
		return;
	queue->route_mark = broker->route_serial;
	if (broker->target_count == broker->target_capacity) {
		broker->target_capacity = broker->target_capacity ? broker->target_capacity * 2 : 16;
		broker->targets =
		    bk_xrealloc(broker->targets, broker->target_capacity * sizeof(struct queue *));
	}
	broker->targets[broker->target_count++] = queue;
}

/* Exchanges still to be gone through, by index: they may form circles. */
struct route {
	struct broker *broker;
	const struct message *message;
	struct exchange **todo;
	size_t count;
	size_t capacity;
	struct exchange *first; /* room for one without an allocation */
	bool matched;		/* some binding of the current exchange took it */
};

static void route_push(struct route *route, struct exchange *exchange)
{
	if (exchange->route_mark == route->broker->route_serial)
		return;
	exchange->route_mark = route->broker->route_serial;
	if (route->count == 0 && !route->todo) {
		route->first = exchange;
		route->count = 1;
		return;
	}
	if (route->count >= route->capacity) {
		struct exchange **todo = bk_xrealloc(route->todo, (route->capacity + 16) * sizeof(*todo));

		if (!route->todo)
			todo[0] = route->first;
		route->todo = todo;
		route->capacity += 16;
	}
	route->todo[route->count++] = exchange;
}

static void route_follow(struct binding *binding, void *context)
{
	struct route *route = context;

	route->matched = true;
	if (binding->queue)
		target_add(route->broker, binding->queue);
	else
		route_push(route, binding->exchange);
}

/* The headers table of a message, empty if it has none. */
static struct span message_headers(const struct message *message)
{
	struct amqc_content_header header;

	if (amqc_content_header_decode(bk_message_header(message), &header) != AMQC_OK ||
	    !(header.properties.present & AMQC_PROP_HEADERS))
		return SPAN_NULL;
	return header.properties.headers;
}

static void route_direct(struct route *route, struct exchange *exchange)
{
	struct map_node *node = map_find(&exchange->keys, bk_message_key(route->message));
	struct binding *binding;

	if (!node)
		return;
	list_foreach (binding, &container_of(node, struct bucket, by_key)->bindings, in_bucket)
		route_follow(binding, route);
}

static void route_through(struct route *route, struct exchange *exchange)
{
	struct exchange *alternate = NULL;
	struct binding *binding;
	struct span headers;

	route->matched = false;
	switch (exchange->type) {
	case EXCHANGE_DIRECT:
		route_direct(route, exchange);
		break;
	case EXCHANGE_TOPIC:
		bk_topic_match(exchange->topic, bk_message_key(route->message), route_follow, route);
		break;
	case EXCHANGE_FANOUT:
		list_foreach (binding, &exchange->bindings, in_source)
			route_follow(binding, route);
		break;
	case EXCHANGE_HEADERS:
		headers = message_headers(route->message);
		list_foreach (binding, &exchange->bindings, in_source)
			if (bk_headers_match(buf_span(&binding->arguments), headers))
				route_follow(binding, route);
		break;
	}
	if (!route->matched && exchange->alternate.len > 0)
		alternate = bk_exchange_find(exchange->vhost, bk_name_span(&exchange->alternate));
	if (alternate)
		route_push(route, alternate);
}

void bk_exchange_route(struct exchange *exchange, const struct message *message)
{
	struct broker *broker = exchange->vhost->broker;
	struct route route = {.broker = broker, .message = message};

	broker->route_serial++;
	broker->target_count = 0;
	route_push(&route, exchange);
	for (size_t i = 0; i < route.count; i++)
		route_through(&route, route.todo ? route.todo[i] : route.first);
	free(route.todo);
}

void bk_exchange_route_default(struct vhost *vhost, const struct message *message)
{
	struct queue *queue = bk_queue_find(vhost, bk_message_key(message));

	vhost->broker->route_serial++;
	vhost->broker->target_count = 0;
	if (queue)
		target_add(vhost->broker, queue);
}
