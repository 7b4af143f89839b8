/*
 * The watchdog of systemd: told that all is well only if it is. That this timer
 * runs shows that the loop turns. Beside that the work must advance: what could
 * be read from a broker or written to it at two looks must not be the same, and
 * timers of mux that were due at the last look must have run.
 */
#include "daemon/muxd-private.h"

#include "daemon/base/log.h"

#include <string.h>

/* systemd waits for twice as long: what it did not hear of is told again in between. */
#define AGAIN_DIVISOR 8u

static void set_timer(struct muxd *muxd, uint64_t usec)
{
	loop_set_timer(muxd->loop, &muxd->watchdog_timer, mono_add_usec(loop_now(muxd->loop), usec));
}

/* NULL: there is none. */
static const char *find_stall(struct muxd *muxd)
{
	struct mono due = mux_next_deadline(muxd->mux), before = muxd->overdue;
	const char *stall = NULL;

	muxd->overdue = mono_before(due, loop_now(muxd->loop)) ? due : MONO_NEVER;
	if (!mono_is_never(muxd->overdue) && muxd->overdue.usec == before.usec)
		stall = "timers are not run";
	for (size_t i = 0; i < muxd->upstream_count; i++) {
		const char *one = uplink_find_stall(muxd->upstreams[i]->uplink);

		stall = stall ? stall : one;
	}
	return stall;
}

static void on_timer(struct timer *timer, struct mono now)
{
	struct muxd *muxd = container_of(timer, struct muxd, watchdog_timer);
	const char *stall = find_stall(muxd);
	bool again = false;

	if (stall)
		log_error("muxd does not advance: %s; the watchdog is not told that all is well", stall);
	else
		again = !report_alive(muxd);
	set_timer(muxd, again ? muxd->watchdog_usec / AGAIN_DIVISOR : muxd->watchdog_usec);
}

void watch_init(struct muxd *muxd)
{
	int r;

	timer_init(&muxd->watchdog_timer, on_timer);
	muxd->overdue = MONO_NEVER;
	r = notify_watchdog_usec(&muxd->watchdog_usec);
	if (r < 0)
		log_error(
		    "WATCHDOG_USEC in the environment is not understood: %s; the watchdog is not served",
		    strerror(-r));
	if (muxd->watchdog_usec > 0)
		set_timer(muxd, muxd->watchdog_usec);
}

void watch_deinit(struct muxd *muxd)
{
	loop_clear_timer(muxd->loop, &muxd->watchdog_timer);
}
