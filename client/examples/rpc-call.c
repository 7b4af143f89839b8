/*
 * Calls a server, see rpc-server.c, and prints its answers.
 *
 *	rpc-call QUEUE MILLISECONDS TEXT...
 *
 * All calls are made at once, and all have the same time. Answers come by
 * RabbitMQ's direct reply-to: a consumer of the pseudo queue
 * amq.rabbitmq.reply-to, on the channel that makes the calls; so no queue is
 * made for them. The correlation id, which the server sends back, tells which
 * call is answered. A call ends in one of these ways, each a line:
 *
 *	TEXT: ANSWER
 *	TEXT: no server (it went to no queue)
 *	TEXT: not sent: ...
 *	TEXT: no answer in time
 *	TEXT: lost (the broker or muxd was, and the answer with it)
 *
 * Exit code 0 if all were answered, else 1. When nothing could be called it
 * says why, and all are "not sent".
 */
#include <muxclient.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPLY_TO "amq.rabbitmq.reply-to"

struct calls {
	char **texts;
	char *ended; /* [count] */
	unsigned long count;
	unsigned long open; /* that have not ended */
	int status;
};

static uint64_t now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* The first end of a call counts; more may come, as of an answer that was sent twice. */
static void call_end(struct calls *calls, unsigned long i, const char *text, int len)
{
	if (i >= calls->count || calls->ended[i])
		return;
	printf("%s: %.*s\n", calls->texts[i], len, text);
	calls->ended[i] = 1;
	calls->open--;
}

static void call_fail(struct calls *calls, unsigned long i, const char *text)
{
	if (i < calls->count && !calls->ended[i])
		calls->status = 1;
	call_end(calls, i, text, (int)strlen(text));
}

static void all_fail(struct calls *calls, const char *text)
{
	unsigned long i;

	for (i = 0; i < calls->count; i++)
		call_fail(calls, i, text);
}

static void on_answer(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	const char *id = muxc_message_get_text(message, MUXC_CORRELATION_ID, NULL);
	size_t len;
	const char *text = muxc_message_get_body(message, &len);

	(void)channel;
	if (id)
		call_end(userdata, strtoul(id, NULL, 10), text, (int)len);
}

/* No queue has taken it. */
static void on_return(struct muxc_channel *channel, struct muxc_message *message,
		      const struct muxc_error *error, void *userdata)
{
	(void)channel;
	(void)error;
	call_fail(userdata, muxc_message_get_publish_number(message) - 1, "no server");
}

/* The publishes of a channel are numbered from 1, so here they are the calls, from 0. */
static void on_outcome(struct muxc_channel *channel, const struct muxc_outcome *outcome, void *userdata)
{
	char text[sizeof(outcome->error->text) + 16];
	uint64_t number;

	(void)channel;
	/* A call that was confirmed waits for its answer; one that is unknown may have one, too. */
	if (outcome->kind != MUXC_NACKED && outcome->kind != MUXC_FAILED)
		return;
	snprintf(text, sizeof(text), "not sent: %s", outcome->error->text);
	for (number = outcome->first; number <= outcome->last; number++)
		call_fail(userdata, (unsigned long)number - 1, text);
}

/* Answers to what was called before cannot come any more; a program that knows it may would call again. */
static void on_interrupted(struct muxc_channel *channel, uint32_t consumer, const char *text, void *userdata)
{
	(void)channel;
	(void)consumer;
	(void)text;
	all_fail(userdata, "lost");
}

static int call(struct muxc_channel *channel, const char *queue, const char *text, unsigned long i,
		const char *limit_msec, struct muxc_error *error)
{
	struct muxc_publication publication = {.size = sizeof(publication), .routing_key = queue};
	struct muxc_message *message = NULL;
	char id[24];
	int r;

	snprintf(id, sizeof(id), "%lu", i);
	r = muxc_message_new(&message);
	if (r == 0)
		r = muxc_message_set_text(message, MUXC_CORRELATION_ID, id, MUXC_STRLEN);
	if (r == 0)
		r = muxc_message_set_text(message, MUXC_REPLY_TO, REPLY_TO, MUXC_STRLEN);
	/* After that nobody waits for the answer: the request leaves its queue without a server's work. */
	if (r == 0)
		r = muxc_message_set_text(message, MUXC_EXPIRATION, limit_msec, MUXC_STRLEN);
	publication.message = message;
	publication.body = text;
	publication.body_len = strlen(text);
	publication.flags = MUXC_MANDATORY;
	if (r == 0)
		r = muxc_publish_full(channel, &publication, 0, NULL, error);
	muxc_message_unref(message);
	return r;
}

static int call_all(struct muxc_channel *channel, struct calls *calls, const char *queue,
		    const char *limit_msec, struct muxc_error *error)
{
	struct muxc_consumer_options consumer = {.size = sizeof(consumer), .queue = REPLY_TO};
	unsigned long i;
	int r;

	/* Before the first call, on its channel, and without acknowledgements: so the broker wants it. */
	consumer.flags = MUXC_NO_ACK;
	consumer.on_message = on_answer;
	consumer.on_interrupted = on_interrupted;
	consumer.userdata = calls;
	r = muxc_consume(channel, &consumer, NULL, 0, error);
	for (i = 0; i < calls->count && r == 0; i++)
		r = call(channel, queue, calls->texts[i], i, limit_msec, error);
	return r;
}

static int wait_for_answers(struct muxc *c, struct muxc_channel *channel, const struct calls *calls,
			    uint64_t until_usec, struct muxc_error *error)
{
	uint64_t now;
	int r = 0;

	while (r >= 0 && calls->open > 0 && (now = now_usec()) < until_usec) {
		muxc_wait(c, until_usec - now);
		r = muxc_process(c); /* calls the handlers above */
		if (r < 0)
			muxc_get_error(c, error);
		else
			r = muxc_channel_get_error(channel, error);
	}
	return r;
}

int main(int argc, char **argv)
{
	struct muxc_options options = {.size = sizeof(options), .flags = MUXC_LOOP};
	struct muxc_channel_options channel_options = {.size = sizeof(channel_options)};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *channel = NULL;
	struct calls calls = {.status = 0};
	struct muxc *c = NULL;
	uint64_t limit_usec, until_usec;
	int r;

	limit_usec = argc > 3 ? strtoull(argv[2], NULL, 10) * 1000 : 0;
	if (limit_usec == 0) {
		fprintf(stderr, "usage: rpc-call QUEUE MILLISECONDS TEXT...\n");
		return 2;
	}
	calls.texts = argv + 3;
	calls.open = calls.count = (unsigned long)argc - 3;
	calls.ended = calloc(calls.count, 1);
	if (!calls.ended) {
		perror("rpc-call");
		return 1;
	}
	until_usec = now_usec() + limit_usec;
	/* No call of the library waits for longer than who calls this. */
	options.connect_timeout_usec = options.request_timeout_usec = limit_usec;
	options.linger_usec = 1;
	channel_options.on_return = on_return;
	channel_options.on_outcome = on_outcome;
	channel_options.userdata = &calls;
	r = muxc_connect(&options, &c, &error);
	if (r == 0)
		r = muxc_channel_open(c, &channel_options, &channel);
	if (r == 0)
		r = call_all(channel, &calls, argv[1], argv[2], &error);
	if (r < 0)
		all_fail(&calls, "not sent");
	else
		r = wait_for_answers(c, channel, &calls, until_usec, &error);
	if (r < 0)
		fprintf(stderr, "rpc-call: %s\n", error.text);
	all_fail(&calls, r < 0 ? "lost" : "no answer in time");
	muxc_channel_free(channel);
	muxc_free(c);
	free(calls.ended);
	return calls.status;
}
