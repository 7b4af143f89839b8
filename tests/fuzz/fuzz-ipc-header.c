/*
 * The way of a header: pre-scan, unpack into an arena, pack again. What the
 * pre-scan lets pass must unpack within bounds, or fail cleanly; packed again,
 * it must pass again, and be the same when all is done once more.
 *
 * Every input is tried as a frame of the client and of the daemon.
 */
#include "proto/arena.h"
#include "proto/frame.h"
#include "proto/muxd.pb-c.h"
#include "proto/prescan.h"
#include "tests/fuzz/fuzz.h"

/* Small, so that further blocks are used as well. */
#define BLOCK_SIZE 2048u

/* What a header may cost unpacked: its bytes, and a bounded piece for each field. */
#define UNPACKED_MAX (IPC_HEADER_MAX + PRESCAN_FIELDS_MAX * 512u)

struct meter {
	ProtobufCAllocator allocator;
	struct arena *arena;
	size_t bytes;
};

static void *meter_alloc(void *context, size_t size)
{
	struct meter *meter = context;

	meter->bytes += size;
	require(meter->bytes <= UNPACKED_MAX);
	return arena_alloc(meter->arena, size);
}

static void meter_free(void *context, void *data)
{
}

static void pack_into(const ProtobufCMessage *message, struct buf *out)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	uint8_t *room = buf_reserve(out, len);

	require(room != NULL);
	require(protobuf_c_message_pack(message, room) == len);
	buf_commit(out, len);
}

/* Unpacks and packs; false if the header is refused. */
static bool pass(enum prescan_root root, struct span header, struct buf *out)
{
	static uint8_t block[BLOCK_SIZE];
	const ProtobufCMessageDescriptor *descriptor = root == PRESCAN_CLIENT_FRAME
							   ? &muxd__v1__client_frame__descriptor
							   : &muxd__v1__server_frame__descriptor;
	ProtobufCMessage *message;
	struct arena arena;
	struct meter meter = {{meter_alloc, meter_free, &meter}, &arena, 0};

	if (prescan(root, header) != PRESCAN_OK)
		return false;
	arena_init(&arena, block, sizeof(block));
	message = protobuf_c_message_unpack(descriptor, &meter.allocator, header.len, header.data);
	if (message)
		pack_into(message, out);
	arena_deinit(&arena);
	return message != NULL;
}

static void check(enum prescan_root root, struct span header)
{
	struct buf once = BUF_INIT, twice = BUF_INIT;

	if (pass(root, header, &once) && buf_len(&once) > 0) {
		require(pass(root, buf_span(&once), &twice));
		require(span_equal(buf_span(&once), buf_span(&twice)));
	}
	buf_deinit(&once);
	buf_deinit(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > IPC_HEADER_MAX)
		return 0;
	check(PRESCAN_CLIENT_FRAME, span_make(data, size));
	check(PRESCAN_SERVER_FRAME, span_make(data, size));
	return 0;
}
