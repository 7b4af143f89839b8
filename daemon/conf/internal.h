/* What the files of this folder share; nobody else includes it. */
#pragma once

#include "daemon/conf/conf.h"

/* Where an error is. */
struct conf_place {
	const char *source;  /* a file, or a word such as "-u" */
	unsigned int line;   /* 0: none */
	const char *section; /* `upstream "x"`, or NULL */
	const char *key;     /* or NULL */
};

/* Appends "source:line: section: key: text", without what the place has not. */
void conf_error(struct conf_errors *errors, struct conf_place place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ------------------------------------------------------------------ conf.c */

/* An upstream of this name with all defaults and no endpoint; -ENOMEM. */
int conf_upstream_init(struct conf_upstream *upstream, const char *name, unsigned int line)
    __attribute__((warn_unused_result));

/* Frees what it holds; fine half-built. */
void conf_upstream_deinit(struct conf_upstream *upstream);
void conf_endpoint_deinit(struct conf_endpoint *endpoint);

/* Frees a string that may be a password or hold one. NULL is fine. */
void conf_wipe_string(char *text);

/*
 * Makes room for one more item of size bytes in an array of *count items and
 * zeroes it; *count is the caller's to raise. The new block, or NULL.
 */
void *conf_array_grow(void *items, size_t count, size_t size) __attribute__((warn_unused_result));

/* True for 127.0.0.0/8, ::1 and localhost: what stays on this host. */
bool conf_host_is_loopback(const char *host);

/* ------------------------------------------------------------------ scan.c */

struct conf_text {
	char *data; /* owned, ends with a NUL; comments are blanks */
	size_t len;
	unsigned int lines;
	bool broken;	  /* not fit for libConfuse; an error is listed */
	bool others_read; /* anybody on the host may read the file */
};

/*
 * Reads a file and looks at what libConfuse lets pass: NUL bytes, strings and
 * comments without an end, references to environment variables that are not
 * set. Comments are replaced by blanks, because libConfuse counts lines wrong
 * behind them. 0 (also with errors listed), or a negative errno.
 */
int conf_text_read(struct conf_text *text, const char *path, struct conf_errors *errors)
    __attribute__((warn_unused_result));

/* The same on text that is there already. */
void conf_text_scan(struct conf_text *text, const char *path, struct conf_errors *errors);

/* Wipes and frees. */
void conf_text_deinit(struct conf_text *text);

/* ------------------------------------------------------------------ uri.c */

/*
 * Takes an AMQP URI apart. 0, -EINVAL with the error listed, or -ENOMEM; the
 * endpoint then has its line and nothing else.
 */
int conf_uri_parse(struct conf_endpoint *endpoint, const char *uri, struct conf_place place,
		   struct conf_errors *errors) __attribute__((warn_unused_result));

/* ------------------------------------------------------------------ parse.c */

/*
 * Fills conf, which has defaults, from a file's text. 0 (also with bad values
 * listed); -EINVAL if the text ended early by a syntax error; -ENOMEM.
 */
int conf_parse_text(struct conf *conf, const struct conf_text *text, struct conf_errors *errors)
    __attribute__((warn_unused_result));

/* ------------------------------------------------------------------ check.c */

/*
 * Whether the values go together. Completes the credentials of endpoints
 * (guest on the loopback). 0 (also with errors listed) or -ENOMEM.
 */
int conf_check(struct conf *conf, struct conf_errors *errors) __attribute__((warn_unused_result));
