/*
 * Starts the test broker for a test, talks to it over its admin lines and
 * ends it. Plain C, for any test program; a failure ends the program with
 * status 1 and a line on stderr.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct testbroker {
	pid_t pid;
	int port;
	FILE *in;  /* its stdin: admin lines */
	FILE *out; /* its stdout: answers */
};

/*
 * Runs $TESTBROKER, or tests/broker/testbroker below the current folder, on a
 * port of its own. arguments: what goes behind "-p 0", ended by NULL; NULL
 * for none. The broker ends with this process, at the latest.
 */
struct testbroker testbroker_start(const char *const *arguments);

/* Says a line and returns the answer, without its line end, in room. */
const char *testbroker_say(struct testbroker *broker, const char *line, char *room, size_t size);

/* Says it and expects this very answer. */
void testbroker_expect(struct testbroker *broker, const char *line, const char *answer);

/* Stops it; false if it did not end with status 0. */
bool testbroker_stop(struct testbroker *broker) __attribute__((warn_unused_result));
