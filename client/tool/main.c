/*
 * muxctl: finds the command on the command line and runs it.
 */
#include "client/tool/option.h"
#include "client/tool/signals.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Finds the command; the exit code, or -1 and *ret_first, where it stands. */
static int read_global(struct ctl *ctl, int argc, char **argv, int *ret_first)
{
	option_begin();
	if (option_next(ctl, argc, argv, "+", NULL) == OPTION_STOP)
		return ctl->exit_code;
	if (optind >= argc)
		return ctl_usage(ctl, "which command?");
	*ret_first = optind;
	return -1;
}

static int help(struct ctl *ctl, int argc, char **argv)
{
	if (argc < 2) {
		command_help_all();
		return CTL_DONE;
	}
	ctl->command = command_find(argv[1]);
	if (!ctl->command)
		return ctl_usage(ctl, "there is no command '%s'", argv[1]);
	command_help(ctl->command);
	return CTL_DONE;
}

/*
 * A standard descriptor that is closed would come back as the socket to muxd, and be
 * read and written as if it were stdin and stdout. It becomes one that gives errors.
 */
static void standard_descriptors_open(void)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			(void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
	}
}

int main(int argc, char **argv)
{
	struct ctl ctl = {.deadline_usec = UINT64_MAX};
	char name[] = "muxctl"; /* getopt puts it before what it has to say */
	int first = 0, r;

	standard_descriptors_open();
	if (argc > 0)
		argv[0] = name;
	/* A reader of stdout that leaves is an error that is told, and unread messages go back. */
	(void)signal(SIGPIPE, SIG_IGN);
	r = read_global(&ctl, argc, argv, &first);
	if (r >= 0)
		return r == CTL_DONE ? ctl_flush(&ctl) : r;
	if (strcmp(argv[first], "help") == 0) {
		r = help(&ctl, argc - first, argv + first);
	} else {
		ctl.command = command_find(argv[first]);
		if (!ctl.command)
			return ctl_usage(&ctl, "there is no command '%s'", argv[first]);
		option_begin();
		argv[first] = name;
		r = ctl.command->run(&ctl, argc - first, argv + first);
	}
	ctl_close(&ctl);
	if (r == CTL_DONE)
		r = ctl_flush(&ctl);
	if (ctl.ended_by)
		signals_end(ctl.ended_by);
	return r;
}
