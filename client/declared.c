/*
 * What was declared and bound through this connection, to be declared again by
 * restore.c: one entry for each queue, exchange and binding, in the order in
 * which they were first declared. An entry goes when what it stands for is
 * deleted or unbound through this connection, when a request finds that it is
 * not there, and, for an auto-delete queue, with the last consumer that this
 * connection had on it. That somebody else has deleted it, or the broker with
 * its last binding, is not known here, so that may come back. What is
 * remembered is bounded: at the bound nothing new is declared.
 *
 * A queue or an exchange is found by its name, a binding by its encoded
 * operation, which is the same for unbinding.
 */
#include "config.h"

#include "client/declared.h"
#include "client/chan.h"
#include "client/conn.h"
#include "client/consume.h"
#include "client/error.h"
#include "client/request.h"
#include "client/wire.h"

#include "proto/buf.h"
#include "proto/muxd.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 16u

/* Field numbers, by message of muxd.proto. */
#define DECLARE_NAME 1u /* and the queue of Consume, Get and QueuePurge */
#define DECLARE_PASSIVE_QUEUE 2u
#define DECLARE_PASSIVE_EXCHANGE 3u
#define QUEUE_AUTO_DELETE 5u
#define QUEUE_RESUME 7u
#define BIND_DESTINATION 1u
#define BIND_SOURCE 2u

static uint32_t hash_of(uint32_t op, struct span key)
{
	uint32_t hash = 2166136261u ^ op;
	size_t i;

	for (i = 0; i < key.len; i++)
		hash = (hash ^ key.data[i]) * 16777619u;
	return hash;
}

static struct span key_of(const struct declared *declared)
{
	return declared->name ? span_str(declared->name) : buf_span(&declared->body);
}

/* ---------------------------------------------------------------- the table */

static struct declared *find(const struct declarations *table, uint32_t op, struct span key)
{
	uint32_t hash = hash_of(op, key);
	struct declared *declared;
	struct span other;

	if (table->capacity == 0)
		return NULL;
	for (declared = table->buckets[hash & (table->capacity - 1)]; declared;
	     declared = declared->next_in_bucket) {
		other = key_of(declared);
		if (declared->hash == hash && declared->op == op && other.len == key.len &&
		    memcmp(other.data, key.data, key.len) == 0)
			return declared;
	}
	return NULL;
}

static int table_grow(struct declarations *table)
{
	size_t capacity = table->capacity ? table->capacity * 2 : BUCKETS_MIN;
	struct declared **buckets, *declared;

	if (table->count < table->capacity)
		return 0;
	buckets = calloc(capacity, sizeof(*buckets));
	if (!buckets)
		return -ENOMEM;
	free(table->buckets);
	table->buckets = buckets;
	table->capacity = capacity;
	for (declared = table->first; declared; declared = declared->next) {
		declared->next_in_bucket = buckets[declared->hash & (capacity - 1)];
		buckets[declared->hash & (capacity - 1)] = declared;
	}
	return 0;
}

static size_t cost_of(const struct declared *declared)
{
	return sizeof(*declared) + key_of(declared).len + buf_len(&declared->body);
}

static void declared_free(struct declared *declared)
{
	buf_deinit(&declared->body);
	free(declared->name);
	free(declared);
}

void declared_remove(struct muxc *c, struct declared *declared)
{
	struct declarations *table = &c->declared;
	struct declared **at = &table->buckets[declared->hash & (table->capacity - 1)];

	if (table->next == declared)
		table->next = declared->next;
	while (*at != declared)
		at = &(*at)->next_in_bucket;
	*at = declared->next_in_bucket;
	if (declared->previous)
		declared->previous->next = declared->next;
	else
		table->first = declared->next;
	if (declared->next)
		declared->next->previous = declared->previous;
	else
		table->last = declared->previous;
	table->count--;
	table->bytes -= cost_of(declared);
	declared_free(declared);
}

void declared_deinit(struct muxc *c)
{
	while (c->declared.first)
		declared_remove(c, c->declared.first);
	free(c->declared.buckets);
}

static void insert(struct declarations *table, struct declared *declared)
{
	struct declared **bucket = &table->buckets[declared->hash & (table->capacity - 1)];

	declared->next_in_bucket = *bucket;
	*bucket = declared;
	declared->previous = table->last;
	if (table->last)
		table->last->next = declared;
	else
		table->first = declared;
	table->last = declared;
	table->count++;
}

/* Takes over body; name is copied, NULL for a binding. */
static int remember(struct muxc *c, const struct request *request, const char *name, struct buf *body)
{
	struct declarations *table = &c->declared;
	struct span key = name ? span_str(name) : buf_span(body);
	struct declared *declared = find(table, request->op, key);

	if (!declared) {
		if (table_grow(table) < 0)
			return -ENOMEM;
		declared = calloc(1, sizeof(*declared));
		if (!declared)
			return -ENOMEM;
		declared->name = name ? text_dup(key) : NULL;
		if (name && !declared->name) {
			free(declared);
			return -ENOMEM;
		}
		declared->op = request->op;
		declared->hash = hash_of(request->op, key);
		declared->body = *body;
		insert(table, declared);
	} else {
		table->bytes -= cost_of(declared);
		buf_deinit(&declared->body);
		declared->body = *body;
	}
	*body = BUF_INIT;
	table->bytes += cost_of(declared);
	declared->serial = request->channel->serial;
	return 0;
}

/* ------------------------------------------------------------------ reading */

/* The last value of a field; absent: empty, and 0. */
static struct wire_field field_of(const struct buf *body, uint32_t number)
{
	struct wire_field field, found = {.number = number};
	struct span in = buf_span(body);

	while (wire_next(&in, &field) > 0) {
		if (field.number == number)
			found = field;
	}
	return found;
}

static bool names(struct span name, const struct buf *body, uint32_t number)
{
	struct span other = field_of(body, number).bytes;

	return other.len == name.len && (name.len == 0 || memcmp(other.data, name.data, name.len) == 0);
}

/* The request's name, with its NUL. NULL: no memory. */
static char *name_in(const struct buf *body)
{
	return text_dup(field_of(body, DECLARE_NAME).bytes);
}

/* ------------------------------------------------------------------- answers */

/* Only looks whether it is there. */
static bool is_passive(const struct request *request)
{
	return (request->op == MUXD__V1__CLIENT_FRAME__OP_QUEUE_DECLARE &&
		field_of(&request->body, DECLARE_PASSIVE_QUEUE).value) ||
	       (request->op == MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DECLARE &&
		field_of(&request->body, DECLARE_PASSIVE_EXCHANGE).value);
}

static void forget_bindings(struct muxc *c, uint32_t op, uint32_t number, struct span name)
{
	struct declared *declared, *next;

	for (declared = c->declared.first; declared; declared = next) {
		next = declared->next;
		if (declared->op == op && names(name, &declared->body, number))
			declared_remove(c, declared);
	}
}

static void forget_queue(struct muxc *c, struct span name)
{
	struct declared *declared = find(&c->declared, MUXD__V1__CLIENT_FRAME__OP_QUEUE_DECLARE, name);

	if (declared)
		declared_remove(c, declared);
	forget_bindings(c, MUXD__V1__CLIENT_FRAME__OP_QUEUE_BIND, BIND_DESTINATION, name);
}

static void forget_exchange(struct muxc *c, struct span name)
{
	struct declared *declared = find(&c->declared, MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DECLARE, name);

	if (declared)
		declared_remove(c, declared);
	forget_bindings(c, MUXD__V1__CLIENT_FRAME__OP_QUEUE_BIND, BIND_SOURCE, name);
	forget_bindings(c, MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_BIND, BIND_SOURCE, name);
	forget_bindings(c, MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_BIND, BIND_DESTINATION, name);
}

/* With the name that it got, and what shows that it is ours. */
static int remember_queue(struct muxc *c, struct request *request)
{
	struct buf body = BUF_INIT;
	int r;

	buf_append_span(&body, buf_span(&request->body));
	/* Behind the empty one: of the two the last counts. */
	if (field_of(&request->body, DECLARE_NAME).bytes.len == 0)
		wire_put_bytes(&body, DECLARE_NAME, span_str(request->name));
	if (request->resume_len)
		wire_put_bytes(&body, QUEUE_RESUME, span_make(request->resume, request->resume_len));
	r = buf_failed(&body) ? -ENOMEM : remember(c, request, request->name, &body);
	buf_deinit(&body);
	return r;
}

static int remember_exchange(struct muxc *c, struct request *request)
{
	char *name = name_in(&request->body);
	int r;

	if (!name)
		return -ENOMEM;
	r = remember(c, request, name, &request->body);
	free(name);
	return r;
}

void declared_gone(struct muxc *c, const struct request *request)
{
	struct span name = field_of(&request->body, DECLARE_NAME).bytes;

	switch (request->op) {
	case MUXD__V1__CLIENT_FRAME__OP_QUEUE_DECLARE:
	case MUXD__V1__CLIENT_FRAME__OP_QUEUE_DELETE:
	case MUXD__V1__CLIENT_FRAME__OP_QUEUE_PURGE:
	case MUXD__V1__CLIENT_FRAME__OP_CONSUME:
	case MUXD__V1__CLIENT_FRAME__OP_GET:
		forget_queue(c, name);
		return;
	case MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DECLARE:
	case MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DELETE:
		forget_exchange(c, name);
		return;
	default:
		return; /* of a binding: which of its two ends is not known */
	}
}

static void forget_binding(struct muxc *c, uint32_t op, const struct request *request)
{
	struct declared *declared = find(&c->declared, op, buf_span(&request->body));

	if (declared)
		declared_remove(c, declared);
}

static int queue_declared(struct muxc *c, struct request *request)
{
	char *name = text_dup(span_str(request->name));

	if (!name)
		return -ENOMEM;
	free(request->channel->last_queue);
	request->channel->last_queue = name;
	if (!c->link.reconnects || is_passive(request))
		return 0;
	return remember_queue(c, request);
}

int declared_answered(struct muxc *c, struct request *request)
{
	if (request->op == MUXD__V1__CLIENT_FRAME__OP_QUEUE_DECLARE)
		return queue_declared(c, request);
	if (!c->link.reconnects)
		return 0;
	switch (request->op) {
	case MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DECLARE:
		if (is_passive(request))
			return 0;
		return remember_exchange(c, request);
	case MUXD__V1__CLIENT_FRAME__OP_QUEUE_BIND:
	case MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_BIND:
		return remember(c, request, NULL, &request->body);
	case MUXD__V1__CLIENT_FRAME__OP_QUEUE_UNBIND:
		forget_binding(c, MUXD__V1__CLIENT_FRAME__OP_QUEUE_BIND, request);
		return 0;
	case MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_UNBIND:
		forget_binding(c, MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_BIND, request);
		return 0;
	case MUXD__V1__CLIENT_FRAME__OP_QUEUE_DELETE:
	case MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DELETE:
		declared_gone(c, request);
		return 0;
	default:
		return 0;
	}
}

bool declared_has_room(const struct muxc *c, const struct request *request)
{
	if (c->declared.bytes < DECLARED_MAX_BYTES)
		return true;
	switch (request->op) {
	case MUXD__V1__CLIENT_FRAME__OP_QUEUE_DECLARE:
	case MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DECLARE:
		return is_passive(request);
	case MUXD__V1__CLIENT_FRAME__OP_QUEUE_BIND:
	case MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_BIND:
		return false;
	default:
		return true;
	}
}

static bool is_consumed(const struct muxc *c, struct span queue)
{
	const struct muxc_channel *channel;
	const struct consumer *consumer;
	uint32_t i;

	for (i = 0; i < c->channels_count; i++) {
		channel = c->channels[i].channel;
		for (consumer = channel && channel->state != CHANNEL_ENDED ? channel->consumers : NULL;
		     consumer; consumer = consumer->next) {
			if (names(queue, &consumer->op, DECLARE_NAME))
				return true;
		}
	}
	return false;
}

void declared_unused(struct muxc *c, const struct buf *consume)
{
	struct span queue = field_of(consume, DECLARE_NAME).bytes;
	const struct declared *declared = find(&c->declared, MUXD__V1__CLIENT_FRAME__OP_QUEUE_DECLARE, queue);

	/* While it is declared again, the request refers to it. */
	if (!declared || (c->link.declaring && !declared->waiting) ||
	    !field_of(&declared->body, QUEUE_AUTO_DELETE).value || is_consumed(c, queue))
		return;
	forget_queue(c, queue);
}
