#include "daemon/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define LINE_BYTES_MAX 2048u

/* The one mutable state of the process that has no owner: everything may log. */
static struct {
	log_sink_fn sink;
	void *context;
	enum log_level level;
} target = {.level = LOG_LEVEL_INFO};

static const struct {
	enum log_level level;
	const char *name;
} levels[] = {
    {LOG_LEVEL_ERROR, "error"}, {LOG_LEVEL_WARNING, "warning"}, {LOG_LEVEL_NOTICE, "notice"},
    {LOG_LEVEL_INFO, "info"},	{LOG_LEVEL_DEBUG, "debug"},
};

#define LEVEL_COUNT (sizeof(levels) / sizeof(levels[0]))

void log_set_sink(log_sink_fn sink, void *context)
{
	target.sink = sink;
	target.context = context;
}

void log_set_level(enum log_level level)
{
	target.level = level;
}

enum log_level log_get_level(void)
{
	return target.level;
}

int log_level_parse(const char *name, enum log_level *ret)
{
	for (size_t i = 0; i < LEVEL_COUNT; i++) {
		if (strcmp(levels[i].name, name) == 0) {
			*ret = levels[i].level;
			return 0;
		}
	}
	return -EINVAL;
}

const char *log_level_name(enum log_level level)
{
	for (size_t i = 0; i < LEVEL_COUNT; i++)
		if (levels[i].level == level)
			return levels[i].name;
	return "unknown";
}

bool log_enabled(enum log_level level)
{
	return target.sink && level <= target.level;
}

void log_write(enum log_level level, const struct log_field *fields, size_t field_count, const char *format,
	       ...)
{
	int saved_errno = errno;
	char text[LINE_BYTES_MAX], clean[LINE_BYTES_MAX];
	va_list args;
	int len;

	if (!log_enabled(level))
		return;
	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (len < 0)
		text[0] = 0;
	target.sink(target.context, level, log_clean(clean, sizeof(clean), span_str(text)), fields,
		    field_count);
	errno = saved_errno;
}

char *log_clean(char *out, size_t size, struct span text)
{
	size_t used = 0;
	size_t cut = 0; /* where "..." would go: behind the last whole piece that leaves room for it */

	if (size == 0)
		return out;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t byte = text.data[i];
		bool plain = byte >= 0x20 && byte < 0x7f;
		size_t need = plain ? 1 : 4;

		if (need > size - 1 - used) {
			(void)snprintf(out + cut, size - cut, "...");
			return out;
		}
		if (plain)
			out[used] = (char)byte;
		else
			(void)snprintf(out + used, size - used, "\\x%02x", (unsigned int)byte);
		used += need;
		if (used + 3 < size)
			cut = used;
	}
	out[used] = 0;
	return out;
}
