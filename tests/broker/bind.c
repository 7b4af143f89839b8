/*
 * The methods of class exchange, and binding.
 */
#include "tests/broker/engine.h"

#define VHOST_ARG(channel) SPAN_ARG(bk_name_span(&(channel)->conn->vhost->name))

static bool check_not_default(struct channel *channel, struct span name)
{
	return name.len > 0 || bk_channel_fail(channel, AMQC_ACCESS_REFUSED,
					       "operation not permitted on the default exchange");
}

static bool no_exchange(struct channel *channel, struct span name)
{
	return bk_channel_fail(channel, AMQC_NOT_FOUND, "no exchange '%.*s' in vhost '%.*s'", SPAN_ARG(name),
			       VHOST_ARG(channel));
}

static struct exchange *find_stripped(struct channel *channel, struct span name)
{
	struct name stripped;

	bk_name_set_stripped(&stripped, name);
	return bk_exchange_find(channel->conn->vhost, bk_name_span(&stripped));
}

static bool exchange_declare_ok(struct channel *channel, bool no_wait)
{
	struct amqc_method reply = {.id = AMQC_EXCHANGE_DECLARE_OK};

	if (!no_wait)
		bk_channel_reply(channel, &reply);
	return true;
}

static bool bool_equivalent(struct channel *channel, const struct exchange *exchange, const char *key,
			    bool received, bool current)
{
	const struct amqc_field a = {.type = 't', .value.boolean = received};
	const struct amqc_field b = {.type = 't', .value.boolean = current};

	return bk_argument_equivalent(channel, "exchange", bk_name_span(&exchange->name), key, &a, &b);
}

static bool exchange_equivalent(struct channel *channel, const struct exchange *exchange,
				const struct amqc_exchange_declare *m)
{
	struct amqc_field received,
	    current = {.type = 'S', .value.bytes = bk_name_span(&exchange->alternate)};
	bool given = amqc_table_find(m->arguments, "alternate-exchange", &received);

	if (!span_equal_str(m->type, bk_exchange_type_name(exchange->type)))
		return bk_channel_fail(
		    channel, AMQC_PRECONDITION_FAILED,
		    "inequivalent arg 'type' for exchange '%.*s' in vhost '%.*s': received '%.*s' but "
		    "current is '%s'",
		    SPAN_ARG(bk_name_span(&exchange->name)), VHOST_ARG(channel), SPAN_ARG(m->type),
		    bk_exchange_type_name(exchange->type));
	return bool_equivalent(channel, exchange, "durable", m->durable, exchange->durable) &&
	       bool_equivalent(channel, exchange, "auto_delete", m->auto_delete, exchange->auto_delete) &&
	       bool_equivalent(channel, exchange, "internal", m->internal, exchange->internal) &&
	       bk_argument_equivalent(channel, "exchange", bk_name_span(&exchange->name),
				      "alternate-exchange", given ? &received : NULL,
				      exchange->alternate.len > 0 ? &current : NULL);
}

static bool exchange_declare_new(struct channel *channel, struct span name, enum exchange_type type,
				 const struct amqc_exchange_declare *m)
{
	struct amqc_field alternate;
	struct exchange *exchange;
	bool given = amqc_table_find(m->arguments, "alternate-exchange", &alternate);

	if (span_equal_str(span_first(name, 4), "amq."))
		return bk_channel_fail(channel, AMQC_ACCESS_REFUSED,
				       "exchange name '%.*s' contains reserved prefix 'amq.*'",
				       SPAN_ARG(name));
	if (given && alternate.type != 'S')
		return bk_channel_fail(
		    channel, AMQC_PRECONDITION_FAILED,
		    "invalid type '%s' for arg 'alternate-exchange' in exchange '%.*s' in vhost '%.*s'",
		    bk_field_type_name(alternate.type), SPAN_ARG(name), VHOST_ARG(channel));
	exchange = bk_exchange_new(channel->conn->vhost, name, type);
	exchange->durable = m->durable;
	exchange->auto_delete = m->auto_delete;
	exchange->internal = m->internal;
	if (given)
		bk_name_set(&exchange->alternate, alternate.value.bytes);
	return true;
}

bool bk_exchange_declare(struct channel *channel, const struct amqc_exchange_declare *m)
{
	enum exchange_type type = EXCHANGE_DIRECT;
	struct exchange *exchange;
	struct name name;

	bk_name_set_stripped(&name, m->exchange);
	if (!m->passive && !bk_exchange_type_parse(m->type, &type))
		return bk_channel_fail(channel, AMQC_COMMAND_INVALID, "%s exchange type '%.*s'",
				       m->type.len > 0 ? "unknown" : "invalid", SPAN_ARG(m->type));
	if (!check_not_default(channel, bk_name_span(&name)))
		return false;
	exchange = bk_exchange_find(channel->conn->vhost, bk_name_span(&name));
	if (!exchange && m->passive)
		return no_exchange(channel, bk_name_span(&name));
	if (!exchange && !exchange_declare_new(channel, bk_name_span(&name), type, m))
		return false;
	if (exchange && !m->passive && !exchange_equivalent(channel, exchange, m))
		return false;
	return exchange_declare_ok(channel, m->no_wait);
}

bool bk_exchange_remove(struct channel *channel, const struct amqc_exchange_delete *m)
{
	struct amqc_method reply = {.id = AMQC_EXCHANGE_DELETE_OK};
	struct exchange *exchange;

	if (!check_not_default(channel, m->exchange))
		return false;
	if (span_equal_str(span_first(m->exchange, 4), "amq."))
		return bk_channel_fail(channel, AMQC_ACCESS_REFUSED,
				       "deletion of system exchange '%.*s' in vhost '%.*s' not allowed",
				       SPAN_ARG(m->exchange), VHOST_ARG(channel));
	exchange = find_stripped(channel, m->exchange);
	if (exchange && m->if_unused && !list_empty(&exchange->bindings))
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
				       "exchange '%.*s' in vhost '%.*s' in use", SPAN_ARG(m->exchange),
				       VHOST_ARG(channel));
	if (exchange)
		bk_exchange_delete(exchange);
	if (!m->no_wait)
		bk_channel_reply(channel, &reply);
	return true;
}

static bool check_match(struct channel *channel, const struct exchange *source, struct span arguments)
{
	static const char *const modes[] = {"all", "any", "all-with-x", "any-with-x"};
	struct amqc_field mode;
	int64_t number = 0;

	if (source->type != EXCHANGE_HEADERS || !amqc_table_find(arguments, "x-match", &mode))
		return true;
	if (mode.type != 'S') {
		bk_field_integer(&mode, &number);
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
				       "Invalid x-match field type %s (value %lld); expected longstr",
				       bk_field_type_name(mode.type), (long long)number);
	}
	for (unsigned int i = 0; i < 4; i++)
		if (span_equal_str(mode.value.bytes, modes[i]))
			return true;
	return bk_channel_fail(
	    channel, AMQC_PRECONDITION_FAILED,
	    "Invalid x-match field value <<\"%.*s\">>; expected all, any, all-with-x, or any-with-x",
	    SPAN_ARG(mode.value.bytes));
}

/* Unbinding what is not there is fine. */
static bool change_binding(struct channel *channel, const struct binding_spec *spec, bool add)
{
	if (!add) {
		if (spec->source && (spec->queue || spec->exchange))
			bk_binding_remove(spec);
		return true;
	}
	if (!check_match(channel, spec->source, spec->arguments))
		return false;
	bk_binding_add(spec);
	return true;
}

bool bk_exchange_bind(struct channel *channel, const struct amqc_exchange_bind *m, bool add)
{
	struct amqc_method reply = {.id = add ? AMQC_EXCHANGE_BIND_OK : AMQC_EXCHANGE_UNBIND_OK};
	struct binding_spec spec = {.key = m->routing_key, .arguments = m->arguments};

	if (!check_not_default(channel, m->destination) || !check_not_default(channel, m->source))
		return false;
	spec.source = find_stripped(channel, m->source);
	spec.exchange = find_stripped(channel, m->destination);
	if (add && !spec.source)
		return no_exchange(channel, m->source);
	if (add && !spec.exchange)
		return no_exchange(channel, m->destination);
	if (!change_binding(channel, &spec, add))
		return false;
	if (!m->no_wait)
		bk_channel_reply(channel, &reply);
	return true;
}

bool bk_queue_bind(struct channel *channel, const struct amqc_queue_bind *m, bool add)
{
	struct amqc_method reply = {.id = add ? AMQC_QUEUE_BIND_OK : AMQC_QUEUE_UNBIND_OK};
	struct binding_spec spec = {.key = m->routing_key, .arguments = m->arguments};
	struct span name;

	if (m->queue.len == 0 && channel->last_queue.len == 0)
		return bk_channel_fail(channel, AMQC_NOT_FOUND, "no previously declared queue");
	name = bk_channel_resolve_queue(channel, m->queue);
	if (m->queue.len == 0 && m->routing_key.len == 0)
		spec.key = name;
	if (!check_not_default(channel, m->exchange))
		return false;
	spec.source = find_stripped(channel, m->exchange);
	spec.queue = bk_channel_queue_or_null(channel, name);
	if (spec.queue && !bk_channel_check_owner(channel, spec.queue))
		return false;
	if (add && !spec.source)
		return no_exchange(channel, m->exchange);
	if (add && !spec.queue)
		return bk_channel_fail(channel, AMQC_NOT_FOUND, "no queue '%.*s' in vhost '%.*s'",
				       SPAN_ARG(name), VHOST_ARG(channel));
	if (!change_binding(channel, &spec, add))
		return false;
	if (!m->no_wait)
		bk_channel_reply(channel, &reply);
	return true;
}
