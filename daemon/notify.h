/*
 * What systemd is told (Type=notify). Without systemd, or in a build without
 * libsystemd, nothing happens. All return 0, or the negative errno of why
 * systemd was not told: tell it again later.
 */
#pragma once

#include <stdint.h>

enum notify_state {
	NOTIFY_READY,	  /* the socket takes connections */
	NOTIFY_RELOADING, /* the configuration is being read anew; NOTIFY_READY ends it */
	NOTIFY_STOPPING	  /* muxd drains */
};

/* at_most_usec: of NOTIFY_STOPPING, how long it may take. */
int notify_state(enum notify_state state, uint64_t at_most_usec) __attribute__((warn_unused_result));

/* One line for "systemctl status". Anything that is not plain text in it is replaced. */
int notify_status(const char *text) __attribute__((warn_unused_result));

/* How often notify_watchdog() is due, in microseconds; 0: nobody watches. */
int notify_watchdog_usec(uint64_t *ret) __attribute__((warn_unused_result));
int notify_watchdog(void) __attribute__((warn_unused_result));
