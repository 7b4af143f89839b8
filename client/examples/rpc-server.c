/*
 * Answers calls: each request names where its answer goes (reply-to) and how its
 * caller tells it from others (correlation id). This one answers with the text
 * in capital letters.
 *
 *	rpc-server QUEUE CHANNELS [SECONDS-PER-CALL]
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
 * SIGTERM or SIGINT: it answers the requests in hand, and leaves.
 */
#include <muxclient.h>

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* One of those that answer. */
struct lane {
	struct muxc_channel *channel;
	uint32_t consumer;
	struct timespec call_time;
};

/* What the caller wants to know: in the place of this, yours. */
static char *answer_to(const struct lane *lane, const char *request, size_t len)
{
	char *text = malloc(len + 1);
	size_t i;

	if (!text)
		return NULL;
	nanosleep(&lane->call_time, NULL);
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

	if (!muxc_message_get_text(message, MUXC_REPLY_TO, NULL)) {
		fprintf(stderr, "rpc-server: a request without reply-to is dropped\n");
		muxc_reject(channel, muxc_message_get_tag(message), 0);
		return;
	}
	printf("begins: %.*s\n", (int)len, request);
	text = answer_to(userdata, request, len);
	if (text)
		printf("answers: %s\n", text);
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

static int lane_open(struct lane *lane, struct muxc *c, const char *name, struct muxc_error *error)
{
	struct muxc_channel_options options = {.size = sizeof(options), .on_closed = on_channel_closed};
	struct muxc_queue queue = {.size = sizeof(queue), .name = name};
	struct muxc_consumer_options consumer = {.size = sizeof(consumer), .queue = name};
	int r;

	consumer.on_message = on_request;
	consumer.on_cancelled = on_cancelled;
	consumer.userdata = lane;
	r = muxc_channel_open(c, &options, &lane->channel);
	if (r == 0)
		r = muxc_queue_declare(lane->channel, &queue, NULL, 0, error);
	if (r == 0)
		r = muxc_qos(lane->channel, 1, 0, error);
	if (r == 0)
		r = muxc_consume(lane->channel, &consumer, &lane->consumer, 0, error);
	return r;
}

/* First all are told to take no more, then their handlers are waited for. */
static int finish(struct lane *lanes, long count, struct muxc_error *error)
{
	int r = 0;
	long i;

	for (i = 0; i < count && r == 0; i++)
		r = muxc_cancel(lanes[i].channel, lanes[i].consumer, 0, error);
	for (i = 0; i < count && r == 0; i++)
		r = muxc_wait_handlers(lanes[i].channel, 0, error);
	return r;
}

static int serve(const char *queue, struct lane *lanes, long count, const sigset_t *set)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc *c = NULL;
	int number = 0, r;
	long i;

	r = muxc_connect(NULL, &c, &error);
	for (i = 0; i < count && r == 0; i++)
		r = lane_open(&lanes[i], c, queue, &error);
	if (r == 0) {
		printf("ready\n");
		sigwait(set, &number);
		if (number != SIGUSR1)
			r = finish(lanes, count, &error);
	}
	if (r < 0)
		fprintf(stderr, "rpc-server: %s\n", error.text);
	muxc_free(c); /* no handler runs any more */
	for (i = 0; i < count; i++)
		muxc_channel_free(lanes[i].channel);
	return r < 0 || number == SIGUSR1;
}

int main(int argc, char **argv)
{
	struct lane *lanes;
	double seconds;
	sigset_t set;
	long count, i;
	int status;

	count = argc == 3 || argc == 4 ? strtol(argv[2], NULL, 10) : 0;
	if (count < 1) {
		fprintf(stderr, "usage: rpc-server QUEUE CHANNELS [SECONDS-PER-CALL]\n");
		return 2;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	lanes = calloc((size_t)count, sizeof(*lanes));
	if (!lanes) {
		perror("rpc-server");
		return 1;
	}
	seconds = argc == 4 ? strtod(argv[3], NULL) : 0;
	for (i = 0; i < count; i++) {
		lanes[i].call_time.tv_sec = (time_t)seconds;
		lanes[i].call_time.tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9);
	}
	status = serve(argv[1], lanes, count, &set);
	free(lanes);
	return status;
}
