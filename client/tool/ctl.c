/*
 * Failures into words and exit codes, the deadline of a command, and the
 * connection.
 */
#include "client/tool/ctl.h"

#include "client/tool/option.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ------------------------------------------------------------------- words */

/* How many bytes the printable character has that stands here; 0: it is none. */
static size_t printable(const unsigned char *at)
{
	size_t len = *at < 0x80 ? 1 : *at >= 0xf0 ? 4 : *at >= 0xe0 ? 3 : 2, i;

	if (*at < ' ' || (*at >= 0x7f && *at < 0xc2) || *at > 0xf4)
		return 0;
	for (i = 1; i < len; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	}
	/* Some terminals obey the control characters there are beyond ASCII, too. */
	return *at == 0xc2 && at[1] < 0xa0 ? 0 : len;
}

char *ctl_visible(const char *text)
{
	const unsigned char *from = (const unsigned char *)text;
	char *visible = malloc(strlen(text) * 4 + 1), *to = visible;
	size_t len;

	if (!visible)
		return NULL;
	while (*from) {
		len = printable(from);
		if (len == 0)
			to += snprintf(to, 5, "\\x%02x", (unsigned int)*from);
		else
			to = mempcpy(to, from, len);
		from += len ? len : 1;
	}
	*to = '\0';
	return visible;
}

static void __attribute__((format(printf, 2, 0))) say(const struct ctl *ctl, const char *format, va_list args)
{
	char *text = NULL, *visible = NULL;

	(void)fflush(stdout);
	if (vasprintf(&text, format, args) >= 0)
		visible = ctl_visible(text);
	fprintf(stderr, "muxctl: %s%s%s\n", ctl->command ? ctl->command->name : "", ctl->command ? ": " : "",
		visible ? visible : strerror(ENOMEM));
	free(visible);
	free(text);
}

void ctl_say(const struct ctl *ctl, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(ctl, format, args);
	va_end(args);
}

int ctl_usage(struct ctl *ctl, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(ctl, format, args);
	va_end(args);
	return ctl_usage_hint(ctl);
}

int ctl_usage_hint(struct ctl *ctl)
{
	if (ctl->command)
		fprintf(stderr, "usage: muxctl %s%s%s\nTry `muxctl %s --help`.\n", ctl->command->name,
			*ctl->command->synopsis ? " " : "", ctl->command->synopsis, ctl->command->name);
	else
		fputs("Try `muxctl --help`.\n", stderr);
	ctl->exit_code = CTL_USAGE;
	return CTL_USAGE;
}

/* Before muxd's greeting nobody has refused: there is no muxd, or it is stuck. */
static bool is_unreachable(struct ctl *ctl, const struct muxc_error *error)
{
	return error->kind == MUXC_ERROR_LIBRARY && !ctl->greeted &&
	       (!ctl->c || muxc_get_session(ctl->c) == 0) && error->error != -EINVAL &&
	       error->error != -EMSGSIZE && error->error != -ENOMEM;
}

int ctl_code_of(struct ctl *ctl, const struct muxc_error *error)
{
	if (error->kind == MUXC_ERROR_LIBRARY && (error->error == -EINVAL || error->error == -ENAMETOOLONG))
		return CTL_USAGE;
	if (is_unreachable(ctl, error))
		return CTL_UNREACHABLE;
	if (error->error == -ETIMEDOUT || error->code == 408)
		return CTL_DEADLINE;
	return CTL_FAILED;
}

static const char *advice_by_muxd(unsigned int code)
{
	switch (code) {
	case 311:
		return "the limit is message-max in muxd.conf";
	case 320:
		return "the connection to the broker was lost or muxd stops; try again";
	case 403:
		return "see the access sections of muxd.conf";
	case 404:
		return "see `muxctl status` for the upstreams there are, and `muxctl sessions` for the "
		       "sessions";
	case 405:
		return "the queue belongs to another process as long as that lives; see `muxctl sessions`";
	default:
		return NULL;
	}
}

static const char *advice_by_broker(unsigned int code)
{
	switch (code) {
	case 312:
		return "declare and bind a queue for this key, or publish without -m";
	case 403:
		return "the broker's user that muxd logs in as needs the permission";
	case 404:
		return "check the name, or make it first by `muxctl declare`";
	case 405:
		return "the queue is exclusive to another connection of the broker";
	case 406:
		return "what is there differs from what was asked, or is in use; the text says in what";
	default:
		return NULL;
	}
}

static const char *advice(const struct ctl *ctl, int code, const struct muxc_error *error)
{
	const char *text = NULL;

	if (code == CTL_UNREACHABLE && (error->error == -EACCES || error->error == -EPERM))
		return "the socket's mode and group say who may: mostly the members of the group muxd, once "
		       "they "
		       "have logged in again";
	if (code == CTL_UNREACHABLE)
		return "start muxd, or name its socket by -s PATH or MUXD_SOCKET";
	if (code == CTL_DEADLINE && ctl->away)
		return "muxd has not come back; start it";
	if (code == CTL_DEADLINE)
		return "is the broker up (`muxctl status`)? --timeout gives more time";
	if (error->kind == MUXC_ERROR_BROKER && ctl->c &&
	    muxc_get_upstream_state(ctl->c) == MUXC_UPSTREAM_FAILED)
		return "the broker does not let muxd in; see `muxctl status`, and the upstream in muxd.conf";
	if (error->kind == MUXC_ERROR_MUXD)
		text = advice_by_muxd(error->code);
	else if (error->kind == MUXC_ERROR_BROKER)
		text = advice_by_broker(error->code);
	if (!text && error->retryable)
		text = "the same again, later, may work";
	return text;
}

static const char *who(const struct muxc_error *error)
{
	if (error->kind == MUXC_ERROR_BROKER)
		return error->code == 312 ? "the broker returns it" : "the broker refuses";
	return error->kind == MUXC_ERROR_MUXD ? "muxd refuses" : "";
}

int ctl_fail(struct ctl *ctl, const char *what, const struct muxc_error *error)
{
	int code = ctl_code_of(ctl, error);
	const char *text = error->text[0] ? error->text : strerror(-error->error);
	const char *todo = advice(ctl, code, error);

	if (error->code)
		ctl_say(ctl, "%s%s%s (AMQP %u): %s", what ? what : "", what ? ": " : "", who(error),
			error->code, text);
	else
		ctl_say(ctl, "%s%s%s", what ? what : "", what ? ": " : "", text);
	if (todo)
		fprintf(stderr, "  %s\n", todo);
	ctl->exit_code = code;
	return code;
}

int ctl_fail_errno(struct ctl *ctl, const char *what, int err)
{
	ctl_say(ctl, "%s: %s", what, strerror(err));
	ctl->exit_code = CTL_FAILED;
	return CTL_FAILED;
}

int ctl_flush(struct ctl *ctl)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return CTL_DONE;
	return ctl_fail_errno(ctl, "cannot write to stdout", errno ? errno : EIO);
}

/* ------------------------------------------------------------------- time */

uint64_t now_usec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

uint64_t ctl_timeout(const struct ctl *ctl)
{
	uint64_t now;

	if (ctl->deadline_usec == UINT64_MAX)
		return 0;
	now = now_usec();
	return ctl->deadline_usec > now ? ctl->deadline_usec - now : 1;
}

bool ctl_is_late(const struct ctl *ctl)
{
	return ctl->deadline_usec != UINT64_MAX && now_usec() >= ctl->deadline_usec;
}

int ctl_poll_timeout(const struct ctl *ctl, uint64_t until_usec)
{
	uint64_t until = UINT64_MAX, now = now_usec();

	if (muxc_get_timeout(ctl->c, &until) < 0)
		return 0;
	if (until_usec < until)
		until = until_usec;
	if (until == UINT64_MAX)
		return -1;
	if (until <= now)
		return 0;
	return until - now > 1000000000u ? 1000000 : (int)((until - now + 999) / 1000);
}

/* ------------------------------------------------------------- connection */

/* Only what took long is told: one muxd may follow another at once. */
static void on_link(struct muxc *c, const struct muxc_link *link, void *userdata)
{
	struct ctl *ctl = userdata;

	if (link->state == MUXC_LINK_LOST) {
		ctl->away = true;
		if (!ctl->quiet)
			ctl_say(ctl, "muxd is gone; waiting until it is back");
	}
	if (link->state != MUXC_LINK_BACK)
		return;
	ctl->sessions++;
	ctl->resent += link->resent;
	if (ctl->away && !ctl->quiet && link->resent)
		ctl_say(ctl, "muxd is back; what had no outcome is sent again, marked: %" PRIu64 " messages",
			link->resent);
	else if (ctl->away && !ctl->quiet)
		ctl_say(ctl, "muxd is back");
	ctl->away = false;
}

int ctl_connect(struct ctl *ctl)
{
	uint64_t timeout = ctl->timeout_usec ? ctl->timeout_usec : CTL_DEFAULT_TIMEOUT_USEC;
	struct muxc_options options = {
	    .size = sizeof(options),
	    .socket_path = ctl->socket_path,
	    .program = "muxctl",
	    .upstream = ctl->upstream,
	    .flags = MUXC_LOOP | (ctl->keeps_on ? 0 : MUXC_NO_RECONNECT),
	    .connect_timeout_usec = ctl->timeout_usec, /* 0: the library's */
	    .request_timeout_usec = timeout,
	    .outcome_timeout_usec = ctl->keeps_on && !ctl->timeout_usec ? CTL_OUTCOME_USEC : timeout,
	    .on_link = on_link,
	    .userdata = ctl,
	};
	struct muxc_error error = MUXC_ERROR_INIT;

	if (ctl->timeout_usec)
		ctl->deadline_usec = now_usec() + ctl->timeout_usec;
	if (muxc_connect(&options, &ctl->c, &error) < 0)
		return ctl_fail(ctl, NULL, &error);
	/* Who keeps on is told at the beginning, as all others, if there is nobody. */
	if (ctl->keeps_on && muxc_wait_ready(ctl->c, ctl_timeout(ctl), &error) < 0)
		return ctl_fail(ctl, NULL, &error);
	ctl->greeted = ctl->keeps_on;
	return CTL_DONE;
}

int ctl_begin(struct ctl *ctl, int argc, char **argv, bool *ret_stop)
{
	*ret_stop = true;
	if (option_next(ctl, argc, argv, "", NULL) == OPTION_STOP)
		return ctl->exit_code;
	if (optind < argc)
		return ctl_usage(ctl, "'%s': it takes no argument", argv[optind]);
	*ret_stop = false;
	return ctl_connect(ctl);
}

int ctl_open(struct ctl *ctl, const struct muxc_channel_options *options)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	int r;

	r = ctl_connect(ctl);
	if (r != CTL_DONE)
		return r;
	r = muxc_channel_open(ctl->c, options, &ctl->channel);
	if (r == 0)
		return CTL_DONE;
	if (muxc_get_error(ctl->c, &error) == 0) {
		error.kind = MUXC_ERROR_LIBRARY;
		error.error = r;
	}
	return ctl_fail(ctl, "cannot open a channel", &error);
}

void ctl_close(struct ctl *ctl)
{
	ctl->channel = muxc_channel_free(ctl->channel);
	ctl->c = muxc_free(ctl->c);
}
