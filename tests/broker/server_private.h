/*
 * What server.c (sockets) and command.c (admin lines) share.
 */
#pragma once

#include "daemon/base/list.h"
#include "tests/broker/server.h"

struct event;

struct server {
	struct server_options options;
	struct event_base *base;
	struct broker *broker;
	int listen_fd;
	uint16_t port;
	struct event *accepting;
	struct event *resume_accept; /* after running out of descriptors */
	struct event *flush;
	struct event *tick;
	struct list peers; /* struct peer.node */
	struct list dirty; /* struct peer.dirty: has output, or is to be closed */
	bool frozen;
};

struct peer {
	struct list node;
	struct list dirty;
	struct server *server;
	struct broker_conn *conn;
	int fd;
	struct event *reading;
	struct event *writing;
	struct event *later; /* the first of the delayed chunks is due */
	struct list chunks;  /* struct chunk.node, delayed output */
	bool writable_awaited;
	bool read_paused;
};

struct mono server_now(void);
void server_set_frozen(struct server *server, bool frozen);
void server_close_all(struct server *server, bool reset);
void server_send_garbage(struct server *server);
/* Has the flush run at the end of this loop turn. */
void server_wake_flush(struct server *server);
