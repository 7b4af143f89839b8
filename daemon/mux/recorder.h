/*
 * The flight recorder: what a session asked for last, so that an operator can
 * tell which process, call and argument was behind a close. It is a ring of
 * RECORDER_ENTRIES entries and of RECORDER_BYTES bytes of what goes to the
 * broker: methods, and the properties of publishes, each cut. Never bodies. It
 * becomes text only when somebody looks (daemon/amqp/describe.h).
 *
 * It costs little: both rings begin small and grow while the session has
 * memory for them, and a publish or settling that is like one of the last few
 * entries only counts there. Alike are publishes on one channel with the same
 * exchange, key and flags, the same properties set, and as many bytes of
 * headers; the entry keeps the properties of the first.
 *
 * An entry is named by its serial number, which requests and publishes keep to
 * tell how they ended; 0 is no entry, and one that was overwritten is not
 * found.
 */
#pragma once

#include "daemon/mux/state.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/session.h"

#define RECORDER_ENTRIES 64u
#define RECORDER_BYTES 4096u

/* What entries that count together have in common, besides the bytes of their methods; no padding. */
struct likeness {
	uint32_t method; /* of what was settled: ack, nack (requeue) or reject */
	struct mux_channel_id channel;
	uint32_t headers_len; /* of a publish */
	uint16_t present;     /* the same */
	uint16_t method_len;
	uint16_t code; /* of the last one that was refused */
	bool refused;
	bool unsent; /* publishes that were refused at once */
};

struct record {
	struct likeness like;
	uint32_t serial;      /* 0: none */
	uint32_t at;	      /* what was kept of it, in recorder->bytes */
	struct mono when;     /* of the last of them */
	uint64_t first, last; /* tags; of publishes last is the largest body */
	uint32_t count, ended;
	uint16_t method_kept, properties_kept;
};

struct recorder {
	struct record *entries; /* owned; serial n is at n & mask */
	uint32_t mask;		/* how many there are, less one */
	uint32_t last;		/* serial */
	uint8_t *bytes;		/* owned */
	uint32_t size;		/* of them */
	uint32_t end;		/* how many were ever put there; as record.at it wraps at 2^32 */
	struct charge charge;
};

/* A serial that is not 0; NULL: it was overwritten. */
static inline struct record *recorder_find(const struct recorder *recorder, uint32_t serial)
{
	struct record *record = &recorder->entries[serial & recorder->mask];

	return record->serial == serial ? record : NULL;
}

static inline void record_close(struct record *record, bool refused, uint16_t code)
{
	record->ended++;
	if (!refused)
		return;
	record->like.refused = true;
	record->like.code = code;
}

/* Frees it. */
void recorder_deinit(struct session *session);

/* A request whose method frame is this one. Its serial, or 0. */
uint32_t recorder_request(struct session *session, struct mux_channel_id channel, struct span frame);

/* The same by the method; where it cannot be encoded, by its name alone. */
uint32_t recorder_method(struct session *session, struct mux_channel_id channel,
			 const struct amqc_method *method);

/* One that was answered (code 0) or refused at once. */
void recorder_at_once(struct session *session, struct mux_channel_id channel,
		      const struct amqc_method *method, uint16_t code);

/* An accepted publish; properties are those it has. Its serial, or 0; both in the channel's repeat too. */
uint32_t recorder_publish(struct channel *channel, const struct publish *publish,
			  const struct amqc_properties *properties);

/*
 * Another publish with the names, flags and channel of the last one, the same
 * as recorder_publish() if nothing came between them and it is like that one.
 * 0: ask recorder_publish().
 */
static inline uint32_t recorder_repeat(struct session *session, const struct repeat *repeat,
				       const struct publish *publish,
				       const struct amqc_properties *properties)
{
	struct recorder *recorder = session->recorder;
	struct record *record;

	if (repeat->record == 0 || repeat->newest != recorder->last)
		return 0;
	record = &recorder->entries[repeat->record & recorder->mask];
	if (record->like.refused || record->like.present != properties->present ||
	    ((properties->present & AMQC_PROP_HEADERS) &&
	     record->like.headers_len != properties->headers.len))
		return 0;
	record->count++;
	record->when = session->mux->now;
	if (publish->body_len > record->last)
		record->last = publish->body_len;
	return repeat->record;
}

/* One that was refused; with that code the last one was refused too: only counted. */
void recorder_publish_refused(struct session *session, struct mux_channel_id channel,
			      const struct mux_publish *publish, uint16_t code);

void recorder_settle(struct session *session, struct mux_channel_id channel, enum settle_kind kind,
		     uint64_t first, uint64_t last);

/* One request or publish of the entry has ended, perhaps by an error; code 0: one without a code. */
static inline void recorder_end(struct session *session, uint32_t serial, bool refused, uint16_t code)
{
	struct record *record = serial != 0 ? recorder_find(session->recorder, serial) : NULL;

	if (record)
		record_close(record, refused, code);
}

/* Logs all of it at level notice, a line for each entry: who was behind a close. */
void recorder_log(const struct session *session);
