/*
 * Handlers. What happened is queued as an event on its channel (events.c); a
 * channel with events is in the ready list. Whoever dispatches takes a channel
 * from the list, gives it its turn, and calls its handlers one by one without
 * the lock. So handlers of one channel run in order and one at a time, however
 * many threads dispatch: dispatch threads or an executor's (threads.c), in loop
 * mode the caller of muxc_process().
 *
 * A handler may free its channel or the connection: the turn has a reference,
 * and each step looks again.
 */
#include "config.h"

#include "client/dispatch.h"
#include "client/chan.h"
#include "client/conn.h"
#include "client/consume.h"
#include "client/error.h"
#include "client/events.h"
#include "client/fork.h"
#include "client/io.h"
#include "client/msg.h"
#include "client/outcome.h"
#include "client/threads.h"

#include "proto/muxd.pb-c.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURN_BUDGET 32 /* events of a channel before the next channel has its turn */

/* ----------------------------------------------------------------- handlers */

/* The process is remembered: of a connection with MUXC_REATTACH a child is owner, too. */
static pid_t handler_begin(struct muxc *c)
{
	pid_t pid = c->owner;

	if (c->loop)
		c->in_handler = true;
	(void)pthread_mutex_unlock(&c->lock);
	return pid;
}

/*
 * Takes the lock again: 1. In a child that a handler has forked since: -ECHILD,
 * with the lock; or, when a thread of the parent had it at that moment, -EBUSY
 * without, and nothing may be touched.
 */
static int lock_again(struct muxc *c, pid_t pid)
{
	if (getpid() == pid) {
		(void)pthread_mutex_lock(&c->lock);
		return 1;
	}
	if (conn_is_foreign(c)) {
		if (pthread_mutex_trylock(&c->lock) != 0)
			return -EBUSY;
		threads_forget(c);
		return -ECHILD;
	}
	(void)pthread_mutex_lock(&c->lock);
	if (c->forked)
		fork_adopt(c);
	return -ECHILD;
}

static int handler_end(struct muxc *c, pid_t pid)
{
	int r = lock_again(c, pid);

	if (r > 0)
		c->in_handler = false;
	return r;
}

static int dispatch_message(struct muxc_channel *channel, struct muxc_message *message)
{
	struct consumer *consumer = consumer_find(channel, message->consumer);
	bool stale = channel->closed_here || (message->tag && channel->state != CHANNEL_OPEN);
	muxc_message_handler handler;
	void *userdata;
	pid_t pid;

	if (consumer)
		consumer_took(channel, consumer, message->size_bytes);
	if (!consumer || stale)
		return 0;
	handler = consumer->on_message;
	userdata = consumer->userdata;
	pid = handler_begin(channel->c);
	handler(channel, message, userdata);
	return handler_end(channel->c, pid);
}

static int dispatch_returned(struct muxc_channel *channel, struct muxc_message *message)
{
	pid_t pid;

	pid = handler_begin(channel->c);
	channel->options.on_return(channel, message, message->error, channel->options.userdata);
	return handler_end(channel->c, pid);
}

static int dispatch_cancelled(struct muxc_channel *channel, const struct notice *notice)
{
	struct consumer *consumer = consumer_find(channel, notice->consumer);
	muxc_cancelled_handler handler;
	void *userdata;
	pid_t pid;

	if (!consumer)
		return 0;
	handler = consumer->on_cancelled;
	userdata = consumer->userdata;
	consumer_remove(channel, notice->consumer);
	if (!handler || channel->closed_here)
		return 0;
	pid = handler_begin(channel->c);
	handler(channel, notice->consumer, notice->text ? notice->text : "", userdata);
	return handler_end(channel->c, pid);
}

static int dispatch_interrupted(struct muxc_channel *channel, const struct notice *notice)
{
	struct consumer *consumer = consumer_find(channel, notice->consumer);
	muxc_interrupted_handler handler;
	void *userdata;
	pid_t pid;

	if (consumer)
		consumer->interrupted = false;
	if (!consumer || !consumer->on_interrupted || channel->closed_here)
		return 0;
	/* Once the lock is given up, another thread may cancel the consumer. */
	handler = consumer->on_interrupted;
	userdata = consumer->userdata;
	pid = handler_begin(channel->c);
	handler(channel, notice->consumer, notice->text ? notice->text : "", userdata);
	return handler_end(channel->c, pid);
}

static int dispatch_outcome(struct muxc_channel *channel, const struct notice *notice)
{
	struct muxc_outcome outcome = {notice->first, notice->last, notice->kind, &notice->error};
	pid_t pid;

	pid = handler_begin(channel->c);
	channel->options.on_outcome(channel, &outcome, channel->options.userdata);
	return handler_end(channel->c, pid);
}

/* First the outcomes that came with it, then the end. */
static int dispatch_channel_closed(struct muxc_channel *channel, const struct notice *notice)
{
	const struct outcomes *outcomes = &channel->outcomes;
	struct notice rest = {.kind = outcomes->rest_kind, .error = outcomes->rest_error};
	struct range range = {0, 0};
	int called = 0, r;
	pid_t pid;

	while (channel->options.on_outcome && outcomes_next_rest(outcomes, range.last, &range)) {
		rest.first = range.first;
		rest.last = range.last;
		r = dispatch_outcome(channel, &rest);
		if (r < 0)
			return r;
		called++;
		if (channel->c->freed || channel->user_freed)
			return called;
	}
	if (!channel->options.on_closed || channel->closed_here)
		return called;
	pid = handler_begin(channel->c);
	channel->options.on_closed(channel, &notice->error, channel->options.userdata);
	r = handler_end(channel->c, pid);
	return r < 0 ? r : called + 1;
}

/* The connection's own. */
static int dispatch_own(struct muxc *c, const struct notice *notice)
{
	struct muxc_upstream upstream;
	struct muxc_link link;
	pid_t pid;

	pid = handler_begin(c);
	switch (notice->event.type) {
	case EVENT_UPSTREAM:
		upstream = (struct muxc_upstream){notice->name ? notice->name : "", notice->kind,
						  notice->text ? notice->text : "", notice->first};
		c->on_upstream(c, &upstream, c->userdata);
		break;
	case EVENT_GOING_AWAY:
		c->on_going_away(c, notice->first, notice->text ? notice->text : "", c->userdata);
		break;
	case EVENT_LINK:
		link = (struct muxc_link){notice->kind, &notice->error, notice->first, notice->last,
					  notice->consumer};
		c->on_link(c, &link, c->userdata);
		break;
	default:
		c->on_closed(c, &notice->error, c->userdata);
		break;
	}
	return handler_end(c, pid);
}

/* How many handlers were called, 0 when there was none to call; in a forked child as lock_again(). */
static int dispatch_event(struct muxc_channel *channel, struct event *event)
{
	const struct notice *notice = (const struct notice *)event;

	switch (event->type) {
	case EVENT_MESSAGE:
		return dispatch_message(channel, (struct muxc_message *)event);
	case EVENT_RETURNED:
		return dispatch_returned(channel, (struct muxc_message *)event);
	case EVENT_OUTCOME:
		return dispatch_outcome(channel, notice);
	case EVENT_CANCELLED:
		return dispatch_cancelled(channel, notice);
	case EVENT_INTERRUPTED:
		return dispatch_interrupted(channel, notice);
	case EVENT_BARRIER:
		channel->barriers_passed = notice->first;
		channel_wake(channel);
		return 0;
	case EVENT_CHANNEL_CLOSED:
		return dispatch_channel_closed(channel, notice);
	default:
		return dispatch_own(channel->c, notice);
	}
}

/* -------------------------------------------------------------- dispatching */

bool in_dispatch(const struct muxc *c)
{
	const struct muxc_channel *channel;
	pthread_t self = pthread_self();

	for (channel = c->running; channel; channel = channel->next_running) {
		if (pthread_equal(channel->runner, self))
			return true;
	}
	return false;
}

static int tell_destroyed(struct muxc_channel *channel)
{
	muxc_destroy_handler handler = channel->options.on_destroy;
	struct muxc *c = channel->c;
	pid_t pid = c->owner;

	channel->destroyed = true;
	if (!handler)
		return 1;
	(void)pthread_mutex_unlock(&c->lock);
	handler(channel->options.userdata);
	return lock_again(c, pid);
}

int channel_tell_destroyed(struct muxc_channel *channel)
{
	bool now = channel->user_freed && !channel->destroyed && !channel->running;

	return now ? tell_destroyed(channel) : 1;
}

static void turn_begin(struct muxc_channel *channel)
{
	struct muxc *c = channel->c;

	channel->running = true;
	channel->runner = pthread_self();
	channel->since_usec = c->dispatchers_max > 1 ? now_usec() : 0;
	channel->next_running = c->running;
	c->running = channel;
}

static void turn_unlink(struct muxc_channel *channel)
{
	struct muxc_channel **at;

	for (at = &channel->c->running; *at != channel; at = &(*at)->next_running)
		;
	*at = channel->next_running;
	channel->running = false;
}

void running_forget(struct muxc *c)
{
	struct muxc_channel *channel;

	/* What is left is of the thread that forked in a handler: that goes on with its message, and ends
	 * with turn_abandon(). */
	while ((channel = c->running)) {
		c->running = channel->next_running;
		channel->running = false;
		channel->handled = NULL;
	}
}

/* Uses up the reference from the ready list. */
static void turn_end(struct muxc_channel *channel)
{
	struct muxc *c = channel->c;

	turn_unlink(channel);
	if (c->link.moving)
		io_wake(c);
	if (channel->user_freed || c->freed)
		events_drop(channel);
	/* Nobody needs to be woken: whoever has had this turn looks for the next. */
	if (channel->events.first)
		(void)ready_push(channel);
	if (c->own->events.first)
		(void)ready_push(c->own);
	channel_unref(channel);
}

/* The same in a forked child; r as lock_again() gave it. */
static int turn_abandon(struct muxc_channel *channel, struct event *event, int r)
{
	struct muxc *c = channel->c;

	if (r != -ECHILD)
		return r;
	/* If not, running_forget() was here. */
	if (channel->running && pthread_equal(channel->runner, pthread_self())) {
		channel->handled = NULL;
		turn_unlink(channel);
	}
	if (event)
		event_free(c, event);
	channel_unref(channel);
	return r;
}

/* A handler may have freed its channel, or the connection. */
static bool turn_goes_on(const struct muxc_channel *channel)
{
	return channel->events.first && !channel->user_freed && !channel->c->freed &&
	       !events_come_last(channel);
}

static int dispatch_channel(struct muxc_channel *channel)
{
	struct muxc *c = channel->c;
	int budget = TURN_BUDGET, called = 0, r = 1;
	struct event *event;

	turn_begin(channel);
	while (budget-- > 0 && turn_goes_on(channel)) {
		channel->handled = event = event_pop(channel);
		r = dispatch_event(channel, event);
		if (r < 0)
			return turn_abandon(channel, event, r);
		called += r;
		event_free(c, event);
		channel->handled = NULL;
	}
	if (channel->user_freed && !channel->destroyed)
		r = tell_destroyed(channel);
	if (r < 0)
		return turn_abandon(channel, NULL, r);
	turn_end(channel);
	return called;
}

int dispatch_turn(struct muxc *c)
{
	struct muxc_channel *channel = ready_pop(c);

	return channel ? dispatch_channel(channel) : 0;
}

int dispatch_run(struct muxc *c, int budget)
{
	int called = 0, r;

	while (called < budget && c->ready_first) {
		r = dispatch_turn(c);
		if (r < 0)
			return r;
		called += r;
	}
	return called;
}

/* ------------------------------------------------------------------ waiting */

/* Nobody but this thread would call what it waits for. */
static bool waits_for_itself(const struct muxc_channel *channel)
{
	const struct muxc *c = channel->c;

	if (channel->running && pthread_equal(channel->runner, pthread_self()))
		return true;
	return in_dispatch(c) && (c->loop || (!c->execute && c->dispatchers_max == 1));
}

static int barrier_push(struct muxc_channel *channel)
{
	struct notice *notice;

	notice = calloc(1, sizeof(*notice));
	if (!notice)
		return -ENOMEM;
	notice->event.type = EVENT_BARRIER;
	notice->first = ++channel->barriers;
	event_push(channel, &notice->event);
	return 0;
}

static int handlers_wait(struct muxc_channel *channel, uint64_t deadline, struct muxc_error *ret_error)
{
	struct muxc *c = channel->c;
	uint64_t barrier;
	int r;

	if (waits_for_itself(channel))
		return error_set(ret_error, -EDEADLK, "called by the handler that it would wait for");
	if (!channel->running && !channel->events.first)
		return 0;
	r = barrier_push(channel);
	if (r < 0)
		return error_set(ret_error, r, "no memory");
	barrier = channel->barriers;
	while (channel->barriers_passed < barrier) {
		if (c->freed || channel->user_freed)
			return error_set(ret_error, -ESHUTDOWN, "the channel or the connection was freed");
		if (r < 0 || (c->loop && now_usec() >= deadline))
			return error_set(ret_error, -ETIMEDOUT,
					 "channel %u still has handlers to call, or one runs",
					 channel->number);
		r = c->loop ? dispatch_turn(c) : channel_wait(channel, deadline);
		if (c->loop && r < 0)
			return r;
	}
	return 0;
}

int muxc_wait_handlers(struct muxc_channel *channel, uint64_t timeout_usec, struct muxc_error *ret_error)
{
	int r;

	r = channel_lock(channel, ret_error);
	if (r < 0)
		return r;
	r = handlers_wait(channel,
			  deadline_after(timeout_usec ? timeout_usec : channel->c->request_timeout_usec),
			  ret_error);
	if (r == -EBUSY)
		return -ECHILD;
	channel_leave(channel);
	return r;
}
