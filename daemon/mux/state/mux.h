/*
 * The whole: its timers, its memory, who and what is to be looked at when the
 * turn ends.
 */
#pragma once

#include "daemon/base/charge.h"
#include "daemon/base/list.h"
#include "daemon/base/map.h"
#include "daemon/base/pool.h"
#include "daemon/base/timerq.h"
#include "daemon/mux/mux.h"
#include "daemon/mux/pace.h"
#include "daemon/mux/state/blame.h"

struct mux {
	struct mux_options options;
	uint32_t rules; /* serial number of what authorize goes by */
	struct mono now;
	struct timerq timers;
	struct pool pool; /* of publishes */
	struct account memory;
	struct account orphaned; /* of memory: publishes whose session has ended */
	struct list upstreams;	 /* struct upstream, in configured order */
	struct list sessions;	 /* struct session, by rising id */
	struct map users;	 /* struct user */
	struct list user_list;	 /* the same */
	uint32_t session_count;
	uint64_t last_session;
	struct list touched;	/* struct channel to be looked at when the turn ends */
	struct list unhurried;	/* struct channel whose acks or outcomes wait for company */
	struct timer ack_timer; /* when they go all the same */
	struct list credits;	/* struct session whose credit may have grown */
	struct list wants;	/* struct session that asked for more than there was, in turn */
	uint64_t want_round;	/* how often the line was served */
	struct buf scratch;	/* for encoding */
	struct pace pace;	/* of all sessions' messages */
	struct mono prompt;	/* when a session that is not bulk had one last */
	struct offender offenders[BLAME_OFFENDERS_MAX];
};
