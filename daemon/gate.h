/*
 * The gate between the access rules of the configuration, the policy that
 * judges them, and mux, which asks: translates who asks and what for.
 */
#pragma once

#include "daemon/conf/conf.h"
#include "daemon/mux/mux.h"
#include "daemon/policy/access.h"

struct gate;

/*
 * Takes the rules over. 0; -EINVAL with errors listed (an unknown user, a
 * pattern that is none); -ENOMEM; or why a user cannot be looked up. conf must stay.
 */
int gate_new(const struct conf *conf, struct conf_errors *errors, struct gate **ret)
    __attribute__((warn_unused_result));

/* NULL is fine; returns NULL. */
struct gate *gate_free(struct gate *gate);

/* A turn of the loop is over: see access_turn(). */
void gate_turn(struct gate *gate);

/* A mux_authorize_fn; the context is the gate. */
bool gate_authorize(void *context, const struct mux_creds *creds, const char *upstream,
		    const struct amqc_method *method, struct fault *ret_fault);

/* May this process use the upstream at all? Its limits are then in *ret_limits. */
bool gate_admit(struct gate *gate, const struct mux_creds *creds, const char *upstream,
		struct limits *ret_limits, struct fault *ret_fault);

/* May it look into other users' sessions of the upstream, and control them? */
bool gate_control(struct gate *gate, const struct mux_creds *creds, const char *upstream,
		  struct fault *ret_fault);
