/*
 * librabbitmq against a broker: that a client which nobody here wrote works
 * with the test broker. The same must pass on a real one.
 *
 *	broker-librabbitmq [amqp://USER:PASSWORD@HOST:PORT/VHOST]
 *
 * Without a URL it starts the test broker (TESTBROKER, or the one built here)
 * and ends it.
 */
#include "tests/integration/testbroker.h"

#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEADLINE_SEC 10

static struct amqp_connection_info broker; /* set once, before the tests */

static amqp_bytes_t text(const char *s)
{
	return amqp_cstring_bytes(s);
}

/* A name that no other run uses. */
static amqp_bytes_t own(char *room, size_t size, const char *name)
{
	snprintf(room, size, "muxd-test-%ld-%s", (long)getpid(), name);
	return amqp_cstring_bytes(room);
}

static bool is(amqp_bytes_t bytes, const char *s)
{
	return bytes.len == strlen(s) && memcmp(bytes.bytes, s, bytes.len) == 0;
}

static amqp_connection_state_t connect_only(void)
{
	amqp_connection_state_t conn = amqp_new_connection();
	amqp_socket_t *socket = amqp_tcp_socket_new(conn);

	ck_assert_ptr_nonnull(socket);
	ck_assert_int_eq(amqp_socket_open(socket, broker.host, broker.port), AMQP_STATUS_OK);
	return conn;
}

/* The library's own list of capabilities lacks the notice of a cancelled consumer. */
static amqp_rpc_reply_t try_login(amqp_connection_state_t conn, const char *vhost, int heartbeat,
				  const char *password)
{
	amqp_table_entry_t capabilities[2] = {
	    {.key = text("consumer_cancel_notify"),
	     .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1}},
	    {.key = text("authentication_failure_close"),
	     .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1}}};
	amqp_table_entry_t property = {
	    .key = text("capabilities"),
	    .value = {.kind = AMQP_FIELD_KIND_TABLE, .value.table = {2, capabilities}}};
	amqp_table_t properties = {1, &property};

	return amqp_login_with_properties(conn, vhost, 0, 131072, heartbeat, &properties,
					  AMQP_SASL_METHOD_PLAIN, broker.user, password);
}

static void check_reply(amqp_connection_state_t conn)
{
	amqp_rpc_reply_t reply = amqp_get_rpc_reply(conn);

	if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
	    reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
		const amqp_channel_close_t *m = reply.reply.decoded;

		ck_abort_msg("channel closed: %.*s", (int)m->reply_text.len, (char *)m->reply_text.bytes);
	}
	ck_assert_int_eq(reply.reply_type, AMQP_RESPONSE_NORMAL);
}

static amqp_connection_state_t open_broker(void)
{
	amqp_connection_state_t conn = connect_only();

	ck_assert_int_eq(try_login(conn, broker.vhost, 0, broker.password).reply_type, AMQP_RESPONSE_NORMAL);
	amqp_channel_open(conn, 1);
	check_reply(conn);
	return conn;
}

static void close_broker(amqp_connection_state_t conn)
{
	ck_assert_int_eq(amqp_connection_close(conn, 200).reply_type, AMQP_RESPONSE_NORMAL);
	amqp_destroy_connection(conn);
}

static void declare(amqp_connection_state_t conn, amqp_bytes_t queue)
{
	amqp_queue_declare(conn, 1, queue, 0, 0, 1, 1, amqp_empty_table);
	check_reply(conn);
}

static void publish(amqp_connection_state_t conn, amqp_bytes_t exchange, amqp_bytes_t key, amqp_bytes_t body)
{
	ck_assert_int_eq(amqp_basic_publish(conn, 1, exchange, key, 0, 0, NULL, body), AMQP_STATUS_OK);
}

/* The next frame, which must be this method. */
static void *expect(amqp_connection_state_t conn, amqp_method_number_t id)
{
	struct timeval deadline = {DEADLINE_SEC, 0};
	amqp_frame_t frame;

	ck_assert_int_eq(amqp_simple_wait_frame_noblock(conn, &frame, &deadline), AMQP_STATUS_OK);
	ck_assert_int_eq(frame.frame_type, AMQP_FRAME_METHOD);
	ck_assert_str_eq(amqp_method_name(frame.payload.method.id), amqp_method_name(id));
	return frame.payload.method.decoded;
}

static amqp_envelope_t next_delivery(amqp_connection_state_t conn)
{
	struct timeval deadline = {DEADLINE_SEC, 0};
	amqp_envelope_t envelope;

	amqp_maybe_release_buffers(conn);
	ck_assert_int_eq(amqp_consume_message(conn, &envelope, &deadline, 0).reply_type,
			 AMQP_RESPONSE_NORMAL);
	return envelope;
}

static void expect_body(amqp_connection_state_t conn, const char *body, bool redelivered)
{
	amqp_envelope_t envelope = next_delivery(conn);

	ck_assert(is(envelope.message.body, body));
	ck_assert_int_eq(envelope.redelivered != 0, redelivered);
	amqp_destroy_envelope(&envelope);
}

/* Gets a message; what the queue held is the body, or NULL for nothing. */
static void expect_get(amqp_connection_state_t conn, amqp_bytes_t queue, const char *body)
{
	amqp_rpc_reply_t reply;
	amqp_message_t message;

	amqp_maybe_release_buffers(conn);
	reply = amqp_basic_get(conn, 1, queue, 1);
	ck_assert_int_eq(reply.reply_type, AMQP_RESPONSE_NORMAL);
	if (!body) {
		ck_assert_int_eq(reply.reply.id, AMQP_BASIC_GET_EMPTY_METHOD);
		return;
	}
	ck_assert_int_eq(reply.reply.id, AMQP_BASIC_GET_OK_METHOD);
	ck_assert_int_eq(amqp_read_message(conn, 1, &message, 0).reply_type, AMQP_RESPONSE_NORMAL);
	ck_assert(is(message.body, body));
	amqp_destroy_message(&message);
}

/* The last call was answered by channel.close; the channel is opened again. */
static void expect_channel_error(amqp_connection_state_t conn, int code, const char *beginning)
{
	amqp_rpc_reply_t reply = amqp_get_rpc_reply(conn);
	const amqp_channel_close_t *m = reply.reply.decoded;
	amqp_channel_close_ok_t close_ok = {0};

	ck_assert_int_eq(reply.reply_type, AMQP_RESPONSE_SERVER_EXCEPTION);
	ck_assert_str_eq(amqp_method_name(reply.reply.id), "AMQP_CHANNEL_CLOSE_METHOD");
	ck_assert_int_eq(m->reply_code, code);
	ck_assert_msg(m->reply_text.len >= strlen(beginning) &&
			  memcmp(m->reply_text.bytes, beginning, strlen(beginning)) == 0,
		      "the text is '%.*s'", (int)m->reply_text.len, (char *)m->reply_text.bytes);
	ck_assert_int_eq(amqp_send_method(conn, 1, AMQP_CHANNEL_CLOSE_OK_METHOD, &close_ok), AMQP_STATUS_OK);
	amqp_maybe_release_buffers(conn);
	amqp_channel_open(conn, 1);
	check_reply(conn);
}

START_TEST(foreign_client__publishes_with_confirms_and_gets)
{
	amqp_connection_state_t conn = open_broker();
	char room[64];
	amqp_bytes_t queue = own(room, sizeof(room), "q");
	uint64_t confirmed = 0;

	declare(conn, queue);
	amqp_confirm_select(conn, 1);
	check_reply(conn);
	for (unsigned int i = 0; i < 100; i++)
		publish(conn, amqp_empty_bytes, queue, text(i == 0 ? "first" : "other"));
	while (confirmed < 100) {
		const amqp_basic_ack_t *m = expect(conn, AMQP_BASIC_ACK_METHOD);

		ck_assert_uint_gt(m->delivery_tag, confirmed);
		ck_assert(m->multiple || m->delivery_tag == confirmed + 1);
		confirmed = m->delivery_tag;
	}
	expect_get(conn, queue, "first");
	for (unsigned int i = 1; i < 100; i++)
		expect_get(conn, queue, "other");
	expect_get(conn, queue, NULL);
	close_broker(conn);
}
END_TEST

START_TEST(foreign_client__consumes_within_its_prefetch_and_acks)
{
	amqp_connection_state_t conn = open_broker();
	char room[64], body[16];
	amqp_bytes_t queue = own(room, sizeof(room), "q");

	declare(conn, queue);
	amqp_basic_qos(conn, 1, 0, 10, 0);
	check_reply(conn);
	for (unsigned int i = 0; i < 200; i++) {
		snprintf(body, sizeof(body), "%u", i);
		publish(conn, amqp_empty_bytes, queue, text(body));
	}
	amqp_basic_consume(conn, 1, queue, text("tag"), 0, 0, 0, amqp_empty_table);
	check_reply(conn);
	for (unsigned int i = 0; i < 200; i++) {
		amqp_envelope_t envelope = next_delivery(conn);

		snprintf(body, sizeof(body), "%u", i);
		ck_assert(is(envelope.message.body, body));
		ck_assert(is(envelope.consumer_tag, "tag"));
		ck_assert_uint_eq(envelope.delivery_tag, i + 1);
		if (i % 5 == 4)
			ck_assert_int_eq(amqp_basic_ack(conn, 1, envelope.delivery_tag, 1), AMQP_STATUS_OK);
		amqp_destroy_envelope(&envelope);
	}
	amqp_basic_cancel(conn, 1, text("tag"));
	check_reply(conn);
	close_broker(conn);
}
END_TEST

START_TEST(foreign_client__gets_requeued_messages_again)
{
	amqp_connection_state_t conn = open_broker();
	char room[64];
	amqp_bytes_t queue = own(room, sizeof(room), "q");

	declare(conn, queue);
	publish(conn, amqp_empty_bytes, queue, text("1"));
	publish(conn, amqp_empty_bytes, queue, text("2"));
	amqp_basic_consume(conn, 1, queue, text("tag"), 0, 0, 0, amqp_empty_table);
	check_reply(conn);
	expect_body(conn, "1", false);
	expect_body(conn, "2", false);
	ck_assert_int_eq(amqp_basic_nack(conn, 1, 2, 1, 1), AMQP_STATUS_OK);
	expect_body(conn, "1", true);
	expect_body(conn, "2", true);
	ck_assert_int_eq(amqp_basic_reject(conn, 1, 3, 0), AMQP_STATUS_OK);
	ck_assert_int_eq(amqp_basic_reject(conn, 1, 4, 1), AMQP_STATUS_OK);
	expect_body(conn, "2", true);
	close_broker(conn);
}
END_TEST

START_TEST(foreign_client__sees_returns_before_their_confirms)
{
	amqp_connection_state_t conn = open_broker();
	const amqp_basic_return_t *m;
	amqp_message_t message;

	amqp_confirm_select(conn, 1);
	check_reply(conn);
	ck_assert_int_eq(amqp_basic_publish(conn, 1, text("amq.direct"), text("muxd-test-nowhere"), 1, 0,
					    NULL, text("back")),
			 AMQP_STATUS_OK);
	m = expect(conn, AMQP_BASIC_RETURN_METHOD);
	ck_assert_int_eq(m->reply_code, 312);
	ck_assert(is(m->reply_text, "NO_ROUTE"));
	ck_assert_int_eq(amqp_read_message(conn, 1, &message, 0).reply_type, AMQP_RESPONSE_NORMAL);
	ck_assert(is(message.body, "back"));
	amqp_destroy_message(&message);
	expect(conn, AMQP_BASIC_ACK_METHOD);
	close_broker(conn);
}
END_TEST

START_TEST(foreign_client__gets_properties_and_headers_back)
{
	amqp_connection_state_t conn = open_broker();
	char room[64];
	amqp_bytes_t queue = own(room, sizeof(room), "q");
	amqp_table_entry_t entries[2] = {
	    {.key = text("n"), .value = {.kind = AMQP_FIELD_KIND_I32, .value.i32 = -7}},
	    {.key = text("s"), .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = text("v")}}};
	amqp_basic_properties_t sent = {._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_HEADERS_FLAG |
						  AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG,
					.content_type = text("text/plain"),
					.message_id = text("id"),
					.delivery_mode = 2,
					.headers = {2, entries}};
	const amqp_basic_properties_t *got;
	amqp_envelope_t envelope;

	declare(conn, queue);
	ck_assert_int_eq(amqp_basic_publish(conn, 1, amqp_empty_bytes, queue, 0, 0, &sent, text("x")),
			 AMQP_STATUS_OK);
	amqp_basic_consume(conn, 1, queue, amqp_empty_bytes, 0, 1, 0, amqp_empty_table);
	check_reply(conn);
	envelope = next_delivery(conn);
	got = &envelope.message.properties;
	ck_assert_uint_eq(got->_flags, sent._flags);
	ck_assert(is(got->content_type, "text/plain"));
	ck_assert(is(got->message_id, "id"));
	ck_assert_int_eq(got->delivery_mode, 2);
	ck_assert_int_eq(got->headers.num_entries, 2);
	ck_assert_int_eq(got->headers.entries[0].value.value.i32, -7);
	ck_assert(is(got->headers.entries[1].value.value.bytes, "v"));
	amqp_destroy_envelope(&envelope);
	close_broker(conn);
}
END_TEST

START_TEST(foreign_client__gets_large_bodies_byte_for_byte)
{
	amqp_connection_state_t conn = open_broker();
	size_t sizes[] = {0, 1, 131064, 131065, 1048576, 3000001};
	char room[64];
	amqp_bytes_t queue = own(room, sizeof(room), "q");
	uint8_t *body = malloc(3000001);

	for (size_t i = 0; i < 3000001; i++)
		body[i] = (uint8_t)(i * 2654435761u >> 13);
	declare(conn, queue);
	amqp_basic_consume(conn, 1, queue, amqp_empty_bytes, 0, 1, 0, amqp_empty_table);
	check_reply(conn);
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		amqp_envelope_t envelope;

		publish(conn, amqp_empty_bytes, queue, (amqp_bytes_t){sizes[i], body});
		envelope = next_delivery(conn);
		ck_assert_uint_eq(envelope.message.body.len, sizes[i]);
		ck_assert(sizes[i] == 0 || memcmp(envelope.message.body.bytes, body, sizes[i]) == 0);
		amqp_destroy_envelope(&envelope);
	}
	free(body);
	close_broker(conn);
}
END_TEST

START_TEST(foreign_client__routes_by_topic_and_fanout)
{
	amqp_connection_state_t conn = open_broker();
	char room[64], other[64];
	amqp_bytes_t queue = own(room, sizeof(room), "q"), exchange = own(other, sizeof(other), "e");

	declare(conn, queue);
	amqp_exchange_declare(conn, 1, exchange, text("fanout"), 0, 0, 1, 0, amqp_empty_table);
	check_reply(conn);
	amqp_queue_bind(conn, 1, queue, exchange, amqp_empty_bytes, amqp_empty_table);
	check_reply(conn);
	amqp_queue_bind(conn, 1, queue, text("amq.topic"), text("muxd.*.test.#"), amqp_empty_table);
	check_reply(conn);
	publish(conn, exchange, text("any"), text("fanout"));
	publish(conn, text("amq.topic"), text("muxd.a.test"), text("topic"));
	publish(conn, text("amq.topic"), text("muxd.test"), text("no"));
	publish(conn, text("amq.topic"), text("muxd.b.test.c.d"), text("topic2"));
	expect_get(conn, queue, "fanout");
	expect_get(conn, queue, "topic");
	expect_get(conn, queue, "topic2");
	expect_get(conn, queue, NULL);
	amqp_queue_unbind(conn, 1, queue, text("amq.topic"), text("muxd.*.test.#"), amqp_empty_table);
	check_reply(conn);
	amqp_queue_unbind(conn, 1, queue, exchange, amqp_empty_bytes, amqp_empty_table);
	check_reply(conn);
	/* Auto-delete, and its only binding is gone. */
	amqp_exchange_declare(conn, 1, exchange, text("fanout"), 1, 0, 0, 0, amqp_empty_table);
	expect_channel_error(conn, 404, "NOT_FOUND - no exchange 'muxd-test-");
	close_broker(conn);
}
END_TEST

START_TEST(foreign_client__purges_and_deletes)
{
	amqp_connection_state_t conn = open_broker();
	const amqp_queue_declare_ok_t *declared;
	char room[64];
	amqp_bytes_t queue = own(room, sizeof(room), "q");

	declare(conn, queue);
	amqp_confirm_select(conn, 1);
	check_reply(conn);
	publish(conn, amqp_empty_bytes, queue, text("1"));
	expect(conn, AMQP_BASIC_ACK_METHOD);
	declared = amqp_queue_declare(conn, 1, queue, 1, 0, 0, 0, amqp_empty_table);
	check_reply(conn);
	ck_assert_uint_eq(declared->message_count, 1);
	ck_assert_uint_eq(amqp_queue_purge(conn, 1, queue)->message_count, 1);
	ck_assert_uint_eq(amqp_queue_delete(conn, 1, queue, 0, 0)->message_count, 0);
	amqp_queue_declare(conn, 1, queue, 1, 0, 0, 0, amqp_empty_table);
	expect_channel_error(conn, 404, "NOT_FOUND - no queue 'muxd-test-");
	close_broker(conn);
}
END_TEST

START_TEST(foreign_client__is_told_channel_errors)
{
	amqp_connection_state_t conn = open_broker(), second = open_broker();
	char room[64];
	amqp_bytes_t queue = own(room, sizeof(room), "q");

	declare(conn, queue);
	amqp_basic_get(conn, 1, text("muxd-test-none"), 1);
	expect_channel_error(conn, 404, "NOT_FOUND - no queue 'muxd-test-none' in vhost '");
	amqp_queue_declare(conn, 1, text("amq.mine"), 0, 0, 0, 0, amqp_empty_table);
	expect_channel_error(conn, 403,
			     "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'");
	amqp_queue_declare(conn, 1, queue, 0, 0, 1, 0, amqp_empty_table);
	expect_channel_error(conn, 406,
			     "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue 'muxd-test-");
	amqp_queue_declare(second, 1, queue, 1, 0, 0, 0, amqp_empty_table);
	expect_channel_error(second, 405,
			     "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'muxd-test-");
	amqp_exchange_declare(conn, 1, text("amq.topic"), text("direct"), 0, 1, 0, 0, amqp_empty_table);
	expect_channel_error(conn, 406,
			     "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.topic'");
	close_broker(second);
	close_broker(conn);
}
END_TEST

START_TEST(foreign_client__acking_an_unknown_tag_closes_the_channel)
{
	amqp_connection_state_t conn = open_broker();
	const amqp_channel_close_t *m;

	ck_assert_int_eq(amqp_basic_ack(conn, 1, 7, 0), AMQP_STATUS_OK);
	m = expect(conn, AMQP_CHANNEL_CLOSE_METHOD);
	ck_assert_int_eq(m->reply_code, 406);
	ck_assert(is(m->reply_text, "PRECONDITION_FAILED - unknown delivery tag 7"));
	close_broker(conn);
}
END_TEST

START_TEST(foreign_client__reusing_a_consumer_tag_closes_the_connection)
{
	amqp_connection_state_t conn = open_broker();
	const amqp_connection_close_t *m;
	amqp_rpc_reply_t reply;
	char room[64];
	amqp_bytes_t queue = own(room, sizeof(room), "q");

	declare(conn, queue);
	amqp_basic_consume(conn, 1, queue, text("t"), 0, 1, 0, amqp_empty_table);
	check_reply(conn);
	amqp_basic_consume(conn, 1, queue, text("t"), 0, 1, 0, amqp_empty_table);
	reply = amqp_get_rpc_reply(conn);
	ck_assert_int_eq(reply.reply_type, AMQP_RESPONSE_SERVER_EXCEPTION);
	ck_assert_str_eq(amqp_method_name(reply.reply.id), "AMQP_CONNECTION_CLOSE_METHOD");
	m = reply.reply.decoded;
	ck_assert_int_eq(m->reply_code, 530);
	ck_assert(is(m->reply_text, "NOT_ALLOWED - attempt to reuse consumer tag 't'"));
	amqp_destroy_connection(conn);
}
END_TEST

START_TEST(foreign_client__with_a_wrong_password_is_refused)
{
	amqp_connection_state_t conn = connect_only();
	amqp_rpc_reply_t reply = try_login(conn, broker.vhost, 0, "not the password");
	const amqp_connection_close_t *m = reply.reply.decoded;

	ck_assert_int_eq(reply.reply_type, AMQP_RESPONSE_SERVER_EXCEPTION);
	ck_assert_int_eq(m->reply_code, 403);
	amqp_destroy_connection(conn);
}
END_TEST

START_TEST(foreign_client__with_a_wrong_vhost_is_refused)
{
	amqp_connection_state_t conn = connect_only();
	amqp_rpc_reply_t reply = try_login(conn, "muxd-test-none", 0, broker.password);
	const amqp_connection_close_t *m = reply.reply.decoded;

	ck_assert_int_eq(reply.reply_type, AMQP_RESPONSE_SERVER_EXCEPTION);
	ck_assert_int_eq(m->reply_code, 530);
	amqp_destroy_connection(conn);
}
END_TEST

START_TEST(foreign_client__is_kept_by_heartbeats_while_idle)
{
	amqp_connection_state_t conn = connect_only();
	struct timeval idle = {4, 0};
	amqp_frame_t frame;

	ck_assert_int_eq(try_login(conn, broker.vhost, 1, broker.password).reply_type, AMQP_RESPONSE_NORMAL);
	amqp_channel_open(conn, 1);
	check_reply(conn);
	/* The library fails this call when the broker's heartbeats stay away, and sends its own. */
	ck_assert_int_eq(amqp_simple_wait_frame_noblock(conn, &frame, &idle), AMQP_STATUS_TIMEOUT);
	amqp_queue_declare(conn, 1, amqp_empty_bytes, 0, 0, 1, 1, amqp_empty_table);
	check_reply(conn);
	close_broker(conn);
}
END_TEST

START_TEST(foreign_client__calls_over_direct_reply_to)
{
	amqp_connection_state_t conn = open_broker(), server = open_broker();
	amqp_basic_properties_t ask = {._flags = AMQP_BASIC_REPLY_TO_FLAG,
				       .reply_to = text("amq.rabbitmq.reply-to")};
	char room[64];
	amqp_bytes_t queue = own(room, sizeof(room), "q");
	amqp_envelope_t envelope;

	amqp_queue_declare(server, 1, queue, 0, 0, 1, 1, amqp_empty_table);
	check_reply(server);
	amqp_basic_consume(server, 1, queue, amqp_empty_bytes, 0, 1, 0, amqp_empty_table);
	check_reply(server);
	amqp_basic_consume(conn, 1, text("amq.rabbitmq.reply-to"), amqp_empty_bytes, 0, 1, 0,
			   amqp_empty_table);
	check_reply(conn);
	ck_assert_int_eq(amqp_basic_publish(conn, 1, amqp_empty_bytes, queue, 0, 0, &ask, text("question")),
			 AMQP_STATUS_OK);
	envelope = next_delivery(server);
	ck_assert(is(envelope.message.body, "question"));
	publish(server, amqp_empty_bytes, envelope.message.properties.reply_to, text("answer"));
	amqp_destroy_envelope(&envelope);
	expect_body(conn, "answer", false);
	close_broker(server);
	close_broker(conn);
}
END_TEST

START_TEST(foreign_client__is_told_when_its_queue_goes)
{
	amqp_connection_state_t conn = open_broker();
	const amqp_basic_cancel_t *m;
	char room[64];
	amqp_bytes_t queue = own(room, sizeof(room), "q");

	declare(conn, queue);
	amqp_basic_consume(conn, 1, queue, text("t"), 0, 1, 0, amqp_empty_table);
	check_reply(conn);
	amqp_queue_delete(conn, 1, queue, 0, 0);
	check_reply(conn);
	m = expect(conn, AMQP_BASIC_CANCEL_METHOD);
	ck_assert(is(m->consumer_tag, "t"));
	close_broker(conn);
}
END_TEST

START_TEST(foreign_client__commits_and_rolls_back)
{
	amqp_connection_state_t conn = open_broker();
	char room[64];
	amqp_bytes_t queue = own(room, sizeof(room), "q");

	declare(conn, queue);
	amqp_tx_select(conn, 1);
	check_reply(conn);
	publish(conn, amqp_empty_bytes, queue, text("lost"));
	amqp_tx_rollback(conn, 1);
	check_reply(conn);
	publish(conn, amqp_empty_bytes, queue, text("kept"));
	expect_get(conn, queue, NULL);
	amqp_tx_commit(conn, 1);
	check_reply(conn);
	expect_get(conn, queue, "kept");
	close_broker(conn);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("broker-librabbitmq");
	TCase *tests = tcase_create("foreign client");

	suite_add_tcase(s, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, foreign_client__publishes_with_confirms_and_gets);
	tcase_add_test(tests, foreign_client__consumes_within_its_prefetch_and_acks);
	tcase_add_test(tests, foreign_client__gets_requeued_messages_again);
	tcase_add_test(tests, foreign_client__sees_returns_before_their_confirms);
	tcase_add_test(tests, foreign_client__gets_properties_and_headers_back);
	tcase_add_test(tests, foreign_client__gets_large_bodies_byte_for_byte);
	tcase_add_test(tests, foreign_client__routes_by_topic_and_fanout);
	tcase_add_test(tests, foreign_client__purges_and_deletes);
	tcase_add_test(tests, foreign_client__is_told_channel_errors);
	tcase_add_test(tests, foreign_client__acking_an_unknown_tag_closes_the_channel);
	tcase_add_test(tests, foreign_client__reusing_a_consumer_tag_closes_the_connection);
	tcase_add_test(tests, foreign_client__with_a_wrong_password_is_refused);
	tcase_add_test(tests, foreign_client__with_a_wrong_vhost_is_refused);
	tcase_add_test(tests, foreign_client__is_kept_by_heartbeats_while_idle);
	tcase_add_test(tests, foreign_client__calls_over_direct_reply_to);
	tcase_add_test(tests, foreign_client__is_told_when_its_queue_goes);
	tcase_add_test(tests, foreign_client__commits_and_rolls_back);
	return s;
}

int main(int argc, char **argv)
{
	struct testbroker own_broker;
	SRunner *runner;
	int failed;

	signal(SIGPIPE, SIG_IGN);
	amqp_default_connection_info(&broker);
	if (argc > 2 || (argc == 2 && amqp_parse_url(argv[1], &broker) != AMQP_STATUS_OK)) {
		fputs("usage: broker-librabbitmq [amqp://USER:PASSWORD@HOST:PORT/VHOST]\n", stderr);
		return 2;
	}
	if (argc == 1) {
		own_broker = testbroker_start(NULL);
		broker.port = own_broker.port;
	}
	runner = srunner_create(suite());
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (argc == 1 && !testbroker_stop(&own_broker)) {
		fputs("broker-librabbitmq: the test broker ended badly\n", stderr);
		failed++;
	}
	return failed ? 1 : 0;
}
