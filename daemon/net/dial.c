#include "daemon/net/dial.h"

#include "daemon/net/loop-net.h"

#include <event2/event.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Heartbeats find a silent peer; these find a dead connection that heartbeats
 * are not negotiated for, and unacknowledged data (about the time a broker
 * needs to miss two heartbeats of 20 s).
 */
#define KEEPALIVE_IDLE_SEC 60
#define KEEPALIVE_INTERVAL_SEC 15
#define KEEPALIVE_COUNT 4
#define USER_TIMEOUT_MSEC 45000
/* Few unsent bytes in the kernel, so that what matters overtakes what is bulk. */
#define UNSENT_BYTES_LOW (16 * 1024)

#define REASON_BYTES_MAX 256u
#define PLACE_BYTES_MAX (INET6_ADDRSTRLEN + 16u)
#define SHARE_USEC_MIN (100 * USEC_PER_MSEC)

struct dial {
	struct dial_options options;
	char *host;		    /* owned */
	struct resolve *resolve;    /* while the name is looked up */
	struct addrinfo *addresses; /* owned */
	size_t address_count;
	size_t tried; /* addresses that were tried, the current one included */
	struct mono deadline;
	int fd; /* connecting; -1: none */
	struct event *event;
	struct timer timer;    /* the current address's share */
	struct loop_task task; /* begins, or goes on, outside of anybody's stack */
	char place[PLACE_BYTES_MAX];
	char reason[REASON_BYTES_MAX]; /* of the last failure */
	struct doomed doomed;
};

/* ------------------------------------------------------------------ the end */

static void free_dial(struct doomed *doomed)
{
	struct dial *dial = container_of(doomed, struct dial, doomed);

	if (dial->addresses)
		freeaddrinfo(dial->addresses);
	free(dial->host);
	free(dial);
}

static void drop_attempt(struct dial *dial)
{
	loop_clear_timer(dial->options.loop, &dial->timer);
	if (dial->event)
		event_free(dial->event);
	dial->event = NULL;
	if (dial->fd >= 0)
		(void)close(dial->fd);
	dial->fd = -1;
}

struct dial *dial_cancel(struct dial *dial)
{
	if (!dial)
		return NULL;
	drop_attempt(dial);
	if (dial->resolve)
		resolve_cancel(dial->resolve);
	dial->resolve = NULL;
	loop_task_cancel(&dial->task);
	loop_doom(dial->options.loop, &dial->doomed, free_dial);
	return NULL;
}

static void fail(struct dial *dial)
{
	struct dial_options options = dial->options;

	(void)dial_cancel(dial); /* its memory, and so the reason, lives to the end of the turn */
	options.on_failed(options.context, dial->reason);
}

static void succeed(struct dial *dial)
{
	struct dial_options options = dial->options;
	int fd = dial->fd;
	size_t number = (options.first + dial->tried - 1) % dial->address_count;

	dial->fd = -1;
	(void)dial_cancel(dial);
	options.on_connected(options.context, fd, number);
}

/* ------------------------------------------------------------------ one address */

static void format_place(struct dial *dial, const struct addrinfo *address)
{
	char host[INET6_ADDRSTRLEN] = "?";
	const struct sockaddr_in *v4 = (const void *)address->ai_addr;
	const struct sockaddr_in6 *v6 = (const void *)address->ai_addr;

	if (address->ai_family == AF_INET6) {
		(void)inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		(void)snprintf(dial->place, sizeof(dial->place), "[%s]:%u", host, ntohs(v6->sin6_port));
	} else {
		(void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		(void)snprintf(dial->place, sizeof(dial->place), "%s:%u", host, ntohs(v4->sin_port));
	}
}

static void attempt_failed(struct dial *dial, int error)
{
	(void)snprintf(dial->reason, sizeof(dial->reason), "connect to %s: %s", dial->place, strerror(error));
	drop_attempt(dial);
	loop_defer(dial->options.loop, &dial->task);
}

static void set_option(int fd, int level, int name, int value)
{
	/* Each is an improvement only: a kernel without it is still good enough. */
	(void)setsockopt(fd, level, name, &value, sizeof(value));
}

static void tune_socket(int fd)
{
	set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_SEC);
	set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SEC);
	set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
	set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MSEC);
	set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES_LOW);
}

/* A port without a listener can connect to itself: source and destination the same. */
static bool is_connected_to_itself(int fd)
{
	struct sockaddr_storage local = {0};
	struct sockaddr_storage remote = {0};
	socklen_t local_len = sizeof(local);
	socklen_t remote_len = sizeof(remote);

	return getsockname(fd, (struct sockaddr *)&local, &local_len) == 0 &&
	       getpeername(fd, (struct sockaddr *)&remote, &remote_len) == 0 && local_len == remote_len &&
	       memcmp(&local, &remote, local_len) == 0;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct dial *dial = arg;
	int error = 0;
	socklen_t len = sizeof(error);

	loop_enter(dial->options.loop);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error == 0 && is_connected_to_itself(fd))
		error = ECONNREFUSED;
	if (error)
		attempt_failed(dial, error);
	else
		succeed(dial);
}

static void on_share_over(struct timer *timer, struct mono now)
{
	attempt_failed(container_of(timer, struct dial, timer), ETIMEDOUT);
}

/* This address's part of the time that is left. */
static struct mono share_end(const struct dial *dial)
{
	struct mono now = loop_now(dial->options.loop);
	uint64_t left = mono_since_usec(dial->deadline, now);
	size_t count = dial->address_count - dial->tried + 1;

	return mono_add_usec(now, left / count > SHARE_USEC_MIN ? left / count : SHARE_USEC_MIN);
}

/* 0, or the positive errno of why this address does not work. */
static int begin_attempt(struct dial *dial, const struct addrinfo *address)
{
	dial->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (dial->fd < 0)
		return errno;
	tune_socket(dial->fd);
	if (connect(dial->fd, address->ai_addr, address->ai_addrlen) < 0 && errno != EINPROGRESS)
		return errno;
	dial->event = event_new(loop_base(dial->options.loop), dial->fd, EV_WRITE, on_writable, dial);
	if (!dial->event || event_add(dial->event, NULL) != 0)
		return ENOMEM;
	loop_set_timer(dial->options.loop, &dial->timer, share_end(dial));
	return 0;
}

/* Takes over what the name, or the number, stands for. */
static void take_addresses(struct dial *dial, struct addrinfo *addresses)
{
	dial->addresses = addresses;
	for (const struct addrinfo *a = addresses; a; a = a->ai_next)
		dial->address_count++;
}

static void try_next(struct dial *dial)
{
	const struct addrinfo *address = dial->addresses;
	size_t number;
	int error;

	if (dial->tried == dial->address_count ||
	    !mono_before(loop_now(dial->options.loop), dial->deadline)) {
		fail(dial);
		return;
	}
	number = (dial->options.first + dial->tried) % dial->address_count;
	dial->tried++;
	while (number-- > 0)
		address = address->ai_next;
	format_place(dial, address);
	error = begin_attempt(dial, address);
	if (error)
		attempt_failed(dial, error);
}

/* ------------------------------------------------------------------ the name */

static void on_resolved(void *context, int error, struct addrinfo *addresses)
{
	struct dial *dial = context;

	dial->resolve = NULL;
	if (error) {
		(void)snprintf(dial->reason, sizeof(dial->reason), "cannot resolve '%s': %s", dial->host,
			       error == EAI_SYSTEM ? "system error" : gai_strerror(error));
		fail(dial);
		return;
	}
	take_addresses(dial, addresses);
	try_next(dial);
}

/* True if the host is an address, for which nobody need be asked. */
static bool take_numeric(struct dial *dial)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
	struct addrinfo *addresses;

	if (getaddrinfo(dial->host, dial->options.port, &hints, &addresses) != 0)
		return false;
	take_addresses(dial, addresses);
	return true;
}

static void begin(struct dial *dial)
{
	int r;

	if (take_numeric(dial)) {
		try_next(dial);
		return;
	}
	r = resolve_start(dial->options.resolver, dial->host, dial->options.port, on_resolved, dial,
			  &dial->resolve);
	if (r < 0) {
		(void)snprintf(dial->reason, sizeof(dial->reason), "cannot resolve '%s': %s", dial->host,
			       strerror(-r));
		fail(dial);
	}
}

static void on_task(struct loop_task *task)
{
	struct dial *dial = container_of(task, struct dial, task);

	if (dial->addresses)
		try_next(dial);
	else
		begin(dial);
}

int dial_start(const struct dial_options *options, struct dial **ret)
{
	struct dial *dial = calloc(1, sizeof(*dial));
	size_t host_size = strlen(options->host) + 1;
	size_t port_size = strlen(options->port) + 1;

	if (!dial)
		return -ENOMEM;
	dial->options = *options;
	dial->host = malloc(host_size + port_size);
	if (!dial->host) {
		free(dial);
		return -ENOMEM;
	}
	memcpy(dial->host, options->host, host_size);
	dial->options.host = dial->host;
	dial->options.port = memcpy(dial->host + host_size, options->port, port_size);
	dial->deadline = mono_add_usec(loop_now(options->loop), options->timeout_usec);
	dial->fd = -1;
	(void)snprintf(dial->reason, sizeof(dial->reason), "connect to %s: no time left", dial->host);
	timer_init(&dial->timer, on_share_over);
	loop_task_init(&dial->task, on_task);
	loop_defer(options->loop, &dial->task);
	*ret = dial;
	return 0;
}
