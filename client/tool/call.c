/*
 * call: a request and its reply over direct reply-to. The consumer of the
 * pseudo queue and the publish must be on one channel; whatever comes to it is
 * the reply, as its address was made for this request.
 */
#include "client/tool/post.h"
#include "client/tool/print.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

#define REPLY_TO "amq.rabbitmq.reply-to"

struct calling {
	struct ctl *ctl;
	struct post post;
	struct muxc_message *reply; /* owned */
	bool confirmed;		    /* the broker has it: muxd will not send it again */
	bool failed;		    /* told */
};

static void fail(struct calling *calling, const char *what, const struct muxc_error *error)
{
	struct muxc_error copy = *error;

	if (calling->failed)
		return;
	if (copy.error == 0)
		copy.error = -EREMOTEIO;
	calling->failed = true;
	(void)ctl_fail(calling->ctl, what, &copy);
}

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct calling *calling = userdata;

	if (!calling->reply)
		calling->reply = muxc_message_ref(message);
}

static void on_outcome(struct muxc_channel *channel, const struct muxc_outcome *outcome, void *userdata)
{
	struct calling *calling = userdata;

	calling->confirmed = outcome->kind == MUXC_CONFIRMED;
	if (outcome->kind != MUXC_CONFIRMED && outcome->kind != MUXC_RETURNED)
		fail(calling, "the request was not published", outcome->error);
}

static void on_interrupted(struct muxc_channel *channel, uint32_t consumer, const char *text, void *userdata)
{
	struct calling *calling = userdata;
	struct muxc_error error = MUXC_ERROR_INIT;

	if (!calling->confirmed || calling->reply)
		return;
	error.kind = MUXC_ERROR_MUXD;
	error.retryable = 1;
	(void)snprintf(error.text, sizeof(error.text), "%s", text);
	fail(calling, "the reply cannot come", &error);
}

static void on_return(struct muxc_channel *channel, struct muxc_message *message,
		      const struct muxc_error *error, void *userdata)
{
	struct muxc_error copy = *error;

	copy.kind = MUXC_ERROR_BROKER;
	fail(userdata, "nobody takes the request", &copy);
}

static void on_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	fail(userdata, NULL, error);
}

/* A server may want one to answer at all. */
static bool set_correlation(struct calling *calling)
{
	unsigned char bytes[8];
	char text[2 * sizeof(bytes) + 1];
	size_t i;

	if (muxc_message_get_text(calling->post.message, MUXC_CORRELATION_ID, NULL))
		return true;
	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return ctl_fail_errno(calling->ctl, "getrandom", errno) == CTL_DONE;
	for (i = 0; i < sizeof(bytes); i++)
		(void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return muxc_message_set_text(calling->post.message, MUXC_CORRELATION_ID, text, MUXC_STRLEN) == 0;
}

static int wait_reply(struct calling *calling)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct ctl *ctl = calling->ctl;

	while (!calling->reply && !calling->failed) {
		if (ctl_is_late(ctl)) {
			error.kind = MUXC_ERROR_LIBRARY;
			error.error = -ETIMEDOUT;
			(void)snprintf(error.text, sizeof(error.text), "no reply has come in time");
			return ctl_fail(ctl, NULL, &error);
		}
		(void)muxc_wait(ctl->c, ctl_timeout(ctl));
		if (muxc_process(ctl->c) < 0) {
			(void)muxc_get_error(ctl->c, &error);
			fail(calling, NULL, &error);
		}
	}
	if (!calling->reply)
		return ctl->exit_code;
	return print_message(ctl, &(struct print_style){.single = true}, calling->reply) ? CTL_DONE
											 : ctl->exit_code;
}

static int run(struct calling *calling)
{
	struct ctl *ctl = calling->ctl;
	struct muxc_channel_options options = {.size = sizeof(options),
					       .on_outcome = on_outcome,
					       .on_return = on_return,
					       .on_closed = on_closed,
					       .userdata = calling};
	struct muxc_consumer_options consumer = {.size = sizeof(consumer),
						 .queue = REPLY_TO,
						 .flags = MUXC_NO_ACK,
						 .on_message = on_message,
						 .on_interrupted = on_interrupted,
						 .userdata = calling};
	struct muxc_error error = MUXC_ERROR_INIT;
	int r;

	if (!ctl->timeout_usec)
		ctl->timeout_usec = CTL_DEFAULT_TIMEOUT_USEC;
	r = ctl_open(ctl, &options);
	if (r != CTL_DONE)
		return r;
	if (muxc_consume(ctl->channel, &consumer, NULL, ctl_timeout(ctl), &error) < 0)
		return ctl_fail(ctl, "cannot wait for a reply", &error);
	if (post_publish(ctl, &calling->post, calling->post.body, calling->post.body_len, MUXC_MANDATORY,
			 NULL, &error) < 0)
		return ctl_fail(ctl, NULL, &error);
	return wait_reply(calling);
}

static bool read_options(struct calling *calling, int argc, char **argv)
{
	static const struct option longs[] = {POST_LONGS, {0}};
	struct ctl *ctl = calling->ctl;
	int letter;

	while ((letter = option_next(ctl, argc, argv, POST_SHORTS, longs)) != OPTION_END) {
		if (letter == OPTION_STOP || !post_option(ctl, &calling->post, letter))
			return false;
	}
	if (!calling->post.routing_key || argc - optind > 1) {
		(void)ctl_usage(ctl,
				calling->post.routing_key ? "one message at a time" : "-r KEY is missing");
		return false;
	}
	return post_finish(ctl, &calling->post) && set_correlation(calling) &&
	       muxc_message_set_text(calling->post.message, MUXC_REPLY_TO, REPLY_TO, MUXC_STRLEN) == 0 &&
	       post_read_body(ctl, &calling->post, argc, argv);
}

int cmd_call(struct ctl *ctl, int argc, char **argv)
{
	struct calling calling = {.ctl = ctl};
	int r = CTL_FAILED;

	if (post_init(ctl, &calling.post))
		r = read_options(&calling, argc, argv) ? run(&calling) : ctl->exit_code;
	ctl_close(ctl); /* before what its handlers use goes */
	calling.reply = muxc_message_unref(calling.reply);
	post_deinit(&calling.post);
	return r;
}
