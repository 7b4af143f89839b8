/* proto/arena: pieces that are aligned, apart, and all gone at the reset. */
#include "proto/arena.h"
#include "proto/muxd.pb-c.h"
#include "tests/unit/random.h"

#include <check.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PIECES_MAX 200

/*
 * The linker sends the arena's malloc here (--wrap), and check's own too: only
 * what happens between arm() and disarm() is counted, and can fail.
 */
static bool malloc_armed;
static size_t malloc_calls;
static size_t malloc_calls_left;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	if (!malloc_armed)
		return __real_malloc(size);
	malloc_calls++;
	if (malloc_calls_left == 0)
		return NULL;
	malloc_calls_left--;
	return __real_malloc(size);
}

static void arm(size_t calls_left)
{
	malloc_calls = 0;
	malloc_calls_left = calls_left;
	malloc_armed = true;
}

static void disarm(void)
{
	malloc_armed = false;
}

static void *alloc_counted(struct arena *arena, size_t size)
{
	void *data;

	arm(SIZE_MAX);
	data = arena_alloc(arena, size);
	disarm();
	ck_assert_ptr_nonnull(data);
	return data;
}

static void *alloc_without_malloc(struct arena *arena, size_t size)
{
	void *data;

	arm(0);
	data = arena_alloc(arena, size);
	disarm();
	return data;
}

struct piece {
	uint8_t *data;
	size_t len;
};

static void fill_pieces(struct random *random, struct arena *arena, struct piece pieces[static PIECES_MAX])
{
	for (size_t i = 0; i < PIECES_MAX; i++) {
		pieces[i].len = random_below(random, random_below(random, 20) ? 100 : 9000);
		pieces[i].data = arena_alloc(arena, pieces[i].len);
		ck_assert_ptr_nonnull(pieces[i].data);
		ck_assert_uint_eq((uintptr_t)pieces[i].data % alignof(max_align_t), 0);
		memset(pieces[i].data, (int)i, pieces[i].len);
	}
}

static bool all_are(const uint8_t *data, size_t len, uint8_t value)
{
	for (size_t i = 0; i < len; i++)
		if (data[i] != value)
			return false;
	return true;
}

START_TEST(arena__pieces_are_aligned_and_do_not_touch_each_other)
{
	struct random random = random_make((uint64_t)_i);
	size_t size = random_below(&random, 20000), skew = random_below(&random, 16);
	uint8_t *block = malloc(size + skew);
	struct piece pieces[PIECES_MAX];
	struct arena arena;

	arena_init(&arena, block + skew, size);
	for (int round = 0; round < 5; round++) {
		fill_pieces(&random, &arena, pieces);
		for (size_t i = 0; i < PIECES_MAX; i++)
			ck_assert(all_are(pieces[i].data, pieces[i].len, (uint8_t)i));
		arena_reset(&arena);
	}
	arena_deinit(&arena);
	memset(block, 0, size + skew); /* the caller's again, to the last byte */
	free(block);
}
END_TEST

START_TEST(arena__uses_the_block_to_its_end_before_malloc_and_again_after_a_reset)
{
	alignas(max_align_t) uint8_t block[1024];
	struct arena arena;

	arena_init(&arena, block, sizeof(block));
	for (int round = 0; round < 10; round++) {
		for (size_t i = 0; i < sizeof(block) / 64; i++)
			ck_assert_ptr_eq(alloc_without_malloc(&arena, 64), block + i * 64);
		arena_reset(&arena);
	}
	ck_assert_ptr_nonnull(alloc_without_malloc(&arena, sizeof(block)));
	alloc_counted(&arena, 1);
	ck_assert_uint_eq(malloc_calls, 1);
	/* The further block serves many pieces. */
	alloc_counted(&arena, 1000);
	ck_assert_uint_eq(malloc_calls, 0);
	arena_deinit(&arena);
}
END_TEST

START_TEST(arena__without_a_block_uses_malloc)
{
	struct arena arena;
	uint8_t *data;

	arena_init(&arena, NULL, 0);
	ck_assert_ptr_nonnull(arena_alloc(&arena, 0));
	data = arena_alloc(&arena, 100000);
	ck_assert_ptr_nonnull(data);
	memset(data, 1, 100000);
	arena_reset(&arena);
	ck_assert_ptr_nonnull(arena_alloc(&arena, 1));
	arena_deinit(&arena);
}
END_TEST

START_TEST(arena__says_when_there_is_no_memory_and_goes_on_when_there_is)
{
	uint8_t block[256];
	struct arena arena;

	arena_init(&arena, block, sizeof(block));
	ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX));
	ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX - 64));
	ck_assert_ptr_null(alloc_without_malloc(&arena, 1000));
	ck_assert_ptr_nonnull(alloc_without_malloc(&arena, 32));
	ck_assert_ptr_nonnull(arena_alloc(&arena, 1000));
	arena_deinit(&arena);
}
END_TEST

static size_t pack_publish(uint8_t *out, size_t headers)
{
	static Muxd__V1__Field fields[1000];
	static uint8_t name[] = "name";
	Muxd__V1__Field *pointers[1000];
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;
	Muxd__V1__Publish publish = MUXD__V1__PUBLISH__INIT;
	Muxd__V1__Properties properties = MUXD__V1__PROPERTIES__INIT;
	Muxd__V1__Table table = MUXD__V1__TABLE__INIT;

	for (size_t i = 0; i < headers; i++) {
		muxd__v1__field__init(&fields[i]);
		fields[i].has_name = true;
		fields[i].name = (ProtobufCBinaryData){4, name};
		fields[i].value_case = MUXD__V1__FIELD__VALUE_INT64;
		fields[i].int64 = (int64_t)i;
		pointers[i] = &fields[i];
	}
	table.n_fields = headers;
	table.fields = pointers;
	properties.headers = &table;
	publish.properties = &properties;
	publish.has_routing_key = true;
	publish.routing_key = (ProtobufCBinaryData){4, name};
	frame.op_case = MUXD__V1__CLIENT_FRAME__OP_PUBLISH;
	frame.publish = &publish;
	return muxd__v1__client_frame__pack(&frame, out);
}

START_TEST(arena__usual_header_is_unpacked_without_malloc)
{
	static uint8_t block[ARENA_BLOCK_GOOD], packed[256 * 1024];
	size_t len = pack_publish(packed, 8);
	Muxd__V1__ClientFrame *frame;
	struct arena arena;

	arena_init(&arena, block, sizeof(block));
	for (int i = 0; i < 100; i++) {
		arm(0);
		frame = muxd__v1__client_frame__unpack(&arena.allocator, len, packed);
		disarm();
		ck_assert_ptr_nonnull(frame);
		ck_assert_uint_eq(frame->publish->properties->headers->n_fields, 8);
		arena_reset(&arena);
	}
	arena_deinit(&arena);
}
END_TEST

START_TEST(arena__large_header_is_unpacked_whole)
{
	static uint8_t block[1024], packed[256 * 1024];
	size_t len = pack_publish(packed, 1000);
	Muxd__V1__ClientFrame *frame;
	struct arena arena;

	arena_init(&arena, block, sizeof(block));
	frame = muxd__v1__client_frame__unpack(&arena.allocator, len, packed);
	ck_assert_ptr_nonnull(frame);
	for (size_t i = 0; i < 1000; i++)
		ck_assert_int_eq(frame->publish->properties->headers->fields[i]->int64, (int64_t)i);
	/* Freeing by protobuf-c's own way does no harm. */
	muxd__v1__client_frame__free_unpacked(frame, &arena.allocator);
	/* Half-unpacked headers neither. */
	ck_assert_ptr_null(muxd__v1__client_frame__unpack(&arena.allocator, len - 1, packed));
	arena_deinit(&arena);
}
END_TEST

START_TEST(arena__unpacking_fails_cleanly_for_want_of_memory)
{
	static uint8_t packed[256 * 1024];
	size_t len = pack_publish(packed, 1000);
	Muxd__V1__ClientFrame *frame;
	struct arena arena;

	arena_init(&arena, NULL, 0);
	arm((size_t)_i);
	frame = muxd__v1__client_frame__unpack(&arena.allocator, len, packed);
	disarm();
	ck_assert_ptr_null(frame);
	arena_deinit(&arena);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proto/arena");
	TCase *tcase = tcase_create("arena");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tcase, arena__pieces_are_aligned_and_do_not_touch_each_other, 0, 30);
	tcase_add_test(tcase, arena__uses_the_block_to_its_end_before_malloc_and_again_after_a_reset);
	tcase_add_test(tcase, arena__without_a_block_uses_malloc);
	tcase_add_test(tcase, arena__says_when_there_is_no_memory_and_goes_on_when_there_is);
	tcase_add_test(tcase, arena__usual_header_is_unpacked_without_malloc);
	tcase_add_test(tcase, arena__large_header_is_unpacked_whole);
	tcase_add_loop_test(tcase, arena__unpacking_fails_cleanly_for_want_of_memory, 0, 10);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
