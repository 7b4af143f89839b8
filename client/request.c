/*
 * Requests: a number, an operation, exactly one answer. At most requests_max
 * are unanswered; whoever comes then waits for room.
 *
 * muxd's deadline is set a little before the caller's, so that normally muxd
 * says that the time is over, having undone the effects. When it does not, the
 * caller leaves all the same, and the request stays as abandoned: a late answer
 * is undone here (a consumer cancelled, a got message given back).
 *
 * A request that cannot be sent now (muxd is away, or there is no room) stays
 * in the list as unsent, and restore.c sends it in its turn. When the session is
 * lost those under way become unsent again, but for those that must not be done
 * twice.
 */
#include "config.h"

#include "client/request.h"
#include "client/chan.h"
#include "client/conn.h"
#include "client/consume.h"
#include "client/declared.h"
#include "client/error.h"
#include "client/link.h"
#include "client/msg.h"
#include "client/out.h"
#include "client/restore.h"

#include "proto/buf.h"
#include "proto/frame.h"
#include "proto/muxd.pb-c.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CHANNEL_ERROR 504u /* AMQP's reply code; muxd's for requests of a channel that its client closed */
#define MARGIN_MAX_USEC 100000u /* muxd's deadline before the caller's */
/* Bytes in a header besides the operation, and what that has more when it is done again: a name, a token. */
#define HEAD_MAX (32u + SHORT_TEXT_MAX + RESUME_MAX + 32u)
#define BODY_MAX (IPC_HEADER_MAX - HEAD_MAX)

void request_free(struct muxc *c, struct request *request)
{
	if (request->message)
		message_drop(c, request->message);
	if (request->channel)
		channel_unref(request->channel);
	free(request->answer);
	buf_deinit(&request->body);
	free(request);
}

struct request *request_find(struct muxc *c, uint32_t id)
{
	struct request *request;

	for (request = c->requests; request; request = request->next) {
		if (request->id == id)
			return request;
	}
	return NULL;
}

/* The counts of what is under way, and of what is to be. */
static void set_sent(struct muxc *c, struct request *request, bool sent)
{
	unsigned int *unsent = request->channel ? &request->channel->unsent : &c->requests_unsent;

	if (request->sent == sent)
		return;
	request->sent = sent;
	*unsent += sent ? -1u : 1u;
	c->requests_sent += sent ? 1u : -1u;
}

static void request_unlink(struct muxc *c, struct request *request)
{
	struct request **at;

	for (at = &c->requests; *at; at = &(*at)->next) {
		if (*at != request)
			continue;
		*at = request->next;
		if (c->requests_count-- >= c->requests_max)
			(void)pthread_cond_broadcast(&c->cond);
		set_sent(c, request, true);
		c->requests_sent--;
		if (request->channel)
			request->channel->requests--;
		return;
	}
}

void request_done(struct muxc *c, struct request *request)
{
	struct muxc_channel *channel = request->channel;

	request_unlink(c, request);
	request->done = true;
	if (channel)
		channel->refs++;
	if (request->restores)
		restore_answered(c, request, request->result < 0 ? &request->error : NULL);
	if (request->abandoned) {
		request_free(c, request);
	} else if (request->channel) {
		channel_wake(request->channel);
	} else {
		(void)pthread_cond_broadcast(&c->cond);
	}
	if (channel) {
		channel_check_end(channel);
		channel_unref(channel);
	}
}

void requests_fail(struct muxc *c, struct muxc_channel *channel, const struct muxc_error *error)
{
	struct request *request, *next;

	for (request = c->requests; request; request = next) {
		next = request->next;
		if (channel && request->channel != channel)
			continue;
		if (request->restores) {
			request_drop(c, request);
			continue;
		}
		request->error = *error;
		request->result = error->error;
		request_done(c, request);
	}
}

static struct request *request_new(struct muxc *c, struct muxc_channel *channel, uint32_t op)
{
	struct request *request, **at;

	request = calloc(1, sizeof(*request));
	if (!request)
		return NULL;
	request->error = (struct muxc_error)MUXC_ERROR_INIT;
	request->op = op;
	request->channel = channel;
	if (channel) {
		channel->refs++;
		channel->requests++;
	}
	do {
		request->id = ++c->last_request;
	} while (request->id == 0 || request_find(c, request->id));
	/* Answers mostly come in order: the oldest first. */
	for (at = &c->requests; *at; at = &(*at)->next)
		;
	*at = request;
	c->requests_count++;
	if (channel)
		channel->unsent++;
	else
		c->requests_unsent++;
	return request;
}

void request_drop(struct muxc *c, struct request *request)
{
	request_unlink(c, request);
	request_free(c, request);
}

/* ------------------------------------------------------------------- sending */

static uint32_t deadline_ms(const struct request *request)
{
	uint64_t margin = request->timeout_usec / 8, now = now_usec(), ms;

	if (request->deadline_usec == 0)
		return 0;
	if (margin > MARGIN_MAX_USEC)
		margin = MARGIN_MAX_USEC;
	ms = request->deadline_usec > now + margin ? (request->deadline_usec - now - margin) / 1000 : 0;
	if (ms == 0)
		return 1;
	return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

int request_send(struct muxc *c, struct request *request, uint32_t number)
{
	struct frame_head head = {.request = request->id,
				  .channel = number,
				  .deadline_ms = deadline_ms(request),
				  .op = request->op};
	int r;

	if (buf_failed(&request->body))
		return -ENOMEM;
	r = request->channel ? settles_emit(request->channel) : 0;
	if (r == 0)
		r = out_frame(c, &head, buf_span(&request->body));
	if (r < 0)
		return r;
	set_sent(c, request, true);
	if (request->channel)
		request->after = request->channel->replay.sent;
	return 0;
}

static bool may_send(const struct muxc *c, const struct muxc_channel *channel)
{
	if (!link_serves(c, channel) || c->requests_sent >= c->requests_max)
		return false;
	return !channel || (channel->live && channel->restoring == 0 && !channel->pending);
}

int request_submit(struct muxc *c, struct request *request)
{
	struct muxc_channel *channel = request->channel;

	if (buf_failed(&request->body))
		return -ENOMEM;
	if (buf_len(&request->body) > BODY_MAX)
		return -EMSGSIZE;
	if (may_send(c, channel))
		return request_send(c, request, channel ? channel->number : 0);
	if (channel) {
		request->after = channel->outcomes.published;
		if (c->link.up && channel->live && channel->restoring == 0)
			restore_add(channel);
	}
	return 0;
}

int request_send_detached(struct muxc_channel *channel, uint32_t op, struct span body)
{
	struct request *request;
	int r;

	request = request_new(channel->c, channel, op);
	if (!request)
		return -ENOMEM;
	request->abandoned = true;
	buf_append_span(&request->body, body);
	r = request_submit(channel->c, request);
	if (r < 0)
		request_drop(channel->c, request);
	return r;
}

struct request *request_restoring(struct muxc *c, struct muxc_channel *channel, uint32_t op)
{
	/* Behind the end nobody would take it away again. */
	struct request *request = c->state == CONN_ENDED ? NULL : request_new(c, channel, op);

	if (request) {
		request->abandoned = true;
		request->restores = true;
	}
	return request;
}

/* -------------------------------------------------------------------- losing */

/* It may have been done, and must not be done twice. */
static bool is_lost(const struct request *request)
{
	switch (request->op) {
	case MUXD__V1__CLIENT_FRAME__OP_QUEUE_PURGE:
	case MUXD__V1__CLIENT_FRAME__OP_QUEUE_DELETE:
	case MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DELETE:
	case MUXD__V1__CLIENT_FRAME__OP_GET:
	case MUXD__V1__CLIENT_FRAME__OP_TX_COMMIT:
	case MUXD__V1__CLIENT_FRAME__OP_TX_ROLLBACK:
		return request->sent;
	default:
		return false;
	}
}

/* A new session has done it already: it has no consumers and messages of before. */
static bool is_done(const struct request *request)
{
	return request->op == MUXD__V1__CLIENT_FRAME__OP_CANCEL ||
	       request->op == MUXD__V1__CLIENT_FRAME__OP_RECOVER;
}

static void request_lost(struct muxc *c, struct request *request)
{
	struct muxc_channel *channel = request->channel;

	if (request->restores || request->abandoned) {
		request_drop(c, request);
		return;
	}
	if (is_done(request)) {
		request_done(c, request);
		return;
	}
	if (!is_lost(request)) {
		set_sent(c, request, false);
		return;
	}
	if (channel && request->op == MUXD__V1__CLIENT_FRAME__OP_TX_COMMIT)
		channel->tx_committing = true;
	if (request->op == MUXD__V1__CLIENT_FRAME__OP_QUEUE_DELETE ||
	    request->op == MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DELETE)
		declared_gone(c, request);
	error_set(&request->error, -ECONNRESET, "muxd was lost before it had answered: this was done or not");
	request->error.code = 320;
	request->error.channel = channel ? channel->number : 0;
	request->result = -ECONNRESET;
	request_done(c, request);
}

void requests_lost(struct muxc *c)
{
	struct request *request, *next;

	for (request = c->requests; request; request = next) {
		next = request->next;
		request_lost(c, request);
	}
}

/* -------------------------------------------------------------------- calls */

static int call_enter(struct call *call)
{
	int r;

	if (call->channel) {
		r = channel_enter(call->channel, call->error);
		call->c = call->channel->c;
		return r;
	}
	return conn_enter(call->c, call->error);
}

static void call_leave(struct call *call)
{
	if (call->channel)
		channel_leave(call->channel);
	else
		conn_leave(call->c);
}

static int call_usable(struct call *call)
{
	return call->channel ? channel_usable(call->channel, call->error) : conn_check(call->c, call->error);
}

int call_begin(struct call *call, uint32_t op)
{
	struct muxc *c;
	int r;

	if (!call->channel && !call->c)
		return error_set(call->error, -EINVAL, "no channel or connection was given");
	r = call_enter(call);
	if (r < 0)
		return r;
	c = call->c;
	if (call->timeout_usec == 0)
		call->timeout_usec = c->request_timeout_usec;
	call->deadline_usec = deadline_after(call->timeout_usec);
	while (r == 0 && c->requests_count >= c->requests_max) {
		r = conn_wait(c, &c->cond, call->deadline_usec);
		if (r < 0)
			r = error_set(call->error, r, "%u requests are unanswered, and none was in time",
				      c->requests_max);
		else
			r = call_usable(call);
	}
	if (r == 0) {
		call->op = BUF_INIT;
		call->request = request_new(c, call->channel, op);
		if (!call->request)
			r = error_set(call->error, -ENOMEM, "no memory");
	}
	if (r == 0) {
		call->request->timeout_usec = call->timeout_usec;
		call->request->deadline_usec = call->deadline_usec;
	}
	if (r < 0)
		call_leave(call);
	return r;
}

static int call_send(struct call *call)
{
	struct request *request = call->request;
	int r;

	request->body = call->op;
	call->op = BUF_INIT;
	if (!declared_has_room(call->c, request))
		return error_set(call->error, -ENOBUFS,
				 "what is declared takes more than the %u bytes that are remembered: delete "
				 "what is not needed any more",
				 DECLARED_MAX_BYTES);
	r = request_submit(call->c, request);
	if (r == -EMSGSIZE)
		return error_set(call->error, r, "the arguments take more than the %u bytes of a request",
				 BODY_MAX);
	if (r < 0)
		return error_set(call->error, r, "no memory");
	return 0;
}

/* Nobody waits any more. */
static void call_abandon(struct call *call)
{
	struct muxc *c = call->c;

	call->request->abandoned = true;
	if (!call->request->sent) {
		request_drop(c, call->request);
		restore_pump(c);
	}
	call->request = NULL;
}

static int call_wait(struct call *call)
{
	struct request *request = call->request;
	int r;

	while (!request->done) {
		r = call->channel ? channel_wait(call->channel, call->deadline_usec)
				  : conn_wait(call->c, &call->c->cond, call->deadline_usec);
		if (r < 0 && !request->done) {
			call_abandon(call);
			return error_set(call->error, r, "no answer came in time");
		}
	}
	/* What was under way when another thread closed the channel has ended like what comes later. */
	if (request->error.code == CHANNEL_ERROR && call->channel && call->channel->closed_here)
		return channel_usable(call->channel, call->error);
	if (request->result < 0)
		error_copy(call->error, &request->error);
	return request->result;
}

int call_end(struct call *call)
{
	uint32_t consumer = call->request->consumer;
	int r;

	r = call_send(call);
	if (r < 0) {
		request_drop(call->c, call->request);
		call->request = NULL;
	} else {
		r = call_wait(call);
	}
	/* A consumer that was refused, or never answered, is none; what it got goes back. */
	if (r < 0 && consumer) {
		events_requeue(call->channel, consumer);
		consumer_remove(call->channel, consumer);
	}
	if (call->request && call->request->channel) {
		/* What is left of the request is the caller's, and outlives the channel. */
		channel_unref(call->request->channel);
		call->request->channel = NULL;
	}
	call_leave(call);
	return r;
}

void call_abort(struct call *call)
{
	request_drop(call->c, call->request);
	call->request = NULL;
	buf_deinit(&call->op);
	call_leave(call);
}

void call_free(struct call *call)
{
	struct request *request = call->request;

	if (!request)
		return;
	if (request->message)
		request->message = muxc_message_unref(request->message);
	free(request->answer);
	buf_deinit(&request->body);
	free(request);
	call->request = NULL;
}
