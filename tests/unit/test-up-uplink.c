/*
 * An uplink with a real mux and real sockets on loopback: which address of a
 * name is dialled next. getaddrinfo is wrapped, and gives two addresses.
 */
#include "daemon/up/uplink.h"

#include "daemon/net/loop.h"

#include <arpa/inet.h>
#include <check.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		       struct addrinfo **ret);
void __wrap_freeaddrinfo(struct addrinfo *addresses);

static struct sockaddr_in addresses[2];
static struct addrinfo infos[2];
static int listeners[2];

static struct mux *mux;
static struct uplink *uplink;

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
		       struct addrinfo **ret)
{
	if (hints->ai_flags & AI_NUMERICHOST)
		return EAI_NONAME;
	infos[0].ai_next = &infos[1];
	infos[1].ai_next = NULL;
	*ret = infos;
	return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *list)
{
}

static void listen_on(size_t i)
{
	socklen_t len = sizeof(addresses[i]);

	listeners[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	addresses[i].sin_family = AF_INET;
	addresses[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)i);
	ck_assert_int_eq(bind(listeners[i], (void *)&addresses[i], len), 0);
	ck_assert_int_eq(getsockname(listeners[i], (void *)&addresses[i], &len), 0);
	ck_assert_int_eq(listen(listeners[i], 5), 0);
	infos[i] = (struct addrinfo){.ai_family = AF_INET,
				     .ai_socktype = SOCK_STREAM,
				     .ai_addrlen = len,
				     .ai_addr = (void *)&addresses[i]};
}

static void on_begin(void *context, struct mono now)
{
	mux_set_now(mux, now);
}

static struct mono on_deadline(void *context)
{
	return mux_next_deadline(mux);
}

static void on_timers(void *context)
{
	mux_run_timers(mux);
}

static void on_turn(void *context)
{
	mux_turn(mux);
	uplink_turn(uplink);
}

static const struct loop_hooks hooks = {
    .begin = on_begin, .next_deadline = on_deadline, .run_timers = on_timers, .turn = on_turn};

static void no_jitter(void *context, void *out, size_t count)
{
	memset(out, 0, count);
}

/* Turns until somebody connects; returns to which address, and the socket. */
static size_t accepted(struct loop *loop, int *ret_fd)
{
	for (;;) {
		for (size_t i = 0; i < 2; i++) {
			*ret_fd = accept(listeners[i], NULL, NULL);
			if (*ret_fd >= 0)
				return i;
		}
		ck_assert_int_eq(loop_turn(loop, true), 0);
	}
}

/* The first broker of a name accepts and says nothing, the second hangs up: each has its turn. */
START_TEST(uplink__an_address_that_does_not_finish_the_handshake_comes_last_next_time)
{
	static const size_t expected[] = {0, 1, 0, 1};
	struct upstream_endpoint endpoint = {"broker.test:5672", "/", "guest", "guest"};
	struct upstream_options upstream = {.name = "default",
					    .endpoints = &endpoint,
					    .endpoint_count = 1,
					    .sasl = "PLAIN",
					    .connect_timeout_usec = 200 * USEC_PER_MSEC,
					    .reconnect_min_usec = USEC_PER_MSEC,
					    .reconnect_max_usec = USEC_PER_MSEC,
					    .queue_prefix = ""};
	struct mux_options options = {.limits = {.total_memory = 1u << 20}, .random = no_jitter};
	struct uplink_endpoint place = {"broker.test", "5672", false};
	struct uplink_options body = {.upstream = &upstream, .endpoints = &place};
	int fds[4];

	listen_on(0);
	listen_on(1);
	ck_assert_int_eq(loop_new(&body.loop), 0);
	ck_assert_int_eq(resolver_new(body.loop, &body.resolver), 0);
	ck_assert_int_eq(mux_new(&options, &mux), 0);
	body.mux = mux;
	ck_assert_int_eq(uplink_new(&body, &uplink), 0);
	loop_set_hooks(body.loop, &hooks, NULL);
	mux_set_now(mux, loop_now(body.loop));
	upstream_start(uplink_upstream(uplink));
	for (size_t i = 0; i < 4; i++) {
		ck_assert_uint_eq(accepted(body.loop, &fds[i]), expected[i]);
		if (expected[i] == 1)
			close(fds[i]);
	}
	uplink = uplink_free(uplink);
	mux_free(mux);
	resolver_free(body.resolver);
	loop_free(body.loop);
	close(fds[0]);
	close(fds[2]);
	close(listeners[0]);
	close(listeners[1]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("up-uplink");
	TCase *tcase = tcase_create("up-uplink");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, uplink__an_address_that_does_not_finish_the_handshake_comes_last_next_time);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
