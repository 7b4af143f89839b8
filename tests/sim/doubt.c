/*
 * The window of unconfirmed publishes, as the wire shows it. Its bounds are
 * those of what a lost connection leaves in doubt: what mux had written whole
 * and the broker had not answered, that and nothing else is sent again, marked.
 *
 * Mux may have given up a publish (its deadline, its channel's end) before the
 * wire shows it: those are not counted when it matters.
 */
#include "tests/sim/sim.h"

#define FRAME_MOST (1u << 20)

static bool is_given_up(const struct world *world, const struct message *message)
{
	return message->ended || !mono_before(world->now, message->deadline);
}

struct sum {
	uint64_t messages, bytes;
};

static struct sum count(const struct world *world)
{
	struct sum sum = {0, 0};

	for (size_t i = 1; i <= LANES_MAX; i++) {
		const struct wire_lane *lane = &world->wire.lanes[i];

		for (size_t at = lane->sent_first; at < lane->sent_count; at++) {
			const struct message *message = lane->sent[at];

			if (!message->under_way || is_given_up(world, message))
				continue;
			sum.messages++;
			sum.bytes += message->wire_bytes;
		}
	}
	return sum;
}

static void check_room(struct world *world, const struct message *message)
{
	struct sum sum;

	if (world->wire.under_way_messages < world->unconfirmed_messages &&
	    world->wire.under_way_bytes < world->unconfirmed_bytes)
		return;
	sum = count(world);
	if (sum.messages > 0 &&
	    (sum.messages >= world->unconfirmed_messages || sum.bytes >= world->unconfirmed_bytes))
		violate(world, "unconfirmed publishes are within the window",
			"m%u is sent behind %llu of %llu bytes; at most %u of %u", message->index,
			(unsigned long long)sum.messages, (unsigned long long)sum.bytes,
			world->unconfirmed_messages, world->unconfirmed_bytes);
}

void doubt_sent(struct world *world, struct message *message, uint64_t bytes)
{
	check_room(world, message);
	bytes += MUX_MESSAGE_COST_BYTES;
	if (message->wire_acked || message->wire_nacked || message->returned)
		violate(world, "what was answered is not sent again", "m%u", message->index);
	message->under_way = true;
	message->wire_bytes = (uint32_t)bytes;
	world->wire.under_way_messages++;
	world->wire.under_way_bytes += bytes;
}

void doubt_whole(struct message *message)
{
	message->in_doubt = true;
}

static void leave(struct world *world, struct message *message)
{
	if (!message->under_way)
		return;
	message->under_way = false;
	world->wire.under_way_messages--;
	world->wire.under_way_bytes -= message->wire_bytes;
}

void doubt_answered(struct world *world, struct message *message)
{
	message->in_doubt = false;
	leave(world, message);
}

void doubt_give_back(struct world *world, const struct wire_lane *lane)
{
	for (size_t i = lane->sent_first; i < lane->sent_count; i++)
		leave(world, lane->sent[i]);
}

/* ------------------------------------------------------------------ losses */

static void imagine_body(struct wire_lane *lane, struct span payload)
{
	if (!lane->body_of)
		return;
	lane->body_left -= payload.len < lane->body_left ? payload.len : lane->body_left;
	if (lane->body_left > 0)
		return;
	doubt_whole(lane->body_of);
	lane->body_of = NULL;
}

/* A frame that no socket took: to mux it is sent. Returns how many more publishes are. */
static unsigned int imagine(struct world *world, const struct amqc_frame *frame)
{
	struct wire_lane *lane = &world->wire.lanes[frame->channel];
	struct amqc_content_header header;
	struct message *message;

	if (frame->channel > LANES_MAX)
		return 0;
	if (frame->type == AMQC_FRAME_BODY)
		imagine_body(lane, frame->payload);
	if (frame->type != AMQC_FRAME_HEADER ||
	    amqc_content_header_decode(frame->payload, &header) != AMQC_OK ||
	    !(message = message_named(world, &header.properties)))
		return 0;
	lane->body_of = message;
	lane->body_left = header.body_size;
	imagine_body(lane, SPAN_NULL);
	return !is_given_up(world, message);
}

void doubt_lost(struct world *world)
{
	struct buf *bytes = &world->wire.up;
	uint64_t messages = count(world).messages;
	struct amqc_frame frame;
	size_t size;

	if (!world->wire.running)
		return;
	buf_append_span(bytes, buf_span(upstream_output(world->upstream)));
	while (amqc_frame_peek(buf_span(bytes), FRAME_MOST, &frame, &size) == AMQC_OK) {
		messages += imagine(world, &frame);
		buf_consume(bytes, size);
	}
	for (size_t i = 1; i <= LANES_MAX; i++)
		doubt_give_back(world, &world->wire.lanes[i]);
	if (messages > world->unconfirmed_messages)
		violate(world, "a lost connection leaves no more in doubt than the window",
			"%llu publishes, at most %u", (unsigned long long)messages,
			world->unconfirmed_messages);
	if (messages > 0)
		happened(world, WIRE_LEFT_IN_DOUBT);
}
