#include "tests/unit/loop-fake.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

uint64_t fake_now_usec(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

struct muxc *fake_new(void)
{
	struct muxc *c = calloc(1, sizeof(*c));

	assert(c);
	c->loop = true;
	c->fd = -ENOTCONN;
	c->until_usec = UINT64_MAX;
	fake_connect(c);
	return c;
}

void fake_connect(struct muxc *c)
{
	int fds[2], before = c->fd;

	if (before >= 0)
		(void)close(c->peer);
	assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	c->fd = fds[0];
	c->peer = fds[1];
	if (before >= 0) {
		/* the number of the one before, as when it is closed first */
		assert(dup2(fds[0], before) == before);
		(void)close(fds[0]);
		c->fd = before;
	}
}

void fake_lose(struct muxc *c)
{
	(void)close(c->fd);
	(void)close(c->peer);
	c->fd = -ENOTCONN;
}

void fake_send(struct muxc *c)
{
	assert(send(c->peer, "x", 1, MSG_NOSIGNAL) == 1);
}

int fake_received(struct muxc *c)
{
	char bytes[64];
	ssize_t n = recv(c->peer, bytes, sizeof(bytes), MSG_DONTWAIT);

	return n < 0 ? 0 : (int)n;
}

/* ---------------------------------------------------------- in place of libmuxclient */

int muxc_get_fd(struct muxc *c)
{
	return c->loop ? c->fd : -EOPNOTSUPP;
}

int muxc_get_events(struct muxc *c)
{
	return c->loop ? POLLIN | (c->queued ? POLLOUT : 0) : -EOPNOTSUPP;
}

int muxc_get_timeout(struct muxc *c, uint64_t *ret_usec)
{
	if (!c->loop)
		return -EOPNOTSUPP;
	*ret_usec = c->until_usec;
	return 0;
}

int muxc_flush(struct muxc *c)
{
	for (; c->queued > 0 && c->fd >= 0 && !c->blocked; c->queued--) {
		if (send(c->fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
			break;
	}
	return c->queued > 0;
}

int muxc_process(struct muxc *c)
{
	int called = 0;
	char byte;

	c->processed++;
	c->blocked = false;
	if (c->on_process)
		c->on_process(c, c->userdata);
	(void)muxc_flush(c);
	while (c->fd >= 0 && recv(c->fd, &byte, 1, MSG_DONTWAIT) == 1) {
		called++;
		c->handled++;
		if (!c->on_byte)
			continue;
		/* the handler may free it */
		c->on_byte(c, c->userdata);
		return called;
	}
	return called ? called : c->ended;
}

struct muxc *muxc_free(struct muxc *c)
{
	if (!c)
		return NULL;
	if (c->fd >= 0)
		fake_lose(c);
	free(c);
	return NULL;
}
