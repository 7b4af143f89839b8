/*
 * Read before every file in a build for coverage: what a forked child has run counts
 * as well when it leaves by _exit(), which writes no counters of its own accord. What it
 * has run of a shared library does not: that has counters apart.
 */
#ifndef TESTS_COVERAGE_EXIT_H
#define TESTS_COVERAGE_EXIT_H

void __gcov_dump(void);
void _exit(int status) __attribute__((noreturn));

static inline void coverage_exit(int status) __attribute__((noreturn));
static inline void coverage_exit(int status)
{
	__gcov_dump();
	_exit(status);
}

/* <unistd.h> then declares coverage_exit(), which makes no difference. */
#define _exit coverage_exit

#endif
