/* Tables and properties: AMQP's bytes -> protobuf -> AMQP's bytes are the same bytes. */
#include "daemon/front/table.h"
#include "proto/prescan.h"
#include "tests/unit/codec-gen.h"

#include <check.h>
#include <stdlib.h>

#define RUNS 2000u
#define NESTING_OF_RUNS 4u

static struct {
	struct arena arena;
	struct buf amqp;
	struct buf packed;
	uint8_t block[ARENA_BLOCK_GOOD];
	struct gen gen;
} t;

static void setup(void)
{
	arena_init(&t.arena, t.block, sizeof(t.block));
	t.amqp = BUF_INIT;
	t.packed = BUF_INIT;
}

static void teardown(void)
{
	arena_deinit(&t.arena);
	buf_deinit(&t.amqp);
	buf_deinit(&t.packed);
}

static void fresh(void)
{
	arena_reset(&t.arena);
	buf_truncate(&t.amqp, 0);
	buf_truncate(&t.packed, 0);
}

/* Over the wire, as between daemon and client. */
static Muxd__V1__Table *send_table(const Muxd__V1__Table *table)
{
	size_t size = muxd__v1__table__get_packed_size(table);
	uint8_t *room = buf_reserve(&t.packed, size + 1);
	Muxd__V1__Table *ret;

	ck_assert_ptr_nonnull(room);
	buf_commit(&t.packed, muxd__v1__table__pack(table, room));
	ret = muxd__v1__table__unpack(&t.arena.allocator, size, room);
	ck_assert_ptr_nonnull(ret);
	return ret;
}

START_TEST(table__comes_back_byte_for_byte)
{
	struct fault fault;

	for (uint64_t seed = 0; seed < RUNS; seed++) {
		Muxd__V1__Table *table;
		struct span before;

		fresh();
		gen_init(&t.gen, seed);
		before = gen_table(&t.gen, false, NESTING_OF_RUNS);
		if (!table_from_amqp(&t.arena, before, &table))
			continue; /* more fields than a header may have */
		ck_assert_msg(table_to_amqp(&t.amqp, send_table(table), "headers", &fault), "seed %llu: %s",
			      (unsigned long long)seed, fault.text);
		ck_assert_msg(span_equal(buf_span(&t.amqp), before), "seed %llu", (unsigned long long)seed);
	}
}
END_TEST

START_TEST(table__keeps_every_type_alone)
{
	struct fault fault;

	for (const char *letter = GEN_LETTERS; *letter; letter++) {
		for (uint64_t seed = 0; seed < 50; seed++) {
			struct amqc_field field;
			Muxd__V1__Table *table;
			struct buf before = BUF_INIT;
			struct span name = span_str("name");

			fresh();
			gen_init(&t.gen, seed);
			gen_value(&t.gen, *letter, 1, &field);
			ck_assert_int_eq(amqc_field_append(&before, &name, &field), AMQC_OK);
			ck_assert(table_from_amqp(&t.arena, buf_span(&before), &table));
			ck_assert_uint_eq(table->n_fields, 1);
			ck_assert(table_to_amqp(&t.amqp, send_table(table), "headers", &fault));
			ck_assert_msg(span_equal(buf_span(&t.amqp), buf_span(&before)), "type %c seed %llu",
				      *letter, (unsigned long long)seed);
			buf_deinit(&before);
		}
	}
}
END_TEST

static void assert_properties_equal(const struct amqc_properties *a, const struct amqc_properties *b,
				    uint64_t seed)
{
	struct buf bytes[2] = {BUF_INIT, BUF_INIT};
	struct amqc_content_header headers[2] = {{.class_id = AMQC_CLASS_BASIC, .properties = *a},
						 {.class_id = AMQC_CLASS_BASIC, .properties = *b}};

	for (size_t i = 0; i < 2; i++)
		ck_assert_int_eq(amqc_content_header_payload_append(&bytes[i], &headers[i]), AMQC_OK);
	ck_assert_msg(span_equal(buf_span(&bytes[0]), buf_span(&bytes[1])), "seed %llu",
		      (unsigned long long)seed);
	buf_deinit(&bytes[0]);
	buf_deinit(&bytes[1]);
}

START_TEST(properties__come_back_with_just_those_that_were_there)
{
	struct fault fault;

	for (uint64_t seed = 0; seed < RUNS; seed++) {
		struct amqc_properties before;
		struct amqc_properties after;
		Muxd__V1__Properties properties;
		Muxd__V1__Properties *received;
		uint8_t *room;
		size_t size;

		fresh();
		gen_init(&t.gen, seed);
		gen_properties(&t.gen, &before);
		if (!properties_from_amqp(&t.arena, &before, &properties))
			continue;
		size = muxd__v1__properties__get_packed_size(&properties);
		room = buf_reserve(&t.packed, size + 1);
		(void)muxd__v1__properties__pack(&properties, room);
		received = muxd__v1__properties__unpack(&t.arena.allocator, size, room);
		ck_assert_ptr_nonnull(received);
		ck_assert_msg(properties_to_amqp(&t.amqp, received, &after, &fault), "seed %llu: %s",
			      (unsigned long long)seed, fault.text);
		ck_assert_uint_eq(after.present, before.present);
		assert_properties_equal(&before, &after, seed);
	}
}
END_TEST

/* ------------------------------------------------------------------ what cannot be */

/* count tables, each in the one before. */
static void nest(struct buf *out, unsigned int count)
{
	struct span name = span_str("t");
	size_t mark;

	if (count == 0)
		return;
	mark = amqc_field_begin(out, &name, 'F');
	nest(out, count - 1);
	amqc_table_end(out, mark);
}

/* True if the pre-scan lets a delivery with these headers through to the client. */
static bool client_can_read(Muxd__V1__Table *headers)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Delivery delivery = MUXD__V1__DELIVERY__INIT;
	Muxd__V1__Properties properties = MUXD__V1__PROPERTIES__INIT;
	uint8_t *room;
	size_t size;

	properties.headers = headers;
	delivery.properties = &properties;
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_DELIVERY;
	frame.delivery = &delivery;
	size = muxd__v1__server_frame__get_packed_size(&frame);
	room = buf_reserve(&t.packed, size);
	ck_assert_ptr_nonnull(room);
	(void)muxd__v1__server_frame__pack(&frame, room);
	return prescan(PRESCAN_SERVER_FRAME, span_make(room, size)) == PRESCAN_OK;
}

START_TEST(table__nests_as_deep_as_a_client_can_read_and_no_deeper)
{
	Muxd__V1__Table *table;

	for (unsigned int count = 0; count < 64; count++) {
		fresh();
		nest(&t.amqp, count);
		if (table_from_amqp(&t.arena, buf_span(&t.amqp), &table))
			ck_assert_msg(client_can_read(table), "%u levels", count);
		else
			ck_assert_uint_ge(count, TABLE_NESTING_MAX);
		ck_assert(count >= TABLE_NESTING_MAX || table);
	}
}
END_TEST

START_TEST(table__decimal_in_the_deepest_one_can_be_read_too)
{
	struct amqc_field decimal = {.type = 'D'};
	struct span name = span_str("d");
	Muxd__V1__Table *table;

	for (unsigned int count = 0; count < TABLE_NESTING_MAX; count++) {
		size_t marks[TABLE_NESTING_MAX];
		struct span t_name = span_str("t");

		fresh();
		for (unsigned int i = 0; i < count; i++)
			marks[i] = amqc_field_begin(&t.amqp, &t_name, 'F');
		ck_assert_int_eq(amqc_field_append(&t.amqp, &name, &decimal), AMQC_OK);
		for (unsigned int i = count; i > 0; i--)
			amqc_table_end(&t.amqp, marks[i - 1]);
		if (table_from_amqp(&t.arena, buf_span(&t.amqp), &table))
			ck_assert_msg(client_can_read(table), "%u levels", count);
	}
}
END_TEST

START_TEST(table__has_as_many_fields_as_a_client_can_read_and_no_more)
{
	struct amqc_field field = {.type = 't'};
	struct span name = span_str("x");
	Muxd__V1__Table *table;
	size_t most = 0;

	for (size_t count = 2600; count < 2800; count++) {
		fresh();
		for (size_t i = 0; i < count; i++)
			ck_assert_int_eq(amqc_field_append(&t.amqp, &name, &field), AMQC_OK);
		if (!table_from_amqp(&t.arena, buf_span(&t.amqp), &table))
			continue;
		ck_assert_msg(client_can_read(table), "%zu fields", count);
		most = count;
	}
	ck_assert_uint_eq(most, TABLE_PROTO_FIELDS_MAX / 3);
}
END_TEST

struct misfit {
	const char *why;
	Muxd__V1__Field field;
};

#define FIELD(CASE, member, number)                                             \
	{                                                                       \
		.base = PROTOBUF_C_MESSAGE_INIT(&muxd__v1__field__descriptor),  \
		.value_case = MUXD__V1__FIELD__VALUE_##CASE, .member = (number) \
	}

START_TEST(table__value_outside_its_type_is_refused_by_name)
{
	struct misfit misfits[] = {
	    {"int8", FIELD(INT8, int8, 128)},	    {"int8", FIELD(INT8, int8, -129)},
	    {"uint8", FIELD(UINT8, uint8, 256)},    {"int16", FIELD(INT16, int16, 32768)},
	    {"int16", FIELD(INT16, int16, -32769)}, {"uint16", FIELD(UINT16, uint16, 65536)},
	};
	Muxd__V1__Field good = FIELD(INT8, int8, -128);
	Muxd__V1__Field *fields[2] = {&good, NULL};
	Muxd__V1__Table table = MUXD__V1__TABLE__INIT;
	struct fault fault;

	table.fields = fields;
	for (size_t i = 0; i < sizeof(misfits) / sizeof(misfits[0]); i++) {
		fresh();
		buf_append(&t.amqp, "kept", 4);
		misfits[i].field.has_name = true;
		misfits[i].field.name = bytes_of(span_str("culprit"));
		table.n_fields = 2;
		fields[1] = &misfits[i].field;
		ck_assert(!table_to_amqp(&t.amqp, &table, "headers", &fault));
		ck_assert_uint_eq(fault.code, 502);
		ck_assert_msg(strstr(fault.text, "headers: field 'culprit'") != NULL, "%s: %s",
			      misfits[i].why, fault.text);
		ck_assert_uint_eq(buf_len(&t.amqp), 4);
		table.n_fields = 1;
		ck_assert(table_to_amqp(&t.amqp, &table, "headers", &fault));
	}
}
END_TEST

START_TEST(table__name_of_more_than_255_bytes_is_refused)
{
	Muxd__V1__Field field = FIELD(BOOLEAN, boolean, true);
	Muxd__V1__Field *fields[1] = {&field};
	Muxd__V1__Table table = MUXD__V1__TABLE__INIT;
	char name[257];
	struct fault fault;

	memset(name, 'n', sizeof(name));
	field.has_name = true;
	field.name = bytes_of(span_make(name, 256));
	table.fields = fields;
	table.n_fields = 1;
	ck_assert(!table_to_amqp(&t.amqp, &table, "arguments", &fault));
	ck_assert_uint_eq(buf_len(&t.amqp), 0);
	field.name = bytes_of(span_make(name, 255));
	ck_assert(table_to_amqp(&t.amqp, &table, "arguments", &fault));
}
END_TEST

START_TEST(properties__value_that_does_not_fit_is_refused_by_name)
{
	Muxd__V1__Properties properties = MUXD__V1__PROPERTIES__INIT;
	struct amqc_properties ret;
	struct fault fault;
	char text[256] = "";

	properties.has_priority = true;
	properties.priority = 256;
	ck_assert(!properties_to_amqp(&t.amqp, &properties, &ret, &fault));
	ck_assert_uint_eq(fault.code, 502);
	ck_assert_ptr_nonnull(strstr(fault.text, "priority"));
	properties.priority = 255;
	properties.has_message_id = true;
	properties.message_id = bytes_of(span_make(text, 256));
	ck_assert(!properties_to_amqp(&t.amqp, &properties, &ret, &fault));
	ck_assert_ptr_nonnull(strstr(fault.text, "message_id"));
	properties.message_id.len = 255;
	ck_assert(properties_to_amqp(&t.amqp, &properties, &ret, &fault));
	ck_assert_uint_eq(ret.present, AMQC_PROP_PRIORITY | AMQC_PROP_MESSAGE_ID);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("front/table");
	TCase *tests = tcase_create("table");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, table__comes_back_byte_for_byte);
	tcase_add_test(tests, table__keeps_every_type_alone);
	tcase_add_test(tests, properties__come_back_with_just_those_that_were_there);
	tcase_add_test(tests, table__nests_as_deep_as_a_client_can_read_and_no_deeper);
	tcase_add_test(tests, table__decimal_in_the_deepest_one_can_be_read_too);
	tcase_add_test(tests, table__has_as_many_fields_as_a_client_can_read_and_no_more);
	tcase_add_test(tests, table__value_outside_its_type_is_refused_by_name);
	tcase_add_test(tests, table__name_of_more_than_255_bytes_is_refused);
	tcase_add_test(tests, properties__value_that_does_not_fit_is_refused_by_name);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
