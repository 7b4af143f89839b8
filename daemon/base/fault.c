#include "daemon/base/fault.h"

#include <stdarg.h>
#include <stdio.h>

/* How much of text fits, not counting a UTF-8 character that would be cut in two. */
static size_t fitting_len(const char *text, size_t len)
{
	size_t cut = FAULT_TEXT_MAX;

	if (len <= FAULT_TEXT_MAX)
		return len;
	while (cut > FAULT_TEXT_MAX - 3 && ((unsigned char)text[cut] & 0xc0) == 0x80)
		cut--;
	/* Four continuation bytes in a row are no UTF-8: nothing to spare. */
	return ((unsigned char)text[cut] & 0xc0) == 0x80 ? FAULT_TEXT_MAX : cut;
}

static void set_text(struct fault *fault, const char *text, size_t len)
{
	len = fitting_len(text, len);
	if (len > 0)
		memcpy(fault->text, text, len);
	fault->text[len] = 0;
	fault->text_len = (uint8_t)len;
}

static struct fault __attribute__((format(printf, 3, 0)))
make(uint16_t code, bool retryable, const char *format, va_list args)
{
	struct fault fault = {.code = code, .origin = FAULT_MUXD, .retryable = retryable};
	char text[FAULT_TEXT_MAX + 5]; /* room to see the whole character at the cut */
	int len = vsnprintf(text, sizeof(text), format, args);

	if (len > 0)
		set_text(&fault, text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1);
	return fault;
}

struct fault fault_make(uint16_t code, const char *format, ...)
{
	struct fault fault;
	va_list args;

	va_start(args, format);
	fault = make(code, false, format, args);
	va_end(args);
	return fault;
}

struct fault fault_make_retryable(uint16_t code, const char *format, ...)
{
	struct fault fault;
	va_list args;

	va_start(args, format);
	fault = make(code, true, format, args);
	va_end(args);
	return fault;
}

struct fault fault_from_broker(uint16_t code, struct span text, uint16_t class_id, uint16_t method_id)
{
	struct fault fault = {
	    .code = code, .class_id = class_id, .method_id = method_id, .origin = FAULT_BROKER};

	set_text(&fault, (const char *)text.data, text.len);
	return fault;
}

bool fault_equal(const struct fault *a, const struct fault *b)
{
	return a->code == b->code && a->class_id == b->class_id && a->method_id == b->method_id &&
	       a->origin == b->origin && a->retryable == b->retryable &&
	       span_equal(fault_text(a), fault_text(b));
}
