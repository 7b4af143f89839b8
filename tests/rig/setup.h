/*
 * What mux and an upstream are made with in tests: every option that must have
 * a value has one, and a test sets those that it is about.
 */
#pragma once

#include "daemon/mux/mux.h"

/* Without random, digest and authorize; few sessions. */
struct mux_options setup_mux(void);

/* With two endpoints, of which only the first is in use. */
struct upstream_options setup_upstream(void);

/* For a test that is its own network: every dial is heard by nobody. */
extern const struct upstream_ops setup_no_body;

/* For mux_options.random: always the same. */
void setup_no_chance(void *context, void *out, size_t count);

/* For mux_options.digest: not one-way, but no two of the tests' tokens give the same. */
bool setup_digest(void *context, struct span of, uint8_t ret[MUX_DIGEST_BYTES]);
