/*
 * The answers that are lists. They come in pages, and are asked for until there
 * are no more; what differs from kind to kind stands in a struct list_kind.
 */
#include "config.h"

#include "client/admin.h"
#include "client/error.h"
#include "client/request.h"
#include "client/wire.h"

#include "proto/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGES_MAX 4096u

/* Entries of one kind, in the order in which they came. */
struct list {
	struct pages pages;
	void *entries; /* owned */
	size_t count;
	uint64_t about; /* the session that was asked for, if the kind has one */
};

/* What programs know them by. */
struct muxc_session_list {
	struct list list;
};

struct muxc_channel_list {
	struct list list;
};

struct muxc_record_list {
	struct list list;
};

/* How a list is asked for, and what comes. */
struct list_kind {
	uint32_t op;
	Muxd__V1__ServerFrame__EventCase event;
	size_t size; /* of an entry */
	const char *name;
	/* Writes what the next page is asked for by. */
	void (*query)(struct buf *query, const struct list *list);
	/* How many entries a page has, and whether there are more. */
	size_t (*count)(const Muxd__V1__ServerFrame *page, bool *ret_more);
	void (*fill)(void *to, const Muxd__V1__ServerFrame *page, size_t index);
};

static void *list_at(const struct list *list, const struct list_kind *kind, size_t index)
{
	return (char *)list->entries + index * kind->size;
}

/* Returns 1 when there are more. */
static int list_append(struct list *list, const struct list_kind *kind, const Muxd__V1__ServerFrame *page)
{
	size_t count, i;
	void *grown;
	bool more;

	if (page->event_case != kind->event)
		return -EPROTO;
	count = kind->count(page, &more);
	if (count == 0)
		return 0;
	grown = realloc(list->entries, (list->count + count) * kind->size);
	if (!grown)
		return -ENOMEM;
	list->entries = grown;
	memset(list_at(list, kind, list->count), 0, count * kind->size);
	for (i = 0; i < count; i++)
		kind->fill(list_at(list, kind, list->count++), page, i);
	return more && list->pages.count < PAGES_MAX;
}

static int list_page(struct list *list, const struct list_kind *kind, struct call *call)
{
	struct buf query = BUF_INIT;
	int r;

	kind->query(&query, list);
	r = admin_ask(call, kind->op, &query, &list->pages);
	buf_deinit(&query);
	if (r < 0)
		return r;
	r = list_append(list, kind, list->pages.frames[list->pages.count - 1]);
	return r < 0 ? error_set(call->error, r, "%s cannot be used", kind->name) : r;
}

static void list_free(struct list *list)
{
	if (!list)
		return;
	pages_free(&list->pages);
	free(list->entries);
	free(list);
}

/* Asks for all pages. */
static int list_ask(struct call *call, const struct list_kind *kind, uint64_t about, struct list **ret)
{
	struct list *list;
	int r;

	list = calloc(1, sizeof(*list));
	if (!list)
		return error_set(call->error, -ENOMEM, "no memory");
	list->about = about;
	do {
		r = list_page(list, kind, call);
	} while (r > 0);
	if (r < 0)
		list_free(list);
	else
		*ret = list;
	return r;
}

/* ----------------------------------------------------------------- sessions */

static void sessions_query(struct buf *query, const struct list *list)
{
	const struct muxc_session_info *infos = list->entries;

	if (list->count > 0)
		wire_put_number(query, 1, infos[list->count - 1].id);
}

static size_t sessions_count(const Muxd__V1__ServerFrame *page, bool *ret_more)
{
	*ret_more = page->sessions->more;
	return page->sessions->n_sessions;
}

static void session_fill(void *info, const Muxd__V1__ServerFrame *page, size_t index)
{
	Muxd__V1__SessionInfo *from = page->sessions->sessions[index];
	struct muxc_session_info *to = info;

	to->id = from->id;
	to->pid = from->pid;
	to->uid = from->uid;
	to->gid = from->gid;
	to->program = admin_text(&from->program);
	to->upstream = admin_text(&from->upstream);
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

static const struct list_kind sessions = {MUXD__V1__CLIENT_FRAME__OP_SESSIONS,
					  MUXD__V1__SERVER_FRAME__EVENT_SESSIONS,
					  sizeof(struct muxc_session_info),
					  "the list of sessions",
					  sessions_query,
					  sessions_count,
					  session_fill};

int muxc_sessions(struct muxc *c, uint64_t timeout_usec, struct muxc_session_list **ret,
		  struct muxc_error *ret_error)
{
	struct call call = {.c = c, .timeout_usec = timeout_usec, .error = ret_error};
	struct list *list;
	int r;

	r = ret ? list_ask(&call, &sessions, 0, &list) : admin_no_place(ret_error);
	if (r == 0)
		*ret = (struct muxc_session_list *)list;
	return r;
}

size_t muxc_session_list_count(const struct muxc_session_list *list)
{
	return list ? list->list.count : 0;
}

const struct muxc_session_info *muxc_session_list_get(const struct muxc_session_list *list, size_t index)
{
	return list && index < list->list.count ? list_at(&list->list, &sessions, index) : NULL;
}

struct muxc_session_list *muxc_session_list_free(struct muxc_session_list *list)
{
	list_free((struct list *)list);
	return NULL;
}

/* ----------------------------------------------------------------- channels */

static void channels_query(struct buf *query, const struct list *list)
{
	const struct muxc_channel_info *infos = list->entries;

	if (list->count == 0)
		return;
	wire_put_number(query, 1, infos[list->count - 1].session);
	wire_put_number(query, 2, infos[list->count - 1].channel);
}

static size_t channels_count(const Muxd__V1__ServerFrame *page, bool *ret_more)
{
	*ret_more = page->channels->more;
	return page->channels->n_channels;
}

static void channel_fill(void *info, const Muxd__V1__ServerFrame *page, size_t index)
{
	const Muxd__V1__ChannelInfo *from = page->channels->channels[index];
	struct muxc_channel_info *to = info;

	to->session = from->session;
	to->channel = from->channel;
	to->generation = from->generation;
	to->lane = from->lane;
	to->consumers = from->consumers;
	to->prefetch = from->prefetch;
	to->unconfirmed = from->unconfirmed;
	to->unacked = from->unacked;
}

static const struct list_kind channels = {MUXD__V1__CLIENT_FRAME__OP_CHANNELS,
					  MUXD__V1__SERVER_FRAME__EVENT_CHANNELS,
					  sizeof(struct muxc_channel_info),
					  "the list of channels",
					  channels_query,
					  channels_count,
					  channel_fill};

int muxc_channels(struct muxc *c, uint64_t timeout_usec, struct muxc_channel_list **ret,
		  struct muxc_error *ret_error)
{
	struct call call = {.c = c, .timeout_usec = timeout_usec, .error = ret_error};
	struct list *list;
	int r;

	r = ret ? list_ask(&call, &channels, 0, &list) : admin_no_place(ret_error);
	if (r == 0)
		*ret = (struct muxc_channel_list *)list;
	return r;
}

size_t muxc_channel_list_count(const struct muxc_channel_list *list)
{
	return list ? list->list.count : 0;
}

const struct muxc_channel_info *muxc_channel_list_get(const struct muxc_channel_list *list, size_t index)
{
	return list && index < list->list.count ? list_at(&list->list, &channels, index) : NULL;
}

struct muxc_channel_list *muxc_channel_list_free(struct muxc_channel_list *list)
{
	list_free((struct list *)list);
	return NULL;
}

/* ----------------------------------------------------------------- recorder */

const char *muxc_record_end_name(int end)
{
	static const char *const names[] = {"unanswered", "answered", "refused"};

	return end >= 0 && end < (int)(sizeof(names) / sizeof(names[0])) ? names[end] : "unknown";
}

static void records_query(struct buf *query, const struct list *list)
{
	wire_put_number(query, 1, list->about);
}

static size_t records_count(const Muxd__V1__ServerFrame *page, bool *ret_more)
{
	*ret_more = false;
	return page->recorder->n_entries;
}

static void record_fill(void *record, const Muxd__V1__ServerFrame *page, size_t index)
{
	Muxd__V1__RecorderEntry *from = page->recorder->entries[index];
	struct muxc_record *to = record;

	to->age_ms = from->age_ms;
	to->channel = from->channel;
	to->generation = from->generation;
	to->operation = admin_text(&from->operation);
	to->count = from->count;
	to->unanswered = from->unanswered;
	to->end = (int)from->end;
	to->code = from->code;
}

static const struct list_kind records = {MUXD__V1__CLIENT_FRAME__OP_RECORDER,
					 MUXD__V1__SERVER_FRAME__EVENT_RECORDER,
					 sizeof(struct muxc_record),
					 "the recorder",
					 records_query,
					 records_count,
					 record_fill};

int muxc_recorder(struct muxc *c, uint64_t session, uint64_t timeout_usec, struct muxc_record_list **ret,
		  struct muxc_error *ret_error)
{
	struct call call = {.c = c, .timeout_usec = timeout_usec, .error = ret_error};
	struct list *list;
	int r;

	r = ret ? list_ask(&call, &records, session, &list) : admin_no_place(ret_error);
	if (r == 0)
		*ret = (struct muxc_record_list *)list;
	return r;
}

size_t muxc_record_list_count(const struct muxc_record_list *list)
{
	return list ? list->list.count : 0;
}

const struct muxc_record *muxc_record_list_get(const struct muxc_record_list *list, size_t index)
{
	return list && index < list->list.count ? list_at(&list->list, &records, index) : NULL;
}

struct muxc_record_list *muxc_record_list_free(struct muxc_record_list *list)
{
	list_free((struct list *)list);
	return NULL;
}
