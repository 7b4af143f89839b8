/*
 * Logging. A line has a level, a text, and optional fields ("SESSION=12") for
 * the journal. Where lines go is a sink that main injects; without one they
 * are dropped, so the pure floors can log in tests and simulations.
 *
 * An error is logged once, at the layer that decides what to do about it.
 * Foreign text is made harmless by log_clean(): no newline, no control
 * character.
 */
#pragma once

#include "proto/span.h"

enum log_level {
	LOG_LEVEL_ERROR = 3, /* numbers are syslog's (RFC 5424) */
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7
};

/* One field for the journal; key in capitals. */
struct log_field {
	const char *key;
	const char *value;
};

typedef void (*log_sink_fn)(void *context, enum log_level level, const char *text,
			    const struct log_field *fields, size_t field_count);

/* Process-wide, set by main before anything logs. */
void log_set_sink(log_sink_fn sink, void *context);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* "error", "warning", "notice", "info", "debug"; -EINVAL for anything else. */
int log_level_parse(const char *name, enum log_level *ret);
const char *log_level_name(enum log_level level);

bool log_enabled(enum log_level level);

void log_write(enum log_level level, const struct log_field *fields, size_t field_count, const char *format,
	       ...) __attribute__((format(printf, 4, 5)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, NULL, 0, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, NULL, 0, __VA_ARGS__)
#define log_notice(...) log_write(LOG_LEVEL_NOTICE, NULL, 0, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, NULL, 0, __VA_ARGS__)
/* The arguments are not evaluated unless debug is on. */
#define log_debug(...)                                                    \
	do {                                                              \
		if (log_enabled(LOG_LEVEL_DEBUG))                         \
			log_write(LOG_LEVEL_DEBUG, NULL, 0, __VA_ARGS__); \
	} while (0)

/*
 * Writes text into out (size bytes with the NUL) with every byte that is not
 * printable ASCII as \xNN, cut with "..." if it is too long; returns out.
 */
char *log_clean(char *out, size_t size, struct span text);
