#include "tests/unit/failing.h"
#include "tests/unit/failing-redirect.h"

/* Here the real ones are meant. */
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef socket
#undef eventfd
#undef pthread_create
#undef pthread_cond_init
#undef pthread_mutex_init

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static _Thread_local bool takes_part;
static atomic_int armed_what;
static atomic_bool armed_all;
static atomic_ulong armed_nth;
static atomic_ulong seen;
static atomic_ulong failed;
static atomic_long live;
static atomic_long live_here; /* of threads that take part */

void failing_arm(enum failing_what what, unsigned long nth, bool all_from)
{
	takes_part = true;
	atomic_store(&seen, 0);
	atomic_store(&failed, 0);
	atomic_store(&armed_nth, nth);
	atomic_store(&armed_all, all_from);
	atomic_store(&armed_what, what);
}

unsigned long failing_disarm(void)
{
	atomic_store(&armed_what, FAILING_NOTHING);
	return atomic_load(&failed);
}

unsigned long failing_count(void)
{
	return atomic_load(&failed);
}

long failing_live(void)
{
	return atomic_load(&live);
}

long failing_live_here(void)
{
	return atomic_load(&live_here);
}

static void count_blocks(long by)
{
	atomic_fetch_add(&live, by);
	if (takes_part)
		atomic_fetch_add(&live_here, by);
}

static bool fails(enum failing_what what)
{
	unsigned long n, nth;

	if (!takes_part || atomic_load(&armed_what) != (int)what)
		return false;
	n = atomic_fetch_add(&seen, 1) + 1;
	nth = atomic_load(&armed_nth);
	if (n < nth || (n > nth && !atomic_load(&armed_all)))
		return false;
	atomic_fetch_add(&failed, 1);
	return true;
}

static void *counted(void *data)
{
	if (data)
		count_blocks(1);
	return data;
}

void *failing_malloc(size_t size)
{
	if (fails(FAILING_MEMORY)) {
		errno = ENOMEM;
		return NULL;
	}
	return counted(malloc(size));
}

void *failing_calloc(size_t count, size_t size)
{
	if (fails(FAILING_MEMORY)) {
		errno = ENOMEM;
		return NULL;
	}
	return counted(calloc(count, size));
}

void *failing_realloc(void *data, size_t size)
{
	void *grown;

	if (fails(FAILING_MEMORY)) {
		errno = ENOMEM;
		return NULL;
	}
	grown = realloc(data, size);
	return data ? grown : counted(grown);
}

void failing_free(void *data)
{
	if (data)
		count_blocks(-1);
	free(data);
}

int failing_socket(int domain, int type, int protocol)
{
	if (fails(FAILING_SYSTEM)) {
		errno = EMFILE;
		return -1;
	}
	return socket(domain, type, protocol);
}

int failing_eventfd(unsigned int count, int flags)
{
	if (fails(FAILING_SYSTEM)) {
		errno = EMFILE;
		return -1;
	}
	return eventfd(count, flags);
}

struct started {
	void *(*start)(void *);
	void *arg;
};

static void *thread_main(void *arg)
{
	struct started started = *(struct started *)arg;

	free(arg);
	takes_part = true;
	return started.start(started.arg);
}

int failing_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	struct started *started;
	int r;

	if (fails(FAILING_SYSTEM))
		return EAGAIN;
	started = malloc(sizeof(*started));
	if (!started)
		return EAGAIN;
	*started = (struct started){start, arg};
	r = pthread_create(thread, attr, thread_main, started);
	if (r)
		free(started);
	return r;
}

int failing_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr)
{
	return fails(FAILING_SYSTEM) ? ENOMEM : pthread_cond_init(cond, attr);
}

int failing_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr)
{
	return fails(FAILING_SYSTEM) ? ENOMEM : pthread_mutex_init(mutex, attr);
}
