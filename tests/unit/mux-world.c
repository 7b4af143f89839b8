#include "tests/unit/mux-world.h"

#include "daemon/amqp/reply.h"
#include "tests/rig/setup.h"

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

static struct mux_handed handed(const struct mux_content *content)
{
	if (world.cannot_express)
		return (struct mux_handed){0, 0};
	world.position += content->body.len + 1;
	return (struct mux_handed){world.position, content->body.len + 1};
}

static struct mux_handed hear(struct ear *ear, const struct heard *heard)
{
	static const char *const kinds[] = {"confirmed", "returned", "nacked", "not_sent", "unknown"};
	unsigned long long first = heard->first, last = heard->last, tag = heard->tag;
	uint32_t number = heard->channel.number, generation = heard->channel.generation;

	switch (heard->kind) {
	case RIG_REPLY:
		note(world.told, "%u %s; ", heard->request, amqc_method_name(heard->reply->id));
		break;
	case RIG_REFUSED:
		note(world.told, "refuse %u %s %u; ", heard->request, scope_name(heard->scope),
		     heard->fault->code);
		break;
	case RIG_GOT:
		note(world.told, "got %u tag %llu; ", heard->request, tag);
		break;
	case RIG_DELIVERED:
		note(world.told, "deliver %u tag %llu; ", heard->consumer, tag);
		break;
	case RIG_RETURNED:
		note(world.told, "returned %llu; ", first);
		break;
	case RIG_OUTCOME:
		note(world.told, "%u/%u %s %llu-%llu; ", number, generation, kinds[heard->outcome], first,
		     last);
		break;
	case RIG_CHANNEL_ENDED:
		note(world.told, "%u/%u ended %u; ", number, generation, heard->fault->code);
		break;
	case RIG_CONSUMER_CANCELLED:
		note(world.told, "cancelled %u; ", heard->consumer);
		break;
	case RIG_CONSUMER_INTERRUPTED:
		note(world.told, "interrupted %u; ", heard->consumer);
		break;
	case RIG_CREDIT:
		world.credit_messages = heard->first;
		world.credit_bytes = heard->last;
		break;
	case RIG_ENDED:
		note(world.told, "session ended %u; ", heard->fault->code);
		break;
	case RIG_UPSTREAM:
	case RIG_NOTHING:
		break;
	}
	return heard->content ? handed(heard->content) : (struct mux_handed){0, 0};
}

/* ------------------------------------------------------------------ beginning and end */

static void begin(uint32_t window, unsigned int warm_lanes)
{
	struct mux_options options = setup_mux();
	struct upstream_options upstream = setup_upstream();

	options.limits.total_memory = 512u << 20;
	options.limits.session_memory = 64u << 20;
	options.limits.message_max = 2u << 20;
	options.limits.sessions = 100;
	options.limits.channels_per_session = 100;
	options.random = setup_no_chance;
	upstream.reconnect_min_usec = upstream.reconnect_max_usec = USEC_PER_SEC;
	upstream.warm_lanes = warm_lanes;
	if (window)
		upstream.unconfirmed_messages = window;
	memset(&world, 0, sizeof(world));
	world.ear.hear = hear;
	world.now.usec = USEC_PER_SEC;
	ck_assert_int_eq(mux_new(&options, &world.mux), 0);
	mux_set_now(world.mux, world.now);
	ck_assert_int_eq(upstream_new(world.mux, &upstream, &setup_no_body, NULL, &world.upstream), 0);
	remote_init(&world.remote, world.upstream, false);
	upstream_start(world.upstream);
}

static void connect_to(uint32_t frame_max, const char *product, const char *version)
{
	remote_dialled(&world.remote);
	remote_say_start(&world.remote, product, version);
	remote_say_tune(&world.remote, 50, frame_max, 0);
	world_reply(0, AMQC_CONNECTION_OPEN_OK);
	world_turn();
	*world.sent = 0;
}

void world_connect(uint32_t frame_max)
{
	connect_to(frame_max, NULL, NULL);
}

static void begin_on(const char *product, const char *version, unsigned int warm_lanes)
{
	begin(0, warm_lanes);
	connect_to(0, product, version);
}

void world_begin_on(const char *product, const char *version)
{
	begin_on(product, version, 0);
}

void world_begin_warm(const char *product, const char *version)
{
	begin_on(product, version, 1);
}

void world_begin(uint32_t frame_max, uint32_t window)
{
	begin(window, 0);
	world_connect(frame_max);
}

void world_begin_unconnected(void)
{
	begin(0, 0);
}

void world_end(void)
{
	mux_free(world.mux);
	remote_deinit(&world.remote);
}

struct session *world_session(void)
{
	struct session_options options = {
	    .upstream = world.upstream, .get_bytes = 1u << 20, .ops = &hear_ops, .context = &world.ear};
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

void world_turn(void)
{
	struct amqc_frame frame;

	do {
		mux_turn(world.mux);
		remote_collect(&world.remote, SIZE_MAX);
		while (remote_next(&world.remote, UINT32_MAX, &frame))
			note_sent(&frame);
		ck_assert_uint_eq(buf_len(&world.remote.heard), 0);
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

void world_method(uint16_t lane, const struct amqc_method *method)
{
	remote_say(&world.remote, lane, method);
	ck_assert_uint_eq(buf_len(&world.remote.left), 0);
}

void world_reply(uint16_t lane, enum amqc_method_id id)
{
	world_method(lane, &(struct amqc_method){.id = id});
}

void world_close_lane(uint16_t lane, uint16_t code)
{
	remote_close_lane(&world.remote, lane, code, "");
}

void world_refuse_connection(void)
{
	struct amqc_method close = {.id = AMQC_CONNECTION_CLOSE};

	close.connection_close.reply_code = AMQC_ACCESS_REFUSED;
	remote_dialled(&world.remote);
	remote_say_start(&world.remote, NULL, NULL);
	world_method(0, &close);
}

void world_confirm(uint16_t lane, uint64_t tag)
{
	remote_ack(&world.remote, lane, tag, false);
}

void world_deliver(uint16_t lane, const char *consumer_tag, uint64_t tag)
{
	remote_deliver(&world.remote, lane, consumer_tag, tag, SPAN_LITERAL("hi"));
	ck_assert_uint_eq(buf_len(&world.remote.left), 0);
}

void world_get_ok(uint16_t lane, uint64_t tag)
{
	struct amqc_method method = {.id = AMQC_BASIC_GET_OK};

	method.basic_get_ok.delivery_tag = tag;
	remote_say_content(&world.remote, lane, &method, SPAN_LITERAL("hi"), 131072);
	ck_assert_uint_eq(buf_len(&world.remote.left), 0);
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
