/*
 * share: many processes exchange messages through one muxd, and each message
 * is looked at. P processes publish to Q queues, one more process consumes
 * each queue. Sizes are log-uniform from 1 byte to 1 MiB. A consumer makes
 * each body anew from publisher, queue and number, and compares it byte for
 * byte; numbers must come in order per publisher and queue, none missing, none
 * twice.
 *
 *	share [-n MESSAGES] [-p PUBLISHERS] [-q QUEUES] [-m LARGEST] [-s SOCKET]
 *
 * Prints `ok: ...` or `FAILED: ...` for each thing that must be true.
 */
#include "client/muxclient.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES_MAX 64u
#define CALL_TIMEOUT_USEC 120000000u
#define SILENCE_SECONDS 120 /* a consumer gives up when nothing comes for so long */
#define CONFIRM_EVERY 256u

struct settings {
	unsigned long messages;
	unsigned int publishers, queues;
	unsigned long largest;
	const char *socket;
	char prefix[32]; /* of the queues' names */
};

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "share: ");
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

static void must(int r, const char *what, const struct muxc_error *error)
{
	if (r < 0)
		die("%s: %s%s%s", what, strerror(-r), error && error->text[0] ? ": " : "",
		    error ? error->text : "");
}

/* splitmix64 */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Fills `body`, which has room for the largest and 8 bytes more; returns its length. */
static size_t make_body(const struct settings *settings, const unsigned long identity[3], uint8_t *body)
{
	uint64_t state = identity[0] * 1000003u + identity[1] * 10007u + identity[2];
	double exponent = (double)(draw(&state) >> 11) / 9007199254740992.0;
	size_t len = (size_t)pow((double)settings->largest, exponent);

	for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
		uint64_t word = draw(&state);

		memcpy(body + i, &word, sizeof(word));
	}
	return len;
}

static void queue_name(const struct settings *settings, unsigned int queue, char *name, size_t size)
{
	snprintf(name, size, "%s.%u", settings->prefix, queue);
}

static struct muxc *connect_to_muxd(const struct settings *settings, const char *program)
{
	struct muxc_options options = {.size = sizeof(options),
				       .socket_path = settings->socket,
				       .program = program,
				       .request_timeout_usec = CALL_TIMEOUT_USEC};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc *c;

	must(muxc_connect(&options, &c, &error), "connect", &error);
	return c;
}

static struct muxc_channel *open_channel(struct muxc *c)
{
	struct muxc_channel *channel;

	must(muxc_channel_open(c, NULL, &channel), "channel", NULL);
	return channel;
}

/* ------------------------------------------------------------------ publisher */

static void publish_one(struct muxc_channel *channel, const struct settings *settings,
			const unsigned long identity[3], uint8_t *body)
{
	char name[64], id[64];
	struct muxc_publication publication = {
	    .size = sizeof(publication), .routing_key = name, .body = body, .flags = MUXC_MANDATORY};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_message *message;

	queue_name(settings, (unsigned int)identity[1], name, sizeof(name));
	snprintf(id, sizeof(id), "%lu.%lu.%lu", identity[0], identity[1], identity[2]);
	must(muxc_message_new(&message), "message", NULL);
	must(muxc_message_set_text(message, MUXC_MESSAGE_ID, id, MUXC_STRLEN), "message", NULL);
	publication.message = message;
	publication.body_len = make_body(settings, identity, body);
	must(muxc_publish_full(channel, &publication, CALL_TIMEOUT_USEC, NULL, &error), "publish", &error);
	muxc_message_unref(message);
}

static void confirm_all(struct muxc_channel *channel, uint64_t count)
{
	struct muxc_totals totals = {.size = sizeof(totals)};
	struct muxc_error error = MUXC_ERROR_INIT;

	must(muxc_wait_all(channel, CALL_TIMEOUT_USEC, &totals, &error), "confirms", &error);
	if (totals.published != count || totals.confirmed != count)
		die("%llu published, %llu confirmed: %s", (unsigned long long)totals.published,
		    (unsigned long long)totals.confirmed, error.text);
}

/* Messages of this publisher are dealt to the queues at random; a last, empty one to each says how many. */
static void run_publisher(const struct settings *settings, unsigned int publisher)
{
	unsigned long total = settings->messages / settings->publishers +
			      (publisher < settings->messages % settings->publishers);
	unsigned long numbers[PROCESSES_MAX] = {0};
	uint64_t state = publisher + 1;
	struct muxc *c = connect_to_muxd(settings, "share-publish");
	struct muxc_channel *channel = open_channel(c);
	uint8_t *body = malloc(settings->largest + sizeof(uint64_t));

	if (!body)
		die("no memory");
	for (unsigned long i = 0; i < total; i++) {
		unsigned int queue = (unsigned int)(draw(&state) % settings->queues);

		publish_one(channel, settings, (unsigned long[3]){publisher, queue, ++numbers[queue]}, body);
		if ((i + 1) % CONFIRM_EVERY == 0)
			confirm_all(channel, i + 1);
	}
	for (unsigned int queue = 0; queue < settings->queues; queue++) {
		char name[64], text[64];
		struct muxc_publication end = {.size = sizeof(end), .routing_key = name, .body = text};
		struct muxc_error error = MUXC_ERROR_INIT;

		queue_name(settings, queue, name, sizeof(name));
		end.body_len = (size_t)snprintf(text, sizeof(text), "end %u %lu", publisher, numbers[queue]);
		must(muxc_publish_full(channel, &end, CALL_TIMEOUT_USEC, NULL, &error), "publish", &error);
	}
	confirm_all(channel, total + settings->queues);
	free(body);
	muxc_channel_free(channel);
	muxc_free(c);
}

/* ------------------------------------------------------------------- consumer */

struct consumer {
	const struct settings *settings;
	unsigned int queue;
	uint8_t *expected;
	pthread_mutex_t lock;
	pthread_cond_t progress;
	unsigned long next[PROCESSES_MAX]; /* number expected of each publisher, less one */
	unsigned long received, ended;
	char wrong[160];
};

static void complain(struct consumer *consumer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void complain(struct consumer *consumer, const char *format, ...)
{
	va_list arguments;

	if (consumer->wrong[0])
		return;
	va_start(arguments, format);
	vsnprintf(consumer->wrong, sizeof(consumer->wrong), format, arguments);
	va_end(arguments);
}

static void judge_end(struct consumer *consumer, const uint8_t *body, size_t len)
{
	unsigned int publisher = 0;
	unsigned long count = 0;
	char text[64] = "";

	if (len < sizeof(text))
		memcpy(text, body, len);
	if (sscanf(text, "end %u %lu", &publisher, &count) != 2 ||
	    publisher >= consumer->settings->publishers)
		complain(consumer, "a message without message-id that is not an end");
	else if (count != consumer->next[publisher])
		complain(consumer, "publisher %u sent %lu, %lu came", publisher, count,
			 consumer->next[publisher]);
	consumer->ended++;
}

static void judge(struct consumer *consumer, struct muxc_message *message)
{
	const char *id = muxc_message_get_text(message, MUXC_MESSAGE_ID, NULL);
	size_t len;
	const uint8_t *body = muxc_message_get_body(message, &len);
	unsigned long identity[3];

	if (!id) {
		judge_end(consumer, body, len);
		return;
	}
	consumer->received++;
	if (sscanf(id, "%lu.%lu.%lu", &identity[0], &identity[1], &identity[2]) != 3 ||
	    identity[0] >= consumer->settings->publishers || identity[1] != consumer->queue)
		complain(consumer, "message %s in queue %u", id, consumer->queue);
	else if (identity[2] != ++consumer->next[identity[0]])
		complain(consumer, "message %s where number %lu was due", id, consumer->next[identity[0]]);
	else if (make_body(consumer->settings, identity, consumer->expected) != len ||
		 memcmp(consumer->expected, body, len) != 0)
		complain(consumer, "the body of message %s, of %zu bytes, is not what was sent", id, len);
	if (muxc_message_is_redelivered(message))
		complain(consumer, "message %s was delivered before", id);
}

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct consumer *consumer = userdata;

	/* First, for behind the last message the channel is closed. */
	must(muxc_ack(channel, muxc_message_get_tag(message), 0), "ack", NULL);
	pthread_mutex_lock(&consumer->lock);
	judge(consumer, message);
	pthread_cond_signal(&consumer->progress);
	pthread_mutex_unlock(&consumer->lock);
}

static void wait_for_all(struct consumer *consumer)
{
	struct timespec deadline;
	int r = 0;

	pthread_mutex_lock(&consumer->lock);
	while (consumer->ended < consumer->settings->publishers && r == 0) {
		clock_gettime(CLOCK_REALTIME, &deadline);
		deadline.tv_sec += SILENCE_SECONDS;
		r = pthread_cond_timedwait(&consumer->progress, &consumer->lock, &deadline);
	}
	pthread_mutex_unlock(&consumer->lock);
	if (r)
		die("queue %u: nothing came for %d s", consumer->queue, SILENCE_SECONDS);
}

/* Writes how many it received to `report`. */
static void run_consumer(const struct settings *settings, unsigned int queue, int report)
{
	struct consumer consumer = {.settings = settings,
				    .queue = queue,
				    .expected = malloc(settings->largest + sizeof(uint64_t)),
				    .lock = PTHREAD_MUTEX_INITIALIZER,
				    .progress = PTHREAD_COND_INITIALIZER};
	struct muxc *c = connect_to_muxd(settings, "share-consume");
	struct muxc_channel *channel = open_channel(c);
	char name[64];
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = name, .on_message = on_message, .userdata = &consumer};
	struct muxc_error error = MUXC_ERROR_INIT;
	uint32_t number;

	queue_name(settings, queue, name, sizeof(name));
	if (!consumer.expected)
		die("no memory");
	must(muxc_consume(channel, &options, &number, CALL_TIMEOUT_USEC, &error), "consume", &error);
	wait_for_all(&consumer);
	must(muxc_cancel(channel, number, CALL_TIMEOUT_USEC, &error), "cancel", &error);
	if (write(report, &consumer.received, sizeof(consumer.received)) < 0)
		die("report: %s", strerror(errno));
	if (consumer.wrong[0])
		die("queue %u: %s", queue, consumer.wrong);
	free(consumer.expected);
	muxc_channel_free(channel);
	muxc_free(c);
}

/* --------------------------------------------------------------------- parent */

static void make_queues(const struct settings *settings)
{
	struct muxc *c = connect_to_muxd(settings, "share");
	struct muxc_channel *channel = open_channel(c);
	struct muxc_error error = MUXC_ERROR_INIT;
	char name[64];

	for (unsigned int i = 0; i < settings->queues; i++) {
		struct muxc_queue queue = {.size = sizeof(queue), .name = name};

		queue_name(settings, i, name, sizeof(name));
		must(muxc_queue_declare(channel, &queue, NULL, 0, &error), "declare", &error);
	}
	muxc_channel_free(channel);
	muxc_free(c);
}

/* Returns how many messages were left over in the queues. */
static unsigned long delete_queues(const struct settings *settings)
{
	struct muxc *c = connect_to_muxd(settings, "share");
	struct muxc_channel *channel = open_channel(c);
	struct muxc_error error = MUXC_ERROR_INIT;
	unsigned long left = 0;
	char name[64];

	for (unsigned int i = 0; i < settings->queues; i++) {
		uint32_t messages = 0;

		queue_name(settings, i, name, sizeof(name));
		must(muxc_queue_delete(channel, name, 0, &messages, 0, &error), "delete", &error);
		left += messages;
	}
	muxc_channel_free(channel);
	muxc_free(c);
	return left;
}

static pid_t run_child(const struct settings *settings, bool publishes, unsigned int index, int report)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid > 0)
		return pid;
	if (publishes)
		run_publisher(settings, index);
	else
		run_consumer(settings, index, report);
	exit(0);
}

static unsigned int run_children(const struct settings *settings, int report)
{
	pid_t pids[2 * PROCESSES_MAX];
	unsigned int count = 0, bad = 0;
	int status;

	for (unsigned int i = 0; i < settings->queues; i++)
		pids[count++] = run_child(settings, false, i, report);
	for (unsigned int i = 0; i < settings->publishers; i++)
		pids[count++] = run_child(settings, true, i, report);
	for (unsigned int i = 0; i < count; i++)
		if (waitpid(pids[i], &status, 0) != pids[i] || status != 0)
			bad++;
	return bad;
}

static bool say(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool say(bool good, const char *format, ...)
{
	va_list arguments;

	fputs(good ? "ok: " : "FAILED: ", stdout);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	return good;
}

static bool run(const struct settings *settings)
{
	unsigned long received = 0, one, left;
	int report[2];
	unsigned int bad;
	bool good;

	make_queues(settings);
	if (pipe(report) < 0)
		die("pipe: %s", strerror(errno));
	bad = run_children(settings, report[1]);
	close(report[1]);
	while (read(report[0], &one, sizeof(one)) == (ssize_t)sizeof(one))
		received += one;
	left = delete_queues(settings);
	good = say(bad == 0, "each body came as it was sent, each number in order, none twice (%u processes)",
		   settings->publishers + settings->queues);
	good &= say(received == settings->messages, "%lu of %lu messages were received", received,
		    settings->messages);
	good &= say(left == 0, "nothing is left over in the queues (%lu)", left);
	return good;
}

static unsigned long number(const char *text, unsigned long max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value < 1 || value > max)
		die("'%s' is not a number from 1 to %lu", text, max);
	return value;
}

int main(int argc, char **argv)
{
	struct settings settings = {.messages = 2000, .publishers = 8, .queues = 8, .largest = 1024 * 1024};
	int option;

	while ((option = getopt(argc, argv, "n:p:q:m:s:")) != -1) {
		switch (option) {
		case 'n':
			settings.messages = number(optarg, 100000000);
			break;
		case 'p':
			settings.publishers = (unsigned int)number(optarg, PROCESSES_MAX);
			break;
		case 'q':
			settings.queues = (unsigned int)number(optarg, PROCESSES_MAX);
			break;
		case 'm':
			settings.largest = number(optarg, 16 * 1024 * 1024);
			break;
		case 's':
			settings.socket = optarg;
			break;
		default:
			return 2;
		}
	}
	snprintf(settings.prefix, sizeof(settings.prefix), "share.%d", (int)getpid());
	setvbuf(stdout, NULL, _IOLBF, 0);
	return run(&settings) ? 0 : 1;
}
