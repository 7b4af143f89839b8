/*
 * SIGINT, SIGTERM and SIGHUP for commands that finish what they have begun when
 * they are told to end. A signal that was ignored when muxctl began, as in the
 * background of a script, stays so.
 */
#pragma once

#include "client/tool/ctl.h"

/*
 * From now on they come by a descriptor, to be polled and read; with_children:
 * SIGCHLD, too. -1: it cannot be had, told, and all is as it was.
 */
int signals_open(struct ctl *ctl, bool with_children);

/* The next one that has come, or 0. */
int signals_read(int fd);

/* They end muxctl again, at once. fd is closed. */
void signals_close(int fd);

/* Ends muxctl by this one, as if it had not been caught: who has started it sees that. */
void signals_end(int number);
