/*
 * What a reload of the configuration changes in an upstream while it runs.
 *
 * Nothing of it needs another connection: endpoints, credentials and timeouts
 * are those of the next one. An endpoint that is in use and no longer listed is
 * kept behind the listed ones, where nothing dials it, until the next reload:
 * so an index means the same endpoint for as long as it is used. Who is between
 * two connections, or setting one up, begins anew with what there is now.
 */
#pragma once

#include "daemon/mux/state.h"

/*
 * Copies the options, with room for one endpoint more. 0 or -ENOMEM; nothing is
 * left then.
 */
int options_copy(struct upstream_options *to, const struct upstream_options *from)
    __attribute__((warn_unused_result));

/* Wipes passwords. */
void options_free(struct upstream_options *options);
