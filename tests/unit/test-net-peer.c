/* Who is at the other end of a Unix socket. */
#include "daemon/net/peer.h"

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define MANY 40u /* groups, more than are asked for at first */

/* What the kernel says of groups, instead of it; the linker puts this between. */
static struct {
	bool scripted;
	int error;	    /* 0: `count` groups */
	unsigned int count; /* numbers from 100 on */
	unsigned int asked;
	bool no_memory;
} kernel;

int __real_getsockopt(int fd, int level, int option, void *value, socklen_t *size);
int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *size);
void *__real_realloc(void *data, size_t size);
void *__wrap_realloc(void *data, size_t size);

int __wrap_getsockopt(int fd, int level, int option, void *value, socklen_t *size)
{
	gid_t *groups = value;

	if (option != SO_PEERGROUPS || !kernel.scripted)
		return __real_getsockopt(fd, level, option, value, size);
	kernel.asked++;
	if (kernel.error == 0 && *size < kernel.count * sizeof(*groups)) {
		*size = (socklen_t)(kernel.count * sizeof(*groups));
		errno = ERANGE;
		return -1;
	}
	errno = kernel.error;
	if (kernel.error)
		return -1;
	for (unsigned int i = 0; i < kernel.count; i++)
		groups[i] = 100 + i;
	*size = (socklen_t)(kernel.count * sizeof(*groups));
	return 0;
}

void *__wrap_realloc(void *data, size_t size)
{
	return kernel.no_memory ? NULL : __real_realloc(data, size);
}

static int ends[2];

static void setup(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
}

static void teardown(void)
{
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static int know(struct peer *peer, int fd)
{
	int r = peer_init(peer, fd);

	return r < 0 ? r : peer_read_groups(peer);
}

static void expect_nobody(int error)
{
	struct peer peer;

	ck_assert_int_eq(know(&peer, ends[0]), error);
	ck_assert_ptr_null(peer.groups);
	ck_assert_uint_eq(peer.group_count, 0);
}

START_TEST(peer__is_the_process_that_connected)
{
	gid_t groups[256];
	int count = getgroups(256, groups);
	struct peer peer;

	ck_assert_int_eq(know(&peer, ends[0]), 0);
	ck_assert_uint_eq(peer.uid, geteuid());
	ck_assert_uint_eq(peer.gid, getegid());
	ck_assert_uint_eq(peer.pid, (uint32_t)getpid());
	ck_assert_uint_eq(peer.group_count, (size_t)count);
	for (int i = 0; i < count; i++)
		ck_assert_uint_eq(peer.groups[i], groups[i]);
	peer_deinit(&peer);
}
END_TEST

START_TEST(peer__of_many_groups_has_them_all)
{
	struct peer peer;

	kernel.scripted = true;
	kernel.count = MANY;
	ck_assert_int_eq(know(&peer, ends[0]), 0);
	ck_assert_uint_eq(kernel.asked, 2);
	ck_assert_uint_eq(peer.group_count, MANY);
	for (unsigned int i = 0; i < MANY; i++)
		ck_assert_uint_eq(peer.groups[i], 100 + i);
	peer_deinit(&peer);
}
END_TEST

START_TEST(peer__without_groups_has_none)
{
	struct peer peer;

	kernel.scripted = true;
	ck_assert_int_eq(know(&peer, ends[0]), 0);
	ck_assert_ptr_null(peer.groups);
	ck_assert_uint_eq(peer.group_count, 0);
}
END_TEST

START_TEST(peer__on_a_kernel_that_tells_no_groups_is_known_by_uid_and_gid)
{
	struct peer peer;

	kernel.scripted = true;
	kernel.error = ENOPROTOOPT;
	ck_assert_int_eq(know(&peer, ends[0]), 0);
	ck_assert_uint_eq(peer.uid, geteuid());
	ck_assert_uint_eq(peer.gid, getegid());
	ck_assert_uint_eq(peer.group_count, 0);
	ck_assert_ptr_null(peer.groups);
}
END_TEST

/* Whose groups are not known could be refused by one of them: it is nobody. */
START_TEST(peer__whose_groups_cannot_be_told_is_nobody)
{
	kernel.scripted = true;
	kernel.error = ENOBUFS;
	expect_nobody(-ENOBUFS);
	kernel.error = ERANGE;
	expect_nobody(-ERANGE);
	kernel.error = 0;
	kernel.no_memory = true;
	expect_nobody(-ENOMEM);
}
END_TEST

START_TEST(peer__of_what_is_no_socket_is_nobody)
{
	struct peer peer;
	int pipes[2];

	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(know(&peer, pipes[0]), -ENOTSOCK);
	ck_assert_ptr_null(peer.groups);
	(void)close(pipes[0]);
	(void)close(pipes[1]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("net-peer");
	TCase *tests = tcase_create("net-peer");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, peer__is_the_process_that_connected);
	tcase_add_test(tests, peer__of_many_groups_has_them_all);
	tcase_add_test(tests, peer__without_groups_has_none);
	tcase_add_test(tests, peer__on_a_kernel_that_tells_no_groups_is_known_by_uid_and_gid);
	tcase_add_test(tests, peer__whose_groups_cannot_be_told_is_nobody);
	tcase_add_test(tests, peer__of_what_is_no_socket_is_nobody);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
