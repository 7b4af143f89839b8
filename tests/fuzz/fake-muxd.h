/*
 * The muxd of fuzz-client-session: the far end of libmuxclient's socket, and
 * the clock behind it, without a descriptor. What it says is chosen by the
 * input, and it knows enough of what the library said to say what is right,
 * or what is nearly so.
 *
 * While the library waits it acts: muxd_acts() is called until there is
 * something to be read, and then time passes.
 */
#pragma once

#include "proto/buf.h"
#include "proto/muxd.pb-c.h"
#include "tests/fuzz/input.h"

#define MUXD_CHANNELS 4u /* numbers below this are followed, from 1 */
#define MUXD_ASKED_MAX 512u

/* A request without an answer. */
struct asked {
	uint32_t id;
	int op;
	uint32_t channel;
};

struct fake_muxd {
	struct input *input;
	uint64_t now_usec;
	bool listens;
	unsigned int descriptors; /* that the library has open */
	int fd;			  /* of the session; -1: there is none */
	bool gone;		  /* hung up; what was said can still be read */
	size_t piece;		  /* the most that one read gives */
	size_t room;		  /* that the socket has for the library */
	unsigned int idle;	  /* waits since anything happened */
	int last_fd;

	/* Of the session. */
	struct buf said, heard, last;
	struct asked asked[MUXD_ASKED_MAX];
	unsigned int asked_count;
	uint32_t generations[MUXD_CHANNELS];
	uint64_t published[MUXD_CHANNELS];
	uint64_t tags[MUXD_CHANNELS];
	uint32_t consumers[MUXD_CHANNELS]; /* the number of the newest */
	uint64_t credit_messages, credit_bytes, spent_messages, spent_bytes;
};

extern struct fake_muxd muxd;

void muxd_init(struct input *input);
void muxd_deinit(void);
/* One step of the input's. */
void muxd_acts(void);
