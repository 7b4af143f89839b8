/*
 * What every fuzz target has in common: the entry, and an assertion that no
 * build leaves out.
 */
#pragma once

#include "tests/rig/require.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* libFuzzer's entry point, called by replay.c in a normal build. Always returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
