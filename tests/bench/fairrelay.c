/*
 * fairbench's yardstick: a process that stands where muxd stands and does
 * nothing but copy. What it costs, nothing that stands there can save.
 */
#include "tests/bench/fair.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINKS_MAX 8u
#define COPY_BYTES 65536u

static int tcp_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		bench_die("relay: socket: %s", strerror(errno));
	return fd;
}

int relay_listen(unsigned int *ret_port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = tcp_socket();

	if (bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, LINKS_MAX) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		bench_die("relay: listen: %s", strerror(errno));
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static int dial(const struct relay *spec)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)spec->broker_port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = tcp_socket();

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		bench_die("relay: connect: %s", strerror(errno));
	return fd;
}

static void copy(int from, int to)
{
	static char bytes[COPY_BYTES];
	ssize_t n = read(from, bytes, sizeof(bytes));

	if (n <= 0)
		bench_die("relay: read: %s", n < 0 ? strerror(errno) : "end of file");
	for (ssize_t at = 0, sent; at < n; at += sent) {
		sent = write(to, bytes + at, (size_t)(n - at));
		if (sent < 0)
			bench_die("relay: write: %s", strerror(errno));
	}
}

/* fds[0] listens; the ends of a link are neighbours. */
void relay_run(struct slot *slot, const void *context)
{
	const struct relay *spec = context;
	struct pollfd fds[1 + 2 * LINKS_MAX] = {{.fd = spec->listen_fd, .events = POLLIN}};
	nfds_t count = 1;
	int on = 1;

	atomic_store(&slot->ready, true);
	for (;;) {
		if (poll(fds, count, -1) < 0)
			bench_die("relay: poll: %s", strerror(errno));
		for (nfds_t i = 1; i < count; i++) {
			if (fds[i].revents)
				copy(fds[i].fd, fds[(i - 1) % 2 ? i - 1 : i + 1].fd);
		}
		if (!fds[0].revents || count == sizeof(fds) / sizeof(fds[0]))
			continue;
		fds[count] = (struct pollfd){.fd = accept(spec->listen_fd, NULL, NULL), .events = POLLIN};
		if (setsockopt(fds[count].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
			bench_die("relay: accept: %s", strerror(errno));
		fds[count + 1] = (struct pollfd){.fd = dial(spec), .events = POLLIN};
		count += 2;
	}
}
