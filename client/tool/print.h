/*
 * Results on stdout: messages, JSON, and tables with aligned columns.
 */
#pragma once

#include "client/tool/ctl.h"

#include <jansson.h>

/* How the bodies of messages are written. */
struct print_style {
	bool raw;	/* nothing behind a body */
	char separator; /* else this, behind each */
	bool single;	/* only one was asked for: it is as it came, but for a newline on a terminal */
};

/*
 * Writes one message, as JSON if that is wanted. False: stdout takes no more,
 * told, or no memory.
 */
bool print_message(struct ctl *ctl, const struct print_style *style, const struct muxc_message *message);

/* Takes the reference. CTL_DONE, or what went wrong, told. */
int print_json(struct ctl *ctl, json_t *json, size_t flags);

#define TABLE_COLUMNS_MAX 16

/* Cells are collected row by row and written when all widths are known. */
struct table {
	const char *const *titles; /* the one for a number begins with '#': it stands to the right */
	size_t columns;
	char **cells; /* owned */
	size_t count;
	size_t capacity;
	bool failed; /* no memory */
};

void table_add(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Text of others: control characters become visible. */
void table_add_text(struct table *table, const char *text);
/* Writes it and frees the cells. CTL_DONE, or CTL_FAILED, told. */
int table_print(struct ctl *ctl, struct table *table);

/* "3h 12m" and "1.5 MiB", into buffers of at least 32 bytes. */
const char *print_seconds(char *buffer, size_t size, uint64_t seconds);
const char *print_bytes(char *buffer, size_t size, uint64_t bytes);
