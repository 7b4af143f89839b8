/* The answers to admin calls; see admin.c. */
#pragma once

#include "proto/span.h"

#include <stddef.h>
#include <stdint.h>

struct request;

/* An answer to an admin call: a copy of the frame's header, to be unpacked by who asked. */
struct admin_answer {
	size_t len;
	uint8_t bytes[];
};

int admin_keep(struct request *request, struct span header);
