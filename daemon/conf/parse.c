/*
 * From the texts of a file to the fields of struct conf. The tables of
 * keys.c say which key goes where and what it may be; only lists need
 * functions of their own.
 */
#include "daemon/conf/file.h"
#include "daemon/conf/keys.h"

#include "daemon/base/duration.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_MAX 80u
#define OPTIONS_MAX (KEYS_MAX + 4u) /* with the sections, and what ends the options */

/* What is being read. */
struct reader {
	struct conf_place place;
	struct conf_errors *errors;
	unsigned int lines; /* of the file */
	bool no_memory;
};

/* ------------------------------------------------------------------ values */

static void bad(struct reader *r, const char *text, const char *what)
{
	char shown[SHOWN_MAX];

	conf_error(r->errors, r->place, "\"%s\" %s", log_clean(shown, sizeof(shown), span_str(text)), what);
}

static char *copy(struct reader *r, const char *text)
{
	char *string = strdup(text);

	if (!string)
		r->no_memory = true;
	return string;
}

static void read_string(struct reader *r, const struct key *key, const char *text, char **field)
{
	const char *problem = key->problem ? key->problem(text) : NULL;

	if (problem) {
		bad(r, text, problem);
		return;
	}
	free(*field);
	*field = copy(r, text);
}

static void read_bool(struct reader *r, const char *text, bool *field)
{
	int value = cfg_parse_boolean(text);

	if (value < 0)
		bad(r, text, "is neither true nor false");
	else
		*field = value != 0;
}

static void read_quantity(struct reader *r, const struct key *key, const char *text, uint64_t *field)
{
	int (*parse)(const char *text, uint64_t *ret) = number_parse;
	const char *what = "is not a whole number";
	uint64_t value, least, most;
	char bounds[SHOWN_MAX];
	int result;

	if (key->kind == KIND_USEC) {
		parse = duration_parse_usec;
		what = "is not a duration such as 200ms, 20s, 5m or 1h";
	} else if (key->kind == KIND_BYTES) {
		parse = size_parse_bytes;
		what = "is not a size such as 512, 16K, 64M or 1G";
	}
	result = parse(text, &value);
	if (result == -EINVAL) {
		bad(r, text, what);
		return;
	}
	if (parse(key->least, &least) < 0 || parse(key->most, &most) < 0 || result < 0 || value < least ||
	    value > most) {
		snprintf(bounds, sizeof(bounds), "is not from %s to %s", key->least, key->most);
		bad(r, text, bounds);
		return;
	}
	*field = value;
}

static void read_mode(struct reader *r, const char *text, uint64_t *field)
{
	uint64_t mode = 0;
	size_t len = strlen(text);

	if (len == 0 || len > 4 || strspn(text, "01234567") != len) {
		bad(r, text, "is not a mode such as 0660");
		return;
	}
	for (; *text; text++)
		mode = mode * 8 + (uint64_t)(*text - '0');
	if (mode > 0777)
		bad(r, text - len, "has bits that a socket has not");
	else
		*field = mode;
}

static void read_choice(struct reader *r, const struct key *key, const char *text, unsigned int *field)
{
	char all[SHOWN_MAX] = "is not one of:";

	for (unsigned int i = 0; key->choices[i]; i++) {
		size_t len = strlen(all);

		if (strcmp(key->choices[i], text) == 0) {
			*field = i;
			return;
		}
		snprintf(all + len, sizeof(all) - len, " %s", key->choices[i]);
	}
	bad(r, text, all);
}

static void read_level(struct reader *r, const char *text, enum log_level *field)
{
	if (log_level_parse(text, field) < 0)
		bad(r, text, "is not one of: error warning notice info debug");
}

static void read_one(struct reader *r, const struct key *key, const char *text, void *field)
{
	switch (key->kind) {
	case KIND_STRING:
		read_string(r, key, text, field);
		break;
	case KIND_BOOL:
		read_bool(r, text, field);
		break;
	case KIND_NUMBER:
	case KIND_USEC:
	case KIND_BYTES:
		read_quantity(r, key, text, field);
		break;
	case KIND_MODE:
		read_mode(r, text, field);
		break;
	case KIND_CHOICE:
		read_choice(r, key, text, field);
		break;
	case KIND_LEVEL:
		read_level(r, text, field);
		break;
	case KIND_URIS:
	case KIND_IDS:
	case KIND_NAMES:
		break;
	}
}

/* ------------------------------------------------------------------ lists */

static void add_uri(struct reader *r, const char *text, struct conf_upstream *upstream)
{
	struct conf_endpoint *endpoints;
	int result;

	endpoints = conf_array_grow(upstream->endpoints, upstream->endpoint_count, sizeof(*endpoints));
	if (!endpoints) {
		r->no_memory = true;
		return;
	}
	upstream->endpoints = endpoints;
	result = conf_uri_parse(&endpoints[upstream->endpoint_count++], text, r->place, r->errors);
	if (result == -ENOMEM)
		r->no_memory = true;
}

/* "100000-165535" or one number; false if it is neither. */
static bool parse_id_range(const char *text, struct conf_id *id)
{
	const char *dash = strchr(text, '-');
	size_t len = dash ? (size_t)(dash - text) : strlen(text);
	char first_text[16];
	uint64_t first, last;

	if (len >= sizeof(first_text))
		return false;
	memcpy(first_text, text, len);
	first_text[len] = 0;
	if (number_parse(first_text, &first) < 0)
		return false;
	last = first;
	if (dash && number_parse(dash + 1, &last) < 0)
		return false;
	/* The highest number is no id: it means "none" to the kernel. */
	if (first > last || last >= UINT32_MAX)
		return false;
	id->first = (uint32_t)first;
	id->last = (uint32_t)last;
	return true;
}

static void add_id(struct reader *r, const char *text, struct conf_ids *ids)
{
	struct conf_id id = {.line = r->place.line};
	struct conf_id *items;

	if (text[0] == 0)
		return;
	if (text[0] >= '0' && text[0] <= '9') {
		if (!parse_id_range(text, &id)) {
			bad(r, text, "is neither a name, a number, nor a range such as 100000-165535");
			return;
		}
	} else if (strpbrk(text, ": \t\n,/")) {
		bad(r, text, "is no name of a user or group");
		return;
	} else {
		id.name = copy(r, text);
		if (!id.name)
			return;
	}
	items = conf_array_grow(ids->items, ids->count, sizeof(*items));
	if (!items) {
		free(id.name);
		r->no_memory = true;
		return;
	}
	ids->items = items;
	ids->items[ids->count++] = id;
}

static void add_name(struct reader *r, const char *text, struct conf_names *names)
{
	struct conf_name *items;
	char *name;

	if (text[0] == 0)
		return;
	name = copy(r, text);
	items = name ? conf_array_grow(names->items, names->count, sizeof(*items)) : NULL;
	if (!items) {
		free(name);
		r->no_memory = true;
		return;
	}
	names->items = items;
	names->items[names->count++] = (struct conf_name){name, r->place.line};
}

static bool is_list(enum kind kind)
{
	return kind == KIND_URIS || kind == KIND_IDS || kind == KIND_NAMES;
}

static void add(struct reader *r, const struct key *key, const char *text, void *object)
{
	void *field = (char *)object + key->offset;

	if (key->kind == KIND_URIS)
		add_uri(r, text, object);
	else if (key->kind == KIND_IDS)
		add_id(r, text, field);
	else
		add_name(r, text, field);
}

/* ------------------------------------------------------------------ sections */

static void read_keys(struct reader *r, cfg_t *section, const struct key *keys, void *object)
{
	for (size_t i = 0; keys[i].name; i++) {
		r->place.key = keys[i].name;
		for (unsigned int k = 0; k < file_count(section, keys[i].name); k++) {
			const struct file_value *value = file_get(section, keys[i].name, k);

			if (!value) {
				r->no_memory = true;
				continue;
			}
			/* What was appended to a file that ends too early. */
			if (value->line > r->lines)
				continue;
			r->place.line = value->line;
			if (value->first_line)
				conf_error(r->errors, r->place, "given twice, first on line %u",
					   value->first_line);
			if (is_list(keys[i].kind))
				add(r, &keys[i], value->text, object);
			else
				read_one(r, &keys[i], value->text, (char *)object + keys[i].offset);
			if (keys[i].line_offset)
				*(unsigned int *)(void *)((char *)object + keys[i].line_offset) = value->line;
		}
	}
}

/* Errors are about this section from now on. */
static void enter(struct reader *r, cfg_t *section, const char *label)
{
	r->place.line = file_section_line(section);
	r->place.section = label;
	r->place.key = NULL;
	if (r->place.line == 0)
		r->no_memory = true;
}

/* The same for one with a name, which is checked. */
static void begin_section(struct reader *r, cfg_t *section, char *label, size_t size)
{
	char title[SHOWN_MAX];
	const char *problem = keys_name_problem(cfg_title(section));

	log_clean(title, sizeof(title), span_str(cfg_title(section)));
	snprintf(label, size, "%s \"%s\"", cfg_name(section), title);
	enter(r, section, label);
	if (problem)
		conf_error(r->errors, r->place, "%s", problem);
}

static void read_upstream(struct reader *r, cfg_t *section, struct conf *conf)
{
	char label[2 * SHOWN_MAX];
	struct conf_upstream *upstreams;

	upstreams = conf_array_grow(conf->upstreams, conf->upstream_count, sizeof(*upstreams));
	if (!upstreams) {
		r->no_memory = true;
		return;
	}
	conf->upstreams = upstreams;
	upstreams += conf->upstream_count++;
	begin_section(r, section, label, sizeof(label));
	if (conf_upstream_init(upstreams, cfg_title(section), r->place.line) < 0) {
		r->no_memory = true;
		return;
	}
	upstreams->source = conf->path;
	upstreams->file = conf->path;
	read_keys(r, section, keys_upstream, upstreams);
}

static void read_access(struct reader *r, cfg_t *section, struct conf *conf)
{
	char label[2 * SHOWN_MAX];
	struct conf_access *accesses;

	accesses = conf_array_grow(conf->accesses, conf->access_count, sizeof(*accesses));
	if (!accesses) {
		r->no_memory = true;
		return;
	}
	conf->accesses = accesses;
	accesses += conf->access_count++;
	begin_section(r, section, label, sizeof(label));
	accesses->line = r->place.line;
	accesses->name = copy(r, cfg_title(section));
	accesses->configure = copy(r, "");
	accesses->write = copy(r, "");
	accesses->read = copy(r, "");
	read_keys(r, section, keys_access, accesses);
}

static void read_limits(struct reader *r, cfg_t *section, struct conf *conf)
{
	enter(r, section, "limits");
	if (conf->limits_line)
		conf_error(r->errors, r->place, "given twice, first on line %u", conf->limits_line);
	else
		conf->limits_line = r->place.line;
	read_keys(r, section, keys_limits, &conf->limits);
}

static void read_all(struct reader *r, cfg_t *root, struct conf *conf)
{
	read_keys(r, root, keys_global, conf);
	for (unsigned int i = 0; i < cfg_size(root, "upstream"); i++)
		read_upstream(r, cfg_getnsec(root, "upstream", i), conf);
	for (unsigned int i = 0; i < cfg_size(root, "limits"); i++)
		read_limits(r, cfg_getnsec(root, "limits", i), conf);
	for (unsigned int i = 0; i < cfg_size(root, "access"); i++)
		read_access(r, cfg_getnsec(root, "access", i), conf);
}

static size_t set_options(cfg_opt_t *options, const struct key *keys)
{
	size_t count = 0;

	for (; keys[count].name; count++)
		options[count] = file_option(keys[count].name, is_list(keys[count].kind));
	return count;
}

int conf_parse_text(struct conf *conf, const struct conf_text *text, struct conf_errors *errors)
{
	cfg_opt_t upstream[OPTIONS_MAX], limits[OPTIONS_MAX], access[OPTIONS_MAX];
	cfg_opt_t root[OPTIONS_MAX];
	struct reader reader = {.place = {.source = conf->path}, .errors = errors, .lines = text->lines};
	size_t count;
	cfg_t *tree;
	int r;

	file_section_end(upstream, set_options(upstream, keys_upstream));
	file_section_end(limits, set_options(limits, keys_limits));
	file_section_end(access, set_options(access, keys_access));
	count = set_options(root, keys_global);
	root[count++] = file_section("upstream", upstream, true);
	root[count++] = file_section("limits", limits, false);
	root[count++] = file_section("access", access, true);
	file_root_end(root, count);
	r = file_parse(root, text, conf->path, &tree, errors);
	if (r == -ENOMEM)
		return r;
	read_all(&reader, tree, conf);
	cfg_free(tree);
	return reader.no_memory ? -ENOMEM : r;
}
