#include "tests/unit/tls-peer.h"

#include <check.h>
#include <errno.h>
#include <openssl/err.h>
#include <unistd.h>

#define CHUNK 20000u

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
