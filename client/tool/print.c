/*
 * Writing results. Text of others is made visible in tables; bodies are written
 * as they are.
 */
#include "client/tool/json.h"
#include "client/tool/print.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---------------------------------------------------------------- messages */

int print_json(struct ctl *ctl, json_t *json, size_t flags)
{
	int r;

	if (!json)
		return ctl_fail_errno(ctl, "no result", ENOMEM);
	r = json_dumpf(json, stdout, flags);
	json_decref(json);
	putchar('\n');
	return r < 0 ? ctl_fail_errno(ctl, "cannot write to stdout", errno ? errno : EIO) : CTL_DONE;
}

bool print_message(struct ctl *ctl, const struct print_style *style, const struct muxc_message *message)
{
	const char *body;
	size_t len;

	if (ctl->json)
		return print_json(ctl, json_message(message), JSON_COMPACT) == CTL_DONE;
	body = muxc_message_get_body(message, &len);
	if (len)
		(void)fwrite(body, 1, len, stdout);
	if (style->raw)
		return true;
	if (!style->single)
		putchar(style->separator);
	else if (len > 0 && body[len - 1] != '\n' && isatty(STDOUT_FILENO))
		putchar('\n');
	return true;
}

/* ------------------------------------------------------------------ tables */

static void table_put(struct table *table, char *cell)
{
	size_t capacity = table->capacity ? table->capacity * 2 : 64;
	char **grown;

	if (cell && table->count == table->capacity) {
		grown = realloc(table->cells, capacity * sizeof(*grown));
		if (grown) {
			table->cells = grown;
			table->capacity = capacity;
		}
	}
	if (!cell || table->count == table->capacity) {
		table->failed = true;
		free(cell);
		return;
	}
	table->cells[table->count++] = cell;
}

void table_add(struct table *table, const char *format, ...)
{
	char *cell = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&cell, format, args) < 0)
		cell = NULL;
	va_end(args);
	table_put(table, cell);
}

void table_add_text(struct table *table, const char *text)
{
	table_put(table, ctl_visible(text));
}

static const char *title_of(const struct table *table, size_t column)
{
	const char *title = table->titles[column];

	return *title == '#' ? title + 1 : title;
}

/* Characters, not bytes: what begins one in UTF-8. */
static size_t width_of(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

static void print_cell(const struct table *table, size_t column, size_t width, const char *text)
{
	size_t pad = width - width_of(text);
	bool right = table->titles[column][0] == '#';
	bool last = column + 1 == table->columns;

	printf("%*s%s", right ? (int)pad : 0, "", text);
	if (!last)
		printf("%*s", (right ? 0 : (int)pad) + 2, "");
}

int table_print(struct ctl *ctl, struct table *table)
{
	size_t widths[TABLE_COLUMNS_MAX] = {0}, i, column, width;
	bool failed = table->failed;

	for (i = 0; i < table->columns + table->count; i++) {
		column = i % table->columns;
		width =
		    width_of(i < table->columns ? title_of(table, column) : table->cells[i - table->columns]);
		if (width > widths[column])
			widths[column] = width;
	}
	for (i = 0; !failed && i < table->columns + table->count; i++) {
		column = i % table->columns;
		print_cell(table, column, widths[column],
			   i < table->columns ? title_of(table, column) : table->cells[i - table->columns]);
		if (column + 1 == table->columns)
			putchar('\n');
	}
	for (i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
	table->cells = NULL;
	table->count = 0;
	table->capacity = 0;
	return failed ? ctl_fail_errno(ctl, "no table", ENOMEM) : CTL_DONE;
}

/* ----------------------------------------------------------------- amounts */

const char *print_seconds(char *buffer, size_t size, uint64_t seconds)
{
	unsigned long long s = seconds;

	if (s < 60)
		(void)snprintf(buffer, size, "%llus", s);
	else if (s < 3600)
		(void)snprintf(buffer, size, "%llum %llus", s / 60, s % 60);
	else if (s < 86400)
		(void)snprintf(buffer, size, "%lluh %llum", s / 3600, s % 3600 / 60);
	else
		(void)snprintf(buffer, size, "%llud %lluh", s / 86400, s % 86400 / 3600);
	return buffer;
}

const char *print_bytes(char *buffer, size_t size, uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit < sizeof(units) / sizeof(units[0]) - 1) {
		value /= 1024;
		unit++;
	}
	(void)snprintf(buffer, size, unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value, units[unit]);
	return buffer;
}
