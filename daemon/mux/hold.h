/*
 * What must wait though it could be sent, because something that it depends
 * on is not back yet on a new connection (recovery.h), or because it may have
 * cost the last one (blame.h).
 */
#pragma once

#include "daemon/mux/meant.h"
#include "daemon/mux/state.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/upstream.h"

/* Whether the operation names a queue that is not there again. */
bool hold_op(const struct upstream *upstream, struct op *op);

/* Whether the first operation of the lane's channel must wait. Cheap when nothing is missing. */
static inline bool hold_lane(const struct lane *lane, struct op *op)
{
	const struct recovery *recovery = &lane->upstream->recovery;

	if (lane->channel == recovery->maker)
		return false;
	if (recovery->phase != RECOVERY_NONE || !list_empty(&lane->channel->recovery_node) ||
	    lane->channel->suspicion)
		return true;
	if (lane->channel == lane->upstream->blame.solo && meant_has_any(lane))
		return true;
	return recovery->absent > 0 && hold_op(lane->upstream, op);
}
