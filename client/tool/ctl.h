/*
 * muxctl: what its commands share. The model:
 *
 * A command is a function that reads its own options, connects, does its work
 * in the library's loop mode (there are no threads here), writes the result to
 * stdout and everything else to stderr, and returns the exit code. command.c
 * has the table of commands; struct ctl carries what was said for all of them.
 *
 * Whatever goes wrong ends in ctl_fail() or ctl_usage(): the one place each
 * that makes a failure into words and an exit code.
 *
 * Most commands are over at once, and end when muxd is lost. Those that go on
 * for long (consume, publish -l) set keeps_on: once muxd has greeted them they
 * wait for it whenever it is away, and say so.
 */
#pragma once

#include "config.h" /* before any system header: it asks for the GNU interfaces */

#include "client/muxclient.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CTL_DEFAULT_TIMEOUT_USEC 30000000u /* of each request, when no --timeout was given */
#define CTL_GRACE_USEC 2000000u		   /* how long muxd's verdict on a deadline is waited for */
#define CTL_OUTCOME_USEC 300000000u	   /* the same of a line that is published, muxd's absence included */

enum exit_code {
	CTL_DONE = 0,
	CTL_FAILED = 1, /* refused or failed */
	CTL_USAGE = 2,
	CTL_UNREACHABLE = 3, /* no muxd there, or it does not greet */
	CTL_DEADLINE = 4,
	CTL_EMPTY = 5 /* get from an empty queue */
};

struct ctl;

struct command {
	const char *name;
	const char *synopsis;				    /* what stands behind the name */
	const char *summary;				    /* one line */
	const char *options;				    /* its own options, a line each, or "" */
	int (*run)(struct ctl *ctl, int argc, char **argv); /* argv[0] is the name; returns the exit code */
};

struct ctl {
	const struct command *command;
	const char *socket_path; /* NULL: where the library looks */
	const char *upstream;	 /* NULL: the first one configured */
	bool json;
	bool quiet;		/* nothing is said of a muxd that is away */
	bool keeps_on;		/* goes on when muxd is back; before ctl_open() */
	uint64_t timeout_usec;	/* 0: none was given */
	uint64_t deadline_usec; /* of the whole command, CLOCK_MONOTONIC; UINT64_MAX: none */
	int exit_code;		/* what ctl_usage(), ctl_fail() and the like have made of it */
	int ended_by;		/* the signal that has ended it, and is to end muxctl; 0: none */
	bool greeted;		/* with keeps_on: there was a muxd */
	bool away;		/* with keeps_on: muxd is waited for, told */
	uint64_t sessions;	/* with keeps_on: how often muxd came back */
	uint64_t resent;	/* with keeps_on: publishes that were sent again, marked */
	struct muxc *c;
	struct muxc_channel *channel;
};

/* ----------------------------------------------------------- command.c */

/* NULL: there is none of that name. */
const struct command *command_find(const char *name);
void command_help_all(void);
void command_help(const struct command *command);

/* ----------------------------------------------------------------- ctl.c */

/*
 * Says what is wrong with the command line, sets exit_code to CTL_USAGE and
 * returns it.
 */
int ctl_usage(struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The usage line alone, when what is wrong was told; the same otherwise. */
int ctl_usage_hint(struct ctl *ctl);

/*
 * Text of others may hold anything: control characters, and what is not UTF-8,
 * become \xNN, so that no name can move the cursor or fake a line. Allocated, or NULL.
 */
char *ctl_visible(const char *text);

/* One line on stderr: "muxctl: COMMAND: ..."; visible. */
void ctl_say(const struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Says who refused and why, and what to do; sets exit_code and returns it.
 * what: what was being done, or NULL. error->error must be set.
 */
int ctl_fail(struct ctl *ctl, const char *what, const struct muxc_error *error);

/* The exit code ctl_fail() would give; says nothing. */
int ctl_code_of(struct ctl *ctl, const struct muxc_error *error);

/* The same for an errno of the system's, positive. */
int ctl_fail_errno(struct ctl *ctl, const char *what, int err);

/* Flushes stdout: CTL_DONE, or what became of it, told. */
int ctl_flush(struct ctl *ctl);

uint64_t now_usec(void);

/* What is left of --timeout, for a call of the library's: never 0, unless none was given. */
uint64_t ctl_timeout(const struct ctl *ctl);

/* True when --timeout is over. */
bool ctl_is_late(const struct ctl *ctl);

/* Milliseconds for poll(), until then at most, or until the library has something to do; -1: without end. */
int ctl_poll_timeout(const struct ctl *ctl, uint64_t until_usec);

/*
 * Connects (does not wait for the greeting, but with keeps_on), and opens the
 * one channel that commands use, with these options (may be NULL). CTL_DONE, or
 * the exit code; told.
 */
int ctl_connect(struct ctl *ctl);
int ctl_open(struct ctl *ctl, const struct muxc_channel_options *options);

/*
 * For commands without options and operands: looks that there are none, and
 * connects. CTL_DONE, or the exit code; with *ret_stop leave in any case.
 */
int ctl_begin(struct ctl *ctl, int argc, char **argv, bool *ret_stop);

/* Frees what the three have made. */
void ctl_close(struct ctl *ctl);

/* ------------------------------------------------------------ commands */

int cmd_status(struct ctl *ctl, int argc, char **argv);
int cmd_sessions(struct ctl *ctl, int argc, char **argv);
int cmd_channels(struct ctl *ctl, int argc, char **argv);
int cmd_recorder(struct ctl *ctl, int argc, char **argv);
int cmd_ping(struct ctl *ctl, int argc, char **argv);
int cmd_reload(struct ctl *ctl, int argc, char **argv);
int cmd_drain(struct ctl *ctl, int argc, char **argv);
int cmd_publish(struct ctl *ctl, int argc, char **argv);
int cmd_get(struct ctl *ctl, int argc, char **argv);
int cmd_consume(struct ctl *ctl, int argc, char **argv);
int cmd_call(struct ctl *ctl, int argc, char **argv);
int cmd_declare(struct ctl *ctl, int argc, char **argv);
int cmd_bind(struct ctl *ctl, int argc, char **argv);
int cmd_unbind(struct ctl *ctl, int argc, char **argv);
int cmd_delete(struct ctl *ctl, int argc, char **argv);
int cmd_purge(struct ctl *ctl, int argc, char **argv);
