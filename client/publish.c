/*
 * Publishing and its credit.
 *
 * A publish costs one message and the bytes of its header and body, of totals
 * that muxd grants since the session began. Who finds too little credit asks
 * with Want and waits in line: first come, first served, so that a large
 * message is not overtaken for ever by small ones. The head of the line waits
 * for muxd, the others for the head.
 *
 * The header is written by hand straight into the output; see wire.h.
 */
#include "client/internal.h"

#include <errno.h>
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

void credit_update(struct muxc *c, uint64_t messages, uint64_t bytes)
{
	if (messages > c->credit_messages)
		c->credit_messages = messages;
	if (bytes > c->credit_bytes)
		c->credit_bytes = bytes;
	if (c->credit_first && !c->loop)
		(void)pthread_cond_signal(&c->credit_first->cond);
}

static bool credit_suffices(const struct muxc *c, uint64_t cost)
{
	return c->used_messages < c->credit_messages && cost <= c->credit_bytes - c->used_bytes;
}

/* Asks for enough for one publish of this cost; once. */
static int credit_want(struct muxc *c, uint64_t cost)
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
	if (c->credit_first && !c->loop)
		(void)pthread_cond_signal(&c->credit_first->cond);
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
		if (c->credit_first == waiter && credit_suffices(c, cost))
			return 0;
		if (late)
			return error_set(ret_error, -ETIMEDOUT,
					 "muxd has not granted credit for this publish in time");
		if (c->credit_first == waiter && credit_want(c, cost) < 0)
			return error_set(ret_error, -ENOMEM, "no memory");
		late = conn_wait(c, &waiter->cond, deadline) < 0;
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
	if (r < 0 || (!c->credit_first && credit_suffices(c, cost)))
		return r;
	if (out->flags & MUXC_NONBLOCK) {
		if (!c->credit_first && credit_want(c, cost) == 0)
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

static int outgoing_send(const struct outgoing *out)
{
	struct muxc *c = out->channel->c;
	size_t len_before = buf_len(&c->out);
	int r;

	outgoing_put(out, &c->out);
	if (buf_failed(&c->out)) {
		c->out.failed = false;
		buf_truncate(&c->out, len_before);
		return -ENOMEM;
	}
	r = out_body(c, out->body, len_before);
	if (r < 0)
		return r;
	c->used_messages++;
	c->used_bytes += out->header_size + out->body.len;
	out->channel->outcomes.published++;
	out_policy(c, out->flags & MUXC_MORE);
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
		r = outgoing_send(out);
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
