/*
 * A connection: bytes to frames, frames to channels; its errors, heartbeats
 * and end.
 *
 * Ending never frees: channels are emptied (conn_release), and the objects go
 * when the owner frees the connection, so that a handler deep in the stack
 * may end it.
 */
#include "tests/broker/engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define HANDSHAKE_USEC (10 * USEC_PER_SEC)
#define CLOSING_USEC (10 * USEC_PER_SEC) /* how long close-ok may take */

void bk_conn_touch(struct broker_conn *conn)
{
	struct broker *broker = conn->broker;

	conn->last_output = broker->now;
	if (broker->options.wake)
		broker->options.wake(conn, broker->options.wake_context);
}

void bk_conn_append(struct broker_conn *conn, uint16_t channel, const struct amqc_method *method)
{
	if (amqc_method_append(&conn->out, channel, method) == AMQC_OK)
		bk_conn_touch(conn);
}

/* ---- time ---- */

static void conn_beat(struct timer *timer, struct mono now)
{
	struct broker_conn *conn = container_of(timer, struct broker_conn, beat);
	uint64_t half_usec = conn->heartbeat_sec * USEC_PER_SEC / 2;

	if (conn->state != CONN_RUNNING)
		return;
	if (mono_since_usec(now, conn->last_output) >= half_usec) {
		amqc_heartbeat_append(&conn->out);
		bk_conn_touch(conn);
	}
	bk_broker_set_timer(conn->broker, timer, mono_add_usec(conn->last_output, half_usec));
}

static void conn_silent(struct timer *timer, struct mono now)
{
	struct broker_conn *conn = container_of(timer, struct broker_conn, silence);
	uint64_t limit_usec = 2 * conn->heartbeat_sec * USEC_PER_SEC;

	if (conn->state == CONN_CLOSING) {
		conn->state = CONN_CLOSED;
		bk_conn_touch(conn);
	} else if (conn->state != CONN_RUNNING) {
		bk_conn_shut(conn, "handshake timeout");
	} else if (conn->blocked) {
		bk_broker_set_timer(conn->broker, timer, mono_add_usec(now, limit_usec));
	} else if (mono_since_usec(now, conn->last_input) >= limit_usec) {
		bk_conn_shut(conn, "missed heartbeats from client, timeout: %us", conn->heartbeat_sec);
	} else {
		bk_broker_set_timer(conn->broker, timer, mono_add_usec(conn->last_input, limit_usec));
	}
}

void bk_conn_arm(struct broker_conn *conn)
{
	struct broker *broker = conn->broker;
	uint64_t interval_usec = conn->heartbeat_sec * USEC_PER_SEC;

	timerq_clear(&broker->timers, &conn->silence);
	if (interval_usec == 0)
		return;
	bk_broker_set_timer(broker, &conn->beat, mono_add_usec(broker->now, interval_usec / 2));
	bk_broker_set_timer(broker, &conn->silence, mono_add_usec(broker->now, 2 * interval_usec));
}

/* ---- beginning and end ---- */

struct broker_conn *broker_conn_new(struct broker *broker, void *user, struct mono now)
{
	struct broker_conn *conn = bk_xcalloc(sizeof(*conn));

	broker->now = now;
	conn->broker = broker;
	conn->user = user;
	conn->id = ++broker->conn_ids;
	conn->frame_max = AMQC_FRAME_SIZE_MIN;
	conn->last_input = now;
	conn->last_output = now;
	list_init(&conn->exclusive_queues);
	timer_init(&conn->beat, conn_beat);
	timer_init(&conn->silence, conn_silent);
	list_append(&broker->conns, &conn->node);
	bk_broker_set_timer(broker, &conn->silence, mono_add_usec(now, HANDSHAKE_USEC));
	return conn;
}

void bk_conn_release(struct broker_conn *conn)
{
	struct queue *queue;

	for (size_t i = 0; i < conn->channel_capacity; i++)
		if (conn->channels[i])
			bk_channel_release(conn->channels[i]);
	conn->channel_count = 0;
	while ((queue = list_first(&conn->exclusive_queues, struct queue, in_owner)))
		bk_queue_delete(queue);
	timerq_clear(&conn->broker->timers, &conn->beat);
}

void bk_conn_shut(struct broker_conn *conn, const char *format, ...)
{
	char text[512];
	va_list args;

	if (conn->state == CONN_CLOSED)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!fault_is_set(&conn->reason))
		conn->reason = fault_make(AMQC_REPLY_SUCCESS, "%s", text);
	conn->state = CONN_CLOSED;
	timerq_clear(&conn->broker->timers, &conn->silence);
	bk_conn_release(conn);
	bk_conn_touch(conn);
}

void bk_conn_fail_plain(struct broker_conn *conn, const struct fault *fault)
{
	struct amqc_method close = {.id = AMQC_CONNECTION_CLOSE};

	if (conn->state >= CONN_CLOSING)
		return;
	conn->reason = *fault;
	conn->state = CONN_CLOSING;
	conn->blocked = false;
	close.connection_close =
	    (struct amqc_connection_close){.reply_code = fault->code,
					   .reply_text = fault_text(&conn->reason),
					   .class_id = AMQC_CLASS_ID(conn->current_method),
					   .method_id = AMQC_METHOD_ID(conn->current_method)};
	/* Internal errors name nobody. */
	if (fault->code == AMQC_INTERNAL_ERROR) {
		close.connection_close.class_id = 0;
		close.connection_close.method_id = 0;
	}
	bk_conn_append(conn, 0, &close);
	bk_conn_release(conn);
	bk_broker_set_timer(conn->broker, &conn->silence, mono_add_usec(conn->broker->now, CLOSING_USEC));
}

void bk_conn_fail(struct broker_conn *conn, uint16_t code, const char *format, ...)
{
	struct fault fault;
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fault = fault_make(code, "%s - %s", amqc_reply_name(code), text);
	bk_conn_fail_plain(conn, &fault);
}

void broker_conn_kill(struct broker_conn *conn, struct mono now)
{
	conn->broker->now = now;
	bk_conn_shut(conn, "connection lost");
	buf_deinit(&conn->in);
	buf_deinit(&conn->out);
	bk_broker_settle(conn->broker);
}

struct broker_conn *broker_conn_free(struct broker_conn *conn, struct mono now)
{
	struct broker *broker;

	if (!conn)
		return NULL;
	broker = conn->broker;
	broker->now = now;
	/* Its owner knows; the others may get what goes back. */
	conn->state = CONN_CLOSED;
	bk_conn_release(conn);
	timerq_clear(&broker->timers, &conn->silence);
	for (size_t i = 0; i < conn->channel_capacity; i++)
		if (conn->channels[i])
			bk_channel_free(conn->channels[i]);
	free(conn->channels);
	buf_deinit(&conn->in);
	buf_deinit(&conn->out);
	list_unlink(&conn->node);
	free(conn);
	bk_broker_settle(broker);
	return NULL;
}

/* ---- what the owner asks ---- */

void *broker_conn_user(const struct broker_conn *conn)
{
	return conn->user;
}

uint64_t broker_conn_id(const struct broker_conn *conn)
{
	return conn->id;
}

struct span broker_conn_output(const struct broker_conn *conn)
{
	return buf_span(&conn->out);
}

bool broker_conn_wants_input(const struct broker_conn *conn)
{
	return !conn->blocked;
}

bool broker_conn_closed(const struct broker_conn *conn)
{
	return conn->state == CONN_CLOSED;
}

const char *broker_conn_reason(const struct broker_conn *conn)
{
	return conn->reason.text;
}

bool broker_conn_running(const struct broker_conn *conn)
{
	return conn->state == CONN_RUNNING;
}

/* ---- input ---- */

/* The number of bytes that made frames. */
static size_t conn_frames(struct broker_conn *conn, struct span bytes)
{
	size_t used = 0;

	while (!conn->blocked && conn->state != CONN_CLOSED) {
		struct span rest = span_skip(bytes, used);
		struct amqc_frame frame;
		enum amqc_result result;
		size_t size;

		if (conn->state == CONN_HEADER) {
			if (rest.len < AMQC_PROTOCOL_HEADER_LEN)
				break;
			used += AMQC_PROTOCOL_HEADER_LEN;
			bk_conn_protocol(conn, span_first(rest, AMQC_PROTOCOL_HEADER_LEN));
			continue;
		}
		result = amqc_frame_peek(rest, conn->frame_max, &frame, &size);
		if (result == AMQC_INCOMPLETE)
			break;
		if (result != AMQC_OK) {
			bk_conn_bad_frame(conn, rest, result);
			return bytes.len;
		}
		used += size;
		bk_conn_frame(conn, &frame);
		bk_broker_settle(conn->broker);
	}
	return conn->state == CONN_CLOSED ? bytes.len : used;
}

static void conn_run(struct broker_conn *conn)
{
	struct broker *broker = conn->broker;
	struct channel *channel;

	if (buf_len(&conn->in) > 0)
		buf_consume(&conn->in, conn_frames(conn, buf_span(&conn->in)));
	while ((channel = list_first(&broker->owing, struct channel, owing)))
		bk_channel_flush_confirms(channel);
}

void broker_conn_feed(struct broker_conn *conn, struct span bytes, struct mono now)
{
	size_t used = 0;

	conn->broker->now = now;
	conn->last_input = now;
	if (conn->state == CONN_CLOSED)
		return;
	/* Without a copy, as long as frames come whole. */
	if (buf_len(&conn->in) == 0)
		used = conn_frames(conn, bytes);
	buf_append_span(&conn->in, span_skip(bytes, used));
	if (buf_failed(&conn->in))
		abort();
	conn_run(conn);
}

void broker_conn_sent(struct broker_conn *conn, size_t count, struct mono now)
{
	conn->broker->now = now;
	buf_consume(&conn->out, count);
	if (!conn->stalled || buf_len(&conn->out) > OUTPUT_LOW_BYTES)
		return;
	conn->stalled = false;
	if (conn->state == CONN_RUNNING)
		for (size_t i = 0; i < conn->channel_capacity; i++)
			if (conn->channels[i])
				bk_channel_wake_consumers(conn->channels[i]);
	bk_broker_settle(conn->broker);
}

void bk_conn_block(struct broker_conn *conn)
{
	struct amqc_method method = {.id = AMQC_CONNECTION_BLOCKED};

	conn->blocked = true;
	method.connection_blocked.reason = bk_name_span(&conn->broker->block_reason);
	if (conn->cap_blocked)
		bk_conn_append(conn, 0, &method);
}

void bk_conn_resume(struct broker_conn *conn)
{
	struct amqc_method method = {.id = AMQC_CONNECTION_UNBLOCKED};

	if (!conn->blocked)
		return;
	conn->blocked = false;
	conn->last_input = conn->broker->now;
	if (conn->cap_blocked)
		bk_conn_append(conn, 0, &method);
	conn_run(conn);
	bk_conn_touch(conn);
}
