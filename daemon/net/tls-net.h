/*
 * The part of TLS that only net/ uses: what a context is, and the words.
 *
 * Why a TLS handshake failed, in words that tell what to do: the certificate
 * by its names and dates, and what was expected of it. Everything that comes
 * from a certificate is written as one line of ASCII, and cut.
 */
#pragma once

#include "daemon/net/tls.h"

#include <openssl/ssl.h>

struct tls_context {
	SSL_CTX *ctx;
	enum tls_verify verify;
	bool has_ca; /* a CA of its own was given */
	bool has_cert;
};

/* What a reason depends on besides the error. */
struct tls_wanted {
	const char *host;
	bool has_ca;
	bool has_cert;
};

/* A certificate of the peer's chain was refused, by an X509_V_ERR_ code. */
void tls_reason_certificate(char reason[TLS_REASON_MAX], X509 *cert, int code,
			    const struct tls_wanted *wanted);

/* OpenSSL's call failed, with what its error queue says; empties the queue. */
void tls_reason_failure(char reason[TLS_REASON_MAX], const struct tls_wanted *wanted);

/* The subject of a certificate, and a date as 2026-11-27. Both return text. */
char *tls_reason_subject(char *text, size_t size, const X509_NAME *name);
char *tls_reason_date(char *text, size_t size, const ASN1_TIME *date);
