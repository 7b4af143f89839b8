/*
 * Who shares in the upstream (daemon/mux/party.h), and its window: looks into
 * mux, because no client can see who had to wait for whom.
 *
 * Each turn the parties' counts make the upstream's, and who has nothing under
 * way and a publish to send is not passed for long.
 */
#include "daemon/mux/clash.h"
#include "daemon/mux/hold.h"
#include "daemon/mux/party.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/share.h"
#include "daemon/mux/state/upstream.h"
#include "tests/sim/sim.h"

/*
 * What others may begin to send meanwhile: each its part of the round, to which
 * a message counts as no more than another part, and some of the next one, as a
 * large message can end the round for all.
 */
#define PASSED_MOST (CLIENTS_MAX * 3 * PARTY_QUANTUM_BYTES)

/* ------------------------------------------------------------------ turns */

static bool may_send(const struct lane *lane)
{
	struct op *op = lane->channel ? list_first(&lane->channel->queue, struct op, node) : NULL;

	return op && op->kind == OP_PUBLISH && !hold_lane(lane, op) &&
	       !clash_holds_publish(lane->channel, container_of(op, struct publish, op));
}

static bool any_may_send(const struct list *lanes)
{
	const struct lane *lane;

	list_foreach (lane, lanes, send_node) {
		if (may_send(lane))
			return true;
	}
	return false;
}

static void look_at(struct world *world, struct share *share, const struct party *party)
{
	bool waits =
	    party->unconfirmed_messages == 0 && (any_may_send(&party->held) || any_may_send(&party->ready));

	if (!waits || !share->waits)
		*share = (struct share){.since = world->now};
	share->waits = waits;
}

static void pass(struct world *world, struct share *share, uint64_t bytes, const struct life *life)
{
	if (!share->waits || !mono_before(share->since, world->wire.made))
		return;
	share->passed_bytes += bytes < PARTY_QUANTUM_BYTES ? bytes : PARTY_QUANTUM_BYTES;
	if (share->passed_bytes > PASSED_MOST)
		violate(world, "who has nothing under way is not passed for long",
			"session %u waits while others send %llu bytes", life ? life->serial : 0,
			(unsigned long long)share->passed_bytes);
}

void shares_sent(struct world *world, const struct message *message, uint64_t bytes)
{
	const struct life *sender = message->chan->life;

	for (unsigned int i = 0; i < world->client_count; i++) {
		struct life *life = world->clients[i].life;

		if (life && life != sender)
			pass(world, &life->share, bytes, life);
	}
	if (sender->session)
		pass(world, &world->look.common, bytes, NULL);
}

static void look_at_turns(struct world *world)
{
	bool goes_on = world->upstream->state == UPSTREAM_UP;

	for (unsigned int i = 0; i < world->client_count; i++) {
		struct life *life = world->clients[i].life;

		if (life && life->session && goes_on)
			look_at(world, &life->share, &life->session->party);
		else if (life)
			life->share.waits = false;
	}
	if (goes_on)
		look_at(world, &world->look.common, &world->upstream->common);
	else
		world->look.common.waits = false;
}

/* ------------------------------------------------------------------ counts */

static void check_sums(struct world *world)
{
	const struct upstream *upstream = world->upstream;
	uint64_t messages = upstream->common.unconfirmed_messages, bytes = upstream->common.unconfirmed_bytes;
	const struct session *session;

	list_foreach (session, &world->mux->sessions, node) {
		messages += session->party.unconfirmed_messages;
		bytes += session->party.unconfirmed_bytes;
	}
	if (messages != upstream->unconfirmed_messages || bytes != upstream->unconfirmed_bytes)
		violate(world, "the parties' counts make the upstream's",
			"%llu publishes of %llu bytes, not %llu of %llu", (unsigned long long)messages,
			(unsigned long long)bytes, (unsigned long long)upstream->unconfirmed_messages,
			(unsigned long long)upstream->unconfirmed_bytes);
}

static void check_window(struct world *world)
{
	const struct window *window = &world->upstream->window;
	uint64_t least = window->most < WINDOW_BYTES_MIN ? window->most : WINDOW_BYTES_MIN;

	if (window->size > window->most || window->size < least ||
	    (!world->plan.adaptive && window->size != window->most))
		violate(world, "the window is within its bounds", "%llu bytes",
			(unsigned long long)window->size);
	if (world->look.window > 0 && window->size > world->look.window)
		happened(world, WIRE_WINDOW_GREW);
	else if (window->size < world->look.window)
		happened(world, WIRE_WINDOW_SHRANK);
	world->look.window = window->size;
}

void shares_turn(struct world *world)
{
	check_sums(world);
	check_window(world);
	look_at_turns(world);
}

/* ------------------------------------------------------------------ rest */

static void check_rest(struct world *world, const struct party *party, const char *whose)
{
	if (party->unconfirmed_messages != 0 || party->unconfirmed_bytes != 0 || any_may_send(&party->held))
		violate(world, "at rest nothing is under way", "%s: %llu publishes of %llu bytes%s", whose,
			(unsigned long long)party->unconfirmed_messages,
			(unsigned long long)party->unconfirmed_bytes,
			any_may_send(&party->held) ? ", and one is held" : "");
}

void shares_rest(struct world *world)
{
	const struct session *session;

	list_foreach (session, &world->mux->sessions, node)
		check_rest(world, &session->party, "a session");
	check_rest(world, &world->upstream->common, "those whose session has ended");
}
