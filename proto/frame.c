#include "proto/frame.h"

enum ipc_frame_result ipc_frame_parse(struct span input, size_t payload_max, struct ipc_frame *ret_frame,
				      size_t *ret_needed)
{
	uint32_t header_len, payload_len;
	size_t total;

	if (input.len < IPC_FRAME_PREFIX) {
		/* A wrong header length is seen already in its own four bytes. */
		if (input.len >= 4 && (load_be32(input.data) == 0 || load_be32(input.data) > IPC_HEADER_MAX))
			return IPC_FRAME_HEADER_SIZE;
		*ret_needed = IPC_FRAME_PREFIX;
		return IPC_FRAME_INCOMPLETE;
	}
	header_len = load_be32(input.data);
	payload_len = load_be32(input.data + 4);
	if (header_len == 0 || header_len > IPC_HEADER_MAX)
		return IPC_FRAME_HEADER_SIZE;
	if (payload_len > payload_max || payload_len > IPC_PAYLOAD_MAX)
		return IPC_FRAME_PAYLOAD_SIZE;
	total = IPC_FRAME_PREFIX + (size_t)header_len + payload_len;
	*ret_needed = total;
	if (input.len < total)
		return IPC_FRAME_INCOMPLETE;
	ret_frame->header = span_make(input.data + IPC_FRAME_PREFIX, header_len);
	ret_frame->payload = span_make(input.data + IPC_FRAME_PREFIX + header_len, payload_len);
	return IPC_FRAME_OK;
}

void ipc_frame_prefix(struct buf *out, size_t header_len, size_t payload_len)
{
	uint8_t prefix[IPC_FRAME_PREFIX];

	store_be32(prefix, (uint32_t)header_len);
	store_be32(prefix + 4, (uint32_t)payload_len);
	buf_append(out, prefix, sizeof(prefix));
}
