/* What is remembered to be declared again: what is forgotten of it, and how much it may be. */
#include "tests/unit/client-scene.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name
#define NAME_MAX_LEN 255
#define TOKEN_LEN 64
#define REMEMBERED_MAX (16 * 1024 * 1024)

static int declare_with(struct muxc_channel *channel, const char *name, unsigned int flags, size_t bytes)
{
	struct muxc_queue queue = {.size = sizeof(queue), .name = name, .flags = flags};
	struct muxc_table *table = NULL;
	char *text;
	int r;

	if (bytes) {
		text = malloc(bytes);
		ck_assert_ptr_nonnull(text);
		memset(text, 'x', bytes);
		ck_assert_int_eq(muxc_table_new(&table), 0);
		ck_assert_int_eq(muxc_table_set_string(table, "x", text, bytes), 0);
		free(text);
	}
	queue.arguments = table;
	r = muxc_queue_declare(channel, &queue, NULL, 0, NULL);
	muxc_table_free(table);
	return r;
}

static void declare(struct muxc_channel *channel, const char *name, unsigned int flags)
{
	ck_assert_int_eq(declare_with(channel, name, flags, 0), 0);
}

static int bind_to(struct muxc_channel *channel, const char *queue)
{
	struct muxc_binding binding = {
	    .size = sizeof(binding), .destination = queue, .source = "e", .routing_key = "key"};

	return muxc_queue_bind(channel, &binding, 0, NULL);
}

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
}

static void on_cancelled(struct muxc_channel *channel, uint32_t consumer, const char *text, void *userdata)
{
	flag_add(&((struct trace *)userdata)->messages, 1);
}

static int consume_with(struct scene *scene, struct muxc_channel *channel, const char *queue,
			const struct muxc_table *arguments)
{
	struct muxc_consumer_options options = {.size = sizeof(options),
						.queue = queue,
						.arguments = arguments,
						.on_message = on_message,
						.on_cancelled = on_cancelled,
						.userdata = &scene->trace};
	uint32_t consumer = 0;
	int r = muxc_consume(channel, &options, &consumer, 0, NULL);

	return r < 0 ? r : (int)consumer;
}

static uint32_t consume(struct scene *scene, struct muxc_channel *channel, const char *queue)
{
	int r = consume_with(scene, channel, queue, NULL);

	ck_assert_int_gt(r, 0);
	return (uint32_t)r;
}

/* What another session is told, up to its publish. */
static void expect_again(struct scene *scene, const char *text)
{
	char expected[512];

	publish(scene, "m");
	until_text(scene, "m|");
	scene_replace(scene);
	until_text(scene, "publish 1 m resent|");
	(void)snprintf(expected, sizeof(expected), "hello|%s", text);
	pthread_mutex_lock(&scene->trace.lock);
	ck_assert_msg(strncmp(scene->trace.text, expected, strlen(expected)) == 0, "%s", scene->trace.text);
	pthread_mutex_unlock(&scene->trace.lock);
}

/* ---------------------------------------------------------------- forgetting */

START_TEST(declared__auto_delete_queue_goes_with_its_last_consumer)
{
	struct muxc_channel *other;
	struct scene scene;
	uint32_t first, second;

	scene_begin(&scene, _i);
	other = scene_channel(&scene);
	declare(scene.channel, "a", MUXC_AUTO_DELETE);
	declare(scene.channel, "b", 0);
	declare(scene.channel, "c", MUXC_AUTO_DELETE);
	ck_assert_int_eq(bind_to(scene.channel, "a"), 0);
	first = consume(&scene, scene.channel, "a");
	second = consume(&scene, other, "a");
	ck_assert_int_eq(muxc_cancel(scene.channel, first, 0, NULL), 0);
	ck_assert_int_eq(muxc_cancel(scene.channel, consume(&scene, scene.channel, "b"), 0, NULL), 0);
	expect_again(&scene, "open 1|declare 1 a|declare 1 b|declare 1 c|bind 1 a|close 1|");
	ck_assert_int_eq(muxc_cancel(other, second, 0, NULL), 0);
	expect_again(&scene, "open 1|declare 1 b|declare 1 c|close 1|");
	muxc_channel_free(other);
	scene_end(&scene);
}
END_TEST

START_TEST(declared__auto_delete_queue_goes_with_the_channel_of_its_consumer)
{
	struct muxc_channel *other;
	struct scene scene;

	scene_begin(&scene, _i);
	other = scene_channel(&scene);
	declare(scene.channel, "a", MUXC_AUTO_DELETE);
	declare(scene.channel, "b", MUXC_AUTO_DELETE);
	consume(&scene, other, "a");
	muxc_channel_close(other);
	ready(&scene);
	until_text(&scene, "close 2|");
	expect_again(&scene, "open 1|declare 1 b|close 1|");
	muxc_channel_free(other);
	scene_end(&scene);
}
END_TEST

static void send_cancelled(struct fake *fake, uint32_t consumer)
{
	Muxd__V1__ConsumerCancelled cancelled = MUXD__V1__CONSUMER_CANCELLED__INIT;
	Muxd__V1__ServerFrame frame;

	fake_frame(fake, &frame, 0, 1);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_CONSUMER_CANCELLED;
	frame.consumer_cancelled = &cancelled;
	cancelled.has_consumer = 1;
	cancelled.consumer = consumer;
	fake_send(fake, &frame, SPAN_NULL);
}

START_TEST(declared__auto_delete_queue_goes_with_a_consumer_that_muxd_has_ended)
{
	struct scene scene;

	scene_begin(&scene, _i);
	declare(scene.channel, "a", MUXC_AUTO_DELETE);
	declare(scene.channel, "b", 0);
	send_cancelled(&scene.fake, consume(&scene, scene.channel, "a"));
	drive_until(scene.c, _i, &scene.trace.messages, 1);
	expect_again(&scene, "open 1|declare 1 b|close 1|");
	scene_end(&scene);
}
END_TEST

/* Each call has a queue of its own, and the broker deletes it. */
START_TEST(declared__what_is_remembered_does_not_grow_with_calls)
{
	struct scene scene;
	int i;

	scene_begin(&scene, 0);
	for (i = 0; i < 200; i++) {
		declare(scene.channel, NULL, MUXC_AUTO_DELETE | MUXC_EXCLUSIVE);
		ck_assert_int_eq(bind_to(scene.channel, NULL), 0);
		ck_assert_int_eq(muxc_cancel(scene.channel, consume(&scene, scene.channel, NULL), 0, NULL),
				 0);
		forget(&scene);
	}
	expect_again(&scene, "open 1|publish 1 m resent|");
	scene_end(&scene);
}
END_TEST

static bool refuse_gone(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	struct trace *trace = fake->context;

	note_frame(trace, frame, payload);
	if (!flag_get(&trace->refused) || !frame->request || frame->channel != 1)
		return false;
	fake_error(fake, frame->request, 1, MUXD__V1__SCOPE__CHANNEL, 404);
	return true;
}

static int look(struct muxc_channel *channel)
{
	return declare_with(channel, "a", MUXC_PASSIVE, 0);
}

static int look_at_exchange(struct muxc_channel *channel)
{
	struct muxc_exchange exchange = {.size = sizeof(exchange), .name = "e", .flags = MUXC_PASSIVE};

	return muxc_exchange_declare(channel, &exchange, 0, NULL);
}

static int purge(struct muxc_channel *channel)
{
	return muxc_queue_purge(channel, "a", NULL, 0, NULL);
}

static int get(struct muxc_channel *channel)
{
	struct muxc_message *message = NULL;

	return muxc_get(channel, "a", 0, &message, 0, NULL);
}

static int bind_a(struct muxc_channel *channel)
{
	return bind_to(channel, "a");
}

static const struct {
	int (*run)(struct muxc_channel *channel);
	bool queue; /* comes back */
	bool exchange;
} refusals[] = {{look, false, true},
		{look_at_exchange, true, false},
		{purge, false, true},
		{get, false, true},
		/* Which of the two is not there? */
		{bind_a, true, true}};

START_TEST(declared__what_is_found_to_be_gone_does_not_come_back)
{
	struct muxc_exchange exchange = {.size = sizeof(exchange), .name = "e", .type = "topic"};
	struct muxc_channel *other;
	struct scene scene;

	scene_init(&scene, _i % 2);
	scene.fake.on_frame = refuse_gone;
	fake_start(&scene.fake);
	scene_connect(&scene, &(struct muxc_options){0});
	other = scene_channel(&scene);
	ck_assert_int_eq(muxc_exchange_declare(other, &exchange, 0, NULL), 0);
	declare(other, "a", 0);
	flag_add(&scene.trace.refused, 1);
	ck_assert_int_eq(refusals[_i / 2].run(scene.channel), -ENOENT);
	flag_add(&scene.trace.refused, -1);
	scene_replace(&scene);
	ck_assert_int_eq(muxc_qos(other, 1, 0, NULL), 0);
	ck_assert_int_eq(strstr(scene.trace.text, "declare 1 a|") != NULL, refusals[_i / 2].queue);
	ck_assert_int_eq(strstr(scene.trace.text, "exchange 1 e|") != NULL, refusals[_i / 2].exchange);
	muxc_channel_free(other);
	scene_end(&scene);
}
END_TEST

/* ------------------------------------------------------------------- bounds */

START_TEST(declared__what_is_remembered_is_bounded)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_queue one_more = {.size = sizeof(one_more), .name = "more"};
	const size_t bytes = 250000;
	struct scene scene;
	char name[16];
	size_t i;

	scene_begin(&scene, _i);
	for (i = 0; i <= REMEMBERED_MAX / bytes; i++) {
		(void)snprintf(name, sizeof(name), "q%u", (unsigned int)i);
		ck_assert_int_eq(declare_with(scene.channel, name, 0, bytes), 0);
		forget(&scene);
	}
	ck_assert_int_eq(muxc_queue_declare(scene.channel, &one_more, NULL, 0, &error), -ENOBUFS);
	ck_assert_ptr_nonnull(strstr(error.text, "delete"));
	ck_assert_int_eq(bind_to(scene.channel, "q0"), -ENOBUFS);
	/* What adds nothing goes on, and the channel too. */
	ck_assert_int_eq(declare_with(scene.channel, "q0", MUXC_PASSIVE, 0), 0);
	ck_assert_int_eq(muxc_qos(scene.channel, 1, 0, NULL), 0);
	ck_assert_int_eq(muxc_queue_delete(scene.channel, "q0", 0, NULL, 0, NULL), 0);
	ck_assert_int_eq(muxc_queue_declare(scene.channel, &one_more, NULL, 0, &error), 0);
	/* Declared anew it counts once. */
	for (i = 0; i < 100; i++) {
		ck_assert_int_eq(declare_with(scene.channel, "q1", 0, i % 2 ? bytes : 10), 0);
		forget(&scene);
	}
	scene_end(&scene);
}
END_TEST

/* ------------------------------------------------------------- large requests */

/* The longest names and tokens there are. */
static bool name_at_length(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	Muxd__V1__Consuming consuming = MUXD__V1__CONSUMING__INIT;
	char name[NAME_MAX_LEN + 1] = {0}, token[TOKEN_LEN + 1] = {0};
	Muxd__V1__ServerFrame answer;

	memset(name, 'n', NAME_MAX_LEN);
	memset(token, 't', TOKEN_LEN);
	if (frame->op_case == OP(QUEUE_DECLARE)) {
		NOTE((struct trace *)fake->context, "declare %d %d|", (int)frame->queue_declare->queue.len,
		     (int)frame->queue_declare->resume.len);
		fake_queue_declared(fake, frame, name, token);
		return true;
	}
	if (frame->op_case != OP(CONSUME)) {
		note_frame(fake->context, frame, payload);
		return false;
	}
	NOTE((struct trace *)fake->context, "consume %d|", (int)frame->consume->consumer_tag.len);
	fake_frame(fake, &answer, frame->request, frame->channel);
	answer.event_case = MUXD__V1__SERVER_FRAME__EVENT_CONSUMING;
	answer.consuming = &consuming;
	consuming.has_consumer_tag = 1;
	consuming.consumer_tag = (ProtobufCBinaryData){NAME_MAX_LEN, (uint8_t *)name};
	fake_send(fake, &answer, SPAN_NULL);
	return true;
}

static int consume_large(struct scene *scene, size_t bytes)
{
	struct muxc_table *table;
	char *text = malloc(bytes);
	int r;

	ck_assert_ptr_nonnull(text);
	memset(text, 'x', bytes);
	ck_assert_int_eq(muxc_table_new(&table), 0);
	ck_assert_int_eq(muxc_table_set_string(table, "x", text, bytes), 0);
	free(text);
	r = consume_with(scene, scene->channel, "q", table);
	muxc_table_free(table);
	return r;
}

START_TEST(declared__what_is_as_large_as_may_be_comes_back_too)
{
	size_t declared = 262144, consumed = 262144;
	struct scene scene;

	scene_init(&scene, _i);
	scene.fake.on_frame = name_at_length;
	fake_start(&scene.fake);
	scene_connect(&scene, &(struct muxc_options){0});
	/* The first that is not refused here: the channel and the connection go on meanwhile. */
	while (declare_with(scene.channel, NULL, 0, declared) == -EMSGSIZE)
		declared--;
	while (consume_large(&scene, consumed) == -EMSGSIZE)
		consumed--;
	ck_assert_uint_gt(declared, 260000);
	ck_assert_uint_gt(consumed, 260000);
	publish(&scene, "m");
	until_text(&scene, "m|");
	scene_replace(&scene);
	until_text(&scene, "publish 1 m resent|");
	expect_text(&scene, "hello|open 1|declare 255 64|close 1|open 1|consume 255|publish 1 m resent|");
	scene_end(&scene);
}
END_TEST

static Suite *suite_declared(void)
{
	Suite *suite = suite_create("client declared");
	TCase *tcase = tcase_create("declared");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, declared__auto_delete_queue_goes_with_its_last_consumer, 0, 2);
	tcase_add_loop_test(tcase, declared__auto_delete_queue_goes_with_the_channel_of_its_consumer, 0, 2);
	tcase_add_loop_test(tcase, declared__auto_delete_queue_goes_with_a_consumer_that_muxd_has_ended, 0,
			    2);
	tcase_add_test(tcase, declared__what_is_remembered_does_not_grow_with_calls);
	tcase_add_loop_test(tcase, declared__what_is_found_to_be_gone_does_not_come_back, 0,
			    2 * (int)(sizeof(refusals) / sizeof(refusals[0])));
	tcase_add_loop_test(tcase, declared__what_is_remembered_is_bounded, 0, 2);
	tcase_add_loop_test(tcase, declared__what_is_as_large_as_may_be_comes_back_too, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(suite_declared());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
