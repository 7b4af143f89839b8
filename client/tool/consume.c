/*
 * consume: messages as they come, to stdout or to a command each.
 *
 * Handlers only collect; the loop in consume() shows one message or runs one
 * command at a time and settles. It goes on reading muxd's socket while a
 * command runs. Signals come by a descriptor: after the first SIGINT or
 * SIGTERM the message at hand is finished and the rest goes back to the queue;
 * a second one is handed on to the command.
 *
 * When muxd is lost, what has come is dropped: it comes again from the next
 * one, which the library finds. So does the message at hand, which does not count then.
 */
#include "client/tool/option.h"
#include "client/tool/print.h"
#include "client/tool/run.h"
#include "client/tool/signals.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define PREFETCH_DEFAULT 256u
#define PREFETCH_MAX 65535u

struct item {
	struct item *next;
	struct muxc_message *message; /* one reference */
	uint64_t sessions;	      /* of ctl, when it came */
};

struct consuming {
	struct ctl *ctl;
	struct print_style style;
	const char *queue;
	uint64_t count; /* 0: without end */
	uint64_t prefetch;
	bool exclusive;
	char **command; /* NULL: to stdout */
	uint32_t consumer;
	bool consuming; /* not cancelled */
	uint64_t came;
	uint64_t settled;
	struct item *first;
	struct item *last;
	int signal_fd;
	bool told_to_end; /* by a signal */
	bool over;	  /* nothing more will come: ctl->exit_code says why */
	bool lost;	  /* nor can anything be settled */
	pid_t child;	  /* 0: none runs */
	int child_status;
};

/* ---------------------------------------------------------------- handlers */

static void on_message(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct consuming *c = userdata;
	struct item *item;

	if (c->count && c->came == c->count)
		return; /* goes back when the channel closes */
	item = calloc(1, sizeof(*item));
	if (!item)
		return;
	item->message = muxc_message_ref(message);
	item->sessions = c->ctl->sessions;
	if (c->last)
		c->last->next = item;
	else
		c->first = item;
	c->last = item;
	c->came++;
}

static void on_cancelled(struct muxc_channel *channel, uint32_t consumer, const char *text, void *userdata)
{
	struct consuming *c = userdata;

	ctl_say(c->ctl, "the consumer was ended: %s", text);
	c->ctl->exit_code = CTL_FAILED;
	c->over = true;
	c->consuming = false;
}

static void on_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	struct consuming *c = userdata;

	if (!c->lost)
		(void)ctl_fail(c->ctl, NULL, error);
	c->over = true;
	c->lost = true;
}

static struct muxc_message *item_take(struct consuming *c)
{
	struct item *item = c->first;
	struct muxc_message *message = item->message;

	c->first = item->next;
	if (!c->first)
		c->last = NULL;
	free(item);
	return message;
}

/* What came from a muxd that is gone cannot be settled, and comes again. */
static bool is_stale(const struct consuming *c, uint64_t sessions)
{
	return sessions != c->ctl->sessions || muxc_get_session(c->ctl->c) == 0;
}

static void drop_stale(struct consuming *c)
{
	while (c->first && is_stale(c, c->first->sessions)) {
		(void)muxc_message_unref(item_take(c));
		c->came--;
	}
}

/* ----------------------------------------------------------------- waiting */

static void take_signals(struct consuming *c)
{
	int number;

	while ((number = signals_read(c->signal_fd)) != 0) {
		if (number == SIGCHLD)
			continue;
		if (c->told_to_end && c->child)
			(void)kill(c->child, number);
		c->told_to_end = true;
	}
	if (c->child && waitpid(c->child, &c->child_status, WNOHANG) == c->child)
		c->child = 0;
}

/* Waits for whatever comes next, and calls the handlers. */
static void step(struct consuming *c)
{
	struct pollfd fds[3] = {{.fd = c->signal_fd, .events = POLLIN}, {.fd = -1}, {.fd = -1}};
	struct muxc_error error = MUXC_ERROR_INIT;

	if (!c->lost) {
		fds[1].fd = muxc_get_fd(c->ctl->c);
		fds[1].events = (short)muxc_get_events(c->ctl->c);
	}
	if (!c->command)
		fds[2].fd = STDOUT_FILENO;
	/* A command that runs is not ended by the deadline. */
	(void)poll(fds, 3,
		   c->lost ? -1 : ctl_poll_timeout(c->ctl, c->child ? UINT64_MAX : c->ctl->deadline_usec));
	take_signals(c);
	/* A pipe without a reader: what comes later must stay in the queue. */
	if (fds[2].revents & POLLERR && !c->over) {
		(void)ctl_fail_errno(c->ctl, "cannot write to stdout", EPIPE);
		c->over = true;
	}
	if (c->lost || muxc_process(c->ctl->c) >= 0)
		return;
	if (!c->lost) {
		(void)muxc_get_error(c->ctl->c, &error);
		(void)ctl_fail(c->ctl, NULL, &error);
	}
	c->over = true;
	c->lost = true;
}

/* ------------------------------------------------------------- one message */

static void settle(struct consuming *c, const struct muxc_message *message, int status)
{
	uint64_t tag = muxc_message_get_tag(message);
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

	c->settled++;
	if (c->lost)
		return; /* the broker gives it out again */
	if (code == EXIT_SUCCESS) {
		(void)muxc_ack(c->ctl->channel, tag, 0);
	} else if (code == EX_TEMPFAIL || (code < 0 && c->told_to_end)) {
		/* Who ends muxctl from a terminal ends the command with it; that says nothing of the message.
		 */
		(void)muxc_reject(c->ctl->channel, tag, MUXC_REQUEUE);
	} else {
		if (code < 0)
			ctl_say(c->ctl, "%s was ended by signal %d: the message is rejected", c->command[0],
				WTERMSIG(status));
		else
			ctl_say(c->ctl, "%s has failed (exit %d): the message is rejected", c->command[0],
				code);
		(void)muxc_reject(c->ctl->channel, tag, 0);
	}
}

static void run_command(struct consuming *c, const struct muxc_message *message)
{
	uint64_t sessions = c->ctl->sessions;
	int r;

	r = run_start(c->command, c->queue, message, &c->child);
	if (r < 0) {
		c->child = 0;
		c->over = true;
		ctl_say(c->ctl, "cannot run %s: %s; the message goes back", c->command[0], strerror(-r));
		c->ctl->exit_code = CTL_FAILED;
		return;
	}
	while (c->child)
		step(c);
	if (c->lost || !is_stale(c, sessions))
		settle(c, message, c->child_status);
	else
		c->came--;
}

/* Shows what has come; nothing is acknowledged that stdout has not taken. */
static void show_all(struct consuming *c)
{
	struct item *item;
	uint64_t last = 0;

	for (item = c->first; item; item = item->next) {
		if (!print_message(c->ctl, &c->style, item->message))
			break;
	}
	if (item || ctl_flush(c->ctl) != CTL_DONE) {
		c->over = true;
		return;
	}
	while (c->first) {
		struct muxc_message *message = item_take(c);

		last = muxc_message_get_tag(message);
		c->settled++;
		(void)muxc_message_unref(message);
	}
	if (!c->lost)
		(void)muxc_ack(c->ctl->channel, last, MUXC_UP_TO);
}

static void handle(struct consuming *c)
{
	struct muxc_message *message;

	if (!c->command) {
		show_all(c);
		return;
	}
	message = item_take(c);
	run_command(c, message);
	(void)muxc_message_unref(message);
}

/* -------------------------------------------------------------------- loop */

static int subscribe(struct consuming *c)
{
	struct muxc_consumer_options consumer = {.size = sizeof(consumer),
						 .queue = c->queue,
						 .flags = c->exclusive ? MUXC_CONSUME_EXCLUSIVE : 0,
						 .on_message = on_message,
						 .on_cancelled = on_cancelled,
						 .userdata = c};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct ctl *ctl = c->ctl;

	if (muxc_consume(ctl->channel, &consumer, &c->consumer, ctl_timeout(ctl), &error) < 0) {
		c->over = true;
		return ctl_fail(ctl, NULL, &error);
	}
	c->consuming = true;
	return CTL_DONE;
}

static bool can_ask(const struct consuming *c)
{
	return !c->lost && muxc_get_session(c->ctl->c) != 0;
}

/* Of a question to this muxd; when it is gone everything has ended with it. */
static void fail(struct consuming *c, uint64_t sessions, const char *what, const struct muxc_error *error)
{
	if (c->lost || !is_stale(c, sessions))
		(void)ctl_fail(c->ctl, what, error);
}

static void cancel(struct consuming *c)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	uint64_t sessions = c->ctl->sessions;

	if (!c->consuming || !can_ask(c))
		return;
	c->consuming = false;
	/* Its answer also shows that muxd has read what was settled before. */
	if (muxc_cancel(c->ctl->channel, c->consumer, CTL_GRACE_USEC, &error) < 0)
		fail(c, sessions, "cannot end the consumer", &error);
}

static bool is_done(const struct consuming *c)
{
	return c->told_to_end || c->lost || (c->over && !c->first) || (c->count && c->settled == c->count);
}

/* No more are wanted than are to come, also when some of them are to come again. */
static void want(struct consuming *c)
{
	if (c->count && c->came == c->count)
		cancel(c);
	else if (!c->consuming && !c->over && can_ask(c))
		(void)subscribe(c);
}

static void finish(struct consuming *c)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	uint64_t sessions = c->ctl->sessions;

	cancel(c);
	if (c->settled == 0 || !can_ask(c))
		return;
	if (muxc_ping(c->ctl->c, CTL_GRACE_USEC, &error) < 0)
		fail(c, sessions, "the last messages may come again", &error);
	while (muxc_process(c->ctl->c) > 0)
		;
	if (!c->lost && is_stale(c, sessions))
		ctl_say(c->ctl, "muxd was lost: the last messages may come again");
}

static int consume(struct consuming *c)
{
	struct ctl *ctl = c->ctl;

	while (!is_done(c)) {
		drop_stale(c);
		want(c);
		if (ctl_is_late(ctl)) {
			ctl_say(ctl, "%" PRIu64 " messages have come in time", c->settled);
			ctl->exit_code = CTL_DEADLINE;
			break;
		}
		if (c->first) {
			handle(c);
			if (!c->lost)
				(void)muxc_flush(ctl->c);
			if (c->first && c->over)
				break;
			continue;
		}
		step(c);
	}
	finish(c);
	return ctl->exit_code;
}

static int start(struct consuming *c)
{
	struct muxc_channel_options channel = {
	    .size = sizeof(channel), .on_closed = on_closed, .userdata = c};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct ctl *ctl = c->ctl;
	int r;

	ctl->keeps_on = true;
	r = ctl_open(ctl, &channel);
	if (r != CTL_DONE)
		return r;
	if (muxc_qos(ctl->channel, (uint32_t)c->prefetch, ctl_timeout(ctl), &error) < 0)
		return ctl_fail(ctl, "cannot set the prefetch", &error);
	r = subscribe(c);
	if (r != CTL_DONE)
		return r;
	c->signal_fd = signals_open(ctl, true);
	return c->signal_fd >= 0 ? CTL_DONE : ctl->exit_code;
}

/* ----------------------------------------------------------------- command */

static bool take_option(struct consuming *c, int letter)
{
	switch (letter) {
	case 'n':
		return option_count(c->ctl, "-n", optarg, UINT64_MAX, &c->count);
	case OPTION_OWN:
		return option_count(c->ctl, "--prefetch", optarg, PREFETCH_MAX, &c->prefetch);
	case OPTION_OWN + 1:
		c->exclusive = true;
		return true;
	case OPTION_OWN + 2:
		c->style.raw = true;
		return true;
	default:
		c->style.separator = '\0';
		return true;
	}
}

/* QUEUE, then the command; argc of the options ends at "--". */
static bool read_options(struct consuming *c, int argc, char **argv)
{
	static const struct option longs[] = {{"count", required_argument, NULL, 'n'},
					      {"prefetch", required_argument, NULL, OPTION_OWN},
					      {"exclusive", no_argument, NULL, OPTION_OWN + 1},
					      {"raw", no_argument, NULL, OPTION_OWN + 2},
					      {"null", no_argument, NULL, '0'},
					      {0}};
	int letter, end;

	for (end = 0; end < argc && strcmp(argv[end], "--") != 0; end++)
		;
	while ((letter = option_next(c->ctl, end, argv, "n:0", longs)) != OPTION_END) {
		if (letter == OPTION_STOP || !take_option(c, letter))
			return false;
	}
	if (end - optind != 1 || end + 1 == argc) {
		(void)ctl_usage(c->ctl, end + 1 == argc ? "which command, behind `--`?"
							: "it takes one QUEUE; a command stands behind `--`");
		return false;
	}
	c->queue = argv[optind];
	c->command = end < argc ? argv + end + 1 : NULL;
	if (c->command && c->ctl->json) {
		(void)ctl_usage(c->ctl, "with a command there is nothing to print as JSON");
		return false;
	}
	if (!c->prefetch)
		c->prefetch = c->command ? 1 : PREFETCH_DEFAULT;
	if (c->count && c->count < c->prefetch)
		c->prefetch = c->count;
	return option_name(c->ctl, "name of the queue", c->queue);
}

int cmd_consume(struct ctl *ctl, int argc, char **argv)
{
	struct consuming c = {.ctl = ctl, .style = {.separator = '\n'}, .signal_fd = -1};
	int r;

	if (!read_options(&c, argc, argv))
		return ctl->exit_code;
	r = start(&c);
	if (r == CTL_DONE)
		r = consume(&c);
	ctl_close(ctl); /* before what its handlers use goes */
	while (c.first)
		(void)muxc_message_unref(item_take(&c));
	if (c.signal_fd >= 0)
		(void)close(c.signal_fd);
	return r;
}
