/*
 * libConfuse's callbacks get no context of ours. What they have to say is kept
 * in the tree itself: the parse callback returns a file_value as the option's
 * "pointer", and the error function leaves its text as the comment of the
 * section it happened in.
 *
 * A file that ends inside a section would be taken for complete, so one more
 * option, the sentinel, is appended to the text. It is only known outside of
 * sections, hence an error there that concerns a line behind the file's last
 * means that something was not closed.
 */
#include "config.h"

#include "daemon/conf/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SENTINEL "end-of-file"
#define START_LINE " start" /* with a blank, which no unquoted word has */
#define SHOWN_MAX 80u

static int store(cfg_t *section, cfg_opt_t *opt, const char *text, void *result)
{
	size_t len = text ? strlen(text) : 0;
	struct file_value *value = malloc(sizeof(*value) + len + 1);

	/* libConfuse would take an error here for a mistake of the file, or of ours, and abort. */
	*(struct file_value **)result = value;
	if (!value)
		return 0;
	value->line = (unsigned int)section->line;
	/* The default's number is of no use to a pointer option, and each section has its own. */
	/* Behind the first of a list come the others; a second list has replaced the one before. */
	value->first_line = opt->nvalues > 1 ? 0 : (unsigned int)opt->def.number;
	if (opt->def.number == 0)
		opt->def.number = section->line;
	if (len > 0)
		memcpy(value->text, text, len);
	value->text[len] = 0;
	return 0;
}

static void discard(void *pointer)
{
	struct file_value *value = pointer;

	if (!value)
		return;
	explicit_bzero(value->text, strlen(value->text));
	free(value);
}

cfg_opt_t file_option(const char *name, bool list)
{
	return (cfg_opt_t){
	    .name = name,
	    .type = CFGT_PTR,
	    .flags = CFGF_NODEFAULT | (list ? CFGF_LIST : 0),
	    .parsecb = store,
	    .freecb = discard,
	};
}

cfg_opt_t file_section(const char *name, cfg_opt_t *options, bool titled)
{
	return (cfg_opt_t){
	    .name = name,
	    .type = CFGT_SEC,
	    .flags = CFGF_MULTI | (titled ? CFGF_TITLE | CFGF_NO_TITLE_DUPES : 0),
	    .subopts = options,
	};
}

void file_section_end(cfg_opt_t *options, size_t count)
{
	static char start[] = "0";

	/* An option with a default is parsed as its section begins: so its line is the section's. */
	options[count] = file_option(START_LINE, false);
	options[count].flags = 0;
	options[count].def.parsed = start;
	options[count + 1] = (cfg_opt_t)CFG_END();
}

void file_root_end(cfg_opt_t *options, size_t count)
{
	options[count] = file_option(SENTINEL, false);
	options[count + 1] = (cfg_opt_t)CFG_END();
}

/* The text of an error, without what may be part of a password. */
static void __attribute__((format(printf, 3, 0)))
describe(char *out, size_t size, const char *format, va_list args)
{
	char shown[SHOWN_MAX];
	const char *text;

	if (strncmp(format, "no such option", 14) == 0) {
		text = va_arg(args, const char *);
		snprintf(out, size, "unknown key or section \"%s\"",
			 strstr(text, "://") ? "..." : log_clean(shown, sizeof(shown), span_str(text)));
	} else if (strncmp(format, "unexpected token", 16) == 0) {
		text = va_arg(args, const char *);
		if (text && text[0] && !text[1])
			snprintf(out, size, "unexpected \"%s\"",
				 log_clean(shown, sizeof(shown), span_str(text)));
		else
			snprintf(out, size, "unexpected text");
	} else {
		vsnprintf(shown, sizeof(shown), format, args);
		log_clean(out, size, span_str(shown));
	}
}

static void __attribute__((format(printf, 2, 0))) note_error(cfg_t *section, const char *format, va_list args)
{
	char text[2 * SHOWN_MAX];

	if (section->comment)
		return;
	describe(text, sizeof(text), format, args);
	section->comment = strdup(text);
}

/* The section that the parser stopped in; the root itself if it was outside. */
static cfg_t *find_stop(cfg_t *root)
{
	if (root->comment)
		return root;
	for (const cfg_opt_t *opt = root->opts; opt->name; opt++)
		for (unsigned int i = 0; opt->type == CFGT_SEC && i < opt->nvalues; i++)
			if (opt->values[i]->section->comment)
				return opt->values[i]->section;
	return root;
}

static void report_stop(cfg_t *root, const struct conf_text *text, const char *path,
			struct conf_errors *errors)
{
	cfg_t *section = find_stop(root);
	struct conf_place place = {.source = path, .line = (unsigned int)section->line};
	char title[SHOWN_MAX];
	char where[2 * SHOWN_MAX] = "";

	if (section != root)
		snprintf(where, sizeof(where), "%s%s%s%s", section->name, section->title ? " \"" : "",
			 log_clean(title, sizeof(title), span_str(section->title)),
			 section->title ? "\"" : "");
	if (place.line <= text->lines) {
		conf_error(errors, place, "%s%s%s", section->comment ? section->comment : "syntax error",
			   where[0] ? " in " : "", where);
		return;
	}
	place.line = text->lines;
	if (section == root)
		conf_error(errors, place, "the file ends in the middle of a section, a list or a value");
	else
		conf_error(errors, place, "the file ends inside %s, which begins on line %u", where,
			   file_section_line(section));
}

int file_parse(cfg_opt_t *options, const struct conf_text *text, const char *path, cfg_t **ret,
	       struct conf_errors *errors)
{
	char *buffer = NULL;
	cfg_t *root;
	int r;

	if (asprintf(&buffer, "%s\n%s = 1\n", text->data, SENTINEL) < 0)
		return -ENOMEM;
	root = cfg_init(options, CFGF_NONE);
	if (!root) {
		conf_wipe_string(buffer);
		return -ENOMEM;
	}
	cfg_set_error_function(root, note_error);
	r = cfg_parse_buf(root, buffer);
	if (r == CFG_SUCCESS && cfg_size(root, SENTINEL) == 0)
		r = CFG_PARSE_ERROR;
	if (r != CFG_SUCCESS)
		report_stop(root, text, path, errors);
	conf_wipe_string(buffer);
	*ret = root;
	return r == CFG_SUCCESS ? 0 : -EINVAL;
}

unsigned int file_count(cfg_t *section, const char *key)
{
	return cfg_size(section, key);
}

const struct file_value *file_get(cfg_t *section, const char *key, unsigned int index)
{
	return cfg_getnptr(section, key, index);
}

unsigned int file_section_line(cfg_t *section)
{
	const struct file_value *value = file_get(section, START_LINE, 0);

	return value ? value->line : 0;
}
