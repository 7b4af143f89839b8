/*
 * Allocations that OpenSSL makes fail once, in turn, from the making of a
 * context to the first bytes: there is an error or there is none, but nothing
 * crashes and nothing is left (the sanitizer counts at the end).
 */
#include "daemon/net/tls-wire.h"

#include "tests/unit/tls-peer.h"

#include <check.h>
#include <errno.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEPS_MAX 1000

static struct {
	bool armed;
	long count;   /* allocations while armed */
	long fail_at; /* this one; 0: none */
} hook;

static bool fails(void)
{
	return hook.armed && ++hook.count == hook.fail_at;
}

static void *hooked_malloc(size_t size, const char *file, int line)
{
	return fails() ? NULL : malloc(size);
}

static void *hooked_realloc(void *block, size_t size, const char *file, int line)
{
	return fails() ? NULL : realloc(block, size);
}

static void hooked_free(void *block, const char *file, int line)
{
	free(block);
}

static struct cert ca, good, client;

static int make_context(struct tls_context **ret)
{
	struct tls_options options = {
	    .ca = span_str(ca.cert_pem), .cert = span_str(client.cert_pem), .key = span_str(client.key_pem)};
	struct tls_error error;

	return tls_context_new(&options, &error, ret);
}

/* The client's side alone is hooked. */
static int client_step(int (*step)(struct tls_wire *wire, int fd), struct tls_wire *wire, int fd)
{
	int r;

	hook.armed = true;
	r = step(wire, fd);
	hook.armed = false;
	return r;
}

static int exchange(struct tls_wire *wire, int fd)
{
	static const uint8_t bytes[] = {0};
	uint8_t answer[64];
	struct iovec part = {answer, sizeof(answer)};
	ssize_t n = tls_wire_transport.write(wire, fd, span_make(bytes, 1));

	if (n < 0)
		return (int)n;
	return (int)tls_wire_transport.read(wire, fd, &part, 1);
}

/* A connection. 0 if all of it worked. */
static int use(struct tls_wire *wire)
{
	struct peer peer;
	int fds[2], r;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	peer_init(&peer, &(struct peer_options){.cert = &good, .client_ca = &ca, .needs_client = true},
		  fds[1]);
	r = -EAGAIN;
	for (int i = 0; r == -EAGAIN && i < STEPS_MAX; i++) {
		r = client_step(tls_wire_handshake, wire, fds[0]);
		peer_step(&peer);
	}
	if (r == 0) {
		peer.queued = 10;
		peer_step(&peer);
		r = client_step(exchange, wire, fds[0]);
		r = r > 0 ? 0 : r;
	}
	if (r == -EPROTO)
		ck_assert(tls_wire_reason(wire)[0] != 0);
	tls_wire_transport.end(wire, fds[0]);
	peer_deinit(&peer);
	(void)close(fds[0]);
	return r;
}

static int whole(void)
{
	struct tls_context *context = NULL;
	struct tls_wire *wire = NULL;
	int r;

	hook.armed = true;
	r = make_context(&context);
	if (r == 0)
		r = tls_wire_new(context, "broker.test", &wire);
	context = tls_context_free(context);
	hook.armed = false;
	return r < 0 ? r : use(wire);
}

/* All that uses the context would fail as long as it is there, and blame the certificates. */
START_TEST(tls__context_that_is_made_without_memory_is_whole)
{
	long stride = getenv("EVERY_ALLOCATION") ? 1 : 29;
	struct tls_context *context;
	struct tls_wire *wire;
	long count;
	int made = 0;

	ck_assert_int_eq(whole(), 0); /* as above */
	for (long i = 1;; i += stride) {
		hook.count = 0;
		hook.fail_at = i;
		hook.armed = true;
		context = NULL;
		(void)make_context(&context);
		hook.armed = false;
		hook.fail_at = 0;
		count = hook.count;
		if (!context)
			continue;
		ck_assert_int_eq(tls_wire_new(context, "broker.test", &wire), 0);
		context = tls_context_free(context);
		ck_assert_msg(use(wire) == 0, "it is not, when call %ld has failed", i);
		made++;
		if (count < i)
			break;
	}
	ck_assert_int_gt(made, 1); /* some do without */
}
END_TEST

START_TEST(tls__every_allocation_may_fail)
{
	/* Some 12,000 of them take minutes: one in so many, unless all are asked for. */
	long stride = getenv("EVERY_ALLOCATION") ? 1 : 97;
	long count;
	int tried = 0, failures = 0;

	ck_assert_int_eq(whole(), 0); /* what OpenSSL keeps for good is there now */
	hook.count = 0;
	ck_assert_int_eq(whole(), 0);
	count = hook.count;
	ck_assert_int_gt(count, 200);
	for (long i = 1; i <= count; i += stride, tried++) {
		hook.count = 0;
		hook.fail_at = i;
		failures += whole() < 0;
		ck_assert_uint_eq(ERR_peek_error(), 0);
	}
	hook.fail_at = 0;
	/* Some do without. */
	ck_assert_int_gt(failures, tried / 10);
	ck_assert_int_eq(whole(), 0);
}
END_TEST

static void setup(void)
{
	cert_make(&ca, &(struct cert_options){.name = "ca", .is_ca = true});
	cert_make(&good, &(struct cert_options){.name = "b", .san = "DNS:broker.test", .issuer = &ca});
	cert_make(&client, &(struct cert_options){.name = "app", .issuer = &ca});
}

static void teardown(void)
{
	cert_deinit(&ca);
	cert_deinit(&good);
	cert_deinit(&client);
}

int main(void)
{
	Suite *suite = suite_create("net/tls-oom");
	TCase *tests = tcase_create("tls-oom");
	SRunner *runner = srunner_create(suite);
	int failed;

	if (CRYPTO_set_mem_functions(hooked_malloc, hooked_realloc, hooked_free) != 1)
		return EXIT_FAILURE;
	(void)signal(SIGPIPE, SIG_IGN);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 1800);
	tcase_add_test(tests, tls__every_allocation_may_fail);
	tcase_add_test(tests, tls__context_that_is_made_without_memory_is_whole);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
