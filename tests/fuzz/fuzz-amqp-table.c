/*
 * Tables and arrays: what the check lets pass can be walked to its end, and
 * written anew field by field has the same length and the same bytes but for
 * booleans, which become 0 or 1; written once more, just the same bytes. What
 * it does not let pass makes the walk end too.
 *
 * The first byte of the input chooses between a table and an array.
 */
#include "daemon/amqp/table.h"
#include "tests/fuzz/fuzz.h"

struct level {
	struct span rest;
	size_t mark;
	bool is_array;
};

static enum amqc_result next(struct level *level, struct amqc_field *ret)
{
	return level->is_array ? amqc_array_next(&level->rest, ret) : amqc_table_next(&level->rest, ret);
}

static enum amqc_result check(struct span bytes, bool is_array)
{
	return is_array ? amqc_array_check(bytes) : amqc_table_check(bytes);
}

/* Writes a checked table anew; the levels in a stack of our own, as deep as the limit. */
static void rewrite(struct span bytes, bool is_array, struct buf *out)
{
	struct level levels[AMQC_TABLE_DEPTH_MAX + 1] = {{bytes, 0, is_array}};
	size_t depth = 0;
	struct amqc_field field;

	for (;;) {
		struct level *level = &levels[depth];
		const struct span *name = level->is_array ? NULL : &field.name;
		enum amqc_result result = next(level, &field);

		require(result == AMQC_OK || result == AMQC_INCOMPLETE);
		if (result == AMQC_INCOMPLETE && depth == 0)
			return;
		if (result == AMQC_INCOMPLETE) {
			amqc_table_end(out, level->mark);
			depth--;
		} else if (field.type == 'F' || field.type == 'A') {
			require(depth < AMQC_TABLE_DEPTH_MAX);
			levels[++depth] = (struct level){
			    field.value.bytes, amqc_field_begin(out, name, field.type), field.type == 'A'};
		} else {
			require(amqc_field_append(out, name, &field) == AMQC_OK);
		}
	}
}

/* Fields of the outermost level are found by their names, if those are C strings. */
static void check_find(struct span table)
{
	struct amqc_field field, found;
	char name[256];

	while (amqc_table_next(&table, &field) == AMQC_OK) {
		struct buf one = BUF_INIT;

		if (field.name.len > 0)
			memcpy(name, field.name.data, field.name.len);
		name[field.name.len] = '\0';
		require(amqc_field_append(&one, &field.name, &field) == AMQC_OK);
		require(amqc_table_find(buf_span(&one), name, &found) == (strlen(name) == field.name.len));
		amqc_field_append_bool(&one, name, true);
		amqc_field_append_str(&one, name, field.name);
		require(amqc_table_find(buf_span(&one), name, &found));
		buf_deinit(&one);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf first = BUF_INIT, second = BUF_INIT;
	struct amqc_field field;
	struct level walk;
	struct span input;
	size_t fields = 0;
	bool is_array;

	if (size == 0)
		return 0;
	is_array = data[0] % 2;
	input = span_make(data + 1, size - 1);
	if (check(input, is_array) != AMQC_OK) {
		walk = (struct level){input, 0, is_array};
		while (next(&walk, &field) == AMQC_OK)
			require(++fields <= size);
		return 0;
	}
	rewrite(input, is_array, &first);
	require(buf_len(&first) == input.len);
	require(check(buf_span(&first), is_array) == AMQC_OK);
	rewrite(buf_span(&first), is_array, &second);
	require(span_equal(buf_span(&first), buf_span(&second)));
	for (size_t i = 0; i < input.len; i++)
		require(input.data[i] == buf_span(&first).data[i] || buf_span(&first).data[i] == 1);
	if (!is_array)
		check_find(input);
	buf_deinit(&first);
	buf_deinit(&second);
	return 0;
}
