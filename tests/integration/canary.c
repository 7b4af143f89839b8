/*
 * canary: a client in steady traffic, to tell whether others disturb it. One
 * round is: publish to its own queue, wait for the confirm, wait for the
 * delivery, acknowledge; and then, in turn, publish to a second queue and get
 * it from there, or call itself over direct reply-to. The time between the
 * ends of two rounds is the gap.
 *
 *	canary [-s SOCKET] [-u UPSTREAM] [-r ROUNDS-PER-SECOND]
 *
 * Each line on stdin begins a phase of that name; "end" or the end of stdin
 * ends it all. For each phase stdout has
 *
 *	phase NAME: rounds=N rate=N/s gap_ms=N epoch=N errors=N published=N consumed=N got=N called=N again=N
 *
 * Exit code 1 if anything but confirms and the right messages came. What a
 * lost connection to the broker may do is no error: a message comes again, a
 * call is made again when muxd says that its replies are lost. `again` counts
 * these.
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
/* A message that went back to its queue with a lost connection is there after this, at the latest. */
#define BACK_USEC 5000000u
#define REPLY_TO "amq.rabbitmq.reply-to"

/* Something of a round that comes by a handler. */
struct awaited {
	uint64_t number; /* which; 0: none */
	bool came;
	uint64_t tag;
};

struct counts {
	uint64_t rounds, published, consumed, got, called, again;
};

struct canary {
	pthread_mutex_t lock;
	pthread_cond_t arrived;
	struct awaited message, reply;
	uint64_t epoch;
	uint64_t interruptions; /* of the reply consumer */
	uint64_t server_errors;

	struct muxc *c;
	struct muxc_channel *channel; /* queue and kept */
	struct muxc_channel *caller;  /* consumes the replies */
	struct muxc_channel *server;  /* consumes calls */
	struct muxc_queue_info queue, kept, calls;
	uint64_t pause_usec;
	uint64_t number;

	char phase[NAME_SIZE];
	uint64_t phase_start_usec, last_end_usec, gap_usec, errors;
	struct counts counts;
};

static uint64_t now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static int trouble(struct canary *canary, const char *what, int r, const struct muxc_error *error)
{
	canary->errors++;
	fprintf(stderr, "canary: round %llu: %s: %s%s%s\n", (unsigned long long)canary->number, what,
		r < 0 ? strerror(-r) : "", error && error->text[0] ? ": " : "", error ? error->text : "");
	return -1;
}

/* ------------------------------------------------------------------ handlers */

static void on_upstream(struct muxc *c, const struct muxc_upstream *upstream, void *userdata)
{
	struct canary *canary = userdata;

	pthread_mutex_lock(&canary->lock);
	canary->epoch = upstream->epoch;
	pthread_mutex_unlock(&canary->lock);
}

static uint64_t number_in(const struct muxc_message *message)
{
	uint64_t number = 0;
	size_t len;
	const void *body = muxc_message_get_body(message, &len);

	if (len == sizeof(number))
		memcpy(&number, body, len);
	return number;
}

/* False: it is one that came before. */
static bool arrive(struct canary *canary, struct awaited *awaited, const struct muxc_message *message)
{
	bool fresh;

	pthread_mutex_lock(&canary->lock);
	fresh = !awaited->came && awaited->number == number_in(message);
	if (fresh) {
		awaited->came = true;
		awaited->tag = muxc_message_get_tag(message);
		pthread_cond_signal(&canary->arrived);
	} else {
		canary->counts.again++;
	}
	pthread_mutex_unlock(&canary->lock);
	return fresh;
}

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	if (!arrive(userdata, &((struct canary *)userdata)->message, message))
		muxc_ack(channel, muxc_message_get_tag(message), 0);
}

static void on_reply(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	arrive(userdata, &((struct canary *)userdata)->reply, message);
}

static void on_interrupted(struct muxc_channel *channel, uint32_t consumer, const char *text, void *userdata)
{
	struct canary *canary = userdata;

	pthread_mutex_lock(&canary->lock);
	canary->interruptions++;
	pthread_cond_signal(&canary->arrived);
	pthread_mutex_unlock(&canary->lock);
}

static void on_call(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct canary *canary = userdata;
	struct muxc_publication answer = {.size = sizeof(answer)};

	answer.routing_key = muxc_message_get_text(message, MUXC_REPLY_TO, NULL);
	answer.body = muxc_message_get_body(message, &answer.body_len);
	if (muxc_publish_full(channel, &answer, ROUND_TIMEOUT_USEC, NULL, NULL) == 0 &&
	    muxc_ack(channel, muxc_message_get_tag(message), 0) == 0)
		return;
	pthread_mutex_lock(&canary->lock);
	canary->server_errors++;
	pthread_mutex_unlock(&canary->lock);
}

/* ------------------------------------------------------------------ a round */

static void await(struct canary *canary, struct awaited *awaited)
{
	pthread_mutex_lock(&canary->lock);
	awaited->number = canary->number;
	awaited->came = false;
	pthread_mutex_unlock(&canary->lock);
}

/* 0, -ETIMEDOUT, or -EAGAIN: interrupted since. */
static int wait_for(struct canary *canary, const struct awaited *awaited, uint64_t interruptions)
{
	struct timespec deadline;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += ROUND_TIMEOUT_USEC / 1000000u;
	pthread_mutex_lock(&canary->lock);
	while (!awaited->came && r == 0 && canary->interruptions == interruptions)
		r = pthread_cond_timedwait(&canary->arrived, &canary->lock, &deadline);
	if (r == 0 && !awaited->came)
		r = EAGAIN;
	pthread_mutex_unlock(&canary->lock);
	return -r;
}

static uint64_t interruptions_of(struct canary *canary)
{
	uint64_t interruptions;

	pthread_mutex_lock(&canary->lock);
	interruptions = canary->interruptions;
	pthread_mutex_unlock(&canary->lock);
	return interruptions;
}

/* Publishes the round's number; confirmed when it returns. */
static int publish(struct canary *canary, struct muxc_channel *channel, const char *queue,
		   const struct muxc_message *properties)
{
	struct muxc_publication publication = {.size = sizeof(publication),
					       .routing_key = queue,
					       .message = properties,
					       .body = &canary->number,
					       .body_len = sizeof(canary->number)};
	struct muxc_error error = MUXC_ERROR_INIT;
	uint64_t number;
	int r, kind;

	r = muxc_publish_full(channel, &publication, ROUND_TIMEOUT_USEC, &number, &error);
	if (r < 0)
		return trouble(canary, "publish", r, &error);
	r = muxc_wait_outcome(channel, number, ROUND_TIMEOUT_USEC, &kind, &error);
	if (r < 0)
		return trouble(canary, "outcome", r, &error);
	if (kind != MUXC_CONFIRMED)
		return trouble(canary, muxc_outcome_name(kind), 0, &error);
	canary->counts.published++;
	return 0;
}

static int consume_one(struct canary *canary)
{
	int r;

	await(canary, &canary->message);
	if (publish(canary, canary->channel, canary->queue.name, NULL) < 0)
		return -1;
	do {
		r = wait_for(canary, &canary->message, interruptions_of(canary));
	} while (r == -EAGAIN);
	if (r < 0)
		return trouble(canary, "delivery", r, NULL);
	r = muxc_ack(canary->channel, canary->message.tag, 0);
	if (r < 0)
		return trouble(canary, "ack", r, NULL);
	canary->counts.consumed++;
	return 0;
}

/* 1: it is the one wanted; 0: there is none, or another one. */
static int try_get(struct canary *canary)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_message *message;
	uint64_t number, tag;
	int r;

	r = muxc_get(canary->channel, canary->kept.name, 0, &message, ROUND_TIMEOUT_USEC, &error);
	if (r < 0)
		return trouble(canary, "get", r, &error);
	if (r == 0)
		return 0;
	number = number_in(message);
	tag = muxc_message_get_tag(message);
	muxc_message_unref(message);
	if (number > canary->number)
		return trouble(canary, "got a wrong message", 0, NULL);
	r = muxc_ack(canary->channel, tag, 0);
	if (r < 0)
		return trouble(canary, "ack of a got message", r, NULL);
	return number == canary->number;
}

/* After a lost connection what was not acknowledged comes first, once it is back in the queue. */
static int get_one(struct canary *canary)
{
	uint64_t end_usec;
	int r;

	if (publish(canary, canary->channel, canary->kept.name, NULL) < 0)
		return -1;
	end_usec = now_usec() + BACK_USEC;
	while ((r = try_get(canary)) == 0) {
		canary->counts.again++;
		if (now_usec() > end_usec)
			return trouble(canary, "the queue is empty", 0, NULL);
	}
	if (r > 0)
		canary->counts.got++;
	return r < 0 ? r : 0;
}

static int call_itself(struct canary *canary)
{
	struct muxc_message *properties;
	uint64_t interruptions;
	int r;

	if (muxc_message_new(&properties) < 0)
		return trouble(canary, "no memory", 0, NULL);
	r = muxc_message_set_text(properties, MUXC_REPLY_TO, REPLY_TO, strlen(REPLY_TO));
	await(canary, &canary->reply);
	while (r == 0) {
		interruptions = interruptions_of(canary);
		r = publish(canary, canary->caller, canary->calls.name, properties);
		if (r < 0)
			break;
		r = wait_for(canary, &canary->reply, interruptions);
		if (r != -EAGAIN)
			break;
		canary->counts.again++;
		r = 0;
	}
	muxc_message_unref(properties);
	if (r == -ETIMEDOUT)
		return trouble(canary, "reply", r, NULL);
	if (r == 0)
		canary->counts.called++;
	return r;
}

static int sing(struct canary *canary)
{
	int r;

	canary->number++;
	r = consume_one(canary);
	if (r < 0)
		return r;
	r = canary->number % 2 ? get_one(canary) : call_itself(canary);
	if (r < 0)
		return r;
	if (canary->server_errors > 0)
		return trouble(canary, "the server's answer or ack", 0, NULL);
	return 0;
}

/* ------------------------------------------------------------------ phases */

static void begin_phase(struct canary *canary, const char *name)
{
	snprintf(canary->phase, sizeof(canary->phase), "%s", name);
	canary->phase_start_usec = canary->last_end_usec = now_usec();
	canary->gap_usec = 0;
	pthread_mutex_lock(&canary->lock);
	canary->counts = (struct counts){0};
	pthread_mutex_unlock(&canary->lock);
}

#define LLU(number) ((unsigned long long)(number))

static void end_phase(struct canary *canary)
{
	uint64_t took_usec = now_usec() - canary->phase_start_usec;
	const struct counts *counts = &canary->counts;

	pthread_mutex_lock(&canary->lock);
	printf("phase %s: rounds=%llu rate=%.0f/s gap_ms=%.1f epoch=%llu errors=%llu published=%llu "
	       "consumed=%llu got=%llu called=%llu again=%llu\n",
	       canary->phase, LLU(counts->rounds),
	       (double)counts->rounds * 1e6 / (double)(took_usec ? took_usec : 1),
	       (double)canary->gap_usec / 1e3, LLU(canary->epoch), LLU(canary->errors),
	       LLU(counts->published), LLU(counts->consumed), LLU(counts->got), LLU(counts->called),
	       LLU(counts->again));
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

		canary->counts.rounds++;
		if (end_usec - canary->last_end_usec > canary->gap_usec)
			canary->gap_usec = end_usec - canary->last_end_usec;
		canary->last_end_usec = end_usec;
	} while (take_line(canary, begin_usec + canary->pause_usec));
	end_phase(canary);
}

static int declare(struct canary *canary, struct muxc_queue_info *ret)
{
	/* Not exclusive: one that is goes with the connection to the broker, and what is in it. */
	struct muxc_queue queue = {.size = sizeof(queue)};
	struct muxc_error error = MUXC_ERROR_INIT;
	int r;

	ret->size = sizeof(*ret);
	r = muxc_queue_declare(canary->channel, &queue, ret, 0, &error);
	return r < 0 ? trouble(canary, "queue", r, &error) : 0;
}

static int consume(struct canary *canary, struct muxc_channel *channel, const char *queue,
		   muxc_message_handler on_what, unsigned int flags)
{
	struct muxc_consumer_options consumer = {.size = sizeof(consumer),
						 .queue = queue,
						 .flags = flags,
						 .on_message = on_what,
						 .on_interrupted = on_interrupted,
						 .userdata = canary};
	struct muxc_error error = MUXC_ERROR_INIT;
	uint32_t number;
	int r;

	r = muxc_consume(channel, &consumer, &number, 0, &error);
	return r < 0 ? trouble(canary, "consume", r, &error) : 0;
}

static int set_up(struct canary *canary, const struct muxc_options *options)
{
	struct muxc_channel **channels[] = {&canary->channel, &canary->caller, &canary->server};
	struct muxc_error error = MUXC_ERROR_INIT;
	int r;

	r = muxc_connect(options, &canary->c, &error);
	if (r < 0)
		return trouble(canary, "connect", r, &error);
	for (size_t i = 0; i < sizeof(channels) / sizeof(channels[0]); i++) {
		r = muxc_channel_open(canary->c, NULL, channels[i]);
		if (r < 0)
			return trouble(canary, "channel", r, NULL);
	}
	if (declare(canary, &canary->queue) < 0 || declare(canary, &canary->kept) < 0 ||
	    declare(canary, &canary->calls) < 0)
		return -1;
	if (consume(canary, canary->channel, canary->queue.name, on_message, 0) < 0 ||
	    consume(canary, canary->server, canary->calls.name, on_call, 0) < 0)
		return -1;
	return consume(canary, canary->caller, REPLY_TO, on_reply, MUXC_NO_ACK);
}

static void tear_down(struct canary *canary)
{
	const char *names[] = {canary->queue.name, canary->kept.name, canary->calls.name};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && canary->channel; i++)
		if (names[i][0])
			muxc_queue_delete(canary->channel, names[i], 0, NULL, 0, NULL);
	muxc_channel_free(canary->channel);
	muxc_channel_free(canary->caller);
	muxc_channel_free(canary->server);
	muxc_free(canary->c);
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
	tear_down(&canary);
	return canary.errors ? 1 : 0;
}
