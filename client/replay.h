/* Publishes without an outcome, kept to be sent again; see replay.c. */
#pragma once

#include "client/outcome.h"
#include "client/muxclient.h"

#include <stdbool.h>

#define REPLAY_BYTES (64u * 1024u * 1024u)

struct kept;

/*
 * Numbers of a channel's publishes. The program's count from 1 as long as the
 * channel lives, muxd's anew in each session: what is sent again has holes.
 */
struct wire_part {
	uint64_t last;	 /* muxd's number of the last one of this part */
	uint64_t offset; /* what the program's is more; may wrap */
};

struct replay {
	struct kept **ring; /* of the numbers from `first` to the newest; NULL: has its outcome */
	size_t capacity;    /* a power of two, or 0 */
	uint64_t first;	    /* the oldest without an outcome, or the next one to be published */
	uint64_t sent;	    /* up to here all were sent in this session, or need not be */
	uint64_t wire_sent; /* muxd's number of the newest */
	uint64_t offset;    /* of what was sent behind the parts */
	struct wire_part *parts;
	size_t parts_count;
	size_t parts_capacity;
};

/* Room for a publish and its frame; nothing else happens before replay_commit(), or kept_discard(). NULL: no
 * memory. */
struct kept *replay_reserve(struct muxc_channel *channel, size_t frame_len);
/* The next number of the channel is this one; it is still to be sent. */
void replay_commit(struct muxc_channel *channel, struct kept *kept);
/* The next number is not kept. -ENOMEM. */
int replay_skip(struct muxc_channel *channel);
/* The number's frame has been appended to the output. -ENOMEM. */
int replay_sent(struct muxc_channel *channel, uint64_t number);
/* These have their outcome: not kept any more. */
void replay_settled(struct muxc_channel *channel, struct range range);
/* An outcome in muxd's numbers: as outcomes_settle(). */
int replay_outcome(struct muxc_channel *channel, struct range wire, int kind, const struct muxc_error *error);
/* It came back, so muxd will not say anything else of it. */
void replay_returned(struct muxc_channel *channel, uint64_t number);
/* The program's number of muxd's. */
uint64_t replay_number(const struct muxc_channel *channel, uint64_t wire);
/* The session is gone: all that is kept is to be sent again. */
void replay_lost(struct muxc_channel *channel);
/* The channel is open in a new session: muxd counts from 1. */
void replay_begin(struct muxc_channel *channel);
/* Sends what is to be sent up to this number. False: credit is missing, or the connection has ended. */
bool replay_send(struct muxc_channel *channel, uint64_t limit);
/* How many of the kept ones are marked when they are sent again. */
uint64_t replay_count_resent(struct muxc *c);
/* Ends what was not sent in this session: as failed, or unknown if it was in an earlier one. */
void replay_end_unsent(struct muxc_channel *channel, const struct muxc_error *error);
/* Ends those whose time is over and that were not sent; says when the next is. */
void replay_expire(struct muxc *c);
void replay_deinit(struct muxc_channel *channel);
