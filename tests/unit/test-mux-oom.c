/*
 * mux with each of its allocations failing, one in each run, or several in a
 * row: between clients made here and the engine of tests/broker/, while
 * connections are lost. Whatever fails:
 *
 *	- a request is answered once, a publish has one outcome, a session that ends is told why
 *	- confirmed: at the broker until a client acknowledged it; not sent: never seen there
 *	- what no client acknowledged is still at the broker
 *	- a message that is sent again is marked
 *	- the broker finds nothing wrong with what it is sent
 *	- when there is memory again all goes on, for the sessions there are and for a new one
 *	- when all have left nothing is charged and no block is left
 *
 *	test-mux-oom [SCENARIO [NTH [ROW]]]
 *
 * NTH: the allocation, from 1, and ROW, how many fail from there on: that run alone.
 */
#include "daemon/amqp/reply.h"
#include "daemon/base/log.h"
#include "tests/broker/broker.h"
#include "tests/rig/hear.h"
#include "tests/rig/remote.h"
#include "tests/rig/setup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SESSIONS 4u
#define CHANNELS 4u
#define MESSAGES_MAX 256u
#define REQUESTS_MAX 256u
#define HANDS_MAX 64u
#define LANES_MAX 64u
#define ROOM_BYTES (1u << 20) /* more than is ever on its way */
#define FRAME_MAX 4096u
#define LARGE_BYTES 10000u /* three frames */
#define QUEUE "q"
#define PROBE 3u /* the session that comes at the end */

struct message {
	bool for_queue; /* it goes to QUEUE */
	bool ended;
	bool confirmed;
	bool not_sent;
	bool has_left;	    /* its session ended before it had an outcome */
	bool acked;	    /* by who got it */
	bool is_there;	    /* at the broker, at the end */
	unsigned int wired; /* times it was sent to the broker */
};

struct hand {
	uint64_t tag;
	uint32_t message;
};

struct channel {
	bool open;
	uint32_t count;
	uint32_t published[MESSAGES_MAX]; /* the message, by number of the publish - 1 */
	uint32_t hand_count;
	struct hand hands[HANDS_MAX]; /* that came and are not settled */
};

struct client {
	struct ear ear;
	struct session *session; /* NULL: it has ended, or could not begin */
	bool told_end;
	uint64_t position;
	uint64_t credit_messages, credit_bytes, used_messages, used_bytes;
	struct channel channels[CHANNELS + 1];
	char made[64]; /* the queue that mux made a name for */
};

struct request {
	uint32_t client;
	bool answered;
	bool refused;
};

static struct world {
	const char *scenario;
	unsigned long nth, row;
	struct mono now;
	struct mux *mux;
	struct upstream *upstream;
	struct remote remote;
	struct broker *broker;
	struct broker_conn *conn; /* at the remote end */
	bool dial, hang_up;
	struct client clients[SESSIONS];
	struct message messages[MESSAGES_MAX];
	uint32_t message_count;
	struct request requests[REQUESTS_MAX];
	uint32_t request_count;
	bool was_refused;	    /* something that the rest may build on */
	bool marked[LANES_MAX + 1]; /* what is sent on the lane now */
	struct buf to_broker;
	char log[4096]; /* the end of it */
} w;

/* ------------------------------------------------------------------ allocations */

static struct {
	bool counts; /* mux is called */
	unsigned long seen, failed;
	unsigned long first, row; /* first 0: none fails */
	long blocks;		  /* of the whole program, that are not freed */
} memory;

/* The linker puts these in place of malloc and the like. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *data, size_t size);
void __real_free(void *data);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *data, size_t size);
char *__wrap_strdup(const char *text);
void __wrap_free(void *data);

static bool fails(void)
{
	if (!memory.counts)
		return false;
	memory.seen++;
	if (memory.first == 0 || memory.seen < memory.first || memory.seen >= memory.first + memory.row)
		return false;
	memory.failed++;
	return true;
}

static void *counted(void *data)
{
	memory.blocks += data != NULL;
	return data;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *data, size_t size)
{
	void *grown = fails() ? NULL : __real_realloc(data, size);

	return data ? grown : counted(grown);
}

char *__wrap_strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = __wrap_malloc(size);

	return copy ? memcpy(copy, text, size) : NULL;
}

void __wrap_free(void *data)
{
	memory.blocks -= data != NULL;
	__real_free(data);
}

/* A call of mux, in which allocations count. */
#define MUX(call)                      \
	do {                           \
		memory.counts = true;  \
		call;                  \
		memory.counts = false; \
	} while (0)

/* ------------------------------------------------------------------ what must hold */

static void fail(const char *what, uint64_t detail)
{
	memory.counts = false;
	printf("FAILED: %s %lu %lu: %s (%llu)\n%s", w.scenario, w.nth, w.row, what,
	       (unsigned long long)detail, w.log);
	fflush(stdout);
	abort();
}

static void must(bool is_so, const char *what, uint64_t detail)
{
	if (!is_so)
		fail(what, detail);
}

static void on_log(void *context, enum log_level level, const char *text, const struct log_field *fields,
		   size_t field_count)
{
	size_t len = strlen(w.log), more = strlen(text);

	if (more + 2 > sizeof(w.log))
		return;
	if (len + more + 2 > sizeof(w.log))
		len = 0;
	snprintf(w.log + len, sizeof(w.log) - len, "%s\n", text);
}

static struct message *message_of(struct span body)
{
	uint32_t number = body.len >= 4 ? load_be32(body.data) : 0;

	must(number > 0 && number <= w.message_count, "a message that nobody published", number);
	return &w.messages[number];
}

/* ------------------------------------------------------------------ what clients are told */

static void answered(uint32_t id)
{
	must(id > 0 && id <= w.request_count && !w.requests[id].answered,
	     "an answer to nothing, or a second one", id);
	w.requests[id].answered = true;
}

/*
 * No memory; what was under way when the connection was lost; or a deadline, for there was no memory to ask.
 * A declaration that could not be remembered is logged, and missing on the next connection.
 */
static bool is_excused(const struct fault *fault)
{
	return w.was_refused || fault->code == 506 || fault->code == 320 || fault->code == 408 ||
	       strstr(w.log, "no memory to remember a declaration");
}

static void refused(const struct heard *heard)
{
	answered(heard->request);
	must(is_excused(heard->fault), heard->fault->text, heard->fault->code);
	w.requests[heard->request].refused = true;
	w.was_refused = true;
}

static void replied(struct client *client, const struct heard *heard)
{
	answered(heard->request);
	if (heard->resume.len > 0)
		snprintf(client->made, sizeof(client->made), "%.*s",
			 (int)heard->reply->queue_declare_ok.queue.len,
			 (const char *)heard->reply->queue_declare_ok.queue.data);
}

static void outcome(const struct client *client, const struct heard *heard)
{
	const struct channel *channel = &client->channels[heard->channel.number];

	must(heard->last <= channel->count, "an outcome of what was not published", heard->last);
	for (uint64_t number = heard->first; number <= heard->last; number++) {
		struct message *message = &w.messages[channel->published[number - 1]];

		must(!message->ended, "a second outcome", number);
		message->ended = true;
		message->confirmed = heard->outcome == OUTCOME_CONFIRMED;
		message->not_sent = heard->outcome == OUTCOME_NOT_SENT;
		must(heard->outcome != OUTCOME_NACKED, "a refusal that the broker did not make", number);
	}
}

static struct mux_handed handed(struct client *client, const struct mux_content *content)
{
	client->position += content->body.len;
	return (struct mux_handed){client->position, content->body.len};
}

static struct mux_handed hand(struct client *client, const struct heard *heard)
{
	struct channel *channel = &client->channels[heard->channel.number];
	struct message *message = message_of(heard->content->body);

	must(!message->not_sent, "a message that was not sent", load_be32(heard->content->body.data));
	message->is_there |= client == &w.clients[PROBE];
	must(channel->hand_count < HANDS_MAX, "more messages than the client has credit for", HANDS_MAX);
	channel->hands[channel->hand_count++] =
	    (struct hand){heard->tag, load_be32(heard->content->body.data)};
	return handed(client, heard->content);
}

static void channel_ended(struct client *client, const struct heard *heard)
{
	struct channel *channel = &client->channels[heard->channel.number];

	must(channel->open, "the end of a channel that is not open", heard->channel.number);
	must(is_excused(heard->fault), heard->fault->text, heard->fault->code);
	w.was_refused = true;
	for (uint32_t i = 0; i < channel->count; i++)
		must(w.messages[channel->published[i]].ended, "a channel ended before its publishes", i);
	channel->open = false;
	channel->hand_count = 0;
}

static struct mux_handed hear(struct ear *ear, const struct heard *heard)
{
	struct client *client = container_of(ear, struct client, ear);

	must(client->session && !client->told_end, "something is told behind the end", heard->kind);
	switch (heard->kind) {
	case RIG_REPLY:
		replied(client, heard);
		break;
	case RIG_REFUSED:
		refused(heard);
		break;
	case RIG_GOT:
		answered(heard->request);
		return hand(client, heard);
	case RIG_DELIVERED:
		return hand(client, heard);
	case RIG_RETURNED:
		(void)message_of(heard->content->body);
		return handed(client, heard->content);
	case RIG_OUTCOME:
		outcome(client, heard);
		break;
	case RIG_CHANNEL_ENDED:
		channel_ended(client, heard);
		break;
	case RIG_CREDIT:
		client->credit_messages = heard->first;
		client->credit_bytes = heard->last;
		break;
	case RIG_ENDED:
		must(heard->fault->code == 506, heard->fault->text, heard->fault->code);
		client->told_end = true;
		w.was_refused = true;
		break;
	case RIG_CONSUMER_CANCELLED:
	case RIG_CONSUMER_INTERRUPTED:
	case RIG_UPSTREAM:
	case RIG_NOTHING:
		break;
	}
	return (struct mux_handed){0, 0};
}

/* ------------------------------------------------------------------ the wire */

static bool has_mark(struct span header)
{
	static const char mark[] = "x-muxd-resent";

	for (size_t i = 0; i + sizeof(mark) - 1 <= header.len; i++) {
		if (memcmp(header.data + i, mark, sizeof(mark) - 1) == 0)
			return true;
	}
	return false;
}

/* A body ends with its number and a mark. */
static void look(const struct amqc_frame *frame)
{
	struct span payload = frame->payload;
	struct message *message;

	must(frame->channel <= LANES_MAX, "a lane beyond the broker's", frame->channel);
	if (frame->type == AMQC_FRAME_HEADER)
		w.marked[frame->channel] = has_mark(payload);
	if (frame->type != AMQC_FRAME_BODY || payload.len < 5 || payload.data[payload.len - 1] != '!')
		return;
	message = message_of(span_skip(payload, payload.len - 5));
	must(message->wired == 0 || w.marked[frame->channel], "a message was sent again without its mark",
	     load_be32(payload.data + payload.len - 5));
	message->wired++;
}

static void disconnect(void)
{
	w.conn = broker_conn_free(w.conn, w.now);
	buf_truncate(&w.to_broker, 0);
}

static void obey(void)
{
	if (w.hang_up) {
		disconnect();
		remote_forget(&w.remote);
	}
	w.hang_up = false;
	if (!w.dial)
		return;
	w.dial = false;
	w.conn = broker_conn_new(w.broker, NULL, w.now);
	MUX(remote_dialled(&w.remote));
}

static void cut(void)
{
	if (!w.conn)
		return;
	disconnect();
	MUX(remote_lost(&w.remote, "the test cuts it"));
}

static void write_up(void)
{
	struct buf *out = upstream_output(w.upstream);
	struct amqc_frame frame;

	if (!w.conn || buf_len(out) == 0)
		return;
	buf_append_span(&w.to_broker, buf_span(out));
	remote_collect(&w.remote, SIZE_MAX);
	MUX(upstream_pump(w.upstream));
	while (remote_next(&w.remote, FRAME_MAX, &frame))
		look(&frame);
	broker_conn_feed(w.conn, buf_span(&w.to_broker), w.now);
	buf_truncate(&w.to_broker, 0);
	if (broker_conn_closed(w.conn))
		fail(broker_conn_reason(w.conn), 0);
}

static void read_down(void)
{
	struct span out = w.conn ? broker_conn_output(w.conn) : SPAN_NULL;

	if (out.len == 0)
		return;
	must(buf_len(&w.remote.left) + out.len <= ROOM_BYTES, "more than there is room for", out.len);
	buf_append_span(&w.remote.left, out);
	broker_conn_sent(w.conn, out.len, w.now);
	MUX((void)remote_feed(&w.remote, SPAN_NULL));
}

/* ------------------------------------------------------------------ sessions */

/* Nothing is told any more: what was asked has no answer, what was published no outcome. */
static void leave(struct client *client)
{
	struct session *session = client->session;

	if (!session)
		return;
	client->session = NULL;
	MUX(session_end(session));
	for (uint32_t id = 1; id <= w.request_count; id++)
		w.requests[id].answered |= &w.clients[w.requests[id].client] == client;
	for (uint32_t number = 1; number <= CHANNELS; number++) {
		struct channel *channel = &client->channels[number];

		channel->open = false;
		channel->hand_count = 0;
		for (uint32_t i = 0; i < channel->count; i++) {
			struct message *message = &w.messages[channel->published[i]];

			message->has_left |= !message->ended;
			message->ended = true;
		}
	}
}

static void step(void)
{
	MUX(mux_turn(w.mux));
	obey();
	write_up();
	read_down();
	MUX(mux_turn(w.mux));
	for (size_t i = 0; i < SESSIONS; i++) {
		if (w.clients[i].told_end)
			leave(&w.clients[i]);
		if (w.clients[i].session)
			MUX(session_written(w.clients[i].session, w.clients[i].position));
	}
	obey();
}

static void pass(uint64_t usec)
{
	w.now.usec += usec;
	MUX(mux_set_now(w.mux, w.now));
	MUX(mux_run_timers(w.mux));
	broker_tick(w.broker, w.now);
	step();
}

/* Until nothing moves any more, but for what waits for a deadline. */
static void calm(void)
{
	for (int i = 0; i < 60; i++)
		pass(20 * USEC_PER_MSEC);
}

/* Behind all deadlines. */
static void wait_long(void)
{
	for (int i = 0; i < 120; i++)
		pass(500 * USEC_PER_MSEC);
}

static struct client *join(uint32_t which)
{
	struct client *client = &w.clients[which];
	struct session_options options = {.upstream = w.upstream,
					  .creds = {.uid = 1000, .gid = 1000, .pid = which + 1},
					  .program = SPAN_LITERAL("test"),
					  .get_bytes = 1u << 20,
					  .ops = &hear_ops,
					  .context = &client->ear};

	*client = (struct client){.ear = {hear}};
	MUX((void)session_new(w.mux, &options, &client->session));
	w.was_refused |= !client->session;
	if (!client->session)
		return client;
	session_credit_totals(client->session, &client->credit_messages, &client->credit_bytes);
	MUX(session_want(client->session, 100, 100000));
	step();
	return client;
}

static struct channel *open_channel(struct client *client, uint32_t number)
{
	struct channel *channel = &client->channels[number];

	if (!client->session)
		return channel;
	channel->open = true;
	MUX(session_open_channel(client->session, number, 1));
	return channel;
}

/* Returns its id; 0: there is no such channel any more. */
static uint32_t ask(struct client *client, uint32_t number, const struct amqc_method *method)
{
	struct mux_request request = {.channel = number,
				      .method = method,
				      .consumer = number,
				      .credit_messages = 20,
				      .credit_bytes = 1u << 20};

	if (!client->session || client->told_end || !client->channels[number].open)
		return 0;
	must(w.request_count + 1 < REQUESTS_MAX, "too many requests for the test", 0);
	request.id = ++w.request_count;
	w.requests[request.id] = (struct request){.client = (uint32_t)(client - w.clients)};
	MUX(session_request(client->session, &request));
	return request.id;
}

static uint32_t ask_id(struct client *client, uint32_t number, enum amqc_method_id id)
{
	return ask(client, number, &(struct amqc_method){.id = id});
}

static uint32_t declare(struct client *client, uint32_t number, const char *queue, bool exclusive)
{
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};

	method.queue_declare.queue = span_str(queue);
	method.queue_declare.durable = !exclusive;
	method.queue_declare.exclusive = exclusive;
	return ask(client, number, &method);
}

static uint32_t consume(struct client *client, uint32_t number, const char *queue)
{
	struct amqc_method method = {.id = AMQC_BASIC_CONSUME};

	method.basic_consume.queue = span_str(queue);
	return ask(client, number, &method);
}

static uint32_t get(struct client *client, uint32_t number)
{
	struct amqc_method method = {.id = AMQC_BASIC_GET};

	method.basic_get.queue = SPAN_LITERAL(QUEUE);
	return ask(client, number, &method);
}

/* Returns the message; 0: it may not, or has no channel. */
static uint32_t publish(struct client *client, uint32_t number, const char *exchange, const char *key,
			size_t len)
{
	static uint8_t body[LARGE_BYTES];
	struct amqc_properties properties = {.present = AMQC_PROP_DELIVERY_MODE, .delivery_mode = 2};
	struct channel *channel = &client->channels[number];

	if (!client->session || client->told_end || !channel->open ||
	    client->used_messages >= client->credit_messages ||
	    client->used_bytes + len > client->credit_bytes)
		return 0;
	must(++w.message_count < MESSAGES_MAX, "too many messages for the test", 0);
	memset(body, 0, len);
	store_be32(body, w.message_count);
	store_be32(body + len - 5, w.message_count);
	body[len - 1] = '!';
	w.messages[w.message_count].for_queue = strcmp(key, QUEUE) == 0;
	channel->published[channel->count++] = w.message_count;
	client->used_messages++;
	client->used_bytes += len;
	MUX(session_publish(client->session, &(struct mux_publish){.channel = number,
								   .cost_bytes = len,
								   .exchange = span_str(exchange),
								   .routing_key = span_str(key),
								   .mandatory = true,
								   .properties = &properties,
								   .body = span_make(body, len)}));
	return w.message_count;
}

/* All that the channel has but the last `but`. */
static void settle(struct client *client, uint32_t number, enum settle_kind kind, uint32_t but)
{
	struct channel *channel = &client->channels[number];
	uint32_t count = channel->hand_count > but ? channel->hand_count - but : 0;

	for (uint32_t i = 0; i < count && client->session && !client->told_end && channel->open; i++) {
		w.messages[channel->hands[i].message].acked |= kind == SETTLE_ACK;
		MUX(session_settle(client->session, number, kind, channel->hands[i].tag,
				   channel->hands[i].tag));
	}
	if (!channel->open || count == 0)
		return;
	channel->hand_count -= count;
	memmove(channel->hands, channel->hands + count, channel->hand_count * sizeof(channel->hands[0]));
}

/* ------------------------------------------------------------------ scenarios */

static void publishes(void)
{
	struct client *a = join(0);

	open_channel(a, 1);
	open_channel(a, 2);
	publish(a, 1, "", QUEUE, 20);
	publish(a, 1, "", QUEUE, LARGE_BYTES);
	publish(a, 2, "", "nowhere", 20);
	calm();
	/* What was sent and is not confirmed is sent again, before what comes behind it. */
	broker_set_manual_confirms(w.broker, true);
	publish(a, 1, "", QUEUE, 20);
	publish(a, 2, "", QUEUE, LARGE_BYTES);
	step();
	publish(a, 1, "", QUEUE, 20);
	cut();
	publish(a, 1, "", QUEUE, LARGE_BYTES);
	broker_set_manual_confirms(w.broker, false);
	calm();
	publish(a, 2, "", QUEUE, 20);
	/* And what a session leaves behind. */
	publish(a, 1, "", QUEUE, LARGE_BYTES);
	leave(a);
	calm();
}

static void deliveries(void)
{
	struct client *a = join(0), *b = join(1);
	struct amqc_method cancel = {.id = AMQC_BASIC_CANCEL}, qos = {.id = AMQC_BASIC_QOS};

	open_channel(a, 1);
	open_channel(b, 1);
	open_channel(b, 2);
	qos.basic_qos.prefetch_count = 5;
	ask(b, 1, &qos);
	consume(b, 1, QUEUE);
	for (int i = 0; i < 8; i++)
		publish(a, 1, "", QUEUE, i == 3 ? LARGE_BYTES : 20);
	calm();
	settle(b, 1, SETTLE_ACK, 2);
	calm();
	settle(b, 1, SETTLE_REQUEUE, 2);
	settle(b, 1, SETTLE_ACK, 1);
	cut();
	for (int i = 0; i < 3; i++)
		publish(a, 1, "", QUEUE, 20);
	calm();
	settle(b, 1, SETTLE_ACK, 2);
	ask(b, 1, &cancel);
	get(b, 2);
	get(b, 2);
	calm();
	settle(b, 2, SETTLE_ACK, 1);
	calm();
}

static void topology(void)
{
	struct client *a = join(0), *b = join(1);
	struct amqc_method exchange = {.id = AMQC_EXCHANGE_DECLARE}, bind = {.id = AMQC_QUEUE_BIND};
	struct amqc_method unbind = {.id = AMQC_QUEUE_UNBIND}, drop = {.id = AMQC_EXCHANGE_DELETE};

	open_channel(a, 1);
	open_channel(b, 1);
	exchange.exchange_declare.exchange = SPAN_LITERAL("e");
	exchange.exchange_declare.type = SPAN_LITERAL("fanout");
	ask(a, 1, &exchange);
	declare(a, 1, "", true);
	declare(a, 1, "own", true);
	bind.queue_bind.exchange = SPAN_LITERAL("e");
	bind.queue_bind.queue = SPAN_LITERAL("own");
	ask(a, 1, &bind);
	consume(a, 1, "own");
	calm();
	publish(b, 1, "e", "", 20);
	calm();
	settle(a, 1, SETTLE_ACK, 0);
	cut();
	publish(b, 1, "e", "", 20);
	calm();
	settle(a, 1, SETTLE_ACK, 0);
	unbind.queue_unbind.exchange = SPAN_LITERAL("e");
	unbind.queue_unbind.queue = SPAN_LITERAL("own");
	ask(a, 1, &unbind);
	drop.exchange_delete.exchange = SPAN_LITERAL("e");
	ask(a, 1, &drop);
	calm();
	leave(a);
	calm();
}

static void transactions(void)
{
	struct client *a = join(0), *b = join(1);

	open_channel(a, 1);
	open_channel(b, 1);
	ask_id(a, 1, AMQC_TX_SELECT);
	publish(a, 1, "", QUEUE, 20);
	publish(a, 1, "", QUEUE, LARGE_BYTES);
	ask_id(a, 1, AMQC_TX_COMMIT);
	publish(a, 1, "", QUEUE, 20);
	ask_id(a, 1, AMQC_TX_ROLLBACK);
	calm();
	get(a, 1);
	calm();
	settle(a, 1, SETTLE_REQUEUE, 0);
	ask_id(a, 1, AMQC_TX_COMMIT);
	publish(b, 1, "", QUEUE, 20);
	calm();
	publish(a, 1, "", QUEUE, 20);
	step();
	cut();
	calm();
}

static const struct {
	const char *name;
	void (*run)(void);
} scenarios[] = {
    {"publishes", publishes},
    {"deliveries", deliveries},
    {"topology", topology},
    {"transactions", transactions},
};

/* ------------------------------------------------------------------ a run */

static void dial(void *context, size_t index)
{
	w.dial = true;
}

static void hang_up(void *context)
{
	w.hang_up = true;
}

static void changed(void *context)
{
}

static void begin(void)
{
	static const struct upstream_ops ops = {.dial = dial, .hang_up = hang_up, .changed = changed};
	struct broker_options broker = BROKER_OPTIONS_INIT;
	struct mux_options mux = setup_mux();
	struct upstream_options upstream = setup_upstream();
	struct client *probe;

	w.now.usec = USEC_PER_SEC;
	w.to_broker = BUF_INIT;
	mux.limits.request_timeout_usec = 5 * USEC_PER_SEC;
	mux.limits.publish_timeout_usec = 20 * USEC_PER_SEC;
	mux.random = setup_no_chance;
	mux.digest = setup_digest;
	upstream.reconnect_min_usec = 10 * USEC_PER_MSEC;
	upstream.reconnect_max_usec = 20 * USEC_PER_MSEC;
	upstream.warm_lanes = 1;
	broker.frame_max = FRAME_MAX;
	broker.channel_max = LANES_MAX;
	w.broker = broker_new(&broker);
	must(mux_new(&mux, &w.mux) == 0, "no mux", 0);
	mux_set_now(w.mux, w.now);
	must(upstream_new(w.mux, &upstream, &ops, NULL, &w.upstream) == 0, "no upstream", 0);
	remote_init(&w.remote, w.upstream, false);
	must(buf_reserve(&w.remote.left, ROOM_BYTES) != NULL, "no room", 0);
	upstream_start(w.upstream);
	probe = join(PROBE);
	open_channel(probe, 1);
	(void)declare(probe, 1, QUEUE, false);
	calm();
	must(w.requests[w.request_count].answered, "the queue is not declared", 0);
	leave(probe);
	calm();
}

/* A session that comes when there is memory again finds all as it was, and the messages. */
static void look_at_the_end(void)
{
	struct client *probe = join(PROBE);
	size_t ready = 0, unacked = 0;
	uint32_t last, request;

	calm();
	must(probe->session != NULL, "no session", 0);
	open_channel(probe, 1);
	last = publish(probe, 1, "", QUEUE, 20);
	calm();
	must(last > 0 && w.messages[last].confirmed, "a publish is not confirmed any more", last);
	must(broker_queue_counts(w.broker, "/", SPAN_LITERAL(QUEUE), &ready, &unacked), "no queue", 0);
	must(unacked == 0, "messages are held, though all sessions have left", unacked);
	for (; ready > 0; ready--) {
		request = get(probe, 1);
		calm();
		must(request > 0 && w.requests[request].answered && !w.requests[request].refused,
		     "a get is not answered any more", request);
	}
	leave(probe);
	calm();
}

/* While the sessions are there that there are. */
static void look_at_ends(void)
{
	for (uint32_t id = 1; id <= w.request_count; id++)
		must(w.requests[id].answered, "a request without an answer", id);
	for (uint32_t number = 1; number <= w.message_count; number++)
		must(w.messages[number].ended, "a publish without an outcome", number);
}

static void audit(void)
{
	for (uint32_t number = 1; number <= w.message_count; number++) {
		const struct message *message = &w.messages[number];

		must(!message->not_sent || !message->is_there, "what was not sent is there", number);
		must(!message->confirmed || !message->for_queue || message->acked || message->is_there,
		     "what was confirmed is lost", number);
		must(w.nth > 0 || message->acked || message->is_there || !message->for_queue ||
			 message->not_sent,
		     "a message is lost though nothing fails", number);
	}
}

static void run_case(size_t scenario, unsigned long nth, unsigned long row)
{
	long blocks = memory.blocks;

	memset(&w, 0, sizeof(w));
	w.scenario = scenarios[scenario].name;
	w.nth = nth;
	w.row = row;
	begin();
	memory.first = nth;
	memory.row = row;
	memory.seen = memory.failed = 0;
	scenarios[scenario].run();
	memory.first = 0;
	wait_long();
	look_at_ends();
	for (size_t i = 0; i < SESSIONS; i++)
		leave(&w.clients[i]);
	calm();
	look_at_the_end();
	audit();
	wait_long();
	must(mux_memory_used(w.mux) == 0, "memory is charged, though all have left", mux_memory_used(w.mux));
	mux_free(w.mux);
	broker_free(w.broker);
	remote_deinit(&w.remote);
	buf_deinit(&w.to_broker);
	must(memory.blocks == blocks, "blocks are left", (uint64_t)(memory.blocks - blocks));
}

static unsigned long run_scenario(size_t scenario, unsigned long row)
{
	unsigned long count;

	run_case(scenario, 0, row);
	count = memory.seen;
	for (unsigned long nth = 1; nth <= count; nth++)
		run_case(scenario, nth, row);
	printf("%s: %lu allocations, %lu fail from each on\n", scenarios[scenario].name, count, row);
	return count;
}

int main(int argc, char **argv)
{
	static const unsigned long rows[] = {1, 3, 40};
	unsigned long passed = 0;

	log_set_sink(on_log, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		if (argc > 1 && strcmp(argv[1], scenarios[i].name) != 0)
			continue;
		if (argc > 2) {
			run_case(i, strtoul(argv[2], NULL, 10), argc > 3 ? strtoul(argv[3], NULL, 10) : 1);
			continue;
		}
		for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++)
			passed += run_scenario(i, rows[k]) + 1;
	}
	printf("test-mux-oom: %lu passed, 0 failed, 0 skipped\n", passed);
	return 0;
}
