/*
 * muxd, whole, with each call that can fail failing once: it starts, serves a
 * client on a broker, and ends. Whatever fails, it neither crashes nor leaks;
 * it ends with one of its exit codes, and says why if that is not 0; and its
 * client has an answer, or the end of the connection.
 *
 *	test-muxd-failing [--all]
 *
 * Each case is a process of its own, forked. As a test only some calls fail of
 * those that are many, spread evenly; --all takes every one.
 */
#include "config.h"

#include "daemon/net/loop.h"
#include "proto/buf.h"
#include "proto/frame.h"
#include "proto/muxd.pb-c.h"
#include "tests/unit/wrap-failing.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#undef main /* muxd's is muxd_main here, by the compiler's options */
int muxd_main(int argc, char **argv);

#define CASES_MAX 60u	 /* of a kind in a scenario, as a test */
#define STUCK_SECONDS 60 /* a muxd that takes longer is stuck */
#define ANSWER_SECONDS 30
#define LAST_REQUEST 99u
#define LOG_MAX 65536u

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "exitcode=99";
}

static struct {
	char folder[32];
	char conf[64], socket[64], log[64];
	pid_t broker;
	bool ends_at_once; /* a signal waits when the loop begins */
	bool all;
	unsigned int passed, failed;
} t;

int __real_loop_run(struct loop *loop);
int __wrap_loop_run(struct loop *loop);
int __wrap_loop_run(struct loop *loop)
{
	if (t.ends_at_once)
		(void)kill(getpid(), SIGTERM);
	return __real_loop_run(loop);
}

_Noreturn static void give_up(const char *what)
{
	fprintf(stderr, "test-muxd-failing: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ------------------------------------------------------------------ the client */

static void add(struct buf *out, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	size_t len = muxd__v1__client_frame__get_packed_size(frame);
	uint8_t *room;

	ipc_frame_prefix(out, len, payload.len);
	room = buf_reserve(out, len);
	if (!room)
		give_up("a frame");
	buf_commit(out, muxd__v1__client_frame__pack(frame, room));
	buf_append_span(out, payload);
}

static Muxd__V1__ClientFrame frame_of(Muxd__V1__ClientFrame__OpCase op, unsigned int request)
{
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;

	frame.op_case = op;
	frame.has_request = request != 0;
	frame.request = request;
	frame.has_channel = op < MUXD__V1__CLIENT_FRAME__OP_PING && op != MUXD__V1__CLIENT_FRAME__OP_HELLO;
	frame.channel = 1;
	return frame;
}

static ProtobufCBinaryData text_of(const char *text)
{
	return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static void add_begin(struct buf *out)
{
	Muxd__V1__ClientFrame hello = frame_of(MUXD__V1__CLIENT_FRAME__OP_HELLO, 0);
	Muxd__V1__ClientFrame open = frame_of(MUXD__V1__CLIENT_FRAME__OP_CHANNEL_OPEN, 0);
	Muxd__V1__ClientFrame declare = frame_of(MUXD__V1__CLIENT_FRAME__OP_QUEUE_DECLARE, 1);
	Muxd__V1__ClientFrame exchange = frame_of(MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DECLARE, 2);
	Muxd__V1__ClientFrame bind = frame_of(MUXD__V1__CLIENT_FRAME__OP_QUEUE_BIND, 3);

	hello.hello = &(Muxd__V1__Hello)MUXD__V1__HELLO__INIT;
	hello.hello->has_version_min = hello.hello->has_version_max = true;
	hello.hello->version_min = hello.hello->version_max = 1;
	hello.hello->has_get_bytes = true;
	hello.hello->get_bytes = 1u << 20;
	add(out, &hello, SPAN_NULL);
	open.channel_open = &(Muxd__V1__ChannelOpen)MUXD__V1__CHANNEL_OPEN__INIT;
	open.channel_open->has_generation = true;
	open.channel_open->generation = 1;
	add(out, &open, SPAN_NULL);
	declare.queue_declare = &(Muxd__V1__QueueDeclare)MUXD__V1__QUEUE_DECLARE__INIT;
	declare.queue_declare->has_exclusive = declare.queue_declare->exclusive = true;
	add(out, &declare, SPAN_NULL);
	exchange.exchange_declare = &(Muxd__V1__ExchangeDeclare)MUXD__V1__EXCHANGE_DECLARE__INIT;
	exchange.exchange_declare->has_exchange = exchange.exchange_declare->has_type = true;
	exchange.exchange_declare->exchange = text_of("e");
	exchange.exchange_declare->type = text_of("fanout");
	add(out, &exchange, SPAN_NULL);
	bind.queue_bind = &(Muxd__V1__QueueBind)MUXD__V1__QUEUE_BIND__INIT;
	bind.queue_bind->has_exchange = true;
	bind.queue_bind->exchange = text_of("e");
	add(out, &bind, SPAN_NULL);
}

static void add_messages(struct buf *out)
{
	static const uint8_t body[6000];
	Muxd__V1__Properties properties = MUXD__V1__PROPERTIES__INIT;
	Muxd__V1__ClientFrame publish = frame_of(MUXD__V1__CLIENT_FRAME__OP_PUBLISH, 0);
	Muxd__V1__ClientFrame get = frame_of(MUXD__V1__CLIENT_FRAME__OP_GET, 4);
	Muxd__V1__ClientFrame consume = frame_of(MUXD__V1__CLIENT_FRAME__OP_CONSUME, 5);

	properties.headers = &(Muxd__V1__Table)MUXD__V1__TABLE__INIT;
	publish.publish = &(Muxd__V1__Publish)MUXD__V1__PUBLISH__INIT;
	publish.publish->has_exchange = publish.publish->has_mandatory = publish.publish->mandatory = true;
	publish.publish->exchange = text_of("e");
	publish.publish->properties = &properties;
	add(out, &publish, span_make(body, sizeof(body)));
	add(out, &publish, span_make(body, 10));
	publish.publish->exchange = text_of(""); /* comes back */
	add(out, &publish, span_make(body, 10));
	get.get = &(Muxd__V1__Get)MUXD__V1__GET__INIT;
	add(out, &get, SPAN_NULL);
	consume.consume = &(Muxd__V1__Consume)MUXD__V1__CONSUME__INIT;
	consume.consume->has_credit_messages = consume.consume->has_credit_bytes = true;
	consume.consume->credit_messages = 100;
	consume.consume->credit_bytes = 1u << 20;
	add(out, &consume, SPAN_NULL);
}

static void add_end(struct buf *out)
{
	Muxd__V1__ClientFrame settle = frame_of(MUXD__V1__CLIENT_FRAME__OP_SETTLE, 0);
	Muxd__V1__ClientFrame cancel = frame_of(MUXD__V1__CLIENT_FRAME__OP_CANCEL, 6);
	Muxd__V1__ClientFrame status = frame_of(MUXD__V1__CLIENT_FRAME__OP_STATUS, 7);
	Muxd__V1__ClientFrame sessions = frame_of(MUXD__V1__CLIENT_FRAME__OP_SESSIONS, 8);
	Muxd__V1__ClientFrame drop = frame_of(MUXD__V1__CLIENT_FRAME__OP_EXCHANGE_DELETE, 9);
	Muxd__V1__ClientFrame close = frame_of(MUXD__V1__CLIENT_FRAME__OP_CHANNEL_CLOSE, LAST_REQUEST);
	Muxd__V1__Range all = MUXD__V1__RANGE__INIT, *row = &all;

	settle.settle = &(Muxd__V1__Settle)MUXD__V1__SETTLE__INIT;
	settle.settle->n_tags = 1;
	settle.settle->tags = &row;
	add(out, &settle, SPAN_NULL);
	cancel.cancel = &(Muxd__V1__Cancel)MUXD__V1__CANCEL__INIT;
	add(out, &cancel, SPAN_NULL);
	status.status = &(Muxd__V1__StatusQuery)MUXD__V1__STATUS_QUERY__INIT;
	add(out, &status, SPAN_NULL);
	sessions.sessions = &(Muxd__V1__SessionsQuery)MUXD__V1__SESSIONS_QUERY__INIT;
	add(out, &sessions, SPAN_NULL);
	drop.exchange_delete = &(Muxd__V1__ExchangeDelete)MUXD__V1__EXCHANGE_DELETE__INIT;
	drop.exchange_delete->has_exchange = true;
	drop.exchange_delete->exchange = text_of("e");
	add(out, &drop, SPAN_NULL);
	close.channel_close = &(Muxd__V1__ChannelClose)MUXD__V1__CHANNEL_CLOSE__INIT;
	add(out, &close, SPAN_NULL);
}

/* True once the last request was answered. */
static bool look(struct buf *in)
{
	struct ipc_frame bytes;
	size_t size;
	bool last = false;

	while (ipc_frame_parse(buf_span(in), IPC_PAYLOAD_MAX, &bytes, &size) == IPC_FRAME_OK) {
		Muxd__V1__ServerFrame *frame =
		    muxd__v1__server_frame__unpack(NULL, bytes.header.len, bytes.header.data);

		if (!frame)
			give_up("what muxd sent");
		last |= frame->has_request && frame->request == LAST_REQUEST;
		muxd__v1__server_frame__free_unpacked(frame, NULL);
		buf_consume(in, size);
	}
	return last;
}

/* NULL: the client was answered, or its connection has ended. */
static const char *client_run(int fd)
{
	struct buf out = BUF_INIT, in = BUF_INIT;
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	const char *problem = NULL;
	bool answered = false;
	ssize_t n = 1;

	add_begin(&out);
	add_messages(&out);
	add_end(&out);
	(void)send(fd, out.data, buf_len(&out), MSG_NOSIGNAL); /* muxd may be gone */
	while (!answered && !problem && n > 0) {
		uint8_t *room = buf_reserve(&in, 65536);

		if (poll(&wait, 1, ANSWER_SECONDS * 1000) == 0) {
			problem = "the client has no answer";
			break;
		}
		n = read(fd, room, 65536);
		buf_commit(&in, n > 0 ? (size_t)n : 0);
		answered = look(&in);
	}
	buf_deinit(&out);
	buf_deinit(&in);
	(void)close(fd);
	return problem;
}

/* ------------------------------------------------------------------ a case */

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)unlink(path);
	memcpy(address.sun_path, path, strlen(path));
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 5) < 0)
		give_up(path);
	return fd;
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, path, strlen(path));
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		give_up(path);
	return fd;
}

/* The child: becomes muxd, with the socket handed over, or one that it makes. */
_Noreturn static void be_muxd(int listener)
{
	char *arguments[] = {(char *)(uintptr_t) "muxd",
			     (char *)(uintptr_t) "-c",
			     t.conf,
			     (char *)(uintptr_t) "-s",
			     t.socket,
			     NULL};
	int log = open(t.log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
	char pid[16];
	int code;

	if (log < 0 || dup2(log, STDERR_FILENO) < 0)
		_exit(98);
	(void)close(log);
	alarm(STUCK_SECONDS);
	(void)signal(SIGTERM, SIG_IGN); /* muxd hears it while its loop runs; it may have left by then */
	if (listener >= 0) {
		snprintf(pid, sizeof(pid), "%d", (int)getpid());
		if ((listener != 3 && (dup2(listener, 3) < 0 || close(listener) < 0)) ||
		    setenv("LISTEN_FDS", "1", 1) < 0 || setenv("LISTEN_PID", pid, 1) < 0)
			_exit(98);
	}
	wrap_take_part(true);
	code = muxd_main(5, arguments);
	wrap_take_part(false); /* gcov's own end is not muxd's */
	exit(code);
}

static void read_log(char out[LOG_MAX])
{
	FILE *file = fopen(t.log, "r");
	size_t len = file ? fread(out, 1, LOG_MAX - 1, file) : 0;

	out[len] = 0;
	if (file)
		fclose(file);
}

static const char *judge(int status, const char *log)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

	if (strstr(log, "Sanitizer") || strstr(log, "runtime error:"))
		return "a sanitizer found something";
	if (code < 0)
		return WTERMSIG(status) == SIGALRM ? "muxd is stuck" : "muxd was killed by a signal";
	if (code != 0 && code != 1 && code != 78)
		return "an exit code that muxd has not";
	return code != 0 && log[0] == 0 ? "muxd ends without a word" : NULL;
}

static void run_case(const char *scenario, enum wrap_kind kind, unsigned long nth)
{
	static char log[LOG_MAX];
	int listener = t.ends_at_once ? -1 : listen_at(t.socket), fd = -1, status = 0;
	const char *problem = NULL, *worse;
	pid_t child;

	wrap_arm(kind, nth);
	fflush(NULL);
	child = fork();
	if (child < 0)
		give_up("fork");
	if (child == 0)
		be_muxd(listener);
	if (listener >= 0) {
		fd = connect_to(t.socket);
		(void)close(listener);
		problem = client_run(fd);
		(void)kill(child, SIGTERM);
	}
	if (waitpid(child, &status, 0) < 0)
		give_up("waitpid");
	read_log(log);
	worse = judge(status, log);
	problem = worse ? worse : problem;
	if (!problem && (nth == 0) != (wrap_failed() == NULL))
		problem = nth == 0 ? "something failed" : NULL;
	if (!problem && nth == 0 && status != 0)
		problem = "muxd fails though nothing does";
	t.passed += !problem;
	t.failed += problem != NULL;
	if (problem)
		printf("FAILED: %s, call %lu (%s): %s; exit status %x\n%s\n", scenario, nth,
		       wrap_failed() ? wrap_failed() : "none", problem, (unsigned int)status, log);
}

static void run_all(const char *scenario, enum wrap_kind kind)
{
	unsigned long count, step;

	run_case(scenario, kind, 0);
	count = wrap_count();
	step = t.all || count <= CASES_MAX ? 1 : (count + CASES_MAX - 1) / CASES_MAX;
	printf("%s: %lu calls, each %luth fails\n", scenario, count, step);
	for (unsigned long nth = 1; nth <= count; nth += step)
		run_case(scenario, kind, nth);
}

/* ------------------------------------------------------------------ around it */

static unsigned int start_broker(void)
{
	int out[2], in[2];
	unsigned int port = 0;
	FILE *said;

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(in, O_CLOEXEC) < 0)
		give_up("pipe");
	t.broker = fork();
	if (t.broker == 0) {
		if (dup2(in[0], STDIN_FILENO) >= 0 && dup2(out[1], STDOUT_FILENO) >= 0)
			execl("tests/broker/testbroker", "testbroker", (char *)NULL);
		_exit(98);
	}
	(void)close(out[1]);
	(void)close(in[0]); /* the other end stays open: at its end the broker leaves */
	said = fdopen(out[0], "r");
	if (t.broker < 0 || !said || fscanf(said, "%*[^0-9]%u", &port) != 1)
		give_up("tests/broker/testbroker");
	return port;
}

static void write_conf(unsigned int port)
{
	FILE *file = fopen(t.conf, "w");

	if (!file)
		give_up(t.conf);
	fprintf(file,
		"drain-timeout = 1s\nrequest-timeout = 3s\npublish-timeout = 3s\nlog-level = warning\n"
		"upstream \"default\" {\n  uri = \"amqp://localhost:%u\"\n  reconnect-min = 10ms\n"
		"  reconnect-max = 100ms\n  connect-timeout = 1s\n  heartbeat = 5s\n}\n"
		"access \"a\" {\n  user = { \"0-65533\" }\n  upstream = \"default\"\n  configure = \".*\"\n"
		"  write = \".*\"\n  read = \"^.*\"\n  control = true\n}\n",
		port);
	fclose(file);
	if (chmod(t.conf, 0600) < 0)
		give_up(t.conf);
}

int main(int argc, char **argv)
{
	t.all = argc > 1 && strcmp(argv[1], "--all") == 0;
	memcpy(t.folder, "/tmp/failing.XXXXXX", sizeof("/tmp/failing.XXXXXX"));
	if (!mkdtemp(t.folder) || !wrap_init())
		give_up(t.folder);
	snprintf(t.conf, sizeof(t.conf), "%s/conf", t.folder);
	snprintf(t.socket, sizeof(t.socket), "%s/socket", t.folder);
	snprintf(t.log, sizeof(t.log), "%s/log", t.folder);
	write_conf(start_broker());
	t.ends_at_once = true;
	run_all("start, memory", WRAP_MEMORY);
	run_all("start, system", WRAP_SYSTEM);
	t.ends_at_once = false;
	run_all("session, memory", WRAP_MEMORY);
	run_all("session, system", WRAP_SYSTEM);
	(void)kill(t.broker, SIGTERM);
	(void)waitpid(t.broker, NULL, 0);
	(void)unlink(t.conf);
	(void)unlink(t.socket);
	(void)unlink(t.log);
	(void)rmdir(t.folder);
	printf("test-muxd-failing: %u passed, %u failed, 0 skipped\n", t.passed, t.failed);
	return t.failed > 0;
}
