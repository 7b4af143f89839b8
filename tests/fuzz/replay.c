/*
 * The main of a fuzz target in a normal build: calls it with each file of the
 * files and folders given, or of its own corpus, tests/fuzz/corpus/NAME for
 * fuzz-NAME. Each file has a process of its own, so that one that crashes is
 * named and the others run all the same. A corpus of no files is a failure.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define INPUT_MAX (1u << 24) /* bytes */

struct totals {
	unsigned int passed;
	unsigned int failed;
};

/* The bytes of a file in a block of exactly their size, so that a read behind them is found. */
static uint8_t *file_read(const char *path, size_t *ret_size)
{
	FILE *file = fopen(path, "rb");
	struct stat status;
	uint8_t *data = NULL;

	if (!file)
		return NULL;
	if (fstat(fileno(file), &status) == 0 && status.st_size <= INPUT_MAX) {
		*ret_size = (size_t)status.st_size;
		data = malloc(*ret_size ? *ret_size : 1);
		if (data && fread(data, 1, *ret_size, file) != *ret_size) {
			free(data);
			data = NULL;
		}
	}
	fclose(file);
	return data;
}

static void replay_in_child(const char *path)
{
	size_t size;
	uint8_t *data = file_read(path, &size);

	if (!data) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(1);
	}
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	exit(0);
}

static void replay_file(const char *path, struct totals *totals)
{
	int status = 0;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0)
		replay_in_child(path);
	if (child > 0 && waitpid(child, &status, 0) == child && status == 0) {
		totals->passed++;
		return;
	}
	totals->failed++;
	printf("failed: %s\n", path);
}

static void replay_folder(const char *path, struct totals *totals)
{
	struct dirent **entries;
	int count = scandir(path, &entries, NULL, alphasort);
	char name[4096];

	for (int i = 0; i < count; i++) {
		if (entries[i]->d_name[0] != '.') {
			snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
			replay_file(name, totals);
		}
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
}

static void replay(const char *path, struct totals *totals)
{
	struct stat status;

	if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
		replay_folder(path, totals);
	} else {
		replay_file(path, totals);
	}
}

int main(int argc, char **argv)
{
	const char *program = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
	const char *name = strstr(program, "fuzz-") ? strstr(program, "fuzz-") + strlen("fuzz-") : program;
	const char *srcdir = getenv("srcdir");
	struct totals totals = {0, 0};
	char corpus[4096];

	if (argc > 1) {
		for (int i = 1; i < argc; i++)
			replay(argv[i], &totals);
	} else {
		snprintf(corpus, sizeof(corpus), "%s/tests/fuzz/corpus/%s", srcdir ? srcdir : ".", name);
		replay(corpus, &totals);
	}
	if (totals.passed + totals.failed == 0) {
		printf("%s: no inputs to replay\n", program);
		totals.failed = 1;
	}
	printf("%s: %u passed, %u failed, 0 skipped\n", program, totals.passed, totals.failed);
	return totals.failed ? 1 : 0;
}
