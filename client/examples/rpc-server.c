/*
 * Answers calls: each request names where its answer goes (reply-to) and how its
 * caller tells it from others (correlation id). This one answers with the text
 * in capital letters.
 *
 *	rpc-server QUEUE CHANNELS
 *
 * So many calls are answered at once: each channel has a consumer with a
 * prefetch of 1, and handlers of several channels run side by side, in threads
 * of the library (muxc_options.dispatch_threads). More servers, in other
 * processes, may share the queue.
 *
 * A request is acknowledged when its answer is on its way. One whose server
 * dies in between is answered again by another: to the caller, who knows its
 * correlation id, that is the same answer a second time.
 *
 * SIGTERM or SIGINT: it leaves; requests in hand go to other servers.
 */
#include <muxclient.h>

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the caller wants to know: in the place of this, yours. */
static char *answer_to(const char *request, size_t len)
{
	char *text = malloc(len + 1);
	size_t i;

	if (!text)
		return NULL;
	for (i = 0; i < len; i++)
		text[i] = (char)toupper((unsigned char)request[i]);
	text[len] = '\0';
	return text;
}

static int send_answer(struct muxc_channel *channel, struct muxc_message *request, const char *text)
{
	struct muxc_publication publication = {.size = sizeof(publication)};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_message *answer = NULL;
	size_t len;
	const char *id = muxc_message_get_text(request, MUXC_CORRELATION_ID, &len);
	int r;

	r = muxc_message_new(&answer);
	if (r == 0 && id)
		r = muxc_message_set_text(answer, MUXC_CORRELATION_ID, id, len);
	publication.message = answer;
	publication.body = text;
	publication.body_len = strlen(text);
	/* To the default exchange. Not mandatory: a caller that has left needs no answer. */
	publication.routing_key = muxc_message_get_text(request, MUXC_REPLY_TO, &publication.routing_key_len);
	if (r == 0)
		r = muxc_publish_full(channel, &publication, 0, NULL, &error);
	if (r < 0)
		fprintf(stderr, "rpc-server: no answer was sent: %s\n", error.text);
	muxc_message_unref(answer);
	return r;
}

static void on_request(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	size_t len;
	const char *request = muxc_message_get_body(message, &len);
	char *text;

	(void)userdata;
	if (!muxc_message_get_text(message, MUXC_REPLY_TO, NULL)) {
		fprintf(stderr, "rpc-server: a request without reply-to is dropped\n");
		muxc_reject(channel, muxc_message_get_tag(message), 0);
		return;
	}
	text = answer_to(request, len);
	if (text && send_answer(channel, message, text) == 0)
		muxc_ack(channel, muxc_message_get_tag(message), 0);
	else
		muxc_nack(channel, muxc_message_get_tag(message), MUXC_REQUEUE);
	free(text);
}

/* Handlers run in other threads: the main one, which waits for signals, is told by one. */
static void give_up(const char *text)
{
	fprintf(stderr, "rpc-server: %s\n", text);
	kill(getpid(), SIGUSR1);
}

static void on_channel_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	(void)channel;
	(void)userdata;
	give_up(error->text);
}

static void on_cancelled(struct muxc_channel *channel, uint32_t consumer, const char *text, void *userdata)
{
	(void)channel;
	(void)consumer;
	(void)userdata;
	give_up(text);
}

/* One that answers; freed with the connection's other channels. */
static int open_channel(struct muxc *c, const char *name, struct muxc_channel **ret, struct muxc_error *error)
{
	struct muxc_channel_options options = {.size = sizeof(options), .on_closed = on_channel_closed};
	struct muxc_queue queue = {.size = sizeof(queue), .name = name};
	struct muxc_consumer_options consumer = {.size = sizeof(consumer), .queue = name};
	int r;

	consumer.on_message = on_request;
	consumer.on_cancelled = on_cancelled;
	r = muxc_channel_open(c, &options, ret);
	if (r == 0)
		r = muxc_queue_declare(*ret, &queue, NULL, 0, error);
	if (r == 0)
		r = muxc_qos(*ret, 1, 0, error);
	if (r == 0)
		r = muxc_consume(*ret, &consumer, NULL, 0, error);
	return r;
}

static int serve(const char *queue, struct muxc_channel **channels, long count, const sigset_t *set)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc *c = NULL;
	int number = 0, r;
	long i;

	r = muxc_connect(NULL, &c, &error);
	for (i = 0; i < count && r == 0; i++)
		r = open_channel(c, queue, &channels[i], &error);
	if (r == 0) {
		printf("ready\n");
		fflush(stdout);
		sigwait(set, &number);
	} else {
		fprintf(stderr, "rpc-server: %s\n", error.text);
	}
	for (i = 0; i < count; i++)
		muxc_channel_free(channels[i]);
	muxc_free(c); /* waits for handlers that run */
	return r < 0 || number == SIGUSR1;
}

int main(int argc, char **argv)
{
	struct muxc_channel **channels;
	sigset_t set;
	long count;
	int status;

	count = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
	if (count < 1) {
		fprintf(stderr, "usage: rpc-server QUEUE CHANNELS\n");
		return 2;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	channels = calloc((size_t)count, sizeof(struct muxc_channel *));
	if (!channels) {
		perror("rpc-server");
		return 1;
	}
	status = serve(argv[1], channels, count, &set);
	free(channels);
	return status;
}
