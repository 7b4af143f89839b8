/*
 * Publishes one message and says what became of it.
 *
 *	publish QUEUE TEXT
 */
#include <muxclient.h>

#include <stdio.h>
#include <string.h>

static int publish(struct muxc *c, const char *queue, const char *text)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_publication publication = {.size = sizeof(publication)};
	struct muxc_channel *channel;
	struct muxc_message *message = NULL;
	uint64_t number = 0;
	int r, kind = 0;

	r = muxc_channel_open(c, NULL, &channel);
	if (r < 0)
		return r;
	r = muxc_message_new(&message);
	if (r == 0)
		r = muxc_message_set_text(message, MUXC_CONTENT_TYPE, "text/plain", MUXC_STRLEN);
	if (r == 0)
		r = muxc_message_set_number(message, MUXC_DELIVERY_MODE, 2); /* persistent */
	if (r == 0)
		r = muxc_message_set_body(message, text, strlen(text));
	publication.routing_key = queue; /* the default exchange goes by the queue's name */
	publication.message = message;
	publication.flags = MUXC_MANDATORY;
	if (r == 0)
		r = muxc_publish_full(channel, &publication, 0, &number, &error);
	if (r == 0)
		r = muxc_wait_outcome(channel, number, 0, &kind, &error);
	if (r == 0)
		printf("%s\n", muxc_outcome_name(kind));
	else
		fprintf(stderr, "publish: %s\n", error.text);
	muxc_message_unref(message);
	muxc_channel_free(channel);
	return r < 0 || kind != MUXC_CONFIRMED ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc *c;
	int r;

	if (argc != 3) {
		fprintf(stderr, "usage: publish QUEUE TEXT\n");
		return 2;
	}
	r = muxc_connect(NULL, &c, &error);
	if (r < 0) {
		fprintf(stderr, "publish: %s\n", error.text);
		return 1;
	}
	r = publish(c, argv[1], argv[2]);
	muxc_free(c);
	return r < 0 ? 1 : 0;
}
