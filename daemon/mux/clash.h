/*
 * What RabbitMQ cannot do at the same time with one queue.
 *
 * Its quorum queues and streams come and go in steps, and a channel that meets
 * one half-way crashes, and the connection with it (541, in a few cases 506;
 * KILLERS.md has the pairs). Two processes that start or stop at the same
 * moment are enough. So what makes or deletes a queue, unless that is a classic
 * one for certain, goes alone: it waits until what others have under way with
 * the queue is answered, and what others want with it waits behind. One
 * channel's own requests are no danger to each other, for the broker works
 * through them in order: they follow each other as long as nobody else waits.
 * What the scout tries stands in the line like everybody's.
 *
 * What comes to the queue by an exchange is known as far as sessions have made
 * the bindings.
 *
 * Some channels never answer. They are told from a slow broker by what it
 * answers else: while somebody waits it is asked something every now and then
 * on a lane that nobody uses, and who has no answer when it has given a hundred
 * of those, in five seconds at least, is waited for no longer.
 */
#pragma once

#include "daemon/mux/state.h"
#include "daemon/mux/state/channel.h"
#include "daemon/mux/state/lane.h"
#include "daemon/mux/state/upstream.h"

void clashes_init(struct upstream *upstream);
void clashes_deinit(struct upstream *upstream);

/* Asked last before the request is sent: from now on it is its turn, or it stands in line. */
bool clash_must_wait(struct lane *lane, struct request *request);

/* It was sent; it may be one of our own, that waits for nobody. */
void clash_sent(struct lane *lane, struct request *request);

/*
 * A basic.cancel of ours, of a consumer of the queue, was put into the lane's
 * control. That stays there, with all behind it, while the broker has something
 * under way that the cancel must not meet.
 */
void clash_cancels(struct lane *lane, struct request *cancel, struct span queue);
bool clash_cancels_wait(struct lane *lane);

static inline bool clash_holds_control(struct lane *lane)
{
	return !list_empty(&lane->cancels) && clash_cancels_wait(lane);
}

/* It was sent, or never will be. */
void clash_control_left(struct lane *lane);

/*
 * delete-ok came. The queue is not made again, by those who stand in line,
 * until the broker has told its consumers of ours.
 */
void clash_deleted(struct upstream *upstream, const struct request *request);

/* Somebody's consumer has ended. */
static inline void clash_consumer_ended(struct upstream *upstream)
{
	if (!list_empty(&upstream->clashes.changed))
		upstream->queue_freed = true;
}

/* It was answered, or never will be; or it goes back to its queue, or waits for something else. */
void clash_ended(struct request *request);

/* The broker has answered the question, or its lane is gone; false: it is not one of these. */
bool clash_answered(struct upstream *upstream, const struct request *question);
bool clash_forget_question(struct upstream *upstream, const struct request *question);

/* Whether the broker has one under way that makes or deletes the queue: who can wait keeps away from it. */
bool clash_is_under_way(const struct upstream *upstream, struct span queue);

/* Nobody stands in line any more. */
void clashes_connection_lost(struct upstream *upstream);

/* While there is such a request: whether the publish may reach its queue. */
bool clash_is_reached(const struct channel *channel, const struct publish *publish);

/* Whether the publish must wait for one. */
static inline bool clash_holds_publish(const struct channel *channel, const struct publish *publish)
{
	return !list_empty(&channel->upstream->clashes.changed) && clash_is_reached(channel, publish);
}

/* Publishes were confirmed, or their lane is closed, or the scout has tried something: who waits for them
 * looks again. */
static inline void clash_confirmed(struct upstream *upstream)
{
	if (upstream->clashes.await_confirms)
		upstream->queue_freed = true;
}

/* The lane has confirmed something. */
static inline void clash_lane_confirmed(struct lane *lane)
{
	lane->clash_since = 0;
	clash_confirmed(lane->upstream);
}
