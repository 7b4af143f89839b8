/* Errors as data, the clock, and texts: what every other file needs. */
#pragma once

#include "client/muxclient.h"

#include "proto/muxd.pb-c.h"
#include "proto/span.h"

#include <stdbool.h>

#define SHORT_TEXT_MAX 255u /* bytes of an AMQP short string */
#define USEC_PER_SEC 1000000u

/* Fills in *error (may be NULL): kind library, the text made by printf. Returns err. */
int error_set(struct muxc_error *error, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* As the caller's struct is long; both may be NULL. */
void error_copy(struct muxc_error *to, const struct muxc_error *from);
/* Says nothing happened. */
void error_clear(struct muxc_error *error);
/* From muxd's words. */
void error_from_wire(struct muxc_error *error, const Muxd__V1__Error *wire, uint32_t channel);
/* Its text, made one line, whatever came. */
void error_text(struct muxc_error *error, struct span text);
struct muxc_error *error_dup(const struct muxc_error *error);

uint64_t now_usec(void);
/* Some milliseconds late, and cheap. */
uint64_t now_coarse_usec(void);
uint64_t deadline_after(uint64_t timeout_usec);

/* A text and its length, MUXC_STRLEN standing for strlen(). */
struct span text_span(const char *text, size_t len);
/* A NUL-terminated copy, or NULL. */
char *text_dup(struct span text);
/* The same of a short string into its place; what is longer is none of AMQP's, and cut. */
void text_copy(char to[SHORT_TEXT_MAX + 1], struct span text);
/*
 * Copies a struct of the program's, which begins with its size and may be of
 * another version of the header; what it is too short for is 0. NULL: all is 0.
 * -EINVAL, with the error set: it has no size, or something set that this version
 * does not know.
 */
int struct_take(void *to, size_t size, const void *from, const char *name, struct muxc_error *ret_error);
/* False, with the error set, when a name is longer than AMQP allows. */
bool text_fits(const char *text, const char *what, struct muxc_error *error);
