/*
 * What cost a connection, and who sent it.
 */
#pragma once

#include "daemon/base/clock.h"
#include "daemon/base/fault.h"
#include "daemon/base/list.h"

#define BLAME_OFFENDERS_MAX 64u

/* A process whose requests cost connections. */
struct offender {
	uint32_t uid, pid;
	uint32_t count; /* of its offences; 0: an empty place */
	struct mono last;
};

#define BLAME_CULPRITS_MAX 64u

/* What cost a connection: refused when it comes again. */
struct culprit {
	uint64_t names, fingerprint; /* see culprit.c */
	struct fault fault;	     /* what the broker said */
};

/* Who is to blame for a lost connection: see blame.h. */
struct blame {
	struct fault fault;	  /* of the last loss, as it was told */
	struct channel *guilty;	  /* the only one that it can mean, until it is failed; NULL: none */
	bool found;		  /* who cost the last connection: the other suspects go on */
	struct list suspicions;	  /* struct suspicion, owned */
	struct channel *was_solo; /* it was that when the connection was lost, and had something under way */
	struct channel *solo;	  /* the one that goes on before the others of the line; NULL: none */
	struct mono solo_since;
	unsigned int silent_losses; /* in a row, each without progress */
	uint64_t tx_session;	    /* it is the one, by a transaction, if nobody else is found; 0: none */
	struct culprit culprits[BLAME_CULPRITS_MAX]; /* a ring */
	size_t culprit_next, culprit_count;
};
