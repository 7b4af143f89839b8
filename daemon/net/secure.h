/*
 * From a connected socket to one with TLS over it: the handshake, under the
 * loop.
 */
#pragma once

#include "daemon/net/loop.h"
#include "daemon/net/tls-wire.h"

struct secure;

struct secure_options {
	struct loop *loop;
	const struct tls_context *context;
	const char *host; /* whom we want to speak to; copied */
	int fd;		  /* connected, non-blocking; taken over by success of secure_start() */
	struct mono deadline;
	/*
	 * One of these is called once, never from inside secure_start(). It is
	 * over then, and its pointer dead.
	 */
	/* Both are the callee's. */
	void (*on_secured)(void *owner, int fd, struct tls_wire *wire);
	void (*on_failed)(void *owner, const char *reason);
	void *owner;
};

/* 0 or -ENOMEM. */
int secure_start(const struct secure_options *options, struct secure **ret)
    __attribute__((warn_unused_result));

/* Gives up without a callback. NULL is fine; returns NULL. */
struct secure *secure_cancel(struct secure *secure);
