#include "daemon/mux/publish.h"

#include "daemon/amqp/reply.h"
#include "daemon/base/log.h"
#include "daemon/mux/backlog.h"
#include "daemon/mux/channel.h"
#include "daemon/mux/credit.h"
#include "daemon/mux/recorder.h"
#include "daemon/mux/replay.h"
#include "daemon/mux/state/delivery.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/share.h"
#include "daemon/mux/state/touch.h"
#include "daemon/mux/state/upstream.h"
#include "daemon/mux/taken.h"

#include <assert.h>
#include <stdlib.h>

#define CONFIRMS_MIN 16u /* slots of a ring */

static void publish_free(struct mux *mux, struct publish *publish)
{
	pool_give(&mux->pool, publish, publish->block_size);
}

/* Where the names lie in the method frame: behind frame header, ids and the reserved short (section 1.8.3.6).
 */
#define EXCHANGE_LEN_AT (7u + 4u + 2u)

bool publish_repeats(const struct channel *channel, const struct mux_publish *publish)
{
	const struct repeat *repeat = &channel->repeat;
	const uint8_t *names = repeat->frame + EXCHANGE_LEN_AT + 1u;

	return repeat->frame_len > 0 && repeat->exchange_len == publish->exchange.len &&
	       repeat->key_len == publish->routing_key.len && repeat->mandatory == publish->mandatory &&
	       (repeat->exchange_len == 0 ||
		memcmp(names, publish->exchange.data, repeat->exchange_len) == 0) &&
	       (repeat->key_len == 0 ||
		memcmp(names + repeat->exchange_len + 1u, publish->routing_key.data, repeat->key_len) == 0);
}

static void keep_names(struct channel *channel, const struct mux_publish *publish, struct span frame)
{
	struct repeat *repeat = &channel->repeat;

	repeat->frame_len = 0;
	if (frame.len > sizeof(repeat->frame))
		return;
	memcpy(repeat->frame, frame.data, frame.len);
	repeat->frame_len = (uint8_t)frame.len;
	repeat->exchange_len = (uint8_t)publish->exchange.len;
	repeat->key_len = (uint8_t)publish->routing_key.len;
	repeat->mandatory = publish->mandatory;
}

static enum amqc_result encode_method(struct channel *channel, const struct mux_publish *publish)
{
	struct mux *mux = channel->upstream->mux;
	struct amqc_method method = {.id = AMQC_BASIC_PUBLISH};
	enum amqc_result result;

	method.basic_publish.exchange = publish->exchange;
	method.basic_publish.routing_key = publish->routing_key;
	method.basic_publish.mandatory = publish->mandatory;
	result = amqc_method_append(&mux->scratch, 0, &method);
	if (result == AMQC_OK)
		keep_names(channel, publish, buf_span(&mux->scratch));
	return result;
}

/* Method and header frame into the scratch buffer. */
static enum amqc_result encode_head(struct channel *channel, const struct mux_publish *publish, bool repeats,
				    size_t *ret_method_len)
{
	struct amqc_content_header header = {AMQC_CLASS_BASIC, publish->body.len, *publish->properties};
	struct mux *mux = channel->upstream->mux;
	enum amqc_result result = AMQC_OK;

	buf_truncate(&mux->scratch, 0);
	if (repeats)
		buf_append(&mux->scratch, channel->repeat.frame, channel->repeat.frame_len);
	else
		result = encode_method(channel, publish);
	if (result != AMQC_OK)
		return result;
	*ret_method_len = buf_len(&mux->scratch);
	result = amqc_content_header_append(&mux->scratch, 0, &header);
	if (result == AMQC_OK && buf_failed(&mux->scratch)) {
		mux->scratch.failed = false;
		return AMQC_INCOMPLETE;
	}
	return result;
}

static struct publish *publish_new(struct mux *mux, const struct mux_publish *source, size_t method_len)
{
	size_t head_len = buf_len(&mux->scratch);
	size_t size = sizeof(struct publish) + head_len + source->body.len;
	struct publish *publish = pool_take(&mux->pool, size);

	if (!publish)
		return NULL;
	*publish = (struct publish){
	    .op.kind = OP_PUBLISH,
	    .cost_bytes = source->cost_bytes,
	    .block_size = (uint32_t)size,
	    .method_len = (uint32_t)method_len,
	    .head_len = (uint32_t)head_len,
	    .mandatory = source->mandatory,
	    .resent = source->resent,
	    .age_ms = source->age_ms,
	    .exchange_at = EXCHANGE_LEN_AT + 1u,
	    .exchange_len = (uint8_t)source->exchange.len,
	    .key_at = EXCHANGE_LEN_AT + 1u + (uint32_t)source->exchange.len + 1u,
	    .key_len = (uint8_t)source->routing_key.len,
	    .body_len = source->body.len,
	};
	memcpy(publish->data, buf_span(&mux->scratch).data, head_len);
	if (source->body.len > 0)
		memcpy(publish->data + head_len, source->body.data, source->body.len);
	return publish;
}

static uint32_t record(struct channel *channel, const struct publish *publish,
		       const struct amqc_properties *properties, bool repeats)
{
	uint32_t serial =
	    repeats ? recorder_repeat(channel->session, &channel->repeat, publish, properties) : 0;

	return serial != 0 ? serial : recorder_publish(channel, publish, properties);
}

enum amqc_result publish_queue(struct channel *channel, const struct mux_publish *source, bool repeats)
{
	struct mux *mux = channel->upstream->mux;
	uint64_t timeout_usec = source->timeout_usec;
	struct publish *publish;
	size_t method_len = 0;
	enum amqc_result result = encode_head(channel, source, repeats, &method_len);

	if (result != AMQC_OK)
		return result;
	publish = publish_new(mux, source, method_len);
	if (!publish)
		return AMQC_INCOMPLETE;
	if (timeout_usec == 0)
		timeout_usec = mux->options.limits.publish_timeout_usec;
	publish->deadline = mono_add_usec(mux->now, timeout_usec);
	publish->accepted = mux->now;
	publish->expiration_usec = replay_expiration_usec(source->properties);
	publish->op.channel = channel;
	publish->number = ++channel->published;
	publish->record = record(channel, publish, source->properties, repeats);
	channel->unsettled++;
	channel->unsettled_bytes += publish->cost_bytes;
	list_append(&channel->queue, &publish->op.node);
	channel_expect(channel, publish->deadline);
	return AMQC_OK;
}

struct publish *publish_rewrite(struct publish *publish, const struct amqc_content_header *header)
{
	struct mux *mux = publish->op.channel->upstream->mux;
	size_t head_len, size;
	struct publish *copy;

	buf_truncate(&mux->scratch, 0);
	buf_append(&mux->scratch, publish->data, publish->method_len);
	if (amqc_content_header_append(&mux->scratch, 0, header) != AMQC_OK || buf_failed(&mux->scratch)) {
		mux->scratch.failed = false;
		return NULL;
	}
	head_len = buf_len(&mux->scratch);
	size = sizeof(*copy) + head_len + publish->body_len;
	copy = pool_take(&mux->pool, size);
	if (!copy)
		return NULL;
	*copy = *publish;
	copy->block_size = (uint32_t)size;
	copy->head_len = (uint32_t)head_len;
	memcpy(copy->data, buf_span(&mux->scratch).data, head_len);
	if (publish->body_len > 0)
		memcpy(copy->data + head_len, publish_body(publish).data, publish->body_len);
	list_init(&copy->op.node);
	list_prepend(&publish->op.node, &copy->op.node);
	list_unlink(&publish->op.node);
	publish_free(mux, publish);
	return copy;
}

void outcome_flush(struct channel *channel)
{
	const struct fault *fault = fault_is_set(&channel->run_fault) ? &channel->run_fault : NULL;
	uint64_t first = channel->run_first;

	if (first == 0)
		return;
	channel->run_first = 0;
	if (channel->session)
		channel->session->ops->outcome(channel->session->context, channel->id, channel->run_kind,
					       first, channel->run_last, fault);
}

/* Without a reason, as nearly all are, nothing is compared. */
static bool has_reason(const struct channel *channel, const struct fault *fault)
{
	if (!fault)
		return !fault_is_set(&channel->run_fault);
	return fault_equal(&channel->run_fault, fault);
}

void outcome_add_run(struct channel *channel, enum outcome_kind kind, uint64_t first, uint64_t last,
		     const struct fault *fault)
{
	if (channel->run_first != 0 && channel->run_kind == kind && first == channel->run_last + 1 &&
	    has_reason(channel, fault)) {
		channel->run_last = last;
		return;
	}
	outcome_flush(channel);
	channel->run_kind = kind;
	channel->run_first = first;
	channel->run_last = last;
	if (fault)
		channel->run_fault = *fault;
	else
		channel->run_fault.code = 0;
	channel_touch(channel);
}

static void tell_recorder(struct session *session, const struct publish *publish, enum outcome_kind kind,
			  const struct fault *fault)
{
	if (kind == OUTCOME_RETURNED)
		recorder_end(session, publish->record, true, AMQC_NO_ROUTE);
	else
		recorder_end(session, publish->record, kind != OUTCOME_CONFIRMED, fault ? fault->code : 0);
}

void publish_release(struct publish *publish)
{
	struct channel *channel = publish->op.channel;

	if (!channel)
		return;
	channel->unsettled_bytes -= publish->cost_bytes;
	if (channel->session)
		credit_release(channel->session, publish->cost_bytes);
	else
		charge_lower(&channel->charge, publish->cost_bytes);
	publish->op.channel = NULL;
}

void publish_settle(struct publish *publish, enum outcome_kind kind, const struct fault *fault)
{
	struct channel *channel = publish->op.channel;

	if (publish->settled)
		return;
	publish->settled = true;
	channel->unsettled--;
	channel->unsettled_bytes -= publish->cost_bytes;
	if (!channel->session)
		charge_lower(&channel->charge, publish->cost_bytes);
	/* The credit of a returned one comes back when the session has taken the returned body. */
	if (channel->session && !publish->returned)
		credit_release(channel->session, publish->cost_bytes);
	if (!channel->session && kind != OUTCOME_CONFIRMED && !channel->tx.begun)
		log_warning("a publish whose session has ended was not confirmed");
	if (channel->session)
		tell_recorder(channel->session, publish, kind, fault);
	outcome_add(channel, kind, publish->number, fault);
	channel_touch(channel);
	publish->op.channel = NULL;
}

static void end_queued(struct publish *publish, enum outcome_kind kind, const struct fault *fault)
{
	struct mux *mux = publish->op.channel->upstream->mux;

	list_unlink(&publish->op.node);
	publish_settle(publish, kind, fault);
	publish_free(mux, publish);
}

void publish_discard(struct publish *publish, const struct fault *fault)
{
	bool in_doubt = publish->sent_before || publish_is_in_doubt(publish->op.channel, publish->resent);

	end_queued(publish, in_doubt ? OUTCOME_UNKNOWN : OUTCOME_NOT_SENT, fault);
}

void publish_done(struct publish *publish, enum outcome_kind kind)
{
	end_queued(publish, kind, NULL);
}

/* ------------------------------------------------------------------ returns */

/* The payload of its header frame. */
static struct span publish_header(const struct publish *publish)
{
	return span_make(publish->data + publish->method_len + AMQC_FRAME_OVERHEAD - 1,
			 publish->head_len - publish->method_len - AMQC_FRAME_OVERHEAD);
}

static struct span exchange_of(const struct publish *publish)
{
	return span_make(publish->data + publish->exchange_at, publish->exchange_len);
}

static struct span key_of(const struct publish *publish)
{
	return span_make(publish->data + publish->key_at, publish->key_len);
}

void publish_returned(struct publish *publish, const struct amqc_basic_return *method,
		      const struct mux_content *content)
{
	struct channel *channel = publish->op.channel;
	struct session *session = channel ? channel->session : NULL;
	struct mux_handed handed;

	publish->returned = true; /* the next return is about another one */
	if (!session)
		return; /* its deadline has passed, or its session is gone */
	handed = session->ops->returned(session->context, channel->id, publish->number, method, content);
	if (handed.position > 0)
		backlog_add(session, &handed);
	taken_add(session, &(struct taken){.position = handed.position,
					   .channel = channel->id,
					   .cost_bytes = publish->cost_bytes});
}

void publish_returned_as_sent(struct publish *publish)
{
	struct amqc_basic_return method = {.reply_code = AMQC_NO_ROUTE,
					   .reply_text = SPAN_LITERAL("NO_ROUTE"),
					   .exchange = exchange_of(publish),
					   .routing_key = key_of(publish)};
	struct amqc_content_header header;
	struct mux_content content = {&header.properties, publish_body(publish)};

	if (amqc_content_header_decode(publish_header(publish), &header) == AMQC_OK)
		publish_returned(publish, &method, &content);
}

/* ------------------------------------------------------------------ confirms */

static bool confirms_grow(struct confirms *confirms)
{
	size_t old_slots = confirms->ring ? confirms->mask + 1 : 0;
	size_t slots = old_slots ? old_slots * 2 : CONFIRMS_MIN;
	struct publish **ring = calloc(slots, sizeof(*ring));

	if (!ring)
		return false;
	for (uint64_t tag = confirms->first; tag != confirms->next; tag++)
		ring[tag & (slots - 1)] = confirms->ring[tag & confirms->mask];
	free(confirms->ring);
	confirms->ring = ring;
	confirms->mask = slots - 1;
	return true;
}

static void count_sent(struct lane *lane, const struct publish *publish)
{
	uint64_t bytes = publish_window_bytes(publish);

	lane->upstream->unconfirmed_messages++;
	lane->upstream->unconfirmed_bytes += bytes;
	lane->party->unconfirmed_messages++;
	lane->party->unconfirmed_bytes += bytes;
}

/* The window has room again. */
static void count_ended(struct lane *lane, const struct publish *publish)
{
	uint64_t bytes = publish_window_bytes(publish);

	lane->upstream->unconfirmed_messages--;
	lane->upstream->unconfirmed_bytes -= bytes;
	lane->upstream->confirmed_bytes += bytes;
	lane->upstream->window_freed = true;
	lane->party->unconfirmed_messages--;
	lane->party->unconfirmed_bytes -= bytes;
}

bool confirms_push(struct lane *lane, struct publish *publish)
{
	struct confirms *confirms = &lane->confirms;

	if ((!confirms->ring || confirms->next - confirms->first > confirms->mask) &&
	    !confirms_grow(confirms))
		return false;
	confirms->ring[confirms->next & confirms->mask] = publish;
	confirms->next++;
	count_sent(lane, publish);
	return true;
}

/* Empties a slot. */
static void slot_clear(struct lane *lane, uint64_t tag)
{
	struct publish **slot = &lane->confirms.ring[tag & lane->confirms.mask];
	struct publish *publish = *slot;
	struct upstream *upstream = lane->upstream;

	*slot = NULL;
	count_ended(lane, publish);
	if (lane->sending == publish)
		publish->dropped = true;
	else
		publish_free(upstream->mux, publish);
}

void publish_sent(struct lane *lane)
{
	struct publish *publish = lane->sending;

	lane->sending = NULL;
	if (!publish || !publish->dropped)
		return;
	publish_release(publish);
	publish_free(lane->upstream->mux, publish);
}

struct publish *confirms_take(struct lane *lane, uint64_t tag)
{
	struct publish *publish = lane->confirms.ring[tag & lane->confirms.mask];

	if (!publish)
		return NULL;
	/* The broker had it, and no queue for it: nothing is lost with the confirm, and nothing sent twice.
	 */
	if (publish->returned)
		publish_settle(publish, OUTCOME_RETURNED, NULL);
	if (publish->settled) {
		slot_clear(lane, tag);
		return NULL;
	}
	if (lane->sending == publish)
		lane->sending = NULL;
	lane->confirms.ring[tag & lane->confirms.mask] = NULL;
	count_ended(lane, publish);
	return publish;
}

static void slot_settle(struct lane *lane, uint64_t tag, bool nack)
{
	struct publish *publish = lane->confirms.ring[tag & lane->confirms.mask];
	enum outcome_kind kind = nack				? OUTCOME_NACKED
				 : publish && publish->returned ? OUTCOME_RETURNED
								: OUTCOME_CONFIRMED;

	if (!publish)
		return;
	publish_settle(publish, kind, NULL);
	slot_clear(lane, tag);
}

bool confirms_settle(struct lane *lane, uint64_t tag, bool multiple, bool nack)
{
	struct confirms *confirms = &lane->confirms;
	uint64_t from = multiple ? confirms->first : tag;

	if (tag == 0 && multiple)
		tag = confirms->next - 1;
	if (tag >= confirms->next || tag < confirms->first)
		return tag < confirms->first;
	for (; from <= tag; from++)
		slot_settle(lane, from, nack);
	while (confirms->first != confirms->next && !confirms->ring[confirms->first & confirms->mask])
		confirms->first++;
	return true;
}

void confirms_end(struct lane *lane, const struct fault *fault)
{
	struct confirms *confirms = &lane->confirms;

	for (uint64_t tag = confirms->first; tag != confirms->next; tag++) {
		struct publish *publish = confirms->ring[tag & confirms->mask];

		if (!publish)
			continue;
		publish_settle(publish, OUTCOME_UNKNOWN, fault);
		slot_clear(lane, tag);
	}
	lane->abandoned |= confirms->first != confirms->next;
	confirms->first = confirms->next;
}

static bool may_be_returned(const struct publish *publish, const struct amqc_basic_return *method,
			    struct span body)
{
	return publish && publish->mandatory && !publish->returned &&
	       span_equal(method->exchange, exchange_of(publish)) &&
	       span_equal(method->routing_key, key_of(publish)) && span_equal(body, publish_body(publish));
}

struct publish *confirms_find_returned(struct lane *lane)
{
	const struct confirms *confirms = &lane->confirms;
	const struct assemble *in = &lane->in;
	struct span header = span_first(span_skip(buf_span(&in->kept), in->method_len), in->header_len);
	struct publish *oldest = NULL;

	for (uint64_t tag = confirms->first; tag != confirms->next; tag++) {
		struct publish *publish = confirms->ring[tag & confirms->mask];

		if (!may_be_returned(publish, &in->method.basic_return, in->body))
			continue;
		if (span_equal(header, publish_header(publish)))
			return publish;
		if (!oldest)
			oldest = publish;
	}
	return oldest;
}

void confirms_rest(struct lane *lane)
{
	struct confirms *confirms = &lane->confirms;

	assert(confirms->first == confirms->next);
	if (confirms->mask < CONFIRMS_MIN)
		return;
	free(confirms->ring);
	confirms->ring = NULL;
	confirms->mask = 0;
}

void confirms_deinit(struct lane *lane)
{
	struct confirms *confirms = &lane->confirms;

	for (uint64_t tag = confirms->first; tag != confirms->next; tag++) {
		if (confirms->ring[tag & confirms->mask])
			slot_clear(lane, tag);
	}
	free(confirms->ring);
	*confirms = (struct confirms){0};
}
