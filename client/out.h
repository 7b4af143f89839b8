/* Output: frames, and when they are sent; see out.c. */
#pragma once

#include "client/muxclient.h"

#include "proto/span.h"

#include <stdbool.h>

#define TICK_USEC 500u	    /* how long what was put off may wait for the I/O thread */
#define BODY_COPY_MAX 4096u /* bytes: larger ones go to the socket from where they are, if it takes them */
#define OUT_DIRECT_BYTES (32u * 1024u) /* so much is sent at once by whoever queued it */

/* Sends what is queued as far as it goes. */
void out_flush(struct muxc *c);
/*
 * Appends a frame: op is an encoded operation of the given field number,
 * payload may be empty. -ENOMEM.
 */
struct frame_head {
	uint32_t request;
	uint32_t channel;
	uint32_t deadline_ms;
	uint32_t op;
};
int out_frame(struct muxc *c, const struct frame_head *head, struct span op);
/* To be called after appending: sends now, or leaves it to the I/O thread for a while. */
void out_policy(struct muxc *c, bool more);
/*
 * Behind an appended frame head: sends the body, or queues it. -ENOMEM: the
 * buffer is cut back to len_before.
 */
int out_body(struct muxc *c, struct span body, size_t len_before);
