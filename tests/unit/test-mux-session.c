#include "tests/unit/mux-rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static struct rig rig;

static struct rig_session *ready(void)
{
	struct rig_session *session = rig_session(&rig);

	for (uint32_t number = 1; number <= 3; number++)
		session_open_channel(session->session, number, 1);
	return session;
}

/* ------------------------------------------------------------------ exclusive queues, names */

START_TEST(exclusive__belongs_to_its_session_from_when_it_is_asked_for)
{
	static const enum amqc_method_id uses[] = {AMQC_QUEUE_DECLARE, AMQC_QUEUE_DELETE, AMQC_QUEUE_PURGE,
						   AMQC_BASIC_CONSUME, AMQC_BASIC_GET,	  AMQC_QUEUE_BIND,
						   AMQC_QUEUE_UNBIND};
	struct rig_session *owner, *other;

	rig_up(&rig);
	owner = ready();
	other = ready();
	rig_declare(owner, 1, "mine", true); /* not sent yet */
	for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
		struct amqc_method method = {.id = uses[i]};

		/* All have the queue's name as their first member. */
		method.queue_declare.queue = SPAN_LITERAL("mine");
		session_open_channel(other->session, (uint32_t)(4 + i), 1);
		rig_request(other, (uint32_t)(4 + i), &method, 0);
		rig_expect_no_event(other); /* the broker may yet refuse the owner */
	}
	rig_serve(&rig);
	for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
		ck_assert_uint_eq(rig_event_of(other, RIG_REFUSED)->code, AMQC_RESOURCE_LOCKED);
		(void)rig_event_of(other, RIG_CHANNEL_ENDED);
	}
	ck_assert_int_eq(rig_event_of(owner, RIG_REPLY)->reply, AMQC_QUEUE_DECLARE_OK);
	/* The owner may use it, from any of its channels. */
	rig_get(owner, 2, "mine");
	rig_serve(&rig);
	ck_assert_int_eq(rig_event_of(owner, RIG_REPLY)->reply, AMQC_BASIC_GET_EMPTY);
	rig_free(&rig);
}
END_TEST

static uint16_t claim_lane;

static bool is_exclusive_declare(const struct rig_frame *frame)
{
	if (frame->method.id != AMQC_QUEUE_DECLARE || !frame->method.queue_declare.exclusive)
		return false;
	claim_lane = frame->lane;
	return true;
}

START_TEST(exclusive__claim_that_the_broker_refuses_disturbs_nobody)
{
	struct rig_session *claimer, *user, *rival;
	struct amqc_method method = {.id = AMQC_QUEUE_DELETE};

	rig_up(&rig);
	claimer = ready();
	user = ready();
	rival = ready();
	/* One queue that muxd knows to be shared, one that it knows nothing of. */
	rig_declare(user, 1, "known", false);
	rig_serve(&rig);
	(void)rig_event_of(user, RIG_REPLY);
	rig_declare(claimer, 1, "known", true);
	rig_declare(claimer, 2, "unknown", true);
	rig_get(user, 1, "known");
	rig_get(user, 2, "unknown");
	method.queue_delete.queue = SPAN_LITERAL("unknown");
	rig_request(user, 3, &method, 0);
	rig_declare(rival, 1, "unknown", true);
	ck_assert_uint_eq(rig_event_of(rival, RIG_REFUSED)->code, AMQC_RESOURCE_LOCKED);
	(void)rig_event_of(rival, RIG_CHANNEL_ENDED);
	rig_serve_but(&rig, is_exclusive_declare);
	ck_assert_int_eq(rig_event_of(user, RIG_REPLY)->reply, AMQC_BASIC_GET_EMPTY);
	rig_expect_no_event(user);
	rig_close_lane(&rig, claim_lane, AMQC_RESOURCE_LOCKED, "RESOURCE_LOCKED");
	rig_serve_but(&rig, is_exclusive_declare);
	ck_assert_int_eq(rig_event_of(user, RIG_REPLY)->reply, AMQC_BASIC_GET_EMPTY);
	ck_assert_int_eq(rig_event_of(user, RIG_REPLY)->reply, AMQC_QUEUE_DELETE_OK);
	ck_assert_uint_eq(rig_event_of(claimer, RIG_REFUSED)->code, AMQC_RESOURCE_LOCKED);
	rig_free(&rig);
}
END_TEST

START_TEST(exclusive__claim_of_a_session_that_died_is_waited_for)
{
	struct rig_session *claimer, *user;

	rig_up(&rig);
	claimer = ready();
	user = ready();
	rig_declare(claimer, 1, "unknown", true);
	rig_turn(&rig);
	rig_end(claimer);
	rig_get(user, 1, "unknown");
	rig_serve_but(&rig, is_exclusive_declare);
	rig_expect_no_event(user);
	rig_close_lane(&rig, claim_lane, AMQC_RESOURCE_LOCKED, "RESOURCE_LOCKED");
	rig_serve(&rig);
	ck_assert_int_eq(rig_event_of(user, RIG_REPLY)->reply, AMQC_BASIC_GET_EMPTY);
	rig_free(&rig);
}
END_TEST

START_TEST(exclusive__is_deleted_when_its_session_ends_and_free_when_that_is_done)
{
	struct rig_session *owner, *other;
	struct rig_frame frame;
	uint16_t lane = 0;

	rig_up(&rig);
	owner = ready();
	other = ready();
	rig_declare(owner, 1, "mine", true);
	rig_serve(&rig);
	rig_end(owner);
	rig_declare(other, 1, "mine", true);
	ck_assert(rig_event_of(other, RIG_REFUSED)->retryable);
	(void)rig_event_of(other, RIG_CHANNEL_ENDED);
	rig_turn(&rig);
	while (rig_next(&rig, &frame)) {
		if (frame.method.id == AMQC_QUEUE_DELETE)
			lane = frame.lane;
		else if (frame.method.id == AMQC_CHANNEL_OPEN)
			rig_say_id(&rig, frame.lane, AMQC_CHANNEL_OPEN_OK);
		else if (frame.method.id == AMQC_CONFIRM_SELECT)
			rig_say_id(&rig, frame.lane, AMQC_CONFIRM_SELECT_OK);
	}
	ck_assert_uint_ne(lane, 0);
	rig_say_id(&rig, lane, AMQC_QUEUE_DELETE_OK);
	rig_declare(other, 2, "mine", true);
	rig_serve(&rig);
	ck_assert_int_eq(rig_event_of(other, RIG_REPLY)->reply, AMQC_QUEUE_DECLARE_OK);
	rig_free(&rig);
}
END_TEST

START_TEST(exclusive__is_free_when_its_declare_failed_or_its_session_has_ended)
{
	struct rig_session *one, *two;
	struct rig_frame frame;

	rig_up(&rig);
	one = ready();
	two = ready();
	rig_declare(one, 1, "a", true);
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	rig_close_lane(&rig, 1, 406, "PRECONDITION_FAILED");
	rig_declare(two, 1, "a", true);
	rig_serve(&rig);
	ck_assert_int_eq(rig_event_of(two, RIG_REPLY)->reply, AMQC_QUEUE_DECLARE_OK);
	rig_end(two);
	rig_serve(&rig);
	rig_declare(one, 2, "a", true);
	rig_serve(&rig);
	ck_assert_int_eq(rig_last(one, RIG_REPLY)->reply, AMQC_QUEUE_DECLARE_OK);
	rig_free(&rig);
}
END_TEST

/* At the broker both are one connection: the get would be answered. */
START_TEST(exclusive__is_not_used_by_what_others_asked_before_it_was_there)
{
	struct rig_session *owner, *other;
	struct amqc_method declared = {.id = AMQC_QUEUE_DECLARE_OK};
	struct rig_frame frame;
	uint16_t lane = 0;

	rig_init(&rig);
	rig.upstream_options.unconfirmed_messages = 1;
	rig_start(&rig);
	rig_connect(&rig, 10, 131072);
	owner = ready();
	other = ready();
	rig_publish(other, 1, "q", SPAN_LITERAL("x"));
	rig_publish(other, 1, "q", SPAN_LITERAL("waits for the window"));
	rig_get(other, 1, "mine"); /* and this behind it */
	rig_declare(owner, 1, "mine", true);
	rig_turn(&rig);
	while (rig_next(&rig, &frame)) {
		ck_assert(frame.type != AMQC_FRAME_METHOD || frame.method.id != AMQC_BASIC_GET);
		if (frame.type == AMQC_FRAME_METHOD && frame.method.id == AMQC_QUEUE_DECLARE)
			lane = frame.lane;
	}
	ck_assert_uint_ne(lane, 0);
	rig_ack(&rig, 1, 1, false);
	rig_turn(&rig);
	while (rig_next(&rig, &frame))
		ck_assert(frame.type != AMQC_FRAME_METHOD || frame.method.id != AMQC_BASIC_GET);
	(void)rig_event_of(other, RIG_OUTCOME);
	rig_expect_no_event(other);
	declared.queue_declare_ok.queue = SPAN_LITERAL("mine");
	rig_say_id(&rig, lane, AMQC_CHANNEL_OPEN_OK);
	rig_say_id(&rig, lane, AMQC_CONFIRM_SELECT_OK);
	rig_say(&rig, lane, &declared);
	rig_turn(&rig);
	ck_assert_int_eq(rig_event_of(owner, RIG_REPLY)->reply, AMQC_QUEUE_DECLARE_OK);
	while (rig_next(&rig, &frame))
		ck_assert(frame.type != AMQC_FRAME_METHOD || frame.method.id != AMQC_BASIC_GET);
	ck_assert_uint_eq(rig_event_of(other, RIG_REFUSED)->code, AMQC_RESOURCE_LOCKED);
	(void)rig_event_of(other, RIG_OUTCOME);
	(void)rig_event_of(other, RIG_CHANNEL_ENDED);
	rig_free(&rig);
}
END_TEST

/* The broker does what was sent, though we close the channel behind it. */
START_TEST(exclusive__stays_when_its_channel_fails_by_our_doing)
{
	struct rig_session *owner, *other;
	struct rig_frame frame;
	bool deleted = false;

	rig_up(&rig);
	owner = ready();
	other = ready();
	rig_declare(owner, 1, "mine", true);
	rig_turn(&rig);
	session_settle(owner->session, 1, SETTLE_ACK, 9, 9);
	(void)rig_event_of(owner, RIG_REFUSED);
	(void)rig_event_of(owner, RIG_CHANNEL_ENDED);
	rig_get(other, 1, "mine");
	ck_assert_uint_eq(rig_event_of(other, RIG_REFUSED)->code, AMQC_RESOURCE_LOCKED);
	rig_get(owner, 2, "mine");
	rig_end(owner);
	rig_turn(&rig);
	while (rig_next(&rig, &frame))
		deleted |= frame.type == AMQC_FRAME_METHOD && frame.method.id == AMQC_QUEUE_DELETE;
	ck_assert(deleted);
	rig_free(&rig);
}
END_TEST

/* On the next connection the name may be another's. */
START_TEST(exclusive__is_not_deleted_on_the_next_connection)
{
	struct rig_session *owner;
	struct rig_frame frame;

	rig_up(&rig);
	owner = ready();
	rig_declare(owner, 1, "mine", true);
	rig_serve(&rig);
	rig_end(owner);
	rig_lose(&rig);
	rig_turn(&rig);
	rig_pass(&rig, 30 * USEC_PER_SEC);
	rig_connect(&rig, 100, 131072);
	while (rig_next(&rig, &frame))
		ck_assert_int_ne(frame.method.id, AMQC_QUEUE_DELETE);
	rig_free(&rig);
}
END_TEST

START_TEST(names__a_queue_without_one_gets_one_of_muxds_and_is_meant_by_the_empty_name)
{
	struct rig_session *session;
	struct rig_frame frame;
	char name[256];

	rig_up(&rig);
	session = ready();
	rig_declare(session, 1, "", false);
	rig_get(session, 1, "");
	rig_turn(&rig);
	rig_open_lane(&rig);
	rig_expect(&rig, AMQC_QUEUE_DECLARE, &frame);
	snprintf(name, sizeof(name), "%.*s", (int)frame.method.queue_declare.queue.len,
		 (const char *)frame.method.queue_declare.queue.data);
	ck_assert_int_eq(strncmp(name, "muxd.gen-", 9), 0);
	ck_assert_uint_ge(strlen(name), 9 + 16);
	rig_expect(&rig, AMQC_BASIC_GET, &frame);
	ck_assert(span_equal_str(frame.method.basic_get.queue, name));
	/* Per channel: the other one has declared none. */
	rig_get(session, 2, "");
	ck_assert_uint_eq(rig_event_of(session, RIG_REFUSED)->code, AMQC_NOT_FOUND);
	(void)rig_event_of(session, RIG_CHANNEL_ENDED);
	/* The prefix is reserved. */
	rig_declare(session, 3, "muxd.gen-me", false);
	ck_assert_uint_eq(rig_event_of(session, RIG_REFUSED)->code, AMQC_ACCESS_REFUSED);
	rig_free(&rig);
}
END_TEST

static void declare_again(struct rig_session *session, uint32_t channel, const char *queue,
			  const char *resume)
{
	struct amqc_method method = {.id = AMQC_QUEUE_DECLARE};
	struct mux_request request = {
	    .id = ++session->last_request, .channel = channel, .method = &method, .resume = span_str(resume)};

	method.queue_declare.queue = span_str(queue);
	method.queue_declare.exclusive = true;
	session_request(session->session, &request);
}

static void expect_refusal(struct rig_session *session, uint16_t code)
{
	const struct rig_event *event = rig_event_of(session, RIG_REFUSED);

	ck_assert_uint_eq(event->code, code);
	ck_assert_int_eq(event->scope, SCOPE_CHANNEL);
	(void)rig_event_of(session, RIG_CHANNEL_ENDED);
}

/* A queue that muxd named, and what declares it again. */
static void declare_unnamed(struct rig_session *session, char *name, char *resume)
{
	const struct rig_event *event;

	rig_declare(session, 1, "", true);
	rig_serve(&rig);
	event = rig_event_of(session, RIG_REPLY);
	ck_assert_uint_eq(strlen(event->resume), 32);
	snprintf(name, 256, "%s", event->queue);
	snprintf(resume, 64, "%s", event->resume);
}

START_TEST(names__one_of_muxds_is_declared_again_with_its_token_after_a_restart)
{
	char name[256], other[256], resume[64], others[64];
	const struct rig_event *event;
	struct rig_session *session;

	rig_up(&rig);
	session = ready();
	declare_unnamed(session, name, resume);
	declare_unnamed(session, other, others);
	ck_assert_str_ne(name, other);
	ck_assert_str_ne(resume, others);
	ck_assert_ptr_null(strstr(name, resume));
	rig_free(&rig);

	rig_up(&rig);
	session = ready();
	declare_again(session, 1, name, resume);
	rig_serve(&rig);
	event = rig_event_of(session, RIG_REPLY);
	ck_assert_str_eq(event->queue, name);
	ck_assert_str_eq(event->resume, resume);
	/* It is the session's, as any exclusive queue. */
	rig_declare(session, 1, name, true);
	rig_serve(&rig);
	ck_assert_str_eq(rig_event_of(session, RIG_REPLY)->queue, name);
	session = ready();
	declare_again(session, 1, name, resume);
	expect_refusal(session, AMQC_RESOURCE_LOCKED);
	/* A queue with a name of its own needs no token, and has none. */
	declare_again(session, 2, "plain", resume);
	rig_serve(&rig);
	ck_assert_str_eq(rig_event_of(session, RIG_REPLY)->resume, "");
	rig_free(&rig);
}
END_TEST

START_TEST(names__one_of_muxds_is_refused_without_its_token_or_with_another_one)
{
	char name[256], other[256], resume[64], others[64], odd[258];
	struct rig_session *session;

	rig_up(&rig);
	session = ready();
	declare_unnamed(session, name, resume);
	declare_unnamed(session, other, others);
	rig_end(session);
	rig_serve(&rig);
	session = ready();
	declare_again(session, 1, name, others);
	expect_refusal(session, AMQC_ACCESS_REFUSED);
	declare_again(session, 2, name, "");
	expect_refusal(session, AMQC_ACCESS_REFUSED);
	resume[31] = 0;
	declare_again(session, 3, name, resume);
	expect_refusal(session, AMQC_ACCESS_REFUSED);
	/* The name is compared as it is meant, without the line ends. */
	session = ready();
	snprintf(odd, sizeof(odd), "muxd.gen-other\r");
	declare_again(session, 1, odd, others);
	expect_refusal(session, AMQC_ACCESS_REFUSED);
	snprintf(odd, sizeof(odd), "%s\n", other);
	declare_again(session, 2, odd, others);
	rig_serve(&rig);
	ck_assert_str_eq(rig_event_of(session, RIG_REPLY)->queue, other);
	rig_free(&rig);
}
END_TEST

/* ------------------------------------------------------------------ breaches */

START_TEST(credit__overrun_ends_the_session_and_nobody_elses)
{
	struct rig_session *session, *other;

	rig_up(&rig);
	other = ready();
	session = ready();
	for (unsigned int i = 0; i < SESSION_STANDING_MESSAGES; i++)
		rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_expect_no_event(session);
	rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	ck_assert_uint_eq(rig_event_of(session, RIG_ENDED)->code, AMQC_RESOURCE_ERROR);
	ck_assert(session_is_ended(session->session));
	rig_publish(session, 1, "q", SPAN_LITERAL("x"));
	rig_end(session);
	rig_publish(other, 1, "q", SPAN_LITERAL("x"));
	rig_serve(&rig);
	ck_assert_int_eq(rig_event_of(other, RIG_OUTCOME)->outcome, OUTCOME_CONFIRMED);
	/* What was within credit was sent and confirmed all the same. */
	ck_assert(upstream_is_drained(rig.upstream));
	ck_assert_uint_eq(rig.hang_ups, 0);
	rig_free(&rig);
}
END_TEST

/* What is open never passes the largest window, however much went through. */
START_TEST(credit__comes_back_once_for_each_publish)
{
	static const uint8_t body[8000];
	struct rig_session *session;
	uint64_t messages, bytes, used = 0;

	rig_up(&rig);
	session = ready();
	for (int round = 0; round < 400; round++) {
		used += 10 + sizeof(body);
		session_want(session->session, (uint64_t)round + 1, used);
		rig_turn(&rig);
		rig_publish(session, 1, "q", span_make(body, sizeof(body)));
		rig_serve(&rig);
		session->event_count = 0;
		session->event_next = 0;
		session_credit_totals(session->session, &messages, &bytes);
		ck_assert_uint_ge(bytes, used);
		ck_assert_uint_le(bytes - used, 2u << 20);
	}
	ck_assert(!session_is_ended(session->session));
	rig_free(&rig);
}
END_TEST

START_TEST(credit__bytes_count_too)
{
	static const uint8_t body[SESSION_STANDING_BYTES];
	struct rig_session *session;

	rig_up(&rig);
	session = ready();
	rig_publish(session, 1, "q", span_make(body, SESSION_STANDING_BYTES - 10));
	rig_expect_no_event(session);
	rig_publish(session, 1, "q", SPAN_NULL);
	(void)rig_event_of(session, RIG_ENDED);
	rig_free(&rig);
}
END_TEST

START_TEST(session__a_body_above_message_max_ends_it)
{
	uint8_t *body = calloc(1, (4u << 20) + 1);
	struct rig_session *session;

	ck_assert_ptr_nonnull(body);
	rig_up(&rig);
	session = ready();
	rig_publish(session, 1, "q", span_make(body, (4u << 20) + 1));
	ck_assert_uint_eq(rig_event_of(session, RIG_ENDED)->code, AMQC_CONTENT_TOO_LARGE);
	free(body);
	rig_free(&rig);
}
END_TEST

START_TEST(session__wrong_channel_numbers_and_generations_end_it)
{
	static const struct {
		uint32_t number, generation;
	} wrong[] = {{0, 1}, {17, 1}, {UINT32_MAX, 1}, {1, 5}, {1, 2}, {4, 0}};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct rig_session *session;

		rig_up(&rig);
		session = rig_session(&rig);
		session_open_channel(session->session, 1, 3);
		rig_expect_no_event(session);
		session_open_channel(session->session, wrong[i].number, wrong[i].generation);
		ck_assert_uint_eq(rig_event_of(session, RIG_ENDED)->code, AMQC_CHANNEL_ERROR);
		rig_free(&rig);
	}
}
END_TEST

START_TEST(session__a_publish_on_a_channel_never_opened_ends_it)
{
	struct rig_session *session;

	rig_up(&rig);
	session = ready();
	rig_publish(session, 9, "q", SPAN_LITERAL("x"));
	ck_assert_uint_eq(rig_event_of(session, RIG_ENDED)->code, AMQC_CHANNEL_ERROR);
	rig_free(&rig);
}
END_TEST

START_TEST(session__there_are_no_more_than_allowed)
{
	struct session_options options;
	struct session *session;

	rig_up(&rig);
	for (size_t i = 0; i < RIG_SESSIONS_MAX; i++)
		(void)rig_session(&rig);
	options = (struct session_options){.upstream = rig.upstream};
	ck_assert_int_eq(session_new(rig.mux, &options, &session), -EUSERS);
	rig_end(&rig.sessions[0]);
	ck_assert_uint_eq(mux_session_count(rig.mux), RIG_SESSIONS_MAX - 1);
	rig_free(&rig);
}
END_TEST

START_TEST(session__many_groups_are_paid_for)
{
	static uint32_t groups[65536];
	struct session_options options;
	struct session *session;

	rig_up(&rig);
	options = (struct session_options){.upstream = rig.upstream,
					   .creds = {.uid = 5, .groups = groups, .group_count = 65536},
					   .limits = {.memory = 200000}};
	ck_assert_int_eq(session_new(rig.mux, &options, &session), -EDQUOT);
	ck_assert_uint_eq(mux_session_count(rig.mux), 0);
	options.limits.memory = 300000;
	ck_assert_int_eq(session_new(rig.mux, &options, &session), 0);
	ck_assert_uint_ge(mux_memory_used(rig.mux), sizeof(groups));
	session_end(session);
	ck_assert_uint_lt(mux_memory_used(rig.mux), sizeof(groups));
	rig_free(&rig);
}
END_TEST

/* ------------------------------------------------------------------ want */

START_TEST(want__is_granted_in_turn)
{
	struct rig_session *sessions[3];
	static uint8_t body[3u << 20];
	const struct rig_event *credit;

	/* Room for one large message, and the standing credit of all. */
	rig_init(&rig);
	rig.options.limits.total_memory = 5u << 20;
	rig.options.limits.session_memory = 4u << 20;
	rig_start(&rig);
	rig_connect(&rig, 10, 131072);
	for (int i = 0; i < 3; i++) {
		sessions[i] = ready();
		session_want(sessions[i]->session, 1, 10 + sizeof(body));
	}
	rig_turn(&rig);
	for (int i = 0; i < 3; i++) {
		/* The first in turn has it, those behind have not. */
		credit = rig_last(sessions[i], RIG_CREDIT);
		ck_assert_ptr_nonnull(credit);
		ck_assert_uint_ge(credit->last, 10 + sizeof(body));
		for (int j = i + 1; j < 3; j++) {
			credit = rig_last(sessions[j], RIG_CREDIT);
			ck_assert(!credit || credit->last < sizeof(body));
		}
		rig_publish(sessions[i], 1, "q", span_make(body, sizeof(body)));
		ck_assert(!session_is_ended(sessions[i]->session));
		rig_serve(&rig);
		rig_turn(&rig);
	}
	rig_free(&rig);
}
END_TEST

START_TEST(want__of_more_than_any_message_needs_is_cut)
{
	struct rig_session *session;
	const struct rig_event *credit;

	rig_up(&rig);
	session = ready();
	session_want(session->session, UINT64_MAX, UINT64_MAX);
	rig_turn(&rig);
	credit = rig_last(session, RIG_CREDIT);
	ck_assert_ptr_nonnull(credit);
	ck_assert_uint_ge(credit->last, 4u << 20);
	ck_assert_uint_le(credit->last, 8u << 20);
	ck_assert_uint_lt(credit->first, 100000);
	rig_free(&rig);
}
END_TEST

START_TEST(want__of_one_that_goes_lets_the_next_have_it)
{
	struct rig_session *one, *two;

	rig_init(&rig);
	rig.options.limits.total_memory = 5u << 20;
	rig.options.limits.session_memory = 4u << 20;
	rig_start(&rig);
	rig_connect(&rig, 10, 131072);
	one = ready();
	two = ready();
	session_want(one->session, 1, 3u << 20);
	session_want(two->session, 1, 3u << 20);
	rig_turn(&rig);
	ck_assert(!rig_last(two, RIG_CREDIT) || rig_last(two, RIG_CREDIT)->last < 3u << 20);
	rig_end(one);
	rig_turn(&rig);
	ck_assert_ptr_nonnull(rig_last(two, RIG_CREDIT));
	ck_assert_uint_ge(rig_last(two, RIG_CREDIT)->last, 3u << 20);
	rig_free(&rig);
}
END_TEST

/* ------------------------------------------------------------------ memory */

START_TEST(memory__that_all_have_used_up_is_told_with_who_has_most)
{
	const struct rig_event *refused = NULL;
	struct rig_session *session;
	char queue[251];

	rig_init(&rig);
	rig.options.limits.total_memory = 96u << 10;
	rig.options.limits.session_memory = 64u << 20;
	rig_start(&rig);
	rig_connect(&rig, 10, 131072);
	session = ready();
	memset(queue, 'q', sizeof(queue) - 1);
	queue[sizeof(queue) - 1] = 0;
	for (int i = 0; i < (int)SESSION_REQUESTS_MAX && !refused; i++) {
		rig_declare(session, 1, queue, false);
		refused = rig_last(session, RIG_REFUSED);
	}
	ck_assert_ptr_nonnull(refused);
	ck_assert_uint_eq(refused->code, AMQC_RESOURCE_ERROR);
	ck_assert(refused->retryable);
	ck_assert_msg(strstr(refused->text, "total-memory is 98304 bytes") &&
			  strstr(refused->text, "and most uses uid "),
		      "%s", refused->text);
	rig_free(&rig);
}
END_TEST

/* ------------------------------------------------------------------ the end */

START_TEST(session__that_ends_gives_everything_back_and_sends_what_it_published)
{
	struct rig_session *session;
	struct rig_frame frame;
	bool published = false, cancelled = false, returned = false;

	rig_up(&rig);
	session = ready();
	rig_consume(session, 1, 1, "q", "tag", 1);
	rig_serve(&rig);
	rig_deliver(&rig, 1, "tag", 1, "with the client");
	rig_deliver(&rig, 1, "tag", 2, "waits for credit");
	rig_publish(session, 1, "q", SPAN_LITERAL("last words"));
	rig_declare(session, 2, "asked", false);
	rig_get(session, 2, "not any more");
	rig_end(session);
	rig_turn(&rig);
	while (rig_next(&rig, &frame)) {
		if (frame.type != AMQC_FRAME_METHOD)
			continue;
		ck_assert_int_ne(frame.method.id, AMQC_BASIC_GET);
		published |= frame.method.id == AMQC_BASIC_PUBLISH;
		cancelled |= frame.method.id == AMQC_BASIC_CANCEL;
		if (frame.method.id == AMQC_BASIC_NACK) {
			ck_assert(cancelled);
			ck_assert(frame.method.basic_nack.requeue);
			returned |= frame.method.basic_nack.delivery_tag == 2;
		}
	}
	ck_assert(published);
	ck_assert(returned);
	ck_assert_uint_eq(mux_session_count(rig.mux), 0);
	ck_assert(!upstream_is_drained(rig.upstream));
	rig_say_id(&rig, 1, AMQC_BASIC_CANCEL_OK);
	rig_ack(&rig, 1, 1, false);
	rig_turn(&rig);
	ck_assert(upstream_is_drained(rig.upstream));
	ck_assert_uint_eq(rig_expect(&rig, AMQC_CHANNEL_CLOSE, &frame), 1);
	/* The other channel still waits to be done. */
	ck_assert_uint_gt(mux_memory_used(rig.mux), 0);
	rig_say_id(&rig, 2, AMQC_CHANNEL_OPEN_OK);
	rig_say_id(&rig, 2, AMQC_CONFIRM_SELECT_OK);
	rig_say_id(&rig, 2, AMQC_QUEUE_DECLARE_OK);
	rig_turn(&rig);
	ck_assert_uint_eq(mux_memory_used(rig.mux), 0);
	rig_free(&rig);
}
END_TEST

START_TEST(session__pays_for_its_channels_and_has_no_more_than_fit)
{
	struct rig_session *session;
	uint32_t number = 0;

	rig_init(&rig);
	rig.options.limits.session_memory = 24000;
	rig.options.limits.channels_per_session = 40;
	rig_start(&rig);
	session = rig_session(&rig);
	while (!rig_last(session, RIG_CHANNEL_ENDED))
		session_open_channel(session->session, ++number, 1);
	ck_assert_uint_gt(number, 2);
	ck_assert_uint_lt(number, 20);
	ck_assert_uint_eq(rig_last(session, RIG_CHANNEL_ENDED)->code, AMQC_RESOURCE_ERROR);
	/* It may try the same one again, but not have any number of failed ones. */
	for (uint32_t i = 2; i < 50; i++)
		session_open_channel(session->session, number, i);
	ck_assert(!session_is_ended(session->session));
	for (uint32_t i = 1; i <= 16; i++)
		session_open_channel(session->session, number + i, 1);
	ck_assert(session_is_ended(session->session));
	ck_assert_uint_eq(rig_last(session, RIG_ENDED)->code, AMQC_RESOURCE_ERROR);
	rig_end(session);
	rig_turn(&rig);
	ck_assert_uint_eq(mux_memory_used(rig.mux), 0);
	rig_free(&rig);
}
END_TEST

START_TEST(session__can_be_looked_at)
{
	struct session_info info;
	struct channel_info channel;
	struct rig_session *session;

	rig_up(&rig);
	(void)ready();
	session = ready();
	rig_consume(session, 2, 1, "q", "tag", 5);
	rig_serve(&rig);
	rig_deliver(&rig, 1, "tag", 1, "x");
	rig_publish(session, 3, "q", SPAN_LITERAL("x"));
	rig_turn(&rig);
	ck_assert(mux_next_session(rig.mux, session_id(rig.sessions[0].session), &info));
	ck_assert_uint_eq(info.id, session_id(session->session));
	ck_assert_uint_eq(info.pid, 7);
	ck_assert(span_equal_str(info.program, "test"));
	ck_assert_uint_eq(info.channels, 3);
	ck_assert_uint_eq(info.consumers, 1);
	ck_assert_uint_eq(info.unacked, 1);
	ck_assert_uint_eq(info.unconfirmed, 1);
	ck_assert(!mux_next_session(rig.mux, info.id, &info));
	ck_assert(mux_next_channel(rig.mux, session_id(session->session), 1, &channel));
	ck_assert_uint_eq(channel.id.number, 2);
	ck_assert_uint_eq(channel.lane, 1);
	ck_assert_uint_eq(channel.consumers, 1);
	ck_assert(mux_next_channel(rig.mux, session_id(session->session), 2, &channel));
	ck_assert_uint_eq(channel.unconfirmed, 1);
	ck_assert(!mux_next_channel(rig.mux, session_id(session->session), 3, &channel));
	rig_free(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux-session");
	TCase *tcase = tcase_create("mux-session");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, exclusive__belongs_to_its_session_from_when_it_is_asked_for);
	tcase_add_test(tcase, exclusive__is_deleted_when_its_session_ends_and_free_when_that_is_done);
	tcase_add_test(tcase, exclusive__claim_that_the_broker_refuses_disturbs_nobody);
	tcase_add_test(tcase, exclusive__claim_of_a_session_that_died_is_waited_for);
	tcase_add_test(tcase, exclusive__is_free_when_its_declare_failed_or_its_session_has_ended);
	tcase_add_test(tcase, exclusive__is_not_used_by_what_others_asked_before_it_was_there);
	tcase_add_test(tcase, exclusive__stays_when_its_channel_fails_by_our_doing);
	tcase_add_test(tcase, exclusive__is_not_deleted_on_the_next_connection);
	tcase_add_test(tcase, names__one_of_muxds_is_declared_again_with_its_token_after_a_restart);
	tcase_add_test(tcase, names__one_of_muxds_is_refused_without_its_token_or_with_another_one);
	tcase_add_test(tcase, names__a_queue_without_one_gets_one_of_muxds_and_is_meant_by_the_empty_name);
	tcase_add_test(tcase, credit__overrun_ends_the_session_and_nobody_elses);
	tcase_add_test(tcase, credit__comes_back_once_for_each_publish);
	tcase_add_test(tcase, credit__bytes_count_too);
	tcase_add_test(tcase, session__a_body_above_message_max_ends_it);
	tcase_add_test(tcase, session__wrong_channel_numbers_and_generations_end_it);
	tcase_add_test(tcase, session__a_publish_on_a_channel_never_opened_ends_it);
	tcase_add_test(tcase, session__there_are_no_more_than_allowed);
	tcase_add_test(tcase, session__many_groups_are_paid_for);
	tcase_add_test(tcase, want__is_granted_in_turn);
	tcase_add_test(tcase, want__of_more_than_any_message_needs_is_cut);
	tcase_add_test(tcase, want__of_one_that_goes_lets_the_next_have_it);
	tcase_add_test(tcase, memory__that_all_have_used_up_is_told_with_who_has_most);
	tcase_add_test(tcase, session__that_ends_gives_everything_back_and_sends_what_it_published);
	tcase_add_test(tcase, session__pays_for_its_channels_and_has_no_more_than_fit);
	tcase_add_test(tcase, session__can_be_looked_at);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
