/*
 * Lets allocations, or a few system calls, fail, one after the other: of what
 * is compiled with failing-redirect.h included (libfailing.a of local.mk is the
 * client library so), and of nothing else.
 *
 * Only threads that take part are counted: the one that arms, and those that
 * such code starts.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum failing_what {
	FAILING_NOTHING,
	FAILING_MEMORY, /* malloc, calloc, realloc */
	FAILING_SYSTEM	/* socket, eventfd, pthread_create, pthread_cond_init, pthread_mutex_init */
};

/* From now on the `nth` of them fails (from 1); `all_from`: and all that come behind it. */
void failing_arm(enum failing_what what, unsigned long nth, bool all_from);
/* Everything works again. Returns how many have failed. */
unsigned long failing_disarm(void);
/* How many have failed since it was armed. */
unsigned long failing_count(void);
/* Blocks that were allocated and not freed, by any thread. */
long failing_live(void);
/* The same by threads that take part, so not what the fake muxd has. */
long failing_live_here(void);
