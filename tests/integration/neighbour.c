/*
 * A process that does calls and nothing else: it publishes to a queue of its
 * own and waits until it has the message back, one at a time. Its times tell
 * what another session costs it.
 *
 *	neighbour COUNT		prints "p50 US p99 US max US"
 *
 * Before it counts, a tenth of them are done for nothing.
 */
#include "client/muxclient.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE_USEC 30000000u
#define BODY_BYTES 128u

struct neighbour {
	struct muxc *c;
	struct muxc_channel *channel;
	struct muxc_message *message;
	unsigned long received;
};

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "neighbour: %s: %s\n", what, strerror(-r));
	exit(1);
}

static double now_usec(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct neighbour *neighbour = userdata;

	neighbour->received++;
}

static void on_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	fprintf(stderr, "neighbour: the channel has ended: %s\n", error->text);
	exit(1);
}

static const char *begin(struct neighbour *neighbour)
{
	static char queue[64];
	static const char body[BODY_BYTES];
	struct muxc_options options = {.size = sizeof(options), .program = "neighbour", .flags = MUXC_LOOP};
	struct muxc_channel_options channel = {
	    .size = sizeof(channel), .on_closed = on_closed, .userdata = neighbour};
	struct muxc_queue declared = {.size = sizeof(declared), .name = queue, .flags = MUXC_EXCLUSIVE};
	struct muxc_consumer_options consumer = {.size = sizeof(consumer),
						 .queue = queue,
						 .flags = MUXC_NO_ACK,
						 .on_message = on_message,
						 .userdata = neighbour};

	(void)snprintf(queue, sizeof(queue), "neighbour.%.0f", now_usec());
	must(muxc_connect(&options, &neighbour->c, NULL), "connect");
	must(muxc_channel_open(neighbour->c, &channel, &neighbour->channel), "open a channel");
	must(muxc_message_new(&neighbour->message), "make a message");
	must(muxc_message_set_body(neighbour->message, body, sizeof(body)), "set its body");
	must(muxc_queue_declare(neighbour->channel, &declared, NULL, PATIENCE_USEC, NULL), "declare");
	must(muxc_consume(neighbour->channel, &consumer, NULL, PATIENCE_USEC, NULL), "consume");
	return queue;
}

static double call(struct neighbour *neighbour, const char *queue)
{
	unsigned long before = neighbour->received;
	double began = now_usec();

	must(muxc_publish(neighbour->channel, NULL, queue, neighbour->message, 0, NULL), "publish");
	while (neighbour->received == before) {
		int r = muxc_wait(neighbour->c, PATIENCE_USEC);

		must(r == 0 ? -ETIMEDOUT : r, "wait");
		must(muxc_process(neighbour->c), "process");
	}
	return now_usec() - began;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	unsigned long count = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	struct neighbour neighbour = {.received = 0};
	double *samples = calloc(count ? count : 1, sizeof(*samples));
	const char *queue;

	if (count == 0 || !samples) {
		fprintf(stderr, "usage: neighbour COUNT\n");
		return 2;
	}
	queue = begin(&neighbour);
	for (unsigned long i = 0; i < count / 10; i++)
		(void)call(&neighbour, queue);
	for (unsigned long i = 0; i < count; i++)
		samples[i] = call(&neighbour, queue);
	qsort(samples, count, sizeof(*samples), compare);
	printf("p50 %.0f p99 %.0f max %.0f\n", samples[count / 2], samples[count - 1 - count / 100],
	       samples[count - 1]);
	free(samples);
	neighbour.message = muxc_message_unref(neighbour.message);
	neighbour.channel = muxc_channel_free(neighbour.channel);
	neighbour.c = muxc_free(neighbour.c);
	return 0;
}
