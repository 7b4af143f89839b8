/*
 * The test broker as a program: its admin lines, and that it misbehaves as
 * told. The client is librabbitmq.
 */
#include "tests/integration/testbroker.h"

#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_SEC 10

static struct testbroker broker;
static amqp_connection_state_t conn;

static amqp_bytes_t text(const char *s)
{
	return amqp_cstring_bytes(s);
}

/* The library does not say by itself that it can be told of alarms. */
static amqp_connection_state_t open_broker(void)
{
	amqp_table_entry_t capability = {.key = text("connection.blocked"),
					 .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1}};
	amqp_table_entry_t property = {
	    .key = text("capabilities"),
	    .value = {.kind = AMQP_FIELD_KIND_TABLE, .value.table = {1, &capability}}};
	amqp_table_t properties = {1, &property};
	amqp_connection_state_t state = amqp_new_connection();
	amqp_socket_t *socket = amqp_tcp_socket_new(state);

	ck_assert_int_eq(amqp_socket_open(socket, "127.0.0.1", broker.port), AMQP_STATUS_OK);
	ck_assert_int_eq(amqp_login_with_properties(state, "/", 0, 131072, 0, &properties,
						    AMQP_SASL_METHOD_PLAIN, "guest", "guest")
			     .reply_type,
			 AMQP_RESPONSE_NORMAL);
	amqp_channel_open(state, 1);
	ck_assert_int_eq(amqp_get_rpc_reply(state).reply_type, AMQP_RESPONSE_NORMAL);
	return state;
}

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	broker = testbroker_start(NULL);
	conn = open_broker();
}

static void teardown(void)
{
	amqp_destroy_connection(conn);
	ck_assert(testbroker_stop(&broker));
}

static void declare(amqp_connection_state_t state)
{
	amqp_queue_declare(state, 1, text("q"), 0, 0, 0, 0, amqp_empty_table);
	ck_assert_int_eq(amqp_get_rpc_reply(state).reply_type, AMQP_RESPONSE_NORMAL);
}

static void send_declare(void)
{
	amqp_queue_declare_t m = {.queue = text("q")};

	ck_assert_int_eq(amqp_send_method(conn, 1, AMQP_QUEUE_DECLARE_METHOD, &m), AMQP_STATUS_OK);
}

/* What waiting for a frame comes to; the method of the frame is in *ret_id. */
static int wait_frame(unsigned int msec, amqp_method_number_t *ret_id)
{
	struct timeval deadline = {msec / 1000, (suseconds_t)(msec % 1000) * 1000};
	amqp_frame_t frame = {0};
	int r = amqp_simple_wait_frame_noblock(conn, &frame, &deadline);

	*ret_id = r == AMQP_STATUS_OK ? frame.payload.method.id : 0;
	return r;
}

static void expect_frame(amqp_method_number_t id)
{
	amqp_method_number_t found;

	ck_assert_int_eq(wait_frame(DEADLINE_SEC * 1000, &found), AMQP_STATUS_OK);
	ck_assert_str_eq(amqp_method_name(found), amqp_method_name(id));
}

static void expect_end(int error)
{
	char byte;
	struct timeval deadline = {DEADLINE_SEC, 0};
	int fd = amqp_get_sockfd(conn);
	ssize_t got;

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline)), 0);
	got = recv(fd, &byte, 1, 0);
	if (error == 0)
		ck_assert_int_eq(got, 0);
	else
		ck_assert(got < 0 && errno == error);
}

START_TEST(testbroker__counts_connections_channels_and_messages)
{
	amqp_connection_state_t second = open_broker();

	testbroker_expect(&broker, "connections", "ok connections 2");
	testbroker_expect(&broker, "channels", "ok channels 2");
	testbroker_expect(&broker, "messages q", "error no such queue");
	declare(conn);
	amqp_basic_publish(conn, 1, amqp_empty_bytes, text("q"), 0, 0, NULL, text("x"));
	declare(conn);
	testbroker_expect(&broker, "messages q", "ok messages 1 unacked 0");
	testbroker_expect(&broker, "messages q one", "error no such queue");
	ck_assert_int_eq(amqp_connection_close(second, 200).reply_type, AMQP_RESPONSE_NORMAL);
	testbroker_expect(&broker, "connections", "ok connections 1");
	amqp_destroy_connection(second);
}
END_TEST

START_TEST(testbroker__says_what_it_does_not_understand)
{
	testbroker_expect(&broker, "dance", "error unknown command");
	testbroker_expect(&broker, "", "error unknown command");
	testbroker_expect(&broker, "delay soon", "error bad arguments to delay");
	testbroker_expect(&broker, "close", "error bad arguments to close");
}
END_TEST

START_TEST(testbroker__drop_closes_the_sockets)
{
	testbroker_expect(&broker, "drop", "ok drop");
	expect_end(0);
	testbroker_expect(&broker, "connections", "ok connections 0");
	amqp_destroy_connection(conn);
	conn = open_broker();
}
END_TEST

START_TEST(testbroker__reset_resets_them)
{
	testbroker_expect(&broker, "reset", "ok reset");
	expect_end(ECONNRESET);
}
END_TEST

START_TEST(testbroker__frozen_says_nothing_until_it_is_thawed)
{
	amqp_method_number_t id;

	testbroker_expect(&broker, "freeze", "ok freeze");
	send_declare();
	ck_assert_int_eq(wait_frame(300, &id), AMQP_STATUS_TIMEOUT);
	testbroker_expect(&broker, "thaw", "ok thaw");
	expect_frame(AMQP_QUEUE_DECLARE_OK_METHOD);
}
END_TEST

START_TEST(testbroker__delayed_answers_come_later_and_in_order)
{
	struct timespec before, after;

	testbroker_expect(&broker, "delay 200", "ok delay");
	clock_gettime(CLOCK_MONOTONIC, &before);
	send_declare();
	send_declare();
	expect_frame(AMQP_QUEUE_DECLARE_OK_METHOD);
	clock_gettime(CLOCK_MONOTONIC, &after);
	ck_assert_int_ge((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000,
			 199);
	testbroker_expect(&broker, "delay 0", "ok delay");
	expect_frame(AMQP_QUEUE_DECLARE_OK_METHOD);
	declare(conn);
}
END_TEST

START_TEST(testbroker__garbage_is_no_frame)
{
	char bytes[4];
	struct timeval deadline = {DEADLINE_SEC, 0};

	testbroker_expect(&broker, "garbage", "ok garbage");
	ck_assert_int_eq(
	    setsockopt(amqp_get_sockfd(conn), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline)), 0);
	ck_assert_int_eq(recv(amqp_get_sockfd(conn), bytes, 4, MSG_WAITALL), 4);
	ck_assert_int_eq(memcmp(bytes, "\x7f\xff\xff\xff", 4), 0);
}
END_TEST

START_TEST(testbroker__block_holds_publishers_and_tells_them)
{
	declare(conn);
	testbroker_expect(&broker, "block no room", "ok block");
	amqp_basic_publish(conn, 1, amqp_empty_bytes, text("q"), 0, 0, NULL, text("x"));
	expect_frame(AMQP_CONNECTION_BLOCKED_METHOD);
	testbroker_expect(&broker, "messages q", "ok messages 0 unacked 0");
	testbroker_expect(&broker, "unblock", "ok unblock");
	testbroker_expect(&broker, "messages q", "ok messages 1 unacked 0");
}
END_TEST

START_TEST(testbroker__close_sends_connection_close)
{
	testbroker_expect(&broker, "close 320 CONNECTION_FORCED - maintenance", "ok close");
	expect_frame(AMQP_CONNECTION_CLOSE_METHOD);
	testbroker_expect(&broker, "connections", "ok connections 0");
}
END_TEST

START_TEST(testbroker__restart_drops_connections_and_what_is_not_durable)
{
	declare(conn);
	testbroker_expect(&broker, "restart", "ok restart");
	expect_end(0);
	testbroker_expect(&broker, "messages q", "error no such queue");
	amqp_destroy_connection(conn);
	conn = open_broker();
}
END_TEST

START_TEST(testbroker__held_confirms_wait_for_their_release)
{
	amqp_method_number_t id;

	amqp_confirm_select(conn, 1);
	testbroker_expect(&broker, "hold", "ok hold");
	amqp_basic_publish(conn, 1, amqp_empty_bytes, text("q"), 0, 0, NULL, text("x"));
	amqp_basic_publish(conn, 1, amqp_empty_bytes, text("q"), 0, 0, NULL, text("x"));
	declare(conn);
	ck_assert_int_eq(wait_frame(100, &id), AMQP_STATUS_TIMEOUT);
	testbroker_expect(&broker, "held", "ok held 2");
	testbroker_expect(&broker, "release 1", "ok release");
	expect_frame(AMQP_BASIC_ACK_METHOD);
	testbroker_expect(&broker, "refuse", "ok refuse");
	expect_frame(AMQP_BASIC_NACK_METHOD);
	testbroker_expect(&broker, "go", "ok go");
	amqp_basic_publish(conn, 1, amqp_empty_bytes, text("q"), 0, 0, NULL, text("x"));
	expect_frame(AMQP_BASIC_ACK_METHOD);
}
END_TEST

START_TEST(testbroker__options_change_what_is_offered)
{
	static const char *const arguments[] = {"--frame-max", "8192", "--channel-max", "3",	"-V", "mine",
						"--user",      "me",   "--password",	"mine", NULL};
	struct testbroker other = testbroker_start(arguments);
	amqp_connection_state_t state = amqp_new_connection();
	amqp_socket_t *socket = amqp_tcp_socket_new(state);

	ck_assert_int_eq(amqp_socket_open(socket, "127.0.0.1", other.port), AMQP_STATUS_OK);
	ck_assert_int_eq(
	    amqp_login(state, "mine", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "me", "mine").reply_type,
	    AMQP_RESPONSE_NORMAL);
	ck_assert_int_eq(amqp_get_frame_max(state), 8192);
	ck_assert_int_eq(amqp_get_channel_max(state), 3);
	amqp_destroy_connection(state);
	ck_assert(testbroker_stop(&other));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("testbroker");
	TCase *tests = tcase_create("admin lines");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, testbroker__counts_connections_channels_and_messages);
	tcase_add_test(tests, testbroker__says_what_it_does_not_understand);
	tcase_add_test(tests, testbroker__drop_closes_the_sockets);
	tcase_add_test(tests, testbroker__reset_resets_them);
	tcase_add_test(tests, testbroker__frozen_says_nothing_until_it_is_thawed);
	tcase_add_test(tests, testbroker__delayed_answers_come_later_and_in_order);
	tcase_add_test(tests, testbroker__garbage_is_no_frame);
	tcase_add_test(tests, testbroker__block_holds_publishers_and_tells_them);
	tcase_add_test(tests, testbroker__close_sends_connection_close);
	tcase_add_test(tests, testbroker__restart_drops_connections_and_what_is_not_durable);
	tcase_add_test(tests, testbroker__held_confirms_wait_for_their_release);
	tcase_add_test(tests, testbroker__options_change_what_is_offered);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
