/*
 * The daemon as an object: it owns the loop, the multiplexer, the upstreams'
 * bodies, the front end and the listener, and connects them. main.c makes it
 * from the command line.
 *
 * A run ends by SIGTERM or SIGINT, in steps:
 *
 *	RUNNING --signal--> LEAVING   nobody new; sessions are asked to go; what
 *	                              they published gets its outcome
 *	        --all gone, drain-timeout, or a second signal-->
 *	        CLOSING   what is left is ended; AMQP connections are closed
 *	        --done, or CLOSE_USEC later--> the end
 */
#pragma once

#include "daemon/conf/conf.h"

struct muxd;

struct muxd_options {
	const struct conf_source *source; /* read again for SIGHUP */
	const struct conf *conf;	  /* outlives muxd */
	const char *socket;		  /* path; outlives muxd */
	bool socket_is_given;		  /* by -s: the configuration's does not count */
	int inherited_fd;		  /* a listening socket from systemd, or -1 */
	bool keeps_log_level;		  /* it came by -l: a reload does not change it */
};

/* What an error was: the configuration's (exit 78), or the machine's (exit 1). Logged already. */
enum muxd_result {
	MUXD_OK = 0,
	MUXD_FAILED,
	MUXD_BAD_CONFIG
};

/*
 * What a configuration asks of this host, without starting: users, groups,
 * patterns, password files, certificates. 0, or a negative errno with errors
 * listed; warnings are added to what there is.
 */
int muxd_check(struct conf *conf, struct conf_errors *errors) __attribute__((warn_unused_result));

/* Everything is set up, and the socket takes connections. *ret is set if MUXD_OK. */
enum muxd_result muxd_new(const struct muxd_options *options, struct muxd **ret);

/* Until it was told to end, and has. */
enum muxd_result muxd_run(struct muxd *muxd);

/* NULL is fine; returns NULL. */
struct muxd *muxd_free(struct muxd *muxd);

/* Logs what is wrong, one line each. */
void muxd_log_errors(const struct conf_errors *errors);
