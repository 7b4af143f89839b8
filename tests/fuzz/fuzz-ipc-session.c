/*
 * Clients that keep to the protocol and ask for odd things, through the front
 * end and the multiplexer, of a broker that answers and closes a connection
 * over what RabbitMQ would close it over.
 *
 * Whatever they ask for, the broker never has a reason to close the shared
 * connection; each request is answered once and by its deadline, or ends with
 * its session; no publish has two outcomes; and when all sessions are gone no
 * memory is charged to anybody.
 *
 * The input is a row of steps: which client, what it does (odd.h), or what
 * happens to the connection.
 */
#include "daemon/front/front.h"
#include "proto/frame.h"
#include "tests/broker/broker.h"
#include "tests/fuzz/fake-net.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/odd.h"
#include "tests/rig/remote.h"
#include "tests/rig/setup.h"

#define CLIENTS 2u
#define REQUESTS_MAX 512u
#define PUBLISHES_MAX 512u
#define GENERATIONS_MAX 64u
#define STEPS_MAX 200u
#define MESSAGE_MAX 4096u

/* What was published on a channel in a generation of its. */
struct numbers {
	uint32_t count;
	uint8_t ended[PUBLISHES_MAX / 8];
};

struct client {
	bool open; /* the connection, as far as the client knows */
	bool welcomed;
	bool deaf; /* does not read */
	struct buf received;
	uint32_t next_id;
	bool raw; /* it sent bytes that need not be whole frames: muxd may wait for their rest */
	uint8_t pending[REQUESTS_MAX]; /* without an answer that was read; an id may be used twice */
	uint32_t generations[ODD_CHANNELS];
	struct numbers numbers[ODD_CHANNELS][GENERATIONS_MAX];
	uint64_t credit_messages, credit_bytes, spent_messages, spent_bytes;
};

/* The upstream's connection, or its scout's. */
struct link {
	struct remote remote;
	bool dialling;
	struct broker_conn *conn; /* at the remote end */
};

static struct world {
	struct loop loop;
	struct mux *mux;
	struct front *front;
	struct upstream *upstream;
	struct broker *broker;
	struct link main, scout;
	struct client clients[CLIENTS];
	struct mono now;
	uint8_t chance;
} w;

/* ------------------------------------------------------------------ what clients read */

static void take_outcome(struct client *client, const Muxd__V1__ServerFrame *frame)
{
	const Muxd__V1__Outcome *outcome = frame->outcome;
	struct numbers *numbers;

	if (frame->channel == 0 || frame->channel >= ODD_CHANNELS || frame->generation >= GENERATIONS_MAX)
		return;
	numbers = &client->numbers[frame->channel][frame->generation];
	for (size_t i = 0; i < outcome->n_numbers; i++) {
		require(outcome->numbers[i]->first > 0);
		require(outcome->numbers[i]->first <= outcome->numbers[i]->last);
		require(outcome->numbers[i]->last <= numbers->count);
		for (uint64_t n = outcome->numbers[i]->first; n <= outcome->numbers[i]->last; n++) {
			require(!(numbers->ended[n / 8] & 1u << n % 8));
			numbers->ended[n / 8] |= (uint8_t)(1u << n % 8);
		}
	}
}

static void take_frame(struct client *client, const Muxd__V1__ServerFrame *frame)
{
	require(client->open);
	if (frame->has_request) {
		if (!client->raw) {
			require(frame->request < REQUESTS_MAX && client->pending[frame->request] > 0);
			client->pending[frame->request]--;
		}
		return;
	}
	switch (frame->event_case) {
	case MUXD__V1__SERVER_FRAME__EVENT_WELCOME:
		require(!client->welcomed);
		client->welcomed = true;
		client->credit_messages = frame->welcome->credit->messages;
		client->credit_bytes = frame->welcome->credit->bytes;
		break;
	case MUXD__V1__SERVER_FRAME__EVENT_CREDIT:
		require(frame->credit->messages >= client->credit_messages);
		require(frame->credit->bytes >= client->credit_bytes);
		client->credit_messages = frame->credit->messages;
		client->credit_bytes = frame->credit->bytes;
		break;
	case MUXD__V1__SERVER_FRAME__EVENT_OUTCOME:
		if (!client->raw)
			take_outcome(client, frame);
		break;
	case MUXD__V1__SERVER_FRAME__EVENT_ERROR:
		if (!frame->has_channel)
			client->open = false; /* the session ends: nothing comes behind it */
		break;
	default:
		require(client->welcomed);
	}
}

static void read_some(size_t index, size_t count)
{
	struct client *client = &w.clients[index];
	struct ipc_frame bytes;
	size_t size;

	fake_stream_take(&w.loop, index, count, &client->received);
	while (ipc_frame_parse(buf_span(&client->received), IPC_PAYLOAD_MAX, &bytes, &size) == IPC_FRAME_OK) {
		Muxd__V1__ServerFrame *frame =
		    muxd__v1__server_frame__unpack(NULL, bytes.header.len, bytes.header.data);

		require(frame != NULL);
		take_frame(client, frame);
		muxd__v1__server_frame__free_unpacked(frame, NULL);
		buf_consume(&client->received, size);
	}
}

/* ------------------------------------------------------------------ the connection */

static void link_drop(struct link *link)
{
	link->conn = broker_conn_free(link->conn, w.now);
	link->dialling = false;
	remote_forget(&link->remote);
}

static void on_dial(void *context, size_t index)
{
	require(!w.main.conn && !w.main.dialling);
	w.main.dialling = true;
}

/* The broker gave no reason to hang up, for it keeps to AMQP. */
static void on_hang_up(void *context)
{
	require(!w.main.conn);
	link_drop(&w.main);
}

static void on_changed(void *context)
{
}

static void on_scout_dial(void *context, size_t index)
{
	require(!w.scout.conn && !w.scout.dialling);
	w.scout.dialling = true;
}

static void on_scout_hang_up(void *context)
{
	link_drop(&w.scout);
}

static const struct upstream_ops upstream_ops = {.dial = on_dial,
						 .hang_up = on_hang_up,
						 .changed = on_changed,
						 .scout_dial = on_scout_dial,
						 .scout_hang_up = on_scout_hang_up};

static void link_lose(struct link *link)
{
	link_drop(link);
	remote_lost(&link->remote, "connection reset");
}

static void link_dialled(struct link *link)
{
	link->dialling = false;
	link->conn = broker_conn_new(w.broker, NULL, w.now);
	remote_dialled(&link->remote);
}

/* True: something went one way or the other. */
static bool link_move(struct link *link)
{
	struct buf *out = remote_output(&link->remote);
	struct span said;
	bool any;

	if (link->dialling)
		link_dialled(link);
	if (!link->conn)
		return false;
	any = buf_len(out) > 0;
	broker_conn_feed(link->conn, buf_span(out), w.now);
	buf_consume(out, buf_len(out));
	said = broker_conn_output(link->conn);
	any |= said.len > 0;
	buf_append_span(&link->remote.left, said);
	broker_conn_sent(link->conn, said.len, w.now);
	/* A scout is there to be closed. */
	require(link == &w.scout || !broker_conn_closed(link->conn));
	(void)remote_feed(&link->remote, SPAN_NULL);
	if (link->conn && broker_conn_closed(link->conn) && broker_conn_output(link->conn).len == 0)
		link_lose(link);
	return any;
}

static void turn(void)
{
	for (int i = 0; i < 100; i++) {
		bool any;

		fake_loop_run(&w.loop, w.now);
		mux_turn(w.mux);
		any = link_move(&w.main);
		any |= link_move(&w.scout);
		upstream_pump(w.upstream);
		if (!any && buf_len(upstream_output(w.upstream)) == 0)
			break;
	}
	for (size_t i = 0; i < CLIENTS; i++)
		if (!w.clients[i].deaf)
			read_some(i, SIZE_MAX);
}

static void pass(uint64_t usec)
{
	w.now = mono_add_usec(w.now, usec);
	mux_set_now(w.mux, w.now);
	mux_run_timers(w.mux);
	broker_tick(w.broker, w.now);
	turn();
}

/* ------------------------------------------------------------------ clients */

static void send_frame(size_t index, struct span header, struct span payload)
{
	struct buf bytes = BUF_INIT;

	ipc_frame_prefix(&bytes, header.len, payload.len);
	buf_append_span(&bytes, header);
	buf_append_span(&bytes, payload);
	/* cut in two, so that a part of a frame waits */
	fake_stream_feed(&w.loop, index, span_first(buf_span(&bytes), buf_len(&bytes) / 2));
	fake_stream_feed(&w.loop, index, span_skip(buf_span(&bytes), buf_len(&bytes) / 2));
	buf_deinit(&bytes);
}

static void leave(size_t index)
{
	fake_stream_end(&w.loop, index);
	buf_deinit(&w.clients[index].received);
	w.clients[index] = (struct client){.received = BUF_INIT};
}

static void come(size_t index)
{
	struct client *client = &w.clients[index];
	struct buf header = BUF_INIT;

	leave(index);
	client->open = true;
	client->next_id = 1;
	client->credit_messages = SESSION_STANDING_MESSAGES;
	client->credit_bytes = SESSION_STANDING_BYTES;
	front_accept(w.front, FAKE_FD + (int)index);
	odd_hello(&header);
	send_frame(index, buf_span(&header), SPAN_NULL);
	buf_deinit(&header);
	turn();
}

/* A body that the credit allows; cost is of the header. */
static struct span body_of(struct client *client, struct input *input, size_t cost)
{
	static const uint8_t body[MESSAGE_MAX];
	unsigned int choice = input_byte(input);
	size_t len = choice < 200 ? choice : choice * 20u;

	if (choice == 255) /* overrun, perhaps */
		return span_make(body, MESSAGE_MAX);
	if (client->spent_bytes + cost + len > client->credit_bytes)
		len = 0;
	return span_make(body, len > MESSAGE_MAX ? MESSAGE_MAX : len);
}

static void note_publish(struct client *client, const struct odd_request *made, uint64_t cost)
{
	uint32_t generation;

	client->spent_bytes += cost;
	client->spent_messages++;
	if (made->channel == 0 || made->channel >= ODD_CHANNELS)
		return;
	generation = client->generations[made->channel];
	if (generation < GENERATIONS_MAX &&
	    client->numbers[made->channel][generation].count < PUBLISHES_MAX - 1)
		client->numbers[made->channel][generation].count++;
}

static void client_step(size_t index, struct input *input)
{
	struct client *client = &w.clients[index];
	struct buf header = BUF_INIT;
	struct span body = SPAN_NULL;
	struct odd_request made;

	if (!client->open || !w.loop.streams[index] || client->next_id + 1 == REQUESTS_MAX) {
		come(index);
		return;
	}
	made = odd_frame(input, client->next_id, client->generations, &header);
	if (made.is_publish) {
		body = body_of(client, input, buf_len(&header));
		if (client->spent_messages == client->credit_messages ||
		    client->spent_bytes + buf_len(&header) > client->credit_bytes) {
			buf_deinit(&header);
			return;
		}
		note_publish(client, &made, buf_len(&header) + body.len);
	}
	if (made.is_request && made.id > 0)
		client->pending[made.id]++;
	if (made.is_request && made.id == client->next_id)
		client->next_id++;
	if (made.generation > 0 && made.channel < ODD_CHANNELS)
		client->generations[made.channel] = made.generation;
	send_frame(index, buf_span(&header), body);
	buf_deinit(&header);
}

static void world_step(unsigned int kind, struct input *input)
{
	size_t index = kind % CLIENTS;

	switch (kind / CLIENTS % 8) {
	case 0:
		if (w.main.conn)
			link_lose(&w.main);
		break;
	case 1:
		if (w.scout.conn)
			link_lose(&w.scout);
		break;
	case 2:
		leave(index);
		break;
	case 3:
		w.clients[index].deaf = !w.clients[index].deaf;
		break;
	case 4:
		w.clients[index].raw = true;
		fake_stream_feed(&w.loop, index, input_bytes(input));
		break;
	case 5:
		broker_delete_queue(w.broker, "/", SPAN_LITERAL("q"), w.now);
		break;
	case 6:
		front_go_away(w.front, USEC_PER_SEC);
		break;
	default:
		read_some(index, 5);
	}
}

/* ------------------------------------------------------------------ beginning and end */

static void hand_random(void *context, void *out, size_t count)
{
	uint8_t *bytes = out;

	for (size_t i = 0; i < count; i++)
		bytes[i] = w.chance++;
}

static void begin_upstream(unsigned int choice)
{
	struct upstream_options upstream = setup_upstream();
	struct broker_options broker = BROKER_OPTIONS_INIT;

	upstream.warm_lanes = choice % 4;
	upstream.unconfirmed_messages = choice & 4 ? 3 : 1000;
	upstream.unconfirmed_bytes = 1u << 20;
	broker.channel_max = choice & 8 ? 2 : 50;
	broker.heartbeat_sec = 0;
	w.broker = broker_new(&broker);
	require(upstream_new(w.mux, &upstream, &upstream_ops, NULL, &w.upstream) == 0);
	remote_init(&w.main.remote, w.upstream, false);
	remote_init(&w.scout.remote, w.upstream, true);
	upstream_start(w.upstream);
}

static void begin(unsigned int choice)
{
	struct mux_options mux = setup_mux();
	struct front_options front = {.loop = &w.loop,
				      .version = "0.1.0",
				      .limits = {.message_max = MESSAGE_MAX,
						 .session_memory = 1u << 20,
						 .channels_max = 16,
						 .sessions_per_uid = CLIENTS},
				      .sessions_max = CLIENTS};

	memset(&w, 0, sizeof(w));
	mux.limits.total_memory = 4u << 20;
	mux.limits.session_memory = 1u << 20;
	mux.limits.message_max = MESSAGE_MAX;
	mux.limits.sessions = CLIENTS + 1;
	mux.random = hand_random;
	mux.digest = setup_digest;
	w.now = (struct mono){1000 * USEC_PER_SEC};
	fake_loop_init(&w.loop, w.now);
	require(mux_new(&mux, &w.mux) == 0);
	mux_set_now(w.mux, w.now);
	begin_upstream(choice);
	front.mux = w.mux;
	require(front_new(&front, &w.front) == 0);
	for (size_t i = 0; i < CLIENTS; i++)
		w.clients[i].received = BUF_INIT;
	turn();
}

/* Of those who may know. */
static bool is_answered(void)
{
	for (size_t i = 0; i < CLIENTS; i++) {
		const struct client *client = &w.clients[i];

		for (uint32_t id = 1;
		     client->open && !client->raw && w.loop.streams[i] && id < client->next_id; id++)
			if (client->pending[id])
				return false;
	}
	return true;
}

/* Nobody is there, and nothing is left of anybody. */
static bool is_over(void)
{
	return front_count(w.front) == 0 && mux_session_count(w.mux) == 0 && mux_channel_count(w.mux) == 0 &&
	       mux_memory_used(w.mux) == 0 && upstream_is_drained(w.upstream);
}

/* First requests end, by themselves or by their deadline; then sessions and what they left. */
static void finish(void)
{
	for (size_t i = 0; i < CLIENTS; i++)
		w.clients[i].deaf = false;
	for (int i = 0; i < 40 && (i == 0 || !is_answered()); i++)
		pass(USEC_PER_SEC);
	for (unsigned int i = 0; i < CLIENTS * REQUESTS_MAX && !is_answered(); i++)
		pass(USEC_PER_MSEC); /* questions about muxd itself: one in each turn */
	require(is_answered());
	for (size_t i = 0; i < CLIENTS; i++)
		leave(i);
	for (int i = 0; i < 10 && (i == 0 || !is_over()); i++)
		pass(60 * USEC_PER_SEC);
	require(is_over());
	(void)front_free(w.front);
	mux_free(w.mux);
	link_drop(&w.main);
	link_drop(&w.scout);
	remote_deinit(&w.main.remote);
	remote_deinit(&w.scout.remote);
	(void)broker_free(w.broker);
	fake_loop_deinit(&w.loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {span_make(data, size)};

	begin(input_byte(&input));
	for (unsigned int i = 0; i < STEPS_MAX && input.rest.len > 0; i++) {
		unsigned int kind = input_byte(&input);

		if (kind < 208)
			client_step(kind % CLIENTS, &input);
		else if (kind < 240)
			world_step(kind, &input);
		else if (kind == 255)
			turn();
		else
			pass((1u << (kind - 240)) * USEC_PER_MSEC);
		if (kind % 3 == 0) /* else several in one turn */
			turn();
	}
	finish();
	return 0;
}
