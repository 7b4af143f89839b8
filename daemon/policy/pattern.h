/*
 * A permission's regular expression: PCRE2, searched for anywhere in a name
 * unless it is anchored. Byte by byte, never as UTF-8. "$" is the very end of
 * the name (not before a last newline as well), and the cost of a match is
 * limited, so that no name can hold the daemon.
 *
 * The cost is counted in steps: an item of the pattern each time that it is
 * looked at, wherever in the name that begins. A step takes some 50 ns.
 * (PCRE2's own limit would begin anew at each byte of the name.)
 */
#pragma once

#include "proto/span.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* What matching needs; one for all patterns. */
struct pattern_scratch {
	pcre2_match_context *context;
	pcre2_match_data *data;
};

/* 0 or -ENOMEM; deinit in any case. */
int pattern_scratch_init(struct pattern_scratch *scratch) __attribute__((warn_unused_result));
void pattern_scratch_deinit(struct pattern_scratch *scratch);

/* 0; -EINVAL with text (of size bytes) and offset set; -ENOMEM. Free with pcre2_code_free(). */
int pattern_compile(const char *source, pcre2_code **ret, char *text, size_t size, size_t *ret_offset)
    __attribute__((warn_unused_result));

/* 1: it matches, 0: it does not, -E2BIG: more than steps_max to tell, -ENOMEM. What it took is in *ret_steps.
 */
int pattern_match(const pcre2_code *code, struct span name, struct pattern_scratch *scratch,
		  unsigned int steps_max, unsigned int *ret_steps) __attribute__((warn_unused_result));
