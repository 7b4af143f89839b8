/*
 * The limits of a session. An access rule may lower them for those it
 * matches.
 */
#pragma once

#include <stdint.h>

/* In an override 0 means: as it is. */
struct limits {
	uint64_t session_memory_bytes;
	uint64_t message_max_bytes; /* body of one message */
	uint64_t sessions_per_uid;
	uint64_t channels_per_session;
	uint64_t prefetch; /* window of a consumer that sets none */
};

/* The lower of both, one by one; an override never raises a limit. */
struct limits limits_lower(const struct limits *whole, const struct limits *override);
