/*
 * Queue names, and whose exclusive queue is whose.
 *
 * At the broker an exclusive queue belongs to the connection, which all
 * sessions share. Here it belongs to the session that declared it, and others
 * are told 405, as the broker would tell another connection. It is deleted when
 * the session ends.
 *
 * A declare claims the queue from the moment it is accepted, but the broker may
 * refuse it: the queue is there already, and everybody's. So what others want
 * with it waits until the broker has answered, unless muxd knows that the queue
 * is shared; but another exclusive declare is refused at once.
 *
 * A queue declared without a name gets one here, so that the name is known
 * before it is sent. It begins with a prefix that is reserved, and goes on with
 * digits of the digest of a resume token, which is chance, and which only the
 * session that declared it is told. Who shows the token later may declare the
 * name again: so nothing needs to be remembered, and it works after a restart. An empty name elsewhere means
 * the one declared last on the channel (AMQP 0-9-1, queue.bind and others).
 */
#pragma once

#include "daemon/mux/state.h"
#include "daemon/mux/state/op.h"

#define QUEUES_NAME_MAX 255u

struct queue_naming {
	struct span resume; /* shown by the client; then that of the name if it is one of ours; else empty */
	char name[QUEUES_NAME_MAX];
	char exchange[QUEUES_NAME_MAX];
	char token[QUEUES_RESUME_LEN];
};

/*
 * Gives a session's method the names that the broker will see: empty queue
 * names are filled in, line ends taken out where RabbitMQ does it, of exchanges
 * as well. Refuses what is not there to be meant (404), or reserved (403). The
 * spans put in point into the channel or into *naming.
 */
bool queues_prepare(struct channel *channel, struct amqc_method *method, struct queue_naming *naming,
		    struct fault *ret_fault);

/* Refuses what is somebody else's (405). To be asked once it is clear that the session may know. */
bool queues_may_use(const struct channel *channel, struct amqc_method *method, struct fault *ret_fault);

/* Whether the request must wait until the broker has answered another session's declare. */
bool queues_are_undecided(const struct request *request);

/*
 * Asked again when the request is about to be sent: since it was accepted, the
 * queue that it names may have become somebody else's (405).
 */
bool queues_may_send(const struct request *request, struct fault *ret_fault);

/* The prepared method was accepted as this request: an exclusive declare takes the queue. False: no memory.
 */
bool queues_accept(struct request *request, struct channel *channel, const struct amqc_method *method);

/* The request ended without, or with, the broker's consent. */
void queues_request_failed(struct request *request);
void queues_request_done(struct request *request);

/*
 * The broker closed the lane of our own deletions for the first of them: the others are asked for again. A
 * queue that we may not delete stays locked.
 */
void queues_deletion_refused(struct upstream *upstream, const struct fault *fault);

/* Deletes what the session owned. */
void queues_session_ends(struct session *session);

/* The member of a method that names the queue it uses, or NULL. */
struct span *queues_of_method(struct amqc_method *method);

/* Whether a session that lives has the exclusive queue of that name, or is about to. */
bool queues_are_owned(const struct upstream *upstream, struct span name);

/* An exclusive queue is gone, and will not be made again. */
void queues_lost(struct upstream *upstream, struct span name);

/* The connection is gone, and with it every exclusive queue that is not made again. */
void queues_connection_lost(struct upstream *upstream);
