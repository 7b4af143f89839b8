/*
 * fairbench's processes on libmuxclient, in loop mode: a publisher that has as
 * much under way as its credit allows, and both ends of an RPC.
 */
#include "tests/bench/fair.h"

#include "client/muxclient.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_USEC ((uint64_t)BENCH_PATIENCE_SECONDS * 1000000u)
#define REST_USEC 20000u
#define RPC_BODY_BYTES 100u
#define IN_A_ROW 64u /* publishes of a channel before the next one's turn */

struct publisher {
	struct slot *slot;
	const struct flood *spec;
	struct muxc *c;
	struct muxc_channel **channels;
	struct muxc_message *message;
	uint64_t sent;
	uint64_t confirmed;
};

struct party {
	struct slot *slot;
	const struct rpc *spec;
	struct muxc *c;
	struct muxc_channel *channel;
	struct muxc_message *message;
	uint64_t received;
};

static void must(int r, const char *what, const struct muxc_error *error)
{
	if (r < 0)
		bench_die("libmuxclient: %s: %s", what, error && error->text[0] ? error->text : strerror(-r));
}

static struct muxc *dial(const char *socket)
{
	struct muxc_options options = {
	    .size = sizeof(options), .socket_path = socket, .program = "fairbench", .flags = MUXC_LOOP};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc *c;

	must(muxc_connect(&options, &c, &error), "connect", &error);
	return c;
}

static struct muxc_message *make_message(size_t body_bytes, bool persistent)
{
	struct muxc_message *message;
	char *body = malloc(body_bytes);

	if (!body)
		bench_die("no memory");
	memset(body, 'x', body_bytes);
	must(muxc_message_new(&message), "a message", NULL);
	must(muxc_message_set_body(message, body, body_bytes), "a body", NULL);
	if (persistent)
		must(muxc_message_set_number(message, MUXC_DELIVERY_MODE, 2), "delivery mode", NULL);
	return message;
}

/* False: nothing came. */
static bool step(struct muxc *c, uint64_t usec)
{
	int r = muxc_wait(c, usec);

	must(r, "wait", NULL);
	must(muxc_process(c), "process", NULL);
	return r > 0;
}

static void step_or_die(struct muxc *c)
{
	if (!step(c, PATIENCE_USEC))
		bench_die("libmuxclient: nothing has come for %d s", BENCH_PATIENCE_SECONDS);
}

static void on_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	bench_die("libmuxclient: the channel was closed: %s", error->text);
}

static struct muxc_channel *open_channel(struct muxc *c, muxc_outcome_handler on_outcome, void *userdata)
{
	struct muxc_channel_options options = {
	    .size = sizeof(options), .on_outcome = on_outcome, .on_closed = on_closed, .userdata = userdata};
	struct muxc_channel *channel;

	must(muxc_channel_open(c, &options, &channel), "open a channel", NULL);
	return channel;
}

/* ------------------------------------------------------------------ flooding */

static void on_outcome(struct muxc_channel *channel, const struct muxc_outcome *outcome, void *userdata)
{
	struct publisher *p = userdata;
	uint64_t count = outcome->last - outcome->first + 1;

	if (outcome->kind != MUXC_CONFIRMED)
		bench_die("libmuxclient: a publish was %s: %s", muxc_outcome_name(outcome->kind),
			  outcome->error->text);
	p->confirmed += count;
	atomic_fetch_add(&p->slot->messages, count);
	atomic_fetch_add(&p->slot->bytes, count * p->spec->body_bytes);
}

/* As many as credit allows on each channel, a few at a time. */
static void publish_all(struct publisher *p)
{
	bool more = true;

	while (more && atomic_load(&p->slot->go)) {
		more = false;
		for (unsigned int i = 0; i < p->spec->channels; i++) {
			unsigned int n = 0;
			int r = 0;

			for (; n < IN_A_ROW && r == 0; n++) {
				r = muxc_publish(p->channels[i], NULL, p->spec->queue, p->message,
						 MUXC_NONBLOCK | MUXC_MORE, NULL);
				if (r != -EAGAIN)
					must(r, "publish", NULL);
				p->sent += r == 0;
			}
			more = more || r == 0;
		}
	}
}

void mux_flood(struct slot *slot, const void *spec)
{
	struct publisher p = {.slot = slot, .spec = spec};

	p.c = dial(p.spec->socket);
	p.channels = calloc(p.spec->channels, sizeof(struct muxc_channel *));
	if (!p.channels)
		bench_die("no memory");
	for (unsigned int i = 0; i < p.spec->channels; i++)
		p.channels[i] = open_channel(p.c, on_outcome, &p);
	p.message = make_message(p.spec->body_bytes, p.spec->persistent);
	atomic_store(&slot->ready, true);
	for (;;) {
		if (atomic_load(&slot->go)) {
			publish_all(&p);
			step_or_die(p.c);
		} else if (p.confirmed < p.sent) {
			step_or_die(p.c);
		} else {
			atomic_store(&slot->resting, true);
			(void)step(p.c, REST_USEC);
		}
	}
}

/* ------------------------------------------------------------------ RPC */

static void on_any_outcome(struct muxc_channel *channel, const struct muxc_outcome *outcome, void *userdata)
{
	if (outcome->kind != MUXC_CONFIRMED)
		bench_die("libmuxclient: a publish was %s", muxc_outcome_name(outcome->kind));
}

static void on_request(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct party *server = userdata;

	must(muxc_publish(channel, NULL, server->spec->replies, server->message, 0, NULL), "publish", NULL);
}

static void on_reply(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct party *caller = userdata;

	caller->received++;
}

static void begin_rpc(struct party *party, const char *queue, muxc_message_handler on_message)
{
	struct muxc_consumer_options options = {.size = sizeof(options),
						.queue = queue,
						.flags = MUXC_NO_ACK,
						.on_message = on_message,
						.userdata = party};
	struct muxc_error error = MUXC_ERROR_INIT;

	party->c = dial(party->spec->address);
	party->channel = open_channel(party->c, on_any_outcome, party);
	party->message = make_message(RPC_BODY_BYTES, false);
	must(muxc_consume(party->channel, &options, NULL, PATIENCE_USEC, &error), "consume", &error);
	atomic_store(&party->slot->ready, true);
}

void mux_rpc_server(struct slot *slot, const void *spec)
{
	struct party server = {.slot = slot, .spec = spec};

	begin_rpc(&server, server.spec->requests, on_request);
	for (;;)
		(void)step(server.c, PATIENCE_USEC);
}

static void call(struct party *caller)
{
	uint64_t before = caller->received;
	double began = bench_usec();
	unsigned int at = atomic_load(&caller->slot->sample_count);

	must(muxc_publish(caller->channel, NULL, caller->spec->requests, caller->message, 0, NULL), "publish",
	     NULL);
	while (caller->received == before)
		step_or_die(caller->c);
	if (at < FAIR_SAMPLES_MAX) {
		caller->slot->samples[at] = bench_usec() - began;
		atomic_store(&caller->slot->sample_count, at + 1);
	}
}

void mux_rpc_caller(struct slot *slot, const void *spec)
{
	struct party caller = {.slot = slot, .spec = spec};

	begin_rpc(&caller, caller.spec->replies, on_reply);
	for (;;) {
		if (atomic_load(&slot->go)) {
			call(&caller);
			continue;
		}
		atomic_store(&slot->resting, true);
		(void)step(caller.c, REST_USEC);
	}
}
