#include "tests/unit/mux-rig.h"

#include <stdlib.h>

static struct rig rig;
static uint8_t big[400000];

static void expect_outcome(struct rig_session *session, enum outcome_kind kind, uint64_t first, uint64_t last)
{
	const struct rig_event *event = rig_event_of(session, RIG_OUTCOME);

	ck_assert_int_eq(event->outcome, kind);
	ck_assert_uint_eq(event->first, first);
	ck_assert_uint_eq(event->last, last);
}

static void skip_frames(void)
{
	struct rig_frame frame;

	while (rig_next(&rig, &frame))
		;
}

/* Skips all that was sent. */
static int publishes_left(void)
{
	struct rig_frame frame;
	int count = 0;

	while (rig_next(&rig, &frame))
		count += frame.type == AMQC_FRAME_METHOD && frame.method.id == AMQC_BASIC_PUBLISH;
	return count;
}

START_TEST(publish__body_slices_are_never_interleaved_with_a_method_on_the_same_lane)
{
	struct rig_session *session;
	size_t left[3] = {0}, bodies[3] = {0};
	unsigned int switches = 0;
	uint16_t before = 0;
	struct rig_frame frame;

	rig_up(&rig);
	session = rig_ready(&rig, 2);
	for (uint32_t channel = 1; channel <= 2; channel++) {
		rig_publish(session, channel, "q", span_make(big, 150000));
		rig_declare(session, channel, "d", false);
		rig_publish(session, channel, "q", span_make(big, 20000));
	}
	rig_turn(&rig);
	while (rig_next(&rig, &frame)) {
		ck_assert_uint_le(frame.lane, 2);
		ck_assert_msg((left[frame.lane] > 0) == (frame.type == AMQC_FRAME_BODY),
			      "a frame of type %u while %zu bytes are due", frame.type, left[frame.lane]);
		if (frame.type == AMQC_FRAME_HEADER) {
			struct amqc_content_header header;

			ck_assert_int_eq(amqc_content_header_decode(frame.payload, &header), AMQC_OK);
			left[frame.lane] = (size_t)header.body_size;
		} else if (frame.type == AMQC_FRAME_BODY) {
			left[frame.lane] -= frame.payload.len;
			bodies[frame.lane] += frame.payload.len;
			switches += frame.lane != before;
			before = frame.lane;
		}
	}
	ck_assert_uint_eq(bodies[1], 170000);
	ck_assert_uint_eq(bodies[2], 170000);
	/* Slices of the two take turns. */
	ck_assert_uint_ge(switches, 10);
	rig_free(&rig);
}
END_TEST

/* A close that is due while a body is half-way waits for its end. */
START_TEST(publish__is_sent_whole_though_its_session_ends_in_the_middle)
{
	struct buf *out;
	struct rig_session *session;
	struct rig_frame frame;
	size_t body = 0;

	rig_up(&rig);
	session = rig_ready(&rig, 1);
	rig_publish(session, 1, "q", span_make(big, 200000));
	mux_turn(rig.mux);
	out = upstream_output(rig.upstream);
	ck_assert_uint_lt(buf_len(out), 200000);
	rig_end(session);
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_expect(&rig, AMQC_BASIC_PUBLISH, &frame);
	while (rig_next(&rig, &frame)) {
		ck_assert_uint_ne(frame.type, AMQC_FRAME_METHOD);
		body += frame.type == AMQC_FRAME_BODY ? frame.payload.len : 0;
	}
	ck_assert_uint_eq(body, 200000);
	ck_assert(!upstream_is_drained(rig.upstream));
	rig_ack(&rig, 1, 1, false);
	rig_turn(&rig);
	rig_expect(&rig, AMQC_CHANNEL_CLOSE, &frame);
	ck_assert(upstream_is_drained(rig.upstream));
	rig_free(&rig);
}
END_TEST

START_TEST(publish__goes_to_its_names_and_not_to_those_of_the_last_one)
{
	static const struct amqc_properties plain;
	static char long_key[256];
	static const struct {
		const char *exchange, *key;
		bool mandatory;
	} names[] = {
	    {"events", "a", false}, {"events", "a", false}, {"events", "b", false}, {"events", "b", true},
	    {"event", "sb", true},  {"", "eventsb", true},  {"", "", false},	    {"", "", false},
	    {"events", "", false},  {"", long_key, false},  {"", long_key, false},  {"events", "a", false},
	};
	struct rig_session *session;
	struct rig_frame frame;

	memset(long_key, 'k', 255);
	rig_up(&rig);
	session = rig_ready(&rig, 1);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		session_publish(session->session,
				&(struct mux_publish){.channel = 1,
						      .cost_bytes = 10,
						      .exchange = span_str(names[i].exchange),
						      .routing_key = span_str(names[i].key),
						      .mandatory = names[i].mandatory,
						      .properties = &plain});
	rig_turn(&rig);
	rig_open_lane(&rig);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		rig_expect(&rig, AMQC_BASIC_PUBLISH, &frame);
		ck_assert(span_equal_str(frame.method.basic_publish.exchange, names[i].exchange));
		ck_assert(span_equal_str(frame.method.basic_publish.routing_key, names[i].key));
		ck_assert_int_eq(frame.method.basic_publish.mandatory, names[i].mandatory);
		ck_assert(rig_next(&rig, &frame));
	}
	rig_free(&rig);
}
END_TEST

START_TEST(publish__frames_fit_into_the_brokers_frame_max)
{
	struct rig_session *session;
	struct rig_frame frame;
	size_t body = 0;

	rig_init(&rig);
	rig_start(&rig);
	rig_connect(&rig, 10, 4096);
	session = rig_ready(&rig, 1);
	rig_publish(session, 1, "q", span_make(big, 10000));
	rig_turn(&rig);
	while (rig_next(&rig, &frame)) {
		ck_assert_uint_le(frame.payload.len + AMQC_FRAME_OVERHEAD, 4096);
		body += frame.type == AMQC_FRAME_BODY ? frame.payload.len : 0;
	}
	ck_assert_uint_eq(body, 10000);
	rig_free(&rig);
}
END_TEST

START_TEST(publish__properties_beyond_frame_max_fail_alone)
{
	struct amqc_properties properties = {.present = AMQC_PROP_HEADERS};
	struct buf table = BUF_INIT;
	struct mux_publish publish = {.channel = 1, .cost_bytes = 100, .properties = &properties};
	struct rig_session *session;
	struct rig_frame frame;

	rig_init(&rig);
	rig_start(&rig);
	rig_connect(&rig, 10, 4096);
	session = rig_ready(&rig, 1);
	amqc_field_append_str(&table, "large", span_make(big, 5000));
	properties.headers = buf_span(&table);
	session_publish(session->session, &publish);
	rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_turn(&rig);
	rig_open_lane(&rig);
	expect_outcome(session, OUTCOME_NOT_SENT, 1, 1);
	rig_expect(&rig, AMQC_BASIC_PUBLISH, &frame);
	rig_ack(&rig, 1, 1, false);
	rig_turn(&rig);
	expect_outcome(session, OUTCOME_CONFIRMED, 2, 2);
	ck_assert_uint_eq(rig.hang_ups, 0);
	buf_deinit(&table);
	rig_free(&rig);
}
END_TEST

START_TEST(publish__confirms_are_told_in_ranges_each_once)
{
	struct rig_session *session;

	rig_up(&rig);
	session = rig_ready(&rig, 1);
	for (int i = 0; i < 10; i++)
		rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_ack(&rig, 1, 3, false);
	rig_ack(&rig, 1, 5, true);
	rig_ack(&rig, 1, 5, true);
	rig_ack(&rig, 1, 2, false);
	rig_ack(&rig, 1, 7, false);
	rig_turn(&rig);
	expect_outcome(session, OUTCOME_CONFIRMED, 3, 3);
	expect_outcome(session, OUTCOME_CONFIRMED, 1, 2);
	expect_outcome(session, OUTCOME_CONFIRMED, 4, 5);
	expect_outcome(session, OUTCOME_CONFIRMED, 7, 7);
	/* 0 with multiple: all there are (specification, basic.ack). */
	rig_ack(&rig, 1, 0, true);
	rig_turn(&rig);
	expect_outcome(session, OUTCOME_CONFIRMED, 6, 6);
	expect_outcome(session, OUTCOME_CONFIRMED, 8, 10);
	rig_expect_no_event(session);
	rig_free(&rig);
}
END_TEST

START_TEST(publish__a_nack_of_the_brokers_is_told_so)
{
	struct amqc_method nack = {.id = AMQC_BASIC_NACK};
	struct rig_session *session;

	rig_up(&rig);
	session = rig_ready(&rig, 1);
	for (int i = 0; i < 3; i++)
		rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_turn(&rig);
	rig_open_lane(&rig);
	nack.basic_nack.delivery_tag = 2;
	nack.basic_nack.multiple = true;
	rig_say(&rig, 1, &nack);
	rig_ack(&rig, 1, 3, false);
	rig_turn(&rig);
	expect_outcome(session, OUTCOME_NACKED, 1, 2);
	expect_outcome(session, OUTCOME_CONFIRMED, 3, 3);
	rig_free(&rig);
}
END_TEST

START_TEST(publish__a_confirm_of_what_was_not_sent_ends_the_connection)
{
	struct rig_session *session;

	rig_up(&rig);
	session = rig_ready(&rig, 1);
	rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_ack(&rig, 1, 2, false);
	ck_assert_uint_eq(rig.hang_ups, 1);
	rig_free(&rig);
}
END_TEST

static void publish_mandatory(struct rig_session *session, const char *key, const char *id)
{
	struct amqc_properties properties = {.present = AMQC_PROP_MESSAGE_ID, .message_id = span_str(id)};
	struct mux_publish publish = {.channel = 1,
				      .cost_bytes = 10,
				      .routing_key = span_str(key),
				      .mandatory = true,
				      .properties = &properties,
				      .body = SPAN_LITERAL("same")};

	session_publish(session->session, &publish);
}

static void say_returned(const char *key, const char *id)
{
	struct amqc_method method = {.id = AMQC_BASIC_RETURN};
	struct amqc_content_header header = {
	    AMQC_CLASS_BASIC, 4, {.present = AMQC_PROP_MESSAGE_ID, .message_id = span_str(id)}};
	struct buf bytes = BUF_INIT;

	method.basic_return.reply_code = 312;
	method.basic_return.routing_key = span_str(key);
	ck_assert_int_eq(amqc_method_append(&bytes, 1, &method), AMQC_OK);
	ck_assert_int_eq(amqc_content_header_append(&bytes, 1, &header), AMQC_OK);
	amqc_body_append(&bytes, 1, SPAN_LITERAL("same"), 131072);
	ck_assert_uint_eq(upstream_feed(rig.upstream, buf_span(&bytes)), buf_len(&bytes));
	buf_deinit(&bytes);
}

START_TEST(publish__a_return_finds_its_publish_by_key_and_properties)
{
	struct rig_session *session;

	rig_up(&rig);
	session = rig_ready(&rig, 1);
	publish_mandatory(session, "a", "1");
	publish_mandatory(session, "b", "2");
	publish_mandatory(session, "b", "3");
	publish_mandatory(session, "b", "4");
	rig_turn(&rig);
	rig_open_lane(&rig);
	say_returned("b", "3"); /* number 2 was routed, and is not confirmed yet */
	say_returned("b", "changed by the broker");
	ck_assert_uint_eq(rig_event_of(session, RIG_RETURNED)->first, 3);
	ck_assert_uint_eq(rig_event_of(session, RIG_RETURNED)->first, 2);
	rig_ack(&rig, 1, 4, true);
	rig_turn(&rig);
	expect_outcome(session, OUTCOME_CONFIRMED, 1, 1);
	expect_outcome(session, OUTCOME_RETURNED, 2, 3);
	expect_outcome(session, OUTCOME_CONFIRMED, 4, 4);
	rig_free(&rig);
}
END_TEST

START_TEST(publish__a_return_behind_the_deadline_does_not_take_the_next_ones)
{
	struct rig_session *session;

	rig_up(&rig);
	session = rig_ready(&rig, 1);
	publish_mandatory(session, "a", "1");
	rig_pass(&rig, 299 * USEC_PER_SEC);
	publish_mandatory(session, "a", "1");
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_pass(&rig, 2 * USEC_PER_SEC);
	expect_outcome(session, OUTCOME_UNKNOWN, 1, 1);
	say_returned("a", "1");
	rig_expect_no_event(session);
	say_returned("a", "1");
	ck_assert_uint_eq(rig_event_of(session, RIG_RETURNED)->first, 2);
	rig_ack(&rig, 1, 2, true);
	rig_turn(&rig);
	expect_outcome(session, OUTCOME_RETURNED, 2, 2);
	rig_free(&rig);
}
END_TEST

START_TEST(publish__credit_of_a_returned_one_comes_back_when_its_bytes_were_taken)
{
	struct session_info info;
	struct rig_session *session;
	uint64_t before, after;

	rig_up(&rig);
	session = rig_ready(&rig, 1);
	rig_turn(&rig);
	ck_assert(mux_next_session(rig.mux, 0, &info));
	before = info.memory_used;
	publish_mandatory(session, "a", "1");
	rig_turn(&rig);
	rig_open_lane(&rig);
	say_returned("a", "1");
	rig_ack(&rig, 1, 1, false);
	rig_turn(&rig);
	session_written(session->session, session->position);
	rig_turn(&rig);
	ck_assert(mux_next_session(rig.mux, 0, &info));
	after = info.memory_used;
	ck_assert_uint_le(after, before + 65536);
	rig_free(&rig);
}
END_TEST

/* ------------------------------------------------------------------ waiting */

START_TEST(publish__a_full_window_holds_publishes_but_not_acks)
{
	struct rig_session *session;
	struct rig_frame frame;

	rig_init(&rig);
	rig.upstream_options.unconfirmed_messages = 2;
	rig_start(&rig);
	rig_connect(&rig, 10, 131072);
	session = rig_ready(&rig, 2);
	rig_consume(session, 1, 1, "q", "tag", 10);
	rig_serve(&rig);
	for (int i = 0; i < 3; i++)
		rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_turn(&rig);
	skip_frames();
	rig_deliver(&rig, 1, "tag", 1, "m");
	session_settle(session->session, 1, SETTLE_ACK, 1, 1);
	rig_turn(&rig);
	rig_expect(&rig, AMQC_BASIC_ACK, &frame);
	rig_declare(session, 2, "other", false);
	rig_turn(&rig);
	ck_assert_uint_eq(rig_open_lane(&rig), 2);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	rig_expect_silence(&rig);
	/* Room for one more. */
	rig_ack(&rig, 1, 1, false);
	rig_turn(&rig);
	rig_expect(&rig, AMQC_BASIC_PUBLISH, &frame);
	rig_free(&rig);
}
END_TEST

START_TEST(publish__the_window_counts_bytes_and_lets_one_message_of_any_size_through)
{
	struct rig_session *session;
	struct rig_frame frame;

	rig_init(&rig);
	rig.upstream_options.unconfirmed_bytes = 1000;
	rig_start(&rig);
	rig_connect(&rig, 10, 131072);
	session = rig_ready(&rig, 1);
	rig_publish(session, 1, "q", span_make(big, 5000));
	rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_expect(&rig, AMQC_BASIC_PUBLISH, &frame);
	ck_assert_uint_eq(publishes_left(), 0);
	rig_ack(&rig, 1, 1, false);
	rig_turn(&rig);
	rig_expect(&rig, AMQC_BASIC_PUBLISH, &frame);
	rig_free(&rig);
}
END_TEST

/* What a failed channel had in the window is room for the others. */
START_TEST(publish__a_failed_channel_gives_its_part_of_the_window_back)
{
	struct rig_session *session;
	struct rig_frame frame;

	rig_init(&rig);
	rig.upstream_options.unconfirmed_messages = 1;
	rig_start(&rig);
	rig_connect(&rig, 10, 131072);
	session = rig_ready(&rig, 2);
	rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_publish(session, 2, "q", SPAN_LITERAL("y"));
	rig_turn(&rig);
	skip_frames();
	rig_close_lane(&rig, 1, 404, "NOT_FOUND");
	rig_turn(&rig);
	rig_expect(&rig, AMQC_CHANNEL_CLOSE_OK, &frame);
	ck_assert_uint_eq(rig_expect(&rig, AMQC_BASIC_PUBLISH, &frame), 2);
	rig_free(&rig);
}
END_TEST

static void say_blocked(bool blocked)
{
	struct amqc_method method = {.id = blocked ? AMQC_CONNECTION_BLOCKED : AMQC_CONNECTION_UNBLOCKED};

	rig_say(&rig, 0, &method);
}

START_TEST(publish__an_alarm_holds_publishes_and_nothing_else)
{
	struct rig_session *session;
	struct upstream_info info;
	struct rig_frame frame;

	rig_up(&rig);
	session = rig_ready(&rig, 2);
	say_blocked(true);
	upstream_get_info(rig.upstream, &info);
	ck_assert_int_eq(info.state, UPSTREAM_BLOCKED);
	rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_declare(session, 2, "d", false);
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_open_lane(&rig);
	ck_assert_uint_eq(rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame), 2);
	rig_expect_silence(&rig);
	say_blocked(false);
	rig_turn(&rig);
	ck_assert_uint_eq(rig_expect(&rig, AMQC_BASIC_PUBLISH, &frame), 1);
	rig_free(&rig);
}
END_TEST

/* ------------------------------------------------------------------ deadlines */

/* Neighbours of one kind, told in one turn. */
START_TEST(publish__each_reason_is_told_to_those_that_have_it)
{
	struct amqc_properties large = {.present = AMQC_PROP_HEADERS};
	struct amqc_properties brief = {.present = AMQC_PROP_EXPIRATION, .expiration = SPAN_LITERAL("1")};
	struct buf table = BUF_INIT;
	struct mux_publish publish = {.channel = 1, .cost_bytes = 100};
	struct rig_session *session;
	const struct rig_event *event;

	rig_init(&rig);
	rig_start(&rig);
	rig_connect(&rig, 10, 4096);
	session = rig_ready(&rig, 1);
	amqc_field_append_str(&table, "large", span_make(big, 5000));
	large.headers = buf_span(&table);
	for (int i = 0; i < 4; i++) {
		publish.properties = i < 2 ? &large : &brief;
		session_publish(session->session, &publish);
	}
	rig_pass(&rig, 2 * USEC_PER_MSEC);
	rig_open_lane(&rig);
	for (uint64_t first = 1; first <= 3; first += 2) {
		event = rig_event_of(session, RIG_OUTCOME);
		ck_assert_int_eq(event->outcome, OUTCOME_NOT_SENT);
		ck_assert_uint_eq(event->first, first);
		ck_assert_uint_eq(event->last, first + 1);
		ck_assert_uint_eq(event->code, first == 1 ? AMQC_FRAME_ERROR : AMQC_PRECONDITION_FAILED);
	}
	rig_expect_no_event(session);
	buf_deinit(&table);
	rig_free(&rig);
}
END_TEST

START_TEST(publish__a_deadline_passed_is_not_sent_or_unknown)
{
	struct rig_session *session;
	const struct rig_event *event;

	rig_init(&rig);
	rig.upstream_options.unconfirmed_messages = 1;
	rig_start(&rig);
	rig_connect(&rig, 10, 131072);
	session = rig_ready(&rig, 1);
	rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_publish(session, 1, "q", SPAN_LITERAL("y"));
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_pass(&rig, 300 * USEC_PER_SEC - 1);
	rig_expect_no_event(session);
	rig_pass(&rig, 1);
	event = rig_event_of(session, RIG_OUTCOME);
	ck_assert_int_eq(event->outcome, OUTCOME_UNKNOWN);
	ck_assert_uint_eq(event->code, 408);
	ck_assert(event->retryable);
	event = rig_event_of(session, RIG_OUTCOME);
	ck_assert_int_eq(event->outcome, OUTCOME_NOT_SENT);
	ck_assert_uint_eq(event->first, 2);
	/* The broker's late word changes nothing, and the channel works on. */
	rig_ack(&rig, 1, 1, false);
	rig_publish(session, 1, "q", SPAN_LITERAL("z"));
	rig_turn(&rig);
	rig_ack(&rig, 1, 2, false);
	rig_turn(&rig);
	expect_outcome(session, OUTCOME_CONFIRMED, 3, 3);
	rig_expect_no_event(session);
	rig_free(&rig);
}
END_TEST

/* Else each deadline would cost a look at all the others. */
START_TEST(publish__very_many_deadlines_are_looked_at_with_a_pause_for_each)
{
	const uint32_t count = 1000;
	struct amqc_properties properties = {0};
	struct mux_publish publish = {.channel = 1, .cost_bytes = 10, .properties = &properties};
	struct rig_session *session;
	const struct rig_event *event;

	rig_init(&rig);
	rig_start(&rig);
	session = rig_ready(&rig, 1);
	for (uint32_t i = 0; i < count; i++) {
		publish.timeout_usec = USEC_PER_SEC + i;
		session_publish(session->session, &publish);
		if (i % 16 == 0)
			rig_turn(&rig);
	}
	rig_pass(&rig, USEC_PER_SEC);
	event = rig_event_of(session, RIG_OUTCOME);
	ck_assert_uint_eq(event->first, 1);
	ck_assert_uint_eq(event->last, 1);
	rig_pass(&rig, count - 1);
	rig_expect_no_event(session);
	rig_pass(&rig, 1);
	event = rig_event_of(session, RIG_OUTCOME);
	ck_assert_uint_eq(event->first, 2);
	ck_assert_uint_eq(event->last, count);
	ck_assert_int_eq(event->outcome, OUTCOME_NOT_SENT);
	rig_free(&rig);
}
END_TEST

START_TEST(publish__a_lost_connection_repeats_marked_what_it_had_and_sends_what_it_had_not)
{
	struct amqc_content_header header;
	struct amqc_field field;
	struct rig_session *session;
	struct rig_frame frame;

	rig_init(&rig);
	rig.upstream_options.unconfirmed_messages = 1;
	rig_start(&rig);
	rig_connect(&rig, 10, 131072);
	session = rig_ready(&rig, 1);
	rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_publish(session, 1, "q", SPAN_LITERAL("y"));
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_lose(&rig);
	rig_turn(&rig);
	rig_expect_no_event(session);
	rig_pass(&rig, 30 * USEC_PER_SEC);
	rig_connect(&rig, 10, 131072);
	rig_open_lane(&rig);
	rig_expect(&rig, AMQC_BASIC_PUBLISH, &frame);
	ck_assert(rig_next(&rig, &frame));
	ck_assert_int_eq(amqc_content_header_decode(frame.payload, &header), AMQC_OK);
	ck_assert(header.properties.present & AMQC_PROP_HEADERS);
	ck_assert(amqc_table_find(header.properties.headers, "x-muxd-resent", &field));
	skip_frames();
	rig_ack(&rig, 1, 1, false);
	rig_turn(&rig);
	rig_expect(&rig, AMQC_BASIC_PUBLISH, &frame);
	ck_assert(rig_next(&rig, &frame));
	ck_assert_int_eq(amqc_content_header_decode(frame.payload, &header), AMQC_OK);
	ck_assert(!(header.properties.present & AMQC_PROP_HEADERS));
	skip_frames();
	rig_ack(&rig, 1, 2, false);
	rig_turn(&rig);
	expect_outcome(session, OUTCOME_CONFIRMED, 1, 1);
	expect_outcome(session, OUTCOME_CONFIRMED, 2, 2);
	rig_free(&rig);
}
END_TEST

/* What its client says it sent in another session, so long ago. */
static void publish_resent(struct rig_session *session, uint32_t age_ms, const char *expiration)
{
	struct amqc_properties properties = {.present = expiration ? AMQC_PROP_EXPIRATION : 0,
					     .expiration = span_str(expiration ? expiration : "")};
	struct mux_publish publish = {.channel = 1,
				      .cost_bytes = 10,
				      .routing_key = SPAN_LITERAL("q"),
				      .resent = true,
				      .age_ms = age_ms,
				      .properties = &properties,
				      .body = SPAN_LITERAL("x")};

	session_publish(session->session, &publish);
	rig_turn(&rig);
}

/* The properties of the publish that goes out next; its body is skipped. */
static struct amqc_properties sent_properties(void)
{
	struct amqc_content_header header;
	struct rig_frame frame;

	rig_expect(&rig, AMQC_BASIC_PUBLISH, &frame);
	ck_assert(rig_next(&rig, &frame));
	ck_assert_int_eq(amqc_content_header_decode(frame.payload, &header), AMQC_OK);
	return header.properties;
}

START_TEST(publish__one_of_an_earlier_session_is_marked_from_the_first_time_on)
{
	struct amqc_properties properties;
	struct rig_session *session;
	struct amqc_field field;

	rig_up(&rig);
	session = rig_ready(&rig, 1);
	rig_publish(session, 1, "q", SPAN_LITERAL("new"));
	rig_turn(&rig);
	rig_open_lane(&rig);
	ck_assert(!(sent_properties().present & AMQC_PROP_HEADERS));
	skip_frames();
	publish_resent(session, 0, "60000");
	properties = sent_properties();
	ck_assert(properties.present & AMQC_PROP_HEADERS);
	ck_assert(amqc_table_find(properties.headers, "x-muxd-resent", &field));
	ck_assert(field.value.boolean);
	ck_assert(span_equal_str(properties.expiration, "60000"));
	skip_frames();
	rig_ack(&rig, 1, 2, true);
	rig_turn(&rig);
	expect_outcome(session, OUTCOME_CONFIRMED, 1, 2);
	rig_free(&rig);
}
END_TEST

START_TEST(publish__one_of_an_earlier_session_is_never_certainly_not_there)
{
	struct rig_session *session;

	rig_init(&rig);
	rig_start(&rig);
	session = rig_ready(&rig, 1);
	publish_resent(session, 0, NULL);
	rig_pass(&rig, 300 * USEC_PER_SEC);
	expect_outcome(session, OUTCOME_UNKNOWN, 1, 1);
	/* Likewise when its channel fails, and after that. */
	publish_resent(session, 0, NULL);
	session_settle(session->session, 1, SETTLE_ACK, 9, 9);
	publish_resent(session, 0, NULL);
	expect_outcome(session, OUTCOME_UNKNOWN, 2, 2);
	(void)rig_event_of(session, RIG_CHANNEL_ENDED);
	expect_outcome(session, OUTCOME_UNKNOWN, 3, 3);
	rig_expect_no_event(session);
	rig_free(&rig);
}
END_TEST

START_TEST(publish__its_age_counts_against_its_expiration_and_not_against_its_deadline)
{
	struct rig_session *session;

	rig_up(&rig);
	session = rig_ready(&rig, 1);
	publish_resent(session, 400000, "500000");
	rig_open_lane(&rig);
	ck_assert(span_equal_str(sent_properties().expiration, "100000"));
	skip_frames();
	publish_resent(session, UINT32_MAX, "500000");
	expect_outcome(session, OUTCOME_UNKNOWN, 2, 2);
	publish_resent(session, 500, "500");
	expect_outcome(session, OUTCOME_UNKNOWN, 3, 3);
	rig_expect_silence(&rig);
	rig_pass(&rig, 300 * USEC_PER_SEC - 1);
	rig_expect_no_event(session);
	rig_free(&rig);
}
END_TEST

START_TEST(publish__a_returned_one_is_not_repeated_on_the_next_connection)
{
	struct rig_session *session;

	rig_up(&rig);
	session = rig_ready(&rig, 1);
	publish_mandatory(session, "a", "1");
	rig_turn(&rig);
	rig_open_lane(&rig);
	say_returned("a", "1");
	(void)rig_event_of(session, RIG_RETURNED);
	rig_lose(&rig);
	rig_turn(&rig);
	expect_outcome(session, OUTCOME_RETURNED, 1, 1);
	rig_pass(&rig, 30 * USEC_PER_SEC);
	rig_connect(&rig, 10, 131072);
	rig_expect_silence(&rig);
	rig_free(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux-publish");
	TCase *tcase = tcase_create("mux-publish");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, publish__body_slices_are_never_interleaved_with_a_method_on_the_same_lane);
	tcase_add_test(tcase, publish__is_sent_whole_though_its_session_ends_in_the_middle);
	tcase_add_test(tcase, publish__goes_to_its_names_and_not_to_those_of_the_last_one);
	tcase_add_test(tcase, publish__frames_fit_into_the_brokers_frame_max);
	tcase_add_test(tcase, publish__properties_beyond_frame_max_fail_alone);
	tcase_add_test(tcase, publish__confirms_are_told_in_ranges_each_once);
	tcase_add_test(tcase, publish__a_nack_of_the_brokers_is_told_so);
	tcase_add_test(tcase, publish__a_confirm_of_what_was_not_sent_ends_the_connection);
	tcase_add_test(tcase, publish__a_return_finds_its_publish_by_key_and_properties);
	tcase_add_test(tcase, publish__a_return_behind_the_deadline_does_not_take_the_next_ones);
	tcase_add_test(tcase, publish__credit_of_a_returned_one_comes_back_when_its_bytes_were_taken);
	tcase_add_test(tcase, publish__a_full_window_holds_publishes_but_not_acks);
	tcase_add_test(tcase, publish__the_window_counts_bytes_and_lets_one_message_of_any_size_through);
	tcase_add_test(tcase, publish__a_failed_channel_gives_its_part_of_the_window_back);
	tcase_add_test(tcase, publish__an_alarm_holds_publishes_and_nothing_else);
	tcase_add_test(tcase, publish__each_reason_is_told_to_those_that_have_it);
	tcase_add_test(tcase, publish__a_deadline_passed_is_not_sent_or_unknown);
	tcase_add_test(tcase, publish__very_many_deadlines_are_looked_at_with_a_pause_for_each);
	tcase_add_test(tcase,
		       publish__a_lost_connection_repeats_marked_what_it_had_and_sends_what_it_had_not);
	tcase_add_test(tcase, publish__a_returned_one_is_not_repeated_on_the_next_connection);
	tcase_add_test(tcase, publish__one_of_an_earlier_session_is_marked_from_the_first_time_on);
	tcase_add_test(tcase, publish__one_of_an_earlier_session_is_never_certainly_not_there);
	tcase_add_test(tcase, publish__its_age_counts_against_its_expiration_and_not_against_its_deadline);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
