#include "config.h" /* before any system header: memmem() needs its _GNU_SOURCE */

#include "daemon/mux/probe.h"

#include "daemon/amqp/reply.h"
#include "daemon/amqp/table.h"
#include "daemon/base/log.h"
#include "daemon/mux/flow.h"
#include "daemon/mux/kinds.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/queues.h"
#include "daemon/mux/state/upstream.h"

#include <stdlib.h>

#define STEPS_MAX 16u			 /* arguments that a queue may have */
#define PROBES_MAX 1024u		 /* answers kept */
#define UNKNOWN_USEC (10 * USEC_PER_SEC) /* so long nothing being known holds */
#define REFUSED_USEC (60 * USEC_PER_SEC) /* an exchange type that the broker has not: a plugin may come */
#define KNOWN_USEC (600 * USEC_PER_SEC)

enum probe_subject {
	PROBE_QUEUE,
	PROBE_EXCHANGE_TYPE
};

struct probe {
	struct trial trial;
	struct list node; /* in upstream->probes, asked last at the end */
	struct upstream *upstream;
	enum probe_subject subject;
	bool over;
	struct mono until;  /* the answer holds */
	struct fault fault; /* of an exchange type that the broker has not */
	unsigned int steps;
	struct buf arguments; /* of the queue, as far as they are known */
	uint8_t name_len;
	char name[255];
};

/* ------------------------------------------------------------------ what is asked */

/* NULL: the request depends on nothing of the kind. */
static const struct span *subject_of(const struct amqc_method *method, enum probe_subject *ret)
{
	if (method->id != AMQC_EXCHANGE_DECLARE) {
		*ret = PROBE_QUEUE;
		return kinds_subject(method);
	}
	*ret = PROBE_EXCHANGE_TYPE;
	return method->exchange_declare.passive ? NULL : &method->exchange_declare.type;
}

static bool is_of_amqp(struct span type)
{
	static const char *const types[] = {"direct", "fanout", "topic", "headers"};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (span_equal_str(type, types[i]))
			return true;
	}
	return false;
}

bool probe_is_needed(const struct channel *channel, const struct amqc_method *method)
{
	enum probe_subject subject;
	const struct span *name = subject_of(method, &subject);

	if (!name || name->len > UINT8_MAX)
		return false;
	if (subject == PROBE_EXCHANGE_TYPE)
		return !is_of_amqp(*name);
	return channel->upstream->ops->scout_dial && kinds_find(channel, *name) == QUEUE_UNKNOWN;
}

/* ------------------------------------------------------------------ asking */

static struct probe *find(struct upstream *upstream, enum probe_subject subject, struct span name)
{
	struct probe *probe;

	list_foreach (probe, &upstream->probes, node) {
		if (probe->subject == subject && span_equal(name, span_make(probe->name, probe->name_len)))
			return probe;
	}
	return NULL;
}

static void probe_free(struct probe *probe)
{
	trial_deinit(&probe->trial);
	buf_deinit(&probe->arguments);
	list_unlink(&probe->node);
	probe->upstream->probe_count--;
	free(probe);
}

/* The first argument names a type that there is not, so that nothing is ever made. */
static void ask_for_kind(struct probe *probe)
{
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};
	struct buf arguments = BUF_INIT;

	amqc_field_append_str(&arguments, "x-queue-type", SPAN_NULL);
	buf_append_span(&arguments, buf_span(&probe->arguments));
	method.queue_declare.queue = span_make(probe->name, probe->name_len);
	method.queue_declare.durable = true;
	method.queue_declare.arguments = buf_span(&arguments);
	buf_truncate(&probe->trial.frames, 0);
	(void)amqc_method_append(&probe->trial.frames, 0, &method);
	buf_deinit(&arguments);
	scout_try(&probe->upstream->scout, &probe->trial);
}

static void end_probe(struct probe *probe, uint64_t holds_usec)
{
	probe->over = true;
	probe->until = mono_add_usec(probe->upstream->mux->now, holds_usec);
	buf_deinit(&probe->trial.frames);
	buf_deinit(&probe->arguments);
	flow_release(probe->upstream);
}

/* ------------------------------------------------------------------ the broker's words */

/* What stands between two texts, the first of them found from the left; SPAN_NULL if they are not there. */
static struct span between(struct span text, const char *left, const char *right)
{
	const uint8_t *begin = memmem(text.data, text.len, left, strlen(left)), *end;
	struct span rest;

	if (!begin)
		return SPAN_NULL;
	rest = span_skip(text, (size_t)(begin - text.data) + strlen(left));
	end = memmem(rest.data, rest.len, right, strlen(right));
	return end ? span_first(rest, (size_t)(end - rest.data)) : SPAN_NULL;
}

/* What the queue has: behind the last of these words, for a name may hold them too. */
static struct span current(struct span text)
{
	static const char words[] = " but current is ";
	struct span rest = SPAN_NULL;
	const uint8_t *at;

	while ((at = memmem(text.data, text.len, words, sizeof(words) - 1))) {
		text = span_skip(text, (size_t)(at - text.data) + sizeof(words) - 1);
		rest = text;
	}
	return rest;
}

static enum queue_kind kind_told(struct span now)
{
	if (now.len == 0)
		return QUEUE_UNKNOWN; /* another error than the one that tells */
	if (span_equal_str(now, "none"))
		return QUEUE_CLASSIC;
	if (memmem(now.data, now.len, "'classic'", 9))
		return QUEUE_CLASSIC;
	if (memmem(now.data, now.len, "'quorum'", 8))
		return QUEUE_QUORUM;
	return memmem(now.data, now.len, "'stream'", 8) ? QUEUE_STREAM : QUEUE_UNKNOWN;
}

/* "the value '600000' of type 'signedint'", as a field. False: of a type that is not expected here. */
static bool append_argument(struct buf *arguments, struct span name, struct span now)
{
	struct span value = between(now, "the value '", "' of type '");
	struct span type = between(now, "' of type '", "'");
	struct amqc_field field = {0};
	char digits[32];

	if (span_equal_str(type, "longstr")) {
		field.type = 'S';
		field.value.bytes = value;
	} else if (span_equal_str(type, "bool")) {
		field.type = 't';
		field.value.boolean = span_equal_str(value, "true");
	} else if (value.len > 0 && value.len < sizeof(digits)) {
		/* Of numbers the broker compares the value. */
		memcpy(digits, value.data, value.len);
		digits[value.len] = '\0';
		field.type = 'l';
		field.value.signed_int = strtoll(digits, NULL, 10);
	} else {
		return false;
	}
	return amqc_field_append(arguments, &name, &field) == AMQC_OK && !buf_failed(arguments);
}

/* What is known now; QUEUE_UNKNOWN and *ret_more: something to ask again with was learned. */
static enum queue_kind understand(struct probe *probe, const struct fault *fault, bool *ret_more)
{
	struct span text = fault_text(fault);
	struct span name = between(text, "inequivalent arg '", "'");

	/* Somebody's exclusive queue, or one that is not durable, or auto-delete: those are classic. */
	if (fault->code == AMQC_RESOURCE_LOCKED || span_equal_str(name, "durable") ||
	    span_equal_str(name, "auto_delete") || span_equal_str(name, "exclusive"))
		return QUEUE_CLASSIC;
	if (fault->code != AMQC_PRECONDITION_FAILED || name.len == 0)
		return QUEUE_UNKNOWN; /* there is none, or we may not ask */
	if (span_equal_str(name, "x-queue-type"))
		return kind_told(current(text));
	*ret_more = ++probe->steps < STEPS_MAX && append_argument(&probe->arguments, name, current(text));
	return QUEUE_UNKNOWN;
}

static void on_kind(struct trial *trial, enum scout_verdict verdict, const struct fault *fault)
{
	struct probe *probe = container_of(trial, struct probe, trial);
	enum queue_kind kind = QUEUE_UNKNOWN;
	bool more = false;

	if (verdict == SCOUT_REFUSED)
		kind = understand(probe, fault, &more);
	if (more) {
		ask_for_kind(probe);
		return;
	}
	if (kind != QUEUE_UNKNOWN)
		kinds_learned(probe->upstream, span_make(probe->name, probe->name_len), kind);
	end_probe(probe, UNKNOWN_USEC);
}

static struct fault unknown_type(struct span type, const char *why)
{
	char text[64];

	return fault_make_retryable(
	    AMQC_COMMAND_INVALID,
	    "COMMAND_INVALID - unknown exchange type '%s': it is none of AMQP's, and the "
	    "broker could not be asked: %s",
	    log_clean(text, sizeof(text), type), why);
}

static void on_type(struct trial *trial, enum scout_verdict verdict, const struct fault *fault)
{
	struct probe *probe = container_of(trial, struct probe, trial);

	if (verdict == SCOUT_KILLED)
		probe->fault = *fault;
	else if (verdict == SCOUT_CANNOT)
		probe->fault = unknown_type(span_make(probe->name, probe->name_len), fault->text);
	probe->fault.retryable = verdict == SCOUT_CANNOT;
	end_probe(probe, verdict == SCOUT_KILLED ? REFUSED_USEC
						 : (verdict == SCOUT_CANNOT ? UNKNOWN_USEC : KNOWN_USEC));
}

/* ------------------------------------------------------------------ requests */

/* Those whose time is over, and the oldest if they are too many. */
static void prune(struct upstream *upstream)
{
	struct probe *probe, *tmp;

	list_foreach_safe (probe, tmp, &upstream->probes, node) {
		if (probe->over &&
		    (!mono_before(upstream->mux->now, probe->until) || upstream->probe_count > PROBES_MAX))
			probe_free(probe);
	}
}

/* NULL: no memory. */
static struct probe *start(struct upstream *upstream, enum probe_subject subject, struct span name,
			   const struct request *request)
{
	struct probe *probe = calloc(1, sizeof(*probe));

	if (!probe)
		return NULL;
	prune(upstream);
	probe->upstream = upstream;
	probe->subject = subject;
	probe->name_len = (uint8_t)name.len;
	if (name.len > 0)
		memcpy(probe->name, name.data, name.len);
	list_append(&upstream->probes, &probe->node);
	upstream->probe_count++;
	trial_init(&probe->trial, subject == PROBE_QUEUE ? on_kind : on_type);
	if (subject == PROBE_QUEUE) {
		ask_for_kind(probe);
	} else {
		buf_append(&probe->trial.frames, request->frame, request->frame_len);
		scout_try(&upstream->scout, &probe->trial);
	}
	return probe;
}

bool probe_must_wait(const struct request *request)
{
	struct upstream *upstream = request->op.channel->upstream;
	enum probe_subject subject;
	struct amqc_method method;
	const struct span *name;
	struct probe *probe;

	if (!request_decode(request, &method) || !(name = subject_of(&method, &subject)))
		return false;
	if (!upstream->ops->scout_dial ||
	    (subject == PROBE_QUEUE && kinds_find(request->op.channel, *name) != QUEUE_UNKNOWN))
		return false;
	probe = find(upstream, subject, *name);
	if (probe && probe->over && !mono_before(upstream->mux->now, probe->until)) {
		probe_free(probe);
		probe = NULL;
	}
	if (!probe)
		probe = start(upstream, subject, *name, request);
	return probe && !probe->over;
}

bool probe_may_send(const struct request *request, struct fault *ret_fault)
{
	enum probe_subject subject;
	struct amqc_method method;
	const struct span *name;
	const struct probe *probe;

	if (!request_decode(request, &method) || !(name = subject_of(&method, &subject)))
		return true;
	if (subject == PROBE_QUEUE)
		return kinds_vet(request->op.channel, &method, ret_fault);
	probe = find(request->op.channel->upstream, subject, *name);
	*ret_fault = probe ? probe->fault : unknown_type(*name, "there is no second connection");
	return !fault_is_set(ret_fault);
}

void probes_init(struct upstream *upstream)
{
	list_init(&upstream->probes);
}

void probes_deinit(struct upstream *upstream)
{
	while (!list_empty(&upstream->probes))
		probe_free(container_of(upstream->probes.next, struct probe, node));
}
