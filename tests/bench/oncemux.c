/*
 * Publishes one message, sees it confirmed, and exits: see oncebench.c. With
 * `loop` as third argument in loop mode, else with the library's threads.
 */
#include <muxclient.h>

#include <stdio.h>
#include <string.h>

static int publish(struct muxc *c, const char *queue, int *ret_kind, struct muxc_error *error)
{
	struct muxc_publication publication = {
	    .size = sizeof(publication), .routing_key = queue, .body = "once", .body_len = 4};
	struct muxc_channel *channel = NULL;
	uint64_t number;
	int r;

	r = muxc_channel_open(c, NULL, &channel);
	if (r == 0)
		r = muxc_publish_full(channel, &publication, 0, &number, error);
	if (r == 0)
		r = muxc_wait_outcome(channel, number, 0, ret_kind, error);
	muxc_channel_free(channel);
	return r;
}

int main(int argc, char **argv)
{
	struct muxc_options options = {.size = sizeof(options)};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc *c = NULL;
	int kind = 0, r;

	if (argc < 4)
		return 2;
	options.socket_path = argv[1];
	options.flags = strcmp(argv[3], "loop") == 0 ? MUXC_LOOP : 0;
	r = muxc_connect(&options, &c, &error);
	if (r == 0)
		r = publish(c, argv[2], &kind, &error);
	muxc_free(c);
	if (r == 0 && kind == MUXC_CONFIRMED)
		return 0;
	fprintf(stderr, "oncemux: %s\n", error.text);
	return 1;
}
