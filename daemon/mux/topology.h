/*
 * What sessions have declared and would have now: exchanges, queues and
 * bindings, so that they can be made again on the next connection.
 *
 * A *thing* is one declare or bind, known by its method's frame: the same
 * frame from several sessions is one thing with several holders. It is noted
 * when the broker has answered, and forgotten when a client deletes or unbinds
 * it, whoever declared it; when the broker would have deleted it by itself
 * (auto-delete); or when its last holder, a session, ends. What is declared
 * passively is not noted. An *entity* is an exchange or queue by its name, with
 * the things about it.
 *
 * As with a connection of one's own, the holder is the session and not the
 * channel; the channel is remembered because it is the one that fails if the
 * thing cannot be made again.
 */
#pragma once

#include "daemon/mux/state.h"
#include "daemon/mux/state/topology.h"

void topology_init(struct topology *topology);
void topology_deinit(struct topology *topology);

/*
 * The broker has done what frame, a method's with channel 0, asks for: notes or
 * forgets. The session is NULL if it has ended: then it only forgets.
 */
void topology_done(struct upstream *upstream, struct session *session, struct mux_channel_id channel,
		   struct span frame);

/*
 * The connection is gone, and nobody knows whether this was done: what it was
 * to delete is not brought back.
 */
void topology_in_doubt(struct upstream *upstream, struct span frame);

/* Somebody else deleted the queue. */
void topology_queue_gone(struct upstream *upstream, struct span name);

/* It holds nothing any more. */
void topology_session_ends(struct session *session);

/* One of its holders has done with it. */
void topology_release_holder(struct holder *holder);

/* Takes the thing out of everything, and frees it with its holders. */
void topology_forget(struct thing *thing);

/* The queue's entity, or NULL if nothing is known of it. */
struct entity *topology_queue(const struct upstream *upstream, struct span name);

void topology_set_presence(struct entity *queue, enum presence presence);

/* Whether somebody would have the queue now. */
bool topology_has_queue(const struct upstream *upstream, struct span name);

/* Whether somebody would, and not for itself alone. */
bool topology_is_shared(const struct upstream *upstream, struct span name);

/*
 * A consumer of the queue has begun: an auto-delete queue goes when the last
 * one does. The entity lives as long as one of them; NULL: no memory.
 */
struct entity *topology_consumer_begins(struct upstream *upstream, struct span queue);
void topology_consumer_ends(struct upstream *upstream, struct entity *queue);
