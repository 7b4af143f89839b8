/*
 * The loop and its streams for a fuzz target: what daemon/net/ promises to a
 * front end, with no descriptor and no clock behind it. The target is the
 * other end of each stream, and says what time it is.
 */
#pragma once

#include "daemon/net/loop.h"
#include "daemon/net/stream.h"

#define FAKE_STREAMS_MAX 4u
#define FAKE_FD 100000 /* of stream 0; no descriptor has such a number */

struct loop {
	struct mono now;
	struct timerq timers;
	struct list tasks;
	struct stream *streams[FAKE_STREAMS_MAX]; /* by descriptor; NULL: closed */
};

struct stream {
	struct loop *loop;
	size_t index;
	struct stream_options options;
	struct buf in;	/* not consumed yet */
	struct buf out; /* not taken yet */
	uint64_t taken;
	bool full; /* its peer has left something */
};

void fake_loop_init(struct loop *loop, struct mono now);
void fake_loop_deinit(struct loop *loop);

/* What is deferred, and then what is due. */
void fake_loop_run(struct loop *loop, struct mono now);

/* Bytes from the peer. May close the stream. */
void fake_stream_feed(struct loop *loop, size_t index, struct span bytes);

/* The peer reads so many bytes, which are appended to out. */
void fake_stream_take(struct loop *loop, size_t index, size_t count, struct buf *out);

/* The peer goes. */
void fake_stream_end(struct loop *loop, size_t index);
