/* How the connection is to muxd: made, lost, made again; see link.c. */
#pragma once

#include "client/muxclient.h"

#include "proto/buf.h"

#include <stdbool.h>

#define SOCKET_PATH_MAX 108u /* of a socket address, with its NUL */

/* How the connection is to muxd; see link.c and restore.c. */
struct link {
	char path[SOCKET_PATH_MAX];
	struct buf hello;
	bool reconnects; /* and so publishes are kept */
	bool later;	 /* connects later if need be */
	bool up;	 /* what is new is sent at once; else it is kept until it is */
	bool moving;	 /* muxd has asked to leave */
	bool failed;	 /* muxd has ended the session: `error` */
	bool away;	 /* no session, until the next Welcome; on_link was told */
	uint32_t attempts;
	uint32_t random;
	uint64_t backoff_usec;
	uint64_t connect_timeout_usec;
	uint64_t timeout_usec; /* how long muxd may be away */
	uint64_t retry_usec;   /* when to connect */
	uint64_t give_up_usec;
	uint64_t move_usec;	/* when to leave at the latest, */
	uint64_t commit_usec;	/* and with a transaction open */
	uint64_t leaves_usec;	/* of these two, the one that counts */
	uint64_t tell_usec;	/* when to tell that a muxd that was left has no successor; 0: not */
	uint64_t restore_usec;	/* when to go on with what was refused for now; 0: nothing was */
	uint64_t patience_usec; /* until when some refusals are for now */
	uint64_t expire_usec;	/* when the first publish that waits here ends */
	bool declaring;		/* first what was declared, then the channels */
	bool declaring_open;	/* the channel for it is */
	bool declaring_failed;	/* it was, and has failed */
	unsigned int declaring_unanswered;
	bool starved;			    /* what is sent again waits for credit */
	struct muxc_channel *pending_first; /* channels with something to be sent */
	struct muxc_channel *pending_last;
	struct muxc_error error;
};

/* Closes a lost socket if the program has asked for the one that is now, or whether or not. */
void link_close_left(struct muxc *c, bool always);
/* In a forked child: it is away, and to be tried at once. */
void link_forget(struct muxc *c);

/* Connects for the first time, or decides to do so later. */
int link_start(struct muxc *c, struct muxc_error *ret_error);
/* The session is gone; by the reader of the socket only. */
void link_lost(struct muxc *c, const struct muxc_error *error);
/* muxd has ended the session with an error; what came behind it is not read. */
void link_refused(struct muxc *c, const struct muxc_error *error);
/* muxd has greeted. */
void link_welcomed(struct muxc *c);
/* Whether this session takes what is new of the channel, NULL: of none. */
bool link_serves(const struct muxc *c, const struct muxc_channel *channel);
/* muxd asks to leave. */
void link_move(struct muxc *c, uint64_t within_usec);
/* When link_turn() has something to do; UINT64_MAX: never. */
uint64_t link_timeout(const struct muxc *c);
/* Does what is due; by the reader of the socket. */
void link_turn(struct muxc *c);
