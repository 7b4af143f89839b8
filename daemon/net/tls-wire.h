/*
 * One TLS connection over a socket: a transport for streams, once its
 * handshake is done.
 *
 * OpenSSL never sees the socket. What is read from it in one go lies in a
 * block, and OpenSSL decrypts all of it before the read returns, so that
 * nothing waits where the loop cannot see it. What OpenSSL writes gathers in a
 * buffer that goes to the socket in one go. While the socket does not take all
 * of it, the plaintext stays in the owner's output, as if it had not been
 * taken: the owner comes again with the same bytes in front.
 */
#pragma once

#include "daemon/net/stream.h"
#include "daemon/net/tls.h"

struct tls_wire;

/* A client's side of a connection to host, a name or an address. 0 or -ENOMEM. */
int tls_wire_new(const struct tls_context *context, const char *host, struct tls_wire **ret)
    __attribute__((warn_unused_result));

/* Without a word to the peer. NULL is fine; returns NULL. */
struct tls_wire *tls_wire_free(struct tls_wire *wire);

/*
 * Goes on with the handshake: reads at most once. 0: done; -EAGAIN: the socket
 * has to become readable (or writable, if tls_wire_wants_write()); -EPROTO:
 * failed, and tls_wire_reason() says why; or what the socket failed with.
 */
int tls_wire_handshake(struct tls_wire *wire, int fd) __attribute__((warn_unused_result));

bool tls_wire_wants_write(const struct tls_wire *wire);

/* Why it failed; one line of ASCII. */
const char *tls_wire_reason(const struct tls_wire *wire);

/* "TLSv1.3, TLS_AES_256_GCM_SHA384", for the log; into text. */
void tls_wire_describe(const struct tls_wire *wire, char *text, size_t size);

/* For stream_options, with the wire as its context. Its end says good-bye and frees the wire. */
extern const struct stream_transport tls_wire_transport;
