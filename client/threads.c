/*
 * Starting and stopping the threads of a connection.
 */
#include "client/internal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

bool in_dispatch_thread(const struct muxc *c)
{
	return c->has_threads && pthread_equal(pthread_self(), c->dispatch_thread);
}

/* With signals blocked, so that the program's handlers run in the program's threads. */
static int start_both(struct muxc *c)
{
	sigset_t all, before;
	pthread_t io_thread;
	bool io_runs;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	(void)pthread_mutex_lock(&c->lock);
	r = -pthread_create(&c->io_thread, NULL, io_thread_main, c);
	if (r == 0) {
		c->refs++;
		r = -pthread_create(&c->dispatch_thread, NULL, dispatch_thread_main, c);
		if (r == 0) {
			c->refs++;
			c->has_threads = true;
		} else {
			c->stopping = true;
			io_wake(c);
		}
	}
	io_thread = c->io_thread;
	io_runs = c->stopping;
	/* From here on a handler may free the connection, if it has both threads. */
	(void)pthread_mutex_unlock(&c->lock);
	if (io_runs)
		(void)pthread_join(io_thread, NULL);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

int threads_start(struct muxc *c, struct muxc_error *ret_error)
{
	int r;

	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wake_fd < 0)
		return error_set(ret_error, -errno, "cannot make an eventfd: %s", strerror(errno));
	r = start_both(c);
	if (r < 0)
		return error_set(ret_error, r, "cannot start a thread: %s", strerror(-r));
	return 0;
}

void threads_stop(struct muxc *c)
{
	if (!c->has_threads)
		return;
	(void)pthread_join(c->io_thread, NULL);
	if (in_dispatch_thread(c))
		(void)pthread_detach(c->dispatch_thread);
	else
		(void)pthread_join(c->dispatch_thread, NULL);
}
