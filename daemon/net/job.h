/*
 * Work that may block, such as asking for users and groups: done on a thread
 * of its own, while the loop goes on.
 */
#pragma once

#include "daemon/net/loop.h"

struct job;

struct job_options {
	void (*work)(void *context); /* on the thread; nobody else may touch the context meanwhile */
	void (*done)(void *context); /* in the loop, behind it; the job has ended */
	void (*dispose)(
	    void *context); /* instead of done if the job was dropped: frees the context, on any thread */
	void *context;
};

/* 0, -ENOMEM, or why there is no thread. *ret is gone when done() is called. */
int job_start(struct loop *loop, const struct job_options *options, struct job **ret)
    __attribute__((warn_unused_result));

/* Nobody waits for it any more. NULL is fine; returns NULL. */
struct job *job_drop(struct job *job);
