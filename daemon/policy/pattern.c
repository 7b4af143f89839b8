#include "daemon/policy/pattern.h"

#include <errno.h>
#include <string.h>

/* PCRE2's own bounds, which count less: for what a pattern may do between two steps of ours. */
#define MATCH_LIMIT 100000u
/* An item that takes many bytes of a name counts for more. */
#define BYTES_PER_STEP 16u
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
	pcre2_set_match_limit(scratch->context, MATCH_LIMIT);
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
	code = pcre2_compile((PCRE2_SPTR)source, PCRE2_ZERO_TERMINATED,
			     PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_AUTO_CALLOUT,
			     &error, &offset, context);
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

struct steps {
	unsigned int left;
	size_t position; /* in the name */
};

/* Before each item of a pattern, each time. */
static int on_step(pcre2_callout_block *block, void *context)
{
	struct steps *steps = context;
	size_t at = block->current_position;
	size_t moved = at > steps->position ? at - steps->position : steps->position - at;
	unsigned int cost = 1 + (unsigned int)(moved / BYTES_PER_STEP);

	steps->position = at;
	if (cost > steps->left) {
		steps->left = 0;
		return PCRE2_ERROR_CALLOUT;
	}
	steps->left -= cost;
	return 0;
}

int pattern_match(const pcre2_code *code, struct span name, struct pattern_scratch *scratch,
		  unsigned int steps_max, unsigned int *ret_steps)
{
	PCRE2_SPTR subject = name.len > 0 ? name.data : (PCRE2_SPTR) "";
	struct steps steps = {steps_max, 0};
	int r;

	(void)pcre2_set_callout(scratch->context, on_step, &steps);
	r = pcre2_match(code, subject, name.len, 0, PCRE2_NO_UTF_CHECK, scratch->data, scratch->context);
	*ret_steps = steps_max - steps.left;
	if (r >= 0)
		return 1;
	if (r == PCRE2_ERROR_NOMEMORY)
		return -ENOMEM;
	return r == PCRE2_ERROR_NOMATCH ? 0 : -E2BIG;
}
