/*
 * What RabbitMQ 3.10.8 sent, decoded. captured/capture made the files; each
 * frame must also come out of the encoder as it came in.
 *
 * Letters of table fields, found by sending each in the header of a message
 * and looking who survives (and in its parser's clauses):
 *
 *	t b B s u I i l L f d D S x T V F A	taken, in tables and in arrays
 *	any other				connection closed, 541; as an
 *						argument of a method: a bare TCP reset
 *
 * 'b' and 'B' are 8 bits signed and unsigned, 's' and 'u' 16, 'I' and 'i' 32;
 * 'l' and 'L' both are 64 bits signed to the broker, which hands an 'L' on as
 * 'L', with the same bits. 't' of any octet but zero is true. 'f' and 'd' that
 * are infinite or not a number kill the connection like an unknown letter. It
 * has no limit of depth (10,000 levels passed) and takes a name twice. Of the
 * flags, 0x0002 is ignored and 0x0001 answered with 541; weight other than
 * zero is 505. Unused bits of an octet are ignored; access.request is still
 * answered.
 */
#include "daemon/amqp/content.h"
#include "daemon/amqp/reply.h"

#include <check.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

static int hex_digit(int c)
{
	return isdigit(c) ? c - '0' : c - 'a' + 10;
}

/* Appends the bytes of captured/NAME.hex: pairs of digits, blanks, and lines that begin with #. */
static void load(const char *name, struct buf *ret)
{
	const char *srcdir = getenv("srcdir");
	char path[4096];
	FILE *file;
	int c, high = -1;

	snprintf(path, sizeof(path), "%s/tests/unit/captured/%s.hex", srcdir ? srcdir : ".", name);
	file = fopen(path, "r");
	ck_assert_msg(file != NULL, "%s cannot be opened", path);
	while ((c = getc(file)) != EOF) {
		if (c == '#') {
			while (c != '\n' && c != EOF)
				c = getc(file);
			continue;
		}
		if (!isxdigit(c))
			continue;
		if (high < 0) {
			high = hex_digit(c);
			continue;
		}
		buf_append_u8(ret, (uint8_t)(high << 4 | hex_digit(c)));
		high = -1;
	}
	fclose(file);
}

static struct amqc_frame next_frame(struct buf *in)
{
	struct amqc_frame frame = {0};
	size_t size = 0;

	ck_assert_int_eq(amqc_frame_peek(buf_span(in), 131072, &frame, &size), AMQC_OK);
	buf_consume(in, size);
	return frame;
}

/* The next frame must be this method, and come back from the encoder to the byte. */
static struct amqc_method next_method(struct buf *in, uint16_t channel, uint32_t id)
{
	struct span whole = buf_span(in);
	struct amqc_frame frame = next_frame(in);
	struct amqc_method method = {0};
	struct buf out = BUF_INIT;

	ck_assert_uint_eq(frame.type, AMQC_FRAME_METHOD);
	ck_assert_uint_eq(frame.channel, channel);
	ck_assert_int_eq(amqc_method_decode(frame.payload, &method), AMQC_OK);
	ck_assert_uint_eq(method.id, id);
	ck_assert_uint_ne(amqc_method_sender(id) & AMQC_BY_SERVER, 0);
	ck_assert_int_eq(amqc_method_append(&out, channel, &method), AMQC_OK);
	ck_assert(span_equal(buf_span(&out), span_first(whole, buf_len(&out))));
	buf_deinit(&out);
	return method;
}

static struct amqc_content_header next_header(struct buf *in)
{
	struct span whole = buf_span(in);
	struct amqc_frame frame = next_frame(in);
	struct amqc_content_header header = {0};
	struct buf out = BUF_INIT;

	ck_assert_uint_eq(frame.type, AMQC_FRAME_HEADER);
	ck_assert_int_eq(amqc_content_header_decode(frame.payload, &header), AMQC_OK);
	ck_assert_uint_eq(header.class_id, AMQC_CLASS_BASIC);
	ck_assert_int_eq(amqc_content_header_append(&out, frame.channel, &header), AMQC_OK);
	ck_assert(span_equal(buf_span(&out), span_first(whole, buf_len(&out))));
	buf_deinit(&out);
	return header;
}

static void next_body(struct buf *in, const char *expected)
{
	struct amqc_frame frame = next_frame(in);

	ck_assert_uint_eq(frame.type, AMQC_FRAME_BODY);
	ck_assert(span_equal_str(frame.payload, expected));
	ck_assert_uint_eq(buf_len(in), 0);
}

/* The one method of a file, and its frame's end is the file's. Spans stay valid until buf_deinit(in). */
static struct amqc_method only_method(const char *name, struct buf *in, uint16_t channel, uint32_t id)
{
	struct amqc_method method;

	load(name, in);
	method = next_method(in, channel, id);
	ck_assert_uint_eq(buf_len(in), 0);
	return method;
}

static struct amqc_field find(struct span table, const char *name, char type)
{
	struct amqc_field field = {0};

	ck_assert_msg(amqc_table_find(table, name, &field), "no field %s", name);
	ck_assert_int_eq(field.type, type);
	return field;
}

START_TEST(captured__connection_start_tells_product_and_capabilities)
{
	struct buf in = BUF_INIT;
	struct amqc_connection_start start =
	    only_method("connection-start", &in, 0, AMQC_CONNECTION_START).connection_start;
	struct span properties = start.server_properties, capabilities;

	ck_assert_uint_eq(start.version_major, 0);
	ck_assert_uint_eq(start.version_minor, 9);
	ck_assert(span_equal_str(start.mechanisms, "PLAIN AMQPLAIN"));
	ck_assert(span_equal_str(start.locales, "en_US"));
	ck_assert(span_equal_str(find(properties, "product", 'S').value.bytes, "RabbitMQ"));
	ck_assert(span_equal_str(find(properties, "version", 'S').value.bytes, "3.10.8"));
	capabilities = find(properties, "capabilities", 'F').value.bytes;
	ck_assert(find(capabilities, "publisher_confirms", 't').value.boolean);
	ck_assert(find(capabilities, "consumer_cancel_notify", 't').value.boolean);
	ck_assert(find(capabilities, "connection.blocked", 't').value.boolean);
	ck_assert(find(capabilities, "direct_reply_to", 't').value.boolean);
	buf_deinit(&in);
}
END_TEST

START_TEST(captured__connection_tune_has_the_brokers_limits)
{
	struct buf in = BUF_INIT;
	struct amqc_connection_tune tune =
	    only_method("connection-tune", &in, 0, AMQC_CONNECTION_TUNE).connection_tune;

	ck_assert_uint_eq(tune.channel_max, 2047);
	ck_assert_uint_eq(tune.frame_max, 131072);
	ck_assert_uint_eq(tune.heartbeat, 60);
	buf_deinit(&in);
}
END_TEST

START_TEST(captured__answers_with_nothing_but_reserved_arguments)
{
	static const struct {
		const char *name;
		uint16_t channel;
		uint32_t id;
	} files[] = {
	    {"connection-open-ok", 0, AMQC_CONNECTION_OPEN_OK},
	    {"channel-open-ok", 1, AMQC_CHANNEL_OPEN_OK},
	    {"confirm-select-ok", 1, AMQC_CONFIRM_SELECT_OK},
	    {"basic-get-empty", 1, AMQC_BASIC_GET_EMPTY},
	    {"connection-update-secret-ok", 0, AMQC_CONNECTION_UPDATE_SECRET_OK},
	};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct buf in = BUF_INIT;

		only_method(files[i].name, &in, files[i].channel, files[i].id);
		buf_deinit(&in);
	}
}
END_TEST

START_TEST(captured__queue_declare_ok_and_basic_ack_and_consume_ok)
{
	struct buf in[3] = {BUF_INIT, BUF_INIT, BUF_INIT};
	struct amqc_queue_declare_ok declared =
	    only_method("queue-declare-ok", &in[0], 1, AMQC_QUEUE_DECLARE_OK).queue_declare_ok;
	struct amqc_basic_ack ack = only_method("basic-ack", &in[1], 1, AMQC_BASIC_ACK).basic_ack;
	struct amqc_basic_consume_ok consume =
	    only_method("basic-consume-ok", &in[2], 1, AMQC_BASIC_CONSUME_OK).basic_consume_ok;

	ck_assert(span_equal_str(declared.queue, "captured"));
	ck_assert_uint_eq(declared.message_count, 0);
	ck_assert_uint_eq(declared.consumer_count, 0);
	ck_assert_uint_eq(ack.delivery_tag, 1);
	ck_assert(!ack.multiple);
	ck_assert(span_equal_str(consume.consumer_tag, "tag"));
	for (size_t i = 0; i < 3; i++)
		buf_deinit(&in[i]);
}
END_TEST

/* The integers of the table that captured/capture sends. */
static void check_integers(struct span table)
{
	ck_assert(find(table, "bool", 't').value.boolean);
	ck_assert_int_eq(find(table, "int8", 'b').value.signed_int, -128);
	ck_assert_uint_eq(find(table, "uint8", 'B').value.unsigned_int, 255);
	ck_assert_int_eq(find(table, "int16", 's').value.signed_int, -32768);
	ck_assert_uint_eq(find(table, "uint16", 'u').value.unsigned_int, 65535);
	ck_assert_int_eq(find(table, "int32", 'I').value.signed_int, INT32_MIN);
	ck_assert_uint_eq(find(table, "uint32", 'i').value.unsigned_int, UINT32_MAX);
	ck_assert_int_eq(find(table, "int64", 'l').value.signed_int, INT64_MIN);
	ck_assert_uint_eq(find(table, "long64", 'L').value.unsigned_int, UINT64_MAX);
	ck_assert_uint_eq(find(table, "time", 'T').value.unsigned_int, 1700000000);
}

static void check_others(struct span table)
{
	float one_and_a_half = 1.5f;
	double minus_a_tenth = -0.1;
	struct amqc_field field = find(table, "float", 'f');

	ck_assert_mem_eq(&field.value.float32, &one_and_a_half, sizeof(float));
	field = find(table, "double", 'd');
	ck_assert_mem_eq(&field.value.float64, &minus_a_tenth, sizeof(double));
	field = find(table, "decimal", 'D');
	ck_assert_uint_eq(field.value.decimal.scale, 2);
	ck_assert_uint_eq(field.value.decimal.value, 314);
	ck_assert(span_equal(find(table, "string", 'S').value.bytes, SPAN_LITERAL("caf\xc3\xa9\0!")));
	ck_assert(span_equal(find(table, "binary", 'x').value.bytes, SPAN_LITERAL("\0\1\2\3\4\5\6\7")));
	ck_assert(span_equal(find(table, "", 'S').value.bytes, SPAN_NULL));
	find(table, "void", 'V');
	field = find(find(table, "table", 'F').value.bytes, "deep", 'F');
	ck_assert_int_eq(find(field.value.bytes, "n", 'I').value.signed_int, 42);
}

static void check_array(struct span array)
{
	static const char letters[] = "IVSA";
	struct amqc_field field;

	for (const char *letter = letters; *letter; letter++) {
		ck_assert_int_eq(amqc_array_next(&array, &field), AMQC_OK);
		ck_assert_int_eq(field.type, *letter);
	}
	ck_assert_uint_eq(array.len, 0);
	ck_assert_int_eq(amqc_array_next(&field.value.bytes, &field), AMQC_OK);
	ck_assert_int_eq(field.type, 't');
	ck_assert(!field.value.boolean);
}

static void check_all_properties(const struct amqc_properties *p)
{
	ck_assert_uint_eq(p->present, 0xfffc);
	ck_assert(span_equal_str(p->content_type, "text/plain"));
	ck_assert(span_equal_str(p->content_encoding, "identity"));
	check_integers(p->headers);
	check_others(p->headers);
	check_array(find(p->headers, "array", 'A').value.bytes);
	ck_assert_uint_eq(p->delivery_mode, 2);
	ck_assert_uint_eq(p->priority, 7);
	ck_assert(span_equal_str(p->correlation_id, "correlation"));
	ck_assert(span_equal_str(p->reply_to, "reply.to"));
	ck_assert(span_equal_str(p->expiration, "600000"));
	ck_assert(span_equal_str(p->message_id, "message-1"));
	ck_assert_uint_eq(p->timestamp, 1700000001);
	ck_assert(span_equal_str(p->type, "type"));
	ck_assert(span_equal_str(p->user_id, "guest"));
	ck_assert(span_equal_str(p->app_id, "app"));
	ck_assert(span_equal_str(p->cluster_id, "cluster"));
}

START_TEST(captured__get_ok_carries_all_properties_and_every_letter)
{
	struct buf in = BUF_INIT;
	struct amqc_content_header header;
	struct amqc_basic_get_ok got;

	load("basic-get-ok", &in);
	got = next_method(&in, 1, AMQC_BASIC_GET_OK).basic_get_ok;
	ck_assert_uint_eq(got.delivery_tag, 1);
	ck_assert(!got.redelivered);
	ck_assert_uint_eq(got.exchange.len, 0);
	ck_assert(span_equal_str(got.routing_key, "captured"));
	ck_assert_uint_eq(got.message_count, 0);
	header = next_header(&in);
	ck_assert_uint_eq(header.body_size, 8);
	check_all_properties(&header.properties);
	next_body(&in, "the body");
	buf_deinit(&in);
}
END_TEST

START_TEST(captured__deliver_of_a_message_that_was_returned_is_flagged)
{
	struct buf in = BUF_INIT;
	struct amqc_content_header header;
	struct amqc_basic_deliver deliver;

	load("basic-deliver", &in);
	deliver = next_method(&in, 1, AMQC_BASIC_DELIVER).basic_deliver;
	ck_assert(span_equal_str(deliver.consumer_tag, "tag"));
	ck_assert_uint_eq(deliver.delivery_tag, 2);
	ck_assert(deliver.redelivered);
	ck_assert_uint_eq(deliver.exchange.len, 0);
	ck_assert(span_equal_str(deliver.routing_key, "captured"));
	header = next_header(&in);
	ck_assert_uint_eq(header.body_size, 8);
	check_all_properties(&header.properties);
	next_body(&in, "the body");
	buf_deinit(&in);
}
END_TEST

START_TEST(captured__return_is_followed_by_the_confirm)
{
	struct buf in = BUF_INIT;
	struct amqc_basic_return returned;
	struct amqc_content_header header;
	struct amqc_frame body;

	load("basic-return", &in);
	returned = next_method(&in, 1, AMQC_BASIC_RETURN).basic_return;
	ck_assert_uint_eq(returned.reply_code, AMQC_NO_ROUTE);
	ck_assert(span_equal_str(returned.reply_text, "NO_ROUTE"));
	ck_assert_uint_eq(returned.exchange.len, 0);
	ck_assert(span_equal_str(returned.routing_key, "no-such-queue"));
	header = next_header(&in);
	ck_assert_uint_eq(header.body_size, 8);
	ck_assert_uint_eq(header.properties.present, 0);
	body = next_frame(&in);
	ck_assert(span_equal_str(body.payload, "returned"));
	ck_assert_uint_eq(next_method(&in, 1, AMQC_BASIC_ACK).basic_ack.delivery_tag, 2);
	buf_deinit(&in);
}
END_TEST

START_TEST(captured__cancel_of_a_consumer_whose_queue_went_wants_no_answer)
{
	struct buf in = BUF_INIT;
	struct amqc_basic_cancel cancel;

	load("basic-cancel", &in);
	ck_assert_uint_eq(next_method(&in, 1, AMQC_QUEUE_DELETE_OK).queue_delete_ok.message_count, 0);
	cancel = next_method(&in, 1, AMQC_BASIC_CANCEL).basic_cancel;
	ck_assert(span_equal_str(cancel.consumer_tag, "tag"));
	ck_assert(cancel.no_wait);
	buf_deinit(&in);
}
END_TEST

START_TEST(captured__closes_name_the_method_they_answer)
{
	struct buf in[2] = {BUF_INIT, BUF_INIT};
	struct amqc_channel_close channel =
	    only_method("channel-close", &in[0], 1, AMQC_CHANNEL_CLOSE).channel_close;
	struct amqc_connection_close connection =
	    only_method("connection-close", &in[1], 0, AMQC_CONNECTION_CLOSE).connection_close;

	ck_assert_uint_eq(channel.reply_code, AMQC_NOT_FOUND);
	ck_assert(span_equal_str(channel.reply_text, "NOT_FOUND - no queue 'missing' in vhost '/'"));
	ck_assert_uint_eq(channel.class_id, AMQC_CLASS_ID(AMQC_QUEUE_DECLARE));
	ck_assert_uint_eq(channel.method_id, AMQC_METHOD_ID(AMQC_QUEUE_DECLARE));
	ck_assert_uint_eq(connection.reply_code, AMQC_COMMAND_INVALID);
	ck_assert(span_equal_str(connection.reply_text, "COMMAND_INVALID - unimplemented method"));
	ck_assert_uint_eq(connection.class_id, 60);
	ck_assert_uint_eq(connection.method_id, 31);
	buf_deinit(&in[0]);
	buf_deinit(&in[1]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("amqp/captured");
	TCase *tests = tcase_create("captured");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, captured__connection_start_tells_product_and_capabilities);
	tcase_add_test(tests, captured__connection_tune_has_the_brokers_limits);
	tcase_add_test(tests, captured__answers_with_nothing_but_reserved_arguments);
	tcase_add_test(tests, captured__queue_declare_ok_and_basic_ack_and_consume_ok);
	tcase_add_test(tests, captured__get_ok_carries_all_properties_and_every_letter);
	tcase_add_test(tests, captured__deliver_of_a_message_that_was_returned_is_flagged);
	tcase_add_test(tests, captured__return_is_followed_by_the_confirm);
	tcase_add_test(tests, captured__cancel_of_a_consumer_whose_queue_went_wants_no_answer);
	tcase_add_test(tests, captured__closes_name_the_method_they_answer);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
