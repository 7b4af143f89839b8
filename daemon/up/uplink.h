/*
 * The body of an upstream: dials when mux says so, and carries bytes between
 * the socket and mux.
 *
 *	mux asks:   dial(index), hang_up(), changed()
 *	mux hears:  upstream_dialled() or upstream_dial_failed(), upstream_feed(), upstream_lost()
 *
 * The output buffer is mux's. The stream writes from it at the end of the
 * turn, and asks mux for more (upstream_pump) as long as the socket takes it,
 * so that little waits in the buffer and mux decides late what goes next.
 */
#pragma once

#include "daemon/mux/mux.h"
#include "daemon/net/resolver.h"

struct uplink;

struct uplink_endpoint {
	const char *host; /* IPv6 without brackets */
	const char *port;
};

struct uplink_options {
	struct loop *loop;
	struct resolver *resolver;
	struct mux *mux;
	const struct upstream_options
	    *upstream; /* as mux gets it; its endpoints are matched by index with ours */
	const struct uplink_endpoint *endpoints; /* upstream->endpoint_count of them; copied */
	/* The upstream's state changed (see upstream_ops). May be NULL. */
	void (*changed)(void *context);
	void *context;
};

/* Makes the upstream in mux and its body. 0, or what upstream_new() says. */
int uplink_new(const struct uplink_options *options, struct uplink **ret) __attribute__((warn_unused_result));

/* Drops the transport. The upstream is mux's to free, and may not ask for anything any more. NULL is fine. */
struct uplink *uplink_free(struct uplink *uplink);

struct upstream *uplink_upstream(const struct uplink *uplink);

/* After mux_turn(): what mux wrote is on its way. */
void uplink_turn(struct uplink *uplink);
