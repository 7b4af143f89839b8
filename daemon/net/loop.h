/*
 * The event loop. Everything in the daemon but the resolver runs on its
 * thread.
 *
 * A turn is: wait for events; read the clock once; dispatch what is ready;
 * then, in this order, deferred tasks, timers, the owner's end-of-turn hook,
 * one write for each stream that has output, and at last the freeing of what
 * was closed meanwhile. So a burst of input costs one write per peer, and an
 * object that is closed while it is being dispatched (our own stack frames are
 * the hazard, not the library) stays in memory until nobody can be using it.
 *
 * Writing tells the owner how far the peers' sockets took their output, which
 * may cause more of it; the hook and the writes are then repeated a few times,
 * and what is left makes the next turn not wait.
 *
 * This folder is the only one that knows libevent.
 */
#pragma once

#include "daemon/base/list.h"
#include "daemon/base/timerq.h"

struct event_base;
struct loop;

/* What the owner of the loop does in each turn; any may be NULL. */
struct loop_hooks {
	void (*begin)(void *context, struct mono now); /* before anything else in a turn */
	struct mono (*next_deadline)(void *context);   /* of what run_timers does */
	void (*run_timers)(void *context);	       /* when that has come */
	void (*turn)(void *context);		       /* the end of the turn, before the writes */
	uint64_t (*pause_usec)(void *context);	       /* wait so long before polling again; NULL: never */
};

/* 0, -ENOMEM, or what the kernel refused. */
int loop_new(struct loop **ret) __attribute__((warn_unused_result));

/* Closes every stream that is left and frees what is doomed. NULL is fine; returns NULL. */
struct loop *loop_free(struct loop *loop);

/* The hooks outlive the loop. */
void loop_set_hooks(struct loop *loop, const struct loop_hooks *hooks, void *context);

/* Turns until loop_stop(). 0, or a negative errno when the kernel's polling failed. */
int loop_run(struct loop *loop) __attribute__((warn_unused_result));

/* One turn; waits for events only if told to and nothing is left over from the last. For tests. */
int loop_turn(struct loop *loop, bool wait) __attribute__((warn_unused_result));

/* Ends loop_run() at the end of this turn. */
void loop_stop(struct loop *loop);

/* The time of the turn. */
struct mono loop_now(const struct loop *loop);

/* The time now, for who measures something within a turn. */
struct mono loop_clock(void);

/* Sets or moves a timer, which fires in loop time; MONO_NEVER clears it. */
void loop_set_timer(struct loop *loop, struct timer *timer, struct mono when);
void loop_clear_timer(struct loop *loop, struct timer *timer);

typedef void (*loop_signal_fn)(void *context, int signal_number);

/* Calls fn in the loop when the signal came. 0, -ENOMEM or -EEXIST (one watcher for each signal). */
int loop_watch_signal(struct loop *loop, int signal_number, loop_signal_fn fn, void *context)
    __attribute__((warn_unused_result));

/*
 * Work put off until no stack frame of its object is active: runs later in the
 * same turn. Embedded in its object; deferring it twice runs it once.
 */
struct loop_task {
	struct list node;
	void (*run)(struct loop_task *task);
};

void loop_task_init(struct loop_task *task, void (*run)(struct loop_task *task));
void loop_defer(struct loop *loop, struct loop_task *task);
void loop_task_cancel(struct loop_task *task);

/* An object that ends: freed by its function at the end of the turn. */
struct doomed {
	struct list node;
	void (*free)(struct doomed *doomed);
};

void loop_doom(struct loop *loop, struct doomed *doomed, void (*free)(struct doomed *doomed));

/* True while streams are still draining their last output (see stream_close()). */
bool loop_is_draining(const struct loop *loop);
