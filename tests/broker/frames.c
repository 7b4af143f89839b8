/*
 * What a frame means to a connection, and the errors that end it.
 */
#include "tests/broker/engine.h"

#include <stdio.h>
#include <stdlib.h>

/* Bytes as Erlang prints them, "<<1,2>>", cut. */
static const char *print_octets(struct span bytes, char *text, size_t size)
{
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < bytes.len && len + 5 < size; i++)
		len += (size_t)snprintf(text + len, size - len, "%s%u", i ? "," : "", bytes.data[i]);
	return text;
}

void bk_conn_bad_frame(struct broker_conn *conn, struct span input, enum amqc_result result)
{
	uint32_t size = load_be32(input.data + 3);

	conn->current_method = 0;
	if (conn->state < CONN_RUNNING)
		bk_conn_shut(conn, "bad frame in the handshake: %s", amqc_strerror(result));
	else if (result == AMQC_FRAME_SIZE)
		bk_conn_fail(conn, AMQC_FRAME_ERROR, "type %u, all octets = <<>>: {frame_too_large,%u,%u}",
			     input.data[0], size, conn->frame_max - AMQC_FRAME_OVERHEAD);
	else if (result == AMQC_FRAME_BAD_END)
		bk_conn_fail(conn, AMQC_FRAME_ERROR,
			     "type %u, all octets = <<...>>: {invalid_frame_end_marker,%u}", input.data[0],
			     input.data[7 + size]);
	else
		bk_conn_fail(conn, AMQC_FRAME_ERROR, "type %u, all octets = <<...>>: unknown_frame",
			     input.data[0]);
}

static void conn_undecodable(struct broker_conn *conn, struct span payload, enum amqc_result result)
{
	char octets[160];

	if (payload.len < 4) {
		bk_conn_fail(conn, AMQC_FRAME_ERROR, "type 1, all octets = <<%s>>: unknown_frame",
			     print_octets(payload, octets, sizeof(octets)));
		return;
	}
	/* RabbitMQ's reader crashes here, and the socket is gone without a word. */
	if (result == AMQC_UNKNOWN_METHOD || result == AMQC_BAD_FIELD_TYPE || result == AMQC_TOO_DEEP) {
		bk_conn_shut(conn, "cannot decode a method: %s", amqc_strerror(result));
		return;
	}
	conn->current_method = load_be32(payload.data);
	bk_conn_fail(conn, AMQC_FRAME_ERROR, "cannot decode <<%s>>",
		     print_octets(span_skip(payload, 4), octets, sizeof(octets)));
}

static struct channel *conn_channel(struct broker_conn *conn, uint16_t number)
{
	return number < conn->channel_capacity ? conn->channels[number] : NULL;
}

static void conn_open_channel(struct broker_conn *conn, uint16_t number)
{
	struct amqc_method reply = {.id = AMQC_CHANNEL_OPEN_OK};
	const struct broker *broker = conn->broker;

	if (conn->channel_max > 0 && conn->channel_count >= conn->channel_max) {
		conn->current_method = 0;
		bk_conn_fail(conn, AMQC_NOT_ALLOWED,
			     "number of channels opened (%zu) has reached the negotiated channel_max (%u)",
			     conn->channel_count, conn->channel_max);
		return;
	}
	if (broker->options.user_channels > 0 &&
	    broker_channel_count(broker) >= broker->options.user_channels) {
		conn->current_method = 0;
		bk_conn_fail(conn, AMQC_NOT_ALLOWED,
			     "number of channels opened for user '%.*s' has reached the maximum allowed user "
			     "limit of (%u)",
			     broker->user.len, (const char *)broker->user.bytes,
			     broker->options.user_channels);
		return;
	}
	if (number >= conn->channel_capacity) {
		size_t capacity = (size_t)number + 16;

		conn->channels = bk_xrealloc(conn->channels, capacity * sizeof(struct channel *));
		for (size_t i = conn->channel_capacity; i < capacity; i++)
			conn->channels[i] = NULL;
		conn->channel_capacity = capacity;
	}
	conn->channels[number] = bk_channel_new(conn, number);
	conn->channel_count++;
	bk_conn_append(conn, number, &reply);
}

static void conn_drop_channel(struct broker_conn *conn, struct channel *channel)
{
	conn->channels[channel->number] = NULL;
	conn->channel_count--;
	bk_channel_free(channel);
}

static void channel_dispatch(struct broker_conn *conn, uint16_t number, const struct amqc_method *method)
{
	struct amqc_method close_ok = {.id = AMQC_CHANNEL_CLOSE_OK};
	struct channel *channel = conn_channel(conn, number);

	if (!channel) {
		if (method->id == AMQC_CHANNEL_OPEN)
			conn_open_channel(conn, number);
		else
			bk_conn_fail(conn, AMQC_CHANNEL_ERROR, "expected 'channel.open'");
	} else if (method->id == AMQC_CHANNEL_OPEN) {
		bk_conn_fail(conn, AMQC_CHANNEL_ERROR, "second 'channel.open' seen");
	} else if (channel->closing) {
		if (method->id == AMQC_CHANNEL_CLOSE)
			bk_channel_reply(channel, &close_ok);
		else if (method->id == AMQC_CHANNEL_CLOSE_OK)
			conn_drop_channel(conn, channel);
	} else if (method->id == AMQC_CHANNEL_CLOSE) {
		bk_channel_reply(channel, &close_ok);
		conn_drop_channel(conn, channel);
	} else {
		bk_channel_method(channel, method);
	}
}

static void conn_running_method(struct broker_conn *conn, const struct amqc_method *method)
{
	struct amqc_method reply;

	if (method->id == AMQC_CONNECTION_CLOSE) {
		reply.id = AMQC_CONNECTION_CLOSE_OK;
		bk_conn_append(conn, 0, &reply);
		bk_conn_shut(conn, "closed by the client");
	} else if (method->id == AMQC_CONNECTION_UPDATE_SECRET) {
		reply.id = AMQC_CONNECTION_UPDATE_SECRET_OK;
		bk_conn_append(conn, 0, &reply);
	} else {
		bk_conn_fail(conn, AMQC_CHANNEL_ERROR, "unexpected method in connection state running");
	}
}

static void conn_method(struct broker_conn *conn, const struct amqc_frame *frame)
{
	struct amqc_method method;
	enum amqc_result result = amqc_method_decode(frame->payload, &method);

	conn->current_method = 0;
	if (result != AMQC_OK) {
		conn_undecodable(conn, frame->payload, result);
		return;
	}
	if (!bk_method_is_finite(&method)) {
		bk_conn_shut(conn, "cannot decode a method: a number that is not finite");
		return;
	}
	if (!bk_method_is_utf8(&method)) {
		bk_conn_fail(conn, AMQC_FRAME_ERROR, "Malformed UTF-8 in shortstr");
		return;
	}
	conn->current_method = method.id;
	if (frame->channel == 0)
		conn_running_method(conn, &method);
	else
		channel_dispatch(conn, frame->channel, &method);
}

static void conn_running_frame(struct broker_conn *conn, const struct amqc_frame *frame)
{
	struct channel *channel;
	char octets[160];

	if (frame->type == AMQC_FRAME_METHOD) {
		conn_method(conn, frame);
		return;
	}
	conn->current_method = 0;
	if (frame->type == AMQC_FRAME_HEARTBEAT && frame->payload.len > 0)
		bk_conn_fail(conn, AMQC_FRAME_ERROR, "type 8, all octets = <<%s>>: unknown_frame",
			     print_octets(frame->payload, octets, sizeof(octets)));
	else if (frame->type == AMQC_FRAME_HEARTBEAT ? frame->channel != 0 : frame->channel == 0)
		bk_conn_fail(conn, AMQC_UNEXPECTED_FRAME, "type %u, all octets = <<%s>>", frame->type,
			     print_octets(frame->payload, octets, sizeof(octets)));
	if (frame->type == AMQC_FRAME_HEARTBEAT || conn->state != CONN_RUNNING)
		return;
	channel = conn_channel(conn, frame->channel);
	if (!channel)
		bk_conn_fail(conn, AMQC_UNEXPECTED_FRAME,
			     "expected method frame, got non method frame instead");
	else if (!channel->closing)
		bk_channel_content(channel, frame);
}

/* We have sent close. What was on its way is of no use, but its answer, or its own close. */
static void conn_closing_frame(struct broker_conn *conn, const struct amqc_frame *frame)
{
	struct amqc_method method = {.id = AMQC_CONNECTION_CLOSE_OK};
	uint32_t id = frame->type == AMQC_FRAME_METHOD && frame->channel == 0 && frame->payload.len >= 4
			  ? load_be32(frame->payload.data)
			  : 0;

	if (id == AMQC_CONNECTION_CLOSE)
		bk_conn_append(conn, 0, &method);
	if (id == AMQC_CONNECTION_CLOSE || id == AMQC_CONNECTION_CLOSE_OK)
		bk_conn_shut(conn, "closed");
}

void bk_conn_frame(struct broker_conn *conn, const struct amqc_frame *frame)
{
	struct amqc_method method;

	if (conn->state == CONN_RUNNING) {
		conn_running_frame(conn, frame);
	} else if (conn->state == CONN_CLOSING) {
		conn_closing_frame(conn, frame);
	} else if (frame->type == AMQC_FRAME_HEARTBEAT) {
		return;
	} else if (frame->type != AMQC_FRAME_METHOD || frame->channel != 0 ||
		   amqc_method_decode(frame->payload, &method) != AMQC_OK) {
		bk_conn_shut(conn, "unexpected frame in the handshake");
	} else {
		conn->current_method = method.id;
		bk_conn_handshake(conn, &method);
	}
}
