/*
 * Looks into mux, and counts the states it is in (cover.h). Nothing is checked
 * here: invariants know only what clients and the broker see.
 */
#include "daemon/mux/state/blame.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/consumer.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/topology.h"
#include "daemon/mux/state/upstream.h"
#include "tests/sim/sim.h"

static unsigned int lane_state(const struct lane *lane)
{
	if (!lane)
		return 0;
	if (lane->state == LANE_CLOSING)
		return lane->close_ok_due ? 6 : 5;
	if (lane->state == LANE_FENCED)
		return 7;
	if (!lane->channel)
		return 1;
	if (lane->sending)
		return 3;
	return list_empty(&lane->node) ? 2 : 4;
}

static void look_at_lanes(struct world *world)
{
	const struct upstream *upstream = world->upstream;

	for (size_t number = 1; number <= LANES_MAX; number++) {
		const struct lane *lane =
		    upstream->lanes && number <= upstream->lane_max ? upstream->lanes[number] : NULL;

		cover_state(world->cover, MACHINE_LANE, &world->look.lanes[number], lane_state(lane));
	}
}

static unsigned int consumer_state(const struct consumer *consumer)
{
	if (!consumer)
		return 0;
	if (consumer->gone)
		return 6;
	if (consumer->restoring)
		return 7;
	if (consumer->cancel_asked)
		return 5;
	if (consumer->shrinking != SHRINK_NOT)
		return consumer->shrinking == SHRINK_CANCELLING ? 3 : 4;
	if (consumer->widening)
		return 8;
	return consumer->started ? 2 : 1;
}

static void look_at_consumers(struct world *world, struct chan *chan, const struct channel *channel)
{
	for (struct consumer_record *record = chan->consumers; record; record = record->next) {
		const struct consumer *consumer = NULL, *each;

		if (record->ended && record->look == 0)
			continue;
		if (channel) {
			list_foreach (each, &channel->consumers, node) {
				if (each->number == record->number)
					consumer = each;
			}
		}
		cover_state(world->cover, MACHINE_CONSUMER, &record->look, consumer_state(consumer));
	}
}

static unsigned int channel_state(const struct channel *channel)
{
	if (!channel)
		return 0;
	if (channel->state != CHANNEL_OPEN)
		return channel->state == CHANNEL_LEAVING ? 5 : 6;
	if (channel->lane)
		return list_empty(&channel->lane->node) ? 3 : 4;
	return list_empty(&channel->lane_node) ? 1 : 2;
}

static const struct channel *find_channel(const struct session *session, const struct chan *chan)
{
	const struct channel *channel;

	if (!session)
		return NULL;
	channel =
	    chan->id.number < session->channel_slots ? session->channels[chan->id.number].channel : NULL;
	if (channel && channel->id.generation == chan->id.generation)
		return channel;
	list_foreach (channel, &session->leaving, node) {
		if (channel->id.number == chan->id.number && channel->id.generation == chan->id.generation)
			return channel;
	}
	return NULL;
}

static void look_at_channels(struct world *world, struct life *life)
{
	for (struct chan *chan = life->chans; chan; chan = chan->next) {
		const struct channel *channel = find_channel(life->session, chan);

		if (!channel && chan->look == 0)
			continue;
		cover_state(world->cover, MACHINE_CHANNEL, &chan->look, channel_state(channel));
		look_at_consumers(world, chan, channel);
	}
}

bool look_is_shrinking(const struct consumer_record *consumer)
{
	return consumer->look == 3 || consumer->look == 4;
}

bool look_waits_for_lane(const struct world *world)
{
	const struct recovery *recovery = &world->upstream->recovery;

	return recovery->phase == RECOVERY_NONE &&
	       (!list_empty(&recovery->due) || !list_empty(&recovery->asked));
}

bool look_is_resting(const struct world *world, uint16_t lane)
{
	return world->look.lanes[lane] == 1 || world->look.lanes[lane] == 7;
}

bool look_is_recovering(const struct world *world)
{
	const struct recovery *recovery = &world->upstream->recovery;
	const struct blame *blame = &world->upstream->blame;

	/* Channels may keep all lanes for ever. */
	if (world->plan.few_lanes && look_waits_for_lane(world) && list_empty(&recovery->asked))
		return false;
	return recovery->phase != RECOVERY_NONE || !list_empty(&recovery->parked) ||
	       !list_empty(&recovery->channels_parked) || !list_empty(&recovery->channels_asked) ||
	       !list_empty(&recovery->channels_due) || !list_empty(&blame->suspicions) || blame->solo;
}

static void look_at_recovery(struct world *world)
{
	const struct recovery *recovery = &world->upstream->recovery;

	if (recovery->phase == RECOVERY_NONE && world->look.recovery != 0 &&
	    recovery->made + recovery->subscribed > 0)
		happened(world, WIRE_MADE_AGAIN);
	if (!list_empty(&recovery->parked) || !list_empty(&recovery->channels_parked))
		happened(world, WIRE_PARKED);
	cover_state(world->cover, MACHINE_RECOVERY, &world->look.recovery, (unsigned int)recovery->phase);
}

void look_turn(struct world *world)
{
	look_at_recovery(world);
	look_at_lanes(world);
	for (unsigned int i = 0; i < world->client_count; i++) {
		if (world->clients[i].life)
			look_at_channels(world, world->clients[i].life);
	}
}

void look_upstream(struct world *world, enum upstream_state state)
{
	cover_state(world->cover, MACHINE_UPSTREAM, &world->look.upstream, (unsigned int)state);
}
