/* The keys of muxd.conf: one table for each kind of section. */
#pragma once

#include "daemon/conf/internal.h"

enum kind {
	KIND_STRING, /* char *, by valid() */
	KIND_BOOL,
	KIND_NUMBER, /* uint64_t, from least to most, as the next ones */
	KIND_USEC,
	KIND_BYTES,
	KIND_MODE,   /* uint64_t */
	KIND_CHOICE, /* unsigned int: the index in choices */
	KIND_LEVEL,  /* enum log_level */
	KIND_URIS,   /* lists */
	KIND_IDS,
	KIND_NAMES
};

struct key {
	const char *name;
	enum kind kind;
	size_t offset;
	size_t line_offset; /* of an unsigned int, for the line it stands on; 0: not kept */
	const char *least;  /* bounds, written as in a file */
	const char *most;
	const char *(*problem)(const char *text); /* of a string: NULL, or what is wrong with it */
	const char *const *choices;		  /* ends with NULL */
};

/* Each ends with an entry without a name. */
extern const struct key keys_global[];	 /* offsets in struct conf */
extern const struct key keys_upstream[]; /* struct conf_upstream */
extern const struct key keys_limits[];	 /* struct conf_limits */
extern const struct key keys_access[];	 /* struct conf_access */

#define KEYS_MAX 20u /* in one table */

/* What is wrong with the name of a section, or NULL. */
const char *keys_name_problem(const char *text);
