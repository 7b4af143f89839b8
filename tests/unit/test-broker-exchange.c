#include "tests/unit/broker-client.h"

#include <stdio.h>

static struct world world;
static struct client a;

static void setup(void)
{
	world = world_new(NULL);
	a = client_open(&world);
}

static void teardown(void)
{
	client_end(&a);
	world_end(&world);
}

static void expect_error(uint16_t code, const char *text)
{
	client_expect_channel_close(&a, 1, code, text);
	SEND(&a, 1, CHANNEL_CLOSE_OK, channel_close_ok);
	CALL(&a, 1, CHANNEL_OPEN, channel_open);
}

static void declare(const char *exchange, const char *type)
{
	CALL(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = span_str(exchange),
	     .type = span_str(type));
}

/* A queue bound to an exchange by a key. */
static void bound(const char *queue, const char *exchange, const char *key)
{
	client_declare(&a, queue);
	client_bind(&a, queue, exchange, key, SPAN_NULL);
}

static void publish(const char *exchange, const char *key)
{
	client_publish(
	    &a, 1, &(struct amqc_basic_publish){.exchange = span_str(exchange), .routing_key = span_str(key)},
	    NULL, S("x"));
}

/* Publishes one message and says whether it reached the queue, which is emptied. */
static bool reaches(const char *exchange, const char *key, const char *queue)
{
	size_t count;

	publish(exchange, key);
	count = ready(&world, queue);
	CALL(&a, 1, QUEUE_PURGE, queue_purge, .queue = span_str(queue));
	ck_assert_uint_le(count, 1);
	return count == 1;
}

START_TEST(exchange__default_routes_to_the_queue_of_that_name)
{
	client_declare(&a, "q");
	ck_assert(reaches("", "q", "q"));
	ck_assert(!reaches("", "r", "q"));
}
END_TEST

START_TEST(exchange__direct_routes_by_the_whole_key)
{
	bound("q", "amq.direct", "key");
	ck_assert(reaches("amq.direct", "key", "q"));
	ck_assert(!reaches("amq.direct", "key2", "q"));
	ck_assert(!reaches("amq.direct", "", "q"));
}
END_TEST

START_TEST(exchange__direct_gives_each_queue_of_a_key_the_message)
{
	bound("q", "amq.direct", "key");
	bound("r", "amq.direct", "key");
	publish("amq.direct", "key");
	ck_assert_uint_eq(ready(&world, "q"), 1);
	ck_assert_uint_eq(ready(&world, "r"), 1);
}
END_TEST

START_TEST(exchange__fanout_routes_to_all)
{
	bound("q", "amq.fanout", "this");
	bound("r", "amq.fanout", "that");
	publish("amq.fanout", "other");
	ck_assert_uint_eq(ready(&world, "q"), 1);
	ck_assert_uint_eq(ready(&world, "r"), 1);
}
END_TEST

START_TEST(exchange__a_queue_bound_twice_gets_one_copy)
{
	bound("q", "amq.topic", "a.#");
	bound("q", "amq.topic", "#.b");
	bound("q", "amq.topic", "a.*");
	publish("amq.topic", "a.b");
	ck_assert_uint_eq(ready(&world, "q"), 1);
}
END_TEST

START_TEST(exchange__topic_matches_words_and_wildcards)
{
	static const struct {
		const char *pattern, *key;
		bool match;
	} cases[] = {{"a.b", "a.b", true},	{"a.b", "a.c", false},	 {"a.*", "a.b", true},
		     {"a.*", "a", false},	{"a.*", "a.b.c", false}, {"*.b", "a.b", true},
		     {"*", "a", true},		{"*", "", false},	 {"*", "a.b", false},
		     {"#", "", true},		{"#", "a.b.c", true},	 {"a.#", "a", true},
		     {"a.#", "a.b.c", true},	{"a.#", "b.a", false},	 {"#.a", "b.c.a", true},
		     {"#.a", "a", true},	{"a.#.b", "a.b", true},	 {"a.#.b", "a.x.y.b", true},
		     {"a.#.b", "a.x.y", false}, {"#.#", "a", true},	 {"*.#", "", false},
		     {"*.#", "a", true},	{"#.*", "a.b", true},	 {"", "", true},
		     {"", "a", false},		{"a..b", "a..b", true},	 {"a.*.b", "a..b", true},
		     {"a.#.#.b", "a.b", true},	{"*.*", "a.", true},	 {"a", "a.", false}};

	client_declare(&a, "q");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		client_bind(&a, "q", "amq.topic", cases[i].pattern, SPAN_NULL);
		ck_assert_msg(reaches("amq.topic", cases[i].key, "q") == cases[i].match, "'%s' and '%s'",
			      cases[i].pattern, cases[i].key);
		CALL(&a, 1, QUEUE_UNBIND, queue_unbind, .queue = S("q"), .exchange = S("amq.topic"),
		     .routing_key = span_str(cases[i].pattern));
		ck_assert(!reaches("amq.topic", cases[i].key, "q"));
	}
}
END_TEST

/* Does a message with the header a=1, and perhaps b="x", get through a binding with both? */
static bool headers_reach(const char *mode, bool with_b)
{
	struct buf arguments = BUF_INIT, headers = BUF_INIT;
	struct amqc_properties properties = {.present = AMQC_PROP_HEADERS};
	size_t count;

	client_declare(&a, "q");
	table_text(&arguments, "x-match", mode);
	table_integer(&arguments, "a", 1);
	client_bind(&a, "q", "amq.headers", "", table_text(&arguments, "b", "x"));
	table_integer(&headers, "a", 1);
	if (with_b)
		table_text(&headers, "b", "x");
	properties.headers = buf_span(&headers);
	client_publish(&a, 1, &(struct amqc_basic_publish){.exchange = S("amq.headers")}, &properties,
		       S("x"));
	count = ready(&world, "q");
	CALL(&a, 1, QUEUE_DELETE, queue_delete, .queue = S("q"));
	buf_deinit(&arguments);
	buf_deinit(&headers);
	return count > 0;
}

START_TEST(exchange__headers_matches_all_or_any)
{
	ck_assert(headers_reach("all", true));
	ck_assert(!headers_reach("all", false));
	ck_assert(headers_reach("any", false));
}
END_TEST

START_TEST(exchange__headers_wants_a_known_x_match)
{
	struct buf arguments = BUF_INIT;

	client_declare(&a, "q");
	SEND(&a, 1, QUEUE_BIND, queue_bind, .queue = S("q"), .exchange = S("amq.headers"),
	     .arguments = table_text(&arguments, "x-match", "foo"));
	expect_error(
	    406,
	    "PRECONDITION_FAILED - Invalid x-match field value <<\"foo\">>; expected all, any, all-with-x, "
	    "or any-with-x");
	buf_deinit(&arguments);
}
END_TEST

START_TEST(exchange__bound_to_another_passes_messages_on)
{
	declare("e", "fanout");
	bound("q", "e", "");
	CALL(&a, 1, EXCHANGE_BIND, exchange_bind, .destination = S("e"), .source = S("amq.direct"),
	     .routing_key = S("k"));
	ck_assert(reaches("amq.direct", "k", "q"));
	ck_assert(!reaches("amq.direct", "l", "q"));
	CALL(&a, 1, EXCHANGE_UNBIND, exchange_unbind, .destination = S("e"), .source = S("amq.direct"),
	     .routing_key = S("k"));
	ck_assert(!reaches("amq.direct", "k", "q"));
}
END_TEST

START_TEST(exchange__circles_of_bindings_end)
{
	declare("e", "fanout");
	declare("f", "fanout");
	CALL(&a, 1, EXCHANGE_BIND, exchange_bind, .destination = S("e"), .source = S("f"));
	CALL(&a, 1, EXCHANGE_BIND, exchange_bind, .destination = S("f"), .source = S("e"));
	bound("q", "f", "");
	ck_assert(reaches("e", "", "q"));
}
END_TEST

START_TEST(exchange__long_chains_of_bindings_are_followed)
{
	char name[16], next[16];

	client_declare(&a, "q");
	for (unsigned int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "e%u", i);
		snprintf(next, sizeof(next), "e%u", i + 1);
		declare(name, "fanout");
		declare(next, "fanout");
		CALL(&a, 1, EXCHANGE_BIND, exchange_bind, .destination = span_str(next),
		     .source = span_str(name));
	}
	client_bind(&a, "q", "e40", "", SPAN_NULL);
	ck_assert(reaches("e0", "", "q"));
}
END_TEST

START_TEST(exchange__alternate_gets_what_matched_nothing)
{
	struct buf arguments = BUF_INIT;

	CALL(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("e"), .type = S("direct"),
	     .arguments = table_text(&arguments, "alternate-exchange", "amq.fanout"));
	bound("q", "e", "k");
	bound("rest", "amq.fanout", "");
	ck_assert(reaches("e", "other", "rest"));
	ck_assert(!reaches("e", "k", "rest"));
	buf_deinit(&arguments);
}
END_TEST

START_TEST(exchange__declared_again_must_be_the_same)
{
	declare("e", "direct");
	declare("e", "direct");
	SEND(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("e"), .type = S("fanout"));
	expect_error(
	    406,
	    "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'e' in vhost '/': received 'fanout' "
	    "but current is 'direct'");
	SEND(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("e"), .type = S("direct"),
	     .durable = true);
	expect_error(
	    406, "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'e' in vhost '/': received "
		 "'true' but current is 'false'");
	SEND(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("e"), .type = S("direct"),
	     .internal = true);
	expect_error(
	    406, "PRECONDITION_FAILED - inequivalent arg 'internal' for exchange 'e' in vhost '/': received "
		 "'true' but current is 'false'");
	CALL(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("e"), .passive = true);
}
END_TEST

START_TEST(exchange__missing_is_not_found)
{
	client_declare(&a, "q");
	SEND(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("e"), .passive = true);
	expect_error(404, "NOT_FOUND - no exchange 'e' in vhost '/'");
	SEND(&a, 1, QUEUE_BIND, queue_bind, .queue = S("q"), .exchange = S("e"));
	expect_error(404, "NOT_FOUND - no exchange 'e' in vhost '/'");
	SEND(&a, 1, QUEUE_BIND, queue_bind, .queue = S("nq"), .exchange = S("amq.direct"));
	expect_error(404, "NOT_FOUND - no queue 'nq' in vhost '/'");
	publish("e", "");
	expect_error(404, "NOT_FOUND - no exchange 'e' in vhost '/'");
}
END_TEST

START_TEST(exchange__unbinding_or_deleting_what_is_not_there_is_fine)
{
	client_declare(&a, "q");
	CALL(&a, 1, QUEUE_UNBIND, queue_unbind, .queue = S("q"), .exchange = S("amq.direct"),
	     .routing_key = S("k"));
	CALL(&a, 1, QUEUE_UNBIND, queue_unbind, .queue = S("q"), .exchange = S("none"),
	     .routing_key = S("k"));
	CALL(&a, 1, QUEUE_UNBIND, queue_unbind, .queue = S("none"), .exchange = S("amq.direct"));
	CALL(&a, 1, EXCHANGE_DELETE, exchange_delete, .exchange = S("none"));
}
END_TEST

START_TEST(exchange__reserved_names_are_refused)
{
	SEND(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("amq.foo"), .type = S("direct"));
	expect_error(403, "ACCESS_REFUSED - exchange name 'amq.foo' contains reserved prefix 'amq.*'");
	SEND(&a, 1, EXCHANGE_DELETE, exchange_delete, .exchange = S("amq.direct"));
	expect_error(403,
		     "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed");
	CALL(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("amq.direct"), .type = S("direct"),
	     .durable = true);
}
END_TEST

START_TEST(exchange__default_cannot_be_declared_deleted_or_bound)
{
	static const char text[] = "ACCESS_REFUSED - operation not permitted on the default exchange";

	client_declare(&a, "q");
	SEND(&a, 1, EXCHANGE_DECLARE, exchange_declare, .type = S("direct"));
	expect_error(403, text);
	SEND(&a, 1, EXCHANGE_DELETE, exchange_delete);
	expect_error(403, text);
	SEND(&a, 1, QUEUE_BIND, queue_bind, .queue = S("q"), .routing_key = S("q"));
	expect_error(403, text);
	SEND(&a, 1, QUEUE_UNBIND, queue_unbind, .queue = S("q"), .routing_key = S("q"));
	expect_error(403, text);
	SEND(&a, 1, EXCHANGE_BIND, exchange_bind, .destination = S(""), .source = S("amq.direct"));
	expect_error(403, text);
}
END_TEST

START_TEST(exchange__internal_takes_no_publishes)
{
	CALL(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("e"), .type = S("direct"),
	     .internal = true);
	publish("e", "");
	expect_error(403, "ACCESS_REFUSED - cannot publish to internal exchange 'e' in vhost '/'");
}
END_TEST

START_TEST(exchange__delete_if_unused_is_refused_while_it_has_bindings)
{
	declare("e", "direct");
	bound("q", "e", "k");
	SEND(&a, 1, EXCHANGE_DELETE, exchange_delete, .exchange = S("e"), .if_unused = true);
	expect_error(406, "PRECONDITION_FAILED - exchange 'e' in vhost '/' in use");
	CALL(&a, 1, QUEUE_DELETE, queue_delete, .queue = S("q"));
	CALL(&a, 1, EXCHANGE_DELETE, exchange_delete, .exchange = S("e"), .if_unused = true);
}
END_TEST

START_TEST(exchange__auto_delete_goes_with_its_last_binding)
{
	CALL(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("e"), .type = S("topic"),
	     .auto_delete = true);
	CALL(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("f"), .type = S("fanout"),
	     .auto_delete = true);
	CALL(&a, 1, EXCHANGE_BIND, exchange_bind, .destination = S("f"), .source = S("e"),
	     .routing_key = S("x"));
	bound("q", "f", "");
	/* The queue takes its binding, that takes f, and that takes e. */
	CALL(&a, 1, QUEUE_DELETE, queue_delete, .queue = S("q"));
	SEND(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("f"), .passive = true);
	expect_error(404, "NOT_FOUND - no exchange 'f' in vhost '/'");
	SEND(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("e"), .passive = true);
	expect_error(404, "NOT_FOUND - no exchange 'e' in vhost '/'");
}
END_TEST

START_TEST(exchange__deleted_takes_its_bindings_along)
{
	declare("e", "topic");
	bound("q", "e", "#");
	CALL(&a, 1, EXCHANGE_DELETE, exchange_delete, .exchange = S("e"));
	declare("e", "topic");
	ck_assert(!reaches("e", "x", "q"));
}
END_TEST

START_TEST(exchange__type_that_the_broker_lacks_closes_the_connection)
{
	SEND(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("e"), .type = S("topics"));
	client_expect_connection_close(&a, 503, "COMMAND_INVALID - unknown exchange type 'topics'");
}
END_TEST

START_TEST(exchange__empty_type_closes_the_connection)
{
	SEND(&a, 1, EXCHANGE_DECLARE, exchange_declare, .exchange = S("e"));
	client_expect_connection_close(&a, 503, "COMMAND_INVALID - invalid exchange type ''");
}
END_TEST

START_TEST(exchange__binding_without_names_uses_the_last_queue_and_its_name_as_key)
{
	client_declare(&a, "q");
	CALL(&a, 1, QUEUE_BIND, queue_bind, .exchange = S("amq.direct"));
	ck_assert(reaches("amq.direct", "q", "q"));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
	    exchange__default_routes_to_the_queue_of_that_name,
	    exchange__direct_routes_by_the_whole_key,
	    exchange__direct_gives_each_queue_of_a_key_the_message,
	    exchange__fanout_routes_to_all,
	    exchange__a_queue_bound_twice_gets_one_copy,
	    exchange__topic_matches_words_and_wildcards,
	    exchange__headers_matches_all_or_any,
	    exchange__headers_wants_a_known_x_match,
	    exchange__bound_to_another_passes_messages_on,
	    exchange__circles_of_bindings_end,
	    exchange__long_chains_of_bindings_are_followed,
	    exchange__alternate_gets_what_matched_nothing,
	    exchange__declared_again_must_be_the_same,
	    exchange__missing_is_not_found,
	    exchange__unbinding_or_deleting_what_is_not_there_is_fine,
	    exchange__reserved_names_are_refused,
	    exchange__default_cannot_be_declared_deleted_or_bound,
	    exchange__internal_takes_no_publishes,
	    exchange__delete_if_unused_is_refused_while_it_has_bindings,
	    exchange__auto_delete_goes_with_its_last_binding,
	    exchange__deleted_takes_its_bindings_along,
	    exchange__type_that_the_broker_lacks_closes_the_connection,
	    exchange__empty_type_closes_the_connection,
	    exchange__binding_without_names_uses_the_last_queue_and_its_name_as_key,
	};

	return RUN_TESTS("broker/exchange", tests, setup, teardown);
}
