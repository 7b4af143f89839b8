/*
 * What must hold, and how a violation is told. Invariants that concern one
 * event are checked where the event is: events.c (what mux tells clients) and
 * wire.c (what it tells the broker). Here are those of a whole turn, of the
 * calm, and of the end.
 */
#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* How late a deadline may be: a turn. */
#define LATE_USEC 1000u
#define SILENCE_LATE_USEC 50000u

void violate(struct world *world, const char *invariant, const char *format, ...)
{
	char text[512];
	va_list args;

	if (world->failed)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	world->failed = true;
	printf("seed %llu: FAILED at %llu us: %s: %s\n", (unsigned long long)world->seed,
	       (unsigned long long)world->now.usec, invariant, text);
}

void trace(struct world *world, const char *format, ...)
{
	va_list args;

	if (!world->verbose)
		return;
	va_start(args, format);
	printf("%5llu.%06llu ", (unsigned long long)(world->now.usec / USEC_PER_SEC),
	       (unsigned long long)(world->now.usec % USEC_PER_SEC));
	vprintf(format, args);
	putchar('\n');
	va_end(args);
}

/* ------------------------------------------------------------------ messages and queues */

bool is_marked(const struct amqc_properties *properties)
{
	struct amqc_field field;

	return (properties->present & AMQC_PROP_HEADERS) &&
	       amqc_table_find(properties->headers, "x-muxd-resent", &field) && field.type == 't' &&
	       field.value.boolean;
}

bool copy_is_blurred(const struct copy *copy)
{
	return copy->marked && copy->message->times_marked > 1;
}

struct copy *copy_of(struct world *world, struct message *message, const struct queue *queue, bool marked)
{
	struct copy *copy;

	for (copy = message->copies; copy; copy = copy->next) {
		if (copy->queue == queue && copy->marked == marked)
			return copy;
	}
	copy = world_alloc(world, sizeof(*copy));
	copy->message = message;
	copy->queue = queue;
	copy->marked = marked;
	copy->next = message->copies;
	message->copies = copy;
	return copy;
}

/* Eight bytes of a body that no other has. */
static uint64_t body_word(const struct message *message, size_t place)
{
	uint64_t word = (message->index + 1) * UINT64_C(0x9e3779b97f4a7c15);

	return word ^ (place & 0xff) * UINT64_C(0x0101010101010101);
}

void body_fill(const struct message *message, uint8_t *body)
{
	/* Small ones are alike on purpose: a return must find its publish all the same. */
	if (message->size <= 4) {
		memset(body, 'x', message->size);
		return;
	}
	for (size_t i = 0; i < message->size; i += sizeof(uint64_t)) {
		uint64_t word = body_word(message, i / sizeof(word));
		size_t left = message->size - i;

		memcpy(body + i, &word, left < sizeof(word) ? left : sizeof(word));
	}
}

static bool body_is(const struct message *message, struct span body)
{
	static const uint8_t xs[4] = {'x', 'x', 'x', 'x'};
	uint64_t word;
	size_t i = 0;

	if (body.len != message->size)
		return false;
	if (body.len <= 4)
		return span_equal(body, span_make(xs, body.len));
	for (; i + sizeof(word) <= body.len; i += sizeof(word)) {
		word = body_word(message, i / sizeof(word));
		if (memcmp(body.data + i, &word, sizeof(word)) != 0)
			return false;
	}
	word = body_word(message, i / sizeof(word));
	return memcmp(body.data + i, &word, body.len - i) == 0;
}

struct message *message_named(struct world *world, const struct amqc_properties *properties)
{
	char text[16] = "";
	unsigned long index;

	if (!(properties->present & AMQC_PROP_MESSAGE_ID) || properties->message_id.len >= sizeof(text)) {
		violate(world, "properties are the publisher's", "the message id is missing");
		return NULL;
	}
	memcpy(text, properties->message_id.data, properties->message_id.len);
	index = strtoul(text, NULL, 10);
	if (index >= world->message_count) {
		violate(world, "properties are the publisher's", "message id %s", text);
		return NULL;
	}
	return world->messages[index];
}

struct message *message_of(struct world *world, const struct amqc_properties *properties, struct span body)
{
	struct message *message = message_named(world, properties);

	if (!message || body_is(message, body))
		return message;
	violate(world, "a body is the publisher's", "m%u of %u bytes has %zu bytes, or others",
		message->index, message->size, body.len);
	return NULL;
}

/* ------------------------------------------------------------------ each turn */

static void check_calls(struct world *world, const struct life *life)
{
	uint32_t open = life->calls_open;

	for (const struct call *call = life->calls; call && open > 0; call = call->next) {
		open -= !call->ended;
		if (!call->ended && mono_add_usec(call->latest, LATE_USEC).usec < world->now.usec)
			violate(world, "every request ends by its deadline",
				"session %u, request %u (%s) of channel %u", life->serial, call->id,
				amqc_method_name(call->method), call->chan ? call->chan->id.number : 0);
	}
}

static void check_publishes(struct world *world, struct chan *chan)
{
	while (chan->first_open < chan->message_count && chan->messages[chan->first_open]->ended)
		chan->first_open++;
	for (size_t i = chan->first_open; i < chan->message_count; i++) {
		const struct message *message = chan->messages[i];

		if (!message->ended && mono_add_usec(message->deadline, LATE_USEC).usec < world->now.usec)
			violate(world, "every publish ends by its deadline",
				"session %u, channel %u.%u, number %zu (m%u)", chan->life->serial,
				chan->id.number, chan->id.generation, i + 1, message->index);
	}
}

/* A silent broker is given up after two intervals, whatever else there is to do. */
static void check_silence(struct world *world)
{
	const struct link *link = &world->link;
	uint64_t most_usec = 2 * world->plan.heartbeat_sec * USEC_PER_SEC + SILENCE_LATE_USEC;

	if (link->conn && world->wire.running && !world->closing &&
	    mono_before(mono_add_usec(link->heard, most_usec), world->now))
		violate(world, "a silent broker is given up after two heartbeat intervals",
			"%llu us since it was heard",
			(unsigned long long)mono_since_usec(world->now, link->heard));
}

/* Unknown is what a deadline, or an error of the channel, leaves behind. */
static void check_unknown(struct world *world, const struct chan *chan)
{
	if (chan->early_unknown && !chan->failed && !chan->close_sent)
		violate(world, "a publish is unknown at its deadline, or when its channel ends",
			"session %u, channel %u.%u goes on", chan->life->serial, chan->id.number,
			chan->id.generation);
}

void check_turn(struct world *world)
{
	check_silence(world);
	for (unsigned int i = 0; i < world->client_count; i++) {
		const struct life *life = world->clients[i].life;

		if (!life || !life->session || life->ended)
			continue;
		if (life->calls_open > 0)
			check_calls(world, life);
		for (struct chan *chan = life->chans; chan; chan = chan->next) {
			if (chan->open_messages > 0)
				check_publishes(world, chan);
			check_unknown(world, chan);
		}
	}
}

/* ------------------------------------------------------------------ the calm */

/* What a client settled on a live channel was told to the broker. */
static void check_settled(struct world *world, const struct chan *chan)
{
	for (const struct handout *handout = chan->handouts; handout; handout = handout->next) {
		const struct copy *copy = handout->copy;

		if (handout->decision != DECIDED_NOTHING && copy->handout == handout && copy->out &&
		    !copy_is_blurred(copy) && copy->epoch == world->epoch)
			violate(world, "what a client settled is told to the broker",
				"session %u, channel %u.%u, tag %llu (m%u in %s)", chan->life->serial,
				chan->id.number, chan->id.generation, (unsigned long long)handout->tag,
				copy->message->index, copy->queue->name);
	}
}

static void check_chan(struct world *world, const struct chan *chan)
{
	if (chan->open_messages > 0)
		violate(world, "every publish ends", "session %u, channel %u.%u has %zu without an outcome",
			chan->life->serial, chan->id.number, chan->id.generation, chan->open_messages);
	if (chan->failed || chan->close_sent)
		return;
	check_settled(world, chan);
	for (const struct consumer_record *consumer = chan->consumers; consumer; consumer = consumer->next)
		replies_check(world, consumer);
}

void check_calm(struct world *world)
{
	topology_check_all(world);
	shares_rest(world);
	for (unsigned int i = 0; i < world->client_count; i++) {
		const struct life *life = world->clients[i].life;

		if (!life || !life->session)
			continue;
		if (life->calls_open > 0)
			violate(world, "every request ends", "session %u has %u unanswered", life->serial,
				life->calls_open);
		for (const struct chan *chan = life->chans; chan; chan = chan->next)
			check_chan(world, chan);
	}
}

/* ------------------------------------------------------------------ no sessions left */

void check_no_sessions(struct world *world)
{
	struct upstream_info info;

	shares_rest(world);
	upstream_get_info(world->upstream, &info);
	if (mux_session_count(world->mux) != 0 || mux_memory_used(world->mux) != 0)
		violate(world, "memory accounts return to nothing", "%u sessions, %llu bytes",
			mux_session_count(world->mux), (unsigned long long)mux_memory_used(world->mux));
	if (!upstream_is_drained(world->upstream) || info.unconfirmed != 0)
		violate(world, "what ended sessions published is sent and confirmed", "%llu unconfirmed",
			(unsigned long long)info.unconfirmed);
	if (info.lanes_leased != 0 || info.lanes_open != info.lanes_warm ||
	    broker_channel_count(world->broker) != info.lanes_open)
		violate(world, "lanes return to warm",
			"%u leased, %u open, %u warm, %zu channels at the broker", info.lanes_leased,
			info.lanes_open, info.lanes_warm, broker_channel_count(world->broker));
	for (size_t i = 0; i < world->queue_count; i++) {
		size_t ready = 0, unacked = 0;

		if (broker_queue_counts(world->broker, "/", span_str(world->queues[i].name), &ready,
					&unacked) &&
		    unacked > 0)
			violate(world, "unacked messages come back", "%s has %zu unacked and no consumer",
				world->queues[i].name, unacked);
	}
}

/* ------------------------------------------------------------------ the end */

/* Whether a message that was in the queue then must be there now. */
static bool is_kept(const struct world *world, const struct message *message, const struct queue *queue,
		    uint64_t since)
{
	return queue->shared && !queue->wiped && !message->expires &&
	       (message->persistent || world->restarted < since);
}

static void check_copy(struct world *world, const struct copy *copy)
{
	if (copy->audited || copy->uncertain || copy_is_blurred(copy) || copy->dropped || copy->acked ||
	    copy->epoch == 0 || !is_kept(world, copy->message, copy->queue, copy->delivered))
		return;
	violate(world, "what was not acked is delivered again", "m%u in %s, delivered in epoch %llu",
		copy->message->index, copy->queue->name, (unsigned long long)copy->epoch);
}

/* A confirmed mandatory message to the default exchange is in the queue of its key, or was delivered. */
static void check_confirmed(struct world *world, const struct message *message)
{
	const struct queue *queue;

	if (!message->wire_acked || message->wire_returned || !message->mandatory ||
	    message->exchange[0] != '\0' || message->answers || message->copies)
		return;
	queue = queue_named(world, span_str(message->key));
	if (is_kept(world, message, queue, message->accepted))
		violate(world, "confirmed means kept", "m%u is not in %s and was never delivered",
			message->index, queue->name);
}

/* Publish and exit is safe: the last words of a session reach the broker. */
static void check_last_words(struct world *world, const struct message *message)
{
	const struct chan *chan = message->chan;

	if (message->ended || message->sent || chan->life->session || !chan->pure || chan->failed ||
	    message->epoch != world->epoch || mono_before(message->deadline, world->now) ||
	    expiry_is_over(message, world->now))
		return;
	violate(world, "what a session published before its end is sent", "m%u, session %u, channel %u.%u",
		message->index, chan->life->serial, chan->id.number, chan->id.generation);
}

void check_audit(struct world *world)
{
	for (size_t i = 0; i < world->message_count; i++) {
		const struct message *message = world->messages[i];

		for (const struct copy *copy = message->copies; copy; copy = copy->next)
			check_copy(world, copy);
		check_confirmed(world, message);
		check_last_words(world, message);
	}
}
