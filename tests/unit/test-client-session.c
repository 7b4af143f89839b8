/* A connection's life: greeting, ends of every kind, fork, modes. */
#include "tests/unit/client-fake.h"
#include "tests/unit/forked.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OP(name) MUXD__V1__CLIENT_FRAME__OP_##name

struct seen {
	int closed;
	int upstream;
	int away;
	int channel_closed;
	int outcomes;
	struct muxc_error error;
	uint64_t epoch;
	uint64_t within_usec;
};

static void on_closed(struct muxc *c, const struct muxc_error *error, void *userdata)
{
	struct seen *seen = userdata;

	seen->error = *error;
	flag_add(&seen->closed, 1);
}

static void on_upstream(struct muxc *c, const struct muxc_upstream *upstream, void *userdata)
{
	struct seen *seen = userdata;

	ck_assert_str_eq(upstream->name, "default");
	seen->epoch = upstream->epoch;
	flag_add(&seen->upstream, 1);
}

static void on_going_away(struct muxc *c, uint64_t within_usec, const char *text, void *userdata)
{
	struct seen *seen = userdata;

	ck_assert_str_eq(text, "bye");
	seen->within_usec = within_usec;
	flag_add(&seen->away, 1);
}

static struct muxc_options options_for(struct seen *seen)
{
	struct muxc_options options = {.on_closed = on_closed,
				       .on_upstream = on_upstream,
				       .on_going_away = on_going_away,
				       .userdata = seen,
				       .program = "tester",
				       .upstream = "other"};

	memset(seen, 0, sizeof(*seen));
	return options;
}

START_TEST(session__everything_is_pipelined_behind_hello)
{
	struct fake fake;
	struct muxc *c;
	struct muxc_channel *channel;
	uint64_t number = 0;
	int i, kind = 0;

	fake_init(&fake);
	fake.no_welcome = true;
	fake.auto_confirm = true;
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	for (i = 0; i < 64; i++)
		ck_assert_int_eq(muxc_publish(channel, "ex", "key", NULL, MUXC_NONBLOCK, &number), 0);
	ck_assert_uint_eq(number, 64);
	/* The standing credit is spent. */
	ck_assert_int_eq(muxc_publish(channel, "ex", "key", NULL, MUXC_NONBLOCK, &number), -EAGAIN);
	ck_assert_int_eq(muxc_wait_outcome(channel, 64, 5000000, &kind, NULL), 0);
	ck_assert_int_eq(kind, MUXC_CONFIRMED);
	fake_expect(&fake, OP(PUBLISH), 64);
	ck_assert_uint_eq(fake_count(&fake, OP(HELLO)), 1);
	ck_assert_int_eq(muxc_get_upstream_state(c), -EAGAIN);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(session__greeting_tells_program_upstream_and_state)
{
	struct seen seen;
	struct muxc_options options = options_for(&seen);
	struct fake fake;
	struct muxc *c;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect_with(&fake, _i, &options);
	ck_assert_int_eq(muxc_wait_ready(c, 5000000, NULL), 0);
	ck_assert_uint_eq(muxc_get_session(c), 7);
	ck_assert_uint_eq(muxc_get_message_max(c), 16 * 1024 * 1024);
	ck_assert_int_eq(muxc_get_upstream_state(c), MUXC_UPSTREAM_UP);
	drive_until(c, _i, &seen.upstream, 1);
	ck_assert_uint_eq(seen.epoch, 3);
	ck_assert_mem_eq(fake.last[OP(HELLO)]->hello->program.data, "tester", 6);
	ck_assert_mem_eq(fake.last[OP(HELLO)]->hello->upstream.data, "other", 5);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(session__nobody_listening_is_told_at_once)
{
	struct muxc_options options = {.size = sizeof(options), .socket_path = "/nonexistent/muxd.sock"};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc *c = NULL;

	ck_assert_int_eq(muxc_connect(&options, &c, &error), -ENOENT);
	ck_assert_ptr_null(c);
	ck_assert_int_eq(error.kind, MUXC_ERROR_LIBRARY);
	ck_assert_int_eq(error.error, -ENOENT);
	ck_assert_ptr_nonnull(strstr(error.text, "/nonexistent/muxd.sock"));
}
END_TEST

START_TEST(session__path_too_long_is_told)
{
	char path[300];
	struct muxc_options options = {.size = sizeof(options), .socket_path = path};
	struct muxc *c = NULL;

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	ck_assert_int_eq(muxc_connect(&options, &c, NULL), -ENAMETOOLONG);
}
END_TEST

START_TEST(session__socket_comes_from_the_environment)
{
	struct muxc_options options = {.size = sizeof(options)};
	struct fake fake;
	struct muxc *c;
	char runtime[sizeof(fake.path) + 16];

	fake_init(&fake);
	fake_start(&fake);
	setenv("MUXD_SOCKET", fake.path, 1);
	ck_assert_int_eq(muxc_connect(&options, &c, NULL), 0);
	muxc_free(c);
	fake_stop(&fake);

	fake_init(&fake);
	snprintf(runtime, sizeof(runtime), "%s/muxd.sock", fake.directory);
	ck_assert_int_eq(rename(fake.path, runtime), 0);
	memcpy(fake.path, runtime, strlen(runtime) + 1);
	fake_start(&fake);
	unsetenv("MUXD_SOCKET");
	setenv("XDG_RUNTIME_DIR", fake.directory, 1);
	ck_assert_int_eq(muxc_connect(&options, &c, NULL), 0);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

static bool refuse_hello(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	if (frame->op_case == OP(HELLO)) {
		fake_error(fake, 0, 0, MUXD__V1__SCOPE__SESSION, 530);
		fake_hang_up(fake);
	}
	return true;
}

START_TEST(session__refusal_of_the_greeting_is_the_error_of_all_that_was_pipelined)
{
	struct seen seen;
	struct muxc_options options = options_for(&seen);
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;

	fake_init(&fake);
	fake.on_frame = refuse_hello;
	fake_start(&fake);
	c = fake_connect_with(&fake, _i, &options);
	if (muxc_channel_open(c, NULL, &channel) == 0) {
		ck_assert_int_eq(muxc_queue_purge(channel, "q", NULL, 5000000, &error), -EPERM);
		ck_assert_uint_eq(error.code, 530);
		ck_assert_int_eq(error.kind, MUXC_ERROR_BROKER);
		muxc_channel_free(channel);
	}
	drive_until(c, _i, &seen.closed, 1);
	ck_assert_int_eq(seen.error.error, -EPERM);
	ck_assert_int_eq(muxc_wait_ready(c, 1000, &error), -EPERM);
	ck_assert_int_eq(muxc_get_error(c, &error), -EPERM);
	ck_assert_str_eq(error.text, "the fake refuses");
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(session__silent_muxd_is_given_up_at_the_connect_timeout)
{
	struct seen seen;
	struct muxc_options options = options_for(&seen);
	struct fake fake;
	struct muxc *c;

	fake_init(&fake);
	fake.no_welcome = true;
	fake_start(&fake);
	options.connect_timeout_usec = 50000;
	c = fake_connect_with(&fake, _i, &options);
	ck_assert_int_eq(muxc_wait_ready(c, 5000000, NULL), -ETIMEDOUT);
	drive_until(c, _i, &seen.closed, 1);
	ck_assert_int_eq(seen.error.error, -ETIMEDOUT);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

static void channel_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	struct seen *seen = userdata;

	ck_assert_int_eq(error->error, -ECONNRESET);
	ck_assert_int_eq(error->retryable, 1);
	flag_add(&seen->channel_closed, 1);
}

static void outcome_unknown(struct muxc_channel *channel, const struct muxc_outcome *outcome, void *userdata)
{
	struct seen *seen = userdata;

	ck_assert_int_eq(outcome->kind, MUXC_UNKNOWN);
	ck_assert_int_eq(outcome->error->error, -ECONNRESET);
	flag_add(&seen->outcomes, (int)(outcome->last - outcome->first + 1));
}

static bool hang_up_at_purge(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	if (frame->op_case != OP(QUEUE_PURGE))
		return false;
	fake_hang_up(fake);
	return true;
}

START_TEST(session__end_of_stream_ends_everything_exactly_once)
{
	struct seen seen;
	struct muxc_options options = options_for(&seen);
	struct muxc_channel_options channel_options = {.size = sizeof(channel_options),
						       .on_closed = channel_closed,
						       .on_outcome = outcome_unknown,
						       .userdata = &seen};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *channel, *other;
	struct fake fake;
	struct muxc *c;
	int i, kind = 0, r;

	options.flags = MUXC_NO_RECONNECT;
	fake_init(&fake);
	fake.on_frame = hang_up_at_purge;
	fake_start(&fake);
	c = fake_connect_with(&fake, _i, &options);
	ck_assert_int_eq(muxc_channel_open(c, &channel_options, &channel), 0);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &other), 0);
	for (i = 0; i < 5; i++)
		ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), 0);
	ck_assert_int_eq(muxc_queue_purge(channel, "q", NULL, 5000000, &error), -ECONNRESET);
	ck_assert_int_eq(error.retryable, 1);
	drive_until(c, _i, &seen.closed, 1);
	ck_assert_int_eq(seen.error.error, -ECONNRESET);
	ck_assert_int_eq(flag_get(&seen.channel_closed), 1);
	ck_assert_int_eq(flag_get(&seen.outcomes), 5);
	ck_assert_int_eq(muxc_wait_outcome(channel, 3, 1000, &kind, &error), 0);
	ck_assert_int_eq(kind, MUXC_UNKNOWN);
	ck_assert_int_eq(muxc_publish(other, "", "q", NULL, 0, NULL), -ECONNRESET);
	ck_assert_int_eq(muxc_ping(c, 1000, NULL), -ECONNRESET);
	if (_i) {
		while ((r = muxc_process(c)) > 0)
			;
		ck_assert_int_eq(r, -ECONNRESET);
	}
	ck_assert_int_eq(flag_get(&seen.closed), 1);
	ck_assert_int_eq(flag_get(&seen.channel_closed), 1);
	muxc_channel_free(channel);
	muxc_channel_free(other);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(session__garbage_from_muxd_is_a_protocol_error)
{
	static const uint8_t garbage[][16] = {
	    {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},	/* header too long */
	    {0, 0, 0, 2, 0, 0, 0, 0, 0x07, 0x07},	/* no protobuf */
	    {0, 0, 0, 2, 0, 0, 0, 0, 0x08, 0x63},	/* answer to no request */
	    {0, 0, 0, 3, 0, 0, 0, 0, 0x4a, 0x02, 0x08}, /* cut */
	};
	struct seen seen;
	struct muxc_options options = options_for(&seen);
	struct fake fake;
	struct muxc *c;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect_with(&fake, _i & 1, &options);
	ck_assert_int_eq(muxc_wait_ready(c, 5000000, NULL), 0);
	fake_send_raw(&fake, garbage[_i / 2], sizeof(garbage[0]));
	drive_until(c, _i & 1, &seen.closed, 1);
	ck_assert_int_eq(seen.error.error, -EPROTO);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(session__going_away_is_told)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__GoAway away = MUXD__V1__GO_AWAY__INIT;
	struct seen seen;
	struct muxc_options options = options_for(&seen);
	struct fake fake;
	struct muxc *c;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect_with(&fake, _i, &options);
	ck_assert_int_eq(muxc_wait_ready(c, 5000000, NULL), 0);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_GO_AWAY;
	frame.go_away = &away;
	away.has_deadline_ms = away.has_text = 1;
	away.deadline_ms = 1500;
	away.text.data = (uint8_t *)(uintptr_t) "bye";
	away.text.len = 3;
	fake_send(&fake, &frame, SPAN_NULL);
	drive_until(c, _i, &seen.away, 1);
	ck_assert_uint_eq(seen.within_usec, 1500000);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

static bool swallow_purge(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	return frame->op_case == OP(QUEUE_PURGE);
}

START_TEST(session__newest_of_what_no_handler_took_is_kept)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__UpstreamChanged changed = MUXD__V1__UPSTREAM_CHANGED__INIT;
	struct seen seen = {0};
	struct muxc_options options = {.on_upstream = on_upstream, .userdata = &seen};
	struct fake fake;
	struct muxc *c;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect_with(&fake, 1, &options);
	ck_assert_int_eq(muxc_ping(c, 0, NULL), 0);
	fake_frame(&fake, &frame, 0, 0);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_UPSTREAM_CHANGED;
	frame.upstream_changed = &changed;
	changed.has_name = changed.has_epoch = 1;
	changed.name = (ProtobufCBinaryData){strlen("default"), (uint8_t *)(uintptr_t) "default"};
	while (changed.epoch < 200) {
		changed.epoch++;
		fake_send(&fake, &frame, SPAN_NULL);
	}
	ck_assert_int_eq(muxc_ping(c, 0, NULL), 0); /* reads them, calls no handler */
	while (muxc_process(c) > 0)
		;
	ck_assert_int_eq(seen.upstream, 64);
	ck_assert_uint_eq(seen.epoch, 200);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(session__unanswered_request_ends_at_its_deadline)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;

	fake_init(&fake);
	fake.on_frame = swallow_purge;
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_queue_purge(channel, "q", NULL, 500000, &error), -ETIMEDOUT);
	ck_assert_int_eq(error.kind, MUXC_ERROR_LIBRARY);
	ck_assert_int_eq(error.retryable, 1);
	fake_expect(&fake, OP(QUEUE_PURGE), 1);
	ck_assert_uint_gt(fake.last[OP(QUEUE_PURGE)]->deadline_ms, 0);
	ck_assert_uint_lt(fake.last[OP(QUEUE_PURGE)]->deadline_ms, 500);
	ck_assert_int_eq(muxc_ping(c, 5000000, NULL), 0);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(session__loop_calls_are_refused_in_threaded_mode)
{
	struct fake fake;
	struct muxc *c;
	uint64_t usec;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect(&fake, 0);
	ck_assert_int_eq(muxc_process(c), -EOPNOTSUPP);
	ck_assert_int_eq(muxc_get_fd(c), -EOPNOTSUPP);
	ck_assert_int_eq(muxc_get_events(c), -EOPNOTSUPP);
	ck_assert_int_eq(muxc_get_timeout(c, &usec), -EOPNOTSUPP);
	ck_assert_int_eq(muxc_wait(c, 0), -EOPNOTSUPP);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(session__loop_sends_when_processed_or_flushed)
{
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;
	uint64_t usec = 0;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect(&fake, 1);
	ck_assert_int_eq(muxc_get_timeout(c, &usec), 0);
	ck_assert_uint_lt(usec, UINT64_MAX); /* the greeting has a deadline */
	ck_assert_int_eq(muxc_wait_ready(c, 5000000, NULL), 0);
	ck_assert_int_eq(muxc_get_events(c), POLLIN);
	ck_assert_int_eq(muxc_get_timeout(c, &usec), 0);
	ck_assert_uint_eq(usec, UINT64_MAX);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), 0);
	ck_assert_int_eq(muxc_get_events(c), POLLIN | POLLOUT);
	ck_assert_int_eq(muxc_flush(c), 0);
	fake_expect(&fake, OP(PUBLISH), 1);
	ck_assert_int_eq(muxc_get_events(c), POLLIN);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(session__free_hands_over_what_is_queued)
{
	struct muxc_channel *channel;
	struct fake fake;
	struct muxc *c;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, MUXC_MORE, NULL), 0);
	muxc_free(c);
	fake_expect(&fake, OP(PUBLISH), 1);
	fake_expect_end(&fake);
	/* The channel is still its owner's. */
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, 0, NULL), -ESHUTDOWN);
	ck_assert_ptr_null(muxc_channel_get_connection(channel));
	muxc_channel_free(channel);
	fake_stop(&fake);
}
END_TEST

START_TEST(session__leaves_no_descriptor_behind)
{
	int before = open_descriptors();
	struct fake fake;
	struct muxc *c;

	fake_init(&fake);
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_wait_ready(c, 5000000, NULL), 0);
	muxc_free(c);
	fake_stop(&fake);
	ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

START_TEST(session__forked_child_gets_echild_and_leaves_the_stream_alone)
{
	struct muxc_channel *channel;
	struct muxc_message *message;
	struct fake fake;
	struct muxc *c;
	pid_t pid;

	fake_init(&fake);
	fake.auto_confirm = true;
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_wait_ready(c, 5000000, NULL), 0);
	ck_assert_int_eq(muxc_channel_open(c, NULL, &channel), 0);
	ck_assert_int_eq(muxc_publish(channel, "", "q", NULL, MUXC_MORE, NULL), 0);
	ck_assert_int_eq(muxc_message_new(&message), 0);
	pid = fork_quietly();
	if (pid == 0) {
		bool ok = muxc_publish(channel, "", "q", message, 0, NULL) == -ECHILD;

		ok &= muxc_ack(channel, 1, 0) == -ECHILD;
		ok &= muxc_ping(c, 1000, NULL) == -ECHILD;
		ok &= muxc_flush(c) == -ECHILD;
		ok &= muxc_get_error(c, NULL) == -ECHILD;
		ok &= muxc_wait_all(channel, 1000, NULL, NULL) == -ECHILD;
		ok &= muxc_channel_close(channel) == -ECHILD;
		ok &= muxc_get_session(c) == 0;
		muxc_message_unref(message);
		muxc_channel_free(channel);
		muxc_free(c);
		_exit(ok ? 0 : 1);
	}
	ck_assert_int_eq(wait_for_child(pid), 0);
	muxc_message_unref(message);
	/* The parent's session goes on, and nothing was sent twice. */
	ck_assert_int_eq(muxc_wait_all(channel, 5000000, NULL, NULL), 0);
	ck_assert_int_eq(muxc_ping(c, 5000000, NULL), 0);
	ck_assert_uint_eq(fake_count(&fake, OP(PUBLISH)), 1);
	ck_assert_uint_eq(fake_count(&fake, OP(CHANNEL_CLOSE)), 0);
	muxc_channel_free(channel);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

START_TEST(session__wrong_arguments_are_einval)
{
	struct muxc_options bad = {.size = sizeof(bad), .flags = 0x8000};
	struct muxc_options no_size = {.size = 0};
	struct muxc *c = NULL;

	ck_assert_int_eq(muxc_connect(NULL, NULL, NULL), -EINVAL);
	ck_assert_int_eq(muxc_connect(&bad, &c, NULL), -EINVAL);
	ck_assert_int_eq(muxc_connect(&no_size, &c, NULL), -EINVAL);
	ck_assert_ptr_null(c);
	ck_assert_int_eq(muxc_flush(NULL), -EINVAL);
	ck_assert_int_eq(muxc_ping(NULL, 0, NULL), -EINVAL);
	ck_assert_int_eq(muxc_ack(NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(muxc_publish(NULL, "", "", NULL, 0, NULL), -EINVAL);
	ck_assert_int_eq(muxc_qos(NULL, 1, 0, NULL), -EINVAL);
	ck_assert_ptr_null(muxc_free(NULL));
	ck_assert_ptr_null(muxc_channel_free(NULL));
	ck_assert_ptr_null(muxc_message_unref(NULL));
	ck_assert_ptr_null(muxc_status_free(NULL));
	ck_assert_ptr_null(muxc_session_list_free(NULL));
	ck_assert_ptr_null(muxc_channel_list_free(NULL));
}
END_TEST

/* Frees the connection from inside its own handler. */
static void free_inside(struct muxc *c, const struct muxc_upstream *upstream, void *userdata)
{
	muxc_free(c);
	flag_add(userdata, 1);
}

START_TEST(session__handler_may_free_the_connection)
{
	struct muxc_options options = {.on_upstream = free_inside};
	struct fake fake;
	struct muxc *c;
	int freed = 0;

	fake_init(&fake);
	fake_start(&fake);
	options.userdata = &freed;
	c = fake_connect_with(&fake, _i, &options);
	while (_i && !flag_get(&freed)) {
		ck_assert_int_eq(muxc_wait(c, 5000000), 1);
		(void)muxc_process(c);
	}
	fake_expect_end(&fake);
	drive_until(NULL, 0, &freed, 1);
	fake_stop(&fake);
}
END_TEST

/* ------------------------------------------------------------------------ admin */

static bool answer_admin(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	Muxd__V1__ServerFrame answer = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Status status = MUXD__V1__STATUS__INIT;
	Muxd__V1__UpstreamStatus upstream = MUXD__V1__UPSTREAM_STATUS__INIT, *upstreams[1] = {&upstream};
	Muxd__V1__Lanes lanes = MUXD__V1__LANES__INIT;
	Muxd__V1__Sessions sessions = MUXD__V1__SESSIONS__INIT;
	Muxd__V1__SessionInfo session = MUXD__V1__SESSION_INFO__INIT, *session_list[1] = {&session};
	Muxd__V1__Channels channels = MUXD__V1__CHANNELS__INIT;
	Muxd__V1__ChannelInfo channel = MUXD__V1__CHANNEL_INFO__INIT, *channel_list[1] = {&channel};

	answer.has_request = 1;
	answer.request = frame->request;
	if (frame->op_case == OP(STATUS)) {
		answer.event_case = MUXD__V1__SERVER_FRAME__EVENT_STATUS;
		answer.status = &status;
		status.has_version = status.has_pid = 1;
		status.version = (ProtobufCBinaryData){5, (uint8_t *)(uintptr_t) "0.1.0"};
		status.pid = 42;
		status.n_upstreams = 1;
		status.upstreams = upstreams;
		upstream.has_name = upstream.has_state = 1;
		upstream.name = (ProtobufCBinaryData){7, (uint8_t *)(uintptr_t) "default"};
		upstream.state = MUXD__V1__UPSTREAM_STATE__BLOCKED;
		upstream.lanes = &lanes;
		lanes.has_leased = 1;
		lanes.leased = 3;
	} else if (frame->op_case == OP(SESSIONS)) {
		answer.event_case = MUXD__V1__SERVER_FRAME__EVENT_SESSIONS;
		answer.sessions = &sessions;
		sessions.n_sessions = 1;
		sessions.sessions = session_list;
		session.has_id = session.has_program = 1;
		session.id = frame->sessions->after + 1;
		session.program = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "abc"};
		sessions.has_more = 1;
		sessions.more = session.id < 3;
	} else if (frame->op_case == OP(CHANNELS)) {
		answer.event_case = MUXD__V1__SERVER_FRAME__EVENT_CHANNELS;
		answer.channels = &channels;
		channels.n_channels = 1;
		channels.channels = channel_list;
		channel.has_session = channel.has_channel = 1;
		channel.session = frame->channels->after_session + 1;
		channel.channel = frame->channels->after_channel + 10;
		channels.has_more = 1;
		channels.more = channel.session < 2;
	} else {
		return false;
	}
	fake_send(fake, &answer, SPAN_NULL);
	return true;
}

START_TEST(session__admin_calls_give_plain_structs_page_by_page)
{
	struct muxc_session_list *sessions = NULL;
	struct muxc_channel_list *channels = NULL;
	struct muxc_status *status = NULL;
	struct fake fake;
	struct muxc *c;

	fake_init(&fake);
	fake.on_frame = answer_admin;
	fake_start(&fake);
	c = fake_connect(&fake, _i);
	ck_assert_int_eq(muxc_ping(c, 5000000, NULL), 0);
	ck_assert_int_eq(muxc_status(c, 5000000, &status, NULL), 0);
	ck_assert_str_eq(status->version, "0.1.0");
	ck_assert_uint_eq(status->pid, 42);
	ck_assert_uint_eq(status->upstreams, 1);
	ck_assert_str_eq(muxc_status_get_upstream(status, 0)->name, "default");
	ck_assert_str_eq(muxc_status_get_upstream(status, 0)->last_error, "");
	ck_assert_str_eq(muxc_upstream_state_name(muxc_status_get_upstream(status, 0)->state), "blocked");
	ck_assert_uint_eq(muxc_status_get_upstream(status, 0)->lanes_leased, 3);
	ck_assert_ptr_null(muxc_status_get_upstream(status, 1));
	muxc_status_free(status);
	ck_assert_int_eq(muxc_sessions(c, 5000000, &sessions, NULL), 0);
	ck_assert_uint_eq(muxc_session_list_count(sessions), 3);
	ck_assert_uint_eq(muxc_session_list_get(sessions, 2)->id, 3);
	ck_assert_str_eq(muxc_session_list_get(sessions, 0)->program, "abc");
	ck_assert_ptr_null(muxc_session_list_get(sessions, 3));
	muxc_session_list_free(sessions);
	ck_assert_int_eq(muxc_channels(c, 5000000, &channels, NULL), 0);
	ck_assert_uint_eq(muxc_channel_list_count(channels), 2);
	ck_assert_uint_eq(muxc_channel_list_get(channels, 1)->channel, 20);
	muxc_channel_list_free(channels);
	muxc_free(c);
	fake_stop(&fake);
}
END_TEST

static Suite *suite_session(void)
{
	Suite *suite = suite_create("client session");
	TCase *tcase = tcase_create("session");

	tcase_set_timeout(tcase, 30);
	tcase_add_loop_test(tcase, session__everything_is_pipelined_behind_hello, 0, 2);
	tcase_add_loop_test(tcase, session__greeting_tells_program_upstream_and_state, 0, 2);
	tcase_add_test(tcase, session__nobody_listening_is_told_at_once);
	tcase_add_test(tcase, session__path_too_long_is_told);
	tcase_add_test(tcase, session__socket_comes_from_the_environment);
	tcase_add_loop_test(tcase, session__refusal_of_the_greeting_is_the_error_of_all_that_was_pipelined, 0,
			    2);
	tcase_add_loop_test(tcase, session__silent_muxd_is_given_up_at_the_connect_timeout, 0, 2);
	tcase_add_loop_test(tcase, session__end_of_stream_ends_everything_exactly_once, 0, 2);
	tcase_add_loop_test(tcase, session__garbage_from_muxd_is_a_protocol_error, 0, 8);
	tcase_add_loop_test(tcase, session__going_away_is_told, 0, 2);
	tcase_add_test(tcase, session__newest_of_what_no_handler_took_is_kept);
	tcase_add_loop_test(tcase, session__unanswered_request_ends_at_its_deadline, 0, 2);
	tcase_add_test(tcase, session__loop_calls_are_refused_in_threaded_mode);
	tcase_add_test(tcase, session__loop_sends_when_processed_or_flushed);
	tcase_add_loop_test(tcase, session__free_hands_over_what_is_queued, 0, 2);
	tcase_add_loop_test(tcase, session__leaves_no_descriptor_behind, 0, 2);
	tcase_add_loop_test(tcase, session__forked_child_gets_echild_and_leaves_the_stream_alone, 0, 2);
	tcase_add_test(tcase, session__wrong_arguments_are_einval);
	tcase_add_loop_test(tcase, session__handler_may_free_the_connection, 0, 2);
	tcase_add_loop_test(tcase, session__admin_calls_give_plain_structs_page_by_page, 0, 2);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(suite_session());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
