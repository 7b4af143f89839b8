/*
 * The muxd side: libmuxclient in loop mode, as one thread.
 */
#include "tests/bench/bench.h"

#include "client/muxclient.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_USEC ((uint64_t)BENCH_PATIENCE_SECONDS * 1000000u)

struct mux {
	struct muxc *c;
	struct muxc_channel *channel;
	struct muxc_message *message; /* without properties */
	char queue[64];
	char body[BENCH_BODY_BYTES];
	struct run *run; /* NULL: nothing is noted */
	double *stamps;
	uint64_t confirmed;
	uint64_t received;
};

/* -------------------------------------------------------------- connection */

static void must(int r, const char *what, const struct muxc_error *error)
{
	if (r < 0)
		bench_die("libmuxclient: %s: %s", what, error && error->text[0] ? error->text : strerror(-r));
}

static void on_outcome(struct muxc_channel *channel, const struct muxc_outcome *outcome, void *userdata)
{
	struct mux *m = userdata;
	double now;
	uint64_t i;

	if (outcome->kind != MUXC_CONFIRMED)
		bench_die("libmuxclient: a publish was %s: %s", muxc_outcome_name(outcome->kind),
			  outcome->error->text);
	m->confirmed += outcome->last - outcome->first + 1;
	if (!m->stamps)
		return;
	now = bench_usec();
	for (i = outcome->first; i <= outcome->last; i++)
		run_sample(m->run, now - m->stamps[i - 1]);
}

static void on_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	bench_die("libmuxclient: the channel was closed: %s", error->text);
}

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct mux *m = userdata;
	size_t len;

	(void)muxc_message_get_body(message, &len);
	if (len != BENCH_BODY_BYTES)
		bench_die("libmuxclient: a message of %zu bytes", len);
	m->received++;
	must(muxc_ack(channel, muxc_message_get_tag(message), 0), "ack", NULL);
}

static void mux_connect(struct mux *m, const char *socket)
{
	struct muxc_options options = {
	    .size = sizeof(options), .socket_path = socket, .program = "muxbench", .flags = MUXC_LOOP};
	struct muxc_channel_options channel = {
	    .size = sizeof(channel), .on_outcome = on_outcome, .on_closed = on_closed, .userdata = m};
	struct muxc_error error = MUXC_ERROR_INIT;

	memset(m, 0, sizeof(*m));
	memset(m->body, 'x', sizeof(m->body));
	must(muxc_connect(&options, &m->c, &error), "connect", &error);
	must(muxc_channel_open(m->c, &channel, &m->channel), "open a channel", NULL);
	must(muxc_message_new(&m->message), "a message", NULL);
	must(muxc_message_set_body(m->message, m->body, sizeof(m->body)), "a body", NULL);
}

/* An answer of the broker's: all that was sent before on the channel was read by it. */
static void mux_declare(struct mux *m, unsigned int flags)
{
	struct muxc_queue queue = {.size = sizeof(queue), .name = m->queue, .flags = flags};
	struct muxc_error error = MUXC_ERROR_INIT;

	must(muxc_queue_declare(m->channel, &queue, NULL, PATIENCE_USEC, &error), "declare", &error);
}

static void mux_open(struct mux *m, const struct bench *bench)
{
	mux_connect(m, bench->socket);
	(void)snprintf(m->queue, sizeof(m->queue), "muxbench.mux.%d.%.0f", (int)getpid(),
		       bench_usec()); /* the last one may still be on its way out */
	mux_declare(m, MUXC_EXCLUSIVE);
}

static void mux_close(struct mux *m)
{
	m->message = muxc_message_unref(m->message);
	m->channel = muxc_channel_free(m->channel);
	m->c = muxc_free(m->c);
}

static void mux_step(struct mux *m)
{
	int r = muxc_wait(m->c, PATIENCE_USEC);

	if (r == 0)
		bench_die("libmuxclient: nothing has come for %d s", BENCH_PATIENCE_SECONDS);
	must(r, "wait", NULL);
	must(muxc_process(m->c), "process", NULL);
}

/* -------------------------------------------------------------- publishing */

/* As many as window and credit allow. */
static uint64_t publish_some(struct mux *m, uint64_t sent, uint64_t count)
{
	int r;

	for (; sent < count && sent - m->confirmed < BENCH_WINDOW; sent++) {
		if (m->stamps)
			m->stamps[sent] = bench_usec();
		r = muxc_publish(m->channel, NULL, m->queue, m->message, MUXC_NONBLOCK | MUXC_MORE, NULL);
		if (r == -EAGAIN)
			break;
		must(r, "publish", NULL);
	}
	return sent;
}

static void publish_all(struct mux *m, uint64_t count)
{
	uint64_t sent = 0;

	while (m->confirmed < count) {
		sent = publish_some(m, sent, count);
		mux_step(m);
	}
}

static void mux_publish(struct run *run)
{
	double *stamps = calloc(run->count, sizeof(*stamps));
	struct mux m;

	if (!stamps)
		bench_die("no memory");
	mux_open(&m, run->bench);
	m.run = run;
	m.stamps = stamps;
	run_begin(run);
	publish_all(&m, run->count);
	run_end(run);
	mux_close(&m);
	free(stamps);
}

/* --------------------------------------------------------------- consuming */

static void start_consumer(struct mux *m, unsigned int flags)
{
	struct muxc_consumer_options options = {.size = sizeof(options),
						.queue = m->queue,
						.flags = flags,
						.window_messages = 2 * BENCH_WINDOW,
						.on_message = on_message,
						.userdata = m};
	struct muxc_error error = MUXC_ERROR_INIT;

	must(muxc_consume(m->channel, &options, NULL, PATIENCE_USEC, &error), "consume", &error);
}

static void mux_consume(struct run *run)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct mux m;

	mux_open(&m, run->bench);
	publish_all(&m, run->count);
	must(muxc_qos(m.channel, BENCH_WINDOW, PATIENCE_USEC, &error), "qos", &error);
	run_begin(run);
	start_consumer(&m, 0);
	while (m.received < run->count)
		mux_step(&m);
	mux_declare(&m, MUXC_PASSIVE);
	run_end(run);
	mux_close(&m);
}

static void mux_latency(struct run *run)
{
	struct mux m;
	double began;
	uint64_t i;

	mux_open(&m, run->bench);
	start_consumer(&m, MUXC_NO_ACK);
	run_begin(run);
	for (i = 0; i < run->count; i++) {
		began = bench_usec();
		must(muxc_publish(m.channel, NULL, m.queue, m.message, 0, NULL), "publish", NULL);
		while (m.received == i)
			mux_step(&m);
		run_sample(run, bench_usec() - began);
	}
	run_end(run);
	mux_close(&m);
}

/* ---------------------------------------------------------------- one shot */

static void mux_one_shot(const char *socket, const char *queue)
{
	struct mux m;

	mux_connect(&m, *socket ? socket : NULL);
	must(muxc_publish(m.channel, NULL, queue, m.message, 0, NULL), "publish", NULL);
	while (m.confirmed == 0)
		mux_step(&m);
	mux_close(&m);
}

static void mux_one_shots(struct run *run)
{
	one_shot_run(run, &side_mux, run->bench->socket ? run->bench->socket : "");
}

pid_t mux_daemon_pid(const struct bench *bench)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_status *status;
	struct mux m;
	pid_t pid;

	mux_connect(&m, bench->socket);
	must(muxc_status(m.c, PATIENCE_USEC, &status, &error), "status", &error);
	pid = (pid_t)status->pid;
	(void)muxc_status_free(status);
	mux_close(&m);
	return pid;
}

const struct side side_mux = {
    .name = "muxd",
    .works = {[WORK_PUBLISH] = mux_publish,
	      [WORK_LATENCY] = mux_latency,
	      [WORK_CONSUME] = mux_consume,
	      [WORK_ONE_SHOT] = mux_one_shots},
    .one_shot = mux_one_shot,
};
