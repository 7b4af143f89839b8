/* Channels: numbers, generations, errors, closing. Requests and their answers. */
#include "tests/unit/client-fake.h"

#include <errno.h>
#include <string.h>

#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name

static void on_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	flag_add(userdata, 1);
}

static void on_destroy(void *userdata)
{
	flag_add(userdata, 100);
}

START_TEST(channel__requests_carry_their_arguments_and_give_their_answers)
{
	struct muxc_queue queue = {.size = sizeof(queue), .name = "", .flags = MUXC_EXCLUSIVE | MUXC_DURABLE};
	struct muxc_queue_info info = {.size = sizeof(info)};
	struct muxc_exchange exchange = {
	    .size = sizeof(exchange), .name = "e", .type = "topic", .flags = MUXC_AUTO_DELETE};
	struct muxc_binding binding = {
	    .size = sizeof(binding), .destination = "q", .source = "e", .routing_key = "k"};
	struct muxc_channel *channel;
	struct muxc_message *message = NULL;
	struct muxc_table *arguments;
	struct fake fake;
	struct muxc *c;
	uint32_t count = 0;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_table_new(&arguments), 0);
	ck_assert_int_eq(muxc_table_set_uint32(arguments, "x-max-length", 10), 0);
	queue.arguments = arguments;
	ck_assert_int_eq(muxc_queue_declare(channel, &queue, &info, 0, NULL), 0);
	ck_assert_str_eq(info.name, "muxd.gen-1");
	ck_assert_uint_eq(info.messages, 4);
	ck_assert_uint_eq(info.consumers, 2);
	ck_assert(fake.last[OP(QUEUE_DECLARE)]->queue_declare->exclusive);
	ck_assert(fake.last[OP(QUEUE_DECLARE)]->queue_declare->durable);
	ck_assert(!fake.last[OP(QUEUE_DECLARE)]->queue_declare->passive);
	ck_assert_uint_eq(fake.last[OP(QUEUE_DECLARE)]->queue_declare->arguments->fields[0]->uint32, 10);
	ck_assert_uint_gt(fake.last[OP(QUEUE_DECLARE)]->deadline_ms, 20000);
	ck_assert_int_eq(muxc_exchange_declare(channel, &exchange, 0, NULL), 0);
	ck_assert_mem_eq(fake.last[OP(EXCHANGE_DECLARE)]->exchange_declare->type.data, "topic", 5);
	ck_assert(fake.last[OP(EXCHANGE_DECLARE)]->exchange_declare->auto_delete);
	ck_assert_int_eq(muxc_queue_bind(channel, &binding, 0, NULL), 0);
	ck_assert_mem_eq(fake.last[OP(QUEUE_BIND)]->queue_bind->queue.data, "q", 1);
	ck_assert_mem_eq(fake.last[OP(QUEUE_BIND)]->queue_bind->exchange.data, "e", 1);
	ck_assert_int_eq(muxc_queue_unbind(channel, &binding, 0, NULL), 0);
	ck_assert_int_eq(muxc_exchange_bind(channel, &binding, 0, NULL), 0);
	ck_assert_mem_eq(fake.last[OP(EXCHANGE_BIND)]->exchange_bind->destination.data, "q", 1);
	ck_assert_int_eq(muxc_exchange_unbind(channel, &binding, 0, NULL), 0);
	ck_assert_int_eq(muxc_queue_purge(channel, "q", &count, 0, NULL), 0);
	ck_assert_uint_eq(count, 5);
	ck_assert_int_eq(muxc_queue_delete(channel, "q", MUXC_IF_EMPTY, &count, 0, NULL), 0);
	ck_assert(fake.last[OP(QUEUE_DELETE)]->queue_delete->if_empty);
	ck_assert(!fake.last[OP(QUEUE_DELETE)]->queue_delete->if_unused);
	ck_assert_int_eq(muxc_exchange_delete(channel, "e", MUXC_IF_UNUSED, 0, NULL), 0);
	ck_assert(fake.last[OP(EXCHANGE_DELETE)]->exchange_delete->if_unused);
	ck_assert_int_eq(muxc_qos(channel, 17, 0, NULL), 0);
	ck_assert_uint_eq(fake.last[OP(QOS)]->qos->prefetch_count, 17);
	ck_assert(!fake.last[OP(QOS)]->qos->global);
	ck_assert_int_eq(muxc_qos_full(channel, 18, MUXC_QOS_CHANNEL, 0, NULL), 0);
	ck_assert_uint_eq(fake.last[OP(QOS)]->qos->prefetch_count, 18);
	ck_assert(fake.last[OP(QOS)]->qos->global);
	ck_assert_int_eq(muxc_get(channel, "q", 0, &message, 0, NULL), 0);
	ck_assert_ptr_null(message);
	/* Arguments that are wrong never reach muxd. */
	ck_assert_int_eq(muxc_exchange_delete(channel, "e", MUXC_IF_EMPTY, 0, NULL), -EINVAL);
	ck_assert_int_eq(muxc_qos(channel, 70000, 0, NULL), -EINVAL);
	ck_assert_int_eq(muxc_qos_full(channel, 7, 4, 0, NULL), -EINVAL);
	ck_assert_int_eq(muxc_get(channel, "q", 0, NULL, 0, NULL), -EINVAL);
	queue.size = 0;
	ck_assert_int_eq(muxc_queue_declare(channel, &queue, &info, 0, NULL), -EINVAL);
	ck_assert_uint_eq(fake_count(&fake, OP(QOS)), 2);
	muxc_table_free(arguments);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

/* As muxd: no outcome before the transaction ends, and that before the answer. */
static bool end_tx(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	if (frame->op_case == OP(TX_COMMIT))
		fake_outcome(fake, frame->channel, MUXD__V1__OUTCOME_KIND__CONFIRMED, 1, 2);
	else if (frame->op_case == OP(TX_ROLLBACK))
		fake_outcome(fake, frame->channel, MUXD__V1__OUTCOME_KIND__NOT_SENT, 3, 3);
	return false;
}

START_TEST(channel__transactions_give_publishes_their_outcome)
{
	struct muxc_totals totals = {.size = sizeof(totals)};
	struct muxc_channel *channel;
	struct muxc_message *message;
	struct fake fake;
	struct muxc *c;
	int kind;

	fake_init(&fake);
	fake.on_frame = end_tx;
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_message_new(&message), 0);
	ck_assert_int_eq(muxc_tx_select(channel, 0, NULL), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(muxc_publish(channel, "", "q", message, 0, NULL), 0);
	ck_assert_int_eq(muxc_tx_commit(channel, 0, NULL), 0);
	ck_assert_int_eq(muxc_wait_outcome(channel, 2, 1, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_CONFIRMED);
	ck_assert_int_eq(muxc_publish(channel, "", "q", message, 0, NULL), 0);
	ck_assert_int_eq(muxc_tx_rollback(channel, 0, NULL), 0);
	ck_assert_int_eq(muxc_wait_outcome(channel, 3, 1, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_FAILED);
	ck_assert_int_eq(muxc_wait_all(channel, 1, &totals, NULL), 0);
	ck_assert_uint_eq(totals.confirmed, 2);
	ck_assert_uint_eq(totals.failed, 1);
	ck_assert_int_eq(muxc_recover(channel, 0, NULL), 0);
	ck_assert(fake.last[OP(RECOVER)]->recover->requeue);
	ck_assert_int_eq(muxc_tx_commit(NULL, 0, NULL), -EINVAL);
	muxc_message_unref(message);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

static bool refuse_purge(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	if (frame->op_case != OP(QUEUE_PURGE))
		return false;
	fake_error(fake, frame->request, frame->channel, MUXD__V1__SCOPE__REQUEST, 403);
	return true;
}

START_TEST(channel__error_of_scope_request_leaves_the_channel_open)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;

	fake_init(&fake);
	fake.on_frame = refuse_purge;
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_queue_purge(channel, "q", NULL, 0, &error), -EACCES);
	ck_assert_uint_eq(error.code, 403);
	ck_assert_int_eq(error.kind, MUXC_ERROR_BROKER);
	ck_assert_int_eq(error.closes_channel, 0);
	ck_assert_uint_eq(error.channel, 1);
	ck_assert_int_eq(muxc_qos(channel, 1, 0, NULL), 0);
	ck_assert_int_eq(muxc_channel_get_error(channel, &error), 0);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

/*
 * As muxd does it: outcomes, the request's error, the end; and what was
 * pipelined behind is answered as failed.
 */
static bool fail_at_purge(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	bool *failed = fake->context;

	if (frame->channel != 1 || fake->generation[1] != 1)
		return false;
	if (frame->op_case == OP(QUEUE_PURGE)) {
		*failed = true;
		fake_outcome(fake, 1, MUXD__V1__OUTCOME_KIND__UNKNOWN, 1, 2);
		fake_error(fake, frame->request, 1, MUXD__V1__SCOPE__CHANNEL, 404);
		fake_error(fake, 0, 1, MUXD__V1__SCOPE__CHANNEL, 404);
		return true;
	}
	if (*failed && frame->op_case == OP(PUBLISH))
		fake_outcome(fake, 1, MUXD__V1__OUTCOME_KIND__NOT_SENT, fake->published[1],
			     fake->published[1]);
	return *failed;
}

START_TEST(channel__error_of_scope_channel_ends_that_channel_alone)
{
	struct muxc_channel_options options = {
	    .size = sizeof(options), .on_closed = on_closed, .on_destroy = on_destroy};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *channel, *other, *again;
	bool failed = false;
	struct fake fake;
	struct muxc *c;
	int closed = 0, kind = 0;

	fake_init(&fake);
	fake.on_frame = fail_at_purge;
	fake.context = &failed;
	fake_start(&fake);
	options.userdata = &closed;
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, &options, &channel), 0);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &other), 0);
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), 0);
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), 0);
	ck_assert_int_eq(muxc_queue_purge(channel, "q", NULL, 0, &error), -ENOENT);
	ck_assert_int_eq(error.closes_channel, 1);
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), -ENOENT);
	ck_assert_int_eq(muxc_qos(channel, 1, 0, &error), -ENOENT);
	ck_assert_uint_eq(error.code, 404);
	ck_assert_int_eq(muxc_ack(channel, 1, 0), -ENOENT);
	drive_until(c, _i, &closed, 1);
	ck_assert_int_eq(muxc_wait_outcome(channel, 2, 1000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_UNKNOWN);
	ck_assert_int_eq(muxc_channel_get_error(channel, &error), -ENOENT);
	ck_assert_int_eq(muxc_qos(other, 1, 0, NULL), 0);
	ck_assert_int_eq(closed, 1);
	/* Freeing it sends nothing; its number comes back with the next generation. */
	muxc_channel_free(channel);
	drive_until(c, _i, &closed, 101);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &again), 0);
	while (muxc_channel_get_number(again) != 1) {
		muxc_channel_free(again);
		ck_assert_int_eq(muxc_channel_open(c, NULL, &again), 0);
	}
	ck_assert_int_eq(muxc_qos(again, 1, 0, NULL), 0);
	ck_assert_uint_eq(fake.generation[1], 2);
	muxc_channel_free(again);
	muxc_channel_free(other);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

/* Nobody holds the channel any more but the connection, which ends over it. */
START_TEST(channel__nonsense_about_one_that_was_freed_ends_the_connection)
{
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	int r;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), 0);
	ck_assert_int_eq(muxc_ping(c, 0, NULL), 0);
	muxc_channel_free(channel);
	fake_outcome(&fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 99, 99);
	do {
		r = muxc_ping(c, 0, NULL);
	} while (r == 0);
	ck_assert_int_eq(r, -EPROTO);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

/* The error comes on its own, while publishes are under way. */
START_TEST(channel__what_was_pipelined_behind_an_error_ends_too)
{
	struct muxc_channel_options options = {.size = sizeof(options), .on_closed = on_closed};
	struct muxc_totals totals = {.size = sizeof(totals)};
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	int closed = 0;

	fake_init(&fake);
	fake_start(&fake);
	options.userdata = &closed;
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, &options, &channel), 0);
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), 0);
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), 0);
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), 0);
	ck_assert_int_ge(muxc_flush(c), 0);
	fake_expect(&fake, OP(PUBLISH), 3);
	fake_outcome(&fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 1, 1);
	fake_error(&fake, 0, 1, MUXD__V1__SCOPE__CHANNEL, 404);
	fake_outcome(&fake, 1, MUXD__V1__OUTCOME_KIND__NOT_SENT, 2, 3);
	drive_until(c, _i, &closed, 1);
	ck_assert_int_eq(muxc_channel_get_totals(channel, &totals), 0);
	ck_assert_uint_eq(totals.confirmed, 1);
	ck_assert_uint_eq(totals.failed, 2);
	muxc_channel_free(channel);
	ck_assert_int_eq(muxc_ping(c, 5000000, NULL), 0);
	ck_assert_uint_eq(fake_count(&fake, OP(CHANNEL_CLOSE)), 0);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(channel__closing_is_local_and_outcomes_still_come)
{
	struct muxc_channel_options options = {.size = sizeof(options), .on_closed = on_closed};
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	int closed = 0, kind = 0;

	fake_init(&fake);
	fake_start(&fake);
	options.userdata = &closed;
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, &options, &channel), 0);
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), 0);
	ck_assert_int_eq(muxc_channel_close(channel), 0);
	ck_assert_int_eq(muxc_channel_close(channel), 0);
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), -ESHUTDOWN);
	ck_assert_int_eq(muxc_wait_outcome(channel, 1, 20000, &kind, NULL), -ETIMEDOUT);
	fake_expect(&fake, OP(CHANNEL_CLOSE), 1);
	fake_outcome(&fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 1, 1);
	ck_assert_int_eq(muxc_wait_outcome(channel, 1, 5000000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_CONFIRMED);
	ck_assert_int_eq(closed, 0); /* who closed it knows */
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(channel__frames_of_an_older_generation_are_dropped)
{
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	int i, kind = 0;

	fake_init(&fake);
	fake.channels_max = 1;
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_wait_ready(c, 5000000, NULL), 0);
	/* With one number only, each open waits for the close before it. */
	for (i = 0; i < 3; i++) {
		ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
		ck_assert_uint_eq(muxc_channel_get_number(channel), 1);
		if (i < 2)
			muxc_channel_free(channel);
	}
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), 0);
	ck_assert_int_ge(muxc_flush(c), 0);
	fake_expect(&fake, OP(PUBLISH), 1);
	fake.generation[1] = 2;
	fake_outcome(&fake, 1, MUXD__V1__OUTCOME_KIND__NACKED, 1, 1);
	fake_error(&fake, 0, 1, MUXD__V1__SCOPE__CHANNEL, 404);
	fake_deliver(&fake, 1, 1, 1, "stale");
	fake.generation[1] = 3;
	fake_outcome(&fake, 1, MUXD__V1__OUTCOME_KIND__CONFIRMED, 1, 1);
	ck_assert_int_eq(muxc_wait_outcome(channel, 1, 5000000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_CONFIRMED);
	ck_assert_int_eq(muxc_channel_get_error(channel, NULL), 0);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(channel__more_than_muxd_allows_is_emfile)
{
	struct muxc_channel *channels[3], *more;
	struct fake fake;
	struct muxc *c;
	int i;

	fake_init(&fake);
	fake.channels_max = 3;
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_wait_ready(c, 5000000, NULL), 0);
	for (i = 0; i < 3; i++)
		ck_assert_int_eq(muxc_channel_open(c, NULL, &channels[i]), 0);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &more), -EMFILE);
	muxc_channel_free(channels[1]);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &more), 0);
	ck_assert_uint_eq(muxc_channel_get_number(more), 2);
	muxc_channel_free(more);
	muxc_channel_free(channels[0]);
	muxc_channel_free(channels[2]);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

/* Closes are requests: more of them than may be unanswered wait, and none is lost. */
START_TEST(channel__closes_beyond_the_requests_limit_are_sent_later)
{
	struct muxc_channel *channel[60];
	struct fake fake;
	struct muxc *c;
	int i, round;

	fake_init(&fake);
	fake.requests_max = 2;
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_wait_ready(c, 5000000, NULL), 0);
	for (round = 0; round < 5; round++) {
		for (i = 0; i < 60; i++)
			ck_assert_int_eq(muxc_channel_open(c, NULL, &channel[i]), 0);
		for (i = 0; i < 60; i++)
			muxc_channel_free(channel[i]);
	}
	ck_assert_int_eq(muxc_ping(c, 5000000, NULL), 0);
	while (_i && fake_count(&fake, OP(CHANNEL_CLOSE)) < 300) {
		(void)muxc_wait(c, 1000);
		ck_assert_int_eq(muxc_process(c), 0);
	}
	fake_expect(&fake, OP(CHANNEL_CLOSE), 300);
	ck_assert_uint_eq(fake_count(&fake, OP(CHANNEL_OPEN)), 300);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

static Suite *suite_channel(void)
{
	Suite *suite = suite_create("client channel");
	TCase *tcase = tcase_create("channel");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, channel__requests_carry_their_arguments_and_give_their_answers, 0, 2);
	tcase_add_loop_test(tcase, channel__transactions_give_publishes_their_outcome, 0, 2);
	tcase_add_loop_test(tcase, channel__error_of_scope_request_leaves_the_channel_open, 0, 2);
	tcase_add_loop_test(tcase, channel__error_of_scope_channel_ends_that_channel_alone, 0, 2);
	tcase_add_loop_test(tcase, channel__what_was_pipelined_behind_an_error_ends_too, 0, 2);
	tcase_add_loop_test(tcase, channel__closing_is_local_and_outcomes_still_come, 0, 2);
	tcase_add_loop_test(tcase, channel__frames_of_an_older_generation_are_dropped, 0, 2);
	tcase_add_loop_test(tcase, channel__nonsense_about_one_that_was_freed_ends_the_connection, 0, 2);
	tcase_add_loop_test(tcase, channel__more_than_muxd_allows_is_emfile, 0, 2);
	tcase_add_loop_test(tcase, channel__closes_beyond_the_requests_limit_are_sent_later, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(suite_channel());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
