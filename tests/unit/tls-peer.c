#include "tests/unit/tls-peer.h"

#include <check.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DAY_SEC (24 * 60 * 60)
#define CHUNK 20000u

/* ------------------------------------------------------------------ certificates */

static void to_pem(BIO *bio, char pem[PEM_MAX])
{
	int len = BIO_read(bio, pem, PEM_MAX - 1);

	ck_assert_int_gt(len, 0);
	pem[len] = 0;
	BIO_free(bio);
}

static void add_extension(X509 *x509, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	ck_assert_ptr_nonnull(extension);
	ck_assert_int_eq(X509_add_ext(x509, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static void fill(struct cert *cert, const struct cert_options *options)
{
	X509_NAME *name = X509_get_subject_name(cert->x509);
	const struct cert *issuer = options->issuer ? options->issuer : cert;

	ck_assert_int_eq(X509_set_version(cert->x509, 2), 1);
	/* Its address: no two that live at a time are alike. */
	ck_assert_int_eq(ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert->x509), (uintptr_t)cert), 1);
	ck_assert_int_eq(
	    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)options->name, -1, -1, 0),
	    1);
	ck_assert_int_eq(X509_set_issuer_name(cert->x509, X509_get_subject_name(issuer->x509)), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert->x509), (long)options->from_days * DAY_SEC - 60);
	X509_gmtime_adj(X509_getm_notAfter(cert->x509),
			(long)(options->to_days ? options->to_days : 30) * DAY_SEC);
	ck_assert_int_eq(X509_set_pubkey(cert->x509, cert->key), 1);
	add_extension(cert->x509, NID_basic_constraints, options->is_ca ? "critical,CA:TRUE" : "CA:FALSE");
	if (options->san)
		add_extension(cert->x509, NID_subject_alt_name, options->san);
	ck_assert_int_gt(X509_sign(cert->x509, issuer->key, EVP_sha256()), 0);
}

void cert_make(struct cert *cert, const struct cert_options *options)
{
	BIO *bio;

	cert->key = EVP_EC_gen("P-256");
	cert->x509 = X509_new();
	ck_assert(cert->key && cert->x509);
	fill(cert, options);
	bio = BIO_new(BIO_s_mem());
	ck_assert_int_eq(PEM_write_bio_X509(bio, cert->x509), 1);
	to_pem(bio, cert->cert_pem);
	bio = BIO_new(BIO_s_mem());
	ck_assert_int_eq(PEM_write_bio_PrivateKey(bio, cert->key, NULL, NULL, 0, NULL, NULL), 1);
	to_pem(bio, cert->key_pem);
}

void cert_deinit(struct cert *cert)
{
	X509_free(cert->x509);
	EVP_PKEY_free(cert->key);
}

void cert_encrypt_key(const struct cert *cert, char pem[PEM_MAX])
{
	BIO *bio = BIO_new(BIO_s_mem());

	ck_assert_int_eq(
	    PEM_write_bio_PKCS8PrivateKey(bio, cert->key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL), 1);
	to_pem(bio, pem);
}

/* ------------------------------------------------------------------ the server */

void peer_init(struct peer *peer, const struct peer_options *options, int fd)
{
	*peer = (struct peer){.fd = fd, .reads = true};
	peer->ctx = SSL_CTX_new(TLS_server_method());
	ck_assert_ptr_nonnull(peer->ctx);
	SSL_CTX_set_security_level(peer->ctx, 0); /* so that it can be old */
	ck_assert_int_eq(SSL_CTX_set_min_proto_version(peer->ctx, options->version), 1);
	ck_assert_int_eq(SSL_CTX_set_max_proto_version(peer->ctx, options->version), 1);
	ck_assert_int_eq(SSL_CTX_use_certificate(peer->ctx, options->cert->x509), 1);
	ck_assert_int_eq(SSL_CTX_use_PrivateKey(peer->ctx, options->cert->key), 1);
	if (options->between)
		ck_assert_int_eq(SSL_CTX_add1_chain_cert(peer->ctx, options->between->x509), 1);
	if (options->client_ca) {
		X509_STORE_add_cert(SSL_CTX_get_cert_store(peer->ctx), options->client_ca->x509);
		SSL_CTX_set_verify(
		    peer->ctx,
		    SSL_VERIFY_PEER | (options->needs_client ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
	}
	SSL_CTX_set_mode(peer->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	peer->ssl = SSL_new(peer->ctx);
	ck_assert_int_eq(SSL_set_fd(peer->ssl, fd), 1);
	SSL_set_accept_state(peer->ssl);
}

static bool is_passing(struct peer *peer, int result)
{
	switch (SSL_get_error(peer->ssl, result)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return true;
	case SSL_ERROR_ZERO_RETURN:
		peer->ended = true;
		return true;
	default:
		peer->failed = true;
		ERR_clear_error();
		return false;
	}
}

static void receive(struct peer *peer)
{
	uint8_t bytes[CHUNK];
	size_t n;

	for (;;) {
		int result = SSL_read_ex(peer->ssl, bytes, sizeof(bytes), &n);

		if (result != 1) {
			(void)is_passing(peer, result);
			return;
		}
		for (size_t i = 0; i < n; i++) {
			if (bytes[i] != pattern(peer->received))
				ck_abort_msg("byte %zu is not what was sent", peer->received);
			peer->received++;
		}
	}
}

static void transmit(struct peer *peer)
{
	uint8_t bytes[CHUNK];

	while (peer->sent < peer->queued && !peer->failed) {
		size_t count = peer->queued - peer->sent < CHUNK ? peer->queued - peer->sent : CHUNK;
		size_t n;
		int result;

		for (size_t i = 0; i < count; i++)
			bytes[i] = pattern(peer->sent + i);
		result = SSL_write_ex(peer->ssl, bytes, count, &n);
		if (result != 1) {
			(void)is_passing(peer, result);
			return;
		}
		peer->sent += n;
	}
}

void peer_step(struct peer *peer)
{
	if (peer->fd < 0 || peer->failed)
		return;
	ERR_clear_error();
	if (!peer->done) {
		int result = SSL_do_handshake(peer->ssl);

		if (result != 1) {
			(void)is_passing(peer, result);
			return;
		}
		peer->done = true;
	}
	if (peer->reads && !peer->ended)
		receive(peer);
	if (!peer->failed)
		transmit(peer);
}

void peer_close(struct peer *peer)
{
	if (peer->fd >= 0)
		(void)close(peer->fd);
	peer->fd = -1;
}

void peer_deinit(struct peer *peer)
{
	SSL_free(peer->ssl);
	SSL_CTX_free(peer->ctx);
	peer_close(peer);
}
