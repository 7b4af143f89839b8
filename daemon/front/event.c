/*
 * From mux to the peer: struct session_ops, and how a frame is packed. A
 * callback may not call back into mux, so what goes wrong here (a peer that
 * does not read) is left to the connection's end task.
 */
#include "daemon/front/ipc.h"

#include "daemon/base/log.h"

#include <stdio.h>

#define EMPTY SPAN_NULL
#define NOTHING_HANDED ((struct mux_handed){0, 0})

/* ------------------------------------------------------------------ packing */

void ipc_cut_off(struct ipc *ipc, const char *why)
{
	char more[QUIET_MORE_BYTES];

	ipc->state = IPC_ENDING;
	ipc->end_drain_usec = 0;
	if (ipc_may_say(ipc, more))
		log_info("session %llu (pid %u, uid %u) ended: %s (%llu bytes wait)%s",
			 (unsigned long long)(ipc->session ? session_id(ipc->session) : 0), ipc->peer.pid,
			 ipc->peer.uid, why, (unsigned long long)buf_len(stream_out(ipc->stream)), more);
	loop_defer(ipc->front->options.loop, &ipc->end_task);
}

static struct mux_handed handed(const struct ipc *ipc, size_t cost_bytes)
{
	return (struct mux_handed){.position = stream_position(ipc->stream), .cost_bytes = cost_bytes};
}

/* One more answer goes into the output. The mark goes on to it when the socket has begun with the one before.
 */
static void note_answer(struct ipc *ipc)
{
	struct answers *answers = &ipc->answers;

	if (answers->mark < ipc->written)
		*answers = (struct answers){.mark = stream_position(ipc->stream)};
	else
		answers->behind++;
}

struct mux_handed ipc_send(struct ipc *ipc, const Muxd__V1__ServerFrame *frame, struct span payload)
{
	size_t header_len = muxd__v1__server_frame__get_packed_size(frame);
	struct buf *out;
	size_t waited;
	uint8_t *at;

	if (header_len > IPC_HEADER_MAX || payload.len > IPC_PAYLOAD_MAX)
		return NOTHING_HANDED;
	if (ipc->state == IPC_ENDING) /* nothing comes behind the last words */
		return handed(ipc, header_len + payload.len);
	if (frame->has_request)
		note_answer(ipc);
	out = stream_out(ipc->stream);
	waited = buf_len(out);
	at = buf_reserve(out, IPC_FRAME_PREFIX + header_len + payload.len);
	if (at) {
		store_be32(at, (uint32_t)header_len);
		store_be32(at + 4, (uint32_t)payload.len);
		muxd__v1__server_frame__pack(frame, at + IPC_FRAME_PREFIX);
		if (payload.len > 0)
			memcpy(at + IPC_FRAME_PREFIX + header_len, payload.data, payload.len);
		buf_commit(out, IPC_FRAME_PREFIX + header_len + payload.len);
	}
	if (stream_is_full(ipc->stream))
		loop_defer(ipc->front->options.loop, &ipc->unread_task);
	stream_mark(ipc->stream); /* without memory too: the stream then ends by it */
	/* By what it has left unread: a single message may be larger than all of its memory. */
	if (waited > ipc->limits.session_memory)
		ipc_cut_off(ipc, "it leaves more unread than session-memory");
	return handed(ipc, header_len + payload.len);
}

static void frame_init(Muxd__V1__ServerFrame *frame, uint32_t request, struct mux_channel_id channel)
{
	muxd__v1__server_frame__init(frame);
	frame->has_request = request != 0;
	frame->request = request;
	frame->has_channel = channel.number != 0;
	frame->channel = channel.number;
	frame->has_generation = channel.generation != 0;
	frame->generation = channel.generation;
}

static Muxd__V1__Scope scope_of(enum fault_scope scope)
{
	switch (scope) {
	case SCOPE_REQUEST:
		return MUXD__V1__SCOPE__REQUEST;
	case SCOPE_CHANNEL:
		return MUXD__V1__SCOPE__CHANNEL;
	default:
		return MUXD__V1__SCOPE__SESSION;
	}
}

static void error_init(Muxd__V1__Error *error, enum fault_scope scope, const struct fault *fault)
{
	muxd__v1__error__init(error);
	error->has_scope = true;
	error->scope = scope_of(scope);
	error->has_code = true;
	error->code = fault->code;
	error->has_text = true;
	error->text = bytes_of(fault_text(fault));
	error->has_retryable = fault->retryable;
	error->retryable = fault->retryable;
	error->has_origin = true;
	error->origin = fault->origin == FAULT_BROKER ? MUXD__V1__ORIGIN__BROKER : MUXD__V1__ORIGIN__MUXD;
	error->has_class_id = fault->class_id != 0;
	error->class_id = fault->class_id;
	error->has_method_id = fault->class_id != 0;
	error->method_id = fault->method_id;
}

void ipc_send_error(struct ipc *ipc, uint32_t request, struct mux_channel_id channel, enum fault_scope scope,
		    const struct fault *fault)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Error error;

	frame_init(&frame, request, channel);
	error_init(&error, scope, fault);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_ERROR;
	frame.error = &error;
	(void)ipc_send(ipc, &frame, EMPTY);
}

static void send_done(struct ipc *ipc, uint32_t request, struct mux_channel_id channel)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Done done = MUXD__V1__DONE__INIT;

	frame_init(&frame, request, channel);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_DONE;
	frame.done = &done;
	(void)ipc_send(ipc, &frame, EMPTY);
}

void ipc_send_done(struct ipc *ipc, uint32_t request)
{
	send_done(ipc, request, (struct mux_channel_id){0, 0});
}

/* ------------------------------------------------------------------ the session's own */

Muxd__V1__UpstreamState ipc_upstream_state(enum upstream_state state)
{
	switch (state) {
	case UPSTREAM_UP:
		return MUXD__V1__UPSTREAM_STATE__UP;
	case UPSTREAM_BACKOFF:
		return MUXD__V1__UPSTREAM_STATE__BACKOFF;
	case UPSTREAM_BLOCKED:
		return MUXD__V1__UPSTREAM_STATE__BLOCKED;
	case UPSTREAM_FAILED:
		return MUXD__V1__UPSTREAM_STATE__FAILED;
	default:
		return MUXD__V1__UPSTREAM_STATE__CONNECTING;
	}
}

static void upstream_init(Muxd__V1__UpstreamChanged *changed, const struct session *session)
{
	struct upstream_info info;

	upstream_get_info(session_upstream(session), &info);
	muxd__v1__upstream_changed__init(changed);
	changed->has_name = true;
	changed->name = bytes_of(span_str(info.name));
	changed->has_state = true;
	changed->state = ipc_upstream_state(info.state);
	changed->has_text = *info.last_error != 0;
	changed->text = bytes_of(span_str(info.last_error));
	changed->has_epoch = true;
	changed->epoch = info.epoch;
}

static void credit_init(Muxd__V1__Credit *credit, uint64_t messages, uint64_t bytes)
{
	muxd__v1__credit__init(credit);
	credit->has_messages = true;
	credit->messages = messages;
	credit->has_bytes = true;
	credit->bytes = bytes;
}

void ipc_send_welcome(struct ipc *ipc)
{
	const struct front_options *options = &ipc->front->options;
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Welcome welcome = MUXD__V1__WELCOME__INIT;
	Muxd__V1__UpstreamChanged upstream;
	Muxd__V1__Credit credit;
	char server[64];
	uint64_t messages;
	uint64_t bytes;

	session_credit_totals(ipc->session, &messages, &bytes);
	credit_init(&credit, messages, bytes);
	upstream_init(&upstream, ipc->session);
	(void)snprintf(server, sizeof(server), "muxd %s", options->version);
	welcome.has_version = true;
	welcome.version = IPC_VERSION;
	welcome.has_server = true;
	welcome.server = bytes_of(span_str(server));
	welcome.has_session = true;
	welcome.session = session_id(ipc->session);
	welcome.has_channels_max = true;
	welcome.channels_max = ipc->limits.channels_max;
	welcome.has_requests_max = true;
	welcome.requests_max = SESSION_REQUESTS_MAX;
	welcome.has_message_max = true;
	welcome.message_max = ipc->limits.message_max;
	welcome.credit = &credit;
	welcome.upstream = &upstream;
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_WELCOME;
	frame.welcome = &welcome;
	(void)ipc_send(ipc, &frame, EMPTY);
}

void ipc_send_go_away(struct ipc *ipc, struct mono deadline, const char *why)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__GoAway go_away = MUXD__V1__GO_AWAY__INIT;
	uint64_t left_usec = mono_since_usec(deadline, loop_now(ipc->front->options.loop));

	go_away.has_deadline_ms = true;
	go_away.deadline_ms =
	    left_usec / USEC_PER_MSEC < UINT32_MAX ? (uint32_t)(left_usec / USEC_PER_MSEC) : UINT32_MAX;
	go_away.has_text = true;
	go_away.text = bytes_of(span_str(why));
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_GO_AWAY;
	frame.go_away = &go_away;
	(void)ipc_send(ipc, &frame, EMPTY);
}

static void op_credit(void *context, uint64_t messages, uint64_t bytes)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Credit credit;

	credit_init(&credit, messages, bytes);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_CREDIT;
	frame.credit = &credit;
	(void)ipc_send(context, &frame, EMPTY);
}

static void op_upstream_changed(void *context)
{
	struct ipc *ipc = context;
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__UpstreamChanged changed;

	upstream_init(&changed, ipc->session);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_UPSTREAM_CHANGED;
	frame.upstream_changed = &changed;
	(void)ipc_send(ipc, &frame, EMPTY);
}

static void op_ended(void *context, const struct fault *fault)
{
	ipc_end(context, fault);
}

/* ------------------------------------------------------------------ answers */

static void send_counted(struct ipc *ipc, uint32_t request, struct mux_channel_id channel, uint32_t count)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Counted counted = MUXD__V1__COUNTED__INIT;

	frame_init(&frame, request, channel);
	counted.has_message_count = true;
	counted.message_count = count;
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_COUNTED;
	frame.counted = &counted;
	(void)ipc_send(ipc, &frame, EMPTY);
}

static void send_declared(struct ipc *ipc, uint32_t request, struct mux_channel_id channel,
			  const struct amqc_queue_declare_ok *ok, struct span resume)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__QueueDeclared declared = MUXD__V1__QUEUE_DECLARED__INIT;

	frame_init(&frame, request, channel);
	declared.has_queue = true;
	declared.queue = bytes_of(ok->queue);
	declared.has_message_count = true;
	declared.message_count = ok->message_count;
	declared.has_consumer_count = true;
	declared.consumer_count = ok->consumer_count;
	declared.has_resume = resume.len > 0;
	declared.resume = bytes_of(resume);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_QUEUE_DECLARED;
	frame.queue_declared = &declared;
	(void)ipc_send(ipc, &frame, EMPTY);
}

static void send_consuming(struct ipc *ipc, uint32_t request, struct mux_channel_id channel, struct span tag)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Consuming consuming = MUXD__V1__CONSUMING__INIT;

	frame_init(&frame, request, channel);
	consuming.has_consumer_tag = true;
	consuming.consumer_tag = bytes_of(tag);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_CONSUMING;
	frame.consuming = &consuming;
	(void)ipc_send(ipc, &frame, EMPTY);
}

static void send_got_nothing(struct ipc *ipc, uint32_t request, struct mux_channel_id channel)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__GotNothing nothing = MUXD__V1__GOT_NOTHING__INIT;

	frame_init(&frame, request, channel);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_GOT_NOTHING;
	frame.got_nothing = &nothing;
	(void)ipc_send(ipc, &frame, EMPTY);
}

static void op_reply(void *context, uint32_t request, struct mux_channel_id channel,
		     const struct amqc_method *reply)
{
	switch (reply->id) {
	case AMQC_QUEUE_DECLARE_OK:
		send_declared(context, request, channel, &reply->queue_declare_ok, SPAN_NULL);
		break;
	case AMQC_QUEUE_PURGE_OK:
		send_counted(context, request, channel, reply->queue_purge_ok.message_count);
		break;
	case AMQC_QUEUE_DELETE_OK:
		send_counted(context, request, channel, reply->queue_delete_ok.message_count);
		break;
	case AMQC_BASIC_CONSUME_OK:
		send_consuming(context, request, channel, reply->basic_consume_ok.consumer_tag);
		break;
	case AMQC_BASIC_GET_EMPTY:
		send_got_nothing(context, request, channel);
		break;
	default:
		send_done(context, request, channel);
		break;
	}
}

static void op_named(void *context, uint32_t request, struct mux_channel_id channel,
		     const struct amqc_method *reply, struct span resume)
{
	send_declared(context, request, channel, &reply->queue_declare_ok, resume);
}

static void op_refuse(void *context, uint32_t request, struct mux_channel_id channel, enum fault_scope scope,
		      const struct fault *fault)
{
	ipc_send_error(context, request, channel, scope, fault);
}

/* ------------------------------------------------------------------ messages */

static void set_bytes(protobuf_c_boolean *ret_has, ProtobufCBinaryData *ret, struct span value)
{
	*ret_has = value.len > 0;
	*ret = bytes_of(value);
}

/* Properties that are all absent are not sent. False: they cannot be expressed. */
static bool set_properties(struct front *front, const struct amqc_properties *properties,
			   Muxd__V1__Properties *room, Muxd__V1__Properties **ret)
{
	*ret = properties->present ? room : NULL;
	return !properties->present || properties_from_amqp(&front->encode, properties, room);
}

static struct mux_handed op_got(void *context, uint32_t request, struct mux_channel_id channel, uint64_t tag,
				const struct amqc_basic_get_ok *method, const struct mux_content *content)
{
	struct ipc *ipc = context;
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Got got = MUXD__V1__GOT__INIT;
	Muxd__V1__Properties properties;
	struct mux_handed result = NOTHING_HANDED;

	frame_init(&frame, request, channel);
	got.has_tag = tag != 0;
	got.tag = tag;
	got.has_redelivered = method->redelivered;
	got.redelivered = method->redelivered;
	set_bytes(&got.has_exchange, &got.exchange, method->exchange);
	set_bytes(&got.has_routing_key, &got.routing_key, method->routing_key);
	got.has_message_count = true;
	got.message_count = method->message_count;
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_GOT;
	frame.got = &got;
	if (set_properties(ipc->front, content->properties, &properties, &got.properties))
		result = ipc_send(ipc, &frame, content->body);
	arena_reset(&ipc->front->encode);
	return result;
}

static struct mux_handed op_deliver(void *context, struct mux_channel_id channel, uint32_t consumer,
				    uint64_t tag, const struct amqc_basic_deliver *method,
				    const struct mux_content *content)
{
	struct ipc *ipc = context;
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Delivery delivery = MUXD__V1__DELIVERY__INIT;
	Muxd__V1__Properties properties;
	struct mux_handed result = NOTHING_HANDED;

	frame_init(&frame, 0, channel);
	delivery.has_consumer = true;
	delivery.consumer = consumer;
	delivery.has_tag = tag != 0;
	delivery.tag = tag;
	delivery.has_redelivered = method->redelivered;
	delivery.redelivered = method->redelivered;
	set_bytes(&delivery.has_exchange, &delivery.exchange, method->exchange);
	set_bytes(&delivery.has_routing_key, &delivery.routing_key, method->routing_key);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_DELIVERY;
	frame.delivery = &delivery;
	if (set_properties(ipc->front, content->properties, &properties, &delivery.properties))
		result = ipc_send(ipc, &frame, content->body);
	arena_reset(&ipc->front->encode);
	return result;
}

static struct mux_handed op_returned(void *context, struct mux_channel_id channel, uint64_t number,
				     const struct amqc_basic_return *method,
				     const struct mux_content *content)
{
	struct ipc *ipc = context;
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Returned returned = MUXD__V1__RETURNED__INIT;
	Muxd__V1__Properties properties;
	struct mux_handed result = NOTHING_HANDED;

	frame_init(&frame, 0, channel);
	returned.has_number = true;
	returned.number = number;
	returned.has_code = true;
	returned.code = method->reply_code;
	set_bytes(&returned.has_text, &returned.text, method->reply_text);
	set_bytes(&returned.has_exchange, &returned.exchange, method->exchange);
	set_bytes(&returned.has_routing_key, &returned.routing_key, method->routing_key);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_RETURNED;
	frame.returned = &returned;
	if (set_properties(ipc->front, content->properties, &properties, &returned.properties))
		result = ipc_send(ipc, &frame, content->body);
	arena_reset(&ipc->front->encode);
	return result;
}

static Muxd__V1__OutcomeKind outcome_of(enum outcome_kind kind)
{
	switch (kind) {
	case OUTCOME_CONFIRMED:
		return MUXD__V1__OUTCOME_KIND__CONFIRMED;
	case OUTCOME_RETURNED:
		return MUXD__V1__OUTCOME_KIND__RETURNED;
	case OUTCOME_NACKED:
		return MUXD__V1__OUTCOME_KIND__NACKED;
	case OUTCOME_NOT_SENT:
		return MUXD__V1__OUTCOME_KIND__NOT_SENT;
	default:
		return MUXD__V1__OUTCOME_KIND__UNKNOWN;
	}
}

static void op_outcome(void *context, struct mux_channel_id channel, enum outcome_kind kind, uint64_t first,
		       uint64_t last, const struct fault *fault)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Outcome outcome = MUXD__V1__OUTCOME__INIT;
	Muxd__V1__Range range = MUXD__V1__RANGE__INIT;
	Muxd__V1__Range *ranges[1] = {&range};
	Muxd__V1__Error error;

	frame_init(&frame, 0, channel);
	range.has_first = true;
	range.first = first;
	range.has_last = true;
	range.last = last;
	outcome.has_kind = true;
	outcome.kind = outcome_of(kind);
	outcome.n_numbers = 1;
	outcome.numbers = ranges;
	if (fault) {
		error_init(&error, SCOPE_REQUEST, fault);
		error.has_scope = false; /* it ends this publish; the frame is no error */
		outcome.error = &error;
	}
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_OUTCOME;
	frame.outcome = &outcome;
	(void)ipc_send(context, &frame, EMPTY);
}

/* ------------------------------------------------------------------ endings */

static void op_channel_ended(void *context, struct mux_channel_id channel, const struct fault *fault)
{
	ipc_send_error(context, 0, channel, SCOPE_CHANNEL, fault);
}

static void op_consumer_cancelled(void *context, struct mux_channel_id channel, uint32_t consumer,
				  struct span text)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__ConsumerCancelled cancelled = MUXD__V1__CONSUMER_CANCELLED__INIT;

	frame_init(&frame, 0, channel);
	cancelled.has_consumer = true;
	cancelled.consumer = consumer;
	set_bytes(&cancelled.has_text, &cancelled.text, text);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_CONSUMER_CANCELLED;
	frame.consumer_cancelled = &cancelled;
	(void)ipc_send(context, &frame, EMPTY);
}

static void op_consumer_interrupted(void *context, struct mux_channel_id channel, uint32_t consumer,
				    struct span text)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__ConsumerInterrupted interrupted = MUXD__V1__CONSUMER_INTERRUPTED__INIT;

	frame_init(&frame, 0, channel);
	interrupted.has_consumer = true;
	interrupted.consumer = consumer;
	set_bytes(&interrupted.has_text, &interrupted.text, text);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_CONSUMER_INTERRUPTED;
	frame.consumer_interrupted = &interrupted;
	(void)ipc_send(context, &frame, EMPTY);
}

const struct session_ops ipc_session_ops = {
    .reply = op_reply,
    .named = op_named,
    .refuse = op_refuse,
    .got = op_got,
    .deliver = op_deliver,
    .returned = op_returned,
    .outcome = op_outcome,
    .channel_ended = op_channel_ended,
    .consumer_cancelled = op_consumer_cancelled,
    .consumer_interrupted = op_consumer_interrupted,
    .credit = op_credit,
    .upstream_changed = op_upstream_changed,
    .ended = op_ended,
};
