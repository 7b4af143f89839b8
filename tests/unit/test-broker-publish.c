#include "tests/unit/broker-client.h"

static struct world world;
static struct client a, b;

static void setup(void)
{
	world = world_new(NULL);
	a = client_open(&world);
	b = client_open(&world);
	client_declare(&a, "q");
}

static void teardown(void)
{
	client_end(&a);
	client_end(&b);
	world_end(&world);
}

static void publish_with(const struct amqc_properties *properties)
{
	client_publish(&a, 1, &(struct amqc_basic_publish){.routing_key = S("q")}, properties, S("x"));
}

static void expect_confirm(uint64_t tag, bool multiple)
{
	const struct amqc_method *m = client_expect(&a, 1, AMQC_BASIC_ACK);

	ck_assert_uint_eq(m->basic_ack.delivery_tag, tag);
	ck_assert_int_eq(m->basic_ack.multiple, multiple);
}

START_TEST(publish__without_confirm_mode_is_not_answered)
{
	client_publish_to(&a, "q", "x");
	client_publish_to(&a, "none", "x");
	client_expect_nothing(&a);
	ck_assert_uint_eq(ready(&world, "q"), 1);
}
END_TEST

START_TEST(publish__body_and_properties_arrive_as_they_were)
{
	struct buf headers = BUF_INIT, sent = BUF_INIT;
	struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC, .body_size = 5};

	table_text(&headers, "name", "value");
	header.properties = (struct amqc_properties){.present = AMQC_PROP_HEADERS | AMQC_PROP_CONTENT_TYPE |
								AMQC_PROP_PRIORITY | AMQC_PROP_TIMESTAMP |
								AMQC_PROP_MESSAGE_ID | AMQC_PROP_REPLY_TO,
						     .content_type = S("text/plain"),
						     .headers = buf_span(&headers),
						     .priority = 7,
						     .reply_to = S("back"),
						     .message_id = S("id"),
						     .timestamp = 1234567890};
	ck_assert_int_eq(amqc_content_header_payload_append(&sent, &header), AMQC_OK);
	client_publish(&a, 1, &(struct amqc_basic_publish){.routing_key = S("q")}, &header.properties,
		       S("a\0b\xff!"));
	SEND(&a, 1, BASIC_GET, basic_get, .queue = S("q"), .no_ack = true);
	client_expect(&a, 1, AMQC_BASIC_GET_OK);
	ck_assert(span_equal(span_first(span_skip(buf_span(&a.in), a.last_size + 7), buf_len(&sent)),
			     buf_span(&sent)));
	ck_assert(span_equal(span_first(span_skip(buf_span(&a.in), a.last_size + 8 + buf_len(&sent) + 7), 5),
			     S("a\0b\xff!")));
	buf_deinit(&headers);
	buf_deinit(&sent);
}
END_TEST

START_TEST(publish__empty_body_is_a_message)
{
	client_publish_to(&a, "q", "");
	SEND(&a, 1, BASIC_GET, basic_get, .queue = S("q"), .no_ack = true);
	client_expect_content(&a, 1, AMQC_BASIC_GET_OK, "");
}
END_TEST

START_TEST(publish__large_body_comes_in_many_frames)
{
	size_t size = 300000;
	char *body = malloc(size + 1);

	memset(body, 'x', size);
	body[size] = '\0';
	client_publish(&a, 1, &(struct amqc_basic_publish){.routing_key = S("q")}, NULL,
		       span_make(body, size));
	SEND(&a, 1, BASIC_GET, basic_get, .queue = S("q"), .no_ack = true);
	client_expect_content(&a, 1, AMQC_BASIC_GET_OK, body);
	free(body);
}
END_TEST

START_TEST(publish__mandatory_without_a_queue_is_returned_before_its_confirm)
{
	struct amqc_basic_publish publish = {
	    .exchange = S("amq.direct"), .routing_key = S("no"), .mandatory = true};
	const struct amqc_method *m;

	CALL(&a, 1, CONFIRM_SELECT, confirm_select);
	client_publish(&a, 1, &publish, NULL, S("back"));
	m = client_expect_content(&a, 1, AMQC_BASIC_RETURN, "back");
	ck_assert_uint_eq(m->basic_return.reply_code, 312);
	ck_assert(span_equal_str(m->basic_return.reply_text, "NO_ROUTE"));
	ck_assert(span_equal_str(m->basic_return.exchange, "amq.direct"));
	ck_assert(span_equal_str(m->basic_return.routing_key, "no"));
	expect_confirm(1, false);
}
END_TEST

START_TEST(confirm__each_publish_counts_and_those_of_one_feed_share_a_frame)
{
	struct amqc_method method = {.id = AMQC_BASIC_PUBLISH, .basic_publish.routing_key = S("q")};
	struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC};
	struct buf out = BUF_INIT;

	CALL(&a, 1, CONFIRM_SELECT, confirm_select);
	client_publish_to(&a, "q", "x");
	expect_confirm(1, false);
	for (unsigned int i = 0; i < 5; i++) {
		ck_assert_int_eq(amqc_method_append(&out, 1, &method), AMQC_OK);
		ck_assert_int_eq(amqc_content_header_append(&out, 1, &header), AMQC_OK);
	}
	client_feed(&a, buf_span(&out));
	expect_confirm(6, true);
	client_expect_nothing(&a);
	buf_deinit(&out);
}
END_TEST

START_TEST(confirm__unroutable_is_confirmed)
{
	CALL(&a, 1, CONFIRM_SELECT, confirm_select);
	client_publish_to(&a, "none", "x");
	expect_confirm(1, false);
}
END_TEST

START_TEST(confirm__select_may_be_said_again_but_not_with_transactions)
{
	CALL(&a, 1, CONFIRM_SELECT, confirm_select);
	CALL(&a, 1, CONFIRM_SELECT, confirm_select);
	SEND(&a, 1, TX_SELECT, tx_select);
	client_expect_channel_close(&a, 1, 406,
				    "PRECONDITION_FAILED - cannot switch from confirm to tx mode");
	CALL(&b, 1, TX_SELECT, tx_select);
	SEND(&b, 1, CONFIRM_SELECT, confirm_select);
	client_expect_channel_close(&b, 1, 406,
				    "PRECONDITION_FAILED - cannot switch from tx to confirm mode");
}
END_TEST

START_TEST(publish__expiration_drops_the_message)
{
	struct amqc_properties properties = {.present = AMQC_PROP_EXPIRATION, .expiration = S("1000")};

	publish_with(&properties);
	world_wait(&world, 999 * USEC_PER_MSEC);
	SEND(&a, 1, BASIC_GET, basic_get, .queue = S("q"));
	client_expect_content(&a, 1, AMQC_BASIC_GET_OK, "x");
	publish_with(&properties);
	world_wait(&world, 1000 * USEC_PER_MSEC);
	SEND(&a, 1, BASIC_GET, basic_get, .queue = S("q"));
	client_expect(&a, 1, AMQC_BASIC_GET_EMPTY);
}
END_TEST

START_TEST(publish__expiration_zero_still_reaches_a_waiting_consumer)
{
	struct amqc_properties properties = {.present = AMQC_PROP_EXPIRATION, .expiration = S("0")};

	publish_with(&properties);
	ck_assert_uint_eq(ready(&world, "q"), 0);
	client_consume(&b, "q", "t", true);
	client_expect_nothing(&b);
	publish_with(&properties);
	client_expect_delivery(&b, 1, "x", false);
}
END_TEST

START_TEST(publish__bad_expiration_is_refused)
{
	static const struct {
		const char *value, *text;
	} cases[] = {
	    {"abc", "PRECONDITION_FAILED - invalid expiration 'abc': no_integer"},
	    {"-1", "PRECONDITION_FAILED - invalid expiration '-1': {value_negative,-1}"},
	    {"5x", "PRECONDITION_FAILED - invalid expiration '5x': {leftover_string,\"x\"}"},
	    {"999999999999999",
	     "PRECONDITION_FAILED - invalid expiration '999999999999999': {value_too_large,999999999999999}"},
	};

	for (unsigned int i = 0; i < 4; i++) {
		struct amqc_properties properties = {.present = AMQC_PROP_EXPIRATION,
						     .expiration = span_str(cases[i].value)};

		publish_with(&properties);
		client_expect_channel_close(&a, 1, 406, cases[i].text);
		SEND(&a, 1, CHANNEL_CLOSE_OK, channel_close_ok);
		CALL(&a, 1, CHANNEL_OPEN, channel_open);
	}
}
END_TEST

START_TEST(publish__user_id_must_be_the_own)
{
	struct amqc_properties properties = {.present = AMQC_PROP_USER_ID, .user_id = S("guest")};

	publish_with(&properties);
	client_expect_nothing(&a);
	properties.user_id = S("abc");
	publish_with(&properties);
	client_expect_channel_close(
	    &a, 1, 406,
	    "PRECONDITION_FAILED - user_id property set to 'abc' but authenticated user was 'guest'");
}
END_TEST

START_TEST(publish__immediate_is_not_implemented)
{
	client_publish(&a, 1, &(struct amqc_basic_publish){.routing_key = S("q"), .immediate = true}, NULL,
		       S("x"));
	client_expect_connection_close(&a, 540, "NOT_IMPLEMENTED - immediate=true");
}
END_TEST

START_TEST(publish__larger_than_the_maximum_is_refused_when_it_is_whole)
{
	struct amqc_method method = {.id = AMQC_BASIC_PUBLISH, .basic_publish.routing_key = S("q")};
	struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC, .body_size = 134217729};
	struct buf out = BUF_INIT;
	size_t left = header.body_size;

	ck_assert_int_eq(amqc_method_append(&out, 1, &method), AMQC_OK);
	ck_assert_int_eq(amqc_content_header_append(&out, 1, &header), AMQC_OK);
	client_feed(&a, buf_span(&out));
	buf_deinit(&out);
	while (left > 0) {
		size_t part = left < 131000 ? left : 131000;
		size_t mark = amqc_frame_begin(&out, AMQC_FRAME_BODY, 1);

		client_expect_nothing(&a);
		memset(buf_reserve(&out, part), 'x', part);
		buf_commit(&out, part);
		amqc_frame_end(&out, mark);
		client_feed(&a, buf_span(&out));
		buf_truncate(&out, 0);
		left -= part;
	}
	client_expect_channel_close(
	    &a, 1, 406,
	    "PRECONDITION_FAILED - message size 134217729 is larger than configured max size 134217728");
	buf_deinit(&out);
}
END_TEST

static void take_address(char *ret, size_t size)
{
	struct amqc_content_header header;
	struct amqc_properties properties = {.present = AMQC_PROP_REPLY_TO,
					     .reply_to = S("amq.rabbitmq.reply-to")};

	CALL(&a, 1, BASIC_CONSUME, basic_consume, .queue = S("amq.rabbitmq.reply-to"), .consumer_tag = S("r"),
	     .no_ack = true);
	publish_with(&properties);
	SEND(&b, 1, BASIC_GET, basic_get, .queue = S("q"), .no_ack = true);
	client_expect_content(&b, 1, AMQC_BASIC_GET_OK, "x");
	ck_assert_int_eq(amqc_content_header_decode(b.header, &header), AMQC_OK);
	ck_assert(header.properties.present & AMQC_PROP_REPLY_TO);
	ck_assert_uint_lt(header.properties.reply_to.len, size);
	memcpy(ret, header.properties.reply_to.data, header.properties.reply_to.len);
	ret[header.properties.reply_to.len] = '\0';
}

START_TEST(direct_reply_to__answers_reach_the_channel_that_asked)
{
	char address[256];
	const struct amqc_method *m;

	take_address(address, sizeof(address));
	ck_assert_int_eq(strncmp(address, "amq.rabbitmq.reply-to.", 22), 0);
	client_publish_to(&b, address, "answer");
	m = client_expect_content(&a, 1, AMQC_BASIC_DELIVER, "answer");
	ck_assert(span_equal_str(m->basic_deliver.consumer_tag, "r"));
	ck_assert(span_equal_str(m->basic_deliver.routing_key, address));
	CALL(&b, 1, QUEUE_DECLARE, queue_declare, .queue = span_str(address), .passive = true);
}
END_TEST

START_TEST(direct_reply_to__ends_with_its_consumer_or_channel)
{
	char address[256];

	take_address(address, sizeof(address));
	CALL(&a, 1, BASIC_CANCEL, basic_cancel, .consumer_tag = S("r"));
	client_publish_to(&b, address, "answer");
	client_expect_nothing(&a);
	take_address(address, sizeof(address));
	CALL(&a, 1, CHANNEL_CLOSE, channel_close, .reply_code = 200);
	client_publish_to(&b, address, "answer");
	client_expect_nothing(&a);
	SEND(&b, 1, QUEUE_DECLARE, queue_declare, .queue = span_str(address), .passive = true);
	client_expect(&b, 1, AMQC_CHANNEL_CLOSE);
}
END_TEST

START_TEST(direct_reply_to__asks_for_no_ack_and_one_consumer)
{
	SEND(&a, 1, BASIC_CONSUME, basic_consume, .queue = S("amq.rabbitmq.reply-to"));
	client_expect_channel_close(&a, 1, 406, "PRECONDITION_FAILED - reply consumer cannot acknowledge");
	CALL(&b, 1, BASIC_CONSUME, basic_consume, .queue = S("amq.rabbitmq.reply-to"), .no_ack = true);
	SEND(&b, 1, BASIC_CONSUME, basic_consume, .queue = S("amq.rabbitmq.reply-to"), .no_ack = true);
	client_expect_channel_close(&b, 1, 406, "PRECONDITION_FAILED - reply consumer already set");
}
END_TEST

START_TEST(direct_reply_to__without_a_consumer_the_request_is_refused)
{
	struct amqc_properties properties = {.present = AMQC_PROP_REPLY_TO,
					     .reply_to = S("amq.rabbitmq.reply-to")};

	publish_with(&properties);
	client_expect_channel_close(&a, 1, 406, "PRECONDITION_FAILED - fast reply consumer does not exist");
}
END_TEST

START_TEST(tx__publishes_appear_with_commit)
{
	struct amqc_basic_publish lost = {.routing_key = S("none"), .mandatory = true};

	CALL(&a, 1, TX_SELECT, tx_select);
	client_publish_to(&a, "q", "1");
	client_publish(&a, 1, &lost, NULL, S("2"));
	client_expect_nothing(&a);
	ck_assert_uint_eq(ready(&world, "q"), 0);
	SEND(&a, 1, TX_COMMIT, tx_commit);
	client_expect_content(&a, 1, AMQC_BASIC_RETURN, "2");
	client_expect(&a, 1, AMQC_TX_COMMIT_OK);
	ck_assert_uint_eq(ready(&world, "q"), 1);
}
END_TEST

START_TEST(tx__rollback_forgets_publishes_and_settlings)
{
	CALL(&a, 1, TX_SELECT, tx_select);
	client_publish_to(&b, "q", "1");
	SEND(&a, 1, BASIC_GET, basic_get, .queue = S("q"));
	client_expect_content(&a, 1, AMQC_BASIC_GET_OK, "1");
	client_publish_to(&a, "q", "2");
	SEND(&a, 1, BASIC_ACK, basic_ack, .delivery_tag = 1);
	CALL(&a, 1, TX_ROLLBACK, tx_rollback);
	ck_assert_uint_eq(ready(&world, "q"), 0);
	ck_assert_uint_eq(unacked(&world, "q"), 1);
	SEND(&a, 1, BASIC_ACK, basic_ack, .delivery_tag = 1);
	CALL(&a, 1, TX_COMMIT, tx_commit);
	ck_assert_uint_eq(unacked(&world, "q"), 0);
}
END_TEST

START_TEST(tx__a_tag_is_settled_once)
{
	CALL(&a, 1, TX_SELECT, tx_select);
	client_publish_to(&b, "q", "1");
	SEND(&a, 1, BASIC_GET, basic_get, .queue = S("q"));
	client_expect_content(&a, 1, AMQC_BASIC_GET_OK, "1");
	SEND(&a, 1, BASIC_ACK, basic_ack, .delivery_tag = 1);
	SEND(&a, 1, BASIC_ACK, basic_ack, .delivery_tag = 1);
	client_expect_channel_close(&a, 1, 406, "PRECONDITION_FAILED - unknown delivery tag 1");
	ck_assert_uint_eq(ready(&world, "q"), 1);
}
END_TEST

/* Two frames in one feed. */
static void send_commit_and(enum amqc_method_id id)
{
	struct amqc_method commit = {.id = AMQC_TX_COMMIT}, behind = {.id = id};
	struct buf bytes = BUF_INIT;

	ck_assert_int_eq(amqc_method_append(&bytes, 1, &commit), AMQC_OK);
	ck_assert_int_eq(amqc_method_append(&bytes, 1, &behind), AMQC_OK);
	client_feed(&a, buf_span(&bytes));
	buf_deinit(&bytes);
}

START_TEST(tx__nothing_may_come_behind_an_unanswered_commit)
{
	CALL(&a, 1, TX_SELECT, tx_select);
	CALL(&a, 1, TX_COMMIT, tx_commit);
	CALL(&a, 1, TX_COMMIT, tx_commit);
	send_commit_and(AMQC_BASIC_ACK);
	client_expect_connection_close(&a, 504,
				       "CHANNEL_ERROR - unexpected command while processing 'tx.commit'");
}
END_TEST

START_TEST(tx__recover_leaves_what_the_transaction_has_settled)
{
	CALL(&a, 1, TX_SELECT, tx_select);
	client_publish_to(&b, "q", "1");
	client_publish_to(&b, "q", "2");
	for (int i = 0; i < 2; i++) {
		SEND(&a, 1, BASIC_GET, basic_get, .queue = S("q"));
		client_expect_content(&a, 1, AMQC_BASIC_GET_OK, i == 0 ? "1" : "2");
	}
	SEND(&a, 1, BASIC_ACK, basic_ack, .delivery_tag = 1);
	CALL(&a, 1, BASIC_RECOVER, basic_recover, .requeue = true);
	ck_assert_uint_eq(ready(&world, "q"), 1);
	CALL(&a, 1, TX_COMMIT, tx_commit);
	ck_assert_uint_eq(unacked(&world, "q"), 0);
}
END_TEST

START_TEST(tx__commit_and_rollback_need_select)
{
	SEND(&a, 1, TX_COMMIT, tx_commit);
	client_expect_channel_close(&a, 1, 406, "PRECONDITION_FAILED - channel is not transactional");
	SEND(&b, 1, TX_ROLLBACK, tx_rollback);
	client_expect_channel_close(&b, 1, 406, "PRECONDITION_FAILED - channel is not transactional");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
	    publish__without_confirm_mode_is_not_answered,
	    publish__body_and_properties_arrive_as_they_were,
	    publish__empty_body_is_a_message,
	    publish__large_body_comes_in_many_frames,
	    publish__mandatory_without_a_queue_is_returned_before_its_confirm,
	    confirm__each_publish_counts_and_those_of_one_feed_share_a_frame,
	    confirm__unroutable_is_confirmed,
	    confirm__select_may_be_said_again_but_not_with_transactions,
	    publish__expiration_drops_the_message,
	    publish__expiration_zero_still_reaches_a_waiting_consumer,
	    publish__bad_expiration_is_refused,
	    publish__user_id_must_be_the_own,
	    publish__immediate_is_not_implemented,
	    publish__larger_than_the_maximum_is_refused_when_it_is_whole,
	    direct_reply_to__answers_reach_the_channel_that_asked,
	    direct_reply_to__ends_with_its_consumer_or_channel,
	    direct_reply_to__asks_for_no_ack_and_one_consumer,
	    direct_reply_to__without_a_consumer_the_request_is_refused,
	    tx__publishes_appear_with_commit,
	    tx__rollback_forgets_publishes_and_settlings,
	    tx__a_tag_is_settled_once,
	    tx__nothing_may_come_behind_an_unanswered_commit,
	    tx__recover_leaves_what_the_transaction_has_settled,
	    tx__commit_and_rollback_need_select,
	};

	return RUN_TESTS("broker/publish", tests, setup, teardown);
}
