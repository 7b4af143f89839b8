/*
 * What systemd is told (Type=notify). Without systemd, or in a build without
 * libsystemd, nothing happens.
 */
#pragma once

#include <stdint.h>

/* The socket takes connections. */
void notify_ready(void);

/* The configuration is being read anew; notify_ready() ends it. */
void notify_reloading(void);

/* muxd drains, and may take so long. */
void notify_stopping(uint64_t at_most_usec);

/* One line for "systemctl status". Anything that is not plain text in it is replaced. */
void notify_status(const char *text);

/* How often notify_watchdog() is due, in microseconds; 0: nobody watches. */
uint64_t notify_watchdog_usec(void);
void notify_watchdog(void);
