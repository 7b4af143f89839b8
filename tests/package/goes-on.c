/*
 * A program that knows nothing of upgrades: publishes to a queue, one message
 * after the other, each when the one before is confirmed, on one connection.
 *
 *	goes-on QUEUE FILE
 *
 * until FILE is there. Each number is printed when it is confirmed; the exit
 * code is 1 as soon as one is not.
 */
#include <muxclient.h>

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_NSEC 20000000
#define DEADLINE_USEC 120000000

static int publish(struct muxc_channel *channel, const char *queue, unsigned int i, struct muxc_error *error)
{
	struct muxc_publication publication = {.size = sizeof(publication), .routing_key = queue};
	char text[16];
	uint64_t number;
	int kind, r;

	(void)snprintf(text, sizeof(text), "%u", i);
	publication.body = text;
	publication.body_len = strlen(text);
	publication.flags = MUXC_MANDATORY;
	r = muxc_publish_full(channel, &publication, DEADLINE_USEC, &number, error);
	if (r >= 0)
		r = muxc_wait_outcome(channel, number, DEADLINE_USEC, &kind, error);
	if (r < 0 || kind == MUXC_CONFIRMED)
		return r;
	fprintf(stderr, "goes-on: %s\n", muxc_outcome_name(kind));
	return -1;
}

int main(int argc, char **argv)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NSEC};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *channel = NULL;
	struct muxc *c = NULL;
	unsigned int i;
	int r;

	if (argc != 3)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	r = muxc_connect(NULL, &c, &error);
	if (r >= 0)
		r = muxc_channel_open(c, NULL, &channel);
	for (i = 1; r >= 0 && access(argv[2], F_OK) != 0; i++) {
		r = publish(channel, argv[1], i, &error);
		if (r >= 0)
			printf("%u\n", i);
		nanosleep(&pause, NULL);
	}
	if (r < 0)
		fprintf(stderr, "goes-on: %u: %s\n", i, error.text);
	muxc_channel_free(channel);
	muxc_free(c);
	return r < 0;
}
