/*
 * What RabbitMQ falls over is refused, and what looks like it is not.
 */
#include "daemon/amqp/table.h"
#include "tests/unit/mux-world.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct session *session;
static struct buf table = BUF_INIT;

static void begin(const char *product, const char *version)
{
	world_begin_on(product, version);
	session = world_session();
	session_open_channel(session, 1, 1);
}

static void end(void)
{
	world_end();
	buf_deinit(&table);
}

/* The table with this field more. */
static struct span with(const char *name, char type, const char *text, int64_t number)
{
	struct amqc_field field = {.type = type};
	struct span name_span = span_str(name);

	if (type == 'S')
		field.value.bytes = span_str(text);
	else
		field.value.signed_int = number;
	if (type == 'd')
		field.value.float64 = 1.5;
	ck_assert_int_eq(amqc_field_append(&table, &name_span, &field), AMQC_OK);
	return buf_span(&table);
}

static struct span only(const char *name, char type, const char *text, int64_t number)
{
	buf_truncate(&table, 0);
	return with(name, type, text, number);
}

static void expect(bool refused)
{
	char told[64];

	snprintf(told, sizeof(told), "%.60s", world_told());
	ck_assert_str_eq(told, refused ? "refuse 1 channel 541; 1/1 ended 541; " : "");
	if (refused)
		ck_assert_str_eq(world_sent(), "");
	end();
}

static void declare(const char *queue, bool passive, bool exclusive, bool durable, struct span arguments)
{
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};

	method.queue_declare.queue = span_str(queue);
	method.queue_declare.passive = passive;
	method.queue_declare.exclusive = exclusive;
	method.queue_declare.durable = durable;
	method.queue_declare.arguments = arguments;
	world_request(session, 1, 1, &method, 0);
}

/* ------------------------------------------------------------------ addresses */

#define PREFIX "amq.rabbitmq.reply-to."
#define REAL PREFIX "g1h2AA5yZXBseUA0MTI0MzUzNwAAPuMAAAAJawh0Ng==.VRZLT5HEFtpj5yl9PqxjpA=="

static const struct {
	const char *address;
	bool kills;
} addresses[] = {
    {REAL, false},
    {"amq.rabbitmq.reply-to", false},
    {PREFIX "x", false},     /* one piece: not looked at */
    {PREFIX "a.b.c", false}, /* three pieces: neither */
    {PREFIX ".k", false},
    {PREFIX "Zm9v.", false},
    {PREFIX "Zm9v.k", true},	     /* base64, and no term */
    {PREFIX "..Zm9v..k..", true},    /* empty pieces do not count */
    {PREFIX "g2EF.k", true},	     /* a number */
    {PREFIX "g1h2AAN.rabbit", true}, /* cut off */
    {PREFIX "!!!!.k", true},
    {PREFIX "Zg=.k", true},
    {PREFIX "Z===.k", true},
    {PREFIX "g1h2AA5yZXBseUA0MTI0MzUzNwAAPuMAAAAJawh0NgA=.k", true}, /* a byte behind it */
    {PREFIX "g1h2AA5yZXBseUB4eHh4eHh4eAAAPuMAAAAJawh0Ng==.k", true}, /* reply@xxxxxxxx */
    {PREFIX "g1h2AA5yYWJiaXRub2Rlc29tZQAAPuMAAAAJawh0Ng==.k", true}, /* rabbitnodesome */
    {PREFIX "g2R2AA5yZXBseUA0MTI0MzUzNwAAPuMAAAAJawh0Ng==.k", true}, /* no process */
    {PREFIX "g1h3B3JlcGx5QDEAAD7jAAAACWsIdDY=.k", false},	     /* a short atom */
    {PREFIX "g1h2//9yZXBseUA0MTI0MzUzNwAAPuMAAAAJawh0Ng==.k", true}, /* longer than there is */
};
#define ADDRESSES ((int)(sizeof(addresses) / sizeof(addresses[0])))

START_TEST(quirks__declare_of_a_reply_address_that_no_broker_made_is_refused)
{
	begin("RabbitMQ", "3.10.8");
	declare(addresses[_i].address, true, false, false, SPAN_NULL);
	expect(addresses[_i].kills);
}
END_TEST

START_TEST(quirks__queue_whose_dead_letters_go_to_such_an_address_is_refused)
{
	begin("RabbitMQ", "3.10.8");
	declare("q", false, false, false, only("x-dead-letter-routing-key", 'S', addresses[_i].address, 0));
	expect(addresses[_i].kills);
}
END_TEST

static void publish(const char *exchange, const char *key, struct span headers)
{
	struct amqc_properties properties = {.present = headers.len > 0 ? AMQC_PROP_HEADERS : 0,
					     .headers = headers};
	struct mux_publish message = {.channel = 1,
				      .cost_bytes = 100,
				      .exchange = span_str(exchange),
				      .routing_key = span_str(key),
				      .properties = &properties};

	session_publish(session, &message);
}

static void expect_published(bool refused)
{
	ck_assert_str_eq(world_told(), refused ? "1/1 not_sent 1-1; 1/1 ended 541; " : "");
	ck_assert_str_eq(world_sent(), refused ? "" : "1 basic.publish; ");
	end();
}

START_TEST(quirks__publish_to_such_an_address_is_refused)
{
	begin("RabbitMQ", "3.10.8");
	publish("", addresses[_i].address, SPAN_NULL);
	expect_published(addresses[_i].kills);
}
END_TEST

START_TEST(quirks__copies_to_such_an_address_are_refused)
{
	struct span name = span_str(_i % 2 ? "CC" : "BCC");
	struct amqc_field one = {.type = 'S', .value.bytes = SPAN_LITERAL("x")};
	struct amqc_field two = {.type = 'S', .value.bytes = span_str(addresses[_i].address)};
	size_t mark;

	begin("RabbitMQ", "3.10.8");
	mark = amqc_field_begin(&table, &name, 'A');
	ck_assert_int_eq(amqc_field_append(&table, NULL, &one), AMQC_OK);
	ck_assert_int_eq(amqc_field_append(&table, NULL, &two), AMQC_OK);
	amqc_table_end(&table, mark);
	publish("", "q", buf_span(&table));
	expect_published(addresses[_i].kills);
}
END_TEST

/* ------------------------------------------------------------------ arguments */

static const struct {
	char type;
	const char *text;
	bool kills_as_offset;
	bool kills_as_age;
} texts[] = {
    {'S', "first", false, true}, {'S', "next", false, true}, {'S', "last", false, true},
    {'S', "1D", false, false},	 {'S', "0", false, false},   {'S', "", true, true},
    {'S', "x", true, true},	 {'S', "-1", true, true},    {'S', " 1D", true, true},
    {'l', NULL, false, false},	 {'b', NULL, false, false},  {'T', NULL, false, false},
    {'t', NULL, true, false},	 {'d', NULL, true, false},   {'V', NULL, true, false},
};
#define TEXTS ((int)(sizeof(texts) / sizeof(texts[0])))

static void consume(struct span arguments)
{
	struct amqc_method method = {.id = AMQC_BASIC_CONSUME};
	struct mux_request request = {.id = 1, .channel = 1, .method = &method, .consumer = 1};

	method.basic_consume.queue = SPAN_LITERAL("q");
	method.basic_consume.consumer_tag = SPAN_LITERAL("tag");
	method.basic_consume.arguments = arguments;
	session_request(session, &request);
}

START_TEST(quirks__offset_in_a_stream_that_is_none_is_refused)
{
	begin("RabbitMQ", "3.10.8");
	consume(only("x-stream-offset", texts[_i].type, texts[_i].text, 1));
	expect(texts[_i].kills_as_offset);
}
END_TEST

START_TEST(quirks__age_of_a_stream_that_is_none_is_refused)
{
	begin("RabbitMQ", "3.10.8");
	only("x-queue-type", 'S', "stream", 0);
	declare("q", false, false, true, with("x-max-age", texts[_i].type, texts[_i].text, 1));
	expect(texts[_i].kills_as_age);
}
END_TEST

START_TEST(quirks__credit_as_an_argument_is_refused)
{
	begin("RabbitMQ", "3.10.8");
	consume(only("x-credit", 't', NULL, 1));
	expect(true);
}
END_TEST

START_TEST(quirks__master_locator_that_is_unknown_is_refused_where_it_is_looked_at)
{
	static const struct {
		const char *locator;
		bool passive, exclusive;
		const char *type;
		bool kills;
	} cases[] = {
	    {"nowhere", false, false, NULL, true},	 {"", false, false, "classic", true},
	    {"min-masters", false, false, NULL, false},	 {"random", false, false, NULL, false},
	    {"client-local", false, false, NULL, false}, {"nowhere", true, false, NULL, false},
	    {"nowhere", false, true, NULL, false},	 {"nowhere", false, false, "quorum", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin("RabbitMQ", "3.10.8");
		only("x-queue-master-locator", 'S', cases[i].locator, 0);
		if (cases[i].type)
			with("x-queue-type", 'S', cases[i].type, 0);
		declare("q", cases[i].passive, cases[i].exclusive, true, buf_span(&table));
		expect(cases[i].kills);
	}
	begin("RabbitMQ", "3.10.8");
	declare("q", false, false, false, only("x-queue-master-locator", 'd', NULL, 0));
	expect(true);
}
END_TEST

START_TEST(quirks__header_that_no_consumer_of_a_stream_could_read_is_refused)
{
	char long_text[300] = "";

	memset(long_text, 'x', 256);
	begin("RabbitMQ", "3.10.8");
	publish("e", "k", only("x-basic-type", 'l', NULL, 1));
	expect_published(true);
	begin("RabbitMQ", "3.10.8");
	publish("e", "k", only("x-basic-app-id", 'S', long_text, 0));
	expect_published(true);
	begin("RabbitMQ", "3.10.8");
	publish("e", "k", only("x-basic-app-id", 'S', long_text + 1, 0));
	expect_published(false);
}
END_TEST

START_TEST(quirks__decimal_to_a_stream_is_refused)
{
	static const char *const types[] = {"stream", "classic"};

	for (size_t i = 0; i < 2; i++) {
		begin("RabbitMQ", "3.10.8");
		declare("q", false, false, true, only("x-queue-type", 'S', types[i], 0));
		(void)world_sent();
		publish("", "q", only("d", 'D', NULL, 0));
		ck_assert_str_eq(world_sent(), i == 0 ? "1 channel.close; " : "1 basic.publish; ");
		ck_assert_int_eq(strstr(world_told(), "1/1 not_sent 1-1; 1/1 ended 541; ") != NULL, i == 0);
		end();
	}
}
END_TEST

/* ------------------------------------------------------------------ binding keys */

static const struct {
	const char *key;
	bool kills;
} keys[] = {
    {"", false},
    {"#.error.#", false},
    {"#.#.#.#.#.#.#.#", false},
    {"#.#.#.#.#.#.#.#.#", true},
    {"a.#.#.#.#.#.#.#.#.*", false},
    {"#.a.#.b.#.c.#.d.#.e.#.f.#.g.#.h.#", true},
    {"##.##.##.##.##.##.##.##.##.##", false},
    {"*.*.*.*.*.*.*.*.*.*.*", false},
};

#define KEYS (int)(sizeof(keys) / sizeof(keys[0]))

START_TEST(quirks__binding_key_that_takes_for_ever_is_refused)
{
	struct amqc_method queue = {.id = AMQC_QUEUE_BIND}, exchange = {.id = AMQC_EXCHANGE_BIND};
	struct amqc_method unbind = {.id = AMQC_QUEUE_UNBIND};

	queue.queue_bind.queue = SPAN_LITERAL("q");
	queue.queue_bind.exchange = SPAN_LITERAL("amq.topic");
	queue.queue_bind.routing_key = span_str(keys[_i].key);
	begin("RabbitMQ", "3.10.8");
	world_request(session, 1, 1, &queue, 0);
	expect(keys[_i].kills);
	exchange.exchange_bind.destination = SPAN_LITERAL("e");
	exchange.exchange_bind.source = SPAN_LITERAL("amq.topic");
	exchange.exchange_bind.routing_key = span_str(keys[_i].key);
	begin("RabbitMQ", "3.10.8");
	world_request(session, 1, 1, &exchange, 0);
	expect(keys[_i].kills);
	unbind.queue_unbind.queue = SPAN_LITERAL("q");
	unbind.queue_unbind.exchange = SPAN_LITERAL("amq.topic");
	unbind.queue_unbind.routing_key = span_str(keys[_i].key);
	begin("RabbitMQ", "3.10.8");
	world_request(session, 1, 1, &unbind, 0);
	expect(false);
	begin("LavinMQ", "2.0.0");
	world_request(session, 1, 1, &queue, 0);
	expect(false);
}
END_TEST

/* ------------------------------------------------------------------ elsewhere */

START_TEST(quirks__are_not_other_brokers)
{
	static const struct {
		const char *product, *version;
		bool concerned;
	} brokers[] = {{"RabbitMQ", "3.10.8", true},
		       {"RabbitMQ", "3.13.1", true},
		       {"RabbitMQ", "3.9.1", false},
		       {"RabbitMQ", "4.0.1", false},
		       {"LavinMQ", "2.0.0", false}};

	for (size_t i = 0; i < sizeof(brokers) / sizeof(brokers[0]); i++) {
		begin(brokers[i].product, brokers[i].version);
		publish("", PREFIX "Zm9v.k", SPAN_NULL);
		expect_published(brokers[i].concerned);
	}
}
END_TEST

START_TEST(quirks__are_anybodys_while_the_broker_is_unknown)
{
	world_begin_unconnected();
	session = world_session();
	session_open_channel(session, 1, 1);
	publish("", PREFIX "Zm9v.k", SPAN_NULL);
	expect_published(true);
}
END_TEST

START_TEST(quirks__cancel_waits_for_the_answer_to_the_consume)
{
	begin("RabbitMQ", "3.10.8");
	consume(SPAN_NULL);
	world_cancel(session, 2, 1, 1, 0);
	ck_assert_str_eq(world_sent(), "1 basic.qos; 1 consume tag; ");
	world_reply(1, AMQC_BASIC_QOS_OK);
	ck_assert_str_eq(world_sent(), "");
	world_reply(1, AMQC_BASIC_CONSUME_OK);
	ck_assert_str_eq(world_sent(), "1 basic.cancel; ");
	world_reply(1, AMQC_BASIC_CANCEL_OK);
	ck_assert_str_eq(world_told(), "1 basic.consume-ok; 2 basic.cancel-ok; ");
	end();
}
END_TEST

static void ask_prefetch(uint16_t count)
{
	struct amqc_method qos = {.id = AMQC_BASIC_QOS};

	qos.basic_qos.prefetch_count = count;
	world_request(session, 10, 1, &qos, 0);
}

static void consume_again(uint32_t id)
{
	struct amqc_method method = {.id = AMQC_BASIC_CONSUME};
	struct mux_request request = {.id = id,
				      .channel = 1,
				      .method = &method,
				      .consumer = id,
				      .credit_messages = 10,
				      .credit_bytes = 1000};

	method.basic_consume.queue = SPAN_LITERAL("q");
	method.basic_consume.consumer_tag = SPAN_LITERAL("tag");
	session_request(session, &request);
}

static void limit_all(uint16_t count)
{
	struct amqc_method qos = {.id = AMQC_BASIC_QOS};

	qos.basic_qos.prefetch_count = count;
	qos.basic_qos.global = true;
	world_request(session, 11, 1, &qos, 0);
}

static void consuming_one_of_quorum(void)
{
	begin("RabbitMQ", "3.10.8");
	declare("q", false, false, true, only("x-queue-type", 'S', "quorum", 0));
	(void)world_sent();
	world_reply(1, AMQC_QUEUE_DECLARE_OK);
	limit_all(1);
	consume_again(2);
	ck_assert_str_eq(world_sent(), "1 basic.qos; 1 consume tag; ");
	world_reply(1, AMQC_BASIC_QOS_OK);
	world_reply(1, AMQC_BASIC_CONSUME_OK);
	world_deliver(1, "tag", 1);
}

/* The consumer gets more, under another tag. */
static void widen(uint16_t count, const char *sent)
{
	limit_all(count);
	ck_assert_str_eq(world_sent(), sent);
	world_reply(1, AMQC_BASIC_QOS_OK);
	world_reply(1, AMQC_BASIC_CONSUME_OK);
	ck_assert_str_eq(world_sent(), "1 basic.cancel; ");
	world_reply(1, AMQC_BASIC_CANCEL_OK);
}

static void stop_consuming(uint32_t consumer)
{
	world_cancel(session, 3, 1, consumer, 0);
	ck_assert_str_eq(world_sent(), "1 basic.cancel; ");
	world_reply(1, AMQC_BASIC_CANCEL_OK);
	(void)world_told();
}

START_TEST(quirks__tag_whose_consumer_was_begun_anew_had_the_prefetch_of_before)
{
	consuming_one_of_quorum();
	widen(5, "1 basic.qos; 1 consume tag~1; ");
	stop_consuming(2);
	consume_again(4);
	ck_assert_int_eq(strncmp(world_told(), "refuse 4 channel 541; ", 22), 0);
	end();
}
END_TEST

START_TEST(quirks__no_tag_of_one_begun_anew_is_used_by_another)
{
	consuming_one_of_quorum();
	widen(5, "1 basic.qos; 1 consume tag~1; ");
	stop_consuming(2);
	limit_all(1);
	consume_again(4);
	ck_assert_str_eq(world_sent(), "1 basic.qos; 1 consume tag; ");
	world_reply(1, AMQC_BASIC_QOS_OK);
	world_reply(1, AMQC_BASIC_CONSUME_OK);
	widen(9, "1 basic.qos; 1 consume tag~2; ");
	end();
}
END_TEST

/* A tag, cancelled while a message is unsettled, and used again. */
START_TEST(quirks__tag_used_again_with_a_larger_prefetch_is_refused_while_messages_are_unsettled)
{
	static const struct {
		const char *type;
		uint16_t prefetch;
		bool settled, kills;
	} cases[] = {{"quorum", 5, false, true},
		     {"quorum", 1, false, false},
		     {"quorum", 5, true, false},
		     {"classic", 5, false, false}};
	char told[32];

	begin("RabbitMQ", "3.10.8");
	declare("q", false, false, true, only("x-queue-type", 'S', cases[_i].type, 0));
	(void)world_sent();
	world_reply(1, AMQC_QUEUE_DECLARE_OK);
	ask_prefetch(1);
	consume_again(2);
	(void)world_sent();
	world_reply(1, AMQC_BASIC_QOS_OK);
	world_reply(1, AMQC_BASIC_CONSUME_OK);
	world_deliver(1, "tag", 1);
	if (cases[_i].settled)
		session_settle(session, 1, SETTLE_ACK, 1, 1);
	world_cancel(session, 3, 1, 2, 0);
	(void)world_sent();
	world_reply(1, AMQC_BASIC_CANCEL_OK);
	ask_prefetch(cases[_i].prefetch);
	(void)world_told();
	consume_again(4);
	snprintf(told, sizeof(told), "%.30s", world_told());
	ck_assert_str_eq(told, cases[_i].kills ? "refuse 4 channel 541; 1/1 ende" : "");
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux-quirks");
	TCase *tcase = tcase_create("quirks");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tcase, quirks__declare_of_a_reply_address_that_no_broker_made_is_refused, 0,
			    ADDRESSES);
	tcase_add_loop_test(tcase, quirks__queue_whose_dead_letters_go_to_such_an_address_is_refused, 0,
			    ADDRESSES);
	tcase_add_loop_test(tcase, quirks__publish_to_such_an_address_is_refused, 0, ADDRESSES);
	tcase_add_loop_test(tcase, quirks__copies_to_such_an_address_are_refused, 0, ADDRESSES);
	tcase_add_loop_test(tcase, quirks__offset_in_a_stream_that_is_none_is_refused, 0, TEXTS);
	tcase_add_loop_test(tcase, quirks__age_of_a_stream_that_is_none_is_refused, 0, TEXTS);
	tcase_add_test(tcase, quirks__credit_as_an_argument_is_refused);
	tcase_add_test(tcase, quirks__master_locator_that_is_unknown_is_refused_where_it_is_looked_at);
	tcase_add_test(tcase, quirks__header_that_no_consumer_of_a_stream_could_read_is_refused);
	tcase_add_test(tcase, quirks__decimal_to_a_stream_is_refused);
	tcase_add_loop_test(tcase, quirks__binding_key_that_takes_for_ever_is_refused, 0, KEYS);
	tcase_add_test(tcase, quirks__are_not_other_brokers);
	tcase_add_test(tcase, quirks__are_anybodys_while_the_broker_is_unknown);
	tcase_add_loop_test(
	    tcase, quirks__tag_used_again_with_a_larger_prefetch_is_refused_while_messages_are_unsettled, 0,
	    4);
	tcase_add_test(tcase, quirks__cancel_waits_for_the_answer_to_the_consume);
	tcase_add_test(tcase, quirks__tag_whose_consumer_was_begun_anew_had_the_prefetch_of_before);
	tcase_add_test(tcase, quirks__no_tag_of_one_begun_anew_is_used_by_another);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
