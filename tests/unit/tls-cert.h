/* For tests of TLS: certificates made on the spot. What goes wrong with that aborts. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>

#define PEM_MAX 4096u

/* A certificate with its key, as PEM and as objects. */
struct cert {
	X509 *x509;
	EVP_PKEY *key;
	char cert_pem[PEM_MAX];
	char key_pem[PEM_MAX];
};

struct cert_options {
	const char *name;	   /* common name */
	const char *san;	   /* "DNS:a,IP:127.0.0.1", or NULL */
	const struct cert *issuer; /* NULL: signs itself */
	bool is_ca;
	int from_days; /* from now */
	int to_days;   /* 0: 30 */
};

void cert_make(struct cert *cert, const struct cert_options *options);
void cert_deinit(struct cert *cert);

/* The key, encrypted with a passphrase. */
void cert_encrypt_key(const struct cert *cert, char pem[PEM_MAX]);
