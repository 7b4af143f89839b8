#include "daemon/front/table.h"

#include "daemon/base/log.h"
#include "proto/prescan.h"

/* One for the field in its table, one for its name, one for its value. */
#define PROTO_FIELDS_PER_FIELD 3u
#define PROTO_FIELDS_OF_DECIMAL 2u
#define NAME_SHOWN_MAX 64u

/* ------------------------------------------------------------------ to AMQP */

struct to_amqp {
	struct buf *out;
	const char *what;
	struct fault *fault;
};

static bool append_fields(const struct to_amqp *to, const Muxd__V1__Table *table, bool in_array,
			  unsigned int depth);

static bool refuse_field(const struct to_amqp *to, const Muxd__V1__Field *field, const char *why)
{
	char name[NAME_SHOWN_MAX];

	*to->fault = fault_make(502, "SYNTAX_ERROR - %s: field '%s' %s", to->what,
				log_clean(name, sizeof(name), span_of(field->name)), why);
	return false;
}

static void set_signed(struct amqc_field *ret, char type, int64_t value)
{
	ret->type = type;
	ret->value.signed_int = value;
}

static void set_unsigned(struct amqc_field *ret, char type, uint64_t value)
{
	ret->type = type;
	ret->value.unsigned_int = value;
}

static void set_bytes(struct amqc_field *ret, char type, ProtobufCBinaryData value)
{
	ret->type = type;
	ret->value.bytes = span_of(value);
}

/* The integers; false if it is none. */
static bool take_integer(const Muxd__V1__Field *field, struct amqc_field *ret)
{
	switch (field->value_case) {
	case MUXD__V1__FIELD__VALUE_INT8:
		set_signed(ret, 'b', field->int8);
		return true;
	case MUXD__V1__FIELD__VALUE_UINT8:
		set_unsigned(ret, 'B', field->uint8);
		return true;
	case MUXD__V1__FIELD__VALUE_INT16:
		set_signed(ret, 's', field->int16);
		return true;
	case MUXD__V1__FIELD__VALUE_UINT16:
		set_unsigned(ret, 'u', field->uint16);
		return true;
	case MUXD__V1__FIELD__VALUE_INT32:
		set_signed(ret, 'I', field->int32);
		return true;
	case MUXD__V1__FIELD__VALUE_UINT32:
		set_unsigned(ret, 'i', field->uint32);
		return true;
	case MUXD__V1__FIELD__VALUE_INT64:
		set_signed(ret, 'l', field->int64);
		return true;
	case MUXD__V1__FIELD__VALUE_UINT64:
		set_unsigned(ret, 'L', field->uint64);
		return true;
	case MUXD__V1__FIELD__VALUE_TIMESTAMP:
		set_unsigned(ret, 'T', field->timestamp);
		return true;
	default:
		return false;
	}
}

/* The other values that hold no others; no value at all is void. */
static void take_plain(const Muxd__V1__Field *field, struct amqc_field *ret)
{
	switch (field->value_case) {
	case MUXD__V1__FIELD__VALUE_BOOLEAN:
		ret->type = 't';
		ret->value.boolean = field->boolean;
		break;
	case MUXD__V1__FIELD__VALUE_FLOAT32:
		ret->type = 'f';
		ret->value.float32 = field->float32;
		break;
	case MUXD__V1__FIELD__VALUE_FLOAT64:
		ret->type = 'd';
		ret->value.float64 = field->float64;
		break;
	case MUXD__V1__FIELD__VALUE_DECIMAL:
		ret->type = 'D';
		ret->value.decimal.scale = (uint8_t)field->decimal->scale;
		ret->value.decimal.value = field->decimal->value;
		break;
	case MUXD__V1__FIELD__VALUE_STRING:
		set_bytes(ret, 'S', field->string);
		break;
	case MUXD__V1__FIELD__VALUE_BYTE_ARRAY:
		set_bytes(ret, 'x', field->byte_array);
		break;
	default:
		ret->type = 'V';
		break;
	}
}

static bool append_nested(const struct to_amqp *to, const Muxd__V1__Field *field, const struct span *name,
			  unsigned int depth)
{
	bool is_array = field->value_case == MUXD__V1__FIELD__VALUE_ARRAY;
	size_t mark;

	/* The pre-scan has let less through; this is for callers without it. */
	if (depth == 0)
		return refuse_field(to, field, "nests too deep");
	mark = amqc_field_begin(to->out, name, is_array ? 'A' : 'F');
	if (!append_fields(to, is_array ? field->array : field->table, is_array, depth - 1))
		return false;
	amqc_table_end(to->out, mark);
	return true;
}

static bool append_field(const struct to_amqp *to, const Muxd__V1__Field *field, const struct span *name,
			 unsigned int depth)
{
	struct amqc_field amqp = {.type = 'V'};

	if (name && name->len > UINT8_MAX)
		return refuse_field(to, field, "has a name of more than 255 bytes");
	if (field->value_case == MUXD__V1__FIELD__VALUE_ARRAY ||
	    field->value_case == MUXD__V1__FIELD__VALUE_TABLE)
		return append_nested(to, field, name, depth);
	if (field->value_case == MUXD__V1__FIELD__VALUE_DECIMAL && field->decimal->scale > UINT8_MAX)
		return refuse_field(to, field, "has a scale above 255");
	if (!take_integer(field, &amqp))
		take_plain(field, &amqp);
	if (amqc_field_append(to->out, name, &amqp) != AMQC_OK)
		return refuse_field(to, field, "has a value that does not fit its type");
	return true;
}

static bool append_fields(const struct to_amqp *to, const Muxd__V1__Table *table, bool in_array,
			  unsigned int depth)
{
	for (size_t i = 0; i < table->n_fields; i++) {
		struct span name = span_of(table->fields[i]->name);

		if (!append_field(to, table->fields[i], in_array ? NULL : &name, depth))
			return false;
	}
	return true;
}

bool table_to_amqp(struct buf *out, const Muxd__V1__Table *table, const char *what, struct fault *ret_fault)
{
	struct to_amqp to = {out, what, ret_fault};
	size_t before = buf_len(out);

	if (append_fields(&to, table, false, AMQC_TABLE_DEPTH_MAX)) {
		if (!buf_failed(out))
			return true;
		*ret_fault = fault_make_retryable(506, "RESOURCE_ERROR - no memory for %s", what);
	}
	buf_truncate(out, before);
	return false;
}

/* ------------------------------------------------------------------ properties to AMQP */

/* The text properties: their bit, and where they are in both structs. */
#define TEXT_PROPERTIES(X)                              \
	X(AMQC_PROP_CONTENT_TYPE, content_type)         \
	X(AMQC_PROP_CONTENT_ENCODING, content_encoding) \
	X(AMQC_PROP_CORRELATION_ID, correlation_id)     \
	X(AMQC_PROP_REPLY_TO, reply_to)                 \
	X(AMQC_PROP_EXPIRATION, expiration)             \
	X(AMQC_PROP_MESSAGE_ID, message_id)             \
	X(AMQC_PROP_TYPE, type)                         \
	X(AMQC_PROP_USER_ID, user_id)                   \
	X(AMQC_PROP_APP_ID, app_id)                     \
	X(AMQC_PROP_CLUSTER_ID, cluster_id)

static bool refuse_property(struct fault *ret_fault, const char *name, const char *why)
{
	*ret_fault = fault_make(502, "SYNTAX_ERROR - property %s %s", name, why);
	return false;
}

static bool take_text(ProtobufCBinaryData from, const char *name, struct span *ret, struct fault *ret_fault)
{
	if (from.len > UINT8_MAX)
		return refuse_property(ret_fault, name, "has more than 255 bytes");
	*ret = span_of(from);
	return true;
}

static bool take_octet(uint32_t from, const char *name, uint8_t *ret, struct fault *ret_fault)
{
	if (from > UINT8_MAX)
		return refuse_property(ret_fault, name, "is above 255");
	*ret = (uint8_t)from;
	return true;
}

static bool take_headers(struct buf *out, const Muxd__V1__Table *headers, struct amqc_properties *ret,
			 struct fault *ret_fault)
{
	size_t before = buf_len(out);

	if (!table_to_amqp(out, headers, "headers", ret_fault))
		return false;
	ret->present |= AMQC_PROP_HEADERS;
	ret->headers = span_skip(buf_span(out), before);
	return true;
}

bool properties_to_amqp(struct buf *out, const Muxd__V1__Properties *properties, struct amqc_properties *ret,
			struct fault *ret_fault)
{
	*ret = (struct amqc_properties){0};
#define X(bit, member)                                                                \
	if (properties->has_##member) {                                               \
		if (!take_text(properties->member, #member, &ret->member, ret_fault)) \
			return false;                                                 \
		ret->present |= bit;                                                  \
	}
	TEXT_PROPERTIES(X)
#undef X
	if (properties->has_delivery_mode) {
		if (!take_octet(properties->delivery_mode, "delivery_mode", &ret->delivery_mode, ret_fault))
			return false;
		ret->present |= AMQC_PROP_DELIVERY_MODE;
	}
	if (properties->has_priority) {
		if (!take_octet(properties->priority, "priority", &ret->priority, ret_fault))
			return false;
		ret->present |= AMQC_PROP_PRIORITY;
	}
	if (properties->has_timestamp) {
		ret->timestamp = properties->timestamp;
		ret->present |= AMQC_PROP_TIMESTAMP;
	}
	return !properties->headers || take_headers(out, properties->headers, ret, ret_fault);
}

/* ------------------------------------------------------------------ from AMQP */

struct from_amqp {
	struct arena *arena;
	unsigned int fields_left; /* of protobuf's */
};

static Muxd__V1__Table *read_fields(struct from_amqp *from, struct span bytes, bool in_array,
				    unsigned int nesting);

static bool give_nested(struct from_amqp *from, const struct amqc_field *field, Muxd__V1__Field *ret,
			unsigned int nesting)
{
	bool is_array = field->type == 'A';
	Muxd__V1__Table *table = read_fields(from, field->value.bytes, is_array, nesting);

	if (!table)
		return false;
	ret->value_case = is_array ? MUXD__V1__FIELD__VALUE_ARRAY : MUXD__V1__FIELD__VALUE_TABLE;
	if (is_array)
		ret->array = table;
	else
		ret->table = table;
	return true;
}

static bool give_decimal(struct from_amqp *from, const struct amqc_field *field, Muxd__V1__Field *ret)
{
	Muxd__V1__Decimal *decimal = arena_alloc(from->arena, sizeof(*decimal));

	if (!decimal || from->fields_left < PROTO_FIELDS_OF_DECIMAL)
		return false;
	from->fields_left -= PROTO_FIELDS_OF_DECIMAL;
	muxd__v1__decimal__init(decimal);
	decimal->has_scale = true;
	decimal->scale = field->value.decimal.scale;
	decimal->has_value = true;
	decimal->value = field->value.decimal.value;
	ret->value_case = MUXD__V1__FIELD__VALUE_DECIMAL;
	ret->decimal = decimal;
	return true;
}

static bool give_integer(const struct amqc_field *field, Muxd__V1__Field *ret)
{
#define GIVE(letter, CASE, member, type, source)                 \
	case letter:                                             \
		ret->value_case = MUXD__V1__FIELD__VALUE_##CASE; \
		ret->member = (type)field->value.source;         \
		return true;
	switch (field->type) {
		GIVE('b', INT8, int8, int32_t, signed_int)
		GIVE('B', UINT8, uint8, uint32_t, unsigned_int)
		GIVE('s', INT16, int16, int32_t, signed_int)
		GIVE('u', UINT16, uint16, uint32_t, unsigned_int)
		GIVE('I', INT32, int32, int32_t, signed_int)
		GIVE('i', UINT32, uint32, uint32_t, unsigned_int)
		GIVE('l', INT64, int64, int64_t, signed_int)
		GIVE('L', UINT64, uint64, uint64_t, unsigned_int)
		GIVE('T', TIMESTAMP, timestamp, uint64_t, unsigned_int)
	default:
		return false;
	}
#undef GIVE
}

static void give_plain(const struct amqc_field *field, Muxd__V1__Field *ret)
{
	switch (field->type) {
	case 't':
		ret->value_case = MUXD__V1__FIELD__VALUE_BOOLEAN;
		ret->boolean = field->value.boolean;
		break;
	case 'f':
		ret->value_case = MUXD__V1__FIELD__VALUE_FLOAT32;
		ret->float32 = field->value.float32;
		break;
	case 'd':
		ret->value_case = MUXD__V1__FIELD__VALUE_FLOAT64;
		ret->float64 = field->value.float64;
		break;
	case 'S':
		ret->value_case = MUXD__V1__FIELD__VALUE_STRING;
		ret->string = bytes_of(field->value.bytes);
		break;
	case 'x':
		ret->value_case = MUXD__V1__FIELD__VALUE_BYTE_ARRAY;
		ret->byte_array = bytes_of(field->value.bytes);
		break;
	default:
		ret->value_case = MUXD__V1__FIELD__VALUE_VOID;
		ret->void_ = true;
		break;
	}
}

static Muxd__V1__Field *read_field(struct from_amqp *from, const struct amqc_field *field, bool in_array,
				   unsigned int nesting)
{
	Muxd__V1__Field *ret = arena_alloc(from->arena, sizeof(*ret));

	if (!ret || from->fields_left < PROTO_FIELDS_PER_FIELD)
		return NULL;
	from->fields_left -= PROTO_FIELDS_PER_FIELD;
	muxd__v1__field__init(ret);
	if (!in_array) {
		ret->has_name = true;
		ret->name = bytes_of(field->name);
	}
	if (field->type == 'F' || field->type == 'A')
		return give_nested(from, field, ret, nesting) ? ret : NULL;
	if (field->type == 'D') /* a message, and so one level more */
		return nesting > 0 && give_decimal(from, field, ret) ? ret : NULL;
	if (!give_integer(field, ret))
		give_plain(field, ret);
	return ret;
}

static enum amqc_result next_field(struct span *rest, bool in_array, struct amqc_field *ret)
{
	return in_array ? amqc_array_next(rest, ret) : amqc_table_next(rest, ret);
}

static size_t count_fields(struct span bytes, bool in_array)
{
	struct amqc_field field;
	size_t count = 0;

	while (next_field(&bytes, in_array, &field) == AMQC_OK)
		count++;
	return count;
}

/* NULL: it does not fit. nesting: tables that may still be opened, this one included. */
static Muxd__V1__Table *read_fields(struct from_amqp *from, struct span bytes, bool in_array,
				    unsigned int nesting)
{
	size_t count = count_fields(bytes, in_array);
	Muxd__V1__Table *table;
	struct amqc_field field;

	if (nesting == 0 || count > from->fields_left)
		return NULL;
	table = arena_alloc(from->arena, sizeof(*table));
	if (!table)
		return NULL;
	muxd__v1__table__init(table);
	if (count == 0)
		return table;
	table->fields = arena_alloc(from->arena, count * sizeof(*table->fields));
	if (!table->fields)
		return NULL;
	while (next_field(&bytes, in_array, &field) == AMQC_OK) {
		Muxd__V1__Field *read = read_field(from, &field, in_array, nesting - 1);

		if (!read)
			return NULL;
		table->fields[table->n_fields++] = read;
	}
	return table;
}

bool table_from_amqp(struct arena *arena, struct span table, Muxd__V1__Table **ret)
{
	struct from_amqp from = {arena, TABLE_PROTO_FIELDS_MAX};

	*ret = read_fields(&from, table, false, TABLE_NESTING_MAX);
	return *ret != NULL;
}

bool properties_from_amqp(struct arena *arena, const struct amqc_properties *properties,
			  Muxd__V1__Properties *ret)
{
	muxd__v1__properties__init(ret);
#define X(bit, member)                                      \
	if (properties->present & bit) {                    \
		ret->has_##member = true;                   \
		ret->member = bytes_of(properties->member); \
	}
	TEXT_PROPERTIES(X)
#undef X
	if (properties->present & AMQC_PROP_DELIVERY_MODE) {
		ret->has_delivery_mode = true;
		ret->delivery_mode = properties->delivery_mode;
	}
	if (properties->present & AMQC_PROP_PRIORITY) {
		ret->has_priority = true;
		ret->priority = properties->priority;
	}
	if (properties->present & AMQC_PROP_TIMESTAMP) {
		ret->has_timestamp = true;
		ret->timestamp = properties->timestamp;
	}
	if (properties->present & AMQC_PROP_HEADERS)
		return table_from_amqp(arena, properties->headers, &ret->headers);
	return true;
}
