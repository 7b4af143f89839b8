#include "daemon/policy/access.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define OWN_UID 900
#define WEB_UID 33
#define BATCH_UID 100001
#define OTHER_UID 5000
#define STAFF_GID 50

/* ------------------------------------------------------------------ the rules of most tests */

static const struct access_id web_users[] = {{WEB_UID, WEB_UID, true}};
static const struct access_id batch_users[] = {{100000, 165535, false}, {77, 77, false}};
static const struct access_id staff_groups[] = {{STAFF_GID, STAFF_GID, true}};
static const struct access_id nobody[] = {{ACCESS_OVERFLOW_ID, ACCESS_OVERFLOW_ID, true}};
static const char *const upstream_one[] = {"one"};
static const char *const upstream_two[] = {"two"};

static const struct access_rule rules[] = {
    {.name = "nobody",
     .users = nobody,
     .user_count = 1,
     .groups = NULL,
     .configure = ".*",
     .write = ".*",
     .read = ".*",
     .control = true},
    {.name = "web",
     .users = web_users,
     .user_count = 1,
     .upstreams = upstream_one,
     .upstream_count = 1,
     .configure = "^web\\.",
     .write = "^(web\\.|amq\\.default$)",
     .read = "^web\\.r",
     .limits = {.prefetch = 5, .message_max_bytes = 1000}},
    {.name = "batch",
     .users = batch_users,
     .user_count = 2,
     .configure = "",
     .write = ".*",
     .read = "^x$",
     .control = true},
    {.name = "staff-two",
     .groups = staff_groups,
     .group_count = 1,
     .upstreams = upstream_two,
     .upstream_count = 1,
     .configure = ".*",
     .write = ".*",
     .read = ".*"},
};

static struct access *make(const struct access_rule *from, size_t count)
{
	struct access_error error;
	struct access *access = NULL;

	ck_assert_int_eq(access_new(from, count, OWN_UID, &access, &error), 0);
	return access;
}

static bool may(struct access *access, uint32_t uid, const char *upstream, struct access_request request)
{
	struct access_creds creds = {.uid = uid, .gid = uid};
	struct fault fault = FAULT_NONE;
	bool yes = access_check(access, &creds, upstream, &request, &fault);

	ck_assert_int_eq(yes, !fault_is_set(&fault));
	if (!yes)
		ck_assert_uint_eq(fault.code, 403);
	return yes;
}

#define REQUEST(its_operation, its_name) \
	((struct access_request){.operation = (its_operation), .name = span_str(its_name)})

/* ------------------------------------------------------------------ who, where, what, which */

static const struct {
	uint32_t uid;
	const char *upstream;
	enum access_operation operation;
	const char *name;
	const char *source; /* of a binding */
	const char *other;  /* dead-letter or alternate exchange */
	bool yes;
} cases[] = {
    /* the patterns of each operation */
    {WEB_UID, "one", ACCESS_ATTACH, "", NULL, NULL, true},
    {WEB_UID, "one", ACCESS_QUEUE_DECLARE, "web.q", NULL, NULL, true},
    {WEB_UID, "one", ACCESS_QUEUE_DECLARE, "q", NULL, NULL, false},
    {WEB_UID, "one", ACCESS_QUEUE_DECLARE, "xweb.q", NULL, NULL, false},
    {WEB_UID, "one", ACCESS_QUEUE_DECLARE_PASSIVE, "anything", NULL, NULL, true},
    {WEB_UID, "one", ACCESS_EXCHANGE_DECLARE_PASSIVE, "anything", NULL, NULL, true},
    {WEB_UID, "one", ACCESS_QUEUE_DELETE, "web.q", NULL, NULL, true},
    {WEB_UID, "one", ACCESS_QUEUE_DELETE, "q", NULL, NULL, false},
    {WEB_UID, "one", ACCESS_QUEUE_PURGE, "web.r", NULL, NULL, true},
    {WEB_UID, "one", ACCESS_QUEUE_PURGE, "web.q", NULL, NULL, false},
    {WEB_UID, "one", ACCESS_GET, "web.r", NULL, NULL, true},
    {WEB_UID, "one", ACCESS_GET, "web.q", NULL, NULL, false},
    {WEB_UID, "one", ACCESS_CONSUME, "web.r", NULL, NULL, true},
    {WEB_UID, "one", ACCESS_CONSUME, "web.q", NULL, NULL, false},
    {WEB_UID, "one", ACCESS_CONSUME, "amq.rabbitmq.reply-to", NULL, NULL, true},
    {WEB_UID, "one", ACCESS_GET, "amq.rabbitmq.reply-to", NULL, NULL, false},
    {WEB_UID, "one", ACCESS_CONSUME, "amq.rabbitmq.reply-to.x", NULL, NULL, false},
    {WEB_UID, "one", ACCESS_QUEUE_DECLARE, "amq.rabbitmq.reply-to", NULL, NULL, true},
    {WEB_UID, "one", ACCESS_QUEUE_DECLARE, "amq.rabbitmq.reply-to.x", NULL, "dlx", true},
    {WEB_UID, "one", ACCESS_QUEUE_DECLARE, "amq.rabbitmq.reply-t", NULL, NULL, false},
    {WEB_UID, "one", ACCESS_QUEUE_DELETE, "amq.rabbitmq.reply-to", NULL, NULL, false},
    {WEB_UID, "one", ACCESS_EXCHANGE_DECLARE, "amq.rabbitmq.reply-to", NULL, NULL, false},
    {WEB_UID, "one", ACCESS_EXCHANGE_DECLARE, "web.e", NULL, NULL, true},
    {WEB_UID, "one", ACCESS_EXCHANGE_DECLARE, "e", NULL, NULL, false},
    {WEB_UID, "one", ACCESS_EXCHANGE_DELETE, "web.e", NULL, NULL, true},
    {WEB_UID, "one", ACCESS_EXCHANGE_DELETE, "e", NULL, NULL, false},
    {WEB_UID, "one", ACCESS_PUBLISH, "web.e", NULL, NULL, true},
    {WEB_UID, "one", ACCESS_PUBLISH, "e", NULL, NULL, false},
    /* the default exchange has a name */
    {WEB_UID, "one", ACCESS_PUBLISH, "", NULL, NULL, true},
    {WEB_UID, "one", ACCESS_PUBLISH, "amq.default", NULL, NULL, true},
    {WEB_UID, "one", ACCESS_PUBLISH, "amq.default2", NULL, NULL, false},
    /* a binding: write on the destination, read on the source */
    {WEB_UID, "one", ACCESS_QUEUE_BIND, "web.q", "web.r", NULL, true},
    {WEB_UID, "one", ACCESS_QUEUE_BIND, "q", "web.r", NULL, false},
    {WEB_UID, "one", ACCESS_QUEUE_BIND, "web.q", "web.q", NULL, false},
    {WEB_UID, "one", ACCESS_EXCHANGE_BIND, "web.q", "web.r", NULL, true},
    {WEB_UID, "one", ACCESS_EXCHANGE_BIND, "q", "web.r", NULL, false},
    {WEB_UID, "one", ACCESS_EXCHANGE_BIND, "web.q", "web.q", NULL, false},
    /* with another exchange: read on itself, write on that */
    {WEB_UID, "one", ACCESS_QUEUE_DECLARE, "web.r", NULL, "web.dlx", true},
    {WEB_UID, "one", ACCESS_QUEUE_DECLARE, "web.r", NULL, "", true},
    {WEB_UID, "one", ACCESS_QUEUE_DECLARE, "web.r", NULL, "dlx", false},
    {WEB_UID, "one", ACCESS_QUEUE_DECLARE, "web.q", NULL, "web.dlx", false},
    {WEB_UID, "one", ACCESS_EXCHANGE_DECLARE, "web.r", NULL, "web.ae", true},
    {WEB_UID, "one", ACCESS_EXCHANGE_DECLARE, "web.r", NULL, "ae", false},
    {WEB_UID, "one", ACCESS_EXCHANGE_DECLARE, "web.e", NULL, "web.ae", false},
    /* control */
    {WEB_UID, "one", ACCESS_CONTROL, "", NULL, NULL, false},
    {BATCH_UID, "one", ACCESS_CONTROL, "", NULL, NULL, true},
    {0, "one", ACCESS_CONTROL, "", NULL, NULL, true},
    {OWN_UID, "one", ACCESS_CONTROL, "", NULL, NULL, true},
    {OTHER_UID, "one", ACCESS_CONTROL, "", NULL, NULL, false},
    /* the upstream is part of the match */
    {WEB_UID, "two", ACCESS_ATTACH, "", NULL, NULL, false},
    {WEB_UID, "two", ACCESS_QUEUE_DECLARE, "web.q", NULL, NULL, false},
    {WEB_UID, "two", ACCESS_QUEUE_DECLARE_PASSIVE, "web.q", NULL, NULL, false},
    {WEB_UID, "two", ACCESS_CONSUME, "amq.rabbitmq.reply-to", NULL, NULL, false},
    {BATCH_UID, "two", ACCESS_PUBLISH, "any", NULL, NULL, true},
    /* ranges of ids, and their ends */
    {99999, "one", ACCESS_ATTACH, "", NULL, NULL, false},
    {100000, "one", ACCESS_ATTACH, "", NULL, NULL, true},
    {165535, "one", ACCESS_ATTACH, "", NULL, NULL, true},
    {165536, "one", ACCESS_ATTACH, "", NULL, NULL, false},
    {77, "one", ACCESS_ATTACH, "", NULL, NULL, true},
    /* an empty pattern is the empty name alone */
    {BATCH_UID, "one", ACCESS_QUEUE_DECLARE, "q", NULL, NULL, false},
    {BATCH_UID, "one", ACCESS_QUEUE_DECLARE, "", NULL, NULL, true},
    /* a group: here the primary one, which is the uid's number */
    {STAFF_GID, "two", ACCESS_QUEUE_DECLARE, "q", NULL, NULL, true},
    {STAFF_GID, "one", ACCESS_QUEUE_DECLARE, "q", NULL, NULL, false},
    /* the overflow id is nobody's name */
    {ACCESS_OVERFLOW_ID, "one", ACCESS_ATTACH, "", NULL, NULL, false},
    /* who is trusted and in no rule may do everything */
    {0, "one", ACCESS_QUEUE_DELETE, "any", NULL, NULL, true},
    {OWN_UID, "two", ACCESS_QUEUE_DELETE, "any", NULL, NULL, true},
    {OTHER_UID, "one", ACCESS_QUEUE_DELETE, "any", NULL, NULL, false},
};

START_TEST(access__first_rule_that_matches_decides)
{
	struct access *access = make(rules, COUNT(rules));
	struct access_request request = {
	    .operation = cases[_i].operation,
	    .name = span_str(cases[_i].name),
	    .source = span_str(cases[_i].source),
	    .other = span_str(cases[_i].other),
	    .has_other = cases[_i].other != NULL,
	};

	ck_assert_int_eq(may(access, cases[_i].uid, cases[_i].upstream, request), cases[_i].yes);
	access_free(access);
}
END_TEST

START_TEST(access__without_rules_everything_is_allowed)
{
	struct access *access = make(NULL, 0);

	for (unsigned int i = 0; i < ACCESS_OPERATION_COUNT; i++)
		ck_assert(may(access, OTHER_UID, "one", REQUEST((enum access_operation)i, "x")));
	access_free(access);
}
END_TEST

START_TEST(access__rule_without_users_and_groups_matches_everybody)
{
	static const struct access_rule any[] = {{.name = "any", .configure = "q", .write = "", .read = ""}};
	struct access *access = make(any, 1);

	ck_assert(may(access, OTHER_UID, "one", REQUEST(ACCESS_QUEUE_DECLARE, "a queue")));
	ck_assert(may(access, ACCESS_OVERFLOW_ID, "one", REQUEST(ACCESS_QUEUE_DECLARE, "a queue")));
	/* Who is matched is bound by the rule, but root keeps control. */
	ck_assert(!may(access, 0, "one", REQUEST(ACCESS_PUBLISH, "e")));
	ck_assert(may(access, 0, "one", REQUEST(ACCESS_CONTROL, "")));
	access_free(access);
}
END_TEST

START_TEST(access__supplementary_groups_count)
{
	static const uint32_t groups[] = {4, STAFF_GID, 60};
	struct access *access = make(rules, COUNT(rules));
	struct access_creds creds = {.uid = OTHER_UID, .gid = 7, .groups = groups, .group_count = 3};
	struct access_request request = REQUEST(ACCESS_QUEUE_DECLARE, "q");
	struct fault fault;

	ck_assert(access_check(access, &creds, "two", &request, &fault));
	creds.group_count = 1;
	ck_assert(!access_check(access, &creds, "two", &request, &fault));
	access_free(access);
}
END_TEST

/* Groups, and which ids match any of them. */
static const struct {
	uint32_t groups[5];
	size_t count;
	struct access_id id;
	bool yes;
} group_examples[] = {
    {{4, 6, 8, 10, 12}, 5, {4, 4, true}, true},
    {{4, 6, 8, 10, 12}, 5, {12, 12, true}, true},
    {{4, 6, 8, 10, 12}, 5, {8, 8, true}, true},
    {{4, 6, 8, 10, 12}, 5, {7, 7, true}, false},
    {{4, 6, 8, 10, 12}, 5, {0, 3, false}, false},
    {{4, 6, 8, 10, 12}, 5, {13, 6999, false}, false},
    {{4, 6, 8, 10, 12}, 5, {9, 11, false}, true},
    {{4, 6, 8, 10, 12}, 5, {0, UINT32_MAX, false}, true},
    {{4, 6, 8, 10, 12}, 4, {12, 12, true}, false},
    {{4}, 0, {0, 6999, false}, false},
    {{5, 65534, 65534}, 3, {65534, 65534, true}, false},
    {{5, 65534, 65534}, 3, {65534, 65534, false}, true},
    {{5, 65534, 65534, 65535}, 4, {65534, 65535, true}, true},
};

START_TEST(access__any_of_many_groups_counts)
{
	const struct access_id ids[] = {{1, 1, true}, group_examples[_i].id};
	const struct access_rule one[] = {
	    {.name = "one", .groups = ids, .group_count = 2, .configure = ".*", .write = "", .read = ""}};
	struct access *access = make(one, 1);
	struct access_creds creds = {.uid = OTHER_UID,
				     .gid = 7000,
				     .groups = group_examples[_i].groups,
				     .group_count = group_examples[_i].count};
	struct access_request request = REQUEST(ACCESS_QUEUE_DECLARE, "q");
	struct fault fault;

	ck_assert_int_eq(access_check(access, &creds, "two", &request, &fault), group_examples[_i].yes);
	access_free(access);
}
END_TEST

START_TEST(access__user_and_group_must_both_match)
{
	static const struct access_rule both[] = {{.name = "both",
						   .users = web_users,
						   .user_count = 1,
						   .groups = staff_groups,
						   .group_count = 1,
						   .configure = ".*",
						   .write = "",
						   .read = ""}};
	struct access *access = make(both, 1);
	struct access_request request = REQUEST(ACCESS_ATTACH, "");
	struct access_creds creds = {.uid = WEB_UID, .gid = STAFF_GID};
	struct fault fault;

	ck_assert(access_check(access, &creds, "one", &request, &fault));
	creds.gid = 1;
	ck_assert(!access_check(access, &creds, "one", &request, &fault));
	creds = (struct access_creds){.uid = OTHER_UID, .gid = STAFF_GID};
	ck_assert(!access_check(access, &creds, "one", &request, &fault));
	access_free(access);
}
END_TEST

START_TEST(access__overflow_id_matches_numbers_but_no_names)
{
	static const struct access_id number[] = {{ACCESS_OVERFLOW_ID, ACCESS_OVERFLOW_ID, false}};
	const struct access_rule by_number[] = {
	    {.name = "n", .users = number, .user_count = 1, .configure = "", .write = "", .read = ""}};
	const struct access_rule by_group[] = {
	    {.name = "g", .groups = nobody, .group_count = 1, .configure = "", .write = "", .read = ""}};
	struct access *access = make(by_number, 1);

	ck_assert(may(access, ACCESS_OVERFLOW_ID, "one", REQUEST(ACCESS_ATTACH, "")));
	access_free(access);
	access = make(by_group, 1);
	ck_assert(!may(access, ACCESS_OVERFLOW_ID, "one", REQUEST(ACCESS_ATTACH, "")));
	access_free(access);
}
END_TEST

START_TEST(access__muxd_run_as_nobody_trusts_nobody)
{
	struct access_error error;
	struct access *access;

	ck_assert_int_eq(access_new(rules, COUNT(rules), ACCESS_OVERFLOW_ID, &access, &error), 0);
	ck_assert(!may(access, ACCESS_OVERFLOW_ID, "one", REQUEST(ACCESS_CONTROL, "")));
	ck_assert(may(access, 0, "one", REQUEST(ACCESS_CONTROL, "")));
	access_free(access);
}
END_TEST

/* ------------------------------------------------------------------ names that are no text */

#define BYTES(literal) SPAN_LITERAL(literal)

static const struct {
	const char *pattern;
	struct span name;
	bool yes;
} names[] = {
    /* a NUL does not end a name */
    {"^web$", BYTES("web"), true},
    {"^web$", BYTES("web\0"), false},
    {"^web$", BYTES("web\0secret"), false},
    {"secret", BYTES("web\0secret"), true},
    {"^web\\x00s", BYTES("web\0secret"), true},
    {"^[^\\x00]*$", BYTES("web\0secret"), false},
    /* "$" is the end, a last newline is part of the name */
    {"^web$", BYTES("web\n"), false},
    {"^web\\n$", BYTES("web\n"), true},
    {"^web", BYTES("web\n"), true},
    {"^web.*$", BYTES("web\nx"), false},
    {"^(?s)web.*$", BYTES("web\nx"), true},
    /* bytes that are no UTF-8 are bytes */
    {"^\\xff\\xfe$", BYTES("\xff\xfe"), true},
    {"^..$", BYTES("\xff\xfe"), true},
    {"^.$", BYTES("\xc3\xa4"), false},
    {"^..$", BYTES("\xc3\xa4"), true},
    {"^ä$", BYTES("\xc3\xa4"), true},
    {"^ä$", BYTES("\xe4"), false},
    {"^\\w$", BYTES("\xe4"), false},
    /* searched for anywhere unless anchored; back references work; case matters */
    {"b", BYTES("abc"), true},
    {"^(a|b)\\1$", BYTES("bb"), true},
    {"^(a|b)\\1$", BYTES("ab"), false},
    {"^web", BYTES("WEB"), false},
    {"(?i)^web", BYTES("WEB"), true},
    {".*", BYTES(""), true},
    {"", BYTES(""), true},
    {"", BYTES("\n"), false},
    {"", BYTES("x"), false},
};

START_TEST(access__names_are_bytes_with_a_length)
{
	const struct access_rule one[] = {
	    {.name = "one", .configure = names[_i].pattern, .write = "", .read = ""}};
	struct access *access = make(one, 1);
	struct access_request request = {.operation = ACCESS_QUEUE_DECLARE, .name = names[_i].name};

	ck_assert_msg(may(access, OTHER_UID, "one", request) == names[_i].yes, "'%s' number %d",
		      names[_i].pattern, _i);
	access_free(access);
}
END_TEST

START_TEST(access__name_longer_than_any_is_refused)
{
	static const struct access_rule all[] = {{.name = "all", .configure = ".*", .write = "", .read = ""}};
	struct access *access = make(all, 1);
	char name[300];

	memset(name, 'n', sizeof(name));
	ck_assert(
	    may(access, OTHER_UID, "one",
		(struct access_request){.operation = ACCESS_QUEUE_DECLARE, .name = span_make(name, 255)}));
	ck_assert(
	    !may(access, OTHER_UID, "one",
		 (struct access_request){.operation = ACCESS_QUEUE_DECLARE, .name = span_make(name, 256)}));
	access_free(access);
}
END_TEST

START_TEST(access__costly_pattern_refuses_instead_of_holding_the_daemon)
{
	static const struct access_rule evil[] = {
	    {.name = "evil", .configure = "^(a+)+$", .write = "", .read = ""}};
	struct access *access = make(evil, 1);
	struct access_creds creds = {.uid = OTHER_UID};
	struct access_request request = {.operation = ACCESS_QUEUE_DECLARE};
	struct fault fault;
	char name[201];

	memset(name, 'a', 200);
	name[200] = '!';
	request.name = span_make(name, sizeof(name));
	ck_assert(!access_check(access, &creds, "one", &request, &fault));
	ck_assert_ptr_nonnull(strstr(fault.text, "takes too long"));
	/* And the next name is judged as ever. */
	request.name = span_make(name, 200);
	ck_assert(access_check(access, &creds, "one", &request, &fault));
	access_free(access);
}
END_TEST

START_TEST(access__cost_counts_wherever_in_a_name_a_pattern_begins)
{
	static const struct access_rule slow[] = {
	    {.name = "slow", .configure = "a*a*[bc]", .write = "", .read = ""}};
	struct access *access = make(slow, 1);
	struct access_creds creds = {.uid = OTHER_UID};
	struct access_request request = {.operation = ACCESS_QUEUE_DECLARE};
	struct fault fault;
	char name[255];

	/* Less than ten thousand of PCRE2's own at each byte, half a million in all. */
	memset(name, 'a', sizeof(name));
	request.name = span_make(name, 135);
	ck_assert(!access_check(access, &creds, "one", &request, &fault));
	ck_assert_ptr_nonnull(strstr(fault.text, "takes too long"));
	access_free(access);
}
END_TEST

static bool asks(struct access *access, uint32_t uid, struct span name, struct fault *ret_fault)
{
	struct access_creds creds = {.uid = uid};
	struct access_request request = {.operation = ACCESS_QUEUE_DECLARE, .name = name};

	return access_check(access, &creds, "one", &request, ret_fault);
}

START_TEST(access__costly_names_of_a_turn_are_bounded_for_each_user)
{
	static const struct access_rule evil[] = {
	    {.name = "evil", .configure = "^(a+)+$", .write = "", .read = ""}};
	struct access *access = make(evil, 1);
	struct fault fault;
	char name[201];
	int judged = 0;

	memset(name, 'a', 200);
	name[200] = '!';
	while (!asks(access, OTHER_UID, span_make(name, sizeof(name)), &fault) && fault.code == 403)
		ck_assert_int_le(++judged, 100);
	ck_assert_uint_eq(fault.code, 506);
	ck_assert(fault.retryable);
	ck_assert_ptr_nonnull(strstr(fault.text, "section 'evil'"));
	ck_assert_ptr_nonnull(strstr(fault.text, "uid 5000"));
	ck_assert_int_ge(judged, 3);
	ck_assert_msg(asks(access, OTHER_UID, span_make(name, 200), &fault), "a cheap name is judged");
	ck_assert(!asks(access, WEB_UID, span_make(name, sizeof(name)), &fault));
	ck_assert_msg(fault.code == 403, "another user is");
	access_turn(access);
	ck_assert(!asks(access, OTHER_UID, span_make(name, sizeof(name)), &fault));
	ck_assert_msg(fault.code == 403, "the next turn is another one");
	access_free(access);
}
END_TEST

START_TEST(access__costly_names_of_a_turn_are_bounded_for_all_users)
{
	static const struct access_rule evil[] = {
	    {.name = "evil", .configure = "^(a+)+$", .write = "", .read = ""}};
	struct access *access = make(evil, 1);
	struct fault fault = {0};
	char name[201];
	uint32_t uid = 1;

	memset(name, 'a', 200);
	name[200] = '!';
	while (!asks(access, uid, span_make(name, sizeof(name)), &fault) && fault.code == 403)
		ck_assert_uint_le(++uid, 1000);
	ck_assert_uint_eq(fault.code, 506);
	ck_assert(asks(access, uid, span_make(name, 200), &fault));
	access_free(access);
}
END_TEST

/* Some thousand steps, and a hundred times that is more than a turn has. */
START_TEST(access__name_that_comes_again_costs_nothing)
{
	static const struct access_rule slow[] = {
	    {.name = "slow", .configure = "a*a*[bc]|z", .write = "", .read = ""}};
	struct access *access = make(slow, 1);
	struct fault fault;
	char asked[2][25];

	memset(asked, 'a', sizeof(asked));
	asked[1][24] = 'z';
	for (int i = 0; i < 100; i++) {
		ck_assert(!asks(access, OTHER_UID, span_make(asked[0], 25), &fault));
		ck_assert_uint_eq(fault.code, 403);
		ck_assert(asks(access, OTHER_UID, span_make(asked[1], 25), &fault));
	}
	access_free(access);
}
END_TEST

/* More of them than are remembered, which take each other's places. */
START_TEST(access__what_is_remembered_is_of_that_name)
{
	static const struct access_rule even[] = {
	    {.name = "even", .configure = "^.*[02468]$", .write = "", .read = ""}};
	struct access *access = make(even, 1);
	struct fault fault;
	char name[16];

	for (int i = 0; i < 3000; i++) {
		int number = i % 1000;
		int len = snprintf(name, sizeof(name), "q%d", number);

		ck_assert_int_eq(asks(access, OTHER_UID, span_make(name, (size_t)len), &fault),
				 number % 2 == 0);
	}
	ck_assert(asks(access, OTHER_UID, SPAN_LITERAL("q2"), &fault));
	ck_assert(!asks(access, OTHER_UID, SPAN_LITERAL("q2\0"), &fault));
	ck_assert(!asks(access, OTHER_UID, SPAN_LITERAL(""), &fault));
	ck_assert(!asks(access, OTHER_UID, SPAN_LITERAL(""), &fault));
	access_free(access);
}
END_TEST

static bool no_memory; /* for PCRE2 */

static void *pcre2_malloc(size_t size, void *context)
{
	return no_memory ? NULL : malloc(size);
}

static void pcre2_free(void *block, void *context)
{
	free(block);
}

pcre2_match_data_8 *__real_pcre2_match_data_create_8(uint32_t size, pcre2_general_context_8 *context);
pcre2_match_data_8 *__wrap_pcre2_match_data_create_8(uint32_t size, pcre2_general_context_8 *context);
pcre2_match_data_8 *__wrap_pcre2_match_data_create_8(uint32_t size, pcre2_general_context_8 *context)
{
	pcre2_general_context_8 *ours = pcre2_general_context_create_8(pcre2_malloc, pcre2_free, NULL);
	pcre2_match_data_8 *data = __real_pcre2_match_data_create_8(size, ours);

	pcre2_general_context_free_8(ours); /* it was copied */
	return data;
}

START_TEST(access__without_memory_to_match_refuses_for_now_and_blames_nobody)
{
	struct access *access = make(rules, COUNT(rules));
	struct access_creds creds = {.uid = WEB_UID};
	struct access_request request = {.operation = ACCESS_QUEUE_DECLARE, .name = SPAN_LITERAL("web.q")};
	struct fault fault;

	no_memory = true;
	ck_assert(!access_check(access, &creds, "one", &request, &fault));
	ck_assert_uint_eq(fault.code, 506);
	ck_assert(fault.retryable);
	ck_assert_str_eq(fault.text, "RESOURCE_ERROR - no memory to ask muxd's access section 'web'");
	no_memory = false;
	ck_assert(access_check(access, &creds, "one", &request, &fault));
	access_free(access);
}
END_TEST

/* ------------------------------------------------------------------ errors */

START_TEST(access__refusal_says_what_whose_and_by_which_section)
{
	struct access *access = make(rules, COUNT(rules));
	struct access_creds creds = {.uid = WEB_UID};
	struct access_request request = {.operation = ACCESS_PUBLISH, .name = SPAN_LITERAL("a\nb\0c")};
	struct fault fault;

	ck_assert(!access_check(access, &creds, "one", &request, &fault));
	ck_assert_str_eq(fault.text,
			 "ACCESS_REFUSED - write access to exchange 'a\\x0ab\\x00c' refused by muxd's "
			 "access section 'web'");
	ck_assert_int_eq(fault.origin, FAULT_MUXD);
	ck_assert(!fault.retryable);
	creds.uid = OTHER_UID;
	ck_assert(!access_check(access, &creds, "one", &request, &fault));
	ck_assert_str_eq(fault.text,
			 "ACCESS_REFUSED - no access section of muxd lets uid 5000 use upstream 'one'");
	creds.uid = WEB_UID;
	request.operation = ACCESS_CONTROL;
	ck_assert(!access_check(access, &creds, "one", &request, &fault));
	ck_assert_str_eq(fault.text, "ACCESS_REFUSED - control refused by muxd's access section 'web'");
	access_free(access);
}
END_TEST

START_TEST(access__pattern_that_is_wrong_is_named)
{
	static const struct access_rule wrong[] = {
	    {.name = "a", .configure = "", .write = "", .read = ""},
	    {.name = "b", .configure = ".*", .write = "^web(", .read = ".*"},
	};
	struct access_error error;
	struct access *access = NULL;

	ck_assert_int_eq(access_new(wrong, 2, OWN_UID, &access, &error), -EINVAL);
	ck_assert_ptr_null(access);
	ck_assert_uint_eq(error.rule, 1);
	ck_assert_str_eq(error.pattern, "write");
	ck_assert_uint_eq(error.offset, 5);
	ck_assert_str_ne(error.text, "");
}
END_TEST

START_TEST(access__what_is_wrong_is_inside_of_the_pattern)
{
	static const struct access_rule wrong[] = {
	    {.name = "a", .configure = "(*LIMIT_MATCH=1", .write = "", .read = ""}};
	struct access_error error;
	struct access *access = NULL;

	ck_assert_int_eq(access_new(wrong, 1, OWN_UID, &access, &error), -EINVAL);
	ck_assert_uint_le(error.offset, strlen(wrong[0].configure));
}
END_TEST

START_TEST(access__pattern_cannot_switch_to_utf_8)
{
	static const struct access_rule wrong[] = {
	    {.name = "a", .configure = "(*UTF)x", .write = "", .read = ""}};
	struct access_error error;
	struct access *access = NULL;

	ck_assert_int_eq(access_new(wrong, 1, OWN_UID, &access, &error), -EINVAL);
}
END_TEST

/* ------------------------------------------------------------------ limits */

START_TEST(limits__are_lowered_by_the_rule_that_matches_and_never_raised)
{
	const struct limits whole = {.session_memory_bytes = 10000,
				     .message_max_bytes = 5000,
				     .sessions_per_uid = 4,
				     .channels_per_session = 3,
				     .prefetch = 2};
	struct access *access = make(rules, COUNT(rules));
	struct access_creds creds = {.uid = WEB_UID};
	struct limits limits = access_limits(access, &creds, "one", &whole);

	ck_assert_uint_eq(limits.session_memory_bytes, 10000);
	ck_assert_uint_eq(limits.message_max_bytes, 1000);
	ck_assert_uint_eq(limits.sessions_per_uid, 4);
	ck_assert_uint_eq(limits.channels_per_session, 3);
	ck_assert_uint_eq(limits.prefetch, 2);
	creds.uid = OTHER_UID;
	limits = access_limits(access, &creds, "one", &whole);
	ck_assert_uint_eq(limits.message_max_bytes, 5000);
	access_free(access);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy");
	TCase *tests = tcase_create("access");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_loop_test(tests, access__first_rule_that_matches_decides, 0, (int)COUNT(cases));
	tcase_add_test(tests, access__without_rules_everything_is_allowed);
	tcase_add_test(tests, access__rule_without_users_and_groups_matches_everybody);
	tcase_add_test(tests, access__supplementary_groups_count);
	tcase_add_loop_test(tests, access__any_of_many_groups_counts, 0, COUNT(group_examples));
	tcase_add_test(tests, access__user_and_group_must_both_match);
	tcase_add_test(tests, access__overflow_id_matches_numbers_but_no_names);
	tcase_add_test(tests, access__muxd_run_as_nobody_trusts_nobody);
	tcase_add_loop_test(tests, access__names_are_bytes_with_a_length, 0, (int)COUNT(names));
	tcase_add_test(tests, access__name_longer_than_any_is_refused);
	tcase_add_test(tests, access__costly_pattern_refuses_instead_of_holding_the_daemon);
	tcase_add_test(tests, access__cost_counts_wherever_in_a_name_a_pattern_begins);
	tcase_add_test(tests, access__costly_names_of_a_turn_are_bounded_for_each_user);
	tcase_add_test(tests, access__costly_names_of_a_turn_are_bounded_for_all_users);
	tcase_add_test(tests, access__name_that_comes_again_costs_nothing);
	tcase_add_test(tests, access__what_is_remembered_is_of_that_name);
	tcase_add_test(tests, access__without_memory_to_match_refuses_for_now_and_blames_nobody);
	tcase_add_test(tests, access__refusal_says_what_whose_and_by_which_section);
	tcase_add_test(tests, access__pattern_that_is_wrong_is_named);
	tcase_add_test(tests, access__what_is_wrong_is_inside_of_the_pattern);
	tcase_add_test(tests, access__pattern_cannot_switch_to_utf_8);
	tcase_add_test(tests, limits__are_lowered_by_the_rule_that_matches_and_never_raised);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
