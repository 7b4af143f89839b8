#include "daemon/gate.h"

#include "daemon/translate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A rule's own arrays; the strings are conf's. */
struct rule_parts {
	struct access_id *users;
	struct access_id *groups;
	const char **upstreams;
};

struct gate {
	struct access *access;
	struct limits limits; /* of everyone */
};

/* ------------------------------------------------------------------ the rules */

static int translate_id(const struct conf *conf, const struct conf_id *id, bool is_user,
			struct conf_errors *errors, struct access_id *to)
{
	const char *kind = is_user ? "user" : "group";
	int r;

	*to = (struct access_id){id->first, id->last, id->name != NULL};
	if (!id->name)
		return 0;
	r = is_user ? translate_find_user(id->name, &to->first) : translate_find_group(id->name, &to->first);
	to->last = to->first;
	if (r == -ENOENT) {
		translate_error(errors, "%s:%u: there is no %s \"%s\" on this host", conf->path, id->line,
				kind, id->name);
		return -EINVAL;
	}
	if (r < 0)
		translate_error(errors, "%s:%u: %s \"%s\" cannot be looked up: %s", conf->path, id->line,
				kind, id->name, strerror(-r));
	return r;
}

/*
 * A name that nobody has is an error: left out, a rule of one user would be a
 * rule for all.
 */
static int translate_ids(const struct conf *conf, const struct conf_ids *from, bool are_users,
			 struct conf_errors *errors, struct access_id *to)
{
	int r = 0;

	for (size_t i = 0; i < from->count; i++) {
		int one = translate_id(conf, &from->items[i], are_users, errors, &to[i]);

		r = one < 0 ? one : r;
	}
	return r;
}

static int translate_rule(const struct conf *conf, const struct conf_access *from, struct conf_errors *errors,
			  struct access_rule *to, struct rule_parts *parts)
{
	int users;
	int groups;

	parts->users = calloc(from->users.count + 1, sizeof(*parts->users));
	parts->groups = calloc(from->groups.count + 1, sizeof(*parts->groups));
	parts->upstreams = calloc(from->upstreams.count + 1, sizeof(*parts->upstreams));
	if (!parts->users || !parts->groups || !parts->upstreams)
		return -ENOMEM;
	users = translate_ids(conf, &from->users, true, errors, parts->users);
	groups = translate_ids(conf, &from->groups, false, errors, parts->groups);
	for (size_t i = 0; i < from->upstreams.count; i++)
		parts->upstreams[i] = from->upstreams.items[i].text;
	*to = (struct access_rule){
	    .name = from->name,
	    .users = parts->users,
	    .user_count = from->users.count,
	    .groups = parts->groups,
	    .group_count = from->groups.count,
	    .upstreams = parts->upstreams,
	    .upstream_count = from->upstreams.count,
	    .configure = from->configure,
	    .write = from->write,
	    .read = from->read,
	    .control = from->control,
	    .limits = {from->limits.session_memory_bytes, from->limits.message_max_bytes,
		       from->limits.sessions_per_uid, from->limits.channels_per_session,
		       from->limits.prefetch},
	};
	return users < 0 ? users : groups;
}

static int compile_rules(struct gate *gate, const struct conf *conf, const struct access_rule *rules,
			 struct conf_errors *errors)
{
	struct access_error error;
	int r = access_new(rules, conf->access_count, geteuid(), &gate->access, &error);

	if (r == -EINVAL)
		translate_error(errors, "%s:%u: access \"%s\": %s, at byte %zu: %s", conf->path,
				conf->accesses[error.rule].line, rules[error.rule].name, error.pattern,
				error.offset, error.text);
	return r;
}

static void free_parts(struct rule_parts *parts, size_t count)
{
	for (size_t i = 0; parts && i < count; i++) {
		free(parts[i].users);
		free(parts[i].groups);
		free(parts[i].upstreams);
	}
	free(parts);
}

int gate_new(const struct conf *conf, struct conf_errors *errors, struct gate **ret)
{
	struct gate *gate = calloc(1, sizeof(*gate));
	struct access_rule *rules = calloc(conf->access_count + 1, sizeof(*rules));
	struct rule_parts *parts = calloc(conf->access_count + 1, sizeof(*parts));
	int r = gate && rules && parts ? 0 : -ENOMEM;

	for (size_t i = 0; i < conf->access_count && r != -ENOMEM; i++) {
		int one = translate_rule(conf, &conf->accesses[i], errors, &rules[i], &parts[i]);

		r = one < 0 ? one : r;
	}
	if (r == 0)
		r = compile_rules(gate, conf, rules, errors);
	free_parts(parts, conf->access_count);
	free(rules);
	if (r < 0) {
		free(gate);
		return r;
	}
	gate->limits = (struct limits){conf->limits.session_memory_bytes, conf->limits.message_max_bytes,
				       conf->limits.sessions_per_uid, conf->limits.channels_per_session,
				       conf->limits.prefetch};
	*ret = gate;
	return 0;
}

struct gate *gate_free(struct gate *gate)
{
	if (gate)
		access_free(gate->access);
	free(gate);
	return NULL;
}

/* ------------------------------------------------------------------ asking */

static struct access_creds creds_of(const struct mux_creds *creds)
{
	return (struct access_creds){creds->uid, creds->gid, creds->groups, creds->group_count};
}

/* The exchange that an argument makes messages go to. */
static void set_other(struct access_request *request, struct span arguments, const char *argument)
{
	struct amqc_field field;

	request->has_other = amqc_table_find(arguments, argument, &field) && field.type == 'S';
	if (request->has_other)
		request->other = field.value.bytes;
}

static bool translate_queue(const struct amqc_method *method, struct access_request *ret)
{
	switch (method->id) {
	case AMQC_QUEUE_DECLARE:
		ret->operation =
		    method->queue_declare.passive ? ACCESS_QUEUE_DECLARE_PASSIVE : ACCESS_QUEUE_DECLARE;
		ret->name = method->queue_declare.queue;
		set_other(ret, method->queue_declare.arguments, "x-dead-letter-exchange");
		return true;
	case AMQC_QUEUE_DELETE:
		ret->operation = ACCESS_QUEUE_DELETE;
		ret->name = method->queue_delete.queue;
		return true;
	case AMQC_QUEUE_PURGE:
		ret->operation = ACCESS_QUEUE_PURGE;
		ret->name = method->queue_purge.queue;
		return true;
	case AMQC_QUEUE_BIND:
		ret->operation = ACCESS_QUEUE_BIND;
		ret->name = method->queue_bind.queue;
		ret->source = method->queue_bind.exchange;
		return true;
	case AMQC_QUEUE_UNBIND:
		ret->operation = ACCESS_QUEUE_BIND;
		ret->name = method->queue_unbind.queue;
		ret->source = method->queue_unbind.exchange;
		return true;
	default:
		return false;
	}
}

static bool translate_exchange(const struct amqc_method *method, struct access_request *ret)
{
	switch (method->id) {
	case AMQC_EXCHANGE_DECLARE:
		ret->operation = method->exchange_declare.passive ? ACCESS_EXCHANGE_DECLARE_PASSIVE
								  : ACCESS_EXCHANGE_DECLARE;
		ret->name = method->exchange_declare.exchange;
		set_other(ret, method->exchange_declare.arguments, "alternate-exchange");
		return true;
	case AMQC_EXCHANGE_DELETE:
		ret->operation = ACCESS_EXCHANGE_DELETE;
		ret->name = method->exchange_delete.exchange;
		return true;
	case AMQC_EXCHANGE_BIND:
		ret->operation = ACCESS_EXCHANGE_BIND;
		ret->name = method->exchange_bind.destination;
		ret->source = method->exchange_bind.source;
		return true;
	case AMQC_EXCHANGE_UNBIND:
		ret->operation = ACCESS_EXCHANGE_BIND;
		ret->name = method->exchange_unbind.destination;
		ret->source = method->exchange_unbind.source;
		return true;
	default:
		return false;
	}
}

/* False: the method names nothing that permissions are about (qos, cancel). */
static bool translate_method(const struct amqc_method *method, struct access_request *ret)
{
	switch (method->id) {
	case AMQC_BASIC_PUBLISH:
		ret->operation = ACCESS_PUBLISH;
		ret->name = method->basic_publish.exchange;
		return true;
	case AMQC_BASIC_GET:
		ret->operation = ACCESS_GET;
		ret->name = method->basic_get.queue;
		return true;
	case AMQC_BASIC_CONSUME:
		ret->operation = ACCESS_CONSUME;
		ret->name = method->basic_consume.queue;
		return true;
	default:
		return translate_queue(method, ret) || translate_exchange(method, ret);
	}
}

void gate_turn(struct gate *gate)
{
	access_turn(gate->access);
}

bool gate_authorize(void *context, const struct mux_creds *creds, const char *upstream,
		    const struct amqc_method *method, struct fault *ret_fault)
{
	struct gate *gate = context;
	struct access_creds who = creds_of(creds);
	struct access_request request = {0};

	if (!translate_method(method, &request))
		return true;
	return access_check(gate->access, &who, upstream, &request, ret_fault);
}

bool gate_control(struct gate *gate, const struct mux_creds *creds, const char *upstream,
		  struct fault *ret_fault)
{
	struct access_creds who = creds_of(creds);
	struct access_request request = {.operation = ACCESS_CONTROL};

	return access_check(gate->access, &who, upstream, &request, ret_fault);
}

bool gate_admit(struct gate *gate, const struct mux_creds *creds, const char *upstream,
		struct limits *ret_limits, struct fault *ret_fault)
{
	struct access_creds who = creds_of(creds);
	struct access_request request = {.operation = ACCESS_ATTACH};

	if (!access_check(gate->access, &who, upstream, &request, ret_fault))
		return false;
	*ret_limits = access_limits(gate->access, &who, upstream, &gate->limits);
	return true;
}
