#include "config.h"

#include "tests/broker/server_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES (256u * 1024)
#define ACCEPT_PAUSE_USEC 100000

/* Output that waits for its time. */
struct chunk {
	struct list node;
	struct mono due;
	struct buf bytes;
};

struct mono server_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (struct mono){(uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000};
}

static struct timeval until(struct mono when)
{
	uint64_t usec = mono_since_usec(when, server_now());

	return (struct timeval){(time_t)(usec / USEC_PER_SEC), (suseconds_t)(usec % USEC_PER_SEC)};
}

static void add_event(struct event *event, const struct timeval *timeout)
{
	if (event_add(event, timeout) < 0)
		abort();
}

void server_wake_flush(struct server *server)
{
	event_active(server->flush, 0, 0);
}

static void peer_mark(struct peer *peer)
{
	if (list_empty(&peer->dirty))
		list_append(&peer->server->dirty, &peer->dirty);
	server_wake_flush(peer->server);
}

static void on_wake(struct broker_conn *conn, void *context)
{
	struct peer *peer = broker_conn_user(conn);

	(void)context;
	if (list_empty(&peer->dirty))
		peer_mark(peer);
}

static void chunk_free(struct chunk *chunk)
{
	list_unlink(&chunk->node);
	buf_deinit(&chunk->bytes);
	free(chunk);
}

static void peer_close(struct peer *peer, bool reset)
{
	struct server *server = peer->server;
	struct linger linger = {1, 0};
	struct chunk *chunk;

	if (server->options.log_connections)
		fprintf(stderr, "connection %llu closed: %s\n",
			(unsigned long long)broker_conn_id(peer->conn),
			*broker_conn_reason(peer->conn) ? broker_conn_reason(peer->conn) : "socket closed");
	if (reset && setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) < 0)
		perror("testbroker: SO_LINGER");
	list_unlink(&peer->dirty);
	list_unlink(&peer->node);
	event_free(peer->reading);
	event_free(peer->writing);
	event_free(peer->later);
	while ((chunk = list_first(&peer->chunks, struct chunk, node)))
		chunk_free(chunk);
	close(peer->fd);
	broker_conn_free(peer->conn, server_now());
	free(peer);
}

void server_close_all(struct server *server, bool reset)
{
	struct peer *peer, *next;

	list_foreach_safe (peer, next, &server->peers, node)
		peer_close(peer, reset);
}

/* ---- writing ---- */

/* What the kernel took of it; -1 when the socket is broken. */
static ssize_t peer_send(struct peer *peer, struct span bytes)
{
	ssize_t sent = send(peer->fd, bytes.data, bytes.len, MSG_NOSIGNAL);

	if (sent < 0 && (errno == EAGAIN || errno == EINTR))
		sent = 0;
	if (sent >= 0 && (size_t)sent < bytes.len && !peer->writable_awaited) {
		add_event(peer->writing, NULL);
		peer->writable_awaited = true;
	}
	return sent;
}

static void peer_delay(struct peer *peer)
{
	struct span output = broker_conn_output(peer->conn);
	struct mono now = server_now();
	struct chunk *chunk = calloc(1, sizeof(*chunk));

	if (!chunk)
		abort();
	chunk->due = mono_add_usec(now, peer->server->options.delay_msec * USEC_PER_MSEC);
	buf_append_span(&chunk->bytes, output);
	list_append(&peer->chunks, &chunk->node);
	broker_conn_sent(peer->conn, output.len, now);
}

/* Sends delayed output that is due. False: the socket is broken. */
static bool peer_send_chunks(struct peer *peer)
{
	struct chunk *chunk;

	while ((chunk = list_first(&peer->chunks, struct chunk, node)) && !peer->writable_awaited) {
		struct timeval timeout = until(chunk->due);
		ssize_t sent;

		if (mono_before(server_now(), chunk->due)) {
			add_event(peer->later, &timeout);
			return true;
		}
		sent = peer_send(peer, buf_span(&chunk->bytes));
		if (sent < 0)
			return false;
		buf_consume(&chunk->bytes, (size_t)sent);
		if (buf_len(&chunk->bytes) == 0)
			chunk_free(chunk);
	}
	return true;
}

static void peer_update_reading(struct peer *peer)
{
	bool pause = peer->server->frozen || !broker_conn_wants_input(peer->conn);

	if (pause == peer->read_paused)
		return;
	peer->read_paused = pause;
	if (pause)
		event_del(peer->reading);
	else
		add_event(peer->reading, NULL);
}

/* May close the peer. */
static void peer_flush(struct peer *peer)
{
	struct span output = broker_conn_output(peer->conn);
	ssize_t sent = 0;

	peer_update_reading(peer);
	if (peer->server->frozen)
		return;
	if (output.len > 0 && (peer->server->options.delay_msec > 0 || !list_empty(&peer->chunks)))
		peer_delay(peer);
	else if (output.len > 0 && !peer->writable_awaited)
		sent = peer_send(peer, output);
	if (sent > 0)
		broker_conn_sent(peer->conn, (size_t)sent, server_now());
	if (sent < 0 || !peer_send_chunks(peer)) {
		peer_close(peer, false);
		return;
	}
	if (broker_conn_closed(peer->conn) && broker_conn_output(peer->conn).len == 0 &&
	    list_empty(&peer->chunks))
		peer_close(peer, false);
}

static void server_set_tick(struct server *server)
{
	struct mono when = broker_deadline(server->broker);
	struct timeval timeout;

	if (mono_is_never(when) || server->frozen) {
		event_del(server->tick);
		return;
	}
	timeout = until(when);
	add_event(server->tick, &timeout);
}

/* At the end of a turn: each peer is written once; what that brings about comes in the next turn. */
static void on_flush(evutil_socket_t fd, short events, void *context)
{
	struct server *server = context;
	struct list todo;
	struct peer *peer;

	(void)fd;
	(void)events;
	list_init(&todo);
	list_splice(&todo, &server->dirty);
	while ((peer = list_first(&todo, struct peer, dirty))) {
		list_unlink(&peer->dirty);
		peer_flush(peer);
	}
	server_set_tick(server);
}

static void on_writable(evutil_socket_t fd, short events, void *context)
{
	struct peer *peer = context;

	(void)fd;
	(void)events;
	peer->writable_awaited = false;
	peer_mark(peer);
}

static void on_later(evutil_socket_t fd, short events, void *context)
{
	(void)fd;
	(void)events;
	peer_mark(context);
}

static void on_tick(evutil_socket_t fd, short events, void *context)
{
	struct server *server = context;

	(void)fd;
	(void)events;
	broker_tick(server->broker, server_now());
	server_wake_flush(server);
}

/* ---- reading ---- */

static void on_readable(evutil_socket_t fd, short events, void *context)
{
	struct peer *peer = context;
	static _Thread_local uint8_t bytes[READ_BYTES];
	ssize_t got = recv(peer->fd, bytes, sizeof(bytes), 0);

	(void)fd;
	(void)events;
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		peer_close(peer, false);
		return;
	}
	broker_conn_feed(peer->conn, span_make(bytes, (size_t)got), server_now());
	peer_mark(peer);
}

static void peer_new(struct server *server, int fd)
{
	struct peer *peer = calloc(1, sizeof(*peer));
	int on = 1;

	if (!peer)
		abort();
	peer->server = server;
	peer->fd = fd;
	list_init(&peer->dirty);
	list_init(&peer->chunks);
	list_append(&server->peers, &peer->node);
	peer->conn = broker_conn_new(server->broker, peer, server_now());
	peer->reading = event_new(server->base, fd, EV_READ | EV_PERSIST, on_readable, peer);
	peer->writing = event_new(server->base, fd, EV_WRITE, on_writable, peer);
	peer->later = event_new(server->base, -1, 0, on_later, peer);
	if (!peer->reading || !peer->writing || !peer->later)
		abort();
	peer->read_paused = true;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		perror("testbroker: TCP_NODELAY");
	if (server->options.log_connections)
		fprintf(stderr, "connection %llu accepted\n", (unsigned long long)broker_conn_id(peer->conn));
	/* Its flush begins to read, and arms the timer. */
	peer_mark(peer);
}

static void on_acceptable(evutil_socket_t listen_fd, short events, void *context)
{
	static const struct timeval pause = {0, ACCEPT_PAUSE_USEC};
	struct server *server = context;
	int fd = accept4((int)listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd >= 0) {
		peer_new(server, fd);
		return;
	}
	if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return;
	perror("testbroker: accept");
	event_del(server->accepting);
	add_event(server->resume_accept, &pause);
}

static void on_resume_accept(evutil_socket_t fd, short events, void *context)
{
	struct server *server = context;

	(void)fd;
	(void)events;
	if (!server->frozen)
		add_event(server->accepting, NULL);
}

/* ---- misbehaving ---- */

void server_set_frozen(struct server *server, bool frozen)
{
	struct peer *peer;

	server->frozen = frozen;
	if (frozen)
		event_del(server->accepting);
	else
		add_event(server->accepting, NULL);
	list_foreach (peer, &server->peers, node)
		peer_mark(peer);
}

void server_send_garbage(struct server *server)
{
	static const uint8_t junk[] = "\x7f\xff\xff\xff\xff\xff\xff\xff garbage \x00\x01\x02\x03";
	struct peer *peer;

	list_foreach (peer, &server->peers, node)
		if (send(peer->fd, junk, sizeof(junk), MSG_NOSIGNAL) < 0)
			perror("testbroker: send");
}

/* ---- beginning and end ---- */

static int server_listen(struct server *server)
{
	const char *address = server->options.address ? server->options.address : "127.0.0.1";
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(server->options.port)};
	socklen_t in_len = sizeof(in);
	int on = 1;

	if (inet_pton(AF_INET, address, &in.sin_addr) != 1)
		return -EINVAL;
	server->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (server->listen_fd < 0 ||
	    setsockopt(server->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(server->listen_fd, (struct sockaddr *)&in, sizeof(in)) < 0 ||
	    listen(server->listen_fd, 1024) < 0 ||
	    getsockname(server->listen_fd, (struct sockaddr *)&in, &in_len) < 0)
		return -errno;
	server->port = ntohs(in.sin_port);
	return 0;
}

int server_new(struct event_base *base, const struct server_options *options, struct server **ret)
{
	struct server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return -ENOMEM;
	server->options = *options;
	server->options.broker.wake = on_wake;
	server->base = base;
	server->listen_fd = -1;
	list_init(&server->peers);
	list_init(&server->dirty);
	r = server_listen(server);
	if (r < 0) {
		server_free(server);
		return r;
	}
	server->broker = broker_new(&server->options.broker);
	server->accepting = event_new(base, server->listen_fd, EV_READ | EV_PERSIST, on_acceptable, server);
	server->resume_accept = event_new(base, -1, 0, on_resume_accept, server);
	server->flush = event_new(base, -1, 0, on_flush, server);
	server->tick = event_new(base, -1, 0, on_tick, server);
	if (!server->accepting || !server->resume_accept || !server->flush || !server->tick)
		abort();
	add_event(server->accepting, NULL);
	*ret = server;
	return 0;
}

static void free_event(struct event *event)
{
	if (event)
		event_free(event);
}

struct server *server_free(struct server *server)
{
	if (!server)
		return NULL;
	server_close_all(server, false);
	broker_free(server->broker);
	free_event(server->accepting);
	free_event(server->resume_accept);
	free_event(server->flush);
	free_event(server->tick);
	if (server->listen_fd >= 0)
		close(server->listen_fd);
	free(server);
	return NULL;
}

uint16_t server_port(const struct server *server)
{
	return server->port;
}
