#include "config.h"

#include "tests/unit/muxd-cases.h"

#include "proto/frame.h"
#include "tests/unit/wrap-failing.h"

#include <errno.h>
#include <fcntl.h>
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

#define OPENSSL_OWN_BYTES 100u
#define STUCK_SECONDS 60 /* a muxd that takes longer is stuck */

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "exitcode=99";
}

void cases_give_up(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

/* ------------------------------------------------------------------ files and sockets */

void cases_path(const struct cases *cases, const char *name, char path[64])
{
	snprintf(path, 64, "%s/%s", cases->folder, name);
}

/* Nobody ever sees a part of it. */
void cases_write(const char *path, const char *text)
{
	char next[80];
	FILE *file;

	snprintf(next, sizeof(next), "%s.next", path);
	file = fopen(next, "w");
	if (!file || fputs(text, file) < 0 || fclose(file) != 0 || chmod(next, 0600) < 0 ||
	    rename(next, path) < 0)
		cases_give_up(path);
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, path, strlen(path));
	return address;
}

int cases_listen(const struct cases *cases)
{
	struct sockaddr_un address = address_of(cases->socket);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)unlink(cases->socket);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 5) < 0)
		cases_give_up(cases->socket);
	return fd;
}

int cases_connect(const struct cases *cases)
{
	struct sockaddr_un address = address_of(cases->socket);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int error = errno;
		static char log[CASES_LOG_MAX];

		cases_read_log(cases, log);
		fputs(log, stderr);
		errno = error;
		cases_give_up(cases->socket);
	}
	return fd;
}

/* ------------------------------------------------------------------ muxd */

/* As systemd hands it over. */
static bool hand_over(int listener)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	if (listener == 3 ? fcntl(listener, F_SETFD, 0) < 0 : dup2(listener, 3) < 0 || close(listener) < 0)
		return false;
	return setenv("LISTEN_FDS", "1", 1) == 0 && setenv("LISTEN_PID", pid, 1) == 0;
}

_Noreturn static void be_muxd(const struct cases *cases, int listener)
{
	char name[] = "muxd", config[] = "-c", socket[] = "-s", path[64], socket_path[64];
	char *arguments[] = {name, config, path, socket, socket_path, NULL};
	int log = open(cases->log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
	int code;

	snprintf(path, sizeof(path), "%s", cases->conf);
	snprintf(socket_path, sizeof(socket_path), "%s", cases->socket);
	if (log < 0 || dup2(log, STDERR_FILENO) < 0)
		_exit(98);
	(void)close(log);
	alarm(STUCK_SECONDS);
	(void)signal(SIGTERM, SIG_IGN); /* it may be told to end before its loop runs, or behind it */
	if (listener >= 0 && !hand_over(listener))
		_exit(98);
	wrap_take_part(true);
	code = muxd_main(5, arguments);
	wrap_take_part(false); /* gcov's own end is not muxd's */
	exit(code);
}

pid_t cases_fork(const struct cases *cases, int listener)
{
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child < 0)
		cases_give_up("fork");
	if (child == 0)
		be_muxd(cases, listener);
	return child;
}

void cases_read_log(const struct cases *cases, char log[CASES_LOG_MAX])
{
	FILE *file = fopen(cases->log, "r");
	size_t len = file ? fread(log, 1, CASES_LOG_MAX - 1, file) : 0;

	log[len] = 0;
	if (file)
		fclose(file);
}

/*
 * OpenSSL 3.0 loses a few bytes of its own where it cannot register something
 * for the whole process. Whatever muxd could lose is larger: the least is a BIO.
 */
static bool is_openssl_own(const char *log)
{
	const char *summary = strstr(log, "SUMMARY: AddressSanitizer: ");
	unsigned int bytes;

	return wrap_failed() && strstr(wrap_failed(), "OpenSSL") && strstr(log, "LeakSanitizer") &&
	       !strstr(log, "daemon/") && summary &&
	       sscanf(summary, "SUMMARY: AddressSanitizer: %u byte(s) leaked", &bytes) == 1 &&
	       bytes <= OPENSSL_OWN_BYTES;
}

const char *cases_judge(int status, const char *log)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

	if (is_openssl_own(log))
		return NULL;
	if (strstr(log, "Sanitizer") || strstr(log, "runtime error:"))
		return "a sanitizer found something";
	if (code < 0)
		return WTERMSIG(status) == SIGALRM ? "muxd is stuck" : "muxd was killed by a signal";
	if (strstr(log, "takes too long"))
		return "a pattern is blamed for what failed";
	if (strstr(log, "there is no user \"root\"") || strstr(log, "there is no group \"daemon\""))
		return "who cannot be looked up is said not to be there";
	if (code != 0 && code != 1 && code != 78)
		return "an exit code that muxd has not";
	return code != 0 && log[0] == 0 ? "muxd ends without a word" : NULL;
}

/* ------------------------------------------------------------------ frames */

void cases_add(struct buf *out, const Muxd__V1__ClientFrame *frame, struct span payload)
{
	size_t len = muxd__v1__client_frame__get_packed_size(frame);
	uint8_t *room;

	ipc_frame_prefix(out, len, payload.len);
	room = buf_reserve(out, len);
	if (!room)
		cases_give_up("a frame");
	buf_commit(out, muxd__v1__client_frame__pack(frame, room));
	buf_append_span(out, payload);
}

Muxd__V1__ClientFrame cases_frame(Muxd__V1__ClientFrame__OpCase op, unsigned int request)
{
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;

	frame.op_case = op;
	frame.has_request = request != 0;
	frame.request = request;
	frame.has_channel = op < MUXD__V1__CLIENT_FRAME__OP_PING && op != MUXD__V1__CLIENT_FRAME__OP_HELLO;
	frame.channel = 1;
	return frame;
}

ProtobufCBinaryData cases_text(const char *text)
{
	return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

void cases_add_hello(struct buf *out, const char *upstream)
{
	Muxd__V1__ClientFrame frame = cases_frame(MUXD__V1__CLIENT_FRAME__OP_HELLO, 0);
	Muxd__V1__Hello hello = MUXD__V1__HELLO__INIT;

	frame.hello = &hello;
	hello.has_version_min = hello.has_version_max = hello.has_get_bytes = hello.has_upstream = true;
	hello.version_min = hello.version_max = 1;
	hello.get_bytes = 1u << 20;
	hello.upstream = cases_text(upstream);
	hello.has_program = true;
	hello.program = cases_text("canary");
	cases_add(out, &frame, SPAN_NULL);
}

void cases_add_open(struct buf *out)
{
	Muxd__V1__ClientFrame frame = cases_frame(MUXD__V1__CLIENT_FRAME__OP_CHANNEL_OPEN, 0);
	Muxd__V1__ChannelOpen open = MUXD__V1__CHANNEL_OPEN__INIT;

	frame.channel_open = &open;
	open.has_generation = true;
	open.generation = 1;
	cases_add(out, &frame, SPAN_NULL);
}

void cases_add_declare(struct buf *out, const char *queue, unsigned int request)
{
	Muxd__V1__ClientFrame frame = cases_frame(MUXD__V1__CLIENT_FRAME__OP_QUEUE_DECLARE, request);
	Muxd__V1__QueueDeclare declare = MUXD__V1__QUEUE_DECLARE__INIT;

	frame.queue_declare = &declare;
	declare.has_queue = declare.has_exclusive = declare.exclusive = true;
	declare.queue = cases_text(queue);
	cases_add(out, &frame, SPAN_NULL);
}

Muxd__V1__ServerFrame *cases_take(struct buf *in)
{
	Muxd__V1__ServerFrame *frame;
	struct ipc_frame bytes;
	size_t size;

	if (ipc_frame_parse(buf_span(in), IPC_PAYLOAD_MAX, &bytes, &size) != IPC_FRAME_OK)
		return NULL;
	frame = muxd__v1__server_frame__unpack(NULL, bytes.header.len, bytes.header.data);
	if (!frame)
		cases_give_up("what muxd sent");
	buf_consume(in, size);
	return frame;
}

/* ------------------------------------------------------------------ begin and end */

static void start_broker(struct cases *cases)
{
	int out[2], in[2];
	FILE *said;

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(in, O_CLOEXEC) < 0)
		cases_give_up("pipe");
	cases->broker = fork();
	if (cases->broker == 0) {
		if (dup2(in[0], STDIN_FILENO) >= 0 && dup2(out[1], STDOUT_FILENO) >= 0)
			execl("tests/broker/testbroker", "testbroker", (char *)NULL);
		_exit(98);
	}
	(void)close(out[1]);
	(void)close(in[0]); /* the other end stays open: at its end the broker leaves */
	said = fdopen(out[0], "r");
	if (cases->broker < 0 || !said || fscanf(said, "%*[^0-9]%u", &cases->port) != 1)
		cases_give_up("tests/broker/testbroker");
}

static void read_arguments(struct cases *cases, int argc, char **argv)
{
	int used = 1;

	*cases = (struct cases){.parts = 1};
	if (argc > 1 && strcmp(argv[1], "--all") == 0) {
		cases->all = true;
		used = 2;
	} else if (argc > 1 && strcmp(argv[1], "--part") == 0) {
		if (argc < 3 || sscanf(argv[2], "%lu/%lu", &cases->part, &cases->parts) != 2 ||
		    cases->part < 1 || cases->part > cases->parts) {
			fprintf(stderr, "--part: I/N is missing, such as 1/4 to 4/4\n");
			exit(64);
		}
		cases->part--;
		cases->all = true;
		used = 3;
	}
	cases->only = argc > used ? argv[used] : NULL;
}

void cases_begin(struct cases *cases, int argc, char **argv)
{
	read_arguments(cases, argc, argv);
	memcpy(cases->folder, "/tmp/failing.XXXXXX", sizeof("/tmp/failing.XXXXXX"));
	if (!mkdtemp(cases->folder) || !wrap_init())
		cases_give_up(cases->folder);
	cases_path(cases, "conf", cases->conf);
	cases_path(cases, "socket", cases->socket);
	cases_path(cases, "log", cases->log);
	cases_path(cases, "notify", cases->notify);
	start_broker(cases);
}

bool cases_are_wanted(const struct cases *cases, const char *scenario)
{
	return !cases->only || strcmp(cases->only, scenario) == 0;
}

bool cases_have_call(const struct cases *cases, unsigned long nth, unsigned long count, unsigned long few)
{
	if (cases->all)
		return (nth - 1) % cases->parts == cases->part;
	return count <= few || (nth - 1) % ((count + few - 1) / few) == 0;
}

int cases_end(struct cases *cases, const char *program)
{
	static const char *const names[] = {"conf",   "socket",	  "log",     "notify",
					    "ca.pem", "cert.pem", "key.pem", "password"};
	char path[64];

	(void)kill(cases->broker, SIGTERM);
	(void)waitpid(cases->broker, NULL, 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		cases_path(cases, names[i], path);
		(void)unlink(path);
	}
	(void)rmdir(cases->folder);
	printf("%s: %u passed, %u failed, 0 skipped\n", program, cases->passed, cases->failed);
	return cases->failed > 0;
}
