/*
 * threads: what several threads may do with libmuxclient at the same time, at
 * random, and an account of every message.
 *
 *	threads SECONDS [SEED [kills]]
 *
 * 16 threads and the handlers share 4 connections, the last of which runs its
 * handlers on an executor. They publish, wait for outcomes, consume, get,
 * acknowledge, give back, cancel, and open, close and free channels and whole
 * connections under each other's feet. Every wait has a deadline.
 *
 * With `kills` muxd dies and comes back meanwhile. Then calls may say that they
 * were done or not, and publishes end as unknown; but what is confirmed is not
 * lost, what has failed is seen by nobody, and nothing is told twice.
 *
 * A channel is freed by whoever drops the last reference to it, but handlers
 * hold none: theirs may be freed while they run. A connection is freed by the
 * last one that uses the connection itself; calls on its channels go on.
 */
#include "tests/integration/threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WORKERS 16
#define EXECUTORS 4
#define BACKLOG_MAX 4000
#define STUCK_SECONDS 60

struct work {
	struct work *next;
	void (*run)(void *arg);
	void *arg;
};

struct worker {
	pthread_t thread;
	uint64_t busy_since; /* 0: it has ended */
};

static struct worker workers[WORKERS];
static bool stopping;
static pthread_mutex_t work_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work_cond = PTHREAD_COND_INITIALIZER;
static struct work *work_first, **work_last = &work_first;
static bool work_ends;

/* ------------------------------------------------------------------- executor */

static int execute(void (*run)(void *arg), void *arg, void *userdata)
{
	struct work *work = calloc(1, sizeof(*work));

	(void)userdata;
	if (!work || chance(50) == 0) {
		free(work);
		return -1;
	}
	*work = (struct work){NULL, run, arg};
	pthread_mutex_lock(&work_lock);
	*work_last = work;
	work_last = &work->next;
	pthread_cond_signal(&work_cond);
	pthread_mutex_unlock(&work_lock);
	return 0;
}

static void *executor_main(void *arg)
{
	struct work *work;

	(void)arg;
	for (;;) {
		pthread_mutex_lock(&work_lock);
		while (!work_first && !work_ends)
			pthread_cond_wait(&work_cond, &work_lock);
		work = work_first;
		if (work) {
			work_first = work->next;
			if (!work_first)
				work_last = &work_first;
		}
		pthread_mutex_unlock(&work_lock);
		if (!work)
			return NULL;
		work->run(work->arg);
		free(work);
	}
}

/* ----------------------------------------------------------------- operations */

static uint64_t publish(struct muxc_channel *channel, struct chan *chan)
{
	struct muxc_publication publication = {.size = sizeof(publication),
					       .routing_key = queue_name(chance(QUEUES)),
					       .flags = chance(2) ? MUXC_MORE : 0};
	struct muxc_error error = MUXC_ERROR_INIT;
	uint32_t id = ADD(account.ids, 1);
	uint64_t number = 0;
	char text[16];
	int r;

	if (id >= IDS_MAX || LOAD(account.backlog) > BACKLOG_MAX)
		return 0;
	publication.body = text;
	publication.body_len = (size_t)snprintf(text, sizeof(text), "%" PRIu32, id);
	if (chance(100) == 0) {
		publication.routing_key = "threads-none";
		publication.flags |= MUXC_MANDATORY;
	}
	if (chance(4) == 0)
		publication.flags |= MUXC_NONBLOCK;
	mark(id, PUBLISHED);
	r = expect(muxc_publish_full(channel, &publication, DEADLINE_USEC, &number, &error), "publish",
		   &error);
	if (r < 0) {
		mark(id, NOWHERE);
		return 0;
	}
	pthread_mutex_lock(&chan->lock);
	entry_at(chan, number)->id = id;
	if (number > chan->highest)
		chan->highest = number;
	pthread_mutex_unlock(&chan->lock);
	return number;
}

static void await(struct muxc_channel *channel, uint64_t number)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	int kind = 0, r;

	if (number == 0)
		return;
	r = expect(muxc_wait_outcome(channel, number, DEADLINE_USEC, &kind, &error), "wait for an outcome",
		   &error);
	if (r == 0 && (kind < MUXC_CONFIRMED || kind > MUXC_UNKNOWN))
		fault("an outcome of no kind", kind, "");
}

static void get(struct muxc_channel *channel)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_message *message = NULL;

	if (expect(muxc_get(channel, queue_name(chance(QUEUES)), 0, &message, DEADLINE_USEC, &error), "get",
		   &error) <= 0)
		return;
	see(message);
	if (chance(8))
		expect(muxc_ack(channel, muxc_message_get_tag(message), 0), "ack", NULL);
	else
		expect(muxc_nack(channel, muxc_message_get_tag(message), MUXC_REQUEUE), "nack", NULL);
	muxc_message_unref(message);
}

static void cancel(struct muxc_channel *channel, struct chan *chan)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	uint32_t *at = &chan->consumers[chance(CONSUMERS_MAX)], consumer;

	pthread_mutex_lock(&chan->lock);
	consumer = *at;
	*at = 0;
	pthread_mutex_unlock(&chan->lock);
	if (consumer)
		expect(muxc_cancel(channel, consumer, DEADLINE_USEC, &error), "cancel", &error);
}

/* To be acknowledged by someone else, later. */
static bool keep(struct chan *chan, struct muxc_message *message)
{
	bool kept = false;
	int i;

	pthread_mutex_lock(&chan->lock);
	for (i = 0; i < KEPT_MAX && !kept; i++) {
		kept = !chan->kept[i];
		if (kept)
			chan->kept[i] = muxc_message_ref(message);
	}
	pthread_mutex_unlock(&chan->lock);
	return kept;
}

static void settle_kept(struct chan *chan)
{
	struct muxc_message *taken[KEPT_MAX];
	int i;

	pthread_mutex_lock(&chan->lock);
	memcpy(taken, chan->kept, sizeof(taken));
	memset(chan->kept, 0, sizeof(chan->kept));
	pthread_mutex_unlock(&chan->lock);
	for (i = 0; i < KEPT_MAX; i++) {
		if (taken[i])
			expect(muxc_ack(chan->channel, muxc_message_get_tag(taken[i]), 0), "ack", NULL);
		muxc_message_unref(taken[i]);
	}
}

/* What a handler does now and then, before its message is settled. */
static void in_handler(struct muxc_channel *channel, struct chan *chan)
{
	struct chan *other;

	switch (chance(600)) {
	case 0 ... 9:
		await(channel, publish(channel, chan));
		break;
	case 10 ... 29:
		publish(channel, chan);
		break;
	case 30 ... 33:
		get(channel);
		break;
	case 34 ... 35:
		cancel(channel, chan);
		break;
	case 36 ... 37:
		other = chan_get(chan->link, (int)chance(SLOTS));
		if (other) {
			await(other->channel, publish(other->channel, other));
			chan_put(other);
		}
		break;
	case 38:
		chan_retire(chan);
		ADD(account.freed_in_handlers, 1);
		break;
	case 39:
		if (chance(20) == 0)
			link_retire(chan->link);
		break;
	default:
		break;
	}
}

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct chan *chan = userdata;
	uint64_t tag = muxc_message_get_tag(message);

	handler_enter(chan);
	see(message);
	in_handler(channel, chan);
	switch (chance(32)) {
	case 0:
		expect(muxc_nack(channel, tag, MUXC_REQUEUE), "nack", NULL);
		break;
	case 1:
		if (keep(chan, message))
			break;
		/* fall through */
	default:
		expect(muxc_ack(channel, tag, 0), "ack", NULL);
		break;
	}
	handler_leave(chan);
}

static void consume(struct chan *chan)
{
	struct muxc_consumer_options options = {.size = sizeof(options),
						.queue = queue_name(chance(QUEUES)),
						.window_messages = 1 + chance(300),
						.on_message = on_message,
						.userdata = chan};
	struct muxc_error error = MUXC_ERROR_INIT;
	uint32_t *at = &chan->consumers[chance(CONSUMERS_MAX)], consumer = 0;
	bool free_place;

	pthread_mutex_lock(&chan->lock);
	free_place = *at == 0;
	pthread_mutex_unlock(&chan->lock);
	if (!free_place || expect(muxc_consume(chan->channel, &options, &consumer, DEADLINE_USEC, &error),
				  "consume", &error) < 0)
		return;
	pthread_mutex_lock(&chan->lock);
	if (*at == 0) {
		*at = consumer;
		consumer = 0;
	}
	pthread_mutex_unlock(&chan->lock);
	if (consumer)
		expect(muxc_cancel(chan->channel, consumer, DEADLINE_USEC, &error), "cancel", &error);
}

/* The broker closes the channel: 404. */
static void provoke(struct chan *chan)
{
	struct muxc_queue queue = {.size = sizeof(queue), .name = "threads-none", .flags = MUXC_PASSIVE};
	struct muxc_error error = MUXC_ERROR_INIT;

	expect(muxc_queue_declare(chan->channel, &queue, NULL, DEADLINE_USEC, &error), "declare", &error);
}

static void use_connection(struct chan *chan)
{
	struct link *link = link_get(chan->link);
	struct muxc_error error = MUXC_ERROR_INIT;

	if (chance(2))
		expect(muxc_ping(link->c, DEADLINE_USEC, &error), "ping", &error);
	else
		expect(muxc_flush(link->c), "flush", NULL);
	link_put(link);
}

static void end_channel(struct chan *chan)
{
	struct link *link;

	switch (chance(4)) {
	case 0:
		expect(muxc_channel_close(chan->channel), "close", NULL);
		break;
	case 1:
		chan_retire(chan);
		break;
	default:
		/* As long as it has the link, nobody frees the connection: then nothing more would be told.
		 */
		link = chan_take_out(chan);
		if (!link)
			break;
		chan_put(chan);
		chan_settle(chan);
		link_put(link);
		break;
	}
}

/* -------------------------------------------------------------------- workers */

static void operate(struct chan *chan)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_totals totals = {.size = sizeof(totals)};
	uint64_t number = 0;
	unsigned int i;

	switch (chance(200)) {
	case 0 ... 79:
		for (i = chance(30); i > 0; i--)
			number = publish(chan->channel, chan);
		if (chance(2))
			await(chan->channel, number);
		break;
	case 80 ... 109:
		get(chan->channel);
		break;
	case 110 ... 149:
		consume(chan);
		break;
	case 150 ... 159:
		cancel(chan->channel, chan);
		break;
	case 160 ... 174:
		settle_kept(chan);
		break;
	case 175 ... 180:
		expect(muxc_wait_all(chan->channel, DEADLINE_USEC, &totals, &error), "wait for all", &error);
		break;
	case 181 ... 185:
		expect(muxc_qos(chan->channel, 1 + chance(200), DEADLINE_USEC, &error), "qos", &error);
		break;
	case 186 ... 190:
		use_connection(chan);
		break;
	case 191:
		provoke(chan);
		break;
	case 192:
		if (chance(2))
			link_retire(chan->link);
		break;
	case 193 ... 196:
		end_channel(chan);
		break;
	default:
		break;
	}
	if (muxc_channel_get_error(chan->channel, NULL) < 0)
		chan_retire(chan);
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	struct chan *chan;

	while (!LOAD(stopping)) {
		__atomic_store_n(&worker->busy_since, clock_usec(), __ATOMIC_RELAXED);
		chan = chan_get((int)chance(LINKS), (int)chance(SLOTS));
		if (!chan)
			continue;
		operate(chan);
		chan_put(chan);
	}
	__atomic_store_n(&worker->busy_since, 0, __ATOMIC_RELAXED);
	return NULL;
}

/* Every wait has a deadline: whoever is much later hangs. */
static void look_for_the_stuck(void)
{
	uint64_t since;
	int i;

	for (i = 0; i < WORKERS; i++) {
		since = __atomic_load_n(&workers[i].busy_since, __ATOMIC_RELAXED);
		if (since == 0 || clock_usec() - since < STUCK_SECONDS * 1000000ull)
			continue;
		printf("FAILED: thread %d hangs\n", i);
		fflush(stdout);
		abort();
	}
}

/* ----------------------------------------------------------------------- main */

static unsigned int waiting_in(struct muxc_channel *channel, unsigned int i)
{
	struct muxc_queue queue = {.size = sizeof(queue), .name = queue_name(i), .flags = MUXC_DURABLE};
	struct muxc_queue_info info = {.size = sizeof(info)};
	struct muxc_error error = MUXC_ERROR_INIT;

	expect(muxc_queue_declare(channel, &queue, &info, DEADLINE_USEC, &error), "declare", &error);
	return info.messages;
}

static void run_for(struct muxc_channel *channel, unsigned int seconds)
{
	uint64_t end = clock_usec() + seconds * 1000000ull;
	unsigned int i, count;

	for (i = 0; i < WORKERS; i++) {
		if (pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) != 0)
			abort();
	}
	while (clock_usec() < end) {
		for (i = 0, count = 0; i < QUEUES; i++)
			count += waiting_in(channel, i);
		__atomic_store_n(&account.backlog, (int)count, __ATOMIC_RELAXED);
		look_for_the_stuck();
		usleep(100000); /* between two looks */
	}
	__atomic_store_n(&stopping, true, __ATOMIC_RELEASE);
	for (i = 0; i < WORKERS; i++) {
		while (LOAD(workers[i].busy_since) != 0) {
			look_for_the_stuck();
			usleep(10000);
		}
		pthread_join(workers[i].thread, NULL);
	}
}

static void end_links(void)
{
	struct link *link;
	struct chan *chan;
	int i, slot;

	for (i = 0; i < LINKS; i++) {
		for (slot = 0; slot < SLOTS; slot++) {
			chan = chan_get(i, slot);
			link = chan ? chan_take_out(chan) : NULL;
			if (link) {
				chan_put(chan);
				chan_settle(chan);
				link_put(link);
			}
			if (chan)
				chan_put(chan);
		}
		link_retire(i);
	}
}

/* Confirmed messages that nobody has seen. */
static uint64_t lost_count(uint64_t *ret_confirmed, uint64_t *ret_ghosts)
{
	uint64_t lost = 0;
	uint32_t id;

	*ret_confirmed = 0;
	*ret_ghosts = 0;
	for (id = 1; id <= account.ids && id < IDS_MAX; id++) {
		*ret_confirmed += !!(account.states[id] & CONFIRMED);
		*ret_ghosts += (account.states[id] & (NOWHERE | SEEN)) == (NOWHERE | SEEN);
		lost += (account.states[id] & (CONFIRMED | SEEN)) == CONFIRMED;
	}
	return lost;
}

/* Until all that was confirmed is seen and the queues are empty, or it is too late. */
static void drain(struct muxc_channel *channel)
{
	uint64_t until = clock_usec() + 2 * DEADLINE_USEC, confirmed, ghosts;
	struct muxc_message *message;
	unsigned int i, count;

	do {
		for (i = 0, count = 0; i < QUEUES; i++) {
			while (muxc_get(channel, queue_name(i), 0, &message, DEADLINE_USEC, NULL) == 1) {
				see(message);
				expect(muxc_ack(channel, muxc_message_get_tag(message), 0), "ack", NULL);
				muxc_message_unref(message);
				count++;
			}
		}
	} while ((count > 0 || lost_count(&confirmed, &ghosts) > 0) && clock_usec() < until);
}

static void say(bool good, const char *sentence)
{
	printf("%s: %s\n", good ? "ok" : "FAILED", sentence);
	if (!good)
		ADD(account.faults, 1);
}

static void judge(unsigned int seconds)
{
	uint64_t confirmed, ghosts, lost = lost_count(&confirmed, &ghosts);

	printf("%" PRIu64 " operations and %" PRIu64 " deliveries in %u s, %" PRIu32 " publishes, %" PRIu64
	       " known to be confirmed, %" PRIu64 " channels (%" PRIu64 " freed in their handler), %" PRIu64
	       " connections\n",
	       account.operations, account.deliveries, seconds, account.ids, confirmed, account.channels,
	       account.freed_in_handlers, account.connections);
	say(account.faults == 0, "no call gave what it must not, and each publish had at most one outcome");
	say(account.operations >= (account.kills ? 100ull : 1000ull) * seconds,
	    account.kills ? "100 operations a second or more" : "1000 operations a second or more");
	say(confirmed > 0 && lost == 0, "every confirmed message was delivered, got, or still in its queue");
	say(ghosts == 0, "and none that failed or came back");
	say(account.channels_live == 0, "on_destroy was called for every channel, once");
	say(account.connections > LINKS && account.freed_in_handlers > 0,
	    "connections and channels were freed under way");
	if (lost > 0 || ghosts > 0)
		printf("lost %" PRIu64 ", ghosts %" PRIu64 "\n", lost, ghosts);
}

int main(int argc, char *argv[])
{
	unsigned int seconds = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 10) : 5, i;
	pthread_t executors[EXECUTORS];
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *channel;
	struct muxc *c;
	uint64_t end;

	if (argc > 2)
		account.seed = (unsigned int)strtoul(argv[2], NULL, 10);
	account.kills = argc > 3 && strcmp(argv[3], "kills") == 0;
	account.execute = execute;
	account.states =
	    mmap(NULL, IDS_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (account.states == MAP_FAILED || muxc_connect(NULL, &c, &error) < 0 ||
	    muxc_channel_open(c, NULL, &channel) < 0) {
		printf("FAILED: to begin: %s\n", error.text);
		return 1;
	}
	for (i = 0; i < QUEUES; i++)
		waiting_in(channel, i);
	for (i = 0; i < EXECUTORS; i++) {
		if (pthread_create(&executors[i], NULL, executor_main, NULL) != 0)
			abort();
	}
	run_for(channel, seconds);
	end_links();
	for (end = clock_usec() + DEADLINE_USEC; LOAD(account.channels_live) > 0 && clock_usec() < end;)
		usleep(10000);
	pthread_mutex_lock(&work_lock);
	work_ends = true;
	pthread_cond_broadcast(&work_cond);
	pthread_mutex_unlock(&work_lock);
	for (i = 0; i < EXECUTORS; i++)
		pthread_join(executors[i], NULL);
	drain(channel);
	for (i = 0; i < QUEUES; i++)
		expect(muxc_queue_delete(channel, queue_name(i), 0, NULL, DEADLINE_USEC, &error), "delete",
		       &error);
	muxc_channel_free(channel);
	muxc_free(c);
	judge(seconds);
	return account.faults > 0;
}
