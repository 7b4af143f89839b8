/*
 * The multiplexer between clients and a broker that says what it likes: frames
 * that are well made or not, answers that are due or not, messages, confirms,
 * closes, and the connection may go at any time.
 *
 * Whatever it does, each request ends once, what muxd sends are whole frames and whole messages on lanes that
 * were agreed on, and when all sessions are gone no memory is charged to anybody.
 *
 * The input is a row of steps, of the broker or of clients.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"
#include "tests/rig/hear.h"
#include "tests/rig/remote.h"
#include "tests/rig/setup.h"

#include <stdio.h>

#define SESSIONS 2u
#define REQUESTS_MAX 1024u
#define LANES 64u
#define STEPS_MAX 400u
#define AWAITED_MAX 32u
#define OFFERED_FRAME_MAX 131072u

struct client {
	struct ear ear;
	struct session *session; /* NULL: there is none */
	bool ended;		 /* told so */
	uint64_t position;
	uint64_t published_bytes;
	uint32_t last_request;
	uint32_t generation[3];
	bool pending[REQUESTS_MAX];
};

/* A channel of the connection, as the broker sees it. */
struct lane {
	enum amqc_method_id awaited[AWAITED_MAX]; /* requests without an answer, oldest first */
	unsigned int awaited_count;
	char tag[64];	    /* of the last consumer */
	uint64_t body_left; /* of the publish that is being sent */
	bool wants_header;
};

/* The upstream's connection, or its scout's. */
struct link {
	struct remote remote;
	bool dialling, up;
	uint16_t channel_max;
	uint32_t frame_max;
	struct lane lanes[LANES];
};

static struct world {
	struct mux *mux;
	struct upstream *upstream;
	struct mono now;
	struct link main, scout;
	struct client clients[SESSIONS];
	uint8_t chance;
} w;

/* ------------------------------------------------------------------ what sessions hear */

static void request_ends(struct client *client, uint32_t request)
{
	require(request < REQUESTS_MAX && client->pending[request]);
	client->pending[request] = false;
}

static struct mux_handed handed(struct client *client, const struct mux_content *content)
{
	/* now and then one that the protocol has no words for */
	if (content->body.len % 16 == 13)
		return (struct mux_handed){0, 0};
	client->position += content->body.len + 40;
	return (struct mux_handed){client->position, content->body.len + 40};
}

static struct mux_handed hear(struct ear *ear, const struct heard *heard)
{
	struct client *client = container_of(ear, struct client, ear);
	struct mux_handed where = {0, 0};

	require(client->session != NULL);
	if (heard->content)
		where = handed(client, heard->content);
	switch (heard->kind) {
	case RIG_REPLY:
		require(amqc_method_name(heard->reply->id) != NULL);
		request_ends(client, heard->request);
		break;
	case RIG_REFUSED:
		require(heard->fault->code != 0); /* its text may be a broker's, and empty */
		request_ends(client, heard->request);
		break;
	case RIG_GOT:
		if (where.position > 0)
			request_ends(client, heard->request);
		break;
	case RIG_RETURNED:
		require(heard->first > 0);
		break;
	case RIG_OUTCOME:
		require(heard->first > 0 && heard->first <= heard->last);
		break;
	case RIG_CHANNEL_ENDED:
		require(heard->fault->code != 0);
		break;
	case RIG_ENDED:
		require(!client->ended && heard->fault->code != 0);
		client->ended = true;
		break;
	default:
		break;
	}
	return where;
}

/* ------------------------------------------------------------------ what mux asks */

static void link_down(struct link *link)
{
	remote_forget(&link->remote);
	link->dialling = link->up = false;
	memset(link->lanes, 0, sizeof(link->lanes));
}

static void on_dial(void *context, size_t index)
{
	require(index < 2 && !w.main.up && !w.main.dialling);
	w.main.dialling = true;
}

static void on_hang_up(void *context)
{
	link_down(&w.main);
}

static void on_scout_dial(void *context, size_t index)
{
	require(index < 2 && !w.scout.up && !w.scout.dialling);
	w.scout.dialling = true;
}

static void on_scout_hang_up(void *context)
{
	link_down(&w.scout);
}

static void on_changed(void *context)
{
}

static const struct upstream_ops upstream_ops = {.dial = on_dial,
						 .hang_up = on_hang_up,
						 .changed = on_changed,
						 .scout_dial = on_scout_dial,
						 .scout_hang_up = on_scout_hang_up};

static void hand_random(void *context, void *out, size_t count)
{
	uint8_t *bytes = out;

	for (size_t i = 0; i < count; i++)
		bytes[i] = w.chance++;
}

/* ------------------------------------------------------------------ what mux sends */

static void take_method(struct lane *lane, struct span payload)
{
	struct amqc_method method, reply;

	require(amqc_method_decode(payload, &method) == AMQC_OK);
	require(!lane->wants_header && lane->body_left == 0);
	require(amqc_method_sender(method.id) != AMQC_BY_SERVER);
	lane->wants_header = method.id == AMQC_BASIC_PUBLISH;
	if (method.id == AMQC_CHANNEL_OPEN)
		*lane = (struct lane){.awaited_count = 0};
	if (method.id == AMQC_BASIC_CONSUME)
		snprintf(lane->tag, sizeof(lane->tag), "%.*s", (int)method.basic_consume.consumer_tag.len,
			 (const char *)method.basic_consume.consumer_tag.data);
	if (remote_reply_to(&method, &reply) && lane->awaited_count < AWAITED_MAX)
		lane->awaited[lane->awaited_count++] = method.id;
}

static void take_content(struct lane *lane, const struct amqc_frame *frame)
{
	struct amqc_content_header header;

	if (frame->type == AMQC_FRAME_HEADER) {
		require(lane->wants_header);
		require(amqc_content_header_decode(frame->payload, &header) == AMQC_OK);
		lane->wants_header = false;
		lane->body_left = header.body_size;
		return;
	}
	require(frame->type == AMQC_FRAME_BODY && frame->payload.len > 0);
	require(frame->payload.len <= lane->body_left);
	lane->body_left -= frame->payload.len;
}

/* Looks at whole frames; on channel 0 nothing is asked of them. */
static void look(struct link *link)
{
	struct amqc_frame frame;

	while (remote_next(&link->remote, link->frame_max ? link->frame_max : OFFERED_FRAME_MAX, &frame)) {
		if (frame.channel == 0)
			continue;
		require(frame.channel <= link->channel_max);
		if (frame.type == AMQC_FRAME_METHOD)
			take_method(&link->lanes[frame.channel], frame.payload);
		else
			take_content(&link->lanes[frame.channel], &frame);
	}
	/* The header may wait for the next turn; of frames, none is there in part. */
	require(!link->remote.greeted || buf_len(&link->remote.heard) == 0);
}

static void take_output(struct link *link)
{
	remote_collect(&link->remote, SIZE_MAX);
	if (link->up)
		look(link);
	else
		remote_forget(&link->remote);
}

static void turn(void)
{
	mux_turn(w.mux);
	for (int i = 0; i < 8 && buf_len(upstream_output(w.upstream)) > 0; i++) {
		take_output(&w.main);
		upstream_pump(w.upstream);
	}
	take_output(&w.scout);
}

static void pass(uint64_t usec)
{
	w.now = mono_add_usec(w.now, usec);
	mux_set_now(w.mux, w.now);
	mux_run_timers(w.mux);
	turn();
}

/* ------------------------------------------------------------------ the broker */

static void feed(struct link *link, struct span bytes)
{
	if (link->up)
		(void)remote_feed(&link->remote, bytes);
}

static void say(struct link *link, uint16_t lane, const struct amqc_method *method)
{
	if (link->up)
		remote_say(&link->remote, lane, method);
}

/* The whole of a handshake as it should be, with the limits of the input. */
static void connect_link(struct link *link, struct input *input)
{
	static const uint32_t frame_maxes[] = {4096, 5000, 131072, 0};
	unsigned int choice = input_byte(input);

	if (!link->dialling)
		return;
	link->dialling = false;
	link->up = true;
	link->channel_max = (uint16_t)(1 + choice % (LANES - 1));
	link->frame_max = frame_maxes[choice >> 6];
	remote_dialled(&link->remote);
	remote_say_start(&link->remote, "RabbitMQ", choice & 1 ? "3.10.8" : "4.0.1");
	if (link->up)
		remote_say_tune(&link->remote, link->channel_max, link->frame_max, choice & 2 ? 60 : 0);
	say(link, 0, &(struct amqc_method){.id = AMQC_CONNECTION_OPEN_OK});
	turn();
}

static void lose(struct link *link)
{
	bool dialling = link->dialling, up = link->up;

	link_down(link);
	if (dialling)
		remote_dial_failed(&link->remote, "connection refused");
	else if (up)
		remote_lost(&link->remote, "connection reset");
}

/* A lane, and mostly one that is in use. */
static uint16_t pick_lane(struct input *input)
{
	unsigned int choice = input_byte(input);

	return (uint16_t)(choice < 240 ? 1 + choice % 3 : choice % LANES);
}

static void answered(struct lane *lane)
{
	lane->awaited_count--;
	memmove(lane->awaited, lane->awaited + 1, lane->awaited_count * sizeof(lane->awaited[0]));
}

static void answer(struct link *link, uint16_t number)
{
	struct lane *lane = &link->lanes[number];
	struct amqc_method request, reply;

	if (lane->awaited_count == 0)
		return;
	request = (struct amqc_method){.id = lane->awaited[0]};
	if (request.id == AMQC_QUEUE_DECLARE)
		request.queue_declare.queue = SPAN_LITERAL("q");
	require(remote_reply_to(&request, &reply));
	answered(lane);
	say(link, number, &reply);
}

/* True: something was due. */
static bool answer_lanes(struct link *link)
{
	bool any = false;

	for (uint16_t number = 1; number <= link->channel_max; number++) {
		any |= link->lanes[number].awaited_count > 0;
		for (unsigned int i = 0; i < AWAITED_MAX && link->lanes[number].awaited_count > 0; i++)
			answer(link, number);
	}
	return any;
}

/* All that is due, and what comes of it; bounded, for muxd may ask again and again. */
static void answer_all(struct link *link)
{
	for (unsigned int round = 0; round < 8 && answer_lanes(link); round++)
		turn();
}

static void step_method(struct link *link, struct input *input)
{
	static const enum amqc_method_id ids[] = {
	    AMQC_CHANNEL_CLOSE_OK, AMQC_CHANNEL_FLOW,	 AMQC_CHANNEL_OPEN_OK,	    AMQC_QUEUE_DECLARE_OK,
	    AMQC_BASIC_CONSUME_OK, AMQC_BASIC_CANCEL_OK, AMQC_CONFIRM_SELECT_OK,    AMQC_TX_SELECT_OK,
	    AMQC_TX_COMMIT_OK,	   AMQC_BASIC_GET_EMPTY, AMQC_QUEUE_PURGE_OK,	    AMQC_CHANNEL_FLOW_OK,
	    AMQC_BASIC_PUBLISH,	   AMQC_CONNECTION_TUNE, AMQC_CONNECTION_UNBLOCKED, AMQC_CONNECTION_CLOSE_OK,
	};
	struct amqc_method method = {.id = ids[input_below(input, sizeof(ids) / sizeof(ids[0]))]};
	uint16_t lane = pick_lane(input);

	say(link, input_below(input, 8) ? lane : 0, &method);
}

static void step_content(struct link *link, struct input *input)
{
	struct amqc_method method = {.id = AMQC_BASIC_DELIVER};
	struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC};
	uint16_t lane = pick_lane(input);
	unsigned int kind = input_below(input, 4);
	struct span body = input_bytes(input);
	struct buf bytes = BUF_INIT;

	if (kind < 2) {
		method.basic_deliver.consumer_tag = span_str(link->lanes[lane].tag);
		method.basic_deliver.delivery_tag = input_byte(input);
	} else if (kind == 2) {
		method.id = AMQC_BASIC_RETURN;
		method.basic_return.reply_code = 312;
	} else {
		method.id = AMQC_BASIC_GET_OK;
		method.basic_get_ok.delivery_tag = input_byte(input);
		if (link->lanes[lane].awaited_count > 0 && link->lanes[lane].awaited[0] == AMQC_BASIC_GET)
			answered(&link->lanes[lane]);
	}
	header.body_size = body.len + (input_below(input, 16) == 1);
	require(amqc_method_append(&bytes, lane, &method) == AMQC_OK);
	require(amqc_content_header_append(&bytes, lane, &header) == AMQC_OK);
	amqc_body_append(&bytes, lane, body, kind == 1 ? 32 : 4096);
	feed(link, buf_span(&bytes));
	buf_deinit(&bytes);
}

static void step_confirm(struct link *link, struct input *input)
{
	struct amqc_method method = {.id = AMQC_BASIC_ACK};
	uint16_t lane = pick_lane(input);
	unsigned int choice = input_byte(input);

	if (choice & 1) {
		method.id = AMQC_BASIC_NACK;
		method.basic_nack.delivery_tag = choice >> 2;
		method.basic_nack.multiple = choice & 2;
	} else {
		method.basic_ack.delivery_tag = choice >> 2;
		method.basic_ack.multiple = choice & 2;
	}
	say(link, lane, &method);
}

static void step_close(struct link *link, struct input *input)
{
	static const uint16_t codes[] = {311, 320, 403, 404, 405, 406, 501, 504, 530, 540, 541, 200};
	struct amqc_method method = {.id = AMQC_CHANNEL_CLOSE};
	uint16_t lane = pick_lane(input);
	uint16_t code = codes[input_below(input, sizeof(codes) / sizeof(codes[0]))];
	unsigned int choice = input_byte(input);
	uint32_t blamed = choice & 2 ? AMQC_QUEUE_DECLARE : choice & 4 ? AMQC_BASIC_PUBLISH : 0;

	if (choice & 1) {
		method.id = AMQC_CONNECTION_CLOSE;
		method.connection_close = (struct amqc_connection_close){
		    code, input_bytes(input), (uint16_t)(blamed >> 16), (uint16_t)blamed};
		lane = 0;
	} else {
		method.channel_close = (struct amqc_channel_close){
		    code, input_bytes(input), (uint16_t)(blamed >> 16), (uint16_t)blamed};
	}
	say(link, lane, &method);
}

static void step_frame(struct link *link, struct input *input)
{
	static const uint8_t types[] = {AMQC_FRAME_METHOD, AMQC_FRAME_METHOD, AMQC_FRAME_HEADER,
					AMQC_FRAME_BODY, AMQC_FRAME_HEARTBEAT};
	struct buf bytes = BUF_INIT;
	uint8_t type = types[input_below(input, sizeof(types))];
	size_t mark = amqc_frame_begin(&bytes, type, pick_lane(input));

	buf_append_span(&bytes, input_bytes(input));
	amqc_frame_end(&bytes, mark);
	feed(link, buf_span(&bytes));
	buf_deinit(&bytes);
}

static void step_blocked(struct link *link, struct input *input)
{
	struct amqc_method method = {.id = AMQC_CONNECTION_BLOCKED};

	method.connection_blocked.reason = input_bytes(input);
	say(link, 0, &method);
}

static void broker_step(struct input *input)
{
	unsigned int choice = input_byte(input);
	struct link *link = choice >= 208 ? &w.scout : &w.main;
	uint16_t lane;

	switch (choice % 13) {
	case 0:
		connect_link(link, input);
		break;
	case 1:
		lose(link);
		break;
	case 2:
		feed(link, input_bytes(input));
		break;
	case 3:
		step_frame(link, input);
		break;
	case 4:
		step_method(link, input);
		break;
	case 5:
		lane = pick_lane(input);
		answer(link, lane);
		break;
	case 6:
	case 7:
		answer_all(link);
		break;
	case 8:
	case 9:
		step_content(link, input);
		break;
	case 10:
		step_confirm(link, input);
		break;
	case 11:
		step_close(link, input);
		break;
	case 12:
		step_blocked(link, input);
		break;
	default:
		break;
	}
}

/* ------------------------------------------------------------------ clients */

static void session_begin(struct client *client)
{
	struct session_options options = {.upstream = w.upstream,
					  .creds = {.uid = 1, .gid = 1, .pid = 1},
					  .get_bytes = 4096,
					  .ops = &hear_ops,
					  .context = &client->ear};
	struct fault fault;

	*client = (struct client){.ear = {hear}};
	if (!mux_is_quarantined(w.mux, &options.creds, &fault))
		require(session_new(w.mux, &options, &client->session) == 0);
}

static void session_stop(struct client *client)
{
	if (client->session)
		session_end(client->session);
	client->session = NULL;
	client->ended = false;
}

static void step_request(struct client *client, struct input *input)
{
	static const enum amqc_method_id ids[] = {
	    AMQC_QUEUE_DECLARE,	  AMQC_BASIC_CONSUME, AMQC_BASIC_GET,	 AMQC_BASIC_CANCEL,
	    AMQC_BASIC_QOS,	  AMQC_TX_SELECT,     AMQC_TX_COMMIT,	 AMQC_TX_ROLLBACK,
	    AMQC_BASIC_RECOVER,	  AMQC_QUEUE_BIND,    AMQC_QUEUE_DELETE, AMQC_EXCHANGE_DECLARE,
	    AMQC_EXCHANGE_DELETE, AMQC_EXCHANGE_BIND, AMQC_QUEUE_PURGE,
	};
	struct amqc_method method = {.id = ids[input_below(input, sizeof(ids) / sizeof(ids[0]))]};
	struct mux_request request = {.method = &method, .credit_messages = 1000, .credit_bytes = 1 << 20};
	unsigned int choice = input_byte(input);
	struct span name = choice & 4 ? SPAN_LITERAL("q") : choice & 8 ? input_bytes(input) : SPAN_NULL;

	if (client->last_request + 1 == REQUESTS_MAX)
		return;
	request.id = ++client->last_request;
	request.channel = 1 + choice % 2;
	request.consumer = choice >> 7;
	request.timeout_usec = choice & 16 ? 100 * USEC_PER_MSEC : 0;
	client->pending[request.id] = true;
	if (method.id == AMQC_QUEUE_DECLARE) {
		method.queue_declare.queue = name;
		method.queue_declare.exclusive = choice & 32;
	} else if (method.id == AMQC_BASIC_CONSUME) {
		method.basic_consume.queue = name;
		method.basic_consume.no_ack = choice & 32;
		method.basic_consume.exclusive = choice & 64;
	} else if (method.id == AMQC_BASIC_GET) {
		method.basic_get.queue = name;
		method.basic_get.no_ack = choice & 32;
	} else if (method.id == AMQC_EXCHANGE_DECLARE) {
		method.exchange_declare.exchange = name;
		method.exchange_declare.type = span_str(choice & 32 ? "direct" : "x-odd");
	} else if (method.id == AMQC_QUEUE_BIND) {
		method.queue_bind.queue = name;
		method.queue_bind.exchange = SPAN_LITERAL("e");
	} else if (method.id == AMQC_QUEUE_DELETE) {
		method.queue_delete.queue = name;
	} else if (method.id == AMQC_BASIC_QOS) {
		method.basic_qos.prefetch_count = (uint16_t)(choice >> 4);
		method.basic_qos.global = choice & 4;
	} else if (method.id == AMQC_BASIC_RECOVER) {
		method.basic_recover.requeue = true;
	}
	session_request(client->session, &request);
}

static void step_publish(struct client *client, struct input *input)
{
	unsigned int choice = input_byte(input);
	struct amqc_properties properties = {0};
	static const uint8_t body[3000];
	struct mux_publish publish = {
	    .channel = 1 + choice % 2,
	    .timeout_usec = choice & 4 ? 100 * USEC_PER_MSEC : 0,
	    .routing_key = SPAN_LITERAL("q"),
	    .mandatory = choice & 2,
	    .resent = choice & 8,
	    .properties = &properties,
	    .body = choice & 16 ? input_bytes(input) : span_make(body, choice * 11u),
	};
	uint64_t messages, bytes;

	publish.cost_bytes = publish.body.len + 30;
	session_credit_totals(client->session, &messages, &bytes);
	if (choice < 250 && client->published_bytes + publish.cost_bytes > bytes)
		return;
	client->published_bytes += publish.cost_bytes;
	session_publish(client->session, &publish);
}

static void step_open(struct client *client, struct input *input)
{
	unsigned int choice = input_byte(input);
	uint32_t number = 1 + choice % 2;

	session_open_channel(client->session, number, choice == 255 ? 1 : ++client->generation[number]);
}

static void step_end_channel(struct client *client, struct input *input)
{
	if (client->last_request + 1 == REQUESTS_MAX)
		return;
	client->pending[++client->last_request] = true;
	session_close_channel(client->session, client->last_request, 1 + input_below(input, 2));
}

static void step_credits(struct client *client, struct input *input)
{
	unsigned int choice = input_byte(input);

	session_consumer_credit(client->session, 1 + choice % 2, choice >> 7, 100u * choice, 1000u * choice);
	session_get_credit(client->session, 4096u * choice);
	session_want(client->session, choice, 4096u * choice);
	session_written(client->session, client->position);
}

static void client_step(struct input *input)
{
	unsigned int choice = input_byte(input);
	struct client *client = &w.clients[choice >> 7];
	unsigned int first;

	if (!client->session || choice % 12 == 11) {
		session_stop(client);
		session_begin(client);
		if (!client->session)
			return;
		session_open_channel(client->session, 1, client->generation[1] = 1);
		session_open_channel(client->session, 2, client->generation[2] = 1);
		return;
	}
	switch (choice % 12) {
	case 0:
		step_open(client, input);
		break;
	case 1:
		step_end_channel(client, input);
		break;
	case 2:
	case 3:
	case 4:
		step_request(client, input);
		break;
	case 5:
	case 6:
		step_publish(client, input);
		break;
	case 7:
		first = input_byte(input);
		session_settle(client->session, 1 + first % 2, (enum settle_kind)(first / 2 % 3),
			       first / 8 % 4, first / 32);
		break;
	case 8:
		step_credits(client, input);
		break;
	default:
		turn();
	}
}

/* ------------------------------------------------------------------ beginning and end */

static void begin(unsigned int choice)
{
	struct mux_options options = setup_mux();
	struct upstream_options upstream = setup_upstream();

	options.limits.total_memory = 4u << 20;
	options.limits.session_memory = 1u << 20;
	options.limits.message_max = 64u << 10;
	options.limits.sessions = SESSIONS;
	options.random = hand_random;
	options.digest = setup_digest;
	upstream.endpoint_count = 2;
	upstream.heartbeat_sec = 20;
	upstream.warm_lanes = choice % 4;
	upstream.unconfirmed_messages = choice & 4 ? 3 : 1000;
	upstream.unconfirmed_bytes = 1u << 20;
	upstream.adaptive_window = choice & 8;
	memset(&w, 0, sizeof(w));
	w.now = (struct mono){1000 * USEC_PER_SEC};
	require(mux_new(&options, &w.mux) == 0);
	mux_set_now(w.mux, w.now);
	require(upstream_new(w.mux, &upstream, &upstream_ops, NULL, &w.upstream) == 0);
	remote_init(&w.main.remote, w.upstream, false);
	remote_init(&w.scout.remote, w.upstream, true);
	upstream_start(w.upstream);
}

static bool is_answered(void)
{
	for (size_t i = 0; i < SESSIONS; i++)
		for (uint32_t id = 1; w.clients[i].session && id <= w.clients[i].last_request; id++)
			if (w.clients[i].pending[id])
				return false;
	return true;
}

/* Nobody is there, and nothing is left of anybody. */
static bool is_over(void)
{
	return mux_session_count(w.mux) == 0 && mux_channel_count(w.mux) == 0 &&
	       mux_memory_used(w.mux) == 0 && upstream_is_drained(w.upstream);
}

/* Nothing outlives its deadline: first requests end, then sessions and what they left. */
static void finish(void)
{
	for (int i = 0; i < 40 && !is_answered(); i++)
		pass(USEC_PER_SEC);
	require(is_answered());
	for (size_t i = 0; i < SESSIONS; i++)
		session_stop(&w.clients[i]);
	for (int i = 0; i < 40 && (i == 0 || !is_over()); i++) {
		lose(&w.main);
		lose(&w.scout);
		pass(10 * USEC_PER_SEC);
	}
	require(is_over());
	mux_free(w.mux);
	remote_deinit(&w.main.remote);
	remote_deinit(&w.scout.remote);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {span_make(data, size)};

	begin(input_byte(&input));
	for (unsigned int i = 0; i < STEPS_MAX && input.rest.len > 0; i++) {
		unsigned int kind = input_byte(&input);

		if (kind < 112)
			broker_step(&input);
		else if (kind < 240)
			client_step(&input);
		else
			pass((1u << (kind - 240)) * USEC_PER_MSEC);
		turn();
		/* the front lets go of a session in the turn in which it ended */
		for (size_t k = 0; k < SESSIONS; k++)
			if (w.clients[k].ended)
				session_stop(&w.clients[k]);
	}
	finish();
	return 0;
}
