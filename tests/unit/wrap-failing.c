#include "config.h"

#include "tests/unit/wrap-failing.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <confuse.h>
#include <pcre2.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

struct counts {
	enum wrap_kind kind;
	unsigned long nth;
	atomic_ulong seen;
	char failed[32]; /* written once */
};

static struct counts *counts;
static bool takes_part;
static pcre2_general_context_8 *pcre2_memory; /* asks us for it */

static bool fails(enum wrap_kind kind, const char *name)
{
	if (!takes_part || counts->kind != kind || atomic_fetch_add(&counts->seen, 1) + 1 != counts->nth)
		return false;
	strncpy(counts->failed, name, sizeof(counts->failed) - 1);
	return true;
}

/* ------------------------------------------------------------------ the memory of libraries */

void *__real_malloc(size_t size);
void *__real_realloc(void *data, size_t size);

static void *library_malloc(size_t size)
{
	return fails(WRAP_LIBRARY, "libevent's malloc") ? NULL : __real_malloc(size);
}

static void *library_realloc(void *block, size_t size)
{
	return fails(WRAP_LIBRARY, "libevent's realloc") ? NULL : __real_realloc(block, size);
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
	return fails(WRAP_LIBRARY, "OpenSSL's malloc") ? NULL : __real_malloc(size);
}

static void *openssl_realloc(void *block, size_t size, const char *file, int line)
{
	return fails(WRAP_LIBRARY, "OpenSSL's realloc") ? NULL : __real_realloc(block, size);
}

static void openssl_free(void *block, const char *file, int line)
{
	free(block);
}

static void *pcre2_malloc(size_t size, void *context)
{
	return fails(WRAP_LIBRARY, "PCRE2's malloc") ? NULL : __real_malloc(size);
}

static void pcre2_free(void *block, void *context)
{
	free(block);
}

/* ------------------------------------------------------------------ counting */

bool wrap_init(void)
{
	void *memory = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	counts = memory == MAP_FAILED ? NULL : memory;
	pcre2_memory = pcre2_general_context_create_8(pcre2_malloc, pcre2_free, NULL);
	event_set_mem_functions(library_malloc, library_realloc, free);
	return counts && pcre2_memory &&
	       CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) == 1;
}

const char *wrap_kind_name(enum wrap_kind kind)
{
	static const char *const names[] = {"nothing", "memory", "libraries' memory", "system"};

	return names[kind];
}

void wrap_disarm(void)
{
	counts->kind = WRAP_NOTHING;
}

void wrap_take_part(bool yes)
{
	takes_part = yes;
}

void wrap_arm(enum wrap_kind kind, unsigned long nth)
{
	counts->kind = kind;
	counts->nth = nth;
	counts->failed[0] = 0;
	atomic_store(&counts->seen, 0);
}

unsigned long wrap_count(void)
{
	return atomic_load(&counts->seen);
}

const char *wrap_failed(void)
{
	return counts->failed[0] ? counts->failed : NULL;
}

/* A wrapper: what it returns when it fails, with which errno. */
#define WRAP(kind, error, failure, type, name, parameters, arguments) \
	type __real_##name parameters;                                \
	type __wrap_##name parameters;                                \
	type __wrap_##name parameters                                 \
	{                                                             \
		if (fails(kind, #name)) {                             \
			errno = error;                                \
			return failure;                               \
		}                                                     \
		return __real_##name arguments;                       \
	}
#define WRAP_MEMORY_CALL(type, name, parameters, arguments) \
	WRAP(WRAP_MEMORY, ENOMEM, NULL, type, name, parameters, arguments)
#define WRAP_SYSTEM_CALL(error, type, name, parameters, arguments) \
	WRAP(WRAP_SYSTEM, error, -1, type, name, parameters, arguments)

/* clang-format off */
WRAP_MEMORY_CALL(void *, malloc, (size_t size), (size))
WRAP_MEMORY_CALL(void *, calloc, (size_t count, size_t size), (count, size))
WRAP_MEMORY_CALL(void *, realloc, (void *data, size_t size), (data, size))
WRAP_MEMORY_CALL(void *, reallocarray, (void *data, size_t count, size_t size), (data, count, size))
WRAP_MEMORY_CALL(char *, strdup, (const char *text), (text))
WRAP(WRAP_MEMORY, ENOMEM, -1, int, vasprintf, (char **ret, const char *format, va_list args), (ret, format, args))
WRAP_MEMORY_CALL(struct event_config *, event_config_new, (void), ())
WRAP_MEMORY_CALL(struct event_base *, event_base_new_with_config, (const struct event_config *config), (config))
WRAP_MEMORY_CALL(struct event *, event_new,
		 (struct event_base *base, evutil_socket_t fd, short what, event_callback_fn fn, void *arg),
		 (base, fd, what, fn, arg))
WRAP(WRAP_MEMORY, ENOMEM, -1, int, event_add, (struct event *event, const struct timeval *timeout), (event, timeout))
WRAP_MEMORY_CALL(cfg_t *, cfg_init, (cfg_opt_t *options, cfg_flag_t flags), (options, flags))
WRAP_MEMORY_CALL(pcre2_match_context_8 *, pcre2_match_context_create_8, (pcre2_general_context_8 *context), (pcre2_memory))
WRAP_MEMORY_CALL(pcre2_compile_context_8 *, pcre2_compile_context_create_8, (pcre2_general_context_8 *context), (pcre2_memory))
WRAP_MEMORY_CALL(pcre2_match_data_8 *, pcre2_match_data_create_8, (uint32_t size, pcre2_general_context_8 *context), (size, pcre2_memory))
WRAP(WRAP_MEMORY, ENOMEM, 0, int, EVP_Digest,
     (const void *data, size_t count, unsigned char *md, unsigned int *size, const EVP_MD *type, ENGINE *impl),
     (data, count, md, size, type, impl))

WRAP_SYSTEM_CALL(EMFILE, int, socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP_SYSTEM_CALL(EADDRINUSE, int, bind, (int fd, const struct sockaddr *address, socklen_t len), (fd, address, len))
WRAP_SYSTEM_CALL(EADDRINUSE, int, listen, (int fd, int backlog), (fd, backlog))
WRAP_SYSTEM_CALL(EMFILE, int, accept4, (int fd, struct sockaddr *address, socklen_t *len, int flags), (fd, address, len, flags))
WRAP_SYSTEM_CALL(ENETUNREACH, int, connect, (int fd, const struct sockaddr *address, socklen_t len), (fd, address, len))
WRAP_SYSTEM_CALL(ENOBUFS, int, getsockopt, (int fd, int level, int option, void *value, socklen_t *len), (fd, level, option, value, len))
WRAP_SYSTEM_CALL(ENOBUFS, int, setsockopt, (int fd, int level, int option, const void *value, socklen_t len), (fd, level, option, value, len))
WRAP_SYSTEM_CALL(EMFILE, int, eventfd, (unsigned int count, int flags), (count, flags))
WRAP_SYSTEM_CALL(EIO, int, fstat, (int fd, struct stat *ret), (fd, ret))
WRAP_SYSTEM_CALL(EACCES, int, chmod, (const char *path, mode_t mode), (path, mode))
WRAP_SYSTEM_CALL(ECONNRESET, ssize_t, read, (int fd, void *data, size_t count), (fd, data, count))
WRAP_SYSTEM_CALL(ECONNRESET, ssize_t, readv, (int fd, const struct iovec *parts, int count), (fd, parts, count))
WRAP_SYSTEM_CALL(ECONNRESET, ssize_t, send, (int fd, const void *data, size_t count, int flags), (fd, data, count, flags))
WRAP_SYSTEM_CALL(ECONNRESET, ssize_t, recv, (int fd, void *data, size_t count, int flags), (fd, data, count, flags))
WRAP_SYSTEM_CALL(ENOBUFS, int, getsockname, (int fd, struct sockaddr *address, socklen_t *len), (fd, address, len))
WRAP_SYSTEM_CALL(EACCES, int, lstat, (const char *path, struct stat *ret), (path, ret))
WRAP_SYSTEM_CALL(EACCES, int, unlink, (const char *path), (path))
WRAP(WRAP_SYSTEM, EIO, NULL, struct passwd *, getpwnam, (const char *name), (name))
WRAP(WRAP_SYSTEM, EIO, NULL, struct group *, getgrnam, (const char *name), (name))
WRAP(WRAP_SYSTEM, EAGAIN, EAI_AGAIN, int, getaddrinfo,
     (const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret),
     (node, service, hints, ret))
WRAP(WRAP_SYSTEM, EAGAIN, EAGAIN, int, pthread_create,
     (pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg),
     (thread, attr, start, arg))
#ifdef HAVE_SYSTEMD
WRAP(WRAP_SYSTEM, EMFILE, -EMFILE, int, sd_notify, (int unset, const char *state), (unset, state))
WRAP(WRAP_SYSTEM, EINVAL, -EINVAL, int, sd_watchdog_enabled, (int unset, uint64_t *usec), (unset, usec))
#endif
/* clang-format on */

int __wrap_asprintf(char **ret, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_asprintf(char **ret, const char *format, ...)
{
	va_list args;
	int len;

	if (fails(WRAP_MEMORY, "asprintf"))
		return -1;
	va_start(args, format);
	len = __real_vasprintf(ret, format, args);
	va_end(args);
	return len;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	if (fails(WRAP_SYSTEM, "open")) {
		errno = EMFILE;
		return -1;
	}
	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	return __real_open(path, flags, mode);
}

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
	va_list args;
	long argument;

	if (fails(WRAP_SYSTEM, "fcntl")) {
		errno = EBADF;
		return -1;
	}
	va_start(args, command);
	argument = va_arg(args, long);
	va_end(args);
	return __real_fcntl(fd, command, argument);
}
