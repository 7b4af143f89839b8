/*
 * For tests of TLS: a server of one connection that is turned by hand, over a
 * socket pair.
 */
#pragma once

#include "proto/span.h"
#include "tests/unit/tls-cert.h"

#include <openssl/ssl.h>

struct peer_options {
	const struct cert *cert;
	const struct cert *between; /* sent behind it; or NULL */
	const struct cert *client_ca;
	bool needs_client; /* a client without a certificate is refused */
	int version;	   /* TLS1_2_VERSION..., the only one; 0: any */
};

/* The server's side. */
struct peer {
	SSL_CTX *ctx;
	SSL *ssl;
	int fd; /* non-blocking; -1: closed */
	bool done;
	bool failed;
	bool ended; /* the client said good-bye */
	bool reads; /* takes what comes */
	size_t received;
	size_t queued; /* bytes of a pattern, to be sent */
	size_t sent;
};

void peer_init(struct peer *peer, const struct peer_options *options, int fd);
void peer_step(struct peer *peer);
void peer_close(struct peer *peer); /* the socket */
void peer_deinit(struct peer *peer);

/* Byte number i of what both sides send. */
static inline uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 31 + i / 251);
}
