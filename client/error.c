/*
 * Errors as data, the clock, and texts: what every other file needs.
 */
#include "config.h"

#include "client/error.h"

#include "proto/muxd.pb-c.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* As many bytes of a struct muxc_error as its owner says it has. */
static size_t error_room(const struct muxc_error *error)
{
	if (!error || error->size <= offsetof(struct muxc_error, text))
		return 0;
	return error->size < sizeof(*error) ? error->size : sizeof(*error);
}

void error_copy(struct muxc_error *to, const struct muxc_error *from)
{
	size_t room = error_room(to);

	if (room == 0 || !from || to == from)
		return;
	memcpy((char *)to + sizeof(size_t), (const char *)from + sizeof(size_t), room - sizeof(size_t));
	((char *)to)[room - 1] = '\0';
}

void error_clear(struct muxc_error *error)
{
	static const struct muxc_error none = MUXC_ERROR_INIT;

	error_copy(error, &none);
}

int error_set(struct muxc_error *error, int err, const char *format, ...)
{
	struct muxc_error made = MUXC_ERROR_INIT;
	va_list args;

	made.kind = MUXC_ERROR_LIBRARY;
	made.error = err;
	made.retryable = err == -ETIMEDOUT || err == -ECONNRESET || err == -EAGAIN || err == -ECONNREFUSED ||
			 err == -ENOENT || err == -ENOMEM || err == -EMFILE;
	va_start(args, format);
	(void)vsnprintf(made.text, sizeof(made.text), format, args);
	va_end(args);
	error_copy(error, &made);
	return err;
}

static int errno_of_code(unsigned int code)
{
	switch (code) {
	case 311:
		return -EMSGSIZE;
	case 320:
		return -ECONNRESET;
	case 403:
		return -EACCES;
	case 404:
		return -ENOENT;
	case 405:
		return -EBUSY;
	case 408:
		return -ETIMEDOUT;
	case 506:
		return -ENOBUFS;
	case 530:
		return -EPERM;
	case 540:
		return -EOPNOTSUPP;
	default:
		return -EREMOTEIO;
	}
}

void error_text(struct muxc_error *error, struct span text)
{
	size_t len = text.len < sizeof(error->text) - 1 ? text.len : sizeof(error->text) - 1, i;

	for (i = 0; i < len; i++)
		error->text[i] = text.data[i] < ' ' || text.data[i] == 0x7f ? ' ' : (char)text.data[i];
	error->text[len] = '\0';
}

void error_from_wire(struct muxc_error *error, const Muxd__V1__Error *wire, uint32_t channel)
{
	*error = (struct muxc_error)MUXC_ERROR_INIT;
	error->kind = wire->has_origin && wire->origin == MUXD__V1__ORIGIN__BROKER ? MUXC_ERROR_BROKER
										   : MUXC_ERROR_MUXD;
	error->code = wire->code;
	error->error = errno_of_code(wire->code);
	error->retryable = wire->retryable;
	error->closes_channel = wire->has_scope && wire->scope == MUXD__V1__SCOPE__CHANNEL;
	error->channel = channel;
	error->class_id = (uint16_t)wire->class_id;
	error->method_id = (uint16_t)wire->method_id;
	if (wire->has_text)
		error_text(error, span_make(wire->text.data, wire->text.len));
}

struct muxc_error *error_dup(const struct muxc_error *error)
{
	struct muxc_error *copy = malloc(sizeof(*copy));

	if (copy)
		*copy = *error;
	return copy;
}

uint64_t now_usec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t now_coarse_usec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t deadline_after(uint64_t timeout_usec)
{
	uint64_t now = now_usec();

	return timeout_usec > UINT64_MAX - now ? UINT64_MAX : now + timeout_usec;
}

struct span text_span(const char *text, size_t len)
{
	if (!text)
		return SPAN_NULL;
	return span_make(text, len == MUXC_STRLEN ? strlen(text) : len);
}

char *text_dup(struct span text)
{
	char *copy = malloc(text.len + 1);

	if (!copy)
		return NULL;
	if (text.len)
		memcpy(copy, text.data, text.len);
	copy[text.len] = '\0';
	return copy;
}

void text_copy(char to[SHORT_TEXT_MAX + 1], struct span text)
{
	size_t len = text.len < SHORT_TEXT_MAX ? text.len : SHORT_TEXT_MAX;

	if (len)
		memcpy(to, text.data, len);
	to[len] = '\0';
}

int struct_take(void *to, size_t size, const void *from, const char *name, struct muxc_error *ret_error)
{
	const unsigned char *bytes = from;
	size_t from_size, i;

	memset(to, 0, size);
	if (!from)
		return 0;
	memcpy(&from_size, from, sizeof(from_size));
	if (from_size < sizeof(from_size))
		return error_set(ret_error, -EINVAL, "struct %s has no size", name);
	for (i = size; i < from_size; i++) {
		if (bytes[i])
			return error_set(
			    ret_error, -EINVAL,
			    "struct %s has something set that this version of the library does not know",
			    name);
	}
	memcpy(to, from, from_size < size ? from_size : size);
	return 0;
}

bool text_fits(const char *text, const char *what, struct muxc_error *error)
{
	if (!text || strnlen(text, SHORT_TEXT_MAX + 1) <= SHORT_TEXT_MAX)
		return true;
	error_set(error, -EINVAL, "the %s is longer than %u bytes", what, SHORT_TEXT_MAX);
	return false;
}
