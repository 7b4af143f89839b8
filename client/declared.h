/* What was declared and bound, to be declared again; see declared.c. */
#pragma once

#include "client/muxclient.h"

#include "proto/buf.h"

#include <stdbool.h>

#define DECLARED_MAX_BYTES (16u * 1024u * 1024u)

struct request;

/* What was declared and bound, in order, to be declared again; see declared.c. */
struct declarations {
	struct declared *first;
	struct declared *last;
	struct declared *next;	   /* where to go on with declaring again */
	struct declared **buckets; /* by key */
	size_t capacity;
	size_t count;
	size_t bytes; /* at most DECLARED_MAX_BYTES, and what was under way then */
};

struct declared {
	struct declared *next;
	struct declared *previous;
	struct declared *next_in_bucket;
	uint32_t op; /* queue or exchange declare, or bind */
	uint32_t hash;
	uint64_t serial; /* of the channel it was declared on */
	struct buf body; /* the operation */
	char *name;	 /* of a queue or exchange; NULL: a binding, named by its operation */
	bool waiting;	 /* to be declared again */
	bool alone;	 /* and with nothing else under way, to see whether it is the one refused */
};

/* What the answer to a request means for what is to be declared again. -ENOMEM. */
int declared_answered(struct muxc *c, struct request *request);
/* Whether it may be sent: what it declares could be remembered. */
bool declared_has_room(const struct muxc *c, const struct request *request);
/*
 * The request has deleted what it names, may have when muxd was lost, or was
 * refused because that does not exist: it is not brought back.
 */
void declared_gone(struct muxc *c, const struct request *request);
/* A consumer has ended, started by this operation. */
void declared_unused(struct muxc *c, const struct buf *consume);
void declared_remove(struct muxc *c, struct declared *declared);
void declared_deinit(struct muxc *c);
