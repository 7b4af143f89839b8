#include "daemon/mux/delivery.h"

#include "daemon/amqp/reply.h"
#include "daemon/mux/lane.h"
#include "daemon/mux/state/consumer.h"
#include "daemon/mux/state/delivery.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/touch.h"
#include "daemon/mux/tx.h"

#include <stdlib.h>

#define DELIVERIES_MIN BITS_SIZE_MIN /* slots of a ring */

/* So many acks may wait, and of a consumer's prefetch such a part: the rest keeps the messages coming. */
#define UNHURRIED_MAX 32u
#define UNHURRIED_PART 4u

static enum slot_state slot_get(const struct deliveries *d, uint64_t tag)
{
	return (enum slot_state)(d->ring[tag & d->mask] & ~(SLOT_STREAM | SLOT_DOUBT | SLOT_COUNTS));
}

static enum slot_kind slot_kind(const struct deliveries *d, uint64_t tag)
{
	return (enum slot_kind)(d->ring[tag & d->mask] & (SLOT_STREAM | SLOT_DOUBT));
}

static bool has_slot(const struct deliveries *d, uint64_t tag)
{
	return tag >= d->first && tag < d->next;
}

/*
 * The first slot of the set from that tag on, d->next if there is none: in a
 * few steps, for who keeps one message may settle millions behind it.
 */
static uint64_t next_in(const struct deliveries *d, const struct bits *set, uint64_t from)
{
	size_t at, found;

	if (from < d->first)
		from = d->first;
	if (from >= d->next)
		return d->next;
	at = from & d->mask;
	found = bits_next(set, at);
	if (found == BITS_NONE)
		found = bits_next(set, 0);
	return found == BITS_NONE || ((found - at) & d->mask) >= d->next - from
		   ? d->next
		   : from + ((found - at) & d->mask);
}

static uint64_t next_unsettled(const struct deliveries *d, uint64_t from)
{
	return next_in(d, &d->unsettled, from);
}

static uint64_t next_out(const struct deliveries *d, uint64_t from)
{
	return next_in(d, &d->out, from);
}

/* Every slot that is not DONE; what is done meanwhile may settle it. */
#define foreach_unsettled(tag, d) \
	for (uint64_t tag = next_unsettled(d, (d)->first); tag != (d)->next; tag = next_unsettled(d, tag + 1))

static bool is_tx(const struct channel *channel)
{
	return channel->lane && channel->lane->tx.on;
}

/* What counts for qos is settled when the broker counts it as settled, too. */
static bool client_has(const struct channel *channel, enum slot_state state)
{
	return state == SLOT_OUT || state == SLOT_TX || (state == SLOT_ACKED && is_tx(channel));
}

/* The slot goes from one state to the other. */
static void count_states(struct channel *channel, uint8_t slot, enum slot_state old, enum slot_state state)
{
	struct deliveries *d = &channel->deliveries;

	d->open -= old != SLOT_DONE;
	d->open += state != SLOT_DONE;
	d->acked -= old == SLOT_ACKED;
	d->acked += state == SLOT_ACKED;
	d->unhurried += old == SLOT_TAKEN && state == SLOT_ACKED;
	d->tx -= old == SLOT_TX || old == SLOT_TX_BACK;
	d->tx += state == SLOT_TX || state == SLOT_TX_BACK;
	d->back -= old == SLOT_BACK;
	d->back += state == SLOT_BACK;
	if (!(slot & SLOT_COUNTS))
		return;
	d->counted -= client_has(channel, old);
	d->counted += client_has(channel, state);
}

static void put_in_sets(struct deliveries *d, uint64_t tag, enum slot_state old, enum slot_state state)
{
	size_t at = tag & d->mask;

	if ((old != SLOT_DONE) != (state != SLOT_DONE))
		bits_put(&d->unsettled, at, state != SLOT_DONE);
	if ((old == SLOT_OUT) != (state == SLOT_OUT))
		bits_put(&d->out, at, state == SLOT_OUT);
	if ((old == SLOT_ACKED) != (state == SLOT_ACKED))
		bits_put(&d->settling, at, state == SLOT_ACKED);
}

void delivery_set(struct channel *channel, uint64_t lane_tag, enum slot_state state)
{
	struct deliveries *d = &channel->deliveries;
	enum slot_state old;
	uint8_t *slot;

	if (!has_slot(d, lane_tag))
		return;
	old = slot_get(d, lane_tag);
	slot = &d->ring[lane_tag & d->mask];
	if (channel->session) {
		channel->session->unacked -= old == SLOT_OUT;
		channel->session->unacked += state == SLOT_OUT;
	}
	channel->unacked -= old == SLOT_OUT;
	channel->unacked += state == SLOT_OUT;
	count_states(channel, *slot, old, state);
	put_in_sets(d, lane_tag, old, state);
	*slot = (uint8_t)((unsigned int)state | slot_kind(d, lane_tag) | (*slot & SLOT_COUNTS));
	if (state == SLOT_ACKED || state == SLOT_DONE || state == SLOT_BACK)
		channel_touch(channel);
}

void delivery_counts(struct channel *channel, uint64_t lane_tag)
{
	struct deliveries *d = &channel->deliveries;

	if (has_slot(d, lane_tag))
		d->ring[lane_tag & d->mask] |= SLOT_COUNTS;
}

void delivery_set_kind(struct channel *channel, uint64_t lane_tag, enum slot_kind kind)
{
	struct deliveries *d = &channel->deliveries;

	if (!has_slot(d, lane_tag) || kind == SLOT_RETURNABLE)
		return;
	d->ring[lane_tag & d->mask] |= (uint8_t)kind;
	d->streams = true;
}

/* The sets first, for they are of words. */
static size_t block_bytes(size_t slots)
{
	return 3 * bits_words(slots) * sizeof(uint64_t) + slots;
}

/* False: no memory. */
static bool make_block(struct deliveries *d, size_t slots)
{
	uint64_t *words = malloc(block_bytes(slots));

	if (!words)
		return false;
	d->block = words;
	bits_init(&d->unsettled, words, slots);
	bits_init(&d->out, words + bits_words(slots), slots);
	bits_init(&d->settling, words + 2 * bits_words(slots), slots);
	d->ring = (uint8_t *)(words + 3 * bits_words(slots));
	d->mask = slots - 1;
	return true;
}

/* The first block is small, and nobody's. */
static bool pay_block(struct channel *channel, size_t more)
{
	struct deliveries *d = &channel->deliveries;

	return !d->block || !channel->session || charge_take(&d->charge, &channel->session->memory, more);
}

static bool deliveries_grow(struct channel *channel)
{
	struct deliveries *d = &channel->deliveries, old = *d;
	size_t slots = d->block ? (d->mask + 1) * 2 : DELIVERIES_MIN;
	size_t more = block_bytes(slots) - (d->block ? block_bytes(slots / 2) : 0);

	if (!pay_block(channel, more))
		return false;
	if (!make_block(d, slots)) {
		charge_lower(&d->charge, d->charge.bytes - old.charge.bytes);
		return false;
	}
	for (uint64_t tag = d->first; tag != d->next; tag++) {
		d->ring[tag & d->mask] = old.ring[tag & old.mask];
		put_in_sets(d, tag, SLOT_DONE, slot_get(d, tag));
	}
	free(old.block);
	return true;
}

/* Forgets what is settled at the front. */
static void deliveries_advance(struct deliveries *d)
{
	if (d->first != d->next && slot_get(d, d->first) == SLOT_DONE)
		d->first = next_unsettled(d, d->first);
}

bool delivery_add(struct channel *channel, uint64_t lane_tag, enum slot_state state)
{
	struct deliveries *d = &channel->deliveries;

	if (lane_tag != d->next)
		return false; /* the broker counts in steps of one */
	deliveries_advance(d);
	if ((!d->block || d->next - d->first > d->mask) && !deliveries_grow(channel))
		return false;
	d->ring[d->next & d->mask] = SLOT_DONE;
	d->next++;
	delivery_set(channel, lane_tag, state);
	return true;
}

static void send_ack(struct channel *channel, uint64_t tag, bool multiple)
{
	struct amqc_method method = {.id = AMQC_BASIC_ACK};

	method.basic_ack.delivery_tag = tag;
	method.basic_ack.multiple = multiple;
	lane_control(channel->lane, &method);
}

static void send_nack(struct channel *channel, uint64_t tag, bool multiple, bool requeue)
{
	struct amqc_method method = {.id = AMQC_BASIC_NACK};

	method.basic_nack.delivery_tag = tag;
	method.basic_nack.multiple = multiple;
	method.basic_nack.requeue = requeue;
	lane_control(channel->lane, &method);
}

static void give_back(struct channel *channel, uint64_t tag);

/* They must not wait any longer: the end of the transaction may come. */
static void flush_backs(struct channel *channel)
{
	struct deliveries *d = &channel->deliveries;

	foreach_unsettled(tag, d)
	{
		if (slot_get(d, tag) == SLOT_BACK)
			give_back(channel, tag);
		if (d->back == 0)
			return;
	}
}

static void flush_acks(struct channel *channel, enum slot_state settled)
{
	struct deliveries *d = &channel->deliveries;
	uint64_t highest = 0, count = 0, tag = next_unsettled(d, d->first);

	/* With multiple, the broker wants the tag itself to be unsettled: so the last one that is ACKED. */
	for (; tag != d->next && slot_get(d, tag) == SLOT_ACKED; tag = next_unsettled(d, tag + 1)) {
		highest = tag;
		count++;
		delivery_set(channel, tag, settled);
	}
	if (count > 0)
		send_ack(channel, highest, count > 1);
	while (d->acked > 0) {
		tag = next_in(d, &d->settling, tag);
		send_ack(channel, tag, false);
		delivery_set(channel, tag, settled);
	}
	d->unhurried = 0;
}

void delivery_flush(struct channel *channel)
{
	struct deliveries *d = &channel->deliveries;

	if (!channel->lane || tx_is_silent(channel->lane))
		return;
	if (d->acked > 0)
		flush_acks(channel, is_tx(channel) ? SLOT_TX : SLOT_DONE);
	if (d->back > 0)
		flush_backs(channel);
	deliveries_advance(d);
}

bool delivery_may_wait(const struct channel *channel)
{
	const struct deliveries *d = &channel->deliveries;
	const struct consumer *consumer;

	if (channel->state != CHANNEL_OPEN || channel->consumer_count == 0 || d->acked != d->unhurried ||
	    d->acked > UNHURRIED_MAX)
		return false;
	list_foreach (consumer, &channel->consumers, node) {
		if (d->acked > consumer->prefetch / UNHURRIED_PART)
			return false;
	}
	return true;
}

/* True if everything up to last is with the client or settled: one nack with multiple covers just that. */
static bool covers_front(const struct deliveries *d, uint64_t last)
{
	foreach_unsettled(tag, d)
	{
		if (tag > last)
			return true;
		if (slot_get(d, tag) != SLOT_OUT)
			return false;
	}
	return true;
}

/* A broker would end the connection for it. */
static bool hits_a_stream(const struct deliveries *d, uint64_t from, uint64_t to, struct fault *ret_fault)
{
	for (uint64_t tag = next_out(d, from); d->streams && tag <= to && tag != d->next;
	     tag = next_out(d, tag + 1)) {
		if (slot_kind(d, tag) == SLOT_RETURNABLE)
			continue;
		*ret_fault = fault_make(AMQC_NOT_IMPLEMENTED,
					"NOT_IMPLEMENTED - basic.nack and basic.reject not supported by "
					"stream queues (delivery tag %llu)",
					(unsigned long long)(tag - d->lane_base + d->client_base));
		return true;
	}
	return false;
}

static void settle_nack(struct channel *channel, uint64_t from, uint64_t to, bool requeue)
{
	struct deliveries *d = &channel->deliveries;
	enum slot_state settled = is_tx(channel) ? SLOT_TX : SLOT_DONE;
	bool multiple;
	uint64_t highest = 0, count = 0;

	delivery_flush(channel); /* so that acks never come behind a nack that covers them */
	if (from < d->first)
		from = d->first;
	multiple = from == d->first && from <= to && covers_front(d, to);
	for (uint64_t tag = next_out(d, from); tag <= to && tag != d->next; tag = next_out(d, tag + 1)) {
		if (!multiple)
			send_nack(channel, tag, false, requeue);
		highest = tag;
		count++;
		delivery_set(channel, tag, settled);
	}
	if (multiple && count > 0)
		send_nack(channel, highest, count > 1, requeue);
	deliveries_advance(d);
}

/* 0: it is from before this lease. */
static uint64_t lane_tag_of(const struct deliveries *d, uint64_t client_tag)
{
	return client_tag > d->client_base ? client_tag - d->client_base + d->lane_base : 0;
}

void delivery_taken(struct channel *channel, uint64_t tag)
{
	uint64_t lane_tag = lane_tag_of(&channel->deliveries, tag);

	if (has_slot(&channel->deliveries, lane_tag) &&
	    slot_get(&channel->deliveries, lane_tag) == SLOT_TAKEN)
		delivery_set(channel, lane_tag, SLOT_ACKED);
}

bool delivery_settle(struct channel *channel, enum settle_kind kind, uint64_t first, uint64_t last,
		     struct fault *ret_fault)
{
	struct deliveries *d = &channel->deliveries;
	uint64_t from = lane_tag_of(d, first);
	uint64_t to = lane_tag_of(d, last);

	if (last != 0 && first <= last && last <= d->stale)
		return true;
	if (first == 0 && last == 0)
		to = d->next - 1;
	if (to >= d->next || first > last ||
	    (first == last && first != 0 && (!has_slot(d, to) || slot_get(d, to) != SLOT_OUT))) {
		*ret_fault =
		    fault_make(AMQC_PRECONDITION_FAILED, "PRECONDITION_FAILED - unknown delivery tag %llu",
			       (unsigned long long)last);
		return false;
	}
	if (from < d->first)
		from = d->first;
	if (!channel->lane || from > to)
		return true;
	if (kind != SETTLE_ACK) {
		if (hits_a_stream(d, from, to, ret_fault))
			return false;
		settle_nack(channel, from, to, kind == SETTLE_REQUEUE);
		return true;
	}
	for (uint64_t tag = next_out(d, from); tag <= to && tag != d->next; tag = next_out(d, tag + 1))
		delivery_set(channel, tag, SLOT_ACKED);
	return true;
}

static void give_back(struct channel *channel, uint64_t tag)
{
	switch (slot_kind(&channel->deliveries, tag)) {
	case SLOT_RETURNABLE:
		send_nack(channel, tag, false, true);
		break;
	case SLOT_STREAM:
		send_ack(channel, tag, false);
		break;
	default:
		return; /* acked, it might be lost; nacked, the connection */
	}
	delivery_set(channel, tag, is_tx(channel) ? SLOT_TX_BACK : SLOT_DONE);
}

void delivery_requeue(struct channel *channel, uint64_t lane_tag)
{
	if (!channel->lane || !has_slot(&channel->deliveries, lane_tag) ||
	    slot_get(&channel->deliveries, lane_tag) == SLOT_DONE)
		return;
	if (!is_tx(channel)) {
		delivery_flush(channel);
		give_back(channel, lane_tag);
	} else if (slot_kind(&channel->deliveries, lane_tag) != SLOT_DOUBT) {
		delivery_set(channel, lane_tag, SLOT_BACK);
	}
}

/* One by one, for a nack must not cover what is of a stream. */
static void give_back_each(struct channel *channel)
{
	struct deliveries *d = &channel->deliveries;

	foreach_unsettled(tag, d) give_back(channel, tag);
	deliveries_advance(d);
}

void delivery_requeue_all(struct channel *channel)
{
	struct deliveries *d = &channel->deliveries;
	uint64_t highest = 0;

	delivery_flush(channel);
	if (d->streams && channel->lane) {
		give_back_each(channel);
		return;
	}
	foreach_unsettled(tag, d)
	{
		highest = tag;
		delivery_set(channel, tag, SLOT_DONE);
	}
	if (highest > 0 && channel->lane)
		send_nack(channel, highest, true, true);
	deliveries_advance(d);
}

void delivery_committed(struct channel *channel)
{
	struct deliveries *d = &channel->deliveries;

	foreach_unsettled(tag, d)
	{
		if (d->tx == 0)
			break;
		if (slot_get(d, tag) == SLOT_TX || slot_get(d, tag) == SLOT_TX_BACK)
			delivery_set(channel, tag, SLOT_DONE);
	}
	deliveries_advance(d);
}

void delivery_rolled_back(struct channel *channel)
{
	struct deliveries *d = &channel->deliveries;

	foreach_unsettled(tag, d)
	{
		if (d->tx == 0)
			return;
		if (slot_get(d, tag) == SLOT_TX)
			delivery_set(channel, tag, SLOT_OUT);
		else if (slot_get(d, tag) == SLOT_TX_BACK)
			delivery_set(channel, tag, SLOT_BACK);
	}
}

void delivery_recovered(struct channel *channel)
{
	struct deliveries *d = &channel->deliveries;

	foreach_unsettled(tag, d)
	{
		if (slot_get(d, tag) != SLOT_TX && slot_get(d, tag) != SLOT_TX_BACK)
			delivery_set(channel, tag, SLOT_DONE);
	}
	deliveries_advance(d);
}

bool delivery_has_stream(const struct channel *channel, struct fault *ret_fault)
{
	const struct deliveries *d = &channel->deliveries;

	foreach_unsettled(tag, d)
	{
		if (!d->streams)
			return false;
		if (slot_kind(d, tag) == SLOT_RETURNABLE)
			continue;
		*ret_fault = fault_make(AMQC_NOT_IMPLEMENTED,
					"NOT_IMPLEMENTED - basic.recover not supported by stream queues");
		return true;
	}
	return false;
}

void delivery_take_all(struct channel *channel)
{
	struct deliveries *d = &channel->deliveries;

	foreach_unsettled(tag, d)
	{
		if (slot_get(d, tag) == SLOT_TAKEN)
			delivery_set(channel, tag, SLOT_ACKED);
	}
}

void delivery_begin(struct channel *channel)
{
	struct deliveries *d = &channel->deliveries;

	d->lane_base = channel->lane->delivered;
	d->first = d->lane_base + 1;
	d->next = d->first;
}

void delivery_unpay(struct channel *channel)
{
	charge_end(&channel->deliveries.charge);
}

void delivery_deinit(struct channel *channel)
{
	delivery_unpay(channel);
	free(channel->deliveries.block);
}

void delivery_reset(struct channel *channel)
{
	struct deliveries *d = &channel->deliveries;

	foreach_unsettled(tag, d) delivery_set(channel, tag, SLOT_DONE);
	delivery_deinit(channel);
	/* The client's tags go on where they were. */
	*d = (struct deliveries){.first = 1,
				 .next = 1,
				 .client_base = d->client_base + d->next - 1 - d->lane_base,
				 .stale = d->stale};
}

void delivery_lost(struct channel *channel)
{
	delivery_reset(channel);
	channel->deliveries.stale = channel->deliveries.client_base;
}
