/* What the program wants of a connection. */
#pragma once

#include "client/muxclient.h"

/* 0, or -EINVAL, -ENAMETOOLONG with the error set. */
int options_read(struct muxc *c, const struct muxc_options *options, struct muxc_error *ret_error);
int options_socket_path(const struct muxc_options *options, char *buffer, size_t size,
			struct muxc_error *ret_error);
/* Encodes Hello into c->link.hello. */
void options_make_hello(struct muxc *c, const struct muxc_options *options);
