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

void wire_lane_reset(struct wire_lane *lane)
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

/* The latest of that tag. */
struct wire_consumer *wire_consumer(const struct wire_lane *lane, struct span tag)
{
	struct wire_consumer *consumer;

	for (consumer = lane->consumers; consumer; consumer = consumer->next) {
		if (span_equal_str(tag, consumer->tag))
			return consumer;
	}
	return NULL;
}

void wire_cancel(struct wire_lane *lane, struct span tag)
{
	struct wire_consumer *consumer = wire_consumer(lane, tag);

	if (consumer)
		consumer->cancelled = true;
}

void wire_begin(struct world *world)
{
	struct wire *wire = &world->wire;

	for (size_t i = 0; i <= LANES_MAX; i++)
		wire_lane_reset(&wire->lanes[i]);
	wire->running = false;
	wire->published = false;
	wire->blocked = false;
	wire->under_way_messages = 0;
	wire->under_way_bytes = 0;
	wire->header_seen = false;
	buf_truncate(&wire->up, 0);
	buf_truncate(&wire->down, 0);
}

void wire_end(struct world *world)
{
	buf_deinit(&world->wire.up);
	buf_deinit(&world->wire.down);
}

void wire_copy_text(char *out, size_t size, struct span text)
{
	snprintf(out, size, "%.*s", (int)text.len, text.len ? (const char *)text.data : "");
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
	feed(world, &wire->up, bytes, wire_up_frame);
	wire->blocked_slack -= bytes.len < wire->blocked_slack ? bytes.len : wire->blocked_slack;
}

void wire_down(struct world *world, struct span bytes)
{
	feed(world, &world->wire.down, bytes, wire_down_frame);
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
