#include "tests/integration/testbroker.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 32u

static void fail(const char *what)
{
	fprintf(stderr, "test broker: ");
	perror(what);
	exit(1);
}

static void run_program(const int in[2], const int out[2], const char *const *arguments)
{
	const char *program = getenv("TESTBROKER");
	char *argv[ARGUMENTS_MAX + 1];
	size_t count = 0;

	if (!program)
		program = "tests/broker/testbroker";
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (dup2(in[0], STDIN_FILENO) < 0 || dup2(out[1], STDOUT_FILENO) < 0)
		_exit(1);
	close(in[0]);
	close(in[1]);
	close(out[0]);
	close(out[1]);
	argv[count++] = strdup(program);
	argv[count++] = strdup("-p");
	argv[count++] = strdup("0");
	for (; arguments && *arguments && count < ARGUMENTS_MAX; arguments++)
		argv[count++] = strdup(*arguments);
	argv[count] = NULL;
	execv(program, argv);
	perror(program);
	_exit(1);
}

struct testbroker testbroker_start(const char *const *arguments)
{
	struct testbroker broker = {.pid = -1};
	int in[2], out[2];

	if (pipe(in) < 0 || pipe(out) < 0)
		fail("pipe");
	broker.pid = fork();
	if (broker.pid < 0)
		fail("fork");
	if (broker.pid == 0)
		run_program(in, out, arguments);
	close(in[0]);
	close(out[1]);
	broker.in = fdopen(in[1], "w");
	broker.out = fdopen(out[0], "r");
	if (!broker.in || !broker.out)
		fail("fdopen");
	if (fscanf(broker.out, "listening %d", &broker.port) != 1 || fgetc(broker.out) != '\n')
		fail("its first line");
	return broker;
}

const char *testbroker_say(struct testbroker *broker, const char *line, char *room, size_t size)
{
	fprintf(broker->in, "%s\n", line);
	fflush(broker->in);
	if (!fgets(room, (int)size, broker->out))
		fail(line);
	room[strcspn(room, "\n")] = '\0';
	return room;
}

void testbroker_expect(struct testbroker *broker, const char *line, const char *answer)
{
	char room[256];

	if (strcmp(testbroker_say(broker, line, room, sizeof(room)), answer) == 0)
		return;
	fprintf(stderr, "test broker: %s: '%s' instead of '%s'\n", line, room, answer);
	exit(1);
}

bool testbroker_stop(struct testbroker *broker)
{
	int status = -1;
	pid_t pid;

	testbroker_expect(broker, "stop", "ok stop");
	pid = waitpid(broker->pid, &status, 0);
	fclose(broker->in);
	fclose(broker->out);
	return pid == broker->pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
