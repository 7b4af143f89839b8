/*
 * fairbench's processes on librabbitmq: both ends of an RPC, each with a
 * connection of its own; and the parent's connection for queues.
 */
#include "tests/bench/fair.h"
#include "tests/bench/rabbit.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define RPC_BODY_BYTES 100u
#define REST_SECONDS 0.02

struct direct_admin {
	amqp_connection_state_t conn;
};

unsigned int direct_port(const char *url)
{
	struct amqp_connection_info info;
	char *copy = strdup(url);
	unsigned int port;

	if (!copy)
		bench_die("librabbitmq: no memory");
	rabbit_must(amqp_parse_url(copy, &info), url);
	port = (unsigned int)info.port;
	free(copy);
	return port;
}

/* ------------------------------------------------------------------ RPC */

static amqp_connection_state_t begin_rpc(struct slot *slot, const struct rpc *spec, const char *queue)
{
	amqp_connection_state_t conn = rabbit_dial(spec->address);

	(void)amqp_basic_consume(conn, CHANNEL, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, 1, 0,
				 amqp_empty_table);
	rabbit_must_reply(conn, "basic.consume");
	if (spec->confirms) {
		(void)amqp_confirm_select(conn, CHANNEL);
		rabbit_must_reply(conn, "confirm.select");
	}
	atomic_store(&slot->ready, true);
	return conn;
}

static void read_confirm(amqp_connection_state_t conn)
{
	amqp_frame_t frame;

	rabbit_must(amqp_simple_wait_frame(conn, &frame), "a frame");
	if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
		bench_die("librabbitmq: a frame that nobody waits for");
}

/* False: none has come in time. */
static bool read_message(amqp_connection_state_t conn)
{
	struct timeval patience = {BENCH_PATIENCE_SECONDS, 0};
	amqp_envelope_t envelope;
	amqp_rpc_reply_t reply;

	for (;;) {
		amqp_maybe_release_buffers(conn);
		reply = amqp_consume_message(conn, &envelope, &patience, 0);
		if (reply.reply_type != AMQP_RESPONSE_LIBRARY_EXCEPTION ||
		    reply.library_error != AMQP_STATUS_UNEXPECTED_STATE)
			break;
		read_confirm(conn);
	}
	if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION && reply.library_error == AMQP_STATUS_TIMEOUT)
		return false;
	if (reply.reply_type != AMQP_RESPONSE_NORMAL)
		bench_die("librabbitmq: no message: %s", amqp_error_string2(reply.library_error));
	amqp_destroy_envelope(&envelope);
	return true;
}

static void send_message(amqp_connection_state_t conn, const char *queue)
{
	static const char body[RPC_BODY_BYTES];
	amqp_bytes_t bytes = {sizeof(body), (void *)(uintptr_t)body};

	rabbit_must(
	    amqp_basic_publish(conn, CHANNEL, amqp_empty_bytes, amqp_cstring_bytes(queue), 0, 0, NULL, bytes),
	    "basic.publish");
}

void direct_rpc_server(struct slot *slot, const void *context)
{
	const struct rpc *spec = context;
	amqp_connection_state_t conn = begin_rpc(slot, spec, spec->requests);

	for (;;) {
		if (read_message(conn))
			send_message(conn, spec->replies);
	}
}

void direct_rpc_caller(struct slot *slot, const void *context)
{
	const struct rpc *spec = context;
	amqp_connection_state_t conn = begin_rpc(slot, spec, spec->replies);

	for (;;) {
		unsigned int at = atomic_load(&slot->sample_count);
		double began = bench_usec();

		if (!atomic_load(&slot->go)) {
			atomic_store(&slot->resting, true);
			fair_sleep(REST_SECONDS);
			continue;
		}
		send_message(conn, spec->requests);
		if (!read_message(conn))
			bench_die("librabbitmq: no reply for %d s", BENCH_PATIENCE_SECONDS);
		if (at < FAIR_SAMPLES_MAX) {
			slot->samples[at] = bench_usec() - began;
			atomic_store(&slot->sample_count, at + 1);
		}
	}
}

/* ------------------------------------------------------------------ queues */

struct direct_admin *direct_admin_new(const char *url)
{
	struct direct_admin *admin = calloc(1, sizeof(*admin));

	if (!admin)
		bench_die("no memory");
	admin->conn = rabbit_dial(url);
	return admin;
}

void direct_admin_free(struct direct_admin *admin)
{
	rabbit_hang_up(admin->conn);
	free(admin);
}

void direct_admin_declare(struct direct_admin *admin, const char *queue, enum queue_kind kind,
			  unsigned int length_max)
{
	amqp_table_entry_t entries[2];
	amqp_table_t table = {0, entries};

	if (kind == QUEUE_QUORUM)
		entries[table.num_entries++] = (amqp_table_entry_t){
		    .key = amqp_cstring_bytes("x-queue-type"),
		    .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("quorum")}};
	if (length_max > 0)
		entries[table.num_entries++] = (amqp_table_entry_t){
		    .key = amqp_cstring_bytes("x-max-length"),
		    .value = {.kind = AMQP_FIELD_KIND_I32, .value.i32 = (int32_t)length_max}};
	(void)amqp_queue_declare(admin->conn, CHANNEL, amqp_cstring_bytes(queue), 0, kind != QUEUE_TRANSIENT,
				 0, 0, table);
	rabbit_must_reply(admin->conn, "queue.declare");
}

void direct_admin_purge(struct direct_admin *admin, const char *queue)
{
	(void)amqp_queue_purge(admin->conn, CHANNEL, amqp_cstring_bytes(queue));
	rabbit_must_reply(admin->conn, "queue.purge");
}

void direct_admin_delete(struct direct_admin *admin, const char *queue)
{
	(void)amqp_queue_delete(admin->conn, CHANNEL, amqp_cstring_bytes(queue), 0, 0);
	rabbit_must_reply(admin->conn, "queue.delete");
}
