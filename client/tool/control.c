/*
 * Commands to muxd itself: reload, drain.
 */
#include "client/tool/json.h"
#include "client/tool/option.h"
#include "client/tool/print.h"

#include <stdio.h>
#include <string.h>

typedef const char *(*line_fn)(const struct muxc_reload_result *result, size_t index);

static json_t *lines_json(const struct muxc_reload_result *result, line_fn line)
{
	json_t *lines = json_array();
	const char *text;
	size_t i;

	for (i = 0; (text = line(result, i)); i++)
		(void)json_array_append_new(lines, json_replaced(text, strlen(text)));
	return lines;
}

/* All of it is a complaint, or about to become one: stderr. */
static void say_lines(const struct ctl *ctl, const struct muxc_reload_result *result, line_fn line)
{
	const char *text;
	size_t i;

	for (i = 0; (text = line(result, i)); i++)
		ctl_say(ctl, "%s", text);
}

static int tell(struct ctl *ctl, const struct muxc_reload_result *result)
{
	bool is_done = muxc_reload_result_is_done(result);
	int r = CTL_DONE;

	if (ctl->json)
		r = print_json(ctl,
			       json_pack("{s:b, s:o, s:o}", "done", (int)is_done, "errors",
					 lines_json(result, muxc_reload_result_get_error), "notes",
					 lines_json(result, muxc_reload_result_get_note)),
			       JSON_INDENT(2));
	say_lines(ctl, result, muxc_reload_result_get_error);
	say_lines(ctl, result, muxc_reload_result_get_note);
	if (is_done)
		return r;
	ctl_say(ctl, "the configuration stays as it was");
	ctl->exit_code = CTL_FAILED;
	return CTL_FAILED;
}

int cmd_reload(struct ctl *ctl, int argc, char **argv)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_reload_result *result;
	bool stop;
	int r = ctl_begin(ctl, argc, argv, &stop);

	if (stop || r != CTL_DONE)
		return r;
	if (muxc_reload(ctl->c, ctl_timeout(ctl), &result, &error) < 0)
		return ctl_fail(ctl, NULL, &error);
	r = tell(ctl, result);
	(void)muxc_reload_result_free(result);
	return r;
}

int cmd_drain(struct ctl *ctl, int argc, char **argv)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	bool stop;
	int r = ctl_begin(ctl, argc, argv, &stop);

	if (stop || r != CTL_DONE)
		return r;
	return muxc_drain(ctl->c, ctl_timeout(ctl), &error) < 0 ? ctl_fail(ctl, NULL, &error) : CTL_DONE;
}
