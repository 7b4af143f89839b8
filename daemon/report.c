/*
 * What muxd tells about itself beside the protocol: systemd's status line, and
 * the dump for SIGUSR1. (That an upstream came or went is logged by mux.)
 */
#include "config.h"

#include "daemon/muxd-private.h"

#include "daemon/base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STATUS_INTERVAL_USEC USEC_PER_SEC
#define STATUS_BYTES_MAX 400u
#define TEXT_BYTES_MAX 128u
#define DUMP_SESSIONS_MAX 1000u
#define DUMP_CHANNELS_MAX 1000u

/* ------------------------------------------------------------------ systemd */

/* Logged once, until it can be told again. Returns whether it was told. */
static bool was_told(struct muxd *muxd, int r)
{
	if (r < 0 && !muxd->notify_failed)
		log_error("systemd cannot be told how muxd is: %s; muxd tries again", strerror(-r));
	muxd->notify_failed = r < 0;
	return r == 0;
}

static void tell_state(struct muxd *muxd)
{
	muxd->state_due = !was_told(muxd, notify_state(muxd->state, muxd->stopping_usec));
}

bool report_alive(struct muxd *muxd)
{
	return was_told(muxd, notify_watchdog());
}

static size_t append_upstream(char *out, size_t size, size_t used, const struct upstream *upstream)
{
	struct upstream_info info;
	char error[TEXT_BYTES_MAX];
	bool is_up;
	int n;

	upstream_get_info(upstream, &info);
	is_up = info.state == UPSTREAM_UP;
	n = snprintf(out + used, size - used, "; %s: %s%s%s", info.name, upstream_state_name(info.state),
		     is_up || !*info.last_error ? "" : ": ",
		     is_up ? "" : log_clean(error, sizeof(error), span_str(info.last_error)));
	return n < 0 ? used : used + (size_t)n;
}

static void tell_status(struct muxd *muxd)
{
	char text[STATUS_BYTES_MAX];
	size_t used;

	muxd->told_sessions = mux_session_count(muxd->mux);
	used =
	    (size_t)snprintf(text, sizeof(text), "%u sessions, %u channels%s", muxd->told_sessions,
			     mux_channel_count(muxd->mux), muxd->phase == MUXD_RUNNING ? "" : ", draining");
	if (*muxd->reload_error && used < sizeof(text))
		used += (size_t)snprintf(text + used, sizeof(text) - used, "; the last reload failed: %s",
					 muxd->reload_error);
	for (size_t i = 0; i < muxd->upstream_count && used < sizeof(text); i++)
		used = append_upstream(text, sizeof(text), used, uplink_upstream(muxd->upstreams[i]->uplink));
	muxd->status_due = !was_told(muxd, notify_status(text));
}

static void set_timer(struct muxd *muxd, struct timer *timer, uint64_t usec)
{
	loop_set_timer(muxd->loop, timer, mono_add_usec(loop_now(muxd->loop), usec));
}

static void on_status_timer(struct timer *timer, struct mono now)
{
	struct muxd *muxd = container_of(timer, struct muxd, status_timer);

	if (!muxd->status_due && !muxd->state_due)
		return;
	if (muxd->state_due)
		tell_state(muxd);
	if (muxd->status_due)
		tell_status(muxd);
	set_timer(muxd, timer, STATUS_INTERVAL_USEC);
}

void report_turn(struct muxd *muxd)
{
	for (size_t i = 0; i < muxd->upstream_count; i++) {
		if (!muxd->upstreams[i]->changed)
			continue;
		muxd->upstreams[i]->changed = false;
		muxd->status_due = true;
	}
	if (mux_session_count(muxd->mux) != muxd->told_sessions)
		muxd->status_due = true;
	if ((muxd->status_due || muxd->state_due) && !timer_is_set(&muxd->status_timer))
		set_timer(muxd, &muxd->status_timer, 0);
}

void report_state(struct muxd *muxd, enum notify_state state, uint64_t stopping_usec)
{
	muxd->state = state;
	muxd->stopping_usec = stopping_usec;
	tell_state(muxd);
}

void report_reloaded(struct muxd *muxd, const char *error)
{
	(void)log_clean(muxd->reload_error, sizeof(muxd->reload_error), span_str(error));
	tell_status(muxd);
}

void report_init(struct muxd *muxd)
{
	timer_init(&muxd->status_timer, on_status_timer);
}

void report_deinit(struct muxd *muxd)
{
	loop_clear_timer(muxd->loop, &muxd->status_timer);
}

/* ------------------------------------------------------------------ the dump */

static void dump_upstream(const struct upstream *upstream)
{
	struct upstream_info info;
	char error[TEXT_BYTES_MAX * 2];
	char broker[TEXT_BYTES_MAX];

	upstream_get_info(upstream, &info);
	upstream_get_waiting(upstream, &info);
	log_notice(
	    "dump: upstream \"%s\": %s%s, %s%s, broker \"%s\", epoch %llu, reconnects %llu, sessions %u, "
	    "last error \"%s\"",
	    info.name, upstream_state_name(info.state), info.retired ? " (no longer configured)" : "",
	    info.endpoint, info.listed ? "" : " (no longer listed)",
	    log_clean(broker, sizeof(broker), span_str(info.broker)), (unsigned long long)info.epoch,
	    (unsigned long long)info.reconnects, info.sessions,
	    log_clean(error, sizeof(error), span_str(info.last_error)));
	log_notice("dump: upstream \"%s\": lanes max %u open %u leased %u warm %u; unconfirmed %llu, %llu of "
		   "%llu bytes; waiting: %u channels for a lane, %u sessions for the window, %u probes; "
		   "finishing for sessions that have ended: %u channels%s",
		   info.name, info.lanes_max, info.lanes_open, info.lanes_leased, info.lanes_warm,
		   (unsigned long long)info.unconfirmed, (unsigned long long)info.unconfirmed_bytes,
		   (unsigned long long)info.window_bytes, info.waiting, info.held, info.probes, info.orphans,
		   info.recovering ? "; recovering what was declared and consumed" : "");
}

static void dump_limits(const struct conf *conf)
{
	const struct conf_limits *limits = &conf->limits;

	log_notice(
	    "dump: limits: total-memory %llu, session-memory %llu, message-max %llu, sessions %llu, "
	    "sessions-per-uid %llu, channels-per-session %llu, prefetch %llu; %zu access sections; "
	    "log-level %s",
	    (unsigned long long)limits->total_memory_bytes, (unsigned long long)limits->session_memory_bytes,
	    (unsigned long long)limits->message_max_bytes, (unsigned long long)limits->sessions,
	    (unsigned long long)limits->sessions_per_uid, (unsigned long long)limits->channels_per_session,
	    (unsigned long long)limits->prefetch, conf->access_count, log_level_name(log_get_level()));
}

static void dump_sessions(const struct mux *mux)
{
	struct session_info info;
	char program[TEXT_BYTES_MAX];
	unsigned int count = 0;

	for (bool more = mux_next_session(mux, 0, &info); more; more = mux_look_on(mux, &info)) {
		if (count++ == DUMP_SESSIONS_MAX) {
			log_notice("dump: and more sessions");
			break;
		}
		log_notice(
		    "dump: session %llu: pid %u, uid %u, gid %u, \"%s\", upstream \"%s\", %llu s, channels "
		    "%u, consumers "
		    "%u, unconfirmed %llu, unacked %llu, published %llu, delivered %llu, memory %llu of "
		    "%llu, waits for %u answers%s",
		    (unsigned long long)info.id, info.pid, info.uid, info.gid,
		    log_clean(program, sizeof(program), info.program), info.upstream,
		    (unsigned long long)(info.age_usec / USEC_PER_SEC), info.channels, info.consumers,
		    (unsigned long long)info.unconfirmed, (unsigned long long)info.unacked,
		    (unsigned long long)info.published, (unsigned long long)info.delivered,
		    (unsigned long long)info.memory_used, (unsigned long long)info.memory_limit,
		    info.requests, info.wants ? ", and for room to publish" : "");
	}
}

static void dump_channels(const struct mux *mux)
{
	struct channel_info info;
	unsigned int count = 0;

	for (bool more = mux_next_channel(mux, 0, 0, &info); more; more = mux_look_on_channels(mux, &info)) {
		if (count++ == DUMP_CHANNELS_MAX) {
			log_notice("dump: and more channels");
			break;
		}
		log_notice(
		    "dump: session %llu channel %u/%u: lane %u, consumers %u, prefetch %u, unconfirmed %llu, "
		    "unacked %llu",
		    (unsigned long long)info.session, info.id.number, info.id.generation, info.lane,
		    info.consumers, info.prefetch, (unsigned long long)info.unconfirmed,
		    (unsigned long long)info.unacked);
	}
}

void report_dump(const struct muxd *muxd)
{
	static const char *const phases[] = {"running", "draining", "closing"};

	log_notice("dump: muxd %s, pid %d, %s, up for %llu s; %u sessions, %u channels, %zu connections; "
		   "memory %llu of %llu bytes%s%s",
		   PACKAGE_VERSION, (int)getpid(), phases[muxd->phase],
		   (unsigned long long)(mono_since_usec(loop_now(muxd->loop), muxd->started) / USEC_PER_SEC),
		   mux_session_count(muxd->mux), mux_channel_count(muxd->mux), front_count(muxd->front),
		   (unsigned long long)mux_memory_used(muxd->mux),
		   (unsigned long long)mux_memory_limit(muxd->mux),
		   *muxd->reload_error ? "; the last reload failed: " : "", muxd->reload_error);
	dump_limits(muxd->conf);
	for (size_t i = 0; i < muxd->upstream_count; i++)
		dump_upstream(uplink_upstream(muxd->upstreams[i]->uplink));
	dump_sessions(muxd->mux);
	dump_channels(muxd->mux);
}
