/*
 * RabbitMQ's channel has basic.consume and basic.cancel answered by the queue,
 * by way of the channel's own mailbox: answers to what was asked for later on
 * the channel, confirms, and what concerns other consumers may come before
 * theirs. Messages of the consumer do not, nor does the end of the channel.
 */
#include "tests/sim/sim.h"

static uint16_t channel_of(struct span frame)
{
	return load_be16(frame.data + 1);
}

static uint32_t method_of(struct span frame)
{
	return frame.data[0] == AMQC_FRAME_METHOD ? load_be32(frame.data + 7) : 0;
}

static struct span first_frame(struct span frames)
{
	return span_first(frames, load_be32(frames.data + 3) + AMQC_FRAME_OVERHEAD);
}

static bool comes_by_mailbox(struct span frame)
{
	return method_of(frame) == AMQC_BASIC_CONSUME_OK || method_of(frame) == AMQC_BASIC_CANCEL_OK;
}

/* Whether a message that begins the frames ends in them: a method of its channel follows. */
static bool is_whole(struct span frames)
{
	uint16_t channel = channel_of(frames);

	for (frames = span_skip(frames, first_frame(frames).len); frames.len > 0;
	     frames = span_skip(frames, first_frame(frames).len)) {
		if (channel_of(frames) == channel && frames.data[0] == AMQC_FRAME_METHOD)
			return true;
	}
	return false;
}

/* Of a method that begins with it. */
static struct span tag_of(struct span frame)
{
	return span_first(span_skip(frame, 12), frame.data[11]);
}

/* Whether the first of the frames may come before the answer that was to come first. */
static bool may_overtake(struct span frames, struct span held)
{
	if (channel_of(frames) != channel_of(held))
		return channel_of(frames) != 0;
	switch (method_of(frames)) {
	case AMQC_BASIC_GET_OK:
		return is_whole(frames);
	case AMQC_BASIC_DELIVER:
		return is_whole(frames) && !span_equal(tag_of(frames), tag_of(held));
	case AMQC_BASIC_CONSUME_OK:
	case AMQC_BASIC_CANCEL_OK:
	case AMQC_BASIC_CANCEL:
		return !span_equal(tag_of(frames), tag_of(held));
	case AMQC_CHANNEL_CLOSE:
	case AMQC_CHANNEL_CLOSE_OK:
	case AMQC_BASIC_RETURN:
		return false;
	default:
		return true; /* or it is a part of what has overtaken */
	}
}

void overtake(struct world *world, struct buf *out, struct span frames)
{
	struct span held = SPAN_NULL, frame;
	bool passed = false;

	for (; frames.len > 0; frames = span_skip(frames, frame.len)) {
		frame = first_frame(frames);
		if (held.len > 0 &&
		    (!may_overtake(frames, held) ||
		     (channel_of(frame) == channel_of(held) && method_of(frame) && chance(world, 200)))) {
			buf_append_span(out, held);
			held = SPAN_NULL;
		}
		if (held.len == 0 && comes_by_mailbox(frame) && chance(world, 700)) {
			held = frame;
			passed = false;
			continue;
		}
		buf_append_span(out, frame);
		if (held.len > 0 && channel_of(frame) == channel_of(held) && !passed) {
			happened(world, WIRE_OVERTAKEN);
			passed = true;
		}
	}
	buf_append_span(out, held);
}
