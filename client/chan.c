/*
 * Channels: numbers and generations, opening and closing.
 *
 * Opening is local: a free number is taken, its generation raised, and
 * ChannelOpen put into the output (when muxd is there; restore.c does it else).
 * Closing is local too: ChannelClose goes out as a request that nobody waits
 * for, and the number is free again when it was answered and every publish has
 * its outcome. A channel that muxd ends is
 * first doomed (an answer or muxd's Error said so): nothing more is sent on it,
 * but what is under way is still answered. It has ended when all of it was.
 */
#include "config.h"

#include "client/chan.h"
#include "client/conn.h"
#include "client/consume.h"
#include "client/dispatch.h"
#include "client/error.h"
#include "client/events.h"
#include "client/fork.h"
#include "client/out.h"
#include "client/outcome.h"
#include "client/publish.h"
#include "client/replay.h"
#include "client/request.h"
#include "client/restore.h"
#include "client/wire.h"

#include "proto/buf.h"
#include "proto/muxd.pb-c.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CHANNEL_OPEN_GENERATION 1u /* field of muxd.v1.ChannelOpen */
#define SLOTS_MIN 4u
#define NUMBER_MAX 65535u /* channels of one connection, whatever muxd says */

struct muxc_channel *channel_new(struct muxc *c, const struct muxc_channel_options *options)
{
	struct muxc_channel *channel;

	channel = calloc(1, sizeof(*channel));
	if (!channel)
		return NULL;
	channel->c = c;
	channel->refs = 1;
	channel->serial = ++c->channels_serial;
	channel->replay.first = 1;
	channel->error = (struct muxc_error)MUXC_ERROR_INIT;
	if (options)
		channel->options = *options;
	channel->end = malloc(sizeof(*channel->end));
	if (!channel->end || cond_init_monotonic(&channel->cond) < 0) {
		free(channel->end);
		free(channel);
		return NULL;
	}
	return channel;
}

void channel_unref(struct muxc_channel *channel)
{
	if (--channel->refs > 0)
		return;
	events_drop(channel);
	consumers_free(channel);
	replay_deinit(channel);
	outcomes_deinit(&channel->outcomes);
	free(channel->settles);
	free(channel->end);
	free(channel->last_queue);
	if (!conn_is_foreign(channel->c))
		(void)pthread_cond_destroy(&channel->cond);
	channel->c->refs--;
	free(channel);
}

void channel_wake(struct muxc_channel *channel)
{
	if (channel->waiters > 0)
		(void)pthread_cond_broadcast(&channel->cond);
}

int channel_wait(struct muxc_channel *channel, uint64_t deadline_usec)
{
	int r;

	channel->waiters++;
	r = conn_wait(channel->c, &channel->cond, deadline_usec);
	channel->waiters--;
	return r;
}

int channel_lock(struct muxc_channel *channel, struct muxc_error *ret_error)
{
	int r;

	if (!channel)
		return error_set(ret_error, -EINVAL, "no channel was given");
	r = conn_lock(channel->c, ret_error);
	if (r < 0)
		return r;
	channel->refs++;
	return 0;
}

int channel_usable(struct muxc_channel *channel, struct muxc_error *ret_error)
{
	if (channel->closed_here)
		return error_set(ret_error, -ESHUTDOWN, "channel %u was closed by this program",
				 channel->number);
	if (channel->state == CHANNEL_OPEN)
		return channel->c->asleep ? fork_wake(channel->c, ret_error) : 0;
	error_copy(ret_error, &channel->error);
	return channel->error.error;
}

int channel_enter(struct muxc_channel *channel, struct muxc_error *ret_error)
{
	int r;

	r = channel_lock(channel, ret_error);
	if (r < 0)
		return r;
	r = channel_usable(channel, ret_error);
	if (r < 0)
		channel_leave(channel);
	return r;
}

void channel_leave(struct muxc_channel *channel)
{
	struct muxc *c = channel->c;

	channel_unref(channel);
	conn_leave(c);
}

struct muxc_channel *channel_find(struct muxc *c, uint32_t number, uint32_t generation)
{
	struct muxc_channel *channel;

	if (number == 0 || number > c->channels_count)
		return NULL;
	channel = c->channels[number - 1].channel;
	return channel && channel->live && channel->generation == generation ? channel : NULL;
}

/* ------------------------------------------------------------------- ending */

static void slot_clear(struct muxc_channel *channel)
{
	struct muxc *c = channel->c;

	if (channel->closed_here)
		c->channels_ending--;
	c->channels[channel->number - 1].channel = NULL;
	if (c->channels_ending > 0 || c->channels_waiters > 0)
		(void)pthread_cond_broadcast(&c->cond);
	channel_unref(channel);
}

void channel_end(struct muxc_channel *channel, const struct muxc_error *error)
{
	const struct consumer *consumer;

	if (channel->state == CHANNEL_ENDED)
		return;
	if (channel->state == CHANNEL_OPEN || channel->state == CHANNEL_CLOSING)
		channel->error = *error;
	channel->state = CHANNEL_ENDED;
	channel->live = false;
	requests_fail(channel->c, channel, error);
	restore_remove(channel);
	replay_end_unsent(channel, error);
	outcomes_settle_rest(channel, MUXC_UNKNOWN, error);
	replay_settled(channel, (struct range){1, channel->outcomes.published});
	if (channel->settles)
		channel->settles->count = 0;
	notice_push_end(channel, EVENT_CHANNEL_CLOSED, &channel->error);
	channel_wake(channel);
	credit_wake(channel->c);
	for (consumer = channel->consumers; consumer && channel->c->state != CONN_ENDED;
	     consumer = consumer->next)
		declared_unused(channel->c, &consumer->op);
	slot_clear(channel);
}

/* What muxd was not told of. */
static void end_unsent(struct muxc_channel *channel, const struct muxc_error *error)
{
	struct request *request, *next;
	struct muxc *c = channel->c;

	replay_end_unsent(channel, error);
	for (request = c->requests; request && channel->unsent > 0; request = next) {
		next = request->next;
		if (request->channel != channel || request->sent)
			continue;
		request->error = *error;
		request->result = error->error;
		request_done(c, request);
	}
}

void channel_doom(struct muxc_channel *channel, const struct muxc_error *error)
{
	if (channel->state != CHANNEL_OPEN && channel->state != CHANNEL_CLOSING)
		return;
	channel->state = CHANNEL_DOOMED;
	channel->error = *error;
	if (channel->settles)
		channel->settles->count = 0;
	end_unsent(channel, error);
	channel_wake(channel);
	credit_wake(channel->c);
}

void channel_check_end(struct muxc_channel *channel)
{
	const struct outcomes *outcomes = &channel->outcomes;
	struct muxc_error error;

	if ((!channel->close_done && !channel->end_seen) || channel->requests > 0 ||
	    !outcomes_complete(outcomes, outcomes->published))
		return;
	error = channel->error;
	channel_end(channel, &error);
}

int channel_send_close(struct muxc_channel *channel)
{
	return request_send_detached(channel, MUXD__V1__CLIENT_FRAME__OP_CHANNEL_CLOSE, SPAN_NULL);
}

/* muxd does not know of it, and need not. */
static bool may_end_here(const struct muxc_channel *channel)
{
	return !channel->live && channel->requests == 0 &&
	       channel->replay.first > channel->outcomes.published;
}

static void channel_close(struct muxc_channel *channel)
{
	struct muxc *c = channel->c;

	if (channel->closed_here)
		return;
	channel->closed_here = true;
	if (channel->state != CHANNEL_ENDED)
		c->channels_ending++;
	channel_wake(channel);
	/* A doomed one ends without being told. */
	if (channel->state != CHANNEL_OPEN)
		return;
	channel->state = CHANNEL_CLOSING;
	error_set(&channel->error, -ESHUTDOWN, "channel %u was closed by this program", channel->number);
	if (may_end_here(channel))
		channel_end(channel, &channel->error);
	else if (channel_send_close(channel) < 0)
		conn_fail(c, -ENOMEM, "no memory to close a channel");
	out_policy(c, false);
}

int muxc_channel_close(struct muxc_channel *channel)
{
	int r;

	r = channel_lock(channel, NULL);
	if (r < 0)
		return r;
	channel_close(channel);
	channel_leave(channel);
	return 0;
}

/* In a forked child: memory only, if no thread of the parent was changing it. */
static void channel_free_in_child(struct muxc_channel *channel)
{
	struct muxc *c = channel->c;

	if (pthread_mutex_trylock(&c->lock) != 0)
		return;
	c->refs++;
	channel->user_freed = true;
	channel->destroyed = true;
	if (!channel->running)
		events_drop(channel);
	channel_unref(channel);
	conn_leave(c);
}

struct muxc_channel *muxc_channel_free(struct muxc_channel *channel)
{
	if (!channel)
		return NULL;
	if (conn_is_foreign(channel->c)) {
		channel_free_in_child(channel);
		return NULL;
	}
	(void)channel_lock(channel, NULL);
	channel_close(channel);
	channel->user_freed = true;
	if (!channel->running)
		events_drop(channel);
	channel_wake(channel);
	if (channel_tell_destroyed(channel) == -EBUSY)
		return NULL;
	channel_unref(channel);
	channel_leave(channel);
	return NULL;
}

/* ------------------------------------------------------------------ opening */

static int slots_grow(struct muxc *c)
{
	uint32_t count = c->channels_count ? c->channels_count * 2 : SLOTS_MIN;
	struct channel_slot *slots;

	if (count > c->channels_max)
		count = c->channels_max;
	if (count > NUMBER_MAX)
		count = NUMBER_MAX;
	if (count <= c->channels_count)
		return -EMFILE;
	slots = realloc(c->channels, count * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	memset(slots + c->channels_count, 0, (count - c->channels_count) * sizeof(*slots));
	c->channels = slots;
	c->channels_count = count;
	return 0;
}

/* The index of a free slot, or -EMFILE, -ENOMEM. */
static int64_t slot_free(struct muxc *c)
{
	uint32_t i, index, limit = c->channels_count < c->channels_max ? c->channels_count : c->channels_max;
	int r;

	for (i = 0; i < limit; i++) {
		index = (c->channels_next + i) % limit;
		if (!c->channels[index].channel && c->channels[index].generation < UINT32_MAX) {
			c->channels_next = index + 1;
			return index;
		}
	}
	index = c->channels_count;
	r = slots_grow(c);
	if (r < 0)
		return r;
	return index;
}

/* Waits for a number when all are taken, but some are being closed. */
static int64_t slot_wait(struct muxc *c)
{
	uint64_t deadline = deadline_after(c->request_timeout_usec);
	int64_t index;
	int r;

	for (;;) {
		r = conn_check(c, NULL);
		if (r < 0)
			return r;
		index = slot_free(c);
		if (index != -EMFILE || c->channels_ending == 0)
			return index;
		c->channels_waiters++;
		r = conn_wait(c, &c->cond, deadline);
		c->channels_waiters--;
		if (r < 0)
			return -EMFILE;
	}
}

int channel_begin(struct muxc_channel *channel)
{
	struct frame_head head = {.channel = channel->number, .op = MUXD__V1__CLIENT_FRAME__OP_CHANNEL_OPEN};
	uint32_t generation = channel->c->channels[channel->number - 1].generation + 1;
	struct buf op = BUF_INIT;
	int r;

	wire_put_number(&op, CHANNEL_OPEN_GENERATION, generation);
	r = buf_failed(&op) ? -ENOMEM : out_frame(channel->c, &head, buf_span(&op));
	buf_deinit(&op);
	if (r < 0)
		return r;
	channel->c->channels[channel->number - 1].generation = generation;
	channel->generation = generation;
	channel->live = true;
	replay_begin(channel);
	return 0;
}

/* With a slot found: from here on it cannot fail for want of anything but memory. */
static int channel_open(struct muxc *c, uint32_t index, struct muxc_channel *channel)
{
	struct channel_slot *slot = &c->channels[index];
	int r;

	channel->number = index + 1;
	/* While muxd is away it is opened with all the others. */
	r = c->link.up ? channel_begin(channel) : 0;
	if (r < 0)
		return r;
	slot->channel = channel;
	channel->refs++;
	return 0;
}

int muxc_channel_open(struct muxc *c, const struct muxc_channel_options *options, struct muxc_channel **ret)
{
	struct muxc_channel_options copy;
	struct muxc_channel *channel;
	int64_t index;
	int r;

	if (!ret || struct_take(&copy, sizeof(copy), options, "muxc_channel_options", NULL) < 0)
		return -EINVAL;
	r = conn_enter(c, NULL);
	if (r < 0)
		return r;
	channel = channel_new(c, &copy);
	if (!channel) {
		conn_leave(c);
		return -ENOMEM;
	}
	c->refs++;
	index = slot_wait(c);
	r = index < 0 ? (int)index : channel_open(c, (uint32_t)index, channel);
	if (r < 0)
		channel_unref(channel);
	else
		*ret = channel;
	conn_leave(c);
	return r;
}

/* ------------------------------------------------------------------ looking */

uint32_t muxc_channel_get_number(const struct muxc_channel *channel)
{
	return channel ? channel->number : 0;
}

void *muxc_channel_get_userdata(const struct muxc_channel *channel)
{
	return channel ? channel->options.userdata : NULL;
}

struct muxc *muxc_channel_get_connection(struct muxc_channel *channel)
{
	struct muxc *c;

	if (channel_lock(channel, NULL) < 0)
		return NULL;
	c = channel->c->freed ? NULL : channel->c;
	channel_leave(channel);
	return c;
}

int muxc_channel_get_error(struct muxc_channel *channel, struct muxc_error *ret_error)
{
	int r;

	r = channel_enter(channel, ret_error);
	if (r < 0)
		return r;
	error_clear(ret_error);
	channel_leave(channel);
	return 0;
}
