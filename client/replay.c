/*
 * Publishes that have no outcome, kept to be sent again when muxd was lost.
 *
 * A publish is encoded once, into a record (kept.c), and copied from there to
 * the output. Each channel finds its records by number in a ring of pointers.
 *
 * A channel's numbers are in three parts: those that have their outcome, those
 * up to `sent`, which muxd has or will have as the output goes, and those that
 * are still to be sent in this session. How the last part ends when its time is
 * over is decided here, and by nobody else; for the others muxd does.
 */
#include "config.h"

#include "client/replay.h"
#include "client/chan.h"
#include "client/conn.h"
#include "client/error.h"
#include "client/kept.h"
#include "client/out.h"
#include "client/outcome.h"
#include "client/publish.h"
#include "client/wire.h"

#include "proto/buf.h"
#include "proto/frame.h"
#include "proto/muxd.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RING_MIN 16u
#define RING_IDLE 64u

/* Field numbers of muxd.v1.Publish. */
#define PUBLISH_RESENT 5u
#define PUBLISH_AGE_MS 6u

/* --------------------------------------------------------------------- ring */

static struct kept **slot_of(const struct replay *replay, uint64_t number)
{
	return &replay->ring[number & (replay->capacity - 1)];
}

/* Room for one more number behind `published`. */
static int ring_reserve(struct replay *replay, uint64_t published)
{
	size_t count = (size_t)(published + 1 - replay->first), capacity;
	struct kept **ring;
	uint64_t number;

	if (count < replay->capacity)
		return 0;
	capacity = replay->capacity ? replay->capacity * 2 : RING_MIN;
	ring = malloc(capacity * sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	for (number = replay->first; number <= published; number++)
		ring[number & (capacity - 1)] = *slot_of(replay, number);
	free(replay->ring);
	replay->ring = ring;
	replay->capacity = capacity;
	return 0;
}

static void ring_advance(struct replay *replay, uint64_t published)
{
	while (replay->first <= published && !*slot_of(replay, replay->first))
		replay->first++;
	if (replay->first <= published || replay->capacity <= RING_IDLE)
		return;
	free(replay->ring);
	replay->ring = NULL;
	replay->capacity = 0;
}

/* ------------------------------------------------------------------ keeping */

struct kept *replay_reserve(struct muxc_channel *channel, size_t frame_len)
{
	if (ring_reserve(&channel->replay, channel->outcomes.published) < 0)
		return NULL;
	return kept_reserve(channel->c, frame_len);
}

void replay_commit(struct muxc_channel *channel, struct kept *kept)
{
	kept_commit(channel->c, kept);
	channel->outcomes.published++;
	*slot_of(&channel->replay, channel->outcomes.published) = kept;
	channel->c->unsent_count++;
}

int replay_skip(struct muxc_channel *channel)
{
	struct replay *replay = &channel->replay;
	uint64_t published = channel->outcomes.published;

	if (replay->first > published) {
		replay->first = published + 2;
	} else {
		if (ring_reserve(replay, published) < 0)
			return -ENOMEM;
		*slot_of(replay, published + 1) = NULL;
	}
	channel->outcomes.published++;
	return 0;
}

void replay_settled(struct muxc_channel *channel, struct range range)
{
	struct replay *replay = &channel->replay;
	struct muxc *c = channel->c;
	struct kept **slot;
	uint64_t number;

	if (!replay->ring)
		return;
	for (number = range.first < replay->first ? replay->first : range.first; number <= range.last;
	     number++) {
		slot = slot_of(replay, number);
		if (!*slot)
			continue;
		if (number > replay->sent)
			c->unsent_count--;
		kept_free(c, *slot);
		*slot = NULL;
	}
	ring_advance(replay, channel->outcomes.published);
	credit_wake_first(c);
}

void replay_deinit(struct muxc_channel *channel)
{
	struct replay *replay = &channel->replay;

	if (replay->ring)
		replay_settled(channel, (struct range){replay->first, channel->outcomes.published});
	free(replay->ring);
	free(replay->parts);
}

/* ------------------------------------------------------------------ numbers */

/* What was sent behind the last number is not the one that follows: muxd's numbers have a hole in ours. */
static int parts_add(struct replay *replay)
{
	size_t capacity = replay->parts_capacity ? replay->parts_capacity * 2 : 8;
	struct wire_part *parts;

	if (replay->parts_count == replay->parts_capacity) {
		parts = realloc(replay->parts, capacity * sizeof(*parts));
		if (!parts)
			return -ENOMEM;
		replay->parts = parts;
		replay->parts_capacity = capacity;
	}
	replay->parts[replay->parts_count++] = (struct wire_part){replay->wire_sent, replay->offset};
	return 0;
}

int replay_sent(struct muxc_channel *channel, uint64_t number)
{
	struct replay *replay = &channel->replay;

	if (number != replay->wire_sent + 1 + replay->offset) {
		if (replay->wire_sent > 0 && parts_add(replay) < 0)
			return -ENOMEM;
		replay->offset = number - replay->wire_sent - 1;
	}
	replay->wire_sent++;
	replay->sent = number;
	return 0;
}

/* The part that a number of muxd's is in: its last one, and what ours is more. */
static struct wire_part part_of(const struct replay *replay, uint64_t wire)
{
	size_t low = 0, high = replay->parts_count, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (replay->parts[middle].last < wire)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < replay->parts_count)
		return replay->parts[low];
	return (struct wire_part){replay->wire_sent, replay->offset};
}

uint64_t replay_number(const struct muxc_channel *channel, uint64_t wire)
{
	return wire + part_of(&channel->replay, wire).offset;
}

int replay_outcome(struct muxc_channel *channel, struct range wire, int kind, const struct muxc_error *error)
{
	struct wire_part part;
	struct range range;
	int r = 0;

	if (wire.first == 0 || wire.last < wire.first || wire.last > channel->replay.wire_sent)
		return -EPROTO;
	while (r == 0 && wire.first <= wire.last) {
		part = part_of(&channel->replay, wire.first);
		range.first = wire.first + part.offset;
		range.last = (part.last < wire.last ? part.last : wire.last) + part.offset;
		r = outcomes_settle(channel, range, kind, error);
		wire.first = part.last + 1;
	}
	return r;
}

/* ------------------------------------------------------------ sending again */

void replay_returned(struct muxc_channel *channel, uint64_t number)
{
	const struct replay *replay = &channel->replay;

	if (replay->ring && number >= replay->first && number <= replay->sent && *slot_of(replay, number))
		(*slot_of(replay, number))->returned = true;
}

static void end_returned(struct muxc_channel *channel)
{
	static const struct muxc_error none = MUXC_ERROR_INIT;
	struct replay *replay = &channel->replay;
	uint64_t number;
	int r = 0;

	for (number = replay->first; r == 0 && replay->ring && number <= replay->sent; number++) {
		if (*slot_of(replay, number) && (*slot_of(replay, number))->returned)
			r = outcomes_settle(channel, (struct range){number, number}, MUXC_RETURNED, &none);
	}
	channel_wake(channel);
	if (r < 0)
		conn_fail(channel->c, r, "no memory to end a publish");
}

void replay_lost(struct muxc_channel *channel)
{
	struct replay *replay = &channel->replay;
	struct muxc *c = channel->c;
	struct kept *kept;
	uint64_t number;

	end_returned(channel);
	if (channel->state == CHANNEL_ENDED)
		return;
	for (number = replay->first; replay->ring && number <= replay->sent; number++) {
		kept = *slot_of(replay, number);
		if (!kept)
			continue;
		/* Of the rest not a byte has left this process. */
		kept->was_sent |= kept->position < c->out_sent;
		c->unsent_count++;
	}
	if (replay->sent >= replay->first)
		replay->sent = replay->first - 1;
}

void replay_begin(struct muxc_channel *channel)
{
	struct replay *replay = &channel->replay;

	replay->wire_sent = 0;
	replay->offset = 0;
	free(replay->parts);
	replay->parts = NULL;
	replay->parts_count = 0;
	replay->parts_capacity = 0;
}

uint64_t replay_count_resent(struct muxc *c)
{
	const struct muxc_channel *channel;
	const struct kept *kept;
	uint64_t count = 0, number;
	uint32_t i;

	for (i = 0; i < c->channels_count; i++) {
		channel = c->channels[i].channel;
		if (!channel || !channel->replay.ring)
			continue;
		for (number = channel->replay.first; number <= channel->outcomes.published; number++) {
			kept = *slot_of(&channel->replay, number);
			count += kept && kept->was_sent;
		}
	}
	return count;
}

/* How a publish ends that this library ends itself. */
static int end_one(struct muxc_channel *channel, uint64_t number, const struct kept *kept,
		   const struct muxc_error *error)
{
	int kind = kept->was_sent ? MUXC_UNKNOWN : MUXC_FAILED;

	channel_wake(channel);
	return outcomes_settle(channel, (struct range){number, number}, kind, error);
}

static int end_expired(struct muxc_channel *channel, uint64_t number, const struct kept *kept)
{
	struct muxc_error error = MUXC_ERROR_INIT;

	error_set(&error, -ETIMEDOUT, "muxd was away, and has not come back in time for this publish");
	error.code = 408;
	return end_one(channel, number, kept, &error);
}

static int end_too_large(struct muxc_channel *channel, uint64_t number, const struct kept *kept)
{
	struct muxc_error error = MUXC_ERROR_INIT;

	error_set(&error, -EMSGSIZE, "the message has %u bytes, and muxd does not take so many any more",
		  kept->body_len);
	error.code = 311;
	return end_one(channel, number, kept, &error);
}

static uint32_t ms_between(uint64_t from_usec, uint64_t to_usec)
{
	uint64_t ms = to_usec > from_usec ? (to_usec - from_usec) / 1000 : 0;

	return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

/* The header of the frame, but for the operation as it was. */
struct again {
	uint32_t deadline_ms;
	uint32_t age_ms;
	size_t op_size;
	size_t header_size;
};

static struct again again_measure(const struct muxc_channel *channel, const struct kept *kept, uint64_t now)
{
	struct again again = {.deadline_ms = ms_between(now, kept->deadline_usec),
			      .age_ms = ms_between(kept->since_usec, now)};

	if (again.deadline_ms == 0)
		again.deadline_ms = 1;
	again.op_size = kept->op_len + (kept->was_sent ? wire_number_size(1) : 0) +
			(again.age_ms ? wire_number_size(again.age_ms) : 0);
	again.header_size = wire_number_size(channel->number) + wire_number_size(again.deadline_ms) +
			    wire_bytes_size(again.op_size);
	return again;
}

static int again_put(struct muxc_channel *channel, struct kept *kept, const struct again *again)
{
	struct buf *out = &channel->c->out;
	size_t len_before = buf_len(out);

	kept->position = channel->c->out_sent + len_before;
	ipc_frame_prefix(out, again->header_size, kept->body_len);
	wire_put_number(out, WIRE_CLIENT_CHANNEL, channel->number);
	wire_put_number(out, WIRE_CLIENT_DEADLINE_MS, again->deadline_ms);
	wire_put_tag(out, MUXD__V1__CLIENT_FRAME__OP_PUBLISH, WIRE_BYTES);
	wire_put_varint(out, again->op_size);
	buf_append(out, kept->bytes + kept->op_at, kept->op_len);
	wire_put_nonzero(out, PUBLISH_RESENT, kept->was_sent);
	wire_put_nonzero(out, PUBLISH_AGE_MS, again->age_ms);
	buf_append(out, kept->bytes + kept->op_at + kept->op_len, kept->body_len);
	if (!buf_failed(out))
		return 0;
	out->failed = false;
	buf_truncate(out, len_before);
	return -ENOMEM;
}

/* 1: sent, or ended here; 0: there is no credit; or a negative errno. */
static int send_one(struct muxc_channel *channel, uint64_t number, struct kept *kept, uint64_t now)
{
	struct muxc *c = channel->c;
	struct again again;
	uint64_t cost;
	int r;

	if (kept->deadline_usec <= now) {
		r = end_expired(channel, number, kept);
		return r < 0 ? r : 1;
	}
	again = again_measure(channel, kept, now);
	if (kept->body_len > c->message_max || again.header_size > IPC_HEADER_MAX) {
		r = end_too_large(channel, number, kept);
		return r < 0 ? r : 1;
	}
	cost = again.header_size + kept->body_len;
	if (c->link.starved)
		return 0;
	if (!credit_suffices(c, cost))
		return credit_want(c, cost);
	r = again_put(channel, kept, &again);
	if (r == 0)
		r = replay_sent(channel, number);
	if (r < 0)
		return r;
	c->used_messages++;
	c->used_bytes += cost;
	c->unsent_count--;
	return 1;
}

bool replay_send(struct muxc_channel *channel, uint64_t limit)
{
	struct replay *replay = &channel->replay;
	struct muxc *c = channel->c;
	uint64_t now = now_usec(), number;
	struct kept *kept;
	int r;

	while (replay->sent < limit) {
		number = replay->sent + 1;
		kept = number < replay->first ? NULL : *slot_of(replay, number);
		r = kept ? send_one(channel, number, kept, now) : 1;
		if (r == 0)
			c->link.starved = true;
		if (r == 0)
			return false;
		if (r < 0) {
			conn_fail(c, r, "no memory to publish again");
			return false;
		}
		replay->sent = number;
		channel->tx_used = true;
		if (buf_len(&c->out) >= OUT_DIRECT_BYTES && !c->out_blocked)
			out_flush(c);
	}
	return true;
}

/* ------------------------------------------------------------- ending here */

void replay_end_unsent(struct muxc_channel *channel, const struct muxc_error *error)
{
	struct replay *replay = &channel->replay;
	struct kept *kept;
	uint64_t number;

	while (replay->sent < channel->outcomes.published) {
		number = replay->sent + 1;
		kept = replay->ring && number >= replay->first ? *slot_of(replay, number) : NULL;
		/* Without memory for it the record stays, until the channel is freed. */
		if (kept)
			(void)end_one(channel, number, kept, error);
		if (kept && replay->ring && number >= replay->first && *slot_of(replay, number))
			channel->c->unsent_count--;
		replay->sent = number;
	}
}

static int expire_channel(struct muxc_channel *channel, uint64_t now)
{
	struct replay *replay = &channel->replay;
	struct muxc *c = channel->c;
	struct kept *kept;
	uint64_t number;
	int r = 0;

	number = replay->sent < replay->first ? replay->first : replay->sent + 1;
	for (; r == 0 && replay->ring && number <= channel->outcomes.published; number++) {
		kept = *slot_of(replay, number);
		if (kept && kept->deadline_usec <= now)
			r = end_expired(channel, number, kept);
		else if (kept && kept->deadline_usec < c->link.expire_usec)
			c->link.expire_usec = kept->deadline_usec;
	}
	return r;
}

void replay_expire(struct muxc *c)
{
	uint64_t now = now_usec();
	uint32_t i;
	int r = 0;

	c->link.expire_usec = UINT64_MAX;
	for (i = 0; r == 0 && c->unsent_count > 0 && i < c->channels_count; i++) {
		if (!c->channels[i].channel)
			continue;
		r = expire_channel(c->channels[i].channel, now);
		if (r == 0 && c->channels[i].channel)
			channel_check_end(c->channels[i].channel);
	}
	if (r < 0)
		conn_fail(c, r, "no memory to end a publish");
	/* What is kept with many deadlines is looked at now and then, not for each. */
	if (c->link.expire_usec != UINT64_MAX && c->link.expire_usec < now + 10000)
		c->link.expire_usec = now + 10000;
}
