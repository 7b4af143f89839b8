/* Frames of a client that are well made and odd: for fuzz-ipc-session. */
#pragma once

#include "proto/buf.h"
#include "proto/muxd.pb-c.h"
#include "tests/fuzz/input.h"

struct odd_request {
	uint32_t id; /* of the frame, if it is a request; else 0 */
	bool is_request;
	bool is_publish;
	uint32_t channel;
	uint32_t generation; /* of a channel that is opened */
};

/*
 * Appends the header of a frame that the input chooses. next_id and
 * generations are what a right client would use; it mostly does.
 */
struct odd_request odd_frame(struct input *input, uint32_t next_id, const uint32_t *generations,
			     struct buf *ret_header);

/* A Hello that is right. */
void odd_hello(struct buf *ret_header);

#define ODD_CHANNELS 4u /* numbers below this are used mostly, from 1 */
