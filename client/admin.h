/* The answers to admin calls; see admin.c. */
#pragma once

#include "client/muxclient.h"
#include "proto/buf.h"
#include "proto/muxd.pb-c.h"

#include <stddef.h>
#include <stdint.h>

struct call;
struct request;

/* An answer to an admin call: a copy of the frame's header, to be unpacked by who asked. */
struct admin_answer {
	size_t len;
	uint8_t bytes[];
};

int admin_keep(struct request *request, struct span header);

/* The unpacked frames behind a result. */
struct pages {
	Muxd__V1__ServerFrame **frames;
	size_t count;
};

void pages_free(struct pages *pages);

/* Asks once, and appends what comes to pages. */
int admin_ask(struct call *call, uint32_t op, const struct buf *op_body, struct pages *pages);

/* Text of an unpacked frame as a C string, in place. */
const char *admin_text(ProtobufCBinaryData *data);

/* What a call gives that was given no place for its answer. */
int admin_no_place(struct muxc_error *ret_error);
