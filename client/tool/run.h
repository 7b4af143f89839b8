/*
 * Running a command for a message: its body on stdin, all else in variables
 * of the environment, MUXCTL_*.
 */
#pragma once

#include "config.h"

#include "client/muxclient.h"

#include <sys/types.h>

/*
 * Starts argv[0], looked for in PATH. Returns 0 and the process, which the
 * caller waits for, or a negative errno.
 */
int run_start(char *const *argv, const char *queue, const struct muxc_message *message, pid_t *ret_pid);
