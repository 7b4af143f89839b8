#include "tests/unit/broker-client.h"

#define LOCKED                                                                                              \
	"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be "   \
	"originally declared on another connection or the exclusive property value does not match that of " \
	"the original declaration."

static struct world world;
static struct client a, b;

static void setup(void)
{
	world = world_new(NULL);
	a = client_open(&world);
	b = client_open(&world);
}

static void teardown(void)
{
	client_end(&a);
	client_end(&b);
	world_end(&world);
}

/* The next channel error of a is expected, and the channel opened again. */
static void expect_error(uint16_t code, const char *text)
{
	client_expect_channel_close(&a, 1, code, text);
	SEND(&a, 1, CHANNEL_CLOSE_OK, channel_close_ok);
	CALL(&a, 1, CHANNEL_OPEN, channel_open);
}

static void declare_with(struct span arguments)
{
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .arguments = arguments);
}

START_TEST(queue__declare_tells_messages_and_consumers)
{
	const struct amqc_method *m;

	client_declare(&a, "q");
	client_publish_to(&a, "q", "1");
	client_publish_to(&a, "q", "2");
	m = CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .passive = true);
	ck_assert_uint_eq(m->queue_declare_ok.message_count, 2);
	ck_assert_uint_eq(m->queue_declare_ok.consumer_count, 0);
	client_consume(&b, "q", "t", true);
	client_expect_content(&b, 1, AMQC_BASIC_DELIVER, "1");
	client_expect_content(&b, 1, AMQC_BASIC_DELIVER, "2");
	m = CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"));
	ck_assert_uint_eq(m->queue_declare_ok.message_count, 0);
	ck_assert_uint_eq(m->queue_declare_ok.consumer_count, 1);
}
END_TEST

START_TEST(queue__without_a_name_gets_one_of_its_own)
{
	const struct amqc_method *m = CALL(&a, 1, QUEUE_DECLARE, queue_declare, .exclusive = true);
	char first[64];

	ck_assert_uint_eq(m->queue_declare_ok.queue.len, 30);
	ck_assert(span_equal_str(span_first(m->queue_declare_ok.queue, 8), "amq.gen-"));
	memcpy(first, m->queue_declare_ok.queue.data, 30);
	m = CALL(&a, 1, QUEUE_DECLARE, queue_declare, .exclusive = true);
	ck_assert(!span_equal(m->queue_declare_ok.queue, span_make(first, 30)));
}
END_TEST

START_TEST(queue__the_empty_name_means_the_last_one_declared_on_the_channel)
{
	client_declare(&a, "q");
	client_publish_to(&a, "q", "x");
	SEND(&a, 1, BASIC_GET, basic_get, .no_ack = true);
	client_expect_content(&a, 1, AMQC_BASIC_GET_OK, "x");
	SEND(&b, 1, BASIC_GET, basic_get, .no_ack = true);
	client_expect_channel_close(&b, 1, 404, "NOT_FOUND - no previously declared queue");
}
END_TEST

START_TEST(queue__passive_declare_of_none_is_not_found)
{
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .passive = true);
	expect_error(404, "NOT_FOUND - no queue 'q' in vhost '/'");
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .passive = true);
	expect_error(404, "NOT_FOUND - no queue '' in vhost '/'");
}
END_TEST

START_TEST(queue__names_with_the_reserved_prefix_are_refused)
{
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("amq.mine"));
	expect_error(403, "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'");
}
END_TEST

START_TEST(queue__loses_line_ends_in_its_name)
{
	client_declare(&a, "a\r\nb");
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("ab"), .passive = true);
}
END_TEST

START_TEST(queue__declared_again_must_be_the_same)
{
	client_declare(&a, "q");
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"));
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .durable = true);
	expect_error(406,
		     "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received "
		     "'true' but current is 'false'");
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .auto_delete = true);
	expect_error(
	    406, "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue 'q' in vhost '/': received "
		 "'true' but current is 'false'");
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .exclusive = true);
	expect_error(405, LOCKED);
}
END_TEST

START_TEST(queue__declared_again_must_have_the_same_arguments)
{
	struct buf table = BUF_INIT, other = BUF_INIT;

	table_integer(&table, "x-message-ttl", 5000);
	table_integer(&other, "x-message-ttl", 5001);
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .arguments = buf_span(&table));
	declare_with(buf_span(&table));
	client_expect(&a, 1, AMQC_QUEUE_DECLARE_OK);
	declare_with(buf_span(&other));
	expect_error(
	    406,
	    "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received "
	    "'5001' but current is '5000'");
	declare_with(SPAN_NULL);
	expect_error(
	    406,
	    "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received "
	    "none but current is the value '5000' of type 'signedint'");
	buf_deinit(&table);
	buf_deinit(&other);
}
END_TEST

START_TEST(queue__arguments_unknown_to_the_broker_are_not_compared)
{
	struct buf table = BUF_INIT;

	client_declare(&a, "q");
	declare_with(table_integer(&table, "mine", 1));
	client_expect(&a, 1, AMQC_QUEUE_DECLARE_OK);
	buf_deinit(&table);
}
END_TEST

START_TEST(queue__bad_arguments_are_refused)
{
	struct buf table = BUF_INIT;

	declare_with(table_integer(&table, "x-message-ttl", -1));
	expect_error(406, "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'q' in vhost '/': "
			  "{value_negative,-1}");
	buf_truncate(&table, 0);
	declare_with(table_integer(&table, "x-expires", 0));
	expect_error(
	    406, "PRECONDITION_FAILED - invalid arg 'x-expires' for queue 'q' in vhost '/': {value_zero,0}");
	buf_truncate(&table, 0);
	declare_with(table_text(&table, "x-max-length", "a"));
	expect_error(406, "PRECONDITION_FAILED - invalid arg 'x-max-length' for queue 'q' in vhost '/': "
			  "\"expected integer, got longstr\"");
	buf_truncate(&table, 0);
	declare_with(table_text(&table, "x-overflow", "up"));
	expect_error(
	    406,
	    "PRECONDITION_FAILED - invalid arg 'x-overflow' for queue 'q' in vhost '/': invalid_overflow");
	buf_truncate(&table, 0);
	declare_with(table_text(&table, "x-queue-type", "zz"));
	expect_error(
	    406, "PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'q' in vhost '/': \"unsupported "
		 "queue type 'zz'\"");
	buf_deinit(&table);
}
END_TEST

START_TEST(queue__exclusive_is_locked_to_other_connections)
{
	CALL(&b, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .exclusive = true);
	CALL(&b, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .exclusive = true);
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .exclusive = true);
	expect_error(405, LOCKED);
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .passive = true);
	expect_error(405, LOCKED);
	SEND(&a, 1, BASIC_CONSUME, basic_consume, .queue = S("q"));
	expect_error(405, LOCKED);
	SEND(&a, 1, BASIC_GET, basic_get, .queue = S("q"));
	expect_error(405, LOCKED);
	SEND(&a, 1, QUEUE_PURGE, queue_purge, .queue = S("q"));
	expect_error(405, LOCKED);
	SEND(&a, 1, QUEUE_DELETE, queue_delete, .queue = S("q"));
	expect_error(405, LOCKED);
	SEND(&a, 1, QUEUE_BIND, queue_bind, .queue = S("q"), .exchange = S("amq.direct"));
	expect_error(405, LOCKED);
}
END_TEST

START_TEST(queue__exclusive_is_never_durable)
{
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .exclusive = true, .durable = true);
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .exclusive = true);
}
END_TEST

START_TEST(queue__exclusive_takes_messages_of_others)
{
	CALL(&b, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .exclusive = true);
	client_publish_to(&a, "q", "x");
	ck_assert_uint_eq(ready(&world, "q"), 1);
}
END_TEST

START_TEST(queue__exclusive_goes_with_its_connection_and_not_with_its_channel)
{
	CALL(&b, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .exclusive = true);
	CALL(&b, 1, CHANNEL_CLOSE, channel_close, .reply_code = 200);
	ck_assert_uint_eq(ready(&world, "q"), 0);
	broker_conn_kill(b.conn, world.now);
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .passive = true);
	expect_error(404, "NOT_FOUND - no queue 'q' in vhost '/'");
}
END_TEST

START_TEST(queue__auto_delete_goes_with_its_last_consumer)
{
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .auto_delete = true);
	client_consume(&a, "q", "one", false);
	client_consume(&b, "q", "two", false);
	CALL(&a, 1, BASIC_CANCEL, basic_cancel, .consumer_tag = S("one"));
	ck_assert_uint_eq(ready(&world, "q"), 0);
	CALL(&b, 1, CHANNEL_CLOSE, channel_close, .reply_code = 200);
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .passive = true);
	expect_error(404, "NOT_FOUND - no queue 'q' in vhost '/'");
}
END_TEST

START_TEST(queue__auto_delete_stays_until_it_had_a_consumer)
{
	CALL(&b, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .auto_delete = true);
	broker_conn_kill(b.conn, world.now);
	ck_assert_uint_eq(ready(&world, "q"), 0);
}
END_TEST

START_TEST(queue__delete_tells_how_many_messages_went)
{
	const struct amqc_method *m;

	client_declare(&a, "q");
	client_publish_to(&a, "q", "1");
	client_publish_to(&a, "q", "2");
	m = CALL(&a, 1, QUEUE_DELETE, queue_delete, .queue = S("q"));
	ck_assert_uint_eq(m->queue_delete_ok.message_count, 2);
	m = CALL(&a, 1, QUEUE_DELETE, queue_delete, .queue = S("q"));
	ck_assert_uint_eq(m->queue_delete_ok.message_count, 0);
}
END_TEST

START_TEST(queue__delete_if_unused_or_empty_is_refused_when_it_is_not)
{
	client_declare(&a, "q");
	client_publish_to(&a, "q", "1");
	SEND(&a, 1, QUEUE_DELETE, queue_delete, .queue = S("q"), .if_empty = true);
	expect_error(406, "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty");
	client_consume(&b, "q", "t", false);
	SEND(&a, 1, QUEUE_DELETE, queue_delete, .queue = S("q"), .if_unused = true);
	expect_error(406, "PRECONDITION_FAILED - queue 'q' in vhost '/' in use");
}
END_TEST

START_TEST(queue__delete_cancels_its_consumers_and_tells_those_that_listen)
{
	struct client deaf = client_new(&world);
	const struct amqc_method *m;

	client_login(&deaf, S("/"), 0, false);
	CALL(&deaf, 1, CHANNEL_OPEN, channel_open);
	client_declare(&a, "q");
	client_consume(&b, "q", "t", false);
	client_consume(&deaf, "q", "t", false);
	CALL(&a, 1, QUEUE_DELETE, queue_delete, .queue = S("q"));
	m = client_expect(&b, 1, AMQC_BASIC_CANCEL);
	ck_assert(span_equal_str(m->basic_cancel.consumer_tag, "t"));
	ck_assert(m->basic_cancel.no_wait);
	client_expect_nothing(&deaf);
	client_end(&deaf);
}
END_TEST

START_TEST(queue__deliveries_of_a_deleted_queue_can_still_be_settled)
{
	client_declare(&a, "q");
	client_consume(&b, "q", "t", false);
	client_publish_to(&a, "q", "1");
	client_publish_to(&a, "q", "2");
	client_expect_delivery(&b, 1, "1", false);
	client_expect_delivery(&b, 2, "2", false);
	CALL(&a, 1, QUEUE_DELETE, queue_delete, .queue = S("q"));
	client_expect(&b, 1, AMQC_BASIC_CANCEL);
	SEND(&b, 1, BASIC_NACK, basic_nack, .delivery_tag = 1, .requeue = true);
	SEND(&b, 1, BASIC_ACK, basic_ack, .delivery_tag = 2);
	client_expect_nothing(&b);
}
END_TEST

START_TEST(queue__purge_drops_what_waits_and_not_what_is_unacked)
{
	const struct amqc_method *m;

	client_declare(&a, "q");
	for (unsigned int i = 0; i < 3; i++)
		client_publish_to(&a, "q", "x");
	SEND(&b, 1, BASIC_GET, basic_get, .queue = S("q"));
	client_expect_content(&b, 1, AMQC_BASIC_GET_OK, "x");
	m = CALL(&a, 1, QUEUE_PURGE, queue_purge, .queue = S("q"));
	ck_assert_uint_eq(m->queue_purge_ok.message_count, 2);
	ck_assert_uint_eq(ready(&world, "q"), 0);
	ck_assert_uint_eq(unacked(&world, "q"), 1);
	SEND(&a, 1, QUEUE_PURGE, queue_purge, .queue = S("none"));
	expect_error(404, "NOT_FOUND - no queue 'none' in vhost '/'");
}
END_TEST

START_TEST(queue__no_wait_is_not_answered)
{
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .no_wait = true);
	SEND(&a, 1, QUEUE_BIND, queue_bind, .queue = S("q"), .exchange = S("amq.direct"), .no_wait = true);
	SEND(&a, 1, QUEUE_PURGE, queue_purge, .queue = S("q"), .no_wait = true);
	client_expect_nothing(&a);
	ck_assert_uint_eq(ready(&world, "q"), 0);
	SEND(&a, 1, QUEUE_DELETE, queue_delete, .queue = S("q"), .no_wait = true);
	client_expect_nothing(&a);
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .passive = true, .no_wait = true);
	expect_error(404, "NOT_FOUND - no queue 'q' in vhost '/'");
}
END_TEST

START_TEST(queue__message_ttl_drops_old_messages)
{
	struct buf table = BUF_INIT;
	const struct amqc_method *m;

	declare_with(table_integer(&table, "x-message-ttl", 1000));
	client_expect(&a, 1, AMQC_QUEUE_DECLARE_OK);
	client_publish_to(&a, "q", "old");
	world_wait(&world, 600 * USEC_PER_MSEC);
	client_publish_to(&a, "q", "new");
	world_wait(&world, 600 * USEC_PER_MSEC);
	m = CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .passive = true);
	ck_assert_uint_eq(m->queue_declare_ok.message_count, 1);
	SEND(&a, 1, BASIC_GET, basic_get, .queue = S("q"));
	client_expect_content(&a, 1, AMQC_BASIC_GET_OK, "new");
	buf_deinit(&table);
}
END_TEST

START_TEST(queue__max_length_drops_the_head)
{
	struct buf table = BUF_INIT;

	declare_with(table_integer(&table, "x-max-length", 2));
	client_expect(&a, 1, AMQC_QUEUE_DECLARE_OK);
	client_publish_to(&a, "q", "1");
	client_publish_to(&a, "q", "2");
	client_publish_to(&a, "q", "3");
	ck_assert_uint_eq(ready(&world, "q"), 2);
	SEND(&a, 1, BASIC_GET, basic_get, .queue = S("q"));
	client_expect_content(&a, 1, AMQC_BASIC_GET_OK, "2");
	buf_deinit(&table);
}
END_TEST

START_TEST(queue__that_rejects_when_full_nacks_the_publish)
{
	struct buf table = BUF_INIT;
	const struct amqc_method *m;

	table_integer(&table, "x-max-length", 1);
	declare_with(table_text(&table, "x-overflow", "reject-publish"));
	client_expect(&a, 1, AMQC_QUEUE_DECLARE_OK);
	CALL(&a, 1, CONFIRM_SELECT, confirm_select);
	client_publish_to(&a, "q", "1");
	m = client_expect(&a, 1, AMQC_BASIC_ACK);
	ck_assert_uint_eq(m->basic_ack.delivery_tag, 1);
	client_publish_to(&a, "q", "2");
	m = client_expect(&a, 1, AMQC_BASIC_NACK);
	ck_assert_uint_eq(m->basic_nack.delivery_tag, 2);
	ck_assert_uint_eq(ready(&world, "q"), 1);
	buf_deinit(&table);
}
END_TEST

START_TEST(queue__expires_when_nobody_used_it)
{
	struct buf table = BUF_INIT;

	declare_with(table_integer(&table, "x-expires", 1000));
	client_expect(&a, 1, AMQC_QUEUE_DECLARE_OK);
	world_wait(&world, 900 * USEC_PER_MSEC);
	SEND(&a, 1, BASIC_GET, basic_get, .queue = S("q"));
	client_expect(&a, 1, AMQC_BASIC_GET_EMPTY);
	world_wait(&world, 900 * USEC_PER_MSEC);
	ck_assert_uint_eq(ready(&world, "q"), 0);
	world_wait(&world, 200 * USEC_PER_MSEC);
	SEND(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .passive = true);
	expect_error(404, "NOT_FOUND - no queue 'q' in vhost '/'");
	buf_deinit(&table);
}
END_TEST

START_TEST(queue__quorum_knows_no_conditional_delete)
{
	struct buf table = BUF_INIT;

	table_text(&table, "x-queue-type", "quorum");
	declare_with(buf_span(&table));
	expect_error(406, "PRECONDITION_FAILED - invalid property 'non-durable' for queue 'q' in vhost '/'");
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .durable = true,
	     .arguments = buf_span(&table));
	SEND(&a, 1, QUEUE_DELETE, queue_delete, .queue = S("q"), .if_unused = true);
	client_expect_connection_close(
	    &a, 540,
	    "NOT_IMPLEMENTED - cannot delete queue 'q' in vhost '/'. queue.delete operations "
	    "with if-unused flag set are not supported by quorum queues");
	buf_deinit(&table);
}
END_TEST

START_TEST(queue__quorum_knows_no_global_qos)
{
	struct buf table = BUF_INIT;

	table_text(&table, "x-queue-type", "quorum");
	CALL(&a, 1, QUEUE_DECLARE, queue_declare, .queue = S("q"), .durable = true,
	     .arguments = buf_span(&table));
	CALL(&a, 1, BASIC_QOS, basic_qos, .prefetch_count = 1, .global = true);
	SEND(&a, 1, BASIC_CONSUME, basic_consume, .queue = S("q"));
	client_expect_connection_close(
	    &a, 540, "NOT_IMPLEMENTED - queue 'q' in vhost '/' does not support global qos");
	buf_deinit(&table);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
	    queue__declare_tells_messages_and_consumers,
	    queue__without_a_name_gets_one_of_its_own,
	    queue__the_empty_name_means_the_last_one_declared_on_the_channel,
	    queue__passive_declare_of_none_is_not_found,
	    queue__names_with_the_reserved_prefix_are_refused,
	    queue__loses_line_ends_in_its_name,
	    queue__declared_again_must_be_the_same,
	    queue__declared_again_must_have_the_same_arguments,
	    queue__arguments_unknown_to_the_broker_are_not_compared,
	    queue__bad_arguments_are_refused,
	    queue__exclusive_is_locked_to_other_connections,
	    queue__exclusive_is_never_durable,
	    queue__exclusive_takes_messages_of_others,
	    queue__exclusive_goes_with_its_connection_and_not_with_its_channel,
	    queue__auto_delete_goes_with_its_last_consumer,
	    queue__auto_delete_stays_until_it_had_a_consumer,
	    queue__delete_tells_how_many_messages_went,
	    queue__delete_if_unused_or_empty_is_refused_when_it_is_not,
	    queue__delete_cancels_its_consumers_and_tells_those_that_listen,
	    queue__deliveries_of_a_deleted_queue_can_still_be_settled,
	    queue__purge_drops_what_waits_and_not_what_is_unacked,
	    queue__no_wait_is_not_answered,
	    queue__message_ttl_drops_old_messages,
	    queue__max_length_drops_the_head,
	    queue__that_rejects_when_full_nacks_the_publish,
	    queue__expires_when_nobody_used_it,
	    queue__quorum_knows_no_conditional_delete,
	    queue__quorum_knows_no_global_qos,
	};

	return RUN_TESTS("broker/queue", tests, setup, teardown);
}
