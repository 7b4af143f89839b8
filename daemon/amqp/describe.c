#include "daemon/amqp/describe.h"

#include "daemon/amqp/wire.h"
#include "daemon/base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#define NAME_SHOWN 101u	 /* bytes of a name, escapes and NUL included */
#define VALUE_SHOWN 49u	 /* of a string in a table, or of a property */
#define FIELDS_SHOWN 16u /* of a table */
#define CUT "..."

struct described {
	uint8_t type; /* enum amqc_wire_type */
	const char *name;
};

/* clang-format off */
#define METHOD(CONSTANT, name, class_id, method_id, sender) static const struct described fields_##name[] = {
#define FIELD(name, type, member) {AMQC_WIRE_##type, #member},
#define RESERVED(name, type) {AMQC_WIRE_##type, NULL},
#define END(name) {AMQC_WIRE_END, NULL}};
/* clang-format on */
#include "daemon/amqp/methods.def"
#undef METHOD
#undef FIELD
#undef RESERVED
#undef END

/* In the order of the flags, highest first. */
static const struct described properties[] = {
    {AMQC_WIRE_SHORTSTR, "content_type"}, {AMQC_WIRE_SHORTSTR, "content_encoding"},
    {AMQC_WIRE_TABLE, "headers"},	  {AMQC_WIRE_OCTET, "delivery_mode"},
    {AMQC_WIRE_OCTET, "priority"},	  {AMQC_WIRE_SHORTSTR, "correlation_id"},
    {AMQC_WIRE_SHORTSTR, "reply_to"},	  {AMQC_WIRE_SHORTSTR, "expiration"},
    {AMQC_WIRE_SHORTSTR, "message_id"},	  {AMQC_WIRE_LONGLONG, "timestamp"},
    {AMQC_WIRE_SHORTSTR, "type"},	  {AMQC_WIRE_SHORTSTR, "user_id"},
    {AMQC_WIRE_SHORTSTR, "app_id"},	  {AMQC_WIRE_SHORTSTR, "cluster_id"},
};
#define PROPERTY_COUNT (sizeof(properties) / sizeof(properties[0]))
#define FIXED_LEN 14u /* bytes: class, weight, body size, flags */

static const struct described *fields_of(uint32_t id)
{
	switch (id) {
#define METHOD(CONSTANT, name, class_id, method_id, sender) \
	case AMQC_##CONSTANT:                               \
		return fields_##name;
#define FIELD(name, type, member)
#define RESERVED(name, type)
#define END(name)
#include "daemon/amqp/methods.def"
#undef METHOD
#undef FIELD
#undef RESERVED
#undef END
	default:
		return NULL;
	}
}

/* ------------------------------------------------------------------ writing */

struct text {
	char *at;
	size_t size; /* with the NUL */
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text->at + text->len, text->size - text->len, format, args);
	va_end(args);
	if (len > 0)
		text->len += (size_t)len;
	if (text->len >= text->size)
		text->len = text->size - 1;
}

static void add_string(struct text *text, struct span string, size_t shown)
{
	char clean[NAME_SHOWN];

	add(text, "'%s'", log_clean(clean, shown, string));
}

/* ------------------------------------------------------------------ tables */

static bool contains(struct span text, const char *word)
{
	size_t len = strlen(word);

	for (size_t at = 0; at + len <= text.len; at++)
		if (strncasecmp((const char *)text.data + at, word, len) == 0)
			return true;
	return false;
}

static bool is_secret(const struct amqc_field *field)
{
	static const char *const words[] = {"pass",	  "secret",	   "token",
					    "credential", "authorization", "cookie"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (contains(field->name, words[i]))
			return true;
	return (field->type == 'S' || field->type == 'x') && contains(field->value.bytes, "://") &&
	       contains(field->value.bytes, "@");
}

static void add_value(struct text *text, const struct amqc_field *field)
{
	switch (field->type) {
	case 't':
		add(text, "%s", field->value.boolean ? "true" : "false");
		break;
	case 'b':
	case 's':
	case 'I':
	case 'l':
		add(text, "%" PRId64, field->value.signed_int);
		break;
	case 'B':
	case 'u':
	case 'i':
	case 'L':
	case 'T':
		add(text, "%" PRIu64, field->value.unsigned_int);
		break;
	case 'f':
		add(text, "%g", (double)field->value.float32);
		break;
	case 'd':
		add(text, "%g", field->value.float64);
		break;
	case 'S':
		add_string(text, field->value.bytes, VALUE_SHOWN);
		break;
	case 'V':
		add(text, "void");
		break;
	default:
		/* Of what is large or nested, that it is there. */
		add(text, "%c(%zu bytes)", field->type, field->type == 'D' ? 5 : field->value.bytes.len);
		break;
	}
}

/* Of a field that is cut off, its name. */
static void add_cut_field(struct text *text, struct span rest)
{
	char name[VALUE_SHOWN];
	struct span cut;

	if (amqc_wire_take_shortstr(&rest, &cut))
		add(text, "%s=", log_clean(name, sizeof(name), cut));
	add(text, CUT);
}

/* The fields of a table that may be cut off. */
static void add_table(struct text *text, struct span rest)
{
	struct amqc_field field;
	char name[VALUE_SHOWN];

	add(text, "{");
	for (size_t i = 0; rest.len > 0; i++) {
		struct span from = rest;

		add(text, "%s", i > 0 ? " " : "");
		if (i == FIELDS_SHOWN || amqc_table_next(&rest, &field) != AMQC_OK) {
			add_cut_field(text, from);
			break;
		}
		add(text, "%s=", log_clean(name, sizeof(name), field.name));
		if (is_secret(&field))
			add(text, "***");
		else
			add_value(text, &field);
	}
	add(text, "}");
}

/* ------------------------------------------------------------------ fields */

/* A number of any width; false: it is cut off. */
static bool add_number(struct text *text, const struct described *field, struct span *rest)
{
	union {
		uint8_t octet;
		uint16_t two;
		uint32_t four;
		uint64_t eight;
		struct span bytes; /* what else amqc_wire_take() may store */
	} value;
	uint64_t number;

	if (amqc_wire_take(rest, field->type, &value) != AMQC_OK)
		return false;
	switch (field->type) {
	case AMQC_WIRE_OCTET:
		number = value.octet;
		break;
	case AMQC_WIRE_SHORT:
		number = value.two;
		break;
	case AMQC_WIRE_LONG:
		number = value.four;
		break;
	default:
		number = value.eight;
		break;
	}
	if (field->name && number != 0)
		add(text, " %s=%" PRIu64, field->name, number);
	return true;
}

/* A string or table; false: it is cut off, and what there is was written. */
static bool add_bytes(struct text *text, const struct described *field, struct span *rest, size_t shown)
{
	size_t prefix = field->type == AMQC_WIRE_SHORTSTR ? 1 : 4;
	struct span value;
	size_t len;

	if (rest->len < prefix)
		return false;
	len = prefix == 1 ? rest->data[0] : load_be32(rest->data);
	value = span_first(span_skip(*rest, prefix), len);
	*rest = span_skip(*rest, prefix + len);
	if (field->name && field->type == AMQC_WIRE_TABLE && len > 0) {
		add(text, " ");
		add_table(text, value);
	} else if (field->name && field->type != AMQC_WIRE_TABLE &&
		   (len > 0 || strcmp(field->name, "exchange") == 0)) {
		add(text, " %s=", field->name);
		add_string(text, value, shown);
	}
	return value.len == len;
}

static bool add_field(struct text *text, const struct described *field, struct span *rest, size_t shown)
{
	return field->type >= AMQC_WIRE_SHORTSTR ? add_bytes(text, field, rest, shown)
						 : add_number(text, field, rest);
}

static bool add_fields(struct text *text, const struct described *field, struct span rest)
{
	unsigned int bit = 8; /* the next one in octet; 8: a new octet begins */
	uint8_t octet = 0;

	for (; field->type != AMQC_WIRE_END; field++) {
		if (field->type != AMQC_WIRE_BIT) {
			bit = 8;
			if (!add_field(text, field, &rest, NAME_SHOWN))
				return false;
			continue;
		}
		if (bit == 8) {
			if (!span_take_u8(&rest, &octet))
				return false;
			bit = 0;
		}
		if (((octet >> bit++) & 1) && field->name)
			add(text, " %s", field->name);
	}
	return true;
}

size_t amqc_describe_method(char *out, size_t size, struct span payload)
{
	struct text text = {out, size, 0};
	const struct described *fields;
	uint32_t id;

	out[0] = 0;
	if (!span_take_be32(&payload, &id) || !(fields = fields_of(id))) {
		add(&text, "?");
		return text.len;
	}
	add(&text, "%s", amqc_method_name(id));
	if (!add_fields(&text, fields, payload))
		add(&text, " " CUT);
	return text.len;
}

size_t amqc_describe_properties(char *out, size_t size, struct span payload)
{
	struct text text = {out, size, 0};
	uint32_t flags;

	out[0] = 0;
	if (payload.len < FIXED_LEN)
		return 0;
	flags = load_be16(payload.data + FIXED_LEN - 2);
	payload = span_skip(payload, FIXED_LEN);
	for (size_t i = 0; i < PROPERTY_COUNT; i++) {
		if (!(flags & (0x8000u >> i)))
			continue;
		if (!add_field(&text, &properties[i], &payload, VALUE_SHOWN)) {
			add(&text, " " CUT);
			break;
		}
	}
	return text.len;
}
