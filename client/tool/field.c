/*
 * Typed fields of tables, and properties of messages, from the command line.
 */
#include "client/tool/option.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ----------------------------------------------------------------- values */

static bool value_integer(const char *text, struct muxc_value *ret)
{
	char *end;

	errno = 0;
	ret->type = MUXC_INT64;
	ret->u.integer = strtoll(text, &end, 10);
	return (isdigit((unsigned char)text[0]) || (text[0] == '-' && isdigit((unsigned char)text[1]))) &&
	       !*end && !errno;
}

static bool value_bool(const char *text, struct muxc_value *ret)
{
	ret->type = MUXC_BOOL;
	ret->u.boolean = strcmp(text, "true") == 0;
	return ret->u.boolean || strcmp(text, "false") == 0;
}

static bool value_double(const char *text, struct muxc_value *ret)
{
	char *end;

	ret->type = MUXC_DOUBLE;
	ret->u.float64 = strtod(text, &end);
	return *text && !isspace((unsigned char)*text) && !*end;
}

static bool value_time(const char *text, struct muxc_value *ret)
{
	bool good = true;

	if (strcmp(text, "now") == 0)
		ret->u.integer = (int64_t)time(NULL);
	else
		good = value_integer(text, ret) && ret->u.integer >= 0;
	ret->u.number = (uint64_t)ret->u.integer;
	ret->type = MUXC_TIME;
	return good;
}

static bool value_void(const char *text, struct muxc_value *ret)
{
	ret->type = MUXC_VOID;
	return !*text;
}

static bool value_string(const char *text, struct muxc_value *ret)
{
	ret->type = MUXC_STRING;
	ret->u.bytes.data = text;
	ret->u.bytes.len = strlen(text);
	return true;
}

static bool value_guess(const char *text, struct muxc_value *ret)
{
	return value_integer(text, ret) || value_bool(text, ret) || value_string(text, ret);
}

static const struct {
	const char *name;
	bool (*parse)(const char *text, struct muxc_value *ret);
	const char *wanted;
} types[] = {
    {"string", value_string, "text"},
    {"int", value_integer, "a whole number of 64 bits"},
    {"bool", value_bool, "true or false"},
    {"double", value_double, "a number"},
    {"time", value_time, "seconds since 1970, or now"},
    {"void", value_void, "nothing"},
};

#define TYPES_COUNT (sizeof(types) / sizeof(types[0]))

/* ------------------------------------------------------------------ fields */

static size_t type_find(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < TYPES_COUNT; i++) {
		if (strlen(types[i].name) == len && memcmp(types[i].name, name, len) == 0)
			break;
	}
	return i;
}

static bool field_set(struct ctl *ctl, struct muxc_table *table, const char *text, size_t name_len,
		      const struct muxc_value *value)
{
	int r = muxc_table_set(table, text, name_len, value);

	if (r < 0)
		(void)ctl_usage(ctl, "'%s' cannot be a field: %s", text,
				r == -EINVAL ? "its name has more than 255 bytes" : strerror(-r));
	return r >= 0;
}

bool option_field(struct ctl *ctl, struct muxc_table *table, const char *text, bool guess)
{
	const char *equals = strchr(text, '='), *colon;
	struct muxc_value value;
	size_t type;

	if (!equals || equals == text) {
		(void)ctl_usage(ctl, "'%s' is not NAME=VALUE", text);
		return false;
	}
	colon = memrchr(text, ':', (size_t)(equals - text));
	if (!colon) {
		(void)(guess ? value_guess(equals + 1, &value) : value_string(equals + 1, &value));
		return field_set(ctl, table, text, (size_t)(equals - text), &value);
	}
	type = type_find(colon + 1, (size_t)(equals - colon - 1));
	if (type == TYPES_COUNT) {
		(void)ctl_usage(
		    ctl,
		    "'%s': behind the colon stands a type: string, int, bool, double, time or void "
		    "(for a name with a colon in it: NAME:string=VALUE)",
		    text);
		return false;
	}
	if (!types[type].parse(equals + 1, &value)) {
		(void)ctl_usage(ctl, "'%s': the value must be %s", text, types[type].wanted);
		return false;
	}
	return field_set(ctl, table, text, (size_t)(colon - text), &value);
}

/* -------------------------------------------------------------- properties */

static bool property_number(struct ctl *ctl, struct muxc_message *message, int property, const char *text)
{
	struct muxc_value value;
	const char *wanted = "seconds since 1970, or now";
	bool good;

	if (property == MUXC_TIMESTAMP) {
		good = value_time(text, &value);
	} else {
		good = value_integer(text, &value);
		if (property == MUXC_PRIORITY) {
			good = good && value.u.integer >= 0 && value.u.integer <= 255;
			wanted = "a number from 0 to 255";
		} else {
			good = good && (value.u.integer == 1 || value.u.integer == 2);
			wanted = "1 (transient) or 2 (persistent)";
		}
	}
	if (good && muxc_message_set_number(message, property, (uint64_t)value.u.integer) == 0)
		return true;
	(void)ctl_usage(ctl, "%s: '%s' is not %s", muxc_property_name(property), text, wanted);
	return false;
}

/* In milliseconds, as AMQP has it, or a duration. */
static bool property_expiration(struct ctl *ctl, struct muxc_message *message, const char *text)
{
	struct muxc_value value;
	char digits[24];
	uint64_t usec;

	if (value_integer(text, &value) && value.u.integer >= 0) {
		(void)snprintf(digits, sizeof(digits), "%lld", (long long)value.u.integer);
	} else {
		if (!option_duration(ctl, "expiration", text, &usec))
			return false;
		(void)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)(usec / 1000));
	}
	return muxc_message_set_text(message, MUXC_EXPIRATION, digits, MUXC_STRLEN) == 0;
}

static void say_no_property(struct ctl *ctl, const char *text)
{
	char names[512];
	size_t used = 0;
	int i;

	for (i = MUXC_CONTENT_TYPE; i <= MUXC_CLUSTER_ID; i++) {
		if (i == MUXC_HEADERS)
			continue;
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "",
					 muxc_property_name(i));
	}
	(void)ctl_usage(ctl, "'%s' names no property; there are: %s (headers: -H NAME=VALUE)", text, names);
}

bool option_property(struct ctl *ctl, struct muxc_message *message, const char *text)
{
	const char *equals = strchr(text, '=');
	char name[32];
	int property;

	if (!equals) {
		(void)ctl_usage(ctl, "'%s' is not NAME=VALUE", text);
		return false;
	}
	(void)snprintf(name, sizeof(name), "%.*s", (int)(equals - text), text);
	property = (size_t)(equals - text) < sizeof(name) ? muxc_property_from_name(name) : -ENOENT;
	if (property < 0 || property == MUXC_HEADERS) {
		say_no_property(ctl, text);
		return false;
	}
	if (property == MUXC_DELIVERY_MODE || property == MUXC_PRIORITY || property == MUXC_TIMESTAMP)
		return property_number(ctl, message, property, equals + 1);
	if (property == MUXC_EXPIRATION)
		return property_expiration(ctl, message, equals + 1);
	if (!option_name(ctl, muxc_property_name(property), equals + 1))
		return false;
	return muxc_message_set_text(message, property, equals + 1, MUXC_STRLEN) == 0;
}
