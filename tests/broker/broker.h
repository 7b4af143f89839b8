/*
 * A small AMQP 0-9-1 broker in memory, for tests, benches and trying out. It
 * answers as RabbitMQ 3.10.8 does, its error texts included.
 *
 * The engine is pure: no descriptor, no clock, no random source of its own.
 * A connection is fed the bytes of its client and the time; what it has to
 * say waits in its output until the owner has sent it. The same seed, input
 * and times give the same output, byte for byte.
 *
 * The owner (tests/broker/server.c, or a simulator) makes a connection,
 * feeds it, sends its output, and frees it once broker_conn_closed() says so
 * and the output is gone. The engine frees no connection by itself.
 *
 * What one connection does may append output to others, or close them: then
 * options.wake is called. It must not call the engine back.
 *
 * Running out of memory ends the process: this is a tool for tests.
 *
 * Threads: none.
 */
#pragma once

#include "daemon/base/clock.h"
#include "proto/buf.h"

struct broker;
struct broker_conn;

#define BROKER_PRODUCT "testbroker"
#define BROKER_VERSION "0.1"

struct broker_options {
	uint16_t channel_max;	   /* offered in tune; 0 means no limit */
	uint32_t frame_max;	   /* bytes, the same */
	uint32_t user_channels;	   /* of all connections together; 0 means no limit */
	uint16_t heartbeat_sec;	   /* the same; a client may choose another */
	uint64_t seed;		   /* of generated names */
	bool manual_confirms;	   /* confirms wait for broker_release_confirms() */
	unsigned int deliveries;   /* that a queue makes before another has its turn; 0: all it can */
	const char *user;	   /* NULL: guest; copied */
	const char *password;	   /* NULL: guest; copied */
	const char *const *vhosts; /* beside "/", "one" and "two"; copied */
	size_t vhost_count;
	/* A connection has output or was closed, by other means than its own feed. May be NULL. */
	void (*wake)(struct broker_conn *conn, void *wake_context);
	void *wake_context;
};

/* 2047 channels, frames of 128 KiB, a heartbeat each minute, as RabbitMQ offers. */
#define BROKER_OPTIONS_INIT \
	((struct broker_options){.channel_max = 2047, .frame_max = 131072, .heartbeat_sec = 60})

struct broker *broker_new(const struct broker_options *options);

/* Frees the broker and every connection that is left. NULL is fine. */
struct broker *broker_free(struct broker *broker);

/* Heartbeats, silent peers, queues that expire. To be called at broker_deadline(), or at any time. */
void broker_tick(struct broker *broker, struct mono now);

/* When broker_tick() has something to do; MONO_NEVER: nothing is planned. */
struct mono broker_deadline(const struct broker *broker);

/* A client has connected. user is the owner's; the connection belongs to the broker until it is freed. */
struct broker_conn *broker_conn_new(struct broker *broker, void *user, struct mono now);

/* The client's socket is gone: its channels end, its messages go back. Its object goes too. NULL is fine. */
struct broker_conn *broker_conn_free(struct broker_conn *conn, struct mono now);

/* The same, but the object stays, closed and without output, until broker_conn_free(). */
void broker_conn_kill(struct broker_conn *conn, struct mono now);

void *broker_conn_user(const struct broker_conn *conn);

/* Counts connections from 1. */
uint64_t broker_conn_id(const struct broker_conn *conn);

/*
 * Handles the client's bytes. What does not make a frame yet, or comes while
 * the connection is not to be read (broker_conn_wants_input), is kept for
 * later. After the end of the connection input is ignored.
 */
void broker_conn_feed(struct broker_conn *conn, struct span bytes, struct mono now);

/* What is to be sent; valid until the next call to the engine. */
struct span broker_conn_output(const struct broker_conn *conn);

/* The first count bytes of the output were sent. May make more: deliveries wait for room. */
void broker_conn_sent(struct broker_conn *conn, size_t count, struct mono now);

/* False while the broker would not read this socket: it published under an alarm. */
bool broker_conn_wants_input(const struct broker_conn *conn);

/* True: send what output there is, then close the socket and free the connection. */
bool broker_conn_closed(const struct broker_conn *conn);

/* Why it was closed, for a log: "client closed", the text of an error; "" while it is open. */
const char *broker_conn_reason(const struct broker_conn *conn);

/* True once connection.open was answered. */
bool broker_conn_running(const struct broker_conn *conn);

/*
 * Stops and starts: every connection is gone, without a word, and so is what
 * does not survive: queues and exchanges that are not durable, exclusive or
 * auto-delete queues, messages that are not persistent.
 */
void broker_restart(struct broker *broker, struct mono now);

/* connection.close to every connection that is open. */
void broker_close_all(struct broker *broker, uint16_t code, const char *text, struct mono now);

/*
 * An alarm: a connection is blocked, and told so, at its first publish from
 * now on, and is not read until broker_unblock().
 */
void broker_block(struct broker *broker, const char *reason, struct mono now);
void broker_unblock(struct broker *broker, struct mono now);

/*
 * With manual_confirms: how many wait, the oldest first, over all channels;
 * the first count of them go out (or as basic.nack), one frame for a row of
 * the same channel; or one of them, by its place in the row, out of order.
 */
size_t broker_held_confirms(const struct broker *broker);
void broker_release_confirms(struct broker *broker, size_t count, struct mono now);
void broker_refuse_confirms(struct broker *broker, size_t count, struct mono now);
void broker_release_one_confirm(struct broker *broker, size_t place, bool nack, struct mono now);

/* Switches between confirms at once and by hand; those that are held stay held. */
void broker_set_manual_confirms(struct broker *broker, bool manual);

/* The connections that passed the handshake and are open, and their channels. */
size_t broker_connection_count(const struct broker *broker);
size_t broker_channel_count(const struct broker *broker);

/* Messages that wait in a queue, and those handed out and not settled. False: no such queue. */
bool broker_queue_counts(struct broker *broker, const char *vhost, struct span queue, size_t *ret_ready,
			 size_t *ret_unacked);

/* Deletes it as an operator would: consumers are cancelled. False: there is none. */
bool broker_delete_queue(struct broker *broker, const char *vhost, struct span queue, struct mono now);
bool broker_delete_exchange(struct broker *broker, const char *vhost, struct span exchange, struct mono now);

/*
 * Closes a channel because a message was not acknowledged in time (RabbitMQ's
 * consumer_timeout). False: it has none.
 */
bool broker_time_out_delivery(struct broker_conn *conn, uint16_t number, struct mono now);

/* What there is. */
bool broker_has_exchange(struct broker *broker, const char *vhost, struct span exchange);
bool broker_has_binding(struct broker *broker, const char *vhost, struct span exchange, struct span queue,
			struct span key);
size_t broker_queue_consumers(struct broker *broker, const char *vhost, struct span queue);
