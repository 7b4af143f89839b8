/*
 * A channel: its methods by name, its errors, its end.
 *
 * After an error we have sent channel.close: from then on everything but
 * close and close-ok is ignored, and the number is free with close-ok alone.
 */
#include "tests/broker/engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct channel *bk_channel_new(struct broker_conn *conn, uint16_t number)
{
	struct channel *channel = bk_xcalloc(sizeof(*channel));

	channel->conn = conn;
	channel->number = number;
	list_init(&channel->consumer_order);
	list_init(&channel->owing);
	list_init(&channel->held);
	list_init(&channel->tx_publishes);
	list_init(&channel->tx_settled);
	return channel;
}

void bk_channel_release(struct channel *channel)
{
	struct consumer *consumer;

	bk_publish_discard(channel);
	bk_tx_release(channel);
	bk_channel_drop_confirms(channel);
	bk_reply_release(channel);
	/* Consumers first: what goes back must not come to them again. */
	while ((consumer = list_first(&channel->consumer_order, struct consumer, order)))
		bk_consumer_cancel(consumer);
	bk_channel_requeue_all(channel);
}

void bk_channel_free(struct channel *channel)
{
	bk_channel_release(channel);
	map_deinit(&channel->consumers);
	bk_ring_deinit(&channel->unacked);
	free(channel);
}

void bk_channel_reply(struct channel *channel, const struct amqc_method *method)
{
	bk_conn_append(channel->conn, channel->number, method);
}

bool bk_channel_fail(struct channel *channel, uint16_t code, const char *format, ...)
{
	struct broker_conn *conn = channel->conn;
	struct amqc_method close = {.id = AMQC_CHANNEL_CLOSE};
	struct fault fault;
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fault = fault_make(code, "%s - %s", amqc_reply_name(code), text);
	if (amqc_reply_is_hard(code)) {
		bk_conn_fail_plain(conn, &fault);
		return false;
	}
	close.channel_close = (struct amqc_channel_close){.reply_code = code,
							  .reply_text = fault_text(&fault),
							  .class_id = AMQC_CLASS_ID(conn->current_method),
							  .method_id = AMQC_METHOD_ID(conn->current_method)};
	channel->closing = true;
	bk_channel_reply(channel, &close);
	bk_channel_release(channel);
	return false;
}

static bool channel_flow(struct channel *channel, const struct amqc_channel_flow *m)
{
	struct amqc_method reply = {.id = AMQC_CHANNEL_FLOW_OK};

	if (!m->active)
		return bk_channel_fail(channel, AMQC_NOT_IMPLEMENTED, "active=false");
	reply.channel_flow_ok.active = true;
	bk_channel_reply(channel, &reply);
	return true;
}

static bool confirm_select(struct channel *channel, const struct amqc_confirm_select *m)
{
	struct amqc_method reply = {.id = AMQC_CONFIRM_SELECT_OK};

	if (channel->mode == MODE_TX)
		return bk_channel_fail(channel, AMQC_PRECONDITION_FAILED,
				       "cannot switch from tx to confirm mode");
	channel->mode = MODE_CONFIRM;
	if (!m->no_wait)
		bk_channel_reply(channel, &reply);
	return true;
}

static bool recover(struct channel *channel, bool requeue, bool answer)
{
	struct amqc_method reply = {.id = AMQC_BASIC_RECOVER_OK};

	if (!requeue)
		return bk_channel_fail(channel, AMQC_NOT_IMPLEMENTED, "requeue=false");
	bk_basic_recover(channel);
	if (answer)
		bk_channel_reply(channel, &reply);
	return true;
}

static bool unbind_queue(struct channel *channel, const struct amqc_queue_unbind *m)
{
	const struct amqc_queue_bind same = {.queue = m->queue,
					     .exchange = m->exchange,
					     .routing_key = m->routing_key,
					     .arguments = m->arguments};

	return bk_queue_bind(channel, &same, false);
}

static bool unbind_exchange(struct channel *channel, const struct amqc_exchange_unbind *m)
{
	const struct amqc_exchange_bind same = {.destination = m->destination,
						.source = m->source,
						.routing_key = m->routing_key,
						.no_wait = m->no_wait,
						.arguments = m->arguments};

	return bk_exchange_bind(channel, &same, false);
}

static bool channel_basic(struct channel *channel, const struct amqc_method *m)
{
	enum settling undo = SETTLING_REJECT;

	switch (m->id) {
	case AMQC_BASIC_QOS:
		return bk_basic_qos(channel, &m->basic_qos);
	case AMQC_BASIC_CONSUME:
		return bk_basic_consume(channel, &m->basic_consume);
	case AMQC_BASIC_CANCEL:
		return bk_basic_cancel(channel, &m->basic_cancel);
	case AMQC_BASIC_GET:
		return bk_basic_get(channel, &m->basic_get);
	case AMQC_BASIC_PUBLISH:
		return bk_publish_begin(channel, &m->basic_publish);
	case AMQC_BASIC_ACK:
		return bk_basic_settle(channel, m->basic_ack.delivery_tag, m->basic_ack.multiple,
				       SETTLING_ACK);
	case AMQC_BASIC_NACK:
		undo = m->basic_nack.requeue ? SETTLING_REQUEUE : SETTLING_REJECT;
		return bk_basic_settle(channel, m->basic_nack.delivery_tag, m->basic_nack.multiple, undo);
	case AMQC_BASIC_REJECT:
		undo = m->basic_reject.requeue ? SETTLING_REQUEUE : SETTLING_REJECT;
		return bk_basic_settle(channel, m->basic_reject.delivery_tag, false, undo);
	case AMQC_BASIC_RECOVER:
		return recover(channel, m->basic_recover.requeue, true);
	case AMQC_BASIC_RECOVER_ASYNC:
		return recover(channel, m->basic_recover_async.requeue, false);
	default:
		return bk_channel_fail(channel, AMQC_COMMAND_INVALID, "unimplemented method");
	}
}

static bool channel_declare(struct channel *channel, const struct amqc_method *m)
{
	switch (m->id) {
	case AMQC_EXCHANGE_DECLARE:
		return bk_exchange_declare(channel, &m->exchange_declare);
	case AMQC_EXCHANGE_DELETE:
		return bk_exchange_remove(channel, &m->exchange_delete);
	case AMQC_EXCHANGE_BIND:
		return bk_exchange_bind(channel, &m->exchange_bind, true);
	case AMQC_EXCHANGE_UNBIND:
		return unbind_exchange(channel, &m->exchange_unbind);
	case AMQC_QUEUE_DECLARE:
		return bk_queue_declare(channel, &m->queue_declare);
	case AMQC_QUEUE_BIND:
		return bk_queue_bind(channel, &m->queue_bind, true);
	case AMQC_QUEUE_UNBIND:
		return unbind_queue(channel, &m->queue_unbind);
	case AMQC_QUEUE_PURGE:
		return bk_queue_clear(channel, &m->queue_purge);
	case AMQC_QUEUE_DELETE:
		return bk_queue_remove(channel, &m->queue_delete);
	case AMQC_CHANNEL_FLOW:
		return channel_flow(channel, &m->channel_flow);
	case AMQC_CONFIRM_SELECT:
		return confirm_select(channel, &m->confirm_select);
	case AMQC_TX_SELECT:
		return bk_tx_select(channel);
	case AMQC_TX_COMMIT:
		return bk_tx_commit(channel);
	case AMQC_TX_ROLLBACK:
		return bk_tx_rollback(channel);
	default:
		return bk_channel_fail(channel, AMQC_COMMAND_INVALID, "unimplemented method");
	}
}

void bk_channel_method(struct channel *channel, const struct amqc_method *m)
{
	enum content_state state = channel->incoming.state;

	if (state != CONTENT_NONE) {
		channel->conn->current_method = AMQC_BASIC_PUBLISH;
		bk_channel_fail(
		    channel, AMQC_UNEXPECTED_FRAME, "%s",
		    state == CONTENT_HEADER
			? "expected content header for class 60, got non content header frame instead"
			: "expected content body, got non content body frame instead");
		return;
	}
	if (!(amqc_method_sender(m->id) & AMQC_BY_CLIENT))
		bk_channel_fail(channel, AMQC_COMMAND_INVALID, "unimplemented method");
	else if (bk_trap(channel, m))
		return;
	else if (channel->committing)
		bk_channel_fail(channel, AMQC_CHANNEL_ERROR,
				"unexpected command while processing 'tx.commit'");
	else if (AMQC_CLASS_ID(m->id) == AMQC_CLASS_BASIC)
		channel_basic(channel, m);
	else
		channel_declare(channel, m);
}
