/*
 * publish: one message, or one for each line of stdin.
 *
 * Lines are pipelined: what has been read is published at once, and outcomes
 * are looked at between two reads, never waited for until the end. A
 * publish's number on the channel is the number of its line.
 */
#include "client/tool/post.h"
#include "client/tool/print.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINES_TOLD_MAX 10 /* failures that are told one by one */
#define CHUNK_BYTES ((size_t)65536)
#define LINE_BYTES_MAX ((size_t)128 * 1024 * 1024)

struct publishing {
	struct ctl *ctl;
	struct post post;
	unsigned int flags;
	bool lines;
	char line_end;
	bool was_returned; /* the single message; told */
	unsigned int told;
	uint64_t dropped; /* failures that were not told */
	int first_code;	  /* of the first failure; CTL_DONE: none */
};

/* What stdin has given and is not published yet: data[start .. len). */
struct input {
	char *data;
	size_t start;
	size_t len;
	size_t capacity;
	bool at_end;
};

/* ---------------------------------------------------------------- failures */

static const char *outcome_words(int kind)
{
	switch (kind) {
	case MUXC_RETURNED:
		return "it went to no queue";
	case MUXC_NACKED:
		return "the broker has refused it";
	case MUXC_FAILED:
		return "not published";
	default:
		return "outcome unknown, it may be at the broker or not";
	}
}

static void tell_lines(struct publishing *p, uint64_t first, uint64_t last, int kind,
		       const struct muxc_error *error)
{
	char code[32] = "", range[64];

	if (p->first_code == CTL_DONE)
		p->first_code = ctl_code_of(p->ctl, error);
	if (p->told >= LINES_TOLD_MAX) {
		p->dropped += last - first + 1;
		return;
	}
	p->told++;
	(void)snprintf(range, sizeof(range),
		       first == last ? "line %" PRIu64 : "lines %" PRIu64 " to %" PRIu64, first, last);
	if (error->code)
		(void)snprintf(code, sizeof(code), " (AMQP %u)", error->code);
	ctl_say(p->ctl, "%s: %s%s%s%s", range, outcome_words(kind), code, error->text[0] ? ": " : "",
		error->text);
}

static void on_outcome(struct muxc_channel *channel, const struct muxc_outcome *outcome, void *userdata)
{
	struct publishing *p = userdata;

	if (p->lines && outcome->kind != MUXC_CONFIRMED && outcome->kind != MUXC_RETURNED)
		tell_lines(p, outcome->first, outcome->last, outcome->kind, outcome->error);
}

static void on_return(struct muxc_channel *channel, struct muxc_message *message,
		      const struct muxc_error *error, void *userdata)
{
	uint64_t number = muxc_message_get_publish_number(message);
	struct publishing *p = userdata;
	struct muxc_error copy = *error;

	copy.kind = MUXC_ERROR_BROKER;
	copy.error = -EREMOTEIO;
	if (p->lines)
		tell_lines(p, number, number, MUXC_RETURNED, &copy);
	else
		(void)ctl_fail(p->ctl, outcome_words(MUXC_RETURNED), &copy);
	p->was_returned = true;
}

/* Calls the handlers of what has come. */
static void settle_handlers(struct ctl *ctl)
{
	while (muxc_process(ctl->c) > 0)
		;
}

/* How long for an outcome: muxd keeps the deadline, and is given time to say so. */
static uint64_t outcome_wait(const struct ctl *ctl)
{
	uint64_t left = ctl_timeout(ctl);

	return (left ? left : CTL_DEFAULT_TIMEOUT_USEC) + CTL_GRACE_USEC;
}

/* ------------------------------------------------------------- one message */

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
	if (!error->text[0])
		(void)snprintf(error->text, sizeof(error->text), "no reason was given");
	return ctl_fail(ctl, outcome_words(kind), error);
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
	settle_handlers(ctl);
	return finish_one(p, kind, &error);
}

/* ------------------------------------------------------------------- lines */

static bool publish_line(struct publishing *p, const char *line, size_t len)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_totals totals = {.size = sizeof(totals)};

	if (post_publish(p->ctl, &p->post, line, len, p->flags | MUXC_MORE, NULL, &error) == 0)
		return true;
	(void)muxc_channel_get_totals(p->ctl->channel, &totals);
	/* What is known of the earlier lines comes first: it may be the cause. */
	settle_handlers(p->ctl);
	tell_lines(p, totals.published + 1, totals.published + 1, MUXC_FAILED, &error);
	ctl_say(p->ctl, "stopped; no line from %" PRIu64 " on was published", totals.published + 1);
	return false;
}

/* Publishes every whole line. False: one could not be; told. */
static bool publish_lines(struct publishing *p, struct input *input)
{
	char *end;

	while (input->start < input->len) {
		end = memchr(input->data + input->start, p->line_end, input->len - input->start);
		if (!end && !input->at_end)
			break;
		if (!end)
			end = input->data + input->len;
		if (!publish_line(p, input->data + input->start, (size_t)(end - input->data) - input->start))
			return false;
		input->start = (size_t)(end - input->data) + 1;
	}
	if (input->start > input->len)
		input->start = input->len;
	memmove(input->data, input->data + input->start, input->len - input->start);
	input->len -= input->start;
	input->start = 0;
	return true;
}

/* One read. False: told. */
static bool input_read(struct ctl *ctl, struct input *input)
{
	char *grown;
	ssize_t n;

	if (input->capacity - input->len < CHUNK_BYTES) {
		input->capacity = (input->len + CHUNK_BYTES) * 2;
		grown = input->len <= LINE_BYTES_MAX ? realloc(input->data, input->capacity) : NULL;
		if (!grown) {
			(void)ctl_fail_errno(ctl, "a line of stdin",
					     input->len > LINE_BYTES_MAX ? EFBIG : ENOMEM);
			return false;
		}
		input->data = grown;
	}
	n = read(STDIN_FILENO, input->data + input->len, CHUNK_BYTES);
	if (n < 0 && errno != EINTR && errno != EAGAIN) {
		(void)ctl_fail_errno(ctl, "cannot read stdin", errno);
		return false;
	}
	input->at_end = n == 0;
	if (n > 0)
		input->len += (size_t)n;
	return true;
}

/* Milliseconds for poll(). */
static int poll_timeout(const struct ctl *ctl)
{
	uint64_t until, now = now_usec();

	if (muxc_get_timeout(ctl->c, &until) < 0)
		return 0;
	if (ctl->deadline_usec < until)
		until = ctl->deadline_usec;
	if (until <= now)
		return 0;
	return until - now > 1000000000u ? 1000000 : (int)((until - now + 999) / 1000);
}

/* Reads and publishes to the end of stdin. False: stopped before; told. */
static bool pump(struct publishing *p, struct input *input)
{
	struct ctl *ctl = p->ctl;
	struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = muxc_get_fd(ctl->c)}};
	struct muxc_error error = MUXC_ERROR_INIT;

	while (!input->at_end) {
		fds[1].events = (short)muxc_get_events(ctl->c);
		if (poll(fds, 2, poll_timeout(ctl)) < 0 && errno != EINTR)
			return ctl_fail_errno(ctl, "poll", errno) == CTL_DONE;
		if (muxc_process(ctl->c) < 0) {
			(void)muxc_get_error(ctl->c, &error);
			return ctl_fail(ctl, NULL, &error) == CTL_DONE;
		}
		if (ctl_is_late(ctl)) {
			error.kind = MUXC_ERROR_LIBRARY;
			error.error = -ETIMEDOUT;
			return ctl_fail(ctl, "stdin has not ended", &error) == CTL_DONE;
		}
		if (!fds[0].revents)
			continue;
		if (!input_read(ctl, input) || !publish_lines(p, input))
			return false;
		(void)muxc_flush(ctl->c);
	}
	return true;
}

static int lines_json(struct ctl *ctl, const struct muxc_totals *totals)
{
	return print_json(ctl,
			  json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "published",
				    (json_int_t)totals->published, "confirmed", (json_int_t)totals->confirmed,
				    "returned", (json_int_t)totals->returned, "nacked",
				    (json_int_t)totals->nacked, "failed", (json_int_t)totals->failed,
				    "unknown", (json_int_t)totals->unknown),
			  JSON_COMPACT);
}

static int publish_stdin(struct publishing *p)
{
	struct muxc_totals totals = {.size = sizeof(totals)};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct input input = {0};
	struct ctl *ctl = p->ctl;
	int r;

	if (!pump(p, &input) && p->first_code == CTL_DONE)
		p->first_code = ctl->exit_code;
	free(input.data);
	r = muxc_wait_all(ctl->channel, outcome_wait(ctl), &totals, &error);
	settle_handlers(ctl);
	if (r < 0) {
		(void)muxc_channel_get_totals(ctl->channel, &totals);
		if (p->first_code == CTL_DONE)
			p->first_code = ctl_fail(ctl, "outcomes are missing", &error);
	}
	if (p->dropped)
		ctl_say(ctl, "and %" PRIu64 " more", p->dropped);
	if (p->first_code != CTL_DONE)
		ctl_say(ctl, "%" PRIu64 " of %" PRIu64 " messages were confirmed", totals.confirmed,
			totals.published);
	r = ctl->json ? lines_json(ctl, &totals) : CTL_DONE;
	return p->first_code != CTL_DONE ? p->first_code : r;
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
	    .size = sizeof(options), .on_outcome = on_outcome, .on_return = on_return, .userdata = p};
	int r;

	r = ctl_open(p->ctl, NULL, &options);
	if (r != CTL_DONE)
		return r;
	if (p->lines)
		return publish_stdin(p);
	return post_read_body(p->ctl, &p->post, argc, argv) ? publish_one(p) : p->ctl->exit_code;
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
