#include "daemon/mux/party.h"

#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/share.h"
#include "daemon/mux/state/upstream.h"

/* Of what is left of a window, a party may have so many times as much under way. */
#define SHARE_OF_REST 2u

void parties_init(struct upstream *upstream)
{
	list_init(&upstream->fresh);
	list_init(&upstream->active);
	list_init(&upstream->held);
	party_init(&upstream->common, upstream);
}

void party_init(struct party *party, struct upstream *upstream)
{
	*party = (struct party){.upstream = upstream, .deficit = PARTY_QUANTUM_BYTES};
	list_init(&party->turn_node);
	list_init(&party->held_node);
	list_init(&party->ready);
	list_init(&party->held);
}

static void leave_held(struct party *party)
{
	if (list_empty(&party->held_node))
		return;
	list_unlink(&party->held_node);
	party->upstream->held_back--;
}

static void leave_turns(struct party *party)
{
	if (list_empty(&party->turn_node))
		return;
	list_unlink(&party->turn_node);
	party->upstream->taking_turns--;
}

/* Every party of the round has had its part since this one's was renewed. */
static bool round_is_over(const struct party *party)
{
	const struct upstream *upstream = party->upstream;

	/* Those that wait for the window are of the round too, or who fills it would begin a new one each
	 * time. */
	return upstream->sent_bytes - party->renewed_at >=
	       (uint64_t)PARTY_QUANTUM_BYTES * (upstream->taking_turns + upstream->held_back);
}

static void join_turns(struct party *party)
{
	struct upstream *upstream = party->upstream;
	bool fresh;

	if (!list_empty(&party->turn_node))
		return;
	if (round_is_over(party)) {
		party->deficit = PARTY_QUANTUM_BYTES;
		party->begun = false;
		party->renewed_at = upstream->sent_bytes;
	}
	/* Those that wait for the window come densely, whatever is left of their part. */
	fresh = party->deficit > 0 && list_empty(&party->held_node);
	if (party->deficit <= 0)
		party->deficit += PARTY_QUANTUM_BYTES;
	list_append(fresh ? &upstream->fresh : &upstream->active, &party->turn_node);
	upstream->taking_turns++;
}

void party_ready(struct lane *lane)
{
	if (lane->is_ready)
		return;
	list_unlink(&lane->send_node);
	list_append(&lane->party->ready, &lane->send_node);
	lane->is_ready = true;
	join_turns(lane->party);
}

void party_hold(struct lane *lane)
{
	struct party *party = lane->party;
	struct list *line = &party->upstream->held;

	list_unlink(&lane->send_node);
	list_append(&party->held, &lane->send_node);
	lane->is_ready = false;
	if (!list_empty(&party->held_node))
		return;
	party->upstream->held_back++;
	/* Who has begun its part goes on with it, or a small message would count as much as a large one. */
	if (party->deficit > 0 && party->begun)
		list_prepend(line, &party->held_node);
	else
		list_append(line, &party->held_node);
}

void party_rest(struct lane *lane)
{
	list_unlink(&lane->send_node);
	lane->is_ready = false;
}

/* ------------------------------------------------------------------ belonging */

static void count_unconfirmed(const struct lane *lane, uint64_t *ret_messages, uint64_t *ret_bytes)
{
	const struct confirms *confirms = &lane->confirms;

	*ret_messages = lane->tx.messages;
	*ret_bytes = lane->tx.bytes;
	for (uint64_t tag = confirms->first; tag != confirms->next; tag++) {
		const struct publish *publish = confirms->ring[tag & confirms->mask];

		if (!publish)
			continue;
		++*ret_messages;
		*ret_bytes += publish_window_bytes(publish);
	}
}

void party_take(struct party *party, struct lane *lane)
{
	bool was_ready = lane->is_ready, was_held = !was_ready && !list_empty(&lane->send_node);
	uint64_t messages, bytes;

	if (lane->party == party)
		return;
	count_unconfirmed(lane, &messages, &bytes);
	lane->party->unconfirmed_messages -= messages;
	lane->party->unconfirmed_bytes -= bytes;
	party->unconfirmed_messages += messages;
	party->unconfirmed_bytes += bytes;
	party_rest(lane);
	lane->party = party;
	if (was_ready)
		party_ready(lane);
	else if (was_held)
		party_hold(lane);
}

void party_deinit(struct party *party)
{
	leave_turns(party);
	leave_held(party);
}

/* ------------------------------------------------------------------ turns */

struct lane *party_next(struct upstream *upstream, size_t *ret_budget)
{
	for (;;) {
		struct party *party = list_first(&upstream->fresh, struct party, turn_node);

		if (!party)
			party = list_first(&upstream->active, struct party, turn_node);
		if (!party)
			return NULL;
		if (list_empty(&party->ready)) {
			leave_turns(party);
		} else if (party->deficit <= 0) {
			party_spend(party, 0);
		} else {
			*ret_budget = (size_t)party->deficit;
			return list_first(&party->ready, struct lane, send_node);
		}
	}
}

/* Its part of this round is used up. */
static void begin_part(struct party *party)
{
	struct upstream *upstream = party->upstream;

	party->deficit += PARTY_QUANTUM_BYTES;
	party->begun = false;
	party->renewed_at = upstream->sent_bytes;
	if (!list_empty(&party->held_node)) {
		list_unlink(&party->held_node);
		list_append(&upstream->held, &party->held_node);
	}
	if (!list_empty(&party->turn_node)) {
		list_unlink(&party->turn_node);
		list_append(&upstream->active, &party->turn_node);
	}
}

void party_spend(struct party *party, size_t bytes)
{
	struct upstream *upstream = party->upstream;

	upstream->sent_bytes += bytes;
	party->deficit -= (int64_t)bytes;
	if (list_empty(&party->ready))
		leave_turns(party);
	if (list_empty(&party->turn_node) && list_empty(&party->held_node))
		return;
	if (party->deficit <= 0) {
		begin_part(party);
	} else if (party->begun && bytes > 0 && !list_empty(&party->held_node)) {
		list_unlink(&party->held_node);
		list_prepend(&upstream->held, &party->held_node);
	}
}

/* ------------------------------------------------------------------ the window */

static bool has_share(uint64_t used, uint64_t total, uint64_t size)
{
	return total < size && used < SHARE_OF_REST * (size - total);
}

bool party_may_publish(struct party *party)
{
	struct upstream *upstream = party->upstream;
	const struct upstream_options *options = &upstream->options;

	if (upstream->unconfirmed_messages == 0)
		return true;
	if (upstream->unconfirmed_messages >= options->unconfirmed_messages ||
	    upstream->unconfirmed_bytes >= options->unconfirmed_bytes)
		return false;
	if (party->unconfirmed_messages == 0)
		return true;
	if (!has_share(party->unconfirmed_messages, upstream->unconfirmed_messages,
		       options->unconfirmed_messages))
		return false;
	if (has_share(party->unconfirmed_bytes, upstream->unconfirmed_bytes, window_bytes(&upstream->window)))
		return true;
	window_was_full(&upstream->window);
	return false;
}

/*
 * First those lanes that had nothing last time, or the first one would have it
 * all. A party that has a turn already, for an ack or the like, does not pass
 * those that waited longer.
 */
static void release(struct party *party, bool all)
{
	struct lane *lane, *tmp;

	leave_turns(party);
	for (int served = all; served <= 1; served++) {
		list_foreach_safe (lane, tmp, &party->held, send_node) {
			if (lane->served > served)
				continue;
			lane->served = false;
			party_ready(lane);
		}
	}
	if (!list_empty(&party->ready))
		join_turns(party);
	leave_held(party);
}

void party_release(struct upstream *upstream, bool all)
{
	struct party *party, *tmp;

	/* At the bounds there may be room for one only: for who has nothing under way. */
	for (int other = all; other <= 1; other++) {
		list_foreach_safe (party, tmp, &upstream->held, held_node) {
			if ((other || party->unconfirmed_messages == 0) && (all || party_may_publish(party)))
				release(party, all);
		}
	}
}
