#include "daemon/muxd-private.h"

#include "daemon/base/log.h"

static void set_phase_timer(struct muxd *muxd, uint64_t usec)
{
	loop_set_timer(muxd->loop, &muxd->phase_timer, mono_add_usec(loop_now(muxd->loop), usec));
}

static void begin_closing(struct muxd *muxd)
{
	struct fault fault = fault_make_retryable(320, "CONNECTION_FORCED - muxd stops");

	if (front_count(muxd->front) > 0)
		log_notice("%zu sessions have not left in time and are ended", front_count(muxd->front));
	muxd->phase = MUXD_CLOSING;
	report_state(muxd, NOTIFY_STOPPING, 2 * MUXD_CLOSE_USEC);
	front_end_all(muxd->front, &fault);
	for (size_t i = 0; i < muxd->upstream_count; i++)
		upstream_close(uplink_upstream(muxd->upstreams[i]->uplink), MUXD_CLOSE_USEC);
	set_phase_timer(muxd, MUXD_CLOSE_USEC);
}

static void on_phase_timer(struct timer *timer, struct mono now)
{
	struct muxd *muxd = container_of(timer, struct muxd, phase_timer);

	if (muxd->phase == MUXD_LEAVING)
		begin_closing(muxd);
	else
		loop_stop(muxd->loop);
}

void drain_begin(struct muxd *muxd)
{
	uint64_t timeout_usec = muxd->conf->drain_timeout_usec;

	switch (muxd->phase) {
	case MUXD_RUNNING:
		muxd->phase = MUXD_LEAVING;
		reload_stop(muxd);
		report_state(muxd, NOTIFY_STOPPING, timeout_usec + 2 * MUXD_CLOSE_USEC);
		muxd->listener = listener_close(muxd->listener);
		front_go_away(muxd->front, timeout_usec);
		muxd->status_due = true;
		timer_init(&muxd->phase_timer, on_phase_timer);
		set_phase_timer(muxd, timeout_usec);
		break;
	case MUXD_LEAVING:
		begin_closing(muxd);
		break;
	case MUXD_CLOSING:
		loop_stop(muxd->loop);
		break;
	}
}

/* True if nothing is left that a session published and that has no outcome yet. */
static bool is_settled(const struct muxd *muxd)
{
	for (size_t i = 0; i < muxd->upstream_count; i++)
		if (!upstream_is_drained(uplink_upstream(muxd->upstreams[i]->uplink)))
			return false;
	return true;
}

static bool is_closed(const struct muxd *muxd)
{
	for (size_t i = 0; i < muxd->upstream_count; i++)
		if (!upstream_is_closed(uplink_upstream(muxd->upstreams[i]->uplink)))
			return false;
	return front_count(muxd->front) == 0 && !loop_is_draining(muxd->loop);
}

void drain_turn(struct muxd *muxd)
{
	if (muxd->phase == MUXD_LEAVING && front_count(muxd->front) == 0 && is_settled(muxd))
		begin_closing(muxd);
	if (muxd->phase == MUXD_CLOSING && is_closed(muxd))
		loop_stop(muxd->loop);
}
