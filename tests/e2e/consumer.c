/*
 * A process that consumes a queue: looks at each message, enters it into the
 * ledger, acknowledges it. A channel or a consumer that ends is an error that
 * a client saw; it consumes again and goes on. The victim's queue is deleted
 * by others: it waits to be told, and declares and consumes it again.
 */
#include "config.h"

#include "tests/e2e/account.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct consumer {
	struct ledger *ledger;
	unsigned int index;
	bool is_victim;
	char name[32], queue[128];
	struct muxc *c;
	uint64_t highest[PROCESSES_MAX]; /* see ledger_delivery() */

	pthread_mutex_t lock;
	pthread_cond_t news;
	bool channel_ended, cancelled;
	struct muxc_error why;
};

static void trouble(struct consumer *consumer, const char *what, int r, const struct muxc_error *error)
{
	ledger_client_error(consumer->ledger, consumer->name, what, r, error);
}

static bool is_marked(const struct muxc_message *message)
{
	static const char mark[] = "x-muxd-resent";
	struct muxc_iter iter;
	struct muxc_value value;

	return muxc_message_get_headers(message, &iter) > 0 &&
	       muxc_iter_find(&iter, mark, sizeof(mark) - 1, &value) > 0 && value.type == MUXC_BOOL &&
	       value.u.boolean;
}

/* False: it is not what anybody sent here. */
static bool read_body(const struct consumer *consumer, struct muxc_message *message, struct delivery *ret)
{
	struct body head;
	size_t len;
	const uint8_t *bytes = muxc_message_get_body(message, &len);

	if (len < sizeof(head))
		return false;
	memcpy(&head, bytes, sizeof(head));
	if (head.checksum != checksum_of(bytes + sizeof(head.checksum), len - sizeof(head.checksum)) ||
	    head.queue != consumer->index || head.publisher >= consumer->ledger->settings.publishers)
		return false;
	*ret = (struct delivery){.consumer = consumer->index,
				 .publisher = (unsigned int)head.publisher,
				 .number = head.number,
				 .sent_usec = head.sent_usec,
				 .marked = is_marked(message),
				 .redelivered = muxc_message_is_redelivered(message)};
	return true;
}

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct consumer *consumer = userdata;
	struct delivery delivery;
	int r;

	if (read_body(consumer, message, &delivery))
		ledger_delivery(consumer->ledger, &delivery, &consumer->highest[delivery.publisher]);
	else
		ledger_complain(consumer->ledger, COUNT_UNEXPECTED, "%s: a message that nobody sent to it",
				consumer->name);
	r = muxc_ack(channel, muxc_message_get_tag(message), 0);
	if (r == 0)
		ledger_count(consumer->ledger, COUNT_ACKED, 1);
	else if (muxc_channel_get_error(channel, NULL) == 0) /* else the channel's end is told */
		trouble(consumer, "ack", r, NULL);
}

static void on_cancelled(struct muxc_channel *channel, uint32_t number, const char *text, void *userdata)
{
	struct consumer *consumer = userdata;

	pthread_mutex_lock(&consumer->lock);
	consumer->cancelled = true;
	snprintf(consumer->why.text, sizeof(consumer->why.text), "%s", text);
	pthread_cond_signal(&consumer->news);
	pthread_mutex_unlock(&consumer->lock);
}

static void on_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	struct consumer *consumer = userdata;

	pthread_mutex_lock(&consumer->lock);
	consumer->channel_ended = true;
	consumer->why = *error;
	pthread_cond_signal(&consumer->news);
	pthread_mutex_unlock(&consumer->lock);
}

static struct muxc_channel *open_channel(struct consumer *consumer)
{
	struct muxc_channel_options options = {
	    .size = sizeof(options), .on_closed = on_closed, .userdata = consumer};
	struct muxc_channel *channel;
	int r = muxc_channel_open(consumer->c, &options, &channel);

	if (r < 0) {
		trouble(consumer, "channel", r, NULL);
		exit(1);
	}
	return channel;
}

/* False: it was refused, and told. */
static bool consume(struct consumer *consumer, struct muxc_channel *channel)
{
	struct muxc_consumer_options options = {.size = sizeof(options),
						.queue = consumer->queue,
						.on_message = on_message,
						.on_cancelled = on_cancelled,
						.userdata = consumer};
	struct muxc_queue queue = {.size = sizeof(queue), .name = consumer->queue, .flags = MUXC_DURABLE};
	struct muxc_error error = MUXC_ERROR_INIT;
	uint32_t number;
	int r = muxc_queue_declare(channel, &queue, NULL, 0, &error);

	if (r == 0)
		r = muxc_qos(channel, (uint32_t)consumer->ledger->settings.prefetch, 0, &error);
	if (r == 0)
		r = muxc_consume(channel, &options, &number, 0, &error);
	pthread_mutex_lock(&consumer->lock);
	if (r < 0 && !consumer->channel_ended)
		trouble(consumer, "consume", r, &error);
	pthread_mutex_unlock(&consumer->lock);
	return r == 0;
}

/* Until something happens, or it is the end: false. */
static bool wait_for_news(struct consumer *consumer)
{
	struct timespec until;
	bool stop;

	pthread_mutex_lock(&consumer->lock);
	while (!(stop = atomic_load(&consumer->ledger->stop_consuming)) && !consumer->channel_ended &&
	       !consumer->cancelled) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 100000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		pthread_cond_timedwait(&consumer->news, &consumer->lock, &until);
	}
	pthread_mutex_unlock(&consumer->lock);
	return !stop;
}

/* Consumes on one channel until it ends or is told to stop: then false. */
static bool use_channel(struct consumer *consumer)
{
	struct muxc_channel *channel = open_channel(consumer);
	bool go_on = consume(consumer, channel);

	atomic_store(&consumer->ledger->ready[consumer->ledger->settings.publishers + consumer->index], true);
	if (go_on)
		go_on = wait_for_news(consumer);
	pthread_mutex_lock(&consumer->lock);
	if (consumer->channel_ended)
		trouble(consumer, "channel ended", consumer->why.error, &consumer->why);
	else if (consumer->cancelled && consumer->is_victim)
		ledger_count(consumer->ledger, COUNT_CANCELLED, 1);
	else if (consumer->cancelled)
		trouble(consumer, "consumer ended", 0, &consumer->why);
	consumer->channel_ended = consumer->cancelled = false;
	pthread_mutex_unlock(&consumer->lock);
	muxc_channel_free(channel);
	return !atomic_load(&consumer->ledger->stop_consuming);
}

static void run(struct ledger *ledger, unsigned int index, bool is_victim)
{
	struct consumer consumer = {.ledger = ledger,
				    .index = index,
				    .is_victim = is_victim,
				    .lock = PTHREAD_MUTEX_INITIALIZER,
				    .news = PTHREAD_COND_INITIALIZER};

	snprintf(consumer.name, sizeof(consumer.name), is_victim ? "victim" : "consumer %u", index);
	queue_name(&ledger->settings, index, consumer.queue, sizeof(consumer.queue));
	consumer.c = connect_to_muxd(ledger, consumer.name, NULL);
	while (use_channel(&consumer))
		;
	muxc_free(consumer.c);
}

void run_consumer(struct ledger *ledger, unsigned int index)
{
	run(ledger, index, false);
}

void run_victim(struct ledger *ledger)
{
	run(ledger, ledger->settings.consumers, true);
}
