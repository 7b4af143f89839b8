/*
 * The body of an upstream: dials when mux says so, and carries bytes between
 * the socket and mux.
 *
 * With TLS, mux hears of a connection when its handshake is done; it knows
 * nothing of what lies between.
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
#include "daemon/net/tls.h"

struct uplink;

struct uplink_endpoint {
	const char *host; /* IPv6 without brackets */
	const char *port;
	bool tls;
};

struct uplink_options {
	struct loop *loop;
	struct resolver *resolver;
	struct mux *mux;
	const struct upstream_options
	    *upstream; /* as mux gets it; its endpoints are matched by index with ours */
	const struct uplink_endpoint *endpoints; /* upstream->endpoint_count of them; copied */
	struct tls_context *tls; /* for endpoints with TLS; NULL if there are none. The uplink's by success */
	/* The upstream's state changed (see upstream_ops). May be NULL. */
	void (*changed)(void *context);
	void *context;
};

/* Makes the upstream in mux and its body. 0, or what upstream_new() says. */
int uplink_new(const struct uplink_options *options, struct uplink **ret) __attribute__((warn_unused_result));

/* Drops the transport. The upstream is mux's to free, and may not ask for anything any more. NULL is fine. */
struct uplink *uplink_free(struct uplink *uplink);

/*
 * A reload: copies what the options have that can change (all but loop,
 * resolver, mux, changed and context, which are not looked at; tls is the
 * change's by success), and later puts it in place, which frees the change and
 * cannot fail. A connection goes on as
 * it is; who has none dials at once. 0 or -ENOMEM.
 */
struct uplink_change;
int uplink_change_new(const struct uplink_options *options, struct uplink_change **ret)
    __attribute__((warn_unused_result));
struct uplink_change *uplink_change_free(struct uplink_change *change); /* NULL is fine; returns NULL */
void uplink_alter(struct uplink *uplink, struct uplink_change *change);

struct upstream *uplink_upstream(const struct uplink *uplink);

/*
 * Called now and then: NULL if the main connection advances; else what could
 * have been done since the last call, and was not.
 */
const char *uplink_find_stall(struct uplink *uplink);

/* After mux_turn(): what mux wrote is on its way. */
void uplink_turn(struct uplink *uplink);
