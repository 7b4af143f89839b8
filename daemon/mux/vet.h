/*
 * What the broker would close the whole connection for is refused here, with
 * the reply code that it would have given, so that it costs the one channel
 * that asked. ("What closes a shared connection", ARCHITECTURE.md.)
 */
#pragma once

#include "daemon/amqp/content.h"
#include "daemon/base/fault.h"

/* True, or false with *ret_fault set. The method is a client's, of exchange, queue or basic. */
bool vet_method(const struct amqc_method *method, struct fault *ret_fault);

/* The properties of a publish. */
bool vet_properties(const struct amqc_properties *properties, struct fault *ret_fault);
