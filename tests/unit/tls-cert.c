#include "tests/unit/tls-cert.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define DAY_SEC (24 * 60 * 60)

static void must(bool is_so)
{
	if (is_so)
		return;
	ERR_print_errors_fp(stderr);
	abort();
}

static void to_pem(BIO *bio, char pem[PEM_MAX])
{
	int len = BIO_read(bio, pem, PEM_MAX - 1);

	must(len > 0);
	pem[len] = 0;
	BIO_free(bio);
}

static void add_extension(X509 *x509, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	must(extension != NULL);
	must(X509_add_ext(x509, extension, -1) == 1);
	X509_EXTENSION_free(extension);
}

static void fill(struct cert *cert, const struct cert_options *options)
{
	X509_NAME *name = X509_get_subject_name(cert->x509);
	const struct cert *issuer = options->issuer ? options->issuer : cert;

	must(X509_set_version(cert->x509, 2) == 1);
	/* Its address: no two that live at a time are alike. */
	must(ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert->x509), (uintptr_t)cert) == 1);
	must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)options->name, -1, -1,
					0) == 1);
	must(X509_set_issuer_name(cert->x509, X509_get_subject_name(issuer->x509)) == 1);
	X509_gmtime_adj(X509_getm_notBefore(cert->x509), (long)options->from_days * DAY_SEC - 60);
	X509_gmtime_adj(X509_getm_notAfter(cert->x509),
			(long)(options->to_days ? options->to_days : 30) * DAY_SEC);
	must(X509_set_pubkey(cert->x509, cert->key) == 1);
	add_extension(cert->x509, NID_basic_constraints, options->is_ca ? "critical,CA:TRUE" : "CA:FALSE");
	if (options->san)
		add_extension(cert->x509, NID_subject_alt_name, options->san);
	must(X509_sign(cert->x509, issuer->key, EVP_sha256()) > 0);
}

void cert_make(struct cert *cert, const struct cert_options *options)
{
	BIO *bio;

	cert->key = EVP_EC_gen("P-256");
	cert->x509 = X509_new();
	must(cert->key && cert->x509);
	fill(cert, options);
	bio = BIO_new(BIO_s_mem());
	must(PEM_write_bio_X509(bio, cert->x509) == 1);
	to_pem(bio, cert->cert_pem);
	bio = BIO_new(BIO_s_mem());
	must(PEM_write_bio_PrivateKey(bio, cert->key, NULL, NULL, 0, NULL, NULL) == 1);
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

	must(PEM_write_bio_PKCS8PrivateKey(bio, cert->key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL) == 1);
	to_pem(bio, pem);
}
