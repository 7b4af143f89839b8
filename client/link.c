/*
 * The connection to muxd itself: made, lost, made again, left for another.
 *
 * A lost session leaves the connection AWAY, without a socket. Then whoever
 * reads the socket (the I/O thread, or in loop mode the program's thread) tries
 * to connect, with increasing delays, until muxd answers Hello with Welcome;
 * restore.c brings back what there was. Until then `link.up` is false, and what
 * is new is kept.
 *
 * When muxd asks to leave, `link.up` becomes false too, but the session goes
 * on, for a short while: consumers are cancelled, what they were delivered is
 * handled and settled, and the rest that is under way is awaited, a transaction
 * that is open for longer. Then it is left as if it had been lost; the program
 * is told LOST only when no other muxd is there soon. The consumers come back
 * in the new session when the old one is over, so what comes again comes after
 * what was handled.
 */
#include "config.h"

#include "client/link.h"
#include "client/chan.h"
#include "client/conn.h"
#include "client/consume.h"
#include "client/error.h"
#include "client/events.h"
#include "client/out.h"
#include "client/outcome.h"
#include "client/publish.h"
#include "client/receive.h"
#include "client/replay.h"
#include "client/request.h"
#include "client/restore.h"
#include "client/wire.h"

#include "proto/buf.h"
#include "proto/muxd.pb-c.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKOFF_MIN_USEC 10000u
#define BACKOFF_MAX_USEC USEC_PER_SEC
#define MOVE_MAX_USEC USEC_PER_SEC
#define COMMIT_MAX_USEC (10u * USEC_PER_SEC)
#define SUCCESSOR_USEC (USEC_PER_SEC / 2) /* so long it may take to be there */
#define CANCEL_CONSUMER 1u		  /* field of muxd.v1.Cancel */

/* --------------------------------------------------------------- connecting */

static int socket_error(int err, const char *path, struct muxc_error *ret_error)
{
	switch (err) {
	case ENOENT:
	case ECONNREFUSED:
		return error_set(ret_error, -err,
				 "muxd cannot be reached: nothing listens at %s; is it running?", path);
	case EACCES:
	case EPERM:
		return error_set(ret_error, -err, "muxd cannot be reached: no permission to use %s", path);
	case EAGAIN:
		return error_set(ret_error, -ETIMEDOUT, "muxd at %s does not accept connections in time",
				 path);
	default:
		return error_set(ret_error, -err, "muxd cannot be reached at %s: %s", path, strerror(err));
	}
}

/* Waits for at most timeout_usec, 0: not at all. Later calls on it have MSG_DONTWAIT each. */
static int socket_open(const char *path, uint64_t timeout_usec, struct muxc_error *ret_error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval timeout = {(time_t)(timeout_usec / USEC_PER_SEC),
				  (suseconds_t)(timeout_usec % USEC_PER_SEC)};
	int fd, r, err;

	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (timeout_usec ? 0 : SOCK_NONBLOCK), 0);
	if (fd < 0)
		return error_set(ret_error, -errno, "cannot make a socket: %s", strerror(errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	do {
		r = connect(fd, (const struct sockaddr *)&address, sizeof(address));
	} while (r < 0 && errno == EINTR);
	if (r == 0)
		return fd;
	err = errno;
	(void)close(fd);
	return socket_error(err, path, ret_error);
}

static void put_hello(struct muxc *c)
{
	struct frame_head head = {.op = MUXD__V1__CLIENT_FRAME__OP_HELLO};

	if (buf_failed(&c->link.hello) || out_frame(c, &head, buf_span(&c->link.hello)) < 0)
		conn_fail(c, -ENOMEM, "no memory to greet muxd");
	c->got_bytes = 0;
	c->got_granted = GET_WINDOW_BYTES;
}

/* ------------------------------------------------------------------- telling */

static int tell(struct muxc *c, int state, const struct muxc_error *error, uint64_t resent)
{
	struct notice notice = {.event = {NULL, EVENT_LINK},
				.kind = state,
				.first = state == MUXC_LINK_LOST ? 0 : c->session,
				.last = resent,
				.consumer = c->link.attempts};

	if (error)
		notice.error = *error;
	else
		notice.error = (struct muxc_error)MUXC_ERROR_INIT;
	return notice_push(c->own, &notice);
}

/* --------------------------------------------------------------- being away */

/* Between half of it and all of it. */
static uint64_t with_jitter(struct link *link, uint64_t usec)
{
	link->random ^= link->random << 13;
	link->random ^= link->random >> 17;
	link->random ^= link->random << 5;
	return usec / 2 + link->random % (usec / 2);
}

static void schedule(struct muxc *c)
{
	struct link *link = &c->link;

	link->retry_usec = deadline_after(with_jitter(link, link->backoff_usec));
	link->backoff_usec =
	    link->backoff_usec * 2 < BACKOFF_MAX_USEC ? link->backoff_usec * 2 : BACKOFF_MAX_USEC;
}

void link_close_left(struct muxc *c, bool always)
{
	if (c->fd_left < 0 || (c->fd_left == c->fd_told && !always))
		return;
	(void)close(c->fd_left);
	c->fd_left = -1;
}

/*
 * A socket that the program's loop watches is not closed under it: its number
 * might come back as another's, which the loop would take for the same.
 */
static void close_socket(struct muxc *c)
{
	if (c->fd != c->fd_told) {
		(void)close(c->fd);
	} else {
		link_close_left(c, true);
		(void)shutdown(c->fd, SHUT_RDWR);
		c->fd_left = c->fd;
	}
	c->fd = -1;
}

/* The socket and all that is about it. */
static void leave_socket(struct muxc *c)
{
	if (c->fd >= 0)
		close_socket(c);
	buf_consume(&c->in, buf_len(&c->in));
	buf_consume(&c->out, buf_len(&c->out));
	c->out_broken = false;
	c->out_blocked = false;
	c->tick_armed = false;
}

/* The broker has undone what was in it. */
static void lose_transaction(struct muxc_channel *channel)
{
	struct muxc_error error = MUXC_ERROR_INIT;

	error_set(&error, -ECONNRESET,
		  "muxd was lost with an open transaction: nothing of it was done, but by "
		  "a commit that was under way");
	error.code = 320;
	error.closes_channel = 1;
	error.channel = channel->number;
	replay_end_unsent(channel, &error);
	outcomes_settle_rest(channel, channel->tx_committing ? MUXC_UNKNOWN : MUXC_FAILED, &error);
	channel_end(channel, &error);
}

bool channel_transacting(const struct muxc_channel *channel)
{
	return channel->tx && channel->live &&
	       (channel->tx_used || channel->unsettled > 0 || channel->outcomes.base < channel->replay.sent);
}

static void lose_channel(struct muxc_channel *channel)
{
	bool transacting = channel_transacting(channel);

	channel->live = false;
	channel->restoring = 0;
	channel->restoring_failed = channel->restoring_again = false;
	deliveries_lost(channel);
	if (channel->state == CHANNEL_DOOMED) {
		replay_lost(channel);
		channel_end(channel, &channel->error);
	} else if (transacting) {
		lose_transaction(channel);
	} else {
		channel->tx_committing = false;
		replay_lost(channel);
	}
}

static void lose_channels(struct muxc *c)
{
	struct muxc_channel *channel;
	uint32_t i;

	for (i = 0; i < c->channels_count; i++) {
		channel = c->channels[i].channel;
		if (!channel)
			continue;
		channel->refs++;
		lose_channel(channel);
		/* One that was to be closed is, but for what it had published. */
		if (channel->state == CHANNEL_CLOSING && channel->replay.first > channel->outcomes.published)
			channel_end(channel, &channel->error);
		channel_unref(channel);
	}
}

static void go_away(struct muxc *c)
{
	struct link *link = &c->link;

	leave_socket(c);
	c->state = CONN_AWAY;
	c->session = 0;
	link->up = false;
	link->moving = false;
	link->failed = false;
	requests_lost(c);
	restore_lost(c);
	lose_channels(c);
	c->out_sent = 0;
	credit_reset(c);
	link->expire_usec = c->unsent_count > 0 ? 0 : UINT64_MAX;
	schedule(c);
	credit_wake(c);
	(void)pthread_cond_broadcast(&c->cond);
}

void link_forget(struct muxc *c)
{
	struct link *link = &c->link;

	leave_socket(c);
	c->state = CONN_AWAY;
	c->session = 0;
	c->out_sent = 0;
	link->up = link->moving = link->failed = false;
	link->away = true;
	link->attempts = 0;
	link->backoff_usec = BACKOFF_MIN_USEC;
	link->retry_usec = 0;
	link->give_up_usec = link->timeout_usec ? deadline_after(link->timeout_usec) : UINT64_MAX;
	link->tell_usec = 0;
	link->expire_usec = UINT64_MAX;
	link->random = (link->random ^ (uint32_t)c->owner << 16) | 1u;
	credit_reset(c);
}

void link_lost(struct muxc *c, const struct muxc_error *error)
{
	struct link *link = &c->link;
	struct muxc_error why = link->failed ? link->error : *error;
	bool greeted = c->state == CONN_READY;

	if (c->state == CONN_ENDED)
		return;
	/* Who cannot begin is told at once. */
	if (!link->reconnects && !(link->later && !greeted)) {
		conn_end(c, &why);
		return;
	}
	if (!greeted && !link->away && !link->later && link->failed) {
		conn_end(c, &why);
		return;
	}
	if (greeted || !link->away) {
		link->backoff_usec = BACKOFF_MIN_USEC;
		link->attempts = 0;
		link->give_up_usec = link->timeout_usec ? deadline_after(link->timeout_usec) : UINT64_MAX;
	}
	link->error = why;
	if (!link->away && !link->tell_usec && tell(c, MUXC_LINK_LOST, &why, 0) < 0) {
		conn_fail(c, -ENOMEM, "no memory to tell that muxd was lost");
		return;
	}
	link->away = true;
	go_away(c);
}

void link_refused(struct muxc *c, const struct muxc_error *error)
{
	if (!error->retryable) {
		conn_end(c, error);
		return;
	}
	c->link.error = *error;
	c->link.failed = true;
}

/* ------------------------------------------------------------- coming back */

static void link_try(struct muxc *c)
{
	struct link *link = &c->link;
	struct muxc_error error = MUXC_ERROR_INIT;
	int fd;

	link->attempts++;
	fd = socket_open(link->path, 0, &error);
	if (fd < 0) {
		link->error = error;
		schedule(c);
		return;
	}
	c->fd = fd;
	c->state = CONN_GREETING;
	c->connect_deadline_usec = deadline_after(link->connect_timeout_usec);
	put_hello(c);
	out_flush(c);
}

static void give_up(struct muxc *c)
{
	struct muxc_error error = MUXC_ERROR_INIT;

	error_set(&error, -ECONNRESET, "muxd was away for %llu ms, and is given up: %.200s",
		  (unsigned long long)(c->link.timeout_usec / 1000), c->link.error.text);
	conn_end(c, &error);
}

int link_start(struct muxc *c, struct muxc_error *ret_error)
{
	struct link *link = &c->link;
	struct muxc_error error = MUXC_ERROR_INIT;
	uint64_t now = now_usec();

	link->random = ((uint32_t)now ^ (uint32_t)c->owner << 16 ^ (uint32_t)(uintptr_t)c) | 1u;
	link->expire_usec = UINT64_MAX;
	if (link->later)
		c->fd = socket_open(link->path, 0, &error);
	else
		c->fd = socket_open(
		    link->path, c->connect_deadline_usec > now ? c->connect_deadline_usec - now : 1, &error);
	if (c->fd < 0 && link->later && c->fd != -EMFILE) {
		c->fd = -1;
		link->attempts = 1;
		link_lost(c, &error);
		return 0;
	}
	if (c->fd < 0) {
		error_copy(ret_error, &error);
		return error.error;
	}
	link->up = true;
	link->attempts = 1;
	put_hello(c);
	if (c->state == CONN_ENDED)
		return error_set(ret_error, -ENOMEM, "no memory");
	out_flush(c);
	return 0;
}

void link_welcomed(struct muxc *c)
{
	struct link *link = &c->link;

	if (!link->away) {
		link->attempts = 0;
		return;
	}
	link->away = false;
	if (tell(c, MUXC_LINK_BACK, NULL, replay_count_resent(c)) < 0) {
		conn_fail(c, -ENOMEM, "no memory to tell that muxd is back");
		return;
	}
	link->attempts = 0;
	link->tell_usec = 0;
	restore_begin(c);
}

/* -------------------------------------------------------------------- moving */

bool link_serves(const struct muxc *c, const struct muxc_channel *channel)
{
	return c->link.up || (c->link.moving && channel && channel_transacting(channel));
}

static uint64_t at_most(uint64_t usec, uint64_t max)
{
	return deadline_after(usec < max ? usec : max);
}

void link_move(struct muxc *c, uint64_t within_usec)
{
	struct link *link = &c->link;

	if (!link->reconnects || link->moving || c->state != CONN_READY)
		return;
	link->moving = true;
	link->up = false;
	link->move_usec = at_most(within_usec, MOVE_MAX_USEC);
	link->commit_usec = at_most(within_usec, COMMIT_MAX_USEC);
	link->leaves_usec = 0; /* at once: it is still to be looked at */
	if (tell(c, MUXC_LINK_MOVING, NULL, 0) < 0) {
		conn_fail(c, -ENOMEM, "no memory to tell that muxd is left");
		return;
	}
	credit_wake(c);
}

/* Nothing is delivered any more when it is answered. */
static void leave_consumer(struct muxc_channel *channel, struct consumer *consumer)
{
	struct muxc *c = channel->c;
	struct request *request = request_restoring(c, NULL, MUXD__V1__CLIENT_FRAME__OP_CANCEL);

	consumer->leaving = true;
	if (request)
		wire_put_number(&request->body, CANCEL_CONSUMER, consumer->id);
	if (!request || request_send(c, request, channel->number) < 0)
		conn_fail(c, -ENOMEM, "no memory to leave muxd");
}

static void leave_consumers(struct muxc *c, struct muxc_channel *channel)
{
	struct consumer *consumer;

	for (consumer = channel->consumers;
	     consumer && c->requests_sent < c->requests_max && channel->live && channel->restoring == 0;
	     consumer = consumer->next) {
		/* Nothing is settled of direct reply-to, but a reply may still come. */
		if (consumer->started && !consumer->gone && !consumer->leaving && !consumer->direct_reply)
			leave_consumer(channel, consumer);
	}
}

/* Something that was begun on it goes on. */
static bool is_busy(const struct muxc_channel *channel)
{
	return channel->running || channel->replay.first <= channel->replay.sent ||
	       (channel->state == CHANNEL_OPEN && (channel->unsettled > 0 || channel_transacting(channel)));
}

static void move(struct muxc *c)
{
	struct muxc_error error = MUXC_ERROR_INIT;

	error_set(&error, -ECONNRESET, "muxd was left, as it had asked for");
	c->link.tell_usec = deadline_after(SUCCESSOR_USEC);
	link_lost(c, &error);
}

/* Leaves, if everything that was begun is over, or has had its time. */
static void turn_moving(struct muxc *c, uint64_t now)
{
	struct link *link = &c->link;
	struct muxc_channel *channel;
	bool busy = false, transacting = false;
	uint32_t i;

	for (i = 0; i < c->channels_count && c->state == CONN_READY; i++) {
		channel = c->channels[i].channel;
		if (!channel)
			continue;
		channel->refs++;
		leave_consumers(c, channel);
		busy |= is_busy(channel);
		transacting |= channel->tx_used && channel_transacting(channel);
		channel_unref(channel);
	}
	out_flush(c);
	busy |= c->requests_sent > 0 || buf_len(&c->out) > 0 || c->dirty;
	link->leaves_usec = transacting ? link->commit_usec : link->move_usec;
	if (c->state == CONN_READY && (!busy || now >= link->leaves_usec))
		move(c);
}

/* --------------------------------------------------------------------- turns */

uint64_t link_timeout(const struct muxc *c)
{
	const struct link *link = &c->link;
	uint64_t until = UINT64_MAX;

	if (c->state == CONN_ENDED)
		return UINT64_MAX;
	if (c->state == CONN_AWAY)
		until = link->retry_usec < link->give_up_usec ? link->retry_usec : link->give_up_usec;
	else if (c->state == CONN_GREETING)
		until = c->connect_deadline_usec;
	else if (link->moving)
		until = link->leaves_usec;
	else if (link->restore_usec)
		until = link->restore_usec;
	if (c->unsent_count > 0 && link->expire_usec < until)
		until = link->expire_usec;
	if (link->tell_usec && link->tell_usec < until)
		until = link->tell_usec;
	return until;
}

static void turn_away(struct muxc *c, uint64_t now)
{
	if (now >= c->link.give_up_usec)
		give_up(c);
	else if (now >= c->link.retry_usec)
		link_try(c);
}

static void turn_greeting(struct muxc *c, uint64_t now)
{
	struct muxc_error error = MUXC_ERROR_INIT;

	if (now < c->connect_deadline_usec)
		return;
	error_set(&error, -ETIMEDOUT, "muxd has accepted the connection, but does not answer");
	if (c->link.away)
		link_lost(c, &error);
	else
		conn_end(c, &error);
}

void link_turn(struct muxc *c)
{
	struct link *link = &c->link;
	uint64_t now;

	if (c->state == CONN_ENDED ||
	    (c->state == CONN_READY && !link->moving && !link->restore_usec && c->unsent_count == 0))
		return;
	now = now_usec();
	if (c->unsent_count > 0 && now >= link->expire_usec) {
		replay_expire(c);
		restore_pump(c); /* what waited behind it for credit */
	}
	if (link->tell_usec && now >= link->tell_usec) {
		link->tell_usec = 0;
		if (tell(c, MUXC_LINK_LOST, &link->error, 0) < 0)
			conn_fail(c, -ENOMEM, "no memory to tell that muxd was lost");
	}
	if (c->state == CONN_AWAY)
		turn_away(c, now);
	else if (c->state == CONN_GREETING)
		turn_greeting(c, now);
	else if (c->state != CONN_READY)
		return;
	else if (link->moving)
		turn_moving(c, now);
	else if (link->restore_usec && now >= link->restore_usec)
		restore_again(c);
}
