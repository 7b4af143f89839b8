/*
 * Log lines that somebody else's behaviour makes: so many in an interval, and
 * what was left out is told with the next one.
 *
 *	struct quiet quiet = QUIET_INIT;
 *	if (quiet_may_say(&quiet, now, more))
 *		log_info("refused: %s%s", why, more);
 */
#pragma once

#include "daemon/base/clock.h"

#include <stdbool.h>

#define QUIET_LINES_MAX 5u
#define QUIET_INTERVAL_USEC (10 * USEC_PER_SEC)
#define QUIET_MORE_BYTES 64u

struct quiet {
	struct mono since; /* the interval's beginning; 0: none yet */
	uint32_t said;
	uint64_t unsaid; /* since a line was last said */
};

#define QUIET_INIT ((struct quiet){{0}, 0, 0})

/*
 * False: not now. True: say it, with more at its end, which is empty or tells
 * how many lines like it were left out.
 */
bool quiet_may_say(struct quiet *quiet, struct mono now, char more[QUIET_MORE_BYTES])
    __attribute__((warn_unused_result));
