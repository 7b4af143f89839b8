/*
 * Two owners of memory: what the thread and the loop share is struct shared,
 * freed by the last of the two (the thread may still be in getaddrinfo() when
 * the daemon ends). A request belongs to the queue it is in: waiting or, when
 * answered, done; while it is looked up it belongs to the thread. Cancelling
 * only clears its callback, which the loop's side alone looks at.
 */
#include "daemon/net/resolver.h"

#include "daemon/net/loop-net.h"

#include <event2/event.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct resolve {
	struct list node;
	char *host;    /* owned */
	char *port;    /* owned */
	resolve_fn fn; /* NULL: cancelled. The loop's */
	void *context;
	int error;
	struct addrinfo *addresses;
};

struct shared {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list waiting;
	struct list done;
	int event_fd; /* tells the loop that done has something */
	bool busy;    /* the thread is in getaddrinfo() */
	bool stop;
	unsigned int owners;
};

struct resolver {
	struct loop *loop;
	struct shared *shared;
	struct event *event;
	pthread_t thread;
	bool started;
};

/* ------------------------------------------------------------------ shared */

static void free_request(struct resolve *request)
{
	if (request->addresses)
		freeaddrinfo(request->addresses);
	free(request->host);
	free(request->port);
	free(request);
}

static void free_requests(struct list *queue)
{
	struct resolve *request;

	while ((request = list_first(queue, struct resolve, node))) {
		list_unlink(&request->node);
		free_request(request);
	}
}

static void free_shared(struct shared *shared)
{
	free_requests(&shared->waiting);
	free_requests(&shared->done);
	(void)close(shared->event_fd);
	(void)pthread_cond_destroy(&shared->wake);
	(void)pthread_mutex_destroy(&shared->lock);
	free(shared);
}

/* With the lock held; releases it. */
static void leave_shared(struct shared *shared)
{
	bool last = --shared->owners == 0;

	(void)pthread_mutex_unlock(&shared->lock);
	if (last)
		free_shared(shared);
}

static struct shared *make_shared(void)
{
	struct shared *shared = calloc(1, sizeof(*shared));

	if (!shared)
		return NULL;
	shared->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (shared->event_fd < 0) {
		free(shared);
		return NULL;
	}
	list_init(&shared->waiting);
	list_init(&shared->done);
	(void)pthread_mutex_init(&shared->lock, NULL);
	(void)pthread_cond_init(&shared->wake, NULL);
	shared->owners = 1;
	return shared;
}

/* ------------------------------------------------------------------ the thread */

static void look_up(struct resolve *request)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};

	request->error = getaddrinfo(request->host, request->port, &hints, &request->addresses);
	/* A host with nothing but loopback has no "configured" addresses; its own names must work. */
	if (request->error) {
		hints.ai_flags = 0;
		request->error = getaddrinfo(request->host, request->port, &hints, &request->addresses);
	}
	if (request->error)
		request->addresses = NULL;
}

static void *run(void *arg)
{
	struct shared *shared = arg;
	struct resolve *request;
	uint64_t one = 1;

	(void)pthread_mutex_lock(&shared->lock);
	while (!shared->stop) {
		request = list_first(&shared->waiting, struct resolve, node);
		if (!request) {
			(void)pthread_cond_wait(&shared->wake, &shared->lock);
			continue;
		}
		list_unlink(&request->node);
		shared->busy = true;
		(void)pthread_mutex_unlock(&shared->lock);
		look_up(request);
		(void)pthread_mutex_lock(&shared->lock);
		shared->busy = false;
		list_append(&shared->done, &request->node);
		/* Can only fail when the counter is at its end, and then the loop has been told. */
		if (write(shared->event_fd, &one, sizeof(one)) < 0)
			continue;
	}
	leave_shared(shared);
	return NULL;
}

/* Signals are the loop's. */
static int start_thread(struct resolver *resolver)
{
	sigset_t all;
	sigset_t old;
	int error;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	resolver->shared->owners++;
	error = pthread_create(&resolver->thread, NULL, run, resolver->shared);
	if (error)
		resolver->shared->owners--;
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	resolver->started = error == 0;
	return -error;
}

/* ------------------------------------------------------------------ the loop's side */

static void on_done(evutil_socket_t fd, short what, void *arg)
{
	struct resolver *resolver = arg;
	struct shared *shared = resolver->shared;
	struct resolve *request;
	struct list done;
	uint64_t count;

	loop_enter(resolver->loop);
	if (read(fd, &count, sizeof(count)) < 0)
		return;
	list_init(&done);
	(void)pthread_mutex_lock(&shared->lock);
	list_splice(&done, &shared->done);
	(void)pthread_mutex_unlock(&shared->lock);
	while ((request = list_first(&done, struct resolve, node))) {
		list_unlink(&request->node);
		if (request->fn) {
			struct addrinfo *addresses = request->addresses;

			request->addresses = NULL;
			request->fn(request->context, request->error, addresses);
		}
		free_request(request);
	}
}

int resolver_new(struct loop *loop, struct resolver **ret)
{
	struct resolver *resolver = calloc(1, sizeof(*resolver));

	if (!resolver)
		return -ENOMEM;
	resolver->loop = loop;
	resolver->shared = make_shared();
	if (resolver->shared)
		resolver->event = event_new(loop_base(loop), resolver->shared->event_fd, EV_READ | EV_PERSIST,
					    on_done, resolver);
	if (!resolver->event || event_add(resolver->event, NULL) != 0) {
		resolver_free(resolver);
		return -ENOMEM;
	}
	*ret = resolver;
	return 0;
}

struct resolver *resolver_free(struct resolver *resolver)
{
	bool busy;

	if (!resolver)
		return NULL;
	if (resolver->event)
		event_free(resolver->event);
	if (resolver->shared) {
		(void)pthread_mutex_lock(&resolver->shared->lock);
		resolver->shared->stop = true;
		busy = resolver->shared->busy;
		(void)pthread_cond_signal(&resolver->shared->wake);
		leave_shared(resolver->shared);
		if (resolver->started && busy)
			(void)pthread_detach(resolver->thread);
		else if (resolver->started)
			(void)pthread_join(resolver->thread, NULL);
	}
	free(resolver);
	return NULL;
}

int resolve_start(struct resolver *resolver, const char *host, const char *port, resolve_fn fn, void *context,
		  struct resolve **ret)
{
	struct resolve *request;
	int r;

	if (!resolver->started) {
		r = start_thread(resolver);
		if (r < 0)
			return r;
	}
	request = calloc(1, sizeof(*request));
	if (!request)
		return -ENOMEM;
	request->host = strdup(host);
	request->port = strdup(port);
	if (!request->host || !request->port) {
		free_request(request);
		return -ENOMEM;
	}
	request->fn = fn;
	request->context = context;
	*ret = request;
	(void)pthread_mutex_lock(&resolver->shared->lock);
	list_append(&resolver->shared->waiting, &request->node);
	(void)pthread_cond_signal(&resolver->shared->wake);
	(void)pthread_mutex_unlock(&resolver->shared->lock);
	return 0;
}

void resolve_cancel(struct resolve *resolve)
{
	resolve->fn = NULL;
}
