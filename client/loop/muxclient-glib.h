/*
 * A connection of libmuxclient in a GMainContext of GLib: what GTK, and every
 * program with a GMainLoop, needs. Link with glib-2.0; libmuxclient itself
 * needs nothing of it.
 *
 *	struct muxc_options options = {.size = sizeof(options), .flags = MUXC_LOOP};
 *	struct muxc_glib *adapter;
 *
 *	muxc_connect(&options, &c, &error);
 *	muxc_glib_attach(NULL, c, &adapter);
 *	g_main_loop_run(loop);
 *	muxc_glib_detach(adapter);
 *	muxc_free(c);
 *
 * Handlers are called by the thread that runs the context, which is the only
 * one that may use the connection while it is attached. What any callback of
 * the context publishes or acknowledges is sent before the context sleeps: the
 * adapter looks each time, nothing need be told to it. No handler is called in
 * a main loop that another handler runs (a modal dialog, for example).
 *
 * When muxd is lost and comes back, the adapter follows the connection to its
 * new socket. When the connection has ended (muxc_options.on_closed is told
 * before), the adapter watches nothing any more and waits to be detached.
 *
 * The caller owns the connection, which must live until the adapter is
 * detached. As everywhere in GLib, no memory is the end of the program.
 *
 * C99 with POSIX, or C++.
 */
#ifndef MUXCLIENT_GLIB_H
#define MUXCLIENT_GLIB_H

#include <muxclient-watch.h>

#include <errno.h>
#include <glib.h>

struct muxc_glib { /* all its own */
	GSource source;
	struct muxc *c; /* NULL: detached */
	GPollFD socket;
	int polled;		 /* the context knows the socket */
	int busy;		 /* muxc_process() runs */
	int ended;		 /* there is nothing to watch any more */
	struct muxc_watch watch; /* what the context waits for */
};

static inline void muxc_glib_unwatch_socket(struct muxc_glib *adapter)
{
	if (adapter->polled)
		g_source_remove_poll(&adapter->source, &adapter->socket);
	adapter->polled = 0;
	adapter->socket.revents = 0;
}

static inline void muxc_glib_watch(struct muxc_glib *adapter)
{
	struct muxc_watch watch;

	muxc_watch_update(adapter->c, &watch);
	if (watch.fd != adapter->watch.fd) {
		muxc_glib_unwatch_socket(adapter);
		adapter->socket.fd = watch.fd;
		adapter->polled = watch.fd >= 0;
		if (adapter->polled)
			g_source_add_poll(&adapter->source, &adapter->socket);
	}
	adapter->socket.events =
	    (gushort)((watch.events & POLLIN ? G_IO_IN : 0) | (watch.events & POLLOUT ? G_IO_OUT : 0));
	adapter->watch = watch;
}

static inline gboolean muxc_glib_prepare(GSource *source, gint *timeout_msec)
{
	struct muxc_glib *adapter = (struct muxc_glib *)source;

	*timeout_msec = -1;
	if (!adapter->c || adapter->ended)
		return FALSE;
	muxc_glib_watch(adapter);
	*timeout_msec = muxc_watch_msec(adapter->watch.until_usec, (uint64_t)g_get_monotonic_time());
	return *timeout_msec == 0;
}

static inline gboolean muxc_glib_check(GSource *source)
{
	struct muxc_glib *adapter = (struct muxc_glib *)source;

	if (!adapter->c || adapter->ended)
		return FALSE;
	return (adapter->polled && adapter->socket.revents) ||
	       muxc_watch_msec(adapter->watch.until_usec, (uint64_t)g_get_monotonic_time()) == 0;
}

static inline gboolean muxc_glib_dispatch(GSource *source, GSourceFunc unused, gpointer userdata)
{
	struct muxc_glib *adapter = (struct muxc_glib *)source;
	int r;

	(void)unused;
	(void)userdata;
	if (!adapter->c || adapter->busy)
		return TRUE;
	adapter->busy = 1;
	r = muxc_process(adapter->c);
	adapter->busy = 0;
	if (adapter->c && r < 0) {
		muxc_glib_unwatch_socket(adapter);
		adapter->ended = 1;
	}
	return TRUE;
}

/*
 * The connection's handlers are called by this context from now on (NULL: the
 * default one). Errors: -EOPNOTSUPP, the connection has no MUXC_LOOP; -EINVAL;
 * -ECHILD.
 */
static inline int muxc_glib_attach(GMainContext *context, struct muxc *c, struct muxc_glib **ret)
{
	static GSourceFuncs functions = {
	    muxc_glib_prepare, muxc_glib_check, muxc_glib_dispatch, NULL, NULL, NULL};
	struct muxc_glib *adapter;
	uint64_t until_usec;
	int r;

	if (!c || !ret)
		return -EINVAL;
	r = muxc_get_timeout(c, &until_usec);
	if (r < 0)
		return r;
	adapter = (struct muxc_glib *)g_source_new(&functions, sizeof(*adapter)); /* zeroed but for source */
	adapter->c = c;
	muxc_watch_init(&adapter->watch);
	g_source_set_name(&adapter->source, "muxclient");
	(void)g_source_attach(&adapter->source, context);
	*ret = adapter;
	return 0;
}

/* The source, for its priority: g_source_set_priority(). Stays the adapter's. */
static inline GSource *muxc_glib_get_source(struct muxc_glib *adapter)
{
	return &adapter->source;
}

/*
 * Takes the connection out of the context; before it is freed. In a handler
 * too, where both may be done. NULL is fine. Returns NULL.
 */
static inline struct muxc_glib *muxc_glib_detach(struct muxc_glib *adapter)
{
	if (!adapter)
		return NULL;
	adapter->c = NULL;
	g_source_destroy(&adapter->source);
	g_source_unref(&adapter->source); /* the context has it until a handler that runs has returned */
	return NULL;
}

#endif
