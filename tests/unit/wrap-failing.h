/*
 * What the linker puts between muxd and the system in test-muxd-failing (its
 * --wrap options): a call of muxd's own code, can be
 * made to fail as the system would make it fail.
 */
#pragma once

#include <stdbool.h>

enum wrap_kind {
	WRAP_NOTHING,
	WRAP_MEMORY,  /* malloc, calloc, realloc, reallocarray, strdup, asprintf, and what libraries make for
			 us */
	WRAP_LIBRARY, /* what OpenSSL, PCRE2 and libevent allocate themselves */
	WRAP_SYSTEM   /* system calls, threads, files, systemd */
};

const char *wrap_kind_name(enum wrap_kind kind);

/* The counts live in memory that a forked child shares with its parent. False: there is none. */
bool wrap_init(void);

/* From now on calls of this process count and fail; or not any more. */
void wrap_take_part(bool yes);

/* From now on, the nth call of the kind fails, from 1; 0: none does, but they are counted. */
void wrap_arm(enum wrap_kind kind, unsigned long nth);

/* No call fails from now on, and none is counted; what was counted and failed stays to be asked. */
void wrap_disarm(void);

/* How many calls there were since wrap_arm(), in processes that take part. */
unsigned long wrap_count(void);

/* The name of the one that failed; NULL: none has. */
const char *wrap_failed(void);
