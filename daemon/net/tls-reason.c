#include "daemon/net/tls-net.h"

#include "daemon/base/log.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_BYTES 64u
#define NAMES_MAX_BYTES 100u
#define DATE_MAX_BYTES 16u
/* Where OpenSSL puts the numbers of alerts among its reasons. */
#define ALERT_REASONS 1000
#define ALERTS_MAX 256

/* ------------------------------------------------------------------ names and dates */

char *tls_reason_subject(char *text, size_t size, const X509_NAME *name)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data = NULL;
	long len = 0;

	if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0)
		len = BIO_get_mem_data(bio, &data);
	if (len > 0)
		log_clean(text, size, span_make(data, (size_t)len));
	else
		(void)snprintf(text, size, "(no name)");
	BIO_free(bio);
	return text;
}

char *tls_reason_date(char *text, size_t size, const ASN1_TIME *date)
{
	struct tm tm;

	if (ASN1_TIME_to_tm(date, &tm) != 1 || strftime(text, size, "%Y-%m-%d", &tm) == 0)
		(void)snprintf(text, size, "(no date)");
	return text;
}

static void append(char *text, size_t size, const char *kind, struct span name)
{
	size_t len = strlen(text);
	char clean[NAME_MAX_BYTES];

	(void)snprintf(text + len, size - len, "%s%s%s", len ? ", " : "", kind,
		       log_clean(clean, sizeof(clean), name));
}

static void append_address(char *text, size_t size, const ASN1_OCTET_STRING *address)
{
	int family = ASN1_STRING_length(address) == 4 ? AF_INET : AF_INET6;
	char clean[INET6_ADDRSTRLEN] = "?";

	if (ASN1_STRING_length(address) == 4 || ASN1_STRING_length(address) == 16)
		(void)inet_ntop(family, ASN1_STRING_get0_data(address), clean, sizeof(clean));
	append(text, size, "", span_str(clean));
}

/* Whom the certificate is for. A common name counts only when there is no other name (RFC 6125). */
static char *names_of(char *text, size_t size, X509 *cert)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	char subject[NAME_MAX_BYTES];

	text[0] = 0;
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_DNS)
			append(text, size, "",
			       span_make(ASN1_STRING_get0_data(name->d.dNSName),
					 (size_t)ASN1_STRING_length(name->d.dNSName)));
		else if (name->type == GEN_IPADD)
			append_address(text, size, name->d.iPAddress);
	}
	GENERAL_NAMES_free(names);
	if (text[0] == 0)
		(void)snprintf(text, size, "%s",
			       tls_reason_subject(subject, sizeof(subject), X509_get_subject_name(cert)));
	return text;
}

/* ------------------------------------------------------------------ a certificate */

static const char *who_trusts(const struct tls_wanted *wanted)
{
	return wanted->has_ca ? "the CAs in tls-ca"
			      : "the CAs this system trusts; name the right one by tls-ca";
}

void tls_reason_certificate(char reason[TLS_REASON_MAX], X509 *cert, int code,
			    const struct tls_wanted *wanted)
{
	char subject[NAME_MAX_BYTES] = "?", issuer[NAME_MAX_BYTES] = "?";
	char date[DATE_MAX_BYTES], names[NAMES_MAX_BYTES];

	if (cert) {
		tls_reason_subject(subject, sizeof(subject), X509_get_subject_name(cert));
		tls_reason_subject(issuer, sizeof(issuer), X509_get_issuer_name(cert));
	}
	switch (cert ? code : X509_V_ERR_UNSPECIFIED) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		(void)snprintf(
		    reason, TLS_REASON_MAX,
		    "TLS: certificate %s has expired on %s; the broker needs a new one (issuer: %s)", subject,
		    tls_reason_date(date, sizeof(date), X509_get0_notAfter(cert)), issuer);
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		(void)snprintf(reason, TLS_REASON_MAX,
			       "TLS: certificate %s is not valid before %s; is the clock right? (issuer: %s)",
			       subject, tls_reason_date(date, sizeof(date), X509_get0_notBefore(cert)),
			       issuer);
		break;
	case X509_V_ERR_HOSTNAME_MISMATCH:
		(void)snprintf(reason, TLS_REASON_MAX,
			       "TLS: the broker's certificate is for %s, and not for %.60s, as uri has it",
			       names_of(names, sizeof(names), cert), wanted->host);
		break;
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		/* A common name or a DNS: entry may look the same, and does not count. */
		(void)snprintf(
		    reason, TLS_REASON_MAX,
		    "TLS: the broker's certificate is for %s, and not for %.45s, as uri has it; it needs "
		    "the entry IP:%.45s",
		    names_of(names, sizeof(names), cert), wanted->host, wanted->host);
		break;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		(void)snprintf(reason, TLS_REASON_MAX, "TLS: certificate %s is self-signed, and not among %s",
			       subject, who_trusts(wanted));
		break;
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		(void)snprintf(reason, TLS_REASON_MAX,
			       "TLS: the broker's certificate is signed by %s, which is not among %s",
			       subject, who_trusts(wanted));
		break;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		(void)snprintf(reason, TLS_REASON_MAX, "TLS: certificate %s: its issuer %s is not among %s",
			       subject, issuer, who_trusts(wanted));
		break;
	default:
		(void)snprintf(reason, TLS_REASON_MAX, "TLS: certificate %s is refused: %s (issuer: %s)",
			       subject, X509_verify_cert_error_string(code), issuer);
	}
}

/* ------------------------------------------------------------------ a failure */

/* What to do about an alert: the broker refused us. */
static const char *alert_advice(int alert, const struct tls_wanted *wanted)
{
	switch (alert) {
	case SSL_AD_HANDSHAKE_FAILURE:
	case SSL3_AD_NO_CERTIFICATE:
	case SSL_AD_CERTIFICATE_REQUIRED:
		return wanted->has_cert ? "it may not trust tls-cert's CA, or has no cipher in common"
					: "it may want a client certificate: tls-cert and tls-key";
	case SSL_AD_BAD_CERTIFICATE:
	case SSL_AD_UNSUPPORTED_CERTIFICATE:
	case SSL_AD_CERTIFICATE_REVOKED:
	case SSL_AD_CERTIFICATE_EXPIRED:
	case SSL_AD_CERTIFICATE_UNKNOWN:
		return wanted->has_cert ? "it does not accept tls-cert"
					: "it may want a client certificate: tls-cert and tls-key";
	case SSL_AD_UNKNOWN_CA:
		return "it does not know the CA of tls-cert";
	case SSL_AD_PROTOCOL_VERSION:
		return "it may not have TLS 1.2 or later";
	case SSL_AD_UNRECOGNIZED_NAME:
		return "it does not know the host of uri";
	default:
		return "its log may say why";
	}
}

static void explain_alert(char reason[TLS_REASON_MAX], int alert, const struct tls_wanted *wanted)
{
	(void)snprintf(reason, TLS_REASON_MAX, "TLS: the broker refuses with alert %d, %s: %s", alert,
		       SSL_alert_desc_string_long(alert), alert_advice(alert, wanted));
}

void tls_reason_failure(char reason[TLS_REASON_MAX], const struct tls_wanted *wanted)
{
	unsigned long error = ERR_peek_error();
	int code = ERR_GET_REASON(error);
	const char *text = ERR_reason_error_string(error);

	if (ERR_GET_LIB(error) == ERR_LIB_SSL && code >= ALERT_REASONS && code < ALERT_REASONS + ALERTS_MAX)
		explain_alert(reason, code - ALERT_REASONS, wanted);
	else if (ERR_GET_LIB(error) == ERR_LIB_SSL && code == SSL_R_WRONG_VERSION_NUMBER)
		(void)snprintf(
		    reason, TLS_REASON_MAX,
		    "TLS: what the peer sends is not TLS; is this its port for amqps (mostly 5671)?");
	else if (ERR_GET_LIB(error) == ERR_LIB_SSL &&
		 (code == SSL_R_UNSUPPORTED_PROTOCOL || code == SSL_R_VERSION_TOO_LOW))
		(void)snprintf(reason, TLS_REASON_MAX,
			       "TLS: the broker has no TLS 1.2 or later, and older is not used");
	else if (ERR_GET_LIB(error) == ERR_LIB_SSL && code == SSL_R_EXCESSIVE_MESSAGE_SIZE)
		(void)snprintf(
		    reason, TLS_REASON_MAX,
		    "TLS: a message of the handshake is too large; the broker's chain of certificates "
		    "may have 100 KiB");
	else
		(void)snprintf(reason, TLS_REASON_MAX, "TLS: %s",
			       text ? text : "failed, and OpenSSL does not say why");
	ERR_clear_error();
}
