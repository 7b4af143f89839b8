#include "daemon/mux/queues.h"

#include "daemon/amqp/reply.h"
#include "daemon/base/log.h"
#include "daemon/mux/channel.h"
#include "daemon/mux/clash.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/queues.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/touch.h"
#include "daemon/mux/state/upstream.h"
#include "daemon/mux/topology.h"

#include <stdlib.h>

#define NAME_DIGITS 24u /* of 5 bits each, in a name that is made here */

_Static_assert(NAME_DIGITS <= MUX_DIGEST_BYTES, "a digit for each byte");
_Static_assert(QUEUES_RESUME_LEN / 2 <= NAME_DIGITS, "half a byte of chance for each digit");

struct span *queues_of_method(struct amqc_method *method)
{
	switch (method->id) {
	case AMQC_QUEUE_DECLARE:
		return &method->queue_declare.queue;
	case AMQC_QUEUE_BIND:
		return &method->queue_bind.queue;
	case AMQC_QUEUE_UNBIND:
		return &method->queue_unbind.queue;
	case AMQC_QUEUE_PURGE:
		return &method->queue_purge.queue;
	case AMQC_QUEUE_DELETE:
		return &method->queue_delete.queue;
	case AMQC_BASIC_CONSUME:
		return &method->basic_consume.queue;
	case AMQC_BASIC_GET:
		return &method->basic_get.queue;
	default:
		return NULL;
	}
}

static void remember_last(struct channel *channel, struct span name)
{
	if (name.len > sizeof(channel->last_queue))
		return; /* refused later on, by the codec */
	/* A passive declare may name none. */
	if (name.len > 0)
		memcpy(channel->last_queue, name.data, name.len);
	channel->last_queue_len = (uint8_t)name.len;
}

static struct fault no_memory(void)
{
	return fault_make_retryable(AMQC_RESOURCE_ERROR, "no memory for a queue's name");
}

/* The prefix and base32 digits; what they are made of is spread evenly. */
static struct span name_from(const struct upstream *upstream, const uint8_t bytes[NAME_DIGITS], char *name)
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
	size_t len = strlen(upstream->options.queue_prefix);

	memcpy(name, upstream->options.queue_prefix, len);
	for (size_t i = 0; i < NAME_DIGITS; i++)
		name[len + i] = digits[bytes[i] % 32];
	return span_make(name, len + NAME_DIGITS);
}

/* The name that belongs to a token. False: no memory. */
static bool name_of_token(const struct upstream *upstream, struct span token, char *name, struct span *ret)
{
	const struct mux_options *options = &upstream->mux->options;
	uint8_t digest[MUX_DIGEST_BYTES];

	if (!options->digest(options->context, token, digest))
		return false;
	*ret = name_from(upstream, digest, name);
	return true;
}

static bool generate_name(const struct upstream *upstream, struct queue_naming *naming, struct span *ret)
{
	const struct mux_options *options = &upstream->mux->options;
	uint8_t random[NAME_DIGITS];

	options->random(options->context, random, sizeof(random));
	naming->resume = SPAN_NULL;
	if (!options->digest) {
		*ret = name_from(upstream, random, naming->name);
		return true;
	}
	for (size_t i = 0; i < sizeof(naming->token); i++)
		naming->token[i] = "0123456789abcdef"[(random[i / 2] >> (i % 2 ? 0 : 4)) & 15];
	naming->resume = span_make(naming->token, sizeof(naming->token));
	return name_of_token(upstream, naming->resume, naming->name, ret);
}

static bool is_reserved(const struct upstream *upstream, struct span name)
{
	size_t len = strlen(upstream->options.queue_prefix);

	return len > 0 && name.len >= len && memcmp(name.data, upstream->options.queue_prefix, len) == 0;
}

static struct owned_queue *find_owned(const struct upstream *upstream, struct span name)
{
	struct map_node *node = map_find(&upstream->queues, name);

	return node ? container_of(node, struct owned_queue, map_node) : NULL;
}

/*
 * RabbitMQ takes carriage returns and line feeds out of the names in these
 * methods (rabbit_channel, strip_cr_lf). Done here, so that both mean the same
 * thing by a name, and access rules see the name that counts.
 */
static void strip_line_ends(struct span *of, char name[QUEUES_NAME_MAX])
{
	size_t len = 0;

	if (of->len == 0 || of->len > QUEUES_NAME_MAX ||
	    (!memchr(of->data, '\r', of->len) && !memchr(of->data, '\n', of->len)))
		return;
	for (size_t i = 0; i < of->len; i++) {
		if (of->data[i] != '\r' && of->data[i] != '\n')
			name[len++] = (char)of->data[i];
	}
	*of = span_make(name, len);
}

static void strip_exchanges(struct amqc_method *method, struct queue_naming *naming)
{
	switch (method->id) {
	case AMQC_EXCHANGE_DECLARE:
		strip_line_ends(&method->exchange_declare.exchange, naming->exchange);
		break;
	case AMQC_EXCHANGE_DELETE:
		strip_line_ends(&method->exchange_delete.exchange, naming->exchange);
		break;
	case AMQC_EXCHANGE_BIND:
		strip_line_ends(&method->exchange_bind.source, naming->exchange);
		strip_line_ends(&method->exchange_bind.destination, naming->name);
		break;
	case AMQC_EXCHANGE_UNBIND:
		strip_line_ends(&method->exchange_unbind.source, naming->exchange);
		strip_line_ends(&method->exchange_unbind.destination, naming->name);
		break;
	case AMQC_QUEUE_BIND:
		strip_line_ends(&method->queue_bind.exchange, naming->exchange);
		break;
	case AMQC_QUEUE_UNBIND:
		strip_line_ends(&method->queue_unbind.exchange, naming->exchange);
		break;
	default:
		break;
	}
}

static bool keeps_line_ends(enum amqc_method_id method)
{
	return method == AMQC_QUEUE_PURGE || method == AMQC_BASIC_CONSUME || method == AMQC_BASIC_GET;
}

/* A reserved name may be declared by whose exclusive queue it is, and by who shows its token. */
static bool may_declare_reserved(const struct channel *channel, struct span resume, struct span name,
				 struct fault *ret_fault)
{
	const struct upstream *upstream = channel->upstream;
	const struct owned_queue *owned = find_owned(upstream, name);
	bool shows = upstream->mux->options.digest && resume.len == QUEUES_RESUME_LEN;
	struct span right = SPAN_NULL;
	char room[QUEUES_NAME_MAX];

	if (shows && !name_of_token(upstream, resume, room, &right)) {
		*ret_fault = no_memory();
		return false;
	}
	if (shows && span_equal(right, name))
		return true;
	if (resume.len == 0 && owned && owned->session == channel->session)
		return true;
	*ret_fault = fault_make(
	    AMQC_ACCESS_REFUSED,
	    "ACCESS_REFUSED - queue names that begin with '%s' are made by muxd, and can be declared "
	    "again with the resume token that came with them; %s",
	    upstream->options.queue_prefix, resume.len == 0 ? "there was none" : "this is another one");
	return false;
}

static bool prepare_declare(struct channel *channel, struct amqc_queue_declare *declare,
			    struct queue_naming *naming, struct fault *ret_fault)
{
	if (declare->queue.len == 0 && !declare->passive) {
		if (!generate_name(channel->upstream, naming, &declare->queue)) {
			*ret_fault = no_memory();
			return false;
		}
	} else if (declare->passive || !is_reserved(channel->upstream, declare->queue)) {
		naming->resume = SPAN_NULL;
	} else if (!may_declare_reserved(channel, naming->resume, declare->queue, ret_fault)) {
		return false;
	}
	remember_last(channel, declare->queue);
	return true;
}

/* Declared, and the broker has not answered yet. */
static bool is_claim(const struct owned_queue *owned)
{
	return owned && owned->state == OWNED_DECLARING;
}

static bool declares_exclusively(const struct amqc_method *method)
{
	return method->id == AMQC_QUEUE_DECLARE && method->queue_declare.exclusive &&
	       !method->queue_declare.passive;
}

static bool is_live(const struct owned_queue *owned)
{
	return owned && owned->session;
}

/* Whether the queue is nobody's, or this session's. */
static bool may_use(const struct upstream *upstream, struct span name, const struct session *session,
		    struct fault *ret_fault)
{
	const struct owned_queue *owned = find_owned(upstream, name);
	char text[128];

	if (!owned || (owned->session && owned->session == session))
		return true;
	*ret_fault = fault_make(AMQC_RESOURCE_LOCKED,
				"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '%s'",
				log_clean(text, sizeof(text), name));
	/* One whose session has ended is about to go. */
	ret_fault->retryable = !owned->session;
	return false;
}

bool queues_prepare(struct channel *channel, struct amqc_method *method, struct queue_naming *naming,
		    struct fault *ret_fault)
{
	struct span *queue = queues_of_method(method);

	strip_exchanges(method, naming);
	if (!queue)
		return true;
	if (!keeps_line_ends(method->id))
		strip_line_ends(queue, naming->name);
	if (method->id == AMQC_QUEUE_DECLARE)
		return prepare_declare(channel, &method->queue_declare, naming, ret_fault);
	if (queue->len > 0)
		return true;
	if (channel->last_queue_len == 0) {
		*ret_fault = fault_make(AMQC_NOT_FOUND, "NOT_FOUND - no previously declared queue");
		return false;
	}
	*queue = span_make(channel->last_queue, channel->last_queue_len);
	return true;
}

bool queues_may_use(const struct channel *channel, struct amqc_method *method, struct fault *ret_fault)
{
	const struct span *queue = queues_of_method(method);

	if (!queue || (is_claim(find_owned(channel->upstream, *queue)) && !declares_exclusively(method)))
		return true;
	return may_use(channel->upstream, *queue, channel->session, ret_fault);
}

bool queues_are_undecided(const struct request *request)
{
	const struct channel *channel = request->op.channel;
	const struct owned_queue *owned;
	struct amqc_method method;
	const struct span *queue;

	if (channel->upstream->queues.count == 0 || request->queue || request->thing ||
	    !request_decode(request, &method))
		return false;
	queue = queues_of_method(&method);
	owned = queue ? find_owned(channel->upstream, *queue) : NULL;
	return is_claim(owned) && owned->session != channel->session &&
	       !topology_is_shared(channel->upstream, *queue);
}

bool queues_may_send(const struct request *request, struct fault *ret_fault)
{
	struct upstream *upstream = request->op.channel->upstream;
	struct amqc_method method;
	struct span *queue;

	/* What has a claim to the queue itself (request->queue) waited for nobody. */
	if (upstream->queues.count == 0 || request->queue || request->thing ||
	    !request_decode(request, &method))
		return true;
	queue = queues_of_method(&method);
	if (queue && is_claim(find_owned(upstream, *queue)) && topology_is_shared(upstream, *queue))
		return true;
	if (!queue || (!request->op.channel->session && !is_live(find_owned(upstream, *queue))))
		return true; /* of a session that has ended, about what may have been its own */
	return may_use(upstream, *queue, request->op.channel->session, ret_fault);
}

static void owned_free(struct owned_queue *owned)
{
	owned->upstream->queue_freed = true;
	map_remove(&owned->upstream->queues, &owned->map_node);
	list_unlink(&owned->node);
	free(owned);
}

static struct owned_queue *owned_new(struct channel *channel, struct span name)
{
	struct owned_queue *owned = calloc(1, sizeof(*owned));

	if (!owned)
		return NULL;
	owned->upstream = channel->upstream;
	owned->session = channel->session;
	owned->state = OWNED_DECLARING;
	owned->name_len = (uint8_t)name.len;
	memcpy(owned->name, name.data, name.len);
	list_init(&owned->node);
	if (map_add(&channel->upstream->queues, &owned->map_node, span_make(owned->name, owned->name_len)) <
	    0) {
		free(owned);
		return NULL;
	}
	list_append(&channel->session->owned, &owned->node);
	return owned;
}

bool queues_accept(struct request *request, struct channel *channel, const struct amqc_method *method)
{
	struct owned_queue *owned;

	if (method->id == AMQC_QUEUE_DELETE) {
		owned = find_owned(channel->upstream, method->queue_delete.queue);
		if (owned && owned->session == channel->session)
			request->queue = owned;
	} else if (declares_exclusively(method)) {
		owned = find_owned(channel->upstream, method->queue_declare.queue);
		if (!owned)
			owned = owned_new(channel, method->queue_declare.queue);
		if (!owned)
			return false;
		request->queue = owned;
	}
	if (request->queue)
		request->queue->pending++;
	return true;
}

/* Asks the broker to delete it, by a request of the upstream's own. */
static void delete_at_broker(struct owned_queue *owned)
{
	struct upstream *upstream = owned->upstream;
	struct amqc_method method = {.id = AMQC_QUEUE_DELETE};
	struct request *request;

	if (!upstream->housekeeper)
		upstream->housekeeper = channel_new_own(upstream);
	method.queue_delete.queue = span_make(owned->name, owned->name_len);
	owned->state = OWNED_DELETING;
	if (!upstream->housekeeper ||
	    request_queue(upstream->housekeeper, &method, 0, UINT64_MAX, &request) != AMQC_OK) {
		log_error("no memory to delete an exclusive queue of a session that has ended");
		return;
	}
	request->queue = owned;
	owned->pending++;
	channel_send(upstream->housekeeper);
}

/* A request about the queue has ended: what follows from that when nothing else is under way. */
static void owned_settle(struct owned_queue *owned)
{
	if (owned->pending > 0 || owned->state == OWNED_LEFT)
		return;
	if (owned->state != OWNED_DECLARED)
		owned_free(owned);
	else if (!owned->session)
		delete_at_broker(owned);
}

void queues_request_failed(struct request *request)
{
	struct owned_queue *owned = request->queue;

	if (!owned)
		return;
	request->queue = NULL;
	owned->pending--;
	owned_settle(owned);
}

/*
 * Answers of one channel come in the order in which things were done; those of
 * two do not. If a declare was answered on one while the deletion was under way
 * on another, the queue may be there or not: it counts as being there.
 */
static void note_done(struct owned_queue *owned, const struct request *request)
{
	const struct channel *channel = request->op.channel;

	if (request->method == AMQC_QUEUE_DECLARE) {
		owned->state = OWNED_DECLARED;
		owned->declared_beside = owned->pending > 0 ? channel : NULL;
	} else if (!owned->declared_beside || owned->declared_beside == channel) {
		owned->state = OWNED_DELETING;
	}
	if (owned->pending == 0)
		owned->declared_beside = NULL;
}

void queues_request_done(struct request *request)
{
	struct owned_queue *owned = request->queue;

	if (!owned)
		return;
	request->queue = NULL;
	owned->pending--;
	note_done(owned, request);
	owned->upstream->queue_freed = true; /* or not: who waits for it is told */
	owned_settle(owned);
}

/*
 * The broker's permissions may have changed. What is in the queue was meant
 * for a session that is gone: so nobody else may have it, until it goes with
 * the connection. It is not tried again, for by then it may have gone by itself
 * and be another's.
 */
static void leave(struct owned_queue *owned, const struct fault *fault)
{
	char text[128];

	owned->state = OWNED_LEFT;
	log_upstream(
	    LOG_LEVEL_WARNING, owned->upstream,
	    "the exclusive queue '%s' of a session that has ended cannot be deleted, and is locked for "
	    "as long as this connection lasts: %s",
	    log_clean(text, sizeof(text), owned->map_node.key), fault->text);
}

void queues_deletion_refused(struct upstream *upstream, const struct fault *fault)
{
	struct channel *channel = upstream->housekeeper;
	struct request *request, *tmp, *culprit = NULL;
	struct list again;

	list_init(&again);
	list_foreach_safe (request, tmp, &channel->lane->awaiting, op.node) {
		if (request->op.channel != channel)
			continue;
		list_unlink(&request->op.node);
		request->sent = false;
		clash_ended(request);
		if (culprit)
			list_append(&again, &request->op.node);
		else
			culprit = request;
	}
	list_splice(&again, &channel->queue);
	list_splice(&channel->queue, &again);
	if (!culprit)
		return;
	if (fault->code == AMQC_ACCESS_REFUSED && culprit->queue)
		leave(culprit->queue, fault);
	queues_request_failed(culprit);
	request_drop(culprit);
}

void queues_session_ends(struct session *session)
{
	/* What was left behind may go on as if it were the claim's own: see queues_are_undecided(). */
	if (session->upstream->queues.count > 0)
		session->upstream->queue_freed = true;
	while (!list_empty(&session->owned)) {
		struct owned_queue *owned = container_of(session->owned.next, struct owned_queue, node);

		list_unlink(&owned->node);
		owned->session = NULL;
		/* With its bindings, and the auto-delete exchanges that had no others. */
		if (owned->state == OWNED_DECLARED)
			topology_queue_gone(owned->upstream, owned->map_node.key);
		owned_settle(owned);
	}
}

bool queues_are_owned(const struct upstream *upstream, struct span name)
{
	return is_live(find_owned(upstream, name));
}

void queues_lost(struct upstream *upstream, struct span name)
{
	struct owned_queue *owned = find_owned(upstream, name);

	if (!owned)
		return;
	/* A declare that still waits to be sent keeps its claim. */
	if (owned->pending == 0)
		owned_free(owned);
	else
		owned->state = OWNED_DECLARING;
}

void queues_connection_lost(struct upstream *upstream)
{
	static const struct fault fault = {.code = AMQC_CONNECTION_FORCED};

	/* What was to be deleted is gone; on the next connection the name may be another's. */
	if (upstream->housekeeper) {
		channel_refuse_waiting(upstream->housekeeper, &fault);
		channel_touch(upstream->housekeeper);
	}
	for (size_t i = 0; i < upstream->queues.bucket_count; i++) {
		struct map_node *node, *next;

		for (node = upstream->queues.buckets[i]; node; node = next) {
			struct owned_queue *owned = container_of(node, struct owned_queue, map_node);

			next = node->next;
			/* Its session will have it again. */
			if (owned->session && owned->state == OWNED_DECLARED &&
			    topology_has_queue(upstream, owned->map_node.key))
				continue;
			queues_lost(upstream, owned->map_node.key);
		}
	}
}
