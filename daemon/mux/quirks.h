/*
 * Requests that are right as AMQP goes, and that RabbitMQ's own processes fall
 * over, so that it closes the whole connection with an internal error, 541,
 * that names nobody. As found on RabbitMQ 3.10.8 (tests/integration/KILLERS.md):
 *
 *	a direct reply-to address that no broker has made, as the name of a
 *	queue that is declared, as routing key, in CC or BCC, or where messages
 *	are dead-lettered to
 *	queue.declare: x-queue-master-locator, and a stream's x-max-age
 *	basic.consume: x-credit, and a stream's x-stream-offset
 *	basic.consume, from a quorum queue, under the tag of a consumer that was
 *	cancelled while messages were unsettled, with a larger prefetch
 *	publish: decimals to a stream, and headers that a stream gives back as
 *	properties, for which everybody's consumers of it would pay
 *
 * And one that costs no connection, but a core of the broker's, and the channels
 * of those who publish to its exchange, for ever:
 *
 *	queue.bind, exchange.bind: a key with many words that are #
 *
 * They are refused with 541, of scope channel, on that broker; and while it is
 * not known which one it is.
 */
#pragma once

#include "daemon/mux/state.h"

/* The method's queue is resolved. False: *ret_fault says why not. */
bool quirks_vet(const struct channel *channel, const struct amqc_method *method, struct fault *ret_fault);

/* A consumer is cancelled; a new one, before it is asked for. */
void quirks_note_cancelled(const struct consumer *consumer);
bool quirks_vet_consumer(const struct consumer *consumer, struct fault *ret_fault);

bool quirks_vet_publish(const struct channel *channel, const struct mux_publish *publish,
			struct fault *ret_fault);
