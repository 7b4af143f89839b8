/*
 * Frames of AMQP 0-9-1 (specification, section 4.2.3):
 *
 *	u8 type, u16 channel, u32 size, size bytes of payload, u8 0xCE
 *
 * Peeking is pure: no state, no allocation; the payload is a view.
 *
 * The prefix of the codec is amqc_, because librabbitmq, the oracle of the
 * tests, exports amqp_.
 */
#pragma once

#include "proto/buf.h"

#define AMQC_FRAME_METHOD 1u
#define AMQC_FRAME_HEADER 2u
#define AMQC_FRAME_BODY 3u
#define AMQC_FRAME_HEARTBEAT 8u
#define AMQC_FRAME_END 0xCEu

#define AMQC_FRAME_OVERHEAD 8u	  /* bytes around a payload: 7 before, 1 behind */
#define AMQC_FRAME_SIZE_MIN 4096u /* bytes: nobody may negotiate less (section 4.2.3) */

/* "AMQP" 0 0 9 1: what a client sends first, and a server that wants another version answers. */
#define AMQC_PROTOCOL_HEADER "AMQP\0\0\x09\x01"
#define AMQC_PROTOCOL_HEADER_LEN 8u

struct amqc_frame {
	uint8_t type;
	uint16_t channel;
	struct span payload;
};

/*
 * What decoding can find. All but OK and INCOMPLETE are faults of the peer;
 * amqc_strerror() has the sentence, amqc_reply_code() the reply code that a
 * peer would close the connection with.
 */
enum amqc_result {
	AMQC_OK = 0,
	AMQC_INCOMPLETE,     /* more bytes are needed */
	AMQC_FRAME_TYPE,     /* no such frame type (501) */
	AMQC_FRAME_SIZE,     /* larger than frame_max (501) */
	AMQC_FRAME_BAD_END,  /* the end octet is not 0xCE (501) */
	AMQC_TRUNCATED,	     /* an argument reaches behind the end (502) */
	AMQC_TRAILING,	     /* bytes behind the last argument (502) */
	AMQC_UNKNOWN_METHOD, /* no such class or method (540) */
	AMQC_BAD_FIELD_TYPE, /* a table holds a type nobody knows (502) */
	AMQC_TOO_DEEP,	     /* tables nest deeper than AMQC_TABLE_DEPTH_MAX (502) */
	AMQC_BAD_PROPERTIES, /* property flags with a continuation, or an undefined property (502) */
	AMQC_TOO_LONG /* encoding: a short string of more than 255 bytes, a value out of its field's range */
};

const char *amqc_strerror(enum amqc_result result);
uint16_t amqc_reply_code(enum amqc_result result);

/*
 * Looks for one whole frame of at most frame_max bytes in all (payload plus
 * AMQC_FRAME_OVERHEAD) at the front of input. On AMQC_OK *ret is set and the
 * frame takes *ret_size bytes. On AMQC_INCOMPLETE *ret_size is what it will
 * take, as far as known (7 before its header is there). A wrong type or size
 * is found as soon as the header is there.
 */
enum amqc_result amqc_frame_peek(struct span input, uint32_t frame_max, struct amqc_frame *ret,
				 size_t *ret_size);

/*
 * Writing a frame whose payload is appended between the two calls:
 * begin returns a mark for end, which fills in the size.
 */
size_t amqc_frame_begin(struct buf *out, uint8_t type, uint16_t channel);
void amqc_frame_end(struct buf *out, size_t mark);

void amqc_heartbeat_append(struct buf *out);
