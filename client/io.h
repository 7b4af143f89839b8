/* The I/O thread, and reading; see io.c. */
#pragma once

#include "client/muxclient.h"

/* Interrupts the I/O thread's poll; nothing in loop mode. */
void io_wake(struct muxc *c);
void *io_thread_main(void *arg);
/* Reads once and handles what came: 1, or 0 when there was nothing. Without the lock. */
int io_read(struct muxc *c);
