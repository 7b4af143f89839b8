/*
 * The arguments of queues: checked, compared, applied. RabbitMQ knows these
 * keys; it keeps others, and does not compare them.
 */
#include "tests/broker/engine.h"

#include <stdio.h>

enum argument_kind {
	ARGUMENT_TIME,
	ARGUMENT_TIME_NONZERO,
	ARGUMENT_COUNT,
	ARGUMENT_PRIORITY,
	ARGUMENT_TEXT,
	ARGUMENT_BOOL
};

struct argument {
	const char *key;
	enum argument_kind kind;
};

static const struct argument known[] = {
    {"x-expires", ARGUMENT_TIME_NONZERO},
    {"x-message-ttl", ARGUMENT_TIME},
    {"x-max-length", ARGUMENT_COUNT},
    {"x-max-length-bytes", ARGUMENT_COUNT},
    {"x-max-priority", ARGUMENT_PRIORITY},
    {"x-overflow", ARGUMENT_TEXT},
    {"x-queue-type", ARGUMENT_TEXT},
    {"x-queue-mode", ARGUMENT_TEXT},
    {"x-dead-letter-exchange", ARGUMENT_TEXT},
    {"x-dead-letter-routing-key", ARGUMENT_TEXT},
    {"x-single-active-consumer", ARGUMENT_BOOL},
};

#define KNOWN_COUNT (sizeof(known) / sizeof(known[0]))

bool bk_field_integer(const struct amqc_field *field, int64_t *ret)
{
	switch (field->type) {
	case 'b':
	case 's':
	case 'I':
	case 'l':
		*ret = field->value.signed_int;
		return true;
	case 'B':
	case 'u':
	case 'i':
	case 'L':
		*ret = (int64_t)field->value.unsigned_int;
		return true;
	default:
		return false;
	}
}

const char *bk_field_type_name(char type)
{
	static const struct {
		char type;
		const char *name;
	} names[] = {{'S', "longstr"},	 {'I', "signedint"},	 {'i', "unsignedint"}, {'D', "decimal"},
		     {'T', "timestamp"}, {'F', "table"},	 {'b', "byte"},	       {'B', "unsignedbyte"},
		     {'d', "double"},	 {'f', "float"},	 {'l', "long"},	       {'L', "long"},
		     {'s', "short"},	 {'u', "unsignedshort"}, {'t', "bool"},	       {'x', "binary"},
		     {'V', "void"},	 {'A', "array"}};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].type == type)
			return names[i].name;
	return "unknown";
}

/* A value as RabbitMQ's texts show it. */
static const char *field_print(const struct amqc_field *field, char *text, size_t size)
{
	int64_t number;

	if (bk_field_integer(field, &number))
		snprintf(text, size, "%lld", (long long)number);
	else if (field->type == 't')
		snprintf(text, size, "%s", field->value.boolean ? "true" : "false");
	else if (field->type == 'S')
		snprintf(text, size, "%.*s", SPAN_ARG(field->value.bytes));
	else
		snprintf(text, size, "...");
	return text;
}

static bool field_same(const struct amqc_field *a, const struct amqc_field *b)
{
	int64_t x, y;

	if (bk_field_integer(a, &x) && bk_field_integer(b, &y))
		return x == y;
	if (a->type != b->type)
		return false;
	if (a->type == 't')
		return a->value.boolean == b->value.boolean;
	return a->type != 'S' || span_equal(a->value.bytes, b->value.bytes);
}

bool bk_argument_equivalent(struct channel *channel, const char *kind, struct span name, const char *key,
			    const struct amqc_field *received, const struct amqc_field *current)
{
	struct span vhost = bk_name_span(&channel->conn->vhost->name);
	char a[128], b[128], left[192], right[192];

	if (received == current || (received && current && field_same(received, current)))
		return true;
	snprintf(left, sizeof(left), "none");
	snprintf(right, sizeof(right), "none");
	if (received && current && received->type == current->type) {
		snprintf(left, sizeof(left), "'%s'", field_print(received, a, sizeof(a)));
		snprintf(right, sizeof(right), "'%s'", field_print(current, b, sizeof(b)));
	} else {
		if (received)
			snprintf(left, sizeof(left), "the value '%s' of type '%s'",
				 field_print(received, a, sizeof(a)), bk_field_type_name(received->type));
		if (current)
			snprintf(right, sizeof(right), "the value '%s' of type '%s'",
				 field_print(current, b, sizeof(b)), bk_field_type_name(current->type));
	}
	return bk_channel_fail(
	    channel, AMQC_PRECONDITION_FAILED,
	    "inequivalent arg '%s' for %s '%.*s' in vhost '%.*s': received %s but current is %s", key, kind,
	    SPAN_ARG(name), SPAN_ARG(vhost), left, right);
}

bool bk_arguments_equivalent(struct channel *channel, const struct queue *queue, struct span arguments)
{
	for (size_t i = 0; i < KNOWN_COUNT; i++) {
		struct amqc_field received, current;
		bool a = amqc_table_find(arguments, known[i].key, &received);
		bool b = amqc_table_find(buf_span(&queue->arguments), known[i].key, &current);

		if (!bk_argument_equivalent(channel, "queue", bk_name_span(&queue->name), known[i].key,
					    a ? &received : NULL, b ? &current : NULL))
			return false;
	}
	return true;
}

static bool invalid(struct channel *channel, struct span queue, const char *key, const char *why)
{
	return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
			       "invalid arg '%s' for queue '%.*s' in vhost '%.*s': %s", key, SPAN_ARG(queue),
			       SPAN_ARG(bk_name_span(&channel->conn->vhost->name)), why);
}

static bool check_number(struct channel *channel, struct span queue, const struct argument *argument,
			 const struct amqc_field *field)
{
	char why[96];
	int64_t value;

	if (!bk_field_integer(field, &value)) {
		snprintf(why, sizeof(why), "\"expected integer, got %s\"", bk_field_type_name(field->type));
		return invalid(channel, queue, argument->key, why);
	}
	if (value < 0)
		snprintf(why, sizeof(why), "{value_negative,%lld}", (long long)value);
	else if (value == 0 && argument->kind == ARGUMENT_TIME_NONZERO)
		snprintf(why, sizeof(why), "{value_zero,0}");
	else if (value > UINT32_MAX && argument->kind != ARGUMENT_COUNT)
		snprintf(why, sizeof(why), "{value_too_large,%lld}", (long long)value);
	else if (value > 255 && argument->kind == ARGUMENT_PRIORITY)
		snprintf(why, sizeof(why), "{max_value_exceeded,%lld}", (long long)value);
	else
		return true;
	return invalid(channel, queue, argument->key, why);
}

static bool check_text(struct channel *channel, struct span queue, const char *key,
		       const struct amqc_field *field)
{
	struct span value = field->value.bytes;
	char why[96];

	if (field->type != 'S')
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
				       "invalid type '%s' for arg '%s' in queue '%.*s' in vhost '%.*s'",
				       bk_field_type_name(field->type), key, SPAN_ARG(queue),
				       SPAN_ARG(bk_name_span(&channel->conn->vhost->name)));
	if (strcmp(key, "x-overflow") == 0 && !span_equal_str(value, "drop-head") &&
	    !span_equal_str(value, "reject-publish"))
		return invalid(channel, queue, key, "invalid_overflow");
	if (strcmp(key, "x-queue-type") == 0 && !span_equal_str(value, "classic") &&
	    !span_equal_str(value, "quorum")) {
		snprintf(why, sizeof(why), "\"unsupported queue type '%.*s'\"",
			 SPAN_ARG(span_first(value, 48)));
		return invalid(channel, queue, key, why);
	}
	return true;
}

bool bk_arguments_check(struct channel *channel, struct span queue, struct span arguments)
{
	for (size_t i = 0; i < KNOWN_COUNT; i++) {
		struct amqc_field field;
		bool fine;

		if (!amqc_table_find(arguments, known[i].key, &field))
			continue;
		if (known[i].kind == ARGUMENT_TEXT)
			fine = check_text(channel, queue, known[i].key, &field);
		else if (known[i].kind == ARGUMENT_BOOL)
			fine = field.type == 't' ||
			       invalid(channel, queue, known[i].key, "\"expected boolean\"");
		else
			fine = check_number(channel, queue, &known[i], &field);
		if (!fine)
			return false;
	}
	return true;
}

static bool argument_number(struct span arguments, const char *key, uint64_t *ret)
{
	struct amqc_field field;
	int64_t value;

	if (!amqc_table_find(arguments, key, &field) || !bk_field_integer(&field, &value))
		return false;
	*ret = (uint64_t)value;
	return true;
}

void bk_arguments_apply(struct queue *queue)
{
	struct span arguments = buf_span(&queue->arguments);
	struct amqc_field field;
	uint64_t msec;

	if (argument_number(arguments, "x-message-ttl", &msec)) {
		queue->has_ttl = true;
		queue->ttl_usec = msec * USEC_PER_MSEC;
	}
	if (argument_number(arguments, "x-expires", &msec))
		queue->expires_usec = msec * USEC_PER_MSEC;
	argument_number(arguments, "x-max-length", &queue->max_length);
	argument_number(arguments, "x-max-length-bytes", &queue->max_bytes);
	if (amqc_table_find(arguments, "x-overflow", &field) &&
	    span_equal_str(field.value.bytes, "reject-publish"))
		queue->overflow = OVERFLOW_REJECT;
	if (amqc_table_find(arguments, "x-queue-type", &field) && span_equal_str(field.value.bytes, "quorum"))
		queue->kind = QUEUE_QUORUM;
}
