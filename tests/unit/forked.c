#include "config.h"

#include "tests/unit/forked.h"

#include <check.h>
#include <dirent.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOKS 3 /* one thread may have woken another between two looks at them */
#define MOMENTS 10000

/* The state is behind the name, which may have anything in it: proc(5), /proc/pid/stat. */
static bool sleeps(const char *task)
{
	char path[64], line[256] = "";
	const char *end;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%.20s/stat", task);
	file = fopen(path, "re");
	if (!file)
		return true; /* it has ended */
	end = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	fclose(file);
	return !end || strncmp(end, ") S", 3) == 0;
}

static bool others_sleep(void)
{
	DIR *directory = opendir("/proc/self/task");
	const struct dirent *entry;
	bool all = true;
	char own[24];

	ck_assert_ptr_nonnull(directory);
	(void)snprintf(own, sizeof(own), "%d", (int)gettid());
	while (all && (entry = readdir(directory)))
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, own) != 0)
			all = sleeps(entry->d_name);
	closedir(directory);
	return all;
}

pid_t fork_quietly(void)
{
	int looks, moments;

	for (looks = moments = 0; looks < LOOKS && moments < MOMENTS; moments++) {
		looks = others_sleep() ? looks + 1 : 0;
		poll(NULL, 0, 1);
	}
	ck_assert_msg(looks == LOOKS, "some thread is never asleep");
	return fork();
}

int wait_for_child(pid_t pid)
{
	int status = 0;

	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "the child ended with status %#x", status);
	return WEXITSTATUS(status);
}
