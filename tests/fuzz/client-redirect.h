/*
 * Included by the compiler before each file of libmuxclient for
 * fuzz-client-session: its socket and its clock are the target's.
 */
#pragma once

#include "config.h"

#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int fake_socket(int domain, int type, int protocol);
int fake_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int fake_connect(int fd, const struct sockaddr *address, socklen_t len);
int fake_shutdown(int fd, int how);
int fake_close(int fd);
ssize_t fake_recv(int fd, void *data, size_t size, int flags);
ssize_t fake_send(int fd, const void *data, size_t size, int flags);
ssize_t fake_sendmsg(int fd, const struct msghdr *message, int flags);
int fake_poll(struct pollfd *fds, nfds_t count, int timeout_msec);
int fake_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask);
int fake_clock_gettime(clockid_t clock, struct timespec *ret);

#define socket(domain, type, protocol) fake_socket(domain, type, protocol)
#define setsockopt(fd, level, name, value, len) fake_setsockopt(fd, level, name, value, len)
#define connect(fd, address, len) fake_connect(fd, address, len)
#define shutdown(fd, how) fake_shutdown(fd, how)
#define close(fd) fake_close(fd)
#define recv(fd, data, size, flags) fake_recv(fd, data, size, flags)
#define send(fd, data, size, flags) fake_send(fd, data, size, flags)
#define sendmsg(fd, message, flags) fake_sendmsg(fd, message, flags)
#define poll(fds, count, timeout) fake_poll(fds, count, timeout)
#define ppoll(fds, count, timeout, mask) fake_ppoll(fds, count, timeout, mask)
#define clock_gettime(clock, ret) fake_clock_gettime(clock, ret)
