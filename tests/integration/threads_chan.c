/*
 * Connections and channels that threads share, and the account of what was
 * published on them.
 */
#include "tests/integration/threads.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct account account;

static pthread_mutex_t links_lock = PTHREAD_MUTEX_INITIALIZER; /* links, their refs and slots */
static struct link *links[LINKS];

/* -------------------------------------------------------------------- helpers */

uint64_t clock_usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

unsigned int chance(unsigned int below)
{
	static _Thread_local unsigned int seed;
	static unsigned int seeds;

	if (seed == 0)
		seed = account.seed * 7919 + ADD(seeds, 1);
	return (unsigned int)rand_r(&seed) % below;
}

const char *queue_name(unsigned int i)
{
	static const char *const names[QUEUES] = {"threads-0", "threads-1", "threads-2",
						  "threads-3", "threads-4", "threads-5"};

	return names[i % QUEUES];
}

void fault(const char *what, long long value, const char *text)
{
	if (ADD(account.faults, 1) <= 20)
		fprintf(stderr, "fault: %s: %lld %s\n", what, value, text);
}

int expect(int r, const char *what, const struct muxc_error *error)
{
	ADD(account.operations, 1);
	if (r == -ECONNRESET && account.kills)
		return r;
	if (r < 0 && r != -ESHUTDOWN && r != -ENOENT && r != -EAGAIN)
		fault(what, r, error ? error->text : "");
	return r;
}

/* ------------------------------------------------------------------- accounts */

struct entry *entry_at(struct chan *chan, uint64_t number)
{
	size_t capacity = chan->capacity ? chan->capacity : 64;

	while (capacity <= number)
		capacity *= 2;
	if (capacity != chan->capacity) {
		chan->entries = realloc(chan->entries, capacity * sizeof(*chan->entries));
		if (!chan->entries)
			abort();
		memset(chan->entries + chan->capacity, 0,
		       (capacity - chan->capacity) * sizeof(*chan->entries));
		chan->capacity = capacity;
	}
	return &chan->entries[number];
}

void mark(uint32_t id, enum state state)
{
	__atomic_fetch_or(&account.states[id], (uint8_t)state, __ATOMIC_RELAXED);
}

void handler_enter(struct chan *chan)
{
	if (ADD(chan->inside, 1) != 1)
		fault("handlers of a channel at the same time", chan->inside, "");
}

void handler_leave(struct chan *chan)
{
	ADD(chan->inside, -1);
}

static void on_outcome(struct muxc_channel *channel, const struct muxc_outcome *outcome, void *userdata)
{
	struct chan *chan = userdata;
	struct entry *entry;
	uint64_t number;

	(void)channel;
	handler_enter(chan);
	pthread_mutex_lock(&chan->lock);
	for (number = outcome->first; number <= outcome->last; number++) {
		entry = entry_at(chan, number);
		if (entry->outcome)
			fault("a second outcome for a publish", entry->outcome, "");
		entry->outcome = (uint8_t)outcome->kind;
	}
	while (entry_at(chan, chan->told_upto + 1)->outcome)
		chan->told_upto++;
	pthread_cond_broadcast(&chan->cond);
	pthread_mutex_unlock(&chan->lock);
	handler_leave(chan);
}

static void on_return(struct muxc_channel *channel, struct muxc_message *message,
		      const struct muxc_error *error, void *userdata)
{
	struct chan *chan = userdata;

	(void)channel;
	handler_enter(chan);
	pthread_mutex_lock(&chan->lock);
	if (error->code != 312 || entry_at(chan, muxc_message_get_publish_number(message))->outcome)
		fault("a return that comes with another code or behind its outcome", error->code, "");
	pthread_mutex_unlock(&chan->lock);
	handler_leave(chan);
}

/* Nobody uses it any more: what became of its publishes goes to the account. */
static void on_destroy(void *userdata)
{
	struct chan *chan = userdata;
	const struct entry *entry;
	uint64_t number;
	int i;

	if (LOAD(chan->inside) != 0)
		fault("on_destroy beside a handler", chan->inside, "");
	if (chan->told_upto < chan->must_upto)
		fault("publishes without an outcome on a channel that was waited for",
		      (long long)(chan->must_upto - chan->told_upto), "");
	for (number = 1; number < chan->capacity; number++) {
		entry = &chan->entries[number];
		if (entry->id == 0 && entry->outcome)
			fault("an outcome for what was not published", (long long)number, "");
		if (entry->outcome == MUXC_CONFIRMED)
			mark(entry->id, CONFIRMED);
		else if (entry->outcome == MUXC_FAILED || entry->outcome == MUXC_RETURNED)
			mark(entry->id, NOWHERE);
	}
	for (i = 0; i < KEPT_MAX; i++)
		muxc_message_unref(chan->kept[i]);
	free(chan->entries);
	pthread_cond_destroy(&chan->cond);
	pthread_mutex_destroy(&chan->lock);
	free(chan);
	ADD(account.channels_live, -1);
}

void see(struct muxc_message *message)
{
	char text[16] = "";
	size_t len;
	const void *body = muxc_message_get_body(message, &len);
	unsigned long id;

	memcpy(text, body, len < sizeof(text) - 1 ? len : sizeof(text) - 1);
	id = strtoul(text, NULL, 10);
	if (id == 0 || id > LOAD(account.ids) ||
	    !(__atomic_fetch_or(&account.states[id], SEEN, __ATOMIC_RELAXED) & PUBLISHED))
		fault("a message that was never published", (long long)id, "");
	ADD(account.deliveries, 1);
}

/* ------------------------------------------------------- connections, channels */

void link_put(struct link *link)
{
	bool last;

	pthread_mutex_lock(&links_lock);
	last = --link->refs == 0;
	pthread_mutex_unlock(&links_lock);
	if (!last)
		return;
	muxc_free(link->c);
	free(link);
}

void chan_put(struct chan *chan)
{
	struct muxc_channel *channel;
	bool last;

	pthread_mutex_lock(&chan->lock);
	channel = chan->channel;
	last = --chan->refs == 0;
	pthread_cond_broadcast(&chan->cond);
	pthread_mutex_unlock(&chan->lock);
	if (last)
		muxc_channel_free(channel);
}

struct link *chan_take_out(struct chan *chan)
{
	struct link *link, *found = NULL;
	int i;

	pthread_mutex_lock(&links_lock);
	link = links[chan->link];
	for (i = 0; link && i < SLOTS; i++) {
		if (link->slots[i] != chan)
			continue;
		link->slots[i] = NULL;
		link->refs++;
		found = link;
	}
	pthread_mutex_unlock(&links_lock);
	return found;
}

void chan_retire(struct chan *chan)
{
	struct link *link = chan_take_out(chan);

	if (!link)
		return;
	chan_put(chan);
	link_put(link);
}

void link_retire(int index)
{
	struct chan *taken[SLOTS] = {NULL};
	struct link *link;
	int i;

	pthread_mutex_lock(&links_lock);
	link = links[index];
	links[index] = NULL;
	for (i = 0; link && i < SLOTS; i++) {
		taken[i] = link->slots[i];
		link->slots[i] = NULL;
	}
	pthread_mutex_unlock(&links_lock);
	if (!link)
		return;
	for (i = 0; i < SLOTS; i++) {
		if (i == SLOTS / 2)
			link_put(link);
		if (taken[i])
			chan_put(taken[i]);
	}
}

struct link *link_get(int index)
{
	struct muxc_options options = {.size = sizeof(options), .request_timeout_usec = DEADLINE_USEC};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct link *link;

	if (account.kills)
		options.flags = MUXC_CONNECT_LATER;
	pthread_mutex_lock(&links_lock);
	if (!links[index]) {
		link = calloc(1, sizeof(*link));
		if (index == LINKS - 1)
			options.execute = account.execute;
		if (index == 0)
			options.dispatch_threads = 1 + chance(3);
		if (!link || expect(muxc_connect(&options, &link->c, &error), "connect", &error) < 0)
			abort();
		link->refs = 1;
		links[index] = link;
		ADD(account.connections, 1);
	}
	link = links[index];
	link->refs++;
	pthread_mutex_unlock(&links_lock);
	return link;
}

static struct chan *chan_open(struct link *link, int index)
{
	struct chan *chan = calloc(1, sizeof(*chan));
	struct muxc_channel_options options = {.size = sizeof(options),
					       .on_outcome = on_outcome,
					       .on_return = on_return,
					       .on_destroy = on_destroy,
					       .userdata = chan};

	if (!chan)
		abort();
	chan->link = index;
	chan->refs = 1;
	pthread_mutex_init(&chan->lock, NULL);
	pthread_cond_init(&chan->cond, NULL);
	ADD(account.channels_live, 1);
	if (expect(muxc_channel_open(link->c, &options, &chan->channel), "open", NULL) < 0) {
		on_destroy(chan);
		return NULL;
	}
	ADD(account.channels, 1);
	return chan;
}

struct chan *chan_get(int index, int slot)
{
	struct link *link = link_get(index);
	struct chan *chan, *opened = NULL;

	pthread_mutex_lock(&links_lock);
	chan = link->slots[slot];
	pthread_mutex_unlock(&links_lock);
	if (!chan)
		opened = chan_open(link, index);
	pthread_mutex_lock(&links_lock);
	/* Only a link that is still in its place has channels. */
	if (opened && links[index] == link && !link->slots[slot]) {
		link->slots[slot] = opened;
		opened = NULL;
	}
	chan = links[index] == link ? link->slots[slot] : NULL;
	if (chan) {
		pthread_mutex_lock(&chan->lock);
		chan->refs++;
		pthread_mutex_unlock(&chan->lock);
	}
	pthread_mutex_unlock(&links_lock);
	if (opened)
		chan_put(opened);
	link_put(link);
	return chan;
}

static bool chan_wait(struct chan *chan, bool (*is_so)(const struct chan *chan))
{
	struct timespec until;
	bool good;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += DEADLINE_USEC / 1000000;
	pthread_mutex_lock(&chan->lock);
	while (!(good = is_so(chan)) && r == 0)
		r = pthread_cond_timedwait(&chan->cond, &chan->lock, &until);
	pthread_mutex_unlock(&chan->lock);
	return good;
}

static bool is_alone(const struct chan *chan)
{
	return chan->refs == 1;
}

static bool is_told(const struct chan *chan)
{
	return chan->told_upto >= chan->must_upto;
}

void chan_settle(struct chan *chan)
{
	struct muxc_totals totals = {.size = sizeof(totals)};
	struct muxc_error error = MUXC_ERROR_INIT;
	uint64_t outcomes;

	if (!chan_wait(chan, is_alone))
		fault("a channel that is not left", chan->refs, "");
	pthread_mutex_lock(&chan->lock);
	chan->must_upto = chan->highest;
	pthread_mutex_unlock(&chan->lock);
	expect(muxc_wait_all(chan->channel, DEADLINE_USEC, &totals, &error), "wait for all", &error);
	/* A handler may have published more meanwhile. */
	outcomes = totals.confirmed + totals.returned + totals.nacked + totals.failed + totals.unknown;
	if (outcomes < chan->must_upto || outcomes > totals.published)
		fault("totals that do not balance", (long long)outcomes, "");
	if (!chan_wait(chan, is_told))
		fault("outcomes that are not told", (long long)(chan->must_upto - chan->told_upto), "");
}
