/*
 * testbroker: the broker as a program. The first line on stdout says the
 * port; stdin takes admin lines (server.h), each answered with one line.
 */
#include "tests/broker/server.h"

#include <event2/event.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024u
#define VHOSTS_MAX 64u

struct program {
	struct event_base *base;
	struct server *server;
	struct event *input;
	char line[LINE_MAX_BYTES];
	size_t line_len;
};

static void usage(FILE *out)
{
	fputs("usage: testbroker [-p PORT] [-b ADDRESS] [-V VHOST]... [OPTION]...\n"
	      "  -p, --port PORT         port to listen on; 0 (the default) picks one\n"
	      "  -b, --address ADDRESS   IPv4 address to listen on, default 127.0.0.1\n"
	      "  -V, --vhost NAME        one more virtual host, beside /, one and two\n"
	      "      --user NAME         default guest\n"
	      "      --password WORD     default guest\n"
	      "      --channel-max N     offered to clients, default 2047\n"
	      "      --user-channels N   of all connections, default no limit\n"
	      "      --frame-max BYTES   default 131072\n"
	      "      --heartbeat SECONDS default 60\n"
	      "      --seed N            of generated names, default 0\n"
	      "      --delay MSEC        send everything so much later\n"
	      "      --hold-confirms     until told by release, refuse or go\n"
	      "      --block REASON      begin with an alarm\n"
	      "      --freeze            begin frozen\n"
	      "      --log-connections   on stderr\n"
	      "stdin takes: freeze thaw drop reset garbage delay block unblock close restart hold release "
	      "refuse go\n"
	      "  connections channels held messages stop\n"
	      "Names that begin with trap.crash, trap.refuse or trap.drop end the connection of who uses "
	      "them; keys trap.route and trap.deliver that of who publishes or gets the message.\n",
	      out);
}

static void run_line(struct program *program)
{
	char answer[LINE_MAX_BYTES];
	bool go_on;

	program->line[program->line_len] = '\0';
	program->line_len = 0;
	go_on = server_command(program->server, program->line, answer, sizeof(answer));
	printf("%s\n", answer);
	fflush(stdout);
	if (!go_on)
		event_base_loopbreak(program->base);
}

static void on_input(evutil_socket_t fd, short events, void *context)
{
	struct program *program = context;
	char bytes[256];
	ssize_t got = read(STDIN_FILENO, bytes, sizeof(bytes));

	(void)fd;
	(void)events;
	/* Nobody talks to us any more: go on without. */
	if (got <= 0)
		event_del(program->input);
	for (ssize_t i = 0; i < got; i++) {
		if (bytes[i] == '\n')
			run_line(program);
		else if (program->line_len + 1 < sizeof(program->line))
			program->line[program->line_len++] = bytes[i];
	}
}

/* Files and /dev/null cannot; then there are no admin lines. */
static bool input_can_be_polled(void)
{
	struct stat status;

	if (fstat(STDIN_FILENO, &status) < 0)
		return false;
	return S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode) || isatty(STDIN_FILENO);
}

static void on_signal(evutil_socket_t fd, short events, void *context)
{
	(void)fd;
	(void)events;
	event_base_loopbreak(context);
}

static unsigned long number(const char *text, unsigned long max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text >= '0' && *text <= '9' && *end == '\0' && value <= max)
		return value;
	fprintf(stderr, "testbroker: '%s' is not a number up to %lu\n", text, max);
	exit(2);
}

enum {
	OPT_USER = 256,
	OPT_PASSWORD,
	OPT_CHANNELS,
	OPT_USER_CHANNELS,
	OPT_FRAME,
	OPT_BEAT,
	OPT_SEED,
	OPT_DELAY,
	OPT_HOLD,
	OPT_BLOCK,
	OPT_FREEZE,
	OPT_LOG,
	OPT_HELP
};

static const struct option long_options[] = {{"port", required_argument, NULL, 'p'},
					     {"address", required_argument, NULL, 'b'},
					     {"vhost", required_argument, NULL, 'V'},
					     {"user", required_argument, NULL, OPT_USER},
					     {"password", required_argument, NULL, OPT_PASSWORD},
					     {"channel-max", required_argument, NULL, OPT_CHANNELS},
					     {"user-channels", required_argument, NULL, OPT_USER_CHANNELS},
					     {"frame-max", required_argument, NULL, OPT_FRAME},
					     {"heartbeat", required_argument, NULL, OPT_BEAT},
					     {"seed", required_argument, NULL, OPT_SEED},
					     {"delay", required_argument, NULL, OPT_DELAY},
					     {"hold-confirms", no_argument, NULL, OPT_HOLD},
					     {"block", required_argument, NULL, OPT_BLOCK},
					     {"freeze", no_argument, NULL, OPT_FREEZE},
					     {"log-connections", no_argument, NULL, OPT_LOG},
					     {"help", no_argument, NULL, OPT_HELP},
					     {NULL, 0, NULL, 0}};

struct settings {
	struct server_options server;
	const char *vhosts[VHOSTS_MAX];
	const char *block;
	bool freeze;
};

static void set_option(struct settings *settings, int option, const char *value)
{
	struct broker_options *broker = &settings->server.broker;

	switch (option) {
	case 'p':
		settings->server.port = (uint16_t)number(value, UINT16_MAX);
		break;
	case 'b':
		settings->server.address = value;
		break;
	case 'V':
		if (broker->vhost_count < VHOSTS_MAX)
			settings->vhosts[broker->vhost_count++] = value;
		break;
	case OPT_USER:
		broker->user = value;
		break;
	case OPT_PASSWORD:
		broker->password = value;
		break;
	case OPT_CHANNELS:
		broker->channel_max = (uint16_t)number(value, UINT16_MAX);
		break;
	case OPT_USER_CHANNELS:
		broker->user_channels = (uint32_t)number(value, UINT16_MAX);
		break;
	case OPT_FRAME:
		broker->frame_max = (uint32_t)number(value, UINT32_MAX);
		break;
	case OPT_BEAT:
		broker->heartbeat_sec = (uint16_t)number(value, UINT16_MAX);
		break;
	case OPT_SEED:
		broker->seed = number(value, ULONG_MAX);
		break;
	case OPT_DELAY:
		settings->server.delay_msec = (unsigned int)number(value, 3600000);
		break;
	case OPT_HOLD:
		broker->manual_confirms = true;
		break;
	case OPT_BLOCK:
		settings->block = value;
		break;
	case OPT_FREEZE:
		settings->freeze = true;
		break;
	case OPT_LOG:
		settings->server.log_connections = true;
		break;
	case OPT_HELP:
		usage(stdout);
		exit(0);
	default:
		usage(stderr);
		exit(2);
	}
}

static void start(struct program *program, const struct settings *settings)
{
	char answer[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
	int r = server_new(program->base, &settings->server, &program->server);

	if (r < 0) {
		fprintf(stderr, "testbroker: cannot listen on port %u: %s\n", settings->server.port,
			strerror(-r));
		exit(1);
	}
	if (settings->block) {
		snprintf(line, sizeof(line), "block %s", settings->block);
		server_command(program->server, line, answer, sizeof(answer));
	}
	if (settings->freeze)
		server_command(program->server, "freeze", answer, sizeof(answer));
	printf("listening %u\n", server_port(program->server));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct settings settings = {.server.broker = BROKER_OPTIONS_INIT};
	struct program program = {.base = NULL};
	struct event *terminate, *interrupt;
	int option;

	while ((option = getopt_long(argc, argv, "p:b:V:", long_options, NULL)) != -1)
		set_option(&settings, option, optarg);
	if (optind < argc) {
		usage(stderr);
		return 2;
	}
	settings.server.broker.vhosts = settings.vhosts;
	signal(SIGPIPE, SIG_IGN);
	program.base = event_base_new();
	if (!program.base)
		abort();
	start(&program, &settings);
	terminate = evsignal_new(program.base, SIGTERM, on_signal, program.base);
	interrupt = evsignal_new(program.base, SIGINT, on_signal, program.base);
	program.input = event_new(program.base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, &program);
	if (!terminate || !interrupt || !program.input || event_add(terminate, NULL) < 0 ||
	    event_add(interrupt, NULL) < 0)
		abort();
	if (input_can_be_polled() && event_add(program.input, NULL) < 0)
		abort();
	event_base_dispatch(program.base);
	server_free(program.server);
	event_free(program.input);
	event_free(terminate);
	event_free(interrupt);
	event_base_free(program.base);
	return 0;
}
