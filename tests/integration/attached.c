/*
 * attached N: so many connections to muxd in one process, each with an exclusive
 * queue and a consumer. Says `ready`, then answers lines:
 *
 *	gone		until each has been told that muxd was lost, or left
 *	back		until each is back
 *	publish		each publishes to its queue, until each has got it
 *	end		frees them
 */
#include "config.h"

#include "client/muxclient.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 60000

struct attached {
	struct muxc *c;
	struct muxc_channel *channel;
	atomic_uint gone;
	atomic_uint back;
	atomic_uint messages;
	atomic_uint troubles;
	char queue[64];
};

static void on_link(struct muxc *c, const struct muxc_link *link, void *userdata)
{
	struct attached *attached = userdata;

	if (link->state == MUXC_LINK_BACK)
		attached->back++;
	else
		attached->gone++;
}

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct attached *attached = userdata;

	if (muxc_ack(channel, muxc_message_get_tag(message), 0) < 0)
		attached->troubles++;
	attached->messages++;
}

static void on_channel_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	struct attached *attached = userdata;

	fprintf(stderr, "%s: the channel has ended: %s\n", attached->queue, error->text);
	attached->troubles++;
}

static int attach(struct attached *attached, unsigned int index)
{
	struct muxc_options options = {.size = sizeof(options), .on_link = on_link, .userdata = attached};
	struct muxc_channel_options channel = {
	    .size = sizeof(channel), .on_closed = on_channel_closed, .userdata = attached};
	struct muxc_queue queue = {.size = sizeof(queue), .flags = MUXC_EXCLUSIVE};
	struct muxc_queue_info info = {.size = sizeof(info)};
	struct muxc_consumer_options consumer = {
	    .size = sizeof(consumer), .on_message = on_message, .userdata = attached};
	struct muxc_error error = MUXC_ERROR_INIT;
	int r;

	r = muxc_connect(&options, &attached->c, &error);
	if (r == 0)
		r = muxc_channel_open(attached->c, &channel, &attached->channel);
	/* Every second one has a name of muxd's making. */
	(void)snprintf(attached->queue, sizeof(attached->queue), "attached.%u", index);
	queue.name = index % 2 ? attached->queue : NULL;
	if (r == 0)
		r = muxc_queue_declare(attached->channel, &queue, &info, 0, &error);
	if (r == 0)
		r = muxc_consume(attached->channel, &consumer, NULL, 0, &error);
	if (r < 0)
		fprintf(stderr, "attached: %s\n", error.text);
	else
		memcpy(attached->queue, info.name, sizeof(attached->queue));
	return r;
}

static bool wait_for(struct attached *all, unsigned int count, size_t offset, unsigned int value)
{
	unsigned int i, tries = PATIENCE_MS;
	bool good = true;

	for (i = 0; i < count; i++) {
		atomic_uint *at = (atomic_uint *)(void *)((char *)&all[i] + offset);

		while (atomic_load(at) < value && tries > 0) {
			poll(NULL, 0, 1);
			tries--;
		}
		good = good && atomic_load(at) >= value && all[i].troubles == 0;
	}
	return good;
}

static bool publish(struct attached *all, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (muxc_publish(all[i].channel, "", all[i].queue, NULL, MUXC_MANDATORY, NULL) < 0)
			return false;
	}
	return wait_for(all, count, offsetof(struct attached, messages), 1);
}

static void obey(struct attached *all, unsigned int count)
{
	char line[64];
	bool good;

	puts("ready");
	while (fgets(line, sizeof(line), stdin) && strncmp(line, "end", 3) != 0) {
		if (strncmp(line, "gone", 4) == 0)
			good = wait_for(all, count, offsetof(struct attached, gone), 1);
		else if (strncmp(line, "back", 4) == 0)
			good = wait_for(all, count, offsetof(struct attached, back), 1);
		else
			good = publish(all, count);
		puts(good ? "ok" : "error");
	}
}

int main(int argc, char **argv)
{
	unsigned int count = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 10) : 1, i;
	struct attached *all = calloc(count, sizeof(*all));
	int r = all ? 0 : 1;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 0; r == 0 && i < count; i++)
		r = attach(&all[i], i) < 0;
	if (r == 0)
		obey(all, count);
	for (i = 0; all && i < count; i++) {
		muxc_channel_free(all[i].channel);
		muxc_free(all[i].c);
	}
	free(all);
	return r;
}
