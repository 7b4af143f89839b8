/*
 * The calls about muxd itself. An answer is kept as the bytes that came and
 * unpacked by who asked, without the lock; what is handed out are plain structs
 * whose text points into the unpacked frames, which the result owns. Lists come
 * in pages and are asked for until there are no more.
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

#define PAGES_MAX 4096u

/* The unpacked frames behind a result. */
struct pages {
	Muxd__V1__ServerFrame **frames;
	size_t count;
};

struct status_result {
	struct muxc_status status; /* first: what the program sees */
	struct pages pages;
	struct muxc_upstream_status *upstreams;
	struct muxc_user_status *users; /* owned */
};

struct muxc_session_list {
	struct pages pages;
	struct muxc_session_info *infos;
	size_t count;
};

struct muxc_channel_list {
	struct pages pages;
	struct muxc_channel_info *infos;
	size_t count;
};

struct muxc_record_list {
	struct pages pages;
	struct muxc_record *records;
	size_t count;
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

static void pages_free(struct pages *pages)
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

/* Asks once; *ret_frame is the last of pages afterwards. op_body is consumed. */
static int ask(struct call *call, uint32_t op, struct buf *op_body, struct pages *pages)
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

/* Text of the wire as a C string, in place. */
static const char *text_in_place(ProtobufCBinaryData *data)
{
	if (data->len == 0)
		return "";
	data->data[data->len] = '\0';
	return (const char *)data->data;
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
	to->name = text_in_place(&from->name);
	to->state = (int)from->state;
	to->endpoint = text_in_place(&from->endpoint);
	to->epoch = from->epoch;
	to->reconnects = from->reconnects;
	to->last_error = text_in_place(&from->last_error);
	to->broker = text_in_place(&from->broker);
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
	to->version = text_in_place(&from->version);
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
		return error_set(ret_error, -EINVAL, "no place for the answer was given");
	result = calloc(1, sizeof(*result));
	if (!result)
		return error_set(ret_error, -ENOMEM, "no memory");
	r = ask(&call, MUXD__V1__CLIENT_FRAME__OP_STATUS, &none, &result->pages);
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

/* ----------------------------------------------------------------- sessions */

static void session_fill(struct muxc_session_info *to, Muxd__V1__SessionInfo *from)
{
	to->id = from->id;
	to->pid = from->pid;
	to->uid = from->uid;
	to->gid = from->gid;
	to->program = text_in_place(&from->program);
	to->upstream = text_in_place(&from->upstream);
	to->age_seconds = from->age_seconds;
	to->channels = from->channels;
	to->consumers = from->consumers;
	to->unconfirmed = from->unconfirmed;
	to->unacked = from->unacked;
	to->published = from->published;
	to->delivered = from->delivered;
	to->memory_used = from->memory_used;
	to->memory_limit = from->memory_limit;
}

/* Returns 1 when there are more. */
static int sessions_append(struct muxc_session_list *list, const Muxd__V1__ServerFrame *frame)
{
	const Muxd__V1__Sessions *page = frame->sessions;
	struct muxc_session_info *grown;
	size_t i;

	if (frame->event_case != MUXD__V1__SERVER_FRAME__EVENT_SESSIONS)
		return -EPROTO;
	if (page->n_sessions == 0)
		return 0;
	grown = realloc(list->infos, (list->count + page->n_sessions) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	list->infos = grown;
	for (i = 0; i < page->n_sessions; i++)
		session_fill(&grown[list->count++], page->sessions[i]);
	return page->more && list->pages.count < PAGES_MAX;
}

static int sessions_page(struct muxc_session_list *list, struct call *call)
{
	struct buf query = BUF_INIT;
	int r;

	if (list->count > 0)
		wire_put_number(&query, 1, list->infos[list->count - 1].id);
	r = ask(call, MUXD__V1__CLIENT_FRAME__OP_SESSIONS, &query, &list->pages);
	buf_deinit(&query);
	if (r < 0)
		return r;
	r = sessions_append(list, list->pages.frames[list->pages.count - 1]);
	return r < 0 ? error_set(call->error, r, "the list of sessions cannot be used") : r;
}

int muxc_sessions(struct muxc *c, uint64_t timeout_usec, struct muxc_session_list **ret,
		  struct muxc_error *ret_error)
{
	struct call call = {.c = c, .timeout_usec = timeout_usec, .error = ret_error};
	struct muxc_session_list *list;
	int r;

	if (!ret)
		return error_set(ret_error, -EINVAL, "no place for the answer was given");
	list = calloc(1, sizeof(*list));
	if (!list)
		return error_set(ret_error, -ENOMEM, "no memory");
	do {
		r = sessions_page(list, &call);
	} while (r > 0);
	if (r < 0)
		(void)muxc_session_list_free(list);
	else
		*ret = list;
	return r;
}

size_t muxc_session_list_count(const struct muxc_session_list *list)
{
	return list ? list->count : 0;
}

const struct muxc_session_info *muxc_session_list_get(const struct muxc_session_list *list, size_t index)
{
	return list && index < list->count ? &list->infos[index] : NULL;
}

struct muxc_session_list *muxc_session_list_free(struct muxc_session_list *list)
{
	if (!list)
		return NULL;
	pages_free(&list->pages);
	free(list->infos);
	free(list);
	return NULL;
}

/* ----------------------------------------------------------------- channels */

static void channel_fill(struct muxc_channel_info *to, const Muxd__V1__ChannelInfo *from)
{
	to->session = from->session;
	to->channel = from->channel;
	to->generation = from->generation;
	to->lane = from->lane;
	to->consumers = from->consumers;
	to->prefetch = from->prefetch;
	to->unconfirmed = from->unconfirmed;
	to->unacked = from->unacked;
}

static int channels_append(struct muxc_channel_list *list, const Muxd__V1__ServerFrame *frame)
{
	const Muxd__V1__Channels *page = frame->channels;
	struct muxc_channel_info *grown;
	size_t i;

	if (frame->event_case != MUXD__V1__SERVER_FRAME__EVENT_CHANNELS)
		return -EPROTO;
	if (page->n_channels == 0)
		return 0;
	grown = realloc(list->infos, (list->count + page->n_channels) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	list->infos = grown;
	for (i = 0; i < page->n_channels; i++)
		channel_fill(&grown[list->count++], page->channels[i]);
	return page->more && list->pages.count < PAGES_MAX;
}

static int channels_page(struct muxc_channel_list *list, struct call *call)
{
	struct buf query = BUF_INIT;
	int r;

	if (list->count > 0) {
		wire_put_number(&query, 1, list->infos[list->count - 1].session);
		wire_put_number(&query, 2, list->infos[list->count - 1].channel);
	}
	r = ask(call, MUXD__V1__CLIENT_FRAME__OP_CHANNELS, &query, &list->pages);
	buf_deinit(&query);
	if (r < 0)
		return r;
	r = channels_append(list, list->pages.frames[list->pages.count - 1]);
	return r < 0 ? error_set(call->error, r, "the list of channels cannot be used") : r;
}

int muxc_channels(struct muxc *c, uint64_t timeout_usec, struct muxc_channel_list **ret,
		  struct muxc_error *ret_error)
{
	struct call call = {.c = c, .timeout_usec = timeout_usec, .error = ret_error};
	struct muxc_channel_list *list;
	int r;

	if (!ret)
		return error_set(ret_error, -EINVAL, "no place for the answer was given");
	list = calloc(1, sizeof(*list));
	if (!list)
		return error_set(ret_error, -ENOMEM, "no memory");
	do {
		r = channels_page(list, &call);
	} while (r > 0);
	if (r < 0)
		(void)muxc_channel_list_free(list);
	else
		*ret = list;
	return r;
}

size_t muxc_channel_list_count(const struct muxc_channel_list *list)
{
	return list ? list->count : 0;
}

const struct muxc_channel_info *muxc_channel_list_get(const struct muxc_channel_list *list, size_t index)
{
	return list && index < list->count ? &list->infos[index] : NULL;
}

struct muxc_channel_list *muxc_channel_list_free(struct muxc_channel_list *list)
{
	if (!list)
		return NULL;
	pages_free(&list->pages);
	free(list->infos);
	free(list);
	return NULL;
}

/* ----------------------------------------------------------------- recorder */

const char *muxc_record_end_name(int end)
{
	static const char *const names[] = {"unanswered", "answered", "refused"};

	return end >= 0 && end < (int)(sizeof(names) / sizeof(names[0])) ? names[end] : "unknown";
}

static int records_fill(struct muxc_record_list *list)
{
	Muxd__V1__ServerFrame *frame = list->pages.frames[0];
	const Muxd__V1__Recorder *from = frame->recorder;
	size_t i;

	if (frame->event_case != MUXD__V1__SERVER_FRAME__EVENT_RECORDER)
		return -EPROTO;
	list->records = calloc(from->n_entries + 1, sizeof(list->records[0]));
	if (!list->records)
		return -ENOMEM;
	list->count = from->n_entries;
	for (i = 0; i < list->count; i++) {
		struct muxc_record *to = &list->records[i];
		Muxd__V1__RecorderEntry *entry = from->entries[i];

		to->age_ms = entry->age_ms;
		to->channel = entry->channel;
		to->generation = entry->generation;
		to->operation = text_in_place(&entry->operation);
		to->count = entry->count;
		to->unanswered = entry->unanswered;
		to->end = (int)entry->end;
		to->code = entry->code;
	}
	return 0;
}

int muxc_recorder(struct muxc *c, uint64_t session, uint64_t timeout_usec, struct muxc_record_list **ret,
		  struct muxc_error *ret_error)
{
	struct call call = {.c = c, .timeout_usec = timeout_usec, .error = ret_error};
	struct muxc_record_list *list;
	struct buf query = BUF_INIT;
	int r;

	if (!ret)
		return error_set(ret_error, -EINVAL, "no place for the answer was given");
	list = calloc(1, sizeof(*list));
	if (!list)
		return error_set(ret_error, -ENOMEM, "no memory");
	wire_put_number(&query, 1, session);
	r = ask(&call, MUXD__V1__CLIENT_FRAME__OP_RECORDER, &query, &list->pages);
	buf_deinit(&query);
	if (r == 0) {
		r = records_fill(list);
		if (r < 0)
			error_set(ret_error, r, "the recorder cannot be used");
	}
	if (r < 0)
		(void)muxc_record_list_free(list);
	else
		*ret = list;
	return r;
}

size_t muxc_record_list_count(const struct muxc_record_list *list)
{
	return list ? list->count : 0;
}

const struct muxc_record *muxc_record_list_get(const struct muxc_record_list *list, size_t index)
{
	return list && index < list->count ? &list->records[index] : NULL;
}

struct muxc_record_list *muxc_record_list_free(struct muxc_record_list *list)
{
	if (!list)
		return NULL;
	pages_free(&list->pages);
	free(list->records);
	free(list);
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
		return error_set(ret_error, -EINVAL, "no place for the answer was given");
	result = calloc(1, sizeof(*result));
	if (!result)
		return error_set(ret_error, -ENOMEM, "no memory");
	r = ask(&call, MUXD__V1__CLIENT_FRAME__OP_RELOAD, &none, &result->pages);
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
	return result && index < result->reloaded->n_errors ? text_in_place(&result->reloaded->errors[index])
							    : NULL;
}

const char *muxc_reload_result_get_note(const struct muxc_reload_result *result, size_t index)
{
	return result && index < result->reloaded->n_notes ? text_in_place(&result->reloaded->notes[index])
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
