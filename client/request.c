/*
 * Requests: a number, an operation, exactly one answer. At most requests_max
 * are unanswered; whoever comes then waits for room.
 *
 * muxd's deadline is set a little before the caller's, so that normally muxd
 * says that the time is over, having undone the effects. When it does not, the
 * caller leaves all the same, and the request stays as abandoned: a late answer
 * is undone here (a consumer cancelled, a got message given back).
 */
#include "client/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHANNEL_ERROR 504u /* AMQP's reply code; muxd's for requests of a channel that its client closed */
#define MARGIN_MAX_USEC 100000u /* muxd's deadline before the caller's */

void request_free(struct muxc *c, struct request *request)
{
	if (request->message)
		message_drop(c, request->message);
	if (request->channel)
		channel_unref(request->channel);
	free(request->answer);
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

static void request_unlink(struct muxc *c, struct request *request)
{
	struct request **at;

	for (at = &c->requests; *at; at = &(*at)->next) {
		if (*at != request)
			continue;
		*at = request->next;
		c->requests_count--;
		if (request->channel)
			request->channel->requests--;
		return;
	}
}

void request_done(struct muxc *c, struct request *request)
{
	bool was_full = c->requests_count >= c->requests_max;
	struct muxc_channel *channel = request->channel;

	request_unlink(c, request);
	request->done = true;
	if (channel)
		channel->refs++;
	if (request->abandoned) {
		request_free(c, request);
	} else if (request->channel) {
		channel_wake(request->channel);
	} else {
		(void)pthread_cond_broadcast(&c->cond);
	}
	if (was_full)
		(void)pthread_cond_broadcast(&c->cond);
	if (c->closing_first)
		channels_send_closes(c);
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
	return request;
}

static void request_drop(struct muxc *c, struct request *request)
{
	request_unlink(c, request);
	request_free(c, request);
}

int request_send_detached(struct muxc_channel *channel, uint32_t op, struct span body)
{
	struct frame_head head = {.channel = channel->number, .op = op};
	struct request *request;
	int r;

	request = request_new(channel->c, channel, op);
	if (!request)
		return -ENOMEM;
	request->abandoned = true;
	head.request = request->id;
	r = settles_emit(channel);
	if (r == 0)
		r = out_frame(channel->c, &head, body);
	if (r < 0)
		request_drop(channel->c, request);
	return r;
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
	if (r < 0)
		call_leave(call);
	return r;
}

static uint32_t deadline_ms(const struct call *call)
{
	uint64_t margin = call->timeout_usec / 8, ms;

	if (margin > MARGIN_MAX_USEC)
		margin = MARGIN_MAX_USEC;
	ms = (call->timeout_usec - margin) / 1000;
	if (ms == 0)
		return 1;
	return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

static int call_send(struct call *call)
{
	struct frame_head head = {.request = call->request->id,
				  .channel = call->channel ? call->channel->number : 0,
				  .deadline_ms = deadline_ms(call),
				  .op = call->request->op};
	int r;

	r = call->channel ? settles_emit(call->channel) : 0;
	if (r == 0)
		r = buf_failed(&call->op) ? -ENOMEM : out_frame(call->c, &head, buf_span(&call->op));
	if (r == -EMSGSIZE)
		return error_set(call->error, r, "the arguments take more than the %u bytes of a frame",
				 IPC_HEADER_MAX);
	if (r < 0)
		return error_set(call->error, r, "no memory");
	return 0;
}

static int call_wait(struct call *call)
{
	struct request *request = call->request;
	int r;

	while (!request->done) {
		r = call->channel ? channel_wait(call->channel, call->deadline_usec)
				  : conn_wait(call->c, &call->c->cond, call->deadline_usec);
		if (r < 0 && !request->done) {
			request->abandoned = true;
			call->request = NULL;
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
	buf_deinit(&call->op);
	if (r < 0) {
		request_drop(call->c, call->request);
		call->request = NULL;
	} else {
		r = call_wait(call);
	}
	/* A consumer that was refused, or never answered, is none. */
	if (r < 0 && consumer)
		consumer_remove(call->channel, consumer);
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
	free(request);
	call->request = NULL;
}
