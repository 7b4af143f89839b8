/*
 * What idle sessions cost muxd: so many, with a channel each, by its resident
 * memory. To be measured first, on a muxd that has no freed memory to use.
 */
#include "tests/bench/bench.h"

#include "client/muxclient.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* KiB. */
static double rss_of(pid_t pid)
{
	char path[64], line[256];
	double kib = -1;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, "VmRSS:", 6) == 0)
			kib = strtod(line + 6, NULL);
	}
	if (file)
		(void)fclose(file);
	if (kib < 0)
		bench_die("cannot read muxd's memory in %s", path);
	return kib;
}

static double told_by(struct muxc *c)
{
	struct muxc_status *status;
	double used;

	if (muxc_status(c, 0, &status, NULL) < 0)
		bench_die("libmuxclient: no status");
	used = (double)status->memory_used;
	(void)muxc_status_free(status);
	return used;
}

static void raise_descriptors(size_t wanted)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	if (limit.rlim_cur < wanted)
		limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

struct idler {
	struct muxc *c;
	struct muxc_channel *channel;
};

/* The answer to ping shows that muxd has read ChannelOpen. */
static void idler_open(struct idler *idler, const char *socket)
{
	struct muxc_options options = {
	    .size = sizeof(options), .socket_path = socket, .program = "muxbench idle", .flags = MUXC_LOOP};
	struct muxc_error error = MUXC_ERROR_INIT;

	if (muxc_connect(&options, &idler->c, &error) < 0 ||
	    muxc_channel_open(idler->c, NULL, &idler->channel) < 0 || muxc_ping(idler->c, 0, &error) < 0)
		bench_die("libmuxclient: an idle session: %s", error.text);
}

void idle_measure(const struct bench *bench, struct idle *ret)
{
	struct idler *idlers = calloc(bench->sessions + 1, sizeof(*idlers));
	double rss, told;
	size_t i;

	if (!idlers)
		bench_die("no memory");
	raise_descriptors(bench->sessions + 64);
	idler_open(&idlers[0], bench->socket);
	rss = rss_of(bench->muxd_pid);
	told = told_by(idlers[0].c);
	for (i = 1; i <= bench->sessions; i++)
		idler_open(&idlers[i], bench->socket);
	ret->muxd_rss_kib = rss_of(bench->muxd_pid);
	ret->rss_bytes = (ret->muxd_rss_kib - rss) * 1024 / (double)bench->sessions;
	ret->told_bytes = (told_by(idlers[0].c) - told) / (double)bench->sessions;
	for (i = 0; i <= bench->sessions; i++) {
		(void)muxc_channel_free(idlers[i].channel);
		(void)muxc_free(idlers[i].c);
	}
	free(idlers);
}
