#include "daemon/net/job.h"

#include "daemon/net/loop-net.h"

#include <event2/event.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct job {
	struct job_options options;
	struct loop *loop;
	struct event *event; /* owned by the loop's side */
	int event_fd;
	pthread_mutex_t lock; /* of the two below */
	bool worked;	      /* the thread has nothing left to do */
	bool dropped;	      /* the loop's side has left: the thread is the last one */
};

static void free_job(struct job *job)
{
	if (job->event_fd >= 0)
		(void)close(job->event_fd);
	(void)pthread_mutex_destroy(&job->lock);
	free(job);
}

static void *run(void *arg)
{
	struct job *job = arg;
	uint64_t one = 1;
	bool is_last;

	job->options.work(job->options.context);
	(void)pthread_mutex_lock(&job->lock);
	job->worked = true;
	is_last = job->dropped;
	/* With the lock held: once it is free the loop's side may be done with the job. */
	if (!is_last && write(job->event_fd, &one, sizeof(one)) < 0)
		is_last = false; /* a counter of 1 always fits */
	(void)pthread_mutex_unlock(&job->lock);
	if (is_last) {
		job->options.dispose(job->options.context);
		free_job(job);
	}
	return NULL;
}

/* It has worked, or soon has nothing to do with the thread: which of the two? */
static bool leave(struct job *job)
{
	bool worked;

	if (job->event)
		event_free(job->event);
	job->event = NULL;
	(void)pthread_mutex_lock(&job->lock);
	worked = job->worked;
	job->dropped = true;
	(void)pthread_mutex_unlock(&job->lock);
	return worked;
}

static void on_worked(evutil_socket_t fd, short what, void *arg)
{
	struct job *job = arg;
	struct job_options options = job->options;

	loop_enter(job->loop);
	(void)leave(job); /* the thread wrote with the lock held, and looks at nothing behind it */
	free_job(job);
	options.done(options.context);
}

static int start_thread(struct job *job)
{
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all, before;
	int r;

	/* Signals are the loop's. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	(void)pthread_attr_init(&attributes);
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attributes, run, job);
	(void)pthread_attr_destroy(&attributes);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

int job_start(struct loop *loop, const struct job_options *options, struct job **ret)
{
	struct job *job = calloc(1, sizeof(*job));
	int r = -ENOMEM;

	if (!job)
		return -ENOMEM;
	job->options = *options;
	job->loop = loop;
	(void)pthread_mutex_init(&job->lock, NULL);
	job->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (job->event_fd < 0)
		r = -errno;
	else
		job->event = event_new(loop_base(loop), job->event_fd, EV_READ, on_worked, job);
	if (job->event && event_add(job->event, NULL) == 0)
		r = start_thread(job);
	if (r < 0) {
		if (job->event)
			event_free(job->event);
		free_job(job);
		return r;
	}
	*ret = job;
	return 0;
}

struct job *job_drop(struct job *job)
{
	if (job && leave(job)) {
		job->options.dispose(job->options.context);
		free_job(job);
	}
	return NULL;
}
