#include "tests/unit/mux-rig.h"

#include <stdio.h>
#include <stdlib.h>

/* ------------------------------------------------------------------ what mux asks of the body */

static void on_dial(void *context, size_t index)
{
	struct rig *rig = context;

	rig->dials++;
	rig->dialled = index;
}

static void on_hang_up(void *context)
{
	struct rig *rig = context;

	rig->hang_ups++;
	buf_truncate(&rig->last_words, 0);
	buf_append_span(&rig->last_words, buf_span(upstream_output(rig->upstream)));
}

static void on_changed(void *context)
{
	struct rig *rig = context;

	rig->changes++;
}

static void on_scout_dial(void *context, size_t index)
{
	struct rig *rig = context;

	rig->scout_dials++;
}

static void on_scout_hang_up(void *context)
{
	struct rig *rig = context;

	rig->scout_hang_ups++;
}

static const struct upstream_ops upstream_ops = {
    .dial = on_dial, .hang_up = on_hang_up, .changed = on_changed};
static const struct upstream_ops scouting_ops = {.dial = on_dial,
						 .hang_up = on_hang_up,
						 .changed = on_changed,
						 .scout_dial = on_scout_dial,
						 .scout_hang_up = on_scout_hang_up};

static void hand_random(void *context, void *out, size_t count)
{
	struct rig *rig = context;
	uint8_t *bytes = out;

	for (size_t i = 0; i < count; i++)
		bytes[i] = (uint8_t)(rig->random++ * 37u);
}

/* Not one-way, but no two of the tests' tokens give the same. */
static bool sum(void *context, struct span of, uint8_t ret[MUX_DIGEST_BYTES])
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < MUX_DIGEST_BYTES; i++) {
		for (size_t j = 0; j < of.len; j++)
			hash = (hash ^ of.data[j]) * 16777619u;
		ret[i] = (uint8_t)(hash >> 16);
	}
	return true;
}

static bool may(void *context, const struct mux_creds *creds, const char *upstream,
		const struct amqc_method *method, struct fault *ret_fault)
{
	struct rig *rig = context;

	if (!rig->authorize || rig->authorize(method))
		return true;
	*ret_fault = fault_make(AMQC_ACCESS_REFUSED, "ACCESS_REFUSED - the test says so");
	return false;
}

/* ------------------------------------------------------------------ what sessions hear */

static struct rig_event *note(void *context, enum rig_kind kind)
{
	struct rig_session *session = context;
	struct rig_event *event = &session->events[session->event_count++];

	ck_assert_uint_lt(session->event_count, RIG_EVENTS_MAX);
	ck_assert_ptr_nonnull(session->session);
	event->kind = kind;
	session->position += 10;
	return event;
}

static void note_fault(struct rig_event *event, const struct fault *fault)
{
	event->code = fault ? fault->code : 0;
	event->retryable = fault && fault->retryable;
	snprintf(event->text, sizeof(event->text), "%s", fault ? fault->text : "");
}

static struct mux_handed handed(struct rig_session *session, size_t body_len)
{
	session->position += body_len + 1;
	return (struct mux_handed){session->position, body_len + 1};
}

static void on_reply(void *context, uint32_t request, struct mux_channel_id channel,
		     const struct amqc_method *reply)
{
	struct rig_event *event = note(context, RIG_REPLY);

	event->request = request;
	event->channel = channel;
	event->reply = reply->id;
	if (reply->id == AMQC_QUEUE_DECLARE_OK)
		snprintf(event->queue, sizeof(event->queue), "%.*s", (int)reply->queue_declare_ok.queue.len,
			 (const char *)reply->queue_declare_ok.queue.data);
}

static void on_named(void *context, uint32_t request, struct mux_channel_id channel,
		     const struct amqc_method *reply, struct span resume)
{
	struct rig_session *session = context;
	struct rig_event *event = &session->events[session->event_count];

	on_reply(context, request, channel, reply);
	snprintf(event->resume, sizeof(event->resume), "%.*s", (int)resume.len, (const char *)resume.data);
}

static void on_refuse(void *context, uint32_t request, struct mux_channel_id channel, enum fault_scope scope,
		      const struct fault *fault)
{
	struct rig_event *event = note(context, RIG_REFUSED);

	event->request = request;
	event->channel = channel;
	event->scope = scope;
	note_fault(event, fault);
}

static struct mux_handed on_got(void *context, uint32_t request, struct mux_channel_id channel, uint64_t tag,
				const struct amqc_basic_get_ok *method, const struct mux_content *content)
{
	struct rig_event *event = note(context, RIG_GOT);

	event->request = request;
	event->channel = channel;
	event->tag = tag;
	event->body_len = content->body.len;
	return handed(context, content->body.len);
}

static struct mux_handed on_deliver(void *context, struct mux_channel_id channel, uint32_t consumer,
				    uint64_t tag, const struct amqc_basic_deliver *method,
				    const struct mux_content *content)
{
	struct rig_event *event = note(context, RIG_DELIVERED);

	event->channel = channel;
	event->consumer = consumer;
	event->tag = tag;
	event->body_len = content->body.len;
	return handed(context, content->body.len);
}

static struct mux_handed on_returned(void *context, struct mux_channel_id channel, uint64_t number,
				     const struct amqc_basic_return *method,
				     const struct mux_content *content)
{
	struct rig_event *event = note(context, RIG_RETURNED);

	event->channel = channel;
	event->first = number;
	event->body_len = content->body.len;
	return handed(context, content->body.len);
}

static void on_outcome(void *context, struct mux_channel_id channel, enum outcome_kind kind, uint64_t first,
		       uint64_t last, const struct fault *fault)
{
	struct rig_event *event = note(context, RIG_OUTCOME);

	event->channel = channel;
	event->outcome = kind;
	event->first = first;
	event->last = last;
	note_fault(event, fault);
}

static void on_channel_ended(void *context, struct mux_channel_id channel, const struct fault *fault)
{
	struct rig_event *event = note(context, RIG_CHANNEL_ENDED);

	event->channel = channel;
	note_fault(event, fault);
}

static void on_consumer_cancelled(void *context, struct mux_channel_id channel, uint32_t consumer,
				  struct span text)
{
	struct rig_event *event = note(context, RIG_CONSUMER_CANCELLED);

	event->channel = channel;
	event->consumer = consumer;
}

static void on_consumer_interrupted(void *context, struct mux_channel_id channel, uint32_t consumer,
				    struct span text)
{
	struct rig_event *event = note(context, RIG_CONSUMER_INTERRUPTED);

	event->channel = channel;
	event->consumer = consumer;
}

static void on_credit(void *context, uint64_t messages, uint64_t bytes)
{
	struct rig_event *event = note(context, RIG_CREDIT);

	event->first = messages;
	event->last = bytes;
}

static void on_upstream_changed(void *context)
{
	note(context, RIG_UPSTREAM);
}

static void on_ended(void *context, const struct fault *fault)
{
	note_fault(note(context, RIG_ENDED), fault);
}

static const struct session_ops session_ops = {
    .reply = on_reply,
    .named = on_named,
    .refuse = on_refuse,
    .got = on_got,
    .deliver = on_deliver,
    .returned = on_returned,
    .outcome = on_outcome,
    .channel_ended = on_channel_ended,
    .consumer_cancelled = on_consumer_cancelled,
    .consumer_interrupted = on_consumer_interrupted,
    .credit = on_credit,
    .upstream_changed = on_upstream_changed,
    .ended = on_ended,
};

/* ------------------------------------------------------------------ beginning and end */

static const struct upstream_endpoint endpoints[] = {{"one:5672", "/", "guest", "secret"},
						     {"two:5672", "/", "guest", "secret"}};

void rig_init(struct rig *rig)
{
	*rig = (struct rig){.now = {1000 * USEC_PER_SEC}, .sent = BUF_INIT, .last_words = BUF_INIT};
	rig->options = (struct mux_options){.limits = {.total_memory = 64u << 20,
						       .session_memory = 16u << 20,
						       .message_max = 4u << 20,
						       .sessions = RIG_SESSIONS_MAX,
						       .channels_per_session = 16,
						       .prefetch = 32,
						       .request_timeout_usec = 30 * USEC_PER_SEC,
						       .publish_timeout_usec = 300 * USEC_PER_SEC},
					    .authorize = may,
					    .random = hand_random,
					    .digest = sum,
					    .context = rig};
	rig->upstream_options = (struct upstream_options){.name = "default",
							  .endpoints = endpoints,
							  .endpoint_count = 1,
							  .sasl = "PLAIN",
							  .connect_timeout_usec = 10 * USEC_PER_SEC,
							  .reconnect_min_usec = 200 * USEC_PER_MSEC,
							  .reconnect_max_usec = 30 * USEC_PER_SEC,
							  .warm_lanes = 0,
							  .unconfirmed_messages = 4096,
							  .unconfirmed_bytes = 64u << 20,
							  .queue_prefix = "muxd.gen-"};
}

void rig_start(struct rig *rig)
{
	ck_assert_int_eq(mux_new(&rig->options, &rig->mux), 0);
	mux_set_now(rig->mux, rig->now);
	ck_assert_int_eq(upstream_new(rig->mux, &rig->upstream_options,
				      rig->has_scout ? &scouting_ops : &upstream_ops, rig, &rig->upstream),
			 0);
	upstream_start(rig->upstream);
}

void rig_free(struct rig *rig)
{
	for (size_t i = 0; i < rig->session_count; i++)
		rig_end(&rig->sessions[i]);
	mux_free(rig->mux);
	buf_deinit(&rig->sent);
	buf_deinit(&rig->last_words);
}

void rig_connect(struct rig *rig, uint16_t channel_max, uint32_t frame_max)
{
	struct amqc_method start = {.id = AMQC_CONNECTION_START}, tune = {.id = AMQC_CONNECTION_TUNE};
	struct rig_frame frame;

	upstream_dialled(rig->upstream);
	buf_truncate(&rig->sent, 0);
	ck_assert_uint_eq(buf_len(upstream_output(rig->upstream)), AMQC_PROTOCOL_HEADER_LEN);
	buf_consume(upstream_output(rig->upstream), AMQC_PROTOCOL_HEADER_LEN);
	start.connection_start = (struct amqc_connection_start){
	    .version_minor = 9, .mechanisms = SPAN_LITERAL("PLAIN"), .locales = SPAN_LITERAL("en_US")};
	rig_say(rig, 0, &start);
	rig_turn(rig);
	rig_expect(rig, AMQC_CONNECTION_START_OK, &frame);
	tune.connection_tune = (struct amqc_connection_tune){
	    .channel_max = channel_max, .frame_max = frame_max, .heartbeat = rig->heartbeat_sec};
	rig_say(rig, 0, &tune);
	rig_turn(rig);
	rig_expect(rig, AMQC_CONNECTION_TUNE_OK, &frame);
	rig_expect(rig, AMQC_CONNECTION_OPEN, &frame);
	rig_say_id(rig, 0, AMQC_CONNECTION_OPEN_OK);
	rig_turn(rig);
}

void rig_up(struct rig *rig)
{
	rig_init(rig);
	rig_start(rig);
	rig_connect(rig, 100, 131072);
}

/* ------------------------------------------------------------------ turns and frames */

void rig_turn(struct rig *rig)
{
	struct buf *out = upstream_output(rig->upstream);

	mux_turn(rig->mux);
	while (buf_len(out) > 0) {
		buf_append_span(&rig->sent, buf_span(out));
		buf_consume(out, buf_len(out));
		upstream_pump(rig->upstream);
	}
}

void rig_pass(struct rig *rig, uint64_t usec)
{
	rig->now = mono_add_usec(rig->now, usec);
	mux_set_now(rig->mux, rig->now);
	mux_run_timers(rig->mux);
	rig_turn(rig);
}

bool rig_next(struct rig *rig, struct rig_frame *ret)
{
	struct amqc_frame frame;
	size_t size;

	do {
		if (amqc_frame_peek(buf_span(&rig->sent), UINT32_MAX, &frame, &size) != AMQC_OK) {
			ck_assert_uint_eq(buf_len(&rig->sent), 0);
			return false;
		}
		/* The bytes stay where they are until more are appended. */
		buf_consume(&rig->sent, size);
	} while (frame.type == AMQC_FRAME_HEARTBEAT);
	ret->type = frame.type;
	ret->lane = frame.channel;
	ret->payload = frame.payload;
	if (frame.type == AMQC_FRAME_METHOD)
		ck_assert_int_eq(amqc_method_decode(frame.payload, &ret->method), AMQC_OK);
	else
		return true;
	ck_assert_uint_lt(ret->lane, 256);
	if (ret->method.id == AMQC_CHANNEL_OPEN)
		rig->published[ret->lane] = 0;
	if (ret->method.id == AMQC_BASIC_PUBLISH)
		rig->published[ret->lane]++;
	return true;
}

uint16_t rig_expect(struct rig *rig, enum amqc_method_id id, struct rig_frame *ret)
{
	ck_assert_msg(rig_next(rig, ret), "nothing was sent, and not %s", amqc_method_name(id));
	ck_assert_msg(ret->type == AMQC_FRAME_METHOD && ret->method.id == id, "%s was sent, and not %s",
		      ret->type == AMQC_FRAME_METHOD ? amqc_method_name(ret->method.id) : "content",
		      amqc_method_name(id));
	return ret->lane;
}

void rig_expect_silence(struct rig *rig)
{
	struct rig_frame frame;

	if (rig_next(rig, &frame))
		ck_abort_msg("%s was sent",
			     frame.type == AMQC_FRAME_METHOD ? amqc_method_name(frame.method.id) : "content");
}

static void feed(struct rig *rig, struct buf *bytes)
{
	ck_assert_uint_eq(upstream_feed(rig->upstream, buf_span(bytes)), buf_len(bytes));
	buf_deinit(bytes);
}

void rig_say(struct rig *rig, uint16_t lane, const struct amqc_method *method)
{
	struct buf bytes = BUF_INIT;

	ck_assert_int_eq(amqc_method_append(&bytes, lane, method), AMQC_OK);
	feed(rig, &bytes);
}

void rig_say_id(struct rig *rig, uint16_t lane, enum amqc_method_id id)
{
	rig_say(rig, lane, &(struct amqc_method){.id = id});
}

void rig_say_content(struct rig *rig, uint16_t lane, const struct amqc_method *method, struct span body)
{
	struct amqc_content_header header = {AMQC_CLASS_BASIC, body.len, {0}};
	struct buf bytes = BUF_INIT;

	ck_assert_int_eq(amqc_method_append(&bytes, lane, method), AMQC_OK);
	ck_assert_int_eq(amqc_content_header_append(&bytes, lane, &header), AMQC_OK);
	amqc_body_append(&bytes, lane, body, 131072);
	feed(rig, &bytes);
}

void rig_ack(struct rig *rig, uint16_t lane, uint64_t tag, bool multiple)
{
	struct amqc_method ack = {.id = AMQC_BASIC_ACK};

	ack.basic_ack.delivery_tag = tag;
	ack.basic_ack.multiple = multiple;
	rig_say(rig, lane, &ack);
}

void rig_deliver(struct rig *rig, uint16_t lane, const char *consumer_tag, uint64_t tag, const char *body)
{
	struct amqc_method deliver = {.id = AMQC_BASIC_DELIVER};

	deliver.basic_deliver.consumer_tag = span_str(consumer_tag);
	deliver.basic_deliver.delivery_tag = tag;
	rig_say_content(rig, lane, &deliver, span_str(body));
}

void rig_close_lane(struct rig *rig, uint16_t lane, uint16_t code, const char *text)
{
	struct amqc_method close = {.id = AMQC_CHANNEL_CLOSE};

	close.channel_close.reply_code = code;
	close.channel_close.reply_text = span_str(text);
	rig_say(rig, lane, &close);
}

uint16_t rig_open_lane(struct rig *rig)
{
	struct rig_frame frame;
	uint16_t lane = rig_expect(rig, AMQC_CHANNEL_OPEN, &frame);

	ck_assert_uint_eq(rig_expect(rig, AMQC_CONFIRM_SELECT, &frame), lane);
	rig_say_id(rig, lane, AMQC_CHANNEL_OPEN_OK);
	rig_say_id(rig, lane, AMQC_CONFIRM_SELECT_OK);
	return lane;
}

/* The reply that a request hopes for. */
static void answer(struct rig *rig, const struct rig_frame *frame)
{
	struct amqc_method reply = {.id = (enum amqc_method_id)((uint32_t)frame->method.id + 1)};

	switch (frame->method.id) {
	case AMQC_BASIC_ACK:
	case AMQC_BASIC_NACK:
	case AMQC_BASIC_PUBLISH:
	case AMQC_CHANNEL_CLOSE_OK:
		return;
	case AMQC_QUEUE_DECLARE:
		reply.queue_declare_ok.queue = frame->method.queue_declare.queue;
		break;
	case AMQC_BASIC_CONSUME:
		reply.basic_consume_ok.consumer_tag = frame->method.basic_consume.consumer_tag;
		break;
	case AMQC_BASIC_CANCEL:
		reply.basic_cancel_ok.consumer_tag = frame->method.basic_cancel.consumer_tag;
		break;
	case AMQC_BASIC_GET:
		reply.id = AMQC_BASIC_GET_EMPTY;
		break;
	case AMQC_EXCHANGE_UNBIND:
		reply.id = AMQC_EXCHANGE_UNBIND_OK;
		break;
	default:
		break;
	}
	rig_say(rig, frame->lane, &reply);
}

void rig_serve(struct rig *rig)
{
	rig_serve_but(rig, NULL);
}

void rig_serve_but(struct rig *rig, bool (*handled)(const struct rig_frame *frame))
{
	bool any = true;

	while (any) {
		struct rig_frame frame;

		any = false;
		rig_turn(rig);
		while (rig_next(rig, &frame)) {
			any = true;
			if (handled && handled(&frame))
				continue;
			if (frame.type == AMQC_FRAME_METHOD && frame.method.id != AMQC_BASIC_PUBLISH)
				answer(rig, &frame);
			else if (frame.type == AMQC_FRAME_METHOD)
				rig_ack(rig, frame.lane, rig->published[frame.lane], true);
		}
	}
}

void rig_lose(struct rig *rig)
{
	buf_truncate(&rig->sent, 0);
	upstream_lost(rig->upstream, "the test cuts it");
}

/* ------------------------------------------------------------------ sessions */

struct rig_session *rig_session(struct rig *rig)
{
	return rig_session_of(rig, 7);
}

struct rig_session *rig_session_of(struct rig *rig, uint32_t pid)
{
	struct rig_session *session = &rig->sessions[rig->session_count++];
	struct session_options options = {.upstream = rig->upstream,
					  .creds = {.uid = 1000, .gid = 1000, .pid = pid},
					  .program = SPAN_LITERAL("test"),
					  .get_bytes = 1u << 20,
					  .ops = &session_ops,
					  .context = session};

	ck_assert_uint_le(rig->session_count, RIG_SESSIONS_MAX);
	ck_assert_int_eq(session_new(rig->mux, &options, &session->session), 0);
	return session;
}

struct rig_session *rig_ready(struct rig *rig, uint32_t channels)
{
	struct rig_session *session = rig_session(rig);

	for (uint32_t number = 1; number <= channels; number++)
		session_open_channel(session->session, number, 1);
	session_want(session->session, 100, 1000000);
	rig_turn(rig);
	return session;
}

void rig_end(struct rig_session *session)
{
	struct session *old = session->session;

	session->session = NULL; /* no event may come any more */
	if (old)
		session_end(old);
}

const struct rig_event *rig_event(struct rig_session *session)
{
	static const struct rig_event nothing = {.kind = RIG_NOTHING};

	while (session->event_next < session->event_count) {
		const struct rig_event *event = &session->events[session->event_next++];

		if (event->kind != RIG_CREDIT && event->kind != RIG_UPSTREAM)
			return event;
	}
	return &nothing;
}

const struct rig_event *rig_event_of(struct rig_session *session, enum rig_kind kind)
{
	const struct rig_event *event = rig_event(session);

	ck_assert_int_eq(event->kind, kind);
	return event;
}

void rig_expect_no_event(struct rig_session *session)
{
	rig_event_of(session, RIG_NOTHING);
}

const struct rig_event *rig_last(const struct rig_session *session, enum rig_kind kind)
{
	for (size_t i = session->event_count; i-- > 0;) {
		if (session->events[i].kind == kind)
			return &session->events[i];
	}
	return NULL;
}

/* ------------------------------------------------------------------ requests */

uint32_t rig_request(struct rig_session *session, uint32_t channel, const struct amqc_method *method,
		     uint64_t timeout_usec)
{
	struct mux_request request = {.id = ++session->last_request,
				      .channel = channel,
				      .timeout_usec = timeout_usec,
				      .method = method};

	session_request(session->session, &request);
	return request.id;
}

uint32_t rig_declare(struct rig_session *session, uint32_t channel, const char *queue, bool exclusive)
{
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};

	method.queue_declare.queue = span_str(queue);
	method.queue_declare.exclusive = exclusive;
	return rig_request(session, channel, &method, 0);
}

uint32_t rig_consume(struct rig_session *session, uint32_t channel, uint32_t consumer, const char *queue,
		     const char *tag, uint64_t credit)
{
	struct amqc_method method = {.id = AMQC_BASIC_CONSUME};
	struct mux_request request = {.id = ++session->last_request,
				      .channel = channel,
				      .method = &method,
				      .consumer = consumer,
				      .credit_messages = credit,
				      .credit_bytes = credit * 1000000};

	method.basic_consume.queue = span_str(queue);
	method.basic_consume.consumer_tag = span_str(tag);
	session_request(session->session, &request);
	return request.id;
}

uint32_t rig_cancel(struct rig_session *session, uint32_t channel, uint32_t consumer, uint64_t timeout_usec)
{
	struct amqc_method method = {.id = AMQC_BASIC_CANCEL};
	struct mux_request request = {.id = ++session->last_request,
				      .channel = channel,
				      .timeout_usec = timeout_usec,
				      .method = &method,
				      .consumer = consumer};

	session_request(session->session, &request);
	return request.id;
}

uint32_t rig_get(struct rig_session *session, uint32_t channel, const char *queue)
{
	struct amqc_method method = {.id = AMQC_BASIC_GET};

	method.basic_get.queue = span_str(queue);
	return rig_request(session, channel, &method, 0);
}

void rig_publish(struct rig_session *session, uint32_t channel, const char *key, struct span body)
{
	struct amqc_properties properties = {0};
	struct mux_publish publish = {.channel = channel,
				      .cost_bytes = 10 + body.len,
				      .routing_key = span_str(key),
				      .properties = &properties,
				      .body = body};

	session_publish(session->session, &publish);
}
