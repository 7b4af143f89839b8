/*
 * The command line of muxd(8):
 *
 *	muxd [-c FILE] [-s SOCKET] [-u URI] [-l LEVEL] [--check] [--version] [--help]
 */
#include "config.h"

#include "daemon/base/log.h"
#include "daemon/muxd.h"
#include "daemon/net/listener.h"
#include "daemon/sink.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define EXIT_CONFIG 78 /* EX_CONFIG */

#define CONF_DEFAULT_PATH "/etc/muxd/muxd.conf"
#define SOCKET_DEFAULT_DIR "/run/muxd"
#define SOCKET_DEFAULT_PATH SOCKET_DEFAULT_DIR "/muxd.sock"
#define SOCKET_USER_NAME "muxd.sock"
#define SOCKET_DIR_MODE 0755

enum {
	OPTION_CHECK = 256,
	OPTION_VERSION
};

struct arguments {
	struct conf_source source;
	const char *socket;
	const char *log_level;
	bool check;
};

static const char usage_text[] =
    "usage: muxd [-c FILE] [-s SOCKET] [-u URI] [-l LEVEL] [--check] [--version] [--help]\n"
    "\n"
    "Shares one AMQP connection among the processes of this host.\n"
    "\n"
    "  -c FILE    configuration (default: " CONF_DEFAULT_PATH ", if it is there)\n"
    "  -s SOCKET  the Unix socket (default: " SOCKET_DEFAULT_PATH ",\n"
    "             or $XDG_RUNTIME_DIR/" SOCKET_USER_NAME " for whom cannot write there)\n"
    "  -u URI     the broker, as upstream \"default\": amqp://USER@HOST:PORT/VHOST;\n"
    "             with a password only in $MUXD_UPSTREAM or in a file\n"
    "  -l LEVEL   error, warning, notice, info or debug\n"
    "  --check    say what is wrong with the configuration, and exit (0 or 78)\n"
    "  --version  print the version, and exit\n"
    "  --help     print this, and exit\n"
    "\n"
    "Exit codes: 0 clean, 1 runtime failure, 2 usage, 78 bad configuration.\n"
    "See muxd(8) and muxd.conf(5).\n";

/* Complains, and says where help is. */
static int usage_error(void)
{
	(void)fputs("Try 'muxd --help'.\n", stderr);
	return EXIT_USAGE;
}

/* -1: go on; else the exit code. */
static int parse_arguments(int argc, char **argv, struct arguments *ret)
{
	static const struct option long_options[] = {{"check", no_argument, NULL, OPTION_CHECK},
						     {"version", no_argument, NULL, OPTION_VERSION},
						     {"help", no_argument, NULL, 'h'},
						     {NULL, 0, NULL, 0}};
	int option;

	while ((option = getopt_long(argc, argv, "c:s:u:l:h", long_options, NULL)) != -1) {
		switch (option) {
		case 'c':
			ret->source.path = optarg;
			break;
		case 's':
			ret->socket = optarg;
			break;
		case 'u':
			ret->source.uri_option = optarg;
			break;
		case 'l':
			ret->log_level = optarg;
			break;
		case OPTION_CHECK:
			ret->check = true;
			break;
		case OPTION_VERSION:
			(void)puts("muxd " PACKAGE_VERSION);
			return EXIT_SUCCESS;
		case 'h':
			(void)fputs(usage_text, stdout);
			return EXIT_SUCCESS;
		default:
			return usage_error();
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr, "muxd: unexpected argument '%s'\n", argv[optind]);
		return usage_error();
	}
	return -1;
}

/* -1: go on. */
static int apply_log_level(const struct arguments *arguments)
{
	enum log_level level;

	if (!arguments->log_level)
		return -1;
	if (log_level_parse(arguments->log_level, &level) < 0) {
		(void)fprintf(stderr, "muxd: -l %s: must be error, warning, notice, info or debug\n",
			      arguments->log_level);
		return usage_error();
	}
	log_set_level(level);
	return -1;
}

static void fill_source(struct conf_source *source)
{
	const char *environ_uri = getenv("MUXD_UPSTREAM");

	if (!source->path && access(CONF_DEFAULT_PATH, F_OK) == 0)
		source->path = CONF_DEFAULT_PATH;
	source->uri_environ = environ_uri && *environ_uri ? environ_uri : NULL;
}

/* ------------------------------------------------------------------ --check */

static void print_errors(const struct conf_errors *errors, const char *kind)
{
	for (size_t i = 0; i < errors->count; i++)
		(void)fprintf(stderr, "muxd: %s%s\n", kind, errors->texts[i]);
	if (errors->incomplete)
		(void)fputs("muxd: there is more, but no memory to tell it\n", stderr);
}

/* What is wrong with the command line is a usage error, and not the configuration's. */
static int error_code(const struct conf_source *source, const struct conf_errors *errors)
{
	bool is_option = source->uri_option && errors->count > 0 && strncmp(errors->texts[0], "-u", 2) == 0;

	return is_option ? EXIT_USAGE : EXIT_CONFIG;
}

/* -1: *ret is set; else the exit code. */
static int load(const struct conf_source *source, struct conf **ret)
{
	struct conf_errors errors = CONF_ERRORS_INIT;
	int r = conf_load(source, ret, &errors);
	int code = r < 0 ? error_code(source, &errors) : -1;

	print_errors(&errors, "");
	if (r < 0 && errors.count == 0)
		(void)fprintf(stderr, "muxd: the configuration cannot be read: %s\n", strerror(-r));
	conf_errors_deinit(&errors);
	return code;
}

static int check(struct conf *conf)
{
	struct conf_errors errors = CONF_ERRORS_INIT;
	int r = muxd_check(conf, &errors);

	print_errors(&conf->warnings, "warning: ");
	print_errors(&errors, "");
	if (r == 0)
		(void)printf("%s: no errors\n", conf->path ? conf->path : "configuration");
	conf_errors_deinit(&errors);
	return r == 0 ? EXIT_SUCCESS : EXIT_CONFIG;
}

/* ------------------------------------------------------------------ the socket */

/* The directory of the default socket; root makes it if it is not there. */
static bool can_use_default_dir(void)
{
	if (geteuid() == 0)
		(void)mkdir(SOCKET_DEFAULT_DIR, SOCKET_DIR_MODE);
	return access(SOCKET_DEFAULT_DIR, W_OK | X_OK) == 0;
}

/* Owned by the caller; NULL: there is no place for it, or no memory, which was said. */
static char *choose_socket(const struct arguments *arguments, const struct conf *conf)
{
	const char *given = arguments->socket ? arguments->socket : conf->socket;
	const char *runtime_dir = getenv("XDG_RUNTIME_DIR");
	char *path = NULL;

	if (given)
		path = strdup(given);
	else if (can_use_default_dir())
		path = strdup(SOCKET_DEFAULT_PATH);
	else if (runtime_dir && *runtime_dir == '/') {
		if (asprintf(&path, "%s/%s", runtime_dir, SOCKET_USER_NAME) < 0)
			path = NULL;
	} else {
		log_error("cannot write to " SOCKET_DEFAULT_DIR
			  ", and XDG_RUNTIME_DIR is not set: use -s SOCKET");
		return NULL;
	}
	if (!path)
		log_error("cannot start: %s", strerror(ENOMEM));
	return path;
}

/* A descriptor for each session: all that the system allows. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		log_warning("cannot raise the limit of open files: %s", strerror(errno));
}

/* Passwords and keys are in memory. Who wants a core all the same can raise it again: prlimit(1). */
static void forbid_cores(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_CORE, &limit) < 0)
		return;
	limit.rlim_cur = 0;
	if (setrlimit(RLIMIT_CORE, &limit) < 0)
		log_warning("cannot forbid core files: %s", strerror(errno));
}

/* ------------------------------------------------------------------ running */

static int serve(const struct arguments *arguments, const struct conf *conf, char *socket, int inherited_fd)
{
	struct muxd_options options = {
	    .source = &arguments->source,
	    .conf = conf,
	    .socket = socket,
	    .socket_is_given = arguments->socket != NULL,
	    .inherited_fd = inherited_fd,
	    .keeps_log_level = arguments->log_level != NULL,
	};
	struct muxd *muxd;
	enum muxd_result result = muxd_new(&options, &muxd);

	if (result == MUXD_OK) {
		result = muxd_run(muxd);
		(void)muxd_free(muxd);
	}
	return result == MUXD_OK ? EXIT_SUCCESS : result == MUXD_BAD_CONFIG ? EXIT_CONFIG : EXIT_FAILURE;
}

static int run(const struct arguments *arguments, const struct conf *conf)
{
	int inherited_fd;
	char *socket;
	int code = EXIT_FAILURE;

	sink_install();
	if (!arguments->log_level)
		log_set_level(conf->log_level);
	for (size_t i = 0; i < conf->warnings.count; i++)
		log_warning("%s", conf->warnings.texts[i]);
	raise_descriptor_limit();
	forbid_cores();
	inherited_fd = listener_take_inherited_fd();
	socket = inherited_fd >= 0 ? strdup("") : choose_socket(arguments, conf);
	if (!socket && inherited_fd >= 0)
		log_error("cannot start: %s", strerror(ENOMEM));
	if (socket)
		code = serve(arguments, conf, socket, inherited_fd);
	free(socket);
	return code;
}

int main(int argc, char **argv)
{
	struct arguments arguments = {0};
	struct conf *conf;
	int code = parse_arguments(argc, argv, &arguments);

	if (code < 0)
		code = apply_log_level(&arguments);
	if (code >= 0)
		return code;
	fill_source(&arguments.source);
	code = load(&arguments.source, &conf);
	if (code >= 0)
		return code;
	code = arguments.check ? check(conf) : run(&arguments, conf);
	conf_free(conf);
	return code;
}
