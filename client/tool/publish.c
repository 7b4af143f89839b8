/*
 * publish: one message; with -l see lines.c.
 */
#include "client/tool/lines.h"
#include "client/tool/print.h"

#include <errno.h>
#include <stdio.h>

struct publishing {
	struct ctl *ctl;
	struct post post;
	unsigned int flags;
	bool lines;
	char line_end;
	bool was_returned; /* told */
};

static void on_return(struct muxc_channel *channel, struct muxc_message *message,
		      const struct muxc_error *error, void *userdata)
{
	struct publishing *p = userdata;
	struct muxc_error copy = *error;

	copy.kind = MUXC_ERROR_BROKER;
	copy.error = -EREMOTEIO;
	(void)ctl_fail(p->ctl, post_outcome_words(MUXC_RETURNED), &copy);
	p->was_returned = true;
}

/* How long for an outcome: muxd keeps the deadline, and is given time to say so. */
static uint64_t outcome_wait(const struct ctl *ctl)
{
	uint64_t left = ctl_timeout(ctl);

	return (left ? left : CTL_DEFAULT_TIMEOUT_USEC) + CTL_GRACE_USEC;
}

static int finish_one(struct publishing *p, int kind, struct muxc_error *error)
{
	struct ctl *ctl = p->ctl;
	int r;

	if (ctl->json) {
		r = print_json(ctl, json_pack("{s:s}", "outcome", muxc_outcome_name(kind)), JSON_COMPACT);
		if (r != CTL_DONE)
			return r;
	}
	if (kind == MUXC_CONFIRMED)
		return CTL_DONE;
	if (p->was_returned)
		return CTL_FAILED;
	if (error->error == 0)
		error->error = -EREMOTEIO;
	/* It was the only one on its channel, so what closed the channel was about it. */
	if (kind == MUXC_UNKNOWN && error->kind == MUXC_ERROR_BROKER && error->code < 500)
		kind = MUXC_FAILED;
	/* Who was not let in has published nothing. */
	if (kind == MUXC_UNKNOWN && error->kind == MUXC_ERROR_MUXD && muxc_get_session(ctl->c) == 0)
		kind = MUXC_FAILED;
	if (!error->text[0])
		(void)snprintf(error->text, sizeof(error->text), "no reason was given");
	return ctl_fail(ctl, post_outcome_words(kind), error);
}

static int publish_one(struct publishing *p)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct ctl *ctl = p->ctl;
	uint64_t number;
	int kind;

	if (post_publish(ctl, &p->post, p->post.body, p->post.body_len, p->flags, &number, &error) < 0)
		return ctl_fail(ctl, NULL, &error);
	if (muxc_wait_outcome(ctl->channel, number, outcome_wait(ctl), &kind, &error) < 0)
		return ctl_fail(ctl, "no outcome", &error);
	while (muxc_process(ctl->c) > 0)
		;
	return finish_one(p, kind, &error);
}

/* ----------------------------------------------------------------- command */

static bool read_options(struct publishing *p, int argc, char **argv)
{
	static const struct option longs[] = {POST_LONGS,
					      {"mandatory", no_argument, NULL, 'm'},
					      {"lines", no_argument, NULL, 'l'},
					      {"null", no_argument, NULL, '0'},
					      {0}};
	int letter;

	while ((letter = option_next(p->ctl, argc, argv, POST_SHORTS "ml0", longs)) != OPTION_END) {
		if (letter == OPTION_STOP)
			return false;
		if (letter == 'm')
			p->flags |= MUXC_MANDATORY;
		else if (letter == 'l')
			p->lines = true;
		else if (letter == '0')
			p->line_end = '\0';
		else if (!post_option(p->ctl, &p->post, letter))
			return false;
	}
	if (argc - optind > (p->lines ? 0 : 1)) {
		(void)ctl_usage(p->ctl,
				p->lines ? "with -l the messages come from stdin, '%s' is too much"
					 : "one message at a time: '%s' is too much",
				argv[argc - 1]);
		return false;
	}
	return post_finish(p->ctl, &p->post);
}

static int run(struct publishing *p, int argc, char **argv)
{
	struct muxc_channel_options options = {
	    .size = sizeof(options), .on_return = on_return, .userdata = p};
	struct ctl *ctl = p->ctl;
	int r;

	if (p->lines)
		return lines_publish(ctl, &p->post, p->flags, p->line_end);
	/* First, so that a muxd that is restarted while stdin is open does no harm. */
	if (!post_read_body(ctl, &p->post, argc, argv))
		return ctl->exit_code;
	r = ctl_open(ctl, &options);
	return r == CTL_DONE ? publish_one(p) : r;
}

int cmd_publish(struct ctl *ctl, int argc, char **argv)
{
	struct publishing p = {.ctl = ctl, .line_end = '\n'};
	int r = CTL_FAILED;

	if (post_init(ctl, &p.post))
		r = read_options(&p, argc, argv) ? run(&p, argc, argv) : ctl->exit_code;
	ctl_close(ctl); /* before what its handlers use goes */
	post_deinit(&p.post);
	return r;
}
