/*
 * The part of the loop that only net/ uses: its event_base, the streams' lists
 * and the block they read into.
 */
#pragma once

#include "daemon/net/loop.h"
#include "proto/buf.h"

/* Bytes a stream may read in one turn; what is left in the socket is read in the next. */
#define LOOP_READ_BYTES_MAX (128u * 1024u)

struct event_base *loop_base(struct loop *loop);

/*
 * Every callback of libevent calls this first: the first one of a turn reads
 * the clock and calls the begin hook.
 */
void loop_enter(struct loop *loop);

/* LOOP_READ_BYTES_MAX bytes, valid until the callback returns. */
uint8_t *loop_scratch(struct loop *loop);

/*
 * Blocks for output go from stream to stream, so that a busy one need not grow
 * its block from nothing in each turn: take gives an empty buffer a spare
 * block if there is one, give takes an empty buffer's block away.
 */
void loop_take_block(struct loop *loop, struct buf *buf);
void loop_give_block(struct loop *loop, struct buf *buf);

/* A stream as the loop sees it. */
struct loop_stream {
	struct list all;   /* in the loop's list from birth to end */
	struct list dirty; /* in the list of those with output */
	bool draining;
	/* Writes once; true if the socket took anything. It may mark itself dirty again, for the next round.
	 */
	bool (*flush)(struct loop_stream *stream);
	/* The loop ends: free at once. */
	void (*drop)(struct loop_stream *stream);
};

void loop_add_stream(struct loop *loop, struct loop_stream *stream);
void loop_remove_stream(struct loop *loop, struct loop_stream *stream);
void loop_mark_dirty(struct loop *loop, struct loop_stream *stream);
void loop_mark_draining(struct loop *loop, struct loop_stream *stream);
