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
 * on_job() runs in a thread of the library, the main one waits for signals.
 */
#include <muxclient.h>

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct worker {
	struct muxc *c;
	struct muxc_channel *channel;
	uint32_t consumer;
	struct timespec job_time;
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

/* The main thread waits for signals: it is told by one. */
static void give_up(const char *text)
{
	fprintf(stderr, "worker: %s\n", text);
	kill(getpid(), SIGUSR1);
}

static void on_cancelled(struct muxc_channel *channel, uint32_t consumer, const char *text, void *userdata)
{
	(void)channel;
	(void)consumer;
	(void)userdata;
	give_up(text);
}

static void on_channel_closed(struct muxc_channel *channel, const struct muxc_error *error, void *userdata)
{
	(void)channel;
	(void)userdata;
	give_up(error->text);
}

static int start(struct worker *worker, const char *name, struct muxc_error *error)
{
	struct muxc_channel_options options = {.size = sizeof(options), .on_closed = on_channel_closed};
	struct muxc_queue queue = {.size = sizeof(queue), .name = name, .flags = MUXC_DURABLE};
	struct muxc_consumer_options consumer = {.size = sizeof(consumer), .queue = name};
	int r;

	consumer.on_message = on_job;
	consumer.on_cancelled = on_cancelled;
	consumer.userdata = worker;
	r = muxc_connect(NULL, &worker->c, error);
	if (r == 0)
		r = muxc_channel_open(worker->c, &options, &worker->channel);
	if (r == 0)
		r = muxc_queue_declare(worker->channel, &queue, NULL, 0, error);
	if (r == 0)
		r = muxc_qos(worker->channel, 1, 0, error); /* before the consumer it is to hold for */
	if (r == 0)
		r = muxc_consume(worker->channel, &consumer, &worker->consumer, 0, error);
	return r;
}

/* No job begins any more; the one in hand is finished and acknowledged, however long it takes. */
static int finish(const struct worker *worker, struct muxc_error *error)
{
	int r;

	r = muxc_cancel(worker->channel, worker->consumer, 0, error);
	if (r < 0)
		return r;
	do {
		r = muxc_wait_handlers(worker->channel, 0, error);
	} while (r == -ETIMEDOUT);
	return r;
}

int main(int argc, char **argv)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct worker worker = {.c = NULL};
	int number = 0, r;
	double seconds;
	sigset_t set;

	if (argc != 3) {
		fprintf(stderr, "usage: worker QUEUE SECONDS-PER-JOB\n");
		return 2;
	}
	seconds = strtod(argv[2], NULL);
	worker.job_time.tv_sec = (time_t)seconds;
	worker.job_time.tv_nsec = (long)((seconds - (double)worker.job_time.tv_sec) * 1e9);
	setvbuf(stdout, NULL, _IOLBF, 0);
	/* In all threads, as those to come inherit it: so never do they interrupt a job. */
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	r = start(&worker, argv[1], &error);
	if (r == 0) {
		sigwait(&set, &number);
		if (number != SIGUSR1)
			r = finish(&worker, &error);
	}
	if (r < 0)
		fprintf(stderr, "worker: %s\n", error.text);
	/* What is left, if anything: a job that is not acknowledged goes back to its queue. */
	muxc_channel_free(worker.channel);
	muxc_free(worker.c);
	return r < 0 || number == SIGUSR1;
}
