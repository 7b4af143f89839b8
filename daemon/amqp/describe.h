/*
 * Methods and properties as a line of text for people: "queue.declare
 * queue='jobs' durable {x-max-length=100}".
 *
 * What is read may be cut off anywhere, as a recorder keeps it; what is missing
 * shows as "...". What is written is printable ASCII. Strings in it are short,
 * and values of fields whose names sound like a secret (password, token), and
 * URIs with a password, are not shown.
 */
#pragma once

#include "daemon/amqp/content.h"

/*
 * Of a method frame's payload: its name, and its fields but for those that are
 * 0, false or empty (the exchange of a publish is always there). The text ends
 * with a NUL and is cut to size; returns its length.
 */
size_t amqc_describe_method(char *out, size_t size, struct span payload);

/* The same of a header frame's payload: the properties that are set. */
size_t amqc_describe_properties(char *out, size_t size, struct span payload);
