/*
 * A note for the end of the turn, which every module may take: it is no call
 * upwards.
 */
#pragma once

#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/upstream.h"

/* The channel is looked at when the turn ends: channel_turn(). */
static inline void channel_touch(struct channel *channel)
{
	if (list_empty(&channel->touched_node))
		list_append(&channel->upstream->mux->touched, &channel->touched_node);
}
