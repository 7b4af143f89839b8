/*
 * The headers exchange: a binding's arguments against a message's headers.
 * x-match says whether all or any of them must be there and equal; without
 * "-with-x" arguments whose names begin with "x-" do not count.
 */
#include "tests/broker/engine.h"

static bool field_find(struct span table, struct span name, struct amqc_field *ret)
{
	while (amqc_table_next(&table, ret) == AMQC_OK)
		if (span_equal(ret->name, name))
			return true;
	return false;
}

/* A binding without a value asks for the name alone. */
static bool field_equal(const struct amqc_field *wanted, const struct amqc_field *found)
{
	int64_t a, b;

	if (wanted->type == 'V')
		return true;
	if (bk_field_integer(wanted, &a) && bk_field_integer(found, &b))
		return a == b;
	if (wanted->type != found->type)
		return false;
	switch (wanted->type) {
	case 't':
		return wanted->value.boolean == found->value.boolean;
	case 'f':
		return wanted->value.float32 == found->value.float32;
	case 'd':
		return wanted->value.float64 == found->value.float64;
	case 'T':
		return wanted->value.unsigned_int == found->value.unsigned_int;
	case 'D':
		return wanted->value.decimal.scale == found->value.decimal.scale &&
		       wanted->value.decimal.value == found->value.decimal.value;
	default:
		return span_equal(wanted->value.bytes, found->value.bytes);
	}
}

bool bk_headers_match(struct span arguments, struct span headers)
{
	bool any = false, with_x = false;
	struct amqc_field mode, wanted, found;

	if (amqc_table_find(arguments, "x-match", &mode) && mode.type == 'S') {
		any = span_equal_str(span_first(mode.value.bytes, 3), "any");
		with_x = mode.value.bytes.len > 3;
	}
	while (amqc_table_next(&arguments, &wanted) == AMQC_OK) {
		bool equal;

		if (span_equal_str(wanted.name, "x-match"))
			continue;
		if (!with_x && span_equal_str(span_first(wanted.name, 2), "x-"))
			continue;
		equal = field_find(headers, wanted.name, &found) && field_equal(&wanted, &found);
		if (equal == any)
			return any;
	}
	return !any;
}
