/* Consuming: handlers, credit, settling, and what may be done inside a handler. */
#include "tests/unit/client-fake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONSUMER_WINDOW 512u /* messages, if nothing else is asked for */
#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name

struct got {
	int messages;
	int cancelled;
	bool ack;
	uint32_t consumer;
	uint64_t last_tag;
	struct muxc_message *kept;
	char body[64];
};

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct got *got = userdata;
	size_t len;
	const void *body = muxc_message_get_body(message, &len);

	ck_assert_str_eq(muxc_message_get_exchange(message, NULL), "ex");
	ck_assert_str_eq(muxc_message_get_routing_key(message, NULL), "key");
	ck_assert_str_eq(muxc_message_get_text(message, MUXC_CONTENT_TYPE, NULL), "text/plain");
	ck_assert_ptr_null(muxc_message_get_text(message, MUXC_TYPE, NULL));
	ck_assert_int_eq(muxc_message_is_redelivered(message), 0);
	got->last_tag = muxc_message_get_tag(message);
	got->consumer = muxc_message_get_consumer(message);
	len = len < sizeof(got->body) - 1 ? len : sizeof(got->body) - 1;
	memcpy(got->body, body, len);
	got->body[len] = '\0';
	if (!got->kept)
		got->kept = muxc_message_ref(message);
	if (got->ack)
		ck_assert_int_eq(muxc_ack(channel, got->last_tag, 0), 0);
	flag_add(&got->messages, 1);
}

static void on_cancelled(struct muxc_channel *channel, uint32_t consumer, const char *text, void *userdata)
{
	struct got *got = userdata;

	ck_assert_str_eq(text, "queue deleted");
	flag_add(&got->cancelled, 1);
}

static struct muxc_consumer_options consumer_options(struct got *got)
{
	struct muxc_consumer_options options = {.size = sizeof(options),
						.queue = "q",
						.on_message = on_message,
						.on_cancelled = on_cancelled,
						.userdata = got};

	memset(got, 0, sizeof(*got));
	return options;
}

START_TEST(consume__messages_reach_the_handler_and_may_be_kept)
{
	struct got got;
	struct muxc_consumer_options options = consumer_options(&got);
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	uint32_t consumer = 0;
	char tag[64];

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	options.flags = MUXC_CONSUME_EXCLUSIVE;
	ck_assert_int_eq(muxc_consume(channel, &options, &consumer, 0, NULL), 0);
	ck_assert_uint_gt(consumer, 0);
	ck_assert(fake.last[OP(CONSUME)]->consume->exclusive);
	ck_assert(!fake.last[OP(CONSUME)]->consume->no_ack);
	ck_assert_uint_eq(fake.last[OP(CONSUME)]->consume->credit_messages, 512);
	ck_assert_int_eq(muxc_consumer_get_tag(channel, consumer, tag, sizeof(tag)), 11);
	ck_assert_str_eq(tag, "muxd.ctag-1");
	ck_assert_int_eq(muxc_consumer_get_tag(channel, consumer, tag, 5), -ENOBUFS);
	fake_deliver(&fake, 1, consumer, 1, "first");
	fake_deliver(&fake, 1, consumer, 2, "");
	drive_until(c, _i, &got.messages, 2);
	ck_assert_uint_eq(got.consumer, consumer);
	ck_assert_uint_eq(got.last_tag, 2);
	ck_assert_str_eq(got.body, "");
	muxc_channel_free(channel);
	muxc_free(c);
	/* Good beyond the end of it all. */
	ck_assert_str_eq(muxc_message_get_body(got.kept, NULL), "first");
	ck_assert_int_eq(muxc_message_set_text(got.kept, MUXC_TYPE, "x", MUXC_STRLEN), -EPERM);
	muxc_message_unref(got.kept);
	fake_stop(&fake);
}
END_TEST

struct settled {
	uint64_t acked;
	unsigned int frames;
	uint64_t credit_messages;
	uint64_t credit_bytes;
};

static bool count_settles(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	struct settled *settled = fake->context;
	size_t i;

	if (frame->op_case == OP(CONSUMER_CREDIT)) {
		settled->credit_messages = frame->consumer_credit->messages;
		settled->credit_bytes = frame->consumer_credit->bytes;
	}
	if (frame->op_case != OP(SETTLE))
		return false;
	pthread_mutex_lock(&fake->lock);
	settled->frames++;
	for (i = 0; i < frame->settle->n_tags; i++)
		settled->acked += frame->settle->tags[i]->last - frame->settle->tags[i]->first + 1;
	pthread_cond_broadcast(&fake->cond);
	pthread_mutex_unlock(&fake->lock);
	return true;
}

static uint64_t acked(struct fake *fake)
{
	struct settled *settled = fake->context;
	uint64_t count;

	pthread_mutex_lock(&fake->lock);
	count = settled->acked;
	pthread_mutex_unlock(&fake->lock);
	return count;
}

#define BURST 400

START_TEST(consume__acks_of_a_burst_share_frames_and_credit_grows)
{
	struct got got;
	struct muxc_consumer_options options = consumer_options(&got);
	struct settled settled = {0};
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	uint32_t consumer = 0;
	int i, tries;

	fake_init(&fake);
	fake.on_frame = count_settles;
	fake.context = &settled;
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	got.ack = true;
	options.window_messages = 100;
	options.window_bytes = 100000;
	ck_assert_int_eq(muxc_consume(channel, &options, &consumer, 0, NULL), 0);
	for (i = 1; i <= BURST; i++) {
		fake_deliver(&fake, 1, consumer, (uint64_t)i, "x");
		/* Slowly enough for the socket's buffer in loop mode. */
		if (i % 100 == 0)
			drive_until(c, _i, &got.messages, i);
	}
	for (tries = 0; tries < 1000 && acked(&fake) < BURST; tries++) {
		(void)muxc_flush(c);
		ck_assert_int_eq(muxc_ping(c, 5000000, NULL), 0);
	}
	ck_assert_uint_eq(acked(&fake), BURST);
	ck_assert_uint_lt(settled.frames, BURST / 2);
	ck_assert_uint_ge(settled.credit_messages, BURST - 50 + 100);
	ck_assert_uint_ge(settled.credit_bytes, 100000);
	muxc_message_unref(got.kept);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(consume__settling_says_what_was_meant)
{
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	const Muxd__V1__Settle *settle;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_ack(channel, 0, 0), 0); /* needs none: nothing is sent */
	ck_assert_int_eq(muxc_nack(channel, 3, MUXC_REQUEUE), 0);
	ck_assert_int_eq(muxc_ping(c, 0, NULL), 0);
	fake_expect(&fake, OP(SETTLE), 1);
	settle = fake.last[OP(SETTLE)]->settle;
	ck_assert_int_eq(settle->kind, MUXD__V1__SETTLE_KIND__REQUEUE);
	ck_assert_uint_eq(settle->n_tags, 1);
	ck_assert_uint_eq(settle->tags[0]->first, 3);
	ck_assert_uint_eq(settle->tags[0]->last, 3);
	ck_assert_int_eq(muxc_ack(channel, 9, MUXC_UP_TO), 0);
	ck_assert_int_eq(muxc_ping(c, 0, NULL), 0);
	fake_expect(&fake, OP(SETTLE), 2);
	settle = fake.last[OP(SETTLE)]->settle;
	ck_assert_int_eq(settle->kind, MUXD__V1__SETTLE_KIND__ACK);
	ck_assert_uint_eq(settle->tags[0]->first, 0);
	ck_assert_uint_eq(settle->tags[0]->last, 9);
	ck_assert_int_eq(muxc_reject(channel, 10, 0), 0);
	ck_assert_int_eq(muxc_ping(c, 0, NULL), 0);
	fake_expect(&fake, OP(SETTLE), 3);
	ck_assert_int_eq(fake.last[OP(SETTLE)]->settle->kind, MUXD__V1__SETTLE_KIND__DISCARD);
	ck_assert_int_eq(muxc_reject(channel, 10, MUXC_UP_TO), -EINVAL);
	ck_assert_int_eq(muxc_ack(channel, 10, MUXC_REQUEUE), -EINVAL);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

/* Messages that came and were not handled go back before the cancel. */
START_TEST(consume__cancelled_consumer_gives_back_what_was_not_handled)
{
	struct got got;
	struct muxc_consumer_options options = consumer_options(&got);
	struct settled settled = {0};
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	uint32_t consumer = 0;
	int i;

	fake_init(&fake);
	fake.on_frame = count_settles;
	fake.context = &settled;
	fake_start(&fake);
	c = fake_connect(&fake, 1);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_consume(channel, &options, &consumer, 0, NULL), 0);
	for (i = 1; i <= 5; i++)
		fake_deliver(&fake, 1, consumer, (uint64_t)i, "x");
	ck_assert_int_eq(muxc_ping(c, 0, NULL), 0); /* reads them, calls no handler */
	ck_assert_int_eq(got.messages, 0);
	ck_assert_int_eq(muxc_cancel(channel, consumer, 0, NULL), 0);
	ck_assert_uint_eq(acked(&fake), 5);
	ck_assert_int_eq(fake.last[OP(SETTLE)]->settle->kind, MUXD__V1__SETTLE_KIND__REQUEUE);
	fake_deliver(&fake, 1, consumer, 6, "late");
	ck_assert_int_eq(muxc_ping(c, 0, NULL), 0);
	ck_assert_int_ge(muxc_flush(c), 0);
	ck_assert_int_eq(muxc_ping(c, 0, NULL), 0);
	ck_assert_uint_eq(acked(&fake), 6);
	while (muxc_process(c) > 0)
		;
	ck_assert_int_eq(got.messages, 0);
	ck_assert_int_eq(muxc_cancel(channel, consumer, 0, NULL), -ENOENT);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

/* What came until the connection ended. */
static void expect_no_credit(struct muxc *c)
{
	struct muxc_error error = MUXC_ERROR_INIT;

	ck_assert_int_eq(muxc_ping(c, 0, &error), -EPROTO);
	ck_assert_ptr_nonnull(strstr(error.text, "a message without credit for it"));
}

START_TEST(consume__message_without_credit_ends_the_connection)
{
	struct got got;
	struct muxc_consumer_options options = consumer_options(&got);
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	uint32_t consumer = 0;
	uint64_t tag = 0;

	if (_i & 1)
		options.window_messages = 3;
	else
		options.window_bytes = 3;
	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect(&fake, 1);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_consume(channel, &options, &consumer, 0, NULL), 0);
	if (_i & 2)
		ck_assert_int_eq(muxc_cancel(channel, consumer, 0, NULL), 0);
	/* one byte is good for a message of any size; of those for a consumer that is gone only the number
	 * is known */
	while (tag < (_i == 0 ? 1 : _i & 1 ? 3 : CONSUMER_WINDOW)) {
		fake_deliver(&fake, 1, consumer, ++tag, "x");
		/* the socket's buffer is not for so many */
		if (tag % 64 == 0)
			ck_assert_int_eq(muxc_ping(c, 0, NULL), 0);
	}
	ck_assert_int_eq(muxc_ping(c, 0, NULL), 0);
	fake_deliver(&fake, 1, consumer, ++tag, "x");
	expect_no_credit(c);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(consume__message_for_nobody_ends_the_connection)
{
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect(&fake, 1);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_ping(c, 0, NULL), 0);
	fake_deliver(&fake, 1, 9, 1, "x");
	expect_no_credit(c);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

static bool deliver_and_not_answer(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	if (frame->op_case != OP(CONSUME))
		return count_settles(fake, frame, payload);
	fake_deliver(fake, 1, frame->consume->consumer, 1, "x");
	return true;
}

START_TEST(consume__consumer_that_is_not_answered_gives_back_what_it_got)
{
	struct got got;
	struct muxc_consumer_options options = consumer_options(&got);
	struct settled settled = {0};
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;

	fake_init(&fake);
	fake.on_frame = deliver_and_not_answer;
	fake.context = &settled;
	fake_start(&fake);
	c = fake_connect(&fake, 1);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_consume(channel, &options, NULL, 100000, NULL), -ETIMEDOUT);
	ck_assert_int_eq(muxc_ping(c, 0, NULL), 0);
	ck_assert_int_eq(muxc_ping(c, 0, NULL), 0);
	ck_assert_uint_eq(acked(&fake), 1);
	ck_assert_int_eq(fake.last[OP(SETTLE)]->settle->kind, MUXD__V1__SETTLE_KIND__REQUEUE);
	while (muxc_process(c) > 0)
		;
	ck_assert_int_eq(got.messages, 0);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(consume__broker_that_ends_a_consumer_is_told)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__ConsumerCancelled cancelled = MUXD__V1__CONSUMER_CANCELLED__INIT;
	struct got got;
	struct muxc_consumer_options options = consumer_options(&got);
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	uint32_t consumer = 0;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_consume(channel, &options, &consumer, 0, NULL), 0);
	fake_deliver(&fake, 1, consumer, 1, "before");
	frame.has_channel = frame.has_generation = 1;
	frame.channel = frame.generation = 1;
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_CONSUMER_CANCELLED;
	frame.consumer_cancelled = &cancelled;
	cancelled.has_consumer = cancelled.has_text = 1;
	cancelled.consumer = consumer;
	cancelled.text = (ProtobufCBinaryData){13, (uint8_t *)(uintptr_t) "queue deleted"};
	fake_send(&fake, &frame, SPAN_NULL);
	drive_until(c, _i, &got.cancelled, 1);
	ck_assert_int_eq(flag_get(&got.messages), 1);
	ck_assert_int_eq(muxc_cancel(channel, consumer, 0, NULL), -ENOENT);
	ck_assert_int_eq(muxc_ack(channel, 1, 0), 0);
	muxc_message_unref(got.kept);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

static bool answer_get(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	Muxd__V1__ServerFrame answer = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Got got = MUXD__V1__GOT__INIT;
	Muxd__V1__Properties properties = MUXD__V1__PROPERTIES__INIT;
	Muxd__V1__Table headers = MUXD__V1__TABLE__INIT;
	Muxd__V1__Field field = MUXD__V1__FIELD__INIT, *fields[1] = {&field};

	if (frame->op_case != OP(GET))
		return false;
	answer.has_request = answer.has_channel = answer.has_generation = 1;
	answer.request = frame->request;
	answer.channel = answer.generation = 1;
	answer.event_case = MUXD__V1__SERVER_FRAME__EVENT_GOT;
	answer.got = &got;
	got.has_tag = got.has_redelivered = got.has_message_count = got.has_routing_key = 1;
	got.tag = 5;
	got.redelivered = 1;
	got.message_count = 41;
	got.routing_key = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "key"};
	got.properties = &properties;
	properties.has_delivery_mode = properties.has_reply_to = 1;
	properties.delivery_mode = 2;
	properties.reply_to = (ProtobufCBinaryData){5, (uint8_t *)(uintptr_t) "reply"};
	properties.headers = &headers;
	headers.n_fields = 1;
	headers.fields = fields;
	field.has_name = 1;
	field.name = (ProtobufCBinaryData){4, (uint8_t *)(uintptr_t) "name"};
	field.value_case = MUXD__V1__FIELD__VALUE_STRING;
	field.string = (ProtobufCBinaryData){5, (uint8_t *)(uintptr_t) "value"};
	fake_send(fake, &answer, span_str("the body"));
	return true;
}

START_TEST(consume__get_gives_the_message_whole)
{
	struct muxc_message *message = NULL;
	struct muxc_channel *channel;
	struct muxc_iter iter;
	struct muxc_field field;
	struct fake fake;
	struct muxc *c;
	uint64_t number = 0;
	size_t len;

	fake_init(&fake);
	fake.on_frame = answer_get;
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_get(channel, "q", MUXC_NO_ACK, &message, 0, NULL), 1);
	ck_assert(fake.last[OP(GET)]->get->no_ack);
	ck_assert_str_eq(muxc_message_get_body(message, &len), "the body");
	ck_assert_uint_eq(len, 8);
	ck_assert_uint_eq(muxc_message_get_tag(message), 5);
	ck_assert_uint_eq(muxc_message_get_remaining(message), 41);
	ck_assert_int_eq(muxc_message_is_redelivered(message), 1);
	ck_assert_str_eq(muxc_message_get_routing_key(message, &len), "key");
	ck_assert_str_eq(muxc_message_get_exchange(message, &len), "");
	ck_assert_str_eq(muxc_message_get_text(message, MUXC_REPLY_TO, &len), "reply");
	ck_assert_int_eq(muxc_message_get_number(message, MUXC_DELIVERY_MODE, &number), 1);
	ck_assert_uint_eq(number, 2);
	ck_assert_int_eq(muxc_message_get_number(message, MUXC_PRIORITY, &number), 0);
	ck_assert_int_eq(muxc_message_get_headers(message, &iter), 1);
	ck_assert_int_eq(muxc_iter_next(&iter, &field), 1);
	ck_assert_mem_eq(field.name, "name", 4);
	ck_assert_int_eq(field.value.type, MUXC_STRING);
	ck_assert_mem_eq(field.value.u.bytes.data, "value", 5);
	ck_assert_int_eq(muxc_iter_next(&iter, &field), 0);
	muxc_message_unref(message);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

/* An answer that comes when nobody waits any more is undone. */
static bool answer_get_late(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	static const Muxd__V1__ClientFrame none = MUXD__V1__CLIENT_FRAME__INIT;
	Muxd__V1__ClientFrame *get = fake->context;

	if (frame->op_case == OP(GET)) {
		*get = none;
		get->op_case = OP(GET);
		get->request = frame->request;
		return true;
	}
	if (frame->op_case == OP(PING) && get->request) {
		answer_get(fake, get, SPAN_NULL);
		get->request = 0;
	}
	return false;
}

START_TEST(consume__late_answer_to_get_goes_back)
{
	Muxd__V1__ClientFrame get = MUXD__V1__CLIENT_FRAME__INIT;
	struct muxc_message *message = NULL;
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;

	fake_init(&fake);
	fake.on_frame = answer_get_late;
	fake.context = &get;
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_get(channel, "q", 0, &message, 20000, NULL), -ETIMEDOUT);
	ck_assert_ptr_null(message);
	ck_assert_int_eq(muxc_ping(c, 0, NULL), 0);
	ck_assert_int_ge(muxc_flush(c), 0);
	fake_expect(&fake, OP(SETTLE), 1);
	ck_assert_int_eq(fake.last[OP(SETTLE)]->settle->kind, MUXD__V1__SETTLE_KIND__REQUEUE);
	ck_assert_uint_eq(fake.last[OP(SETTLE)]->settle->tags[0]->first, 5);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

/* ------------------------------------------------------------- inside a handler */

struct inside {
	struct muxc *c;
	struct muxc_channel *second;
	int done;
	int destroyed;
};

static void nothing(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
}

static void do_everything(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = "q2", .on_message = nothing};
	struct inside *inside = userdata;
	struct muxc_channel *other = NULL;
	uint64_t number = 0;
	uint32_t consumer = 0;
	int kind = 0;

	ck_assert_int_eq(muxc_ack(channel, muxc_message_get_tag(message), 0), 0);
	ck_assert_int_eq(muxc_publish(channel, "", "answers", message, 0, &number), 0);
	ck_assert_int_eq(muxc_wait_outcome(channel, number, 5000000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_CONFIRMED);
	ck_assert_int_eq(muxc_channel_open(inside->c, NULL, &other), 0);
	ck_assert_int_eq(muxc_queue_purge(other, "q", NULL, 5000000, NULL), 0);
	ck_assert_int_eq(muxc_consume(other, &options, &consumer, 5000000, NULL), 0);
	ck_assert_int_eq(muxc_cancel(other, consumer, 5000000, NULL), 0);
	muxc_channel_free(other);
	ck_assert_int_eq(muxc_process(inside->c), muxc_get_fd(inside->c) < 0 ? -EOPNOTSUPP : -EBUSY);
	if (muxc_message_get_tag(message) == 3)
		muxc_channel_free(channel);
	flag_add(&inside->done, 1);
}

static void on_destroyed(void *userdata)
{
	struct inside *inside = userdata;

	flag_add(&inside->destroyed, 1);
}

START_TEST(consume__handler_may_publish_wait_open_close_and_free_its_channel)
{
	struct inside inside = {0};
	struct muxc_channel_options channel_options = {
	    .size = sizeof(channel_options), .on_destroy = on_destroyed, .userdata = &inside};
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = "q", .on_message = do_everything, .userdata = &inside};
	struct muxc_channel *channel;
	struct fake fake;
	uint32_t consumer = 0;
	uint64_t i;

	fake_init(&fake);
	fake.auto_confirm = true;
	fake_start(&fake);
	inside.c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(inside.c, &channel_options, &channel), 0);
	ck_assert_int_eq(muxc_consume(channel, &options, &consumer, 0, NULL), 0);
	for (i = 1; i <= 5; i++)
		fake_deliver(&fake, 1, consumer, i, "do it");
	drive_until(inside.c, _i, &inside.destroyed, 1);
	/* It freed its channel in the third: the other two were not handled. */
	ck_assert_int_eq(flag_get(&inside.done), 3);
	fake_expect(&fake, OP(PUBLISH), 3);
	muxc_free(inside.c);
	ck_assert_int_eq(flag_get(&inside.done), 3);
	fake_stop(&fake);
}
END_TEST

/* A handler that takes long keeps nobody but its own channel waiting. */
struct slow {
	pthread_mutex_t lock;
	int entered;
};

static void slow_handler(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct slow *slow = userdata;

	flag_add(&slow->entered, 1);
	pthread_mutex_lock(&slow->lock);
	pthread_mutex_unlock(&slow->lock);
}

START_TEST(consume__long_handler_stalls_no_confirm_and_no_request)
{
	struct slow slow = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = "q", .on_message = slow_handler, .userdata = &slow};
	struct muxc_channel *channel, *other;
	struct fake fake;
	struct muxc *c;
	uint32_t consumer = 0;
	uint64_t number;
	int kind = 0;

	fake_init(&fake);
	fake.auto_confirm = true;
	fake_start(&fake);
	c = fake_connect(&fake, 0);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &other), 0);
	ck_assert_int_eq(muxc_consume(channel, &options, &consumer, 0, NULL), 0);
	pthread_mutex_lock(&slow.lock);
	fake_deliver(&fake, 1, consumer, 1, "x");
	drive_until(c, 0, &slow.entered, 1);
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, &number), 0);
	ck_assert_int_eq(muxc_wait_outcome(channel, number, 5000000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_CONFIRMED);
	ck_assert_int_eq(muxc_qos(other, 5, 5000000, NULL), 0);
	muxc_channel_free(channel);
	pthread_mutex_unlock(&slow.lock);
	muxc_channel_free(other);
	muxc_free(c); /* waits for the handler */
	ck_assert_int_eq(slow.entered, 1);
	fake_stop(&fake);
}
END_TEST

START_TEST(consume__needs_a_handler)
{
	struct muxc_consumer_options options = {.size = sizeof(options), .queue = "q"};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	uint32_t consumer = 77;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_consume(channel, &options, &consumer, 0, &error), -EINVAL);
	ck_assert_uint_eq(consumer, 77);
	ck_assert_int_eq(error.kind, MUXC_ERROR_LIBRARY);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

static Suite *suite_consume(void)
{
	Suite *suite = suite_create("client consume");
	TCase *tcase = tcase_create("consume");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, consume__messages_reach_the_handler_and_may_be_kept, 0, 2);
	tcase_add_loop_test(tcase, consume__acks_of_a_burst_share_frames_and_credit_grows, 0, 2);
	tcase_add_loop_test(tcase, consume__settling_says_what_was_meant, 0, 2);
	tcase_add_test(tcase, consume__cancelled_consumer_gives_back_what_was_not_handled);
	tcase_add_loop_test(tcase, consume__message_without_credit_ends_the_connection, 0, 4);
	tcase_add_test(tcase, consume__message_for_nobody_ends_the_connection);
	tcase_add_test(tcase, consume__consumer_that_is_not_answered_gives_back_what_it_got);
	tcase_add_loop_test(tcase, consume__broker_that_ends_a_consumer_is_told, 0, 2);
	tcase_add_loop_test(tcase, consume__get_gives_the_message_whole, 0, 2);
	tcase_add_loop_test(tcase, consume__late_answer_to_get_goes_back, 0, 2);
	tcase_add_loop_test(tcase, consume__handler_may_publish_wait_open_close_and_free_its_channel, 0, 2);
	tcase_add_test(tcase, consume__long_handler_stalls_no_confirm_and_no_request);
	tcase_add_loop_test(tcase, consume__needs_a_handler, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(suite_consume());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
