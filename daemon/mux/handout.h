/*
 * Messages on their way to a session. A consumer has a window of credit in
 * messages and bytes (apart from AMQP's prefetch); what comes when it is used
 * up, or when the session's socket is full, waits here, charged to the session.
 */
#pragma once

#include "daemon/mux/assemble.h"
#include "daemon/mux/state.h"

/* Whether a message of so many bytes may be gathered for the channel at all; it may be NULL. */
bool handout_fits(const struct channel *channel, uint64_t body_size);

/*
 * A whole basic.deliver came on the channel's lane: to the session, to wait,
 * or back to the queue if its consumer is gone.
 */
void handout_deliver(struct channel *channel, const struct assemble *content);

/* A whole basic.get-ok answers this request. */
void handout_got(struct request *request, struct channel *channel, const struct assemble *content);

/* New totals of credit: hands over what waits. */
void handout_credit(struct consumer *consumer, uint64_t messages, uint64_t bytes);

/* At the end of a turn: hands over what waited for the channel's unacked_max. */
void handout_go_on(struct channel *channel);

/* The socket has taken some of the session's output: hands over what waited for that, in turn. */
void handout_breathe(struct session *session);

/* All that waits comes again. */
void handout_forget(struct channel *channel);
