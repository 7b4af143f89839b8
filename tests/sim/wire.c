/*
 * What the bytes between mux and the broker say. Bytes to the broker are seen
 * when mux's output is taken, bytes from it just before mux is fed with them.
 *
 * The broker engine itself closes a connection whose client breaks AMQP's
 * rules (a lane's number used before close-ok, contents interleaved, unknown
 * tags): so any close of its own is a violation here.
 */
#include "tests/sim/sim.h"

#include <stdio.h>

#define FRAME_MOST (1u << 20)

static void lane_reset(struct wire_lane *lane)
{
	for (size_t i = lane->delivered_first; i < lane->delivered_count; i++) {
		struct copy *copy = lane->delivered[i]->copy;

		/* Back in its queue, if it was not delivered elsewhere meanwhile. */
		if (!lane->delivered[i]->settled && copy->lane == lane)
			copy->out = false;
	}
	/* What the broker gave to these, and nobody saw, is lost: that is what they asked for. */
	for (struct wire_get *get = lane->gets; get; get = get->next)
		get->queue->wiped = get->queue->wiped || get->no_ack;
	if (lane->content == AMQC_BASIC_GET_OK && lane->content_no_ack)
		lane->content_queue->wiped = true;
	*lane = (struct wire_lane){0};
	lane->gets_end = &lane->gets;
}

void wire_begin(struct world *world)
{
	struct wire *wire = &world->wire;

	for (size_t i = 0; i <= LANES_MAX; i++)
		lane_reset(&wire->lanes[i]);
	wire->running = false;
	wire->header_seen = false;
	buf_truncate(&wire->up, 0);
	buf_truncate(&wire->down, 0);
}

void wire_end(struct world *world)
{
	buf_deinit(&world->wire.up);
	buf_deinit(&world->wire.down);
}

/* The broker has closed it: what was settled last may have come too late. */
static void lane_doubt(struct wire_lane *lane)
{
	for (size_t i = 0; i < lane->delivered_count; i++) {
		struct copy *copy = lane->delivered[i]->copy;

		if (lane->delivered[i]->settled && copy->lane == lane && copy->lane_tag == i + 1)
			copy->uncertain = true;
	}
}

static void copy_text(char *out, size_t size, struct span text)
{
	snprintf(out, size, "%.*s", (int)text.len, text.len ? (const char *)text.data : "");
}

/* ------------------------------------------------------------------ settling, by mux */

static bool may_ack(const struct handout *handout)
{
	if (!handout)
		return false;
	/* One without tags is acked when the socket took it; a client that closes its channel reads up to
	 * that. */
	if (handout->tag == 0)
		return handout->taken || handout->chan->close_sent;
	return handout->decision == DECIDED_ACK;
}

static bool may_requeue(const struct handout *handout)
{
	const struct chan *chan = handout ? handout->chan : NULL;

	if (!handout || handout->decision == DECIDED_REQUEUE)
		return true;
	return handout->decision == DECIDED_NOTHING && !(handout->tag == 0 && handout->taken) &&
	       (chan->close_sent || chan->failed || !chan->life->session);
}

static void settle_copy(struct world *world, struct copy *copy, enum settle_kind kind)
{
	const struct handout *handout = copy->handout;
	bool right;

	if (kind == SETTLE_ACK)
		right = may_ack(handout);
	else if (kind == SETTLE_REQUEUE)
		right = may_requeue(handout);
	else
		right = handout && handout->decision == DECIDED_DISCARD;
	if (!right && !copy_is_blurred(copy))
		violate(world, "the broker is told what the client decided",
			"m%u in %s, told %d, client's decision %d%s", copy->message->index, copy->queue->name,
			(int)kind, handout ? (int)handout->decision : 0, handout ? "" : ", not handed over");
	trace(world, "        wire: m%u in %s %s", copy->message->index, copy->queue->name,
	      kind == SETTLE_ACK ? "acked" : (kind == SETTLE_REQUEUE ? "requeued" : "discarded"));
	copy->out = false;
	copy->acked = kind == SETTLE_ACK;
	copy->dropped = kind == SETTLE_DISCARD;
}

static void settle(struct world *world, struct wire_lane *lane, uint64_t tag, bool multiple,
		   enum settle_kind kind)
{
	size_t from = multiple ? lane->delivered_first : (size_t)tag - 1;

	if (lane->closed_by_broker)
		return;
	if (tag == 0 || tag > lane->delivered_count || lane->delivered[tag - 1]->settled) {
		violate(world, "what mux settles is unsettled", "tag %llu", (unsigned long long)tag);
		return;
	}
	for (size_t i = from; i < tag; i++) {
		if (lane->delivered[i]->settled)
			continue;
		settle_copy(world, lane->delivered[i]->copy, kind);
		lane->delivered[i]->settled = true;
	}
	while (lane->delivered_first < lane->delivered_count &&
	       lane->delivered[lane->delivered_first]->settled)
		lane->delivered_first++;
}

/* Mux closes a lane: what clients acked must have been told before. */
static void check_closing(struct world *world, const struct wire_lane *lane)
{
	for (size_t i = lane->delivered_first; i < lane->delivered_count; i++) {
		const struct copy *copy = lane->delivered[i]->copy;

		if (!lane->delivered[i]->settled && copy->handout && copy->handout->decision == DECIDED_ACK &&
		    !copy_is_blurred(copy))
			violate(world, "acks are told before a lane is closed", "m%u in %s",
				copy->message->index, copy->queue->name);
	}
}

/* ------------------------------------------------------------------ to the broker */

static void up_consume(struct world *world, struct wire_lane *lane, struct span tag, struct span queue)
{
	struct wire_consumer *consumer = world_alloc(world, sizeof(*consumer));

	copy_text(consumer->tag, sizeof(consumer->tag), tag);
	consumer->queue = queue_named(world, queue);
	consumer->next = lane->consumers;
	lane->consumers = consumer;
}

static void up_get(struct world *world, struct wire_lane *lane, const struct amqc_basic_get *method)
{
	struct wire_get *get = world_alloc(world, sizeof(*get));

	get->queue = queue_named(world, method->queue);
	get->no_ack = method->no_ack;
	*lane->gets_end = get;
	lane->gets_end = &get->next;
}

static void up_method(struct world *world, struct wire_lane *lane, const struct amqc_method *method)
{
	switch (method->id) {
	case AMQC_CHANNEL_OPEN:
		if (lane->open)
			violate(world, "a lane's number is not used again before close-ok", "%s",
				amqc_method_name(method->id));
		trace(world, "        wire: lane %zu opens", (size_t)(lane - world->wire.lanes));
		lane_reset(lane);
		lane->open = true;
		break;
	case AMQC_CHANNEL_CLOSE:
		trace(world, "        wire: mux closes lane %zu", (size_t)(lane - world->wire.lanes));
		if (!lane->closed_by_broker)
			check_closing(world, lane);
		lane->closing = true;
		break;
	case AMQC_CHANNEL_CLOSE_OK:
		lane->closed_by_broker = false;
		if (!lane->closing)
			lane_reset(lane);
		break;
	case AMQC_BASIC_PUBLISH:
		lane->publishing = true;
		copy_text(lane->exchange, sizeof(lane->exchange), method->basic_publish.exchange);
		copy_text(lane->key, sizeof(lane->key), method->basic_publish.routing_key);
		break;
	case AMQC_BASIC_CONSUME:
		up_consume(world, lane, method->basic_consume.consumer_tag, method->basic_consume.queue);
		break;
	case AMQC_BASIC_GET:
		up_get(world, lane, &method->basic_get);
		break;
	case AMQC_BASIC_ACK:
		settle(world, lane, method->basic_ack.delivery_tag, method->basic_ack.multiple, SETTLE_ACK);
		break;
	case AMQC_BASIC_NACK:
		settle(world, lane, method->basic_nack.delivery_tag, method->basic_nack.multiple,
		       method->basic_nack.requeue ? SETTLE_REQUEUE : SETTLE_DISCARD);
		break;
	case AMQC_QUEUE_PURGE:
		queue_named(world, method->queue_purge.queue)->wiped = true;
		break;
	case AMQC_QUEUE_DELETE:
		queue_named(world, method->queue_delete.queue)->wiped = true;
		break;
	default:
		break;
	}
}

/* What is sent again says so: only what may be at the broker already is. */
static void check_sending(struct world *world, const struct wire_lane *lane, const struct message *message,
			  const struct amqc_content_header *header)
{
	const struct chan *chan = message->chan;

	if (message->times_sent > 0 && message->sent_epoch == world->epoch)
		violate(world, "a publish is sent once on a connection", "m%u", message->index);
	if (message->sent && !is_marked(&header->properties))
		violate(world, "what is sent again is marked", "m%u", message->index);
	if (message->times_sent == 0 && is_marked(&header->properties) && message->epoch == world->epoch)
		violate(world, "what is sent first is not marked", "m%u", message->index);
	if (message->ended && message->kind == OUTCOME_NOT_SENT)
		violate(world, "not sent means not sent", "m%u", message->index);
	if (chan->sent_epoch == world->epoch && message->number <= chan->last_sent)
		violate(world, "publishes of a channel are sent in order", "m%u", message->index);
	if (strcmp(lane->exchange, message->exchange) != 0 || strcmp(lane->key, message->key) != 0 ||
	    header->body_size != message->size)
		violate(world, "a publish is sent as it is", "m%u", message->index);
}

static void up_body(struct wire_lane *lane, struct span payload)
{
	if (!lane->body_of)
		return;
	lane->body_left -= payload.len < lane->body_left ? payload.len : lane->body_left;
	if (lane->body_left > 0)
		return;
	lane->body_of->sent = true;
	lane->body_of = NULL;
}

/* The header of a publish: now it is known which. */
static void up_header(struct world *world, struct wire_lane *lane, struct span payload)
{
	struct amqc_content_header header;
	struct message *message;

	if (!lane->publishing || amqc_content_header_decode(payload, &header) != AMQC_OK) {
		violate(world, "contents follow their publish", "a header frame");
		return;
	}
	lane->publishing = false;
	message = message_named(world, &header.properties);
	if (!message)
		return;
	trace(world, "        wire: m%u sent%s%s", message->index, message->times_sent ? " again" : "",
	      is_marked(&header.properties) ? ", marked" : "");
	check_sending(world, lane, message, &header);
	message->times_sent++;
	message->times_marked += is_marked(&header.properties);
	/* What the broker said on an earlier connection may not have reached mux whole. */
	message->wire_returned = message->returned;
	message->wire_acked = false;
	message->wire_nacked = false;
	message->sent_epoch = world->epoch;
	message->chan->last_sent = message->number;
	message->chan->sent_epoch = world->epoch;
	lane->sent = world_grow(world, lane->sent, lane->sent_count, &lane->sent_capacity);
	lane->sent[lane->sent_count++] = message;
	lane->body_of = message;
	lane->body_left = header.body_size;
	up_body(lane, SPAN_NULL);
}

static void up_frame(struct world *world, const struct amqc_frame *frame)
{
	struct wire_lane *lane = &world->wire.lanes[frame->channel];
	struct amqc_method method;

	if (frame->channel > LANES_MAX) {
		violate(world, "lanes are within channel_max", "%u", frame->channel);
		return;
	}
	if (frame->type == AMQC_FRAME_HEADER)
		up_header(world, lane, frame->payload);
	if (frame->type == AMQC_FRAME_BODY)
		up_body(lane, frame->payload);
	if (frame->type != AMQC_FRAME_METHOD)
		return;
	if (amqc_method_decode(frame->payload, &method) != AMQC_OK)
		violate(world, "mux sends AMQP", "a method");
	else if (frame->channel != 0)
		up_method(world, lane, &method);
}

/* ------------------------------------------------------------------ from the broker */

static struct queue *consumed(const struct wire_lane *lane, struct span tag)
{
	for (const struct wire_consumer *consumer = lane->consumers; consumer; consumer = consumer->next) {
		if (span_equal_str(tag, consumer->tag))
			return consumer->queue;
	}
	return NULL;
}

static struct wire_get *next_get(struct wire_lane *lane)
{
	struct wire_get *get = lane->gets;

	if (!get)
		return NULL;
	lane->gets = get->next;
	if (!lane->gets)
		lane->gets_end = &lane->gets;
	return get;
}

static void down_confirm(struct world *world, struct wire_lane *lane, uint64_t tag, bool multiple, bool nack)
{
	size_t from = multiple ? lane->sent_first : (size_t)tag - 1;

	if (tag == 0 || tag > lane->sent_count) {
		violate(world, "the broker confirms what was sent", "tag %llu", (unsigned long long)tag);
		return;
	}
	for (size_t i = from; i < tag; i++) {
		struct message *message = lane->sent[i];

		if (message->wire_acked || message->wire_nacked)
			continue;
		trace(world, "        wire: m%u %s", message->index, nack ? "nacked" : "confirmed");
		message->wire_acked = !nack;
		message->wire_nacked = nack;
	}
	while (lane->sent_first < lane->sent_count &&
	       (lane->sent[lane->sent_first]->wire_acked || lane->sent[lane->sent_first]->wire_nacked))
		lane->sent_first++;
}

static void down_content(struct world *world, struct wire_lane *lane, const struct amqc_method *method)
{
	struct wire_get *get;

	lane->content = method->id;
	if (method->id == AMQC_BASIC_DELIVER) {
		lane->content_queue = consumed(lane, method->basic_deliver.consumer_tag);
		lane->content_no_ack = false;
		lane->content_tag = method->basic_deliver.delivery_tag;
		lane->content_redelivered = method->basic_deliver.redelivered;
	} else if (method->id == AMQC_BASIC_GET_OK) {
		get = next_get(lane);
		lane->content_queue = get ? get->queue : NULL;
		lane->content_no_ack = get && get->no_ack;
		lane->content_tag = method->basic_get_ok.delivery_tag;
		lane->content_redelivered = method->basic_get_ok.redelivered;
	} else {
		return;
	}
	if (!lane->content_queue)
		violate(world, "the broker delivers what was asked for", "%s", amqc_method_name(method->id));
}

/* A message may be half-way through on it: its frames go on until mux has seen the close. */
static void down_close(struct wire_lane *lane)
{
	struct wire_lane before = *lane;

	lane_doubt(lane);
	if (lane->closing)
		return;
	lane_reset(lane);
	lane->open = true;
	lane->closed_by_broker = true;
	lane->publishing = before.publishing;
	lane->body_of = before.body_of;
	lane->body_left = before.body_left;
	memcpy(lane->exchange, before.exchange, sizeof(lane->exchange));
	memcpy(lane->key, before.key, sizeof(lane->key));
}

static void down_method(struct world *world, struct wire_lane *lane, const struct amqc_method *method)
{
	switch (method->id) {
	case AMQC_CHANNEL_CLOSE:
		trace(world, "        wire: the broker closes lane %zu: %u %.*s",
		      (size_t)(lane - world->wire.lanes), method->channel_close.reply_code,
		      (int)method->channel_close.reply_text.len,
		      (const char *)method->channel_close.reply_text.data);
		down_close(lane);
		break;
	case AMQC_CHANNEL_CLOSE_OK:
		lane_reset(lane);
		break;
	case AMQC_BASIC_ACK:
		down_confirm(world, lane, method->basic_ack.delivery_tag, method->basic_ack.multiple, false);
		break;
	case AMQC_BASIC_NACK:
		down_confirm(world, lane, method->basic_nack.delivery_tag, method->basic_nack.multiple, true);
		break;
	case AMQC_BASIC_GET_EMPTY:
		(void)next_get(lane);
		break;
	default:
		if (amqc_method_has_content(method->id))
			down_content(world, lane, method);
	}
}

static void down_delivered(struct world *world, struct wire_lane *lane, struct message *message, bool marked)
{
	struct copy *copy = copy_of(world, message, lane->content_queue, marked);
	struct delivered *delivered = world_alloc(world, sizeof(*delivered));

	trace(world, "        wire: m%u in %s delivered on lane %zu, tag %llu%s", message->index,
	      copy->queue->name, (size_t)(lane - world->wire.lanes), (unsigned long long)lane->content_tag,
	      marked ? ", marked" : "");
	if (copy->acked && copy->epoch == world->epoch && !copy->uncertain && !copy_is_blurred(copy))
		violate(world, "what was acked does not come again", "m%u in %s", message->index,
			copy->queue->name);
	if (copy->dropped && copy->epoch == world->epoch && !copy->uncertain && !copy_is_blurred(copy))
		violate(world, "what was discarded does not come again", "m%u in %s", message->index,
			copy->queue->name);
	delivered->copy = copy;
	delivered->settled = lane->content_no_ack;
	copy->handout = NULL;
	copy->uncertain = false;
	copy->lane = lane;
	copy->lane_tag = lane->content_tag;
	copy->epoch = world->epoch;
	copy->delivered = world->events;
	copy->acked = false;
	copy->out = !lane->content_no_ack;
	copy->dropped = lane->content_no_ack;
	copy->redelivered = lane->content_redelivered;
	lane->delivered =
	    world_grow(world, lane->delivered, lane->delivered_count, &lane->delivered_capacity);
	lane->delivered[lane->delivered_count++] = delivered;
	if (lane->delivered_count != lane->content_tag)
		violate(world, "the broker counts deliveries", "tag %llu",
			(unsigned long long)lane->content_tag);
}

static void down_header(struct world *world, struct wire_lane *lane, struct span payload)
{
	struct amqc_content_header header;
	struct message *message;

	if (amqc_content_header_decode(payload, &header) != AMQC_OK)
		return;
	message = message_named(world, &header.properties);
	if (!message)
		return;
	if (lane->content == AMQC_BASIC_RETURN) {
		trace(world, "        wire: m%u returned", message->index);
		message->wire_returned = true;
	} else if (lane->content_queue) {
		down_delivered(world, lane, message, is_marked(&header.properties));
	}
	lane->content = (enum amqc_method_id)0;
}

static void down_connection(struct world *world, const struct amqc_method *method)
{
	if (method->id == AMQC_CONNECTION_OPEN_OK) {
		world->wire.running = true;
		world->epoch++;
	}
	if (method->id != AMQC_CONNECTION_CLOSE)
		return;
	trace(world, "        wire: the broker closes the connection: %u %.*s",
	      method->connection_close.reply_code, (int)method->connection_close.reply_text.len,
	      (const char *)method->connection_close.reply_text.data);
	if (world->wire.running && !world->link.close_expected)
		violate(world, "nothing makes the broker close the connection", "%u %.*s",
			method->connection_close.reply_code, (int)method->connection_close.reply_text.len,
			(const char *)method->connection_close.reply_text.data);
}

static void down_frame(struct world *world, const struct amqc_frame *frame)
{
	struct wire_lane *lane;
	struct amqc_method method;

	if (frame->channel > LANES_MAX)
		return;
	lane = &world->wire.lanes[frame->channel];
	if (frame->type == AMQC_FRAME_HEADER && !lane->closed_by_broker)
		down_header(world, lane, frame->payload);
	if (frame->type != AMQC_FRAME_METHOD || amqc_method_decode(frame->payload, &method) != AMQC_OK)
		return;
	if (frame->channel == 0)
		down_connection(world, &method);
	else
		down_method(world, lane, &method);
}

/* ------------------------------------------------------------------ bytes */

static void feed(struct world *world, struct buf *kept, struct span bytes,
		 void (*handle)(struct world *world, const struct amqc_frame *frame))
{
	struct amqc_frame frame;
	size_t size;

	buf_append_span(kept, bytes);
	while (amqc_frame_peek(buf_span(kept), FRAME_MOST, &frame, &size) == AMQC_OK) {
		handle(world, &frame);
		buf_consume(kept, size);
	}
}

void wire_up(struct world *world, struct span bytes)
{
	struct wire *wire = &world->wire;

	if (!wire->header_seen) {
		buf_append_span(&wire->up, bytes);
		if (buf_len(&wire->up) < AMQC_PROTOCOL_HEADER_LEN)
			return;
		buf_consume(&wire->up, AMQC_PROTOCOL_HEADER_LEN);
		wire->header_seen = true;
		bytes = SPAN_NULL;
	}
	feed(world, &wire->up, bytes, up_frame);
}

void wire_down(struct world *world, struct span bytes)
{
	feed(world, &world->wire.down, bytes, down_frame);
}

size_t wire_rest(const struct world *world, struct span arrived)
{
	struct span kept = buf_span(&world->wire.down);
	uint8_t header[7];
	size_t total;

	if (kept.len + arrived.len < sizeof(header))
		return arrived.len;
	for (size_t i = 0; i < sizeof(header); i++)
		header[i] = i < kept.len ? kept.data[i] : arrived.data[i - kept.len];
	total = load_be32(header + 3) + AMQC_FRAME_OVERHEAD - kept.len;
	return total < arrived.len ? total : arrived.len;
}
