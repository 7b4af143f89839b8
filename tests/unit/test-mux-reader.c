/*
 * Sessions that do not read: what waits for them is bounded, and ends them alone.
 */
#include "tests/unit/mux-rig.h"

#include <stdio.h>
#include <stdlib.h>

#define KIB 1024u

static struct rig rig;
static char body[64 * KIB];

static struct rig_session *opened(uint64_t session_memory, uint64_t total_memory)
{
	struct rig_session *session;

	rig_init(&rig);
	rig.upstream_options.warm_lanes = 0;
	rig.options.limits.session_memory = session_memory;
	rig.options.limits.total_memory = total_memory;
	rig.options.limits.prefetch = 256;
	rig_start(&rig);
	rig_connect(&rig, 100, 131072);
	session = rig_session(&rig);
	session_open_channel(session->session, 1, 1);
	return session;
}

static void declare(struct rig_session *session, const char *queue, const char *kind)
{
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};
	struct buf table = BUF_INIT;
	size_t mark = amqc_table_begin(&table);

	amqc_field_append_str(&table, "x-queue-type", span_str(kind));
	amqc_table_end(&table, mark);
	method.queue_declare.queue = span_str(queue);
	method.queue_declare.durable = true;
	/* The member is the table's bytes without their length. */
	method.queue_declare.arguments = span_skip(buf_span(&table), 4);
	rig_request(session, 1, &method, 0);
	rig_serve(&rig);
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_QUEUE_DECLARE_OK);
	buf_deinit(&table);
}

/* Consumes; returns the prefetch that the broker was told. */
static unsigned int consume(struct rig_session *session, uint64_t credit)
{
	struct rig_frame frame;
	unsigned int prefetch = 0;
	uint16_t lane = 1;

	rig_consume(session, 1, 1, "q", "tag", credit);
	rig_turn(&rig);
	while (rig_next(&rig, &frame)) {
		lane = frame.lane;
		if (frame.method.id == AMQC_BASIC_QOS) {
			prefetch = frame.method.basic_qos.prefetch_count;
			rig_say_id(&rig, lane, AMQC_BASIC_QOS_OK);
		} else if (frame.method.id == AMQC_BASIC_CONSUME) {
			rig_say_id(&rig, lane, AMQC_BASIC_CONSUME_OK);
		} else if (frame.method.id == AMQC_CHANNEL_OPEN) {
			rig_say_id(&rig, lane, AMQC_CHANNEL_OPEN_OK);
		} else if (frame.method.id == AMQC_CONFIRM_SELECT) {
			rig_say_id(&rig, lane, AMQC_CONFIRM_SELECT_OK);
		}
	}
	ck_assert_int_eq(rig_event_of(session, RIG_REPLY)->reply, AMQC_BASIC_CONSUME_OK);
	return prefetch;
}

static void deliver(uint64_t tag, size_t size)
{
	struct amqc_method method = {.id = AMQC_BASIC_DELIVER};

	method.basic_deliver.consumer_tag = SPAN_LITERAL("tag");
	method.basic_deliver.delivery_tag = tag;
	rig_say_content(&rig, 1, &method, span_make(body, size));
}

static uint64_t memory_of(const struct rig_session *session)
{
	struct session_info info;

	ck_assert(mux_next_session(rig.mux, session_id(session->session) - 1, &info));
	return info.memory_used;
}

static unsigned int count_sent(enum amqc_method_id id)
{
	struct rig_frame frame;
	unsigned int count = 0;

	rig_turn(&rig);
	while (rig_next(&rig, &frame))
		count += frame.method.id == id;
	return count;
}

static unsigned int count_delivered(struct rig_session *session)
{
	const struct rig_event *event;
	unsigned int count = 0;

	while ((event = rig_event(session))->kind == RIG_DELIVERED)
		count++;
	return count;
}

START_TEST(backlog__what_the_socket_does_not_take_is_bounded_and_charged)
{
	struct rig_session *session = opened(1024 * KIB, 64 * 1024 * KIB);
	uint64_t before;

	declare(session, "q", "classic");
	consume(session, 1000);
	before = memory_of(session);
	for (uint64_t tag = 1; tag <= 8; tag++)
		deliver(tag, 32 * KIB);
	/* An eighth of its memory, whatever its credit; the rest waits, and all of it is charged. */
	ck_assert_uint_eq(count_delivered(session), 4);
	ck_assert_uint_ge(memory_of(session), before + 8 * 32 * KIB);
	session_written(session->session, session->position);
	ck_assert_uint_eq(count_delivered(session), 4);
	session_written(session->session, session->position);
	ck_assert_uint_eq(memory_of(session), before);
	rig_expect_no_event(session);
	rig_free(&rig);
}
END_TEST

START_TEST(backlog__gets_wait_for_the_socket_too)
{
	struct rig_session *session = opened(1024 * KIB, 64 * 1024 * KIB);

	declare(session, "q", "classic");
	consume(session, 1000);
	for (uint64_t tag = 1; tag <= 5; tag++)
		deliver(tag, 32 * KIB);
	rig_get(session, 1, "q");
	ck_assert_uint_eq(count_sent(AMQC_BASIC_GET), 0);
	session_written(session->session, session->position);
	ck_assert_uint_eq(count_sent(AMQC_BASIC_GET), 1);
	rig_free(&rig);
}
END_TEST

START_TEST(prefetch__is_small_where_a_queue_cannot_take_back_and_the_client_did_not_choose)
{
	static const struct {
		const char *kind;
		unsigned int chosen, prefetch;
	} cases[] = {{"classic", 0, 256}, {"quorum", 0, 32}, {"stream", 0, 32}, {"quorum", 500, 500}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rig_session *session = opened(1024 * KIB, 64 * 1024 * KIB);
		struct amqc_method qos = {.id = AMQC_BASIC_QOS};

		declare(session, "q", cases[i].kind);
		qos.basic_qos.prefetch_count = (uint16_t)cases[i].chosen;
		if (cases[i].chosen > 0) {
			rig_request(session, 1, &qos, 0);
			(void)rig_event_of(session, RIG_REPLY);
		}
		ck_assert_uint_eq(consume(session, 0), cases[i].prefetch);
		rig_free(&rig);
	}
}
END_TEST

static void overflow(struct rig_session *session)
{
	for (uint64_t tag = 1; tag <= 8; tag++)
		deliver(tag, 64 * KIB);
	ck_assert_ptr_nonnull(session);
}

START_TEST(overflow__of_a_quorum_queue_ends_the_consumer_and_returns_once)
{
	struct rig_session *session = opened(384 * KIB, 64 * 1024 * KIB);
	struct rig_frame frame;

	declare(session, "q", "quorum");
	consume(session, 0);
	overflow(session);
	ck_assert_uint_eq(rig_event_of(session, RIG_CONSUMER_CANCELLED)->consumer, 1);
	rig_turn(&rig);
	/* Cancelled first; and never started again, which would end the connection. */
	rig_expect(&rig, AMQC_BASIC_CANCEL, &frame);
	ck_assert_uint_eq(count_sent(AMQC_BASIC_NACK), 8);
	rig_say_id(&rig, 1, AMQC_BASIC_CANCEL_OK);
	ck_assert_uint_eq(count_sent(AMQC_BASIC_CONSUME), 0);
	rig_expect_no_event(session);
	rig_free(&rig);
}
END_TEST

START_TEST(overflow__of_a_stream_is_never_nacked)
{
	struct rig_session *session = opened(384 * KIB, 64 * 1024 * KIB);
	struct rig_frame frame;
	unsigned int acks = 0;

	declare(session, "q", "stream");
	consume(session, 0);
	overflow(session);
	ck_assert_uint_eq(rig_event_of(session, RIG_CONSUMER_CANCELLED)->consumer, 1);
	rig_turn(&rig);
	while (rig_next(&rig, &frame)) {
		ck_assert_int_ne(frame.method.id, AMQC_BASIC_NACK);
		acks += frame.method.id == AMQC_BASIC_ACK;
	}
	ck_assert_uint_eq(acks, 8);
	rig_free(&rig);
}
END_TEST

START_TEST(stream__a_client_that_gives_back_loses_its_channel_alone)
{
	struct rig_session *session = opened(1024 * KIB, 64 * 1024 * KIB);

	declare(session, "q", "stream");
	consume(session, 10);
	deliver(1, 10);
	session_settle(session->session, 1, SETTLE_REQUEUE, 1, 1);
	(void)rig_event_of(session, RIG_DELIVERED);
	ck_assert_uint_eq(rig_event_of(session, RIG_CHANNEL_ENDED)->code, AMQC_NOT_IMPLEMENTED);
	ck_assert_uint_eq(count_sent(AMQC_BASIC_NACK), 0);
	rig_free(&rig);
}
END_TEST

START_TEST(large__a_message_too_large_for_the_session_ends_its_consumer)
{
	struct rig_session *session = opened(127 * KIB, 64 * 1024 * KIB);

	declare(session, "q", "classic");
	consume(session, 10);
	deliver(1, 64 * KIB);
	ck_assert_uint_eq(rig_event_of(session, RIG_CONSUMER_CANCELLED)->consumer, 1);
	ck_assert_uint_eq(count_sent(AMQC_BASIC_NACK), 1);
	ck_assert(!session_is_ended(session->session));
	rig_free(&rig);
}
END_TEST

START_TEST(total__when_all_memory_is_used_up_who_holds_most_pays)
{
	struct rig_session *greedy = opened(1024 * KIB, 512 * KIB);
	struct rig_session *modest = rig_session(&rig);
	struct amqc_method method = {.id = AMQC_BASIC_DELIVER};

	declare(greedy, "q", "classic");
	consume(greedy, 0);
	for (uint64_t tag = 1; tag <= 7; tag++)
		deliver(tag, 60 * KIB);
	rig_expect_no_event(greedy);
	session_open_channel(modest->session, 1, 1);
	rig_consume(modest, 1, 1, "other", "modest", 0);
	rig_serve(&rig);
	(void)rig_event_of(modest, RIG_REPLY);
	method.basic_deliver.consumer_tag = SPAN_LITERAL("modest");
	method.basic_deliver.delivery_tag = 1;
	rig_say_content(&rig, 2, &method, span_make(body, 60 * KIB));
	rig_expect_no_event(modest);
	ck_assert_uint_eq(rig_event_of(greedy, RIG_CONSUMER_CANCELLED)->consumer, 1);
	session_consumer_credit(modest->session, 1, 1, 10, 1000000);
	(void)rig_event_of(modest, RIG_DELIVERED);
	rig_free(&rig);
}
END_TEST

START_TEST(replies__share_a_tag_with_the_next_delivery)
{
	struct rig_session *session = opened(1024 * KIB, 64 * 1024 * KIB);
	struct amqc_method method = {.id = AMQC_BASIC_CONSUME};
	struct mux_request request = {.id = 77, .channel = 1, .method = &method, .consumer = 9};

	declare(session, "q", "classic");
	consume(session, 10);
	method.basic_consume.queue = SPAN_LITERAL("amq.rabbitmq.reply-to");
	method.basic_consume.consumer_tag = SPAN_LITERAL("replies");
	method.basic_consume.no_ack = true;
	request.credit_messages = 10;
	request.credit_bytes = 100000;
	session_request(session->session, &request);
	rig_serve(&rig);
	(void)rig_event_of(session, RIG_REPLY);
	for (unsigned int i = 0; i < 3; i++)
		rig_deliver(&rig, 1, "replies", 1, "x");
	rig_deliver(&rig, 1, "tag", 1, "y");
	for (unsigned int i = 0; i < 3; i++)
		ck_assert_uint_eq(rig_event_of(session, RIG_DELIVERED)->consumer, 9);
	ck_assert_uint_eq(rig_event_of(session, RIG_DELIVERED)->tag, 1);
	rig_expect_no_event(session);
	rig_free(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux-reader");
	TCase *tcase = tcase_create("mux-reader");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, backlog__what_the_socket_does_not_take_is_bounded_and_charged);
	tcase_add_test(tcase, backlog__gets_wait_for_the_socket_too);
	tcase_add_test(tcase,
		       prefetch__is_small_where_a_queue_cannot_take_back_and_the_client_did_not_choose);
	tcase_add_test(tcase, overflow__of_a_quorum_queue_ends_the_consumer_and_returns_once);
	tcase_add_test(tcase, overflow__of_a_stream_is_never_nacked);
	tcase_add_test(tcase, stream__a_client_that_gives_back_loses_its_channel_alone);
	tcase_add_test(tcase, large__a_message_too_large_for_the_session_ends_its_consumer);
	tcase_add_test(tcase, total__when_all_memory_is_used_up_who_holds_most_pays);
	tcase_add_test(tcase, replies__share_a_tag_with_the_next_delivery);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
