/* proto/buf: bytes in at the end, out at the front, whatever happens to memory. */
#include "proto/buf.h"
#include "tests/unit/random.h"

#include <check.h>
#include <stdlib.h>

#define MODEL_MAX 65536u

/* The linker sends buf.c's realloc here (--wrap), and check's own: it can be told to fail. */
static size_t realloc_calls_left = SIZE_MAX;

void *__real_realloc(void *data, size_t size);
void *__wrap_realloc(void *data, size_t size);

void *__wrap_realloc(void *data, size_t size)
{
	if (realloc_calls_left == 0)
		return NULL;
	realloc_calls_left--;
	return __real_realloc(data, size);
}

/* What the buffer should hold: an array that is moved down at each consume. */
struct model {
	uint8_t data[MODEL_MAX];
	size_t len;
};

static void model_consume(struct model *model, size_t count)
{
	count = count < model->len ? count : model->len;
	memmove(model->data, model->data + count, model->len - count);
	model->len -= count;
}

static void model_append(struct model *model, const uint8_t *data, size_t len)
{
	memcpy(model->data + model->len, data, len);
	model->len += len;
}

static void random_append(struct random *random, struct buf *buf, struct model *model)
{
	uint8_t chunk[700];
	size_t len = random_below(random, random_below(random, 8) ? 40 : sizeof(chunk));
	uint8_t *room;

	if (model->len + len > MODEL_MAX)
		return;
	random_bytes(random, chunk, len);
	if (random_below(random, 2)) {
		buf_append_span(buf, span_make(chunk, len));
	} else {
		/* More is reserved than committed. */
		room = buf_reserve(buf, len + random_below(random, 100));
		ck_assert_ptr_nonnull(room);
		memcpy(room, chunk, len);
		buf_commit(buf, len);
	}
	model_append(model, chunk, len);
}

static void random_step(struct random *random, struct buf *buf, struct model *model)
{
	size_t at;
	uint8_t bytes[4];

	switch (random_below(random, 8)) {
	case 0:
		buf_release(buf);
		break;
	case 1:
		at = random_below(random, (uint32_t)model->len + 1);
		buf_truncate(buf, at);
		model->len = at;
		break;
	case 2:
	case 3:
		/* Sometimes more than there is. */
		at = random_below(random, (uint32_t)model->len + 20);
		buf_consume(buf, at);
		model_consume(model, at);
		break;
	case 4:
		if (model->len < 4)
			break;
		at = random_below(random, (uint32_t)model->len - 3);
		random_bytes(random, bytes, 4);
		buf_patch_be32(buf, at, load_be32(bytes));
		memcpy(model->data + at, bytes, 4);
		break;
	default:
		random_append(random, buf, model);
		break;
	}
}

START_TEST(buf__holds_what_was_appended_and_not_consumed)
{
	static struct model model;
	struct random random = random_make((uint64_t)_i);
	struct buf buf = BUF_INIT;

	model.len = 0;
	for (int step = 0; step < 2000; step++) {
		random_step(&random, &buf, &model);
		ck_assert(!buf_failed(&buf));
		ck_assert_msg(span_equal(buf_span(&buf), span_make(model.data, model.len)),
			      "seed %d step %d: %zu bytes instead of %zu, or others", _i, step, buf_len(&buf),
			      model.len);
	}
	buf_deinit(&buf);
	ck_assert_uint_eq(buf_len(&buf), 0);
}
END_TEST

START_TEST(buf__appends_numbers_big_endian)
{
	static const uint8_t expected[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	struct buf buf = BUF_INIT;
	struct span left;
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;

	buf_append_u8(&buf, 1);
	buf_append_be16(&buf, 0x0203);
	buf_append_be32(&buf, 0x04050607);
	buf_append_be64(&buf, UINT64_C(0x08090a0b0c0d0e0f));
	left = buf_span(&buf);
	ck_assert(span_equal(left, span_make(expected, sizeof(expected))));
	ck_assert(span_take_u8(&left, &u8) && u8 == 1);
	ck_assert(span_take_be16(&left, &u16) && u16 == 0x0203);
	ck_assert(span_take_be32(&left, &u32) && u32 == 0x04050607);
	ck_assert(span_take_be64(&left, &u64) && u64 == UINT64_C(0x08090a0b0c0d0e0f));
	ck_assert(!span_take_u8(&left, &u8) && left.len == 0);
	buf_deinit(&buf);
}
END_TEST

START_TEST(buf__release_gives_the_block_of_an_empty_buffer_back_and_only_that)
{
	struct buf buf = BUF_INIT;

	buf_append_u8(&buf, 1);
	buf_release(&buf);
	ck_assert_uint_eq(buf_len(&buf), 1);
	buf_consume(&buf, 1);
	ck_assert_uint_gt(buf.capacity, 0);
	buf_release(&buf);
	ck_assert_uint_eq(buf.capacity, 0);
	ck_assert_ptr_null(buf.data);
	buf_append_u8(&buf, 2);
	ck_assert_uint_eq(buf_span(&buf).data[0], 2);
	buf_deinit(&buf);
}
END_TEST

/* A steady stream through a small window must not make the block grow. */
START_TEST(buf__does_not_grow_when_as_much_is_consumed_as_is_appended)
{
	uint8_t chunk[100] = {0};
	struct buf buf = BUF_INIT;

	buf_append(&buf, chunk, sizeof(chunk));
	for (int i = 0; i < 10000; i++) {
		buf_append(&buf, chunk, sizeof(chunk));
		buf_consume(&buf, sizeof(chunk));
	}
	ck_assert_uint_le(buf.capacity, 1024);
	buf_deinit(&buf);
}
END_TEST

/* The loop's index is the number of allocations that succeed. */
START_TEST(buf__failure_is_sticky_and_keeps_what_was_there)
{
	uint8_t chunk[1000];
	struct buf buf = BUF_INIT;
	size_t len_at_failure;

	memset(chunk, 7, sizeof(chunk));
	realloc_calls_left = (size_t)_i;
	for (size_t i = 0; i < MODEL_MAX / sizeof(chunk); i++)
		buf_append(&buf, chunk, sizeof(chunk));
	realloc_calls_left = SIZE_MAX;
	ck_assert(buf_failed(&buf));
	len_at_failure = buf_len(&buf);
	buf_append_u8(&buf, 1);
	buf_append_be32(&buf, 1);
	buf_patch_be32(&buf, 0, 1);
	ck_assert_ptr_null(buf_reserve(&buf, 1));
	ck_assert_uint_eq(buf_len(&buf), len_at_failure);
	for (size_t i = 0; i < len_at_failure; i += sizeof(chunk))
		ck_assert_mem_eq(buf_span(&buf).data + i, chunk, sizeof(chunk));
	buf_consume(&buf, len_at_failure);
	buf_release(&buf);
	ck_assert(buf_failed(&buf));
	buf_deinit(&buf);
	ck_assert(!buf_failed(&buf));
}
END_TEST

START_TEST(buf__refuses_a_size_that_no_block_can_have)
{
	struct buf buf = BUF_INIT;

	buf_append_u8(&buf, 1);
	ck_assert_ptr_null(buf_reserve(&buf, SIZE_MAX));
	ck_assert(buf_failed(&buf));
	buf_deinit(&buf);
	ck_assert_ptr_null(buf_reserve(&buf, SIZE_MAX / 2 + 2));
	ck_assert(buf_failed(&buf));
	buf_deinit(&buf);
}
END_TEST

START_TEST(span__take_leaves_a_span_alone_that_is_too_short)
{
	static const uint8_t bytes[7] = {1, 2, 3, 4, 5, 6, 7};
	struct span span = span_make(bytes, sizeof(bytes)), part = SPAN_NULL;
	uint64_t u64 = 42;

	ck_assert(!span_take_be64(&span, &u64));
	ck_assert_uint_eq(u64, 42);
	ck_assert(!span_take(&span, 8, &part));
	ck_assert_ptr_eq(span.data, bytes);
	ck_assert_uint_eq(span.len, 7);
	ck_assert(span_take(&span, 7, &part));
	ck_assert_uint_eq(span.len, 0);
	ck_assert(span_take(&span, 0, &part));
	ck_assert_uint_eq(span_skip(span_make(bytes, 7), 7).len, 0);
	ck_assert_uint_eq(span_skip(span_make(bytes, 7), 8).len, 0);
	ck_assert_uint_eq(span_skip(span_make(bytes, 7), 6).data[0], 7);
	ck_assert_uint_eq(span_first(span_make(bytes, 7), 8).len, 7);
	ck_assert(span_equal(span_str(NULL), SPAN_NULL));
	ck_assert(span_equal_str(SPAN_LITERAL("a"), "a") && !span_equal_str(SPAN_LITERAL("a"), "b"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proto/buf");
	TCase *tcase = tcase_create("buf");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tcase, buf__holds_what_was_appended_and_not_consumed, 0, 40);
	tcase_add_test(tcase, buf__appends_numbers_big_endian);
	tcase_add_test(tcase, buf__release_gives_the_block_of_an_empty_buffer_back_and_only_that);
	tcase_add_test(tcase, buf__does_not_grow_when_as_much_is_consumed_as_is_appended);
	tcase_add_loop_test(tcase, buf__failure_is_sticky_and_keeps_what_was_there, 0, 6);
	tcase_add_test(tcase, buf__refuses_a_size_that_no_block_can_have);
	tcase_add_test(tcase, span__take_leaves_a_span_alone_that_is_too_short);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
