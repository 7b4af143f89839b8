/*
 * A non-blocking byte stream over a connected descriptor.
 *
 * Reading goes into a block that all streams of the loop share, and the owner
 * parses it in place; only an incomplete rest is copied into the stream's own
 * buffer, which is given back when it is empty, so that an idle stream holds
 * no memory. When the parser says how much it needs for the next frame, the
 * rest grows once to that size and the socket is read straight into it.
 *
 * Writing: the owner appends to the output buffer, marks the stream, and the
 * loop writes once at the end of the turn. What the socket does not take waits
 * until it is writable.
 *
 * A peer that stops reading and goes (a process that publishes and exits)
 * makes writing fail while its last bytes are still to be read: then output is
 * dropped, and reading goes on to its end.
 *
 * Ownership: the owner holds the stream until it calls stream_close(), after
 * which there is no callback any more; the stream then frees itself. Every
 * callback may close its own stream.
 */
#pragma once

#include "daemon/net/loop.h"
#include "proto/buf.h"

#include <sys/types.h>
#include <sys/uio.h>

struct stream;

struct stream_ops {
	/*
	 * Bytes came; the rest that was not consumed before comes again in
	 * front. Returns how many were consumed. *ret_need may be set to the
	 * size in bytes, counted from the first that was not consumed, without
	 * which there is no use in being called again.
	 */
	size_t (*on_bytes)(void *context, struct span bytes, size_t *ret_need);
	/* The socket took bytes; total counts all since the stream began. */
	void (*on_written)(void *context, uint64_t total);
	/* The socket took all there was and would take more. NULL: nothing to add. */
	void (*on_low)(void *context);
	/*
	 * The stream is dead: "closed by the peer", "read: Connection reset by
	 * peer". Called once; the owner still calls stream_close().
	 */
	void (*on_closed)(void *context, const char *reason);
};

/*
 * How bytes get through: the socket itself, or something laid over it. Both
 * return a count, 0 for the end (read alone), or a negative errno; -EAGAIN
 * when the descriptor has to become ready first, and -EPROTO when reason()
 * says more. A write that returned no count is tried again with the same bytes
 * in front, and perhaps others behind them.
 */
struct stream_transport {
	ssize_t (*read)(void *context, int fd, const struct iovec *parts, int part_count);
	ssize_t (*write)(void *context, int fd, struct span bytes);
	/* Why a read returned -EPROTO; NULL for a transport that never does. */
	const char *(*reason)(void *context);
	/* Ends the transport's own state; the stream closes fd. NULL: nothing to end. */
	void (*end)(void *context, int fd);
};

struct stream_options {
	int fd; /* connected, non-blocking; the stream's once stream_new() succeeded */
	const struct stream_transport *transport; /* NULL: the socket */
	void *transport_context;
	struct buf *out;   /* NULL: the stream's own. It outlives the stream */
	bool keeps_little; /* few bytes in the kernel: see ahead.h */
	const struct stream_ops *ops;
	void *context;
};

/* 0 or -ENOMEM. */
int stream_new(struct loop *loop, const struct stream_options *options, struct stream **ret)
    __attribute__((warn_unused_result));

/* Where output is appended; call stream_mark() behind it. */
struct buf *stream_out(struct stream *stream);

/* There is output: write it at the end of the turn. */
void stream_mark(struct stream *stream);

/* The socket took no more when it was written to last: there is output that waits for it. */
bool stream_is_full(const struct stream *stream);

/* Writes now what the socket takes, without callbacks: for the last words before a close. */
void stream_write_now(struct stream *stream);

/* Bytes ever queued: what the socket took and what waits. on_written() counts in the same. */
uint64_t stream_position(const struct stream *stream);

/* What could be done with the socket, and what was done so far. */
struct stream_progress {
	bool may_read;	/* bytes are there */
	bool may_write; /* output is there, and room for it */
	uint64_t reads; /* how often the socket was read from */
	uint64_t written;
};

/* Asks the kernel: for whoever looks now and then whether work advances. */
struct stream_progress stream_look(const struct stream *stream);

/*
 * Ends the stream. drain_usec 0: at once. Else what is queued is written
 * first (what still comes is read and dropped, so that the peer is not stuck
 * in a write), for at most that long; it needs an output of the stream's own.
 * No callback comes after this. NULL is fine.
 */
void stream_close(struct stream *stream, uint64_t drain_usec);
