/*
 * From struct conf to the options of the modules, which do not know it.
 */
#pragma once

#include "daemon/conf/conf.h"
#include "daemon/front/front.h"
#include "daemon/mux/mux.h"
#include "daemon/up/uplink.h"

struct mux_limits translate_limits(const struct conf *conf);
struct front_limits translate_front_limits(const struct conf *conf);

/* An upstream's options and all that they point to. */
struct translated_upstream {
	struct upstream_options options;
	struct upstream_endpoint *endpoints;	  /* owned */
	struct uplink_endpoint *uplink_endpoints; /* owned */
	char **strings;				  /* owned, with each of them */
	size_t string_count;
	struct conf_secret secret;
	struct tls_context *tls; /* owned until somebody takes it and sets NULL; NULL: no endpoint has TLS */
	struct conf_errors warnings; /* what to log at every start: certificates that have expired */
};

/*
 * Reads the password file, certificates and key if there are. 0; -ENOMEM; or
 * why one of them cannot be used, and errors says so. translated_upstream_deinit() in every case.
 */
int translate_upstream(const struct conf_upstream *from, struct conf_errors *errors,
		       struct translated_upstream *ret) __attribute__((warn_unused_result));

/* Wipes the password. The conf it came from must be there yet. */
void translated_upstream_deinit(struct translated_upstream *upstream);

/* Adds a line to a list of errors. */
void translate_error(struct conf_errors *errors, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* 0; -ENOENT: there is none of that name; or why that cannot be told. */
int translate_find_user(const char *name, uint32_t *ret) __attribute__((warn_unused_result));
int translate_find_group(const char *name, uint32_t *ret) __attribute__((warn_unused_result));

/*
 * The socket's group, by name or number; (gid_t)-1 if none is named. 0; -EINVAL:
 * there is none; or why that cannot be told. errors says so.
 */
int translate_group(const struct conf *conf, struct conf_errors *errors, gid_t *ret)
    __attribute__((warn_unused_result));
