#include "config.h"

#include "daemon/notify.h"

#include "daemon/base/clock.h"

#ifdef HAVE_SYSTEMD

#include <errno.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#define STATUS_BYTES_MAX 512u
#define STATE_BYTES_MAX 80u

/* That nobody listens is fine. */
static int tell(const char *text)
{
	int r = sd_notify(0, text);

	return r < 0 ? r : 0;
}

static int tell_reloading(void)
{
	char text[STATE_BYTES_MAX];
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now) < 0)
		return -errno;
	(void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu",
		       (unsigned long long)now.tv_sec * USEC_PER_SEC +
			   (unsigned long long)now.tv_nsec / 1000u);
	return tell(text);
}

int notify_state(enum notify_state state, uint64_t at_most_usec)
{
	char text[STATE_BYTES_MAX];

	switch (state) {
	case NOTIFY_RELOADING:
		return tell_reloading();
	case NOTIFY_STOPPING:
		(void)snprintf(text, sizeof(text), "STOPPING=1\nEXTEND_TIMEOUT_USEC=%llu",
			       (unsigned long long)at_most_usec);
		return tell(text);
	default:
		return tell("READY=1");
	}
}

int notify_status(const char *text)
{
	char clean[STATUS_BYTES_MAX];

	/* A newline would begin an assignment of its own, and errors have foreign text. */
	(void)snprintf(clean, sizeof(clean), "STATUS=%s", text);
	for (char *c = clean; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	return tell(clean);
}

int notify_watchdog_usec(uint64_t *ret)
{
	uint64_t usec;
	int r = sd_watchdog_enabled(0, &usec);

	if (r < 0)
		return r;
	*ret = r > 0 ? usec / 2 : 0;
	return 0;
}

int notify_watchdog(void)
{
	return tell("WATCHDOG=1");
}

#else

int notify_state(enum notify_state state, uint64_t at_most_usec)
{
	return 0;
}

int notify_status(const char *text)
{
	return 0;
}

int notify_watchdog_usec(uint64_t *ret)
{
	*ret = 0;
	return 0;
}

int notify_watchdog(void)
{
	return 0;
}

#endif
