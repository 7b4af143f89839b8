#include "daemon/policy/access.h"

#include "daemon/base/log.h"
#include "daemon/policy/pattern.h"
#include "daemon/policy/recall.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CODE_ACCESS_REFUSED 403u /* AMQP's reply code */
#define CODE_RESOURCE_ERROR 506u
#define NAME_BYTES_MAX 255u /* of a short string */
#define SHOWN_MAX 80u
/* Names have at most 255 bytes, for which a sane pattern takes some hundred steps. */
#define STEPS_CHEAP 250u
#define STEPS_NAME_MAX 20000u /* a millisecond */
#define STEPS_TURN_MAX 100000u
#define SPENDERS_MAX 32u

enum permission {
	NOTHING, /* none is needed */
	CONFIGURE,
	WRITE,
	READ,
	PERMISSION_COUNT
};

enum kind {
	QUEUE,
	EXCHANGE
};

static const char *const permission_names[] = {"", "configure", "write", "read"};
static const char *const kind_names[] = {"queue", "exchange"};

/*
 * What each operation needs, as rabbit_channel.erl of RabbitMQ 3.10 has it. A
 * passive declare needs nothing there (newer ones ask that one of the three
 * matches). With a dead-letter or alternate
 * exchange a declare also needs read on what is declared and write on that
 * exchange; RabbitMQ asks for it only when the thing is new, which is not
 * known here, so it is always asked for.
 */
static const struct need {
	enum kind kind; /* of the name */
	enum permission name;
	enum permission source;
} needs[ACCESS_OPERATION_COUNT] = {
    [ACCESS_ATTACH] = {QUEUE, NOTHING, NOTHING},
    [ACCESS_CONTROL] = {QUEUE, NOTHING, NOTHING},
    [ACCESS_QUEUE_DECLARE] = {QUEUE, CONFIGURE, NOTHING},
    [ACCESS_QUEUE_DECLARE_PASSIVE] = {QUEUE, NOTHING, NOTHING},
    [ACCESS_QUEUE_DELETE] = {QUEUE, CONFIGURE, NOTHING},
    [ACCESS_QUEUE_BIND] = {QUEUE, WRITE, READ},
    [ACCESS_QUEUE_PURGE] = {QUEUE, READ, NOTHING},
    [ACCESS_EXCHANGE_DECLARE] = {EXCHANGE, CONFIGURE, NOTHING},
    [ACCESS_EXCHANGE_DECLARE_PASSIVE] = {EXCHANGE, NOTHING, NOTHING},
    [ACCESS_EXCHANGE_DELETE] = {EXCHANGE, CONFIGURE, NOTHING},
    [ACCESS_EXCHANGE_BIND] = {EXCHANGE, WRITE, READ},
    [ACCESS_PUBLISH] = {EXCHANGE, WRITE, NOTHING},
    [ACCESS_GET] = {QUEUE, READ, NOTHING},
    [ACCESS_CONSUME] = {QUEUE, READ, NOTHING},
};

/* A rule with its own memory. */
struct rule {
	char *name;
	struct access_id *users;
	size_t user_count;
	struct access_id *groups;
	size_t group_count;
	char **upstreams;
	size_t upstream_count;
	pcre2_code *patterns[PERMISSION_COUNT]; /* by permission; that of NOTHING is NULL */
	bool control;
	struct limits limits;
};

/* Who spent how much in this turn; cheap names are not counted. */
struct spender {
	uint32_t uid;
	uint32_t steps;
};

struct access {
	struct rule *rules;
	size_t rule_count;
	uint32_t own_uid;
	struct pattern_scratch scratch;
	struct recall recall;
	uint64_t costly; /* names that a pattern took too long for */
	struct spender spenders[SPENDERS_MAX];
	size_t spender_count;
};

/* ------------------------------------------------------------------ lifetime */

static void rule_deinit(struct rule *rule)
{
	for (size_t i = 0; i < rule->upstream_count; i++)
		free(rule->upstreams[i]);
	for (size_t i = 0; i < PERMISSION_COUNT; i++)
		pcre2_code_free(rule->patterns[i]);
	free(rule->upstreams);
	free(rule->users);
	free(rule->groups);
	free(rule->name);
}

void access_free(struct access *access)
{
	if (!access)
		return;
	for (size_t i = 0; i < access->rule_count; i++)
		rule_deinit(&access->rules[i]);
	free(access->rules);
	pattern_scratch_deinit(&access->scratch);
	free(access);
}

/* NULL without a failure when there are none. */
static int copy_ids(const struct access_id *ids, size_t count, struct access_id **ret, size_t *ret_count)
{
	struct access_id *copy;

	if (count == 0)
		return 0;
	copy = calloc(count, sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, ids, count * sizeof(*copy));
	*ret = copy;
	*ret_count = count;
	return 0;
}

static int copy_upstreams(struct rule *rule, const struct access_rule *from)
{
	if (from->upstream_count == 0)
		return 0;
	rule->upstreams = calloc(from->upstream_count, sizeof(*rule->upstreams));
	if (!rule->upstreams)
		return -ENOMEM;
	for (; rule->upstream_count < from->upstream_count; rule->upstream_count++) {
		rule->upstreams[rule->upstream_count] = strdup(from->upstreams[rule->upstream_count]);
		if (!rule->upstreams[rule->upstream_count])
			return -ENOMEM;
	}
	return 0;
}

static int compile(struct rule *rule, const struct access_rule *from, struct access_error *ret_error)
{
	const char *const sources[PERMISSION_COUNT] = {NULL, from->configure, from->write, from->read};

	for (size_t i = CONFIGURE; i < PERMISSION_COUNT; i++) {
		int r = pattern_compile(sources[i], &rule->patterns[i], ret_error->text,
					sizeof(ret_error->text), &ret_error->offset);

		if (r < 0) {
			ret_error->pattern = permission_names[i];
			return r;
		}
	}
	return 0;
}

/* What was made so far is there also after a failure. */
static int rule_init(struct rule *rule, const struct access_rule *from, struct access_error *ret_error)
{
	int r;

	rule->control = from->control;
	rule->limits = from->limits;
	rule->name = strdup(from->name);
	if (!rule->name)
		return -ENOMEM;
	r = copy_ids(from->users, from->user_count, &rule->users, &rule->user_count);
	if (r == 0)
		r = copy_ids(from->groups, from->group_count, &rule->groups, &rule->group_count);
	if (r == 0)
		r = copy_upstreams(rule, from);
	return r < 0 ? r : compile(rule, from, ret_error);
}

int access_new(const struct access_rule *rules, size_t rule_count, uint32_t own_uid, struct access **ret,
	       struct access_error *ret_error)
{
	struct access *access = calloc(1, sizeof(*access));
	int r;

	if (!access)
		return -ENOMEM;
	*ret_error = (struct access_error){0};
	access->own_uid = own_uid;
	r = pattern_scratch_init(&access->scratch);
	if (r == 0 && rule_count > 0) {
		access->rules = calloc(rule_count, sizeof(*access->rules));
		r = access->rules ? 0 : -ENOMEM;
	}
	while (r == 0 && access->rule_count < rule_count) {
		ret_error->rule = access->rule_count;
		r = rule_init(&access->rules[access->rule_count], &rules[access->rule_count], ret_error);
		access->rule_count++;
	}
	if (r < 0) {
		access_free(access);
		return r;
	}
	*ret = access;
	return 0;
}

/* ------------------------------------------------------------------ matching */

static bool ids_have(const struct access_id *ids, size_t count, uint32_t id)
{
	for (size_t i = 0; i < count; i++)
		if (id >= ids[i].first && id <= ids[i].last &&
		    !(ids[i].from_name && id == ACCESS_OVERFLOW_ID))
			return true;
	return false;
}

/* The first of those in order that is not below id; count if all are. A process may have 65,536 of them. */
static size_t first_from(const uint32_t *groups, size_t count, uint32_t id)
{
	size_t from = 0;

	while (from < count) {
		size_t middle = from + (count - from) / 2;

		if (groups[middle] < id)
			from = middle + 1;
		else
			count = middle;
	}
	return from;
}

static bool has_group(const struct access_creds *creds, const struct access_id *id)
{
	size_t at = first_from(creds->groups, creds->group_count, id->first);

	if (id->from_name && at < creds->group_count && creds->groups[at] == ACCESS_OVERFLOW_ID)
		at = first_from(creds->groups, creds->group_count, ACCESS_OVERFLOW_ID + 1);
	return at < creds->group_count && creds->groups[at] <= id->last;
}

static bool groups_match(const struct rule *rule, const struct access_creds *creds)
{
	if (rule->group_count == 0 || ids_have(rule->groups, rule->group_count, creds->gid))
		return true;
	for (size_t i = 0; i < rule->group_count; i++)
		if (has_group(creds, &rule->groups[i]))
			return true;
	return false;
}

static bool upstream_matches(const struct rule *rule, const char *upstream)
{
	for (size_t i = 0; i < rule->upstream_count; i++)
		if (strcmp(rule->upstreams[i], upstream) == 0)
			return true;
	return rule->upstream_count == 0;
}

static const struct rule *find_rule(const struct access *access, const struct access_creds *creds,
				    const char *upstream)
{
	for (size_t i = 0; i < access->rule_count; i++) {
		const struct rule *rule = &access->rules[i];

		if ((rule->user_count == 0 || ids_have(rule->users, rule->user_count, creds->uid)) &&
		    groups_match(rule, creds) && upstream_matches(rule, upstream))
			return rule;
	}
	return NULL;
}

/* ------------------------------------------------------------------ checking */

struct check {
	struct access *access;
	const struct rule *rule;
	uint32_t uid;
	struct fault *fault;
};

static bool refuse(const struct check *check, enum permission permission, enum kind kind, struct span name,
		   const char *why)
{
	char shown[SHOWN_MAX];

	*check->fault =
	    fault_make(CODE_ACCESS_REFUSED,
		       "ACCESS_REFUSED - %s access to %s '%s' refused by muxd's access section '%s'%s",
		       permission_names[permission], kind_names[kind], log_clean(shown, sizeof(shown), name),
		       check->rule->name, why);
	return false;
}

/* Who may not be known to be allowed is not allowed, but nobody forbids it. */
static bool refuse_no_memory(const struct check *check)
{
	*check->fault = fault_make_retryable(CODE_RESOURCE_ERROR,
					     "RESOURCE_ERROR - no memory to ask muxd's access section '%s'",
					     check->rule->name);
	return false;
}

/* Once, and then ever more rarely: whoever may choose names could fill the log. */
static void note_costly(const struct check *check, enum permission permission, struct span name)
{
	uint64_t count = ++check->access->costly;
	char shown[SHOWN_MAX];

	if ((count & (count - 1)) == 0)
		log_warning(
		    "access \"%s\": the pattern of %s takes too long for the name '%s' (uid %u), which is "
		    "refused for that; %llu times so far in all",
		    check->rule->name, permission_names[permission], log_clean(shown, sizeof(shown), name),
		    (unsigned int)check->uid, (unsigned long long)count);
}

static bool refuse_for_now(const struct check *check)
{
	*check->fault = fault_make_retryable(
	    CODE_RESOURCE_ERROR,
	    "RESOURCE_ERROR - the patterns of muxd's access section '%s' have taken too long for the names "
	    "that uid %u asks for at once",
	    check->rule->name, (unsigned int)check->uid);
	return false;
}

/* NULL: there are so many that nobody may spend more. */
static struct spender *find_spender(struct access *access, uint32_t uid)
{
	for (size_t i = 0; i < access->spender_count; i++)
		if (access->spenders[i].uid == uid)
			return &access->spenders[i];
	if (access->spender_count == SPENDERS_MAX)
		return NULL;
	access->spenders[access->spender_count] = (struct spender){uid, 0};
	return &access->spenders[access->spender_count++];
}

void access_turn(struct access *access)
{
	access->spender_count = 0;
}

/* As pattern_match(); -EAGAIN: in a later turn. */
static int try_pattern(const struct check *check, enum permission permission, struct span name)
{
	const pcre2_code *pattern = check->rule->patterns[permission];
	struct pattern_scratch *scratch = &check->access->scratch;
	unsigned int steps;
	int r = pattern_match(pattern, name, scratch, STEPS_CHEAP, &steps);
	struct spender *spender;

	if (r != -E2BIG)
		return r;
	spender = find_spender(check->access, check->uid);
	if (!spender || spender->steps >= STEPS_TURN_MAX)
		return -EAGAIN;
	r = pattern_match(pattern, name, scratch, STEPS_NAME_MAX, &steps);
	spender->steps += steps;
	return r;
}

static int match(const struct check *check, enum permission permission, struct span name)
{
	const pcre2_code *pattern = check->rule->patterns[permission];
	struct recall *recall = &check->access->recall;
	int r = recall_find(recall, pattern, name);

	if (r >= 0)
		return r;
	r = try_pattern(check, permission, name);
	if (r >= 0)
		recall_keep(recall, pattern, name, r > 0);
	return r;
}

static bool allowed(const struct check *check, enum permission permission, enum kind kind, struct span name)
{
	int r;

	if (permission == NOTHING)
		return true;
	if (name.len > NAME_BYTES_MAX)
		return refuse(check, permission, kind, name, ": the name is too long");
	/* RabbitMQ knows the default exchange by this name when it comes to permissions. */
	if (kind == EXCHANGE && name.len == 0)
		name = SPAN_LITERAL("amq.default");
	r = match(check, permission, name);
	if (r > 0)
		return true;
	if (r == -ENOMEM)
		return refuse_no_memory(check);
	if (r == -EAGAIN)
		return refuse_for_now(check);
	if (r < 0)
		note_costly(check, permission, name);
	return refuse(check, permission, kind, name,
		      r < 0 ? ": its pattern takes too long for this name" : "");
}

/*
 * Its name is an address of the broker's and no queue, for which RabbitMQ asks
 * for no permission: every declare of such a name is passive there.
 */
static bool is_direct_reply_to(const struct access_request *request)
{
	struct span address = SPAN_LITERAL("amq.rabbitmq.reply-to");

	if (request->operation == ACCESS_CONSUME)
		return span_equal(request->name, address);
	return request->operation == ACCESS_QUEUE_DECLARE &&
	       span_equal(span_first(request->name, address.len), address);
}

static bool check_names(const struct check *check, const struct access_request *request)
{
	const struct need *need = &needs[request->operation];

	if (is_direct_reply_to(request))
		return true;
	if (!allowed(check, need->name, need->kind, request->name) ||
	    !allowed(check, need->source, EXCHANGE, request->source))
		return false;
	if (!request->has_other || need->name != CONFIGURE)
		return true;
	return allowed(check, READ, need->kind, request->name) &&
	       allowed(check, WRITE, EXCHANGE, request->other);
}

static bool is_trusted(const struct access *access, const struct access_creds *creds)
{
	/* Where muxd runs as nobody, the overflow id is everybody else as well. */
	return creds->uid == 0 || (creds->uid == access->own_uid && creds->uid != ACCESS_OVERFLOW_ID);
}

bool access_check(struct access *access, const struct access_creds *creds, const char *upstream,
		  const struct access_request *request, struct fault *ret_fault)
{
	struct check check = {.access = access, .uid = creds->uid, .fault = ret_fault};

	if (access->rule_count == 0)
		return true;
	if (is_trusted(access, creds) && request->operation == ACCESS_CONTROL)
		return true;
	check.rule = find_rule(access, creds, upstream);
	if (!check.rule) {
		if (is_trusted(access, creds))
			return true;
		*ret_fault = fault_make(CODE_ACCESS_REFUSED,
					"ACCESS_REFUSED - no access section of muxd lets uid %u use upstream "
					"'%s'",
					(unsigned int)creds->uid, upstream);
		return false;
	}
	if (request->operation == ACCESS_CONTROL && !check.rule->control) {
		*ret_fault = fault_make(CODE_ACCESS_REFUSED,
					"ACCESS_REFUSED - control refused by muxd's access section '%s'",
					check.rule->name);
		return false;
	}
	return check_names(&check, request);
}

struct limits access_limits(const struct access *access, const struct access_creds *creds,
			    const char *upstream, const struct limits *whole)
{
	const struct rule *rule = find_rule(access, creds, upstream);

	return rule ? limits_lower(whole, &rule->limits) : *whole;
}
