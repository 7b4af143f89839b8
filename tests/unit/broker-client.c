#include "tests/unit/broker-client.h"

struct world world_new(const struct broker_options *options)
{
	struct broker_options chosen = options ? *options : BROKER_OPTIONS_INIT;

	return (struct world){.broker = broker_new(&chosen), .now = {1000000}};
}

void world_end(struct world *world)
{
	world->broker = broker_free(world->broker);
}

void world_wait(struct world *world, uint64_t usec)
{
	struct mono until = mono_add_usec(world->now, usec);

	while (!mono_before(until, broker_deadline(world->broker))) {
		world->now = broker_deadline(world->broker);
		broker_tick(world->broker, world->now);
	}
	world->now = until;
	broker_tick(world->broker, world->now);
}

struct client client_new(struct world *world)
{
	struct client client = {.world = world};

	client.conn = broker_conn_new(world->broker, NULL, world->now);
	return client;
}

void client_end(struct client *client)
{
	client->conn = broker_conn_free(client->conn, client->world->now);
	buf_deinit(&client->in);
	buf_deinit(&client->body);
}

void client_feed(struct client *client, struct span bytes)
{
	broker_conn_feed(client->conn, bytes, client->world->now);
}

void client_send(struct client *client, uint16_t channel, const struct amqc_method *method)
{
	struct buf out = BUF_INIT;

	ck_assert_int_eq(amqc_method_append(&out, channel, method), AMQC_OK);
	client_feed(client, buf_span(&out));
	buf_deinit(&out);
}

void client_publish(struct client *client, uint16_t channel, const struct amqc_basic_publish *publish,
		    const struct amqc_properties *properties, struct span body)
{
	struct amqc_method method = {.id = AMQC_BASIC_PUBLISH, .basic_publish = *publish};
	struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC, .body_size = body.len};
	struct buf out = BUF_INIT;

	if (properties)
		header.properties = *properties;
	ck_assert_int_eq(amqc_method_append(&out, channel, &method), AMQC_OK);
	ck_assert_int_eq(amqc_content_header_append(&out, channel, &header), AMQC_OK);
	amqc_body_append(&out, channel, body, 4096);
	client_feed(client, buf_span(&out));
	buf_deinit(&out);
}

void client_publish_to(struct client *client, const char *queue, const char *body)
{
	client_publish(client, 1, &(struct amqc_basic_publish){.routing_key = span_str(queue)}, NULL,
		       span_str(body));
}

/* Moves the broker's output over, and drops what was looked at before. */
static void client_receive(struct client *client)
{
	struct span output = broker_conn_output(client->conn);

	buf_consume(&client->in, client->last_size);
	client->last_size = 0;
	buf_append_span(&client->in, output);
	broker_conn_sent(client->conn, output.len, client->world->now);
}

static struct amqc_frame client_frame(struct client *client)
{
	struct amqc_frame frame;

	client_receive(client);
	ck_assert_msg(buf_len(&client->in) > 0, "the broker said nothing; the connection's end: '%s'",
		      broker_conn_reason(client->conn));
	ck_assert_int_eq(amqc_frame_peek(buf_span(&client->in), 131072, &frame, &client->last_size), AMQC_OK);
	return frame;
}

const struct amqc_method *client_expect(struct client *client, uint16_t channel, enum amqc_method_id id)
{
	struct amqc_frame frame = client_frame(client);
	const char *name;

	ck_assert_uint_eq(frame.type, AMQC_FRAME_METHOD);
	ck_assert_int_eq(amqc_method_decode(frame.payload, &client->method), AMQC_OK);
	name = amqc_method_name(client->method.id);
	if (client->method.id == AMQC_CHANNEL_CLOSE && id != AMQC_CHANNEL_CLOSE)
		ck_abort_msg("channel closed: %.*s", (int)client->method.channel_close.reply_text.len,
			     (const char *)client->method.channel_close.reply_text.data);
	if (client->method.id == AMQC_CONNECTION_CLOSE && id != AMQC_CONNECTION_CLOSE)
		ck_abort_msg("connection closed: %.*s", (int)client->method.connection_close.reply_text.len,
			     (const char *)client->method.connection_close.reply_text.data);
	ck_assert_msg(client->method.id == id, "%s came instead of %s", name, amqc_method_name(id));
	ck_assert_uint_eq(frame.channel, channel);
	return &client->method;
}

/* The method's views go stale with the next frame, so the content is read ahead of it. */
const struct amqc_method *client_expect_content(struct client *client, uint16_t channel,
						enum amqc_method_id id, const char *body)
{
	struct amqc_content_header header;
	struct amqc_frame frame;
	size_t whole;

	client_expect(client, channel, id);
	whole = client->last_size;
	ck_assert_int_eq(
	    amqc_frame_peek(span_skip(buf_span(&client->in), whole), 131072, &frame, &client->last_size),
	    AMQC_OK);
	ck_assert_uint_eq(frame.type, AMQC_FRAME_HEADER);
	ck_assert_int_eq(amqc_content_header_decode(frame.payload, &header), AMQC_OK);
	client->header = frame.payload;
	whole += client->last_size;
	buf_truncate(&client->body, 0);
	while (buf_len(&client->body) < header.body_size) {
		ck_assert_int_eq(amqc_frame_peek(span_skip(buf_span(&client->in), whole), 131072, &frame,
						 &client->last_size),
				 AMQC_OK);
		ck_assert_uint_eq(frame.type, AMQC_FRAME_BODY);
		ck_assert_uint_eq(frame.channel, channel);
		buf_append_span(&client->body, frame.payload);
		whole += client->last_size;
	}
	client->last_size = whole;
	ck_assert(span_equal_str(buf_span(&client->body), body));
	return &client->method;
}

void client_expect_delivery(struct client *client, uint64_t tag, const char *body, bool redelivered)
{
	const struct amqc_method *m = client_expect_content(client, 1, AMQC_BASIC_DELIVER, body);

	ck_assert_uint_eq(m->basic_deliver.delivery_tag, tag);
	ck_assert_int_eq(m->basic_deliver.redelivered, redelivered);
}

void client_expect_heartbeat(struct client *client)
{
	struct amqc_frame frame = client_frame(client);

	ck_assert_uint_eq(frame.type, AMQC_FRAME_HEARTBEAT);
	ck_assert_uint_eq(frame.channel, 0);
}

void client_expect_nothing(struct client *client)
{
	client_receive(client);
	ck_assert_uint_eq(buf_len(&client->in), 0);
	ck_assert(!broker_conn_closed(client->conn));
}

static void expect_text(struct span found, const char *text)
{
	ck_assert_msg(span_equal_str(found, text), "the text is '%.*s', not '%s'", (int)found.len,
		      (const char *)found.data, text);
}

void client_expect_channel_close(struct client *client, uint16_t channel, uint16_t code, const char *text)
{
	const struct amqc_method *m = client_expect(client, channel, AMQC_CHANNEL_CLOSE);

	ck_assert_uint_eq(m->channel_close.reply_code, code);
	expect_text(m->channel_close.reply_text, text);
	client_expect_nothing(client);
}

void client_expect_connection_close(struct client *client, uint16_t code, const char *text)
{
	const struct amqc_method *m = client_expect(client, 0, AMQC_CONNECTION_CLOSE);

	ck_assert_uint_eq(m->connection_close.reply_code, code);
	expect_text(m->connection_close.reply_text, text);
	client_expect_nothing(client);
	SEND(client, 0, CONNECTION_CLOSE_OK, connection_close_ok);
	client_expect_end(client);
}

void client_expect_end(struct client *client)
{
	client_receive(client);
	ck_assert_uint_eq(buf_len(&client->in), 0);
	ck_assert(broker_conn_closed(client->conn));
}

static size_t append_capabilities(struct buf *table)
{
	struct span name = S("capabilities");
	size_t mark = amqc_field_begin(table, &name, 'F');

	amqc_field_append_bool(table, "authentication_failure_close", true);
	amqc_field_append_bool(table, "consumer_cancel_notify", true);
	amqc_field_append_bool(table, "connection.blocked", true);
	return mark;
}

void client_login(struct client *client, struct span vhost, uint16_t heartbeat_sec, bool capable)
{
	struct buf table = BUF_INIT;

	client_feed(client, span_make(AMQC_PROTOCOL_HEADER, AMQC_PROTOCOL_HEADER_LEN));
	client_expect(client, 0, AMQC_CONNECTION_START);
	if (capable)
		amqc_table_end(&table, append_capabilities(&table));
	SEND(client, 0, CONNECTION_START_OK, connection_start_ok, .client_properties = buf_span(&table),
	     .mechanism = S("PLAIN"), .response = S("\0guest\0guest"), .locale = S("en_US"));
	client_expect(client, 0, AMQC_CONNECTION_TUNE);
	SEND(client, 0, CONNECTION_TUNE_OK, connection_tune_ok, .channel_max = 2047, .frame_max = 131072,
	     .heartbeat = heartbeat_sec);
	CALL(client, 0, CONNECTION_OPEN, connection_open, .virtual_host = vhost);
	buf_deinit(&table);
}

struct client client_open(struct world *world)
{
	struct client client = client_new(world);

	client_login(&client, S("/"), 0, true);
	CALL(&client, 1, CHANNEL_OPEN, channel_open);
	return client;
}

void client_declare(struct client *client, const char *queue)
{
	CALL(client, 1, QUEUE_DECLARE, queue_declare, .queue = span_str(queue));
}

void client_bind(struct client *client, const char *queue, const char *exchange, const char *key,
		 struct span arguments)
{
	CALL(client, 1, QUEUE_BIND, queue_bind, .queue = span_str(queue), .exchange = span_str(exchange),
	     .routing_key = span_str(key), .arguments = arguments);
}

void client_consume(struct client *client, const char *queue, const char *tag, bool no_ack)
{
	CALL(client, 1, BASIC_CONSUME, basic_consume, .queue = span_str(queue), .consumer_tag = span_str(tag),
	     .no_ack = no_ack);
}

size_t ready(struct world *world, const char *queue)
{
	size_t count = 0, other;

	ck_assert(broker_queue_counts(world->broker, "/", span_str(queue), &count, &other));
	return count;
}

size_t unacked(struct world *world, const char *queue)
{
	size_t count = 0, other;

	ck_assert(broker_queue_counts(world->broker, "/", span_str(queue), &other, &count));
	return count;
}

struct span table_integer(struct buf *buf, const char *name, int32_t value)
{
	struct span key = span_str(name);
	struct amqc_field field = {.type = 'I', .value.signed_int = value};

	ck_assert_int_eq(amqc_field_append(buf, &key, &field), AMQC_OK);
	return buf_span(buf);
}

struct span table_text(struct buf *buf, const char *name, const char *value)
{
	amqc_field_append_str(buf, name, span_str(value));
	return buf_span(buf);
}

int run_tests(const char *name, const TTest *const *tests, size_t count, SFun setup, SFun teardown)
{
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	for (size_t i = 0; i < count; i++)
		tcase_add_test(tcase, tests[i]);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
