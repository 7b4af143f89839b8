/*
 * Publisher confirms. At once: a channel remembers up to which tag it may
 * confirm, and says so in one frame at the end of the feed. By hand: each
 * publish waits in the broker's row until the test releases it.
 */
#include "tests/broker/engine.h"

#include <stdlib.h>

static void send_confirm(struct channel *channel, uint64_t tag, bool multiple, bool nack)
{
	struct amqc_method method = {.id = nack ? AMQC_BASIC_NACK : AMQC_BASIC_ACK};

	if (nack)
		method.basic_nack =
		    (struct amqc_basic_nack){.delivery_tag = tag, .multiple = multiple, .requeue = true};
	else
		method.basic_ack = (struct amqc_basic_ack){.delivery_tag = tag, .multiple = multiple};
	bk_channel_reply(channel, &method);
}

void bk_channel_flush_confirms(struct channel *channel)
{
	uint64_t count = channel->settled_tag - channel->confirmed_tag;

	list_unlink(&channel->owing);
	if (channel->committing)
		bk_tx_committed(channel);
	if (count == 0)
		return;
	channel->confirmed_tag = channel->settled_tag;
	send_confirm(channel, channel->settled_tag, count > 1, false);
}

void bk_channel_owes(struct channel *channel)
{
	if (list_empty(&channel->owing))
		list_append(&channel->conn->broker->owing, &channel->owing);
}

static void hold_confirm(struct channel *channel, uint64_t tag, bool nack)
{
	struct broker *broker = channel->conn->broker;
	struct held_confirm *held = bk_xcalloc(sizeof(*held));

	*held = (struct held_confirm){.channel = channel, .tag = tag, .nack = nack};
	list_append(&broker->held, &held->in_broker);
	list_append(&channel->held, &held->in_channel);
	broker->held_count++;
}

static void held_free(struct broker *broker, struct held_confirm *held)
{
	list_unlink(&held->in_broker);
	list_unlink(&held->in_channel);
	broker->held_count--;
	free(held);
}

void bk_channel_confirm(struct channel *channel, uint64_t tag, bool nack)
{
	struct broker *broker = channel->conn->broker;

	/* What is held keeps its place before what comes now. */
	if (broker->options.manual_confirms || !list_empty(&channel->held)) {
		hold_confirm(channel, tag, nack);
		return;
	}
	if (nack) {
		bk_channel_flush_confirms(channel);
		channel->settled_tag = tag;
		channel->confirmed_tag = tag;
		send_confirm(channel, tag, false, true);
		return;
	}
	channel->settled_tag = tag;
	bk_channel_owes(channel);
}

void bk_channel_drop_confirms(struct channel *channel)
{
	struct held_confirm *held;

	list_unlink(&channel->owing);
	while ((held = list_first(&channel->held, struct held_confirm, in_channel)))
		held_free(channel->conn->broker, held);
}

size_t broker_held_confirms(const struct broker *broker)
{
	return broker->held_count;
}

void broker_set_manual_confirms(struct broker *broker, bool manual)
{
	broker->options.manual_confirms = manual;
}

/* Takes the first of the row and those behind it of the same channel and outcome. Returns how many. */
static size_t release_run(struct broker *broker, size_t count, bool nack)
{
	struct held_confirm *held = list_first(&broker->held, struct held_confirm, in_broker);
	struct channel *channel = held->channel;
	bool refused = nack || held->nack;
	size_t taken = 0;
	uint64_t tag = 0;

	while (taken < count && held && held->channel == channel && (nack || held->nack) == refused) {
		tag = held->tag;
		held_free(broker, held);
		taken++;
		held = list_first(&broker->held, struct held_confirm, in_broker);
	}
	channel->settled_tag = tag;
	channel->confirmed_tag = tag;
	send_confirm(channel, tag, taken > 1, refused);
	return taken;
}

static void release(struct broker *broker, size_t count, bool nack, struct mono now)
{
	broker->now = now;
	while (count > 0 && broker->held_count > 0)
		count -= release_run(broker, count, nack);
}

void broker_release_confirms(struct broker *broker, size_t count, struct mono now)
{
	release(broker, count, false, now);
}

void broker_refuse_confirms(struct broker *broker, size_t count, struct mono now)
{
	release(broker, count, true, now);
}

void broker_release_one_confirm(struct broker *broker, size_t place, bool nack, struct mono now)
{
	struct held_confirm *held;

	broker->now = now;
	list_foreach (held, &broker->held, in_broker) {
		if (place-- > 0)
			continue;
		if (held->tag > held->channel->settled_tag) {
			held->channel->settled_tag = held->tag;
			held->channel->confirmed_tag = held->tag;
		}
		send_confirm(held->channel, held->tag, false, nack || held->nack);
		held_free(broker, held);
		return;
	}
}
