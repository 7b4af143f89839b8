/*
 * The audit log: a line for each declare, delete, bind, unbind and purge, with
 * who asked for it, and what became of it. In the journal each line has fields
 * to filter by (MESSAGE_ID, MUXD_AUDIT, ...); elsewhere it begins with "audit:".
 *
 * A process that floods does not fill the disk: each session has a number of
 * lines that grows back with time, and so have all together. How many were left
 * out is a line of its own.
 */
#pragma once

#include "daemon/mux/mux.h"
#include "daemon/net/loop.h"

struct audit;

/* 0 or -ENOMEM. */
int audit_new(struct loop *loop, struct audit **ret) __attribute__((warn_unused_result));

/* Says what was left out. NULL is fine; returns NULL. */
struct audit *audit_free(struct audit *audit);

void audit_note(struct audit *audit, const struct mux_audit *what);
