/*
 * What happened, until a handler is told: in a queue on its channel, in order;
 * a channel with events is in the ready list of its connection.
 */
#include "config.h"

#include "client/events.h"
#include "client/chan.h"
#include "client/conn.h"
#include "client/consume.h"
#include "client/error.h"
#include "client/msg.h"
#include "client/threads.h"

#include "proto/muxd.pb-c.h"

#include <errno.h>
#include <stdlib.h>

#define NEWS_MAX 64u /* of the connection's that wait for handlers */

/* -------------------------------------------------------------------- ready */

bool events_come_last(const struct muxc_channel *channel)
{
	const struct event *next = channel->events.first;
	const struct muxc_channel *other = channel->c->running;

	if (!next || next->type != EVENT_CLOSED)
		return false;
	if (other == channel)
		other = other->next_running;
	return other || channel->c->ready_first;
}

bool ready_push(struct muxc_channel *channel)
{
	struct muxc *c = channel->c;

	if (channel->ready || channel->running || events_come_last(channel))
		return false;
	channel->ready = true;
	channel->refs++;
	channel->next_ready = NULL;
	if (c->ready_last)
		c->ready_last->next_ready = channel;
	else
		c->ready_first = channel;
	c->ready_last = channel;
	c->ready_count++;
	return true;
}

struct muxc_channel *ready_pop(struct muxc *c)
{
	struct muxc_channel *channel = c->ready_first;

	if (!channel)
		return NULL;
	c->ready_first = channel->next_ready;
	if (!c->ready_first)
		c->ready_last = NULL;
	channel->ready = false;
	c->ready_count--;
	return channel;
}

void ready_forget(struct muxc *c)
{
	struct muxc_channel *channel;

	while ((channel = ready_pop(c)))
		channel_unref(channel);
}

/* ------------------------------------------------------------------- queues */

void event_push(struct muxc_channel *channel, struct event *event)
{
	event->next = NULL;
	if (channel->events.last)
		channel->events.last->next = event;
	else
		channel->events.first = event;
	channel->events.last = event;
	if (ready_push(channel))
		threads_wake(channel->c);
}

struct event *event_pop(struct muxc_channel *channel)
{
	struct event *event = channel->events.first;

	if (!event)
		return NULL;
	channel->events.first = event->next;
	if (!channel->events.first)
		channel->events.last = NULL;
	return event;
}

static bool event_is_message(const struct event *event)
{
	return event->type == EVENT_MESSAGE || event->type == EVENT_RETURNED;
}

void event_free(struct muxc *c, struct event *event)
{
	struct notice *notice = (struct notice *)event;

	if (event_is_message(event)) {
		message_drop(c, (struct muxc_message *)event);
		return;
	}
	free(notice->name);
	free(notice->text);
	free(notice);
}

void events_drop(struct muxc_channel *channel)
{
	struct event *event;

	while ((event = event_pop(channel)))
		event_free(channel->c, event);
	/* One may have been a barrier. */
	channel_wake(channel);
}

/* Takes out the messages of a consumer, or with 0 those that need to be settled; and settles them, or not. */
static void events_take_out(struct muxc_channel *channel, uint32_t consumer, bool requeue)
{
	struct event **at = &channel->events.first, *previous = NULL, *event;
	const struct muxc_message *message;
	int r = 0;

	while ((event = *at)) {
		message = (const struct muxc_message *)event;
		if (event->type != EVENT_MESSAGE ||
		    (consumer ? message->consumer != consumer : message->tag == 0)) {
			previous = event;
			at = &event->next;
			continue;
		}
		*at = event->next;
		if (channel->events.last == event)
			channel->events.last = previous;
		if (requeue && r == 0 && message->tag)
			r = settle_add(channel, MUXD__V1__SETTLE_KIND__REQUEUE, message->tag, message->tag);
		event_free(channel->c, event);
	}
	if (r < 0)
		conn_fail(channel->c, r, "no memory to give messages back");
}

void events_requeue(struct muxc_channel *channel, uint32_t consumer)
{
	events_take_out(channel, consumer, true);
}

void events_stale(struct muxc_channel *channel)
{
	events_take_out(channel, 0, false);
}

/* ------------------------------------------------------------------ notices */

static bool notice_wanted(const struct muxc_channel *channel, enum event_type type)
{
	const struct muxc *c = channel->c;

	if (c->freed || channel->user_freed)
		return false;
	switch (type) {
	case EVENT_OUTCOME:
		return channel->options.on_outcome;
	case EVENT_CHANNEL_CLOSED:
		return (channel->options.on_closed && !channel->closed_here) ||
		       (channel->options.on_outcome && channel->outcomes.rest_last > 0);
	case EVENT_UPSTREAM:
		return c->on_upstream;
	case EVENT_GOING_AWAY:
		return c->on_going_away;
	case EVENT_LINK:
		return c->on_link;
	case EVENT_CLOSED:
		return c->on_closed;
	default:
		return true;
	}
}

/* Confirms that follow one another are one call. */
static bool notice_joins(struct muxc_channel *channel, const struct notice *notice)
{
	struct notice *last = (struct notice *)channel->events.last;

	if (!last || notice->event.type != EVENT_OUTCOME || last->event.type != EVENT_OUTCOME)
		return false;
	if (notice->kind != MUXC_CONFIRMED || last->kind != MUXC_CONFIRMED || last->last + 1 != notice->first)
		return false;
	last->last = notice->last;
	return true;
}

/* Of the connection's news that nobody has taken the oldest makes room for a newer one of its kind. */
static void news_make_room(struct muxc *c, enum event_type type)
{
	struct event_queue *events = &c->own->events;
	struct event **at = &events->first, *last = NULL, *event;
	unsigned int count = 0;

	for (event = events->first; event; event = event->next)
		count++;
	if (count < NEWS_MAX)
		return;
	for (; (event = *at) && event->type != type; at = &event->next)
		last = event;
	if (!event)
		return;
	*at = event->next;
	if (events->last == event)
		events->last = last;
	event_free(c, event);
}

int notice_push(struct muxc_channel *channel, const struct notice *notice)
{
	struct notice *copy = NULL;
	bool wanted = notice_wanted(channel, notice->event.type);

	if (wanted && notice_joins(channel, notice))
		return 0;
	if (wanted)
		copy = malloc(sizeof(*copy));
	if (!copy) {
		free(notice->name);
		free(notice->text);
		return wanted ? -ENOMEM : 0;
	}
	*copy = *notice;
	if (channel == channel->c->own)
		news_make_room(channel->c, notice->event.type);
	event_push(channel, &copy->event);
	return 0;
}

void notice_push_end(struct muxc_channel *channel, enum event_type type, const struct muxc_error *error)
{
	struct notice *notice = channel->end;

	if (!notice || !notice_wanted(channel, type))
		return;
	channel->end = NULL;
	*notice = (struct notice){.event = {NULL, type}, .error = *error};
	event_push(channel, &notice->event);
}
