/*
 * struct muxd, for the files that are its parts: muxd.c (making and running),
 * reload.c and retire.c (other configurations), drain.c (leaving), watch.c (the
 * watchdog), report.c (what is told to the log and to systemd).
 */
#pragma once

#include "daemon/audit.h"
#include "daemon/front/front.h"
#include "daemon/gate.h"
#include "daemon/muxd.h"
#include "daemon/net/listener.h"
#include "daemon/net/loop.h"
#include "daemon/net/resolver.h"
#include "daemon/notify.h"
#include "daemon/translate.h"
#include "daemon/up/uplink.h"

enum muxd_phase {
	MUXD_RUNNING,
	MUXD_LEAVING,
	MUXD_CLOSING
};

/* For connection.close and its answer, and for last words to sessions. */
#define MUXD_CLOSE_USEC (5 * USEC_PER_SEC)

struct muxd_upstream {
	struct muxd *muxd;
	struct uplink *uplink; /* owned, and its upstream of mux's */
	bool is_new;	       /* not started */
	bool changed;	       /* since report_turn() looked */
	bool retired;	       /* the configuration has it no more: see retire.c */
	bool closing;	       /* retired, and its time is over */
	struct gate *rules;    /* of one that is retired: see retire_begin() */
	struct timer timer;    /* of one that is retired */
};

#define RELOAD_TICKETS_MAX 16u

/* Who waits for the end of a reload. */
struct tickets {
	struct front_ticket items[RELOAD_TICKETS_MAX];
	size_t count;
};

struct reloads {
	struct reload *running; /* owned; NULL: none */
	struct tickets now;	/* who is answered when it ends */
	bool again;		/* one more was asked for meanwhile */
	struct tickets next;	/* by these */
};

#define MUXD_ERROR_MAX 200u

struct muxd {
	struct muxd_options options;
	struct conf *own_conf;	 /* owned; NULL: the one it was started with holds */
	const struct conf *conf; /* the one that holds */
	struct loop *loop;	 /* owned, as what follows */
	struct resolver *resolver;
	struct gate *gate;
	struct audit *audit;
	struct mux *mux;
	struct front *front;
	struct listener *listener;
	struct muxd_upstream **upstreams; /* owned, each; in configured order, then those that are retired */
	size_t upstream_count;
	struct reloads reloads;
	enum muxd_phase phase;
	struct timer phase_timer;
	struct timer watchdog_timer;
	struct timer status_timer;
	struct mono overdue; /* mux's deadline that had passed when the watchdog looked last */
	struct mono started;
	uint64_t watchdog_usec; /* 0: nobody watches */
	enum notify_state state;
	uint64_t stopping_usec; /* with NOTIFY_STOPPING */
	bool state_due;		/* systemd has not heard of it */
	bool status_due;
	bool notify_failed; /* the last time systemd was told anything */
	uint32_t told_sessions;
	char reload_error[MUXD_ERROR_MAX]; /* of the last reload; empty: it was fine */
};

/* ------------------------------------------------------------------ muxd.c */

/* Not started yet. 0, or a negative errno. Takes what translated has of TLS. */
int muxd_upstream_new(struct muxd *muxd, struct translated_upstream *translated, struct muxd_upstream **ret)
    __attribute__((warn_unused_result));
void muxd_upstream_start(struct muxd_upstream *upstream);

/* Its sessions have ended. Returns NULL. */
struct muxd_upstream *muxd_upstream_free(struct muxd_upstream *upstream);

/* One that is not retired; NULL: there is none of that name. */
struct muxd_upstream *muxd_find_upstream(const struct muxd *muxd, const char *name);

struct upstream_info muxd_upstream_info(const struct muxd_upstream *upstream);

/* All but changed and context. */
struct uplink_options muxd_uplink_options(const struct muxd *muxd,
					  const struct translated_upstream *translated);

/* ------------------------------------------------------------------ reload.c */

/*
 * Reads the configuration anew. ticket: who is answered at the end; NULL:
 * nobody. False: muxd stops, or too many wait already.
 */
bool reload_begin(struct muxd *muxd, const struct front_ticket *ticket, struct fault *ret_fault);

/*
 * muxd stops: one that runs is given up, and who waits for it is told. systemd
 * is not, for READY=1 behind STOPPING=1 would be a service that goes on.
 */
void reload_stop(struct muxd *muxd);

/* Gives up one that runs. */
void reload_deinit(struct muxd *muxd);

/* ------------------------------------------------------------------ retire.c */

/*
 * rules: those that held until now. They go on for its sessions, as the new
 * ones cannot name it any more. They belong to all that were retired with them.
 */
void retire_begin(struct muxd_upstream *upstream, struct gate *rules);

/* Frees rules that no upstream has any more. */
void retire_drop_rules(const struct muxd *muxd, struct gate *rules);

/* The end of a turn: those whose sessions have left are closed, and freed. */
void retire_turn(struct muxd *muxd);

/* ------------------------------------------------------------------ drain.c */

/* SIGTERM, SIGINT, muxctl drain: begins to leave, or hurries. */
void drain_begin(struct muxd *muxd);

/* The end of a turn: goes on to the next phase when it can. */
void drain_turn(struct muxd *muxd);

/* ------------------------------------------------------------------ watch.c */

void watch_init(struct muxd *muxd);
void watch_deinit(struct muxd *muxd);

/* ------------------------------------------------------------------ report.c */

void report_init(struct muxd *muxd);
void report_deinit(struct muxd *muxd);

/* The end of a turn: what changed is told to systemd, at most once a second. */
void report_turn(struct muxd *muxd);

/* What muxd does now: told to systemd, again and again if it must be. stopping_usec: see notify_state(). */
void report_state(struct muxd *muxd, enum notify_state state, uint64_t stopping_usec);

/* For the watchdog. False: tell it again soon. */
bool report_alive(struct muxd *muxd);

/* A reload ended: what was wrong, or "". */
void report_reloaded(struct muxd *muxd, const char *error);

/* Everything there is to know, to the log (SIGUSR1). */
void report_dump(const struct muxd *muxd);
