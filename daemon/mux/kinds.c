#include "daemon/mux/kinds.h"

#include "daemon/amqp/reply.h"
#include "daemon/amqp/table.h"
#include "daemon/base/log.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/upstream.h"

#include <stdio.h>
#include <stdlib.h>

/* More are not remembered at a time: the one that was learned first is forgotten. */
#define KNOWN_QUEUES_MAX 8192u

struct known_queue {
	struct map_node map_node; /* in kinds->by_name */
	struct list node;	  /* in kinds->order */
	enum queue_kind kind;
	uint64_t message_size;
	uint8_t name_len;
	char name[];
};

/* From 3.11 on a virtual host may have another default than classic. */
static bool default_is_classic(const struct upstream *upstream)
{
	unsigned int major, minor;

	return sscanf(upstream->conn.handshake.broker, "RabbitMQ %u.%u", &major, &minor) == 2 && major == 3 &&
	       minor < 11;
}

enum queue_kind kinds_of_declare(const struct upstream *upstream, const struct amqc_queue_declare *declare)
{
	struct amqc_field field;

	if (!amqc_table_find(declare->arguments, "x-queue-type", &field)) {
		/* The others are durable, and nobody's own. */
		bool classic = declare->exclusive || !declare->durable || default_is_classic(upstream);

		return classic ? QUEUE_CLASSIC : QUEUE_UNKNOWN;
	}
	if (field.type != 'S')
		return QUEUE_UNKNOWN;
	if (span_equal_str(field.value.bytes, "classic"))
		return QUEUE_CLASSIC;
	if (span_equal_str(field.value.bytes, "quorum"))
		return QUEUE_QUORUM;
	return span_equal_str(field.value.bytes, "stream") ? QUEUE_STREAM : QUEUE_UNKNOWN;
}

void kinds_accepted(struct channel *channel, const struct amqc_queue_declare *declare)
{
	channel->last_kind = declare->passive ? QUEUE_UNKNOWN : kinds_of_declare(channel->upstream, declare);
}

static struct known_queue *find(const struct upstream *upstream, struct span name)
{
	struct map_node *node = map_find(&upstream->kinds.by_name, name);

	return node ? container_of(node, struct known_queue, map_node) : NULL;
}

static void known_free(struct kinds *kinds, struct known_queue *known)
{
	map_remove(&kinds->by_name, &known->map_node);
	list_unlink(&known->node);
	free(known);
}

/* Without memory it stays unknown. */
static struct known_queue *find_or_add(struct upstream *upstream, struct span name)
{
	struct kinds *kinds = &upstream->kinds;
	struct known_queue *known = find(upstream, name);

	if (known || name.len > UINT8_MAX)
		return known;
	known = calloc(1, sizeof(*known) + name.len);
	if (!known)
		return NULL;
	known->name_len = (uint8_t)name.len;
	if (name.len > 0)
		memcpy(known->name, name.data, name.len);
	if (map_add(&kinds->by_name, &known->map_node, span_make(known->name, known->name_len)) < 0) {
		free(known);
		return NULL;
	}
	if (kinds->by_name.count > KNOWN_QUEUES_MAX)
		known_free(kinds, container_of(kinds->order.next, struct known_queue, node));
	list_append(&kinds->order, &known->node);
	return known;
}

void kinds_done(struct upstream *upstream, const struct request *request)
{
	struct amqc_method method;
	struct known_queue *known;

	if ((request->method != AMQC_QUEUE_DECLARE && request->method != AMQC_QUEUE_DELETE) ||
	    !request_decode(request, &method))
		return;
	if (method.id == AMQC_QUEUE_DELETE) {
		known = find(upstream, method.queue_delete.queue);
		if (known)
			known_free(&upstream->kinds, known);
	} else if (!method.queue_declare.passive) {
		known = find_or_add(upstream, method.queue_declare.queue);
		if (known)
			known->kind = kinds_of_declare(upstream, &method.queue_declare);
	}
}

void kinds_learned(struct upstream *upstream, struct span queue, enum queue_kind kind)
{
	struct known_queue *known = find_or_add(upstream, queue);

	if (known)
		known->kind = kind;
}

enum queue_kind kinds_known(const struct upstream *upstream, struct span queue)
{
	const struct known_queue *known = find(upstream, queue);

	return known ? known->kind : QUEUE_UNKNOWN;
}

enum queue_kind kinds_find(const struct channel *channel, struct span queue)
{
	if (channel->last_kind != QUEUE_UNKNOWN &&
	    span_equal(queue, span_make(channel->last_queue, channel->last_queue_len)))
		return channel->last_kind;
	return kinds_known(channel->upstream, queue);
}

uint64_t kinds_message_size(const struct upstream *upstream, struct span queue)
{
	const struct known_queue *known = find(upstream, queue);

	return known ? known->message_size : 0;
}

void kinds_note_size(struct upstream *upstream, struct span queue, uint64_t bytes)
{
	struct known_queue *known = find_or_add(upstream, queue);

	if (known && bytes > known->message_size)
		known->message_size = bytes;
}

static bool refuse(struct fault *ret_fault, const char *what, const char *kind, struct span queue)
{
	char text[128];

	*ret_fault = fault_make(AMQC_NOT_IMPLEMENTED, "NOT_IMPLEMENTED - %s not supported by %s queue '%s'",
				what, kind, log_clean(text, sizeof(text), queue));
	return false;
}

static bool may_be_done(enum queue_kind kind, const struct amqc_method *method, struct fault *ret_fault)
{
	switch (method->id) {
	case AMQC_BASIC_GET:
		return kind != QUEUE_STREAM ||
		       refuse(ret_fault, "basic.get", "stream", method->basic_get.queue);
	case AMQC_QUEUE_PURGE:
		return kind != QUEUE_STREAM ||
		       refuse(ret_fault, "queue.purge", "stream", method->queue_purge.queue);
	default:
		return kind != QUEUE_QUORUM || refuse(ret_fault, "queue.delete with if-unused or if-empty",
						      "quorum", method->queue_delete.queue);
	}
}

const struct span *kinds_subject(const struct amqc_method *method)
{
	switch (method->id) {
	case AMQC_BASIC_GET:
		return &method->basic_get.queue;
	case AMQC_QUEUE_PURGE:
		return &method->queue_purge.queue;
	case AMQC_QUEUE_DELETE:
		return method->queue_delete.if_unused || method->queue_delete.if_empty
			   ? &method->queue_delete.queue
			   : NULL;
	default:
		return NULL;
	}
}

bool kinds_vet(const struct channel *channel, const struct amqc_method *method, struct fault *ret_fault)
{
	const struct span *queue = kinds_subject(method);

	return !queue || may_be_done(kinds_find(channel, *queue), method, ret_fault);
}

bool kinds_may_send(const struct request *request, struct fault *ret_fault)
{
	struct amqc_method method;
	const struct span *queue;

	if (request->method != AMQC_BASIC_GET && request->method != AMQC_QUEUE_PURGE &&
	    request->method != AMQC_QUEUE_DELETE)
		return true;
	if (!request_decode(request, &method))
		return true;
	queue = kinds_subject(&method);
	return !queue || may_be_done(kinds_known(request->op.channel->upstream, *queue), &method, ret_fault);
}

void kinds_deinit(struct upstream *upstream)
{
	struct kinds *kinds = &upstream->kinds;

	while (!list_empty(&kinds->order))
		known_free(kinds, container_of(kinds->order.next, struct known_queue, node));
	map_deinit(&kinds->by_name);
}
