/* The words for what a TLS handshake failed at, where no handshake of test-net-tls gets. */
#include "daemon/net/tls-net.h"

#include "tests/unit/tls-cert.h"

#include <check.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#define ALERT_REASONS 1000 /* OpenSSL: an alert of the peer is this and its number */
#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define WANTS_ONE "it may want a client certificate: tls-cert and tls-key"
#define NOT_OURS "it does not accept tls-cert"

static const struct {
	int reason;
	bool has_cert;
	const char *says;
} failures[] = {
    {ALERT_REASONS + SSL_AD_HANDSHAKE_FAILURE, true, "it may not trust tls-cert's CA, or has no cipher"},
    {ALERT_REASONS + SSL_AD_HANDSHAKE_FAILURE, false, WANTS_ONE},
    {ALERT_REASONS + SSL_AD_CERTIFICATE_REQUIRED, false, WANTS_ONE},
    {ALERT_REASONS + SSL_AD_BAD_CERTIFICATE, true, NOT_OURS},
    {ALERT_REASONS + SSL_AD_CERTIFICATE_REVOKED, true, NOT_OURS},
    {ALERT_REASONS + SSL_AD_CERTIFICATE_EXPIRED, true, NOT_OURS},
    {ALERT_REASONS + SSL_AD_CERTIFICATE_UNKNOWN, false, WANTS_ONE},
    {ALERT_REASONS + SSL_AD_UNKNOWN_CA, true, "it does not know the CA of tls-cert"},
    {ALERT_REASONS + SSL_AD_PROTOCOL_VERSION, false, "it may not have TLS 1.2 or later"},
    {ALERT_REASONS + SSL_AD_UNRECOGNIZED_NAME, false, "it does not know the host of uri"},
    {ALERT_REASONS + SSL_AD_INTERNAL_ERROR, false, "alert 80, internal error: its log may say why"},
    {SSL_R_WRONG_VERSION_NUMBER, false, "what the peer sends is not TLS"},
    {SSL_R_UNSUPPORTED_PROTOCOL, false, "the broker has no TLS 1.2 or later, and older is not used"},
    {SSL_R_VERSION_TOO_LOW, false, "the broker has no TLS 1.2 or later, and older is not used"},
    {SSL_R_NO_SHARED_CIPHER, false, "TLS: no shared cipher"},
};

START_TEST(tls_reason__says_what_to_do)
{
	struct tls_wanted wanted = {.host = "host", .has_cert = failures[_i].has_cert};
	char reason[TLS_REASON_MAX];

	ck_assert_int_eq(OPENSSL_init_ssl(OPENSSL_INIT_LOAD_SSL_STRINGS, NULL),
			 1); /* as muxd does: its words */
	ERR_raise(ERR_LIB_SSL, failures[_i].reason);
	ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH); /* what follows from the first does not count */
	tls_reason_failure(reason, &wanted);
	ck_assert_msg(strstr(reason, failures[_i].says) != NULL, "'%s' has no '%s'", reason,
		      failures[_i].says);
	ck_assert_uint_eq(ERR_peek_error(), 0);
}
END_TEST

START_TEST(tls_reason__without_an_error_says_that)
{
	struct tls_wanted wanted = {.host = "host"};
	char reason[TLS_REASON_MAX];

	ERR_clear_error();
	tls_reason_failure(reason, &wanted);
	ck_assert_str_eq(reason, "TLS: failed, and OpenSSL does not say why");
}
END_TEST

/* Only where there is no other name the common name counts. */
START_TEST(tls_reason__names_a_certificate_of_a_common_name_alone)
{
	struct tls_wanted wanted = {.host = "host"};
	char reason[TLS_REASON_MAX];
	struct cert cert;

	cert_make(&cert, &(struct cert_options){.name = "other"});
	tls_reason_certificate(reason, cert.x509, X509_V_ERR_HOSTNAME_MISMATCH, &wanted);
	ck_assert_str_eq(reason, "TLS: the broker's certificate is for CN=other, and not for host, as uri "
				 "has it");
	cert_deinit(&cert);
}
END_TEST

START_TEST(tls_reason__of_no_certificate_is_one_all_the_same)
{
	struct tls_wanted wanted = {.host = "host"};
	char reason[TLS_REASON_MAX];

	tls_reason_certificate(reason, NULL, X509_V_ERR_CERT_HAS_EXPIRED, &wanted);
	ck_assert_msg(strstr(reason, "TLS: certificate ? is refused: ") == reason, "%s", reason);
}
END_TEST

START_TEST(tls_reason__what_a_certificate_has_not_is_told)
{
	X509_NAME *name = X509_NAME_new();
	ASN1_TIME *date = ASN1_TIME_new();
	char text[32];

	ck_assert_str_eq(tls_reason_subject(text, sizeof(text), name), "(no name)");
	ck_assert_int_eq(ASN1_STRING_set(date, "yesterday", -1), 1);
	ck_assert_str_eq(tls_reason_date(text, sizeof(text), date), "(no date)");
	X509_NAME_free(name);
	ASN1_TIME_free(date);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("net-tls-reason");
	TCase *tests = tcase_create("net-tls-reason");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tests, tls_reason__says_what_to_do, 0, COUNT(failures));
	tcase_add_test(tests, tls_reason__without_an_error_says_that);
	tcase_add_test(tests, tls_reason__names_a_certificate_of_a_common_name_alone);
	tcase_add_test(tests, tls_reason__of_no_certificate_is_one_all_the_same);
	tcase_add_test(tests, tls_reason__what_a_certificate_has_not_is_told);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
