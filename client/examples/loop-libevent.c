/*
 * A program with a loop of libevent: publishes at a timer, and prints what it
 * consumes. Neither the library nor this has a thread but the main one.
 *
 *	loop-libevent QUEUE COUNT
 */
#include "ticker.h"

#include <muxclient-libevent.h>

#include <stdio.h>

struct program {
	struct ticker ticker;
	struct muxc_libevent *adapter;
};

static void stop(void *loop)
{
	event_base_loopbreak(loop);
}

static void on_timer(evutil_socket_t fd, short events, void *userdata)
{
	struct program *program = userdata;

	(void)fd;
	(void)events;
	ticker_tick(&program->ticker);
	/* Only in libevent: the adapter is told that something was published outside of its handlers. */
	muxc_libevent_update(program->adapter);
}

int main(int argc, char **argv)
{
	struct timeval interval = {0, TICK_MSEC * 1000};
	struct event_base *base;
	struct program program;
	struct event *timer;
	int r;

	r = ticker_init(&program.ticker, argc, argv);
	if (r)
		return r;
	base = event_base_new();
	timer = base ? event_new(base, -1, EV_PERSIST, on_timer, &program) : NULL;
	if (!timer || event_add(timer, &interval) < 0 ||
	    muxc_libevent_attach(base, program.ticker.c, &program.adapter) < 0) {
		fprintf(stderr, "loop-libevent: no memory\n");
		return 1;
	}
	program.ticker.stop = stop;
	program.ticker.loop = base;
	event_base_dispatch(base);
	/* First the adapter, then the connection, then the loop. */
	muxc_libevent_detach(program.adapter);
	r = ticker_deinit(&program.ticker);
	event_free(timer);
	event_base_free(base);
	return r;
}
