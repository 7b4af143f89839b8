/*
 * publish -l: lines are pipelined. What has been read is published at once, and
 * outcomes are looked at between two reads; those that are left are waited for
 * at the end. A publish's number on the channel is the number of its line.
 *
 * Nothing here waits but for poll(), so that a muxd that is lost is noticed and
 * told at once, whatever goes on. While it is away, or gives no credit, stdin
 * is not read: who writes waits. The library sends again what had no outcome.
 */
#include "client/tool/lines.h"
#include "client/tool/print.h"
#include "client/tool/signals.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOLD_MAX 10 /* failures that are told one by one */
#define CHUNK_BYTES ((size_t)65536)
#define LINE_BYTES_MAX ((size_t)128 * 1024 * 1024)

/* What stdin has given and is not published yet: data[start .. len). */
struct input {
	char *data;
	size_t start;
	size_t len;
	size_t capacity;
	bool at_end;
};

struct lines {
	struct ctl *ctl;
	const struct post *post;
	unsigned int flags;
	char line_end;
	struct input input;
	int signal_fd;
	uint64_t
	    stuck_usec; /* when the next line gives up to wait for credit; UINT64_MAX: it does not wait */
	unsigned int told;
	uint64_t dropped; /* failures that were not told */
	int first_code;	  /* of the first failure; CTL_DONE: none */
};

/* ---------------------------------------------------------------- failures */

static void note(struct lines *lines, int code)
{
	if (lines->first_code == CTL_DONE)
		lines->first_code = code;
}

static void tell(struct lines *lines, uint64_t first, uint64_t last, int kind, const struct muxc_error *error)
{
	char code[32] = "", range[64];

	note(lines, ctl_code_of(lines->ctl, error));
	if (lines->told >= TOLD_MAX) {
		lines->dropped += last - first + 1;
		return;
	}
	lines->told++;
	(void)snprintf(range, sizeof(range),
		       first == last ? "line %" PRIu64 : "lines %" PRIu64 " to %" PRIu64, first, last);
	if (error->code)
		(void)snprintf(code, sizeof(code), " (AMQP %u)", error->code);
	ctl_say(lines->ctl, "%s: %s%s%s%s", range, post_outcome_words(kind), code, error->text[0] ? ": " : "",
		error->text);
}

static void on_outcome(struct muxc_channel *channel, const struct muxc_outcome *outcome, void *userdata)
{
	if (outcome->kind != MUXC_CONFIRMED && outcome->kind != MUXC_RETURNED)
		tell(userdata, outcome->first, outcome->last, outcome->kind, outcome->error);
}

static void on_return(struct muxc_channel *channel, struct muxc_message *message,
		      const struct muxc_error *error, void *userdata)
{
	uint64_t number = muxc_message_get_publish_number(message);
	struct muxc_error copy = *error;

	copy.kind = MUXC_ERROR_BROKER;
	copy.error = -EREMOTEIO;
	tell(userdata, number, number, MUXC_RETURNED, &copy);
}

static struct muxc_totals totals_of(const struct lines *lines)
{
	struct muxc_totals totals = {.size = sizeof(totals)};

	(void)muxc_channel_get_totals(lines->ctl->channel, &totals);
	return totals;
}

static uint64_t outstanding(const struct muxc_totals *totals)
{
	return totals->published - totals->confirmed - totals->returned - totals->nacked - totals->failed -
	       totals->unknown;
}

/* ------------------------------------------------------------------- stdin */

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

/* The end of the line that begins at start; NULL: it has none yet. */
static char *line_end(const struct lines *lines)
{
	const struct input *input = &lines->input;
	char *end = memchr(input->data + input->start, lines->line_end, input->len - input->start);

	return end || !input->at_end ? end : input->data + input->len;
}

static void input_compact(struct input *input)
{
	if (input->start > input->len)
		input->start = input->len;
	if (input->start > 0)
		memmove(input->data, input->data + input->start, input->len - input->start);
	input->len -= input->start;
	input->start = 0;
}

/* -------------------------------------------------------------- publishing */

static bool stop(struct lines *lines, const struct muxc_error *error)
{
	struct ctl *ctl = lines->ctl;
	uint64_t next = totals_of(lines).published + 1;

	/* What is known of the earlier lines comes first: it may be the cause. */
	while (muxc_process(ctl->c) > 0)
		;
	tell(lines, next, next, MUXC_FAILED, error);
	ctl_say(ctl, "stopped; no line from %" PRIu64 " on was published", next);
	return false;
}

/* There is no credit. False: it has been waited for long enough; told. */
static bool is_patient(struct lines *lines, struct muxc_error *error)
{
	uint64_t now = now_usec();

	/* Who waits for muxd has a limit only by --timeout. */
	if (lines->stuck_usec == UINT64_MAX || lines->ctl->away)
		lines->stuck_usec = now + CTL_OUTCOME_USEC;
	if (now < lines->stuck_usec)
		return true;
	error->error = -ETIMEDOUT;
	(void)snprintf(error->text, sizeof(error->text), "muxd has taken no line for %u seconds",
		       CTL_OUTCOME_USEC / 1000000);
	return stop(lines, error);
}

/* Publishes the whole lines there are, as long as muxd takes them. False: one could not be; told. */
static bool publish_there_are(struct lines *lines)
{
	struct input *input = &lines->input;
	struct muxc_error error = MUXC_ERROR_INIT;
	bool is_taken = true;
	char *end;
	int r;

	while (is_taken && input->start < input->len && (end = line_end(lines))) {
		const char *line = input->data + input->start;

		r = post_publish(lines->ctl, lines->post, line, (size_t)(end - line),
				 lines->flags | MUXC_MORE | MUXC_NONBLOCK, NULL, &error);
		if (r < 0 && r != -EAGAIN)
			return stop(lines, &error);
		is_taken = r == 0;
		if (is_taken)
			input->start += (size_t)(end - line) + 1;
	}
	input_compact(input);
	(void)muxc_flush(lines->ctl->c);
	if (!is_taken)
		return is_patient(lines, &error);
	lines->stuck_usec = UINT64_MAX;
	return true;
}

/* -------------------------------------------------------------------- loop */

/*
 * Waits for muxd, for stdin if it is wanted, and for a signal; calls the handlers. What
 * stdin has is in *ret_readable. False: it is over; told, but for a signal.
 */
static bool turn(struct lines *lines, bool wants_input, uint64_t until_usec, bool *ret_readable)
{
	struct ctl *ctl = lines->ctl;
	struct pollfd fds[3] = {{.fd = wants_input ? STDIN_FILENO : -1, .events = POLLIN},
				{.fd = lines->signal_fd, .events = POLLIN},
				{.fd = muxc_get_fd(ctl->c), .events = (short)muxc_get_events(ctl->c)}};
	struct muxc_error error = MUXC_ERROR_INIT;

	if (poll(fds, 3, ctl_poll_timeout(ctl, until_usec)) < 0) {
		if (errno != EINTR)
			return ctl_fail_errno(ctl, "poll", errno) == CTL_DONE;
		fds[0].revents = 0;
	}
	*ret_readable = fds[0].revents != 0;
	if (muxc_process(ctl->c) < 0) {
		(void)muxc_get_error(ctl->c, &error);
		return ctl_fail(ctl, NULL, &error) == CTL_DONE;
	}
	if (lines->signal_fd >= 0)
		ctl->ended_by = signals_read(lines->signal_fd);
	return !ctl->ended_by;
}

static bool fail_late(struct lines *lines, const char *what)
{
	struct muxc_error error = MUXC_ERROR_INIT;

	error.kind = MUXC_ERROR_LIBRARY;
	error.error = -ETIMEDOUT;
	(void)ctl_fail(lines->ctl, what, &error);
	return false;
}

/* Reads and publishes to the end of stdin. False: stopped before; told, but for a signal. */
static bool pump(struct lines *lines)
{
	struct ctl *ctl = lines->ctl;
	bool readable, is_stuck;
	uint64_t until;

	while (!lines->input.at_end || lines->input.len > 0) {
		is_stuck = lines->stuck_usec != UINT64_MAX;
		until = lines->stuck_usec < ctl->deadline_usec ? lines->stuck_usec : ctl->deadline_usec;
		if (!turn(lines, !ctl->away && !is_stuck && !lines->input.at_end, until, &readable))
			return false;
		if (ctl_is_late(ctl))
			return fail_late(lines, is_stuck ? "muxd takes no more" : "stdin has not ended");
		if (readable && !input_read(ctl, &lines->input))
			return false;
		if ((readable || is_stuck) && !publish_there_are(lines))
			return false;
	}
	return true;
}

/* Waits for the outcomes that are left. False: it was not to wait so long; told. */
static bool await_outcomes(struct lines *lines)
{
	struct ctl *ctl = lines->ctl;
	struct muxc_totals totals = totals_of(lines);
	uint64_t left = ctl_timeout(ctl), until;
	bool readable;

	/* muxd keeps the deadline of each, and is given time to say so. */
	if (ctl->ended_by)
		left = left && left < CTL_DEFAULT_TIMEOUT_USEC ? left : CTL_DEFAULT_TIMEOUT_USEC;
	until = now_usec() + (left ? left : CTL_OUTCOME_USEC) + CTL_GRACE_USEC;
	while (outstanding(&totals) > 0) {
		if (!turn(lines, false, until, &readable) && !ctl->ended_by)
			return false;
		totals = totals_of(lines);
		if (outstanding(&totals) > 0 && now_usec() >= until)
			return fail_late(lines, "outcomes are missing");
	}
	while (muxc_process(ctl->c) > 0)
		;
	return true;
}

/* ------------------------------------------------------------------ report */

static int print_totals(struct ctl *ctl, const struct muxc_totals *totals)
{
	return print_json(
	    ctl,
	    json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "published", (json_int_t)totals->published,
		      "confirmed", (json_int_t)totals->confirmed, "returned", (json_int_t)totals->returned,
		      "nacked", (json_int_t)totals->nacked, "failed", (json_int_t)totals->failed, "unknown",
		      (json_int_t)totals->unknown, "resent", (json_int_t)ctl->resent),
	    JSON_COMPACT);
}

static int report(struct lines *lines)
{
	struct ctl *ctl = lines->ctl;
	struct muxc_totals totals = totals_of(lines);
	int r;

	if (lines->dropped)
		ctl_say(ctl, "and %" PRIu64 " more", lines->dropped);
	if (ctl->ended_by)
		ctl_say(ctl, "%s: line %" PRIu64 " is the last that was published", strsignal(ctl->ended_by),
			totals.published);
	if (lines->first_code != CTL_DONE)
		ctl_say(ctl, "%" PRIu64 " of %" PRIu64 " messages were confirmed", totals.confirmed,
			totals.published);
	r = ctl->json ? print_totals(ctl, &totals) : CTL_DONE;
	return lines->first_code != CTL_DONE ? lines->first_code : r;
}

static int run(struct lines *lines)
{
	struct muxc_channel_options options = {
	    .size = sizeof(options), .on_outcome = on_outcome, .on_return = on_return, .userdata = lines};
	struct ctl *ctl = lines->ctl;
	int r;

	ctl->keeps_on = true;
	r = ctl_open(ctl, &options);
	if (r != CTL_DONE)
		return r;
	lines->signal_fd = signals_open(ctl, false);
	if (lines->signal_fd < 0)
		return ctl->exit_code;
	if (!pump(lines) && !ctl->ended_by)
		note(lines, ctl->exit_code);
	/* A second signal does not wait. */
	signals_close(lines->signal_fd);
	lines->signal_fd = -1;
	if (!await_outcomes(lines))
		note(lines, ctl->exit_code);
	return report(lines);
}

int lines_publish(struct ctl *ctl, const struct post *post, unsigned int flags, char line_end)
{
	struct lines lines = {.ctl = ctl,
			      .post = post,
			      .flags = flags,
			      .line_end = line_end,
			      .signal_fd = -1,
			      .stuck_usec = UINT64_MAX};
	int r = run(&lines);

	ctl_close(ctl); /* before what its handlers use goes */
	free(lines.input.data);
	return r;
}
