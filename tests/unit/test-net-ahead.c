#include "daemon/net/ahead.h"

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct mono at(uint64_t usec)
{
	return (struct mono){usec};
}

static void note(struct ahead *ahead, struct mono now, uint64_t rtt_usec, uint64_t min_rtt_usec,
		 uint64_t rate, uint64_t segment_bytes)
{
	ahead_note(ahead, now,
		   &(struct ahead_path){
		       .rtt_usec = rtt_usec,
		       .min_rtt_usec = min_rtt_usec,
		       .rate = rate,
		       .segment_bytes = segment_bytes,
		   });
}

/* Two ends of a TCP connection; the second one is not read. */
static void tcp_pair(int *ret_one, int *ret_other)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, len), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	*ret_one = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(*ret_one, (struct sockaddr *)&address, len), 0);
	*ret_other = accept(listener, NULL, NULL);
	ck_assert_int_ge(*ret_other, 0);
	ck_assert_int_eq(fcntl(*ret_one, F_SETFL, O_NONBLOCK), 0);
	(void)close(listener);
}

START_TEST(ahead__link_without_a_queue_is_not_bounded)
{
	struct ahead ahead = {0};
	int one, other;

	tcp_pair(&one, &other);
	ck_assert_uint_eq(ahead_room(&ahead, one, at(1000)), SIZE_MAX);
	note(&ahead, at(1000), 1100, 200, 10000000, 1448);
	ck_assert_uint_eq(ahead_room(&ahead, one, at(1000)), SIZE_MAX);
	/* Far away, and no longer than that. */
	note(&ahead, at(1000), 110000, 100000, 10000000, 1448);
	ck_assert_uint_eq(ahead_room(&ahead, one, at(1000)), SIZE_MAX);
	(void)close(one);
	(void)close(other);
}
END_TEST

START_TEST(ahead__link_with_a_queue_is_bounded_until_it_had_none_for_a_while)
{
	struct ahead ahead = {.look_next = MONO_NEVER};
	static char bytes[65536];
	size_t empty, room;
	int one, other;

	tcp_pair(&one, &other);
	note(&ahead, at(1000), 8000, 200, 12500000, 1448);
	empty = ahead_room(&ahead, one, at(1000));
	ck_assert_uint_ge(empty, 12500000 / 1000000 * 200);
	ck_assert_uint_le(empty, 64u * 1024u);
	/* What the peer does not take stays in the kernel, and fills the room. */
	while (send(one, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0)
		continue;
	room = ahead_room(&ahead, one, at(2000));
	ck_assert_uint_eq(room, 0);
	ck_assert_uint_eq(ahead_room(&ahead, one, at(1000 + 3 * USEC_PER_SEC)), SIZE_MAX);
	(void)close(one);
	(void)close(other);
}
END_TEST

START_TEST(ahead__more_may_be_under_way_to_a_broker_far_away)
{
	struct ahead ahead = {.look_next = MONO_NEVER};
	int one, other;

	tcp_pair(&one, &other);
	note(&ahead, at(1000), 200000, 50000, 12500000, 1448);
	ck_assert_uint_ge(ahead_room(&ahead, one, at(1000)), 12500000 / 20);
	ck_assert_uint_le(ahead_room(&ahead, one, at(1000)), 12500000 / 20 * 2);
	(void)close(one);
	(void)close(other);
}
END_TEST

START_TEST(ahead__some_segments_may_be_under_way_whatever_their_size)
{
	struct ahead ahead = {.look_next = MONO_NEVER};
	int one, other;

	tcp_pair(&one, &other);
	note(&ahead, at(1000), 40000, 1, 1000, 65483);
	ck_assert_uint_ge(ahead_room(&ahead, one, at(1000)), 2 * 65483);
	ck_assert_uint_le(ahead_room(&ahead, one, at(1000)), 8 * 65483);
	(void)close(one);
	(void)close(other);
}
END_TEST

START_TEST(ahead__socket_of_another_family_is_not_bounded)
{
	struct ahead ahead = {0};
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_uint_eq(ahead_room(&ahead, fds[0], at(1000)), SIZE_MAX);
	(void)close(fds[0]);
	(void)close(fds[1]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("net/ahead");
	TCase *tc = tcase_create("ahead");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, ahead__link_without_a_queue_is_not_bounded);
	tcase_add_test(tc, ahead__link_with_a_queue_is_bounded_until_it_had_none_for_a_while);
	tcase_add_test(tc, ahead__more_may_be_under_way_to_a_broker_far_away);
	tcase_add_test(tc, ahead__some_segments_may_be_under_way_whatever_their_size);
	tcase_add_test(tc, ahead__socket_of_another_family_is_not_bounded);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
