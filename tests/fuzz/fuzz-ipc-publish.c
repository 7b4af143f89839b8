/*
 * The short way of a publish's header: what it takes, the pre-scan lets pass,
 * and protobuf-c makes the same of it.
 */
#include "daemon/front/unpack.h"
#include "proto/buf.h"
#include "proto/frame.h"
#include "proto/prescan.h"
#include "tests/fuzz/fuzz.h"

static void pack_into(const Muxd__V1__ClientFrame *frame, struct buf *out)
{
	size_t len = muxd__v1__client_frame__get_packed_size(frame);
	uint8_t *room = buf_reserve(out, len + 1);

	require(room != NULL);
	require(muxd__v1__client_frame__pack(frame, room) == len);
	buf_commit(out, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf ours = BUF_INIT, theirs = BUF_INIT;
	struct unpacked_publish publish;
	Muxd__V1__ClientFrame *frame;

	if (size > IPC_HEADER_MAX || !unpack_publish(span_make(data, size), &publish))
		return 0;
	require(prescan(PRESCAN_CLIENT_FRAME, span_make(data, size)) == PRESCAN_OK);
	frame = muxd__v1__client_frame__unpack(NULL, size, data);
	require(frame != NULL);
	pack_into(&publish.frame, &ours);
	pack_into(frame, &theirs);
	require(span_equal(buf_span(&ours), buf_span(&theirs)));
	muxd__v1__client_frame__free_unpacked(frame, NULL);
	buf_deinit(&ours);
	buf_deinit(&theirs);
	return 0;
}
