/*
 * A reload with each call that can fail failing once, in the loop and on the
 * thread that reads. Whatever fails: the old configuration holds, all of it, and
 * it is said why; or the new one does. Sessions go on, no descriptor is lost,
 * systemd hears the end of it, and the next reload works, with its upstream over
 * TLS.
 *
 *	test-muxd-reload-failing [--all | --part I/N] [SCENARIO]
 *
 * As a test only some calls fail of those that are many, spread evenly; --all
 * takes every one, --part the Ith of N parts of them.
 */
#include "config.h"

#include "tests/unit/muxd-cases.h"
#include "tests/unit/tls-relay.h"
#include "tests/unit/wrap-failing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CASES_MAX 8u /* of a kind in a scenario, as a test */
#define OLD_MESSAGE_MAX (1u << 20)
#define NEW_MESSAGE_MAX (2u << 20)
#define DUMP_TURNS_MAX 1000u
#define ACCESS_REFUSED 403u
#define GONE "a session that nothing was done to has ended"

enum how {
	ASKED, /* by a process: muxctl reload */
	SIGNAL
};

static struct {
	struct cases cases;
	unsigned int tls_port;
	int notify;
	/* Of the case. */
	pid_t muxd;
	const char *problem; /* the first */
	unsigned int request;
} t;

/* NULL: none. */
static void problem(const char *what)
{
	if (!t.problem)
		t.problem = what;
}

static void must(bool is_so, const char *what)
{
	if (!is_so)
		problem(what);
}

/* ------------------------------------------------------------------ sessions */

struct session {
	int fd;
	struct buf in;
	bool gone;
	bool away; /* it was asked to leave */
	bool refused;
	bool confirmed;
	bool up;	      /* its upstream is */
	uint64_t message_max; /* 0: no Welcome yet */
};

static void note(struct session *session, const Muxd__V1__ServerFrame *frame)
{
	switch (frame->event_case) {
	case MUXD__V1__SERVER_FRAME__EVENT_WELCOME:
		session->message_max = frame->welcome->message_max;
		session->up = frame->welcome->upstream->state == MUXD__V1__UPSTREAM_STATE__UP;
		break;
	case MUXD__V1__SERVER_FRAME__EVENT_UPSTREAM_CHANGED:
		session->up = frame->upstream_changed->state == MUXD__V1__UPSTREAM_STATE__UP;
		break;
	case MUXD__V1__SERVER_FRAME__EVENT_GO_AWAY:
		session->away = true;
		break;
	case MUXD__V1__SERVER_FRAME__EVENT_OUTCOME:
		session->confirmed = frame->outcome->kind == MUXD__V1__OUTCOME_KIND__CONFIRMED;
		break;
	case MUXD__V1__SERVER_FRAME__EVENT_ERROR:
		session->refused = frame->error->code == ACCESS_REFUSED;
		break;
	default:
		break;
	}
}

/* Reads what comes next; false: nothing does, for too long, or ever again. */
static bool receive(struct session *session)
{
	struct pollfd wait = {.fd = session->fd, .events = POLLIN};
	uint8_t *room = buf_reserve(&session->in, 65536);
	ssize_t n;

	if (session->gone || poll(&wait, 1, CASES_ANSWER_SECONDS * 1000) == 0)
		return false;
	n = read(session->fd, room, 65536);
	session->gone = n <= 0;
	buf_commit(&session->in, n > 0 ? (size_t)n : 0);
	return n > 0;
}

/* The answer to the request; or NULL: the session has ended, or it does not come. */
static Muxd__V1__ServerFrame *await(struct session *session, unsigned int request)
{
	for (;;) {
		Muxd__V1__ServerFrame *frame = cases_take(&session->in);

		if (!frame && !receive(session)) {
			must(session->gone, "a request is not answered");
			return NULL;
		}
		if (!frame)
			continue;
		note(session, frame);
		if (frame->has_request && frame->request == request)
			return frame;
		muxd__v1__server_frame__free_unpacked(frame, NULL);
	}
}

/* Until *flag is set; what else must not be lost is noted on the way. */
static void await_flag(struct session *session, const bool *flag, const char *what)
{
	while (!*flag) {
		Muxd__V1__ServerFrame *frame = cases_take(&session->in);

		if (!frame && !receive(session)) {
			problem(what);
			return;
		}
		if (!frame)
			continue;
		note(session, frame);
		muxd__v1__server_frame__free_unpacked(frame, NULL);
	}
}

static void pass(struct session *session, struct buf *out)
{
	(void)send(session->fd, out->data, buf_len(out), MSG_NOSIGNAL); /* muxd may have ended it */
	buf_deinit(out);
}

static bool ask(struct session *session, Muxd__V1__ClientFrame *frame)
{
	Muxd__V1__ServerFrame *answer;
	struct buf out = BUF_INIT;

	frame->request = ++t.request;
	frame->has_request = true;
	cases_add(&out, frame, SPAN_NULL);
	pass(session, &out);
	answer = await(session, t.request);
	if (answer)
		muxd__v1__server_frame__free_unpacked(answer, NULL);
	return answer != NULL;
}

static bool ping(struct session *session)
{
	Muxd__V1__ClientFrame frame = cases_frame(MUXD__V1__CLIENT_FRAME__OP_PING, 1);

	frame.ping = &(Muxd__V1__Ping)MUXD__V1__PING__INIT;
	return ask(session, &frame);
}

static bool declare(struct session *session, const char *queue)
{
	Muxd__V1__ServerFrame *answer;
	struct buf out = BUF_INIT;
	bool done;

	cases_add_declare(&out, queue, ++t.request);
	pass(session, &out);
	answer = await(session, t.request);
	done = answer && answer->event_case == MUXD__V1__SERVER_FRAME__EVENT_QUEUE_DECLARED;
	if (answer)
		muxd__v1__server_frame__free_unpacked(answer, NULL);
	return done;
}

static void publish(struct session *session, const char *queue)
{
	Muxd__V1__ClientFrame frame = cases_frame(MUXD__V1__CLIENT_FRAME__OP_PUBLISH, 0);
	Muxd__V1__Publish publish = MUXD__V1__PUBLISH__INIT;
	struct buf out = BUF_INIT;

	frame.publish = &publish;
	publish.has_routing_key = true;
	publish.routing_key = cases_text(queue);
	session->confirmed = false;
	cases_add(&out, &frame, span_str("message"));
	pass(session, &out);
	await_flag(session, &session->confirmed, "a publish is not confirmed");
}

static struct session begin_session(const char *upstream)
{
	struct session session = {.fd = cases_connect(&t.cases), .in = BUF_INIT};
	struct buf out = BUF_INIT;

	cases_add_hello(&out, upstream);
	cases_add_open(&out);
	pass(&session, &out);
	must(ping(&session), "a session cannot begin");
	return session;
}

static void end_session(struct session *session)
{
	(void)close(session->fd);
	buf_deinit(&session->in);
}

/* ------------------------------------------------------------------ systemd */

/* Until muxd says READY=1, as it must behind each RELOADING=1. */
static void await_ready(void)
{
#ifdef HAVE_SYSTEMD
	struct pollfd wait = {.fd = t.notify, .events = POLLIN};
	char text[2048];

	while (poll(&wait, 1, CASES_ANSWER_SECONDS * 1000) > 0) {
		ssize_t n = recv(t.notify, text, sizeof(text) - 1, 0);

		text[n > 0 ? n : 0] = 0;
		if (strstr(text, "READY=1"))
			return;
	}
	problem("systemd is not told that muxd is ready");
#endif
}

static void listen_as_systemd(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, t.cases.notify, strlen(t.cases.notify));
	t.notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (t.notify < 0 || bind(t.notify, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    setenv("NOTIFY_SOCKET", t.cases.notify, 1) < 0 || setenv("WATCHDOG_USEC", "2000000", 1) < 0)
		cases_give_up(t.cases.notify);
}

/* ------------------------------------------------------------------ configurations */

#define HEAD                                                                                                \
	"drain-timeout = 1s\nlog-level = notice\nlimits {\n  message-max = \"%s\"\n}\n"                     \
	"upstream \"default\" {\n  uri = \"amqp://localhost:%u\"\n  reconnect-min = 10ms\n  reconnect-max " \
	"= %s\n  %s}\n"

static void write_old(void)
{
	char text[2048];

	snprintf(
	    text, sizeof(text),
	    HEAD
	    "upstream \"old\" {\n  uri = \"amqp://localhost:%u\"\n  reconnect-min = 10ms\n}\n"
	    "access \"a\" {\n  user = { \"root\", \"0-65533\" }\n  configure = \".*\"\n  write = \".*\"\n"
	    "  read = \".*\"\n  control = true\n}\n",
	    "1M", t.cases.port, "100ms", "", t.cases.port);
	cases_write(t.cases.conf, text);
}

static void write_new(void)
{
	const char *folder = t.cases.folder;
	char text[4096];

	snprintf(text, sizeof(text),
		 HEAD
		 "upstream \"new\" {\n  uri = { \"amqps://localhost:%u\", \"amqps://127.0.0.1:1\" }\n"
		 "  reconnect-min = 10ms\n  reconnect-max = 100ms\n  connect-timeout = 5s\n"
		 "  tls-ca = \"%s/ca.pem\"\n  tls-cert = \"%s/cert.pem\"\n  tls-key = \"%s/key.pem\"\n}\n"
		 "access \"nobody\" {\n  user = \"daemon\"\n  group = { \"daemon\", \"1-2\" }\n"
		 "  upstream = \"new\"\n}\n"
		 "access \"b\" {\n  user = { \"root\", \"0-65533\" }\n  configure = \"^(?!secret)\"\n"
		 "  write = \".*\"\n  read = \".*\"\n  control = true\n}\n",
		 "2M", t.cases.port, "200ms", "", t.tls_port, folder, folder, folder);
	cases_write(t.cases.conf, text);
}

/* Each kind of error that only this host can tell. */
static void write_broken(void)
{
	char text[4096];

	snprintf(text, sizeof(text),
		 HEAD "upstream \"new\" {\n  uri = \"amqps://localhost:%u\"\n  tls-ca = \"%s/log\"\n}\n"
		      "access \"b\" {\n  user = { \"nobody-has-this-name\", \"0-65533\" }\n"
		      "  group = \"nor-this\"\n  configure = \"(\"\n  control = true\n}\n",
		 "2M", t.cases.port, "200ms", "password-file = \"/nonexistent\"\n", t.tls_port,
		 t.cases.folder);
	cases_write(t.cases.conf, text);
}

/* ------------------------------------------------------------------ what holds */

static unsigned int count_descriptors(void)
{
	char path[64];
	unsigned int count = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)t.muxd);
	folder = opendir(path);
	while (folder && readdir(folder))
		count++;
	if (folder)
		closedir(folder);
	return count;
}

/* The upstreams there are: bit 0: "old", bit 1: "new". */
static unsigned int find_upstreams(struct session *session)
{
	Muxd__V1__ClientFrame frame = cases_frame(MUXD__V1__CLIENT_FRAME__OP_STATUS, ++t.request);
	Muxd__V1__ServerFrame *answer;
	struct buf out = BUF_INIT;
	unsigned int found = 0;

	frame.status = &(Muxd__V1__StatusQuery)MUXD__V1__STATUS_QUERY__INIT;
	cases_add(&out, &frame, SPAN_NULL);
	pass(session, &out);
	answer = await(session, t.request);
	if (!answer || answer->event_case != MUXD__V1__SERVER_FRAME__EVENT_STATUS) {
		problem("the status is not told");
		return 0;
	}
	for (size_t i = 0; i < answer->status->n_upstreams; i++) {
		ProtobufCBinaryData name = answer->status->upstreams[i]->name;

		found |= name.len == 3 && memcmp(name.data, "old", 3) == 0 ? 1u : 0;
		found |= name.len == 3 && memcmp(name.data, "new", 3) == 0 ? 2u : 0;
	}
	muxd__v1__server_frame__free_unpacked(answer, NULL);
	return found;
}

/* All of it is the new one's, or all of it the old one's. */
static void look_whole(bool is_new)
{
	struct session session = begin_session("default");
	unsigned int upstreams = find_upstreams(&session);

	must(session.message_max == (is_new ? NEW_MESSAGE_MAX : OLD_MESSAGE_MAX),
	     "the limits are the other's");
	must(is_new ? (upstreams & 2u) != 0 : upstreams == 1, "the upstreams are the other's");
	must(declare(&session, "secret") != is_new, "the access rules are the other's");
	must(session.refused == is_new, "the access rules do not say what they are");
	end_session(&session);
}

static void look_at_sessions(struct session *canary, struct session *leaver, bool is_new)
{
	publish(canary, "canary");
	must(!canary->gone && !canary->away, GONE);
	if (is_new) {
		/* Asked to leave, or ended where there was no memory to ask it. */
		while (!leaver->away && ping(leaver))
			;
	} else {
		must(ping(leaver) && !leaver->away, GONE);
	}
}

/* ------------------------------------------------------------------ the reload */

/* 1: done; 0: not, and it was said why; -1: nothing was told. */
static int ask_for_reload(struct session *asker)
{
	Muxd__V1__ClientFrame frame = cases_frame(MUXD__V1__CLIENT_FRAME__OP_RELOAD, ++t.request);
	Muxd__V1__ServerFrame *answer;
	struct buf out = BUF_INIT;
	int result = -1;

	frame.reload = &(Muxd__V1__Reload)MUXD__V1__RELOAD__INIT;
	cases_add(&out, &frame, SPAN_NULL);
	pass(asker, &out);
	answer = await(asker, t.request);
	if (!answer)
		return -1;
	if (answer->event_case == MUXD__V1__SERVER_FRAME__EVENT_RELOADED) {
		result = answer->reloaded->done;
		must(result == 1 || answer->reloaded->n_errors > 0, "it is not told why the reload failed");
	}
	muxd__v1__server_frame__free_unpacked(answer, NULL);
	return result;
}

/* What the log says of it: the same, and it must say something. */
static int read_result(char log[CASES_LOG_MAX])
{
	const char *failed, *done;

	cases_read_log(&t.cases, log);
	done = strstr(log, "reload: done");
	failed = strstr(log, "the configuration stays as it was");
	must((done != NULL) != (failed != NULL), "the log does not say how the reload ended");
	must(!failed || strstr(log, " error: ") < failed, "the log does not say why the reload failed");
	return done != NULL;
}

/* Returns whether the new configuration holds. */
static bool reload_once(enum how how, struct session *asker, struct session *canary, char log[CASES_LOG_MAX])
{
	int told = -1, logged;
	unsigned int before = count_descriptors();

	if (how == ASKED)
		told = ask_for_reload(asker);
	else
		(void)kill(t.muxd, SIGHUP);
	cases_read_log(&t.cases, log);
	if (how == ASKED && told == -1 && !strstr(log, "reload was asked for")) {
		wrap_disarm();
		return false; /* its request was not read */
	}
	await_ready();
	wrap_disarm();
	must(ping(canary), GONE); /* behind it what was for this turn alone is closed */
	logged = read_result(log);
	must(told == -1 || told == logged, "the log says something else than the answer");
	must(logged || count_descriptors() <= before, "a descriptor is left");
	return logged;
}

/* SIGUSR1: an operator sees what there is, and what became of the last reload. */
static void look_at_dump(struct session *canary, bool is_new, char log[CASES_LOG_MAX])
{
	(void)kill(t.muxd, SIGUSR1);
	log[0] = 0;
	for (unsigned int i = 0; i < DUMP_TURNS_MAX && !strstr(log, " channel 1/1: lane "); i++) {
		must(ping(canary), GONE); /* a turn or more of muxd's loop */
		cases_read_log(&t.cases, log);
	}
	must(strstr(log, "dump: upstream \"default\": up, localhost:") != NULL, "the dump has no upstream");
	must((strstr(log, "dump: upstream \"new\": ") != NULL) == is_new,
	     "the dump has the other's upstreams");
	must(strstr(log, is_new ? "message-max 2097152," : "message-max 1048576,") != NULL,
	     "the dump has the other's limits");
	must((strstr(log, "; the last reload failed: ") != NULL) ==
		 (strstr(log, "the configuration stays as it was") != NULL),
	     "the dump does not say how the last reload ended");
	must(strstr(log, ", \"canary\", upstream \"default\", ") != NULL, "the dump has no session");
}

/* Everything works now, and works again. */
static void reload_again(void)
{
	struct session session = begin_session("default"), secured;

	write_new();
	must(ask_for_reload(&session) == 1, "the next reload fails");
	await_ready();
	end_session(&session);
	look_whole(true);
	secured = begin_session("new");
	await_flag(&secured, &secured.up, "the new upstream does not come up");
	must(declare(&secured, "over-tls"), "the new upstream does not serve");
	end_session(&secured);
}

static void run_reload(enum how how, void (*write_next)(void), enum wrap_kind kind, unsigned long nth)
{
	static char log[CASES_LOG_MAX];
	int status = 0, listener = cases_listen(&t.cases);
	struct session canary, leaver, asker;
	const char *worse;
	bool is_new;

	t.problem = NULL;
	write_old();
	wrap_arm(WRAP_NOTHING, 0);
	t.muxd = cases_fork(&t.cases, listener);
	(void)close(listener);
	canary = begin_session("default");
	leaver = begin_session("old");
	asker = begin_session("default");
	await_ready();
	must(declare(&canary, "canary"), "the canary has no queue");
	publish(&canary, "canary");
	await_flag(&leaver, &leaver.up, "the old upstream does not come up");
	write_next();
	wrap_arm(kind, nth);
	is_new = reload_once(how, &asker, &canary, log);
	must(!is_new || write_next == write_new, "what is broken was taken");
	must(nth > 0 || is_new == (write_next == write_new), "the reload fails though nothing does");
	look_whole(is_new);
	look_at_sessions(&canary, &leaver, is_new);
	look_at_dump(&canary, is_new, log);
	end_session(&leaver);
	reload_again();
	publish(&canary, "canary");
	must(!canary.gone && !canary.away, GONE);
	end_session(&canary);
	end_session(&asker);
	(void)kill(t.muxd, SIGTERM);
	if (waitpid(t.muxd, &status, 0) < 0)
		cases_give_up("waitpid");
	cases_read_log(&t.cases, log);
	worse = cases_judge(status, log);
	problem(worse);
	must(status == 0 || strstr(log, "LeakSanitizer") != NULL, "muxd fails at its end");
	t.cases.passed += !t.problem;
	t.cases.failed += t.problem != NULL;
	if (t.problem)
		printf("FAILED: call %lu (%s): %s; exit status %x\n%s\n", nth,
		       wrap_failed() ? wrap_failed() : "none", t.problem, (unsigned int)status, log);
}

static void run_kind(const char *scenario, enum how how, void (*write_next)(void), enum wrap_kind kind)
{
	unsigned long count, done = 0;

	run_reload(how, write_next, kind, 0);
	count = wrap_count();
	for (unsigned long nth = 1; nth <= count; nth++) {
		if (!cases_have_call(&t.cases, nth, count, CASES_MAX))
			continue;
		run_reload(how, write_next, kind, nth);
		done++;
	}
	printf("%s, %s: %lu of %lu calls failed\n", scenario, wrap_kind_name(kind), done, count);
	fflush(stdout);
}

static void run_all(const char *scenario, enum how how, void (*write_next)(void))
{
	if (!cases_are_wanted(&t.cases, scenario))
		return;
	run_kind(scenario, how, write_next, WRAP_MEMORY);
	run_kind(scenario, how, write_next, WRAP_LIBRARY);
	run_kind(scenario, how, write_next, WRAP_SYSTEM);
}

int main(int argc, char **argv)
{
	pid_t relay;

	cases_begin(&t.cases, argc, argv);
	relay = tls_relay_start(t.cases.port, t.cases.folder, &t.tls_port);
	listen_as_systemd();
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	run_all("asked for", ASKED, write_new);
	run_all("SIGHUP", SIGNAL, write_new);
	run_all("broken", ASKED, write_broken);
	(void)kill(relay, SIGTERM);
	(void)waitpid(relay, NULL, 0);
	return cases_end(&t.cases, "test-muxd-reload-failing");
}
