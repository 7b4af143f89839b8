#include "tests/unit/loop-fake.h"

#include "client/loop/muxclient-libevent.h"

#include <assert.h>

struct loop {
	struct event_base *base;
};

struct loop *loop_new(void)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	assert(loop);
	loop->base = event_base_new();
	assert(loop->base);
	return loop;
}

void loop_free(struct loop *loop)
{
	event_base_free(loop->base);
	free(loop);
}

int loop_attach(struct loop *loop, struct muxc *c, struct adapter **ret)
{
	return muxc_libevent_attach(loop->base, c, (struct muxc_libevent **)ret);
}

void loop_detach(struct adapter *adapter)
{
	assert(!muxc_libevent_detach((struct muxc_libevent *)adapter));
}

void loop_used(struct adapter *adapter)
{
	muxc_libevent_update((struct muxc_libevent *)adapter);
}

struct call {
	void (*call)(void *userdata);
	void *userdata;
};

static void on_timer(evutil_socket_t fd, short events, void *userdata)
{
	struct call call = *(struct call *)userdata;

	free(userdata);
	call.call(call.userdata);
}

void loop_timer(struct loop *loop, int msec, void (*function)(void *userdata), void *userdata)
{
	struct call *call = malloc(sizeof(*call));
	struct timeval tv = {msec / 1000, msec % 1000 * 1000};

	assert(call);
	*call = (struct call){function, userdata};
	assert(event_base_once(loop->base, -1, EV_TIMEOUT, on_timer, call, &tv) == 0);
}

void loop_turn(struct loop *loop)
{
	(void)event_base_loop(loop->base, EVLOOP_ONCE);
}
