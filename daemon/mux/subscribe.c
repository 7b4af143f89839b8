#include "daemon/mux/subscribe.h"

#include "daemon/base/log.h"
#include "daemon/mux/clash.h"
#include "daemon/mux/consumer.h"
#include "daemon/mux/kinds.h"
#include "daemon/mux/lane.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/consumer.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/queues.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/topology.h"

#include <stdio.h>
#include <stdlib.h>

/* Of its session's memory, what one consumer's waiting messages should come to after it shrank. */
#define SHARE_OF_SESSION 4u

/* Argument of a stream's consumer, and header of its messages. */
#define STREAM_OFFSET "x-stream-offset"

/* Of a queue that cannot take back what is too much, for a consumer that set no prefetch. */
#define CAREFUL_PREFETCH 32u

static uint16_t prefetch_of_its_own(const struct consumer *consumer, struct span queue, uint32_t asked)
{
	const struct channel *channel = consumer->channel;
	uint32_t prefetch = asked ? asked : channel->session->limits.prefetch;
	uint64_t size, most;

	/* Who asked for so many may wait for the last of them before it acks one. With no_ack nobody can. */
	if (consumer->kind == QUEUE_CLASSIC || (asked > 0 && !consumer->no_ack))
		return (uint16_t)prefetch;
	if (prefetch > CAREFUL_PREFETCH)
		prefetch = CAREFUL_PREFETCH;
	size = kinds_message_size(channel->upstream, queue);
	most = size > 0 ? channel->session->memory.limit / SHARE_OF_SESSION / size : prefetch;
	if (most == 0)
		most = 1;
	return (uint16_t)(prefetch < most ? prefetch : most);
}

/* More than the client may have would only wait here, where nobody else gets it. */
static uint16_t bounded_prefetch(const struct consumer *consumer)
{
	uint32_t most = consumer->channel->unacked_max;

	return most > 0 && most < consumer->own_prefetch && !consumer->no_ack ? (uint16_t)most
									      : consumer->own_prefetch;
}

void subscribe_set_prefetch(struct consumer *consumer, struct span queue, uint32_t asked)
{
	consumer->own_prefetch = prefetch_of_its_own(consumer, queue, asked);
	consumer->prefetch = bounded_prefetch(consumer);
	consumer->first_prefetch = consumer->prefetch;
}

struct span subscribe_queue(const struct consumer *consumer)
{
	struct amqc_method consume;

	return request_decode_frame(buf_span(&consumer->consume), &consume) ? consume.basic_consume.queue
									    : SPAN_NULL;
}

void subscribe_note_overflow(const struct consumer *consumer, uint64_t bytes)
{
	struct span queue = subscribe_queue(consumer);

	if (queue.len > 0 && !consumer->broker_no_ack)
		kinds_note_size(consumer->channel->upstream, queue,
				bytes > consumer->largest ? bytes : consumer->largest);
}

bool subscribe_keep(struct consumer *consumer, const struct amqc_method *consume)
{
	struct buf frame = BUF_INIT;
	struct amqc_field field;

	/* Brokers refuse the argument for any other kind. */
	if (amqc_table_find(consume->basic_consume.arguments, STREAM_OFFSET, &field))
		consumer->kind = QUEUE_STREAM;
	if (amqc_method_append(&frame, 0, consume) != AMQC_OK || buf_failed(&frame)) {
		buf_deinit(&frame);
		return false;
	}
	consumer->consume = frame;
	return true;
}

void subscribe_forget(struct consumer *consumer)
{
	if (consumer->queue)
		topology_consumer_ends(consumer->channel->upstream, consumer->queue);
	clash_consumer_ended(consumer->channel->upstream);
	consumer->queue = NULL;
	buf_deinit(&consumer->consume);
}

void subscribe_started(struct consumer *consumer)
{
	consumer->started = true;
	if (!consumer->queue)
		consumer->queue =
		    topology_consumer_begins(consumer->channel->upstream, subscribe_queue(consumer));
}

bool subscribe_is_asked(const struct consumer *consumer)
{
	const struct lane *lane = consumer->channel->lane;
	const struct request *request;

	if (!lane)
		return false;
	list_foreach (request, &lane->awaiting, op.node) {
		if (request->method == AMQC_BASIC_CONSUME && request->consumer == consumer)
			return true;
	}
	return false;
}

bool subscribe_is_under_way(const struct lane *lane)
{
	const struct request *request;

	list_foreach (request, &lane->awaiting, op.node) {
		if (request->method == AMQC_BASIC_CONSUME)
			return true;
	}
	return false;
}

bool subscribe_qos(struct lane *lane, const struct consumer *consumer)
{
	struct amqc_method qos = {.id = AMQC_BASIC_QOS};

	if (lane->prefetch == consumer->prefetch)
		return true;
	qos.basic_qos.prefetch_count = consumer->prefetch;
	if (!request_send_own(lane, &qos))
		return false;
	lane->prefetch = consumer->prefetch;
	return true;
}

/* As many messages of the size that waits now as fit into a share of the session's memory. */
static uint16_t smaller_prefetch(const struct consumer *consumer)
{
	uint64_t share = consumer->channel->session->memory.limit / SHARE_OF_SESSION;
	uint64_t waiting = 0, prefetch;
	const struct list *node;

	for (node = consumer->pending.next; node != &consumer->pending; node = node->next)
		waiting++;
	prefetch = waiting > 0 ? share / (consumer->charge.bytes / waiting) : 1;
	if (prefetch > consumer->prefetch / 2u)
		prefetch = consumer->prefetch / 2u;
	return prefetch > 0 ? (uint16_t)prefetch : 1;
}

/* ------------------------------------------------------------------ its tag at the broker */

#define TURN_MARK '~'
#define TURN_LEN_MAX 11u /* with the mark */

static struct span tag_of_turn(const struct consumer *consumer, uint32_t turn, char *buffer)
{
	int len = consumer->tag_len;

	memcpy(buffer, consumer->tag, consumer->tag_len);
	if (turn > 0)
		len += snprintf(buffer + len, TURN_LEN_MAX + 1, "%c%u", TURN_MARK, turn);
	return span_make(buffer, (size_t)len);
}

struct span subscribe_tag(const struct consumer *consumer, char *buffer)
{
	return tag_of_turn(consumer, consumer->turn, buffer);
}

bool subscribe_has_tag(const struct consumer *consumer, struct span tag)
{
	char buffer[SUBSCRIBE_TAG_SIZE];

	if (span_equal(tag, span_make(consumer->tag, consumer->tag_len)))
		return true;
	return consumer->turn > 0 && tag.len > consumer->tag_len &&
	       tag.data[consumer->tag_len] == TURN_MARK &&
	       (span_equal(tag, subscribe_tag(consumer, buffer)) ||
		(consumer->widening && span_equal(tag, tag_of_turn(consumer, consumer->last_turn, buffer))));
}

static bool send_cancel(struct consumer *consumer, struct span tag)
{
	struct amqc_method cancel = {.id = AMQC_BASIC_CANCEL};
	struct request *request;

	cancel.basic_cancel.consumer_tag = tag;
	request = request_send_own(consumer->channel->lane, &cancel);
	if (!request)
		return false;
	request_about(request, consumer);
	clash_cancels(consumer->channel->lane, request, subscribe_queue(consumer));
	lane_ready(consumer->channel->lane);
	return true;
}

bool subscribe_cancel(struct consumer *consumer)
{
	char buffer[SUBSCRIBE_TAG_SIZE];

	return send_cancel(consumer, subscribe_tag(consumer, buffer));
}

bool subscribe_cancel_last(struct consumer *consumer)
{
	char buffer[SUBSCRIBE_TAG_SIZE];

	if (consumer->widening && !consumer->last_cancelled)
		consumer->last_cancelled =
		    send_cancel(consumer, tag_of_turn(consumer, consumer->last_turn, buffer));
	return !consumer->widening || consumer->last_cancelled;
}

/* ------------------------------------------------------------------ a smaller prefetch */

bool subscribe_shrink(struct consumer *consumer)
{
	if (consumer->shrinking != SHRINK_NOT)
		return true;
	if (consumer->kind != QUEUE_CLASSIC || consumer->prefetch <= 1 || !consumer->started)
		return false;
	/* Nothing has come by the new tag yet. */
	if (consumer->widening && subscribe_is_asked(consumer))
		return subscribe_cancel_last(consumer);
	if (!subscribe_cancel(consumer))
		return false;
	consumer->own_prefetch = smaller_prefetch(consumer);
	consumer->shrinking = SHRINK_CANCELLING;
	return true;
}

void subscribe_note_offset(struct consumer *consumer, const struct amqc_properties *properties)
{
	struct amqc_field field;

	if (!(properties->present & AMQC_PROP_HEADERS) ||
	    !amqc_table_find(properties->headers, STREAM_OFFSET, &field) || field.type != 'l')
		return;
	consumer->has_offset = true;
	consumer->offset = field.value.signed_int;
}

/* The consumer's arguments, to begin behind the last message it had (rabbitmq.com/streams, "Consuming"). */
static void append_resumed(struct buf *table, const struct consumer *consumer, struct span arguments)
{
	struct span name = SPAN_LITERAL(STREAM_OFFSET);
	struct amqc_field field;

	while (amqc_table_next(&arguments, &field) == AMQC_OK) {
		if (!span_equal(field.name, name))
			(void)amqc_field_append(table, &field.name, &field);
	}
	field = (struct amqc_field){.type = 'l', .value.signed_int = consumer->offset + 1};
	(void)amqc_field_append(table, &name, &field);
}

bool subscribe_resumed(const struct consumer *consumer, struct amqc_method *ret, struct buf *arguments)
{
	if (!request_decode_frame(buf_span(&consumer->consume), ret))
		return false;
	if (!consumer->has_offset)
		return true;
	append_resumed(arguments, consumer, ret->basic_consume.arguments);
	ret->basic_consume.arguments = buf_span(arguments);
	return !buf_failed(arguments);
}

/* Who had a message of a stream and is not known to be of one, begins with what comes next. */
bool subscribe_may_kill(const struct consumer *consumer)
{
	return consumer->kind == QUEUE_STREAM && !consumer->gone && !consumer->cancel_sent &&
	       (consumer->started || subscribe_is_asked(consumer));
}

uint16_t subscribe_trial_prefetch(const struct consumer *consumer)
{
	if (consumer->kind != QUEUE_STREAM)
		return 1;
	return consumer->prefetch < CAREFUL_PREFETCH ? consumer->prefetch : CAREFUL_PREFETCH;
}

bool subscribe_is_of_old(const struct consumer *consumer)
{
	struct amqc_method consume;
	struct amqc_field field;

	return request_decode_frame(buf_span(&consumer->consume), &consume) &&
	       amqc_table_find(consume.basic_consume.arguments, STREAM_OFFSET, &field) &&
	       !(field.type == 'S' && span_equal_str(field.value.bytes, "next"));
}

static bool send_consume(struct consumer *consumer)
{
	struct lane *lane = consumer->channel->lane;
	char tag[SUBSCRIBE_TAG_SIZE];
	struct buf arguments = BUF_INIT;
	struct amqc_method consume;
	struct request *request = NULL;

	if (subscribe_qos(lane, consumer) && subscribe_resumed(consumer, &consume, &arguments)) {
		consume.basic_consume.consumer_tag = subscribe_tag(consumer, tag);
		request = request_send_own(lane, &consume);
	}
	buf_deinit(&arguments);
	if (!request)
		return false;
	request_about(request, consumer);
	clash_sent(lane, request);
	lane_ready(lane);
	return true;
}

bool subscribe_again(struct consumer *consumer)
{
	consumer->shrinking = SHRINK_NOT;
	consumer->prefetch = bounded_prefetch(consumer);
	if (consumer->turn == 0)
		consumer->first_prefetch = consumer->prefetch;
	return send_consume(consumer);
}

bool subscribe_shrink_on(struct consumer *consumer, bool cancelled)
{
	uint64_t share = consumer->channel->session->memory.limit / SHARE_OF_SESSION;

	if (cancelled && consumer->shrinking == SHRINK_CANCELLING)
		consumer->shrinking = SHRINK_DRAINING;
	if (consumer->shrinking != SHRINK_DRAINING || consumer->cancel_asked ||
	    consumer->charge.bytes > share / 2)
		return true;
	return subscribe_again(consumer);
}

/* ------------------------------------------------------------------ a larger prefetch */

/*
 * A stream would tell all again. Of an exclusive consumer there can only be one. What kind an unknown queue
 * is not, its first message tells. A queue that is just deleted has no consumers soon.
 */
static bool may_begin_anew(const struct consumer *consumer)
{
	char buffer[SUBSCRIBE_TAG_SIZE];
	bool is_queue = consumer->kind == QUEUE_CLASSIC || consumer->kind == QUEUE_QUORUM ||
			(consumer->kind == QUEUE_UNKNOWN && consumer->looked && !consumer->in_doubt);

	return is_queue && consumer->started && !consumer->restoring && !consumer->exclusive &&
	       !consumer->broker_no_ack && !consumer->widening && consumer->shrinking == SHRINK_NOT &&
	       !consumer->cancel_asked && !consumer->cancel_sent && !subscribe_is_asked(consumer) &&
	       !clash_is_under_way(consumer->channel->upstream, subscribe_queue(consumer)) &&
	       consumer->tag_len <= UINT8_MAX - TURN_LEN_MAX &&
	       !consumer_find_tag(consumer->channel,
				  tag_of_turn(consumer, consumer->channel->turns + 1, buffer));
}

void subscribe_widen(struct consumer *consumer)
{
	uint16_t before = consumer->prefetch, prefetch = bounded_prefetch(consumer);

	if (prefetch <= before || consumer->gone)
		return;
	if (!consumer->started && !subscribe_is_asked(consumer)) {
		consumer->prefetch = prefetch;
		consumer->first_prefetch = prefetch;
		return;
	}
	if (!consumer->channel->lane || consumer->channel->state != CHANNEL_OPEN || !may_begin_anew(consumer))
		return;
	consumer->prefetch = prefetch;
	consumer->last_turn = consumer->turn;
	consumer->turn = ++consumer->channel->turns;
	if (send_consume(consumer)) {
		consumer->widening = true;
		consumer->last_cancelled = false;
		return;
	}
	consumer->turn = consumer->last_turn;
	consumer->prefetch = before;
}

void subscribe_widen_on(struct consumer *consumer)
{
	if (!consumer->widening)
		subscribe_widen(consumer);
	else if (!subscribe_cancel_last(consumer))
		log_error("no memory to cancel a consumer");
}

void subscribe_widened(struct consumer *consumer)
{
	consumer->widening = false;
	subscribe_widen(consumer);
}
