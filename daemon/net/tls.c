#include "daemon/net/tls-net.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SUBJECT_MAX 80u
#define DATE_MAX 16u

/* While a context is made. */
struct maker {
	const struct tls_options *options;
	struct tls_error *error;
	struct tls_context *context;
};

static int fail(struct maker *maker, enum tls_part part, const char *text)
{
	maker->error->part = part;
	(void)snprintf(maker->error->text, sizeof(maker->error->text), "%s", text);
	ERR_clear_error();
	return -EINVAL;
}

/* Whatever it was that could not be done for it, the want of memory is told first. */
static bool is_no_memory(void)
{
	unsigned long error;
	bool found = false;

	while ((error = ERR_get_error()) != 0)
		found |= ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE;
	return found;
}

/* By what OpenSSL's error queue says. */
static int fail_openssl(struct maker *maker, enum tls_part part, const char *what)
{
	unsigned long error = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(error);
	char text[TLS_ERROR_MAX];

	if (is_no_memory())
		return -ENOMEM;
	(void)snprintf(text, sizeof(text), "%s: %s", what, reason ? reason : "OpenSSL does not say why");
	return fail(maker, part, text);
}

/* ------------------------------------------------------------------ certificates */

static void warn_of_date(const struct maker *maker, enum tls_part part, X509 *cert, const char *what,
			 const ASN1_TIME *date)
{
	char text[TLS_ERROR_MAX], subject[SUBJECT_MAX], shown[DATE_MAX];

	if (!maker->options->warn)
		return;
	(void)snprintf(text, sizeof(text), "certificate %s %s %s",
		       tls_reason_subject(subject, sizeof(subject), X509_get_subject_name(cert)), what,
		       tls_reason_date(shown, sizeof(shown), date));
	maker->options->warn(maker->options->context, part, text);
}

static void look_at_dates(const struct maker *maker, enum tls_part part, X509 *cert)
{
	if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
		warn_of_date(maker, part, cert, "has expired on", X509_get0_notAfter(cert));
	else if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
		warn_of_date(maker, part, cert, "is not valid before", X509_get0_notBefore(cert));
}

/* Never asks at a terminal. */
static int no_passphrase(char *out, int size, int writing, void *asked)
{
	*(bool *)asked = true;
	return -1;
}

/*
 * OpenSSL understands a certificate's extensions and key once. One that it had
 * no memory for would be invalid for ever; that the key is of a kind that it
 * does not know looks the same, but then it does not know it the next time either.
 */
static bool is_understood(X509 *cert)
{
	X509 *again;
	bool is_other;

	if (X509_check_purpose(cert, -1, 0) != 1 && is_no_memory())
		return false;
	if (X509_get0_pubkey(cert))
		return true;
	again = X509_dup(cert);
	is_other = !again || X509_get0_pubkey(again);
	X509_free(again);
	ERR_clear_error();
	return !is_other;
}

/* The next certificate of a text. 1; 0: there is no more; or a negative errno, and the error says why. */
static int next_cert(struct maker *maker, enum tls_part part, BIO *bio, size_t number, X509 **ret)
{
	bool asked = false;
	unsigned long error;
	char what[64];

	ERR_clear_error();
	*ret = PEM_read_bio_X509(bio, NULL, no_passphrase, &asked);
	if (*ret && !is_understood(*ret))
		return -ENOMEM;
	if (*ret) {
		look_at_dates(maker, part, *ret);
		return 1;
	}
	error = ERR_peek_last_error();
	if (ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE) {
		ERR_clear_error();
		return number > 1
			   ? 0
			   : fail(maker, part,
				  "no certificate is in it: PEM is wanted (-----BEGIN CERTIFICATE-----)");
	}
	(void)snprintf(what, sizeof(what), "certificate %zu in it is damaged", number);
	return fail_openssl(maker, part, what);
}

/* Calls take for each certificate of a text; take returns 1 if OpenSSL is content. */
static int take_certs(struct maker *maker, enum tls_part part, struct span pem,
		      int (*take)(struct maker *maker, X509 *cert, size_t number))
{
	BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	int r = bio ? 1 : -ENOMEM;

	for (size_t number = 1; r > 0; number++) {
		X509 *cert = NULL;

		r = next_cert(maker, part, bio, number, &cert);
		if (r > 0 && take(maker, cert, number) != 1)
			r = fail_openssl(maker, part, "it cannot be used");
		X509_free(cert);
	}
	BIO_free(bio);
	return r;
}

static int take_ca(struct maker *maker, X509 *cert, size_t number)
{
	return X509_STORE_add_cert(SSL_CTX_get_cert_store(maker->context->ctx), cert);
}

/* The first is ours, the rest leads to its CA. */
static int take_own(struct maker *maker, X509 *cert, size_t number)
{
	if (number == 1)
		return SSL_CTX_use_certificate(maker->context->ctx, cert);
	return (int)SSL_CTX_add1_chain_cert(maker->context->ctx, cert);
}

/* ------------------------------------------------------------------ the parts */

static int set_ca(struct maker *maker)
{
	SSL_CTX *ctx = maker->context->ctx;

	if (maker->options->ca.len == 0)
		return SSL_CTX_set_default_verify_paths(ctx) == 1
			   ? 0
			   : fail_openssl(maker, TLS_PART_NONE, "the system's CAs cannot be used");
	/* What is named there is trusted, be it a root or not. */
	(void)X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
	maker->context->has_ca = true;
	return take_certs(maker, TLS_PART_CA, maker->options->ca, take_ca);
}

static int use_key(struct maker *maker, EVP_PKEY *key, bool asked)
{
	if (asked)
		return fail(maker, TLS_PART_KEY,
			    "the key is encrypted, and nobody is there to type a passphrase: decrypt it "
			    "(openssl pkey -in KEY -out NEW), and let nobody else read it");
	if (!key)
		return fail(
		    maker, TLS_PART_KEY,
		    "no private key can be read from it: PEM is wanted (-----BEGIN PRIVATE KEY-----)");
	if (SSL_CTX_use_PrivateKey(maker->context->ctx, key) == 1)
		return 0;
	if (ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_X509)
		return fail(maker, TLS_PART_KEY, "this key is not the one of the certificate in tls-cert");
	return fail_openssl(maker, TLS_PART_KEY, "the key cannot be used");
}

static int set_own(struct maker *maker)
{
	const struct tls_options *options = maker->options;
	bool asked = false;
	EVP_PKEY *key;
	BIO *bio;
	int r;

	if (options->cert.len == 0)
		return 0;
	r = take_certs(maker, TLS_PART_CERT, options->cert, take_own);
	if (r < 0)
		return r;
	bio = BIO_new_mem_buf(options->key.data, (int)options->key.len);
	if (!bio)
		return -ENOMEM;
	key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked);
	r = use_key(maker, key, asked);
	EVP_PKEY_free(key);
	BIO_free(bio);
	maker->context->has_cert = r == 0;
	return r;
}

static int set_up(struct maker *maker)
{
	SSL_CTX *ctx = maker->context->ctx;
	int r;

	if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1)
		return fail_openssl(maker, TLS_PART_NONE, "TLS 1.2 is not to be had");
	(void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	r = set_ca(maker);
	return r < 0 ? r : set_own(maker);
}

/*
 * One of each kind that a handshake uses. OpenSSL takes in all of a kind at once
 * and only once: what it had no memory for would not be there in any handshake.
 */
static void look_up_algorithms(void)
{
	EVP_RAND_free(EVP_RAND_fetch(NULL, "CTR-DRBG", NULL));
	EVP_MD_free(EVP_MD_fetch(NULL, "SHA256", NULL));
	EVP_MAC_free(EVP_MAC_fetch(NULL, "HMAC", NULL));
	EVP_KDF_free(EVP_KDF_fetch(NULL, "HKDF", NULL));
	EVP_CIPHER_free(EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL));
	EVP_KEYMGMT_free(EVP_KEYMGMT_fetch(NULL, "EC", NULL));
	EVP_KEYEXCH_free(EVP_KEYEXCH_fetch(NULL, "ECDH", NULL));
	EVP_SIGNATURE_free(EVP_SIGNATURE_fetch(NULL, "ECDSA", NULL));
}

int tls_init(void)
{
	SSL_CTX *ctx;
	bool is_made;

	ERR_clear_error();
	look_up_algorithms();
	if (is_no_memory())
		return -ENOMEM;
	/* Its algorithms are looked up for the first context. */
	ctx = SSL_CTX_new(TLS_client_method());
	is_made = ctx && SSL_get_ex_data_X509_STORE_CTX_idx() >= 0;
	SSL_CTX_free(ctx);
	/* What it did without, it would do without from now on. */
	return is_no_memory() || !is_made ? -ENOMEM : 0;
}

int tls_context_new(const struct tls_options *options, struct tls_error *error, struct tls_context **ret)
{
	struct tls_context *context = calloc(1, sizeof(*context));
	struct maker maker = {options, error, context};
	int r;

	*error = (struct tls_error){0};
	if (!context)
		return -ENOMEM;
	ERR_clear_error();
	context->verify = options->verify;
	context->ctx = SSL_CTX_new(TLS_client_method());
	r = context->ctx ? set_up(&maker) : fail_openssl(&maker, TLS_PART_NONE, "OpenSSL cannot be set up");
	ERR_clear_error();
	if (r < 0) {
		(void)tls_context_free(context);
		return r;
	}
	*ret = context;
	return 0;
}

struct tls_context *tls_context_free(struct tls_context *context)
{
	if (!context)
		return NULL;
	SSL_CTX_free(context->ctx);
	free(context);
	return NULL;
}
