/*
 * What only the broker knows, and what decides whether a request costs the
 * connection: asked of it by the scout before the request is sent.
 *
 * What kind of queue it is (get and purge of a stream, and a conditional delete
 * of a quorum queue, close the connection). No method tells; but a declare with
 * a type that does not exist makes nothing, and is refused with the words that
 * "x-queue-type" is not equal to the queue's, and what that is. When another
 * argument is complained of first, it is asked again with that one's value.
 *
 * Whether it has an exchange type that is not one of AMQP's: the declare itself
 * is tried.
 */
#pragma once

#include "daemon/mux/state.h"

void probes_init(struct upstream *upstream);
void probes_deinit(struct upstream *upstream);

/* Whether the request, as a channel's client made it, is one that depends on such a thing. */
bool probe_is_needed(const struct channel *channel, const struct amqc_method *method);

/* For one that does: true as long as the answer is not there. Asks. */
bool probe_must_wait(const struct request *request);

/* The answer is there, or there can be none. False: the broker would close the connection; *ret_fault says
 * why. */
bool probe_may_send(const struct request *request, struct fault *ret_fault);
