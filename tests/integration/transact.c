/*
 * transact: transactions, recover and a qos for a whole channel by libmuxclient.
 *
 *	transact QUEUE
 *
 * Prints `ok: ...` or `FAILED: ...` for each thing that must be true.
 */
#include "client/muxclient.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool failed;
static const char *queue;

static void check(bool good, const char *sentence, const struct muxc_error *error)
{
	failed |= !good;
	printf("%s: %s%s%s\n", good ? "ok" : "FAILED", sentence, good || !error->text[0] ? "" : ": ",
	       good ? "" : error->text);
}

static uint32_t waiting(struct muxc *c)
{
	struct muxc_queue ask = {.size = sizeof(ask), .name = queue, .flags = MUXC_PASSIVE};
	struct muxc_queue_info info = {.size = sizeof(info)};
	struct muxc_channel *channel;

	if (muxc_channel_open(c, NULL, &channel) < 0)
		return UINT32_MAX;
	if (muxc_queue_declare(channel, &ask, &info, 0, NULL) < 0)
		info.messages = UINT32_MAX;
	muxc_channel_free(channel);
	return info.messages;
}

static int publish(struct muxc_channel *channel, unsigned int count)
{
	struct muxc_message *message;
	int r = muxc_message_new(&message);

	for (unsigned int i = 0; r == 0 && i < count; i++)
		r = muxc_publish(channel, "", queue, message, 0, NULL);
	muxc_message_unref(message);
	return r;
}

static uint64_t get(struct muxc_channel *channel)
{
	struct muxc_message *message = NULL;
	uint64_t tag = 0;

	if (muxc_get(channel, queue, 0, &message, 0, NULL) == 1)
		tag = muxc_message_get_tag(message);
	muxc_message_unref(message);
	return tag;
}

/* More than fits into the credit of a session that begins. */
#define MANY 1000u

static void publishes(struct muxc *c, struct muxc_channel *channel)
{
	struct muxc_totals totals = {.size = sizeof(totals)};
	struct muxc_error error = MUXC_ERROR_INIT;
	int kind = 0;

	check(muxc_tx_select(channel, 0, &error) == 0, "a channel is made transactional", &error);
	check(publish(channel, MANY) == 0, "more is published in it than there is credit", &error);
	check(muxc_wait_outcome(channel, 1, 100000, &kind, &error) == -ETIMEDOUT,
	      "no publish has an outcome before the commit", &error);
	check(waiting(c) == 0, "nor is any in the queue", &error);
	check(muxc_tx_commit(channel, 0, &error) == 0 && waiting(c) == MANY, "with the commit all are",
	      &error);
	check(muxc_wait_outcome(channel, MANY, 1, &kind, &error) == 0 && kind == MUXC_CONFIRMED,
	      "and their outcomes are known", &error);
	check(publish(channel, 3) == 0 && muxc_tx_rollback(channel, 0, &error) == 0 && waiting(c) == MANY,
	      "a rollback leaves nothing", &error);
	check(muxc_wait_all(channel, 1, &totals, NULL) == 0 && totals.confirmed == MANY && totals.failed == 3,
	      "and tells it", &error);
}

static void settles(struct muxc *c, struct muxc_channel *channel)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	uint64_t tag = get(channel), other = get(channel);

	check(tag > 0 && other > tag && muxc_ack(channel, other, MUXC_UP_TO) == 0 &&
		  muxc_tx_rollback(channel, 0, &error) == 0,
	      "messages are acknowledged, and it is rolled back", &error);
	check(muxc_ack(channel, tag, 0) == 0 && muxc_tx_commit(channel, 0, &error) == 0,
	      "one is acknowledged again, and it is committed", &error);
	check(muxc_recover(channel, 0, &error) == 0 && get(channel) > other,
	      "recover gives the other one back, and it has a new tag", &error);
	check(muxc_tx_rollback(channel, 0, &error) == 0 && waiting(c) == MANY - 2,
	      "the acknowledged one is gone", &error);
}

struct counter {
	pthread_mutex_t lock;
	unsigned int count;
};

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct counter *counter = userdata;

	(void)pthread_mutex_lock(&counter->lock);
	counter->count++;
	(void)pthread_mutex_unlock(&counter->lock);
}

static void limits(struct muxc *c)
{
	struct counter counter = {PTHREAD_MUTEX_INITIALIZER, 0};
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = queue, .on_message = on_message, .userdata = &counter};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *channel;
	uint32_t first = 0, second = 0;
	unsigned int count;

	if (muxc_channel_open(c, NULL, &channel) < 0)
		return;
	check(muxc_qos_full(channel, 7, MUXC_QOS_CHANNEL, 0, &error) == 0, "a channel's qos is set", &error);
	check(muxc_consume(channel, &options, &first, 0, &error) == 0 &&
		  muxc_consume(channel, &options, &second, 0, &error) == 0,
	      "it has two consumers", &error);
	do {
		(void)muxc_ping(c, 0, NULL);
		(void)pthread_mutex_lock(&counter.lock);
		count = counter.count;
		(void)pthread_mutex_unlock(&counter.lock);
	} while (count < 7);
	/* What would be too many comes before the answers that the broker gives behind it. */
	(void)waiting(c);
	(void)muxc_cancel(channel, first, 0, NULL);
	(void)muxc_cancel(channel, second, 0, NULL);
	check(counter.count == 7, "they have seven messages together", &error);
	check(muxc_channel_close(channel) == 0, "and give them back", &error);
	muxc_channel_free(channel);
}

int main(int argc, char **argv)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *channel;
	struct muxc *c;

	if (argc != 2)
		return 2;
	queue = argv[1];
	if (muxc_connect(NULL, &c, &error) < 0 || muxc_channel_open(c, NULL, &channel) < 0) {
		fprintf(stderr, "transact: %s\n", error.text);
		return 1;
	}
	publishes(c, channel);
	settles(c, channel);
	muxc_channel_free(channel);
	limits(c);
	muxc_free(c);
	return failed;
}
