#include "daemon/mux/vet.h"

#include "daemon/amqp/reply.h"
#include "daemon/base/log.h"
#include "daemon/mux/state/upstream.h"

#include <math.h>

/* Field types that RabbitMQ reads; others end the connection (errata, "Field types"). */
static const char known_types[] = "tbBsuIilLfdDSATFVx";

/* The length of the UTF-8 sequence at p, of at most left bytes; 0: none (RFC 3629, section 4). */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
	uint8_t low = 0x80, high = 0xBF;
	size_t len;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xC2 && p[0] <= 0xDF)
		len = 2;
	else if (p[0] >= 0xE0 && p[0] <= 0xEF)
		len = 3;
	else if (p[0] >= 0xF0 && p[0] <= 0xF4)
		len = 4;
	else
		return 0;
	if (p[0] == 0xE0)
		low = 0xA0;
	else if (p[0] == 0xED)
		high = 0x9F;
	else if (p[0] == 0xF0)
		low = 0x90;
	else if (p[0] == 0xF4)
		high = 0x8F;
	if (left < len || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++) {
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	}
	return len;
}

static bool is_utf8(struct span text)
{
	size_t at = 0;

	while (at < text.len) {
		size_t len = utf8_sequence(text.data + at, text.len - at);

		if (len == 0)
			return false;
		at += len;
	}
	return true;
}

static bool vet_name(const char *what, struct span name, struct fault *ret_fault)
{
	char text[96];

	if (name.len > 255) {
		*ret_fault =
		    fault_make(AMQC_SYNTAX_ERROR, "SYNTAX_ERROR - %s is %zu bytes long, the most is 255",
			       what, name.len);
		return false;
	}
	if (is_utf8(name))
		return true;
	*ret_fault = fault_make(AMQC_FRAME_ERROR, "FRAME_ERROR - %s is not UTF-8: %s", what,
				log_clean(text, sizeof(text), name));
	return false;
}

/* RabbitMQ cannot hold numbers that are not finite: 541 in headers, a bare reset in arguments. */
static bool is_finite(const struct amqc_field *field)
{
	if (field->type == 'f')
		return isfinite(field->value.float32);
	return field->type != 'd' || isfinite(field->value.float64);
}

#define NESTING_MAX 64u

/* Every field's type, nested ones too; without recursion. */
static bool vet_table(const char *what, struct span table, struct fault *ret_fault)
{
	struct {
		struct span rest;
		bool array;
	} stack[NESTING_MAX];
	size_t depth = 1;

	stack[0].rest = table;
	stack[0].array = false;
	while (depth > 0) {
		struct amqc_field field;
		enum amqc_result result = stack[depth - 1].array
					      ? amqc_array_next(&stack[depth - 1].rest, &field)
					      : amqc_table_next(&stack[depth - 1].rest, &field);

		if (result == AMQC_INCOMPLETE) {
			depth--;
			continue;
		}
		if (result != AMQC_OK || !strchr(known_types, field.type) || !is_finite(&field) ||
		    depth == NESTING_MAX) {
			*ret_fault =
			    fault_make(AMQC_SYNTAX_ERROR,
				       "SYNTAX_ERROR - %s hold a field type that the broker does not read, "
				       "or nest too deep",
				       what);
			return false;
		}
		if (field.type != 'F' && field.type != 'A')
			continue;
		stack[depth].rest = field.value.bytes;
		stack[depth].array = field.type == 'A';
		depth++;
	}
	return true;
}

/* A type that is not one of AMQP's is the broker's to know: it is asked (probe.h). */
static bool vet_exchange_declare(const struct amqc_exchange_declare *declare, struct fault *ret_fault)
{
	return vet_name("exchange", declare->exchange, ret_fault) &&
	       vet_name("exchange type", declare->type, ret_fault) &&
	       vet_table("arguments", declare->arguments, ret_fault);
}

static bool vet_binding(struct span to, struct span from, struct span key, struct span arguments,
			struct fault *ret_fault)
{
	return vet_name("queue or destination", to, ret_fault) && vet_name("exchange", from, ret_fault) &&
	       vet_name("routing key", key, ret_fault) && vet_table("arguments", arguments, ret_fault);
}

static bool vet_exchange(const struct amqc_method *method, struct fault *ret_fault)
{
	switch (method->id) {
	case AMQC_EXCHANGE_DECLARE:
		return vet_exchange_declare(&method->exchange_declare, ret_fault);
	case AMQC_EXCHANGE_DELETE:
		return vet_name("exchange", method->exchange_delete.exchange, ret_fault);
	case AMQC_EXCHANGE_BIND:
		return vet_binding(method->exchange_bind.destination, method->exchange_bind.source,
				   method->exchange_bind.routing_key, method->exchange_bind.arguments,
				   ret_fault);
	case AMQC_EXCHANGE_UNBIND:
		return vet_binding(method->exchange_unbind.destination, method->exchange_unbind.source,
				   method->exchange_unbind.routing_key, method->exchange_unbind.arguments,
				   ret_fault);
	default:
		*ret_fault =
		    fault_make(AMQC_NOT_IMPLEMENTED, "NOT_IMPLEMENTED - %s", amqc_method_name(method->id));
		return false;
	}
}

static bool vet_queue(const struct amqc_method *method, struct fault *ret_fault)
{
	switch (method->id) {
	case AMQC_QUEUE_DECLARE:
		return vet_name("queue", method->queue_declare.queue, ret_fault) &&
		       vet_table("arguments", method->queue_declare.arguments, ret_fault);
	case AMQC_QUEUE_BIND:
		return vet_binding(method->queue_bind.queue, method->queue_bind.exchange,
				   method->queue_bind.routing_key, method->queue_bind.arguments, ret_fault);
	case AMQC_QUEUE_UNBIND:
		return vet_binding(method->queue_unbind.queue, method->queue_unbind.exchange,
				   method->queue_unbind.routing_key, method->queue_unbind.arguments,
				   ret_fault);
	case AMQC_QUEUE_PURGE:
		return vet_name("queue", method->queue_purge.queue, ret_fault);
	case AMQC_QUEUE_DELETE:
		return vet_name("queue", method->queue_delete.queue, ret_fault);
	default:
		return vet_exchange(method, ret_fault);
	}
}

bool vet_method(const struct amqc_method *method, struct fault *ret_fault)
{
	switch (method->id) {
	case AMQC_BASIC_CONSUME:
		return vet_name("queue", method->basic_consume.queue, ret_fault) &&
		       vet_name("consumer tag", method->basic_consume.consumer_tag, ret_fault) &&
		       vet_table("arguments", method->basic_consume.arguments, ret_fault);
	case AMQC_BASIC_GET:
		return vet_name("queue", method->basic_get.queue, ret_fault);
	case AMQC_BASIC_CANCEL:
	case AMQC_BASIC_RECOVER:
	case AMQC_TX_SELECT:
	case AMQC_TX_COMMIT:
	case AMQC_TX_ROLLBACK:
		return true;
	case AMQC_BASIC_QOS:
		if (method->basic_qos.prefetch_size == 0)
			return true;
		*ret_fault = fault_make(AMQC_NOT_IMPLEMENTED, "NOT_IMPLEMENTED - prefetch_size!=0 (%u)",
					method->basic_qos.prefetch_size);
		return false;
	default:
		return vet_queue(method, ret_fault);
	}
}

bool vet_properties(const struct amqc_properties *properties, struct fault *ret_fault)
{
	if ((properties->present & AMQC_PROP_HEADERS) &&
	    !vet_table("headers", properties->headers, ret_fault))
		return false;
	return true;
}
