/*
 * A message as the command line describes it: what publish and call share.
 */
#pragma once

#include "client/tool/option.h"

#define POST_SHORTS "e:r:pt:H:"
#define POST_LONGS                                                                                  \
	{"exchange", required_argument, NULL, 'e'}, {"routing-key", required_argument, NULL, 'r'},  \
	    {"persistent", no_argument, NULL, 'p'}, {"content-type", required_argument, NULL, 't'}, \
	    {"header", required_argument, NULL, 'H'},                                               \
	{                                                                                           \
		"property", required_argument, NULL, POST_PROPERTY                                  \
	}

enum post_letter {
	POST_PROPERTY = OPTION_OWN + 32
};

struct post {
	const char *exchange;
	const char *routing_key;
	struct muxc_message *message; /* owned */
	struct muxc_table *headers;   /* owned */
	char *body;
	size_t body_len;
	bool body_owned;
};

/* False: no memory, told. */
bool post_init(struct ctl *ctl, struct post *post);
void post_deinit(struct post *post);

/* Takes one of the options above. False: it was wrong, told. */
bool post_option(struct ctl *ctl, struct post *post, int letter);

/* Puts the headers into the message, when all options are read. */
bool post_finish(struct ctl *ctl, struct post *post);

/* The body: the operand at optind, else all of stdin. False: told. */
bool post_read_body(struct ctl *ctl, struct post *post, int argc, char **argv);

/* Publishes a body with the properties of this. The library's return. */
int post_publish(struct ctl *ctl, const struct post *post, const char *body, size_t len, unsigned int flags,
		 uint64_t *ret_number, struct muxc_error *error);

/* What an outcome other than confirmed means. */
const char *post_outcome_words(int kind);
