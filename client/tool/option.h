/*
 * Reading command lines: options by getopt_long(), and the values that muxctl
 * knows: durations, counts, typed fields of tables, properties of messages.
 * All of them tell what is wrong by ctl_usage().
 */
#pragma once

#include "client/tool/ctl.h"

#include <getopt.h>

#define OPTION_END (-1)
#define OPTION_STOP (-2) /* leave the command with ctl->exit_code */

/* Letters of long options that have no short one; commands use what follows OPTION_OWN. */
enum option_letter {
	OPTION_UPSTREAM = 256,
	OPTION_JSON,
	OPTION_TIMEOUT,
	OPTION_VERSION,
	OPTION_OWN
};

/* Before the first option_next() of a command line. */
void option_begin(void);

/*
 * The next option: its letter, its value in getopt's optarg; OPTION_END when
 * only operands are left, from optind on. The options that all commands have
 * are dealt with here. shorts and longs (ends with zeros): the command's own.
 */
int option_next(struct ctl *ctl, int argc, char **argv, const char *shorts, const struct option *longs);

/* "200ms", "1.5s", "2m", "1h"; above 0. */
bool option_duration(struct ctl *ctl, const char *option, const char *text, uint64_t *ret_usec);

/* Decimal digits from min to max. */
bool option_count(struct ctl *ctl, const char *option, const char *text, uint64_t max, uint64_t *ret);

/* A name of AMQP's: at most 255 bytes. */
bool option_name(struct ctl *ctl, const char *what, const char *text);

/*
 * NAME=VALUE or NAME:TYPE=VALUE into a table. guess: without a TYPE, whole
 * numbers and true and false are what they look like; else all is text.
 */
bool option_field(struct ctl *ctl, struct muxc_table *table, const char *text, bool guess);

/* NAME=VALUE into a message's properties. */
bool option_property(struct ctl *ctl, struct muxc_message *message, const char *text);
