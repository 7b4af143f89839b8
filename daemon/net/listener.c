#include "config.h"

#include "daemon/net/listener.h"

#include "daemon/base/log.h"
#include "daemon/net/loop-net.h"

#include <event2/event.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN_MAX 64u
#define RESERVE 32u /* descriptors that no client gets: for brokers, name service, files to be read again */
#define RESERVE_PART 4u	  /* of few it is such a part */
#define BACKLOG_MAX 4096u /* Linux's SOMAXCONN; nothing comes any more when the file is gone */
#define PAUSE_USEC (100 * USEC_PER_MSEC)
#define PAUSE_LOG_USEC (60 * USEC_PER_SEC) /* one line in so much time, however often it pauses */
#define INHERITED_FD_FIRST 3
#define INHERITED_FDS_MAX 1024

struct listener {
	struct loop *loop;
	struct listener_options options;
	int fd;
	struct event *event;
	struct timer resume;
	struct mono logged; /* when a pause was last logged; 0: never */
	bool is_near;	    /* the last connection came near the reserve: it is looked at before the next */
	char *path;	    /* owned; NULL: not ours to remove */
	dev_t device;	    /* of the file we made */
	ino_t inode;
};

/* ------------------------------------------------------------------ accepting */

/* The first descriptor that is of the reserve; the kernel gives out the lowest that is free. */
static unsigned int reserve_begin(void)
{
	struct rlimit limit;
	unsigned int most = UINT_MAX;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < UINT_MAX)
		most = (unsigned int)limit.rlim_cur;
	return most - (most / RESERVE_PART < RESERVE ? most / RESERVE_PART : RESERVE);
}

static void log_pause(int error)
{
	if (error == EMFILE)
		log_warning(
		    "cannot accept connections: all descriptors are in use but for a few that are kept in "
		    "reserve; new processes wait. Raise the limit of open files, or lower limits in the "
		    "configuration");
	else
		log_warning("cannot accept connections: %s; new processes wait", strerror(error));
}

static void pause_accepting(struct listener *listener, int error)
{
	struct mono now = loop_now(listener->loop);

	if (listener->logged.usec == 0 || mono_since_usec(now, listener->logged) >= PAUSE_LOG_USEC) {
		log_pause(error);
		listener->logged = now;
	}
	(void)event_del(listener->event);
	loop_set_timer(listener->loop, &listener->resume, mono_add_usec(now, PAUSE_USEC));
}

static void on_resume(struct timer *timer, struct mono now)
{
	struct listener *listener = container_of(timer, struct listener, resume);

	if (event_add(listener->event, NULL) != 0)
		loop_set_timer(listener->loop, timer, mono_add_usec(now, PAUSE_USEC));
}

/* Errors of the one connection (it is gone already), after which the next may be fine. */
static bool is_of_connection(int error)
{
	return error == ECONNABORTED || error == EINTR || error == EPROTO || error == EPERM;
}

/* Whether one more connection would take of the reserve: 0 or EMFILE. */
static int look_at_reserve(struct listener *listener)
{
	unsigned int begin = reserve_begin();
	int probe;

	if (!listener->is_near)
		return 0;
	probe = fcntl(listener->fd, F_DUPFD_CLOEXEC, 0);
	if (probe < 0)
		return errno;
	(void)close(probe);
	listener->is_near = (unsigned int)probe + RESERVE >= begin;
	return (unsigned int)probe >= begin ? EMFILE : 0;
}

static void accepted(struct listener *listener, int peer)
{
	if ((unsigned int)peer + RESERVE >= reserve_begin())
		listener->is_near = true;
	listener->options.on_accept(listener->options.context, peer);
}

/* As many as wait, at most so many. 0, or the error for which it must pause. */
static int accept_some(struct listener *listener, unsigned int most)
{
	int failed = 0;

	for (unsigned int i = 0; i < most; i++) {
		int error = look_at_reserve(listener);
		int peer = error ? -1 : accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (peer >= 0) {
			accepted(listener, peer);
			failed = 0;
			continue;
		}
		error = error ? error : errno;
		if (error == EAGAIN || error == EWOULDBLOCK)
			return 0;
		if (!is_of_connection(error))
			return error;
		failed = error;
	}
	/* An error of each of so many connections is not theirs. */
	return failed;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct listener *listener = arg;
	int error;

	loop_enter(listener->loop);
	error = accept_some(listener, ACCEPTS_PER_TURN_MAX);
	if (error)
		pause_accepting(listener, error);
}

/* ------------------------------------------------------------------ binding */

/* 0: the path is free now. */
static int clear_stale(const struct sockaddr_un *address, char *ret_error)
{
	struct stat st;
	int fd;
	int r;

	if (lstat(address->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode)) {
		(void)snprintf(ret_error, LISTENER_ERROR_MAX, "%s is there already and is not a socket",
			       address->sun_path);
		return -ENOTSOCK;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
	(void)close(fd);
	if (r == -ECONNREFUSED)
		return unlink(address->sun_path) < 0 && errno != ENOENT ? -errno : 0;
	if (r == 0 || r == -EAGAIN || r == -EINPROGRESS) {
		(void)snprintf(ret_error, LISTENER_ERROR_MAX, "%s is held by a running muxd",
			       address->sun_path);
		return -EADDRINUSE;
	}
	return r;
}

/* Binds with no permissions at first, so that nobody connects before mode and group are right. */
static int bind_at(int fd, const struct sockaddr_un *address, const struct listener_unix_options *where)
{
	mode_t old_mask = umask(0777);
	int r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;

	(void)umask(old_mask);
	if (r < 0)
		return r;
	if (where->group != (gid_t)-1 && lchown(address->sun_path, (uid_t)-1, where->group) < 0)
		r = -errno;
	if (r == 0 && chmod(address->sun_path, where->mode) < 0)
		r = -errno;
	if (r == 0 && listen(fd, SOMAXCONN) < 0)
		r = -errno;
	if (r < 0)
		(void)unlink(address->sun_path);
	return r;
}

static int open_unix(const struct listener_unix_options *where, char *ret_error, int *ret_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(where->path);
	int fd;
	int r;

	if (len == 0 || len >= sizeof(address.sun_path)) {
		(void)snprintf(ret_error, LISTENER_ERROR_MAX,
			       "the socket's path has %zu bytes, and must have 1 to %zu: %.80s%s", len,
			       sizeof(address.sun_path) - 1, where->path, len > 80 ? "..." : "");
		return -ENAMETOOLONG;
	}
	memcpy(address.sun_path, where->path, len);
	r = clear_stale(&address, ret_error);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = bind_at(fd, &address, where);
	if (r < 0)
		(void)close(fd);
	else
		*ret_fd = fd;
	return r;
}

static int listen_on(struct loop *loop, const struct listener_options *options, int fd, struct listener **ret)
{
	struct listener *listener = calloc(1, sizeof(*listener));

	if (!listener)
		return -ENOMEM;
	listener->loop = loop;
	listener->options = *options;
	listener->fd = fd;
	timer_init(&listener->resume, on_resume);
	listener->event = event_new(loop_base(loop), fd, EV_READ | EV_PERSIST, on_readable, listener);
	if (!listener->event || event_add(listener->event, NULL) != 0) {
		if (listener->event)
			event_free(listener->event);
		free(listener);
		return -ENOMEM;
	}
	*ret = listener;
	return 0;
}

/* Remembers which file is ours, so that another's is not removed at the end. */
static void remember_file(struct listener *listener, const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return;
	listener->device = st.st_dev;
	listener->inode = st.st_ino;
	listener->path = strdup(path);
}

int listener_new_unix(struct loop *loop, const struct listener_options *options,
		      const struct listener_unix_options *where, char *ret_error, struct listener **ret)
{
	int fd = -1;
	int r;

	*ret_error = 0;
	r = open_unix(where, ret_error, &fd);
	if (r == 0) {
		r = listen_on(loop, options, fd, ret);
		if (r < 0) {
			(void)unlink(where->path);
			(void)close(fd);
		}
	}
	if (r < 0 && !*ret_error)
		(void)snprintf(ret_error, LISTENER_ERROR_MAX, "cannot listen on %s: %s", where->path,
			       strerror(-r));
	if (r == 0)
		remember_file(*ret, where->path);
	return r;
}

/* ------------------------------------------------------------------ handed over */

static bool has_option(int fd, int option, int wanted)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 && value == wanted;
}

int listener_new_inherited(struct loop *loop, const struct listener_options *options, int fd, char *ret_error,
			   struct listener **ret)
{
	int flags = fcntl(fd, F_GETFL);

	*ret_error = 0;
	if (flags < 0 || !has_option(fd, SO_DOMAIN, AF_UNIX) || !has_option(fd, SO_TYPE, SOCK_STREAM) ||
	    !has_option(fd, SO_ACCEPTCONN, 1)) {
		(void)snprintf(ret_error, LISTENER_ERROR_MAX,
			       "descriptor %d, handed over by systemd, is not a listening Unix stream socket",
			       fd);
		return -EINVAL;
	}
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return listen_on(loop, options, fd, ret);
}

/* A number in an environment variable; -1 if it is none. */
static long number_from_env(const char *name)
{
	const char *text = getenv(name);
	char *end;
	long value;

	if (!text || !*text)
		return -1;
	errno = 0;
	value = strtol(text, &end, 10);
	return errno != 0 || *end || value < 0 ? -1 : value;
}

int listener_take_inherited_fd(void)
{
	long pid = number_from_env("LISTEN_PID");
	long count = number_from_env("LISTEN_FDS");

	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	if (pid != (long)getpid() || count < 1 || count > INHERITED_FDS_MAX)
		return -1;
	if (count > 1)
		log_warning("systemd handed over %ld descriptors; only the first is used", count);
	for (int fd = INHERITED_FD_FIRST + 1; fd < INHERITED_FD_FIRST + (int)count; fd++)
		(void)close(fd);
	return INHERITED_FD_FIRST;
}

static void remove_file(const struct listener *listener)
{
	struct stat st;

	if (listener->path && lstat(listener->path, &st) == 0 && st.st_dev == listener->device &&
	    st.st_ino == listener->inode)
		(void)unlink(listener->path);
}

struct listener *listener_close(struct listener *listener)
{
	if (!listener)
		return NULL;
	loop_clear_timer(listener->loop, &listener->resume);
	(void)event_del(listener->event);
	event_free(listener->event);
	if (listener->path) {
		remove_file(listener);
		(void)accept_some(listener, BACKLOG_MAX);
	}
	(void)close(listener->fd);
	free(listener->path);
	free(listener);
	return NULL;
}
