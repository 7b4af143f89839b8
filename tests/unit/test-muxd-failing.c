/*
 * muxd, whole, with each call that can fail failing once: it starts, serves a
 * client on a broker, in the clear or over TLS, and ends. Whatever fails, it
 * neither crashes nor leaks; it ends with one of its exit codes, and says why if
 * that is not 0; and its client has an answer, or the end of the connection.
 *
 *	test-muxd-failing [--all | --part I/N] [SCENARIO]
 *
 * Each case is a process of its own, forked. As a test only some calls fail of
 * those that are many, spread evenly; --all takes every one, --part the Ith of
 * N parts of them. What a reload calls: test-muxd-reload-failing.
 */
#include "config.h"

#include "daemon/net/loop.h"
#include "tests/unit/muxd-cases.h"
#include "tests/unit/tls-relay.h"
#include "tests/unit/wrap-failing.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CASES_MAX 24u /* of a kind in a scenario, as a test */
#define LAST_REQUEST 99u
#define RESOURCE_ERROR 506u

static struct {
	struct cases cases;
	bool ends_at_once; /* a signal waits when the loop begins */
} t;

int __real_loop_run(struct loop *loop);
int __wrap_loop_run(struct loop *loop);
int __wrap_loop_run(struct loop *loop)
{
	if (t.ends_at_once)
		(void)kill(getpid(), SIGTERM);
	return __real_loop_run(loop);
}

/* ------------------------------------------------------------------ the client */

static void add_begin(struct buf *out)
{
	Muxd__V1__ClientFrame exchange = cases_frame(MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DECLARE, 2);
	Muxd__V1__ClientFrame bind = cases_frame(MUXD__V1__CLIENT_FRAME__OP_QUEUE_BIND, 3);

	cases_add_hello(out, "");
	cases_add_open(out);
	cases_add_declare(out, "", 1);
	exchange.exchange_declare = &(Muxd__V1__ExchangeDeclare)MUXD__V1__EXCHANGE_DECLARE__INIT;
	exchange.exchange_declare->has_exchange = exchange.exchange_declare->has_type = true;
	exchange.exchange_declare->exchange = cases_text("e");
	exchange.exchange_declare->type = cases_text("fanout");
	cases_add(out, &exchange, SPAN_NULL);
	bind.queue_bind = &(Muxd__V1__QueueBind)MUXD__V1__QUEUE_BIND__INIT;
	bind.queue_bind->has_exchange = true;
	bind.queue_bind->exchange = cases_text("e");
	cases_add(out, &bind, SPAN_NULL);
}

static void add_messages(struct buf *out)
{
	static const uint8_t body[6000];
	Muxd__V1__Properties properties = MUXD__V1__PROPERTIES__INIT;
	Muxd__V1__ClientFrame publish = cases_frame(MUXD__V1__CLIENT_FRAME__OP_PUBLISH, 0);
	Muxd__V1__ClientFrame get = cases_frame(MUXD__V1__CLIENT_FRAME__OP_GET, 4);
	Muxd__V1__ClientFrame consume = cases_frame(MUXD__V1__CLIENT_FRAME__OP_CONSUME, 5);

	properties.headers = &(Muxd__V1__Table)MUXD__V1__TABLE__INIT;
	publish.publish = &(Muxd__V1__Publish)MUXD__V1__PUBLISH__INIT;
	publish.publish->has_exchange = publish.publish->has_mandatory = publish.publish->mandatory = true;
	publish.publish->exchange = cases_text("e");
	publish.publish->properties = &properties;
	cases_add(out, &publish, span_make(body, sizeof(body)));
	cases_add(out, &publish, span_make(body, 10));
	publish.publish->exchange = cases_text(""); /* comes back */
	cases_add(out, &publish, span_make(body, 10));
	get.get = &(Muxd__V1__Get)MUXD__V1__GET__INIT;
	cases_add(out, &get, SPAN_NULL);
	consume.consume = &(Muxd__V1__Consume)MUXD__V1__CONSUME__INIT;
	consume.consume->has_credit_messages = consume.consume->has_credit_bytes = true;
	consume.consume->credit_messages = 100;
	consume.consume->credit_bytes = 1u << 20;
	cases_add(out, &consume, SPAN_NULL);
}

static void add_end(struct buf *out)
{
	Muxd__V1__ClientFrame settle = cases_frame(MUXD__V1__CLIENT_FRAME__OP_SETTLE, 0);
	Muxd__V1__ClientFrame cancel = cases_frame(MUXD__V1__CLIENT_FRAME__OP_CANCEL, 6);
	Muxd__V1__ClientFrame status = cases_frame(MUXD__V1__CLIENT_FRAME__OP_STATUS, 7);
	Muxd__V1__ClientFrame sessions = cases_frame(MUXD__V1__CLIENT_FRAME__OP_SESSIONS, 8);
	Muxd__V1__ClientFrame drop = cases_frame(MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DELETE, 9);
	Muxd__V1__ClientFrame close = cases_frame(MUXD__V1__CLIENT_FRAME__OP_CHANNEL_CLOSE, LAST_REQUEST);
	Muxd__V1__Range all = MUXD__V1__RANGE__INIT, *row = &all;

	settle.settle = &(Muxd__V1__Settle)MUXD__V1__SETTLE__INIT;
	settle.settle->n_tags = 1;
	settle.settle->tags = &row;
	cases_add(out, &settle, SPAN_NULL);
	cancel.cancel = &(Muxd__V1__Cancel)MUXD__V1__CANCEL__INIT;
	cases_add(out, &cancel, SPAN_NULL);
	status.status = &(Muxd__V1__StatusQuery)MUXD__V1__STATUS_QUERY__INIT;
	cases_add(out, &status, SPAN_NULL);
	sessions.sessions = &(Muxd__V1__SessionsQuery)MUXD__V1__SESSIONS_QUERY__INIT;
	cases_add(out, &sessions, SPAN_NULL);
	drop.exchange_delete = &(Muxd__V1__ExchangeDelete)MUXD__V1__EXCHANGE_DELETE__INIT;
	drop.exchange_delete->has_exchange = true;
	drop.exchange_delete->exchange = cases_text("e");
	cases_add(out, &drop, SPAN_NULL);
	close.channel_close = &(Muxd__V1__ChannelClose)MUXD__V1__CHANNEL_CLOSE__INIT;
	cases_add(out, &close, SPAN_NULL);
}

/* True once the last request was answered; *is_served once the first was, as it should, or for want of
 * memory. */
static bool look(struct buf *in, bool *is_served)
{
	Muxd__V1__ServerFrame *frame;
	bool last = false;

	while ((frame = cases_take(in))) {
		last |= frame->has_request && frame->request == LAST_REQUEST;
		*is_served |= frame->event_case == MUXD__V1__SERVER_FRAME__EVENT_QUEUE_DECLARED;
		*is_served |= frame->event_case == MUXD__V1__SERVER_FRAME__EVENT_ERROR &&
			      frame->error->code == RESOURCE_ERROR && frame->error->retryable;
		muxd__v1__server_frame__free_unpacked(frame, NULL);
	}
	return last;
}

/* NULL: the client was answered, or its connection has ended. */
static const char *client_run(int fd)
{
	struct buf out = BUF_INIT, in = BUF_INIT;
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	const char *problem = NULL;
	bool answered = false, is_served = false;
	ssize_t n = 1;

	add_begin(&out);
	add_messages(&out);
	add_end(&out);
	(void)send(fd, out.data, buf_len(&out), MSG_NOSIGNAL); /* muxd may be gone */
	while (!answered && !problem && n > 0) {
		uint8_t *room = buf_reserve(&in, 65536);

		if (poll(&wait, 1, CASES_ANSWER_SECONDS * 1000) == 0) {
			problem = "the client has no answer";
			break;
		}
		n = read(fd, room, 65536);
		buf_commit(&in, n > 0 ? (size_t)n : 0);
		answered = look(&in, &is_served);
	}
	/* A lost attempt to connect is followed by another. */
	if (answered && !is_served && wrap_failed() && strstr(wrap_failed(), "OpenSSL"))
		problem = "a failure of OpenSSL goes on when there is memory";
	buf_deinit(&out);
	buf_deinit(&in);
	(void)close(fd);
	return problem;
}

/* ------------------------------------------------------------------ a case */

static void run_case(const char *scenario, enum wrap_kind kind, unsigned long nth)
{
	static char log[CASES_LOG_MAX];
	int listener = t.ends_at_once ? -1 : cases_listen(&t.cases), status = 0;
	const char *problem = NULL, *worse;
	pid_t child;

	wrap_arm(kind, nth);
	child = cases_fork(&t.cases, listener);
	if (listener >= 0) {
		int fd = cases_connect(&t.cases);

		(void)close(listener);
		problem = client_run(fd);
		(void)kill(child, SIGTERM);
	}
	if (waitpid(child, &status, 0) < 0)
		cases_give_up("waitpid");
	cases_read_log(&t.cases, log);
	worse = cases_judge(status, log);
	problem = worse ? worse : problem;
	if (!problem && nth == 0 && wrap_failed())
		problem = "something failed";
	if (!problem && nth == 0 && status != 0)
		problem = "muxd fails though nothing does";
	t.cases.passed += !problem;
	t.cases.failed += problem != NULL;
	if (problem)
		printf("FAILED: %s, call %lu (%s): %s; exit status %x\n%s\n", scenario, nth,
		       wrap_failed() ? wrap_failed() : "none", problem, (unsigned int)status, log);
}

static void run_kind(const char *scenario, enum wrap_kind kind)
{
	unsigned long count, done = 0;

	run_case(scenario, kind, 0);
	count = wrap_count();
	for (unsigned long nth = 1; nth <= count; nth++) {
		if (!cases_have_call(&t.cases, nth, count, CASES_MAX))
			continue;
		run_case(scenario, kind, nth);
		done++;
	}
	printf("%s, %s: %lu of %lu calls failed\n", scenario, wrap_kind_name(kind), done, count);
	fflush(stdout);
}

static void run_all(const char *scenario)
{
	if (!cases_are_wanted(&t.cases, scenario))
		return;
	run_kind(scenario, WRAP_MEMORY);
	run_kind(scenario, WRAP_LIBRARY);
	run_kind(scenario, WRAP_SYSTEM);
}

/* ------------------------------------------------------------------ around it */

static void write_conf(const char *uri, unsigned int port, const char *tls)
{
	char text[2048];

	snprintf(text, sizeof(text),
		 "drain-timeout = 1s\nrequest-timeout = 3s\npublish-timeout = 3s\nlog-level = notice\n"
		 "upstream \"default\" {\n  uri = \"%s://localhost:%u\"\n  reconnect-min = 10ms\n"
		 "  reconnect-max = 100ms\n  connect-timeout = 1s\n  heartbeat = 5s\n%s}\n"
		 "access \"a\" {\n  user = { \"root\", \"0-65533\" }\n  upstream = \"default\"\n  configure "
		 "= \".*\"\n"
		 "  write = \".*\"\n  read = \"^.*\"\n  control = true\n}\n",
		 uri, port, tls);
	cases_write(t.cases.conf, text);
}

static void write_conf_tls(unsigned int port)
{
	char tls[512];

	snprintf(tls, sizeof(tls),
		 "  tls-ca = \"%s/ca.pem\"\n  tls-cert = \"%s/cert.pem\"\n  tls-key = \"%s/key.pem\"\n",
		 t.cases.folder, t.cases.folder, t.cases.folder);
	write_conf("amqps", port, tls);
}

int main(int argc, char **argv)
{
	unsigned int port;
	pid_t relay;

	cases_begin(&t.cases, argc, argv);
	relay = tls_relay_start(t.cases.port, t.cases.folder, &port);
	write_conf("amqp", t.cases.port, "");
	t.ends_at_once = true;
	run_all("start");
	t.ends_at_once = false;
	run_all("session");
	write_conf_tls(port);
	t.ends_at_once = true;
	run_all("start with TLS");
	t.ends_at_once = false;
	run_all("session over TLS");
	(void)kill(relay, SIGTERM);
	(void)waitpid(relay, NULL, 0);
	return cases_end(&t.cases, "test-muxd-failing");
}
