/*
 * A connection is lost and made again: what comes back, in which order, and
 * what becomes of what does not. The broker is a script; its answers on the
 * second connection are given by handled().
 */
#include "tests/unit/mux-rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEARTBEAT_SEC 5u

static struct rig rig;

/* What the broker was asked on the second connection, as words. */
static char asked[4096];

/* The method that is refused, by number and name of what it is about, and how often. */
static enum amqc_method_id refused_method;
static const char *refused_name;
static uint16_t refused_code;
static unsigned int refusals;

static struct span name_of(const struct amqc_method *method)
{
	switch (method->id) {
	case AMQC_EXCHANGE_DECLARE:
		return method->exchange_declare.exchange;
	case AMQC_QUEUE_DECLARE:
		return method->queue_declare.queue;
	case AMQC_QUEUE_BIND:
		return method->queue_bind.queue;
	case AMQC_EXCHANGE_BIND:
		return method->exchange_bind.destination;
	case AMQC_BASIC_CONSUME:
		return method->basic_consume.queue;
	case AMQC_BASIC_GET:
		return method->basic_get.queue;
	case AMQC_BASIC_PUBLISH:
		return method->basic_publish.routing_key;
	default:
		return SPAN_NULL;
	}
}

static void refuse(uint16_t lane, enum amqc_method_id id)
{
	struct amqc_method close = {.id = AMQC_CHANNEL_CLOSE};

	close.channel_close.reply_code = refused_code;
	close.channel_close.reply_text = SPAN_LITERAL("no");
	close.channel_close.class_id = AMQC_CLASS_ID(id);
	close.channel_close.method_id = AMQC_METHOD_ID(id);
	rig_say(&rig, lane, &close);
}

/* A lane that was closed hears nothing more. */
static bool lane_closed[256];

static bool handled(const struct rig_frame *frame)
{
	struct span name;
	size_t len = strlen(asked);

	if (frame->type != AMQC_FRAME_METHOD)
		return false;
	if (frame->method.id == AMQC_CHANNEL_OPEN)
		lane_closed[frame->lane] = false;
	if (lane_closed[frame->lane])
		return true;
	name = name_of(&frame->method);
	if (name.len > 0)
		snprintf(asked + len, sizeof(asked) - len, "%s %.*s; ", amqc_method_name(frame->method.id),
			 (int)name.len, (const char *)name.data);
	if (refusals == 0 || frame->method.id != refused_method || !span_equal_str(name, refused_name))
		return false;
	refusals--;
	lane_closed[frame->lane] = true;
	refuse(frame->lane, frame->method.id);
	return true;
}

static void refuse_next(enum amqc_method_id method, const char *name, uint16_t code, unsigned int times)
{
	refused_method = method;
	refused_name = name;
	refused_code = code;
	refusals = times;
}

static struct rig_session *ready(void)
{
	struct rig_session *session = rig_session(&rig);

	for (uint32_t number = 1; number <= 3; number++)
		session_open_channel(session->session, number, 1);
	return session;
}

static void beat(void)
{
	static const uint8_t heartbeat[] = {8, 0, 0, 0, 0, 0, 0, 0xCE};

	(void)upstream_feed(rig.upstream, span_make(heartbeat, sizeof(heartbeat)));
}

static void begin(void)
{
	rig_init(&rig);
	rig.upstream_options.warm_lanes = 0;
	rig.upstream_options.heartbeat_sec = HEARTBEAT_SEC;
	rig.heartbeat_sec = HEARTBEAT_SEC;
	rig_start(&rig);
	rig_connect(&rig, 100, 131072);
	memset(asked, 0, sizeof(asked));
	memset(lane_closed, 0, sizeof(lane_closed));
	refusals = 0;
}

static void lose(void)
{
	rig_lose(&rig);
	rig_pass(&rig, 30 * USEC_PER_SEC - 1);
}

static void come_back(void)
{
	memset(asked, 0, sizeof(asked));
	rig_connect(&rig, 100, 131072);
	rig_serve_but(&rig, handled);
}

static void lose_and_come_back(void)
{
	lose();
	come_back();
}

static void request(struct rig_session *session, uint32_t channel, const struct amqc_method *method)
{
	(void)rig_request(session, channel, method, 0);
}

static void declare_exchange(struct rig_session *session, const char *name, bool auto_delete)
{
	struct amqc_method method = {.id = AMQC_EXCHANGE_DECLARE};

	method.exchange_declare.exchange = span_str(name);
	method.exchange_declare.type = SPAN_LITERAL("fanout");
	method.exchange_declare.auto_delete = auto_delete;
	request(session, 1, &method);
}

static void declare_auto_delete(struct rig_session *session, const char *name)
{
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};

	method.queue_declare.queue = span_str(name);
	method.queue_declare.auto_delete = true;
	request(session, 1, &method);
}

static void bind(struct rig_session *session, const char *queue, const char *exchange)
{
	struct amqc_method method = {.id = AMQC_QUEUE_BIND};

	method.queue_bind.queue = span_str(queue);
	method.queue_bind.exchange = span_str(exchange);
	request(session, 1, &method);
}

static void delete_queue(struct rig_session *session, uint32_t channel, const char *queue)
{
	struct amqc_method method = {.id = AMQC_QUEUE_DELETE};

	method.queue_delete.queue = span_str(queue);
	request(session, channel, &method);
}

static void purge(struct rig_session *session, uint32_t channel, const char *queue)
{
	struct amqc_method method = {.id = AMQC_QUEUE_PURGE};

	method.queue_purge.queue = span_str(queue);
	request(session, channel, &method);
}

static void forget_events(struct rig_session *session)
{
	while (rig_event(session)->kind != RIG_NOTHING)
		;
}

/* ------------------------------------------------------------------ order */

START_TEST(recovery__makes_topology_then_subscribes_then_publishes_whoever_it_is_of)
{
	struct rig_session *one, *two;

	begin();
	one = ready();
	two = ready();
	rig_publish(one, 2, "first", SPAN_LITERAL("is on its way when the connection is lost"));
	declare_exchange(two, "e", false);
	rig_declare(two, 1, "q", false);
	bind(two, "q", "e");
	rig_consume(two, 1, 1, "q", "tag", 10);
	rig_turn(&rig);
	rig_serve(&rig);
	rig_publish(one, 2, "second", SPAN_LITERAL("x"));
	rig_turn(&rig);
	lose();
	rig_publish(one, 3, "third", SPAN_LITERAL("waits"));
	come_back();
	ck_assert_str_eq(asked, "exchange.declare e; queue.declare q; queue.bind q; basic.consume q; "
				"basic.publish second; basic.publish third; ");
	forget_events(two);
	ck_assert_ptr_null(rig_last(two, RIG_CHANNEL_ENDED));
	ck_assert_int_eq(rig_last(one, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__sends_requests_and_publishes_of_a_channel_again_in_their_order)
{
	struct rig_session *session;

	begin();
	session = ready();
	rig_publish(session, 1, "a", SPAN_LITERAL("1"));
	rig_declare(session, 1, "b", false);
	rig_publish(session, 1, "c", SPAN_LITERAL("2"));
	rig_get(session, 1, "d");
	rig_publish(session, 1, "e", SPAN_LITERAL("3"));
	rig_turn(&rig);
	rig_publish(session, 1, "f", SPAN_LITERAL("not sent yet"));
	lose_and_come_back();
	ck_assert_str_eq(asked,
			 "basic.publish a; queue.declare b; basic.publish c; basic.get d; basic.publish e; "
			 "basic.publish f; ");
	ck_assert_ptr_null(rig_last(session, RIG_REFUSED));
	ck_assert_uint_eq(rig_last(session, RIG_OUTCOME)->last, 4);
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__what_would_not_do_the_same_twice_ends_in_doubt_and_the_channel_goes_on)
{
	struct rig_session *session;
	const struct rig_event *event;

	begin();
	session = ready();
	rig_declare(session, 1, "q", false);
	rig_serve(&rig);
	purge(session, 1, "p");
	delete_queue(session, 1, "q");
	rig_publish(session, 1, "k", SPAN_LITERAL("x"));
	rig_turn(&rig);
	forget_events(session);
	lose();
	event = rig_event_of(session, RIG_REFUSED);
	ck_assert(event->retryable);
	ck_assert_int_eq(event->scope, SCOPE_REQUEST);
	ck_assert_uint_eq(rig_event_of(session, RIG_REFUSED)->code, AMQC_CONNECTION_FORCED);
	come_back();
	/* The queue may be deleted or not; it is not brought back. */
	ck_assert_str_eq(asked, "basic.publish k; ");
	ck_assert_ptr_null(rig_last(session, RIG_CHANNEL_ENDED));
	rig_free(&rig);
}
END_TEST

/* ------------------------------------------------------------------ what is brought back */

START_TEST(recovery__a_queue_deleted_on_one_channel_is_not_resurrected_by_another)
{
	struct rig_session *one, *two;

	begin();
	one = ready();
	two = ready();
	declare_exchange(one, "e", false);
	rig_declare(one, 1, "q", false);
	bind(one, "q", "e");
	rig_declare(two, 2, "q", false);
	rig_serve(&rig);
	delete_queue(two, 3, "q");
	rig_serve(&rig);
	lose_and_come_back();
	ck_assert_str_eq(asked, "exchange.declare e; ");
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__what_was_declared_passively_unbound_or_by_a_session_that_ended_is_not_brought_back)
{
	struct rig_session *one, *two;
	struct amqc_method passive = {.id = AMQC_QUEUE_DECLARE}, unbind = {.id = AMQC_QUEUE_UNBIND};

	begin();
	one = ready();
	two = ready();
	passive.queue_declare.queue = SPAN_LITERAL("passive");
	passive.queue_declare.passive = true;
	request(one, 1, &passive);
	rig_declare(one, 1, "q", false);
	declare_exchange(one, "e", false);
	bind(one, "q", "e");
	unbind.queue_unbind.queue = SPAN_LITERAL("q");
	unbind.queue_unbind.exchange = SPAN_LITERAL("e");
	request(one, 1, &unbind);
	rig_declare(two, 1, "gone", false);
	rig_serve(&rig);
	rig_end(two);
	rig_serve(&rig);
	lose_and_come_back();
	ck_assert_str_eq(asked, "exchange.declare e; queue.declare q; ");
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__unbinding_with_the_arguments_in_another_order_is_the_same_binding)
{
	struct amqc_method bind = {.id = AMQC_QUEUE_BIND}, unbind = {.id = AMQC_QUEUE_UNBIND};
	struct buf one_order = BUF_INIT, other_order = BUF_INIT;
	struct rig_session *session;

	amqc_field_append_str(&one_order, "x-match", SPAN_LITERAL("all"));
	amqc_field_append_bool(&one_order, "a", true);
	amqc_field_append_bool(&other_order, "a", true);
	amqc_field_append_str(&other_order, "x-match", SPAN_LITERAL("all"));
	begin();
	session = ready();
	rig_declare(session, 1, "q", false);
	bind.queue_bind.queue = unbind.queue_unbind.queue = SPAN_LITERAL("q");
	bind.queue_bind.exchange = unbind.queue_unbind.exchange = SPAN_LITERAL("amq.headers");
	bind.queue_bind.arguments = buf_span(&one_order);
	unbind.queue_unbind.arguments = buf_span(&other_order);
	request(session, 1, &bind);
	rig_serve(&rig);
	lose_and_come_back();
	ck_assert_str_eq(asked, "queue.declare q; queue.bind q; ");
	request(session, 1, &unbind);
	rig_serve(&rig);
	lose_and_come_back();
	ck_assert_str_eq(asked, "queue.declare q; ");
	rig_free(&rig);
	buf_deinit(&one_order);
	buf_deinit(&other_order);
}
END_TEST

START_TEST(recovery__what_two_sessions_declared_is_made_once_and_stays_until_both_ended)
{
	struct rig_session *one, *two;

	begin();
	one = ready();
	two = ready();
	rig_declare(one, 1, "q", false);
	rig_declare(two, 1, "q", false);
	rig_serve(&rig);
	rig_end(one);
	lose_and_come_back();
	ck_assert_str_eq(asked, "queue.declare q; ");
	rig_end(two);
	lose_and_come_back();
	ck_assert_str_eq(asked, "");
	ck_assert_uint_eq(mux_memory_used(rig.mux), 0);
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__an_auto_delete_exchange_that_went_with_its_queue_is_made_again)
{
	struct rig_session *session;

	begin();
	session = ready();
	declare_exchange(session, "e", true);
	rig_declare(session, 1, "q", true);
	bind(session, "q", "e");
	rig_serve(&rig);
	lose_and_come_back();
	ck_assert_str_eq(asked, "exchange.declare e; queue.declare q; queue.bind q; ");
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__what_the_broker_deleted_by_itself_is_not_made_again)
{
	struct rig_session *session;

	begin();
	session = ready();
	declare_exchange(session, "e", true);
	declare_auto_delete(session, "q");
	bind(session, "q", "e");
	rig_consume(session, 2, 1, "q", "one", 10);
	rig_consume(session, 3, 1, "q", "two", 10);
	rig_serve(&rig);
	rig_cancel(session, 2, 1, 0);
	rig_serve(&rig);
	lose_and_come_back();
	ck_assert_str_eq(asked, "exchange.declare e; queue.declare q; queue.bind q; basic.consume q; ");
	rig_cancel(session, 3, 1, 0); /* the last consumer: queue, binding and exchange go */
	rig_serve(&rig);
	lose_and_come_back();
	ck_assert_str_eq(asked, "");
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__consumers_keep_their_tags_and_prefetch)
{
	struct rig_session *session;
	struct amqc_method qos = {.id = AMQC_BASIC_QOS};
	struct rig_frame frame;

	begin();
	session = ready();
	qos.basic_qos.prefetch_count = 7;
	request(session, 1, &qos);
	rig_consume(session, 1, 1, "q", "mine", 10);
	rig_serve(&rig);
	lose();
	rig_connect(&rig, 100, 131072);
	rig_turn(&rig);
	(void)rig_open_lane(&rig);
	rig_expect(&rig, AMQC_BASIC_QOS, &frame);
	ck_assert_uint_eq(frame.method.basic_qos.prefetch_count, 7);
	rig_expect(&rig, AMQC_BASIC_CONSUME, &frame);
	ck_assert(span_equal_str(frame.method.basic_consume.consumer_tag, "mine"));
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__a_cancel_that_the_broker_did_not_answer_is_done)
{
	struct rig_session *session;

	begin();
	session = ready();
	rig_consume(session, 1, 1, "q", "mine", 10);
	rig_serve(&rig);
	rig_cancel(session, 1, 1, 0);
	rig_turn(&rig);
	lose_and_come_back();
	ck_assert_str_eq(asked, "");
	ck_assert_int_eq(rig_last(session, RIG_REPLY)->reply, AMQC_BASIC_CANCEL_OK);
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__a_consumer_cancelled_while_the_broker_is_away_stays_away)
{
	struct rig_session *session;

	begin();
	session = ready();
	rig_consume(session, 1, 1, "q", "mine", 10);
	rig_serve(&rig);
	lose();
	rig_cancel(session, 1, 1, 0);
	ck_assert_int_eq(rig_last(session, RIG_REPLY)->reply, AMQC_BASIC_CANCEL_OK);
	come_back();
	ck_assert_str_eq(asked, "");
	rig_free(&rig);
}
END_TEST

static void consume_replies(struct rig_session *session)
{
	struct amqc_method consume = {.id = AMQC_BASIC_CONSUME};
	struct mux_request reply_to = {.id = 900, .channel = 1, .method = &consume, .consumer = 5};

	consume.basic_consume.queue = SPAN_LITERAL("amq.rabbitmq.reply-to");
	consume.basic_consume.no_ack = true;
	reply_to.credit_messages = 10;
	reply_to.credit_bytes = 1000;
	session_request(session->session, &reply_to);
}

START_TEST(recovery__direct_reply_to_goes_on_and_the_client_is_told_that_addresses_are_void)
{
	struct rig_session *session;

	begin();
	session = ready();
	consume_replies(session);
	rig_serve(&rig);
	rig_publish(session, 1, "server", SPAN_LITERAL("call"));
	rig_turn(&rig);
	forget_events(session);
	lose_and_come_back();
	ck_assert_uint_eq(rig_event_of(session, RIG_CONSUMER_INTERRUPTED)->consumer, 5);
	ck_assert_str_eq(asked, "basic.consume amq.rabbitmq.reply-to; basic.publish server; ");
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__direct_reply_to_is_interrupted_once_however_often_its_channel_is_tried)
{
	const struct rig_event *event;
	struct rig_session *session;
	unsigned int told = 0;

	begin();
	session = ready();
	consume_replies(session);
	rig_consume(session, 1, 1, "q", "tag", 10);
	rig_serve(&rig);
	forget_events(session);
	refuse_next(AMQC_BASIC_CONSUME, "q", AMQC_ACCESS_REFUSED, 2);
	lose_and_come_back();
	for (int i = 0; i < 2; i++) {
		rig_pass(&rig, USEC_PER_SEC);
		rig_serve_but(&rig, handled);
	}
	ck_assert_str_eq(asked, "basic.consume amq.rabbitmq.reply-to; basic.consume q; "
				"basic.consume amq.rabbitmq.reply-to; basic.consume q; "
				"basic.consume amq.rabbitmq.reply-to; basic.consume q; ");
	while ((event = rig_event(session))->kind != RIG_NOTHING)
		told += event->kind == RIG_CONSUMER_INTERRUPTED;
	ck_assert_uint_eq(told, 1);
	rig_free(&rig);
}
END_TEST

/* ------------------------------------------------------------------ refusals */

START_TEST(recovery__an_exclusive_queue_that_is_still_locked_delays_only_what_depends_on_it)
{
	struct rig_session *one, *two;

	begin();
	one = ready();
	two = ready();
	declare_exchange(one, "e", false);
	rig_declare(one, 1, "locked", true);
	bind(one, "locked", "e");
	rig_consume(one, 1, 1, "locked", "tag", 10);
	rig_declare(two, 1, "other", false);
	rig_consume(two, 1, 1, "other", "tag", 10);
	rig_serve(&rig);
	refuse_next(AMQC_QUEUE_DECLARE, "locked", AMQC_RESOURCE_LOCKED, 2);
	lose();
	rig_publish(two, 2, "locked", SPAN_LITERAL("is for the queue that is not there"));
	rig_publish(two, 3, "k", SPAN_LITERAL("is not"));
	come_back();
	ck_assert_str_eq(asked, "exchange.declare e; queue.declare locked; queue.declare other; "
				"basic.consume other; basic.publish k; ");
	memset(asked, 0, sizeof(asked));
	rig_pass(&rig, USEC_PER_SEC);
	rig_serve_but(&rig, handled);
	ck_assert_str_eq(asked, "queue.declare locked; ");
	memset(asked, 0, sizeof(asked));
	rig_pass(&rig, USEC_PER_SEC);
	rig_serve_but(&rig, handled);
	/* Of two sessions, whose order is free. */
	if (strcmp(asked, "queue.declare locked; queue.bind locked; basic.publish locked; "
			  "basic.consume locked; ") != 0)
		ck_assert_str_eq(asked, "queue.declare locked; queue.bind locked; basic.consume locked; "
					"basic.publish locked; ");
	ck_assert_ptr_null(rig_last(one, RIG_CHANNEL_ENDED));
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__what_is_to_come_back_has_the_first_lane_that_comes_free)
{
	struct rig_session *one, *two, *three;

	begin();
	one = ready();
	two = ready();
	three = ready();
	rig_declare(one, 1, "locked", true);
	rig_serve(&rig);
	refuse_next(AMQC_QUEUE_DECLARE, "locked", AMQC_RESOURCE_LOCKED, 1);
	lose();
	memset(asked, 0, sizeof(asked));
	rig_connect(&rig, 1, 131072);
	rig_serve_but(&rig, handled);
	ck_assert_str_eq(asked, "queue.declare locked; ");
	/* It keeps the only lane, longer than the patience with a lock is. */
	rig_consume(two, 1, 1, "other", "tag", 10);
	rig_serve_but(&rig, handled);
	rig_publish(three, 1, "k", SPAN_LITERAL("waits for a lane"));
	for (unsigned int second = 0; second < 3 * HEARTBEAT_SEC + 2; second++) {
		rig_pass(&rig, USEC_PER_SEC);
		beat();
		rig_serve_but(&rig, handled);
	}
	ck_assert_str_eq(asked, "queue.declare locked; basic.consume other; ");
	rig_end(two);
	rig_serve_but(&rig, handled);
	ck_assert_str_eq(asked, "queue.declare locked; basic.consume other; queue.declare locked; "
				"basic.publish k; ");
	ck_assert_ptr_null(rig_last(one, RIG_CHANNEL_ENDED));
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__one_locked_queue_is_asked_for_at_a_time_and_each_in_turn)
{
	struct rig_session *session;

	begin();
	session = ready();
	rig_declare(session, 1, "a", true);
	rig_declare(session, 1, "b", true);
	rig_declare(session, 1, "c", true);
	rig_declare(session, 1, "shared", false);
	rig_serve(&rig);
	refuse_next(AMQC_QUEUE_DECLARE, "a", AMQC_RESOURCE_LOCKED, UINT32_MAX);
	lose_and_come_back();
	ck_assert_str_eq(asked, "queue.declare a; queue.declare shared; ");
	memset(asked, 0, sizeof(asked));
	rig_pass(&rig, USEC_PER_SEC);
	rig_serve_but(&rig, handled);
	/* It was only the one: the others are there, and are not asked for again. */
	ck_assert_str_eq(asked, "queue.declare b; queue.declare c; queue.declare a; ");
	memset(asked, 0, sizeof(asked));
	refusals = 0;
	rig_pass(&rig, USEC_PER_SEC);
	rig_serve_but(&rig, handled);
	ck_assert_str_eq(asked, "queue.declare a; ");
	ck_assert_ptr_null(rig_last(session, RIG_CHANNEL_ENDED));
	rig_free(&rig);
}
END_TEST

/* A delivery as a stream makes it. */
static void deliver_at(uint16_t lane, uint64_t tag, int64_t offset)
{
	struct amqc_method method = {.id = AMQC_BASIC_DELIVER};
	struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC, .body_size = 1};
	struct amqc_field field = {.type = 'l', .value.signed_int = offset};
	struct span name = SPAN_LITERAL("x-stream-offset");
	struct buf table = BUF_INIT, frames = BUF_INIT;
	size_t mark;

	method.basic_deliver.consumer_tag = SPAN_LITERAL("tag");
	method.basic_deliver.delivery_tag = tag;
	ck_assert_int_eq(amqc_field_append(&table, &name, &field), AMQC_OK);
	header.properties.present = AMQC_PROP_HEADERS;
	header.properties.headers = buf_span(&table);
	ck_assert_int_eq(amqc_method_append(&frames, lane, &method), AMQC_OK);
	ck_assert_int_eq(amqc_content_header_append(&frames, lane, &header), AMQC_OK);
	mark = amqc_frame_begin(&frames, AMQC_FRAME_BODY, lane);
	buf_append_span(&frames, SPAN_LITERAL("x"));
	amqc_frame_end(&frames, mark);
	ck_assert_uint_eq(upstream_feed(rig.upstream, buf_span(&frames)), buf_len(&frames));
	buf_deinit(&table);
	buf_deinit(&frames);
}

START_TEST(recovery__a_consumer_of_a_stream_goes_on_behind_its_last_message)
{
	struct rig_session *session;
	struct amqc_method consume = {.id = AMQC_BASIC_CONSUME};
	struct mux_request stream = {.id = 900, .channel = 1, .method = &consume, .consumer = 1};
	struct span name = SPAN_LITERAL("x-stream-offset");
	struct amqc_field first = {.type = 'S', .value.bytes = SPAN_LITERAL("first")}, field;
	struct buf table = BUF_INIT;
	struct rig_frame frame;
	uint16_t lane;

	begin();
	session = ready();
	ck_assert_int_eq(amqc_field_append(&table, &name, &first), AMQC_OK);
	consume.basic_consume.queue = SPAN_LITERAL("stream");
	consume.basic_consume.consumer_tag = SPAN_LITERAL("tag");
	consume.basic_consume.arguments = buf_span(&table);
	stream.credit_messages = 100;
	stream.credit_bytes = 100000;
	session_request(session->session, &stream);
	rig_turn(&rig);
	lane = rig_open_lane(&rig);
	rig_serve(&rig);
	deliver_at(lane, 1, 40);
	deliver_at(lane, 2, 41);
	lose();
	rig_connect(&rig, 100, 131072);
	rig_turn(&rig);
	(void)rig_open_lane(&rig);
	while (rig_next(&rig, &frame) && frame.method.id != AMQC_BASIC_CONSUME)
		;
	ck_assert(amqc_table_find(frame.method.basic_consume.arguments, "x-stream-offset", &field));
	ck_assert_int_eq(field.type, 'l');
	ck_assert_int_eq(field.value.signed_int, 42);
	buf_deinit(&table);
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__a_queue_that_stays_locked_fails_its_channel_after_three_heartbeat_intervals)
{
	struct rig_session *one, *two;
	uint64_t waited = 0;

	begin();
	one = ready();
	two = ready();
	rig_declare(one, 1, "locked", true);
	rig_serve(&rig);
	refuse_next(AMQC_QUEUE_DECLARE, "locked", AMQC_RESOURCE_LOCKED, UINT32_MAX);
	lose_and_come_back();
	while (!rig_last(one, RIG_CHANNEL_ENDED) && waited < 300) {
		rig_pass(&rig, USEC_PER_SEC);
		beat();
		rig_serve_but(&rig, handled);
		waited++;
	}
	ck_assert_uint_ge(waited, 3 * HEARTBEAT_SEC);
	ck_assert_uint_le(waited, 3 * HEARTBEAT_SEC + 2);
	ck_assert_uint_eq(rig_last(one, RIG_CHANNEL_ENDED)->code, AMQC_RESOURCE_LOCKED);
	ck_assert_uint_eq(rig_last(one, RIG_CHANNEL_ENDED)->channel.number, 1);
	/* And the name is free for others. */
	refusals = 0;
	rig_declare(two, 1, "locked", true);
	rig_serve_but(&rig, handled);
	ck_assert_int_eq(rig_last(two, RIG_REPLY)->reply, AMQC_QUEUE_DECLARE_OK);
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__one_declare_that_fails_ends_the_channel_it_is_of_and_stalls_nobody)
{
	struct rig_session *one, *two;

	begin();
	one = ready();
	two = ready();
	rig_declare(one, 1, "a", false);
	rig_declare(one, 2, "bad", false);
	rig_declare(two, 1, "c", false);
	rig_consume(two, 1, 1, "c", "tag", 10);
	rig_serve(&rig);
	refuse_next(AMQC_QUEUE_DECLARE, "bad", AMQC_PRECONDITION_FAILED, UINT32_MAX);
	lose_and_come_back();
	ck_assert_str_eq(asked, "queue.declare a; queue.declare bad; queue.declare c; basic.consume c; ");
	ck_assert_uint_eq(rig_last(one, RIG_CHANNEL_ENDED)->code, AMQC_PRECONDITION_FAILED);
	ck_assert_uint_eq(rig_last(one, RIG_CHANNEL_ENDED)->channel.number, 2);
	ck_assert_ptr_null(rig_last(two, RIG_CHANNEL_ENDED));
	/* It is not asked for again. */
	lose_and_come_back();
	ck_assert_str_eq(asked, "queue.declare a; queue.declare c; basic.consume c; ");
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__an_exclusive_consumer_that_is_still_refused_is_tried_again_and_nothing_is_lost)
{
	struct rig_session *session;

	begin();
	session = ready();
	rig_consume(session, 1, 1, "q", "tag", 10);
	rig_serve(&rig);
	rig_publish(session, 1, "k", SPAN_LITERAL("unconfirmed"));
	rig_turn(&rig);
	refuse_next(AMQC_BASIC_CONSUME, "q", AMQC_ACCESS_REFUSED, 2);
	lose_and_come_back();
	for (int i = 0; i < 3; i++) {
		rig_pass(&rig, USEC_PER_SEC);
		rig_serve_but(&rig, handled);
	}
	ck_assert_str_eq(asked, "basic.consume q; basic.consume q; basic.consume q; basic.publish k; ");
	ck_assert_ptr_null(rig_last(session, RIG_CHANNEL_ENDED));
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__a_consumer_whose_queue_is_gone_fails_its_channel_with_the_brokers_error)
{
	struct rig_session *session;

	begin();
	session = ready();
	rig_consume(session, 1, 1, "q", "tag", 10);
	rig_consume(session, 2, 1, "r", "tag", 10);
	rig_serve(&rig);
	refuse_next(AMQC_BASIC_CONSUME, "q", AMQC_NOT_FOUND, 1);
	lose_and_come_back();
	ck_assert_uint_eq(rig_last(session, RIG_CHANNEL_ENDED)->code, AMQC_NOT_FOUND);
	ck_assert_uint_eq(rig_last(session, RIG_CHANNEL_ENDED)->channel.number, 1);
	ck_assert_str_eq(asked, "basic.consume q; basic.consume r; ");
	rig_free(&rig);
}
END_TEST

/* No answer to the declare, for ever. */
static bool never_answers(const struct rig_frame *frame)
{
	return frame->type == AMQC_FRAME_METHOD && frame->method.id == AMQC_QUEUE_DECLARE;
}

static void heartbeats_only(uint64_t seconds)
{
	for (uint64_t i = 0; i < seconds; i++) {
		rig_pass(&rig, USEC_PER_SEC);
		beat();
		rig_serve_but(&rig, never_answers);
	}
}

START_TEST(recovery__a_broker_that_does_not_answer_stalls_others_for_three_heartbeat_intervals_at_most)
{
	struct rig_session *one, *two;

	begin();
	one = ready();
	two = ready();
	rig_declare(one, 1, "q", false);
	rig_serve(&rig);
	lose();
	rig_publish(two, 1, "k", SPAN_LITERAL("x"));
	rig_connect(&rig, 100, 131072);
	rig_serve_but(&rig, never_answers);
	ck_assert_ptr_null(rig_last(two, RIG_OUTCOME));
	heartbeats_only(3 * HEARTBEAT_SEC - 1);
	ck_assert_ptr_null(rig_last(two, RIG_OUTCOME));
	heartbeats_only(2);
	ck_assert_int_eq(rig_last(two, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__an_exclusive_queue_stays_its_sessions_through_a_lost_connection)
{
	struct rig_session *one, *two;

	begin();
	one = ready();
	two = ready();
	rig_declare(one, 1, "mine", true);
	rig_serve(&rig);
	lose();
	rig_declare(two, 1, "mine", true);
	ck_assert_uint_eq(rig_last(two, RIG_REFUSED)->code, AMQC_RESOURCE_LOCKED);
	come_back();
	ck_assert_str_eq(asked, "queue.declare mine; ");
	rig_end(one);
	rig_serve(&rig);
	rig_declare(two, 2, "mine", true);
	rig_serve(&rig);
	ck_assert_int_eq(rig_last(two, RIG_REPLY)->reply, AMQC_QUEUE_DECLARE_OK);
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__a_session_that_ends_meanwhile_leaves_nothing_behind)
{
	struct rig_session *session;
	struct rig_frame frame;

	begin();
	session = ready();
	rig_declare(session, 1, "mine", true);
	rig_consume(session, 1, 1, "mine", "tag", 10);
	rig_serve(&rig);
	lose();
	rig_connect(&rig, 100, 131072);
	rig_turn(&rig);
	(void)rig_open_lane(&rig);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	rig_end(session); /* while the declare is on its way */
	memset(asked, 0, sizeof(asked));
	rig_say(&rig, frame.lane,
		&(struct amqc_method){.id = AMQC_QUEUE_DECLARE_OK,
				      .queue_declare_ok.queue = SPAN_LITERAL("mine")});
	rig_turn(&rig);
	rig_expect(&rig, AMQC_QUEUE_DELETE, &frame);
	ck_assert(span_equal_str(frame.method.queue_delete.queue, "mine"));
	rig_say_id(&rig, frame.lane, AMQC_QUEUE_DELETE_OK);
	rig_serve_but(&rig, handled);
	ck_assert_str_eq(asked, "");
	ck_assert_uint_eq(mux_memory_used(rig.mux), 0);
	rig_free(&rig);
}
END_TEST

/* Also what was sent already, and would be sent again. */
START_TEST(recovery__what_a_session_left_behind_has_the_deadlines_that_it_had)
{
	struct rig_session *before, *meanwhile;

	begin();
	before = ready();
	rig_declare(before, 1, "sent", false);
	rig_turn(&rig);
	rig_end(before);
	lose();
	meanwhile = ready();
	rig_declare(meanwhile, 1, "unsent", false);
	rig_end(meanwhile);
	ck_assert_uint_gt(mux_memory_used(rig.mux), 0);
	rig_pass(&rig, 30 * USEC_PER_SEC);
	ck_assert_uint_eq(mux_memory_used(rig.mux), 0);
	come_back();
	ck_assert_str_eq(asked, "");
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__an_exchange_bound_to_itself_is_forgotten_once)
{
	struct rig_session *session;
	struct amqc_method method = {.id = AMQC_EXCHANGE_BIND};

	begin();
	session = ready();
	method.exchange_bind.destination = SPAN_LITERAL("amq.fanout");
	method.exchange_bind.source = SPAN_LITERAL("amq.fanout");
	request(session, 1, &method);
	rig_serve(&rig);
	rig_end(session);
	rig_serve(&rig);
	ck_assert_uint_eq(mux_memory_used(rig.mux), 0);
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__a_consumer_cancelled_while_it_comes_back_keeps_its_tag_until_the_broker_has_cancelled)
{
	struct rig_session *session;
	struct rig_frame frame;
	uint16_t lane;

	begin();
	session = ready();
	rig_consume(session, 1, 1, "q", "tag", 10);
	rig_serve(&rig);
	lose();
	forget_events(session);
	rig_connect(&rig, 100, 131072);
	lane = rig_open_lane(&rig);
	rig_expect(&rig, AMQC_BASIC_QOS, &frame);
	rig_expect(&rig, AMQC_BASIC_CONSUME, &frame);
	rig_cancel(session, 1, 1, 0);
	/* A tag that is in use twice would cost everybody the connection. */
	rig_consume(session, 1, 2, "q", "tag", 10);
	rig_turn(&rig);
	rig_expect_silence(&rig);
	ck_assert_uint_eq(rig_event_of(session, RIG_REFUSED)->code, AMQC_NOT_ALLOWED);
	rig_say_id(&rig, lane, AMQC_BASIC_QOS_OK);
	rig_say(&rig, lane,
		&(struct amqc_method){.id = AMQC_BASIC_CONSUME_OK,
				      .basic_consume_ok.consumer_tag = SPAN_LITERAL("tag")});
	rig_turn(&rig);
	rig_expect(&rig, AMQC_BASIC_CANCEL, &frame);
	rig_expect_no_event(session);
	rig_say_id(&rig, lane, AMQC_BASIC_CANCEL_OK);
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_BASIC_CANCEL_OK);
	lose_and_come_back();
	ck_assert_str_eq(asked, "");
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__a_cancel_that_was_late_is_told_when_the_connection_is_lost)
{
	struct rig_session *session;

	begin();
	session = ready();
	rig_consume(session, 1, 1, "q", "tag", 10);
	rig_serve(&rig);
	rig_cancel(session, 1, 1, USEC_PER_SEC);
	rig_turn(&rig);
	rig_pass(&rig, 2 * USEC_PER_SEC);
	ck_assert_uint_eq(rig_last(session, RIG_REFUSED)->code, 408);
	lose_and_come_back();
	ck_assert_ptr_nonnull(rig_last(session, RIG_CONSUMER_CANCELLED));
	ck_assert_str_eq(asked, "");
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__a_consume_and_its_cancel_are_answered_in_their_order)
{
	struct rig_session *session;

	begin();
	session = ready();
	rig_consume(session, 1, 1, "q", "tag", 10);
	rig_cancel(session, 1, 1, 0);
	rig_turn(&rig);
	lose_and_come_back();
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_BASIC_CONSUME_OK);
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_BASIC_CANCEL_OK);
	lose_and_come_back();
	ck_assert_str_eq(asked, "");
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__what_a_channel_was_deleting_when_it_failed_is_not_resurrected)
{
	struct rig_session *session;

	begin();
	session = ready();
	rig_declare(session, 1, "q", false);
	rig_serve(&rig);
	delete_queue(session, 2, "q");
	rig_turn(&rig);
	session_settle(session->session, 2, SETTLE_ACK, 5, 5); /* a mistake of the client's */
	rig_serve(&rig);
	lose_and_come_back();
	ck_assert_str_eq(asked, "");
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__an_auto_delete_exchange_that_went_with_a_sessions_exclusive_queue_is_not_brought_back)
{
	struct rig_session *one, *two;

	begin();
	one = ready();
	two = ready();
	declare_exchange(two, "e", true);
	rig_serve(&rig);
	rig_declare(one, 1, "q", true);
	bind(one, "q", "e");
	rig_serve(&rig);
	rig_end(one);
	rig_serve(&rig);
	lose_and_come_back();
	ck_assert_str_eq(asked, "");
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__what_waits_for_a_locked_queue_goes_on_when_nobody_would_have_the_queue_any_more)
{
	struct rig_session *one, *two;

	begin();
	one = ready();
	two = ready();
	rig_declare(one, 1, "locked", true);
	rig_serve(&rig);
	refuse_next(AMQC_QUEUE_DECLARE, "locked", AMQC_RESOURCE_LOCKED, UINT32_MAX);
	lose();
	rig_publish(two, 2, "locked", SPAN_LITERAL("waits"));
	come_back();
	ck_assert_str_eq(asked, "queue.declare locked; ");
	rig_end(one);
	rig_serve_but(&rig, handled);
	ck_assert_ptr_nonnull(rig_last(two, RIG_OUTCOME));
	ck_assert_int_eq(rig_last(two, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	rig_free(&rig);
}
END_TEST

/* The lane on which a declare waits for its refusal; 0: none. */
static uint16_t refused_lane;

static bool is_slow_to_refuse(const struct rig_frame *frame)
{
	if (frame->type != AMQC_FRAME_METHOD)
		return false;
	if (frame->method.id == AMQC_CHANNEL_OPEN)
		lane_closed[frame->lane] = false;
	if (lane_closed[frame->lane])
		return true;
	if (frame->method.id != AMQC_QUEUE_DECLARE)
		return false;
	refused_lane = frame->lane;
	lane_closed[frame->lane] = true;
	return true;
}

START_TEST(recovery__locked_queues_at_a_slow_broker_do_not_stall_others)
{
	struct rig_session *one, *two;
	unsigned int rounds = 0;

	begin();
	one = ready();
	two = ready();
	rig_declare(one, 1, "a", true);
	rig_declare(one, 1, "b", true);
	rig_declare(one, 1, "c", true);
	rig_serve(&rig);
	lose();
	rig_publish(two, 2, "k", SPAN_LITERAL("has nothing to do with them"));
	refused_lane = 0;
	refused_code = AMQC_RESOURCE_LOCKED;
	rig_connect(&rig, 100, 131072);
	rig_serve_but(&rig, is_slow_to_refuse);
	while (!rig_last(two, RIG_OUTCOME) && rounds < 30) {
		rig_pass(&rig, 300 * USEC_PER_MSEC);
		if (refused_lane)
			refuse(refused_lane, AMQC_QUEUE_DECLARE);
		refused_lane = 0;
		beat();
		rig_serve_but(&rig, is_slow_to_refuse);
		rounds++;
	}
	ck_assert_uint_le(rounds, 3);
	ck_assert_int_eq(rig_last(two, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__consumers_are_given_lanes_before_those_who_only_publish)
{
	struct rig_session *one, *two;

	begin();
	one = ready();
	two = ready();
	rig_declare(one, 1, "q", false);
	rig_consume(one, 1, 1, "q", "tag", 10);
	rig_consume(one, 2, 1, "q", "tag", 10);
	rig_serve(&rig);
	lose();
	rig_publish(two, 1, "k", SPAN_LITERAL("x"));
	memset(asked, 0, sizeof(asked));
	rig_connect(&rig, 2, 131072);
	for (int i = 0; i < 20; i++) {
		rig_serve_but(&rig, handled);
		rig_pass(&rig, USEC_PER_SEC);
		beat();
	}
	ck_assert_ptr_null(rig_last(one, RIG_CHANNEL_ENDED));
	ck_assert_str_eq(asked, "queue.declare q; basic.consume q; basic.consume q; ");
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__a_deletion_that_is_refused_costs_no_other_one)
{
	struct rig_session *one, *two;
	struct rig_frame frame;
	uint16_t lane;

	begin();
	one = ready();
	two = ready();
	rig_declare(one, 1, "locked", true);
	rig_declare(two, 1, "ours", true);
	rig_serve(&rig);
	refuse_next(AMQC_QUEUE_DECLARE, "locked", AMQC_RESOURCE_LOCKED, UINT32_MAX);
	lose_and_come_back();
	rig_end(one);
	rig_end(two);
	rig_turn(&rig);
	lane = rig_open_lane(&rig);
	rig_expect(&rig, AMQC_QUEUE_DELETE, &frame);
	ck_assert(span_equal_str(frame.method.queue_delete.queue, "locked"));
	rig_expect(&rig, AMQC_QUEUE_DELETE, &frame);
	refuse(lane, AMQC_QUEUE_DELETE);
	rig_turn(&rig);
	rig_expect(&rig, AMQC_CHANNEL_CLOSE_OK, &frame);
	(void)rig_open_lane(&rig);
	rig_expect(&rig, AMQC_QUEUE_DELETE, &frame);
	ck_assert(span_equal_str(frame.method.queue_delete.queue, "ours"));
	rig_say_id(&rig, frame.lane, AMQC_QUEUE_DELETE_OK);
	rig_serve_but(&rig, handled);
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__exclusive_queue_that_may_not_be_deleted_is_locked_as_long_as_the_connection_lasts)
{
	struct rig_session *one, *two;
	struct rig_frame frame;
	uint16_t lane;

	begin();
	one = ready();
	two = ready();
	rig_declare(one, 1, "secrets", true);
	rig_serve(&rig);
	rig_end(one);
	rig_turn(&rig);
	lane = rig_open_lane(&rig);
	rig_expect(&rig, AMQC_QUEUE_DELETE, &frame);
	rig_close_lane(&rig, lane, AMQC_ACCESS_REFUSED, "ACCESS_REFUSED");
	rig_serve(&rig);
	rig_declare(two, 1, "secrets", true);
	ck_assert_uint_eq(rig_event_of(two, RIG_REFUSED)->code, AMQC_RESOURCE_LOCKED);
	rig_serve(&rig);
	lose_and_come_back();
	session_open_channel(two->session, 1, 2);
	rig_declare(two, 1, "secrets", true);
	rig_serve(&rig);
	ck_assert_int_eq(rig_last(two, RIG_REPLY)->reply, AMQC_QUEUE_DECLARE_OK);
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__nothing_else_goes_out_before_what_is_made_for_a_session_that_has_ended_is_answered)
{
	struct rig_session *one, *two;
	struct rig_frame frame;

	begin();
	one = ready();
	two = ready();
	rig_declare(one, 1, "mine", true);
	rig_serve(&rig);
	lose();
	rig_publish(two, 1, "k", SPAN_LITERAL("x"));
	rig_connect(&rig, 100, 131072);
	(void)rig_open_lane(&rig);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	rig_end(one);
	rig_turn(&rig);
	rig_expect_silence(&rig); /* or its deletion might overtake the declaration */
	rig_say(&rig, frame.lane,
		&(struct amqc_method){.id = AMQC_QUEUE_DECLARE_OK,
				      .queue_declare_ok.queue = SPAN_LITERAL("mine")});
	rig_serve(&rig);
	ck_assert_int_eq(rig_last(two, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__a_declaration_too_large_for_the_next_broker_fails_its_channel)
{
	static uint8_t large[5000];
	struct rig_session *session;
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};
	struct buf table = BUF_INIT;

	begin();
	session = ready();
	memset(large, 'x', sizeof(large));
	amqc_field_append_str(&table, "x-large", span_make(large, sizeof(large)));
	method.queue_declare.queue = SPAN_LITERAL("q");
	method.queue_declare.arguments = buf_span(&table);
	request(session, 1, &method);
	rig_declare(session, 2, "r", false);
	rig_serve(&rig);
	buf_deinit(&table);
	lose();
	memset(asked, 0, sizeof(asked));
	rig_connect(&rig, 100, 4096);
	rig_serve_but(&rig, handled);
	ck_assert_uint_eq(rig_last(session, RIG_CHANNEL_ENDED)->code, AMQC_FRAME_ERROR);
	ck_assert_uint_eq(rig_last(session, RIG_CHANNEL_ENDED)->channel.number, 1);
	ck_assert_str_eq(asked, "queue.declare r; ");
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__consumers_of_a_locked_queue_wait_for_the_brokers_last_word)
{
	struct rig_session *session;

	begin();
	session = ready();
	rig_declare(session, 1, "locked", true);
	rig_consume(session, 2, 1, "locked", "tag", 10);
	rig_serve(&rig);
	refuse_next(AMQC_QUEUE_DECLARE, "locked", AMQC_RESOURCE_LOCKED, UINT32_MAX);
	lose_and_come_back();
	for (uint64_t i = 0; i < 3 * HEARTBEAT_SEC - 1; i++) {
		rig_pass(&rig, USEC_PER_SEC);
		beat();
		rig_serve_but(&rig, handled);
	}
	refusals = 0; /* the last try succeeds */
	memset(asked, 0, sizeof(asked));
	rig_pass(&rig, 2 * USEC_PER_SEC);
	beat();
	rig_serve_but(&rig, handled);
	ck_assert_ptr_null(rig_last(session, RIG_CHANNEL_ENDED));
	ck_assert_str_eq(asked, "queue.declare locked; basic.consume locked; ");
	rig_free(&rig);
}
END_TEST

/* The broker ends the connection because of a method. */
static void close_connection(uint16_t code, enum amqc_method_id id)
{
	struct amqc_method close = {.id = AMQC_CONNECTION_CLOSE};

	close.connection_close.reply_code = code;
	close.connection_close.reply_text = SPAN_LITERAL("no");
	close.connection_close.class_id = AMQC_CLASS_ID(id);
	close.connection_close.method_id = AMQC_METHOD_ID(id);
	rig_turn(&rig);
	buf_truncate(&rig.remote.heard, 0);
	rig_say(&rig, 0, &close);
	upstream_lost(rig.upstream, "the broker closed it");
	rig_pass(&rig, 30 * USEC_PER_SEC - 1);
}

START_TEST(recovery__a_request_that_the_broker_closed_the_connection_for_is_not_sent_again)
{
	struct rig_session *one, *two;

	begin();
	one = ready();
	two = ready();
	rig_declare(one, 1, "opens", false);
	rig_serve(&rig);
	rig_publish(one, 1, "before", SPAN_LITERAL("x"));
	rig_get(one, 1, "stream");
	rig_declare(two, 1, "q", false);
	close_connection(AMQC_NOT_IMPLEMENTED, AMQC_BASIC_GET);
	come_back();
	ck_assert_ptr_nonnull(strstr(asked, "queue.declare q; "));
	ck_assert_ptr_null(strstr(asked, "basic.get"));
	ck_assert(!rig_last(one, RIG_REFUSED)->retryable);
	ck_assert_uint_eq(rig_last(one, RIG_REFUSED)->code, AMQC_NOT_IMPLEMENTED);
	ck_assert_uint_eq(rig_last(one, RIG_CHANNEL_ENDED)->code, AMQC_NOT_IMPLEMENTED);
	ck_assert_int_eq(rig_last(one, RIG_OUTCOME)->outcome, OUTCOME_UNKNOWN);
	ck_assert_ptr_null(rig_last(two, RIG_CHANNEL_ENDED));
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__an_operators_close_blames_nobody_whatever_method_it_names)
{
	struct rig_session *session;

	begin();
	session = ready();
	rig_declare(session, 1, "q", false);
	close_connection(AMQC_CONNECTION_FORCED, AMQC_QUEUE_DECLARE);
	come_back();
	ck_assert_str_eq(asked, "queue.declare q; ");
	ck_assert_ptr_null(rig_last(session, RIG_REFUSED));
	rig_free(&rig);
}
END_TEST

START_TEST(recovery__a_declaration_that_the_broker_closes_the_connection_for_is_not_made_again)
{
	struct rig_session *one, *two;

	begin();
	one = ready();
	two = ready();
	rig_declare(one, 2, "bad", false);
	rig_declare(two, 1, "q", false);
	rig_serve(&rig);
	lose();
	rig_connect(&rig, 100, 131072);
	(void)rig_open_lane(&rig);
	close_connection(AMQC_INTERNAL_ERROR, AMQC_QUEUE_DECLARE);
	come_back();
	ck_assert_str_eq(asked, "queue.declare q; ");
	ck_assert_uint_eq(rig_last(one, RIG_CHANNEL_ENDED)->channel.number, 2);
	ck_assert_ptr_null(rig_last(two, RIG_CHANNEL_ENDED));
	rig_free(&rig);
}
END_TEST

/* ------------------------------------------------------------------ tags */

START_TEST(delivery__tags_of_a_lost_connection_are_stale_and_no_mistake)
{
	struct rig_session *session;
	const struct rig_event *event;
	struct rig_frame frame;
	uint64_t old;
	uint16_t lane;

	begin();
	session = ready();
	rig_consume(session, 1, 1, "q", "tag", 10);
	rig_turn(&rig);
	lane = rig_open_lane(&rig);
	rig_serve(&rig);
	rig_deliver(&rig, lane, "tag", 1, "message");
	old = rig_last(session, RIG_DELIVERED)->tag;
	lose_and_come_back();
	rig_deliver(&rig, 1, "tag", 1, "message");
	event = rig_last(session, RIG_DELIVERED);
	ck_assert_uint_gt(event->tag, old);
	session_settle(session->session, 1, SETTLE_ACK, old, old);
	rig_turn(&rig);
	rig_expect_silence(&rig);
	ck_assert_ptr_null(rig_last(session, RIG_CHANNEL_ENDED));
	session_settle(session->session, 1, SETTLE_ACK, event->tag, event->tag);
	rig_turn(&rig);
	rig_expect(&rig, AMQC_BASIC_ACK, &frame);
	ck_assert_uint_eq(frame.method.basic_ack.delivery_tag, 1);
	/* A tag of this connection counts once, as ever. */
	session_settle(session->session, 1, SETTLE_ACK, event->tag, event->tag);
	ck_assert_uint_eq(rig_last(session, RIG_CHANNEL_ENDED)->code, AMQC_PRECONDITION_FAILED);
	rig_free(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux-recovery");
	TCase *tcase = tcase_create("mux-recovery");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, recovery__makes_topology_then_subscribes_then_publishes_whoever_it_is_of);
	tcase_add_test(tcase, recovery__sends_requests_and_publishes_of_a_channel_again_in_their_order);
	tcase_add_test(tcase,
		       recovery__what_would_not_do_the_same_twice_ends_in_doubt_and_the_channel_goes_on);
	tcase_add_test(tcase, recovery__a_queue_deleted_on_one_channel_is_not_resurrected_by_another);
	tcase_add_test(
	    tcase,
	    recovery__what_was_declared_passively_unbound_or_by_a_session_that_ended_is_not_brought_back);
	tcase_add_test(tcase, recovery__unbinding_with_the_arguments_in_another_order_is_the_same_binding);
	tcase_add_test(tcase, recovery__what_two_sessions_declared_is_made_once_and_stays_until_both_ended);
	tcase_add_test(tcase, recovery__an_auto_delete_exchange_that_went_with_its_queue_is_made_again);
	tcase_add_test(tcase, recovery__what_the_broker_deleted_by_itself_is_not_made_again);
	tcase_add_test(tcase, recovery__consumers_keep_their_tags_and_prefetch);
	tcase_add_test(tcase, recovery__a_cancel_that_the_broker_did_not_answer_is_done);
	tcase_add_test(tcase, recovery__a_consumer_cancelled_while_the_broker_is_away_stays_away);
	tcase_add_test(tcase,
		       recovery__direct_reply_to_goes_on_and_the_client_is_told_that_addresses_are_void);
	tcase_add_test(tcase,
		       recovery__direct_reply_to_is_interrupted_once_however_often_its_channel_is_tried);
	tcase_add_test(tcase,
		       recovery__an_exclusive_queue_that_is_still_locked_delays_only_what_depends_on_it);
	tcase_add_test(tcase, recovery__what_is_to_come_back_has_the_first_lane_that_comes_free);
	tcase_add_test(tcase, recovery__one_locked_queue_is_asked_for_at_a_time_and_each_in_turn);
	tcase_add_test(tcase, recovery__a_consumer_of_a_stream_goes_on_behind_its_last_message);
	tcase_add_test(tcase,
		       recovery__a_queue_that_stays_locked_fails_its_channel_after_three_heartbeat_intervals);
	tcase_add_test(tcase, recovery__one_declare_that_fails_ends_the_channel_it_is_of_and_stalls_nobody);
	tcase_add_test(
	    tcase, recovery__an_exclusive_consumer_that_is_still_refused_is_tried_again_and_nothing_is_lost);
	tcase_add_test(tcase,
		       recovery__a_consumer_whose_queue_is_gone_fails_its_channel_with_the_brokers_error);
	tcase_add_test(
	    tcase,
	    recovery__a_broker_that_does_not_answer_stalls_others_for_three_heartbeat_intervals_at_most);
	tcase_add_test(tcase, recovery__an_exclusive_queue_stays_its_sessions_through_a_lost_connection);
	tcase_add_test(tcase, recovery__a_session_that_ends_meanwhile_leaves_nothing_behind);
	tcase_add_test(tcase, recovery__what_a_session_left_behind_has_the_deadlines_that_it_had);
	tcase_add_test(tcase, recovery__an_exchange_bound_to_itself_is_forgotten_once);
	tcase_add_test(
	    tcase,
	    recovery__a_consumer_cancelled_while_it_comes_back_keeps_its_tag_until_the_broker_has_cancelled);
	tcase_add_test(tcase, recovery__a_cancel_that_was_late_is_told_when_the_connection_is_lost);
	tcase_add_test(tcase, recovery__a_consume_and_its_cancel_are_answered_in_their_order);
	tcase_add_test(tcase, recovery__what_a_channel_was_deleting_when_it_failed_is_not_resurrected);
	tcase_add_test(
	    tcase,
	    recovery__an_auto_delete_exchange_that_went_with_a_sessions_exclusive_queue_is_not_brought_back);
	tcase_add_test(
	    tcase, recovery__what_waits_for_a_locked_queue_goes_on_when_nobody_would_have_the_queue_any_more);
	tcase_add_test(tcase, recovery__locked_queues_at_a_slow_broker_do_not_stall_others);
	tcase_add_test(tcase, recovery__consumers_are_given_lanes_before_those_who_only_publish);
	tcase_add_test(tcase, recovery__a_deletion_that_is_refused_costs_no_other_one);
	tcase_add_test(
	    tcase,
	    recovery__exclusive_queue_that_may_not_be_deleted_is_locked_as_long_as_the_connection_lasts);
	tcase_add_test(
	    tcase,
	    recovery__nothing_else_goes_out_before_what_is_made_for_a_session_that_has_ended_is_answered);
	tcase_add_test(tcase, recovery__a_declaration_too_large_for_the_next_broker_fails_its_channel);
	tcase_add_test(tcase, recovery__consumers_of_a_locked_queue_wait_for_the_brokers_last_word);
	tcase_add_test(tcase,
		       recovery__a_request_that_the_broker_closed_the_connection_for_is_not_sent_again);
	tcase_add_test(tcase,
		       recovery__a_declaration_that_the_broker_closes_the_connection_for_is_not_made_again);
	tcase_add_test(tcase, recovery__an_operators_close_blames_nobody_whatever_method_it_names);
	tcase_add_test(tcase, delivery__tags_of_a_lost_connection_are_stale_and_no_mistake);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
