#include "daemon/mux/recorder.h"

#include "daemon/amqp/describe.h"
#include "daemon/base/log.h"
#include "daemon/mux/state/channel.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ENTRIES_FIRST 4u /* both rings begin so large, and double */
#define BYTES_FIRST 256u
#define LIKE_BACK 4u /* how many of the last entries one may be like: publish, ack, publish, ack */

#define REQUEST_KEPT 224u /* bytes of a request's method */
#define PUBLISH_KEPT 128u /* of a publish's */
#define PROPERTIES_KEPT 96u
#define FRAME_HEAD (AMQC_FRAME_OVERHEAD - 1)

/* ------------------------------------------------------------------ memory */

/* Another size for a block that it owns, paid by the session. */
static bool resize(struct session *session, void **block, size_t old_bytes, size_t bytes)
{
	void *grown;

	if (!charge_take(&session->recorder->charge, &session->memory, bytes - old_bytes))
		return false;
	grown = realloc(*block, bytes);
	if (!grown) {
		charge_lower(&session->recorder->charge, bytes - old_bytes);
		return false;
	}
	*block = grown;
	return true;
}

static bool recorder_init(struct session *session)
{
	struct recorder *recorder = session->recorder;

	if (!charge_take(&recorder->charge, &session->memory, sizeof(*recorder)) ||
	    !resize(session, (void **)&recorder->entries, 0, ENTRIES_FIRST * sizeof(struct record)) ||
	    !resize(session, (void **)&recorder->bytes, 0, BYTES_FIRST))
		return false;
	memset(recorder->entries, 0, ENTRIES_FIRST * sizeof(struct record));
	recorder->mask = ENTRIES_FIRST - 1;
	recorder->size = BYTES_FIRST;
	return true;
}

/* The session has one, or gets it. False: no memory. */
static bool is_ready(struct session *session)
{
	if (session->recorder)
		return true;
	session->recorder = calloc(1, sizeof(*session->recorder));
	if (session->recorder && !recorder_init(session))
		recorder_deinit(session);
	return session->recorder != NULL;
}

void recorder_deinit(struct session *session)
{
	struct recorder *recorder = session->recorder;

	if (!recorder)
		return;
	charge_end(&recorder->charge);
	free(recorder->entries);
	free(recorder->bytes);
	free(recorder);
	session->recorder = NULL;
}

/* Doubles the entries while none was overwritten: each stays where its serial says. */
static void grow_entries(struct session *session)
{
	struct recorder *recorder = session->recorder;
	uint32_t capacity = recorder->mask + 1;
	struct record first = recorder->entries[0];

	if (recorder->last != capacity || capacity >= RECORDER_ENTRIES ||
	    !resize(session, (void **)&recorder->entries, capacity * sizeof(first),
		    2 * capacity * sizeof(first)))
		return;
	/* Serials begin at 1: the last one was in the first place. */
	memset(recorder->entries + capacity, 0, capacity * sizeof(first));
	recorder->entries[capacity] = first;
	recorder->entries[0] = (struct record){0};
	recorder->mask = 2 * capacity - 1;
}

/* Room for that many bytes, in one piece, over the oldest ones if need be. */
static uint32_t take_bytes(struct session *session, uint32_t len)
{
	struct recorder *recorder = session->recorder;
	uint32_t at;

	while (recorder->end + len > recorder->size && recorder->end <= recorder->size &&
	       recorder->size < RECORDER_BYTES &&
	       resize(session, (void **)&recorder->bytes, recorder->size, 2 * (size_t)recorder->size))
		recorder->size *= 2;
	at = recorder->end;
	if ((at & (recorder->size - 1)) + len > recorder->size)
		at = (at | (recorder->size - 1)) + 1;
	recorder->end = at + len;
	return at;
}

/* ------------------------------------------------------------------ entries */

static uint8_t *bytes_at(const struct recorder *recorder, const struct record *record)
{
	return recorder->bytes + (record->at & (recorder->size - 1));
}

static bool is_kept(const struct recorder *recorder, const struct record *record)
{
	return recorder->end - record->at <= recorder->size;
}

/* A new entry like this one, over the oldest if need be. */
static struct record *put(struct session *session, const struct record *source)
{
	struct recorder *recorder = session->recorder;
	struct record *record;

	grow_entries(session);
	if (++recorder->last == 0)
		recorder->last = 1;
	record = &recorder->entries[recorder->last & recorder->mask];
	*record = *source;
	record->when = session->mux->now;
	record->serial = recorder->last;
	record->count = 1;
	record->at = take_bytes(session, (uint32_t)record->method_kept + record->properties_kept);
	return record;
}

static struct record *put_method(struct session *session, struct mux_channel_id channel, struct span frame)
{
	struct span kept =
	    span_first(span_make(frame.data + FRAME_HEAD, frame.len - AMQC_FRAME_OVERHEAD), REQUEST_KEPT);
	struct record *record;

	record =
	    put(session, &(struct record){.like = {.method = load_be32(frame.data + FRAME_HEAD),
						   .channel = channel,
						   .method_len = (uint16_t)(frame.len - AMQC_FRAME_OVERHEAD)},
					  .method_kept = (uint16_t)kept.len});
	memcpy(bytes_at(session->recorder, record), kept.data, kept.len);
	return record;
}

uint32_t recorder_request(struct session *session, struct mux_channel_id channel, struct span frame)
{
	if (!is_ready(session))
		return 0;
	return put_method(session, channel, frame)->serial;
}

uint32_t recorder_method(struct session *session, struct mux_channel_id channel,
			 const struct amqc_method *method)
{
	struct buf *scratch = &session->mux->scratch;
	struct amqc_method bare = {.id = method->id};

	if (!is_ready(session))
		return 0;
	buf_truncate(scratch, 0);
	/* A name may be too long to be encoded. */
	if (amqc_method_append(scratch, 0, method) != AMQC_OK)
		(void)amqc_method_append(scratch, 0, &bare);
	if (buf_failed(scratch))
		scratch->failed = false;
	if (buf_len(scratch) < AMQC_FRAME_OVERHEAD)
		return 0;
	return put_method(session, channel, buf_span(scratch))->serial;
}

void recorder_at_once(struct session *session, struct mux_channel_id channel,
		      const struct amqc_method *method, uint16_t code)
{
	recorder_end(session, recorder_method(session, channel, method), code != 0, code);
}

/* As memcmp() would, but for each publish. */
static inline bool is_alike(const struct likeness *a, const struct likeness *b)
{
	uint64_t x[3], y[3];

	_Static_assert(sizeof(x) == sizeof(*a), "no padding");
	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	return ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2])) == 0;
}

/* One of the last few entries that this one is like, counted there; NULL: none. */
static struct record *count_alike(struct session *session, const struct likeness *like, const uint8_t *method)
{
	struct recorder *recorder = session->recorder;

	for (uint32_t back = 0; back < LIKE_BACK && back < recorder->last; back++) {
		struct record *old = &recorder->entries[(recorder->last - back) & recorder->mask];

		if (!is_alike(&old->like, like) ||
		    (old->method_kept > 0 &&
		     (!is_kept(recorder, old) ||
		      memcmp(bytes_at(recorder, old), method, old->method_kept) != 0)))
			continue;
		old->count++;
		old->when = session->mux->now;
		return old;
	}
	return NULL;
}

static struct record *put_publish(struct session *session, const struct likeness *like,
				  const struct publish *publish)
{
	struct span method =
	    span_first(span_make(publish->data + FRAME_HEAD, like->method_len), PUBLISH_KEPT);
	struct span properties =
	    span_first(span_make(publish->data + publish->method_len + FRAME_HEAD,
				 publish->head_len - publish->method_len - AMQC_FRAME_OVERHEAD),
		       PROPERTIES_KEPT);
	struct record *record = put(session, &(struct record){.like = *like,
							      .method_kept = (uint16_t)method.len,
							      .properties_kept = (uint16_t)properties.len});

	memcpy(bytes_at(session->recorder, record), method.data, method.len);
	memcpy(bytes_at(session->recorder, record) + method.len, properties.data, properties.len);
	return record;
}

uint32_t recorder_publish(struct channel *channel, const struct publish *publish,
			  const struct amqc_properties *properties)
{
	struct likeness like = {
	    .method = AMQC_BASIC_PUBLISH,
	    .channel = channel->id,
	    .headers_len = properties->present & AMQC_PROP_HEADERS ? (uint32_t)properties->headers.len : 0,
	    .present = properties->present,
	    .method_len = (uint16_t)(publish->method_len - AMQC_FRAME_OVERHEAD),
	};
	struct session *session = channel->session;
	struct record *record;

	channel->repeat.record = 0;
	if (!is_ready(session))
		return 0;
	record = count_alike(session, &like, publish->data + FRAME_HEAD);
	if (!record)
		record = put_publish(session, &like, publish);
	if (publish->body_len > record->last)
		record->last = publish->body_len;
	channel->repeat.record = record->serial;
	channel->repeat.newest = session->recorder->last;
	return record->serial;
}

void recorder_publish_refused(struct session *session, struct mux_channel_id channel,
			      const struct mux_publish *publish, uint16_t code)
{
	struct amqc_method method = {.id = AMQC_BASIC_PUBLISH};
	struct recorder *recorder = session->recorder;
	struct record *last = recorder ? recorder_find(recorder, recorder->last) : NULL;
	uint32_t serial;

	/* All that follows on a channel that has ended. */
	if (last && last->like.unsent && last->like.code == code &&
	    last->like.channel.number == channel.number &&
	    last->like.channel.generation == channel.generation) {
		last->count++;
		last->when = session->mux->now;
		record_close(last, true, code);
		return;
	}
	method.basic_publish.exchange = publish->exchange;
	method.basic_publish.routing_key = publish->routing_key;
	method.basic_publish.mandatory = publish->mandatory;
	serial = recorder_method(session, channel, &method);
	if (serial == 0)
		return;
	last = recorder_find(session->recorder, serial);
	last->like.unsent = true;
	last->last = publish->body.len;
	record_close(last, true, code);
}

void recorder_settle(struct session *session, struct mux_channel_id channel, enum settle_kind kind,
		     uint64_t first, uint64_t last)
{
	static const enum amqc_method_id methods[] = {[SETTLE_ACK] = AMQC_BASIC_ACK,
						      [SETTLE_REQUEUE] = AMQC_BASIC_NACK,
						      [SETTLE_DISCARD] = AMQC_BASIC_REJECT};
	struct likeness like = {.method = (uint32_t)methods[kind], .channel = channel};
	struct record *record;

	if (!is_ready(session))
		return;
	record = count_alike(session, &like, NULL);
	if (!record)
		record = put(session, &(struct record){.like = like, .first = first});
	record->last = last;
	record->ended++;
}

/* ------------------------------------------------------------------ looking */

static void describe_settle(const struct record *record, char *out, size_t size)
{
	const char *kind = record->like.method == AMQC_BASIC_ACK    ? "ack"
			   : record->like.method == AMQC_BASIC_NACK ? "requeue"
								    : "discard";

	if (record->last == 0)
		(void)snprintf(out, size, "settle %s all", kind);
	else
		(void)snprintf(out, size, "settle %s tags %" PRIu64 " to %" PRIu64, kind, record->first,
			       record->last);
}

static void describe(const struct recorder *recorder, const struct record *record, char *out, size_t size)
{
	const uint8_t *bytes = bytes_at(recorder, record);
	size_t len;

	if (record->like.method_len == 0) {
		describe_settle(record, out, size);
		return;
	}
	if (!is_kept(recorder, record)) {
		(void)snprintf(out, size, "%s ...", amqc_method_name(record->like.method));
		return;
	}
	len = amqc_describe_method(out, size, span_make(bytes, record->method_kept));
	if (record->like.method != AMQC_BASIC_PUBLISH)
		return;
	(void)snprintf(out + len, size - len,
		       record->count > 1 ? " body of up to %" PRIu64 " bytes" : " body of %" PRIu64 " bytes",
		       record->last);
	len += strlen(out + len);
	(void)amqc_describe_properties(out + len, size - len,
				       span_make(bytes + record->method_kept, record->properties_kept));
}

bool session_next_record(const struct session *session, uint32_t after, struct record_info *ret)
{
	const struct recorder *recorder = session->recorder;
	const struct record *record = NULL;
	uint32_t left;

	if (!recorder)
		return false;
	left = after != 0 ? recorder->last - after : recorder->mask + 1;
	if (left > recorder->mask + 1)
		left = recorder->mask + 1;
	for (; left > 0 && !record; left--) {
		uint32_t serial = recorder->last - left + 1;

		record = serial != 0 ? recorder_find(recorder, serial) : NULL;
	}
	if (!record)
		return false;
	*ret = (struct record_info){
	    .serial = record->serial,
	    .age_usec = mono_since_usec(session->mux->now, record->when),
	    .channel = record->like.channel,
	    .count = record->count,
	    .unanswered = record->count - record->ended,
	    .end = record->like.refused		   ? RECORD_REFUSED
		   : record->ended < record->count ? RECORD_UNANSWERED
						   : RECORD_ANSWERED,
	    .code = record->like.code,
	};
	describe(recorder, record, ret->operation, sizeof(ret->operation));
	return true;
}

static void log_record(const struct session *session, const struct record_info *info)
{
	char times[32] = "", how[48];

	if (info->count > 1)
		(void)snprintf(times, sizeof(times), ", %" PRIu32 " times", info->count);
	if (info->end == RECORD_REFUSED)
		(void)snprintf(how, sizeof(how), "refused with %u", info->code);
	else if (info->end == RECORD_UNANSWERED)
		(void)snprintf(how, sizeof(how), "%" PRIu32 " unanswered", info->unanswered);
	else
		(void)snprintf(how, sizeof(how), "answered");
	log_notice("session %" PRIu64 ", %" PRIu64 " ms ago, channel %" PRIu32 ": %s%s: %s", session->id,
		   (uint64_t)(info->age_usec / USEC_PER_MSEC), info->channel.number, info->operation, times,
		   how);
}

void recorder_log(const struct session *session)
{
	char program[PROGRAM_MAX + 1];
	struct record_info info = {.serial = 0};

	log_notice("session %" PRIu64 " (pid %" PRIu32 ", uid %" PRIu32 ", %s): what it asked for last",
		   session->id, session->creds.pid, session->creds.uid,
		   log_clean(program, sizeof(program), span_make(session->program, session->program_len)));
	while (session_next_record(session, info.serial, &info))
		log_record(session, &info);
}
