/*
 * A look at the bytes of a configuration file before libConfuse gets them.
 *
 * libConfuse takes a variable that is not set for an empty string, stops at a
 * NUL byte without a word, and counts the end of a comment twice, so that
 * every line number behind it is wrong. The scanner knows just enough of the
 * syntax to find strings and comments: it blanks the comments, keeping their
 * newlines, and reports the rest.
 */
#include "daemon/conf/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX (1u << 20)
#define VARIABLE_NAME_MAX 128u

struct scanner {
	struct conf_text *text;
	size_t at;
	struct conf_place place; /* the line of at */
	struct conf_errors *errors;
};

static char peek(const struct scanner *s, size_t ahead)
{
	return ahead < s->text->len - s->at ? s->text->data[s->at + ahead] : 0;
}

static bool at_end(const struct scanner *s)
{
	return s->at >= s->text->len;
}

/* What libConfuse cannot be trusted with. */
static void broken(struct scanner *s, struct conf_place place, const char *what)
{
	conf_error(s->errors, place, "%s", what);
	s->text->broken = true;
}

static void step(struct scanner *s)
{
	if (s->text->data[s->at] == '\n')
		s->place.line++;
	else if (s->text->data[s->at] == 0)
		broken(s, s->place, "a NUL byte");
	s->at++;
}

static void blank(struct scanner *s)
{
	if (peek(s, 0) != '\n' && peek(s, 0) != 0)
		s->text->data[s->at] = ' ';
	step(s);
}

static void blank_line(struct scanner *s)
{
	while (!at_end(s) && peek(s, 0) != '\n')
		blank(s);
}

static void blank_comment(struct scanner *s)
{
	struct conf_place start = s->place;

	blank(s);
	blank(s);
	while (!at_end(s) && !(peek(s, 0) == '*' && peek(s, 1) == '/'))
		blank(s);
	if (at_end(s)) {
		broken(s, start, "a comment that begins here has no end");
		return;
	}
	blank(s);
	blank(s);
}

/* At the "$" of "${NAME}" or "${NAME:-default}". */
static void check_variable(struct scanner *s)
{
	const char *name = s->text->data + s->at + 2;
	size_t rest = s->text->len - s->at - 2;
	size_t len = 0;
	char copy[VARIABLE_NAME_MAX + 1];
	char shown[2 * VARIABLE_NAME_MAX];

	while (len < rest && !strchr("}:\n\"", name[len]))
		len++;
	if (len == rest || (name[len] != '}' && name[len] != ':')) {
		broken(s, s->place, "\"${\" without its \"}\" on the same line");
		return;
	}
	if (len > VARIABLE_NAME_MAX || len == 0 || (name[len] == ':' && name[len + 1] != '-')) {
		conf_error(s->errors, s->place, "\"${...}\" holds no name of a variable");
		return;
	}
	memcpy(copy, name, len);
	copy[len] = 0;
	if (name[len] == '}' && !getenv(copy))
		conf_error(s->errors, s->place, "the environment variable %s is not set%s",
			   log_clean(shown, sizeof(shown), span_make(name, len)),
			   strcmp(copy, "CREDENTIALS_DIRECTORY") == 0
			       ? ": systemd sets it for the service; by hand, as root, it is "
				 "/run/credentials/muxd.service while that runs"
			       : "");
}

static void skip_string(struct scanner *s, char quote)
{
	struct conf_place start = s->place;

	step(s);
	while (!at_end(s) && peek(s, 0) != quote) {
		if (quote == '"' && peek(s, 0) == '$' && peek(s, 1) == '{')
			check_variable(s);
		if (peek(s, 0) == '\\')
			step(s);
		if (!at_end(s))
			step(s);
	}
	if (at_end(s))
		broken(s, start, "a string that begins here has no end");
	else
		step(s);
}

/* A word that is not quoted; "//" inside it is part of it, as in a URI. */
static void skip_word(struct scanner *s)
{
	do {
		if (peek(s, 0) == '$' && peek(s, 1) == '{')
			check_variable(s);
		step(s);
	} while (!at_end(s) && peek(s, 0) && !strchr(" \t\r\n#\"'={}()+,*", peek(s, 0)));
}

void conf_text_scan(struct conf_text *text, const char *path, struct conf_errors *errors)
{
	struct scanner s = {.text = text, .place = {.source = path, .line = 1}, .errors = errors};

	while (!at_end(&s)) {
		if (peek(&s, 0) == '#' || (peek(&s, 0) == '/' && peek(&s, 1) == '/'))
			blank_line(&s);
		else if (peek(&s, 0) == '/' && peek(&s, 1) == '*')
			blank_comment(&s);
		else if (peek(&s, 0) == '"' || peek(&s, 0) == '\'')
			skip_string(&s, peek(&s, 0));
		else if (strchr(" \t\r\n={}()+,*", peek(&s, 0))) /* a NUL as well */
			step(&s);
		else
			skip_word(&s);
	}
	text->lines = s.place.line;
}

/* Reads up to the limit into a new block. */
static int read_all(int fd, struct conf_text *text)
{
	text->data = malloc(FILE_BYTES_MAX + 1);
	if (!text->data)
		return -ENOMEM;
	while (text->len <= FILE_BYTES_MAX) {
		ssize_t n = read(fd, text->data + text->len, FILE_BYTES_MAX + 1 - text->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) {
			text->data[text->len] = 0;
			return 0;
		}
		text->len += (size_t)n;
	}
	return -EFBIG;
}

/*
 * A pipe is as good as a file, but one that nobody writes to must not hold a
 * reload for ever, nor pass for an empty file.
 */
static int read_file(int fd, const struct stat *st, struct conf_text *text)
{
	int r;

	/* It was opened without waiting for a writer; those that are there are waited for. */
	if (fcntl(fd, F_SETFL, 0) < 0)
		return -errno;
	r = read_all(fd, text);
	return r == 0 && S_ISFIFO(st->st_mode) && text->len == 0 ? -ENODATA : r;
}

static const char *reason(int r)
{
	switch (r) {
	case -EFBIG:
		return "larger than 1 MiB";
	case -ENODATA:
		return "a pipe that nobody writes to";
	default:
		return strerror(-r);
	}
}

int conf_text_read(struct conf_text *text, const char *path, struct conf_errors *errors)
{
	struct conf_place place = {.source = path};
	struct stat st;
	int fd;
	int r;

	*text = (struct conf_text){0};
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0) {
		r = -errno;
		conf_error(errors, place, "%s", strerror(-r));
		return r;
	}
	r = fstat(fd, &st) < 0 ? -errno : read_file(fd, &st, text);
	close(fd);
	if (r < 0) {
		conf_error(errors, place, "%s", reason(r));
		conf_text_deinit(text);
		return r;
	}
	text->others_read = (st.st_mode & S_IROTH) != 0;
	conf_text_scan(text, path, errors);
	return 0;
}

void conf_text_deinit(struct conf_text *text)
{
	if (text->data)
		explicit_bzero(text->data, text->len);
	free(text->data);
	*text = (struct conf_text){0};
}
