/*
 * Frames that mux sends: what it publishes, and what it settles.
 */
#include "tests/sim/sim.h"

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

/* What its consumer cannot have goes back once: it must not be sent the same again at once. */
static void check_requeue(struct world *world, const struct delivered *delivered)
{
	const struct handout *handout = delivered->copy->handout;

	if (!handout && delivered->consumer && !delivered->consumer->cancelled &&
	    !copy_is_blurred(delivered->copy))
		violate(world, "a consumer is cancelled before what it cannot take goes back",
			"m%u of consumer %s", delivered->copy->message->index, delivered->consumer->tag);
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
		if (kind == SETTLE_REQUEUE)
			check_requeue(world, lane->delivered[i]);
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

	wire_copy_text(consumer->tag, sizeof(consumer->tag), tag);
	consumer->queue = queue_named(world, queue);
	consumer->prefetch = lane->prefetch;
	consumer->replies = replies_is_queue(queue);
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

/* Requests about a queue, for the trace; most have its name as their first member. */
static void trace_request(struct world *world, const struct wire_lane *lane, const struct amqc_method *method)
{
	const struct span *name = &method->queue_declare.queue;
	bool passive = method->id == AMQC_QUEUE_DECLARE && method->queue_declare.passive;

	if (AMQC_CLASS_ID(method->id) == AMQC_CLASS_ID(AMQC_QUEUE_DECLARE) ||
	    method->id == AMQC_BASIC_CONSUME || method->id == AMQC_BASIC_GET)
		trace(world, "        wire: %s of %.*s%s on lane %zu", amqc_method_name(method->id),
		      (int)name->len, name->len ? (const char *)name->data : "", passive ? ", passive" : "",
		      (size_t)(lane - world->wire.lanes));
	if (method->id == AMQC_QUEUE_BIND)
		trace(world, "              to %.*s by %.*s", (int)method->queue_bind.exchange.len,
		      (const char *)method->queue_bind.exchange.data, (int)method->queue_bind.routing_key.len,
		      (const char *)method->queue_bind.routing_key.data);
}

static void up_queue_method(struct world *world, const struct amqc_method *method)
{
	switch (method->id) {
	case AMQC_QUEUE_UNBIND:
		topology_unbound(world, &method->queue_unbind);
		break;
	case AMQC_QUEUE_PURGE:
		queue_named(world, method->queue_purge.queue)->wiped = true;
		break;
	case AMQC_QUEUE_DELETE:
		queue_named(world, method->queue_delete.queue)->wiped = true;
		queue_named(world, method->queue_delete.queue)->deleted = ++world->events;
		topology_shrank(world);
		break;
	default:
		break;
	}
}

static void up_method(struct world *world, struct wire_lane *lane, const struct amqc_method *method,
		      size_t method_bytes)
{
	trace_request(world, lane, method);
	switch (method->id) {
	case AMQC_CHANNEL_OPEN:
		if (lane->open)
			violate(world, "a lane's number is not used again before close-ok", "%s",
				amqc_method_name(method->id));
		trace(world, "        wire: lane %zu opens", (size_t)(lane - world->wire.lanes));
		wire_lane_reset(lane);
		lane->open = true;
		break;
	case AMQC_CHANNEL_CLOSE:
		trace(world, "        wire: mux closes lane %zu", (size_t)(lane - world->wire.lanes));
		if (!lane->closed_by_broker)
			check_closing(world, lane);
		doubt_give_back(world, lane);
		lane->closing = true;
		break;
	case AMQC_CHANNEL_CLOSE_OK:
		lane->closed_by_broker = false;
		if (!lane->closing)
			wire_lane_reset(lane);
		break;
	case AMQC_BASIC_PUBLISH:
		lane->publishing = true;
		lane->method_bytes = method_bytes;
		wire_copy_text(lane->exchange, sizeof(lane->exchange), method->basic_publish.exchange);
		wire_copy_text(lane->key, sizeof(lane->key), method->basic_publish.routing_key);
		break;
	case AMQC_BASIC_CONSUME:
		up_consume(world, lane, method->basic_consume.consumer_tag, method->basic_consume.queue);
		break;
	case AMQC_BASIC_QOS:
		lane->prefetch = method->basic_qos.prefetch_count;
		break;
	case AMQC_BASIC_CANCEL:
		wire_cancel(lane, method->basic_cancel.consumer_tag);
		break;
	case AMQC_BASIC_GET:
		up_get(world, lane, &method->basic_get);
		break;
	case AMQC_BASIC_ACK:
		if (method->basic_ack.multiple)
			happened(world, WIRE_ACK_RANGE);
		settle(world, lane, method->basic_ack.delivery_tag, method->basic_ack.multiple, SETTLE_ACK);
		break;
	case AMQC_BASIC_NACK:
		happened(world, WIRE_NACK);
		settle(world, lane, method->basic_nack.delivery_tag, method->basic_nack.multiple,
		       method->basic_nack.requeue ? SETTLE_REQUEUE : SETTLE_DISCARD);
		break;
	default:
		up_queue_method(world, method);
	}
}

/* What is sent again says so: only what may be at the broker already is. */
static void check_sending(struct world *world, const struct wire_lane *lane, const struct message *message,
			  const struct amqc_content_header *header)
{
	const struct chan *chan = message->chan;

	if (world->wire.blocked && world->wire.blocked_slack == 0)
		violate(world, "nothing is published under an alarm", "m%u", message->index);
	if (message->times_sent > 0 && message->sent_epoch == world->epoch)
		violate(world, "a publish is sent once on a connection", "m%u", message->index);
	if ((message->sent || message->resent) && !is_marked(&header->properties))
		violate(world, "what is sent again is marked", "m%u", message->index);
	if (!message->in_doubt && !message->resent && is_marked(&header->properties))
		violate(world, "only what the broker may have is marked", "m%u", message->index);
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
	doubt_whole(lane->body_of);
	lane->body_of = NULL;
}

/*
 * The first publish of a connection: exchanges, queues and bindings are back,
 * or wait for the broker to notice that the connection before is gone.
 */
static void check_first(struct world *world)
{
	uint64_t patience_usec = 3 * world->plan.heartbeat_sec * USEC_PER_SEC;

	if (world->wire.published)
		return;
	world->wire.published = true;
	/* It may be closing this one already: then its exclusive queues are gone again. */
	if (world->link.close_expected || world->link.dead)
		return;
	if (!link_had_zombies(world, world->came_up) && world->epoch > 1 &&
	    mono_since_usec(world->now, world->came_up) < patience_usec)
		topology_check(world, "before the first publish");
}

/* The header of a publish: now it is known which. */
static void up_header(struct world *world, struct wire_lane *lane, struct span payload)
{
	struct amqc_content_header header;
	struct message *message;
	uint64_t bytes;

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
	check_first(world);
	check_sending(world, lane, message, &header);
	expiry_check_sent(world, message, &header.properties);
	if (message->resent)
		happened(world, WIRE_RESENT);
	if (message->sent)
		happened(world, WIRE_REPLAYED);
	else if (message->epoch != world->epoch)
		happened(world, WIRE_LATE);
	bytes = lane->method_bytes + payload.len + AMQC_FRAME_OVERHEAD + header.body_size;
	/* After the broker's close mux goes on until it has seen it, and then has given back all. */
	if (!lane->closed_by_broker)
		doubt_sent(world, message, bytes);
	shares_sent(world, message, bytes);
	message->times_sent++;
	message->chan->sent_count++;
	message->times_marked += is_marked(&header.properties);
	/* What the broker said on an earlier connection may not have reached mux whole. */
	message->wire_returned = message->returned;
	message->wire_acked = false;
	message->wire_nacked = false;
	if (!lane->closed_by_broker) {
		message->sent_epoch = world->epoch;
		message->chan->last_sent = message->number;
		message->chan->sent_epoch = world->epoch;
	}
	lane->sent = world_grow(world, lane->sent, lane->sent_count, &lane->sent_capacity);
	lane->sent[lane->sent_count++] = message;
	lane->body_of = message;
	lane->body_left = header.body_size;
	up_body(lane, SPAN_NULL);
}

void wire_up_frame(struct world *world, const struct amqc_frame *frame)
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
		up_method(world, lane, &method, frame->payload.len + AMQC_FRAME_OVERHEAD);
}
