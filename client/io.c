/*
 * Reading, and loop mode. The I/O thread sleeps in poll() until the socket has
 * input, has room for what is left to be sent, someone writes to wake_fd, or
 * the tick for output that was put off, or it is time to look after channels
 * that are ready (threads.c). It runs no code of the program but the executor's
 * execute, which does not wait: so whatever a handler does, answers are read
 * and waiters woken. It runs until the connection is freed.
 *
 * One read per wake; a frame larger than the buffer makes it grow to just the
 * frame.
 */
#include "config.h" /* before any system header: ppoll() needs its _GNU_SOURCE */

#include "client/io.h"
#include "client/conn.h"
#include "client/dispatch.h"
#include "client/error.h"
#include "client/link.h"
#include "client/out.h"
#include "client/receive.h"
#include "client/threads.h"

#include "proto/buf.h"
#include "proto/frame.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES (64u * 1024u)
#define DIRECT_BUDGET 2u

void io_wake(struct muxc *c)
{
	static const uint64_t one = 1;
	ssize_t n;

	if (c->wake_fd < 0 || c->wake_pending)
		return;
	c->wake_pending = true;
	n = write(c->wake_fd, &one, sizeof(one));
	(void)n; /* it fails only when it is readable anyway */
}

/* Room for one read, and for all of a frame that has begun. */
static size_t read_room(struct muxc *c)
{
	struct ipc_frame frame;
	size_t needed = 0, len = buf_len(&c->in), room = READ_BYTES;

	if (len > 0 &&
	    ipc_frame_parse(buf_span(&c->in), IPC_PAYLOAD_MAX, &frame, &needed) == IPC_FRAME_INCOMPLETE &&
	    needed > len + room)
		room = needed - len;
	return room;
}

static void lost(struct muxc *c, int err)
{
	struct muxc_error error = MUXC_ERROR_INIT;

	if (err)
		error_set(&error, -ECONNRESET, "the connection to muxd was lost: %s", strerror(err));
	else
		error_set(&error, -ECONNRESET, "muxd has closed the connection; connect again");
	link_lost(c, &error);
}

int io_read(struct muxc *c)
{
	uint8_t *room;
	size_t size;
	ssize_t n;
	int fd;

	(void)pthread_mutex_lock(&c->lock);
	size = read_room(c);
	room = buf_reserve(&c->in, size);
	if (!room)
		conn_fail(c, -ENOMEM, "no memory to read from muxd");
	fd = c->fd;
	if (c->state == CONN_ENDED || fd < 0) {
		(void)pthread_mutex_unlock(&c->lock);
		return 0;
	}
	(void)pthread_mutex_unlock(&c->lock);
	do {
		n = recv(fd, room, size, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	(void)pthread_mutex_lock(&c->lock);
	c->direct_budget = DIRECT_BUDGET;
	if (n > 0) {
		buf_commit(&c->in, (size_t)n);
		receive_input(c);
	}
	if (n <= 0 || c->link.failed)
		lost(c, n < 0 ? errno : 0);
	(void)pthread_mutex_unlock(&c->lock);
	return 1;
}

/* How long to sleep; NULL: until something happens. */
static struct timespec *io_timeout(const struct muxc *c, struct timespec *ts)
{
	uint64_t until = link_timeout(c), now;

	if (c->tick_armed && c->tick_usec < until)
		until = c->tick_usec;
	if (c->look_usec && c->look_usec < until)
		until = c->look_usec;
	if (until == UINT64_MAX)
		return NULL;
	now = now_usec();
	until = until > now ? until - now : 0;
	ts->tv_sec = (time_t)(until / USEC_PER_SEC);
	ts->tv_nsec = (long)(until % USEC_PER_SEC) * 1000;
	return ts;
}

/* What the poll has told; with the lock, given up while reading. */
static void io_turn(struct muxc *c, short socket_events, short wake_events)
{
	uint64_t count;
	ssize_t n;

	if (wake_events) {
		n = read(c->wake_fd, &count, sizeof(count));
		(void)n;
		c->wake_pending = false;
	}
	if (socket_events & POLLOUT)
		c->out_blocked = false;
	if (socket_events & ~POLLOUT) {
		(void)pthread_mutex_unlock(&c->lock);
		(void)io_read(c);
		(void)pthread_mutex_lock(&c->lock);
	}
	if (c->tick_armed && now_usec() >= c->tick_usec)
		c->tick_armed = false;
	if (!c->out_blocked)
		out_flush(c);
	link_turn(c);
}

void *io_thread_main(void *arg)
{
	struct muxc *c = arg;
	struct pollfd fds[2];
	struct timespec ts, *timeout;

	(void)pthread_mutex_lock(&c->lock);
	while (!c->stopping) {
		threads_look(c);
		fds[0] = (struct pollfd){.fd = c->state == CONN_ENDED ? -1 : c->fd,
					 .events = (short)(POLLIN | (c->out_blocked ? POLLOUT : 0))};
		fds[1] = (struct pollfd){.fd = c->wake_fd, .events = POLLIN};
		timeout = io_timeout(c, &ts);
		(void)pthread_mutex_unlock(&c->lock);
		if (ppoll(fds, 2, timeout, NULL) < 0)
			fds[0].revents = fds[1].revents = 0;
		(void)pthread_mutex_lock(&c->lock);
		io_turn(c, fds[0].revents, fds[1].revents);
	}
	threads_leave(c);
	return NULL;
}

/* ---------------------------------------------------------------- loop mode */

/* Locks a connection in loop mode. */
static int loop_lock(struct muxc *c)
{
	int r;

	r = conn_lock(c, NULL);
	if (r == 0 && !c->loop) {
		conn_leave(c);
		return -EOPNOTSUPP;
	}
	return r;
}

int muxc_get_fd(struct muxc *c)
{
	int r;

	r = loop_lock(c);
	if (r < 0)
		return r;
	r = c->state == CONN_AWAY ? -ENOTCONN : c->fd;
	c->fd_told = r < 0 ? -1 : r;
	conn_leave(c);
	return r;
}

int muxc_get_events(struct muxc *c)
{
	int r;

	r = loop_lock(c);
	if (r < 0)
		return r;
	r = c->state == CONN_ENDED || c->state == CONN_AWAY
		? 0
		: POLLIN | (buf_len(&c->out) > 0 || c->dirty ? POLLOUT : 0);
	conn_leave(c);
	return r;
}

static uint64_t loop_timeout(const struct muxc *c)
{
	if (c->ready_first || c->state == CONN_ENDED)
		return 0;
	return link_timeout(c);
}

int muxc_get_timeout(struct muxc *c, uint64_t *ret_usec)
{
	int r;

	if (!ret_usec)
		return -EINVAL;
	r = loop_lock(c);
	if (r < 0)
		return r;
	*ret_usec = loop_timeout(c);
	conn_leave(c);
	return 0;
}

int muxc_process(struct muxc *c)
{
	int r;

	r = loop_lock(c);
	if (r < 0)
		return r;
	if (c->in_handler) {
		conn_leave(c);
		return -EBUSY;
	}
	link_close_left(c, false);
	out_flush(c);
	(void)pthread_mutex_unlock(&c->lock);
	(void)io_read(c);
	(void)pthread_mutex_lock(&c->lock);
	link_turn(c);
	r = dispatch_run(c, DISPATCH_BUDGET);
	if (r < 0) {
		/* A handler has forked, and this is the child. */
		if (r == -ECHILD)
			conn_leave(c);
		return -ECHILD;
	}
	if (!c->freed)
		out_flush(c);
	if (c->link.moving)
		link_turn(c); /* handlers may have been what was waited for */
	if (r == 0 && c->state == CONN_ENDED)
		r = c->error.error;
	conn_leave(c);
	return r;
}

/* Sleeps until there is work, at most until `until`. */
static void loop_poll(struct muxc *c, uint64_t until)
{
	struct pollfd pfd = {.fd = c->fd, .events = (short)(POLLIN | (buf_len(&c->out) > 0 ? POLLOUT : 0))};
	uint64_t now = now_usec(), usec = until > now ? until - now : 0;
	struct timespec ts = {(time_t)(usec / USEC_PER_SEC), (long)(usec % USEC_PER_SEC) * 1000};

	(void)pthread_mutex_unlock(&c->lock);
	(void)ppoll(&pfd, 1, &ts, NULL);
	(void)pthread_mutex_lock(&c->lock);
}

static bool loop_has_input(const struct muxc *c)
{
	struct pollfd pfd = {.fd = c->fd, .events = POLLIN};

	return poll(&pfd, 1, 0) > 0;
}

int muxc_wait(struct muxc *c, uint64_t timeout_usec)
{
	uint64_t deadline = deadline_after(timeout_usec), until;
	int r = 0;

	r = loop_lock(c);
	if (r < 0)
		return r;
	for (;;) {
		out_flush(c);
		until = loop_timeout(c);
		r = until <= now_usec() || loop_has_input(c);
		if (r || now_usec() >= deadline)
			break;
		loop_poll(c, until < deadline ? until : deadline);
	}
	conn_leave(c);
	return r;
}
