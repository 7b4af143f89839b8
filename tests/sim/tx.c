/*
 * Transactions under a virtual clock: the real mux between clients made here
 * and the engine of tests/broker/, bytes cut anywhere, connections lost at any
 * time. Apart from sim.c, because what is expected is another thing: nothing is
 * sent again, and whole transactions are done or not.
 *
 *	tx [-n RUNS] [-s FIRST_SEED] [-v]
 *
 * Every message has a number in its body. What a client is told of each, what
 * went over the wire, what is delivered and what is left at the end must agree:
 *
 *	- publishes and settlings of one transaction are done together or not at all
 *	- confirmed: there once, until settled in a committed transaction
 *	- not sent: never seen, at the end nor before
 *	- nothing follows an unanswered commit or rollback on its lane
 *	- each request is answered once, each publish has one outcome
 *	- the connection is lost only when the test cuts it
 *	- at the end all memory is free, and the window empty
 */
#include "daemon/amqp/reply.h"
#include "tests/broker/broker.h"
#include "tests/rig/hear.h"
#include "tests/rig/remote.h"
#include "tests/rig/setup.h"
#include "tests/unit/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS 3u
#define MESSAGES_MAX 4096u
#define PARTS_MAX 4096u /* transactions */
#define REQUESTS_MAX 4096u
#define LANES_MAX 64u
#define QUEUE "q"
#define AUDITOR 50u /* the channel that looks at what is left */
#define BODY_MAX 20000u

enum fate {
	FATE_OPEN,
	FATE_DONE,
	FATE_UNDONE,
	FATE_DOUBT /* as a whole, or not at all */
};

/* What a client puts between two ends of transactions. */
struct part {
	enum fate fate;
	bool has_publishes;
	int seen; /* of one in doubt: 1 its effects are there, -1 they are not, 0 nothing is known */
};

struct message {
	uint32_t part;	  /* it was published in, 0: outside */
	uint32_t settled; /* the part that settled it last; 0: none */
	bool ended;	  /* it has its outcome */
	bool nowhere;	  /* it is routed to no queue */
	uint32_t left;	  /* times it was in the queue at the end */
	uint32_t wire;	  /* times it was sent to the broker, as far as its last slice shows its number */
};

struct hand {
	uint64_t tag;
	uint32_t message;
	uint32_t part; /* settled in this one, 0: not */
};

struct channel {
	uint32_t number, generation;
	bool open;
	uint32_t part;			  /* the one the client fills */
	uint32_t published[MESSAGES_MAX]; /* number of the message, by publish number - 1 */
	uint32_t count;
	struct hand hands[MESSAGES_MAX];
	uint32_t hand_count;
	uint32_t unanswered;
};

struct request {
	uint32_t channel;
	enum amqc_method_id method;
	uint32_t part;
	bool answered;
};

static struct world {
	uint64_t seed;
	bool verbose;
	struct random random;
	struct mono now;
	struct mux *mux;
	struct upstream *upstream;
	struct remote remote;
	struct broker *broker;
	struct broker_conn *conn; /* at the remote end */
	bool dial, hang_up;
	struct session *session;
	struct ear ear;
	uint64_t position;
	uint64_t credit_messages, credit_bytes, used_messages, used_bytes;
	struct channel channels[CHANNELS + 1];
	struct part parts[PARTS_MAX];
	uint32_t part_count;
	struct message messages[MESSAGES_MAX];
	uint32_t message_count;
	struct request requests[REQUESTS_MAX];
	uint32_t request_count;
	bool silent[LANES_MAX + 1];
	struct buf to_broker; /* under way */
	uint64_t commits, rollbacks, cuts, doubts, deliveries;
} w;

static void fail(const char *what, uint64_t detail)
{
	fprintf(stderr, "tx: seed %llu: %s (%llu)\n", (unsigned long long)w.seed, what,
		(unsigned long long)detail);
	abort();
}

#define must(condition, what, detail)                   \
	do {                                            \
		if (!(condition))                       \
			fail(what, (uint64_t)(detail)); \
	} while (0)

#define trace(...)                           \
	do {                                 \
		if (w.verbose)               \
			printf(__VA_ARGS__); \
	} while (0)

static uint32_t below(uint32_t bound)
{
	return random_below(&w.random, bound);
}

/* ------------------------------------------------------------------ what happened to whom */

/* The effects of a part in doubt are there, or not: for all of it the same. */
static void observe(uint32_t number, bool done)
{
	struct part *part = &w.parts[number];

	if (number == 0 || part->fate != FATE_DOUBT)
		return;
	must(part->seen == 0 || (part->seen > 0) == done, "a transaction in doubt was done by half", number);
	part->seen = done ? 1 : -1;
}

/* The message is in the queue, or was a moment ago. */
static void saw(uint32_t number)
{
	struct message *message = &w.messages[number];
	const struct part *part = &w.parts[message->part];

	must(number > 0 && number <= w.message_count, "a message that nobody published", number);
	must(message->part == 0 || part->fate != FATE_UNDONE, "a message that was rolled back", number);
	must(!message->nowhere, "a message that went to no queue", number);
	observe(message->part, true);
	if (message->settled == 0)
		return;
	must(w.parts[message->settled].fate != FATE_DONE, "a message that was settled for good", number);
	observe(message->settled, false);
}

static void part_ends(uint32_t number, enum fate fate)
{
	struct part *part = &w.parts[number];

	if (part->fate != FATE_OPEN) {
		must(part->fate == fate, "a transaction has two ends", number);
		return;
	}
	trace("part %u ends: %d\n", number, (int)fate);
	part->fate = fate;
	w.doubts += fate == FATE_DOUBT;
}

static uint32_t part_new(struct channel *channel)
{
	must(w.part_count + 1 < PARTS_MAX, "too many parts for the test", 0);
	return channel->part = ++w.part_count;
}

static void outcome(const struct heard *heard)
{
	struct channel *channel = &w.channels[heard->channel.number];
	enum outcome_kind kind = heard->outcome;

	if (heard->channel.generation != channel->generation)
		return; /* of one that was closed: rolled back when nothing says otherwise */
	for (uint64_t number = heard->first; number <= heard->last; number++) {
		struct message *message = &w.messages[channel->published[number - 1]];

		must(number <= channel->count && !message->ended, "a second outcome", number);
		message->ended = true;
		part_ends(message->part, kind == OUTCOME_CONFIRMED || kind == OUTCOME_RETURNED ? FATE_DONE
					 : kind == OUTCOME_NOT_SENT			       ? FATE_UNDONE
											       : FATE_DOUBT);
	}
}

static struct request *answered(uint32_t id)
{
	struct request *request = &w.requests[id];

	must(id > 0 && id <= w.request_count && !request->answered, "an answer to nothing, or a second one",
	     id);
	request->answered = true;
	w.channels[request->channel].unanswered--;
	return request;
}

static void replied(const struct heard *heard)
{
	const struct request *request = answered(heard->request);

	if (request->method == AMQC_TX_COMMIT)
		part_ends(request->part, FATE_DONE);
	else if (request->method == AMQC_TX_ROLLBACK)
		part_ends(request->part, FATE_UNDONE);
	w.commits += request->method == AMQC_TX_COMMIT;
	w.rollbacks += request->method == AMQC_TX_ROLLBACK;
}

/* Without publishes nobody tells whether a commit was done. */
static void refused(const struct heard *heard)
{
	const struct request *request = answered(heard->request);

	trace("request %u refused: %u %s\n", heard->request, heard->fault->code, heard->fault->text);
	if (request->method == AMQC_TX_COMMIT && !w.parts[request->part].has_publishes)
		part_ends(request->part, FATE_DOUBT);
	else if (request->method == AMQC_TX_ROLLBACK)
		part_ends(request->part, FATE_UNDONE);
}

static void channel_ended(const struct heard *heard)
{
	struct mux_channel_id id = heard->channel;
	struct channel *channel = &w.channels[id.number];
	const struct fault *fault = heard->fault;

	must(id.generation == channel->generation && channel->open, "the end of a channel that is not open",
	     id.number);
	trace("channel %u ended: %u %s\n", id.number, fault->code, fault->text);
	must(fault->code == 320 || fault->code == 408 || fault->code == 404, "a channel ended for no reason",
	     fault->code);
	channel->open = false;
	channel->hand_count = 0;
	must(channel->unanswered == 0, "a channel ended with unanswered requests", id.number);
	for (uint32_t i = 0; i < channel->count; i++)
		must(w.messages[channel->published[i]].ended, "a channel ended before its publishes", i);
	part_ends(channel->part,
		  w.parts[channel->part].fate == FATE_OPEN ? FATE_UNDONE : w.parts[channel->part].fate);
}

static struct mux_handed handed(const struct mux_content *content)
{
	w.position += content->body.len;
	return (struct mux_handed){w.position, content->body.len};
}

static struct mux_handed hand(const struct heard *heard)
{
	struct mux_channel_id id = heard->channel;
	struct channel *channel = &w.channels[id.number == AUDITOR ? 0 : id.number];
	uint32_t number = load_be32(heard->content->body.data);

	w.deliveries++;
	saw(number);
	trace("channel %u has message %u as %llu\n", id.number, number, (unsigned long long)heard->tag);
	if (channel->open && id.generation == channel->generation && heard->tag > 0)
		channel->hands[channel->hand_count++] = (struct hand){heard->tag, number, 0};
	else if (id.number == AUDITOR)
		w.messages[number].left++;
	return handed(heard->content);
}

static struct mux_handed returned(const struct heard *heard)
{
	const struct channel *channel = &w.channels[heard->channel.number];

	if (heard->channel.generation == channel->generation)
		must(channel->published[heard->first - 1] == load_be32(heard->content->body.data),
		     "another message was returned", heard->first);
	return handed(heard->content);
}

static struct mux_handed hear(struct ear *ear, const struct heard *heard)
{
	switch (heard->kind) {
	case RIG_REPLY:
		replied(heard);
		break;
	case RIG_REFUSED:
		refused(heard);
		break;
	case RIG_GOT:
		(void)answered(heard->request);
		return hand(heard);
	case RIG_DELIVERED:
		return hand(heard);
	case RIG_RETURNED:
		return returned(heard);
	case RIG_OUTCOME:
		outcome(heard);
		break;
	case RIG_CHANNEL_ENDED:
		channel_ended(heard);
		break;
	case RIG_CONSUMER_CANCELLED:
	case RIG_CONSUMER_INTERRUPTED:
		fail("a consumer was cancelled", heard->consumer);
		break;
	case RIG_CREDIT:
		w.credit_messages = heard->first;
		w.credit_bytes = heard->last;
		break;
	case RIG_ENDED:
		fail(heard->fault->text, heard->fault->code);
		break;
	case RIG_UPSTREAM:
	case RIG_NOTHING:
		break;
	}
	return (struct mux_handed){0, 0};
}

/* ------------------------------------------------------------------ the wire */

static void look(const struct amqc_frame *frame, bool up)
{
	struct amqc_method method;
	uint32_t number;

	if (frame->channel > LANES_MAX)
		fail("a lane beyond the broker's", frame->channel);
	if (frame->type == AMQC_FRAME_BODY && up && frame->payload.len >= 5 &&
	    memcmp(frame->payload.data + frame->payload.len - 1, "!", 1) == 0) {
		/* A body ends with its number and a mark; all else in it is 0. */
		number = load_be32(frame->payload.data + frame->payload.len - 5);
		must(++w.messages[number].wire == 1, "a message was sent twice", number);
	}
	if (frame->type != AMQC_FRAME_METHOD)
		return;
	must(amqc_method_decode(frame->payload, &method) == AMQC_OK, "a method that does not decode",
	     frame->channel);
	if (!up) {
		if (method.id == AMQC_TX_COMMIT_OK || method.id == AMQC_TX_ROLLBACK_OK ||
		    method.id == AMQC_CHANNEL_CLOSE || method.id == AMQC_CHANNEL_CLOSE_OK)
			w.silent[frame->channel] = false;
		return;
	}
	must(!w.silent[frame->channel] || method.id == AMQC_CHANNEL_CLOSE,
	     "something was sent behind the end of a transaction", method.id);
	if (method.id == AMQC_TX_COMMIT || method.id == AMQC_TX_ROLLBACK)
		w.silent[frame->channel] = true;
}

static void disconnect(void)
{
	w.conn = broker_conn_free(w.conn, w.now);
	buf_truncate(&w.to_broker, 0);
	memset(w.silent, 0, sizeof(w.silent));
}

static void obey(void)
{
	if (w.hang_up && w.conn)
		fail("mux hung up", 0);
	w.hang_up = false;
	if (!w.dial)
		return;
	w.dial = false;
	w.conn = broker_conn_new(w.broker, NULL, w.now);
	remote_dialled(&w.remote);
}

static void cut(void)
{
	if (!w.conn)
		return;
	trace("cut\n");
	w.cuts++;
	disconnect();
	remote_lost(&w.remote, "the test cuts it");
	w.hang_up = false;
}

/* Some of what waits, or all. */
static size_t some(size_t len)
{
	return len == 0 || below(3) > 0 ? len : below((uint32_t)len) + 1;
}

static void write_up(void)
{
	struct buf *out = upstream_output(w.upstream);
	size_t take = some(buf_len(out));
	struct amqc_frame frame;

	if (take == 0 || !w.conn)
		return;
	buf_append(&w.to_broker, buf_span(out).data, take);
	remote_collect(&w.remote, take);
	upstream_pump(w.upstream);
	while (remote_next(&w.remote, UINT32_MAX, &frame))
		look(&frame, true);
}

static void read_up(void)
{
	size_t take = some(buf_len(&w.to_broker));

	if (take == 0 || !w.conn)
		return;
	broker_conn_feed(w.conn, span_make(buf_span(&w.to_broker).data, take), w.now);
	buf_consume(&w.to_broker, take);
	if (broker_conn_closed(w.conn))
		fail(broker_conn_reason(w.conn), 0);
}

static void read_down(void)
{
	struct span out = w.conn ? broker_conn_output(w.conn) : SPAN_NULL;
	size_t take = some(out.len), size;
	struct amqc_frame frame;
	struct span rest;

	if (take == 0)
		return;
	buf_append(&w.remote.left, out.data, take);
	broker_conn_sent(w.conn, take, w.now);
	/* Looked at before mux may answer it. */
	rest = buf_span(&w.remote.left);
	for (; amqc_frame_peek(rest, UINT32_MAX, &frame, &size) == AMQC_OK; rest = span_skip(rest, size))
		look(&frame, false);
	(void)remote_feed(&w.remote, SPAN_NULL);
}

static void step(void)
{
	mux_turn(w.mux);
	obey();
	write_up();
	read_up();
	read_down();
	mux_turn(w.mux);
	if (w.session)
		session_written(w.session, w.position);
	obey();
}

static void pass(uint64_t usec)
{
	w.now.usec += usec;
	mux_set_now(w.mux, w.now);
	mux_run_timers(w.mux);
	broker_tick(w.broker, w.now);
	step();
}

/* ------------------------------------------------------------------ what clients do */

static void ask(struct channel *channel, const struct amqc_method *method, uint32_t part)
{
	must(w.request_count + 1 < REQUESTS_MAX, "too many requests for the test", 0);
	w.requests[++w.request_count] = (struct request){channel->number, method->id, part, false};
	channel->unanswered++;
	session_request(w.session, &(struct mux_request){.id = w.request_count,
							 .channel = channel->number,
							 .method = method,
							 .consumer = 1,
							 .credit_messages = 1000,
							 .credit_bytes = 1u << 30});
}

static void ask_id(struct channel *channel, enum amqc_method_id id, uint32_t part)
{
	ask(channel, &(struct amqc_method){.id = id}, part);
}

static void open_channel(struct channel *channel)
{
	*channel = (struct channel){.number = channel->number, .generation = channel->generation + 1};
	channel->open = true;
	session_open_channel(w.session, channel->number, channel->generation);
	ask_id(channel, AMQC_TX_SELECT, 0);
	part_new(channel);
	if (below(2)) {
		struct amqc_method consume = {.id = AMQC_BASIC_CONSUME}, qos = {.id = AMQC_BASIC_QOS};

		qos.basic_qos.prefetch_count = (uint16_t)(1 + below(8));
		qos.basic_qos.global = below(2);
		ask(channel, &qos, 0);
		consume.basic_consume.queue = SPAN_LITERAL(QUEUE);
		ask(channel, &consume, 0);
	}
}

static void publish(struct channel *channel)
{
	static uint8_t body[BODY_MAX];
	size_t len = 9 + (below(4) ? below(50) : below(BODY_MAX - 9));
	struct amqc_properties properties = {0};
	uint32_t number;

	if (w.message_count + 1 >= MESSAGES_MAX || w.used_messages >= w.credit_messages ||
	    w.used_bytes + len > w.credit_bytes)
		return;
	number = ++w.message_count;
	memset(body, 0, len);
	store_be32(body, number);
	store_be32(body + len - 5, number);
	body[len - 1] = '!';
	w.messages[number] = (struct message){.part = channel->part, .nowhere = below(8) == 0};
	w.parts[channel->part].has_publishes = true;
	channel->published[channel->count++] = number;
	w.used_messages++;
	w.used_bytes += len;
	trace("channel %u publishes %u in part %u\n", channel->number, number, channel->part);
	session_publish(w.session, &(struct mux_publish){
				       .channel = channel->number,
				       .cost_bytes = len,
				       .routing_key = w.messages[number].nowhere ? SPAN_LITERAL("nowhere")
										 : SPAN_LITERAL(QUEUE),
				       .mandatory = below(2),
				       .properties = &properties,
				       .body = span_make(body, len),
				   });
}

/* Messages whose settling was undone are the client's again. */
static void end_part(struct channel *channel, bool commit)
{
	uint32_t kept = 0, part = channel->part;

	trace("channel %u %s part %u\n", channel->number, commit ? "commits" : "rolls back", part);
	for (uint32_t i = 0; i < channel->hand_count; i++) {
		struct hand hand = channel->hands[i];

		if (hand.part == part && commit)
			continue;
		hand.part = 0;
		channel->hands[kept++] = hand;
	}
	channel->hand_count = kept;
	part_new(channel);
	ask_id(channel, commit ? AMQC_TX_COMMIT : AMQC_TX_ROLLBACK, part);
}

static void settle(struct channel *channel)
{
	uint32_t at = channel->hand_count ? below(channel->hand_count) : 0;
	struct hand *hand = &channel->hands[at];
	uint32_t kind = below(3);

	if (channel->hand_count == 0 || hand->part != 0)
		return;
	hand->part = channel->part;
	trace("channel %u settles %u as %u\n", channel->number, hand->message, kind);
	if (kind != 1)
		w.messages[hand->message].settled = channel->part;
	session_settle(w.session, channel->number,
		       kind == 0   ? SETTLE_ACK
		       : kind == 1 ? SETTLE_REQUEUE
				   : SETTLE_DISCARD,
		       hand->tag, hand->tag);
}

/* What the client has is not its any more, but for what it settled. */
static void lose_hands(struct channel *channel)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < channel->hand_count; i++) {
		if (channel->hands[i].part != 0)
			channel->hands[kept++] = channel->hands[i];
	}
	channel->hand_count = kept;
}

static void recover(struct channel *channel)
{
	struct amqc_method method = {.id = AMQC_BASIC_RECOVER};

	if (channel->unanswered > 0)
		return;
	method.basic_recover.requeue = true;
	ask(channel, &method, 0);
	while (channel->open && channel->unanswered > 0 && w.conn)
		step();
	/* What came meanwhile may be of before. */
	lose_hands(channel);
}

static void close_channel(struct channel *channel)
{
	struct request *request;

	must(w.request_count + 1 < REQUESTS_MAX, "too many requests for the test", 0);
	for (uint32_t i = 1; i <= w.request_count; i++) {
		if (w.requests[i].channel == channel->number && !w.requests[i].answered)
			return; /* so that every answer is of this generation */
	}
	part_ends(channel->part, FATE_UNDONE);
	for (uint32_t i = 0; i < channel->count; i++)
		w.messages[channel->published[i]].ended = true;
	channel->open = false;
	request = &w.requests[++w.request_count];
	*request = (struct request){channel->number, AMQC_CHANNEL_CLOSE, 0, false};
	channel->unanswered++;
	session_close_channel(w.session, w.request_count, channel->number);
	open_channel(channel);
	channel->unanswered++;
}

static void act(void)
{
	struct channel *channel = &w.channels[1 + below(CHANNELS)];
	struct amqc_method get = {.id = AMQC_BASIC_GET};

	if (!channel->open) {
		if (channel->unanswered == 0)
			open_channel(channel);
		return;
	}
	if (channel->unanswered > 20)
		return;
	switch (below(16)) {
	case 0:
	case 1:
		end_part(channel, true);
		break;
	case 2:
		end_part(channel, false);
		break;
	case 3:
	case 4:
		get.basic_get.queue = SPAN_LITERAL(QUEUE);
		ask(channel, &get, 0);
		break;
	case 5:
	case 6:
	case 7:
		settle(channel);
		break;
	case 8:
		if (below(4) == 0)
			recover(channel);
		break;
	case 9:
		if (below(6) == 0)
			close_channel(channel);
		break;
	default:
		publish(channel);
	}
}

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

static void chance(void *context, void *out, size_t count)
{
	random_bytes(&w.random, out, count);
}

static void new_session(void)
{
	struct session_options options = {
	    .upstream = w.upstream, .get_bytes = 1u << 30, .ops = &hear_ops, .context = &w.ear};

	must(session_new(w.mux, &options, &w.session) == 0, "no session", 0);
	session_credit_totals(w.session, &w.credit_messages, &w.credit_bytes);
	w.used_messages = 0;
	w.used_bytes = 0;
}

static void begin(uint64_t seed, bool verbose)
{
	static const struct upstream_ops ops = {.dial = dial, .hang_up = hang_up, .changed = changed};
	struct broker_options broker = BROKER_OPTIONS_INIT;
	struct mux_options mux = setup_mux();
	struct upstream_options upstream = setup_upstream();

	memset(&w, 0, sizeof(w));
	w.seed = seed;
	w.verbose = verbose;
	w.random = random_make(seed);
	w.now.usec = USEC_PER_SEC;
	w.ear.hear = hear;
	mux.limits.total_memory = 256u << 20;
	mux.limits.session_memory = 64u << 20;
	mux.limits.channels_per_session = 100;
	mux.random = chance;
	upstream.reconnect_min_usec = 10 * USEC_PER_MSEC;
	upstream.reconnect_max_usec = 20 * USEC_PER_MSEC;
	broker.channel_max = (uint16_t)(CHANNELS + 1 + below(5));
	upstream.unconfirmed_messages = 1 + below(30);
	upstream.warm_lanes = below(3);
	w.broker = broker_new(&broker);
	must(mux_new(&mux, &w.mux) == 0, "no memory", 0);
	mux_set_now(w.mux, w.now);
	must(upstream_new(w.mux, &upstream, &ops, NULL, &w.upstream) == 0, "no memory", 0);
	remote_init(&w.remote, w.upstream, false);
	upstream_start(w.upstream);
	for (uint32_t i = 1; i <= CHANNELS; i++)
		w.channels[i].number = i;
	new_session();
}

/* Until nothing moves any more. */
static void calm(void)
{
	for (int i = 0; i < 400; i++)
		pass(10 * USEC_PER_MSEC);
}

static void declare(void)
{
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};
	struct channel *channel = &w.channels[0];

	channel->number = AUDITOR;
	session_open_channel(w.session, AUDITOR, 1);
	method.queue_declare.queue = SPAN_LITERAL(QUEUE);
	method.queue_declare.durable = true;
	w.requests[++w.request_count] = (struct request){0, method.id, 0, false};
	channel->unanswered++;
	session_request(w.session,
			&(struct mux_request){.id = w.request_count, .channel = AUDITOR, .method = &method});
	calm();
	must(channel->unanswered == 0, "the queue is not declared", 0);
}

/* Takes all that is left in the queue. */
static void drain(void)
{
	struct amqc_method get = {.id = AMQC_BASIC_GET};
	size_t ready = 0, unacked = 0;

	must(broker_queue_counts(w.broker, "/", SPAN_LITERAL(QUEUE), &ready, &unacked), "no queue", 0);
	must(unacked == 0, "unsettled messages are left at the broker", unacked);
	session_open_channel(w.session, AUDITOR, 1);
	get.basic_get.queue = SPAN_LITERAL(QUEUE);
	while (ready-- > 0) {
		w.requests[++w.request_count] = (struct request){0, get.id, 0, false};
		w.channels[0].unanswered++;
		session_request(w.session, &(struct mux_request){
					       .id = w.request_count, .channel = AUDITOR, .method = &get});
		while (w.channels[0].unanswered > 0)
			step();
	}
}

/* What was done is there, but for what was settled; what was not, is not. */
static void audit_message(uint32_t number)
{
	const struct message *message = &w.messages[number];
	const struct part *part = &w.parts[message->part], *settled = &w.parts[message->settled];
	bool published = part->fate == FATE_DONE || (part->fate == FATE_DOUBT && part->seen > 0);

	must(message->ended, "a publish without an outcome", number);
	must(message->left <= 1, "a message is there twice", number);
	must(part->fate != FATE_OPEN, "a transaction without an end", message->part);
	if (message->nowhere)
		return;
	if (message->settled == 0 && part->fate == FATE_DOUBT) {
		observe(message->part, message->left == 1);
	} else if (message->settled == 0 || settled->fate == FATE_UNDONE) {
		must((message->left == 1) == published, "a message is lost, or there without reason", number);
	} else if (settled->fate == FATE_DOUBT) {
		observe(message->settled, message->left == 0);
	} else {
		must(message->left == 0, "a message that was settled is there", number);
	}
}

static void audit(void)
{
	drain();
	for (uint32_t number = 1; number <= w.message_count; number++)
		audit_message(number);
	for (uint32_t i = 1; i <= w.request_count; i++)
		must(w.requests[i].answered, "a request without an answer", i);
}

static void run(uint64_t seed, bool verbose)
{
	struct upstream_info info;
	uint32_t steps;

	begin(seed, verbose);
	declare();
	steps = 200 + below(600);
	for (uint32_t i = 0; i < steps; i++) {
		uint32_t burst = below(6);

		for (uint32_t j = 0; j < burst; j++)
			act();
		if (below(3))
			step();
		if (below(20) == 0)
			pass(below(30) * USEC_PER_MSEC);
		if (below(150) == 0)
			cut();
	}
	calm();
	for (uint32_t i = 1; i <= CHANNELS; i++) {
		if (w.channels[i].open && below(2))
			end_part(&w.channels[i], true);
	}
	calm();
	for (uint32_t i = 1; i <= CHANNELS; i++) {
		if (!w.channels[i].open)
			continue;
		must(w.channels[i].unanswered == 0, "a channel hangs", i);
		part_ends(w.channels[i].part, FATE_UNDONE);
		for (uint32_t k = 0; k < w.channels[i].count; k++)
			w.messages[w.channels[i].published[k]].ended = true;
		w.channels[i].open = false;
	}
	session_end(w.session);
	new_session();
	calm();
	upstream_get_info(w.upstream, &info);
	must(info.unconfirmed == 0, "the window is not empty", info.unconfirmed);
	audit();
	session_end(w.session);
	w.session = NULL;
	calm();
	must(mux_memory_used(w.mux) == 0, "memory is left", mux_memory_used(w.mux));
	mux_free(w.mux);
	broker_free(w.broker);
	remote_deinit(&w.remote);
	buf_deinit(&w.to_broker);
}

int main(int argc, char **argv)
{
	uint64_t runs = 200, seed = 1, totals[5] = {0};
	bool verbose = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-v") == 0)
			verbose = true;
		else if (strcmp(argv[i], "-n") == 0 && i + 1 < argc)
			runs = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "-s") == 0 && i + 1 < argc)
			seed = strtoull(argv[++i], NULL, 10);
	}
	setvbuf(stdout, NULL, _IOLBF, 0); /* what led to an abort is there */
	for (uint64_t i = 0; i < runs; i++) {
		run(seed + i, verbose);
		totals[0] += w.commits;
		totals[1] += w.rollbacks;
		totals[2] += w.cuts;
		totals[3] += w.doubts;
		totals[4] += w.deliveries;
	}
	printf(
	    "tx: %llu runs passed: %llu commits, %llu rollbacks, %llu connections cut, %llu in doubt, %llu "
	    "deliveries\n",
	    (unsigned long long)runs, (unsigned long long)totals[0], (unsigned long long)totals[1],
	    (unsigned long long)totals[2], (unsigned long long)totals[3], (unsigned long long)totals[4]);
	return 0;
}
