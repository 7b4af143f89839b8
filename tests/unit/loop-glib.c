#include "tests/unit/loop-fake.h"

#include "client/loop/muxclient-glib.h"

#include <assert.h>
#include <stdlib.h>

struct loop {
	GMainContext *context;
	void (*call)(void *userdata);
	void *userdata;
};

struct loop *loop_new(void)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	assert(loop);
	loop->context = g_main_context_new();
	return loop;
}

void loop_free(struct loop *loop)
{
	g_main_context_unref(loop->context);
	free(loop);
}

int loop_attach(struct loop *loop, struct muxc *c, struct adapter **ret)
{
	return muxc_glib_attach(loop->context, c, (struct muxc_glib **)ret);
}

void loop_detach(struct adapter *adapter)
{
	assert(!muxc_glib_detach((struct muxc_glib *)adapter));
}

void loop_used(struct adapter *adapter)
{
}

static gboolean on_timer(gpointer userdata)
{
	struct loop *loop = userdata;

	loop->call(loop->userdata);
	return FALSE;
}

void loop_timer(struct loop *loop, int msec, void (*function)(void *userdata), void *userdata)
{
	GSource *source = g_timeout_source_new((guint)msec);

	loop->call = function;
	loop->userdata = userdata;
	g_source_set_callback(source, on_timer, loop, NULL);
	(void)g_source_attach(source, loop->context);
	g_source_unref(source);
}

void loop_turn(struct loop *loop)
{
	(void)g_main_context_iteration(loop->context, TRUE);
}
