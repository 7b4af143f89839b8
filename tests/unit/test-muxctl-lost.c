/*
 * muxctl, the program, when what it waits for does not come: refused, returned,
 * interrupted, closed, muxd about to stop or gone. The muxd is a fake that does
 * what the routing key or the queue says.
 */
#include "tests/unit/client-fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name
#define EVENT(name) MUXD__V1__SERVER_FRAME__EVENT_##name
#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static ProtobufCBinaryData bytes(const char *text)
{
	return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static void consuming(struct fake *fake, const Muxd__V1__ClientFrame *request)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__Consuming answer = MUXD__V1__CONSUMING__INIT;

	fake_frame(fake, &frame, request->request, request->channel);
	frame.event_case = EVENT(CONSUMING);
	frame.consuming = &answer;
	answer.has_consumer_tag = 1;
	answer.consumer_tag = bytes("tag");
	fake_send(fake, &frame, SPAN_NULL);
}

static void interrupt(struct fake *fake, uint32_t channel)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__ConsumerInterrupted event = MUXD__V1__CONSUMER_INTERRUPTED__INIT;

	fake_frame(fake, &frame, 0, channel);
	frame.event_case = EVENT(CONSUMER_INTERRUPTED);
	frame.consumer_interrupted = &event;
	event.has_consumer = event.has_text = 1;
	event.consumer = fake->last[OP(CONSUME)]->consume->consumer;
	event.text = bytes("the connection was lost");
	fake_send(fake, &frame, SPAN_NULL);
}

static void cancel(struct fake *fake, uint32_t channel)
{
	Muxd__V1__ServerFrame frame;
	Muxd__V1__ConsumerCancelled event = MUXD__V1__CONSUMER_CANCELLED__INIT;

	fake_frame(fake, &frame, 0, channel);
	frame.event_case = EVENT(CONSUMER_CANCELLED);
	frame.consumer_cancelled = &event;
	event.has_consumer = event.has_text = 1;
	event.consumer = fake->last[OP(CONSUME)]->consume->consumer;
	event.text = bytes("the queue was deleted");
	fake_send(fake, &frame, SPAN_NULL);
}

static bool is(ProtobufCBinaryData data, const char *text)
{
	return data.len == strlen(text) && memcmp(data.data, text, data.len) == 0;
}

static void happen(struct fake *fake, ProtobufCBinaryData what, uint32_t channel)
{
	if (is(what, "interrupt"))
		interrupt(fake, channel);
	if (is(what, "cancel"))
		cancel(fake, channel);
	if (is(what, "close"))
		fake_error(fake, 0, channel, MUXD__V1__SCOPE__CHANNEL, 404);
	if (is(what, "away"))
		fake_go_away(fake, 60000);
	if (is(what, "gone"))
		(void)shutdown(fake->fd, SHUT_RDWR);
}

static bool on_publish(struct fake *fake, const Muxd__V1__ClientFrame *frame)
{
	uint64_t number = fake->published[frame->channel];
	ProtobufCBinaryData key = frame->publish->routing_key;
	int kind = is(key, "nack")    ? MUXD__V1__OUTCOME_KIND__NACKED
		   : is(key, "doubt") ? MUXD__V1__OUTCOME_KIND__UNKNOWN
				      : MUXD__V1__OUTCOME_KIND__CONFIRMED;

	if (!is(key, "silence") && !is(key, "gone"))
		fake_outcome(fake, frame->channel, kind, number, number);
	happen(fake, key, frame->channel);
	return true;
}

static bool on_frame(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	if (frame->op_case == OP(PUBLISH))
		return on_publish(fake, frame);
	if (frame->op_case != OP(CONSUME))
		return false;
	if (is(frame->consume->queue, "refused")) {
		fake_error(fake, frame->request, frame->channel, MUXD__V1__SCOPE__REQUEST, 403);
		return true;
	}
	consuming(fake, frame);
	if (is(frame->consume->queue, "two")) {
		fake_deliver(fake, frame->channel, frame->consume->consumer, 1, "one");
		fake_deliver(fake, frame->channel, frame->consume->consumer, 2, "two");
	}
	if (is(frame->consume->queue, "again") && fake_sessions(fake) == 1)
		(void)shutdown(fake->fd, SHUT_RDWR);
	else if (is(frame->consume->queue, "again"))
		fake_deliver(fake, frame->channel, frame->consume->consumer, 1, "at last");
	happen(fake, frame->consume->queue, frame->channel);
	return true;
}

static const struct {
	const char *arguments;
	int code;
	const char *says;
} cases[] = {
    /* 4 is what the fake's 408 comes to. */
    {"publish -r nack body", 4, "the broker has refused it: muxd refuses (AMQP 408): too late"},
    {"publish -r doubt body", 4, "outcome unknown, it may be at the broker or not"},
    {"publish -r gone body", 1, "muxd has closed the connection"},
    {"--json publish -r nack body", 4, "{\"outcome\":\"nacked\"}"},
    {"--json publish -r well body", 0, "{\"outcome\":\"confirmed\"}"},
    {"--timeout 2s publish -r silence body", 4, "no outcome"},
    {"call -r nack body", 4, "the request was not published"},
    {"call -r interrupt body", 1, "the reply cannot come: the connection was lost"},
    {"call -r close body", 1, "AMQP 404"},
    {"call -r gone body", 1, "muxd has closed the connection"},
    {"--timeout 2s call -r well body", 4, "no reply has come in time"},
    {"consume cancel", 1, "the consumer was ended: the queue was deleted"},
    {"consume close", 1, "AMQP 404"},
    {"--timeout 3s consume away", 4, "muxd is gone; waiting until it is back"},
    {"--timeout 3s consume gone", 4, "muxd is gone; waiting until it is back"},
    {"consume again -n 1", 0, "muxd is back\nat last"},
    {"--quiet consume again -n 1", 0, "at last"},
    {"consume refused", 1, "AMQP 403"},
    {"consume two -n 1", 0, "one"},
    {"publish -l -r nack", 4, "line 2: the broker has refused it (AMQP 408): too late"},
    {"publish -l -r doubt", 4, "0 of 2 messages were confirmed"},
    {"--json publish -l -r well", 0, "\"confirmed\":2,\"returned\":0,\"nacked\":0,\"failed\":0,"},
    {"--timeout 3s publish -l -r silence", 4, "outcomes are missing"},
    {"--timeout 3s publish -l -r gone", 4, "outcome unknown, it may be at the broker or not"},
    {"--timeout 3s publish -l -r credit", 4, "muxd takes no more"},
};

START_TEST(muxctl__says_why_what_it_waits_for_does_not_come)
{
	char command[256], said[4096];
	struct fake fake;
	FILE *muxctl;
	size_t len;
	int status;

	fake_init(&fake);
	fake.on_frame = on_frame;
	fake.comes_back = strstr(cases[_i].arguments, "again") != NULL;
	fake.welcome_bytes = 20000; /* the line of 30000 bytes never gets its credit */
	fake_start(&fake);
	snprintf(command, sizeof(command),
		 "printf '1\\n%%0*d\\n' %d 2 | timeout 30 client/muxctl -s %s %s 2>&1",
		 strstr(cases[_i].arguments, "credit") ? 30000 : 1, fake.path, cases[_i].arguments);
	muxctl = popen(command, "r");
	ck_assert_ptr_nonnull(muxctl);
	len = fread(said, 1, sizeof(said) - 1, muxctl);
	said[len] = 0;
	status = pclose(muxctl);
	fake_stop(&fake);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == cases[_i].code &&
			  strstr(said, cases[_i].says),
		      "muxctl %s: exit code %d, expected %d; it says:\n%s", cases[_i].arguments,
		      WEXITSTATUS(status), cases[_i].code, said);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("muxctl-lost");
	TCase *tests = tcase_create("muxctl-lost");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(tests, muxctl__says_why_what_it_waits_for_does_not_come, 0, COUNT(cases));
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
