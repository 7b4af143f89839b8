/*
 * What both benches need of librabbitmq. Whatever fails ends the process.
 */
#pragma once

#include <amqp.h>

#define CHANNEL 1 /* the one that rabbit_dial() opens */

/* An AMQP_STATUS_. */
void rabbit_must(int status, const char *what);
/* The reply to the last synchronous call. */
void rabbit_must_reply(amqp_connection_state_t conn, const char *what);

amqp_connection_state_t rabbit_dial(const char *url);
void rabbit_hang_up(amqp_connection_state_t conn);
