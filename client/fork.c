/*
 * A connection with MUXC_REATTACH in a forked child.
 *
 * The locks of all such connections are held while the process forks, so the
 * child's copy of them is whole. In the child the descriptors are closed at
 * once. The rest waits for the first call, as most children call exec(): then
 * what belongs to the parent's session is forgotten (fork_adopt()), the
 * connection is away, and comes back as after a loss (link.c). Its thread is
 * started when something needs it.
 *
 * Handlers of pthread_atfork() have no argument, so the list of connections is
 * the one variable of the library's own.
 */
#include "config.h"

#include "client/fork.h"
#include "client/chan.h"
#include "client/conn.h"
#include "client/consume.h"
#include "client/declared.h"
#include "client/dispatch.h"
#include "client/error.h"
#include "client/events.h"
#include "client/link.h"
#include "client/outcome.h"
#include "client/replay.h"
#include "client/request.h"
#include "client/restore.h"
#include "client/threads.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static struct {
	pthread_mutex_t lock;
	pthread_once_t once;
	int result; /* of pthread_atfork() */
	struct muxc *first;
} forking = {.lock = PTHREAD_MUTEX_INITIALIZER, .once = PTHREAD_ONCE_INIT};

/* ------------------------------------------------------------------- forking */

static void prepare(void)
{
	struct muxc *c;

	(void)pthread_mutex_lock(&forking.lock);
	for (c = forking.first; c; c = c->next_forking)
		(void)pthread_mutex_lock(&c->lock);
}

static void in_parent(void)
{
	struct muxc *c;

	for (c = forking.first; c; c = c->next_forking)
		(void)pthread_mutex_unlock(&c->lock);
	(void)pthread_mutex_unlock(&forking.lock);
}

static void in_child(void)
{
	struct muxc *c;

	for (c = forking.first; c; c = c->next_forking) {
		if (c->fd >= 0)
			(void)close(c->fd);
		if (c->wake_fd >= 0)
			(void)close(c->wake_fd);
		link_close_left(c, true);
		c->fd = c->fd_told = -1;
		c->wake_fd = -1;
		c->owner = getpid();
		c->forked = true;
		(void)pthread_mutex_unlock(&c->lock);
	}
	(void)pthread_mutex_unlock(&forking.lock);
}

static void install(void)
{
	forking.result = -pthread_atfork(prepare, in_parent, in_child);
}

int fork_register(struct muxc *c)
{
	(void)pthread_once(&forking.once, install);
	if (forking.result < 0)
		return forking.result;
	(void)pthread_mutex_lock(&forking.lock);
	c->next_forking = forking.first;
	forking.first = c;
	c->reattaches = true;
	(void)pthread_mutex_unlock(&forking.lock);
	return 0;
}

void fork_unregister(struct muxc *c)
{
	struct muxc **at;

	if (!c->reattaches)
		return;
	(void)pthread_mutex_lock(&forking.lock);
	for (at = &forking.first; *at != c; at = &(*at)->next_forking)
		;
	*at = c->next_forking;
	(void)pthread_mutex_unlock(&forking.lock);
}

/* ------------------------------------------------------------------ adopting */

/* The parent has the messages, and hears of the publishes. */
static void adopt_channel(struct muxc_channel *channel)
{
	struct outcomes *outcomes = &channel->outcomes;

	events_drop(channel);
	consumers_free(channel);
	if (channel->settles)
		channel->settles->count = 0;
	channel->tag_base = channel->tag_last;
	channel->tx_used = channel->tx_committing = false;
	channel->unsettled = channel->tx_settled = 0;
	channel->live = false;
	channel->restoring = 0;
	channel->restoring_failed = channel->restoring_again = false;
	channel->waiters = 0;
	(void)cond_init_monotonic(&channel->cond);
	replay_settled(channel, (struct range){1, outcomes->published});
	channel->replay.sent = outcomes->published;
	channel->replay.first = outcomes->published + 1;
	outcomes->base = outcomes->published;
	outcomes->settled_count = 0;
	if (channel->state == CHANNEL_CLOSING || channel->state == CHANNEL_DOOMED)
		channel_end(channel, &channel->error);
}

static void adopt_channels(struct muxc *c)
{
	struct muxc_channel *channel;
	uint32_t i;

	while ((channel = c->dirty)) {
		c->dirty = channel->next_dirty;
		channel->dirty = false;
		channel_unref(channel);
	}
	ready_forget(c);
	events_drop(c->own);
	for (i = 0; i < c->channels_count; i++) {
		channel = c->channels[i].channel;
		if (!channel)
			continue;
		channel->refs++;
		adopt_channel(channel);
		channel_unref(channel);
	}
	c->channels_waiters = 0;
}

void fork_adopt(struct muxc *c)
{
	c->forked = false;
	threads_forget(c);
	running_forget(c);
	c->in_handler = false;
	c->wake_pending = false;
	c->look_usec = 0;
	c->dispatchers_count = 0;
	while (c->requests)
		request_drop(c, c->requests);
	restore_lost(c);
	adopt_channels(c);
	declared_deinit(c);
	c->declared = (struct declarations){0};
	if (c->state != CONN_ENDED)
		link_forget(c);
	c->asleep = !c->loop && c->state != CONN_ENDED;
}

int fork_wake(struct muxc *c, struct muxc_error *ret_error)
{
	int r;

	c->asleep = false;
	r = threads_begin(c);
	if (r == 0)
		return 0;
	conn_fail(c, r, "no thread for the connection of a forked child");
	error_copy(ret_error, &c->error);
	return r;
}
