/* Publishing: credit, outcomes, returns, large bodies, bursts. */
#include "tests/unit/client-fake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name

struct counts {
	int outcomes[MUXC_UNKNOWN + 1];
	int calls;
	int returns;
	char body[64];
	uint64_t number;
};

static void on_outcome(struct muxc_channel *channel, const struct muxc_outcome *outcome, void *userdata)
{
	struct counts *counts = userdata;

	ck_assert_ptr_nonnull(outcome->error);
	flag_add(&counts->outcomes[outcome->kind], (int)(outcome->last - outcome->first + 1));
	flag_add(&counts->calls, 1);
}

static void on_return(struct muxc_channel *channel, struct muxc_message *message,
		      const struct muxc_error *error, void *userdata)
{
	struct counts *counts = userdata;
	size_t len;
	const void *body = muxc_message_get_body(message, &len);

	ck_assert_uint_eq(error->code, 312);
	ck_assert_str_eq(error->text, "NO_ROUTE");
	ck_assert_str_eq(muxc_message_get_exchange(message, NULL), "ex");
	ck_assert_str_eq(muxc_message_get_routing_key(message, NULL), "nowhere");
	ck_assert_uint_eq(muxc_message_get_tag(message), 0);
	counts->number = muxc_message_get_publish_number(message);
	memcpy(counts->body, body, len);
	counts->body[len] = '\0';
	flag_add(&counts->returns, 1);
}

static struct muxc_channel *open_channel(struct muxc *c, struct counts *counts)
{
	struct muxc_channel_options options = {
	    .size = sizeof(options), .on_outcome = on_outcome, .on_return = on_return, .userdata = counts};
	struct muxc_channel *channel = NULL;

	memset(counts, 0, sizeof(*counts));
	ck_assert_int_eq(muxc_channel_open(c, &options, &channel), 0);
	return channel;
}

START_TEST(publish__carries_everything_the_message_has)
{
	struct muxc_message *message;
	struct muxc_table *headers;
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	const Muxd__V1__ClientFrame *frame;
	const Muxd__V1__Properties *properties;
	struct muxc_publication publication = {.size = sizeof(publication),
					       .exchange = "ex",
					       .routing_key = "a\0b",
					       .routing_key_len = 3,
					       .flags = MUXC_MANDATORY,
					       .outcome_timeout_usec = 1500000};
	static const int texts[] = {MUXC_CONTENT_TYPE, MUXC_CONTENT_ENCODING, MUXC_CORRELATION_ID,
				    MUXC_REPLY_TO,     MUXC_EXPIRATION,	      MUXC_MESSAGE_ID,
				    MUXC_TYPE,	       MUXC_USER_ID,	      MUXC_APP_ID,
				    MUXC_CLUSTER_ID};
	size_t i;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_message_new(&message), 0);
	ck_assert_int_eq(muxc_table_new(&headers), 0);
	ck_assert_int_eq(muxc_table_set_int32(headers, "x", -5), 0);
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ck_assert_int_eq(
		    muxc_message_set_text(message, texts[i], muxc_property_name(texts[i]), MUXC_STRLEN), 0);
	ck_assert_int_eq(muxc_message_set_headers(message, headers), 0);
	ck_assert_int_eq(muxc_message_set_number(message, MUXC_DELIVERY_MODE, 2), 0);
	ck_assert_int_eq(muxc_message_set_number(message, MUXC_PRIORITY, 0), 0);
	ck_assert_int_eq(muxc_message_set_number(message, MUXC_TIMESTAMP, 1700000000), 0);
	ck_assert_int_eq(muxc_message_set_body(message, "hello", 5), 0);
	publication.message = message;
	ck_assert_int_eq(muxc_publish_full(channel, &publication, 0, NULL, NULL), 0);
	ck_assert_int_ge(muxc_flush(c), 0);
	fake_expect(&fake, OP(PUBLISH), 1);
	frame = fake.last[OP(PUBLISH)];
	ck_assert_uint_eq(frame->deadline_ms, 1500);
	ck_assert_mem_eq(frame->publish->routing_key.data, "a\0b", 3);
	ck_assert_uint_eq(frame->publish->routing_key.len, 3);
	ck_assert(frame->publish->mandatory);
	properties = frame->publish->properties;
	ck_assert_mem_eq(properties->content_type.data, "content-type", 12);
	ck_assert_mem_eq(properties->cluster_id.data, "cluster-id", 10);
	ck_assert_mem_eq(properties->expiration.data, "expiration", 10);
	ck_assert(properties->has_priority && properties->priority == 0);
	ck_assert_uint_eq(properties->delivery_mode, 2);
	ck_assert_uint_eq(properties->timestamp, 1700000000);
	ck_assert_uint_eq(properties->headers->n_fields, 1);
	ck_assert_int_eq(properties->headers->fields[0]->int32, -5);
	muxc_table_free(headers);
	muxc_message_unref(message);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

/* Each outcome once, also out of order, and the kinds are remembered. */
START_TEST(publish__outcomes_come_in_any_order_and_are_remembered)
{
	static const int kinds[] = {MUXC_CONFIRMED, MUXC_RETURNED, MUXC_NACKED, MUXC_FAILED, MUXC_UNKNOWN};
	struct muxc_totals totals = {.size = sizeof(totals)};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *channel;
	struct counts counts;
	struct fake fake;
	struct muxc *c;
	int i, kind;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	channel = open_channel(c, &counts);
	for (i = 0; i < 10; i++)
		ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), 0);
	ck_assert_int_ge(muxc_flush(c), 0);
	fake_expect(&fake, OP(PUBLISH), 10);
	/* 10, then 6..9, one kind each, then 5..1. */
	fake_outcome(&fake, 1, 0, 10, 10);
	for (i = 1; i <= 4; i++)
		fake_outcome(&fake, 1, i, (uint64_t)(5 + i), (uint64_t)(5 + i));
	ck_assert_int_eq(muxc_wait_outcome(channel, 9, 5000000, &kind, &error), 0);
	ck_assert_int_eq(kind, MUXC_UNKNOWN);
	ck_assert_uint_eq(error.code, 408);
	ck_assert_str_eq(error.text, "too late");
	ck_assert_int_eq(muxc_wait_all(channel, 20000, &totals, &error), -ETIMEDOUT);
	for (i = 5; i >= 1; i--)
		fake_outcome(&fake, 1, 0, (uint64_t)i, (uint64_t)i);
	ck_assert_int_eq(muxc_wait_all(channel, 5000000, &totals, &error), 0);
	ck_assert_int_eq(error.kind,
			 MUXC_ERROR_NONE); /* of the first failure, which was a return, without one */
	ck_assert_uint_eq(totals.published, 10);
	ck_assert_uint_eq(totals.confirmed, 6);
	ck_assert_uint_eq(totals.returned + totals.nacked + totals.failed + totals.unknown, 4);
	for (i = 0; i < 5; i++) {
		ck_assert_int_eq(muxc_wait_outcome(channel, (uint64_t)(5 + i), 1000, &kind, NULL), 0);
		ck_assert_int_eq(kind, kinds[i]);
	}
	ck_assert_int_eq(muxc_wait_outcome(channel, 11, 1000, &kind, NULL), -EINVAL);
	drive_until(c, _i, &counts.outcomes[MUXC_CONFIRMED], 6);
	for (i = 1; i < 5; i++)
		drive_until(c, _i, &counts.outcomes[kinds[i]], 1);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(publish__second_outcome_for_a_publish_is_a_protocol_error)
{
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	int kind;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), 0);
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), 0);
	ck_assert_int_ge(muxc_flush(c), 0);
	fake_expect(&fake, OP(PUBLISH), 2);
	fake_outcome(&fake, 1, 0, 1, 1);
	fake_outcome(&fake, 1, 0, 1, 1);
	ck_assert_int_eq(muxc_wait_outcome(channel, 2, 5000000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_UNKNOWN);
	ck_assert_int_eq(muxc_get_error(c, NULL), -EPROTO);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(publish__returned_message_comes_back_with_its_number)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Returned returned = MUXD__V1__RETURNED__INIT;
	struct muxc_channel *channel;
	struct counts counts;
	struct fake fake;
	struct muxc *c;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	channel = open_channel(c, &counts);
	ck_assert_int_eq(muxc_publish(channel, "ex", "nowhere", NULL, MUXC_MANDATORY, NULL), 0);
	ck_assert_int_ge(muxc_flush(c), 0);
	fake_expect(&fake, OP(PUBLISH), 1);
	frame.has_channel = frame.has_generation = 1;
	frame.channel = frame.generation = 1;
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_RETURNED;
	frame.returned = &returned;
	returned.has_number = returned.has_code = returned.has_text = 1;
	returned.has_exchange = returned.has_routing_key = 1;
	returned.number = 1;
	returned.code = 312;
	returned.text = (ProtobufCBinaryData){8, (uint8_t *)(uintptr_t) "NO_ROUTE"};
	returned.exchange = (ProtobufCBinaryData){2, (uint8_t *)(uintptr_t) "ex"};
	returned.routing_key = (ProtobufCBinaryData){7, (uint8_t *)(uintptr_t) "nowhere"};
	fake_send(&fake, &frame, span_str("back again"));
	fake_outcome(&fake, 1, MUXD__V1__OUTCOME_KIND__RETURNED, 1, 1);
	drive_until(c, _i, &counts.outcomes[MUXC_RETURNED], 1);
	ck_assert_int_eq(flag_get(&counts.returns), 1);
	ck_assert_uint_eq(counts.number, 1);
	ck_assert_str_eq(counts.body, "back again");
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

/* Grants what Want asks for, as muxd would. */
static bool grant_wants(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	if (frame->op_case != OP(WANT))
		return false;
	fake_credit(fake, frame->want->messages, frame->want->bytes);
	return true;
}

START_TEST(publish__without_credit_asks_and_waits)
{
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	struct muxc_publication publication = {.size = sizeof(publication), .routing_key = "q"};
	char *body = calloc(1, 300000);
	uint64_t messages, bytes, number;
	int i;

	fake_init(&fake);
	fake.on_frame = grant_wants;
	fake.auto_confirm = true;
	fake.welcome_messages = 64;
	fake.welcome_bytes = 16384;
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	/* By number of messages, and by a body larger than all the standing credit. */
	for (i = 0; i < 70; i++)
		ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, &number), 0);
	publication.body = body;
	publication.body_len = 300000;
	ck_assert_int_eq(muxc_publish_full(channel, &publication, 5000000, &number, NULL), 0);
	ck_assert_uint_eq(number, 71);
	ck_assert_int_eq(muxc_wait_all(channel, 5000000, NULL, NULL), 0);
	ck_assert_uint_ge(fake_count(&fake, OP(WANT)), 7);
	/* Both sides count alike. */
	ck_assert_int_eq(muxc_get_credit(c, &messages, &bytes), 0);
	ck_assert_uint_eq(messages, 0);
	ck_assert_uint_eq(bytes, 0);
	free(body);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

static bool ignore_wants(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	return frame->op_case == OP(WANT);
}

START_TEST(publish__credit_that_does_not_come_ends_the_wait)
{
	struct muxc_publication publication = {.size = sizeof(publication), .routing_key = "q"};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	char body[20000] = {0};
	uint64_t number = 0;

	fake_init(&fake);
	fake.on_frame = ignore_wants;
	fake.auto_confirm = true;
	fake.welcome_bytes = 16384;
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_wait_ready(c, 5000000, NULL), 0);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	publication.body = body;
	publication.body_len = sizeof(body);
	ck_assert_int_eq(muxc_publish_full(channel, &publication, 20000, &number, &error), -ETIMEDOUT);
	ck_assert_int_eq(error.retryable, 1);
	publication.flags = MUXC_NONBLOCK;
	ck_assert_int_eq(muxc_publish_full(channel, &publication, 0, &number, &error), -EAGAIN);
	publication.body_len = 17 * 1024 * 1024; /* not looked at */
	ck_assert_int_eq(muxc_publish_full(channel, &publication, 0, &number, &error), -EMSGSIZE);
	/* No number was used, and the small one passes. */
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, &number), 0);
	ck_assert_uint_eq(number, 1);
	ck_assert_int_eq(muxc_wait_all(channel, 5000000, NULL, NULL), 0);
	ck_assert_uint_eq(fake_count(&fake, OP(WANT)), 1);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

struct check_bodies {
	uint64_t seen;
	bool wrong;
};

/* Body n is n * 7919 % 200000 bytes of the letter n. */
static bool check_body(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	struct check_bodies *check = fake->context;
	size_t i, size;

	if (frame->op_case != OP(PUBLISH))
		return grant_wants(fake, frame, payload);
	size = (size_t)(check->seen * 7919 % 200000);
	check->wrong |= payload.len != size;
	for (i = 0; i < payload.len; i++)
		check->wrong |= payload.data[i] != (uint8_t)check->seen;
	check->seen++;
	return false;
}

START_TEST(publish__bodies_of_all_sizes_arrive_whole_and_in_order)
{
	struct muxc_publication publication = {.size = sizeof(publication), .routing_key = "q"};
	struct check_bodies check = {0};
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	uint8_t *body = malloc(200000);
	uint64_t i;

	fake_init(&fake);
	fake.on_frame = check_body;
	fake.context = &check;
	fake.auto_confirm = true;
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	for (i = 0; i < 300; i++) {
		publication.body = body;
		publication.body_len = (size_t)(i * 7919 % 200000);
		memset(body, (int)(uint8_t)i, publication.body_len);
		ck_assert_int_eq(muxc_publish_full(channel, &publication, 5000000, NULL, NULL), 0);
		memset(body, 0xee, 200000); /* it was copied */
	}
	ck_assert_int_eq(muxc_wait_all(channel, 10000000, NULL, NULL), 0);
	ck_assert_uint_eq(check.seen, 300);
	ck_assert(!check.wrong);
	free(body);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

#define THREADS 4
#define EACH 500

struct publisher {
	struct muxc *c;
	struct muxc_channel *shared;
	int confirmed;
};

static void *publish_many(void *arg)
{
	struct publisher *publisher = arg;
	struct muxc_channel *channel = NULL;
	uint64_t number;
	int i, kind;

	ck_assert_int_eq(muxc_channel_open(publisher->c, NULL, &channel), 0);
	for (i = 0; i < EACH; i++) {
		ck_assert_int_eq(muxc_publish(i % 2 ? channel : publisher->shared, "", "q", NULL, 0, &number),
				 0);
		if (i % 50 != 1)
			continue;
		ck_assert_int_eq(muxc_wait_outcome(channel, number, 10000000, &kind, NULL), 0);
		ck_assert_int_eq(kind, MUXC_CONFIRMED);
	}
	ck_assert_int_eq(muxc_wait_all(channel, 10000000, NULL, NULL), 0);
	muxc_channel_free(channel);
	return NULL;
}

START_TEST(publish__threads_share_a_connection_and_a_channel)
{
	struct publisher publisher = {0};
	struct muxc_totals totals = {.size = sizeof(totals)};
	pthread_t threads[THREADS];
	struct fake fake;
	int i;

	fake_init(&fake);
	fake.on_frame = grant_wants;
	fake.auto_confirm = true;
	fake.welcome_messages = 100;
	fake_start(&fake);
	publisher.c = fake_connect(&fake, 0);
	ck_assert_int_eq(muxc_channel_open(publisher.c, NULL, &publisher.shared), 0);
	for (i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, publish_many, &publisher), 0);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(muxc_wait_all(publisher.shared, 10000000, &totals, NULL), 0);
	ck_assert_uint_eq(totals.confirmed, THREADS * EACH / 2);
	ck_assert_uint_eq(fake_count(&fake, OP(PUBLISH)), THREADS * EACH);
	muxc_channel_free(publisher.shared);
	muxc_free(publisher.c);
	fake_stop(&fake);
}
END_TEST

static bool nack_every_second(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	uint64_t number = fake->published[1];

	if (frame->op_case == OP(PUBLISH))
		fake_outcome(fake, 1,
			     number % 2 ? MUXD__V1__OUTCOME_KIND__NACKED : MUXD__V1__OUTCOME_KIND__CONFIRMED,
			     number, number);
	return false;
}

START_TEST(publish__too_many_failures_are_forgotten_and_said_so)
{
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	uint64_t i;
	int kind;

	fake_init(&fake);
	fake.welcome_messages = 10000;
	fake.on_frame = nack_every_second;
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_wait_ready(c, 5000000, NULL), 0);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	for (i = 0; i < 2400; i++)
		ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), 0);
	ck_assert_int_eq(muxc_wait_all(channel, 10000000, NULL, NULL), 0);
	ck_assert_int_eq(muxc_wait_outcome(channel, 2399, 1000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_NACKED);
	ck_assert_int_eq(muxc_wait_outcome(channel, 2400, 1000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_CONFIRMED);
	ck_assert_int_eq(muxc_wait_outcome(channel, 3, 1000, &kind, NULL), -ENODATA);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

static Suite *suite_publish(void)
{
	Suite *suite = suite_create("client publish");
	TCase *tcase = tcase_create("publish");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, publish__carries_everything_the_message_has, 0, 2);
	tcase_add_loop_test(tcase, publish__outcomes_come_in_any_order_and_are_remembered, 0, 2);
	tcase_add_loop_test(tcase, publish__second_outcome_for_a_publish_is_a_protocol_error, 0, 2);
	tcase_add_loop_test(tcase, publish__returned_message_comes_back_with_its_number, 0, 2);
	tcase_add_loop_test(tcase, publish__without_credit_asks_and_waits, 0, 2);
	tcase_add_loop_test(tcase, publish__credit_that_does_not_come_ends_the_wait, 0, 2);
	tcase_add_loop_test(tcase, publish__bodies_of_all_sizes_arrive_whole_and_in_order, 0, 2);
	tcase_add_test(tcase, publish__threads_share_a_connection_and_a_channel);
	tcase_add_loop_test(tcase, publish__too_many_failures_are_forgotten_and_said_so, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(suite_publish());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
