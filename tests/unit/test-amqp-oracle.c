/*
 * The codec against librabbitmq, which nobody here wrote: the same values must
 * give the same bytes, and each must read what the other has written. Methods
 * that librabbitmq does not know (connection.update-secret) are left out, and
 * counted, so that a version that knows them does not go unnoticed.
 */
/* librabbitmq calls a member nowait that is no_wait here, as in the specification. */
#define nowait no_wait
#include <amqp.h>
#include <amqp_framing.h>
#undef nowait

#include "tests/unit/codec-gen.h"

#include <check.h>
#include <stdlib.h>

#define SEEDS 60u
#define WIRE_MAX (1u << 18)

static void *pool_room(amqp_pool_t *pool, size_t count, size_t size)
{
	void *room = amqp_pool_alloc(pool, count ? count * size : 1);

	ck_assert_ptr_nonnull(room);
	memset(room, 0, count * size);
	return room;
}

/* librabbitmq does not take its bytes const, but does not write to them either. */
static amqp_bytes_t their_bytes(struct span bytes)
{
	union {
		const uint8_t *ours;
		void *theirs;
	} data = {bytes.data};

	return (amqp_bytes_t){bytes.len, data.theirs};
}

static struct span our_bytes(amqp_bytes_t bytes)
{
	return span_make(bytes.bytes, bytes.len);
}

static amqp_table_t their_table(amqp_pool_t *pool, struct span table);
static amqp_array_t their_array(amqp_pool_t *pool, struct span array);

static amqp_field_value_t their_value(amqp_pool_t *pool, const struct amqc_field *field)
{
	amqp_field_value_t value = {.kind = (uint8_t)field->type};

	switch (field->type) {
	case 't':
		value.value.boolean = field->value.boolean;
		break;
	case 'b':
		value.value.i8 = (int8_t)field->value.signed_int;
		break;
	case 's':
		value.value.i16 = (int16_t)field->value.signed_int;
		break;
	case 'I':
		value.value.i32 = (int32_t)field->value.signed_int;
		break;
	case 'l':
		value.value.i64 = field->value.signed_int;
		break;
	case 'B':
		value.value.u8 = (uint8_t)field->value.unsigned_int;
		break;
	case 'u':
		value.value.u16 = (uint16_t)field->value.unsigned_int;
		break;
	case 'i':
		value.value.u32 = (uint32_t)field->value.unsigned_int;
		break;
	case 'L':
	case 'T':
		value.value.u64 = field->value.unsigned_int;
		break;
	case 'f':
		value.value.f32 = field->value.float32;
		break;
	case 'd':
		value.value.f64 = field->value.float64;
		break;
	case 'D':
		value.value.decimal.decimals = field->value.decimal.scale;
		value.value.decimal.value = field->value.decimal.value;
		break;
	case 'S':
	case 'x':
		value.value.bytes = their_bytes(field->value.bytes);
		break;
	case 'F':
		value.value.table = their_table(pool, field->value.bytes);
		break;
	case 'A':
		value.value.array = their_array(pool, field->value.bytes);
		break;
	default:
		ck_assert_int_eq(field->type, 'V');
		break;
	}
	return value;
}

static size_t count_fields(struct span rest, bool is_array)
{
	struct amqc_field field;
	size_t count = 0;

	while ((is_array ? amqc_array_next(&rest, &field) : amqc_table_next(&rest, &field)) == AMQC_OK)
		count++;
	ck_assert_uint_eq(rest.len, 0);
	return count;
}

static amqp_table_t their_table(amqp_pool_t *pool, struct span table)
{
	size_t count = count_fields(table, false);
	amqp_table_t theirs = {(int)count, pool_room(pool, count, sizeof(amqp_table_entry_t))};
	struct amqc_field field;

	for (size_t i = 0; i < count; i++) {
		ck_assert_int_eq(amqc_table_next(&table, &field), AMQC_OK);
		theirs.entries[i].key = their_bytes(field.name);
		theirs.entries[i].value = their_value(pool, &field);
	}
	return theirs;
}

static amqp_array_t their_array(amqp_pool_t *pool, struct span array)
{
	size_t count = count_fields(array, true);
	amqp_array_t theirs = {(int)count, pool_room(pool, count, sizeof(amqp_field_value_t))};
	struct amqc_field field;

	for (size_t i = 0; i < count; i++) {
		ck_assert_int_eq(amqc_array_next(&array, &field), AMQC_OK);
		theirs.entries[i] = their_value(pool, &field);
	}
	return theirs;
}

/* The fields of a table as librabbitmq writes them, without the length in front. */
static struct span written_by_them(amqp_table_t *table, uint8_t *room)
{
	size_t offset = 0;
	amqp_bytes_t out = {WIRE_MAX, room};

	ck_assert_int_eq(amqp_encode_table(out, table, &offset), 0);
	ck_assert_uint_eq(load_be32(room), offset - 4);
	return span_make(room + 4, offset - 4);
}

/* Reads the fields as librabbitmq does. */
static amqp_table_t read_by_them(amqp_pool_t *pool, struct span table)
{
	uint8_t *copy = pool_room(pool, table.len + 4, 1);
	amqp_table_t theirs;
	size_t offset = 0;

	store_be32(copy, (uint32_t)table.len);
	if (table.len > 0)
		memcpy(copy + 4, table.data, table.len);
	ck_assert_int_eq(amqp_decode_table((amqp_bytes_t){table.len + 4, copy}, pool, &theirs, &offset), 0);
	ck_assert_uint_eq(offset, table.len + 4);
	return theirs;
}

struct both {
	amqp_pool_t pool;
	struct gen gen;
	struct buf out;
	uint8_t room[WIRE_MAX];
};

static struct both *both_new(uint64_t seed)
{
	struct both *both = calloc(1, sizeof(*both));

	ck_assert_ptr_nonnull(both);
	init_amqp_pool(&both->pool, 4096);
	gen_init(&both->gen, seed);
	both->out = BUF_INIT;
	return both;
}

static void both_free(struct both *both)
{
	empty_amqp_pool(&both->pool);
	buf_deinit(&both->out);
	free(both);
}

START_TEST(oracle__tables_have_the_same_bytes_and_values)
{
	for (uint64_t seed = 0; seed < 500; seed++) {
		struct both *both = both_new(seed);
		struct span table = gen_table(&both->gen, false, 4);
		amqp_table_t theirs = their_table(&both->pool, table);

		ck_assert_msg(span_equal(written_by_them(&theirs, both->room), table), "seed %u",
			      (unsigned int)seed);
		theirs = read_by_them(&both->pool, table);
		ck_assert_msg(span_equal(written_by_them(&theirs, both->room), table), "seed %u",
			      (unsigned int)seed);
		both_free(both);
	}
}
END_TEST

START_TEST(oracle__each_letter_has_the_same_bytes)
{
	char letter = GEN_LETTERS[_i];

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct both *both = both_new(seed);
		struct span name = gen_bytes(&both->gen, 255);
		struct amqc_field field;
		amqp_table_t theirs;

		gen_value(&both->gen, letter, 3, &field);
		ck_assert_int_eq(amqc_field_append(&both->out, &name, &field), AMQC_OK);
		theirs = their_table(&both->pool, buf_span(&both->out));
		ck_assert_int_eq(theirs.num_entries, 1);
		ck_assert(span_equal(written_by_them(&theirs, both->room), buf_span(&both->out)));
		both_free(both);
	}
}
END_TEST

#define TO_BIT(pool, value) (value)
#define TO_OCTET(pool, value) (value)
#define TO_SHORT(pool, value) (value)
#define TO_LONG(pool, value) (value)
#define TO_LONGLONG(pool, value) (value)
#define TO_SHORTSTR(pool, value) their_bytes(value)
#define TO_LONGSTR(pool, value) their_bytes(value)
#define TO_TABLE(pool, value) their_table(pool, value)

/* A value that librabbitmq has read is the one that we sent. */
#define SAME_BIT(both, theirs, ours) (((theirs) != 0) == (ours))
#define SAME_OCTET(both, theirs, ours) ((theirs) == (ours))
#define SAME_SHORT(both, theirs, ours) ((theirs) == (ours))
#define SAME_LONG(both, theirs, ours) ((theirs) == (ours))
#define SAME_LONGLONG(both, theirs, ours) ((theirs) == (ours))
#define SAME_SHORTSTR(both, theirs, ours) span_equal(our_bytes(theirs), ours)
#define SAME_LONGSTR(both, theirs, ours) span_equal(our_bytes(theirs), ours)
#define SAME_TABLE(both, theirs, ours) span_equal(written_by_them(&(theirs), (both)->room), ours)

/* librabbitmq 0.11 does not know these; the reserved size marks that. */
#define UNKNOWN_TO_THEM 2
#ifndef AMQP_CONNECTION_UPDATE_SECRET_METHOD
typedef struct amqp_connection_update_secret_t_ {
	amqp_bytes_t new_secret;
	amqp_bytes_t reason;
} amqp_connection_update_secret_t;
typedef struct amqp_connection_update_secret_ok_t_ {
	char unknown;
} amqp_connection_update_secret_ok_t;
#endif

/* Room for any of librabbitmq's methods. */
union theirs {
#define METHOD(CONSTANT, name, class_id, method_id, sender) amqp_##name##_t name;
#define FIELD(name, type, member)
#define RESERVED(name, type)
#define END(name)
#include "daemon/amqp/methods.def"
#undef METHOD
#undef FIELD
#undef END
};

static void to_theirs(amqp_pool_t *pool, const struct amqc_method *ours, union theirs *theirs)
{
	memset(theirs, 0, sizeof(*theirs));
	switch (ours->id) {
#define METHOD(CONSTANT, name, class_id, method_id, sender) case AMQC_##CONSTANT:
#define FIELD(name, type, member) theirs->name.member = TO_##type(pool, ours->name.member);
#define END(name) break;
#include "daemon/amqp/methods.def"
#undef METHOD
#undef FIELD
#undef END
	}
}

static bool same(struct both *both, const struct amqc_method *ours, union theirs *theirs)
{
	bool equal = true;

	switch (ours->id) {
#define METHOD(CONSTANT, name, class_id, method_id, sender) case AMQC_##CONSTANT:
#define FIELD(name, type, member) equal = equal && SAME_##type(both, theirs->name.member, ours->name.member);
#define END(name) break;
#include "daemon/amqp/methods.def"
#undef METHOD
#undef FIELD
#undef END
	}
	return equal;
}

static bool known_to_them(uint32_t id)
{
	return amqp_method_name(id) != NULL;
}

static void check_method(uint32_t id, uint64_t seed)
{
	struct both *both = both_new(seed);
	struct amqc_method ours, got;
	union theirs theirs;
	struct amqc_frame frame = {0};
	void *decoded = NULL;
	size_t size;
	int len;

	gen_method(&both->gen, id, &ours);
	ck_assert_int_eq(amqc_method_append(&both->out, 1, &ours), AMQC_OK);
	ck_assert_int_eq(amqc_frame_peek(buf_span(&both->out), UINT32_MAX, &frame, &size), AMQC_OK);

	to_theirs(&both->pool, &ours, &theirs);
	store_be32(both->room, id);
	len = amqp_encode_method(id, &theirs, (amqp_bytes_t){WIRE_MAX - 4, both->room + 4});
	ck_assert_msg(len >= 0, "%s: librabbitmq cannot write it", amqc_method_name(id));
	ck_assert_msg(span_equal(frame.payload, span_make(both->room, (size_t)len + 4)), "%s, seed %u",
		      amqc_method_name(id), (unsigned int)seed);
	ck_assert_int_eq(amqc_method_decode(span_make(both->room, (size_t)len + 4), &got), AMQC_OK);
	ck_assert(method_equal(&ours, &got));

	ck_assert_int_eq(
	    amqp_decode_method(id, &both->pool, their_bytes(span_skip(frame.payload, 4)), &decoded), 0);
	if (decoded)
		ck_assert_msg(same(both, &ours, decoded), "%s, seed %u", amqc_method_name(id),
			      (unsigned int)seed);
	both_free(both);
}

START_TEST(oracle__methods_have_the_same_bytes_and_values)
{
	uint32_t id = gen_method_id((size_t)_i);

	if (!known_to_them(id))
		return;
	for (uint64_t seed = 0; seed < SEEDS; seed++)
		check_method(id, seed);
}
END_TEST

START_TEST(oracle__knows_all_methods_but_update_secret)
{
	unsigned int unknown = 0;

	for (size_t i = 0; i < GEN_METHOD_COUNT; i++)
		unknown += !known_to_them(gen_method_id(i));
#ifndef AMQP_CONNECTION_UPDATE_SECRET_METHOD
	ck_assert_uint_eq(unknown, UNKNOWN_TO_THEM);
#else
	ck_assert_uint_eq(unknown, 0);
#endif
}
END_TEST

#define PROPERTIES(each)                                                                              \
	each(CONTENT_TYPE, SHORTSTR, content_type) each(CONTENT_ENCODING, SHORTSTR, content_encoding) \
	    each(HEADERS, TABLE, headers) each(DELIVERY_MODE, OCTET, delivery_mode)                   \
		each(PRIORITY, OCTET, priority) each(CORRELATION_ID, SHORTSTR, correlation_id)        \
		    each(REPLY_TO, SHORTSTR, reply_to) each(EXPIRATION, SHORTSTR, expiration)         \
			each(MESSAGE_ID, SHORTSTR, message_id) each(TIMESTAMP, LONGLONG, timestamp)   \
			    each(TYPE, SHORTSTR, type) each(USER_ID, SHORTSTR, user_id)               \
				each(APP_ID, SHORTSTR, app_id) each(CLUSTER_ID, SHORTSTR, cluster_id)

static void properties_to_theirs(amqp_pool_t *pool, const struct amqc_properties *ours,
				 amqp_basic_properties_t *theirs)
{
	memset(theirs, 0, sizeof(*theirs));
#define EACH(CONSTANT, TYPE, member)                            \
	if (ours->present & AMQC_PROP_##CONSTANT) {             \
		theirs->_flags |= AMQP_BASIC_##CONSTANT##_FLAG; \
		theirs->member = TO_##TYPE(pool, ours->member); \
	}
	PROPERTIES(EACH)
#undef EACH
}

static bool same_properties(struct both *both, const struct amqc_properties *ours,
			    amqp_basic_properties_t *theirs)
{
	bool equal = ours->present == theirs->_flags;

#define EACH(CONSTANT, TYPE, member)              \
	if (ours->present & AMQC_PROP_##CONSTANT) \
		equal = equal && SAME_##TYPE(both, theirs->member, ours->member);
	PROPERTIES(EACH)
#undef EACH
	return equal;
}

START_TEST(oracle__properties_have_the_same_bytes_and_values)
{
	for (uint64_t seed = 0; seed < 500; seed++) {
		struct both *both = both_new(seed);
		struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC};
		amqp_basic_properties_t theirs;
		struct span properties;
		void *decoded = NULL;
		int len;

		gen_properties(&both->gen, &header.properties);
		ck_assert_int_eq(amqc_content_header_payload_append(&both->out, &header), AMQC_OK);
		/* behind class, weight and body size: flags and values */
		properties = span_skip(buf_span(&both->out), 12);
		properties_to_theirs(&both->pool, &header.properties, &theirs);
		len = amqp_encode_properties(AMQC_CLASS_BASIC, &theirs, (amqp_bytes_t){WIRE_MAX, both->room});
		ck_assert_int_eq(len, properties.len);
		ck_assert_msg(span_equal(properties, span_make(both->room, (size_t)len)), "seed %u",
			      (unsigned int)seed);
		ck_assert_int_eq(
		    amqp_decode_properties(AMQC_CLASS_BASIC, &both->pool, their_bytes(properties), &decoded),
		    0);
		ck_assert_msg(same_properties(both, &header.properties, decoded), "seed %u",
			      (unsigned int)seed);
		both_free(both);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("amqp/oracle");
	TCase *tests = tcase_create("oracle");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, oracle__tables_have_the_same_bytes_and_values);
	tcase_add_loop_test(tests, oracle__each_letter_has_the_same_bytes, 0, sizeof(GEN_LETTERS) - 1);
	tcase_add_loop_test(tests, oracle__methods_have_the_same_bytes_and_values, 0, GEN_METHOD_COUNT);
	tcase_add_test(tests, oracle__knows_all_methods_but_update_secret);
	tcase_add_test(tests, oracle__properties_have_the_same_bytes_and_values);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
