/*
 * Prints the messages of a queue until it has had COUNT of them, in a loop of
 * its own and without threads.
 *
 *	consume QUEUE COUNT
 */
#include <muxclient.h>

#include <stdio.h>
#include <stdlib.h>

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	long *left = userdata;
	size_t len;
	const char *body = muxc_message_get_body(message, &len);

	if (*left == 0)
		return; /* not acknowledged: it goes back when the channel is closed */
	printf("%.*s\n", (int)len, body);
	muxc_ack(channel, muxc_message_get_tag(message), 0);
	--*left;
}

static int consume(struct muxc_channel *channel, const char *name, long *left, struct muxc_error *error)
{
	struct muxc_queue queue = {.size = sizeof(queue), .name = name, .flags = MUXC_DURABLE};
	struct muxc_consumer_options options = {
	    .size = sizeof(options), .queue = name, .on_message = on_message, .userdata = left};
	int r;

	r = muxc_queue_declare(channel, &queue, NULL, 0, error);
	if (r < 0)
		return r;
	return muxc_consume(channel, &options, NULL, 0, error);
}

int main(int argc, char **argv)
{
	struct muxc_options options = {.size = sizeof(options), .flags = MUXC_LOOP};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *channel = NULL;
	struct muxc *c = NULL;
	long left;
	int r;

	if (argc != 3) {
		fprintf(stderr, "usage: consume QUEUE COUNT\n");
		return 2;
	}
	left = strtol(argv[2], NULL, 10);
	r = muxc_connect(&options, &c, &error);
	if (r == 0)
		r = muxc_channel_open(c, NULL, &channel);
	if (r == 0)
		r = consume(channel, argv[1], &left, &error);
	while (r >= 0 && left > 0) {
		muxc_wait(c, 1000000);
		r = muxc_process(c);
		if (r >= 0)
			r = muxc_channel_get_error(channel, &error);
		else
			muxc_get_error(c, &error);
	}
	if (r < 0)
		fprintf(stderr, "consume: %s\n", error.text);
	muxc_channel_free(channel);
	muxc_free(c); /* the last acknowledgements are sent here */
	return r < 0 ? 1 : 0;
}
