#include "tests/unit/loop-fake.h"

#include "client/loop/muxclient-sdevent.h"

#include <assert.h>

struct loop {
	sd_event *event;
	sd_event_source *timer;
	void (*call)(void *userdata);
	void *userdata;
};

struct loop *loop_new(void)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	assert(loop);
	assert(sd_event_new(&loop->event) >= 0);
	return loop;
}

void loop_free(struct loop *loop)
{
	sd_event_source_unref(loop->timer);
	sd_event_unref(loop->event);
	free(loop);
}

int loop_attach(struct loop *loop, struct muxc *c, struct adapter **ret)
{
	return muxc_sdevent_attach(loop->event, c, (struct muxc_sdevent **)ret);
}

void loop_detach(struct adapter *adapter)
{
	assert(!muxc_sdevent_detach((struct muxc_sdevent *)adapter));
}

void loop_used(struct adapter *adapter)
{
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct loop *loop = userdata;

	loop->call(loop->userdata);
	return 0;
}

void loop_timer(struct loop *loop, int msec, void (*function)(void *userdata), void *userdata)
{
	loop->call = function;
	loop->userdata = userdata;
	loop->timer = sd_event_source_unref(loop->timer);
	assert(sd_event_add_time(loop->event, &loop->timer, CLOCK_MONOTONIC,
				 fake_now_usec() + (uint64_t)msec * 1000, 1, on_timer, loop) >= 0);
}

void loop_turn(struct loop *loop)
{
	(void)sd_event_run(loop->event, UINT64_MAX);
}
