/*
 * A pre-forking server: the parent prepares, forks N children, and sees to it
 * that there are N. Each child has a session of its own, takes requests from
 * one queue, and publishes its answers to another.
 *
 *	prefork REQUESTS ANSWERS CHILDREN
 *
 * What fork() means for libmuxclient: a connection belongs to the process that
 * made it. In a child every call on it gives -ECHILD and touches nothing, so a
 * child frees what it has inherited, which is silent, and connects itself:
 * that is cheap, muxd's connection to the broker is there already. (With
 * MUXC_REATTACH the library does as much by itself.)
 *
 * All is in loop mode: so there are no threads when the parent forks.
 *
 * SIGTERM or SIGINT: the children finish the request in hand, and all leave.
 */
#include <muxclient-watch.h>

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct server {
	const char *requests;
	const char *answers;
	struct muxc *c; /* the parent's */
	long children_max;
	long children; /* that run */
	pid_t *pids;
	bool stopping;
	bool failed;
};

static const struct muxc_options options = {.size = sizeof(options), .flags = MUXC_LOOP};

/* -------------------------------------------------------------------- children */

static void on_request(struct muxc_channel *channel, struct muxc_message *message, void *userdata)
{
	const struct server *server = userdata;
	struct muxc_publication answer = {.size = sizeof(answer), .routing_key = server->answers};
	struct muxc_error error = MUXC_ERROR_INIT;
	char text[256];
	size_t len;
	const char *request = muxc_message_get_body(message, &len);

	/* Here is where the work is done. */
	snprintf(text, sizeof(text), "%d: %.*s", (int)getpid(), (int)len, request);
	answer.body = text;
	answer.body_len = strlen(text);
	/* The acknowledgement follows the answer on its channel: so never is it there without it. */
	if (muxc_publish_full(channel, &answer, 0, NULL, &error) == 0)
		muxc_ack(channel, muxc_message_get_tag(message), 0);
	else
		fprintf(stderr, "prefork: child %d: %s\n", (int)getpid(), error.text);
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

static int serve(const struct server *server, struct muxc *c, struct muxc_channel *channel, int signals,
		 struct muxc_error *error)
{
	struct muxc_consumer_options consumer = {.size = sizeof(consumer), .queue = server->requests};
	int r;

	consumer.on_message = on_request;
	consumer.userdata = (void *)(uintptr_t)server;
	r = muxc_qos(channel, 1, 0, error);
	if (r == 0)
		r = muxc_consume(channel, &consumer, NULL, 0, error);
	while (r >= 0 && wait_for_work(c, signals)) {
		r = muxc_process(c);
		if (r < 0)
			muxc_get_error(c, error);
		else
			r = muxc_channel_get_error(channel, error);
	}
	return r;
}

static int child(struct server *server, const sigset_t *set)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel *channel = NULL;
	struct muxc *c = NULL;
	int signals, r;

	prctl(PR_SET_PDEATHSIG, SIGTERM); /* should the parent be killed */
	/* To see what it is like: nobody needs to do this. */
	r = muxc_ping(server->c, 0, &error);
	printf("child %d, of the parent's connection: %s\n", (int)getpid(),
	       r == -ECHILD ? error.text : "it can be used, which is wrong");
	server->c = muxc_free(server->c);

	signals = signalfd(-1, set, SFD_CLOEXEC);
	r = signals < 0 ? -errno : muxc_connect(&options, &c, &error);
	if (r == 0)
		r = muxc_channel_open(c, NULL, &channel);
	if (r == 0)
		r = serve(server, c, channel, signals, &error);
	if (r < 0)
		fprintf(stderr, "prefork: child %d: %s\n", (int)getpid(), error.text);
	muxc_channel_free(channel);
	muxc_free(c);
	return r < 0;
}

/* --------------------------------------------------------------------- parent */

static void stop_children(struct server *server)
{
	long i;

	server->stopping = true;
	for (i = 0; i < server->children_max; i++) {
		if (server->pids[i] > 0)
			kill(server->pids[i], SIGTERM);
	}
}

static void start_child(struct server *server, long i, const sigset_t *set)
{
	pid_t pid;

	fflush(stdout); /* or the child prints it again */
	pid = fork();
	if (pid == 0) {
		int status = child(server, set);

		free(server->pids);
		exit(status);
	}
	server->pids[i] = pid;
	if (pid > 0) {
		server->children++;
		return;
	}
	perror("prefork: fork");
	server->failed = true;
	stop_children(server);
}

/* A child that was killed is replaced; one that gave up would only do so again. */
static void reap_children(struct server *server, const sigset_t *set)
{
	int status;
	pid_t pid;
	long i;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (i = 0; i < server->children_max && server->pids[i] != pid; i++)
			;
		if (i == server->children_max)
			continue;
		server->pids[i] = 0;
		server->children--;
		if (server->stopping)
			continue;
		if (WIFSIGNALED(status)) {
			printf("child %d was killed, another one takes its place\n", (int)pid);
			start_child(server, i, set);
		} else {
			server->failed = true;
			stop_children(server);
		}
	}
}

static int declare(struct server *server, struct muxc_error *error)
{
	struct muxc_queue queue = {.size = sizeof(queue), .flags = MUXC_DURABLE};
	struct muxc_channel *channel = NULL;
	int r;

	r = muxc_channel_open(server->c, NULL, &channel);
	queue.name = server->requests;
	if (r == 0)
		r = muxc_queue_declare(channel, &queue, NULL, 0, error);
	queue.name = server->answers;
	if (r == 0)
		r = muxc_queue_declare(channel, &queue, NULL, 0, error);
	muxc_channel_free(channel);
	return r;
}

static void run(struct server *server)
{
	sigset_t set, for_children;
	int number;
	long i;

	sigemptyset(&for_children);
	sigaddset(&for_children, SIGTERM);
	sigaddset(&for_children, SIGINT);
	set = for_children;
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL); /* the children inherit this */
	for (i = 0; i < server->children_max && !server->stopping; i++)
		start_child(server, i, &for_children);
	while (server->children > 0) {
		if (sigwait(&set, &number) != 0)
			continue;
		if (number == SIGCHLD)
			reap_children(server, &for_children);
		else
			stop_children(server);
	}
}

int main(int argc, char **argv)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct server server = {.c = NULL};
	int r;

	if (argc != 4 || strtol(argv[3], NULL, 10) < 1) {
		fprintf(stderr, "usage: prefork REQUESTS ANSWERS CHILDREN\n");
		return 2;
	}
	server.requests = argv[1];
	server.answers = argv[2];
	server.children_max = strtol(argv[3], NULL, 10);
	server.pids = calloc((size_t)server.children_max, sizeof(*server.pids));
	if (!server.pids) {
		perror("prefork");
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	/* A parent need not connect; this one declares the queues, once for all. */
	r = muxc_connect(&options, &server.c, &error);
	if (r == 0)
		r = declare(&server, &error);
	if (r == 0)
		run(&server);
	else
		fprintf(stderr, "prefork: %s\n", error.text);
	muxc_free(server.c);
	free(server.pids);
	return r < 0 || server.failed;
}
