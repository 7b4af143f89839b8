/*
 * The part of libConfuse that is used: every option is a text with the line
 * it stands on, whatever its type. So all of a file is read before anything
 * is judged, and every bad value can be listed.
 */
#pragma once

#include "daemon/conf/internal.h"

#include <confuse.h>

/* One value as it stands in the file. */
struct file_value {
	unsigned int line;
	unsigned int first_line; /* where the key was given before; 0: it was not */
	char text[];
};

/* An option with one value, or with a list of them. */
cfg_opt_t file_option(const char *name, bool list);

/* A section that may come several times; its options are copied by file_parse(). */
cfg_opt_t file_section(const char *name, cfg_opt_t *options, bool titled);

/* Ends the options of a section, or of the whole file, after count of them; adds two at most. */
void file_section_end(cfg_opt_t *options, size_t count);
void file_root_end(cfg_opt_t *options, size_t count);

/*
 * Parses the text by these options of the whole file. The tree is cfg_free()'d
 * by the caller. 0; -EINVAL at the first syntax error, which is listed, and
 * what stood before it is in the tree all the same; -ENOMEM, and no tree.
 */
int file_parse(cfg_opt_t *options, const struct conf_text *text, const char *path, cfg_t **ret,
	       struct conf_errors *errors) __attribute__((warn_unused_result));

/* The number of values that a key has, and one of them; NULL: there was no memory for it. */
unsigned int file_count(cfg_t *section, const char *key);
const struct file_value *file_get(cfg_t *section, const char *key, unsigned int index);

/* Where a section begins; 0: there was no memory to remember it. */
unsigned int file_section_line(cfg_t *section);
