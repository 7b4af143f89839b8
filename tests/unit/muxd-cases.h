/*
 * Around the tests in which calls of muxd fail, one in each case: a folder, a
 * broker, muxd as a process of its own that was forked off, what is asked of
 * it, and what must hold at its end.
 */
#pragma once

#include "proto/buf.h"
#include "proto/muxd.pb-c.h"

#include <stdbool.h>
#include <sys/types.h>

#define CASES_LOG_MAX 65536u
#define CASES_ANSWER_SECONDS 30

struct cases {
	char folder[32];
	char conf[64], socket[64], log[64], notify[64];
	unsigned int port; /* of the broker */
	pid_t broker;
	bool all;		   /* each call fails, and not only some of those that are many */
	unsigned long part, parts; /* and of those the ones of this part, from 0 */
	const char *only;	   /* the scenario; NULL: all of them */
	unsigned int passed, failed;
};

_Noreturn void cases_give_up(const char *what);

/* Arguments: [--all | --part I/N] [SCENARIO]. Starts the broker. */
void cases_begin(struct cases *cases, int argc, char **argv);
bool cases_are_wanted(const struct cases *cases, const char *scenario);
/* Whether the nth call fails, of so many: each, or else about `few` of them. */
bool cases_have_call(const struct cases *cases, unsigned long nth, unsigned long count, unsigned long few);
/* Prints the totals; returns the exit code. */
int cases_end(struct cases *cases, const char *program);

/* A file in the folder. */
void cases_path(const struct cases *cases, const char *name, char path[64]);
void cases_write(const char *path, const char *text);

int cases_listen(const struct cases *cases);
int cases_connect(const struct cases *cases);

/* muxd, with the listening socket handed over, or -1: one that it makes. It hears SIGTERM while its loop
 * runs. */
pid_t cases_fork(const struct cases *cases, int listener);

void cases_read_log(const struct cases *cases, char log[CASES_LOG_MAX]);

/* What is wrong with how it ended; NULL: nothing. */
const char *cases_judge(int status, const char *log);

/* ------------------------------------------------------------------ frames */

Muxd__V1__ClientFrame cases_frame(Muxd__V1__ClientFrame__OpCase op, unsigned int request);
ProtobufCBinaryData cases_text(const char *text);
void cases_add(struct buf *out, const Muxd__V1__ClientFrame *frame, struct span payload);
/* Of protocol 1. */
void cases_add_hello(struct buf *out, const char *upstream);
/* Number 1. */
void cases_add_open(struct buf *out);
void cases_add_declare(struct buf *out, const char *queue, unsigned int request);

/* The next frame of what was received, or NULL: it is not all there. Freed by its free_unpacked(). */
Muxd__V1__ServerFrame *cases_take(struct buf *in);
