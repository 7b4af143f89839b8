#include "ticker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void ticker_fail(struct ticker *ticker, const char *text)
{
	fprintf(stderr, "ticker: %s\n", text);
	ticker->failed = 1;
	if (ticker->stop)
		ticker->stop(ticker->loop);
}

/* Handlers are called by the loop, in its thread. */
static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct ticker *ticker = userdata;
	size_t len;
	const char *body = muxc_message_get_body(message, &len);

	printf("%.*s\n", (int)len, body);
	muxc_ack(channel, muxc_message_get_tag(message), 0);
	if (++ticker->printed == ticker->count)
		ticker->stop(ticker->loop);
}

/* The broker has ended the consumer: the queue was deleted, for example. */
static void on_cancelled(struct muxc_channel *channel, uint32_t consumer, const char *text, void *userdata)
{
	(void)channel;
	(void)consumer;
	ticker_fail(userdata, text);
}

static void on_channel_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	(void)channel;
	ticker_fail(userdata, error->text);
}

/* The connection has ended, and the library does not connect again: the last handler that is called. */
static void on_closed(struct muxc *c, const struct muxc_error *error, void *userdata)
{
	(void)c;
	ticker_fail(userdata, error->text);
}

static int ticker_start(struct ticker *ticker, struct muxc_error *error)
{
	struct muxc_options options = {.size = sizeof(options), .flags = MUXC_LOOP};
	struct muxc_channel_options channel_options = {.size = sizeof(channel_options)};
	struct muxc_queue queue = {.size = sizeof(queue), .name = ticker->queue, .flags = MUXC_DURABLE};
	struct muxc_consumer_options consumer = {.size = sizeof(consumer), .queue = ticker->queue};
	int r;

	options.on_closed = on_closed;
	options.userdata = ticker;
	channel_options.on_closed = on_channel_closed;
	channel_options.userdata = ticker;
	consumer.on_message = on_message;
	consumer.on_cancelled = on_cancelled;
	consumer.userdata = ticker;
	r = muxc_connect(&options, &ticker->c, error);
	if (r == 0)
		r = muxc_channel_open(ticker->c, &channel_options, &ticker->channel);
	if (r == 0)
		r = muxc_queue_declare(ticker->channel, &queue, NULL, 0, error);
	if (r == 0)
		r = muxc_consume(ticker->channel, &consumer, NULL, 0, error);
	return r;
}

int ticker_init(struct ticker *ticker, int argc, char **argv)
{
	struct muxc_error error = MUXC_ERROR_INIT;

	memset(ticker, 0, sizeof(*ticker));
	if (argc != 3 || strtol(argv[2], NULL, 10) < 1) {
		fprintf(stderr, "usage: %s QUEUE COUNT\n", argv[0]);
		return 2;
	}
	ticker->queue = argv[1];
	ticker->count = strtol(argv[2], NULL, 10);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (ticker_start(ticker, &error) == 0)
		return 0;
	ticker_fail(ticker, error.text);
	return ticker_deinit(ticker);
}

void ticker_tick(struct ticker *ticker)
{
	struct muxc_publication publication = {.size = sizeof(publication)};
	struct muxc_error error = MUXC_ERROR_INIT;
	char text[32];
	int r;

	if (ticker->published == ticker->count)
		return;
	snprintf(text, sizeof(text), "tick %ld", ticker->published + 1);
	publication.routing_key = ticker->queue;
	publication.body = text;
	publication.body_len = strlen(text);
	/*
	 * In a loop nothing should wait: MUXC_NONBLOCK. If muxd takes no more
	 * at the moment (error.retryable), this is tried again at the next tick.
	 */
	publication.flags = MUXC_NONBLOCK;
	r = muxc_publish_full(ticker->channel, &publication, 0, NULL, &error);
	if (r == 0)
		ticker->published++;
	else if (!error.retryable)
		ticker_fail(ticker, error.text);
}

int ticker_deinit(struct ticker *ticker)
{
	muxc_channel_free(ticker->channel);
	muxc_free(ticker->c); /* the last acknowledgements are sent here */
	return ticker->failed;
}
