/* The short way of a publish's header gives what the long one does, or leaves it to that. */
#include "daemon/front/table.h"
#include "daemon/front/unpack.h"
#include "proto/prescan.h"
#include "tests/unit/codec-gen.h"

#include <check.h>
#include <stdlib.h>

#define RUNS 20000u

static struct {
	struct arena arena;
	uint8_t block[ARENA_BLOCK_GOOD];
	struct gen gen;
	struct buf header;
} t;

static void setup(void)
{
	arena_init(&t.arena, t.block, sizeof(t.block));
	t.header = BUF_INIT;
}

static void teardown(void)
{
	arena_deinit(&t.arena);
	buf_deinit(&t.header);
}

static void pack(const Muxd__V1__ClientFrame *frame, struct buf *out)
{
	size_t size = muxd__v1__client_frame__get_packed_size(frame);
	uint8_t *room = buf_reserve(out, size + 1);

	ck_assert_ptr_nonnull(room);
	buf_commit(out, muxd__v1__client_frame__pack(frame, room));
}

/* True: it took the short way; then the long one must be the same. */
static bool is_short_and_right(struct span header)
{
	struct unpacked_publish publish;
	struct buf ours = BUF_INIT, theirs = BUF_INIT;
	Muxd__V1__ClientFrame *frame;

	if (!unpack_publish(header, &publish))
		return false;
	ck_assert_int_eq(prescan(PRESCAN_CLIENT_FRAME, header), PRESCAN_OK);
	frame = muxd__v1__client_frame__unpack(&t.arena.allocator, header.len, header.data);
	ck_assert_ptr_nonnull(frame);
	pack(&publish.frame, &ours);
	pack(frame, &theirs);
	ck_assert(span_equal(buf_span(&ours), buf_span(&theirs)));
	buf_deinit(&ours);
	buf_deinit(&theirs);
	arena_reset(&t.arena);
	return true;
}

static void random_publish(uint64_t seed, bool with_headers)
{
	Muxd__V1__ClientFrame frame = MUXD__V1__CLIENT_FRAME__INIT;
	Muxd__V1__Publish publish = MUXD__V1__PUBLISH__INIT;
	Muxd__V1__Properties properties;
	struct amqc_properties amqp;

	gen_init(&t.gen, seed);
	gen_properties(&t.gen, &amqp);
	if (!with_headers)
		amqp.present &= ~AMQC_PROP_HEADERS;
	ck_assert(properties_from_amqp(&t.arena, &amqp, &properties));
	frame.op_case = MUXD__V1__CLIENT_FRAME__OP_PUBLISH;
	frame.publish = &publish;
	frame.has_request = gen_below(&t.gen, 2) != 0;
	frame.request = (uint32_t)gen_u64(&t.gen);
	frame.has_channel = gen_below(&t.gen, 8) != 0;
	frame.channel = (uint32_t)gen_below(&t.gen, 300);
	frame.has_deadline_ms = gen_below(&t.gen, 2) != 0;
	frame.deadline_ms = (uint32_t)gen_u64(&t.gen);
	publish.has_exchange = gen_below(&t.gen, 2) != 0;
	publish.exchange = bytes_of(gen_bytes(&t.gen, 300));
	publish.has_routing_key = gen_below(&t.gen, 2) != 0;
	publish.routing_key = bytes_of(gen_bytes(&t.gen, 300));
	publish.has_mandatory = gen_below(&t.gen, 2) != 0;
	publish.mandatory = gen_below(&t.gen, 2) != 0;
	publish.properties = gen_below(&t.gen, 4) != 0 ? &properties : NULL;
	buf_truncate(&t.header, 0);
	pack(&frame, &t.header);
	arena_reset(&t.arena);
}

START_TEST(publish__without_headers_goes_the_short_way)
{
	for (uint64_t seed = 0; seed < RUNS; seed++) {
		random_publish(seed, false);
		ck_assert_msg(is_short_and_right(buf_span(&t.header)), "seed %llu", (unsigned long long)seed);
	}
}
END_TEST

START_TEST(publish__of_any_bytes_is_the_same_or_goes_the_long_way)
{
	unsigned int taken = 0;

	for (uint64_t seed = 0; seed < RUNS; seed++) {
		size_t len;

		random_publish(seed, seed % 4 == 0);
		len = buf_len(&t.header);
		for (uint64_t i = gen_below(&t.gen, 4) + 1; i > 0 && len > 0; i--)
			t.header.data[t.header.start + gen_below(&t.gen, len < 12 ? len : 12)] =
			    (uint8_t)gen_below(&t.gen, 256);
		if (seed % 8 == 0)
			len -= gen_below(&t.gen, len + 1);
		taken += is_short_and_right(span_first(buf_span(&t.header), len));
	}
	ck_assert_uint_ge(taken, RUNS / 50);
	ck_assert_uint_le(taken, RUNS - RUNS / 50);
}
END_TEST

START_TEST(publish__that_is_not_as_usual_goes_the_long_way)
{
	static const char *const headers[] = {
	    "\x22\x04\x0a\x00\x0a\x00",		/* the exchange twice */
	    "\x22\x00\x22\x00",			/* the publish twice */
	    "\x22\x00\x10\x01\x10\x01",		/* the channel twice */
	    "\x22\x02\x38\x01",			/* an unknown field */
	    "\x22\x00\x2a\x00",			/* another operation behind it */
	    "\x22\x04\x22\x02\x1a\x00",		/* headers */
	    "\x22\x02\x18\x02",			/* mandatory is 2 */
	    "\x22\x02\x08\x00",			/* an exchange that is a number */
	    "\x22\x02\x0a\x01",			/* cut off */
	    "\x22\x00\xa2\x00\x00",		/* a longer tag than need be */
	    "\x22\x00\x10\xff\xff\xff\xff\x7f", /* a channel above 32 bits */
	    "\x22\x00\x10\xff",			/* a number that is cut off */
	    "\x10\x01",				/* no publish */
	};
	static const size_t lengths[] = {6, 4, 6, 4, 4, 6, 4, 4, 4, 5, 8, 4, 2};

	_Static_assert(sizeof(headers) / sizeof(headers[0]) == sizeof(lengths) / sizeof(lengths[0]),
		       "they contain NULs");
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		ck_assert_msg(!is_short_and_right(span_make(headers[i], lengths[i])), "%zu", i);
	ck_assert(is_short_and_right(span_make("\x22\x00", 2)));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("front/unpack");
	TCase *tests = tcase_create("unpack");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, publish__without_headers_goes_the_short_way);
	tcase_add_test(tests, publish__of_any_bytes_is_the_same_or_goes_the_long_way);
	tcase_add_test(tests, publish__that_is_not_as_usual_goes_the_long_way);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
