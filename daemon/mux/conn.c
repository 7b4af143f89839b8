#include "daemon/mux/conn.h"

#include "daemon/amqp/reply.h"
#include "daemon/base/list.h"
#include "daemon/base/log.h"

/* Frames dealt with before the handshake is done are bound by this. */
#define HANDSHAKE_FRAME_MAX 131072u

static void conn_timer_fired(struct timer *timer, struct mono now);

void conn_init(struct conn *conn, struct timerq *timers, const struct conn_ops *ops, void *context)
{
	*conn = (struct conn){
	    .state = CONN_IDLE, .out = BUF_INIT, .timers = timers, .ops = ops, .context = context};
	timer_init(&conn->timer, conn_timer_fired);
}

void conn_deinit(struct conn *conn)
{
	timerq_clear(conn->timers, &conn->timer);
	buf_deinit(&conn->out);
}

void conn_reset(struct conn *conn)
{
	timerq_clear(conn->timers, &conn->timer);
	buf_deinit(&conn->out);
	conn->state = CONN_IDLE;
}

void conn_end(struct conn *conn, enum conn_end end, const struct fault *fault)
{
	if (conn->state == CONN_ENDED || conn->state == CONN_IDLE)
		return;
	conn->state = CONN_ENDED;
	timerq_clear(conn->timers, &conn->timer);
	conn->ops->ended(conn->context, end, fault);
}

static void conn_lost(struct conn *conn, struct fault fault)
{
	conn_end(conn, CONN_END_LOST, &fault);
}

/* What is not whole is no handshake: the broker would take it for a mistake, or wait for the rest. */
static void handshake_wrote(struct conn *conn, struct mono now)
{
	if (buf_failed(&conn->out))
		conn_lost(conn, fault_make_retryable(AMQC_RESOURCE_ERROR, "no memory for the handshake"));
	else
		conn_wrote(conn, now);
}

void conn_begin(struct conn *conn, const struct handshake_options *options, struct mono now)
{
	conn_reset(conn);
	conn->state = CONN_HANDSHAKE;
	conn->garbage_seen = false;
	conn->overslept = false;
	conn->last_rx = now;
	handshake_begin(&conn->handshake, options, &conn->out);
	handshake_wrote(conn, now);
}

static void set_timer(struct conn *conn, struct mono due)
{
	conn->due = due;
	timerq_set(conn->timers, &conn->timer, due);
}

/*
 * Heartbeats (specification, section 4.2.7): one is sent when nothing else was
 * for half an interval, and a peer that was silent for two is dead.
 */
static void conn_arm(struct conn *conn, struct mono now)
{
	uint64_t interval = conn->handshake.heartbeat_sec * USEC_PER_SEC;
	struct mono send, dead;

	if (interval == 0)
		return;
	send = mono_add_usec(conn->last_tx, interval / 2);
	dead = mono_add_usec(conn->last_rx, 2 * interval);
	set_timer(conn, mono_min(send, dead));
}

static void conn_timer_fired(struct timer *timer, struct mono now)
{
	struct conn *conn = container_of(timer, struct conn, timer);
	uint64_t interval = conn->handshake.heartbeat_sec * USEC_PER_SEC;
	bool late = mono_since_usec(now, conn->due) >= interval / 2;

	/* This process was stopped: it looks once more before it judges. */
	conn->overslept = late && !conn->overslept;
	if (!conn->overslept && mono_since_usec(now, conn->last_rx) >= 2 * interval) {
		conn_lost(conn,
			  fault_make_retryable(AMQC_CONNECTION_FORCED,
					       "broker sent nothing for two heartbeat intervals (%u s each)",
					       conn->handshake.heartbeat_sec));
		return;
	}
	if (mono_since_usec(now, conn->last_tx) >= interval / 2) {
		/* What cannot be written is no better with a heartbeat behind it. */
		if (buf_len(&conn->out) == 0)
			amqc_heartbeat_append(&conn->out);
		conn_wrote(conn, now);
	}
	if (conn->overslept)
		set_timer(conn, mono_add_usec(now, interval / 4));
	else
		conn_arm(conn, now);
}

static void on_closed_by_broker(struct conn *conn, const struct amqc_connection_close *close)
{
	struct amqc_method reply = {.id = AMQC_CONNECTION_CLOSE_OK};
	struct fault fault =
	    fault_from_broker(close->reply_code, close->reply_text, close->class_id, close->method_id);

	(void)amqc_method_append(&conn->out, 0, &reply);
	fault.retryable = true;
	conn_lost(conn, fault);
}

static void on_open_method(struct conn *conn, const struct amqc_method *method)
{
	switch (method->id) {
	case AMQC_CONNECTION_CLOSE:
		on_closed_by_broker(conn, &method->connection_close);
		return;
	case AMQC_CONNECTION_BLOCKED:
		conn->ops->blocked(conn->context, true, method->connection_blocked.reason);
		return;
	case AMQC_CONNECTION_UNBLOCKED:
		conn->ops->blocked(conn->context, false, SPAN_NULL);
		return;
	case AMQC_CONNECTION_UPDATE_SECRET_OK:
		return;
	default:
		conn_lost(conn, fault_make_retryable(AMQC_COMMAND_INVALID, "broker sent %s on channel 0",
						     amqc_method_name(method->id)));
	}
}

static void on_closing_method(struct conn *conn, const struct amqc_method *method)
{
	struct amqc_method reply = {.id = AMQC_CONNECTION_CLOSE_OK};

	if (method->id == AMQC_CONNECTION_CLOSE_OK)
		conn_end(conn, CONN_END_CLOSED, &FAULT_NONE);
	else if (method->id == AMQC_CONNECTION_CLOSE)
		(void)amqc_method_append(&conn->out, 0, &reply); /* both closed at once */
}

/* The broker has answered what was written before, a password perhaps: it stays in no block. */
static void wipe_written(struct buf *out)
{
	if (!out->data)
		return;
	explicit_bzero(out->data, out->start);
	explicit_bzero(out->data + out->end, out->capacity - out->end);
}

static void on_handshake_method(struct conn *conn, const struct amqc_method *method, struct mono now)
{
	struct fault fault = FAULT_NONE;

	wipe_written(&conn->out);

	switch (handshake_method(&conn->handshake, method, &conn->out, &fault)) {
	case HANDSHAKE_GOES_ON:
		handshake_wrote(conn, now);
		return;
	case HANDSHAKE_COMPLETE:
		conn->state = CONN_OPEN;
		conn_arm(conn, now);
		conn->ops->opened(conn->context);
		return;
	case HANDSHAKE_REFUSED:
		conn_end(conn, CONN_END_REFUSED, &fault);
		return;
	case HANDSHAKE_BROKEN:
		conn_lost(conn, fault);
		return;
	}
}

static void on_channel_zero(struct conn *conn, const struct amqc_frame *frame, struct mono now)
{
	struct amqc_method method;
	enum amqc_result result;

	if (frame->type == AMQC_FRAME_HEARTBEAT)
		return;
	if (frame->type != AMQC_FRAME_METHOD) {
		conn_lost(conn,
			  fault_make_retryable(AMQC_UNEXPECTED_FRAME, "broker sent content on channel 0"));
		return;
	}
	result = amqc_method_decode(frame->payload, &method);
	if (result != AMQC_OK) {
		conn_lost(conn, fault_make_retryable(amqc_reply_code(result), "broker's method: %s",
						     amqc_strerror(result)));
		return;
	}
	switch (conn->state) {
	case CONN_HANDSHAKE:
		on_handshake_method(conn, &method, now);
		return;
	case CONN_OPEN:
		on_open_method(conn, &method);
		return;
	case CONN_CLOSING:
		on_closing_method(conn, &method);
		return;
	case CONN_IDLE:
	case CONN_ENDED:
		return;
	}
}

static void on_frame(struct conn *conn, const struct amqc_frame *frame, struct mono now)
{
	if (frame->channel == 0) {
		on_channel_zero(conn, frame, now);
		return;
	}
	if (conn->state == CONN_OPEN)
		conn->ops->frame(conn->context, frame);
	else if (conn->state == CONN_HANDSHAKE)
		conn_lost(conn,
			  fault_make_retryable(AMQC_CHANNEL_ERROR, "broker used a channel in the handshake"));
}

/* True if the first bytes cannot be an AMQP broker's; then the connection has ended. */
static bool not_amqp(struct conn *conn, struct span bytes)
{
	char text[48];

	if (conn->garbage_seen || bytes.len == 0)
		return false;
	if (bytes.data[0] == AMQC_FRAME_METHOD) {
		conn->garbage_seen = true;
		return false;
	}
	if (bytes.len >= AMQC_PROTOCOL_HEADER_LEN && memcmp(bytes.data, "AMQP", 4) == 0) {
		conn_lost(conn, fault_make_retryable(AMQC_NOT_IMPLEMENTED,
						     "broker speaks AMQP %u.%u.%u and not 0-9-1",
						     bytes.data[5], bytes.data[6], bytes.data[7]));
		return true;
	}
	conn_lost(conn, fault_make_retryable(AMQC_FRAME_ERROR, "peer is not an AMQP server: it sent \"%s\"",
					     log_clean(text, sizeof(text), span_first(bytes, 24))));
	return true;
}

static uint32_t frame_bound(const struct conn *conn)
{
	return conn->state == CONN_HANDSHAKE ? HANDSHAKE_FRAME_MAX : conn->handshake.frame_max;
}

size_t conn_feed(struct conn *conn, struct span bytes, struct mono now)
{
	struct span rest = bytes;

	if (bytes.len > 0)
		conn->last_rx = now;
	/* It may be a protocol header: another version, to be named when it is whole. */
	if (!conn->garbage_seen && bytes.len > 0 && bytes.len < AMQC_PROTOCOL_HEADER_LEN &&
	    bytes.data[0] == 'A')
		return 0;
	if (not_amqp(conn, bytes))
		return bytes.len;
	while (conn->state == CONN_HANDSHAKE || conn->state == CONN_OPEN || conn->state == CONN_CLOSING) {
		struct amqc_frame frame;
		size_t size;
		enum amqc_result result = amqc_frame_peek(rest, frame_bound(conn), &frame, &size);

		if (result == AMQC_INCOMPLETE)
			return bytes.len - rest.len;
		if (result != AMQC_OK) {
			conn_lost(conn, fault_make_retryable(amqc_reply_code(result), "broker's frame: %s",
							     amqc_strerror(result)));
			break;
		}
		rest = span_skip(rest, size);
		on_frame(conn, &frame, now);
	}
	return bytes.len;
}

void conn_close(struct conn *conn, uint16_t code, const char *text)
{
	struct amqc_method close = {.id = AMQC_CONNECTION_CLOSE};

	if (conn->state != CONN_OPEN)
		return;
	close.connection_close.reply_code = code;
	close.connection_close.reply_text = span_str(text);
	(void)amqc_method_append(&conn->out, 0, &close);
	conn->state = CONN_CLOSING;
}
