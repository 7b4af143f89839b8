/*
 * Channels: what a process opened. A channel leases a lane when it first needs
 * one and waits in turn when all numbers are in use.
 *
 *	open -> failed    an error of the channel: all it had is answered, then its end is told
 *	open -> leaving   closed by its client, or its session died: what was accepted is finished
 *
 * No function here frees a channel: what is finished is freed by
 * channel_turn(), when nobody else has it on the stack.
 */
#pragma once

#include "daemon/base/timerq.h"
#include "daemon/mux/state.h"

/* A channel of the session (NULL: of the upstream itself). NULL: no memory. */
struct channel *channel_new(struct upstream *upstream, struct session *session, struct mux_channel_id id);

/*
 * A channel of the upstream's own, for requests that no session asked for. It
 * leaves at once, so that it is gone when it has nothing left to do.
 */
struct channel *channel_new_own(struct upstream *upstream);

/* Frees it and what is left of it, without a word; for mux_free() and channel_turn(). */
void channel_free(struct channel *channel);

/* At the end of a turn: tells outcomes, sends acks, frees what is finished. The channel may be gone after it.
 */
void channel_turn(struct channel *channel);

/* Of struct mux: sends the acks that waited for company. */
void channel_flush_unhurried(struct timer *timer, struct mono now);

/* A publish has this deadline: when it has passed, or soon after if the channel has very many, it ends. */
void channel_expect(struct channel *channel, struct mono deadline);

/* It has something to send: leases a lane, or waits for one, and has it written in turn. */
void channel_send(struct channel *channel);

/* Leases a lane, if it has none and there is one. */
bool channel_lease(struct channel *channel);

/* It would not miss its lane: hands it back. What was delivered and is not settled goes back to its queue. */
void channel_give_up_lane(struct channel *channel);

/* Of ending.c: frees all consumers, without a word. */
void channel_free_consumers(struct channel *channel);

/* Ends an open channel by an error, answers all it had, and closes its lane. */
void channel_fail(struct channel *channel, const struct fault *fault);

/* The same for one whose lane the broker closed: the caller deals with the lane. */
void channel_fail_without_lane(struct channel *channel, const struct fault *fault);

/*
 * The broker has forgotten the channel's lane, and what it had there can be had
 * again on another one: publishes and requests without an answer go back to
 * the queue, consumers wait to be subscribed again, tags of deliveries are
 * stale. What cannot be asked for again ends by the fault. The lane stays for
 * the caller to deal with.
 */
void channel_interrupt(struct channel *channel, const struct fault *fault);

/* The connection is gone: interrupts the channel, and has it wait for the next one. */
void channel_lost_lane(struct channel *channel, const struct fault *fault);

/* The client closes it: close_request is answered when what came before it was. */
void channel_leave(struct channel *channel, uint32_t close_request);

/* Its session is gone: like leaving, with nobody to tell. */
void channel_abandon(struct channel *channel);

/* The client has done with a failed channel: tells what is left to be told, and lets it go. */
void channel_forget(struct channel *channel);

/* True if nothing would be missed if its lane went. */
bool channel_is_clean(const struct channel *channel);

/* A request's deadline passed and its session was told: undoes what it did, as soon as it can. May free it.
 */
void channel_request_timed_out(struct request *request, bool unsent);

/* Refuses a request that was not sent, undoes what it had begun here, and frees it. */
void channel_refuse_unsent(struct request *request, enum fault_scope scope, const struct fault *fault);

/* Answers the requests that wait with this fault; publishes wait on. For an upstream that refuses us. */
void channel_refuse_waiting(struct channel *channel, const struct fault *fault);
