/* How the publishes of a channel ended; see outcome.c. */
#pragma once

#include "client/muxclient.h"

#include <stdbool.h>
#include <stddef.h>

#define EXCEPTIONS_MAX 1024u /* remembered ranges of outcomes other than confirmed */

struct range {
	uint64_t first;
	uint64_t last;
};

struct exception {
	struct range range;
	int kind;
	struct muxc_error *error; /* owned; may be NULL */
};

/* How the publishes of a channel ended; see outcome.c. */
struct outcomes {
	uint64_t published;    /* number of the newest */
	uint64_t base;	       /* all up to here have their outcome */
	struct range *settled; /* beyond base: sorted, never adjacent */
	size_t settled_count;
	size_t settled_capacity;
	struct exception *exceptions; /* a ring, oldest at exceptions_start */
	size_t exceptions_start;
	size_t exceptions_count;
	size_t exceptions_capacity;
	uint64_t forgotten; /* highest number among exceptions that were dropped */
	uint64_t counts[MUXC_UNKNOWN + 1];
	bool has_failure;
	struct muxc_error first_failure;
	/* The channel's end: all up to here that were not settled before ended so. */
	uint64_t rest_last;
	int rest_kind;
	struct muxc_error rest_error;
};

/* -EPROTO when they were settled before, or never published; -ENOMEM. */
int outcomes_settle(struct muxc_channel *channel, struct range range, int kind,
		    const struct muxc_error *error);
/* Everything without an outcome ends so, once: needs no memory. EVENT_CHANNEL_CLOSED is to tell it. */
void outcomes_settle_rest(struct muxc_channel *channel, int kind, const struct muxc_error *error);
/* Whether all up to this number have their outcome. */
bool outcomes_complete(const struct outcomes *outcomes, uint64_t number);
/* The next run of publishes behind `after` that ended with the channel; false: there is none. */
bool outcomes_next_rest(const struct outcomes *outcomes, uint64_t after, struct range *ret);
void outcomes_deinit(struct outcomes *outcomes);
