/*
 * The calls about muxd itself. An answer is kept as the bytes that came and
 * unpacked by who asked, without the lock; what is handed out are plain structs
 * whose text points into the unpacked frames, which the result owns. Lists are
 * in lists.c.
 */
#include "config.h"

#include "client/admin.h"
#include "client/error.h"
#include "client/request.h"
#include "client/wire.h"

#include "proto/buf.h"
#include "proto/muxd.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct status_result {
	struct muxc_status status; /* first: what the program sees */
	struct pages pages;
	struct muxc_upstream_status *upstreams;
	struct muxc_user_status *users; /* owned */
};

int admin_keep(struct request *request, struct span header)
{
	struct admin_answer *answer = malloc(sizeof(*answer) + header.len);

	if (!answer)
		return error_set(&request->error, -ENOMEM, "no memory");
	answer->len = header.len;
	memcpy(answer->bytes, header.data, header.len);
	request->answer = answer;
	return 0;
}

/* Everything that is unpacked has a byte behind it, so that each text can be ended in place. */
static void *padded_alloc(void *data, size_t size)
{
	return malloc(size + 1);
}

static void padded_free(void *data, void *block)
{
	free(block);
}

static ProtobufCAllocator padded_allocator(void)
{
	return (ProtobufCAllocator){padded_alloc, padded_free, NULL};
}

void pages_free(struct pages *pages)
{
	ProtobufCAllocator allocator = padded_allocator();
	size_t i;

	for (i = 0; i < pages->count; i++)
		muxd__v1__server_frame__free_unpacked(pages->frames[i], &allocator);
	free(pages->frames);
}

static int pages_add(struct pages *pages, const struct admin_answer *answer)
{
	ProtobufCAllocator allocator = padded_allocator();
	Muxd__V1__ServerFrame **frames, *frame;

	frames = realloc(pages->frames, (pages->count + 1) * sizeof(*frames));
	if (!frames)
		return -ENOMEM;
	pages->frames = frames;
	frame = muxd__v1__server_frame__unpack(&allocator, answer->len, answer->bytes);
	if (!frame)
		return -ENOMEM;
	frames[pages->count++] = frame;
	return 0;
}

int admin_ask(struct call *call, uint32_t op, const struct buf *op_body, struct pages *pages)
{
	int r;

	r = call_begin(call, op);
	if (r < 0)
		return r;
	buf_append_span(&call->op, buf_span(op_body));
	call->op.failed |= op_body->failed;
	r = call_end(call);
	if (r == 0 && !call->request->answer)
		r = error_set(call->error, -EPROTO, "muxd has answered something else");
	if (r == 0) {
		r = pages_add(pages, call->request->answer);
		if (r < 0)
			error_set(call->error, r, "no memory");
	}
	call_free(call);
	return r;
}

const char *admin_text(ProtobufCBinaryData *data)
{
	if (data->len == 0)
		return "";
	data->data[data->len] = '\0';
	return (const char *)data->data;
}

int admin_no_place(struct muxc_error *ret_error)
{
	return error_set(ret_error, -EINVAL, "no place for the answer was given");
}

/* What is answered by Done. */
static int command(struct muxc *c, uint32_t op, uint64_t timeout_usec, struct muxc_error *ret_error)
{
	struct call call = {.c = c, .timeout_usec = timeout_usec, .error = ret_error};
	int r;

	r = call_begin(&call, op);
	if (r < 0)
		return r;
	r = call_end(&call);
	call_free(&call);
	return r;
}

int muxc_ping(struct muxc *c, uint64_t timeout_usec, struct muxc_error *ret_error)
{
	return command(c, MUXD__V1__CLIENT_FRAME__OP_PING, timeout_usec, ret_error);
}

int muxc_drain(struct muxc *c, uint64_t timeout_usec, struct muxc_error *ret_error)
{
	return command(c, MUXD__V1__CLIENT_FRAME__OP_DRAIN, timeout_usec, ret_error);
}

/* ------------------------------------------------------------------- status */

static void upstream_fill(struct muxc_upstream_status *to, Muxd__V1__UpstreamStatus *from)
{
	to->name = admin_text(&from->name);
	to->state = (int)from->state;
	to->endpoint = admin_text(&from->endpoint);
	to->epoch = from->epoch;
	to->reconnects = from->reconnects;
	to->last_error = admin_text(&from->last_error);
	to->broker = admin_text(&from->broker);
	to->unconfirmed = from->unconfirmed;
	if (!from->lanes)
		return;
	to->lanes_max = from->lanes->max;
	to->lanes_open = from->lanes->open;
	to->lanes_leased = from->lanes->leased;
	to->lanes_warm = from->lanes->warm;
}

static int users_fill(struct status_result *result, Muxd__V1__Status *from)
{
	size_t i;

	result->users = calloc(from->n_users + 1, sizeof(result->users[0]));
	if (!result->users)
		return -ENOMEM;
	for (i = 0; i < from->n_users; i++)
		result->users[i] = (struct muxc_user_status){
		    from->users[i]->uid, from->users[i]->sessions, from->users[i]->sessions_limit,
		    from->users[i]->memory_used, from->users[i]->memory_limit};
	result->status.users = from->n_users;
	return 0;
}

static int status_fill(struct status_result *result)
{
	Muxd__V1__ServerFrame *frame = result->pages.frames[0];
	Muxd__V1__Status *from = frame->status;
	struct muxc_status *to = &result->status;
	size_t i;

	if (frame->event_case != MUXD__V1__SERVER_FRAME__EVENT_STATUS)
		return -EPROTO;
	to->version = admin_text(&from->version);
	to->pid = from->pid;
	to->uptime_seconds = from->uptime_seconds;
	to->sessions = from->sessions;
	to->memory_used = from->memory_used;
	to->memory_limit = from->memory_limit;
	to->draining = from->draining;
	result->upstreams = calloc(from->n_upstreams + 1, sizeof(result->upstreams[0]));
	if (!result->upstreams)
		return -ENOMEM;
	for (i = 0; i < from->n_upstreams; i++)
		upstream_fill(&result->upstreams[i], from->upstreams[i]);
	to->upstreams = from->n_upstreams;
	to->sessions_limit = from->sessions_limit;
	return users_fill(result, from);
}

int muxc_status(struct muxc *c, uint64_t timeout_usec, struct muxc_status **ret, struct muxc_error *ret_error)
{
	struct call call = {.c = c, .timeout_usec = timeout_usec, .error = ret_error};
	struct status_result *result;
	struct buf none = BUF_INIT;
	int r;

	if (!ret)
		return admin_no_place(ret_error);
	result = calloc(1, sizeof(*result));
	if (!result)
		return error_set(ret_error, -ENOMEM, "no memory");
	r = admin_ask(&call, MUXD__V1__CLIENT_FRAME__OP_STATUS, &none, &result->pages);
	if (r == 0) {
		r = status_fill(result);
		if (r < 0)
			error_set(ret_error, r, "the status cannot be used");
	}
	if (r < 0) {
		(void)muxc_status_free(&result->status);
		return r;
	}
	*ret = &result->status;
	return 0;
}

const struct muxc_upstream_status *muxc_status_get_upstream(const struct muxc_status *status, size_t index)
{
	const struct status_result *result = (const struct status_result *)status;

	return status && index < status->upstreams ? &result->upstreams[index] : NULL;
}

const struct muxc_user_status *muxc_status_get_user(const struct muxc_status *status, size_t index)
{
	const struct status_result *result = (const struct status_result *)status;

	return status && index < status->users ? &result->users[index] : NULL;
}

struct muxc_status *muxc_status_free(struct muxc_status *status)
{
	struct status_result *result = (struct status_result *)status;

	if (!result)
		return NULL;
	pages_free(&result->pages);
	free(result->upstreams);
	free(result->users);
	free(result);
	return NULL;
}

/* ------------------------------------------------------------------- reload */

struct muxc_reload_result {
	struct pages pages;
	Muxd__V1__Reloaded *reloaded; /* in pages */
};

int muxc_reload(struct muxc *c, uint64_t timeout_usec, struct muxc_reload_result **ret,
		struct muxc_error *ret_error)
{
	struct call call = {.c = c, .timeout_usec = timeout_usec, .error = ret_error};
	struct muxc_reload_result *result;
	struct buf none = BUF_INIT;
	int r;

	if (!ret)
		return admin_no_place(ret_error);
	result = calloc(1, sizeof(*result));
	if (!result)
		return error_set(ret_error, -ENOMEM, "no memory");
	r = admin_ask(&call, MUXD__V1__CLIENT_FRAME__OP_RELOAD, &none, &result->pages);
	if (r == 0 && result->pages.frames[0]->event_case != MUXD__V1__SERVER_FRAME__EVENT_RELOADED)
		r = error_set(ret_error, -EPROTO, "muxd has answered something else");
	if (r < 0) {
		(void)muxc_reload_result_free(result);
		return r;
	}
	result->reloaded = result->pages.frames[0]->reloaded;
	*ret = result;
	return 0;
}

int muxc_reload_result_is_done(const struct muxc_reload_result *result)
{
	return result && result->reloaded->done;
}

const char *muxc_reload_result_get_error(const struct muxc_reload_result *result, size_t index)
{
	return result && index < result->reloaded->n_errors ? admin_text(&result->reloaded->errors[index])
							    : NULL;
}

const char *muxc_reload_result_get_note(const struct muxc_reload_result *result, size_t index)
{
	return result && index < result->reloaded->n_notes ? admin_text(&result->reloaded->notes[index])
							   : NULL;
}

struct muxc_reload_result *muxc_reload_result_free(struct muxc_reload_result *result)
{
	if (!result)
		return NULL;
	pages_free(&result->pages);
	free(result);
	return NULL;
}
