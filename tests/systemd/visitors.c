/*
 * visitors RATE [SECONDS]: so many clients a second come to muxd's socket, as
 * processes of a pool do, and wait for so long to be greeted (default: the library's). Every second one only
 *connects, as what is written without the library might; the others connect by libmuxclient, publish a
 *message, wait for its confirm and leave. At each line on stdin says how many there were:
 *
 *	ok visits=N rate=N/s refused=N failed=N
 *
 * refused: connects that failed; failed: errors that the library gave, or
 * publishes that were not confirmed. `end` ends it, with exit code 1 if there were
 * any of these.
 */
#include "config.h"

#include "client/muxclient.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define THREADS 32u

struct visitors {
	const char *path;
	uint64_t connect_timeout_usec; /* 0: the library's default */
	uint64_t interval_usec;
	uint64_t start_usec;
	atomic_uint_fast64_t next, visits, refused, failed;
	atomic_bool ends;
};

static uint64_t now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static void connect_only(struct visitors *visitors)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", visitors->path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		fprintf(stderr, "visitors: connect: %s\n", strerror(errno));
		visitors->refused++;
	}
	if (fd >= 0)
		close(fd);
}

static void publish_one(struct visitors *visitors)
{
	struct muxc_options options = {.size = sizeof(options),
				       .socket_path = visitors->path,
				       .connect_timeout_usec = visitors->connect_timeout_usec};
	struct muxc_publication publication = {
	    .size = sizeof(publication), .routing_key = "visitors.nowhere", .body = "here", .body_len = 4};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *channel = NULL;
	struct muxc *c = NULL;
	uint64_t number;
	int kind = 0, r;

	r = muxc_connect(&options, &c, &error);
	if (r >= 0)
		r = muxc_channel_open(c, NULL, &channel);
	if (r >= 0)
		r = muxc_publish_full(channel, &publication, 0, &number, &error);
	if (r >= 0)
		r = muxc_wait_outcome(channel, number, 0, &kind, &error);
	if (r < 0 || kind != MUXC_CONFIRMED) {
		fprintf(stderr, "visitors: %s\n", r < 0 ? error.text : muxc_outcome_name(kind));
		visitors->failed++;
	}
	muxc_channel_free(channel);
	muxc_free(c);
}

static void *visit(void *arg)
{
	struct visitors *visitors = arg;

	while (!visitors->ends) {
		uint64_t turn = visitors->next++, now = now_usec();
		uint64_t due = visitors->start_usec + turn * visitors->interval_usec;

		if (due > now)
			poll(NULL, 0, (int)((due - now) / 1000u));
		if (turn % 2)
			connect_only(visitors);
		else
			publish_one(visitors);
		visitors->visits++;
	}
	return NULL;
}

static void report(const struct visitors *visitors)
{
	uint64_t visits = visitors->visits;
	double seconds = (double)(now_usec() - visitors->start_usec) / 1e6;

	printf("ok visits=%llu rate=%.0f/s refused=%llu failed=%llu\n", (unsigned long long)visits,
	       (double)visits / seconds, (unsigned long long)visitors->refused,
	       (unsigned long long)visitors->failed);
}

int main(int argc, char **argv)
{
	unsigned long rate = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
	struct visitors visitors = {.path = getenv("MUXD_SOCKET"), .start_usec = now_usec()};
	pthread_t threads[THREADS];
	unsigned int i;
	char line[16];

	if (rate == 0 || !visitors.path) {
		fprintf(stderr, "usage: MUXD_SOCKET=PATH visitors RATE [SECONDS]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	visitors.interval_usec = 1000000u / rate;
	visitors.connect_timeout_usec = argc > 2 ? strtoul(argv[2], NULL, 10) * 1000000u : 0;
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, visit, &visitors) != 0)
			return 1;
	puts("ready");
	while (fgets(line, sizeof(line), stdin) && strncmp(line, "end", 3) != 0)
		report(&visitors);
	visitors.ends = true;
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	report(&visitors);
	return visitors.refused || visitors.failed;
}
