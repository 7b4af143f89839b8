/*
 * A program with a GMainLoop: publishes at a timer, and prints what it consumes.
 * The library has no thread here. A program with GTK does the same: its loop is
 * the default main context, to which the adapter is attached.
 *
 *	loop-glib QUEUE COUNT
 */
#include "ticker.h"

#include <muxclient-glib.h>

#include <stdio.h>
#include <string.h>

static void stop(void *loop)
{
	g_main_loop_quit(loop);
}

/* What is published here is sent before the loop sleeps. */
static gboolean on_timer(gpointer userdata)
{
	ticker_tick(userdata);
	return G_SOURCE_CONTINUE;
}

int main(int argc, char **argv)
{
	struct muxc_glib *adapter = NULL;
	struct ticker ticker;
	GMainLoop *loop;
	guint timer;
	int r;

	r = ticker_init(&ticker, argc, argv);
	if (r)
		return r;
	loop = g_main_loop_new(NULL, FALSE);
	timer = g_timeout_add(TICK_MSEC, on_timer, &ticker);
	r = muxc_glib_attach(NULL, ticker.c, &adapter);
	if (r < 0) {
		fprintf(stderr, "loop-glib: %s\n", strerror(-r));
		return 1;
	}
	ticker.stop = stop;
	ticker.loop = loop;
	g_main_loop_run(loop);
	/* First the adapter, then the connection. */
	muxc_glib_detach(adapter);
	r = ticker_deinit(&ticker);
	g_source_remove(timer);
	g_main_loop_unref(loop);
	return r;
}
