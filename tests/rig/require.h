/*
 * An assertion of tests that no build leaves out, and that needs no test
 * framework.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define require(condition) ((condition) ? (void)0 : require_failed(#condition, __FILE__, __LINE__))

_Noreturn static inline void require_failed(const char *condition, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
	abort();
}
