#include "client/tool/signals.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};

#define NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

int signals_open(struct ctl *ctl, bool with_children)
{
	struct sigaction now;
	sigset_t set;
	size_t i;
	int fd;

	(void)sigemptyset(&set);
	if (with_children) {
		(void)signal(SIGCHLD, SIG_DFL);
		(void)sigaddset(&set, SIGCHLD);
	}
	for (i = 0; i < NUMBERS; i++) {
		if (sigaction(numbers[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
			(void)sigaddset(&set, numbers[i]);
	}
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		(void)ctl_fail_errno(ctl, "signalfd", errno);
	else
		(void)sigprocmask(SIG_BLOCK, &set, NULL);
	return fd;
}

int signals_read(int fd)
{
	struct signalfd_siginfo info;

	return read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info) ? (int)info.ssi_signo : 0;
}

void signals_close(int fd)
{
	sigset_t set;
	size_t i;

	(void)close(fd);
	(void)sigemptyset(&set);
	for (i = 0; i < NUMBERS; i++)
		(void)sigaddset(&set, numbers[i]);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
}

void signals_end(int number)
{
	(void)signal(number, SIG_DFL);
	(void)raise(number);
}
