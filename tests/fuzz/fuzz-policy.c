/*
 * Access sections with any patterns, asked about any names.
 *
 * A pattern is refused with an offset inside of it, or compiles; then it says
 * the same about a name each time, at a bounded cost. Patterns of a known form
 * (a text, anchored or not) are held against a plain search, and each check
 * against the table of muxd.conf(5), written down here once more. Whatever is
 * refused is refused with a text that can be printed.
 *
 * The input is the sections, and then requests of processes.
 */
#include "daemon/base/log.h"
#include "daemon/policy/access.h"
#include "daemon/policy/pattern.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#define RULES_MAX 3u
#define SOURCE_MAX 8192u
#define REQUESTS_MAX 16u
#define OWN_UID 900u
#define STEPS_MAX 20000
#define COST_MAX_USEC 5000000 /* of a CPU; so many steps take a thousand */

enum form {
	FORM_ANY,
	FORM_WITHIN, /* text */
	FORM_BEGINS, /* ^text */
	FORM_ENDS,   /* text$ */
	FORM_WHOLE   /* ^text$ */
};

enum permission {
	NONE,
	CONFIGURE,
	WRITE,
	READ
};

struct source {
	char text[SOURCE_MAX];
	enum form form;
	struct span literal;
	pcre2_code *code; /* NULL: it is wrong */
};

struct section {
	char name[32];
	struct access_id users[2], groups[2];
	const char *upstreams[2];
	struct source sources[READ + 1]; /* by permission */
};

struct world {
	struct section sections[RULES_MAX];
	struct access_rule rules[RULES_MAX];
	size_t count;
	struct pattern_scratch scratch;
	struct access *access;
};

static const char *const upstream_names[] = {"one", "two"};

/* ------------------------------------------------------------------ texts */

static void require_printable(const char *text, size_t len)
{
	require(len > 0);
	for (size_t i = 0; i < len; i++)
		require(text[i] >= 0x20 && text[i] < 0x7f);
}

static void on_log(void *context, enum log_level level, const char *text, const struct log_field *fields,
		   size_t field_count)
{
	require_printable(text, strlen(text));
}

/* Cut at a NUL, which a configuration cannot hold. */
static void append(char *out, size_t size, struct span bytes)
{
	size_t have = strlen(out);
	size_t len = bytes.len < size - have ? bytes.len : size - have - 1;

	if (len > 0)
		memcpy(out + have, bytes.data, len);
	out[have + len] = 0;
}

/* So that each byte stands for itself. */
static void append_literal(char *out, size_t size, struct span literal)
{
	for (size_t i = 0; i < literal.len; i++) {
		char one[8];

		(void)snprintf(one, sizeof(one), isalnum(literal.data[i]) ? "%c" : "\\x%02x",
			       literal.data[i]);
		append(out, size, span_str(one));
	}
}

static void take_source(struct input *input, struct source *source)
{
	unsigned int choice = input_byte(input);
	struct span bytes = input_bytes(input);

	source->form = (enum form)(choice < 128 ? FORM_ANY : 1 + choice % 4);
	source->literal = bytes;
	if (source->form == FORM_ANY) {
		/* now and then many times, for one that is too large */
		for (unsigned int i = 0; i == 0 || (choice > 96 && i < choice % 32); i++)
			append(source->text, sizeof(source->text), bytes);
		return;
	}
	if (source->form == FORM_BEGINS || source->form == FORM_WHOLE)
		append(source->text, sizeof(source->text), SPAN_LITERAL("^"));
	append_literal(source->text, sizeof(source->text), bytes);
	if (source->form == FORM_ENDS || source->form == FORM_WHOLE)
		append(source->text, sizeof(source->text), SPAN_LITERAL("$"));
}

/* ------------------------------------------------------------------ patterns */

static int64_t cost_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void compile(struct source *source)
{
	char text[128] = "";
	size_t offset = SIZE_MAX;
	int64_t begun = cost_usec();
	int r = pattern_compile(source->text, &source->code, text, sizeof(text), &offset);

	require(cost_usec() - begun < COST_MAX_USEC);
	require(r == 0 || r == -EINVAL);
	if (r < 0) {
		require(source->form == FORM_ANY || strlen(source->text) > 4096);
		require_printable(text, strnlen(text, sizeof(text)));
		require(memchr(text, 0, sizeof(text)) && offset <= strlen(source->text));
	}
}

static bool begins(struct span name, struct span literal)
{
	return span_equal(span_first(name, literal.len), literal);
}

static bool ends(struct span name, struct span literal)
{
	return name.len >= literal.len && span_equal(span_skip(name, name.len - literal.len), literal);
}

static bool plain_match(const struct source *source, struct span name)
{
	switch (source->form) {
	case FORM_BEGINS:
		return begins(name, source->literal);
	case FORM_ENDS:
		return ends(name, source->literal);
	case FORM_WHOLE:
		return span_equal(name, source->literal);
	default:
		for (size_t i = 0; i <= name.len; i++)
			if (begins(span_skip(name, i), source->literal))
				return true;
		return false;
	}
}

static bool matches(struct world *w, const struct source *source, struct span name)
{
	int64_t begun = cost_usec();
	unsigned int steps, again;
	int r = pattern_match(source->code, name, &w->scratch, STEPS_MAX, &steps);

	require(cost_usec() - begun < COST_MAX_USEC);
	require(pattern_match(source->code, name, &w->scratch, STEPS_MAX, &again) == r);
	require(steps == again && steps <= STEPS_MAX);
	require(r == 0 || r == 1 || r == -E2BIG);
	if (source->text[0] == 0) /* the empty name alone */
		require(r == (name.len == 0));
	else if (source->form != FORM_ANY)
		require(r == plain_match(source, name));
	return r == 1;
}

/* ------------------------------------------------------------------ what is to be answered */

static bool has_id(const struct access_id *ids, size_t count, uint32_t id)
{
	for (size_t i = 0; i < count; i++)
		if (ids[i].first <= id && id <= ids[i].last && !(id == 65534 && ids[i].from_name))
			return true;
	return false;
}

static const struct section *section_of(const struct world *w, const struct access_creds *creds,
					const char *upstream)
{
	for (size_t i = 0; i < w->count; i++) {
		const struct access_rule *rule = &w->rules[i];
		bool user = rule->user_count == 0 || has_id(rule->users, rule->user_count, creds->uid);
		bool group = rule->group_count == 0 || has_id(rule->groups, rule->group_count, creds->gid);
		bool at = rule->upstream_count == 0;

		for (size_t k = 0; k < creds->group_count; k++)
			group |= has_id(rule->groups, rule->group_count, creds->groups[k]);
		for (size_t k = 0; k < rule->upstream_count; k++)
			at |= strcmp(rule->upstreams[k], upstream) == 0;
		if (user && group && at)
			return &w->sections[i];
	}
	return NULL;
}

static bool may(struct world *w, const struct section *section, enum permission permission, bool exchange,
		struct span name)
{
	if (permission == NONE)
		return true;
	if (name.len > 255)
		return false;
	return matches(w, &section->sources[permission],
		       exchange && name.len == 0 ? SPAN_LITERAL("amq.default") : name);
}

/* A declare; with a DLX or AE it needs more. */
static bool may_declare(struct world *w, const struct section *section, bool exchange,
			const struct access_request *request)
{
	return may(w, section, CONFIGURE, exchange, request->name) &&
	       (!request->has_other || (may(w, section, READ, exchange, request->name) &&
					may(w, section, WRITE, true, request->other)));
}

/* The table of muxd.conf(5), row by row. */
static bool in_table(struct world *w, const struct section *section, const struct access_request *request)
{
	struct span reply_to = SPAN_LITERAL("amq.rabbitmq.reply-to");
	struct span name = request->name;

	switch (request->operation) {
	case ACCESS_QUEUE_DECLARE:
		return begins(name, reply_to) || may_declare(w, section, false, request);
	case ACCESS_EXCHANGE_DECLARE:
		return may_declare(w, section, true, request);
	case ACCESS_QUEUE_DELETE:
		return may(w, section, CONFIGURE, false, name);
	case ACCESS_EXCHANGE_DELETE:
		return may(w, section, CONFIGURE, true, name);
	case ACCESS_QUEUE_BIND:
		return may(w, section, WRITE, false, name) && may(w, section, READ, true, request->source);
	case ACCESS_EXCHANGE_BIND:
		return may(w, section, WRITE, true, name) && may(w, section, READ, true, request->source);
	case ACCESS_QUEUE_PURGE:
	case ACCESS_GET:
		return may(w, section, READ, false, name);
	case ACCESS_CONSUME:
		return span_equal(name, reply_to) || may(w, section, READ, false, name);
	case ACCESS_PUBLISH:
		return may(w, section, WRITE, true, name);
	default:
		return true;
	}
}

static bool answer(struct world *w, const struct access_creds *creds, const char *upstream,
		   const struct access_request *request)
{
	const struct section *section = section_of(w, creds, upstream);
	bool trusted = creds->uid == 0 || creds->uid == OWN_UID;

	if (w->count == 0)
		return true;
	if (request->operation == ACCESS_CONTROL)
		return trusted || (section && w->rules[section - w->sections].control);
	return section ? in_table(w, section, request) : trusted;
}

/* ------------------------------------------------------------------ the input */

static struct access_id take_id(struct input *input)
{
	static const uint32_t ids[] = {0, 33, 50, OWN_UID, 65534, 100000, UINT32_MAX, 1000};
	unsigned int choice = input_byte(input);
	uint32_t first = ids[choice % 8], last = ids[choice / 8 % 8];

	return (struct access_id){first, choice & 64 ? first : last, choice & 128};
}

static void take_section(struct input *input, struct section *section, struct access_rule *rule)
{
	unsigned int choice = input_byte(input);

	append(section->name, sizeof(section->name), SPAN_LITERAL("A-1.section_of.some.length"));
	for (int i = CONFIGURE; i <= READ; i++)
		take_source(input, &section->sources[i]);
	for (int i = 0; i < 2; i++) {
		section->users[i] = take_id(input);
		section->groups[i] = take_id(input);
		section->upstreams[i] = upstream_names[i];
	}
	*rule = (struct access_rule){
	    .name = section->name,
	    .users = section->users,
	    .user_count = choice % 3,
	    .groups = section->groups,
	    .group_count = choice / 3 % 3,
	    .upstreams = section->upstreams,
	    .upstream_count = choice / 9 % 3,
	    .configure = section->sources[CONFIGURE].text,
	    .write = section->sources[WRITE].text,
	    .read = section->sources[READ].text,
	    .control = choice & 128,
	    .limits = {.prefetch = choice},
	};
}

/* True: there is nothing to be asked, as a pattern is wrong; the first that is was named. */
static bool is_refused(struct world *w)
{
	static const char *const names[] = {"", "configure", "write", "read"};
	struct access_error error;
	int r = access_new(w->rules, w->count, OWN_UID, &w->access, &error);

	for (size_t i = 0; i < w->count; i++)
		for (int k = CONFIGURE; k <= READ; k++)
			compile(&w->sections[i].sources[k]);
	for (size_t i = 0; i < w->count; i++) {
		for (int k = CONFIGURE; k <= READ; k++) {
			if (w->sections[i].sources[k].code)
				continue;
			require(r == -EINVAL && error.rule == i && strcmp(error.pattern, names[k]) == 0);
			require_printable(error.text, strnlen(error.text, sizeof(error.text)));
			require(error.offset <= strlen(w->sections[i].sources[k].text));
			return true;
		}
	}
	require(r == 0);
	return false;
}

/* In a block of its own size, so that a read behind its end is found. */
static struct span take_name(struct input *input, void **ret_block)
{
	unsigned int choice = input_byte(input);
	struct span bytes = input_bytes(input);
	size_t len = choice == 255 ? bytes.len + 200 : bytes.len;
	uint8_t *block;

	if (choice < 24)
		bytes = choice & 1 ? SPAN_LITERAL("amq.rabbitmq.reply-to") : SPAN_LITERAL("amq.default");
	if (choice < 24)
		len = bytes.len;
	block = calloc(1, len ? len : 1);
	require(block != NULL);
	if (bytes.len > 0)
		memcpy(block, bytes.data, bytes.len);
	*ret_block = block;
	return span_make(block, len);
}

static void ask(struct world *w, struct input *input)
{
	void *blocks[3];
	unsigned int choice = input_byte(input);
	struct access_request request = {
	    .operation = (enum access_operation)(choice % ACCESS_OPERATION_COUNT), .has_other = choice & 128};
	uint32_t groups[] = {take_id(input).first, take_id(input).first};
	struct access_creds creds = {take_id(input).first, take_id(input).first, groups, choice / 16 % 3};
	const char *upstream = upstream_names[choice & 1];
	uint32_t low = groups[0] < groups[1] ? groups[0] : groups[1];
	struct limits whole = {.prefetch = 100}, limits;
	struct fault fault;
	bool allowed;

	groups[1] = groups[0] < groups[1] ? groups[1] : groups[0];
	groups[0] = low;
	request.has_other = choice & 128 && (request.operation == ACCESS_QUEUE_DECLARE ||
					     request.operation == ACCESS_EXCHANGE_DECLARE);
	request.name = take_name(input, &blocks[0]);
	request.source = take_name(input, &blocks[1]);
	request.other = take_name(input, &blocks[2]);
	access_turn(w->access);
	allowed = access_check(w->access, &creds, upstream, &request, &fault);
	require(allowed == answer(w, &creds, upstream, &request));
	if (!allowed) {
		require(fault.code == 403 && strlen(fault.text) == fault.text_len);
		require_printable(fault.text, fault.text_len);
	}
	limits = access_limits(w->access, &creds, upstream, &whole);
	require(limits.prefetch > 0 && limits.prefetch <= 100);
	for (size_t i = 0; i < 3; i++)
		free(blocks[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {span_make(data, size)};
	struct world *w = calloc(1, sizeof(*w));

	require(w && pattern_scratch_init(&w->scratch) == 0);
	log_set_sink(on_log, NULL);
	w->count = input_below(&input, RULES_MAX + 1);
	for (size_t i = 0; i < w->count; i++)
		take_section(&input, &w->sections[i], &w->rules[i]);
	if (!is_refused(w))
		for (unsigned int i = 0; i < REQUESTS_MAX && (i == 0 || input.rest.len > 0); i++)
			ask(w, &input);
	for (size_t i = 0; i < w->count; i++)
		for (int k = CONFIGURE; k <= READ; k++)
			pcre2_code_free(w->sections[i].sources[k].code);
	access_free(w->access);
	pattern_scratch_deinit(&w->scratch);
	free(w);
	return 0;
}
