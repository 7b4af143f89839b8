/* Messages and tables as muxctl shows them in JSON. */
#include "client/tool/json.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static void expect(json_t *json, const char *expected)
{
	char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);

	ck_assert_ptr_nonnull(json);
	ck_assert_str_eq(text, expected);
	free(text);
	json_decref(json);
}

/* RFC 4648, section 10; and bytes that need all six bits of the digits. */
static const struct {
	const char *data, *text;
} base64s[] = {
    {"", "\"\""},
    {"f", "\"Zg==\""},
    {"fo", "\"Zm8=\""},
    {"foo", "\"Zm9v\""},
    {"foob", "\"Zm9vYg==\""},
    {"fooba", "\"Zm9vYmE=\""},
    {"foobar", "\"Zm9vYmFy\""},
    {"\xff\xff\xff", "\"////\""},
    {"\xfb\xef\xbe", "\"++++\""},
};

START_TEST(json__base64_is_padded)
{
	expect(json_base64(base64s[_i].data, strlen(base64s[_i].data)), base64s[_i].text);
}
END_TEST

START_TEST(json__bytes_are_text_if_they_can_be)
{
	expect(json_bytes(NULL, 0), "\"\"");
	expect(json_bytes("gr\xc3\xbc\xc3\x9f", 6), "\"gr\xc3\xbc\xc3\x9f\"");
	expect(json_bytes("a\0b", 3), "\"a\\u0000b\"");
	expect(json_bytes("\xff\0", 2), "{\"base64\":\"/wA=\"}");
	expect(json_bytes("\xc3", 1), "{\"base64\":\"ww==\"}");
}
END_TEST

START_TEST(json__bytes_that_are_no_text_are_replaced_in_names)
{
	expect(json_replaced("plain", 5), "\"plain\"");
	expect(json_replaced("a\xffz\xc3", 4), "\"a?z?\"");
}
END_TEST

/* A table with one field, "f". */
static json_t *field(const struct muxc_value *value)
{
	struct muxc_table *table;
	struct muxc_iter iter;
	json_t *json;

	ck_assert_int_eq(muxc_table_new(&table), 0);
	ck_assert_int_eq(muxc_table_set(table, "f", 1, value), 0);
	muxc_table_iter(table, &iter);
	json = json_fields(iter);
	muxc_table_free(table);
	return json;
}

#define INTEGER(type_, value)                                                 \
	{                                                                     \
		{.type = (type_), .u.integer = (value)}, "{\"f\":" #value "}" \
	}
#define NUMBER(type_, value)                                                 \
	{                                                                    \
		{.type = (type_), .u.number = (value)}, "{\"f\":" #value "}" \
	}

static const struct {
	struct muxc_value value;
	const char *json;
} values[] = {
    {{.type = MUXC_BOOL, .u.boolean = 1}, "{\"f\":true}"},
    {{.type = MUXC_BOOL, .u.boolean = 0}, "{\"f\":false}"},
    INTEGER(MUXC_INT8, -128),
    INTEGER(MUXC_INT16, -32768),
    INTEGER(MUXC_INT32, -2147483648),
    INTEGER(MUXC_INT64, -9223372036854775807),
    NUMBER(MUXC_UINT8, 255),
    NUMBER(MUXC_UINT16, 65535),
    NUMBER(MUXC_UINT32, 4294967295),
    NUMBER(MUXC_UINT64, 9223372036854775807),
    {{.type = MUXC_UINT64, .u.number = UINT64_MAX}, "{\"f\":1.8446744073709552e19}"},
    NUMBER(MUXC_TIME, 1700000000),
    {{.type = MUXC_FLOAT, .u.float32 = 0.5f}, "{\"f\":0.5}"},
    {{.type = MUXC_DOUBLE, .u.float64 = -0.25}, "{\"f\":-0.25}"},
    {{.type = MUXC_DOUBLE, .u.float64 = INFINITY}, "{\"f\":null}"},
    {{.type = MUXC_DOUBLE, .u.float64 = NAN}, "{\"f\":null}"},
    {{.type = MUXC_DECIMAL, .u.decimal = {.value = 12345, .scale = 2}}, "{\"f\":123.45}"},
    {{.type = MUXC_DECIMAL, .u.decimal = {.value = 7, .scale = 0}}, "{\"f\":7.0}"},
    {{.type = MUXC_STRING, .u.bytes = {"text", 4}}, "{\"f\":\"text\"}"},
    {{.type = MUXC_BYTES, .u.bytes = {"\xff", 1}}, "{\"f\":{\"base64\":\"/w==\"}}"},
    {{.type = MUXC_VOID}, "{\"f\":null}"},
};

START_TEST(json__each_type_of_amqp_has_its_form)
{
	expect(field(&values[_i].value), values[_i].json);
}
END_TEST

START_TEST(json__tables_and_arrays_nest)
{
	struct muxc_table *table, *array, *inner;
	struct muxc_iter iter;

	ck_assert_int_eq(muxc_table_new(&table), 0);
	ck_assert_int_eq(muxc_table_new(&array), 0);
	ck_assert_int_eq(muxc_table_new(&inner), 0);
	ck_assert_int_eq(muxc_table_set_string(inner, "reason", "expired", MUXC_STRLEN), 0);
	ck_assert_int_eq(muxc_table_set_table(array, NULL, inner), 0);
	ck_assert_int_eq(muxc_table_set_int32(array, NULL, 5), 0);
	ck_assert_int_eq(muxc_table_set_array(table, "x-death", array), 0);
	muxc_table_iter(table, &iter);
	expect(json_fields(iter), "{\"x-death\":[{\"reason\":\"expired\"},5]}");
	muxc_table_free(inner);
	muxc_table_free(array);
	muxc_table_free(table);
}
END_TEST

START_TEST(json__name_of_a_field_can_be_any_bytes)
{
	struct muxc_table *table;
	struct muxc_iter iter;

	ck_assert_int_eq(muxc_table_new(&table), 0);
	ck_assert_int_eq(muxc_table_set_bool(table, "a\xff", 1), 0);
	muxc_table_iter(table, &iter);
	expect(json_fields(iter), "{\"a?\":true}");
	muxc_table_free(table);
}
END_TEST

START_TEST(json__value_as_text_is_plain_for_strings)
{
	static const struct {
		struct muxc_value value;
		const char *text;
	} examples[] = {
	    {{.type = MUXC_STRING, .u.bytes = {"text!", 4}}, "text"},
	    {{.type = MUXC_BYTES, .u.bytes = {NULL, 0}}, ""},
	    {{.type = MUXC_INT32, .u.integer = -3}, "-3"},
	    {{.type = MUXC_BOOL, .u.boolean = 1}, "true"},
	};
	char *text;

	for (int i = 0; i < COUNT(examples); i++) {
		text = json_value_text(&examples[i].value);
		ck_assert_str_eq(text, examples[i].text);
		free(text);
	}
}
END_TEST

START_TEST(json__message_has_its_properties_and_body)
{
	struct muxc_message *message;
	struct muxc_table *headers;

	ck_assert_int_eq(muxc_message_new(&message), 0);
	ck_assert_int_eq(muxc_table_new(&headers), 0);
	ck_assert_int_eq(muxc_table_set_int32(headers, "tries", 3), 0);
	ck_assert_int_eq(muxc_message_set_headers(message, headers), 0);
	muxc_table_free(headers);
	ck_assert_int_eq(muxc_message_set_text(message, MUXC_CONTENT_TYPE, "text/plain", MUXC_STRLEN), 0);
	ck_assert_int_eq(muxc_message_set_text(message, MUXC_CORRELATION_ID, "\xff", 1), 0);
	ck_assert_int_eq(muxc_message_set_number(message, MUXC_PRIORITY, 9), 0);
	ck_assert_int_eq(muxc_message_set_body(message, "hi", 2), 0);
	expect(json_message(message),
	       "{\"exchange\":\"\",\"routing_key\":\"\",\"redelivered\":false,\"properties\":"
	       "{\"content-type\":\"text/plain\",\"headers\":{\"tries\":3},\"priority\":9,"
	       "\"correlation-id\":{\"base64\":\"/w==\"}},\"body\":\"hi\"}");
	ck_assert_int_eq(muxc_message_set_body(message, "\x80", 1), 0);
	ck_assert_int_eq(muxc_message_unset(message, MUXC_HEADERS), 0);
	expect(json_message(message),
	       "{\"exchange\":\"\",\"routing_key\":\"\",\"redelivered\":false,\"properties\":"
	       "{\"content-type\":\"text/plain\",\"priority\":9,"
	       "\"correlation-id\":{\"base64\":\"/w==\"}},\"body_base64\":\"gA==\"}");
	muxc_message_unref(message);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("muxctl-json");
	TCase *tests = tcase_create("muxctl-json");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_loop_test(tests, json__base64_is_padded, 0, COUNT(base64s));
	tcase_add_test(tests, json__bytes_are_text_if_they_can_be);
	tcase_add_test(tests, json__bytes_that_are_no_text_are_replaced_in_names);
	tcase_add_loop_test(tests, json__each_type_of_amqp_has_its_form, 0, COUNT(values));
	tcase_add_test(tests, json__tables_and_arrays_nest);
	tcase_add_test(tests, json__name_of_a_field_can_be_any_bytes);
	tcase_add_test(tests, json__value_as_text_is_plain_for_strings);
	tcase_add_test(tests, json__message_has_its_properties_and_body);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
