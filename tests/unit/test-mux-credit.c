/*
 * Publish credit, from the side of a client that asks as PROTOCOL.md lets it:
 * once for each message that does not fit, and then waits.
 */
#include "tests/unit/mux-world.h"
#include "tests/unit/random.h"

#include <check.h>
#include <stdlib.h>

#define MESSAGE_MAX (2u << 20) /* as in mux-world */

struct client {
	struct session *session;
	uint64_t used_messages, used_bytes;
	uint64_t confirmed; /* delivery tag of the lane */
	uint64_t wants;
};

static struct client client_begin(void)
{
	struct client client = {.session = NULL};

	world_begin(0, 16384);
	client.session = world_session();
	session_open_channel(client.session, 1, 1);
	session_credit_totals(client.session, &world.credit_messages, &world.credit_bytes);
	return client;
}

static bool fits(const struct client *client, uint64_t cost)
{
	return client->used_messages < world.credit_messages &&
	       cost <= world.credit_bytes - client->used_bytes;
}

static void publish(struct client *client, uint64_t cost)
{
	static const struct amqc_properties properties;

	session_publish(client->session, &(struct mux_publish){.channel = 1,
							       .cost_bytes = cost,
							       .routing_key = SPAN_LITERAL("q"),
							       .properties = &properties,
							       .body = SPAN_LITERAL("m")});
	client->used_messages++;
	client->used_bytes += cost;
	ck_assert(!session_is_ended(client->session));
}

static void want(struct client *client, uint64_t cost)
{
	session_want(client->session, client->used_messages + 1, client->used_bytes + cost);
	client->wants++;
	world_turn();
}

/* The broker confirms some of what is under way. */
static void confirm_some(struct client *client, struct random *random)
{
	uint64_t open = client->used_messages - client->confirmed;

	world_turn(); /* what was published goes out */
	for (uint64_t left = open ? random_below(random, (uint32_t)open) + 1 : 0; left > 0; left--)
		world_confirm(1, ++client->confirmed);
	world_turn();
}

/* Sizes from a few bytes to the largest, each order of magnitude as often. */
static uint64_t random_cost(struct random *random)
{
	uint64_t cost = 32ull << random_below(random, 16);

	return cost + random_below(random, (uint32_t)cost) / 2;
}

START_TEST(credit__is_never_short_of_a_message_that_was_asked_for)
{
	struct random random = random_make((uint64_t)_i);
	struct client client = client_begin();

	for (unsigned int i = 0; i < 2000; i++) {
		uint64_t cost = random_cost(&random);

		if (!fits(&client, cost))
			want(&client, cost);
		while (!fits(&client, cost)) {
			ck_assert_msg(client.confirmed < client.used_messages,
				      "seed %d: message %u of %llu bytes waits, and nothing is under way", _i,
				      i, (unsigned long long)cost);
			confirm_some(&client, &random);
		}
		publish(&client, cost);
		if (random_below(&random, 64) == 0)
			confirm_some(&client, &random);
	}
	world_end();
}
END_TEST

START_TEST(credit__comes_in_steps_that_are_worth_a_frame)
{
	struct random random = random_make(1);
	struct client client = client_begin();

	for (unsigned int i = 0; i < 20000; i++) {
		if (!fits(&client, 116))
			want(&client, 116);
		while (!fits(&client, 116))
			confirm_some(&client, &random);
		publish(&client, 116);
	}
	/* A window of 4,096 messages in steps of a quarter: about 20, and some while it grows. */
	ck_assert_uint_lt(client.wants, 60);
	world_end();
}
END_TEST

START_TEST(credit__goes_back_to_the_standing_charge_when_all_is_confirmed_and_the_session_ends)
{
	struct random random = random_make(2);
	struct client client = client_begin();

	want(&client, MESSAGE_MAX);
	ck_assert(fits(&client, MESSAGE_MAX));
	ck_assert_uint_ge(mux_memory_used(world.mux), MESSAGE_MAX);
	publish(&client, MESSAGE_MAX);
	while (client.confirmed < client.used_messages)
		confirm_some(&client, &random);
	session_end(client.session);
	world_turn();
	ck_assert_uint_eq(mux_memory_used(world.mux), 0);
	world_end();
}
END_TEST

static Suite *make_suite(void)
{
	Suite *suite = suite_create("mux-credit");
	TCase *tcase = tcase_create("credit");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, credit__is_never_short_of_a_message_that_was_asked_for, 0, 8);
	tcase_add_test(tcase, credit__comes_in_steps_that_are_worth_a_frame);
	tcase_add_test(tcase,
		       credit__goes_back_to_the_standing_charge_when_all_is_confirmed_and_the_session_ends);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(make_suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
