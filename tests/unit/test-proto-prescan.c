/*
 * proto/prescan: its table is that of muxd.proto, and what it lets pass is
 * safe for protobuf-c.
 */
#include "proto/arena.h"
#include "proto/buf.h"
#include "proto/muxd.pb-c.h"
#include "proto/prescan-table.h"
#include "proto/prescan.h"
#include "tests/unit/random.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define PAIRS_MAX 256

/* ------------------------------------------------- the table and muxd.proto */

struct pairs {
	struct {
		const ProtobufCMessageDescriptor *descriptor;
		unsigned int kind;
	} pair[PAIRS_MAX];
	size_t count;
};

/* Notes that a message of this type is scanned as this kind, if that is new. */
static void pairs_add(struct pairs *pairs, const ProtobufCMessageDescriptor *descriptor, unsigned int kind)
{
	for (size_t i = 0; i < pairs->count; i++)
		if (pairs->pair[i].descriptor == descriptor && pairs->pair[i].kind == kind)
			return;
	ck_assert_uint_lt(pairs->count, PAIRS_MAX);
	pairs->pair[pairs->count].descriptor = descriptor;
	pairs->pair[pairs->count].kind = kind;
	pairs->count++;
}

static void check_field(struct pairs *pairs, const char *message, unsigned int kind,
			const ProtobufCFieldDescriptor *field)
{
	unsigned int nested = field->id <= PRESCAN_FIELD_NUMBER_MAX ? prescan_table[kind][field->id] : 0;
	bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;

	if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
		ck_assert_msg(nested == 0, "%s.%s holds no message, and the table says that it does", message,
			      field->name);
		/* The elements of a packed field would not be counted. */
		ck_assert_msg(!repeated || field->type == PROTOBUF_C_TYPE_BYTES,
			      "%s.%s is a repeated scalar: the pre-scan does not count packed elements",
			      message, field->name);
		return;
	}
	ck_assert_msg(field->id <= PRESCAN_FIELD_NUMBER_MAX, "%s.%s: raise PRESCAN_FIELD_NUMBER_MAX", message,
		      field->name);
	ck_assert_msg(nested != 0, "%s.%s holds a message, and is not in the table", message, field->name);
	ck_assert_msg(repeated == !!(nested & PRESCAN_REPEATED), "%s.%s: PRESCAN_REPEATED is wrong", message,
		      field->name);
	pairs_add(pairs, field->descriptor, nested & ~PRESCAN_REPEATED);
}

/* Every number of the row that is not a message field must be 0 in it. */
static void check_row(const ProtobufCMessageDescriptor *descriptor, unsigned int kind)
{
	for (unsigned int number = 0; number <= PRESCAN_FIELD_NUMBER_MAX; number++)
		if (prescan_table[kind][number] != 0)
			ck_assert_msg(protobuf_c_message_descriptor_get_field(descriptor, number) != NULL,
				      "%s has no field %u, and the table has", descriptor->short_name,
				      number);
}

START_TEST(prescan__table_is_that_of_the_descriptors)
{
	struct pairs pairs = {.count = 0};
	bool used[PRESCAN_KIND_COUNT] = {true};

	pairs_add(&pairs, &muxd__v1__client_frame__descriptor, PRESCAN_KIND_CLIENT_FRAME);
	pairs_add(&pairs, &muxd__v1__server_frame__descriptor, PRESCAN_KIND_SERVER_FRAME);
	for (size_t i = 0; i < pairs.count; i++) {
		const ProtobufCMessageDescriptor *descriptor = pairs.pair[i].descriptor;
		unsigned int kind = pairs.pair[i].kind;

		ck_assert_uint_gt(kind, PRESCAN_KIND_NONE);
		ck_assert_uint_lt(kind, PRESCAN_KIND_COUNT);
		used[kind] = true;
		check_row(descriptor, kind);
		for (unsigned int k = 0; k < descriptor->n_fields; k++)
			check_field(&pairs, descriptor->short_name, kind, &descriptor->fields[k]);
	}
	for (unsigned int kind = 0; kind < PRESCAN_KIND_COUNT; kind++)
		ck_assert_msg(used[kind], "kind %u is no message of muxd.proto", kind);
	ck_assert_uint_gt(pairs.count, 40);
}
END_TEST

/* ------------------------------------------------------------ hand-made bytes */

static void append_varint(struct buf *out, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		buf_append_u8(out, (uint8_t)(value | 0x80));
	buf_append_u8(out, (uint8_t)value);
}

static void append_bytes_field(struct buf *out, uint32_t number, struct span value)
{
	append_varint(out, (uint64_t)number << 3 | 2);
	append_varint(out, value.len);
	buf_append_span(out, value);
}

/* Puts what is in the buffer into a field of this number. */
static void wrap(struct buf *inout, uint32_t number)
{
	struct buf outer = BUF_INIT;

	append_bytes_field(&outer, number, buf_span(inout));
	buf_deinit(inout);
	*inout = outer;
}

/* Scans a copy in a block of exactly its size, so that a read behind it is found. */
static enum prescan_result scan(enum prescan_root root, struct span header)
{
	uint8_t *copy = malloc(header.len ? header.len : 1);
	enum prescan_result result;

	if (header.len)
		memcpy(copy, header.data, header.len);
	result = prescan(root, span_make(copy, header.len));
	free(copy);
	return result;
}

struct scan_case {
	const char *what;
	struct span header;
	enum prescan_result result;
};

#define CASE(what, text, result)                                          \
	{                                                                 \
		what, {(const uint8_t *)(text), sizeof(text) - 1}, result \
	}

static const struct scan_case scan_cases[] = {
    CASE("nothing", "", PRESCAN_OK),
    CASE("request 1, channel 2", "\x08\x01\x10\x02", PRESCAN_OK),
    CASE("tag without value", "\x08", PRESCAN_MALFORMED),
    CASE("tag 0", "\x00\x00", PRESCAN_MALFORMED),
    CASE("tag 0 with type bytes", "\x02\x00", PRESCAN_MALFORMED),
    CASE("tag 0 in five bytes", "\x80\x80\x80\x80\x00\x00", PRESCAN_MALFORMED),
    CASE("tag of five bytes", "\x88\x80\x80\x80\x00\x01", PRESCAN_OK),
    CASE("tag of six bytes", "\x88\x80\x80\x80\x80\x00\x01", PRESCAN_MALFORMED),
    CASE("highest tag", "\xf8\xff\xff\xff\x0f\x01", PRESCAN_OK),
    CASE("tag of more than 32 bits", "\xf8\xff\xff\xff\x1f\x01", PRESCAN_MALFORMED),
    CASE("tag cut short", "\x88\x80", PRESCAN_MALFORMED),
    CASE("start of a group", "\x0b\x0c", PRESCAN_MALFORMED),
    CASE("end of a group", "\x0c", PRESCAN_MALFORMED),
    CASE("unknown group", "\xfb\x07\xfc\x07", PRESCAN_MALFORMED),
    CASE("wire type 6", "\x0e\x01", PRESCAN_MALFORMED),
    CASE("wire type 7", "\x0f\x01", PRESCAN_MALFORMED),
    CASE("varint of ten bytes", "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", PRESCAN_OK),
    CASE("varint of eleven bytes", "\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", PRESCAN_MALFORMED),
    CASE("varint cut short", "\x08\x80\x80", PRESCAN_MALFORMED),
    CASE("unknown field, varint", "\xa0\x3f\x07", PRESCAN_OK),
    CASE("unknown field, 64 bit", "\xa1\x3f\1\2\3\4\5\6\7\x08", PRESCAN_OK),
    CASE("unknown field, 64 bit, 7 bytes", "\xa1\x3f\1\2\3\4\5\6\7", PRESCAN_MALFORMED),
    CASE("unknown field, 32 bit", "\xa5\x3f\1\2\3\4", PRESCAN_OK),
    CASE("unknown field, 32 bit, 3 bytes", "\xa5\x3f\1\2\3", PRESCAN_MALFORMED),
    CASE("unknown field, bytes that are no message", "\xa2\x3f\x02\xff\xff", PRESCAN_OK),
    CASE("unknown field, bytes cut short", "\xa2\x3f\x03\xff\xff", PRESCAN_MALFORMED),
    CASE("unknown field twice", "\xa2\x3f\x00\xa2\x3f\x00", PRESCAN_OK),
    CASE("length of five bytes", "\xa2\x3f\x81\x80\x80\x80\x00x", PRESCAN_OK),
    CASE("length of six bytes", "\xa2\x3f\x81\x80\x80\x80\x80\x00x", PRESCAN_MALFORMED),
    CASE("length of 4 GiB and 1", "\xa2\x3f\x81\x80\x80\x80\x10x", PRESCAN_MALFORMED),
    CASE("length of 4 GiB less 1", "\xa2\x3f\xff\xff\xff\xff\x0fx", PRESCAN_MALFORMED),
    CASE("empty publish", "\x22\x00", PRESCAN_OK),
    CASE("publish as a varint", "\x20\x00", PRESCAN_MALFORMED),
    CASE("publish as 32 bits", "\x25\1\2\3\4", PRESCAN_MALFORMED),
    CASE("publish, inner field cut short", "\x22\x02\x0a\x01\x10\x01", PRESCAN_MALFORMED),
    CASE("publish, inner field reaches beyond it", "\x22\x03\x0a\x02x\x10\x01", PRESCAN_MALFORMED),
    CASE("publish, inner varint reaches beyond it", "\x22\x02\x18\x80\x01", PRESCAN_MALFORMED),
    CASE("publish with exchange that is no message", "\x22\x04\x0a\x02\xff\xff", PRESCAN_OK),
    CASE("publish twice", "\x22\x00\x22\x00", PRESCAN_TWICE),
    CASE("properties twice", "\x22\x04\x22\x00\x22\x00", PRESCAN_TWICE),
    CASE("headers twice", "\x22\x06\x22\x04\x1a\x00\x1a\x00", PRESCAN_TWICE),
    CASE("status and publish: numbers 64 apart from others", "\x82\x04\x00\x22\x00", PRESCAN_OK),
    CASE("settle with two ranges", "\x2a\x04\x12\x00\x12\x00", PRESCAN_OK),
    CASE("a bytes field twice", "\x22\x04\x0a\x00\x0a\x00", PRESCAN_OK),
};

START_TEST(prescan__tells_well_formed_from_malformed)
{
	const struct scan_case *c = &scan_cases[_i];

	ck_assert_msg(scan(PRESCAN_CLIENT_FRAME, c->header) == c->result, "%s: %s", c->what,
		      prescan_strerror(scan(PRESCAN_CLIENT_FRAME, c->header)));
}
END_TEST

/* ----------------------------------------------------------- depth and number */

/* Headers of a publish that nest this many messages in all, by the field number of a table or an array. */
static void make_nested(struct buf *out, unsigned int depth, uint32_t number)
{
	/* publish, properties, table, and then field and table in turn */
	for (unsigned int level = depth; level > 3; level--)
		wrap(out, level % 2 ? number : 1);
	wrap(out, 3);
	wrap(out, 4);
	wrap(out, 4);
}

START_TEST(prescan__nesting_ends_at_the_limit)
{
	for (unsigned int depth = 3; depth < 200; depth++) {
		static const uint32_t numbers[] = {16, 18};

		for (size_t i = 0; i < 2; i++) {
			struct buf header = BUF_INIT;

			make_nested(&header, depth, numbers[i]);
			ck_assert_int_eq(scan(PRESCAN_CLIENT_FRAME, buf_span(&header)),
					 depth <= PRESCAN_DEPTH_MAX ? PRESCAN_OK : PRESCAN_TOO_DEEP);
			buf_deinit(&header);
		}
	}
}
END_TEST

START_TEST(prescan__header_as_deep_as_its_size_allows_does_not_overflow_the_stack)
{
	struct buf header = BUF_INIT;

	/* Cheaper than wrapping: lengths that all reach to the end. */
	for (size_t left = 256 * 1024; left > 16; left = 256 * 1024 - buf_len(&header)) {
		static const uint8_t tags[] = {0x22, 0x22, 0x1a};
		size_t depth = buf_len(&header) / 4;

		buf_append_u8(&header, depth < 3 ? tags[depth] : 0x0a);
		buf_append_u8(&header, (uint8_t)((left - 4) | 0x80));
		buf_append_u8(&header, (uint8_t)((left - 4) >> 7 | 0x80));
		buf_append_u8(&header, (uint8_t)((left - 4) >> 14));
	}
	ck_assert_int_ne(scan(PRESCAN_CLIENT_FRAME, buf_span(&header)), PRESCAN_OK);
	buf_deinit(&header);
}
END_TEST

START_TEST(prescan__number_of_fields_ends_at_the_limit)
{
	struct buf header = BUF_INIT;

	for (unsigned int i = 0; i < PRESCAN_FIELDS_MAX; i++) {
		append_varint(&header, 1 << 3);
		append_varint(&header, 1);
	}
	ck_assert_int_eq(scan(PRESCAN_CLIENT_FRAME, buf_span(&header)), PRESCAN_OK);
	append_varint(&header, 1 << 3);
	append_varint(&header, 1);
	ck_assert_int_eq(scan(PRESCAN_CLIENT_FRAME, buf_span(&header)), PRESCAN_TOO_MANY);
	buf_deinit(&header);

	/* Nested ones count like all others: the settle and its ranges. */
	for (unsigned int i = 0; i < PRESCAN_FIELDS_MAX - 1; i++)
		append_bytes_field(&header, 2, SPAN_NULL);
	wrap(&header, 5);
	ck_assert_int_eq(scan(PRESCAN_CLIENT_FRAME, buf_span(&header)), PRESCAN_OK);
	append_varint(&header, 1 << 3);
	append_varint(&header, 1);
	ck_assert_int_eq(scan(PRESCAN_CLIENT_FRAME, buf_span(&header)), PRESCAN_TOO_MANY);
	buf_deinit(&header);
}
END_TEST

/* -------------------------------------------------------------- random headers */

static const ProtobufCMessageDescriptor *const roots[] = {
    [PRESCAN_CLIENT_FRAME] = &muxd__v1__client_frame__descriptor,
    [PRESCAN_SERVER_FRAME] = &muxd__v1__server_frame__descriptor,
};

static void append_random_scalar(struct random *random, struct buf *out,
				 const ProtobufCFieldDescriptor *field)
{
	uint8_t bytes[40];
	uint32_t len = random_below(random, sizeof(bytes));

	random_bytes(random, bytes, sizeof(bytes));
	switch (field->type) {
	case PROTOBUF_C_TYPE_BYTES:
		append_bytes_field(out, field->id, span_make(bytes, len));
		break;
	case PROTOBUF_C_TYPE_FLOAT:
		append_varint(out, (uint64_t)field->id << 3 | 5);
		buf_append(out, bytes, 4);
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		append_varint(out, (uint64_t)field->id << 3 | 1);
		buf_append(out, bytes, 8);
		break;
	default:
		append_varint(out, (uint64_t)field->id << 3);
		append_varint(out, random_u64(random) >> random_below(random, 64));
	}
}

/* A message of this type with some of its fields; a oneof gets one of its own at most. */
static void append_random_message(struct random *random, struct buf *out,
				  const ProtobufCMessageDescriptor *descriptor, unsigned int depth)
{
	uint32_t start = random_below(random, 1000);
	bool oneof_done = false;

	for (unsigned int i = 0; i < descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field =
		    &descriptor->fields[(start + i) % descriptor->n_fields];
		bool oneof = field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
		uint32_t times = random_below(random, 2);

		if (oneof && oneof_done)
			continue;
		if (field->label == PROTOBUF_C_LABEL_REPEATED)
			times = random_below(random, 4);
		oneof_done |= oneof && times > 0;
		for (uint32_t k = 0; k < times; k++) {
			struct buf inner = BUF_INIT;

			if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
				append_random_scalar(random, out, field);
				continue;
			}
			if (depth < 12)
				append_random_message(random, &inner, field->descriptor, depth + 1);
			append_bytes_field(out, field->id, buf_span(&inner));
			buf_deinit(&inner);
		}
	}
}

START_TEST(prescan__lets_every_header_of_muxd_proto_pass)
{
	struct random random = random_make((uint64_t)_i);

	for (int round = 0; round < 100; round++) {
		enum prescan_root root = round % 2 ? PRESCAN_CLIENT_FRAME : PRESCAN_SERVER_FRAME;
		struct buf header = BUF_INIT;
		struct arena arena;

		append_random_message(&random, &header, roots[root], 0);
		ck_assert_msg(scan(root, buf_span(&header)) == PRESCAN_OK, "seed %d round %d: %s", _i, round,
			      prescan_strerror(scan(root, buf_span(&header))));
		arena_init(&arena, NULL, 0);
		ck_assert_ptr_nonnull(protobuf_c_message_unpack(roots[root], &arena.allocator,
								buf_len(&header), buf_span(&header).data));
		arena_deinit(&arena);
		buf_deinit(&header);
	}
}
END_TEST

/* What protobuf-c refuses for its form the pre-scan may let pass (wire types), never the reverse. */
START_TEST(prescan__refuses_each_valid_header_when_it_is_cut)
{
	struct random random = random_make((uint64_t)_i);
	struct buf header = BUF_INIT;

	while (buf_len(&header) < 60 || buf_len(&header) > 4000) {
		buf_deinit(&header);
		append_random_message(&random, &header, roots[PRESCAN_CLIENT_FRAME], 0);
	}
	for (size_t cut = 1; cut < buf_len(&header); cut++) {
		struct span part = span_first(buf_span(&header), cut);
		struct arena arena;

		arena_init(&arena, NULL, 0);
		if (protobuf_c_message_unpack(roots[PRESCAN_CLIENT_FRAME], &arena.allocator, part.len,
					      part.data))
			ck_assert_int_eq(scan(PRESCAN_CLIENT_FRAME, part), PRESCAN_OK);
		else
			ck_assert_int_eq(scan(PRESCAN_CLIENT_FRAME, part), PRESCAN_MALFORMED);
		arena_deinit(&arena);
	}
	buf_deinit(&header);
}
END_TEST

/* Of what was changed at random some passes, and is then unpacked, and some does not. */
START_TEST(prescan__any_bytes_are_allowed)
{
	struct random random = random_make((uint64_t)_i);
	int counts[PRESCAN_TWICE + 1] = {0};

	for (int round = 0; round < 300; round++) {
		struct buf header = BUF_INIT;
		enum prescan_root root = round % 2 ? PRESCAN_CLIENT_FRAME : PRESCAN_SERVER_FRAME;
		enum prescan_result result;
		struct arena arena;

		append_random_message(&random, &header, roots[root], 0);
		for (uint32_t flips = random_below(&random, 8); flips > 0 && buf_len(&header) > 0; flips--)
			header.data[header.start + random_below(&random, (uint32_t)buf_len(&header))] =
			    (uint8_t)random_u64(&random);
		arena_init(&arena, NULL, 0);
		result = scan(root, buf_span(&header));
		ck_assert_int_le(result, PRESCAN_TWICE);
		counts[result]++;
		if (result == PRESCAN_OK)
			(void)!protobuf_c_message_unpack(roots[root], &arena.allocator, buf_len(&header),
							 buf_span(&header).data);
		arena_deinit(&arena);
		buf_deinit(&header);
	}
	ck_assert_int_gt(counts[PRESCAN_OK], 0);
	ck_assert_int_gt(counts[PRESCAN_MALFORMED], 0);
}
END_TEST

START_TEST(prescan__each_result_has_a_text_of_its_own_that_names_the_limit)
{
	char depth[16], fields[16];

	for (int a = PRESCAN_OK; a <= PRESCAN_TWICE; a++)
		for (int b = PRESCAN_OK; b < a; b++)
			ck_assert_str_ne(prescan_strerror((enum prescan_result)a),
					 prescan_strerror((enum prescan_result)b));
	snprintf(depth, sizeof(depth), "%u", PRESCAN_DEPTH_MAX);
	snprintf(fields, sizeof(fields), "%u", PRESCAN_FIELDS_MAX);
	ck_assert_ptr_nonnull(strstr(prescan_strerror(PRESCAN_TOO_DEEP), depth));
	ck_assert_ptr_nonnull(strstr(prescan_strerror(PRESCAN_TOO_MANY), fields));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proto/prescan");
	TCase *tcase = tcase_create("prescan");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, prescan__table_is_that_of_the_descriptors);
	tcase_add_loop_test(tcase, prescan__tells_well_formed_from_malformed, 0,
			    (int)(sizeof(scan_cases) / sizeof(scan_cases[0])));
	tcase_add_test(tcase, prescan__nesting_ends_at_the_limit);
	tcase_add_test(tcase, prescan__header_as_deep_as_its_size_allows_does_not_overflow_the_stack);
	tcase_add_test(tcase, prescan__number_of_fields_ends_at_the_limit);
	tcase_add_loop_test(tcase, prescan__lets_every_header_of_muxd_proto_pass, 0, 20);
	tcase_add_loop_test(tcase, prescan__refuses_each_valid_header_when_it_is_cut, 0, 10);
	tcase_add_loop_test(tcase, prescan__any_bytes_are_allowed, 0, 20);
	tcase_add_test(tcase, prescan__each_result_has_a_text_of_its_own_that_names_the_limit);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
