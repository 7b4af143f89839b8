/*
 * JSON out of what the library gives. Text that is not UTF-8 cannot stand in
 * JSON: where the exact bytes matter it becomes {"base64": "..."}, elsewhere
 * bytes that do not fit are replaced. All return a new reference, or NULL
 * without memory.
 */
#pragma once

#include "config.h"

#include "client/muxclient.h"

#include <jansson.h>
#include <stddef.h>

json_t *json_bytes(const void *data, size_t len);
json_t *json_replaced(const char *text, size_t len);
json_t *json_base64(const void *data, size_t len);

/* A table's fields as an object; NULL: no memory. */
json_t *json_fields(struct muxc_iter iter);

/* All that a received message has; its body as "body" or "body_base64". */
json_t *json_message(const struct muxc_message *message);

/* A field's value as text, for those who take no JSON: allocated. */
char *json_value_text(const struct muxc_value *value);
