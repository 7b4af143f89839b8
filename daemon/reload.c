/*
 * SIGHUP and muxctl reload, in three parts:
 *
 *	read     on a thread of its own, for users and groups may come from the
 *		 network: the file, and what it asks of this host (plan.h)
 *	arrange  in the loop: everything that needs memory, beside what is there
 *	swap     one function in which nothing can fail
 *
 * A reload that is asked for while one runs follows it: what was asked for then
 * sees the file as it was then, or later.
 */
#include "daemon/muxd-private.h"

#include "daemon/base/log.h"
#include "daemon/net/job.h"
#include "daemon/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the thread works on: its own until it is done. */
struct reload {
	struct muxd *muxd; /* for the loop's side alone */
	const struct conf_source *source;
	struct job *job;
	struct conf *conf; /* owned */
	struct plan plan;
	struct conf_errors errors, notes;
	int result;
};

/* The upstreams to be, and what becomes of those that stay. */
struct arrangement {
	struct muxd_upstream **upstreams; /* owned; new ones as well, until they are in place */
	struct uplink_change **changes;	  /* owned; NULL where the upstream is new */
	size_t count;
};

/* ------------------------------------------------------------------ reading */

static void *reload_free(struct reload *reload)
{
	plan_deinit(&reload->plan);
	conf_free(reload->conf);
	conf_errors_deinit(&reload->errors);
	conf_errors_deinit(&reload->notes);
	free(reload);
	return NULL;
}

static void on_work(void *context)
{
	struct reload *reload = context;

	reload->result = conf_load(reload->source, &reload->conf, &reload->errors);
	if (reload->result == 0)
		reload->result = plan_make(reload->conf, &reload->plan, &reload->errors);
}

static void on_dropped(void *context)
{
	(void)reload_free(context);
}

/* ------------------------------------------------------------------ what to say about it */

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static void note_key(struct conf_errors *notes, const char *key, bool same)
{
	if (!same)
		translate_error(notes, "%s has changed: that needs a restart", key);
}

static void note_upstreams(struct reload *reload)
{
	const struct conf *conf = reload->conf;
	struct upstream_info info;

	for (size_t i = 0; i < conf->upstream_count; i++) {
		const struct muxd_upstream *upstream =
		    muxd_find_upstream(reload->muxd, conf->upstreams[i].name);

		if (!upstream)
			continue;
		info = muxd_upstream_info(upstream);
		if (!same_text(info.queue_prefix, conf->upstreams[i].generated_queue_prefix))
			translate_error(&reload->notes,
					"upstream \"%s\": generated-queue-prefix has changed: that needs a "
					"restart",
					info.name);
	}
}

/* Against what muxd was started with, for that is what it runs with. */
static void note_restarts(struct reload *reload)
{
	const struct muxd_options *options = &reload->muxd->options;
	const struct conf *old = options->conf, *conf = reload->conf;

	for (size_t i = 0; i < conf->warnings.count; i++)
		translate_error(&reload->notes, "warning: %s", conf->warnings.texts[i]);
	if (options->inherited_fd < 0) {
		note_key(&reload->notes, "socket",
			 options->socket_is_given || same_text(old->socket, conf->socket));
		note_key(&reload->notes, "socket-group", same_text(old->socket_group, conf->socket_group));
		note_key(&reload->notes, "socket-mode", old->socket_mode == conf->socket_mode);
	}
	note_upstreams(reload);
}

/* Behind the swap. */
static void note_endpoints(struct reload *reload)
{
	for (size_t i = 0; i < reload->muxd->upstream_count; i++) {
		const struct upstream_info info = muxd_upstream_info(reload->muxd->upstreams[i]);

		if (!info.retired && !info.listed)
			translate_error(&reload->notes,
					"upstream \"%s\": %s is no longer listed, but the connection to it "
					"goes on until it ends",
					info.name, info.endpoint);
	}
}

/* ------------------------------------------------------------------ arranging */

static int arrange_one(struct reload *reload, size_t index, struct arrangement *to)
{
	struct muxd *muxd = reload->muxd;
	struct muxd_upstream *upstream = muxd_find_upstream(muxd, reload->conf->upstreams[index].name);
	struct translated_upstream *translated = &reload->plan.upstreams[index];
	struct uplink_options options = muxd_uplink_options(muxd, translated);
	int r;

	if (!upstream)
		return muxd_upstream_new(muxd, translated, &to->upstreams[index]);
	to->upstreams[index] = upstream;
	r = uplink_change_new(&options, &to->changes[index]);
	if (r == 0)
		translated->tls = NULL; /* it is the change's */
	return r;
}

static void arrangement_free(struct arrangement *arrangement)
{
	for (size_t i = 0; arrangement->changes && i < arrangement->count; i++) {
		if (!arrangement->changes[i] && arrangement->upstreams[i]->is_new)
			(void)muxd_upstream_free(arrangement->upstreams[i]);
		(void)uplink_change_free(arrangement->changes[i]);
	}
	free(arrangement->upstreams);
	free(arrangement->changes);
}

static int arrange(struct reload *reload, struct arrangement *ret)
{
	size_t most = reload->conf->upstream_count + reload->muxd->upstream_count;
	int r = 0;

	*ret = (struct arrangement){
	    .upstreams = calloc(most, sizeof(struct muxd_upstream *)),
	    .changes = calloc(most, sizeof(struct uplink_change *)),
	};
	if (!ret->upstreams || !ret->changes)
		r = -ENOMEM;
	while (r == 0 && ret->count < reload->conf->upstream_count) {
		r = arrange_one(reload, ret->count, ret);
		if (r == 0)
			ret->count++;
	}
	if (r < 0)
		arrangement_free(ret);
	return r;
}

/* ------------------------------------------------------------------ the swap */

static bool is_among(const struct arrangement *arrangement, const struct muxd_upstream *upstream)
{
	for (size_t i = 0; i < arrangement->count; i++)
		if (arrangement->upstreams[i] == upstream)
			return true;
	return false;
}

/* rules: those that held until now. */
static void swap_upstreams(struct muxd *muxd, struct arrangement *to, struct gate *rules)
{
	struct muxd_upstream **old = muxd->upstreams;
	size_t old_count = muxd->upstream_count, configured = to->count;

	for (size_t i = 0; i < old_count; i++)
		if (!is_among(to, old[i]))
			to->upstreams[to->count++] = old[i];
	muxd->upstreams = to->upstreams;
	muxd->upstream_count = to->count;
	free(old);
	for (size_t i = 0; i < to->count; i++)
		upstream_put_last(uplink_upstream(to->upstreams[i]->uplink));
	for (size_t i = 0; i < to->count; i++) {
		if (i >= configured && !to->upstreams[i]->retired)
			retire_begin(to->upstreams[i], rules);
		else if (i < configured && to->changes[i])
			uplink_alter(to->upstreams[i]->uplink, to->changes[i]);
		else if (i < configured)
			muxd_upstream_start(to->upstreams[i]);
	}
	free(to->changes);
}

/* From here on the new configuration holds. Nothing in it can fail. */
static void swap(struct reload *reload, struct arrangement *arrangement)
{
	struct muxd *muxd = reload->muxd;
	struct conf *old = muxd->own_conf;
	struct gate *rules = muxd->gate;
	struct mux_limits mux_limits = translate_limits(reload->conf);
	struct front_limits front_limits = translate_front_limits(reload->conf);

	muxd->own_conf = reload->conf;
	muxd->conf = reload->conf;
	reload->conf = NULL;
	muxd->gate = reload->plan.gate;
	reload->plan.gate = NULL;
	mux_rules_changed(muxd->mux);
	if (!muxd->options.keeps_log_level)
		log_set_level(muxd->conf->log_level);
	mux_set_limits(muxd->mux, &mux_limits);
	swap_upstreams(muxd, arrangement, rules);
	retire_drop_rules(muxd, rules);
	front_set_limits(muxd->front, &front_limits, (uint32_t)muxd->conf->limits.sessions);
	conf_free(old);
}

/* ------------------------------------------------------------------ telling */

static void begin(struct muxd *muxd);

static void add_problem(struct reload *reload)
{
	if (reload->errors.incomplete)
		translate_error(&reload->errors, "there is more, but no memory to tell it");
	if (reload->errors.count == 0)
		translate_error(&reload->errors, "%s", strerror(-reload->result));
}

static void answer(struct muxd *muxd, const struct front_reload_result *result)
{
	struct reloads *reloads = &muxd->reloads;

	for (size_t i = 0; i < reloads->now.count; i++)
		front_reloaded(muxd->front, &reloads->now.items[i], result);
	reloads->now = reloads->next;
	reloads->next.count = 0;
}

static void tell(struct reload *reload)
{
	struct muxd *muxd = reload->muxd;
	struct front_reload_result result = {.done = reload->result == 0};

	if (reload->result < 0)
		add_problem(reload);
	result.errors = (struct front_lines){reload->errors.texts, reload->errors.count};
	result.notes = (struct front_lines){reload->notes.texts, reload->notes.count};
	muxd_log_errors(&reload->errors);
	for (size_t i = 0; i < reload->notes.count; i++)
		log_warning("reload: %s", reload->notes.texts[i]);
	if (reload->result < 0)
		log_error("reload: the configuration stays as it was");
	else
		log_notice("reload: done; the log level is %s", log_level_name(log_get_level()));
	report_reloaded(muxd, reload->result < 0 && reload->errors.count > 0 ? reload->errors.texts[0] : "");
	answer(muxd, &result);
	report_state(muxd, NOTIFY_READY, 0);
}

static void finish(struct reload *reload)
{
	struct reloads *reloads = &reload->muxd->reloads;
	struct muxd *muxd = reload->muxd;
	bool again = reloads->again;

	tell(reload);
	reloads->running = reload_free(reload);
	reloads->again = false;
	if (again)
		begin(muxd);
}

static void on_done(void *context)
{
	struct reload *reload = context;
	struct arrangement arrangement;
	struct mono began = loop_clock();

	reload->job = NULL;
	if (reload->result == 0) {
		note_restarts(reload);
		reload->result = arrange(reload, &arrangement);
	}
	if (reload->result == 0) {
		swap(reload, &arrangement);
		note_endpoints(reload);
		log_debug("reload: the swap took %llu us",
			  (unsigned long long)mono_since_usec(loop_clock(), began));
	}
	finish(reload);
}

static void refuse_no_memory(struct muxd *muxd)
{
	char *text = (char[]){"no memory"};
	struct front_reload_result result = {.errors = {&text, 1}};

	log_error("reload: %s; the configuration stays as it was", text);
	report_reloaded(muxd, text);
	answer(muxd, &result);
	report_state(muxd, NOTIFY_READY, 0);
}

static void begin(struct muxd *muxd)
{
	struct reload *reload = calloc(1, sizeof(*reload));
	struct job_options options = {on_work, on_done, on_dropped, reload};
	int r;

	report_state(muxd, NOTIFY_RELOADING, 0);
	if (!reload) {
		refuse_no_memory(muxd);
		return;
	}
	*reload = (struct reload){.muxd = muxd, .source = muxd->options.source};
	muxd->reloads.running = reload;
	r = job_start(muxd->loop, &options, &reload->job);
	if (r == 0)
		return; /* the rest is the thread's until it is done */
	reload->result = r;
	finish(reload);
}

bool reload_begin(struct muxd *muxd, const struct front_ticket *ticket, struct fault *ret_fault)
{
	struct reloads *reloads = &muxd->reloads;
	struct tickets *tickets = reloads->running ? &reloads->next : &reloads->now;

	if (muxd->phase != MUXD_RUNNING) {
		*ret_fault = fault_make(506, "RESOURCE_ERROR - muxd stops, and reads nothing anew");
		return false;
	}
	if (ticket && tickets->count == RELOAD_TICKETS_MAX) {
		*ret_fault = fault_make_retryable(506, "RESOURCE_ERROR - too many wait for a reload");
		return false;
	}
	if (ticket)
		tickets->items[tickets->count++] = *ticket;
	if (reloads->running)
		reloads->again = true;
	else
		begin(muxd);
	return true;
}

void reload_deinit(struct muxd *muxd)
{
	if (muxd->reloads.running)
		(void)job_drop(muxd->reloads.running->job);
	muxd->reloads.running = NULL;
}

void reload_stop(struct muxd *muxd)
{
	char *text = (char[]){"muxd stops"};
	struct front_reload_result result = {.errors = {&text, 1}};

	if (!muxd->reloads.running)
		return;
	reload_deinit(muxd);
	muxd->reloads.again = false;
	log_notice("reload: %s; the configuration stays as it was", text);
	answer(muxd, &result);
	answer(muxd, &result); /* those of the next one, which are this one's by now */
}
