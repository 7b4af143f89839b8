/*
 * Publishing: reading a publish, checking it, routing it, returning it. And
 * the frames of a content, in either direction.
 */
#include "tests/broker/engine.h"

void bk_content_append(struct channel *channel, const struct amqc_method *method, struct message *message)
{
	struct buf *out = &channel->conn->out;
	size_t mark;

	if (amqc_method_append(out, channel->number, method) != AMQC_OK)
		return;
	mark = amqc_frame_begin(out, AMQC_FRAME_HEADER, channel->number);
	buf_append_span(out, bk_message_header(message));
	amqc_frame_end(out, mark);
	amqc_body_append(out, channel->number, bk_message_body(message), channel->conn->frame_max);
	bk_conn_touch(channel->conn);
}

bool bk_publish_begin(struct channel *channel, const struct amqc_basic_publish *m)
{
	struct incoming *incoming = &channel->incoming;
	struct broker_conn *conn = channel->conn;

	incoming->state = CONTENT_HEADER;
	incoming->mandatory = m->mandatory;
	incoming->bad = false;
	incoming->too_long = false;
	incoming->message = NULL;
	incoming->filled = 0;
	bk_name_set(&incoming->exchange, m->exchange);
	bk_name_set(&incoming->key, m->routing_key);
	if (m->immediate)
		return bk_channel_fail(channel, AMQC_NOT_IMPLEMENTED, "immediate=true");
	if (conn->broker->blocked)
		bk_conn_block(conn);
	return true;
}

void bk_publish_discard(struct channel *channel)
{
	bk_message_unref(channel->incoming.message);
	channel->incoming.message = NULL;
	channel->incoming.state = CONTENT_NONE;
}

static bool publish_body(struct channel *channel, struct span bytes)
{
	struct incoming *incoming = &channel->incoming;

	if (bytes.len > incoming->body_size - incoming->filled) {
		incoming->too_long = true;
		return true;
	}
	if (incoming->message && bytes.len > 0)
		memcpy(bk_message_body_bytes(incoming->message) + incoming->filled, bytes.data, bytes.len);
	incoming->filled += bytes.len;
	return incoming->filled < incoming->body_size || bk_publish_end(channel);
}

static bool publish_header(struct channel *channel, struct span payload)
{
	struct incoming *incoming = &channel->incoming;
	struct amqc_content_header header;

	if (payload.len < 12)
		return bk_channel_fail(channel, AMQC_FRAME_ERROR, "cannot decode content header");
	if (load_be16(payload.data) != AMQC_CLASS_BASIC)
		return bk_channel_fail(channel, AMQC_UNEXPECTED_FRAME,
				       "expected content header for class 60, got one for class %u instead",
				       load_be16(payload.data));
	/* Properties are only looked at when the content is whole. */
	incoming->bad = amqc_content_header_decode(payload, &header) != AMQC_OK ||
			((header.properties.present & AMQC_PROP_HEADERS) &&
			 !bk_table_is_finite(header.properties.headers));
	incoming->body_size = load_be64(payload.data + 4);
	incoming->state = CONTENT_BODY;
	if (incoming->body_size <= MESSAGE_MAX_BYTES)
		incoming->message =
		    bk_message_new(bk_name_span(&incoming->exchange), bk_name_span(&incoming->key), payload,
				   (size_t)incoming->body_size);
	return incoming->body_size > 0 || bk_publish_end(channel);
}

void bk_channel_content(struct channel *channel, const struct amqc_frame *frame)
{
	struct incoming *incoming = &channel->incoming;

	channel->conn->current_method = AMQC_BASIC_PUBLISH;
	if (incoming->state == CONTENT_HEADER && frame->type == AMQC_FRAME_HEADER)
		publish_header(channel, frame->payload);
	else if (incoming->state == CONTENT_BODY && frame->type == AMQC_FRAME_BODY)
		publish_body(channel, frame->payload);
	else if (incoming->state == CONTENT_HEADER)
		bk_channel_fail(channel, AMQC_UNEXPECTED_FRAME,
				"expected content header for class 60, got non content header frame instead");
	else if (incoming->state == CONTENT_BODY)
		bk_channel_fail(channel, AMQC_UNEXPECTED_FRAME,
				"expected content body, got non content body frame instead");
	else {
		channel->conn->current_method = 0;
		bk_channel_fail(channel, AMQC_UNEXPECTED_FRAME,
				"expected method frame, got non method frame instead");
	}
}

static bool check_expiration(struct channel *channel, struct message *message, struct span text)
{
	bool negative = text.len > 1 && text.data[0] == '-';
	size_t first = negative ? 1 : 0, i = first;
	uint64_t value = 0;

	for (; i < text.len && text.data[i] >= '0' && text.data[i] <= '9' && value <= UINT32_MAX; i++)
		value = value * 10 + (uint64_t)(text.data[i] - '0');
	if (i == first)
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
				       "invalid expiration '%.*s': no_integer", SPAN_ARG(text));
	if (value <= UINT32_MAX && i < text.len)
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
				       "invalid expiration '%.*s': {leftover_string,\"%.*s\"}",
				       SPAN_ARG(text), SPAN_ARG(span_skip(text, i)));
	if (negative || value > UINT32_MAX)
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
				       "invalid expiration '%.*s': {%s,%.*s}", SPAN_ARG(text),
				       negative ? "value_negative" : "value_too_large", SPAN_ARG(text));
	message->has_ttl = true;
	message->ttl_usec = value * USEC_PER_MSEC;
	return true;
}

/* Writes the address of this channel's reply consumer into the message's properties. */
static bool set_reply_to(struct channel *channel, struct message **message,
			 struct amqc_content_header *header)
{
	struct buf payload = BUF_INIT;
	struct message *changed;

	if (!channel->has_reply_consumer)
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
				       "fast reply consumer does not exist");
	header->properties.reply_to = bk_name_span(&channel->reply_address);
	if (amqc_content_header_payload_append(&payload, header) != AMQC_OK)
		return bk_channel_fail(channel, AMQC_INTERNAL_ERROR, "cannot encode properties");
	changed = bk_message_new(bk_message_exchange(*message), bk_message_key(*message), buf_span(&payload),
				 (*message)->body_len);
	if ((*message)->body_len > 0)
		memcpy(bk_message_body_bytes(changed), bk_message_body_bytes(*message), changed->body_len);
	changed->persistent = (*message)->persistent;
	changed->has_ttl = (*message)->has_ttl;
	changed->ttl_usec = (*message)->ttl_usec;
	buf_deinit(&payload);
	bk_message_unref(*message);
	*message = changed;
	return true;
}

static bool check_properties(struct channel *channel, struct message **message)
{
	struct amqc_content_header header;
	const struct amqc_properties *p = &header.properties;
	struct span user = bk_name_span(&channel->conn->broker->user);

	if (amqc_content_header_decode(bk_message_header(*message), &header) != AMQC_OK)
		return bk_channel_fail(channel, AMQC_INTERNAL_ERROR, "properties");
	if ((p->present & AMQC_PROP_USER_ID) && !span_equal(p->user_id, user))
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
				       "user_id property set to '%.*s' but authenticated user was '%.*s'",
				       SPAN_ARG(p->user_id), SPAN_ARG(user));
	(*message)->persistent = (p->present & AMQC_PROP_DELIVERY_MODE) && p->delivery_mode == 2;
	if ((p->present & AMQC_PROP_EXPIRATION) && !check_expiration(channel, *message, p->expiration))
		return false;
	if ((p->present & AMQC_PROP_REPLY_TO) && span_equal_str(p->reply_to, REPLY_TO))
		return set_reply_to(channel, message, &header);
	return true;
}

static bool check_exchange(struct channel *channel, struct span name)
{
	struct vhost *vhost = channel->conn->vhost;
	struct exchange *exchange;

	if (name.len == 0)
		return true;
	exchange = bk_exchange_find(vhost, name);
	if (!exchange)
		return bk_channel_fail(channel, AMQC_NOT_FOUND, "no exchange '%.*s' in vhost '%.*s'",
				       SPAN_ARG(name), SPAN_ARG(bk_name_span(&vhost->name)));
	if (exchange->internal)
		return bk_channel_fail(channel, AMQC_ACCESS_REFUSED,
				       "cannot publish to internal exchange '%.*s' in vhost '%.*s'",
				       SPAN_ARG(name), SPAN_ARG(bk_name_span(&vhost->name)));
	return true;
}

static void publish_return(struct channel *channel, struct message *message)
{
	struct amqc_method method = {.id = AMQC_BASIC_RETURN};

	method.basic_return = (struct amqc_basic_return){.reply_code = AMQC_NO_ROUTE,
							 .reply_text = SPAN_LITERAL("NO_ROUTE"),
							 .exchange = bk_message_exchange(message),
							 .routing_key = bk_message_key(message)};
	bk_content_append(channel, &method, message);
}

bool bk_publish_deliver(struct channel *channel, struct message *message, bool mandatory)
{
	struct broker *broker = channel->conn->broker;
	struct vhost *vhost = channel->conn->vhost;
	struct exchange *exchange;
	bool refused = false;

	broker->target_count = 0;
	if (message->exchange_len == 0) {
		bk_exchange_route_default(vhost, message);
		if (broker->target_count == 0)
			bk_reply_deliver(broker, message);
	} else {
		exchange = bk_exchange_find(vhost, bk_message_exchange(message));
		if (exchange)
			bk_exchange_route(exchange, message);
	}
	/* A direct reply counts as not routed, as in RabbitMQ. */
	if (broker->target_count == 0 && mandatory)
		publish_return(channel, message);
	for (size_t i = 0; i < broker->target_count; i++)
		if (!bk_queue_push(broker->targets[i], message))
			refused = true;
	return refused;
}

bool bk_publish_end(struct channel *channel)
{
	struct incoming *incoming = &channel->incoming;
	struct message *message = incoming->message;
	bool fine;

	incoming->message = NULL;
	incoming->state = CONTENT_NONE;
	if (!message)
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
				       "message size %llu is larger than configured max size %u",
				       (unsigned long long)incoming->body_size, MESSAGE_MAX_BYTES);
	if (incoming->bad) {
		struct fault fault = fault_make(AMQC_INTERNAL_ERROR, "INTERNAL_ERROR");

		bk_message_unref(message);
		bk_conn_fail_plain(channel->conn, &fault);
		return false;
	}
	fine = check_exchange(channel, bk_message_exchange(message)) && check_properties(channel, &message);
	if (fine && channel->mode == MODE_TX)
		bk_tx_add_publish(channel, message, incoming->mandatory);
	else if (fine && !bk_trap_routes(channel, message)) {
		bool refused = bk_publish_deliver(channel, message, incoming->mandatory);

		if (channel->mode == MODE_CONFIRM)
			bk_channel_confirm(channel, ++channel->publish_tag, refused);
	}
	bk_message_unref(message);
	return fine;
}
