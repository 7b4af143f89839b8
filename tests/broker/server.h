/*
 * The broker on real sockets: listens, reads each socket once and writes it
 * once a loop turn, and can be told to misbehave.
 *
 * Owner: main.c. The server owns its broker, its sockets and its timers; the
 * event base is the caller's. Threads: none.
 */
#pragma once

#include "tests/broker/broker.h"

struct event_base;
struct server;

struct server_options {
	struct broker_options broker;
	const char *address; /* to listen on; NULL: 127.0.0.1 */
	uint16_t port;	     /* 0: any that is free */
	unsigned int delay_msec;
	bool log_connections; /* on stderr */
};

/* 0, or a negative errno: the port cannot be had. The options' strings must live as long as the server. */
int server_new(struct event_base *base, const struct server_options *options, struct server **ret)
    __attribute__((warn_unused_result));

/* Closes everything. NULL is fine. */
struct server *server_free(struct server *server);

uint16_t server_port(const struct server *server);

/*
 * Does what a line of the admin protocol says, and writes the answer, one
 * line without its end, into ret: "ok ..." or "error ...". False: "stop" was
 * said.
 *
 *	freeze, thaw          no socket is read or written, heartbeats stop
 *	drop, reset           all sockets are closed, or reset
 *	garbage               bytes that make no frame to everybody
 *	delay MSEC            what is sent from now on is sent so much later
 *	block REASON, unblock an alarm
 *	close CODE TEXT       connection.close to everybody
 *	restart               as if the broker had been restarted
 *	hold, release [N], refuse [N], go   confirms by hand
 *	connections, channels, held, messages QUEUE [VHOST]
 *	stop
 */
bool server_command(struct server *server, const char *line, char *ret, size_t ret_size);
