/*
 * Output. Everything to be sent is appended to one buffer under the lock, so
 * frames never interleave. Who sends it, and when, decides the throughput:
 *
 *  - loop mode: muxc_process(), muxc_flush() and what waits send; before that
 *    only a large buffer is sent.
 *  - threaded mode: the thread that queued sends at once, as long as it does
 *    so seldom: `direct_budget` sends between two inputs. In a burst the rest
 *    is left to the I/O thread, which sends it at its next input or within
 *    TICK_USEC, so many publishes or acknowledgements share one system call
 *    and nobody who waits for an answer waits longer: who waits flushes first.
 *
 * When the socket is full the I/O thread (or the program's loop) waits for it.
 * When the peer reads no more, output is dropped; the end is found by reading.
 */
#include "config.h"

#include "client/out.h"
#include "client/chan.h"
#include "client/conn.h"
#include "client/consume.h"
#include "client/error.h"
#include "client/io.h"
#include "client/wire.h"

#include "proto/buf.h"
#include "proto/frame.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

static void out_drop(struct muxc *c)
{
	buf_consume(&c->out, buf_len(&c->out));
}

static bool out_gone(struct muxc *c, int err)
{
	if (err == EAGAIN || err == EINTR)
		return false;
	c->out_broken = true;
	out_drop(c);
	return true;
}

static void out_set_blocked(struct muxc *c)
{
	if (!c->out_blocked)
		io_wake(c);
	c->out_blocked = true;
}

static void emit_settles(struct muxc *c)
{
	struct muxc_channel *channel;

	while ((channel = c->dirty)) {
		c->dirty = channel->next_dirty;
		channel->dirty = false;
		if (settles_emit(channel) < 0)
			conn_fail(c, -ENOMEM, "no memory to acknowledge");
		channel_unref(channel);
	}
}

void out_flush(struct muxc *c)
{
	struct span out;
	ssize_t n;

	emit_settles(c);
	if (c->state == CONN_ENDED || c->out_broken || c->fd < 0)
		out_drop(c);
	while (buf_len(&c->out) > 0) {
		out = buf_span(&c->out);
		n = send(c->fd, out.data, out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			c->out_sent += (size_t)n;
			buf_consume(&c->out, (size_t)n);
			continue;
		}
		if (out_gone(c, errno))
			break;
		if (errno == EAGAIN) {
			out_set_blocked(c);
			return;
		}
	}
	c->out_blocked = false;
	if (c->out.capacity > KEEP_BYTES)
		buf_release(&c->out);
}

static void out_later(struct muxc *c)
{
	if (c->loop || c->tick_armed)
		return;
	c->tick_armed = true;
	c->tick_usec = now_usec() + TICK_USEC;
	io_wake(c);
}

void out_policy(struct muxc *c, bool more)
{
	if (c->out_blocked)
		return;
	if (buf_len(&c->out) >= OUT_DIRECT_BYTES) {
		out_flush(c);
		return;
	}
	if (c->loop)
		return;
	/* While muxd is left the I/O thread looks what is still under way. */
	if (!more && c->direct_budget > 0 && !c->link.moving) {
		c->direct_budget--;
		out_flush(c);
		return;
	}
	out_later(c);
}

int out_frame(struct muxc *c, const struct frame_head *head, struct span op)
{
	struct buf *out = &c->out;
	size_t len_before = buf_len(out), len;

	len = wire_varint_size((uint64_t)head->op << 3) + wire_varint_size(op.len) + op.len;
	len += head->request ? wire_number_size(head->request) : 0;
	len += head->channel ? wire_number_size(head->channel) : 0;
	len += head->deadline_ms ? wire_number_size(head->deadline_ms) : 0;
	if (len > IPC_HEADER_MAX)
		return -EMSGSIZE;
	ipc_frame_prefix(out, len, 0);
	wire_put_nonzero(out, WIRE_CLIENT_REQUEST, head->request);
	wire_put_nonzero(out, WIRE_CLIENT_CHANNEL, head->channel);
	wire_put_nonzero(out, WIRE_CLIENT_DEADLINE_MS, head->deadline_ms);
	wire_put_bytes(out, head->op, op);
	if (!buf_failed(out))
		return 0;
	out->failed = false;
	buf_truncate(out, len_before);
	return -ENOMEM;
}

/* Sends the buffer and the body behind it in one call; returns how much of the body the socket took. */
static size_t send_with_body(struct muxc *c, struct span body)
{
	struct span out = buf_span(&c->out);
	struct iovec parts[2] = {{(void *)(uintptr_t)out.data, out.len},
				 {(void *)(uintptr_t)body.data, body.len}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	ssize_t n;

	n = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0) {
		if (out_gone(c, errno))
			return body.len;
		return 0;
	}
	c->out_sent += (size_t)n;
	buf_consume(&c->out, (size_t)n);
	return (size_t)n > out.len ? (size_t)n - out.len : 0;
}

int out_body(struct muxc *c, struct span body, size_t len_before)
{
	if (body.len > BODY_COPY_MAX && !c->out_blocked && !c->out_broken && c->state != CONN_ENDED) {
		if (!buf_reserve(&c->out, body.len))
			goto no_memory;
		body = span_skip(body, send_with_body(c, body));
	}
	if (c->out_broken)
		return 0;
	buf_append_span(&c->out, body);
	if (!buf_failed(&c->out))
		return 0;

no_memory:
	c->out.failed = false;
	buf_truncate(&c->out, len_before);
	return -ENOMEM;
}

int muxc_flush(struct muxc *c)
{
	int r;

	r = conn_enter(c, NULL);
	if (r < 0)
		return r;
	out_flush(c);
	r = buf_len(&c->out) > 0;
	conn_leave(c);
	return r;
}
