#include "tests/unit/loop-fake.h"

#include "client/loop/muxclient-libuv.h"

#include <assert.h>

struct loop {
	uv_loop_t uv;
	uv_timer_t timer;
	void (*call)(void *userdata);
	void *userdata;
};

struct loop *loop_new(void)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	assert(loop);
	assert(uv_loop_init(&loop->uv) == 0);
	assert(uv_timer_init(&loop->uv, &loop->timer) == 0);
	loop->timer.data = loop;
	return loop;
}

void loop_free(struct loop *loop)
{
	uv_close((uv_handle_t *)&loop->timer, NULL);
	(void)uv_run(&loop->uv, UV_RUN_DEFAULT);
	assert(uv_loop_close(&loop->uv) == 0);
	free(loop);
}

int loop_attach(struct loop *loop, struct muxc *c, struct adapter **ret)
{
	return muxc_libuv_attach(&loop->uv, c, (struct muxc_libuv **)ret);
}

void loop_detach(struct adapter *adapter)
{
	assert(!muxc_libuv_detach((struct muxc_libuv *)adapter));
}

void loop_used(struct adapter *adapter)
{
}

static void on_timer(uv_timer_t *timer)
{
	struct loop *loop = timer->data;

	uv_stop(&loop->uv); /* a turn ends with it, and does not sleep first */
	loop->call(loop->userdata);
}

void loop_timer(struct loop *loop, int msec, void (*function)(void *userdata), void *userdata)
{
	loop->call = function;
	loop->userdata = userdata;
	assert(uv_timer_start(&loop->timer, on_timer, (uint64_t)msec, 0) == 0);
}

void loop_turn(struct loop *loop)
{
	(void)uv_run(&loop->uv, UV_RUN_ONCE);
}
