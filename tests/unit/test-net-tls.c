/*
 * TLS over socket pairs: the client's side as an uplink uses it, the server
 * and whoever sits between them turned by hand. Nothing sleeps.
 */
#include "daemon/net/secure.h"

#include "tests/unit/tls-peer.h"

#include <check.h>
#include <errno.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURNS_MAX 100000
#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* What is cut out of the way between the two. */
struct middle {
	bool there;
	int client;
	int server;
	size_t down;	  /* bytes that went to the client */
	size_t down_most; /* then it is cut */
	size_t step;	  /* in one go */
	int damage;	  /* the byte of down that is changed; -1: none */
};

struct world {
	struct loop *loop;
	struct secure *secure;
	struct stream *stream;
	struct peer peer;
	struct middle middle;
	bool secured;
	size_t received;
	uint64_t written;
	size_t to_send;
	bool closed;
	char reason[TLS_REASON_MAX];
};

static struct cert ca, other_ca, good;

/* ------------------------------------------------------------------ the client */

static size_t on_bytes(void *context, struct span bytes, size_t *ret_need)
{
	struct world *w = context;

	for (size_t i = 0; i < bytes.len; i++)
		if (bytes.data[i] != pattern(w->received + i))
			ck_abort_msg("byte %zu is not what was sent", w->received + i);
	w->received += bytes.len;
	return bytes.len;
}

static void on_written(void *context, uint64_t total)
{
	struct world *w = context;

	ck_assert_uint_gt(total, w->written);
	w->written = total;
}

static void on_closed(void *context, const char *reason)
{
	struct world *w = context;

	w->closed = true;
	stream_close(w->stream, 0);
	w->stream = NULL;
	(void)snprintf(w->reason, sizeof(w->reason), "%s", reason); /* it is there yet */
}

static const struct stream_ops ops = {on_bytes, on_written, NULL, on_closed};

static void on_secured(void *owner, int fd, struct tls_wire *wire)
{
	struct world *w = owner;
	struct stream_options options = {
	    .fd = fd, .transport = &tls_wire_transport, .transport_context = wire, .ops = &ops, .context = w};

	w->secure = NULL;
	w->secured = true;
	ck_assert_int_eq(stream_new(w->loop, &options, &w->stream), 0);
}

static void on_failed(void *owner, const char *reason)
{
	struct world *w = owner;

	w->secure = NULL;
	w->closed = true;
	(void)snprintf(w->reason, sizeof(w->reason), "%s", reason);
}

static void queue(struct world *w, size_t count)
{
	struct buf *out = stream_out(w->stream);
	uint64_t from = stream_position(w->stream);

	for (size_t i = 0; i < count; i++)
		buf_append_u8(out, pattern((size_t)from + i));
	stream_mark(w->stream);
}

/* ------------------------------------------------------------------ the world */

static struct tls_context *context_of(const struct tls_options *options)
{
	struct tls_context *context = NULL;
	struct tls_error error;
	int r = tls_context_new(options, &error, &context);

	ck_assert_msg(r == 0, "%d: %s", r, error.text);
	return context;
}

static void pair(int fds[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
}

/* The context is freed: what began with it goes on. */
static void begin(struct world *w, struct tls_context *context, const char *host,
		  const struct peer_options *peer, bool middle)
{
	int outer[2], inner[2];
	struct secure_options options = {.context = context,
					 .host = host,
					 .deadline = MONO_NEVER,
					 .on_secured = on_secured,
					 .on_failed = on_failed,
					 .owner = w};

	*w = (struct world){.middle = {.there = middle, .down_most = SIZE_MAX, .step = 4096, .damage = -1}};
	pair(outer);
	if (middle) {
		pair(inner);
		w->middle.client = outer[1];
		w->middle.server = inner[0];
		outer[1] = inner[1];
	}
	peer_init(&w->peer, peer, outer[1]);
	ck_assert_int_eq(loop_new(&w->loop), 0);
	options.loop = w->loop;
	options.fd = outer[0];
	ck_assert_int_eq(secure_start(&options, &w->secure), 0);
	(void)tls_context_free(context);
}

static void end(struct world *w)
{
	(void)secure_cancel(w->secure);
	stream_close(w->stream, 0);
	(void)loop_free(w->loop);
	peer_deinit(&w->peer);
	if (w->middle.there) {
		(void)close(w->middle.client);
		(void)close(w->middle.server);
	}
}

static void pass(struct middle *m, int from, int to, bool down)
{
	uint8_t bytes[4096];
	size_t most = m->step;
	ssize_t n;

	if (down && m->down_most - m->down < most)
		most = m->down_most - m->down;
	n = most > 0 ? recv(from, bytes, most, 0) : -1;
	if (n <= 0)
		return;
	if (down && m->damage >= (int)m->down && m->damage < (int)(m->down + (size_t)n))
		bytes[(size_t)m->damage - m->down] ^= 0x40;
	if (down)
		m->down += (size_t)n;
	(void)send(to, bytes, (size_t)n, MSG_NOSIGNAL);
}

static void step(struct world *w)
{
	struct middle *m = &w->middle;

	peer_step(&w->peer);
	if (m->there) {
		pass(m, m->client, m->server, false);
		pass(m, m->server, m->client, true);
		if (m->down == m->down_most)
			(void)shutdown(m->client, SHUT_WR);
	}
	ck_assert_int_eq(loop_turn(w->loop, false), 0);
}

static bool until_secured(struct world *w)
{
	for (int i = 0; i < TURNS_MAX && !w->secured && !w->closed; i++)
		step(w);
	ck_assert(w->secured || w->closed);
	return w->secured;
}

static const char *until_closed(struct world *w)
{
	for (int i = 0; i < TURNS_MAX && !w->closed; i++)
		step(w);
	ck_assert(w->closed);
	return w->reason;
}

static void until_received(struct world *w, size_t count, size_t by_peer)
{
	for (int i = 0; i < TURNS_MAX && (w->received < count || w->peer.received < by_peer) && !w->closed;
	     i++)
		step(w);
	ck_assert_msg(!w->closed, "%s", w->reason);
	ck_assert_uint_eq(w->received, count);
	ck_assert_uint_eq(w->peer.received, by_peer);
}

static struct tls_context *usual(void)
{
	return context_of(&(struct tls_options){.ca = span_str(ca.cert_pem)});
}

static void begin_good(struct world *w, int version, bool middle)
{
	begin(w, usual(), "broker.test", &(struct peer_options){.cert = &good, .version = version}, middle);
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* ------------------------------------------------------------------ bytes */

START_TEST(tls__carries_bytes_both_ways_through_small_sockets)
{
	const size_t count = 3000000;
	struct world w;

	begin_good(&w, versions[_i], true);
	ck_assert_msg(until_secured(&w), "%s", w.reason);
	w.middle.step = 3001;
	queue(&w, count);
	w.peer.queued = count;
	until_received(&w, count, count);
	ck_assert_uint_eq(w.written, count);
	ck_assert_uint_eq(stream_position(w.stream), count);
	end(&w);
}
END_TEST

START_TEST(tls__handshake_comes_through_byte_by_byte)
{
	struct world w;

	begin_good(&w, versions[_i], true);
	w.middle.step = 1;
	ck_assert_msg(until_secured(&w), "%s", w.reason);
	queue(&w, 10);
	w.peer.queued = 10;
	until_received(&w, 10, 10);
	end(&w);
}
END_TEST

/* The output is full of what the peer does not read; then it does. */
START_TEST(tls__what_the_socket_does_not_take_is_taken_later)
{
	struct world w;

	begin_good(&w, versions[_i], false);
	ck_assert(until_secured(&w));
	w.peer.reads = false;
	queue(&w, 2000000);
	for (int i = 0; i < 20; i++)
		step(&w);
	ck_assert_uint_lt(w.written, 2000000);
	ck_assert_uint_eq(stream_position(w.stream), 2000000);
	w.peer.reads = true;
	until_received(&w, 0, 2000000);
	ck_assert_uint_eq(w.written, 2000000);
	end(&w);
}
END_TEST

START_TEST(tls__answers_a_key_update_and_goes_on)
{
	struct world w;

	begin_good(&w, TLS1_3_VERSION, false);
	ck_assert(until_secured(&w));
	for (int i = 0; i < TURNS_MAX && !w.peer.done; i++)
		step(&w);
	for (size_t i = 1; i <= 5; i++) {
		ck_assert_int_eq(SSL_key_update(w.peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		w.peer.queued = i * 40000;
		until_received(&w, i * 40000, (i - 1) * 1000);
		queue(&w, 1000);
		until_received(&w, i * 40000, i * 1000);
	}
	end(&w);
}
END_TEST

START_TEST(tls__key_updates_without_end_end_it)
{
	struct world w;

	begin_good(&w, TLS1_3_VERSION, false);
	ck_assert(until_secured(&w));
	for (int i = 0; i < TURNS_MAX && !w.peer.done; i++)
		step(&w);
	w.peer.queued = 1000;
	peer_step(&w.peer);
	for (int i = 0; i < 200; i++) {
		ck_assert_int_eq(SSL_key_update(w.peer.ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
		ck_assert_int_eq(SSL_do_handshake(w.peer.ssl), 1);
	}
	ck_assert_ptr_nonnull(
	    strstr(until_closed(&w), "key updates, or other handshake messages, without end"));
	ck_assert_msg(w.received == 1000, "what came before is delivered");
	end(&w);
}
END_TEST

START_TEST(tls__renegotiation_is_refused)
{
	struct world w;

	begin_good(&w, TLS1_2_VERSION, false);
	ck_assert(until_secured(&w));
	ck_assert_int_eq(SSL_renegotiate(w.peer.ssl), 1);
	w.peer.done = false;
	for (int i = 0; i < 20 && !w.peer.failed; i++)
		step(&w);
	/* OpenSSL's server takes no for a failure. */
	ck_assert(w.peer.failed);
	end(&w);
}
END_TEST

/* ------------------------------------------------------------------ ends */

START_TEST(tls__bytes_before_a_good_bye_are_delivered)
{
	struct world w;

	begin_good(&w, versions[_i], false);
	ck_assert(until_secured(&w));
	w.peer.queued = 50000;
	peer_step(&w.peer);
	(void)SSL_shutdown(w.peer.ssl);
	ck_assert_str_eq(until_closed(&w), "closed by the peer");
	ck_assert_uint_eq(w.received, 50000);
	end(&w);
}
END_TEST

START_TEST(tls__says_good_bye)
{
	struct world w;

	begin_good(&w, versions[_i], false);
	ck_assert(until_secured(&w));
	queue(&w, 100);
	stream_write_now(w.stream);
	stream_close(w.stream, 0);
	w.stream = NULL;
	for (int i = 0; i < 20 && !w.peer.ended; i++)
		step(&w);
	ck_assert(w.peer.ended);
	ck_assert(!w.peer.failed);
	ck_assert_uint_eq(w.peer.received, 100);
	end(&w);
}
END_TEST

START_TEST(tls__damaged_bytes_end_it_behind_those_that_came_whole)
{
	struct world w;

	begin_good(&w, versions[_i], true);
	ck_assert(until_secured(&w));
	w.peer.queued = 1000;
	until_received(&w, 1000, 0);
	w.middle.step = 1;
	w.middle.damage = (int)w.middle.down + 1500; /* in the second of the next two records */
	w.peer.queued = 2000;
	peer_step(&w.peer);
	w.peer.queued = 3000;
	(void)until_closed(&w);
	ck_assert_msg(strstr(w.reason, "TLS: ") == w.reason, "%s", w.reason);
	ck_assert_uint_eq(w.received, 2000);
	end(&w);
}
END_TEST

/* All that is there is read in one go, the damage with what is before it. */
START_TEST(tls__damage_behind_whole_bytes_is_told_without_another_byte)
{
	struct world w;

	begin_good(&w, versions[_i], true);
	ck_assert(until_secured(&w));
	w.peer.queued = 100;
	until_received(&w, 100, 0);
	w.middle.damage = (int)w.middle.down + 1500;
	w.peer.queued = 1100;
	peer_step(&w.peer);
	w.peer.queued = 2100;
	peer_step(&w.peer);
	(void)until_closed(&w);
	ck_assert_msg(strstr(w.reason, "TLS: ") == w.reason, "%s", w.reason);
	ck_assert_uint_eq(w.received, 1100);
	end(&w);
}
END_TEST

/* Bytes that the server sends in a handshake: when all of them have come, it is done. */
static size_t handshake_bytes(int version)
{
	struct world w;
	size_t count;

	begin_good(&w, version, true);
	w.middle.step = 1;
	ck_assert(until_secured(&w));
	count = w.middle.down;
	end(&w);
	return count;
}

START_TEST(tls__handshake_that_is_cut_at_any_byte_ends_with_a_reason)
{
	size_t all = handshake_bytes(versions[_i]);

	ck_assert_uint_gt(all, 500);
	/* Signatures, and so certificates, differ in length by a few bytes. */
	for (size_t most = 0; most < all - 12; most++) {
		struct world w;

		begin_good(&w, versions[_i], true);
		w.middle.down_most = most;
		ck_assert_msg(!until_secured(&w), "secured by %zu bytes", most);
		ck_assert_str_eq(w.reason,
				 "TLS: the peer closed the connection in the handshake; does it speak TLS?");
		end(&w);
	}
}
END_TEST

START_TEST(tls__deadline_of_the_handshake_holds)
{
	struct world w = {.middle.there = false};
	struct tls_context *context = usual();
	struct secure_options options = {.context = context,
					 .host = "broker.test",
					 .on_secured = on_secured,
					 .on_failed = on_failed,
					 .owner = &w};
	int fds[2];

	pair(fds);
	ck_assert_int_eq(loop_new(&w.loop), 0);
	options.loop = w.loop;
	options.fd = fds[0];
	options.deadline = mono_add_usec(loop_now(w.loop), 20 * USEC_PER_MSEC);
	ck_assert_int_eq(secure_start(&options, &w.secure), 0);
	(void)tls_context_free(context);
	while (!w.closed)
		ck_assert_int_eq(loop_turn(w.loop, true), 0);
	ck_assert_msg(strstr(w.reason, "does not finish the handshake") != NULL, "%s", w.reason);
	(void)close(fds[1]);
	(void)loop_free(w.loop);
}
END_TEST

START_TEST(tls__what_is_not_tls_is_told)
{
	static const char *const answers[] = {"AMQP\0\0\x09\x01", "HTTP/1.1 400 Bad Request\r\n\r\n",
					      "220 mail.test ESMTP\r\n"};
	struct world w;

	begin_good(&w, 0, true);
	peer_close(&w.peer);
	ck_assert_int_gt(send(w.middle.client, answers[_i], 8, MSG_NOSIGNAL), 0);
	ck_assert_str_eq(until_closed(&w),
			 "TLS: what the peer sends is not TLS; is this its port for amqps (mostly 5671)?");
	end(&w);
}
END_TEST

START_TEST(tls__good_bye_in_the_handshake_does_not_end_it)
{
	static const char good_bye[] = {0x15, 3, 3, 0, 2, 1, 0};
	struct world w;

	begin_good(&w, 0, true);
	peer_close(&w.peer);
	ck_assert_int_gt(send(w.middle.client, good_bye, sizeof(good_bye), MSG_NOSIGNAL), 0);
	ck_assert_str_eq(until_closed(&w),
			 "TLS: the peer closed the connection in the handshake; does it speak TLS?");
	ck_assert_ptr_null(w.stream);
	end(&w);
}
END_TEST

/* ------------------------------------------------------------------ whom we trust */

/* A server's certificate, what it is asked for, and what becomes of it. */
struct trial {
	struct cert_options cert;
	const struct cert *issuer;
	const char *host;
	enum tls_verify verify;
	const char *reason; /* NULL: it is good; else the reason has it */
	const char *more;   /* and this; may be NULL */
};

static const struct trial trials[] = {
    {{.name = "b", .san = "DNS:broker.test"}, &ca, "broker.test", TLS_VERIFY_FULL, NULL, NULL},
    {{.name = "b", .san = "DNS:broker.test"}, &ca, "BROKER.test", TLS_VERIFY_FULL, NULL, NULL},
    {{.name = "b", .san = "DNS:broker.test"}, &ca, "broker.test.", TLS_VERIFY_FULL, NULL, NULL},
    {{.name = "b", .san = "DNS:*.broker.test"}, &ca, "a.broker.test", TLS_VERIFY_FULL, NULL, NULL},
    {{.name = "b", .san = "DNS:*.test"},
     &ca,
     "a.broker.test",
     TLS_VERIFY_FULL,
     "is for *.test, and not",
     NULL},
    {{.name = "b", .san = "DNS:b*.test"},
     &ca,
     "broker.test",
     TLS_VERIFY_FULL,
     "is for b*.test, and not",
     NULL},
    {{.name = "broker.test"}, &ca, "broker.test", TLS_VERIFY_FULL, NULL, NULL},
    {{.name = "broker.test", .san = "DNS:b"}, &ca, "broker.test", TLS_VERIFY_FULL, "is for b, and not", NULL},
    {{.name = "b", .san = "IP:127.0.0.1"}, &ca, "127.0.0.1", TLS_VERIFY_FULL, NULL, NULL},
    {{.name = "b", .san = "IP:::1"}, &ca, "::1", TLS_VERIFY_FULL, NULL, NULL},
    {{.name = "b", .san = "IP:fe80::1"}, &ca, "fe80::1%lo", TLS_VERIFY_FULL, NULL, NULL},
    {{.name = "127.0.0.1", .san = "DNS:127.0.0.1"},
     &ca,
     "127.0.0.1",
     TLS_VERIFY_FULL,
     "is for 127.0.0.1, and not for 127.0.0.1",
     "it needs the entry IP:127.0.0.1"},
    {{.name = "b", .san = "IP:127.0.0.2,DNS:x"},
     &ca,
     "127.0.0.1",
     TLS_VERIFY_FULL,
     "is for 127.0.0.2, x, and not for 127.0.0.1",
     "uri"},
    {{.name = "b\nX: y", .san = "DNS:x"}, &ca, "broker.test", TLS_VERIFY_FULL, "is for x, and not", NULL},
    {{.name = "b", .san = "DNS:x"}, &ca, "broker.test", TLS_VERIFY_CA, NULL, NULL},
    {{.name = "b", .san = "DNS:broker.test", .from_days = -20, .to_days = -10},
     &ca,
     "broker.test",
     TLS_VERIFY_FULL,
     "certificate CN=b has expired on 20",
     "issuer: CN=ca"},
    {{.name = "b\nX: y", .san = "DNS:broker.test", .from_days = -20, .to_days = -10},
     &ca,
     "broker.test",
     TLS_VERIFY_CA,
     "certificate CN=b\\0AX: y has expired on 20",
     "issuer: CN=ca"},
    {{.name = "b", .san = "DNS:broker.test", .from_days = 5},
     &ca,
     "broker.test",
     TLS_VERIFY_FULL,
     "certificate CN=b is not valid before 20",
     "clock"},
    {{.name = "b", .san = "DNS:broker.test"},
     &other_ca,
     "broker.test",
     TLS_VERIFY_FULL,
     "certificate CN=b: its issuer CN=other is not among the CAs in tls-ca",
     NULL},
    {{.name = "b", .san = "DNS:broker.test"}, &other_ca, "broker.test", TLS_VERIFY_NONE, NULL, NULL},
    {{.name = "b", .san = "DNS:broker.test"},
     NULL,
     "broker.test",
     TLS_VERIFY_FULL,
     "certificate CN=b is self-signed, and not among the CAs in tls-ca",
     NULL},
};

START_TEST(tls__certificate_is_accepted_or_named_with_the_reason)
{
	const struct trial *trial = &trials[_i];
	struct cert_options options = trial->cert;
	struct cert cert;
	struct world w;
	bool secured;

	options.issuer = trial->issuer;
	cert_make(&cert, &options);
	begin(&w, context_of(&(struct tls_options){.ca = span_str(ca.cert_pem), .verify = trial->verify}),
	      trial->host, &(struct peer_options){.cert = &cert}, false);
	secured = until_secured(&w);
	ck_assert_msg(secured == !trial->reason, "%s", w.reason);
	if (trial->reason) {
		ck_assert_msg(strstr(w.reason, trial->reason) != NULL, "'%s' has no '%s'", w.reason,
			      trial->reason);
		ck_assert_msg(!trial->more || strstr(w.reason, trial->more), "'%s' has no '%s'", w.reason,
			      trial->more);
		ck_assert_ptr_null(strchr(w.reason, '\n'));
	}
	end(&w);
	cert_deinit(&cert);
}
END_TEST

/* The broker's own certificate, or one between it and a root that we do not know, can be what we trust. */
START_TEST(tls__what_tls_ca_names_need_not_be_a_root)
{
	struct cert between, leaf;

	cert_make(&between, &(struct cert_options){.name = "between", .issuer = &ca, .is_ca = true});
	cert_make(&leaf, &(struct cert_options){.name = "b", .san = "DNS:broker.test", .issuer = &between});
	for (int i = 0; i < 3; i++) {
		const struct cert *trusted[] = {&ca, &between, &leaf};
		struct world w;

		begin(&w, context_of(&(struct tls_options){.ca = span_str(trusted[i]->cert_pem)}),
		      "broker.test", &(struct peer_options){.cert = &leaf, .between = &between}, false);
		ck_assert_msg(until_secured(&w), "%d: %s", i, w.reason);
		end(&w);
	}
	cert_deinit(&between);
	cert_deinit(&leaf);
}
END_TEST

START_TEST(tls__without_a_ca_the_systems_are_trusted)
{
	struct world w;

	setenv("SSL_CERT_DIR", "/nonexistent", 1);
	setenv("SSL_CERT_FILE", "/nonexistent", 1);
	begin(&w, context_of(&(struct tls_options){.verify = TLS_VERIFY_FULL}), "broker.test",
	      &(struct peer_options){.cert = &good}, false);
	ck_assert(!until_secured(&w));
	ck_assert_msg(
	    strstr(w.reason, "is not among the CAs this system trusts; name the right one by tls-ca") != NULL,
	    "%s", w.reason);
	end(&w);
}
END_TEST

START_TEST(tls__less_than_1_2_is_refused)
{
	static const int olds[] = {TLS1_VERSION, TLS1_1_VERSION};
	struct world w;

	begin_good(&w, olds[_i], false);
	ck_assert(!until_secured(&w));
	ck_assert_msg(strstr(w.reason, "TLS 1.2 or later") != NULL, "%s", w.reason);
	end(&w);
}
END_TEST

START_TEST(tls__name_is_sent_and_address_is_not)
{
	struct world w;

	begin_good(&w, TLS1_3_VERSION, false);
	ck_assert(until_secured(&w));
	ck_assert_str_eq(SSL_get_servername(w.peer.ssl, TLSEXT_NAMETYPE_host_name), "broker.test");
	end(&w);
	begin(&w, context_of(&(struct tls_options){.verify = TLS_VERIFY_NONE}), "127.0.0.1",
	      &(struct peer_options){.cert = &good, .version = TLS1_3_VERSION}, false);
	ck_assert(until_secured(&w));
	ck_assert_ptr_null(SSL_get_servername(w.peer.ssl, TLSEXT_NAMETYPE_host_name));
	end(&w);
}
END_TEST

/* ------------------------------------------------------------------ who we are */

static void try_client(const struct cert *client, int version, struct world *w)
{
	struct tls_options options = {.ca = span_str(ca.cert_pem)};

	if (client) {
		options.cert = span_str(client->cert_pem);
		options.key = span_str(client->key_pem);
	}
	begin(
	    w, context_of(&options), "broker.test",
	    &(struct peer_options){.cert = &good, .client_ca = &ca, .needs_client = true, .version = version},
	    false);
	/* With TLS 1.3 the refusal comes when our side is done. */
	if (until_secured(w))
		w->peer.queued = 10;
	for (int i = 0; i < TURNS_MAX && !w->closed && w->received < 10; i++)
		step(w);
}

START_TEST(tls__client_certificate_is_shown)
{
	struct cert client;
	struct world w;
	X509 *seen;

	cert_make(&client, &(struct cert_options){.name = "app", .issuer = &ca});
	try_client(&client, versions[_i], &w);
	ck_assert_msg(!w.closed, "%s", w.reason);
	seen = SSL_get1_peer_certificate(w.peer.ssl);
	ck_assert_int_eq(X509_cmp(seen, client.x509), 0);
	X509_free(seen);
	end(&w);
	cert_deinit(&client);
}
END_TEST

START_TEST(tls__lack_of_a_client_certificate_is_told)
{
	struct world w;

	try_client(NULL, versions[_i], &w);
	ck_assert(w.closed);
	ck_assert_msg(strstr(w.reason, "it may want a client certificate: tls-cert and tls-key") != NULL,
		      "%s", w.reason);
	end(&w);
}
END_TEST

START_TEST(tls__client_certificate_that_is_refused_is_told)
{
	struct cert client;
	struct world w;

	cert_make(&client, &(struct cert_options){.name = "app", .issuer = &other_ca});
	try_client(&client, versions[_i], &w);
	ck_assert(w.closed);
	ck_assert_msg(strstr(w.reason, "it does not know the CA of tls-cert") != NULL, "%s", w.reason);
	end(&w);
	cert_deinit(&client);
}
END_TEST

/* ------------------------------------------------------------------ contexts */

struct broken {
	enum tls_part part;
	const char *ca;
	const char *cert;
	const char *key;
	const char *text;
};

START_TEST(tls_context__says_which_part_is_wrong)
{
	struct cert client, other;
	char encrypted[PEM_MAX], damaged[PEM_MAX], two[2 * PEM_MAX];

	cert_make(&client, &(struct cert_options){.name = "app", .issuer = &ca});
	cert_make(&other, &(struct cert_options){.name = "other", .issuer = &ca});
	cert_encrypt_key(&client, encrypted);
	(void)snprintf(damaged, sizeof(damaged), "%s", client.cert_pem);
	memset(damaged + 100, '!', 20);
	(void)snprintf(two, sizeof(two), "%s%s", ca.cert_pem, damaged);

	const struct broken brokens[] = {
	    {TLS_PART_CA, "nonsense", NULL, NULL, "no certificate is in it: PEM is wanted"},
	    {TLS_PART_CA, two, NULL, NULL, "certificate 2 in it is damaged"},
	    {TLS_PART_CA, client.key_pem, NULL, NULL, "no certificate is in it"},
	    {TLS_PART_CERT, ca.cert_pem, client.key_pem, client.key_pem, "no certificate is in it"},
	    {TLS_PART_CERT, ca.cert_pem, damaged, client.key_pem, "certificate 1 in it is damaged"},
	    {TLS_PART_KEY, ca.cert_pem, client.cert_pem, "nonsense", "no private key can be read"},
	    {TLS_PART_KEY, ca.cert_pem, client.cert_pem, client.cert_pem, "no private key can be read"},
	    {TLS_PART_KEY, ca.cert_pem, client.cert_pem, other.key_pem, "not the one of the certificate"},
	    {TLS_PART_KEY, ca.cert_pem, client.cert_pem, encrypted, "is encrypted"},
	};

	for (int i = 0; i < COUNT(brokens); i++) {
		struct tls_options options = {.ca = span_str(brokens[i].ca),
					      .cert = span_str(brokens[i].cert),
					      .key = span_str(brokens[i].key)};
		struct tls_context *context;
		struct tls_error error;

		ck_assert_int_eq(tls_context_new(&options, &error, &context), -EINVAL);
		ck_assert_int_eq(error.part, brokens[i].part);
		ck_assert_msg(strstr(error.text, brokens[i].text) != NULL, "%d: %s", i, error.text);
		ck_assert_uint_eq(ERR_peek_error(), 0);
	}
	cert_deinit(&client);
	cert_deinit(&other);
}
END_TEST

static void collect(void *context, enum tls_part part, const char *text)
{
	size_t len = strlen(context);

	(void)snprintf((char *)context + len, 512 - len, "%d %.60s\n", (int)part, text);
}

START_TEST(tls_context__warns_of_dates)
{
	struct cert old, early;
	char warnings[512] = "";
	struct tls_options options = {.warn = collect, .context = warnings};

	cert_make(&old, &(struct cert_options){.name = "old", .is_ca = true, .from_days = -9, .to_days = -8});
	cert_make(&early, &(struct cert_options){.name = "early", .from_days = 9});
	options.ca = span_str(old.cert_pem);
	options.cert = span_str(early.cert_pem);
	options.key = span_str(early.key_pem);
	(void)tls_context_free(context_of(&options));
	ck_assert_msg(strstr(warnings, "1 certificate CN=old has expired on 20") == warnings, "%s", warnings);
	ck_assert_msg(strstr(warnings, "\n2 certificate CN=early is not valid before 20") != NULL, "%s",
		      warnings);
	cert_deinit(&old);
	cert_deinit(&early);
}
END_TEST

/* ------------------------------------------------------------------ */

static void setup(void)
{
	cert_make(&ca, &(struct cert_options){.name = "ca", .is_ca = true});
	cert_make(&other_ca, &(struct cert_options){.name = "other", .is_ca = true});
	cert_make(&good, &(struct cert_options){.name = "b", .san = "DNS:broker.test", .issuer = &ca});
}

static void teardown(void)
{
	cert_deinit(&ca);
	cert_deinit(&other_ca);
	cert_deinit(&good);
}

static void add_bytes(TCase *tests)
{
	tcase_add_loop_test(tests, tls__carries_bytes_both_ways_through_small_sockets, 0, COUNT(versions));
	tcase_add_loop_test(tests, tls__handshake_comes_through_byte_by_byte, 0, COUNT(versions));
	tcase_add_loop_test(tests, tls__what_the_socket_does_not_take_is_taken_later, 0, COUNT(versions));
	tcase_add_test(tests, tls__answers_a_key_update_and_goes_on);
	tcase_add_test(tests, tls__key_updates_without_end_end_it);
	tcase_add_test(tests, tls__renegotiation_is_refused);
	tcase_add_loop_test(tests, tls__bytes_before_a_good_bye_are_delivered, 0, COUNT(versions));
	tcase_add_loop_test(tests, tls__says_good_bye, 0, COUNT(versions));
	tcase_add_loop_test(tests, tls__damaged_bytes_end_it_behind_those_that_came_whole, 0,
			    COUNT(versions));
	tcase_add_loop_test(tests, tls__damage_behind_whole_bytes_is_told_without_another_byte, 0,
			    COUNT(versions));
	tcase_add_loop_test(tests, tls__handshake_that_is_cut_at_any_byte_ends_with_a_reason, 0,
			    COUNT(versions));
	tcase_add_test(tests, tls__deadline_of_the_handshake_holds);
	tcase_add_loop_test(tests, tls__what_is_not_tls_is_told, 0, 3);
	tcase_add_test(tests, tls__good_bye_in_the_handshake_does_not_end_it);
}

static void add_trust(TCase *tests)
{
	tcase_add_loop_test(tests, tls__certificate_is_accepted_or_named_with_the_reason, 0, COUNT(trials));
	tcase_add_test(tests, tls__what_tls_ca_names_need_not_be_a_root);
	tcase_add_test(tests, tls__without_a_ca_the_systems_are_trusted);
	tcase_add_loop_test(tests, tls__less_than_1_2_is_refused, 0, 2);
	tcase_add_test(tests, tls__name_is_sent_and_address_is_not);
	tcase_add_loop_test(tests, tls__client_certificate_is_shown, 0, COUNT(versions));
	tcase_add_loop_test(tests, tls__lack_of_a_client_certificate_is_told, 0, COUNT(versions));
	tcase_add_loop_test(tests, tls__client_certificate_that_is_refused_is_told, 0, COUNT(versions));
	tcase_add_test(tests, tls_context__says_which_part_is_wrong);
	tcase_add_test(tests, tls_context__warns_of_dates);
}

int main(void)
{
	Suite *suite = suite_create("net/tls");
	TCase *tests = tcase_create("tls");
	SRunner *runner = srunner_create(suite);
	int failed;

	(void)signal(SIGPIPE, SIG_IGN);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, 60);
	add_bytes(tests);
	add_trust(tests);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
