/*
 * Publishing and its credit.
 *
 * A publish costs one message and the bytes of its header and body, of totals
 * that muxd grants since the session began. Who finds too little credit asks
 * with Want and waits in line: first come, first served, so that a large
 * message is not overtaken for ever by small ones. The head of the line waits
 * for muxd, the others for the head.
 *
 * The header is written by hand; see wire.h. Most are kept (replay.c), and are
 * copied from there to the output.
 */
#include "config.h"

#include "client/publish.h"
#include "client/chan.h"
#include "client/conn.h"
#include "client/error.h"
#include "client/io.h"
#include "client/kept.h"
#include "client/link.h"
#include "client/msg.h"
#include "client/out.h"
#include "client/replay.h"
#include "client/wire.h"

#include "proto/buf.h"
#include "proto/frame.h"
#include "proto/muxd.pb-c.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CREDIT_MESSAGES 1u /* fields of muxd.v1.Want */
#define CREDIT_BYTES 2u

struct outgoing {
	struct muxc_channel *channel;
	struct span exchange;
	struct span routing_key;
	struct span body;
	const struct muxc_message *message;
	unsigned int flags;
	uint64_t timeout_usec;
	uint32_t deadline_ms;
	size_t properties_size; /* of the encoded Properties */
	size_t op_size;		/* of the encoded Publish */
	size_t header_size;	/* of the whole ClientFrame */
};

/* ------------------------------------------------------------------- credit */

void credit_wake(struct muxc *c)
{
	struct credit_waiter *waiter;

	if (c->loop)
		return;
	for (waiter = c->credit_first; waiter; waiter = waiter->next)
		(void)pthread_cond_signal(&waiter->cond);
}

void credit_wake_first(struct muxc *c)
{
	if (c->credit_first && !c->loop)
		(void)pthread_cond_signal(&c->credit_first->cond);
}

void credit_reset(struct muxc *c)
{
	c->credit_messages = CREDIT_STANDING_MESSAGES;
	c->credit_bytes = CREDIT_STANDING_BYTES;
	c->used_messages = c->used_bytes = 0;
	c->wanted_messages = c->wanted_bytes = 0;
}

void credit_update(struct muxc *c, uint64_t messages, uint64_t bytes)
{
	if (messages > c->credit_messages)
		c->credit_messages = messages;
	if (bytes > c->credit_bytes)
		c->credit_bytes = bytes;
	credit_wake_first(c);
}

bool credit_suffices(const struct muxc *c, uint64_t cost)
{
	return c->used_messages < c->credit_messages && cost <= c->credit_bytes - c->used_bytes;
}

int credit_want(struct muxc *c, uint64_t cost)
{
	struct frame_head head = {.op = MUXD__V1__CLIENT_FRAME__OP_WANT};
	uint64_t messages = c->used_messages + 1, bytes = c->used_bytes + cost;
	struct buf op = BUF_INIT;
	int r;

	if (messages <= c->wanted_messages && bytes <= c->wanted_bytes)
		return 0;
	wire_put_number(&op, CREDIT_MESSAGES, messages);
	wire_put_number(&op, CREDIT_BYTES, bytes);
	r = buf_failed(&op) ? -ENOMEM : out_frame(c, &head, buf_span(&op));
	buf_deinit(&op);
	if (r < 0)
		return r;
	c->wanted_messages = messages;
	c->wanted_bytes = bytes;
	return 0;
}

static void line_join(struct muxc *c, struct credit_waiter *waiter)
{
	waiter->next = NULL;
	if (c->credit_last)
		c->credit_last->next = waiter;
	else
		c->credit_first = waiter;
	c->credit_last = waiter;
}

static void line_leave(struct muxc *c, struct credit_waiter *waiter)
{
	struct credit_waiter **at, *previous = NULL;

	for (at = &c->credit_first; *at != waiter; at = &(*at)->next)
		previous = *at;
	*at = waiter->next;
	if (c->credit_last == waiter)
		c->credit_last = previous;
	credit_wake_first(c);
}

/* Whether the channel's publishes go to the socket, and not to what is kept for it. */
static bool goes_out(const struct muxc_channel *channel)
{
	return link_serves(channel->c, channel) && channel->live && channel->restoring == 0;
}

/*
 * Whether a publish need not wait. While muxd is away all are taken that can be
 * kept, whatever credit there was; afterwards they wait for what was kept.
 */
static bool may_publish(const struct muxc_channel *channel, uint64_t cost)
{
	const struct muxc *c = channel->c;

	if (c->link.reconnects && !kept_has_room(c, cost))
		return false;
	if (!goes_out(channel))
		return c->link.reconnects;
	return !channel->pending && !c->link.starved && credit_suffices(c, cost);
}

static int ask_for_credit(const struct muxc_channel *channel, uint64_t cost)
{
	const struct muxc *c = channel->c;

	if (!goes_out(channel) || channel->pending || c->link.starved || credit_suffices(c, cost))
		return 0;
	return credit_want(channel->c, cost);
}

static int outgoing_check(const struct outgoing *out, struct muxc_error *ret_error)
{
	const struct muxc *c = out->channel->c;
	int r;

	r = channel_usable(out->channel, ret_error);
	if (r < 0)
		return r;
	if (c->message_max && out->body.len > c->message_max)
		return error_set(ret_error, -EMSGSIZE, "the message has %zu bytes, muxd takes at most %llu",
				 out->body.len, (unsigned long long)c->message_max);
	return 0;
}

static int wait_in_line(const struct outgoing *out, struct credit_waiter *waiter,
			struct muxc_error *ret_error)
{
	struct muxc *c = out->channel->c;
	uint64_t cost = out->header_size + out->body.len;
	uint64_t deadline = deadline_after(out->timeout_usec ? out->timeout_usec : c->request_timeout_usec);
	bool late = false;
	int r;

	for (;;) {
		r = outgoing_check(out, ret_error);
		if (r < 0)
			return r;
		if (c->credit_first == waiter && may_publish(out->channel, cost))
			return 0;
		if (late)
			return error_set(ret_error, -ETIMEDOUT,
					 "muxd has not granted credit for this publish in time");
		if (c->credit_first == waiter && ask_for_credit(out->channel, cost) < 0)
			return error_set(ret_error, -ENOMEM, "no memory");
		out->channel->waiters++;
		late = conn_wait(c, &waiter->cond, deadline) < 0;
		out->channel->waiters--;
	}
}

/* Waits until the publish may be sent. */
static int credit_get(const struct outgoing *out, struct muxc_error *ret_error)
{
	struct muxc *c = out->channel->c;
	uint64_t cost = out->header_size + out->body.len;
	struct credit_waiter waiter;
	int r;

	r = outgoing_check(out, ret_error);
	if (r < 0 || (!c->credit_first && may_publish(out->channel, cost)))
		return r;
	if (out->flags & MUXC_NONBLOCK) {
		if (!c->credit_first && ask_for_credit(out->channel, cost) == 0)
			out_policy(c, false);
		return error_set(ret_error, -EAGAIN, "there is no credit to publish now");
	}
	if (!c->loop && cond_init_monotonic(&waiter.cond) < 0)
		return error_set(ret_error, -ENOMEM, "no memory");
	line_join(c, &waiter);
	r = wait_in_line(out, &waiter, ret_error);
	line_leave(c, &waiter);
	if (!c->loop)
		(void)pthread_cond_destroy(&waiter.cond);
	return r;
}

/* ----------------------------------------------------------------- encoding */

static void outgoing_measure(struct outgoing *out)
{
	out->properties_size = out->message ? properties_size(out->message) : 0;
	out->op_size = (out->exchange.len ? wire_bytes_size(out->exchange.len) : 0) +
		       (out->routing_key.len ? wire_bytes_size(out->routing_key.len) : 0) +
		       (out->flags & MUXC_MANDATORY ? wire_number_size(1) : 0) +
		       (out->properties_size ? wire_bytes_size(out->properties_size) : 0);
	out->header_size = wire_number_size(out->channel->number) +
			   (out->deadline_ms ? wire_number_size(out->deadline_ms) : 0) +
			   wire_bytes_size(out->op_size);
}

static void outgoing_put(const struct outgoing *out, struct buf *to)
{
	ipc_frame_prefix(to, out->header_size, out->body.len);
	wire_put_number(to, WIRE_CLIENT_CHANNEL, out->channel->number);
	wire_put_nonzero(to, WIRE_CLIENT_DEADLINE_MS, out->deadline_ms);
	wire_put_tag(to, MUXD__V1__CLIENT_FRAME__OP_PUBLISH, WIRE_BYTES);
	wire_put_varint(to, out->op_size);
	if (out->exchange.len)
		wire_put_bytes(to, WIRE_PUBLISH_EXCHANGE, out->exchange);
	if (out->routing_key.len)
		wire_put_bytes(to, WIRE_PUBLISH_ROUTING_KEY, out->routing_key);
	if (out->flags & MUXC_MANDATORY)
		wire_put_number(to, WIRE_PUBLISH_MANDATORY, 1);
	if (out->properties_size) {
		wire_put_tag(to, WIRE_PUBLISH_PROPERTIES, WIRE_BYTES);
		wire_put_varint(to, out->properties_size);
		properties_put(to, out->message);
	}
}

/* Encoded, to be sent and kept. NULL: no memory. */
static struct kept *outgoing_keep(const struct outgoing *out)
{
	size_t frame_len = IPC_FRAME_PREFIX + out->header_size;
	struct kept *kept = replay_reserve(out->channel, frame_len + out->body.len);
	struct buf to = BUF_INIT;

	if (!kept)
		return NULL;
	/* It has just the size: nothing is allocated. */
	to.data = kept->bytes;
	to.capacity = frame_len;
	outgoing_put(out, &to);
	if (out->body.len)
		memcpy(kept->bytes + frame_len, out->body.data, out->body.len);
	kept->op_len = (uint32_t)out->op_size;
	kept->op_at = (uint32_t)(frame_len - out->op_size);
	kept->body_len = (uint32_t)out->body.len;
	kept->since_usec = now_coarse_usec();
	kept->deadline_usec =
	    kept->since_usec + (out->deadline_ms ? (uint64_t)out->deadline_ms * 1000 : OUTCOME_TIMEOUT_USEC);
	return kept;
}

static int append_frame(const struct outgoing *out, const struct kept *kept)
{
	struct muxc *c = out->channel->c;
	size_t len_before = buf_len(&c->out);

	if (kept && out->body.len <= BODY_COPY_MAX)
		buf_append(&c->out, kept->bytes, IPC_FRAME_PREFIX + out->header_size + out->body.len);
	else if (kept)
		buf_append(&c->out, kept->bytes, IPC_FRAME_PREFIX + out->header_size);
	else
		outgoing_put(out, &c->out);
	if (buf_failed(&c->out)) {
		c->out.failed = false;
		buf_truncate(&c->out, len_before);
		return -ENOMEM;
	}
	return kept && out->body.len <= BODY_COPY_MAX ? 0 : out_body(c, out->body, len_before);
}

static int outgoing_count(const struct outgoing *out, struct kept *kept)
{
	struct muxc *c = out->channel->c;
	int r = 0;

	if (kept) {
		replay_commit(out->channel, kept);
		c->unsent_count--;
	} else {
		r = replay_skip(out->channel);
	}
	if (r == 0)
		r = replay_sent(out->channel, out->channel->outcomes.published);
	if (r < 0)
		conn_fail(c, r, "no memory to count publishes");
	c->used_messages++;
	c->used_bytes += out->header_size + out->body.len;
	return r;
}

/* A transaction is never sent a second time. */
static bool is_kept(const struct muxc_channel *channel)
{
	return channel->c->link.reconnects && !channel->tx;
}

static int outgoing_send(const struct outgoing *out)
{
	struct muxc *c = out->channel->c;
	struct kept *kept = NULL;
	int r;

	if (is_kept(out->channel)) {
		kept = outgoing_keep(out);
		if (!kept)
			return -ENOMEM;
		kept->position = c->out_sent + buf_len(&c->out);
	}
	r = append_frame(out, kept);
	if (r < 0) {
		if (kept)
			kept_discard(c, kept);
		return r;
	}
	r = outgoing_count(out, kept);
	out->channel->tx_used = true;
	if (r == 0)
		out_policy(c, out->flags & MUXC_MORE);
	return r;
}

/* It will be sent when the channel is back. */
static int outgoing_wait(const struct outgoing *out)
{
	struct muxc *c = out->channel->c;
	struct kept *kept = outgoing_keep(out);

	if (!kept)
		return -ENOMEM;
	replay_commit(out->channel, kept);
	if (kept->deadline_usec < c->link.expire_usec) {
		c->link.expire_usec = kept->deadline_usec;
		io_wake(c);
	}
	return 0;
}

/* --------------------------------------------------------------- publishing */

static int outgoing_publish(struct outgoing *out, uint64_t *ret_number, struct muxc_error *ret_error)
{
	int r;

	if (out->exchange.len > SHORT_TEXT_MAX || out->routing_key.len > SHORT_TEXT_MAX)
		return error_set(ret_error, -EINVAL,
				 "the exchange or the routing key is longer than %u bytes", SHORT_TEXT_MAX);
	if (out->flags & ~(unsigned int)(MUXC_MANDATORY | MUXC_NONBLOCK | MUXC_MORE))
		return error_set(ret_error, -EINVAL, "unknown flags of a publish: %#x", out->flags);
	r = channel_enter(out->channel, ret_error);
	if (r < 0)
		return r;
	outgoing_measure(out);
	if (out->header_size > IPC_HEADER_MAX || out->body.len > IPC_PAYLOAD_MAX)
		r = error_set(ret_error, -EMSGSIZE, "the message is larger than a frame can be");
	if (r == 0)
		r = credit_get(out, ret_error);
	if (r == 0) {
		r = goes_out(out->channel) ? outgoing_send(out) : outgoing_wait(out);
		if (r < 0)
			error_set(ret_error, r, "no memory");
		else if (ret_number)
			*ret_number = out->channel->outcomes.published;
	}
	channel_leave(out->channel);
	return r;
}

static uint32_t usec_to_ms(uint64_t usec)
{
	uint64_t ms = usec / 1000 + (usec % 1000 != 0);

	return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

int muxc_publish_full(struct muxc_channel *channel, const struct muxc_publication *publication,
		      uint64_t timeout_usec, uint64_t *ret_number, struct muxc_error *ret_error)
{
	struct muxc_publication copy;
	struct outgoing out = {.channel = channel, .timeout_usec = timeout_usec};
	int r;

	if (!channel || !publication)
		return error_set(ret_error, -EINVAL, "no channel or no publication was given");
	r = struct_take(&copy, sizeof(copy), publication, "muxc_publication", ret_error);
	if (r < 0)
		return r;
	out.exchange = span_str(copy.exchange);
	out.routing_key = copy.routing_key_len ? text_span(copy.routing_key, copy.routing_key_len)
					       : span_str(copy.routing_key);
	out.message = copy.message;
	out.flags = copy.flags;
	if (copy.body)
		out.body = span_make(copy.body, copy.body_len);
	else if (copy.message)
		out.body = copy.message->body;
	out.deadline_ms = usec_to_ms(copy.outcome_timeout_usec ? copy.outcome_timeout_usec
							       : channel->c->outcome_timeout_usec);
	return outgoing_publish(&out, ret_number, ret_error);
}

int muxc_publish(struct muxc_channel *channel, const char *exchange, const char *routing_key,
		 const struct muxc_message *message, unsigned int flags, uint64_t *ret_number)
{
	struct muxc_publication publication = {
	    .size = sizeof(publication),
	    .exchange = exchange,
	    .routing_key = routing_key,
	    .message = message,
	    .flags = flags,
	};

	return muxc_publish_full(channel, &publication, 0, ret_number, NULL);
}
