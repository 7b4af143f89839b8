/*
 * Host names to addresses, by getaddrinfo() in a thread of its own: it honours
 * the system's configuration, and it blocks. One name at a time; there are few
 * upstreams.
 *
 * The thread starts with the first name that needs it, and touches nothing but
 * its queue. Answers arrive in the loop.
 */
#pragma once

#include "daemon/net/loop.h"

#include <netdb.h>

struct resolver;
struct resolve;

/* Never called from inside resolve_start(). error 0: addresses is set, and the callee frees it
 * (freeaddrinfo). */
typedef void (*resolve_fn)(void *context, int error, struct addrinfo *addresses);

int resolver_new(struct loop *loop, struct resolver **ret) __attribute__((warn_unused_result));

/* Forgets what is asked; does not wait for a name that is being looked up. NULL is fine; returns NULL. */
struct resolver *resolver_free(struct resolver *resolver);

/*
 * Looks for stream addresses. The strings are copied. fn is called once,
 * unless resolve_cancel() came first; *ret is valid until then. 0 or a
 * negative errno.
 */
int resolve_start(struct resolver *resolver, const char *host, const char *port, resolve_fn fn, void *context,
		  struct resolve **ret) __attribute__((warn_unused_result));
void resolve_cancel(struct resolve *resolve);
