/*
 * Durations ("200ms", "20s", "5m", "1h") and sizes ("512", "16K", "64M", "1G")
 * as people write them in a configuration. Whole numbers only: no sign, no
 * fraction, no space.
 */
#pragma once

#include <stdint.h>

/*
 * A duration in microseconds. The unit is needed but for "0".
 * 0; -EINVAL: not a duration; -ERANGE: more than 64 bits hold.
 */
int duration_parse_usec(const char *text, uint64_t *ret_usec) __attribute__((warn_unused_result));

/*
 * A size in bytes; without a unit the number is bytes, K, M and G are powers
 * of 1024. Errors as above.
 */
int size_parse_bytes(const char *text, uint64_t *ret_bytes) __attribute__((warn_unused_result));

/* A plain decimal number. Errors as above. */
int number_parse(const char *text, uint64_t *ret) __attribute__((warn_unused_result));
