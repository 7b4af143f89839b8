/* What a new session is told of what there was in the one before, and what becomes of requests. */
#include "tests/unit/client-scene.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name

static void declare(struct muxc_channel *channel, const char *name, unsigned int flags)
{
	struct muxc_queue queue = {.size = sizeof(queue), .name = name, .flags = flags};
	struct muxc_error error = MUXC_ERROR_INIT;
	int r = muxc_queue_declare(channel, &queue, NULL, 0, &error);

	ck_assert_msg(r == 0, "declare: %d %s", r, error.text);
}

static void bind_to(struct muxc_channel *channel, const char *queue, const char *exchange)
{
	struct muxc_binding binding = {
	    .size = sizeof(binding), .destination = queue, .source = exchange, .routing_key = "key"};

	ck_assert_int_eq(muxc_queue_bind(channel, &binding, 0, NULL), 0);
}

static void declare_exchange(struct muxc_channel *channel, const char *name)
{
	struct muxc_exchange exchange = {.size = sizeof(exchange), .name = name, .type = "topic"};

	ck_assert_int_eq(muxc_exchange_declare(channel, &exchange, 0, NULL), 0);
}

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct trace *trace = userdata;

	TELL(trace, "message %d|", (int)muxc_message_get_tag(message));
	__atomic_store_n(&trace->tag, muxc_message_get_tag(message), __ATOMIC_RELEASE);
	flag_add(&trace->messages, 1);
}

static void on_interrupted(struct muxc_channel *channel, uint32_t consumer, const char *text, void *userdata)
{
	TELL((struct trace *)userdata, "interrupted %u|", consumer);
}

static uint32_t consume(struct scene *scene, struct muxc_channel *channel, const char *queue)
{
	struct muxc_consumer_options options = {.size = sizeof(options),
						.queue = queue,
						.on_message = on_message,
						.on_interrupted = on_interrupted,
						.userdata = &scene->trace};
	struct muxc_error error = MUXC_ERROR_INIT;
	uint32_t consumer = 0;
	int r = muxc_consume(channel, &options, &consumer, 0, &error);

	ck_assert_msg(r == 0, "consume: %d %s", r, error.text);
	return consumer;
}

/* ----------------------------------------------------------------- declaring */

START_TEST(restore__what_was_declared_comes_first_and_in_order)
{
	struct scene scene;
	struct muxc_channel *other;

	scene_begin(&scene, _i);
	other = scene_channel(&scene);
	declare_exchange(other, "e");
	declare(scene.channel, "a", MUXC_DURABLE);
	bind_to(other, "a", "e");
	declare(scene.channel, "b", 0);
	declare(scene.channel, "look", MUXC_PASSIVE);
	declare(scene.channel, "a", MUXC_DURABLE);
	muxc_channel_free(other);
	publish(&scene, "m");
	until_text(&scene, "publish 1 m|");
	scene_replace(&scene);
	until_text(&scene, "publish 1 m resent|");
	expect_text(&scene, "hello|open 1|exchange 1 e|declare 1 a|bind 1 a|declare 1 b|close 1|open 1|"
			    "publish 1 m resent|");
	scene_end(&scene);
}
END_TEST

START_TEST(restore__what_was_deleted_or_unbound_does_not_come_back)
{
	struct muxc_binding binding = {
	    .size = sizeof(binding), .destination = "a", .source = "e", .routing_key = "key"};
	struct scene scene;

	scene_begin(&scene, _i);
	declare_exchange(scene.channel, "e");
	declare_exchange(scene.channel, "f");
	declare(scene.channel, "a", 0);
	declare(scene.channel, "b", 0);
	bind_to(scene.channel, "a", "e");
	bind_to(scene.channel, "a", "f");
	bind_to(scene.channel, "b", "f");
	ck_assert_int_eq(muxc_queue_unbind(scene.channel, &binding, 0, NULL), 0);
	ck_assert_int_eq(muxc_queue_delete(scene.channel, "b", 0, NULL, 0, NULL), 0);
	publish(&scene, "m");
	until_text(&scene, "publish 1 m|");
	scene_replace(&scene);
	until_text(&scene, "publish 1 m resent|");
	expect_text(&scene, "hello|open 1|exchange 1 e|exchange 1 f|declare 1 a|bind 1 a|close 1|open 1|"
			    "publish 1 m resent|");
	ck_assert_int_eq(muxc_exchange_delete(scene.channel, "f", 0, 0, NULL), 0);
	scene_replace(&scene);
	until_text(&scene, "publish 1 m resent|");
	expect_text(&scene, "hello|open 1|exchange 1 e|declare 1 a|close 1|open 1|publish 1 m resent|");
	scene_end(&scene);
}
END_TEST

static bool name_with_token(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	note_frame(fake->context, frame, payload);
	if (frame->op_case != OP(QUEUE_DECLARE))
		return false;
	fake_queue_declared(fake, frame, "muxd.gen-7", "token");
	if (frame->queue_declare->resume.len)
		NOTE((struct trace *)fake->context, "%.*s|", (int)frame->queue_declare->resume.len,
		     (const char *)frame->queue_declare->resume.data);
	return true;
}

START_TEST(restore__server_named_queue_comes_back_with_its_token)
{
	struct scene scene;

	scene_init(&scene, _i);
	scene.fake.on_frame = name_with_token;
	fake_start(&scene.fake);
	scene_connect(&scene, &(struct muxc_options){0});
	declare(scene.channel, NULL, MUXC_EXCLUSIVE);
	bind_to(scene.channel, "", "e");
	ck_assert_uint_eq(consume(&scene, scene.channel, ""), 1);
	scene_replace(&scene);
	until_text(&scene, "consume");
	expect_text(&scene, "hello|open 1|resume 1 muxd.gen-7|token|bind 1 muxd.gen-7|close 1|open 1|"
			    "consume 1 muxd.gen-7 as 1 muxd.ctag-1|");
	/* The empty name is still that of the queue. */
	bind_to(scene.channel, NULL, "f");
	until_text(&scene, "consume 1 muxd.gen-7 as 1 muxd.ctag-1|bind 1 muxd.gen-7|");
	scene_end(&scene);
}
END_TEST

/* A broker that refuses b for good, and everything behind it as a failed channel does. */
static bool refuse_b(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	static __thread uint32_t failed; /* generation */
	bool is_b = frame->op_case == OP(QUEUE_DECLARE) && frame->queue_declare->queue.len == 1 &&
		    frame->queue_declare->queue.data[0] == 'b';

	note_frame(fake->context, frame, payload);
	if (fake_sessions(fake) == 1 || !frame->request || frame->channel != 1)
		return false;
	if (is_b)
		failed = fake->generation[1];
	if (failed != fake->generation[1])
		return false;
	fake_error(fake, frame->request, 1, MUXD__V1__SCOPE__CHANNEL, 406);
	return true;
}

START_TEST(restore__refused_declaration_ends_its_channel_and_no_other)
{
	struct scene scene;
	struct muxc_channel *other;

	scene_init(&scene, _i);
	scene.fake.on_frame = refuse_b;
	fake_start(&scene.fake);
	scene_connect(&scene, &(struct muxc_options){0});
	other = scene_channel(&scene);
	declare(scene.channel, "a", 0);
	declare(other, "b", 0);
	declare(scene.channel, "c", 0);
	ck_assert_int_eq(muxc_publish(other, "", "b", NULL, 0, NULL), 0);
	publish(&scene, "m");
	until_text(&scene, "publish 1 m|");
	until_text(&scene, "publish 2 |");
	scene_replace(&scene);
	until_text(&scene, "publish 1 m resent|");
	/* b is tried with the others, and alone. */
	until_told(&scene, "channel closed 406|");
	ck_assert_ptr_nonnull(strstr(scene.trace.told, "1-1 unknown|"));
	ck_assert_int_eq(muxc_channel_get_error(other, NULL), -EREMOTEIO);
	ck_assert_int_eq(muxc_channel_get_error(scene.channel, NULL), 0);
	expect_text(&scene,
		    "hello|open 1|declare 1 a|declare 1 b|declare 1 c|open 1|declare 1 b|open 1|declare 1 c|"
		    "close 1|open 1|publish 1 m resent|");
	/* And it is forgotten. */
	scene_replace(&scene);
	until_text(&scene, "publish 1 m resent|");
	expect_text(&scene, "hello|open 1|declare 1 a|declare 1 c|close 1|open 1|publish 1 m resent|");
	muxc_channel_free(other);
	scene_end(&scene);
}
END_TEST

static bool locked_once(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	struct trace *trace = fake->context;

	note_frame(trace, frame, payload);
	if (fake_sessions(fake) == 1 || frame->op_case != OP(QUEUE_DECLARE) || trace->refused)
		return false;
	trace->refused = 1;
	fake_error(fake, frame->request, 1, MUXD__V1__SCOPE__CHANNEL, 405);
	return true;
}

START_TEST(restore__queue_that_is_still_locked_is_tried_again)
{
	struct scene scene;

	scene_init(&scene, _i);
	scene.fake.on_frame = locked_once;
	fake_start(&scene.fake);
	scene_connect(&scene, &(struct muxc_options){0});
	declare(scene.channel, "a", MUXC_EXCLUSIVE);
	consume(&scene, scene.channel, "a");
	forget(&scene);
	fake_hang_up(&scene.fake);
	until_text(&scene, "consume");
	expect_text(&scene, "hello|open 1|declare 1 a|open 1|declare 1 a|close 1|open 1|"
			    "consume 1 a as 1 muxd.ctag-1|");
	ck_assert_int_eq(muxc_channel_get_error(scene.channel, NULL), 0);
	scene_end(&scene);
}
END_TEST

/* ----------------------------------------------------------------- consumers */

START_TEST(restore__consumers_come_back_with_their_numbers_tags_and_prefetch)
{
	struct scene scene;
	uint32_t first;

	scene_begin(&scene, _i);
	ck_assert_int_eq(muxc_qos_full(scene.channel, 30, MUXC_QOS_CHANNEL, 0, NULL), 0);
	first = consume(&scene, scene.channel, "a");
	ck_assert_int_eq(muxc_qos(scene.channel, 5, 0, NULL), 0);
	consume(&scene, scene.channel, "b");
	consume(&scene, scene.channel, "c");
	ck_assert_int_eq(muxc_qos(scene.channel, 6, 0, NULL), 0);
	ck_assert_int_eq(muxc_cancel(scene.channel, 3, 0, NULL), 0);
	publish(&scene, "m");
	until_text(&scene, "publish 1 m|");
	scene_replace(&scene);
	until_text(&scene, "publish 1 m resent|");
	expect_text(&scene, "hello|open 1|qos 30 global|consume 1 a as 1 muxd.ctag-1|qos 5|"
			    "consume 1 b as 2 muxd.ctag-1|qos 6|publish 1 m resent|");
	fake_deliver(&scene.fake, 1, 2, 1, "hi");
	until_told(&scene, "message 1|");
	ck_assert_uint_eq(first, 1);
	scene_end(&scene);
}
END_TEST

START_TEST(restore__tags_go_on_and_those_of_before_are_settled_silently)
{
	struct scene scene;

	scene_begin(&scene, _i);
	consume(&scene, scene.channel, "a");
	fake_deliver(&scene.fake, 1, 1, 1, "one");
	fake_deliver(&scene.fake, 1, 1, 2, "two");
	fake_deliver(&scene.fake, 1, 1, 3, "three");
	drive_until(scene.c, _i, &scene.trace.messages, 3);
	scene_replace(&scene);
	until_text(&scene, "consume");
	ck_assert_int_eq(muxc_ack(scene.channel, 2, 0), 0);
	ck_assert_int_eq(muxc_ack(scene.channel, 3, MUXC_UP_TO), 0);
	fake_deliver(&scene.fake, 1, 1, 1, "two");
	fake_deliver(&scene.fake, 1, 1, 2, "three");
	fake_deliver(&scene.fake, 1, 1, 3, "four");
	drive_until(scene.c, _i, &scene.trace.messages, 6);
	expect_told(&scene, "lost|back|message 4|message 5|message 6|");
	forget(&scene);
	ck_assert_int_eq(muxc_ack(scene.channel, 5, MUXC_UP_TO), 0);
	until_text(&scene, "settle");
	ck_assert_int_eq(muxc_ack(scene.channel, 6, 0), 0);
	until_text(&scene, "settle 3");
	expect_text(&scene, "settle 0-2|settle 3-3|");
	scene_end(&scene);
}
END_TEST

/* Handlers wait until they may go on. */
struct gate {
	struct scene *scene;
	int inside;
	int open;
};

static void wait_at_gate(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct gate *gate = userdata;

	TELL(&gate->scene->trace, "message %d|", (int)muxc_message_get_tag(message));
	flag_add(&gate->inside, 1);
	while (!flag_get(&gate->open))
		poll(NULL, 0, 1);
	ck_assert_int_eq(muxc_ack(channel, muxc_message_get_tag(message), 0), 0);
}

static void consume_at_gate(struct scene *scene, struct gate *gate)
{
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = "q", .on_message = wait_at_gate, .userdata = gate};

	*gate = (struct gate){.scene = scene};
	ck_assert_int_eq(muxc_consume(scene->channel, &options, NULL, 0, NULL), 0);
}

START_TEST(restore__messages_that_no_handler_has_seen_are_not_handled_twice)
{
	struct scene scene;
	struct gate gate;

	scene_begin(&scene, 0);
	consume_at_gate(&scene, &gate);
	fake_deliver(&scene.fake, 1, 1, 1, "one");
	fake_deliver(&scene.fake, 1, 1, 2, "two");
	drive_until(scene.c, 0, &gate.inside, 1);
	ck_assert_int_eq(muxc_ping(scene.c, 0, NULL), 0);
	forget(&scene);
	fake_hang_up(&scene.fake);
	until_text(&scene, "consume");
	flag_add(&gate.open, 1);
	fake_deliver(&scene.fake, 1, 1, 1, "one");
	fake_deliver(&scene.fake, 1, 1, 2, "two");
	until_told(&scene, "message 4|");
	ck_assert_ptr_null(strstr(scene.trace.told, "message 2|"));
	until_text(&scene, "settle");
	ck_assert_ptr_null(strstr(scene.trace.text, "settle 0"));
	scene_end(&scene);
}
END_TEST

START_TEST(restore__direct_reply_consumer_is_told_that_replies_are_lost)
{
	struct scene scene;

	scene_begin(&scene, _i);
	consume(&scene, scene.channel, "amq.rabbitmq.reply-to");
	consume(&scene, scene.channel, "a");
	scene_replace(&scene);
	until_told(&scene, "interrupted 1|");
	/* Before or after what the link's handlers are told, who may run at the same time. */
	until_told(&scene, "lost|");
	until_told(&scene, "back|");
	ck_assert_uint_eq(strlen(scene.trace.told), strlen("lost|back|interrupted 1|"));
	scene_end(&scene);
}
END_TEST

static bool refuse_consume(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	note_frame(fake->context, frame, payload);
	if (fake_sessions(fake) == 1 || frame->op_case != OP(CONSUME) || frame->channel != 1)
		return false;
	fake_error(fake, frame->request, 1, MUXD__V1__SCOPE__CHANNEL, 404);
	fake_error(fake, 0, 1, MUXD__V1__SCOPE__CHANNEL, 404);
	return true;
}

START_TEST(restore__refused_consumer_ends_its_channel_before_anything_is_published_again)
{
	struct scene scene;
	struct muxc_channel *other;
	int kind = 0;

	scene_init(&scene, _i);
	scene.fake.on_frame = refuse_consume;
	fake_start(&scene.fake);
	scene_connect(&scene, &(struct muxc_options){0});
	other = scene_channel(&scene);
	consume(&scene, scene.channel, "a");
	consume(&scene, other, "b");
	publish(&scene, "m");
	until_text(&scene, "publish 1 m|");
	scene_lose(&scene);
	publish(&scene, "n");
	forget(&scene);
	scene_revive(&scene);
	until_told(&scene, "channel closed 404|");
	ck_assert_int_eq(muxc_wait_outcome(scene.channel, 1, 1000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_UNKNOWN);
	ck_assert_int_eq(muxc_wait_outcome(scene.channel, 2, 1000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_FAILED);
	ck_assert_int_eq(muxc_ping(scene.c, 0, NULL), 0);
	ck_assert_ptr_null(strstr(scene.trace.text, "publish"));
	ck_assert_int_eq(muxc_channel_get_error(other, NULL), 0);
	muxc_channel_free(other);
	scene_end(&scene);
}
END_TEST

static Suite *suite_restore(void)
{
	Suite *suite = suite_create("client restore");
	TCase *tcase = tcase_create("restore");

	tcase_set_timeout(tcase, 30);
	tcase_add_loop_test(tcase, restore__what_was_declared_comes_first_and_in_order, 0, 2);
	tcase_add_loop_test(tcase, restore__what_was_deleted_or_unbound_does_not_come_back, 0, 2);
	tcase_add_loop_test(tcase, restore__server_named_queue_comes_back_with_its_token, 0, 2);
	tcase_add_loop_test(tcase, restore__refused_declaration_ends_its_channel_and_no_other, 0, 2);
	tcase_add_loop_test(tcase, restore__queue_that_is_still_locked_is_tried_again, 0, 2);
	tcase_add_loop_test(tcase, restore__consumers_come_back_with_their_numbers_tags_and_prefetch, 0, 2);
	tcase_add_loop_test(tcase, restore__tags_go_on_and_those_of_before_are_settled_silently, 0, 2);
	tcase_add_test(tcase, restore__messages_that_no_handler_has_seen_are_not_handled_twice);
	tcase_add_loop_test(tcase, restore__direct_reply_consumer_is_told_that_replies_are_lost, 0, 2);
	tcase_add_loop_test(
	    tcase, restore__refused_consumer_ends_its_channel_before_anything_is_published_again, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(suite_restore());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
