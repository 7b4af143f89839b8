/*
 * A permission's regular expression: PCRE2, searched for anywhere in a name
 * unless it is anchored. Byte by byte, never as UTF-8. "$" is the very end of
 * the name (not before a last newline as well), and the cost of a match is
 * limited, so that no name can hold the daemon.
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

/* 1: it matches, 0: it does not, -E2BIG: too costly to tell, -ENOMEM. */
int pattern_match(const pcre2_code *code, struct span name, struct pattern_scratch *scratch)
    __attribute__((warn_unused_result));
