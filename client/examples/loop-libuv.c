/*
 * A program with a loop of libuv: publishes at a timer, and prints what it
 * consumes. Neither the library nor this has a thread but the main one.
 *
 *	loop-libuv QUEUE COUNT
 */
#include "ticker.h"

#include <muxclient-libuv.h>

#include <stdio.h>

static void stop(void *loop)
{
	uv_stop(loop);
}

/* What is published here is sent before the loop sleeps. */
static void on_timer(uv_timer_t *timer)
{
	ticker_tick(timer->data);
}

int main(int argc, char **argv)
{
	struct muxc_libuv *adapter = NULL;
	struct ticker ticker;
	uv_timer_t timer;
	uv_loop_t loop;
	int r;

	r = ticker_init(&ticker, argc, argv);
	if (r)
		return r;
	r = uv_loop_init(&loop);
	if (r == 0)
		r = uv_timer_init(&loop, &timer);
	if (r == 0) {
		timer.data = &ticker;
		r = uv_timer_start(&timer, on_timer, TICK_MSEC, TICK_MSEC);
	}
	if (r == 0)
		r = muxc_libuv_attach(&loop, ticker.c, &adapter);
	if (r < 0) {
		fprintf(stderr, "loop-libuv: %s\n", uv_strerror(r));
		return 1;
	}
	ticker.stop = stop;
	ticker.loop = &loop;
	uv_run(&loop, UV_RUN_DEFAULT);
	/* First the adapter, then the connection; what libuv closes it closes in the loop. */
	muxc_libuv_detach(adapter);
	r = ticker_deinit(&ticker);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	return r;
}
