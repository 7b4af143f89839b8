/*
 * Looking at muxd: status, sessions, channels, recorder, ping.
 */
#include "client/tool/json.h"
#include "client/tool/option.h"
#include "client/tool/print.h"

#include <stdio.h>
#include <string.h>

/* For json_pack(); replaces what is not UTF-8. */
static json_t *text(const char *string)
{
	return json_replaced(string, strlen(string));
}

/* ------------------------------------------------------------------ status */

static json_t *upstream_json(const struct muxc_upstream_status *upstream)
{
	return json_pack("{s:o, s:s, s:o, s:I, s:I, s:o, s:o, s:{s:I, s:I, s:I, s:I}, s:I}", "name",
			 text(upstream->name), "state", muxc_upstream_state_name(upstream->state), "endpoint",
			 text(upstream->endpoint), "epoch", (json_int_t)upstream->epoch, "reconnects",
			 (json_int_t)upstream->reconnects, "last_error", text(upstream->last_error), "broker",
			 text(upstream->broker), "lanes", "max", (json_int_t)upstream->lanes_max, "open",
			 (json_int_t)upstream->lanes_open, "leased", (json_int_t)upstream->lanes_leased,
			 "warm", (json_int_t)upstream->lanes_warm, "unconfirmed",
			 (json_int_t)upstream->unconfirmed);
}

static json_t *user_json(const struct muxc_user_status *user)
{
	return json_pack("{s:I, s:{s:I, s:I}, s:{s:I, s:I}}", "uid", (json_int_t)user->uid, "sessions",
			 "used", (json_int_t)user->sessions, "limit", (json_int_t)user->sessions_limit,
			 "memory", "used", (json_int_t)user->memory_used, "limit",
			 (json_int_t)user->memory_limit);
}

static int status_json(struct ctl *ctl, const struct muxc_status *status)
{
	json_t *upstreams = json_array();
	json_t *users = json_array();
	size_t i;

	for (i = 0; i < status->upstreams; i++)
		(void)json_array_append_new(upstreams, upstream_json(muxc_status_get_upstream(status, i)));
	for (i = 0; i < status->users; i++)
		(void)json_array_append_new(users, user_json(muxc_status_get_user(status, i)));
	return print_json(ctl,
			  json_pack("{s:o, s:I, s:I, s:I, s:b, s:o, s:{s:I, s:I}, s:I, s:o}", "version",
				    text(status->version), "pid", (json_int_t)status->pid, "uptime_seconds",
				    (json_int_t)status->uptime_seconds, "sessions",
				    (json_int_t)status->sessions, "draining", status->draining, "upstreams",
				    upstreams, "memory", "used", (json_int_t)status->memory_used, "limit",
				    (json_int_t)status->memory_limit, "sessions_limit",
				    (json_int_t)status->sessions_limit, "users", users),
			  JSON_INDENT(2));
}

static int users_print(struct ctl *ctl, const struct muxc_status *status)
{
	static const char *const titles[] = {"#UID", "#SESSIONS", "#OF", "#MEMORY", "#OF"};
	struct table table = {.titles = titles, .columns = sizeof(titles) / sizeof(titles[0])};
	char used[32], limit[32];
	size_t i;

	for (i = 0; i < status->users; i++) {
		const struct muxc_user_status *user = muxc_status_get_user(status, i);

		table_add(&table, "%u", user->uid);
		table_add(&table, "%u", user->sessions);
		table_add(&table, "%u", user->sessions_limit);
		table_add(&table, "%s", print_bytes(used, sizeof(used), user->memory_used));
		table_add(&table, "%s", print_bytes(limit, sizeof(limit), user->memory_limit));
	}
	return table_print(ctl, &table);
}

static int status_print(struct ctl *ctl, const struct muxc_status *status)
{
	static const char *const titles[] = {"UPSTREAM", "STATE",   "ENDPOINT",	    "BROKER",	 "#EPOCH",
					     "#LANES",	 "#LEASED", "#UNCONFIRMED", "LAST ERROR"};
	struct table table = {.titles = titles, .columns = sizeof(titles) / sizeof(titles[0])};
	const struct muxc_upstream_status *upstream;
	char age[32], used[32], limit[32];
	size_t i;

	printf("muxd %s, pid %u, up %s, %u session%s, memory %s of %s%s\n\n", status->version, status->pid,
	       print_seconds(age, sizeof(age), status->uptime_seconds), status->sessions,
	       status->sessions == 1 ? "" : "s", print_bytes(used, sizeof(used), status->memory_used),
	       print_bytes(limit, sizeof(limit), status->memory_limit), status->draining ? ", draining" : "");
	for (i = 0; i < status->upstreams; i++) {
		upstream = muxc_status_get_upstream(status, i);
		table_add_text(&table, upstream->name);
		table_add(&table, "%s", muxc_upstream_state_name(upstream->state));
		table_add_text(&table, upstream->endpoint);
		table_add_text(&table, *upstream->broker ? upstream->broker : "-");
		table_add(&table, "%llu", (unsigned long long)upstream->epoch);
		table_add(&table, "%u/%u", upstream->lanes_open, upstream->lanes_max);
		table_add(&table, "%u", upstream->lanes_leased);
		table_add(&table, "%llu", (unsigned long long)upstream->unconfirmed);
		table_add_text(&table, *upstream->last_error ? upstream->last_error : "-");
	}
	if (table_print(ctl, &table) != CTL_DONE)
		return CTL_FAILED;
	printf("\n");
	return users_print(ctl, status);
}

int cmd_status(struct ctl *ctl, int argc, char **argv)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_status *status;
	bool stop;
	int r;

	r = ctl_begin(ctl, argc, argv, &stop);
	if (stop || r != CTL_DONE)
		return r;
	if (muxc_status(ctl->c, ctl_timeout(ctl), &status, &error) < 0)
		return ctl_fail(ctl, NULL, &error);
	r = ctl->json ? status_json(ctl, status) : status_print(ctl, status);
	(void)muxc_status_free(status);
	return r;
}

/* ---------------------------------------------------------------- sessions */

static json_t *session_json(const struct muxc_session_info *info)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "id",
			 (json_int_t)info->id, "pid", (json_int_t)info->pid, "uid", (json_int_t)info->uid,
			 "gid", (json_int_t)info->gid, "program", text(info->program), "upstream",
			 text(info->upstream), "age_seconds", (json_int_t)info->age_seconds, "channels",
			 (json_int_t)info->channels, "consumers", (json_int_t)info->consumers, "unconfirmed",
			 (json_int_t)info->unconfirmed, "unacked", (json_int_t)info->unacked, "published",
			 (json_int_t)info->published, "delivered", (json_int_t)info->delivered, "memory_used",
			 (json_int_t)info->memory_used, "memory_limit", (json_int_t)info->memory_limit);
}

static int sessions_json(struct ctl *ctl, const struct muxc_session_list *list)
{
	json_t *sessions = json_array();
	size_t i;

	for (i = 0; i < muxc_session_list_count(list); i++)
		(void)json_array_append_new(sessions, session_json(muxc_session_list_get(list, i)));
	return print_json(ctl, json_pack("{s:o}", "sessions", sessions), JSON_INDENT(2));
}

static int sessions_print(struct ctl *ctl, const struct muxc_session_list *list)
{
	static const char *const titles[] = {
	    "#SESSION",	  "#PID",	"#UID",	      "PROGRAM",      "UPSTREAM", "#AGE",   "#CHANNELS",
	    "#CONSUMERS", "#PUBLISHED", "#DELIVERED", "#UNCONFIRMED", "#UNACKED", "#MEMORY"};
	struct table table = {.titles = titles, .columns = sizeof(titles) / sizeof(titles[0])};
	const struct muxc_session_info *info;
	char buffer[32];
	size_t i;

	for (i = 0; i < muxc_session_list_count(list); i++) {
		info = muxc_session_list_get(list, i);
		table_add(&table, "%llu", (unsigned long long)info->id);
		table_add(&table, "%u", info->pid);
		table_add(&table, "%u", info->uid);
		table_add_text(&table, *info->program ? info->program : "-");
		table_add_text(&table, info->upstream);
		table_add(&table, "%s", print_seconds(buffer, sizeof(buffer), info->age_seconds));
		table_add(&table, "%u", info->channels);
		table_add(&table, "%u", info->consumers);
		table_add(&table, "%llu", (unsigned long long)info->published);
		table_add(&table, "%llu", (unsigned long long)info->delivered);
		table_add(&table, "%llu", (unsigned long long)info->unconfirmed);
		table_add(&table, "%llu", (unsigned long long)info->unacked);
		table_add(&table, "%s", print_bytes(buffer, sizeof(buffer), info->memory_used));
	}
	return table_print(ctl, &table);
}

int cmd_sessions(struct ctl *ctl, int argc, char **argv)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_session_list *list;
	bool stop;
	int r;

	r = ctl_begin(ctl, argc, argv, &stop);
	if (stop || r != CTL_DONE)
		return r;
	if (muxc_sessions(ctl->c, ctl_timeout(ctl), &list, &error) < 0)
		return ctl_fail(ctl, NULL, &error);
	r = ctl->json ? sessions_json(ctl, list) : sessions_print(ctl, list);
	(void)muxc_session_list_free(list);
	return r;
}

/* ---------------------------------------------------------------- channels */

static int channels_json(struct ctl *ctl, const struct muxc_channel_list *list)
{
	json_t *channels = json_array();
	const struct muxc_channel_info *info;
	size_t i;

	for (i = 0; i < muxc_channel_list_count(list); i++) {
		info = muxc_channel_list_get(list, i);
		(void)json_array_append_new(
		    channels, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "session",
					(json_int_t)info->session, "channel", (json_int_t)info->channel,
					"generation", (json_int_t)info->generation, "lane",
					(json_int_t)info->lane, "consumers", (json_int_t)info->consumers,
					"prefetch", (json_int_t)info->prefetch, "unconfirmed",
					(json_int_t)info->unconfirmed, "unacked", (json_int_t)info->unacked));
	}
	return print_json(ctl, json_pack("{s:o}", "channels", channels), JSON_INDENT(2));
}

static int channels_print(struct ctl *ctl, const struct muxc_channel_list *list)
{
	static const char *const titles[] = {"#SESSION",   "#CHANNEL",	"#GENERATION",	"#LANE",
					     "#CONSUMERS", "#PREFETCH", "#UNCONFIRMED", "#UNACKED"};
	struct table table = {.titles = titles, .columns = sizeof(titles) / sizeof(titles[0])};
	const struct muxc_channel_info *info;
	size_t i;

	for (i = 0; i < muxc_channel_list_count(list); i++) {
		info = muxc_channel_list_get(list, i);
		table_add(&table, "%llu", (unsigned long long)info->session);
		table_add(&table, "%u", info->channel);
		table_add(&table, "%u", info->generation);
		if (info->lane)
			table_add(&table, "%u", info->lane);
		else
			table_add(&table, "-");
		table_add(&table, "%u", info->consumers);
		table_add(&table, "%u", info->prefetch);
		table_add(&table, "%llu", (unsigned long long)info->unconfirmed);
		table_add(&table, "%llu", (unsigned long long)info->unacked);
	}
	return table_print(ctl, &table);
}

int cmd_channels(struct ctl *ctl, int argc, char **argv)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_channel_list *list;
	bool stop;
	int r;

	r = ctl_begin(ctl, argc, argv, &stop);
	if (stop || r != CTL_DONE)
		return r;
	if (muxc_channels(ctl->c, ctl_timeout(ctl), &list, &error) < 0)
		return ctl_fail(ctl, NULL, &error);
	r = ctl->json ? channels_json(ctl, list) : channels_print(ctl, list);
	(void)muxc_channel_list_free(list);
	return r;
}

/* ---------------------------------------------------------------- recorder */

static json_t *record_json(const struct muxc_record *record)
{
	json_t *object =
	    json_pack("{s:I, s:I, s:I, s:o, s:I, s:I, s:s}", "age_ms", (json_int_t)record->age_ms, "channel",
		      (json_int_t)record->channel, "generation", (json_int_t)record->generation, "operation",
		      text(record->operation), "count", (json_int_t)record->count, "unanswered",
		      (json_int_t)record->unanswered, "end", muxc_record_end_name(record->end));

	if (record->code)
		(void)json_object_set_new(object, "code", json_integer((json_int_t)record->code));
	return object;
}

static int recorder_json(struct ctl *ctl, uint64_t session, const struct muxc_record_list *list)
{
	json_t *records = json_array();
	size_t i;

	for (i = 0; i < muxc_record_list_count(list); i++)
		(void)json_array_append_new(records, record_json(muxc_record_list_get(list, i)));
	return print_json(ctl, json_pack("{s:I, s:o}", "session", (json_int_t)session, "recorder", records),
			  JSON_INDENT(2));
}

static int recorder_print(struct ctl *ctl, const struct muxc_record_list *list)
{
	static const char *const titles[] = {"#AGO", "#CHANNEL", "#COUNT", "END", "OPERATION"};
	struct table table = {.titles = titles, .columns = sizeof(titles) / sizeof(titles[0])};
	const struct muxc_record *record;
	size_t i;

	for (i = 0; i < muxc_record_list_count(list); i++) {
		record = muxc_record_list_get(list, i);
		table_add(&table, "%.3fs", (double)record->age_ms / 1000);
		table_add(&table, "%u", record->channel);
		table_add(&table, "%u", record->count);
		if (record->end == MUXC_RECORD_REFUSED && record->code)
			table_add(&table, "refused %u", record->code);
		else if (record->end == MUXC_RECORD_UNANSWERED && record->count > 1)
			table_add(&table, "%u unanswered", record->unanswered);
		else
			table_add(&table, "%s", muxc_record_end_name(record->end));
		table_add_text(&table, record->operation);
	}
	return table_print(ctl, &table);
}

int cmd_recorder(struct ctl *ctl, int argc, char **argv)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc_record_list *list;
	uint64_t session = 0;
	int r;

	if (option_next(ctl, argc, argv, "", NULL) == OPTION_STOP)
		return ctl->exit_code;
	if (argc - optind != 1)
		return ctl_usage(ctl, "it takes one SESSION");
	if (!option_count(ctl, "SESSION", argv[optind], UINT64_MAX, &session))
		return ctl->exit_code;
	r = ctl_connect(ctl);
	if (r != CTL_DONE)
		return r;
	if (muxc_recorder(ctl->c, session, ctl_timeout(ctl), &list, &error) < 0)
		return ctl_fail(ctl, NULL, &error);
	r = ctl->json ? recorder_json(ctl, session, list) : recorder_print(ctl, list);
	(void)muxc_record_list_free(list);
	return r;
}

/* -------------------------------------------------------------------- ping */

int cmd_ping(struct ctl *ctl, int argc, char **argv)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	uint64_t began, usec;
	bool stop;
	int r;

	r = ctl_begin(ctl, argc, argv, &stop);
	if (stop || r != CTL_DONE)
		return r;
	if (muxc_wait_ready(ctl->c, ctl_timeout(ctl), &error) < 0)
		return ctl_fail(ctl, NULL, &error);
	began = now_usec();
	if (muxc_ping(ctl->c, ctl_timeout(ctl), &error) < 0)
		return ctl_fail(ctl, NULL, &error);
	usec = now_usec() - began;
	if (ctl->json)
		return print_json(ctl, json_pack("{s:I}", "usec", (json_int_t)usec), JSON_INDENT(2));
	printf("muxd has answered in %.3f ms\n", (double)usec / 1000);
	return CTL_DONE;
}
