/*
 * What a configuration asks of this host, looked up and made ready before any
 * of it holds: users, groups, patterns, password files. Needs no loop, and may
 * block (users and groups may come from the network), so it can be done on
 * another thread.
 */
#pragma once

#include "daemon/gate.h"
#include "daemon/translate.h"

struct plan {
	struct gate *gate;		       /* owned; whoever takes it leaves NULL */
	struct translated_upstream *upstreams; /* owned, one for each of conf */
	size_t upstream_count;
	gid_t group; /* of the socket; (gid_t)-1: as it comes */
};

/*
 * All of it is looked at, whatever is found on the way; warnings come behind
 * those that conf has. 0; -EINVAL with errors listed; -ENOMEM; or why
 * something cannot be told, such as who a user is. plan_deinit() in every case.
 */
int plan_make(struct conf *conf, struct plan *ret, struct conf_errors *errors)
    __attribute__((warn_unused_result));

/* Wipes passwords. The conf must be there yet. */
void plan_deinit(struct plan *plan);
