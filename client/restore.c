/*
 * What a new session is told, so that it is as the one before.
 *
 * First what was declared, in order, on channel number 1, which is used for
 * nothing else meanwhile: nothing may be published before what it would be
 * routed to is there. When that channel fails, what was under way on it is
 * declared again one by one: so the one that is refused is known, and the
 * channel of the program that it was declared on ends; the others go on.
 *
 * Then all channels side by side: each is opened with its next generation, is
 * made transactional, has its prefetch set and its consumers started. When all
 * that was answered (at once, if it has none of it) follow its publishes and
 * requests, as they were made: a request knows how many publishes went before
 * it. Whatever has no credit or no room for a request waits in a list of
 * channels, in turn (restore_pump()).
 *
 * What may succeed later, as a queue that is still locked by the connection of
 * the muxd that died, is tried again after a while; what may not ends the
 * channel.
 */
#include "config.h"

#include "client/restore.h"
#include "client/chan.h"
#include "client/conn.h"
#include "client/consume.h"
#include "client/declared.h"
#include "client/error.h"
#include "client/events.h"
#include "client/link.h"
#include "client/out.h"
#include "client/publish.h"
#include "client/replay.h"
#include "client/request.h"
#include "client/wire.h"

#include "proto/buf.h"
#include "proto/muxd.pb-c.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_USEC 100000u		   /* between two attempts */
#define PATIENCE_USEC (10u * USEC_PER_SEC) /* so long a locked queue may be locked by the dead */
#define DECLARING_NUMBER 1u

/* Field numbers of muxd.v1.Consume, Qos and ChannelOpen. */
enum restore_field {
	CONSUME_TAG = 2,
	CONSUME_CREDIT_MESSAGES = 8,
	CONSUME_CREDIT_BYTES = 9,
	QOS_PREFETCH = 1,
	QOS_GLOBAL = 2,
	CHANNEL_OPEN_GENERATION = 1
};

static void no_memory(struct muxc *c)
{
	conn_fail(c, -ENOMEM, "no memory to bring back what there was");
}

static void again_later(struct muxc *c)
{
	if (!c->link.restore_usec)
		c->link.restore_usec = deadline_after(AGAIN_USEC);
}

/* Refused, but maybe not for long. */
static bool is_for_now(const struct muxc *c, const struct muxc_error *error)
{
	if (error->retryable)
		return true;
	/* 405: an exclusive queue, 403: an exclusive consumer of a connection that the broker thinks alive.
	 */
	return (error->code == 405 || error->code == 403) && now_usec() < c->link.patience_usec;
}

/* ------------------------------------------------------------- the waiting list */

void restore_add(struct muxc_channel *channel)
{
	struct link *link = &channel->c->link;

	if (channel->pending || channel->state == CHANNEL_ENDED)
		return;
	channel->pending = true;
	channel->refs++;
	channel->next_pending = NULL;
	if (link->pending_last)
		link->pending_last->next_pending = channel;
	else
		link->pending_first = channel;
	link->pending_last = channel;
}

void restore_remove(struct muxc_channel *channel)
{
	struct link *link = &channel->c->link;
	struct muxc_channel **at, *previous = NULL;

	if (!channel->pending)
		return;
	for (at = &link->pending_first; *at != channel; at = &(*at)->next_pending)
		previous = *at;
	*at = channel->next_pending;
	if (link->pending_last == channel)
		link->pending_last = previous;
	channel->pending = false;
	if (!link->pending_first) {
		link->starved = false;
		credit_wake(channel->c);
	}
	channel_unref(channel);
}

/* The oldest request of a channel (NULL: of none) that is still to be sent. */
static struct request *next_request(struct muxc *c, const struct muxc_channel *channel, bool restores)
{
	struct request *request;

	for (request = c->requests; request; request = request->next) {
		if (request->channel == channel && !request->sent && request->restores == restores &&
		    !request->declared)
			return request;
	}
	return NULL;
}

static bool has_room(const struct muxc *c)
{
	return c->requests_sent < c->requests_max;
}

static bool send_request(struct muxc *c, struct request *request)
{
	int r = request_send(c, request, request->channel ? request->channel->number : 0);

	if (r < 0)
		no_memory(c);
	return r == 0;
}

/* True: all was sent that can be for now, and the list need not have it. */
static bool pump_channel(struct muxc_channel *channel)
{
	struct muxc *c = channel->c;
	struct request *request;

	while (channel->restoring > 0 && channel->unsent > 0) {
		/* Asked before the list is searched: with many channels most come here for nothing. */
		if (!has_room(c))
			return false;
		request = next_request(c, channel, true);
		if (!request)
			break;
		if (!send_request(c, request))
			return true;
	}
	if (channel->restoring > 0 || !channel->live)
		return true;
	for (;;) {
		request = channel->unsent > 0 ? next_request(c, channel, false) : NULL;
		if (!replay_send(channel, request ? request->after : channel->outcomes.published))
			return c->state == CONN_ENDED;
		if (!request)
			return true;
		if (!has_room(c))
			return false;
		if (!send_request(c, request))
			return true;
	}
}

static void pump_channels(struct muxc *c)
{
	struct muxc_channel *channel, *next;
	bool done;

	for (channel = c->link.pending_first; channel && c->state == CONN_READY; channel = next) {
		channel->refs++;
		done = pump_channel(channel);
		next = channel->next_pending;
		if (done && channel->pending) {
			restore_remove(channel);
			channel_check_end(channel);
			channel_wake(channel);
		}
		channel_unref(channel);
	}
}

void restore_pump(struct muxc *c)
{
	struct request *request;

	if (!c->link.up || c->state != CONN_READY || (!c->link.pending_first && c->requests_unsent == 0))
		return;
	c->link.starved = false;
	while (c->requests_unsent > 0 && has_room(c) && (request = next_request(c, NULL, false))) {
		if (!send_request(c, request))
			return;
	}
	pump_channels(c);
	out_policy(c, true);
	if (!c->link.starved)
		credit_wake(c);
	if (c->unsent_count == 0 && c->freed)
		(void)pthread_cond_broadcast(&c->cond);
}

/* ------------------------------------------------------------------ channels */

static struct request *add_request(struct muxc_channel *channel, uint32_t op)
{
	struct request *request = request_restoring(channel->c, channel, op);

	if (request)
		channel->restoring++;
	else
		no_memory(channel->c);
	return request;
}

static void add_qos(struct muxc_channel *channel, uint32_t prefetch, bool global)
{
	struct request *request = add_request(channel, MUXD__V1__CLIENT_FRAME__OP_QOS);

	if (!request)
		return;
	wire_put_number(&request->body, QOS_PREFETCH, prefetch);
	wire_put_nonzero(&request->body, QOS_GLOBAL, global);
}

static void add_consumer(struct muxc_channel *channel, struct consumer *consumer)
{
	struct request *request = add_request(channel, MUXD__V1__CLIENT_FRAME__OP_CONSUME);

	if (!request)
		return;
	consumer->leaving = false;
	consumer->taken_messages = consumer->taken_bytes = 0;
	consumer->granted_messages = consumer->window_messages;
	consumer->granted_bytes = consumer->window_bytes;
	request->consumer = consumer->id;
	buf_append_span(&request->body, buf_span(&consumer->op));
	wire_put_bytes(&request->body, CONSUME_TAG, span_str(consumer->tag));
	wire_put_number(&request->body, CONSUME_CREDIT_MESSAGES, consumer->granted_messages);
	wire_put_number(&request->body, CONSUME_CREDIT_BYTES, consumer->granted_bytes);
}

/* Each with the prefetch that it was started with. */
static void add_consumers(struct muxc_channel *channel)
{
	struct consumer *consumer;
	uint32_t prefetch = 0;

	if (channel->has_qos_global)
		add_qos(channel, channel->qos_global, true);
	for (consumer = channel->consumers; consumer; consumer = consumer->next) {
		if (!consumer->started || consumer->gone || channel->c->freed)
			continue;
		if (consumer->prefetch != prefetch)
			add_qos(channel, consumer->prefetch, false);
		prefetch = consumer->prefetch;
		add_consumer(channel, consumer);
	}
	if (channel->has_qos && channel->qos_prefetch != prefetch)
		add_qos(channel, channel->qos_prefetch, false);
}

static void too_many(struct muxc_channel *channel)
{
	struct muxc_error error = MUXC_ERROR_INIT;

	error_set(&error, -EMFILE, "muxd allows no channel number %u any more", channel->number);
	channel_end(channel, &error);
}

/* Its close is among what is to be sent. */
static bool is_closing(const struct muxc_channel *channel)
{
	const struct request *request;

	for (request = channel->c->requests; request; request = request->next) {
		if (request->channel == channel && request->op == MUXD__V1__CLIENT_FRAME__OP_CHANNEL_CLOSE)
			return true;
	}
	return false;
}

static void restore_channel(struct muxc_channel *channel)
{
	struct muxc *c = channel->c;

	if (channel->live)
		return;
	if (channel->number > c->channels_max) {
		too_many(channel);
		return;
	}
	if (channel_begin(channel) < 0) {
		no_memory(c);
		return;
	}
	if (channel->tx)
		(void)add_request(channel, MUXD__V1__CLIENT_FRAME__OP_TX_SELECT);
	if (channel->state == CHANNEL_OPEN)
		add_consumers(channel);
	if (channel->state == CHANNEL_CLOSING || channel->unsent > 0 ||
	    channel->replay.sent < channel->outcomes.published)
		restore_add(channel);
	if (channel->state == CHANNEL_CLOSING && !is_closing(channel) && channel_send_close(channel) < 0)
		no_memory(c);
}

static void restore_channels(struct muxc *c)
{
	struct muxc_channel *channel;
	uint32_t i;

	c->link.up = true;
	for (i = 0; i < c->channels_count && c->state == CONN_READY; i++) {
		channel = c->channels[i].channel;
		if (!channel)
			continue;
		channel->refs++;
		restore_channel(channel);
		channel_unref(channel);
	}
	restore_pump(c);
	credit_wake(c);
}

/* muxd holds it open, and it is not wanted: nobody waits for the answer. */
static void close_number(struct muxc *c, uint32_t number)
{
	struct request *request = request_restoring(c, NULL, MUXD__V1__CLIENT_FRAME__OP_CHANNEL_CLOSE);

	if (!request || request_send(c, request, number) < 0)
		no_memory(c);
}

/* All requests that were to bring it back were answered, and one refused. */
static void channel_refused(struct muxc_channel *channel)
{
	struct muxc *c = channel->c;
	struct muxc_error error = channel->error;
	bool again = channel->restoring_again;

	channel->live = false;
	channel->restoring_failed = channel->restoring_again = false;
	/* Of its consumers some may have been there already. */
	deliveries_lost(channel);
	if (!error.closes_channel)
		close_number(c, channel->number);
	if (again && channel->state == CHANNEL_OPEN) {
		again_later(c);
		return;
	}
	error.closes_channel = 1;
	channel_end(channel, &error);
}

static void consumer_restored(struct muxc_channel *channel, uint32_t id)
{
	struct notice notice = {.event = {NULL, EVENT_INTERRUPTED}, .consumer = id};
	const struct consumer *consumer = consumer_find(channel, id);

	if (!consumer || !consumer->direct_reply)
		return;
	notice.text = text_dup(span_str("muxd was lost: replies that were under way do not come any more"));
	if (notice_push(channel, &notice) < 0)
		no_memory(channel->c);
}

static void channel_answered(struct muxc_channel *channel, const struct request *request,
			     const struct muxc_error *error)
{
	struct muxc *c = channel->c;

	if (error && !channel->restoring_failed) {
		channel->restoring_failed = true;
		channel->restoring_again = is_for_now(c, error);
		channel->error = *error;
	} else if (error && error->closes_channel) {
		channel->error.closes_channel = 1;
	} else if (!error && request->op == MUXD__V1__CLIENT_FRAME__OP_CONSUME) {
		consumer_restored(channel, request->consumer);
	}
	if (--channel->restoring > 0)
		return;
	if (channel->restoring_failed)
		channel_refused(channel);
	else
		restore_add(channel);
}

/* ----------------------------------------------------------------- declaring */

static int open_declaring(struct muxc *c)
{
	struct frame_head head = {.channel = DECLARING_NUMBER, .op = MUXD__V1__CLIENT_FRAME__OP_CHANNEL_OPEN};
	struct buf op = BUF_INIT;
	int r;

	wire_put_number(&op, CHANNEL_OPEN_GENERATION, ++c->channels[DECLARING_NUMBER - 1].generation);
	r = buf_failed(&op) ? -ENOMEM : out_frame(c, &head, buf_span(&op));
	buf_deinit(&op);
	c->link.declaring_open = r == 0;
	c->link.declaring_failed = false;
	return r;
}

static int declare_again(struct muxc *c, struct declared *declared)
{
	struct request *request = request_restoring(c, NULL, declared->op);
	int r;

	if (!request)
		return -ENOMEM;
	request->declared = declared;
	buf_append_span(&request->body, buf_span(&declared->body));
	r = buf_failed(&request->body) ? -ENOMEM : request_send(c, request, DECLARING_NUMBER);
	if (r < 0)
		return r;
	declared->waiting = false;
	c->link.declaring_unanswered++;
	return 0;
}

static void end_declaring(struct muxc *c)
{
	if (c->link.moving)
		return;
	c->link.declaring = false;
	if (c->link.declaring_open && !c->link.declaring_failed)
		close_number(c, DECLARING_NUMBER);
	c->link.declaring_open = false;
	restore_channels(c);
}

static void pump_declaring(struct muxc *c)
{
	struct link *link = &c->link;
	struct declared *declared;
	int r = 0;

	if (link->restore_usec)
		return;
	while ((declared = c->declared.next) && r == 0) {
		if (!declared->waiting) {
			c->declared.next = declared->next;
			continue;
		}
		if (!has_room(c) ||
		    (link->declaring_unanswered > 0 && (declared->alone || link->declaring_failed)))
			return;
		if (!link->declaring_open || link->declaring_failed)
			r = open_declaring(c);
		if (r == 0)
			r = declare_again(c, declared);
		if (r == 0 && declared->alone)
			return;
	}
	if (r < 0)
		no_memory(c);
	else if (link->declaring_unanswered == 0)
		end_declaring(c);
}

/* For good: the channel that it was declared on ends. */
static void declared_refused(struct muxc *c, struct declared *declared, const struct muxc_error *error)
{
	uint64_t serial = declared->serial;
	struct muxc_error copy = *error;
	struct muxc_channel *channel;
	uint32_t i;

	declared_remove(c, declared);
	copy.closes_channel = 1;
	for (i = 0; i < c->channels_count; i++) {
		channel = c->channels[i].channel;
		if (!channel || channel->serial != serial)
			continue;
		copy.channel = channel->number;
		channel_end(channel, &copy);
		return;
	}
}

static void declared_again(struct muxc *c, struct request *request, const struct muxc_error *error)
{
	struct declared *declared = request->declared;
	struct link *link = &c->link;

	link->declaring_unanswered--;
	if (!error) {
		declared->alone = false;
		return;
	}
	c->declared.next = c->declared.first;
	link->declaring_failed |= error->closes_channel;
	if (is_for_now(c, error)) {
		declared->waiting = declared->alone = true;
		again_later(c);
	} else if (error->closes_channel && !declared->alone) {
		/* It, or what was declared before it. */
		declared->waiting = declared->alone = true;
	} else {
		declared_refused(c, declared, error);
	}
}

/* ------------------------------------------------------------------ beginning */

void restore_begin(struct muxc *c)
{
	struct declared *declared;

	c->link.restore_usec = 0;
	c->link.patience_usec = deadline_after(PATIENCE_USEC);
	for (declared = c->declared.first; declared; declared = declared->next) {
		declared->waiting = true;
		declared->alone = false;
	}
	c->declared.next = c->declared.first;
	c->link.declaring = c->declared.first != NULL;
	if (c->link.declaring)
		pump_declaring(c);
	else
		restore_channels(c);
}

void restore_lost(struct muxc *c)
{
	struct link *link = &c->link;

	while (link->pending_first)
		restore_remove(link->pending_first);
	link->declaring = link->declaring_open = link->declaring_failed = false;
	link->declaring_unanswered = 0;
	link->restore_usec = 0;
	link->starved = false;
	c->declared.next = NULL;
}

void restore_again(struct muxc *c)
{
	c->link.restore_usec = 0;
	if (c->link.declaring)
		pump_declaring(c);
	else
		restore_channels(c);
	out_flush(c);
}

void restore_answered(struct muxc *c, struct request *request, const struct muxc_error *error)
{
	if (request->declared) {
		declared_again(c, request, error);
		request->declared = NULL;
	} else if (request->channel) {
		channel_answered(request->channel, request, error);
	}
}

void restore_go_on(struct muxc *c)
{
	if (c->state == CONN_READY && c->link.declaring)
		pump_declaring(c);
	else
		restore_pump(c);
}
