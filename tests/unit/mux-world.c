#include "tests/unit/mux-world.h"

#include "daemon/amqp/reply.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct world world;

static void note(char *to, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void note(char *to, const char *format, ...)
{
	size_t used = strlen(to);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(to + used, sizeof(world.told) - used, format, args);
	va_end(args);
}

static const char *take(char *from)
{
	static char text[sizeof(world.told)];

	memcpy(text, from, sizeof(text));
	*from = 0;
	return text;
}

/* ------------------------------------------------------------------ the front */

static const char *scope_name(enum fault_scope scope)
{
	return scope == SCOPE_REQUEST ? "request" : scope == SCOPE_CHANNEL ? "channel" : "session";
}

static void on_reply(void *context, uint32_t request, struct mux_channel_id channel,
		     const struct amqc_method *reply)
{
	note(world.told, "%u %s; ", request, amqc_method_name(reply->id));
}

static void on_refuse(void *context, uint32_t request, struct mux_channel_id channel, enum fault_scope scope,
		      const struct fault *fault)
{
	note(world.told, "refuse %u %s %u; ", request, scope_name(scope), fault->code);
}

static struct mux_handed handed(const struct mux_content *content)
{
	if (world.cannot_express)
		return (struct mux_handed){0, 0};
	world.position += content->body.len + 1;
	return (struct mux_handed){world.position, content->body.len + 1};
}

static struct mux_handed on_got(void *context, uint32_t request, struct mux_channel_id channel, uint64_t tag,
				const struct amqc_basic_get_ok *method, const struct mux_content *content)
{
	note(world.told, "got %u tag %llu; ", request, (unsigned long long)tag);
	return handed(content);
}

static struct mux_handed on_deliver(void *context, struct mux_channel_id channel, uint32_t consumer,
				    uint64_t tag, const struct amqc_basic_deliver *method,
				    const struct mux_content *content)
{
	note(world.told, "deliver %u tag %llu; ", consumer, (unsigned long long)tag);
	return handed(content);
}

static struct mux_handed on_returned(void *context, struct mux_channel_id channel, uint64_t number,
				     const struct amqc_basic_return *method,
				     const struct mux_content *content)
{
	note(world.told, "returned %llu; ", (unsigned long long)number);
	return handed(content);
}

static void on_outcome(void *context, struct mux_channel_id channel, enum outcome_kind kind, uint64_t first,
		       uint64_t last, const struct fault *fault)
{
	static const char *const kinds[] = {"confirmed", "returned", "nacked", "not_sent", "unknown"};

	note(world.told, "%u/%u %s %llu-%llu; ", channel.number, channel.generation, kinds[kind],
	     (unsigned long long)first, (unsigned long long)last);
}

static void on_channel_ended(void *context, struct mux_channel_id channel, const struct fault *fault)
{
	note(world.told, "%u/%u ended %u; ", channel.number, channel.generation, fault->code);
}

static void on_consumer_cancelled(void *context, struct mux_channel_id channel, uint32_t consumer,
				  struct span text)
{
	note(world.told, "cancelled %u; ", consumer);
}

static void on_consumer_interrupted(void *context, struct mux_channel_id channel, uint32_t consumer,
				    struct span text)
{
	note(world.told, "interrupted %u; ", consumer);
}

static void on_credit(void *context, uint64_t messages, uint64_t bytes)
{
	world.credit_messages = messages;
	world.credit_bytes = bytes;
}

static void on_upstream_changed(void *context)
{
}

static void on_ended(void *context, const struct fault *fault)
{
	note(world.told, "session ended %u; ", fault->code);
}

static const struct session_ops session_ops = {
    .reply = on_reply,
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

/* ------------------------------------------------------------------ the body */

static void dial(void *context, size_t index)
{
}

static void nothing(void *context)
{
}

static const struct upstream_ops upstream_ops = {.dial = dial, .hang_up = nothing, .changed = nothing};

static void no_chance(void *context, void *out, size_t count)
{
	memset(out, 7, count);
}

static void begin(uint32_t window)
{
	static const struct upstream_endpoint endpoint = {"test:5672", "/", "guest", "guest"};
	struct mux_options options = {
	    .limits = {.total_memory = 512u << 20,
		       .session_memory = 64u << 20,
		       .message_max = 2u << 20,
		       .sessions = 100,
		       .channels_per_session = 100,
		       .prefetch = 10,
		       .request_timeout_usec = 30 * USEC_PER_SEC,
		       .publish_timeout_usec = 300 * USEC_PER_SEC},
	    .random = no_chance,
	};
	struct upstream_options upstream = {
	    .name = "default",
	    .endpoints = &endpoint,
	    .endpoint_count = 1,
	    .sasl = "PLAIN",
	    .connect_timeout_usec = 5 * USEC_PER_SEC,
	    .reconnect_min_usec = USEC_PER_SEC,
	    .reconnect_max_usec = USEC_PER_SEC,
	    .unconfirmed_messages = window ? window : 4096,
	    .unconfirmed_bytes = 64u << 20,
	    .queue_prefix = "muxd.gen-",
	};

	memset(&world, 0, sizeof(world));
	world.now.usec = USEC_PER_SEC;
	ck_assert_int_eq(mux_new(&options, &world.mux), 0);
	mux_set_now(world.mux, world.now);
	ck_assert_int_eq(upstream_new(world.mux, &upstream, &upstream_ops, NULL, &world.upstream), 0);
	upstream_start(world.upstream);
}

static void connect_to(uint32_t frame_max, struct span properties)
{
	struct amqc_method start = {.id = AMQC_CONNECTION_START}, tune = {.id = AMQC_CONNECTION_TUNE};

	start.connection_start.version_minor = 9;
	start.connection_start.server_properties = properties;
	start.connection_start.mechanisms = SPAN_LITERAL("PLAIN");
	start.connection_start.locales = SPAN_LITERAL("en_US");
	tune.connection_tune.channel_max = 50;
	tune.connection_tune.frame_max = frame_max;
	upstream_dialled(world.upstream);
	world_method(0, &start);
	world_method(0, &tune);
	world_reply(0, AMQC_CONNECTION_OPEN_OK);
	buf_truncate(upstream_output(world.upstream), 0);
	world_turn();
	*world.sent = 0;
}

void world_connect(uint32_t frame_max)
{
	connect_to(frame_max, SPAN_NULL);
}

void world_begin_on(const char *product, const char *version)
{
	struct buf properties = BUF_INIT;

	amqc_field_append_str(&properties, "product", span_str(product));
	amqc_field_append_str(&properties, "version", span_str(version));
	begin(0);
	connect_to(0, buf_span(&properties));
	buf_deinit(&properties);
}

void world_begin(uint32_t frame_max, uint32_t window)
{
	begin(window);
	world_connect(frame_max);
}

void world_begin_unconnected(void)
{
	begin(0);
}

void world_end(void)
{
	mux_free(world.mux);
}

struct session *world_session(void)
{
	struct session_options options = {
	    .upstream = world.upstream, .get_bytes = 1u << 20, .ops = &session_ops};
	struct session *session;

	ck_assert_int_eq(session_new(world.mux, &options, &session), 0);
	return session;
}

/* ------------------------------------------------------------------ turns */

static void note_sent(const struct amqc_frame *frame)
{
	struct amqc_method method;

	if (frame->type != AMQC_FRAME_METHOD)
		return;
	ck_assert_int_eq(amqc_method_decode(frame->payload, &method), AMQC_OK);
	switch (method.id) {
	case AMQC_CHANNEL_OPEN:
		world_reply(frame->channel, AMQC_CHANNEL_OPEN_OK);
		return;
	case AMQC_CONFIRM_SELECT:
		world_reply(frame->channel, AMQC_CONFIRM_SELECT_OK);
		return;
	case AMQC_BASIC_ACK:
		note(world.sent, "%u ack %llu; ", frame->channel,
		     (unsigned long long)method.basic_ack.delivery_tag);
		return;
	case AMQC_BASIC_NACK:
		note(world.sent, "%u nack %llu; ", frame->channel,
		     (unsigned long long)method.basic_nack.delivery_tag);
		return;
	case AMQC_BASIC_CONSUME:
		note(world.sent, "%u consume %.*s; ", frame->channel,
		     (int)method.basic_consume.consumer_tag.len,
		     (const char *)method.basic_consume.consumer_tag.data);
		return;
	default:
		note(world.sent, "%u %s; ", frame->channel, amqc_method_name(method.id));
	}
}

static void take_output(void)
{
	struct buf *out = upstream_output(world.upstream);
	struct buf copy = BUF_INIT;
	struct span rest;
	struct amqc_frame frame;
	size_t size;

	buf_append_span(&copy, buf_span(out));
	buf_consume(out, buf_len(out));
	for (rest = buf_span(&copy); rest.len > 0; rest = span_skip(rest, size)) {
		ck_assert_int_eq(amqc_frame_peek(rest, UINT32_MAX, &frame, &size), AMQC_OK);
		note_sent(&frame);
	}
	buf_deinit(&copy);
}

void world_turn(void)
{
	do {
		mux_turn(world.mux);
		take_output();
		upstream_pump(world.upstream);
	} while (buf_len(upstream_output(world.upstream)) > 0);
}

void world_pass(uint64_t usec)
{
	world.now.usec += usec;
	mux_set_now(world.mux, world.now);
	mux_run_timers(world.mux);
	world_turn();
}

const char *world_sent(void)
{
	world_turn();
	return take(world.sent);
}

const char *world_told(void)
{
	world_turn();
	return take(world.told);
}

/* ------------------------------------------------------------------ the broker */

static void feed(struct buf *bytes)
{
	ck_assert(!buf_failed(bytes));
	ck_assert_uint_eq(upstream_feed(world.upstream, buf_span(bytes)), buf_len(bytes));
	buf_deinit(bytes);
}

void world_method(uint16_t lane, const struct amqc_method *method)
{
	struct buf bytes = BUF_INIT;

	ck_assert_int_eq(amqc_method_append(&bytes, lane, method), AMQC_OK);
	feed(&bytes);
}

void world_reply(uint16_t lane, enum amqc_method_id id)
{
	world_method(lane, &(struct amqc_method){.id = id});
}

void world_close_lane(uint16_t lane, uint16_t code)
{
	struct amqc_method method = {.id = AMQC_CHANNEL_CLOSE};

	method.channel_close.reply_code = code;
	world_method(lane, &method);
}

void world_refuse_connection(void)
{
	struct amqc_method start = {.id = AMQC_CONNECTION_START}, close = {.id = AMQC_CONNECTION_CLOSE};

	start.connection_start.mechanisms = SPAN_LITERAL("PLAIN");
	close.connection_close.reply_code = AMQC_ACCESS_REFUSED;
	upstream_dialled(world.upstream);
	world_method(0, &start);
	world_method(0, &close);
}

void world_confirm(uint16_t lane, uint64_t tag)
{
	struct amqc_method method = {.id = AMQC_BASIC_ACK};

	method.basic_ack.delivery_tag = tag;
	world_method(lane, &method);
}

static void feed_content(uint16_t lane, const struct amqc_method *method)
{
	struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC, .body_size = 2};
	struct buf bytes = BUF_INIT;

	ck_assert_int_eq(amqc_method_append(&bytes, lane, method), AMQC_OK);
	ck_assert_int_eq(amqc_content_header_append(&bytes, lane, &header), AMQC_OK);
	amqc_body_append(&bytes, lane, SPAN_LITERAL("hi"), 4096);
	feed(&bytes);
}

void world_deliver(uint16_t lane, const char *consumer_tag, uint64_t tag)
{
	struct amqc_method method = {.id = AMQC_BASIC_DELIVER};

	method.basic_deliver.consumer_tag = span_str(consumer_tag);
	method.basic_deliver.delivery_tag = tag;
	feed_content(lane, &method);
}

void world_get_ok(uint16_t lane, uint64_t tag)
{
	struct amqc_method method = {.id = AMQC_BASIC_GET_OK};

	method.basic_get_ok.delivery_tag = tag;
	feed_content(lane, &method);
}

/* ------------------------------------------------------------------ clients */

void world_request(struct session *session, uint32_t id, uint32_t channel, const struct amqc_method *method,
		   uint64_t timeout_usec)
{
	session_request(session, &(struct mux_request){.id = id,
						       .channel = channel,
						       .method = method,
						       .timeout_usec = timeout_usec,
						       .consumer = 1,
						       .credit_messages = 1000,
						       .credit_bytes = 1000000});
}

void world_declare(struct session *session, uint32_t id, uint32_t channel, const char *queue)
{
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};

	method.queue_declare.queue = span_str(queue);
	world_request(session, id, channel, &method, 0);
}

void world_consume(struct session *session, uint32_t id, uint32_t channel, uint32_t consumer,
		   uint64_t timeout_usec)
{
	struct amqc_method method = {.id = AMQC_BASIC_CONSUME};

	method.basic_consume.queue = SPAN_LITERAL("q");
	session_request(session, &(struct mux_request){.id = id,
						       .channel = channel,
						       .method = &method,
						       .timeout_usec = timeout_usec,
						       .consumer = consumer,
						       .credit_messages = 1000,
						       .credit_bytes = 1000000});
}

void world_cancel(struct session *session, uint32_t id, uint32_t channel, uint32_t consumer,
		  uint64_t timeout_usec)
{
	struct amqc_method method = {.id = AMQC_BASIC_CANCEL};

	session_request(session, &(struct mux_request){.id = id,
						       .channel = channel,
						       .method = &method,
						       .timeout_usec = timeout_usec,
						       .consumer = consumer});
}

void world_get(struct session *session, uint32_t id, uint32_t channel, bool no_ack, uint64_t timeout_usec)
{
	struct amqc_method method = {.id = AMQC_BASIC_GET};

	method.basic_get.queue = SPAN_LITERAL("q");
	method.basic_get.no_ack = no_ack;
	world_request(session, id, channel, &method, timeout_usec);
}

void world_publish(struct session *session, uint32_t channel, const char *body)
{
	static const struct amqc_properties properties;

	session_publish(session, &(struct mux_publish){.channel = channel,
						       .cost_bytes = strlen(body) + 10,
						       .routing_key = SPAN_LITERAL("q"),
						       .properties = &properties,
						       .body = span_str(body)});
}
