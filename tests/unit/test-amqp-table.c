#include "tests/unit/codec-gen.h"

#include <check.h>
#include <stdlib.h>

/* A check on a copy of exactly that size, so that the sanitizer sees a read behind it. */
static enum amqc_result check_copy(struct span bytes, bool is_array)
{
	uint8_t *copy = malloc(bytes.len ? bytes.len : 1);
	enum amqc_result result;

	ck_assert_ptr_nonnull(copy);
	if (bytes.len > 0)
		memcpy(copy, bytes.data, bytes.len);
	bytes.data = copy;
	result = is_array ? amqc_array_check(bytes) : amqc_table_check(bytes);
	free(copy);
	return result;
}

/* One value per letter with the bytes it has on the wire, the letter first. */
struct example {
	struct amqc_field field;
	struct span wire;
};

static const struct example examples[] = {
    {{.type = 't', .value.boolean = true}, {(const uint8_t *)"t\x01", 2}},
    {{.type = 't', .value.boolean = false}, {(const uint8_t *)"t\x00", 2}},
    {{.type = 'b', .value.signed_int = -128}, {(const uint8_t *)"b\x80", 2}},
    {{.type = 'b', .value.signed_int = 127}, {(const uint8_t *)"b\x7f", 2}},
    {{.type = 'B', .value.unsigned_int = 255}, {(const uint8_t *)"B\xff", 2}},
    {{.type = 's', .value.signed_int = -32768}, {(const uint8_t *)"s\x80\x00", 3}},
    {{.type = 's', .value.signed_int = 258}, {(const uint8_t *)"s\x01\x02", 3}},
    {{.type = 'u', .value.unsigned_int = 65535}, {(const uint8_t *)"u\xff\xff", 3}},
    {{.type = 'I', .value.signed_int = INT32_MIN}, {(const uint8_t *)"I\x80\x00\x00\x00", 5}},
    {{.type = 'I', .value.signed_int = -2}, {(const uint8_t *)"I\xff\xff\xff\xfe", 5}},
    {{.type = 'i', .value.unsigned_int = UINT32_MAX}, {(const uint8_t *)"i\xff\xff\xff\xff", 5}},
    {{.type = 'l', .value.signed_int = INT64_MIN}, {(const uint8_t *)"l\x80\0\0\0\0\0\0\0", 9}},
    {{.type = 'l', .value.signed_int = 1}, {(const uint8_t *)"l\0\0\0\0\0\0\0\x01", 9}},
    {{.type = 'L', .value.unsigned_int = UINT64_MAX},
     {(const uint8_t *)"L\xff\xff\xff\xff\xff\xff\xff\xff", 9}},
    {{.type = 'T', .value.unsigned_int = 1700000000}, {(const uint8_t *)"T\0\0\0\0\x65\x53\xf1\x00", 9}},
    {{.type = 'f', .value.float32 = 1.5f}, {(const uint8_t *)"f\x3f\xc0\0\0", 5}},
    {{.type = 'd', .value.float64 = -2.0}, {(const uint8_t *)"d\xc0\0\0\0\0\0\0\0", 9}},
    {{.type = 'D', .value.decimal = {2, 314}}, {(const uint8_t *)"D\x02\0\0\x01\x3a", 6}},
    {{.type = 'D', .value.decimal = {255, UINT32_MAX}}, {(const uint8_t *)"D\xff\xff\xff\xff\xff", 6}},
    {{.type = 'S', .value.bytes = {(const uint8_t *)"a\0b", 3}},
     {(const uint8_t *)"S\0\0\0\x03"
		       "a\0b",
      8}},
    {{.type = 'S'}, {(const uint8_t *)"S\0\0\0\0", 5}},
    {{.type = 'x', .value.bytes = {(const uint8_t *)"\xff", 1}}, {(const uint8_t *)"x\0\0\0\x01\xff", 6}},
    {{.type = 'F', .value.bytes = {(const uint8_t *)"\x01kV", 3}}, {(const uint8_t *)"F\0\0\0\x03\x01kV", 8}},
    {{.type = 'F'}, {(const uint8_t *)"F\0\0\0\0", 5}},
    {{.type = 'A', .value.bytes = {(const uint8_t *)"Vt\x01", 3}}, {(const uint8_t *)"A\0\0\0\x03Vt\x01", 8}},
    {{.type = 'A'}, {(const uint8_t *)"A\0\0\0\0", 5}},
    {{.type = 'V'}, {(const uint8_t *)"V", 1}},
};

#define EXAMPLE_COUNT ((int)(sizeof(examples) / sizeof(examples[0])))

START_TEST(field__has_the_bytes_of_its_letter_in_an_array)
{
	const struct example *example = &examples[_i];
	struct buf out = BUF_INIT;
	struct amqc_field field;
	struct span rest;

	ck_assert_int_eq(amqc_field_append(&out, NULL, &example->field), AMQC_OK);
	ck_assert(span_equal(buf_span(&out), example->wire));
	rest = buf_span(&out);
	field.name = SPAN_LITERAL("of the field before");
	ck_assert_int_eq(amqc_array_next(&rest, &field), AMQC_OK);
	ck_assert(field_equal(&field, &example->field));
	ck_assert_uint_eq(rest.len, 0);
	ck_assert_int_eq(amqc_array_next(&rest, &field), AMQC_INCOMPLETE);
	buf_deinit(&out);
}
END_TEST

START_TEST(field__has_its_name_in_front_in_a_table)
{
	const struct example *example = &examples[_i];
	struct amqc_field expected = example->field, field;
	struct span name = SPAN_LITERAL("na\0me"), rest;
	struct buf out = BUF_INIT;

	ck_assert_int_eq(amqc_field_append(&out, &name, &example->field), AMQC_OK);
	rest = buf_span(&out);
	ck_assert_uint_eq(rest.len, 1 + name.len + example->wire.len);
	ck_assert_uint_eq(rest.data[0], name.len);
	ck_assert(span_equal(span_make(rest.data + 1, name.len), name));
	ck_assert(span_equal(span_skip(rest, 1 + name.len), example->wire));
	ck_assert_int_eq(amqc_table_next(&rest, &field), AMQC_OK);
	expected.name = name;
	ck_assert(field_equal(&field, &expected));
	buf_deinit(&out);
}
END_TEST

START_TEST(field__letters_are_those_that_rabbitmq_reads)
{
	const uint8_t zeros[16] = {0};

	for (unsigned int letter = 0; letter < 256; letter++) {
		bool known = letter != 0 && strchr(GEN_LETTERS, (int)letter);
		struct amqc_field field = {.type = (char)letter};
		struct buf out = BUF_INIT;
		struct span rest;
		enum amqc_result expected = known ? AMQC_OK : AMQC_BAD_FIELD_TYPE;

		buf_append_u8(&out, (uint8_t)letter);
		buf_append(&out, zeros, sizeof(zeros));
		rest = buf_span(&out);
		ck_assert_int_eq(amqc_array_next(&rest, &field), expected);
		buf_deinit(&out);
		ck_assert_int_eq(amqc_field_append(&out, NULL, &field), expected);
		ck_assert(known || buf_len(&out) == 0);
		buf_deinit(&out);
	}
}
END_TEST

START_TEST(field__boolean_of_any_octet_but_zero_is_true)
{
	for (unsigned int octet = 0; octet < 256; octet++) {
		uint8_t bytes[2] = {'t', (uint8_t)octet};
		struct span rest = span_make(bytes, 2);
		struct amqc_field field;

		ck_assert_int_eq(amqc_array_next(&rest, &field), AMQC_OK);
		ck_assert(field.value.boolean == (octet != 0));
	}
}
END_TEST

START_TEST(field__integer_outside_its_type_is_refused)
{
	static const struct {
		char letter;
		int64_t lowest, highest;
	} types[] = {
	    {'b', -128, 127}, {'s', -32768, 32767}, {'I', INT32_MIN, INT32_MAX},
	    {'B', 0, 255},    {'u', 0, 65535},	    {'i', 0, UINT32_MAX},
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct amqc_field field = {.type = types[i].letter};
		struct buf out = BUF_INIT;

		field.value.signed_int = types[i].lowest - 1;
		ck_assert_int_eq(amqc_field_append(&out, NULL, &field), AMQC_TOO_LONG);
		field.value.signed_int = types[i].highest + 1;
		ck_assert_int_eq(amqc_field_append(&out, NULL, &field), AMQC_TOO_LONG);
		ck_assert_uint_eq(buf_len(&out), 0);
		field.value.signed_int = types[i].lowest;
		ck_assert_int_eq(amqc_field_append(&out, NULL, &field), AMQC_OK);
		field.value.signed_int = types[i].highest;
		ck_assert_int_eq(amqc_field_append(&out, NULL, &field), AMQC_OK);
		buf_deinit(&out);
	}
}
END_TEST

START_TEST(field__not_a_number_keeps_all_its_bits)
{
	/* signalling and quiet, with bits of their own */
	static const uint8_t wire[] = {'f', 0x7f, 0xa0, 1, 2, 'f', 0xff, 0xc0, 3, 4, 'd', 0x7f, 0xf4, 1,
				       2,   3,	  4,	5, 6, 'd', 0xff, 0xf8, 9, 8, 7,	  6,	5,    4};
	struct span rest = span_make(wire, sizeof(wire));
	struct buf out = BUF_INIT;
	struct amqc_field field, copy;

	while (amqc_array_next(&rest, &field) == AMQC_OK) {
		copy = field;
		ck_assert_int_eq(amqc_field_append(&out, NULL, &copy), AMQC_OK);
	}
	ck_assert(span_equal(buf_span(&out), span_make(wire, sizeof(wire))));
	buf_deinit(&out);
}
END_TEST

START_TEST(field__name_is_at_most_255_bytes)
{
	uint8_t bytes[256] = {0};
	struct span name = {bytes, 255}, rest;
	struct amqc_field field = {.type = 'V'};
	struct buf out = BUF_INIT;

	ck_assert_int_eq(amqc_field_append(&out, &name, &field), AMQC_OK);
	rest = buf_span(&out);
	ck_assert_int_eq(amqc_table_next(&rest, &field), AMQC_OK);
	ck_assert_uint_eq(field.name.len, 255);
	buf_truncate(&out, 0);
	name.len = 256;
	ck_assert_int_eq(amqc_field_append(&out, &name, &field), AMQC_TOO_LONG);
	ck_assert_uint_eq(amqc_field_begin(&out, &name, 'F'), AMQC_FIELD_REFUSED);
	ck_assert_uint_eq(amqc_field_begin(&out, NULL, 'S'), AMQC_FIELD_REFUSED);
	ck_assert_uint_eq(buf_len(&out), 0);
	amqc_table_end(&out, AMQC_FIELD_REFUSED);
	ck_assert_uint_eq(buf_len(&out), 0);
	buf_deinit(&out);
}
END_TEST

START_TEST(field__string_longer_than_a_length_can_say_is_refused)
{
#if SIZE_MAX > UINT32_MAX
	struct amqc_field field = {.type = 'S', .value.bytes = {(const uint8_t *)"", (size_t)UINT32_MAX + 1}};
	struct buf out = BUF_INIT;

	ck_assert_int_eq(amqc_field_append(&out, NULL, &field), AMQC_TOO_LONG);
	ck_assert_uint_eq(buf_len(&out), 0);
#endif
}
END_TEST

/* Writes what a table holds anew, field by field, and returns the bytes in gen's pool. */
static struct span rewrite(struct gen *gen, struct span table, bool is_array)
{
	struct buf out = BUF_INIT;
	struct amqc_field field;
	struct span kept;
	size_t mark;

	while ((is_array ? amqc_array_next(&table, &field) : amqc_table_next(&table, &field)) == AMQC_OK) {
		const struct span *name = is_array ? NULL : &field.name;

		if (field.type != 'F' && field.type != 'A') {
			ck_assert_int_eq(amqc_field_append(&out, name, &field), AMQC_OK);
			continue;
		}
		mark = amqc_field_begin(&out, name, field.type);
		buf_append_span(&out, rewrite(gen, field.value.bytes, field.type == 'A'));
		amqc_table_end(&out, mark);
	}
	kept = gen_keep(gen, buf_span(&out));
	buf_deinit(&out);
	return kept;
}

START_TEST(table__any_is_read_and_written_back_to_the_byte)
{
	struct gen gen;

	for (uint64_t seed = 0; seed < 2000; seed++) {
		bool is_array = seed % 2;
		struct span table;

		gen_init(&gen, seed);
		table = gen_table(&gen, is_array, 4);
		ck_assert_msg(check_copy(table, is_array) == AMQC_OK, "seed %u", (unsigned int)seed);
		ck_assert_msg(span_equal(rewrite(&gen, table, is_array), table), "seed %u",
			      (unsigned int)seed);
	}
}
END_TEST

START_TEST(table__every_letter_nests_in_every_container)
{
	static const char containers[] = "FA";
	struct gen gen;

	gen_init(&gen, 7);
	for (const char *letter = GEN_LETTERS; *letter; letter++)
		for (int outer = 0; outer < 2; outer++)
			for (int inner = 0; inner < 2; inner++) {
				struct buf out = BUF_INIT;
				struct span name = SPAN_LITERAL("n");
				struct amqc_field field;
				size_t one, two;

				gen.used = 0;
				one = amqc_field_begin(&out, &name, containers[outer]);
				two = amqc_field_begin(&out, outer ? NULL : &name, containers[inner]);
				gen_value(&gen, *letter, 1, &field);
				ck_assert_int_eq(amqc_field_append(&out, inner ? NULL : &name, &field),
						 AMQC_OK);
				amqc_table_end(&out, two);
				amqc_table_end(&out, one);
				ck_assert_int_eq(check_copy(buf_span(&out), false), AMQC_OK);
				ck_assert(span_equal(rewrite(&gen, buf_span(&out), false), buf_span(&out)));
				buf_deinit(&out);
			}
}
END_TEST

/* Cut at each byte: either between two fields, or it must be seen. */
static void check_cuts(struct span table, bool is_array)
{
	struct span rest = table;
	struct amqc_field field;
	size_t whole = 0;

	for (size_t len = 0; len <= table.len; len++) {
		bool between = len == whole;

		ck_assert_int_eq(check_copy(span_first(table, len), is_array),
				 between ? AMQC_OK : AMQC_TRUNCATED);
		if (!between || len == table.len)
			continue;
		ck_assert_int_eq(is_array ? amqc_array_next(&rest, &field) : amqc_table_next(&rest, &field),
				 AMQC_OK);
		whole = table.len - rest.len;
	}
}

START_TEST(table__cut_within_a_field_is_truncated)
{
	struct gen gen;

	for (uint64_t seed = 0; seed < 100; seed++) {
		gen_init(&gen, seed);
		check_cuts(gen_table(&gen, seed % 2, 3), seed % 2);
	}
}
END_TEST

START_TEST(table__nested_one_that_is_broken_is_found)
{
	static const struct {
		struct span wire; /* of an array */
		enum amqc_result result;
	} broken[] = {
	    {{(const uint8_t *)"A\0\0\0\x01?", 6}, AMQC_BAD_FIELD_TYPE},
	    {{(const uint8_t *)"A\0\0\0\x02I\0", 7}, AMQC_TRUNCATED},
	    {{(const uint8_t *)"A\0\0\0\x01tV", 7}, AMQC_TRUNCATED},
	    {{(const uint8_t *)"F\0\0\0\x02\x05V", 7}, AMQC_TRUNCATED},
	    {{(const uint8_t *)"F\0\0\0\x01\0", 6}, AMQC_TRUNCATED},
	    {{(const uint8_t *)"F\0\0\0\x02\0?", 7}, AMQC_BAD_FIELD_TYPE},
	    {{(const uint8_t *)"A\0\0\0\x06"
			       "F\0\0\0\x01\xff",
	      11},
	     AMQC_TRUNCATED},
	    {{(const uint8_t *)"S\xff\xff\xff\xff", 5}, AMQC_TRUNCATED},
	    {{(const uint8_t *)"F\xff\xff\xff\xff\0", 6}, AMQC_TRUNCATED},
	};

	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
		ck_assert_msg(check_copy(broken[i].wire, true) == broken[i].result, "case %u",
			      (unsigned int)i);
}
END_TEST

/* A table that holds levels of nested containers, of one letter or in turns. */
static void nest(struct buf *out, unsigned int levels, const char *letters)
{
	struct span name = SPAN_LITERAL("n");
	size_t *marks = calloc(levels + 1, sizeof(*marks));
	bool in_array = false;

	ck_assert_ptr_nonnull(marks);
	for (unsigned int i = 0; i < levels; i++) {
		char letter = letters[i % strlen(letters)];

		marks[i] = amqc_field_begin(out, in_array ? NULL : &name, letter);
		in_array = letter == 'A';
	}
	for (unsigned int i = levels; i-- > 0;)
		amqc_table_end(out, marks[i]);
	free(marks);
}

START_TEST(table__nests_as_deep_as_the_limit_and_no_deeper)
{
	static const char *const letters[] = {"F", "A", "FA", "AAF"};

	for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++)
		for (unsigned int levels = 62; levels < 68; levels++) {
			struct buf out = BUF_INIT;

			nest(&out, levels, letters[i]);
			ck_assert_int_eq(check_copy(buf_span(&out), false),
					 levels <= AMQC_TABLE_DEPTH_MAX ? AMQC_OK : AMQC_TOO_DEEP);
			buf_deinit(&out);
		}
}
END_TEST

START_TEST(table__depth_counts_levels_and_not_siblings)
{
	struct span name = SPAN_LITERAL("n");
	struct buf out = BUF_INIT;

	for (unsigned int i = 0; i < 1000; i++)
		amqc_table_end(&out, amqc_field_begin(&out, &name, i % 2 ? 'F' : 'A'));
	nest(&out, AMQC_TABLE_DEPTH_MAX, "F");
	nest(&out, AMQC_TABLE_DEPTH_MAX, "A");
	ck_assert_int_eq(check_copy(buf_span(&out), false), AMQC_OK);
	buf_deinit(&out);
}
END_TEST

START_TEST(table__hundred_thousand_levels_do_no_harm)
{
	struct buf out = BUF_INIT;

	nest(&out, 100000, "F");
	ck_assert_int_eq(check_copy(buf_span(&out), false), AMQC_TOO_DEEP);
	buf_deinit(&out);
}
END_TEST

START_TEST(table__find_gives_the_first_of_a_name)
{
	struct amqc_field field = {.type = 'I', .value.signed_int = 5};
	struct span name = SPAN_LITERAL("twice");
	struct buf out = BUF_INIT;

	amqc_field_append_bool(&out, "flag", true);
	amqc_field_append_str(&out, "text", SPAN_LITERAL("value"));
	ck_assert_int_eq(amqc_field_append(&out, &name, &field), AMQC_OK);
	amqc_field_append_bool(&out, "twice", false);
	amqc_field_append_bool(&out, "", true);
	ck_assert(amqc_table_find(buf_span(&out), "text", &field));
	ck_assert_int_eq(field.type, 'S');
	ck_assert(span_equal_str(field.value.bytes, "value"));
	ck_assert(amqc_table_find(buf_span(&out), "twice", &field));
	ck_assert_int_eq(field.type, 'I');
	ck_assert(amqc_table_find(buf_span(&out), "flag", &field));
	ck_assert(field.value.boolean);
	ck_assert(amqc_table_find(buf_span(&out), "", &field));
	ck_assert(!amqc_table_find(buf_span(&out), "tex", &field));
	ck_assert(!amqc_table_find(buf_span(&out), "texts", &field));
	ck_assert(!amqc_table_find(SPAN_NULL, "text", &field));
	buf_deinit(&out);
}
END_TEST

START_TEST(table__sorted_is_by_name_and_keeps_the_order_within_one)
{
	struct buf out = BUF_INIT, sorted = BUF_INIT, expected = BUF_INIT;

	amqc_field_append_bool(&out, "b", true);
	amqc_field_append_str(&out, "aa", SPAN_LITERAL("1"));
	amqc_field_append_bool(&out, "b", false);
	amqc_field_append_bool(&out, "a", true);
	amqc_field_append_bool(&out, "", true);
	amqc_field_append_bool(&expected, "", true);
	amqc_field_append_bool(&expected, "a", true);
	amqc_field_append_str(&expected, "aa", SPAN_LITERAL("1"));
	amqc_field_append_bool(&expected, "b", true);
	amqc_field_append_bool(&expected, "b", false);
	ck_assert(amqc_table_append_sorted(&sorted, buf_span(&out)));
	ck_assert(span_equal(buf_span(&sorted), buf_span(&expected)));
	buf_consume(&sorted, buf_len(&sorted));
	ck_assert(amqc_table_append_sorted(&sorted, SPAN_NULL));
	ck_assert_uint_eq(buf_len(&sorted), 0);
	ck_assert(!amqc_table_append_sorted(&sorted, span_first(buf_span(&out), buf_len(&out) - 1)));
	buf_deinit(&out);
	buf_deinit(&sorted);
	buf_deinit(&expected);
}
END_TEST

START_TEST(table__length_is_filled_in_when_it_ends)
{
	struct buf out = BUF_INIT;
	size_t mark;

	buf_append(&out, "before", 6);
	buf_consume(&out, 2);
	mark = amqc_table_begin(&out);
	amqc_field_append_bool(&out, "k", true);
	amqc_table_end(&out, mark);
	ck_assert(span_equal(buf_span(&out), SPAN_LITERAL("fore\0\0\0\x04\x01kt\x01")));
	buf_deinit(&out);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("amqp/table");
	TCase *tests = tcase_create("table");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(tests, field__has_the_bytes_of_its_letter_in_an_array, 0, EXAMPLE_COUNT);
	tcase_add_loop_test(tests, field__has_its_name_in_front_in_a_table, 0, EXAMPLE_COUNT);
	tcase_add_test(tests, field__letters_are_those_that_rabbitmq_reads);
	tcase_add_test(tests, field__boolean_of_any_octet_but_zero_is_true);
	tcase_add_test(tests, field__integer_outside_its_type_is_refused);
	tcase_add_test(tests, field__not_a_number_keeps_all_its_bits);
	tcase_add_test(tests, field__name_is_at_most_255_bytes);
	tcase_add_test(tests, field__string_longer_than_a_length_can_say_is_refused);
	tcase_add_test(tests, table__any_is_read_and_written_back_to_the_byte);
	tcase_add_test(tests, table__every_letter_nests_in_every_container);
	tcase_add_test(tests, table__cut_within_a_field_is_truncated);
	tcase_add_test(tests, table__nested_one_that_is_broken_is_found);
	tcase_add_test(tests, table__nests_as_deep_as_the_limit_and_no_deeper);
	tcase_add_test(tests, table__depth_counts_levels_and_not_siblings);
	tcase_add_test(tests, table__hundred_thousand_levels_do_no_harm);
	tcase_add_test(tests, table__find_gives_the_first_of_a_name);
	tcase_add_test(tests, table__sorted_is_by_name_and_keeps_the_order_within_one);
	tcase_add_test(tests, table__length_is_filled_in_when_it_ends);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
