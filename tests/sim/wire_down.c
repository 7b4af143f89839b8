/*
 * Frames that the broker sends: what it confirms, returns and delivers, and
 * what it closes.
 */
#include "tests/sim/sim.h"

/* The broker has closed it: what was settled last may have come too late. */
static void lane_doubt(struct wire_lane *lane)
{
	for (size_t i = 0; i < lane->delivered_count; i++) {
		struct copy *copy = lane->delivered[i]->copy;

		if (copy->lane != lane || copy->lane_tag != i + 1)
			continue;
		if (lane->delivered[i]->settled)
			copy->uncertain = true;
		if (copy->handout)
			copy->handout->stale = true;
	}
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
	if (multiple && tag > from + 1)
		happened(world, WIRE_CONFIRM_RANGE);
	else if (from > lane->sent_first)
		happened(world, WIRE_CONFIRM_OUT_OF_ORDER);
	for (size_t i = from; i < tag; i++) {
		struct message *message = lane->sent[i];

		if (message->wire_acked || message->wire_nacked)
			continue;
		trace(world, "        wire: m%u %s", message->index, nack ? "nacked" : "confirmed");
		doubt_answered(world, message);
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
		lane->content_consumer = wire_consumer(lane, method->basic_deliver.consumer_tag);
		lane->content_queue = lane->content_consumer ? lane->content_consumer->queue : NULL;
		lane->content_no_ack = lane->content_consumer && lane->content_consumer->replies;
		lane->content_tag = method->basic_deliver.delivery_tag;
		lane->content_redelivered = method->basic_deliver.redelivered;
	} else if (method->id == AMQC_BASIC_GET_OK) {
		get = next_get(lane);
		lane->content_consumer = NULL;
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

/* What it sent and the broker has not answered may be sent again, on another lane of the same connection. */
static void lane_forgets_publishes(struct wire_lane *lane)
{
	for (size_t i = 0; i < lane->sent_count; i++) {
		struct message *message = lane->sent[i];

		if (message->wire_acked || message->wire_nacked)
			continue;
		message->sent_epoch = 0;
		message->chan->sent_epoch = 0;
	}
}

/* A message may be half-way through on it: its frames go on until mux has seen the close. */
static void down_close(struct world *world, struct wire_lane *lane)
{
	struct wire_lane before = *lane;

	lane_doubt(lane);
	if (lane->closing)
		return;
	doubt_give_back(world, lane);
	lane_forgets_publishes(lane);
	wire_lane_reset(lane);
	lane->open = true;
	lane->closed_by_broker = true;
	lane->publishing = before.publishing;
	lane->body_of = before.body_of;
	lane->body_left = before.body_left;
	memcpy(lane->exchange, before.exchange, sizeof(lane->exchange));
	memcpy(lane->key, before.key, sizeof(lane->key));
}

static void count_close(struct world *world, const struct wire_lane *lane, uint16_t code)
{
	if (lane->closing)
		happened(world, WIRE_CLOSES_CROSS);
	if (code == AMQC_RESOURCE_LOCKED)
		happened(world, WIRE_LOCKED);
	else if (code == AMQC_ACCESS_REFUSED)
		happened(world, WIRE_EXCLUSIVE_USE);
	else if (code == AMQC_NOT_FOUND)
		happened(world, WIRE_NO_QUEUE);
	else if (code == AMQC_PRECONDITION_FAILED)
		happened(world, WIRE_INEQUIVALENT);
}

static void down_method(struct world *world, struct wire_lane *lane, const struct amqc_method *method)
{
	switch (method->id) {
	case AMQC_CHANNEL_CLOSE:
		trace(world, "        wire: the broker closes lane %zu: %u %.*s",
		      (size_t)(lane - world->wire.lanes), method->channel_close.reply_code,
		      (int)method->channel_close.reply_text.len,
		      (const char *)method->channel_close.reply_text.data);
		world->wire.blamed = lane->delivered;
		world->wire.blamed_count = lane->delivered_count;
		count_close(world, lane, method->channel_close.reply_code);
		down_close(world, lane);
		world->lanes_closed++;
		break;
	case AMQC_CHANNEL_CLOSE_OK:
		wire_lane_reset(lane);
		break;
	case AMQC_BASIC_ACK:
		down_confirm(world, lane, method->basic_ack.delivery_tag, method->basic_ack.multiple, false);
		break;
	case AMQC_BASIC_NACK:
		down_confirm(world, lane, method->basic_nack.delivery_tag, method->basic_nack.multiple, true);
		break;
	case AMQC_BASIC_CANCEL:
		happened(world, WIRE_CANCEL_NOTIFY);
		wire_cancel(lane, method->basic_cancel.consumer_tag);
		break;
	case AMQC_CHANNEL_FLOW_OK:
		happened(world, WIRE_FLOW_ASKED);
		break;
	case AMQC_BASIC_GET_EMPTY:
		(void)next_get(lane);
		break;
	default:
		if (amqc_method_has_content(method->id))
			down_content(world, lane, method);
	}
}

static void lane_delivered(struct world *world, struct wire_lane *lane, struct copy *copy)
{
	struct delivered *delivered = world_alloc(world, sizeof(*delivered));

	delivered->copy = copy;
	delivered->consumer = lane->content_consumer;
	delivered->settled = lane->content_no_ack;
	lane->delivered =
	    world_grow(world, lane->delivered, lane->delivered_count, &lane->delivered_capacity);
	lane->delivered[lane->delivered_count++] = delivered;
}

static void down_delivered(struct world *world, struct wire_lane *lane, struct message *message, bool marked)
{
	struct copy *copy = copy_of(world, message, lane->content_queue, marked);
	bool counts = !lane->content_consumer || !lane->content_consumer->replies;

	trace(world, "        wire: m%u in %s delivered on lane %zu, tag %llu%s", message->index,
	      copy->queue->name, (size_t)(lane - world->wire.lanes), (unsigned long long)lane->content_tag,
	      marked ? ", marked" : "");
	if (copy->acked && copy->epoch == world->epoch && !copy->uncertain && !copy_is_blurred(copy))
		violate(world, "what was acked does not come again", "m%u in %s", message->index,
			copy->queue->name);
	if (copy->dropped && copy->epoch == world->epoch && !copy->uncertain && !copy_is_blurred(copy))
		violate(world, "what was discarded does not come again", "m%u in %s", message->index,
			copy->queue->name);
	if (lane->content_redelivered)
		happened(world, WIRE_REDELIVERED);
	copy->consumer = lane->content_consumer;
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
	if (lane->delivered_count + 1 != lane->content_tag)
		violate(world, "the broker counts deliveries", "tag %llu",
			(unsigned long long)lane->content_tag);
	if (counts)
		lane_delivered(world, lane, copy);
}

/* Another one that waits for its confirm could not be told from it. */
static bool is_one_of_several(const struct wire_lane *lane, const struct message *message)
{
	for (size_t i = lane->sent_first; i < lane->sent_count; i++) {
		const struct message *other = lane->sent[i];

		if (other != message && other->mandatory && !other->wire_acked && message->size <= 4 &&
		    other->size == message->size && strcmp(other->key, message->key) == 0 &&
		    strcmp(other->exchange, message->exchange) == 0)
			return true;
	}
	return false;
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
		happened(world, WIRE_RETURN);
		if (is_one_of_several(lane, message))
			happened(world, WIRE_RETURN_ALIKE);
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
		world->came_up = world->now;
	}
	if (method->id == AMQC_CONNECTION_BLOCKED || method->id == AMQC_CONNECTION_UNBLOCKED) {
		world->wire.blocked = method->id == AMQC_CONNECTION_BLOCKED;
		world->wire.blocked_slack = buf_len(upstream_output(world->upstream));
	}
	if (method->id != AMQC_CONNECTION_CLOSE)
		return;
	trace(world, "        wire: the broker closes the connection: %u %.*s",
	      method->connection_close.reply_code, (int)method->connection_close.reply_text.len,
	      (const char *)method->connection_close.reply_text.data);
	if (world->wire.running && !world->link.close_expected &&
	    !traps_explain(method->connection_close.reply_text))
		violate(world, "nothing makes the broker close the connection", "%u %.*s",
			method->connection_close.reply_code, (int)method->connection_close.reply_text.len,
			(const char *)method->connection_close.reply_text.data);
}

void wire_down_frame(struct world *world, const struct amqc_frame *frame)
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
