#include "daemon/mux/quirks.h"

#include "daemon/amqp/reply.h"
#include "daemon/amqp/table.h"
#include "daemon/base/hash.h"
#include "daemon/base/log.h"
#include "daemon/mux/consumer.h"
#include "daemon/mux/kinds.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/consumer.h"
#include "daemon/mux/state/delivery.h"
#include "daemon/mux/state/queues.h"
#include "daemon/mux/state/upstream.h"

#include <stdio.h>

static bool is_concerned(const struct upstream *upstream)
{
	const char *broker = upstream->conn.handshake.broker;
	unsigned int major, minor;

	return !broker[0] ||
	       (sscanf(broker, "RabbitMQ %u.%u", &major, &minor) == 2 && major == 3 && minor >= 10);
}

static bool refuse(struct fault *ret_fault, const char *what, struct span value)
{
	char text[160];

	*ret_fault = fault_make(AMQC_INTERNAL_ERROR, "INTERNAL_ERROR - %s: %s", what,
				log_clean(text, sizeof(text), value));
	return false;
}

/* ------------------------------------------------------------------ reply addresses */

#define PID_BYTES_MAX 192u /* of an address of 255 bytes, in base64 */

static int base64_digit(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* The number of bytes it stands for, 0 if it is not base64 as Erlang writes it. */
static size_t base64_decode(struct span text, uint8_t *ret, size_t size)
{
	size_t len = 0, padding = 0;
	uint32_t bits = 0;

	if (text.len == 0 || text.len % 4 != 0 || text.len / 4 * 3 > size)
		return 0;
	while (padding < 2 && text.data[text.len - 1 - padding] == '=')
		padding++;
	for (size_t i = 0; i < text.len; i++) {
		int digit = i < text.len - padding ? base64_digit(text.data[i]) : 0;

		if (digit < 0)
			return 0;
		bits = bits << 6 | (uint32_t)digit;
		if (i % 4 == 3) {
			ret[len++] = (uint8_t)(bits >> 16);
			ret[len++] = (uint8_t)(bits >> 8);
			ret[len++] = (uint8_t)bits;
		}
	}
	return len - padding;
}

/* "reply@" and the hash of a node's name. */
static bool is_hashed_node(struct span name)
{
	const uint8_t *at = name.len > 0 ? memchr(name.data, '@', name.len) : NULL;
	struct span hash = at ? span_skip(name, (size_t)(at - name.data) + 1) : SPAN_NULL;

	for (size_t i = 0; i < hash.len; i++) {
		if (hash.data[i] < '0' || hash.data[i] > '9')
			return false;
	}
	return hash.len > 0;
}

/* A process's identity in Erlang's external term format: PID_EXT or NEW_PID_EXT, and nothing behind. */
static bool is_pid(struct span term)
{
	uint8_t version, tag, atom, short_len = 0;
	uint16_t len = 0;
	struct span node;

	if (!span_take_u8(&term, &version) || version != 131 || !span_take_u8(&term, &tag) ||
	    (tag != 'X' && tag != 'g') || !span_take_u8(&term, &atom))
		return false;
	if (atom == 'w' ? !span_take_u8(&term, &short_len) : atom != 'v' || !span_take_be16(&term, &len))
		return false;
	if (!span_take(&term, atom == 'w' ? short_len : len, &node) || !is_hashed_node(node))
		return false;
	return term.len == (tag == 'X' ? 12 : 9);
}

/* Takes the next piece between dots; empty at the end. */
static struct span next_piece(struct span *rest)
{
	struct span piece;
	size_t len = 0;

	while (rest->len > 0 && rest->data[0] == '.')
		*rest = span_skip(*rest, 1);
	while (len < rest->len && rest->data[len] != '.')
		len++;
	piece = span_first(*rest, len);
	*rest = span_skip(*rest, len);
	return piece;
}

/* An address that has two pieces is taken for a process and a key, the first one decoded without care. */
static bool is_harmless(struct span name)
{
	static const char prefix[] = DIRECT_REPLY_TO ".";
	uint8_t term[PID_BYTES_MAX];
	struct span pid, key;

	if (name.len < sizeof(prefix) - 1 || memcmp(name.data, prefix, sizeof(prefix) - 1) != 0)
		return true;
	name = span_skip(name, sizeof(prefix) - 1);
	pid = next_piece(&name);
	key = next_piece(&name);
	if (key.len == 0 || next_piece(&name).len > 0)
		return true;
	return is_pid(span_make(term, base64_decode(pid, term, sizeof(term))));
}

static bool vet_name(struct span name, struct fault *ret_fault)
{
	return is_harmless(name) || refuse(ret_fault, "no address of a direct reply-to consumer", name);
}

/* ------------------------------------------------------------------ requests */

static bool vet_text_of_time(const char *what, const struct amqc_field *field, struct fault *ret_fault)
{
	struct span text = field->value.bytes;

	return (text.len > 0 && text.data[0] >= '0' && text.data[0] <= '9') || refuse(ret_fault, what, text);
}

static bool vet_locator(const struct amqc_field *locator, struct fault *ret_fault)
{
	static const char *const known[] = {"min-masters", "client-local", "random"};
	struct span name = locator->type == 'S' ? locator->value.bytes : SPAN_NULL;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (span_equal_str(name, known[i]))
			return true;
	}
	return refuse(ret_fault, "unknown x-queue-master-locator", name);
}

static bool vet_declare(const struct channel *channel, const struct amqc_queue_declare *declare,
			struct fault *ret_fault)
{
	enum queue_kind kind = kinds_of_declare(channel->upstream, declare);
	struct amqc_field field;

	if (!vet_name(declare->queue, ret_fault))
		return false;
	if (declare->passive)
		return true;
	if (amqc_table_find(declare->arguments, "x-dead-letter-routing-key", &field) && field.type == 'S' &&
	    !vet_name(field.value.bytes, ret_fault))
		return false;
	if (!declare->exclusive && (kind == QUEUE_CLASSIC || kind == QUEUE_UNKNOWN) &&
	    amqc_table_find(declare->arguments, "x-queue-master-locator", &field) &&
	    !vet_locator(&field, ret_fault))
		return false;
	return kind != QUEUE_STREAM || !amqc_table_find(declare->arguments, "x-max-age", &field) ||
	       field.type != 'S' || vet_text_of_time("x-max-age is no time", &field, ret_fault);
}

static bool vet_offset(const struct amqc_field *offset, struct fault *ret_fault)
{
	struct span text = offset->value.bytes;

	if (offset->type != 'S')
		return strchr("bBsuIilLT", offset->type) ||
		       refuse(ret_fault, "x-stream-offset is neither a number, a time, nor a text",
			      SPAN_NULL);
	return span_equal_str(text, "first") || span_equal_str(text, "last") ||
	       span_equal_str(text, "next") ||
	       vet_text_of_time("x-stream-offset is no offset", offset, ret_fault);
}

static bool vet_consume(const struct channel *channel, const struct amqc_basic_consume *consume,
			struct fault *ret_fault)
{
	enum queue_kind kind;
	struct amqc_field field;

	if (consume->arguments.len == 0)
		return true;
	/* Of the plugin for AMQP 1.0; the queue itself ends with it. */
	if (amqc_table_find(consume->arguments, "x-credit", &field))
		return refuse(ret_fault, "basic.consume takes no argument x-credit", SPAN_NULL);
	kind = kinds_find(channel, consume->queue);
	return kind == QUEUE_CLASSIC || kind == QUEUE_QUORUM ||
	       !amqc_table_find(consume->arguments, "x-stream-offset", &field) ||
	       vet_offset(&field, ret_fault);
}

#define HASHES_MAX 8u

/*
 * A topic exchange tries all ways to share a message's words among the `#` of a key: with 8 of them and ten
 * words that takes 0.3 s, with two more 3.5 s. Nobody has such a key on any other exchange.
 */
static bool vet_binding_key(struct span key, struct fault *ret_fault)
{
	struct span rest = key;
	unsigned int hashes = 0;

	while (rest.len > 0)
		hashes += span_equal_str(next_piece(&rest), "#");
	return hashes <= HASHES_MAX || refuse(ret_fault, "a binding key with more than 8 words '#'", key);
}

bool quirks_vet(const struct channel *channel, const struct amqc_method *method, struct fault *ret_fault)
{
	switch (method->id) {
	case AMQC_QUEUE_DECLARE:
		return vet_declare(channel, &method->queue_declare, ret_fault) ||
		       !is_concerned(channel->upstream);
	case AMQC_BASIC_CONSUME:
		return vet_consume(channel, &method->basic_consume, ret_fault) ||
		       !is_concerned(channel->upstream);
	case AMQC_QUEUE_BIND:
		return vet_binding_key(method->queue_bind.routing_key, ret_fault) ||
		       !is_concerned(channel->upstream);
	case AMQC_EXCHANGE_BIND:
		return vet_binding_key(method->exchange_bind.routing_key, ret_fault) ||
		       !is_concerned(channel->upstream);
	default:
		return true;
	}
}

/* ------------------------------------------------------------------ a tag that is used again */

static uint64_t names_of(const struct consumer *consumer)
{
	struct amqc_method consume;
	uint64_t names = hash_more(HASH_BEGIN, span_make(consumer->tag, consumer->tag_len));

	return request_decode_frame(buf_span(&consumer->consume), &consume)
		   ? hash_more(names, consume.basic_consume.queue)
		   : names;
}

void quirks_note_cancelled(const struct consumer *consumer)
{
	struct channel *channel = consumer->channel;

	if (consumer->kind != QUEUE_QUORUM || channel->deliveries.open == 0)
		return;
	channel->former[channel->former_next] = (struct former_consumer){
	    .epoch = channel->upstream->epoch,
	    .names = names_of(consumer),
	    .prefetch = consumer->turn > 0 ? consumer->first_prefetch : consumer->prefetch};
	channel->former_next = (channel->former_next + 1) % FORMER_CONSUMERS_MAX;
}

bool quirks_vet_consumer(const struct consumer *consumer, struct fault *ret_fault)
{
	const struct channel *channel = consumer->channel;

	if (consumer->kind != QUEUE_QUORUM || channel->deliveries.open == 0 ||
	    !is_concerned(channel->upstream))
		return true;
	for (size_t i = 0; i < FORMER_CONSUMERS_MAX; i++) {
		const struct former_consumer *former = &channel->former[i];

		if (former->epoch == channel->upstream->epoch && former->prefetch < consumer->prefetch &&
		    former->names == names_of(consumer))
			return refuse(ret_fault,
				      "messages of the consumer that had this tag are unsettled, and its "
				      "prefetch was smaller",
				      span_make(consumer->tag, consumer->tag_len));
	}
	return true;
}

/* ------------------------------------------------------------------ publishes */

static bool vet_copies(struct span array, struct fault *ret_fault)
{
	struct amqc_field field;

	while (amqc_array_next(&array, &field) == AMQC_OK) {
		if (field.type == 'S' && !vet_name(field.value.bytes, ret_fault))
			return false;
	}
	return true;
}

/* A stream keeps these properties as headers, and gives them back as short texts. */
static bool is_property_of_stream(struct span name)
{
	return span_equal_str(name, "x-basic-type") || span_equal_str(name, "x-basic-app-id");
}

static bool vet_header(const struct amqc_field *header, bool to_stream, struct fault *ret_fault)
{
	if (header->type == 'D' && to_stream)
		return refuse(ret_fault, "a stream takes no decimal in a message's headers", header->name);
	if (header->type == 'A' &&
	    (span_equal_str(header->name, "CC") || span_equal_str(header->name, "BCC")))
		return vet_copies(header->value.bytes, ret_fault);
	if (!is_property_of_stream(header->name) ||
	    (header->type == 'S' && header->value.bytes.len <= UINT8_MAX))
		return true;
	return refuse(ret_fault, "no consumer of a stream could read the header", header->name);
}

static bool vet_publish(const struct channel *channel, const struct mux_publish *publish,
			struct fault *ret_fault)
{
	struct amqc_field header;
	struct span headers;
	bool to_stream;

	/* By any exchange: where it leads, dead letters may keep their key. */
	if (!vet_name(publish->routing_key, ret_fault))
		return false;
	if (!(publish->properties->present & AMQC_PROP_HEADERS))
		return true;
	headers = publish->properties->headers;
	to_stream = publish->exchange.len == 0 && kinds_find(channel, publish->routing_key) == QUEUE_STREAM;
	while (amqc_table_next(&headers, &header) == AMQC_OK) {
		if (!vet_header(&header, to_stream, ret_fault))
			return false;
	}
	return true;
}

bool quirks_vet_publish(const struct channel *channel, const struct mux_publish *publish,
			struct fault *ret_fault)
{
	/* Most are fine, and then it does not matter which broker it is. */
	return vet_publish(channel, publish, ret_fault) || !is_concerned(channel->upstream);
}
