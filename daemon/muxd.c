#include "config.h"

#include "daemon/muxd-private.h"

#include "daemon/base/log.h"
#include "daemon/plan.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define MODE_MASK 0777u

void muxd_log_errors(const struct conf_errors *errors)
{
	for (size_t i = 0; i < errors->count; i++)
		log_error("%s", errors->texts[i]);
	if (errors->incomplete)
		log_error("there is more, but no memory to tell it");
}

/* ------------------------------------------------------------------ hooks and callbacks */

static void random_bytes(void *context, void *out, size_t count)
{
	uint8_t *at = out;

	while (count > 0) {
		ssize_t n = getrandom(at, count, 0);

		assert(n > 0 || errno == EINTR);
		if (n > 0) {
			at += n;
			count -= (size_t)n;
		}
	}
}

static bool sha256(void *context, struct span of, uint8_t ret[MUX_DIGEST_BYTES])
{
	unsigned int len;

	return EVP_Digest(of.data, of.len, ret, &len, EVP_sha256(), NULL) == 1;
}

/* The rules for an upstream: the ones of before for one that they alone can name. */
static struct gate *gate_of(const struct muxd *muxd, const char *upstream)
{
	for (size_t i = muxd->upstream_count; i-- > 0 && muxd->upstreams[i]->retired;)
		if (strcmp(muxd_upstream_info(muxd->upstreams[i]).name, upstream) == 0 &&
		    !muxd_find_upstream(muxd, upstream))
			return muxd->upstreams[i]->rules;
	return muxd->gate;
}

static bool admit(void *context, const struct mux_creds *creds, const char *upstream,
		  struct front_limits *limits, struct fault *ret_fault)
{
	struct muxd *muxd = context;
	struct limits lowered;

	if (!gate_admit(gate_of(muxd, upstream), creds, upstream, &lowered, ret_fault))
		return false;
	limits->message_max = lowered.message_max_bytes;
	limits->session_memory = lowered.session_memory_bytes;
	limits->channels_max = (uint32_t)lowered.channels_per_session;
	limits->sessions_per_uid = (uint32_t)lowered.sessions_per_uid;
	limits->prefetch = (uint32_t)lowered.prefetch;
	return true;
}

static bool control(void *context, const struct mux_creds *creds, const char *upstream,
		    struct fault *ret_fault)
{
	struct muxd *muxd = context;

	return gate_control(gate_of(muxd, upstream), creds, upstream, ret_fault);
}

static bool command(void *context, const struct mux_creds *creds, enum front_command command,
		    const struct front_ticket *ticket, struct fault *ret_fault)
{
	struct muxd *muxd = context;

	log_notice("%s was asked for by pid %u, uid %u", front_command_name(command), creds->pid, creds->uid);
	if (command == FRONT_RELOAD)
		return reload_begin(muxd, ticket, ret_fault);
	front_done(muxd->front, ticket);
	drain_begin(muxd);
	return true;
}

static bool authorize(void *context, const struct mux_creds *creds, const char *upstream,
		      const struct amqc_method *method, struct fault *ret_fault)
{
	struct muxd *muxd = context;

	return gate_authorize(gate_of(muxd, upstream), creds, upstream, method, ret_fault);
}

static void note_audit(void *context, const struct mux_audit *what)
{
	const struct muxd *muxd = context;

	if (muxd->conf->audit)
		audit_note(muxd->audit, what);
}

static void on_accept(void *context, int fd)
{
	struct muxd *muxd = context;

	front_accept(muxd->front, fd);
}

static void on_upstream_changed(void *context)
{
	struct muxd_upstream *upstream = context;

	upstream->changed = true;
}

static void hook_begin(void *context, struct mono now)
{
	struct muxd *muxd = context;

	mux_set_now(muxd->mux, now);
}

static struct mono hook_next_deadline(void *context)
{
	struct muxd *muxd = context;

	return mux_next_deadline(muxd->mux);
}

static void hook_run_timers(void *context)
{
	struct muxd *muxd = context;

	mux_run_timers(muxd->mux);
}

static void hook_turn(void *context)
{
	struct muxd *muxd = context;

	gate_turn(muxd->gate);
	for (size_t i = 0; i < muxd->upstream_count; i++)
		if (muxd->upstreams[i]->rules)
			gate_turn(muxd->upstreams[i]->rules);
	drain_turn(muxd); /* before what it makes mux write is passed on */
	mux_turn(muxd->mux);
	for (size_t i = 0; i < muxd->upstream_count; i++)
		uplink_turn(muxd->upstreams[i]->uplink);
	retire_turn(muxd);
	report_turn(muxd);
}

static uint64_t hook_pause_usec(void *context)
{
	const struct muxd *muxd = context;

	return mux_pause_usec(muxd->mux);
}

static const struct loop_hooks hooks = {hook_begin, hook_next_deadline, hook_run_timers, hook_turn,
					hook_pause_usec};

/* ------------------------------------------------------------------ signals */

static void on_signal(void *context, int signal_number)
{
	struct muxd *muxd = context;
	struct fault fault;

	switch (signal_number) {
	case SIGHUP:
		if (reload_begin(muxd, NULL, &fault))
			log_notice("%s: muxd reads its configuration anew", strsignal(signal_number));
		else
			log_notice("%s is ignored: %s", strsignal(signal_number), fault.text);
		break;
	case SIGUSR1:
		report_dump(muxd);
		break;
	default:
		log_notice("%s: %s", strsignal(signal_number),
			   muxd->phase == MUXD_RUNNING ? "muxd leaves" : "muxd hurries");
		drain_begin(muxd);
		break;
	}
}

static int watch_signals(struct muxd *muxd)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		int r = loop_watch_signal(muxd->loop, signals[i], on_signal, muxd);

		if (r < 0)
			return r;
	}
	return signal(SIGPIPE, SIG_IGN) == SIG_ERR ? -errno : 0;
}

/* ------------------------------------------------------------------ upstreams */

struct uplink_options muxd_uplink_options(const struct muxd *muxd,
					  const struct translated_upstream *translated)
{
	return (struct uplink_options){
	    .loop = muxd->loop,
	    .resolver = muxd->resolver,
	    .mux = muxd->mux,
	    .upstream = &translated->options,
	    .endpoints = translated->uplink_endpoints,
	    .tls = translated->tls,
	    .changed = on_upstream_changed,
	};
}

int muxd_upstream_new(struct muxd *muxd, struct translated_upstream *translated, struct muxd_upstream **ret)
{
	struct uplink_options options = muxd_uplink_options(muxd, translated);
	struct muxd_upstream *upstream = calloc(1, sizeof(*upstream));
	int r;

	if (!upstream)
		return -ENOMEM;
	upstream->muxd = muxd;
	upstream->is_new = true;
	options.context = upstream;
	r = uplink_new(&options, &upstream->uplink);
	if (r < 0) {
		free(upstream);
		return r;
	}
	translated->tls = NULL;
	*ret = upstream;
	return 0;
}

void muxd_upstream_start(struct muxd_upstream *upstream)
{
	upstream->is_new = false;
	upstream_start(uplink_upstream(upstream->uplink));
}

struct muxd_upstream *muxd_upstream_free(struct muxd_upstream *upstream)
{
	loop_clear_timer(upstream->muxd->loop, &upstream->timer);
	upstream_free(uplink_upstream(upstream->uplink));
	(void)uplink_free(upstream->uplink);
	free(upstream);
	return NULL;
}

struct muxd_upstream *muxd_find_upstream(const struct muxd *muxd, const char *name)
{
	for (size_t i = 0; i < muxd->upstream_count; i++)
		if (!muxd->upstreams[i]->retired &&
		    strcmp(muxd_upstream_info(muxd->upstreams[i]).name, name) == 0)
			return muxd->upstreams[i];
	return NULL;
}

struct upstream_info muxd_upstream_info(const struct muxd_upstream *upstream)
{
	struct upstream_info info;

	upstream_get_info(uplink_upstream(upstream->uplink), &info);
	return info;
}

/* ------------------------------------------------------------------ making */

static int make_mux(struct muxd *muxd)
{
	struct mux_options options = {
	    .limits = translate_limits(muxd->conf),
	    .authorize = authorize,
	    .random = random_bytes,
	    .digest = sha256,
	    .audit = note_audit,
	    .context = muxd,
	};
	int r = mux_new(&options, &muxd->mux);

	if (r == 0)
		loop_set_hooks(muxd->loop, &hooks, muxd);
	if (r == 0)
		mux_set_now(muxd->mux, loop_now(muxd->loop));
	return r;
}

static int make_front(struct muxd *muxd)
{
	struct front_options options = {
	    .loop = muxd->loop,
	    .mux = muxd->mux,
	    .version = PACKAGE_VERSION,
	    .limits = translate_front_limits(muxd->conf),
	    .sessions_max = (uint32_t)muxd->conf->limits.sessions,
	    .admit = admit,
	    .control = control,
	    .command = command,
	    .context = muxd,
	};

	return front_new(&options, &muxd->front);
}

static enum muxd_result make_upstream(struct muxd *muxd, size_t index, struct conf_errors *errors)
{
	const struct conf_upstream *conf = &muxd->conf->upstreams[index];
	struct translated_upstream translated;
	int r = translate_upstream(conf, errors, &translated);
	bool is_conf = r < 0 && r != -ENOMEM;

	if (r == 0)
		r = muxd_upstream_new(muxd, &translated, &muxd->upstreams[index]);
	for (size_t i = 0; i < translated.warnings.count; i++)
		log_warning("%s", translated.warnings.texts[i]);
	translated_upstream_deinit(&translated);
	if (r < 0 && !is_conf)
		log_error("cannot set up upstream \"%s\": %s", conf->name, strerror(-r));
	return r == 0 ? MUXD_OK : is_conf ? MUXD_BAD_CONFIG : MUXD_FAILED;
}

static enum muxd_result make_upstreams(struct muxd *muxd, struct conf_errors *errors)
{
	enum muxd_result result = MUXD_OK;

	muxd->upstreams = calloc(muxd->conf->upstream_count, sizeof(*muxd->upstreams));
	if (!muxd->upstreams) {
		log_error("cannot start: %s", strerror(ENOMEM));
		return MUXD_FAILED;
	}
	while (result == MUXD_OK && muxd->upstream_count < muxd->conf->upstream_count) {
		result = make_upstream(muxd, muxd->upstream_count, errors);
		if (result == MUXD_OK)
			muxd->upstream_count++;
	}
	return result;
}

static enum muxd_result make_listener(struct muxd *muxd, struct conf_errors *errors)
{
	const struct conf *conf = muxd->conf;
	struct listener_options options = {on_accept, muxd};
	struct listener_unix_options where = {
	    .path = muxd->options.socket, .mode = (mode_t)conf->socket_mode & MODE_MASK, .group = (gid_t)-1};
	char error[LISTENER_ERROR_MAX];
	int r;

	r = translate_group(conf, errors, &where.group);
	if (r < 0)
		return r == -EINVAL ? MUXD_BAD_CONFIG : MUXD_FAILED;
	if (muxd->options.inherited_fd >= 0)
		r = listener_new_inherited(muxd->loop, &options, muxd->options.inherited_fd, error,
					   &muxd->listener);
	else
		r = listener_new_unix(muxd->loop, &options, &where, error, &muxd->listener);
	if (r == 0)
		return MUXD_OK;
	log_error("%s", *error ? error : strerror(-r));
	return r == -ENAMETOOLONG ? MUXD_BAD_CONFIG : MUXD_FAILED;
}

static int make_base(struct muxd *muxd)
{
	int r = tls_init();

	if (r == 0)
		r = loop_new(&muxd->loop);
	if (r == 0)
		r = resolver_new(muxd->loop, &muxd->resolver);
	if (r == 0)
		r = audit_new(muxd->loop, &muxd->audit);
	if (r == 0)
		r = make_mux(muxd);
	if (r == 0)
		r = make_front(muxd);
	if (r == 0)
		r = watch_signals(muxd);
	if (r < 0)
		log_error("cannot start: %s", strerror(-r));
	return r;
}

static enum muxd_result make_all(struct muxd *muxd, struct conf_errors *errors)
{
	enum muxd_result result;
	int r = gate_new(muxd->conf, errors, &muxd->gate);

	if (r < 0 && r != -EINVAL)
		log_error("cannot start: %s", strerror(-r));
	if (r < 0)
		return r == -EINVAL ? MUXD_BAD_CONFIG : MUXD_FAILED;
	if (make_base(muxd) < 0)
		return MUXD_FAILED;
	result = make_upstreams(muxd, errors);
	return result == MUXD_OK ? make_listener(muxd, errors) : result;
}

int muxd_check(struct conf *conf, struct conf_errors *errors)
{
	struct plan plan;
	int r = plan_make(conf, &plan, errors);

	plan_deinit(&plan);
	return r;
}

enum muxd_result muxd_new(const struct muxd_options *options, struct muxd **ret)
{
	struct muxd *muxd = calloc(1, sizeof(*muxd));
	struct conf_errors errors = CONF_ERRORS_INIT;
	enum muxd_result result;

	if (!muxd) {
		log_error("cannot start: %s", strerror(ENOMEM));
		return MUXD_FAILED;
	}
	muxd->options = *options;
	muxd->conf = options->conf;
	result = make_all(muxd, &errors);
	muxd_log_errors(&errors);
	conf_errors_deinit(&errors);
	if (result == MUXD_OK)
		*ret = muxd;
	else
		muxd_free(muxd);
	return result;
}

enum muxd_result muxd_run(struct muxd *muxd)
{
	int r;

	for (size_t i = 0; i < muxd->upstream_count; i++)
		muxd_upstream_start(muxd->upstreams[i]);
	log_notice("muxd %s listens on %s", PACKAGE_VERSION,
		   muxd->options.inherited_fd >= 0 ? "the socket that systemd handed over"
						   : muxd->options.socket);
	muxd->started = loop_now(muxd->loop);
	report_init(muxd);
	watch_init(muxd);
	report_state(muxd, NOTIFY_READY, 0);
	r = loop_run(muxd->loop);
	watch_deinit(muxd);
	report_deinit(muxd);
	if (r < 0)
		log_error("the event loop failed: %s", strerror(-r));
	else
		log_notice("muxd has ended");
	return r < 0 ? MUXD_FAILED : MUXD_OK;
}

struct muxd *muxd_free(struct muxd *muxd)
{
	if (!muxd)
		return NULL;
	reload_deinit(muxd);
	(void)listener_close(muxd->listener);
	(void)front_free(muxd->front);
	mux_free(muxd->mux);
	while (muxd->upstream_count > 0) {
		struct muxd_upstream *upstream = muxd->upstreams[--muxd->upstream_count];
		struct gate *rules = upstream->rules;

		loop_clear_timer(muxd->loop, &upstream->timer);
		(void)uplink_free(upstream->uplink); /* mux had the other half */
		free(upstream);
		retire_drop_rules(muxd, rules);
	}
	free(muxd->upstreams);
	(void)resolver_free(muxd->resolver);
	(void)audit_free(muxd->audit);
	(void)loop_free(muxd->loop);
	(void)gate_free(muxd->gate);
	conf_free(muxd->own_conf);
	free(muxd);
	return NULL;
}
