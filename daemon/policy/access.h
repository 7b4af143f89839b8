/*
 * Who may do what. Rules are asked in order; the first that matches the
 * process and the upstream decides, by three patterns on the names of queues
 * and exchanges, as a broker's permissions are: configure, write, read.
 *
 *	no rule at all          everything is allowed: who got through the
 *	                        socket's mode is meant to be here
 *	rules, none matches     refused, but for root and muxd's own uid
 *	control                 by the rule; root and muxd's own uid always
 *
 * Names are bytes with a length: a NUL does not end them, and they need not be
 * UTF-8. They are those that the broker will see: mux has filled in the empty
 * queue name, and has taken out CR and LF where RabbitMQ does.
 *
 * Which patterns an operation needs is RabbitMQ's table, see access.c.
 *
 * Threads: none; a check uses scratch memory of the object.
 */
#pragma once

#include "daemon/base/fault.h"
#include "daemon/policy/limits.h"

/* What the kernel shows instead of an id that has no mapping in our namespace. */
#define ACCESS_OVERFLOW_ID 65534u

enum access_operation {
	ACCESS_ATTACH,	/* use the upstream at all */
	ACCESS_CONTROL, /* muxctl's controlling commands */
	ACCESS_QUEUE_DECLARE,
	ACCESS_QUEUE_DECLARE_PASSIVE,
	ACCESS_QUEUE_DELETE,
	ACCESS_QUEUE_BIND, /* and unbind */
	ACCESS_QUEUE_PURGE,
	ACCESS_EXCHANGE_DECLARE,
	ACCESS_EXCHANGE_DECLARE_PASSIVE,
	ACCESS_EXCHANGE_DELETE,
	ACCESS_EXCHANGE_BIND, /* and unbind */
	ACCESS_PUBLISH,
	ACCESS_GET,
	ACCESS_CONSUME,
	ACCESS_OPERATION_COUNT
};

/* Names are resolved: the empty queue name is no longer "the last declared". */
struct access_request {
	enum access_operation operation;
	struct span name;   /* the queue or exchange; of a binding its destination */
	struct span source; /* the exchange that a binding comes from */
	struct span other;  /* the argument x-dead-letter-exchange or alternate-exchange */
	bool has_other;
};

struct access_creds {
	uint32_t uid;
	uint32_t gid;
	const uint32_t *groups; /* supplementary, in ascending order */
	size_t group_count;
};

/* Ids from first to last. One that came from a name never matches the overflow id. */
struct access_id {
	uint32_t first;
	uint32_t last;
	bool from_name;
};

/* A process must match all three: one of users, one of groups, one of upstreams; an empty list is any. */
struct access_rule {
	const char *name;
	const struct access_id *users;
	size_t user_count;
	const struct access_id *groups;
	size_t group_count;
	const char *const *upstreams;
	size_t upstream_count;
	const char *configure; /* patterns; empty: only the empty name, as in RabbitMQ */
	const char *write;
	const char *read;
	bool control;
	struct limits limits; /* 0: not lowered */
};

/* Which pattern is wrong, and why. */
struct access_error {
	size_t rule;	     /* index */
	const char *pattern; /* "configure", "write" or "read" */
	size_t offset;	     /* bytes into it */
	char text[128];
};

struct access;

/*
 * Copies the rules and compiles their patterns. own_uid is muxd's. 0;
 * -EINVAL with *ret_error set when a pattern is wrong; -ENOMEM.
 */
int access_new(const struct access_rule *rules, size_t rule_count, uint32_t own_uid, struct access **ret,
	       struct access_error *ret_error) __attribute__((warn_unused_result));

/*
 * A turn of the loop is over. What names of one user cost in a turn is bounded:
 * behind that a name is refused for now if it takes more than a sane pattern
 * does, so that nobody is held up by another's names.
 */
void access_turn(struct access *access);

/* NULL is fine. */
void access_free(struct access *access);

/* True, or false with *ret_fault set: 403 and the rule that decided; 506, retryable: it cannot be judged now.
 */
bool access_check(struct access *access, const struct access_creds *creds, const char *upstream,
		  const struct access_request *request, struct fault *ret_fault)
    __attribute__((warn_unused_result));

/* The limits of a session, lowered by the rule that matches. */
struct limits access_limits(const struct access *access, const struct access_creds *creds,
			    const char *upstream, const struct limits *whole);
