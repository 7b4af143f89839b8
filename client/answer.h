/* Answers to requests; see answer.c. */
#pragma once

#include "client/muxclient.h"

struct received;
struct request;

/* The answer to a request; what does not fit what was asked is an error of muxd's. */
void answer_received(struct muxc *c, const struct received *frame, struct request *request);
