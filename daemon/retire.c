/*
 * Upstreams that a reload has removed. Their sessions are asked to go and have
 * drain-timeout for it, then they are ended; what they published gets its
 * outcome; the connection is closed, and at last the upstream is freed.
 */
#include "daemon/muxd-private.h"

#include "daemon/base/log.h"

#include <stdlib.h>

static struct upstream *mux_side(const struct muxd_upstream *upstream)
{
	return uplink_upstream(upstream->uplink);
}

static void set_timer(struct muxd_upstream *upstream, uint64_t usec)
{
	struct loop *loop = upstream->muxd->loop;

	loop_set_timer(loop, &upstream->timer, mono_add_usec(loop_now(loop), usec));
}

static void close_connection(struct muxd_upstream *upstream)
{
	const struct upstream_info info = muxd_upstream_info(upstream);
	struct fault fault = fault_make(320,
					"CONNECTION_FORCED - upstream '%s' is no longer in muxd's "
					"configuration",
					info.name);

	upstream->closing = true;
	front_end_upstream(upstream->muxd->front, mux_side(upstream), &fault);
	upstream_close(mux_side(upstream), MUXD_CLOSE_USEC);
}

static void on_timer(struct timer *timer, struct mono now)
{
	struct muxd_upstream *upstream = container_of(timer, struct muxd_upstream, timer);

	if (!upstream->closing)
		close_connection(upstream);
}

void retire_begin(struct muxd_upstream *upstream, struct gate *rules)
{
	struct muxd *muxd = upstream->muxd;
	const struct upstream_info info = muxd_upstream_info(upstream);
	uint64_t timeout_usec = muxd->conf->drain_timeout_usec;

	log_notice("upstream \"%s\" is no longer configured: %u sessions are asked to leave", info.name,
		   info.sessions);
	upstream->retired = true;
	upstream->rules = rules;
	upstream_retire(mux_side(upstream));
	front_leave_upstream(muxd->front, mux_side(upstream), timeout_usec);
	timer_init(&upstream->timer, on_timer);
	set_timer(upstream, timeout_usec);
}

void retire_drop_rules(const struct muxd *muxd, struct gate *rules)
{
	for (size_t i = 0; i < muxd->upstream_count; i++)
		if (muxd->upstreams[i]->rules == rules)
			return;
	(void)gate_free(rules);
}

static void finish(struct muxd *muxd, size_t index)
{
	struct muxd_upstream *upstream = muxd->upstreams[index];
	struct gate *rules = upstream->rules;

	log_notice("upstream \"%s\" is gone", muxd_upstream_info(upstream).name);
	muxd->upstreams[index] = muxd->upstreams[--muxd->upstream_count];
	(void)muxd_upstream_free(upstream);
	retire_drop_rules(muxd, rules);
}

void retire_turn(struct muxd *muxd)
{
	for (size_t i = muxd->upstream_count; i-- > 0;) {
		struct muxd_upstream *upstream = muxd->upstreams[i];
		bool is_empty;

		if (!upstream->retired)
			continue;
		is_empty =
		    muxd_upstream_info(upstream).sessions == 0 && upstream_is_drained(mux_side(upstream));
		if (!upstream->closing && is_empty)
			close_connection(upstream);
		if (upstream->closing && muxd_upstream_info(upstream).sessions == 0 &&
		    upstream_is_closed(mux_side(upstream)))
			finish(muxd, i);
	}
}
