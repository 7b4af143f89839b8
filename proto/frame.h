/*
 * The frame of the IPC protocol (PROTOCOL.md, "Frames"):
 *
 *	u32  length of the header in bytes, big-endian
 *	u32  length of the payload in bytes, big-endian
 *	     the header: a protobuf message, muxd.v1.ClientFrame or ServerFrame
 *	     the payload: a message body, as it is
 *
 * Parsing is pure: no state, no allocation; the parts are views of the input.
 */
#pragma once

#include "proto/buf.h"

#define IPC_FRAME_PREFIX 8u		       /* bytes: the two lengths */
#define IPC_HEADER_MAX (256u * 1024u)	       /* bytes: the largest header either side may send */
#define IPC_PAYLOAD_MAX (128u * 1024u * 1024u) /* bytes: the protocol's own bound; limits are lower */

struct ipc_frame {
	struct span header;
	struct span payload;
};

enum ipc_frame_result {
	IPC_FRAME_OK = 0,
	IPC_FRAME_INCOMPLETE,  /* more bytes are needed; ret_needed tells how many in all, at least */
	IPC_FRAME_HEADER_SIZE, /* header empty, or longer than IPC_HEADER_MAX: not our protocol; close */
	IPC_FRAME_PAYLOAD_SIZE /* payload longer than payload_max: close */
};

/*
 * Looks at the front of input for one whole frame, of at most payload_max
 * bytes of payload. With IPC_FRAME_OK, *ret_frame is set and the frame takes
 * *ret_needed bytes of the input. With IPC_FRAME_INCOMPLETE, *ret_needed is
 * what the frame takes in all as far as it is known (8 before both lengths
 * are there). The two size errors are found as soon as the lengths are there,
 * so that nobody waits for, or holds, what will be refused.
 */
enum ipc_frame_result ipc_frame_parse(struct span input, size_t payload_max, struct ipc_frame *ret_frame,
				      size_t *ret_needed);

/*
 * Writes the prefix for a header and a payload of these lengths. The caller
 * appends both behind it.
 */
void ipc_frame_prefix(struct buf *out, size_t header_len, size_t payload_len);
