/*
 * What costs a connection, by the broker's traps (tests/broker/trap.c), and
 * the scout's connection, on which mux finds out what it was. That one has no
 * delays: when it dies, or cannot be made, is all that is drawn.
 */
#include "tests/sim/sim.h"

#include <stdio.h>

static const char *const names[] = {"trap.crash", "trap.crash2", "trap.refuse",
				    "trap.drop",  "trap.own",	 "trap.route"};
#define NAMES (sizeof(names) / sizeof(names[0]))
/* So many offences end a session (blame.h). */
#define OFFENCES 3u

/* ------------------------------------------------------------------ the scout's connection */

void traps_dial(struct world *world)
{
	trace(world, "the scout dials");
	happened(world, FAULT_SCOUT);
	world->scout.dialling = true;
}

void traps_hang_up(struct world *world)
{
	trace(world, "the scout hangs up");
	world->scout.conn = broker_conn_free(world->scout.conn, world->now);
	world->scout.dialling = false;
}

static void end_dial(struct world *world)
{
	bool down = mono_before(world->now, world->link.down_until[world->link.endpoint]);

	world->scout.dialling = false;
	if (down || (!world->calm && chance(world, world->plan.dial_fails))) {
		upstream_scout_dial_failed(world->upstream, "connection refused");
		return;
	}
	world->scout.conn = broker_conn_new(world->broker, NULL, world->now);
	upstream_scout_dialled(world->upstream);
}

static void lose(struct world *world)
{
	world->scout.conn = broker_conn_free(world->scout.conn, world->now);
	upstream_scout_lost(world->upstream, "it is gone");
}

/*
 * A publish that is not in a transaction: it may be at the broker already, and
 * says so, and goes before what its channel published later.
 */
static void sent_for_good(struct world *world, struct scout_lane *lane, struct span header)
{
	struct amqc_content_header decoded;
	struct message *message;
	struct chan *chan;

	if (!lane->confirms || amqc_content_header_decode(header, &decoded) != AMQC_OK ||
	    !(message = message_named(world, &decoded.properties)))
		return;
	chan = message->chan;
	trace(world, "        scout: m%u sent for good", message->index);
	happened(world, WIRE_FOR_GOOD);
	if (!is_marked(&decoded.properties))
		violate(world, "what is sent again is marked", "m%u, by the scout", message->index);
	if (!message->in_doubt || (message->ended && message->kind != OUTCOME_UNKNOWN))
		violate(world, "only what the broker may have is marked", "m%u, by the scout",
			message->index);
	if (message->expires)
		violate(world, "the scout does not know when it sends", "m%u", message->index);
	if (chan->sent_epoch == world->epoch && message->number <= chan->last_sent)
		violate(world, "publishes of a channel are sent in order", "m%u, by the scout",
			message->index);
	chan->last_sent = message->number - 1;
	chan->sent_epoch = world->epoch;
	message->times_marked++;
	message->wire_acked = false;
	message->wire_nacked = false;
	message->wire_returned = message->returned;
	lane->message = message;
}

static void answered(struct world *world, const struct scout_lane *lane, enum amqc_method_id answer)
{
	if (!lane->message)
		return;
	if (answer == AMQC_BASIC_RETURN) {
		lane->message->wire_returned = true;
		return;
	}
	doubt_answered(world, lane->message);
	lane->message->wire_acked = answer == AMQC_BASIC_ACK;
	lane->message->wire_nacked = answer == AMQC_BASIC_NACK;
}

static void said(struct world *world, bool by_mux, const struct amqc_frame *frame)
{
	struct scout_lane *lane = &world->scout.lanes[frame->channel];
	struct amqc_method method;

	if (frame->channel > LANES_MAX) {
		violate(world, "lanes are within channel_max", "the scout's %u", frame->channel);
		return;
	}
	if (frame->type == AMQC_FRAME_HEADER && by_mux)
		sent_for_good(world, lane, frame->payload);
	if (frame->type != AMQC_FRAME_METHOD || amqc_method_decode(frame->payload, &method) != AMQC_OK)
		return;
	trace(world, "        scout: %s: %s on channel %u", by_mux ? "mux" : "broker",
	      amqc_method_name(method.id), frame->channel);
	if (method.id == AMQC_CHANNEL_OPEN)
		*lane = (struct scout_lane){0};
	else if (method.id == AMQC_CONFIRM_SELECT)
		lane->confirms = true;
	else if (method.id == AMQC_BASIC_ACK || method.id == AMQC_BASIC_NACK ||
		 method.id == AMQC_BASIC_RETURN)
		answered(world, lane, method.id);
}

static void listen(struct world *world, bool by_mux, struct span bytes)
{
	struct amqc_frame frame;
	size_t size;

	while (amqc_frame_peek(bytes, UINT32_MAX, &frame, &size) == AMQC_OK) {
		said(world, by_mux, &frame);
		bytes = span_skip(bytes, size);
	}
}

/* True: something was said. */
static bool exchange(struct world *world)
{
	struct buf *out = upstream_scout_output(world->upstream), in = BUF_INIT;
	bool any = buf_len(out) > 0;

	listen(world, true, buf_span(out));
	broker_conn_feed(world->scout.conn, buf_span(out), world->now);
	buf_consume(out, buf_len(out));
	buf_append_span(&in, broker_conn_output(world->scout.conn));
	broker_conn_sent(world->scout.conn, buf_len(&in), world->now);
	listen(world, false, buf_span(&in));
	any |= buf_len(&in) > 0;
	(void)upstream_scout_feed(world->upstream, buf_span(&in));
	buf_deinit(&in);
	return any;
}

void traps_move(struct world *world)
{
	if (world->scout.dialling)
		end_dial(world);
	while (world->scout.conn && exchange(world))
		continue;
	if (!world->scout.conn)
		return;
	if (broker_conn_closed(world->scout.conn)) {
		lose(world);
	} else if (!world->calm && !world->scout.was_cut && chance(world, 5)) {
		/* Twice in a row would be taken for its own doing. */
		world->scout.was_cut = true;
		trace(world, "the scout's connection is cut");
		lose(world);
	}
}

bool traps_are_quiet(const struct world *world)
{
	return !world->scout.dialling && buf_len(upstream_scout_output(world->upstream)) == 0 &&
	       (!world->scout.conn || broker_conn_output(world->scout.conn).len == 0);
}

/* ------------------------------------------------------------------ who runs into them */

static void set_off(struct client *client, struct chan *chan, const char *name)
{
	trace(client->world, "s%u: %u.%u runs into %s", client->life->serial, chan->id.number,
	      chan->id.generation, name);
	happened(client->world, FAULT_TRAP);
	chan->trapped = true;
	chan->pure = false;
	client->life->traps++;
}

static void publish(struct client *client, struct chan *chan, const char *name)
{
	struct message *message = ops_message(client, chan, name);

	if (message)
		client_publish(client, chan, message);
}

static void ask(struct client *client, struct chan *chan, const char *name)
{
	struct amqc_method method = {.id = AMQC_QUEUE_BIND};
	char text[32];

	if (client->world->binding_count == BINDINGS_MAX)
		return;
	snprintf(text, sizeof(text), "x%u", client->life->serial);
	method.queue_bind.queue =
	    client->life->own && chance(client->world, 500) ? span_str(text) : SPAN_LITERAL("q0");
	method.queue_bind.exchange = SPAN_LITERAL("d0");
	method.queue_bind.routing_key = span_str(name);
	(void)client_call(client, chan, &method, NULL);
}

static void get(struct client *client, struct chan *chan, const char *name)
{
	struct amqc_method method = {.id = AMQC_BASIC_GET};

	method.basic_get.queue = span_str(name);
	(void)client_call(client, chan, &method, NULL);
}

void traps_spring(struct client *client, struct chan *chan)
{
	static void (*const kinds[])(struct client *, struct chan *, const char *) = {publish, ask, get};
	const char *name = names[below(client->world, NAMES)];

	set_off(client, chan, name);
	kinds[below(client->world, 3)](client, chan, name);
}

/* ------------------------------------------------------------------ what is told */

bool traps_explain(struct span reason)
{
	static const char words[] = "a trap";

	return reason.len >= sizeof(words) - 1 &&
	       span_equal_str(span_skip(reason, reason.len - (sizeof(words) - 1)), words);
}

void traps_check(struct world *world, const struct chan *chan, const struct fault *fault)
{
	if ((traps_explain(fault_text(fault)) || strstr(fault->text, "drops the connection")) &&
	    !chan->trapped)
		violate(world, "nobody else is blamed", "session %u, channel %u.%u: %s", chan->life->serial,
			chan->id.number, chan->id.generation, fault->text);
}

bool traps_end_session(const struct life *life, const struct fault *fault)
{
	return life->traps >= OFFENCES && strstr(fault->text, "quarantine") != NULL;
}
