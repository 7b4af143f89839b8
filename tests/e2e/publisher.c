/*
 * A process that publishes: persistent messages, mandatory, to all queues at
 * random, at a steady rate, with a bounded number of them without outcome. A
 * channel that ends is an error that a client saw; it opens another and goes on.
 */
#include "config.h"

#include "tests/e2e/account.h"
#include "tests/unit/random.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct publisher {
	struct ledger *ledger;
	unsigned int index;
	char name[32];
	struct muxc *c;
	struct muxc_message *message;
	uint8_t *body;
	struct random random;
	uint64_t number; /* of the message that was published last */

	pthread_mutex_t lock;
	pthread_cond_t progress;
	uint64_t outstanding;
	_Atomic bool channel_ended;
	struct muxc_error why;
};

/* A channel numbers from 1; the publisher goes on counting. */
struct lane {
	struct publisher *publisher;
	uint64_t base;
};

static void on_outcome(struct muxc_channel *channel, const struct muxc_outcome *outcome, void *userdata)
{
	struct lane *lane = userdata;
	struct publisher *publisher = lane->publisher;

	for (uint64_t n = outcome->first; n <= outcome->last; n++)
		ledger_outcome(publisher->ledger, publisher->index, lane->base + n, outcome->kind);
	pthread_mutex_lock(&publisher->lock);
	publisher->outstanding -= outcome->last - outcome->first + 1;
	pthread_cond_signal(&publisher->progress);
	pthread_mutex_unlock(&publisher->lock);
}

static void on_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	struct lane *lane = userdata;
	struct publisher *publisher = lane->publisher;

	pthread_mutex_lock(&publisher->lock);
	publisher->channel_ended = true;
	publisher->why = *error;
	pthread_cond_signal(&publisher->progress);
	pthread_mutex_unlock(&publisher->lock);
}

static void on_upstream(struct muxc *c, const struct muxc_upstream *upstream, void *userdata)
{
	struct publisher *publisher = userdata;

	atomic_store(&publisher->ledger->blocked[publisher->index], upstream->state == MUXC_UPSTREAM_BLOCKED);
}

static void trouble(struct publisher *publisher, const char *what, int r, const struct muxc_error *error)
{
	ledger_client_error(publisher->ledger, publisher->name, what, r, error);
}

static struct muxc_channel *open_channel(struct publisher *publisher)
{
	struct muxc_channel_options options = {
	    .size = sizeof(options), .on_outcome = on_outcome, .on_closed = on_closed, .on_destroy = free};
	struct lane *lane = calloc(1, sizeof(*lane));
	struct muxc_channel *channel = NULL;
	int r = -ENOMEM;

	if (lane) {
		*lane = (struct lane){publisher, publisher->number};
		options.userdata = lane;
		r = muxc_channel_open(publisher->c, &options, &channel);
	}
	if (r < 0) {
		trouble(publisher, "channel", r, NULL);
		exit(1);
	}
	return channel;
}

/* Most bodies are small; one of a hundred may be as large as the largest. */
static size_t draw_len(struct publisher *publisher)
{
	unsigned long largest = publisher->ledger->settings.largest;
	double exponent = (double)(random_u64(&publisher->random) >> 11) / 9007199254740992.0;

	if (largest > 1024 && random_below(&publisher->random, 100) != 0)
		largest = 1024;
	return sizeof(struct body) + (size_t)pow((double)largest, exponent);
}

static size_t make_body(struct publisher *publisher, unsigned int queue)
{
	struct body head = {.publisher = publisher->index,
			    .queue = queue,
			    .number = publisher->number + 1,
			    .sent_usec = now_usec()};
	size_t len = draw_len(publisher);

	for (size_t i = sizeof(head); i < len; i += sizeof(uint64_t)) {
		uint64_t word = random_u64(&publisher->random);

		memcpy(publisher->body + i, &word, sizeof(word));
	}
	memcpy(publisher->body, &head, sizeof(head));
	head.checksum = checksum_of(publisher->body + sizeof(head.checksum), len - sizeof(head.checksum));
	memcpy(publisher->body, &head.checksum, sizeof(head.checksum));
	return len;
}

static void publish_one(struct publisher *publisher, struct muxc_channel *channel)
{
	const struct settings *settings = &publisher->ledger->settings;
	unsigned int queue = random_below(&publisher->random, settings->consumers);
	char name[128];
	struct muxc_publication publication = {.size = sizeof(publication),
					       .routing_key = name,
					       .message = publisher->message,
					       .body = publisher->body,
					       .flags = MUXC_MANDATORY};
	struct muxc_error error = MUXC_ERROR_INIT;
	uint64_t in_channel;
	int r;

	queue_name(settings, queue, name, sizeof(name));
	publication.body_len = make_body(publisher, queue);
	/* before it can be seen, or have an outcome */
	atomic_store(&publisher->ledger->attempted[publisher->index], publisher->number + 1);
	pthread_mutex_lock(&publisher->lock);
	publisher->outstanding++;
	pthread_mutex_unlock(&publisher->lock);
	r = muxc_publish_full(channel, &publication, CALL_TIMEOUT_USEC, &in_channel, &error);
	if (r == 0) {
		publisher->number++;
		ledger_count(publisher->ledger, COUNT_ATTEMPTED, 1);
		return;
	}
	pthread_mutex_lock(&publisher->lock);
	publisher->outstanding--;
	atomic_store(&publisher->ledger->attempted[publisher->index], publisher->number);
	if (!publisher->channel_ended)
		trouble(publisher, "publish", r, &error);
	pthread_mutex_unlock(&publisher->lock);
}

static bool must_stop(const struct publisher *publisher)
{
	return atomic_load(&publisher->ledger->stop_publishing) ||
	       publisher->number == publisher->ledger->settings.capacity;
}

/* Until fewer than `outstanding` have no outcome; a channel that ended shows in channel_ended. */
static void wait_for_outcomes(struct publisher *publisher, uint64_t outstanding)
{
	struct timespec until;

	pthread_mutex_lock(&publisher->lock);
	while (publisher->outstanding >= outstanding && !publisher->channel_ended &&
	       (outstanding == 1 || !must_stop(publisher))) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		pthread_cond_timedwait(&publisher->progress, &publisher->lock, &until);
	}
	pthread_mutex_unlock(&publisher->lock);
}

static void wait_for_turn(uint64_t *next_usec, uint64_t pause_usec)
{
	uint64_t now = now_usec();
	struct timespec until;

	*next_usec += pause_usec;
	if (*next_usec + 100000 < now)
		*next_usec = now; /* do not make up for what was missed */
	if (*next_usec <= now)
		return;
	until = (struct timespec){(time_t)(*next_usec / 1000000u), (long)(*next_usec % 1000000u) * 1000};
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

/* Publishes on one channel until it ends or all is done. */
static void use_channel(struct publisher *publisher)
{
	const struct settings *settings = &publisher->ledger->settings;
	uint64_t pause_usec = 1000000u * settings->publishers / settings->rate, next_usec = now_usec();
	struct muxc_channel *channel = open_channel(publisher);

	while (!must_stop(publisher) && !publisher->channel_ended) {
		publish_one(publisher, channel);
		wait_for_outcomes(publisher, settings->outstanding);
		wait_for_turn(&next_usec, pause_usec);
	}
	wait_for_outcomes(publisher, 1);
	pthread_mutex_lock(&publisher->lock);
	if (publisher->channel_ended) {
		trouble(publisher, "channel ended", publisher->why.error, &publisher->why);
		publisher->outstanding = 0; /* what has no outcome now is found in the ledger */
		publisher->channel_ended = false;
	}
	pthread_mutex_unlock(&publisher->lock);
	muxc_channel_free(channel);
}

void run_publisher(struct ledger *ledger, unsigned int index)
{
	struct publisher publisher = {.ledger = ledger,
				      .index = index,
				      .random = random_make(ledger->settings.seed * 1000 + index),
				      .lock = PTHREAD_MUTEX_INITIALIZER,
				      .progress = PTHREAD_COND_INITIALIZER};
	struct muxc_options options = {
	    .size = sizeof(options), .on_upstream = on_upstream, .userdata = &publisher};

	snprintf(publisher.name, sizeof(publisher.name), "publisher %u", index);
	publisher.c = connect_to_muxd(ledger, publisher.name, &options);
	publisher.body = malloc(ledger->settings.largest + sizeof(struct body) + sizeof(uint64_t));
	if (!publisher.body || muxc_message_new(&publisher.message) < 0 ||
	    muxc_message_set_number(publisher.message, MUXC_DELIVERY_MODE, 2) < 0)
		exit(1);
	atomic_store(&ledger->ready[index], true);
	while (!must_stop(&publisher))
		use_channel(&publisher);
	muxc_message_unref(publisher.message);
	free(publisher.body);
	muxc_free(publisher.c);
}
