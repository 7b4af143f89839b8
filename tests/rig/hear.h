/*
 * What mux tells a session, as one struct: so a test that stands where a front
 * end would needs one function, which looks at what the test is about.
 */
#pragma once

#include "daemon/base/list.h"
#include "daemon/mux/mux.h"

enum rig_kind {
	RIG_NOTHING,
	RIG_REPLY, /* a name that mux made comes with its resume token */
	RIG_REFUSED,
	RIG_GOT,
	RIG_DELIVERED,
	RIG_RETURNED,
	RIG_OUTCOME,
	RIG_CHANNEL_ENDED,
	RIG_CONSUMER_CANCELLED,
	RIG_CONSUMER_INTERRUPTED,
	RIG_CREDIT,
	RIG_UPSTREAM,
	RIG_ENDED
};

/* What an event has; the rest is 0 or NULL. */
struct heard {
	enum rig_kind kind;
	uint32_t request;
	struct mux_channel_id channel;
	uint32_t consumer;
	uint64_t tag;
	const struct amqc_method *reply;
	struct span resume;
	enum fault_scope scope; /* of a refusal */
	const struct fault *fault;
	enum outcome_kind outcome;
	uint64_t first, last;		   /* publishes; of what was returned, first; of credit, the totals */
	const struct mux_content *content; /* of messages */
};

/* Who hears it; embedded in what the test knows of the session. */
struct ear {
	/* Returns where a message ends in the session's output, as a front end would; else it does not
	 * matter. */
	struct mux_handed (*hear)(struct ear *ear, const struct heard *heard);
};

/* The session's context is its ear. */
extern const struct session_ops hear_ops;
