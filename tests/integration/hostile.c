/*
 * Processes that come and go as fast as they can.
 *
 *	hostile KIND SECONDS [PROCESSES]
 *
 * of the socket $MUXD_SOCKET:
 *
 *	connect		connect, close
 *	half		connect, half a Hello, close
 *	hello		connect, Hello, close; an answer is not awaited
 *	greeted		connect, Hello, wait for the answer, close
 *	hold		the same, but each process keeps its last eight
 *
 * Prints "KIND: CONNECTS a second, REFUSED refused, FAILED failed": refused by
 * the answer, failed in the kernel. $HOSTILE_HELLO is the Hello, in hexadecimal
 * digits. With $HOSTILE_UID the processes have that user.
 */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES_MAX 1000u
#define ANSWER_SECONDS 20
#define HELD 8u
#define WELCOME_TAG 0x42 /* field 8 of ServerFrame, with a length */

struct counts {
	unsigned long connects;
	unsigned long refused;
	unsigned long failed;
};

struct hello {
	unsigned char bytes[256];
	size_t len;
};

static struct hello read_hello(void)
{
	const char *digits = getenv("HOSTILE_HELLO");
	struct hello hello = {.len = 0};
	unsigned int byte;

	for (; digits && hello.len < sizeof(hello.bytes) && sscanf(digits, "%2x", &byte) == 1; digits += 2)
		hello.bytes[hello.len++] = (unsigned char)byte;
	return hello;
}

static double now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* 1: welcome, 0: anything else, -1: nothing. */
static int read_answer(int fd)
{
	struct timeval patience = {.tv_sec = ANSWER_SECONDS};
	unsigned char answer[512];
	ssize_t n;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	n = recv(fd, answer, sizeof(answer), 0);
	if (n < 9)
		return -1;
	return answer[8] == WELCOME_TAG;
}

/* The one that is to go for it, or -1. */
static int keep(int fd)
{
	static int held[HELD];
	static unsigned long count;
	int *place = &held[count % HELD];
	int gone = count++ < HELD ? -1 : *place;

	*place = fd;
	return gone;
}

static void connect_once(const char *kind, const struct sockaddr_un *address, const struct hello *hello,
			 struct counts *counts)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t len = strcmp(kind, "connect") == 0 ? 0
		     : strcmp(kind, "half") == 0  ? hello->len / 2
						  : hello->len;
	int answer;

	if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0) {
		counts->failed++;
	} else {
		counts->connects++;
		if (len > 0 && send(fd, hello->bytes, len, MSG_NOSIGNAL) < 0 && errno != EPIPE)
			counts->failed++;
		if (strcmp(kind, "greeted") == 0 || strcmp(kind, "hold") == 0) {
			answer = read_answer(fd);
			counts->refused += answer == 0;
			counts->failed += answer < 0;
		}
	}
	if (fd >= 0 && strcmp(kind, "hold") == 0)
		fd = keep(fd);
	if (fd >= 0)
		(void)close(fd);
}

static void become_user(void)
{
	const char *uid = getenv("HOSTILE_UID");
	unsigned int id = uid ? (unsigned int)strtoul(uid, NULL, 10) : 0;

	if (uid && (setgroups(0, NULL) < 0 || setgid(id) < 0 || setuid(id) < 0)) {
		perror("hostile");
		_exit(1);
	}
}

int main(int argc, char **argv)
{
	const char *path = getenv("MUXD_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	double seconds = argc > 2 ? strtod(argv[2], NULL) : 0;
	unsigned int processes = argc > 3 ? (unsigned int)strtoul(argv[3], NULL, 10) : 1;
	struct hello hello = read_hello();
	struct counts all = {0, 0, 0};
	struct counts *each;
	double began = now();

	if (seconds <= 0 || processes == 0 || processes > PROCESSES_MAX || !path ||
	    strlen(path) >= sizeof(address.sun_path))
		return 2;
	memcpy(address.sun_path, path, strlen(path));
	each = mmap(NULL, PROCESSES_MAX * sizeof(*each), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		    -1, 0);
	if (each == MAP_FAILED)
		return 1;
	for (unsigned int i = 0; i < processes; i++) {
		if (fork() != 0)
			continue;
		become_user();
		while (now() - began < seconds)
			connect_once(argv[1], &address, &hello, &each[i]);
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
	for (unsigned int i = 0; i < processes; i++) {
		all.connects += each[i].connects;
		all.refused += each[i].refused;
		all.failed += each[i].failed;
	}
	printf("%s: %.0f a second, %lu refused, %lu failed\n", argv[1],
	       (double)all.connects / (now() - began), all.refused, all.failed);
	return 0;
}
