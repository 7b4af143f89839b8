#include "config.h"

#include "daemon/notify.h"

#include "daemon/base/clock.h"

#ifdef HAVE_SYSTEMD

#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#define STATUS_BYTES_MAX 512u

void notify_ready(void)
{
	(void)sd_notify(0, "READY=1");
}

void notify_reloading(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now) < 0)
		return;
	(void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
			 (unsigned long long)now.tv_sec * USEC_PER_SEC +
			     (unsigned long long)now.tv_nsec / 1000u);
}

void notify_stopping(uint64_t at_most_usec)
{
	(void)sd_notifyf(0, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%llu", (unsigned long long)at_most_usec);
}

void notify_status(const char *text)
{
	char clean[STATUS_BYTES_MAX];

	/* A newline would begin an assignment of its own, and errors have foreign text. */
	(void)snprintf(clean, sizeof(clean), "STATUS=%s", text);
	for (char *c = clean; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	(void)sd_notify(0, clean);
}

uint64_t notify_watchdog_usec(void)
{
	uint64_t usec;

	return sd_watchdog_enabled(0, &usec) > 0 ? usec / 2 : 0;
}

void notify_watchdog(void)
{
	(void)sd_notify(0, "WATCHDOG=1");
}

#else

void notify_ready(void)
{
}

void notify_reloading(void)
{
}

void notify_stopping(uint64_t at_most_usec)
{
}

void notify_status(const char *text)
{
}

uint64_t notify_watchdog_usec(void)
{
	return 0;
}

void notify_watchdog(void)
{
}

#endif
