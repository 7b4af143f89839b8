/*
 * The direct side: librabbitmq, used as its examples do: publish while the
 * window is open, read a frame when it is not, acknowledge each message.
 */
#include "tests/bench/bench.h"
#include "tests/bench/rabbit.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

struct direct {
	amqp_connection_state_t conn;
	char queue[64];
	char body[BENCH_BODY_BYTES];
};

/* -------------------------------------------------------------- connection */

/* With an exclusive queue, and confirms if wanted. */
static void direct_open(struct direct *d, const struct bench *bench, int confirms)
{
	d->conn = rabbit_dial(bench->url);
	(void)snprintf(d->queue, sizeof(d->queue), "muxbench.direct.%d.%.0f", (int)getpid(), bench_usec());
	memset(d->body, 'x', sizeof(d->body));
	(void)amqp_queue_declare(d->conn, CHANNEL, amqp_cstring_bytes(d->queue), 0, 0, 1, 0,
				 amqp_empty_table);
	rabbit_must_reply(d->conn, "queue.declare");
	if (!confirms)
		return;
	(void)amqp_confirm_select(d->conn, CHANNEL);
	rabbit_must_reply(d->conn, "confirm.select");
}

static void direct_close(struct direct *d)
{
	rabbit_hang_up(d->conn);
}

static void send_one(const struct direct *d, const char *queue)
{
	amqp_bytes_t body = {sizeof(d->body), (void *)(uintptr_t)d->body};

	rabbit_must(amqp_basic_publish(d->conn, CHANNEL, amqp_empty_bytes, amqp_cstring_bytes(queue), 0, 0,
				       NULL, body),
		    "basic.publish");
}

/* ---------------------------------------------------------------- confirms */

/* Confirms may come in any order, singly or up to a number. */
struct confirms {
	uint8_t *done; /* [number] */
	uint64_t line; /* all up to here are done */
	uint64_t count;
	struct run *run;
	const double *stamps; /* NULL: nothing is noted */
};

static void note_confirm(struct confirms *confirms, uint64_t number, double now)
{
	if (confirms->done[number])
		return;
	confirms->done[number] = 1;
	confirms->count++;
	if (confirms->stamps)
		run_sample(confirms->run, now - confirms->stamps[number]);
}

/* Reads a frame, which must be a confirm. */
static const amqp_basic_ack_t *read_confirm(const struct direct *d)
{
	struct timeval patience = {BENCH_PATIENCE_SECONDS, 0};
	amqp_frame_t frame;

	rabbit_must(amqp_simple_wait_frame_noblock(d->conn, &frame, &patience), "no confirm");
	if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
		bench_die("librabbitmq: method %#x instead of a confirm", frame.payload.method.id);
	return frame.payload.method.decoded;
}

static void take_confirm(const struct direct *d, struct confirms *confirms)
{
	const amqp_basic_ack_t *ack = read_confirm(d);
	double now = confirms->stamps ? bench_usec() : 0;
	uint64_t number;

	if (ack->delivery_tag > confirms->run->count)
		bench_die("librabbitmq: a confirm of what was not published");
	if (!ack->multiple) {
		note_confirm(confirms, ack->delivery_tag, now);
		return;
	}
	for (number = confirms->line + 1; number <= ack->delivery_tag; number++)
		note_confirm(confirms, number, now);
	if (ack->delivery_tag > confirms->line)
		confirms->line = ack->delivery_tag;
}

/* Publishes all with the window; stamps, for numbers from 1, may be NULL. */
static void publish_all(struct direct *d, struct run *run, double *stamps)
{
	struct confirms confirms = {.run = run, .stamps = stamps};
	uint64_t sent = 0;

	confirms.done = calloc(run->count + 1, 1);
	if (!confirms.done)
		bench_die("no memory");
	while (confirms.count < run->count) {
		while (sent < run->count && sent - confirms.count < BENCH_WINDOW) {
			sent++;
			if (stamps)
				stamps[sent] = bench_usec();
			send_one(d, d->queue);
		}
		do {
			take_confirm(d, &confirms);
		} while (amqp_data_in_buffer(d->conn) && confirms.count < run->count);
		amqp_maybe_release_buffers(d->conn);
	}
	free(confirms.done);
}

static void direct_publish(struct run *run)
{
	double *stamps = calloc(run->count + 1, sizeof(*stamps));
	struct direct d;

	if (!stamps)
		bench_die("no memory");
	direct_open(&d, run->bench, 1);
	run_begin(run);
	publish_all(&d, run, stamps);
	run_end(run);
	direct_close(&d);
	free(stamps);
}

/* --------------------------------------------------------------- consuming */

static void start_consumer(struct direct *d, int no_ack)
{
	(void)amqp_basic_consume(d->conn, CHANNEL, amqp_cstring_bytes(d->queue), amqp_empty_bytes, 0, no_ack,
				 1, amqp_empty_table);
	rabbit_must_reply(d->conn, "basic.consume");
}

/* One message; returns its tag. */
static uint64_t read_message(const struct direct *d)
{
	struct timeval patience = {BENCH_PATIENCE_SECONDS, 0};
	amqp_envelope_t envelope;
	amqp_rpc_reply_t reply;
	uint64_t tag;

	amqp_maybe_release_buffers(d->conn);
	reply = amqp_consume_message(d->conn, &envelope, &patience, 0);
	if (reply.reply_type != AMQP_RESPONSE_NORMAL)
		bench_die("librabbitmq: no message: %s", amqp_error_string2(reply.library_error));
	if (envelope.message.body.len != BENCH_BODY_BYTES)
		bench_die("librabbitmq: a message of %zu bytes", envelope.message.body.len);
	tag = envelope.delivery_tag;
	amqp_destroy_envelope(&envelope);
	return tag;
}

static void direct_consume(struct run *run)
{
	struct direct d;
	uint64_t i;

	direct_open(&d, run->bench, 1);
	publish_all(&d, run, NULL);
	(void)amqp_basic_qos(d.conn, CHANNEL, 0, BENCH_WINDOW, 0);
	rabbit_must_reply(d.conn, "basic.qos");
	run_begin(run);
	start_consumer(&d, 0);
	for (i = 0; i < run->count; i++)
		rabbit_must(amqp_basic_ack(d.conn, CHANNEL, read_message(&d), 0), "basic.ack");
	/* Its answer comes when the broker has read the acknowledgements. */
	(void)amqp_queue_declare(d.conn, CHANNEL, amqp_cstring_bytes(d.queue), 1, 0, 1, 0, amqp_empty_table);
	rabbit_must_reply(d.conn, "queue.declare");
	run_end(run);
	direct_close(&d);
}

static void direct_latency(struct run *run)
{
	struct direct d;
	double began;
	uint64_t i;

	direct_open(&d, run->bench, 0);
	start_consumer(&d, 1);
	run_begin(run);
	for (i = 0; i < run->count; i++) {
		began = bench_usec();
		send_one(&d, d.queue);
		(void)read_message(&d);
		run_sample(run, bench_usec() - began);
	}
	run_end(run);
	direct_close(&d);
}

/* ---------------------------------------------------------------- one shot */

static void direct_one_shot(const char *url, const char *queue)
{
	struct direct d;

	d.conn = rabbit_dial(url);
	memset(d.body, 'x', sizeof(d.body));
	(void)amqp_confirm_select(d.conn, CHANNEL);
	rabbit_must_reply(d.conn, "confirm.select");
	send_one(&d, queue);
	(void)read_confirm(&d);
	rabbit_hang_up(d.conn);
}

static void direct_one_shots(struct run *run)
{
	one_shot_run(run, &side_direct, run->bench->url);
}

void direct_shared_queue(const struct bench *bench, const char *name, int make)
{
	amqp_connection_state_t conn = rabbit_dial(bench->url);

	if (make)
		(void)amqp_queue_declare(conn, CHANNEL, amqp_cstring_bytes(name), 0, 0, 0, 0,
					 amqp_empty_table);
	else
		(void)amqp_queue_delete(conn, CHANNEL, amqp_cstring_bytes(name), 0, 0);
	rabbit_must_reply(conn, make ? "queue.declare" : "queue.delete");
	rabbit_hang_up(conn);
}

const struct side side_direct = {
    .name = "direct",
    .works = {[WORK_PUBLISH] = direct_publish,
	      [WORK_LATENCY] = direct_latency,
	      [WORK_CONSUME] = direct_consume,
	      [WORK_ONE_SHOT] = direct_one_shots},
    .one_shot = direct_one_shot,
};
