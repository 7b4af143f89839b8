/*
 * Consumers, their credit, and settling what they got.
 *
 * Credit: muxd may send window_messages and window_bytes more than handlers
 * have taken. New totals are sent when half a window was taken since the last
 * ones. A message counts with its header and body. What comes without credit
 * ends the connection, or muxd could fill our memory; so does a message for a
 * consumer that is gone, if it cannot have been under way then.
 *
 * Settling: acknowledgements wait in the channel as ranges, and consecutive
 * ones become one; out_flush() turns them into one frame (settles_emit()).
 * They go before any request of the channel.
 */
#include "config.h"

#include "client/consume.h"
#include "client/chan.h"
#include "client/conn.h"
#include "client/dispatch.h"
#include "client/error.h"
#include "client/events.h"
#include "client/ops.h"
#include "client/out.h"
#include "client/outcome.h"
#include "client/request.h"
#include "client/table.h"
#include "client/wire.h"

#include "proto/buf.h"
#include "proto/muxd.pb-c.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Field numbers of muxd.v1.ConsumerCredit, Settle, Range, Consume and Cancel. */
enum consume_field {
	CREDIT_CONSUMER = 1,
	CREDIT_MESSAGES = 2,
	CREDIT_BYTES = 3,
	SETTLE_KIND = 1,
	SETTLE_TAGS = 2,
	RANGE_FIRST = 1,
	RANGE_LAST = 2,
	CONSUME_QUEUE = 1,
	CONSUME_TAG = 2,
	CONSUME_NO_LOCAL = 3,
	CONSUME_NO_ACK = 4,
	CONSUME_EXCLUSIVE = 5,
	CONSUME_ARGUMENTS = 6,
	CONSUME_CONSUMER = 7,
	CONSUME_CREDIT_MESSAGES = 8,
	CONSUME_CREDIT_BYTES = 9,
	CANCEL_CONSUMER = 1
};

/* ---------------------------------------------------------------- consumers */

struct consumer *consumer_find(struct muxc_channel *channel, uint32_t id)
{
	struct consumer *consumer;

	for (consumer = channel->consumers; consumer; consumer = consumer->next) {
		if (consumer->id == id)
			return consumer;
	}
	return NULL;
}

static void consumer_free(struct consumer *consumer)
{
	buf_deinit(&consumer->op);
	free(consumer);
}

void consumer_remove(struct muxc_channel *channel, uint32_t id)
{
	struct consumer **at, *consumer;

	for (at = &channel->consumers; (consumer = *at); at = &consumer->next) {
		if (consumer->id != id)
			continue;
		*at = consumer->next;
		channel->late_messages += consumer->granted_messages - consumer->received_messages;
		if (consumer->started)
			declared_unused(channel->c, &consumer->op);
		consumer_free(consumer);
		return;
	}
}

void consumers_free(struct muxc_channel *channel)
{
	struct consumer *consumer;

	while ((consumer = channel->consumers)) {
		channel->consumers = consumer->next;
		consumer_free(consumer);
	}
}

static int send_credit(struct muxc_channel *channel, struct consumer *consumer)
{
	struct frame_head head = {.channel = channel->number,
				  .op = MUXD__V1__CLIENT_FRAME__OP_CONSUMER_CREDIT};
	struct buf op = BUF_INIT;
	int r;

	wire_put_number(&op, CREDIT_CONSUMER, consumer->id);
	wire_put_number(&op, CREDIT_MESSAGES, consumer->granted_messages);
	wire_put_number(&op, CREDIT_BYTES, consumer->granted_bytes);
	r = buf_failed(&op) ? -ENOMEM : out_frame(channel->c, &head, buf_span(&op));
	buf_deinit(&op);
	return r;
}

bool consumer_received(struct consumer *consumer, size_t size_bytes)
{
	/* One byte of credit is good for a message of any size. */
	if (consumer->received_messages >= consumer->granted_messages ||
	    consumer->received_bytes >= consumer->granted_bytes)
		return false;
	consumer->received_messages++;
	consumer->received_bytes += size_bytes;
	return true;
}

bool consumer_received_late(struct muxc_channel *channel)
{
	if (channel->late_messages == 0)
		return false;
	channel->late_messages--;
	return true;
}

void consumer_took(struct muxc_channel *channel, struct consumer *consumer, size_t size_bytes)
{
	uint64_t messages, bytes;

	consumer->taken_messages++;
	consumer->taken_bytes += size_bytes;
	if (channel->state != CHANNEL_OPEN || !channel->live || consumer->leaving)
		return;
	messages = consumer->taken_messages + consumer->window_messages;
	bytes = consumer->taken_bytes + consumer->window_bytes;
	if ((messages - consumer->granted_messages) * 2 < consumer->window_messages &&
	    (bytes - consumer->granted_bytes) * 2 < consumer->window_bytes)
		return;
	consumer->granted_messages = messages;
	consumer->granted_bytes = bytes;
	if (send_credit(channel, consumer) < 0)
		conn_fail(channel->c, -ENOMEM, "no memory to grant credit to a consumer");
	else
		out_policy(channel->c, channel->events.first != NULL);
}

/* ----------------------------------------------------------------- settling */

static struct span put_settle(struct buf *op, const struct settles *settles, uint64_t tag_base)
{
	struct range range;
	unsigned int i;

	if (settles->kind != MUXD__V1__SETTLE_KIND__ACK)
		wire_put_number(op, SETTLE_KIND, (uint64_t)settles->kind);
	for (i = 0; i < settles->count; i++) {
		range = settles->ranges[i];
		/* In muxd's numbers. */
		range.first -= range.first > 0 ? tag_base : 0;
		range.last -= tag_base;
		wire_put_tag(op, SETTLE_TAGS, WIRE_BYTES);
		wire_put_varint(op, wire_number_size(range.first) + wire_number_size(range.last));
		wire_put_number(op, RANGE_FIRST, range.first);
		wire_put_number(op, RANGE_LAST, range.last);
	}
	return buf_span(op);
}

int settles_emit(struct muxc_channel *channel)
{
	struct frame_head head = {.channel = channel->number, .op = MUXD__V1__CLIENT_FRAME__OP_SETTLE};
	struct settles *settles = channel->settles;
	struct buf op = BUF_INIT;
	struct span span;
	int r = 0;

	if (!settles || settles->count == 0)
		return 0;
	if (channel->live && (channel->state == CHANNEL_OPEN || channel->state == CHANNEL_CLOSING)) {
		span = put_settle(&op, settles, channel->tag_base);
		r = buf_failed(&op) ? -ENOMEM : out_frame(channel->c, &head, span);
		buf_deinit(&op);
	}
	if (r == 0)
		settles->count = 0;
	return r;
}

static void mark_dirty(struct muxc_channel *channel)
{
	if (channel->dirty)
		return;
	channel->dirty = true;
	channel->refs++;
	channel->next_dirty = channel->c->dirty;
	channel->c->dirty = channel;
}

int settle_add(struct muxc_channel *channel, int kind, uint64_t first, uint64_t last)
{
	struct settles *settles = channel->settles;
	struct range *newest;
	int r;

	/* It has gone back with the session it came in. */
	if (last <= channel->tag_base)
		return 0;
	if (first == 0 && channel->unsettled > channel->tag_last - last)
		channel->unsettled = channel->tag_last - last;
	else if (first > 0 && channel->unsettled > 0)
		channel->unsettled--;
	if (!settles) {
		settles = calloc(1, sizeof(*settles));
		if (!settles)
			return -ENOMEM;
		channel->settles = settles;
	}
	if (settles->count > 0 && (settles->kind != kind || settles->count == SETTLE_RANGES_MAX)) {
		r = settles_emit(channel);
		if (r < 0)
			return r;
	}
	mark_dirty(channel);
	settles->kind = kind;
	newest = settles->count > 0 ? &settles->ranges[settles->count - 1] : NULL;
	if (newest && first > 0 && newest->last + 1 == first) {
		newest->last = last;
		return 0;
	}
	if (newest && first > 0 && newest->first == last + 1 && newest->first > 1) {
		newest->first = first;
		return 0;
	}
	settles->ranges[settles->count++] = (struct range){first, last};
	return 0;
}

void deliveries_lost(struct muxc_channel *channel)
{
	struct consumer *consumer;

	for (consumer = channel->consumers; consumer; consumer = consumer->next)
		consumer->received_messages = consumer->received_bytes = 0;
	if (channel->settles)
		channel->settles->count = 0;
	channel->tag_base = channel->tag_last;
	channel->unsettled = 0;
	channel->late_messages = 0;
	events_stale(channel);
}

static int settle(struct muxc_channel *channel, uint64_t tag, int kind, bool up_to)
{
	struct muxc *c;
	int r;

	r = channel_enter(channel, NULL);
	if (r < 0)
		return r;
	c = channel->c;
	if (tag > channel->tag_base) {
		channel->tx_used = true;
		channel->tx_settled++;
		r = settle_add(channel, kind, up_to ? 0 : tag, tag);
		/* In a burst the next handler follows at once, and so does the next one to settle. */
		if (r == 0)
			out_policy(c, in_dispatch(c) && (channel->events.first || c->ready_first));
	}
	channel_leave(channel);
	return r;
}

int muxc_ack(struct muxc_channel *channel, uint64_t tag, unsigned int flags)
{
	if (flags & ~(unsigned int)MUXC_UP_TO)
		return -EINVAL;
	return settle(channel, tag, MUXD__V1__SETTLE_KIND__ACK, flags & MUXC_UP_TO);
}

int muxc_nack(struct muxc_channel *channel, uint64_t tag, unsigned int flags)
{
	int kind = flags & MUXC_REQUEUE ? MUXD__V1__SETTLE_KIND__REQUEUE : MUXD__V1__SETTLE_KIND__DISCARD;

	if (flags & ~(unsigned int)(MUXC_UP_TO | MUXC_REQUEUE))
		return -EINVAL;
	return settle(channel, tag, kind, flags & MUXC_UP_TO);
}

int muxc_reject(struct muxc_channel *channel, uint64_t tag, unsigned int flags)
{
	if (flags & ~(unsigned int)MUXC_REQUEUE)
		return -EINVAL;
	return muxc_nack(channel, tag, flags);
}

/* ------------------------------------------------------- starting and ending */

static struct consumer *consumer_new(const struct muxc_consumer_options *options)
{
	struct consumer *consumer;

	consumer = calloc(1, sizeof(*consumer));
	if (!consumer)
		return NULL;
	consumer->on_message = options->on_message;
	consumer->on_cancelled = options->on_cancelled;
	consumer->on_interrupted = options->on_interrupted;
	consumer->userdata = options->userdata;
	consumer->window_messages =
	    options->window_messages ? options->window_messages : CONSUMER_WINDOW_MESSAGES;
	consumer->window_bytes = options->window_bytes ? options->window_bytes : CONSUMER_WINDOW_BYTES;
	consumer->granted_messages = consumer->window_messages;
	consumer->granted_bytes = consumer->window_bytes;
	consumer->direct_reply = span_equal(span_str(options->queue), span_str("amq.rabbitmq.reply-to"));
	return consumer;
}

/* All that does not change when it is started again. */
static void put_consume(struct buf *op, const struct muxc_channel *channel,
			const struct muxc_consumer_options *options, const struct consumer *consumer)
{
	wire_put_bytes(op, CONSUME_QUEUE, queue_or_last(channel, options->queue));
	wire_put_nonzero(op, CONSUME_NO_LOCAL, !!(options->flags & MUXC_NO_LOCAL));
	wire_put_nonzero(op, CONSUME_NO_ACK, !!(options->flags & MUXC_NO_ACK));
	wire_put_nonzero(op, CONSUME_EXCLUSIVE, !!(options->flags & MUXC_CONSUME_EXCLUSIVE));
	if (options->arguments)
		wire_put_bytes(op, CONSUME_ARGUMENTS, table_span(options->arguments));
	wire_put_number(op, CONSUME_CONSUMER, consumer->id);
}

static void put_start(struct buf *op, const struct muxc_consumer_options *options,
		      const struct consumer *consumer)
{
	buf_append_span(op, buf_span(&consumer->op));
	wire_put_bytes(op, CONSUME_TAG, span_str(options->tag));
	wire_put_number(op, CONSUME_CREDIT_MESSAGES, consumer->granted_messages);
	wire_put_number(op, CONSUME_CREDIT_BYTES, consumer->granted_bytes);
}

static void consumer_append(struct muxc_channel *channel, struct consumer *consumer)
{
	struct consumer **at = &channel->consumers;

	while (*at)
		at = &(*at)->next;
	*at = consumer;
}

static int consumer_options_copy(struct muxc_consumer_options *to, const struct muxc_consumer_options *from,
				 struct muxc_error *ret_error)
{
	int r;

	r = struct_take(to, sizeof(*to), from, "muxc_consumer_options", ret_error);
	if (r < 0)
		return r;
	if (!to->on_message)
		return error_set(ret_error, -EINVAL, "a consumer needs on_message");
	if (to->flags & ~(unsigned int)(MUXC_NO_LOCAL | MUXC_NO_ACK | MUXC_CONSUME_EXCLUSIVE))
		return error_set(ret_error, -EINVAL, "unknown flags of a consumer: %#x", to->flags);
	if (!text_fits(to->queue, "name of the queue", ret_error) ||
	    !text_fits(to->tag, "consumer tag", ret_error))
		return -EINVAL;
	return 0;
}

int muxc_consume(struct muxc_channel *channel, const struct muxc_consumer_options *options,
		 uint32_t *ret_consumer, uint64_t timeout_usec, struct muxc_error *ret_error)
{
	struct call call = {.channel = channel, .timeout_usec = timeout_usec, .error = ret_error};
	struct muxc_consumer_options copy;
	struct consumer *consumer;
	uint32_t id;
	int r;

	r = consumer_options_copy(&copy, options, ret_error);
	if (r < 0)
		return r;
	consumer = consumer_new(&copy);
	if (!consumer)
		return error_set(ret_error, -ENOMEM, "no memory");
	r = call_begin(&call, MUXD__V1__CLIENT_FRAME__OP_CONSUME);
	if (r < 0) {
		consumer_free(consumer);
		return r;
	}
	/* In the list before the request is sent: messages may come right behind its answer. */
	id = ++channel->last_consumer;
	consumer->id = id;
	consumer_append(channel, consumer);
	call.request->consumer = id;
	put_consume(&consumer->op, channel, &copy, consumer);
	put_start(&call.op, &copy, consumer);
	call.op.failed |= buf_failed(&consumer->op);
	r = call_end(&call);
	call_free(&call);
	if (r == 0 && ret_consumer)
		*ret_consumer = id;
	return r;
}

int muxc_cancel(struct muxc_channel *channel, uint32_t consumer, uint64_t timeout_usec,
		struct muxc_error *ret_error)
{
	struct call call = {.channel = channel, .timeout_usec = timeout_usec, .error = ret_error};
	const struct consumer *found;
	bool done;
	int r;

	r = call_begin(&call, MUXD__V1__CLIENT_FRAME__OP_CANCEL);
	if (r < 0)
		return r;
	found = consumer_find(channel, consumer);
	if (!found) {
		call_abort(&call);
		return error_set(ret_error, -ENOENT, "the channel has no consumer %u", consumer);
	}
	/* muxd is away or left, and will never hear of it, or has been told. */
	done = !channel->live || found->leaving;
	/* From here on none of its messages is handled; those that came go back. */
	events_requeue(channel, consumer);
	consumer_remove(channel, consumer);
	if (done) {
		call_abort(&call);
		return 0;
	}
	wire_put_number(&call.op, CANCEL_CONSUMER, consumer);
	r = call_end(&call);
	call_free(&call);
	return r;
}

int muxc_consumer_get_tag(struct muxc_channel *channel, uint32_t consumer, char *buffer, size_t buffer_size)
{
	const struct consumer *found;
	int r;

	if (!buffer || buffer_size == 0)
		return -EINVAL;
	r = channel_enter(channel, NULL);
	if (r < 0)
		return r;
	found = consumer_find(channel, consumer);
	if (!found || !found->tag[0])
		r = -ENOENT;
	else
		r = snprintf(buffer, buffer_size, "%s", found->tag);
	if (r >= 0 && (size_t)r >= buffer_size)
		r = -ENOBUFS;
	channel_leave(channel);
	return r;
}
