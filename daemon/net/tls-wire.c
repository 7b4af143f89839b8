#include "daemon/net/tls-wire.h"

#include "daemon/net/tls-net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Read in one go. With a record that was there in part it is less than what a
 * stream has room for, and plaintext is never longer than ciphertext.
 */
#define READ_BYTES_MAX (96u * 1024u)
/* Encrypted in one go: what the socket does not take of it can no longer be overtaken. */
#define WRITE_BYTES_MAX (32u * 1024u)
/* Answers to a peer that asks and does not read. */
#define UNSENT_BYTES_MAX (256u * 1024u)
/* Records under one key; AES-GCM wears out after 2^24.5 of the longest (RFC 8446, 5.5). */
#define RECORDS_MAX (1u << 23)
/*
 * What is no data, such as key updates, in what was read in one go. Each costs
 * more than as many bytes of data, and in one go there is room for thousands.
 */
#define ASIDES_MAX 64u
#define HOST_MAX 256u

struct tls_wire {
	SSL *ssl;
	BIO_METHOD *method;
	struct span in;	      /* ciphertext that was read; in block */
	struct buf out;	      /* ciphertext to be sent */
	size_t owed;	      /* bytes of the owner's that are in out, and were not said to be taken */
	unsigned int records; /* written under this key */
	unsigned int asides;  /* in what was read last */
	bool failed;	      /* reason says why */
	bool ended;	      /* the peer said good-bye */
	struct tls_wanted wanted;
	char host[HOST_MAX];
	char reason[TLS_REASON_MAX];
	uint8_t block[READ_BYTES_MAX];
};

/* ------------------------------------------------------------------ what OpenSSL reads and writes */

static int bio_read(BIO *bio, char *data, int size)
{
	struct tls_wire *wire = BIO_get_data(bio);
	struct span part = span_first(wire->in, (size_t)size);

	BIO_clear_retry_flags(bio);
	if (part.len == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(data, part.data, part.len);
	wire->in = span_skip(wire->in, part.len);
	return (int)part.len;
}

static int bio_write(BIO *bio, const char *data, int size)
{
	struct tls_wire *wire = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	buf_append(&wire->out, data, (size_t)size);
	return buf_failed(&wire->out) ? -1 : size;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	return command == BIO_CTRL_FLUSH;
}

/* Of each message that is no data, and of the heads of all records. */
static void on_message(int written, int version, int type, const void *bytes, size_t len, SSL *ssl,
		       void *context)
{
	struct tls_wire *wire = context;

	if (written || (type != SSL3_RT_HANDSHAKE && type != SSL3_RT_ALERT))
		return;
	/* The rest is not looked at. */
	if (++wire->asides > ASIDES_MAX)
		wire->in = SPAN_NULL;
}

/* True behind the one that was too many. */
static bool fail_by_asides(struct tls_wire *wire)
{
	if (wire->asides <= ASIDES_MAX)
		return false;
	(void)snprintf(wire->reason, sizeof(wire->reason),
		       "TLS: the peer sends key updates, or other handshake messages, without end");
	wire->failed = true;
	return true;
}

static bool add_bio(struct tls_wire *wire)
{
	BIO *bio;

	wire->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "muxd");
	if (!wire->method || BIO_meth_set_read(wire->method, bio_read) != 1 ||
	    BIO_meth_set_write(wire->method, bio_write) != 1 ||
	    BIO_meth_set_ctrl(wire->method, bio_ctrl) != 1)
		return false;
	bio = BIO_new(wire->method);
	if (!bio)
		return false;
	BIO_set_data(bio, wire);
	BIO_set_init(bio, 1);
	SSL_set_bio(wire->ssl, bio, bio);
	SSL_set_msg_callback(wire->ssl, on_message);
	(void)SSL_set_msg_callback_arg(wire->ssl, wire);
	return true;
}

/* ------------------------------------------------------------------ whom we want */

/* The first certificate that is refused ends it, and is the one to be told of. */
static int on_verify(int is_good, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_wire *wire = SSL_get_app_data(ssl);

	if (is_good)
		return 1;
	tls_reason_certificate(wire->reason, X509_STORE_CTX_get_current_cert(store),
			       X509_STORE_CTX_get_error(store), &wire->wanted);
	wire->failed = true;
	return 0;
}

static bool is_address(const char *host)
{
	struct in6_addr address;

	return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

static bool want_host(struct tls_wire *wire, enum tls_verify verify)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(wire->ssl);
	bool numeric = is_address(wire->host);

	if (verify != TLS_VERIFY_NONE)
		SSL_set_verify(wire->ssl, SSL_VERIFY_PEER, on_verify);
	if (!numeric && SSL_set_tlsext_host_name(wire->ssl, wire->host) != 1)
		return false;
	if (verify != TLS_VERIFY_FULL)
		return true;
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (numeric)
		return X509_VERIFY_PARAM_set1_ip_asc(param, wire->host) == 1;
	return X509_VERIFY_PARAM_set1_host(param, wire->host, 0) == 1;
}

/* As certificates have it: no zone behind an address, no dot behind a name. */
static bool copy_host(struct tls_wire *wire, const char *host)
{
	size_t len = strcspn(host, "%");

	if (len > 1 && host[len - 1] == '.')
		len--;
	if (len == 0 || len >= sizeof(wire->host))
		return false;
	memcpy(wire->host, host, len);
	wire->host[len] = 0;
	wire->wanted.host = wire->host;
	return true;
}

int tls_wire_new(const struct tls_context *context, const char *host, struct tls_wire **ret)
{
	struct tls_wire *wire = calloc(1, sizeof(*wire));

	if (!wire)
		return -ENOMEM;
	ERR_clear_error();
	wire->wanted.has_ca = context->has_ca;
	wire->wanted.has_cert = context->has_cert;
	wire->ssl = SSL_new(context->ctx);
	if (!wire->ssl || !copy_host(wire, host) || !add_bio(wire) ||
	    SSL_set_app_data(wire->ssl, wire) != 1 || !want_host(wire, context->verify)) {
		ERR_clear_error();
		(void)tls_wire_free(wire);
		return -ENOMEM;
	}
	SSL_set_connect_state(wire->ssl);
	*ret = wire;
	return 0;
}

struct tls_wire *tls_wire_free(struct tls_wire *wire)
{
	if (!wire)
		return NULL;
	SSL_free(wire->ssl);
	BIO_meth_free(wire->method);
	buf_deinit(&wire->out);
	explicit_bzero(wire->block, sizeof(wire->block));
	free(wire);
	return NULL;
}

/* ------------------------------------------------------------------ the socket */

/* 0: all was sent; or a negative errno. */
static int send_out(struct tls_wire *wire, int fd)
{
	while (buf_len(&wire->out) > 0) {
		struct span bytes = buf_span(&wire->out);
		ssize_t n = send(fd, bytes.data, bytes.len, MSG_NOSIGNAL);

		if (n < 0)
			return -errno;
		buf_consume(&wire->out, (size_t)n);
		/* The rest would only be refused. */
		if ((size_t)n < bytes.len)
			return -EAGAIN;
	}
	return 0;
}

/* What a read returned. All that was read before is decrypted. */
static ssize_t read_in(struct tls_wire *wire, int fd)
{
	ssize_t n = recv(fd, wire->block, sizeof(wire->block), 0);

	if (n < 0)
		return -errno;
	wire->in = span_make(wire->block, (size_t)n);
	wire->asides = 0;
	return n;
}

static int set_failed(struct tls_wire *wire)
{
	if (buf_failed(&wire->out))
		(void)snprintf(wire->reason, sizeof(wire->reason), "TLS: out of memory");
	else if (!wire->failed) /* else it was told of a certificate */
		tls_reason_failure(wire->reason, &wire->wanted);
	ERR_clear_error();
	wire->failed = true;
	return -EPROTO;
}

/* What a call of OpenSSL that returned no success means: -EAGAIN, 0 for the end, or -EPROTO. */
static int failure(struct tls_wire *wire, int result)
{
	switch (SSL_get_error(wire->ssl, result)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		wire->ended = true;
		return 0;
	default:
		return set_failed(wire);
	}
}

/* ------------------------------------------------------------------ the handshake */

/* -EPROTO; or -EAGAIN: nothing is wrong so far. */
static int check_unfinished(struct tls_wire *wire, bool is_closed)
{
	if (fail_by_asides(wire))
		return -EPROTO;
	/* Good-bye is no end of a handshake either. */
	if (!is_closed && !wire->ended)
		return -EAGAIN;
	(void)snprintf(wire->reason, sizeof(wire->reason),
		       "TLS: the peer closed the connection in the handshake; does it speak TLS?");
	wire->failed = true;
	return -EPROTO;
}

int tls_wire_handshake(struct tls_wire *wire, int fd)
{
	ssize_t n = read_in(wire, fd);
	int result, r = 0, sent;

	if (n < 0 && n != -EAGAIN && n != -EINTR)
		return (int)n;
	ERR_clear_error();
	result = SSL_do_handshake(wire->ssl);
	if (result != 1)
		r = failure(wire, result);
	sent = send_out(wire, fd); /* an alert, too */
	if (result == 1 || r == -EPROTO)
		return r;
	r = check_unfinished(wire, n == 0);
	return r == -EAGAIN && sent < 0 ? sent : r;
}

bool tls_wire_wants_write(const struct tls_wire *wire)
{
	return buf_len(&wire->out) > 0;
}

const char *tls_wire_reason(const struct tls_wire *wire)
{
	return wire->reason;
}

void tls_wire_describe(const struct tls_wire *wire, char *text, size_t size)
{
	(void)snprintf(text, size, "%s, %s", SSL_get_version(wire->ssl), SSL_get_cipher_name(wire->ssl));
}

/* ------------------------------------------------------------------ the transport */

/* Decrypts what there is into one place; adds to *got. 0: it is full; else what stopped it. */
static int decrypt(struct tls_wire *wire, const struct iovec *part, size_t *got)
{
	size_t filled = 0;

	while (filled < part->iov_len) {
		size_t n;
		int result;

		ERR_clear_error();
		result =
		    SSL_read_ex(wire->ssl, (uint8_t *)part->iov_base + filled, part->iov_len - filled, &n);
		if (result != 1)
			return failure(wire, result) == -EAGAIN ? -EAGAIN : -EPROTO;
		filled += n;
		*got += n;
	}
	return 0;
}

/* What it has to say to what it read: a key update's answer, an alert. */
static void answer(struct tls_wire *wire, int fd)
{
	if (buf_len(&wire->out) == 0)
		return;
	(void)send_out(wire, fd);
	if (buf_len(&wire->out) <= UNSENT_BYTES_MAX || wire->failed)
		return;
	(void)snprintf(wire->reason, sizeof(wire->reason),
		       "TLS: the peer asks without end, and does not read");
	wire->failed = true;
}

static ssize_t wire_end(const struct tls_wire *wire)
{
	return wire->failed ? -EPROTO : 0;
}

static ssize_t wire_read(void *context, int fd, const struct iovec *parts, int part_count)
{
	struct tls_wire *wire = context;
	size_t got = 0;
	ssize_t n = 1;
	int r = -EAGAIN;

	if (wire->failed || wire->ended)
		return wire_end(wire);
	if (wire->in.len == 0)
		n = read_in(wire, fd);
	if (n <= 0)
		return n;
	for (int i = 0; i < part_count; i++) {
		r = decrypt(wire, &parts[i], &got);
		if (r < 0)
			break;
	}
	answer(wire, fd);
	if (!wire->failed && !wire->ended && !fail_by_asides(wire))
		return got > 0 ? (ssize_t)got : -EAGAIN;
	if (got == 0)
		return wire_end(wire);
	/* First what came before the end; the socket becomes readable, and the end is told. */
	(void)shutdown(fd, SHUT_RD);
	return (ssize_t)got;
}

/* Encrypts from the front; 0 or -EPROTO. */
static int encrypt(struct tls_wire *wire, int fd, struct span bytes)
{
	size_t n;

	ERR_clear_error();
	if (wire->records >= RECORDS_MAX && SSL_version(wire->ssl) == TLS1_3_VERSION &&
	    SSL_key_update(wire->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1)
		wire->records = 0;
	if (SSL_write_ex(wire->ssl, bytes.data, bytes.len, &n) != 1) {
		(void)shutdown(fd, SHUT_RD); /* which is seen by reading */
		return set_failed(wire);
	}
	wire->owed = n;
	wire->records += (unsigned int)(n / SSL3_RT_MAX_PLAIN_LENGTH + 1);
	return 0;
}

static ssize_t wire_write(void *context, int fd, struct span bytes)
{
	struct tls_wire *wire = context;
	size_t taken;
	int r = 0;

	if (wire->failed)
		return -EPROTO;
	if (wire->owed == 0)
		r = encrypt(wire, fd, span_first(bytes, WRITE_BYTES_MAX));
	if (r == 0)
		r = send_out(wire, fd);
	if (r < 0)
		return r;
	taken = MIN(wire->owed, bytes.len);
	wire->owed -= taken;
	return (ssize_t)taken;
}

static const char *wire_reason(void *context)
{
	return tls_wire_reason(context);
}

static void wire_close(void *context, int fd)
{
	struct tls_wire *wire = context;

	ERR_clear_error();
	if (!wire->failed && !buf_failed(&wire->out)) {
		(void)SSL_shutdown(wire->ssl);
		(void)send_out(wire, fd);
	}
	ERR_clear_error();
	(void)tls_wire_free(wire);
}

const struct stream_transport tls_wire_transport = {wire_read, wire_write, wire_reason, wire_close};
