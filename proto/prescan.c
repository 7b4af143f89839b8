/*
 * The walk keeps a stack of the messages it is in: the kind of each and where
 * it ends. A field is looked up by (kind of the message, field number); what
 * comes out is the kind of the message that the field holds, or 0 for a field
 * that holds none, an unknown one included, whose bytes are stepped over.
 *
 * protobuf-c merges a message field that occurs twice with the first
 * occurrence, copying the repeated fields each time: quadratic time, and
 * quadratic memory in an arena. No encoder writes such a thing, so it is
 * refused, for all but repeated fields.
 *
 * Tags and lengths are read as protobuf-c reads them (at most five bytes),
 * and refused where protobuf-c would drop bits, so that both always see the
 * same fields.
 */
#include "proto/prescan.h"
#include "proto/prescan-table.h"

enum wire_type {
	WIRE_VARINT = 0,
	WIRE_64BIT = 1,
	WIRE_BYTES = 2,
	WIRE_32BIT = 5
};

/* Made by hand; test-prescan compares it with muxd.proto. */
const uint8_t prescan_table[PRESCAN_KIND_COUNT][PRESCAN_FIELD_NUMBER_MAX + 1] =
    {
	[PRESCAN_KIND_CLIENT_FRAME] =
	    {
		[4] = PRESCAN_KIND_PUBLISH,	      /* publish */
		[5] = PRESCAN_KIND_SETTLE,	      /* settle */
		[6] = PRESCAN_KIND_LEAF,	      /* consumer_credit */
		[7] = PRESCAN_KIND_LEAF,	      /* get_credit */
		[8] = PRESCAN_KIND_LEAF,	      /* want */
		[9] = PRESCAN_KIND_LEAF,	      /* hello */
		[10] = PRESCAN_KIND_LEAF,	      /* channel_open */
		[11] = PRESCAN_KIND_LEAF,	      /* channel_close */
		[16] = PRESCAN_KIND_EXCHANGE_DECLARE, /* exchange_declare */
		[17] = PRESCAN_KIND_LEAF,	      /* exchange_delete */
		[18] = PRESCAN_KIND_EXCHANGE_BIND,    /* exchange_bind */
		[19] = PRESCAN_KIND_EXCHANGE_BIND,    /* exchange_unbind */
		[20] = PRESCAN_KIND_QUEUE_DECLARE,    /* queue_declare */
		[21] = PRESCAN_KIND_QUEUE_BIND,	      /* queue_bind */
		[22] = PRESCAN_KIND_QUEUE_BIND,	      /* queue_unbind */
		[23] = PRESCAN_KIND_LEAF,	      /* queue_purge */
		[24] = PRESCAN_KIND_LEAF,	      /* queue_delete */
		[25] = PRESCAN_KIND_LEAF,	      /* qos */
		[26] = PRESCAN_KIND_CONSUME,	      /* consume */
		[27] = PRESCAN_KIND_LEAF,	      /* cancel */
		[28] = PRESCAN_KIND_LEAF,	      /* get */
		[29] = PRESCAN_KIND_LEAF,	      /* tx_select */
		[30] = PRESCAN_KIND_LEAF,	      /* tx_commit */
		[31] = PRESCAN_KIND_LEAF,	      /* tx_rollback */
		[32] = PRESCAN_KIND_LEAF,	      /* recover */
		[64] = PRESCAN_KIND_LEAF,	      /* ping */
		[65] = PRESCAN_KIND_LEAF,	      /* status */
		[66] = PRESCAN_KIND_LEAF,	      /* sessions */
		[67] = PRESCAN_KIND_LEAF,	      /* channels */
		[68] = PRESCAN_KIND_LEAF,	      /* recorder */
		[69] = PRESCAN_KIND_LEAF,	      /* reload */
		[70] = PRESCAN_KIND_LEAF,	      /* drain */
	    },
	[PRESCAN_KIND_PUBLISH] =
	    {
		[4] = PRESCAN_KIND_PROPERTIES, /* properties */
	    },
	[PRESCAN_KIND_PROPERTIES] =
	    {
		[3] = PRESCAN_KIND_TABLE, /* headers */
	    },
	[PRESCAN_KIND_TABLE] =
	    {
		[1] = PRESCAN_REPEATED | PRESCAN_KIND_FIELD, /* fields */
	    },
	[PRESCAN_KIND_FIELD] =
	    {
		[13] = PRESCAN_KIND_LEAF,  /* decimal */
		[16] = PRESCAN_KIND_TABLE, /* array */
		[18] = PRESCAN_KIND_TABLE, /* table */
	    },
	[PRESCAN_KIND_SETTLE] =
	    {
		[2] = PRESCAN_REPEATED | PRESCAN_KIND_LEAF, /* tags */
	    },
	[PRESCAN_KIND_EXCHANGE_DECLARE] =
	    {
		[7] = PRESCAN_KIND_TABLE, /* arguments */
	    },
	[PRESCAN_KIND_EXCHANGE_BIND] =
	    {
		[4] = PRESCAN_KIND_TABLE, /* arguments */
	    },
	[PRESCAN_KIND_QUEUE_DECLARE] =
	    {
		[6] = PRESCAN_KIND_TABLE, /* arguments */
	    },
	[PRESCAN_KIND_QUEUE_BIND] =
	    {
		[4] = PRESCAN_KIND_TABLE, /* arguments */
	    },
	[PRESCAN_KIND_CONSUME] =
	    {
		[6] = PRESCAN_KIND_TABLE, /* arguments */
	    },
	[PRESCAN_KIND_SERVER_FRAME] =
	    {
		[4] = PRESCAN_KIND_DELIVERY,  /* delivery */
		[5] = PRESCAN_KIND_OUTCOME,   /* outcome */
		[6] = PRESCAN_KIND_LEAF,      /* credit */
		[7] = PRESCAN_KIND_RETURNED,  /* returned */
		[8] = PRESCAN_KIND_WELCOME,   /* welcome */
		[9] = PRESCAN_KIND_LEAF,      /* error */
		[10] = PRESCAN_KIND_LEAF,     /* done */
		[11] = PRESCAN_KIND_LEAF,     /* queue_declared */
		[12] = PRESCAN_KIND_LEAF,     /* counted */
		[13] = PRESCAN_KIND_LEAF,     /* consuming */
		[14] = PRESCAN_KIND_GOT,      /* got */
		[15] = PRESCAN_KIND_LEAF,     /* got_nothing */
		[16] = PRESCAN_KIND_LEAF,     /* consumer_cancelled */
		[17] = PRESCAN_KIND_LEAF,     /* upstream_changed */
		[18] = PRESCAN_KIND_LEAF,     /* go_away */
		[19] = PRESCAN_KIND_LEAF,     /* consumer_interrupted */
		[64] = PRESCAN_KIND_STATUS,   /* status */
		[65] = PRESCAN_KIND_SESSIONS, /* sessions */
		[66] = PRESCAN_KIND_CHANNELS, /* channels */
		[67] = PRESCAN_KIND_RECORDER, /* recorder */
		[68] = PRESCAN_KIND_LEAF,     /* reloaded */
	    },
	[PRESCAN_KIND_DELIVERY] =
	    {
		[6] = PRESCAN_KIND_PROPERTIES, /* properties */
	    },
	[PRESCAN_KIND_OUTCOME] =
	    {
		[2] = PRESCAN_REPEATED | PRESCAN_KIND_LEAF, /* numbers */
		[3] = PRESCAN_KIND_LEAF,		    /* error */
	    },
	[PRESCAN_KIND_RETURNED] =
	    {
		[6] = PRESCAN_KIND_PROPERTIES, /* properties */
	    },
	[PRESCAN_KIND_WELCOME] =
	    {
		[8] = PRESCAN_KIND_LEAF, /* credit */
		[9] = PRESCAN_KIND_LEAF, /* upstream */
	    },
	[PRESCAN_KIND_GOT] =
	    {
		[6] = PRESCAN_KIND_PROPERTIES, /* properties */
	    },
	[PRESCAN_KIND_STATUS] =
	    {
		[5] = PRESCAN_REPEATED | PRESCAN_KIND_UPSTREAM_STATUS, /* upstreams */
		[9] = PRESCAN_REPEATED | PRESCAN_KIND_LEAF,	       /* users */
	    },
	[PRESCAN_KIND_UPSTREAM_STATUS] =
	    {
		[7] = PRESCAN_KIND_LEAF, /* lanes */
	    },
	[PRESCAN_KIND_SESSIONS] =
	    {
		[1] = PRESCAN_REPEATED | PRESCAN_KIND_LEAF, /* sessions */
	    },
	[PRESCAN_KIND_RECORDER] =
	    {
		[1] = PRESCAN_KIND_LEAF | PRESCAN_REPEATED, /* entries */
	    },
	[PRESCAN_KIND_CHANNELS] =
	    {
		[1] = PRESCAN_REPEATED | PRESCAN_KIND_LEAF, /* channels */
	    },
};

#define VARINT_BYTES_MAX 10  /* of a value */
#define VARINT32_BYTES_MAX 5 /* of a tag or a length */

struct level {
	const uint8_t *end;
	const uint8_t *nested; /* the row of this message's kind */
	uint64_t seen[2];      /* the message fields that were there, a bit for each field number */
};

_Static_assert(PRESCAN_FIELD_NUMBER_MAX < 128, "struct level has a bit for each field number");

/*
 * Reads a tag or a length of up to 32 bits. NULL if it is cut short, too long
 * or too large.
 */
static inline const uint8_t *read_varint32(const uint8_t *p, const uint8_t *end, uint32_t *ret_value)
{
	uint64_t value = 0;

	if (p < end && *p < 0x80) {
		*ret_value = *p;
		return p + 1;
	}
	for (unsigned int i = 0; i < VARINT32_BYTES_MAX && p < end; i++) {
		uint8_t byte = *p++;

		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (byte < 0x80) {
			*ret_value = (uint32_t)value;
			return value <= UINT32_MAX ? p : NULL;
		}
	}
	return NULL;
}

static inline const uint8_t *skip_varint(const uint8_t *p, const uint8_t *end)
{
	for (unsigned int i = 0; i < VARINT_BYTES_MAX && p < end; i++)
		if (*p++ < 0x80)
			return p;
	return NULL;
}

static inline const uint8_t *skip_bytes(const uint8_t *p, const uint8_t *end, size_t count)
{
	return count <= (size_t)(end - p) ? p + count : NULL;
}

/*
 * Steps over the value of a field, or, for bytes, over their length alone.
 * NULL if the value is not all there, or is of a type that muxd.proto does
 * not use: groups, and the two that protobuf never gave a meaning.
 */
static inline const uint8_t *skip_value(const uint8_t *p, const uint8_t *end, uint32_t type,
					uint32_t *ret_len)
{
	*ret_len = 0;
	switch (type) {
	case WIRE_VARINT:
		return skip_varint(p, end);
	case WIRE_64BIT:
		return skip_bytes(p, end, 8);
	case WIRE_32BIT:
		return skip_bytes(p, end, 4);
	case WIRE_BYTES:
		p = read_varint32(p, end, ret_len);
		return p && *ret_len <= (size_t)(end - p) ? p : NULL;
	default:
		return NULL;
	}
}

/* Whether the message field may occur (again) in the message; notes that it did. */
static inline bool level_admit(struct level *level, uint32_t number, uint8_t nested)
{
	uint64_t bit = UINT64_C(1) << (number & 63);

	if (nested & PRESCAN_REPEATED)
		return true;
	if (level->seen[number >> 6] & bit)
		return false;
	level->seen[number >> 6] |= bit;
	return true;
}

static inline uint8_t level_nested(const struct level *level, uint32_t number)
{
	return number <= PRESCAN_FIELD_NUMBER_MAX ? level->nested[number] : 0;
}

static inline struct level level_make(uint8_t kind, const uint8_t *end)
{
	return (struct level){end, prescan_table[kind & ~PRESCAN_REPEATED], {0, 0}};
}

enum prescan_result prescan(enum prescan_root root, struct span header)
{
	struct level stack[PRESCAN_DEPTH_MAX + 1];
	struct level *level = stack;
	const uint8_t *p = header.data;
	uint32_t fields = 0;

	if (header.len == 0)
		return PRESCAN_OK;
	*level =
	    level_make(root == PRESCAN_CLIENT_FRAME ? PRESCAN_KIND_CLIENT_FRAME : PRESCAN_KIND_SERVER_FRAME,
		       p + header.len);
	for (;;) {
		uint32_t tag, len;
		uint8_t nested;

		while (p == level->end) {
			if (level == stack)
				return PRESCAN_OK;
			level--;
		}
		if (++fields > PRESCAN_FIELDS_MAX)
			return PRESCAN_TOO_MANY;
		p = read_varint32(p, level->end, &tag);
		if (!p || tag >> 3 == 0)
			return PRESCAN_MALFORMED;
		p = skip_value(p, level->end, tag & 7, &len);
		if (!p)
			return PRESCAN_MALFORMED;
		nested = level_nested(level, tag >> 3);
		if (!nested) {
			p += len;
			continue;
		}
		if ((tag & 7) != WIRE_BYTES)
			return PRESCAN_MALFORMED;
		if (!level_admit(level, tag >> 3, nested))
			return PRESCAN_TWICE;
		if (level == &stack[PRESCAN_DEPTH_MAX])
			return PRESCAN_TOO_DEEP;
		*++level = level_make(nested, p + len);
	}
}

const char *prescan_strerror(enum prescan_result result)
{
	switch (result) {
	case PRESCAN_OK:
		return "the header is well-formed";
	case PRESCAN_MALFORMED:
		return "the header is not well-formed protobuf";
	case PRESCAN_TOO_DEEP:
		return "the header nests messages more than 64 deep";
	case PRESCAN_TOO_MANY:
		return "the header has more than 8192 fields";
	case PRESCAN_TWICE:
		return "the header has a message field twice that may be there once";
	}
	return "the header is not valid";
}
