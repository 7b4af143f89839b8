/* A forked child in a test whose process has other threads. */
#pragma once

#include <sys/types.h>

/*
 * fork() at a moment at which every other thread of the process sleeps. glibc's allocator
 * takes its locks around a fork; that of AddressSanitizer in GCC 12 does not, and a child
 * whose parent was in malloc() in another thread waits for the lock for ever. check has
 * a lock of that kind: a thread that looks for something again and again must not assert
 * in each turn. Fails the test in the parent if there is no such moment.
 */
pid_t fork_quietly(void);

/* The exit status of the child; fails the test if it was ended by a signal. */
int wait_for_child(pid_t pid);
