/*
 * Dialling on loopback, with a name service of the test's own: getaddrinfo is
 * wrapped, and gives the addresses that the test listed. What must answer
 * nothing is a listener whose queue is full.
 */
#include "daemon/net/dial.h"

#include <arpa/inet.h>
#include <check.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ADDRESSES_MAX 4
#define FILLERS 8

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		       struct addrinfo **ret);
void __wrap_freeaddrinfo(struct addrinfo *addresses);

struct place {
	struct addrinfo info;
	struct sockaddr_in address;
	int listener; /* -1: none */
	int fillers[FILLERS];
};

static struct place places[ADDRESSES_MAX];
static size_t place_count;

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		       struct addrinfo **ret)
{
	if (hints->ai_flags & AI_NUMERICHOST || place_count == 0)
		return EAI_NONAME;
	for (size_t i = 0; i < place_count; i++)
		places[i].info.ai_next = i + 1 < place_count ? &places[i + 1].info : NULL;
	*ret = &places[0].info;
	return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *addresses)
{
}

struct outcome {
	int fd;
	size_t number;
	char reason[256];
	bool done;
};

static void on_connected(void *context, int fd, size_t number)
{
	struct outcome *outcome = context;

	outcome->fd = fd;
	outcome->number = number;
	outcome->done = true;
}

static void on_failed(void *context, const char *reason)
{
	struct outcome *outcome = context;

	outcome->fd = -1;
	strncpy(outcome->reason, reason, sizeof(outcome->reason) - 1);
	outcome->done = true;
}

/* An address of the host, 127.0.0.(1 + its number); without a backlog nobody listens. */
static void add_place(int backlog)
{
	struct place *place = &places[place_count++];
	socklen_t len = sizeof(place->address);

	*place = (struct place){.listener = socket(AF_INET, SOCK_STREAM, 0)};
	place->address.sin_family = AF_INET;
	place->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)place_count - 1);
	ck_assert_int_eq(bind(place->listener, (void *)&place->address, len), 0);
	ck_assert_int_eq(getsockname(place->listener, (void *)&place->address, &len), 0);
	place->info = (struct addrinfo){.ai_family = AF_INET,
					.ai_socktype = SOCK_STREAM,
					.ai_addrlen = len,
					.ai_addr = (void *)&place->address};
	if (backlog >= 0)
		ck_assert_int_eq(listen(place->listener, backlog), 0);
	for (size_t i = 0; i < FILLERS; i++)
		place->fillers[i] = -1;
}

/* One that answers nothing: its queue is full, so that it drops the next SYN. */
static void add_silent_place(void)
{
	struct place *place = &places[place_count];

	add_place(0);
	for (size_t i = 0; i < FILLERS; i++) {
		place->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(place->fillers[i], (void *)&place->address, sizeof(place->address));
	}
}

static void close_places(void)
{
	for (size_t i = 0; i < place_count; i++) {
		close(places[i].listener);
		for (size_t k = 0; k < FILLERS; k++)
			if (places[i].fillers[k] >= 0)
				close(places[i].fillers[k]);
	}
	place_count = 0;
}

/* Dials the host of the places; returns how long that took, in ms. */
static uint64_t dial_host(size_t first, uint64_t timeout_usec, struct outcome *ret)
{
	struct dial_options options = {.host = "broker.test",
				       .port = "5672",
				       .first = first,
				       .timeout_usec = timeout_usec,
				       .on_connected = on_connected,
				       .on_failed = on_failed,
				       .context = ret};
	struct dial *dial;
	struct mono began;

	*ret = (struct outcome){.fd = -1};
	ck_assert_int_eq(loop_new(&options.loop), 0);
	ck_assert_int_eq(resolver_new(options.loop, &options.resolver), 0);
	began = loop_now(options.loop);
	ck_assert_int_eq(dial_start(&options, &dial), 0);
	while (!ret->done)
		ck_assert_int_eq(loop_turn(options.loop, true), 0);
	began.usec = mono_since_usec(loop_now(options.loop), began);
	if (ret->fd >= 0)
		close(ret->fd);
	resolver_free(options.resolver);
	loop_free(options.loop);
	return began.usec / USEC_PER_MSEC;
}

START_TEST(dial__all_addresses_of_a_name_are_tried_in_their_order)
{
	struct outcome outcome;

	add_place(-1);
	add_place(-1);
	add_place(5);
	add_place(5);
	(void)dial_host(0, 5 * USEC_PER_SEC, &outcome);
	ck_assert_int_ge(outcome.fd, 0);
	ck_assert_uint_eq(outcome.number, 2);
	close_places();
}
END_TEST

START_TEST(dial__begins_with_the_address_it_is_told_and_goes_round)
{
	struct outcome outcome;

	add_place(5);
	add_place(-1);
	add_place(5);
	(void)dial_host(1, 5 * USEC_PER_SEC, &outcome);
	ck_assert_uint_eq(outcome.number, 2);
	(void)dial_host(3, 5 * USEC_PER_SEC, &outcome);
	ck_assert_uint_eq(outcome.number, 0);
	(void)dial_host(7, 5 * USEC_PER_SEC, &outcome);
	ck_assert_uint_eq(outcome.number, 2);
	close_places();
}
END_TEST

START_TEST(dial__one_address_that_is_silent_leaves_time_for_the_next)
{
	struct outcome outcome;
	uint64_t took;

	add_silent_place();
	add_place(5);
	took = dial_host(0, 800 * USEC_PER_MSEC, &outcome);
	ck_assert_int_ge(outcome.fd, 0);
	ck_assert_uint_eq(outcome.number, 1);
	ck_assert_uint_ge(took, 399);
	close_places();
}
END_TEST

START_TEST(dial__fails_at_its_deadline_with_the_reason_of_the_last_address)
{
	struct outcome outcome;
	uint64_t took;

	add_place(-1);
	add_silent_place();
	took = dial_host(0, 300 * USEC_PER_MSEC, &outcome);
	ck_assert_int_eq(outcome.fd, -1);
	ck_assert_msg(strstr(outcome.reason, "connect to 127.0.0.2:") && strstr(outcome.reason, "timed out"),
		      "%s", outcome.reason);
	ck_assert_uint_ge(took, 299);
	close_places();
}
END_TEST

START_TEST(dial__fails_at_once_when_nobody_listens)
{
	struct outcome outcome;

	add_place(-1);
	add_place(-1);
	(void)dial_host(0, 3600 * USEC_PER_SEC, &outcome);
	ck_assert_int_eq(outcome.fd, -1);
	ck_assert_msg(strstr(outcome.reason, "refused"), "%s", outcome.reason);
	close_places();
}
END_TEST

START_TEST(dial__a_name_that_is_unknown_fails_with_the_name)
{
	struct outcome outcome;

	(void)dial_host(0, 5 * USEC_PER_SEC, &outcome);
	ck_assert_int_eq(outcome.fd, -1);
	ck_assert_msg(strstr(outcome.reason, "broker.test"), "%s", outcome.reason);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("net-dial");
	TCase *tcase = tcase_create("net-dial");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, dial__all_addresses_of_a_name_are_tried_in_their_order);
	tcase_add_test(tcase, dial__begins_with_the_address_it_is_told_and_goes_round);
	tcase_add_test(tcase, dial__one_address_that_is_silent_leaves_time_for_the_next);
	tcase_add_test(tcase, dial__fails_at_its_deadline_with_the_reason_of_the_last_address);
	tcase_add_test(tcase, dial__fails_at_once_when_nobody_listens);
	tcase_add_test(tcase, dial__a_name_that_is_unknown_fails_with_the_name);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
