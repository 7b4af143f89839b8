/*
 * A program with a loop of sd-event: publishes at a timer, and prints what it
 * consumes. Neither the library nor this has a thread but the main one.
 *
 *	loop-sdevent QUEUE COUNT
 */
#include "ticker.h"

#include <muxclient-sdevent.h>

#include <stdio.h>
#include <string.h>

static void stop(void *loop)
{
	sd_event_exit(loop, 0);
}

/* What is published here is sent before the loop sleeps. */
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	ticker_tick(userdata);
	return sd_event_source_set_time(source, usec + TICK_MSEC * 1000);
}

int main(int argc, char **argv)
{
	struct muxc_sdevent *adapter = NULL;
	sd_event_source *timer = NULL;
	sd_event *event = NULL;
	struct ticker ticker;
	uint64_t now_usec;
	int r;

	r = ticker_init(&ticker, argc, argv);
	if (r)
		return r;
	r = sd_event_default(&event);
	if (r >= 0)
		r = sd_event_now(event, CLOCK_MONOTONIC, &now_usec);
	if (r >= 0)
		r = sd_event_add_time(event, &timer, CLOCK_MONOTONIC, now_usec + TICK_MSEC * 1000, 0,
				      on_timer, &ticker);
	if (r >= 0)
		r = sd_event_source_set_enabled(timer, SD_EVENT_ON);
	if (r >= 0)
		r = muxc_sdevent_attach(event, ticker.c, &adapter);
	if (r < 0) {
		fprintf(stderr, "loop-sdevent: %s\n", strerror(-r));
		return 1;
	}
	ticker.stop = stop;
	ticker.loop = event;
	sd_event_loop(event);
	/* First the adapter, then the connection. */
	muxc_sdevent_detach(adapter);
	r = ticker_deinit(&ticker);
	sd_event_source_unref(timer);
	sd_event_unref(event);
	return r;
}
