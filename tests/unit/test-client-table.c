/* Field tables and messages, without a connection. */
#include "client/muxclient.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void set_all(struct muxc_table *table, const struct muxc_table *nested, const struct muxc_table *array)
{
	ck_assert_int_eq(muxc_table_set_bool(table, "t", 1), 0);
	ck_assert_int_eq(muxc_table_set_int8(table, "b", INT8_MIN), 0);
	ck_assert_int_eq(muxc_table_set_uint8(table, "B", UINT8_MAX), 0);
	ck_assert_int_eq(muxc_table_set_int16(table, "s", INT16_MIN), 0);
	ck_assert_int_eq(muxc_table_set_uint16(table, "u", UINT16_MAX), 0);
	ck_assert_int_eq(muxc_table_set_int32(table, "I", INT32_MIN), 0);
	ck_assert_int_eq(muxc_table_set_uint32(table, "i", UINT32_MAX), 0);
	ck_assert_int_eq(muxc_table_set_int64(table, "l", INT64_MIN), 0);
	ck_assert_int_eq(muxc_table_set_uint64(table, "L", UINT64_MAX), 0);
	ck_assert_int_eq(muxc_table_set_float(table, "f", -1.5f), 0);
	ck_assert_int_eq(muxc_table_set_double(table, "d", 1e300), 0);
	ck_assert_int_eq(muxc_table_set_decimal(table, "D", 2, 314), 0);
	ck_assert_int_eq(muxc_table_set_string(table, "S", "te\0xt", 5), 0);
	ck_assert_int_eq(muxc_table_set_bytes(table, "x", "\0\1", 2), 0);
	ck_assert_int_eq(muxc_table_set_array(table, "A", array), 0);
	ck_assert_int_eq(muxc_table_set_time(table, "T", 1700000000), 0);
	ck_assert_int_eq(muxc_table_set_table(table, "F", nested), 0);
	ck_assert_int_eq(muxc_table_set_void(table, "V"), 0);
}

/* The names are the letters of the types. */
static void check_value(const struct muxc_value *value)
{
	switch (value->type) {
	case MUXC_BOOL:
		ck_assert_int_eq(value->u.boolean, 1);
		break;
	case MUXC_INT8:
		ck_assert_int_eq(value->u.integer, INT8_MIN);
		break;
	case MUXC_UINT8:
		ck_assert_uint_eq(value->u.number, UINT8_MAX);
		break;
	case MUXC_INT16:
		ck_assert_int_eq(value->u.integer, INT16_MIN);
		break;
	case MUXC_UINT16:
		ck_assert_uint_eq(value->u.number, UINT16_MAX);
		break;
	case MUXC_INT32:
		ck_assert_int_eq(value->u.integer, INT32_MIN);
		break;
	case MUXC_UINT32:
		ck_assert_uint_eq(value->u.number, UINT32_MAX);
		break;
	case MUXC_INT64:
		ck_assert_int_eq(value->u.integer, INT64_MIN);
		break;
	case MUXC_UINT64:
		ck_assert_uint_eq(value->u.number, UINT64_MAX);
		break;
	case MUXC_FLOAT:
		ck_assert(value->u.float32 == -1.5f);
		break;
	case MUXC_DOUBLE:
		ck_assert(value->u.float64 == 1e300);
		break;
	case MUXC_DECIMAL:
		ck_assert_uint_eq(value->u.decimal.scale, 2);
		ck_assert_uint_eq(value->u.decimal.value, 314);
		break;
	case MUXC_STRING:
		ck_assert_uint_eq(value->u.bytes.len, 5);
		ck_assert_mem_eq(value->u.bytes.data, "te\0xt", 5);
		break;
	case MUXC_BYTES:
		ck_assert_uint_eq(value->u.bytes.len, 2);
		break;
	case MUXC_TIME:
		ck_assert_uint_eq(value->u.number, 1700000000);
		break;
	default:
		break;
	}
}

START_TEST(table__keeps_every_type_in_order)
{
	static const char order[] = "tbBsuIilLfdDSxATFV";
	struct muxc_table *table, *nested, *array;
	struct muxc_iter iter, inner;
	struct muxc_field field;
	size_t i;

	ck_assert_int_eq(muxc_table_new(&table), 0);
	ck_assert_int_eq(muxc_table_new(&nested), 0);
	ck_assert_int_eq(muxc_table_new(&array), 0);
	ck_assert_int_eq(muxc_table_set_int32(nested, "deep", 7), 0);
	for (i = 0; i < 3; i++)
		ck_assert_int_eq(muxc_table_set_uint8(array, NULL, (uint8_t)i), 0);
	set_all(table, nested, array);
	muxc_table_free(nested);
	muxc_table_free(array);
	muxc_table_iter(table, &iter);
	for (i = 0; i < sizeof(order) - 1; i++) {
		ck_assert_int_eq(muxc_iter_next(&iter, &field), 1);
		ck_assert_uint_eq(field.name_len, 1);
		ck_assert_int_eq(field.name[0], order[i]);
		ck_assert_int_eq(field.value.type, order[i]);
		check_value(&field.value);
		if (field.value.type == MUXC_TABLE) {
			ck_assert_int_eq(muxc_iter_enter(&field.value, &inner), 0);
			ck_assert_int_eq(muxc_iter_next(&inner, &field), 1);
			ck_assert_int_eq(field.value.u.integer, 7);
			ck_assert_int_eq(muxc_iter_next(&inner, &field), 0);
		} else if (field.value.type == MUXC_ARRAY) {
			ck_assert_int_eq(muxc_iter_enter(&field.value, &inner), 0);
			ck_assert_int_eq(muxc_iter_next(&inner, &field), 1);
			ck_assert_int_eq(muxc_iter_next(&inner, &field), 1);
			ck_assert_ptr_null(field.name);
			ck_assert_uint_eq(field.value.u.number, 1);
		} else {
			ck_assert_int_eq(muxc_iter_enter(&field.value, &inner), -EINVAL);
		}
	}
	ck_assert_int_eq(muxc_iter_next(&iter, &field), 0);
	muxc_table_free(table);
}
END_TEST

START_TEST(table__setting_again_replaces)
{
	struct muxc_table *table;
	struct muxc_iter iter;
	struct muxc_value value;

	ck_assert_int_eq(muxc_table_new(&table), 0);
	ck_assert_int_eq(muxc_table_set_int32(table, "a", 1), 0);
	ck_assert_int_eq(muxc_table_set_int32(table, "b", 2), 0);
	ck_assert_int_eq(muxc_table_set_string(table, "a", "three", MUXC_STRLEN), 0);
	muxc_table_iter(table, &iter);
	ck_assert_int_eq(muxc_iter_find(&iter, "a", MUXC_STRLEN, &value), 1);
	ck_assert_int_eq(value.type, MUXC_STRING);
	ck_assert_int_eq(muxc_iter_find(&iter, "b", 1, &value), 1);
	ck_assert_int_eq(value.u.integer, 2);
	ck_assert_int_eq(muxc_table_unset(table, "a", MUXC_STRLEN), 1);
	ck_assert_int_eq(muxc_table_unset(table, "a", MUXC_STRLEN), 0);
	muxc_table_iter(table, &iter);
	ck_assert_int_eq(muxc_iter_find(&iter, "a", MUXC_STRLEN, &value), 0);
	ck_assert_int_eq(muxc_iter_find(&iter, "b", MUXC_STRLEN, &value), 1);
	muxc_table_free(table);
}
END_TEST

START_TEST(table__refuses_what_does_not_fit)
{
	struct muxc_value value = {.type = MUXC_INT8, .u.integer = 128};
	struct muxc_table *table;
	struct muxc_iter iter;
	struct muxc_field field;
	char name[300];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(muxc_table_new(&table), 0);
	ck_assert_int_eq(muxc_table_set(table, "x", MUXC_STRLEN, &value), -ERANGE);
	value.type = MUXC_UINT16;
	value.u.number = 65536;
	ck_assert_int_eq(muxc_table_set(table, "x", MUXC_STRLEN, &value), -ERANGE);
	value.type = '?';
	ck_assert_int_eq(muxc_table_set(table, "x", MUXC_STRLEN, &value), -EINVAL);
	ck_assert_int_eq(muxc_table_set_bool(table, name, 1), -EINVAL);
	ck_assert_int_eq(muxc_table_set_table(table, "x", NULL), -EINVAL);
	muxc_table_iter(table, &iter);
	ck_assert_int_eq(muxc_iter_next(&iter, &field), 0);
	muxc_table_free(table);
}
END_TEST

/* Whatever bytes are walked, nothing is read outside and it ends. */
START_TEST(table__walking_any_bytes_is_safe)
{
	uint8_t *bytes = malloc(64);
	struct muxc_value value = {.type = MUXC_TABLE};
	struct muxc_iter iter;
	struct muxc_field field;
	unsigned int seed = 12345, round;
	size_t i;

	for (round = 0; round < 20000; round++) {
		for (i = 0; i < 64; i++) {
			seed = seed * 1103515245 + 12345;
			bytes[i] = (uint8_t)(seed >> 16);
			/* Mostly tags and lengths that are near to right. */
			if (seed & 0x10000)
				bytes[i] &= 0x1f;
		}
		value.u.bytes.data = (const char *)bytes;
		value.u.bytes.len = 64 - round % 64;
		memmove(bytes + 64 - value.u.bytes.len, bytes, value.u.bytes.len);
		value.u.bytes.data = (const char *)bytes + 64 - value.u.bytes.len;
		ck_assert_int_eq(muxc_iter_enter(&value, &iter), 0);
		for (i = 0; i < 100 && muxc_iter_next(&iter, &field) > 0; i++)
			;
		ck_assert_uint_lt(i, 100);
	}
	free(bytes);
}
END_TEST

START_TEST(message__properties_are_set_read_and_unset)
{
	struct muxc_message *message;
	uint64_t number = 9;
	size_t len = 9;

	ck_assert_int_eq(muxc_message_new(&message), 0);
	ck_assert_ptr_null(muxc_message_get_text(message, MUXC_CONTENT_TYPE, &len));
	ck_assert_uint_eq(len, 0);
	ck_assert_int_eq(muxc_message_set_text(message, MUXC_CONTENT_TYPE, "a\0b", 3), 0);
	ck_assert_int_eq(muxc_message_set_text(message, MUXC_CONTENT_TYPE, "a\0bc", 4), 0);
	ck_assert_mem_eq(muxc_message_get_text(message, MUXC_CONTENT_TYPE, &len), "a\0bc\0", 5);
	ck_assert_uint_eq(len, 4);
	ck_assert_int_eq(muxc_message_unset(message, MUXC_CONTENT_TYPE), 0);
	ck_assert_ptr_null(muxc_message_get_text(message, MUXC_CONTENT_TYPE, NULL));
	ck_assert_int_eq(muxc_message_get_number(message, MUXC_PRIORITY, &number), 0);
	ck_assert_uint_eq(number, 9);
	ck_assert_int_eq(muxc_message_set_number(message, MUXC_PRIORITY, 256), -EINVAL);
	ck_assert_int_eq(muxc_message_set_number(message, MUXC_PRIORITY, 0), 0);
	ck_assert_int_eq(muxc_message_get_number(message, MUXC_PRIORITY, &number), 1);
	ck_assert_uint_eq(number, 0);
	ck_assert_int_eq(muxc_message_set_text(message, MUXC_PRIORITY, "x", 1), -EINVAL);
	ck_assert_int_eq(muxc_message_set_number(message, MUXC_TYPE, 1), -EINVAL);
	ck_assert_int_eq(muxc_message_get_number(message, MUXC_TYPE, NULL), -EINVAL);
	ck_assert_ptr_eq(muxc_message_ref(message), message);
	muxc_message_unref(message);
	ck_assert_str_eq(muxc_message_get_exchange(message, NULL), "");
	muxc_message_unref(message);
}
END_TEST

START_TEST(message__property_names_go_both_ways)
{
	int i;

	for (i = MUXC_CONTENT_TYPE; i <= MUXC_CLUSTER_ID; i++)
		ck_assert_int_eq(muxc_property_from_name(muxc_property_name(i)), i);
	ck_assert_ptr_null(muxc_property_name(0));
	ck_assert_ptr_null(muxc_property_name(15));
	ck_assert_int_eq(muxc_property_from_name("nonsense"), -ENOENT);
	ck_assert_str_eq(muxc_outcome_name(MUXC_NACKED), "nacked");
	ck_assert_str_eq(muxc_outcome_name(99), "unknown");
}
END_TEST

static Suite *suite_table(void)
{
	Suite *suite = suite_create("client table");
	TCase *tcase = tcase_create("table");

	tcase_add_test(tcase, table__keeps_every_type_in_order);
	tcase_add_test(tcase, table__setting_again_replaces);
	tcase_add_test(tcase, table__refuses_what_does_not_fit);
	tcase_add_test(tcase, table__walking_any_bytes_is_safe);
	tcase_add_test(tcase, message__properties_are_set_read_and_unset);
	tcase_add_test(tcase, message__property_names_go_both_ways);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(suite_table());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
