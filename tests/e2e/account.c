/*
 * account: see account.h. What it is started with:
 *
 *	account [-p PUBLISHERS] [-c CONSUMERS] [-r MESSAGES-PER-SECOND] [-o OUTSTANDING]
 *	        [-n CAPACITY] [-m LARGEST] [-f PREFETCH] [-w WINDOW] [-s SEED] [-q PREFIX]
 *	        [-S SOCKET]
 *
 * It says `ready` when all processes are at work. Each line on stdin is a
 * command, answered with `ok ...` or `error ...` when it is done:
 *
 *	fault KIND             from now on
 *	back                   the broker is there again: now
 *	probe PORT SECONDS     it is as soon as something speaks AMQP on PORT
 *	settle SECONDS         waits until each consumer got what it could not
 *	                       have got before the broker was back
 *	calm COUNT SECONDS     waits until fewer than that were published and
 *	                       are not delivered: the next fault's figures shall
 *	                       be its own
 *	run COUNT SECONDS      waits until so many more were delivered
 *	blocked SECONDS        waits until all publishers know of an alarm
 *	unblocked SECONDS      ... that it is over
 *	cancelled N SECONDS    waits until the victim was told N times, in all
 *	end SECONDS            no more is published; drains; then the account
 *
 * Exit code 0 if every guarantee was kept.
 */
#include "config.h"

#include "tests/e2e/account.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TICK_USEC 5000u

struct account {
	struct ledger *ledger;
	pid_t pids[2 * PROCESSES_MAX + 1]; /* publishers, consumers, the victim */
	unsigned int pid_count;
};

/* A command's condition; waits for it. */
typedef bool (*condition_fn)(struct account *account, uint64_t argument);

static bool wait_until(struct account *account, condition_fn is_true, uint64_t argument, uint64_t seconds)
{
	uint64_t end = now_usec() + seconds * 1000000u;

	while (!is_true(account, argument)) {
		if (now_usec() > end)
			return false;
		usleep(TICK_USEC);
	}
	return true;
}

/* ------------------------------------------------------------------- processes */

static void start_process(struct account *account, void (*run)(struct ledger *, unsigned int),
			  unsigned int index)
{
	pid_t pid = fork();

	if (pid < 0) {
		perror("account: fork");
		exit(2);
	}
	if (pid == 0) {
		/* what the driver says is not for them */
		if (!freopen("/dev/null", "r", stdin))
			exit(2);
		run(account->ledger, index);
		exit(0);
	}
	account->pids[account->pid_count++] = pid;
}

static void run_the_victim(struct ledger *ledger, unsigned int index)
{
	run_victim(ledger);
}

static bool all_ready(struct account *account, uint64_t argument)
{
	for (unsigned int i = 0; i < account->pid_count; i++)
		if (!atomic_load(&account->ledger->ready[i]))
			return false;
	return true;
}

/* Consumers declare the queues, so they go first. */
static void start_processes(struct account *account)
{
	const struct settings *settings = &account->ledger->settings;

	account->pid_count = settings->publishers; /* their places come first */
	for (unsigned int i = 0; i < settings->publishers; i++)
		atomic_store(&account->ledger->ready[i], true);
	for (unsigned int i = 0; i < settings->consumers; i++)
		start_process(account, run_consumer, i);
	start_process(account, run_the_victim, 0);
	if (!wait_until(account, all_ready, 0, 60)) {
		fputs("account: not all consumers have started\n", stderr);
		exit(2);
	}
	account->pid_count = 0;
	for (unsigned int i = 0; i < settings->publishers; i++)
		atomic_store(&account->ledger->ready[i], false);
	for (unsigned int i = 0; i < settings->publishers; i++)
		start_process(account, run_publisher, i);
	account->pid_count = settings->publishers + settings->consumers + 1;
}

/* Waits for processes `from` to before `to`; one that fails or must be killed is a client error. */
static void reap(struct account *account, unsigned int from, unsigned int to, uint64_t seconds)
{
	uint64_t end = now_usec() + seconds * 1000000u;

	for (unsigned int i = from; i < to; i++) {
		int status = 0;
		pid_t pid;

		while ((pid = waitpid(account->pids[i], &status, WNOHANG)) == 0 && now_usec() < end)
			usleep(TICK_USEC);
		if (pid == 0) {
			kill(account->pids[i], SIGKILL);
			waitpid(account->pids[i], &status, 0);
		}
		if (status != 0)
			ledger_complain(account->ledger, COUNT_CLIENT_ERRORS,
					"process %u ended with status %x%s", i, (unsigned int)status,
					pid ? "" : ": it was still waiting");
		account->pids[i] = 0;
	}
}

/* -------------------------------------------------------------------- commands */

static bool speaks_amqp(struct account *account, uint64_t port)
{
	static const char greeting[8] = "AMQP\0\0\x09\x01";
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct timeval patience = {.tv_usec = 300000};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char frame_type = 0;
	bool speaks;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	speaks = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
		 connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
		 send(fd, greeting, sizeof(greeting), MSG_NOSIGNAL) == (ssize_t)sizeof(greeting) &&
		 recv(fd, &frame_type, 1, 0) == 1 && frame_type == 1;
	if (fd >= 0)
		close(fd);
	return speaks;
}

static void set_back(struct account *account)
{
	struct fault *fault = ledger_fault(account->ledger);

	if (fault)
		atomic_store(&fault->back_usec, now_usec());
}

static bool is_settled(struct account *account, uint64_t argument)
{
	struct fault *fault = ledger_fault(account->ledger);

	for (unsigned int i = 0; fault && i < account->ledger->settings.consumers; i++)
		if (atomic_load(&fault->first_usec[i]) == 0)
			return false;
	return true;
}

static bool were_delivered(struct account *account, uint64_t count)
{
	return ledger_get(account->ledger, COUNT_DELIVERED) >= count;
}

static bool is_calm(struct account *account, uint64_t count)
{
	return ledger_get(account->ledger, COUNT_ATTEMPTED) <
	       ledger_get(account->ledger, COUNT_FIRST_SEEN) + count;
}

static bool know_of_alarm(struct account *account, uint64_t alarm)
{
	for (unsigned int i = 0; i < account->ledger->settings.publishers; i++)
		if (atomic_load(&account->ledger->blocked[i]) != (alarm != 0))
			return false;
	return true;
}

static bool were_cancelled(struct account *account, uint64_t count)
{
	return ledger_get(account->ledger, COUNT_CANCELLED) >= count;
}

static bool is_drained(struct account *account, uint64_t argument)
{
	uint64_t before = ledger_get(account->ledger, COUNT_DELIVERED);

	usleep(100000);
	if (count_unseen(account->ledger) || waiting_in_queues(account->ledger))
		return false;
	usleep(500000); /* what is on its way comes now, or is found in the queues later */
	return ledger_get(account->ledger, COUNT_DELIVERED) == before;
}

static bool end(struct account *account, uint64_t seconds)
{
	struct ledger *ledger = account->ledger;
	unsigned int publishers = ledger->settings.publishers;

	atomic_store(&ledger->stop_publishing, true);
	reap(account, 0, publishers, seconds);
	wait_until(account, is_drained, 0, seconds);
	atomic_store(&ledger->stop_consuming, true);
	reap(account, publishers, account->pid_count, seconds);
	empty_queues(ledger);
	return report(ledger);
}

static bool run_command(struct account *account, const char *word, unsigned long long first,
			unsigned long long second)
{
	if (strcmp(word, "back") == 0) {
		set_back(account);
	} else if (strcmp(word, "probe") == 0) {
		if (!wait_until(account, speaks_amqp, first, second))
			return false;
		set_back(account);
	} else if (strcmp(word, "settle") == 0) {
		return wait_until(account, is_settled, 0, first);
	} else if (strcmp(word, "calm") == 0) {
		return wait_until(account, is_calm, first, second);
	} else if (strcmp(word, "run") == 0) {
		return wait_until(account, were_delivered,
				  ledger_get(account->ledger, COUNT_DELIVERED) + first, second);
	} else if (strcmp(word, "blocked") == 0 || strcmp(word, "unblocked") == 0) {
		return wait_until(account, know_of_alarm, word[0] == 'b', first);
	} else if (strcmp(word, "cancelled") == 0) {
		return wait_until(account, were_cancelled, first, second);
	} else {
		return false;
	}
	return true;
}

/* Returns the exit code. */
static int take_commands(struct account *account)
{
	char line[128], word[64];
	unsigned long long first, second;

	while (fgets(line, sizeof(line), stdin)) {
		first = second = 0;
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "fault ", 6) == 0) {
			puts(ledger_begin_fault(account->ledger, line + 6) ? "ok fault"
									   : "error too many faults");
			continue;
		}
		if (sscanf(line, "%63s %llu %llu", word, &first, &second) < 1)
			continue;
		if (strcmp(word, "end") == 0)
			return end(account, first) ? 0 : 1;
		printf("%s %s\n", run_command(account, word, first, second) ? "ok" : "error", line);
	}
	return end(account, 60) ? 0 : 1;
}

/* --------------------------------------------------------------------- options */

static unsigned long number(const char *text, unsigned long max)
{
	char *rest;
	unsigned long value = strtoul(text, &rest, 10);

	if (*text >= '0' && *text <= '9' && *rest == '\0' && value >= 1 && value <= max)
		return value;
	fprintf(stderr, "account: '%s' is not a number from 1 to %lu\n", text, max);
	exit(2);
}

static void set_option(struct settings *settings, int option, const char *value)
{
	switch (option) {
	case 'p':
		settings->publishers = (unsigned int)number(value, PROCESSES_MAX);
		break;
	case 'c':
		settings->consumers = (unsigned int)number(value, PROCESSES_MAX - 1);
		break;
	case 'r':
		settings->rate = number(value, 1000000);
		break;
	case 'o':
		settings->outstanding = number(value, 1000000);
		break;
	case 'n':
		settings->capacity = number(value, 1ul << 32);
		break;
	case 'm':
		settings->largest = number(value, 16ul << 20);
		break;
	case 'f':
		settings->prefetch = number(value, UINT16_MAX);
		break;
	case 'w':
		settings->window = number(value, 1000000);
		break;
	case 's':
		settings->seed = number(value, UINT32_MAX);
		break;
	case 'q':
		settings->prefix = value;
		break;
	case 'S':
		settings->socket = value;
		break;
	default:
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct settings settings = {.publishers = 8,
				    .consumers = 8,
				    .rate = 2000,
				    .outstanding = 1000,
				    .capacity = 4000000,
				    .largest = 65536,
				    .prefetch = 100,
				    .window = 4096,
				    .seed = 1,
				    .prefix = "e2e"};
	struct account account = {.pid_count = 0};
	int option;

	while ((option = getopt(argc, argv, "p:c:r:o:n:m:f:w:s:q:S:")) != -1)
		set_option(&settings, option, optarg);
	setvbuf(stdout, NULL, _IOLBF, 0);
	account.ledger = ledger_new(&settings);
	start_processes(&account);
	if (!wait_until(&account, all_ready, 0, 60)) {
		fputs("account: not all publishers have started\n", stderr);
		return 2;
	}
	puts("ready");
	return take_commands(&account);
}
