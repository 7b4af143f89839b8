/*
 * Tells the owner what became of requests that make, change or delete what
 * others may use: for its audit log. A request is told once, at its end.
 */
#pragma once

#include "daemon/mux/state.h"

/* It was refused before it was a request. */
void audited_refused(const struct session *session, const struct amqc_method *method,
		     const struct fault *fault);

/* Its end; fault NULL: it was done. */
void audited_end(const struct request *request, const struct session *session, const struct fault *fault);

/* Its session ends before its answer. */
void audited_left(const struct request *request);
