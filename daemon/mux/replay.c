#include "daemon/mux/replay.h"

#include "daemon/amqp/reply.h"
#include "daemon/mux/publish.h"

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

void replay_take_back(struct lane *lane)
{
	struct confirms *confirms = &lane->confirms;
	struct channel *channel = lane->channel;

	for (uint64_t tag = confirms->next; tag-- > confirms->first;) {
		struct publish *publish = confirms_take(lane, tag);

		if (!publish)
			continue;
		/* A body that did not go out whole cannot have been taken by the broker. */
		if (publish->body_sent == publish->body_len)
			publish->sent_before = true;
		publish->body_sent = 0;
		list_prepend(&channel->queue, &publish->op.node);
	}
	confirms->first = confirms->next;
}

/* The headers without an older mark, and with one. */
static void append_marked(struct buf *table, struct span old)
{
	struct span rest = old;
	struct amqc_field field;

	while (amqc_table_next(&rest, &field) == AMQC_OK) {
		if (!span_equal_str(field.name, REPLAY_HEADER))
			(void)amqc_field_append(table, &field.name, &field);
	}
	amqc_field_append_bool(table, REPLAY_HEADER, true);
}

/* The block again, with other properties. NULL: no memory, or they became too large. */
static struct publish *rewrite(struct publish *publish, uint64_t left_usec)
{
	struct span payload = span_make(publish->data + publish->method_len + 7,
					publish->head_len - publish->method_len - AMQC_FRAME_OVERHEAD);
	struct amqc_content_header header;
	struct publish *copy = NULL;
	struct buf table = BUF_INIT;
	char expiration[24];

	if (amqc_content_header_decode(payload, &header) != AMQC_OK)
		return NULL;
	if (publish->sent_before) {
		append_marked(&table, header.properties.present & AMQC_PROP_HEADERS
					  ? header.properties.headers
					  : SPAN_NULL);
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
	uint64_t waited = mono_since_usec(now, publish->accepted);

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
	if (!publish->sent_before && left_usec == UINT64_MAX)
		return publish;
	copy = rewrite(publish, left_usec);
	if (copy)
		return copy;
	fault = fault_make_retryable(AMQC_RESOURCE_ERROR,
				     "the message cannot be sent again: no memory to mark it");
	publish_discard(publish, &fault);
	return NULL;
}
