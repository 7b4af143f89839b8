/* What a reload changes while mux runs: endpoints, limits, rules. */
#include "tests/unit/mux-rig.h"

#include <stdlib.h>

static struct rig rig;
/* Of an upstream that is not started: nobody calls them. */
static const struct upstream_ops no_ops;

static const struct upstream_endpoint others[] = {
    {.label = "three:5672", .vhost = "/", .user = "u", .password = "p"},
    {.label = "four:5672", .vhost = "/", .user = "u", .password = "p"},
};

static struct upstream_info info(void)
{
	struct upstream_info info;

	upstream_get_info(rig.upstream, &info);
	return info;
}

/* Returns the index of the endpoint in use. */
static size_t alter(const struct upstream_options *options)
{
	struct upstream_change *change;
	size_t in_use;

	ck_assert_int_eq(upstream_change_new(options, &change), 0);
	in_use = upstream_alter(rig.upstream, change);
	upstream_try_anew(rig.upstream);
	return in_use;
}

START_TEST(alter__a_connection_outlives_its_endpoint)
{
	struct upstream_options options;

	rig_init(&rig);
	rig_start(&rig);
	rig_connect(&rig, 50, 131072);
	options = rig.upstream_options;
	options.endpoints = others;
	options.endpoint_count = 2;
	options.name = "other";
	options.queue_prefix = "other-";
	ck_assert_uint_eq(alter(&options), 2);
	ck_assert_int_eq(info().state, UPSTREAM_UP);
	ck_assert_uint_eq(rig.hang_ups, 0);
	ck_assert_str_eq(info().endpoint, "one:5672");
	ck_assert(!info().listed);
	/* What sessions know it by stays. */
	ck_assert_str_eq(info().name, "default");
	ck_assert_str_eq(info().queue_prefix, rig.upstream_options.queue_prefix);
	/* Again: it is still the one behind the listed ones. */
	options.endpoint_count = 1;
	ck_assert_uint_eq(alter(&options), 1);
	ck_assert_str_eq(info().endpoint, "one:5672");
	/* The next connection goes to the first of the new ones. */
	rig_lose(&rig);
	rig_pass(&rig, 60 * USEC_PER_SEC);
	ck_assert_uint_eq(rig.dials, 2);
	ck_assert_uint_eq(rig.dialled, 0);
	ck_assert_str_eq(info().endpoint, "three:5672");
	ck_assert(info().listed);
	rig_free(&rig);
}
END_TEST

START_TEST(alter__an_endpoint_that_moves_in_the_list_is_followed)
{
	struct upstream_options options;
	struct upstream_endpoint endpoints[2];

	rig_init(&rig);
	rig_start(&rig);
	rig_connect(&rig, 50, 131072);
	options = rig.upstream_options;
	endpoints[0] = others[0];
	endpoints[1] = rig.upstream_options.endpoints[0];
	endpoints[1].password = "another";
	options.endpoints = endpoints;
	options.endpoint_count = 2;
	ck_assert_uint_eq(alter(&options), 1);
	ck_assert_str_eq(info().endpoint, "one:5672");
	ck_assert(info().listed);
	rig_free(&rig);
}
END_TEST

START_TEST(alter__who_waits_dials_at_once_and_who_dials_begins_anew)
{
	struct upstream_options options;

	rig_init(&rig);
	rig_start(&rig);
	options = rig.upstream_options;
	options.endpoints = others;
	options.endpoint_count = 2;
	ck_assert_uint_eq(rig.dials, 1);
	(void)alter(&options);
	ck_assert_uint_eq(rig.hang_ups, 1);
	ck_assert_uint_eq(rig.dials, 2);
	ck_assert_uint_eq(rig.dialled, 0);
	ck_assert_str_eq(info().endpoint, "three:5672");
	/* In the middle of the handshake, whose strings would be gone. */
	upstream_dialled(rig.upstream);
	(void)alter(&options);
	ck_assert_uint_eq(rig.hang_ups, 2);
	ck_assert_uint_eq(rig.dials, 3);
	upstream_dial_failed(rig.upstream, "connection refused");
	rig_pass(&rig, 0);
	upstream_dial_failed(rig.upstream, "connection refused");
	ck_assert_int_eq(info().state, UPSTREAM_BACKOFF);
	(void)alter(&rig.upstream_options);
	ck_assert_uint_eq(rig.dials, 5);
	ck_assert_str_eq(info().endpoint, "one:5672");
	rig_connect(&rig, 50, 131072);
	ck_assert_int_eq(info().state, UPSTREAM_UP);
	rig_free(&rig);
}
END_TEST

START_TEST(alter__a_retired_upstream_takes_no_sessions_and_frees_its_name)
{
	struct upstream *second;

	rig_init(&rig);
	rig_start(&rig);
	rig_connect(&rig, 50, 131072);
	upstream_retire(rig.upstream);
	ck_assert_ptr_null(mux_find_upstream(rig.mux, SPAN_NULL));
	ck_assert_ptr_null(mux_find_upstream(rig.mux, span_str("default")));
	ck_assert_int_eq(upstream_new(rig.mux, &rig.upstream_options, &no_ops, &rig, &second), 0);
	ck_assert_ptr_eq(mux_find_upstream(rig.mux, SPAN_NULL), second);
	upstream_free(second);
	rig_free(&rig);
}
END_TEST

START_TEST(alter__lower_limits_end_a_channel_and_higher_ones_help_at_once)
{
	struct session_limits lower = {.channels = 4, .message_max = 1000, .memory = 1u << 20};
	struct rig_session *session;
	const struct rig_event *event;
	static uint8_t body[2000];

	rig_init(&rig);
	rig_start(&rig);
	rig_connect(&rig, 50, 131072);
	session = rig_ready(&rig, 6);
	session_set_limits(session->session, &lower);
	session_open_channel(session->session, 7, 1);
	event = rig_last(session, RIG_CHANNEL_ENDED);
	ck_assert_uint_eq(event->channel.number, 7);
	rig_publish(session, 2, "q", span_make(body, sizeof(body)));
	rig_turn(&rig);
	ck_assert(!session_is_ended(session->session));
	ck_assert_uint_eq(rig_last(session, RIG_CHANNEL_ENDED)->channel.number, 2);
	session_set_limits(session->session, &(struct session_limits){0});
	session_open_channel(session->session, 7, 2);
	rig_publish(session, 3, "q", span_make(body, sizeof(body)));
	rig_turn(&rig);
	ck_assert_ptr_null(rig_last(session, RIG_ENDED));
	ck_assert(!session_is_ended(session->session));
	rig_free(&rig);
}
END_TEST

/*
 * One that was told of larger messages than all of the memory is by now wants
 * room for one: it cannot have that, and must not keep the others from theirs.
 */
START_TEST(alter__who_wants_more_than_there_is_any_more_holds_nobody_up)
{
	struct mux_limits lower;
	struct rig_session *old, *other;
	const struct rig_event *event;

	rig_init(&rig);
	rig_start(&rig);
	rig_connect(&rig, 50, 131072);
	old = rig_ready(&rig, 1);
	lower = rig.options.limits;
	lower.total_memory = 2u << 20;
	lower.session_memory = 1u << 20;
	lower.message_max = 512u << 10;
	mux_set_limits(rig.mux, &lower);
	session_want(old->session, 1, rig.options.limits.message_max);
	rig_turn(&rig);
	other = rig_session(&rig);
	session_want(other->session, 1, 300000);
	rig_turn(&rig);
	event = rig_last(other, RIG_CREDIT);
	ck_assert_ptr_nonnull(event);
	ck_assert_uint_ge(event->last, 300000);
	/* It has left the line: what it asks for cannot be had. */
	event = rig_last(old, RIG_ENDED);
	ck_assert_ptr_nonnull(event);
	ck_assert_uint_eq(event->code, 506);
	ck_assert(event->retryable);
	rig_free(&rig);
}
END_TEST

/* The same where there is room for it: it has it, and is refused for its size, as others are. */
START_TEST(alter__who_wants_more_than_it_may_has_it_if_there_is_room)
{
	struct mux_limits lower;
	struct rig_session *old;
	const struct rig_event *event;

	rig_init(&rig);
	rig_start(&rig);
	rig_connect(&rig, 50, 131072);
	old = rig_ready(&rig, 1);
	lower = rig.options.limits;
	lower.session_memory = 1u << 20;
	lower.message_max = 512u << 10;
	mux_set_limits(rig.mux, &lower);
	session_want(old->session, 1, rig.options.limits.message_max);
	rig_turn(&rig);
	event = rig_last(old, RIG_CREDIT);
	ck_assert_ptr_nonnull(event);
	ck_assert_uint_ge(event->last, rig.options.limits.message_max);
	ck_assert(!session_is_ended(old->session));
	rig_free(&rig);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mux-alter");
	TCase *tcase = tcase_create("mux-alter");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, alter__a_connection_outlives_its_endpoint);
	tcase_add_test(tcase, alter__an_endpoint_that_moves_in_the_list_is_followed);
	tcase_add_test(tcase, alter__who_waits_dials_at_once_and_who_dials_begins_anew);
	tcase_add_test(tcase, alter__a_retired_upstream_takes_no_sessions_and_frees_its_name);
	tcase_add_test(tcase, alter__lower_limits_end_a_channel_and_higher_ones_help_at_once);
	tcase_add_test(tcase, alter__who_wants_more_than_there_is_any_more_holds_nobody_up);
	tcase_add_test(tcase, alter__who_wants_more_than_it_may_has_it_if_there_is_room);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
