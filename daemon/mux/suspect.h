/*
 * A channel under suspicion, and what the scout tries of it, in this order:
 *
 *	consumers   those of streams, as they would be subscribed again: RabbitMQ
 *		    may fall over a message that it delivers, long after it has
 *		    said consume-ok. A stream keeps what it delivers.
 *	operations  what had no answer, in a transaction that is rolled back: many
 *		    at a time, and half as many each time that the connection ends
 *	for good    publishes at the front of the queue, one at a time, marked as
 *		    sent again: what a broker does when it routes is not seen else
 *
 * What is on trial has a mark on it, and may be gone when the trial is over.
 */
#pragma once

#include "daemon/base/list.h"
#include "daemon/mux/scout.h"
#include "daemon/mux/state.h"

enum suspicion_stage {
	SUSPECT_CONSUMERS,
	SUSPECT_OPERATIONS,
	SUSPECT_FOR_GOOD
};

struct suspicion {
	struct list node; /* in upstream->blame.suspicions */
	struct trial trial;
	struct channel *channel;
	enum suspicion_stage stage; /* what was tried last */
	uint32_t most;		    /* operations in one trial */
	uint32_t tried;		    /* in this one; some may have ended since */
	bool alone;		    /* with the last loss, of those that go on one after the other */
	bool fresh;		    /* since the last loss, and went on beside it */
	bool again;		    /* the scout has cleared some of them before */
	bool in_line;		    /* the scout has found nothing in it, or could not look */
	bool for_good;		    /* publishes of it were tried for good, or need not be */
	struct mono for_good_since;
};

/* The channel is suspected, and holds back what it would send. NULL: no memory. */
struct suspicion *suspicion_new(struct channel *channel, trial_done_fn done);
void suspicion_free(struct suspicion *suspicion);

/* Whether the operation was sent on a connection that is gone, or some of it. */
bool suspect_was_sent(struct op *op);

/* Consumers that are to be tried before they are subscribed again. */
void suspect_consumers(struct channel *channel);
bool suspect_has_consumers(const struct channel *channel);
void suspect_clear_consumers(struct channel *channel);

/* Each begins the next trial of its kind; false: there is none. */
bool suspect_try_consumer(struct suspicion *suspicion);
bool suspect_try_operations(struct suspicion *suspicion);
bool suspect_try_for_good(struct suspicion *suspicion);

/* What is on trial, if it is still there: so many operations, and the first of them. */
uint32_t suspect_operations(const struct channel *channel, struct op **ret_first);
struct consumer *suspect_consumer(const struct channel *channel);
/* Whether the scout tries, or is about to, a request or a consumer of the queue. */
bool suspect_tries(const struct suspicion *suspicion, struct span queue);
/* The publish that the scout sends for good now. */
struct publish *suspect_publish(const struct suspicion *suspicion);
