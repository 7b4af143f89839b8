/* Listening and dialling: Unix sockets in a directory of the test's own, and TCP on the loopback. */
#include "config.h"

#include "daemon/net/dial.h"
#include "daemon/net/listener.h"
#include "daemon/net/peer.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define TURNS_MAX 10000

static struct {
	struct loop *loop;
	char dir[64];
	char path[100];
	int accepted[8];
	size_t count;
} t;

static void on_accept(void *context, int fd)
{
	ck_assert_uint_lt(t.count, 8);
	t.accepted[t.count++] = fd;
}

static const struct listener_options options = {on_accept, NULL};

static void setup(void)
{
	(void)snprintf(t.dir, sizeof(t.dir), "/tmp/muxd-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(t.dir));
	(void)snprintf(t.path, sizeof(t.path), "%s/s", t.dir);
	ck_assert_int_eq(loop_new(&t.loop), 0);
	t.count = 0;
}

static void teardown(void)
{
	for (size_t i = 0; i < t.count; i++)
		(void)close(t.accepted[i]);
	(void)loop_free(t.loop);
	(void)unlink(t.path);
	(void)rmdir(t.dir);
}

static int listen_at(const char *path, char *error, struct listener **ret)
{
	struct listener_unix_options where = {path, 0640, (gid_t)-1};

	return listener_new_unix(t.loop, &options, &where, error, ret);
}

/* A socket that is bound to the path; -1: it could not be. */
static int bind_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

static void turn_until_accepted(size_t count)
{
	for (int i = 0; i < TURNS_MAX && t.count < count; i++)
		ck_assert_int_eq(loop_turn(t.loop, true), 0);
	ck_assert_uint_eq(t.count, count);
}

START_TEST(listener__accepts_and_knows_who_connected)
{
	char error[LISTENER_ERROR_MAX];
	struct listener *listener;
	struct peer peer;
	struct stat st;
	int client;

	ck_assert_int_eq(listen_at(t.path, error, &listener), 0);
	ck_assert_int_eq(stat(t.path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0640);
	client = connect_to(t.path);
	ck_assert_int_ge(client, 0);
	turn_until_accepted(1);
	ck_assert_int_eq(fcntl(t.accepted[0], F_GETFD), FD_CLOEXEC);
	ck_assert_int_ne(fcntl(t.accepted[0], F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(peer_init(&peer, t.accepted[0]), 0);
	ck_assert_uint_eq(peer.uid, geteuid());
	ck_assert_uint_eq(peer.gid, getegid());
	ck_assert_uint_eq(peer.pid, (uint32_t)getpid());
	ck_assert_uint_eq(peer.group_count, 0);
	ck_assert_int_eq(peer_read_groups(&peer), 0);
	ck_assert_int_eq((int)peer.group_count, getgroups(0, NULL));
	for (size_t i = 1; i < peer.group_count; i++)
		ck_assert_uint_le(peer.groups[i - 1], peer.groups[i]);
	peer_deinit(&peer);
	(void)close(client);
	(void)listener_close(listener);
	ck_assert_int_eq(access(t.path, F_OK), -1);
}
END_TEST

START_TEST(listener__replaces_a_socket_that_nobody_listens_on)
{
	char error[LISTENER_ERROR_MAX];
	struct listener *listener;

	(void)close(bind_at(t.path));
	ck_assert_int_eq(listen_at(t.path, error, &listener), 0);
	(void)listener_close(listener);
}
END_TEST

START_TEST(listener__leaves_a_live_socket_alone)
{
	char error[LISTENER_ERROR_MAX];
	struct listener *listener;
	int other = bind_at(t.path);

	ck_assert_int_eq(listen(other, 5), 0);
	ck_assert_int_eq(listen_at(t.path, error, &listener), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(error, "is held by a running muxd"));
	ck_assert_ptr_nonnull(strstr(error, t.path));
	ck_assert_int_eq(access(t.path, F_OK), 0);
	(void)close(other);
}
END_TEST

START_TEST(listener__does_not_touch_a_file_that_is_no_socket)
{
	char error[LISTENER_ERROR_MAX];
	struct listener *listener;
	int file = open(t.path, O_CREAT | O_WRONLY, 0600);

	ck_assert_int_ge(file, 0);
	ck_assert_int_eq(listen_at(t.path, error, &listener), -ENOTSOCK);
	ck_assert_ptr_nonnull(strstr(error, "is not a socket"));
	ck_assert_int_eq(access(t.path, F_OK), 0);
	(void)close(file);
}
END_TEST

START_TEST(listener__says_that_a_path_is_too_long)
{
	char error[LISTENER_ERROR_MAX];
	struct listener *listener;
	char path[109];

	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = 0;
	ck_assert_int_eq(listen_at(path, error, &listener), -ENAMETOOLONG);
	ck_assert_ptr_nonnull(strstr(error, "has 108 bytes, and must have 1 to 107"));
	ck_assert_int_eq(listen_at("", error, &listener), -ENAMETOOLONG);
}
END_TEST

START_TEST(listener__says_where_it_cannot_listen)
{
	char error[LISTENER_ERROR_MAX];
	struct listener *listener;

	ck_assert_int_eq(listen_at("/nonexistent/s", error, &listener), -ENOENT);
	ck_assert_str_eq(error, "cannot listen on /nonexistent/s: No such file or directory");
}
END_TEST

START_TEST(listener__does_not_remove_the_socket_of_its_successor)
{
	char error[LISTENER_ERROR_MAX];
	struct listener *listener;
	int successor;

	ck_assert_int_eq(listen_at(t.path, error, &listener), 0);
	ck_assert_int_eq(unlink(t.path), 0);
	successor = bind_at(t.path);
	(void)listener_close(listener);
	ck_assert_int_eq(access(t.path, F_OK), 0);
	(void)close(successor);
}
END_TEST

START_TEST(listener__accepts_who_waits_before_it_closes)
{
	char error[LISTENER_ERROR_MAX];
	struct listener *listener;
	int clients[3];

	ck_assert_int_eq(listen_at(t.path, error, &listener), 0);
	for (size_t i = 0; i < 3; i++) {
		clients[i] = connect_to(t.path);
		ck_assert_int_ge(clients[i], 0);
	}
	(void)listener_close(listener);
	ck_assert_uint_eq(t.count, 3);
	ck_assert_int_eq(connect_to(t.path), -1);
	for (size_t i = 0; i < 3; i++)
		(void)close(clients[i]);
}
END_TEST

START_TEST(listener__out_of_descriptors_pauses_and_goes_on_later)
{
	char error[LISTENER_ERROR_MAX];
	struct listener *listener;
	struct rlimit limit;
	struct rlimit none;
	unsigned int turns = 0;
	int client;

	ck_assert_int_eq(listen_at(t.path, error, &listener), 0);
	client = connect_to(t.path);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 0;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(loop_turn(t.loop, false), 0);
	ck_assert_uint_eq(t.count, 0);
	/* It does not spin: the socket is readable, and yet the next turn waits for the pause's end. */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (; turns < 10 && t.count == 0; turns++)
		ck_assert_int_eq(loop_turn(t.loop, true), 0);
	ck_assert_uint_eq(t.count, 1);
	(void)close(client);
	(void)listener_close(listener);
}
END_TEST

START_TEST(listener__takes_a_socket_over_and_leaves_its_file)
{
	char error[LISTENER_ERROR_MAX];
	struct listener *listener;
	int fd = bind_at(t.path);
	int client;

	ck_assert_int_eq(listener_new_inherited(t.loop, &options, fd, error, &listener), -EINVAL);
	ck_assert_ptr_nonnull(strstr(error, "is not a listening Unix stream socket"));
	ck_assert_int_eq(listen(fd, 5), 0);
	ck_assert_int_eq(listener_new_inherited(t.loop, &options, fd, error, &listener), 0);
	client = connect_to(t.path);
	turn_until_accepted(1);
	(void)close(client);
	/* The next one accepts who waits. */
	client = connect_to(t.path);
	ck_assert_int_ge(client, 0);
	(void)listener_close(listener);
	ck_assert_uint_eq(t.count, 1);
	(void)close(client);
	ck_assert_int_eq(access(t.path, F_OK), 0);
}
END_TEST

START_TEST(listener__environment_names_a_descriptor_for_this_process_alone)
{
	char pid[16];

	ck_assert_int_eq(setenv("LISTEN_FDS", "1", 1), 0);
	ck_assert_int_eq(setenv("LISTEN_PID", "1", 1), 0);
	ck_assert_int_eq(listener_take_inherited_fd(), -1);
	ck_assert_ptr_null(getenv("LISTEN_FDS"));
	(void)snprintf(pid, sizeof(pid), "%ld", (long)getpid());
	ck_assert_int_eq(setenv("LISTEN_FDS", "1", 1), 0);
	ck_assert_int_eq(setenv("LISTEN_PID", pid, 1), 0);
	ck_assert_int_eq(listener_take_inherited_fd(), 3);
	ck_assert_int_eq(listener_take_inherited_fd(), -1);
}
END_TEST

/* ------------------------------------------------------------------ dialling */

static struct {
	struct resolver *resolver;
	int fd;
	char reason[256];
	bool over;
} d;

static void on_connected(void *context, int fd, size_t number)
{
	ck_assert(!d.over);
	d.over = true;
	d.fd = fd;
}

static void on_failed(void *context, const char *reason)
{
	ck_assert(!d.over);
	d.over = true;
	(void)snprintf(d.reason, sizeof(d.reason), "%s", reason);
}

static void dial_setup(void)
{
	setup();
	ck_assert_int_eq(resolver_new(t.loop, &d.resolver), 0);
	d.fd = -1;
	d.reason[0] = 0;
	d.over = false;
}

static void dial_teardown(void)
{
	if (d.fd >= 0)
		(void)close(d.fd);
	(void)resolver_free(d.resolver);
	teardown();
}

static struct dial *start(const char *host, const char *port)
{
	struct dial_options dial = {.loop = t.loop,
				    .resolver = d.resolver,
				    .host = host,
				    .port = port,
				    .timeout_usec = 10 * USEC_PER_SEC,
				    .on_connected = on_connected,
				    .on_failed = on_failed};
	struct dial *ret;

	ck_assert_int_eq(dial_start(&dial, &ret), 0);
	ck_assert(!d.over);
	return ret;
}

static void turn_until_over(void)
{
	for (int i = 0; i < TURNS_MAX && !d.over; i++)
		ck_assert_int_eq(loop_turn(t.loop, true), 0);
	ck_assert(d.over);
}

/* A TCP socket bound to a port of the loopback, which it tells; it listens if told so. */
static int tcp_socket(bool listens, char *ret_port, size_t size)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	if (listens)
		ck_assert_int_eq(listen(fd, 5), 0);
	(void)snprintf(ret_port, size, "%u", ntohs(address.sin_port));
	return fd;
}

START_TEST(dial__connects_to_an_address)
{
	char port[8];
	int server = tcp_socket(true, port, sizeof(port));

	(void)start("127.0.0.1", port);
	turn_until_over();
	ck_assert_str_eq(d.reason, "");
	ck_assert_int_ge(d.fd, 0);
	ck_assert_int_ne(fcntl(d.fd, F_GETFL) & O_NONBLOCK, 0);
	(void)close(server);
}
END_TEST

START_TEST(dial__connects_to_a_name_by_the_address_that_answers)
{
	char port[8];
	int server = tcp_socket(true, port, sizeof(port));

	(void)start("localhost", port);
	turn_until_over();
	ck_assert_str_eq(d.reason, "");
	ck_assert_int_ge(d.fd, 0);
	(void)close(server);
}
END_TEST

START_TEST(dial__says_which_address_refused)
{
	char expected[128];
	char port[8];
	int silent = tcp_socket(false, port, sizeof(port));

	(void)start("127.0.0.1", port);
	turn_until_over();
	(void)snprintf(expected, sizeof(expected), "connect to 127.0.0.1:%s: Connection refused", port);
	ck_assert_str_eq(d.reason, expected);
	(void)close(silent);
}
END_TEST

START_TEST(dial__says_which_name_there_is_not)
{
	static const char expected[] = "cannot resolve 'no-such-host.invalid': ";

	(void)start("no-such-host.invalid", "5672");
	turn_until_over();
	ck_assert_mem_eq(d.reason, expected, sizeof(expected) - 1);
	ck_assert_uint_gt(strlen(d.reason), sizeof(expected) - 1);
}
END_TEST

START_TEST(dial__cancelled_one_calls_nobody)
{
	char port[8];
	int server = tcp_socket(true, port, sizeof(port));
	struct dial *dials[3];

	dials[0] = start("localhost", port); /* not begun */
	(void)dial_cancel(dials[0]);
	dials[1] = start("localhost", port); /* being looked up */
	ck_assert_int_eq(loop_turn(t.loop, false), 0);
	(void)dial_cancel(dials[1]);
	dials[2] = start("127.0.0.1", port); /* connecting, or connected and not told */
	ck_assert_int_eq(loop_turn(t.loop, false), 0);
	if (!d.over)
		(void)dial_cancel(dials[2]);
	d.over = true; /* whoever is called now, fails */
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(loop_turn(t.loop, false), 0);
	(void)close(server);
}
END_TEST

START_TEST(dial__resolver_may_end_while_a_name_is_looked_up)
{
	struct dial *dial = start("no-such-host.invalid", "5672");

	ck_assert_int_eq(loop_turn(t.loop, false), 0);
	(void)dial_cancel(dial);
	/* The teardown frees the resolver at once. */
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("net/listener");
	TCase *listener = tcase_create("listener");
	TCase *dial = tcase_create("dial");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, listener);
	tcase_add_checked_fixture(listener, setup, teardown);
	tcase_add_test(listener, listener__accepts_and_knows_who_connected);
	tcase_add_test(listener, listener__replaces_a_socket_that_nobody_listens_on);
	tcase_add_test(listener, listener__leaves_a_live_socket_alone);
	tcase_add_test(listener, listener__does_not_touch_a_file_that_is_no_socket);
	tcase_add_test(listener, listener__says_that_a_path_is_too_long);
	tcase_add_test(listener, listener__says_where_it_cannot_listen);
	tcase_add_test(listener, listener__does_not_remove_the_socket_of_its_successor);
	tcase_add_test(listener, listener__accepts_who_waits_before_it_closes);
	tcase_add_test(listener, listener__out_of_descriptors_pauses_and_goes_on_later);
	tcase_add_test(listener, listener__takes_a_socket_over_and_leaves_its_file);
	tcase_add_test(listener, listener__environment_names_a_descriptor_for_this_process_alone);
	suite_add_tcase(suite, dial);
	tcase_set_timeout(dial, 30);
	tcase_add_checked_fixture(dial, dial_setup, dial_teardown);
	tcase_add_test(dial, dial__connects_to_an_address);
	tcase_add_test(dial, dial__connects_to_a_name_by_the_address_that_answers);
	tcase_add_test(dial, dial__says_which_address_refused);
	tcase_add_test(dial, dial__says_which_name_there_is_not);
	tcase_add_test(dial, dial__cancelled_one_calls_nobody);
	tcase_add_test(dial, dial__resolver_may_end_while_a_name_is_looked_up);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
