#include "daemon/amqp/reply.h"
#include "daemon/base/list.h"
#include "daemon/mux/conn.h"

#include <check.h>
#include <stdlib.h>

struct peer {
	struct timerq timers;
	struct conn conn;
	struct mono now;
	unsigned int opened, frames, blocked, unblocked, ended;
	enum conn_end end;
	struct fault fault;
};

static void on_opened(void *context)
{
	((struct peer *)context)->opened++;
}

static void on_frame(void *context, const struct amqc_frame *frame)
{
	((struct peer *)context)->frames++;
}

static void on_blocked(void *context, bool blocked, struct span reason)
{
	struct peer *peer = context;

	peer->blocked += blocked;
	peer->unblocked += !blocked;
}

static void on_ended(void *context, enum conn_end end, const struct fault *fault)
{
	struct peer *peer = context;

	peer->ended++;
	peer->end = end;
	peer->fault = *fault;
}

static const struct conn_ops ops = {on_opened, on_frame, on_blocked, on_ended};

static const struct handshake_options wishes = {.sasl = "PLAIN",
						.user = "user",
						.password = "pass",
						.vhost = "/",
						.connection_name = "name",
						.channel_max = 100,
						.frame_max = 8192,
						.heartbeat_sec = 10};

static void peer_init(struct peer *peer)
{
	*peer = (struct peer){.timers = TIMERQ_INIT, .now = {1000 * USEC_PER_SEC}};
	conn_init(&peer->conn, &peer->timers, &ops, peer);
}

static void peer_deinit(struct peer *peer)
{
	conn_deinit(&peer->conn);
}

static size_t feed(struct peer *peer, const void *bytes, size_t len)
{
	return conn_feed(&peer->conn, span_make(bytes, len), peer->now);
}

static void hear(struct peer *peer, uint16_t channel, const struct amqc_method *method)
{
	struct buf bytes = BUF_INIT;

	ck_assert_int_eq(amqc_method_append(&bytes, channel, method), AMQC_OK);
	ck_assert_uint_eq(conn_feed(&peer->conn, buf_span(&bytes), peer->now), buf_len(&bytes));
	buf_deinit(&bytes);
}

static void append_handshake(struct buf *bytes)
{
	struct amqc_method start = {.id = AMQC_CONNECTION_START}, tune = {.id = AMQC_CONNECTION_TUNE};

	start.connection_start =
	    (struct amqc_connection_start){.version_minor = 9, .mechanisms = SPAN_LITERAL("PLAIN")};
	tune.connection_tune.heartbeat = 10;
	ck_assert_int_eq(amqc_method_append(bytes, 0, &start), AMQC_OK);
	ck_assert_int_eq(amqc_method_append(bytes, 0, &tune), AMQC_OK);
	ck_assert_int_eq(amqc_method_append(bytes, 0, &(struct amqc_method){.id = AMQC_CONNECTION_OPEN_OK}),
			 AMQC_OK);
}

static void begin(struct peer *peer)
{
	peer_init(peer);
	conn_begin(&peer->conn, &wishes, peer->now);
}

static void open_up(struct peer *peer)
{
	struct buf bytes = BUF_INIT;

	begin(peer);
	append_handshake(&bytes);
	ck_assert_uint_eq(conn_feed(&peer->conn, buf_span(&bytes), peer->now), buf_len(&bytes));
	ck_assert_uint_eq(peer->opened, 1);
	buf_deinit(&bytes);
	buf_truncate(&peer->conn.out, 0);
}

static void pass(struct peer *peer, uint64_t usec)
{
	peer->now = mono_add_usec(peer->now, usec);
	timerq_run(&peer->timers, peer->now, 100);
}

static bool out_is_heartbeat(const struct peer *peer)
{
	return span_equal(buf_span(&peer->conn.out), span_make("\x08\0\0\0\0\0\0\xCE", 8));
}

/* ------------------------------------------------------------------ opening */

START_TEST(conn__a_handshake_cut_anywhere_opens_it)
{
	struct buf bytes = BUF_INIT;

	append_handshake(&bytes);
	for (size_t cut = 0; cut <= buf_len(&bytes); cut++) {
		struct span first = span_first(buf_span(&bytes), cut);
		struct peer peer;
		size_t used;

		begin(&peer);
		used = conn_feed(&peer.conn, first, peer.now);
		ck_assert_uint_le(used, cut);
		/* What was not consumed comes again, with the rest behind it. */
		ck_assert_uint_eq(conn_feed(&peer.conn, span_skip(buf_span(&bytes), used), peer.now),
				  buf_len(&bytes) - used);
		ck_assert_uint_eq(peer.opened, 1);
		ck_assert_uint_eq(peer.ended, 0);
		peer_deinit(&peer);
	}
	buf_deinit(&bytes);
}
END_TEST

START_TEST(conn__what_is_no_amqp_server_is_told_at_once)
{
	static const char answer[] = "HTTP/1.1 400 Bad Request\r\n";
	struct peer peer;

	begin(&peer);
	(void)feed(&peer, answer, 1);
	ck_assert_uint_eq(peer.ended, 1);
	ck_assert_int_eq(peer.end, CONN_END_LOST);
	ck_assert_ptr_nonnull(strstr(peer.fault.text, "not an AMQP server"));
	(void)feed(&peer, answer, sizeof(answer));
	ck_assert_uint_eq(peer.ended, 1);
	peer_deinit(&peer);
}
END_TEST

START_TEST(conn__another_version_is_named_however_it_is_cut)
{
	for (size_t cut = 0; cut < 8; cut++) {
		struct peer peer;

		begin(&peer);
		ck_assert_uint_eq(feed(&peer, "AMQP\0\1\0\2", cut), 0);
		ck_assert_uint_eq(peer.ended, 0);
		(void)feed(&peer, "AMQP\0\1\0\2", 8);
		ck_assert_uint_eq(peer.ended, 1);
		ck_assert_ptr_nonnull(strstr(peer.fault.text, "1.0.2"));
		peer_deinit(&peer);
	}
}
END_TEST

START_TEST(conn__a_header_that_only_begins_like_amqp_is_no_amqp_server)
{
	struct peer peer;

	begin(&peer);
	(void)feed(&peer, "AMQZ1234", 8);
	ck_assert_uint_eq(peer.ended, 1);
	ck_assert_ptr_nonnull(strstr(peer.fault.text, "not an AMQP server"));
	peer_deinit(&peer);
}
END_TEST

START_TEST(conn__a_close_in_the_handshake_is_answered_and_classed)
{
	static const struct {
		uint16_t code;
		enum conn_end end;
	} rows[] = {{403, CONN_END_REFUSED}, {530, CONN_END_REFUSED}, {320, CONN_END_LOST}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct amqc_method close = {.id = AMQC_CONNECTION_CLOSE};
		struct peer peer;

		begin(&peer);
		buf_truncate(&peer.conn.out, 0);
		close.connection_close.reply_code = rows[i].code;
		close.connection_close.reply_text = SPAN_LITERAL("no");
		hear(&peer, 0, &close);
		ck_assert_uint_eq(peer.ended, 1);
		ck_assert_int_eq(peer.end, rows[i].end);
		ck_assert_uint_eq(peer.fault.code, rows[i].code);
		ck_assert_uint_gt(buf_len(&peer.conn.out), 0);
		peer_deinit(&peer);
	}
}
END_TEST

/* ------------------------------------------------------------------ heartbeats */

START_TEST(conn__a_heartbeat_goes_out_after_half_an_interval_of_nothing_else)
{
	struct peer peer;

	open_up(&peer);
	pass(&peer, 4999999);
	ck_assert_uint_eq(buf_len(&peer.conn.out), 0);
	pass(&peer, 1);
	ck_assert(out_is_heartbeat(&peer));
	peer_deinit(&peer);
}
END_TEST

START_TEST(conn__whatever_is_written_is_as_good_as_a_heartbeat)
{
	struct peer peer;

	open_up(&peer);
	for (int i = 0; i < 3; i++) {
		pass(&peer, 3 * USEC_PER_SEC);
		conn_wrote(&peer.conn, peer.now);
		/* The peer is alive. */
		ck_assert_uint_eq(feed(&peer, "\x08\0\0\0\0\0\0\xCE", 8), 8);
	}
	ck_assert_uint_eq(buf_len(&peer.conn.out), 0);
	pass(&peer, 5 * USEC_PER_SEC);
	ck_assert(out_is_heartbeat(&peer));
	peer_deinit(&peer);
}
END_TEST

START_TEST(conn__a_peer_silent_for_two_intervals_is_dead)
{
	struct peer peer;

	open_up(&peer);
	for (int i = 0; i < 19; i++)
		pass(&peer, USEC_PER_SEC);
	ck_assert_uint_eq(peer.ended, 0);
	pass(&peer, USEC_PER_SEC);
	ck_assert_uint_eq(peer.ended, 1);
	ck_assert_int_eq(peer.end, CONN_END_LOST);
	ck_assert(peer.fault.retryable);
	ck_assert(mono_is_never(timerq_next(&peer.timers)));
	peer_deinit(&peer);
}
END_TEST

/* Its window is full: our bytes wait, and it says nothing. */
START_TEST(conn__a_peer_that_takes_nothing_and_says_nothing_is_dead_after_two_intervals)
{
	struct peer peer;

	open_up(&peer);
	buf_append(&peer.conn.out, "waits", 5);
	for (int i = 0; i < 19; i++)
		pass(&peer, USEC_PER_SEC);
	ck_assert_uint_eq(peer.ended, 0);
	/* No heartbeats pile up behind what cannot be written. */
	ck_assert_uint_eq(buf_len(&peer.conn.out), 5);
	pass(&peer, USEC_PER_SEC);
	ck_assert_uint_eq(peer.ended, 1);
	peer_deinit(&peer);
}
END_TEST

/* An alarm: it reads nothing, for long, but lives. */
START_TEST(conn__a_peer_that_takes_nothing_but_sends_heartbeats_lives)
{
	struct peer peer;

	open_up(&peer);
	buf_append(&peer.conn.out, "waits", 5);
	for (int i = 0; i < 100; i++) {
		pass(&peer, 10 * USEC_PER_SEC);
		ck_assert_uint_eq(feed(&peer, "\x08\0\0\0\0\0\0\xce", 8), 8);
	}
	ck_assert_uint_eq(peer.ended, 0);
	ck_assert_uint_eq(buf_len(&peer.conn.out), 5);
	peer_deinit(&peer);
}
END_TEST

/* We were stopped, and not the peer: what it sent is in the socket, and is read in the next turn. */
START_TEST(conn__who_overslept_looks_once_more)
{
	struct peer peer;

	open_up(&peer);
	pass(&peer, 60 * USEC_PER_SEC);
	ck_assert_uint_eq(peer.ended, 0);
	ck_assert_uint_eq(feed(&peer, "\x08\0\0\0\0\0\0\xce", 8), 8);
	for (int i = 0; i < 19; i++)
		pass(&peer, USEC_PER_SEC);
	ck_assert_uint_eq(peer.ended, 0);
	peer_deinit(&peer);
	/* Nothing was there. */
	open_up(&peer);
	pass(&peer, 60 * USEC_PER_SEC);
	pass(&peer, 2500 * USEC_PER_MSEC);
	ck_assert_uint_eq(peer.ended, 1);
	peer_deinit(&peer);
}
END_TEST

START_TEST(conn__part_of_a_frame_is_a_sign_of_life)
{
	struct peer peer;

	open_up(&peer);
	pass(&peer, 19 * USEC_PER_SEC);
	ck_assert_uint_eq(feed(&peer, "\x08\0", 2), 0);
	pass(&peer, 19 * USEC_PER_SEC);
	ck_assert_uint_eq(peer.ended, 0);
	pass(&peer, USEC_PER_SEC);
	ck_assert_uint_eq(peer.ended, 1);
	peer_deinit(&peer);
}
END_TEST

START_TEST(conn__without_heartbeats_nobody_is_dead)
{
	struct handshake_options options = wishes;
	struct buf bytes = BUF_INIT;
	struct peer peer;

	options.heartbeat_sec = 0;
	peer_init(&peer);
	conn_begin(&peer.conn, &options, peer.now);
	append_handshake(&bytes);
	(void)conn_feed(&peer.conn, buf_span(&bytes), peer.now);
	ck_assert(mono_is_never(timerq_next(&peer.timers)));
	buf_deinit(&bytes);
	peer_deinit(&peer);
}
END_TEST

START_TEST(conn__the_connection_is_closed_in_order)
{
	struct peer peer;
	struct amqc_method method;
	struct amqc_frame frame;
	size_t size;

	open_up(&peer);
	conn_close(&peer.conn, 200, "bye");
	ck_assert_int_eq(peer.conn.state, CONN_CLOSING);
	ck_assert_int_eq(amqc_frame_peek(buf_span(&peer.conn.out), 8192, &frame, &size), AMQC_OK);
	ck_assert_int_eq(amqc_method_decode(frame.payload, &method), AMQC_OK);
	ck_assert_int_eq(method.id, AMQC_CONNECTION_CLOSE);
	ck_assert_uint_eq(peer.ended, 0);
	hear(&peer, 0, &(struct amqc_method){.id = AMQC_CONNECTION_CLOSE_OK});
	ck_assert_uint_eq(peer.ended, 1);
	ck_assert_int_eq(peer.end, CONN_END_CLOSED);
	peer_deinit(&peer);
}
END_TEST

START_TEST(conn__can_begin_again_after_its_end)
{
	struct buf bytes = BUF_INIT;
	struct peer peer;

	open_up(&peer);
	conn_end(&peer.conn, CONN_END_LOST, &FAULT_NONE);
	conn_end(&peer.conn, CONN_END_LOST, &FAULT_NONE);
	ck_assert_uint_eq(peer.ended, 1);
	conn_begin(&peer.conn, &wishes, peer.now);
	append_handshake(&bytes);
	(void)conn_feed(&peer.conn, buf_span(&bytes), peer.now);
	ck_assert_uint_eq(peer.opened, 2);
	conn_end(&peer.conn, CONN_END_LOST, &FAULT_NONE);
	ck_assert_uint_eq(peer.ended, 2);
	buf_deinit(&bytes);
	peer_deinit(&peer);
}
END_TEST

/* ------------------------------------------------------------------ every state x event */

enum event {
	EV_START,
	EV_TUNE,
	EV_OPEN_OK,
	EV_CLOSE,
	EV_CLOSE_OK,
	EV_BLOCKED,
	EV_UNBLOCKED,
	EV_SECRET_OK,
	EV_CLIENTS_METHOD,
	EV_LANE_FRAME,
	EV_CONTENT_ON_ZERO,
	EV_HEARTBEAT,
	EV_BAD_METHOD,
	EV_BAD_END,
	EV_TOO_LARGE,
	EV_COUNT
};

static void raw(struct peer *peer, const char *bytes, size_t len)
{
	(void)feed(peer, bytes, len);
}

static void cause(struct peer *peer, enum event event)
{
	static const enum amqc_method_id methods[] = {
	    [EV_START] = AMQC_CONNECTION_START,		[EV_TUNE] = AMQC_CONNECTION_TUNE,
	    [EV_OPEN_OK] = AMQC_CONNECTION_OPEN_OK,	[EV_CLOSE] = AMQC_CONNECTION_CLOSE,
	    [EV_CLOSE_OK] = AMQC_CONNECTION_CLOSE_OK,	[EV_BLOCKED] = AMQC_CONNECTION_BLOCKED,
	    [EV_UNBLOCKED] = AMQC_CONNECTION_UNBLOCKED, [EV_SECRET_OK] = AMQC_CONNECTION_UPDATE_SECRET_OK,
	    [EV_CLIENTS_METHOD] = AMQC_CONNECTION_OPEN};
	struct amqc_method method = {.id = AMQC_CHANNEL_OPEN_OK};

	if (event <= EV_CLIENTS_METHOD) {
		method.id = methods[event];
		if (event == EV_START)
			method.connection_start.mechanisms = SPAN_LITERAL("PLAIN");
		hear(peer, 0, &method);
	} else if (event == EV_LANE_FRAME) {
		hear(peer, 3, &method);
	} else if (event == EV_CONTENT_ON_ZERO) {
		raw(peer, "\x03\0\0\0\0\0\1x\xCE", 9);
	} else if (event == EV_HEARTBEAT) {
		raw(peer, "\x08\0\0\0\0\0\0\xCE", 8);
	} else if (event == EV_BAD_METHOD) {
		raw(peer, "\x01\0\0\0\0\0\4\0\x0A\0\x63\xCE", 12);
	} else if (event == EV_BAD_END) {
		raw(peer, "\x08\0\0\0\0\0\0\xCD", 8);
	} else {
		raw(peer, "\x01\0\0\x7F\xFF\xFF\xFF", 7);
	}
}

/* What becomes of it: stays, is Lost, ends as Closed. */
static const char expected[EV_COUNT][6] = {
    /* IDLE, HANDSHAKE (nothing heard yet), OPEN, CLOSING, ENDED */
    [EV_START] = "ssLss",	    [EV_TUNE] = "sLLss",
    [EV_OPEN_OK] = "sLLss",	    [EV_CLOSE] = "sLLss",
    [EV_CLOSE_OK] = "sLLCs",	    [EV_BLOCKED] = "sLsss",
    [EV_UNBLOCKED] = "sLsss",	    [EV_SECRET_OK] = "sLsss",
    [EV_CLIENTS_METHOD] = "sLLss",  [EV_LANE_FRAME] = "sLsss",
    [EV_CONTENT_ON_ZERO] = "sLLLs", [EV_HEARTBEAT] = "sssss",
    [EV_BAD_METHOD] = "sLLLs",	    [EV_BAD_END] = "sLLLs",
    [EV_TOO_LARGE] = "sLLLs",
};

static void bring_to(struct peer *peer, enum conn_state state)
{
	if (state == CONN_IDLE)
		peer_init(peer);
	else if (state == CONN_HANDSHAKE)
		begin(peer);
	else
		open_up(peer);
	if (state == CONN_CLOSING)
		conn_close(&peer->conn, 200, "bye");
	if (state == CONN_ENDED)
		conn_end(&peer->conn, CONN_END_LOST, &FAULT_NONE);
	peer->conn.garbage_seen = true;
	peer->ended = 0;
	ck_assert_int_eq(peer->conn.state, state);
}

START_TEST(conn__every_event_in_every_state)
{
	for (int state = CONN_IDLE; state <= CONN_ENDED; state++) {
		for (int event = 0; event < EV_COUNT; event++) {
			char want = expected[event][state];
			struct peer peer;

			bring_to(&peer, (enum conn_state)state);
			cause(&peer, (enum event)event);
			ck_assert_msg(peer.ended == (want != 's'), "state %d, event %d: ended %u", state,
				      event, peer.ended);
			if (want == 's')
				ck_assert_int_eq(peer.conn.state, state);
			else
				ck_assert_int_eq(peer.end, want == 'C' ? CONN_END_CLOSED : CONN_END_LOST);
			ck_assert_uint_eq(peer.frames, state == CONN_OPEN && event == EV_LANE_FRAME);
			ck_assert_uint_eq(peer.blocked, state == CONN_OPEN && event == EV_BLOCKED);
			ck_assert_uint_eq(peer.unblocked, state == CONN_OPEN && event == EV_UNBLOCKED);
			peer_deinit(&peer);
		}
	}
}
END_TEST

static void end_it(void *context, const struct amqc_frame *frame)
{
	struct peer *peer = context;

	on_frame(context, frame);
	conn_end(&peer->conn, CONN_END_LOST, &FAULT_NONE);
}

/* "For each frame: dispatch; the dispatch closed us; next frame." */
START_TEST(conn__frames_behind_the_one_that_ended_it_are_not_looked_at)
{
	static const struct conn_ops ending = {on_opened, end_it, on_blocked, on_ended};
	struct amqc_method method = {.id = AMQC_CHANNEL_OPEN_OK};
	struct buf bytes = BUF_INIT;
	struct peer peer;

	open_up(&peer);
	peer.conn.ops = &ending;
	for (uint16_t i = 1; i < 4; i++)
		ck_assert_int_eq(amqc_method_append(&bytes, i, &method), AMQC_OK);
	ck_assert_uint_eq(conn_feed(&peer.conn, buf_span(&bytes), peer.now), buf_len(&bytes));
	ck_assert_uint_eq(peer.frames, 1);
	ck_assert_uint_eq(peer.ended, 1);
	buf_deinit(&bytes);
	peer_deinit(&peer);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("conn");
	TCase *tcase = tcase_create("conn");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, conn__a_handshake_cut_anywhere_opens_it);
	tcase_add_test(tcase, conn__what_is_no_amqp_server_is_told_at_once);
	tcase_add_test(tcase, conn__another_version_is_named_however_it_is_cut);
	tcase_add_test(tcase, conn__a_header_that_only_begins_like_amqp_is_no_amqp_server);
	tcase_add_test(tcase, conn__a_close_in_the_handshake_is_answered_and_classed);
	tcase_add_test(tcase, conn__a_heartbeat_goes_out_after_half_an_interval_of_nothing_else);
	tcase_add_test(tcase, conn__whatever_is_written_is_as_good_as_a_heartbeat);
	tcase_add_test(tcase, conn__a_peer_silent_for_two_intervals_is_dead);
	tcase_add_test(tcase, conn__a_peer_that_takes_nothing_and_says_nothing_is_dead_after_two_intervals);
	tcase_add_test(tcase, conn__a_peer_that_takes_nothing_but_sends_heartbeats_lives);
	tcase_add_test(tcase, conn__who_overslept_looks_once_more);
	tcase_add_test(tcase, conn__part_of_a_frame_is_a_sign_of_life);
	tcase_add_test(tcase, conn__without_heartbeats_nobody_is_dead);
	tcase_add_test(tcase, conn__the_connection_is_closed_in_order);
	tcase_add_test(tcase, conn__can_begin_again_after_its_end);
	tcase_add_test(tcase, conn__every_event_in_every_state);
	tcase_add_test(tcase, conn__frames_behind_the_one_that_ended_it_are_not_looked_at);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
