/*
 * canary: a client in steady traffic, to tell whether others disturb it. One
 * round is: publish to its own queue, wait for the confirm, wait for the
 * delivery, acknowledge. The time between the ends of two rounds is the gap.
 *
 *	canary [-s SOCKET] [-u UPSTREAM] [-r ROUNDS-PER-SECOND]
 *
 * Each line on stdin begins a phase of that name; "end" or the end of stdin
 * ends it all. For each phase stdout has
 *
 *	phase NAME: rounds=N rate=N/s gap_ms=N epoch=N errors=N
 *
 * Exit code 1 if anything but a confirm and the right message came.
 */
#include "config.h"

#include "client/muxclient.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NAME_SIZE 64
#define ROUND_TIMEOUT_USEC 20000000u

struct canary {
	pthread_mutex_t lock;
	pthread_cond_t arrived;
	uint64_t last_number; /* of the message that came last */
	uint64_t last_tag;
	uint64_t epoch;

	struct muxc *c;
	struct muxc_channel *channel;
	struct muxc_queue_info queue;
	uint64_t pause_usec;
	uint64_t number;

	char phase[NAME_SIZE];
	uint64_t phase_start_usec, last_end_usec, gap_usec, rounds, errors;
};

static uint64_t now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static void on_upstream(struct muxc *c, const struct muxc_upstream *upstream, void *userdata)
{
	struct canary *canary = userdata;

	pthread_mutex_lock(&canary->lock);
	canary->epoch = upstream->epoch;
	pthread_mutex_unlock(&canary->lock);
}

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct canary *canary = userdata;
	size_t len;
	const void *body = muxc_message_get_body(message, &len);

	pthread_mutex_lock(&canary->lock);
	canary->last_number = 0;
	if (len == sizeof(canary->last_number))
		memcpy(&canary->last_number, body, len);
	canary->last_tag = muxc_message_get_tag(message);
	pthread_cond_signal(&canary->arrived);
	pthread_mutex_unlock(&canary->lock);
}

static int trouble(struct canary *canary, const char *what, int r, const struct muxc_error *error)
{
	canary->errors++;
	fprintf(stderr, "canary: round %llu: %s: %s%s%s\n", (unsigned long long)canary->number, what,
		r < 0 ? strerror(-r) : "", error && error->text[0] ? ": " : "", error ? error->text : "");
	return -1;
}

static int wait_for_message(struct canary *canary)
{
	struct timespec deadline;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += ROUND_TIMEOUT_USEC / 1000000u;
	pthread_mutex_lock(&canary->lock);
	while (canary->last_tag == 0 && r == 0)
		r = pthread_cond_timedwait(&canary->arrived, &canary->lock, &deadline);
	if (r == 0 && canary->last_number != canary->number)
		r = EBADMSG;
	pthread_mutex_unlock(&canary->lock);
	return -r;
}

static int sing(struct canary *canary)
{
	struct muxc_publication publication = {.size = sizeof(publication),
					       .routing_key = canary->queue.name};
	struct muxc_error error = MUXC_ERROR_INIT;
	uint64_t number;
	int r, kind;

	canary->number++;
	canary->last_tag = 0;
	publication.body = &canary->number;
	publication.body_len = sizeof(canary->number);
	r = muxc_publish_full(canary->channel, &publication, ROUND_TIMEOUT_USEC, &number, &error);
	if (r < 0)
		return trouble(canary, "publish", r, &error);
	r = muxc_wait_outcome(canary->channel, number, ROUND_TIMEOUT_USEC, &kind, &error);
	if (r < 0)
		return trouble(canary, "outcome", r, &error);
	if (kind != MUXC_CONFIRMED)
		return trouble(canary, muxc_outcome_name(kind), 0, &error);
	r = wait_for_message(canary);
	if (r < 0)
		return trouble(canary, "delivery", r, NULL);
	r = muxc_ack(canary->channel, canary->last_tag, 0);
	if (r < 0)
		return trouble(canary, "ack", r, NULL);
	return 0;
}

static void begin_phase(struct canary *canary, const char *name)
{
	snprintf(canary->phase, sizeof(canary->phase), "%s", name);
	canary->phase_start_usec = canary->last_end_usec = now_usec();
	canary->gap_usec = canary->rounds = 0;
}

static void end_phase(struct canary *canary)
{
	uint64_t took_usec = now_usec() - canary->phase_start_usec;

	pthread_mutex_lock(&canary->lock);
	printf("phase %s: rounds=%llu rate=%.0f/s gap_ms=%.1f epoch=%llu errors=%llu\n", canary->phase,
	       (unsigned long long)canary->rounds,
	       (double)canary->rounds * 1e6 / (double)(took_usec ? took_usec : 1),
	       (double)canary->gap_usec / 1e3, (unsigned long long)canary->epoch,
	       (unsigned long long)canary->errors);
	fflush(stdout);
	pthread_mutex_unlock(&canary->lock);
}

/* False: it is the end. Waits until `until_usec` for a line. */
static bool take_line(struct canary *canary, uint64_t until_usec)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	uint64_t now = now_usec();
	struct timespec left = {0, (long)(until_usec > now ? (until_usec - now) * 1000 : 0)};
	char line[NAME_SIZE];

	if (ppoll(&input, 1, &left, NULL) <= 0)
		return true;
	if (!fgets(line, sizeof(line), stdin) || strcmp(line, "end\n") == 0)
		return false;
	line[strcspn(line, "\n")] = '\0';
	end_phase(canary);
	begin_phase(canary, line);
	return true;
}

static void sing_to_the_end(struct canary *canary)
{
	uint64_t begin_usec;

	do {
		begin_usec = now_usec();
		if (sing(canary) < 0)
			break;
		uint64_t end_usec = now_usec();

		canary->rounds++;
		if (end_usec - canary->last_end_usec > canary->gap_usec)
			canary->gap_usec = end_usec - canary->last_end_usec;
		canary->last_end_usec = end_usec;
	} while (take_line(canary, begin_usec + canary->pause_usec));
	end_phase(canary);
}

static int set_up(struct canary *canary, const struct muxc_options *options)
{
	struct muxc_queue queue = {.size = sizeof(queue), .flags = MUXC_EXCLUSIVE};
	struct muxc_consumer_options consumer = {
	    .size = sizeof(consumer), .on_message = on_message, .userdata = canary};
	struct muxc_error error = MUXC_ERROR_INIT;
	uint32_t number;
	int r;

	r = muxc_connect(options, &canary->c, &error);
	if (r < 0)
		return trouble(canary, "connect", r, &error);
	r = muxc_channel_open(canary->c, NULL, &canary->channel);
	if (r < 0)
		return trouble(canary, "channel", r, NULL);
	canary->queue.size = sizeof(canary->queue);
	r = muxc_queue_declare(canary->channel, &queue, &canary->queue, 0, &error);
	if (r < 0)
		return trouble(canary, "queue", r, &error);
	consumer.queue = canary->queue.name;
	r = muxc_consume(canary->channel, &consumer, &number, 0, &error);
	if (r < 0)
		return trouble(canary, "consume", r, &error);
	return 0;
}

int main(int argc, char **argv)
{
	struct canary canary = {.lock = PTHREAD_MUTEX_INITIALIZER,
				.arrived = PTHREAD_COND_INITIALIZER,
				.pause_usec = 1000000 / 400};
	struct muxc_options options = {
	    .size = sizeof(options), .program = "canary", .on_upstream = on_upstream, .userdata = &canary};
	int option;

	while ((option = getopt(argc, argv, "s:u:r:")) != -1) {
		if (option == 's')
			options.socket_path = optarg;
		else if (option == 'u')
			options.upstream = optarg;
		else if (option == 'r' && strtoul(optarg, NULL, 10) > 0)
			canary.pause_usec = 1000000 / strtoul(optarg, NULL, 10);
		else
			return 2;
	}
	setvbuf(stdin, NULL, _IONBF, 0);
	if (set_up(&canary, &options) == 0) {
		puts("ready");
		fflush(stdout);
		begin_phase(&canary, "first");
		sing_to_the_end(&canary);
	}
	muxc_channel_free(canary.channel);
	muxc_free(canary.c);
	return canary.errors ? 1 : 0;
}
