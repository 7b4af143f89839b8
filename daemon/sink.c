#include "config.h"

#include "daemon/sink.h"

#include "daemon/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_SYSTEMD
#include <sys/uio.h>
#define SD_JOURNAL_SUPPRESS_LOCATION /* it would be this file for every line */
#include <systemd/sd-journal.h>
#endif

#define LINE_BYTES_MAX 2304u /* the text's own limit, and what comes before it */

static void write_text(const char *line, int len)
{
	/* Nobody can be told that the log cannot be written. */
	if (write(STDERR_FILENO, line, (size_t)len) < 0)
		return;
}

/* Cut at the line's end if need be, which keeps its newline. */
static int finish_line(char *line, size_t size, int len)
{
	if (len < 0)
		return 0;
	if ((size_t)len >= size) {
		line[size - 2] = '\n';
		return (int)size - 1;
	}
	return len;
}

static void to_stderr(void *context, enum log_level level, const char *text, const struct log_field *fields,
		      size_t field_count)
{
	char line[LINE_BYTES_MAX];
	char when[32] = "";
	struct timespec now;
	struct tm tm;
	int len;

	if (clock_gettime(CLOCK_REALTIME, &now) == 0 && gmtime_r(&now.tv_sec, &tm))
		(void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	len = snprintf(line, sizeof(line), "%s.%03ldZ %s: %s\n", when, now.tv_nsec / 1000000,
		       log_level_name(level), text);
	write_text(line, finish_line(line, sizeof(line), len));
}

/* True if stderr is the stream that systemd named: then it is the journal, unless somebody redirected it. */
static bool stderr_is_journal(void)
{
	const char *named = getenv("JOURNAL_STREAM");
	uintmax_t device;
	uintmax_t inode;
	struct stat st;

	return named && sscanf(named, "%ju:%ju", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       (uintmax_t)st.st_dev == device && (uintmax_t)st.st_ino == inode;
}

#ifdef HAVE_SYSTEMD

#define JOURNAL_FIELDS_MAX 12u
#define JOURNAL_FIELD_BYTES_MAX 256u

static void to_journal(void *context, enum log_level level, const char *text, const struct log_field *fields,
		       size_t field_count)
{
	char strings[JOURNAL_FIELDS_MAX][JOURNAL_FIELD_BYTES_MAX];
	struct iovec parts[JOURNAL_FIELDS_MAX + 3];
	char message[LINE_BYTES_MAX];
	char priority[16];
	int count = 0;

	parts[count++] =
	    (struct iovec){message, (size_t)snprintf(message, sizeof(message), "MESSAGE=%s", text)};
	parts[count++] =
	    (struct iovec){priority, (size_t)snprintf(priority, sizeof(priority), "PRIORITY=%d", (int)level)};
	parts[count++] =
	    (struct iovec){(char[]){"SYSLOG_IDENTIFIER=muxd"}, sizeof("SYSLOG_IDENTIFIER=muxd") - 1};
	for (size_t i = 0; i < field_count && i < JOURNAL_FIELDS_MAX; i++) {
		int len = snprintf(strings[i], sizeof(strings[i]), "%s=%s", fields[i].key, fields[i].value);

		if (len > 0 && (size_t)len < sizeof(strings[i]))
			parts[count++] = (struct iovec){strings[i], (size_t)len};
	}
	if (sd_journal_sendv(parts, count) < 0)
		to_stderr(context, level, text, fields, field_count);
}

#else

/* Without libsystemd: the level as a prefix that the journal takes off (sd-daemon(3)). */
static void to_journal(void *context, enum log_level level, const char *text, const struct log_field *fields,
		       size_t field_count)
{
	char line[LINE_BYTES_MAX];
	int len = snprintf(line, sizeof(line), "<%d>%s\n", (int)level, text);

	write_text(line, finish_line(line, sizeof(line), len));
}

#endif

void sink_install(void)
{
	log_set_sink(stderr_is_journal() ? to_journal : to_stderr, NULL);
}
