/*
 * What the connections to one broker share of TLS: whom we trust, who we are,
 * how much is verified. It knows PEM text, not files.
 *
 * A connection keeps what it began with. So a context can be freed, or another
 * one put in its place, at any time; it counts from the next connection on.
 *
 * TLS 1.2 is the least. There is no renegotiation, no compression, no ALPN,
 * and no session is resumed: each connection proves anew who is at both ends.
 */
#pragma once

#include "proto/span.h"

#include <stdint.h>

#define TLS_ERROR_MAX 240u
#define TLS_REASON_MAX 220u /* why a connection failed: with what mux puts before it, a fault's text */

struct tls_context;

enum tls_verify {
	TLS_VERIFY_FULL, /* the certificate's chain, and that it is the host's */
	TLS_VERIFY_CA,	 /* its chain alone */
	TLS_VERIFY_NONE
};

/* Which of the texts an error or a warning is about. */
enum tls_part {
	TLS_PART_NONE,
	TLS_PART_CA,
	TLS_PART_CERT,
	TLS_PART_KEY
};

struct tls_options {
	struct span ca;	  /* PEM, one certificate or more; empty: those the system trusts */
	struct span cert; /* PEM, ours, and behind it those between it and its CA; empty: none */
	struct span key;  /* PEM, of cert */
	enum tls_verify verify;
	/* What does not prevent, but will soon be felt: a certificate that has expired. May be NULL. */
	void (*warn)(void *context, enum tls_part part, const char *text);
	void *context;
};

struct tls_error {
	enum tls_part part;
	char text[TLS_ERROR_MAX];
};

/*
 * To be called before anything else of TLS, at the start of the program. What
 * OpenSSL makes once for a process it never tries again, so without memory for
 * it there would be no TLS until the end. 0 or -ENOMEM.
 */
int tls_init(void) __attribute__((warn_unused_result));

/* 0; -EINVAL, and *error says what is wrong with which part; -ENOMEM. The texts are not needed afterwards. */
int tls_context_new(const struct tls_options *options, struct tls_error *error, struct tls_context **ret)
    __attribute__((warn_unused_result));

/* NULL is fine; returns NULL. */
struct tls_context *tls_context_free(struct tls_context *context);
