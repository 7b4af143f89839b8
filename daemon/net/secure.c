#include "daemon/net/secure.h"

#include "daemon/base/log.h"
#include "daemon/net/loop-net.h"

#include <event2/event.h>
#include <event2/event_struct.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DESCRIPTION_MAX 80u

struct secure {
	struct secure_options options;
	struct mono began;
	int fd;
	struct tls_wire *wire;
	struct event read_event;
	struct event write_event;
	struct timer timer;
	char reason[TLS_REASON_MAX];
	struct doomed doomed;
};

static void free_secure(struct doomed *doomed)
{
	free(container_of(doomed, struct secure, doomed));
}

struct secure *secure_cancel(struct secure *secure)
{
	if (!secure)
		return NULL;
	(void)event_del(&secure->read_event);
	(void)event_del(&secure->write_event);
	loop_clear_timer(secure->options.loop, &secure->timer);
	secure->wire = tls_wire_free(secure->wire);
	if (secure->fd >= 0)
		(void)close(secure->fd);
	secure->fd = -1;
	loop_doom(secure->options.loop, &secure->doomed, free_secure);
	return NULL;
}

static void fail(struct secure *secure)
{
	struct secure_options options = secure->options;

	(void)secure_cancel(secure); /* its memory, and so the reason, lives to the end of the turn */
	options.on_failed(options.owner, secure->reason);
}

static void succeed(struct secure *secure)
{
	struct secure_options options = secure->options;
	struct tls_wire *wire = secure->wire;
	char text[DESCRIPTION_MAX];
	int fd = secure->fd;

	tls_wire_describe(wire, text, sizeof(text));
	log_debug("TLS: %s", text);
	secure->wire = NULL;
	secure->fd = -1;
	(void)secure_cancel(secure);
	options.on_secured(options.owner, fd, wire);
}

static void step(struct secure *secure)
{
	int r = tls_wire_handshake(secure->wire, secure->fd);

	if (r == 0) {
		succeed(secure);
		return;
	}
	if (r == -EAGAIN &&
	    (!tls_wire_wants_write(secure->wire) || event_add(&secure->write_event, NULL) == 0))
		return;
	if (r == -EPROTO)
		(void)snprintf(secure->reason, sizeof(secure->reason), "%s", tls_wire_reason(secure->wire));
	else
		(void)snprintf(secure->reason, sizeof(secure->reason), "TLS handshake: %s",
			       strerror(r == -EAGAIN ? ENOMEM : -r));
	fail(secure);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct secure *secure = arg;

	loop_enter(secure->options.loop);
	if (secure->wire)
		step(secure);
}

static void on_deadline(struct timer *timer, struct mono now)
{
	struct secure *secure = container_of(timer, struct secure, timer);

	(void)snprintf(secure->reason, sizeof(secure->reason),
		       "TLS: the peer does not finish the handshake, waited for %llu ms; does it speak TLS?",
		       (unsigned long long)(mono_since_usec(now, secure->began) / USEC_PER_MSEC));
	fail(secure);
}

int secure_start(const struct secure_options *options, struct secure **ret)
{
	struct secure *secure = calloc(1, sizeof(*secure));
	struct event_base *base = loop_base(options->loop);

	if (!secure)
		return -ENOMEM;
	secure->options = *options;
	secure->options.host = NULL; /* the wire has a copy */
	secure->began = loop_now(options->loop);
	secure->fd = options->fd;
	timer_init(&secure->timer, on_deadline);
	if (tls_wire_new(options->context, options->host, &secure->wire) < 0) {
		free(secure);
		return -ENOMEM;
	}
	/* The socket is writable: that begins it. */
	if (event_assign(&secure->read_event, base, secure->fd, EV_READ | EV_PERSIST, on_ready, secure) ==
		0 &&
	    event_assign(&secure->write_event, base, secure->fd, EV_WRITE, on_ready, secure) == 0 &&
	    event_add(&secure->read_event, NULL) == 0 && event_add(&secure->write_event, NULL) == 0) {
		loop_set_timer(options->loop, &secure->timer, options->deadline);
		*ret = secure;
		return 0;
	}
	secure->fd = -1; /* the caller's, still */
	(void)secure_cancel(secure);
	return -ENOMEM;
}
