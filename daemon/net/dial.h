/*
 * Dialling: from a host's name to a connected TCP socket. The addresses are
 * tried one after another until one answers; each gets a fair share of the
 * time that is left. Who knows that what answered was of no use begins the
 * next dial with the address behind it.
 */
#pragma once

#include "daemon/net/resolver.h"

struct dial;

struct dial_options {
	struct loop *loop;
	struct resolver *resolver;
	const char *host; /* a name or an address, IPv6 without brackets; copied */
	const char *port;
	size_t first;	       /* the number of the address to begin with; counts round */
	uint64_t timeout_usec; /* for all addresses together */
	/*
	 * One of these is called once, never from inside dial_start(). The
	 * dial is over then, and its pointer dead.
	 */
	/* fd: non-blocking; the callee's. number: of the address. */
	void (*on_connected)(void *context, int fd, size_t number);
	void (*on_failed)(void *context, const char *reason);
	void *context;
};

/* 0 or -ENOMEM. */
int dial_start(const struct dial_options *options, struct dial **ret) __attribute__((warn_unused_result));

/* Gives up without a callback. NULL is fine; returns NULL. */
struct dial *dial_cancel(struct dial *dial);
