#include "tests/unit/codec-gen.h"

#include <stdlib.h>

void gen_init(struct gen *gen, uint64_t seed)
{
	gen->state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	gen->used = 0;
}

/* splitmix64: any state gives a good sequence */
uint64_t gen_u64(struct gen *gen)
{
	uint64_t z = gen->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t gen_below(struct gen *gen, uint64_t limit)
{
	return gen_u64(gen) % limit;
}

/* A number of so many bits, often an edge: 0, 1, all ones, the sign bit alone, all but it. */
static uint64_t gen_bits(struct gen *gen, unsigned int bits)
{
	uint64_t ones = UINT64_MAX >> (64 - bits);
	uint64_t sign = UINT64_C(1) << (bits - 1);

	switch (gen_below(gen, 8)) {
	case 0:
		return 0;
	case 1:
		return 1;
	case 2:
		return ones;
	case 3:
		return sign;
	case 4:
		return sign - 1;
	default:
		return gen_u64(gen) & ones;
	}
}

static uint8_t *gen_room(struct gen *gen, size_t len)
{
	uint8_t *room = gen->pool + gen->used;

	if (len > sizeof(gen->pool) - gen->used)
		abort();
	gen->used += len;
	return room;
}

struct span gen_bytes(struct gen *gen, size_t len_max)
{
	size_t len = (size_t)gen_below(gen, len_max + 1);
	uint8_t *bytes;

	switch (gen_below(gen, 16)) {
	case 0:
		return SPAN_NULL;
	case 1:
		len = len_max;
		break;
	default:
		len = len > 16 && gen_below(gen, 4) ? 16 : len;
		break;
	}
	bytes = gen_room(gen, len);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)gen_u64(gen);
	return span_make(bytes, len);
}

struct span gen_keep(struct gen *gen, struct span bytes)
{
	uint8_t *copy;

	if (bytes.len == 0)
		return SPAN_NULL;
	copy = gen_room(gen, bytes.len);
	memcpy(copy, bytes.data, bytes.len);
	return span_make(copy, bytes.len);
}

static int64_t gen_signed(struct gen *gen, unsigned int bits)
{
	uint64_t value = gen_bits(gen, bits);

	/* two's complement of so many bits, without a shift of a negative number */
	return value >> (bits - 1) ? (int64_t)(value | ~(UINT64_MAX >> (64 - bits))) : (int64_t)value;
}

static unsigned int letter_bits(char letter)
{
	switch (letter) {
	case 'b':
	case 'B':
		return 8;
	case 's':
	case 'u':
		return 16;
	case 'I':
	case 'i':
		return 32;
	default:
		return 64;
	}
}

void gen_value(struct gen *gen, char letter, unsigned int depth, struct amqc_field *ret)
{
	uint32_t bits32;
	uint64_t bits64;

	memset(ret, 0, sizeof(*ret));
	ret->type = letter;
	if (letter == 't') {
		ret->value.boolean = gen_below(gen, 2) == 1;
	} else if (strchr("bsIl", letter)) {
		ret->value.signed_int = gen_signed(gen, letter_bits(letter));
	} else if (strchr("BuiLT", letter)) {
		ret->value.unsigned_int = gen_bits(gen, letter_bits(letter));
	} else if (letter == 'f') {
		bits32 = (uint32_t)gen_u64(gen);
		memcpy(&ret->value.float32, &bits32, sizeof(bits32));
	} else if (letter == 'd') {
		bits64 = gen_u64(gen);
		memcpy(&ret->value.float64, &bits64, sizeof(bits64));
	} else if (letter == 'D') {
		ret->value.decimal.scale = (uint8_t)gen_bits(gen, 8);
		ret->value.decimal.value = (uint32_t)gen_bits(gen, 32);
	} else if (letter == 'S' || letter == 'x') {
		ret->value.bytes = gen_bytes(gen, 300);
	} else if (letter != 'V') {
		ret->value.bytes = depth ? gen_table(gen, letter == 'A', depth - 1) : SPAN_NULL;
	}
}

struct span gen_table(struct gen *gen, bool is_array, unsigned int depth)
{
	struct buf out = BUF_INIT;
	struct amqc_field field;
	struct span name, kept;
	size_t count = (size_t)gen_below(gen, depth > 1 ? 4 : 10);

	while (count--) {
		name = gen_bytes(gen, 255);
		gen_value(gen, GEN_LETTERS[gen_below(gen, strlen(GEN_LETTERS))], depth, &field);
		if (amqc_field_append(&out, is_array ? NULL : &name, &field) != AMQC_OK)
			abort();
	}
	kept = gen_keep(gen, buf_span(&out));
	buf_deinit(&out);
	return kept;
}

bool field_equal(const struct amqc_field *a, const struct amqc_field *b)
{
	if (a->type != b->type || !span_equal(a->name, b->name))
		return false;
	switch (a->type) {
	case 't':
		return a->value.boolean == b->value.boolean;
	case 'f':
		return memcmp(&a->value.float32, &b->value.float32, sizeof(float)) == 0;
	case 'd':
		return memcmp(&a->value.float64, &b->value.float64, sizeof(double)) == 0;
	case 'D':
		return a->value.decimal.scale == b->value.decimal.scale &&
		       a->value.decimal.value == b->value.decimal.value;
	case 'S':
	case 'x':
	case 'F':
	case 'A':
		return span_equal(a->value.bytes, b->value.bytes);
	case 'V':
		return true;
	default:
		return a->value.unsigned_int == b->value.unsigned_int;
	}
}

/* One generator and one comparison per type of methods.def. */
#define GEN_BIT(gen) (gen_below(gen, 2) == 1)
#define GEN_OCTET(gen) (uint8_t) gen_bits(gen, 8)
#define GEN_SHORT(gen) (uint16_t) gen_bits(gen, 16)
#define GEN_LONG(gen) (uint32_t) gen_bits(gen, 32)
#define GEN_LONGLONG(gen) gen_bits(gen, 64)
#define GEN_SHORTSTR(gen) gen_bytes(gen, 255)
#define GEN_LONGSTR(gen) gen_bytes(gen, 2000)
#define GEN_TABLE(gen) gen_table(gen, false, 3)

#define EQUAL_BIT(a, b) ((a) == (b))
#define EQUAL_OCTET(a, b) ((a) == (b))
#define EQUAL_SHORT(a, b) ((a) == (b))
#define EQUAL_LONG(a, b) ((a) == (b))
#define EQUAL_LONGLONG(a, b) ((a) == (b))
#define EQUAL_SHORTSTR(a, b) span_equal(a, b)
#define EQUAL_LONGSTR(a, b) span_equal(a, b)
#define EQUAL_TABLE(a, b) span_equal(a, b)

#define RESERVED(name, type)

uint32_t gen_method_id(size_t index)
{
	static const uint32_t ids[GEN_METHOD_COUNT] = {
#define METHOD(CONSTANT, name, class_id, method_id, sender) AMQC_##CONSTANT,
#define FIELD(name, type, member)
#define END(name)
#include "daemon/amqp/methods.def"
#undef METHOD
#undef FIELD
#undef END
	};

	return ids[index];
}

void gen_method(struct gen *gen, uint32_t id, struct amqc_method *ret)
{
	/* No value of another method's members may look like the right one. */
	memset(ret, 0x5a, sizeof(*ret));
	ret->id = (enum amqc_method_id)id;
	switch (ret->id) {
#define METHOD(CONSTANT, name, class_id, method_id, sender) case AMQC_##CONSTANT:
#define FIELD(name, type, member) ret->name.member = GEN_##type(gen);
#define END(name) break;
#include "daemon/amqp/methods.def"
#undef METHOD
#undef FIELD
#undef END
	}
}

bool method_equal(const struct amqc_method *a, const struct amqc_method *b)
{
	bool equal = a->id == b->id;

	switch (a->id) {
#define METHOD(CONSTANT, name, class_id, method_id, sender) case AMQC_##CONSTANT:
#define FIELD(name, type, member) equal = equal && EQUAL_##type(a->name.member, b->name.member);
#define END(name) break;
#include "daemon/amqp/methods.def"
#undef METHOD
#undef FIELD
#undef END
	}
	return equal;
}

#define PROPERTIES(each)                                                                              \
	each(CONTENT_TYPE, SHORTSTR, content_type) each(CONTENT_ENCODING, SHORTSTR, content_encoding) \
	    each(HEADERS, TABLE, headers) each(DELIVERY_MODE, OCTET, delivery_mode)                   \
		each(PRIORITY, OCTET, priority) each(CORRELATION_ID, SHORTSTR, correlation_id)        \
		    each(REPLY_TO, SHORTSTR, reply_to) each(EXPIRATION, SHORTSTR, expiration)         \
			each(MESSAGE_ID, SHORTSTR, message_id) each(TIMESTAMP, LONGLONG, timestamp)   \
			    each(TYPE, SHORTSTR, type) each(USER_ID, SHORTSTR, user_id)               \
				each(APP_ID, SHORTSTR, app_id) each(CLUSTER_ID, SHORTSTR, cluster_id)

void gen_properties(struct gen *gen, struct amqc_properties *ret)
{
	memset(ret, 0x5a, sizeof(*ret));
	ret->present = 0;
#define EACH(CONSTANT, TYPE, member)                  \
	if (gen_below(gen, 2)) {                      \
		ret->present |= AMQC_PROP_##CONSTANT; \
		ret->member = GEN_##TYPE(gen);        \
	}
	PROPERTIES(EACH)
#undef EACH
}

bool properties_equal(const struct amqc_properties *a, const struct amqc_properties *b)
{
	bool equal = a->present == b->present;

#define EACH(CONSTANT, TYPE, member)           \
	if (a->present & AMQC_PROP_##CONSTANT) \
		equal = equal && EQUAL_##TYPE(a->member, b->member);
	PROPERTIES(EACH)
#undef EACH
	return equal;
}
