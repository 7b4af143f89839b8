/*
 * What kind of queue a name stands for. A broker tells nobody, not even in a
 * passive declare; so it is learned from the declares that went through here,
 * and is unknown else. It decides what may be done with a message that cannot
 * be kept (as RabbitMQ 3.10 behaves):
 *
 *	classic   takes it back, to its place, as often as one likes
 *	quorum    takes it back, but counts, and may drop it by x-delivery-limit;
 *		  a consumer must not be started again under its tag while it
 *		  has unsettled messages: that ends the whole connection (541)
 *	stream    cannot take it back: a nack ends the whole connection (540)
 *
 * Beside it stands how large the messages were that did not fit last time.
 */
#pragma once

#include "daemon/mux/state.h"
#include "daemon/mux/state/queues.h"

/* What the declare would make, on this upstream's broker. */
enum queue_kind kinds_of_declare(const struct upstream *upstream, const struct amqc_queue_declare *declare);

/*
 * A declare was accepted from a channel's client: what follows on the channel
 * may rely on it, for if the broker refuses it, the channel ends.
 */
void kinds_accepted(struct channel *channel, const struct amqc_queue_declare *declare);

/* The broker has done a request: a declare or delete is remembered. */
void kinds_done(struct upstream *upstream, const struct request *request);

/* The broker was asked for it (probe.h). */
void kinds_learned(struct upstream *upstream, struct span queue, enum queue_kind kind);

/* What the broker has answered, whoever asked. */
enum queue_kind kinds_known(const struct upstream *upstream, struct span queue);

/* As far as the channel may know. */
enum queue_kind kinds_find(const struct channel *channel, struct span queue);

/* The size, in bytes, of messages that overflowed a consumer of it before; 0: none did. */
uint64_t kinds_message_size(const struct upstream *upstream, struct span queue);
void kinds_note_size(struct upstream *upstream, struct span queue, uint64_t bytes);

/* The queue of a method that not every kind can do; NULL: they all can. */
const struct span *kinds_subject(const struct amqc_method *method);

/* False: the broker would end the connection for it, as the queue is of that kind; *ret_fault says so. */
bool kinds_vet(const struct channel *channel, const struct amqc_method *method, struct fault *ret_fault);

/* Asked again when the request is about to be sent: the queue may have become another one meanwhile. */
bool kinds_may_send(const struct request *request, struct fault *ret_fault);

void kinds_deinit(struct upstream *upstream);
