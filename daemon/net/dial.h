/*
 * Dialling: from a host's name to a connected TCP socket. The addresses are
 * tried one after another until one answers; each gets a fair share of the
 * time that is left.
 */
#pragma once

#include "daemon/net/resolver.h"

struct dial;

struct dial_options {
	struct loop *loop;
	struct resolver *resolver;
	const char *host; /* a name or an address, IPv6 without brackets; copied */
	const char *port;
	uint64_t timeout_usec; /* for all addresses together */
	/*
	 * One of these is called once, never from inside dial_start(). The
	 * dial is over then, and its pointer dead.
	 */
	void (*on_connected)(void *context, int fd); /* non-blocking; the callee's */
	void (*on_failed)(void *context, const char *reason);
	void *context;
};

/* 0 or -ENOMEM. */
int dial_start(const struct dial_options *options, struct dial **ret) __attribute__((warn_unused_result));

/* Gives up without a callback. NULL is fine; returns NULL. */
struct dial *dial_cancel(struct dial *dial);
