/*
 * Blame, scout and probe, against the test broker's engine: its traps end the
 * connection of who uses them (tests/broker/trap.c).
 */
#include "tests/broker/broker.h"
#include "tests/unit/mux-rig.h"

#include <stdlib.h>

static struct rig rig;
static struct broker *broker;
static struct broker_conn *first, *scout;
static unsigned int dials, hang_ups, scout_dials, scout_hang_ups;
static bool broker_is_away;
static enum amqc_method_id kept_from_first, kept_from_scout; /* what holds this stays in the output */

/* ------------------------------------------------------------------ the two connections */

static void open_asked(void)
{
	if (rig.dials > dials) {
		dials = rig.dials;
		first = broker_conn_new(broker, NULL, rig.now);
		upstream_dialled(rig.upstream);
	}
	if (rig.scout_dials > scout_dials) {
		scout_dials = rig.scout_dials;
		scout = broker_is_away ? NULL : broker_conn_new(broker, NULL, rig.now);
		if (scout)
			upstream_scout_dialled(rig.upstream);
		else
			upstream_scout_dial_failed(rig.upstream, "connection refused");
	}
}

static void close_asked(void)
{
	if (rig.hang_ups > hang_ups) {
		hang_ups = rig.hang_ups;
		first = broker_conn_free(first, rig.now);
	}
	if (rig.scout_hang_ups > scout_hang_ups) {
		scout_hang_ups = rig.scout_hang_ups;
		scout = broker_conn_free(scout, rig.now);
	}
}

/* What the broker says goes to mux; true: there was something. */
static bool hear(struct broker_conn **conn, size_t (*feed)(struct upstream *, struct span),
		 void (*lost)(struct upstream *, const char *))
{
	struct buf bytes = BUF_INIT;
	bool any = *conn && broker_conn_output(*conn).len > 0;

	if (any) {
		buf_append_span(&bytes, broker_conn_output(*conn));
		broker_conn_sent(*conn, buf_len(&bytes), rig.now);
		(void)feed(rig.upstream, buf_span(&bytes));
		buf_deinit(&bytes);
	}
	close_asked();
	if (*conn && broker_conn_closed(*conn) && broker_conn_output(*conn).len == 0) {
		*conn = broker_conn_free(*conn, rig.now);
		lost(rig.upstream, "the broker closed it");
		close_asked();
		any = true;
	}
	return any;
}

static bool has_method(struct span frames, enum amqc_method_id id)
{
	while (frames.len > AMQC_FRAME_OVERHEAD) {
		if (frames.data[0] == AMQC_FRAME_METHOD && load_be32(frames.data + 7) == (uint32_t)id)
			return true;
		frames = span_skip(frames, load_be32(frames.data + 3) + AMQC_FRAME_OVERHEAD);
	}
	return false;
}

static bool tell(struct broker_conn *conn, struct buf *bytes, enum amqc_method_id kept)
{
	bool any = conn && buf_len(bytes) > 0;

	if (any && kept && bytes->data[bytes->start] != 'A' && has_method(buf_span(bytes), kept))
		return false;
	if (any)
		broker_conn_feed(conn, buf_span(bytes), rig.now);
	buf_consume(bytes, buf_len(bytes));
	return any;
}

/* Until nobody has anything to say. */
static void go_on(void)
{
	bool any = true;

	while (any) {
		rig_turn(&rig);
		open_asked();
		any = tell(first, &rig.remote.heard, kept_from_first);
		any |= tell(scout, upstream_scout_output(rig.upstream), kept_from_scout);
		close_asked();
		any |= hear(&first, upstream_feed, upstream_lost);
		any |= hear(&scout, upstream_scout_feed, upstream_scout_lost);
		open_asked();
	}
}

static void pass(uint64_t usec)
{
	go_on();
	rig_pass(&rig, usec);
	broker_tick(broker, rig.now);
	go_on();
}

/* So long that it has dialled again, and all is tried. */
static void settle(void)
{
	for (int i = 0; i < 40; i++)
		pass(100 * USEC_PER_MSEC);
}

static void begin(void)
{
	struct broker_options options = BROKER_OPTIONS_INIT;

	broker = broker_new(&options);
	rig_init(&rig);
	rig.has_scout = true;
	rig.upstream_options.reconnect_max_usec = USEC_PER_SEC;
	rig_start(&rig);
	dials = hang_ups = scout_dials = scout_hang_ups = 0;
	first = scout = NULL;
	broker_is_away = false;
	kept_from_first = kept_from_scout = 0;
	go_on();
}

static void end(void)
{
	rig_free(&rig);
	broker = broker_free(broker);
}

static uint64_t epoch(void)
{
	struct upstream_info info;

	upstream_get_info(rig.upstream, &info);
	return info.epoch;
}

static struct rig_session *ready(uint32_t pid)
{
	struct rig_session *session = rig_session_of(&rig, pid);

	for (uint32_t number = 1; number <= 3; number++)
		session_open_channel(session->session, number, 1);
	session_want(session->session, 100, 1000000);
	go_on();
	return session;
}

static void bind_key(struct rig_session *session, uint32_t channel, const char *queue, const char *key)
{
	struct amqc_method method = {.id = AMQC_QUEUE_BIND};

	method.queue_bind.queue = span_str(queue);
	method.queue_bind.exchange = SPAN_LITERAL("amq.direct");
	method.queue_bind.routing_key = span_str(key);
	rig_request(session, channel, &method, 0);
}

/* What became of a request that was asked last. */
static uint16_t refused(const struct rig_session *session)
{
	const struct rig_event *event = rig_last(session, RIG_REFUSED);

	return event ? event->code : 0;
}

static int count(const struct rig_session *session, enum rig_kind kind)
{
	int found = 0;

	for (size_t i = 0; i < session->event_count; i++)
		found += session->events[i].kind == kind;
	return found;
}

static size_t in_queue(const char *queue)
{
	size_t ready, unacked;

	ck_assert(broker_queue_counts(broker, "/", span_str(queue), &ready, &unacked));
	return ready;
}

/* ------------------------------------------------------------------ blame */

START_TEST(blame__who_alone_did_what_is_named_gets_the_brokers_error)
{
	struct rig_session *guilty, *other;

	begin();
	guilty = ready(1);
	other = ready(2);
	rig_declare(guilty, 1, "q", false);
	go_on();
	bind_key(guilty, 1, "q", "trap.refuse");
	rig_publish(other, 1, "q", SPAN_LITERAL("x"));
	settle();
	ck_assert_uint_eq(epoch(), 2);
	ck_assert_uint_eq(refused(guilty), AMQC_NOT_IMPLEMENTED);
	ck_assert(!rig_last(guilty, RIG_REFUSED)->retryable);
	ck_assert_uint_eq(rig_last(guilty, RIG_CHANNEL_ENDED)->code, AMQC_NOT_IMPLEMENTED);
	ck_assert_int_eq(rig_last(other, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	ck_assert_ptr_null(rig_last(other, RIG_CHANNEL_ENDED));
	ck_assert_uint_eq(rig.scout_dials, 0);
	end();
}
END_TEST

START_TEST(blame__the_same_again_is_refused_whoever_asks)
{
	struct rig_session *guilty, *again;

	begin();
	guilty = ready(1);
	rig_declare(guilty, 1, "q", false);
	go_on();
	bind_key(guilty, 1, "q", "trap.crash");
	settle();
	again = ready(2);
	bind_key(again, 1, "q", "trap.crash");
	rig_publish(guilty, 2, "trap.crash", SPAN_LITERAL("x"));
	settle();
	ck_assert_uint_eq(epoch(), 3); /* for each kind once */
	ck_assert_uint_eq(refused(again), AMQC_INTERNAL_ERROR);
	rig_publish(again, 2, "trap.crash", SPAN_LITERAL("other body"));
	settle();
	ck_assert_uint_eq(epoch(), 3);
	ck_assert_int_eq(rig_last(again, RIG_OUTCOME)->outcome, OUTCOME_NOT_SENT);
	ck_assert_uint_eq(rig_last(again, RIG_OUTCOME)->code, AMQC_INTERNAL_ERROR);
	end();
}
END_TEST

/* Nothing is named: all that was under way is tried, and what is innocent is done. */
START_TEST(blame__of_many_suspects_only_the_guilty_one_is_told)
{
	struct rig_session *guilty, *others[3];

	begin();
	guilty = ready(1);
	rig_declare(guilty, 1, "q", false);
	go_on();
	for (uint32_t i = 0; i < 3; i++) {
		others[i] = ready(10 + i);
		for (int k = 0; k < 5; k++)
			rig_publish(others[i], 1, "q", SPAN_LITERAL("x"));
		bind_key(others[i], 2, "q", "fine");
	}
	for (int k = 0; k < 5; k++)
		rig_publish(guilty, 2, k == 3 ? "trap.crash" : "q", SPAN_LITERAL("y"));
	rig_get(others[0], 3, "q");
	settle();
	ck_assert_uint_eq(epoch(), 2);
	ck_assert_uint_ge(rig.scout_dials, 1);
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert_ptr_null(rig_last(others[i], RIG_CHANNEL_ENDED));
		ck_assert_ptr_null(rig_last(others[i], RIG_REFUSED));
		ck_assert_uint_eq(rig_last(others[i], RIG_OUTCOME)->last, 5);
		ck_assert_int_eq(rig_last(others[i], RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	}
	ck_assert_uint_eq(rig_last(guilty, RIG_CHANNEL_ENDED)->code, AMQC_INTERNAL_ERROR);
	ck_assert_uint_eq(rig_last(guilty, RIG_CHANNEL_ENDED)->channel.number, 2);
	ck_assert_int_eq(rig_last(guilty, RIG_OUTCOME)->outcome, OUTCOME_UNKNOWN);
	end();
}
END_TEST

START_TEST(blame__a_trial_leaves_nothing_behind)
{
	struct rig_session *guilty, *other;

	begin();
	guilty = ready(1);
	other = ready(2);
	rig_declare(other, 1, "q", false);
	rig_declare(other, 1, "own", true);
	go_on();
	rig_publish(other, 1, "q", SPAN_LITERAL("x"));
	rig_declare(other, 2, "own too", true);
	rig_publish(guilty, 1, "trap.crash", SPAN_LITERAL("y"));
	settle();
	ck_assert_uint_eq(epoch(), 2);
	ck_assert_uint_ge(rig.scout_dials, 1);
	ck_assert_ptr_null(rig_last(other, RIG_REFUSED));
	ck_assert_uint_le(in_queue("q"), 2); /* as sent, and as sent again */
	pass(20 * USEC_PER_SEC);
	ck_assert_ptr_null(scout); /* nothing to do: it is closed */
	ck_assert_uint_eq(broker_connection_count(broker), 1);
	end();
}
END_TEST

/* The broker falls over the method, and has not read all of the body. */
START_TEST(blame__a_publish_that_was_cut_in_its_middle_is_tried)
{
	static uint8_t body[200000];
	struct rig_session *guilty, *other;

	begin();
	guilty = ready(1);
	other = ready(2);
	rig_declare(other, 1, "q", false);
	go_on();
	rig_publish(guilty, 1, "trap.crash", span_make(body, sizeof(body)));
	rig_publish(other, 1, "q", SPAN_LITERAL("x"));
	upstream_pump(rig.upstream);
	ck_assert_uint_lt(buf_len(upstream_output(rig.upstream)), sizeof(body));
	(void)tell(first, upstream_output(rig.upstream), 0);
	(void)hear(&first, upstream_feed, upstream_lost);
	settle();
	ck_assert_uint_eq(epoch(), 2);
	ck_assert_uint_eq(rig_last(guilty, RIG_CHANNEL_ENDED)->code, AMQC_INTERNAL_ERROR);
	ck_assert_int_eq(rig_last(guilty, RIG_OUTCOME)->outcome, OUTCOME_NOT_SENT);
	ck_assert_int_eq(rig_last(other, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	end();
}
END_TEST

/* What is exclusive is not the scout's. */
START_TEST(blame__what_the_scout_cannot_find_is_found_one_after_the_other)
{
	struct rig_session *guilty, *other;

	begin();
	guilty = ready(1);
	other = ready(2);
	rig_declare(guilty, 1, "mine", true);
	rig_declare(other, 1, "q", false);
	go_on();
	rig_publish(other, 1, "q", SPAN_LITERAL("x"));
	bind_key(other, 2, "q", "fine");
	bind_key(guilty, 2, "mine", "trap.own");
	rig_publish(other, 3, "q", SPAN_LITERAL("x"));
	settle();
	ck_assert_uint_eq(epoch(), 3);
	ck_assert_uint_eq(refused(guilty), AMQC_INTERNAL_ERROR);
	ck_assert_uint_eq(rig_last(guilty, RIG_CHANNEL_ENDED)->channel.number, 2);
	ck_assert_ptr_null(rig_last(other, RIG_CHANNEL_ENDED));
	ck_assert_ptr_null(rig_last(other, RIG_REFUSED));
	ck_assert_int_eq(rig_last(other, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	end();
}
END_TEST

START_TEST(blame__two_silent_losses_in_a_row_make_suspects_and_one_does_not)
{
	struct rig_session *guilty, *other;

	begin();
	guilty = ready(1);
	other = ready(2);
	rig_declare(other, 1, "q", false);
	go_on();
	rig_publish(other, 1, "q", SPAN_LITERAL("x"));
	broker_restart(broker, rig.now);
	settle();
	ck_assert_uint_eq(epoch(), 2);
	ck_assert_uint_eq(rig.scout_dials, 0);
	pass(10 * USEC_PER_SEC);
	rig_publish(guilty, 1, "trap.drop", SPAN_LITERAL("y"));
	settle();
	ck_assert_uint_eq(epoch(), 4);
	ck_assert_uint_ge(rig.scout_dials, 2);
	ck_assert_uint_eq(rig_last(guilty, RIG_CHANNEL_ENDED)->code, AMQC_INTERNAL_ERROR);
	ck_assert_ptr_null(rig_last(other, RIG_CHANNEL_ENDED));
	end();
}
END_TEST

START_TEST(blame__an_operators_close_blames_nobody)
{
	struct rig_session *session;

	begin();
	session = ready(1);
	rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_turn(&rig);
	broker_close_all(broker, AMQC_CONNECTION_FORCED, "CONNECTION_FORCED - by the operator", rig.now);
	settle();
	ck_assert_uint_eq(epoch(), 2);
	ck_assert_uint_eq(rig.scout_dials, 0);
	ck_assert_ptr_null(rig_last(session, RIG_CHANNEL_ENDED));
	end();
}
END_TEST

START_TEST(blame__without_a_scout_suspects_go_on)
{
	struct rig_session *session;

	begin();
	broker_is_away = true;
	session = ready(1);
	rig_declare(session, 1, "q", false);
	go_on();
	rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_turn(&rig);
	broker_close_all(broker, AMQC_INTERNAL_ERROR, "INTERNAL_ERROR", rig.now);
	settle();
	ck_assert_uint_ge(rig.scout_dials, 3);
	ck_assert_int_eq(rig_last(session, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	ck_assert_ptr_null(rig_last(session, RIG_CHANNEL_ENDED));
	end();
}
END_TEST

START_TEST(blame__a_session_that_ends_while_it_is_tried_is_forgotten)
{
	struct rig_session *session, *other;

	begin();
	session = ready(1);
	other = ready(2);
	rig_publish(session, 1, "trap.crash", SPAN_LITERAL("x"));
	bind_key(other, 1, "none", "fine");
	go_on();
	rig_end(session);
	rig_end(other);
	settle();
	ck_assert_uint_eq(epoch(), 2);
	ck_assert_uint_eq(mux_memory_used(rig.mux), 0);
	end();
}
END_TEST

START_TEST(quarantine__a_process_that_offends_three_times_is_sent_away_for_a_minute)
{
	static const char *const keys[3] = {"trap.crash.1", "trap.crash.2", "trap.crash.3"};
	struct mux_creds creds = {.uid = 1000, .gid = 1000, .pid = 1};
	struct rig_session *session, *other;
	struct fault fault;

	begin();
	session = ready(1);
	other = ready(2);
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert(!mux_is_quarantined(rig.mux, &creds, &fault));
		ck_assert_ptr_null(rig_last(session, RIG_ENDED));
		rig_publish(session, 1 + i, keys[i], SPAN_LITERAL("x"));
		settle();
	}
	ck_assert_uint_eq(rig_last(session, RIG_ENDED)->code, AMQC_NOT_ALLOWED);
	ck_assert_ptr_null(rig_last(other, RIG_ENDED));
	ck_assert(mux_is_quarantined(rig.mux, &creds, &fault));
	ck_assert(fault.retryable);
	creds.pid = 2;
	ck_assert(!mux_is_quarantined(rig.mux, &creds, &fault));
	creds.pid = 1;
	pass(60 * USEC_PER_SEC);
	ck_assert(!mux_is_quarantined(rig.mux, &creds, &fault));
	end();
}
END_TEST

/* ------------------------------------------------------------------ probe */

static void declare_exchange(struct rig_session *session, uint32_t channel, const char *name,
			     const char *type)
{
	struct amqc_method method = {.id = AMQC_EXCHANGE_DECLARE};

	method.exchange_declare.exchange = span_str(name);
	method.exchange_declare.type = span_str(type);
	rig_request(session, channel, &method, 0);
	settle();
}

START_TEST(probe__an_exchange_type_that_is_not_amqps_is_asked_for_once)
{
	struct rig_session *session;
	unsigned int asked;

	begin();
	session = ready(1);
	declare_exchange(session, 1, "e", "x-unheard-of");
	ck_assert_uint_eq(refused(session), AMQC_COMMAND_INVALID);
	ck_assert_uint_eq(rig_last(session, RIG_CHANNEL_ENDED)->code, AMQC_COMMAND_INVALID);
	ck_assert_uint_eq(rig.scout_dials, 1);
	asked = rig.scout_dials;
	declare_exchange(session, 2, "f", "x-unheard-of");
	ck_assert_uint_eq(rig_last(session, RIG_CHANNEL_ENDED)->channel.number, 2);
	ck_assert_uint_eq(rig.scout_dials, asked);
	ck_assert_uint_eq(epoch(), 1);
	end();
}
END_TEST

/* Found by fuzzing: it was answered on a channel above channel_max. */
START_TEST(scout__a_channel_that_was_never_opened_ends_its_connection_and_the_question_is_asked_again)
{
	struct amqc_method close = {.id = AMQC_CHANNEL_CLOSE};
	struct buf bytes = BUF_INIT;
	struct rig_session *session;

	begin();
	session = ready(1);
	kept_from_scout = AMQC_EXCHANGE_DECLARE;
	declare_exchange(session, 1, "e", "x-unheard-of");
	ck_assert_ptr_nonnull(scout);
	ck_assert_int_eq(amqc_method_append(&bytes, 60000, &close), AMQC_OK);
	(void)upstream_scout_feed(rig.upstream, buf_span(&bytes));
	kept_from_scout = 0;
	rig_turn(&rig);
	ck_assert_uint_eq(rig.scout_hang_ups, 1);
	close_asked();
	settle();
	ck_assert_uint_eq(rig.scout_dials, 2);
	ck_assert_uint_eq(refused(session), AMQC_COMMAND_INVALID);
	ck_assert_uint_eq(epoch(), 1);
	buf_deinit(&bytes);
	end();
}
END_TEST

START_TEST(probe__a_queue_that_others_declared_is_asked_for_and_nothing_is_made)
{
	struct rig_session *session;

	begin();
	session = ready(1);
	rig_get(session, 1, "missing");
	settle();
	ck_assert_uint_eq(refused(session), AMQC_NOT_FOUND);
	ck_assert_uint_eq(rig.scout_dials, 1);
	ck_assert_uint_eq(epoch(), 1);
	rig_declare(session, 2, "here", false);
	rig_get(session, 2, "here");
	settle();
	ck_assert_uint_eq(rig.scout_dials, 1); /* it saw the declare */
	ck_assert_int_eq(rig_last(session, RIG_REPLY)->reply, AMQC_BASIC_GET_EMPTY);
	end();
}
END_TEST

/* By a connection of somebody else's, all in one go. */
static void declare_as_another(const char *queue, struct span arguments)
{
	struct broker_conn *conn = broker_conn_new(broker, NULL, rig.now);
	struct amqc_method login = {.id = AMQC_CONNECTION_START_OK}, tune = {.id = AMQC_CONNECTION_TUNE_OK};
	struct amqc_method open = {.id = AMQC_CONNECTION_OPEN}, channel = {.id = AMQC_CHANNEL_OPEN};
	struct amqc_method declare = {.id = AMQC_QUEUE_DECLARE};
	struct buf bytes = BUF_INIT;

	login.connection_start_ok.mechanism = SPAN_LITERAL("PLAIN");
	login.connection_start_ok.response = SPAN_LITERAL("\0guest\0guest");
	login.connection_start_ok.locale = SPAN_LITERAL("en_US");
	tune.connection_tune_ok.channel_max = 10;
	tune.connection_tune_ok.frame_max = 131072;
	open.connection_open.virtual_host = SPAN_LITERAL("/");
	declare.queue_declare.queue = span_str(queue);
	declare.queue_declare.durable = true;
	declare.queue_declare.arguments = arguments;
	buf_append_span(&bytes, SPAN_LITERAL("AMQP\0\0\x09\x01"));
	ck_assert_int_eq(amqc_method_append(&bytes, 0, &login), AMQC_OK);
	ck_assert_int_eq(amqc_method_append(&bytes, 0, &tune), AMQC_OK);
	ck_assert_int_eq(amqc_method_append(&bytes, 0, &open), AMQC_OK);
	ck_assert_int_eq(amqc_method_append(&bytes, 1, &channel), AMQC_OK);
	ck_assert_int_eq(amqc_method_append(&bytes, 1, &declare), AMQC_OK);
	broker_conn_feed(conn, buf_span(&bytes), rig.now);
	ck_assert(has_method(broker_conn_output(conn), AMQC_QUEUE_DECLARE_OK));
	buf_deinit(&bytes);
	(void)broker_conn_free(conn, rig.now);
}

/* The broker tells one argument that differs at a time, and the queue's kind when those before it are right.
 */
START_TEST(probe__a_queue_with_arguments_of_others_is_known_for_what_it_is)
{
	struct amqc_method drop = {.id = AMQC_QUEUE_DELETE};
	struct buf arguments = BUF_INIT;
	struct rig_session *session;

	begin();
	session = ready(1);
	amqc_field_append_str(&arguments, "x-queue-type", SPAN_LITERAL("quorum"));
	amqc_field_append_str(&arguments, "x-overflow", SPAN_LITERAL("reject-publish"));
	ck_assert_int_eq(amqc_field_append(&arguments, &SPAN_LITERAL("x-max-length"),
					   &(struct amqc_field){.type = 'I', .value.signed_int = 1000}),
			 AMQC_OK);
	declare_as_another("theirs", buf_span(&arguments));
	drop.queue_delete.queue = SPAN_LITERAL("theirs");
	drop.queue_delete.if_unused = true; /* which RabbitMQ answers by closing the connection */
	rig_request(session, 1, &drop, 0);
	settle();
	ck_assert_uint_eq(refused(session), AMQC_NOT_IMPLEMENTED);
	ck_assert_uint_eq(rig.scout_dials, 1);
	ck_assert_uint_eq(epoch(), 1);
	rig_get(session, 2, "theirs");
	settle();
	ck_assert_int_eq(rig_last(session, RIG_REPLY)->reply, AMQC_BASIC_GET_EMPTY); /* it is there */
	buf_deinit(&arguments);
	end();
}
END_TEST

/* Its publishes are not kept, so that the scout has nothing to try. */
/* A declaration of a queue, which may be of any kind, is under suspicion; another session deletes the queue.
 */
static struct rig_session *begin_with_deletion(uint32_t *ret_delete, bool scout_first)
{
	struct amqc_method method = {.id = AMQC_QUEUE_DELETE};
	struct rig_session *guilty, *suspect, *other;

	begin();
	guilty = ready(1);
	suspect = ready(2);
	other = ready(3);
	go_on();
	broker_is_away = !scout_first;
	kept_from_scout = scout_first ? AMQC_QUEUE_DECLARE : 0;
	kept_from_first = scout_first ? 0 : AMQC_QUEUE_DELETE;
	rig_publish(guilty, 1, "trap.crash", SPAN_LITERAL("x"));
	rig_declare(suspect, 1, "q", false);
	for (int i = 0; i < 200 && epoch() == 1; i++)
		pass(10 * USEC_PER_MSEC);
	ck_assert_uint_eq(epoch(), 2);
	if (scout_first)
		pass(USEC_PER_SEC);
	method.queue_delete.queue = SPAN_LITERAL("q");
	*ret_delete = rig_request(other, 1, &method, 0);
	go_on();
	return other;
}

START_TEST(blame__a_queue_is_not_deleted_while_a_trial_declares_it)
{
	uint32_t delete;
	struct rig_session *other = begin_with_deletion(&delete, true);

	ck_assert(has_method(buf_span(upstream_scout_output(rig.upstream)), AMQC_QUEUE_DECLARE));
	pass(USEC_PER_SEC);
	ck_assert_ptr_null(rig_last(other, RIG_REPLY));
	kept_from_scout = 0;
	settle();
	ck_assert_uint_eq(rig_last(other, RIG_REPLY)->request, delete);
	end();
}
END_TEST

START_TEST(blame__a_queue_is_not_declared_by_a_trial_while_it_is_deleted)
{
	uint32_t delete;
	struct rig_session *other = begin_with_deletion(&delete, false);
	size_t count[2];

	ck_assert(has_method(buf_span(&rig.remote.heard), AMQC_QUEUE_DELETE));
	broker_is_away = false;
	pass(USEC_PER_SEC);
	ck_assert_ptr_nonnull(scout);
	ck_assert(!broker_queue_counts(broker, "/", SPAN_LITERAL("q"), &count[0], &count[1]));
	kept_from_first = 0;
	settle();
	ck_assert_uint_eq(rig_last(other, RIG_REPLY)->request, delete);
	end();
}
END_TEST

START_TEST(blame__a_transaction_that_was_alone_gets_the_brokers_error)
{
	struct rig_session *guilty, *other;

	begin();
	guilty = ready(1);
	other = ready(2);
	rig_request(other, 1, &(struct amqc_method){.id = AMQC_TX_SELECT}, 0);
	rig_declare(other, 1, "q", false);
	for (int i = 0; i < 3; i++) {
		rig_request(guilty, 1, &(struct amqc_method){.id = AMQC_TX_SELECT}, 0);
		go_on();
		rig_publish(guilty, 1, "q", SPAN_LITERAL("x"));
		rig_publish(guilty, 1, i == 0 ? "trap.refuse" : "trap.crash", SPAN_LITERAL("x"));
		settle();
		ck_assert_uint_eq(epoch(), 2 + (unsigned int)i);
		ck_assert_uint_eq(rig_last(guilty, RIG_CHANNEL_ENDED)->code,
				  i == 0 ? AMQC_NOT_IMPLEMENTED : AMQC_INTERNAL_ERROR);
		ck_assert(!rig_last(guilty, RIG_CHANNEL_ENDED)->retryable);
		ck_assert_int_eq(rig_last(guilty, RIG_OUTCOME)->outcome, OUTCOME_NOT_SENT);
		session_open_channel(guilty->session, 1, 2 + (unsigned int)i);
	}
	ck_assert_uint_eq(rig_last(guilty, RIG_ENDED)->code, AMQC_NOT_ALLOWED);
	ck_assert_uint_eq(in_queue("q"), 0);
	rig_publish(other, 1, "q", SPAN_LITERAL("y"));
	rig_request(other, 1, &(struct amqc_method){.id = AMQC_TX_COMMIT}, 0);
	settle();
	ck_assert_ptr_null(rig_last(other, RIG_CHANNEL_ENDED));
	ck_assert_uint_eq(in_queue("q"), 1);
	end();
}
END_TEST

START_TEST(blame__a_transaction_under_suspicion_with_others_ends_and_costs_nobody_else)
{
	struct rig_session *guilty, *other;

	begin();
	guilty = ready(1);
	other = ready(2);
	rig_declare(other, 1, "q", false);
	rig_request(other, 2, &(struct amqc_method){.id = AMQC_TX_SELECT}, 0);
	go_on();
	rig_publish(other, 1, "q", SPAN_LITERAL("x"));
	rig_publish(other, 2, "q", SPAN_LITERAL("y"));
	rig_request(other, 2, &(struct amqc_method){.id = AMQC_TX_COMMIT}, 0);
	rig_publish(guilty, 1, "trap.crash", SPAN_LITERAL("z"));
	settle();
	ck_assert_uint_eq(epoch(), 2);
	ck_assert_uint_eq(rig_last(guilty, RIG_CHANNEL_ENDED)->code, AMQC_INTERNAL_ERROR);
	ck_assert_uint_eq(rig_last(other, RIG_CHANNEL_ENDED)->code, AMQC_CONNECTION_FORCED);
	ck_assert_uint_eq(rig_last(other, RIG_CHANNEL_ENDED)->channel.number, 2);
	ck_assert(rig_last(other, RIG_CHANNEL_ENDED)->retryable);
	end();
}
END_TEST

/* A rolled-back trial does not route. */
START_TEST(blame__a_publish_that_costs_when_it_is_routed_is_found_by_the_scout)
{
	struct rig_session *guilty, *other;

	begin();
	guilty = ready(1);
	other = ready(2);
	rig_declare(guilty, 1, "q", false);
	go_on();
	rig_publish(other, 1, "q", SPAN_LITERAL("x"));
	rig_publish(guilty, 1, "q", SPAN_LITERAL("before"));
	rig_publish(guilty, 1, "trap.route", SPAN_LITERAL("y"));
	rig_publish(guilty, 1, "q", SPAN_LITERAL("behind"));
	settle();
	ck_assert_uint_eq(epoch(), 2);
	ck_assert_uint_eq(rig_last(guilty, RIG_CHANNEL_ENDED)->code, AMQC_INTERNAL_ERROR);
	ck_assert_int_eq(count(guilty, RIG_OUTCOME), 2);
	ck_assert_int_eq(rig_last(guilty, RIG_OUTCOME)->outcome, OUTCOME_UNKNOWN);
	ck_assert_uint_eq(rig_last(guilty, RIG_OUTCOME)->first, 2);
	ck_assert_int_eq(rig_last(other, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	ck_assert_ptr_null(rig_last(other, RIG_CHANNEL_ENDED));
	rig_publish(other, 1, "trap.route", SPAN_LITERAL("y"));
	settle();
	ck_assert_uint_eq(epoch(), 2);
	ck_assert_int_eq(rig_last(other, RIG_OUTCOME)->outcome, OUTCOME_NOT_SENT);
	end();
}
END_TEST

/* What the scout has sent for good is not sent again: as sent at first, and as sent by the scout. */
START_TEST(blame__what_the_scout_sent_for_good_is_confirmed_and_in_order)
{
	struct rig_session *guilty, *other;

	begin();
	guilty = ready(1);
	other = ready(2);
	rig_declare(guilty, 1, "mine", true);
	rig_declare(other, 1, "q", false);
	go_on();
	bind_key(guilty, 2, "mine", "trap.own");
	for (int i = 0; i < 3; i++)
		rig_publish(other, 1, "q", SPAN_LITERAL("x"));
	rig_turn(&rig);
	rig_publish(other, 1, "q", SPAN_LITERAL("behind"));
	settle();
	ck_assert_uint_eq(epoch(), 3);
	ck_assert_uint_eq(rig_last(guilty, RIG_CHANNEL_ENDED)->code, AMQC_INTERNAL_ERROR);
	ck_assert_ptr_null(rig_last(other, RIG_CHANNEL_ENDED));
	ck_assert_uint_eq(rig_last(other, RIG_OUTCOME)->last, 4);
	ck_assert_int_eq(rig_last(other, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	ck_assert_uint_eq(in_queue("q"), 4);
	end();
}
END_TEST

START_TEST(blame__what_the_scout_sent_for_good_in_vain_is_returned)
{
	struct amqc_properties properties = {0};
	struct mux_publish publish = {.channel = 1,
				      .cost_bytes = 10,
				      .routing_key = SPAN_LITERAL("nowhere"),
				      .mandatory = true,
				      .properties = &properties,
				      .body = SPAN_LITERAL("x")};
	struct rig_session *guilty, *other;

	begin();
	guilty = ready(1);
	other = ready(2);
	rig_publish(guilty, 1, "trap.route", SPAN_LITERAL("x"));
	session_publish(other->session, &publish);
	settle();
	ck_assert_uint_eq(epoch(), 2);
	ck_assert_int_eq(count(other, RIG_RETURNED), 1);
	ck_assert_uint_eq(rig_last(other, RIG_RETURNED)->body_len, 1);
	ck_assert_int_eq(count(other, RIG_OUTCOME), 1);
	ck_assert_int_eq(rig_last(other, RIG_OUTCOME)->outcome, OUTCOME_RETURNED);
	end();
}
END_TEST

/* ------------------------------------------------------------------ what is delivered */

#define POISON "trap.deliver" /* a queue, whose messages have its name as key */

/* As of a stream: the broker of these tests has none, but mux goes by the argument. */
static void consume_from(struct rig_session *session, uint32_t channel, const char *queue, const char *offset)
{
	struct amqc_method method = {.id = AMQC_BASIC_CONSUME};
	struct mux_request request = {.id = ++session->last_request,
				      .channel = channel,
				      .method = &method,
				      .consumer = 1,
				      .credit_messages = 10,
				      .credit_bytes = 1000};
	struct buf arguments = BUF_INIT;

	amqc_field_append_str(&arguments, "x-stream-offset", span_str(offset));
	method.basic_consume.queue = span_str(queue);
	method.basic_consume.arguments = buf_span(&arguments);
	session_request(session->session, &request);
	buf_deinit(&arguments);
}

START_TEST(blame__a_consumer_that_costs_by_what_is_delivered_is_found_by_the_scout)
{
	struct rig_session *guilty, *other;

	begin();
	other = ready(1);
	guilty = ready(2);
	rig_declare(other, 1, POISON, false);
	rig_declare(other, 1, "t", false);
	consume_from(other, 2, "t", "first");
	rig_publish(other, 1, POISON, SPAN_LITERAL("z"));
	go_on();
	rig_publish(other, 1, "t", SPAN_LITERAL("x"));
	go_on();
	ck_assert_int_eq(count(other, RIG_DELIVERED), 1);
	consume_from(guilty, 1, POISON, "first");
	rig_publish(guilty, 2, "t", SPAN_LITERAL("y"));
	settle();
	ck_assert_uint_eq(epoch(), 2);
	ck_assert_uint_eq(rig_last(guilty, RIG_CHANNEL_ENDED)->code, AMQC_INTERNAL_ERROR);
	ck_assert_uint_eq(rig_last(guilty, RIG_CHANNEL_ENDED)->channel.number, 1);
	ck_assert(!rig_last(guilty, RIG_CHANNEL_ENDED)->retryable);
	ck_assert_int_eq(rig_last(guilty, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	ck_assert_ptr_null(rig_last(other, RIG_CHANNEL_ENDED));
	ck_assert_int_ge(count(other, RIG_DELIVERED), 2);
	consume_from(other, 3, POISON, "first");
	settle();
	ck_assert_uint_eq(epoch(), 2);
	ck_assert_uint_eq(rig_last(other, RIG_CHANNEL_ENDED)->channel.number, 3);
	end();
}
END_TEST

/* Consumers that were there before, and whose stream gets such a message then. */
START_TEST(blame__consumers_under_suspicion_hold_up_nobody_else)
{
	struct rig_session *consumers[3], *other;

	begin();
	other = ready(1);
	rig_declare(other, 1, POISON, false);
	rig_declare(other, 1, "t", false);
	for (uint32_t i = 0; i < 3; i++) {
		consumers[i] = ready(10 + i);
		consume_from(consumers[i], 1, i == 1 ? POISON : "t", "next");
	}
	go_on();
	broker_is_away = true; /* the scout cannot look, for a while */
	rig_publish(other, 1, POISON, SPAN_LITERAL("z"));
	go_on();
	for (int i = 0; i < 40 && epoch() == 1; i++)
		pass(10 * USEC_PER_MSEC);
	ck_assert_uint_eq(epoch(), 2);
	rig_publish(other, 2, "t", SPAN_LITERAL("x"));
	go_on();
	ck_assert_uint_eq(rig_last(other, RIG_OUTCOME)->channel.number, 2);
	ck_assert_int_eq(count(consumers[0], RIG_DELIVERED) + count(consumers[2], RIG_DELIVERED), 0);
	broker_is_away = false;
	settle();
	ck_assert_uint_eq(epoch(), 2);
	ck_assert_uint_eq(rig_last(consumers[1], RIG_CHANNEL_ENDED)->code, AMQC_INTERNAL_ERROR);
	ck_assert_ptr_null(rig_last(consumers[0], RIG_CHANNEL_ENDED));
	ck_assert_ptr_null(rig_last(consumers[2], RIG_CHANNEL_ENDED));
	ck_assert_int_eq(count(consumers[0], RIG_DELIVERED) + count(consumers[2], RIG_DELIVERED), 1);
	end();
}
END_TEST

/* The fault is nobody else's: the third such transaction ends the session. */
START_TEST(blame__a_transaction_is_guilty_when_everybody_else_is_cleared)
{
	struct rig_session *guilty, *other, *third;

	begin();
	guilty = ready(1);
	other = ready(2);
	third = ready(3);
	rig_declare(other, 1, "q", false);
	go_on();
	for (unsigned int i = 0; i < 3; i++) {
		ck_assert_ptr_null(rig_last(guilty, RIG_ENDED));
		rig_request(guilty, 1, &(struct amqc_method){.id = AMQC_TX_SELECT}, 0);
		go_on();
		rig_publish(other, 1, "q", SPAN_LITERAL("x"));
		rig_publish(guilty, 1, "trap.crash", SPAN_LITERAL("y"));
		bind_key(third, 1, "q", "fine");
		settle();
		ck_assert_uint_eq(epoch(), 2 + i);
		ck_assert_uint_eq(rig_last(guilty, RIG_CHANNEL_ENDED)->code, AMQC_CONNECTION_FORCED);
		ck_assert_int_eq(rig_last(other, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
		if (guilty->session)
			session_open_channel(guilty->session, 1, 2 + i);
	}
	ck_assert_uint_eq(rig_last(guilty, RIG_ENDED)->code, AMQC_NOT_ALLOWED);
	ck_assert_ptr_null(rig_last(other, RIG_CHANNEL_ENDED));
	ck_assert_ptr_null(rig_last(third, RIG_CHANNEL_ENDED));
	end();
}
END_TEST

/* One of a process that is found is no offence of the other's. */
START_TEST(blame__a_transaction_is_not_guilty_when_somebody_else_is)
{
	static const char *const keys[3] = {"trap.crash.1", "trap.crash.2", "trap.route.3"};
	struct rig_session *guilty, *other;

	begin();
	other = ready(2);
	rig_declare(other, 2, "q", false);
	for (uint32_t i = 0; i < 3; i++) {
		guilty = ready(10 + i);
		rig_request(other, 1, &(struct amqc_method){.id = AMQC_TX_SELECT}, 0);
		go_on();
		rig_publish(other, 1, "q", SPAN_LITERAL("y"));
		rig_publish(guilty, 1, keys[i], SPAN_LITERAL("z"));
		settle();
		ck_assert_uint_eq(epoch(), 2 + i);
		ck_assert_uint_eq(rig_last(guilty, RIG_CHANNEL_ENDED)->code, AMQC_INTERNAL_ERROR);
		session_open_channel(other->session, 1, 2 + i);
	}
	ck_assert_ptr_null(rig_last(other, RIG_ENDED));
	end();
}
END_TEST

int main(void)
{
	const TTest *tests[] = {
	    blame__who_alone_did_what_is_named_gets_the_brokers_error,
	    blame__the_same_again_is_refused_whoever_asks,
	    blame__of_many_suspects_only_the_guilty_one_is_told,
	    blame__a_publish_that_was_cut_in_its_middle_is_tried,
	    blame__a_trial_leaves_nothing_behind,
	    blame__what_the_scout_cannot_find_is_found_one_after_the_other,
	    blame__two_silent_losses_in_a_row_make_suspects_and_one_does_not,
	    blame__an_operators_close_blames_nobody,
	    blame__without_a_scout_suspects_go_on,
	    blame__a_session_that_ends_while_it_is_tried_is_forgotten,
	    blame__a_queue_is_not_deleted_while_a_trial_declares_it,
	    blame__a_queue_is_not_declared_by_a_trial_while_it_is_deleted,
	    blame__a_transaction_that_was_alone_gets_the_brokers_error,
	    blame__a_transaction_under_suspicion_with_others_ends_and_costs_nobody_else,
	    blame__a_publish_that_costs_when_it_is_routed_is_found_by_the_scout,
	    blame__what_the_scout_sent_for_good_is_confirmed_and_in_order,
	    blame__what_the_scout_sent_for_good_in_vain_is_returned,
	    blame__a_consumer_that_costs_by_what_is_delivered_is_found_by_the_scout,
	    blame__consumers_under_suspicion_hold_up_nobody_else,
	    blame__a_transaction_is_guilty_when_everybody_else_is_cleared,
	    blame__a_transaction_is_not_guilty_when_somebody_else_is,
	    quarantine__a_process_that_offends_three_times_is_sent_away_for_a_minute,
	    probe__an_exchange_type_that_is_not_amqps_is_asked_for_once,
	    scout__a_channel_that_was_never_opened_ends_its_connection_and_the_question_is_asked_again,
	    probe__a_queue_that_others_declared_is_asked_for_and_nothing_is_made,
	    probe__a_queue_with_arguments_of_others_is_known_for_what_it_is,
	};
	Suite *suite = suite_create("mux/blame");
	TCase *tcase = tcase_create("blame");
	SRunner *runner = srunner_create(suite);
	int failed;

	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
