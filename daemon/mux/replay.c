#include "daemon/mux/replay.h"

#include "daemon/amqp/reply.h"
#include "daemon/mux/consumer.h"
#include "daemon/mux/publish.h"
#include "daemon/mux/queues.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/upstream.h"
#include "daemon/mux/topology.h"

#include <stdio.h>

uint64_t replay_expiration_usec(const struct amqc_properties *properties)
{
	uint64_t msec = 0;

	if (!(properties->present & AMQC_PROP_EXPIRATION) || properties->expiration.len == 0 ||
	    properties->expiration.len > 12)
		return UINT64_MAX;
	for (size_t i = 0; i < properties->expiration.len; i++) {
		uint8_t digit = properties->expiration.data[i];

		if (digit < '0' || digit > '9')
			return UINT64_MAX; /* the broker says what is wrong with it */
		msec = msec * 10 + (uint64_t)(digit - '0');
	}
	return msec * USEC_PER_MSEC;
}

/* Whether it does the same if the broker has done it already, and somebody still wants it done. */
static bool may_send_again(const struct request *request)
{
	bool orphan_in_time = !request->op.channel->session && timer_is_set(&request->timer);

	switch (request->method) {
	case AMQC_EXCHANGE_DECLARE:
	case AMQC_EXCHANGE_BIND:
	case AMQC_EXCHANGE_UNBIND:
	case AMQC_QUEUE_DECLARE:
	case AMQC_QUEUE_BIND:
	case AMQC_QUEUE_UNBIND:
		return orphan_in_time || request_is_wanted(request);
	case AMQC_BASIC_GET: /* with acks: what it had got is back in its queue */
		if (request->no_ack && request->op.channel->tx.begun)
			return false;
		/* fall through */
	case AMQC_BASIC_CONSUME:
	case AMQC_TX_SELECT:
		return request_is_wanted(request) && request->op.channel->state == CHANNEL_OPEN;
	case AMQC_BASIC_CANCEL:
		return true; /* answered at once, by channel_interrupt() */
	default:
		return false;
	}
}

/* Nobody knows whether it was done. */
static void end_in_doubt(struct request *request, const struct fault *lost)
{
	struct fault fault = fault_make_retryable(
	    lost->code, "%s was done or not: it was sent, and then the connection was lost (%s)",
	    amqc_method_name(request->method), lost->text);

	topology_in_doubt(request->op.channel->upstream, span_make(request->frame, request->frame_len));
	queues_request_failed(request);
	if (request->method == AMQC_BASIC_CONSUME && request->consumer)
		consumer_free(request->consumer);
	request_refuse(request, SCOPE_REQUEST, &fault);
	request_drop(request);
}

static void take_back_request(struct request *request, const struct fault *fault)
{
	struct channel *channel = request->op.channel;

	if (!channel)
		return; /* nobody's: it goes with the lane */
	if (request->thing || !may_send_again(request)) {
		end_in_doubt(request, fault);
		return;
	}
	request_sent_in_vain(request);
	list_unlink(&request->op.node);
	list_prepend(&channel->queue, &request->op.node);
}

/* Those that were sent behind the publish with this tag. */
static void take_back_requests(struct lane *lane, uint64_t tag, const struct fault *fault)
{
	struct request *request, *before;

	for (request = list_last(&lane->awaiting, struct request, op.node); request && request->before > tag;
	     request = before) {
		before = request->op.node.prev == &lane->awaiting
			     ? NULL
			     : container_of(request->op.node.prev, struct request, op.node);
		take_back_request(request, fault);
	}
}

void replay_take_back(struct lane *lane, const struct fault *fault)
{
	struct confirms *confirms = &lane->confirms;
	struct channel *channel = lane->channel;

	for (uint64_t tag = confirms->next; tag-- > confirms->first;) {
		struct publish *publish;

		take_back_requests(lane, tag, fault);
		publish = confirms_take(lane, tag);
		if (!publish)
			continue;
		publish->begun_before = true;
		/* A body that did not go out whole cannot have been taken by the broker. */
		if (publish->body_sent == publish->body_len)
			publish->sent_before = true;
		publish->body_sent = 0;
		list_prepend(&channel->queue, &publish->op.node);
	}
	take_back_requests(lane, 0, fault);
	confirms->first = confirms->next;
}

static void append_unmarked(struct buf *table, struct span old)
{
	struct span rest = old;
	struct amqc_field field;

	while (amqc_table_next(&rest, &field) == AMQC_OK) {
		if (!span_equal_str(field.name, REPLAY_HEADER))
			(void)amqc_field_append(table, &field.name, &field);
	}
}

static struct span headers_of(const struct amqc_content_header *header)
{
	return header->properties.present & AMQC_PROP_HEADERS ? header->properties.headers : SPAN_NULL;
}

static struct span header_payload(const struct publish *publish)
{
	return span_make(publish->data + publish->method_len + 7,
			 publish->head_len - publish->method_len - AMQC_FRAME_OVERHEAD);
}

bool replay_original_header(const struct publish *publish, struct buf *table, struct amqc_content_header *ret)
{
	if (amqc_content_header_decode(header_payload(publish), ret) != AMQC_OK)
		return false;
	append_unmarked(table, headers_of(ret));
	ret->properties.headers = buf_span(table);
	ret->properties.present &= ~(AMQC_PROP_EXPIRATION | AMQC_PROP_HEADERS);
	if (buf_len(table) > 0)
		ret->properties.present |= AMQC_PROP_HEADERS;
	return !buf_failed(table);
}

static bool is_marked(const struct publish *publish)
{
	return publish->sent_before || publish->resent;
}

/* The block again, with other properties. NULL: no memory, or they became too large. */
static struct publish *rewrite(struct publish *publish, uint64_t left_usec)
{
	struct amqc_content_header header;
	struct publish *copy = NULL;
	struct buf table = BUF_INIT;
	char expiration[24];

	if (amqc_content_header_decode(header_payload(publish), &header) != AMQC_OK)
		return NULL;
	if (is_marked(publish)) {
		append_unmarked(&table, headers_of(&header));
		amqc_field_append_bool(&table, REPLAY_HEADER, true);
		header.properties.headers = buf_span(&table);
		header.properties.present |= AMQC_PROP_HEADERS;
	}
	if (left_usec != UINT64_MAX) {
		snprintf(expiration, sizeof(expiration), "%llu",
			 (unsigned long long)(left_usec / USEC_PER_MSEC));
		header.properties.expiration = span_str(expiration);
	}
	if (!buf_failed(&table))
		copy = publish_rewrite(publish, &header);
	buf_deinit(&table);
	return copy;
}

/* False: it has expired. *ret_left is UINT64_MAX if what the message says is still right. */
static bool expiration_left(const struct publish *publish, struct mono now, uint64_t *ret_left)
{
	uint64_t waited = mono_since_usec(now, publish->accepted) + publish->age_ms * USEC_PER_MSEC;

	*ret_left = UINT64_MAX;
	if (publish->expiration_usec == UINT64_MAX || waited < USEC_PER_MSEC)
		return true;
	if (waited >= publish->expiration_usec)
		return false;
	*ret_left = publish->expiration_usec - waited;
	return true;
}

struct publish *replay_prepare(struct publish *publish)
{
	struct mono now = publish->op.channel->upstream->mux->now;
	uint64_t left_usec;
	struct publish *copy;
	struct fault fault;

	if (!expiration_left(publish, now, &left_usec)) {
		fault = fault_make(AMQC_PRECONDITION_FAILED, "the message expired before it could be sent");
		publish_discard(publish, &fault);
		return NULL;
	}
	if (!is_marked(publish) && left_usec == UINT64_MAX)
		return publish;
	copy = rewrite(publish, left_usec);
	if (copy)
		return copy;
	fault = fault_make_retryable(AMQC_RESOURCE_ERROR,
				     "the message cannot be sent again: no memory to mark it");
	publish_discard(publish, &fault);
	return NULL;
}
