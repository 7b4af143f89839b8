/*
 * A worker: takes one job after the other from a queue, and acknowledges each
 * when it is done.
 *
 *	worker QUEUE SECONDS-PER-JOB
 *
 * As many as wanted share a queue. A job may take hours: the broker's heartbeats
 * are muxd's business. The prefetch is 1, so a worker that is busy keeps no
 * other job from the others. When a worker dies, its job, which it had not
 * acknowledged, is given to another one, marked as redelivered: a job is done
 * at least once, and must bear to be done again.
 *
 * SIGTERM and SIGINT let it finish the job in hand, and leave.
 *
 * There are no threads (MUXC_LOOP): muxc_process() calls on_job(), here, in the
 * main thread.
 */
#include <muxclient-watch.h>

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

struct worker {
	struct muxc *c;
	struct muxc_channel *channel;
	struct timespec job_time;
	bool cancelled;
};

/* The work itself: instead of this, yours. False: it cannot be done. */
static bool do_job(const struct worker *worker, const char *job, size_t len)
{
	(void)job;
	(void)len;
	nanosleep(&worker->job_time, NULL);
	return true;
}

static void on_job(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	struct worker *worker = userdata;
	size_t len;
	const char *job = muxc_message_get_body(message, &len);

	printf("begins: %.*s%s\n", (int)len, job, muxc_message_is_redelivered(message) ? " (again)" : "");
	if (do_job(worker, job, len)) {
		printf("done: %.*s\n", (int)len, job);
		muxc_ack(channel, muxc_message_get_tag(message), 0);
	} else {
		/* Not MUXC_REQUEUE, which would try it again at once and for ever: to the dead letters. */
		muxc_nack(channel, muxc_message_get_tag(message), 0);
	}
}

static void on_cancelled(struct muxc_channel *channel, uint32_t consumer, const char *text, void *userdata)
{
	struct worker *worker = userdata;

	(void)channel;
	(void)consumer;
	fprintf(stderr, "worker: the broker has ended the consumer: %s\n", text);
	worker->cancelled = true;
}

static int start(struct worker *worker, const char *name, struct muxc_error *error)
{
	struct muxc_options options = {.size = sizeof(options), .flags = MUXC_LOOP};
	struct muxc_queue queue = {.size = sizeof(queue), .name = name, .flags = MUXC_DURABLE};
	struct muxc_consumer_options consumer = {.size = sizeof(consumer), .queue = name};
	int r;

	consumer.on_message = on_job;
	consumer.on_cancelled = on_cancelled;
	consumer.userdata = worker;
	r = muxc_connect(&options, &worker->c, error);
	if (r == 0)
		r = muxc_channel_open(worker->c, NULL, &worker->channel);
	if (r == 0)
		r = muxc_queue_declare(worker->channel, &queue, NULL, 0, error);
	if (r == 0)
		r = muxc_qos(worker->channel, 1, 0, error); /* before the consumer it is to hold for */
	if (r == 0)
		r = muxc_consume(worker->channel, &consumer, NULL, 0, error);
	return r;
}

/* Sleeps until muxc_process() has something to do. False: a signal has come. */
static bool wait_for_work(struct muxc *c, int signals)
{
	struct timespec now;
	struct muxc_watch watch;
	struct pollfd fds[2];

	/* The socket is asked for each time: it is another one after muxd was restarted, and -1 meanwhile. */
	muxc_watch_update(c, &watch);
	fds[0] = (struct pollfd){.fd = watch.fd, .events = (short)watch.events};
	fds[1] = (struct pollfd){.fd = signals, .events = POLLIN};
	clock_gettime(CLOCK_MONOTONIC, &now);
	poll(
	    fds, 2,
	    muxc_watch_msec(watch.until_usec, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000));
	return fds[1].revents == 0;
}

/* Signals are read from a descriptor, when we wait for work; never do they interrupt a job. */
static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

int main(int argc, char **argv)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct worker worker = {.c = NULL};
	double seconds;
	int signals, r;

	if (argc != 3) {
		fprintf(stderr, "usage: worker QUEUE SECONDS-PER-JOB\n");
		return 2;
	}
	seconds = strtod(argv[2], NULL);
	worker.job_time.tv_sec = (time_t)seconds;
	worker.job_time.tv_nsec = (long)((seconds - (double)worker.job_time.tv_sec) * 1e9);
	setvbuf(stdout, NULL, _IOLBF, 0);
	signals = open_signals();
	if (signals < 0) {
		perror("worker: signalfd");
		return 1;
	}
	r = start(&worker, argv[1], &error);
	while (r >= 0 && !worker.cancelled && wait_for_work(worker.c, signals)) {
		/* Calls on_job(). With a prefetch of 1 the next job comes after this one was acknowledged. */
		r = muxc_process(worker.c);
		if (r < 0)
			muxc_get_error(worker.c, &error);
		else
			r = muxc_channel_get_error(worker.channel, &error);
	}
	if (r < 0)
		fprintf(stderr, "worker: %s\n", error.text);
	/* A job that has come meanwhile goes back to its queue. */
	muxc_channel_free(worker.channel);
	muxc_free(worker.c);
	close(signals);
	return r < 0 || worker.cancelled;
}
