#include "daemon/base/quiet.h"

#include <stdio.h>

bool quiet_may_say(struct quiet *quiet, struct mono now, char more[QUIET_MORE_BYTES])
{
	if (quiet->since.usec == 0 || mono_since_usec(now, quiet->since) >= QUIET_INTERVAL_USEC) {
		quiet->since = now;
		quiet->said = 0;
	}
	if (quiet->said == QUIET_LINES_MAX) {
		quiet->unsaid++;
		return false;
	}
	quiet->said++;
	*more = 0;
	if (quiet->unsaid > 0)
		(void)snprintf(more, QUIET_MORE_BYTES, " (%llu such lines were left out before)",
			       (unsigned long long)quiet->unsaid);
	quiet->unsaid = 0;
	return true;
}
