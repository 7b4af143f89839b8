#include "daemon/mux/uncommitted.h"

#include "daemon/amqp/reply.h"
#include "daemon/base/hash.h"
#include "daemon/mux/publish.h"
#include "daemon/mux/recorder.h"
#include "daemon/mux/request.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/share.h"
#include "daemon/mux/state/upstream.h"

#include <stdlib.h>

#define RUNS_MIN 8u

/* ------------------------------------------------------------------ numbers */

/* Names and body, each with its length behind it. */
static uint64_t hash_of(struct span exchange, struct span key, struct span body)
{
	const struct span parts[] = {exchange, key, body};
	uint64_t hash = HASH_BEGIN;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		hash = hash_more(hash, parts[i]);
		hash = hash_more(hash, span_make(&parts[i].len, sizeof(parts[i].len)));
	}
	return hash;
}

static bool runs_grow(struct channel *channel)
{
	struct tx *tx = &channel->tx;
	size_t capacity = tx->run_capacity ? tx->run_capacity * 2 : RUNS_MIN;
	size_t more = (capacity - tx->run_capacity) * sizeof(*tx->runs);
	struct tx_run *runs;

	if (channel->session && !charge_take(&tx->charge, &channel->session->memory, more))
		return false;
	runs = realloc(tx->runs, capacity * sizeof(*runs));
	if (!runs) {
		charge_lower(&tx->charge, channel->session ? more : 0);
		return false;
	}
	tx->runs = runs;
	tx->run_capacity = capacity;
	return true;
}

static bool run_add(struct channel *channel, const struct publish *publish)
{
	struct tx *tx = &channel->tx;
	struct tx_run *last = tx->run_count > 0 ? &tx->runs[tx->run_count - 1] : NULL;
	struct span exchange = span_make(publish->data + publish->exchange_at, publish->exchange_len);
	struct span key = span_make(publish->data + publish->key_at, publish->key_len);

	if (last && !last->mandatory && !publish->mandatory && last->last + 1 == publish->number &&
	    last->record == publish->record) {
		last->last++;
		return true;
	}
	if (tx->run_count == tx->run_capacity && !runs_grow(channel))
		return false;
	tx->runs[tx->run_count++] = (struct tx_run){
	    .first = publish->number,
	    .last = publish->number,
	    .mandatory = publish->mandatory,
	    .record = publish->record,
	    .hash = publish->mandatory ? hash_of(exchange, key, publish_body(publish)) : 0,
	};
	return true;
}

static void runs_free(struct tx *tx)
{
	uint64_t bytes = tx->run_capacity * sizeof(*tx->runs);

	/* Less was paid if the session went meanwhile. */
	charge_lower(&tx->charge, bytes < tx->charge.bytes ? bytes : tx->charge.bytes);
	free(tx->runs);
	tx->runs = NULL;
	tx->run_count = 0;
	tx->run_capacity = 0;
	tx->run_returned = 0;
}

uint64_t uncommitted_returned(struct lane *lane)
{
	const struct amqc_basic_return *method = &lane->in.method.basic_return;
	uint64_t hash = hash_of(method->exchange, method->routing_key, lane->in.body);
	struct tx *tx = &lane->channel->tx;

	for (size_t i = tx->run_returned; i < tx->run_count; i++) {
		struct tx_run *run = &tx->runs[i];

		if (!run->mandatory || run->hash != hash)
			continue;
		run->returned = true;
		tx->run_returned = i + 1;
		return run->first;
	}
	return 0;
}

static void record_end(struct session *session, const struct tx_run *run, enum outcome_kind kind,
		       const struct fault *fault)
{
	uint16_t code = kind == OUTCOME_RETURNED ? AMQC_NO_ROUTE : fault ? fault->code : 0;

	for (uint64_t number = run->first; session && number <= run->last; number++)
		recorder_end(session, run->record, kind != OUTCOME_CONFIRMED, code);
}

void uncommitted_end(struct channel *channel, enum outcome_kind kind, const struct fault *fault)
{
	struct tx *tx = &channel->tx;

	/* One whose body is not out yet is told with the others; its credit need not wait. */
	if (channel->lane && channel->lane->tx.on && channel->lane->sending)
		publish_release(channel->lane->sending);
	for (size_t i = 0; i < tx->run_count; i++) {
		const struct tx_run *run = &tx->runs[i];
		bool returned = run->returned && kind == OUTCOME_CONFIRMED;
		enum outcome_kind how = returned ? OUTCOME_RETURNED : kind;

		channel->unsettled -= run->last - run->first + 1;
		outcome_add_run(channel, how, run->first, run->last, returned ? NULL : fault);
		record_end(channel->session, run, how, fault);
	}
	runs_free(tx);
}

/* ------------------------------------------------------------------ the window */

static void count(struct lane *lane, uint64_t messages, uint64_t bytes)
{
	lane->tx.messages += messages;
	lane->tx.bytes += bytes;
	lane->upstream->unconfirmed_messages += messages;
	lane->upstream->unconfirmed_bytes += bytes;
	lane->party->unconfirmed_messages += messages;
	lane->party->unconfirmed_bytes += bytes;
}

static void uncount(struct lane *lane, uint64_t messages, uint64_t bytes)
{
	lane->tx.messages -= messages;
	lane->tx.bytes -= bytes;
	lane->upstream->unconfirmed_messages -= messages;
	lane->upstream->unconfirmed_bytes -= bytes;
	lane->upstream->confirmed_bytes += bytes;
	lane->upstream->window_freed |= messages > 0;
	lane->party->unconfirmed_messages -= messages;
	lane->party->unconfirmed_bytes -= bytes;
}

bool uncommitted_ask(struct lane *lane)
{
	if (lane->tx.messages == 0 || lane->tx.question)
		return false;
	lane->tx.question = request_send_own(lane, &(struct amqc_method){.id = AMQC_TX_SELECT});
	lane->tx.asked_messages = lane->tx.messages;
	lane->tx.asked_bytes = lane->tx.bytes;
	return lane->tx.question != NULL;
}

void uncommitted_answered(struct lane *lane)
{
	uncount(lane, lane->tx.asked_messages, lane->tx.asked_bytes);
	lane->tx.question = NULL;
	lane->tx.asked_messages = 0;
	lane->tx.asked_bytes = 0;
}

void uncommitted_all_read(struct lane *lane)
{
	uncount(lane, lane->tx.messages, lane->tx.bytes);
	lane->tx.asked_messages = 0;
	lane->tx.asked_bytes = 0;
}

bool uncommitted_add(struct lane *lane, struct publish *publish)
{
	if (!run_add(lane->channel, publish))
		return false;
	count(lane, 1, publish_window_bytes(publish));
	publish->dropped = true;
	return true;
}
