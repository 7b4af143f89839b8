/*
 * What a web request does that must not wait: publishes one message and is back
 * within 5 ms, whatever the state of muxd and of the broker.
 *
 *	web-publish QUEUE TEXT [MILLISECONDS]
 *
 * It prints one line and exits with
 *
 *	0  confirmed   the broker has it
 *	3  queued      muxd has it, or will when it reads its socket; no verdict yet
 *	1  refused     it was not published, or the broker did not take it: the line says why
 *
 * Every call that could wait is given what is left of the time. It is a
 * connection in loop mode, so no thread is started for this one message.
 */
#include <muxclient.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BUDGET_MSEC 5

static uint64_t now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* At least 1: a timeout of 0 would mean the default, which is much longer. */
static uint64_t left_until(uint64_t usec)
{
	uint64_t now = now_usec();

	return usec > now ? usec - now : 1;
}

static int connect_within(uint64_t budget_usec, struct muxc **ret, struct muxc_error *error)
{
	struct muxc_options options = {.size = sizeof(options)};

	/*
	 * No reconnecting: when muxd is away, somebody who has 5 ms wants to
	 * know now. The last fifth is kept for leaving, see muxc_free() below.
	 */
	options.flags = MUXC_LOOP | MUXC_NO_RECONNECT;
	options.connect_timeout_usec = budget_usec;
	options.linger_usec = budget_usec / 5;
	return muxc_connect(&options, ret, error);
}

/*
 * 0: it ended, as *ret_kind says. 1: it was handed over, but did not end in
 * time. Negative: it was not published.
 */
static int publish(struct muxc_channel *channel, const struct muxc_publication *publication,
		   uint64_t until_usec, int *ret_kind, struct muxc_error *error)
{
	uint64_t number;
	int r;

	/* This waits only if muxd lets us send no more at the moment. */
	r = muxc_publish_full(channel, publication, left_until(until_usec), &number, error);
	if (r < 0)
		return r;
	r = muxc_wait_outcome(channel, number, left_until(until_usec), ret_kind, error);
	return r < 0 ? 1 : 0;
}

static int publish_text(struct muxc *c, const char *queue, const char *text, uint64_t until_usec,
			int *ret_kind, struct muxc_error *error)
{
	struct muxc_publication publication = {.size = sizeof(publication), .routing_key = queue};
	struct muxc_channel *channel = NULL;
	struct muxc_message *message = NULL;
	int r;

	r = muxc_channel_open(c, NULL, &channel);
	if (r == 0)
		r = muxc_message_new(&message);
	if (r == 0)
		r = muxc_message_set_number(message, MUXC_DELIVERY_MODE, 2); /* persistent */
	if (r == 0) {
		publication.message = message;
		publication.body = text;
		publication.body_len = strlen(text);
		publication.flags = MUXC_MANDATORY; /* no queue: we want to know */
		r = publish(channel, &publication, until_usec, ret_kind, error);
	} else {
		snprintf(error->text, sizeof(error->text), "%s", strerror(-r));
	}
	muxc_message_unref(message);
	muxc_channel_free(channel);
	return r;
}

int main(int argc, char **argv)
{
	uint64_t began_usec = now_usec(), budget_usec;
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc *c = NULL;
	int r, kind = 0;
	double msec;

	budget_usec = (argc > 3 ? strtoull(argv[3], NULL, 10) : BUDGET_MSEC) * 1000;
	if (argc < 3 || argc > 4 || budget_usec == 0) {
		fprintf(stderr, "usage: web-publish QUEUE TEXT [MILLISECONDS]\n");
		return 2;
	}
	r = connect_within(budget_usec, &c, &error);
	if (r == 0)
		r = publish_text(c, argv[1], argv[2], began_usec + budget_usec - budget_usec / 5, &kind,
				 &error);
	/* What muxd has not got yet is handed over here, within linger_usec; seldom is there any. */
	muxc_free(c);
	msec = (double)(now_usec() - began_usec) / 1000;
	if (r == 0 && kind == MUXC_CONFIRMED) {
		printf("confirmed in %.2f ms\n", msec);
		return 0;
	}
	/* MUXC_UNKNOWN: muxd went away with it; it may have been published. */
	if (r == 1 || (r == 0 && kind == MUXC_UNKNOWN)) {
		printf("queued in %.2f ms, not confirmed yet\n", msec);
		return 3;
	}
	printf("refused in %.2f ms: %s\n", msec,
	       kind == MUXC_RETURNED ? "there is no such queue" : error.text);
	return 1;
}
