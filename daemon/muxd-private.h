/*
 * struct muxd, for the files that are its parts: muxd.c (making and running),
 * drain.c (leaving), report.c (what is told to the log and to systemd).
 */
#pragma once

#include "daemon/front/front.h"
#include "daemon/gate.h"
#include "daemon/muxd.h"
#include "daemon/net/listener.h"
#include "daemon/net/loop.h"
#include "daemon/net/resolver.h"
#include "daemon/up/uplink.h"

enum muxd_phase {
	MUXD_RUNNING,
	MUXD_LEAVING,
	MUXD_CLOSING
};

struct muxd_upstream {
	struct uplink *uplink; /* owned */
	bool changed;	       /* since report_turn() looked */
};

struct muxd {
	struct muxd_options options;
	struct loop *loop; /* owned, as what follows */
	struct resolver *resolver;
	struct gate *gate;
	struct mux *mux;
	struct front *front;
	struct listener *listener;
	struct muxd_upstream *upstreams;
	size_t upstream_count;
	enum muxd_phase phase;
	struct timer phase_timer;
	struct timer watchdog_timer;
	struct timer status_timer;
	bool status_due;
	uint32_t told_sessions;
};

/* ------------------------------------------------------------------ drain.c */

/* SIGTERM, SIGINT: begins to leave, or hurries. */
void drain_begin(struct muxd *muxd);

/* The end of a turn: goes on to the next phase when it can. */
void drain_turn(struct muxd *muxd);

/* ------------------------------------------------------------------ report.c */

void report_init(struct muxd *muxd);
void report_deinit(struct muxd *muxd);

/* The end of a turn: what changed is told to systemd, at most once a second. */
void report_turn(struct muxd *muxd);

/* Everything there is to know, to the log (SIGUSR1). */
void report_dump(const struct muxd *muxd);
