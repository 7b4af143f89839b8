/*
 * What sessions ask of the broker: requests and publishes, on their way from
 * the front to a channel's queue. Each is vetted, authorized, and completed
 * with what muxd knows (names, tags) before it counts.
 */
#include "daemon/amqp/reply.h"
#include "daemon/base/log.h"
#include "daemon/mux/audited.h"
#include "daemon/mux/channel.h"
#include "daemon/mux/consumer.h"
#include "daemon/mux/credit.h"
#include "daemon/mux/delivery.h"
#include "daemon/mux/kinds.h"
#include "daemon/mux/probe.h"
#include "daemon/mux/publish.h"
#include "daemon/mux/queues.h"
#include "daemon/mux/quirks.h"
#include "daemon/mux/recorder.h"
#include "daemon/mux/request.h"
#include "daemon/mux/session.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/consumer.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/touch.h"
#include "daemon/mux/state/upstream.h"
#include "daemon/mux/subscribe.h"
#include "daemon/mux/tx.h"
#include "daemon/mux/user.h"
#include "daemon/mux/vet.h"

#include <stdio.h>
#include <stdlib.h>

#define NAME_MAX_BYTES 255u
#define TAG_SHOWN_MAX 128u

static bool authorized(struct session *session, const struct amqc_method *method, struct fault *ret_fault)
{
	const struct mux_options *options = &session->mux->options;

	return !options->authorize || options->authorize(options->context, &session->creds,
							 session->upstream->options.name, method, ret_fault);
}

/* Refuses a request that did not get as far as being one. */
static void refuse(struct session *session, const struct mux_request *request, enum fault_scope scope,
		   const struct fault *fault)
{
	struct mux_channel_id id = {request->channel, session_generation(session, request->channel)};

	recorder_at_once(session, id, request->method, fault->code);
	audited_refused(session, request->method, fault);
	session->ops->refuse(session->context, request->id, id, scope, fault);
}

/* Refuses it as the broker would: the channel ends with it. */
static void refuse_with_channel(struct channel *channel, const struct mux_request *request,
				const struct fault *fault)
{
	refuse(channel->session, request, SCOPE_CHANNEL, fault);
	channel_fail(channel, fault);
}

/*
 * basic.qos is not sent by itself: each consumer brings its own prefetch. With
 * global it is kept here alone: a quorum queue's broker would end the
 * connection for it.
 */
static void set_prefetch(struct channel *channel, const struct mux_request *request)
{
	struct amqc_method reply = {.id = AMQC_BASIC_QOS_OK};
	const struct amqc_basic_qos *qos = &request->method->basic_qos;
	struct consumer *consumer;

	if (qos->global) {
		channel->unacked_max = qos->prefetch_count;
		list_foreach (consumer, &channel->consumers, node)
			subscribe_widen(consumer);
		channel_touch(channel);
	} else {
		channel->prefetch = qos->prefetch_count;
	}
	recorder_at_once(channel->session, channel->id, request->method, 0);
	channel->session->ops->reply(channel->session->context, request->id, channel->id, &reply);
}

/* Completes a basic.consume: a tag if it has none, and the broker's view of no_ack. */
static bool prepare_consume(struct channel *channel, const struct mux_request *request,
			    struct amqc_method *method, char *tag, struct fault *ret_fault)
{
	struct amqc_basic_consume *consume = &method->basic_consume;
	char shown[TAG_SHOWN_MAX];

	if (consumer_find(channel, request->consumer)) {
		*ret_fault =
		    fault_make(AMQC_NOT_ALLOWED, "NOT_ALLOWED - consumer number %u is in use on this channel",
			       request->consumer);
		return false;
	}
	if (channel->consumer_count >= CONSUMERS_PER_CHANNEL_MAX) {
		*ret_fault = fault_make(AMQC_RESOURCE_ERROR,
					"RESOURCE_ERROR - a channel has no more than %u consumers: begin "
					"others on another channel",
					CONSUMERS_PER_CHANNEL_MAX);
		return false;
	}
	if (!consume->no_ack && span_equal_str(consume->queue, DIRECT_REPLY_TO)) {
		*ret_fault = fault_make(AMQC_PRECONDITION_FAILED,
					"PRECONDITION_FAILED - reply consumer cannot acknowledge");
		return false;
	}
	if (consume->consumer_tag.len == 0) {
		/* The number may be used again before the broker has done with it: so a serial one. */
		int len = snprintf(tag, NAME_MAX_BYTES, "muxd-%llu-%u-%u-%u",
				   (unsigned long long)channel->session->id, channel->id.number,
				   channel->id.generation, ++channel->consumer_serial);

		consume->consumer_tag = span_make(tag, (size_t)len);
	}
	if (consumer_find_tag(channel, consume->consumer_tag)) {
		*ret_fault = fault_make(AMQC_NOT_ALLOWED,
					"NOT_ALLOWED - attempt to reuse consumer tag '%s' on this channel",
					log_clean(shown, sizeof(shown), consume->consumer_tag));
		return false;
	}
	return true;
}

/*
 * Auto-ack is served by muxd's own acks, when the client's socket has taken
 * the bytes; the broker sees a consumer that acks. Replies come without.
 */
static bool accept_consume(struct channel *channel, const struct mux_request *request,
			   struct amqc_method *method, struct consumer **ret, struct fault *ret_fault)
{
	struct mux_request completed = *request;

	*ret_fault = user_no_memory(channel->session, "a consumer");
	completed.method = method;
	*ret = consumer_new(channel, &completed);
	if (!*ret)
		return false;
	method->basic_consume.no_ack = (*ret)->broker_no_ack;
	if (subscribe_keep(*ret, method) && consumer_pay(*ret) && quirks_vet_consumer(*ret, ret_fault))
		return true;
	consumer_free(*ret);
	return false;
}

static void note(struct request *request)
{
	request->record = recorder_request(request->session, request->channel_id,
					   span_make(request->frame, request->frame_len));
}

/* Puts a request, ready but for its consumer, into the channel's queue. */
static void enqueue(struct channel *channel, const struct mux_request *source, struct amqc_method *method)
{
	struct consumer *consumer = NULL;
	struct request *request;
	enum amqc_result result = AMQC_INCOMPLETE;
	struct fault fault;
	bool no_ack = false;

	if (method->id == AMQC_BASIC_GET) {
		/* As for consumers: what nobody takes must be able to go back. */
		no_ack = method->basic_get.no_ack;
		/* But muxd's ack would be part of a transaction. */
		if (!channel->tx.asked)
			method->basic_get.no_ack = false;
	}
	if (method->id == AMQC_BASIC_CONSUME && !accept_consume(channel, source, method, &consumer, &fault)) {
		if (fault.retryable)
			refuse(channel->session, source, SCOPE_REQUEST, &fault);
		else
			refuse_with_channel(channel, source, &fault);
		return;
	}
	result = request_queue(channel, method, source->id, source->timeout_usec, &request);
	if (result != AMQC_OK) {
		if (consumer)
			consumer_free(consumer);
		fault = result == AMQC_TOO_LONG
			    ? fault_make(AMQC_SYNTAX_ERROR, "SYNTAX_ERROR - a name is longer than 255 bytes")
			    : user_no_memory(channel->session, "a request");
		refuse(channel->session, source, SCOPE_REQUEST, &fault);
		return;
	}
	note(request);
	request_about(request, consumer);
	request->no_ack = no_ack;
	request->unsure = probe_is_needed(channel, method);
	if (source->resume.len == sizeof(request->resume)) {
		request->has_resume = true;
		memcpy(request->resume, source->resume.data, sizeof(request->resume));
	}
	tx_accepted(request);
	if (!queues_accept(request, channel, method)) {
		fault = fault_make_retryable(AMQC_RESOURCE_ERROR, "no memory for a queue");
		request_refuse(request, SCOPE_REQUEST, &fault);
		request_drop(request);
		return;
	}
	channel_send(channel);
}

/*
 * The consumer delivers on until cancel-ok: what was returned earlier would
 * come again at once. Cancelling what is not there is what the client wanted;
 * the broker says cancel-ok too.
 */
static void cancel(struct channel *channel, const struct mux_request *source)
{
	struct consumer *consumer = consumer_find(channel, source->consumer);
	struct amqc_method method = {.id = AMQC_BASIC_CANCEL};
	char tag[SUBSCRIBE_TAG_SIZE];
	struct request *request;

	/* The broker does not know it, nor was asked to know it again. */
	if (!consumer || (consumer->restoring && !subscribe_is_asked(consumer))) {
		if (consumer)
			consumer_free(consumer);
		recorder_at_once(channel->session, channel->id, &method, 0);
		method.id = AMQC_BASIC_CANCEL_OK;
		channel->session->ops->reply(channel->session->context, source->id, channel->id, &method);
		return;
	}
	method.basic_cancel.consumer_tag = subscribe_tag(consumer, tag);
	if (request_queue(channel, &method, source->id, source->timeout_usec, &request) != AMQC_OK) {
		struct fault fault = user_no_memory(channel->session, "a request");

		refuse(channel->session, source, SCOPE_REQUEST, &fault);
		return;
	}
	note(request);
	request_about(request, consumer);
	consumer->cancel_asked = true;
	channel_send(channel);
}

/* The channel that a request is for, if it is open; else it is refused here. */
static struct channel *open_channel(struct session *session, const struct mux_request *request)
{
	struct channel *channel = session_channel(session, request->channel);
	struct fault fault;

	if (channel && channel->state == CHANNEL_OPEN)
		return channel;
	if (channel)
		fault = channel->fault;
	else
		fault = fault_make(AMQC_CHANNEL_ERROR, "CHANNEL_ERROR - channel %u is not open",
				   request->channel);
	refuse(session, request, SCOPE_CHANNEL, &fault);
	return NULL;
}

/*
 * Outside of a transaction basic.recover is what a client would do itself: it
 * gives back what it has, and no more. Inside of one, that would wait for the
 * commit.
 */
static void recover(struct channel *channel, const struct mux_request *request, struct amqc_method *method)
{
	struct amqc_method reply = {.id = AMQC_BASIC_RECOVER_OK};
	struct fault fault;

	if (channel->tx.asked)
		enqueue(channel, request, method);
	else if (!delivery_settle(channel, SETTLE_REQUEUE, 0, 0, &fault))
		refuse_with_channel(channel, request, &fault);
	else {
		recorder_at_once(channel->session, channel->id, method, 0);
		channel->session->ops->reply(channel->session->context, request->id, channel->id, &reply);
	}
}

static void perform(struct channel *channel, const struct mux_request *request, struct amqc_method *method)
{
	struct session *session = channel->session;

	if (method->id == AMQC_BASIC_QOS)
		set_prefetch(channel, request);
	else if (session->upstream->state == UPSTREAM_FAILED)
		refuse(session, request, SCOPE_REQUEST, &session->upstream->last_fault);
	else if (method->id == AMQC_BASIC_CANCEL)
		cancel(channel, request);
	else if (method->id == AMQC_BASIC_RECOVER)
		recover(channel, request, method);
	else
		enqueue(channel, request, method);
}

void session_request(struct session *session, const struct mux_request *request)
{
	struct amqc_method method = *request->method;
	struct queue_naming naming = {.resume = request->resume};
	struct mux_request completed = *request;
	char tag[NAME_MAX_BYTES + 1];
	enum fault_scope scope = SCOPE_CHANNEL;
	struct channel *channel;
	struct fault fault;

	if (!session_claim_request(session, request->id))
		return;
	channel = open_channel(session, request);
	if (!channel)
		return;
	if (!vet_method(&method, &fault) || !queues_prepare(channel, &method, &naming, &fault) ||
	    !authorized(session, &method, &fault) || !queues_may_use(channel, &method, &fault) ||
	    !kinds_vet(channel, &method, &fault) || !quirks_vet(channel, &method, &fault)) {
		refuse_with_channel(channel, request, &fault);
		return;
	}
	if (!tx_vet(channel, &method, &scope, &fault)) {
		refuse(session, request, scope, &fault);
		if (scope == SCOPE_CHANNEL)
			channel_fail(channel, &fault);
		return;
	}
	if (method.id == AMQC_QUEUE_DECLARE)
		kinds_accepted(channel, &method.queue_declare);
	if (method.id == AMQC_BASIC_CONSUME && !prepare_consume(channel, request, &method, tag, &fault)) {
		refuse(session, request, SCOPE_REQUEST, &fault);
		return;
	}
	completed.resume = naming.resume;
	perform(channel, &completed, &method);
}

/* ------------------------------------------------------------------ publishes */

/* The exchange that was allowed last needs no second look: a stream of messages goes to one. */
static bool publish_authorized(struct channel *channel, const struct mux_publish *publish,
			       struct fault *ret_fault)
{
	struct amqc_method method = {.id = AMQC_BASIC_PUBLISH};
	const struct mux *mux = channel->upstream->mux;
	size_t len = publish->exchange.len;

	if (!mux->options.authorize)
		return true;
	if (channel->allowed_known && channel->allowed_rules == mux->rules && channel->allowed_len == len &&
	    (len == 0 || memcmp(channel->allowed, publish->exchange.data, len) == 0))
		return true;
	method.basic_publish.exchange = publish->exchange;
	method.basic_publish.routing_key = publish->routing_key;
	if (!authorized(channel->session, &method, ret_fault))
		return false;
	channel->allowed_known = false;
	channel->allowed_rules = mux->rules;
	if (len <= sizeof(channel->allowed)) {
		channel->allowed_known = true;
		channel->allowed_len = (uint8_t)len;
		if (len > 0)
			memcpy(channel->allowed, publish->exchange.data, len);
	}
	return true;
}

/* A publish to a channel that cannot take it has an outcome all the same. */
static void not_sent(struct channel *channel, const struct mux_publish *publish, const struct fault *fault)
{
	channel->published++;
	recorder_publish_refused(channel->session, channel->id, publish, fault->code);
	outcome_add(channel,
		    publish_is_in_doubt(channel, publish->resent) ? OUTCOME_UNKNOWN : OUTCOME_NOT_SENT,
		    channel->published, fault);
	credit_release(channel->session, publish->cost_bytes);
}

/* Refuses it as the broker would: its outcome is told, and the channel ends. */
static void refuse_publish(struct channel *channel, const struct mux_publish *publish,
			   const struct fault *fault)
{
	not_sent(channel, publish, fault);
	channel_fail(channel, fault);
}

/* Credit and size; false: the session has ended. */
static bool within_limits(struct session *session, const struct mux_publish *publish)
{
	struct fault fault;

	if (publish->body.len > session->told_message_max) {
		fault = fault_make(AMQC_CONTENT_TOO_LARGE,
				   "CONTENT_TOO_LARGE - a body of %zu bytes; message-max allows %llu",
				   publish->body.len, (unsigned long long)session->told_message_max);
	} else if (!credit_use(session, publish->cost_bytes)) {
		fault = fault_make(AMQC_RESOURCE_ERROR,
				   "RESOURCE_ERROR - publish credit overrun: %llu messages and "
				   "%llu bytes were granted",
				   (unsigned long long)session->granted_messages,
				   (unsigned long long)session->granted_bytes);
	} else {
		return true;
	}
	session_fail(session, &fault);
	return false;
}

/* The limit was lowered after its client was told of it. */
static struct fault too_large(const struct session *session, const struct mux_publish *publish)
{
	return fault_make(AMQC_CONTENT_TOO_LARGE,
			  "CONTENT_TOO_LARGE - a body of %zu bytes; message-max is %llu since muxd's "
			  "configuration was reloaded",
			  publish->body.len, (unsigned long long)session->limits.message_max);
}

void session_publish(struct session *session, const struct mux_publish *publish)
{
	struct channel *channel = session_channel(session, publish->channel);
	enum amqc_result result;
	struct fault fault;
	bool repeats;

	if (session->ended || !within_limits(session, publish))
		return;
	if (!channel) {
		fault =
		    fault_make(AMQC_CHANNEL_ERROR, "CHANNEL_ERROR - publish on channel %u, which is not open",
			       publish->channel);
		session_fail(session, &fault);
		return;
	}
	session->published++;
	session_note_message(session, true);
	if (channel->state != CHANNEL_OPEN) {
		not_sent(channel, publish, &channel->fault);
		return;
	}
	if (publish->invalid) {
		refuse_publish(channel, publish, publish->invalid);
		return;
	}
	if (publish->body.len > session->limits.message_max) {
		fault = too_large(session, publish);
		refuse_publish(channel, publish, &fault);
		return;
	}
	if (session->upstream->state == UPSTREAM_FAILED && channel->tx.asked) {
		refuse_publish(channel, publish, &session->upstream->last_fault);
		return;
	}
	if (session->upstream->state == UPSTREAM_FAILED) {
		not_sent(channel, publish, &session->upstream->last_fault);
		return;
	}
	repeats = channel->allowed_rules == session->mux->rules && publish_repeats(channel, publish);
	if ((!repeats && !publish_authorized(channel, publish, &fault)) ||
	    !vet_properties(publish->properties, &fault) || !quirks_vet_publish(channel, publish, &fault)) {
		refuse_publish(channel, publish, &fault);
		return;
	}
	result = publish_queue(channel, publish, repeats);
	if (result == AMQC_OK) {
		channel_send(channel);
		return;
	}
	fault =
	    result == AMQC_TOO_LONG
		? fault_make(AMQC_SYNTAX_ERROR, "SYNTAX_ERROR - a name or property is longer than 255 bytes")
		: fault_make_retryable(AMQC_RESOURCE_ERROR, "no memory for a publish");
	refuse_publish(channel, publish, &fault);
}
