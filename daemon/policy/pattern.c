#include "daemon/policy/pattern.h"

#include <errno.h>
#include <string.h>

/*
 * Names have at most 255 bytes, for which a sane pattern takes some hundred
 * steps; ten thousand are a fifth of a millisecond.
 */
#define MATCH_STEPS_MAX 10000u
#define MATCH_DEPTH_MAX 10000u
#define MATCH_HEAP_KIB_MAX 4096u
#define PATTERN_BYTES_MAX 4096u

int pattern_scratch_init(struct pattern_scratch *scratch)
{
	scratch->context = pcre2_match_context_create(NULL);
	/* One pair of offsets: only whether it matches is asked. */
	scratch->data = pcre2_match_data_create(1, NULL);
	if (!scratch->context || !scratch->data)
		return -ENOMEM;
	pcre2_set_match_limit(scratch->context, MATCH_STEPS_MAX);
	pcre2_set_depth_limit(scratch->context, MATCH_DEPTH_MAX);
	pcre2_set_heap_limit(scratch->context, MATCH_HEAP_KIB_MAX);
	return 0;
}

void pattern_scratch_deinit(struct pattern_scratch *scratch)
{
	pcre2_match_context_free(scratch->context);
	pcre2_match_data_free(scratch->data);
	*scratch = (struct pattern_scratch){0};
}

int pattern_compile(const char *source, pcre2_code **ret, char *text, size_t size, size_t *ret_offset)
{
	pcre2_compile_context *context = pcre2_compile_context_create(NULL);
	PCRE2_SIZE offset = 0;
	int error = 0;
	pcre2_code *code;

	if (!context)
		return -ENOMEM;
	pcre2_set_newline(context, PCRE2_NEWLINE_LF);
	pcre2_set_max_pattern_length(context, PATTERN_BYTES_MAX);
	/* RabbitMQ takes an empty permission for the empty name alone. */
	if (source[0] == 0)
		source = "^$";
	code =
	    pcre2_compile((PCRE2_SPTR)source, PCRE2_ZERO_TERMINATED,
			  PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP, &error, &offset, context);
	pcre2_compile_context_free(context);
	if (code) {
		*ret = code;
		return 0;
	}
	if (error == PCRE2_ERROR_NOMEMORY || error == PCRE2_ERROR_HEAP_FAILED)
		return -ENOMEM;
	/* A text that does not fit is cut, which is good enough. */
	(void)pcre2_get_error_message(error, (PCRE2_UCHAR *)text, size);
	/* PCRE2 may mean a byte behind the end: in "(*LIMIT_MATCH=1", for one. */
	*ret_offset = offset < strlen(source) ? offset : strlen(source);
	return -EINVAL;
}

int pattern_match(const pcre2_code *code, struct span name, struct pattern_scratch *scratch)
{
	PCRE2_SPTR subject = name.len > 0 ? name.data : (PCRE2_SPTR) "";
	int r = pcre2_match(code, subject, name.len, 0, PCRE2_NO_UTF_CHECK, scratch->data, scratch->context);

	if (r >= 0)
		return 1;
	if (r == PCRE2_ERROR_NOMEMORY)
		return -ENOMEM;
	return r == PCRE2_ERROR_NOMATCH ? 0 : -E2BIG;
}
