/*
 * The front end over a socket pair, with the real mux behind it and an
 * upstream that never comes up: what a client may do wrong, and what muxd
 * answers by itself. The codes are those of proto/PROTOCOL.md.
 */
#include "daemon/front/front.h"
#include "proto/frame.h"
#include "proto/muxd.pb-c.h"
#include "tests/rig/setup.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURNS_MAX 10000
#define MESSAGE_MAX 100000u
#define HELLO_USEC (30 * USEC_PER_MSEC)
#define CLIENTS_MAX 4

static struct {
	struct loop *loop;
	struct mux *mux;
	struct front *front;
	int fds[CLIENTS_MAX];
	struct buf received[CLIENTS_MAX];
	size_t count;
	Muxd__V1__ServerFrame *frame; /* the last one received; owned */
	bool refuses;		      /* admit() says no */
	bool controls;
	bool narrow; /* sockets of clients to come take little */
} t;

static bool admit(void *context, const struct mux_creds *creds, const char *upstream,
		  struct front_limits *limits, struct fault *ret_fault)
{
	ck_assert_uint_eq(creds->uid, geteuid());
	ck_assert_uint_eq(creds->pid, (uint32_t)getpid());
	if (t.refuses)
		*ret_fault = fault_make(403, "ACCESS_REFUSED - not you");
	return !t.refuses;
}

static void hook_begin(void *context, struct mono now)
{
	mux_set_now(t.mux, now);
}

static struct mono hook_next_deadline(void *context)
{
	return mux_next_deadline(t.mux);
}

static void hook_run_timers(void *context)
{
	mux_run_timers(t.mux);
}

static bool control(void *context, const struct mux_creds *creds, const char *upstream,
		    struct fault *ret_fault)
{
	ck_assert_uint_eq(creds->uid, geteuid());
	ck_assert_str_eq(upstream, "other");
	if (!t.controls)
		*ret_fault = fault_make(403, "ACCESS_REFUSED - not you");
	return t.controls;
}

static void hook_turn(void *context)
{
	mux_turn(t.mux);
}

static const struct loop_hooks hooks = {.begin = hook_begin,
					.next_deadline = hook_next_deadline,
					.run_timers = hook_run_timers,
					.turn = hook_turn};

static void add_upstream(const char *name)
{
	struct upstream_options options = setup_upstream();
	struct upstream *upstream;

	options.name = name;
	options.connect_timeout_usec = 60 * USEC_PER_SEC;
	ck_assert_int_eq(upstream_new(t.mux, &options, &setup_no_body, NULL, &upstream), 0);
	upstream_start(upstream);
}

static void setup(void)
{
	struct mux_options mux = setup_mux();
	struct front_options front = {
	    .version = "0.1.0",
	    .limits = {.message_max = MESSAGE_MAX,
		       .session_memory = 1000000,
		       .channels_max = 20,
		       .sessions_per_uid = 3},
	    .sessions_max = 10,
	    .hello_usec = HELLO_USEC,
	    .admit = admit,
	    .control = control,
	};

	mux.limits.total_memory = 10000000;
	mux.limits.session_memory = 1000000;
	mux.limits.message_max = MESSAGE_MAX;
	mux.limits.sessions = 10;
	mux.limits.channels_per_session = 20;
	mux.random = setup_no_chance;
	t.count = 0;
	t.frame = NULL;
	t.refuses = false;
	t.narrow = false;
	ck_assert_int_eq(loop_new(&t.loop), 0);
	ck_assert_int_eq(mux_new(&mux, &t.mux), 0);
	mux_set_now(t.mux, loop_now(t.loop));
	loop_set_hooks(t.loop, &hooks, NULL);
	add_upstream("default");
	add_upstream("other");
	front.loop = t.loop;
	front.mux = t.mux;
	ck_assert_int_eq(front_new(&front, &t.front), 0);
}

static void teardown(void)
{
	if (t.frame)
		muxd__v1__server_frame__free_unpacked(t.frame, NULL);
	(void)front_free(t.front);
	mux_free(t.mux);
	(void)loop_free(t.loop);
	for (size_t i = 0; i < t.count; i++) {
		(void)close(t.fds[i]);
		buf_deinit(&t.received[i]);
	}
}

/* ------------------------------------------------------------------ a client */

static size_t connect_client(void)
{
	int fds[2];
	int size = 1; /* the least the kernel has */

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	if (t.narrow)
		ck_assert_int_eq(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	front_accept(t.front, fds[1]);
	t.fds[t.count] = fds[0];
	t.received[t.count] = BUF_INIT;
	return t.count++;
}

static void send_bytes(size_t client, const void *data, size_t len)
{
	ck_assert_int_eq(write(t.fds[client], data, len), (ssize_t)len);
}

static void send_frame(size_t client, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	struct buf out = BUF_INIT;
	size_t size = muxd__v1__client_frame__get_packed_size(frame);
	uint8_t *room;

	ipc_frame_prefix(&out, size, payload.len);
	room = buf_reserve(&out, size);
	ck_assert_ptr_nonnull(room);
	buf_commit(&out, muxd__v1__client_frame__pack(frame, room));
	buf_append_span(&out, payload);
	send_bytes(client, out.data, buf_len(&out));
	buf_deinit(&out);
}

/* Reads what is there; false: the end of the stream. */
static bool receive_some(size_t client)
{
	uint8_t piece[65536];
	ssize_t n;

	while ((n = read(t.fds[client], piece, sizeof(piece))) > 0)
		buf_append(&t.received[client], piece, (size_t)n);
	return n < 0 && errno == EAGAIN;
}

/* The next frame, or NULL at the end of the stream. Valid until the next call. */
static const Muxd__V1__ServerFrame *receive(size_t client)
{
	struct ipc_frame frame;
	size_t size;
	bool open = true;

	if (t.frame)
		muxd__v1__server_frame__free_unpacked(t.frame, NULL);
	t.frame = NULL;
	for (int i = 0; i < TURNS_MAX; i++) {
		if (ipc_frame_parse(buf_span(&t.received[client]), IPC_PAYLOAD_MAX, &frame, &size) ==
		    IPC_FRAME_OK) {
			t.frame = muxd__v1__server_frame__unpack(NULL, frame.header.len, frame.header.data);
			ck_assert_ptr_nonnull(t.frame);
			buf_consume(&t.received[client], size);
			return t.frame;
		}
		if (!open)
			return NULL;
		ck_assert_int_eq(loop_turn(t.loop, i > 0), 0);
		open = receive_some(client);
	}
	ck_abort_msg("nothing came");
}

static void assert_text(ProtobufCBinaryData text, const char *part)
{
	char copy[512];

	ck_assert_uint_lt(text.len, sizeof(copy));
	memcpy(copy, text.data, text.len);
	copy[text.len] = 0;
	ck_assert_msg(strstr(copy, part) != NULL, "'%s' has no '%s'", copy, part);
}

/* The session ends by this error, which is the last frame. */
static void expect_session_error(size_t client, unsigned int code, const char *part)
{
	const Muxd__V1__ServerFrame *frame = receive(client);

	ck_assert_ptr_nonnull(frame);
	ck_assert_int_eq(frame->event_case, MUXD__V1__SERVER_FRAME__EVENT_ERROR);
	ck_assert_uint_eq(frame->error->code, code);
	ck_assert_int_eq(frame->error->scope, MUXD__V1__SCOPE__SESSION);
	ck_assert(!frame->has_request && !frame->has_channel);
	assert_text(frame->error->text, part);
	ck_assert_ptr_null(receive(client));
	ck_assert_uint_eq(mux_session_count(t.mux), 0);
	ck_assert_uint_eq(front_count(t.front), 0);
}

static void send_hello(size_t client, unsigned int min, unsigned int max, const char *feature,
		       const char *upstream)
{
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;
	Muxd__V1__Hello hello = MUXD__V1__HELLO__INIT;
	ProtobufCBinaryData features[1];

	hello.has_version_min = true;
	hello.version_min = min;
	hello.has_version_max = true;
	hello.version_max = max;
	if (feature) {
		features[0] = (ProtobufCBinaryData){strlen(feature), (uint8_t *)(uintptr_t)feature};
		hello.n_features = 1;
		hello.features = features;
	}
	if (upstream) {
		hello.has_upstream = true;
		hello.upstream = (ProtobufCBinaryData){strlen(upstream), (uint8_t *)(uintptr_t)upstream};
	}
	frame.op_case = MUXD__V1__CLIENT_FRAME__OP_HELLO;
	frame.hello = &hello;
	send_frame(client, &frame, SPAN_NULL);
}

/* A client that was greeted. */
static size_t greeted(void)
{
	size_t client = connect_client();

	send_hello(client, 1, 1, NULL, NULL);
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_WELCOME);
	return client;
}

static void send_ping(size_t client, unsigned int request)
{
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;
	Muxd__V1__Ping ping = MUXD__V1__PING__INIT;

	frame.has_request = true;
	frame.request = request;
	frame.op_case = MUXD__V1__CLIENT_FRAME__OP_PING;
	frame.ping = &ping;
	send_frame(client, &frame, SPAN_NULL);
}

static void send_open(size_t client, unsigned int channel, unsigned int generation)
{
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;
	Muxd__V1__ChannelOpen open = MUXD__V1__CHANNEL_OPEN__INIT;

	frame.has_channel = true;
	frame.channel = channel;
	open.has_generation = true;
	open.generation = generation;
	frame.op_case = MUXD__V1__CLIENT_FRAME__OP_CHANNEL_OPEN;
	frame.channel_open = &open;
	send_frame(client, &frame, SPAN_NULL);
}

static void send_publish_of(size_t client, unsigned int channel, Muxd__V1__Properties *properties,
			    struct span body, bool resent)
{
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;
	Muxd__V1__Publish publish = MUXD__V1__PUBLISH__INIT;

	frame.has_channel = true;
	frame.channel = channel;
	publish.properties = properties;
	publish.has_resent = resent;
	publish.resent = resent;
	frame.op_case = MUXD__V1__CLIENT_FRAME__OP_PUBLISH;
	frame.publish = &publish;
	send_frame(client, &frame, body);
}

static void send_publish(size_t client, unsigned int channel, Muxd__V1__Properties *properties,
			 struct span body)
{
	send_publish_of(client, channel, properties, body, false);
}

/* ------------------------------------------------------------------ the start of a session */

START_TEST(ipc__greets_with_what_the_session_may_do)
{
	size_t client = connect_client();
	const Muxd__V1__Welcome *welcome;
	const Muxd__V1__ServerFrame *frame;

	send_hello(client, 1, 3, NULL, "other");
	frame = receive(client);
	ck_assert_int_eq(frame->event_case, MUXD__V1__SERVER_FRAME__EVENT_WELCOME);
	welcome = frame->welcome;
	ck_assert_uint_eq(welcome->version, 1);
	assert_text(welcome->server, "muxd 0.1.0");
	ck_assert_uint_gt(welcome->session, 0);
	ck_assert_uint_eq(welcome->channels_max, 20);
	ck_assert_uint_eq(welcome->requests_max, 256);
	ck_assert_uint_eq(welcome->message_max, MESSAGE_MAX);
	ck_assert_uint_ge(welcome->credit->messages, 64);
	ck_assert_uint_ge(welcome->credit->bytes, 16384);
	assert_text(welcome->upstream->name, "other");
	ck_assert_int_eq(welcome->upstream->state, MUXD__V1__UPSTREAM_STATE__CONNECTING);
	ck_assert_uint_eq(mux_session_count(t.mux), 1);
}
END_TEST

START_TEST(ipc__no_version_in_common_ends_the_session)
{
	size_t client = connect_client();

	send_hello(client, 2, 7, NULL, NULL);
	expect_session_error(client, 530, "this muxd speaks 1 to 1, the client 2 to 7");
}
END_TEST

START_TEST(ipc__unknown_feature_is_named)
{
	size_t client = connect_client();

	send_hello(client, 1, 1, "teleport", NULL);
	expect_session_error(client, 540, "'teleport'");
}
END_TEST

START_TEST(ipc__unknown_upstream_is_answered_with_those_there_are)
{
	size_t client = connect_client();

	send_hello(client, 1, 1, NULL, "elsewhere");
	expect_session_error(client, 404, "no upstream 'elsewhere'; there is: default, other");
}
END_TEST

START_TEST(ipc__who_is_not_admitted_is_told_so)
{
	size_t client = connect_client();

	t.refuses = true;
	send_hello(client, 1, 1, NULL, NULL);
	expect_session_error(client, 403, "not you");
}
END_TEST

START_TEST(ipc__first_frame_must_be_hello)
{
	size_t client = connect_client();

	send_ping(client, 1);
	expect_session_error(client, 503, "Hello");
}
END_TEST

START_TEST(ipc__body_before_hello_is_refused_by_its_lengths_alone)
{
	size_t client = connect_client();
	static const uint8_t prefix[8] = {0, 0, 0, 10, 0, 0, 0, 200};

	send_bytes(client, prefix, sizeof(prefix));
	expect_session_error(client, 503, "Hello");
}
END_TEST

START_TEST(ipc__second_hello_ends_the_session)
{
	size_t client = greeted();

	send_hello(client, 1, 1, NULL, NULL);
	expect_session_error(client, 503, "second Hello");
}
END_TEST

START_TEST(ipc__silence_instead_of_hello_ends_the_session)
{
	size_t client = connect_client();

	send_bytes(client, "\0\0", 2);
	expect_session_error(client, 408, "no Hello within 30 ms");
}
END_TEST

START_TEST(ipc__user_with_too_many_sessions_is_turned_away)
{
	const Muxd__V1__ServerFrame *frame;
	size_t client;

	for (int i = 0; i < 3; i++)
		(void)greeted();
	client = connect_client();
	frame = receive(client);
	ck_assert_int_eq(frame->event_case, MUXD__V1__SERVER_FRAME__EVENT_ERROR);
	ck_assert_uint_eq(frame->error->code, 506);
	ck_assert(frame->error->retryable);
	assert_text(frame->error->text, "too many sessions of this user: sessions-per-uid is 3, and uid ");
	ck_assert_ptr_null(receive(client));
	ck_assert_uint_eq(mux_session_count(t.mux), 3);
	send_ping(0, 1); /* the others do not notice */
	ck_assert_int_eq(receive(0)->event_case, MUXD__V1__SERVER_FRAME__EVENT_DONE);
}
END_TEST

/* ------------------------------------------------------------------ bad frames */

START_TEST(ipc__garbage_ends_the_session_with_its_size)
{
	size_t client = connect_client();

	send_bytes(client, "GET / HTTP/1.1\r\n\r\n", 18);
	expect_session_error(client, 501, "a header of 1195725856 bytes");
}
END_TEST

START_TEST(ipc__empty_header_is_refused)
{
	size_t client = greeted();

	send_bytes(client, "\0\0\0\0\0\0\0\0", 8);
	expect_session_error(client, 501, "a header of 0 bytes");
}
END_TEST

START_TEST(ipc__payload_above_message_max_is_refused_by_its_length_alone)
{
	size_t client = greeted();
	uint8_t prefix[8];

	store_be32(prefix, 10);
	store_be32(prefix + 4, MESSAGE_MAX + 1);
	send_bytes(client, prefix, sizeof(prefix));
	expect_session_error(client, 311, "a payload of 100001 bytes; message-max is 100000");
}
END_TEST

START_TEST(ipc__payload_above_the_credit_is_refused_before_it_has_come)
{
	size_t client = greeted();
	uint8_t prefix[8];

	store_be32(prefix, 10);
	store_be32(prefix + 4, MESSAGE_MAX);
	send_bytes(client, prefix, sizeof(prefix));
	expect_session_error(client, 506, "publish credit overrun");
}
END_TEST

START_TEST(ipc__malformed_header_is_refused)
{
	size_t client = greeted();

	send_bytes(client, "\0\0\0\2\0\0\0\0\xff\xff", 10);
	expect_session_error(client, 502, "malformed header");
}
END_TEST

START_TEST(ipc__field_of_another_type_is_refused)
{
	size_t client = greeted();

	/* request, as a string */
	send_bytes(client, "\0\0\0\3\0\0\0\0\x0a\x01x", 11);
	expect_session_error(client, 502, "another type");
}
END_TEST

START_TEST(ipc__unknown_operation_is_refused)
{
	size_t client = greeted();

	/* request: 1, and operation 99, which there is not */
	send_bytes(client, "\0\0\0\5\0\0\0\0\x08\x01\x9a\x06\x00", 13);
	expect_session_error(client, 540, "no operation that this muxd knows");
}
END_TEST

START_TEST(ipc__payload_where_there_is_none_is_refused)
{
	size_t client = greeted();
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;
	Muxd__V1__Ping ping = MUXD__V1__PING__INIT;

	frame.has_request = true;
	frame.request = 1;
	frame.op_case = MUXD__V1__CLIENT_FRAME__OP_PING;
	frame.ping = &ping;
	send_frame(client, &frame, span_str("body"));
	expect_session_error(client, 501, "a payload of 4 bytes");
}
END_TEST

START_TEST(ipc__unknown_settle_kind_is_refused)
{
	size_t client = greeted();
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;
	Muxd__V1__Settle settle = MUXD__V1__SETTLE__INIT;

	send_open(client, 1, 1);
	frame.has_channel = true;
	frame.channel = 1;
	settle.has_kind = true;
	settle.kind = 9;
	frame.op_case = MUXD__V1__CLIENT_FRAME__OP_SETTLE;
	frame.settle = &settle;
	send_frame(client, &frame, SPAN_NULL);
	expect_session_error(client, 502, "no kind 9");
}
END_TEST

START_TEST(ipc__channel_above_the_highest_is_refused)
{
	size_t client = greeted();

	send_open(client, 21, 1);
	expect_session_error(client, 504, "21");
}
END_TEST

START_TEST(ipc__nothing_behind_a_mistake_is_done)
{
	size_t client = greeted();

	send_bytes(client, "\0\0\0\0\0\0\0\0", 8);
	send_ping(client, 1);
	expect_session_error(client, 501, "a header of 0 bytes");
}
END_TEST

START_TEST(ipc__one_session_s_mistake_is_not_felt_by_another)
{
	size_t good = greeted();
	size_t bad = greeted();

	send_bytes(bad, "\0\0\0\0\0\0\0\0", 8);
	ck_assert_int_eq(receive(bad)->event_case, MUXD__V1__SERVER_FRAME__EVENT_ERROR);
	ck_assert_ptr_null(receive(bad));
	send_ping(good, 5);
	ck_assert_int_eq(receive(good)->event_case, MUXD__V1__SERVER_FRAME__EVENT_DONE);
	ck_assert_uint_eq(mux_session_count(t.mux), 1);
}
END_TEST

/* ------------------------------------------------------------------ what is answered here */

START_TEST(ipc__answers_pings_that_come_in_pieces_and_all_at_once)
{
	size_t client = connect_client();
	static const uint8_t pings[] = "\0\0\0\5\0\0\0\0\x08\x01\x82\x04\0"
				       "\0\0\0\5\0\0\0\0\x08\x02\x82\x04\0";

	send_hello(client, 1, 1, NULL, NULL);
	send_bytes(client, pings, 26);
	for (size_t i = 0; i < 26; i++) {
		send_bytes(client, pings + i, 1);
		ck_assert_int_eq(loop_turn(t.loop, false), 0);
	}
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_WELCOME);
	for (unsigned int i = 0; i < 4; i++) {
		const Muxd__V1__ServerFrame *frame = receive(client);

		ck_assert_int_eq(frame->event_case, MUXD__V1__SERVER_FRAME__EVENT_DONE);
		ck_assert_uint_eq(frame->request, i % 2 + 1);
	}
}
END_TEST

START_TEST(ipc__status_names_the_upstreams)
{
	size_t client = greeted();
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;
	Muxd__V1__StatusQuery query = MUXD__V1__STATUS_QUERY__INIT;
	const Muxd__V1__Status *status;

	frame.has_request = true;
	frame.request = 8;
	frame.op_case = MUXD__V1__CLIENT_FRAME__OP_STATUS;
	frame.status = &query;
	send_frame(client, &frame, SPAN_NULL);
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_STATUS);
	status = t.frame->status;
	assert_text(status->version, "0.1.0");
	ck_assert_uint_eq(status->pid, (uint32_t)getpid());
	ck_assert_uint_eq(status->sessions, 1);
	ck_assert_uint_eq(status->n_upstreams, 2);
	assert_text(status->upstreams[1]->name, "other");
	assert_text(status->upstreams[1]->endpoint, "one:5672");
	ck_assert_uint_eq(status->memory_limit, 10000000);
}
END_TEST

START_TEST(ipc__lists_sessions_and_channels)
{
	size_t client = greeted();
	size_t other = greeted();
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;
	Muxd__V1__SessionsQuery sessions = MUXD__V1__SESSIONS_QUERY__INIT;
	Muxd__V1__ChannelsQuery channels = MUXD__V1__CHANNELS_QUERY__INIT;

	send_open(other, 3, 4);
	send_ping(other, 1);
	(void)receive(other);
	frame.has_request = true;
	frame.request = 1;
	frame.op_case = MUXD__V1__CLIENT_FRAME__OP_SESSIONS;
	frame.sessions = &sessions;
	send_frame(client, &frame, SPAN_NULL);
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_SESSIONS);
	ck_assert_uint_eq(t.frame->sessions->n_sessions, 2);
	ck_assert_uint_eq(t.frame->sessions->sessions[1]->channels, 1);
	ck_assert_uint_eq(t.frame->sessions->sessions[1]->pid, (uint32_t)getpid());
	ck_assert(!t.frame->sessions->more);
	frame.op_case = MUXD__V1__CLIENT_FRAME__OP_CHANNELS;
	frame.channels = &channels;
	send_frame(client, &frame, SPAN_NULL);
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_CHANNELS);
	ck_assert_uint_eq(t.frame->channels->n_channels, 1);
	ck_assert_uint_eq(t.frame->channels->channels[0]->channel, 3);
	ck_assert_uint_eq(t.frame->channels->channels[0]->generation, 4);
}
END_TEST

static void send_recorder(size_t client, uint64_t session)
{
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;
	Muxd__V1__RecorderQuery query = MUXD__V1__RECORDER_QUERY__INIT;

	query.has_session = true;
	query.session = session;
	frame.has_request = true;
	frame.request = 1;
	frame.op_case = MUXD__V1__CLIENT_FRAME__OP_RECORDER;
	frame.recorder = &query;
	send_frame(client, &frame, SPAN_NULL);
}

START_TEST(ipc__recorder_shows_what_a_session_asked_for)
{
	size_t client = greeted();
	size_t other = greeted();
	const Muxd__V1__RecorderEntry *entry;

	send_open(other, 3, 4);
	send_ping(other, 1);
	(void)receive(other);
	send_recorder(client, 2);
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_RECORDER);
	ck_assert_uint_eq(t.frame->recorder->n_entries, 1);
	entry = t.frame->recorder->entries[0];
	assert_text(entry->operation, "channel.open");
	ck_assert_uint_eq(entry->channel, 3);
	ck_assert_uint_eq(entry->generation, 4);
	ck_assert_uint_eq(entry->count, 1);
	ck_assert_int_eq(entry->end, MUXD__V1__RECORD_END__ANSWERED);
	ck_assert(!entry->has_code);
	send_recorder(client, 77);
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_ERROR);
	ck_assert_uint_eq(t.frame->error->code, 404);
	ck_assert_int_eq(t.frame->error->scope, MUXD__V1__SCOPE__REQUEST);
	/* Its own, with nothing in it. */
	send_recorder(client, 1);
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_RECORDER);
	ck_assert_uint_eq(t.frame->recorder->n_entries, 0);
}
END_TEST

/* What the kernel would say of another user's process. */
static struct session *foreign_session(uint32_t uid)
{
	static const struct session_ops none;
	struct session_options options = {
	    .upstream = mux_find_upstream(t.mux, SPAN_LITERAL("other")), .creds = {.uid = uid}, .ops = &none};
	struct session *session;

	ck_assert_int_eq(session_new(t.mux, &options, &session), 0);
	session_open_channel(session, 1, 1);
	return session;
}

START_TEST(ipc__recorder_of_another_user_needs_control)
{
	size_t client = greeted();
	struct session *foreign = foreign_session(geteuid() + 1);

	t.controls = true;
	send_recorder(client, session_id(foreign));
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_RECORDER);
	ck_assert_uint_eq(t.frame->recorder->n_entries, 1);
	t.controls = false;
	send_recorder(client, session_id(foreign));
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_ERROR);
	ck_assert_uint_eq(t.frame->error->code, 403);
	/* One's own without. */
	send_recorder(client, 1);
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_RECORDER);
	session_end(foreign);
}
END_TEST

START_TEST(ipc__request_whose_arguments_do_not_fit_ends_alone)
{
	size_t client = greeted();
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;
	Muxd__V1__QueueDeclare declare = MUXD__V1__QUEUE_DECLARE__INIT;
	Muxd__V1__Table table = MUXD__V1__TABLE__INIT;
	Muxd__V1__Field field = MUXD__V1__FIELD__INIT;
	Muxd__V1__Field *fields[1] = {&field};

	field.value_case = MUXD__V1__FIELD__VALUE_UINT8;
	field.uint8 = 256;
	table.n_fields = 1;
	table.fields = fields;
	declare.arguments = &table;
	send_open(client, 1, 1);
	frame.has_request = true;
	frame.request = 77;
	frame.has_channel = true;
	frame.channel = 1;
	frame.op_case = MUXD__V1__CLIENT_FRAME__OP_QUEUE_DECLARE;
	frame.queue_declare = &declare;
	send_frame(client, &frame, SPAN_NULL);
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_ERROR);
	ck_assert_uint_eq(t.frame->request, 77);
	ck_assert_uint_eq(t.frame->error->code, 502);
	ck_assert_int_eq(t.frame->error->scope, MUXD__V1__SCOPE__REQUEST);
	send_ping(client, 77);
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_DONE);
}
END_TEST

/* Whole frames, one for each of the operations of class tx, and basic.recover. */
START_TEST(ipc__end_of_a_transaction_needs_a_beginning)
{
	static const struct {
		const char *bytes;
		size_t len;
		unsigned int code;
	} ends[] = {
	    {"\0\0\0\7\0\0\0\0\x08\x01\x10\x01\xf2\x01\0", 15, 406},	  /* tx_commit */
	    {"\0\0\0\7\0\0\0\0\x08\x01\x10\x01\xfa\x01\0", 15, 406},	  /* tx_rollback */
	    {"\0\0\0\7\0\0\0\0\x08\x01\x10\x01\x82\x02\0", 15, 540},	  /* recover {} */
	    {"\0\0\0\11\0\0\0\0\x08\x01\x10\x01\x82\x02\2\x08\1", 17, 0}, /* recover { requeue: true } */
	};
	size_t client = greeted();

	for (unsigned int i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		send_open(client, 1, i + 1);
		send_bytes(client, ends[i].bytes, ends[i].len);
		ck_assert_ptr_nonnull(receive(client));
		ck_assert_uint_eq(t.frame->request, 1);
		if (ends[i].code == 0) {
			ck_assert_int_eq(t.frame->event_case, MUXD__V1__SERVER_FRAME__EVENT_DONE);
			continue;
		}
		ck_assert_uint_eq(t.frame->error->code, ends[i].code);
		ck_assert_int_eq(t.frame->error->scope, MUXD__V1__SCOPE__CHANNEL);
		ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_ERROR);
		ck_assert_uint_eq(t.frame->generation, i + 1);
	}
}
END_TEST

START_TEST(ipc__publish_whose_properties_do_not_fit_fails_its_channel)
{
	size_t client = greeted();
	Muxd__V1__Properties properties = MUXD__V1__PROPERTIES__INIT;

	properties.has_delivery_mode = true;
	properties.delivery_mode = 256;
	send_open(client, 1, 1);
	send_publish(client, 1, &properties, span_str("body"));
	send_publish_of(client, 1, NULL, span_str("again"), true);
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_OUTCOME);
	ck_assert_int_eq(t.frame->outcome->kind, MUXD__V1__OUTCOME_KIND__NOT_SENT);
	ck_assert_uint_eq(t.frame->outcome->numbers[0]->first, 1);
	ck_assert_uint_eq(t.frame->outcome->error->code, 502);
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_ERROR);
	ck_assert_uint_eq(t.frame->channel, 1);
	ck_assert_uint_eq(t.frame->generation, 1);
	ck_assert_int_eq(t.frame->error->scope, MUXD__V1__SCOPE__CHANNEL);
	/* One that may be there from an earlier session still may. */
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_OUTCOME);
	ck_assert_int_eq(t.frame->outcome->kind, MUXD__V1__OUTCOME_KIND__UNKNOWN);
	ck_assert_uint_eq(t.frame->outcome->numbers[0]->first, 2);
	send_ping(client, 1);
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_DONE);
}
END_TEST

START_TEST(ipc__going_away_is_told_to_all_and_to_those_who_come)
{
	size_t client = greeted();

	front_go_away(t.front, 5 * USEC_PER_SEC);
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_GO_AWAY);
	ck_assert_uint_eq(t.frame->go_away->deadline_ms, 5000);
	client = greeted();
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_GO_AWAY);
}
END_TEST

START_TEST(ipc__end_of_all_is_told_with_its_reason)
{
	size_t client = greeted();
	struct fault fault = fault_make_retryable(320, "CONNECTION_FORCED - muxd stops");

	front_end_all(t.front, &fault);
	expect_session_error(client, 320, "muxd stops");
}
END_TEST

START_TEST(ipc__peer_that_goes_leaves_nothing)
{
	size_t client = greeted();

	send_open(client, 1, 1);
	send_publish(client, 1, NULL, span_str("body"));
	ck_assert_int_eq(shutdown(t.fds[client], SHUT_RDWR), 0);
	for (int i = 0; i < TURNS_MAX && front_count(t.front) > 0; i++)
		ck_assert_int_eq(loop_turn(t.loop, true), 0);
	ck_assert_uint_eq(front_count(t.front), 0);
	ck_assert_uint_eq(mux_session_count(t.mux), 0);
}
END_TEST

static void send_status(size_t client, unsigned int request)
{
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;
	Muxd__V1__StatusQuery query = MUXD__V1__STATUS_QUERY__INIT;

	frame.has_request = true;
	frame.request = request;
	frame.op_case = MUXD__V1__CLIENT_FRAME__OP_STATUS;
	frame.status = &query;
	send_frame(client, &frame, SPAN_NULL);
}

static size_t bytes_received(size_t client)
{
	ck_assert(receive_some(client));
	return buf_len(&t.received[client]);
}

START_TEST(ipc__questions_are_answered_one_in_each_turn_to_each_in_turn)
{
	size_t many = greeted();
	size_t one = greeted();
	size_t each;

	for (unsigned int i = 1; i <= 3; i++)
		send_status(many, i);
	ck_assert_int_eq(loop_turn(t.loop, false), 0);
	send_status(one, 1);
	ck_assert_int_eq(loop_turn(t.loop, false), 0);
	each = bytes_received(many) / 2;
	ck_assert_uint_gt(each, 0);
	ck_assert_uint_eq(bytes_received(one), 0);
	ck_assert_int_eq(loop_turn(t.loop, true), 0);
	ck_assert_uint_eq(bytes_received(many), 2 * each);
	ck_assert_uint_gt(bytes_received(one), 0);
	for (unsigned int i = 1; i <= 3; i++)
		ck_assert_uint_eq(receive(many)->request, i);
}
END_TEST

START_TEST(ipc__answers_that_nobody_reads_are_the_session_s_memory)
{
	uint64_t before, most = 0;
	size_t client;

	t.narrow = true;
	client = greeted();
	before = mux_memory_used(t.mux);
	for (unsigned int i = 1; i <= 250; i++) {
		send_status(client, i);
		ck_assert_int_eq(loop_turn(t.loop, true), 0);
		if (mux_memory_used(t.mux) > most)
			most = mux_memory_used(t.mux);
	}
	ck_assert_uint_gt(most, before + 10000);
	for (unsigned int i = 1; i <= 250; i++)
		ck_assert_uint_eq(receive(client)->request, i);
	for (int i = 0; i < TURNS_MAX && mux_memory_used(t.mux) > before; i++)
		ck_assert_int_eq(loop_turn(t.loop, false), 0);
	ck_assert_uint_eq(mux_memory_used(t.mux), before);
}
END_TEST

START_TEST(ipc__answer_for_which_there_is_no_memory_is_refused)
{
	struct front_limits limits = {
	    .message_max = MESSAGE_MAX, .session_memory = 40000, .channels_max = 20, .sessions_per_uid = 3};
	unsigned int refused = 0;
	size_t client;

	t.narrow = true;
	client = greeted();
	front_set_limits(t.front, &limits, 10);
	for (unsigned int i = 1; i <= 250; i++) {
		send_status(client, i);
		ck_assert_int_eq(loop_turn(t.loop, true), 0);
	}
	for (unsigned int i = 1; i <= 250; i++) {
		if (receive(client)->event_case != MUXD__V1__SERVER_FRAME__EVENT_ERROR)
			continue;
		ck_assert_uint_eq(t.frame->error->code, 506);
		ck_assert_int_eq(t.frame->error->scope, MUXD__V1__SCOPE__REQUEST);
		assert_text(t.frame->error->text, "session-memory");
		refused++;
	}
	ck_assert_uint_gt(refused, 0);
	send_status(client, 1);
	ck_assert_int_eq(receive(client)->event_case, MUXD__V1__SERVER_FRAME__EVENT_STATUS);
}
END_TEST

START_TEST(ipc__peer_that_goes_takes_its_questions_with_it)
{
	size_t client = greeted();

	for (unsigned int i = 1; i <= 20; i++)
		send_status(client, i);
	ck_assert_int_eq(loop_turn(t.loop, false), 0);
	ck_assert_int_eq(shutdown(t.fds[client], SHUT_RDWR), 0);
	for (int i = 0; i < TURNS_MAX && front_count(t.front) > 0; i++)
		ck_assert_int_eq(loop_turn(t.loop, false), 0);
	ck_assert_uint_eq(front_count(t.front), 0);
	ck_assert_int_eq(greeted(), 1);
}
END_TEST

START_TEST(ipc__peer_that_does_not_read_is_cut_off_at_its_memory)
{
	size_t client = greeted();

	for (int i = 0; i < 100000 && front_count(t.front) > 0; i++) {
		send_status(client, 1);
		ck_assert_int_eq(loop_turn(t.loop, false), 0);
	}
	ck_assert_uint_eq(front_count(t.front), 0);
	ck_assert_uint_eq(mux_session_count(t.mux), 0);
}
END_TEST

/* Never reads, and is ended; the most that was charged while it went on. */
static uint64_t most_unread(uint64_t session_memory)
{
	struct front_limits limits = {.message_max = MESSAGE_MAX,
				      .session_memory = session_memory,
				      .channels_max = 20,
				      .sessions_per_uid = 3};
	struct mux_limits more = setup_mux().limits;
	uint64_t most = 0;
	size_t client;

	more.total_memory = 10000000;
	more.session_memory = session_memory;
	mux_set_limits(t.mux, &more);
	front_set_limits(t.front, &limits, 10);
	client = greeted();
	/* From now on a channel above the first fails: an event that answers nothing, and needs no credit. */
	limits.channels_max = 1;
	front_set_limits(t.front, &limits, 10);
	for (unsigned int i = 0; i < 10000 && front_count(t.front) > 0; i++) {
		for (unsigned int j = 1; j <= 20; j++)
			send_open(client, 2, i * 20 + j);
		ck_assert_int_eq(loop_turn(t.loop, false), 0);
		if (mux_memory_used(t.mux) > most)
			most = mux_memory_used(t.mux);
	}
	ck_assert_uint_eq(front_count(t.front), 0);
	ck_assert_uint_eq(mux_session_count(t.mux), 0);
	ck_assert_uint_eq(mux_memory_used(t.mux), 0);
	return most;
}

START_TEST(ipc__events_that_are_not_read_are_charged_and_end_the_session_at_an_eighth_of_its_memory)
{
	uint64_t most = most_unread(16000000);

	ck_assert_uint_ge(most, 1900000);
	ck_assert_uint_le(most, 2100000);
}
END_TEST

START_TEST(ipc__events_that_are_not_read_get_no_more_than_the_memory_of_their_user)
{
	/* Three times what it leaves free of all. */
	uint64_t most = most_unread(500000000);

	ck_assert_uint_ge(most, 7400000);
	ck_assert_uint_le(most, 7600000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("front/ipc");
	TCase *tests = tcase_create("ipc");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 30);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, ipc__greets_with_what_the_session_may_do);
	tcase_add_test(tests, ipc__no_version_in_common_ends_the_session);
	tcase_add_test(tests, ipc__unknown_feature_is_named);
	tcase_add_test(tests, ipc__unknown_upstream_is_answered_with_those_there_are);
	tcase_add_test(tests, ipc__who_is_not_admitted_is_told_so);
	tcase_add_test(tests, ipc__first_frame_must_be_hello);
	tcase_add_test(tests, ipc__body_before_hello_is_refused_by_its_lengths_alone);
	tcase_add_test(tests, ipc__second_hello_ends_the_session);
	tcase_add_test(tests, ipc__silence_instead_of_hello_ends_the_session);
	tcase_add_test(tests, ipc__user_with_too_many_sessions_is_turned_away);
	tcase_add_test(tests, ipc__garbage_ends_the_session_with_its_size);
	tcase_add_test(tests, ipc__empty_header_is_refused);
	tcase_add_test(tests, ipc__payload_above_message_max_is_refused_by_its_length_alone);
	tcase_add_test(tests, ipc__payload_above_the_credit_is_refused_before_it_has_come);
	tcase_add_test(tests, ipc__malformed_header_is_refused);
	tcase_add_test(tests, ipc__field_of_another_type_is_refused);
	tcase_add_test(tests, ipc__unknown_operation_is_refused);
	tcase_add_test(tests, ipc__payload_where_there_is_none_is_refused);
	tcase_add_test(tests, ipc__unknown_settle_kind_is_refused);
	tcase_add_test(tests, ipc__channel_above_the_highest_is_refused);
	tcase_add_test(tests, ipc__nothing_behind_a_mistake_is_done);
	tcase_add_test(tests, ipc__one_session_s_mistake_is_not_felt_by_another);
	tcase_add_test(tests, ipc__answers_pings_that_come_in_pieces_and_all_at_once);
	tcase_add_test(tests, ipc__status_names_the_upstreams);
	tcase_add_test(tests, ipc__lists_sessions_and_channels);
	tcase_add_test(tests, ipc__recorder_shows_what_a_session_asked_for);
	tcase_add_test(tests, ipc__recorder_of_another_user_needs_control);
	tcase_add_test(tests, ipc__request_whose_arguments_do_not_fit_ends_alone);
	tcase_add_test(tests, ipc__end_of_a_transaction_needs_a_beginning);
	tcase_add_test(tests, ipc__publish_whose_properties_do_not_fit_fails_its_channel);
	tcase_add_test(tests, ipc__going_away_is_told_to_all_and_to_those_who_come);
	tcase_add_test(tests, ipc__end_of_all_is_told_with_its_reason);
	tcase_add_test(tests, ipc__peer_that_goes_leaves_nothing);
	tcase_add_test(tests, ipc__questions_are_answered_one_in_each_turn_to_each_in_turn);
	tcase_add_test(tests, ipc__answers_that_nobody_reads_are_the_session_s_memory);
	tcase_add_test(tests, ipc__answer_for_which_there_is_no_memory_is_refused);
	tcase_add_test(tests, ipc__peer_that_goes_takes_its_questions_with_it);
	tcase_add_test(tests, ipc__peer_that_does_not_read_is_cut_off_at_its_memory);
	tcase_add_test(
	    tests, ipc__events_that_are_not_read_are_charged_and_end_the_session_at_an_eighth_of_its_memory);
	tcase_add_test(tests, ipc__events_that_are_not_read_get_no_more_than_the_memory_of_their_user);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
