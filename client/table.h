/* Field tables; see table.c. */
#pragma once

#include "client/muxclient.h"

#include "proto/buf.h"

struct muxc_table {
	struct buf bytes;
};

struct span table_span(const struct muxc_table *table);
void iter_from_span(struct span span, struct muxc_iter *ret);
