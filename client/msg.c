/*
 * Messages. A received one is a single block: the bytes of its operation as
 * they came, then the body; everything else is views into them. Texts are made
 * to end with a NUL byte by overwriting the byte behind each (a tag that has
 * been read already), so no text is copied. A message to be published owns a
 * copy of each text.
 *
 * Small blocks go back to a pool of the connection when the handler leaves them;
 * those that the program keeps are freed.
 */
#include "config.h"

#include "client/msg.h"
#include "client/conn.h"
#include "client/error.h"
#include "client/events.h"
#include "client/table.h"
#include "client/wire.h"

#include "proto/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	bool number;
} properties[PROPERTIES_END] = {
    [MUXC_CONTENT_TYPE] = {"content-type", false},
    [MUXC_CONTENT_ENCODING] = {"content-encoding", false},
    [MUXC_HEADERS] = {"headers", false},
    [MUXC_DELIVERY_MODE] = {"delivery-mode", true},
    [MUXC_PRIORITY] = {"priority", true},
    [MUXC_CORRELATION_ID] = {"correlation-id", false},
    [MUXC_REPLY_TO] = {"reply-to", false},
    [MUXC_EXPIRATION] = {"expiration", false},
    [MUXC_MESSAGE_ID] = {"message-id", false},
    [MUXC_TIMESTAMP] = {"timestamp", true},
    [MUXC_TYPE] = {"type", false},
    [MUXC_USER_ID] = {"user-id", false},
    [MUXC_APP_ID] = {"app-id", false},
    [MUXC_CLUSTER_ID] = {"cluster-id", false},
};

static bool property_is(int property, bool number)
{
	return property > 0 && property < PROPERTIES_END && properties[property].number == number;
}

const char *muxc_property_name(int property)
{
	return property > 0 && property < PROPERTIES_END ? properties[property].name : NULL;
}

int muxc_property_from_name(const char *name)
{
	int i;

	for (i = 1; name && i < PROPERTIES_END; i++) {
		if (strcmp(properties[i].name, name) == 0)
			return i;
	}
	return -ENOENT;
}

/* ------------------------------------------------------------------ lifetime */

static void message_init(struct muxc_message *message, bool received)
{
	size_t capacity = message->capacity;

	memset(message, 0, sizeof(*message));
	message->capacity = capacity;
	message->received = received;
	atomic_init(&message->refs, 1);
}

int muxc_message_new(struct muxc_message **ret)
{
	struct muxc_message *message;

	if (!ret)
		return -EINVAL;
	message = calloc(1, sizeof(*message));
	if (!message)
		return -ENOMEM;
	message_init(message, false);
	*ret = message;
	return 0;
}

static void message_free(struct muxc_message *message)
{
	int i;

	if (!message->received) {
		for (i = 1; i < PROPERTIES_END; i++)
			free((void *)(uintptr_t)message->text[i].data);
	}
	free(message->error);
	free(message);
}

struct muxc_message *muxc_message_ref(struct muxc_message *message)
{
	if (message)
		atomic_fetch_add_explicit(&message->refs, 1, memory_order_relaxed);
	return message;
}

struct muxc_message *muxc_message_unref(struct muxc_message *message)
{
	if (message && atomic_fetch_sub_explicit(&message->refs, 1, memory_order_acq_rel) == 1)
		message_free(message);
	return NULL;
}

struct muxc_message *message_alloc(struct muxc *c, size_t op_len, size_t body_len)
{
	struct muxc_message *message;
	size_t needed = op_len + body_len + 2; /* and a NUL behind each */

	if (needed <= POOL_MESSAGE_BYTES && c->pool) {
		message = c->pool;
		c->pool = (struct muxc_message *)message->event.next;
		c->pool_count--;
	} else {
		needed = needed < POOL_MESSAGE_BYTES ? POOL_MESSAGE_BYTES : needed;
		message = malloc(sizeof(*message) + needed);
		if (!message)
			return NULL;
		message->capacity = needed;
	}
	message_init(message, true);
	return message;
}

void message_drop(struct muxc *c, struct muxc_message *message)
{
	if (atomic_fetch_sub_explicit(&message->refs, 1, memory_order_acq_rel) > 1)
		return;
	if (message->error || message->capacity != POOL_MESSAGE_BYTES || c->pool_count >= POOL_MESSAGES_MAX) {
		message_free(message);
		return;
	}
	message->event.next = (struct event *)c->pool;
	c->pool = message;
	c->pool_count++;
}

void pool_free(struct muxc *c)
{
	struct muxc_message *message;

	while ((message = c->pool)) {
		c->pool = (struct muxc_message *)message->event.next;
		message_free(message);
	}
}

/* ------------------------------------------------------------------ receiving */

static int parse_properties(struct muxc_message *message, struct span in)
{
	struct wire_field field;
	int r, property;

	while ((r = wire_next(&in, &field)) > 0) {
		property = field.number < PROPERTIES_END ? (int)field.number : 0;
		if (property_is(property, false) && field.type == WIRE_BYTES)
			message->text[property] = field.bytes;
		else if (property == MUXC_DELIVERY_MODE && field.type == WIRE_VARINT)
			message->delivery_mode = (uint8_t)field.value;
		else if (property == MUXC_PRIORITY && field.type == WIRE_VARINT)
			message->priority = (uint8_t)field.value;
		else if (property == MUXC_TIMESTAMP && field.type == WIRE_VARINT)
			message->timestamp = field.value;
		else
			continue;
		message->present |= (uint16_t)(1u << property);
	}
	return r;
}

/* What a field of Delivery, Got or Returned is; their numbers differ. */
enum part {
	PART_NONE,
	PART_CONSUMER,
	PART_TAG,
	PART_REDELIVERED,
	PART_EXCHANGE,
	PART_ROUTING_KEY,
	PART_REMAINING,
	PART_PROPERTIES,
	PART_CODE,
	PART_TEXT
};

#define PARTS_END 8

static const uint8_t parts[][PARTS_END] = {
    [MESSAGE_DELIVERY] = {0, PART_CONSUMER, PART_TAG, PART_REDELIVERED, PART_EXCHANGE, PART_ROUTING_KEY,
			  PART_PROPERTIES, 0},
    [MESSAGE_GOT] = {0, PART_TAG, PART_REDELIVERED, PART_EXCHANGE, PART_ROUTING_KEY, PART_REMAINING,
		     PART_PROPERTIES, 0},
    [MESSAGE_RETURNED] = {0, PART_TAG, PART_CODE, PART_TEXT, PART_EXCHANGE, PART_ROUTING_KEY, PART_PROPERTIES,
			  0},
};

static int parse_number(struct muxc_message *message, enum part part, uint64_t value)
{
	switch (part) {
	case PART_CONSUMER:
		message->consumer = (uint32_t)value;
		break;
	case PART_TAG:
		message->tag = value;
		break;
	case PART_REDELIVERED:
		message->redelivered = value != 0;
		break;
	case PART_REMAINING:
		message->remaining = (uint32_t)value;
		break;
	case PART_CODE:
		if (message->error)
			message->error->code = (unsigned int)value;
		break;
	default:
		break;
	}
	return 0;
}

static int parse_bytes(struct muxc_message *message, enum part part, struct span bytes)
{
	switch (part) {
	case PART_EXCHANGE:
		message->exchange = bytes;
		return 0;
	case PART_ROUTING_KEY:
		message->routing_key = bytes;
		return 0;
	case PART_PROPERTIES:
		return parse_properties(message, bytes);
	case PART_TEXT:
		if (message->error)
			error_text(message->error, bytes);
		return 0;
	default:
		return 0;
	}
}

/* The byte behind belongs to the storage and has been read. */
static void terminate(struct span text)
{
	if (text.data)
		((uint8_t *)(uintptr_t)text.data)[text.len] = '\0';
}

static void terminate_texts(struct muxc_message *message)
{
	int i;

	terminate(message->exchange);
	terminate(message->routing_key);
	for (i = 1; i < PROPERTIES_END; i++) {
		if (i != MUXC_HEADERS)
			terminate(message->text[i]);
	}
}

int message_parse(struct muxc_message *message, enum message_form form, struct span op, struct span body)
{
	struct wire_field field;
	struct span in;
	enum part part;
	int r;

	if (op.len)
		memcpy(message->storage, op.data, op.len);
	message->storage[op.len] = '\0';
	if (body.len)
		memcpy(message->storage + op.len + 1, body.data, body.len);
	message->storage[op.len + 1 + body.len] = '\0';
	message->body = span_make(message->storage + op.len + 1, body.len);
	in = span_make(message->storage, op.len);
	while ((r = wire_next(&in, &field)) > 0) {
		part = field.number < PARTS_END ? parts[form][field.number] : PART_NONE;
		if (field.type == WIRE_VARINT)
			r = parse_number(message, part, field.value);
		else if (field.type == WIRE_BYTES)
			r = parse_bytes(message, part, field.bytes);
		if (r < 0)
			return r;
	}
	if (r == 0)
		terminate_texts(message);
	return r;
}

/* ------------------------------------------------------------------ building */

int muxc_message_set_body(struct muxc_message *message, const void *data, size_t len)
{
	if (!message || (!data && len))
		return -EINVAL;
	if (message->received)
		return -EPERM;
	message->body = span_make(data, len);
	return 0;
}

static int set_copy(struct muxc_message *message, int property, struct span text)
{
	char *copy = text_dup(text);

	if (!copy)
		return -ENOMEM;
	free((void *)(uintptr_t)message->text[property].data);
	message->text[property] = span_make(copy, text.len);
	message->present |= (uint16_t)(1u << property);
	return 0;
}

int muxc_message_set_text(struct muxc_message *message, int property, const char *text, size_t len)
{
	struct span span = text_span(text, len);

	if (!message || !text || !property_is(property, false) || property == MUXC_HEADERS ||
	    span.len > SHORT_TEXT_MAX)
		return -EINVAL;
	return message->received ? -EPERM : set_copy(message, property, span);
}

int muxc_message_set_headers(struct muxc_message *message, const struct muxc_table *headers)
{
	if (!message || !headers)
		return -EINVAL;
	return message->received ? -EPERM : set_copy(message, MUXC_HEADERS, table_span(headers));
}

int muxc_message_set_number(struct muxc_message *message, int property, uint64_t number)
{
	if (!message || !property_is(property, true))
		return -EINVAL;
	if (message->received)
		return -EPERM;
	if (property != MUXC_TIMESTAMP && number > UINT8_MAX)
		return -EINVAL;
	if (property == MUXC_TIMESTAMP)
		message->timestamp = number;
	else if (property == MUXC_PRIORITY)
		message->priority = (uint8_t)number;
	else
		message->delivery_mode = (uint8_t)number;
	message->present |= (uint16_t)(1u << property);
	return 0;
}

int muxc_message_unset(struct muxc_message *message, int property)
{
	if (!message || property <= 0 || property >= PROPERTIES_END)
		return -EINVAL;
	if (message->received)
		return -EPERM;
	message->present &= (uint16_t) ~(1u << property);
	free((void *)(uintptr_t)message->text[property].data);
	message->text[property] = SPAN_NULL;
	return 0;
}

static uint64_t number_of(const struct muxc_message *message, int property)
{
	if (property == MUXC_TIMESTAMP)
		return message->timestamp;
	return property == MUXC_PRIORITY ? message->priority : message->delivery_mode;
}

size_t properties_size(const struct muxc_message *message)
{
	unsigned int present;
	size_t size = 0;
	int i;

	for (present = message->present; present; present &= present - 1) {
		i = __builtin_ctz(present);
		size += properties[i].number ? wire_number_size(number_of(message, i))
					     : wire_bytes_size(message->text[i].len);
	}
	return size;
}

void properties_put(struct buf *out, const struct muxc_message *message)
{
	unsigned int present;
	uint32_t i;

	for (present = message->present; present; present &= present - 1) {
		i = (uint32_t)__builtin_ctz(present);
		if (properties[i].number)
			wire_put_number(out, i, number_of(message, (int)i));
		else
			wire_put_bytes(out, i, message->text[i]);
	}
}

/* ------------------------------------------------------------------ looking */

static const char *text_of(struct span text, size_t *ret_len)
{
	if (ret_len)
		*ret_len = text.len;
	return text.data ? (const char *)text.data : "";
}

const void *muxc_message_get_body(const struct muxc_message *message, size_t *ret_len)
{
	return text_of(message ? message->body : SPAN_NULL, ret_len);
}

const char *muxc_message_get_text(const struct muxc_message *message, int property, size_t *ret_len)
{
	if (ret_len)
		*ret_len = 0;
	if (!message || !property_is(property, false) || property == MUXC_HEADERS ||
	    !(message->present & 1u << property))
		return NULL;
	return text_of(message->text[property], ret_len);
}

int muxc_message_get_number(const struct muxc_message *message, int property, uint64_t *ret_number)
{
	if (!message || !property_is(property, true))
		return -EINVAL;
	if (!(message->present & 1u << property))
		return 0;
	if (ret_number)
		*ret_number = number_of(message, property);
	return 1;
}

int muxc_message_get_headers(const struct muxc_message *message, struct muxc_iter *ret)
{
	if (!message || !ret)
		return -EINVAL;
	iter_from_span(message->text[MUXC_HEADERS], ret);
	return !!(message->present & 1u << MUXC_HEADERS);
}

const char *muxc_message_get_exchange(const struct muxc_message *message, size_t *ret_len)
{
	return text_of(message ? message->exchange : SPAN_NULL, ret_len);
}

const char *muxc_message_get_routing_key(const struct muxc_message *message, size_t *ret_len)
{
	return text_of(message ? message->routing_key : SPAN_NULL, ret_len);
}

int muxc_message_is_redelivered(const struct muxc_message *message)
{
	return message && message->redelivered;
}

uint64_t muxc_message_get_tag(const struct muxc_message *message)
{
	return message && !message->error ? message->tag : 0;
}

uint32_t muxc_message_get_consumer(const struct muxc_message *message)
{
	return message ? message->consumer : 0;
}

uint64_t muxc_message_get_publish_number(const struct muxc_message *message)
{
	return message && message->error ? message->tag : 0;
}

uint32_t muxc_message_get_remaining(const struct muxc_message *message)
{
	return message ? message->remaining : 0;
}
