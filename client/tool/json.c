/*
 * Messages and tables as JSON.
 */
#include "client/tool/json.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------- text */

json_t *json_base64(const void *data, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *from = data;
	char *text = malloc((len + 2) / 3 * 4 + 1), *to = text;
	uint32_t bits;
	json_t *json;
	size_t i, n;

	if (!text)
		return NULL;
	for (i = 0; i < len; i += 3) {
		n = len - i < 3 ? len - i : 3;
		bits = (uint32_t)from[i] << 16;
		if (n > 1)
			bits |= (uint32_t)from[i + 1] << 8;
		if (n > 2)
			bits |= from[i + 2];
		*to++ = digits[bits >> 18];
		*to++ = digits[bits >> 12 & 63];
		*to++ = n > 1 ? digits[bits >> 6 & 63] : '=';
		*to++ = n > 2 ? digits[bits & 63] : '=';
	}
	json = json_stringn_nocheck(text, (size_t)(to - text));
	free(text);
	return json;
}

json_t *json_bytes(const void *data, size_t len)
{
	json_t *json = json_stringn(len ? data : "", len);

	return json ? json : json_pack("{s:o}", "base64", json_base64(data, len));
}

json_t *json_replaced(const char *text, size_t len)
{
	json_t *json = json_stringn(text, len);
	char *copy;
	size_t i;

	if (json)
		return json;
	copy = malloc(len);
	if (!copy)
		return NULL;
	for (i = 0; i < len; i++)
		copy[i] = text[i] & 0x80 ? '?' : text[i];
	json = json_stringn(copy, len);
	free(copy);
	return json;
}

/* ------------------------------------------------------------------ tables */

static json_t *json_array_of(struct muxc_iter iter);

static json_t *json_nested(const struct muxc_value *value)
{
	struct muxc_iter iter;

	if (muxc_iter_enter(value, &iter) < 0)
		return json_null();
	return value->type == MUXC_ARRAY ? json_array_of(iter) : json_fields(iter);
}

/* JSON has no infinity and no NaN. */
static json_t *json_number(double number)
{
	return isfinite(number) ? json_real(number) : json_null();
}

static json_t *json_decimal(const struct muxc_value *value)
{
	double number = value->u.decimal.value;
	uint32_t i;

	for (i = 0; i < value->u.decimal.scale; i++)
		number /= 10;
	return json_number(number);
}

static json_t *json_value(const struct muxc_value *value)
{
	switch (value->type) {
	case MUXC_BOOL:
		return json_boolean(value->u.boolean);
	case MUXC_INT8:
	case MUXC_INT16:
	case MUXC_INT32:
	case MUXC_INT64:
		return json_integer(value->u.integer);
	case MUXC_UINT8:
	case MUXC_UINT16:
	case MUXC_UINT32:
	case MUXC_UINT64:
	case MUXC_TIME:
		return value->u.number > INT64_MAX ? json_number((double)value->u.number)
						   : json_integer((json_int_t)value->u.number);
	case MUXC_FLOAT:
		return json_number((double)value->u.float32);
	case MUXC_DOUBLE:
		return json_number(value->u.float64);
	case MUXC_DECIMAL:
		return json_decimal(value);
	case MUXC_STRING:
	case MUXC_BYTES:
		return json_bytes(value->u.bytes.data, value->u.bytes.len);
	case MUXC_ARRAY:
	case MUXC_TABLE:
		return json_nested(value);
	default:
		return json_null();
	}
}

/* There is no memory for a part of it: it is not to be had. */
static json_t *without(json_t *json)
{
	json_decref(json);
	return NULL;
}

static json_t *json_array_of(struct muxc_iter iter)
{
	json_t *json = json_array();
	struct muxc_field field;

	while (json && muxc_iter_next(&iter, &field) > 0) {
		if (json_array_append_new(json, json_value(&field.value)) < 0)
			json = without(json);
	}
	return json;
}

json_t *json_fields(struct muxc_iter iter)
{
	json_t *json = json_object(), *name;
	struct muxc_field field;

	while (json && muxc_iter_next(&iter, &field) > 0) {
		name = json_replaced(field.name ? field.name : "", field.name_len);
		if (!name || json_object_set_new(json, json_string_value(name), json_value(&field.value)) < 0)
			json = without(json);
		json_decref(name);
	}
	return json;
}

char *json_value_text(const struct muxc_value *value)
{
	json_t *json;
	char *text;

	if (value->type == MUXC_STRING || value->type == MUXC_BYTES)
		return strndup(value->u.bytes.data ? value->u.bytes.data : "", value->u.bytes.len);
	json = json_value(value);
	text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
	json_decref(json);
	return text;
}

/* ---------------------------------------------------------------- messages */

static json_t *json_properties(const struct muxc_message *message)
{
	json_t *json = json_object();
	struct muxc_iter iter;
	const char *text;
	uint64_t number;
	size_t len;
	int i;

	for (i = MUXC_CONTENT_TYPE; i <= MUXC_CLUSTER_ID; i++) {
		if (i == MUXC_HEADERS) {
			if (muxc_message_get_headers(message, &iter) > 0)
				(void)json_object_set_new(json, muxc_property_name(i), json_fields(iter));
			continue;
		}
		text = muxc_message_get_text(message, i, &len);
		if (text)
			(void)json_object_set_new(json, muxc_property_name(i), json_bytes(text, len));
		else if (muxc_message_get_number(message, i, &number) > 0)
			(void)json_object_set_new(json, muxc_property_name(i),
						  json_integer((json_int_t)number));
	}
	return json;
}

json_t *json_message(const struct muxc_message *message)
{
	json_t *json = json_object(), *body;
	const char *name;
	const void *data;
	size_t len;

	name = muxc_message_get_exchange(message, &len);
	(void)json_object_set_new(json, "exchange", json_bytes(name, len));
	name = muxc_message_get_routing_key(message, &len);
	(void)json_object_set_new(json, "routing_key", json_bytes(name, len));
	(void)json_object_set_new(json, "redelivered", json_boolean(muxc_message_is_redelivered(message)));
	(void)json_object_set_new(json, "properties", json_properties(message));
	data = muxc_message_get_body(message, &len);
	body = json_stringn(len ? data : "", len);
	if (body)
		(void)json_object_set_new(json, "body", body);
	else
		(void)json_object_set_new(json, "body_base64", json_base64(data, len));
	return json;
}
