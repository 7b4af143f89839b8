/*
 * muxd.conf(5) as one plain struct. Reading has three steps: scan.c looks at
 * the bytes, libConfuse takes them apart, parse.c turns each value into its
 * field, and check.c asks whether the fields go together. Every bad value is
 * listed with its file and line; only a syntax error or an unknown key ends
 * the reading at once, since what follows cannot be told apart from it.
 *
 * Nothing here knows the modules that the values are for; daemon/ translates.
 * All strings are owned by the struct and end with a NUL.
 *
 * A password never shows up in an error; conf_free() wipes passwords.
 */
#pragma once

#include "daemon/base/log.h"
#include "proto/buf.h"

#include <sys/types.h>

#define CONF_DEFAULT_UPSTREAM "default"

/* What is wrong, or to be warned about: "FILE:LINE: text", in the order found. */
struct conf_errors {
	char **texts; /* owned, count of them */
	size_t count;
	bool incomplete; /* no memory for all of them */
};

#define CONF_ERRORS_INIT ((struct conf_errors){NULL, 0, false})

/* Frees the texts; the list is empty and usable afterwards. */
void conf_errors_deinit(struct conf_errors *errors);

enum conf_sasl {
	CONF_SASL_PLAIN,
	CONF_SASL_EXTERNAL
};

enum conf_tls_verify {
	CONF_TLS_VERIFY_FULL,
	CONF_TLS_VERIFY_CA,
	CONF_TLS_VERIFY_NONE
};

/* One URI of an upstream. */
struct conf_endpoint {
	char *host; /* a name or an address; of IPv6 without the brackets */
	uint16_t port;
	bool tls;
	char *user;	/* NULL: the URI names none, and for EXTERNAL there need not be one */
	char *password; /* NULL: in the password file, or EXTERNAL */
	char *vhost;	/* may be empty, which is not "/" */
	unsigned int line;
};

struct conf_upstream {
	char *name;
	const char *source; /* where its URIs come from: the file (conf's path), "-u", "MUXD_UPSTREAM" */
	unsigned int line;  /* where the section begins; 0 if it is not from a file */
	const char *file;   /* that the section stands in, though its URI may not; or NULL */
	struct conf_endpoint *endpoints; /* at least one, tried in order */
	size_t endpoint_count;
	char *password_file; /* empty: none */
	unsigned int password_file_line;
	unsigned int sasl; /* enum conf_sasl */
	bool plain_without_tls;
	uint64_t heartbeat_usec; /* whole seconds, 1 to 65535 */
	uint64_t connect_timeout_usec;
	uint64_t reconnect_min_usec;
	uint64_t reconnect_max_usec;
	uint64_t warm_lanes;
	uint64_t unconfirmed_messages;
	uint64_t unconfirmed_bytes;
	bool adaptive_window;
	char *generated_queue_prefix;
	char *tls_ca; /* files; empty: none */
	unsigned int tls_ca_line;
	char *tls_cert;
	unsigned int tls_cert_line;
	char *tls_key;
	unsigned int tls_key_line;
	unsigned int tls_verify; /* enum conf_tls_verify */
};

struct conf_limits {
	uint64_t total_memory_bytes;
	uint64_t session_memory_bytes;
	uint64_t message_max_bytes;
	uint64_t sessions;
	uint64_t sessions_per_uid;
	uint64_t channels_per_session;
	uint64_t prefetch;
};

/* A user or a group: a name, or numeric ids from first to last. */
struct conf_id {
	char *name; /* NULL: numeric */
	uint32_t first;
	uint32_t last;
	unsigned int line;
};

struct conf_ids {
	struct conf_id *items;
	size_t count;
};

struct conf_name {
	char *text;
	unsigned int line;
};

struct conf_names {
	struct conf_name *items;
	size_t count;
};

struct conf_access {
	char *name;
	unsigned int line;
	struct conf_ids users;	     /* none: any */
	struct conf_ids groups;	     /* none: any */
	struct conf_names upstreams; /* none: any */
	char *configure;	     /* patterns; empty: nothing is allowed */
	char *write;
	char *read;
	bool control;
	struct conf_limits limits; /* 0: the daemon's own; total_memory_bytes and sessions are always 0 */
};

struct conf {
	char *path;	    /* of the file, or NULL */
	char *socket;	    /* NULL: not given, the caller has defaults */
	char *socket_group; /* empty: the daemon's own; a name or a number */
	uint64_t socket_mode;
	enum log_level log_level;
	bool audit; /* what is declared, bound and deleted is logged */
	uint64_t drain_timeout_usec;
	uint64_t request_timeout_usec;
	uint64_t publish_timeout_usec;
	struct conf_upstream *upstreams; /* at least one */
	size_t upstream_count;
	struct conf_limits limits;
	unsigned int limits_line;     /* where the section begins; 0: there is none */
	struct conf_access *accesses; /* in the order of the file; the first that matches decides */
	size_t access_count;
	struct conf_errors warnings; /* to be logged at every start */
};

/* Where the configuration comes from. */
struct conf_source {
	const char *path;	/* a file, or NULL */
	const char *uri_option; /* -u: the one URI of the upstream "default", or NULL; may hold no password */
	const char
	    *uri_environ; /* MUXD_UPSTREAM, or NULL: the same unless there is -u; may hold a password */
};

/*
 * Reads all of a source; errors is empty before. A URI given apart from the
 * file replaces those of the file's upstream "default", whose other keys stay,
 * or adds that upstream. With neither a file nor a URI there is one upstream,
 * amqp://localhost.
 *
 * 0; -EINVAL with at least one error listed; -ENOMEM; or what opening or
 * reading the file failed with, listed as well. *ret is set on success only.
 */
int conf_load(const struct conf_source *source, struct conf **ret, struct conf_errors *errors)
    __attribute__((warn_unused_result));

/* NULL is fine. */
void conf_free(struct conf *conf);

/* True if one of its endpoints is amqps. */
bool conf_upstream_uses_tls(const struct conf_upstream *upstream);

/* ------------------------------------------------------------------ files that an upstream names */

enum conf_file {
	CONF_FILE_PASSWORD,
	CONF_FILE_TLS_CA,
	CONF_FILE_TLS_CERT,
	CONF_FILE_TLS_KEY
};

/*
 * Reads the file that tls-ca, tls-cert or tls-key names; the key only if
 * nobody else can. Nothing, if none is named. conf_bytes_wipe() in every case.
 *
 * 0; or a negative errno, and the error says what is wrong with the file.
 */
int conf_read_pem(const struct conf_upstream *upstream, enum conf_file file, struct buf *ret,
		  struct conf_errors *errors) __attribute__((warn_unused_result));

void conf_bytes_wipe(struct buf *bytes);

/* Lists what is wrong with the content of a file, or to be warned about. */
void conf_file_error(const struct conf_upstream *upstream, enum conf_file file, const char *text,
		     struct conf_errors *errors);

/* ------------------------------------------------------------------ secrets */

#define CONF_SECRET_MAX 4096u

/* A password; wiped by conf_secret_wipe() as soon as it was used. */
struct conf_secret {
	char text[CONF_SECRET_MAX + 1]; /* len bytes and a NUL, none inside */
	size_t len;
};

/*
 * Reads a password from a file: one line, its newline not part of it. The
 * file must belong to root or to us and nobody else may read it, unless it
 * lies under $CREDENTIALS_DIRECTORY, where systemd has seen to that.
 *
 * 0; or a negative errno, and the error says what is wrong with the file.
 */
int conf_read_password(const char *path, struct conf_secret *ret, struct conf_errors *errors)
    __attribute__((warn_unused_result));

/* The same for the file that an upstream names as its password-file, and the error has the line of that. */
int conf_read_upstream_password(const struct conf_upstream *upstream, struct conf_secret *ret,
				struct conf_errors *errors) __attribute__((warn_unused_result));

void conf_secret_wipe(struct conf_secret *secret);
